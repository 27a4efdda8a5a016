//! Encodes replies for the node that forwarded the requests.
//!
//! One tag for each token, depth first, in the order of [`Replies::tokens`]. The decoder checks that the tokens are
//! complete values, since [`Replies::fill_each`] relies on it.

use alloc::vec::Vec;
use core::mem;
use wire::reply::{ErrorKind, Replies, Reply, Tokens};

use crate::codec::{Malformed, Reader, put_bytes, put_signed, put_varint};

const OK: u8 = 0;
const STATUS: u8 = 1;
const ERROR: u8 = 2;
const INT: u8 = 3;
const DOUBLE: u8 = 4;
const BOOL: u8 = 5;
const NULL: u8 = 6;
const NULL_ARRAY: u8 = 7;
const BULK: u8 = 8;
const ARRAY: u8 = 9;
const MAP: u8 = 10;
const SET: u8 = 11;
const NO_REPLY: u8 = 12;

/// Replies with more bytes than this are sent in pieces.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// Largest reply that can be sent, in bytes. A value of any size fits, and `node::Limits` allows it.
const REPLY_BYTES_MAX: usize = 68 << 20;

/// The error text in place of replies that are too large.
pub(crate) const TOO_LARGE: &str = "the replies are too large to be gathered (max-buffers): ask for fewer keys at once";

/// Splits `replies` into pieces for sending, and passes each to `each` with whether another piece follows. A piece has
/// at most [`PIECE_BYTES`], or is a single reply. A reply that is too large to be sent becomes an error.
pub(crate) fn pieces(replies: &Replies, mut each: impl FnMut(Vec<u8>, bool)) {
    let mut tokens = replies.tokens();
    let mut piece = Vec::new();
    let mut start = 0;
    while encode_value(&mut piece, &mut tokens) {
        if piece.len() - start > REPLY_BYTES_MAX {
            piece.truncate(start);
            encode_token(&mut piece, Reply::Error(ErrorKind::Oom, TOO_LARGE));
        }
        if piece.len() > PIECE_BYTES && start > 0 {
            let last = piece.split_off(start);
            each(mem::replace(&mut piece, last), true);
        }
        start = piece.len();
    }
    each(piece, false);
}

/// Appends `replies`, which must be complete.
pub fn encode(out: &mut Vec<u8>, replies: &Replies) {
    let mut tokens = replies.tokens();
    while encode_value(out, &mut tokens) {}
}

/// Appends the next value of `tokens`. Returns false if there is none.
fn encode_value(out: &mut Vec<u8>, tokens: &mut Tokens<'_>) -> bool {
    let Some(first) = tokens.next() else { return false };
    let mut values = first.children();
    encode_token(out, first);
    while values > 0
        && let Some(token) = tokens.next()
    {
        values += token.children();
        values -= 1;
        encode_token(out, token);
    }
    true
}

/// Tokens that no shard command replies with (pushes, verbatim text) become plain bytes.
fn encode_token(out: &mut Vec<u8>, token: Reply<'_>) {
    let mut counted = |tag, count: usize| {
        out.push(tag);
        put_varint(out, count as u64);
    };
    match token {
        Reply::Ok => out.push(OK),
        Reply::Array(count) | Reply::Push(count) => counted(ARRAY, count),
        Reply::Map(count) => counted(MAP, count),
        Reply::Set(count) => counted(SET, count),
        Reply::Status(text) => {
            out.push(STATUS);
            put_bytes(out, text.as_bytes());
        }
        Reply::Error(kind, text) => {
            let number = ErrorKind::ALL.iter().position(|other| *other == kind);
            out.extend([ERROR, number.expect("ALL has every kind") as u8]);
            put_bytes(out, text.as_bytes());
        }
        Reply::Int(number) => {
            out.push(INT);
            put_signed(out, number);
        }
        Reply::Double(number) => {
            out.push(DOUBLE);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Reply::Bool(value) => out.extend([BOOL, u8::from(value)]),
        Reply::Null => out.push(NULL),
        Reply::NullArray => out.push(NULL_ARRAY),
        Reply::Bulk(bytes) | Reply::Verbatim { text: bytes, .. } => {
            out.push(BULK);
            put_bytes(out, bytes);
        }
        Reply::NoReply | Reply::Later => out.push(NO_REPLY),
    }
}

/// Decodes what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Replies, Malformed> {
    let mut input = Reader::new(bytes);
    let mut replies = Replies::new();
    // Values that the open aggregates still lack.
    let mut missing = 0usize;
    while !input.is_empty() {
        missing = missing.saturating_sub(1) + value(&mut input, &mut replies)?;
    }
    if missing == 0 {
        Ok(replies)
    } else {
        Err(Malformed("an unfinished reply"))
    }
}

