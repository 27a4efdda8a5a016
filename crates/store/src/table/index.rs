//! Finds the id of a record by the hash of its key, in the order of the hashes.
//!
//! An ordered hash table with linear probing (Amble and Knuth, *Ordered Hash Tables*, Computer Journal 17(2), 1974). A
//! slot has the upper half of a hash and an id:
//!
//! ```text
//! slots   [ . | 0x11.. #4 | 0x13.. #0 | . | . | 0x8a.. #7 | 0x8a.. #2 | 0xf0.. #9 | . ] spill
//! home        └ upper half of the hash × homes / 2^32
//! ```
//!
//! Why not `hashbrown`: its order changes when it grows. Here the order is that of the hashes at every size, so that a
//! scan can go on after growth. Growing and shrinking are one pass in order that reads no record, so the worst
//! insertion is several times faster. Any number of homes is allowed, so a table grows by a quarter. A removed entry
//! leaves no tombstone. The cost is 8 bytes a slot instead of 5, at 70–87 % full instead of 44–87 %. A miss is a few
//! nanoseconds slower (`examples/table_speed.rs` measures it).
//!
//! Invariants:
//! - The upper halves ascend along the slots. Entries with equal halves are in any order.
//! - An entry is at its home or behind it, and no slot between the two is empty.
//! - `slots` extends beyond the last home, so that a run of entries never wraps around.

use alloc::vec;
use alloc::vec::Vec;

/// An empty slot. No entry has this value, since no id is `u32::MAX`.
pub(super) const EMPTY: u64 = u64::MAX;
/// The half of a hash that is stored in a slot.
const UPPER: u64 = !(u32::MAX as u64);
/// Fewest slots that are allocated.
const SLOTS_MIN: usize = 8;
/// How often `sample` tries before it takes the next entry.
const TRIES_MAX: u32 = 32;

/// A multimap from hashes to ids. An id is any number except `u32::MAX`, and is in it once.
pub(super) struct Index {
    slots: Vec<u64>,
    /// How many slots are homes. The slots behind them are spill.
    homes: usize,
    len: usize,
}

impl Index {
    /// An index that owns no memory.
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            homes: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of heap held.
    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// The entry in the slot where the search for `hash` begins: mostly the entry of the key, or [`EMPTY`].
    #[inline]
    pub(super) fn first(&self, hash: u64) -> u64 {
        self.slots.get(self.home(hash)).copied().unwrap_or(EMPTY)
    }

