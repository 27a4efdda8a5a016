//! Which clusters there are, and the laws of founding one and of taking a node's place. `rules.rs` says why.
//!
//! - A node is *of* a cluster under the id that it says in its hellos. It is *bound* to that cluster once it serves, or
//!   knows that the cluster is formed.
//! - A cluster is *founded* when a node first serves under its id.
//! - Each cluster is a world of its own: its nodes are together, whole and steady among themselves ([`Together`]).
//! - The *main* cluster is the one that was founded first. If none of its nodes runs any more, it is the one of which
//!   most nodes run.

use std::collections::{BTreeMap, BTreeSet};

use node::{Atom, ClusterId, Memory};

use crate::{check::Verdict, together::Together};

/// How long a node that left in order looks for the others before it founds a cluster.
const SEEK_US: u64 = 2_000_000;
/// A connection that has stood for this long is no accident.
const KNOWN_US: u64 = 3_000_000;
/// Time in which a peer replaces a connection: the question to the connected node, and the handshake.
const REPLACED_US: u64 = 2_000_000;

/// What a node says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The id of its cluster, agreed or drawn; none before it has started.
    pub cluster: Option<ClusterId>,
    /// A cluster was formed under this id.
    pub is_formed: bool,
    /// It has a ready copy of something.
    pub serves: bool,
}

impl Standing {
    /// Whether it can be of no other cluster.
    pub fn is_bound(&self) -> bool {
        self.is_formed || self.serves
    }

    /// Whether it is of another cluster for certain.
    pub fn is_apart_from(&self, cluster: Option<ClusterId>) -> bool {
        self.cluster != cluster && self.is_bound()
    }
}

/// What a life of a node knew when it started.
#[derive(Clone, Debug, Default)]
pub struct Birth {
    /// The machines of the nodes that the operator named.
    pub told: Vec<usize>,
    /// Its state file.
    pub memory: Memory,
    /// When.
    pub started_us: u64,
    /// An outsider's life: values that it acknowledged.
    pub holds: bool,
}

/// A connection of a node to a peer.
#[derive(Clone, Copy, Debug)]
struct Acquaintance {
    creation: u32,
    up_us: u64,
    /// When it was lost; none while it stands.
    down_us: Option<u64>,
}

/// All clusters.
#[derive(Debug, Default)]
pub struct Clusters {
    /// Who is together, by cluster.
    together: BTreeMap<ClusterId, Together>,
    /// Of a node that is of no cluster.
    nobody: Together,
    founded: BTreeSet<ClusterId>,
    main: Option<ClusterId>,
    /// That is the one which an operator chose to keep.
    kept: Option<ClusterId>,
    /// The ids that each machine's nodes ever said.
    said: BTreeMap<usize, BTreeSet<ClusterId>>,
    /// By the life of a node and the name of its peer.
    met: BTreeMap<(u64, Atom), Acquaintance>,
    /// When the network or a node last was not as it should be.
    trouble_us: u64,
}

impl Clusters {
    // Who is together

    /// Who is together in a cluster.
    pub fn together(&self, cluster: Option<ClusterId>) -> &Together {
        cluster.and_then(|id| self.together.get(&id)).unwrap_or(&self.nobody)
    }

    /// Whether a node of a cluster runs.
    pub fn runs(&self, cluster: ClusterId) -> bool {
        self.together.contains_key(&cluster)
    }

    /// Who is together, for all clusters of which a node runs.
    pub fn each(&mut self) -> impl Iterator<Item = (ClusterId, &mut Together)> {
        self.together.iter_mut().map(|(id, together)| (*id, together))
    }

    /// Some nodes are connected and not together yet.
    pub fn is_merging(&self) -> bool {
        self.together.values().any(Together::is_merging)
    }

    /// Takes in of which clusters the running nodes are. True if another cluster is the main one now.
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
            // It may be an old one, of which no node ran for a while.
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

    /// The cluster that an operator keeps: the one of which most nodes serve, or else are. It is the main one from then
    /// on, as long as any node is of it.
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

    /// How many were founded.
    pub fn founded(&self) -> u64 {
        self.founded.len() as u64
    }

