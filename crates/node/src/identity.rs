//! The cluster of a node, as it is sent in every hello, and what happens when two nodes meet.
//!
//! - A node without a cluster draws an id when it starts. Nodes that meet before a cluster is formed agree on the
//!   smallest id. Once a cluster was formed under an id, that id never changes.
//! - Nodes of two different formed ids are never members of one cluster.
//! - A node holds shards *provisionally* if it formed them before it had met all members (`--form-after`), or if it
//!   formed them alone and nothing was written since. It throws them away when it meets a node that knows the cluster,
//!   or a node of a provisional cluster that another node began. Until then, no node of that cluster counts it as a
//!   member.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;
use wire::etf::Atom;

/// The id of a cluster, a random number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

/// A node with its creation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The name.
    pub name: Atom,
    /// The creation.
    pub creation: u32,
}

/// What a node knows about the data of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The node has no data, and has met no node that has.
    Nothing,
    /// The data is thrown away when another cluster is met. This node began it.
    Provisional(Life),
    /// The cluster was formed by all its members, or by an operator's command, and it is not an empty cluster of one
    /// node.
    Settled {
        /// The node that began the data, if it was provisional before.
        was: Option<Life>,
    },
}

/// The cluster of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub id: ClusterId,
    /// Whether a cluster was formed under this id, now or in an earlier life of its nodes.
    pub is_formed: bool,
    /// What is known about the data of the cluster.
    pub claim: Claim,
}

/// The result of meeting a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meeting {
    /// Whether this node's identity has changed, so that its peers must be notified.
    pub(crate) changed: bool,
    /// Whether this node must throw away its data before it sends anything about it.
    pub(crate) resets: bool,
    pub(crate) peer: Kinship,
}

/// The relation of a peer to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// A member of the same cluster.
    Member,
    /// It will change its identity when it receives ours, and send another hello.
    Pending,
    /// A node of another cluster.
    Foreign,
}

impl Identity {
    /// The identity of a node without a cluster.
    pub(crate) fn drawn(id: ClusterId) -> Self {
        Self {
            id,
            is_formed: false,
            claim: Claim::Nothing,
        }
    }

    /// The identity of a node that remembers a cluster and has no data.
    pub(crate) fn remembered(id: ClusterId) -> Self {
        Self {
            is_formed: true,
            ..Self::drawn(id)
        }
    }

    /// Processes the identity of a peer.
    pub(crate) fn meet(&mut self, theirs: &Self) -> Meeting {
        let mut meeting = Meeting {
            changed: false,
            resets: false,
            peer: Kinship::Member,
        };
        if self.id != theirs.id {
            let gives_way = match (self.is_formed, theirs.is_formed) {
                (true, true) => {
                    meeting.peer = Kinship::Foreign;
                    return meeting;
                }
                (mine, its) if mine != its => its,
                _ => theirs.id < self.id,
            };
            if !gives_way {
                meeting.peer = Kinship::Pending;
                return meeting;
            }
            self.id = theirs.id;
            meeting.changed = true;
            // The peer remembers a cluster to which this node's data does not belong. Shards of that cluster must not
            // be filled from here.
            if theirs.is_formed && matches!(self.claim, Claim::Provisional(_)) {
                self.claim = Claim::Nothing;
                meeting.resets = true;
            }
        }
        if theirs.is_formed && !self.is_formed {
            self.is_formed = true;
            meeting.changed = true;
        }
        self.compare_claims(&theirs.claim, &mut meeting);
        meeting
    }

    fn compare_claims(&mut self, theirs: &Claim, meeting: &mut Meeting) {
        let claim = match (&self.claim, theirs) {
            (_, Claim::Nothing) | (Claim::Settled { .. }, Claim::Settled { .. }) => return,
            (Claim::Provisional(mine), Claim::Provisional(its)) if mine == its => return,
            (Claim::Provisional(mine), Claim::Provisional(its)) if mine < its => {
                meeting.peer = Kinship::Pending;
                return;
            }
            (Claim::Settled { .. }, Claim::Provisional(_)) => {
                meeting.peer = Kinship::Pending;
                return;
            }
            (Claim::Nothing, claim) => claim.clone(),
            (Claim::Provisional(mine), claim @ Claim::Settled { was }) => {
                meeting.resets = was.as_ref() != Some(mine);
                claim.clone()
            }
            (Claim::Provisional(_), claim @ Claim::Provisional(_)) => {
                meeting.resets = true;
                claim.clone()
            }
        };
        self.claim = claim;
        meeting.changed = true;
    }

    /// Notes that the shards are formed. `provisional`: the node that formed them, if they may still be thrown away.
    pub(crate) fn form(&mut self, provisional: Option<Life>) {
        match (&self.claim, provisional) {
            (Claim::Nothing, Some(life)) => self.claim = Claim::Provisional(life),
            (Claim::Provisional(was), None) => {
                self.claim = Claim::Settled { was: Some(was.clone()) };
                self.is_formed = true;
            }
            (Claim::Nothing, None) => {
                self.claim = Claim::Settled { was: None };
                self.is_formed = true;
            }
            (Claim::Provisional(_) | Claim::Settled { .. }, _) => {}
        }
    }
}

/// The cluster of this node, and the connected nodes that belong to no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affiliation {
    /// The identity that every hello contains.
    pub identity: Identity,
    /// How often this node has thrown away its data. Each time, all connections are closed.
    pub resets: u32,
    /// Connected nodes that have sent no hello: BEAMs. They have no data.
    pub guests: Arc<[Atom]>,
    /// Whether this node has just started, and is looking for the nodes that it left in order in its last life.
    pub seeks: bool,
}

