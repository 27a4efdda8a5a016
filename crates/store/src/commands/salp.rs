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

/// When a conditional write is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    /// Always.
    #[default]
    None,
    /// `NX`: there is no such key.
    New,
    /// `XX`: the key exists.
    Exists,
    /// `IFEQ version`: the key exists and has this version.
    Version(i64),
}

impl Condition {
    /// The condition that `word` begins, and how many arguments it takes; `None` if there is none.
    fn parse(word: &[u8], next: Option<&[u8]>) -> Option<(Self, usize)> {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => Some((Self::New, 1)),
            b"xx" => Some((Self::Exists, 1)),
            b"ifeq" => {
                let digits = core::str::from_utf8(next?).ok()?;
                let version = u64::from_str_radix(digits, 16).ok()?;
                Some((Self::Version(version.cast_signed()), 2))
            }
            _ => None,
        }
    }

    fn holds(self, call: &Call<'_>, key: &[u8]) -> bool {
        let exists = || call.shard.view(key, call.now_ms).is_some();
        match self {
            Self::None => true,
            Self::New => !exists(),
            Self::Exists => exists(),
            Self::Version(version) => exists() && call.version(key) == version,
        }
    }
}

/// `SALP.PUT key content-type value [EX s|PX ms|EXAT s|PXAT ms] [NX|XX|IFEQ version]`: `[1 if the key is new,
/// version]`. Null if the condition does not hold. An empty content type means raw bytes.
pub(super) fn put(call: &mut Call<'_>) {
    let (key, kind, value) = (call.arg(1), call.arg(2), call.arg(3));
    let (mut time, mut condition) = (None, Condition::None);
    let mut rest = call.args.skip(4);
    while let Some(word) = rest.get(0) {
        let unit = expiry::Base::of(&word.to_ascii_lowercase());
        let taken = match (unit, Condition::parse(word, rest.get(1)), rest.get(1)) {
            (Some(base), _, Some(text)) if time.is_none() => {
                time = Some((base, text));
                2
            }
            (None, Some((given, taken)), _) if condition == Condition::None => {
                condition = given;
                taken
            }
            _ => return call.replies.syntax(),
        };
        rest = rest.skip(taken);
    }
    let mut deadline = None;
    if let Some((base, text)) = time {
        deadline = expiry::deadline(call, base, text, "salp.put");
        if deadline.is_none() {
            return;
        }
    }
    if kind.len() > TYPE_BYTES_MAX {
        return call.replies.error(
            ErrorKind::Err,
            format_args!("a content type has at most {TYPE_BYTES_MAX} bytes"),
        );
    }
    if !call.admits(value.len()) {
        return;
    }
    if !condition.holds(call, key) {
        return call.replies.null();
    }
    let new = call.shard.view(key, call.now_ms).is_none();
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

/// `SALP.DEL key [XX|IFEQ version]`: 1, or 0 if there is no such key. Null if the condition does not hold.
pub(super) fn del(call: &mut Call<'_>) {
    let condition = match call.args.get(2) {
        None => Condition::None,
        Some(word) => match Condition::parse(word, call.args.get(3)) {
            Some((condition, taken)) if condition != Condition::New && call.args.len() == 2 + taken => condition,
            _ => return call.replies.syntax(),
        },
    };
    let key = call.arg(1);
    if !condition.holds(call, key) {
        return call.replies.null();
    }
    let is_deleted = call.delete(key);
    call.replies.int(i64::from(is_deleted));
}
