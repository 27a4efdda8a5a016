//! Process groups: among nodes in a virtual network, and with a real `erl`.
//!
//! The law: once the network is complete and quiet, every node sees exactly those members that joined and did not leave
//! or end, each as often as it joined.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;
mod shell;

use net::{Net, Scripted, config, name, scripted, witness};
use node::{
    Address, Atom, Context, Message, Node, NodeKind, Payload, Pid, Process, Term,
    gen_server::{self, Request},
    groups::{DEFAULT_SCOPE as PG, GroupChange},
};
use shell::{Nothing, Shell};
use std::{cell::Cell, cell::RefCell, rc::Rc, time::Duration};

// In a virtual network

/// Starts a node with these scopes.
fn start(net: &mut Net, node: &str, creation: u32, join: &[&str], seed: u64, scopes: &'static [&'static str]) {
    let mut config = config(node, join);
    (config.hidden, config.creation) = (false, creation);
    let (process, _) = witness(move |ctx| {
        for scope in scopes {
            assert!(ctx.start_scope(scope).is_some());
        }
    });
    net.start(config, seed, vec![("starter", process)]);
}

/// Nodes that know each other, and for each a process that reads the groups.
fn cluster(nodes: &[&str], seed: u64) -> (Net, Vec<Pid>) {
    let mut net = Net::new();
    for (at, node) in (0..).zip(nodes) {
        start(&mut net, node, 4, &nodes[..at], seed * 10 + at as u64, &[PG]);
    }
    net.run_ms(1000);
    let eyes = nodes.iter().map(|node| net.adopt(node)).collect();
    (net, eyes)
}

