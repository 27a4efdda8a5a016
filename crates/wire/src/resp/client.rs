//! The client's side of RESP: it writes requests, and reads replies of both versions.
//!
//! [`skip`] only finds where a reply ends, which is enough for a load generator. [`Decoder`] returns [`Value`]s. It
//! keeps its place in an unfinished reply, so the work is linear in the bytes wherever the reads split them.
//!
//! A count alone tells where a reply ends, without a stack: each value read lowers it by one, and each aggregate raises
//! it by the number in its header.

use crate::decimal;
use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

/// How deep values may be nested.
pub const DEPTH_MAX: usize = 64;

/// Most bytes of a line, which is a status, an error or a number.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Most bytes of one whole reply.
pub const REPLY_BYTES_MAX: usize = 1 << 30;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A status, such as `OK`.
    Status(String),
    /// An error: its whole text.
    Error(String),
    /// An integer.
    Int(i64),
    /// A float.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// An integer of any size, in decimal.
    Big(String),
    /// No value.
    Null,
    /// Bytes.
    Bulk(Vec<u8>),
    /// Text for people: its format and the text.
    Verbatim([u8; 3], Vec<u8>),
    /// Values.
    Array(Vec<Value>),
    /// Pairs.
    Map(Vec<(Value, Value)>),
    /// Values, all different.
    Set(Vec<Value>),
    /// Values that no request asked for.
    Push(Vec<Value>),
    /// Pairs that describe a value, and the value.
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

/// Bytes that are not RESP, or a reply beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No value begins with this byte.
    Tag(u8),
    /// A malformed number, length or line.
    Line,
    /// A value does not end where its length says.
    Length,
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// A line or a reply beyond [`LINE_BYTES_MAX`] or [`REPLY_BYTES_MAX`].
    TooLarge,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "no reply begins with '{}'", tag.escape_ascii()),
            Self::Line => f.write_str("a line of a reply is malformed"),
            Self::Length => f.write_str("a value does not end where its length says"),
            Self::TooDeep => f.write_str("a reply is nested too deep"),
            Self::TooLarge => f.write_str("a reply is too large"),
        }
    }
}

impl core::error::Error for Malformed {}

/// Appends a request.
pub fn write_request(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.push(b'*');
    decimal::write_len(out, args.len());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        decimal::write_len(out, arg.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// How many bytes the reply at the start of `bytes` takes; `None` if it is not complete.
///
/// # Errors
/// The bytes are not a reply.
#[inline]
pub fn skip(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    if let [b'+', b'O', b'K', b'\r', b'\n', ..] = bytes {
        return Ok(Some(5));
    }
    let mut walk = Walk::default();
    Ok(walk.run(bytes)?.then_some(walk.at))
}

/// Reads replies from bytes that arrive in pieces.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the next reply begins.
    start: usize,
    /// How far it was walked, counted from `start`.
    walk: Walk,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// The buffer to which a reader appends bytes. Replies already taken are dropped first.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer.drain(..self.start);
        self.start = 0;
        &mut self.buffer
    }

    /// Appends bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer().extend_from_slice(bytes);
    }

    /// The next reply, if it is complete.
    ///
    /// # Errors
    /// The next bytes are not a reply. The connection cannot be used any more.
    pub fn next_value(&mut self) -> Result<Option<Value>, Malformed> {
        let bytes = &self.buffer[self.start..];
        if !self.walk.run(bytes)? {
            return Ok(None);
        }
        let end = self.walk.at;
        let mut reader = Reader {
            bytes: &bytes[..end],
            at: 0,
        };
        let value = reader.value(DEPTH_MAX)?;
        self.start += end;
        self.walk = Walk::default();
        Ok(Some(value))
    }
}

/// A walk through one reply. It stops at the end of the bytes, and goes on when more have come.
#[derive(Clone, Copy, Debug)]
struct Walk {
    /// Where the next value begins; at the end, where the reply ends.
    at: usize,
    /// Values still to come.
    left: usize,
    /// The bytes from `at` to here have no line end.
    searched: usize,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            at: 0,
            left: 1,
            searched: 0,
        }
    }
}

impl Walk {
    /// Reads on in `bytes`. Returns whether it reached the end of the reply.
    fn run(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        while self.left > 0 {
            let Some((line, next)) = self.line(bytes)? else {
                return Ok(false);
            };
            let (end, more) = match Header::of(line)? {
                Header::Line => (next, 0),
                Header::Bytes(len) => {
                    let end = next.saturating_add(len).saturating_add(2);
                    if end > REPLY_BYTES_MAX {
                        return Err(Malformed::TooLarge);
                    }
                    match bytes.get(end - 2..end) {
                        None => return Ok(false),
                        Some(b"\r\n") => (end, 0),
                        Some(_) => return Err(Malformed::Length),
                    }
                }
                Header::Values(count) => (next, count),
                Header::Pairs(count) => (next, count.saturating_mul(2)),
                // The value that has these attributes is still to come.
                Header::Attributes(count) => (next, count.saturating_mul(2).saturating_add(1)),
            };
            // Each value takes at least three bytes.
            self.left = (self.left - 1).saturating_add(more);
            if self.left > REPLY_BYTES_MAX / 3 || end > REPLY_BYTES_MAX {
                return Err(Malformed::TooLarge);
            }
            self.at = end;
        }
        Ok(true)
    }

