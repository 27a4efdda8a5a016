//! How a node leaves that was told to stop: no accepted request stays without a reply. `docs/decisions/0024` has the
//! reasons.
//!
//! ```text
//! staying ─told to stop─▶ handing over ─no copy is left─▶ serving out ─1 s─▶ closing ─0.5 s─▶ bidding farewell ─▶ left
//! ```
//!
//! - *Handing over*: from the first moment on, other nodes are primary of every shard that they have a ready copy of.
//!   This node keeps its copies until the others have them, and forwards the requests of its clients.
//! - *Serving out*: peers do not send requests to this node any more. Clients are still served, and the shell closes
//!   their connections.
//! - *Closing*: requests of clients are refused. Serving out and closing both end early when the shell reports that all
//!   clients are gone.
//! - *Bidding farewell*: nothing is under way here, and every reply is sent. The peers receive the goodbye and close
//!   their connections.
//! - If no connected node can take over the copies, writes are refused at once, and the node leaves with its data.

use alloc::{format, string::String};
use node::MembersCommand;
use wire::reply::ErrorKind;

use crate::{
    message::Copy,
    run::{Origin, Run},
    store::Store,
};

/// How long a node that has handed over its shards still serves clients.
const SERVE_MS: u64 = 1_000;
/// How long connections of clients stay open while their requests are refused.
const CLOSE_MS: u64 = 500;
/// How long a node without a connected successor waits for members out of reach. They are dialled once in this time.
const AWAY_MS: u64 = 5_000;
/// How long peers have to process the report that no copy is left here.
const KNOWN_MS: u64 = 1_000;

const REFUSED: &str = "this node is stopping; nothing was done; ask another node";
const REFUSED_ALONE: &str = "this node is stopping, and no connected node can take its data over; nothing was done";

/// The stage of leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Staying,
    HandingOver,
    ServingOut,
    Closing,
    BiddingFarewell,
    Left,
}

/// The state of leaving.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    stage: Stage,
    /// When the stage ends at the latest.
    until_ms: u64,
    /// Since when no connected node can take over this node's copies.
    alone_since_ms: Option<u64>,
    /// Since when no copy is left here.
    empty_since_ms: Option<u64>,
    /// Whether the shell has ended the time for handing over.
    is_cut_short: bool,
    /// Whether no client is connected any more.
    clients_are_gone: bool,
    /// Whether this node had data when it was told to stop.
    held: bool,
    /// A text about the data that is lost with this node, if any.
    lost: Option<String>,
}

impl Leaving {
    /// Whether the time of making and releasing copies is over.
    pub(crate) fn is_over(&self) -> bool {
        self.stage >= Stage::ServingOut
    }

    /// Whether no node could take over new writes.
    pub(crate) fn refuses_writes(&self) -> bool {
        self.alone_since_ms.is_some()
    }

    fn refuses_clients(&self) -> bool {
        self.stage >= Stage::Closing
    }
}

impl Store {
    /// Begins to hand over all copies and leave.
    pub(crate) fn leave(&mut self) {
        if self.cluster.leaving() {
            return;
        }
        self.leaving.held = self.holds_anything();
        self.leaving.stage = Stage::HandingOver;
        self.cluster.leave();
        self.look_around();
        self.out.commands.push(MembersCommand::Leave);
        self.keeper.look = true;
        self.go();
    }

    /// The time for handing over has passed. The node leaves with the copies it still has.
    pub(crate) fn cut_short(&mut self) {
        if self.cluster.leaving() {
            self.leaving.is_cut_short = true;
            self.go();
        }
    }

    /// The shell has closed all connections of clients.
    pub(crate) fn clients_are_gone(&mut self) {
        self.leaving.clients_are_gone = true;
        self.go();
    }

    /// Whether a run may begin here. In its last stages, a leaving node refuses runs of its own clients. It passes
    /// requests from peers on to the nodes that execute them.
    pub(crate) fn takes(&self, run: &Run) -> bool {
        let is_own = matches!(run.origin, Origin::Client | Origin::Beam(_));
        !(is_own && self.leaving.refuses_clients())
    }

    /// Refuses a run of a client in the last stages of leaving.
    pub(crate) fn turn_down(&mut self, run: Run) {
        self.refuse(run, ErrorKind::Stopping, REFUSED);
    }

    /// Refuses a write that no node could take over.
    pub(crate) fn turn_down_write(&mut self, replies: &mut wire::reply::Replies) {
        replies.error(ErrorKind::Stopping, REFUSED_ALONE);
    }

    /// Takes the next steps of leaving.
    pub(crate) fn go(&mut self) {
        loop {
            let before = self.leaving.stage;
            match before {
                Stage::Staying | Stage::Left => {}
                Stage::HandingOver => self.hand_over(),
                Stage::ServingOut | Stage::Closing => self.let_clients_go(),
                Stage::BiddingFarewell => self.bid_farewell(),
            }
            if self.leaving.stage == before {
                return;
            }
        }
    }

