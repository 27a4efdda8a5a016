//! The records of one shard by key: a hash table that is small when the shard is.
//!
//! Stop *apply* of a request's way: the replica reads and replaces records here. A node has a
//! thousand of these tables, so that an empty one owns no memory and one with a thousand short keys
//! wastes a few bytes on each.
//!
//! ```text
//! key ─ hash ─► index: half a hash, id ─► slab: pages of equal slots ─► layout: dot, stamp, value
//!                                                                      └► palette: number ↔ writer
//! ```
//!
//! - `index`: ids in the order of hashes, so that a [scan](Table::scan) survives growth.
//! - `slab`: the bytes. Removing moves one other record, and tells us which.
//! - `layout`: a record as bytes.
//! - `palette`: eight-byte writers as one-byte numbers.
//!
//! Invariants:
//! - Every id in the slab is in the index once, under the hash of its record's key.
//! - Every number in a record is in use in the palette, once for each such record.
//! - An operation on one key touches that key, at most one other record, and the memory of at most
//!   two pages, but for the doubling of small vectors and the rebuilding of the index: a pass of a
//!   nanosecond or two for each entry that comes once in a quarter of them.
//! - Nothing here knows what time it is: an expired record is a record until it is removed.
//!
//! Deliberately absent: siblings and contexts (the shard's business), eviction, and any bound on
//! lengths (the command's business; whatever fits in memory can be kept).

use alloc::vec::Vec;

use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use crate::dot::Dot;
use crate::slab::Slab;
use crate::stamp::Stamp;
use index::Index;
use layout::{Decoded, Encoded};
use palette::Palette;

mod index;
mod layout;
mod palette;
#[cfg(test)]
mod tests;

/// The largest format of a plain content: formats have five bits.
pub const FORMAT_MAX: u8 = 31;

/// The hash that every table files a key under, the same on all nodes and for ever.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// What a few records were asked for that have expired.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sweep<'a> {
    /// The keys of those that have.
    pub keys: Vec<&'a [u8]>,
    /// How many records there were.
    pub looked: usize,
    /// Where to go on: 0 when the end is reached.
    pub next: u64,
}

/// What is kept under a key: one sibling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The write that made it.
    pub dot: Dot,
    /// When it was written.
    pub stamp: Stamp,
    /// When it ceases to be, in Unix milliseconds.
    pub expiry_ms: Option<u64>,
    /// The value.
    pub content: Content<'a>,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Bytes.
    Plain {
        /// What the bytes are: 0 raw, others as the store defines; up to [`FORMAT_MAX`].
        format: u8,
        /// The value, or what it is encoded as.
        bytes: &'a [u8],
    },
    /// What one writer has added to a counter.
    Counter {
        /// The first of the writer's dots that the amount contains.
        since: u64,
        /// The sum of what it added: the number fits into 64 bits together with what others hold, this alone may not.
        amount: i128,
    },
}

/// Records by key.
///
/// The `hash` that methods ask for is always [`hash`] of the key; it is a parameter because callers
/// have it already.
pub struct Table {
    index: Index,
    slab: Slab,
    palette: Palette,
    /// Records that have an expiry.
    expiring: usize,
}

impl Table {
    /// A table that owns no memory.
    pub const fn new() -> Self {
        Self {
            index: Index::new(),
            slab: Slab::new(),
            palette: Palette::new(),
            expiring: 0,
        }
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records have an expiry.
    pub fn expiring(&self) -> usize {
        self.expiring
    }

    /// Bytes of heap it holds, without what the allocator adds to each piece.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.slab.memory_bytes() + self.palette.memory_bytes()
    }

