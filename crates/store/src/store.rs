//! The store of one node as a process: it takes batches from the front ends, frames from its peers and terms from BEAM
//! nodes, and has [`coordinator`](crate::coordinator), [`keeper`](crate::keeper) and [`beam`](crate::beam) deal with
//! them. Here are its state and its plumbing: what came in goes to whom, and what was gathered goes out.
//!
//! - What is gathered for a peer leaves as one frame at the flush, and what is large when there is room for it.
//! - The frames of a peer are numbered; a gap cuts the connection (see [`message`]).
//! - Time is looked at once per message, so all that one message does has one time.

use alloc::{boxed::Box, format, vec::Vec};
use hashbrown::HashMap;
use node::{Context, Event, MembersCommand, Process};
use wire::{
    etf::{Atom, Pid, Term},
    reply::Replies,
    request::Batch,
};

use crate::{
    ask::{Ask, Measured, Payload, Session},
    backlog::Backlog,
    beam,
    calendar::Calendar,
    cluster::{Beside, Change, Cluster},
    config::Config,
    coordinator::Sent,
    counters::Counters,
    dot::Writer,
    due::{Awaited, Due},
    early::Early,
    forming::Forming,
    keeper::Replica,
    leaving::Leaving,
    message::{self, Frame, LEASE_MS, Message, Vitals},
    outbox::{Head, Outbox},
    outcome,
    parked::Parked,
    peers::{PEERS_MAX, PeerSet},
    random::Random,
    run::{Run, Runs},
    shard::Shard,
    slices::{Arrivals, WAITING_MAX, large_bytes_max},
    stamp::Hlc,
    wall::Wall,
    warm::GROUP,
};

/// The name the store is registered under on every node.
pub const NAME: &str = "salp";

/// Time between two looks at what is due.
const TICK_US: u64 = 50_000;
const TICK: u64 = 1;
/// A node that did nothing for so long, though it ticks, stood still.
const STILL_MS: u64 = 1_000;

/// Bytes on the way to a peer from which on further frames wait here. With one message of the largest size behind them
/// it is less than what cuts the peer (`Limits::output_bytes_max`): many large values at once must not cost a replica.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Bytes that may wait for a peer; past them it is cut. What waits are deltas in the first place: writes do not wait
/// for who does not read, and to have it repaired later costs less than to keep all of them.
const OUTBOX_BYTES_MAX: usize = 256 << 20;

/// How long the status of the cluster waits for the word of all peers.
const INQUIRY_MS: u64 = 250;

/// Somebody waits for the status of the cluster.
#[derive(Debug)]
struct Inquiry {
    to: Pid,
    /// Peers that have not told how they fare since.
    open: PeerSet,
    until_ms: u64,
}

