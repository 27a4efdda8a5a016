//! Executes batches. Requests for this node run at once. Requests for other nodes are forwarded, in one parcel for each
//! peer. A batch is answered when all its requests are settled.
//!
//! - The requests of a batch are started in order. After a write on a shard that another node executes, reads of the
//!   same shard go to that node too. So a client sees its own writes at every level.
//! - A write is applied here, and its delta is gathered for the other replicas, before its reply is decided. The reply
//!   counts once its [`Quorum`](crate::quorum::Quorum) is met. If the primary fails after that, its peers have the
//!   write.
//! - Every run has a deadline, and is answered by then.
//!
//! [`parcel`] has what a run sends to other nodes.
//!
//! Stops *resolve*, *route*, *coordinate* and *settle* of a request.

mod notes;
mod parcel;
mod place;
mod room;
mod transaction;

use alloc::{boxed::Box, vec::Vec};
use bytes::Bytes;
use core::mem;
use wire::{
    reply::{ErrorKind, Replies},
    request::{Args, Batch},
};

pub(crate) use self::parcel::Sent;
use self::{
    parcel::{gather, park, put_into_parcel},
    room::GATHER_SMALL_BYTES,
};
use crate::{
    ask::{Ask, Session},
    call::Call,
    cluster::Seat,
    command::{self, Access, Fold, Keys, Parts, Row},
    commands::{cluster, transactions::watched},
    message::{LEASE_MS, Message},
    outcome::{self, PIECE_BYTES, TOO_LARGE},
    peers::PeerSet,
    quorum::{Level, Verdict},
    run::{Origin, Run, RunId},
    slices::{extra_ms, large_bytes_max},
    store::Store,
    visit::Visit,
    warm::GROUP,
};

/// How often a request may be forwarded. If the views of two nodes differ for a moment, they must not forward it to
/// each other forever.
pub(crate) const HOPS_MAX: u8 = 3;

/// Empty batches kept for requests that peers forward; more are dropped.
const SPARES_MAX: usize = 64;
/// Capacity for deltas that is kept: one large value does not pin its size.
const DELTA_KEPT_BYTES_MAX: usize = 1 << 20;

impl Store {
    /// Starts a batch of a client.
    pub(crate) fn ask(&mut self, mut ask: Box<Ask>) {
        self.gauges.records.take(&mut ask.tally, &mut self.gauges.counters);
        ask.session.shown.active_ms = self.time.monotonic_ms;
        ask.began_us = self.time.monotonic_us;
        ask.slow_us = self.gauges.records.slowlog.threshold_us();
        if self.front.pause.is_on()
            && ask.session.piecemeal
            && !ask.batch.is_empty()
            && self.front.pause.holds(ask.batch.request(0))
        {
            self.front.pause.hold(ask);
        } else {
            self.begin(ask);
        }
    }

    /// When a request of so many bytes is to be answered that comes now.
    pub(crate) fn deadline_ms(&self, bytes: usize) -> u64 {
        self.time.monotonic_ms + self.config.request_timeout_ms + extra_ms(bytes)
    }

    /// A batch of a client that is not paused.
    pub(crate) fn begin(&mut self, ask: Box<Ask>) {
        self.gauges.counters.requests += ask.batch.len() as u64;
        let deadline_ms = self.deadline_ms(ask.batch.buffer.len());
        self.admit(Run::new(Origin::Client, ask, deadline_ms, self.time.wall.ahead_ms()));
    }

    /// An `Ask` for a run of this node's own, without a client.
    pub(crate) fn own_ask(&self, session: Session, batch: Batch) -> Box<Ask> {
        Box::new(Ask::new(self.front.nobody.clone(), session, batch))
    }

    /// Begins a run. If this node was stopped for a while, other nodes may have replaced it meanwhile; then the run
    /// waits.
    pub(crate) fn admit(&mut self, run: Run) {
        if !self.takes(&run) {
            self.turn_down(run);
        } else if self.peers.recovering.is_empty() {
            self.start(run);
        } else {
            self.front.held.push(run);
        }
    }

    /// Refuses runs that have waited too long to begin.
    pub(crate) fn refuse_held(&mut self) {
        let (late, held) = mem::take(&mut self.front.held)
            .into_iter()
            .partition(|run| run.deadline_ms <= self.time.monotonic_ms);
        self.front.held = held;
        for run in late {
            self.gauges.counters.timeouts += 1;
            let text = "this node was paused and has not heard from all others since";
            self.refuse(run, ErrorKind::NoNodes, text);
        }
    }

