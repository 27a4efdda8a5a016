//! Two and three nodes: handshakes, loss, membership.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;

use bytes::Bytes;
use net::{Net, at, config, name, scripted, witness};
use node::{Address, Atom, Event, MemberState, MembersCommand, Mismatch, Term};

/// A process that passes commands to the membership: `{leave|stay|gone|add|forget, Node}`.
fn operator() -> Box<net::Scripted> {
    scripted(|ctx, message| {
        let node::Message::Term { term, .. } = message else {
            return;
        };
        let Some([verb, Term::Atom(node)]) = term.as_tuple() else {
            return;
        };
        let node = node.clone();
        ctx.members(match verb.to_string().as_str() {
            "leave" => MembersCommand::Leave,
            "stay" => MembersCommand::Stay,
            "gone" => MembersCommand::Gone,
            "add" => MembersCommand::Add { node },
            _ => MembersCommand::Forget { node },
        });
    })
}

fn command(net: &mut Net, node: &str, verb: &'static str, other: &str) {
    net.tell(node, "operator", Term::from((Term::atom(verb), name(other))));
    net.run_ms(50);
}

fn chain() -> Net {
    let mut net = Net::new();
    for (seed, (node, join)) in [("a", vec![]), ("b", vec!["a"]), ("c", vec!["b"])].iter().enumerate() {
        net.start(config(node, join), seed as u64, vec![("operator", operator())]);
    }
    net.run_ms(1000);
    net
}

#[track_caller]
fn check_mesh(net: &Net, nodes: &[&str]) {
    for a in nodes {
        for b in nodes.iter().filter(|b| *b != a) {
            assert_eq!(net.state(a, b), Some(MemberState::Up), "{b} as {a} sees it");
        }
    }
}

#[test]
fn a_chain_of_joins_becomes_a_full_mesh() {
    let net = chain();
    check_mesh(&net, &["a", "b", "c"]);
    for (a, b) in [("a", "b"), ("a", "c"), ("b", "c")] {
        assert_eq!((net.node_ups(a, b), net.node_ups(b, a)), (1, 1));
    }
}

#[test]
fn two_nodes_that_dial_each_other_at_once_have_one_connection() {
    let mut net = Net::new();
    net.start(config("a", &["b"]), 1, vec![]);
    net.start(config("b", &["a"]), 2, vec![]);
    net.run_ms(1000);
    // The first dial of node a finds no node. The second dials of both meet on the way.
    for seed in 0..20 {
        let mut net = Net::new();
        net.start(config("b", &[]), seed, vec![("operator", operator())]);
        net.start(config("a", &[]), seed + 100, vec![("operator", operator())]);
        net.tell("a", "operator", Term::from((Term::atom("add"), name("b"))));
        net.tell("b", "operator", Term::from((Term::atom("add"), name("a"))));
        net.run_ms(10_000);
        assert_eq!(net.dials.len(), 2);
        let failed = |event: &Event| matches!(event, Event::HandshakeFailed { .. });
        assert!(!net.events("a").iter().chain(net.events("b")).any(failed));
        check_mesh(&net, &["a", "b"]);
        assert_eq!((net.node_ups("a", "b"), net.node_ups("b", "a")), (1, 1));
        assert!(net.node_downs("a", "b").is_empty() && net.node_downs("b", "a").is_empty());
    }
    check_mesh(&net, &["a", "b"]);
}

#[test]
fn a_node_with_a_wrong_cookie_is_refused() {
    let mut net = Net::new();
    net.start(config("a", &[]), 1, vec![]);
    let mut wrong = config("b", &["a"]);
    wrong.cookie = node::Cookie::new(b"pearl");
    net.start(wrong, 2, vec![]);
    net.run_ms(20_000);
    assert_eq!(net.state("a", "b"), None);
    let failed = |event: &&Event| matches!(event, Event::HandshakeFailed { .. });
    assert!(net.events("a").iter().filter(failed).count() > 2);
    assert!(net.events("b").iter().filter(failed).count() > 2);
    assert_eq!(net.node_ups("a", "b") + net.node_ups("b", "a"), 0);
}

