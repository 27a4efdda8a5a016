//! Stores in nodes in one thread, joined by a network that moves their effects to the others' inputs after a fixed delay,
//! in an order that depends on nothing but the seeds.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests, and each uses its own part of it"
)]

use std::collections::{BTreeMap, BTreeSet};

use node::{Address, Atom, ConnectionId, Cookie, Effect, Event, Input, Limits, MemberState, Message, Node, Pid, Time};
use store::{
    ask::{Ask, Payload, Session, Status},
    config::{Config, Keyspace},
    facade::{self, Face},
    quorum::Level,
    store::{NAME, Store},
};
use wire::{
    etf::Term,
    reply::{Replies, Reply, Tokens},
    request::Batch,
};

const LATENCY_US: u64 = 500;
const WALL_MS: u64 = 1_700_000_000_000;
pub const SHARDS: u16 = 64;

/// A store's settings in these tests: two keyspaces of 64 shards, three replicas.
pub fn config(name: &str, join: &[&str]) -> Config {
    let keyspace = |name: &str| Keyspace {
        name: name.into(),
        level: Level::All,
        min_acks: 1,
    };
    Config {
        name: full(name),
        shards: SHARDS,
        keyspaces: vec![keyspace("default"), keyspace("second")],
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

struct Machine {
    node: Node<Payload>,
    client: Pid,
    /// The far end of each connection.
    far: BTreeMap<ConnectionId, (Atom, ConnectionId)>,
    accepts: u64,
    /// Stopped by a signal: its inputs wait.
    stopped: bool,
    events: Vec<Event>,
    answers: BTreeMap<u64, Box<Ask>>,
    /// Terms that came for the client.
    terms: Vec<Term>,
    status: Option<std::sync::Arc<Status>>,
}

/// The network and the stores on it.
pub struct Net {
    machines: BTreeMap<Atom, Machine>,
    now_us: u64,
    travelling: BTreeMap<(u64, u64), (Atom, Input<Payload>)>,
    sequence: u64,
    /// From whom, to whom: bytes on this way wait until `hear`.
    deaf: BTreeSet<(Atom, Atom)>,
    kept: Vec<(Atom, Atom, Input<Payload>)>,
    creation: u32,
    asked: u64,
    /// Facades that each node is started with from now on.
    pub faces: Vec<Face>,
}

impl Net {
    pub fn new() -> Self {
        Self {
            machines: BTreeMap::new(),
            now_us: 1_000_000,
            travelling: BTreeMap::new(),
            sequence: 0,
            deaf: BTreeSet::new(),
            kept: Vec::new(),
            creation: 3,
            asked: 0,
            faces: Vec::new(),
        }
    }

    /// These nodes, all of them healed and ready. The first joins nobody, the others the first.
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

    /// Starts a node under a new creation.
    pub fn start_with(&mut self, mut config: Config) {
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
        for face in &self.faces {
            facade::install(&mut node, face, config.request_timeout_ms);
        }
        node.add_service(NAME, Box::new(Store::new(config, u64::from(self.creation))));
        let client = node.adopt();
        let machine = Machine {
            node,
            client,
            far: BTreeMap::new(),
            accepts: 0,
            stopped: false,
            events: Vec::new(),
            answers: BTreeMap::new(),
            terms: Vec::new(),
            status: None,
        };
        assert!(self.machines.insert(name.clone(), machine).is_none(), "it runs already");
        self.input(&name, Input::Start);
    }

    /// `kill -9`: the sockets are closed.
    pub fn kill(&mut self, name: &str) {
        let machine = self.machines.remove(&atom(name)).unwrap();
        for (far, connection) in machine.far.into_values() {
            self.travel(far, Input::Closed { connection });
        }
    }

    /// SIGSTOP.
    pub fn stop(&mut self, name: &str) {
        self.machines.get_mut(&atom(name)).unwrap().stopped = true;
    }

    /// SIGCONT: what waited comes in now.
    pub fn resume(&mut self, name: &str) {
        self.machines.get_mut(&atom(name)).unwrap().stopped = false;
    }

    /// From now on what `from` sends reaches `to` only after [`Net::hear`].
    pub fn deafen(&mut self, from: &str, to: &str) {
        self.deaf.insert((atom(from), atom(to)));
    }

    /// What was held back arrives.
    pub fn hear(&mut self) {
        self.deaf.clear();
        for (_, to, input) in std::mem::take(&mut self.kept) {
            self.travel(to, input);
        }
    }

    /// Closes the connections between two nodes.
    pub fn cut(&mut self, a: &str, b: &str) {
        for (near, other) in [(atom(a), atom(b)), (atom(b), atom(a))] {
            let machine = self.machines.get_mut(&near).unwrap();
            let cut: Vec<_> = machine
                .far
                .iter()
                .filter(|(_, far)| far.0 == other)
                .map(|(id, _)| *id)
                .collect();
            for connection in cut {
                machine.far.remove(&connection);
                self.sequence += 1;
                let key = (self.now_us + LATENCY_US, self.sequence);
                self.travelling
                    .insert(key, (near.clone(), Input::Closed { connection }));
            }
        }
    }

    // Asking

    /// Begins a batch at a node; [`Net::answer`] has its replies.
    pub fn begin(&mut self, name: &str, requests: &[&str]) -> u64 {
        self.begin_in(name, 0, requests)
    }

    /// The same in a keyspace.
    pub fn begin_in(&mut self, name: &str, keyspace: u16, requests: &[&str]) -> u64 {
        self.asked += 1;
        let mut session = Session::new(self.asked, true);
        session.keyspace = keyspace;
        let mut batch = Batch::new();
        for request in requests {
            batch.push(&request.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        }
        let client = self.machines[&atom(name)].client.clone();
        self.tell(name, Payload::Ask(Box::new(Ask { client, session, batch })));
        self.asked
    }

    pub fn tell(&mut self, name: &str, payload: Payload) {
        let to = Address::Name(Atom::new(NAME));
        self.input(
            &atom(name),
            Input::Message {
                to,
                message: Message::Payload(payload),
            },
        );
    }

    /// Sends a term to a registered process, as a BEAM process would.
    pub fn send(&mut self, name: &str, process: &str, term: Term) {
        let (to, from) = (
            Address::Name(Atom::new(process)),
            Some(self.machines[&atom(name)].client.clone()),
        );
        let message = Message::Term { from, term };
        self.input(&atom(name), Input::Message { to, message });
    }

    /// What a `gen_server` call comes to, in at most the 5 s that any may take.
    #[track_caller]
    pub fn call(&mut self, name: &str, process: &str, request: Term) -> Term {
        let tag = self.begin_call(name, process, request);
        let answer = self.receive(name);
        match answer.as_tuple() {
            Some([echo, answer]) if *echo == tag => answer.clone(),
            _ => panic!("{answer} is no answer to {tag}"),
        }
    }

    /// Begins a call; its answer, `{Tag, Answer}` with the tag this gives, is received.
    pub fn begin_call(&mut self, name: &str, process: &str, request: Term) -> Term {
        self.asked += 1;
        let tag = Term::from(self.asked);
        let from = Term::tuple([Term::Pid(self.client(name)), tag.clone()]);
        self.send(name, process, Term::tuple([Term::atom("$gen_call"), from, request]));
        tag
    }

    /// The process that asks at a node.
    pub fn client(&self, name: &str) -> Pid {
        self.machines[&atom(name)].client.clone()
    }

    /// The first term that came for the process that asks at a node.
    #[track_caller]
    pub fn receive(&mut self, name: &str) -> Term {
        for _ in 0..=5_100 {
            let terms = &mut self.machines.get_mut(&atom(name)).unwrap().terms;
            if !terms.is_empty() {
                return terms.remove(0);
            }
            self.run_ms(1);
        }
        panic!("nothing came within 5.1 s");
    }

    /// The replies to a batch, separated by a bar; none as long as there are none.
    pub fn answer(&self, name: &str, id: u64) -> Option<String> {
        let ask = self.machines[&atom(name)].answers.get(&id)?;
        assert_eq!(ask.session.id, id, "a session comes back to its client");
        assert!(ask.batch.replies.is_complete());
        assert_eq!(ask.batch.replies.count(), ask.batch.len(), "each request has one reply");
        Some(show(&ask.batch.replies))
    }

    /// Has a batch executed, in at most the 5 s that any may take.
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

    /// What a node tells of the cluster, once it has asked the others.
    pub fn status(&mut self, name: &str) -> std::sync::Arc<Status> {
        let to = self.machines[&atom(name)].client.clone();
        self.tell(name, Payload::StatusOf { to });
        for _ in 0..1_000 {
            if let Some(status) = self.machines.get_mut(&atom(name)).unwrap().status.take() {
                return status;
            }
            self.run_ms(1);
        }
        panic!("{name} does not tell its status");
    }

    pub fn counter(&mut self, name: &str, counter: &str) -> u64 {
        let status = self.status(name);
        status.counters.iter().find(|(name, _)| *name == counter).unwrap().1
    }

    pub fn notes(&self, name: &str) -> Vec<&'static str> {
        let note = |event: &Event| {
            if let Event::Note { kind, .. } = event {
                Some(*kind)
            } else {
                None
            }
        };
        self.machines[&atom(name)].events.iter().filter_map(note).collect()
    }

    /// Whether a node has heard another's good-bye.
    pub fn knows_to_be_gone(&self, name: &str, other: &str) -> bool {
        let is_that = |event: &Event| {
            matches!(event, Event::MemberChanged { member }
                if member.name == atom(other) && member.state == MemberState::Gone)
        };
        self.machines[&atom(name)].events.iter().any(is_that)
    }

    /// Lets time pass until all that run, and are not stopped, see a whole cluster.
    #[track_caller]
    pub fn heal(&mut self) {
        assert!(self.heals_within(20_000), "not healed after 20 s: {}", self.describe());
    }

    pub fn heals_within(&mut self, ms: u64) -> bool {
        let healed = |net: &mut Self| {
            let names: Vec<String> = net
                .machines
                .iter()
                .filter(|(_, machine)| !machine.stopped)
                .map(short)
                .collect();
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
        let names: Vec<String> = self.machines.iter().map(short).collect();
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
        let end_us = self.now_us + us;
        while let Some((at_us, name, input)) = self.next(end_us) {
            self.now_us = self.now_us.max(at_us);
            self.input(&name, input);
        }
        self.now_us = end_us;
    }

    /// The next input of a node that is not stopped.
    fn next(&mut self, end_us: u64) -> Option<(u64, Atom, Input<Payload>)> {
        let runs = |name: &Atom| self.machines.get(name).is_none_or(|machine| !machine.stopped);
        let due = self
            .travelling
            .iter()
            .find(|(_, (name, _))| runs(name))
            .map(|(key, _)| *key);
        let alarms = self.machines.iter().filter(|(_, machine)| !machine.stopped);
        let alarm = alarms
            .filter_map(|(name, machine)| Some((machine.node.deadline()?, name.clone())))
            .min();
        match (due, alarm) {
            (Some(key), alarm) if key.0 <= end_us && alarm.as_ref().is_none_or(|alarm| key.0 <= alarm.0) => {
                let (name, input) = self.travelling.remove(&key).unwrap();
                Some((key.0, name, input))
            }
            (_, Some((at_us, name))) if at_us <= end_us => Some((at_us, name, Input::Alarm)),
            _ => None,
        }
    }

    fn input(&mut self, name: &Atom, input: Input<Payload>) {
        for input in [input, Input::Flush] {
            let now = Time {
                monotonic_us: self.now_us,
                wall_ms: WALL_MS + self.now_us / 1000,
            };
            let Some(machine) = self.machines.get_mut(name) else {
                return;
            };
            let mut effects = Vec::new();
            machine.node.handle(now, input, &mut effects);
            self.carry_out(name, effects);
        }
    }

    fn travel(&mut self, to: Atom, input: Input<Payload>) {
        self.sequence += 1;
        self.travelling
            .insert((self.now_us + LATENCY_US, self.sequence), (to, input));
    }

    fn carry_out(&mut self, from: &Atom, effects: Vec<Effect<Payload>>) {
        for effect in effects {
            match effect {
                Effect::Dial { connection, node, .. } => self.dial(from, connection, &node),
                Effect::Send { connection, bytes } => {
                    let count = bytes.len();
                    if let Some((to, far)) = self.far(from, connection) {
                        let input = Input::Received { connection: far, bytes };
                        if self.deaf.contains(&(from.clone(), to.clone())) {
                            self.kept.push((from.clone(), to, input));
                        } else {
                            self.travel(to, input);
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
                Effect::Deliver {
                    message: Message::Payload(Payload::Ask(ask)),
                    ..
                } => {
                    let answers = &mut self.machines.get_mut(from).unwrap().answers;
                    assert!(answers.insert(ask.session.id, ask).is_none(), "answered once");
                }
                Effect::Deliver {
                    message: Message::Payload(Payload::Status(status)),
                    ..
                } => {
                    self.machines.get_mut(from).unwrap().status = Some(status);
                }
                Effect::Deliver {
                    message: Message::Term { term, .. },
                    ..
                } => self.machines.get_mut(from).unwrap().terms.push(term),
                Effect::Event(event) => self.machines.get_mut(from).unwrap().events.push(event),
                Effect::Deliver { .. } | Effect::Append { .. } | Effect::Sync { .. } => {}
            }
        }
    }

    fn far(&self, name: &Atom, connection: ConnectionId) -> Option<(Atom, ConnectionId)> {
        let far = self.machines.get(name)?.far.get(&connection)?;
        // Not if the other side closed it, or is an earlier life of its name.
        let back = self.machines.get(&far.0)?.far.get(&far.1)?;
        (*back == (name.clone(), connection)).then(|| far.clone())
    }

    fn dial(&mut self, from: &Atom, connection: ConnectionId, to: &Atom) {
        let Some(target) = self.machines.get_mut(to) else {
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
}

fn short((name, _): (&Atom, &Machine)) -> String {
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
        Reply::Array(_) => format!("[{}]", members.join(" ")),
        Reply::Set(_) => {
            members.sort();
            format!("[{}]", members.join(" "))
        }
        other => format!("{other:?}"),
    })
}
