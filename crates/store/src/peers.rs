//! Peers as slot numbers, and sets of peers.

/// Most peers of a store. A further member is refused with a note, and gets the next free slot.
pub const PEERS_MAX: usize = 128;

/// A set of peers, by their slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PeerSet(u128);

impl PeerSet {
    /// The set without peers.
    pub const EMPTY: Self = Self(0);
    /// Every slot.
    pub const ALL: Self = Self(u128::MAX);

    /// Adds a peer.
    pub fn insert(&mut self, peer: usize) {
        debug_assert!(peer < PEERS_MAX, "slots end at PEERS_MAX");
        self.0 |= 1 << peer;
    }

    /// Removes a peer.
    pub fn remove(&mut self, peer: usize) {
        self.0 &= !(1 << peer);
    }

    /// Whether a peer is in the set.
    pub fn contains(self, peer: usize) -> bool {
        self.0 & (1 << peer) != 0
    }

    /// How many peers are in the set.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set has no peers.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The peers in this set that are not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The peers in either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both sets.
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The peers, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            (rest != 0).then(|| {
                let peer = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                peer
            })
        })
    }
}
