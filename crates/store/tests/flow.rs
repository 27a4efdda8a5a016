//! Large values, and many of them, between nodes: replies come in pieces and in order, and no connection is closed
//! because of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::slot;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const MIB: usize = 1 << 20;

/// Keys whose primary is one node, and of which a certain other node has no copy.
fn keys_of<const COUNT: usize>(net: &mut Net, primary: &str, without: &str) -> [String; COUNT] {
    let status = net.status(primary);
    let (primary, without) = (format!("{primary}@net"), format!("{without}@net"));
    let mut keys = (0..).map(|number| format!("key:{number}")).filter(|key| {
        let shard = &status.shards[usize::from(slot::shard(slot::slot(key.as_bytes()), net::SHARDS))];
        shard.primary.as_ref() == Some(&primary) && !shard.replicas.contains(&without)
    });
    std::array::from_fn(|_| keys.next().unwrap())
}

#[track_caller]
fn check_nobody_was_cut(net: &Net) {
    for name in NAMES {
        assert_eq!(net.cuts(name), [""; 0], "by {name}");
        assert_eq!(net.notes(name), [""; 0], "at {name}");
    }
}

/// In each of these batches, the replies to the first parcel of requests are too large for one message, so some of its
/// requests are put off. A second parcel to the same node follows, and must not overtake them.
#[test]
fn requests_that_are_put_off_are_not_overtaken() {
    let mut net = Net::cluster(&NAMES);
    let [big, k, other] = keys_of(&mut net, "b", "a");
    let value = "v".repeat(5 * MIB);
    assert_eq!(net.ask("b", &format!("SET {big} {value}")), "OK");
    let (get_big, set, get) = (format!("GET {big}"), format!("SET {k} 1"), format!("GET {k}"));

    let replies = net.ask_all("a", &[&get_big, &set, &format!("DEL {k} {other}"), &get]);
    assert_eq!(replies.replace(&value, "V"), "V | OK | 1 | -");
    assert_eq!(net.ask("b", &get), "-");

    let replies = net.ask_all("a", &[&get_big, &set, &format!("MSET {k} 2 {other} 2"), &get]);
    assert_eq!(replies.replace(&value, "V"), "V | OK | OK | 2");
    assert_eq!(net.ask("b", &get), "2");

    let replies = net.ask_all("a", &[&get_big, &set, &format!("MGET {k} {other}")]);
    assert_eq!(replies.replace(&value, "V"), "V | OK | [1 2]");

    let replies = net.ask_all("a", &[&get_big, &set, "FLUSHALL", &get]);
    assert_eq!(replies.replace(&value, "V"), "V | OK | OK | -");
    assert_eq!(net.ask("b", &get), "-");
}

/// Requests that are too large for one parcel; a batch over HTTP can have such requests.
#[test]
fn the_later_of_two_writes_wins_also_in_another_parcel() {
    let mut net = Net::cluster(&NAMES);
    let [big, k, filler] = keys_of(&mut net, "b", "a");
    let value = "v".repeat(5 * MIB);
    assert_eq!(net.ask("b", &format!("SET {big} {value}")), "OK");
    let fill = format!("SET {filler} {}", "f".repeat(2 * MIB));
    let replies = net.ask_all(
        "a",
        &[
            &format!("GET {big}"),
            &format!("SET {k} 1"),
            &fill,
            &format!("SET {k} 2"),
        ],
    );
    assert_eq!(replies.replace(&value, "V"), "V | OK | OK | OK");
    assert_eq!(net.ask("b", &format!("GET {k}")), "2");
}

/// More bytes than a node may gather for one client, and far more than may be on the way to a peer.
#[test]
fn a_pipeline_of_large_values_is_answered_in_pieces() {
    let mut net = Net::cluster(&NAMES);
    let [big] = keys_of(&mut net, "b", "a");
    let value = "v".repeat(MIB);
    assert_eq!(net.ask("b", &format!("SET {big} {value}")), "OK");
    let get = format!("GET {big}");
    let mut requests = vec![get.as_str(); 270];
    let count = format!("INCR {big}:count");
    requests.insert(0, &count);
    let replies = net.ask_all("a", &requests);
    let replies: Vec<&str> = replies.split(" | ").collect();
    assert_eq!(replies[0], "1", "an executed request has its reply");
    let values = replies.iter().filter(|reply| **reply == value).count();
    let refused = replies.iter().filter(|reply| **reply == "!oom").count();
    assert_eq!((values, refused), (80, 190), "5/16 of the buffers");
    check_nobody_was_cut(&net);
}

/// More shards at once than may be on the way to a peer, and more bytes in each.
#[test]
fn a_joining_node_is_filled_with_large_values() {
    let mut net = Net::new();
    net.start("a", &[]);
    let value = "v".repeat(MIB / 2);
    let keys: Vec<String> = (0..400).map(|number| format!("key:{number}")).collect();
    for key in &keys {
        assert_eq!(net.ask("a", &format!("SET {key} {value}")), "OK");
    }
    net.start("b", &["a"]);
    assert!(net.heals_within(2_000), "it is never ready");
    assert_eq!((net.cuts("a"), net.cuts("b")), (vec![], vec![]));
    net.kill("a");
    net.run_ms(5);
    for key in &keys {
        assert!(net.ask("b", &format!("GET {key}")) == value, "{key}");
    }
}

/// The fill starts again from another source, or when its source is back.
#[test]
fn a_node_cut_off_during_its_fill_is_filled_in_the_end() {
    let mut net = Net::new();
    net.start("a", &[]);
    let value = "v".repeat(MIB / 2);
    for number in 0..200 {
        assert_eq!(net.ask("a", &format!("SET key:{number} {value}")), "OK");
    }
    net.start("b", &["a"]);
    for _ in 0..5 {
        net.run_ms(20);
        net.cut("a", "b");
    }
    net.heal();
    net.kill("a");
    net.run_ms(5);
    for number in 0..200 {
        assert!(net.ask("b", &format!("GET key:{number}")) == value, "key:{number}");
    }
}

#[test]
fn many_large_values_at_once_lose_no_replica() {
    let mut net = Net::cluster(&NAMES);
    let keys: [String; 4] = keys_of(&mut net, "b", "a");
    let value = "v".repeat(40 * MIB);
    let sets = keys.each_ref().map(|key| format!("SET {key} {value}"));
    let began = sets.each_ref().map(|set| net.begin("b", &[set]));
    for id in began {
        assert_eq!(net.wait("b", id, 100), "OK");
    }
    check_nobody_was_cut(&net);
    assert_eq!(net.counter("b", "writes_relaxed"), 0);
    let began = keys.each_ref().map(|key| net.begin("a", &[&format!("GET {key}")]));
    for id in began {
        assert!(net.wait("a", id, 100) == value);
    }
    check_nobody_was_cut(&net);
}
