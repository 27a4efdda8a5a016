//! The codec tested with itself: any bytes, split at any place.

use super::{client::*, *};
use crate::{reply::Replies, request::Batch};
use alloc::{boxed::Box, string::String, vec::Vec};
use proptest::prelude::*;
use std::{panic::catch_unwind, string::ToString, vec};

type Requests = Vec<Vec<Vec<u8>>>;

/// The result of a stream: its requests, then the error that ended it, if any.
type Outcome = (Requests, Option<ProtocolError>);

const LIMITS: Limits = Limits {
    args_max: 1 << 20,
    bulk_bytes_max: 64 << 20,
    line_bytes_max: 64 << 10,
    request_bytes_max: 512 << 20,
    authenticated: true,
};

/// Parses `stream` as it arrives in `pieces`, like a connection: complete requests are taken away at once.
fn parse_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    let (requests, refused, error) = parse_all(pieces, limits);
    assert!(refused.is_empty(), "{refused:?}");
    (requests, error)
}

/// The same, with the requests that are too large: each with the number of requests before it.
fn parse_all<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> (Requests, Vec<(usize, TooLarge)>, Option<ProtocolError>) {
    let mut parser = Parser::new();
    let mut batch = Batch::new();
    let (mut requests, mut refusals) = (Requests::new(), Vec::new());
    for piece in pieces {
        batch.buffer.extend_from_slice(piece);
        loop {
            let parsed = parser.parse(&mut batch, limits);
            let taken = batch.requests().map(|args| args.iter().map(<[u8]>::to_vec).collect());
            requests.extend(taken);
            let refused = match parsed {
                Err(error) => return (requests, refusals, Some(error)),
                Ok(progress) => {
                    assert_eq!(progress.requests, batch.len());
                    progress.refused
                }
            };
            if !batch.is_empty() {
                let mut next = Batch::new();
                parser.split_tail(&mut batch, &mut next);
                batch = next;
            }
            let Some(why) = refused else { break };
            refusals.push((requests.len(), why));
        }
    }
    (requests, refusals, None)
}

fn parse(stream: &[u8]) -> Outcome {
    parse_pieces([stream], &LIMITS)
}

/// The pieces of `stream` between `cuts`.
fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| &stream[core::mem::replace(&mut start, end)..end])
        .collect()
}

