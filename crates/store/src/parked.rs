//! Requests on shards that are not settled wait here, by shard and in order. They start again as soon as this node may
//! decide on the shard, or knows another node that may.
//!
//! Their number is limited: a client has one batch under way at a time, and peers forward only requests of their
//! clients.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{cluster::Seat, coordinator::Sent, store::Store};

/// How long a request waits for its shard before it is refused.
const WAIT_MS: u64 = 1_000;

/// Requests of one run on one shard.
#[derive(Debug)]
struct Waiting {
    until_ms: u64,
    /// Whether their run sends nothing later that must not overtake them.
    is_last: bool,
    requests: Sent,
}

/// All waiting requests.
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

    /// Whether requests wait for `shard`.
    pub(crate) fn has(&self, shard: usize) -> bool {
        self.by_shard.contains_key(&shard)
    }
}

impl Store {
    /// Makes the requests of a run wait until `shard` is settled. Requests that waited before keep their time limit.
    /// `is_last`: the run sends nothing later that must not overtake them.
    pub(crate) fn park_requests(&mut self, shard: usize, requests: Sent, until_ms: u64, is_last: bool) {
        let is_new = until_ms == 0;
        if is_new {
            self.gauges.counters.parked += requests.count() as u64;
        }
        let until_ms = if is_new {
            self.time.monotonic_ms + WAIT_MS
        } else {
            until_ms
        };
        let waiting = Waiting {
            until_ms,
            is_last,
            requests,
        };
        self.front.parked.by_shard.entry(shard).or_default().push(waiting);
        self.keeper.look = true;
    }

    /// Starts the requests again whose shards can be decided on now.
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
                self.begin_parked(waiting.requests, waiting.until_ms, waiting.is_last);
            }
        }
    }

    /// Refuses requests that have waited too long. Nothing of them was done.
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
            let shard = self.name_of(shard);
            let text = alloc::format!(
                "the replicas of {shard} are being compared after nodes were lost or met; nothing was done"
            );
            self.refuse_parcel(waiting.requests, &text);
        }
    }
}
