//! Against a real `erl`: ping, call, monitor, link, exit, cast, big messages, and the other way round. Without an `erl` on
//! the path there is nothing to test.
#![allow(clippy::unwrap_used, reason = "tests")]

mod erl;

use erl::{Nothing, OURS, Shell, THEIRS, beam};
use node::{Address, Atom, Context, Event, Input, Message, Process, Term, gen_server};
use std::time::{Duration, Instant};

/// Echoes calls; ends of the cast `stop`; on the cast `{call, Name}` calls that name at the BEAM and
/// sends what comes of it to `collector` there.
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
                    if let Some([_, Term::Atom(name)]) = cast.as_tuple() {
                        let target = beam(name.as_str());
                        ctx.call(&target, Term::list([1_u8, 2, 3]), 2_000_000);
                        ctx.monitor(&target);
                    }
                }
                gen_server::Request::Info(_) => {}
            },
            Message::Reply { result, .. } => {
                let answer = match result {
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
            "gen_server:cast({srv, N}, {call, nope}), receive {failed, noproc} -> ok \
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
fn a_beam_with_another_cookie_stays_outside() {
    let mut shell = shell();
    let program = format!("erlang:set_cookie(node(), other), io:format(\"~p~n\", [net_adm:ping('{OURS}')]), halt().");
    let Some(erl) = erl::theirs(&shell, &program) else {
        return;
    };
    assert!(shell.run(erl).contains("pang"));
    assert!(
        shell
            .events
            .iter()
            .any(|event| matches!(event, Event::HandshakeFailed { .. }))
    );
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
    // Dialled until it is there: at first nobody listens.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20)
        && !shell.events.iter().any(|event| matches!(event, Event::NodeUp { .. }))
    {
        shell.input(Input::Proposed {
            nodes: vec![Atom::new(THEIRS)],
        });
        shell.poll();
    }
    // It is up before its program has registered anything, so it is called until it answers.
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
