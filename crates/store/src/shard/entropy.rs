//! Finds what a peer lacks of a shard, from the peer's clock, and sends it key by key.
//!
//! ```text
//! part    presumed:clock seen:clock (1 entry count dot*)* 0
//! ```
//!
//! Each entry has the content of a key, and the dots that the key has seen (`seen` and its own context), all at one
//! instant. It also lists all dots about this key that the peer lacks. The main law: those dots, and no others, enter
//! the peer's clock. That is correct only for a peer whose clock covers `presumed`. Any other peer ignores the part.
//!
//! If the keys need several parts, the peer keeps them until the last one has come and merges them at once ([`Parts`]):
//! one part may have one write of a transaction and not the others. The clock with which the peer requests the next
//! part has the dots of the parts that it keeps.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Shard;
use crate::clock::{Clock, ClockBytes};
use crate::codec::{Malformed, Reader, put_dot, put_varint};
use crate::delta::{Entry, put_entry};
use crate::dot::Dot;
use crate::table;

const ENTRY: u8 = 1;
const END: u8 = 0;

/// What a peer lacks.
pub enum Missing<'a> {
    /// Nothing.
    None,
    /// The content of a few keys.
    Part(Part<'a>),
    /// More than the recent writes remember: stream the whole shard.
    Whole,
}

/// The keys that a peer lacks, while the shard does not change.
pub struct Part<'a> {
    shard: &'a Shard,
    presumed: Clock,
    keys: BTreeMap<&'a [u8], Vec<Dot>>,
}

/// The result of receiving a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parted {
    /// It was merged, or kept. It has this many keys.
    Merged(usize),
    /// It was made for a replica that had seen more, and is ignored.
    Strange,
}

/// Parts that have arrived, and are not merged yet.
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<Vec<u8>>,
    /// The dots that enter the clock with them.
    dots: Clock,
}

impl Parts {
    /// Keeps a part for `shard`. A malformed or strange part is dropped.
    pub fn keep(&mut self, shard: &Shard, part: &[u8]) -> Result<Parted, Malformed> {
        let (presumed, _, entries) = take_part(&mut Reader::new(part))?;
        if !presumed.is_covered_by(&self.joined(shard)) {
            return Ok(Parted::Strange);
        }
        let count = entries.len();
        for dot in entries.into_iter().flat_map(|(_, dots)| dots) {
            self.dots.insert(dot);
        }
        self.parts.push(part.to_vec());
        Ok(Parted::Merged(count))
    }

    /// The clock that `shard` has once these parts are merged.
    pub fn joined(&self, shard: &Shard) -> Clock {
        let mut clock = shard.clock.clone();
        clock.join(&self.dots);
        clock
    }

    /// Merges all parts, in the order in which they came. The last one of what the shard lacks must be among them.
    pub fn merge(self, shard: &mut Shard) -> Result<(), Malformed> {
        for part in self.parts {
            shard.receive_part(&mut Reader::new(&part))?;
        }
        Ok(())
    }
}

impl Shard {
    /// What a peer with the clock `peer` lacks. Dots that only the peer has, the peer must send by itself.
    pub fn missing(&self, peer: &Clock) -> Missing<'_> {
        if peer.covers(&self.clock) {
            return Missing::None;
        }
        let missing = self.clock.difference(peer);
        let Some(found) = self.recent.as_ref().and_then(|recent| recent.find(&missing)) else {
            return Missing::Whole;
        };
        let mut keys: BTreeMap<&[u8], Vec<Dot>> = BTreeMap::new();
        for (dot, key) in found {
            keys.entry(key).or_default().push(dot);
        }
        Missing::Part(Part {
            shard: self,
            presumed: peer.clone(),
            keys,
        })
    }

    /// Takes one part from `reader` and merges it. A malformed or strange part changes nothing.
    pub fn receive_part(&mut self, reader: &mut Reader<'_>) -> Result<Parted, Malformed> {
        let (presumed, seen, entries) = take_part(reader)?;
        if !presumed.is_covered_by(&self.clock) {
            return Ok(Parted::Strange);
        }
        let mut after = self.clock.clone();
        for &dot in entries.iter().flat_map(|(_, dots)| dots) {
            after.insert(dot);
        }
        let beyond = seen.difference(&after);
        let count = entries.len();
        for (entry, dots) in entries {
            let (hash, key) = (table::hash(entry.key), entry.key);
            let mut theirs = entry.into_object();
            theirs.context.join(&beyond);
            let mut object = self.objects.take(hash, key);
            object.merge(theirs, |dot| self.has_seen(dot), |dot| seen.contains(dot));
            for dot in dots {
                if !self.clock.contains(dot) {
                    self.saw(hash, key, dot);
                }
            }
            self.put_back(hash, key, object);
        }
        Ok(Parted::Merged(count))
    }
}

impl Part<'_> {
    /// How many keys are left to send.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether all keys were sent.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends one message with as many keys as fit into `bytes_max` bytes, but at least one. Either call it until all
    /// keys are sent, or send one message and call `missing` again with the peer's new clock.
    pub fn encode(&mut self, bytes_max: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.presumed.encode(out);
        self.shard.seen().encode(out);
        let first = out.len();
        while let Some((key, dots)) = self.keys.pop_first() {
            let before = out.len();
            out.push(ENTRY);
            put_entry(out, key, self.shard.objects.get(table::hash(key), key));
            put_varint(out, dots.len() as u64);
            dots.iter().for_each(|&dot| put_dot(out, dot));
            if out.len() - start >= bytes_max && before > first {
                out.truncate(before);
                self.keys.insert(key, dots);
                break;
            }
        }
        out.push(END);
    }
}

/// Keys with the missing dots about them.
type Entries<'a> = Vec<(Entry<'a>, Vec<Dot>)>;

/// Takes a whole part from `reader`: what it presumes, what its sender has seen, and the entries.
fn take_part<'a>(reader: &mut Reader<'a>) -> Result<(ClockBytes<'a>, Clock, Entries<'a>), Malformed> {
    let presumed = ClockBytes::take(reader)?;
    let seen = Clock::decode(reader)?;
    let mut entries = Vec::new();
    loop {
        match reader.u8()? {
            ENTRY => entries.push(take_missing(reader, &presumed, &seen)?),
            END => return Ok((presumed, seen, entries)),
            _ => return Err(Malformed("unknown tag in a part")),
        }
    }
}

/// Takes an entry and the missing dots about its key from `reader`.
fn take_missing<'a>(
    reader: &mut Reader<'a>,
    presumed: &ClockBytes<'_>,
    seen: &Clock,
) -> Result<(Entry<'a>, Vec<Dot>), Malformed> {
    let entry = Entry::take(reader)?;
    let mut dots = Vec::new();
    for _ in 0..reader.varint()? {
        dots.push(reader.dot()?);
    }
    if !dots.iter().all(|&dot| seen.contains(dot)) {
        return Err(Malformed("part with a dot its sender has not seen"));
    }
    let known = |dot: Dot| dots.contains(&dot) || presumed.contains(dot) && seen.contains(dot);
    match entry.siblings.iter().all(|record| known(record.dot)) {
        true => Ok((entry, dots)),
        false => Err(Malformed("part with a sibling of unknown dot")),
    }
}
