//! The memory limit in a cluster, and the room for replies that are gathered.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::{ask::Session, config::Config, slot};

const MIB: usize = 1 << 20;

/// Keys whose primary is one node, and of which another has no copy unless that is named, too.
fn keys_of(net: &mut Net, primary: &str, with: bool, other: &str, count: usize) -> Vec<String> {
    let status = net.status(primary);
    let (primary, other) = (format!("{primary}@net"), format!("{other}@net"));
    let keys = (0..).map(|number| format!("key:{number}")).filter(|key| {
        let shard = &status.shards[usize::from(slot::shard(slot::slot(key.as_bytes()), net::SHARDS))];
        shard.primary.as_ref() == Some(&primary) && shard.replicas.contains(&other) == with
    });
    keys.take(count).collect()
}

#[test]
fn a_primary_refuses_writes_while_a_replica_is_at_its_limit() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    let [key, other] = &keys_of(&mut net, "a", true, "b", 2)[..] else {
        panic!("two keys");
    };
    assert_eq!(net.ask("b", "CONFIG SET maxmemory 1000"), "OK");
    assert_eq!(net.ask("a", &format!("SET {key} {}", "v".repeat(2000))), "OK");
    net.run_ms(3_000);
    assert_eq!(net.ask("a", &format!("SET {other} v")), "!oom");
    assert_eq!(net.ask("a", &format!("DEL {key}")), "1", "what does not grow goes on");
    assert_eq!(net.ask("b", "CONFIG SET maxmemory 0"), "OK");
    net.run_ms(3_000);
    assert_eq!(net.ask("a", &format!("SET {other} v")), "OK");
}

#[test]
fn batches_share_the_room_for_replies_of_other_nodes_and_small_replies_pass() {
    let mut net = Net::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mut config: Config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.buffer_bytes_max = 16 * MIB;
        net.start_with(config);
    }
    net.heal();
    let keys = keys_of(&mut net, "b", false, "a", 12);
    let value = "v".repeat(3 * MIB / 2);
    for key in &keys[..11] {
        assert_eq!(net.ask("b", &format!("SET {key} {value}")), "OK");
    }
    assert_eq!(net.ask("b", &format!("SET {} small", keys[11])), "OK");
    let get = |key: &String| format!("GET {key}");
    let three: Vec<String> = keys[..3].iter().map(get).collect();
    let three: Vec<&str> = three.iter().map(String::as_str).collect();
    let (large, small) = (format!("MGET {}", keys[..11].join(" ")), get(&keys[11]));

    assert_eq!(net.ask_all("a", &three).replace(&value, "V"), "V | V | V");
    assert_eq!(net.ask("a", &large), "!oom", "it is more than one batch may gather");
    // What two batches have together is beyond the limit: one of them waits for a node that is mute.
    let mute = keys_of(&mut net, "c", false, "a", 1).remove(0);
    net.stop("c");
    let waits = net.begin("a", &[three[0], three[1], three[2], &get(&mute)]);
    net.run_ms(500);
    let refused = net.begin("a", &three);
    assert_eq!(net.wait("a", refused, 2_000), "!oom | !oom | !oom");
    assert_eq!(net.ask("a", &small), "small");
    net.resume("c");
    let replies = net.wait("a", waits, 10_000).replace(&value, "V");
    assert!(replies.starts_with("V | V | V | "), "{replies}");
    assert_eq!(
        net.ask_all("a", &three).replace(&value, "V"),
        "V | V | V",
        "there is room again"
    );
}

#[test]
fn batches_that_wait_hold_their_share_of_replies_together() {
    let mut net = Net::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mut config: Config = net::config(name, if name == "a" { &[] } else { &["a"] });
        config.buffer_bytes_max = 16 * MIB;
        net.start_with(config);
    }
    net.heal();
    let mute = keys_of(&mut net, "c", false, "a", 1).remove(0);
    let key = keys_of(&mut net, "a", false, "c", 1).remove(0);
    let value = "v".repeat(MIB);
    assert_eq!(net.ask("a", &format!("SET {key} {value}")), "OK");
    net.stop("c");
    let requests = [format!("GET {mute}"), format!("GET {key}"), format!("GET {key}")];
    let requests = requests.each_ref().map(String::as_str);
    let mut session = Session::new(0, true);
    session.piecemeal = true;
    let waits: Vec<u64> = (0..20).map(|_| net.begin_as("a", session.clone(), &requests)).collect();
    net.run_ms(500);
    let alone = net.begin_as("a", session.clone(), &requests[1..]);
    assert_eq!(net.wait("a", alone, 5), value, "what waits for nothing is answered");
    let pair = format!("MGET {key} {key}");
    assert_eq!(net.ask("a", &pair), "!oom", "its replies do not come in pieces");
    net.resume("c");
    let replies: Vec<String> = waits.into_iter().map(|id| net.wait("a", id, 10_000)).collect();
    let values = |reply: &String| reply.split(" | ").filter(|reply| **reply == value).count();
    let held: usize = replies.iter().map(values).sum();
    assert!((1..=3).contains(&held), "{held} MiB were held, 3/16 are 3 MiB");
    let refused = replies.iter().find(|reply| reply.contains('!'));
    assert_eq!(refused, None, "the rest is put off, and not refused");
}
