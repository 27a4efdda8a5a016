//! Numbers: `INCR` and similar commands.
//!
//! `INCR`, `DECR` and their `BY` forms count: each writer keeps its own amount, and a read shows the sum. So increments
//! on both sides of a partition all count. `INCRBYFLOAT` reads and writes like any other command.

use alloc::borrow::Cow;
use wire::reply::{ErrorKind, Replies};

use super::float::Parsed;
use crate::{
    call::{Call, RAW, text},
    shard::CountError,
};

/// Reads an integer as Redis does: no sign except `-`, no spaces, no leading zeros.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    crate::object::integer(text)
}

/// Reads an integer of 32 bits, as Redis requires for databases. If it is not one, writes the error.
pub(super) fn small_integer(text: &[u8], replies: &mut Replies) -> Option<i32> {
    match integer(text).map(i32::try_from) {
        None => replies.not_an_integer(),
        Some(Err(_)) => replies.error(
            ErrorKind::Err,
            format_args!(
                "value is out of range, value must between {} and {}",
                i32::MIN,
                i32::MAX
            ),
        ),
        Some(Ok(number)) => return Some(number),
    }
    None
}

fn count(call: &mut Call<'_>, by: i64) {
    match call.count(call.arg(1), by) {
        Ok(sum) => call.replies.int(sum),
        Err(CountError::NotAnInteger) => call.replies.not_an_integer(),
        Err(CountError::Overflow) => call.replies.overflow(),
    }
}

/// `INCR key`
pub(super) fn incr(call: &mut Call<'_>) {
    count(call, 1);
}

/// `DECR key`
pub(super) fn decr(call: &mut Call<'_>) {
    count(call, -1);
}

/// `INCRBY key increment`
pub(super) fn incrby(call: &mut Call<'_>) {
    match integer(call.arg(2)) {
        Some(by) => count(call, by),
        None => call.replies.not_an_integer(),
    }
}

/// `DECRBY key decrement`
pub(super) fn decrby(call: &mut Call<'_>) {
    match integer(call.arg(2)) {
        Some(by) => match by.checked_neg() {
            Some(by) => count(call, by),
            None => call.replies.error(ErrorKind::Err, "decrement would overflow"),
        },
        None => call.replies.not_an_integer(),
    }
}

/// `INCRBYFLOAT key increment`: the sum is exact, up to 17 digits behind the point. Redis uses the long doubles of its
/// machine.
pub(super) fn incrbyfloat(call: &mut Call<'_>) {
    let key = call.arg(1);
    let (current, expiry) = match call.shard.view(key, call.now_ms) {
        None => (Cow::Borrowed(&b"0"[..]), None),
        Some(view) => (text(&view.value), view.expiry_ms),
    };
    let sum = match (Parsed::of(&current), Parsed::of(call.arg(2))) {
        (Parsed::Nothing, _) | (_, Parsed::Nothing) => return call.replies.not_a_float(),
        (Parsed::Number(current), Parsed::Number(by)) => current.plus(&by),
        (Parsed::Infinity, _) | (_, Parsed::Infinity) => None,
    };
    match sum.map(|sum| sum.show()) {
        Some(shown) => {
            call.put(key, RAW, shown.as_bytes(), expiry);
            call.replies.bulk(shown.as_bytes());
        }
        None => call
            .replies
            .error(ErrorKind::Err, "increment would produce NaN or Infinity"),
    }
}
