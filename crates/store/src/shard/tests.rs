//! Scenes with one or a few replicas. `history` plays random histories against an oracle.

use std::format;
use std::string::{String, ToString};
use std::vec;

use proptest::prelude::*;

use super::*;

mod history;

fn shard(writer: u64) -> Shard {
    let mut shard = Shard::new(Writer(writer), 0);
    shard.remember(true);
    shard
}

/// Stamps for scenes: each is higher than the last.
fn stamp(n: u64) -> Stamp {
    Stamp::new(1, n as u16)
}

fn put(shard: &mut Shard, key: &str, value: &str, at: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    shard.put(key.as_bytes(), 0, value.as_bytes(), None, stamp(at), Some(&mut delta));
    delta
}

fn delete(shard: &mut Shard, key: &str, at: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    shard.delete(key.as_bytes(), stamp(at), 0, Some(&mut delta)).unwrap();
    delta
}

fn count(shard: &mut Shard, key: &str, by: i64, at: u64) -> Vec<u8> {
    let mut delta = Vec::new();
    shard.count(key.as_bytes(), by, stamp(at), 0, Some(&mut delta)).unwrap();
    delta
}

fn receive(shard: &mut Shard, delta: &[u8]) -> bool {
    let mut reader = Reader::new(delta);
    let fresh = shard.receive(&mut reader).unwrap().fresh;
    assert!(reader.is_empty());
    fresh
}

