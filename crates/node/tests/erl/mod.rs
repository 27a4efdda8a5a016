//! A node on real sockets, and a real `erl` to test it against: over loopback and without EPMD.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part of it"
)]

use bytes::Bytes;
use node::{Address, Atom, Config, ConnectionId, Cookie, Effect, Event, Input, Limits, Node, Payload, Time};
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub struct Nothing;
impl Payload for Nothing {}

/// Without EPMD a BEAM finds every peer under its own port, at the address in the peer's name.
pub const OURS: &str = "salp@127.0.0.3";
pub const THEIRS: &str = "beam@127.0.0.2";

pub fn beam(name: &str) -> Address {
    Address::Remote {
        node: Atom::new(THEIRS),
        name: Atom::new(name),
    }
}

/// A shell of a hundred lines: one thread that polls its sockets.
pub struct Shell {
    pub node: Node<Nothing>,
    listener: TcpListener,
    sockets: BTreeMap<ConnectionId, (TcpStream, Vec<u8>)>,
    accepts: u64,
    begin: Instant,
    pub events: Vec<Event>,
}

impl Shell {
    /// A node that runs what `furnish` gives it.
    pub fn new(hidden: bool, furnish: impl FnOnce(&mut Node<Nothing>)) -> Self {
        let listener = TcpListener::bind("127.0.0.3:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let config = Config {
            name: Atom::new(OURS),
            creation: 77,
            cookie: Cookie::new(b"oyster"),
            hidden,
            tick_ms: 8000,
            birth: Bytes::new(),
            join: vec![],
            dist_port: None,
            limits: Limits::default(),
        };
        let mut node = Node::new(config, 1);
        furnish(&mut node);
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

    pub fn input(&mut self, input: Input<Nothing>) {
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

    pub fn poll(&mut self) {
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
    pub fn erl(&self, program: &str) -> Option<Child> {
        let port = self.listener.local_addr().unwrap().port();
        let child = Command::new(program_name())
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
    pub fn run(&mut self, mut erl: Child) -> String {
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

/// Whether there is an `erl` to test against.
pub fn is_there() -> bool {
    let run = Command::new(program_name())
        .args(["-noshell", "-s", "erlang", "halt"])
        .status();
    run.is_ok()
}

/// The `erl` to test against: the one on the path, or another release by `SALP_TEST_ERL`.
fn program_name() -> String {
    std::env::var("SALP_TEST_ERL").unwrap_or_else(|_| "erl".into())
}

/// Every line must say `ok`: each is one expression of the program.
pub fn check(shell: &mut Shell, lines: &[&str], counts_down: &str) {
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
