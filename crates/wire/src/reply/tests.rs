//! Replies compared with a model: a list of replies, each a list of tokens.

use super::*;
use proptest::prelude::*;
use std::{panic::catch_unwind, string::ToString, vec};

#[track_caller]
fn check(replies: &Replies, expected: &[Reply<'_>]) {
    assert_eq!(replies.tokens().collect::<Vec<_>>(), expected);
}

fn of(write: impl FnOnce(&mut Replies)) -> Replies {
    let mut replies = Replies::new();
    write(&mut replies);
    replies
}

#[test]
fn every_value_reads_back() {
    let replies = of(|replies| {
        replies.ok();
        replies.simple("PONG");
        replies.status("a\r\nb");
        replies.error(ErrorKind::Err, format_args!("no\nsuch {}", 1));
        replies.int(-7);
        replies.bulk(b"\r\n");
        replies.bulk_with(|out| out.extend_from_slice(b"12"));
        replies.null();
        replies.null_array();
        replies.array(1);
        replies.map(1);
        replies.set(1);
        replies.push(1);
        replies.double(0.5);
        replies.boolean(true);
        replies.verbatim(b"txt", b"hi");
        replies.no_reply();
    });
    let text = Reply::Verbatim {
        format: b"txt",
        text: b"hi",
    };
    check(
        &replies,
        &[
            Reply::Ok,
            Reply::Status("PONG"),
            Reply::Status("a  b"),
            Reply::Error(ErrorKind::Err, "no such 1"),
            Reply::Int(-7),
            Reply::Bulk(b"\r\n"),
            Reply::Bulk(b"12"),
            Reply::Null,
            Reply::NullArray,
            Reply::Array(1),
            Reply::Map(1),
            Reply::Set(1),
            Reply::Push(1),
            Reply::Double(0.5),
            Reply::Bool(true),
            text,
            Reply::NoReply,
        ],
    );
}

#[test]
fn a_reply_that_comes_later_takes_its_place() {
    let mut replies = Replies::new();
    let first = replies.later();
    replies.int(2);
    replies.array(2);
    let nested = replies.later();
    replies.int(4);
    assert_eq!((replies.is_complete(), replies.count()), (false, 3));
    check(
        &replies,
        &[
            Reply::Later,
            Reply::Int(2),
            Reply::Array(2),
            Reply::Later,
            Reply::Int(4),
        ],
    );

    let pair = of(|reply| {
        reply.map(1);
        reply.bulk(b"k");
        reply.bulk(b"v");
    });
    replies.fill(nested, &pair);
    replies.fill(first, &of(|reply| reply.bulk(b"one")));
    assert_eq!((replies.is_complete(), replies.count()), (true, 3));
    let all = [
        Reply::Bulk(b"one"),
        Reply::Int(2),
        Reply::Array(2),
        Reply::Map(1),
        Reply::Bulk(b"k"),
        Reply::Bulk(b"v"),
        Reply::Int(4),
    ];
    check(&replies, &all);

    // Replies with places filled in can fill places of other replies.
    let mut outer = Replies::new();
    let slots = [outer.later(), outer.later(), outer.later()];
    outer.fill_each([slots[2], slots[0], slots[1]], &replies);
    check(&outer, &[&all[1..], &all[..1]].concat());
}

#[test]
fn only_a_complete_reply_fills_a_place() {
    let fill = |write: fn(&mut Replies)| {
        catch_unwind(move || {
            let mut replies = Replies::new();
            let slot = replies.later();
            replies.fill(slot, &of(write));
        })
    };
    assert!(fill(Replies::ok).is_ok());
    assert!(fill(|_| {}).is_err(), "no value");
    assert!(fill(|replies| replies.array(1)).is_err(), "an incomplete value");
    assert!(fill(|replies| (replies.ok(), replies.ok()).0).is_err(), "two values");
    let not_known = |replies: &mut Replies| {
        let _ = replies.later();
    };
    assert!(fill(not_known).is_err(), "an unknown value");
}

#[test]
fn a_reply_can_turn_into_an_error() {
    let mut replies = Replies::new();
    replies.ok();
    let mark = replies.mark();
    replies.array(2);
    replies.bulk(b"a");
    let slot = replies.later();
    replies.int(3);
    replies.replace(mark, ErrorKind::NoQuorum, "1 of 3 replicas");
    let error = Reply::Error(ErrorKind::NoQuorum, "1 of 3 replicas");
    let expected = [Reply::Ok, error, Reply::Int(3)];
    check(&replies, &expected);
    assert!(replies.is_complete());
    replies.fill(slot, &of(Replies::ok));
    check(&replies, &expected);
    assert_eq!(replies.count(), 3);

    // A place that waits for its reply can get an error in the same way. The first answer counts.
    let slot = replies.later();
    replies.replace(slot.mark(), ErrorKind::Timeout, "");
    replies.fill(slot, &of(Replies::ok));
    check(
        &replies,
        &[&expected[..], &[Reply::Error(ErrorKind::Timeout, "")]].concat(),
    );
    // No reply was written at this mark.
    replies.replace(replies.mark(), ErrorKind::Err, "");
    assert_eq!(replies.count(), 4);
}

#[test]
fn a_silenced_reply_stays_silent_and_is_waited_for() {
    let mut replies = Replies::new();
    let mark = replies.mark();
    let alone = replies.later();
    replies.silence(mark);
    let mark = replies.mark();
    replies.array(2);
    let nested = replies.later();
    replies.int(1);
    replies.silence(mark);
    replies.ok();
    let expected = [Reply::NoReply, Reply::NoReply, Reply::Ok];
    check(&replies, &expected);
    assert!(!replies.is_complete());
    replies.fill(nested, &of(|reply| reply.int(1)));
    replies.fill(alone, &of(|reply| reply.int(1)));
    assert!(replies.is_complete());
    replies.replace(mark, ErrorKind::NoQuorum, "");
    check(&replies, &expected);
}

#[test]
fn an_aggregate_can_be_counted_while_it_is_written() {
    let mut replies = Replies::new();
    let mark = replies.mark();
    replies.set(0);
    replies.int(1);
    replies.int(2);
    replies.resize(mark, 2);
    check(&replies, &[Reply::Set(2), Reply::Int(1), Reply::Int(2)]);
    assert!(catch_unwind(move || replies.resize(Mark(1), 0)).is_err());
}

#[test]
fn a_change_of_version_is_not_a_reply() {
    let mut replies = Replies::new();
    let mark = replies.mark();
    replies.switch(Protocol::Resp3);
    replies.map(0);
    replies.ok();
    assert_eq!(replies.count(), 2);
    replies.replace(mark, ErrorKind::Err, "x");
    check(&replies, &[Reply::Error(ErrorKind::Err, "x"), Reply::Ok]);
    let mut tokens = replies.tokens();
    tokens.next();
    assert_eq!(
        (tokens.take_switch(), tokens.take_switch()),
        (Some(Protocol::Resp3), None)
    );
}

#[test]
fn clear_empties_and_keeps_the_usual_capacity() {
    let mut replies = Replies::new();
    let _ = replies.later();
    replies.bulk(&vec![0; KEPT_BYTES_MAX + 1]);
    replies.clear();
    assert!(replies.is_empty() && replies.is_complete() && replies.data_len() == 0);
    assert!(replies.data.capacity() <= KEPT_BYTES_MAX);
}

#[test]
fn error_texts_are_those_of_redis() {
    #[track_caller]
    fn check(write: impl FnOnce(&mut Replies), expected: &str) {
        let replies = of(write);
        match replies.tokens().next() {
            Some(Reply::Error(kind, text)) => {
                assert_eq!(std::format!("{} {text}", kind.word()), expected);
            }
            other => panic!("an error, not {other:?}"),
        }
    }
    let long = [b'x'; 200];
    let cut = "x".repeat(128);
    check(
        |r| r.wrong_arity("config|get"),
        "ERR wrong number of arguments for 'config|get' command",
    );
    check(Replies::syntax, "ERR syntax error");
    check(Replies::not_an_integer, "ERR value is not an integer or out of range");
    check(Replies::not_a_float, "ERR value is not a valid float");
    check(Replies::overflow, "ERR increment or decrement would overflow");
    check(|r| r.invalid_expire("set"), "ERR invalid expire time in 'set' command");
    check(
        Replies::wrong_type,
        "WRONGTYPE Operation against a key holding the wrong kind of value",
    );
    check(Replies::no_auth, "NOAUTH Authentication required.");
    check(
        |r| r.unknown_command(b"foo", [&b"a"[..], b"b c"]),
        "ERR unknown command 'foo', with args beginning with: 'a' 'b c' ",
    );
    check(
        |r| r.unknown_command(b"foo", []),
        "ERR unknown command 'foo', with args beginning with: ",
    );
    check(
        |r| r.unknown_command(&long, [&long[..], b"b"]),
        &std::format!("ERR unknown command '{cut}', with args beginning with: '{cut}' "),
    );
    check(
        |r| r.unknown_command(b"a\r\nb\xff", []),
        "ERR unknown command 'a  b\u{fffd}', with args beginning with: ",
    );
    check(
        |r| r.unknown_subcommand("config", b"foo"),
        "ERR unknown subcommand 'foo'. Try CONFIG HELP.",
    );
}

#[test]
fn an_error_text_has_the_kind_of_its_word() {
    for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Custom) {
        let word = kind.word();
        assert_eq!(ErrorKind::split(word), (kind, ""));
        assert_eq!(ErrorKind::split(&std::format!("{word} a b")), (kind, "a b"));
    }
    assert_eq!(ErrorKind::split("ERRATIC x"), (ErrorKind::Err, "ERRATIC x"));
    assert_eq!(ErrorKind::split("NOSCRIPTS x"), (ErrorKind::Err, "NOSCRIPTS x"));
    assert_eq!(ErrorKind::split(""), (ErrorKind::Err, ""));
    assert_eq!(ErrorKind::split(" x"), (ErrorKind::Err, " x"));
    assert!(ErrorKind::NoNodes.word().starts_with("CLUSTERDOWN no_nodes"));
    assert_eq!(ErrorKind::NoQuorum.retry(), Retry::Unsafe);
    assert_eq!(ErrorKind::NoNodes.retry(), Retry::Safe);
}

