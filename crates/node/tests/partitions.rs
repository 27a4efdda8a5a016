//! `global` among salp nodes in a virtual network: joins in all orders, names that many nodes want, partitions, kills,
//! pauses. At the end all nodes agree, and nothing is left over.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;

use net::{Net, name, scripted};
use node::{Address, Atom, Config, Message, Method, Pid, Term};
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

const SECOND: u64 = 1000;

fn config(node: &str, join: &[&str], creation: u32) -> Config {
    Config {
        hidden: false,
        creation,
        ..net::config(node, join)
    }
}

/// Nodes by name, and for each life a process of the shell that acts there.
struct World {
    net: Net,
    pilots: BTreeMap<String, Pid>,
    creation: u32,
    dice: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            net: Net::new(),
            pilots: BTreeMap::new(),
            creation: 4,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// Nodes that are all connected, after they have become quiet.
    fn mesh(seed: u64, nodes: &[&str]) -> Self {
        let mut world = Self::new(seed);
        for node in nodes {
            world.start(node, nodes);
        }
        world.net.run_ms(20 * SECOND);
        world.check(nodes).unwrap();
        world
    }

    fn start(&mut self, node: &str, join: &[&str]) {
        let others: Vec<&str> = join.iter().filter(|other| **other != node).copied().collect();
        let seed = self.draw(u64::MAX);
        self.creation += 1;
        self.net.start(config(node, &others, self.creation), seed, vec![]);
        let pilot = self.net.adopt(node);
        self.pilots.insert(node.into(), pilot);
    }

    /// xorshift64*
    fn draw(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        (self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) % below
    }

    fn act<R>(&mut self, node: &str, action: impl FnOnce(net::Ctx<'_, '_>) -> R) -> R {
        let pilot = self.pilots[node].clone();
        self.net.act(node, &pilot, action)
    }

    /// Starts to register a new process of this node.
    fn register(&mut self, node: &str, global: &'static str, method: Method) -> Pid {
        self.act(node, |ctx| {
            let holder = ctx.spawn(None, scripted(|_, _| {}));
            ctx.register_global(Term::atom(global), &holder, method);
            holder
        })
    }

    /// The answer to a local call of the server.
    fn ask(&mut self, node: &str, request: &'static str) -> String {
        self.net.delivered(node);
        self.act(node, |ctx| {
            let server = Address::Name(Atom::new("global_name_server"));
            ctx.call(&server, Term::atom(request), 1_000_000);
        });
        self.net.run_ms(1);
        self.net.delivered(node).pop().unwrap_or_default()
    }

    fn holder(&mut self, node: &str, global: &'static str) -> Option<Pid> {
        self.act(node, |ctx| ctx.whereis_global(&Term::atom(global)))
    }

    /// Checks that all nodes know each other and have the same names, and that no lock is left.
    fn check(&mut self, nodes: &[&str]) -> Result<(), String> {
        let mut tables = Vec::new();
        for node in nodes {
            let mut others: Vec<Atom> = nodes
                .iter()
                .filter(|other| *other != node)
                .map(|other| name(other))
                .collect();
            others.sort();
            let expected = format!("reply {}", Term::list(others));
            let known = self.ask(node, "get_known");
            if known != expected {
                return Err(format!("{node} knows {known}, not {expected}"));
            }
            let locks = self.ask(node, "get_locks");
            if locks != "reply []" {
                return Err(format!("{node} has locks: {locks}"));
            }
            tables.push(self.act(node, |ctx| {
                let holder = |global: Term| (global.to_string(), ctx.whereis_global(&global));
                ctx.global_names().into_iter().map(holder).collect::<Vec<_>>()
            }));
        }
        let differs = tables.iter().find(|table| **table != tables[0]);
        differs.map_or(Ok(()), |table| Err(format!("{table:?} is not {:?}", tables[0])))
    }
}