/// Reads one token, and returns the number of values that belong to it.
fn value(input: &mut Reader<'_>, replies: &mut Replies) -> Result<usize, Malformed> {
    match input.u8()? {
        OK => replies.ok(),
        STATUS => replies.status(text(input.bytes()?)?),
        ERROR => {
            let kind = ErrorKind::ALL
                .get(usize::from(input.u8()?))
                .ok_or(Malformed("unknown error"))?;
            replies.error(*kind, text(input.bytes()?)?);
        }
        INT => replies.int(input.signed()?),
        DOUBLE => replies.double(f64::from_bits(input.u64()?)),
        BOOL => replies.boolean(input.u8()? != 0),
        NULL => replies.null(),
        NULL_ARRAY => replies.null_array(),
        BULK => replies.bulk(input.bytes()?),
        NO_REPLY => replies.no_reply(),
        ARRAY => {
            let count = count(input, 1)?;
            replies.array(count);
            return Ok(count);
        }
        SET => {
            let count = count(input, 1)?;
            replies.set(count);
            return Ok(count);
        }
        MAP => {
            let count = count(input, 2)?;
            replies.map(count);
            return Ok(count * 2);
        }
        _ => return Err(Malformed("unknown reply")),
    }
    Ok(0)
}

/// Reads a count of members of `size` values each. A value takes at least one byte, so a count larger than the rest is
/// false.
fn count(input: &mut Reader<'_>, size: usize) -> Result<usize, Malformed> {
    let count = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
    let fits = count
        .checked_mul(size)
        .is_some_and(|values| values <= input.rest().len());
    if fits {
        Ok(count)
    } else {
        Err(Malformed("values beyond the end"))
    }
}

fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    core::str::from_utf8(bytes).map_err(|_| Malformed("text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Replies {
        let mut replies = Replies::new();
        replies.ok();
        replies.array(3);
        replies.int(-7);
        replies.null();
        replies.map(1);
        replies.bulk(b"k");
        replies.double(1.5);
        replies.error(ErrorKind::NoNodes, "gone");
        replies.null_array();
        replies.boolean(true);
        replies
    }

    #[test]
    fn replies_come_back_as_they_were() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &sample());
        let back = decode(&bytes).expect("just written");
        assert!(back.tokens().eq(sample().tokens()));
    }

    fn in_pieces(replies: &Replies) -> Vec<(usize, bool)> {
        let (mut found, mut back) = (Vec::new(), Replies::new());
        pieces(replies, |piece, follows| {
            let piece = decode(&piece).expect("just written");
            found.push((piece.count(), follows));
            back.append(&piece);
        });
        assert_eq!(back.count(), replies.count());
        found
    }

    #[test]
    fn pieces_are_small_or_one_reply() {
        assert_eq!(in_pieces(&sample()), [(5, false)]);
        let mut replies = sample();
        replies.array(2);
        replies.bulk(&alloc::vec![0; PIECE_BYTES]);
        replies.int(1);
        replies.int(2);
        for _ in 0..3 {
            replies.bulk(&alloc::vec![0; PIECE_BYTES / 2 - 10]);
        }
        assert_eq!(in_pieces(&replies), [(5, true), (1, true), (3, true), (1, false)]);
    }

    #[test]
    fn only_the_reply_that_is_too_large_becomes_an_error() {
        let mut replies = Replies::new();
        replies.ok();
        replies.bulk(&alloc::vec![0; REPLY_BYTES_MAX]);
        replies.int(7);
        let mut bytes = Vec::new();
        pieces(&replies, |piece, _| bytes.extend(piece));
        let back = decode(&bytes).expect("just written");
        let expected = [Reply::Ok, Reply::Error(ErrorKind::Oom, TOO_LARGE), Reply::Int(7)];
        assert!(back.tokens().eq(expected));
    }

    #[test]
    fn half_a_value_is_refused() {
        let mut bytes = Vec::new();
        let mut replies = Replies::new();
        replies.array(2);
        replies.int(1);
        replies.int(2);
        encode(&mut bytes, &replies);
        assert!(decode(&bytes[..bytes.len() - 2]).is_err());
        assert!(decode(&[ARRAY, 200, 1]).is_err());
    }

    proptest! {
        #[test]
        fn junk_is_refused_or_whole(junk: Vec<u8>) {
            if let Ok(replies) = decode(&junk) {
                prop_assert!(replies.count() <= junk.len());
            }
        }
    }
}
