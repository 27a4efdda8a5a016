//! What members tell each other: one binary to the name `salp_members`, big-endian.
//!
//! ```text
//! version:u8=1  birth_len:u32 birth  self:entry  count:u16 entry*
//! entry = name_len:u8 name  creation:u32  state:u8  port:u16 (0: none)
//! ```
//!
//! It is sent whole when a connection comes up, and from time to time; in between, with only those entries that are
//! news.

use crate::message::MemberState;
use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::Atom;

const VERSION: u8 = 1;

/// One node as told by a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) name: Atom,
    pub(crate) creation: u32,
    pub(crate) state: MemberState,
    pub(crate) dist_port: Option<u16>,
}

/// A member about itself and others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) birth: Bytes,
    pub(crate) sender: Told,
    pub(crate) others: Vec<Told>,
}

impl Hello {
    /// Entries past 65,535 are left out.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let others = &self.others[..self.others.len().min(usize::from(u16::MAX))];
        let mut out = Vec::with_capacity(32 + self.birth.len() + 32 * others.len());
        out.push(VERSION);
        let birth_len = u32::try_from(self.birth.len()).expect("a birth record is small");
        out.extend_from_slice(&birth_len.to_be_bytes());
        out.extend_from_slice(&self.birth);
        encode_entry(&self.sender, &mut out);
        let count = u16::try_from(others.len()).expect("cut above");
        out.extend_from_slice(&count.to_be_bytes());
        for entry in others {
            encode_entry(entry, &mut out);
        }
        out
    }

    /// None if it is anything but one whole hello of our version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = bytes;
        if take::<1>(&mut input)? != [VERSION] {
            return None;
        }
        let birth_len = usize::try_from(u32::from_be_bytes(take(&mut input)?)).ok()?;
        let (birth, rest) = input.split_at_checked(birth_len)?;
        input = rest;
        let sender = decode_entry(&mut input)?;
        let count = u16::from_be_bytes(take(&mut input)?);
        let mut others = Vec::new();
        for _ in 0..count {
            others.push(decode_entry(&mut input)?);
        }
        let birth = Bytes::copy_from_slice(birth);
        input.is_empty().then_some(Self { birth, sender, others })
    }
}

fn encode_entry(entry: &Told, out: &mut Vec<u8>) {
    let name = entry.name.as_str().as_bytes();
    out.push(u8::try_from(name.len()).expect("a node name has at most 255 bytes"));
    out.extend_from_slice(name);
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
    let [name_len] = take(input)?;
    let (name, rest) = input.split_at_checked(usize::from(name_len))?;
    *input = rest;
    let name = wire::dist::node_name(name)?;
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
            sender: told("a@h", MemberState::Leaving, Some(4000)),
            others: vec![
                told("b@h", MemberState::Gone, None),
                told("c@h", MemberState::Up, Some(1)),
            ],
        }
    }

    #[test]
    fn reads_back() {
        assert_eq!(Hello::decode(&hello().encode()), Some(hello()));
    }

    #[test]
    fn nothing_shorter_or_longer_is_one() {
        let bytes = hello().encode();
        for len in 0..bytes.len() {
            assert_eq!(Hello::decode(&bytes[..len]), None);
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(Hello::decode(&longer), None);
    }

    #[test]
    fn survives_any_byte_changed() {
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
