//! Nodes with stores on a [`Lan`], and requests of clients.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests, and each uses its own part of it"
)]

#[path = "../../../node/tests/lan/mod.rs"]
mod lan;

use std::collections::BTreeMap;

use lan::Lan;
use node::{Address, Atom, Cookie, Event, Input, Limits, MemberState, Memory, Message, Node, Pid};
use store::{
    ask::{Ask, Payload, Session, Status},
    config::{Config, Keyspace},
    facade::{self, Face},
    store::{NAME, Store},
};
use wire::{
    etf::Term,
    reply::{Replies, Reply, Tokens},
    request::Batch,
};

pub const SHARDS: u16 = 64;

/// A store's settings in these tests: two keyspaces of 64 shards, three replicas.
pub fn config(name: &str, join: &[&str]) -> Config {
    Config {
        name: full(name),
        shards: SHARDS,
        keyspaces: ["default", "second"].map(Keyspace::named).to_vec(),
        join: join.iter().map(|name| full(name)).collect(),
        ..Config::default()
    }
}

fn full(name: &str) -> String {
    format!("{name}@net")
}

fn atom(name: &str) -> Atom {
    Atom::new(&full(name))
}

/// Nodes with stores on a [`Lan`]. Tests use the first part of their names.
pub struct Net {
    lan: Lan<Payload>,
    /// The client process at each node.
    clients: BTreeMap<Atom, Pid>,
    creation: u32,
    asked: u64,
    /// What each killed node remembered when it was killed.
    memories: BTreeMap<Atom, Memory>,
    /// Facades for nodes that are started from now on.
    pub faces: Vec<Face>,
}

impl Net {
    pub fn new() -> Self {
        Self {
            lan: Lan::new(),
            clients: BTreeMap::new(),
            creation: 3,
            asked: 0,
            memories: BTreeMap::new(),
            faces: Vec::new(),
        }
    }

    /// Starts these nodes, and waits until they are healed and ready. The first one joins no node, the others join the
    /// first.
    pub fn cluster(names: &[&str]) -> Self {
        let mut net = Self::new();
        for name in names {
            net.start(name, if *name == names[0] { &[] } else { &names[..1] });
        }
        net.heal();
        net
    }

    pub fn start(&mut self, name: &str, join: &[&str]) {
        self.start_with(config(name, join));
    }

    /// Starts a killed node with its memory.
    pub fn restart(&mut self, name: &str, join: &[&str]) {
        self.restart_with(config(name, join));
    }

    pub fn restart_with(&mut self, config: Config) {
        let memory = self.memories[&Atom::new(&config.name)].clone();
        self.start_remembering(config, memory);
    }

    /// Starts a node without memory, with a new creation.
    pub fn start_with(&mut self, config: Config) {
        self.start_remembering(config, Memory::default());
    }

    fn start_remembering(&mut self, mut config: Config, memory: Memory) {
        self.creation += 1;
        config.creation = self.creation;
        let name = Atom::new(&config.name);
        let mut node = Node::new(
            node::Config {
                name: name.clone(),
                creation: config.creation,
                cookie: Cookie::new(b"oyster"),
                hidden: true,
                tick_ms: 5_000,
                birth: config.birth(),
                join: config.join.iter().map(|name| Atom::new(name)).collect(),
                dist_port: Some(4000),
                limits: Limits::default(),
            },
            u64::from(self.creation),
        );
        node.recall(memory);
        for face in &self.faces {
            facade::install(&mut node, face, config.request_timeout_ms);
        }
        node.add_service(NAME, Box::new(Store::new(config, u64::from(self.creation))));
        self.clients.insert(name.clone(), node.adopt());
        self.lan.start(&name, node);
    }

    /// Like `kill -9`: the sockets are closed.
    pub fn kill(&mut self, name: &str) {
        let name = atom(name);
        self.memories.insert(name.clone(), self.lan.memory(&name));
        self.lan.kill(&name, false);
    }

