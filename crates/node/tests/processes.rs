//! Processes: names, messages, links, monitors, timers, calls; on one node and across two. Each
//! monitor fires exactly once, with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::redundant_closure_for_method_calls,
    reason = "tests; and a method path is not general enough over lifetimes"
)]

mod net;

use std::panic::{AssertUnwindSafe, catch_unwind};

use net::{Ctx, Log, Net, Scripted, Word, at, config, line, name, scripted, witness};
use node::{Address, Atom, Config, Context, Input, Limits, Message, Node, NodeKind, Pid, Term, Time, gen_server};

fn local(process: &str) -> Address {
    Address::Name(Atom::new(process))
}

/// A process that ends with the reason it receives.
fn mortal() -> Box<Scripted> {
    scripted(|ctx, message| {
        if let Message::Term { term, .. } = message {
            ctx.exit(term);
        }
    })
}

/// Answers `pid` with its own pid, ends at `die`, never answers `nothing`, and echoes all else.
fn server() -> Box<Scripted> {
    scripted(|ctx, message| {
        let Message::Term { term, .. } = message else {
            return;
        };
        let gen_server::Request::Call { from, request } = gen_server::parse(term) else {
            return;
        };
        if request.is_atom("die") {
            ctx.exit(Term::atom("died"));
        } else if request.is_atom("pid") {
            let me = ctx.me().clone();
            ctx.reply(&from, Term::Pid(me));
        } else if !request.is_atom("nothing") {
            ctx.reply(&from, request);
        }
    })
}

fn one(processes: Vec<(&str, Box<Scripted>)>) -> Net {
    let mut net = Net::new();
    net.start(config("a", &[]), 1, processes);
    net
}

/// The node of the other process: the same node, or a peer.
const BOTH: [&str; 2] = ["a", "b"];

/// Runs `watcher` on node a and `target` on node a or b.
fn with(place: &str, watcher: Box<Scripted>, target: Box<Scripted>) -> Net {
    if place == "a" {
        one(vec![("target", target), ("watcher", watcher)])
    } else {
        Net::pair(vec![("watcher", watcher)], vec![("target", target)])
    }
}

/// A process that does `act` on request, and records all other messages.
fn told(mut act: impl FnMut(Ctx<'_, '_>) + 'static) -> (Box<Scripted>, Log) {
    let log = Log::default();
    let written = log.clone();
    let process = scripted(move |ctx, message| match &message {
        Message::Term { term, .. } if term.is_atom("act") => act(ctx),
        _ => written.borrow_mut().push(line(&message)),
    });
    (process, log)
}

fn act(net: &mut Net) {
    net.tell("a", "watcher", Term::atom("act"));
    net.run_ms(5);
}

fn target_of(place: &str) -> Address {
    at(place, "target")
}

/// The pid of `target`, as it reports itself.
fn pid_of(net: &mut Net, place: &str) -> Pid {
    let asker = net.adopt(place);
    let address = Address::Name(Atom::new("target"));
    net.act(place, &asker, |ctx| {
        let pid = ctx.whereis("target").cloned();
        assert_eq!(pid.is_some(), matches!(address, Address::Name(_)));
        pid.unwrap()
    })
}

#[test]
fn a_monitor_fires_once_with_the_reason() {
    for place in BOTH {
        let (watcher, log) = told(move |ctx| {
            ctx.monitor(&target_of(place));
        });
        let mut net = with(place, watcher, mortal());
        act(&mut net);
        act(&mut net);
        assert!(log.borrow().is_empty());
        net.tell(place, "target", Term::atom("boom"));
        net.run_ms(5);
        let down = format!("down target@{place}@net boom");
        assert_eq!(
            *log.borrow(),
            [down.clone(), down.clone()],
            "two monitors, one DOWN each"
        );
        act(&mut net);
        assert_eq!(log.borrow().last().unwrap(), &format!("down target@{place}@net noproc"));
        if place == "b" {
            net.kill("b", false);
            net.run_ms(20_000);
        }
        assert_eq!(log.borrow().len(), 3);
    }
}

