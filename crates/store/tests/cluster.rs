//! Several stores together: forming, forwarding, replicas, loss, leaving.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::{
    ask::{NodeStatus, Payload, Session, ShardStatus, Silence},
    slot,
    stop::StopRisk,
};

fn fill(net: &mut Net, name: &str, keys: usize) {
    for number in 0..keys {
        assert_eq!(net.ask(name, &format!("SET key:{number} value:{number}")), "OK");
    }
}

#[track_caller]
fn check_filled(net: &mut Net, names: &[&str], keys: usize) {
    for name in names {
        for number in 0..keys {
            assert_eq!(
                net.ask(name, &format!("GET key:{number}")),
                format!("value:{number}"),
                "key:{number} at {name}"
            );
        }
    }
}

#[test]
fn a_node_alone_serves_at_once() {
    let mut net = Net::new();
    net.start("a", &[]);
    assert_eq!(
        net.ask_all("a", &["SET k v", "GET k", "GET other", "NOSUCH k"]),
        "OK | v | - | !bad_request"
    );
    assert_eq!(net.counter("a", "formed"), 128);
}

#[test]
fn three_form_and_read_what_each_writes() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    for writer in ["a", "b", "c"] {
        for number in 0..20 {
            let key = format!("{writer}:{number}");
            assert_eq!(net.ask(writer, &format!("SET {key} {number}")), "OK");
            for reader in ["a", "b", "c"] {
                assert_eq!(
                    net.ask(reader, &format!("GET {key}")),
                    number.to_string(),
                    "{key} at {reader}"
                );
            }
        }
    }
    for name in ["a", "b", "c"] {
        assert_eq!(net.notes(name), [""; 0]);
    }
}

#[test]
fn the_others_go_on_when_one_node_dies() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a", 50);
    net.kill("b");
    net.run_ms(5);
    check_filled(&mut net, &["a", "c"], 50);
    assert_eq!(net.ask("c", "SET key:0 value:0"), "OK");
    assert_eq!(net.ask("a", "INCR count"), "1");
    net.kill("a");
    net.run_ms(5);
    assert_eq!(net.ask("c", "INCR count"), "2");
    check_filled(&mut net, &["c"], 50);
}

#[test]
fn requests_on_many_keys_gather_from_all_nodes() {
    // Two replicas on five nodes: every node has to ask others.
    let mut net = Net::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.replicas = 2;
        net.start_with(config);
    }
    net.heal();
    let keys: Vec<String> = (0..100).map(|number| format!("key:{number}")).collect();
    let pairs: Vec<String> = (0..100).map(|number| format!("key:{number} value:{number}")).collect();
    let values: Vec<String> = (0..100).map(|number| format!("value:{number}")).collect();
    assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(
            net.ask(name, &format!("MGET {} none", keys.join(" "))),
            format!("[{} -]", values.join(" "))
        );
        assert_eq!(net.ask(name, "DBSIZE"), "100");
        assert_eq!(net.ask(name, &format!("EXISTS {} none", keys.join(" "))), "100");
        let mut listed: Vec<String> = words(&net.ask(name, "KEYS key:*"));
        listed.sort();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(listed, sorted);
        assert_eq!(scan(&mut net, name), sorted);
        assert!(keys.contains(&net.ask(name, "RANDOMKEY")));
    }
    assert!(net.counter("a", "forwarded") > 0);
    assert_eq!(net.ask("b", &format!("DEL {} none", keys[..30].join(" "))), "30");
    assert_eq!(net.ask("c", "DBSIZE"), "70");
    assert_eq!(net.ask("d", "DEL key:30"), "1");
    assert_eq!(net.ask("d", "EXISTS key:30"), "0");
    assert_eq!(net.ask("e", "FLUSHALL"), "OK");
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(net.ask(name, "DBSIZE"), "0");
    }
}

