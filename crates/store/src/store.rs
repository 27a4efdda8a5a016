//! The store of one node as a process: it takes batches from the front ends, frames from its peers and terms from BEAM
//! nodes, and has [`coordinator`](crate::coordinator), [`keeper`](crate::keeper) and [`beam`](crate::beam) deal with
//! them. Here are its state and its plumbing: what came in goes to whom, and what was gathered goes out.
//!
//! - What is gathered for a peer leaves as one frame at the flush.
//! - The frames of a peer are numbered; a gap cuts the connection (see [`message`]).
//! - Time is looked at once per message, so all that one message does has one time.

use alloc::{boxed::Box, collections::VecDeque, format, vec::Vec};
use bytes::Bytes;
use hashbrown::HashMap;
use node::{Context, Event, MembersCommand, Process};
use wire::{
    etf::{Atom, Pid, Term},
    reply::Replies,
};

use crate::{
    ask::{Ask, Measured, Payload, Session},
    beam,
    calendar::Calendar,
    cluster::Cluster,
    config::Config,
    coordinator::Sent,
    counters::Counters,
    dot::Writer,
    keeper::Replica,
    message::{Frame, LEASE_MS, Message, Outbox, Vitals},
    outcome,
    peers::{PEERS_MAX, PeerSet},
    random::Random,
    run::{RunId, Runs},
    shard::Shard,
    stamp::Hlc,
};

/// The name the store is registered under on every node.
pub const NAME: &str = "salp";

/// Time between two looks at what is due.
const TICK_US: u64 = 50_000;
const TICK: u64 = 1;
/// Frames kept for a peer that is not known as a member yet; a further one is dropped, and the next one cuts.
const EARLY_MAX: usize = 256;
/// Gathered bytes that leave before the flush.
const FRAME_BYTES: usize = 256 << 10;
/// A node that did nothing for so long, though it ticks, stood still.
const STILL_MS: u64 = 1_000;

/// One node's share of the store.
pub struct Store {
    pub(crate) config: Config,
    pub(crate) writer: Writer,
    pub(crate) hlc: Hlc,
    pub(crate) calendar: Calendar,
    pub(crate) random: Random,
    /// Monotonic milliseconds.
    pub(crate) monotonic_ms: u64,
    pub(crate) started_ms: u64,
    /// Cluster time, in Unix milliseconds.
    pub(crate) now_ms: u64,