#[test]
fn dials_back_off_and_never_end() {
    let mut net = Net::new();
    net.start(config("a", &["nobody"]), 1, vec![]);
    net.run_ms(300_000);
    let times: Vec<u64> = net.dials.iter().map(|(at_us, ..)| *at_us).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap_us| (50_000..5_100_000).contains(gap_us)),
        "{gaps:?}"
    );
    assert!((60..150).contains(&times.len()), "{} dials in 300 s", times.len());
    assert!(times.last().unwrap() > &290_000_000);
}

#[test]
fn a_crashed_node_comes_back_with_a_new_creation() {
    let mut net = chain();
    net.kill("c", false);
    net.run_ms(100);
    assert_eq!(net.state("a", "c"), Some(MemberState::Down));
    let mut again = config("c", &["a"]);
    again.creation = 5;
    net.start(again, 9, vec![]);
    net.run_ms(6000);
    check_mesh(&net, &["a", "b", "c"]);
    assert_eq!(net.member("b", "c").unwrap().creation, 5);
    assert_eq!(net.node_downs("a", "c"), ["connection_closed"]);
}

#[test]
fn a_restart_that_was_not_noticed_replaces_the_old_connection() {
    let mut net = chain();
    net.kill("c", true);
    let mut again = config("c", &["a", "b"]);
    again.creation = 5;
    net.start(again, 9, vec![]);
    net.run_ms(900);
    assert_eq!(net.node_downs("a", "c"), [""; 0], "the old node has a second to answer");
    net.run_ms(1100);
    check_mesh(&net, &["a", "b", "c"]);
    assert_eq!(net.node_downs("a", "c"), ["replaced"]);
    assert_eq!(net.node_ups("a", "c"), 2);
    let order: Vec<u32> = net
        .events("a")
        .iter()
        .filter_map(|event| match event {
            Event::NodeUp { node, creation, .. } if *node == name("c") => Some(*creation),
            Event::NodeDown { node, creation, .. } if *node == name("c") => Some(*creation + 100),
            _ => None,
        })
        .collect();
    assert_eq!(order, [4, 104, 5], "the NodeDown of the old node comes first");
}

#[test]
fn a_silent_node_is_suspected_and_then_lost() {
    let mut net = chain();
    net.run_ms(60_000);
    check_mesh(&net, &["a", "b", "c"]);
    assert!(net.node_downs("a", "c").is_empty(), "idle connections stay");
    net.stop("c");
    net.run_ms(5500);
    assert_eq!(net.state("a", "c"), Some(MemberState::Suspect));
    net.run_ms(4500);
    assert_eq!(net.state("a", "c"), Some(MemberState::Down));
    assert_eq!(net.node_downs("a", "c"), ["net_tick_timeout"]);
    net.resume("c");
    net.run_ms(10_000);
    assert_eq!(net.node_downs("c", "a")[0], "paused");
    check_mesh(&net, &["a", "b", "c"]);
}

#[test]
fn a_short_silence_is_forgiven() {
    let mut net = chain();
    net.deafen("c", "a");
    net.run_ms(6000);
    assert_eq!(net.state("a", "c"), Some(MemberState::Suspect));
    net.heal();
    net.run_ms(2000);
    check_mesh(&net, &["a", "b", "c"]);
    assert!(net.node_downs("a", "c").is_empty());
}

#[test]
fn a_node_that_was_paused_drops_its_connections_first() {
    let (seen, log) = witness(|ctx| ctx.monitor_nodes());
    let mut net = Net::pair(vec![("seen", seen)], vec![]);
    net.stop("a");
    net.run_ms(8100);
    net.resume("a");
    net.run_ms(1);
    assert_eq!(*log.borrow(), ["nodeup b@net", "nodedown b@net paused"]);
    assert!(
        net.events("a")
            .iter()
            .any(|event| matches!(event, Event::Paused { .. }))
    );
    net.run_ms(1000);
    check_mesh(&net, &["a", "b"]);
}