fn group(number: u64) -> Term {
    Term::from((Term::atom("room"), Term::from(number)))
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// The groups that one node sees, with their members.
fn seen<P: Payload>(ctx: &Context<'_, P>, scope: &str) -> Vec<(Term, Vec<Pid>)> {
    let members = |group: Term| {
        let members = sorted(ctx.members_of(scope, &group));
        (group, members)
    };
    ctx.groups(scope).into_iter().map(members).collect()
}

#[test]
fn members_are_seen_on_every_node() {
    let (mut net, eyes) = cluster(&["a", "b", "c"], 1);
    let (one, two) = (net.adopt("a"), net.adopt("b"));
    assert!(net.act("a", &one, |ctx| ctx.join(PG, group(1), &one)));
    assert!(net.act("a", &one, |ctx| ctx.join(PG, group(1), &one)));
    assert!(net.act("b", &two, |ctx| ctx.join(PG, group(1), &two)));
    assert!(
        !net.act("b", &two, |ctx| ctx.join(PG, group(1), &one)),
        "a process of another node"
    );
    assert!(
        !net.act("b", &two, |ctx| ctx.join("other", group(1), &two)),
        "no such scope"
    );
    net.run_ms(5);
    for (node, eye) in ["a", "b", "c"].iter().zip(&eyes) {
        let members = net.act(node, eye, |ctx| ctx.members_of(PG, &group(1)));
        assert_eq!(sorted(members), sorted(vec![one.clone(), one.clone(), two.clone()]));
        let local = net.act(node, eye, |ctx| ctx.local_members_of(PG, &group(1)));
        assert_eq!(local.len(), [2, 1, 0][node.as_bytes()[0] as usize - 97]);
    }
    assert!(net.act("a", &one, |ctx| ctx.leave(PG, &group(1), &one)));
    assert!(!net.act("a", &one, |ctx| ctx.leave(PG, &group(2), &one)));
    net.act("b", &two, |ctx| ctx.exit(Term::atom("normal")));
    net.run_ms(5);
    for (node, eye) in ["a", "b", "c"].iter().zip(&eyes) {
        assert_eq!(net.act(node, eye, |ctx| seen(ctx, PG)), [(group(1), vec![one.clone()])]);
    }
    assert!(net.act("a", &one, |ctx| ctx.leave(PG, &group(1), &one)));
    assert!(!net.act("a", &one, |ctx| ctx.leave(PG, &group(1), &one)));
    net.run_ms(5);
    for (node, eye) in ["a", "b", "c"].iter().zip(&eyes) {
        assert_eq!(net.act(node, eye, |ctx| seen(ctx, PG)), []);
    }
}

#[test]
fn scopes_may_start_late_may_end_and_do_not_mix() {
    let mut net = Net::new();
    start(&mut net, "a", 4, &[], 1, &[PG, "late"]);
    start(&mut net, "b", 4, &["a"], 2, &[PG]);
    net.run_ms(1000);
    let (a, b) = (net.adopt("a"), net.adopt("b"));
    net.act("a", &a, |ctx| ctx.join(PG, group(1), &a));
    net.act("a", &a, |ctx| ctx.join("late", group(2), &a));
    net.act("b", &b, |ctx| ctx.start_scope("late")).unwrap();
    assert_eq!(
        net.act("b", &b, |ctx| ctx.start_scope("late")),
        None,
        "the name is taken"
    );
    net.run_ms(5);
    assert_eq!(net.act("b", &b, |ctx| seen(ctx, PG)), [(group(1), vec![a.clone()])]);
    assert_eq!(net.act("b", &b, |ctx| seen(ctx, "late")), [(group(2), vec![a.clone()])]);

    net.act("b", &b, |ctx| ctx.join("late", group(3), &b));
    net.run_ms(5);
    assert_eq!(
        net.act("a", &a, |ctx| ctx.members_of("late", &group(3))),
        std::slice::from_ref(&b)
    );
    assert!(net.act("b", &b, |ctx| ctx.stop_scope("late")));
    net.run_ms(5);
    assert_eq!(net.act("a", &a, |ctx| ctx.members_of("late", &group(3))), []);
    assert_eq!(net.act("b", &b, |ctx| seen(ctx, "late")), []);

    // A scope that is started again finds the others, but nothing of its earlier members.
    net.act("b", &b, |ctx| ctx.start_scope("late")).unwrap();
    net.run_ms(5);
    for (node, eye) in [("a", &a), ("b", &b)] {
        let late = net.act(node, eye, |ctx| seen(ctx, "late"));
        assert_eq!(late, [(group(2), vec![a.clone()])], "{node}");
    }
}

#[test]
fn groups_do_not_use_hidden_connections() {
    let mut net = Net::new();
    start(&mut net, "a", 4, &[], 1, &[PG]);
    let (process, _) = witness(|ctx| {
        ctx.start_scope(PG);
    });
    net.start(config("b", &["a"]), 2, vec![("starter", process)]);
    net.run_ms(1000);
    let (a, b) = (net.adopt("a"), net.adopt("b"));
    assert_eq!(net.act("a", &a, |ctx| ctx.nodes(NodeKind::Hidden)), [name("b")]);
    net.act("a", &a, |ctx| ctx.join(PG, group(1), &a));
    net.act("b", &b, |ctx| ctx.join(PG, group(2), &b));
    net.run_ms(100);
    assert_eq!(net.act("a", &a, |ctx| ctx.groups(PG)), [group(1)]);
    assert_eq!(net.act("b", &b, |ctx| ctx.groups(PG)), [group(2)]);
}

/// A process that watches one group, or a whole scope, and records the changes.
fn watcher(scope: bool) -> (Box<Scripted>, Rc<RefCell<Vec<String>>>) {
    let log: Rc<RefCell<Vec<String>>> = Rc::default();
    let written = log.clone();
    let mut monitor = None;
    let process = scripted(move |ctx, message| {
        let Message::Term { term, .. } = message else {
            return;
        };
        if term.is_atom("watch") {
            monitor = if scope {
                ctx.monitor_scope(PG).map(|(monitor, _)| monitor)
            } else {
                ctx.monitor_group(PG, group(1)).map(|(monitor, _)| monitor)
            };
        } else if term.is_atom("enough") {
            assert!(ctx.demonitor_group(PG, monitor.as_ref().unwrap()));
            assert!(!ctx.demonitor_group(PG, monitor.as_ref().unwrap()));
        } else if let Some(change) = GroupChange::read(&term) {
            assert_eq!(Some(&change.monitor), monitor.as_ref());
            let verb = if change.joined { "join" } else { "leave" };
            let line = format!("{verb} {} {}", change.group, change.pids.len());
            written.borrow_mut().push(line);
        }
    });
    (process, log)
}

#[test]
fn watchers_get_each_change_once() {
    let mut net = Net::new();
    let visible = |net: &mut Net, node: &str, join: &[&str], mut processes: Vec<(&'static str, Box<Scripted>)>| {
        let mut config = config(node, join);
        config.hidden = false;
        let (starter, _) = witness(|ctx| {
            ctx.start_scope(PG);
        });
        processes.push(("starter", starter));
        net.start(config, join.len() as u64, processes);
    };
    let (one, of_one) = watcher(false);
    let (all, of_all) = watcher(true);
    visible(&mut net, "a", &[], vec![("one", one), ("all", all)]);
    visible(&mut net, "b", &["a"], vec![]);
    net.run_ms(1000);
    for process in ["one", "all"] {
        net.tell("a", process, Term::atom("watch"));
    }
    let (a, b) = (net.adopt("a"), net.adopt("b"));
    net.act("a", &a, |ctx| ctx.join(PG, group(1), &a));
    net.act("b", &b, |ctx| ctx.join(PG, group(1), &b));
    net.act("b", &b, |ctx| ctx.join(PG, group(2), &b));
    net.act("b", &b, |ctx| ctx.join(PG, group(2), &b));
    net.run_ms(5);
    net.act("b", &b, |ctx| ctx.leave(PG, &group(2), &b));
    net.run_ms(5);
    net.kill("b", false);
    net.run_ms(5);
    assert_eq!(
        *of_one.borrow(),
        ["join {room,1} 1", "join {room,1} 1", "leave {room,1} 1"]
    );
    let expected = [
        "join {room,1} 1",
        "join {room,1} 1",
        "join {room,2} 1",
        "join {room,2} 1",
        "leave {room,2} 1",
        "leave {room,1} 1",
        "leave {room,2} 1",
    ];
    assert_eq!(*of_all.borrow(), expected);

    // A change in the same step as the end of the monitor is not reported any more.
    of_one.borrow_mut().clear();
    net.act("a", &a, |ctx| {
        ctx.send(&Address::Name(Atom::new("one")), Term::atom("enough"));
        ctx.join(PG, group(1), &a);
    });
    net.act("a", &a, |ctx| ctx.leave(PG, &group(1), &a));
    assert!(of_one.borrow().is_empty());
    assert_eq!(of_all.borrow().len(), expected.len() + 2);
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

const NODES: [&str; 4] = ["a", "b", "c", "d"];

/// A cluster, and the members that it should have.
struct World {
    net: Net,
    eyes: Vec<Pid>,
    /// Live processes by node.
    processes: Vec<(usize, Pid)>,
    joined: Vec<(Term, Pid)>,
    creation: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let (net, eyes) = cluster(&NODES, seed);
        Self {
            net,
            eyes,
            processes: vec![],
            joined: vec![],
            creation: 4,
        }
    }

    fn step(&mut self, dice: &mut Dice) {
        let at = dice.below(4) as usize;
        let group = group(dice.below(3));
        let pick = dice.below(self.processes.len().max(1) as u64) as usize;
        match (dice.below(20), self.processes.get(pick).cloned()) {
            (0..4, _) | (_, None) => {
                let pid = self.net.adopt(NODES[at]);
                self.processes.push((at, pid));
            }
            (4..10, Some((at, pid))) => {
                let joined = self.net.act(NODES[at], &pid, |ctx| ctx.join(PG, group.clone(), &pid));
                assert!(joined);
                self.joined.push((group, pid));
            }
            (10..14, Some((at, pid))) => {
                let left = self.net.act(NODES[at], &pid, |ctx| ctx.leave(PG, &group, &pid));
                let joined = self
                    .joined
                    .iter()
                    .position(|join| *join == (group.clone(), pid.clone()));
                assert_eq!(left, joined.is_some());
                joined.map(|joined| self.joined.remove(joined));
            }
            (14..16, Some((at, pid))) => {
                self.net.act(NODES[at], &pid, |ctx| ctx.exit(Term::atom("normal")));
                self.processes.remove(pick);
                self.joined.retain(|(_, of)| *of != pid);
            }
            (16, _) => {
                let other = (at + 1 + dice.below(3) as usize) % 4;
                self.net.part(NODES[at], NODES[other]);
            }
            (17, _) => self.net.heal(),
            (18, _) if dice.below(3) == 0 => {
                self.net.kill(NODES[at], dice.below(2) == 0);
                self.processes.retain(|(of, _)| *of != at);
                self.joined.retain(|(_, of)| of.node != name(NODES[at]));
                self.creation += 1;
                let others: Vec<&str> = NODES.iter().copied().filter(|node| *node != NODES[at]).collect();
                start(
                    &mut self.net,
                    NODES[at],
                    self.creation,
                    &others,
                    dice.below(1000),
                    &[PG],
                );
                self.eyes[at] = self.net.adopt(NODES[at]);
            }
            (_, Some(_)) => self.net.run_ms(dice.below(200)),
        }
    }

    /// Lets the cluster become quiet.
    fn settle(&mut self) {
        self.net.heal();
        self.net.run_ms(60_000);
    }

    /// The first of these nodes that sees wrong members, if there is one.
    fn who_is_wrong(&mut self, nodes: &[&'static str]) -> Option<&'static str> {
        let mut expected: Vec<(Term, Vec<Pid>)> = Vec::new();
        for (group, pid) in sorted(self.joined.clone()) {
            match expected.last_mut() {
                Some((of, pids)) if *of == group => pids.push(pid),
                _ => expected.push((group, vec![pid])),
            }
        }
        let net = &mut self.net;
        let mut nodes = nodes.iter().zip(&self.eyes);
        let wrong = nodes.find(|(node, eye)| net.act(node, eye, |ctx| seen(ctx, PG)) != expected);
        wrong.map(|(node, _)| *node)
    }
}

#[test]
fn after_faults_all_nodes_see_the_same_members() {
    for seed in 1..=12 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step(&mut dice);
        }
        world.settle();
        assert_eq!(world.who_is_wrong(&NODES), None, "seed {seed}");

        // The members of a node that does not come back are removed.
        let [rest @ .., last] = NODES;
        world.net.kill(last, seed % 2 == 0);
        world.joined.retain(|(_, pid)| pid.node != name(last));
        world.settle();
        assert_eq!(world.who_is_wrong(&rest), None, "seed {seed}, without {last}");
    }
}

/// Tests the law itself: a node that misses a single join or leave is detected.
#[test]
fn a_lost_message_is_detected() {
    for lost in ["join", "leave"] {
        let mut world = World::new(7);
        let pid = world.net.adopt("a");
        if lost == "leave" {
            world.net.act("a", &pid, |ctx| ctx.join(PG, group(1), &pid));
            world.net.run_ms(5);
        } else {
            world.joined.push((group(1), pid.clone()));
        }
        world.net.deafen("a", "c");
        world.net.act("a", &pid, |ctx| {
            if lost == "join" {
                ctx.join(PG, group(1), &pid)
            } else {
                ctx.leave(PG, &group(1), &pid)
            }
        });
        world.net.run_ms(5);
        world.net.heal();
        world.net.run_ms(60_000);
        assert_eq!(world.who_is_wrong(&NODES), Some("c"), "{lost}");
    }
}

// With a real `erl`

const OURS: &str = "salp@127.0.0.3";
const THEIRS: &str = "beam@127.0.0.2";

/// Answers the calls of a BEAM about joins and leaves.
struct Server {
    changes: Vec<Term>,
    ready: Rc<Cell<bool>>,
}

/// A process that ends at any message.
struct Mortal;
impl Process<Nothing> for Mortal {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, _: Message<Nothing>) {
        ctx.exit(Term::atom("told"));
    }
}

