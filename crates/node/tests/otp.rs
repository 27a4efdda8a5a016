//! Servers and supervisors: the order of starts and stops, restarts, giving up, and that each end is reported exactly
//! once.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Ctx, Log, Net, Scripted, Word, at, config, name, scripted};
use node::{
    Address, Atom, Context, Message, Process, Term,
    gen_server::From,
    server::{GenServer, Next, Reply, Server},
    supervisor::{Child, DynamicSupervisor, Intensity, Restart, Shutdown, Strategy, Supervisor},
};

/// Records its start and its end. Ends with the reason it is cast. `refuse` makes its next starts fail.
struct Worker {
    name: &'static str,
    log: Log,
}

impl GenServer<Word> for Worker {
    fn init(&mut self, ctx: Ctx<'_, '_>) -> Next {
        ctx.trap_exit(true);
        let is_refused = self
            .log
            .borrow()
            .iter()
            .any(|line| *line == format!("refuse {}", self.name));
        if is_refused {
            return Next::Stop(Term::atom("refused"));
        }
        self.log.borrow_mut().push(format!("+{}", self.name));
        Next::Wait
    }

    fn handle_call(&mut self, ctx: Ctx<'_, '_>, _: Term, _: &From) -> Reply {
        Reply::now(Term::Pid(ctx.me().clone()))
    }

    fn handle_cast(&mut self, _: Ctx<'_, '_>, reason: Term) -> Next {
        Next::Stop(reason)
    }

    fn terminate(&mut self, _: Ctx<'_, '_>, reason: &Term) {
        self.log.borrow_mut().push(format!("-{} {reason}", self.name));
    }
}

fn worker(name: &'static str, log: &Log) -> Child<Word> {
    let log = log.clone();
    Child::server(name, move || Worker { name, log: log.clone() })
}

fn workers(names: &[&'static str], log: &Log) -> Vec<Child<Word>> {
    names.iter().map(|name| worker(name, log)).collect()
}

/// Allows `restarts_max` restarts within a second.
fn intensity(restarts_max: u32) -> Intensity {
    Intensity {
        restarts_max,
        period_us: 1_000_000,
    }
}

/// A node whose process `root` starts the process made by `make` under the name `sup`, and records how it ends.
fn rooted(log: &Log, make: impl Fn() -> Box<dyn Process<Word>> + 'static) -> Net {
    let (begun, ended) = (log.clone(), log.clone());
    let root = Box::new(Scripted {
        start: Box::new(move |ctx| {
            ctx.trap_exit(true);
            if let Err(reason) = ctx.start_link(Some("sup"), make()) {
                begun.borrow_mut().push(format!("no sup {reason}"));
            }
        }),
        handle: Box::new(move |ctx, message| match message {
            Message::Exit { reason, .. } => ended.borrow_mut().push(format!("sup ended {reason}")),
            Message::Term { term, .. } => {
                let sup = ctx.whereis("sup").cloned().unwrap();
                ctx.exit_other(&sup, term);
            }
            _ => {}
        }),
    });
    let mut net = Net::new();
    net.start(config("a", &[]), 1, vec![("root", root)]);
    net.run_ms(1);
    net
}

fn supervised(strategy: Strategy, restarts_max: u32, names: &'static [&'static str], log: &Log) -> Net {
    let held = log.clone();
    rooted(log, move || {
        Box::new(Supervisor::new(
            strategy,
            intensity(restarts_max),
            workers(names, &held),
        ))
    })
}

fn cast(net: &mut Net, process: &str, reason: &'static str) {
    net.tell("a", process, node::gen_server::cast_term(Term::atom(reason)));
    net.run_ms(1);
}

/// Calls a process of node a. Returns the answer as text.
fn ask(net: &mut Net, process: &str, request: Term) -> String {
    let asker = net.adopt("a");
    net.act("a", &asker, |ctx| ctx.call(&at("a", process), request, 60_000_000));
    net.run_ms(1);
    let answers = net.delivered("a").join("; ");
    net.act("a", &asker, |ctx| ctx.exit(Term::atom("normal")));
    answers
}

