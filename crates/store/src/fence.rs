//! Which peers a shard still waits for before this node decides anything on it.
//!
//! A ready copy of a shard and another one that meet may each lack what the other has acknowledged. Until this node has
//! merged what the peer had when they met, it neither reads that shard for a client nor executes a command on it. The
//! same holds while a peer that has a ready copy may not know yet that the copy of this node is ready: the peer may
//! take itself for the primary.
//!
//! A peer that has lost another node may have writes of that node which this one lacks. So its copies are merged again
//! after each loss.

use alloc::{vec, vec::Vec};

use crate::peers::PeerSet;

/// By shard: the peers that it waits for, and the announcement that tells of its ready copy.
#[derive(Debug)]
pub struct Fences {
    /// Peers that had a copy when they were met, or when they lost another node, which has not been merged since.
    unmerged: Vec<PeerSet>,
    /// The announcement in which the copy of this node was first ready.
    ready_in: Vec<u64>,
    /// Number of the latest announcement of holdings; the next has the next number.
    announced: u64,
}

impl Fences {
    /// Nothing is waited for.
    pub fn new(shards: usize) -> Self {
        Self {
            unmerged: vec![PeerSet::EMPTY; shards],
            ready_in: vec![0; shards],
            announced: 0,
        }
    }

    /// Begins the next announcement of holdings.
    pub fn announce(&mut self) {
        self.announced += 1;
    }

    /// Number of the latest announcement.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// The copy of `shard` has just become ready: the next announcement tells of it.
    pub fn became_ready(&mut self, shard: usize) {
        self.ready_in[shard] = self.announced + 1;
    }

    /// Whether a peer that took in announcement `known` knows that the copy of `shard` is ready.
    pub fn is_known(&self, shard: usize, known: u64) -> bool {
        known >= self.ready_in[shard]
    }

    /// A peer with a copy of `shard` was met, or has lost another node.
    pub fn raise(&mut self, shard: usize, peer: usize) {
        self.unmerged[shard].insert(peer);
    }

    /// What the peer had of `shard` is merged, or the peer has no copy any more. False if that was so before.
    pub fn lower(&mut self, shard: usize, peer: usize) -> bool {
        let stood = self.unmerged[shard].contains(peer);
        self.unmerged[shard].remove(peer);
        stood
    }

    /// A peer is lost: nothing is waited for from it.
    pub fn forget(&mut self, peer: usize) {
        for peers in &mut self.unmerged {
            peers.remove(peer);
        }
    }

    /// Peers whose copy of `shard` has yet to be merged.
    pub fn unmerged(&self, shard: usize) -> PeerSet {
        self.unmerged[shard]
    }
}
