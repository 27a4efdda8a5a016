//! Replies as bytes, for the node that forwarded the requests.
//!
//! One tag per token, depth first, as [`Replies::tokens`] gives them. The decoder checks that the tokens are complete
//! values, since [`Replies::fill_each`] relies on it.

use alloc::vec::Vec;
use wire::reply::{ErrorKind, Replies, Reply};

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

/// Appends `replies`, which are complete. What no shard command answers (pushes, verbatim text) becomes plain bytes.
pub fn encode(out: &mut Vec<u8>, replies: &Replies) {
    for token in replies.tokens() {
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
}

/// Reads what [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Replies, Malformed> {
    let mut input = Reader::new(bytes);
    let mut replies = Replies::new();
    // Values still to come in the aggregates that are open.
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

/// Reads one token and gives the number of values that belong to it.
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

/// A count of members of `size` values each. A value takes a byte at least, so more than there are bytes is a lie.
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
