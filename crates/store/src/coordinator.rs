//! Executes batches: what is served here runs at once, what another node serves is forwarded in one parcel per peer,
//! and a batch is answered when all of it is settled.
//!
//! - Requests of a batch are begun in their order. What is read of a shard behind a write that another node executes is
//!   read at that node, so a client sees its own writes whatever the level.
//! - A write is applied here and gathered for the other replicas before its reply is decided; the reply stands when its
//!   [`Quorum`](crate::quorum::Quorum) is met. A primary that fails afterwards has told its peers, or nobody.
//! - Every run has a deadline and is answered by it.
//!
//! What a run sends to other nodes is in [`parcel`].
//!
//! Stops *resolve*, *route*, *coordinate* and *settle* of a request.

mod notes;
mod parcel;

use alloc::{boxed::Box, vec::Vec};
use core::mem;
use wire::{
    reply::{ErrorKind, Replies},
    request::{Args, Batch},
};

pub(crate) use self::parcel::Sent;
use self::parcel::{gather, park, put_into_parcel};
use crate::{
    ask::{Ask, Session},
    call::Call,
    cluster::Seat,
    command::{self, Access, Fold, Keys, Row},
    commands::{self, cluster},
    message::{LEASE_MS, Message},
    outcome::{self, PIECE_BYTES, TOO_LARGE},
    peers::PeerSet,
    quorum::Verdict,
    run::{Origin, Run, RunId},
    slot,
    store::Store,
    visit::Visit,
    warm::GROUP,
};

/// Times a request may be forwarded. Two nodes whose views differ for a moment must not play it back and forth for
/// ever.
pub(crate) const HOPS_MAX: u8 = 3;

/// Emptied batches kept for what peers forward; a further one is dropped.
const SPARES_MAX: usize = 64;
/// Bytes of replies that one request of many keys, or the requests of a pipeline that others answer, may gather.
const GATHER_BYTES_MAX: usize = 256 << 20;

/// A run that waits until a peer has merged the frame of this number, and since when.
#[derive(Debug)]
pub(crate) struct Awaited {
    number: u64,
    run: RunId,
    since_ms: u64,
}

impl Store {
    /// A batch of a client.
    pub(crate) fn ask(&mut self, mut ask: Box<Ask>) {
        self.records.take(&mut ask.tally, &mut self.counters);
        ask.session.shown.active_ms = self.monotonic_ms;
        ask.began_us = self.monotonic_us;
        ask.slow_us = self.records.slowlog.threshold_us();
        if self.pause.is_on()
            && ask.session.piecemeal
            && !ask.batch.is_empty()
            && self.pause.holds(ask.batch.request(0))
        {
            self.pause.hold(ask);
        } else {
            self.begin(ask);
        }
    }

    /// A batch of a client that is not paused.
    pub(crate) fn begin(&mut self, ask: Box<Ask>) {
        self.counters.requests += ask.batch.len() as u64;
        let deadline_ms = self.monotonic_ms + self.config.request_timeout_ms;
        self.admit(Run::new(Origin::Client, ask, deadline_ms, self.wall.ahead_ms()));
    }

    /// The box of a run that no client of this node asked for.
    pub(crate) fn own_ask(&self, session: Session, batch: Batch) -> Box<Ask> {
        Box::new(Ask::new(self.nobody.clone(), session, batch))
    }

    /// Begins a run, unless this node stood still and may have been deposed meanwhile: then it waits.
    pub(crate) fn admit(&mut self, run: Run) {
        if !self.takes(&run) {
            self.turn_down(run);
        } else if self.recovering.is_empty() {
            self.start(run);
        } else {
            self.held.push(run);
        }
    }

    /// Ends what has waited too long to begin.
    pub(crate) fn refuse_held(&mut self) {
        let (late, held) = mem::take(&mut self.held)
            .into_iter()
            .partition(|run| run.deadline_ms <= self.monotonic_ms);
        self.held = held;
        for run in late {
            self.counters.timeouts += 1;
            let text = "this node stood still and has not heard of all others since";
            self.refuse(run, ErrorKind::NoNodes, text);
        }
    }

