//! A Lua table: an array part for the keys 1 to n, and a hash part for all others.
//!
//! Programs can see the order of `pairs` and the choice of `#` among several borders, so both follow the tables of
//! PUC Lua 5.1: chained scatter with Brent's variation in the hash part, parts that change their size only when a key
//! finds no free node, and an array part that is the largest power of two of which more than half is used.

use alloc::vec::Vec;

use crate::{
    fault::Outcome,
    meter::Meter,
    value::{TableId, Value, as_index},
};

/// What a table takes beside its parts.
pub(crate) const OVERHEAD_BYTES: usize = 96;
const VALUE_BYTES: usize = size_of::<Value>();
const NODE_BYTES: usize = size_of::<Node>();
/// The end of a chain.
const NONE: u32 = u32::MAX;
/// The array part has at most `2^ARRAY_BITS_MAX` values.
const ARRAY_BITS_MAX: usize = 26;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) key: Value,
    pub(crate) value: Value,
    next: u32,
}

const EMPTY: Node = Node {
    key: Value::Nil,
    value: Value::Nil,
    next: NONE,
};

/// Why a key cannot be in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadKey {
    Nil,
    Nan,
}

#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) array: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    /// All nodes from here on have been used.
    last_free: u32,
    pub(crate) meta: Option<TableId>,
    /// A bit for each metamethod that is known to be absent, if this table is a metatable.
    pub(crate) absent: u8,
    pub(crate) is_readonly: bool,
}

/// Where the value of a key is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Array(usize),
    Node(usize),
}

impl Table {
    /// The bytes that a table with such parts takes.
    fn bytes_of(array: usize, nodes: usize) -> usize {
        array * VALUE_BYTES + nodes * NODE_BYTES
    }