    /// The record of a key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Record<'_>> {
        let id = self.index.id(self.find(hash, key)?);
        Some(self.record(self.slab.get(id)).1)
    }

    /// What [`Table::entry`] gives if there is nothing under a hash.
    pub const NO_ENTRY: u64 = index::EMPTY;

    /// The index entry where the search for a hash begins. It names a record as long as the table is not changed.
    #[inline]
    pub fn entry(&self, hash: u64) -> u64 {
        self.index.first(hash)
    }

    /// Loads what lies between an entry and its record. The value is of no use but that it was loaded.
    #[inline]
    pub fn load_page(&self, entry: u64) -> usize {
        if entry == Self::NO_ENTRY {
            0
        } else {
            self.slab.get(entry as u32).len()
        }
    }

    /// Loads the beginning of an entry's record. The value is of no use but that it was loaded.
    #[inline]
    pub fn load_record(&self, entry: u64) -> usize {
        if entry == Self::NO_ENTRY {
            return 0;
        }
        self.slab.get(entry as u32).first().copied().unwrap_or(0).into()
    }

    /// Keeps a record under a key, in place of the one that is there: `true` if there was one.
    ///
    /// A table that is full (past 16 GiB of records of up to 1 KiB *and* 2^30 others) refuses what
    /// would need a new place: it answers `false` and is unchanged.
    ///
    /// # Panics
    /// If the format of the content is above [`FORMAT_MAX`].
    pub fn put(&mut self, hash: u64, key: &[u8], record: &Record<'_>) -> bool {
        debug_assert_eq!(hash, self::hash(key), "the hash is the key's own");
        match self.find(hash, key) {
            Some(at) => self.replace(at, key, record),
            None => {
                self.insert(hash, key, record);
                false
            }
        }
    }

    /// Removes the record of a key: `true` if there was one.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        let Some(at) = self.find(hash, key) else {
            return false;
        };
        let id = self.index.id(at);
        let removed = Decoded::new(self.slab.get(id));
        self.expiring -= usize::from(removed.expiry_ms.is_some());
        self.palette.release(removed.number);
        self.index.remove(at);
        self.vacate(id);
        true
    }

    /// Removes all records and gives all memory back.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// All keys and records, in an order of the moment.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        self.slab.iter_from(0).map(|(_, bytes)| self.record(bytes))
    }

    /// The first `limit` keys and records whose hash is at least `from_hash`, in ascending order of
    /// hashes, and the hash to go on from, if there are more.
    ///
    /// Keys of equal hash come together, even beyond the limit. So whatever is put and removed
    /// between the calls, a scan from 0 until there is no hash to go on from meets each key that is
    /// there all along exactly once.
    pub fn scan(&self, from_hash: u64, limit: usize) -> (Vec<(&[u8], Record<'_>)>, Option<u64>) {
        let mut found = Vec::new();
        let mut last = None;
        // The index orders by half a hash; those that agree in it, mostly one, are sorted here.
        let mut group: SmallVec<[(u64, u32); 4]> = SmallVec::new();
        let mut ids = self.index.iter_from(from_hash).peekable();
        while let Some((half, id)) = ids.next() {
            group.push((self.hash_of(id), id));
            if ids.peek().is_some_and(|&(next, _)| next == half) {
                continue;
            }
            group.sort_unstable();
            for (hash, id) in group.drain(..).filter(|&(hash, _)| hash >= from_hash) {
                if found.len() >= limit && last != Some(hash) {
                    return (found, Some(hash));
                }
                found.push(self.record(self.slab.get(id)));
                last = Some(hash);
            }
        }
        (found, None)
    }

    /// A key and its record, drawn with `random`, which must be even over all of `u64`: each is as
    /// likely as any other but for less than one time in 10^5.
    pub fn random(&self, random: u64) -> Option<(&[u8], Record<'_>)> {
        let id = self.index.sample(random)?;
        Some(self.record(self.slab.get(id)))
    }

    /// The keys among the `limit` records from `cursor` on that are `over`, as told from deadline and content; nothing
    /// without a deadline is asked about. `cursor` is 0 at first and then [`Sweep::next`].
    ///
    /// Costs nothing while no record has an expiry. A record that another one's removal moved may
    /// be left to the next round.
    pub fn expired(&self, over: impl Fn(u64, &Content<'_>) -> bool, limit: usize, cursor: u64) -> Sweep<'_> {
        let mut sweep = Sweep::default();
        if self.expiring == 0 {
            return sweep;
        }
        let mut next = cursor;
        let mut records = self.slab.iter_from(u32::try_from(cursor).unwrap_or(u32::MAX));
        for (behind, bytes) in records.by_ref().take(limit) {
            let record = Decoded::new(bytes);
            if record
                .expiry_ms
                .is_some_and(|expiry_ms| over(expiry_ms, &record.content))
            {
                sweep.keys.push(record.key);
            }
            sweep.looked += 1;
            next = u64::from(behind);
        }
        if records.next().is_some() {
            sweep.next = next;
        }
        sweep
    }

    /// The slot of the index that a key has.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.index.find(hash, |id| layout::key(self.slab.get(id)) == key)
    }

    #[inline]
    fn record<'a>(&'a self, bytes: &'a [u8]) -> (&'a [u8], Record<'a>) {
        let Decoded {
            key,
            number,
            counter,
            stamp,
            expiry_ms,
            content,
        } = Decoded::new(bytes);
        let dot = Dot {
            writer: self.palette.writer(number),
            counter,
        };
        (
            key,
            Record {
                dot,
                stamp,
                expiry_ms,
                content,
            },
        )
    }

    fn hash_of(&self, id: u32) -> u64 {
        hash(layout::key(self.slab.get(id)))
    }

    fn insert(&mut self, hash: u64, key: &[u8], record: &Record<'_>) {
        let number = self.palette.acquire(record.dot.writer);
        let Some(id) = self.slab.insert(&Encoded::new(key, number, record).pieces()) else {
            self.palette.release(number);
            return;
        };
        self.index.insert(hash, id);
        self.expiring += usize::from(record.expiry_ms.is_some());
    }

    fn replace(&mut self, at: usize, key: &[u8], record: &Record<'_>) -> bool {
        let id = self.index.id(at);
        let old = Decoded::new(self.slab.get(id));
        let (number_old, expired_old) = (old.number, old.expiry_ms.is_some());
        // Mostly the writer is the same, and its number need not be looked up.
        let same = self.palette.writer(number_old) == record.dot.writer;
        let number = if same {
            number_old
        } else {
            self.palette.acquire(record.dot.writer)
        };
        let encoded = Encoded::new(key, number, record);
        let pieces = encoded.pieces();
        if !self.slab.replace(id, &pieces) {
            let Some(moved) = self.slab.insert(&pieces) else {
                if !same {
                    self.palette.release(number);
                }
                return false;
            };
            self.index.set_id(at, moved);
            self.vacate(id);
        }
        if !same {
            self.palette.release(number_old);
        }
        self.expiring += usize::from(record.expiry_ms.is_some());
        self.expiring -= usize::from(expired_old);
        true
    }

    /// Gives up a place that the index no longer names, and names the record that moves there.
    fn vacate(&mut self, id: u32) {
        if let Some(moved) = self.slab.remove(id) {
            let at = self.index.find(self.hash_of(id), |other| other == moved);
            self.index.set_id(at.expect("every record is in the index"), id);
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}
