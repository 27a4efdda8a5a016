//! Which clusters exist, and the laws of founding a cluster and of taking a node's place. `rules.rs` gives the reasons.
//!
//! - A node *belongs to* the cluster whose id is in its hellos. It is *bound* to that cluster once it serves, or knows
//!   that the cluster is formed.
//! - A cluster is *founded* when a node first serves under its id.
//! - The nodes of each cluster are judged on their own: whether they are together, whole and steady ([`Together`]).
//! - The *main* cluster is the one that was founded first. If none of its nodes runs any more, it is the one of which
//!   most nodes run.

use std::collections::{BTreeMap, BTreeSet};

use node::{Atom, ClusterId, Memory};

use crate::{check::Verdict, together::Together};

/// How long a node that left in order looks for the others before it founds a cluster.
const SEEK_US: u64 = 2_000_000;
/// A peer that was connected for this long counts as known.
const KNOWN_US: u64 = 3_000_000;
/// Time in which a peer replaces a connection: the question to the connected node, and the handshake.
const REPLACED_US: u64 = 2_000_000;

/// What a node reports about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The id of its cluster, agreed or drawn; none before the node has started.
    pub cluster: Option<ClusterId>,
    /// Whether a cluster was formed under this id.
    pub is_formed: bool,
    /// Whether the node has a ready copy of any shard.
    pub serves: bool,
}

impl Standing {
    /// Whether it cannot change to another cluster.
    pub fn is_bound(&self) -> bool {
        self.is_formed || self.serves
    }

    /// Whether it certainly belongs to another cluster.
    pub fn is_apart_from(&self, cluster: Option<ClusterId>) -> bool {
        self.cluster != cluster && self.is_bound()
    }
}

/// What a life of a node knew when it started.
#[derive(Clone, Debug, Default)]
pub struct Birth {
    /// The machines of the nodes that the operator named.
    pub told: Vec<usize>,
    /// The content of its state file.
    pub memory: Memory,
    /// The time of its start.
    pub started_us: u64,
    /// For an outsider: whether it has values that it acknowledged.
    pub holds: bool,
}

/// A connection of a node to a peer.
#[derive(Clone, Copy, Debug)]
struct Acquaintance {
    creation: u32,
    up_us: u64,
    /// When the connection was lost; none while it is up.
    down_us: Option<u64>,
}

/// All clusters.
#[derive(Debug, Default)]
pub struct Clusters {
    /// Which nodes are together, for each cluster.
    together: BTreeMap<ClusterId, Together>,
    /// For a node without a cluster.
    nobody: Together,
    founded: BTreeSet<ClusterId>,
    main: Option<ClusterId>,
    /// The cluster that an operator chose to keep.
    kept: Option<ClusterId>,
    /// The ids that the nodes of each machine ever reported.
    said: BTreeMap<usize, BTreeSet<ClusterId>>,
    /// Key: the life of a node and the name of its peer.
    met: BTreeMap<(u64, Atom), Acquaintance>,
    /// When the network or a node last had a fault.
    trouble_us: u64,
}

impl Clusters {
    // Which nodes are together

    /// Which nodes of a cluster are together.
    pub fn together(&self, cluster: Option<ClusterId>) -> &Together {
        cluster.and_then(|id| self.together.get(&id)).unwrap_or(&self.nobody)
    }

    /// Whether any node of a cluster runs.
    pub fn runs(&self, cluster: ClusterId) -> bool {
        self.together.contains_key(&cluster)
    }

    /// Which nodes are together, for every cluster with a running node.
    pub fn each(&mut self) -> impl Iterator<Item = (ClusterId, &mut Together)> {
        self.together.iter_mut().map(|(id, together)| (*id, together))
    }

    /// Whether some nodes are connected but not together yet.
    pub fn is_merging(&self) -> bool {
        self.together.values().any(Together::is_merging)
    }

    /// Notes which clusters the running nodes belong to. Returns true if the main cluster has changed.
    pub fn stand(&mut self, standings: impl Iterator<Item = Standing> + Clone, now_us: u64) -> bool {
        let bound = standings
            .filter(Standing::is_bound)
            .filter_map(|standing| standing.cluster);
        let mut nodes: BTreeMap<ClusterId, usize> = BTreeMap::new();
        for id in bound {
            *nodes.entry(id).or_default() += 1;
        }
        self.together.retain(|id, _| nodes.contains_key(id));
        for id in nodes.keys() {
            // The cluster may be an old one without a running node until now.
            self.together.entry(*id).or_insert_with(|| {
                let mut together = Together::default();
                together.moves(now_us);
                together
            });
        }
        let lives_on = self.main.is_some_and(|id| nodes.contains_key(&id));
        let largest = nodes.iter().max_by_key(|(_, count)| **count).map(|(id, _)| *id);
        if lives_on || largest.is_none() {
            return false;
        }
        self.main = largest;
        true
    }

