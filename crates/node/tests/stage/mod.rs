//! One node and, at the other end of its only connection, a peer whose bytes the test writes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its own part of it"
)]

use bytes::Bytes;
use node::{
    Address, Atom, Config, ConnectionId, Context, Cookie, Effect, Event, Input, Limits, Message, Node, Payload, Pid,
    Process, Ref, Term, Time,
};
use wire::dist::{
    Flags,
    control::{Monitored, Signal},
    frame::{self, Reader, Received},
    handshake::{Initiator, Lengths, Local, Step},
};

#[derive(Debug)]
pub struct Nothing;
impl Payload for Nothing {}

/// Ends at any term. Its name is `service`.
pub struct Service;
impl Process<Nothing> for Service {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Term { term, .. } = message {
            ctx.exit(term);
        }
    }
}

/// The node under test and the peer at the other end of its only connection.
pub struct Stage {
    pub node: Node<Nothing>,
    pub now_us: u64,
    pub reader: Reader,
    /// What the peer sent in the handshake.
    pub said: Vec<Bytes>,
    /// Signals the node sent to the peer.
    pub heard: Vec<Signal>,
    pub events: Vec<Event>,
    /// Messages for adopted processes.
    pub delivered: Vec<Message<Nothing>>,
    pub closed: Vec<ConnectionId>,
    /// The nodes that the node dialled. None of them exists.
    pub dialled: Vec<Atom>,
    pub service: Pid,
    /// The flags of the peer.
    flags: Flags,
    monitors: u32,
}

/// The connection.
pub const PEER: ConnectionId = ConnectionId(1);

impl Stage {
    pub fn bare(limits: Limits) -> Self {
        Self::prepared(limits, Flags::HIDDEN, |_| {})
    }

    /// A stage with a visible peer connected, after `prepare` has changed the node.
    pub fn visible(limits: Limits, prepare: impl FnOnce(&mut Node<Nothing>)) -> Self {
        let mut stage = Self::prepared(limits, Flags::VISIBLE, prepare);
        stage.connect();
        stage.heard.clear();
        stage
    }

    fn prepared(limits: Limits, flags: Flags, prepare: impl FnOnce(&mut Node<Nothing>)) -> Self {
        let config = Config {
            name: Atom::new("a@net"),
            creation: 4,
            cookie: Cookie::new(b"oyster"),
            hidden: !flags.contains(Flags::PUBLISHED),
            tick_ms: 80_000,
            birth: Bytes::new(),
            join: vec![],
            dist_port: None,
            limits,
        };
        let mut node = Node::new(config, 1);
        let service = node.spawn(Some("service"), Box::new(Service));
        prepare(&mut node);
        let mut stage = Self {
            node,
            now_us: 1_000_000,
            reader: Reader::new(Flags::HIDDEN, frame::Limits::default()),
            said: vec![],
            heard: vec![],
            events: vec![],
            delivered: vec![],
            closed: vec![],
            dialled: vec![],
            service,
            flags,
            monitors: 0,
        };
        stage.input(Input::Start);
        stage
    }

    /// A stage with a peer `b@net` of creation 9 connected.
    pub fn new(limits: Limits) -> Self {
        let mut stage = Self::bare(limits);
        stage.connect();
        stage.heard.clear();
        stage
    }

    pub fn connect(&mut self) {
        let local = Local {
            name: Atom::new("b@net"),
            creation: 9,
            flags: self.flags,
        };
        let mut out = Vec::new();
        let (name, cookie) = (Atom::new("a@net"), Cookie::new(b"oyster"));
        let mut handshake = Initiator::new(local, name, cookie, Lengths::Plain, 77, &mut out);
        self.input(Input::Accepted {
            connection: PEER,
            certificate: None,
        });
        loop {
            let mut answer = Vec::new();
            self.said.push(Bytes::copy_from_slice(&out));
            for bytes in self.sent(&std::mem::take(&mut out)) {
                if let Step::Established(established) = handshake.receive(&bytes, &[], &mut answer).unwrap() {
                    self.read(established.leftover);
                    return;
                }
            }
            out = answer;
        }
    }