impl Inquiry {
    fn is_over(&self, now_ms: u64) -> bool {
        self.open.is_empty() || now_ms >= self.until_ms
    }
}

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
    pub(crate) wall: Wall,

    pub(crate) cluster: Cluster,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) keeper: crate::keeper::Keeper,
    pub(crate) forming: Forming,
    pub(crate) leaving: Leaving,

    pub(crate) runs: Runs,
    /// By peer: what runs wait for it to have merged.
    pub(crate) awaited: Vec<Awaited>,
    pub(crate) sent: HashMap<u64, Sent, foldhash::fast::FixedState>,
    pub(crate) next_token: u64,
    pub(crate) relax_at: Due,
    pub(crate) end_at: Due,
    /// Peers that let a write wait past the write timeout and have not answered since.
    pub(crate) silent: PeerSet,

    /// By peer: what is gathered for it, and the number of its last frame.
    pub(crate) outboxes: Vec<Outbox>,
    /// By peer: what waits to be put there.
    pub(crate) backlogs: Vec<Backlog>,
    /// By peer: large messages that it has announced and that are not here yet.
    pub(crate) arrivals: Vec<Arrivals>,
    pub(crate) received: Vec<u64>,
    acknowledged: Vec<u64>,
    /// By peer: its clock, and ours as it last had it.
    pub(crate) beats: Vec<u64>,
    pub(crate) echoes: Vec<u64>,
    /// Peers that have not been heard of since this node stood still: until then it may have been deposed unawares.
    pub(crate) recovering: PeerSet,
    resumed_ms: u64,
    /// Runs that wait for the end of that, until their deadline at most. A client has one, since it has one batch under
    /// way at a time, BEAM processes have `beam::RUNS_MAX`, and peers forward what their own have under way.
    pub(crate) held: Vec<Run>,
    /// In whose name this node asks itself.
    pub(crate) nobody: Pid,
    /// The name all stores have, and by peer that of its node.
    pub(crate) name: Atom,
    pub(crate) names: Vec<Atom>,
    /// Peers that broke the protocol while the present message was handled.
    broken: Vec<(usize, &'static str)>,
    /// Peers whose connection is lost, which the member list does not show yet.
    pub(crate) cut: PeerSet,
    /// Silent peers that another member has dropped: their connections are closed once the message is done.
    pub(crate) given_up: PeerSet,
    pub(crate) early: Early,
    /// Requests on shards that are not settled.
    pub(crate) parked: Parked,

    /// Emptied batches, for what peers forward.
    pub(crate) spares: Vec<Batch>,
    pub(crate) clients: HashMap<u64, Session, foldhash::fast::FixedState>,
    #[allow(clippy::vec_box)] // the boxes travel on
    pub(crate) answers: Vec<Box<Ask>>,
    pub(crate) beam_answers: Vec<(Box<beam::Caller>, Replies)>,
    pub(crate) beam_writes: beam::Writes,
    /// Runs of BEAM processes under way.
    pub(crate) beam_runs: usize,
    pub(crate) commands: Vec<MembersCommand>,
    pub(crate) notes: Vec<(&'static str, alloc::string::String)>,
    pub(crate) delta: Vec<u8>,
    pub(crate) counters: Counters,
    pub(crate) measured: Measured,
    /// Bytes of requests that may have made the store grow since then.
    pub(crate) grown_bytes: u64,
    pub(crate) vitals: Vitals,
    asked: u64,
    /// Answered within [`INQUIRY_MS`]; as many as the front ends have requests open.
    inquiries: Vec<Inquiry>,
    ticking: bool,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Store")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
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
            forming: Forming::new(config.forming),
            leaving: Leaving::default(),
            writer,
            hlc: Hlc::default(),
            calendar: Calendar::new(0, 0),
            random: Random::new(seed),
            monotonic_ms: 0,
            started_ms: 0,
            now_ms: 0,
            wall: Wall::default(),
            runs: Runs::default(),
            awaited: (0..PEERS_MAX).map(|_| Awaited::default()).collect(),
            sent: HashMap::default(),
            next_token: 1,
            relax_at: Due::default(),
            end_at: Due::default(),
            silent: PeerSet::EMPTY,
            outboxes: (0..PEERS_MAX).map(|_| Outbox::new(config.slice_bytes)).collect(),
            backlogs: (0..PEERS_MAX).map(|_| Backlog::default()).collect(),
            arrivals: (0..PEERS_MAX).map(|_| Arrivals::default()).collect(),
            received: alloc::vec![0; PEERS_MAX],
            acknowledged: alloc::vec![0; PEERS_MAX],
            beats: alloc::vec![0; PEERS_MAX],
            echoes: alloc::vec![0; PEERS_MAX],
            recovering: PeerSet::EMPTY,
            resumed_ms: 0,
            held: Vec::new(),
            nobody: Pid {
                node: Atom::new(&config.name),
                id: 0,
                serial: 0,
                creation: config.creation,
            },
            name: Atom::new(NAME),
            names: Vec::new(),
            broken: Vec::new(),
            cut: PeerSet::EMPTY,
            given_up: PeerSet::EMPTY,
            parked: Parked::default(),
            early: Early::default(),
            spares: Vec::new(),
            clients: HashMap::default(),
            answers: Vec::new(),
            beam_answers: Vec::new(),
            beam_writes: beam::Writes::default(),
            beam_runs: 0,
            commands: Vec::new(),
            notes: Vec::new(),
            delta: Vec::new(),
            counters: Counters::default(),
            measured: Measured::default(),
            grown_bytes: 0,
            vitals: Vitals::default(),
            asked: 0,
            inquiries: Vec::new(),
            ticking: false,
            config,
        }
    }

    fn look_at_the_clock(&mut self, ctx: &Context<'_, Payload>) {
        let now = ctx.now();
        let before_ms = self.time.monotonic_ms;
        self.time.monotonic_ms = now.monotonic_us / 1000;
        if self.time.monotonic_ms > before_ms + STILL_MS && before_ms > 0 {
            self.links.recovering = self.cluster.connected();
            self.time.resumed_ms = self.time.monotonic_ms;
        }
        self.time.now_ms = self.time.calendar.read(now.monotonic_us);
        self.time.wall.read(now.wall_ms, self.time.now_ms);
    }

    /// Counts from zero again.
    pub(crate) fn reset_counters(&mut self) {
        self.gauges.counters = Counters::default();
        self.gauges.asked = 0;
    }

    /// The peer in `slot` has heard of us a moment ago, and everything it sent before is here.
    pub(crate) fn has_lease(&self, slot: usize) -> bool {
        self.time.monotonic_ms < self.links[slot].echo + LEASE_MS && !self.links.cut.contains(slot)
    }

    /// A frame of the peer in `slot`. An error says which rule of the protocol it broke.
    fn frame(&mut self, slot: usize, bytes: &[u8]) -> Result<(), &'static str> {
        let mut frame = Frame::decode(bytes).map_err(|malformed| malformed.0)?;
        // A frame that came twice says nothing new; one that is missing was lost, and what it held with it.
        if frame.number <= self.links[slot].received {
            return Ok(());
        }
        if frame.number != self.links[slot].received + 1 {
            return Err("a frame is missing");
        }
        if frame.applied >= self.links[slot].outbox.unsent() {
            return Err("it acknowledges what was not sent");
        }
        let life = self.cluster.peer(slot).map(|peer| peer.life);
        self.links[slot].received = frame.number;
        self.time.hlc.observe(frame.stamp, self.time.now_ms);
        self.links[slot].beat = frame.beat;
        self.links[slot].echo = frame.echo.min(self.time.monotonic_ms);
        if frame.echo >= self.time.resumed_ms {
            self.links.recovering.remove(slot);
        }
        if frame.applied > self.links[slot].acknowledged {
            self.links[slot].acknowledged = frame.applied;
            self.links.silent.remove(slot);
            for inquiry in &mut self.gauges.inquiries {
                inquiry.open.remove(slot);
            }
            self.acknowledged(slot, frame.applied);
        }
        let mut ahead = frame.clone();
        let mut until_warm = 0;
        while let Some(message) = frame.next() {
            if until_warm == 0 {
                self.warm_deltas(&mut ahead);
                until_warm = GROUP;
            }
            until_warm -= 1;
            let message = message.map_err(|malformed| malformed.0)?;
            let makes_sense = self.message(slot, &message);
            if self.cluster.peer(slot).map(|peer| peer.life) != life {
                // The message told that the peer is out of reach.
                return Ok(());
            }
            if !makes_sense {
                return Err("a message that makes no sense");
            }
        }
        Ok(())
    }

    fn message(&mut self, slot: usize, message: &Message<'_>) -> bool {
        match message {
            Message::Delta { shard, delta } => {
                self.links[slot].outbox.acknowledge();
                self.merge(*shard as usize, delta)
            }
            Message::Forward(forward) => self.forwarded(slot, forward),
            Message::Outcome {
                token,
                follows,
                replies,
            } => match outcome::decode(replies) {
                Ok(replies) => self.outcome(slot, *token, *follows, &replies),
                Err(_) => false,
            },
            Message::Vitals(vitals) => {
                if let Some(peer) = self.cluster.peer_mut(slot) {
                    peer.vitals = *vitals;
                }
                for inquiry in &mut self.gauges.inquiries {
                    inquiry.open.remove(slot);
                }
                true
            }
            Message::Times(times) => {
                self.times(slot, times);
                true
            }
            Message::Keys(counts) => match message::key_counts(counts, self.cluster.shards()) {
                Ok(keys) => {
                    if let Some(peer) = self.cluster.peer_mut(slot) {
                        peer.keys = keys;
                    }
                    true
                }
                Err(_) => false,
            },
            Message::Ask => {
                self.tell_vitals(slot);
                true
            }
            Message::Leave => {
                self.leave();
                true
            }
            Message::Sight(sight) => {
                self.cluster.sees(slot, sight.clone());
                self.look_around();
                true
            }
            Message::Stand { view, knows, losses } => {
                self.cluster.has_lost(slot, *losses);
                if self.cluster.stands(slot, *view, *knows) {
                    let mut forgetful = PeerSet::EMPTY;
                    forgetful.insert(slot);
                    self.tell_holdings(forgetful);
                }
                true
            }
            Message::Relay {
                to,
                from,
                numbers,
                hops,
                frame,
            } => {
                self.relayed(to, from, *numbers, *hops, frame);
                true
            }
            Message::Large { shard, bytes } => {
                let is_known = shard.is_none_or(|shard| (shard as usize) < self.replicas.len());
                is_known && self.arrivals[slot].announce(*shard, *bytes, large_bytes_max(&self.config))
            }
            Message::Slice(bytes) => self.slice(slot, bytes),
            Message::Roll(roll) => self.roll_of(slot, roll),
            Message::AcceptLoss => {
                self.accept_loss(false);
                true
            }
            Message::Holdings { .. }
            | Message::Digest(_)
            | Message::Compare
            | Message::Clock { .. }
            | Message::ClocksEnd
            | Message::Pull { .. }
            | Message::More { .. }
            | Message::Chunk { .. }
            | Message::Refusal { .. }
            | Message::Release { .. }
            | Message::Released { .. } => self.keep(slot, message),
        }
    }

    /// The next bytes of a large message; false if it is none that was announced.
    fn slice(&mut self, slot: usize, bytes: &[u8]) -> bool {
        self.gives(slot);
        match self.arrivals[slot].take(bytes) {
            Ok(None) => true,
            Ok(Some(whole)) => message::decode_large(&whole).is_ok_and(|message| self.message(slot, &message)),
            Err(()) => false,
        }
    }

    /// A delta of `shard` is on its way here. A read at this node might not show what it has shown before.
    pub(crate) fn awaits_delta(&self, shard: usize) -> bool {
        let mut peers = self.arrivals.iter().filter(|arrivals| !arrivals.is_empty());
        peers.any(|arrivals| arrivals.await_delta(shard))
    }

    fn members(&mut self, members: alloc::sync::Arc<[node::Member]>) {
        let change = self.cluster.update(members);
        let has_lost = !change.lost.is_empty();
        self.changed(&change);
        self.look_around();
        if has_lost && self.cluster.turns_away() {
            // Their slots are free only now.
            return self.members(self.cluster.members().clone());
        }
        for name in change.turned_away {
            let text = format!("{name} has no part in the store: there are slots for {PEERS_MAX} peers");
            self.out.notes.push(("peers_full", text));
        }
    }

    /// Peers came or went.
    pub(crate) fn changed(&mut self, change: &Change) {
        // A peer that was lost before it was heard of again has gone on without this node.
        if change.lost.iter().any(|slot| self.links.recovering.contains(slot)) {
            self.step_down();
        }
        for slot in change.lost.iter() {
            self.links.silent.remove(slot);
            self.links.recovering.remove(slot);
            self.links.cut.remove(slot);
            self.forget_peer(slot);
        }
        self.names = Vec::new();
        for (slot, peer) in self.cluster.peers() {
            if self.names.len() <= slot {
                self.names.resize(slot + 1, Atom::new(""));
            }
            self.links[slot].node = Atom::new(&peer.name);
        }
        for slot in change.joined.iter() {
            self.links.cut.remove(slot);
            self.links[slot].outbox = Outbox::new(self.config.slice_bytes);
            self.links[slot].received = 0;
            self.links[slot].acknowledged = 0;
            self.links[slot].beat = 0;
            self.links[slot].echo = 0;
            if let Some(peer) = self.cluster.peer_mut(slot) {
                peer.since_ms = self.time.monotonic_ms;
            }
            // Before what it holds: nothing is formed, filled or merged before both have one time.
            self.tell_times(slot);
        }
        // Before anything else: what a peer hears of clocks counts from the holdings on.
        self.tell_holdings(change.joined);
        for slot in change.joined.iter() {
            self.introduce(slot);
        }
        for slot in change.lost.iter() {
            self.abandon(slot);
        }
        self.placed(change);
        for slot in change.joined.iter() {
            self.hear_early(slot);
        }
    }

    /// A frame that came before the member list that has its sender.
    pub(crate) fn hear_early(&mut self, slot: usize) {
        let Some(peer) = self.cluster.peer(slot) else { return };
        let life = peer.life;
        for frame in self.links.early.take(&peer.name, peer.creation) {
            let is_same = self.cluster.peer(slot).is_some_and(|peer| peer.life == life);
            if is_same && !self.links.cut.contains(slot) {
                self.frame_of(slot, &frame);
            }
        }
    }

    /// The connection to a peer is gone, and with it everything it sent that was not handled yet.
    fn node_down(&mut self, node: &Atom, creation: u32, reason: &Term) {
        self.links.early.take(node.as_str(), creation);
        if let Some(slot) = self.cluster.slot(node.as_str())
            && self.cluster.peer(slot).is_some_and(|peer| peer.creation == creation)
        {
            if self.cluster.is_relayed(slot) {
                self.cluster.note_beside(slot, Beside::Unknown);
            } else {
                self.links.cut.insert(slot);
            }
        }
        if reason.is_atom("paused") {
            self.step_down();
        }
    }

    fn tick(&mut self) {
        self.deadlines();
        self.refuse_held();
        self.refuse_parked();
        self.look_around();
        self.review();
        self.expire();
        self.every_second();
    }

    /// Tells a peer how this node fares: the counts first, since the vitals end the wait for both.
    fn tell_vitals(&mut self, slot: usize) {
        let mut counts = Vec::new();
        message::put_key_counts(&mut counts, self.primary_keys());
        self.links[slot].outbox.push(&Message::Keys(&counts));
        let vitals = self.take_vitals(self.gauges.vitals.ops_per_second);
        self.links[slot].outbox.push(&Message::Vitals(vitals));
    }

    /// Sends the cluster's status to those who asked, once all peers have told how they fare, or have had their time.
    fn answer_inquiries(&mut self, ctx: &mut Context<'_, Payload>) {
        let now_ms = self.time.monotonic_ms;
        if !self.gauges.inquiries.iter().any(|inquiry| inquiry.is_over(now_ms)) {
            return;
        }
        let status = self.status(ctx.tables(), ctx.awaited());
        self.gauges.inquiries.retain(|inquiry| {
            let over = inquiry.is_over(now_ms);
            if over {
                ctx.tell(&inquiry.to, Payload::Status(status.clone()));
            }
            !over
        });
    }

    fn every_second(&mut self) {
        if !self.keeper.second_is_over(self.time.monotonic_ms) {
            return;
        }
        let ops = self.gauges.counters.requests - self.gauges.asked;
        self.gauges.asked = self.gauges.counters.requests;
        self.gauges.vitals = self.take_vitals(ops);
        self.note_forming();
        for slot in self.cluster.connected().iter() {
            self.tell_vitals(slot);
            self.tell_times(slot);
        }
    }

    /// Sends what was gathered, and of what waits as much as there is room for. Called at the flush, which also comes
    /// when there is room again, and when a message is done that gathered a lot.
    fn send(&mut self, ctx: &mut Context<'_, Payload>) {
        self.send_by_relay(ctx);
        for slot in self.cluster.connected().without(self.links.cut).iter() {
            if self.cluster.is_relayed(slot) {
                continue;
            }
            while ctx.has_room(&self.links[slot].node) && self.bring(slot) {
                self.seal(ctx, slot);
            }
            let all = self.seal(ctx, slot);
            let departures = self.links[slot].outbox.departures();
            if !all || !self.links[slot].backlog.is_empty() || !departures.is_empty() {
                ctx.await_room(&self.links[slot].node);
            }
            if self.links[slot].outbox.bytes() > OUTBOX_BYTES_MAX || departures.len() > WAITING_MAX {
                self.break_off(slot, "it does not read what it is sent");
            }
        }
    }

    /// Sends what is in an outbox; false if something is left for want of room.
    fn seal(&mut self, ctx: &mut Context<'_, Payload>, slot: usize) -> bool {
        let head = self.head(slot);
        let (node, name) = (&self.links[slot].node, &self.links.store);
        self.links[slot].outbox.seal(head, |frame| {
            let has_room = ctx.queued(node) < QUEUED_BYTES_MAX;
            if has_room {
                ctx.send_bytes(node, name, frame);
            }
            has_room
        })
    }

    /// What the heads of frames to a peer say now.
    pub(crate) fn head(&self, slot: usize) -> Head {
        Head {
            applied: self.links[slot].received,
            now_ms: self.time.monotonic_ms,
            echo: if self.lags(slot) || self.links[slot].outbox.departures().holds_word() {
                0
            } else {
                self.links[slot].beat
            },
            stamp: self.time.hlc.last(),
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, Payload>) {
        if self.forming.is_provisional() {
            self.settle_forming();
        }
        self.answer_inquiries(ctx);
        self.unpark();
        if !self.front.held.is_empty() && self.links.recovering.is_empty() {
            for run in core::mem::take(&mut self.front.held) {
                self.start(run);
            }
        }
        for ask in self.front.answers.drain(..) {
            let client = ask.client.clone();
            ctx.tell(&client, Payload::Ask(ask));
        }
        let usual = self.beam.answers.is_empty() && self.out.commands.is_empty() && self.out.notes.is_empty();
        if !usual || !self.links.broken.is_empty() || !self.links.given_up.is_empty() {
            self.carry_out_rest(ctx);
        }
    }

    fn carry_out_rest(&mut self, ctx: &mut Context<'_, Payload>) {
        for (caller, replies) in self.beam.answers.drain(..) {
            self.beam.writes.end(&caller);
            beam::answer(ctx, &caller, &replies);
        }
        for command in self.out.commands.drain(..) {
            ctx.members(command);
        }
        for (kind, text) in self.out.notes.drain(..) {
            ctx.event(Event::Note { kind, text });
        }
        for (slot, rule) in core::mem::take(&mut self.links.broken) {
            if let Some(peer) = self.cluster.peer(slot) {
                let text = format!("{} broke the store's protocol: {rule}", peer.name);
                ctx.event(Event::Note { kind: "protocol", text });
                ctx.disconnect(&self.links[slot].node);
            }
        }
        for slot in core::mem::take(&mut self.links.given_up).iter() {
            if self.cluster.peer(slot).is_some() && !self.cluster.is_relayed(slot) {
                self.links.cut.insert(slot);
                ctx.disconnect(&self.links[slot].node);
            }
        }
    }

    /// A frame; a peer that broke the protocol with it is cut off once this message is done.
    pub(crate) fn frame_of(&mut self, slot: usize, frame: &[u8]) {
        if let Err(rule) = self.frame(slot, frame) {
            self.break_off(slot, rule);
        }
    }

    /// Nothing more is taken from a peer or sent to it: a rule was broken.
    fn break_off(&mut self, slot: usize, rule: &'static str) {
        self.links.cut.insert(slot);
        if self.cluster.is_relayed(slot) {
            self.relay_again(slot, None);
        } else {
            self.links.broken.push((slot, rule));
        }
    }

    fn term(&mut self, ctx: &mut Context<'_, Payload>, from: Option<&Pid>, term: Term) {
        let slot = from.and_then(|pid| {
            self.cluster
                .peers()
                .find(|(_, peer)| peer.creation == pid.creation && peer.name == pid.node.as_str())
                .map(|(slot, _)| slot)
        });
        match (slot, &term) {
            (Some(slot), Term::Binary(frame)) if self.cluster.is_relayed(slot) => {
                if self.came_beside(slot, frame) {
                    self.links.early.keep(from, frame);
                }
            }
            (Some(slot), Term::Binary(frame)) => {
                if self.links.cut.contains(slot) {
                    // Of a connection that the member list does not show yet.
                    self.links.early.keep(from, frame);
                } else {
                    self.came_by_connection(slot, from, frame);
                }
            }
            (None, Term::Binary(frame)) if Frame::decode(frame).is_ok() => {
                self.links.early.keep(from.filter(|pid| pid.node != *ctx.node()), frame);
            }
            _ => self.beam(ctx, term),
        }
    }
}

