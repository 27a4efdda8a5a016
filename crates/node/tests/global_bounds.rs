//! `global` with a peer that sends it too much: entries, bytes, dials and time stay limited.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;
mod stage;

use net::{Net, Scripted, at, name};
use node::{Address, Atom, Config, Event, Input, Limits, Method, Pid, Term, gen_server::cast_term};
use stage::{Stage, peer, reference};
use std::collections::BTreeMap;
use wire::dist::control::{Signal, Target};

const SECOND: u64 = 1000;
/// The server of `global`, to which peers send messages.
const SERVER: &str = "global_name_server";

/// Visible nodes that know each other, and a process at each that acts.
struct World {
    net: Net,
    pilots: BTreeMap<String, Pid>,
}

impl World {
    fn new(nodes: &[&str], limits: &Limits) -> Self {
        let (mut net, mut pilots) = (Net::new(), BTreeMap::new());
        for (seed, node) in (1..).zip(nodes) {
            let config = Config {
                hidden: false,
                limits: limits.clone(),
                ..net::config(node, &nodes[..1])
            };
            net.start(config, seed, vec![]);
            pilots.insert((*node).into(), net.adopt(node));
        }
        net.run_ms(20 * SECOND);
        let mut world = Self { net, pilots };
        for node in nodes {
            assert_eq!(world.known(node).len(), nodes.len() - 1);
        }
        world
    }

    fn act<R>(&mut self, node: &str, action: impl FnOnce(net::Ctx<'_, '_>) -> R) -> R {
        let result = self.net.act(node, &self.pilots[node], action);
        self.net.run_ms(100);
        result
    }

    /// The answers to a call of the server at `a` within 100 ms.
    fn ask(&mut self, node: &str, request: Term) -> Vec<String> {
        self.net.delivered(node);
        self.act(node, |ctx| ctx.call(&at("a", SERVER), request, 50_000_000));
        self.net.delivered(node)
    }

    /// The answers to a message to the server at `a` within 100 ms.
    fn tell(&mut self, node: &str, message: Term) -> Vec<String> {
        self.net.delivered(node);
        self.act(node, |ctx| ctx.send(&at("a", SERVER), message));
        self.net.delivered(node)
    }

    /// The nodes that a node knows.
    fn known(&mut self, node: &str) -> Vec<String> {
        self.net.delivered(node);
        self.act(node, |ctx| {
            ctx.call(&at(node, SERVER), Term::atom("get_known"), 1_000_000)
        });
        let answer = self.net.delivered(node).remove(0);
        let names = answer.strip_prefix("reply [").unwrap().strip_suffix(']').unwrap();
        names.split(',').filter(|n| !n.is_empty()).map(String::from).collect()
    }

    /// How often `a` dialled these nodes: at most at the same moment, and in total.
    fn dials(&self, is_one: impl Fn(&Atom) -> bool) -> (usize, usize) {
        let mut by_time: BTreeMap<u64, usize> = BTreeMap::new();
        for (at_us, from, to) in &self.net.dials {
            if *from == name("a") && is_one(to) {
                *by_time.entry(*at_us).or_default() += 1;
            }
        }
        (by_time.values().copied().max().unwrap_or(0), by_time.values().sum())
    }

    fn is_cut(&self) -> bool {
        let is_cut = |event: &Event| matches!(event, Event::PeerCut { reason, .. } if reason.contains("too many"));
        self.net.events("a").iter().any(is_cut)
    }
}

fn verb(verb: &'static str) -> Term {
    Term::atom(verb)
}

fn set_lock(resource: Term) -> Term {
    Term::from((verb("set_lock"), Term::from((resource, 1))))
}

fn del_lock(resource: Term) -> Term {
    Term::from((verb("del_lock"), Term::from((resource, 1))))
}

fn register(global: Term, pid: Pid) -> Term {
    Term::from((verb("register"), global, pid, 1))
}

fn long(byte: u8) -> Term {
    Term::binary(vec![byte; 400])
}

/// The pid of a process on a node that does not exist.
fn ghost(node: &str) -> Pid {
    Pid {
        node: Atom::new(node),
        id: 1,
        serial: 0,
        creation: 9,
    }
}