    pub fn input(&mut self, input: Input<Nothing>) -> Vec<Bytes> {
        let now = Time {
            monotonic_us: self.now_us,
            wall_ms: 0,
        };
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        self.carry_out(now, effects)
    }

    /// Acts as an adopted process.
    pub fn act<R>(&mut self, process: &Pid, action: impl FnOnce(&mut Context<'_, Nothing>) -> R) -> R {
        let now = Time {
            monotonic_us: self.now_us,
            wall_ms: 0,
        };
        let mut effects = Vec::new();
        let result = self.node.act(now, process, &mut effects, action).unwrap();
        for bytes in self.carry_out(now, effects) {
            self.read(bytes);
        }
        result
    }

    /// Carries out effects. Returns what is sent to the peer.
    fn carry_out(&mut self, now: Time, mut effects: Vec<Effect<Nothing>>) -> Vec<Bytes> {
        self.node.handle(now, Input::Flush, &mut effects);
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { connection, bytes } => {
                    let written = Input::Written {
                        connection,
                        bytes: bytes.len(),
                    };
                    self.node.handle(now, written, &mut Vec::new());
                    sent.push(bytes);
                }
                Effect::Close { connection } => self.closed.push(connection),
                Effect::Dial { node, .. } => self.dialled.push(node),
                Effect::Event(event) => self.events.push(event),
                Effect::Deliver { message, .. } => self.delivered.push(message),
                Effect::Remember(_) => {}
            }
        }
        sent
    }

    pub fn sent(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.input(Input::Received {
            connection: PEER,
            bytes,
        })
    }

    pub fn read(&mut self, mut bytes: Bytes) {
        while let Some(received) = self.reader.next(&mut bytes).unwrap() {
            if let Received::Signal(signal) = received {
                self.heard.push(signal);
            }
        }
    }

    /// The peer sends these bytes behind the handshake.
    pub fn raw(&mut self, bytes: &[u8]) {
        for answer in self.sent(bytes) {
            self.read(answer);
        }
    }

    pub fn signal(&mut self, signal: &Signal) {
        let mut out = Vec::new();
        assert!(frame::write_signal(&mut out, Flags::HIDDEN, 1, signal).is_none());
        self.raw(&out);
    }

    pub fn monitor(&mut self, to: Monitored) -> Ref {
        self.monitors += 1;
        let reference = reference(self.monitors);
        self.signal(&Signal::Monitor {
            from: peer(1),
            to,
            reference: reference.clone(),
        });
        reference
    }

    /// The rule for which the peer's connection was closed, if it was.
    pub fn cut(&self) -> Option<&str> {
        let reason = self.events.iter().find_map(|event| match event {
            Event::PeerCut { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(reason.is_some(), self.closed.contains(&PEER));
        reason
    }

    /// Checks that the node still works: a monitor of the service is answered when the service ends.
    #[track_caller]
    pub fn check_alive(&mut self) {
        if self.closed.contains(&PEER) {
            self.closed.clear();
            self.reader = Reader::new(Flags::HIDDEN, frame::Limits::default());
            self.connect();
        }
        self.heard.clear();
        let reference = self.monitor(Monitored::Pid(self.service.clone()));
        let message = Message::Term {
            from: None,
            term: Term::atom("done"),
        };
        let to = Address::Name(Atom::new("service"));
        for bytes in self.input(Input::Message { to, message }) {
            self.read(bytes);
        }
        let down = Signal::Down {
            from: Monitored::Pid(self.service.clone()),
            to: peer(1),
            reference,
            reason: Term::atom("done"),
        };
        assert_eq!(self.heard, [down]);
    }
}

/// The process `id` of the peer.
pub fn peer(id: u32) -> Pid {
    Pid {
        node: Atom::new("b@net"),
        id,
        serial: 0,
        creation: 9,
    }
}

/// A reference of the peer.
pub fn reference(word: u32) -> Ref {
    Ref {
        node: Atom::new("b@net"),
        creation: 9,
        len: 3,
        words: [word, 0, 0, 0, 0],
    }
}
