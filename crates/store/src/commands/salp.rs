//! Commands that the HTTP and BEAM front ends need in addition to Redis's. RESP clients may use them too.

use alloc::vec::Vec;
use wire::reply::ErrorKind;

use super::expiry;
use crate::call::{Call, INTEGER, RAW, TERM, TERM_TYPE, TYPED, split_typed};
use crate::object::{self, Value};
use crate::term;

/// Longest content type: its length is stored in one byte.
const TYPE_BYTES_MAX: usize = 255;

/// `SALP.GET key`: `[value, content type, version, deadline or -1]`, or null. The version is 16 hexadecimal digits that
/// change with every write. A term is shown in its external format. A number that a BEAM wrote, or that was counted, is
/// an integer. All other values are shown as by `GET`.
pub(super) fn get(call: &mut Call<'_>) {
    let key = call.arg(1);
    let view = call.shard.view(key, call.now_ms);
    call.counters.looked(view.is_some());
    let Some(view) = view else {
        return call.replies.null();
    };
    let version = call.shard.version(key).unwrap_or(0);
    let expiry_ms = view.expiry_ms;
    call.replies.array(4);
    match view.value {
        Value::Plain { format: TERM, bytes } => {
            call.replies.bulk(bytes);
            call.replies.bulk(TERM_TYPE.as_bytes());
        }
        Value::Plain { format: TYPED, bytes } => {
            let (kind, bytes) = split_typed(bytes);
            call.replies.bulk(bytes);
            call.replies.bulk(kind);
        }
        Value::Integer(number) => {
            call.replies.int(number);
            call.replies.bulk(b"");
        }
        Value::Plain { format, bytes } => {
            match object::integer(bytes).filter(|_| format == INTEGER) {
                Some(number) => call.replies.int(number),
                None => call.replies.bulk(bytes),
            }
            call.replies.bulk(b"");
        }
    }
    call.replies.bulk(alloc::format!("{version:016x}").as_bytes());
    let expires = expiry_ms.map_or(-1, |at| call.wall_ms(at));
    call.replies.int(expires);
}

/// `SALP.PUT key content-type value [EX s|PX ms|EXAT s|PXAT ms] [NX]`: `[1 if the key is new, version]`. Null if the
/// key exists and `NX` was given. An empty content type means raw bytes.
pub(super) fn put(call: &mut Call<'_>) {
    let (key, kind, value) = (call.arg(1), call.arg(2), call.arg(3));
    let last = call.args.len() - 1;
    let only_new = last >= 4 && call.arg(last).eq_ignore_ascii_case(b"nx");
    let count = call.args.len() - usize::from(only_new);
    let deadline = match (call.args.get(4), call.args.get(5)) {
        _ if count == 4 => None,
        (Some(unit), Some(time)) if count == 6 => {
            let Some(base) = expiry::Base::of(&unit.to_ascii_lowercase()) else {
                return call.replies.syntax();
            };
            match expiry::deadline(call, base, time, "salp.put") {
                None => return,
                deadline => deadline,
            }
        }
        _ => return call.replies.syntax(),
    };
    if kind.len() > TYPE_BYTES_MAX {
        return call.replies.error(
            ErrorKind::Err,
            format_args!("a content type has at most {TYPE_BYTES_MAX} bytes"),
        );
    }
    if !call.admits(value.len()) {
        return;
    }
    let new = call.shard.view(key, call.now_ms).is_none();
    if only_new && !new {
        return call.replies.null();
    }
    if kind.is_empty() {
        call.put(key, RAW, value, deadline);
    } else if kind == TERM_TYPE.as_bytes() {
        match term::integer(value) {
            Some(number) => call.put(key, INTEGER, alloc::format!("{number}").as_bytes(), deadline),
            None => call.put(key, TERM, value, deadline),
        }
    } else {
        let mut typed = Vec::with_capacity(1 + kind.len() + value.len());
        typed.push(kind.len() as u8);
        typed.extend_from_slice(kind);
        typed.extend_from_slice(value);
        call.put(key, TYPED, &typed, deadline);
    }
    let version = call.shard.version(key).unwrap_or(0);
    call.replies.array(2);
    call.replies.int(i64::from(new));
    call.replies.bulk(alloc::format!("{version:016x}").as_bytes());
}