fn word(tag: &'static str, of: Term) -> Term {
    (Term::atom(tag), of).into()
}

fn id(name: &'static str) -> Term {
    Term::atom(name)
}

/// The lines recorded since the last call.
fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.borrow_mut())
}

fn kill(net: &mut Net, process: &str) {
    let killer = net.adopt("a");
    net.act("a", &killer, |ctx| {
        let pid = ctx.whereis(process).cloned().unwrap();
        ctx.exit_other(&pid, Term::atom("kill"));
        ctx.exit(Term::atom("normal"));
    });
    net.run_ms(1);
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    let log = Log::default();
    let mut net = supervised(Strategy::OneForOne, 1, &["a", "b", "c"], &log);
    assert_eq!(lines(&log), ["+a", "+b", "+c"]);
    net.tell("a", "root", Term::atom("shutdown"));
    net.run_ms(1);
    assert_eq!(
        lines(&log),
        ["-c shutdown", "-b shutdown", "-a shutdown", "sup ended shutdown"]
    );
}

#[test]
fn each_strategy_restarts_its_children() {
    let table: [(Strategy, &[&str]); 3] = [
        (Strategy::OneForOne, &["-b boom", "+b"]),
        (
            Strategy::OneForAll,
            &["-b boom", "-c shutdown", "-a shutdown", "+a", "+b", "+c"],
        ),
        (Strategy::RestForOne, &["-b boom", "-c shutdown", "+b", "+c"]),
    ];
    for (strategy, expected) in table {
        let log = Log::default();
        let mut net = supervised(strategy, 1, &["a", "b", "c"], &log);
        lines(&log);
        cast(&mut net, "b", "boom");
        assert_eq!(lines(&log), expected, "{strategy:?}");
    }
}

#[test]
fn too_many_restarts_end_the_supervisor_and_old_ones_do_not_count() {
    let log = Log::default();
    let mut net = supervised(Strategy::OneForOne, 2, &["a", "b"], &log);
    for _ in 0..5 {
        cast(&mut net, "a", "boom");
        net.run_ms(600);
    }
    lines(&log);
    cast(&mut net, "a", "boom");
    cast(&mut net, "b", "boom");
    assert_eq!(
        lines(&log),
        ["-a boom", "+a", "-b boom", "-a shutdown", "sup ended shutdown"]
    );
}

#[test]
fn giving_up_propagates_through_the_tree() {
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || {
        let below = held.clone();
        let inner = Child::with_start("inner", move |ctx: Ctx<'_, '_>| {
            let children = workers(&["x", "y"], &below);
            let supervisor = Supervisor::new(Strategy::OneForAll, intensity(1), children);
            ctx.start_link(Some("inner"), Box::new(supervisor))
        });
        let children = [worker("before", &held), inner.supervisor(), worker("after", &held)];
        Box::new(Supervisor::new(Strategy::RestForOne, intensity(1), children))
    });
    assert_eq!(
        lines(&log),
        ["+before", "+x", "+y", "+after"],
        "a nested supervisor has started before the next child"
    );
    cast(&mut net, "x", "boom");
    assert_eq!(lines(&log), ["-x boom", "-y shutdown", "+x", "+y"]);
    cast(&mut net, "y", "boom");
    let inner_gave_up = ["-y boom", "-x shutdown", "-after shutdown", "+x", "+y", "+after"];
    assert_eq!(lines(&log), inner_gave_up);
    cast(&mut net, "x", "boom");
    lines(&log);
    cast(&mut net, "x", "boom");
    let all_gave_up = [
        "-x boom",
        "-y shutdown",
        "-after shutdown",
        "-before shutdown",
        "sup ended shutdown",
    ];
    assert_eq!(lines(&log), all_gave_up);
}

