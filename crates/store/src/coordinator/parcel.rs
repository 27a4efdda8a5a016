//! Parcels: requests of a run that another node executes, on their way there, and their replies on the way back.
//!
//! - A peer executes the requests of a run in order. It may put off requests whose replies would be too large, but only
//!   in the last parcel of a run: later parcels would overtake them.
//! - Requests that were put off, and reads whose peer is lost, are forwarded again in one batch. One by one, all of
//!   them would be answered at once, however large.

use alloc::vec::Vec;
use bytes::Bytes;
use core::mem;
use wire::{
    reply::{ErrorKind, Replies, Slot},
    request::{Args, Batch},
};

use crate::{
    ask::Session,
    command,
    message::{self, Forward, Message},
    outcome::TOO_LARGE,
    peers::{PEERS_MAX, PeerSet},
    run::{Origin, Parcel, Run, RunId},
    store::Store,
};

/// Once a parcel has more bytes than this, it takes no further request. With one large request in it, it still fits a
/// frame.
const PARCEL_BYTES: usize = 1 << 20;
/// Bytes for requests that a new parcel reserves.
const PARCEL_ROOM: usize = 2 << 10;

/// A parcel under way to a peer.
#[derive(Debug)]
pub(crate) struct Sent {
    run: RunId,
    peer: usize,
    keyspace: u16,
    slots: Vec<(Slot, u32)>,
    reads_only: bool,
}

impl Sent {
    fn of(run: RunId, parcel: Parcel) -> Self {
        Self {
            run,
            peer: parcel.peer,
            keyspace: parcel.keyspace,
            slots: parcel.slots,
            reads_only: parcel.reads_only,
        }
    }

    /// How many requests wait for a reply.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }
}

impl Store {
    /// Executes requests that a peer forwarded to this node.
    pub(crate) fn forwarded(&mut self, slot: usize, forward: &Forward<'_>) -> bool {
        let Some(life) = self.cluster.peer(slot).map(|peer| peer.life) else {
            return false;
        };
        let mut session = Session::new(0, true);
        session.level = Some(forward.level);
        session.keyspace = forward.keyspace;
        if usize::from(forward.keyspace) >= self.config.keyspaces.len() {
            return false;
        }
        let mut batch = self.front.spares.pop().unwrap_or_default();
        if message::requests(forward.requests, |args| batch.push(args)).is_err() {
            return false;
        }
        let deadline_ms = self.deadline_ms(forward.requests.len());
        let deadline_ms = self.time.to_monotonic_ms(forward.until_ms).min(deadline_ms);
        let origin = Origin::Peer {
            slot,
            life,
            token: forward.token,
        };
        let ask = self.own_ask(session, batch);
        let mut run = Run::new(origin, ask, deadline_ms, forward.wall_ahead_ms);
        run.way.hops = forward.hops;
        run.way.parked_until_ms = self.time.to_monotonic_ms(forward.parked_until_ms);
        run.way.asker = Some((slot, life));
        run.is_last = forward.is_last;
        if deadline_ms <= self.time.monotonic_ms {
            // Its client may have sent another write since, which it must not replace.
            self.refuse(run, ErrorKind::Timeout, "it came after its deadline: nothing was done");
        } else if self.peers[slot].backlog.is_full() {
            self.refuse(
                run,
                ErrorKind::Busy,
                "too many replies wait for the node that was asked",
            );
        } else {
            self.admit(run);
        }
        true
    }

    /// Sends the parcels that a run has gathered for its peers. `is_last`: the run sends nothing else to a peer later
    /// that must not overtake them.
    pub(super) fn dispatch(&mut self, id: RunId, run: &mut Run, is_last: bool) {
        let mut parcels = mem::take(&mut run.parcels).into_iter();
        while let Some(parcel) = parcels.next() {
            let followed = parcels.as_slice().iter().any(|later| later.peer == parcel.peer);
            self.forward(id, run, parcel, is_last && !followed);
        }
        for (shard, parcel) in mem::take(&mut run.parked) {
            run.open += 1;
            let until_ms = run.way.parked_until_ms;
            self.park_requests(shard, Sent::of(id, parcel), until_ms, is_last);
        }
    }

