//! The basic encodings of deltas, clocks and chunks.
//!
//! Integers are LEB128 varints or eight little-endian bytes. Byte strings have their length in front. Every number has
//! exactly one encoding. [`Reader`] accepts any bytes: it returns a value or [`Malformed`]. It borrows instead of
//! allocating, so a length prefix alone costs no memory.

use alloc::vec::Vec;
use core::fmt;

use crate::dot::{Dot, Writer};

/// The highest counter accepted from outside. A writer never reaches it, and there is always a next counter.
pub const COUNTER_MAX: u64 = u64::MAX >> 1;

/// The largest sum of increments, positive or negative. It is more than the increments of 2^32 writers add up to. It is
/// small enough that the sums of 1,000 million writers can be added.
pub const AMOUNT_MAX: i128 = 1 << 96;

/// Bytes that no replica of this version would send. The text says what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed replica message: {}", self.0)
    }
}

impl core::error::Error for Malformed {}

/// Takes values from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes taken since `before`, an earlier copy of this reader.
    pub(crate) fn since(&self, before: &Self) -> &'a [u8] {
        &before.rest[..before.rest.len() - self.rest.len()]
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(byte)
    }

    /// Eight bytes, the lowest first.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// A varint in its shortest form.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed("varint above 64 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                let padded = byte == 0 && shift > 0;
                return if padded {
                    Err(Malformed("padded varint"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed("varint above 64 bits"))
    }

    /// A sum of increments, up to [`AMOUNT_MAX`] positive or negative: a zigzag varint.
    pub fn amount(&mut self) -> Result<i128, Malformed> {
        let mut zigzag = 0;
        for shift in (0..).step_by(7) {
            let byte = self.u8()?;
            zigzag |= u128::from(byte & 0x7f) << shift;
            if zigzag > AMOUNT_MAX.cast_unsigned() * 2 {
                return Err(Malformed("an amount that is too large"));
            }
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(Malformed("padded varint"));
                }
                break;
            }
        }
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A signed varint, zigzag.
    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A byte string with its length in front.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed("too short"))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed("too short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A dot, its counter from 1 to [`COUNTER_MAX`].
    pub fn dot(&mut self) -> Result<Dot, Malformed> {
        let writer = Writer(self.u64()?);
        match self.varint()? {
            counter @ 1..=COUNTER_MAX => Ok(Dot { writer, counter }),
            _ => Err(Malformed("dot out of bounds")),
        }
    }
}

/// Appends `value` as a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `value` as a zigzag varint.
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// Appends a sum of increments as a zigzag varint.
pub fn put_amount(out: &mut Vec<u8>, amount: i128) {
    let mut zigzag = (amount << 1 ^ amount >> 127).cast_unsigned();
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// Appends `bytes` with their length in front.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends `dot`.
pub fn put_dot(out: &mut Vec<u8>, dot: Dot) {
    out.extend_from_slice(&dot.writer.0.to_le_bytes());
    put_varint(out, dot.counter);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(value: u64, signed: i64, amount in -AMOUNT_MAX..=AMOUNT_MAX, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_signed(&mut out, signed);
            put_amount(&mut out, amount);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.amount(), Ok(amount));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert!(reader.is_empty());
        }

        /// So older nodes can read every amount that they could have written themselves.
        #[test]
        fn a_small_amount_is_a_signed_number(number: i64) {
            let (mut amount, mut signed) = (Vec::new(), Vec::new());
            put_amount(&mut amount, number.into());
            put_signed(&mut signed, number);
            prop_assert_eq!(amount, signed);
        }

        #[test]
        fn an_amount_has_one_encoding_and_a_bound(junk: [u8; 24]) {
            let mut reader = Reader::new(&junk);
            if let Ok(amount) = reader.amount() {
                prop_assert!((-AMOUNT_MAX..=AMOUNT_MAX).contains(&amount));
                let mut again = Vec::new();
                put_amount(&mut again, amount);
                prop_assert_eq!(&junk[..again.len()], &again[..]);
            }
        }

        #[test]
        fn a_varint_has_one_encoding(junk: [u8; 11]) {
            let mut reader = Reader::new(&junk);
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&junk[..again.len()], &again[..]);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!(Reader::new(&out).bytes(), Err(Malformed("too short")));
    }
}
