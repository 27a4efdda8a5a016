//! Where the keys of each keyspace are: from a key to its slot and its shard, and from a shard to its place in the
//! ring.
//!
//! ```text
//! keyspace    slots         shards          places in a ring of 1,024
//! 0 default   hash            0 … 1023      0 … 1023
//! 1 jobs      one          1024             1
//! 2 mail      prefix 2     1025 … 2048      0 … 1023
//! ```
//!
//! The shards of all keyspaces are numbered one after the other; messages between nodes use these numbers. A keyspace
//! has as many shards as the ring has places, or one shard if all its keys have one slot.
//!
//! Invariants:
//! - Everything here is a pure function of settings that are in the birth record, so it is the same on every node.
//! - All keys of one slot are in one shard.
//!
//! Used at the stop *route* of a request.

use alloc::vec::Vec;
use core::{fmt, ops::Range};

use crate::{
    config::Config,
    slot::{self, SLOTS},
};

/// The rule by which the keys of a keyspace come to their slots. Keys with the same slot can be used together in one
/// command, or in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Slots {
    /// The rule of Redis Cluster: the CRC16 of the key, or of its part in braces.
    #[default]
    Hash,
    /// All keys have one slot, and the keyspace has one shard.
    One,
    /// The CRC16 of the first so many segments of the key, divided by `:`; of the whole key if it has no more
    /// segments. If a key has a part in braces, the CRC16 of that part, as for [`Slots::Hash`].
    Prefix(u8),
}

/// Most segments of [`Slots::Prefix`]; the least is 1.
pub const SEGMENTS_MAX: u8 = 16;

impl Slots {
    /// The slot of `key`, below [`SLOTS`].
    pub fn slot(self, key: &[u8]) -> u16 {
        match self {
            Self::Hash => slot::slot(key),
            Self::One => 0,
            Self::Prefix(segments) => {
                let tag = slot::hash_tag(key);
                // A tag is shorter than its key, which also has the braces.
                let hashed = if tag.len() < key.len() {
                    tag
                } else {
                    prefix(key, segments)
                };
                slot::crc16(hashed) % SLOTS
            }
        }
    }

    /// The rule in the birth record: a number.
    pub(crate) fn code(self) -> u64 {
        match self {
            Self::Hash => 0,
            Self::One => 1,
            Self::Prefix(segments) => 1 + u64::from(segments),
        }
    }

    /// The rule of this number.
    pub(crate) fn of_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Hash),
            1 => Some(Self::One),
            _ => u8::try_from(code - 1).ok().map(Self::Prefix),
        }
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash => f.write_str("hash"),
            Self::One => f.write_str("one"),
            Self::Prefix(segments) => write!(f, "prefix {segments}"),
        }
    }
}

/// The first `segments` segments of `key`, divided by `:`. The whole key if it has no more.
fn prefix(key: &[u8], segments: u8) -> &[u8] {
    let mut colons = memchr::memchr_iter(b':', key);
    match colons.nth(usize::from(segments).saturating_sub(1)) {
        Some(end) => &key[..end],
        None => key,
    }
}

/// The slots and shards of one keyspace.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    slots: Slots,
    first: usize,
    shards: u16,
}

impl Span {
    /// The slot of a key.
    pub fn slot(&self, key: &[u8]) -> u16 {
        self.slots.slot(key)
    }

    /// Whether all keys have one slot.
    pub fn has_one_slot(&self) -> bool {
        self.slots == Slots::One
    }

    /// The shard of a slot, as all keyspaces count.
    pub fn shard(&self, slot: u16) -> usize {
        self.first + usize::from(slot::shard(slot, self.shards))
    }

    /// The shard of a key, as all keyspaces count.
    pub fn shard_of(&self, key: &[u8]) -> usize {
        self.shard(self.slot(key))
    }

    /// Its shards, as all keyspaces count.
    pub fn shards(&self) -> Range<usize> {
        self.first..self.first + usize::from(self.shards)
    }

    /// Its shard `number`, as all keyspaces count; `None` if it has fewer.
    pub fn numbered(&self, number: usize) -> Option<usize> {
        (number < usize::from(self.shards)).then(|| self.first + number)
    }

    /// How many slots each of its shards has.
    pub fn slots_per_shard(&self) -> u16 {
        SLOTS / self.shards
    }
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Layout {
    spans: Vec<Span>,
    ring_shards: u16,
}

impl Layout {
    /// The layout of the keyspaces of `config`.
    pub fn new(config: &Config) -> Self {
        let mut first = 0;
        let span = |slots: Slots| {
            let shards = if slots == Slots::One { 1 } else { config.shards };
            let span = Span { slots, first, shards };
            first = span.shards().end;
            span
        };
        Self {
            spans: config
                .keyspaces
                .iter()
                .map(|keyspace| keyspace.slots)
                .map(span)
                .collect(),
            ring_shards: config.shards,
        }
    }

    /// Shards of all keyspaces.
    pub fn shards(&self) -> usize {
        self.spans.last().map_or(0, |span| span.shards().end)
    }

    /// The slots and shards of the keyspace of this number.
    pub fn span(&self, keyspace: u16) -> &Span {
        &self.spans[usize::from(keyspace)]
    }

