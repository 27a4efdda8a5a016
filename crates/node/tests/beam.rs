//! Tests with a real `erl`, in both directions: ping, call, monitor, link, exit, cast, every kind of term, large
//! messages. They are skipped if there is no `erl` on the path.
#![allow(clippy::unwrap_used, reason = "tests")]

mod erl;

use erl::{Nothing, OURS, Shell, THEIRS, beam};
use node::{Address, Atom, Context, Event, Input, Message, Process, Term, gen_server};
use std::time::{Duration, Instant};

/// Size of a message that is larger than any buffer on its way.
const BIG_BYTES: usize = 20_000_000;

/// Echoes calls. The cast `stop` ends it. On the cast `{call, Name}` it calls that name at the BEAM; on `{call_big,
/// Name}` it does so with a large binary. It sends the results to `collector` there.
struct Server {
    answers: Vec<Term>,
}

impl Process<Nothing> for Server {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        let collector = beam("collector");
        match message {
            Message::Term { term, .. } => match gen_server::parse(term) {
                gen_server::Request::Call { from, request } => {
                    ctx.reply(&from, Term::from((Term::atom("echo"), request)));
                }
                gen_server::Request::Cast(cast) if cast.is_atom("stop") => {
                    ctx.exit(Term::atom("stopped"));
                }
                gen_server::Request::Cast(cast) => {
                    let Some([verb, Term::Atom(name)]) = cast.as_tuple() else {
                        return;
                    };
                    let target = beam(name.as_str());
                    if verb.is_atom("call_big") {
                        ctx.call(&target, Term::binary(big()), 20_000_000);
                        return;
                    }
                    ctx.call(&target, Term::list([1_u8, 2, 3]), 2_000_000);
                    ctx.monitor(&target);
                }
                gen_server::Request::Info(_) => {}
            },
            Message::Reply { result, .. } => {
                let answer = match result {
                    Ok(answer) if answer.as_binary().is_some_and(|answer| answer[..] == big()) => {
                        Term::atom("the_same")
                    }
                    Ok(answer) => Term::from((Term::atom("answer"), answer)),
                    Err(reason) => Term::from((Term::atom("failed"), reason)),
                };
                self.answers.push(answer.clone());
                ctx.send(&collector, answer);
            }
            Message::Down { reason, .. } => {
                ctx.send(&collector, Term::from((Term::atom("down"), reason)));
            }
            _ => {}
        }
    }
}

/// Bytes that differ between any two fragments that could be mixed up.
fn big() -> Vec<u8> {
    (0..BIG_BYTES).map(|at| (at / 1000 % 251) as u8).collect()
}

fn shell() -> Shell {
    erl::ours(true, |node| {
        node.spawn(Some("srv"), Box::new(Server { answers: vec![] }));
    })
}

#[test]
fn a_beam_finds_a_node() {
    erl::check(
        &mut shell(),
        &[
            "pong = net_adm:ping(N), ok",
            "[N] = nodes(hidden), [] = nodes(), ok",
            "{echo, hi} = gen_server:call({srv, N}, hi), ok",
            "{echo, [1,2,3]} = gen_server:call({srv, N}, [1,2,3]), ok",
            "B = binary:copy(<<5>>, 5000000), {echo, B} = gen_server:call({srv, N}, B, 20000), ok",
            "{'EXIT', {noproc, _}} = (catch gen_server:call({nope, N}, hi)), ok",
            "{[{N, {echo, m}}], []} = gen_server:multi_call([N], srv, m), ok",
            "M1 = monitor(process, {nope, N}), receive {'DOWN', M1, _, {nope, N}, noproc} -> ok end",
            "{badrpc, {'EXIT', {undef, [{os, cmd, [\"id\"], []}]}}} = rpc:call(N, os, cmd, [\"id\"]), ok",
            "P = spawn(N, os, cmd, [\"id\"]), false = (P =:= self()), ok",
            "register(collector, self()), ok",
            "spawn(fun() -> register(theirs, self()), receive {'$gen_call', {F, T}, R} -> \
               F ! {T, R}, receive {'DOWN', _, _, _, _} -> ok after 300 -> exit(bye) end end end), ok",
            "timer:sleep(100), gen_server:cast({srv, N}, {call, theirs}), \
               receive {answer, [1,2,3]} -> ok after 2000 -> timeout end",
            "receive {down, bye} -> ok after 2000 -> timeout end",
            "abcast = gen_server:abcast([N], srv, {call, nope}), receive {failed, noproc} -> ok \
               after 2000 -> timeout end",
            "receive {down, noproc} -> ok after 2000 -> timeout end",
            "M2 = monitor(process, {srv, N}), gen_server:cast({srv, N}, stop), \
               receive {'DOWN', M2, _, {srv, N}, stopped} -> ok after 2000 -> timeout end",
            "{'EXIT', {noproc, _}} = (catch gen_server:call({srv, N}, hi)), ok",
        ],
        "connection_closed",
    );
}

