//! A node grants locks and global names only once its tables are merged with those of every node that it knows.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;
mod stage;

use net::{Net, name, scripted};
use node::{Awaited, Config, Event, Exchange, Input, Limits, MembersCommand, Message, Method, Pid, Term};
use stage::Stage;
use std::collections::BTreeMap;

const SECOND: u64 = 1000;
/// How long a starting node looks for the nodes it is to join.
const JOIN_WAIT: u64 = 4 * SECOND;

/// Visible nodes, and for each a process that makes requests and collects the answers.
struct World {
    net: Net,
    pilots: BTreeMap<String, Pid>,
    answers: BTreeMap<String, Vec<String>>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            net: Net::new(),
            pilots: BTreeMap::new(),
            answers: BTreeMap::new(),
            seed: seed * 1000,
        }
    }

    /// Starts a node without running anything.
    fn start(&mut self, node: &str, join: &[&str]) {
        self.seed += 1;
        let config = Config {
            hidden: false,
            limits: Limits {
                join_wait_ms: JOIN_WAIT,
                ..Limits::default()
            },
            ..net::config(node, join)
        };
        self.net.start_with(config, self.seed, |node| {
            node.start_scope("pg").unwrap();
        });
        let pilot = self.net.adopt(node);
        self.pilots.insert(node.into(), pilot);
    }

    fn act<R>(&mut self, node: &str, action: impl FnOnce(net::Ctx<'_, '_>) -> R) -> R {
        let pilot = self.pilots[node].clone();
        self.net.act(node, &pilot, action)
    }

    /// Makes a node connect to another one.
    fn add(&mut self, node: &str, other: &str) {
        let other = name(other);
        self.act(node, |ctx| ctx.members(MembersCommand::Add { node: other }));
    }

    fn lock(&mut self, node: &str) {
        self.act(node, |ctx| ctx.global_lock(Term::atom("r"), None, None));
    }

    fn unlock(&mut self, node: &str) {
        self.act(node, |ctx| ctx.global_unlock(Term::atom("r"), None));
    }

    /// Registers the name `x` for a new process.
    fn register(&mut self, node: &str) -> Pid {
        self.act(node, |ctx| {
            let holder = ctx.spawn(None, scripted(|_, _| {}));
            ctx.register_global(Term::atom("x"), &holder, Method::RandomExit);
            holder
        })
    }

    /// All answers that the pilot of a node has received so far.
    fn answers(&mut self, node: &str) -> Vec<String> {
        let new = self.net.delivered(node);
        let answers = self.answers.entry(node.into()).or_default();
        answers.extend(new);
        answers.clone()
    }

    /// Runs until the pilot of a node has this many answers. Returns how long that took, in milliseconds.
    fn run_until_answered(&mut self, node: &str, count: usize) -> u64 {
        for ms in 0..60 * SECOND {
            if self.answers(node).len() == count {
                return ms;
            }
            self.net.run_ms(1);
        }
        panic!("{node} is not answered");
    }

    fn awaited(&mut self, node: &str) -> Vec<(String, Exchange)> {
        let awaited = self.act(node, |ctx| ctx.awaited()).into_iter();
        let text = |Awaited { node, exchange }: Awaited| (node.as_str().replace("@net", ""), exchange);
        awaited.map(text).collect()
    }

    fn notes(&self, node: &str, wanted: &str) -> Vec<String> {
        let note = |event: &Event| match event {
            Event::Note { kind, text } if *kind == wanted => Some(text.clone()),
            _ => None,
        };
        self.net.events(node).iter().filter_map(note).collect()
    }
}

/// Nodes start at the same time and request a lock at the same time. One of them gets it, and then the others in turn.
fn check_turns(seed: u64, nodes: &[&str], joins: fn(&str) -> Vec<&'static str>, pause_ms: u64) {
    let mut world = World::new(seed);
    for node in nodes {
        world.start(node, &joins(node));
        world.lock(node);
        world.net.run_ms(pause_ms);
    }
    let mut waiting = nodes.to_vec();
    while !waiting.is_empty() {
        let mut holders: Vec<&str> = Vec::new();
        for _ in 0..60 * SECOND {
            world.net.run_ms(1);
            holders = waiting
                .iter()
                .copied()
                .filter(|n| world.answers(n).len() == 1)
                .collect();
            if !holders.is_empty() {
                break;
            }
        }
        world.net.run_ms(3 * SECOND);
        holders = waiting
            .iter()
            .copied()
            .filter(|n| world.answers(n).len() == 1)
            .chain(holders)
            .collect();
        holders.sort_unstable();
        holders.dedup();
        assert_eq!(
            holders.len(),
            1,
            "seed {seed}, pause {pause_ms} ms: {holders:?} hold one lock"
        );
        assert_eq!(world.answers(holders[0]), ["reply true"]);
        waiting.retain(|node| *node != holders[0]);
        world.unlock(holders[0]);
        world.run_until_answered(holders[0], 2);
    }
}