#[test]
fn a_child_that_is_not_permanent_is_not_restarted_after_a_normal_end() {
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || {
        let children = [
            worker("t", &held).restart(Restart::Transient),
            worker("once", &held).restart(Restart::Temporary),
        ];
        Box::new(Supervisor::new(Strategy::OneForOne, intensity(3), children))
    });
    lines(&log);
    cast(&mut net, "t", "boom");
    assert_eq!(lines(&log), ["-t boom", "+t"]);
    cast(&mut net, "t", "normal");
    cast(&mut net, "once", "boom");
    assert_eq!(lines(&log), ["-t normal", "-once boom"]);
    let children = ask(&mut net, "sup", id("which_children"));
    assert_eq!(children, "reply [{t,undefined,worker,[]}]");
}

/// A process that traps exits and ignores them.
fn stubborn(log: &Log) -> Box<Scripted> {
    let log = log.clone();
    Box::new(Scripted {
        start: Box::new(|ctx| ctx.trap_exit(true)),
        handle: Box::new(move |_, message| log.borrow_mut().push(net::line(&message))),
    })
}

#[test]
fn a_child_that_does_not_shut_down_in_time_is_killed() {
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || {
        let (one, two) = (held.clone(), held.clone());
        let slow = Child::new("slow", move || stubborn(&one)).shutdown(Shutdown::Within(2_000_000));
        let brutal = Child::new("brutal", move || stubborn(&two)).shutdown(Shutdown::BrutalKill);
        let children = [worker("first", &held), slow, brutal];
        Box::new(Supervisor::new(Strategy::OneForOne, intensity(1), children))
    });
    lines(&log);
    net.tell("a", "root", Term::atom("shutdown"));
    net.run_ms(1_990);
    assert_eq!(
        lines(&log),
        ["exit a@net shutdown"],
        "a child with `BrutalKill` gets no message; the first child still waits"
    );
    net.run_ms(20);
    assert_eq!(lines(&log), ["-first shutdown", "sup ended shutdown"]);
}

#[test]
fn calls_wait_while_a_child_is_being_stopped() {
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || {
        let inner = held.clone();
        let slow = Child::new("slow", move || stubborn(&inner)).shutdown(Shutdown::Within(1_000_000));
        let children = [slow, worker("w", &held)];
        Box::new(Supervisor::new(Strategy::OneForOne, intensity(1), children))
    });
    lines(&log);
    assert_eq!(ask(&mut net, "sup", word("terminate_child", "slow".into())), "");
    let asker = net.adopt("a");
    net.act("a", &asker, |ctx| {
        ctx.call(&at("a", "sup"), id("count_children"), 60_000_000)
    });
    cast(&mut net, "w", "boom");
    assert_eq!(
        lines(&log),
        ["exit a@net shutdown", "-w boom"],
        "w comes back when the supervisor is free"
    );
    assert!(net.delivered("a").is_empty());
    net.run_ms(1_010);
    assert_eq!(lines(&log), ["+w"]);
    assert_eq!(
        net.delivered("a"),
        ["reply [{specs,2},{active,0},{supervisors,0},{workers,2}]"]
    );
}

#[test]
fn a_killed_child_is_replaced_and_its_end_reported_once() {
    let log = Log::default();
    let mut net = supervised(Strategy::OneForOne, 3, &["a"], &log);
    let watcher = net.adopt("a");
    net.act("a", &watcher, |ctx| ctx.monitor(&at("a", "a")));
    kill(&mut net, "a");
    net.run_ms(5_000);
    assert_eq!(net.delivered("a"), ["down a@a@net killed"]);
    assert_eq!(lines(&log), ["+a", "+a"], "terminate is not called for a killed child");
}

#[test]
fn a_failed_start_stops_the_children_before_it() {
    let log = Log::default();
    log.borrow_mut().push("refuse c".into());
    let _net = supervised(Strategy::OneForOne, 3, &["a", "b", "c", "d"], &log);
    let expected = [
        "refuse c",
        "+a",
        "+b",
        "no sup {shutdown,{failed_to_start_child,c,refused}}",
        "-b shutdown",
        "-a shutdown",
    ];
    assert_eq!(lines(&log), expected);
}