    /// From now on these two nodes cannot reach each other, whether they run or not.
    pub fn part(&mut self, a: &str, b: &str) {
        self.lan.deafen(&atom(a), &atom(b));
        self.lan.deafen(&atom(b), &atom(a));
    }

    /// All nodes reach each other again. Messages sent meanwhile are lost.
    pub fn mend(&mut self) {
        self.lan.heal();
    }

    /// Sets how many milliseconds the wall clock of `name` is ahead of the true time.
    pub fn set_wall(&mut self, name: &str, ahead_ms: i64) {
        self.lan.walls_ahead_ms.insert(atom(name), ahead_ms);
    }

    /// What the wall clock of `name` shows, in Unix milliseconds.
    pub fn wall_ms(&self, name: &str) -> u64 {
        self.lan.now_at(&atom(name)).wall_ms
    }

    pub fn stop(&mut self, name: &str) {
        self.lan.stop(&atom(name));
    }

    pub fn resume(&mut self, name: &str) {
        self.lan.resume(&atom(name));
    }

    /// From now on, messages from `from` reach `to` only after [`Net::hear`].
    pub fn deafen(&mut self, from: &str, to: &str) {
        self.lan.deafen(&atom(from), &atom(to));
    }

    pub fn hear(&mut self) {
        self.lan.hear();
    }

    pub fn cut(&mut self, a: &str, b: &str) {
        self.lan.cut(&atom(a), &atom(b));
    }

    /// `near` sees its connection to `other` closed. `other` does not notice.
    pub fn cut_end(&mut self, near: &str, other: &str) {
        self.lan.cut_end(&atom(near), &atom(other));
    }

    // Requests

    /// Starts a batch at a node. [`Net::answer`] returns its replies.
    pub fn begin(&mut self, name: &str, requests: &[&str]) -> u64 {
        self.begin_in(name, 0, requests)
    }

    /// The same, in a keyspace.
    pub fn begin_in(&mut self, name: &str, keyspace: u16, requests: &[&str]) -> u64 {
        let mut session = Session::new(0, true);
        session.keyspace = keyspace;
        self.begin_as(name, session, requests)
    }

