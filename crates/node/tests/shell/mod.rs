//! A shell with real sockets for one node: one thread that polls. Peers are found without EPMD. All have the same port,
//! each at the address that is the host of its name.
//!
//! The BEAM is the `erl` on the path, or the one in the environment variable `SALP_TEST_ERL`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part of it"
)]

mod lines;

use bytes::Bytes;
use node::{Atom, Config, ConnectionId, Context, Cookie, Effect, Event, Input, Limits, Node, Payload, Pid, Time};
use std::{
    collections::BTreeMap,
    env,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub use lines::program;

#[derive(Debug)]
pub struct Nothing;
impl Payload for Nothing {}

/// The `erl` to test with, if it is not the one on the path. If it is set, it must exist.
const TEST_ERL: &str = "SALP_TEST_ERL";
/// Longest time for any step.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Shell {
    pub node: Node<Nothing>,
    pub events: Vec<Event>,
    listener: TcpListener,
    sockets: BTreeMap<ConnectionId, (TcpStream, Vec<u8>)>,
    accepts: u64,
    begin: Instant,
    /// If set, all received bytes are also stored here.
    pub tap: Option<Vec<u8>>,
}

fn host(node: &str) -> &str {
    node.split_once('@').unwrap().1
}

impl Shell {
    /// A node with this name, after `prepare` has added its processes. With the port of another node, the two find each
    /// other.
    pub fn new(name: &str, port: u16, hidden: bool, prepare: impl FnOnce(&mut Node<Nothing>)) -> Self {
        Self::ticking(name, port, hidden, 8000, prepare)
    }

