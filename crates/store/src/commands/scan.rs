//! `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]` over the whole cluster.
//!
//! A cursor is a shard and a place in its hash order: `shard << 48 | hash >> 16`, and 0 both before the first and
//! behind the last. Hashes are the same on all replicas and no matter how a table grows, so a scan may go on at any
//! node, and gives every key that was there all along. One request covers as many whole shards as `COUNT` keys are
//! likely to lie in, or a part of one.

use alloc::{format, vec::Vec};
use wire::{
    reply::{ErrorKind, Replies},
    request::{Args, Batch},
};

use super::number::integer;
use crate::{call::Call, store::Store};

const HASH_BITS: u32 = 48;
const COUNT_DEFAULT: u64 = 10;

/// The batch of parts that a `SCAN` comes to; `None` if its reply is written already.
pub(crate) fn plan(store: &Store, args: Args<'_>, replies: &mut Replies) -> Option<Batch> {
    let Some(cursor) = core::str::from_utf8(&args[1])
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
    else {
        replies.error(ErrorKind::Err, "invalid cursor");
        return None;
    };
    let (mut count, mut pattern, mut strings) = (COUNT_DEFAULT, &b"*"[..], true);
    let mut rest = args.skip(2);
    while let Some(word) = rest.get(0) {
        let Some(value) = rest.get(1) else {
            replies.syntax();
            return None;
        };
        match word.to_ascii_lowercase().as_slice() {
            b"match" => pattern = value,
            b"type" => strings = value.eq_ignore_ascii_case(b"string"),
            b"count" => match integer(value) {
                Some(number) if number > 0 => count = number as u64,
                Some(_) => {
                    replies.syntax();
                    return None;
                }
                None => {
                    replies.not_an_integer();
                    return None;
                }
            },
            _ => {
                replies.syntax();
                return None;
            }
        }
        rest = rest.skip(2);
    }
    let shards = u64::from(store.config.shards);
    let (shard, hash) = (
        cursor >> HASH_BITS,
        (cursor & ((1 << HASH_BITS) - 1)) << (64 - HASH_BITS),
    );
    if shard >= shards || !strings {
        replies.array(2);
        replies.bulk(b"0");
        replies.array(0);
        return None;
    }
    let likely = count.saturating_mul(shards) / store.keys_in_cluster().max(1);
    let width = likely.clamp(1, shards - shard);
    // Whole shards, unless it is a part of one.
    let limit = if width > 1 { 0 } else { count };
    let mut batch = Batch::new();
    for number in shard..shard + width {
        let from = if number == shard { hash } else { 0 };
        let numbers = [format!("{number}"), format!("{from}"), format!("{limit}")];
        let mut request: Vec<&[u8]> = alloc::vec![b"%scan"];
        request.extend(numbers.iter().map(alloc::string::String::as_bytes));
        request.push(pattern);
        batch.push(&request);
    }
    Some(batch)
}

/// `%scan shard from-hash limit pattern`: `[next cursor, [key …]]`; a limit of 0 is none.
pub(super) fn scan(call: &mut Call<'_>) {
    let number = |index: usize| core::str::from_utf8(call.arg(index)).ok()?.parse::<u64>().ok();
    let (Some(shard), Some(from), Some(limit)) = (number(1), number(2), number(3)) else {
        return call.replies.syntax();
    };
    let mut limit = if limit == 0 {
        usize::MAX
    } else {
        usize::try_from(limit).unwrap_or(usize::MAX)
    };
    let step = 64 - HASH_BITS;
    let (keys, next) = loop {
        let (keys, next) = call.shard.scan(from, limit, call.now_ms);
        // A cursor has fewer bits than a hash: it has to get past the keys that differ in the others only.
        if next.is_none_or(|next| next >> step > from >> step) {
            break (keys, next);
        }
        limit = limit.saturating_mul(2);
    };
    let cursor = match next {
        Some(hash) => shard << HASH_BITS | hash >> step,
        None if shard + 1 < u64::from(call.config.shards) => (shard + 1) << HASH_BITS,
        None => 0,
    };
    call.replies.array(2);
    call.replies.int(cursor as i64);
    let mark = call.replies.mark();
    call.replies.array(0);
    let pattern = call.arg(4);
    let shown = keys
        .iter()
        .map(|(key, _)| *key)
        .filter(|key| super::glob::matches(pattern, key));
    let mut count = 0;
    for key in shown {
        call.replies.bulk(key);
        count += 1;
    }
    call.replies.resize(mark, count);
}