#[test]
fn a_beam_with_a_short_name_finds_a_node() {
    const SHORT: &str = "salp@localhost";
    let mut shell = Shell::new(SHORT, 0, false, |node| {
        node.spawn(Some("srv"), Box::new(Server { answers: vec![] }));
    });
    let lines = [
        "'beam@localhost' = node(), pong = net_adm:ping(N), [N] = nodes(connected), ok",
        "{echo, hi} = gen_server:call({srv, N}, hi), ok",
        "M = monitor(process, {srv, N}), gen_server:cast({srv, N}, stop), \
           receive {'DOWN', M, _, {srv, N}, stopped} -> ok after 2000 -> timeout end",
    ];
    // The port is ours: it only calls, which makes it hidden.
    let prelude = format!("N = '{SHORT}'");
    shell.check_with(&["-dist_listen", "false"], "-sname", "beam@localhost", &prelude, &lines);
}

#[test]
fn a_beam_with_another_cookie_is_refused() {
    let mut shell = shell();
    let program = format!("erlang:set_cookie(node(), other), io:format(\"~p~n\", [net_adm:ping('{OURS}')]), halt().");
    let Some(erl) = erl::theirs(&shell, &program) else {
        return;
    };
    assert!(shell.run(erl).contains("pang"));
    let is_told =
        |event: &Event| matches!(event, Event::HandshakeFailed { reason, .. } if reason.contains("bad cookie"));
    assert!(shell.events.iter().any(is_told), "{:?}", shell.events);
}

#[test]
fn a_node_finds_a_beam() {
    let mut shell = shell();
    let program = "register(collector, self()), \
        register(theirs, spawn(fun() -> receive {'$gen_call', {F, [alias|A]}, R} -> \
            A ! {[alias|A], R}, exit(F) end end)), \
        receive {answer, [1,2,3]} -> io:format(\"answered~n\") after 20000 -> ok end, halt().";
    let Some(mut erl) = erl::theirs(&shell, program) else {
        return;
    };
    // The node dials until the BEAM is there: at first nothing listens.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20)
        && !shell.events.iter().any(|event| matches!(event, Event::NodeUp { .. }))
    {
        shell.input(Input::Proposed {
            nodes: vec![Atom::new(THEIRS)],
        });
        shell.poll();
    }
    // The BEAM is up before its program has registered a name, so it is called until it answers.
    while erl.try_wait().unwrap().is_none() {
        let cast = gen_server::cast_term(Term::from((Term::atom("call"), Atom::new("theirs"))));
        let message = Message::Term { from: None, term: cast };
        shell.input(Input::Message {
            to: Address::Name(Atom::new("srv")),
            message,
        });
        for _ in 0..100 {
            shell.poll();
        }
    }
    assert_eq!(shell.run(erl), "answered\n");
}

/// If nobody has connected yet, the first message of an `erl` makes the connection. Messages that wait for it are sent
/// in one frame, although both sides know fragments.
#[test]
fn pitfall_3_the_first_frames_may_be_huge() {
    const BYTES: usize = 3_000_000;
    let mut shell = shell();
    shell.tap = Some(vec![]);
    let call = format!("B = binary:copy(<<5>>, {BYTES}), {{echo, B}} = gen_server:call({{srv, N}}, B, 20000), ok");
    let again = call.clone();
    erl::check(&mut shell, &[&call, &again], "connection_closed");
    let tap = shell.tap.unwrap();
    // A frame of that length, with the header for complete messages.
    let whole = |window: &[u8]| {
        let length = u32::from_be_bytes(window[..4].try_into().unwrap()) as usize;
        (BYTES..BYTES + 1000).contains(&length) && window[4..6] == [131, 68]
    };
    assert_eq!(
        tap.windows(6).filter(|window| whole(window)).count(),
        usize::from(erl::is_there()),
        "the first message is in one frame, the second in fragments"
    );
}