impl Process<Payload> for Store {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        self.time.calendar = Calendar::new(ctx.now().monotonic_us, ctx.now().wall_ms);
        self.look_at_the_clock(ctx);
        self.time.started_ms = self.time.monotonic_ms;
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
            node::Message::Payload(payload) => self.payload(payload),
            node::Message::Term { from, term } => self.term(ctx, from.as_ref(), term),
            node::Message::Members(members) => self.members(members),
            node::Message::Cluster(affiliation) => self.affiliated(affiliation),
            node::Message::Timer { .. } => {
                self.tick();
                self.probe(ctx);
                ctx.timer(TICK_US, TICK);
            }
            node::Message::Flush => {
                if self.keeper.look {
                    self.review();
                }
                self.send(ctx);
                self.carry_out(ctx);
                return;
            }
            // Peers are known through membership; the rest is asked for by nobody here.
            node::Message::NodeDown { node, creation, reason } => self.node_down(&node, creation, &reason),
            node::Message::NodeUp { .. }
            | node::Message::Exit { .. }
            | node::Message::Down { .. }
            | node::Message::Reply { .. } => {}
        }
        self.carry_out(ctx);
        if self.cluster.peers().any(|(slot, _)| self.links[slot].outbox.is_full()) {
            self.send(ctx);
        }
        // Alone, there is nobody to send to.
        if self.keeper.look || !self.cluster.is_alone() {
            ctx.defer();
        }
    }
}

