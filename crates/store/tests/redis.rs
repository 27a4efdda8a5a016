//! What clients of Redis rely on and one node cannot show: the shape of replies, requests that are refused as a whole,
//! and keys picked or listed over all shards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::{ask::Session, slot};

/// Three nodes without further replicas, the third of which is lost. And keys, of which the first ones are in lost
/// shards.
fn with_lost_shards() -> (Net, Vec<String>) {
    let mut net = Net::new();
    for name in ["a", "b", "c"] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.replicas = 1;
        net.start_with(config);
    }
    net.heal();
    let status = net.status("a");
    let is_lost = |key: &String| {
        let shard = slot::shard(slot::slot(key.as_bytes()), net::SHARDS);
        status.shards[usize::from(shard)].primary.as_deref() == Some("c@net")
    };
    let (lost, kept): (Vec<String>, Vec<String>) = (0..40).map(|number| format!("k{number}")).partition(is_lost);
    let keys: Vec<String> = lost.into_iter().take(2).chain(kept.into_iter().take(4)).collect();
    for key in &keys {
        assert_eq!(net.ask("a", &format!("SET {key} v")), "OK");
    }
    net.kill("c");
    net.run_ms(10_000);
    (net, keys)
}

/// Many clients return an error inside an array as if it were a value.
#[test]
fn a_request_of_many_keys_has_one_error_or_none() {
    let (mut net, keys) = with_lost_shards();
    let all = keys.join(" ");
    let pairs = keys.join(" w ") + " w";
    for node in ["a", "b"] {
        for request in [
            format!("MGET {all}"),
            format!("EXISTS {all}"),
            format!("TOUCH {all}"),
            format!("MGET {0} {0}", keys[0]),
            format!("MGET nosuch {}", keys[1]),
            "KEYS *".into(),
            "DBSIZE".into(),
            "RANDOMKEY".into(),
            "SCAN 0 COUNT 1000".into(),
            format!("MSET {pairs}"),
            format!("DEL {all}"),
            format!("UNLINK {all}"),
            "FLUSHALL".into(),
        ] {
            assert_eq!(net.ask(node, &request), "!no_nodes", "{request} at {node}");
        }
        let kept = keys[2..].join(" ");
        assert_eq!(
            net.ask(node, &format!("MGET {kept}")),
            "[v v v v]",
            "a refused request changes nothing"
        );
    }
}

/// The values together are too large for one reply.
#[test]
fn a_reply_that_is_too_large_is_one_error() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let value = "v".repeat(40 << 20);
    assert_eq!(net.ask("a", &format!("SET big {value}")), "OK");
    // Without `assert_eq`, which would print the values.
    assert!(net.ask("a", &format!("MGET {}", ["big"; 8].join(" "))) == "!oom");
    assert_eq!(net.ask("b", "MGET big small").len(), value.len() + "[ -]".len());
}

/// If a request is refused for one of its keys or values, none of it is done.
#[test]
fn a_request_refused_for_one_key_is_not_half_done() {
    let mut net = Net::new();
    for name in ["a", "b", "c"] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.value_bytes_max = 10;
        config.key_bytes_max = 20;
        net.start_with(config);
    }
    net.heal();
    let kept = ["k1", "k2", "k3", "k4"];
    let (long, large) = ("k".repeat(21), "v".repeat(11));
    let set: Vec<String> = kept.iter().map(|key| format!("{key} old")).collect();
    assert_eq!(net.ask("a", &format!("MSET {}", set.join(" "))), "OK");
    let pairs = kept.map(|key| format!("{key} new")).join(" ");
    let keys = kept.join(" ");
    for request in [
        format!("MSET {pairs} k5 {large}"),
        format!("MSET k5 {large} {pairs}"),
        format!("MSET {pairs} {long} v"),
        format!("MSET {pairs} k6"),
        format!("DEL {keys} {long}"),
        format!("UNLINK {long} {keys}"),
        "FLUSHALL SOMETIMES".into(),
        "FLUSHDB SYNC SYNC".into(),
    ] {
        let reply = net.ask("b", &request);
        assert!(reply.starts_with('!'), "{request}: {reply}");
        assert_eq!(net.ask("c", &format!("MGET {keys}")), "[old old old old]", "{request}");
        assert_eq!(net.ask("a", "DBSIZE"), "4", "{request}");
    }
}