    /// The slot of the entry under `hash` for which `is_it` returns true. `is_it` may be called with ids whose hashes
    /// have only the upper half in common.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        let first = hash & UPPER;
        for (at, &slot) in self.slots.iter().enumerate().skip(self.home(hash)) {
            if slot < first {
                continue;
            }
            if slot & UPPER != first || slot == EMPTY {
                return None;
            }
            if is_it(slot as u32) {
                return Some(at);
            }
        }
        None
    }

    /// The id in a slot that `find` has just returned.
    #[inline]
    pub(super) fn id(&self, at: usize) -> u32 {
        self.slots[at] as u32
    }

    /// Changes the id in a slot that `find` has just returned.
    pub(super) fn set_id(&mut self, at: usize, id: u32) {
        self.slots[at] = self.slots[at] & UPPER | u64::from(id);
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        if self.len >= self.homes - self.homes / 8 {
            self.resize(self.len + 1);
        }
        let first = hash & UPPER;
        let home = self.home(hash);
        let smaller = self.slots[home..].iter().take_while(|&&slot| slot < first).count();
        let at = home + smaller;
        match self.slots[at..].iter().position(|&slot| slot == EMPTY) {
            Some(run) => {
                self.slots.copy_within(at..at + run, at + 1);
                self.slots[at] = first | u64::from(id);
            }
            None => self.spill_over(at, first | u64::from(id)),
        }
        self.len += 1;
    }

    /// Removes the entry in a slot that `find` has just returned.
    pub(super) fn remove(&mut self, at: usize) {
        let displaced = |&(next, &slot): &(usize, &u64)| slot != EMPTY && self.home(slot) < next;
        let run = self.slots.iter().enumerate().skip(at + 1).take_while(displaced).count();
        self.slots.copy_within(at + 1..=at + run, at);
        self.slots[at + run] = EMPTY;
        self.len -= 1;
        if self.len == 0 {
            *self = Self::new();
        } else if self.homes > SLOTS_MIN && self.len < self.homes / 3 {
            self.resize(self.len + self.len / 4);
        }
    }

    /// Ids in the order of the upper half of their hashes, from the half of `hash` on.
    pub(super) fn iter_from(&self, hash: u64) -> impl Iterator<Item = (u32, u32)> {
        let slots = self.slots[self.home(hash)..].iter();
        slots
            .filter(move |&&slot| slot >= hash & UPPER && slot != EMPTY)
            .map(|&slot| ((slot >> 32) as u32, slot as u32))
    }

    /// An id picked by `random`. Slots are picked until one is not empty; at least a third are not. Each id is equally
    /// likely, except in less than one of 10^5 cases.
    pub(super) fn sample(&self, mut random: u64) -> Option<u32> {
        let slots = self.slots.len();
        let mut at = 0;
        for _ in 0..TRIES_MAX {
            at = ((u128::from(random) * slots as u128) >> 64) as usize;
            if *self.slots.get(at)? != EMPTY {
                break;
            }
            // Knuth's MMIX generator: its upper bits, which choose the slot, are good enough.
            random = random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
        }
        let (behind, from) = self.slots.split_at(at);
        from.iter()
            .chain(behind)
            .find(|&&slot| slot != EMPTY)
            .map(|&slot| slot as u32)
    }

    /// Where the search for a hash, or for the hash in a slot, begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        // Fewer than 2^32 homes, since there are at most 2^31 ids: no overflow.
        (((hash >> 32) * self.homes as u64) >> 32) as usize
    }

    /// Inserts an entry before the entries from `at` to the end, where no slot is empty. The spill is rarely too short,
    /// unless somebody chose keys by their hashes.
    fn spill_over(&mut self, at: usize, slot: u64) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(spill(self.slots.len()));
        }
        self.slots.insert(at, slot);
    }

    /// Rebuilds the index with room for `len` entries.
    fn resize(&mut self, len: usize) {
        let slots = slots_for(len);
        let mut grown = Self {
            slots: vec![EMPTY; slots],
            homes: homes_of(slots),
            len: self.len,
        };
        let mut free = 0;
        for &slot in self.slots.iter().filter(|&&slot| slot != EMPTY) {
            let at = grown.home(slot).max(free);
            match grown.slots.get_mut(at) {
                Some(place) => *place = slot,
                None => grown.spill_over(at, slot),
            }
            free = at + 1;
        }
        *self = grown;
    }
}

/// The fewest slots whose homes are at most 7/8 full with `len` entries, in quarters of a power of two, which are also
/// the size classes of many allocators.
fn slots_for(len: usize) -> usize {
    let mut slots = SLOTS_MIN;
    while homes_of(slots) - homes_of(slots) / 8 < len {
        slots += (1 << slots.ilog2()) / 4;
    }
    slots
}

fn homes_of(slots: usize) -> usize {
    slots - spill(slots)
}

