//! Connected, known and hidden nodes, as processes see them: `nodes/1` and `monitor_nodes`.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;

use net::{Log, Net, Scripted, at, config, name, witness};
use node::{Context, NodeKind, Payload, Term};

/// Monitors the nodes, and asks for it twice.
fn watcher() -> (Box<Scripted>, Log) {
    witness(|ctx| {
        ctx.monitor_nodes();
        ctx.monitor_nodes();
    })
}

fn kinds<P: Payload>(ctx: &Context<'_, P>) -> [String; 5] {
    let kinds = [
        NodeKind::Visible,
        NodeKind::Hidden,
        NodeKind::Connected,
        NodeKind::Known,
        NodeKind::This,
    ];
    kinds.map(|kind| {
        let nodes = ctx.nodes(kind);
        let names: Vec<&str> = nodes
            .iter()
            .map(|node| node.as_str().split_once('@').unwrap().0)
            .collect();
        names.join(" ")
    })
}

/// Pitfall 22: a connection is hidden if either side is hidden.
#[test]
fn pitfall_22_hidden_if_either_side_is() {
    for (a_hides, b_hides) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut net = Net::new();
        for (seed, node, join, hidden) in [(1, "a", vec![], a_hides), (2, "b", vec!["a"], b_hides)] {
            let mut config = config(node, &join);
            config.hidden = hidden;
            net.start(config, seed, vec![]);
        }
        net.run_ms(1000);
        for (node, other) in [("a", "b"), ("b", "a")] {
            let eye = net.adopt(node);
            let [visible, hidden, connected, ..] = net.act(node, &eye, |ctx| kinds(ctx));
            let expected = if a_hides || b_hides { ("", other) } else { (other, "") };
            assert_eq!((visible.as_str(), hidden.as_str()), expected, "{node}");
            assert_eq!(connected, other);
        }
    }
}

#[test]
fn every_kind_of_node() {
    let mut net = Net::new();
    for (seed, node, join, hidden) in [
        (1, "d", vec![], true),
        (2, "b", vec![], false),
        (3, "a", vec!["b", "d", "ghost"], false),
    ] {
        let mut config = config(node, &join);
        config.hidden = hidden;
        net.start(config, seed, vec![]);
    }
    net.run_ms(1000);
    let eye = net.adopt("a");
    let seen = |net: &mut Net| net.act("a", &eye, |ctx| kinds(ctx));
    assert_eq!(seen(&mut net), ["b", "d", "b d", "a b d ghost", "a"]);
    net.kill("b", false);
    net.run_ms(50);
    assert_eq!(
        seen(&mut net),
        ["", "d", "d", "a b d ghost", "a"],
        "a member that is down is known"
    );
}

/// The NodeUp and NodeDown of one peer must alternate. Returns how many there were.
#[track_caller]
fn check_turns(log: &Log, peer: &str, context: &str) -> usize {
    let log = log.borrow();
    let of_peer = |line: &&String| line.split(' ').nth(1) == Some(name(peer).as_str());
    let verbs: Vec<&str> = log
        .iter()
        .filter(of_peer)
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    for (at, verb) in verbs.iter().enumerate() {
        assert_eq!(*verb, ["nodeup", "nodedown"][at % 2], "{context}: {log:?}");
    }
    verbs.len()
}

#[test]
fn watchers_are_notified_of_each_node_once() {
    let mut downs = 0;
    for seed in 1..=12_u64 {
        let mut net = Net::new();
        let mut logs = Vec::new();
        let nodes = ["a", "b", "c"];
        for (at, node) in (0..).zip(nodes) {
            let (process, log) = watcher();
            // All nodes dial all others at the same time.
            let others: Vec<&str> = nodes.into_iter().filter(|other| *other != node).collect();
            net.start(config(node, &others), seed * 10 + at, vec![("watcher", process)]);
            logs.push(log);
        }
        let mut dice = 0x9e37_79b9_7f4a_7c15 ^ seed;
        for _ in 0..30 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            let (a, b) = (
                nodes[(dice % 3) as usize],
                nodes[((dice + 1 + (dice >> 8) % 2) % 3) as usize],
            );
            match (dice >> 16) % 4 {
                0 => net.part(a, b),
                1 => net.deafen(a, b),
                2 => net.heal(),
                _ => {}
            }
            net.run_ms((dice >> 24) % 6000);
        }
        net.heal();
        net.run_ms(60_000);
        for (node, log) in nodes.iter().zip(&logs) {
            for other in nodes.iter().filter(|other| *other != node) {
                let turns = check_turns(log, other, &format!("seed {seed}, {other} as {node} heard"));
                assert_eq!(turns % 2, 1, "seed {seed}: {other} is up in the end");
                downs += turns / 2;
                assert_eq!(turns, net.node_ups(node, other) + net.node_downs(node, other).len());
            }
        }
    }
    assert!(downs > 50, "the cuts are felt");
}

#[test]
#[should_panic = "nodeup"]
fn a_second_notification_is_detected() {
    let log = Log::default();
    log.borrow_mut().extend(["nodeup b@net".into(), "nodeup b@net".into()]);
    check_turns(&log, "b", "planted");
}

/// Messages that a peer sends at once come after its NodeUp, and none comes after its NodeDown.
#[test]
fn messages_come_between_nodeup_and_nodedown() {
    let (watching, log) = watcher();
    let (greeting, _) = witness(|ctx| {
        ctx.send(&at("a", "watcher"), Term::atom("hello"));
    });
    let mut net = Net::new();
    net.start(config("a", &[]), 1, vec![("watcher", watching)]);
    net.start(config("b", &[]), 2, vec![("greeter", greeting)]);
    net.run_ms(100);
    net.kill("b", false);
    net.run_ms(100);
    let expected = ["nodeup b@net", "term hello", "nodedown b@net connection_closed"];
    assert_eq!(*log.borrow(), expected);
}
