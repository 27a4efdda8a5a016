//! The hello that members send each other: one binary to the name `salp_members`, big-endian.
//!
//! ```text
//! hello    = version:u8=2 part*
//! part     = tag:u8 len:u32 bytes        a part with an unknown tag is skipped
//!   1 birth     the birth record                                     required
//!   2 identity  id:u128 is_formed:u8 claim:u8 (life, of claims 1 and 3)   required
//!   3 sender    entry                                                required
//!   4 others    (len:u16 entry)*
//! entry    = name_len:u8 name  creation:u32  state:u8  port:u16 (0: none)    what follows in an entry is skipped
//! claim    = 0 nothing  1 provisional  2 settled  3 settled, was provisional before
//! life     = name_len:u8 name  creation:u32
//! ```
//!
//! A full hello is sent when a connection comes up, and from time to time. In between, hellos have only entries that
//! are new.

use crate::{
    identity::{Claim, ClusterId, Identity, Life},
    message::MemberState,
};
use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::Atom;

const VERSION: u8 = 2;

const BIRTH: u8 = 1;
const IDENTITY: u8 = 2;
const SENDER: u8 = 3;
const OTHERS: u8 = 4;

/// Most other members in one hello; further ones are left out.
const OTHERS_MAX: usize = u16::MAX as usize;

/// A node, as a member reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: Atom,
    pub(crate) creation: u32,
    pub(crate) state: MemberState,
    pub(crate) dist_port: Option<u16>,
}

/// A member's report about itself and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) birth: Bytes,
    pub(crate) identity: Identity,
    pub(crate) sender: Told,
    pub(crate) others: Vec<Told>,
}

impl Hello {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.birth.len() + 32 * self.others.len());
        out.push(VERSION);
        part(&mut out, BIRTH, |out| out.extend_from_slice(&self.birth));
        part(&mut out, IDENTITY, |out| encode_identity(&self.identity, out));
        part(&mut out, SENDER, |out| encode_entry(&self.sender, out));
        part(&mut out, OTHERS, |out| {
            for entry in self.others.iter().take(OTHERS_MAX) {
                let start = out.len();
                out.extend([0; 2]);
                encode_entry(entry, out);
                let len = u16::try_from(out.len() - start - 2).expect("an entry is short");
                out[start..start + 2].copy_from_slice(&len.to_be_bytes());
            }
        });
        out
    }

    /// None unless the bytes are one complete hello of our version, with valid parts.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = bytes;
        if take::<1>(&mut input)? != [VERSION] {
            return None;
        }
        let (mut birth, mut identity, mut sender, mut others) = (None, None, None, Vec::new());
        while !input.is_empty() {
            let [tag] = take(&mut input)?;
            let len = usize::try_from(u32::from_be_bytes(take(&mut input)?)).ok()?;
            let mut part = split(&mut input, len)?;
            match tag {
                BIRTH => birth = Some(Bytes::copy_from_slice(part)),
                IDENTITY => identity = Some(decode_identity(&mut part)?),
                SENDER => sender = Some(decode_entry(&mut part)?),
                OTHERS => {
                    while !part.is_empty() {
                        let len = usize::from(u16::from_be_bytes(take(&mut part)?));
                        others.push(decode_entry(&mut split(&mut part, len)?)?);
                    }
                }
                _ => {}
            }
        }
        others.truncate(OTHERS_MAX);
        Some(Self {
            birth: birth?,
            identity: identity?,
            sender: sender?,
            others,
        })
    }
}

