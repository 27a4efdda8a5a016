//! A cluster in memory: nodes, their connections, and a clock that a test moves.

use std::collections::{BTreeMap, VecDeque};

use node::{Address, Atom, Config, ConnectionId, Cookie, Effect, Input, Message, Node, Pid, Time};
use store::{
    ask::{Ask, Payload, Session},
    config,
    store::{NAME, Store},
    tally::Tally,
};
use wire::{reply::Replies, request::Batch};

/// Step of the simulated clock.
const STEP_MS: u64 = 10;
/// 2024-01-01 00:00:00 UTC.
const BEGIN_MS: u64 = 1_704_067_200_000;
/// Monotonic time at the start: the machine has been up for a while.
const UP_MS: u64 = 3_600_000;

type End = (usize, ConnectionId);

/// Nodes that are connected with each other, and clients of the first node.
pub(crate) struct Nodes {
    nodes: Vec<Node<Payload>>,
    elapsed_ms: u64,
    /// How many milliseconds each node's wall clock is ahead of the true time.
    walls_ahead_ms: Vec<i64>,
    /// The other end of each connection.
    ends: BTreeMap<End, End>,
    accepted: u64,
    inputs: VecDeque<(usize, Input<Payload>)>,
    client: Pid,
    answer: Option<Box<Ask>>,
    /// Microseconds that each batch takes, beside the time that passes.
    pub(crate) batch_us: u64,
    tally: Tally,
    /// Connections that the node has closed.
    pub(crate) killed: Vec<u64>,
}

impl Nodes {
    /// A cluster of nodes with these wall clocks, after all its messages are handled.
    pub(crate) fn new(walls_ahead_ms: Vec<i64>, settings: &config::Config) -> Self {
        let count = walls_ahead_ms.len();
        let name = |number: usize| format!("salp_{}@127.0.0.1", number + 1);
        let nodes = (0..count).map(|number| {
            let store = config::Config {
                name: name(number),
                join: (0..number).map(name).collect(),
                resp: Some(("127.0.0.1".into(), 6379 + number as u16)),
                ..settings.clone()
            };
            let config = Config {
                name: Atom::new(&store.name),
                creation: store.creation,
                cookie: Cookie::new(b"secret"),
                hidden: false,
                tick_ms: 5000,
                birth: store.birth(),
                join: store.join.iter().map(|name| Atom::new(name)).collect(),
                dist_port: Some(9100 + number as u16),
                limits: node::Limits::default(),
            };
            let mut node = Node::new(config, number as u64);
            node.add_service(NAME, Box::new(Store::new(store, number as u64)));
            node
        });
        let mut nodes: Vec<Node<Payload>> = nodes.collect();
        let client = nodes[0].adopt();
        let inputs = (0..count).map(|number| (number, Input::Start)).collect();
        let mut cluster = Self {
            nodes,
            elapsed_ms: 0,
            walls_ahead_ms,
            ends: BTreeMap::new(),
            accepted: 0,
            inputs,
            client,
            answer: None,
            batch_us: 0,
            tally: Tally::default(),
            killed: Vec::new(),
        };
        cluster.settle();
        cluster.pass(if count > 1 { 10_000 } else { 100 });
        cluster
    }

