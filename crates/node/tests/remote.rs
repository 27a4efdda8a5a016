//! Remote calls between two nodes in a virtual network: every outcome, every loss, and that nothing is left over.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Ctx, Log, Net, Word, at, config, line, name, scripted, witness};
use node::{Address, Context, Event, Limits, Message, Node, Outcome, Permission, Process, SpawnOptions, Term};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

/// A process that never ends by itself.
struct Forever;

impl Process<Word> for Forever {
    fn handle(&mut self, ctx: &mut Context<'_, Word>, message: Message<Word>) {
        if let Message::Term { term, .. } = message {
            ctx.finish(Outcome::Exit(term));
        }
    }
}

/// Continues as another process, which returns.
struct Relay(u8);

impl Process<Word> for Relay {
    fn start(&mut self, ctx: &mut Context<'_, Word>) {
        ctx.timer(1000, 0);
    }

    fn handle(&mut self, ctx: &mut Context<'_, Word>, _: Message<Word>) {
        ctx.finish(match self.0 {
            0 => Outcome::Return(Term::atom("arrived")),
            left => Outcome::Later(Box::new(Relay(left - 1))),
        });
    }
}

/// Ends with an error if the process inside panics.
struct Guarded(Box<dyn Process<Word>>);

impl Guarded {
    fn run(&mut self, ctx: Ctx<'_, '_>, run: impl FnOnce(&mut dyn Process<Word>, Ctx<'_, '_>)) {
        if catch_unwind(AssertUnwindSafe(|| run(&mut *self.0, ctx))).is_err() {
            ctx.exit(Term::atom("panicked"));
        }
    }
}

impl Process<Word> for Guarded {
    fn start(&mut self, ctx: &mut Context<'_, Word>) {
        self.run(ctx, |process, ctx| process.start(ctx));
    }

    fn handle(&mut self, ctx: &mut Context<'_, Word>, message: Message<Word>) {
        self.run(ctx, |process, ctx| process.handle(ctx, message));
    }
}

fn export(node: &mut Node<Word>) {
    node.guard(|process| Box::new(Guarded(process)));
    let mut add = |name, arity, permission, function: fn(Ctx<'_, '_>, Vec<Term>) -> Outcome<Word>| {
        node.export("m", name, arity, permission, Rc::new(function));
    };
    add("echo", 1, Permission::Anyone, |_, mut args| {
        Outcome::Return(args.remove(0))
    });
    add("throw", 0, Permission::Anyone, |_, _| Outcome::Throw(Term::atom("x")));
    add("exit", 0, Permission::Anyone, |_, _| Outcome::Exit(Term::atom("x")));
    add("error", 0, Permission::Anyone, |_, _| Outcome::Error(Term::atom("x")));
    add("forever", 0, Permission::Anyone, |_, _| {
        Outcome::Later(Box::new(Forever))
    });
    add("relay", 0, Permission::Anyone, |_, _| {
        Outcome::Later(Box::new(Relay(3)))
    });
    add("silent", 0, Permission::Anyone, |ctx, _| {
        ctx.exit(Term::atom("gone"));
        Outcome::Later(Box::new(Forever))
    });
    add("check", 1, Permission::Anyone, |_, args| {
        assert_eq!(args, [Term::atom("expected")]);
        Outcome::Return(Term::atom("ok"))
    });
    add("member", 0, Permission::Member, |_, _| {
        Outcome::Return(Term::atom("yes"))
    });
    add("nobody", 0, Permission::Nobody, |_, _| {
        Outcome::Return(Term::atom("yes"))
    });
}

/// Two nodes that know each other. `a` runs a witness that executes `start`; `b` has the functions.
fn run(start: impl FnMut(Ctx<'_, '_>) + 'static, then: impl FnOnce(&mut Net)) -> Vec<String> {
    run_limited(Limits::default(), start, then)
}

fn run_limited(
    limits: Limits,
    mut start: impl FnMut(Ctx<'_, '_>) + 'static,
    then: impl FnOnce(&mut Net),
) -> Vec<String> {
    let log = Log::default();
    let written = log.clone();
    let client = scripted(move |ctx, message| match &message {
        Message::Term { term, .. } if term.is_atom("go") => start(ctx),
        message => written.borrow_mut().push(line(message)),
    });
    let mut net = Net::new();
    let mut served = config("b", &[]);
    served.limits = limits;
    net.start_with(served, 2, export);
    net.start_with(config("a", &["b"]), 1, |node| {
        export(node);
        node.spawn(Some("client"), client);
    });
    net.run_ms(100);
    net.tell("a", "client", Term::atom("go"));
    then(&mut net);
    net.run_ms(10_000);
    log.take()
}

