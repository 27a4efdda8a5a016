//! The store of one node as a process. It receives batches from front ends, frames from peers and terms from BEAM
//! nodes. [`coordinator`](crate::coordinator), [`keeper`](crate::keeper) and [`beam`](crate::beam) handle them. This
//! file has the state, passes each input to its handler, and sends the results.
//!
//! - Messages gathered for a peer are sent as one frame at the flush. Large data is sent when there is room for it.
//! - The frames of a peer are numbered. A gap closes the connection (see [`message`]).
//! - Time is read once per message, so everything that one message causes has the same time.

use alloc::{boxed::Box, collections::VecDeque, format, vec::Vec};
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
    coordinator::{Awaited, Sent},
    counters::Counters,
    dot::Writer,
    early::Early,
    forming::Forming,
    keeper::Replica,
    leaving::Leaving,
    message::{self, Frame, LEASE_MS, Message, Vitals},
    outbox::{Head, Outbox},
    outcome,
    parked::Parked,
    pause::Pause,
    peers::{PEERS_MAX, PeerSet},
    random::Random,
    records::Records,
    run::{Run, RunId, Runs},
    shard::Shard,
    stamp::Hlc,
    wall::Wall,
    warm::GROUP,
};

/// The name the store is registered under on every node.
pub const NAME: &str = "salp";

/// Time between two ticks, which do the work that is due.
const TICK_US: u64 = 50_000;
const TICK: u64 = 1;
/// If a node did nothing for this long although it ticks, it was stopped.
const STILL_MS: u64 = 1_000;

/// If this many bytes are on the way to a peer, further frames wait here. Together with one message of the largest
/// size, this is less than the limit at which the node closes the connection (`Limits::output_bytes_max`). Thus many
/// large values at once do not cost a replica.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// If more bytes than this wait for a peer, its connection is closed. Most of them are deltas: writes do not wait for a
/// peer that does not read. Repairing the peer later is cheaper than keeping all of them.
const OUTBOX_BYTES_MAX: usize = 256 << 20;

/// How long the status of the cluster waits for the reports of all peers.
const INQUIRY_MS: u64 = 250;

/// A request for the status of the cluster.
#[derive(Debug)]
struct Inquiry {
    to: Pid,
    /// Peers that have not reported their vitals since.
    open: PeerSet,
    until_ms: u64,
}

impl Inquiry {
    fn is_over(&self, now_ms: u64) -> bool {
        self.open.is_empty() || now_ms >= self.until_ms
    }
}

/// The store of one node.
pub struct Store {
    pub(crate) config: Config,
    pub(crate) writer: Writer,
    pub(crate) hlc: Hlc,
    pub(crate) calendar: Calendar,
    pub(crate) random: Random,
    /// Monotonic milliseconds, and the same in microseconds.
    pub(crate) monotonic_ms: u64,
    pub(crate) monotonic_us: u64,
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
    /// For each peer: runs that wait until it has merged the frame with a certain number.
    pub(crate) waiting: Vec<VecDeque<Awaited>>,
    pub(crate) sent: HashMap<u64, Sent, foldhash::fast::FixedState>,
    pub(crate) next_token: u64,
    pub(crate) relax_at: VecDeque<(u64, RunId)>,
    pub(crate) end_at: VecDeque<(u64, RunId)>,
    /// Peers that made a write wait past the write timeout, and have not answered since.
    pub(crate) silent: PeerSet,
    /// Peers that have as much memory allocated as they may.
    pub(crate) full: PeerSet,

