//! Keeps the copies: merges deltas, fills new copies, repairs old ones, and releases copies that other nodes have.
//!
//! - A copy that is placed here but not ready is *filled*: from the primary, and then from every other node with a
//!   ready copy, since any of them may be primary in its own view. If no reachable node is ready, and no node that may
//!   be ready is missed, the copy is filled from all nodes that have a part of it, and is then *formed*.
//! - A ready copy whose clock does not cover a peer's clock is *repaired* in the same way. Clocks are compared when a
//!   peer connects or is lost, and every [`ROUND_MS`]. A round uses the clocks of the round before, so that dots on
//!   their way do not count as missing.
//! - A copy that is not placed here is *released* once every replica says that it is ready and covers this clock. Only
//!   a node that has a place for the copy says so: two nodes with different views must not rely on each other.
//! - *Expired* keys are deleted by the primary, with an ordinary event.
//! - A node that pulls also gets all deltas from then on. So nothing is missed between the two, whatever views the
//!   nodes have.
//!
//! Stop *repair* of a request.

mod expire;
mod fill;
mod form;
mod release;

use alloc::{collections::BTreeMap, vec, vec::Vec};
use hashbrown::HashMap;

use crate::{
    backlog::Backlog,
    clock::Clock,
    cluster::{Change, Seat},
    codec::Reader,
    message::{self, Copy, Message},
    outbox::Outbox,
    peers::{PEERS_MAX, PeerSet},
    shard::{Intake, Parts, Shard},
    slices::Arrivals,
    store::Store,
};

/// Time between two comparisons of clocks with each peer.
const ROUND_MS: u64 = 3_000;
/// How many shards are filled or repaired at the same time.
const FILLS_MAX: usize = 48;
/// The same, if requests wait for a shard.
const URGENT_FILLS_MAX: usize = 64;
/// Size of a chunk in bytes: small enough not to delay a request behind it.
const CHUNK_BYTES: usize = 64 << 10;
/// How many chunks of one stream may be under way.
const WINDOW: usize = 4;
/// A fill whose source sends nothing for this long is started again, maybe from another source.
const STALL_MS: u64 = 5_000;
/// Time between two requests to release the same shard.
const RELEASE_EVERY_MS: u64 = 500;
/// How long a starting node waits with filling while it still has members to meet. A copy counts as ready only for
/// nodes that know its holder, so all nodes should know it first.
const SETTLE_MS: u64 = 1_000;

/// This node's copy of one shard, and the work on it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub shard: Shard,
    /// Peers that fill their copy from here, and are not ready yet. They get every delta.
    pub followers: PeerSet,
    fill: Option<Fill>,
    /// The copy is not filled before this time: its last replica may only be restarting.
    fill_after_ms: u64,
    /// Replicas that allowed this node to drop the copy. They were asked with the clock that has this digest, at this
    /// time.
    released: PeerSet,
    release_digest: u64,
    release_asked_ms: u64,
}

impl Replica {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            followers: PeerSet::EMPTY,
            fill: None,
            fill_after_ms: 0,
            released: PeerSet::EMPTY,
            release_digest: 0,
            release_asked_ms: 0,
        }
    }
}

/// A copy that is being filled or repaired.
#[derive(Debug)]
struct Fill {
    source: usize,
    /// Sources that have sent everything they had.
    given: PeerSet,
    /// Further sources, besides the nodes with a ready copy.
    then: PeerSet,
    /// The number of the current stream, and what has arrived of it.
    intake: Option<(u64, Intake)>,
    /// The parts that the current source has sent, if it sends what is missed key by key.
    parts: Parts,
    heard_ms: u64,
    /// Whether the copy becomes ready when the fill is done.
    makes_ready: bool,
}

/// An outgoing stream.
#[derive(Debug)]
struct Stream {
    /// The receiver's slot, and the shard.
    to: usize,
    of: usize,
    /// Chunks that the receiver will accept, and that wait for room.
    owed: usize,
}

