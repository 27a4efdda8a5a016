//! Small numbers for the writers in one table.
//!
//! A writer has eight bytes, and a table has few writers. So a record stores a number instead, which mostly takes one
//! byte. A number is in use as long as a record has it; then the next new writer gets it. So numbers stay below the
//! largest number of writers that were in use at the same time, and there are never more of those than records. All
//! memory is freed with the last writer.

use alloc::vec::Vec;

use hashbrown::HashTable;

use crate::dot::Writer;

/// No number.
const NONE: u32 = u32::MAX;

/// The writers of one table by number, counted.
pub(super) struct Palette {
    entries: Vec<Entry>,
    /// Numbers in use, found by writer. A writer is a hash already.
    numbers: HashTable<u32>,
    /// The first unused number. Unused numbers are chained by `next`.
    free: u32,
}

struct Entry {
    writer: Writer,
    /// How many records use the number. At zero the number is unused.
    uses: u32,
    /// In an unused entry, the next one.
    next: u32,
}

impl Palette {
    /// A palette that owns no memory.
    pub(super) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            numbers: HashTable::new(),
            free: NONE,
        }
    }

    /// The writer of a number that is in use.
    #[inline]
    pub(super) fn writer(&self, number: u32) -> Writer {
        self.entries[number as usize].writer
    }

    /// The number of a writer. Counts one more use.
    pub(super) fn acquire(&mut self, writer: Writer) -> u32 {
        let is_it = |&number: &u32| self.entries[number as usize].writer == writer;
        if let Some(&number) = self.numbers.find(writer.0, is_it) {
            self.entries[number as usize].uses += 1;
            return number;
        }
        let entry = Entry {
            writer,
            uses: 1,
            next: NONE,
        };
        let number = if self.free == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            let number = self.free;
            self.free = self.entries[number as usize].next;
            self.entries[number as usize] = entry;
            number
        };
        let hash_of = |&number: &u32| self.entries[number as usize].writer.0;
        self.numbers.insert_unique(writer.0, number, hash_of);
        number
    }

    /// Counts one use of a number less.
    pub(super) fn release(&mut self, number: u32) {
        let entry = &mut self.entries[number as usize];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        entry.next = self.free;
        self.free = number;
        let hash = entry.writer.0;
        if let Ok(found) = self.numbers.find_entry(hash, |&other| other == number) {
            found.remove();
        }
        if self.numbers.is_empty() {
            *self = Self::new();
        }
    }

    /// Bytes of heap held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.numbers.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_writer_while_it_is_used() {
        let mut palette = Palette::new();
        let first = palette.acquire(Writer(1));
        assert_eq!(palette.acquire(Writer(1)), first);
        let second = palette.acquire(Writer(2));
        assert_ne!(first, second);
        palette.release(first);
        assert_eq!(palette.acquire(Writer(3)), 2, "one use is left");
        palette.release(first);
        assert_eq!(palette.acquire(Writer(4)), first, "none is left");
        assert_eq!((palette.writer(first), palette.writer(second)), (Writer(4), Writer(2)));
    }

    #[test]
    fn numbers_are_used_again_and_memory_is_freed() {
        let mut palette = Palette::new();
        let mut last = palette.acquire(Writer(0));
        for writer in 1..200_000 {
            let number = palette.acquire(Writer(writer));
            assert!(number < 2);
            palette.release(last);
            last = number;
        }
        assert!(palette.memory_bytes() < 300);
        palette.release(last);
        assert_eq!(palette.memory_bytes(), 0);
    }
}
