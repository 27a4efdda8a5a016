//! Strings: `GET`, `SET` and similar commands.
//!
//! A command that reads before it writes is decided at the primary, which has seen every write it acknowledged. During
//! a partition each side may have a primary. Afterwards the later of their decisions is shown (`docs/consistency.md`).

use alloc::{borrow::Cow, vec::Vec};
use wire::{reply::ErrorKind, request::Args};

use super::{expiry, number::integer};
use crate::call::{Call, RAW, text};

/// `GET key`
pub(super) fn get(call: &mut Call<'_>) {
    let view = call.shard.view(call.arg(1), call.now_ms);
    call.counters.looked(view.is_some());
    match view {
        None => call.replies.null(),
        Some(view) => call.replies.bulk(&text(&view.value)),
    }
}

/// `STRLEN key`
pub(super) fn strlen(call: &mut Call<'_>) {
    let view = call.shard.view(call.arg(1), call.now_ms);
    call.counters.looked(view.is_some());
    let length = view.map_or(0, |view| text(&view.value).len());
    call.replies.int(length as i64);
}

/// The options of a `SET`.
#[derive(Default)]
struct Options<'a> {
    time: Option<(expiry::Base, &'a [u8])>,
    keep_ttl: bool,
    only_if_absent: bool,
    only_if_present: bool,
    get: bool,
}

impl<'a> Options<'a> {
    /// Parses the options behind the value; `None` if one does not exist, or two exclude each other.
    fn of(mut rest: Args<'a>) -> Option<Self> {
        let mut options = Self::default();
        while let Some(word) = rest.get(0) {
            let mut taken = 1;
            match word.to_ascii_lowercase().as_slice() {
                b"nx" if !options.only_if_present => options.only_if_absent = true,
                b"xx" if !options.only_if_absent => options.only_if_present = true,
                b"get" => options.get = true,
                b"keepttl" if options.time.is_none() => options.keep_ttl = true,
                unit => {
                    let (base, time) = (expiry::Base::of(unit)?, rest.get(1)?);
                    if options.keep_ttl || options.time.is_some_and(|(other, _)| other != base) {
                        return None;
                    }
                    options.time = Some((base, time));
                    taken = 2;
                }
            }
            rest = rest.skip(taken);
        }
        Some(options)
    }
}

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`
pub(super) fn set(call: &mut Call<'_>) {
    if call.args.len() == 3 {
        if call.admits(call.arg(2).len()) {
            call.put(call.arg(1), RAW, call.arg(2), None);
            call.replies.ok();
        }
        return;
    }
    let Some(options) = Options::of(call.args.skip(3)) else {
        return call.replies.syntax();
    };
    let mut deadline = None;
    if let Some((base, time)) = options.time {
        deadline = expiry::deadline(call, base, time, "set");
        if deadline.is_none() {
            return;
        }
    }
    if !call.admits(call.arg(2).len()) {
        return;
    }
    let key = call.arg(1);
    let view = call.shard.view(key, call.now_ms);
    let present = view.is_some();
    if options.keep_ttl {
        deadline = view.as_ref().and_then(|view| view.expiry_ms);
    }
    let goes = !(options.only_if_absent && present || options.only_if_present && !present);
    if options.get {
        match &view {
            None => call.replies.null(),
            Some(view) => call.replies.bulk(&text(&view.value)),
        }
    } else if goes {
        call.replies.ok();
    } else {
        call.replies.null();
    }
    if goes {
        call.put(key, RAW, call.arg(2), deadline);
    }
}

/// `%SET key value`: one pair of `MSET`.
pub(super) fn set_pair(call: &mut Call<'_>) {
    if call.admits(call.arg(2).len()) {
        call.put(call.arg(1), RAW, call.arg(2), None);
        call.replies.ok();
    }
}

/// `SETNX key value`
pub(super) fn setnx(call: &mut Call<'_>) {
    if !call.admits(call.arg(2).len()) {
        return;
    }
    let absent = call.shard.view(call.arg(1), call.now_ms).is_none();
    if absent {
        call.put(call.arg(1), RAW, call.arg(2), None);
    }
    call.replies.int(i64::from(absent));
}

fn set_for(call: &mut Call<'_>, base: expiry::Base, name: &str) {
    let Some(deadline) = expiry::deadline(call, base, call.arg(2), name) else {
        return;
    };
    if call.admits(call.arg(3).len()) {
        call.put(call.arg(1), RAW, call.arg(3), Some(deadline));
        call.replies.ok();
    }
}

/// `SETEX key seconds value`
pub(super) fn setex(call: &mut Call<'_>) {
    set_for(call, expiry::Base::SECONDS, "setex");
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(call: &mut Call<'_>) {
    set_for(call, expiry::Base::MILLISECONDS, "psetex");
}

/// `GETSET key value`
pub(super) fn getset(call: &mut Call<'_>) {
    if call.admits(call.arg(2).len()) {
        get(call);
        call.put(call.arg(1), RAW, call.arg(2), None);
    }
}

/// `GETDEL key`
pub(super) fn getdel(call: &mut Call<'_>) {
    get(call);
    call.delete(call.arg(1));
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`. If an option is given twice, the last one counts.
pub(super) fn getex(call: &mut Call<'_>) {
    let (mut time, mut persists): (Option<(expiry::Base, &[u8])>, bool) = (None, false);
    let mut rest = call.args.skip(2);
    while let Some(word) = rest.get(0) {
        let word = word.to_ascii_lowercase();
        if word == b"persist" && time.is_none() {
            persists = true;
            rest = rest.skip(1);
            continue;
        }
        match (expiry::Base::of(&word), rest.get(1)) {
            (Some(base), Some(text)) if !persists && time.is_none_or(|(other, _)| other == base) => {
                time = Some((base, text));
                rest = rest.skip(2);
            }
            _ => return call.replies.syntax(),
        }
    }
    let key = call.arg(1);
    let Some(view) = call.shard.view(key, call.now_ms) else {
        return get(call);
    };
    // A key that does not expire is not written.
    let writes = time.is_some() || persists && view.expiry_ms.is_some();
    let mut deadline = None;
    if let Some((base, time)) = time {
        deadline = expiry::deadline(call, base, time, "getex");
        if deadline.is_none() {
            return;
        }
    }
    get(call);
    if writes {
        call.touch(key, deadline);
    }
}

