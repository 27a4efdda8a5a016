//! The recent writes of a shard: the keys of its last dots.
//!
//! A ring of bytes with one `dot key` after the other. If a peer missed only a few writes, these keys alone are sent to
//! it. If the ring does not reach back far enough, the whole shard is streamed. The ring is limited: the oldest entries
//! are dropped, and it never takes more memory than the shard itself, which could be streamed as well.

use alloc::vec::Vec;

use crate::clock::Clock;
use crate::codec::{Reader, put_bytes, put_dot};
use crate::dot::Dot;

/// Memory for recent writes in a small shard, in bytes.
pub const RECENT_BYTES_MIN: usize = 8 << 10;
/// Memory for recent writes in the largest shard, in bytes.
pub const RECENT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a dot and of a length.
const DOT_BYTES_MAX: usize = 8 + 10;
const LEN_BYTES_MAX: usize = 10;
/// Between these sizes, recent writes may take one part in this many of the shard's memory.
const SHARE: usize = 16;

/// The last dots of a shard with their keys, oldest first.
#[derive(Debug, Default)]
pub struct Recent {
    bytes: Vec<u8>,
    entries: usize,
}

impl Recent {
    /// Adds a dot that the shard's clock has just come to cover. Drops old entries according to the shard's memory.
    pub fn push(&mut self, dot: Dot, key: &[u8], shard_bytes: usize) {
        let bytes_max = (shard_bytes / SHARE)
            .clamp(RECENT_BYTES_MIN, RECENT_BYTES_MAX)
            .min(shard_bytes);
        let entry_bytes_max = DOT_BYTES_MAX + LEN_BYTES_MAX + key.len();
        if self.bytes.len() + entry_bytes_max > bytes_max {
            if entry_bytes_max > bytes_max {
                return self.clear();
            }
            self.give_way(bytes_max / 2);
            self.bytes.shrink_to(bytes_max);
        }
        put_dot(&mut self.bytes, dot);
        put_bytes(&mut self.bytes, key);
        self.entries += 1;
    }

    /// Drops the oldest entries until at most `bytes_left` bytes are left. Half of the ring is dropped at once, since
    /// these entries are in memory that has not been used for long.
    fn give_way(&mut self, bytes_left: usize) {
        let mut start = 0;
        while self.bytes.len() - start > bytes_left {
            start += self.entry_len(start);
            self.entries -= 1;
        }
        self.bytes.drain(..start);
    }

    /// All entries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (Dot, &[u8])> {
        let mut reader = Reader::new(&self.bytes);
        core::iter::from_fn(move || Some((reader.dot().ok()?, reader.bytes().ok()?)))
    }

    /// The entries of exactly the dots in `wanted`; none if one of them is missing.
    pub fn find<'a>(&'a self, wanted: &Clock) -> Option<Vec<(Dot, &'a [u8])>> {
        if wanted.count() > self.entries as u64 {
            return None;
        }
        let found: Vec<_> = self.iter().filter(|&(dot, _)| wanted.contains(dot)).collect();
        (found.len() as u64 == wanted.count()).then_some(found)
    }

    /// Reads the place of the next entry, so that it is in the CPU cache.
    #[inline]
    pub(crate) fn load(&self) -> usize {
        self.bytes.last().copied().unwrap_or(0).into()
    }

    /// Drops all entries.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes of the entry that begins at `start`.
    fn entry_len(&self, start: usize) -> usize {
        let mut reader = Reader::new(&self.bytes[start..]);
        let sound = reader.dot().is_ok() && reader.bytes().is_ok();
        assert!(sound, "the ring of recent writes holds only what was pushed");
        self.bytes.len() - start - reader.rest().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Span;
    use crate::dot::Writer;

    const WRITER: Writer = Writer(7);

    #[test]
    fn the_oldest_entries_are_dropped_and_the_rest_is_found() {
        let mut recent = Recent::default();
        for counter in 1..=5000 {
            recent.push(
                Dot {
                    writer: WRITER,
                    counter,
                },
                &[b'k'; 20],
                RECENT_BYTES_MIN,
            );
            assert!(recent.memory_bytes() <= RECENT_BYTES_MIN);
        }
        let kept = recent.iter().count() as u64;
        assert!((100..300).contains(&kept), "{kept} entries");
        let mut wanted = Clock::new();
        wanted.insert_span(
            WRITER,
            Span {
                first: 5001 - kept,
                last: 5000,
            },
        );
        assert_eq!(recent.find(&wanted).map(|found| found.len() as u64), Some(kept));
        wanted.insert(Dot {
            writer: WRITER,
            counter: 5000 - kept,
        });
        assert_eq!(recent.find(&wanted), None);
    }

    #[test]
    fn an_empty_shard_remembers_nothing() {
        let mut recent = Recent::default();
        for counter in 1..=100 {
            let dot = Dot {
                writer: WRITER,
                counter,
            };
            recent.push(dot, b"key", if counter < 100 { RECENT_BYTES_MIN } else { 0 });
        }
        assert_eq!((recent.iter().count(), recent.memory_bytes()), (0, 0));
    }

    #[test]
    fn a_large_shard_remembers_more() {
        let mut recent = Recent::default();
        for counter in 1..=5000 {
            recent.push(
                Dot {
                    writer: WRITER,
                    counter,
                },
                &[b'k'; 20],
                64 << 20,
            );
        }
        assert_eq!(recent.iter().count(), 5000);
    }
}
