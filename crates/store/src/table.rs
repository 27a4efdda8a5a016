//! The records of one shard by key: a hash table that is small when the shard is small.
//!
//! Stop *apply* of a request: the replica reads and replaces records here. A node has a thousand of these tables. So an
//! empty table owns no memory, and a table with a thousand short keys wastes only a few bytes for each.
//!
//! ```text
//! key ─ hash ─► index: half a hash, id ─► slab: pages of equal slots ─► layout: dot, stamp, value
//!                                                                      └► palette: number ↔ writer
//! ```
//!
//! - `index`: ids in the order of hashes, so that a [scan](Table::scan) survives growth.
//! - `slab`: the bytes. Removing a record moves at most one other, and reports which.
//! - `layout`: a record as bytes.
//! - `palette`: eight-byte writers as one-byte numbers.
//!
//! Invariants:
//! - Every id in the slab is in the index once, under the hash of its record's key.
//! - Every writer number in a record is in use in the palette, and counted once for each such record.
//! - An operation on one key touches that key, at most one other record, and the memory of at most two pages. There are
//!   two exceptions: small vectors double, and the index is rebuilt each time it has grown or shrunk by a quarter,
//!   which takes one or two nanoseconds for each entry.
//! - Nothing here knows the time: an expired record is a record until it is removed.
//!
//! Deliberately absent: siblings and contexts (the shard has them), eviction, and limits on lengths (commands check
//! them; any record that fits in memory can be stored).

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

/// The hash of a key in every table. It is the same on all nodes, and never changes.
#[inline]
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The result of looking for expired records among a few.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sweep<'a> {
    /// The keys of expired records.
    pub keys: Vec<&'a [u8]>,
    /// How many records were looked at.
    pub looked: usize,
    /// Where to go on; 0 if the end was reached.
    pub next: u64,
}

/// The stored record of a key: one sibling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The write that made it.
    pub dot: Dot,
    /// When it was written.
    pub stamp: Stamp,
    /// When it expires, in Unix milliseconds.
    pub expiry_ms: Option<u64>,
    /// The value.
    pub content: Content<'a>,
}

/// The content of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Bytes.
    Plain {
        /// The format of the bytes: 0 is raw, the store defines the others; up to [`FORMAT_MAX`].
        format: u8,
        /// The value, or its encoding.
        bytes: &'a [u8],
    },
    /// What one writer has added to a counter.
    Counter {
        /// The first of the writer's dots that `amount` includes.
        since: u64,
        /// The sum of the writer's increments. The number that all writers have together fits into 64 bits; this part
        /// alone may not.
        amount: i128,
    },
}

/// Records by key.
///
/// The `hash` argument of methods is always [`hash`] of the key. It is an argument because callers already have it.
pub struct Table {
    index: Index,
    slab: Slab,
    palette: Palette,
    /// How many records have an expiry.
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

    /// Bytes of heap it uses, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.slab.memory_bytes() + self.palette.memory_bytes()
    }

    /// The record of a key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Record<'_>> {
        let id = self.index.id(self.find(hash, key)?);
        Some(self.record(self.slab.get(id)).1)
    }

    /// The result of [`Table::entry`] if there is no entry for a hash.
    pub const NO_ENTRY: u64 = index::EMPTY;

    /// The index entry where the search for a hash begins. It is valid as long as the table does not change.
    #[inline]
    pub fn entry(&self, hash: u64) -> u64 {
        self.index.first(hash)
    }

    /// Reads the memory between an entry and its record, so that it is in the CPU cache. The result has no other use.
    #[inline]
    pub fn load_page(&self, entry: u64) -> usize {
        if entry == Self::NO_ENTRY {
            0
        } else {
            self.slab.get(entry as u32).len()
        }
    }

    /// Reads the beginning of an entry's record, so that it is in the CPU cache. The result has no other use.
    #[inline]
    pub fn load_record(&self, entry: u64) -> usize {
        if entry == Self::NO_ENTRY {
            return 0;
        }
        self.slab.get(entry as u32).first().copied().unwrap_or(0).into()
    }

    /// Stores a record under a key, in place of the present one. Returns `true` if there was one.
    ///
    /// A full table (more than 16 GiB of records of up to 1 KiB *and* 2^30 others) refuses records that need a new
    /// place: it returns `false` and does not change.
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

    /// Removes all records and frees all memory.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// All keys and records, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        self.slab.iter_from(0).map(|(_, bytes)| self.record(bytes))
    }

    /// The first `limit` keys and records whose hash is at least `from_hash`, in ascending order of hashes; and the
    /// hash to go on from, if there are more.
    ///
    /// Keys with the same hash are returned together, even beyond the limit. Keys may be put and removed between the
    /// calls. A scan from 0 until no hash to go on from is returned finds each key that was there all the time exactly
    /// once.
    pub fn scan(&self, from_hash: u64, limit: usize) -> (Vec<(&[u8], Record<'_>)>, Option<u64>) {
        let mut found = Vec::new();
        let mut last = None;
        // The index is ordered by half a hash. Entries with the same half, mostly one, are sorted here.
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

    /// A key and its record, picked by `random`, which must be uniform over all of `u64`. Each is equally likely,
    /// except in less than one of 10^5 cases.
    pub fn random(&self, random: u64) -> Option<(&[u8], Record<'_>)> {
        let id = self.index.sample(random)?;
        Some(self.record(self.slab.get(id)))
    }

    /// The keys among the `limit` records from `cursor` on for which `over` returns true, given deadline and content.
    /// Records without a deadline are skipped. `cursor` is 0 at first, and then [`Sweep::next`].
    ///
    /// Costs nothing while no record has an expiry. A record that was moved by the removal of another one may be found
    /// only in the next round.
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

    /// The index slot of a key.
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
        // Usually the writer is the same, so its number need not be looked up.
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

    /// Frees the place of a record that is no longer in the index. If another record moves there, updates the index.
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
