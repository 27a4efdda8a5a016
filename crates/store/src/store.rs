//! The store of one node as a process. It receives batches from front ends, frames from peers and terms from BEAM
//! nodes. [`coordinator`](crate::coordinator), [`keeper`](crate::keeper) and [`beam`](crate::beam) handle them. This
//! file has the state, passes each input to its handler, and sends the results.
//!
//! - Messages gathered for a peer are sent as one frame at the flush. Large data is sent when there is room for it.
//! - The frames of a peer are numbered. A gap closes the connection (see [`message`]).
//! - Time is read once per message, so everything that one message causes has the same time.

use alloc::{format, sync::Arc, vec::Vec};
use node::{Context, Event, MembersCommand, Process};
use wire::etf::{Atom, Pid, Term};

use crate::{
    ask::Payload,
    beam,
    cluster::{Beside, Change, Cluster},
    config::Config,
    dot::Writer,
    forming::Forming,
    front::Front,
    gauges::Gauges,
    keeper::Replica,
    keyspaces::Layout,
    leaving::Leaving,
    message::{self, Frame, Message},
    outbox::Head,
    outcome,
    peers::{PEERS_MAX, PeerSet},
    random::Random,
    scripts::Scripts,
    shard::Shard,
    slices::{WAITING_MAX, large_bytes_max},
    timekeeper::Timekeeper,
    traffic::Peers,
    warm::GROUP,
};

/// The name the store is registered under on every node.
pub const NAME: &str = "salp";

/// Time between two ticks, which do the work that is due.
const TICK_US: u64 = 50_000;
const TICK: u64 = 1;

/// If this many bytes are on the way to a peer, further frames wait here. Together with one message of the largest
/// size, this is less than the limit at which the node closes the connection (`Limits::output_bytes_max`). Thus many
/// large values at once do not cost a replica.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// If more bytes than this wait for a peer, its connection is closed. Most of them are deltas: writes do not wait for a
/// peer that does not read. Repairing the peer later is cheaper than keeping all of them.
const OUTBOX_BYTES_MAX: usize = 256 << 20;

/// One node's share of the store.
pub struct Store {
    pub(crate) config: Config,
    /// Where the keys of each keyspace are.
    pub(crate) layout: Arc<Layout>,
    pub(crate) time: Timekeeper,
    pub(crate) random: Random,
    /// The writer in the dots of this node.
    pub(crate) writer: Writer,

    pub(crate) cluster: Cluster,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) keeper: crate::keeper::Keeper,
    pub(crate) forming: Forming,
    pub(crate) leaving: Leaving,

    pub(crate) front: Front,
    pub(crate) scripts: Scripts,
    pub(crate) peers: Peers,

    pub(crate) gauges: Gauges,
    pub(crate) out: Out,
    /// The delta of the present request. It is emptied before each request.
    pub(crate) delta: Vec<u8>,
}