    /// For each peer: the messages gathered for it, and the number of its last frame.
    pub(crate) outboxes: Vec<Outbox>,
    /// For each peer: data that waits to be put into the outbox.
    pub(crate) backlogs: Vec<Backlog>,
    pub(crate) received: Vec<u64>,
    acknowledged: Vec<u64>,
    /// For each peer: its last beat, and this node's last beat that it received.
    pub(crate) beats: Vec<u64>,
    pub(crate) echoes: Vec<u64>,
    /// Peers that have not answered since this node was stopped for a while. Until they do, another node may have
    /// replaced this one as primary.
    pub(crate) recovering: PeerSet,
    resumed_ms: u64,
    /// Runs that wait for that, until their deadline. Their number is limited: a client has one batch under way at a
    /// time, BEAM processes have `beam::RUNS_MAX`, and peers forward only what their own clients have under way.
    pub(crate) held: Vec<Run>,
    /// The client of this node's own requests.
    pub(crate) nobody: Pid,
    /// The name of every store process; and for each peer the name of its node.
    pub(crate) name: Atom,
    pub(crate) names: Vec<Atom>,
    /// Peers that broke the protocol while this message was handled.
    broken: Vec<(usize, &'static str)>,
    /// Peers whose connection is lost, although the member list still shows them.
    pub(crate) cut: PeerSet,
    /// Silent peers that another member has dropped. Their connections are closed after this message.
    pub(crate) given_up: PeerSet,
    pub(crate) early: Early,
    /// Requests on shards that are not settled.
    pub(crate) parked: Parked,

    /// Empty batches, for requests that peers forward.
    pub(crate) spares: Vec<Batch>,
    pub(crate) clients: HashMap<u64, Session, foldhash::fast::FixedState>,
    #[allow(clippy::vec_box)] // the boxes are sent on
    pub(crate) answers: Vec<Box<Ask>>,
    pub(crate) beam_answers: Vec<(Box<beam::Caller>, Replies)>,
    pub(crate) beam_writes: beam::Writes,
    /// How many runs of BEAM processes are under way.
    pub(crate) beam_runs: usize,
    pub(crate) commands: Vec<MembersCommand>,
    pub(crate) notes: Vec<(&'static str, alloc::string::String)>,
    pub(crate) delta: Vec<u8>,
    pub(crate) counters: Counters,
    pub(crate) records: Records,
    /// Requests of Redis clients that are paused.
    pub(crate) pause: Pause,
    /// Connections to be closed, by number, and the shell that closes them.
    pub(crate) kills: Vec<(Pid, Vec<u64>)>,
    pub(crate) measured: Measured,
    /// Bytes of requests since the last measurement that may have made the store larger.
    pub(crate) grown_bytes: u64,
    pub(crate) vitals: Vitals,
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
    /// The store of a node that has no data yet. `seed` is for its random choices.
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
            monotonic_us: 0,
            started_ms: 0,
            now_ms: 0,
            wall: Wall::default(),
            runs: Runs::default(),
            waiting: (0..PEERS_MAX).map(|_| VecDeque::new()).collect(),
            sent: HashMap::default(),
            next_token: 1,
            relax_at: VecDeque::new(),
            end_at: VecDeque::new(),
            silent: PeerSet::EMPTY,
            full: PeerSet::EMPTY,
            outboxes: (0..PEERS_MAX).map(|_| Outbox::default()).collect(),
            backlogs: (0..PEERS_MAX).map(|_| Backlog::default()).collect(),
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
            records: Records::default(),
            pause: Pause::default(),
            kills: Vec::new(),
            measured: Measured::default(),
            grown_bytes: 0,
            vitals: Vitals::default(),
            inquiries: Vec::new(),
            ticking: false,
            config,
        }
    }

    fn look_at_the_clock(&mut self, ctx: &Context<'_, Payload>) {
        let now = ctx.now();
        let before_ms = self.monotonic_ms;
        self.monotonic_us = now.monotonic_us;
        self.monotonic_ms = now.monotonic_us / 1000;
        if self.monotonic_ms > before_ms + STILL_MS && before_ms > 0 {
            self.recovering = self.cluster.connected();
            self.resumed_ms = self.monotonic_ms;
        }
        self.now_ms = self.calendar.read(now.monotonic_us);
        self.wall.read(now.wall_ms, self.now_ms);
    }

    /// Sets the counters to zero.
    pub(crate) fn reset_counters(&mut self) {
        self.counters = Counters::default();
        self.records.reset();
    }

    /// Whether the peer in `slot` has received a beat of this node a moment ago. Then everything that it sent before is
    /// here.
    pub(crate) fn has_lease(&self, slot: usize) -> bool {
        self.monotonic_ms < self.echoes[slot] + LEASE_MS && !self.cut.contains(slot)
    }