/// A node that was stopped refuses requests on shards. Requests that change the connection are executed, so that later
/// ones run with the changed settings.
#[test]
fn a_refused_batch_still_changes_its_connection() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    net.stop("a");
    net.run_ms(1_500);
    for name in ["b", "c"] {
        net.deafen(name, "a");
    }
    net.resume("a");
    net.run_ms(1);
    let replies = |net: &mut Net, requests: &[&str]| {
        let id = net.begin("a", requests);
        net.wait("a", id, 5_100)
    };
    assert_eq!(
        replies(
            &mut net,
            &["GET k", "PING", "MULTI", "PING", "SET k 1", "EXEC", "SET k 2"]
        ),
        "!no_nodes | PONG | OK | QUEUED | QUEUED | !no_nodes | !no_nodes"
    );
    assert_eq!(
        replies(&mut net, &["SELECT 1", "CLIENT REPLY OFF", "GET k", "CLIENT REPLY ON"]),
        "OK | NoReply | NoReply | OK"
    );
    assert_eq!(
        replies(&mut net, &["NOSUCH", "QUIT", "GET k"]),
        "!bad_request | OK | NoReply"
    );
}

fn members(reply: &str) -> Vec<String> {
    let inner = reply.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
    inner
        .split(' ')
        .filter(|key| !key.is_empty())
        .map(String::from)
        .collect()
}

/// Nodes with one copy of each shard: every node has to ask the others.
fn without_replicas(names: &[&str]) -> Net {
    let mut net = Net::new();
    for name in names {
        let mut config = net::config(name, if name == &names[0] { &[] } else { &names[..1] });
        config.replicas = 1;
        net.start_with(config);
    }
    net.heal();
    net
}

/// First like the test of Valkey, then with many keys in all shards.
#[test]
fn random_keys_are_drawn_evenly_from_all_shards_of_all_nodes() {
    let mut net = without_replicas(&["a", "b", "c"]);
    assert_eq!(net.ask("a", "RANDOMKEY"), "-");
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let pairs = names.map(|name| format!("{name} 1")).join(" ");
    assert_eq!(net.ask("a", &format!("MSET {pairs}")), "OK");
    let draw = |net: &mut Net, node: &str, count: usize| {
        let replies = net.ask_all(node, &vec!["RANDOMKEY"; count]);
        let mut drawn = std::collections::BTreeMap::new();
        for key in replies.split(" | ") {
            *drawn.entry(String::from(key)).or_insert(0) += 1;
        }
        drawn
    };
    for node in ["a", "b", "c"] {
        let drawn = draw(&mut net, node, 4_000);
        assert_eq!(drawn.len(), names.len(), "{drawn:?}");
        // Each is expected 500 times, with a standard deviation of 21.
        assert!(drawn.values().all(|count| (380..620).contains(count)), "{drawn:?}");
    }

    let pairs: Vec<String> = (0..2_000).map(|number| format!("key:{number} 1")).collect();
    assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
    let drawn = draw(&mut net, "b", 20_000);
    // A key is missed with a chance of e^-10.
    assert!(drawn.len() > 1_990, "{} of 2008", drawn.len());
    assert!(drawn.values().all(|count| *count < 40), "{drawn:?}");
}

/// An expired key counts as a key until it is deleted, but is not picked.
#[test]
fn no_expired_key_is_picked() {
    let mut net = Net::cluster(&["a"]);
    for number in 0..500 {
        assert_eq!(net.ask("a", &format!("SET short:{number} 1 PX 100")), "OK");
    }
    assert_eq!(net.ask("a", "MSET x 1 y 1"), "OK");
    net.run_ms(101);
    let drawn = net.ask_all("a", &["RANDOMKEY"; 100]);
    let both = ["x", "y"].map(|name| drawn.split(" | ").filter(|key| key == &name).count());
    assert_eq!(both[0] + both[1], 100, "{drawn}");
    assert!(both.iter().all(|count| *count > 20), "{both:?}");
}