    /// The same with a session. Returns the session's number.
    pub fn begin_as(&mut self, name: &str, mut session: Session, requests: &[&str]) -> u64 {
        self.asked += 1;
        session.id = self.asked;
        let mut batch = Batch::new();
        for request in requests {
            batch.push(&request.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        let client = self.client(name);
        self.tell(name, Payload::Ask(Box::new(Ask::new(client, session, batch))));
        self.asked
    }

    pub fn tell(&mut self, name: &str, payload: Payload) {
        let to = Address::Name(Atom::new(NAME));
        self.lan.input(
            &atom(name),
            Input::Message {
                to,
                message: Message::Payload(payload),
            },
        );
    }

    /// Sends a term to a registered process, as a BEAM process would.
    pub fn send(&mut self, name: &str, process: &str, term: Term) {
        let (to, from) = (Address::Name(Atom::new(process)), Some(self.client(name)));
        let message = Message::Term { from, term };
        self.lan.input(&atom(name), Input::Message { to, message });
    }

    /// Makes a `gen_server` call, and returns its answer. It may take at most 5 s.
    #[track_caller]
    pub fn call(&mut self, name: &str, process: &str, request: Term) -> Term {
        let tag = self.begin_call(name, process, request);
        let answer = self.receive(name);
        match answer.as_tuple() {
            Some([echo, answer]) if *echo == tag => answer.clone(),
            _ => panic!("{answer} is no answer to {tag}"),
        }
    }

    /// Starts a call. The answer is received as `{Tag, Answer}`, with the tag that this returns.
    pub fn begin_call(&mut self, name: &str, process: &str, request: Term) -> Term {
        self.asked += 1;
        let tag = Term::from(self.asked);
        let from = Term::tuple([Term::Pid(self.client(name)), tag.clone()]);
        self.send(name, process, Term::tuple([Term::atom("$gen_call"), from, request]));
        tag
    }

    /// The client process at a node.
    pub fn client(&self, name: &str) -> Pid {
        self.clients[&atom(name)].clone()
    }

    /// The first term that was sent to the client process at a node.
    #[track_caller]
    pub fn receive(&mut self, name: &str) -> Term {
        for _ in 0..=5_100 {
            let delivered = self.lan.delivered_mut(&atom(name));
            let is_term = |(_, message): &(Pid, _)| matches!(message, Message::Term { .. });
            if let Some(at) = delivered.iter().position(is_term)
                && let (_, Message::Term { term, .. }) = delivered.remove(at)
            {
                return term;
            }
            self.run_ms(1);
        }
        panic!("nothing came within 5.1 s");
    }

    /// The replies to a batch, separated by bars; none if they have not come yet.
    pub fn answer(&self, name: &str, id: u64) -> Option<String> {
        let mut asks = self
            .lan
            .delivered(&atom(name))
            .iter()
            .filter_map(|(_, message)| match message {
                Message::Payload(Payload::Ask(ask)) if ask.session.id == id => Some(ask),
                _ => None,
            });
        let ask = asks.next()?;
        assert!(asks.next().is_none(), "answered once");
        assert!(ask.batch.replies.is_complete());
        assert_eq!(ask.batch.replies.count(), ask.batch.len(), "each request has one reply");
        Some(show(&ask.batch.replies))
    }

    /// The text of the first error among the replies to a batch.
    pub fn error_text(&self, name: &str, id: u64) -> String {
        let replies = |(_, message): &(Pid, Message<Payload>)| match message {
            Message::Payload(Payload::Ask(ask)) if ask.session.id == id => Some(ask.batch.replies.clone()),
            _ => None,
        };
        let text = |reply: Reply<'_>| match reply {
            Reply::Error(_, text) => Some(text.to_owned()),
            _ => None,
        };
        let replies = self.lan.delivered(&atom(name)).iter().find_map(replies);
        replies
            .and_then(|replies| replies.tokens().find_map(text))
            .unwrap_or_default()
    }

    /// Executes a batch, which may take at most 5 s.
    pub fn ask_all(&mut self, name: &str, requests: &[&str]) -> String {
        let id = self.begin(name, requests);
        self.wait(name, id, 5_100)
    }

    pub fn ask(&mut self, name: &str, request: &str) -> String {
        self.ask_all(name, &[request])
    }

    #[track_caller]
    pub fn wait(&mut self, name: &str, id: u64, ms: u64) -> String {
        for _ in 0..=ms {
            if let Some(answer) = self.answer(name, id) {
                return answer;
            }
            self.run_ms(1);
        }
        panic!("no answer within {ms} ms");
    }

    /// A node's status of the cluster, after it has asked the others.
    pub fn status(&mut self, name: &str) -> std::sync::Arc<Status> {
        let to = self.client(name);
        self.tell(name, Payload::StatusOf { to });
        for _ in 0..1_000 {
            let delivered = self.lan.delivered_mut(&atom(name));
            let is_status = |(_, message): &(Pid, _)| matches!(message, Message::Payload(Payload::Status(_)));
            if let Some(at) = delivered.iter().position(is_status)
                && let (_, Message::Payload(Payload::Status(status))) = delivered.remove(at)
            {
                return status;
            }
            self.run_ms(1);
        }
        panic!("{name} does not tell its status");
    }

    pub fn counter(&mut self, name: &str, counter: &str) -> u64 {
        let status = self.status(name);
        status.counters.iter().find(|(name, ..)| *name == counter).unwrap().2
    }

    /// The texts of all notes of one kind.
    pub fn texts(&self, name: &str, kind: &str) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Note { kind: of, text } if *of == kind => Some(text.clone()),
            _ => None,
        };
        self.lan.events(&atom(name)).iter().filter_map(text).collect()
    }

    /// The kinds of all notes, except for the note about the first forming.
    pub fn notes(&self, name: &str) -> Vec<&'static str> {
        self.noted(name)
            .map(|(kind, _)| kind)
            .filter(|kind| *kind != "formed")
            .collect()
    }

    fn noted(&self, name: &str) -> impl Iterator<Item = (&'static str, &str)> {
        self.lan.events(&atom(name)).iter().filter_map(|event| match event {
            Event::Note { kind, text } => Some((*kind, text.as_str())),
            _ => None,
        })
    }

    /// Why a node has closed the connections of peers.
    pub fn cuts(&self, name: &str) -> Vec<String> {
        let cut = |event: &Event| match event {
            Event::PeerCut { node, reason } => Some(format!("{node}: {reason}")),
            _ => None,
        };
        self.lan.events(&atom(name)).iter().filter_map(cut).collect()
    }

    /// Whether a node has received the goodbye of another.
    pub fn knows_to_be_gone(&self, name: &str, other: &str) -> bool {
        let is_that = |event: &Event| {
            matches!(event, Event::MemberChanged { member }
                if member.name == atom(other) && member.state == MemberState::Gone)
        };
        self.lan.events(&atom(name)).iter().any(is_that)
    }

    /// Lets time pass until all running nodes report a healed cluster.
    #[track_caller]
    pub fn heal(&mut self) {
        assert!(self.heals_within(20_000), "not healed after 20 s: {}", self.describe());
    }

    pub fn heals_within(&mut self, ms: u64) -> bool {
        let healed = |net: &mut Self| {
            let names: Vec<String> = net.lan.running().iter().map(short).collect();
            names.iter().all(|name| {
                let status = net.status(name);
                status.healed && status.nodes.iter().filter(|node| node.member.connected).count() == names.len()
            })
        };
        for _ in 0..ms / 10 {
            if healed(self) {
                return true;
            }
            self.run_ms(10);
        }
        healed(self)
    }

    fn describe(&mut self) -> String {
        let names: Vec<String> = self.lan.running().iter().map(short).collect();
        let mut text = String::new();
        for name in names {
            let status = self.status(&name);
            let members: Vec<_> = status
                .nodes
                .iter()
                .map(|node| (&node.member.name, node.member.state))
                .collect();
            let copies = status.shards.iter().map(|shard| shard.ready.len()).sum::<usize>();
            text += &format!(
                "\n{name}: {members:?} moves {} unavailable {} ready copies {copies}",
                status.moves, status.unavailable
            );
        }
        text
    }

    // Time

    /// Lets the given time pass.
    pub fn run_ms(&mut self, ms: u64) {
        self.run_us(ms * 1000);
    }

    pub fn run_us(&mut self, us: u64) {
        self.lan.run_us(us);
    }
}

fn short(name: &Atom) -> String {
    name.as_str().split('@').next().unwrap().into()
}

/// Replies as text: `OK`, `7`, `value`, `-`, `[a b]`, `!no_nodes`.
fn show(replies: &Replies) -> String {
    let mut tokens = replies.tokens();
    let mut shown = Vec::new();
    while let Some(value) = show_value(&mut tokens) {
        shown.push(value);
    }
    shown.join(" | ")
}

fn show_value(tokens: &mut Tokens<'_>) -> Option<String> {
    let token = tokens.next()?;
    let mut members: Vec<String> = (0..token.children()).filter_map(|_| show_value(tokens)).collect();
    Some(match token {
        Reply::Ok => "OK".into(),
        Reply::Status(text) => text.into(),
        Reply::Error(kind, _) => format!("!{}", kind.name()),
        Reply::Int(number) => number.to_string(),
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Null | Reply::NullArray => "-".into(),
        Reply::Array(_) | Reply::Map(_) => format!("[{}]", members.join(" ")),
        Reply::Verbatim { text, .. } => String::from_utf8_lossy(text).into_owned(),
        Reply::Set(_) => {
            members.sort();
            format!("[{}]", members.join(" "))
        }
        other => format!("{other:?}"),
    })
}
