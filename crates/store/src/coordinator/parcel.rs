//! Parcels: the requests of a run that another node executes, on their way there, and their replies on the way back.
//!
//! - What a run sends to one peer is executed there in its order. A peer puts off what would make its replies too
//!   large, but only of the last parcel of a run: anything behind it would overtake what was put off.
//! - What was put off, and reads whose peer is lost, stay together when they are forwarded again: each for itself they
//!   would all be answered at once, however large.

use alloc::vec::Vec;
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
    peers::PEERS_MAX,
    run::{Origin, Parcel, Run, RunId},
    store::Store,
};

/// Bytes of requests beyond which a parcel takes no further one: with one large request in it, it still fits a frame.
const PARCEL_BYTES: usize = 1 << 20;
/// Bytes of requests that a parcel has room for from the beginning.
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
    /// Requests that a peer takes this node to be the right one for.
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
        let mut batch = self.spares.pop().unwrap_or_default();
        if message::requests(forward.requests, |args| batch.push(args)).is_err() {
            return false;
        }
        let patience_ms = forward.patience_ms.min(self.config.request_timeout_ms);
        let origin = Origin::Peer {
            slot,
            life,
            token: forward.token,
        };
        let deadline_ms = self.monotonic_ms + patience_ms;
        let ask = self.own_ask(session, batch);
        let mut run = Run::new(origin, ask, deadline_ms, forward.wall_ahead_ms);
        run.hops = forward.hops;
        run.asker = Some((slot, life));
        run.is_last = forward.is_last;
        if self.backlogs[slot].is_full() {
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

    /// Sends what a run gathered for peers. What it sends to one of them later must not overtake this, unless this
    /// `is_last`.
    pub(super) fn dispatch(&mut self, id: RunId, run: &mut Run, is_last: bool) {
        let mut parcels = mem::take(&mut run.parcels).into_iter();
        while let Some(parcel) = parcels.next() {
            let followed = parcels.as_slice().iter().any(|later| later.peer == parcel.peer);
            self.forward(id, run, parcel, is_last && !followed);
        }
        for (shard, parcel) in mem::take(&mut run.parked) {
            run.open += 1;
            let until_ms = run.parked_until_ms;
            self.park_requests(shard, Sent::of(id, parcel), until_ms);
        }
    }

    fn forward(&mut self, id: RunId, run: &mut Run, parcel: Parcel, is_last: bool) {
        let token = self.next_token;
        self.next_token += 1;
        let keyspace = &self.config.keyspaces[usize::from(parcel.keyspace)];
        self.outboxes[parcel.peer].push(&Message::Forward(Forward {
            token,
            hops: run.hops + 1,
            level: run.ask.session.level.unwrap_or(keyspace.level),
            patience_ms: run.deadline_ms.saturating_sub(self.monotonic_ms),
            wall_ahead_ms: run.wall_ahead_ms,
            keyspace: parcel.keyspace,
            is_last,
            requests: &parcel.requests,
        }));
        self.counters.forwarded += parcel.slots.len() as u64;
        run.open += 1;
        run.sent.push(token);
        self.sent.insert(token, Sent::of(id, parcel));
    }

    /// The replies to a parcel, or those of its first requests that have none yet.
    pub(crate) fn outcome(&mut self, peer: usize, token: u64, follows: bool, replies: &Replies) -> bool {
        // A parcel that was given up meanwhile is not missed.
        let Some(mut sent) = self.sent.remove(&token) else {
            return true;
        };
        let count = replies.count();
        let fits = if follows {
            count < sent.slots.len()
        } else {
            count <= sent.slots.len()
        };
        if sent.peer != peer || count == 0 || !fits || !replies.is_complete() {
            self.sent.insert(token, sent);
            return false;
        }
        let room = self.gather_room(sent.run, replies);
        let Some(run) = self.runs.get(sent.run) else {
            return true;
        };
        let all = gather(run, sent.slots.drain(..count).map(|(slot, _)| slot), replies, room);
        if follows {
            self.sent.insert(token, sent);
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

    /// What a peer has put off is forwarded again, in one parcel: it is answered in pieces, too.
    fn forward_rest(&mut self, sent: Sent) {
        let Some(mut run) = self.runs.lend(sent.run) else {
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
        self.runs.put(sent.run, run);
    }

    /// Answers the requests of a parcel that is no longer under way with an error.
    fn fail(&mut self, sent: Sent, kind: ErrorKind, text: &str) {
        let Some(run) = self.runs.get(sent.run) else { return };
        let mut failed = Replies::new();
        failed.error(kind, text);
        for (slot, _) in sent.slots {
            run.ask.batch.replies.fill(slot, &failed);
        }
        self.settle(sent.run);
    }

    /// `peer` is lost, and with it the parcels it had.
    pub(super) fn lose_parcels(&mut self, peer: usize) {
        let mut tokens: Vec<u64> = self
            .sent
            .iter()
            .filter(|(_, sent)| sent.peer == peer)
            .map(|(token, _)| *token)
            .collect();
        tokens.sort_unstable();
        for token in tokens {
            if let Some(sent) = self.sent.remove(&token) {
                self.parcel_lost(sent);
            }
        }
    }

    /// Reads are asked of another, unless the run has sent a write on their shard, which may have overtaken them now;
    /// whether a write was executed nobody knows.
    fn parcel_lost(&mut self, mut sent: Sent) {
        let Some(run) = self.runs.get(sent.run) else { return };
        if !sent.reads_only {
            run.open -= 1;
            let text = "the node that executed this write is lost: it may or may not have taken effect";
            return self.fail(sent, ErrorKind::Timeout, text);
        }
        let hops = run.hops + 1;
        let slots = mem::take(&mut sent.slots);
        let (late, rest): (Vec<_>, Vec<_>) = slots
            .into_iter()
            .partition(|&(_, index)| self.is_followed_by_a_write(sent.run, sent.keyspace, index));
        let mut failed = Replies::new();
        failed.error(
            ErrorKind::NoNodes,
            "the node that was asked is lost, and a write behind this read may be done",
        );
        let Some(run) = self.runs.get(sent.run) else { return };
        for (slot, _) in late {
            run.ask.batch.replies.fill(slot, &failed);
        }
        if rest.is_empty() {
            run.open -= 1;
            return self.settle(sent.run);
        }
        sent.slots = rest;
        self.ask_again(sent, |again| again.hops = hops);
    }

    /// Whether the run of a read, or one that it is a part of, has sent a write on the same shard.
    fn is_followed_by_a_write(&mut self, id: RunId, keyspace: u16, index: u32) -> bool {
        let Some(run) = self.runs.lend(id) else { return false };
        let args = run.ask.batch.request(index as usize);
        let row = command::find(&args[0]).map(|row| row.member(args.get(1)).unwrap_or(row));
        let shard = row.and_then(|row| self.locate(row.keys, args, keyspace).ok());
        let mut of = run.parent();
        let mut is_written = shard.is_some_and(|shard| run.written_elsewhere.contains(shard));
        self.runs.put(id, run);
        while let (Some(shard), Some(above), false) = (shard, of, is_written) {
            let Some(run) = self.runs.get(above) else { break };
            is_written = run.written_elsewhere.contains(shard);
            of = run.parent();
        }
        is_written
    }

    /// Begins requests that waited for their shard again; what has to wait once more does so until `until_ms`.
    pub(crate) fn begin_parked(&mut self, sent: Sent, until_ms: u64) {
        self.ask_again(sent, |again| again.parked_until_ms = until_ms);
    }

    /// Refuses requests that waited for their shard.
    pub(crate) fn refuse_parcel(&mut self, sent: Sent, text: &str) {
        let Some(run) = self.runs.get(sent.run) else { return };
        run.open -= 1;
        self.fail(sent, ErrorKind::NoNodes, text);
    }

    /// Begins the requests of a parcel once more. They stay together, so that they go in parcels again.
    fn ask_again(&mut self, sent: Sent, prepare: impl FnOnce(&mut Run)) {
        let Some(run) = self.runs.get(sent.run) else { return };
        let mut session = run.ask.session.for_part();
        session.keyspace = sent.keyspace;
        let mut batch = Batch::new();
        for &(_, index) in &sent.slots {
            batch.push(&run.ask.batch.request(index as usize).iter().collect::<Vec<_>>());
        }
        let (deadline_ms, wall_ahead_ms) = (run.deadline_ms, run.wall_ahead_ms);
        let (hops, asker) = (run.hops, run.asker);
        let written_elsewhere = run.written_elsewhere.clone();
        let origin = Origin::Again {
            of: sent.run,
            slots: sent.slots.into_iter().map(|(slot, _)| slot).collect(),
        };
        let mut again = Run::new(origin, self.own_ask(session, batch), deadline_ms, wall_ahead_ms);
        again.hops = hops;
        again.asker = asker;
        again.written_elsewhere = written_elsewhere;
        prepare(&mut again);
        self.start(again);
    }
}

/// Gathers a request that waits until its shard is settled; its reply has its place.
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

/// Gathers a request for `peer`; its reply has its place.
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

/// Puts replies into places of a run; false if they have more bytes than `room`. Then as many of them are errors as
/// must be, and the small ones, which those of writes are, stay what they are.
pub(super) fn gather(run: &mut Run, slots: impl IntoIterator<Item = Slot>, replies: &Replies, room: usize) -> bool {
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
        let is_small = reply.data_len() <= TOO_LARGE.len();
        if gathered.data_len() + reply.data_len() > bytes_max && !is_small {
            reply.clear();
            reply.error(ErrorKind::Oom, TOO_LARGE);
        }
        gathered.fill(slot, &reply);
    }
    false
}
