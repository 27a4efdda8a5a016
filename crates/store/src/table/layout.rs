//! The layout of a record in bytes.
//!
//! | part | bytes |
//! |---|---|
//! | length of the key | varint |
//! | key | |
//! | flags: bits 0–4 format, 5 expires, 6 counter | 1 |
//! | writer, as a number of the table's palette | varint |
//! | stamp | 8, little-endian |
//! | the dot's counter | varint |
//! | expiry, if flagged | varint |
//! | plain: length of the value, value | varint, … |
//! | counter: since, amount (zigzag) | varint, varint |
//!
//! The key comes first because most reads compare it. A varint has 7 bits in a byte, lowest first (as in Protocol
//! Buffers). Bytes that do not belong to the record may follow. A record with a key of 16 bytes and a value of 16 bytes
//! takes 48 bytes, until a writer's two-millionth write to the shard.

use super::{Content, FORMAT_MAX, Record};
use crate::stamp::Stamp;

const EXPIRES: u8 = 1 << 5;
const COUNTER: u8 = 1 << 6;
const VARINT_BYTES_MAX: usize = 10;
/// Most bytes of a varint of 128 bits.
const AMOUNT_BYTES_MAX: usize = 19;

/// A record as pieces; its bytes are these pieces one behind the other.
pub(super) struct Encoded<'a> {
    key_length: Bytes<VARINT_BYTES_MAX>,
    key: &'a [u8],
    /// Everything between key and value: flags, stamp, up to four varints and an amount.
    fields: Bytes<{ 9 + 4 * VARINT_BYTES_MAX + AMOUNT_BYTES_MAX }>,
    value: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// `number` is the number of the writer.
    ///
    /// # Panics
    /// If the format is above [`FORMAT_MAX`].
    pub(super) fn new(key: &'a [u8], number: u32, record: &Record<'a>) -> Self {
        let mut key_length = Bytes::new();
        key_length.push_varint(key.len() as u64);
        let kind = match record.content {
            Content::Plain { format, .. } => {
                assert!(format <= FORMAT_MAX, "formats have five bits");
                format
            }
            Content::Counter { .. } => COUNTER,
        };
        let mut fields = Bytes::new();
        let expires = if record.expiry_ms.is_some() { EXPIRES } else { 0 };
        fields.push_byte(kind | expires);
        fields.push_varint(u64::from(number));
        fields.push(record.stamp.0.to_le_bytes());
        fields.push_varint(record.dot.counter);
        if let Some(expiry_ms) = record.expiry_ms {
            fields.push_varint(expiry_ms);
        }
        let value = match record.content {
            Content::Plain { bytes, .. } => {
                fields.push_varint(bytes.len() as u64);
                bytes
            }
            Content::Counter { since, amount } => {
                fields.push_varint(since);
                fields.push_wide_varint((amount << 1 ^ amount >> 127).cast_unsigned());
                &[]
            }
        };
        Self {
            key_length,
            key,
            fields,
            value,
        }
    }

    pub(super) fn pieces(&self) -> [&[u8]; 4] {
        [self.key_length.get(), self.key, self.fields.get(), self.value]
    }
}

/// A stored record: like [`Record`], but with the number of its writer.
pub(super) struct Decoded<'a> {
    pub(super) key: &'a [u8],
    pub(super) number: u32,
    pub(super) counter: u64,
    pub(super) stamp: Stamp,
    pub(super) expiry_ms: Option<u64>,
    pub(super) content: Content<'a>,
}

impl<'a> Decoded<'a> {
    #[inline]
    pub(super) fn new(mut bytes: &'a [u8]) -> Self {
        let key = take_counted(&mut bytes);
        let flags = take(&mut bytes, 1)[0];
        let number = take_varint(&mut bytes) as u32;
        let mut stamp = [0; 8];
        stamp.copy_from_slice(take(&mut bytes, 8));
        let counter = take_varint(&mut bytes);
        let expiry_ms = (flags & EXPIRES != 0).then(|| take_varint(&mut bytes));
        let content = if flags & COUNTER != 0 {
            let since = take_varint(&mut bytes);
            let zigzag = take_wide_varint(&mut bytes);
            Content::Counter {
                since,
                amount: (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed(),
            }
        } else {
            Content::Plain {
                format: flags & FORMAT_MAX,
                bytes: take_counted(&mut bytes),
            }
        };
        let stamp = Stamp(u64::from_le_bytes(stamp));
        Self {
            key,
            number,
            counter,
            stamp,
            expiry_ms,
            content,
        }
    }
}

/// The key of a record.
#[inline]
pub(super) fn key(mut bytes: &[u8]) -> &[u8] {
    take_counted(&mut bytes)
}

/// A few bytes on the stack.
struct Bytes<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Bytes<MAX> {
    const fn new() -> Self {
        Self {
            bytes: [0; MAX],
            len: 0,
        }
    }

    #[inline]
    fn push<const LEN: usize>(&mut self, bytes: [u8; LEN]) {
        self.bytes[self.len..self.len + LEN].copy_from_slice(&bytes);
        self.len += LEN;
    }

    #[inline]
    fn push_byte(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push_byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.push_byte(value as u8);
    }

    fn push_wide_varint(&mut self, mut value: u128) {
        while value > u128::from(u64::MAX) {
            self.push_byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.push_varint(value as u64);
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(len);
    *bytes = rest;
    head
}

#[inline]
fn take_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn take_wide_varint(bytes: &mut &[u8]) -> u128 {
    let mut value = 0;
    for shift in (0..128).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u128::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

#[inline]
fn take_counted<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = take_varint(bytes) as usize;
    take(bytes, len)
}