#[test]
fn a_read_whose_node_is_lost_does_not_see_a_later_write() {
    let names = ["a", "b", "c", "d", "e"];
    let mut net = Net::new();
    for name in names {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.replicas = 2;
        net.start_with(config);
    }
    net.heal();
    let keys: Vec<String> = (0..20).map(|number| format!("key:{number}")).collect();
    let mut requests = vec![format!("MGET {}", keys.join(" "))];
    requests.extend(keys.iter().map(|key| format!("DEL {key}")));
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    for other in &names[..4] {
        fill(&mut net, "a", 20);
        net.deafen(other, "e");
        let id = net.begin("e", &requests);
        // All requests are executed, but some of the replies have not come back.
        net.run_ms(5);
        assert_eq!(net.answer("e", id), None);
        net.cut(other, "e");
        net.hear();
        let answer = net.wait("e", id, 5_100);
        let shown = words(answer.split(" | ").next().unwrap());
        assert!(!shown.contains(&"-".to_owned()), "{answer}");
        net.heal();
    }
}

fn words(reply: &str) -> Vec<String> {
    reply
        .trim_matches(['[', ']'])
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(String::from)
        .collect()
}

fn scan(net: &mut Net, name: &str) -> Vec<String> {
    let (mut cursor, mut keys) = (String::from("0"), Vec::new());
    loop {
        let reply = words(&net.ask(name, &format!("SCAN {cursor} COUNT 20")));
        cursor.clone_from(&reply[0]);
        keys.extend(
            reply[1..]
                .iter()
                .map(|key| key.trim_start_matches('[').to_string())
                .filter(|key| !key.is_empty()),
        );
        if cursor == "0" {
            keys.sort();
            return keys;
        }
    }
}

#[test]
fn a_pipeline_sees_its_own_writes_on_every_node() {
    let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
    for number in 0..50 {
        let set = format!("SET key:{number} 1");
        let (get, incr) = (format!("GET key:{number}"), format!("INCR key:{number}"));
        let answer = net.ask_all(
            "d",
            &[
                &set,
                &get,
                &incr,
                &get,
                &format!("MGET key:{number} x"),
                &format!("DEL key:{number}"),
                &get,
            ],
        );
        assert_eq!(answer, "OK | 1 | 2 | 2 | [2 -] | 1 | -");
    }
}

#[test]
fn keyspaces_are_separate_even_within_a_batch() {
    let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
    for number in 0..30 {
        for keyspace in [0, 1] {
            let id = net.begin_in("a", keyspace, &[&format!("SET key:{number} in:{keyspace}")]);
            assert_eq!(net.wait("a", id, 100), "OK");
        }
        for keyspace in [0, 1] {
            let id = net.begin_in("b", keyspace, &[&format!("GET key:{number}"), "DBSIZE"]);
            assert_eq!(net.wait("b", id, 100), format!("in:{keyspace} | {}", number + 1));
        }
    }
}

#[test]
fn after_the_write_timeout_a_majority_is_enough() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let key = key_of(&mut net, "a");
    net.stop("c");
    let id = net.begin("a", &[&format!("SET {key} 1")]);
    net.run_ms(990);
    assert_eq!(net.answer("a", id), None);
    assert_eq!(net.wait("a", id, 70), "OK");
    assert_eq!(net.counter("a", "writes_relaxed"), 1);
    // From now on writes do not wait for the silent node, until it answers again.
    let id = net.begin("a", &[&format!("SET {key} 2")]);
    assert_eq!(net.wait("a", id, 10), "OK");
    net.resume("c");
    let get = format!("GET {key}");
    assert_eq!(
        net.ask("c", &get),
        "2",
        "it must not answer before it has the writes it missed"
    );
    net.run_ms(500);
    net.stop("c");
    let id = net.begin("a", &[&format!("SET {key} 3")]);
    net.run_ms(900);
    assert_eq!(net.answer("a", id), None, "writes wait for it again");
}

/// A key whose primary is this node.
fn key_of(net: &mut Net, name: &str) -> String {
    let status = net.status(name);
    let is_primary = |key: &String| {
        let shard = store::slot::shard(store::slot::slot(key.as_bytes()), net::SHARDS);
        status.shards[usize::from(shard)].primary.as_ref() == Some(&status.name)
    };
    (0..).map(|number| format!("key:{number}")).find(is_primary).unwrap()
}