fn erpc(node: &'static str, function: &'static str, args: Vec<Term>) -> Vec<String> {
    let ask = move |ctx: Ctx<'_, '_>| {
        ctx.erpc(&name(node), "m", function, args.clone(), 1_000_000);
    };
    run(ask, |_| {})
}

#[test]
fn every_outcome_is_the_same_here_and_there() {
    for node in ["a", "b"] {
        assert_eq!(erpc(node, "echo", vec![Term::list([1_u8, 2])]), ["reply [1,2]"]);
        assert_eq!(erpc(node, "relay", vec![]), ["reply arrived"]);
        assert_eq!(erpc(node, "throw", vec![]), ["no reply {throw,x}"]);
        assert_eq!(erpc(node, "exit", vec![]), ["no reply {'EXIT',x}"]);
        assert_eq!(erpc(node, "error", vec![]), ["no reply {'EXIT',{x,[{m,error,0,[]}]}}"]);
        assert_eq!(erpc(node, "silent", vec![]), ["no reply gone"]);
        assert_eq!(erpc(node, "check", vec![Term::from(1)]), ["no reply panicked"]);
        assert_eq!(erpc(node, "forever", vec![]), ["no reply timeout"]);
        assert_eq!(erpc(node, "member", vec![]), ["reply yes"]);
        let undef = ["no reply {'EXIT',{undef,[{m,nope,[1],[]}]}}"];
        assert_eq!(erpc(node, "nope", vec![Term::from(1)]), undef);
    }
    assert_eq!(erpc("a", "nobody", vec![]), ["reply yes"]);
    assert_eq!(erpc("b", "nobody", vec![]), ["no reply notsup"]);
}

#[test]
fn a_call_ends_with_the_connection_or_the_node() {
    let call = |ctx: Ctx<'_, '_>| {
        ctx.erpc(&name("b"), "m", "forever", vec![], 5_000_000);
    };
    assert_eq!(
        run(call, |net| {
            net.run_ms(10);
            net.kill("b", false);
        }),
        ["no reply noconnection"]
    );
    let nowhere = |ctx: Ctx<'_, '_>| {
        ctx.erpc(&name("nowhere"), "m", "echo", vec![], 5_000_000);
    };
    assert_eq!(run(nowhere, |_| {}), ["no reply noconnection"]);
}

/// How many processes `b` has, as it reports itself.
fn processes(net: &mut Net) -> String {
    let (client, log) = witness(|ctx| {
        let item = vec![Term::atom("process_count")];
        ctx.erpc(&name("b"), "erlang", "system_info", item, 1_000_000);
    });
    net.start_with(config("c", &["b"]), 7, |node| {
        node.spawn(None, client);
    });
    net.run_ms(200);
    net.kill("c", false);
    net.run_ms(200);
    log.take().remove(0)
}

#[test]
fn a_call_ends_when_its_caller_does_not_wait() {
    let count = |ask: fn(Ctx<'_, '_>)| {
        let counted = Rc::new(RefCell::new((String::new(), String::new())));
        let told = counted.clone();
        run(ask, move |net| {
            net.run_ms(50);
            let while_asked = processes(net);
            net.run_ms(5_000);
            *told.borrow_mut() = (while_asked, processes(net));
        });
        counted.take()
    };
    let (none, _) = count(|_| {});
    // A call that timed out, one that was given up, and one whose caller ended: all end at the other node.
    let (during, after) = count(|ctx| {
        ctx.erpc(&name("b"), "m", "forever", vec![], 1_000_000);
    });
    assert_ne!(during, none);
    assert_eq!(after, none);
    let (_, after) = count(|ctx| {
        let call = ctx.erpc(&name("b"), "m", "forever", vec![], 60_000_000);
        ctx.demonitor(&call);
    });
    assert_eq!(after, none, "its pid was not known when it was given up");
    let (_, after) = count(|ctx| {
        ctx.erpc(&name("b"), "m", "forever", vec![], 60_000_000);
        ctx.exit(Term::atom("normal"));
    });
    assert_eq!(after, none);
    // Spawned processes live on.
    let (during, after) = count(|ctx| {
        ctx.spawn_at(&name("b"), "m", "forever", vec![], SpawnOptions::default());
        ctx.exit(Term::atom("normal"));
    });
    assert_ne!(during, none);
    assert_eq!(during, after);
}

fn spawn(function: &'static str, link: bool, monitor: bool) -> impl FnMut(Ctx<'_, '_>) {
    move |ctx| {
        ctx.trap_exit(true);
        ctx.spawn_at(&name("b"), "m", function, vec![], SpawnOptions { link, monitor });
    }
}

/// Pids differ between versions of the code.
fn without_pids(log: Vec<String>) -> Vec<String> {
    let is_pid = |line: &str| line.starts_with("reply <");
    log.into_iter()
        .map(|line| if is_pid(&line) { "pid".into() } else { line })
        .collect()
}

