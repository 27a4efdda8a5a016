//! Where records are stored: byte strings packed in pages, named by 32-bit ids.
//!
//! A slab owns the bytes of every record. A record of at most 1 KiB is in a slot whose size is a multiple of 8. All
//! slots of one size are a *class*, and a class is a stack of pages. A larger record has a box of its own, in a second
//! vector.
//!
//! ```text
//! class 48   top ─► page 7  [r r r r . . . .]   only the top page has room (spare: page 9, empty)
//!                     ▼
//!                   page 2  [r r r r r r r r]
//! boxes             [2 KiB] [70 KiB]
//! ```
//!
//! Invariants:
//! - A class has no gaps: when a record is removed, the last one of its class moves into the gap. So there are no free
//!   lists to search, memory does not fragment, and whole pages are freed.
//! - A new page is about an eighth of the class in size, between 512 B and 16 KiB. So the unused end of a class costs
//!   at most an eighth, and a nearly empty class costs half a kilobyte.
//! - A class keeps at most one empty page, and none once its top page is half empty. So inserting and removing around a
//!   page boundary allocates nothing.
//! - No operation does more than copy one record and allocate or free two pages. Only the vectors that list pages and
//!   boxes double.
//!
//! After Bonwick, *The Slab Allocator* (USENIX 1994). The classes without gaps are our own. They are possible only
//! because each id is stored in one place, the table's index, which can be told about a move.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

/// Sizes of slots are multiples of this, in bytes.
const STEP: usize = 8;
/// The largest record that shares a page, in bytes.
const SMALL_MAX: usize = 1024;
/// The smallest page, in bytes.
const PAGE_BYTES_MIN: usize = 512;
/// The largest page, in bytes.
const PAGE_BYTES_MAX: usize = 16 * 1024;
/// Bits of an id for the number of the slot in its page. Table records take at least 16 bytes, so the largest page has
/// 1,024 slots. Smaller records would leave the end of their page unused.
const SLOT_BITS: u32 = 10;
const SLOTS_MAX: usize = 1 << SLOT_BITS;
/// The bit of an id that marks a box; the bits below are the number of the box.
const BOXED: u32 = 1 << 31;
/// No page. Never an id either: boxes are numbered up to 2^30.
const NONE: u32 = u32::MAX;

/// Byte strings by id.
///
/// Beyond `PAGES_MAX` pages (16 GiB of small records), small records get boxes too. Beyond `BOXES_MAX` boxes, records
/// are refused. The limits keep ids within 32 bits. They are parameters so that tests can reach them.
pub(crate) struct Slab<const PAGES_MAX: usize = { 1 << 20 }, const BOXES_MAX: usize = { 1 << 30 }> {
    /// Pages by number. A number without a page is a hole.
    pages: Vec<Page>,
    /// Classes by slot size / 8, up to the largest class used.
    classes: Vec<Class>,
    boxes: Vec<Box<[u8]>>,
    /// The first hole. The holes are chained by `below`.
    hole: u32,
    /// Number of pages that are not holes.
    pages_held: usize,
    /// Bytes of all pages and boxes.
    bytes_held: usize,
}

struct Page {
    bytes: Box<[u8]>,
    /// The page below this one in its class. In a hole: the next hole.
    below: u32,
    slot_bytes: u16,
    slots: u16,
}

#[derive(Clone, Copy)]
struct Class {
    /// Bytes of all its pages.
    bytes: usize,
    /// The page that is being filled, or `NONE` if the class is empty.
    top: u32,
    /// An empty page kept for the next time the top one is full, or `NONE`.
    spare: u32,
    /// Slots in use in the top page: at least one.
    used: u16,
}

impl Class {
    const EMPTY: Self = Self {
        bytes: 0,
        top: NONE,
        spare: NONE,
        used: 0,
    };

    /// Size of its next page, in bytes.
    fn page_bytes(&self) -> usize {
        let share = (self.bytes / 8).max(1);
        (1 << share.ilog2()).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
    }
}

