//! Nodes that are told to stop: requests under way, and data that no other node can take over.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::ask::Payload;

/// A node without requests under way ends in less than this time.
const GONE_MS: u64 = 2_000;

fn fill(net: &mut Net, name: &str, keys: usize) {
    for number in 0..keys {
        assert_eq!(net.ask(name, &format!("SET key:{number} {number}")), "OK");
    }
}

/// Runs until a node has noted this.
#[track_caller]
fn run_until(net: &mut Net, name: &str, kind: &str, ms: u64) {
    for _ in 0..ms {
        if net.notes(name).contains(&kind) {
            return;
        }
        net.run_ms(1);
    }
    panic!("{name} has said {:?} in {ms} ms, not {kind}", net.notes(name));
}

/// Checks the replies to increments of one key that were sent side by side.
#[track_caller]
fn check_counts<'a>(answers: impl Iterator<Item = &'a str>) {
    let mut counts: Vec<usize> = answers.map(|answer| answer.parse().expect(answer)).collect();
    counts.sort_unstable();
    let expected: Vec<usize> = (1..=counts.len()).collect();
    assert_eq!(counts, expected);
}

#[test]
fn a_write_waiting_at_another_node_is_answered_before_its_node_ends() {
    let mut net = Net::cluster(&["a", "b", "c", "d"]);
    net.tell("b", Payload::Leave);
    run_until(&mut net, "b", "serving_out", 3_000);
    // The primaries receive nothing from c any more. Writes wait for c, for at most a second.
    net.deafen("c", "a");
    net.deafen("c", "d");
    let requests: Vec<String> = (0..20).map(|number| format!("SET key:{number} 1")).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let asked = net.begin("b", &requests);
    net.tell("b", Payload::ClientsAreGone);
    net.run_ms(200);
    assert_eq!(net.answer("b", asked), None, "they are to wait");
    assert!(!net.notes("b").contains(&"left"));
    net.hear();
    let answer = net.wait("b", asked, 2_000);
    assert!(answer.split(" | ").all(|reply| reply == "OK"), "{answer}");
    run_until(&mut net, "b", "left", GONE_MS);
}

#[test]
fn a_write_executed_for_another_node_is_answered_before_the_executor_ends() {
    let mut net = Net::cluster(&["a", "b"]);
    let asked: Vec<u64> = (0..200)
        .map(|number| {
            if number == 100 {
                net.tell("b", Payload::ClientsAreGone);
                net.tell("b", Payload::Leave);
            }
            net.run_us(400);
            net.begin("a", &[&format!("SET key:{number} 1"), "INCR hot"])
        })
        .collect();
    run_until(&mut net, "b", "left", 3_000);
    net.kill("b");
    net.run_ms(200);
    let answers: Vec<String> = asked.into_iter().map(|asked| net.answer("a", asked).unwrap()).collect();
    check_counts(answers.iter().map(|answer| answer.strip_prefix("OK | ").unwrap()));
}

#[test]
fn clients_are_served_and_then_refused_when_everything_is_handed_over() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a", 20);
    net.tell("b", Payload::Leave);
    run_until(&mut net, "b", "serving_out", 3_000);
    assert_eq!(net.ask("b", "GET key:7"), "7");
    assert_eq!(net.ask("b", "SET key:7 seven"), "OK");
    run_until(&mut net, "b", "closing", 1_100);
    assert_eq!(net.ask_all("b", &["SET key:7 never", "PING"]), "!stopping | PONG");
    run_until(&mut net, "b", "left", 700);
    assert_eq!(net.ask("a", "GET key:7"), "seven");
}

#[test]
fn a_node_without_clients_ends_as_soon_as_everything_is_handed_over() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a", 20);
    net.tell("b", Payload::Leave);
    run_until(&mut net, "b", "serving_out", 3_000);
    net.tell("b", Payload::ClientsAreGone);
    run_until(&mut net, "b", "left", 200);
    assert_eq!(net.texts("b", "lost"), [""; 0]);
}