#[test]
fn a_write_to_a_silent_primary_ends_at_its_deadline() {
    let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
    for (from, to) in [("b", "a"), ("c", "a"), ("d", "a"), ("e", "a")] {
        net.deafen(from, to);
    }
    let requests: Vec<String> = (0..40).map(|number| format!("SET key:{number} 1")).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let began = net.begin("a", &requests);
    let answer = net.wait("a", began, 5_100);
    for reply in answer.split(" | ") {
        assert!(["OK", "!timeout", "!no_quorum"].contains(&reply), "{reply}");
    }
    assert!(answer.contains("!timeout"), "a is not the primary of everything");
    net.hear();
    net.heal();
    assert_eq!(net.ask("a", "SET key:0 2"), "OK");
    assert_eq!(net.ask("e", "GET key:0"), "2");
}

#[test]
fn a_write_that_reaches_its_primary_after_its_deadline_is_not_done() {
    let mut net = Net::new();
    for name in ["a", "b", "c"] {
        net.start_with(store::config::Config {
            request_timeout_ms: 1_000,
            ..net::config(name, &["a"])
        });
    }
    net.heal();
    let key = key_of(&mut net, "b");
    net.deafen("a", "b");
    let late = net.begin("a", &[&format!("SET {key} late")]);
    assert_eq!(net.wait("a", late, 1_100), "!timeout");
    assert_eq!(net.ask("b", &format!("SET {key} later")), "OK");
    net.hear();
    net.run_ms(100);
    assert_eq!(net.ask("b", &format!("GET {key}")), "later");
}

#[test]
fn a_leaving_node_hands_over_and_reports_it() {
    let mut net = Net::cluster(&["a", "b", "c", "d"]);
    fill(&mut net, "a", 100);
    net.tell("b", Payload::Leave);
    for number in 0..100 {
        let answer = net.ask("b", &format!("GET key:{number}"));
        let is_closing = net.notes("b").contains(&"closing") && answer == "!stopping";
        assert!(is_closing || answer == format!("value:{number}"), "{answer}");
        assert_eq!(net.ask("c", "INCR hot"), (number + 1).to_string());
    }
    net.run_ms(3_000);
    assert_eq!(net.notes("b"), ["serving_out", "closing", "left"]);
    net.kill("b");
    net.heal();
    check_filled(&mut net, &["a", "c", "d"], 100);
    let status = net.status("a");
    assert!(status.shards.iter().all(|shard| shard.ready.len() == 3));
}

#[test]
fn a_leaving_node_ends_only_after_its_peers_have_its_goodbye() {
    let mut net = Net::cluster(&["a", "b", "c", "d"]);
    net.tell("b", Payload::Leave);
    while !net.notes("b").contains(&"left") {
        net.run_us(100);
    }
    for name in ["a", "c", "d"] {
        assert!(net.knows_to_be_gone(name, "b"), "{name} would miss it");
    }
}

/// A primary that has not met the joining node goes on writing without it.
#[test]
fn a_joining_node_is_not_ready_before_all_peers_have_reported_their_copies() {
    let mut net = Net::cluster(&["a", "b"]);
    let key = key_of(&mut net, "a");
    assert_eq!(net.ask("a", &format!("SET {key} old")), "OK");
    net.start("c", &["a", "b"]);
    // The handshakes are over. c receives the hello of a, but a does not receive the hello of c.
    net.run_us(2_200);
    net.deafen("c", "a");
    net.run_ms(20);
    assert_eq!(net.ask("a", &format!("SET {key} new")), "OK");
    assert_eq!(net.ask("c", &format!("GET {key}")), "new");
}

