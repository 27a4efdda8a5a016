//! Exact sums of decimal fractions, for `INCRBYFLOAT`. Only the sum is rounded, to [`PLACES`] digits behind the point.
//!
//! Redis adds long doubles, which have 19 digits. Here a text is read as C's `strtold` reads it, with the same range,
//! but all its digits are used until the sum is rounded.

use alloc::{string::String, vec, vec::Vec};
use core::cmp::Ordering;

/// Digits behind the point that Redis shows.
const PLACES: usize = 17;
/// The longest text that Redis accepts as a number.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Most digits in front of the point that a long double can have.
const WHOLE_DIGITS_MAX: i64 = 4933;
/// Zeros behind the point of the smallest long double. A text with a smaller number is refused, as by `strtold`.
const ZEROS_MAX: i64 = 4950;
/// Digits this far behind the point or further do not change a sum.
const PLACES_MAX: i64 = 64;
/// Most hexadecimal digits accepted.
const HEX_DIGITS_MAX: usize = 64;

/// A number in decimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fraction {
    is_negative: bool,
    /// The digits, highest first, each below 10.
    digits: Vec<u8>,
    /// How many of the digits are behind the point.
    places: usize,
}

/// The result of reading a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Number(Fraction),
    Infinity,
    /// Not a number, or beyond the range.
    Nothing,
}

