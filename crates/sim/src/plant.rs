//! Planted bugs: does the simulator catch them? Each bug changes the inputs or the outputs of a store, so the store
//! itself needs no switch for it.

mod answers;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use bytes::Bytes;
use node::{Claim, Context, Member, Message, Pid, Process, Term};
use store::{
    ask::{Ask, Payload},
    cluster::Cluster,
    codec::{Reader, put_bytes, put_dot},
    delta::{Delta, Event},
    message::{self as frame, Copy, Frame, HEADER, Holding},
    slot,
    stamp::Stamp,
    store::Store,
    table::Content,
};
use wire::request::Batch;

use crate::fault::{Fault, Plan, Table};

/// One delta in this many loses its content.
const EARLY_ONE_IN: u64 = 16;
/// One chunk in this many is lost.
const CHUNK_ONE_IN: u64 = 2;
/// The process name in a liveness probe of a peer; it is also in the answer.
const NOBODY: &[u8] = b"undefined";
/// How much too early a counter is freed.
const EARLY_MS: u64 = 1_000;
/// How far apart the stamps of one transaction are, at most, if each of its writes has its own.
const STAMPS_MS: u64 = 4_000;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A write is acknowledged before the other replicas hold it.
    HastyAck,
    /// A dot enters the version vector before the write that it stands for has arrived.
    EarlyClock,
    /// A restarted node uses its old creation again.
    ReusedDot,
    /// A replica does not receive the context of a write (what the write had seen).
    ForgottenContext,
    /// A copy that is still being filled answers reads.
    FillingReader,
    /// A copy is dropped before the copies that replace it are filled.
    EarlyDrop,
    /// A missing frame is not noticed.
    IgnoredGap,
    /// A replica frees a counter a little too early, and then receives an extension of its expiry.
    FreedAlone,
    /// A replica does not learn that a shard was wiped.
    LostWipe,
    /// An increment adds another number than asked for.
    WrongCount,
    /// `APPEND` does nothing.
    LostAppend,
    /// A value that should stay expires.
    FalsePersist,
    /// A value that should expire stays.
    FalseExpire,
    /// Contended values vanish.
    Fleeting,
    /// `APPEND` answers a length that is too small.
    ShortAppend,
    /// `SETNX` and `SET … NX` succeed although the key exists.
    GrantedTwice,
    /// `GETSET` and `SET … GET` do not show the old value.
    ForgottenOld,
    /// `DEL` does not count the key that it deletes.
    FalseDelete,
    /// `EXISTS` does not find an existing key.
    FalseExists,
    /// `STRLEN` is too large by one.
    WrongLength,
    /// `GETRANGE` leaves out the last byte.
    TornRange,
    /// `INCRBY` and `DECRBY` reply with a sum that lacks one of the increments.
    LostCount,
    /// A `put` of a BEAM process goes to another key.
    MisledCall,
    /// A node ignores `min_acks`.
    NoMinAcks,
    /// A restarted node knows no other node, and forms a cluster of its own.
    KnowsNobody,
    /// A ready copy answers reads although it got no message from its primary for long, and has not merged the data of
    /// others yet.
    BoldReader,
    /// A chunk of a copy is lost, and the part before it counts as the whole copy.
    LostChunk,
    /// A leaving node ends as soon as it has handed over its copies, although requests are still under way.
    HastyEnd,
    /// A node forms shards before it has met the nodes that it was given to join.
    ForgottenJoin,
    /// A node that remembers members forms shards without them.
    HollowShard,
    /// A cluster of one node throws away its written data.
    YieldsWithData,
    /// A connected node does not answer a probe of its name, and another node takes its place.
    TwinAccepted,
    /// A replica gets the first write of a transaction in one message, and the others in the next one.
    TornTransaction,
    /// `EXEC` does not compare the versions of watched keys.
    BlindExec,
    /// The version that `WATCH` remembers is newer than what a read after `WATCH` shows.
    LateWatch,
    /// A replica gives each write of a transaction a stamp of its own.
    StampEach,
}

