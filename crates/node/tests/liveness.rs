//! A process that stands still is lost, a silent one is not, and a peer that does not read delays no other. Tested with
//! a real `erl` that the system stops. The tests are skipped if there is no `erl` on the path.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shell;

use node::{
    Address, Atom, Context, Event, Message, Node, Process, Term,
    gen_server::{self, Request},
};
use shell::{Nothing, Shell};
use std::{
    cell::Cell,
    process::{Child, Command},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

const OURS: &str = "salp@127.0.7.3";
const THEIRS: &str = "beam@127.0.7.2";
/// Options that make an `erl` tick each second, and drop a peer that was silent for 3 to 5 s.
const QUICK: &[&str] = &["-kernel", "net_ticktime", "4"];

/// Echoes calls. On the cast `now` it sets a flag. On `{flood, Node}` it starts to send 40 MB a second to `sink` there.
struct Server {
    now: Rc<Cell<bool>>,
    flooded: Option<Address>,
}

impl Process<Nothing> for Server {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        match message {
            Message::Term { term, .. } => match gen_server::parse(term) {
                Request::Call { from, request } => ctx.reply(&from, request),
                Request::Cast(cast) => {
                    if let Some([_, Term::Atom(node)]) = cast.as_tuple() {
                        let (node, name) = (node.clone(), Atom::new("sink"));
                        self.flooded = Some(Address::Remote { node, name });
                        ctx.timer(1000, 0);
                    } else {
                        self.now.set(true);
                    }
                }
                Request::Info(_) => {}
            },
            Message::Timer { .. } => {
                if let Some(to) = &self.flooded {
                    (0..4).for_each(|_| ctx.send(to, Term::binary([7; 100_000])));
                    ctx.timer(10_000, 0);
                }
            }
            _ => {}
        }
    }
}

fn shell(tick_ms: u64) -> (Shell, Rc<Cell<bool>>) {
    let now: Rc<Cell<bool>> = Rc::default();
    let (told, flooded) = (now.clone(), None);
    let prepare = |node: &mut Node<Nothing>| {
        node.spawn(Some("srv"), Box::new(Server { now: told, flooded }));
    };
    (Shell::ticking(OURS, 0, false, tick_ms, prepare), now)
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(done.unwrap().success());
}

/// Waits for the end of an `erl`, while the node does nothing.
fn end_of(mut erl: Child) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    while erl.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            erl.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
    shell::printed(erl)
}

fn downs(shell: &Shell) -> Vec<String> {
    let reason = |event: &Event| match event {
        Event::NodeDown { reason, .. } => Some(reason.to_string()),
        _ => None,
    };
    shell.events.iter().filter_map(reason).collect()
}

#[test]
fn a_beam_loses_a_node_that_is_stopped() {
    let (mut shell, now) = shell(4000);
    let program = format!(
        "N = '{OURS}', process_flag(trap_exit, true), pong = net_adm:ping(N), ok = net_kernel:monitor_nodes(true), \
         P = rpc:call(N, erlang, whereis, [srv]), link(P), M = monitor(process, P), L = monitor(process, {{srv, N}}), \
         T = erlang:monotonic_time(millisecond), gen_server:cast(P, now), \
         receive {{nodedown, N}} -> ok end, W = erlang:monotonic_time(millisecond) - T, \
         receive {{'EXIT', P, noconnection}} -> ok end, receive {{'DOWN', M, process, P, noconnection}} -> ok end, \
         receive {{'DOWN', L, process, {{srv, N}}, noconnection}} -> ok end, \
         receive X -> io:format(\"surplus ~p~n\", [X]) after 300 -> io:format(\"~w\", [W > 2500 andalso W < 6500]) end, halt()."
    );
    let Some(erl) = shell.erl_with(QUICK, "-name", THEIRS, &program) else {
        return;
    };
    shell.wait("it asks for it", |_| now.get());
    let printed = end_of(erl);
    assert!(printed.ends_with("true"), "{printed}");
    // When it goes on, it notices by itself that it was away too long.
    shell.wait("it wakes", |shell| !downs(shell).is_empty());
    assert_eq!(downs(&shell), ["paused"]);
}