#[test]
fn nodes_join_in_all_orders() {
    let nodes = ["a", "b", "c", "d"];
    for order in 0..24_usize {
        let mut left = nodes.to_vec();
        let mut world = World::new(order as u64);
        let mut started: Vec<&str> = Vec::new();
        for choice in [order / 6, order / 2 % 3, order % 2, 0] {
            let node = left.remove(choice);
            world.start(node, &started.clone());
            world.net.run_ms(order as u64 % 5 * 150);
            started.push(node);
        }
        world.net.run_ms(20 * SECOND);
        world
            .check(&nodes)
            .unwrap_or_else(|wrong| panic!("order {order}: {wrong}"));
    }
}

#[test]
fn of_all_nodes_that_want_a_name_at_once_one_gets_it() {
    let nodes = ["a", "b", "c", "d"];
    for seed in 0..10 {
        let mut world = World::mesh(seed, &nodes);
        for node in nodes {
            world.register(node, "x", Method::RandomExit);
        }
        world.net.run_ms(60 * SECOND);
        let answers: Vec<String> = nodes.iter().flat_map(|node| world.net.delivered(node)).collect();
        let count = |answer| answers.iter().filter(|line| *line == answer).count();
        assert_eq!((count("reply yes"), count("reply no")), (1, 3), "seed {seed}");
        world.check(&nodes).unwrap();
        assert!(world.holder("a", "x").is_some());
    }
}

#[test]
fn a_name_ends_with_its_process_and_with_its_node() {
    let nodes = ["a", "b", "c"];
    let mut world = World::mesh(1, &nodes);
    let holder = world.register("a", "x", Method::RandomExit);
    world.register("b", "y", Method::RandomExit);
    world.net.run_ms(20 * SECOND);
    assert_eq!(world.holder("c", "x"), Some(holder.clone()));
    world.act("c", |ctx| ctx.exit_other(&holder, Term::atom("kill")));
    world.net.run_ms(100);
    assert_eq!(world.holder("b", "x"), None);
    world.net.kill("b", false);
    world.net.run_ms(20 * SECOND);
    assert_eq!(world.holder("c", "y"), None);
    world.check(&["a", "c"]).unwrap();
}

#[test]
fn a_lock_is_exclusive_on_all_nodes_and_ends_with_its_holder() {
    let nodes = ["a", "b", "c"];
    let mut world = World::mesh(2, &nodes);
    let lock = |world: &mut World, node: &str, retries| {
        world.net.delivered(node);
        world.act(node, |ctx| ctx.global_lock(Term::atom("r"), None, retries));
        world.net.run_ms(100);
        world.net.delivered(node)
    };
    assert_eq!(lock(&mut world, "a", Some(0)), ["reply true"]);
    assert_eq!(lock(&mut world, "b", Some(0)), ["reply false"]);
    assert!(lock(&mut world, "b", None).is_empty(), "the request waits");
    world.net.kill("a", false);
    world.net.run_ms(20 * SECOND);
    assert_eq!(world.net.delivered("b"), ["reply true"]);
    world.act("b", |ctx| ctx.global_unlock(Term::atom("r"), None));
    world.net.run_ms(100);
    assert_eq!(world.net.delivered("b"), ["reply true"]);
    world.check(&["b", "c"]).unwrap();
}

/// Separates two groups of nodes, so that they cannot reach each other.
fn part(world: &mut World, left: &[&str], right: &[&str]) {
    for a in left {
        for b in right {
            world.net.part(a, b);
        }
    }
}

#[test]
fn of_two_holders_one_stays_when_partitions_meet() {
    let nodes = ["a", "b", "c", "d"];
    for (seed, method) in [Method::RandomExit, Method::RandomNotify, Method::NotifyAll]
        .into_iter()
        .enumerate()
    {
        let mut world = World::mesh(seed as u64, &nodes);
        part(&mut world, &["a", "c"], &["b", "d"]);
        world.net.run_ms(20 * SECOND);
        world.check(&["a", "c"]).unwrap();
        world.check(&["b", "d"]).unwrap();
        let (c, d) = (world.register("c", "x", method), world.register("d", "x", method));
        world.net.run_ms(20 * SECOND);
        assert_eq!(
            (world.holder("a", "x"), world.holder("b", "x")),
            (Some(c.clone()), Some(d))
        );
        world.net.heal();
        world.net.run_ms(40 * SECOND);
        world.check(&nodes).unwrap();
        let kept = (method != Method::NotifyAll).then_some(c);
        assert_eq!(world.holder("b", "x"), kept, "{method:?}");
    }
}