impl Plant {
    /// Every bug.
    pub const ALL: [Self; 36] = [
        Self::HastyAck,
        Self::EarlyClock,
        Self::ReusedDot,
        Self::ForgottenContext,
        Self::FillingReader,
        Self::EarlyDrop,
        Self::IgnoredGap,
        Self::FreedAlone,
        Self::LostWipe,
        Self::WrongCount,
        Self::LostAppend,
        Self::FalsePersist,
        Self::FalseExpire,
        Self::Fleeting,
        Self::ShortAppend,
        Self::GrantedTwice,
        Self::ForgottenOld,
        Self::FalseDelete,
        Self::FalseExists,
        Self::WrongLength,
        Self::TornRange,
        Self::LostCount,
        Self::MisledCall,
        Self::NoMinAcks,
        Self::KnowsNobody,
        Self::BoldReader,
        Self::LostChunk,
        Self::HastyEnd,
        Self::ForgottenJoin,
        Self::HollowShard,
        Self::YieldsWithData,
        Self::TwinAccepted,
        Self::TornTransaction,
        Self::BlindExec,
        Self::LateWatch,
        Self::StampEach,
    ];

    /// The table whose rules must catch the bug.
    pub fn table(self) -> Table {
        if (self as usize) < Self::ShortAppend as usize {
            Table::First
        } else if (self as usize) < Self::TornTransaction as usize {
            Table::Second
        } else {
            Table::Third
        }
    }

    /// Whether bytes that a node sends are lost. For one bug, that is the first node's answer to the probe of its name.
    pub fn swallows(self, machine: usize, bytes: &[u8]) -> bool {
        self == Self::TwinAccepted && machine == 0 && bytes.windows(NOBODY.len()).any(|window| window == NOBODY)
    }

    /// Changes a plan so that it brings the bug to light.
    pub fn suit(self, plan: &mut Plan) {
        let (faults, nodes): (&[Fault], usize) = match self {
            Self::HastyAck | Self::EarlyClock | Self::ForgottenContext => (&[], 3),
            Self::ReusedDot => (&[Fault::WildCrash, Fault::Partition], 3),
            Self::FillingReader => (&[Fault::Crash, Fault::Join], 5),
            Self::EarlyDrop => (&[Fault::Leave, Fault::Join], 5),
            Self::IgnoredGap => (&[Fault::Lose], 3),
            Self::FreedAlone => (&[Fault::Crash, Fault::Slow], 3),
            Self::LostWipe
            | Self::WrongCount
            | Self::LostAppend
            | Self::FalsePersist
            | Self::FalseExpire
            | Self::Fleeting => (&[], 3),
            Self::ShortAppend
            | Self::GrantedTwice
            | Self::ForgottenOld
            | Self::FalseDelete
            | Self::FalseExists
            | Self::WrongLength
            | Self::TornRange
            | Self::LostCount
            | Self::MisledCall => (&[], 3),
            Self::NoMinAcks => (&[Fault::Partition], 3),
            Self::KnowsNobody => (&[Fault::Crash], 3),
            Self::BoldReader => (&[Fault::OneWay, Fault::LinkDown, Fault::LinkFlap], 5),
            Self::LostChunk => (&[Fault::Crash, Fault::Join], 5),
            Self::HastyEnd => (&[Fault::Leave, Fault::Join], 5),
            Self::ForgottenJoin => (&[Fault::WildCrash], 3),
            Self::HollowShard => (&[Fault::Blind, Fault::Partition], 3),
            Self::YieldsWithData => (&[Fault::Stranger], 3),
            Self::TwinAccepted => (&[Fault::Twin], 3),
            Self::TornTransaction | Self::BlindExec | Self::LateWatch => (&[], 3),
            Self::StampEach => (&[Fault::Partition], 3),
        };
        if self.table() != Table::First {
            // No other fault strikes, so a failure shows this bug.
            plan.faults.clear();
            plan.skew_ms = 0;
        }
        for &fault in faults {
            if !plan.has(fault) {
                plan.faults.push(fault);
            }
        }
        plan.nodes = plan.nodes.max(nodes);
        plan.spare = plan.spare.max(1);
        if matches!(self, Self::FillingReader | Self::BoldReader) {
            plan.load.batch_max = 1;
        }
        // A silent peer is given up after half of the tick time. Until then, a replica lacks the writes that were not
        // sent to it.
        if self == Self::BoldReader {
            (plan.tick_ms, plan.load.think_us, plan.load.min_acks) = (8_000, 40_000, 1);
        }
        // A node knows the names it is given to join, or those that it remembers.
        match self {
            Self::ForgottenJoin => plan.containers = 1_000,
            Self::HollowShard => plan.containers = 0,
            _ => {}
        }
        if self == Self::LostWipe {
            plan.keyspaces = 2;
        }
        if self == Self::NoMinAcks {
            (plan.replicas, plan.load.min_acks) = (3, 3);
        }
        // The bug shows only if a node restarts alone, in a long partition, and writes before it has seen what its
        // former life wrote.
        if self == Self::ReusedDot {
            plan.faults = faults.to_vec();
            (plan.nodes, plan.replicas, plan.seconds) = (3, 2, 90);
        }
    }
}