#[test]
fn the_answer_to_a_spawn_comes_before_its_effects() {
    let spawned = |function, link, monitor| without_pids(run(spawn(function, link, monitor), |_| {}));
    assert_eq!(spawned("exit", false, false), ["pid"]);
    assert_eq!(spawned("exit", false, true), ["pid", "down pid@b@net x"]);
    assert_eq!(spawned("exit", true, false), ["pid", "exit b@net x"]);
    assert_eq!(spawned("exit", true, true), ["pid", "exit b@net x", "down pid@b@net x"]);
    assert_eq!(spawned("nobody", true, true), ["no reply notsup"]);
    assert_eq!(
        spawned("nope", false, true),
        ["pid", "down pid@b@net {undef,[{m,nope,[],[]}]}"]
    );
    let lost = run(spawn("forever", true, true), |net| {
        net.run_ms(10);
        net.kill("b", true);
        net.run_ms(10_000);
    });
    assert_eq!(
        without_pids(lost),
        ["pid", "exit b@net noconnection", "down pid@b@net noconnection"]
    );
}

#[test]
fn the_number_of_processes_of_a_peer_is_limited() {
    let limits = Limits {
        spawns_per_peer_max: 3,
        ..Limits::default()
    };
    let ask = |ctx: Ctx<'_, '_>| {
        for _ in 0..4 {
            ctx.spawn_at(&name("b"), "m", "forever", vec![], SpawnOptions::default());
        }
    };
    let log = without_pids(run_limited(limits, ask, |_| {}));
    assert_eq!(log, ["pid", "pid", "pid", "no reply system_limit"]);
}

#[test]
fn a_call_by_rex_is_answered_even_if_its_process_dies() {
    let ask = |function: &'static str| {
        run(
            move |ctx| {
                let leader = Term::Pid(ctx.me().clone());
                let parts = [
                    Term::atom("call"),
                    Term::atom("m"),
                    Term::atom(function),
                    Term::NIL,
                    leader,
                ];
                ctx.call(&at("b", "rex"), Term::tuple(parts), 1_000_000);
            },
            |_| {},
        )
    };
    assert_eq!(ask("relay"), ["reply arrived"]);
    assert_eq!(ask("silent"), ["reply {badrpc,{'EXIT',gone}}"]);
    assert_eq!(ask("nobody"), ["reply {badrpc,notsup}"]);
}

#[test]
fn every_print_is_answered_and_a_flood_is_dropped() {
    const LINES: usize = 1000;
    let events = Rc::new(RefCell::new(0));
    let told = events.clone();
    let log = run(
        |ctx| {
            for _ in 0..LINES {
                let chars = Term::tuple([Term::atom("put_chars"), Term::atom("unicode"), Term::binary("hi")]);
                let me = Term::Pid(ctx.me().clone());
                let request = Term::tuple([Term::atom("io_request"), me, Term::from(1), chars]);
                ctx.send(&at("b", "user"), request);
            }
        },
        move |net| {
            net.run_ms(100);
            let is_io = |event: &&Event| matches!(event, Event::Note { kind: "io", .. });
            *told.borrow_mut() = net.events("b").iter().filter(is_io).count();
        },
    );
    assert_eq!(log.len(), LINES);
    assert!(log.iter().all(|line| line == "term {io_reply,1,ok}"));
    let events = events.take();
    assert!((100..300).contains(&events), "{events}");
}

#[test]
fn casts_and_calls_go_to_many_nodes() {
    let (server, seen) = witness(|_| {});
    let mut net = Net::new();
    net.start_with(config("b", &[]), 2, |node| {
        node.spawn(Some("server"), server);
    });
    let (client, answers) = witness(|ctx| {
        let nodes = [name("a"), name("b"), name("nowhere")];
        ctx.abcast(&nodes, &node::Atom::new("server"), &Term::atom("hi"));
        ctx.cast(
            &Address::Remote {
                node: name("b"),
                name: node::Atom::new("server"),
            },
            Term::atom("ho"),
        );
        ctx.multi_call(&nodes, &node::Atom::new("nope"), &Term::atom("hi"), 1_000_000);
        ctx.multicall(&nodes, "erlang", "node", &[], 1_000_000);
    });
    net.start_with(config("a", &["b"]), 1, |node| {
        node.spawn(None, client);
    });
    net.run_ms(3_000);
    assert_eq!(seen.take(), ["term {'$gen_cast',hi}", "term {'$gen_cast',ho}"]);
    let mut answers = answers.take();
    answers.sort();
    let expected = [
        "no reply noconnection",
        "no reply noconnection",
        "no reply noproc",
        "no reply noproc",
        "reply a@net",
        "reply b@net",
    ];
    assert_eq!(answers, expected);
}