    // The laws

    /// The node on a machine says another thing of itself than before. Two laws:
    ///
    /// - A node that remembers a cluster is of no other one.
    /// - A node founds a cluster only together with all nodes that it was told of: each of them was of that cluster. If
    ///   it remembers names without a cluster, it has looked for them before.
    pub fn stands(&mut self, machine: usize, standing: Standing, birth: &Birth, now_us: u64) -> Verdict {
        let Some(id) = standing.cluster else { return Ok(()) };
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

    /// The network or a node is not as it should be.
    pub fn troubled(&mut self, now_us: u64) {
        self.trouble_us = now_us;
    }

    /// A node lost its connection to a peer.
    pub fn parted(&mut self, life: u64, peer: &Atom, now_us: u64) {
        if let Some(acquaintance) = self.met.get_mut(&(life, peer.clone())) {
            acquaintance.down_us.get_or_insert(now_us);
        }
    }

    /// A node is connected to a peer. The law: it gives the place of a node that `lives` on, and that it was connected
    /// to just now and for long, to no other of that name. It is asked in a world without trouble only: in another the
    /// connected node may not have been able to answer.
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
    fn a_node_founds_a_cluster_with_all_that_it_was_told_of() {
        let mut clusters = Clusters::default();
        let founds = |clusters: &mut Clusters, machine, id, others: &[usize]| {
            clusters.stands(machine, standing(id, true), &told(others), 0)
        };
        assert!(founds(&mut clusters, 0, ONE, &[1]).is_err(), "1 has said nothing");
        assert!(clusters.stands(1, standing(ONE, false), &told(&[0]), 0).is_ok());
        assert!(founds(&mut clusters, 0, ONE, &[1]).is_ok());
        assert!(founds(&mut clusters, 2, ONE, &[5]).is_ok(), "it is founded");
        assert!(
            founds(&mut clusters, 0, TWO, &[]).is_ok(),
            "a restart that was told of nobody"
        );
        assert!(founds(&mut clusters, 3, ClusterId(3), &[0]).is_err());
    }

    #[test]
    fn a_node_that_remembers_a_cluster_is_of_no_other_one() {
        let mut clusters = Clusters::default();
        let mut birth = Birth::default();
        birth.memory.cluster = Some(ONE);
        assert!(clusters.stands(0, standing(TWO, true), &birth, 0).is_err());
        assert!(clusters.stands(0, standing(ONE, true), &birth, 0).is_ok());
        birth.memory.cluster = None;
        birth.memory.members.push(node::Known {
            name: Atom::new("b@h"),
            creation: 1,
            dist_port: None,
        });
        assert!(clusters.stands(0, standing(TWO, true), &birth, SEEK_US - 1).is_err());
        assert!(clusters.stands(0, standing(TWO, true), &birth, SEEK_US).is_ok());
    }

    #[test]
    fn the_place_of_a_node_that_lives_is_given_to_nobody() {
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
        assert!(meets(&mut begun(), 1, long_us, true).is_ok(), "the same life");
        assert!(meets(&mut begun(), 2, long_us, false).is_ok(), "it is dead");
        assert!(meets(&mut begun(), 2, KNOWN_US + 1, true).is_ok(), "it had just come");
        let mut clusters = begun();
        clusters.troubled(long_us - 1);
        assert!(
            meets(&mut clusters, 2, long_us, true).is_ok(),
            "it may have been out of reach"
        );
        let mut clusters = begun();
        clusters.parted(7, &name, long_us);
        assert!(meets(&mut clusters, 2, long_us + REPLACED_US, true).is_err());
        let mut clusters = begun();
        clusters.parted(7, &name, long_us);
        assert!(
            meets(&mut clusters, 2, long_us + REPLACED_US + 1, true).is_ok(),
            "it was lost before"
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
        assert!(!clusters.stand([standing(ONE, false)].into_iter(), 0), "nobody serves");
        assert!(clusters.stand([standing(ONE, false), standing(TWO, true)].into_iter(), 0));
        assert_eq!(clusters.main(), Some(TWO));
    }
}
