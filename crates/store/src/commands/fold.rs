//! Many replies become one.

use alloc::vec::Vec;
use wire::reply::{Replies, Reply};

use crate::command::Fold;

/// Writes the one reply that `parts` come to. If one of them is an error, it is the reply: Redis never gives an error
/// within an array, and clients return one as if it were a value.
pub(crate) fn fold(fold: Fold, parts: &Replies, out: &mut Replies) {
    if let Some(Reply::Error(kind, text)) = firsts(parts).find(|first| matches!(first, Reply::Error(..))) {
        return out.error(kind, text);
    }
    match fold {
        Fold::Sum => {
            let number = |first| if let Reply::Int(number) = first { number } else { 0 };
            out.int(firsts(parts).map(number).sum());
        }
        Fold::Ok => out.ok(),
        Fold::Array => {
            out.array(parts.count());
            out.append(parts);
        }
        Fold::First => append_first(parts, out, |_| true),
        Fold::Any => append_first(parts, out, |first| !matches!(first, Reply::Null)),
        Fold::Concat => concat(parts, out),
        Fold::Scan => scan(parts, out),
    }
}

/// The first token of each reply.
fn firsts(parts: &Replies) -> impl Iterator<Item = Reply<'_>> {
    let mut tokens = parts.tokens();
    core::iter::from_fn(move || tokens.skip_value())
}

/// Copies the first reply that is `wanted`, else null.
fn append_first(parts: &Replies, out: &mut Replies, wanted: impl Fn(&Reply<'_>) -> bool) {
    let mut tokens = parts.tokens();
    loop {
        let mut value = tokens.clone();
        match tokens.skip_value() {
            None => return out.null(),
            Some(first) if wanted(&first) => return out.append_value(&mut value),
            Some(_) => {}
        }
    }
}

fn concat(parts: &Replies, out: &mut Replies) {
    let bulks: Vec<&[u8]> = bulks(parts).collect();
    out.array(bulks.len());
    for bytes in bulks {
        out.bulk(bytes);
    }
}

fn bulks(parts: &Replies) -> impl Iterator<Item = &[u8]> {
    parts.tokens().filter_map(|token| {
        if let Reply::Bulk(bytes) = token {
            Some(bytes)
        } else {
            None
        }
    })
}

/// The last shard alone may not be scanned to its end; see [`super::scan`].
fn scan(parts: &Replies, out: &mut Replies) {
    let last = parts
        .tokens()
        .filter_map(|token| if let Reply::Int(next) = token { Some(next) } else { None })
        .last();
    out.array(2);
    out.bulk_with(|data| wire::decimal::write_int(data, last.unwrap_or(0)));
    concat(parts, out);
}