    /// The cluster that an operator keeps: the one in which most nodes serve, and at a tie the one with most bound
    /// nodes. It is the main cluster from then on, while any node is bound to it.
    pub fn keep(&mut self, standings: &[Standing]) -> Option<ClusterId> {
        let is_of = |id| standings.iter().any(|one| one.is_bound() && one.cluster == Some(id));
        if !self.kept.is_some_and(is_of) {
            let mut nodes: BTreeMap<ClusterId, (usize, usize)> = BTreeMap::new();
            for standing in standings.iter().filter(|standing| standing.is_bound()) {
                if let Some(id) = standing.cluster {
                    let (serving, bound) = nodes.entry(id).or_default();
                    *serving += usize::from(standing.serves);
                    *bound += 1;
                }
            }
            self.kept = nodes.into_iter().max_by_key(|(_, counts)| *counts).map(|(id, _)| id);
            self.main = self.kept.or(self.main);
        }
        self.kept
    }

    /// The main cluster.
    pub fn main(&self) -> Option<ClusterId> {
        self.main
    }

    /// How many clusters were founded.
    pub fn founded(&self) -> u64 {
        self.founded.len() as u64
    }

    // The laws

    /// The standing of the node on a machine has changed. Two laws:
    ///
    /// - A node that remembers a cluster belongs to no other one.
    /// - A node founds a cluster only together with all nodes that it was given to join: each of them belonged to that
    ///   cluster. If the node remembers names without a cluster, it has looked for those nodes before. Two clusters
    ///   that are not formed become one under one of their ids. So a node that serves one of them goes on under another
    ///   id without founding it.
    ///
    /// `before`: what this life of the node reported before.
    pub fn stands(
        &mut self,
        machine: usize,
        (before, standing): (Standing, Standing),
        birth: &Birth,
        now_us: u64,
    ) -> Verdict {
        let Some(id) = standing.cluster else { return Ok(()) };
        let was_founded = before.cluster.is_some_and(|before| self.founded.contains(&before));
        if was_founded && before.serves && !before.is_formed && standing.serves {
            self.founded.insert(id);
        }
        self.said.entry(machine).or_default().insert(id);
        if !standing.is_bound() {
            return Ok(());
        }
        if let Some(other) = birth.memory.cluster.filter(|other| *other != id) {
            return Err(format!("it is of cluster {id}, and its state file says {other}"));
        }
        if !standing.serves || self.founded.contains(&id) {
            return Ok(());
        }
        let was_of_it = |other: &&usize| self.said.get(other).is_some_and(|ids| ids.contains(&id));
        if let Some(other) = birth.told.iter().find(|other| !was_of_it(other)) {
            return Err(format!(
                "it founds cluster {id} without machine {other}, of which it was told"
            ));
        }
        let seeks = birth.memory.cluster.is_none() && !birth.memory.members.is_empty();
        let is_alone = self.said.values().filter(|ids| ids.contains(&id)).count() == 1;
        if seeks && is_alone && now_us < birth.started_us + SEEK_US {
            return Err(format!(
                "it founds cluster {id} before it has looked for the nodes that it remembers"
            ));
        }
        self.founded.insert(id);
        Ok(())
    }

    /// Notes that the network or a node has a fault.
    pub fn troubled(&mut self, now_us: u64) {
        self.trouble_us = now_us;
    }

    /// A node lost its connection to a peer.
    pub fn parted(&mut self, life: u64, peer: &Atom, now_us: u64) {
        if let Some(acquaintance) = self.met.get_mut(&(life, peer.clone())) {
            acquaintance.down_us.get_or_insert(now_us);
        }
    }