#[test]
fn a_node_loses_a_beam_that_is_stopped() {
    let (mut shell, now) = shell(4000);
    let program =
        format!("pong = net_adm:ping('{OURS}'), gen_server:cast({{srv, '{OURS}'}}, now), timer:sleep(60000).");
    let Some(mut erl) = shell.erl_with(QUICK, "-name", THEIRS, &program) else {
        return;
    };
    shell.wait("it is there", |_| now.get());
    signal(&erl, "-STOP");
    let stopped = Instant::now();
    shell.wait("it is lost", |shell| !downs(shell).is_empty());
    let waited = stopped.elapsed().as_millis();
    assert_eq!(downs(&shell), ["net_tick_timeout"]);
    assert!((2500..6500).contains(&waited), "{waited} ms");
    signal(&erl, "-CONT");
    erl.kill().unwrap();
    erl.wait().unwrap();
}

/// A tick is answered, so that two nodes with different tick times keep each other. By itself, this node would send a
/// tick every 20 s.
#[test]
fn a_beam_that_ticks_faster_keeps_a_silent_node() {
    let (mut shell, _) = shell(80_000);
    let program = format!(
        "pong = net_adm:ping('{OURS}'), ok = net_kernel:monitor_nodes(true, [{{node_type, all}}]), \
         receive X -> io:format(\"~p\", [X]) after 16000 -> io:format(\"kept\") end, halt()."
    );
    let Some(erl) = shell.erl_with(QUICK, "-name", THEIRS, &program) else {
        return;
    };
    assert_eq!(shell.run(erl), "kept");
    assert_eq!(downs(&shell), ["connection_closed"]);
}

/// The node expects ticks more often than a BEAM with default settings sends them, which is every 15 s.
#[test]
fn a_node_keeps_a_silent_beam_that_ticks_slower() {
    for hidden in [false, true] {
        let (mut shell, _) = shell(2000);
        let program = format!(
            "pong = net_adm:ping('{OURS}'), ok = net_kernel:monitor_nodes(true, [{{node_type, all}}]), \
             receive X -> io:format(\"~p\", [X]) after 7000 -> io:format(\"kept\") end, halt()."
        );
        let flags: &[&str] = if hidden { &["-hidden"] } else { &[] };
        let Some(erl) = shell.erl_with(flags, "-name", THEIRS, &program) else {
            return;
        };
        assert_eq!(shell.run(erl), "kept");
        assert_eq!(downs(&shell), ["connection_closed"]);
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_peer_that_does_not_read_delays_no_other() {
    let (mut shell, now) = shell(20_000);
    let sink = format!("pong = net_adm:ping('{OURS}'), gen_server:cast({{srv, '{OURS}'}}, now), timer:sleep(60000).");
    let Some(mut slow) = shell.erl_with(&[], "-name", "sink@127.0.7.4", &sink) else {
        return;
    };
    shell.wait("it is there", |_| now.get());
    signal(&slow, "-STOP");
    let before = resident();
    // Meanwhile another BEAM makes calls. The stopped one is disconnected because of the bytes that wait for it, long
    // before its silence would be noticed.
    let program = format!(
        "N = '{OURS}', pong = net_adm:ping(N), gen_server:cast({{srv, N}}, {{flood, 'sink@127.0.7.4'}}), \
         Call = fun(I) -> {{T, I}} = timer:tc(fun() -> gen_server:call({{srv, N}}, I, 20000) end), timer:sleep(10), T end, \
         Ts = [Call(I) || I <- lists:seq(1, 600)], io:format(\"~w\", [length([T || T <- Ts, T > 50000])]), halt()."
    );
    let erl = shell.erl("-name", THEIRS, &program).unwrap();
    let late: usize = shell.run(erl).parse().unwrap();
    assert!(late <= 30, "{late} of 600 calls took longer than 50 ms");
    let cut = |event: &Event| {
        matches!(event, Event::NodeDown { node, reason, .. }
        if node.as_str() == "sink@127.0.7.4" && reason.is_atom("overflow"))
    };
    assert!(shell.events.iter().any(cut), "{:?}", shell.events);
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes more than before");
    signal(&slow, "-CONT");
    slow.kill().unwrap();
    slow.wait().unwrap();
}
