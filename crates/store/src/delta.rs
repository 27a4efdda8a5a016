//! The encodings in which writes travel: one event as a delta, one key as an entry of anti-entropy.
//!
//! ```text
//! delta   kind:u8 dot stamp:u64 [key] [record] context     the dot itself belongs to the context and is not repeated
//! entry   key count (dot record)* context                  siblings sorted by dot
//! record  flags:u8 stamp:u64 [expiry] (format:u8 bytes | since amount)
//! ```
//!
//! Decoding borrows; nothing is unpacked before the whole of it has proved sound.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::clock::{Clock, ClockBytes};
use crate::codec::{Malformed, Reader, put_bytes, put_dot, put_signed, put_varint};
use crate::dot::Dot;
use crate::object::{Object, Sibling};
use crate::stamp::Stamp;
use crate::table::{Content, FORMAT_MAX, Record};

const WRITE: u8 = 0;
const DELETE: u8 = 1;
const WIPE: u8 = 2;

const COUNTER: u8 = 1;
const EXPIRY: u8 = 2;

/// One event of a primary, as it reaches the other replicas.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// Which write it is.
    pub dot: Dot,
    /// When it was made.
    pub stamp: Stamp,
    /// What it does.
    pub event: Event<'a>,
    /// What its writer had seen and it overwrites, beside the dot itself.
    pub context: ClockBytes<'a>,
}

/// What a delta does.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Overwrites what its context has seen of the key.
    Write {
        /// Of which key.
        key: &'a [u8],
        /// With what.
        record: Record<'a>,
    },
    /// Removes what its context has seen of the key.
    Delete {
        /// Which key.
        key: &'a [u8],
    },
    /// Removes what its context has seen of the whole shard.
    Wipe,
}

impl<'a> Delta<'a> {
    /// Takes one delta off `reader`.
    pub fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = reader.u8()?;
        let dot = reader.dot()?;
        let stamp = Stamp(reader.u64()?);
        let event = match kind {
            WRITE => Event::Write {
                key: reader.bytes()?,
                record: take_record(reader, dot)?,
            },
            DELETE => Event::Delete {
                key: reader.bytes()?,
            },
            WIPE => Event::Wipe,
            _ => return Err(Malformed("unknown kind of delta")),
        };
        Ok(Self {
            dot,
            stamp,
            event,
            context: ClockBytes::take(reader)?,
        })
    }
}

/// Appends all of a write but its context, which the caller appends.
pub(crate) fn put_write(out: &mut Vec<u8>, key: &[u8], record: &Record<'_>) {
    put_head(out, WRITE, record.dot, record.stamp);
    put_bytes(out, key);
    put_record(out, record);
}

/// Appends all of a delete but its context.
pub(crate) fn put_delete(out: &mut Vec<u8>, key: &[u8], dot: Dot, stamp: Stamp) {
    put_head(out, DELETE, dot, stamp);
    put_bytes(out, key);
}

/// Appends all of a wipe but its context.
pub(crate) fn put_wipe(out: &mut Vec<u8>, dot: Dot, stamp: Stamp) {
    put_head(out, WIPE, dot, stamp);
}

fn put_head(out: &mut Vec<u8>, kind: u8, dot: Dot, stamp: Stamp) {
    out.push(kind);
    put_dot(out, dot);
    out.extend_from_slice(&stamp.0.to_le_bytes());
}

/// Appends what a key holds; `siblings` sorted by dot.
pub(crate) fn put_entry<'a>(
    out: &mut Vec<u8>,
    key: &[u8],
    siblings: impl ExactSizeIterator<Item = Record<'a>>,
    context: &Clock,
) {
    put_bytes(out, key);
    put_varint(out, siblings.len() as u64);
    for record in siblings {
        put_dot(out, record.dot);
        put_record(out, &record);
    }
    context.encode(out);
}

/// Takes what a key holds off `reader`.
pub(crate) fn take_entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], Object), Malformed> {
    let key = reader.bytes()?;
    let mut siblings: SmallVec<[Sibling; 1]> = SmallVec::new();
    for _ in 0..reader.varint()? {
        let dot = reader.dot()?;
        if siblings.last().is_some_and(|before| before.dot >= dot) {
            return Err(Malformed("siblings not sorted by dot"));
        }
        siblings.push(Sibling::from(&take_record(reader, dot)?));
    }
    Ok((
        key,
        Object {
            siblings,
            context: Clock::decode(reader)?,
        },
    ))
}

fn put_record(out: &mut Vec<u8>, record: &Record<'_>) {
    let counter = matches!(record.content, Content::Counter { .. });
    let expiry = record.expiry_ms.is_some();
    out.push(if counter { COUNTER } else { 0 } | if expiry { EXPIRY } else { 0 });
    out.extend_from_slice(&record.stamp.0.to_le_bytes());
    if let Some(expiry_ms) = record.expiry_ms {
        put_varint(out, expiry_ms);
    }
    match record.content {
        Content::Plain { format, bytes } => {
            out.push(format);
            put_bytes(out, bytes);
        }
        Content::Counter { since, amount } => {
            put_varint(out, since);
            put_signed(out, amount);
        }
    }
}

fn take_record<'a>(reader: &mut Reader<'a>, dot: Dot) -> Result<Record<'a>, Malformed> {
    let flags = reader.u8()?;
    if flags & !(COUNTER | EXPIRY) != 0 {
        return Err(Malformed("unknown flag of a record"));
    }
    let stamp = Stamp(reader.u64()?);
    let expiry_ms = if flags & EXPIRY != 0 {
        Some(reader.varint()?)
    } else {
        None
    };
    let content = if flags & COUNTER != 0 {
        let since = reader.varint()?;
        if !(1..=dot.counter).contains(&since) {
            return Err(Malformed("counter that begins after its dot"));
        }
        Content::Counter {
            since,
            amount: reader.signed()?,
        }
    } else {
        let format = reader.u8()?;
        if format > FORMAT_MAX {
            return Err(Malformed("unknown format"));
        }
        Content::Plain {
            format,
            bytes: reader.bytes()?,
        }
    };
    Ok(Record {
        dot,
        stamp,
        expiry_ms,
        content,
    })
}
