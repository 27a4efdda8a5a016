//! Small numbers for the writers that occur in one table.
//!
//! A writer is eight bytes and a table knows few of them, so that a record holds a number instead,
//! which mostly takes one byte. A number stands as long as a record uses it and is then given to
//! the next new writer: numbers stay below the most writers that lived at one time, who were never
//! more than the records. All memory goes back with the last writer.

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
    /// The first of the numbers not in use, which are chained by `next`.
    free: u32,
}

struct Entry {
    writer: Writer,
    /// Records that use the number. At zero the number is free.
    uses: u32,
    /// In a free entry, the next one.
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

    /// The writer behind a number that is in use.
    #[inline]
    pub(super) fn writer(&self, number: u32) -> Writer {
        self.entries[number as usize].writer
    }

    /// The number of a writer, with one use more.
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

    /// One use of a number less.
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
    fn a_number_stands_while_it_is_used() {
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
    fn numbers_are_used_again_and_memory_goes_back() {
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
