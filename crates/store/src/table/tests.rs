//! Tables compared with a model, and their cost.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::dot::Writer;

/// The records that a table should have.
type Model = BTreeMap<Vec<u8>, Owned>;

/// A [`Record`] that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
struct Owned {
    dot: Dot,
    stamp: Stamp,
    expiry_ms: Option<u64>,
    content: OwnedContent,
}

#[derive(Clone, Debug, PartialEq)]
enum OwnedContent {
    Plain(u8, Vec<u8>),
    Counter(u64, i128),
}

impl Owned {
    fn plain(writer: u64, counter: u64, bytes: Vec<u8>) -> Self {
        Self {
            dot: Dot {
                writer: Writer(writer),
                counter,
            },
            stamp: Stamp(counter << 16),
            expiry_ms: None,
            content: OwnedContent::Plain(0, bytes),
        }
    }

    fn of(record: &Record<'_>) -> Self {
        let content = match record.content {
            Content::Plain { format, bytes } => OwnedContent::Plain(format, bytes.to_vec()),
            Content::Counter { since, amount } => OwnedContent::Counter(since, amount),
        };
        let Record {
            dot, stamp, expiry_ms, ..
        } = *record;
        Self {
            dot,
            stamp,
            expiry_ms,
            content,
        }
    }

    fn record(&self) -> Record<'_> {
        let content = match &self.content {
            OwnedContent::Plain(format, bytes) => Content::Plain { format: *format, bytes },
            OwnedContent::Counter(since, amount) => Content::Counter {
                since: *since,
                amount: *amount,
            },
        };
        let Owned {
            dot, stamp, expiry_ms, ..
        } = *self;
        Record {
            dot,
            stamp,
            expiry_ms,
            content,
        }
    }
}

fn put(table: &mut Table, key: &[u8], record: &Owned) -> bool {
    table.put(hash(key), key, &record.record())
}

fn remove(table: &mut Table, key: &[u8]) -> bool {
    table.remove(hash(key), key)
}

/// The `n`-th of many keys of 16 bytes.
fn nth_key(n: usize) -> Vec<u8> {
    format!("key:{n:012}").into_bytes()
}

/// A table and its model: `count` keys with values of 16 bytes.
fn filled(count: usize) -> (Table, Model) {
    let (mut table, mut model) = (Table::new(), Model::new());
    for n in 0..count {
        let record = Owned::plain(n as u64 % 3, n as u64 + 1, vec![n as u8; 16]);
        put(&mut table, &nth_key(n), &record);
        model.insert(nth_key(n), record);
    }
    (table, model)
}

/// The difference between a table and its model, if there is one.
fn difference(table: &Table, model: &Model) -> Option<String> {
    let expiring = model.values().filter(|record| record.expiry_ms.is_some()).count();
    if (table.len(), table.expiring()) != (model.len(), expiring) {
        return Some(format!("counts {} and {}", table.len(), table.expiring()));
    }
    for (key, expected) in model {
        let found = table.get(hash(key), key).as_ref().map(Owned::of);
        if found.as_ref() != Some(expected) {
            return Some(format!("{key:?} is {found:?}, not {expected:?}"));
        }
    }
    let listed = table.iter().map(|(key, record)| (key.to_vec(), Owned::of(&record)));
    if listed.collect::<Vec<_>>().len() != model.len() {
        return Some("iter is of another length".into());
    }
    let differs = table
        .iter()
        .find(|(key, record)| model.get(*key) != Some(&Owned::of(record)));
    differs.map(|(key, _)| format!("iter has another {key:?}"))
}