/// Counts down with the chunks that a node receives. The world decides what happens at zero.
#[derive(Debug, Default)]
pub struct Fuse {
    left: Cell<u32>,
    blown: Cell<bool>,
}

impl Fuse {
    /// After so many chunks or slices.
    pub fn light(&self, count: u32) {
        self.left.set(count);
    }

    /// Whether the fuse has blown since the last call.
    pub fn has_blown(&self) -> bool {
        self.blown.replace(false)
    }

    /// A frame has arrived. The fuse gets shorter by the number of its chunks.
    fn burn(&self, frame: &[u8]) {
        if self.left.get() == 0 {
            return;
        }
        let Ok(mut whole) = Frame::decode(frame) else { return };
        while let Some(Ok(message)) = whole.next() {
            let burns = matches!(message, frame::Message::Chunk { .. } | frame::Message::Slice(_));
            if burns && self.left.get() > 0 {
                self.left.set(self.left.get() - 1);
                self.blown.set(self.left.get() == 0);
            }
        }
    }
}

/// The name and the creation of a node.
type Sender = (String, u32);
/// The end of a delta, and its shard.
type Rest = (u32, Vec<u8>);

/// The process `salp`: a store that the simulator can inspect, with or without a planted bug.
pub struct Tampered {
    store: Rc<RefCell<Store>>,
    plant: Option<Plant>,
    fuse: Rc<Fuse>,
    /// For two bugs: the next frame number by sender (if gaps are ignored), or a count of chunks (if chunks are lost).
    expected: BTreeMap<Sender, u64>,
    /// For one bug: the rest of torn transactions, by sender, with their shards.
    torn: BTreeMap<Sender, Vec<Rest>>,
}

impl Tampered {
    /// The process for a store.
    pub fn new(store: Rc<RefCell<Store>>, plant: Option<Plant>, fuse: Rc<Fuse>) -> Self {
        Self {
            store,
            plant,
            fuse,
            expected: BTreeMap::new(),
            torn: BTreeMap::new(),
        }
    }

