//! The frames between this store and the stores of its peers.
//!
//! Traffic belongs to one life of a peer. It starts again, with frame 1, when the peer joins.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use wire::etf::Atom;

use crate::{
    backlog::Backlog,
    config::Config,
    early::Early,
    message::LEASE_MS,
    outbox::Outbox,
    peers::{PEERS_MAX, PeerSet},
    slices::Arrivals,
    store::NAME,
};

/// What goes to one peer and comes from it.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// The node of the peer. Empty while the slot is free.
    pub node: Atom,
    /// What is gathered for the peer, and the number of the last frame.
    pub outbox: Outbox,
    /// What waits to be put into the outbox.
    pub backlog: Backlog,
    /// Large messages that the peer has announced and that are not here yet.
    pub arrivals: Arrivals,
    /// The number of the last frame that came from the peer.
    pub received: u64,
    /// The number of the last frame that the peer has merged.
    pub acknowledged: u64,
    /// The peer's monotonic milliseconds in its last frame.
    pub beat: u64,
    /// The last own beat that the peer had received, in this node's monotonic milliseconds.
    pub echo: u64,
}

impl Traffic {
    fn to(node: Atom, slice_bytes: usize) -> Self {
        Self {
            node,
            outbox: Outbox::new(slice_bytes),
            backlog: Backlog::default(),
            arrivals: Arrivals::default(),
            received: 0,
            acknowledged: 0,
            beat: 0,
            echo: 0,
        }
    }
}

/// The traffic with each peer by slot, and the peers that are in a special state.
#[derive(Debug)]
pub(crate) struct Peers {
    each: Vec<Traffic>,
    /// A message with more bytes travels in slices of this size.
    slice_bytes: usize,
    /// The name under which every node registers its store.
    pub store: Atom,
    /// Peers that let a write wait past the write timeout and have not answered since.
    pub silent: PeerSet,
    /// Peers with as much memory allocated as they may have: primaries refuse writes that would make them grow.
    pub full: PeerSet,
    /// Peers that have sent nothing since this node stood still. Until they do, others may have taken over from it.
    pub recovering: PeerSet,
    /// Peers whose connection is lost, which the member list does not show yet.
    pub cut: PeerSet,
    /// Silent peers that another member has dropped. Their connections are closed at the end of the message.
    pub given_up: PeerSet,
    /// Peers that broke the protocol during the present message, and the rule.
    pub broken: Vec<(usize, &'static str)>,
    /// Frames of nodes that are not in the member list yet.
    pub early: Early,
}

impl Peers {
    /// No peer is known.
    pub(crate) fn new(config: &Config) -> Self {
        let free = || Traffic::to(Atom::new(""), config.slice_bytes);
        Self {
            each: (0..PEERS_MAX).map(|_| free()).collect(),
            slice_bytes: config.slice_bytes,
            store: Atom::new(NAME),
            silent: PeerSet::EMPTY,
            full: PeerSet::EMPTY,
            recovering: PeerSet::EMPTY,
            cut: PeerSet::EMPTY,
            given_up: PeerSet::EMPTY,
            broken: Vec::new(),
            early: Early::default(),
        }
    }

    /// The traffic of all slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Traffic> {
        self.each.iter()
    }

    /// A peer joins at this slot: its traffic starts again.
    pub(crate) fn open(&mut self, slot: usize, node: &str) {
        self.each[slot] = Traffic::to(Atom::new(node), self.slice_bytes);
        self.lost(slot);
    }

    /// The traffic at this slot, and the name under which the peer's store is registered.
    pub(crate) fn with_name(&mut self, slot: usize) -> (&mut Traffic, &Atom) {
        (&mut self.each[slot], &self.store)
    }

    /// The peer at this slot is lost.
    pub(crate) fn lost(&mut self, slot: usize) {
        self.silent.remove(slot);
        self.full.remove(slot);
        self.recovering.remove(slot);
        self.cut.remove(slot);
    }

    /// The peer received a frame of this node less than a lease ago, and everything that the peer sent before is here.
    pub(crate) fn has_lease(&self, slot: usize, now_ms: u64) -> bool {
        now_ms < self.each[slot].echo + LEASE_MS && !self.cut.contains(slot)
    }
}

impl Index<usize> for Peers {
    type Output = Traffic;

    fn index(&self, slot: usize) -> &Traffic {
        &self.each[slot]
    }
}

impl IndexMut<usize> for Peers {
    fn index_mut(&mut self, slot: usize) -> &mut Traffic {
        &mut self.each[slot]
    }
}