/// `MSETNX key value [key value …]`, all in one slot.
pub(super) fn msetnx(call: &mut Call<'_>) {
    let count = call.args.len();
    if count.is_multiple_of(2) {
        return call.replies.wrong_arity("msetnx");
    }
    let pairs = (1..count).step_by(2);
    if pairs
        .clone()
        .any(|at| call.shard.view(call.arg(at), call.now_ms).is_some())
    {
        return call.replies.int(0);
    }
    if !pairs.clone().all(|at| call.admits(call.arg(at + 1).len())) {
        return;
    }
    for at in pairs {
        call.put(call.arg(at), RAW, call.arg(at + 1), None);
    }
    call.replies.int(1);
}

/// The text of the value of `args[1]`, and its expiry; empty if there is no value.
fn current(call: &Call<'_>) -> (Vec<u8>, Option<u64>) {
    match call.shard.view(call.arg(1), call.now_ms) {
        None => (Vec::new(), None),
        Some(view) => (text(&view.value).into_owned(), view.expiry_ms),
    }
}

/// `APPEND key value`
pub(super) fn append(call: &mut Call<'_>) {
    let (mut value, expiry) = current(call);
    if call.admits_grown(value.len() + call.arg(2).len()) {
        value.extend_from_slice(call.arg(2));
        call.put(call.arg(1), RAW, &value, expiry);
        call.replies.int(value.len() as i64);
    }
}

/// `SETRANGE key offset value`
pub(super) fn setrange(call: &mut Call<'_>) {
    let Some(offset) = integer(call.arg(2)) else {
        return call.replies.not_an_integer();
    };
    let Ok(offset) = usize::try_from(offset) else {
        return call.replies.error(ErrorKind::Err, "offset is out of range");
    };
    let (mut value, expiry) = current(call);
    let patch = call.arg(3);
    if patch.is_empty() {
        return call.replies.int(value.len() as i64);
    }
    let end = offset.saturating_add(patch.len());
    if !call.admits_grown(end) {
        return;
    }
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(patch);
    call.put(call.arg(1), RAW, &value, expiry);
    call.replies.int(value.len() as i64);
}

/// `GETRANGE key start end`
pub(super) fn getrange(call: &mut Call<'_>) {
    let (Some(start), Some(end)) = (integer(call.arg(2)), integer(call.arg(3))) else {
        return call.replies.not_an_integer();
    };
    let view = call.shard.view(call.arg(1), call.now_ms);
    call.counters.looked(view.is_some());
    let value = match view {
        None => Cow::Borrowed(&b""[..]),
        Some(view) => text(&view.value),
    };
    call.replies.bulk(range(&value, start, end));
}

/// Inclusive ranges as in Redis: negative numbers count from the end.
fn range(value: &[u8], start: i64, end: i64) -> &[u8] {
    let length = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let from_end = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if start > end {
        &[]
    } else {
        &value[start as usize..=end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_are_those_of_redis() {
        let value = b"This is a string";
        for (start, end, wanted) in [
            (0, 3, &b"This"[..]),
            (-3, -1, b"ing"),
            (0, -1, b"This is a string"),
            (10, 100, b"string"),
            (5, 3, b""),
            (-1, -3, b""),
            (-100, 3, b"This"),
            (100, 200, b""),
        ] {
            assert_eq!(range(value, start, end), wanted, "{start}..={end}");
        }
        assert_eq!(range(b"", 0, -1), b"");
    }
}