    pub(crate) cluster: Cluster,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) keeper: crate::keeper::Keeper,

    pub(crate) runs: Runs,
    /// By peer: runs that wait until it has merged the frame of this number.
    pub(crate) waiting: Vec<VecDeque<(u64, RunId)>>,
    pub(crate) sent: HashMap<u64, Sent, foldhash::fast::FixedState>,
    pub(crate) next_token: u64,
    pub(crate) relax_at: VecDeque<(u64, RunId)>,
    pub(crate) end_at: VecDeque<(u64, RunId)>,
    /// Peers that let a write wait past the write timeout and have not answered since.
    pub(crate) silent: PeerSet,

    /// By peer: what is gathered for it, and the number of its last frame.
    pub(crate) outboxes: Vec<Outbox>,
    received: Vec<u64>,
    acknowledged: Vec<u64>,
    /// By peer: its clock, and ours as it last had it.
    beats: Vec<u64>,
    echoes: Vec<u64>,
    /// Peers that have not been heard of since this node stood still: until then it may have been deposed unawares.
    pub(crate) recovering: PeerSet,
    resumed_ms: u64,
    /// Batches that wait for the end of that. One per client at most, since a client has one under way at a time.
    pub(crate) held: Vec<Box<Ask>>,
    names: Vec<Atom>,
    /// Frames that overtook, within this node, the news that their sender is a member. Empty after each flush.
    early: Vec<(Pid, Bytes)>,
    /// Peers that broke the protocol while the present message was handled.
    broken: Vec<(usize, &'static str)>,

    pub(crate) clients: HashMap<u64, Session, foldhash::fast::FixedState>,
    pub(crate) answers: Vec<Box<Ask>>,
    pub(crate) beam_answers: Vec<(Box<beam::Caller>, Replies)>,
    pub(crate) commands: Vec<MembersCommand>,
    pub(crate) notes: Vec<(&'static str, alloc::string::String)>,
    pub(crate) delta: Vec<u8>,
    pub(crate) counters: Counters,
    pub(crate) measured: Measured,
    pub(crate) vitals: Vitals,
    asked: u64,
    ticking: bool,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Store {
    /// The store of a node that holds nothing yet. `seed` decides what it chooses at random.
    pub fn new(config: Config, seed: u64) -> Self {
        let shards = config.shards_total();
        let writer = Writer::of(&config.name, config.creation);
        Self {
            cluster: Cluster::new(&config),
            replicas: (0..shards).map(|_| Replica::new(Shard::new(writer, 0))).collect(),
            keeper: crate::keeper::Keeper::new(shards),
            writer,
            hlc: Hlc::default(),
            calendar: Calendar::new(0, 0),
            random: Random::new(seed),
            monotonic_ms: 0,
            started_ms: 0,
            now_ms: 0,
            runs: Runs::default(),
            waiting: (0..PEERS_MAX).map(|_| VecDeque::new()).collect(),
            sent: HashMap::default(),
            next_token: 1,
            relax_at: VecDeque::new(),
            end_at: VecDeque::new(),
            silent: PeerSet::EMPTY,
            outboxes: (0..PEERS_MAX).map(|_| Outbox::default()).collect(),
            received: alloc::vec![0; PEERS_MAX],
            acknowledged: alloc::vec![0; PEERS_MAX],
            beats: alloc::vec![0; PEERS_MAX],
            echoes: alloc::vec![0; PEERS_MAX],
            recovering: PeerSet::EMPTY,
            resumed_ms: 0,
            held: Vec::new(),
            names: Vec::new(),
            broken: Vec::new(),
            early: Vec::new(),
            clients: HashMap::default(),
            answers: Vec::new(),
            beam_answers: Vec::new(),
            commands: Vec::new(),
            notes: Vec::new(),
            delta: Vec::new(),
            counters: Counters::default(),
            measured: Measured::default(),
            vitals: Vitals::default(),
            asked: 0,
            ticking: false,
            config,
        }
    }

    fn look_at_the_clock(&mut self, ctx: &Context<'_, Payload>) {
        let now = ctx.now();
        let before_ms = self.monotonic_ms;
        self.monotonic_ms = now.monotonic_us / 1000;
        if self.monotonic_ms > before_ms + STILL_MS && before_ms > 0 {
            self.recovering = self.cluster.connected();
            self.resumed_ms = self.monotonic_ms;
        }
        self.now_ms = self.calendar.read(now.monotonic_us, now.wall_ms);
    }

    /// Counts from zero again.
    pub(crate) fn reset_counters(&mut self) {
        self.counters = Counters::default();
        self.asked = 0;
    }

    /// The peer in `slot` has heard of us a moment ago, and everything it sent before is here.
    pub(crate) fn has_lease(&self, slot: usize) -> bool {
        self.monotonic_ms < self.echoes[slot] + LEASE_MS
    }

    /// A frame of the peer in `slot`. An error says which rule of the protocol it broke.
    fn frame(&mut self, slot: usize, bytes: &[u8]) -> Result<(), &'static str> {
        let mut frame = Frame::decode(bytes).map_err(|malformed| malformed.0)?;
        // A frame that came twice says nothing new; one that is missing was lost, and what it held with it.
        if frame.number <= self.received[slot] {
            return Ok(());
        }
        if frame.number != self.received[slot] + 1 {
            return Err("a frame is missing");
        }
        if frame.applied >= self.outboxes[slot].number() {
            return Err("it acknowledges what was not sent");
        }
        self.received[slot] = frame.number;
        self.beats[slot] = frame.beat;
        self.echoes[slot] = frame.echo.min(self.monotonic_ms);
        if frame.echo >= self.resumed_ms {
            self.recovering.remove(slot);
        }
        if frame.applied > self.acknowledged[slot] {
            self.acknowledged[slot] = frame.applied;
            self.silent.remove(slot);
            self.acknowledged(slot, frame.applied);
        }
        while let Some(message) = frame.next() {
            let message = message.map_err(|malformed| malformed.0)?;
            if !self.message(slot, &message) {
                return Err("a message that makes no sense");
            }
        }
        Ok(())
    }

    fn message(&mut self, slot: usize, message: &Message<'_>) -> bool {
        match message {
            Message::Delta { shard, delta } => {
                self.outboxes[slot].acknowledge();
                self.merge(*shard as usize, delta)
            }
            Message::Forward(forward) => {
                let creation = self.cluster.peer(slot).map_or(0, |peer| peer.creation);
                self.forwarded(slot, creation, forward)
            }
            Message::Outcome { token, replies } => match outcome::decode(replies) {
                Ok(replies) => self.outcome(slot, *token, &replies),
                Err(_) => false,
            },
            Message::Vitals(vitals) => {
                if let Some(peer) = self.cluster.peer_mut(slot) {
                    peer.vitals = *vitals;
                }
                true
            }
            Message::Leave => {
                self.leave();
                true
            }
            Message::Holdings { .. }
            | Message::Digest(_)
            | Message::Compare
            | Message::Clock { .. }
            | Message::Pull { .. }
            | Message::More { .. }
            | Message::Chunk { .. }
            | Message::Refusal { .. }
            | Message::Release { .. }
            | Message::Released { .. } => self.keep(slot, message),
        }
    }

    fn members(&mut self, members: alloc::sync::Arc<[node::Member]>) {
        let change = self.cluster.update(members);
        for slot in change.lost.iter() {
            self.silent.remove(slot);
            self.recovering.remove(slot);
            self.abandon(slot);
            self.forget_peer(slot);
        }
        for slot in change.joined.iter() {
            self.outboxes[slot] = Outbox::default();
            self.received[slot] = 0;
            self.acknowledged[slot] = 0;
            self.beats[slot] = 0;
            self.echoes[slot] = 0;
        }
        self.names = Vec::new();
        for (slot, peer) in self.cluster.peers() {
            if self.names.len() <= slot {
                self.names.resize(slot + 1, Atom::new(""));
            }
            self.names[slot] = Atom::new(&peer.name);
        }
        self.placed(&change);
        self.take_early();
    }

    fn tick(&mut self) {
        self.deadlines();
        self.review();
        self.every_second();
    }

    fn every_second(&mut self) {
        if !self.keeper.second_is_over(self.monotonic_ms) {
            return;
        }
        let ops = self.counters.requests - self.asked;
        self.asked = self.counters.requests;
        self.vitals = self.take_vitals(ops);
        let vitals = self.vitals;
        for slot in self.cluster.connected().iter() {
            self.outboxes[slot].push(&Message::Vitals(vitals));
        }
    }

    /// Sends what was gathered. Called at the flush, and when a message is done that gathered a lot.
    fn send(&mut self, ctx: &mut Context<'_, Payload>) {
        let name = Atom::new(NAME);
        for slot in self.cluster.connected().iter() {
            let (applied, echo) = (self.received[slot], self.beats[slot]);
            let Some(frame) = self.outboxes[slot].seal(applied, self.monotonic_ms, echo) else { continue };
            ctx.send_bytes(&self.names[slot], &name, frame);
            self.outboxes[slot].reset();
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, Payload>) {
        if self.recovering.is_empty() {
            for ask in core::mem::take(&mut self.held) {
                self.ask(ask);
            }
        }
        for ask in self.answers.drain(..) {
            let client = ask.client.clone();
            ctx.tell(&client, Payload::Ask(ask));
        }
        for (caller, replies) in self.beam_answers.drain(..) {
            beam::answer(ctx, &caller, &replies);
        }
        for command in self.commands.drain(..) {
            ctx.members(command);
        }
        for (kind, text) in self.notes.drain(..) {
            ctx.event(Event::Note { kind, text });
        }
        for (slot, rule) in core::mem::take(&mut self.broken) {
            if let Some(peer) = self.cluster.peer(slot) {
                let text = format!("{} broke the store's protocol: {rule}", peer.name);
                ctx.event(Event::Note { kind: "protocol", text });
                ctx.disconnect(&self.names[slot]);
            }
        }
    }

    fn term(&mut self, ctx: &mut Context<'_, Payload>, from: Option<&Pid>, term: Term) {
        match (from, &term) {
            (Some(from), Term::Binary(frame)) => match self.slot_of(from) {
                Some(slot) => self.peer_frame(slot, frame),
                None if self.early.len() < EARLY_MAX => self.early.push((from.clone(), frame.clone())),
                None => {}
            },
            _ => self.beam(ctx, term),
        }
    }

    fn slot_of(&self, pid: &Pid) -> Option<usize> {
        let mut peers = self.cluster.peers();
        peers
            .find(|(_, peer)| peer.creation == pid.creation && peer.name == pid.node.as_str())
            .map(|(slot, _)| slot)
    }

    fn peer_frame(&mut self, slot: usize, frame: &[u8]) {
        if self.broken.iter().any(|(broken, _)| *broken == slot) {
            return;
        }
        if let Err(rule) = self.frame(slot, frame) {
            self.broken.push((slot, rule));
        }
    }

    /// A hello and the frames behind it may come in one read: the frames are then here before the member list that the
    /// hello leads to.
    fn take_early(&mut self) {
        for (from, frame) in core::mem::take(&mut self.early) {
            match self.slot_of(&from) {
                Some(slot) => self.peer_frame(slot, &frame),
                None => self.early.push((from, frame)),
            }
        }
    }
}

impl Process<Payload> for Store {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        self.look_at_the_clock(ctx);
        self.started_ms = self.monotonic_ms;
        self.calendar = Calendar::new(ctx.now().monotonic_us, ctx.now().wall_ms);
        ctx.monitor_nodes();
        ctx.monitor_members();
        ctx.timer(TICK_US, TICK);
        self.ticking = true;
        self.review();
        self.carry_out(ctx);
    }

    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: node::Message<Payload>) {
        self.look_at_the_clock(ctx);
        match message {
            node::Message::Payload(payload) => self.payload(ctx, payload),
            node::Message::Term { from, term } => self.term(ctx, from.as_ref(), term),
            node::Message::Members(members) => self.members(members),
            node::Message::Timer { .. } => {
                self.tick();
                ctx.timer(TICK_US, TICK);
            }
            node::Message::Flush => {
                self.early.clear();
                if self.keeper.look {
                    self.review();
                }
                self.send(ctx);
                self.carry_out(ctx);
                return;
            }
            // Peers are known through membership; the rest is asked for by nobody here.
            node::Message::NodeDown { reason, .. } => {
                if reason.is_atom("paused") {
                    self.step_down();
                }
            }
            node::Message::NodeUp { .. }
            | node::Message::Exit { .. }
            | node::Message::Down { .. }
            | node::Message::Reply { .. } => {}
        }
        self.carry_out(ctx);
        if self.cluster.peers().any(|(slot, _)| self.outboxes[slot].len() > FRAME_BYTES) {
            self.send(ctx);
        }
        ctx.defer();
    }
}

impl Store {
    fn payload(&mut self, ctx: &mut Context<'_, Payload>, payload: Payload) {
        match payload {
            Payload::Ask(ask) => self.ask(ask),
            Payload::Connected(session) => {
                self.counters.connections += 1;
                self.clients.insert(session.id, *session);
            }
            Payload::Disconnected { id } => {
                self.clients.remove(&id);
            }
            Payload::Measured(measured) => self.measured = measured,
            Payload::StatusOf { to } => {
                let status = self.status();
                ctx.tell(&to, Payload::Status(status));
            }
            Payload::Add { node } => self.commands.push(MembersCommand::Add { node }),
            Payload::Leave => self.leave(),
            Payload::LeaveOther { node } => match self.cluster.slot(node.as_str()) {
                Some(slot) => self.outboxes[slot].push(&Message::Leave),
                None if node.as_str() == self.config.name => self.leave(),
                None => self.commands.push(MembersCommand::Forget { node }),
            },
            Payload::Forget { node } => self.commands.push(MembersCommand::Forget { node }),
            Payload::Status(_) => {}
        }
    }
}