/// Scans from the beginning to the end. Returns the keys and the number of calls.
fn scan(net: &mut Net, node: &str, options: &str, mut between: impl FnMut(&mut Net, usize)) -> (Vec<String>, usize) {
    let (mut cursor, mut found, mut calls) = (0_u64, Vec::new(), 0);
    loop {
        let reply = net.ask(node, &format!("SCAN {cursor} {options}"));
        let (next, keys) = reply[1..reply.len() - 1].split_once(' ').unwrap();
        found.extend(members(keys));
        calls += 1;
        cursor = next.parse().unwrap();
        assert!(cursor < 1 << 53, "{cursor} is not exact as a double");
        if cursor == 0 {
            return (found, calls);
        }
        assert!(calls < 20_000, "the scan has no end");
        between(net, calls);
    }
}

#[test]
fn a_scan_finds_every_key_that_stays_with_cursors_exact_as_doubles() {
    let mut net = without_replicas(&["a", "b", "c"]);
    let pairs: Vec<String> = (0..2_000).map(|number| format!("stays:{number} 1")).collect();
    assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
    net.run_ms(2_000);
    for (node, options) in [
        ("a", "COUNT 7"),
        ("b", "COUNT 100"),
        ("c", "MATCH stays:* COUNT 33"),
        ("a", "COUNT 100000"),
    ] {
        let (mut found, _) = scan(&mut net, node, options, |net, calls| {
            let number = calls % 50;
            net.ask("b", &format!("SET comes:{calls} 1"));
            net.ask("c", &format!("DEL comes:{}", calls / 2));
            net.ask("a", &format!("APPEND stays:{number} x"));
        });
        found.retain(|key| key.starts_with("stays:"));
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 2_000, "{options} at {node}");
    }
}

/// The number of keys that a node uses may be a second old.
#[test]
fn a_scan_looks_at_about_count_keys_also_just_after_a_load() {
    for names in [&["a"][..], &["a", "b", "c"]] {
        let mut net = without_replicas(names);
        let pairs: Vec<String> = (0..5_000).map(|number| format!("load:{number} 1")).collect();
        assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
        for (count, most) in [(1, 2), (10, 20), (100, 200), (1_000, 2_000)] {
            let reply = net.ask("a", &format!("SCAN 0 COUNT {count}"));
            let (_, keys) = reply[1..reply.len() - 1].split_once(' ').unwrap();
            let found = members(keys).len();
            assert!((1..=most).contains(&found), "COUNT {count} of {names:?} gives {found}");
        }
        let (found, calls) = scan(&mut net, "a", "COUNT 500", |_, _| {});
        assert_eq!(found.len(), 5_000);
        assert!(calls <= 12, "{calls} calls");
    }
}

#[test]
fn the_empty_key_travels_like_any_other() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    assert_eq!(net.ask("a", "SET  v"), "OK");
    for node in ["a", "b", "c"] {
        assert_eq!(net.ask(node, "MGET  nosuch"), "[v -]", "at {node}");
    }
    assert_eq!(net.ask("b", "APPEND  w"), "2");
    net.start("d", &["a"]);
    net.heal();
    net.kill("a");
    net.run_ms(10_000);
    for node in ["b", "c", "d"] {
        assert_eq!(net.ask(node, "GET "), "vw", "at {node}");
    }
    assert_eq!(net.ask("d", "DEL "), "1");
    assert_eq!(net.ask("b", "EXISTS "), "0");
}

/// The increments of one writer add up to more than 64 bits, but the number always fits.
#[test]
fn a_sum_of_increments_beyond_64_bits_reaches_every_copy() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    assert_eq!(
        net.ask_all(
            "a",
            &[
                "SET n -9000000000000000000",
                "INCRBY n 9000000000000000000",
                "INCRBY n 9000000000000000000"
            ]
        ),
        "OK | 0 | 9000000000000000000"
    );
    // The sum reaches copies as a delta, as an entry of a stream, and from a copy that takes over as primary.
    for node in ["a", "b", "c"] {
        assert_eq!(net.ask(node, "GET n"), "9000000000000000000", "at {node}");
    }
    net.start("d", &["a"]);
    net.heal();
    for node in ["a", "b"] {
        net.kill(node);
        net.run_ms(10_000);
    }
    for (node, by, sum) in [
        ("c", "-9000000000000000000", "0"),
        ("d", "9223372036854775807", "9223372036854775807"),
    ] {
        assert_eq!(net.ask(node, &format!("INCRBY n {by}")), sum, "at {node}");
    }
    assert_eq!(net.ask("c", "INCR n"), "!bad_request");
    assert_eq!(net.ask("c", "DECRBY n 9223372036854775807"), "0");
    assert_eq!(net.cuts("c"), [""; 0]);
}