    /// The bytes that the table takes.
    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + Self::bytes_of(self.array.len(), self.nodes.len())
    }

    /// The value of a key that is a string.
    #[inline]
    pub(crate) fn get_str(&self, key: crate::value::Str, meter: &Meter) -> Value {
        let mask = self.nodes.len().wrapping_sub(1);
        let mut steps = 0;
        let mut place = key.hash as usize & mask;
        while let Some(node) = self.nodes.get(place) {
            if let Value::String(other) = node.key
                && other.id == key.id
            {
                return node.value;
            }
            steps += 1;
            place = node.next as usize;
        }
        meter.owe_search(steps);
        Value::Nil
    }

    /// The value of an integer key.
    #[inline]
    pub(crate) fn get_int(&self, key: i32, meter: &Meter) -> Value {
        match self.array.get((key as usize).wrapping_sub(1)) {
            Some(value) => *value,
            None if self.nodes.is_empty() => Value::Nil,
            None => self.get_hashed(Value::Number(f64::from(key)), meter),
        }
    }

    /// The value of any key.
    #[inline]
    pub(crate) fn get(&self, key: Value, meter: &Meter) -> Value {
        match key {
            Value::String(key) => self.get_str(key, meter),
            Value::Nil => Value::Nil,
            Value::Number(number) => match as_index(number) {
                Some(index) => self.get_int(index, meter),
                None => self.get_hashed(key, meter),
            },
            _ => self.get_hashed(key, meter),
        }
    }

    fn get_hashed(&self, key: Value, meter: &Meter) -> Value {
        self.find_node(key, meter)
            .map_or(Value::Nil, |place| self.nodes[place].value)
    }

    fn find_node(&self, key: Value, meter: &Meter) -> Option<usize> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut steps = 0;
        let mut place = self.main_place(key);
        while let Some(node) = self.nodes.get(place) {
            if node.key == key {
                meter.owe_search(steps);
                return Some(place);
            }
            steps += 1;
            place = node.next as usize;
        }
        meter.owe_search(steps);
        None
    }

    #[inline]
    fn find(&self, key: Value, meter: &Meter) -> Option<Place> {
        if let Value::Number(number) = key
            && let Some(index) = as_index(number)
            && let place = (index as usize).wrapping_sub(1)
            && place < self.array.len()
        {
            return Some(Place::Array(place));
        }
        self.find_node(key, meter).map(Place::Node)
    }

    /// The value of a string key, to be changed.
    #[inline]
    pub(crate) fn get_str_mut(&mut self, key: crate::value::Str, meter: &Meter) -> Option<&mut Value> {
        let mask = self.nodes.len().wrapping_sub(1);
        let mut steps = 0;
        let mut place = key.hash as usize & mask;
        while let Some(node) = self.nodes.get(place) {
            if let Value::String(other) = node.key
                && other.id == key.id
            {
                return Some(&mut self.nodes[place].value);
            }
            steps += 1;
            place = node.next as usize;
        }
        meter.owe_search(steps);
        None
    }

    /// The place of a key, which is put into the table with the value `nil` if it was absent.
    pub(crate) fn entry(&mut self, key: Value, meter: &mut Meter) -> Outcome<Result<&mut Value, BadKey>> {
        self.absent = 0;
        let place = match self.find(key, meter) {
            Some(place) => place,
            None => match key {
                Value::Nil => return Ok(Err(BadKey::Nil)),
                Value::Number(number) if number.is_nan() => return Ok(Err(BadKey::Nan)),
                _ => self.add(key, meter)?,
            },
        };
        Ok(Ok(match place {
            Place::Array(place) => &mut self.array[place],
            Place::Node(place) => &mut self.nodes[place].value,
        }))
    }

    /// Sets the value of a key that is neither `nil` nor NaN.
    pub(crate) fn set(&mut self, key: Value, value: Value, meter: &mut Meter) -> Outcome<()> {
        if let Ok(place) = self.entry(key, meter)? {
            *place = value;
        }
        Ok(())
    }

    /// Puts in a key that is absent.
    fn add(&mut self, key: Value, meter: &mut Meter) -> Outcome<Place> {
        if self.nodes.is_empty() {
            return self.grow_for(key, meter);
        }
        let main = self.main_place(key);
        if self.nodes[main].value.is_nil() {
            self.nodes[main].key = key;
            return Ok(Place::Node(main));
        }
        let Some(free) = self.free_place() else {
            return self.grow_for(key, meter);
        };
        let other = self.main_place(self.nodes[main].key);
        if other == main {
            // The node in the way is where it belongs: the new key goes into the free node.
            self.nodes[free] = Node {
                key,
                value: Value::Nil,
                next: self.nodes[main].next,
            };
            self.nodes[main].next = free as u32;
            return Ok(Place::Node(free));
        }
        // The node in the way belongs to another chain: it moves to the free node.
        let mut before = other;
        let mut steps = 0;
        while self.nodes[before].next as usize != main {
            before = self.nodes[before].next as usize;
            steps += 1;
        }
        meter.owe_search(steps);
        self.nodes[before].next = free as u32;
        self.nodes[free] = self.nodes[main];
        self.nodes[main] = Node { key, ..EMPTY };
        Ok(Place::Node(main))
    }

    fn grow_for(&mut self, key: Value, meter: &mut Meter) -> Outcome<Place> {
        self.rehash(key, meter)?;
        match self.find(key, meter) {
            Some(place) => Ok(place),
            None => self.add(key, meter),
        }
    }

    fn free_place(&mut self) -> Option<usize> {
        while self.last_free > 0 {
            self.last_free -= 1;
            if self.nodes[self.last_free as usize].key.is_nil() {
                return Some(self.last_free as usize);
            }
        }
        None
    }

    /// The node at which the chain of a key begins. There must be nodes.
    #[inline]
    fn main_place(&self, key: Value) -> usize {
        let count = self.nodes.len();
        let by_remainder = |hash: u32| hash as usize % ((count - 1) | 1);
        match key {
            Value::String(string) => string.hash as usize & (count - 1),
            Value::Number(0.0) => 0,
            Value::Number(number) => {
                let bits = number.to_bits();
                by_remainder((bits as u32).wrapping_add((bits >> 32) as u32))
            }
            Value::Boolean(boolean) => usize::from(boolean) & (count - 1),
            Value::Table(TableId(id)) => by_remainder(id),
            Value::Closure(id) => by_remainder(id.0),
            Value::Native(id) => by_remainder(id.0),
            Value::Thread(id) => by_remainder(id.0),
            Value::Light(id) => by_remainder(id),
            Value::Nil => 0,
        }
    }

    /// Chooses the sizes of both parts anew, so that `key` has room.
    fn rehash(&mut self, key: Value, meter: &mut Meter) -> Outcome<()> {
        meter.owe((self.array.len() + self.nodes.len()) as u64 / 2);
        let mut census = Census::default();
        let mut used = self.count_array(&mut census);
        let in_array = used;
        for node in self.nodes.iter().filter(|node| !node.value.is_nil()) {
            census.count(node.key);
            used += 1;
        }
        debug_assert!(census.integers >= in_array, "the array part holds integers");
        census.count(key);
        used += 1;
        let (array, in_array) = census.array_size();
        self.resize(array, used - in_array, meter)
    }

    fn count_array(&self, census: &mut Census) -> usize {
        let mut used = 0;
        let mut from = 0;
        for bits in 0..=ARRAY_BITS_MAX {
            if from >= self.array.len() {
                break;
            }
            let to = (1 << bits).min(self.array.len());
            let count = self.array[from..to].iter().filter(|value| !value.is_nil()).count();
            census.slices[bits] += count;
            used += count;
            from = to;
        }
        census.integers += used;
        used
    }

    /// Gives the parts room for so many values and keys, and moves everything to its new place.
    pub(crate) fn resize(&mut self, array: usize, keys: usize, meter: &mut Meter) -> Outcome<()> {
        let nodes = if keys == 0 { 0 } else { keys.next_power_of_two() };
        let (bytes, was) = (
            Self::bytes_of(array, nodes),
            Self::bytes_of(self.array.len(), self.nodes.len()),
        );
        if bytes > was {
            meter.allocate(bytes - was)?;
        } else {
            meter.free(was - bytes);
        }
        let old_nodes = core::mem::replace(&mut self.nodes, alloc::vec![EMPTY; nodes]);
        self.last_free = nodes as u32;
        let mut cut = Vec::new();
        if array < self.array.len() {
            cut = self.array.split_off(array);
            self.array.shrink_to_fit();
        } else {
            self.array.reserve_exact(array - self.array.len());
            self.array.resize(array, Value::Nil);
        }
        for (value, index) in cut.into_iter().zip(array + 1..) {
            if !value.is_nil() {
                self.set(Value::Number(index as f64), value, meter)?;
            }
        }
        for node in old_nodes.iter().rev().filter(|node| !node.value.is_nil()) {
            self.set(node.key, node.value, meter)?;
        }
        Ok(())
    }

    /// Gives the array part room for `array` values, if it has less.
    pub(crate) fn grow_array(&mut self, array: usize, meter: &mut Meter) -> Outcome<()> {
        if array <= self.array.len() {
            return Ok(());
        }
        self.resize(array, self.nodes.len(), meter)
    }

    /// A border: an index whose value is not `nil`, followed by one whose value is.
    #[inline]
    pub(crate) fn border(&self, meter: &Meter) -> usize {
        match self.array.last() {
            Some(last) if last.is_nil() => {
                let (mut low, mut high) = (0, self.array.len());
                while high - low > 1 {
                    let middle = usize::midpoint(low, high);
                    if self.array[middle - 1].is_nil() {
                        high = middle;
                    } else {
                        low = middle;
                    }
                }
                low
            }
            _ if self.nodes.is_empty() => self.array.len(),
            _ => self.hashed_border(meter),
        }
    }

    fn hashed_border(&self, meter: &Meter) -> usize {
        let is_nil = |index: usize| self.get(Value::Number(index as f64), meter).is_nil();
        let mut low = self.array.len();
        let mut high = low + 1;
        while !is_nil(high) {
            low = high;
            high *= 2;
            if high > i32::MAX as usize {
                // Somebody has built such a table on purpose: look at one index after the other.
                let border = (1..).take_while(|index| !is_nil(*index)).count();
                meter.owe(border as u64);
                return border;
            }
        }
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if is_nil(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        low
    }

    /// The key and value after `key` in the order of the table; both are `nil` at the end. Nothing if `key` is no key.
    pub(crate) fn next(&self, key: Value, meter: &Meter) -> Option<(Value, Value)> {
        let start = match key {
            Value::Nil => 0,
            _ => match self.find(key, meter)? {
                Place::Array(place) => place + 1,
                Place::Node(place) => self.array.len() + place + 1,
            },
        };
        Some(
            self.first_from(start, meter)
                .map_or((Value::Nil, Value::Nil), |found| (found.1, found.2)),
        )
    }

    /// The first place from `start` on with a value, that place's key, and the value.
    pub(crate) fn first_from(&self, start: usize, meter: &Meter) -> Option<(usize, Value, Value)> {
        for (offset, value) in self.array.iter().skip(start).enumerate() {
            if !value.is_nil() {
                meter.owe_search(offset as u64);
                let place = start + offset;
                return Some((place, Value::Number((place + 1) as f64), *value));
            }
        }
        let skipped = start.saturating_sub(self.array.len());
        for (offset, node) in self.nodes.iter().skip(skipped).enumerate() {
            if !node.value.is_nil() {
                meter.owe_search(offset as u64);
                return Some((self.array.len() + skipped + offset, node.key, node.value));
            }
        }
        meter.owe_search((self.array.len() + self.nodes.len()).saturating_sub(start) as u64);
        None
    }
}