#[test]
fn a_broken_connection_is_made_again() {
    let mut net = chain();
    net.part("a", "c");
    net.run_ms(30_000);
    assert_eq!(net.state("a", "c"), Some(MemberState::Down));
    assert_eq!(net.state("b", "c"), Some(MemberState::Up));
    net.heal();
    net.run_ms(6000);
    check_mesh(&net, &["a", "b", "c"]);
}

#[test]
fn leaving_is_a_state_and_a_goodbye_lasts() {
    let mut net = chain();
    command(&mut net, "c", "leave", "c");
    assert_eq!(net.state("a", "c"), Some(MemberState::Leaving));
    assert_eq!(net.state("c", "c"), Some(MemberState::Leaving));
    command(&mut net, "c", "stay", "c");
    assert_eq!(net.state("a", "c"), Some(MemberState::Up));
    command(&mut net, "c", "gone", "c");
    assert_eq!(net.state("a", "c"), Some(MemberState::Gone));
    net.kill("c", false);
    let dials = net.dials.len();
    net.run_ms(30_000);
    assert_eq!(net.state("a", "c"), Some(MemberState::Gone));
    assert_eq!(net.state("b", "c"), Some(MemberState::Gone));
    assert_eq!(net.dials.len(), dials, "no node dials it");

    let mut again = config("c", &["a"]);
    again.creation = 5;
    net.start(again, 9, vec![]);
    net.run_ms(6000);
    check_mesh(&net, &["a", "b", "c"]);
}

#[test]
fn a_forgotten_node_is_forgotten_by_all() {
    let mut net = chain();
    command(&mut net, "a", "forget", "c");
    assert_eq!(
        net.state("a", "c"),
        Some(MemberState::Up),
        "only a node that is down can be forgotten"
    );
    net.kill("c", false);
    net.run_ms(1000);
    command(&mut net, "a", "forget", "c");
    assert_eq!(net.state("a", "c"), Some(MemberState::Gone));
    assert_eq!(net.state("b", "c"), Some(MemberState::Gone));
    let dials = net.dials.len();
    net.run_ms(30_000);
    assert_eq!(net.dials.len(), dials);
}

#[test]
fn a_node_with_another_birth_record_is_refused_by_name() {
    let mut net = Net::new();
    net.start(config("a", &[]), 1, vec![]);
    let mut other = config("b", &["a"]);
    other.birth = Bytes::from_static(b"shards=64");
    net.start(other, 2, vec![]);
    net.run_ms(1000);
    let refused = Event::PeerRefused {
        node: name("b"),
        mismatch: Mismatch::Birth {
            ours: Bytes::from_static(b"shards=1024"),
            theirs: Bytes::from_static(b"shards=64"),
        },
        is_fatal: false,
    };
    assert!(net.events("a").contains(&refused));
    assert_eq!(net.state("a", "b"), None);
}

#[test]
fn proposed_names_are_dialled() {
    let mut net = Net::new();
    net.start(config("a", &[]), 1, vec![]);
    net.start(config("b", &[]), 2, vec![]);
    let nodes = vec![name("b"), name("nobody"), name("a")];
    net.input(&name("a"), node::Input::Proposed { nodes });
    net.run_ms(60_000);
    check_mesh(&net, &["a", "b"]);
    let tries = net.dials.iter().filter(|(_, _, to)| *to == name("nobody")).count();
    assert_eq!(tries, 5, "a discovered name is only tried a few times");
}

#[test]
fn a_connected_node_uses_no_dial() {
    let mut net = Net::new();
    let mut one_at_a_time = config("a", &[]);
    one_at_a_time.limits.dials_max = 1;
    net.start(one_at_a_time, 1, vec![("operator", operator())]);
    let mut other = config("b", &["a"]);
    other.birth = Bytes::from_static(b"shards=64");
    net.start(other, 2, vec![]);
    net.start(config("c", &[]), 3, vec![]);
    net.run_ms(1000);
    command(&mut net, "a", "add", "b");
    command(&mut net, "a", "add", "c");
    net.run_ms(1000);
    assert_eq!(net.state("a", "c"), Some(MemberState::Up));
}