#[test]
fn nodes_that_leave_one_after_the_other_hand_over_until_the_last() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a", 50);
    net.tell("a", Payload::Leave);
    net.run_ms(3_000);
    assert_eq!(net.texts("a", "left"), ["every shard is handed over"]);
    net.kill("a");
    check_filled(&mut net, &["b"], 50);
    net.tell("b", Payload::Leave);
    net.run_ms(3_000);
    assert_eq!(net.notes("b"), ["lost", "serving_out", "closing", "left"]);
}

/// A shard with constant writes must become ready at a joining node, and be handed over by a leaving one.
#[test]
fn constant_writes_delay_no_join_and_no_leave() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let mut began = Vec::new();
    let mut write = |net: &mut Net| {
        began.push(net.begin("b", &["INCR hot"]));
        net.run_us(200);
    };
    (0..50).for_each(|_| write(&mut net));
    net.start("d", &["a"]);
    let ready = (0..10_000).find(|_| {
        write(&mut net);
        net.status("d").ready && net.status("d").nodes.len() == 4
    });
    assert!(ready.is_some(), "the joining node is never ready");
    net.tell("a", Payload::Leave);
    let left = (0..10_000).find(|_| {
        write(&mut net);
        net.notes("a").contains(&"serving_out")
    });
    assert!(left.is_some(), "the leaving node never ends");
    net.run_ms(100);
    let counts: Vec<String> = began.iter().map(|id| net.answer("b", *id).unwrap()).collect();
    let expected: Vec<String> = (1..=began.len()).map(|count| count.to_string()).collect();
    assert_eq!(counts, expected);
}

#[test]
fn a_replica_that_receives_nothing_does_not_answer_with_old_values() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let key = key_of(&mut net, "a");
    let get = format!("GET {key}");
    assert_eq!(net.ask("a", &format!("SET {key} old")), "OK");
    net.run_ms(7);
    net.deafen("a", "c");
    let id = net.begin("a", &[&format!("SET {key} new")]);
    let mut gets = Vec::new();
    while net.answer("a", id).is_none() {
        net.run_ms(1);
    }
    for _ in 0..500 {
        gets.push(net.begin("c", &[&get]));
        net.run_ms(1);
    }
    net.hear();
    for id in gets {
        assert_eq!(net.wait("c", id, 5_100), "new");
    }
}

#[test]
fn a_replica_that_does_not_know_that_it_is_lost_does_not_answer_with_old_values() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let key = key_of(&mut net, "a");
    assert_eq!(net.ask("a", &format!("SET {key} old")), "OK");
    net.run_ms(7);
    net.part("a", "c");
    let id = net.begin("a", &[&format!("SET {key} new")]);
    net.cut_end("a", "c");
    let mut ms = 0;
    while net.answer("a", id).is_none() {
        net.run_ms(1);
        ms += 1;
    }
    assert!(ms < 1_000, "the write took {ms} ms");
    let gets: Vec<u64> = (0..500)
        .map(|_| {
            net.run_ms(1);
            net.begin("c", &[&format!("GET {key}")])
        })
        .collect();
    for id in gets {
        assert_eq!(net.wait("c", id, 5_100), "new");
    }
}

#[test]
fn a_joining_node_is_filled_and_serves() {
    let mut net = Net::cluster(&["a"]);
    // More writes than the recent writes remember, so that whole shards are streamed.
    let value = "v".repeat(4000);
    for number in 0..300 {
        assert_eq!(net.ask("a", &format!("SET key:{number} {value}")), "OK");
    }
    net.start("b", &["a"]);
    for number in 0..300 {
        let answer = net.ask("b", &format!("GET key:{number}"));
        assert!(answer == value || answer == "!no_nodes", "key:{number}");
    }
    net.heal();
    net.kill("a");
    net.run_ms(5);
    for number in 0..300 {
        assert_eq!(net.ask("b", &format!("GET key:{number}")), value);
    }
}

