//! Remote calls with a real `erl`: rpc, erpc and spawn of exported functions, the server `rex`, and calls to the BEAM.
//! Where possible, a line makes the same call at the BEAM itself and compares the answers. The tests are skipped if
//! there is no `erl` on the path.
#![allow(clippy::unwrap_used, reason = "tests")]

mod erl;

use erl::{Nothing, OURS, Shell, THEIRS, beam};
use node::{
    Address, Atom, Context, Event, Message, Node, Outcome, Permission, Process, SpawnOptions, Term, gen_server,
};
use std::rc::Rc;

type Ctx<'a, 'b> = &'a mut Context<'b, Nothing>;

/// Returns its value after some time.
struct Slow {
    ms: u64,
    value: Term,
}

impl Process<Nothing> for Slow {
    fn start(&mut self, ctx: &mut Context<'_, Nothing>) {
        ctx.timer(self.ms * 1000, 0);
    }

    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Timer { .. } = message {
            ctx.finish(Outcome::Return(self.value.clone()));
        }
    }
}

/// Receives one message and ends with it as the reason.
struct Receive;

impl Process<Nothing> for Receive {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Term { term, .. } = message {
            ctx.finish(Outcome::Exit(term));
        }
    }
}

fn export(node: &mut Node<Nothing>) {
    let mut add = |name, arity, permission, function: fn(Ctx<'_, '_>, Vec<Term>) -> Outcome<Nothing>| {
        node.export("rs", name, arity, permission, Rc::new(function));
    };
    let everybody = Permission::Anyone;
    add("echo", 1, everybody, |_, mut args| Outcome::Return(args.remove(0)));
    add("throw", 1, everybody, |_, mut args| Outcome::Throw(args.remove(0)));
    add("exit", 1, everybody, |_, mut args| Outcome::Exit(args.remove(0)));
    add("error", 1, everybody, |_, mut args| Outcome::Error(args.remove(0)));
    add("me", 0, everybody, |ctx, _| {
        Outcome::Return(Term::Pid(ctx.me().clone()))
    });
    add("slow", 2, everybody, |_, mut args| {
        let value = args.remove(1);
        let ms = args[0].as_u64().unwrap();
        Outcome::Later(Box::new(Slow { ms, value }))
    });
    add("wait", 0, everybody, |_, _| Outcome::Later(Box::new(Receive)));
    add("tell", 2, everybody, |ctx, mut args| {
        let message = args.remove(1);
        ctx.send(&Address::Pid(args[0].as_pid().unwrap().clone()), message);
        Outcome::Return(Term::atom("ok"))
    });
    add("secret", 0, Permission::Nobody, |_, _| {
        Outcome::Return(Term::atom("told"))
    });
    add("members_only", 0, Permission::Member, |_, _| {
        Outcome::Return(Term::atom("told"))
    });
}

fn check(hidden: bool, lines: &[&str]) -> Shell {
    let mut shell = erl::ours(hidden, export);
    erl::check(&mut shell, lines, "connection_closed");
    shell
}

/// A false line is detected at every position.
#[test]
fn a_false_line_is_detected() {
    for at in [0, 1, 11] {
        let mut lines = ["ok"; 12];
        lines[at] = "wrong";
        let caught = std::panic::catch_unwind(|| check(true, &lines));
        let Err(panic) = caught else {
            assert!(!erl::is_there());
            return;
        };
        assert!(panic.downcast::<String>().unwrap().starts_with("wrong\n"));
    }
}