    fn hand_over(&mut self) {
        let now_ms = self.time.monotonic_ms;
        if self.is_empty() || !self.holds_anything() {
            // Peers that did not know this may have forwarded requests. These arrive before the peers' acknowledgement.
            let since_ms = *self.leaving.empty_since_ms.get_or_insert(now_ms);
            if self.is_known_to_hold_nothing() || now_ms >= since_ms + KNOWN_MS {
                self.serve_out();
            }
            return;
        }
        self.leaving.empty_since_ms = None;
        if self.leaving.is_cut_short {
            return self.hand_over_in_haste();
        }
        if self.cluster.has_successor() {
            self.leaving.alone_since_ms = None;
            return;
        }
        let is_first = self.leaving.alone_since_ms.is_none();
        let since_ms = *self.leaving.alone_since_ms.get_or_insert(now_ms);
        if !self.cluster.members_away() || now_ms >= since_ms + AWAY_MS {
            let why = "no other node is connected that could take them over";
            self.leaving.lost = self
                .held_keys()
                .map(|keys| format!("{keys} are lost with this node: {why}"));
            self.serve_out();
        } else if is_first && let Some(keys) = self.held_keys() {
            let seconds = AWAY_MS / 1000;
            let text = format!("no other node is connected: {keys} are lost unless one is within {seconds} s");
            self.out.notes.push(("alone", text));
        }
    }

    /// In haste, only the role of primary is handed over.
    fn hand_over_in_haste(&mut self) {
        if self.leaving.lost.is_none() {
            let keys = self.held_keys();
            self.leaving.lost =
                keys.map(|keys| format!("{keys} were not handed over in time, and are lost with this node"));
        }
        for shard in 0..self.replicas.len() {
            if self.cluster.copy(shard) == Copy::Ready {
                self.set_copy(shard, Copy::Filling);
            }
        }
        let since_ms = *self.leaving.alone_since_ms.get_or_insert(self.time.monotonic_ms);
        if self.is_known_to_hold_nothing() || self.time.monotonic_ms >= since_ms + KNOWN_MS {
            self.serve_out();
        }
    }

    fn serve_out(&mut self) {
        if let Some(text) = self.leaving.lost.clone() {
            self.out.notes.push(("lost", text));
        }
        self.out
            .notes
            .push(("serving_out", "clients are asked to go to other nodes".into()));
        self.enter(Stage::ServingOut, SERVE_MS);
    }

    fn let_clients_go(&mut self) {
        let is_late = self.time.monotonic_ms >= self.leaving.until_ms;
        let is_closing = self.leaving.stage == Stage::Closing;
        let are_gone = self.leaving.clients_are_gone || is_closing && is_late;
        // Runs have deadlines. The exception are requests from peers that have not received anything for long.
        let is_overdue = self.time.monotonic_ms >= self.leaving.until_ms + self.config.request_timeout_ms;
        if are_gone && (self.is_idle() || is_closing && is_overdue) {
            self.enter(Stage::BiddingFarewell, 0);
            // If others may still wait for this node's data, it says no goodbye and remembers its cluster.
            if self.says_good_bye() {
                self.out.commands.push(MembersCommand::Gone);
            }
        } else if !is_closing && is_late {
            self.out
                .notes
                .push(("closing", "connections of clients are closed".into()));
            self.enter(Stage::Closing, CLOSE_MS);
        }
    }

    /// Ends once the peers have received the goodbye: they close their connections then. If the node ended earlier and
    /// the goodbye was lost, the others would wait for its data.
    fn bid_farewell(&mut self) {
        if self.says_good_bye() && !self.cluster.is_alone() && !self.leaving.is_cut_short {
            return;
        }
        self.enter(Stage::Left, 0);
        let text = match (&self.leaving.lost, self.leaving.held) {
            (Some(lost), _) => lost.clone(),
            (None, true) if self.is_empty() => "every shard is handed over".into(),
            (None, _) => "there was nothing to hand over".into(),
        };
        self.out.notes.push(("left", text));
    }

    fn enter(&mut self, stage: Stage, for_ms: u64) {
        self.leaving.stage = stage;
        self.leaving.until_ms = self.time.monotonic_ms + for_ms;
        self.keeper.look = true;
    }

    /// Whether the node says goodbye: then no other node will wait for its data. Either the others have all of it, or
    /// there are no others.
    fn says_good_bye(&self) -> bool {
        let is_missed = self.cluster.members_away() || self.cluster.has_successor() && self.holds_anything();
        self.is_empty() || !is_missed
    }

    fn is_empty(&self) -> bool {
        (0..self.replicas.len()).all(|shard| self.cluster.copy(shard) == Copy::Absent)
    }

    /// Whether every peer knows which copies are left here, and so sends no more requests.
    fn is_known_to_hold_nothing(&self) -> bool {
        let announced = self.cluster.announced();
        !self.keeper.announce && self.cluster.peers().all(|(_, peer)| peer.said.knows == announced)
    }

    /// Whether no request is under way here and every reply is sent.
    fn is_idle(&self) -> bool {
        let waits = self.front.runs.len()
            + self.front.held.len()
            + self.front.parked.len()
            + self.front.answers.len()
            + self.front.beam.answers.len();
        let is_sent = |slot: usize| self.peers[slot].backlog.has_no_replies() && self.peers[slot].outbox.is_empty();
        waits == 0 && self.cluster.peers().all(|(slot, _)| is_sent(slot))
    }

    /// A text with the number of keys in this node's copies; none if there are no keys.
    fn held_keys(&self) -> Option<String> {
        let counts = self.replicas.iter().map(|replica| replica.shard.len() as u64);
        let counts = counts.filter(|keys| *keys > 0);
        let (shards, keys) = counts.fold((0_u64, 0), |(shards, sum), keys| (shards + 1, sum + keys));
        let s = |count: u64| if count == 1 { "" } else { "s" };
        (keys > 0).then(|| format!("{keys} key{} in {shards} shard{}", s(keys), s(shards)))
    }
}
