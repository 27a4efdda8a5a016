//! Who holds which shard.
//!
//! The table is a pure function of the names of the members that are up, the number of shards and the replication
//! factor. Every node computes it alone; nothing is agreed on, stored or sent. Stop *route* of a request.
//!
//! ```text
//!              preference →
//!   shard 0    c  a  e        the first is the primary
//!   shard 1    b  e  d
//!   …                         one row per shard, `copies` columns
//! ```
//!
//! [`bounded`] fills it. Shard by shard, in a fixed pseudo-random order, the nodes with the highest hash of (node,
//! shard) take the copies; a node that already has its fair share plus [`TOLERANCE_PERCENT`] is passed over. Then
//! the primaries are elected among those copies under the same bound. What the hash prefers depends on the node and
//! the shard alone, so a node that joins takes shards only for itself, and one that comes back gets its own again;
//! the bound evens out what chance left uneven, at the price of a few more moves.
//!
//! Invariants:
//! - The order in which names are given, and a name given twice, change nothing.
//! - Each row has `min(replicas, nodes)` distinct nodes.
//! - No node has more copies, or more primaries, than [`bound`] allows.
//! - Integers only: the same table on every machine and in every version. The table is part of what a cluster is
//!   born with; to change the function is to move the data.
//!
//! Papers: *Using Name-Based Mappings to Increase Hit Rates* (Thaler, Ravishankar, 1998) for highest random weight;
//! *Consistent Hashing with Bounded Loads* (Mirrokni, Thorup, Zadimoghaddam, 2016) for the bound.

use alloc::{boxed::Box, collections::VecDeque, vec, vec::Vec};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::slot::is_shard_count;

/// How far above its fair share a node may be loaded.
pub const TOLERANCE_PERCENT: u64 = 2;

/// A member's place among the sorted names of one [`Ring`]. Means nothing to another ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// The members that are up and the shards that each of them holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    nodes: Vec<Box<str>>,
    shards: u16,
    copies: usize,
    table: Vec<NodeIndex>,
}

impl Ring {
    /// The ring of these members, placed by [`bounded`]. `shards` is a power of two from 1 to 16,384; with fewer
    /// than `replicas` (at least 1) nodes, every node holds every shard.
    pub fn new(nodes: &[&str], shards: u16, replicas: u8) -> Self {
        Self::placed_by(bounded, nodes, shards, replicas)
    }

    /// As [`Ring::new`], by another placement: another hash, weights per node, zones.
    ///
    /// `place(nodes, shards, copies)` is given at least one name, sorted and distinct, and at most as many `copies`
    /// as names. It returns one row of `copies` distinct nodes per shard, primary first, and depends on its
    /// arguments alone.
    pub fn placed_by<P>(place: P, nodes: &[&str], shards: u16, replicas: u8) -> Self
    where
        P: FnOnce(&[&str], u16, usize) -> Vec<NodeIndex>,
    {
        assert!(
            is_shard_count(shards),
            "the number of shards is a power of two from 1 to 16,384"
        );
        assert!(replicas > 0, "a shard has at least one replica");
        let mut names = nodes.to_vec();
        names.sort_unstable();
        names.dedup();
        assert!(
            names.len() <= usize::from(u16::MAX),
            "a ring has at most 65,535 nodes"
        );
        let copies = names.len().min(usize::from(replicas));
        let table = if names.is_empty() {
            Vec::new()
        } else {
            place(&names, shards, copies)
        };
        assert_eq!(
            table.len(),
            usize::from(shards) * copies,
            "a placement fills one row per shard"
        );
        Self {
            nodes: names.into_iter().map(Box::from).collect(),
            shards,
            copies,
            table,
        }
    }

    /// The holders of `shard` in order of preference, the primary first. Empty only if the ring has no nodes.
    pub fn replicas(&self, shard: u16) -> &[NodeIndex] {
        assert!(shard < self.shards, "the ring has {} shards", self.shards);
        &self.table[usize::from(shard) * self.copies..][..self.copies]
    }

