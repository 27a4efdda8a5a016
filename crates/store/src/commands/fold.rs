//! Makes one reply from the replies to the parts of a request.

use alloc::vec::Vec;
use wire::reply::{Replies, Reply};

use crate::command::Fold;

/// Writes one reply made from the replies of the `parts`. If a part is an error, the error is the reply: Redis never
/// puts an error inside an array, and clients would return it like a value.
pub(crate) fn fold(fold: Fold, parts: &Replies, random: u64, out: &mut Replies) {
    if let Some(Reply::Error(kind, text)) = firsts(parts).find(|first| matches!(first, Reply::Error(..))) {
        return out.error(kind, text);
    }
    match fold {
        Fold::Sum => {
            let number = |first| if let Reply::Int(number) = first { number } else { 0 };
            out.int(firsts(parts).map(number).sum());
        }
        Fold::Ok | Fold::Watch => out.ok(),
        Fold::Array => {
            out.array(parts.count());
            out.append(parts);
        }
        Fold::First => match parts.is_empty() {
            true => out.null(),
            false => out.append_value(&mut parts.tokens()),
        },
        Fold::Concat => {
            let bulks: Vec<&[u8]> = parts.tokens().filter_map(bytes_of).collect();
            array(&bulks, out);
        }
        Fold::Random => draw(parts, random, out),
        Fold::Scan(count) => scan(parts, count, out),
    }
}

/// The first token of each reply.
fn firsts(parts: &Replies) -> impl Iterator<Item = Reply<'_>> {
    let mut tokens = parts.tokens();
    core::iter::from_fn(move || tokens.skip_value())
}

fn bytes_of(token: Reply<'_>) -> Option<&[u8]> {
    if let Reply::Bulk(bytes) = token {
        Some(bytes)
    } else {
        None
    }
}

fn number_of(token: Option<Reply<'_>>) -> u64 {
    if let Some(Reply::Int(number)) = token {
        number.max(0).cast_unsigned()
    } else {
        0
    }
}

fn array(bulks: &[&[u8]], out: &mut Replies) {
    out.array(bulks.len());
    for bytes in bulks {
        out.bulk(bytes);
    }
}

/// Picks the key of one part. The chance of a part is in proportion to its number of keys.
fn draw(parts: &Replies, random: u64, out: &mut Replies) {
    let mut drawn: Vec<(u64, &[u8])> = Vec::new();
    let mut tokens = parts.tokens();
    while let Some(first) = tokens.next() {
        if first == Reply::Array(2) {
            let weight = number_of(tokens.next());
            drawn.extend(tokens.next().and_then(bytes_of).map(|key| (weight, key)));
        }
    }
    let total: u64 = drawn.iter().map(|(weight, _)| weight).sum();
    let mut place = ((u128::from(random) * u128::from(total)) >> 64) as u64;
    let chosen = drawn.iter().find(|(weight, _)| {
        let is_it = place < *weight;
        place = place.saturating_sub(*weight);
        is_it
    });
    match chosen {
        Some((_, key)) => out.bulk(key),
        None => out.null(),
    }
}

/// Takes part after part until `count` keys were looked at. The new cursor is behind the last part taken. This is
/// decided here, since the number of keys of a shard is known only from its answer.
fn scan(parts: &Replies, count: u64, out: &mut Replies) {
    let (mut cursor, mut looked, mut keys) = (0, 0, Vec::new());
    let mut tokens = parts.tokens();
    while looked < count && tokens.next().is_some() {
        cursor = number_of(tokens.next());
        looked += number_of(tokens.next());
        let found = tokens.next().map_or(0, |array| array.children());
        keys.extend(tokens.by_ref().take(found).filter_map(bytes_of));
    }
    out.array(2);
    out.bulk_with(|data| wire::decimal::write_int(data, cursor.cast_signed()));
    array(&keys, out);
}
