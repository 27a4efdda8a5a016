//! Commands on keys of any type.

use wire::reply::ErrorKind;

use super::{
    glob,
    number::{integer, small_integer},
};
use crate::call::Call;

/// Memory of an entry beside its key and value: dot, stamp, flags and lengths in the slab, and its place in the index.
const ENTRY_BYTES: usize = 36;
/// Integers from 0 up to this one that Redis shares between keys.
const SHARED_INTEGERS: i64 = 10_000;
/// Longest text that Redis stores in one piece with its object.
const EMBEDDED_BYTES_MAX: usize = 44;

/// `DEL key`, for one key.
pub(super) fn del(call: &mut Call<'_>) {
    let deleted = call.delete(call.arg(1));
    call.replies.int(i64::from(deleted));
}

/// `EXISTS key`, for one key.
pub(super) fn exists(call: &mut Call<'_>) {
    let there = call.shard.view(call.arg(1), call.now_ms).is_some();
    call.counters.looked(there);
    call.replies.int(i64::from(there));
}

/// `TYPE key`
pub(super) fn kind(call: &mut Call<'_>) {
    let there = call.shard.view(call.arg(1), call.now_ms).is_some();
    call.counters.looked(there);
    call.replies.simple(if there { "string" } else { "none" });
}

/// Stores the value of `args[1]` under `args[2]`. Returns false if there is no value.
fn duplicate(call: &mut Call<'_>) -> bool {
    let Some(view) = call.shard.view(call.arg(1), call.now_ms) else {
        return false;
    };
    let (format, bytes) = crate::call::stored(&view.value);
    let (bytes, expiry) = (bytes.into_owned(), view.expiry_ms);
    call.put(call.arg(2), format, &bytes, expiry);
    true
}

fn rename_to(call: &mut Call<'_>, only_if_absent: bool) -> Option<bool> {
    if call.shard.view(call.arg(1), call.now_ms).is_none() {
        call.replies.error(ErrorKind::Err, "no such key");
        return None;
    }
    if only_if_absent && call.shard.view(call.arg(2), call.now_ms).is_some() {
        return Some(false);
    }
    if call.arg(1) != call.arg(2) {
        duplicate(call);
        call.delete(call.arg(1));
    }
    Some(true)
}

/// `RENAME key newkey`
pub(super) fn rename(call: &mut Call<'_>) {
    if rename_to(call, false).is_some() {
        call.replies.ok();
    }
}

/// `RENAMENX key newkey`
pub(super) fn renamenx(call: &mut Call<'_>) {
    if let Some(renamed) = rename_to(call, true) {
        call.replies.int(i64::from(renamed));
    }
}

/// `COPY source destination [DB number] [REPLACE]`, within the keyspace
pub(super) fn copy(call: &mut Call<'_>) {
    let databases = call.config.keyspaces.len();
    let (mut replace, mut database) = (false, usize::from(call.keyspace));
    let mut rest = call.args.skip(3);
    while let Some(word) = rest.get(0) {
        match (word.to_ascii_lowercase().as_slice(), rest.get(1)) {
            (b"replace", _) => {
                replace = true;
                rest = rest.skip(1);
            }
            (b"db", Some(number)) => {
                let Some(number) = small_integer(number, call.replies) else {
                    return;
                };
                let Some(number) = usize::try_from(number).ok().filter(|&number| number < databases) else {
                    return call.replies.error(ErrorKind::Err, "DB index is out of range");
                };
                database = number;
                rest = rest.skip(2);
            }
            _ => return call.replies.syntax(),
        }
    }
    if database != usize::from(call.keyspace) {
        let text = "Copying to another database is not allowed in cluster mode";
        return call.replies.error(ErrorKind::Err, text);
    }
    if call.arg(1) == call.arg(2) {
        return call
            .replies
            .error(ErrorKind::Err, "source and destination objects are the same");
    }
    let free = replace || call.shard.view(call.arg(2), call.now_ms).is_none();
    let copied = free && duplicate(call);
    call.replies.int(i64::from(copied));
}

/// `%DBSIZE shard`
pub(super) fn dbsize(call: &mut Call<'_>) {
    let count = call.shard.len();
    call.replies.int(count as i64);
}

