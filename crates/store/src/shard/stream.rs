//! Sends a whole shard to a peer in chunks, while writes go on.
//!
//! ```text
//! chunk   stream:u64 run seq (1 entry)* (0 | 2 clock wiped)
//! ```
//!
//! The sender goes through its objects by hash, stripe by stripe. The order of stripes spreads the keys sent so far
//! evenly, since a table fills badly from one end of the hashes. A key that changes after it was sent is noted and sent
//! again. When no key is left to send, the keys sent are the shard as it is at that instant. The last chunk has the
//! clock of that instant. A change of the whole shard (a wipe, a merged shard) starts a new run of the stream.
//!
//! The receiver keeps the chunks apart until the last one has come, and then merges the two shards at once. The main
//! law: half a shard means nothing. If chunks were merged one by one, they would show deletes whose dots are not in the
//! clock yet. If the sender died then, replicas with equal clocks would differ. So a stream that breaks off is dropped.
//! Several streams at a time, from one sender or many, do no harm. The cost is memory for a second copy of the shard
//! until it has arrived, and one merge at once: some milliseconds for tens of thousands of keys.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;
use core::ops::RangeInclusive;

use super::Shard;
use crate::clock::Clock;
use crate::codec::{Malformed, Reader, put_varint};
use crate::delta::{Entry, put_entry};
use crate::dot::Dot;
use crate::object::{Object, Sibling};
use crate::objects::Objects;
use crate::table;

const ENTRY: u8 = 1;
const MORE: u8 = 0;
const LAST: u8 = 2;

/// About how many keys a stripe of the hashes has.
const STRIPE: usize = 64;
/// If this many chunks had only keys that changed again, the last chunk is made as large as it must be.
const TAIL_MAX: u32 = 16;

/// The position of a stripe in the order of sending, then the hash.
type Place = (u64, u64);

/// Which chunk was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// More chunks follow.
    More,
    /// The last chunk; the stream is closed.
    Last,
}

/// A stream at its sender.
#[derive(Debug)]
pub(super) struct Feed {
    id: u64,
    run: u64,
    seq: u64,
    /// All keys at lower places were sent; none if all keys were sent.
    cursor: Option<Place>,
    /// How many bits of a hash give the number of its stripe.
    stripe_bits: u32,
    /// Keys that have changed since they were sent.
    changed: BTreeSet<Box<[u8]>>,
    tail: u32,
}

impl Feed {
    pub(super) fn changed(&mut self, hash: u64, key: &[u8]) {
        let sent = self.cursor.is_none_or(|cursor| self.place(hash) < cursor);
        if sent && !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
    }

    pub(super) fn restart(&mut self, keys: usize) {
        *self = Self::new(self.id, self.run + 1, keys);
    }

    /// The place of a hash in the order of sending.
    fn place(&self, hash: u64) -> Place {
        let stripe = hash.checked_shr(64 - self.stripe_bits).unwrap_or(0);
        (reverse(stripe, self.stripe_bits), hash)
    }

    /// The hashes of the stripe at `cursor`, from the one at `cursor` on.
    fn stripe(&self, (stripe, hash): Place) -> RangeInclusive<u64> {
        let width = 64 - self.stripe_bits;
        let first = reverse(stripe, self.stripe_bits).checked_shl(width).unwrap_or(0);
        first.max(hash)..=first + (u64::MAX >> self.stripe_bits)
    }

    /// The cursor after a stripe.
    fn behind(&self, (stripe, _): Place) -> Option<Place> {
        (stripe + 1 < 1 << self.stripe_bits).then_some((stripe + 1, 0))
    }

    fn new(id: u64, run: u64, keys: usize) -> Self {
        Self {
            id,
            run,
            seq: 0,
            cursor: Some((0, 0)),
            stripe_bits: (keys / STRIPE).checked_ilog2().unwrap_or(0),
            changed: BTreeSet::new(),
            tail: 0,
        }
    }
}

impl Shard {
    /// Begins a stream of the whole shard. No other stream to the same peer may have had this `id`. Until it is closed,
    /// it needs memory for each key that is written.
    pub fn open_stream(&mut self, id: u64) {
        self.close_stream(id);
        self.feeds.push(Feed::new(id, 0, self.objects.len()));
    }

    /// Ends a stream before its last chunk.
    pub fn close_stream(&mut self, id: u64) {
        self.feeds.retain(|feed| feed.id != id);
    }

    /// Appends the next chunk of an open stream. It has about `bytes_max` bytes, or more if a single object is larger.
    /// None if there is no such stream.
    pub fn next_chunk(&mut self, id: u64, bytes_max: usize, out: &mut Vec<u8>) -> Option<Chunk> {
        let at = self.feeds.iter().position(|feed| feed.id == id)?;
        let mut feed = self.feeds.swap_remove(at);
        out.extend_from_slice(&feed.id.to_le_bytes());
        put_varint(out, feed.run);
        put_varint(out, feed.seq);
        feed.seq += 1;
        let end = out.len().saturating_add(bytes_max);
        if !self.send_scanned(&mut feed, end, out) || !self.send_changed(&mut feed, end, out) {
            out.push(MORE);
            self.feeds.push(feed);
            return Some(Chunk::More);
        }
        out.push(LAST);
        self.clock.encode(out);
        self.wiped.encode(out);
        Some(Chunk::Last)
    }

