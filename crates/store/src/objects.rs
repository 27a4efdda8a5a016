//! All objects of one shard. Each is stored in the cheapest place for it.
//!
//! Nearly every object is simple: one sibling without a context, stored as a record in the [`Table`]. The few others
//! are kept aside, sorted by the hash of their keys, until they are simple again. A key is never in both places.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::delta::Entry;
use crate::dot::Dot;
use crate::object::{self, Object, Sibling};
use crate::table::{self, Content, Record, Table};

/// The stored content of a key.
#[derive(Clone, Copy)]
pub(crate) enum Found<'a> {
    Simple(Record<'a>),
    Aside(&'a Object),
}

/// Which deadlines are so old that keys may be deleted, in milliseconds of the calendar.
#[derive(Clone, Copy, Debug)]
pub struct Overdue {
    /// The latest such deadline for values that cannot be counted on.
    pub plain_ms: u64,
    /// The latest such deadline for counters, and for integers that may be the base of a counter.
    pub counted_ms: u64,
}

impl Overdue {
    fn includes(self, expiry_ms: u64, counted: bool) -> bool {
        expiry_ms <= if counted { self.counted_ms } else { self.plain_ms }
    }
}

fn is_counted(content: &Content<'_>) -> bool {
    match content {
        Content::Counter { .. } => true,
        Content::Plain { bytes, .. } => object::integer(bytes).is_some(),
    }
}

/// A key with its hash and its content.
type Held<'a> = (u64, &'a [u8], Found<'a>);

/// Keys with the same hash.
type Bucket = Vec<(Box<[u8]>, Object)>;

/// The objects of one shard.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) table: Table,
    aside: BTreeMap<u64, Bucket>,
    /// How many objects are aside: all, those with a sibling, those with a context.
    count: usize,
    living: usize,
    waiting: usize,
    /// Memory of the objects aside, in bytes.
    bytes: usize,
    /// Where the scans of the table and of the objects aside go on.
    sweep_table: u64,
    sweep_aside: u64,
}

impl Objects {
    /// How many keys have a sibling.
    pub(crate) fn len(&self) -> usize {
        self.table.len() + self.living
    }

    /// How many objects are aside because they are not simple.
    pub(crate) fn aside(&self) -> usize {
        self.count
    }

    /// How many objects have a context.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// See [`Table::entry`]. This and the next two read the table only, not the objects aside.
    pub(crate) const NO_ENTRY: u64 = Table::NO_ENTRY;

    #[inline]
    pub(crate) fn entry(&self, hash: u64) -> u64 {
        self.table.entry(hash)
    }

    #[inline]
    pub(crate) fn load_page(&self, entry: u64) -> usize {
        self.table.load_page(entry)
    }