#[test]
fn only_processes_of_the_node_wait_until_others_are_in_sync() {
    let sync = |nodes: &[&str]| Term::from((verb("sync"), Term::list(nodes.iter().map(|node| name(node)))));
    let mut world = World::new(&["a", "b"], &Limits::default());
    assert_eq!(world.ask("a", sync(&["a", "b"])), ["reply ok"]);
    assert!(world.ask("b", sync(&["a", "b"])).is_empty());
    let many = Term::list((0..5000).map(|at| Term::Atom(Atom::new(&format!("n{at}@net")))));
    let answer = world.ask("a", Term::from((verb("sync"), many)));
    assert_eq!(answer, ["reply {error,system_limit}"]);

    // A process that waits and then ends is removed.
    let before = world.act("a", |ctx| ctx.tables().monitors);
    let waiter = world.act("a", |ctx| {
        let start = move |ctx: net::Ctx<'_, '_>| {
            ctx.call(&at("a", SERVER), sync(&["b", "z"]), u64::MAX);
        };
        ctx.spawn(
            None,
            Box::new(Scripted {
                start: Box::new(start),
                handle: Box::new(|_, _| {}),
            }),
        )
    });
    assert_eq!(world.act("a", |ctx| ctx.tables().monitors), before + 1);
    world.act("a", |ctx| ctx.exit_other(&waiter, Term::atom("kill")));
    assert_eq!(world.act("a", |ctx| ctx.tables().monitors), before);
}

#[test]
fn the_size_of_locks_and_names_is_limited_and_released() {
    let limits = Limits {
        global_bytes_per_peer_max: 1000,
        ..Limits::default()
    };
    for is_lock in [true, false] {
        let mut world = World::new(&["a", "b"], &limits);
        let pilot = world.pilots["b"].clone();
        let take = |at: u8| {
            if is_lock {
                set_lock(long(at))
            } else {
                register(long(at), pilot.clone())
            }
        };
        let give = |at: u8| {
            if is_lock {
                del_lock(long(at))
            } else {
                Term::from((verb("unregister"), long(at)))
            }
        };
        for at in 0..10 {
            world.ask("b", take(at));
            world.ask("b", take(at));
            world.ask("b", take(at + 1));
            world.ask("b", give(at));
            world.ask("b", give(at + 1));
        }
        world.ask("b", take(1));
        world.ask("b", take(2));
        assert!(!world.is_cut());
        let held = world.act("a", |ctx| ctx.tables().peers[&name("b")]);
        let expected = if is_lock { (2, 0) } else { (0, 2) };
        assert_eq!((held.global_locks, held.global_names), expected);
        world.ask("b", take(3));
        assert!(world.is_cut());
        let tables = world.act("a", |ctx| ctx.tables());
        assert_eq!((tables.global_locks, tables.global_names), (0, 0));
    }

    // If this node's own request exceeds the limit, it is refused, and no connection is closed.
    let mut world = World::new(&["a"], &limits);
    world.net.delivered("a");
    world.act("a", |ctx| {
        let me = ctx.me().clone();
        ctx.register_global(Term::binary([0; 2000]), &me, Method::RandomExit);
        ctx.global_lock(Term::binary([0; 2000]), None, Some(0));
    });
    let mut answers = world.net.delivered("a");
    answers.sort();
    assert_eq!(answers, ["reply false", "reply no"]);
}

#[test]
fn a_lost_connection_is_reported_with_numbers() {
    let mut world = World::new(&["a", "b", "c"], &Limits::default());
    let lost =
        |life: Term, operation: Term| Term::from((verb("lost_connection"), name("b"), life, operation, name("c")));
    for (life, operation) in [
        (verb("life"), Term::from(1)),
        (Term::from(1), long(1)),
        (Term::integer(false, &[0xff; 20]), Term::from(1)),
    ] {
        world.tell("b", lost(life, operation));
        assert_eq!(world.known("a").len(), 2);
    }
    world.tell("b", lost(Term::from(1), Term::from(1)));
    assert_eq!(world.known("a"), ["b@net"]);
}

#[test]
fn a_lookup_of_a_huge_name_does_not_wait() {
    let mut world = World::new(&["a", "b"], &Limits::default());
    let pilot = world.pilots["b"].clone();
    let whereis = |global: Term, tag: Term| Term::from((verb("whereis"), global, Term::from((pilot.clone(), tag))));
    assert_eq!(world.ask("b", set_lock(verb("global"))), ["reply true"]);
    let huge = || Term::binary(vec![0; 100_000]);
    assert_eq!(world.tell("b", whereis(huge(), Term::from(1))), ["term {1,undefined}"]);
    assert_eq!(world.tell("b", whereis(Term::from(1), huge())).len(), 1);
    assert!(
        world.tell("b", whereis(verb("x"), Term::from(2))).is_empty(),
        "it waits"
    );
    world.ask("b", del_lock(verb("global")));
    world.net.run_ms(5 * SECOND);
    assert_eq!(world.net.delivered("b"), ["term {2,undefined}"]);
}