#[test]
fn a_beam_calls_functions() {
    check(
        true,
        &[
            "N = rpc:call(N, erlang, node, []), ok",
            "N = erpc:call(N, erlang, node, []), N = erpc:call(N, 'Elixir.Node', self, []), ok",
            "[1,2,3] = rpc:call(N, rs, echo, [[1,2,3]]), [-1,300] = rpc:call(N, rs, echo, [[-1,300]]), ok",
            "B = binary:copy(<<7>>, 3000000), B = rpc:call(N, rs, echo, [B]), ok",
            // Outcomes, in the form of the BEAM itself.
            "x = rpc:call(N, rs, throw, [x]), x = (catch erpc:call(N, rs, throw, [x])), ok",
            "{badrpc, {'EXIT', x}} = rpc:call(N, rs, exit, [x]), ok",
            "{badrpc, {'EXIT', {x, [{rs, error, 1, []}]}}} = rpc:call(N, rs, error, [x]), ok",
            "try erpc:call(N, rs, exit, [x]) catch exit:{exception, x} -> ok end",
            "try erpc:call(N, rs, error, [x]) catch error:{exception, x, [{rs, error, 1, []}]} -> ok end",
            "X = rpc:call(node(), os, nofun, [\"id\"]), X = rpc:call(N, os, nofun, [\"id\"]), ok",
            "X = (catch erpc:call(node(), no, nofun, [1])), {'EXIT', {{exception, undef, S}, _}} = X, \
               {'EXIT', {{exception, undef, S}, _}} = (catch erpc:call(N, no, nofun, [1])), ok",
            "{badrpc, {'EXIT', {undef, [{os, cmd, [\"id\"], []}]}}} = rpc:call(N, os, cmd, [\"id\"]), ok",
            "{badrpc, {'EXIT', {undef, _}}} = rpc:call(N, rs, echo, [1, 2]), ok",
            "{badrpc, {'EXIT', {undef, _}}} = (catch rpc:call(N, erlang, apply, [fun() -> 1 end, []])), ok",
            "{'EXIT', {{exception, undef, _}, _}} = (catch erpc:call(N, fun() -> 1 end)), ok",
            "{badrpc, notsup} = rpc:call(N, rs, secret, []), {badrpc, notsup} = rpc:call(N, rs, members_only, []), ok",
            "{'EXIT', {{erpc, notsup}, _}} = (catch erpc:call(N, rs, secret, [])), ok",
            // Time-outs.
            "late = rpc:call(N, rs, slow, [50, late]), late = erpc:call(N, rs, slow, [50, late], 5000), ok",
            "{badrpc, timeout} = rpc:call(N, rs, slow, [5000, late], 100), ok",
            "{'EXIT', {{erpc, timeout}, _}} = (catch erpc:call(N, rs, slow, [5000, late], 100)), ok",
            "R = erpc:send_request(N, rs, slow, [50, late]), no_response = erpc:wait_response(R, 0), \
               late = erpc:receive_response(R), ok",
            // Several nodes, and asynchronous calls.
            "[{ok, N}, {ok, M}] = erpc:multicall([N, node()], erlang, node, []), M = node(), ok",
            "{[N, M], []} = rpc:multicall([N, node()], erlang, node, []), M = node(), ok",
            "ok = erpc:cast(N, rs, tell, [self(), hi]), receive hi -> ok after 2000 -> timeout end",
            "true = rpc:cast(N, rs, tell, [self(), ho]), receive ho -> ok after 2000 -> timeout end",
            "ok = erpc:multicast([N], rs, tell, [self(), ha]), receive ha -> ok after 2000 -> timeout end",
            "K = rpc:async_call(N, rs, slow, [20, kept]), kept = rpc:yield(K), ok",
        ],
    );
}

#[test]
fn a_beam_spawns_functions() {
    check(
        true,
        &[
            "{P, M} = spawn_monitor(N, rs, wait, []), N = node(P), P ! {bye, 1}, \
               receive {'DOWN', M, process, P, {bye, 1}} -> ok after 2000 -> timeout end",
            "{P, M} = spawn_monitor(N, rs, echo, [[1,2,3]]), \
               receive {'DOWN', M, process, P, normal} -> ok after 2000 -> timeout end",
            "{P, M} = spawn_monitor(N, rs, throw, [x]), \
               receive {'DOWN', M, process, P, {{nocatch, x}, [_|_]}} -> ok after 2000 -> timeout end",
            "{P, M} = spawn_monitor(N, no, nofun, [1]), {Q, L} = spawn_monitor(node(), no, nofun, [1]), \
               receive {'DOWN', L, process, Q, W} -> receive {'DOWN', M, process, P, W} -> ok end end",
            "{P, M} = spawn_monitor(N, no, f, [1,2,3]), \
               receive {'DOWN', M, process, P, {undef, [{no, f, [1,2,3], []}]}} -> ok after 2000 -> timeout end",
            "{P, M} = spawn_monitor(N, fun() -> ok end), \
               receive {'DOWN', M, process, P, {undef, [{erlang, apply, [_, []], []}]}} -> ok after 2000 -> timeout end",
            "P = spawn(N, rs, wait, []), true = rpc:call(N, erlang, is_process_alive, [P]), exit(P, kill), \
               false = rpc:call(N, erlang, is_process_alive, [P]), ok",
            "P = spawn(N, rs, wait, []), M = monitor(process, P), exit(P, off), \
               receive {'DOWN', M, process, P, off} -> ok after 2000 -> timeout end",
            // A link, with an exit from each end.
            "process_flag(trap_exit, true), P = spawn_link(N, rs, wait, []), P ! done, \
               receive {'EXIT', P, done} -> ok after 2000 -> timeout end",
            "S = self(), Q = spawn(fun() -> S ! spawn_link(N, rs, wait, []), receive go -> exit(out) end end), \
               receive P -> true end, M = monitor(process, P), Q ! go, \
               receive {'DOWN', M, process, P, out} -> ok after 2000 -> timeout end",
            "P = spawn_opt(N, rs, exit, [x], [link, {priority, high}, {min_heap_size, 500}, {fullsweep_after, 1}]), \
               receive {'EXIT', P, x} -> ok after 2000 -> timeout end",
            "{P, M} = spawn_opt(N, rs, exit, [x], [link, monitor]), receive {'EXIT', P, x} -> \
               receive {'DOWN', M, process, P, x} -> ok after 2000 -> timeout end after 2000 -> timeout end",
            "P = spawn_link(N, rs, secret, []), receive {'EXIT', P, notsup} -> ok after 2000 -> timeout end",
            "R = spawn_request(N, rs, wait, [], [monitor]), receive {spawn_reply, R, ok, P} -> P ! x end, \
               receive {'DOWN', R, process, P, x} -> ok after 2000 -> timeout end",
            "R = spawn_request(N, rs, secret, [], []), receive {spawn_reply, R, error, notsup} -> ok end",
            "process_flag(trap_exit, false), ok",
            // A process is freed when its caller does not wait any more.
            "S = self(), spawn(fun() -> erpc:send_request(N, rs, slow, [60000, S]), S ! sent end), \
               receive sent -> ok end, timer:sleep(50), \
               F = fun F(0) -> still; F(K) -> case rpc:call(N, erlang, system_info, [process_count]) of \
                 C when C =< 7 -> ok; _ -> timer:sleep(20), F(K - 1) end end, F(100)",
        ],
    );
}