/// What the node and its shell do at the end of a message.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub commands: Vec<MembersCommand>,
    pub notes: Vec<(&'static str, alloc::string::String)>,
    /// Connections to be closed, by number, and the shell that closes them.
    pub kills: Vec<(Pid, Vec<u64>)>,
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
        let layout = Arc::new(Layout::new(&config));
        let shards = layout.shards();
        let writer = Writer::of(&config.name, config.creation);
        Self {
            time: Timekeeper::default(),
            random: Random::new(seed),
            writer,
            cluster: Cluster::new(&config, layout.clone()),
            replicas: (0..shards).map(|_| Replica::new(Shard::new(writer, 0))).collect(),
            keeper: crate::keeper::Keeper::new(shards),
            forming: Forming::new(config.forming),
            leaving: Leaving::default(),
            front: Front::new(&config),
            scripts: Scripts::default(),
            peers: Peers::new(&config),
            gauges: Gauges::default(),
            out: Out::default(),
            delta: Vec::new(),
            layout,
            config,
        }
    }

    fn look_at_the_clock(&mut self, ctx: &Context<'_, Payload>) {
        if self.time.read(ctx.now()) {
            self.peers.recovering = self.cluster.connected();
        }
    }

    /// Handles a frame of the peer in `slot`. An error says which rule of the protocol the peer broke.
    fn frame(&mut self, slot: usize, bytes: &[u8]) -> Result<(), &'static str> {
        let mut frame = Frame::decode(bytes).map_err(|malformed| malformed.0)?;
        // A frame that came twice is ignored. If a frame is missing, it was lost with its messages.
        if frame.number <= self.peers[slot].received {
            return Ok(());
        }
        if frame.number != self.peers[slot].received + 1 {
            return Err("a frame is missing");
        }
        if frame.applied >= self.peers[slot].outbox.unsent() {
            return Err("it acknowledges what was not sent");
        }
        let life = self.cluster.peer(slot).map(|peer| peer.life);
        self.peers[slot].received = frame.number;
        self.time.hlc.observe(frame.stamp, self.time.now_ms);
        self.peers[slot].beat = frame.beat;
        self.peers[slot].echo = frame.echo.min(self.time.monotonic_ms);
        if frame.echo >= self.time.resumed_ms {
            self.peers.recovering.remove(slot);
        }
        if frame.applied > self.peers[slot].acknowledged {
            self.peers[slot].acknowledged = frame.applied;
            self.peers.silent.remove(slot);
            self.gauges.reported(slot);
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
                return Err("a malformed message");
            }
        }
        Ok(())
    }

    fn message(&mut self, slot: usize, message: &Message<'_>) -> bool {
        match message {
            Message::Delta { shard, delta } => {
                self.peers[slot].outbox.acknowledge();
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
                self.peers.full.remove(slot);
                if vitals.is_full != 0 {
                    self.peers.full.insert(slot);
                }
                self.gauges.reported(slot);
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
            Message::Script(source) => {
                self.scripts.learn(source);
                true
            }
            Message::ScriptsGone => {
                self.scripts.clear();
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
                is_known
                    && self.peers[slot]
                        .arrivals
                        .announce(*shard, *bytes, large_bytes_max(&self.config))
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
        match self.peers[slot].arrivals.take(bytes) {
            Ok(None) => true,
            Ok(Some(whole)) => message::decode_large(&whole).is_ok_and(|message| self.message(slot, &message)),
            Err(()) => false,
        }
    }

    /// A delta of `shard` is on its way here. A read at this node might not show what it has shown before.
    pub(crate) fn awaits_delta(&self, shard: usize) -> bool {
        let mut peers = self
            .peers
            .iter()
            .map(|traffic| &traffic.arrivals)
            .filter(|arrivals| !arrivals.is_empty());
        peers.any(|arrivals| arrivals.await_delta(shard))
    }

    fn members(&mut self, members: Arc<[node::Member]>) {
        let change = self.cluster.update(members);
        let has_lost = !change.lost.is_empty();
        self.changed(&change);
        self.look_around();
        if has_lost && self.cluster.turns_away() {
            // The slots of lost peers are free only now.
            return self.members(self.cluster.members().clone());
        }
        for name in change.turned_away {
            let text = format!("{name} cannot take part in the store: it has slots for {PEERS_MAX} peers");
            self.out.notes.push(("peers_full", text));
        }
    }

    /// Handles peers that came or went.
    pub(crate) fn changed(&mut self, change: &Change) {
        // A peer that was lost before it answered again has gone on without this node.
        if change.lost.iter().any(|slot| self.peers.recovering.contains(slot)) {
            self.step_down();
        }
        for slot in change.lost.iter() {
            self.peers.lost(slot);
            self.forget_peer(slot);
        }
        for slot in change.joined.iter() {
            if let Some(peer) = self.cluster.peer_mut(slot) {
                peer.since_ms = self.time.monotonic_ms;
                self.peers.open(slot, &peer.name);
            }
            // Sent before the list of copies: no shard is formed, filled or merged before both nodes have the same
            // time.
            self.tell_times(slot);
        }
        // Sent before everything below: a peer compares clocks only after it knows the copies.
        self.tell_holdings(change.joined);
        for slot in change.joined.iter() {
            self.introduce(slot);
            self.tell_scripts(slot);
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
        for frame in self.peers.early.take(&peer.name, peer.creation) {
            let is_same = self.cluster.peer(slot).is_some_and(|peer| peer.life == life);
            if is_same && !self.peers.cut.contains(slot) {
                self.frame_of(slot, &frame);
            }
        }
    }

    /// The connection to a peer is lost, and with it everything it sent that was not handled yet.
    fn node_down(&mut self, node: &Atom, creation: u32, reason: &Term) {
        self.peers.early.take(node.as_str(), creation);
        if let Some(slot) = self.cluster.slot(node.as_str())
            && self.cluster.peer(slot).is_some_and(|peer| peer.creation == creation)
        {
            if self.cluster.is_relayed(slot) {
                self.cluster.note_beside(slot, Beside::Unknown);
            } else {
                self.peers.cut.insert(slot);
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
        self.peers[slot].outbox.push(&Message::Keys(&counts));
        let vitals = self.take_vitals(self.gauges.vitals.ops_per_second);
        self.peers[slot].outbox.push(&Message::Vitals(vitals));
    }

    /// Sends the status of the cluster to those who asked for it, once all peers have reported their vitals or the wait
    /// is over.
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
        self.gauges.records.second(&self.gauges.counters);
        self.gauges.vitals = self.take_vitals(self.gauges.records.rates.requests);
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
        for slot in self.cluster.connected().without(self.peers.cut).iter() {
            if self.cluster.is_relayed(slot) {
                continue;
            }
            while ctx.has_room(&self.peers[slot].node) && self.bring(slot) {
                self.seal(ctx, slot);
            }
            let all = self.seal(ctx, slot);
            let departures = self.peers[slot].outbox.departures();
            if !all || !self.peers[slot].backlog.is_empty() || !departures.is_empty() {
                ctx.await_room(&self.peers[slot].node);
            }
            if self.peers[slot].outbox.bytes() > OUTBOX_BYTES_MAX || departures.len() > WAITING_MAX {
                self.break_off(slot, "it does not read what it is sent");
            }
        }
    }

    /// Sends the frames in an outbox. Returns false if some are left because there is no room.
    fn seal(&mut self, ctx: &mut Context<'_, Payload>, slot: usize) -> bool {
        let head = self.head(slot);
        let (traffic, name) = self.peers.with_name(slot);
        traffic.outbox.seal(head, |frame| {
            let has_room = ctx.queued(&traffic.node) < QUEUED_BYTES_MAX;
            if has_room {
                ctx.send_bytes(&traffic.node, name, frame);
            }
            has_room
        })
    }

    /// The header fields of frames to a peer, as of now.
    pub(crate) fn head(&self, slot: usize) -> Head {
        Head {
            applied: self.peers[slot].received,
            now_ms: self.time.monotonic_ms,
            echo: if self.lags(slot) || self.peers[slot].outbox.departures().holds_word() {
                0
            } else {
                self.peers[slot].beat
            },
            stamp: self.time.hlc.last(),
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, Payload>) {
        if self.forming.is_provisional() {
            self.settle_forming();
        }
        self.answer_inquiries(ctx);
        self.write_off_lost();
        self.unpark();
        if self.front.pause.waiting() > 0 {
            self.end_pause();
        }
        if !self.front.held.is_empty() && self.peers.recovering.is_empty() {
            for run in core::mem::take(&mut self.front.held) {
                self.start(run);
            }
        }
        for ask in self.front.answers.drain(..) {
            let client = ask.client.clone();
            ctx.tell(&client, Payload::Ask(ask));
        }
        let usual = self.front.beam.answers.is_empty() && self.out.commands.is_empty() && self.out.notes.is_empty();
        if !usual || !self.out.kills.is_empty() || !self.peers.broken.is_empty() || !self.peers.given_up.is_empty() {
            self.carry_out_rest(ctx);
        }
    }

    fn carry_out_rest(&mut self, ctx: &mut Context<'_, Payload>) {
        for (caller, replies) in self.front.beam.answers.drain(..) {
            self.front.beam.writes.end(&caller);
            beam::answer(ctx, &caller, &replies);
        }
        for (shell, ids) in self.out.kills.drain(..) {
            ctx.tell(&shell, Payload::Kill { ids });
        }
        for command in self.out.commands.drain(..) {
            ctx.members(command);
        }
        for (kind, text) in self.out.notes.drain(..) {
            ctx.event(Event::Note { kind, text });
        }
        for (slot, rule) in core::mem::take(&mut self.peers.broken) {
            if let Some(peer) = self.cluster.peer(slot) {
                let text = format!("{} broke the store's protocol: {rule}", peer.name);
                ctx.event(Event::Note { kind: "protocol", text });
                ctx.disconnect(&self.peers[slot].node);
            }
        }
        for slot in core::mem::take(&mut self.peers.given_up).iter() {
            if self.cluster.peer(slot).is_some() && !self.cluster.is_relayed(slot) {
                self.peers.cut.insert(slot);
                ctx.disconnect(&self.peers[slot].node);
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
        self.peers.cut.insert(slot);
        if self.cluster.is_relayed(slot) {
            self.relay_again(slot, None);
        } else {
            self.peers.broken.push((slot, rule));
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
                    self.peers.early.keep(from, frame);
                }
            }
            (Some(slot), Term::Binary(frame)) => {
                if self.peers.cut.contains(slot) {
                    // The frame is from a new connection that the member list does not show yet.
                    self.peers.early.keep(from, frame);
                } else {
                    self.came_by_connection(slot, from, frame);
                }
            }
            (None, Term::Binary(frame)) if Frame::decode(frame).is_ok() => {
                self.peers.early.keep(from.filter(|pid| pid.node != *ctx.node()), frame);
            }
            _ => self.beam(ctx, term),
        }
    }
}

impl Process<Payload> for Store {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        self.time.start(ctx.now());
        ctx.monitor_nodes();
        ctx.monitor_members();
        ctx.timer(TICK_US, TICK);
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
        if self.cluster.peers().any(|(slot, _)| self.peers[slot].outbox.is_full()) {
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
                self.gauges.counters.connections += 1;
                self.front.clients.insert(session.id, *session);
            }
            Payload::Disconnected { id } => {
                self.front.clients.remove(&id);
                self.front.pause.forget(id);
            }
            Payload::Measured(measured) => {
                self.gauges.records.measured(&measured);
                (self.gauges.measured, self.gauges.grown_bytes) = (measured, 0);
            }
            Payload::Tally(mut tally) => self.gauges.records.take(&mut tally, &mut self.gauges.counters),
            Payload::StatusOf { to } => {
                let open = self.cluster.connected();
                for slot in open.iter() {
                    self.peers[slot].outbox.push(&Message::Ask);
                }
                self.gauges.inquire(to, open, self.time.monotonic_ms);
            }
            Payload::Add { node } => self.out.commands.push(MembersCommand::Add { node }),
            Payload::Leave => self.leave(),
            Payload::CutShort => self.cut_short(),
            Payload::ClientsAreGone => self.clients_are_gone(),
            Payload::LeaveOther { node } => match self.cluster.slot(node.as_str()) {
                Some(slot) => self.peers[slot].outbox.push(&Message::Leave),
                None if node.as_str() == self.config.name => self.leave(),
                None => self.out.commands.push(MembersCommand::Forget { node }),
            },
            Payload::Forget { node } => self.out.commands.push(MembersCommand::Forget { node }),
            Payload::Discovered { names } => self.discovered(names),
            Payload::AcceptLoss => self.accept_loss(true),
            Payload::Status(_) | Payload::Kill { .. } => {}
        }
    }
}