#[test]
fn large_messages_go_both_ways() {
    let echo = "register(collector, self()), Echo = fun Echo() -> receive \
        {'$gen_call', {F, T}, R} -> F ! {T, R}, Echo() end end, register(theirs, spawn(Echo)), ok";
    let call = format!(
        "B = binary:copy(<<5>>, {BIG_BYTES}), {{echo, B}} = gen_server:call({{srv, N}}, B, 20000), \
           {{echo, [B, B]}} = gen_server:call({{srv, N}}, [B, B], 20000), ok"
    );
    // Other messages go on meanwhile, in both directions.
    let meanwhile = "S = self(), gen_server:cast({srv, N}, {call_big, theirs}), \
        [{echo, I} = gen_server:call({srv, N}, I) || I <- lists:seq(1, 20)], \
        receive the_same -> ok after 20000 -> {S, timeout} end";
    erl::check(&mut shell(), &[echo, &call, meanwhile, meanwhile], "connection_closed");
}

/// Terms of all kinds, generated by the BEAM, come back unchanged.
#[test]
fn every_kind_of_term_comes_back() {
    let draw = "rand:seed(exsss, 7), R = fun rand:uniform/1, Port = hd(erlang:ports()), \
        Leaf = fun() -> case R(19) of \
            1 -> R(300) - 150; 2 -> -(1 bsl R(64)); 3 -> (1 bsl R(64)) - 1; 4 -> R(1 bsl R(900)); 5 -> -R(1 bsl R(900)); \
            6 -> rand:normal() * 1.0e200; 7 -> -0.0; 8 -> list_to_atom([R(2000) || _ <- lists:seq(1, R(60))]); 9 -> ''; \
            10 -> rand:bytes(R(300)); 11 -> <<(R(1 bsl 13)):13>>; 12 -> [R(256) - 1 || _ <- lists:seq(1, R(400))]; \
            13 -> []; 14 -> self(); 15 -> make_ref(); 16 -> Port; 17 -> fun lists:map/2; \
            18 -> X = R(9), fun(Y) -> X + Y end; 19 -> erlang:alias() end end, \
        Draw = fun Draw(0) -> Leaf(); Draw(D) -> L = [Draw(D - 1) || _ <- lists:seq(1, R(6) - 1)], case R(6) of \
            1 -> L; 2 -> list_to_tuple(L); 3 -> maps:from_list([{Leaf(), X} || X <- L]); 4 -> L ++ Leaf(); \
            5 -> list_to_tuple([Leaf() || _ <- lists:seq(1, R(300))]); 6 -> Leaf() end end, \
        [begin Ts = [Draw(R(5) - 1) || _ <- lists:seq(1, 10)], {echo, Ts} = gen_server:call({srv, N}, Ts) end \
            || _ <- lists:seq(1, 50)], ok";
    let deep = "L = lists:foldl(fun(I, T) -> case I rem 3 of 0 -> [T]; 1 -> {T}; 2 -> #{a => T} end end, x, \
        lists:seq(1, 240)), {echo, L} = gen_server:call({srv, N}, L), ok";
    // In OTP 25, `=:=` does not distinguish 0.0 from -0.0, but the bytes differ.
    let zero = "{echo, Z} = gen_server:call({srv, N}, -0.0), <<128, 0:56>> = <<Z/float>>, ok";
    erl::check(&mut shell(), &[draw, deep, zero], "connection_closed");
}

#[test]
fn links_and_monitors_are_made_and_removed() {
    erl::check(
        &mut shell(),
        &[
            "process_flag(trap_exit, true), P = rpc:call(N, erlang, whereis, [srv]), put(p, P), link(P), unlink(P), \
               M = monitor(process, P), demonitor(M), {echo, 1} = gen_server:call(P, 1), ok",
            // Many of each, at once and also by name. None is left to fire at the end.
            "P = get(p), [begin link(P), M = monitor(process, {srv, N}), unlink(P), demonitor(M) end \
               || _ <- lists:seq(1, 1000)], {echo, 2} = gen_server:call(P, 2), ok",
            "P = get(p), [monitor(process, P) || _ <- lists:seq(1, 10)], link(P), ok",
            // A second link signal changes nothing. A link that was removed and made again works.
            "link(get(p)), unlink(get(p)), link(get(p)), ok",
            "P = get(p), S = self(), spawn(fun() -> link(P), S ! linked, receive never -> ok end end), \
               receive linked -> ok end",
            "P = get(p), gen_server:cast(P, stop), \
               [receive {'DOWN', _, process, P, stopped} -> ok after 2000 -> exit(missing) end || _ <- lists:seq(1, 10)], \
               receive {'EXIT', P, stopped} -> ok after 2000 -> exit(missing) end, \
               receive X -> {surplus, X} after 300 -> ok end",
            // Links and monitors of a dead process.
            "P = get(p), M = monitor(process, P), receive {'DOWN', M, process, P, noproc} -> ok after 2000 -> timeout end",
            "P = get(p), link(P), receive {'EXIT', P, noproc} -> ok after 2000 -> timeout end",
        ],
        "connection_closed",
    );
}