fn part(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let len = u32::try_from(out.len() - start - 4).expect("a hello is bounded by its entries");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn encode_identity(identity: &Identity, out: &mut Vec<u8>) {
    out.extend(identity.id.0.to_be_bytes());
    out.push(u8::from(identity.is_formed));
    let (claim, life) = match &identity.claim {
        Claim::Nothing => (0, None),
        Claim::Provisional(life) => (1, Some(life)),
        Claim::Settled { was: None } => (2, None),
        Claim::Settled { was: Some(life) } => (3, Some(life)),
    };
    out.push(claim);
    if let Some(life) = life {
        encode_name(&life.name, out);
        out.extend(life.creation.to_be_bytes());
    }
}

fn decode_identity(input: &mut &[u8]) -> Option<Identity> {
    let id = ClusterId(u128::from_be_bytes(take(input)?));
    let is_formed = take::<1>(input)? != [0];
    let claim = match take(input)? {
        [0] => Claim::Nothing,
        [1] => Claim::Provisional(decode_life(input)?),
        [2] => Claim::Settled { was: None },
        [3] => Claim::Settled {
            was: Some(decode_life(input)?),
        },
        _ => return None,
    };
    Some(Identity { id, is_formed, claim })
}

fn decode_life(input: &mut &[u8]) -> Option<Life> {
    Some(Life {
        name: decode_name(input)?,
        creation: u32::from_be_bytes(take(input)?),
    })
}

fn encode_name(name: &Atom, out: &mut Vec<u8>) {
    let name = name.as_str().as_bytes();
    out.push(u8::try_from(name.len()).expect("a node name has at most 255 bytes"));
    out.extend_from_slice(name);
}

fn decode_name(input: &mut &[u8]) -> Option<Atom> {
    let [len] = take(input)?;
    wire::dist::node_name(split(input, usize::from(len))?)
}

fn encode_entry(entry: &Told, out: &mut Vec<u8>) {
    encode_name(&entry.name, out);
    out.extend_from_slice(&entry.creation.to_be_bytes());
    out.push(match entry.state {
        MemberState::Up => 0,
        MemberState::Suspect => 1,
        MemberState::Down => 2,
        MemberState::Leaving => 3,
        MemberState::Gone => 4,
    });
    out.extend_from_slice(&entry.dist_port.unwrap_or(0).to_be_bytes());
}

fn decode_entry(input: &mut &[u8]) -> Option<Told> {
    let name = decode_name(input)?;
    let creation = u32::from_be_bytes(take(input)?);
    let state = match take(input)? {
        [0] => MemberState::Up,
        [1] => MemberState::Suspect,
        [2] => MemberState::Down,
        [3] => MemberState::Leaving,
        [4] => MemberState::Gone,
        _ => return None,
    };
    let port = u16::from_be_bytes(take(input)?);
    Some(Told {
        name,
        creation,
        state,
        dist_port: (port != 0).then_some(port),
    })
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn split<'a>(input: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn hello() -> Hello {
        let told = |name: &str, state, dist_port| Told {
            name: Atom::new(name),
            creation: 7,
            state,
            dist_port,
        };
        Hello {
            birth: Bytes::from_static(b"shards=1024"),
            identity: Identity {
                id: ClusterId(7 << 99),
                is_formed: true,
                claim: Claim::Provisional(Life {
                    name: Atom::new("d@h"),
                    creation: 9,
                }),
            },
            sender: told("a@h", MemberState::Leaving, Some(4000)),
            others: vec![
                told("b@h", MemberState::Gone, None),
                told("c@h", MemberState::Up, Some(1)),
            ],
        }
    }

    #[test]
    fn reads_back() {
        let claims = [
            Claim::Nothing,
            Claim::Settled { was: None },
            Claim::Settled {
                was: Some(Life {
                    name: Atom::new("e@h"),
                    creation: 1,
                }),
            },
            hello().identity.claim,
        ];
        for claim in claims {
            let mut hello = hello();
            hello.identity.claim = claim;
            assert_eq!(Hello::decode(&hello.encode()), Some(hello));
        }
    }

    #[test]
    fn a_truncated_hello_is_refused() {
        let whole = hello();
        let bytes = whole.encode();
        // The part with the others is last, and may be missing completely.
        let others_bytes = whole.others.iter().map(|entry| 2 + 1 + entry.name.as_str().len() + 7);
        let without_others = bytes.len() - 5 - others_bytes.sum::<usize>();
        for len in (0..bytes.len()).filter(|len| *len != without_others) {
            assert_eq!(Hello::decode(&bytes[..len]), None, "{len}");
        }
        assert!(Hello::decode(&bytes[..without_others]).is_some_and(|hello| hello.others.is_empty()));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Hello::decode(&longer), None);
    }

    #[test]
    fn additions_of_later_versions_are_skipped() {
        let mut bytes = hello().encode();
        part(&mut bytes, 200, |out| out.extend(*b"later"));
        assert_eq!(Hello::decode(&bytes), Some(hello()));
        // An entry with additional bytes.
        let mut longer = vec![VERSION];
        part(&mut longer, SENDER, |out| {
            encode_entry(&hello().sender, out);
            out.extend(*b"later");
        });
        let rest = &hello().encode()[1..];
        longer.extend_from_slice(rest);
        assert_eq!(Hello::decode(&longer), Some(hello()));
        let mut others = hello();
        others.others.clear();
        let mut bytes = others.encode();
        part(&mut bytes, OTHERS, |out| {
            let mut entry = Vec::new();
            encode_entry(&hello().sender, &mut entry);
            entry.push(9);
            out.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
            out.extend(entry);
        });
        assert_eq!(
            Hello::decode(&bytes).map(|hello| hello.others),
            Some(vec![hello().sender])
        );
    }

    #[test]
    fn a_changed_byte_never_panics() {
        let bytes = hello().encode();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut junk = bytes.clone();
                junk[at] = value;
                let _ = Hello::decode(&junk);
            }
        }
    }
}