fn words(requests: &[&[&str]]) -> Requests {
    let request = |words: &&[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
    requests.iter().map(request).collect()
}

fn write(requests: &Requests) -> Vec<u8> {
    let mut stream = Vec::new();
    for request in requests {
        write_request(&mut stream, &request.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    stream
}

const STREAM: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$12\r\n0123456789\r\n\r\n*0\r\n\r\n*-1\r\nping\r\n\
    *1\r\n$4\r\nPING\r\n get  'a b' \"\\x41\"\n*2\r\n$0\r\n\r\n$1\r\n*\r\n";

fn stream_requests() -> Requests {
    words(&[
        &["SET", "k", "0123456789\r\n"],
        &["ping"],
        &["PING"],
        &["get", "a b", "A"],
        &["", "*"],
    ])
}

/// Splits [`STREAM`] at every two places, and expects `expected` each time.
fn check_every_cut(stream: &[u8], expected: &Outcome) {
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let pieces = cut(stream, &[first, second]);
            assert_eq!(&parse_pieces(pieces, &LIMITS), expected, "cut at {first} and {second}");
        }
    }
    assert_eq!(&parse_pieces(stream.chunks(1), &LIMITS), expected, "byte by byte");
}

#[test]
fn a_stream_gives_the_same_requests_wherever_it_is_split() {
    check_every_cut(STREAM, &(stream_requests(), None));
}

#[test]
fn the_check_of_splits_sees_a_changed_byte() {
    for (index, byte) in [(3, b'4'), (14, b'Z'), (45, b'+')] {
        let mut broken = STREAM.to_vec();
        assert_ne!(core::mem::replace(&mut broken[index], byte), byte);
        let outcome = catch_unwind(|| check_every_cut(&broken, &(stream_requests(), None)));
        assert!(outcome.is_err(), "byte {index}");
    }
}

#[test]
fn protocol_errors_have_the_texts_of_redis() {
    let long = "x".repeat((64 << 10) + 1);
    let cases = [
        ("*x\r\n", "invalid multibulk length"),
        ("*01\r\n", "invalid multibulk length"),
        ("*+1\r\n", "invalid multibulk length"),
        ("*\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        (
            "*1048577\r\n",
            "invalid multibulk length: a request has 1048576 arguments at most",
        ),
        ("*99999999999999999999\r\n", "invalid multibulk length"),
        ("*1\rx", "invalid multibulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\n\r\n", "expected '$', got '\r'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$x\r\n", "invalid bulk length"),
        ("*1\r\n$\r\n", "invalid bulk length"),
        ("*1\r\n$007\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("*1\r\n$4294967296\r\n", "invalid bulk length"),
        ("*1\r\n$1\r\nabc", "invalid bulk length"),
        ("*1\r\n$1\rx", "invalid bulk length"),
        ("set \"a\r\n", "unbalanced quotes in request"),
        ("'a'b\r\n", "unbalanced quotes in request"),
        (&std::format!("*{long}"), "too big mbulk count string"),
        (&std::format!("*1\r\n${long}"), "too big bulk count string"),
        ("POST / HTTP/1.1\r\n", "this is HTTP, for which there is another port"),
        ("host: a\r\n", "this is HTTP, for which there is another port"),
        (&long, "too big inline request"),
        (&std::format!("{long}\n"), "too big inline request"),
    ];
    for (stream, text) in cases {
        let stream = [b"*1\r\n$4\r\nPING\r\n", stream.as_bytes()].concat();
        let (requests, error) = parse(&stream);
        assert_eq!(requests, words(&[&["PING"]]), "what is in front is kept");
        let error = error.unwrap_or_else(|| panic!("{text}"));
        assert_eq!(error.to_string(), std::format!("Protocol error: {text}"));
        assert_eq!(parse_pieces(stream.chunks(1000), &LIMITS).1, Some(error));
    }
}

#[test]
fn a_request_at_the_limit_is_accepted() {
    let value = vec![b'v'; 1 << 20];
    let requests = vec![vec![b"SET".to_vec(), value], vec![Vec::new(); 1 << 20]];
    assert_eq!(parse(&write(&requests)), (requests, None));
    let line = "x".repeat(64 << 10);
    assert_eq!(parse((line.clone() + "\n").as_bytes()), (words(&[&[&line]]), None));
}

/// Limits that short streams exceed.
const SHORT: Limits = Limits {
    bulk_bytes_max: 50,
    request_bytes_max: 100,
    ..LIMITS
};

const ARGUMENT: TooLarge = TooLarge::Argument(50);
const REQUEST: TooLarge = TooLarge::Request(100);

#[test]
fn a_request_that_is_too_large_is_skipped() {
    let ping = || vec![b"PING".to_vec()];
    let set = |bytes| vec![b"SET".to_vec(), vec![b'v'; bytes], b"EX".to_vec(), b"1".to_vec()];
    let many = vec![vec![b'a'; 8]; 14];
    for (stream, refusals) in [
        (vec![ping(), set(51), ping()], vec![(1, ARGUMENT)]),
        (
            vec![ping(), set(51), set(20_000), ping()],
            vec![(1, ARGUMENT), (1, ARGUMENT)],
        ),
        (
            vec![vec![vec![b'a'; 60]; 3], ping(), many, ping()],
            vec![(0, ARGUMENT), (1, REQUEST)],
        ),
        (vec![vec![vec![b'a'; 50]; 3], ping()], vec![(0, REQUEST)]),
    ] {
        let bytes = write(&stream);
        let expected: Requests = stream.into_iter().filter(|request| *request == ping()).collect();
        for size in [1, 2, 3, 7, 50] {
            let (requests, refused, error) = parse_all(bytes.chunks(size), &SHORT);
            assert_eq!((requests, error), (expected.clone(), None), "{size}");
            assert_eq!(refused, refusals, "{size}");
        }
    }
}

#[test]
fn the_bytes_of_a_skipped_request_are_not_kept() {
    let (mut parser, mut batch) = (Parser::new(), Batch::new());
    batch
        .buffer
        .extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\n");
    let progress = parser.parse(&mut batch, &SHORT).unwrap();
    assert_eq!((progress.refused, batch.len()), (Some(TooLarge::Argument(50)), 0));
    for _ in 0..1000 {
        batch.buffer.extend_from_slice(&[b'v'; 1000]);
        let progress = parser.parse(&mut batch, &SHORT).unwrap();
        assert!(progress.refused.is_none() && batch.buffer.is_empty());
        assert!((1..20_000).contains(&progress.missing), "{}", progress.missing);
    }
    batch.buffer.extend_from_slice(b"\r\nPING\r\n");
    assert_eq!(parser.parse(&mut batch, &SHORT).unwrap().requests, 1);
}

#[test]
fn a_skipped_request_with_a_wrong_length_is_a_protocol_error() {
    for stream in ["*2\r\n$51\r\n", "*2\r\n$60\r\n"] {
        let stream = [stream.as_bytes(), &[b'a'; 55], b"\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n"].concat();
        let (requests, _, error) = parse_all(stream.chunks(5), &SHORT);
        assert!(requests.is_empty());
        assert_eq!(error, Some(ProtocolError::InvalidBulkLength));
    }
}

#[test]
fn an_unauthenticated_client_has_lower_limits() {
    let limits = Limits::BEFORE_AUTH;
    let refused = |stream: &str| parse_pieces([stream.as_bytes()], &limits).1.unwrap().to_string();
    assert_eq!(refused("*11\r\n"), "Protocol error: unauthenticated multibulk length");
    assert_eq!(
        refused("*1\r\n$16385\r\n"),
        "Protocol error: unauthenticated bulk length"
    );
    assert_eq!(refused("*x\r\n"), "Protocol error: invalid multibulk length");
    let largest = vec![vec![vec![0; 16 << 10]; 10]];
    assert_eq!(parse_pieces([&write(&largest)[..]], &limits), (largest, None));
}

#[test]
fn a_large_request_behind_auth_waits_for_it() {
    let large: Requests = vec![vec![b"SET".to_vec(), b"k".to_vec(), vec![b'v'; 20_000]]];
    let many = vec![vec![b"DEL".to_vec(); 11]];
    for requests in [large, many] {
        let mut batch = Batch::new();
        let mut parser = Parser::new();
        batch.buffer.extend_from_slice(b"AUTH secret\r\n");
        batch.buffer.extend_from_slice(&write(&requests));
        let progress = parser.parse(&mut batch, &Limits::BEFORE_AUTH).unwrap();
        assert_eq!((progress.requests, progress.blocked), (1, true));
        let mut next = Batch::new();
        parser.split_tail(&mut batch, &mut next);
        let mut refused = (parser.clone(), Batch::new());
        refused.1.buffer.clone_from(&next.buffer);
        refused.1.args.clone_from(&next.args);
        assert!(refused.0.parse(&mut refused.1, &Limits::BEFORE_AUTH).is_err());
        let progress = parser.parse(&mut next, &LIMITS).unwrap();
        assert_eq!((progress.requests, progress.blocked), (1, false));
        assert!(next.request(0).iter().eq(requests[0].iter().map(Vec::as_slice)));
    }
}

#[test]
fn a_large_value_reports_how_many_bytes_are_missing() {
    let stream = write(&vec![vec![b"SET".to_vec(), b"k".to_vec(), vec![b'v'; 100_000]]]);
    let mut batch = Batch::new();
    let mut parser = Parser::new();
    let mut arrived = 0;
    for piece in stream.chunks(1460) {
        batch.buffer.extend_from_slice(piece);
        arrived += piece.len();
        let progress = parser.parse(&mut batch, &LIMITS).unwrap();
        assert_eq!(progress.missing, stream.len() - arrived);
    }
    assert_eq!(batch.len(), 1);
}

#[test]
fn the_missing_bytes_are_never_too_many() {
    for end in 0..STREAM.len() {
        let mut batch = Batch::new();
        batch.buffer.extend_from_slice(&STREAM[..end]);
        let mut parser = Parser::new();
        let progress = parser.parse(&mut batch, &LIMITS).unwrap();
        if progress.missing > 1 {
            batch.buffer.extend_from_slice(&STREAM[end..][..progress.missing - 1]);
            assert_eq!(
                parser.parse(&mut batch, &LIMITS).unwrap().requests,
                progress.requests,
                "{end}"
            );
        }
    }
}

#[test]
fn empty_lines_take_no_memory() {
    let mut batch = Batch::new();
    let mut parser = Parser::new();
    for _ in 0..10_000 {
        batch.buffer.extend_from_slice(b"\r\n\r\n*0\r\n*-1\r\n \t\n*");
        parser.parse(&mut batch, &LIMITS).unwrap();
        assert_eq!(batch.buffer, b"*");
        batch.buffer.extend_from_slice(b"0\r\n");
    }
    assert!(batch.is_empty() && batch.buffer.capacity() < 100);
}

fn requests() -> impl Strategy<Value = Requests> {
    let arg = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (0..20_000usize).prop_map(|len| vec![b'\r'; len]),
    ];
    prop::collection::vec(prop::collection::vec(arg, 1..12), 0..8)
}

fn junk() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "*",
            "$",
            "\r\n",
            "\r",
            "\n",
            "*1\r\n",
            "*2\r\n",
            "$1\r\n",
            "$3\r\n",
            "0",
            "1",
            "-1",
            "a",
            "+OK\r\n",
            ":1\r\n",
            "%1\r\n",
            "~1\r\n",
            "_\r\n",
            "|1\r\n",
            ",nan\r\n",
            "#t\r\n",
            "=5\r\n",
            "txt:a",
            "\"",
            "'",
            " ",
            "*1048576\r\n",
            "$67108864\r\n",
            "999999999",
            "(1\r\n",
            ">1\r\n",
            "!1\r\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn requests_read_back_wherever_they_are_split(requests in requests(), cuts: Vec<usize>) {
        let stream = write(&requests);
        prop_assert_eq!(parse_pieces(cut(&stream, &cuts), &LIMITS), (requests, None));
    }

    #[test]
    fn junk_gives_the_same_result_wherever_it_is_split(junk in junk(), cuts: Vec<usize>) {
        prop_assert_eq!(parse_pieces(cut(&junk, &cuts), &LIMITS), parse(&junk));
        prop_assert_eq!(parse_pieces(junk.chunks(1), &LIMITS), parse(&junk));
    }

    #[test]
    fn junk_replies_read_the_same_wherever_they_are_split(junk in junk(), cuts: Vec<usize>) {
        // Compared as text, since a NaN is not equal to itself.
        let cut = std::format!("{:?}", decode_pieces(cut(&junk, &cuts)));
        prop_assert_eq!(cut, std::format!("{:?}", decode_pieces([&junk[..]])));
    }

    #[test]
    fn values_read_back_in_both_versions(values in prop::collection::vec(value(), 0..5), cuts: Vec<usize>) {
        let mut replies = Replies::new();
        for value in &values {
            write_value(&mut replies, value);
        }
        let mut stream = Vec::new();
        prop_assert_eq!(encode(&replies, Protocol::Resp3, &mut stream), Protocol::Resp3);
        prop_assert_eq!(skip_all(&stream), values.len());
        prop_assert_eq!(decode_pieces(cut(&stream, &cuts)), (values.clone(), None));
        stream.clear();
        encode(&replies, Protocol::Resp2, &mut stream);
        let values = values.into_iter().map(resp2).collect();
        prop_assert_eq!(decode_pieces(cut(&stream, &cuts)), (values, None));
    }
}

