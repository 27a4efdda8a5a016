//! Peers as small numbers, and sets of them.

/// Most peers a store has. A further member is turned away with a note, and gets the next slot that falls free.
pub const PEERS_MAX: usize = 128;

/// A set of peers, by their slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PeerSet(u128);

impl PeerSet {
    /// No peer.
    pub const EMPTY: Self = Self(0);
    /// Every slot.
    pub const ALL: Self = Self(u128::MAX);

    /// Adds one.
    pub fn insert(&mut self, peer: usize) {
        debug_assert!(peer < PEERS_MAX, "slots end at PEERS_MAX");
        self.0 |= 1 << peer;
    }

    /// Takes one out.
    pub fn remove(&mut self, peer: usize) {
        self.0 &= !(1 << peer);
    }

    /// Whether it is in.
    pub fn contains(self, peer: usize) -> bool {
        self.0 & (1 << peer) != 0
    }

    /// How many.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// None.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in this set and not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Its members, ascending.
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