impl<const PAGES_MAX: usize, const BOXES_MAX: usize> Slab<PAGES_MAX, BOXES_MAX> {
    /// A slab that owns no memory.
    pub(crate) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            classes: Vec::new(),
            boxes: Vec::new(),
            hole: NONE,
            pages_held: 0,
            bytes_held: 0,
        }
    }

    /// The bytes of a record, followed by up to 7 bytes that do not belong to it.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        if id & BOXED != 0 {
            return &self.boxes[(id ^ BOXED) as usize];
        }
        let page = &self.pages[(id >> SLOT_BITS) as usize];
        let size = usize::from(page.slot_bytes);
        &page.bytes[slot_number(id) * size..][..size]
    }

    /// Stores the pieces as one record. `None` if no id is left; then nothing changes.
    pub(crate) fn insert(&mut self, pieces: &[&[u8]]) -> Option<u32> {
        let len = length(pieces);
        if let Some(id) = self.push_slot(len) {
            fill(self.slot_mut(id), pieces);
            return Some(id);
        }
        if self.boxes.len() >= BOXES_MAX {
            return None;
        }
        self.bytes_held += len;
        self.boxes.push(pieces.concat().into_boxed_slice());
        Some(BOXED | (self.boxes.len() - 1) as u32)
    }

    /// Stores the pieces in place of a record. Returns `false`, and changes nothing, if they need another class.
    pub(crate) fn replace(&mut self, id: u32, pieces: &[&[u8]]) -> bool {
        let len = length(pieces);
        if id & BOXED == 0 {
            let slot = self.slot_mut(id);
            let fits = len.next_multiple_of(STEP) == slot.len();
            if fits {
                fill(slot, pieces);
            }
            return fits;
        }
        let held = &mut self.boxes[(id ^ BOXED) as usize];
        if held.len() == len {
            fill(held, pieces);
        } else if len > SMALL_MAX {
            self.bytes_held = self.bytes_held - held.len() + len;
            *held = pieces.concat().into_boxed_slice();
        } else {
            return false;
        }
        true
    }

    /// Removes a record. If another record moved, returns its old id: it has the id `id` now.
    pub(crate) fn remove(&mut self, id: u32) -> Option<u32> {
        if id & BOXED != 0 {
            return self.remove_box(id);
        }
        let size = usize::from(self.pages[(id >> SLOT_BITS) as usize].slot_bytes);
        let class = self.classes[size / STEP];
        let last = class.top << SLOT_BITS | u32::from(class.used - 1);
        if last != id {
            // The page is taken out so that the other one can be written to. Both may be the same.
            let page = mem::take(&mut self.pages[(last >> SLOT_BITS) as usize].bytes);
            let source = slot_number(last) * size..slot_number(last) * size + size;
            if last >> SLOT_BITS != id >> SLOT_BITS {
                self.slot_mut(id).copy_from_slice(&page[source]);
                self.pages[(last >> SLOT_BITS) as usize].bytes = page;
            } else {
                self.pages[(last >> SLOT_BITS) as usize].bytes = page;
                let bytes = &mut self.pages[(id >> SLOT_BITS) as usize].bytes;
                bytes.copy_within(source, slot_number(id) * size);
            }
        }
        self.pop_slot(size / STEP);
        (last != id).then_some(last)
    }

    /// All records from `id` on, in the order of their ids, each with the cursor for the record behind it. A record
    /// that moves meanwhile may be returned twice or not at all.
    pub(crate) fn iter_from(&self, id: u32) -> impl Iterator<Item = (u32, &[u8])> {
        let (page_first, box_first) = match id & BOXED {
            0 => ((id >> SLOT_BITS) as usize, 0),
            _ => (self.pages.len(), (id ^ BOXED) as usize),
        };
        let small = self
            .pages
            .iter()
            .enumerate()
            .skip(page_first)
            .flat_map(move |(number, page)| {
                let skipped = if number == page_first { slot_number(id) } else { 0 };
                let first = (number as u32) << SLOT_BITS;
                page.bytes
                    .chunks_exact(usize::from(page.slot_bytes).max(1))
                    .take(self.slots_used(number, page))
                    .enumerate()
                    .skip(skipped)
                    .map(move |(slot, bytes)| (first + slot as u32 + 1, bytes))
            });
        let boxed = self.boxes.iter().enumerate().skip(box_first);
        small.chain(boxed.map(|(number, bytes)| (BOXED | (number as u32 + 1), &**bytes)))
    }

    /// Bytes of heap held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.bytes_held
            + self.pages.capacity() * size_of::<Page>()
            + self.classes.capacity() * size_of::<Class>()
            + self.boxes.capacity() * size_of::<Box<[u8]>>()
    }

    fn slot_mut(&mut self, id: u32) -> &mut [u8] {
        let page = &mut self.pages[(id >> SLOT_BITS) as usize];
        let size = usize::from(page.slot_bytes);
        &mut page.bytes[slot_number(id) * size..][..size]
    }

    fn slots_used(&self, number: usize, page: &Page) -> usize {
        match self.classes.get(usize::from(page.slot_bytes) / STEP) {
            Some(class) if class.top as usize == number => usize::from(class.used),
            Some(class) if class.spare as usize == number => 0,
            _ => usize::from(page.slots),
        }
    }

    /// Reserves a slot behind the last one of its class. `None` if the record is too large, or no page number is left.
    fn push_slot(&mut self, len: usize) -> Option<u32> {
        if len > SMALL_MAX {
            return None;
        }
        let number = len.div_ceil(STEP).max(1);
        if number >= self.classes.len() {
            self.classes.reserve_exact(number + 1 - self.classes.len());
            self.classes.resize(number + 1, Class::EMPTY);
        }
        let mut class = self.classes[number];
        if class.top == NONE || class.used == self.pages[class.top as usize].slots {
            let page = match mem::replace(&mut class.spare, NONE) {
                NONE => self.allocate_page(number * STEP, &mut class)?,
                spare => spare,
            };
            self.pages[page as usize].below = class.top;
            class.top = page;
            class.used = 0;
        }
        class.used += 1;
        self.classes[number] = class;
        Some(class.top << SLOT_BITS | u32::from(class.used - 1))
    }

    /// Frees the last slot of a class, and the pages that are not needed any more.
    fn pop_slot(&mut self, number: usize) {
        let mut class = self.classes[number];
        class.used -= 1;
        let Page { below, slots, .. } = self.pages[class.top as usize];
        if class.used == 0 {
            self.free_page(class.spare, &mut class);
            (class.spare, class.top) = (class.top, below);
            if below == NONE {
                self.free_page(class.spare, &mut class);
                class = Class::EMPTY;
            } else {
                class.used = self.pages[below as usize].slots;
            }
        } else if class.used <= slots / 2 {
            self.free_page(class.spare, &mut class);
            class.spare = NONE;
        }
        self.classes[number] = class;
        if self.pages_held == 0 {
            (self.pages, self.classes, self.hole) = (Vec::new(), Vec::new(), NONE);
        }
    }

    fn allocate_page(&mut self, slot_bytes: usize, class: &mut Class) -> Option<u32> {
        let slots = (class.page_bytes() / slot_bytes).clamp(1, SLOTS_MAX);
        let page = Page {
            bytes: vec![0; slots * slot_bytes].into_boxed_slice(),
            below: NONE,
            slot_bytes: slot_bytes as u16,
            slots: slots as u16,
        };
        let bytes = page.bytes.len();
        let number = if self.hole != NONE {
            let number = self.hole;
            self.hole = mem::replace(&mut self.pages[number as usize], page).below;
            number
        } else if self.pages.len() < PAGES_MAX {
            self.pages.push(page);
            (self.pages.len() - 1) as u32
        } else {
            return None;
        };
        class.bytes += bytes;
        self.bytes_held += bytes;
        self.pages_held += 1;
        Some(number)
    }

    /// Frees the page `number`, unless it is `NONE`.
    fn free_page(&mut self, number: u32, class: &mut Class) {
        if number == NONE {
            return;
        }
        let hole = Page {
            bytes: Box::default(),
            below: self.hole,
            slot_bytes: 0,
            slots: 0,
        };
        let page = mem::replace(&mut self.pages[number as usize], hole);
        self.hole = number;
        class.bytes -= page.bytes.len();
        self.bytes_held -= page.bytes.len();
        self.pages_held -= 1;
    }

    fn remove_box(&mut self, id: u32) -> Option<u32> {
        let removed = self.boxes.swap_remove((id ^ BOXED) as usize);
        self.bytes_held -= removed.len();
        let last = BOXED | self.boxes.len() as u32;
        if self.boxes.len() <= self.boxes.capacity() / 4 {
            self.boxes.shrink_to(self.boxes.len() * 2);
        }
        (last != id).then_some(last)
    }
}

