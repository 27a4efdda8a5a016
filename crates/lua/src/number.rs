//! Numbers to text and back, as the C library does it for Lua.

use alloc::{format, string::String, vec::Vec};

/// Appends a number with so many significant digits, as `%.17g` does with 17.
pub fn write_general(number: f64, digits: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(general(number, digits, false).as_bytes());
}

/// Whether a byte is white space in C.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r')
}

/// Appends a number as `tostring` shows it: `%.14g`.
pub(crate) fn write_number(number: f64, out: &mut Vec<u8>) {
    let integer = number as i64;
    if integer.unsigned_abs() < 100_000_000_000_000
        && integer as f64 == number
        && (integer != 0 || number.is_sign_positive())
    {
        write_integer(integer, out);
    } else {
        out.extend_from_slice(general(number, 14, false).as_bytes());
    }
}

/// Appends an integer in decimal.
pub(crate) fn write_integer(integer: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = integer.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if integer < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// `inf` and `nan` with their signs; nothing for other numbers.
fn special(number: f64) -> Option<String> {
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number.is_nan() {
        Some(format!("{sign}nan"))
    } else if number.is_infinite() {
        Some(format!("{sign}inf"))
    } else {
        None
    }
}

/// `%.{precision}e`
pub(crate) fn scientific(number: f64, precision: usize, keeps_point: bool) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let point = if keeps_point && precision == 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{point}e{sign}{:02}", exponent.unsigned_abs())
}

/// `%.{precision}f`
pub(crate) fn fixed(number: f64, precision: usize, keeps_point: bool) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let point = if keeps_point && precision == 0 { "." } else { "" };
    format!("{number:.precision$}{point}")
}

/// `%.{precision}g`, or `%#.{precision}g` if `keeps_zeros`.
pub(crate) fn general(number: f64, precision: usize, keeps_zeros: bool) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let precision = precision.max(1);
    let text = format!("{number:.*e}", precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        let digits = if keeps_zeros {
            with_point(digits)
        } else {
            without_zeros(digits).into()
        };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    // The digits are those of the rounded number, so writing them at the same place rounds to the same number.
    let text = format!("{number:.*}", (precision as i32 - 1 - exponent) as usize);
    if keeps_zeros {
        with_point(&text)
    } else {
        without_zeros(&text).into()
    }
}

fn with_point(digits: &str) -> String {
    if digits.contains('.') {
        digits.into()
    } else {
        format!("{digits}.")
    }
}