#[test]
fn the_only_holder_of_a_shard_is_not_safe_to_stop() {
    let mut net = Net::new();
    for name in ["a", "b"] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.replicas = 1;
        net.start_with(config);
        if name == "a" {
            net.heal();
            fill(&mut net, "a", 300);
        }
    }
    let alone = |name: &str, shard: &ShardStatus| shard.ready == [name] && !shard.replicas.contains(&name.into());
    let mut seen = 0;
    for _ in 0..2_000 {
        net.run_ms(1);
        let status = net.status("b");
        let is_a = |node: &&NodeStatus| node.member.name.as_str() == "a@net";
        if status.shards.iter().any(|shard| alone("a@net", shard)) {
            seen += 1;
            assert!(status.nodes.iter().find(is_a).unwrap().stop_risk.is_some());
        }
    }
    assert!(seen > 0, "no shard was being handed over");
    net.heal();
    for node in &net.status("b").nodes {
        let shards = node.vitals.shards_held;
        assert_eq!(
            node.stop_risk,
            Some(StopRisk::FewReplicas { shards, left: 0 }),
            "one replica"
        );
    }
}

#[test]
fn one_of_three_nodes_with_three_replicas_is_safe_to_stop() {
    let mut net = Net::new();
    let risks = |net: &mut Net, at: &str| -> Vec<&str> {
        let status = net.status(at);
        let words = status
            .nodes
            .iter()
            .map(|node| node.stop_risk.as_ref().map_or("yes", StopRisk::word));
        words.collect()
    };
    net.start("a", &[]);
    net.heal();
    fill(&mut net, "a", 300);
    assert_eq!(risks(&mut net, "a"), ["few_replicas"], "alone");
    net.start("b", &["a"]);
    net.heal();
    assert_eq!(
        risks(&mut net, "a"),
        ["few_replicas"; 2],
        "no third node to make a copy"
    );
    net.start("c", &["a"]);
    net.heal();
    for at in ["a", "b", "c"] {
        assert_eq!(risks(&mut net, at), ["yes"; 3], "seen from {at}");
    }
    net.kill("c");
    net.heal();
    assert_eq!(risks(&mut net, "a"), ["few_replicas", "few_replicas", "away"]);
    net.start("c", &["a"]);
    net.heal();
    assert_eq!(risks(&mut net, "b"), ["yes"; 3], "c has its copies again");
}

#[test]
fn an_empty_restarted_node_yields() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a", 50);
    // It has no nodes to join, so it forms at once. The others find it.
    net.kill("a");
    net.start("a", &[]);
    net.heal();
    check_filled(&mut net, &["a", "b", "c"], 50);
    // A node with nodes to join serves nothing before it has the data of the others.
    net.kill("b");
    net.start("b", &["a", "c"]);
    for number in 0..50 {
        let answer = net.ask("b", &format!("GET key:{number}"));
        assert!(answer == format!("value:{number}") || answer == "!no_nodes", "{answer}");
    }
    net.heal();
    check_filled(&mut net, &["b"], 50);
}

#[test]
fn all_nodes_restart_and_form_again() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a", 5);
    for name in ["a", "b", "c"] {
        net.kill(name);
    }
    for (name, join) in [("a", ["b", "c"]), ("b", ["a", "c"]), ("c", ["a", "b"])] {
        net.start(name, &join);
    }
    net.heal();
    assert_eq!(net.ask("b", "GET key:0"), "-");
    assert_eq!(net.ask("c", "SET key:0 1"), "OK");
    // Two of three nodes wait for the third.
    for name in ["a", "b", "c"] {
        net.kill(name);
    }
    net.start("a", &["b", "c"]);
    net.start("b", &["a", "c"]);
    net.run_ms(60_000);
    assert_eq!(net.ask("a", "GET key:0"), "!no_nodes");
    net.start("c", &["a", "b"]);
    net.heal();
    assert_eq!(net.ask("a", "GET key:0"), "-");
}

