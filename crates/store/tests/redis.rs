//! What clients of Redis rely on and one node alone does not show: the shape of replies, what is refused as a whole,
//! and what is drawn or listed over all shards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::slot;

/// Three nodes without replicas, of which the third is lost; and keys of which the first ones are on lost shards.
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

/// A client hands out an error within an array as if it were a value.
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
            "what was refused did nothing"
        );
    }
}

/// Together the values are more than may be gathered for one reply.
#[test]
fn a_reply_that_is_too_large_is_one_error() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let value = "v".repeat(40 << 20);
    assert_eq!(net.ask("a", &format!("SET big {value}")), "OK");
    // Not `assert_eq`, which would print it.
    assert!(net.ask("a", &format!("MGET {}", ["big"; 8].join(" "))) == "!oom");
    assert_eq!(net.ask("b", "MGET big small").len(), value.len() + "[ -]".len());
}

/// Nothing of a request is done that is refused for one of its keys or values.
#[test]
fn what_is_refused_for_one_of_its_keys_is_not_half_done() {
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

/// A node that stood still refuses requests on shards. Those behind must not run under what an earlier one was to change.
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
        "!no_nodes | PONG | !bad_request | !bad_request | !bad_request | !exec_abort | !no_nodes"
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