#[test]
fn a_lost_node_ends_its_monitors_and_links_once() {
    for quietly in [false, true] {
        let (watcher, log) = told(|ctx| {
            ctx.monitor(&target_of("b"));
        });
        let mut net = with("b", watcher, mortal());
        act(&mut net);
        let linked = net.adopt("a");
        let target = pid_of(&mut net, "b");
        net.act("a", &linked, |ctx| {
            ctx.link(&target);
            ctx.monitor(&Address::Pid(target.clone()));
        });
        net.run_ms(5);
        net.kill("b", quietly);
        net.run_ms(20_000);
        assert_eq!(*log.borrow(), ["down target@b@net noconnection"]);
        let mut delivered = net.delivered("a");
        delivered.sort();
        assert_eq!(delivered, ["down pid@b@net noconnection", "exit b@net noconnection"]);
    }
}

#[test]
fn a_paused_node_is_notified_of_the_loss_too() {
    let (watcher, log) = told(|ctx| {
        ctx.monitor(&target_of("b"));
    });
    let mut net = with("b", watcher, mortal());
    act(&mut net);
    net.stop("a");
    net.run_ms(30_000);
    net.resume("a");
    net.run_ms(5000);
    assert_eq!(*log.borrow(), ["down target@b@net noconnection"]);
}

#[test]
fn after_demonitor_no_down_comes() {
    for place in BOTH {
        let mut monitor = None;
        let (watcher, log) = told(move |ctx| match monitor.take() {
            None => monitor = Some(ctx.monitor(&target_of(place))),
            Some(monitor) => {
                // The end of the target is on its way at this moment.
                ctx.send(&target_of(place), Term::atom("boom"));
                ctx.demonitor(&monitor);
            }
        });
        let mut net = with(place, watcher, mortal());
        act(&mut net);
        act(&mut net);
        assert!(log.borrow().is_empty());
    }
}

#[test]
fn after_demonitor_no_answer_comes() {
    for place in BOTH {
        let mut call = None;
        let (caller, log) = told(move |ctx| match call.take() {
            None => {
                call = Some(ctx.call(&target_of(place), Term::atom("hello"), 1_000_000));
                // Handled before the answer, which is behind it in the queue.
                let me = Address::Pid(ctx.me().clone());
                ctx.send(&me, Term::atom("act"));
            }
            Some(call) => ctx.demonitor(&call),
        });
        let mut net = with(place, caller, server());
        act(&mut net);
        assert!(log.borrow().is_empty(), "{:?}", log.borrow());
    }
}

/// Two nodes that do not know each other, a process that acts on one, and one that records on the other.
fn strangers() -> (Net, Pid, Pid, Log) {
    let (target, log) = witness(|ctx| ctx.trap_exit(true));
    let mut net = one(vec![]);
    net.start(config("b", &[]), 2, vec![("target", target)]);
    net.run_ms(100);
    let target = pid_of(&mut net, "b");
    let pilot = net.adopt("a");
    (net, pilot, target, log)
}

#[test]
fn signals_undone_before_their_node_is_reached_leave_nothing_there() {
    let (mut net, pilot, target, log) = strangers();
    net.act("a", &pilot, |ctx| {
        ctx.link(&target);
        let monitor = ctx.monitor(&Address::Pid(target.clone()));
        ctx.unlink(&target);
        ctx.demonitor(&monitor);
    });
    net.run_ms(1000);
    assert_eq!(net.node_ups("b", "a"), 1);
    let observer = net.adopt("b");
    let tables = net.act("b", &observer, |ctx| ctx.tables());
    assert!(tables.peers.is_empty(), "{tables:?}");
    net.act("a", &pilot, |ctx| ctx.exit(Term::atom("boom")));
    net.run_ms(1000);
    assert!(log.borrow().is_empty(), "{:?}", log.borrow());
}

#[test]
fn an_end_before_the_node_is_reached_is_reported_there() {
    let (mut net, pilot, target, log) = strangers();
    net.act("a", &pilot, |ctx| {
        ctx.link(&target);
        ctx.exit(Term::atom("boom"));
    });
    net.run_ms(1000);
    assert_eq!(*log.borrow(), ["exit a@net boom"]);
}

