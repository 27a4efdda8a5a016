//! Which nodes have which shard.
//!
//! The table is a pure function of the names of the members that are up, the number of shards and the replication
//! factor. Every node computes it alone; it is never agreed on, stored or sent. Stop *route* of a request.
//!
//! ```text
//!              preference →
//!   shard 0    c  a  e        the first is the primary
//!   shard 1    b  e  d
//!   …                         one row per shard, `copies` columns
//! ```
//!
//! [`bounded`] fills it. The shards are placed one by one, in a fixed pseudo-random order. The nodes with the highest
//! hash of (node, shard) get the copies. A node that already has its fair share plus [`TOLERANCE_PERCENT`] is skipped.
//! Then a primary is elected for each shard among its copies, within the same tolerance. The hash depends only on the
//! node and the shard, so a node that joins takes shards only for itself. The bound corrects uneven chance, at the cost
//! of a few more moves. `examples/placement.rs` measures both.
//!
//! Invariants:
//! - The order in which names are given, and a name given twice, make no difference.
//! - Each row has `min(replicas, nodes)` distinct nodes.
//! - No node has more copies, or is the primary of more shards, than [`bound`] allows.
//! - Only integers are used, so the table is the same on every machine and in every version. A cluster depends on it
//!   from its forming: to change this function is to move the data.
//!
//! Papers: *Using Name-Based Mappings to Increase Hit Rates* (Thaler, Ravishankar, 1998) for
//! highest random weight; *Consistent Hashing with Bounded Loads* (Mirrokni, Thorup, Zadimoghaddam,
//! 2016) for the bound.

use alloc::{boxed::Box, collections::VecDeque, vec, vec::Vec};
use core::ops::Range;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::slot::is_shard_count;

/// How far from its fair share a node's load may be, in percent.
pub const TOLERANCE_PERCENT: u64 = 2;

/// A member's position among the sorted names of one [`Ring`]. It has no meaning for another ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

impl NodeIndex {
    fn at(self) -> usize {
        usize::from(self.0)
    }
}

/// The members that are up, and the shards that each of them has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    nodes: Vec<Box<str>>,
    shards: u16,
    copies: usize,
    table: Vec<NodeIndex>,
}

impl Ring {
    /// The ring of these members, placed by [`bounded`]. `shards` is a power of two from 1 to 16,384. `replicas` is at
    /// least 1. With fewer nodes than `replicas`, every node has every shard.
    pub fn new(nodes: &[&str], shards: u16, replicas: u8) -> Self {
        Self::placed_by(bounded, nodes, shards, replicas)
    }

    /// Like [`Ring::new`], but with another placement: another hash, weights per node, zones.
    ///
    /// `place(nodes, shards, copies)` gets at least one name, sorted and distinct. `copies` is at most the number of
    /// names. It returns one row of `copies` distinct nodes for each shard, the primary first. The result must depend
    /// only on its arguments.
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
        assert!(names.len() <= usize::from(u16::MAX), "a ring has at most 65,535 nodes");
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

    /// The nodes that have `shard` in order of preference, the primary first. Empty only if the ring has no nodes.
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

    /// The position of `name` in this ring, if it is a member.
    pub fn index(&self, name: &str) -> Option<NodeIndex> {
        let at = self.nodes.binary_search_by(|node| (**node).cmp(name)).ok()?;
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

    /// How many copies each shard has: the replication factor, or the number of nodes if there are fewer.
    pub fn copies(&self) -> usize {
        self.copies
    }
}

/// The most that a node may have of `total` items spread over `nodes`: its fair share plus the tolerance, rounded up.
pub fn bound(total: usize, nodes: usize) -> usize {
    let (total, nodes) = (total as u64, nodes as u64);
    (total * (100 + TOLERANCE_PERCENT)).div_ceil(nodes * 100) as usize
}

/// The least that a node should have of `total` items spread over `nodes`: its fair share less the tolerance, rounded
/// down.
fn least(total: usize, nodes: usize) -> usize {
    let (total, nodes) = (total as u64, nodes as u64);
    (total * (100 - TOLERANCE_PERCENT) / (nodes * 100)) as usize
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
        for (node, at) in nodes.iter().zip(0..) {
            candidates.push((weight(node, shard), NodeIndex(at)));
        }
        let row = &mut table[usize::from(shard) * copies..][..copies];
        room.take(&mut candidates, row);
    }
    elect_primaries(&mut table, &order, nodes.len(), copies);
    table
}

