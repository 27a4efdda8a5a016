//! Requests on shards that are not settled: they wait here, by shard and in their order. They begin again as soon as
//! this node may decide on the shard, or knows another node that does.
//!
//! What waits is bounded: a client has one batch under way at a time, and what peers forward is bounded by theirs.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{cluster::Seat, coordinator::Sent, store::Store};

/// How long a request waits for its shard to be settled before it is refused.
const WAIT_MS: u64 = 1_000;

/// Requests of one run on one shard.
#[derive(Debug)]
struct Waiting {
    until_ms: u64,
    requests: Sent,
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    by_shard: BTreeMap<usize, Vec<Waiting>>,
}

impl Parked {
    /// How many parts of runs wait.
    pub(crate) fn len(&self) -> usize {
        self.by_shard.values().map(Vec::len).sum()
    }

    /// The shards that requests wait for.
    pub(crate) fn shards(&self) -> impl Iterator<Item = usize> {
        self.by_shard.keys().copied()
    }

    /// Requests wait for `shard`.
    pub(crate) fn has(&self, shard: usize) -> bool {
        self.by_shard.contains_key(&shard)
    }
}

impl Store {
    /// Puts the requests of a run on `shard` aside until that is settled; those that waited before, until the same
    /// time as then.
    pub(crate) fn park_requests(&mut self, shard: usize, requests: Sent, until_ms: u64) {
        let is_new = until_ms == 0;
        if is_new {
            self.gauges.counters.parked += requests.count() as u64;
        }
        let until_ms = if is_new {
            self.time.monotonic_ms + WAIT_MS
        } else {
            until_ms
        };
        let waiting = Waiting { until_ms, requests };
        self.front.parked.by_shard.entry(shard).or_default().push(waiting);
        self.keeper.look = true;
    }

    /// Begins again what waits for shards that can be decided on now.
    pub(crate) fn unpark(&mut self) {
        if self.front.parked.by_shard.is_empty() || !self.cluster.take_rerouted() {
            return;
        }
        let is_ready = |shard: &usize| {
            let route = self.cluster.route(*shard);
            route.settled || matches!(route.primary, Some(Seat::Peer(_)))
        };
        let ready: Vec<usize> = self.front.parked.by_shard.keys().copied().filter(is_ready).collect();
        for shard in ready {
            for waiting in self.front.parked.by_shard.remove(&shard).unwrap_or_default() {
                self.begin_parked(waiting.requests, waiting.until_ms);
            }
        }
    }

    /// Refuses what has waited too long: nothing of it was done.
    pub(crate) fn refuse_parked(&mut self) {
        let now_ms = self.time.monotonic_ms;
        let mut late = Vec::new();
        self.front.parked.by_shard.retain(|shard, waiting| {
            let is_late = |waiting: &mut Waiting| waiting.until_ms <= now_ms;
            late.extend(waiting.extract_if(.., is_late).map(|waiting| (*shard, waiting)));
            !waiting.is_empty()
        });
        for (shard, waiting) in late {
            self.gauges.counters.no_nodes += waiting.requests.count() as u64;
            let ring_shard = shard % usize::from(self.config.shards);
            let text = alloc::format!(
                "the replicas of shard {ring_shard} are being compared after nodes were lost or met; nothing was done"
            );
            self.refuse_parcel(waiting.requests, &text);
        }
    }
}