#[test]
fn links_carry_exit_signals_both_ways_and_only_once() {
    for place in BOTH {
        for trap in [false, true] {
            let mut net = with(place, witness(|_| {}).0, mortal());
            let target = pid_of(&mut net, place);
            let (linker, log) = told(move |ctx| {
                ctx.trap_exit(trap);
                ctx.link(&target);
                ctx.link(&target);
            });
            let observer = net.adopt("a");
            net.act("a", &observer, |ctx| {
                let pid = ctx.spawn(Some("linker"), linker);
                ctx.monitor(&Address::Pid(pid));
            });
            net.tell("a", "linker", Term::atom("act"));
            net.run_ms(5);
            net.tell(place, "target", Term::atom("boom"));
            net.run_ms(5);
            if trap {
                assert_eq!(*log.borrow(), [format!("exit {place}@net boom")]);
                assert!(net.delivered("a").is_empty());
            } else {
                assert_eq!(net.delivered("a"), ["down pid@a@net boom"]);
            }
        }
    }
}

#[test]
fn a_linked_process_ends_with_the_other() {
    for place in BOTH {
        let (watcher, log) = told(move |ctx| {
            ctx.monitor(&target_of(place));
        });
        let mut net = with(place, watcher, mortal());
        act(&mut net);
        let target = pid_of(&mut net, place);
        let me = net.adopt("a");
        net.act("a", &me, |ctx| ctx.link(&target));
        net.run_ms(5);
        net.act("a", &me, |ctx| ctx.exit(Term::atom("gone")));
        net.run_ms(5);
        assert_eq!(*log.borrow(), [format!("down target@{place}@net gone")]);
    }
}

#[test]
fn a_normal_end_ends_no_other_process() {
    let mut net = with("b", witness(|_| {}).0, mortal());
    let target = pid_of(&mut net, "b");
    let me = net.adopt("a");
    net.act("a", &me, |ctx| {
        ctx.link(&target);
        ctx.exit(Term::atom("normal"));
    });
    net.run_ms(5);
    assert_eq!(pid_of(&mut net, "b"), target);
}

#[test]
fn after_unlink_no_exit_comes() {
    for place in BOTH {
        let mut net = with(place, witness(|_| {}).0, mortal());
        let target = pid_of(&mut net, place);
        let me = net.adopt("a");
        net.act("a", &me, |ctx| ctx.link(&target));
        net.run_ms(5);
        net.act("a", &me, |ctx| {
            ctx.unlink(&target);
            ctx.send(&target_of(place), Term::atom("boom"));
        });
        net.run_ms(5);
        assert!(net.delivered("a").is_empty());
    }
}

#[test]
fn links_to_dead_or_unreachable_processes_give_an_exit_signal() {
    let mut net = with("b", witness(|_| {}).0, mortal());
    let target = pid_of(&mut net, "b");
    net.tell("b", "target", Term::atom("normal"));
    let me = net.adopt("a");
    let stale = Pid {
        creation: 99,
        ..target.clone()
    };
    let far = Pid {
        node: name("x"),
        ..target.clone()
    };
    net.act("a", &me, |ctx| {
        ctx.link(&target);
        ctx.link(&stale);
        ctx.link(&far);
        ctx.link(&Pid {
            node: name("a"),
            id: 9999,
            serial: 0,
            creation: 4,
        });
    });
    net.run_ms(50);
    let mut exits = net.delivered("a");
    exits.sort();
    let expected = [
        "exit a@net noproc",
        "exit b@net noconnection",
        "exit b@net noproc",
        "exit x@net noconnection",
    ];
    assert_eq!(exits, expected);
}

#[test]
fn exit_signals_to_others() {
    for place in BOTH {
        let (watcher, log) = told(move |ctx| {
            ctx.monitor(&target_of(place));
        });
        let mut net = with(place, watcher, witness(|ctx| ctx.trap_exit(true)).0);
        act(&mut net);
        let target = pid_of(&mut net, place);
        let me = net.adopt("a");
        net.act("a", &me, |ctx| {
            ctx.exit_other(&target, Term::atom("please"));
        });
        net.run_ms(5);
        assert!(log.borrow().is_empty(), "the exit signal is trapped");
        net.act("a", &me, |ctx| ctx.exit_other(&target, Term::atom("kill")));
        net.run_ms(5);
        assert_eq!(*log.borrow(), [format!("down target@{place}@net killed")]);
    }
}