/// A reply as it is first written, and how it changes later.
#[derive(Clone, Debug)]
enum Story {
    Written(usize),
    Replaced(usize),
    Silenced(usize),
    FilledIn(usize),
    FilledAndReplaced(usize),
}

fn story() -> impl Strategy<Value = Story> {
    (0..5, 0..4usize).prop_map(|(which, size)| match which {
        0 => Story::Written(size),
        1 => Story::Replaced(size),
        2 => Story::Silenced(size),
        3 => Story::FilledIn(size),
        _ => Story::FilledAndReplaced(size),
    })
}

/// Writes a reply of `size` values; `number` tells it from others.
fn write(replies: &mut Replies, size: usize, number: usize) {
    if size == 0 {
        return replies.int(number as i64);
    }
    replies.array(size);
    for _ in 0..size {
        replies.map(1);
        replies.bulk_with(|out| out.extend_from_slice(number.to_string().as_bytes()));
        replies.null();
    }
}

proptest! {
    #[test]
    fn replies_stay_in_order_whatever_changes_them(stories in prop::collection::vec(story(), 0..20)) {
        let mut replies = Replies::new();
        let mut late = Vec::new();
        let mut expected = Replies::new();
        for (number, story) in stories.iter().enumerate() {
            let mark = replies.mark();
            match *story {
                Story::Written(size) | Story::Replaced(size) | Story::Silenced(size) => {
                    write(&mut replies, size, number);
                }
                Story::FilledIn(size) | Story::FilledAndReplaced(size) => {
                    late.push((replies.later(), size, number));
                }
            }
            match *story {
                Story::Written(size) | Story::FilledIn(size) => write(&mut expected, size, number),
                Story::Replaced(_) | Story::FilledAndReplaced(_) => {
                    expected.error(ErrorKind::NoQuorum, number);
                }
                Story::Silenced(_) => expected.no_reply(),
            }
            if matches!(story, Story::Silenced(_)) {
                replies.silence(mark);
            }
        }
        prop_assert_eq!(replies.is_complete(), late.is_empty());
        // The last place is filled first.
        for (slot, size, number) in late.into_iter().rev() {
            replies.fill(slot, &of(|reply| write(reply, size, number)));
        }
        let mut index = 0;
        for (number, story) in stories.iter().enumerate() {
            if matches!(story, Story::Replaced(_) | Story::FilledAndReplaced(_)) {
                replies.replace(Mark(index), ErrorKind::NoQuorum, number);
            }
            index += match *story {
                Story::Written(size) | Story::Replaced(size) | Story::Silenced(size) => 1 + 3 * size as u32,
                Story::FilledIn(_) | Story::FilledAndReplaced(_) => 1,
            };
        }
        prop_assert!(replies.is_complete());
        prop_assert_eq!(replies.count(), stories.len());
        prop_assert!(replies.tokens().eq(expected.tokens()), "{replies:?} is not {expected:?}");
    }
}

#[test]
fn replies_are_taken_back_as_if_they_had_never_been_written() {
    let mut replies = Replies::new();
    let slot = replies.later();
    replies.bulk(b"kept");
    let then = replies.checkpoint();
    replies.array(2);
    replies.bulk(b"value");
    let inner = replies.later();
    assert!(!replies.rewind(then), "a place is open");
    replies.fill(inner, &of(|reply| reply.bulk(b"moved")));
    assert!(replies.rewind(then));
    replies.int(7);
    replies.fill(slot, &of(|reply| reply.bulk(b"late")));
    let expected = [Reply::Bulk(b"late"), Reply::Bulk(b"kept"), Reply::Int(7)];
    assert!(replies.tokens().eq(expected) && replies.data_len() == 8);
}