    /// Refuses a run that has not begun. Requests that concern only the connection are executed, so that later requests
    /// run with the settings that earlier ones change. All others are answered with an error.
    pub(crate) fn refuse(&mut self, mut run: Run, kind: ErrorKind, text: &str) {
        let mut requests = mem::take(&mut run.ask.batch);
        let mut replies = mem::take(&mut requests.replies);
        for args in requests.requests() {
            let mark = replies.mark();
            if run.ask.session.quit {
                replies.no_reply();
                continue;
            }
            let row = resolve(&run, args, &mut replies);
            let is_queued = run.ask.session.transaction.is_open() && !row.is_some_and(Row::runs_in_multi);
            match row.map(|row| row.run) {
                None => run.ask.session.transaction.fail(),
                Some(command::Run::Here(visit)) if !is_queued => self.visit(&mut run, visit, args, &mut replies),
                Some(command::Run::Plan(_, plan)) if run.ask.session.transaction.is_open() && !is_queued => {
                    run.ask.session.transaction.fail();
                    let parts = self.visit(&mut run, plan, args, &mut replies);
                    debug_assert!(parts.is_none(), "a transaction that has failed is not executed");
                }
                Some(_) => {
                    run.ask.session.transaction.fail();
                    replies.error(kind, text);
                }
            }
            run.ask.session.silence.hush(&mut replies, mark);
        }
        requests.replies = replies;
        run.ask.batch = requests;
        self.finish(run);
    }

    /// Begins a run. If it has nothing to wait for, finishes it at once.
    pub(crate) fn start(&mut self, mut run: Run) {
        let id = self.front.runs.reserve();
        self.execute(id, &mut run);
        if matches!(run.origin, Origin::Client) {
            self.note_client(&mut run.ask);
        }
        let sent_to = run.large.sent_to;
        if !sent_to.is_empty() {
            let note = |above: &mut Run| above.large.sent_to = above.large.sent_to.union(sent_to);
            self.front.runs.each_from(run.parent(), note);
        }
        if run.is_settled() {
            self.front.runs.release(id);
            self.finish(run);
        } else {
            self.park(id, run);
        }
    }

    fn park(&mut self, id: RunId, run: Run) {
        let extra_ms = run.large.extra_ms;
        let relax_ms = self.time.monotonic_ms + self.relax_after_ms() + extra_ms;
        for peer in run.awaited.iter() {
            let (outbox, awaited) = (&self.peers[peer].outbox, &mut self.front.awaited[peer]);
            // Those that it has are used up by the time a write is acknowledged without the peer.
            let lags_ms = relax_ms - LEASE_MS;
            let (queued, complete) = outbox.departures().counts();
            if run.large.wrote && queued > complete {
                awaited.push_large(queued, id, lags_ms);
            } else {
                awaited.push(outbox.number(), id, lags_ms, extra_ms);
            }
        }
        if !run.writes.is_empty() {
            self.front.relax_at.push(relax_ms, extra_ms, id);
        }
        self.front.end_at.push(run.deadline_ms, extra_ms, id);
        self.front.runs.put(id, Box::new(run));
    }