#[test]
fn the_checker_detects_differences() {
    let check = |name: &str, spoil: fn(&mut Table) -> bool| {
        let (mut table, model) = filled(20);
        assert_eq!(difference(&table, &model), None);
        spoil(&mut table);
        assert!(difference(&table, &model).is_some(), "{name}");
    };
    check("lost", |table| remove(table, &nth_key(3)));
    check("extra", |table| put(table, b"extra", &Owned::plain(1, 1, vec![])));
    check("value", |table| {
        put(table, &nth_key(3), &Owned::plain(0, 4, vec![9; 16]))
    });
    check("writer", |table| {
        put(table, &nth_key(3), &Owned::plain(7, 4, vec![3; 16]))
    });
    check("counter", |table| {
        put(table, &nth_key(3), &Owned::plain(0, 9, vec![3; 16]))
    });
    check("expiry", |table| {
        table.expiring = 1;
        true
    });
    check("palette", |table| {
        let number = table.palette.acquire(Writer(99));
        let (key, old) = (nth_key(3), Owned::plain(0, 4, vec![3; 16]));
        let at = table.find(hash(&key), &key).unwrap();
        let id = table.index.id(at);
        let encoded = Encoded::new(&key, number, &old.record());
        table.slab.replace(id, &encoded.pieces())
    });
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<u8>, Owned),
    Remove(Vec<u8>),
    /// Removes the records that have expired at this time.
    Expire(u64),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || {
        prop_oneof![
            40 => (0..60usize).prop_map(nth_key),
            5 => (120..140usize, 0..4u8).prop_map(|(len, byte)| vec![byte; len]),
            1 => Just(Vec::new()),
            1 => Just(vec![1; 65536]),
        ]
    };
    let bytes = prop_oneof![
        10 => 0..40usize,
        5 => 0..1100usize,
        2 => 1000..4000usize,
        1 => Just(70_000usize),
    ];
    let number = || prop_oneof![Just(0), Just(u64::MAX), 0..300u64, any::<u64>()];
    let content = prop_oneof![
        9 => (0..=FORMAT_MAX, bytes, any::<u8>())
            .prop_map(|(format, len, byte)| OwnedContent::Plain(format, vec![byte; len])),
        1 => (number(), prop_oneof![
            2 => prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()].prop_map(i128::from),
            1 => prop_oneof![Just(i128::MIN), Just(i128::MAX), any::<i128>()],
        ])
            .prop_map(|(since, amount)| OwnedContent::Counter(since, amount)),
    ];
    let dot = (0..200u64, number()).prop_map(|(writer, counter)| Dot {
        writer: Writer(writer << 55 | writer),
        counter,
    });
    let expiry_ms = prop::option::weighted(0.2, prop_oneof![0..100u64, Just(u64::MAX)]);
    let record = (dot, any::<u64>(), expiry_ms, content).prop_map(|(dot, stamp, expiry_ms, content)| Owned {
        dot,
        stamp: Stamp(stamp),
        expiry_ms,
        content,
    });
    let step = prop_oneof![
        60 => (key(), record).prop_map(|(key, record)| Step::Put(key, record)),
        40 => key().prop_map(Step::Remove),
        2 => (0..100u64).prop_map(Step::Expire),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..400)
}

