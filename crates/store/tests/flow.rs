//! Large values, and many of them, between nodes: replies come in pieces and in order, and no connection is closed
//! because of them.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use bytes::Bytes;
use net::Net;
use store::{ask::Session, quorum::Level, slot};
use wire::etf::Term;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const MIB: usize = 1 << 20;

/// A key whose first two replicas are these, in this order, and of which a third node has no copy.
fn key_at(net: &mut Net, [first, second]: [&str; 2], without: &str) -> String {
    let status = net.status(first);
    let [first, second, without] = [first, second, without].map(|name| format!("{name}@net"));
    let mut keys = (0..10_000).map(|number| format!("key:{number}"));
    let is_there = |key: &String| {
        let shard = usize::from(slot::shard(slot::slot(key.as_bytes()), net::SHARDS));
        let replicas = &status.shards[shard].replicas;
        replicas[0] == first && replicas[1] == second && !replicas.contains(&without)
    };
    keys.find(is_there).unwrap()
}

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

// Slices

/// The nodes beside `b` that hold a key of which it is the primary.
fn holders(net: &mut Net, key: &str) -> Vec<&'static str> {
    let status = net.status("b");
    let shard = &status.shards[usize::from(slot::shard(slot::slot(key.as_bytes()), net::SHARDS))];
    let holds = |name: &&str| *name != "b" && shard.replicas.contains(&format!("{name}@net"));
    NAMES.into_iter().filter(holds).collect()
}

#[test]
fn a_small_write_does_not_wait_for_a_large_one() {
    let mut net = Net::cluster(&NAMES);
    let [big, small] = keys_of(&mut net, "b", "a");
    let set_big = format!("SET {big} {}", "v".repeat(24 * MIB));
    // At the primary the values go to the replicas, and by way of another node to the primary, too.
    for door in ["b", "a"] {
        let large = net.begin(door, &[&set_big]);
        net.run_us(500);
        let began = net.begin(door, &[&format!("SET {small} {door}")]);
        assert_eq!(net.wait(door, began, 3), "OK", "at {door}");
        assert_eq!(net.answer(door, large), None, "at {door}");
        assert_eq!(net.wait(door, large, 100), "OK", "at {door}");
        let read = net.begin("a", &[&format!("GET {big}")]);
        net.run_us(500);
        let get = net.begin("a", &[&format!("GET {small}")]);
        assert_eq!((net.wait("a", get, 3).as_str(), net.answer("a", read)), (door, None));
        assert_eq!(net.wait("a", read, 100).len(), 24 * MIB);
    }
    check_nobody_was_cut(&net);
}

#[test]
fn requests_of_one_client_and_casts_of_one_process_keep_their_order() {
    let mut net = Net::cluster(&NAMES);
    let [key, other] = keys_of(&mut net, "b", "a");
    let value = "v".repeat(8 * MIB);
    let replies = net.ask_all(
        "a",
        &[
            &format!("SET {key} {value}"),
            &format!("MSET {other} 1 {key} small"),
            &format!("GET {key}"),
        ],
    );
    assert_eq!(replies, "OK | OK | small");
    for value in [value.as_str(), "later"] {
        let binary = |text: &str| Term::Binary(Bytes::copy_from_slice(text.as_bytes()));
        let put = Term::tuple([Term::atom("put"), binary(&key), binary(value)]);
        net.send("a", "salp", Term::tuple([Term::atom("$gen_cast"), put]));
    }
    let get = Term::tuple([Term::atom("get"), Term::Binary(Bytes::copy_from_slice(key.as_bytes()))]);
    assert_eq!(net.call("a", "salp", get).to_string(), "{ok,<<\"later\">>}");
}

/// The replies to the first part of the batch are too large for one message, so one of its requests is put off. The
/// second part must not overtake it.
#[test]
fn requests_that_waited_and_are_put_off_are_not_overtaken() {
    let mut net = Net::cluster(&["a", "b"]);
    let [key, other] = keys_of(&mut net, "b", "c");
    let (big, small) = (format!("{{{key}}}:big"), format!("{{{key}}}:small"));
    let value = "v".repeat(5 * MIB);
    assert_eq!(net.ask("b", &format!("SET {big} {value}")), "OK");
    net.cut("a", "b");
    net.run_ms(2);
    let id = net.begin(
        "a",
        &[
            &format!("GET {big}"),
            &format!("GET {small}"),
            &format!("MSET {small} 1 {other} 1"),
        ],
    );
    assert_eq!(net.wait("a", id, 1_000).replace(&value, "V"), "V | - | OK");
    assert!(net.counter("a", "parked") > 0);
}

/// A batch is taken apart if its requests wait for their shard. Its parts keep their order when they are forwarded at
/// last, whatever their size.
#[test]
fn requests_that_waited_are_not_overtaken_by_later_ones_of_their_batch() {
    let mut net = Net::cluster(&["a", "b"]);
    let value = "v".repeat(MIB);
    let keys: [String; 4] = keys_of(&mut net, "b", "c");
    let [set, pair, each, other] = &keys;
    let batches: [(&[String], &str); 3] = [
        // The second command has parts, so what waits before it is put aside.
        (
            &[
                format!("SET {set} {value}"),
                format!("DEL {other} {pair}"),
                format!("STRLEN {set}"),
            ],
            "OK | 0 | 1048576",
        ),
        (
            &[format!("MSET {pair} {value} {other} 1"), format!("STRLEN {pair}")],
            "OK | 1048576",
        ),
        (
            &[format!("SET {each} {value}"), format!("EXISTS {each} {other}")],
            "OK | 2",
        ),
    ];
    for (batch, expected) in batches {
        // `a` decides on no shard of `b` until it is sure that the connection does not come back.
        net.cut("a", "b");
        net.run_ms(2);
        let requests: Vec<&str> = batch.iter().map(String::as_str).collect();
        let id = net.begin("a", &requests);
        net.run_us(10);
        assert_eq!(net.answer("a", id), None);
        assert_eq!(net.wait("a", id, 1_000), expected);
        net.heal();
    }
    assert!(net.counter("a", "parked") > 0);
}