impl Server {
    fn answer(&mut self, ctx: &mut Context<'_, Nothing>, request: &Term) -> Term {
        let items = match request {
            Term::Tuple(items) => items.as_slice(),
            other => std::slice::from_ref(other),
        };
        let text = |term: &Term| term.as_atom().unwrap().as_str().to_string();
        match (text(&items[0]).as_str(), &items[1..]) {
            ("spawn", []) => Term::Pid(ctx.spawn(None, Box::new(Mortal))),
            ("start", [scope]) => Term::from(ctx.start_scope(&text(scope)).is_some()),
            ("join", [scope, group, Term::Pid(pid)]) => Term::from(ctx.join(&text(scope), group.clone(), pid)),
            ("leave", [scope, group, Term::Pid(pid)]) => Term::from(ctx.leave(&text(scope), group, pid)),
            ("members", [scope, group]) => Term::list(ctx.members_of(&text(scope), group)),
            ("groups", [scope]) => Term::List(ctx.groups(&text(scope))),
            ("monitor", [scope, group]) => {
                let (_, members) = ctx.monitor_group(&text(scope), group.clone()).unwrap();
                Term::list(members)
            }
            ("changes", []) => Term::List(std::mem::take(&mut self.changes)),
            ("ready", []) => {
                self.ready.set(true);
                Term::atom("ok")
            }
            _ => Term::atom("what"),
        }
    }
}