/// State for all copies together.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Outgoing streams by number.
    streams: HashMap<u64, Stream, foldhash::fast::FixedState>,
    next_stream: u64,
    fills: usize,
    /// For each peer: when it last sent a chunk. A peer sends one shard after the other.
    gave_ms: Vec<u64>,
    /// Shards to be repaired once fewer fills are under way, and the peers that have more.
    wanted: BTreeMap<usize, PeerSet>,
    /// Whether copies have changed that the peers do not know about.
    pub announce: bool,
    second_at_ms: u64,
    round_at_ms: u64,
    /// The clocks at the last round, encoded.
    aged: Vec<Vec<u8>>,
    /// Peers to which this node has sent its clocks since they connected.
    compared: PeerSet,
    /// Peers that have finished comparing with this node since they connected, and since another peer was lost.
    heard: PeerSet,
    /// The shard where the deletion of expired keys goes on.
    expire_at: usize,
    /// Whether all copies must be reviewed again.
    pub look: bool,
}

impl Keeper {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            streams: HashMap::default(),
            next_stream: 1,
            fills: 0,
            gave_ms: vec![0; PEERS_MAX],
            wanted: BTreeMap::new(),
            announce: true,
            second_at_ms: 0,
            round_at_ms: 0,
            aged: vec![Vec::new(); shards],
            compared: PeerSet::EMPTY,
            heard: PeerSet::EMPTY,
            expire_at: 0,
            look: true,
        }
    }

    /// How many copies are being filled or repaired, or wait for it.
    pub(crate) fn under_way(&self) -> usize {
        self.fills + self.wanted.len()
    }

    /// Forgets all fills and streams, when this node throws away its data.
    fn throw_away(&mut self) {
        self.streams.clear();
        self.fills = 0;
        self.wanted.clear();
    }

    /// Whether a second has passed since this last returned true.
    pub(crate) fn second_is_over(&mut self, now_ms: u64) -> bool {
        let over = now_ms >= self.second_at_ms;
        if over {
            self.second_at_ms = now_ms + 1000;
        }
        over
    }
}

impl Store {
    // Deltas

    /// Merges deltas of a peer. Returns false if they are malformed.
    pub(crate) fn merge(&mut self, shard: usize, deltas: &[u8]) -> bool {
        let Some(replica) = self.replicas.get_mut(shard) else {
            return false;
        };
        self.gauges.grown_bytes += deltas.len() as u64;
        let mut reader = Reader::new(deltas);
        while !reader.is_empty() {
            match replica.shard.receive(&mut reader) {
                Ok(received) => {
                    let drifted = !self.time.hlc.observe(received.delta.stamp, self.time.now_ms);
                    self.gauges.counters.deltas += 1;
                    self.gauges.counters.deltas_ahead += u64::from(drifted);
                }
                Err(_) => return false,
            }
        }
        if self.cluster.copy(shard) == Copy::Absent {
            self.set_copy(shard, Copy::Filling);
        }
        true
    }

    pub(crate) fn set_copy(&mut self, shard: usize, copy: Copy) {
        if self.cluster.copy(shard) != copy {
            self.cluster.set_copy(shard, copy);
            if copy == Copy::Ready {
                self.time.calendar.found();
            }
            self.keeper.announce = true;
            self.keeper.look = true;
        }
    }

    // Messages of peers