/// `a` has just lost `c` and takes `b` for the primary. `b` forwards what comes from `a` to `c`.
#[test]
fn a_node_on_the_way_keeps_the_order_of_a_batch() {
    let mut net = Net::cluster(&NAMES);
    let key = key_at(&mut net, ["c", "b"], "a");
    let [other, third] = keys_of(&mut net, "b", "c");
    net.cut("a", "c");
    net.run_ms(1);
    let set = format!("SET {key} {}", "v".repeat(MIB));
    let id = net.begin("a", &[&set, &format!("DEL {other} {third}"), &format!("STRLEN {key}")]);
    assert_eq!(net.wait("a", id, 1_000), "OK | 0 | 1048576");
}

/// The same, but `c` is lost after it has executed everything, and before its replies have come.
#[test]
fn a_node_on_the_way_does_not_ask_again_for_a_read_before_a_write() {
    let mut net = Net::cluster(&NAMES);
    let key = key_at(&mut net, ["c", "b"], "a");
    let [other, third] = keys_of(&mut net, "b", "c");
    net.part("a", "c");
    net.cut("a", "c");
    net.run_ms(1);
    let requests = [
        format!("GET {key}"),
        format!("DEL {other} {third}"),
        format!("SET {key} later"),
    ];
    let id = net.begin("a", &requests.each_ref().map(String::as_str));
    net.run_ms(2);
    net.deafen("c", "b");
    net.run_ms(200);
    assert_eq!(net.answer("a", id), None);
    net.cut("c", "b");
    net.hear();
    let answer = net.wait("a", id, 5_100);
    net.heal();
    assert_eq!(net.ask("a", &format!("GET {key}")), "later", "it was executed");
    assert_eq!(answer, "!no_nodes | 0 | !timeout");
}

#[test]
fn a_replica_that_awaits_a_delta_leaves_reads_to_the_primary() {
    let mut net = Net::cluster(&NAMES);
    let [key] = keys_of(&mut net, "b", "a");
    let reader = holders(&mut net, &key)[0];
    assert_eq!(net.ask("b", &format!("SET {key} old")), "OK");
    let mut session = Session::new(0, true);
    session.level = Some(Level::One);
    let value = "v".repeat(24 * MIB);
    let set = net.begin_as("b", session, &[&format!("SET {key} {value}")]);
    assert_eq!(net.wait("b", set, 1), "OK");
    net.run_us(1_500);
    let read = net.begin(reader, &[&format!("STRLEN {key}")]);
    assert_eq!(net.wait(reader, read, 3), value.len().to_string());
}

#[test]
fn a_connection_that_is_cut_between_slices_leaves_nothing_half() {
    let mut net = Net::cluster(&NAMES);
    let [key] = keys_of(&mut net, "b", "a");
    let others = holders(&mut net, &key);
    for (number, cut_us) in [400, 1_500, 4_000].into_iter().enumerate() {
        let value = number.to_string().repeat(16 * MIB);
        let set = net.begin("a", &[&format!("SET {key} {value}")]);
        net.run_us(cut_us);
        for other in ["a", others[0]] {
            net.cut("b", other);
        }
        net.run_ms(50);
        net.heal();
        // Whether the write has reached the primary is not known; nothing of it is there, or all.
        let answer = net.answer("a", set).unwrap();
        let shown = net.ask("b", &format!("GET {key}"));
        assert!(shown == value || answer == "!timeout", "{answer}");
        assert_eq!(net.ask("b", &format!("SET {key} {value}")), "OK");
    }
    let last = "2".repeat(16 * MIB);
    net.kill("b");
    net.run_ms(50);
    for other in others {
        assert!(net.ask(other, &format!("GET {key}")) == last, "at {other}");
    }
}

#[test]
fn a_large_write_has_more_time_and_a_small_one_has_not() {
    let mut net = Net::cluster(&NAMES);
    let [big] = keys_of(&mut net, "b", "a");
    let (small, deaf) = (format!("{{{big}}}"), holders(&mut net, &big)[0]);
    net.deafen(deaf, "b");
    let began = net.begin("b", &[&format!("SET {small} 1")]);
    let large = net.begin("b", &[&format!("SET {big} {}", "v".repeat(12 * MIB))]);
    assert_eq!(
        net.wait("b", began, 1_100),
        "OK",
        "a majority will do after the write timeout"
    );
    assert_eq!(net.answer("b", large), None);
    net.run_ms(1_000);
    assert_eq!(net.answer("b", large), None, "it has 1.2 s more");
    assert_eq!(net.wait("b", large, 250), "OK");
}

#[test]
fn what_is_too_large_for_one_message_between_nodes_is_refused() {
    let mut net = Net::new();
    let mut config = net::config("a", &[]);
    config.value_bytes_max = MIB;
    net.start_with(config);
    net.heal();
    let pairs = |count: usize| -> String {
        let value = "v".repeat(MIB);
        (0..count).map(|number| format!(" {{k}}{number} {value}")).collect()
    };
    assert_eq!(net.ask("a", &format!("MSETNX{}", pairs(18))), "!bad_request");
    assert_eq!(net.ask("a", &format!("MSETNX{}", pairs(17))), "1");
}