fn show(shard: &Shard, key: &str, now_ms: u64) -> String {
    match shard.view(key.as_bytes(), now_ms).map(|view| view.value) {
        None => "-".to_string(),
        Some(Value::Integer(number)) => number.to_string(),
        Some(Value::Plain { bytes, .. }) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Streams the whole of `source` to `target` in chunks of `bytes_max`.
fn stream(source: &mut Shard, target: &mut Shard, bytes_max: usize) -> Result<(), Malformed> {
    source.open_stream(0);
    let mut intake = Intake::new(0);
    loop {
        let mut chunk = Vec::new();
        source.next_chunk(0, bytes_max, &mut chunk).unwrap();
        match intake.receive(&mut Reader::new(&chunk))? {
            Intaken::More => {}
            Intaken::Complete => break,
            other @ (Intaken::Ignored | Intaken::Gap) => panic!("{other:?} of an orderly stream"),
        }
    }
    assert!(target.join(intake));
    Ok(())
}

/// The messages of at most `bytes_max` bytes for a part.
fn messages(mut part: Part<'_>, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !part.is_empty() {
        let mut message = Vec::new();
        part.encode(bytes_max, &mut message);
        messages.push(message);
    }
    messages
}

/// Sends `target` everything it lacks, in messages of at most `bytes_max` bytes.
fn sync(source: &mut Shard, target: &mut Shard, bytes_max: usize) -> Result<(), Malformed> {
    let messages = match source.missing(target.clock()) {
        Missing::None => return Ok(()),
        Missing::Whole => return stream(source, target, bytes_max),
        Missing::Part(part) => messages(part, bytes_max),
    };
    for message in messages {
        let mut reader = Reader::new(&message);
        target.receive_part(&mut reader)?;
        assert!(reader.is_empty());
    }
    assert!(target.clock().covers(source.clock()));
    Ok(())
}

#[test]
fn concurrent_writes_both_live_until_a_later_write() {
    let (mut a, mut b) = (shard(1), shard(2));
    let (from_a, from_b) = (put(&mut a, "k", "red", 1), put(&mut b, "k", "blue", 2));
    assert!(receive(&mut a, &from_b) && receive(&mut b, &from_a));
    assert!(!receive(&mut a, &from_b), "it is known already");
    assert_eq!((show(&a, "k", 0), show(&b, "k", 0)), ("blue".into(), "blue".into()));
    assert_eq!(a.version(b"k"), b.version(b"k"));
    assert_eq!((a.len(), a.stats().aside), (1, 1));
    let after = put(&mut b, "k", "green", 3);
    receive(&mut a, &after);
    assert_eq!((a.len(), a.stats().aside, show(&a, "k", 0)), (1, 0, "green".into()));
    assert_eq!(a.clock().digest(), b.clock().digest());
}

#[test]
fn a_delete_removes_writes_it_had_seen_that_arrive_later() {
    let (mut a, mut b) = (shard(1), shard(2));
    let first = put(&mut a, "k", "v", 1);
    let gone = delete(&mut a, "k", 2);
    receive(&mut b, &gone);
    assert_eq!((b.stats().contexts, b.len()), (1, 0));
    assert_eq!(b.waiting().count(), 1);
    receive(&mut b, &first);
    assert_eq!((show(&b, "k", 0), b.stats().aside), ("-".into(), 0));
    assert_eq!(a.delete(b"k", stamp(3), 0, None), None, "nothing is left to delete");
}

#[test]
fn deleting_everything_leaves_nothing() {
    let (mut a, mut b) = (shard(1), shard(2));
    let mut late = Vec::new();
    for n in 0..2_000 {
        let delta = put(&mut a, &format!("key {n}"), "some value", n);
        match n % 3 {
            0 => late.push(delta),
            _ => assert!(receive(&mut b, &delta)),
        }
    }
    for n in 0..2_000 {
        let delta = delete(&mut a, &format!("key {n}"), 2_000 + n);
        if n % 5 > 0 {
            receive(&mut b, &delta);
        }
    }
    for delta in &late {
        receive(&mut b, delta);
    }
    sync(&mut a, &mut b, 500).unwrap();
    for shard in [&mut a, &mut b] {
        assert_eq!(shard.clock().spans().count(), 1);
        shard.remember(false);
        assert_eq!(
            shard.expire(overdue(0), 10, stamp(0), None, |_, _| panic!("nothing can expire")),
            0
        );
        let baseline = Shard::new(Writer(9), 0).stats();
        assert_eq!(shard.stats(), baseline);
    }
    assert_eq!(a.clock(), b.clock());
}

#[test]
fn counts_of_both_sides_of_a_partition_add_up() {
    let (mut a, mut b, mut c) = (shard(1), shard(2), shard(3));
    let base = put(&mut a, "n", "10", 1);
    receive(&mut b, &base);
    let lost = count(&mut a, "n", 1, 2);
    let kept = count(&mut a, "n", 2, 3);
    let other = count(&mut b, "n", 4, 4);
    receive(&mut a, &other);
    receive(&mut b, &kept);
    receive(&mut c, &kept);
    receive(&mut c, &lost);
    receive(&mut c, &other);
    assert_eq!(show(&c, "n", 0), "7", "without the base");
    receive(&mut c, &base);
    for shard in [&a, &b, &c] {
        assert_eq!((show(shard, "n", 0), shard.len()), ("17".into(), 1));
    }
    let reset = put(&mut b, "n", "0", 5);
    receive(&mut a, &reset);
    count(&mut a, "n", -1, 6);
    assert_eq!(show(&a, "n", 0), "-1", "a put ends all runs");
}

#[test]
fn a_value_that_cannot_be_counted_is_not_changed() {
    let mut a = shard(1);
    put(&mut a, "text", "x1", 1);
    put(&mut a, "most", &i64::MAX.to_string(), 2);
    let before = a.clock().clone();
    assert_eq!(a.count(b"text", 1, stamp(3), 0, None), Err(CountError::NotAnInteger));
    assert_eq!(a.count(b"most", 1, stamp(3), 0, None), Err(CountError::Overflow));
    assert_eq!(a.clock(), &before);
}

#[test]
fn a_wipe_removes_writes_it_had_seen_at_every_replica() {
    let (mut a, mut b) = (shard(1), shard(2));
    let early = put(&mut a, "seen", "v", 1);
    count(&mut a, "n", 1, 2);
    let unseen = put(&mut b, "unseen", "w", 3);
    let mut wipe = Vec::new();
    a.wipe(stamp(4), Some(&mut wipe));
    assert!(a.is_empty());
    receive(&mut b, &wipe);
    receive(&mut b, &early);
    receive(&mut a, &unseen);
    assert_eq!(
        (b.len(), show(&b, "seen", 0), show(&b, "unseen", 0)),
        (1, "-".into(), "w".into())
    );
    assert!(
        matches!(a.missing(b.clock()), Missing::Part(_)),
        "the wipe itself is known"
    );
    sync(&mut a, &mut b, 100).unwrap();
    assert_eq!((a.clock(), b.stats().aside, b.waiting()), (b.clock(), 0, Clock::new()));
}

fn overdue(past_ms: u64) -> Overdue {
    Overdue {
        plain_ms: past_ms,
        counted_ms: past_ms,
    }
}

/// Deletes overdue keys. Returns these keys, and the delta for the other replicas.
fn expire(shard: &mut Shard, overdue: Overdue) -> (Vec<String>, Vec<u8>) {
    let (mut keys, mut delta) = (Vec::new(), Vec::new());
    shard.expire(overdue, 100, stamp(9), Some(&mut delta), |key, _| {
        keys.push(String::from_utf8_lossy(key).into_owned());
    });
    (keys, delta)
}

#[test]
fn an_expired_key_is_hidden_at_once_and_deleted_when_overdue() {
    let mut a = shard(1);
    a.put(b"k", 0, b"v", Some(5_000), stamp(1), None);
    a.put(b"stays", 0, b"v", None, stamp(2), None);
    assert_eq!((show(&a, "k", 4_999), show(&a, "k", 5_000)), ("v".into(), "-".into()));
    assert_eq!(a.touch(b"k", None, stamp(3), 5_000, None), None);
    assert_eq!(expire(&mut a, overdue(4_999)).0, [""; 0]);
    assert_eq!(a.len(), 2);
    let (gone, delta) = expire(&mut a, overdue(5_000));
    assert_eq!((a.len(), gone), (1, vec!["k".to_string()]));
    assert!(receive(&mut shard(2), &delta), "it is an event");
}

#[test]
fn values_that_may_be_counted_are_overdue_later() {
    let (mut a, mut b) = (shard(1), shard(2));
    let mut deltas = vec![Vec::new(), Vec::new()];
    a.put(b"base", 0, b"10", Some(5_000), stamp(1), Some(&mut deltas[0]));
    a.put(b"text", 0, b"10.", Some(5_000), stamp(2), Some(&mut deltas[1]));
    for delta in &deltas {
        receive(&mut b, delta);
    }
    b.count(b"base", 1, stamp(3), 0, None).unwrap();
    let early = Overdue {
        plain_ms: 5_000,
        counted_ms: 4_999,
    };
    for shard in [&mut a, &mut b] {
        assert_eq!(expire(shard, early).0, ["text"]);
        assert_eq!(expire(shard, overdue(5_000)).0, ["base"]);
    }
}

#[test]
fn a_counter_of_two_writers_that_is_extended_late_is_complete_everywhere() {
    let (mut a, mut b, mut c) = (shard(1), shard(2), shard(3));
    let mut first = count(&mut a, "n", 5, 1);
    a.touch(b"n", Some(5_000), stamp(2), 0, Some(&mut first));
    for shard in [&mut b, &mut c] {
        let mut reader = Reader::new(&first);
        while !reader.is_empty() {
            shard.receive(&mut reader).unwrap();
        }
    }
    let mut extended = Vec::new();
    b.touch(b"n", None, stamp(3), 4_000, Some(&mut extended));
    // The extension arrives long after the old deadline, or after a replica that did not know of it has deleted its
    // part.
    assert_eq!(show(&c, "n", 9_000), "-");
    receive(&mut c, &extended);
    assert_eq!((show(&b, "n", 9_000), show(&c, "n", 9_000)), ("5".into(), "5".into()));
    let (gone, deleted) = expire(&mut a, overdue(5_000));
    assert_eq!(gone, ["n"]);
    receive(&mut a, &extended);
    receive(&mut b, &deleted);
    receive(&mut c, &deleted);
    assert_eq!(a.version(b"n"), b.version(b"n"));
    for shard in [&a, &b, &c] {
        assert_eq!((show(shard, "n", 9_000), shard.clock()), ("0".into(), a.clock()));
    }
}

#[test]
fn a_count_keeps_the_expiry_and_a_touch_changes_it() {
    let (mut a, mut b) = (shard(1), shard(2));
    let mut deltas = vec![count(&mut a, "n", 5, 1), Vec::new(), Vec::new()];
    a.touch(b"n", Some(5_000), stamp(2), 0, Some(&mut deltas[1]));
    a.count(b"n", 1, stamp(3), 0, Some(&mut deltas[2])).unwrap();
    for delta in &deltas {
        receive(&mut b, delta);
    }
    // The other replica goes on as primary. It keeps what the first one counted.
    b.touch(b"n", Some(8_000), stamp(4), 4_000, None);
    assert_eq!((show(&b, "n", 7_999), show(&b, "n", 8_000)), ("6".into(), "-".into()));
    assert_eq!(
        b.count(b"n", 1, stamp(5), 8_000, None).unwrap().1,
        1,
        "the count starts again"
    );
    assert_eq!((show(&b, "n", 9_000), b.stats().aside), ("1".into(), 0));
    b.count(b"n", 1, stamp(6), 8_000, None).unwrap();
    assert_eq!(a.stats().aside, 0);
    assert_eq!(expire(&mut a, overdue(5_000)).0, ["n"]);
    assert!(a.is_empty());
}

#[test]
fn a_touch_of_plain_bytes_is_a_put_of_the_same() {
    let (mut a, mut b) = (shard(1), shard(2));
    let (first, mut second) = (put(&mut a, "k", "v", 1), Vec::new());
    a.touch(b"k", Some(9), stamp(2), 0, Some(&mut second));
    receive(&mut b, &second);
    receive(&mut b, &first);
    assert_eq!((show(&b, "k", 8), show(&b, "k", 9)), ("v".into(), "-".into()));
}

#[test]
fn a_stream_goes_on_while_keys_change() {
    let (mut a, mut b) = (shard(1), shard(2));
    for n in 0..3_000 {
        put(&mut a, &format!("k{n}"), &format!("v{n}"), n);
    }
    put(&mut b, "only here", "x", 4_000);
    a.open_stream(4);
    let mut intake = Intake::new(4);
    for n in 0.. {
        let mut chunk = Vec::new();
        a.next_chunk(4, 1_000, &mut chunk).unwrap();
        assert!(chunk.len() < 1_300);
        if intake.receive(&mut Reader::new(&chunk)) == Ok(Intaken::Complete) {
            assert!(n > 10);
            break;
        }
        let mut again = Reader::new(&chunk);
        assert_eq!(intake.receive(&mut again), Ok(Intaken::Ignored));
        put(&mut a, &format!("k{}", n * 7 % 3_000), "changed", 5_000 + n);
        let _ = a.delete(format!("k{}", n * 11 % 3_000).as_bytes(), stamp(2_000 + n), 0, None);
        put(&mut a, &format!("new {n}"), "new", 7_000 + n);
    }
    assert!(b.join(intake));
    assert!(b.clock().covers(a.clock()));
    sync(&mut b, &mut a, 1_000).unwrap();
    assert_eq!(a.clock(), b.clock());
    let (all, none) = a.scan(0, usize::MAX, 0);
    assert_eq!((none, all.len()), (None, a.len()));
    assert!(all.iter().any(|(key, _)| key == b"only here"));
    assert_eq!(all, b.scan(0, usize::MAX, 0).0);
}

#[test]
fn a_key_that_never_rests_does_not_keep_a_stream_open() {
    let mut a = shard(1);
    a.open_stream(1);
    let mut chunks = 0;
    while a.next_chunk(1, 10, &mut Vec::new()) == Some(Chunk::More) {
        for n in 0..5 {
            put(&mut a, &format!("k{n}"), "v", chunks);
        }
        chunks += 1;
        assert!(chunks < 100);
    }
}

#[test]
fn a_stream_with_a_gap_and_one_that_is_not_open_are_reported() {
    let mut a = shard(1);
    assert_eq!(a.next_chunk(7, 10, &mut Vec::new()), None);
    for n in 0..20 {
        put(&mut a, &format!("k{n}"), "v", n);
    }
    a.open_stream(7);
    let mut intake = Intake::new(7);
    a.next_chunk(7, 50, &mut Vec::new());
    let mut second = Vec::new();
    a.next_chunk(7, 50, &mut second);
    assert_eq!(intake.receive(&mut Reader::new(&second)), Ok(Intaken::Gap));
    assert!(!shard(2).join(intake), "half a shard is not merged");
}

#[test]
fn a_part_is_ignored_by_a_replica_it_was_not_made_for() {
    let (mut a, mut b) = (shard(1), shard(2));
    let seen = put(&mut a, "k", "v", 1);
    receive(&mut b, &seen);
    put(&mut a, "l", "w", 2);
    let Missing::Part(mut part) = a.missing(b.clock()) else {
        panic!("not a part")
    };
    let mut message = Vec::new();
    part.encode(1_000, &mut message);
    let mut reborn = shard(3);
    assert_eq!(reborn.receive_part(&mut Reader::new(&message)), Ok(Parted::Strange));
    assert_eq!((reborn.len(), reborn.clock()), (0, &Clock::new()));
}

#[test]
fn a_transaction_that_needs_two_parts_is_merged_at_once() {
    let (mut a, mut b) = (shard(1), shard(2));
    // Recent writes take no more memory than the shard.
    let seen = put(&mut a, "other", &"v".repeat(1_000), 1);
    receive(&mut b, &seen);
    put(&mut a, "k", "v", 2);
    put(&mut a, "l", "v", 2);
    let Missing::Part(part) = a.missing(b.clock()) else {
        panic!("not a part")
    };
    let messages = messages(part, 1);
    assert_eq!(messages.len(), 2);
    let mut parts = Parts::default();
    assert_eq!(parts.keep(&b, &messages[0]), Ok(Parted::Merged(1)));
    assert_eq!((b.len(), parts.joined(&b).count()), (1, 2));
    // While the first part is kept, the sender makes the next one for the clock that includes it.
    put(&mut a, "k", "w", 3);
    let Missing::Part(mut rest) = a.missing(&parts.joined(&b)) else {
        panic!("not a part")
    };
    let mut message = Vec::new();
    rest.encode(1_000, &mut message);
    assert_eq!(parts.keep(&b, &message), Ok(Parted::Merged(2)));
    assert_eq!(b.len(), 1);
    assert_eq!(parts.merge(&mut b), Ok(()));
    assert_eq!((b.len(), b.clock()), (3, a.clock()));
}

#[test]
fn dots_lost_with_their_writer_are_closed() {
    let (mut dead, mut b) = (shard(1), shard(2));
    put(&mut dead, "other", "v", 1);
    let delta = put(&mut dead, "k", "v", 2);
    receive(&mut b, &delta);
    b.shed();
    assert_eq!((b.stats().contexts, b.waiting().count()), (1, 1));
    let mut closed = Clock::new();
    closed.insert_span(Writer(1), Span { first: 1, last: 2 });
    b.close(&closed);
    assert_eq!((b.stats().aside, b.len(), show(&b, "k", 0)), (0, 1, "v".into()));
}

#[test]
fn a_writer_that_takes_the_shard_again_goes_on_after_its_former_dots() {
    let mut a = shard(1);
    put(&mut a, "k", "v", 1);
    put(&mut a, "k", "v", 2);
    let mut again = Shard::new(Writer(1), a.last());
    assert_eq!(again.put(b"k", 0, b"w", None, stamp(3), None).counter, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn junk_is_refused_or_harmless(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut a = shard(1);
        let mut b = shard(2);
        let mut messages = vec![put(&mut a, "k", "v", 1), count(&mut a, "n", 3, 2)];
        for delta in &messages {
            receive(&mut b, delta);
        }
        messages.extend([put(&mut a, "k", "w", 3), count(&mut a, "n", 3, 4), delete(&mut a, "k", 5)]);
        messages.push(Vec::new());
        let Missing::Part(mut part) = a.missing(b.clock()) else { panic!("not a part") };
        part.encode(1_000, messages.last_mut().unwrap());
        let parts = messages.len() - 1;
        messages.push(Vec::new());
        a.wipe(stamp(6), messages.last_mut());
        put(&mut a, "k", "w", 7);
        a.open_stream(1);
        messages.push(Vec::new());
        a.next_chunk(1, 1_000, messages.last_mut().unwrap());
        for (n, mut message) in messages.into_iter().enumerate() {
            for (at, byte) in &flips {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            message.truncate(length.index(message.len()) + 1);
            let before = (b.clock().clone(), b.stats());
            let refused = if n == parts {
                b.receive_part(&mut Reader::new(&message)).is_err()
            } else {
                b.receive(&mut Reader::new(&message)).is_err()
            };
            if refused {
                prop_assert_eq!(before, (b.clock().clone(), b.stats()));
            }
            let mut intake = Intake::new(1);
            if intake.receive(&mut Reader::new(&message)) == Ok(Intaken::Complete) {
                b.join(intake);
            }
            b.shed();
            for key in ["k", "n"] {
                show(&b, key, 0);
                b.put(key.as_bytes(), 0, b"1", None, stamp(9), None);
            }
        }
    }
}