    /// Handles a message about copies. Returns false if it breaks the protocol.
    pub(crate) fn keep(&mut self, slot: usize, message: &Message<'_>) -> bool {
        match *message {
            Message::Holdings { epoch, resp, holdings } => self.told(slot, epoch, resp, holdings),
            Message::Digest(digest) => {
                if digest != self.shared_digest(slot) {
                    self.peers[slot].outbox.push(&Message::Compare);
                } else if self.keeper.compared.contains(slot) {
                    self.keeper.heard.insert(slot);
                }
                true
            }
            Message::Compare => {
                self.send_clocks(slot, true);
                true
            }
            Message::Clock { shard, clock } => self.clock_of(slot, shard as usize, clock),
            Message::ClocksEnd => {
                self.keeper.heard.insert(slot);
                self.compared(slot);
                true
            }
            Message::Pull { shard, any, clock } => self.pulled(slot, shard as usize, any, clock),
            Message::More { shard, stream } => self.more(slot, shard as usize, stream),
            Message::Chunk { shard, kind, chunk } => self.chunk(slot, shard as usize, kind, chunk),
            Message::Refusal { shard } => {
                let shard = shard as usize;
                let fill = self.replicas.get_mut(shard).and_then(|replica| replica.fill.as_mut());
                if let Some(fill) = fill.filter(|fill| fill.source == slot) {
                    fill.then.remove(slot);
                    self.end_fill(shard);
                    // The peer has dropped its copy. It did so only because all replicas cover that copy.
                    self.cluster.merged(shard, slot);
                }
                true
            }
            Message::Release { shard, clock } => self.release(slot, shard as usize, clock),
            Message::Released { shard, digest } => self.released(slot, shard as usize, digest),
            Message::Delta { .. }
            | Message::Forward(_)
            | Message::Outcome { .. }
            | Message::Vitals(_)
            | Message::Times(_)
            | Message::Keys(_)
            | Message::Ask
            | Message::Script(_)
            | Message::ScriptsGone
            | Message::Sight(_)
            | Message::Stand { .. }
            | Message::Relay { .. }
            | Message::Large { .. }
            | Message::Slice(_)
            | Message::Leave
            | Message::Roll(_)
            | Message::AcceptLoss => true,
        }
    }

    fn told(&mut self, slot: usize, epoch: u64, resp: Option<(&str, u16)>, bytes: &[u8]) -> bool {
        let Ok(holdings) = message::holdings(bytes) else {
            return false;
        };
        if !self.cluster.told(slot, epoch, holdings) {
            return false;
        }
        self.look_around();
        self.tell_stand(slot);
        if let Some(peer) = self.cluster.peer_mut(slot) {
            peer.resp = resp.map(|(host, port)| (host.into(), port));
        }
        for (shard, replica) in self.replicas.iter_mut().enumerate() {
            if replica.followers.contains(slot) && self.cluster.copy_at(Seat::Peer(slot), shard) != Copy::Filling {
                replica.followers.remove(slot);
            }
        }
        if !self.keeper.compared.contains(slot) {
            self.keeper.compared.insert(slot);
            self.send_clocks(slot, false);
        }
        self.keeper.look = true;
        true
    }

    // Anti-entropy

    /// Shards of which this node and the peer both have a copy or a part.
    fn shared(&self, slot: usize) -> impl Iterator<Item = usize> {
        (0..self.cluster.shards()).filter(move |&shard| {
            self.cluster.copy(shard) != Copy::Absent && self.cluster.copy_at(Seat::Peer(slot), shard) != Copy::Absent
        })
    }

    fn shared_digest(&self, slot: usize) -> u64 {
        self.shared(slot).fold(0, |sum: u64, shard| {
            let digest = self.replicas[shard].shard.clock().digest();
            sum.wrapping_add(digest.wrapping_mul(2 * shard as u64 + 1))
        })
    }

    fn send_clocks(&mut self, slot: usize, aged: bool) {
        let shards: Vec<usize> = self.shared(slot).collect();
        let mut bytes = Vec::new();
        for shard in shards {
            let clock: &[u8] = if aged {
                &self.keeper.aged[shard]
            } else {
                bytes.clear();
                self.replicas[shard].shard.clock().encode(&mut bytes);
                &bytes
            };
            if !clock.is_empty() {
                self.peers[slot].outbox.push(&Message::Clock {
                    shard: shard as u32,
                    clock,
                });
            }
        }
        self.peers[slot].outbox.push(&Message::ClocksEnd);
    }

    fn clock_of(&mut self, slot: usize, shard: usize, clock: &[u8]) -> bool {
        let Some(theirs) = decode(clock) else { return false };
        let Some(replica) = self.replicas.get(shard) else {
            return false;
        };
        let mine = replica.shard.clock();
        if self.cluster.copy(shard) == Copy::Absent || mine.covers(&theirs) {
            // If a repair from this peer is under way, this clock may be older than what the peer had when it was met.
            if !self.lacks(shard, slot) {
                self.cluster.merged(shard, slot);
            }
            return true;
        }
        // An empty replica formed here yields to a ready peer that has data.
        let theirs_ready = self.cluster.copy_at(Seat::Peer(slot), shard) == Copy::Ready;
        if mine.is_empty() && theirs_ready && self.cluster.copy(shard) == Copy::Ready {
            self.set_copy(shard, Copy::Filling);
        }
        // The copy will be filled from its primary, which may lack these dots too.
        self.want(shard, slot);
        true
    }

