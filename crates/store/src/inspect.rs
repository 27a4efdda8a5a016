//! The data of a store and its work under way, for code in the same thread: checkers and debuggers. Nothing here
//! changes the store.

use node::Identity;

use crate::{
    cluster::Cluster, config::Config, counters::Counters, due::Awaited, keyspaces::Layout, shard::Shard, store::Store,
};

/// How much work of each kind waits. All numbers are 0 in a store at rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Underway {
    /// Batches that are not answered yet.
    pub runs: usize,
    /// Runs that wait for an acknowledgement, counted once for each peer.
    pub waiting: usize,
    /// Parcels of requests sent to peers.
    pub parcels: usize,
    /// Batches that wait until the peers have reported, and parts of batches that wait until their shard is settled.
    pub held: usize,
    /// Copies being filled or repaired, or waiting for it.
    pub fills: usize,
    /// Streams to peers.
    pub streams: usize,
    /// Peers that get deltas because they are filling a copy.
    pub followers: usize,
}

impl Store {
    /// The settings of the store.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The members and their copies, as this node sees them.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster of this node; none before the membership has reported it.
    pub fn identity(&self) -> Option<&Identity> {
        self.forming.identity()
    }

    /// Where the keys of each keyspace are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// This node's copy of a shard. `shard` counts through all keyspaces.
    pub fn shard(&self, shard: usize) -> &Shard {
        &self.replicas[shard].shard
    }

    /// Cluster time at the last reading, in Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.time.now_ms
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.gauges.counters
    }

    /// Whether writes do not wait for the peer in `slot`: it was silent for the write timeout, and has not answered
    /// since.
    pub fn is_silent(&self, slot: usize) -> bool {
        self.peers.silent.contains(slot)
    }

    /// The work under way.
    pub fn underway(&self) -> Underway {
        Underway {
            runs: self.front.runs.len(),
            waiting: self.front.awaited.iter().map(Awaited::len).sum(),
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