#[test]
fn of_new_nodes_that_join_each_other_one_holds_a_lock() {
    for seed in 0..8 {
        check_turns(
            seed,
            &["a", "b"],
            |node| vec![if node == "a" { "b" } else { "a" }],
            seed % 4,
        );
        check_turns(seed, &["a", "b", "c"], |_| vec!["a", "b", "c"], seed * 40);
    }
}

#[test]
fn a_new_node_asks_the_nodes_it_is_to_join_before_it_gets_a_lock() {
    for seed in 0..8 {
        check_turns(
            seed,
            &["a", "b"],
            |node| if node == "a" { vec![] } else { vec!["a"] },
            seed * 60,
        );
        // It learns about the first node from the second.
        let chain = |node: &str| match node {
            "a" => vec![],
            "b" => vec!["a"],
            _ => vec!["b"],
        };
        check_turns(seed, &["a", "b", "c"], chain, 400 + seed * 60);
    }
}

#[test]
fn of_new_nodes_that_join_each_other_one_gets_a_name() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        world.start("a", &["b"]);
        let first = world.register("a");
        world.start("b", &["a"]);
        let second = world.register("b");
        world.net.run_ms(20 * SECOND);
        let mut answers = [world.answers("a"), world.answers("b")].concat();
        answers.sort();
        assert_eq!(answers, ["reply no", "reply yes"], "seed {seed}");
        let holder = world.act("a", |ctx| ctx.whereis_global(&Term::atom("x")));
        assert!(holder == Some(first.clone()) || holder == Some(second.clone()));
        assert_eq!(world.act("b", |ctx| ctx.whereis_global(&Term::atom("x"))), holder);
        // Both processes are alive. A merge of two holders would have ended one of them.
        let lives = |world: &mut World, node: &str, pid: &Pid| {
            let pid = pid.clone();
            world.act(node, move |ctx| ctx.is_alive(&pid))
        };
        assert!(lives(&mut world, "a", &first) && lives(&mut world, "b", &second));
    }
}

/// A node without peers connects to a cluster. From then on, no other node is granted a lock that it holds.
#[test]
fn a_lock_is_not_granted_while_a_merge_is_under_way() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.start("a", &[]);
        world.start("b", &["a"]);
        world.start("c", &[]);
        world.net.run_ms(10 * SECOND);
        world.lock("c");
        world.run_until_answered("c", 1);
        world.add("b", "c");
        while !world.awaited("b").contains(&("c".into(), Exchange::Global)) {
            world.net.run_us(100);
        }
        world.net.run_us(seed * 30_000);
        world.lock("b");
        world.net.run_ms(20 * SECOND);
        assert!(world.answers("b").is_empty(), "seed {seed}");
        world.unlock("c");
        world.net.run_ms(20 * SECOND);
        assert_eq!(world.answers("b"), ["reply true"], "seed {seed}");
    }
}

/// While one node requests a lock, another node joins it, which knows another holder of the lock.
#[test]
fn a_claim_goes_on_with_nodes_that_join_meanwhile() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        world.start("a", &[]);
        world.start("b", &["a"]);
        world.start("c", &[]);
        world.net.run_ms(10 * SECOND);
        world.lock("c");
        world.run_until_answered("c", 1);
        // The answer of `b` to the request of `a` is delayed.
        world.net.deafen("b", "a");
        world.lock("a");
        world.add("a", "c");
        world.net.run_ms(100 + seed * 100);
        world.net.hear();
        world.net.run_ms(20 * SECOND);
        assert!(world.answers("a").is_empty(), "seed {seed}");
        world.unlock("c");
        world.net.run_ms(20 * SECOND);
        assert_eq!(world.answers("a"), ["reply true"], "seed {seed}");
    }
}

#[test]
fn a_node_is_awaited_for_its_connection_then_for_its_names() {
    let mut world = World::new(1);
    world.start("a", &[]);
    assert_eq!(world.awaited("a"), []);
    world.start("b", &["a"]);
    assert_eq!(world.awaited("b"), [("a".into(), Exchange::Connection)]);
    let mut seen: Vec<Exchange> = Vec::new();
    world.act("b", |ctx| ctx.sync_global());
    while world.answers("b").is_empty() {
        for (_, exchange) in world.awaited("b") {
            if !seen.contains(&exchange) {
                seen.push(exchange);
            }
        }
        world.net.run_us(100);
    }
    assert_eq!(seen, [Exchange::Connection, Exchange::Global, Exchange::Groups]);
    assert_eq!(world.answers("b"), ["reply ok"]);
    world.net.run_ms(10);
    assert_eq!((world.awaited("a"), world.awaited("b")), (vec![], vec![]));
}