#[test]
fn a_beam_asks_rex() {
    check(
        true,
        &[
            "a = rpc:block_call(N, rs, echo, [a]), late = rpc:block_call(N, rs, slow, [20, late]), ok",
            "x = rpc:block_call(N, rs, throw, [x]), {badrpc, {'EXIT', x}} = rpc:block_call(N, rs, exit, [x]), ok",
            "{badrpc, {'EXIT', {undef, [{no, nofun, [1], []}|_]}}} = rpc:block_call(N, no, nofun, [1]), ok",
            "{badrpc, notsup} = rpc:block_call(N, rs, secret, []), ok",
            "{badrpc, {'EXIT', killed}} = gen_server:call({rex, N}, {call, rs, exit, [killed], self()}), ok",
            "gen_server:cast({rex, N}, {cast, rs, tell, [self(), hi], self()}), \
               receive hi -> ok after 2000 -> timeout end",
            "{rex, N} ! {self(), {call, rs, slow, [20, late], self()}}, receive {rex, late} -> ok after 2000 -> timeout end",
            "{rex, N} ! {self(), features_request}, receive {features_reply, N, [erpc]} -> ok after 2000 -> timeout end",
            "{rex, N} ! {self(), {sbcast, nope, hi}}, \
               receive {rex, N, {nonexisting_name, nope}} -> ok after 2000 -> timeout end",
            "{[N], []} = rpc:sbcast([N], net_kernel, hi), {[], [N]} = rpc:sbcast([N], nope, hi), ok",
            "{rex, N} ! {self(), {sbcast, net_kernel, hi}}, receive {rex, N, N} -> ok after 2000 -> timeout end",
            // A message through rex keeps its sender. Otherwise this one would make the node leave.
            "{rex, N} ! {self(), {sbcast, salp_members, leave}}, receive {rex, N, N} -> ok after 2000 -> timeout end",
            "{rex, N} ! nonsense, {rex, N} ! {self(), nonsense}, {rex, N} ! {self(), {call, 1, 2, 3, 4}}, \
               {badrpc, badarg} = gen_server:call({rex, N}, {call, 1, 2, 3, 4}), ok",
            "exit(rpc:call(N, erlang, whereis, [rex]), kill), N = rpc:block_call(N, erlang, node, []), ok",
        ],
    );
}