    /// The frames that the store gets in place of one frame.
    fn spoil(&mut self, from: &Pid, bytes: &Bytes) -> Vec<Bytes> {
        let Ok(mut whole) = Frame::decode(bytes) else {
            return vec![bytes.clone()];
        };
        let mut out = bytes[..HEADER].to_vec();
        match self.plant {
            Some(Plant::IgnoredGap) => return self.close_gap(from, whole.number, bytes),
            Some(Plant::TornTransaction) => self.tear(from, &mut whole, &mut out),
            Some(
                plant @ (Plant::EarlyClock
                | Plant::ForgottenContext
                | Plant::FreedAlone
                | Plant::LostWipe
                | Plant::StampEach),
            ) => {
                while let Some(Ok(message)) = whole.next() {
                    match message {
                        frame::Message::Delta { shard, delta } => {
                            let delta = spoil_deltas(plant, &self.store.borrow(), shard as usize, delta);
                            frame::Message::Delta { shard, delta: &delta }.encode(&mut out);
                        }
                        other => other.encode(&mut out),
                    }
                }
            }
            Some(Plant::EarlyDrop) => {
                while let Some(Ok(message)) = whole.next() {
                    match message {
                        frame::Message::Holdings { epoch, resp, holdings } => {
                            let holdings = all_ready(self.store.borrow().cluster(), holdings);
                            frame::Message::Holdings {
                                epoch,
                                resp,
                                holdings: &holdings,
                            }
                            .encode(&mut out);
                        }
                        other => other.encode(&mut out),
                    }
                }
                self.release_all(&mut out);
            }
            Some(Plant::LostChunk) => {
                while let Some(Ok(message)) = whole.next() {
                    match message {
                        frame::Message::Chunk { shard, .. } if self.loses_chunk() => {
                            frame::Message::Chunk {
                                shard,
                                kind: frame::Kind::Nothing,
                                chunk: &[],
                            }
                            .encode(&mut out);
                        }
                        other => other.encode(&mut out),
                    }
                }
            }
            Some(
                Plant::HastyAck
                | Plant::ReusedDot
                | Plant::FillingReader
                | Plant::WrongCount
                | Plant::LostAppend
                | Plant::FalsePersist
                | Plant::FalseExpire
                | Plant::Fleeting
                | Plant::ShortAppend
                | Plant::GrantedTwice
                | Plant::ForgottenOld
                | Plant::FalseDelete
                | Plant::FalseExists
                | Plant::WrongLength
                | Plant::TornRange
                | Plant::LostCount
                | Plant::MisledCall
                | Plant::NoMinAcks
                | Plant::KnowsNobody
                | Plant::BoldReader
                | Plant::HastyEnd
                | Plant::ForgottenJoin
                | Plant::HollowShard
                | Plant::YieldsWithData
                | Plant::TwinAccepted
                | Plant::BlindExec
                | Plant::LateWatch,
            )
            | None => return vec![bytes.clone()],
        }
        vec![out.into()]
    }

    /// Puts off all but the first write of each delta, until the next frame of the same sender.
    fn tear(&mut self, from: &Pid, whole: &mut Frame<'_>, out: &mut Vec<u8>) {
        let rests = self
            .torn
            .entry((from.node.as_str().to_owned(), from.creation))
            .or_default();
        for (shard, delta) in std::mem::take(rests) {
            frame::Message::Delta { shard, delta: &delta }.encode(out);
        }
        while let Some(Ok(message)) = whole.next() {
            match message {
                frame::Message::Delta { shard, delta } => {
                    let mut reader = Reader::new(delta);
                    let is_whole = delta.is_empty() || Delta::take(&mut reader).is_err() || reader.is_empty();
                    let rest = if is_whole { &[] } else { reader.rest() };
                    let delta = &delta[..delta.len() - rest.len()];
                    frame::Message::Delta { shard, delta }.encode(out);
                    if !rest.is_empty() {
                        rests.push((shard, rest.to_vec()));
                    }
                }
                other => other.encode(out),
            }
        }
    }

    /// Whether the chunk that has just arrived is lost.
    fn loses_chunk(&mut self) -> bool {
        let count = self.expected.entry((String::new(), 0)).or_default();
        *count += 1;
        count.is_multiple_of(CHUNK_ONE_IN)
    }

    /// Fills a gap in the frame numbers with empty frames.
    fn close_gap(&mut self, from: &Pid, number: u64, bytes: &Bytes) -> Vec<Bytes> {
        let next = self
            .expected
            .entry((from.node.as_str().to_owned(), from.creation))
            .or_insert(1);
        // On a new connection, frame numbers start again.
        let first = if number == 1 { 1 } else { *next };
        *next = (*next).max(number + 1);
        if number == 1 {
            *next = 2;
        }
        let missing = (first..number).map(|missing| {
            let mut empty = bytes[..HEADER].to_vec();
            empty[1..9].copy_from_slice(&missing.to_le_bytes());
            Bytes::from(empty)
        });
        missing.chain([bytes.clone()]).collect()
    }

    /// Appends permission to drop every copy that is not placed here.
    fn release_all(&self, out: &mut Vec<u8>) {
        let store = self.store.borrow();
        let cluster = store.cluster();
        for shard in 0..cluster.shards() {
            if !cluster.placed_here(shard) && cluster.copy(shard) != Copy::Absent {
                let digest = store.shard(shard).clock().digest();
                frame::Message::Released {
                    shard: shard as u32,
                    digest,
                }
                .encode(out);
            }
        }
    }