    fn forward(&mut self, id: RunId, run: &mut Run, mut parcel: Parcel, is_last: bool) {
        let token = self.front.next_token;
        self.front.next_token += 1;
        let keyspace = &self.config.keyspaces[usize::from(parcel.keyspace)];
        let outbox = &mut self.peers[parcel.peer].outbox;
        let requests = Bytes::from(mem::take(&mut parcel.requests));
        let message = Message::Forward(Forward {
            token,
            hops: run.way.hops + 1,
            level: run.ask.session.level.unwrap_or(keyspace.level),
            until_ms: self.time.to_cluster_ms(run.deadline_ms),
            parked_until_ms: self.time.to_cluster_ms(run.way.parked_until_ms),
            wall_ahead_ms: run.wall_ahead_ms,
            keyspace: parcel.keyspace,
            is_last,
            requests: &requests,
        });
        if outbox.is_large(requests.len()) {
            outbox.push_large(&message, requests.clone());
            run.large.sent_to.insert(parcel.peer);
        } else if run.way.asker.is_some() || run.large.sent_to.contains(parcel.peer) {
            // What another node forwarded may follow a large parcel of the same batch, which is a run of its own here.
            outbox.push_behind(&message);
        } else {
            outbox.push(&message);
        }
        self.gauges.counters.forwarded += parcel.slots.len() as u64;
        run.open += 1;
        run.sent.push(token);
        self.front.sent.insert(token, Sent::of(id, parcel));
    }

    /// Handles the replies to a parcel, or to the next of its requests that have none yet.
    pub(crate) fn outcome(&mut self, peer: usize, token: u64, follows: bool, replies: &Replies) -> bool {
        // The parcel was given up before: its replies are ignored.
        let Some(mut sent) = self.front.sent.remove(&token) else {
            return true;
        };
        let count = replies.count();
        let fits = if follows {
            count < sent.slots.len()
        } else {
            count <= sent.slots.len()
        };
        if sent.peer != peer || count == 0 || !fits || !replies.is_complete() {
            self.front.sent.insert(token, sent);
            return false;
        }
        let room = self.gather_room(sent.run, replies);
        let Some(run) = self.front.runs.get(sent.run) else {
            return true;
        };
        let all = gather(
            run,
            sent.slots.drain(..count).map(|(slot, _)| slot),
            replies,
            room,
            sent.reads_only,
        );
        if follows {
            self.front.sent.insert(token, sent);
            return true;
        }
        run.open -= 1;
        if sent.slots.is_empty() {
            self.settle(sent.run);
        } else if all {
            self.forward_rest(sent);
        } else {
            self.fail(sent, ErrorKind::Oom, TOO_LARGE);
        }
        true
    }

    /// Forwards requests again that a peer has put off. They go in one parcel, so the replies come in pieces again.
    fn forward_rest(&mut self, sent: Sent) {
        let Some(mut run) = self.front.runs.lend(sent.run) else {
            return;
        };
        let mut requests = Vec::new();
        let mut reads_only = true;
        for &(_, index) in &sent.slots {
            let args = run.ask.batch.request(index as usize);
            message::put_request(&mut requests, args.len(), args.iter());
            reads_only &= command::find(&args[0]).is_some_and(|row| !row.writes());
        }
        let rest = Parcel {
            peer: sent.peer,
            keyspace: sent.keyspace,
            requests,
            slots: sent.slots,
            reads_only,
        };
        self.forward(sent.run, &mut run, rest, true);
        self.front.runs.put(sent.run, run);
    }

    /// Answers the requests of a parcel that is no longer under way with an error.
    fn fail(&mut self, sent: Sent, kind: ErrorKind, text: &str) {
        let Some(run) = self.front.runs.get(sent.run) else {
            return;
        };
        let mut failed = Replies::new();
        failed.error(kind, text);
        for (slot, _) in sent.slots {
            run.ask.batch.replies.fill(slot, &failed);
        }
        self.settle(sent.run);
    }