#[test]
fn a_beam_reads_names_nodes_and_processes_of_a_node() {
    check(
        false,
        &[
            "pong = net_adm:ping(N), [N] = nodes(), ok",
            "true = rpc:call(N, erlang, is_alive, []), [N] = rpc:call(N, erlang, nodes, [this]), ok",
            "M = node(), [M] = rpc:call(N, erlang, nodes, []), [M] = rpc:call(N, 'Elixir.Node', list, []), ok",
            "[] = rpc:call(N, erlang, nodes, [hidden]), M = node(), [M] = rpc:call(N, erlang, nodes, [connected]), ok",
            "[N] = rpc:call(N, erlang, nodes, [known]) -- [node()], M = node(), \
               true = lists:sort([M, N]) =:= rpc:call(N, erlang, nodes, [[this, visible]]), ok",
            "{badrpc, {'EXIT', {badarg, _}}} = rpc:call(N, erlang, nodes, [nope]), ok",
            "P = rpc:call(N, erlang, whereis, [rex]), true = is_pid(P), N = node(P), ok",
            "undefined = rpc:call(N, erlang, whereis, [nope]), ok",
            "{badrpc, {'EXIT', {badarg, _}}} = rpc:call(N, erlang, whereis, [\"x\"]), ok",
            "L = rpc:call(N, erlang, registered, []), [] = [auth, logger_proxy, net_kernel, rex, user] -- L, ok",
            "false = rpc:call(N, erlang, is_process_alive, [rpc:call(N, rs, me, [])]), ok",
            "{badrpc, {'EXIT', {badarg, _}}} = rpc:call(N, erlang, is_process_alive, [self()]), ok",
            "\"25\" = rpc:call(N, erlang, system_info, [otp_release]), ok",
            "{badrpc, {'EXIT', {badarg, _}}} = rpc:call(N, erlang, system_info, [nope]), ok",
        ],
    );
}

#[test]
fn output_and_logs_of_a_beam_become_events() {
    let shell = check(
        true,
        &[
            "U = rpc:call(N, erlang, whereis, [user]), ok = io:format(U, \"~s ~p~n\", [\"printed\", {a, 1}]), ok",
            "U = rpc:call(N, erlang, whereis, [user]), ok = io:put_chars(U, \"plain\\n\"), ok",
            "U = rpc:call(N, erlang, whereis, [user]), eof = io:get_line(U, \"? \"), eof = io:get_chars(U, \"\", 3), ok",
            "U = rpc:call(N, erlang, whereis, [user]), [{encoding, unicode}] = io:getopts(U), \
               {error, enotsup} = io:columns(U), ok",
            "{logger_proxy, N} ! {log, error, \"~p failed\", [it], #{}}, ok",
            "gen_server:cast({auth, N}, {print, \"~w~n\", [cookies]}), N = rpc:call(N, erlang, node, []), ok",
        ],
    );
    let note = |wanted_kind: &str, wanted: &str| {
        let has = |event: &Event| matches!(event, Event::Note { kind, text } if *kind == wanted_kind && text == wanted);
        assert!(shell.events.iter().any(has), "{wanted}: {:?}", shell.events);
    };
    if shell.events.is_empty() {
        return; // no `erl`
    }
    note("io", &format!("{THEIRS}: printed {{a,1}}"));
    note("io", &format!("{THEIRS}: plain"));
    note("log", &format!("{THEIRS}: error: it failed"));
    note("log", &format!("{THEIRS}: cookies"));
}

/// On the cast `{go, Steps}`, makes many kinds of requests to the BEAM, and sends the results to `collector` there.
struct Asker;

impl Process<Nothing> for Asker {
    fn start(&mut self, ctx: &mut Context<'_, Nothing>) {
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        let told = match message {
            Message::Term { term, .. } => {
                if let gen_server::Request::Cast(verb) = gen_server::parse(term) {
                    ask(ctx, verb.as_atom().unwrap().as_str());
                }
                return;
            }
            Message::Reply { result: Ok(value), .. } => Term::from((Term::atom("ok"), value)),
            Message::Reply {
                result: Err(reason), ..
            } => Term::from((Term::atom("error"), reason)),
            Message::Down { reason, .. } => Term::from((Term::atom("down"), reason)),
            Message::Exit { reason, .. } => Term::from((Term::atom("exit"), reason)),
            _ => return,
        };
        ctx.send(&beam("collector"), told);
    }
}