    /// Handles a frame of the peer in `slot`. An error says which rule of the protocol the peer broke.
    fn frame(&mut self, slot: usize, bytes: &[u8]) -> Result<(), &'static str> {
        let mut frame = Frame::decode(bytes).map_err(|malformed| malformed.0)?;
        // A frame that came twice is ignored. If a frame is missing, it was lost with its messages.
        if frame.number <= self.received[slot] {
            return Ok(());
        }
        if frame.number != self.received[slot] + 1 {
            return Err("a frame is missing");
        }
        if frame.applied >= self.outboxes[slot].unsent() {
            return Err("it acknowledges what was not sent");
        }
        let life = self.cluster.peer(slot).map(|peer| peer.life);
        self.received[slot] = frame.number;
        self.hlc.observe(frame.stamp, self.now_ms);
        self.beats[slot] = frame.beat;
        self.echoes[slot] = frame.echo.min(self.monotonic_ms);
        if frame.echo >= self.resumed_ms {
            self.recovering.remove(slot);
        }
        if frame.applied > self.acknowledged[slot] {
            self.acknowledged[slot] = frame.applied;
            self.silent.remove(slot);
            for inquiry in &mut self.inquiries {
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
                // The message has changed which peer is in this slot, or has freed it.
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
                self.outboxes[slot].acknowledge();
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
                self.full.remove(slot);
                if vitals.is_full != 0 {
                    self.full.insert(slot);
                }
                for inquiry in &mut self.inquiries {
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

    fn members(&mut self, members: alloc::sync::Arc<[node::Member]>) {
        let change = self.cluster.update(members);
        let has_lost = !change.lost.is_empty();
        self.changed(&change);
        self.look_around();
        if has_lost && self.cluster.turns_away() {
            // The slots of lost peers are free only now.
            return self.members(self.cluster.members().clone());
        }
        for name in change.turned_away {
            let text = format!("{name} has no part in the store: there are slots for {PEERS_MAX} peers");
            self.notes.push(("peers_full", text));
        }
    }

    /// Handles peers that came or went.
    pub(crate) fn changed(&mut self, change: &Change) {
        // A peer that was lost before it answered again has gone on without this node.
        if change.lost.iter().any(|slot| self.recovering.contains(slot)) {
            self.step_down();
        }
        for slot in change.lost.iter() {
            self.silent.remove(slot);
            self.full.remove(slot);
            self.recovering.remove(slot);
            self.cut.remove(slot);
            self.forget_peer(slot);
        }
        self.names = Vec::new();
        for (slot, peer) in self.cluster.peers() {
            if self.names.len() <= slot {
                self.names.resize(slot + 1, Atom::new(""));
            }
            self.names[slot] = Atom::new(&peer.name);
        }
        for slot in change.joined.iter() {
            self.cut.remove(slot);
            self.outboxes[slot] = Outbox::default();
            self.received[slot] = 0;
            self.acknowledged[slot] = 0;
            self.beats[slot] = 0;
            self.echoes[slot] = 0;
            if let Some(peer) = self.cluster.peer_mut(slot) {
                peer.since_ms = self.monotonic_ms;
            }
            // Sent before the list of copies: no shard is formed, filled or merged before both nodes have the same
            // time.
            self.tell_times(slot);
        }
        // Sent before everything below: a peer compares clocks only after it knows the copies.
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

    /// Handles frames that came before the member list with their sender.
    pub(crate) fn hear_early(&mut self, slot: usize) {
        let Some(peer) = self.cluster.peer(slot) else { return };
        let life = peer.life;
        for frame in self.early.take(&peer.name, peer.creation) {
            let is_same = self.cluster.peer(slot).is_some_and(|peer| peer.life == life);
            if is_same && !self.cut.contains(slot) {
                self.frame_of(slot, &frame);
            }
        }
    }

    /// The connection to a peer is lost, and with it everything it sent that was not handled yet.
    fn node_down(&mut self, node: &Atom, creation: u32, reason: &Term) {
        self.early.take(node.as_str(), creation);
        if let Some(slot) = self.cluster.slot(node.as_str())
            && self.cluster.peer(slot).is_some_and(|peer| peer.creation == creation)
        {
            if self.cluster.is_relayed(slot) {
                self.cluster.note_beside(slot, Beside::Unknown);
            } else {
                self.cut.insert(slot);
            }
        }
        if reason.is_atom("paused") {
            self.step_down();
        }
    }

    fn tick(&mut self) {
        self.deadlines();
        self.end_pause();
        self.refuse_held();
        self.refuse_parked();
        self.look_around();
        self.review();
        self.expire();
        self.every_second();
    }

    /// Sends a peer this node's key counts and vitals. The vitals come last, since they end the peer's wait for both.
    fn tell_vitals(&mut self, slot: usize) {
        let mut counts = Vec::new();
        message::put_key_counts(&mut counts, self.primary_keys());
        self.outboxes[slot].push(&Message::Keys(&counts));
        let vitals = self.take_vitals(self.vitals.ops_per_second);
        self.outboxes[slot].push(&Message::Vitals(vitals));
    }

    /// Sends the status of the cluster to those who asked for it, once all peers have reported their vitals or the wait
    /// is over.
    fn answer_inquiries(&mut self, ctx: &mut Context<'_, Payload>) {
        let now_ms = self.monotonic_ms;
        if !self.inquiries.iter().any(|inquiry| inquiry.is_over(now_ms)) {
            return;
        }
        let status = self.status(ctx.tables(), ctx.awaited());
        self.inquiries.retain(|inquiry| {
            let over = inquiry.is_over(now_ms);
            if over {
                ctx.tell(&inquiry.to, Payload::Status(status.clone()));
            }
            !over
        });
    }

    fn every_second(&mut self) {
        if !self.keeper.second_is_over(self.monotonic_ms) {
            return;
        }
        self.records.second(&self.counters);
        self.vitals = self.take_vitals(self.records.rates.requests);
        self.note_forming();
        for slot in self.cluster.connected().iter() {
            self.tell_vitals(slot);
            self.tell_times(slot);
        }
    }

    /// Sends what was gathered, and as much of the waiting data as there is room for. Called at the flush, which also
    /// comes when there is room again, and after a message that gathered a lot.
    fn send(&mut self, ctx: &mut Context<'_, Payload>) {
        self.send_by_relay(ctx);
        for slot in self.cluster.connected().without(self.cut).iter() {
            if self.cluster.is_relayed(slot) {
                continue;
            }
            while ctx.has_room(&self.names[slot]) && self.bring(slot) {
                self.seal(ctx, slot);
            }
            let all = self.seal(ctx, slot);
            if !all || !self.backlogs[slot].is_empty() {
                ctx.await_room(&self.names[slot]);
            }
            if self.outboxes[slot].bytes() > OUTBOX_BYTES_MAX {
                self.break_off(slot, "it does not read what it is sent");
            }
        }
    }

    /// Sends the frames in an outbox. Returns false if some are left because there is no room.
    fn seal(&mut self, ctx: &mut Context<'_, Payload>, slot: usize) -> bool {
        let head = self.head(slot);
        let (node, name) = (&self.names[slot], &self.name);
        self.outboxes[slot].seal(head, |frame| {
            let has_room = ctx.queued(node) < QUEUED_BYTES_MAX;
            if has_room {
                ctx.send_bytes(node, name, frame);
            }
            has_room
        })
    }

    /// The header fields of frames to a peer, as of now.
    pub(crate) fn head(&self, slot: usize) -> Head {
        Head {
            applied: self.received[slot],
            now_ms: self.monotonic_ms,
            echo: if self.lags(slot) { 0 } else { self.beats[slot] },
            stamp: self.hlc.last(),
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, Payload>) {
        if self.forming.is_provisional() {
            self.settle_forming();
        }
        self.answer_inquiries(ctx);
        self.unpark();
        if self.pause.waiting() > 0 {
            self.end_pause();
        }
        if !self.held.is_empty() && self.recovering.is_empty() {
            for run in core::mem::take(&mut self.held) {
                self.start(run);
            }
        }
        for ask in self.answers.drain(..) {
            let client = ask.client.clone();
            ctx.tell(&client, Payload::Ask(ask));
        }
        let usual = self.beam_answers.is_empty() && self.commands.is_empty() && self.notes.is_empty();
        if !usual || !self.kills.is_empty() || !self.broken.is_empty() || !self.given_up.is_empty() {
            self.carry_out_rest(ctx);
        }
    }

    fn carry_out_rest(&mut self, ctx: &mut Context<'_, Payload>) {
        for (caller, replies) in self.beam_answers.drain(..) {
            self.beam_writes.end(&caller);
            beam::answer(ctx, &caller, &replies);
        }
        for (shell, ids) in self.kills.drain(..) {
            ctx.tell(&shell, Payload::Kill { ids });
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
        for slot in core::mem::take(&mut self.given_up).iter() {
            if self.cluster.peer(slot).is_some() && !self.cluster.is_relayed(slot) {
                self.cut.insert(slot);
                ctx.disconnect(&self.names[slot]);
            }
        }
    }

    /// Handles a frame. If the peer broke the protocol with it, its connection is closed after this message.
    pub(crate) fn frame_of(&mut self, slot: usize, frame: &[u8]) {
        if let Err(rule) = self.frame(slot, frame) {
            self.break_off(slot, rule);
        }
    }

    /// Stops receiving from a peer and sending to it, because it broke a rule.
    fn break_off(&mut self, slot: usize, rule: &'static str) {
        self.cut.insert(slot);
        if self.cluster.is_relayed(slot) {
            self.relay_again(slot, None);
        } else {
            self.broken.push((slot, rule));
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
                    self.early.keep(from, frame);
                }
            }
            (Some(slot), Term::Binary(frame)) => {
                if self.cut.contains(slot) {
                    // The frame is from a new connection that the member list does not show yet.
                    self.early.keep(from, frame);
                } else {
                    self.came_by_connection(slot, from, frame);
                }
            }
            (None, Term::Binary(frame)) if Frame::decode(frame).is_ok() => {
                self.early.keep(from.filter(|pid| pid.node != *ctx.node()), frame);
            }
            _ => self.beam(ctx, term),
        }
    }
}

impl Process<Payload> for Store {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        self.calendar = Calendar::new(ctx.now().monotonic_us, ctx.now().wall_ms);
        self.look_at_the_clock(ctx);
        self.started_ms = self.monotonic_ms;
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
            // Membership reports the peers. The store does not ask for the other messages.
            node::Message::NodeDown { node, creation, reason } => self.node_down(&node, creation, &reason),
            node::Message::NodeUp { .. }
            | node::Message::Exit { .. }
            | node::Message::Down { .. }
            | node::Message::Reply { .. } => {}
        }
        self.carry_out(ctx);
        if self.cluster.peers().any(|(slot, _)| self.outboxes[slot].is_full()) {
            self.send(ctx);
        }
        // Without peers there is nothing to send.
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
                self.counters.connections += 1;
                self.clients.insert(session.id, *session);
            }
            Payload::Disconnected { id } => {
                self.clients.remove(&id);
                self.pause.forget(id);
            }
            Payload::Measured(measured) => {
                self.records.measured(&measured);
                (self.measured, self.grown_bytes) = (measured, 0);
            }
            Payload::Tally(mut tally) => self.records.take(&mut tally, &mut self.counters),
            Payload::StatusOf { to } => {
                let open = self.cluster.connected();
                for slot in open.iter() {
                    self.outboxes[slot].push(&Message::Ask);
                }
                self.inquiries.push(Inquiry {
                    to,
                    open,
                    until_ms: self.monotonic_ms + INQUIRY_MS,
                });
            }
            Payload::Add { node } => self.commands.push(MembersCommand::Add { node }),
            Payload::Leave => self.leave(),
            Payload::CutShort => self.cut_short(),
            Payload::ClientsAreGone => self.clients_are_gone(),
            Payload::LeaveOther { node } => match self.cluster.slot(node.as_str()) {
                Some(slot) => self.outboxes[slot].push(&Message::Leave),
                None if node.as_str() == self.config.name => self.leave(),
                None => self.commands.push(MembersCommand::Forget { node }),
            },
            Payload::Forget { node } => self.commands.push(MembersCommand::Forget { node }),
            Payload::Discovered { names } => self.discovered(names),
            Payload::AcceptLoss => self.accept_loss(true),
            Payload::Status(_) | Payload::Kill { .. } => {}
        }
    }
}