/// How many integer keys there are, by their magnitude.
#[derive(Default)]
struct Census {
    /// Slice `n` counts the keys above `2^(n-1)` and up to `2^n`.
    slices: [usize; ARRAY_BITS_MAX + 1],
    integers: usize,
}

impl Census {
    fn count(&mut self, key: Value) {
        if let Value::Number(number) = key
            && let Some(index) = as_index(number)
            && (1..=1 << ARRAY_BITS_MAX).contains(&index)
        {
            self.slices[(index as usize).next_power_of_two().trailing_zeros() as usize] += 1;
            self.integers += 1;
        }
    }

    /// The size of the array part, and how many keys will be in it.
    fn array_size(&self) -> (usize, usize) {
        let (mut size, mut keys, mut seen) = (0, 0, 0);
        let mut power = 1;
        for count in self.slices {
            if power / 2 >= self.integers {
                break;
            }
            seen += count;
            if count > 0 && seen > power / 2 {
                (size, keys) = (power, seen);
            }
            if seen == self.integers {
                break;
            }
            power *= 2;
        }
        (size, keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Limits;

    fn number(number: i32) -> Value {
        Value::Number(f64::from(number))
    }

    #[test]
    fn keys_1_to_n_are_in_the_array() {
        let mut meter = Meter::new(&Limits::default());
        let mut table = Table::default();
        for index in 1..=1000 {
            table.set(number(index), number(-index), &mut meter).unwrap();
            assert_eq!(table.border(&meter), index as usize);
        }
        assert_eq!((table.array.len(), table.nodes.len()), (1024, 0));
        for index in 1..=1000 {
            assert_eq!(table.get(number(index), &meter), number(-index));
        }
        assert_eq!(meter.bytes(), table.bytes() - OVERHEAD_BYTES);
    }

    #[test]
    fn a_walk_meets_every_key_once() {
        let mut meter = Meter::new(&Limits::default());
        let mut table = Table::default();
        for index in 0..300 {
            table
                .set(number(index * index), Value::Boolean(true), &mut meter)
                .unwrap();
            table
                .set(Value::Light(index as u32), Value::Boolean(true), &mut meter)
                .unwrap();
        }
        for index in 100..200 {
            table.set(Value::Light(index), Value::Nil, &mut meter).unwrap();
        }
        let (mut count, mut key) = (0, Value::Nil);
        loop {
            key = table.next(key, &meter).unwrap().0;
            if key.is_nil() {
                break;
            }
            count += 1;
        }
        assert_eq!(count, 500);
        assert!(table.next(Value::Light(1000), &meter).is_none());
    }

    #[test]
    fn nil_and_nan_are_no_keys() {
        let mut meter = Meter::new(&Limits::default());
        let mut table = Table::default();
        assert_eq!(table.entry(Value::Nil, &mut meter), Ok(Err(BadKey::Nil)));
        assert_eq!(table.entry(Value::Number(f64::NAN), &mut meter), Ok(Err(BadKey::Nan)));
    }

    #[test]
    fn a_table_above_the_bound_is_refused_before_it_is_made() {
        let mut meter = Meter::new(&Limits {
            bytes_max: 1000,
            ..Limits::default()
        });
        let mut table = Table::default();
        assert!(table.resize(1 << 40, 0, &mut meter).is_err());
        assert_eq!(table.array.len(), 0);
    }
}
