//! The Erlang distribution protocol: two nodes prove to each other that they know the cookie, then they exchange
//! frames.
//!
//! ```text
//!   bytes → handshake: Initiator | Acceptor → Established
//!         → frame: Reader → Received::Signal          (reading)
//!   Signal → frame::write_frame → bytes               (writing)
//! ```
//!
//! Everything here is a codec or a state machine over bytes. The owner sets time-outs, draws the challenges (from a
//! good random source) and decides whether a peer is welcome.
//!
//! Source: *Distribution Protocol*, ERTS reference manual.

pub mod control;
pub mod flags;
pub mod frame;
pub mod handshake;

pub use control::Signal;
pub use flags::Flags;

use crate::etf::Atom;
use alloc::vec::Vec;
use core::{fmt, hint::black_box};
use md5::{Digest, Md5};

/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 255;

/// The full name of a node, `name@host`: `None` if `text` has another form.
///
/// Narrower than Erlang on purpose: a name that passes here is safe in logs, files and host look-ups.
pub fn node_name(text: &[u8]) -> Option<Atom> {
    let at = text.iter().position(|byte| *byte == b'@')?;
    let (name, host) = (&text[..at], &text[at + 1..]);
    if text.len() > NODE_NAME_BYTES_MAX || !is_plain(name) || !is_plain(host) {
        return None;
    }
    core::str::from_utf8(text).ok().map(Atom::new)
}

/// Whether it has at least one byte, and only `[A-Za-z0-9_.-]`.
fn is_plain(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(b))
}

/// The secret that the nodes of a cluster share. `Debug` does not show it.
#[derive(Clone)]
pub struct Cookie(Vec<u8>);

impl Cookie {
    /// The cookie of these bytes, as they are: a newline at the end is part of the cookie.
    pub fn new(secret: &[u8]) -> Self {
        Self(secret.to_vec())
    }

    /// Its bytes, to derive another key from. They must not be shown or sent.
    pub fn secret(&self) -> &[u8] {
        &self.0
    }

    /// The proof that we know the cookie: MD5 of the cookie and the challenge in decimal.
    pub(crate) fn digest(&self, challenge: u32) -> [u8; 16] {
        let decimal = alloc::format!("{challenge}");
        Md5::new().chain_update(&self.0).chain_update(decimal).finalize().into()
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

impl Drop for Cookie {
    fn drop(&mut self) {
        self.0.fill(0);
        black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests() {
        let cookie = Cookie::new(b"secret");
        let hex = |challenge| u128::from_be_bytes(cookie.digest(challenge));
        assert_eq!(hex(0x1234_5678), 0x1f4d_9b4e_53ca_dc39_99bc_db38_6a23_c240);
        assert_eq!(hex(0xFFFF_FFFF), 0x5dfd_181e_69aa_587c_c812_eb33_3e65_36b6);
        assert_eq!(alloc::format!("{cookie:?}"), "Cookie(..)");
    }

    #[test]
    fn names() {
        for good in ["a@h", "salp_1-x@10.0.0.1", "A.b@db-1.example.org"] {
            assert_eq!(node_name(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in [
            "", "@", "a", "a@", "@h", "a@@h", "a@h@i", "a b@h", "ü@h", "a@h\n", "a@h\0", "a@::1",
        ] {
            assert_eq!(node_name(bad.as_bytes()), None, "{bad:?}");
        }
        let longest = alloc::format!("{}@h", "a".repeat(253));
        assert!(node_name(longest.as_bytes()).is_some());
        assert!(node_name(alloc::format!("a{longest}").as_bytes()).is_none());
        assert!(node_name(b"a@\xff").is_none());
    }
}