/// All values of a stream that arrives in `pieces`, then its error, if any.
fn decode_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Value>, Option<Malformed>) {
    let mut decoder = Decoder::new();
    let mut values = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.next_value() {
                Ok(Some(value)) => values.push(value),
                Ok(None) => break,
                Err(error) => return (values, Some(error)),
            }
        }
    }
    (values, None)
}

fn skip_all(stream: &[u8]) -> usize {
    let mut rest = stream;
    let mut count = 0;
    while let Some(len) = skip(rest).unwrap() {
        for end in 0..len.min(40) {
            assert_eq!(skip(&rest[..end]), Ok(None));
        }
        rest = &rest[len..];
        count += 1;
    }
    assert!(rest.is_empty());
    count
}

/// Values that [`Replies`] can hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Status("OK".to_string())),
        "[a-z ]{0,9}".prop_map(Value::Status),
        "[a-z ]{1,9}".prop_map(|text| Value::Error("WRONGTYPE ".to_string() + &text)),
        any::<i64>().prop_map(Value::Int),
        any::<f64>()
            .prop_filter("equal to itself", |number| !number.is_nan())
            .prop_map(Value::Double),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        any::<Vec<u8>>().prop_map(Value::Bulk),
        any::<Vec<u8>>().prop_map(|text| Value::Verbatim(*b"txt", text)),
    ];
    leaf.prop_recursive(4, 30, 5, |value| {
        prop_oneof![
            prop::collection::vec(value.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec(value.clone(), 0..5).prop_map(Value::Set),
            prop::collection::vec(value.clone(), 0..5).prop_map(Value::Push),
            prop::collection::vec((value.clone(), value), 0..3).prop_map(Value::Map),
        ]
    })
}