    /// Ends a run that has not begun: what concerns its connection alone is executed, so that no later request runs
    /// under what an earlier one was to change, and all others are answered with an error.
    pub(crate) fn refuse(&mut self, mut run: Run, kind: ErrorKind, text: &str) {
        let mut requests = mem::take(&mut run.ask.batch);
        let mut replies = mem::take(&mut requests.replies);
        for args in requests.requests() {
            let mark = replies.mark();
            if run.ask.session.quit {
                replies.no_reply();
                continue;
            }
            match resolve(&run, args, &mut replies).map(|row| row.run) {
                None => {}
                Some(command::Run::Here(visit)) => self.visit(&mut run, visit, args, &mut replies),
                Some(_) => replies.error(kind, text),
            }
            run.ask.session.silence.hush(&mut replies, mark);
        }
        requests.replies = replies;
        run.ask.batch = requests;
        self.finish(run);
    }

    /// Begins a run and finishes it at once if nothing has to be waited for.
    pub(crate) fn start(&mut self, mut run: Run) {
        let id = self.runs.reserve();
        self.execute(id, &mut run);
        if matches!(run.origin, Origin::Client) {
            self.note_client(&mut run.ask);
        }
        if run.is_settled() {
            self.runs.release(id);
            self.finish(run);
        } else {
            self.park(id, run);
        }
    }

    fn park(&mut self, id: RunId, run: Run) {
        for peer in run.awaited.iter() {
            let awaited = Awaited {
                number: self.outboxes[peer].number(),
                run: id,
                since_ms: self.monotonic_ms,
            };
            self.waiting[peer].push_back(awaited);
        }
        if !run.writes.is_empty() {
            self.relax_at.push_back((self.monotonic_ms + self.relax_after_ms(), id));
        }
        self.end_at.push_back((run.deadline_ms, id));
        self.runs.put(id, Box::new(run));
    }

    fn execute(&mut self, id: RunId, run: &mut Run) {
        let mut requests = mem::take(&mut run.ask.batch);
        let mut replies = mem::take(&mut requests.replies);
        let (is_last, is_piecemeal) = (run.is_last, run.is_piecemeal());
        let is_client = matches!(run.origin, Origin::Client);
        for index in 0..requests.len() {
            run.is_last = is_last && index + 1 == requests.len();
            if index % GROUP == 0 {
                self.warm_requests(&requests, index, run.ask.session.keyspace);
            }
            if replies.data_len() > PIECE_BYTES && index > 0 {
                if is_piecemeal {
                    self.hold_back(is_client, &mut requests, index);
                    break;
                }
                if replies.data_len() > GATHER_BYTES_MAX {
                    replies.error(ErrorKind::Oom, TOO_LARGE);
                    continue;
                }
            }
            let mark = replies.mark();
            // Nobody waits for what was sent behind a QUIT.
            if run.ask.session.quit {
                replies.no_reply();
                continue;
            }
            let args = requests.request(index);
            if index > 0 && self.pause.is_on() && is_client && is_piecemeal && self.pause.holds(args) {
                self.hold_back(is_client, &mut requests, index);
                break;
            }
            self.request(id, run, args, index as u32, &mut replies);
            run.ask.session.silence.hush(&mut replies, mark);
        }
        run.is_last = is_last;
        self.dispatch(id, run, is_last);
        requests.replies = replies;
        run.ask.batch = requests;
    }

    /// Executes no request from the one at `index` on: whoever asked gives them again.
    fn hold_back(&mut self, is_client: bool, requests: &mut Batch, index: usize) {
        if is_client {
            // They are counted when they come again. One that is executed already may have reset the counters.
            let held_back = (requests.len() - index) as u64;
            self.counters.requests = self.counters.requests.saturating_sub(held_back);
        }
        requests.hold_back(index);
    }

    fn request(&mut self, id: RunId, run: &mut Run, args: Args<'_>, index: u32, replies: &mut Replies) {
        if let Some(row) = resolve(run, args, replies) {
            if matches!(run.origin, Origin::Client) {
                run.ask.mix.add(row);
            }
            self.run_row(id, run, row, args, index, replies);
        }
    }