    /// A node is connected to a peer. The law: if that node was connected to an earlier life of the peer for long and
    /// until just now, and that life still `lives`, the new one must not take its place. Checked only in a world
    /// without faults, since otherwise the connected node may have been unable to answer.
    pub fn met(&mut self, life: u64, peer: &Atom, creation: u32, now_us: u64, lives: impl Fn(u32) -> bool) -> Verdict {
        let meets = Acquaintance {
            creation,
            up_us: now_us,
            down_us: None,
        };
        let Some(before) = self.met.insert((life, peer.clone()), meets) else {
            return Ok(());
        };
        let lost_us = before.down_us.unwrap_or(now_us);
        let is_replaced = before.creation != creation && lost_us + REPLACED_US >= now_us;
        let was_known = lost_us >= before.up_us + KNOWN_US && lost_us >= self.trouble_us + KNOWN_US;
        if is_replaced && was_known && lives(before.creation) {
            let (name, old) = (peer.as_str(), before.creation);
            return Err(format!(
                "it takes life {creation} of {name} for life {old}, which lives"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClusterId = ClusterId(1);
    const TWO: ClusterId = ClusterId(2);

    fn standing(id: ClusterId, serves: bool) -> Standing {
        Standing {
            cluster: Some(id),
            is_formed: serves,
            serves,
        }
    }

    fn told(told: &[usize]) -> Birth {
        Birth {
            told: told.to_vec(),
            ..Birth::default()
        }
    }

    #[test]
    fn a_node_founds_a_cluster_with_all_nodes_that_it_was_given() {
        let mut clusters = Clusters::default();
        let founds = |clusters: &mut Clusters, machine, id, others: &[usize]| {
            clusters.stands(machine, (Standing::default(), standing(id, true)), &told(others), 0)
        };
        assert!(
            founds(&mut clusters, 0, ONE, &[1]).is_err(),
            "node 1 has not reported the cluster"
        );
        assert!(
            clusters
                .stands(1, (Standing::default(), standing(ONE, false)), &told(&[0]), 0)
                .is_ok()
        );
        assert!(founds(&mut clusters, 0, ONE, &[1]).is_ok());
        assert!(
            founds(&mut clusters, 2, ONE, &[5]).is_ok(),
            "the cluster is founded already"
        );
        assert!(
            founds(&mut clusters, 0, TWO, &[]).is_ok(),
            "a restart without names to join"
        );
        assert!(founds(&mut clusters, 3, ClusterId(3), &[0]).is_err());
    }

    #[test]
    fn a_cluster_that_is_not_formed_goes_on_under_another_id() {
        let mut clusters = Clusters::default();
        let unformed = |id| Standing {
            is_formed: false,
            ..standing(id, true)
        };
        let nothing = Standing::default();
        assert!(clusters.stands(5, (nothing, unformed(ONE)), &told(&[]), 0).is_ok());
        assert!(
            clusters.stands(0, (nothing, unformed(ONE)), &told(&[2]), 0).is_ok(),
            "it is founded"
        );
        assert!(
            clusters.stands(1, (nothing, unformed(TWO)), &told(&[2]), 0).is_err(),
            "it founds"
        );
        assert!(
            clusters
                .stands(0, (standing(ONE, true), unformed(TWO)), &told(&[2]), 0)
                .is_err()
        );
        assert!(
            clusters
                .stands(0, (unformed(ONE), unformed(TWO)), &told(&[2]), 0)
                .is_ok()
        );
    }

    #[test]
    fn a_node_that_remembers_a_cluster_belongs_to_no_other() {
        let mut clusters = Clusters::default();
        let mut birth = Birth::default();
        birth.memory.cluster = Some(ONE);
        assert!(
            clusters
                .stands(0, (Standing::default(), standing(TWO, true)), &birth, 0)
                .is_err()
        );
        assert!(
            clusters
                .stands(0, (Standing::default(), standing(ONE, true)), &birth, 0)
                .is_ok()
        );
        birth.memory.cluster = None;
        birth.memory.members.push(node::Known {
            name: Atom::new("b@h"),
            creation: 1,
            dist_port: None,
        });
        assert!(
            clusters
                .stands(0, (Standing::default(), standing(TWO, true)), &birth, SEEK_US - 1)
                .is_err()
        );
        assert!(
            clusters
                .stands(0, (Standing::default(), standing(TWO, true)), &birth, SEEK_US)
                .is_ok()
        );
    }

    #[test]
    fn the_place_of_a_living_node_is_not_given_away() {
        let name = Atom::new("a@h");
        let meets =
            |clusters: &mut Clusters, creation, now_us, lives| clusters.met(7, &name, creation, now_us, |_| lives);
        let begun = || {
            let mut clusters = Clusters::default();
            assert!(meets(&mut clusters, 1, KNOWN_US, true).is_ok());
            clusters
        };
        let long_us = 3 * KNOWN_US;
        assert!(meets(&mut begun(), 2, long_us, true).is_err());
        assert!(meets(&mut begun(), 1, long_us, true).is_ok(), "it is the same life");
        assert!(meets(&mut begun(), 2, long_us, false).is_ok(), "the old life is dead");
        assert!(
            meets(&mut begun(), 2, KNOWN_US + 1, true).is_ok(),
            "the old life was connected too briefly"
        );
        let mut clusters = begun();
        clusters.troubled(long_us - 1);
        assert!(
            meets(&mut clusters, 2, long_us, true).is_ok(),
            "a fault may have hidden the old life"
        );
        let mut clusters = begun();
        clusters.parted(7, &name, long_us);
        assert!(meets(&mut clusters, 2, long_us + REPLACED_US, true).is_err());
        let mut clusters = begun();
        clusters.parted(7, &name, long_us);
        assert!(
            meets(&mut clusters, 2, long_us + REPLACED_US + 1, true).is_ok(),
            "the old connection was lost long before"
        );
    }

    #[test]
    fn the_main_cluster_is_the_first_one_while_one_of_its_nodes_runs() {
        let mut clusters = Clusters::default();
        assert!(clusters.stand([standing(ONE, true)].into_iter(), 0));
        assert!(!clusters.stand(
            [standing(ONE, true), standing(TWO, true), standing(TWO, true)].into_iter(),
            0
        ));
        assert_eq!(clusters.main(), Some(ONE));
        assert!(!clusters.stand([standing(ONE, false)].into_iter(), 0), "no node serves");
        assert!(clusters.stand([standing(ONE, false), standing(TWO, true)].into_iter(), 0));
        assert_eq!(clusters.main(), Some(TWO));
    }
}
