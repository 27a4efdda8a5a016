//! The cluster of a node, what the node remembers, and two nodes with the same name.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use std::ops::DerefMut;

use net::{Net, Word, config, name, scripted};
use node::{ClusterId, Event, Known, MemberState, MembersCommand, Memory, Message, Mismatch, Node, Term};

/// A process that sends the membership the commands of a store: `form`, `provisional`, `serve`, `gone`.
fn store() -> Box<net::Scripted> {
    scripted(|ctx, message| {
        let Message::Term {
            term: Term::Atom(word), ..
        } = message
        else {
            return;
        };
        ctx.members(match word.as_str() {
            "form" => MembersCommand::Form { provisional: false },
            "provisional" => MembersCommand::Form { provisional: true },
            "serve" => MembersCommand::Serve,
            _ => MembersCommand::Gone,
        });
    })
}

fn start(net: &mut Net, node: &str, join: &[&str], creation: u32, memory: Memory) {
    let mut config = config(node, join);
    config.creation = creation;
    let furnish = |node: &mut Node<Word>| {
        node.spawn(Some("store"), store());
        node.recall(memory);
    };
    net.start_with(config, u64::from(creation), furnish);
}

fn say(net: &mut Net, node: &str, word: &'static str) {
    net.tell(node, "store", Term::atom(word));
    net.run_ms(50);
}

fn known(node: &str, creation: u32) -> Known {
    Known {
        name: name(node),
        creation,
        dist_port: Some(4000),
    }
}

fn of(cluster: u128, members: Vec<Known>) -> Memory {
    Memory {
        cluster: Some(ClusterId(cluster)),
        members,
        creation: 3,
    }
}

fn memory(net: &Net, node: &str) -> Memory {
    net.memory(&name(node))
}

fn refusals(net: &Net, node: &str) -> Vec<(Mismatch, bool)> {
    let refused = |event: &Event| match event {
        Event::PeerRefused { mismatch, is_fatal, .. } => Some((mismatch.clone(), *is_fatal)),
        _ => None,
    };
    net.events(node).iter().filter_map(refused).collect()
}

#[test]
fn a_formed_cluster_is_remembered_with_its_members_until_an_orderly_end() {
    let mut net = Net::new();
    for (creation, node, join) in [(10, "a", vec![]), (11, "b", vec!["a"]), (12, "c", vec!["a"])] {
        start(&mut net, node, &join, creation, Memory::default());
    }
    net.run_ms(500);
    assert_eq!(memory(&net, "a").cluster, None, "nothing is formed yet");
    say(&mut net, "a", "form");
    let id = memory(&net, "a").cluster.unwrap();
    for (node, others) in [
        ("a", [known("b", 11), known("c", 12)]),
        ("b", [known("a", 10), known("c", 12)]),
        ("c", [known("a", 10), known("b", 11)]),
    ] {
        let memory = memory(&net, node);
        assert_eq!((memory.cluster, memory.members), (Some(id), others.to_vec()), "{node}");
    }
    say(&mut net, "c", "gone");
    net.run_ms(100);
    let left = memory(&net, "c");
    assert_eq!(
        (left.cluster, left.members.len()),
        (None, 2),
        "names to look for, and no cluster"
    );
    assert_eq!(
        memory(&net, "a").members,
        [known("b", 11)],
        "a node that left is not waited for"
    );
    net.kill("b", false);
    net.run_ms(100);
    assert_eq!(memory(&net, "a").members, [known("b", 11)], "a lost node may come back");
}

#[test]
fn a_node_that_left_in_order_looks_for_the_others_for_a_while() {
    let mut net = Net::new();
    let former = Memory {
        cluster: None,
        members: vec![known("b", 11)],
        creation: 3,
    };
    start(&mut net, "a", &[], 10, former.clone());
    net.run_ms(20_000);
    assert!(net.dials.len() <= 5, "it does not look forever: {:?}", net.dials);
    net.kill("a", false);
    start(&mut net, "b", &[], 11, Memory::default());
    start(&mut net, "a", &[], 12, former);
    net.run_ms(500);
    assert_eq!(net.state("b", "a"), Some(MemberState::Up));
}

#[test]
fn a_remembered_node_is_dialled_and_counts_as_down_until_declared_gone() {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, of(7, vec![known("b", 11), known("c", 12)]));
    net.run_ms(1_000);
    assert_eq!(net.state("a", "b"), Some(MemberState::Down));
    start(&mut net, "b", &[], 20, Memory::default());
    net.run_ms(10_000);
    assert_eq!(
        net.state("a", "b"),
        Some(MemberState::Up),
        "b knew nobody: a has dialled it"
    );
    assert_eq!(
        memory(&net, "b").cluster,
        Some(ClusterId(7)),
        "b has adopted the cluster"
    );
    assert_eq!(net.state("b", "c"), Some(MemberState::Down), "a has reported it to b");
}