#[test]
fn calls_have_one_outcome() {
    for place in BOTH {
        for (request, outcome) in [
            ("hello", "reply hello"),
            ("nothing", "no reply timeout"),
            ("die", "no reply died"),
        ] {
            let (watcher, log) = told(move |ctx| {
                ctx.call(&target_of(place), Term::atom(request), 1_000_000);
            });
            let mut net = with(place, watcher, server());
            act(&mut net);
            net.run_ms(10_000);
            assert_eq!(*log.borrow(), [outcome], "{request} at {place}");
        }
    }
}

#[test]
fn calls_to_unknown_processes_fail_at_once() {
    let (watcher, log) = told(|ctx| {
        ctx.call(&local("nobody"), Term::Int(1), 60_000_000);
        ctx.call(&at("b", "nobody"), Term::Int(1), 60_000_000);
        ctx.call(&at("x", "nobody"), Term::Int(1), 60_000_000);
    });
    let mut net = with("b", watcher, server());
    act(&mut net);
    log.borrow_mut().sort();
    assert_eq!(
        *log.borrow(),
        ["no reply noconnection", "no reply noproc", "no reply noproc"]
    );
    net.run_ms(70_000);
    assert_eq!(log.borrow().len(), 3);
}

#[test]
fn net_kernel_answers_ping() {
    let (watcher, log) = told(|ctx| {
        let request = Term::from((Term::atom("is_auth"), ctx.node().clone()));
        ctx.call(&at("b", "net_kernel"), request, 1_000_000);
    });
    let mut net = with("b", watcher, server());
    act(&mut net);
    assert_eq!(*log.borrow(), ["reply yes"]);
}

#[test]
fn names_are_unique_and_end_with_their_process() {
    let mut net = one(vec![("target", mortal())]);
    let (me, other) = (net.adopt("a"), net.adopt("a"));
    net.act("a", &me, |ctx| {
        assert!(ctx.register("me", &me));
        assert!(!ctx.register("also_me", &me), "the process has a name");
        assert!(!ctx.register("me", &other), "the name is taken");
        assert!(!ctx.register("target", &other));
        assert_eq!(ctx.whereis("me"), Some(&me));
        assert!(ctx.unregister("me"));
        assert!(!ctx.unregister("me"));
        assert!(ctx.register("me", &other));
    });
    net.tell("a", "me", Term::Int(1));
    net.act("a", &other, |ctx| ctx.exit(Term::atom("normal")));
    net.act("a", &me, |ctx| assert_eq!(ctx.whereis("me"), None));
    assert_eq!(net.delivered("a"), ["term 1"]);
}

/// If the shell catches panics, a panic ends only the process that caused it.
#[test]
fn a_process_that_cannot_have_its_name_leaves_nothing() {
    let mut net = one(vec![("taken", mortal())]);
    let asker = net.adopt("a");
    let count = |net: &mut Net| net.act("a", &asker, |ctx| ctx.tables().processes);
    let before = count(&mut net);
    let long = "x".repeat(300);
    for name in ["taken", &long] {
        for spawns in [true, false] {
            let refused = net.act("a", &asker, |ctx| {
                let ask = AssertUnwindSafe(|| {
                    if spawns {
                        Ok(ctx.spawn(Some(name), mortal()))
                    } else {
                        ctx.start(Some(name), mortal())
                    }
                });
                !matches!(catch_unwind(ask), Ok(Ok(_)))
            });
            assert!(refused);
            assert_eq!(count(&mut net), before);
        }
    }
}

#[test]
fn timers_fire_in_order_and_not_when_cancelled() {
    let (watcher, log) = witness(|ctx| {
        ctx.timer(2000, 2);
        let cancelled = ctx.timer(1500, 9);
        ctx.timer(1000, 1);
        ctx.timer(2000, 3);
        assert!(ctx.cancel(cancelled));
        assert!(!ctx.cancel(cancelled));
    });
    let mut net = one(vec![("watcher", watcher)]);
    net.run_ms(1);
    assert_eq!(*log.borrow(), ["timer 1"]);
    net.run_ms(10);
    assert_eq!(*log.borrow(), ["timer 1", "timer 2", "timer 3"]);
}