/// A process that reports 60 nodes that no node ever met. At every further command it reports one more creation of
/// each.
fn liar() -> Box<net::Scripted> {
    let mut creation = 0_u32;
    scripted(move |ctx, message| {
        let node::Message::Term {
            term: Term::Atom(to), ..
        } = message
        else {
            return;
        };
        creation += 1;
        let entry = |name: &str, creation: u32| {
            let name = format!("{name}@net");
            let len = u8::try_from(name.len()).unwrap();
            let up_without_port = [0, 0, 0];
            [&[len], name.as_bytes(), &creation.to_be_bytes(), &up_without_port].concat()
        };
        let part = |tag: u8, bytes: &[u8]| {
            let len = u32::try_from(bytes.len()).unwrap();
            [&[tag], len.to_be_bytes().as_slice(), bytes].concat()
        };
        let mut others = Vec::new();
        for i in 0..60 {
            let entry = entry(&format!("junk{i}"), creation);
            others.extend(u16::try_from(entry.len()).unwrap().to_be_bytes());
            others.extend(entry);
        }
        // The smallest id, on which all nodes agree.
        let identity = [0; 18];
        let hello = [
            vec![2],
            part(1, b"shards=1024"),
            part(2, &identity),
            part(3, &entry("liar", 4)),
            part(4, &others),
        ]
        .concat();
        ctx.send_bytes(&to, &Atom::new("salp_members"), &hello);
    })
}

fn junk(net: &Net, node: &str) -> usize {
    (0..60)
        .filter(|i| net.state(node, &format!("junk{i}")).is_some())
        .count()
}

#[test]
fn made_up_nodes_fill_no_table_and_are_not_reported_on() {
    let mut net = Net::new();
    for (seed, (node, join)) in [("a", vec![]), ("b", vec!["a"])].iter().enumerate() {
        let mut config = config(node, join);
        config.limits.members_max = 32;
        net.start(config, seed as u64, vec![]);
    }
    net.start(config("liar", &["a"]), 9, vec![("liar", liar())]);
    net.run_ms(1000);
    for _ in 0..3 {
        net.tell("liar", "liar", Term::from(name("a")));
        net.run_ms(1000);
    }
    assert_eq!(junk(&net, "a"), 8, "a quarter of the table");
    assert_eq!(junk(&net, "b"), 0);
    for i in 0..30 {
        net.start(config(&format!("n{i}"), &["a"]), 100 + i, vec![]);
        net.run_ms(500);
    }
    let nodes: Vec<String> = (0..30).map(|i| format!("n{i}")).collect();
    for node in &nodes {
        assert_eq!(
            net.state("a", node),
            Some(MemberState::Up),
            "{node}: its entry was replaced by a node that was never met"
        );
    }
}

#[test]
fn a_member_without_room_is_refused_with_an_event_and_accepted_later() {
    let mut net = Net::new();
    let mut two = config("a", &[]);
    two.limits.members_max = 2;
    net.start(two, 1, vec![("operator", operator())]);
    for (seed, node) in [(2, "b"), (3, "c")] {
        net.start(config(node, &["a"]), seed, vec![]);
        net.run_ms(1000);
        net.kill(node, false);
    }
    net.start(config("d", &["a"]), 4, vec![]);
    net.run_ms(1000);
    assert_eq!(net.state("a", "d"), None);
    let full = |event: &Event| matches!(event, Event::Note { kind: "members_full", text } if text.contains("d@net"));
    assert!(net.events("a").iter().any(full));
    command(&mut net, "a", "forget", "b");
    net.run_ms(610_000);
    assert_eq!(net.state("a", "d"), Some(MemberState::Up));
    assert_eq!(net.state("a", "c"), Some(MemberState::Down));
}