    /// Whether it answers a single `GET` from a copy in this state.
    fn answers(&self, ask: &mut Ask, copy: Copy) -> bool {
        let store = self.store.borrow();
        let request = ask.batch.request(0);
        if ask.batch.len() != 1 || ask.session.keyspace != 0 || &request[0] != b"GET" {
            return false;
        }
        let shard = usize::from(slot::shard(slot::slot(&request[1]), store.config().shards));
        if store.cluster().copy(shard) != copy {
            return false;
        }
        let shown = store.shard(shard).view(&request[1], store.now_ms());
        match shown.map(|view| store::call::text(&view.value).into_owned()) {
            Some(value) => ask.batch.replies.bulk(&value),
            None => ask.batch.replies.null(),
        }
        true
    }
}

impl Process<Payload> for Tampered {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        self.store.borrow_mut().start(ctx);
    }

    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        match message {
            Message::Term {
                from: Some(from),
                term: Term::Binary(bytes),
            } if self.plant.is_some() => {
                self.fuse.burn(&bytes);
                for bytes in self.spoil(&from, &bytes) {
                    let message = Message::Term {
                        from: Some(from.clone()),
                        term: Term::Binary(bytes),
                    };
                    self.store.borrow_mut().handle(ctx, message);
                }
            }
            Message::Term { from, term } => {
                if let Term::Binary(bytes) = &term {
                    self.fuse.burn(bytes);
                }
                let term = if self.plant == Some(Plant::MisledCall) {
                    answers::mislead(term)
                } else {
                    term
                };
                self.store.borrow_mut().handle(ctx, Message::Term { from, term });
            }
            Message::Payload(Payload::Ask(mut ask))
                if matches!(self.plant, Some(Plant::FillingReader | Plant::BoldReader)) =>
            {
                let copy = match self.plant {
                    Some(Plant::BoldReader) => Copy::Ready,
                    _ => Copy::Filling,
                };
                if self.answers(&mut ask, copy) {
                    let client = ask.client.clone();
                    return ctx.tell(&client, Payload::Ask(ask));
                }
                self.store.borrow_mut().handle(ctx, Message::Payload(Payload::Ask(ask)));
            }
            Message::Payload(Payload::Ask(mut ask)) => {
                if let Some(plant) = self.plant {
                    ask.batch = misread(plant, &ask.batch);
                }
                self.store.borrow_mut().handle(ctx, Message::Payload(Payload::Ask(ask)));
            }
            Message::Members(view) if self.plant == Some(Plant::HollowShard) => {
                let is_there = |member: &&Member| member.connected;
                let view = view.iter().filter(is_there).cloned().collect();
                self.store.borrow_mut().handle(ctx, Message::Members(view));
            }
            Message::Cluster(mut affiliation) if self.plant == Some(Plant::YieldsWithData) => {
                // The store then takes the cluster id for settled, and never reports it as provisional.
                if matches!(affiliation.identity.claim, Claim::Provisional(_)) {
                    affiliation.identity.claim = Claim::Settled { was: None };
                }
                self.store.borrow_mut().handle(ctx, Message::Cluster(affiliation));
            }
            other => self.store.borrow_mut().handle(ctx, other),
        }
    }
}

/// The requests as a store with this bug reads them.
fn misread(plant: Plant, batch: &Batch) -> Batch {
    let mut read = Batch::new();
    if plant == Plant::LateWatch && batch.len() > 1 && &batch.request(0)[0] == b"WATCH" {
        for index in [1, 0].into_iter().chain(2..batch.len()) {
            read.push(&batch.request(index).iter().collect::<Vec<_>>());
        }
        return read;
    }
    for index in 0..batch.len() {
        let request = batch.request(index);
        let mut args: Vec<&[u8]> = request.iter().collect();
        match (plant, args[0]) {
            (Plant::WrongCount, b"INCRBY") => args[2] = b"0",
            (Plant::LostAppend, b"APPEND") => args = vec![b"APPEND", b"elsewhere", args[2]],
            (Plant::FalsePersist, b"PERSIST") => args = vec![b"EXISTS", args[1]],
            (Plant::FalseExpire, b"PEXPIRE") => args = vec![b"EXISTS", args[1]],
            (Plant::BlindExec, b"WATCH") => args = vec![b"UNWATCH"],
            (Plant::Fleeting, b"SET") if args[1].starts_with(b"x") => args.extend([&b"PX"[..], b"500"]),
            _ => {}
        }
        read.push(&args);
    }
    read
}