impl Parsed {
    pub(super) fn of(text: &[u8]) -> Self {
        let (is_negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if text.len() > TEXT_BYTES_MAX {
            return Self::Nothing;
        }
        if [&b"inf"[..], b"infinity"]
            .iter()
            .any(|word| rest.eq_ignore_ascii_case(word))
        {
            return Self::Infinity;
        }
        let read = match rest {
            [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest),
            rest => decimal(rest),
        };
        match read {
            Some(number) if number.whole_digits() <= WHOLE_DIGITS_MAX => {
                Self::Number(Fraction { is_negative, ..number })
            }
            _ => Self::Nothing,
        }
    }
}

/// Splits a number into its digits before the point, its digits behind the point, and the rest of the text.
fn mantissa(text: &[u8], is_digit: impl Fn(&u8) -> bool) -> Option<(&[u8], &[u8], &[u8])> {
    let count = |text: &[u8]| text.iter().take_while(|byte| is_digit(byte)).count();
    let (whole, mut rest) = text.split_at(count(text));
    let mut fraction = &b""[..];
    if let [b'.', behind @ ..] = rest {
        (fraction, rest) = behind.split_at(count(behind));
    }
    (whole.len() + fraction.len() > 0).then_some((whole, fraction, rest))
}

/// The exponent behind one of `marks`, 0 if there is none. An exponent far beyond the range is cut off.
fn exponent(text: &[u8], marks: [u8; 2]) -> Option<i64> {
    let [mark, rest @ ..] = text else { return Some(0) };
    if !marks.contains(mark) {
        return None;
    }
    let (sign, digits) = match rest {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits
        .iter()
        .fold(0_i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(sign * size)
}

fn decimal(text: &[u8]) -> Option<Fraction> {
    let (whole, fraction, rest) = mantissa(text, u8::is_ascii_digit)?;
    let exponent = exponent(rest, [b'e', b'E'])?;
    let digits: Vec<u8> = whole.iter().chain(fraction).map(|digit| digit - b'0').collect();
    let first = digits.iter().position(|&digit| digit > 0).unwrap_or(digits.len());
    let number = Fraction {
        is_negative: false,
        digits: digits[first..].to_vec(),
        places: 0,
    };
    number.shifted(exponent - fraction.len() as i64)
}

fn hexadecimal(text: &[u8]) -> Option<Fraction> {
    let (whole, fraction, rest) = mantissa(text, u8::is_ascii_hexdigit)?;
    let exponent = exponent(rest, [b'p', b'P'])? - 4 * fraction.len() as i64;
    if whole.len() + fraction.len() > HEX_DIGITS_MAX {
        return None;
    }
    let mut digits = Vec::new();
    for digit in whole.iter().chain(fraction) {
        multiply(&mut digits, 16, char::from(*digit).to_digit(16)?);
    }
    // A negative power of two is a power of five with as many places behind the point.
    let (factor, places) = if exponent < 0 { (5, exponent) } else { (2, 0) };
    if exponent < -PLACES_MAX - 4 * HEX_DIGITS_MAX as i64 {
        // Ten digits need at least 33 bits.
        return (exponent > -ZEROS_MAX * 33 / 10).then(Fraction::default);
    }
    for _ in 0..exponent.unsigned_abs() {
        multiply(&mut digits, factor, 0);
        if digits.len() as i64 > WHOLE_DIGITS_MAX {
            return None;
        }
    }
    let number = Fraction {
        is_negative: false,
        digits,
        places: 0,
    };
    number.shifted(places)
}

/// Multiplies a whole number by `factor`, and adds `add`.
fn multiply(digits: &mut Vec<u8>, factor: u32, add: u32) {
    let mut carry = add;
    for digit in digits.iter_mut().rev() {
        let product = u32::from(*digit) * factor + carry;
        *digit = (product % 10) as u8;
        carry = product / 10;
    }
    while carry > 0 {
        digits.insert(0, (carry % 10) as u8);
        carry /= 10;
    }
}

impl Fraction {
    /// How many digits are in front of the point; negative for zeros behind it.
    fn whole_digits(&self) -> i64 {
        self.digits.len() as i64 - self.places as i64
    }

    /// A whole number without leading zeros, times ten to the power `by`; `None` if the result is too small.
    fn shifted(mut self, by: i64) -> Option<Self> {
        let whole = self.digits.len() as i64 + by;
        if self.digits.is_empty() || whole < -PLACES_MAX {
            return (self.digits.is_empty() || whole >= -ZEROS_MAX).then(Self::default);
        }
        if by < 0 {
            self.places = by.unsigned_abs() as usize;
        } else if whole <= WHOLE_DIGITS_MAX {
            self.digits.resize(whole as usize, 0);
        } else {
            // Beyond the range: this many digits are enough to show it.
            self.digits.resize(WHOLE_DIGITS_MAX as usize + 1, 0);
        }
        Some(self)
    }

    /// Its digits, padded with zeros to this many in front of the point and behind it.
    fn aligned(&self, whole: usize, places: usize) -> Vec<u8> {
        let mut digits = vec![0; whole + places];
        let end = whole + self.places;
        let start = end - self.digits.len();
        digits[start..end].copy_from_slice(&self.digits);
        digits
    }

    /// The sum of two numbers; `None` if it is beyond the range.
    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let places = self.places.max(other.places);
        let whole = self.whole_digits().max(other.whole_digits()).max(0) as usize + 1;
        let (mut high, mut low) = (self.aligned(whole, places), other.aligned(whole, places));
        let mut is_negative = self.is_negative;
        if self.is_negative == other.is_negative {
            let mut carry = 0;
            for (a, b) in high.iter_mut().zip(&low).rev() {
                let sum = *a + b + carry;
                (*a, carry) = (sum % 10, sum / 10);
            }
        } else {
            if high.cmp(&low) == Ordering::Less {
                core::mem::swap(&mut high, &mut low);
                is_negative = other.is_negative;
            }
            let mut borrow = 0;
            for (a, b) in high.iter_mut().zip(&low).rev() {
                let difference = 10 + *a - b - borrow;
                (*a, borrow) = (difference % 10, 1 - difference / 10);
            }
        }
        let first = high.iter().position(|&digit| digit > 0).unwrap_or(high.len());
        let sum = Self {
            is_negative,
            digits: high[first..].to_vec(),
            places,
        };
        (sum.whole_digits() <= WHOLE_DIGITS_MAX).then_some(sum)
    }

    /// The text that Redis shows: rounded, without trailing zeros, without an exponent.
    pub(super) fn show(&self) -> String {
        let whole = self.whole_digits().max(0) as usize + 1;
        let mut digits = self.aligned(whole, self.places.max(PLACES));
        let rest = digits.split_off(whole + PLACES);
        let is_odd = digits.last().is_some_and(|digit| digit % 2 == 1);
        let rounds_up = match rest.first() {
            None => false,
            Some(5) => is_odd || rest[1..].iter().any(|&digit| digit > 0),
            Some(&digit) => digit > 5,
        };
        for digit in digits.iter_mut().rev().take_while(|_| rounds_up) {
            *digit = (*digit + 1) % 10;
            if *digit > 0 {
                break;
            }
        }
        let is_zero = digits.iter().all(|&digit| digit == 0);
        let mut shown = String::from(if self.is_negative && !is_zero { "-" } else { "" });
        let (whole, fraction) = digits.split_at(whole);
        let zeros = whole
            .iter()
            .take_while(|&&digit| digit == 0)
            .count()
            .min(whole.len() - 1);
        shown.extend(whole[zeros..].iter().map(|&digit| char::from(b'0' + digit)));
        if let Some(last) = fraction.iter().rposition(|&digit| digit > 0) {
            shown.push('.');
            shown.extend(fraction[..=last].iter().map(|&digit| char::from(b'0' + digit)));
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::ToString};

    fn sum(a: &str, b: &str) -> Option<String> {
        match (Parsed::of(a.as_bytes()), Parsed::of(b.as_bytes())) {
            (Parsed::Number(a), Parsed::Number(b)) => a.plus(&b).map(|sum| sum.show()),
            _ => None,
        }
    }

    #[test]
    fn sums_are_exact_and_rounded_once() {
        for (a, b, wanted) in [
            ("0.1", "0.2", "0.3"),
            ("1.5", "-1.5", "0"),
            ("-.5", "1.", "0.5"),
            ("5.0e3", "1e-7", "5000.0000001"),
            ("9007199254740992", "0.5", "9007199254740992.5"),
            ("0e99", "-0", "0"),
            ("-3", "1", "-2"),
            ("3", "-10", "-7"),
            ("99.9", ".1", "100"),
            ("1e22", "1", "10000000000000000000001"),
            // The sum is rounded, not its parts, and only behind the last place.
            (
                "123456789012345678",
                "0.0000000000000000000000000000000001",
                "123456789012345678",
            ),
            (
                "123456789.123456789",
                "0.1234567890123456789012345678901234",
                "123456789.24691357801234568",
            ),
            ("0.123456789012345675", "0", "0.12345678901234568"),
            ("0.123456789012345665", "0", "0.12345678901234566"),
            ("0.999999999999999999", "0", "1"),
            ("0.000000000000000005", "0.000000000000000001", "0.00000000000000001"),
            ("-0.000000000000000004", "0", "0"),
            ("1e-4000", "7", "7"),
            ("0e-99999999999999999999", "7", "7"),
            ("0x10", "0X1p3", "24"),
            ("0x.8", "0x1.8p-1", "1.25"),
            (
                "0xffffffffffffffffffffffffffffffff",
                "1",
                "340282366920938463463374607431768211456",
            ),
            ("0x1p-16000", "+2", "2"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(wanted), "{a} + {b}");
            assert_eq!(sum(b, a).as_deref(), Some(wanted), "{b} + {a}");
        }
        assert_eq!(sum("1e400", "1"), Some(format!("1{}1", "0".repeat(399))));
    }

    #[test]
    fn the_range_is_that_of_long_doubles() {
        assert!(matches!(Parsed::of(b"1e4932"), Parsed::Number(_)));
        for text in [
            "1e4933",
            "1e999999999999999999999",
            "0x1p16500",
            "0x1p999999999999999",
            "1e-5000",
            "-1e-999999999999999999999",
            "0x1p-20000",
        ] {
            assert_eq!(Parsed::of(text.as_bytes()), Parsed::Nothing, "{text}");
        }
        assert_eq!(sum("9e4932", "1e4932"), None);
        for text in ["inf", "-inf", "+Infinity", "INF"] {
            assert_eq!(Parsed::of(text.as_bytes()), Parsed::Infinity, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_a_number_is_refused() {
        for text in [
            "", ".", "-", "+", "1e", "e1", "1.2.3", " 1", "1 ", "--1", "+-1", "nan", "1e+", "1e1.5", "0x", "0xg",
            "0x1p", "1p3", "infinit", "1_000", "0x1e5p", "١",
        ] {
            assert_eq!(Parsed::of(text.as_bytes()), Parsed::Nothing, "{text}");
        }
        assert_eq!(Parsed::of("1".repeat(TEXT_BYTES_MAX + 1).as_bytes()), Parsed::Nothing);
    }

    proptest! {
        #[test]
        fn integers_add_up(a: i64, b: i64) {
            let wanted = (i128::from(a) + i128::from(b)).to_string();
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some(wanted));
        }

        #[test]
        fn hundredths_add_up(a in -1_000_000_000_i64..1_000_000_000, b in -1_000_000_000_i64..1_000_000_000) {
            let shown = |units: i64| format!("{}{}.{:02}", if units < 0 { "-" } else { "" }, units.abs() / 100, units.abs() % 100);
            let all = shown(a + b);
            prop_assert_eq!(sum(&shown(a), &shown(b)), sum(&all, "0"));
        }

        #[test]
        fn hexadecimal_numbers_keep_their_value(number: u64) {
            prop_assert_eq!(sum(&format!("{number:#x}"), "0"), Some(number.to_string()));
        }

        #[test]
        fn junk_is_a_number_or_refused(text in "[-+0-9.eExXpPaf]{0,12}") {
            if let Parsed::Number(number) = Parsed::of(text.as_bytes()) {
                let shown = number.show();
                prop_assert_eq!(sum(&shown, "0"), Some(shown));
            }
        }
    }
}
