//! The few encodings that deltas, clocks and chunks are made of.
//!
//! Integers are LEB128 varints or eight little-endian bytes, byte strings carry their length in
//! front. Every number has one encoding only. [`Reader`] is total: whatever the bytes, it answers a
//! value or [`Malformed`], and it borrows instead of allocating, so a length prefix alone never
//! costs memory.

use alloc::vec::Vec;
use core::fmt;

use crate::dot::{Dot, Writer};

/// The highest counter taken from outside: far beyond what a writer can use up, and there is always
/// a next one.
pub const COUNTER_MAX: u64 = u64::MAX >> 1;

/// Bytes that no replica of this version would have sent; the text says what was wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed replica message: {}", self.0)
    }
}

impl core::error::Error for Malformed {}

/// Takes values off the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was taken since `before`, an earlier copy of this reader.
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
        fn numbers_round_trip(value: u64, amount: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_signed(&mut out, amount);
            put_bytes(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(amount));
            prop_assert_eq!(reader.bytes(), Ok(&bytes[..]));
            prop_assert!(reader.is_empty());
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
