//! The encodings in which writes are sent: one event as a delta, one key as an entry of anti-entropy.
//!
//! ```text
//! delta   kind:u8 dot stamp:u64 [key] [record] context     the dot itself belongs to the context and is not repeated
//! entry   key count (dot record)* context                  siblings sorted by dot
//! record  flags:u8 stamp:u64 [expiry] (format:u8 bytes | since amount)
//! ```
//!
//! Decoding borrows. Nothing is unpacked before all of it is checked.

use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::clock::{Clock, ClockBytes, encode_span};
use crate::codec::{Malformed, Reader, put_amount, put_bytes, put_dot, put_varint};
use crate::dot::{Dot, Writer};
use crate::object::{Object, Sibling};
use crate::objects::Found;
use crate::stamp::Stamp;
use crate::table::{Content, FORMAT_MAX, Record};

const WRITE: u8 = 0;
const DELETE: u8 = 1;
const WIPE: u8 = 2;

const COUNTER: u8 = 1;
const EXPIRY: u8 = 2;

/// One event of a primary, as sent to the other replicas.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// The dot of the write.
    pub dot: Dot,
    /// Its time.
    pub stamp: Stamp,
    /// What the event does.
    pub event: Event<'a>,
    /// The dots that its writer had seen and the event overwrites, without the event's own dot.
    pub context: ClockBytes<'a>,
}

/// What an event does.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Overwrites everything of the key that its context has seen.
    Write {
        /// The key.
        key: &'a [u8],
        /// The new value.
        record: Record<'a>,
    },
    /// Removes everything of the key that its context has seen.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// Removes everything of the whole shard that its context has seen.
    Wipe,
}

impl<'a> Delta<'a> {
    /// The key of the event; none if it concerns the whole shard.
    pub fn key(&self) -> Option<&'a [u8]> {
        match self.event {
            Event::Write { key, .. } | Event::Delete { key } => Some(key),
            Event::Wipe => None,
        }
    }

    /// Takes one delta from `reader`.
    pub fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = reader.u8()?;
        let dot = reader.dot()?;
        let stamp = Stamp(reader.u64()?);
        let event = match kind {
            WRITE => Event::Write {
                key: reader.bytes()?,
                record: take_record(reader, dot)?,
            },
            DELETE => Event::Delete { key: reader.bytes()? },
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

/// Appends a write without its context, which the caller appends.
pub(crate) fn put_write(out: &mut Vec<u8>, key: &[u8], record: &Record<'_>) {
    put_head(out, WRITE, record.dot, record.stamp);
    put_bytes(out, key);
    put_record(out, record);
}

/// Appends a delete without its context.
pub(crate) fn put_delete(out: &mut Vec<u8>, key: &[u8], dot: Dot, stamp: Stamp) {
    put_head(out, DELETE, dot, stamp);
    put_bytes(out, key);
}

/// Appends a wipe without its context.
pub(crate) fn put_wipe(out: &mut Vec<u8>, dot: Dot, stamp: Stamp) {
    put_head(out, WIPE, dot, stamp);
}

fn put_head(out: &mut Vec<u8>, kind: u8, dot: Dot, stamp: Stamp) {
    out.push(kind);
    put_dot(out, dot);
    out.extend_from_slice(&stamp.0.to_le_bytes());
}

/// The content of a key, as sent.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    /// Sorted by dot.
    pub(crate) siblings: SmallVec<[Record<'a>; 1]>,
    pub(crate) context: Clock,
}

impl<'a> Entry<'a> {
    /// Takes one entry from `reader`.
    pub(crate) fn take(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let key = reader.bytes()?;
        let mut siblings: SmallVec<[Record<'a>; 1]> = SmallVec::new();
        for _ in 0..reader.varint()? {
            let dot = reader.dot()?;
            if siblings.last().is_some_and(|before| before.dot >= dot) {
                return Err(Malformed("siblings not sorted by dot"));
            }
            siblings.push(take_record(reader, dot)?);
        }
        let context = Clock::decode(reader)?;
        Ok(Self { key, siblings, context })
    }

    /// The entry as an owned object.
    pub(crate) fn into_object(self) -> Object {
        let siblings = self.siblings.iter().map(Sibling::from).collect();
        Object {
            siblings,
            context: self.context,
        }
    }
}

/// Appends the content of `key` as an entry.
pub(crate) fn put_entry(out: &mut Vec<u8>, key: &[u8], held: Option<Found<'_>>) {
    put_bytes(out, key);
    match held {
        None => {
            put_varint(out, 0);
            encode_span(out, Writer(0), None);
        }
        Some(Found::Simple(record)) => {
            put_varint(out, 1);
            put_dot(out, record.dot);
            put_record(out, &record);
            encode_span(out, Writer(0), None);
        }
        Some(Found::Aside(object)) => {
            put_varint(out, object.siblings.len() as u64);
            for record in object.siblings.iter().map(Sibling::record) {
                put_dot(out, record.dot);
                put_record(out, &record);
            }
            object.context.encode(out);
        }
    }
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
            put_amount(out, amount);
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
            amount: reader.amount()?,
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