    /// The line at `at` without its line end, and where the next one begins.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<(&'a [u8], usize)>, Malformed> {
        let from = self.searched.max(self.at);
        let found = memchr::memchr(b'\r', &bytes[from..]);
        let end = found.map_or(bytes.len(), |found| from + found);
        self.searched = end;
        if end - self.at > LINE_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        match bytes.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((&bytes[self.at..end], end + 2))),
            Some(_) => Err(Malformed::Line),
        }
    }
}

/// What the first line of a value says about the bytes behind it.
enum Header {
    /// No bytes: the value ends with its line.
    Line,
    /// This many bytes and a line end.
    Bytes(usize),
    /// This many values.
    Values(usize),
    /// This many pairs of values.
    Pairs(usize),
    /// This many pairs of values, and the value that they describe.
    Attributes(usize),
}

impl Header {
    #[inline]
    fn of(line: &[u8]) -> Result<Self, Malformed> {
        let Some((&tag, rest)) = line.split_first() else {
            return Err(Malformed::Line);
        };
        match tag {
            b'+' | b'-' | b':' | b',' | b'#' | b'(' | b'_' => Ok(Self::Line),
            b'$' | b'*' if rest == b"-1" => Ok(Self::Line),
            b'$' | b'=' | b'!' => Ok(Self::Bytes(length(rest)?)),
            b'*' | b'~' | b'>' => Ok(Self::Values(length(rest)?)),
            b'%' => Ok(Self::Pairs(length(rest)?)),
            b'|' => Ok(Self::Attributes(length(rest)?)),
            _ => Err(Malformed::Tag(tag)),
        }
    }
}

#[inline]
fn length(text: &[u8]) -> Result<usize, Malformed> {
    decimal::parse(text)
        .and_then(|len| usize::try_from(len).ok())
        .ok_or(Malformed::Line)
}

/// Builds the value of a reply that a [`Walk`] found complete.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::TooDeep)?;
        let line = self.line()?;
        let Some((&tag, rest)) = line.split_first() else {
            return Err(Malformed::Line);
        };
        Ok(match Header::of(line)? {
            Header::Line => scalar(tag, rest)?,
            Header::Bytes(len) => blob(tag, self.bytes(len)?)?,
            Header::Values(count) => {
                let values = self.values(count, depth)?;
                match tag {
                    b'~' => Value::Set(values),
                    b'>' => Value::Push(values),
                    _ => Value::Array(values),
                }
            }
            Header::Pairs(count) => Value::Map(self.pairs(count, depth)?),
            Header::Attributes(count) => Value::Attributed(self.pairs(count, depth)?, Box::new(self.value(depth)?)),
        })
    }

    fn values(&mut self, count: usize, depth: usize) -> Result<Vec<Value>, Malformed> {
        (0..count).map(|_| self.value(depth)).collect()
    }

    fn pairs(&mut self, count: usize, depth: usize) -> Result<Vec<(Value, Value)>, Malformed> {
        (0..count)
            .map(|_| Ok((self.value(depth)?, self.value(depth)?)))
            .collect()
    }

    fn line(&mut self) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(Malformed::Line)?;
        let end = memchr::memchr(b'\r', rest).ok_or(Malformed::Line)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..len))
            .ok_or(Malformed::Length)?;
        self.at += len + 2;
        Ok(bytes)
    }
}

/// A value that consists of its line.
fn scalar(tag: u8, text: &[u8]) -> Result<Value, Malformed> {
    Ok(match (tag, text) {
        (b'+', text) => Value::Status(string(text)),
        (b'-', text) => Value::Error(string(text)),
        (b':', text) => Value::Int(decimal::parse(text).ok_or(Malformed::Line)?),
        (b',', text) => Value::Double(double(text).ok_or(Malformed::Line)?),
        (b'#', b"t") => Value::Bool(true),
        (b'#', b"f") => Value::Bool(false),
        (b'(', text) => Value::Big(big(text).ok_or(Malformed::Line)?),
        (b'_', b"") | (b'$' | b'*', b"-1") => Value::Null,
        _ => return Err(Malformed::Line),
    })
}

/// A value of this many bytes.
fn blob(tag: u8, bytes: &[u8]) -> Result<Value, Malformed> {
    match (tag, bytes) {
        (b'=', &[a, b, c, b':', ref text @ ..]) => Ok(Value::Verbatim([a, b, c], text.to_vec())),
        (b'=', _) => Err(Malformed::Length),
        (b'!', text) => Ok(Value::Error(string(text))),
        (_, bytes) => Ok(Value::Bulk(bytes.to_vec())),
    }
}

fn string(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn double(text: &[u8]) -> Option<f64> {
    str::from_utf8(text).ok()?.parse().ok()
}

fn big(text: &[u8]) -> Option<String> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let good = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    good.then(|| string(text))
}