#[test]
fn a_shard_of_a_missed_node_is_not_formed_without_it() {
    let mut net = Net::new();
    let lonely = |name, join: &[&str]| store::config::Config {
        replicas: 1,
        ..net::config(name, join)
    };
    for name in ["a", "b", "c"] {
        net.start_with(lonely(name, if name == "a" { &[] } else { &["a"] }));
    }
    net.heal();
    fill(&mut net, "a", 60);
    net.kill("b");
    net.run_ms(20_000);
    let lost: Vec<usize> = (0..60)
        .filter(|number| net.ask("a", &format!("GET key:{number}")) == "!no_nodes")
        .collect();
    assert!(
        (10..40).contains(&lost.len()),
        "{} of 60 keys were at b alone",
        lost.len()
    );
    // After a restart the node has a new creation. The data of its former life is lost.
    net.start_with(lonely("b", &["a"]));
    net.heal();
    for number in 0..60 {
        let expected = if lost.contains(&number) {
            "-".into()
        } else {
            format!("value:{number}")
        };
        assert_eq!(net.ask("c", &format!("GET key:{number}")), expected);
    }
}

#[test]
fn connections_that_break_are_made_again_and_nothing_is_lost() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    for round in 0..30 {
        let set = format!("SET key:{round} value:{round}");
        let ids = [("a", net.begin("a", &[&set])), ("b", net.begin("b", &[&set]))];
        net.cut("a", ["b", "c"][round % 2]);
        net.run_ms(round as u64);
        for (name, id) in ids {
            net.wait(name, id, 5_100);
        }
    }
    net.heal();
    check_filled(&mut net, &["a", "b", "c"], 30);
}

#[test]
fn a_node_that_was_stopped_does_not_answer_with_old_values() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a", 60);
    // Just below 5 s the others may or may not have dropped it, depending on where in their ticks the pause begins.
    let close = (0..25).map(|step| 4_990 + step % 2);
    for pause_ms in [1_500, 4_700, 5_100, 5_600, 6_500, 9_000].into_iter().chain(close) {
        net.run_ms(26);
        net.stop("a");
        let set = |number| format!("SET key:{number} later:{pause_ms}");
        net.run_ms(pause_ms / 2);
        let sets: Vec<u64> = (0..60).map(|number| net.begin("b", &[&set(number)])).collect();
        net.run_ms(pause_ms - pause_ms / 2);
        let written: Vec<bool> = sets
            .iter()
            .map(|id| net.answer("b", *id) == Some("OK".into()))
            .collect();
        net.resume("a");
        let gets: Vec<u64> = (0..60)
            .map(|number| net.begin("a", &[&format!("GET key:{number}")]))
            .collect();
        for (id, written) in gets.into_iter().zip(written) {
            let answer = net.wait("a", id, 5_100);
            let good = !written || answer == format!("later:{pause_ms}") || answer.starts_with('!');
            assert!(good, "{answer} after {pause_ms} ms");
        }
        net.heal();
        for number in 0..60 {
            assert_eq!(net.ask("c", &set(number)), "OK");
        }
    }
}

#[test]
fn nodes_that_all_stood_still_go_on_without_those_that_were_down_before() {
    let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
    fill(&mut net, "a", 60);
    net.kill("d");
    net.kill("e");
    net.heal();
    for name in ["a", "b", "c"] {
        net.stop(name);
    }
    net.run_ms(8_000);
    for name in ["a", "b", "c"] {
        net.resume(name);
    }
    net.run_ms(5_000);
    check_filled(&mut net, &["a", "b", "c"], 60);
}

#[test]
fn nodes_that_stood_still_wait_for_one_that_was_up_then() {
    let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
    fill(&mut net, "a", 60);
    net.kill("d");
    net.heal();
    for name in ["a", "b", "c"] {
        net.stop(name);
    }
    // It goes on alone.
    net.run_ms(8_000);
    let set = net.ask("e", "SET key:7 later");
    assert_eq!(set, "OK");
    for name in ["a", "b", "c"] {
        net.part(name, "e");
        net.resume(name);
    }
    net.run_ms(5_000);
    let answer = net.ask("a", "GET key:7");
    assert!(answer.starts_with('!'), "{answer} does not know what e wrote");
    net.mend();
    net.heal();
    assert_eq!(net.ask("a", "GET key:7"), "later");
}

