//! The sizes of tables: everything a process or peer holds is counted. When it is released, or its holder is lost, the
//! figures return to their old values.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Net, at, name, scripted};
use node::{Address, Atom, Config, Method, PeerTables, Pid, Tables, Term, groups::DEFAULT_SCOPE as PG};

/// Two visible nodes, and a process at each that acts.
struct World {
    net: Net,
    pilots: [Pid; 2],
}

impl World {
    fn new() -> Self {
        let mut net = Net::new();
        let config = |node, join: &[&str]| Config {
            hidden: false,
            ..net::config(node, join)
        };
        for (node, join, seed) in [("a", vec![], 1), ("b", vec!["a"], 2)] {
            net.start_with(config(node, &join), seed, |node| {
                node.start_scope(PG);
                node.spawn(Some("target"), scripted(|_, _| {}));
            });
        }
        net.run_ms(10_000);
        let pilots = ["a", "b"].map(|node| net.adopt(node));
        Self { net, pilots }
    }

    fn act<R>(&mut self, node: &str, action: impl FnOnce(net::Ctx<'_, '_>) -> R) -> R {
        let pilot = self.pilots[usize::from(node == "b")].clone();
        let result = self.net.act(node, &pilot, action);
        self.net.run_ms(2_000);
        result
    }

    fn tables(&mut self, node: &str) -> Tables {
        self.act(node, |ctx| ctx.tables())
    }

    /// What `b` has at `a`.
    fn held(&mut self) -> PeerTables {
        self.tables("a").peers.get(&name("b")).copied().unwrap_or_default()
    }
}

#[test]
fn entries_of_a_peer_are_counted_and_removed_with_it() {
    let mut world = World::new();
    let before = world.tables("a");
    let (empty, me) = (world.held(), world.pilots[1].clone());
    // The two scopes monitor each other.
    assert_eq!((empty.monitors, before.global_names, before.global_locks), (1, 0, 0));
    world.act("b", |ctx| {
        ctx.monitor(&at("a", "target"));
        ctx.join(PG, Term::atom("room"), &me);
        ctx.join(PG, Term::atom("room"), &me);
        ctx.register_global(Term::atom("x"), &me, Method::RandomExit);
        ctx.global_lock(Term::atom("r"), None, None);
    });
    let target = world.act("a", |ctx| ctx.whereis("target").cloned()).unwrap();
    world.act("b", |ctx| ctx.link(&target));
    let expected = PeerTables {
        monitors: 2,
        links: 1,
        spawns: 0,
        joins: 2,
        global_names: 1,
        global_locks: 1,
    };
    assert_eq!(world.held(), expected);
    let full = world.tables("a");
    assert_eq!((full.global_names, full.global_locks), (1, 1));
    // The holders of the name and of the lock are monitored.
    assert_eq!(full.monitors, before.monitors + 2);
    world.net.kill("b", false);
    world.net.run_ms(2_000);
    let after = world.tables("a");
    assert!(after.peers.is_empty(), "{after:?}");
    assert_eq!(
        (after.monitors, after.calls, after.global_names),
        (before.monitors - 1, 0, 0)
    );
}

#[test]
fn a_call_is_counted_until_it_is_answered() {
    let mut world = World::new();
    let before = world.tables("b");
    world.act("b", |ctx| {
        let silent = Address::Remote {
            node: name("a"),
            name: Atom::new("target"),
        };
        ctx.call(&silent, Term::atom("hello"), 5_000_000);
    });
    assert_eq!(world.tables("b").calls, before.calls + 1);
    world.net.run_ms(5_000);
    assert_eq!(world.tables("b"), before);
    assert_eq!(world.held().monitors, 1);
}