/// How many slots behind the homes an index of `slots` slots has.
fn spill(slots: usize) -> usize {
    slots / 32 + 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The broken invariant of an index, if there is one.
    fn fault(index: &Index) -> Option<&'static str> {
        let mut upper = 0;
        let mut len = 0;
        for (at, &slot) in index.slots.iter().enumerate().filter(|(_, slot)| **slot != EMPTY) {
            let home = index.home(slot);
            if slot & UPPER < upper {
                return Some("order");
            }
            if home > at || index.slots[home..at].contains(&EMPTY) {
                return Some("out of reach");
            }
            upper = slot & UPPER;
            len += 1;
        }
        (len != index.len).then_some("length")
    }

    fn filled(hashes: impl IntoIterator<Item = u64>) -> Index {
        let mut index = Index::new();
        for (id, hash) in hashes.into_iter().enumerate() {
            index.insert(hash, id as u32);
        }
        index
    }

    /// A few hashes that are close together, and many that are not.
    fn hashes() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            Just(u64::MAX),
            Just(0),
            0..1u64 << 34,
            0xFFFF_FFFE_0000_0000..=u64::MAX
        ]
    }

    proptest! {
        #[test]
        fn an_index_is_a_multimap(steps in prop::collection::vec((any::<bool>(), hashes()), 0..600)) {
            let mut index = Index::new();
            let mut model = BTreeSet::new();
            for (id, (add, hash)) in steps.into_iter().enumerate() {
                if add || model.is_empty() {
                    index.insert(hash, id as u32);
                    model.insert((hash, id as u32));
                } else {
                    let victim = *model.range((hash, 0)..).next().unwrap_or(model.first().unwrap());
                    model.remove(&victim);
                    index.remove(index.find(victim.0, |id| id == victim.1).unwrap());
                }
                prop_assert_eq!(fault(&index), None);
            }
            for &(hash, id) in &model {
                let at = index.find(hash, |found| found == id);
                prop_assert_eq!(at.map(|at| index.id(at)), Some(id));
                prop_assert_eq!(index.find(hash, |found| found == u32::MAX), None);
            }
            let listed: BTreeSet<_> = index.iter_from(0).map(|(_, id)| id).collect();
            prop_assert_eq!(listed, model.iter().map(|&(_, id)| id).collect());
            prop_assert_eq!(index.len(), model.len());
        }
    }

    #[test]
    fn the_checker_detects_faults() {
        let spread = || filled((0..100u64).map(|i| i << 57));
        assert_eq!(fault(&spread()), None);

        let mut index = spread();
        let taken = index
            .slots
            .iter()
            .position(|&slot| slot != EMPTY && slot >> 32 > 9)
            .unwrap();
        index.slots.swap(0, taken);
        assert!(fault(&index).is_some());

        let mut index = filled([5 << 40; 4]);
        index.slots[1] = EMPTY;
        assert_eq!(fault(&index), Some("out of reach"));

        let mut index = spread();
        index.len += 1;
        assert_eq!(fault(&index), Some("length"));
    }

    #[test]
    fn one_hash_for_all_is_slow_but_correct() {
        let mut index = filled([u64::MAX; 500]);
        assert_eq!(fault(&index), None);
        for id in 0..500 {
            index.remove(index.find(u64::MAX, |found| found == id).unwrap());
            assert_eq!(fault(&index), None);
        }
        assert_eq!(index.memory_bytes(), 0);
    }

    #[test]
    fn an_index_grows_by_a_quarter_and_shrinks_again() {
        let mut index = Index::new();
        let hash = |id: u64| id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for id in 0..50_000 {
            index.insert(hash(id), id as u32);
            assert!(
                index.len < 64 || index.memory_bytes() <= index.len * 12,
                "{}",
                index.len
            );
        }
        for id in 0..50_000 {
            index.remove(index.find(hash(id), |found| found == id as u32).unwrap());
            assert!(
                index.len < 64 || index.memory_bytes() <= index.len * 26,
                "{}",
                index.len
            );
        }
    }

    #[test]
    fn samples_are_even() {
        let index = filled((0..40u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let mut drawn = [0; 40];
        for round in 0..40_000u64 {
            let random = round.wrapping_mul(0xD6E8_FEB8_6659_FD93).rotate_left(29);
            drawn[index.sample(random).unwrap() as usize] += 1;
        }
        assert!(drawn.iter().all(|count| (700..1300).contains(count)), "{drawn:?}");
        assert_eq!(Index::new().sample(7), None);
    }
}