#[test]
fn reported_nodes_are_dialled_a_few_at_a_time_and_then_given_up() {
    let mut world = World::new(&["a", "b"], &Limits::default());
    world.act("b", |ctx| {
        for at in 0..2000 {
            let holder = ghost(&format!("holder{at}@net"));
            ctx.call(&net::at("a", SERVER), register(Term::from(at), holder), 1_000_000);
        }
        let told = (0..500).map(|at| Term::from((Atom::new(&format!("ghost{at}@net")), 8)));
        let joined = [
            verb("new_nodes"),
            name("b").into(),
            Term::NIL,
            Term::NIL,
            Term::list(told),
            Term::NIL,
        ];
        ctx.send(&net::at("a", SERVER), cast_term(Term::tuple(joined)));
    });
    assert!(world.known("a").len() > 400);
    world.net.run_ms(70 * SECOND);
    let is_ghost = |node: &Atom| node.as_str().contains("ghost") || node.as_str().contains("holder");
    let (at_once, in_all) = world.dials(is_ghost);
    assert!(at_once <= 8 && in_all > 1000, "{at_once} at once, {in_all} in all");
    // Nothing is left of them, and nothing waits for them.
    assert_eq!(world.known("a"), ["b@net"]);
    assert_eq!(world.act("a", |ctx| ctx.tables().global_names), 0);
    world.net.delivered("a");
    world.act("a", |ctx| {
        let me = ctx.me().clone();
        ctx.register_global(verb("x"), &me, Method::RandomExit)
    });
    world.net.run_ms(10 * SECOND);
    assert_eq!(world.net.delivered("a"), ["reply yes"]);
}

#[test]
fn no_node_is_dialled_for_a_void_name() {
    let mut world = World::new(&["a", "b"], &Limits::default());
    let is_ghost = |node: &Atom| node.as_str().contains("ghost");
    // Another process has the lock.
    assert_eq!(world.ask("a", set_lock(verb("global"))), ["reply true"]);
    assert_eq!(world.ask("b", register(verb("x"), ghost("ghost@net"))), ["reply yes"]);
    world.ask("a", del_lock(verb("global")));
    // Texts that are not node names.
    for node in ["ghost", "gho st@net", "ghost@", "@ghost"] {
        world.ask("b", register(verb("y"), ghost(node)));
    }
    assert_eq!(world.act("a", |ctx| ctx.tables().global_names), 0);
    assert_eq!(world.dials(is_ghost), (0, 0));
    // A holder on another node has the name until its node turns out not to exist.
    world.act("b", |ctx| {
        ctx.call(
            &net::at("a", SERVER),
            register(verb("z"), ghost("ghost@net")),
            1_000_000,
        )
    });
    world.net.run_ms(SECOND);
    assert_eq!(world.dials(is_ghost), (1, 1));
    assert_eq!(world.act("a", |ctx| ctx.tables().global_names), 0);
}

/// A process on a node that this node has not met can have a name. The name ends with the process.
#[test]
fn a_holder_on_an_unmet_node_is_monitored() {
    let mut world = World::new(&["a", "b"], &Limits::default());
    let hidden = net::config("c", &[]);
    world.net.start(hidden, 9, vec![]);
    let holder = world.net.adopt("c");
    world.net.run_ms(100);
    world.ask("b", register(verb("x"), holder.clone()));
    let whereis = |ctx: net::Ctx<'_, '_>| ctx.whereis_global(&verb("x"));
    assert_eq!(world.act("a", whereis), Some(holder));
    assert_eq!(world.net.node_ups("a", "c"), 1);
    world.net.kill("c", false);
    world.net.run_ms(100);
    assert_eq!(world.act("a", whereis), None);
}