/// Three nodes with these listeners for Redis clients.
fn listening(listeners: [Option<(&str, u16)>; 3]) -> Net {
    let mut net = Net::new();
    for (name, resp) in ["a", "b", "c"].into_iter().zip(listeners) {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.resp = resp.map(|(host, port)| (host.into(), port));
        net.start_with(config);
    }
    net.heal();
    net
}

/// A client's connection that came in at the address `local`.
fn session_at(local: &str) -> Session {
    let mut session = Session::new(0, true);
    session.shown.local_address = local.into();
    session
}

fn ask_at(net: &mut Net, node: &str, local: &str, requests: &[&str]) -> String {
    let id = net.begin_as(node, session_at(local), requests);
    net.wait(node, id, 5_100)
}

/// Hosts and ports in a map, each listed once.
fn endpoints(map: &str) -> Vec<String> {
    let mut found: Vec<String> = map
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().split('@').next().unwrap().into())
        .collect();
    found.sort();
    found
}

#[test]
fn a_node_that_listens_at_any_address_is_listed_where_it_is_reached() {
    for any in ["0.0.0.0", "::"] {
        let mut net = listening([Some((any, 6379)), Some((any, 6380)), Some(("10.1.1.3", 6381))]);
        for (local, wanted) in [
            ("10.1.1.1:6379", "10.1.1.1:6379"),
            ("[fe80::1]:6379", "fe80::1:6379"),
            ("127.0.0.1:6379", "127.0.0.1:6379"),
            ("", "net:6379"),
        ] {
            let nodes = ask_at(&mut net, "a", local, &["CLUSTER NODES"]);
            let mut all = vec![wanted.to_owned(), "net:6380".into(), "10.1.1.3:6381".into()];
            all.sort();
            assert_eq!(endpoints(&nodes), all, "at {local}");
            for request in ["CLUSTER SLOTS", "CLUSTER SHARDS"] {
                let map = ask_at(&mut net, "a", local, &[request]);
                let told = map.split([' ', '[', ']']).any(|word| word == any);
                assert!(!told && map.contains("10.1.1.3"), "{request}: {map}");
            }
        }
    }
}

#[test]
fn no_slot_is_listed_under_a_node_without_a_redis_port() {
    for without in [None, Some(("0.0.0.0", 0))] {
        let mut net = listening([Some(("10.1.1.1", 6379)), without, without]);
        let slots = ask_at(&mut net, "a", "10.1.1.1:6379", &["CLUSTER SLOTS"]);
        assert!(slots.starts_with("[[0 16383 [10.1.1.1 6379 "), "{slots}");
        assert_eq!(slots.matches("6379").count(), 1, "{slots}");
        let nodes = ask_at(&mut net, "a", "10.1.1.1:6379", &["CLUSTER NODES"]);
        assert_eq!(nodes.lines().count(), 1, "{nodes}");
        assert!(nodes.trim().ends_with("connected 0-16383"), "{nodes}");
        let info = ask_at(&mut net, "a", "10.1.1.1:6379", &["CLUSTER INFO"]);
        assert!(
            info.contains("cluster_state:ok") && info.contains("cluster_size:1\r"),
            "{info}"
        );
    }
    // Slots whose only copy is on such a node are listed under another node.
    let mut net = Net::new();
    for (name, port) in [("a", 6379), ("b", 0), ("c", 6381)] {
        let mut config = net::config(name, if name == "a" { &[] } else { &["a"] });
        (config.replicas, config.resp) = (1, (port > 0).then(|| ("10.1.1.1".into(), port)));
        net.start_with(config);
    }
    net.heal();
    for node in ["a", "c"] {
        let nodes = ask_at(&mut net, node, "10.1.1.1:1", &["CLUSTER NODES"]);
        assert_eq!(endpoints(&nodes), ["10.1.1.1:6379", "10.1.1.1:6381"]);
        let info = ask_at(&mut net, node, "10.1.1.1:1", &["CLUSTER INFO"]);
        assert!(info.contains("cluster_slots_ok:16384"), "{info}");
    }
}