    fn execute(&mut self, id: RunId, run: &mut Run) {
        let mut requests = mem::take(&mut run.ask.batch);
        let mut replies = mem::take(&mut requests.replies);
        let (is_last, is_piecemeal) = (run.is_last, run.is_piecemeal());
        let is_client = matches!(run.origin, Origin::Client);
        let mut piece_bytes = match run.origin {
            Origin::Peer { slot, .. } => self.peers[slot].backlog.piece_bytes(),
            _ => PIECE_BYTES,
        };
        let mut is_large = false;
        for index in 0..requests.len() {
            run.is_last = is_last && index + 1 == requests.len();
            if index % GROUP == 0 {
                self.warm_requests(&requests, index, run.ask.session.keyspace);
            }
            if !is_large && is_piecemeal && replies.data_len() > GATHER_SMALL_BYTES {
                // The replies of other runs are counted once at most, and not for small replies.
                is_large = true;
                piece_bytes = self.piece_room(piece_bytes);
            }
            if replies.data_len() > piece_bytes && index > 0 {
                if is_piecemeal {
                    self.hold_back(is_client, &mut requests, index);
                    break;
                }
                if replies.data_len() > self.gather_bytes_max() {
                    replies.error(ErrorKind::Oom, TOO_LARGE);
                    continue;
                }
            }
            let mark = replies.mark();
            // Requests behind a QUIT get no reply.
            if run.ask.session.quit {
                replies.no_reply();
                continue;
            }
            let args = requests.request(index);
            if index > 0 && self.front.pause.is_on() && is_client && is_piecemeal && self.front.pause.holds(args) {
                self.hold_back(is_client, &mut requests, index);
                break;
            }
            let then = (replies.checkpoint(), replies.data_len());
            self.request(id, run, args, index as u32, &mut replies);
            if self.takes_back(run, args, &mut replies, then) {
                if is_piecemeal && index > 0 {
                    self.hold_back(is_client, &mut requests, index);
                    break;
                }
                replies.error(ErrorKind::Oom, TOO_LARGE);
            }
            run.ask.session.silence.hush(&mut replies, mark);
            if mem::take(&mut run.holds_back) && is_piecemeal {
                self.hold_back(is_client, &mut requests, index + 1);
                break;
            }
        }
        run.is_last = is_last;
        self.dispatch(id, run, is_last);
        requests.replies = replies;
        run.ask.batch = requests;
    }

    /// Executes no request from the one at `index` on: its sender repeats them.
    fn hold_back(&mut self, is_client: bool, requests: &mut Batch, index: usize) {
        if is_client {
            // They are counted when they come again. One that is executed already may have reset the counters.
            let held_back = (requests.len() - index) as u64;
            self.gauges.counters.requests = self.gauges.counters.requests.saturating_sub(held_back);
        }
        requests.hold_back(index);
    }

    fn request(&mut self, id: RunId, run: &mut Run, args: Args<'_>, index: u32, replies: &mut Replies) {
        let mark = replies.mark();
        let row = resolve(run, args, replies);
        if run.ask.session.transaction.is_open() && !row.is_some_and(Row::runs_in_multi) {
            let session = &mut run.ask.session;
            return match row {
                Some(row) => transaction::queue(self, session, row, args, replies),
                None => transaction::spoil(session, args, mark, replies),
            };
        }
        if let Some(row) = row {
            if matches!(run.origin, Origin::Client) {
                run.ask.mix.add(row);
            }
            self.run_row(id, run, row, args, index, replies);
        }
    }