    /// Handles the end of a peer's clocks: shards without a pending repair from this peer are merged.
    fn compared(&mut self, slot: usize) {
        for shard in 0..self.replicas.len() {
            if self.cluster.unmerged(shard).contains(slot) && !self.lacks(shard, slot) {
                self.cluster.merged(shard, slot);
            }
        }
    }

    /// Whether dots that the peer has of `shard` are on their way here, or still have to be requested.
    fn lacks(&self, shard: usize, slot: usize) -> bool {
        let wanted = self
            .keeper
            .wanted
            .get(&shard)
            .is_some_and(|sources| sources.contains(slot));
        let fill = self.replicas[shard].fill.as_ref();
        wanted
            || fill.is_some_and(|fill| !fill.given.contains(slot) && (fill.source == slot || fill.then.contains(slot)))
    }

    /// Compares clocks with every peer.
    fn round(&mut self) {
        for slot in self.cluster.connected().iter() {
            let digest = self.shared_digest(slot);
            self.peers[slot].outbox.push(&Message::Digest(digest));
        }
        for (shard, aged) in self.keeper.aged.iter_mut().enumerate() {
            aged.clear();
            let replica = &mut self.replicas[shard].shard;
            if self.cluster.copy(shard) != Copy::Absent {
                replica.clock().encode(aged);
            }
            if replica.stats().contexts > 0 {
                replica.shed();
            }
        }
    }

    // Views

    /// Handles a change of the members.
    pub(crate) fn placed(&mut self, change: &Change) {
        let alone = self.cluster.connected().is_empty();
        if !change.lost.is_empty() {
            self.keeper.heard = PeerSet::EMPTY;
        }
        for shard in 0..self.replicas.len() {
            let replica = &mut self.replicas[shard];
            replica.shard.remember(!alone);
            if change.crashed && self.cluster.copy(shard) == Copy::Absent {
                replica.fill_after_ms = self.time.monotonic_ms + self.config.refill_after_ms;
            }
        }
        for slot in self.cluster.connected().iter() {
            // Writes of a lost node may have reached some peers but not others. The peer makes no decision before it
            // has compared its clocks.
            if !change.lost.is_empty() && self.keeper.compared.contains(slot) {
                self.tell_stand(slot);
                self.send_clocks(slot, false);
            }
        }
        self.meet_peers(change.joined);
        self.keeper.announce = true;
        self.keeper.look = true;
    }

    /// A peer gives something of what it was asked for.
    pub(crate) fn gives(&mut self, slot: usize) {
        self.keeper.gave_ms[slot] = self.time.monotonic_ms;
    }

    /// Forgets what was under way with a lost peer.
    pub(crate) fn forget_peer(&mut self, slot: usize) {
        self.keeper.compared.remove(slot);
        self.keeper.heard.remove(slot);
        self.keeper.wanted.retain(|_, sources| {
            sources.remove(slot);
            !sources.is_empty()
        });
        self.peers[slot].backlog = Backlog::default();
        self.peers[slot].arrivals = Arrivals::default();
        // What waits there is not kept until the slot is taken again.
        self.peers[slot].outbox = Outbox::new(self.config.slice_bytes);
        self.close_streams(|to, _| to == slot);
        for shard in 0..self.replicas.len() {
            let replica = &mut self.replicas[shard];
            replica.followers.remove(slot);
            replica.released.remove(slot);
            if let Some(fill) = &mut replica.fill {
                // If a copy is formed without one of its sources, it may lack data.
                let owes = fill.then.without(fill.given).contains(slot);
                let breaks = fill.source == slot || fill.makes_ready && owes;
                fill.then.remove(slot);
                fill.given.remove(slot);
                if breaks {
                    self.end_fill(shard);
                }
            }
        }
    }

    /// This node was stopped for a while, and the others went on without it. Its copies may be old.
    pub(crate) fn step_down(&mut self) {
        for shard in 0..self.replicas.len() {
            if self.cluster.copy(shard) == Copy::Ready {
                self.set_copy(shard, Copy::Filling);
            }
            self.replicas[shard].fill_after_ms = 0;
        }
    }

