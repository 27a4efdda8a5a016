//! Planted bugs: does the simulator see them? Each one spoils what a store is told or what it answers, on its way in or
//! out, so the store itself needs no switch for it.

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
    store::Store,
    table::Content,
};
use wire::request::Batch;

use crate::fault::{Fault, Plan, Table};

/// Of the deltas, one in so many loses its content.
const EARLY_ONE_IN: u64 = 16;
/// Of the chunks, one in so many is lost.
const CHUNK_ONE_IN: u64 = 2;
/// The name that a node is asked for when a peer wants a sign of life; it stands in the answer.
const NOBODY: &[u8] = b"undefined";
/// How much too early a counter is freed.
const EARLY_MS: u64 = 1_000;

/// One bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A write is acknowledged before the other replicas hold it.
    HastyAck,
    /// A dot enters the clock before what its event did has come.
    EarlyClock,
    /// A restarted node goes on under its old creation.
    ReusedDot,
    /// A replica does not hear what a write had seen.
    ForgottenContext,
    /// A copy that is being filled answers reads.
    FillingReader,
    /// A copy is dropped before those that replace it are filled.
    EarlyDrop,
    /// A missing frame goes unnoticed.
    IgnoredGap,
    /// A replica frees a counter, a little too early, and hears then that it was extended.
    FreedAlone,
    /// A replica does not hear that a shard was wiped.
    LostWipe,
    /// An increment is another than was asked for.
    WrongCount,
    /// What is appended is not.
    LostAppend,
    /// What is to stay ends.
    FalsePersist,
    /// What is to end stays.
    FalseExpire,
    /// What everybody writes vanishes.
    Fleeting,
    /// `APPEND` answers a length that is too small.
    ShortAppend,
    /// `SETNX` and `SET … NX` are granted though the key is held.
    GrantedTwice,
    /// `GETSET` and `SET … GET` do not tell what was there.
    ForgottenOld,
    /// `DEL` does not count what it deletes.
    FalseDelete,
    /// `EXISTS` does not see what is there.
    FalseExists,
    /// `STRLEN` is one too long.
    WrongLength,
    /// `GETRANGE` leaves out the last byte.
    TornRange,
    /// `INCRBY` and `DECRBY` answer a sum without one of the increments.
    LostCount,
    /// What a BEAM process puts goes to another key.
    MisledCall,
    /// A node does not look at `min_acks`.
    NoMinAcks,
    /// A node that starts again knows nobody and forms a cluster of its own.
    KnowsNobody,
    /// A ready copy answers reads although it has not heard of its primary for long, and has not merged what others
    /// have yet.
    BoldReader,
    /// A chunk of a copy is lost, and what came before it is taken for the whole.
    LostChunk,
    /// A node that leaves ends as soon as it has handed over its copies, whatever is under way.
    HastyEnd,
    /// A node forms shards without having met the nodes that it was told of.
    ForgottenJoin,
    /// A node that remembers members forms shards without them.
    HollowShard,
    /// A cluster of one node throws away what was written to it.
    YieldsWithData,
    /// A connected node does not answer for its name, and another one takes its place.
    TwinAccepted,
}

impl Plant {
    /// Every bug.
    pub const ALL: [Self; 32] = [
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
    ];

    /// The table whose rules are to see the bug.
    pub fn table(self) -> Table {
        if (self as usize) < Self::ShortAppend as usize {
            Table::First
        } else {
            Table::Second
        }
    }

    /// Whether what a node sends is lost: with one bug, the answer of the first node for its name.
    pub fn swallows(self, machine: usize, bytes: &[u8]) -> bool {
        self == Self::TwinAccepted && machine == 0 && bytes.windows(NOBODY.len()).any(|window| window == NOBODY)
    }

    /// Adds to a plan what brings the bug to light.
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
        };
        if self.table() == Table::Second {
            // A world in which nothing else goes wrong: what is seen is this bug.
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
        // A silent peer is given up after half of that: until then a replica lacks what it was not sent.
        if self == Self::BoldReader {
            (plan.tick_ms, plan.load.think_us, plan.load.min_acks) = (8_000, 40_000, 1);
        }
        // A node knows what it is told, or what it remembers.
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
        // Only one that is reborn alone, in a long cut, writes before it has seen what its former life wrote.
        if self == Self::ReusedDot {
            plan.faults = faults.to_vec();
            (plan.nodes, plan.replicas, plan.seconds) = (3, 2, 90);
        }
    }
}

/// Burns down with the chunks, and the slices of large messages, that a node takes in. What is to happen then is the
/// world's matter.
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

    /// Whether it has burnt down since that was last asked.
    pub fn has_blown(&self) -> bool {
        self.blown.replace(false)
    }

    /// A frame comes in.
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

