//! The datagram of gossip: which node is up, where it listens and when it was sent, sealed with a key made from the
//! cookie.
//!
//! ```text
//!   "salp" version:u8 kind:u8 sent_ms:u64 dist_port:u16 name_length:u8 name tag:32     integers big-endian
//! ```
//!
//! - The tag is HMAC-SHA-256 over all bytes before it. It is verified, in constant time, before any other byte is used.
//! - The key is HMAC-SHA-256 of a label of this format under the cookie. So a sealed datagram has no meaning in other
//!   protocols that use the cookie.
//! - `sent_ms` of one sender never goes back, not even with its clock. Receivers refuse a datagram that is not newer
//!   than the last one. (RFC 6479 has the idea. It has a window too, which gossip does not need: a late datagram has no
//!   value.)
//!
//! Source: RFC 2104, HMAC.

use hmac::{Hmac, KeyInit, Mac};
use node::{Atom, Cookie};
use sha2::Sha256;

use super::Found;

/// The first bytes of every datagram.
const MAGIC: &[u8; 4] = b"salp";
/// The version of the format. Datagrams of other versions are ignored.
const VERSION: u8 = 1;
const LABEL: &[u8] = b"salp gossip 1";
const TAG_BYTES: usize = 32;
/// Bytes before the name.
const HEAD_BYTES: usize = 17;
/// Bytes of the longest datagram: a name has at most 255.
pub(crate) const DATAGRAM_BYTES_MAX: usize = HEAD_BYTES + 255 + TAG_BYTES;

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A node is up.
    Beat,
    /// A node is up, and asks the others to send a beat soon.
    Ask,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) kind: Kind,
    /// When it was sent, in milliseconds of Unix time.
    pub(crate) sent_ms: u64,
    pub(crate) sender: Found,
}

/// Why bytes are not a datagram of this cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatagramError {
    /// They begin with other bytes, or are of another version.
    Foreign,
    /// They are too short or too long, or contain no name.
    Malformed,
    /// They were sealed with another cookie, or changed on the way.
    Forged,
}

/// Seals and opens datagrams.
#[derive(Clone)]
pub(crate) struct Seal(Hmac<Sha256>);

impl Seal {
    pub(crate) fn new(cookie: &Cookie) -> Self {
        let key = keyed(cookie.secret()).chain_update(LABEL).finalize().into_bytes();
        Self(keyed(&key))
    }

    pub(crate) fn seal(&self, datagram: &Datagram) -> Vec<u8> {
        let name = datagram.sender.node.as_str().as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + name.len() + TAG_BYTES);
        bytes.extend(MAGIC);
        bytes.push(VERSION);
        bytes.push(match datagram.kind {
            Kind::Beat => 1,
            Kind::Ask => 2,
        });
        bytes.extend(datagram.sent_ms.to_be_bytes());
        bytes.extend(datagram.sender.port.unwrap_or(0).to_be_bytes());
        let name_bytes = u8::try_from(name.len()).expect("the name of a node has at most 255 bytes");
        bytes.push(name_bytes);
        bytes.extend(name);
        let tag = self.0.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend(tag);
        bytes
    }

    /// Seals any bytes behind magic and version.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn over(&self, bytes: &[u8]) -> Vec<u8> {
        let mut sealed = [MAGIC, &[VERSION][..], bytes].concat();
        let tag = self.0.clone().chain_update(&sealed).finalize().into_bytes();
        sealed.extend(tag);
        sealed
    }

    /// Parses and verifies the datagram in `bytes`.
    ///
    /// # Errors
    /// It is malformed, or not of this cluster.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Datagram, DatagramError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DatagramError::Foreign)?;
        if rest.first() != Some(&VERSION) {
            return Err(DatagramError::Foreign);
        }
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(DatagramError::Malformed)?;
        let proof = self.0.clone().chain_update(body);
        proof.verify_slice(tag).map_err(|_| DatagramError::Forged)?;
        read(body).ok_or(DatagramError::Malformed)
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Parses the bytes after magic and version.
fn read(body: &[u8]) -> Option<Datagram> {
    let (kind, rest) = body.get(MAGIC.len() + 1..)?.split_first()?;
    let (sent_ms, rest) = rest.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (name_bytes, name) = rest.split_first()?;
    if name.len() != usize::from(*name_bytes) {
        return None;
    }
    let kind = match kind {
        1 => Kind::Beat,
        2 => Kind::Ask,
        _ => return None,
    };
    let node: Atom = wire::dist::node_name(name)?;
    let port = Some(u16::from_be_bytes(*port)).filter(|port| *port > 0);
    Some(Datagram {
        kind,
        sent_ms: u64::from_be_bytes(*sent_ms),
        sender: Found { node, port },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(cookie: &str) -> Seal {
        Seal::new(&Cookie::new(cookie.as_bytes()))
    }

    fn datagram() -> Datagram {
        let node = Atom::new("salp@127.0.0.1");
        Datagram {
            kind: Kind::Ask,
            sent_ms: 1_800_000_000_123,
            sender: Found { node, port: Some(9100) },
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = seal("cookie").seal(&datagram());
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>().unwrap();
        assert_eq!(
            body,
            b"salp\x01\x02\0\0\x01\xa3\x18\x5c\x50\x7b\x23\x8c\x0esalp@127.0.0.1"
        );
        let key = keyed(b"cookie").chain_update(b"salp gossip 1").finalize().into_bytes();
        assert_eq!(tag[..], keyed(&key).chain_update(body).finalize().into_bytes()[..]);
    }

    #[test]
    fn only_the_same_cookie_and_the_same_bytes_open_it() {
        let bytes = seal("one").seal(&datagram());
        assert_eq!(seal("one").open(&bytes), Ok(datagram()));
        assert_eq!(seal("two").open(&bytes), Err(DatagramError::Forged));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let error = if at < 5 {
                DatagramError::Foreign
            } else {
                DatagramError::Forged
            };
            assert_eq!(seal("one").open(&changed), Err(error), "byte {at}");
            assert!(seal("one").open(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_sealed_body_that_makes_no_sense_is_malformed() {
        let seal = seal("one");
        let resealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = seal.seal(&datagram());
            bytes.truncate(bytes.len() - TAG_BYTES);
            change(&mut bytes);
            let tag = seal.0.clone().chain_update(&bytes).finalize().into_bytes();
            bytes.extend(tag);
            seal.open(&bytes)
        };
        assert_eq!(resealed(&|_| ()), Ok(datagram()));
        assert_eq!(resealed(&|bytes| bytes[5] = 3), Err(DatagramError::Malformed), "kind");
        assert_eq!(
            resealed(&|bytes| bytes[16] += 1),
            Err(DatagramError::Malformed),
            "length"
        );
        assert_eq!(
            resealed(&|bytes| bytes.push(b'1')),
            Err(DatagramError::Malformed),
            "longer"
        );
        assert_eq!(
            resealed(&|bytes| bytes[17] = b' '),
            Err(DatagramError::Malformed),
            "name"
        );
        assert_eq!(
            resealed(&|bytes| bytes.truncate(9)),
            Err(DatagramError::Malformed),
            "shorter"
        );
    }

    proptest! {
        #[test]
        fn junk_is_an_error(junk in proptest::collection::vec(any::<u8>(), 0..400), dress in any::<bool>()) {
            let junk = if dress { [b"salp\x01", junk.as_slice()].concat() } else { junk };
            prop_assert!(seal("one").open(&junk).is_err());
        }
    }
}