fn keys_held(net: &mut Net, name: &str) -> u64 {
    let status = net.status(name);
    let own = status
        .nodes
        .iter()
        .find(|node| node.member.name.as_str() == status.name);
    own.unwrap().vitals.keys_held
}

#[test]
fn expired_keys_are_freed_as_fast_as_keys_can_be_written() {
    let mut net = Net::new();
    let mut config = net::config("a", &[]);
    (config.shards, config.replicas) = (16, 1);
    config.keyspaces.truncate(1);
    net.start_with(config);
    net.heal();
    // As many keys stay as expire, so that looking at a few keys is not enough.
    for part in 0..20 {
        let sets: Vec<String> = (part * 1_000..(part + 1) * 1_000)
            .flat_map(|number| [format!("SET stays:{number} v"), format!("SET goes:{number} v PX 100")])
            .collect();
        net.ask_all("a", &sets.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(keys_held(&mut net, "a"), 40_000);
    net.run_ms(6_000);
    assert_eq!(
        (keys_held(&mut net, "a"), net.counter("a", "expired")),
        (20_000, 20_000)
    );
}

#[test]
fn an_expired_key_is_deleted_once_and_everywhere() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    for number in 0..100 {
        assert_eq!(net.ask("a", &format!("SET key:{number} v PX 500")), "OK");
    }
    net.run_ms(600);
    assert_eq!((net.ask("b", "GET key:7"), keys_held(&mut net, "b")), ("-".into(), 100));
    net.run_ms(4_000);
    for name in ["a", "b", "c"] {
        assert_eq!(keys_held(&mut net, name), 0);
    }
    let expired: u64 = ["a", "b", "c"].map(|name| net.counter(name, "expired")).iter().sum();
    assert_eq!(expired, 100);
}

#[test]
fn a_counter_whose_extension_comes_late_is_complete_everywhere() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    // Finds a key whose primary is a, and b after a has died.
    let status = net.status("a");
    let order = |number: &usize| {
        let shard = usize::from(slot::shard(slot::slot(format!("n:{number}").as_bytes()), net::SHARDS));
        status.shards[shard].replicas == ["a@net", "b@net", "c@net"]
    };
    let key = format!("n:{}", (0..).find(order).unwrap());
    assert_eq!(net.ask("a", &format!("INCRBY {key} 5")), "5");
    assert_eq!(net.ask("a", &format!("PEXPIRE {key} 800")), "1");
    net.kill("a");
    net.run_ms(100);
    net.deafen("b", "c");
    let extended = net.begin("b", &[&format!("PERSIST {key}")]);
    net.run_ms(3_500);
    net.hear();
    assert_eq!(net.wait("b", extended, 5_100), "1");
    net.heal();
    for name in ["b", "c"] {
        assert_eq!(net.ask(name, &format!("GET {key}")), "5", "at {name}");
    }
    net.kill("b");
    net.run_ms(5);
    assert_eq!(net.ask("c", &format!("GET {key}")), "5");
}

/// The node waits for reports of the others, which do not come.
#[test]
fn a_client_without_replies_gets_none_from_a_node_that_was_stopped() {
    let mut net = Net::new();
    for name in ["a", "b", "c"] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.request_timeout_ms = 1_000;
        net.start_with(config);
    }
    net.heal();
    net.stop("a");
    net.run_ms(1_500);
    for name in ["b", "c"] {
        net.deafen(name, "a");
    }
    net.resume("a");
    net.run_ms(1);
    let began = [Silence::Off, Silence::Skip, Silence::On].map(|silence| {
        let session = Session {
            silence,
            ..Session::new(0, true)
        };
        net.begin_as("a", session, &["GET k", "GET k"])
    });
    let answers = began.map(|id| net.wait("a", id, 1_100));
    assert_eq!(
        answers,
        ["!no_nodes | !no_nodes", "NoReply | !no_nodes", "NoReply | NoReply"]
    );
}