/// Many calls of many processes at once, and calls to many nodes. Each answer goes to the right caller.
#[test]
fn calls_of_all_forms_are_answered() {
    erl::check(
        &mut shell(),
        &[
            "register(srv, spawn(fun F() -> receive {'$gen_call', {P, T}, R} -> P ! {T, {echo, R}}, F() end end)), ok",
            // Pitfall 10: the tags of the installed release.
            "{[A, B], []} = gen_server:multi_call([N, node()], srv, get), \
               true = lists:sort([A, B]) =:= lists:sort([{N, {echo, get}}, {node(), {echo, get}}]), ok",
            "{[{N, {echo, x}}], ['nobody@127.0.0.9']} = gen_server:multi_call([N, 'nobody@127.0.0.9'], srv, x, 5000), ok",
            "{[], [N]} = gen_server:multi_call([N], nope, x), ok",
            "{echo, x} = gen_server:call({srv, N}, x, infinity), {echo, x} = gen_statem:call({srv, N}, x), \
               {echo, x} = gen_statem:call({srv, N}, x, {dirty_timeout, 5000}), ok",
            "Rs = [{I, gen_server:send_request({srv, N}, I)} || I <- lists:seq(1, 500)], \
               [{reply, {echo, I}} = gen_server:receive_response(R, 5000) || {I, R} <- lists:reverse(Rs)], ok",
            // As before aliases existed, and from a C node: the tag is any term.
            "[begin {srv, N} ! {'$gen_call', {self(), T}, T}, receive {T, {echo, T}} -> ok after 2000 -> exit(T) end end \
               || T <- [make_ref(), 1, {make_ref(), node()}, [a | b], -(1 bsl 59)]], ok",
            "receive X -> {surplus, X} after 300 -> ok end",
        ],
        "connection_closed",
    );
}

#[test]
fn a_beam_is_notified_of_a_node_once() {
    let mut shell = erl::ours(false, |_| {});
    erl::check(
        &mut shell,
        &[
            "ok = net_kernel:monitor_nodes(true), pong = net_adm:ping(N), [N] = nodes(), \
               receive {nodeup, N} -> ok after 2000 -> timeout end",
            "monitor_node(N, true), erlang:disconnect_node(N), receive {nodedown, N} -> ok after 2000 -> timeout end, \
               receive {nodedown, N} -> ok after 2000 -> timeout end, [] = nodes(), ok",
            "receive X -> {surplus, X} after 1000 -> ok end",
        ],
        "connection_closed",
    );
}

/// A node that dials a BEAM with another cookie is refused too. The BEAM gives no reason, so the node reports the
/// likely ones.
#[test]
fn a_node_with_another_cookie_is_refused() {
    let mut shell = shell();
    let program = format!(
        "pong = net_adm:ping('{OURS}'), erlang:set_cookie(node(), other), erlang:disconnect_node('{OURS}'), \
         timer:sleep(30000), halt()."
    );
    let Some(mut erl) = erl::theirs(&shell, &program) else {
        return;
    };
    shell.wait("disconnected", |shell| {
        shell.events.iter().any(|event| matches!(event, Event::NodeDown { .. }))
    });
    shell.input(Input::Proposed {
        nodes: vec![Atom::new(THEIRS)],
    });
    let is_refused =
        |event: &Event| matches!(event, Event::HandshakeFailed { reason, .. } if reason.contains("cookie"));
    shell.wait("refused", |shell| shell.events.iter().any(is_refused));
    let ups = shell
        .events
        .iter()
        .filter(|event| matches!(event, Event::NodeUp { .. }));
    assert_eq!(ups.count(), 1);
    erl.kill().unwrap();
    erl.wait().unwrap();
}