impl Process<Nothing> for Server {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        let Message::Term { term, .. } = message else {
            return;
        };
        if let Some(change) = GroupChange::read(&term) {
            let verb = Term::atom(if change.joined { "join" } else { "leave" });
            let change = Term::from((verb, change.group, Term::list(change.pids)));
            return self.changes.push(change);
        }
        if let Request::Call { from, request } = gen_server::parse(term) {
            let answer = self.answer(ctx, &request);
            ctx.reply(&from, answer);
        }
    }
}

fn shell(name: &str, port: u16) -> (Shell, Rc<Cell<bool>>) {
    let ready: Rc<Cell<bool>> = Rc::default();
    let server = Server {
        changes: vec![],
        ready: ready.clone(),
    };
    let prepare = |node: &mut Node<Nothing>| {
        for scope in [PG, "other"] {
            assert!(node.start_scope(scope).is_some());
        }
        node.spawn(Some("srv"), Box::new(server));
    };
    (Shell::new(name, port, false, prepare), ready)
}

/// The node, a call of its server, and a wait of at most 5 s.
const PRELUDE: &str = "N = 'salp@127.0.0.3', C = fun(R) -> gen_server:call({srv, N}, R) end, \
    W = fun(F) -> (fun W(0) -> {timeout, F()}; W(I) -> \
        case F() of true -> ok; _ -> timer:sleep(10), W(I - 1) end end)(500) end";