    /// Handles the parcels that a lost `peer` had.
    pub(super) fn lose_parcels(&mut self, peer: usize) {
        let mut tokens: Vec<u64> = self
            .front
            .sent
            .iter()
            .filter(|(_, sent)| sent.peer == peer)
            .map(|(token, _)| *token)
            .collect();
        tokens.sort_unstable();
        for token in tokens {
            if let Some(sent) = self.front.sent.remove(&token) {
                self.parcel_lost(sent);
            }
        }
    }

    /// Asks another node for the reads of a lost parcel. A read fails instead if a write on the same shard may have
    /// been sent behind it, since the write may be done by now. For a lost write, the outcome is unknown.
    fn parcel_lost(&mut self, mut sent: Sent) {
        let Some(run) = self.front.runs.get(sent.run) else {
            return;
        };
        if !sent.reads_only {
            run.open -= 1;
            let text = "the node that executed this write is lost: it may or may not have taken effect";
            return self.fail(sent, ErrorKind::Timeout, text);
        }
        let hops = run.way.hops + 1;
        let slots = mem::take(&mut sent.slots);
        let (late, rest): (Vec<_>, Vec<_>) = slots
            .into_iter()
            .partition(|&(_, index)| self.may_precede_a_write(sent.run, sent.keyspace, index));
        let mut failed = Replies::new();
        failed.error(
            ErrorKind::NoNodes,
            "the node that was asked is lost; a write after this read may have been executed",
        );
        let Some(run) = self.front.runs.get(sent.run) else {
            return;
        };
        for (slot, _) in late {
            run.ask.batch.replies.fill(slot, &failed);
        }
        if rest.is_empty() {
            run.open -= 1;
            return self.settle(sent.run);
        }
        sent.slots = rest;
        self.ask_again(sent, |again| again.way.hops = hops);
    }

    /// Whether the run of a read, or a run that it is part of, may have sent a write on the same shard. A run that
    /// another node forwarded may be followed by a write that is a run of its own here, unless it is the last of its
    /// batch.
    fn may_precede_a_write(&mut self, id: RunId, keyspace: u16, index: u32) -> bool {
        let Some(run) = self.front.runs.lend(id) else {
            return false;
        };
        let args = run.ask.batch.request(index as usize);
        let row = command::find(&args[0]).map(|row| row.member(args.get(1)).unwrap_or(row));
        let shard = row.and_then(|row| self.locate(row.keys, args, keyspace).ok());
        self.front.runs.put(id, run);
        let Some(shard) = shard else { return false };
        let mut is_followed = false;
        self.front.runs.each_from(Some(id), |run| {
            let is_forwarded = matches!(run.origin, Origin::Peer { .. });
            is_followed |= run.written_elsewhere.contains(shard) || is_forwarded && !run.is_last;
        });
        is_followed
    }

    /// Starts requests again that waited for their shard. If they must wait again, they do so until `until_ms`.
    pub(crate) fn begin_parked(&mut self, sent: Sent, until_ms: u64, is_last: bool) {
        self.ask_again(sent, |again| {
            (again.way.parked_until_ms, again.is_last) = (until_ms, is_last);
        });
    }

    /// Refuses requests that waited for their shard.
    pub(crate) fn refuse_parcel(&mut self, sent: Sent, text: &str) {
        let Some(run) = self.front.runs.get(sent.run) else {
            return;
        };
        run.open -= 1;
        self.fail(sent, ErrorKind::NoNodes, text);
    }