    /// Reviews all copies and does what is due.
    pub(crate) fn review(&mut self) {
        if self.time.monotonic_ms >= self.keeper.round_at_ms {
            self.keeper.round_at_ms = self.time.monotonic_ms + ROUND_MS;
            self.round();
        }
        let age_ms = self.time.monotonic_ms - self.time.started_ms;
        let awaits = self.awaits_others();
        let settles = self.cluster.awaits_word() || age_ms < SETTLE_MS && self.cluster.awaits_members();
        self.keeper.look = false;
        if !self.leaving.is_over() {
            for shard in 0..self.replicas.len() {
                self.review_one(shard, awaits, settles);
            }
        }
        self.repair();
        if self.peers.recovering.is_empty() && self.forming.is_settled() {
            self.cluster.note_dispensable();
        }
        if self.keeper.announce {
            self.keeper.announce = false;
            self.cluster.announce();
            self.tell_holdings(self.cluster.connected());
        }
        self.tell_roll();
        if self.cluster.leaving() {
            self.go();
        }
    }

    /// Sends `peers` the list of this node's copies.
    pub(crate) fn tell_holdings(&mut self, peers: PeerSet) {
        let mut holdings = Vec::new();
        message::put_holdings(&mut holdings, self.cluster.holdings());
        let resp = self.config.resp.as_ref().map(|(host, port)| (host.as_str(), *port));
        for slot in peers.iter() {
            self.peers[slot].outbox.push(&Message::Holdings {
                epoch: self.cluster.announced(),
                resp,
                holdings: &holdings,
            });
        }
    }

    /// Reviews one shard. `awaits`: no shard may be formed yet. `settles`: a connected member has not reported its
    /// copies yet, or this node has just started and has members still to meet.
    fn review_one(&mut self, shard: usize, awaits: bool, settles: bool) {
        let placed = self.cluster.placed_here(shard);
        let copy = self.cluster.copy(shard);
        if let Some(fill) = &self.replicas[shard].fill {
            let heard_ms = fill.heard_ms.max(self.keeper.gave_ms[fill.source]);
            if self.time.monotonic_ms > heard_ms + STALL_MS {
                self.end_fill(shard);
            }
            return;
        }
        match (placed, copy) {
            (true, Copy::Absent) => self.set_copy(shard, Copy::Filling),
            (true, Copy::Filling) => match self.cluster.route(shard).primary {
                Some(Seat::Peer(primary)) => {
                    if self.time.monotonic_ms >= self.replicas[shard].fill_after_ms && !settles {
                        self.fill(shard, primary, PeerSet::EMPTY, true);
                    }
                }
                Some(Seat::Me | Seat::Away) => {}
                None => self.form(shard, awaits),
            },
            (false, Copy::Filling | Copy::Ready) => self.ask_release(shard),
            (true, Copy::Ready) | (false, Copy::Absent) => {}
        }
    }

    /// The number of copies that must be made or handed over here. And the number of shards known to differ from a
    /// peer's, plus the peers that were not compared yet.
    pub(crate) fn moves(&self) -> (u64, u64) {
        let (mut moves, mut behind) = (0, 0);
        for (shard, replica) in self.replicas.iter().enumerate() {
            let placed = self.cluster.placed_here(shard);
            let copy = self.cluster.copy(shard);
            moves += u64::from(placed != (copy == Copy::Ready) || !placed && copy != Copy::Absent);
            behind += u64::from(replica.fill.is_some() && copy == Copy::Ready);
        }
        (
            moves,
            behind + self.keeper.wanted.len() as u64 + u64::from(self.unheard().len()),
        )
    }

    /// Peers that were not compared yet in both directions.
    fn unheard(&self) -> PeerSet {
        let connected = self.cluster.connected();
        connected
            .without(self.keeper.heard)
            .union(connected.without(self.keeper.compared))
    }
}

fn decode(bytes: &[u8]) -> Option<Clock> {
    let mut reader = Reader::new(bytes);
    let clock = Clock::decode(&mut reader).ok()?;
    reader.is_empty().then_some(clock)
}