/// The deltas as a replica with this bug applies them.
fn spoil_deltas(plant: Plant, store: &Store, shard: usize, deltas: &[u8]) -> Vec<u8> {
    let (mut out, mut reader) = (Vec::new(), Reader::new(deltas));
    while !reader.is_empty() {
        let whole = reader.rest();
        let Ok(delta) = Delta::take(&mut reader) else {
            return deltas.to_vec();
        };
        let whole = &whole[..whole.len() - reader.rest().len()];
        let mut context = delta.context.to_clock();
        let mut encoded = Vec::new();
        context.encode(&mut encoded);
        let head = &whole[..whole.len() - encoded.len()];
        let is_first = whole.as_ptr() == deltas.as_ptr();
        let is_early = delta.dot.counter % EARLY_ONE_IN == 0;
        match (plant, delta.event) {
            (Plant::EarlyClock, Event::Write { .. }) if is_early => put_nothing(&mut out, &delta),
            (Plant::LostWipe, Event::Wipe) => put_nothing(&mut out, &delta),
            (Plant::ForgottenContext, _) => {
                out.extend_from_slice(head);
                out.push(0);
            }
            (Plant::StampEach, _) if !is_first => {
                let later_ms = delta.dot.counter.wrapping_mul(7_919) % STAMPS_MS;
                let stamp = Stamp::new(delta.stamp.ms() + later_ms, delta.stamp.count());
                put_stamped(&mut out, whole, delta.stamp, stamp);
            }
            (Plant::FreedAlone, Event::Write { key, record })
                if matches!(record.content, Content::Counter { .. }) && ends_soon(store, shard, key) =>
            {
                context.join(store.shard(shard).clock());
                out.extend_from_slice(head);
                context.encode(&mut out);
            }
            _ => out.extend_from_slice(whole),
        }
    }
    out
}

/// Appends a delta with another stamp.
fn put_stamped(out: &mut Vec<u8>, mut delta: &[u8], old: Stamp, new: Stamp) {
    let (old, new) = (old.0.to_le_bytes(), new.0.to_le_bytes());
    while let Some((&first, rest)) = delta.split_first() {
        if let Some(behind) = delta.strip_prefix(&old) {
            out.extend_from_slice(&new);
            delta = behind;
        } else {
            out.push(first);
            delta = rest;
        }
    }
}

fn ends_soon(store: &Store, shard: usize, key: &[u8]) -> bool {
    let (shard, end_ms) = (store.shard(shard), store.now_ms() + EARLY_MS);
    shard.view(key, 0).is_some() && shard.view(key, end_ms).is_none()
}

/// Appends a delta that changes nothing except that its dot is used.
fn put_nothing(out: &mut Vec<u8>, delta: &Delta<'_>) {
    const DELETE: u8 = 1;
    out.push(DELETE);
    put_dot(out, delta.dot);
    out.extend_from_slice(&delta.stamp.0.to_le_bytes());
    put_bytes(out, b"nothing");
    out.push(0);
}

/// Holdings that claim every copy to be ready that has no place at the receiver.
fn all_ready(cluster: &Cluster, holdings: &[u8]) -> Vec<u8> {
    let told = frame::holdings(holdings).unwrap_or_default();
    let mut out = Vec::new();
    let spoilt = told.into_iter().enumerate().map(|(shard, holding)| {
        let promised = holding.copy == Copy::Filling && !cluster.placed_here(shard);
        Holding {
            copy: if promised { Copy::Ready } else { holding.copy },
            ..holding
        }
    });
    frame::put_holdings(&mut out, spoilt);
    out
}