/// What a node writes to disk, and gets back when it starts again. It contains no data of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The cluster of the node; none if it left in order, or if no cluster was formed yet.
    pub cluster: Option<ClusterId>,
    /// The other members that are not gone, by name. Without a cluster they are only names to look for.
    pub members: Vec<Known>,
    /// The creation of the node.
    pub creation: u32,
}

/// A member in a [`Memory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Atom,
    /// Its latest known creation.
    pub creation: u32,
    /// The port on which it listened, as it reported.
    pub dist_port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(name: &str) -> Life {
        Life {
            name: Atom::new(name),
            creation: 4,
        }
    }

    fn identity(id: u128, is_formed: bool, claim: Claim) -> Identity {
        Identity {
            id: ClusterId(id),
            is_formed,
            claim,
        }
    }

    fn provisional(name: &str) -> Claim {
        Claim::Provisional(life(name))
    }

    const SETTLED: Claim = Claim::Settled { was: None };

    /// Checks the result when `one` meets `other`: the new identity of `one`, whether it throws away its data, and the
    /// relation of `other`.
    #[track_caller]
    fn check(one: &Identity, other: &Identity, wanted: &Identity, resets: bool, kinship: Kinship) {
        let mut met = one.clone();
        let meeting = met.meet(other);
        let changed = met != *one;
        let peer = kinship;
        assert_eq!(met, *wanted);
        assert_eq!(meeting, Meeting { changed, resets, peer });
    }

    #[test]
    fn drawn_ids_yield_to_formed_and_to_smaller_ids() {
        let drawn = |id| identity(id, false, Claim::Nothing);
        let formed = |id| identity(id, true, Claim::Nothing);
        check(&drawn(2), &drawn(1), &drawn(1), false, Kinship::Member);
        check(&drawn(1), &drawn(2), &drawn(1), false, Kinship::Pending);
        check(&drawn(1), &formed(2), &formed(2), false, Kinship::Member);
        check(&formed(2), &drawn(1), &formed(2), false, Kinship::Pending);
        check(&drawn(1), &formed(1), &formed(1), false, Kinship::Member);
        check(&formed(1), &formed(2), &formed(1), false, Kinship::Foreign);
        let settled = identity(3, true, SETTLED);
        check(&drawn(1), &settled, &settled, false, Kinship::Member);
    }

    #[test]
    fn provisional_data_yields_to_the_cluster_and_to_the_smaller_name() {
        let of = |claim| identity(1, true, claim);
        check(&of(provisional("a")), &of(SETTLED), &of(SETTLED), true, Kinship::Member);
        check(
            &of(SETTLED),
            &of(provisional("a")),
            &of(SETTLED),
            false,
            Kinship::Pending,
        );
        let (a, b) = (of(provisional("a")), of(provisional("b")));
        check(&b, &a, &a, true, Kinship::Member);
        check(&a, &b, &a, false, Kinship::Pending);
        check(&a, &a, &a, false, Kinship::Member);
        check(&of(Claim::Nothing), &a, &a, false, Kinship::Member);
        check(&a, &of(Claim::Nothing), &a, false, Kinship::Member);
        let mut settles = a.clone();
        settles.form(None);
        assert_eq!(settles.claim, Claim::Settled { was: Some(life("a")) });
        check(&a, &settles, &settles, false, Kinship::Member);
        check(&b, &settles, &settles, true, Kinship::Member);
    }

    #[test]
    fn a_node_without_memory_throws_its_data_away_for_any_cluster() {
        let drawn = identity(1, false, provisional("a"));
        let settled = identity(2, true, SETTLED);
        check(&drawn, &settled, &settled, true, Kinship::Member);
        check(&settled, &drawn, &settled, false, Kinship::Pending);
        // The peer has only just started, but remembers its cluster.
        let remembers = identity(2, true, Claim::Nothing);
        check(&drawn, &remembers, &remembers, true, Kinship::Member);
        check(&remembers, &drawn, &remembers, false, Kinship::Pending);
        // A cluster other than the remembered one is foreign, whatever data either has.
        let other = identity(3, true, provisional("a"));
        check(&other, &settled, &other, false, Kinship::Foreign);
    }

    /// Nodes agree in the end, whatever their claims are and in whatever order they meet. The exception is nodes whose
    /// ids were formed separately.
    #[test]
    fn nodes_that_meet_repeatedly_agree() {
        let claims = [Claim::Nothing, provisional("a"), provisional("b"), SETTLED];
        let mut random = crate::random::Random::new(1);
        let mut below = |bound: usize| (random.next() % bound as u64) as usize;
        for _ in 0..2_000 {
            let mut nodes: Vec<Identity> = (0..4)
                .map(|_| {
                    let claim = claims[below(claims.len())].clone();
                    let is_formed = matches!(claim, Claim::Settled { .. }) || below(2) == 0;
                    let id = if is_formed { 9 } else { below(9) as u128 };
                    identity(id, is_formed, claim)
                })
                .collect();
            let mut kinship = [Kinship::Pending; 16];
            for _ in 0..200 {
                let (one, other) = (below(4), below(4));
                let theirs = nodes[other].clone();
                kinship[one * 4 + other] = nodes[one].meet(&theirs).peer;
            }
            assert!(nodes.iter().all(|node| *node == nodes[0]), "{nodes:?}");
            assert!(kinship.iter().all(|kinship| *kinship == Kinship::Member));
        }
    }

    #[test]
    fn an_id_reads_back() {
        let id = ClusterId(0x0123_4567_89ab_cdef);
        assert_eq!(ClusterId::parse(&alloc::format!("{id}")), Some(id));
        for wrong in [
            "",
            "0",
            "+0000000000000000123456789abcdef",
            "0000000000000000012345678_abcdef",
        ] {
            assert_eq!(ClusterId::parse(wrong), None, "{wrong}");
        }
    }
}