#[test]
fn groups_are_known_once_nothing_is_awaited() {
    let mut world = World::new(2);
    world.start("a", &[]);
    world.act("a", |ctx| {
        let me = ctx.me().clone();
        assert!(ctx.join("pg", Term::atom("g"), &me));
    });
    world.start("b", &["a"]);
    while !world.awaited("b").is_empty() {
        world.net.run_us(100);
    }
    assert_eq!(world.act("b", |ctx| ctx.members_of("pg", &Term::atom("g"))).len(), 1);
    // A scope that the peer does not run is not waited for long.
    world.act("b", |ctx| ctx.start_scope("mine"));
    assert_eq!(world.awaited("b"), [("a".into(), Exchange::Groups)]);
    world.net.run_ms(10);
    assert_eq!(world.awaited("b"), []);
    assert!(world.notes("b", "groups_silent").is_empty());
}

#[test]
fn a_named_node_that_never_starts_is_awaited_for_the_time_to_join() {
    let mut world = World::new(3);
    world.start("a", &["nobody"]);
    world.lock("a");
    world.register("a");
    let took_ms = world.run_until_answered("a", 2);
    assert!((JOIN_WAIT..=JOIN_WAIT + 10).contains(&took_ms), "{took_ms} ms");
    assert_eq!(world.answers("a"), ["reply true", "reply yes"]);
    assert_eq!(world.awaited("a"), []);
}

#[test]
fn a_node_that_discovery_finds_at_the_start_is_awaited_until_a_dial_fails() {
    let mut world = World::new(6);
    world.start("a", &[]);
    let propose = |world: &mut World| {
        let nodes = vec![name("nobody")];
        world.net.input(&name("a"), Input::Proposed { nodes });
    };
    propose(&mut world);
    assert_eq!(world.awaited("a"), [("nobody".into(), Exchange::Connection)]);
    world.lock("a");
    world.net.run_ms(10);
    assert_eq!(world.answers("a"), ["reply true"]);
    // Later, nothing waits for nodes that discovery finds.
    world.net.run_ms(60 * SECOND);
    propose(&mut world);
    assert_eq!(world.awaited("a"), []);
}

#[test]
fn a_named_node_that_a_member_reports_as_down_is_not_awaited() {
    let mut world = World::new(4);
    world.start("a", &[]);
    world.start("b", &["a"]);
    world.net.run_ms(10 * SECOND);
    world.net.kill("a", false);
    world.net.run_ms(SECOND);
    world.start("c", &["a", "b"]);
    world.lock("c");
    let took_ms = world.run_until_answered("c", 1);
    assert!(took_ms < JOIN_WAIT / 2, "{took_ms} ms");
}

#[test]
fn after_a_partition_each_side_goes_on() {
    let mut world = World::new(5);
    world.start("a", &["b"]);
    world.start("b", &["a"]);
    world.net.run_ms(10 * SECOND);
    world.net.part("a", "b");
    world.net.run_ms(SECOND);
    for node in ["a", "b"] {
        assert_eq!(world.awaited(node), []);
        world.lock(node);
        assert!(world.run_until_answered(node, 1) < 100);
    }
}

/// A visible peer that is connected but sends nothing.
#[test]
fn a_peer_that_does_not_answer_is_waited_for_and_given_up() {
    let mut stage = Stage::visible(Limits::default(), |node| {
        node.start_scope("pg").unwrap();
    });
    let pilot = stage.node.adopt();
    let ask = |ctx: &mut node::Context<'_, _>| {
        let here = ctx.node().clone();
        ctx.global_lock(Term::atom("r"), None, Some(0));
        // If the process names the nodes, only these nodes decide.
        ctx.global_lock(Term::atom("s"), Some(vec![here]), Some(0));
    };
    stage.act(&pilot, ask);
    stage.input(Input::Alarm);
    assert_eq!(stage.delivered.drain(..).count(), 1);
    let awaited = stage.act(&pilot, |ctx| ctx.awaited());
    let exchanges: Vec<Exchange> = awaited.iter().map(|awaited| awaited.exchange).collect();
    assert_eq!(exchanges, [Exchange::Global, Exchange::Groups]);
    for _ in 0..49 {
        stage.now_us += 100_000;
        stage.input(Input::Alarm);
    }
    assert!(stage.delivered.is_empty(), "{:?}", stage.delivered);
    for _ in 0..12 {
        stage.now_us += 100_000;
        stage.input(Input::Alarm);
    }
    let answer = stage.delivered.iter().map(|message| match message {
        Message::Reply { result: Ok(answer), .. } => answer.to_string(),
        other => panic!("{other:?}"),
    });
    assert_eq!(answer.collect::<Vec<_>>(), ["true"]);
    assert_eq!(stage.act(&pilot, |ctx| ctx.awaited()), []);
    for wanted in ["global_silent", "groups_silent"] {
        let is_named = |event: &&Event| matches!(event, Event::Note { kind, text } if *kind == wanted && text.starts_with("b@net has not"));
        assert_eq!(stage.events.iter().filter(is_named).count(), 1, "{:?}", stage.events);
    }
}