#[test]
fn a_failed_restart_is_tried_again_until_there_are_too_many() {
    let log = Log::default();
    let mut net = supervised(Strategy::RestForOne, 3, &["a", "b", "c"], &log);
    lines(&log);
    log.borrow_mut().push("refuse b".into());
    cast(&mut net, "b", "boom");
    let expected = [
        "refuse b",
        "-b boom",
        "-c shutdown",
        "-a shutdown",
        "sup ended shutdown",
    ];
    assert_eq!(lines(&log), expected);
}

#[test]
fn a_supervisor_answers_its_calls() {
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || {
        let log = held.clone();
        let make = move |spec: &Term| {
            let name = ["late", "later"].into_iter().find(|name| spec.is_atom(name))?;
            Some(worker(name, &log))
        };
        let children = workers(&["a"], &held);
        Box::new(Supervisor::new(Strategy::OneForOne, intensity(3), children).on_start_child(make))
    });
    lines(&log);
    let mut ask = |tag, of| ask(&mut net, "sup", word(tag, id(of)));
    assert!(ask("start_child", "late").starts_with("reply {ok,<"));
    assert!(ask("start_child", "late").starts_with("reply {error,{already_started,<"));
    assert_eq!(ask("start_child", "what"), "reply {error,{invalid_child_spec,what}}");
    assert_eq!(ask("delete_child", "late"), "reply {error,running}");
    assert_eq!(ask("restart_child", "late"), "reply {error,running}");
    assert_eq!(ask("terminate_child", "late"), "reply ok");
    assert_eq!(ask("terminate_child", "late"), "reply ok");
    assert_eq!(ask("start_child", "late"), "reply {error,already_present}");
    assert!(ask("restart_child", "late").starts_with("reply {ok,<"));
    assert_eq!(ask("terminate_child", "late"), "reply ok");
    assert_eq!(ask("delete_child", "late"), "reply ok");
    assert_eq!(ask("terminate_child", "late"), "reply {error,not_found}");
    log.borrow_mut().push("refuse later".into());
    assert_eq!(ask("start_child", "later"), "reply {error,refused}");
    assert_eq!(ask("delete_child", "later"), "reply {error,not_found}");
    assert_eq!(ask("what", "ever"), "reply {error,{unknown_call,{what,ever}}}");
    let expected = ["+late", "-late shutdown", "+late", "-late shutdown", "refuse later"];
    assert_eq!(lines(&log), expected);
}

/// However children are killed: in the end either all run again, or the supervisor has ended and none runs.
#[test]
fn every_start_has_one_end() {
    let strategies = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
    let mut given_up = 0;
    for seed in 0..60_u64 {
        let log = Log::default();
        let mut net = supervised(strategies[seed as usize % 3], 4, &["a", "b", "c"], &log);
        let mut state = seed;
        for _ in 0..10 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let victim = ["a", "b", "c"][(state >> 33) as usize % 3];
            net.tell("a", victim, node::gen_server::cast_term(Term::atom("boom")));
            // About a third of the kills happen at the same time as the one before.
            if state >> 40 & 3 != 0 {
                net.run_ms(state >> 50 & 1023);
            }
        }
        net.run_ms(10);
        let written = lines(&log);
        let has_ended = written.iter().any(|line| line.starts_with("sup ended"));
        given_up += usize::from(has_ended);
        for name in ["a", "b", "c"] {
            let count = |sign: &str| {
                written
                    .iter()
                    .filter(|line| line.starts_with(&format!("{sign}{name}")))
                    .count()
            };
            assert_eq!(
                count("+"),
                count("-") + usize::from(!has_ended),
                "{name} of seed {seed}: {written:?}"
            );
        }
    }
    assert!((5..55).contains(&given_up), "both results occur: {given_up}");
}

// Dynamic supervisors

