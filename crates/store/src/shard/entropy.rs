//! What a peer is missing of a shard, told from its clock, and how it is sent key by key.
//!
//! ```text
//! part    presumed:clock seen:clock (1 entry count dot*)* 0
//! ```
//!
//! The entries are what their keys hold and have seen (`seen` and their own contexts) at one instant, each with all
//! the dots about its key that the peer is missing. The one law: those dots, and no others, enter the peer's clock.
//! That is right only for a peer whose clock covers `presumed`, so anyone else leaves the part alone.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Shard;
use crate::clock::{Clock, ClockBytes};
use crate::codec::{Malformed, Reader, put_dot, put_varint};
use crate::delta::{put_entry, take_entry};
use crate::dot::Dot;
use crate::object::{Object, Sibling};
use crate::objects::Found;
use crate::table;

/// What a peer is missing.
pub enum Missing<'a> {
    /// Nothing.
    None,
    /// The content of a few keys.
    Part(Part<'a>),
    /// More than the recent writes remember: stream the whole shard.
    Whole,
}

/// The keys that a peer is missing, as they are while the shard stands still.
pub struct Part<'a> {
    shard: &'a Shard,
    presumed: Clock,
    keys: BTreeMap<&'a [u8], Vec<Dot>>,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parted {
    /// It was merged, so many keys of it.
    Merged(usize),
    /// It was meant for a replica that had seen more, and was left alone.
    Strange,
}

struct Entry<'a> {
    key: &'a [u8],
    object: Object,
    dots: Vec<Dot>,
}

impl Shard {
    /// What a peer with clock `peer` is missing. What it has and we have not, it must tell us itself.
    pub fn missing(&self, peer: &Clock) -> Missing<'_> {
        if peer.covers(&self.clock) {
            return Missing::None;
        }
        let missing = self.clock.difference(peer);
        let Some(found) = self
            .recent
            .as_ref()
            .and_then(|recent| recent.find(&missing))
        else {
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

    /// Takes one part off `reader` and merges it. One that is malformed or strange changes nothing.
    pub fn receive_part(&mut self, reader: &mut Reader<'_>) -> Result<Parted, Malformed> {
        let presumed = ClockBytes::take(reader)?;
        let seen = Clock::decode(reader)?;
        let mut entries = Vec::new();
        while reader.u8()? == 1 {
            entries.push(take_part_entry(reader, &presumed, &seen)?);
        }
        if !presumed.is_covered_by(&self.clock) {
            return Ok(Parted::Strange);
        }
        let mut after = self.clock.clone();
        for &dot in entries.iter().flat_map(|entry| &entry.dots) {
            after.insert(dot);
        }
        let beyond = seen.difference(&after);
        let count = entries.len();
        for Entry {
            key,
            object: mut theirs,
            dots,
        } in entries
        {
            let hash = table::hash(key);
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

    /// What a key holds, as its siblings' records and its context.
    pub(super) fn put_entry(&self, out: &mut Vec<u8>, key: &[u8]) {
        match self.objects.get(table::hash(key), key) {
            None => put_entry(out, key, [].into_iter(), &Clock::new()),
            Some(Found::Simple(record)) => put_entry(out, key, [record].into_iter(), &Clock::new()),
            Some(Found::Aside(object)) => {
                put_entry(
                    out,
                    key,
                    object.siblings.iter().map(Sibling::record),
                    &object.context,
                );
            }
        }
    }
}

impl Part<'_> {
    /// How many keys are left to send.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether all has been sent.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Appends one message with as many keys as fit into `bytes_max` bytes, but at least one. Call it until all is
    /// sent, or send just this and ask again with the peer's new clock.
    pub fn encode(&mut self, bytes_max: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.presumed.encode(out);
        self.shard.seen().encode(out);
        let first = out.len();
        while let Some((key, dots)) = self.keys.pop_first() {
            let before = out.len();
            out.push(1);
            self.shard.put_entry(out, key);
            put_varint(out, dots.len() as u64);
            dots.iter().for_each(|&dot| put_dot(out, dot));
            if out.len() - start >= bytes_max && before > first {
                out.truncate(before);
                self.keys.insert(key, dots);
                break;
            }
        }
        out.push(0);
    }
}

fn take_part_entry<'a>(
    reader: &mut Reader<'a>,
    presumed: &ClockBytes<'_>,
    seen: &Clock,
) -> Result<Entry<'a>, Malformed> {
    let (key, object) = take_entry(reader)?;
    let mut dots = Vec::new();
    for _ in 0..reader.varint()? {
        let dot = reader.dot()?;
        if !seen.contains(dot) {
            return Err(Malformed("part with a dot its sender has not seen"));
        }
        dots.push(dot);
    }
    let shipped = |dot: Dot| seen.contains(dot) && (presumed.contains(dot) || dots.contains(&dot));
    match object.siblings.iter().all(|sibling| shipped(sibling.dot)) {
        true => Ok(Entry { key, object, dots }),
        false => Err(Malformed("part with a sibling of unknown dot")),
    }
}