    /// Whether `node` is one of the replicas of `shard`.
    pub fn holds(&self, shard: u16, node: NodeIndex) -> bool {
        self.replicas(shard).contains(&node)
    }

    /// The name of `node`, which must be of this ring.
    pub fn name(&self, node: NodeIndex) -> &str {
        &self.nodes[node.at()]
    }

    /// Where `name` stands in this ring, if it is a member.
    pub fn index(&self, name: &str) -> Option<NodeIndex> {
        let at = self
            .nodes
            .binary_search_by(|node| (**node).cmp(name))
            .ok()?;
        Some(node_index(at))
    }

    /// The members' names, sorted: [`NodeIndex`] 0, 1, 2 …
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(|name| &**name)
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// How many copies there are of each shard: the replication factor, or all nodes if they are fewer.
    pub fn copies(&self) -> usize {
        self.copies
    }
}

/// The most a node may take of `total` things spread over `nodes`: its fair share and the tolerance, rounded up.
pub fn bound(total: usize, nodes: usize) -> usize {
    let (total, nodes) = (total as u64, nodes as u64);
    (total * (100 + TOLERANCE_PERCENT)).div_ceil(nodes * 100) as usize
}

/// How strongly `node` attracts `shard`: the highest-random-weight hash.
pub fn weight(node: &str, shard: u16) -> u64 {
    xxh3_64_with_seed(node.as_bytes(), u64::from(shard))
}

/// Highest random weight with bounded load, the placement of [`Ring::new`].
pub fn bounded(nodes: &[&str], shards: u16, copies: usize) -> Vec<NodeIndex> {
    let order = shuffled(shards);
    let mut table = vec![NodeIndex(0); usize::from(shards) * copies];
    let mut room = Room::new(nodes.len(), usize::from(shards), copies);
    let mut candidates = Vec::with_capacity(nodes.len());
    for &shard in &order {
        candidates.clear();
        candidates.extend(
            (0..)
                .zip(nodes)
                .map(|(at, node)| (weight(node, shard), NodeIndex(at))),
        );
        room.take(
            &mut candidates,
            &mut table[usize::from(shard) * copies..][..copies],
        );
    }
    elect_primaries(&mut table, &order, nodes.len(), copies);
    table
}

/// The shards in the order in which they are placed: pseudo-random, always the same.
fn shuffled(shards: u16) -> Vec<u16> {
    let mut order: Vec<u16> = (0..shards).collect();
    order.sort_by_cached_key(|shard| xxh3_64(&shard.to_le_bytes()));
    order
}

/// The places that the nodes have left for copies, kept such that every shard left to place finds enough of them.
///
/// With `m` shards left, a node can use at most `min(left, m)` of its places, since it takes a shard only once; the
/// shards fit exactly if these sum to at least `m · copies`. `spare` is by how much they exceed it. A *roomy* node,
/// one with a place for each of the `m`, that is not chosen will never use one of its places, and that is the only
/// way to lose a spare one. So when none is spare, roomy nodes are chosen whatever their weight.
struct Room {
    left: Vec<usize>,
    shards_left: usize,
    spare: usize,
}

impl Room {
    fn new(nodes: usize, shards: usize, copies: usize) -> Self {
        let places = bound(shards * copies, nodes).min(shards);
        Self {
            left: vec![places; nodes],
            shards_left: shards,
            spare: nodes * places - shards * copies,
        }
    }

    fn is_roomy(&self, node: NodeIndex) -> bool {
        self.left[node.at()] >= self.shards_left
    }