fn dynamic(log: &Log, children_max: usize) -> Net {
    let held = log.clone();
    rooted(log, move || {
        let log = held.clone();
        let make = move |args: &Term| {
            let name = ["x", "y", "z"].into_iter().find(|name| args.is_atom(name))?;
            Some(worker(name, &log).restart(Restart::Transient))
        };
        Box::new(DynamicSupervisor::new(intensity(2), children_max, make))
    })
}

#[test]
fn a_dynamic_supervisor_starts_children_up_to_its_limit() {
    let log = Log::default();
    let mut net = dynamic(&log, 2);
    for name in ["x", "y"] {
        assert!(ask(&mut net, "sup", word("start_child", id(name))).starts_with("reply {ok,<"));
    }
    assert_eq!(
        ask(&mut net, "sup", word("start_child", id("z"))),
        "reply {error,max_children}"
    );
    cast(&mut net, "x", "boom");
    assert_eq!(lines(&log), ["+x", "+y", "-x boom", "+x"]);
    cast(&mut net, "x", "normal");
    let counts = ask(&mut net, "sup", id("count_children"));
    assert_eq!(counts, "reply [{specs,1},{active,1},{supervisors,0},{workers,1}]");
    let asker = net.adopt("a");
    let y = net.act("a", &asker, |ctx| ctx.whereis("y").cloned().unwrap());
    assert_eq!(
        ask(&mut net, "sup", word("terminate_child", y.clone().into())),
        "reply ok"
    );
    assert_eq!(
        ask(&mut net, "sup", word("terminate_child", y.into())),
        "reply {error,not_found}"
    );
    assert_eq!(lines(&log), ["-x normal", "-y shutdown"]);
}

#[test]
fn a_dynamic_supervisor_that_gives_up_stops_all_children() {
    let log = Log::default();
    let mut net = dynamic(&log, 9);
    for name in ["x", "y", "z"] {
        ask(&mut net, "sup", word("start_child", id(name)));
    }
    for victim in ["x", "y", "x"] {
        cast(&mut net, victim, "boom");
    }
    let written = lines(&log);
    assert_eq!(
        written[written.len() - 3..],
        ["-y shutdown", "-z shutdown", "sup ended shutdown"]
    );
}

// Servers

/// A server that continues, waits, and records its messages.
struct Probe(Log);

impl Probe {
    fn write(&self, line: impl Into<String>) -> Next {
        self.0.borrow_mut().push(line.into());
        Next::Wait
    }
}

impl GenServer<Word> for Probe {
    fn init(&mut self, ctx: Ctx<'_, '_>) -> Next {
        ctx.trap_exit(true);
        Next::Continue(Term::atom("on"))
    }
    fn handle_continue(&mut self, _: Ctx<'_, '_>, with: Term) -> Next {
        self.write(format!("continue {with}"));
        Next::WaitFor(50_000)
    }
    fn handle_call(&mut self, ctx: Ctx<'_, '_>, request: Term, from: &From) -> Reply {
        if request.is_atom("later") {
            ctx.reply(from, Term::atom("now"));
            return Reply::NoReply(Next::Wait);
        }
        if request.is_atom("bye") {
            return Reply::Reply(Term::atom("bye"), Next::Stop(Term::atom("normal")));
        }
        Reply::Reply(request, Next::WaitFor(50_000))
    }
    fn handle_cast(&mut self, ctx: Ctx<'_, '_>, request: Term) -> Next {
        ctx.exit(request);
        Next::Stop(Term::atom("too_late"))
    }
    fn handle_info(&mut self, _: Ctx<'_, '_>, message: Message<Word>) -> Next {
        self.write(net::line(&message))
    }
    fn terminate(&mut self, _: Ctx<'_, '_>, reason: &Term) {
        self.write(format!("terminate {reason}"));
    }
    fn state(&self) -> Option<Term> {
        Some(Term::Int(7))
    }
}

fn probed(log: &Log) -> Net {
    let held = log.clone();
    rooted(log, move || Server::new(Probe(held.clone())))
}

