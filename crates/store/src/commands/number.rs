//! Numbers: `INCR` and its kin.
//!
//! `INCR`, `DECR` and their `BY` forms count: each writer keeps a running amount, and the sum is what is read, so
//! increments on both sides of a cut all count. `INCRBYFLOAT` is a read and a write like any other.

use alloc::{borrow::Cow, format, string::String};
use wire::reply::{ErrorKind, Replies};

use crate::{
    call::{Call, RAW, text},
    shard::CountError,
};

/// An integer as Redis reads one: no sign but `-`, no blanks, no leading zeros.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    crate::object::integer(text)
}

/// An integer of 32 bits, as Redis wants one for databases; if it is none, the error is written.
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

/// Digits behind the point that Redis shows.
const PLACES: usize = 17;
const ONE: i128 = 10_i128.pow(PLACES as u32);

/// A number in units of the last place, if it is written in decimal and fits exactly.
fn decimal(text: &[u8]) -> Option<i128> {
    let text = core::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut units = 0_i128;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(byte).to_digit(10)?;
        units = units.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    if units == 0 {
        return Some(0);
    }
    let places = i64::from(exponent) + PLACES as i64 - i64::try_from(fraction.len()).ok()?;
    let scale = 10_i128.checked_pow(u32::try_from(places.unsigned_abs()).ok()?)?;
    let units = if places >= 0 {
        units.checked_mul(scale)?
    } else if units % scale == 0 {
        units / scale
    } else {
        return None;
    };
    Some(if mantissa.starts_with('-') { -units } else { units })
}

/// As Redis shows it: without zeros behind the last digit, and never with an exponent.
fn show(units: i128) -> String {
    let (sign, units) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let (whole, fraction) = (units / ONE.unsigned_abs(), units % ONE.unsigned_abs());
    let shown = format!("{sign}{whole}.{fraction:0PLACES$}");
    shown.trim_end_matches('0').trim_end_matches('.').into()
}

fn float(text: &[u8]) -> Option<f64> {
    let number: f64 = core::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// `INCRBYFLOAT key increment`: the sum is exact, up to [`PLACES`] behind the point and 38 digits in all. Beyond that
/// it is that of two doubles, where Redis has the long doubles of its machine.
pub(super) fn incrbyfloat(call: &mut Call<'_>) {
    let key = call.arg(1);
    let (current, expiry) = match call.shard.view(key, call.now_ms) {
        None => (Cow::Borrowed(&b"0"[..]), None),
        Some(view) => (text(&view.value), view.expiry_ms),
    };
    let exact = decimal(&current)
        .zip(decimal(call.arg(2)))
        .and_then(|(current, by)| current.checked_add(by));
    let shown = match exact {
        Some(units) => show(units),
        None => {
            let Some((current, by)) = float(&current).zip(float(call.arg(2))) else {
                return call.replies.not_a_float();
            };
            let sum = current + by;
            if !sum.is_finite() {
                return call
                    .replies
                    .error(ErrorKind::Err, "increment would produce NaN or Infinity");
            }
            // The shortest text that reads back as the same number.
            format!("{sum}")
        }
    };
    call.put(key, RAW, shown.as_bytes(), expiry);
    call.replies.bulk(shown.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{decimal, show};
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn sums_are_those_of_decimals() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("1.5", "-1.5", "0"),
            ("-.5", "1.", "0.5"),
            ("5.0e3", "1e-7", "5000.0000001"),
            ("9007199254740992", "0.5", "9007199254740992.5"),
            ("0e99", "0", "0"),
        ] {
            let units = decimal(a.as_bytes()).zip(decimal(b.as_bytes())).map(|(a, b)| a + b);
            assert_eq!(units.map(show).as_deref(), Some(sum), "{a} + {b}");
        }
    }

    #[test]
    fn what_is_none_or_does_not_fit_is_left_to_doubles() {
        for text in [
            "",
            ".",
            "-",
            "1e",
            "e1",
            "1.2.3",
            " 1",
            "1 ",
            "0x10",
            "inf",
            "--1",
            "+-1",
            "1e-18",
            "1e22",
            "1e999999999999",
        ] {
            assert_eq!(decimal(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_shown_as_they_are(number: i64) {
            prop_assert_eq!(decimal(number.to_string().as_bytes()).map(show), Some(number.to_string()));
        }

        #[test]
        fn what_is_shown_reads_back(units in -10_i128.pow(37)..10_i128.pow(37)) {
            prop_assert_eq!(decimal(show(units).as_bytes()), Some(units));
        }
    }
}
