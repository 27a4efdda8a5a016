//! Which cluster a node is of, as every hello tells it, and what two nodes that meet make of it.
//!
//! - A node without a cluster draws an id when it starts. Nodes that meet before a cluster is formed agree on the
//!   smallest id drawn. An id under which a cluster was formed is never changed.
//! - Nodes of two formed ids are never members of one cluster.
//! - A node that formed shards before it had met all members (`--form-after`), or alone and nothing was written since,
//!   holds them *provisionally*: it throws them away when it meets a node that knows the cluster, or one of a
//!   provisional cluster that another node began. Until then no node of that cluster counts it as a member.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;
use wire::etf::Atom;

/// The random number of a cluster.
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

/// One life of a node: its name and its creation.
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
    /// It holds nothing, and has met nobody that holds anything.
    Nothing,
    /// What it holds is thrown away when another cluster is met. This life of a node began.
    Provisional(Life),
    /// The cluster was formed by all its members, or by the word of an operator, and is not empty and alone.
    Settled {
        /// It was provisional before, begun by this one.
        was: Option<Life>,
    },
}

/// Which cluster a node is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub id: ClusterId,
    /// A cluster was formed under this id, now or in an earlier life of its nodes.
    pub is_formed: bool,
    /// What is known about its data.
    pub claim: Claim,
}

/// What the meeting with a peer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meeting {
    /// This node's identity is another now: its peers are to be told.
    pub(crate) changed: bool,
    /// What this node holds is to be thrown away, before anybody is told anything of it.
    pub(crate) resets: bool,
    pub(crate) peer: Kinship,
}

/// What a peer is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinship {
    /// Of the same cluster.
    Member,
    /// It will change its identity when it hears of ours, and say hello again.
    Pending,
    /// Of another cluster.
    Foreign,
}

impl Identity {
    /// That of a node which knows of no cluster.
    pub(crate) fn drawn(id: ClusterId) -> Self {
        Self {
            id,
            is_formed: false,
            claim: Claim::Nothing,
        }
    }

    /// That of a node which remembers a cluster and holds nothing.
    pub(crate) fn remembered(id: ClusterId) -> Self {
        Self {
            is_formed: true,
            ..Self::drawn(id)
        }
    }

    /// Takes in what a peer says of itself.
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
            // The peer remembers a cluster, and what this node holds is not of it: shards of that cluster may not be
            // filled from here.
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

    /// The shards are formed; `provisional`: by this life, and they may still be thrown away.
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

/// Which cluster this node is of, and who is connected without being of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affiliation {
    /// As every hello tells it.
    pub identity: Identity,
    /// How often this node was told to throw away what it holds. When it rises, all connections are cut.
    pub resets: u32,
    /// Nodes that are connected and have said no hello: BEAMs. They hold nothing.
    pub guests: Arc<[Atom]>,
    /// This node has just started, and looks for those that it left in order in its last life.
    pub seeks: bool,
}

/// What a node writes to disk and is given back when it starts again. It has no data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The cluster it is of; none: it has left in order, or no cluster was formed yet.
    pub cluster: Option<ClusterId>,
    /// The other members that are not gone, by name. Without a cluster they are no more than names to look for.
    pub members: Vec<Known>,
    /// Which life of the node this was.
    pub creation: u32,
}

/// A member in a [`Memory`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Atom,
    /// Its latest known life.
    pub creation: u32,
    /// The port it listened on, as it told.
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

    /// What `one` makes of `other`: its new identity, whether it throws away what it holds, what the other is to it.
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
    fn ids_that_were_drawn_give_way_to_formed_ones_and_to_smaller_ones() {
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
    fn what_is_provisional_yields_to_the_cluster_and_to_the_smaller_name() {
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
    fn one_that_remembers_nothing_throws_away_for_any_cluster() {
        let drawn = identity(1, false, provisional("a"));
        let settled = identity(2, true, SETTLED);
        check(&drawn, &settled, &settled, true, Kinship::Member);
        check(&settled, &drawn, &settled, false, Kinship::Pending);
        // The peer has only just started, and remembers its cluster.
        let remembers = identity(2, true, Claim::Nothing);
        check(&drawn, &remembers, &remembers, true, Kinship::Member);
        check(&remembers, &drawn, &remembers, false, Kinship::Pending);
        // Another cluster than the one remembered is foreign, whatever either holds.
        let other = identity(3, true, provisional("a"));
        check(&other, &settled, &other, false, Kinship::Foreign);
    }

    /// Whatever they begin as and in whatever order they meet: those whose ids were not formed apart end as one.
    #[test]
    fn all_who_meet_again_and_again_agree() {
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