#[test]
fn typed_messages_stay_here_and_keep_their_order() {
    let (sink, log) = witness(|_| {});
    let source = scripted(|ctx, message| {
        let Message::Payload(Word(word)) = message else {
            return;
        };
        let sink = ctx.whereis("sink").unwrap().clone();
        ctx.tell(&sink, Word(word));
        ctx.send(&local("sink"), Term::Int(2));
        ctx.tell(
            &Pid {
                node: name("b"),
                ..sink.clone()
            },
            Word("lost"),
        );
        ctx.tell(&sink, Word("three"));
    });
    let mut net = Net::pair(vec![("sink", sink), ("source", source)], vec![]);
    let message = || Message::Payload(Word("one"));
    net.input(
        &name("a"),
        Input::Message {
            to: local("source"),
            message: message(),
        },
    );
    assert_eq!(*log.borrow(), ["word one", "term 2", "word three"]);
    net.input(
        &name("a"),
        Input::Message {
            to: at("b", "source"),
            message: message(),
        },
    );
    let dropped = |event: &node::Event| matches!(event, node::Event::MessageDropped { .. });
    assert!(net.events("a").iter().any(dropped));
}

#[test]
fn flush_comes_once_per_round_to_those_who_asked() {
    let log = Log::default();
    let written = log.clone();
    let first = scripted(move |ctx, message| {
        if matches!(message, Message::Flush) {
            written.borrow_mut().push("first flushes".into());
            let second = ctx.whereis("second").unwrap().clone();
            ctx.tell(&second, Word("batch"));
        } else {
            ctx.defer();
            ctx.defer();
        }
    });
    let written = log.clone();
    let second = scripted(move |ctx, message| {
        written.borrow_mut().push(format!("second {}", line(&message)));
        if matches!(message, Message::Payload(_)) {
            ctx.defer();
        }
    });
    let mut net = one(vec![("first", first), ("second", second)]);
    net.tell("a", "first", Term::Int(1));
    assert_eq!(*log.borrow(), ["first flushes", "second word batch", "second flush"]);
    net.input(&name("a"), Input::Alarm);
    assert_eq!(log.borrow().len(), 3);
}

#[test]
fn an_endless_exchange_does_not_hold_the_node() {
    let ping = |to: &'static str| {
        scripted(move |ctx, _| {
            let to = ctx.whereis(to).unwrap().clone();
            ctx.tell(&to, Word("again"));
        })
    };
    let mut net = one(vec![("ping", ping("pong")), ("pong", ping("ping"))]);
    net.tell("a", "ping", Term::Int(1));
}

#[test]
fn processes_of_the_shell_are_like_other_processes() {
    let mut net = Net::pair(vec![("target", server())], vec![("target", server())]);
    let me = net.adopt("a");
    net.act("a", &me, |ctx| {
        ctx.call(&local("target"), Term::Int(1), 1_000_000);
        ctx.call(&at("b", "target"), Term::Int(2), 1_000_000);
        ctx.monitor_nodes();
        assert_eq!(ctx.nodes(NodeKind::Hidden), [name("b")]);
        assert!(ctx.nodes(NodeKind::Visible).is_empty());
    });
    net.run_ms(5);
    assert_eq!(net.delivered("a"), ["reply 1", "reply 2"]);
    net.kill("b", false);
    net.run_ms(5);
    assert_eq!(net.delivered("a"), ["nodedown b@net connection_closed"]);
}

#[test]
fn a_context_knows_where_it_is() {
    let (seen, log) = told(|ctx: &mut Context<'_, Word>| {
        assert_eq!((ctx.node(), ctx.creation()), (&name("a"), 4));
        assert_eq!((&ctx.me().node, ctx.me().creation), (&name("a"), 4));
        assert_ne!(ctx.random(), ctx.random());
        assert!(ctx.now().monotonic_us > 0);
    });
    let mut net = one(vec![("watcher", seen)]);
    act(&mut net);
    assert!(log.borrow().is_empty());
}