#[test]
fn a_beam_and_a_node_share_groups() {
    let (mut shell, _) = shell(OURS, 0);
    shell.check(
        "-name",
        THEIRS,
        PRELUDE,
        &[
            "{ok, P} = pg:start_link(), true = register(was, spawn(fun() -> link(P), timer:sleep(infinity) end)), \
               pong = net_adm:ping(N), [N] = nodes(), ok",
            // The BEAM sees our members, and the node sees theirs.
            "ok = pg:join(g, self()), S = [self()], W(fun() -> C({members, pg, g}) =:= S end)",
            "M = C(spawn), put(m, M), true = C({join, pg, g2, M}), W(fun() -> pg:get_members(g2) =:= [M] end)",
            "[] = pg:get_local_members(g2), true = C({join, pg, g2, get(m)}), \
               M = get(m), W(fun() -> pg:get_members(g2) =:= [M, M] end)",
            "true = C({leave, pg, g2, get(m)}), M = get(m), W(fun() -> pg:get_members(g2) =:= [M] end)",
            "false = C({leave, pg, g3, get(m)}), false = C({join, pg, g2, self()}), ok",
            // Any term can be a group, and lists of pids can join and leave.
            "G = {room, <<252>>, 1.5, #{a => [1,2,3]}, 1 bsl 70}, ok = pg:join(G, [self(), self()]), \
               S = self(), W(fun() -> C({members, pg, G}) =:= [S, S] end)",
            "G = {room, <<252>>, 1.5, #{a => [1,2,3]}, 1 bsl 70}, true = lists:member(G, C({groups, pg})), \
               ok = pg:leave(G, [self(), self()]), W(fun() -> C({members, pg, G}) =:= [] end)",
            // 1 and 1.0 are different groups.
            "ok = pg:join(1, self()), ok = pg:join(1.0, self()), W(fun() -> lists:sort(C({groups, pg})) \
               =:= lists:sort([1, 1.0, g, g2]) end), ok = pg:leave(1, self()), ok = pg:leave(1.0, self()), ok",
            // Processes end, on both sides.
            "get(m) ! die, W(fun() -> pg:get_members(g2) =:= [] end)",
            "Q = spawn(fun() -> receive X -> X end end), ok = pg:join(g4, Q), ok = pg:join(g5, [Q, Q]), \
               ok = W(fun() -> C({members, pg, g5}) =:= [Q, Q] end), Q ! die, \
               W(fun() -> C({groups, pg}) =:= [g] end)",
            // Watchers get the changes, on both sides.
            "S = [self()], S = C({monitor, pg, g}), ok = pg:join(g, self()), ok = pg:leave(g, self()), L = [], \
               W(fun() -> put(seen, lists:append([L] ++ [case get(seen) of undefined -> []; O -> O end] ++ \
               [C(changes)])), get(seen) =:= [{join, g, S}, {leave, g, S}] end)",
            "case erlang:function_exported(pg, monitor, 1) of false -> ok; true -> {R, []} = pg:monitor(g6), \
               M = C(spawn), true = C({join, pg, g6, M}), receive {R, join, g6, [M]} -> M ! die after 5000 -> 1 end, \
               receive {R, leave, g6, [M]} -> ok after 5000 -> timeout end end",
            // Another scope has its own groups, whichever side starts it first.
            "{ok, _} = pg:start_link(other), ok = pg:join(other, g, self()), S = [self()], \
               ok = W(fun() -> C({members, other, g}) =:= S end), ok = pg:leave(other, g, self()), \
               ok = W(fun() -> C({groups, other}) =:= [] end), S = C({members, pg, g}), ok",
            "{ok, _} = pg:start_link(late), ok = pg:join(late, l, self()), true = C({start, late}), S = [self()], \
               W(fun() -> C({members, late, l}) =:= S end)",
            // The scopes are still the same processes as at the start.
            "true = is_pid(whereis(was)), true = is_pid(whereis(pg)), ok",
            // Invalid messages do not harm a scope.
            "[{pg, N} ! X || X <- [hi, {discover, 1}, {join, self(), g, self()}, {leave, self(), self(), [g]}, \
               {'$gen_cast', {sync, self(), x}}, {'$gen_call', {self(), make_ref()}, monitor}]], \
               S = [self()], S = C({members, pg, g}), [g] = C({groups, pg}), ok",
        ],
    );
    // When the BEAM is gone, its members are removed.
    let eye = shell.node.adopt();
    shell.wait("no members", |shell| shell.act(&eye, |ctx| ctx.groups(PG).is_empty()));
    let cut = |event: &node::Event| matches!(event, node::Event::PeerCut { .. });
    assert!(!shell.events.iter().any(cut), "{:?}", shell.events);
}