/// Most nodes learn of most others from a third node.
#[test]
fn a_mesh_of_many_nodes_forms_soon() {
    let nodes: Vec<String> = (0..50).map(|at| format!("n{at:02}")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let mut net = Net::new();
    for (seed, node) in (1..).zip(&nodes) {
        let config = Config {
            hidden: false,
            ..net::config(node, &nodes[..1])
        };
        net.start(config, seed, vec![]);
    }
    let pilots: Vec<Pid> = nodes.iter().map(|node| net.adopt(node)).collect();
    let mut seconds = 0;
    loop {
        net.run_ms(5 * SECOND);
        seconds += 5;
        let is_whole = nodes.iter().zip(&pilots).all(|(node, pilot)| {
            net.delivered(node);
            let server = Address::Name(Atom::new(SERVER));
            net.act(node, pilot, |ctx| ctx.call(&server, Term::atom("get_known"), 1_000_000));
            net.run_ms(1);
            net.delivered(node)[0].matches("@net").count() == nodes.len() - 1
        });
        if is_whole {
            break;
        }
        assert!(seconds < 30, "the mesh does not form");
    }
}

/// The peer sends a message to `global`.
fn tell_global(stage: &mut Stage, message: Term) {
    let (from, to) = (Some(peer(9)), Target::Name(Atom::new(SERVER)));
    stage.signal(&Signal::Send {
        from,
        to,
        priority: false,
        message,
    });
}

/// Two partitions meet whose names conflict. The losers live on nodes that do not exist, each on a different one.
#[test]
fn nodes_of_losers_of_conflicts_are_dialled_a_few_at_a_time() {
    let mut stage = Stage::visible(Limits::default(), |_| {});
    let us = || Term::Atom(Atom::new("b@net"));
    let method = || Term::Export {
        module: Atom::new("global"),
        function: Atom::new("random_exit_name"),
        arity: 3,
    };
    let names = 0..500_u32;
    for name in names.clone() {
        let request = Term::from((Term::atom("register"), name, peer(1), method()));
        let from = Term::from((peer(9), Term::Ref(reference(name))));
        tell_global(&mut stage, Term::from((Term::atom("$gen_call"), from, request)));
    }
    stage.heard.clear();
    let init = (Term::atom("locker"), Term::NIL, Term::map([]), peer(9));
    let (version, init) = (Term::from((8, 77)), Term::from(init));
    let hello = Term::from((Term::atom("init_connect"), version, us(), init));
    tell_global(&mut stage, cast_term(hello));
    let tag = stage.heard.iter().find_map(|signal| match signal {
        Signal::Send { message, .. } => match message.as_tuple()? {
            [verb, _, _, tag] if verb.is_atom("init_connect_ack") => Some(tag.clone()),
            _ => None,
        },
        _ => None,
    });
    let tag = tag.unwrap();
    let locked = Term::from((Term::atom("lock_set"), peer(9), true, Term::NIL, tag.clone()));
    tell_global(&mut stage, cast_term(locked));
    let ghost = |name: u32| Pid {
        node: Atom::new(&format!("ghost{name}@net")),
        ..peer(1)
    };
    let entries = names.map(|name| Term::from((name, ghost(name), method())));
    let exchange = [
        Term::atom("exchange"),
        us(),
        Term::List(entries.collect()),
        Term::NIL,
        tag,
    ];
    tell_global(&mut stage, cast_term(Term::tuple(exchange)));
    assert_eq!(stage.cut(), None);
    assert_eq!(stage.dialled.len(), 8, "{:?}", stage.dialled);
    let first = stage.dialled[0].clone();
    // The others are dialled later.
    for _ in 0..20 {
        stage.now_us += 1_000_000;
        stage.input(Input::Alarm);
    }
    assert!(stage.dialled.len() > 8 && stage.dialled.iter().filter(|node| **node == first).count() == 1);
    stage.check_alive();
}

#[test]
fn a_holder_can_release_its_lock_and_dead_processes_get_none() {
    const CLAIMS: usize = 10_000;
    let mut world = World::new(&["a", "b"], &Limits::default());
    let lock = |ctx: net::Ctx<'_, '_>, resource, retries| ctx.global_lock(Term::atom(resource), None, retries);
    world.act("a", |ctx| lock(ctx, "mine", Some(0)));
    world.act("b", |ctx| lock(ctx, "theirs", Some(0)));
    world.net.delivered("a");
    let claimants: Vec<_> = (0..CLAIMS).map(|_| world.net.adopt("a")).collect();
    for pid in &claimants {
        world.net.act("a", pid, |ctx| lock(ctx, "theirs", None));
    }
    world.act("a", |ctx| lock(ctx, "other", Some(0)));
    world.act("a", |ctx| ctx.global_unlock(Term::atom("mine"), None));
    assert_eq!(world.net.delivered("a"), ["reply false", "reply true"]);

    for pid in &claimants {
        world.net.act("a", pid, |ctx| ctx.exit(Term::atom("normal")));
    }
    world.net.run_ms(20 * SECOND);
    world.act("a", |ctx| lock(ctx, "other", Some(0)));
    assert_eq!(world.net.delivered("a"), ["reply true"]);
}