/// The process `salp`: a store that the simulator can look into, with or without a bug.
pub struct Tampered {
    store: Rc<RefCell<Store>>,
    plant: Option<Plant>,
    fuse: Rc<Fuse>,
    /// Number of the next frame, by sender, where gaps go unnoticed; chunks, where some are lost.
    expected: BTreeMap<(String, u32), u64>,
}

impl Tampered {
    /// The process of a store.
    pub fn new(store: Rc<RefCell<Store>>, plant: Option<Plant>, fuse: Rc<Fuse>) -> Self {
        Self {
            store,
            plant,
            fuse,
            expected: BTreeMap::new(),
        }
    }

    /// The frames that the store is given instead of one.
    fn spoil(&mut self, from: &Pid, bytes: &Bytes) -> Vec<Bytes> {
        let Ok(mut whole) = Frame::decode(bytes) else {
            return vec![bytes.clone()];
        };
        let mut out = bytes[..HEADER].to_vec();
        match self.plant {
            Some(Plant::IgnoredGap) => return self.close_gap(from, whole.number, bytes),
            Some(plant @ (Plant::EarlyClock | Plant::ForgottenContext | Plant::FreedAlone | Plant::LostWipe)) => {
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
                | Plant::TwinAccepted,
            )
            | None => return vec![bytes.clone()],
        }
        vec![out.into()]
    }

    /// Whether the chunk that has come is one that is lost.
    fn loses_chunk(&mut self) -> bool {
        let count = self.expected.entry((String::new(), 0)).or_default();
        *count += 1;
        count.is_multiple_of(CHUNK_ONE_IN)
    }

    /// Puts empty frames where some are missing.
    fn close_gap(&mut self, from: &Pid, number: u64, bytes: &Bytes) -> Vec<Bytes> {
        let next = self
            .expected
            .entry((from.node.as_str().to_owned(), from.creation))
            .or_insert(1);
        // The numbers of a new connection begin anew.
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

    /// Appends leave to drop every copy that has no place here.
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

    /// Answers a single `GET` from a copy in this state.
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
                // The store takes it for settled, and so never says that it is.
                if matches!(affiliation.identity.claim, Claim::Provisional(_)) {
                    affiliation.identity.claim = Claim::Settled { was: None };
                }
                self.store.borrow_mut().handle(ctx, Message::Cluster(affiliation));
            }
            other => self.store.borrow_mut().handle(ctx, other),
        }
    }
}

/// The requests as a store with this bug understands them.
fn misread(plant: Plant, batch: &Batch) -> Batch {
    let mut read = Batch::new();
    for index in 0..batch.len() {
        let request = batch.request(index);
        let mut args: Vec<&[u8]> = request.iter().collect();
        match (plant, args[0]) {
            (Plant::WrongCount, b"INCRBY") => args[2] = b"0",
            (Plant::LostAppend, b"APPEND") => args = vec![b"APPEND", b"elsewhere", args[2]],
            (Plant::FalsePersist, b"PERSIST") => args = vec![b"EXISTS", args[1]],
            (Plant::FalseExpire, b"PEXPIRE") => args = vec![b"EXISTS", args[1]],
            (Plant::Fleeting, b"SET") if args[1].starts_with(b"x") => args.extend([&b"PX"[..], b"500"]),
            _ => {}
        }
        read.push(&args);
    }
    read
}

/// Deltas as a replica with this bug takes them.
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
        let is_early = delta.dot.counter % EARLY_ONE_IN == 0;
        match (plant, delta.event) {
            (Plant::EarlyClock, Event::Write { .. }) if is_early => put_nothing(&mut out, &delta),
            (Plant::LostWipe, Event::Wipe) => put_nothing(&mut out, &delta),
            (Plant::ForgottenContext, _) => {
                out.extend_from_slice(head);
                out.push(0);
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

fn ends_soon(store: &Store, shard: usize, key: &[u8]) -> bool {
    let (shard, end_ms) = (store.shard(shard), store.now_ms() + EARLY_MS);
    shard.view(key, 0).is_some() && shard.view(key, end_ms).is_none()
}

/// A delta that does nothing but take its dot.
fn put_nothing(out: &mut Vec<u8>, delta: &Delta<'_>) {
    const DELETE: u8 = 1;
    out.push(DELETE);
    put_dot(out, delta.dot);
    out.extend_from_slice(&delta.stamp.0.to_le_bytes());
    put_bytes(out, b"nothing");
    out.push(0);
}

/// Holdings in which every copy is ready that has no place at the receiver.
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