#[test]
fn a_node_without_peers_refuses_writes_at_once_and_reports_what_is_lost() {
    let mut net = Net::new();
    net.start("a", &[]);
    net.run_ms(100);
    fill(&mut net, "a", 1);
    net.tell("a", Payload::Leave);
    assert_eq!(net.ask_all("a", &["SET other 1", "GET key:0"]), "!stopping | 0");
    net.tell("a", Payload::ClientsAreGone);
    run_until(&mut net, "a", "left", 100);
    let text = "1 key in 1 shard are lost with this node: no other node is connected that could take them over";
    assert_eq!(net.texts("a", "lost"), [text]);
    assert_eq!(net.texts("a", "left"), [text]);
}

#[test]
fn a_node_without_peers_and_keys_loses_nothing() {
    let mut net = Net::new();
    net.start("a", &[]);
    net.run_ms(100);
    fill(&mut net, "a", 1);
    assert_eq!(net.ask("a", "DEL key:0"), "1");
    net.tell("a", Payload::Leave);
    run_until(&mut net, "a", "left", GONE_MS);
    assert_eq!(net.texts("a", "lost"), [""; 0]);
    assert_eq!(net.texts("a", "left"), ["there was nothing to hand over"]);
}

#[test]
fn the_last_of_a_cluster_waits_a_moment_for_the_others_and_acknowledges_nothing() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a", 10);
    net.kill("b");
    net.run_ms(1_000);
    net.tell("a", Payload::Leave);
    for _ in 0..40 {
        assert_eq!(net.ask("a", "SET k v"), "!stopping");
        net.run_ms(100);
    }
    assert!(net.texts("a", "alone")[0].contains("10 keys in "));
    assert_eq!(net.texts("a", "lost"), [""; 0]);
    net.tell("a", Payload::ClientsAreGone);
    run_until(&mut net, "a", "left", 2_000);
    assert!(net.texts("a", "lost")[0].starts_with("10 keys in "));
    // It said no goodbye, and b may have data. So it waits when it is started again.
    net.kill("a");
    net.restart("a", &[]);
    net.run_ms(10_000);
    assert_eq!(net.ask("a", "GET key:1"), "!no_nodes");
}

#[test]
fn a_member_that_comes_back_in_time_takes_over_everything() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a", 10);
    net.kill("b");
    net.run_ms(1_000);
    net.tell("a", Payload::Leave);
    net.run_ms(1_000);
    net.restart("b", &["a"]);
    run_until(&mut net, "a", "left", 10_000);
    assert_eq!(net.texts("a", "left"), ["every shard is handed over"]);
    assert_eq!(net.texts("a", "lost"), [""; 0]);
    net.kill("a");
    for number in 0..10 {
        assert_eq!(net.ask("b", &format!("GET key:{number}")), number.to_string());
    }
}

#[test]
fn nodes_stopped_together_report_what_is_lost() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a", 10);
    for name in ["a", "b"] {
        net.tell(name, Payload::Leave);
    }
    for name in ["a", "b"] {
        run_until(&mut net, name, "left", 3_000);
        assert!(net.texts(name, "lost")[0].starts_with("10 keys in "), "{name}");
    }
}

#[test]
fn a_node_without_more_time_hands_over_its_role_and_ends() {
    let mut net = Net::cluster(&["a", "b", "c", "d"]);
    fill(&mut net, "a", 50);
    net.tell("b", Payload::Leave);
    net.tell("b", Payload::CutShort);
    let asked: Vec<u64> = (0..100)
        .map(|_| {
            net.run_us(500);
            net.begin("a", &["INCR hot"])
        })
        .collect();
    run_until(&mut net, "b", "left", GONE_MS + 1_000);
    assert!(net.texts("b", "lost")[0].contains("not handed over in time"));
    net.kill("b");
    let answers: Vec<String> = asked.into_iter().map(|asked| net.wait("a", asked, 1_000)).collect();
    check_counts(answers.iter().map(String::as_str));
}