#[test]
fn every_published_view_is_complete() {
    let (seen, log) = witness(|ctx| ctx.monitor_members());
    let mut net = Net::pair(vec![("seen", seen)], vec![]);
    net.kill("b", false);
    net.run_ms(10);
    let log = log.borrow();
    assert!(log[0].starts_with("cluster "), "it comes before the view: {log:?}");
    let views: Vec<&String> = log.iter().filter(|line| line.starts_with("members")).collect();
    assert_eq!(
        (views[0].as_str(), views[views.len() - 1].as_str()),
        ("members 1", "members 2")
    );
    assert_eq!(net.state("a", "b"), Some(MemberState::Down));
}

#[test]
fn a_process_can_close_a_connection() {
    let cutter = scripted(|ctx, _| ctx.disconnect(&name("b")));
    let mut net = Net::pair(vec![("cutter", cutter)], vec![]);
    net.tell("a", "cutter", Term::atom("now"));
    net.run_ms(1);
    assert_eq!(net.node_downs("a", "b"), ["disconnect"]);
    net.run_ms(1000);
    check_mesh(&net, &["a", "b"]);
}

#[test]
fn the_same_seed_gives_the_same_effects() {
    let run = |seed: u64| {
        let mut net = Net::new();
        net.trace = Some(String::new());
        net.start(config("a", &["b", "c"]), seed, vec![]);
        net.start(config("b", &["a"]), seed + 1, vec![("operator", operator())]);
        net.start(config("c", &["b", "x"]), seed + 2, vec![]);
        net.run_ms(20_000);
        net.part("a", "b");
        net.run_ms(10_000);
        net.heal();
        command(&mut net, "b", "leave", "b");
        net.kill("c", true);
        net.run_ms(20_000);
        net.trace.take().unwrap()
    };
    let first = run(7);
    assert!(first.len() > 10_000);
    assert!(first == run(7));
    assert!(first != run(8));
}

#[test]
fn output_leaves_once_per_flush_and_is_counted() {
    let sender = scripted(|ctx, _| {
        for i in 0..10 {
            assert!(ctx.send_bytes(&name("b"), &Atom::new("sink"), &[i; 100]));
        }
        assert!(ctx.queued(&name("b")) > 1000);
        assert!(!ctx.send_bytes(&name("nobody"), &Atom::new("sink"), b""));
    });
    let (sink, log) = witness(|_| {});
    let mut net = Net::pair(vec![("sender", sender)], vec![("sink", sink)]);
    net.trace = Some(String::new());
    net.tell("a", "sender", Term::atom("go"));
    let sends = net
        .trace
        .as_ref()
        .unwrap()
        .lines()
        .filter(|line| line.contains("Send"))
        .count();
    assert_eq!(sends, 1);
    net.run_ms(5);
    assert_eq!(log.borrow().len(), 10);
}

#[test]
fn a_peer_that_never_reads_is_closed() {
    let sender = scripted(|ctx, _| {
        let bytes = vec![0; 1 << 20];
        ctx.send_bytes(&name("b"), &Atom::new("sink"), &bytes);
    });
    let mut net = Net::pair(vec![("sender", sender)], vec![]);
    for _ in 0..140 {
        // No time passes, so nothing is written.
        net.tell("a", "sender", Term::atom("go"));
    }
    assert_eq!(net.node_downs("a", "b"), ["overflow"]);
}

#[test]
fn signals_wait_for_the_dial_they_begin() {
    let (asker, log) = witness(|ctx| {
        ctx.send(&at("b", "sink"), Term::Int(1));
        ctx.monitor(&at("b", "nobody"));
        ctx.monitor(&at("x", "nobody"));
        ctx.monitor(&Address::Name(Atom::new("nobody")));
    });
    let (sink, sunk) = witness(|_| {});
    let mut net = Net::new();
    net.start(config("b", &[]), 2, vec![("sink", sink)]);
    net.start(config("a", &[]), 1, vec![("asker", asker)]);
    net.run_ms(100);
    assert_eq!(*sunk.borrow(), ["term 1"]);
    let mut heard = log.borrow().clone();
    heard.sort();
    assert_eq!(
        heard,
        [
            "down nobody noproc",
            "down nobody@b@net noproc",
            "down nobody@x@net noconnection"
        ]
    );
}
