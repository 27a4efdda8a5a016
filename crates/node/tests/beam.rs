//! Against a real `erl`, over loopback and without EPMD: ping, call, monitor, link, exit, cast, big
//! messages, and the other way round. Without an `erl` on the path there is nothing to test.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use node::{
    Address, Atom, Config, ConnectionId, Context, Cookie, Effect, Event, Input, Limits, Message, Node, Payload,
    Process, Term, Time, gen_server,
};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[derive(Debug)]
struct Nothing;
impl Payload for Nothing {}

/// Without EPMD a BEAM finds every peer under its own port, at the address in the peer's name.
const OURS: &str = "salp@127.0.0.3";
const THEIRS: &str = "beam@127.0.0.2";

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

fn beam(name: &str) -> Address {
    Address::Remote {
        node: Atom::new(THEIRS),
        name: Atom::new(name),
    }
}

/// A shell of a hundred lines: one thread that polls its sockets.
struct Shell {
    node: Node<Nothing>,
    listener: TcpListener,
    sockets: BTreeMap<ConnectionId, (TcpStream, Vec<u8>)>,
    accepts: u64,
    begin: Instant,
    events: Vec<Event>,
}

impl Shell {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.3:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let config = Config {
            name: Atom::new(OURS),
            creation: 77,
            cookie: Cookie::new(b"oyster"),
            hidden: true,
            tick_ms: 8000,
            birth: Bytes::new(),
            join: vec![],
            dist_port: None,
            limits: Limits::default(),
        };
        let mut node = Node::new(config, 1);
        node.spawn(Some("srv"), Box::new(Server { answers: vec![] }));
        let mut shell = Self {
            node,
            listener,
            sockets: BTreeMap::new(),
            accepts: 0,
            begin: Instant::now(),
            events: vec![],
        };
        shell.input(Input::Start);
        shell
    }

    fn input(&mut self, input: Input<Nothing>) {
        let monotonic_us = u64::try_from(self.begin.elapsed().as_micros()).unwrap();
        let now = Time {
            monotonic_us,
            wall_ms: 0,
        };
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        self.node.handle(now, Input::Flush, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { connection, bytes } => {
                    if let Some((_, output)) = self.sockets.get_mut(&connection) {
                        output.extend_from_slice(&bytes);
                    }
                }
                Effect::Close { connection } => {
                    self.pump(connection);
                    self.sockets.remove(&connection);
                }
                Effect::Dial { connection, .. } => {
                    let port = self.listener.local_addr().unwrap().port();
                    match TcpStream::connect(("127.0.0.2", port)) {
                        Ok(socket) => {
                            self.add(connection, socket);
                            self.input(Input::Opened {
                                connection,
                                certificate: None,
                            });
                        }
                        Err(_) => self.input(Input::Closed { connection }),
                    }
                }
                Effect::Event(event) => self.events.push(event),
                Effect::Deliver { .. } | Effect::Append { .. } | Effect::Sync { .. } => {}
            }
        }
    }

    fn add(&mut self, connection: ConnectionId, socket: TcpStream) {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        self.sockets.insert(connection, (socket, Vec::new()));
    }

    /// Writes what it can of a connection, and tells how much that was.
    fn pump(&mut self, connection: ConnectionId) -> usize {
        let Some((socket, output)) = self.sockets.get_mut(&connection) else {
            return 0;
        };
        let written = socket.write(output).unwrap_or(0);
        output.drain(..written);
        written
    }

    fn poll(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            self.accepts += 1;
            let connection = ConnectionId(self.accepts * 2 - 1);
            self.add(connection, socket);
            self.input(Input::Accepted {
                connection,
                certificate: None,
            });
        }
        for connection in self.sockets.keys().copied().collect::<Vec<_>>() {
            let written = self.pump(connection);
            if written > 0 {
                self.input(Input::Written {
                    connection,
                    bytes: written,
                });
            }
            let mut buffer = vec![0; 1 << 16];
            let Some((socket, _)) = self.sockets.get_mut(&connection) else {
                continue;
            };
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    buffer.truncate(count);
                    let bytes = Bytes::from(buffer);
                    self.input(Input::Received { connection, bytes });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => {
                    self.sockets.remove(&connection);
                    self.input(Input::Closed { connection });
                }
            }
        }
        self.input(Input::Alarm);
        thread::sleep(Duration::from_micros(200));
    }

    /// Starts an `erl` that can reach us and runs this; None if there is no `erl`.
    fn erl(&self, program: &str) -> Option<Child> {
        let port = self.listener.local_addr().unwrap().port();
        let child = Command::new("erl")
            .args([
                "-noshell",
                "-name",
                THEIRS,
                "-setcookie",
                "oyster",
                "-start_epmd",
                "false",
            ])
            .args([
                "-erl_epmd_port",
                &port.to_string(),
                "-kernel",
                "inet_dist_use_interface",
            ])
            .args(["{127,0,0,2}", "-eval", program])
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        match child {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            child => Some(child.unwrap()),
        }
    }

    /// Runs until the `erl` has ended; what it printed.
    fn run(&mut self, mut erl: Child) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while erl.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                erl.kill().unwrap();
                panic!("erl does not end; events: {:?}", self.events);
            }
            self.poll();
        }
        for _ in 0..100 {
            self.poll();
        }
        let mut printed = String::new();
        erl.stdout.unwrap().read_to_string(&mut printed).unwrap();
        printed
    }
}