fn without_zeros(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

/// The number that a text says, as Lua converts strings: blanks around it are skipped, and a byte 0 ends it.
pub(crate) fn parse(text: &[u8]) -> Option<f64> {
    let text = match memchr::memchr(0, text) {
        Some(end) => &text[..end],
        None => text,
    };
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let (number, length) = parse_prefix(&text[start..])?;
    let rest = &text[start + length..];
    rest.iter().all(|byte| is_space(*byte)).then_some(number)
}

/// The number at the start of a text without blanks before it, and the number's length: `strtod` of C.
pub(crate) fn parse_prefix(text: &[u8]) -> Option<(f64, usize)> {
    let (is_negative, sign) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let digits = &text[sign..];
    let (number, length) = if digits.len() > 1 && digits[0] == b'0' && digits[1] | 32 == b'x' {
        match hexadecimal(&digits[2..]) {
            Some((number, length)) => (number, length + 2),
            None => (0.0, 1),
        }
    } else if digits.first()?.is_ascii_alphabetic() {
        word(digits)?
    } else {
        decimal(digits)?
    };
    Some((if is_negative { -number } else { number }, sign + length))
}

fn word(text: &[u8]) -> Option<(f64, usize)> {
    let begins = |word: &[u8]| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word);
    if begins(b"infinity") {
        Some((f64::INFINITY, 8))
    } else if begins(b"inf") {
        Some((f64::INFINITY, 3))
    } else if begins(b"nan") {
        let payload = text[3..].strip_prefix(b"(").and_then(|rest| {
            let length = rest
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
                .count();
            (rest.get(length) == Some(&b')')).then_some(length + 2)
        });
        Some((f64::NAN, 3 + payload.unwrap_or(0)))
    } else {
        None
    }
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut length = whole;
    if text.get(whole) == Some(&b'.') {
        let fraction = digits(whole + 1);
        if whole + fraction == 0 {
            return None;
        }
        length = whole + 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if whole == length && whole < 16 {
        let integer = text[..whole]
            .iter()
            .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        if text.get(whole).is_none_or(|byte| byte | 32 != b'e') {
            return Some((integer as f64, whole));
        }
    }
    if text.get(length).is_some_and(|byte| byte | 32 == b'e') {
        let sign = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = text.get(length + 1 + sign..).map_or(0, |_| digits(length + 1 + sign));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    let text = core::str::from_utf8(&text[..length]).ok()?;
    Some((text.parse().ok()?, length))
}

/// Hexadecimal digits with a point and a binary exponent, after `0x`.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let mut mantissa: u64 = 0;
    let mut exponent: i64 = 0;
    let (mut seen_digit, mut seen_point) = (false, false);
    let mut length = 0;
    for byte in text {
        match (*byte as char).to_digit(16) {
            Some(digit) => {
                seen_digit = true;
                if mantissa >> 60 == 0 {
                    mantissa = mantissa << 4 | u64::from(digit);
                    exponent -= if seen_point { 4 } else { 0 };
                } else {
                    // Digits that do not fit only say whether the rest is zero.
                    mantissa |= u64::from(digit != 0);
                    exponent += if seen_point { 0 } else { 4 };
                }
            }
            None if *byte == b'.' && !seen_point => seen_point = true,
            None => break,
        }
        length += 1;
    }
    if !seen_digit {
        return None;
    }
    if text.get(length).is_some_and(|byte| byte | 32 == b'p') {
        let rest = &text[length + 1..];
        let sign = usize::from(matches!(rest.first(), Some(b'+' | b'-')));
        let digits = rest[sign.min(rest.len())..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let (value, count) = digits.fold((0_i64, 0), |(value, count), digit| {
            ((value * 10 + i64::from(digit - b'0')).min(1 << 32), count + 1)
        });
        if count > 0 {
            length += 1 + sign + count;
            exponent += if rest[0] == b'-' { -value } else { value };
        }
    }
    let exponent = exponent.clamp(-5000, 5000) as i32;
    Some((scale(mantissa, exponent), length))
}

/// `mantissa * 2^exponent`, rounded once.
fn scale(mantissa: u64, exponent: i32) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    // Below the normal numbers the mantissa loses bits before it is converted, with the last one sticky.
    let top = 64 - mantissa.leading_zeros() as i32;
    let lost = (-1074 - exponent).max(0);
    let kept = if top + exponent < -1021 && lost > 0 {
        if lost > 63 {
            return 0.0;
        }
        let (high, low) = (mantissa >> lost, mantissa & ((1 << lost) - 1));
        let half = 1 << (lost - 1);
        let rounded = high + u64::from(low > half || (low == half && high & 1 == 1));
        return libm::scalbn(rounded as f64, -1074);
    } else {
        mantissa as f64
    };
    libm::scalbn(kept, exponent)
}

/// The digits of an unsigned integer in a base from 2 to 36: `strtoul` of C, blanks around included.
pub(crate) fn parse_in_base(text: &[u8], base: u32) -> Option<f64> {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    let end = text[..end]
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |last| last + 1);
    let text = &text[..end];
    let text = &text[text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len())..];
    let (is_negative, text) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let has_prefix = base == 16 && text.len() > 2 && text[0] == b'0' && text[1] | 32 == b'x';
    let text = if has_prefix { &text[2..] } else { text };
    if text.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    let mut is_too_large = false;
    for byte in text {
        let digit = (*byte as char).to_digit(base)?;
        match value
            .checked_mul(u64::from(base))
            .and_then(|v| v.checked_add(u64::from(digit)))
        {
            Some(next) => value = next,
            None => is_too_large = true,
        }
    }
    Some(match (is_too_large, is_negative) {
        (true, _) => u64::MAX as f64,
        (false, true) => value.wrapping_neg() as f64,
        (false, false) => value as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(number: f64) -> String {
        let mut out = Vec::new();
        write_number(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_shown_with_14_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-15.0, "-15"),
            (0.1, "0.1"),
            (1e14, "1e+14"),
            (99_999_999_999_999.0, "99999999999999"),
            (123_456_789_012_345.0, "1.2345678901234e+14"),
            (1e100, "1e+100"),
            (1.0 / 3.0, "0.33333333333333"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "inf"),
            (-f64::INFINITY, "-inf"),
            (99_999_999_999_999.5, "1e+14"),
            (0.999_999_999_999_999_9, "1"),
            (5e-324, "4.9406564584125e-324"),
        ] {
            assert_eq!(shown(number), text);
        }
    }

    #[test]
    fn texts_are_read_as_c_does() {
        for (text, number) in [
            ("10", Some(10.0)),
            (" 10 ", Some(10.0)),
            ("-0x10", Some(-16.0)),
            ("0x.8p1", Some(1.0)),
            ("0x1p-1074", Some(5e-324)),
            ("0x1p-1075", Some(0.0)),
            ("0x3p-1075", Some(1e-323)),
            ("0x1.fffffffffffffp1023", Some(f64::MAX)),
            ("0xffffffffffffffffff", Some(4_722_366_482_869_645_213_695.0)),
            ("1e", None),
            ("1e5", Some(1e5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            (".", None),
            ("", None),
            ("0x", None),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(-f64::INFINITY)),
            ("1 2", None),
            ("1\x002", Some(1.0)),
            ("1e400", Some(f64::INFINITY)),
        ] {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
    }
}