/// For tools that read the map and then ask every master.
#[test]
fn a_client_that_asked_for_the_map_finds_every_key_at_one_master() {
    for replicas in [1, 3] {
        let mut net = Net::new();
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let mut config = net::config(name, if number == 0 { &[] } else { &["a"] });
            config.replicas = replicas;
            config.resp = Some(("127.0.0.1".into(), 6379 + number as u16));
            net.start_with(config);
        }
        net.heal();
        let pairs: Vec<String> = (0..300).map(|number| format!("user:{number} 1")).collect();
        assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
        for map in ["CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS"] {
            let (mut sizes, mut listed, mut scanned) = (0, Vec::new(), Vec::new());
            for node in ["a", "b", "c"] {
                let ask = |net: &mut Net, request: &str| {
                    let replies = ask_at(net, node, "127.0.0.1:1", &[map, request]);
                    replies.rsplit_once(" | ").unwrap().1.to_owned()
                };
                sizes += ask(&mut net, "DBSIZE").parse::<usize>().unwrap();
                listed.extend(members(&ask(&mut net, "KEYS user:*")));
                let drawn = ask(&mut net, "RANDOMKEY");
                assert!(listed.contains(&drawn), "{drawn} is a key of another master");
                let mut cursor = String::from("0");
                loop {
                    let reply = ask(&mut net, &format!("SCAN {cursor} COUNT 25"));
                    let (next, keys) = reply[1..reply.len() - 1].split_once(' ').unwrap();
                    scanned.extend(members(keys));
                    cursor = next.into();
                    if cursor == "0" {
                        break;
                    }
                }
                // Other connections see all keys, and so does this one after RESET.
                assert_eq!(net.ask(node, "DBSIZE"), "300");
                assert_eq!(
                    ask_at(&mut net, node, "", &["CLUSTER MYID", "CLUSTER INFO", "DBSIZE"])
                        .rsplit_once(" | ")
                        .unwrap()
                        .1,
                    "300"
                );
                assert_eq!(
                    ask_at(&mut net, node, "", &[map, "RESET", "DBSIZE"])
                        .rsplit_once(" | ")
                        .unwrap()
                        .1,
                    "300"
                );
            }
            assert_eq!(sizes, 300, "{map}");
            for mut keys in [listed, scanned] {
                keys.sort();
                assert_eq!(keys.len(), 300, "{map}");
                keys.dedup();
                assert_eq!(keys.len(), 300, "{map}");
            }
        }
    }
}

#[test]
fn every_command_shows_the_same_number_of_keys() {
    for replicas in [1, 3] {
        let mut net = Net::new();
        for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
            let mut config = net::config(name, if number == 0 { &[] } else { &["a"] });
            config.replicas = replicas;
            config.resp = Some(("127.0.0.1".into(), 6379 + number as u16));
            net.start_with(config);
        }
        net.heal();
        let pairs: Vec<String> = (0..100).map(|number| format!("k{number} 1")).collect();
        assert_eq!(net.ask("a", &format!("MSET {}", pairs.join(" "))), "OK");
        net.run_ms(2_500);
        for node in ["a", "b", "c"] {
            for map in ["PING", "CLUSTER SLOTS"] {
                let replies = net.ask_all(node, &[map, "DBSIZE", "INFO keyspace"]);
                let mut replies = replies.rsplitn(3, " | ");
                let (info, size) = (replies.next().unwrap(), replies.next().unwrap());
                assert!(
                    info.contains(&format!("db0:keys={size},")),
                    "{size} after {map} at {node}: {info}"
                );
            }
        }
    }
}
