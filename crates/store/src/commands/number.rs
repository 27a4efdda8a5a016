//! Numbers: `INCR` and its kin.
//!
//! `INCR`, `DECR` and their `BY` forms count: each writer keeps a running amount, and the sum is what is read, so
//! increments on both sides of a cut all count. `INCRBYFLOAT` is a read and a write like any other.

use alloc::format;
use wire::reply::ErrorKind;

use crate::{
    call::{Call, RAW, text},
    shard::CountError,
};

/// An integer as Redis reads one: no sign but `-`, no blanks, no leading zeros.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    crate::object::integer(text)
}

fn count(call: &mut Call<'_>, by: i64) {
    match call.count(call.arg(1), by) {
        Ok(sum) => call.replies.int(sum),
        Err(CountError::NotAnInteger) => call.replies.not_an_integer(),
        Err(CountError::Overflow) => {
            call.replies.error(ErrorKind::Err, "increment or decrement would overflow");
        }
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

fn float(text: &[u8]) -> Option<f64> {
    let text = core::str::from_utf8(text).ok()?;
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

/// `INCRBYFLOAT key increment`
pub(super) fn incrbyfloat(call: &mut Call<'_>) {
    let key = call.arg(1);
    let (current, expiry) = match call.shard.view(key, call.now_ms) {
        None => (Some(0.0), None),
        Some(view) => (float(&text(&view.value)), view.expiry_ms),
    };
    let (Some(current), Some(by)) = (current, float(call.arg(2))) else {
        return call.replies.not_a_float();
    };
    let sum = current + by;
    if !sum.is_finite() {
        return call.replies.error(ErrorKind::Err, "increment would produce NaN or Infinity");
    }
    // Seventeen digits tell all doubles apart; what `{}` prints is the shortest text that reads back the same.
    let shown = format!("{sum}");
    call.put(key, RAW, shown.as_bytes(), expiry);
    call.replies.bulk(shown.as_bytes());
}