fn ask(ctx: Ctx<'_, '_>, verb: &str) {
    let node = Atom::new(THEIRS);
    let ours = ctx.node().clone();
    let soon = 300_000;
    let spawn = |ctx: Ctx<'_, '_>, module, function, args, link, monitor| {
        ctx.spawn_at(&node, module, function, args, SpawnOptions { link, monitor });
    };
    match verb {
        "return" => drop(ctx.erpc(&node, "erlang", "length", vec![Term::list([1_u8, 2])], soon)),
        "throw" => drop(ctx.erpc(&node, "erlang", "throw", vec![Term::atom("x")], soon)),
        "exit" => drop(ctx.erpc(&node, "erlang", "exit", vec![Term::atom("x")], soon)),
        "error" => drop(ctx.erpc(&node, "erlang", "error", vec![Term::atom("x")], soon)),
        "timeout" => drop(ctx.erpc(&node, "timer", "sleep", vec![Term::from(5000)], soon)),
        "own" => drop(ctx.erpc(&ours, "rs", "secret", vec![], soon)),
        "own_later" => drop(ctx.erpc(&ours, "rs", "slow", vec![Term::from(10), Term::atom("x")], soon)),
        "own_undef" => drop(ctx.erpc(&ours, "no", "fun", vec![], soon)),
        "nobody" => drop(ctx.erpc(&Atom::new("nobody@127.0.0.9"), "erlang", "node", vec![], soon)),
        "multicall" => drop(ctx.multicall(&[node, ours], "erlang", "is_alive", &[], soon)),
        "spawn" => spawn(ctx, "erlang", "exit", vec![Term::atom("bye")], false, true),
        "spawn_link" => spawn(ctx, "erlang", "exit", vec![Term::atom("bye")], true, false),
        "spawn_own" => {
            let options = SpawnOptions {
                link: true,
                monitor: true,
            };
            ctx.spawn_at(&ours, "rs", "exit", vec![Term::atom("bye")], options);
        }
        "print" => {
            let args = vec![Term::chars("~s ~p~n"), Term::list([Term::chars("hi"), Term::atom("x")])];
            spawn(ctx, "io", "format", args, false, true);
        }
        "abcast" => ctx.abcast(&[node], &Atom::new("collector"), &Term::atom("hi")),
        "multi_call" => drop(ctx.multi_call(&[node, ours], &Atom::new("nope"), &Term::atom("hi"), soon)),
        verb => panic!("{verb}?"),
    }
}

#[test]
fn a_node_calls_a_beam() {
    let mut shell = erl::ours(true, |node| {
        export(node);
        node.spawn(Some("srv"), Box::new(Asker));
    });
    let ask = |verb: &str, answer: &str| {
        format!(
            "gen_server:cast({{srv, N}}, {verb}), receive {answer} -> ok after 3000 -> \
               {{got, process_info(self(), messages)}} end"
        )
    };
    let mut lines = vec!["register(collector, self()), ok".to_owned()];
    for (verb, answer) in [
        ("return", "{ok, 2}"),
        ("throw", "{error, {throw, x}}"),
        ("exit", "{error, {'EXIT', x}}"),
        ("error", "{error, {'EXIT', {x, [_|_]}}}"),
        ("timeout", "{error, timeout}"),
        ("own", "{ok, told}"),
        ("own_later", "{ok, x}"),
        ("own_undef", "{error, {'EXIT', {undef, [{no, 'fun', [], []}]}}}"),
        ("nobody", "{error, noconnection}"),
        ("multicall", "{ok, true} -> receive {ok, true} -> ok end"),
        ("spawn", "{ok, P} when is_pid(P) -> receive {down, bye} -> ok end"),
        ("spawn_link", "{ok, P} when is_pid(P) -> receive {exit, bye} -> ok end"),
        (
            "spawn_own",
            "{ok, P} when is_pid(P) -> receive {exit, bye} -> receive {down, bye} -> ok end end",
        ),
        ("print", "{ok, P} when is_pid(P) -> receive {down, normal} -> ok end"),
        ("abcast", "{'$gen_cast', hi}"),
        ("multi_call", "{error, noproc} -> receive {error, noproc} -> ok end"),
    ] {
        let line = ask(verb, answer);
        lines.push(if answer.contains("->") {
            line.replacen(" -> ok after", " after", 1)
        } else {
            line
        });
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    erl::check(&mut shell, &lines, "connection_closed");
    let printed = format!("{OURS}: ");
    let is_print = |event: &Event| matches!(event, Event::Note { kind: "io", text } if text.contains("hi x"));
    assert!(
        shell.events.is_empty() || shell.events.iter().any(is_print),
        "{printed} {:?}",
        shell.events
    );
}

/// Many spawns of functions that do not exist. And more processes that never end than one peer may have.
#[test]
fn a_flood_of_spawns_is_refused_in_time() {
    check(
        true,
        &[
            "[spawn_request(N, m, f, [], [{reply, no}]) || _ <- lists:seq(1, 100000)], \
               N = rpc:call(N, erlang, node, []), ok",
            "R = [spawn_request(N, rs, wait, [], []) || _ <- lists:seq(1, 12000)], \
               T = [receive {spawn_reply, I, W, _} -> W end || I <- R], \
               true = length([error || error <- T]) =:= 2000, ok",
            "{'EXIT', {{erpc, system_limit}, _}} = (catch erpc:call(N, erlang, node, [])), ok",
        ],
    );
}