#[test]
fn a_server_continues_waits_and_answers() {
    let log = Log::default();
    let mut net = probed(&log);
    assert_eq!(lines(&log), ["continue on"]);
    assert_eq!(ask(&mut net, "sup", id("echo")), "reply echo");
    net.run_ms(40);
    assert_eq!(ask(&mut net, "sup", id("echo")), "reply echo");
    net.run_ms(40);
    assert_eq!(lines(&log), [""; 0], "each message starts the wait again");
    net.run_ms(20);
    assert_eq!(lines(&log), ["term timeout"]);
    net.run_ms(500);
    assert_eq!(ask(&mut net, "sup", id("later")), "reply now");
    net.run_ms(500);
    assert_eq!(lines(&log), [""; 0], "a wait without a time has no time-out");
}

#[test]
fn reading_the_state_of_a_server_does_not_end_its_wait() {
    let log = Log::default();
    let mut net = probed(&log);
    assert_eq!(ask(&mut net, "sup", id("echo")), "reply echo");
    lines(&log);
    net.run_ms(40);
    let looker = net.adopt("a");
    net.act("a", &looker, |ctx| {
        system(ctx, Term::atom("get_state"));
        system(ctx, Term::atom("suspend"));
    });
    net.run_ms(40);
    assert_eq!(lines(&log), [""; 0], "the wait starts again");
    net.run_ms(20);
    assert_eq!(lines(&log), ["term timeout"]);
}

