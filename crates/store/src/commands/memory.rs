//! `MEMORY`, but for `MEMORY USAGE`, which reads a key. The figures are those of the whole process, as the shell
//! measures them once a second. What Redis tells of its own structures is left out.

use alloc::{format, string::String};

use crate::{store::Store, visit::Visit};

/// Below so many bytes, shares of memory say little.
const SMALL_BYTES: u64 = 5 << 20;
/// Resident memory is a matter of concern if it is so many percent of what is allocated.
const FRAGMENTED_PERCENT: u64 = 140;
/// A limit on memory is close from so many percent on.
const FULL_PERCENT: u64 = 90;

/// `a` in percent of `b`; 0 if there is no `b`.
pub(super) fn percent(a: u64, b: u64) -> u64 {
    u64::try_from(u128::from(a) * 100 / u128::from(b.max(1))).unwrap_or(u64::MAX)
}

/// `MEMORY STATS`
pub(super) fn stats(visit: &mut Visit<'_>) {
    let store = &*visit.store;
    let (measured, marks) = (&store.gauges.measured, &store.gauges.records.memory);
    let keys: u64 = store.replicas.iter().map(|replica| replica.shard.len() as u64).sum();
    let grown = measured.memory_bytes.saturating_sub(marks.startup_bytes);
    let bytes: [(&str, u64); 6] = [
        ("peak.allocated", marks.peak_bytes),
        ("total.allocated", measured.memory_bytes),
        ("startup.allocated", marks.startup_bytes),
        ("keys.count", keys),
        ("keys.bytes-per-key", grown.checked_div(keys).unwrap_or(0)),
        (
            "fragmentation.bytes",
            measured.resident_bytes.saturating_sub(measured.memory_bytes),
        ),
    ];
    let ratio = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    let ratios = [
        (
            "peak.percentage",
            100.0 * ratio(measured.memory_bytes, marks.peak_bytes),
        ),
        ("fragmentation", ratio(measured.resident_bytes, measured.memory_bytes)),
    ];
    let replies = &mut *visit.replies;
    replies.map(bytes.len() + ratios.len());
    for (name, number) in bytes {
        replies.bulk(name.as_bytes());
        replies.int(number.cast_signed());
    }
    for (name, number) in ratios {
        replies.bulk(name.as_bytes());
        replies.double(number);
    }
}

/// `MEMORY DOCTOR`
pub(super) fn doctor(visit: &mut Visit<'_>) {
    let report = report(visit.store);
    visit.replies.verbatim(b"txt", report.as_bytes());
}

fn report(store: &Store) -> String {
    let (measured, max) = (&store.gauges.measured, store.config.memory_bytes_max);
    let mut text = String::new();
    if max > 0 && percent(measured.memory_bytes, max) >= FULL_PERCENT {
        text += &format!(
            "{}% of maxmemory is used. At 100% writes that need memory are refused. Raise maxmemory or add a node.\n",
            percent(measured.memory_bytes, max)
        );
    }
    let is_fragmented = percent(measured.resident_bytes, measured.memory_bytes) >= FRAGMENTED_PERCENT;
    if is_fragmented && measured.memory_bytes >= SMALL_BYTES {
        text += &format!(
            "The process keeps {} bytes that are not in use. They are used again before more memory is taken.\n",
            measured.resident_bytes - measured.memory_bytes
        );
    }
    if text.is_empty() {
        text += "No problem with memory was found.\n";
    }
    text
}

/// `MEMORY MALLOC-STATS`
pub(super) fn malloc_stats(visit: &mut Visit<'_>) {
    visit.replies.bulk(b"Stats not supported for the current allocator");
}