impl Store {
    fn payload(&mut self, payload: Payload) {
        match payload {
            Payload::Ask(ask) => self.ask(ask),
            Payload::Connected(session) => {
                self.gauges.counters.connections += 1;
                self.front.clients.insert(session.id, *session);
            }
            Payload::Disconnected { id } => {
                self.front.clients.remove(&id);
            }
            Payload::Measured(measured) => (self.gauges.measured, self.gauges.grown_bytes) = (measured, 0),
            Payload::StatusOf { to } => {
                let open = self.cluster.connected();
                for slot in open.iter() {
                    self.links[slot].outbox.push(&Message::Ask);
                }
                self.gauges.inquiries.push(Inquiry {
                    to,
                    open,
                    until_ms: self.time.monotonic_ms + INQUIRY_MS,
                });
            }
            Payload::Add { node } => self.out.commands.push(MembersCommand::Add { node }),
            Payload::Leave => self.leave(),
            Payload::CutShort => self.cut_short(),
            Payload::ClientsAreGone => self.clients_are_gone(),
            Payload::LeaveOther { node } => match self.cluster.slot(node.as_str()) {
                Some(slot) => self.links[slot].outbox.push(&Message::Leave),
                None if node.as_str() == self.config.name => self.leave(),
                None => self.out.commands.push(MembersCommand::Forget { node }),
            },
            Payload::Forget { node } => self.out.commands.push(MembersCommand::Forget { node }),
            Payload::Discovered { names } => self.discovered(names),
            Payload::AcceptLoss => self.accept_loss(true),
            Payload::Status(_) => {}
        }
    }
}
