//! `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]` over the whole cluster.
//!
//! A cursor is a shard and a place in its hash order: `shard << 39 | hash >> 25`. It is 0 before the first key and
//! behind the last. Hashes are the same on all replicas, and do not depend on the size of a table. So a scan may go on
//! at any node, and finds every key that existed during the whole scan. One request asks as many shards as are likely
//! to have `COUNT` keys, for `COUNT` keys each. It uses only the replies it needs, since the numbers of keys may be a
//! moment old.
//!
//! A cursor is below 2^53, since clients in JavaScript store it as a double.

use alloc::{format, vec::Vec};
use wire::{
    reply::{ErrorKind, Replies},
    request::Batch,
};

use super::{cluster, number::integer};
use crate::{
    call::Call,
    command::{Fold, Parts},
    slot::SLOTS,
    store::Store,
    visit::Visit,
};

/// Bits of the hash in a cursor.
const HASH_BITS: u32 = 53 - SLOTS.trailing_zeros();
const COUNT_DEFAULT: u64 = 10;

/// The parts of a `SCAN`; `None` if the reply is written already.
pub(super) fn plan(visit: &mut Visit<'_>) -> Option<Parts> {
    let Visit {
        store,
        session,
        args,
        replies,
        ..
    } = visit;
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
    let all = store.layout.span(session.keyspace).shards();
    let shards = all.len() as u64;
    let (shard, hash) = (
        cursor >> HASH_BITS,
        (cursor & ((1 << HASH_BITS) - 1)) << (64 - HASH_BITS),
    );
    if shard >= shards || !strings {
        nothing(replies);
        return None;
    }
    let is_meant =
        |number: &u64| !session.has_asked_for_map || cluster::is_listed_here(store, all.start + *number as usize);
    let width = (count.saturating_mul(shards) / keys(store, session.keyspace).max(1)).max(1);
    let mut numbers = (shard..shards).filter(is_meant).take(width as usize).peekable();
    if numbers.peek().is_none() {
        nothing(replies);
        return None;
    }
    let mut batch = Batch::new();
    for number in numbers {
        let from = if number == shard { hash } else { 0 };
        let numbers = [format!("{number}"), format!("{from}"), format!("{count}")];
        let mut request: Vec<&[u8]> = alloc::vec![b"%scan"];
        request.extend(numbers.iter().map(alloc::string::String::as_bytes));
        request.push(pattern);
        batch.push(&request);
    }
    Some((batch, Fold::Scan(count)))
}

/// The reply of a scan that has reached its end.
fn nothing(replies: &mut Replies) {
    replies.array(2);
    replies.bulk(b"0");
    replies.array(0);
}

/// About how many keys a keyspace has: the sum of what all nodes last reported, or the keys here if they are more.
fn keys(store: &Store, keyspace: u16) -> u64 {
    let here = &store.replicas[store.layout.span(keyspace).shards()];
    let here = here.iter().map(|replica| replica.shard.len() as u64).sum();
    store.keys_in_cluster().max(here)
}

/// `%scan shard from-hash limit pattern`: `[next cursor, keys looked at, [key …]]`. If the shard has more keys, exactly
/// the limit was looked at, or a few more.
pub(super) fn scan(call: &mut Call<'_>) {
    let number = |index: usize| core::str::from_utf8(call.arg(index)).ok()?.parse::<u64>().ok();
    let (Some(shard), Some(from), Some(limit)) = (number(1), number(2), number(3)) else {
        return call.replies.syntax();
    };
    let wanted = limit;
    let mut limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let step = 64 - HASH_BITS;
    let (keys, next) = loop {
        let (keys, next) = call.shard.scan(from, limit, call.now_ms);
        // A cursor has fewer bits than a hash. It must get past keys whose hashes differ only in the missing bits.
        if next.is_none_or(|next| next >> step > from >> step) {
            break (keys, next);
        }
        limit = limit.saturating_mul(2);
    };
    let cursor = match next {
        Some(hash) => shard << HASH_BITS | hash >> step,
        None if shard + 1 < call.span.shards().len() as u64 => (shard + 1) << HASH_BITS,
        None => 0,
    };
    let looked = if next.is_some() { wanted } else { keys.len() as u64 };
    call.replies.array(3);
    call.replies.int(cursor.cast_signed());
    call.replies.int(looked.cast_signed());
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
