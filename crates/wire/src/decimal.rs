//! Numbers as decimal text, the way Redis reads and writes them.
//!
//! [`parse`] is as strict as Redis's `string2ll`: a text is an integer here exactly if Redis takes it for one. So a
//! plus sign, leading zeros and spaces are refused. [`write_double`] gives the shortest digits that read back as the
//! same number, in the layout of Redis's `fpconv_dtoa` (7.2 and later).

use alloc::vec::Vec;
use core::fmt::Write as _;

/// Most bytes that [`write_int`] appends.
const INT_BYTES_MAX: usize = 20;

/// Reads `text` as an integer: `None` if it is not the canonical text of an `i64`.
#[inline]
pub fn parse(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits == b"0" && !negative {
        return Some(0);
    }
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() >= INT_BYTES_MAX {
        return None;
    }
    // At most 19 digits: below 10^19, which a u64 holds.
    let mut magnitude = 0u64;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        i64::try_from(magnitude).ok()
    }
}

/// Appends `number` in decimal.
#[inline]
pub fn write_int(out: &mut Vec<u8>, number: i64) {
    if (0..10).contains(&number) {
        out.push(b'0' + number as u8);
    } else {
        write_long(out, number < 0, number.unsigned_abs());
    }
}

/// Appends `number`, a length or a count, in decimal.
#[inline]
pub fn write_len(out: &mut Vec<u8>, number: usize) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]),
        _ => write_long(out, false, number as u64),
    }
}

fn write_long(out: &mut Vec<u8>, negative: bool, mut magnitude: u64) {
    let mut text = [0; INT_BYTES_MAX];
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (magnitude % 10) as u8;
        magnitude /= 10;
        if magnitude == 0 {
            break;
        }
    }
    if negative {
        at -= 1;
        text[at] = b'-';
    }
    out.extend_from_slice(&text[at..]);
}

/// Appends `number`: `3`, `-0.5`, `1e+30`, `inf`, `-inf`, `nan`.
pub fn write_double(out: &mut Vec<u8>, number: f64) {
    if number.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    if number.is_infinite() {
        return out.extend_from_slice(b"inf");
    }
    if number == 0.0 {
        return out.push(b'0');
    }
    let shortest = Digits::of(number.abs());
    shortest.write(out);
}

/// A positive number as `0.d₁d₂… × 10^point`: its shortest digits and where the decimal point
/// belongs.
struct Digits {
    digits: [u8; 17],
    count: usize,
    point: i32,
}

impl Digits {
    /// The shortest digits of a finite `number` above zero, as the standard library finds them.
    fn of(number: f64) -> Self {
        let mut scratch = Scratch { text: [0; 32], len: 0 };
        write!(scratch, "{number:e}").expect("d.dddde-ddd has at most 24 bytes");
        let mut parts = scratch.text[..scratch.len].split(|&byte| byte == b'e');
        let mantissa = parts.next().unwrap_or_default();
        let exponent = parts.next().and_then(parse).unwrap_or_default();
        let mut shortest = Self {
            digits: [0; 17],
            count: 0,
            point: exponent as i32 + 1,
        };
        for &digit in mantissa.iter().filter(|byte| byte.is_ascii_digit()).take(17) {
            shortest.digits[shortest.count] = digit;
            shortest.count += 1;
        }
        shortest
    }

    /// Writes plain notation while few zeros have to be added, else scientific notation.
    fn write(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.count];
        let scale = self.point - self.count as i32; // the number is digits × 10^scale
        let exponent = self.point - 1;
        if scale >= 0 && exponent < self.count as i32 + 7 {
            out.extend_from_slice(digits);
            out.resize(out.len() + scale as usize, b'0');
        } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
            if self.point > 0 {
                let (whole, fraction) = digits.split_at(self.point as usize);
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            } else {
                out.extend_from_slice(b"0.");
                out.resize(out.len() + self.point.unsigned_abs() as usize, b'0');
                out.extend_from_slice(digits);
            }
        } else {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            write_int(out, i64::from(exponent.abs()));
        }
    }
}

/// A fixed buffer to format into without allocating.
struct Scratch {
    text: [u8; 32],
    len: usize,
}

impl core::fmt::Write for Scratch {
    fn write_str(&mut self, part: &str) -> core::fmt::Result {
        let free = self
            .text
            .get_mut(self.len..self.len + part.len())
            .ok_or(core::fmt::Error)?;
        free.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn int(number: i64) -> String {
        let mut out = Vec::new();
        write_int(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    fn double(number: f64) -> String {
        let mut out = Vec::new();
        write_double(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_canonical_integers_are_integers() {
        for good in ["0", "1", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse(good.as_bytes()), good.parse().ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1\0",
            "9223372036854775808",
            "-9223372036854775809",
            "1e3",
            "18446744073709551617",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn doubles_look_as_redis_shows_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (0.1, "0.1"),
            (-3.25, "-3.25"),
            (1e7, "10000000"),
            (1e8, "1e+8"),
            (123456789.0, "123456789"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-9, "1.25e-9"),
            (17179869184.0, "17179869184"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ];
        for (number, text) in cases {
            assert_eq!(double(number), text);
        }
    }

    proptest! {
        #[test]
        fn an_integer_round_trips(number: i64) {
            prop_assert_eq!(int(number), number.to_string());
            prop_assert_eq!(parse(int(number).as_bytes()), Some(number));
        }

        #[test]
        fn a_length_is_written_like_any_integer(number in 0usize..2000) {
            let mut out = Vec::new();
            write_len(&mut out, number);
            prop_assert_eq!(out, number.to_string().into_bytes());
        }

        #[test]
        fn a_double_reads_back_as_itself(bits: u64) {
            let number = f64::from_bits(bits);
            prop_assume!(!number.is_nan());
            prop_assert_eq!(double(number).parse::<f64>().unwrap().to_bits(), bits);
        }

        #[test]
        fn parsing_agrees_with_the_standard_library(text in "-?[0-9]{1,21}") {
            let canonical = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            prop_assert_eq!(parse(text.as_bytes()), canonical);
        }
    }
}
