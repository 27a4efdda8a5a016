//! The cost of a key in time and memory: 1 M keys of 16 bytes with values of 16 bytes, spread over 1,024 tables as in a
//! node.
//!
//! `cargo run --release -p store --example table_speed [KEYS] [TABLES]`
//!
//! Each operation hits another table than the one before. So at the default size nearly every operation misses the
//! cache; `table_speed 1000 1` measures the same in cache. The resident size comes from `/proc/self/statm` (Linux) and
//! includes the overhead of the allocator.

use std::hint::black_box;
use std::time::Instant;

use store::dot::{Dot, Writer};
use store::stamp::Stamp;
use store::table::{Content, Record, Table, hash};

/// Each line is the mean of at least this many operations.
const OPERATIONS_MIN: usize = 1_000_000;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let count: usize = arguments.next().unwrap_or(1_000_000);
    let shards: usize = arguments.next().unwrap_or(1_024);
    let rounds = OPERATIONS_MIN.div_ceil(count);

    let keys: Vec<[u8; 16]> = (0..count).map(key).collect();
    let strangers: Vec<[u8; 16]> = (count..2 * count).map(key).collect();
    let resident_before = resident_bytes();
    let mut tables: Vec<Table> = (0..shards).map(|_| Table::new()).collect();

    let mut slowest_ns = 0;
    let start = Instant::now();
    for (n, key) in keys.iter().enumerate() {
        let started = Instant::now();
        tables[n % shards].put(hash(key), key, &record(n, [1; 16].as_slice()));
        slowest_ns = slowest_ns.max(started.elapsed().as_nanos());
    }
    // Only this line includes two reads of the clock for each operation.
    print_line("put, new key, timed one by one", start, count);

    let held: usize = tables.iter().map(Table::memory_bytes).sum();
    let resident = resident_bytes().saturating_sub(resident_before);
    let per_key = |bytes: usize| bytes as f64 / count as f64;

    let measure = |name: &str, tables: &mut Vec<Table>, step: &mut dyn FnMut(&mut Table, usize)| {
        let start = Instant::now();
        for _ in 0..rounds {
            for n in 0..count {
                step(&mut tables[n % shards], n);
            }
        }
        print_line(name, start, rounds * count);
    };
    measure("hash alone", &mut tables, &mut |_, n| {
        black_box(hash(&keys[n]));
    });
    measure("get, hit", &mut tables, &mut |table, n| {
        black_box(table.get(hash(&keys[n]), &keys[n])).expect("it was put");
    });
    measure("get, miss", &mut tables, &mut |table, n| {
        assert!(black_box(table.get(hash(&strangers[n]), &strangers[n])).is_none());
    });
    measure("put, same size", &mut tables, &mut |table, n| {
        assert!(table.put(hash(&keys[n]), &keys[n], &record(n, &[2; 16])));
    });
    let mut round = 0;
    measure("put, other size", &mut tables, &mut |table, n| {
        round += usize::from(n == 0);
        assert!(table.put(hash(&keys[n]), &keys[n], &record(n, &[3; 40][round % 2 * 20..])));
    });
    measure("remove and put back", &mut tables, &mut |table, n| {
        assert!(table.remove(hash(&keys[n]), &keys[n]));
        table.put(hash(&keys[n]), &keys[n], &record(n, &[4; 16]));
    });
    let start = Instant::now();
    let scanned: usize = tables.iter().map(scan_whole).sum();
    print_line("scan by ten, per key", start, scanned);
    let start = Instant::now();
    for (n, key) in keys.iter().enumerate() {
        tables[n % shards].remove(hash(key), key);
    }
    print_line("remove", start, count);

    println!("{:32} {:8.1} µs", "slowest put of a new key", slowest_ns as f64 / 1e3);
    println!("{:32} {:8.1} B", "memory per key, own account", per_key(held));
    println!("{:32} {:8.1} B", "memory per key, resident", per_key(resident));
    let left: usize = tables.iter().map(Table::memory_bytes).sum();
    println!("{:32} {left:8} B", "memory after all are removed");
}

fn key(n: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    for (place, digit) in key.iter_mut().rev().zip(n.to_string().bytes().rev()) {
        *place = digit;
    }
    key
}

fn record(n: usize, bytes: &[u8]) -> Record<'_> {
    Record {
        dot: Dot {
            writer: Writer(n as u64 % 3),
            counter: n as u64 / 1024 + 1,
        },
        stamp: Stamp(n as u64),
        expiry_ms: None,
        content: Content::Plain { format: 0, bytes },
    }
}

fn scan_whole(table: &Table) -> usize {
    let (mut found, mut from) = (0, Some(0));
    while let Some(hash) = from {
        let (records, next) = table.scan(hash, 10);
        (found, from) = (found + records.len(), next);
    }
    found
}

fn print_line(name: &str, start: Instant, count: usize) {
    println!("{name:32} {:8.1} ns", start.elapsed().as_nanos() as f64 / count as f64);
}

/// The resident size of this process in bytes, or 0 where it cannot be read.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