#[test]
fn a_signal_that_is_too_long_closes_no_connection_and_loses_no_end() {
    let mut net = Net::new();
    for (seed, node, join) in [(2, "b", &[][..]), (1, "a", &["b"][..])] {
        let limits = Limits {
            message_bytes_max: 10_000,
            ..Limits::default()
        };
        let config = Config {
            limits,
            ..config(node, join)
        };
        net.start(config, seed, vec![]);
    }
    net.run_ms(100);
    let (me, other) = (net.adopt("a"), net.adopt("b"));
    let to = Address::Pid(other);
    net.act("a", &me, |ctx| {
        for len in [9_000, 11_000, 1] {
            ctx.send(&to, Term::binary(vec![b'x'; len]));
        }
    });
    net.run_ms(5);
    let lengths: Vec<_> = net.delivered("b").iter().map(String::len).collect();
    assert_eq!(lengths.len(), 2, "{lengths:?}");
    assert!(net.node_downs("a", "b").is_empty());
    let dropped = |event: &node::Event| matches!(event, node::Event::MessageDropped { .. });
    assert_eq!(net.events("a").iter().filter(|event| dropped(event)).count(), 1);

    let Address::Pid(other) = to else { unreachable!() };
    net.act("b", &other, |ctx| {
        ctx.trap_exit(true);
        ctx.link(&me);
        ctx.monitor(&Address::Pid(me.clone()));
    });
    net.run_ms(5);
    net.act("a", &me, |ctx| ctx.exit(Term::binary(vec![b'x'; 11_000])));
    net.run_ms(5);
    let mut ends = net.delivered("b");
    ends.sort();
    assert_eq!(ends, ["down pid@a@net system_limit", "exit a@net system_limit"]);
    assert!(net.node_downs("a", "b").is_empty());
}

#[test]
fn a_full_queue_drops_no_timer_and_no_outcome() {
    let log = Log::default();
    let written = log.clone();
    let busy = scripted(move |ctx, message| {
        let again = local("busy");
        match &message {
            Message::Term { term, .. } if term.is_atom("go") => {
                ctx.timer(1000, 7);
                ctx.call(&local("nobody"), Term::NIL, 2000);
                ctx.call(&local("mute"), Term::NIL, 2000);
                for _ in 0..20 {
                    ctx.send(&again, Term::atom("again"));
                }
            }
            Message::Term { .. } if log_len(&written) < 3 => ctx.send(&again, Term::atom("again")),
            Message::Term { .. } => {}
            _ => written.borrow_mut().push(line(&message)),
        }
    });
    let limits = Limits {
        queue_max: 10,
        steps_max: 5,
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..config("a", &[])
    };
    let mut node = Node::new(config, 1);
    node.spawn(Some("busy"), busy);
    node.spawn(Some("mute"), witness(|_| {}).0);
    let mut effects = Vec::new();
    let mut give = |ms: u64, input| {
        let now = Time {
            monotonic_us: ms * 1000,
            wall_ms: 0,
        };
        node.handle(now, input, &mut effects);
    };
    give(1, Input::Start);
    let (to, term) = (local("busy"), Term::atom("go"));
    let message = Message::Term { from: None, term };
    give(1, Input::Message { to, message });
    for ms in 2..30 {
        give(ms, Input::Alarm);
    }
    let mut log = log.borrow().clone();
    log.sort();
    assert_eq!(log, ["no reply noproc", "no reply timeout", "timer 7"]);
}

fn log_len(log: &Log) -> usize {
    log.borrow().len()
}

#[test]
fn an_exit_signal_normal_to_itself_ends_a_process() {
    let mut net = one(vec![]);
    let (me, other) = (net.adopt("a"), net.adopt("a"));
    let lives = |net: &mut Net, who: &Pid| {
        let who = who.clone();
        let pilot = net.adopt("a");
        net.act("a", &pilot, |ctx| ctx.is_alive(&who))
    };
    for process in [&me, &other] {
        net.act("a", process, |ctx| ctx.trap_exit(false));
    }
    net.act("a", &me, |ctx| ctx.exit_other(&other, Term::atom("normal")));
    assert!(lives(&mut net, &other));
    net.act("a", &other, |ctx| {
        let me = ctx.me().clone();
        ctx.exit_other(&me, Term::atom("normal"));
    });
    assert!(!lives(&mut net, &other));
}

#[test]
fn no_process_can_have_the_reserved_name() {
    let mut net = one(vec![]);
    let me = net.adopt("a");
    let registered = net.act("a", &me, |ctx| ctx.register("undefined", &me));
    assert!(!registered);
    let started = net.act("a", &me, |ctx| ctx.start(Some("undefined"), server()));
    assert_eq!(started, Err(Term::atom("badarg")));
}