/// A server that continues after `init`, and then ends with this reason. It records both calls.
struct Brief(Log, &'static str);

impl GenServer<Word> for Brief {
    fn init(&mut self, ctx: Ctx<'_, '_>) -> Next {
        // `handle_continue` is called before any message is handled.
        let me = Address::Pid(ctx.me().clone());
        ctx.send(&me, Term::atom("early"));
        self.0.borrow_mut().push("init".into());
        Next::Continue(Term::atom("on"))
    }
    fn handle_continue(&mut self, _: Ctx<'_, '_>, _: Term) -> Next {
        self.0.borrow_mut().push("continue".into());
        match self.1 {
            "stay" => Next::Wait,
            reason => Next::Stop(Term::atom(reason)),
        }
    }
    fn handle_call(&mut self, _: Ctx<'_, '_>, request: Term, _: &From) -> Reply {
        Reply::now(request)
    }
    fn handle_info(&mut self, _: Ctx<'_, '_>, message: Message<Word>) -> Next {
        self.0.borrow_mut().push(net::line(&message));
        Next::Wait
    }
    fn terminate(&mut self, _: Ctx<'_, '_>, reason: &Term) {
        self.0.borrow_mut().push(format!("terminate {reason}"));
    }
}

#[test]
fn a_continue_after_init_is_not_part_of_the_start() {
    for reason in ["normal", "boom"] {
        let log = Log::default();
        let held = log.clone();
        let _net = rooted(&log, move || {
            let log = held.clone();
            let brief = Child::server("brief", move || Brief(log.clone(), reason));
            let children = [brief, worker("next", &held)];
            Box::new(Supervisor::new(Strategy::OneForOne, intensity(1), children))
        });
        let terminated = format!("terminate {reason}");
        let expected = [
            "init",
            "+next",
            "continue",
            &terminated,
            // It is permanent, so it is restarted whatever the reason.
            "init",
            "continue",
            &terminated,
            "-next shutdown",
            "sup ended shutdown",
        ];
        assert_eq!(lines(&log), expected);
    }
    let log = Log::default();
    let held = log.clone();
    let mut net = rooted(&log, move || Server::new(Brief(held.clone(), "stay")));
    assert_eq!(lines(&log), ["init", "continue", "term early"]);
    assert_eq!(ask(&mut net, "sup", id("echo")), "reply echo");
}

#[test]
fn a_server_continues_after_init_even_if_the_node_is_flooded() {
    let (log, held) = (Log::default(), Log::default());
    let mut narrow = config("a", &[]);
    narrow.limits.queue_max = 1;
    let mut net = Net::new();
    net.start(narrow, 1, vec![("other", stubborn(&log))]);
    net.run_ms(1);
    let starter = net.adopt("a");
    let started = net.act("a", &starter, |ctx| {
        ctx.send(&at("a", "other"), Term::atom("flood"));
        ctx.start_server(None, Brief(held.clone(), "stay"))
    });
    assert!(started.is_ok());
    assert_eq!(
        lines(&held),
        ["init", "continue"],
        "the early message is lost, but the continue is not"
    );
}

/// A way to end a server: its description, how to do it, and the reason that `terminate` gets.
type Way = (&'static str, &'static dyn Fn(&mut Net), &'static str);

#[test]
fn terminate_is_called_once_however_a_server_ends() {
    let ways: [Way; 5] = [
        (
            "a stop with a reply",
            &|net| assert_eq!(ask(net, "sup", id("bye")), "reply bye"),
            "normal",
        ),
        (
            "an exit, though a stop follows",
            &|net| cast(net, "sup", "first"),
            "first",
        ),
        (
            "the parent's signal",
            &|net| net.tell("a", "root", Term::atom("shutdown")),
            "shutdown",
        ),
        ("the parent's end", &|net| kill(net, "root"), "killed"),
        (
            "stop/3",
            &|net| assert_eq!(stop(net), ["term ok", "down sup@a@net done"]),
            "done",
        ),
    ];
    for (way, go, reason) in ways {
        let log = Log::default();
        let mut net = probed(&log);
        go(&mut net);
        net.run_ms(200);
        let terminated: Vec<String> = lines(&log)
            .into_iter()
            .filter(|line| line.starts_with("term"))
            .collect();
        assert_eq!(terminated, [format!("terminate {reason}")], "{way}");
    }
}

/// Stops a server like `proc_lib:stop/3`.
fn stop(net: &mut Net) -> Vec<String> {
    let stopper = net.adopt("a");
    net.act("a", &stopper, |ctx| {
        ctx.monitor(&at("a", "sup"));
        let request = word("terminate", Term::atom("done"));
        system(ctx, request);
    });
    let mut heard = net.delivered("a");
    for line in &mut heard {
        if line.starts_with("term {") {
            *line = "term ok".into();
        }
    }
    heard
}

fn system(ctx: &mut Context<'_, Word>, request: Term) {
    let from = Term::from((ctx.me().clone(), Term::Int(1)));
    let message = Term::from((Term::atom("system"), from, request));
    ctx.send(&at("a", "sup"), message);
}

#[test]
fn unknown_system_messages_are_answered_too() {
    let log = Log::default();
    let mut net = probed(&log);
    let asker = net.adopt("a");
    net.act("a", &asker, |ctx| {
        system(ctx, Term::atom("get_state"));
        system(ctx, Term::atom("suspend"));
    });
    assert_eq!(
        net.delivered("a"),
        ["term {1,{ok,7}}", "term {1,{error,{unknown_system_msg,suspend}}}"]
    );
}

#[test]
fn an_exit_signal_from_another_process_than_the_parent_is_a_message() {
    let log = Log::default();
    let mut net = probed(&log);
    lines(&log);
    let stranger = net.adopt("a");
    net.act("a", &stranger, |ctx| {
        let server = ctx.whereis("sup").cloned().unwrap();
        ctx.exit_other(&server, Term::atom("shutdown"));
    });
    net.run_ms(1);
    assert_eq!(lines(&log), ["exit a@net shutdown"]);
}

#[test]
fn a_taken_name_refuses_a_start() {
    let log = Log::default();
    let mut net = supervised(Strategy::OneForOne, 1, &["a"], &log);
    let starter = net.adopt("a");
    let (taken, refused) = net.act("a", &starter, |ctx| {
        let taken = ctx.start_link(Some("a"), scripted(|_, _| {}));
        let holder = ctx.whereis("a").cloned().unwrap();
        (taken, word("already_started", holder.into()))
    });
    assert_eq!(taken, Err(refused));
    assert_eq!(Address::Name(Atom::new("a@net")), Address::Name(name("a")));
}