/// The order in which the shards are placed: pseudo-random, always the same.
fn shuffled(shards: u16) -> Vec<u16> {
    let mut order: Vec<u16> = (0..shards).collect();
    order.sort_by_cached_key(|shard| xxh3_64(&shard.to_le_bytes()));
    order
}

/// How many more copies each node may take, kept such that every shard left to place can still be placed.
///
/// With `m` shards left, a node can use at most `min(left, m)` of its places, since it takes a shard only once. The
/// shards fit exactly if these numbers add up to at least `m · copies`; `spare` is the excess. A *roomy* node has a
/// place for each of the `m` shards. If a roomy node is not chosen, one of its places is never used: that is the only
/// way to lose a spare place. So when `spare` is 0, roomy nodes are chosen whatever their weight.
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

    /// Fills `row` with the heaviest of `candidates`, heaviest first, and uses up a place of each.
    fn take(&mut self, candidates: &mut Vec<(u64, NodeIndex)>, row: &mut [NodeIndex]) {
        candidates.retain(|(_, node)| self.left[node.at()] > 0);
        let mut roomy = candidates.iter().filter(|(_, node)| self.is_roomy(*node)).count();
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

/// Moves each shard's primary to the front of its row.
fn elect_primaries(table: &mut [NodeIndex], order: &[u16], nodes: usize, copies: usize) {
    let mut election = Election::new(table, order, nodes, copies);
    for &shard in order {
        election.elect(shard);
    }
    for &shard in order {
        election.relieve(shard);
    }
    for (row, primary) in table.chunks_exact_mut(copies).zip(&election.primary) {
        let at = row.iter().position(|node| Some(*node) == *primary);
        row[..=at.expect("a primary is one of the replicas")].rotate_right(1);
    }
}

/// The primary of each shard while primaries are being elected.
///
/// The first replica that is below [`bound`] is elected. If there is none, primaries move along the shortest chain of
/// shards that ends at a node below its bound. Such a chain always exists. `t` shards that can only choose among `k`
/// nodes put `t · copies` copies on them. So `t` is at most `k · bound(copies · shards) / copies`, which is no more
/// than the `k · bound(shards)` shards that these nodes may be primary of (Hall's theorem).
struct Election {
    /// The replicas of each shard by weight, `copies` to a row.
    replicas: Vec<NodeIndex>,
    copies: usize,
    /// The shards that each node has a copy of.
    held: Vec<Vec<u16>>,
    /// The primary of each shard that already has one.
    primary: Vec<Option<NodeIndex>>,
    /// How many shards each node is the primary of.
    counts: Vec<usize>,
}

impl Election {
    fn new(table: &[NodeIndex], order: &[u16], nodes: usize, copies: usize) -> Self {
        let mut election = Self {
            replicas: table.to_vec(),
            copies,
            held: vec![Vec::new(); nodes],
            primary: vec![None; order.len()],
            counts: vec![0; nodes],
        };
        for &shard in order {
            for at in election.row(shard) {
                election.held[election.replicas[at].at()].push(shard);
            }
        }
        election
    }

    fn row(&self, shard: u16) -> Range<usize> {
        let start = usize::from(shard) * self.copies;
        start..start + self.copies
    }

    /// Gives `shard` a primary. The search is breadth first and starts at its replicas, so other primaries move only if
    /// none of its replicas has room.
    fn elect(&mut self, shard: u16) {
        let most = bound(self.primary.len(), self.counts.len());
        let mut takes = vec![None; self.counts.len()];
        let mut queue = VecDeque::new();
        self.reach(shard, &mut takes, &mut queue);
        while let Some(node) = queue.pop_front() {
            if self.counts[node.at()] < most {
                self.counts[node.at()] += 1;
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

    /// Marks in `takes` the replicas of `shard` that were not reached before: each could become its primary.
    fn reach(&self, shard: u16, takes: &mut [Option<u16>], queue: &mut VecDeque<NodeIndex>) {
        for &node in &self.replicas[self.row(shard)] {
            if takes[node.at()].is_none() {
                takes[node.at()] = Some(shard);
                queue.push_back(node);
            }
        }
    }

    /// Makes `last` the primary of the shard it takes. The former primary of that shard becomes the primary of the
    /// shard that it takes in turn, and so on back to `shard`.
    fn shift(&mut self, shard: u16, last: NodeIndex, takes: &[Option<u16>]) {
        let mut node = last;
        loop {
            let taken = takes[node.at()].expect("a chain is made of nodes that were reached");
            let until_now = self.primary[usize::from(taken)].replace(node);
            if taken == shard {
                return;
            }
            node = until_now.expect("a shard that moves has a primary");
        }
    }

    /// If the primary of `shard` has more than its even share, passes the shard to a replica whose share is below the
    /// tolerance.
    fn relieve(&mut self, shard: u16) {
        let (shards, nodes) = (self.primary.len(), self.counts.len());
        let Some(primary) = self.primary[usize::from(shard)] else {
            return;
        };
        let has_more = |node: NodeIndex| self.counts[node.at()] * nodes > shards;
        let lacks = |node: &&NodeIndex| self.counts[node.at()] < least(shards, nodes);
        if !has_more(primary) {
            return;
        }
        if let Some(&node) = self.replicas[self.row(shard)].iter().find(lacks) {
            self.counts[primary.at()] -= 1;
            self.counts[node.at()] += 1;
            self.primary[usize::from(shard)] = Some(node);
        }
    }
}

fn node_index(at: usize) -> NodeIndex {
    NodeIndex(u16::try_from(at).expect("a ring has at most 65,535 nodes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{shard, slot};
    use proptest::{collection::btree_set, prelude::*};
    use std::{format, string::String};

    const SHARDS: u16 = 1_024;

    fn salps(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("salp_{n}@127.0.0.1")).collect()
    }

    fn ring_of(names: &[String], shards: u16, replicas: u8) -> Ring {
        Ring::new(&names.iter().map(String::as_str).collect::<Vec<_>>(), shards, replicas)
    }

    /// How often each node occurs in the first `columns` columns.
    fn counts(ring: &Ring, columns: usize) -> Vec<usize> {
        let mut counts = vec![0; ring.nodes().len()];
        for shard in 0..ring.shards() {
            for node in &ring.replicas(shard)[..columns] {
                counts[node.at()] += 1;
            }
        }
        counts
    }

    /// The first broken invariant of the file's header, as text.
    fn check(ring: &Ring, replicas: u8) -> Result<(), String> {
        let nodes = ring.nodes().len();
        for shard in 0..ring.shards() {
            let mut row = ring.replicas(shard).to_vec();
            row.sort_unstable();
            row.dedup();
            if row.len() != nodes.min(usize::from(replicas)) {
                return Err(format!("shard {shard} has {} distinct replicas", row.len()));
            }
        }
        for (what, columns) in [("copies", ring.copies()), ("primaries", 1)] {
            let most = bound(usize::from(ring.shards()) * columns, nodes);
            if let Some(at) = counts(ring, columns).iter().position(|count| *count > most) {
                return Err(format!("node {at} has more than {most} {what}"));
            }
        }
        Ok(())
    }

    /// The largest difference from an even share, in thousandths of it.
    fn unevenness(counts: &[usize]) -> usize {
        let total: usize = counts.iter().sum();
        let off = counts.iter().map(|count| (count * counts.len()).abs_diff(total));
        off.max().unwrap_or(0) * 1_000 / total
    }

    /// The changes from one ring to another, in thousandths.
    #[derive(Debug)]
    struct Moves {
        /// Copies on nodes that did not have them before, as a part of all copies.
        copies: usize,
        /// The part of those on nodes that were members before.
        stray: usize,
        /// Shards whose primary changed from one old node to another, as a part of all shards.
        turned: usize,
    }

    fn moves(before: &Ring, after: &Ring) -> Moves {
        let mut moves = Moves {
            copies: 0,
            stray: 0,
            turned: 0,
        };
        for shard in 0..before.shards() {
            for (at, node) in after.replicas(shard).iter().enumerate() {
                let old = before.index(after.name(*node));
                let gained = old.is_none_or(|old| !before.holds(shard, old));
                moves.copies += usize::from(gained);
                moves.stray += usize::from(gained && old.is_some());
                moves.turned += usize::from(at == 0 && old.is_some() && old != before.replicas(shard).first().copied());
            }
        }
        let shards = usize::from(before.shards());
        moves.copies = moves.copies * 1_000 / (shards * after.copies());
        moves.stray = moves.stray * 1_000 / (shards * after.copies());
        moves.turned = moves.turned * 1_000 / shards;
        moves
    }

    #[test]
    fn five_nodes_are_even_and_a_sixth_takes_only_its_share() {
        let (five, six) = (ring_of(&salps(5), SHARDS, 3), ring_of(&salps(6), SHARDS, 3));
        assert!(unevenness(&counts(&five, 1)) <= 25, "{:?}", counts(&five, 1));
        assert!(unevenness(&counts(&five, 3)) <= 50, "{:?}", counts(&five, 3));
        let joined = moves(&five, &six);
        assert!(
            joined.copies <= 167 + 5 && joined.stray <= 5 && joined.turned <= 20,
            "{joined:?}"
        );
        assert_eq!(ring_of(&salps(5), SHARDS, 3), five, "removing it restores the table");
        let left = moves(&six, &five);
        assert!(left.copies <= 167 + 5, "{left:?}");
    }

    #[test]
    fn nine_nodes_are_even_and_a_tenth_takes_only_its_share() {
        let (nine, ten) = (ring_of(&salps(9), SHARDS, 3), ring_of(&salps(10), SHARDS, 3));
        assert!(unevenness(&counts(&nine, 1)) <= 30, "{:?}", counts(&nine, 1));
        assert!(unevenness(&counts(&nine, 3)) <= 70, "{:?}", counts(&nine, 3));
        let joined = moves(&nine, &ten);
        assert!(
            joined.copies <= 105 && joined.stray <= 5 && joined.turned <= 20,
            "{joined:?}"
        );
    }

    #[test]
    fn a_few_keys_are_spread_evenly() {
        let five = ring_of(&salps(5), SHARDS, 3);
        let mut primary = [0; 5];
        let mut held = [0; 5];
        for key in (1..=5_000).map(|n| format!("k_{n}")) {
            let replicas = five.replicas(shard(slot(key.as_bytes()), SHARDS));
            primary[replicas[0].at()] += 1;
            for node in replicas {
                held[node.at()] += 1;
            }
        }
        assert!(unevenness(&primary) <= 100, "{primary:?}");
        assert!(unevenness(&held) <= 100, "{held:?}");
    }

    /// Nodes of different versions must place shards alike, so these rows must never change.
    #[test]
    fn the_table_never_changes() {
        let five = ring_of(&salps(5), SHARDS, 3);
        let bytes: Vec<u8> = five.table.iter().flat_map(|node| node.0.to_le_bytes()).collect();
        assert_eq!(xxh3_64(&bytes), 3_216_344_621_808_209_416);
    }

    #[test]
    fn too_few_nodes_hold_everything() {
        assert_eq!(Ring::new(&[], 4, 3).replicas(3), []);
        assert_eq!(Ring::new(&["a@h"], 4, 3).replicas(0), [NodeIndex(0)]);
        let two = Ring::new(&["a@h", "b@h"], SHARDS, 3);
        assert_eq!(counts(&two, 2), [1_024, 1_024]);
        assert!(unevenness(&counts(&two, 1)) <= 25);
    }

    #[test]
    fn names_and_indices_are_two_views_of_the_members() {
        let ring = Ring::new(&["b@h", "a@h"], 1, 1);
        assert_eq!(ring.nodes().collect::<Vec<_>>(), ["a@h", "b@h"]);
        assert_eq!(ring.index("b@h").map(|node| ring.name(node)), Some("b@h"));
        assert_eq!(ring.index("c@h"), None);
    }

    /// A placement with weights per node: here the weight is the number of hashes that a node draws.
    #[test]
    fn another_placement_can_be_used() {
        let draws = [("a@h", 1), ("b@h", 2), ("c@h", 1)];
        let weighted = |nodes: &[&str], shards: u16, copies: usize| {
            let mut table = Vec::new();
            for shard in 0..shards {
                let best = |at: usize| {
                    (0..draws[at].1)
                        .map(|draw| weight(nodes[at], shard + draw * shards))
                        .max()
                };
                let mut ranked: Vec<usize> = (0..nodes.len()).collect();
                ranked.sort_by_key(|at| core::cmp::Reverse(best(*at)));
                table.extend(ranked[..copies].iter().map(|at| node_index(*at)));
            }
            table
        };
        let ring = Ring::placed_by(weighted, &draws.map(|(name, _)| name), 4_096, 1);
        let counts = counts(&ring, 1);
        assert!(
            counts[1].abs_diff(2_048) < 100 && counts[0].abs_diff(1_024) < 100,
            "{counts:?}"
        );
    }

    #[test]
    fn the_check_catches_planted_faults() {
        let planted = |place: fn(&[&str], u16, usize) -> Vec<NodeIndex>| {
            check(&Ring::placed_by(place, &["a@h", "b@h", "c@h", "d@h"], 64, 2), 2)
        };
        assert_eq!(planted(bounded), Ok(()));
        let one_node_twice = planted(|_, shards, copies| vec![NodeIndex(0); usize::from(shards) * copies]);
        assert_eq!(one_node_twice, Err("shard 0 has 1 distinct replicas".into()));
        let two_idle = planted(|_, shards, _| [NodeIndex(0), NodeIndex(1)].repeat(usize::from(shards)));
        assert_eq!(two_idle, Err("node 0 has more than 33 copies".into()));
        let two_lead = planted(|_, shards, _| {
            [[0, 2], [1, 3]]
                .as_flattened()
                .repeat(usize::from(shards) / 2)
                .into_iter()
                .map(NodeIndex)
                .collect()
        });
        assert_eq!(two_lead, Err("node 0 has more than 17 primaries".into()));
    }

    fn members() -> impl Strategy<Value = Vec<String>> {
        btree_set("[a-z]{1,8}@[a-z0-9.]{1,12}", 1..40).prop_map(|names| names.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_invariants_hold(names in members(), bits in 0..=11, replicas in 1..=7_u8) {
            let ring = ring_of(&names, 1_u16 << bits, replicas);
            prop_assert_eq!(check(&ring, replicas), Ok(()));
        }

        #[test]
        fn order_and_repetition_change_nothing(names in members().prop_shuffle()) {
            let repeated = [&names[..], &names[..1]].concat();
            let mut sorted = names;
            sorted.sort();
            prop_assert_eq!(ring_of(&repeated, 64, 3), ring_of(&sorted, 64, 3));
        }

        #[test]
        fn a_join_moves_little_beyond_the_new_nodes_share(names in members(), replicas in 1..=4_u8) {
            prop_assume!(names.len() > usize::from(replicas));
            let before = ring_of(&names[1..], SHARDS, replicas);
            let joined = moves(&before, &ring_of(&names, SHARDS, replicas));
            prop_assert!(joined.stray <= 50 && joined.turned <= 100, "{:?}", joined);
        }

        #[test]
        fn a_leave_moves_little_beyond_the_copies_of_the_node(names in members(), replicas in 1..=4_u8) {
            prop_assume!(names.len() > usize::from(replicas));
            let before = ring_of(&names, SHARDS, replicas);
            let held = counts(&before, before.copies())[0] * 1_000;
            let held = held / (usize::from(SHARDS) * before.copies());
            let left = moves(&before, &ring_of(&names[1..], SHARDS, replicas));
            prop_assert!(left.copies <= held + 50, "{:?}, of them {} held", left, held);
        }
    }
}
