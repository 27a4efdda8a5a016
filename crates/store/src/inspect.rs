//! What a store holds and has under way, for those who share its thread: checkers and debuggers. Nothing here changes
//! anything.

use node::Identity;

use crate::{cluster::Cluster, config::Config, counters::Counters, due::Awaited, shard::Shard, store::Store};

/// What waits for something. All of it is 0 in a store that is at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Underway {
    /// Batches that are not answered.
    pub runs: usize,
    /// Places in which acknowledgements of peers are waited for.
    pub waiting: usize,
    /// Parcels of requests sent to peers.
    pub parcels: usize,
    /// Batches held back until the peers have been heard of, and parts of batches until their shard is settled.
    pub held: usize,
    /// Copies being filled or repaired, and those that should be.
    pub fills: usize,
    /// Streams being sent.
    pub streams: usize,
    /// Peers that are sent deltas because they fill a copy.
    pub followers: usize,
}

impl Store {
    /// What it was told at its birth.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who is there and who holds what, as this node sees it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Which cluster this node is of; none before the membership said so.
    pub fn identity(&self) -> Option<&Identity> {
        self.forming.identity()
    }

    /// What it holds of a shard; `shard` counts through all keyspaces.
    pub fn shard(&self, shard: usize) -> &Shard {
        &self.replicas[shard].shard
    }

    /// Cluster time when it was last read, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.time.now_ms
    }

    /// What it has counted.
    pub fn counters(&self) -> &Counters {
        &self.gauges.counters
    }

    /// Writes do not wait for the peer in `slot`: it was silent for the write timeout, and has not answered since.
    pub fn is_silent(&self, slot: usize) -> bool {
        self.links.silent.contains(slot)
    }

    /// What is under way.
    pub fn underway(&self) -> Underway {
        Underway {
            runs: self.front.runs.len(),
            waiting: self.awaited.iter().map(Awaited::len).sum(),
            parcels: self.front.sent.len(),
            held: self.front.held.len() + self.front.parked.len(),
            fills: self.keeper.under_way(),
            streams: self.replicas.iter().map(|replica| replica.shard.stats().streams).sum(),
            followers: self
                .replicas
                .iter()
                .map(|replica| replica.followers.len() as usize)
                .sum(),
        }
    }
}