    fn visit<T>(&mut self, run: &mut Run, visit: fn(&mut Visit<'_>) -> T, args: Args<'_>, replies: &mut Replies) -> T {
        visit(&mut Visit {
            store: self,
            session: &mut run.ask.session,
            client: &run.ask.client,
            mix: &mut run.ask.mix,
            args,
            replies,
        })
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
                if row.keys == Keys::Pairs && !self.admits_pairs(args, replies) {
                    return;
                }
                let is_read = access == Access::Read;
                match self.place_of(run, shard, access) {
                    Some(Seat::Me) if self.may_decide(run, shard) => {
                        return self.run_here(run, shard, access, call, args, replies);
                    }
                    Some(Seat::Me) => {
                        let slot = replies.later();
                        park(run, shard, (slot, index), is_read);
                    }
                    Some(Seat::Peer(peer)) if run.way.hops < HOPS_MAX => {
                        let slot = replies.later();
                        put_into_parcel(run, peer, args, (slot, index), is_read);
                    }
                    _ => return self.no_nodes(shard, replies),
                }
                if !is_read {
                    // A request that waits may be forwarded once its shard is settled.
                    run.written_elsewhere.insert(shard);
                }
            }
            // A part has its key in the same place as the whole request has its first key.
            command::Run::Each(part, Fold::Sum | Fold::Ok) if args.len() == 1 + row.keys.step() => {
                let part = command::find(part.as_bytes()).expect("a part is a row of the table");
                self.run_row(id, run, part, args, index, replies);
            }
            command::Run::Each(part, fold) => self.each(id, run, row, (part, fold), args, replies),
            command::Run::Every(part, fold) => self.every(id, run, row, (part, fold), args, replies),
            command::Run::Family(_) => unreachable!("a family is run through the rows of its members"),
            command::Run::Plan(_, plan) => {
                if let Some(parts) = self.visit(run, plan, args, replies) {
                    self.parts(id, run, parts, replies);
                }
            }
        }
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
        let mut may_grow = access == Access::Grow;
        if access != Access::Read {
            targets = self.targets(shard);
            if !self.has_enough_copies(run, shard) {
                return replies.no_replicas();
            }
            if access == Access::Grow
                && (!targets.intersection(self.peers.full).is_empty() || self.memory_is_short(args))
            {
                return replies.out_of_memory();
            }
            if access == Access::Write {
                may_grow = targets.intersection(self.peers.full).is_empty() && !self.memory_would_be_short(0);
            }
        }
        let mark = replies.mark();
        self.delta.clear();
        call(&mut Call {
            args,
            replies,
            now_ms: self.time.now_ms,
            wall_ahead_ms: run.wall_ahead_ms,
            keyspace: run.ask.session.keyspace,
            span: self.layout.span(run.ask.session.keyspace),
            config: &self.config,
            random: self.random.next(),
            shard: &mut self.replicas[shard].shard,
            counters: &mut self.gauges.counters,
            hlc: &mut self.time.hlc,
            scripts: &mut self.scripts,
            may_grow,
            stamp: None,
            delta: (!targets.is_empty()).then_some(&mut self.delta),
        });
        if access == Access::Watch {
            // An empty delta: its acknowledgement says that the replica has what was read.
            self.send_delta(shard, targets);
            run.wrote(mark, Level::All, targets, self.peers.silent);
        } else if !self.delta.is_empty() {
            run.large.wrote |= self.send_delta(shard, targets);
            self.delta.clear();
            self.delta.shrink_to(DELTA_KEPT_BYTES_MAX);
            run.wrote(mark, level, targets, self.peers.silent);
        }
    }

    /// Gathers the delta just written for `targets`. Whether it is a large one.
    pub(crate) fn send_delta(&mut self, shard: usize, targets: PeerSet) -> bool {
        let shard = shard as u32;
        let is_large = self.delta.len() > self.config.slice_bytes;
        if is_large {
            let delta = Bytes::from(mem::take(&mut self.delta));
            for peer in targets.iter() {
                self.peers[peer]
                    .outbox
                    .push_large(&Message::Delta { shard, delta: &delta }, delta.clone());
            }
        } else {
            let delta = &self.delta;
            for peer in targets.iter() {
                self.peers[peer].outbox.push(&Message::Delta { shard, delta });
            }
        }
        is_large
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
        self.parts(id, run, (row.split(part, args), fold), replies);
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
        let shards = self.layout.span(run.ask.session.keyspace).shards();
        if row.writes() && !shards.clone().all(|shard| self.admits_write(run, shard, replies)) {
            return;
        }
        let is_partial = run.ask.session.has_asked_for_map && !row.writes();
        let mut batch = Batch::new();
        for (number, shard) in shards.enumerate() {
            if !is_partial || cluster::is_listed_here(self, shard) {
                push_part(&mut batch, part, number, args.skip(1));
            }
        }
        self.parts(id, run, (batch, fold), replies);
    }

    /// Whether a write of many keys can be executed completely, as far as this node knows before it begins. If not,
    /// writes the error. If a part fails later at another node, the others may have been done.
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
        let keyspace = run.ask.session.keyspace;
        for key in row.keys.of(args) {
            match self.slot_of(keyspace, key) {
                Err(why) => {
                    self.misplaced(why, replies);
                    return false;
                }
                Ok(slot) => {
                    if !self.admits_write(run, self.layout.span(keyspace).shard(slot), replies) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether all values of a request on one shard reach another node in one message; if not, the error is written.
    fn admits_pairs(&self, args: Args<'_>, replies: &mut Replies) -> bool {
        // In a delta each value stands beside its key, a dot and a stamp.
        const BESIDE_BYTES: usize = 64;
        let bytes_max = large_bytes_max(&self.config);
        let bytes: usize = args.iter().map(|arg| arg.len() + BESIDE_BYTES / 2).sum();
        if bytes > bytes_max {
            let text = format_args!("request is longer than {bytes_max} bytes: write fewer keys at once");
            replies.error(ErrorKind::Err, text);
        }
        bytes <= bytes_max
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
        min_acks <= 1 || self.targets(shard).without(self.peers.silent).len() + 1 >= min_acks
    }

    /// The peers that a write on `shard`, whose primary is this node, is sent to.
    fn targets(&self, shard: usize) -> PeerSet {
        self.cluster.route(shard).targets.union(self.replicas[shard].followers)
    }

    /// Runs the parts of one request as a batch of its own, and makes one reply from their replies.
    fn parts(&mut self, id: RunId, run: &mut Run, (batch, fold): Parts, replies: &mut Replies) {
        // Parcels gathered before are sent first, since the parts may go to the same peers.
        self.dispatch(id, run, false);
        // The place is needed only if the parts are not answered at once. But the origin of their run needs one in any
        // case.
        let slot = replies.later();
        let ask = self.own_ask(run.ask.session.for_part(), batch);
        let origin = Origin::Part { of: id, slot, fold };
        let mut parts = Run::new(origin, ask, run.deadline_ms, run.wall_ahead_ms);
        parts.is_last = run.is_last;
        parts.written_elsewhere.clone_from(&run.written_elsewhere);
        parts.large.sent_to = run.large.sent_to;
        parts.way = run.way;
        let parts_id = self.front.runs.reserve();
        self.execute(parts_id, &mut parts);
        run.written_elsewhere.clone_from(&parts.written_elsewhere);
        run.large.sent_to = parts.large.sent_to;
        if parts.is_settled() {
            self.front.runs.release(parts_id);
            let reply = self.folded(fold, &parts);
            if fold == Fold::Watch {
                watched(run, &parts.ask.batch);
            }
            replies.fill(slot, &reply);
        } else {
            run.open += 1;
            run.holds_back |= fold == Fold::Watch;
            self.park(parts_id, parts);
        }
    }

    /// The reply that the replies to the parts make.
    fn folded(&mut self, fold: Fold, parts: &Run) -> Replies {
        let random = if fold == Fold::Random { self.random.next() } else { 0 };
        let mut reply = Replies::new();
        command::fold(fold, &parts.ask.batch.replies, random, &mut reply);
        reply
    }

    /// Notes that `peer` has merged every delta up to frame `number`.
    pub(crate) fn acknowledged(&mut self, peer: usize, number: u64) {
        while let Some(id) = self.front.awaited[peer].pop(number) {
            if let Some(run) = self.front.runs.get(id) {
                run.acknowledge(peer);
                self.settle(id);
            }
        }
    }

    /// How long a write at level `all` waits for all replicas. Longer than an echo allows reads.
    fn relax_after_ms(&self) -> u64 {
        self.config.write_timeout_ms.max(2 * LEASE_MS)
    }

    /// Whether `peer` is so far behind that writes will soon not wait for it. It gets no fresh echoes from now on. The
    /// echoes it has expire before a write is acknowledged without it.
    pub(crate) fn lags(&self, peer: usize) -> bool {
        self.front.awaited[peer].lags(self.time.monotonic_ms)
    }

    /// Handles the loss of `peer`. Only this end may have lost the connection: then the peer lives, and reads its
    /// copies until it hears of the loss. So writes that it has not acknowledged wait until all nodes have the same
    /// view again.
    pub(crate) fn abandon(&mut self, peer: usize) {
        self.front.awaited[peer].clear();
        let runs = &mut self.front.runs;
        self.front.unsure.retain(|(id, _)| runs.get(*id).is_some());
        for id in self.front.runs.ids() {
            if self.front.runs.get(id).is_some_and(|run| run.silent().contains(peer)) {
                self.front.unsure.push((id, peer));
            }
        }
        self.lose_parcels(peer);
    }

    /// Once all nodes have the same view, no run waits for a lost peer any more.
    pub(crate) fn write_off_lost(&mut self) {
        if !self.front.unsure.is_empty() && self.cluster.is_at_one() {
            for (id, peer) in mem::take(&mut self.front.unsure) {
                self.write_off(id, peer);
            }
        }
    }

    fn write_off(&mut self, id: RunId, peer: usize) {
        if let Some(run) = self.front.runs.get(id) {
            run.lose(peer);
        }
        self.settle(id);
    }

    fn settle(&mut self, id: RunId) {
        if self.front.runs.get(id).is_some_and(|run| run.is_settled())
            && let Some(run) = self.front.runs.take(id)
        {
            self.finish(*run);
        }
    }

    /// Sends the replies of a settled run to where its requests came from.
    fn finish(&mut self, mut run: Run) {
        match run.origin {
            Origin::Client => {
                if run.ask.batch.replies.may_have_errors() {
                    self.count_errors(&mut run.ask);
                }
                self.front.answers.push(run.ask);
            }
            Origin::Peer { slot, life, token } => {
                if self.cluster.peer(slot).is_some_and(|peer| peer.life == life) {
                    outcome::pieces(&run.ask.batch.replies, |replies, follows| {
                        self.peers[slot].backlog.reply(token, follows, replies, run.deadline_ms);
                    });
                }
                if self.front.spares.len() < SPARES_MAX {
                    run.ask.batch.clear();
                    self.front.spares.push(run.ask.batch);
                }
            }
            Origin::Part { of, slot, fold } => {
                let reply = self.folded(fold, &run);
                if let Some(parent) = self.front.runs.get(of) {
                    if fold == Fold::Watch {
                        watched(parent, &run.ask.batch);
                    }
                    parent.ask.batch.replies.fill(slot, &reply);
                    parent.open -= 1;
                    self.settle(of);
                }
            }
            Origin::Again { of, slots } => {
                let room = self.gather_room(of, &run.ask.batch.replies);
                if let Some(parent) = self.front.runs.get(of) {
                    gather(parent, slots, &run.ask.batch.replies, room, false);
                    parent.open -= 1;
                    self.settle(of);
                }
            }
            Origin::Beam(caller) => {
                self.front.beam.runs -= 1;
                self.front
                    .beam
                    .answers
                    .push((caller, mem::take(&mut run.ask.batch.replies)));
            }
        }
    }

    /// Lets writes that have waited long settle with a majority. Ends runs that have reached their deadline.
    ///
    /// Both queues are sorted by time for runs of this node's clients, which have the whole request timeout. A
    /// forwarded run has less time left, and may wait behind one of them. The peer that forwarded it gives it up by
    /// itself.
    pub(crate) fn deadlines(&mut self) {
        while let Some(id) = self.front.relax_at.pop(self.time.monotonic_ms, &mut self.front.runs) {
            self.relax(id);
        }
        while let Some(id) = self.front.end_at.pop(self.time.monotonic_ms, &mut self.front.runs) {
            self.give_up(id);
        }
    }

    fn relax(&mut self, id: RunId) {
        for (_, peer) in self
            .front
            .unsure
            .extract_if(.., |(run, _)| *run == id)
            .collect::<Vec<_>>()
        {
            self.write_off(id, peer);
        }
        let Some(run) = self.front.runs.get(id) else { return };
        // A peer that was silent for this long is not waited for until it answers.
        let silent = run.silent();
        for writes in &mut run.writes {
            writes.quorum.relax();
        }
        if !silent.is_empty() {
            self.gauges.counters.writes_relaxed +=
                run.writes.iter().map(|writes| writes.marks.len() as u64).sum::<u64>();
            self.peers.silent = self.peers.silent.union(silent);
        }
        self.settle(id);
    }

    fn give_up(&mut self, id: RunId) {
        let Some(mut run) = self.front.runs.take(id) else {
            return;
        };
        for token in &run.sent {
            self.front.sent.remove(token);
        }
        self.gauges.counters.timeouts += 1;
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
        self.gauges.counters.no_nodes += 1;
        let shard = self.name_of(shard);
        replies.error(
            ErrorKind::NoNodes,
            format_args!("no live replica of {shard}; `salp cluster` shows which nodes are missing"),
        );
    }
}

/// The row that executes a request of `run`; `None` if it is refused, and the error is written.
fn resolve(run: &Run, args: Args<'_>, replies: &mut Replies) -> Option<&'static Row> {
    let session = &run.ask.session;
    let found = command::find(&args[0]);
    // Clients must not use the internal parts of commands.
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

fn push_part(batch: &mut Batch, part: &str, number: usize, rest: Args<'_>) {
    let number = alloc::format!("{number}");
    let mut args: Vec<&[u8]> = alloc::vec![part.as_bytes(), number.as_bytes()];
    args.extend(rest.iter());
    batch.push(&args);
}