    /// Merges a shard that has arrived completely. Returns whether it had.
    pub fn join(&mut self, intake: Intake) -> bool {
        let Some((clock, wiped)) = intake.end else {
            return false;
        };
        let theirs = Seen {
            objects: intake.objects,
            clock,
            wiped,
        };
        let ours = Seen {
            objects: mem::take(&mut self.objects),
            clock: mem::take(&mut self.clock),
            wiped: mem::take(&mut self.wiped),
        };
        // Merging is symmetric, so the smaller shard is merged into the larger.
        let merged = match ours.objects.len() < theirs.objects.len() {
            true => theirs.merge(&ours),
            false => ours.merge(&theirs),
        };
        (self.objects, self.clock, self.wiped) = (merged.objects, merged.clock, merged.wiped);
        self.changed_all();
        true
    }

    /// Sends keys in the order of their places. Returns whether all were sent.
    fn send_scanned(&self, feed: &mut Feed, end: usize, out: &mut Vec<u8>) -> bool {
        while let Some(cursor) = feed.cursor {
            if out.len() >= end {
                return false;
            }
            let stripe = feed.stripe(cursor);
            let (held, next) = self.objects.scan(*stripe.start(), STRIPE);
            let mut sent = None;
            for (hash, key, found) in held.into_iter().filter(|(hash, ..)| stripe.contains(hash)) {
                // Keys with the same hash are sent together, since the cursor cannot point between them.
                if out.len() >= end && sent != Some(hash) {
                    feed.cursor = Some((cursor.0, hash));
                    return false;
                }
                out.push(ENTRY);
                put_entry(out, key, Some(found));
                sent = Some(hash);
            }
            feed.cursor = match next {
                Some(hash) if stripe.contains(&hash) => Some((cursor.0, hash)),
                _ => feed.behind(cursor),
            };
        }
        true
    }

    /// Sends changed keys again. Returns whether none is left.
    fn send_changed(&self, feed: &mut Feed, end: usize, out: &mut Vec<u8>) -> bool {
        feed.tail += 1;
        while let Some(key) = feed.changed.pop_first() {
            if out.len() >= end && feed.tail <= TAIL_MAX {
                feed.changed.insert(key);
                return false;
            }
            out.push(ENTRY);
            put_entry(out, &key, self.objects.get(table::hash(&key), &key));
        }
        true
    }
}

/// A whole shard: its objects, and everything that all its keys have seen.
struct Seen {
    objects: Objects,
    clock: Clock,
    wiped: Clock,
}

impl Seen {
    fn has(&self, dot: Dot) -> bool {
        self.clock.contains(dot) || self.wiped.contains(dot)
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.objects.get(table::hash(key), key).is_some()
    }

    fn merge(mut self, other: &Self) -> Self {
        let mut objects = mem::take(&mut self.objects);
        // Keys that the other shard lacks are handled here, its own keys below.
        objects.remove(|key, dot| other.has(dot) && !other.holds(key));
        let mut merge = |key: &[u8], theirs: Object| {
            let hash = table::hash(key);
            let mut ours = objects.take(hash, key);
            ours.merge(theirs, |dot| self.has(dot), |dot| other.has(dot));
            ours.context.subtract(&self.clock);
            ours.context.subtract(&other.clock);
            objects.store(hash, key, ours);
        };
        for (_, key, object) in other.objects.iter_aside(0) {
            merge(key, object.clone());
        }
        for (key, record) in other.objects.table.iter() {
            merge(key, Sibling::from(&record).into());
        }
        self.clock.join(&other.clock);
        self.wiped.join(&other.wiped);
        Self { objects, ..self }
    }
}

fn reverse(stripe: u64, bits: u32) -> u64 {
    stripe.reverse_bits().checked_shr(64 - bits).unwrap_or(0)
}

/// The result of receiving a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intaken {
    /// It was kept, and more must come.
    More,
    /// It was the last one. [`Shard::join`] may merge the shard.
    Complete,
    /// It was kept before, or belongs to another stream, or to a run that was given up.
    Ignored,
    /// A chunk before it is missing, so the stream cannot be completed. Drop the intake and ask for a new stream.
    Gap,
}

/// A shard that is being received.
#[derive(Default)]
pub struct Intake {
    id: u64,
    run: u64,
    seq: u64,
    objects: Objects,
    end: Option<(Clock, Clock)>,
}

impl core::fmt::Debug for Intake {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Intake")
            .field("id", &self.id)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Intake {
    /// The intake for the stream `id`, without any chunks yet.
    pub fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// Takes one chunk from `reader` and keeps it. After a malformed chunk the intake must not be used any more.
    pub fn receive(&mut self, reader: &mut Reader<'_>) -> Result<Intaken, Malformed> {
        let (id, run, seq) = (reader.u64()?, reader.varint()?, reader.varint()?);
        if id != self.id || run < self.run || (run == self.run && seq < self.seq) || self.end.is_some() {
            return Ok(Intaken::Ignored);
        }
        if run > self.run && seq == 0 {
            *self = Self { run, ..Self::new(id) };
        }
        if run != self.run || seq != self.seq {
            return Ok(Intaken::Gap);
        }
        self.seq += 1;
        loop {
            match reader.u8()? {
                ENTRY => self.objects.replace(Entry::take(reader)?),
                MORE => return Ok(Intaken::More),
                LAST => break,
                _ => return Err(Malformed("unknown tag in a chunk")),
            }
        }
        let (clock, wiped) = (Clock::decode(reader)?, Clock::decode(reader)?);
        if self.objects.dots().any(|dot| !clock.contains(dot)) {
            return Err(Malformed("shard with a sibling its clock has not seen"));
        }
        self.end = Some((clock, wiped));
        Ok(Intaken::Complete)
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.objects.memory_bytes()
    }

    /// A planted fault: treats the chunks received so far as the whole shard.
    #[cfg(test)]
    pub(super) fn complete_early(&mut self, clock: Clock, wiped: Clock) {
        self.end = Some((clock, wiped));
    }
}