    #[inline]
    pub(crate) fn load_record(&self, entry: u64) -> usize {
        self.table.load_record(entry)
    }

    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<Found<'_>> {
        match self.get_aside(hash, key) {
            Some(object) => Some(Found::Aside(object)),
            None => self.table.get(hash, key).map(Found::Simple),
        }
    }

    pub(crate) fn get_aside(&self, hash: u64, key: &[u8]) -> Option<&Object> {
        if self.count == 0 {
            return None;
        }
        let (_, object) = self.aside.get(&hash)?.iter().find(|(k, _)| **k == *key)?;
        Some(object)
    }

    /// Removes the content of a key from wherever it is, and returns it.
    pub(crate) fn take(&mut self, hash: u64, key: &[u8]) -> Object {
        if let Some(object) = self.take_aside(hash, key) {
            return object;
        }
        let Some(record) = self.table.get(hash, key) else {
            return Object::default();
        };
        let object = Object::from(Sibling::from(&record));
        self.table.remove(hash, key);
        object
    }

    /// Stores the content of a key in the right place. No content of this key may be stored already.
    pub(crate) fn store(&mut self, hash: u64, key: &[u8], object: Object) {
        match &object.siblings[..] {
            [] if object.context.is_empty() => {}
            [sibling] if object.context.is_empty() => {
                self.table.put(hash, key, &sibling.record());
            }
            _ => {
                self.count(key, &object, 1);
                self.aside.entry(hash).or_default().push((key.into(), object));
            }
        }
    }

    /// Replaces the content of a key.
    pub(crate) fn replace(&mut self, entry: Entry<'_>) {
        let (hash, key) = (table::hash(entry.key), entry.key);
        self.take_aside(hash, key);
        match &entry.siblings[..] {
            [record] if entry.context.is_empty() => {
                self.table.put(hash, key, record);
            }
            _ => {
                self.table.remove(hash, key);
                self.store(hash, key, entry.into_object());
            }
        }
    }

    pub(crate) fn take_aside(&mut self, hash: u64, key: &[u8]) -> Option<Object> {
        if self.count == 0 {
            return None;
        }
        let bucket = self.aside.get_mut(&hash)?;
        let at = bucket.iter().position(|(k, _)| **k == *key)?;
        let (key, object) = bucket.swap_remove(at);
        if bucket.is_empty() {
            self.aside.remove(&hash);
        }
        self.count(&key, &object, -1);
        Some(object)
    }

    /// All objects aside, in the order of their hashes, from the hash `from` on.
    pub(crate) fn iter_aside(&self, from: u64) -> impl Iterator<Item = (u64, &[u8], &Object)> {
        self.aside
            .range(from..)
            .flat_map(|(&hash, bucket)| bucket.iter().map(move |(key, object)| (hash, &key[..], object)))
    }

    /// About `limit` keys and their contents, in the order of their hashes, from the hash `from` on; and the hash to go
    /// on from. Keys with the same hash are returned together.
    pub(crate) fn scan(&self, from: u64, limit: usize) -> (Vec<Held<'_>>, Option<u64>) {
        let (simple, next) = self.table.scan(from, limit);
        let mut found: Vec<_> = simple
            .into_iter()
            .map(|(key, record)| (table::hash(key), key, Found::Simple(record)))
            .collect();
        let mut end = next;
        for (at, (&hash, bucket)) in self.aside.range(from..).enumerate() {
            if at == limit || end.is_some_and(|end| hash >= end) {
                end = Some(end.map_or(hash, |end| end.min(hash)));
                break;
            }
            found.extend(
                bucket
                    .iter()
                    .map(|(key, object)| (hash, &key[..], Found::Aside(object))),
            );
        }
        found.retain(|&(hash, ..)| end.is_none_or(|end| hash < end));
        found.sort_unstable_by_key(|&(hash, key, _)| (hash, key));
        (found, end)
    }

    /// The dots of all siblings.
    pub(crate) fn dots(&self) -> impl Iterator<Item = Dot> {
        let aside = self.iter_aside(0).flat_map(|(.., object)| &object.siblings);
        self.table
            .iter()
            .map(|(_, record)| record.dot)
            .chain(aside.map(|sibling| sibling.dot))
    }

    /// Passes every object aside through `change`, and stores it in the right place.
    pub(crate) fn change_aside(&mut self, mut change: impl FnMut(&[u8], &mut Object)) {
        (self.count, self.living, self.waiting, self.bytes) = (0, 0, 0, 0);
        for (hash, bucket) in core::mem::take(&mut self.aside) {
            for (key, mut object) in bucket {
                change(&key, &mut object);
                self.store(hash, &key, object);
            }
        }
    }

    /// Removes the siblings for which `doomed` returns true. Contexts are not changed.
    pub(crate) fn remove(&mut self, doomed: impl Fn(&[u8], Dot) -> bool) {
        let simple = self.table.iter().filter(|(key, record)| doomed(key, record.dot));
        let simple: Vec<Box<[u8]>> = simple.map(|(key, _)| key.into()).collect();
        for key in simple {
            self.table.remove(table::hash(&key), &key);
        }
        self.change_aside(|key, object| {
            object.siblings.retain(|sibling| !doomed(key, sibling.dot));
        });
    }

    /// Looks at up to `limit` simple objects and as many objects aside, starting where the last call ended. Returns the
    /// keys that are overdue, and how many objects were looked at.
    pub(crate) fn overdue(&mut self, overdue: Overdue, limit: usize) -> (Vec<Box<[u8]>>, usize) {
        let simple = self.table.expired(
            |expiry_ms, content| overdue.includes(expiry_ms, is_counted(content)),
            limit,
            self.sweep_table,
        );
        let mut keys: Vec<Box<[u8]>> = simple.keys.into_iter().map(Box::from).collect();
        let is_over = |object: &Object| {
            let counted = || object.siblings.iter().any(|held| is_counted(&held.record().content));
            let deadline = object.top().and_then(|top| top.expiry_ms);
            deadline.is_some_and(|expiry_ms| overdue.includes(expiry_ms, counted()))
        };
        let (mut aside, mut next) = (0, 0);
        for (hash, key, object) in self.iter_aside(self.sweep_aside).take(limit) {
            if is_over(object) {
                keys.push(key.into());
            }
            (aside, next) = (aside + 1, hash + 1);
        }
        self.sweep_table = simple.next;
        self.sweep_aside = if aside < limit { 0 } else { next };
        (keys, simple.looked + aside)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.bytes
    }

    fn count(&mut self, key: &[u8], object: &Object, by: isize) {
        let add = |count: &mut usize, by: isize| *count = count.wrapping_add_signed(by);
        add(&mut self.count, by);
        add(&mut self.living, by * isize::from(!object.siblings.is_empty()));
        add(&mut self.waiting, by * isize::from(!object.context.is_empty()));
        let bytes = size_of::<(u64, Vec<()>, Box<[u8]>)>() + key.len() + object.memory_bytes();
        add(&mut self.bytes, by * bytes.cast_signed());
    }
}