#[test]
fn a_lost_link_heals_without_overlapping_partitions() {
    let nodes = ["a", "b", "c", "d", "e"];
    for seed in 0..5 {
        let mut world = World::mesh(seed, &nodes);
        world.register("a", "x", Method::RandomExit);
        world.net.run_ms(10 * SECOND);
        world.net.part("a", "b");
        world.net.run_ms(300);
        world.net.heal();
        world.net.run_ms(30 * SECOND);
        world
            .check(&nodes)
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        assert!(world.holder("b", "x").is_some());
    }
}

/// `SALP_TEST_SEED` sets the first seed.
#[test]
fn faults_in_random_order_leave_nothing_behind() {
    let nodes = ["a", "b", "c", "d", "e"];
    let first = std::env::var("SALP_TEST_SEED").map_or(0, |seed| seed.parse().unwrap());
    for seed in first..first + 12 {
        let mut world = World::mesh(seed, &nodes);
        for _ in 0..30 {
            let draw = |world: &mut World| nodes[usize::try_from(world.draw(5)).unwrap()];
            let (one, other) = (draw(&mut world), draw(&mut world));
            match world.draw(7) {
                0 if one != other => world.net.part(one, other),
                1 => world.net.heal(),
                2 => {
                    let quietly = world.draw(2) == 0;
                    world.net.kill(one, quietly);
                    let pause_ms = world.draw(3000);
                    world.net.run_ms(pause_ms);
                    world.start(one, &nodes);
                }
                3 => {
                    world.register(one, "x", Method::RandomExit);
                }
                4 => {
                    world.register(one, "y", Method::NotifyAll);
                }
                5 => {
                    world.act(one, |ctx| ctx.global_lock(Term::atom("r"), None, Some(2)));
                    world.net.run_ms(200);
                    world.act(one, |ctx| ctx.global_unlock(Term::atom("r"), None));
                }
                _ => {
                    world.net.stop(one);
                    let pause_ms = world.draw(12_000);
                    world.net.run_ms(pause_ms);
                    world.net.resume(one);
                }
            }
            let pause_ms = world.draw(1500);
            world.net.run_ms(pause_ms);
        }
        world.net.heal();
        world.net.run_ms(120 * SECOND);
        // A lock may have been granted after it was released.
        for node in nodes {
            world.act(node, |ctx| ctx.global_unlock(Term::atom("r"), None));
        }
        world.net.run_ms(SECOND);
        world
            .check(&nodes)
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

#[test]
fn the_check_detects_errors() {
    let nodes = ["a", "b", "c"];
    let plant = |request: fn(Pid) -> Term| {
        let mut world = World::mesh(3, &nodes);
        let pilot = world.pilots["b"].clone();
        world.act("b", |ctx| {
            let server = Address::Name(Atom::new("global_name_server"));
            ctx.call(&server, request(pilot), 1_000_000);
        });
        world.net.run_ms(100);
        world.check(&nodes)
    };
    // A name that only one node has, a lock that is never released, a node that has dropped another.
    assert!(plant(|pid| Term::from((Term::atom("register"), 1, pid, 1))).is_err());
    assert!(plant(|pid| Term::from((Term::atom("set_lock"), Term::from((1, pid))))).is_err());
    let mut world = World::mesh(3, &nodes);
    part(&mut world, &["a"], &["b", "c"]);
    world.net.run_ms(SECOND);
    assert!(world.check(&nodes).is_err());
}

#[test]
fn a_flood_of_messages_does_not_delay_global() {
    const FLOOD: usize = 50_000;
    let mut world = World::new(1);
    let mut narrow = config("a", &[], 4);
    narrow.limits.steps_max = 10;
    let handled = Rc::new(Cell::new(0));
    let count = handled.clone();
    let sink = scripted(move |_, _: Message<_>| count.set(count.get() + 1));
    world.net.start(narrow, 1, vec![("sink", sink)]);
    let pilot = world.net.adopt("a");
    world.net.run_ms(10);
    world.net.act("a", &pilot, |ctx| {
        for at in 0..FLOOD {
            ctx.send(&Address::Name(Atom::new("sink")), Term::from(at));
        }
        let server = Address::Name(Atom::new("global_name_server"));
        ctx.call(&server, Term::atom("get_known"), 1_000_000);
    });
    // The node is called twice, for the action and its flush. Each call handles at most ten messages twice.
    assert_eq!(world.net.delivered("a"), ["reply []"]);
    assert!(handled.get() <= 40, "{} came before", handled.get());
    world.net.run_ms(10);
    assert_eq!(handled.get(), FLOOD);
}

/// Two nodes, and the messages that the second one sends to the server of the first.
fn a_and_hostile_b(send: impl Fn(net::Ctx<'_, '_>, &Address)) -> World {
    let mut world = World::new(5);
    let mut narrow = config("a", &[], 4);
    narrow.limits.global_per_peer_max = 3;
    world.net.start(narrow, 1, vec![]);
    let pilot = world.net.adopt("a");
    world.pilots.insert("a".into(), pilot);
    world.start("b", &["a"]);
    world.net.run_ms(10 * SECOND);
    world.check(&["a", "b"]).unwrap();
    world.act("b", |ctx| send(ctx, &net::at("a", "global_name_server")));
    world.net.run_ms(100);
    world
}

#[test]
fn a_peer_that_holds_too_much_is_closed() {
    let locks = |ctx: net::Ctx<'_, '_>, server: &Address| {
        for resource in 0..4 {
            let id = Term::from((resource, ctx.me().clone()));
            ctx.call(server, Term::from((Term::atom("set_lock"), id)), 1_000_000);
        }
    };
    let names = |ctx: net::Ctx<'_, '_>, server: &Address| {
        for global in 0..4 {
            let me = ctx.me().clone();
            ctx.call(server, Term::from((Term::atom("register"), global, me, 1)), 1_000_000);
        }
    };
    for mut world in [a_and_hostile_b(locks), a_and_hostile_b(names)] {
        assert_eq!(world.net.node_downs("a", "b"), ["quota"]);
        assert_eq!(world.ask("a", "get_locks"), "reply []");
        assert!(world.act("a", |ctx| ctx.global_names()).is_empty());
    }
}

#[test]
fn a_peer_cannot_act_for_others() {
    let mut world = a_and_hostile_b(|ctx, server| {
        let other = Pid {
            node: name("c"),
            ..ctx.me().clone()
        };
        let caller = Term::from((other.clone(), 1));
        let lock = Term::from((Term::atom("set_lock"), Term::from((1, 1))));
        ctx.send(server, Term::from((Term::atom("$gen_call"), caller, lock)));
        let nodes = Term::list([name("d")]);
        let joined = [
            Term::atom("new_nodes"),
            name("c").into(),
            Term::NIL,
            Term::NIL,
            nodes,
            Term::NIL,
        ];
        ctx.send(server, node::gen_server::cast_term(Term::tuple(joined)));
        ctx.send(server, Term::from((Term::atom("remove_connection"), name("c"))));
        ctx.send(server, Term::atom("prepare_shutdown"));
    });
    world.check(&["a", "b"]).unwrap();
}

#[test]
fn a_hidden_node_runs_no_global() {
    let mut net = Net::new();
    net.start(net::config("a", &[]), 1, vec![]);
    let pilot = net.adopt("a");
    net.act("a", &pilot, |ctx| {
        ctx.register_global(Term::atom("x"), &ctx.me().clone(), Method::RandomExit)
    });
    assert_eq!(net.delivered("a"), ["no reply noproc"]);
}