/// Every line must say `ok`: each is one expression of the program.
fn check(lines: &[&str], counts_down: &str) {
    let mut shell = Shell::new();
    let steps: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(number, line)| format!("io:format(\"~p ~p~n\", [{number}, catch (fun() -> {line} end)()])"))
        .collect();
    let program = format!("N = '{OURS}', {}, halt().", steps.join(", "));
    let Some(erl) = shell.erl(&program) else {
        return;
    };
    let printed = shell.run(erl);
    for (number, line) in lines.iter().enumerate() {
        assert!(printed.contains(&format!("{number} ok\n")), "{line}\n{printed}");
    }
    let downs: Vec<String> = shell
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NodeDown { reason, .. } => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(downs, [counts_down], "{:?}", shell.events);
}

#[test]
fn a_beam_finds_a_node() {
    check(
        &[
            "pong = net_adm:ping(N), ok",
            "[N] = nodes(hidden), [] = nodes(), ok",
            "{echo, hi} = gen_server:call({srv, N}, hi), ok",
            "{echo, [1,2,3]} = gen_server:call({srv, N}, [1,2,3]), ok",
            "B = binary:copy(<<5>>, 5000000), {echo, B} = gen_server:call({srv, N}, B, 20000), ok",
            "{'EXIT', {noproc, _}} = (catch gen_server:call({nope, N}, hi)), ok",
            "{[{N, {echo, m}}], []} = gen_server:multi_call([N], srv, m), ok",
            "M1 = monitor(process, {nope, N}), receive {'DOWN', M1, _, {nope, N}, noproc} -> ok end",
            "{badrpc, notsup} = rpc:call(N, os, cmd, [\"id\"]), ok",
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
    let mut shell = Shell::new();
    let program = format!("erlang:set_cookie(node(), other), io:format(\"~p~n\", [net_adm:ping('{OURS}')]), halt().");
    let Some(erl) = shell.erl(&program) else {
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
    let mut shell = Shell::new();
    let program = "register(collector, self()), \
        register(theirs, spawn(fun() -> receive {'$gen_call', {F, [alias|A]}, R} -> \
            A ! {[alias|A], R}, exit(F) end end)), \
        receive {answer, [1,2,3]} -> io:format(\"answered~n\") after 20000 -> ok end, halt().";
    let Some(mut erl) = shell.erl(program) else {
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