    /// Monotonic milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        UP_MS + self.elapsed_ms
    }

    /// Sends a payload to the store of the first node.
    pub(crate) fn tell(&mut self, payload: Payload) {
        let to = Address::Name(Atom::new(NAME));
        self.inputs.push_back((
            0,
            Input::Message {
                to,
                message: Message::Payload(payload),
            },
        ));
        self.settle();
    }

    /// Executes a batch, and updates the session as the batch left it.
    pub(crate) fn execute(&mut self, session: &mut Session, batch: Batch) -> Replies {
        let mut ask = Box::new(Ask::new(self.client.clone(), session.clone(), batch));
        let mut replies: Option<Replies> = None;
        loop {
            ask.tally = std::mem::take(&mut self.tally);
            ask = self.answer_to(ask);
            let now_us = self.now_ms() * 1000 + self.batch_us;
            self.tally.answered(&mut ask, now_us, BEGIN_MS + self.elapsed_ms);
            match &mut replies {
                None => replies = Some(ask.batch.replies.clone()),
                Some(replies) => replies.append(&ask.batch.replies),
            }
            if !ask.batch.resume() {
                break;
            }
        }
        *session = ask.session;
        replies.unwrap_or_default()
    }

    fn answer_to(&mut self, ask: Box<Ask>) -> Box<Ask> {
        self.tell(Payload::Ask(ask));
        for _ in 0..2_000 {
            if let Some(ask) = self.answer.take() {
                return ask;
            }
            self.pass(STEP_MS);
        }
        panic!("a batch was not answered");
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end_ms = self.elapsed_ms + ms;
        while self.elapsed_ms < end_ms {
            self.elapsed_ms = end_ms.min(self.elapsed_ms + STEP_MS);
            let now_us = self.now_ms() * 1000;
            for number in 0..self.nodes.len() {
                if self.nodes[number].deadline().is_some_and(|due_us| due_us <= now_us) {
                    self.inputs.push_back((number, Input::Alarm));
                }
            }
            self.settle();
        }
    }

    fn time(&self, number: usize) -> Time {
        Time {
            monotonic_us: self.now_ms() * 1000,
            wall_ms: (BEGIN_MS + self.elapsed_ms).saturating_add_signed(self.walls_ahead_ms[number]),
        }
    }

    /// Handles all inputs and their effects, until there are no more.
    fn settle(&mut self) {
        let mut busy = true;
        while busy {
            busy = false;
            while let Some((number, input)) = self.inputs.pop_front() {
                self.give(number, input);
                busy = true;
            }
            if busy {
                for number in 0..self.nodes.len() {
                    self.give(number, Input::Flush);
                }
            }
        }
    }

    fn give(&mut self, number: usize, input: Input<Payload>) {
        let mut effects = Vec::new();
        let time = self.time(number);
        self.nodes[number].handle(time, input, &mut effects);
        for effect in effects {
            self.carry_out(number, effect);
        }
    }

    fn carry_out(&mut self, number: usize, effect: Effect<Payload>) {
        match effect {
            Effect::Remember(_) => {}
            Effect::Dial { connection, node, .. } => {
                let target =
                    (0..self.nodes.len()).find(|other| node.as_str() == format!("salp_{}@127.0.0.1", other + 1));
                let Some(target) = target else {
                    return self.inputs.push_back((number, Input::Closed { connection }));
                };
                self.accepted += 1;
                let theirs = ConnectionId(2 * self.accepted + 1);
                self.ends.insert((number, connection), (target, theirs));
                self.ends.insert((target, theirs), (number, connection));
                self.inputs.push_back((
                    target,
                    Input::Accepted {
                        connection: theirs,
                        certificate: None,
                    },
                ));
                self.inputs.push_back((
                    number,
                    Input::Opened {
                        connection,
                        certificate: None,
                    },
                ));
            }
            Effect::Send { connection, bytes } => {
                self.inputs.push_back((
                    number,
                    Input::Written {
                        connection,
                        bytes: bytes.len(),
                    },
                ));
                if let Some(&(other, connection)) = self.ends.get(&(number, connection)) {
                    self.inputs.push_back((other, Input::Received { connection, bytes }));
                }
            }
            Effect::Close { connection } => {
                if let Some((other, theirs)) = self.ends.remove(&(number, connection)) {
                    self.ends.remove(&(other, theirs));
                    self.inputs.push_back((other, Input::Closed { connection: theirs }));
                }
            }
            Effect::Deliver {
                message: Message::Payload(Payload::Ask(ask)),
                ..
            } => self.answer = Some(ask),
            Effect::Deliver {
                message: Message::Payload(Payload::Kill { ids }),
                ..
            } => self.killed.extend(ids),
            Effect::Deliver { .. } | Effect::Event(_) => {}
        }
    }
}
