//! A whole shard on its way to a peer, in chunks, while writes go on.
//!
//! ```text
//! chunk   stream:u64 run seq (1 entry)* (0 | 2 clock wiped)
//! ```
//!
//! The sender goes through its objects in the order of their hashes. A key that changes after it was sent is noted
//! and sent again; when nothing is left to send, all that was sent is the shard as it is at that instant, and the
//! last chunk carries the clock of that instant. What changes the whole shard (a wipe, a merged shard) starts a new
//! run of the stream.
//!
//! The receiver keeps the chunks apart until the last one is there and then merges the two shards at one stroke. The
//! one law: half a shard says nothing. Merging chunk by chunk would show deletes whose dots are not in the clock yet,
//! and if the sender died then, replicas with equal clocks would differ. So a stream that breaks off is just dropped,
//! and several at a time, from one sender or many, do no harm. The price is the memory of the shard a second time,
//! until it has arrived, and one merge of it in one go: some milliseconds for ten thousands of keys.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;

use super::Shard;
use crate::clock::Clock;
use crate::codec::{Malformed, Reader, put_varint};
use crate::delta::take_entry;
use crate::object::{Object, Sibling};
use crate::objects::Objects;
use crate::table;

const ENTRY: u8 = 1;
const MORE: u8 = 0;
const LAST: u8 = 2;

/// How many records are looked at in one step of the sender.
const STEP: usize = 64;
/// How many chunks may go by with keys that changed again before the last one is made as large as it must be.
const TAIL_MAX: u32 = 16;

/// Which chunk was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// One that others follow.
    More,
    /// The last one; the stream is closed.
    Last,
}

/// A stream at its sender.
#[derive(Debug)]
pub(super) struct Feed {
    id: u64,
    run: u64,
    seq: u64,
    /// All keys whose hash is lower have been sent; none: all keys.
    cursor: Option<u64>,
    /// Keys that have changed since they were sent.
    changed: BTreeSet<Box<[u8]>>,
    tail: u32,
}

impl Feed {
    pub(super) fn changed(&mut self, hash: u64, key: &[u8]) {
        if self.cursor.is_none_or(|cursor| hash < cursor) && !self.changed.contains(key) {
            self.changed.insert(key.into());
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self::new(self.id, self.run + 1);
    }

    fn new(id: u64, run: u64) -> Self {
        Self {
            id,
            run,
            seq: 0,
            cursor: Some(0),
            changed: BTreeSet::new(),
            tail: 0,
        }
    }
}

impl Shard {
    /// Begins a stream of the whole shard under an `id` that no other stream to the same peer has had. It costs
    /// memory for each key written until it is closed.
    pub fn open_stream(&mut self, id: u64) {
        self.close_stream(id);
        self.feeds.push(Feed::new(id, 0));
    }

    /// Ends a stream that has not come to its last chunk.
    pub fn close_stream(&mut self, id: u64) {
        self.feeds.retain(|feed| feed.id != id);
    }

    /// Appends the next chunk of an open stream, of about `bytes_max` bytes unless a single object is larger. None
    /// if there is no such stream.
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

    /// Merges a shard that has arrived whole; whether it had.
    pub fn join(&mut self, intake: Intake) -> bool {
        let Some((clock, wiped)) = intake.end else {
            return false;
        };
        let theirs = intake.objects;
        if self.objects.is_empty() && self.clock.is_empty() && self.wiped.is_empty() {
            (self.objects, self.clock, self.wiped) = (theirs, clock, wiped);
            self.changed_all();
            return true;
        }
        let seen_by_them = |dot| clock.contains(dot) || wiped.contains(dot);
        // What they do not hold is decided here, what they hold below.
        self.objects
            .remove(|hash, key, dot| seen_by_them(dot) && theirs.get(hash, key).is_none());
        let mut after = self.clock.clone();
        after.join(&clock);
        let before = mem::replace(&mut self.clock, after);
        let before_wiped = mem::take(&mut self.wiped);
        let seen = |dot| before.contains(dot) || before_wiped.contains(dot);
        let mut merge = |hash, key: &[u8], object: Object| {
            let mut mine = self.objects.take(hash, key);
            mine.merge(object, seen, seen_by_them);
            mine.context.subtract(&self.clock);
            self.objects.store(hash, key, mine);
        };
        for (hash, key, object) in theirs.iter_aside(0) {
            merge(hash, key, object.clone());
        }
        for (key, record) in theirs.table.iter() {
            let hash = table::hash(key);
            merge(hash, key, Object::from(Sibling::from(&record)));
        }
        self.wiped = before_wiped;
        self.wiped.join(&wiped);
        self.changed_all();
        true
    }

    /// Sends keys by hash; whether all have been.
    fn send_scanned(&self, feed: &mut Feed, end: usize, out: &mut Vec<u8>) -> bool {
        while let Some(from) = feed.cursor {
            if out.len() >= end {
                return false;
            }
            let (found, next) = self.objects.scan(from, STEP);
            let mut sent = None;
            for (hash, key, _) in found {
                // Keys of equal hash go together, for the cursor cannot stand between them.
                if out.len() >= end && sent != Some(hash) {
                    feed.cursor = Some(hash);
                    return false;
                }
                out.push(ENTRY);
                self.put_entry(out, key);
                sent = Some(hash);
            }
            feed.cursor = next;
        }
        true
    }

    /// Sends again what has changed; whether nothing is left.
    fn send_changed(&self, feed: &mut Feed, end: usize, out: &mut Vec<u8>) -> bool {
        feed.tail += 1;
        while let Some(key) = feed.changed.pop_first() {
            if out.len() >= end && feed.tail <= TAIL_MAX {
                feed.changed.insert(key);
                return false;
            }
            out.push(ENTRY);
            self.put_entry(out, &key);
        }
        true
    }
}

/// What came of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intaken {
    /// It was kept; more must come.
    More,
    /// It was the last one: [`Shard::join`] may merge the whole.
    Complete,
    /// It was kept before, or belongs to another stream or to a run that was given up.
    Ignored,
    /// One before it is missing. The stream cannot be completed; drop the intake and ask for a new one.
    Gap,
}

/// A shard on its way in.
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
        f.debug_struct("Intake").field("id", &self.id).field("seq", &self.seq).finish_non_exhaustive()
    }
}

impl Intake {
    /// Nothing yet of the stream `id`.
    pub fn new(id: u64) -> Self {
        Self {
            id,
            ..Self::default()
        }
    }

    /// Takes one chunk off `reader` and keeps it. After a malformed one the intake is of no use.
    pub fn receive(&mut self, reader: &mut Reader<'_>) -> Result<Intaken, Malformed> {
        let (id, run, seq) = (reader.u64()?, reader.varint()?, reader.varint()?);
        if id != self.id
            || run < self.run
            || (run == self.run && seq < self.seq)
            || self.end.is_some()
        {
            return Ok(Intaken::Ignored);
        }
        if run > self.run && seq == 0 {
            *self = Self {
                run,
                ..Self::new(id)
            };
        }
        if run != self.run || seq != self.seq {
            return Ok(Intaken::Gap);
        }
        self.seq += 1;
        loop {
            match reader.u8()? {
                ENTRY => {
                    let (key, object) = take_entry(reader)?;
                    let hash = table::hash(key);
                    self.objects.take(hash, key);
                    self.objects.store(hash, key, object);
                }
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

    /// A planted fault: takes what is there for the whole shard under `clock`.
    #[cfg(test)]
    pub(super) fn complete_early(&mut self, clock: Clock) {
        self.end = Some((clock, Clock::new()));
    }
}