    fn visit(&mut self, run: &mut Run, visit: fn(&mut Visit<'_>), args: Args<'_>, replies: &mut Replies) {
        visit(&mut Visit {
            store: self,
            session: &mut run.ask.session,
            client: &run.ask.client,
            args,
            replies,
        });
    }

    fn run_row(
        &mut self,
        id: RunId,
        run: &mut Run,
        row: &'static Row,
        args: Args<'_>,
        index: u32,
        replies: &mut Replies,
    ) {
        match row.run {
            command::Run::Here(visit) => {
                run.ask.session.shown.command = row.shown();
                self.visit(run, visit, args, replies);
            }
            command::Run::Shard(access, _) if access != Access::Read && self.leaving.refuses_writes() => {
                self.turn_down_write(replies);
            }
            command::Run::Shard(access, call) => {
                let shard = match self.locate(row.keys, args, run.ask.session.keyspace) {
                    Ok(shard) => shard,
                    Err(why) => return self.misplaced(why, replies),
                };
                let is_read = access == Access::Read;
                match self.place_of(run, shard, access) {
                    Some(Seat::Me) if self.may_decide(run, shard) => {
                        return self.run_here(run, shard, access, call, args, replies);
                    }
                    Some(Seat::Me) => {
                        let slot = replies.later();
                        park(run, shard, (slot, index), is_read);
                    }
                    Some(Seat::Peer(peer)) if run.hops < HOPS_MAX => {
                        let slot = replies.later();
                        put_into_parcel(run, peer, args, (slot, index), is_read);
                    }
                    _ => return self.no_nodes(shard, replies),
                }
                if !is_read {
                    // One that waits may be forwarded once its shard is settled.
                    run.written_elsewhere.insert(shard);
                }
            }
            // A part reads its key where the whole has its first.
            command::Run::Each(part, Fold::Sum | Fold::Ok) if args.len() == 1 + row.keys.step() => {
                let part = command::find(part.as_bytes()).expect("a part is a row of the table");
                self.run_row(id, run, part, args, index, replies);
            }
            command::Run::Each(part, fold) => self.each(id, run, row, (part, fold), args, replies),
            command::Run::Every(part, fold) => self.every(id, run, row, (part, fold), args, replies),
            command::Run::Family(_) => unreachable!("a family is run through the rows of its members"),
            command::Run::Scan => {
                if let Some((batch, count)) = commands::scan::plan(self, &run.ask.session, args, replies) {
                    self.parts(id, run, batch, Fold::Scan(count), replies);
                }
            }
        }
    }

    /// The shard that all keys of a request lie in.
    fn locate(&self, keys: Keys, args: Args<'_>, keyspace: u16) -> Result<usize, Misplaced> {
        let base = usize::from(keyspace) * usize::from(self.config.shards);
        if keys == Keys::Shard {
            let number = core::str::from_utf8(&args[1])
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            return number
                .filter(|&number| number < usize::from(self.config.shards))
                .map(|number| base + number)
                .ok_or(Misplaced::NoShard);
        }
        if keys == Keys::Slot {
            // One that is no slot is refused by the command itself, wherever it runs.
            let slot = core::str::from_utf8(&args[2])
                .ok()
                .and_then(|text| text.parse::<u16>().ok());
            let slot = slot.filter(|&slot| slot < slot::SLOTS).unwrap_or(0);
            return Ok(base + self.shard_of(slot));
        }
        if keys == Keys::First {
            return Ok(base + self.shard_of(self.slot_of(args.get(1).unwrap_or_default())?));
        }
        let mut found = None;
        for key in keys.of(args) {
            let slot = self.slot_of(key)?;
            if found.is_some_and(|other| other != slot) {
                return Err(Misplaced::CrossSlot);
            }
            found = Some(slot);
        }
        Ok(base + self.shard_of(found.ok_or(Misplaced::NoShard)?))
    }

    fn slot_of(&self, key: &[u8]) -> Result<u16, Misplaced> {
        if key.len() > self.config.key_bytes_max {
            return Err(Misplaced::KeyTooLong);
        }
        Ok(slot::slot(key))
    }

    /// The shard of a slot within its keyspace.
    fn shard_of(&self, slot: u16) -> usize {
        usize::from(slot::shard(slot, self.config.shards))
    }

    /// Where a request on `shard` runs now.
    fn place_of(&self, run: &Run, shard: usize, access: Access) -> Option<Seat> {
        let route = self.cluster.route(shard);
        if let (Access::Read, Some(Seat::Peer(primary))) = (access, route.primary)
            && route.settled
            && self.has_lease(primary)
            && !run.written_elsewhere.contains(shard)
            // A peer may have forwarded it here since it follows a write, which this node sent on.
            && run.asker.is_none()
        {
            return Some(Seat::Me);
        }
        route.primary
    }

    /// Whether a request of `run` on `shard` may be executed here now: the shard is settled, the node that forwarded it
    /// sees the same cluster, and no earlier request of the run waits.
    fn may_decide(&self, run: &Run, shard: usize) -> bool {
        let agrees = |(slot, life): (usize, u64)| {
            self.cluster.peer(slot).is_some_and(|peer| peer.life == life) && self.cluster.agrees(slot)
        };
        self.cluster.route(shard).settled
            && run.parked.iter().all(|(other, _)| *other != shard)
            && run.asker.is_none_or(agrees)
    }

    fn run_here(
        &mut self,
        run: &mut Run,
        shard: usize,
        access: Access,
        call: fn(&mut Call<'_>),
        args: Args<'_>,
        replies: &mut Replies,
    ) {
        let keyspace = &self.config.keyspaces[usize::from(run.ask.session.keyspace)];
        let level = run.ask.session.level.unwrap_or(keyspace.level);
        let mut targets = PeerSet::EMPTY;
        if access != Access::Read {
            targets = self.targets(shard);
            if !self.has_enough_copies(run, shard) {
                return replies.no_replicas();
            }
            if access == Access::Grow && self.memory_is_short(args) {
                return replies.out_of_memory();
            }
        }
        let mark = replies.mark();
        self.delta.clear();
        call(&mut Call {
            args,
            replies,
            now_ms: self.now_ms,
            wall_ahead_ms: run.wall_ahead_ms,
            keyspace: run.ask.session.keyspace,
            config: &self.config,
            random: self.random.next(),
            shard: &mut self.replicas[shard].shard,
            counters: &mut self.counters,
            hlc: &mut self.hlc,
            delta: (!targets.is_empty()).then_some(&mut self.delta),
        });
        if !self.delta.is_empty() {
            self.send_delta(shard, targets);
            run.wrote(mark, level, targets, self.silent);
        }
    }

    /// Gathers the delta just written for `targets`.
    pub(crate) fn send_delta(&mut self, shard: usize, targets: PeerSet) {
        let message = Message::Delta {
            shard: shard as u32,
            delta: &self.delta,
        };
        for peer in targets.iter() {
            self.outboxes[peer].push(&message);
        }
    }

    fn each(
        &mut self,
        id: RunId,
        run: &mut Run,
        row: &Row,
        (part, fold): (&'static str, Fold),
        args: Args<'_>,
        replies: &mut Replies,
    ) {
        let step = row.keys.step();
        if !(args.len() - 1).is_multiple_of(step) {
            return replies.wrong_arity(row.name);
        }
        if row.writes() && !self.admits_each(run, row, args, replies) {
            return;
        }
        let mut batch = Batch::new();
        let mut rest = args.skip(1);
        let mut request: [&[u8]; 3] = [part.as_bytes(), b"", b""];
        while let Some(key) = rest.get(0) {
            request[1] = key;
            request[2] = rest.get(1).unwrap_or_default();
            batch.push(&request[..=step]);
            rest = rest.skip(step);
        }
        self.parts(id, run, batch, fold, replies);
    }

    fn every(
        &mut self,
        id: RunId,
        run: &mut Run,
        row: &Row,
        (part, fold): (&'static str, Fold),
        args: Args<'_>,
        replies: &mut Replies,
    ) {
        let shards = usize::from(self.config.shards);
        let base = usize::from(run.ask.session.keyspace) * shards;
        if row.writes() && !(base..base + shards).all(|shard| self.admits_write(run, shard, replies)) {
            return;
        }
        let is_partial = run.ask.session.has_asked_for_map && !row.writes();
        let mut batch = Batch::new();
        for number in 0..shards {
            if !is_partial || cluster::is_listed_here(self, base + number) {
                push_part(&mut batch, part, number, args.skip(1));
            }
        }
        self.parts(id, run, batch, fold, replies);
    }

    /// Whether a write of many keys can be executed as a whole, as far as this node can tell before any part of it is;
    /// if not, the error is written. What fails later, at another node, may leave it half done.
    fn admits_each(&mut self, run: &Run, row: &Row, args: Args<'_>, replies: &mut Replies) -> bool {
        if row.access() == Some(Access::Grow) {
            let bytes = args.iter().map(|arg| arg.len() as u64).sum();
            if self.memory_would_be_short(bytes) {
                replies.out_of_memory();
                return false;
            }
        }
        let mut values = args.skip(2).iter().step_by(row.keys.step());
        if row.keys == Keys::Pairs && values.any(|value| value.len() > self.config.value_bytes_max) {
            replies.value_too_large(self.config.value_bytes_max);
            return false;
        }
        let base = usize::from(run.ask.session.keyspace) * usize::from(self.config.shards);
        for key in row.keys.of(args) {
            match self.slot_of(key) {
                Err(why) => {
                    self.misplaced(why, replies);
                    return false;
                }
                Ok(slot) => {
                    if !self.admits_write(run, base + self.shard_of(slot), replies) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether somebody takes writes on `shard`; if not, the error is written.
    fn admits_write(&mut self, run: &Run, shard: usize, replies: &mut Replies) -> bool {
        match self.place_of(run, shard, Access::Write) {
            None => self.no_nodes(shard, replies),
            Some(Seat::Me) if !self.has_enough_copies(run, shard) => replies.no_replicas(),
            Some(_) => return true,
        }
        false
    }

    /// Whether a write on `shard`, whose primary is this node, would reach as many copies as its keyspace demands.
    fn has_enough_copies(&self, run: &Run, shard: usize) -> bool {
        let min_acks = self.config.keyspaces[usize::from(run.ask.session.keyspace)].min_acks;
        min_acks <= 1 || self.targets(shard).without(self.silent).len() + 1 >= min_acks
    }

    /// The peers that a write on `shard`, whose primary is this node, is sent to.
    fn targets(&self, shard: usize) -> PeerSet {
        self.cluster.route(shard).targets.union(self.replicas[shard].followers)
    }

    fn misplaced(&self, why: Misplaced, replies: &mut Replies) {
        match why {
            Misplaced::CrossSlot => replies.cross_slot(),
            Misplaced::NoShard => replies.syntax(),
            Misplaced::KeyTooLong => replies.error(
                ErrorKind::Err,
                format_args!("key is longer than {} bytes", self.config.key_bytes_max),
            ),
        }
    }

    /// Runs the parts of one request as a batch of its own, and folds their replies into one.
    fn parts(&mut self, id: RunId, run: &mut Run, batch: Batch, fold: Fold, replies: &mut Replies) {
        // What was forwarded before goes out before, since the parts may go to the same peers.
        self.dispatch(id, run, false);
        // The place is kept only if the parts do not come back at once, but the origin needs one.
        let slot = replies.later();
        let ask = self.own_ask(run.ask.session.for_part(), batch);
        let origin = Origin::Part { of: id, slot, fold };
        let mut parts = Run::new(origin, ask, run.deadline_ms, run.wall_ahead_ms);
        parts.hops = run.hops;
        parts.is_last = run.is_last;
        parts.written_elsewhere.clone_from(&run.written_elsewhere);
        parts.asker = run.asker;
        parts.parked_until_ms = run.parked_until_ms;
        let parts_id = self.runs.reserve();
        self.execute(parts_id, &mut parts);
        run.written_elsewhere.clone_from(&parts.written_elsewhere);
        if parts.is_settled() {
            self.runs.release(parts_id);
            let reply = self.folded(fold, &parts);
            replies.fill(slot, &reply);
        } else {
            run.open += 1;
            self.park(parts_id, parts);
        }
    }

    /// The one reply that the replies to the parts of a request come to.
    fn folded(&mut self, fold: Fold, parts: &Run) -> Replies {
        let random = if fold == Fold::Random { self.random.next() } else { 0 };
        let mut reply = Replies::new();
        command::fold(fold, &parts.ask.batch.replies, random, &mut reply);
        reply
    }

    /// `peer` has merged every delta up to frame `number`.
    pub(crate) fn acknowledged(&mut self, peer: usize, number: u64) {
        while let Some(awaited) = self.waiting[peer].pop_front_if(|awaited| awaited.number <= number) {
            if let Some(run) = self.runs.get(awaited.run) {
                run.acknowledge(peer);
                self.settle(awaited.run);
            }
        }
    }

    /// How long a write at level `all` waits for everybody: longer than any echo is good for.
    fn relax_after_ms(&self) -> u64 {
        self.config.write_timeout_ms.max(2 * LEASE_MS)
    }

    /// `peer` is so far behind that it will soon not be waited for. It is sent no more fresh echoes: those it has are
    /// used up by the time a write is acknowledged without it.
    pub(crate) fn lags(&self, peer: usize) -> bool {
        let oldest = self.waiting[peer].front();
        oldest.is_some_and(|awaited| self.monotonic_ms >= awaited.since_ms + self.relax_after_ms() - LEASE_MS)
    }

    /// `peer` is lost: nothing is waited for from it any more.
    pub(crate) fn abandon(&mut self, peer: usize) {
        self.waiting[peer].clear();
        for id in self.runs.ids() {
            if let Some(run) = self.runs.get(id) {
                run.lose(peer);
            }
            self.settle(id);
        }
        self.lose_parcels(peer);
    }

    fn settle(&mut self, id: RunId) {
        if self.runs.get(id).is_some_and(|run| run.is_settled())
            && let Some(run) = self.runs.take(id)
        {
            self.finish(*run);
        }
    }

    /// Sends the replies of a settled run where they belong.
    fn finish(&mut self, mut run: Run) {
        match run.origin {
            Origin::Client => {
                if run.ask.batch.replies.may_have_errors() {
                    self.count_errors(&mut run.ask);
                }
                self.answers.push(run.ask);
            }
            Origin::Peer { slot, life, token } => {
                if self.cluster.peer(slot).is_some_and(|peer| peer.life == life) {
                    outcome::pieces(&run.ask.batch.replies, |replies, follows| {
                        self.backlogs[slot].reply(token, follows, replies, run.deadline_ms);
                    });
                }
                if self.spares.len() < SPARES_MAX {
                    run.ask.batch.clear();
                    self.spares.push(run.ask.batch);
                }
            }
            Origin::Part { of, slot, fold } => {
                let reply = self.folded(fold, &run);
                if let Some(parent) = self.runs.get(of) {
                    parent.ask.batch.replies.fill(slot, &reply);
                    parent.open -= 1;
                    self.settle(of);
                }
            }
            Origin::Again { of, slots } => {
                if let Some(parent) = self.runs.get(of) {
                    gather(parent, slots, &run.ask.batch.replies);
                    parent.open -= 1;
                    self.settle(of);
                }
            }
            Origin::Beam(caller) => {
                self.beam_runs -= 1;
                self.beam_answers.push((caller, mem::take(&mut run.ask.batch.replies)));
            }
        }
    }

    /// Contents writes that have waited long with a majority, and ends what has waited too long.
    ///
    /// Both queues are in the order of their entries: what a client of this node asks has the whole request timeout,
    /// and what a peer forwarded has less and is given up by that peer if it should wait behind one of these.
    pub(crate) fn deadlines(&mut self) {
        while let Some(&(at_ms, id)) = self.relax_at.front() {
            let alive = self.runs.get(id).is_some();
            if alive && at_ms > self.monotonic_ms {
                break;
            }
            self.relax_at.pop_front();
            if alive {
                self.relax(id);
            }
        }
        while let Some(&(at_ms, id)) = self.end_at.front() {
            let alive = self.runs.get(id).is_some();
            if alive && at_ms > self.monotonic_ms {
                break;
            }
            self.end_at.pop_front();
            if alive {
                self.give_up(id);
            }
        }
    }

    fn relax(&mut self, id: RunId) {
        let Some(run) = self.runs.get(id) else { return };
        // A peer that is silent for so long is not waited for again until it answers.
        let silent = run.silent();
        for writes in &mut run.writes {
            writes.quorum.relax();
        }
        if !silent.is_empty() {
            self.counters.writes_relaxed += run.writes.iter().map(|writes| writes.marks.len() as u64).sum::<u64>();
            self.silent = self.silent.union(silent);
        }
        self.settle(id);
    }

    fn give_up(&mut self, id: RunId) {
        let Some(mut run) = self.runs.take(id) else { return };
        for token in &run.sent {
            self.sent.remove(token);
        }
        self.counters.timeouts += 1;
        for writes in run
            .writes
            .iter()
            .filter(|writes| writes.quorum.verdict() == Verdict::Open)
        {
            let held = writes.quorum.held();
            for mark in &writes.marks {
                let text = format_args!("{held} copies hold this write, too few confirmed it in time");
                run.ask.batch.replies.replace(*mark, ErrorKind::NoQuorum, text);
            }
        }
        run.ask.batch.replies.fill_rest(
            ErrorKind::Timeout,
            "no answer in time: a write may or may not have taken effect",
        );
        self.finish(*run);
    }

    fn no_nodes(&mut self, shard: usize, replies: &mut Replies) {
        self.counters.no_nodes += 1;
        let ring_shard = shard % usize::from(self.config.shards);
        replies.error(
            ErrorKind::NoNodes,
            format_args!("no live replica of shard {ring_shard}; `salp cluster` shows who is missing"),
        );
    }

    /// Memory is measured once a second: what clients bring meanwhile counts as kept.
    fn memory_is_short(&mut self, args: Args<'_>) -> bool {
        let is_short = self.memory_would_be_short(0);
        if !is_short && self.config.memory_bytes_max > 0 {
            self.grown_bytes += args.iter().map(|arg| arg.len() as u64).sum::<u64>();
        }
        is_short
    }

    /// Whether `bytes` more would be beyond the limit.
    fn memory_would_be_short(&self, bytes: u64) -> bool {
        let bytes_max = self.config.memory_bytes_max;
        let kept = self.measured.memory_bytes.saturating_add(self.grown_bytes);
        bytes_max > 0 && kept.saturating_add(bytes) > bytes_max
    }
}

/// The row that executes a request of `run`; `None` if it is refused, and the error is written.
fn resolve(run: &Run, args: Args<'_>, replies: &mut Replies) -> Option<&'static Row> {
    let session = &run.ask.session;
    let found = command::find(&args[0]);
    if session.in_refused_multi && !found.is_some_and(Row::runs_in_multi) {
        replies.in_refused_multi();
        return None;
    }
    // A client has no business with the parts that commands are made of.
    let is_client = matches!(run.origin, Origin::Client | Origin::Beam(_));
    let Some(mut row) = found.filter(|row| !(is_client && row.is_internal())) else {
        replies.unknown_command(&args[0], args.skip(1).iter());
        return None;
    };
    if matches!(row.run, command::Run::Family(_)) && row.arity.admits(args.len()) {
        let Some(member) = row.member(args.get(1)) else {
            replies.unknown_subcommand(row.name, args.get(1).unwrap_or_default());
            return None;
        };
        row = member;
    }
    if !row.arity.admits(args.len()) {
        replies.wrong_arity(row.name);
        return None;
    }
    if !session.authenticated && !row.needs_no_password() {
        replies.no_auth();
        return None;
    }
    Some(row)
}

/// Why a request has no shard.
#[derive(Clone, Copy)]
enum Misplaced {
    CrossSlot,
    KeyTooLong,
    NoShard,
}

fn push_part(batch: &mut Batch, part: &str, number: usize, rest: Args<'_>) {
    let number = alloc::format!("{number}");
    let mut args: Vec<&[u8]> = alloc::vec![part.as_bytes(), number.as_bytes()];
    args.extend(rest.iter());
    batch.push(&args);
}