fn write_value(replies: &mut Replies, value: &Value) {
    let write_all = |replies: &mut Replies, values: &[Value]| {
        values.iter().for_each(|value| write_value(replies, value));
    };
    match value {
        Value::Status(text) if text == "OK" => replies.ok(),
        Value::Status(text) => replies.status(text),
        Value::Error(text) => {
            let (kind, text) = crate::reply::ErrorKind::split(text);
            replies.error(kind, text);
        }
        Value::Int(number) => replies.int(*number),
        Value::Double(number) => replies.double(*number),
        Value::Bool(value) => replies.boolean(*value),
        Value::Null => replies.null(),
        Value::Bulk(bytes) => replies.bulk(bytes),
        Value::Verbatim(format, text) => replies.verbatim(format, text),
        Value::Array(values) => {
            replies.array(values.len());
            write_all(replies, values);
        }
        Value::Set(values) => {
            replies.set(values.len());
            write_all(replies, values);
        }
        Value::Push(values) => {
            replies.push(values.len());
            write_all(replies, values);
        }
        Value::Map(pairs) => {
            replies.map(pairs.len());
            for (key, value) in pairs {
                write_value(replies, key);
                write_value(replies, value);
            }
        }
        Value::Big(_) | Value::Attributed(..) => panic!("a salp server does not send {value:?}"),
    }
}