    /// The number of the keyspace that `shard` belongs to, and the shard's number in it.
    pub fn place(&self, shard: usize) -> (u16, usize) {
        let keyspace = self.spans.partition_point(|span| span.first <= shard) - 1;
        (keyspace as u16, shard - self.spans[keyspace].first)
    }

    /// The place of `shard` in the ring. The only shard of a keyspace has the place of the keyspace's number, so that
    /// the primaries of such keyspaces are on many nodes.
    pub fn ring_shard(&self, shard: usize) -> u16 {
        let (keyspace, number) = self.place(shard);
        let is_only = self.spans[usize::from(keyspace)].slots == Slots::One;
        let place = if is_only { usize::from(keyspace) } else { number };
        (place % usize::from(self.ring_shards)) as u16
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Keyspace;

    fn layout(shards: u16, rules: &[Slots]) -> Layout {
        let keyspace = |(number, slots): (usize, &Slots)| Keyspace {
            slots: *slots,
            ..Keyspace::named(&std::format!("k{number}"))
        };
        Layout::new(&Config {
            shards,
            keyspaces: rules.iter().enumerate().map(keyspace).collect(),
            ..Config::default()
        })
    }

    #[test]
    fn the_slot_of_a_prefix_is_that_of_its_segments() {
        for (key, segments, hashed) in [
            ("queue:7:items", 2, "queue:7"),
            ("queue:7:items", 1, "queue"),
            ("queue:7:items:3", 3, "queue:7:items"),
            // A key with no more segments is hashed whole, so it is in the slot of the keys that it is a prefix of.
            ("queue:7", 2, "queue:7"),
            ("queue", 2, "queue"),
            ("queue:", 1, "queue"),
            ("::a:b", 2, ":"),
            (":a:b", 1, ""),
            ("", 1, ""),
            // Braces win, and what is in them is not divided.
            ("x:{queue:7}:items", 1, "queue:7"),
            ("{queue:7:more}", 2, "queue:7:more"),
            // Empty or open braces are part of the name.
            ("a{}:b:c", 1, "a{}"),
            ("a:{b:c", 2, "a:{b"),
        ] {
            let wanted = slot::crc16(hashed.as_bytes()) % SLOTS;
            assert_eq!(Slots::Prefix(segments).slot(key.as_bytes()), wanted, "{key} {segments}");
        }
    }

    #[test]
    fn shards_of_all_keyspaces_are_numbered_one_after_the_other() {
        let layout = layout(16, &[Slots::Hash, Slots::One, Slots::Prefix(2), Slots::One]);
        let ranges: Vec<Range<usize>> = (0..4).map(|keyspace| layout.span(keyspace).shards()).collect();
        assert_eq!(ranges, [0..16, 16..17, 17..33, 33..34]);
        assert_eq!(layout.shards(), 34);
        for (keyspace, range) in ranges.into_iter().enumerate() {
            for (number, shard) in range.enumerate() {
                assert_eq!(layout.place(shard), (keyspace as u16, number));
                assert_eq!(layout.span(keyspace as u16).numbered(number), Some(shard));
            }
        }
        assert_eq!(layout.span(1).numbered(1), None);
        assert_eq!(layout.span(2).numbered(16), None);
    }

    #[test]
    fn keyspaces_of_one_shard_have_different_places_in_the_ring() {
        let layout = layout(16, &[[Slots::Hash].as_slice(), &[Slots::One; 15]].concat());
        let places: Vec<u16> = (16..31).map(|shard| layout.ring_shard(shard)).collect();
        assert_eq!(places, (1..16).collect::<Vec<u16>>());
        // There are more keyspaces than places.
        let layout = self::layout(2, &[Slots::One; 3]);
        assert_eq!([0, 1, 2].map(|shard| layout.ring_shard(shard)), [0, 1, 0]);
    }

    #[test]
    fn a_rule_has_a_number_of_its_own() {
        for slots in [Slots::Hash, Slots::One, Slots::Prefix(1), Slots::Prefix(SEGMENTS_MAX)] {
            assert_eq!(Slots::of_code(slots.code()), Some(slots));
        }
        assert_eq!(Slots::of_code(1 << 40), None);
    }

    proptest! {
        #[test]
        fn keys_of_one_prefix_are_in_one_shard(
            prefix in "[a-z]{0,3}:[a-z]{0,3}", a in "[a-z:]{0,9}", b in "[a-z:]{0,9}"
        ) {
            let layout = layout(1024, &[Slots::Prefix(2)]);
            let shard = |rest: &str| layout.span(0).shard_of(std::format!("{prefix}:{rest}").as_bytes());
            prop_assert_eq!(shard(&a), shard(&b));
            prop_assert_eq!(shard(&a), layout.span(0).shard_of(prefix.as_bytes()));
        }

        #[test]
        fn every_key_is_in_a_shard_of_its_keyspace(key: Vec<u8>, segments in 1..=SEGMENTS_MAX) {
            let layout = layout(64, &[Slots::Hash, Slots::One, Slots::Prefix(segments)]);
            for keyspace in 0..3 {
                let span = layout.span(keyspace);
                prop_assert!(span.slot(&key) < SLOTS);
                prop_assert_eq!(layout.place(span.shard_of(&key)).0, keyspace);
            }
        }
    }
}
