//! Which peers a shard waits for before this node makes decisions on it.
//!
//! If two nodes with ready copies of a shard meet, each may lack writes that the other has acknowledged. Until this
//! node has merged what the peer had when they met, it neither reads the shard for a client nor executes a command on
//! it. It also waits while a peer with a ready copy may not know that this node's copy is ready: that peer may act as
//! primary.
//!
//! A peer that has lost another node may have writes of that node which this node lacks. So its copies are merged again
//! after each loss.

use alloc::{vec, vec::Vec};

use crate::peers::PeerSet;

/// For each shard: the peers it waits for, and the announcement that reports this node's ready copy.
#[derive(Debug)]
pub struct Fences {
    /// Peers whose copy must be merged: they had one when they were met, or when they lost another node.
    unmerged: Vec<PeerSet>,
    /// The announcement in which the copy of this node was first ready; 0 if it never was.
    ready_in: Vec<u64>,
    /// Number of the latest announcement of this node's copies. The next one has the next number.
    announced: u64,
}

impl Fences {
    /// No shard waits for a peer.
    pub fn new(shards: usize) -> Self {
        Self {
            unmerged: vec![PeerSet::EMPTY; shards],
            ready_in: vec![0; shards],
            announced: 0,
        }
    }

    /// Begins the next announcement of this node's copies.
    pub fn announce(&mut self) {
        self.announced += 1;
    }

    /// Number of the latest announcement.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Notes that the copy of `shard` has just become ready: the next announcement reports it.
    pub fn became_ready(&mut self, shard: usize) {
        self.ready_in[shard] = self.announced + 1;
    }

    /// Whether the copy of `shard` is ready, or was.
    pub fn was_ready(&self, shard: usize) -> bool {
        self.ready_in[shard] > 0
    }

    /// Whether a peer that has processed announcement `known` knows that the copy of `shard` is ready.
    pub fn is_known(&self, shard: usize, known: u64) -> bool {
        known >= self.ready_in[shard]
    }

    /// Waits for a peer: it has a copy of `shard` and was met, or it has lost another node.
    pub fn raise(&mut self, shard: usize, peer: usize) {
        self.unmerged[shard].insert(peer);
    }

    /// The peer's copy of `shard` is merged, or the peer has no copy any more. Returns false if the shard did not wait
    /// for it.
    pub fn lower(&mut self, shard: usize, peer: usize) -> bool {
        let stood = self.unmerged[shard].contains(peer);
        self.unmerged[shard].remove(peer);
        stood
    }

    /// Handles the loss of a peer: no shard waits for it.
    pub fn forget(&mut self, peer: usize) {
        for peers in &mut self.unmerged {
            peers.remove(peer);
        }
    }

    /// Peers whose copy of `shard` is not merged yet.
    pub fn unmerged(&self, shard: usize) -> PeerSet {
        self.unmerged[shard]
    }
}