    /// With a different tick time from [`Shell::new`].
    pub fn ticking(
        name: &str,
        port: u16,
        hidden: bool,
        tick_ms: u64,
        prepare: impl FnOnce(&mut Node<Nothing>),
    ) -> Self {
        let listener = TcpListener::bind((host(name), port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let config = Config {
            name: Atom::new(name),
            creation: 77,
            cookie: Cookie::new(b"oyster"),
            hidden,
            tick_ms,
            birth: Bytes::new(),
            join: vec![],
            dist_port: None,
            limits: Limits::default(),
        };
        let mut node = Node::new(config, 1);
        prepare(&mut node);
        let mut shell = Self {
            node,
            events: vec![],
            listener,
            sockets: BTreeMap::new(),
            accepts: 0,
            begin: Instant::now(),
            tap: None,
        };
        shell.input(Input::Start);
        shell
    }

    /// The port of this node and of all its peers.
    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn now(&self) -> Time {
        Time {
            monotonic_us: u64::try_from(self.begin.elapsed().as_micros()).unwrap(),
            wall_ms: 0,
        }
    }

    pub fn input(&mut self, input: Input<Nothing>) {
        let now = self.now();
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        self.node.handle(now, Input::Flush, &mut effects);
        self.carry_out(effects);
    }

    /// Acts as an adopted process.
    pub fn act<R>(&mut self, process: &Pid, action: impl FnOnce(&mut Context<'_, Nothing>) -> R) -> R {
        let now = self.now();
        let mut effects = Vec::new();
        let result = self.node.act(now, process, &mut effects, action).unwrap();
        self.node.handle(now, Input::Flush, &mut effects);
        self.carry_out(effects);
        result
    }

    fn carry_out(&mut self, effects: Vec<Effect<Nothing>>) {
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
                Effect::Dial { connection, node, .. } => match TcpStream::connect((host(node.as_str()), self.port())) {
                    Ok(socket) => {
                        self.add(connection, socket);
                        self.input(Input::Opened {
                            connection,
                            certificate: None,
                        });
                    }
                    Err(_) => self.input(Input::Closed { connection }),
                },
                Effect::Event(event) => self.events.push(event),
                _ => {}
            }
        }
    }

    fn add(&mut self, connection: ConnectionId, socket: TcpStream) {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        self.sockets.insert(connection, (socket, Vec::new()));
    }

    /// Writes as much as possible of a connection's output. Returns how much that was.
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
                    if let Some(tap) = &mut self.tap {
                        tap.extend_from_slice(&buffer);
                    }
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

    /// Polls until `is_so` returns true.
    #[track_caller]
    pub fn wait(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}: not so; events: {:?}", self.events);
            self.poll();
        }
    }

    /// Starts an `erl` with this name that can reach the node and runs this program; None if there is no `erl`. `flag`
    /// is `-name` or, for a host without a dot, `-sname`.
    pub fn erl(&self, flag: &str, name: &str, program: &str) -> Option<Child> {
        self.erl_with(&[], flag, name, program)
    }

    /// With additional flags, such as those of the kernel.
    pub fn erl_with(&self, flags: &[&str], flag: &str, name: &str, program: &str) -> Option<Child> {
        self.start(erl(), flags, flag, name, program)
    }

    /// Like [`Shell::erl`], but always with the `erl` on the path. If `SALP_TEST_ERL` names another release, both
    /// releases meet.
    pub fn other_erl(&self, flag: &str, name: &str, program: &str) -> Option<Child> {
        self.start(Command::new("erl"), &[], flag, name, program)
    }

    fn start(&self, mut command: Command, flags: &[&str], flag: &str, name: &str, program: &str) -> Option<Child> {
        command.args(["-noshell", flag, name, "-setcookie", "oyster"]);
        command.args(["-start_epmd", "false", "-erl_epmd_port", &self.port().to_string()]);
        if let Some((_, host)) = name.split_once('@').filter(|(_, host)| host.contains('.')) {
            let address = format!("{{{}}}", host.replace('.', ","));
            command.args(["-kernel", "inet_dist_use_interface", &address]);
        }
        command.args(flags);
        let child = command
            .args(["-eval", program])
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        match child {
            Err(error) if error.kind() == ErrorKind::NotFound && env::var_os(TEST_ERL).is_none() => None,
            child => Some(child.unwrap()),
        }
    }

    /// Runs until the `erl` has ended. Returns its output.
    pub fn run(&mut self, mut erl: Child) -> String {
        let deadline = Instant::now() + PATIENCE;
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
        printed(erl)
    }

    /// Makes an `erl` run these lines. Each is an expression that must evaluate to `ok`. `prelude` has their common
    /// bindings.
    #[track_caller]
    pub fn check(&mut self, flag: &str, name: &str, prelude: &str, lines: &[&str]) {
        self.check_with(&[], flag, name, prelude, lines);
    }

    /// With additional flags, such as those of the kernel.
    #[track_caller]
    pub fn check_with(&mut self, flags: &[&str], flag: &str, name: &str, prelude: &str, lines: &[&str]) {
        let program = program(prelude, lines);
        let Some(erl) = self.erl_with(flags, flag, name, &program) else {
            return;
        };
        let printed = self.run(erl);
        self.check_ok(lines, &printed);
    }

    /// Checks that every line evaluated to `ok`.
    #[track_caller]
    pub fn check_ok(&self, lines: &[&str], printed: &str) {
        if let Some(line) = lines::failed(lines, printed) {
            panic!("{line}\n{printed}\n{:?}", self.events);
        }
    }
}

/// The `erl` to test with.
fn erl() -> Command {
    Command::new(env::var_os(TEST_ERL).unwrap_or("erl".into()))
}

/// Whether there is an `erl` to test with. `script/test` installs one.
pub fn is_there() -> bool {
    let is_there = erl().args(["-noshell", "-s", "erlang", "halt"]).status().is_ok();
    if !is_there {
        assert!(
            env::var_os(TEST_ERL).is_none(),
            "the erl that {TEST_ERL} names is not there"
        );
        println!("skipped: there is no erl");
    }
    is_there
}

/// The output of an `erl` that has ended.
pub fn printed(erl: Child) -> String {
    let mut printed = String::new();
    erl.stdout.unwrap().read_to_string(&mut printed).unwrap();
    printed
}
