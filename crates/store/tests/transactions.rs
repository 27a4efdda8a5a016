//! Transactions between nodes: what a replica has of one, and when `WATCH` is answered.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::{ask::Session, slot};

/// The beginning of two keys of one slot, whose primary is this node.
fn tag_of(net: &mut Net, primary: &str) -> String {
    let status = net.status(primary);
    let is_primary = |tag: &String| {
        let shard = slot::shard(slot::slot(tag.as_bytes()), net::SHARDS);
        status.shards[usize::from(shard)].primary.as_ref() == Some(&status.name)
    };
    (0..).map(|number| number.to_string()).find(is_primary).unwrap()
}

/// A transaction that returns the lengths of both values.
fn begin_read(net: &mut Net, name: &str, tag: &str) -> u64 {
    let [x, y] = ["x", "y"].map(|half| format!("STRLEN {{{tag}}}{half}"));
    net.begin(name, &["MULTI", &x, &y, "EXEC"])
}

/// Kills the primary `after_us` after a transaction of two writes was sent to another node. Returns what was read at
/// the other two nodes: the two lengths in each answer, and the answer to the writer if there was one.
fn kill_primary_after(after_us: u64, value: &str) -> (Vec<[String; 2]>, Option<String>) {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let tag = tag_of(&mut net, "a");
    let [x, y] = ["x", "y"].map(|half| format!("SET {{{tag}}}{half} {value}"));
    let id = net.begin("b", &["MULTI", &x, &y, "EXEC"]);
    net.run_us(after_us);
    let answer = net.answer("b", id);
    net.kill("a");
    let mut reads = Vec::new();
    for _ in 0..150 {
        for name in ["b", "c"] {
            reads.push((name, begin_read(&mut net, name, &tag)));
        }
        net.run_ms(5);
    }
    let mut shown = Vec::new();
    for (name, id) in reads {
        let reply = net.wait(name, id, 5_100);
        if let Some(values) = reply.strip_prefix("OK | QUEUED | QUEUED | [") {
            let (x, y) = values.strip_suffix(']').unwrap().split_once(' ').unwrap();
            shown.push([x.to_owned(), y.to_owned()]);
        }
    }
    (shown, answer)
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all_when_its_primary_dies() {
    let (mut whole, mut absent) = (0, 0);
    // The writes travel in several slices, and the primary dies at each stage.
    let value = "v".repeat(3 << 19);
    for after_us in (500..8_000).step_by(500) {
        let (shown, answer) = kill_primary_after(after_us, &value);
        let last = shown.last().expect("the others go on");
        for [x, y] in &shown {
            assert_eq!(x, y, "after {after_us} µs");
        }
        match last[0].as_str() {
            "0" => {
                assert_eq!(answer, None, "after {after_us} µs");
                absent += 1;
            }
            _ => whole += 1,
        }
    }
    assert!(whole > 0 && absent > 0, "{whole} whole, {absent} absent");
}

/// A session of a client of the Redis protocol.
fn piecemeal() -> Session {
    let mut session = Session::new(0, true);
    session.piecemeal = true;
    session
}

#[test]
fn watch_waits_for_a_replica_that_has_not_yet_what_the_primary_has() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let key = tag_of(&mut net, "a");
    assert_eq!(net.ask("a", &format!("SET {key} old")), "OK");
    net.run_ms(7);
    net.deafen("a", "c");
    let write = net.begin("a", &[&format!("SET {key} new")]);
    let watch = net.begin_as("b", piecemeal(), &[&format!("WATCH {key}")]);
    net.run_ms(100);
    assert_eq!((net.answer("a", write), net.answer("b", watch)), (None, None));
    // The write is not acknowledged, so the replica may still show the old value.
    let get = format!("GET {key}");
    assert_eq!(net.ask("c", &get), "old");
    assert_eq!(net.answer("b", watch), None);
    net.hear();
    assert_eq!(net.wait("b", watch, 10), "OK");
    assert_eq!(net.ask("c", &get), "new");
}
