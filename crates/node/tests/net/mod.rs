//! Nodes in one thread, joined by a network that moves their effects to the others' inputs, in an
//! order that depends on nothing but the seed.
#![allow(
    clippy::type_complexity,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part of it"
)]

use bytes::Bytes;
use node::{
    Address, Atom, Config, ConnectionId, Context, Cookie, Effect, Event, Input, Limits, Member, MemberState, Message,
    Node, Payload, Pid, Process, Term, Time,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    rc::Rc,
};

/// A typed message of the tests.
#[derive(Clone, Debug)]
pub struct Word(pub &'static str);
impl Payload for Word {}

pub type Ctx<'a, 'b> = &'a mut Context<'b, Word>;

/// A process of two closures.
pub struct Actor {
    pub start: Box<dyn FnMut(Ctx<'_, '_>)>,
    pub handle: Box<dyn FnMut(Ctx<'_, '_>, Message<Word>)>,
}

impl Process<Word> for Actor {
    fn start(&mut self, ctx: &mut Context<'_, Word>) {
        (self.start)(ctx);
    }
    fn handle(&mut self, ctx: &mut Context<'_, Word>, message: Message<Word>) {
        (self.handle)(ctx, message);
    }
}

/// A process that only handles messages.
pub fn actor(handle: impl FnMut(Ctx<'_, '_>, Message<Word>) + 'static) -> Box<Actor> {
    Box::new(Actor {
        start: Box::new(|_| {}),
        handle: Box::new(handle),
    })
}

/// What a process saw, one line per message.
pub type Log = Rc<RefCell<Vec<String>>>;

/// A process that begins with `start`, and from then on writes down what it is sent.
pub fn witness(start: impl FnMut(Ctx<'_, '_>) + 'static) -> (Box<Actor>, Log) {
    let log = Log::default();
    let written = log.clone();
    let handle = move |_: Ctx<'_, '_>, message: Message<Word>| {
        written.borrow_mut().push(line(&message));
    };
    (
        Box::new(Actor {
            start: Box::new(start),
            handle: Box::new(handle),
        }),
        log,
    )
}

/// A message without what differs from run to run.
pub fn line(message: &Message<Word>) -> String {
    let place = |address: &Address| match address {
        Address::Pid(pid) => format!("pid@{}", pid.node.as_str()),
        Address::Name(name) => name.as_str().into(),
        Address::Remote { node, name } => format!("{}@{}", name.as_str(), node.as_str()),
        Address::Alias(_) => "alias".into(),
    };
    match message {
        Message::Payload(Word(word)) => format!("word {word}"),
        Message::Term { term, .. } => format!("term {term}"),
        Message::Exit { from, reason } => format!("exit {} {reason}", from.node.as_str()),
        Message::Down { target, reason, .. } => format!("down {} {reason}", place(target)),
        Message::Reply { result: Ok(answer), .. } => format!("reply {answer}"),
        Message::Reply {
            result: Err(reason), ..
        } => format!("no reply {reason}"),
        Message::Timer { token } => format!("timer {token}"),
        Message::NodeUp { node, .. } => format!("nodeup {}", node.as_str()),
        Message::NodeDown { node, reason, .. } => format!("nodedown {} {reason}", node.as_str()),
        Message::Members(members) => format!("members {}", members.len()),
        Message::Flush => "flush".into(),
    }
}

pub fn name(node: &str) -> Atom {
    Atom::new(&format!("{node}@net"))
}

pub fn at(node: &str, process: &str) -> Address {
    Address::Remote {
        node: name(node),
        name: Atom::new(process),
    }
}

pub fn config(node: &str, join: &[&str]) -> Config {
    Config {
        name: name(node),
        creation: 4,
        cookie: Cookie::new(b"oyster"),
        hidden: true,
        tick_ms: 8000,
        birth: Bytes::from_static(b"shards=1024"),
        join: join.iter().map(|node| name(node)).collect(),
        dist_port: Some(4000),
        limits: Limits::default(),
    }
}

struct Machine {
    node: Node<Word>,
    /// The far end of each connection.
    far: BTreeMap<ConnectionId, (Atom, ConnectionId)>,

    accepts: u64,
    /// Stopped by a signal: its inputs wait.
    stopped: bool,
    events: Vec<Event>,
    delivered: Vec<(Pid, String)>,
}

/// The network and the nodes on it.
pub struct Net {
    machines: BTreeMap<Atom, Machine>,
    now_us: u64,
    latency_us: u64,
    /// Inputs on their way, by time and order.
    travelling: BTreeMap<(u64, u64), (Atom, Input<Word>)>,
    sequence: u64,
    /// Pairs between which bytes get lost, in this direction.
    deaf: BTreeSet<(Atom, Atom)>,
    /// Every effect of every node, for comparison.
    pub trace: String,
    pub dials: Vec<(u64, Atom, Atom)>,
}

impl Net {
    pub fn new() -> Self {
        Self {
            machines: BTreeMap::new(),
            now_us: 1_000_000,
            latency_us: 500,
            travelling: BTreeMap::new(),
            sequence: 0,
            deaf: BTreeSet::new(),
            trace: String::new(),
            dials: Vec::new(),
        }
    }

    pub fn now(&self) -> Time {
        Time {
            monotonic_us: self.now_us,
            wall_ms: self.now_us / 1000,
        }
    }

    /// Starts a node with these registered processes.
    pub fn start(&mut self, config: Config, seed: u64, processes: Vec<(&str, Box<Actor>)>) {
        self.start_with(config, seed, |node| {
            for (registered, process) in processes {
                node.spawn(Some(registered), process);
            }
        });
    }

    /// Starts a node that has what `furnish` gives it.
    pub fn start_with(&mut self, config: Config, seed: u64, furnish: impl FnOnce(&mut Node<Word>)) {
        let name = config.name.clone();
        let mut node = Node::new(config, seed);
        furnish(&mut node);
        let machine = Machine {
            node,
            far: BTreeMap::new(),
            accepts: 0,
            stopped: false,
            events: Vec::new(),
            delivered: Vec::new(),
        };
        assert!(self.machines.insert(name.clone(), machine).is_none(), "it runs already");
        self.input(&name, Input::Start);
    }

    /// Two connected nodes that run these processes.
    pub fn pair(a: Vec<(&str, Box<Actor>)>, b: Vec<(&str, Box<Actor>)>) -> Self {
        let mut net = Self::new();
        net.start(config("b", &[]), 2, b);
        net.start(config("a", &["b"]), 1, a);
        net.run_ms(100);
        assert_eq!(net.state("a", "b"), Some(MemberState::Up));
        net
    }

    /// The node is gone. With `quietly`, as if its cable was cut; else its sockets are closed.
    pub fn kill(&mut self, node: &str, quietly: bool) {
        let machine = self.machines.remove(&name(node)).unwrap();
        for (far, connection) in machine.far.into_values() {
            if !quietly {
                self.travel(far, Input::Closed { connection });
            }
        }
    }

    /// From now on `to` does not hear `from`.
    pub fn deafen(&mut self, from: &str, to: &str) {
        self.deaf.insert((name(from), name(to)));
    }

    pub fn heal(&mut self) {
        self.deaf.clear();
    }

    /// Both directions between two nodes are closed and stay so until `heal`.
    pub fn part(&mut self, a: &str, b: &str) {
        let (a, b) = (name(a), name(b));
        for (near, other) in [(&a, &b), (&b, &a)] {
            let machine = &self.machines[near];
            let cut: Vec<_> = machine
                .far
                .iter()
                .filter(|(_, far)| far.0 == *other)
                .map(|(id, _)| *id)
                .collect();
            for connection in cut {
                self.machines.get_mut(near).unwrap().far.remove(&connection);
                self.travel(near.clone(), Input::Closed { connection });
            }
            self.deaf.insert((near.clone(), other.clone()));
        }
    }

    /// SIGSTOP.
    pub fn stop(&mut self, node: &str) {
        self.machines.get_mut(&name(node)).unwrap().stopped = true;
    }

    /// SIGCONT: what waited comes in now.
    pub fn resume(&mut self, node: &str) {
        self.machines.get_mut(&name(node)).unwrap().stopped = false;
    }

    /// Gives an input now, and a flush.
    pub fn input(&mut self, node: &Atom, input: Input<Word>) {
        self.handle(node, input);
        self.handle(node, Input::Flush);
    }

    /// A term from nobody to a registered process.
    pub fn tell(&mut self, node: &str, process: &str, term: Term) {
        let to = Address::Name(Atom::new(process));
        self.input(
            &name(node),
            Input::Message {
                to,
                message: Message::Term { from: None, term },
            },
        );
    }

    fn handle(&mut self, node: &Atom, input: Input<Word>) {
        let now = self.now();
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        let mut effects = Vec::new();
        machine.node.handle(now, input, &mut effects);
        self.carry_out(node, effects);
    }

    /// Acts in the name of an adopted process.
    pub fn act<R>(&mut self, node: &str, pid: &Pid, action: impl FnOnce(&mut Context<'_, Word>) -> R) -> R {
        let now = self.now();
        let mut effects = Vec::new();
        let machine = self.machines.get_mut(&name(node)).unwrap();
        let result = machine.node.act(now, pid, &mut effects, action).unwrap();
        self.carry_out(&name(node), effects);
        self.handle(&name(node), Input::Flush);
        result
    }

    pub fn adopt(&mut self, node: &str) -> Pid {
        self.machines.get_mut(&name(node)).unwrap().node.adopt()
    }

    fn travel(&mut self, to: Atom, input: Input<Word>) {
        self.sequence += 1;
        self.travelling
            .insert((self.now_us + self.latency_us, self.sequence), (to, input));
    }

    fn carry_out(&mut self, from: &Atom, effects: Vec<Effect<Word>>) {
        for effect in effects {
            writeln!(self.trace, "{} {} {effect:?}", self.now_us, from.as_str()).unwrap();
            match effect {
                Effect::Dial { connection, node, .. } => self.dial(from, connection, &node),
                Effect::Send { connection, bytes } => {
                    let count = bytes.len();
                    if let Some((to, far)) = self.far(from, connection) {
                        if !self.deaf.contains(&(from.clone(), to.clone())) {
                            self.travel(to, Input::Received { connection: far, bytes });
                        }
                        self.travel(
                            from.clone(),
                            Input::Written {
                                connection,
                                bytes: count,
                            },
                        );
                    }
                }
                Effect::Close { connection } => {
                    if let Some((to, far)) = self.far(from, connection) {
                        self.machines.get_mut(from).unwrap().far.remove(&connection);
                        self.travel(to, Input::Closed { connection: far });
                    }
                }
                Effect::Deliver { to, message } => {
                    let machine = self.machines.get_mut(from).unwrap();
                    machine.delivered.push((to, line(&message)));
                }
                Effect::Event(event) => self.machines.get_mut(from).unwrap().events.push(event),
                Effect::Append { .. } | Effect::Sync { .. } => {}
            }
        }
    }

    fn far(&self, node: &Atom, connection: ConnectionId) -> Option<(Atom, ConnectionId)> {
        let far = self.machines.get(node)?.far.get(&connection)?;
        // Not if the other side closed it, or is an earlier life of its name.
        let back = self.machines.get(&far.0)?.far.get(&far.1)?;
        (*back == (node.clone(), connection)).then(|| far.clone())
    }

    fn dial(&mut self, from: &Atom, connection: ConnectionId, to: &Atom) {
        self.dials.push((self.now_us, from.clone(), to.clone()));
        let parted = self.deaf.contains(&(from.clone(), to.clone())) || self.deaf.contains(&(to.clone(), from.clone()));
        let Some(target) = self.machines.get_mut(to).filter(|_| !parted) else {
            return self.travel(from.clone(), Input::Closed { connection });
        };
        target.accepts += 1;
        let far = ConnectionId(target.accepts * 2 - 1);
        target.far.insert(far, (from.clone(), connection));
        self.machines
            .get_mut(from)
            .unwrap()
            .far
            .insert(connection, (to.clone(), far));
        self.travel(
            to.clone(),
            Input::Accepted {
                connection: far,
                certificate: None,
            },
        );
        self.travel(
            from.clone(),
            Input::Opened {
                connection,
                certificate: None,
            },
        );
    }

    /// Lets the given time pass.
    pub fn run_ms(&mut self, ms: u64) {
        let end_us = self.now_us + ms * 1000;
        while let Some((at_us, node, input)) = self.next(end_us) {
            self.now_us = self.now_us.max(at_us);
            self.input(&node, input);
        }
        self.now_us = end_us;
    }

    /// The next input of a node that is not stopped.
    fn next(&mut self, end_us: u64) -> Option<(u64, Atom, Input<Word>)> {
        let runs = |node: &Atom| self.machines.get(node).is_none_or(|machine| !machine.stopped);
        let due = self
            .travelling
            .iter()
            .find(|(_, (node, _))| runs(node))
            .map(|(key, _)| *key);
        let alarms = self.machines.iter().filter(|(_, machine)| !machine.stopped);
        let alarm = alarms
            .filter_map(|(name, machine)| Some((machine.node.deadline()?, name.clone())))
            .min();
        match (due, alarm) {
            (Some(key), alarm) if key.0 <= end_us && alarm.as_ref().is_none_or(|alarm| key.0 <= alarm.0) => {
                let (node, input) = self.travelling.remove(&key).unwrap();
                Some((key.0, node, input))
            }
            (_, Some((at_us, node))) if at_us <= end_us => Some((at_us, node, Input::Alarm)),
            _ => None,
        }
    }

    // What one sees

    pub fn events(&self, node: &str) -> &[Event] {
        &self.machines[&name(node)].events
    }

    pub fn delivered(&mut self, node: &str) -> Vec<String> {
        let machine = self.machines.get_mut(&name(node)).unwrap();
        std::mem::take(&mut machine.delivered)
            .into_iter()
            .map(|(_, line)| line)
            .collect()
    }

    /// What one node thinks of another, by its events.
    pub fn state(&self, node: &str, other: &str) -> Option<MemberState> {
        self.member(node, other).map(|member| member.state)
    }

    pub fn member(&self, node: &str, other: &str) -> Option<Member> {
        let events = self.machines[&name(node)].events.iter().rev();
        events
            .filter_map(|event| match event {
                Event::MemberChanged { member } => Some(member),
                _ => None,
            })
            .find(|member| member.name == name(other))
            .cloned()
    }

    pub fn node_ups(&self, node: &str, other: &str) -> usize {
        let is_up = |event: &&Event| matches!(event, Event::NodeUp { node, .. } if *node == name(other));
        self.events(node).iter().filter(is_up).count()
    }

    /// The reasons for which one node lost another.
    pub fn node_downs(&self, node: &str, other: &str) -> Vec<String> {
        let reason = |event: &Event| match event {
            Event::NodeDown { node, reason, .. } if *node == name(other) => Some(reason.to_string()),
            _ => None,
        };
        self.events(node).iter().filter_map(reason).collect()
    }
}