/// Removes expired records, a few at a time.
fn expire(table: &mut Table, now_ms: u64) -> BTreeSet<Vec<u8>> {
    let (mut gone, mut cursor) = (BTreeSet::new(), 0);
    loop {
        let Sweep { keys, next, .. } = table.expired(|expiry_ms, _| expiry_ms <= now_ms, 7, cursor);
        let keys: Vec<_> = keys.into_iter().map(<[u8]>::to_vec).collect();
        let found = !keys.is_empty();
        for key in keys {
            assert!(remove(table, &key));
            gone.insert(key);
        }
        // A removal moves other records, perhaps to places that the cursor has passed.
        cursor = if found { 0 } else { next };
        if cursor == 0 && !found {
            return gone;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_table_is_a_map(steps in steps()) {
        let (mut table, mut model) = (Table::new(), Model::new());
        for step in steps {
            match step {
                Step::Put(key, record) => {
                    let replaced = put(&mut table, &key, &record);
                    prop_assert_eq!(replaced, model.insert(key, record).is_some());
                }
                Step::Remove(key) => {
                    let removed = remove(&mut table, &key);
                    prop_assert_eq!(removed, model.remove(&key).is_some());
                }
                Step::Expire(now_ms) => {
                    let gone = |record: &Owned| record.expiry_ms.is_some_and(|at| at <= now_ms);
                    let keys = model.extract_if(.., |_, record| gone(record)).map(|(key, _)| key);
                    prop_assert_eq!(expire(&mut table, now_ms), keys.collect());
                }
                Step::Clear => {
                    table.clear();
                    model.clear();
                    prop_assert_eq!(table.memory_bytes(), 0);
                }
            }
            prop_assert!(!table.is_empty() || table.memory_bytes() == 0);
        }
        prop_assert_eq!(difference(&table, &model), None);
        let (scanned, next) = table.scan(0, usize::MAX);
        prop_assert_eq!(next, None);
        prop_assert!(scanned.is_sorted_by_key(|(key, _)| hash(key)));
        prop_assert_eq!(scanned.len(), model.len());
        for key in model.keys() {
            prop_assert!(remove(&mut table, key));
        }
        prop_assert_eq!(table.memory_bytes(), 0);
    }
}

/// Scans while `disturb` puts and removes other keys. Returns how many of the `kept` keys the scan missed or found
/// twice.
fn missed(table: &mut Table, kept: usize, mut disturb: impl FnMut(&mut Table, usize)) -> usize {
    let mut met: BTreeMap<Vec<u8>, u32> = (0..kept).map(|n| (nth_key(n), 0)).collect();
    let mut from_hash = Some(0);
    for round in 0.. {
        let Some(from) = from_hash else { break };
        let (records, next) = table.scan(from, 1 + round % 7);
        for (key, _) in records {
            met.entry(key.to_vec()).and_modify(|times| *times += 1);
        }
        from_hash = next;
        disturb(table, round);
    }
    met.values().filter(|&&times| times != 1).count()
}

#[test]
fn a_scan_survives_growth_and_shrinking() {
    let other = |n: usize| nth_key(1_000_000 + n);
    let (mut table, _) = filled(500);
    let grown = missed(&mut table, 500, |table, round| {
        // Adds ten times the keys that the scan must find, and then stops; otherwise the scan would not end.
        for n in (0..50).filter(|_| round < 100) {
            let record = Owned::plain(0, 1, vec![0; n]);
            put(table, &other(round * 50 + n), &record);
        }
    });
    assert_eq!(grown, 0);
    let before = table.len();
    assert_eq!(before, 5_500);
    let shrunk = missed(&mut table, 500, |table, round| {
        for n in 0..50 {
            remove(table, &other(round * 50 + n));
        }
    });
    assert_eq!(shrunk, 0);
    assert!(table.len() < before / 4);
}

#[test]
fn the_scan_checker_detects_missed_keys() {
    let (mut table, _) = filled(500);
    let late = |table: &mut Table, round| {
        if round == 3 {
            let (keys, _) = table.scan(u64::MAX / 2, 1);
            let key = keys[0].0.to_vec();
            remove(table, &key);
        }
    };
    assert_eq!(missed(&mut table, 500, late), 1);
}

#[test]
fn a_scan_starts_where_it_is_told_and_stops_at_its_limit() {
    let (table, model) = filled(100);
    let mut hashes: Vec<_> = model.keys().map(|key| hash(key)).collect();
    hashes.sort_unstable();
    for (at, &from) in hashes.iter().enumerate() {
        let (records, next) = table.scan(from, 10);
        let found: Vec<_> = records.iter().map(|(key, _)| hash(key)).collect();
        assert_eq!(found, &hashes[at..hashes.len().min(at + 10)]);
        assert_eq!(next, hashes.get(at + 10).copied());
        assert_eq!(
            table.scan(from + 1, 1).0.first().map(|(key, _)| hash(key)),
            hashes.get(at + 1).copied()
        );
    }
    assert_eq!(table.scan(0, 0), (vec![], Some(hashes[0])));
    assert_eq!(Table::new().scan(0, 10), (vec![], None));
}

#[test]
fn an_empty_table_owns_nothing() {
    let mut table = Table::new();
    assert_eq!(table.memory_bytes(), 0);
    assert_eq!(table.get(hash(b"k"), b"k"), None);
    assert!(!remove(&mut table, b"k"));
    assert_eq!(table.random(5), None);
    assert_eq!(table.expired(|_, _| true, 10, 77), Sweep::default());
    assert_eq!(table.iter().count(), 0);
    put(&mut table, b"k", &Owned::plain(1, 1, vec![0; 16]));
    assert!(table.memory_bytes() < 1100, "{}", table.memory_bytes());
}

#[test]
fn memory_per_key_is_within_budget() {
    // About a million keys in 1,024 tables: each table has between 850 and 1,100 keys.
    for count in (800..1200).step_by(10) {
        let (table, _) = filled(count);
        let per_key = table.memory_bytes() as f64 / count as f64;
        assert!(per_key <= 70.0, "{count}: {per_key}");
    }
    for count in [100, 300, 10_000, 100_000] {
        let (table, _) = filled(count);
        let per_key = table.memory_bytes() as f64 / count as f64;
        assert!(per_key <= 75.0, "{count}: {per_key}");
    }
}

#[test]
fn memory_is_freed_after_churn() {
    let (mut table, _) = filled(2_000);
    let record = |n: usize| Owned::plain(n as u64 % 50, n as u64, vec![7; n * 37 % 1500]);
    for n in 0..60_000 {
        put(&mut table, &nth_key(n % 2_000), &record(n));
        remove(&mut table, &nth_key(n * 7 % 2_000));
    }
    let held: usize = table.iter().map(|(key, record)| key.len() + length(&record) + 20).sum();
    assert!(
        table.memory_bytes() < held + held / 4 + 64 * 1024,
        "{held} {}",
        table.memory_bytes()
    );
    // Removes 99 of 100 keys, wherever they are.
    for n in (0..2_000).filter(|n| n % 100 != 0) {
        remove(&mut table, &nth_key(n));
    }
    assert!(
        table.memory_bytes() < 60 * 1024,
        "{} in {}",
        table.len(),
        table.memory_bytes()
    );
    for n in 0..2_000 {
        remove(&mut table, &nth_key(n));
    }
    assert_eq!((table.len(), table.memory_bytes()), (0, 0));
}

fn length(record: &Record<'_>) -> usize {
    match record.content {
        Content::Plain { bytes, .. } => bytes.len(),
        Content::Counter { .. } => 0,
    }
}

#[test]
fn a_key_may_change_its_size() {
    let (mut table, mut model) = filled(40);
    for len in (0..1300).chain([1 << 20, 64 << 20, 5, 1009, 1010, 3_000, 2_000]) {
        let record = Owned::plain(3, len as u64, vec![len as u8; len]);
        assert!(put(&mut table, &nth_key(len % 40), &record));
        model.insert(nth_key(len % 40), record);
        if len % 100 == 0 {
            assert_eq!(difference(&table, &model), None);
        }
    }
    assert_eq!(difference(&table, &model), None);
}

#[test]
fn unused_writers_are_dropped() {
    let (mut table, mut model) = filled(100);
    for writer in 0..100_000u64 {
        let key = nth_key(writer as usize % 100);
        let record = Owned::plain(writer, writer, vec![1; 16]);
        put(&mut table, &key, &record);
        model.insert(key, record);
    }
    assert_eq!(difference(&table, &model), None);
    assert!(table.palette.memory_bytes() < 6 * 1024);
}

#[test]
fn an_expiry_is_found_in_few_steps_and_only_when_it_is_over() {
    let (mut table, _) = filled(1_000);
    let mut record = Owned::plain(1, 1, vec![5; 16]);
    record.expiry_ms = Some(50);
    put(&mut table, &nth_key(700), &record);
    record.content = OwnedContent::Plain(0, vec![5; 5_000]);
    put(&mut table, &nth_key(800), &record);
    assert_eq!(table.expiring(), 2);
    assert!(expire(&mut table, 49).is_empty());
    let (mut cursor, mut calls, mut found) = (0, 0, 0);
    loop {
        let sweep = table.expired(|expiry_ms, _| expiry_ms <= 50, 100, cursor);
        assert_eq!(sweep.looked, 100);
        (cursor, calls, found) = (sweep.next, calls + 1, found + sweep.keys.len());
        if cursor == 0 {
            break;
        }
    }
    assert_eq!((calls, found), (10, 2));
    assert_eq!(expire(&mut table, 50), BTreeSet::from([nth_key(700), nth_key(800)]));
    assert_eq!(table.expired(|_, _| true, 1, 3), Sweep::default());
}

#[test]
fn random_reaches_every_key() {
    let (mut table, _) = filled(300);
    for n in 50..300 {
        remove(&mut table, &nth_key(n));
    }
    let draw = |n: u64| table.random(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)).unwrap().0.to_vec();
    let drawn: BTreeSet<_> = (1..2_000).map(draw).collect();
    assert_eq!(drawn.len(), 50);
}

#[test]
fn hashes_are_xxh3() {
    assert_eq!(hash(b""), 0x2d06_8005_38d3_94c2);
}
