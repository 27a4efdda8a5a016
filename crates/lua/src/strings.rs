//! The strings of a machine. Each is kept once, so that equal strings have equal handles.

use alloc::{boxed::Box, vec::Vec};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::{fault::Outcome, meter::Meter, value::Str};

/// What a string takes beside its bytes.
const OVERHEAD_BYTES: usize = 48;
/// Strings at least as long are hashed as a whole for the index. Lua's own hash skips bytes of long strings.
const LONG: usize = 32;

#[derive(Debug, Default)]
struct Slot {
    bytes: Box<[u8]>,
    hash: u32,
    is_used: bool,
    is_marked: bool,
}

/// All strings of a machine.
#[derive(Debug)]
pub(crate) struct Strings {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: FixedState,
}

impl Strings {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(0),
        }
    }

    #[inline]
    pub(crate) fn get(&self, string: Str) -> &[u8] {
        &self.slots[string.id as usize].bytes
    }

    /// The handle of `bytes`, which are copied if they are new.
    pub(crate) fn intern(&mut self, bytes: &[u8], meter: &mut Meter) -> Outcome<Str> {
        let (hash, index_hash) = self.hashes(bytes);
        match self.find(bytes, index_hash, hash, meter) {
            Some(found) => Ok(found),
            None => {
                meter.allocate(bytes.len() + OVERHEAD_BYTES)?;
                Ok(self.insert(bytes.into(), hash, index_hash))
            }
        }
    }

    /// The handle of `bytes`.
    pub(crate) fn intern_vec(&mut self, bytes: Vec<u8>, meter: &mut Meter) -> Outcome<Str> {
        let (hash, index_hash) = self.hashes(&bytes);
        match self.find(&bytes, index_hash, hash, meter) {
            Some(found) => Ok(found),
            None => {
                meter.allocate(bytes.len() + OVERHEAD_BYTES)?;
                Ok(self.insert(bytes.into_boxed_slice(), hash, index_hash))
            }
        }
    }

    #[inline]
    fn hashes(&self, bytes: &[u8]) -> (u32, u64) {
        let hash = lua_hash(bytes);
        let index_hash = if bytes.len() < LONG {
            u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        } else {
            use core::hash::BuildHasher;
            self.hasher.hash_one(bytes)
        };
        (hash, index_hash ^ (index_hash >> 32))
    }

    #[inline]
    fn find(&self, bytes: &[u8], index_hash: u64, hash: u32, meter: &Meter) -> Option<Str> {
        let mut steps = 0;
        let found = self.index.find(index_hash, |id| {
            steps += 1;
            let slot = &self.slots[*id as usize];
            slot.hash == hash && *slot.bytes == *bytes
        });
        meter.owe_search(steps);
        meter.owe_bytes(bytes.len());
        found.map(|id| Str { id: *id, hash })
    }

    fn insert(&mut self, bytes: Box<[u8]>, hash: u32, index_hash: u64) -> Str {
        let slot = Slot {
            bytes,
            hash,
            is_used: true,
            is_marked: false,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        if self.index.len() == self.index.capacity() {
            // The hashes of all strings are computed again. That is rare, because the index doubles.
            self.grow_index();
        }
        self.index.insert_unique(index_hash, id, |_| 0);
        Str { id, hash }
    }

    fn grow_index(&mut self) {
        let mut index = HashTable::with_capacity((self.index.len() * 2).max(64));
        for id in &self.index {
            let (_, index_hash) = self.hashes(&self.slots[*id as usize].bytes);
            index.insert_unique(index_hash, *id, |_| 0);
        }
        self.index = index;
    }

    #[inline]
    pub(crate) fn mark(&mut self, string: Str) {
        self.slots[string.id as usize].is_marked = true;
    }

    /// Drops every string that is not marked, and all marks.
    pub(crate) fn sweep(&mut self, meter: &mut Meter) {
        for id in 0..self.slots.len() {
            let slot = &mut self.slots[id];
            if slot.is_marked || !slot.is_used {
                slot.is_marked = false;
                continue;
            }
            let bytes = core::mem::take(&mut slot.bytes);
            slot.is_used = false;
            meter.free(bytes.len() + OVERHEAD_BYTES);
            let (_, index_hash) = self.hashes(&bytes);
            if let Ok(entry) = self.index.find_entry(index_hash, |other| *other as usize == id) {
                entry.remove();
            }
            self.free.push(id as u32);
        }
    }

    /// How many places a sweep looks at.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// The hash that decides the order of strings in tables: that of Lua 5.1, which reads at most 32 bytes.
#[inline]
fn lua_hash(bytes: &[u8]) -> u32 {
    let mut hash = bytes.len() as u32;
    let step = (bytes.len() >> 5) + 1;
    let mut rest = bytes.len();
    while rest >= step {
        let byte = u32::from(bytes[rest - 1]);
        hash ^= (hash << 5).wrapping_add(hash >> 2).wrapping_add(byte);
        rest -= step;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Limits;

    #[test]
    fn equal_strings_are_one() {
        let mut meter = Meter::new(&Limits::default());
        let mut strings = Strings::new();
        let long = [b'x'; 100];
        for bytes in [&b""[..], b"a", &long] {
            let first = strings.intern(bytes, &mut meter).unwrap();
            assert_eq!(strings.intern_vec(bytes.to_vec(), &mut meter).unwrap(), first);
            assert_eq!(strings.get(first), bytes);
        }
        assert_eq!(strings.slots(), 3);
    }

    #[test]
    fn unmarked_strings_are_dropped_and_their_places_used_again() {
        let mut meter = Meter::new(&Limits::default());
        let mut strings = Strings::new();
        let kept = strings.intern(b"kept", &mut meter).unwrap();
        let bytes = meter.bytes();
        for round in 0..3_u32 {
            for number in 0..1000_u32 {
                strings
                    .intern(&(round * 1000 + number).to_le_bytes(), &mut meter)
                    .unwrap();
            }
            strings.mark(kept);
            strings.sweep(&mut meter);
            assert_eq!(meter.bytes(), bytes);
        }
        assert_eq!(strings.get(kept), b"kept");
        assert_eq!(strings.intern(b"kept", &mut meter).unwrap(), kept);
        assert!(strings.slots() <= 1001);
    }
}
