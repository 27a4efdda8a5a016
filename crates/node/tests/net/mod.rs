//! Nodes on a [`Lan`], and processes for tests.
#![allow(
    clippy::type_complexity,
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part of it"
)]

#[path = "../lan/mod.rs"]
mod lan;

use bytes::Bytes;
use lan::Lan;
use node::{
    Address, Atom, Config, Context, Cookie, Event, Input, Limits, Member, MemberState, Message, Node, Payload, Pid,
    Process, Term,
};
use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    rc::Rc,
};

/// A typed message of the tests.
#[derive(Clone, Debug)]
pub struct Word(pub &'static str);
impl Payload for Word {}

pub type Ctx<'a, 'b> = &'a mut Context<'b, Word>;

/// A process made of two closures.
pub struct Scripted {
    pub start: Box<dyn FnMut(Ctx<'_, '_>)>,
    pub handle: Box<dyn FnMut(Ctx<'_, '_>, Message<Word>)>,
}

impl Process<Word> for Scripted {
    fn start(&mut self, ctx: &mut Context<'_, Word>) {
        (self.start)(ctx);
    }
    fn handle(&mut self, ctx: &mut Context<'_, Word>, message: Message<Word>) {
        (self.handle)(ctx, message);
    }
}

/// A process that only handles messages.
pub fn scripted(handle: impl FnMut(Ctx<'_, '_>, Message<Word>) + 'static) -> Box<Scripted> {
    Box::new(Scripted {
        start: Box::new(|_| {}),
        handle: Box::new(handle),
    })
}

/// The messages of a process, one line each.
pub type Log = Rc<RefCell<Vec<String>>>;

/// A process that runs `start`, and then records its messages.
pub fn witness(start: impl FnMut(Ctx<'_, '_>) + 'static) -> (Box<Scripted>, Log) {
    let log = Log::default();
    let written = log.clone();
    let handle = move |_: Ctx<'_, '_>, message: Message<Word>| {
        written.borrow_mut().push(line(&message));
    };
    (
        Box::new(Scripted {
            start: Box::new(start),
            handle: Box::new(handle),
        }),
        log,
    )
}

/// A message as text, without parts that differ between runs.
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
        Message::Cluster(affiliation) => format!("cluster {}", affiliation.identity.id),
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

/// A [`Lan`] whose nodes are addressed by the first part of their name.
pub struct Net(Lan<Word>);

impl Deref for Net {
    type Target = Lan<Word>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Net {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Net {
    pub fn new() -> Self {
        Self(Lan::new())
    }

    /// Starts a node with these registered processes.
    pub fn start(&mut self, config: Config, seed: u64, processes: Vec<(&str, Box<Scripted>)>) {
        self.start_with(config, seed, |node| {
            for (registered, process) in processes {
                node.spawn(Some(registered), process);
            }
        });
    }

    /// Starts a node after `furnish` has prepared it.
    pub fn start_with(&mut self, config: Config, seed: u64, furnish: impl FnOnce(&mut Node<Word>)) {
        let name = config.name.clone();
        let mut node = Node::new(config, seed);
        furnish(&mut node);
        self.0.start(&name, node);
    }

    /// Two connected nodes with these processes.
    pub fn pair(a: Vec<(&str, Box<Scripted>)>, b: Vec<(&str, Box<Scripted>)>) -> Self {
        let mut net = Self::new();
        net.start(config("b", &[]), 2, b);
        net.start(config("a", &["b"]), 1, a);
        net.run_ms(100);
        assert_eq!(net.state("a", "b"), Some(MemberState::Up));
        net
    }

    pub fn kill(&mut self, node: &str, quietly: bool) {
        self.0.kill(&name(node), quietly);
    }

    pub fn stop(&mut self, node: &str) {
        self.0.stop(&name(node));
    }

    pub fn resume(&mut self, node: &str) {
        self.0.resume(&name(node));
    }

    pub fn deafen(&mut self, from: &str, to: &str) {
        self.0.deafen(&name(from), &name(to));
    }

    pub fn part(&mut self, a: &str, b: &str) {
        self.0.part(&name(a), &name(b));
    }

    /// Sends a term without a sender to a registered process.
    pub fn tell(&mut self, node: &str, process: &str, term: Term) {
        let to = Address::Name(Atom::new(process));
        let message = Message::Term { from: None, term };
        self.input(&name(node), Input::Message { to, message });
    }

    pub fn act<R>(&mut self, node: &str, pid: &Pid, action: impl FnOnce(&mut Context<'_, Word>) -> R) -> R {
        self.0.act(&name(node), pid, action)
    }

    pub fn adopt(&mut self, node: &str) -> Pid {
        self.0.adopt(&name(node))
    }

    /// Lets the given time pass.
    pub fn run_ms(&mut self, ms: u64) {
        self.0.run_us(ms * 1000);
    }

    // Reading

    pub fn events(&self, node: &str) -> &[Event] {
        self.0.events(&name(node))
    }

    /// Messages for adopted processes since the last call.
    pub fn delivered(&mut self, node: &str) -> Vec<String> {
        let delivered = self.0.delivered_mut(&name(node)).drain(..);
        delivered.map(|(_, message)| line(&message)).collect()
    }

    /// The state of a node as another one last reported it in an event.
    pub fn state(&self, node: &str, other: &str) -> Option<MemberState> {
        self.member(node, other).map(|member| member.state)
    }

    pub fn member(&self, node: &str, other: &str) -> Option<Member> {
        let events = self.events(node).iter().rev();
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