/// `%FLUSH shard [ASYNC|SYNC]`: always done at once.
pub(super) fn flush(call: &mut Call<'_>) {
    let mut options = call.args.skip(2).iter();
    let known = |word: &[u8]| word.eq_ignore_ascii_case(b"async") || word.eq_ignore_ascii_case(b"sync");
    if call.args.len() > 3 || !options.all(known) {
        return call.replies.syntax();
    }
    call.wipe();
    call.replies.ok();
}

/// `%KEYS shard pattern`
pub(super) fn keys(call: &mut Call<'_>) {
    let pattern = call.arg(2);
    let mark = call.replies.mark();
    call.replies.array(0);
    let mut count = 0;
    let (keys, _) = call.shard.scan(0, usize::MAX, call.now_ms);
    for (key, _) in keys {
        if glob::matches(pattern, key) {
            call.replies.bulk(key);
            count += 1;
        }
    }
    call.replies.resize(mark, count);
}

/// After this many draws the next living key is taken. A key that has expired but is not deleted yet does not count.
const DRAWS_MAX: u64 = 16;

/// `%RANDOMKEY shard`: how many keys the shard has, and one of them. Each key has the same chance.
pub(super) fn randomkey(call: &mut Call<'_>) {
    let (shard, now_ms) = (&*call.shard, call.now_ms);
    if shard.is_empty() {
        return call.replies.null();
    }
    let draw = |number: u64| shard.random(crate::clock::mix(call.random.wrapping_add(number)));
    let drawn = (0..DRAWS_MAX)
        .filter_map(draw)
        .find(|key| shard.view(key, now_ms).is_some());
    let next = |from| shard.scan(from, usize::MAX, now_ms).0.first().map(|(key, _)| *key);
    match drawn.or_else(|| next(call.random)).or_else(|| next(0)) {
        None => call.replies.null(),
        Some(key) => {
            call.replies.array(2);
            call.replies.int(shard.len() as i64);
            call.replies.bulk(key);
        }
    }
}

/// `OBJECT ENCODING key`
pub(super) fn encoding(call: &mut Call<'_>) {
    let Some(view) = call.shard.view(call.arg(2), call.now_ms) else {
        return call.replies.null();
    };
    let text = crate::call::text(&view.value);
    let encoding = if integer(&text).is_some() {
        "int"
    } else if text.len() <= EMBEDDED_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    };
    call.replies.bulk(encoding.as_bytes());
}

/// `OBJECT REFCOUNT key`
pub(super) fn refcount(call: &mut Call<'_>) {
    match call.shard.view(call.arg(2), call.now_ms) {
        None => call.replies.null(),
        // Redis stores these numbers once for all keys.
        Some(view) => match integer(&crate::call::text(&view.value)) {
            Some(0..SHARED_INTEGERS) => call.replies.int(i64::from(i32::MAX)),
            _ => call.replies.int(1),
        },
    }
}

/// `OBJECT IDLETIME key`: the time since it was written, since reads are not recorded.
pub(super) fn idletime(call: &mut Call<'_>) {
    match call.shard.view(call.arg(2), call.now_ms) {
        None => call.replies.null(),
        Some(view) => {
            let idle_ms = call.now_ms.saturating_sub(view.stamp.ms());
            call.replies.int((idle_ms / 1000) as i64);
        }
    }
}

/// `OBJECT FREQ key`
pub(super) fn freq(call: &mut Call<'_>) {
    match call.shard.view(call.arg(2), call.now_ms) {
        None => call.replies.null(),
        Some(_) => call.replies.error(
            ErrorKind::Err,
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ),
    }
}

/// `MEMORY USAGE key [SAMPLES count]`. A string is measured completely, so the count is checked but not used.
pub(super) fn memory(call: &mut Call<'_>) {
    match (call.args.get(3), call.args.get(4)) {
        (None, _) => {}
        (Some(word), Some(count)) if word.eq_ignore_ascii_case(b"samples") && call.args.len() == 5 => {
            match integer(count) {
                None => return call.replies.not_an_integer(),
                Some(..=-1) => return call.replies.syntax(),
                Some(_) => {}
            }
        }
        _ => return call.replies.syntax(),
    }
    let key = call.arg(2);
    match call.shard.view(key, call.now_ms) {
        None => call.replies.null(),
        Some(view) => {
            let (_, bytes) = crate::call::stored(&view.value);
            call.replies.int((ENTRY_BYTES + key.len() + bytes.len()) as i64);
        }
    }
}