/// The value that RESP2 shows for a value.
fn resp2(value: Value) -> Value {
    match value {
        Value::Double(number) => {
            let mut text = Vec::new();
            crate::decimal::write_double(&mut text, number);
            Value::Bulk(text)
        }
        Value::Bool(value) => Value::Int(i64::from(value)),
        Value::Verbatim(_, text) => Value::Bulk(text),
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            Value::Array(values.into_iter().map(resp2).collect())
        }
        Value::Map(pairs) => {
            let flat = pairs.into_iter().flat_map(|(key, value)| [key, value]);
            Value::Array(flat.map(resp2).collect())
        }
        other => other,
    }
}

#[track_caller]
fn check_encoded(write: impl Fn(&mut Replies), resp2: &str, resp3: &str) {
    let mut replies = Replies::new();
    write(&mut replies);
    for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
        let mut out = Vec::new();
        encode(&replies, protocol, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn replies_look_as_redis_sends_them() {
    check_encoded(Replies::ok, "+OK\r\n", "+OK\r\n");
    check_encoded(|r| r.simple("PONG"), "+PONG\r\n", "+PONG\r\n");
    check_encoded(Replies::syntax, "-ERR syntax error\r\n", "-ERR syntax error\r\n");
    let kind = crate::reply::ErrorKind::NoNodes;
    let no_nodes = "-CLUSTERDOWN no_nodes for this key\r\n";
    check_encoded(|r| r.error(kind, "for this key"), no_nodes, no_nodes);
    check_encoded(
        |r| r.error(kind, ""),
        "-CLUSTERDOWN no_nodes\r\n",
        "-CLUSTERDOWN no_nodes\r\n",
    );
    check_encoded(|r| r.int(-12), ":-12\r\n", ":-12\r\n");
    check_encoded(|r| r.bulk(b"hello"), "$5\r\nhello\r\n", "$5\r\nhello\r\n");
    check_encoded(|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
    check_encoded(Replies::null, "$-1\r\n", "_\r\n");
    check_encoded(Replies::null_array, "*-1\r\n", "_\r\n");
    check_encoded(|r| r.array(12), "*12\r\n", "*12\r\n");
    check_encoded(|r| r.map(2), "*4\r\n", "%2\r\n");
    check_encoded(|r| r.set(2), "*2\r\n", "~2\r\n");
    check_encoded(|r| r.push(2), "*2\r\n", ">2\r\n");
    check_encoded(|r| r.double(0.25), "$4\r\n0.25\r\n", ",0.25\r\n");
    check_encoded(|r| r.double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n");
    check_encoded(|r| r.boolean(true), ":1\r\n", "#t\r\n");
    check_encoded(|r| r.boolean(false), ":0\r\n", "#f\r\n");
    check_encoded(|r| r.verbatim(b"txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
    check_encoded(Replies::no_reply, "", "");
}

#[test]
fn a_change_of_version_takes_effect_at_its_reply() {
    let mut replies = Replies::new();
    replies.null();
    replies.switch(Protocol::Resp3);
    replies.null();
    let mut out = Vec::new();
    assert_eq!(encode(&replies, Protocol::Resp2, &mut out), Protocol::Resp3);
    assert_eq!(out, b"$-1\r\n_\r\n");
    replies.switch(Protocol::Resp2);
    assert_eq!(encode(&replies, Protocol::Resp2, &mut out), Protocol::Resp2);
}

#[test]
fn unfinished_replies_are_not_encoded() {
    let outcome = catch_unwind(|| {
        let mut replies = Replies::new();
        let _ = replies.later();
        encode(&replies, Protocol::Resp2, &mut Vec::new())
    });
    assert!(outcome.is_err());
}

#[test]
fn the_client_reads_what_other_servers_send() {
    let one = |text: &str| {
        let (mut values, error) = decode_pieces([text.as_bytes()]);
        assert_eq!(values.len() + usize::from(error.is_some()), 1, "{text}");
        error.map_or_else(|| Ok(values.remove(0)), Err)
    };
    let attributed = Value::Attributed(
        vec![(Value::Status("ttl".to_string()), Value::Int(3))],
        Box::new(Value::Array(vec![Value::Null])),
    );
    assert_eq!(one("|1\r\n+ttl\r\n:3\r\n*1\r\n_\r\n"), Ok(attributed));
    assert_eq!(
        one("(-123456789012345678901\r\n"),
        Ok(Value::Big("-123456789012345678901".to_string()))
    );
    assert_eq!(one("!5\r\nERR x\r\n"), Ok(Value::Error("ERR x".to_string())));
    assert_eq!(one("*-1\r\n"), Ok(Value::Null));
    assert_eq!(one("$-1\r\n"), Ok(Value::Null));
    assert!(matches!(one(",nan\r\n"), Ok(Value::Double(number)) if number.is_nan()));
    for (text, error) in [
        ("x\r\n", Malformed::Tag(b'x')),
        ("\r\n", Malformed::Line),
        ("$x\r\n", Malformed::Line),
        ("*-2\r\n", Malformed::Line),
        (":1x\r\n", Malformed::Line),
        ("#x\r\n", Malformed::Line),
        ("(1.5\r\n", Malformed::Line),
        ("+a\rb", Malformed::Line),
        ("$1\r\nabc", Malformed::Length),
        ("=2\r\nhi\r\n", Malformed::Length),
        ("$99999999999\r\n", Malformed::TooLarge),
        ("*99999999999\r\n", Malformed::TooLarge),
        ("%9223372036854775807\r\n", Malformed::TooLarge),
        (
            &("+".to_string() + &"x".repeat(LINE_BYTES_MAX + 1)),
            Malformed::TooLarge,
        ),
        (&("*1\r\n".repeat(DEPTH_MAX) + "_\r\n"), Malformed::TooDeep),
    ] {
        assert_eq!(one(text), Err(error), "{text:?}");
    }
    assert!(one(&("*1\r\n".repeat(DEPTH_MAX - 1) + "_\r\n")).is_ok());
}