    /// Fills `row` with the heaviest of `candidates`, heaviest first, and takes a place of each.
    fn take(&mut self, candidates: &mut Vec<(u64, NodeIndex)>, row: &mut [NodeIndex]) {
        candidates.retain(|(_, node)| self.left[node.at()] > 0);
        let mut roomy = candidates
            .iter()
            .filter(|(_, node)| self.is_roomy(*node))
            .count();
        for filled in 0..row.len() {
            let must_be_roomy = roomy >= self.spare + row.len() - filled;
            let heaviest = (0..candidates.len())
                .filter(|&at| !must_be_roomy || self.is_roomy(candidates[at].1))
                .max_by_key(|&at| candidates[at])
                .expect("spare places are counted so that a row can always be filled");
            let (_, node) = candidates.swap_remove(heaviest);
            roomy -= usize::from(self.is_roomy(node));
            row[filled] = node;
        }
        self.spare -= roomy;
        self.shards_left -= 1;
        for node in row {
            self.left[node.at()] -= 1;
        }
    }
}

/// Moves to the front of each row the node that is to be the shard's primary: the first that is not a primary of
/// [`bound`] shards already.
///
/// If all of a row are, primaries move along the shortest chain of shards that ends at a node with room. There
/// always is one: `t` shards that could only choose among `k` nodes put `t · copies` copies on them, so `t` is at
/// most `k · bound(copies · shards) / copies`, which is no more than the `k · bound(shards)` primaries they may be
/// (Hall's theorem).
fn elect_primaries(table: &mut [NodeIndex], order: &[u16], nodes: usize, copies: usize) {
    let mut election = Election {
        candidates: table.to_vec(),
        copies,
        held: vec![Vec::new(); nodes],
        primary: vec![None; order.len()],
        room: vec![bound(order.len(), nodes); nodes],
    };
    for &shard in order {
        for node in &table[usize::from(shard) * copies..][..copies] {
            election.held[node.at()].push(shard);
        }
    }
    for &shard in order {
        election.elect(shard);
    }
    for (row, primary) in table.chunks_exact_mut(copies).zip(election.primary) {
        let at = row
            .iter()
            .position(|node| Some(*node) == primary)
            .expect("a primary is one of the replicas");
        row[..=at].rotate_right(1);
    }
}

struct Election {
    /// The table of copies, in order of weight.
    candidates: Vec<NodeIndex>,
    copies: usize,
    /// The shards of which each node has a copy.
    held: Vec<Vec<u16>>,
    /// The primary of each shard that has one yet.
    primary: Vec<Option<NodeIndex>>,
    /// Of how many more shards each node may be the primary.
    room: Vec<usize>,
}

impl Election {
    /// Gives `shard` a primary. Searches breadth first from its replicas, so that the first of them that has room
    /// is taken, and a chain of others is moved only if none has.
    fn elect(&mut self, shard: u16) {
        let mut takes = vec![None; self.room.len()];
        let mut queue = VecDeque::new();
        self.reach(shard, &mut takes, &mut queue);
        while let Some(node) = queue.pop_front() {
            if self.room[node.at()] > 0 {
                self.room[node.at()] -= 1;
                return self.shift(shard, node, &takes);
            }
            for &held in &self.held[node.at()] {
                if self.primary[usize::from(held)] == Some(node) {
                    self.reach(held, &mut takes, &mut queue);
                }
            }
        }
        unreachable!("a table of copies within the bound has primaries within the bound");
    }

    /// Notes in `takes` that the replicas of `shard` not reached before could become its primary.
    fn reach(&self, shard: u16, takes: &mut [Option<u16>], queue: &mut VecDeque<NodeIndex>) {
        for &node in &self.candidates[usize::from(shard) * self.copies..][..self.copies] {
            if takes[node.at()].is_none() {
                takes[node.at()] = Some(shard);
                queue.push_back(node);
            }
        }
    }

    /// Makes `last` the primary of what it takes, whoever was that of what it takes, and so on back to `shard`.
    fn shift(&mut self, shard: u16, last: NodeIndex, takes: &[Option<u16>]) {
        let mut node = last;
        loop {
            let taken = takes[node.at()].expect("a chain is made of nodes reached");
            let before = self.primary[usize::from(taken)].replace(node);
            if taken == shard {
                return;
            }
            node = before.expect("only the shard being elected for has no primary");
        }
    }
}

fn node_index(at: usize) -> NodeIndex {
    NodeIndex(u16::try_from(at).expect("a ring has at most 65,535 nodes"))
}