#[test]
fn members_of_a_killed_node_are_removed_at_a_beam() {
    let (mut shell, ready) = shell(OURS, 0);
    let program = format!(
        "{PRELUDE}, pg:start_link(), pong = net_adm:ping(N), M = C(spawn), true = C({{join, pg, g, M}}), \
         ok = W(fun() -> pg:get_members(g) =:= [M] end), C(ready), \
         io:format(\"~p~n\", [W(fun() -> pg:get_members(g) =:= [] end)]), \
         io:format(\"~p~n\", [is_pid(whereis(pg))]), halt()."
    );
    let Some(mut erl) = shell.erl("-name", THEIRS, &program) else {
        return;
    };
    shell.wait("it is ready", |_| ready.get());
    for _ in 0..10 {
        shell.poll();
    }
    drop(shell);
    for _ in 0..3000 {
        if erl.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = erl.kill();
    assert_eq!(shell::printed(erl), "ok\ntrue\n");
}

#[test]
fn members_of_a_killed_beam_are_removed_at_a_node() {
    let (mut shell, ready) = shell(OURS, 0);
    let program = format!(
        "{PRELUDE}, pg:start_link(), pong = net_adm:ping(N), pg:join(g, self()), S = [self()], \
         ok = W(fun() -> C({{members, pg, g}}) =:= S end), C(ready), timer:sleep(infinity)."
    );
    let Some(mut erl) = shell.erl("-name", THEIRS, &program) else {
        return;
    };
    shell.wait("it is ready", |_| ready.get());
    let eye = shell.node.adopt();
    assert_eq!(shell.act(&eye, |ctx| ctx.members_of(PG, &Term::atom("g")).len()), 1);
    erl.kill().unwrap();
    erl.wait().unwrap();
    shell.wait("no members", |shell| shell.act(&eye, |ctx| ctx.groups(PG).is_empty()));
}
