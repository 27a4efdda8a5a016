//! [`encode`]: replies as RESP2 or RESP3.
//!
//! RESP2 lacks some types. They are shown as Redis shows them: maps, sets and pushes as arrays, doubles and texts as
//! bulk strings, booleans as integers, nulls as a bulk string or an array of length -1.

use crate::{
    decimal,
    reply::{ErrorKind, Protocol, Replies, Reply},
};
use alloc::vec::Vec;

/// Appends all of `replies`, beginning in `protocol`. Returns the version for the next batch, since a `HELLO` in this
/// one may have changed it.
///
/// # Panics
/// If a reply is still to come ([`Replies::is_complete`]).
pub fn encode(replies: &Replies, mut protocol: Protocol, out: &mut Vec<u8>) -> Protocol {
    assert!(replies.is_complete(), "a batch is answered once it is complete");
    let mut tokens = replies.tokens();
    while let Some(token) = tokens.next() {
        protocol = tokens.take_switch().unwrap_or(protocol);
        encode_token(token, protocol, out);
    }
    tokens.take_switch().unwrap_or(protocol)
}

#[inline]
fn encode_token(token: Reply<'_>, protocol: Protocol, out: &mut Vec<u8>) {
    let resp3 = protocol == Protocol::Resp3;
    match token {
        Reply::Ok => out.extend_from_slice(b"+OK\r\n"),
        Reply::Status(text) => line(out, b'+', text),
        Reply::Error(kind, text) => error(out, kind, text),
        Reply::Int(number) => int(out, number),
        Reply::Double(number) => double(out, number, resp3),
        Reply::Bool(true) => out.extend_from_slice(if resp3 { b"#t\r\n" } else { b":1\r\n" }),
        Reply::Bool(false) => out.extend_from_slice(if resp3 { b"#f\r\n" } else { b":0\r\n" }),
        Reply::Null if resp3 => out.extend_from_slice(b"_\r\n"),
        Reply::Null => out.extend_from_slice(b"$-1\r\n"),
        Reply::NullArray if resp3 => out.extend_from_slice(b"_\r\n"),
        Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
        Reply::Bulk(bytes) => bulk(out, bytes),
        Reply::Verbatim { format, text } if resp3 => {
            header(out, b'=', format.len() + 1 + text.len());
            out.extend_from_slice(format);
            out.push(b':');
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Verbatim { text, .. } => bulk(out, text),
        Reply::Array(count) => header(out, b'*', count),
        Reply::Map(count) if resp3 => header(out, b'%', count),
        Reply::Set(count) if resp3 => header(out, b'~', count),
        Reply::Push(count) if resp3 => header(out, b'>', count),
        Reply::Map(_) | Reply::Set(_) | Reply::Push(_) => header(out, b'*', token.children()),
        Reply::NoReply => {}
        Reply::Later => unreachable!("all replies are complete"),
    }
}

#[inline]
fn header(out: &mut Vec<u8>, tag: u8, count: usize) {
    out.push(tag);
    decimal::write_len(out, count);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    // Reserves once for the whole value: the header and both line ends take at most 23 bytes.
    out.reserve(bytes.len() + 32);
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn int(out: &mut Vec<u8>, number: i64) {
    out.push(b':');
    decimal::write_int(out, number);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cold]
fn error(out: &mut Vec<u8>, kind: ErrorKind, text: &str) {
    out.push(b'-');
    out.extend_from_slice(kind.word().as_bytes());
    if !text.is_empty() && !kind.word().is_empty() {
        out.push(b' ');
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn double(out: &mut Vec<u8>, number: f64, resp3: bool) {
    if resp3 {
        out.push(b',');
        decimal::write_double(out, number);
        out.extend_from_slice(b"\r\n");
    } else {
        let mut text = Vec::with_capacity(24);
        decimal::write_double(&mut text, number);
        bulk(out, &text);
    }
}