    /// Starts the requests of a parcel again. They stay together, so that they travel in parcels again.
    fn ask_again(&mut self, sent: Sent, prepare: impl FnOnce(&mut Run)) {
        let Some(run) = self.front.runs.get(sent.run) else {
            return;
        };
        let mut session = run.ask.session.for_part();
        session.keyspace = sent.keyspace;
        let mut batch = Batch::new();
        for &(_, index) in &sent.slots {
            batch.push(&run.ask.batch.request(index as usize).iter().collect::<Vec<_>>());
        }
        let (deadline_ms, wall_ahead_ms) = (run.deadline_ms, run.wall_ahead_ms);
        let way = run.way;
        let written_elsewhere = run.written_elsewhere.clone();
        // Other parts of the same batch may have waited too, and may have been forwarded since.
        let mut sent_to = PeerSet::EMPTY;
        self.front
            .runs
            .each_from(Some(sent.run), |run| sent_to = sent_to.union(run.large.sent_to));
        let origin = Origin::Again {
            of: sent.run,
            slots: sent.slots.into_iter().map(|(slot, _)| slot).collect(),
        };
        let mut again = Run::new(origin, self.own_ask(session, batch), deadline_ms, wall_ahead_ms);
        again.way.hops = way.hops;
        again.way.asker = way.asker;
        again.written_elsewhere = written_elsewhere;
        again.large.sent_to = sent_to;
        prepare(&mut again);
        self.start(again);
    }
}

/// Adds a request to those that wait until `shard` is settled; `place` is for its reply.
pub(super) fn park(run: &mut Run, shard: usize, place: (Slot, u32), read: bool) {
    let keyspace = run.ask.session.keyspace;
    let fits = |(other, parcel): &(usize, Parcel)| *other == shard && parcel.keyspace == keyspace;
    let index = run.parked.iter().position(fits).unwrap_or_else(|| {
        let parcel = Parcel {
            peer: PEERS_MAX,
            keyspace,
            requests: Vec::new(),
            slots: Vec::new(),
            reads_only: true,
        };
        run.parked.push((shard, parcel));
        run.parked.len() - 1
    });
    let parcel = &mut run.parked[index].1;
    parcel.slots.push(place);
    parcel.reads_only &= read;
}

/// Adds a request to a parcel for `peer`; `place` is for its reply.
pub(super) fn put_into_parcel(run: &mut Run, peer: usize, args: Args<'_>, place: (Slot, u32), read: bool) {
    let keyspace = run.ask.session.keyspace;
    let fits =
        |parcel: &Parcel| parcel.peer == peer && parcel.keyspace == keyspace && parcel.requests.len() <= PARCEL_BYTES;
    let index = run.parcels.iter().rposition(fits).unwrap_or_else(|| {
        run.parcels.push(Parcel {
            peer,
            keyspace,
            requests: Vec::with_capacity(run.ask.batch.buffer.len().min(PARCEL_ROOM)),
            slots: Vec::with_capacity(run.ask.batch.len().min(PARCEL_ROOM / 64)),
            reads_only: true,
        });
        run.parcels.len() - 1
    });
    let parcel = &mut run.parcels[index];
    message::put_request(&mut parcel.requests, args.len(), args.iter());
    parcel.slots.push(place);
    parcel.reads_only &= read;
}

/// The error in place of a large reply to a request that may have written.
const OUTCOME_TOO_LARGE: &str = "executed, but the reply is too large to be gathered (max-buffers)";

/// Puts replies into places of a run. Returns false if they have more bytes than `room`: then large replies become
/// errors until the rest fits. Small replies are kept. `reads_only`: the requests can be repeated.
pub(super) fn gather(
    run: &mut Run,
    slots: impl IntoIterator<Item = Slot>,
    replies: &Replies,
    room: usize,
    reads_only: bool,
) -> bool {
    let (kind, text) = if reads_only {
        (ErrorKind::Oom, TOO_LARGE)
    } else {
        (ErrorKind::Timeout, OUTCOME_TOO_LARGE)
    };
    let gathered = &mut run.ask.batch.replies;
    if replies.data_len() <= room {
        gathered.fill_each(slots, replies);
        return true;
    }
    let bytes_max = gathered.data_len() + room;
    let mut tokens = replies.tokens();
    for slot in slots {
        let mut reply = Replies::new();
        reply.append_value(&mut tokens);
        let is_small = reply.data_len() <= text.len();
        if gathered.data_len() + reply.data_len() > bytes_max && !is_small {
            reply.clear();
            reply.error(kind, text);
        }
        gathered.fill(slot, &reply);
    }
    false
}