#[test]
fn nodes_of_two_clusters_never_mix() {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, of(7, vec![]));
    start(&mut net, "b", &[], 11, of(8, vec![]));
    for node in ["a", "b"] {
        say(&mut net, node, "form");
    }
    start(&mut net, "c", &["a", "b"], 12, of(7, vec![]));
    start(&mut net, "d", &["b"], 13, Memory::default());
    net.run_ms(1_000);
    assert_eq!(net.state("c", "a"), Some(MemberState::Up));
    assert_eq!((net.state("c", "b"), net.state("b", "c")), (None, None));
    assert_eq!(memory(&net, "d").cluster, Some(ClusterId(8)));
    let mismatch = |ours, theirs| Mismatch::Cluster {
        ours: ClusterId(ours),
        theirs: ClusterId(theirs),
    };
    assert_eq!(refusals(&net, "b"), [(mismatch(8, 7), false)], "b goes on");
    // Reported once for each connection, whatever changes.
    net.kill("a", false);
    net.kill("d", false);
    net.run_ms(1_000);
    assert_eq!(refusals(&net, "b").len(), 1);
}

#[test]
fn a_node_that_starts_with_the_memory_of_another_cluster_must_end() {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, of(7, vec![]));
    start(&mut net, "b", &["a"], 11, of(8, vec![known("x", 4)]));
    net.run_ms(500);
    assert_eq!(refusals(&net, "b").len(), 1);
    assert!(!refusals(&net, "b")[0].1, "a has no data either");
    say(&mut net, "a", "form");
    assert!(refusals(&net, "b")[1].1, "a has formed its cluster");
    assert!(refusals(&net, "a").iter().all(|(_, is_fatal)| !is_fatal));
    assert_eq!(net.state("a", "b"), None);
    // A node that serves goes on.
    start(&mut net, "c", &[], 12, of(9, vec![]));
    net.run_ms(50);
    say(&mut net, "c", "serve");
    start(&mut net, "d", &["a"], 13, of(7, vec![known("c", 12)]));
    net.run_ms(1_000);
    let refusals = refusals(&net, "c");
    assert!(
        !refusals.is_empty() && refusals.iter().all(|(_, is_fatal)| !is_fatal),
        "{refusals:?}"
    );
}

#[test]
fn a_starting_node_with_other_settings_ends_when_it_meets_a_cluster() {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, Memory::default());
    net.run_ms(50);
    say(&mut net, "a", "form");
    let mut other = config("b", &["a"]);
    other.birth = bytes::Bytes::from_static(b"shards=64");
    net.start(other, 2, vec![]);
    net.run_ms(500);
    assert!(matches!(&refusals(&net, "b")[..], [(Mismatch::Birth { .. }, true)]));
    assert!(matches!(&refusals(&net, "a")[..], [(Mismatch::Birth { .. }, false)]));
}

#[test]
fn provisional_data_is_thrown_away_and_its_connections_are_closed() {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, Memory::default());
    start(&mut net, "b", &[], 11, Memory::default());
    start(&mut net, "c", &["b"], 12, Memory::default());
    net.run_ms(500);
    say(&mut net, "a", "form");
    say(&mut net, "b", "provisional");
    assert_eq!(net.state("c", "b"), Some(MemberState::Up));
    let id = memory(&net, "a").cluster.unwrap();
    // b and c have data that b began. They meet the cluster of a through d.
    start(&mut net, "d", &["a", "b"], 13, Memory::default());
    net.run_ms(20_000);
    for (node, other) in [("b", "a"), ("c", "a"), ("a", "b"), ("a", "c"), ("b", "c"), ("d", "c")] {
        assert_eq!(
            net.state(node, other),
            Some(MemberState::Up),
            "{other} as {node} sees it"
        );
    }
    for node in ["b", "c", "d"] {
        assert_eq!(memory(&net, node).cluster, Some(id), "{node}");
    }
    assert_eq!(
        net.node_downs("b", "c").len(),
        1,
        "the connection was closed before the node changed its cluster"
    );
}

// Two nodes with the same name

/// Starts a second node with the name `c`, while the first one runs.
fn start_second(net: &mut Net, creation: u32) {
    let mut config = config("c", &["a"]);
    config.creation = creation;
    net.deref_mut().start(&name("second"), Node::new(config, 99));
}

fn two_and_c() -> Net {
    let mut net = Net::new();
    start(&mut net, "a", &[], 10, Memory::default());
    start(&mut net, "c", &["a"], 11, Memory::default());
    net.run_ms(500);
    net
}

#[test]
fn a_newcomer_does_not_get_the_name_of_a_live_node() {
    let mut net = two_and_c();
    start_second(&mut net, 99);
    net.run_ms(900);
    let taken = Event::NameTaken {
        by: name("a"),
        is_fatal: true,
    };
    assert!(net.events("second").contains(&taken));
    assert_eq!(net.member("a", "c").unwrap().creation, 11);
    net.run_ms(30_000);
    assert_eq!(net.node_downs("a", "c"), [""; 0]);
    assert_eq!(net.member("a", "c").unwrap().creation, 11);
}

#[test]
fn a_name_whose_node_does_not_answer_goes_to_the_newcomer() {
    let mut net = two_and_c();
    net.stop("c");
    start_second(&mut net, 99);
    net.run_ms(900);
    assert_eq!(
        net.member("a", "c").unwrap().creation,
        11,
        "the old node may still answer"
    );
    net.run_ms(200);
    assert_eq!(net.member("a", "c").unwrap().creation, 99);
    assert_eq!(net.node_downs("a", "c"), ["replaced"]);
}

#[test]
fn a_newcomer_that_waits_gets_in_when_the_connection_of_the_old_one_ends() {
    let mut net = two_and_c();
    net.stop("c");
    start_second(&mut net, 99);
    net.run_ms(300);
    net.kill("c", false);
    net.run_ms(100);
    assert_eq!(net.member("a", "c").unwrap().creation, 99);
}