fn slot_number(id: u32) -> usize {
    (id as usize) & (SLOTS_MAX - 1)
}

fn length(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum()
}

fn fill(mut slot: &mut [u8], pieces: &[&[u8]]) {
    for piece in pieces {
        let (head, rest) = slot.split_at_mut(piece.len());
        head.copy_from_slice(piece);
        slot = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Whether the slab has the records of the model, by id and by iteration.
    fn agrees<const P: usize, const B: usize>(slab: &Slab<P, B>, model: &BTreeMap<u32, Vec<u8>>) -> bool {
        let own = |bytes: &[u8], id: u32| bytes.starts_with(&model[&id]);
        let mut listed = slab.iter_from(0);
        model.keys().all(|&id| own(slab.get(id), id))
            && model
                .keys()
                .all(|&id| listed.next().is_some_and(|(next, _)| next == id + 1))
            && listed.next().is_none()
    }

    /// Inserts and removes records of these lengths, and checks from time to time.
    fn churn<const P: usize, const B: usize>(slab: &mut Slab<P, B>, lengths: &[usize]) {
        let mut model = BTreeMap::<u32, Vec<u8>>::new();
        for round in 0..6_000usize {
            let grows = round % 2_000 < 1_100;
            if grows || model.is_empty() {
                let bytes = vec![round as u8; lengths[round * 31 % lengths.len()]];
                let Some(id) = slab.insert(&[&bytes[..1], &bytes[1..]]) else {
                    assert_eq!(slab.boxes.len(), B);
                    continue;
                };
                assert_eq!(model.insert(id, bytes), None, "an id is given once");
            } else {
                let nth = round * 7919 % model.len();
                let id = *model.keys().nth(nth).unwrap();
                model.remove(&id);
                if let Some(moved) = slab.remove(id) {
                    let bytes = model.remove(&moved).unwrap();
                    model.insert(id, bytes);
                }
            }
            if round % 97 == 0 {
                assert!(agrees(slab, &model), "round {round}");
            }
        }
        while let Some((&id, _)) = model.first_key_value() {
            model.remove(&id);
            if let Some(moved) = slab.remove(id) {
                let bytes = model.remove(&moved).unwrap();
                model.insert(id, bytes);
            }
        }
        assert_eq!(slab.memory_bytes(), 0);
    }

    #[test]
    fn ids_follow_their_records() {
        churn(&mut Slab::<100_000, 100_000>::new(), &[48]);
        churn(
            &mut Slab::<100_000, 100_000>::new(),
            &[16, 17, 24, 40, 300, 1000, 1024, 1025, 5000],
        );
    }

    #[test]
    fn without_page_numbers_small_records_get_boxes_until_these_run_out() {
        churn(&mut Slab::<3, 100_000>::new(), &[48, 600]);
        churn(&mut Slab::<3, 20>::new(), &[48, 600, 3000]);
        let mut slab = Slab::<0, 1>::new();
        let id = slab.insert(&[b"small"]).unwrap();
        assert_eq!(slab.insert(&[b"other"]), None);
        assert!(slab.replace(id, &[b"SMALL"]) && slab.replace(id, &[&[1; 2000]]));
        assert!(!slab.replace(id, &[b"small"]), "there is no slot for it");
        assert_eq!(slab.get(id), [1; 2000]);
    }

    #[test]
    fn the_checker_sees_a_record_that_did_not_follow() {
        let mut slab = Slab::<10, 10>::new();
        let mut model: BTreeMap<_, _> = (0..9u8)
            .map(|n| (slab.insert(&[&[n; 20]]).unwrap(), vec![n; 20]))
            .collect();
        assert!(agrees(&slab, &model));
        let first = *model.keys().next().unwrap();
        let last = slab.remove(first).unwrap();
        model.remove(&last);
        assert!(!agrees(&slab, &model));
    }

    #[test]
    fn crossing_a_page_boundary_allocates_nothing() {
        let mut slab = Slab::<1000, 0>::new();
        let record = [1; 48];
        let mut ids: Vec<_> = (0..1000).map(|_| slab.insert(&[&record]).unwrap()).collect();
        while slab.classes[6].used as usize != 1 {
            ids.push(slab.insert(&[&record]).unwrap());
        }
        let held = slab.memory_bytes();
        for _ in 0..10 {
            for _ in 0..5 {
                assert_eq!(slab.remove(ids.pop().unwrap()), None);
                assert_eq!(slab.memory_bytes(), held);
            }
            for _ in 0..5 {
                ids.push(slab.insert(&[&record]).unwrap());
                assert_eq!(slab.memory_bytes(), held);
            }
        }
    }
}
