//! What the simulator knows about which nodes are together: read from the world whenever something has changed, and
//! used to judge requests.

use node::ClusterId;
use store::{cluster::Cluster, message::Copy};

use super::{Table, World};
use crate::{
    check::Quiet,
    clusters::Clusters,
    rules::{Reader, Sight, Spot},
    together::Tie,
};

/// The rules by which the reply to a request made at `spot` is judged. Its node belongs to `cluster` now.
pub fn of<'a>(
    clusters: &'a Clusters,
    quiet: &Quiet,
    table: Table,
    spot: Spot,
    cluster: Option<ClusterId>,
) -> Sight<'a> {
    match table {
        Table::First => Sight::Quiet(quiet.since(spot.asked_us)),
        Table::Second | Table::Third => {
            let together = clusters.together(cluster);
            Sight::Known(Reader {
                spot,
                cluster,
                whole: together.is_whole_since(spot.asked_us),
                together,
            })
        }
    }
}

impl World {
    /// The spot of a request that is made now.
    pub(super) fn spot(&self, machine: usize, life: u64) -> Spot {
        Spot {
            machine,
            life,
            batch: 0,
            asked_us: self.now_us(),
            cluster: self.cluster_of(machine),
            group: self.clusters.together(self.cluster_of(machine)).group(machine),
        }
    }

    /// Finds out which nodes are together now.
    pub(super) fn regroup(&mut self) {
        self.regroups = false;
        if self.plan.table == Table::First {
            return;
        }
        let mut clusters = std::mem::take(&mut self.clusters);
        let slow = self.is_late() || self.network.is_slow() || !self.network.is_honest();
        for (id, together) in clusters.each() {
            let lives: Vec<Option<u64>> = (0..self.machines.len())
                .map(|at| self.counted_life(at, Some(id)))
                .collect();
            together.update(self.now_us(), &lives, slow, |a, b| self.tie(a, b));
        }
        self.clusters = clusters;
    }

    /// Whether a node handles its inputs late.
    fn is_late(&self) -> bool {
        let is_late = |machine: &super::Machine| machine.late_us > 0 || machine.late_until_us > self.now_us();
        self.machines.iter().any(is_late)
    }

    /// Whether the network and all nodes work normally.
    pub(super) fn is_calm(&self) -> bool {
        let is_paused = |machine: &super::Machine| machine.life.as_ref().is_some_and(|life| life.paused);
        self.network.is_open() && !self.network.is_slow() && !self.is_late() && !self.machines.iter().any(is_paused)
    }

    /// The cluster of the node on a machine. The first table does not distinguish clusters.
    pub fn cluster_of(&self, at: usize) -> Option<ClusterId> {
        let is_told_apart = self.plan.table != Table::First;
        self.standing(at).cluster.filter(|_| is_told_apart)
    }

    /// Whether the node on a machine counts in a cluster: it belongs to it, or may still join it. An outsider counts
    /// only once it belongs to it.
    pub fn counts_in(&self, at: usize, cluster: Option<ClusterId>) -> bool {
        let (machine, standing) = (&self.machines[at], self.standing(at));
        let is_outside = machine.outsider && !(standing.cluster == cluster && standing.is_bound());
        let is_apart = self.plan.table != Table::First && standing.is_apart_from(cluster);
        machine.life.is_some() && !is_outside && !is_apart
    }

    /// Whether the node counts in the main cluster.
    pub fn counts(&self, at: usize) -> bool {
        self.counts_in(at, self.clusters.main())
    }

    /// The life of a machine, if it counts in a cluster and has not handed over everything and said goodbye.
    fn counted_life(&self, at: usize, cluster: Option<ClusterId>) -> Option<u64> {
        let life = self.machines[at]
            .life
            .as_ref()
            .filter(|_| self.counts_in(at, cluster))?;
        let store = life.store.borrow();
        let is_gone = life.leaving && store.cluster().is_alone() && !store.cluster().is_serving();
        (!is_gone).then_some(life.number)
    }

    /// The tie between two nodes. They are linked if a connection works in both directions and each has the other among
    /// its peers.
    fn tie(&self, a: usize, b: usize) -> Tie {
        let life = |at: usize| self.machines[at].life.as_ref().filter(|life| !life.paused);
        let (Some(one), Some(other)) = (life(a), life(b)) else {
            return Tie::Blocked;
        };
        if self.network.is_blocked(a, b) || self.network.is_blocked(b, a) {
            return Tie::Blocked;
        }
        let sees = |one: &super::Life, other: &super::Life| {
            let (one, other) = (one.store.borrow(), other.store.borrow());
            let config = other.config();
            let peer = one
                .cluster()
                .slot(&config.name)
                .and_then(|slot| one.cluster().peer(slot));
            peer.is_some_and(|peer| peer.creation == config.creation)
        };
        let is_up = !self.network.wires_between(a, b).is_empty();
        if is_up && sees(one, other) && sees(other, one) {
            Tie::Linked
        } else {
            Tie::Open
        }
    }

    /// A look of the checker. Every ready copy has the writes that were acknowledged before `spread_us`: rule R1.
    pub(super) fn look_at_copies(&mut self, spread_us: Option<u64>) {
        if self.plan.table == Table::First {
            return;
        }
        let is_settled = |cluster: &Cluster| {
            let is_in_place = |shard| cluster.placed_here(shard) == (cluster.copy(shard) == Copy::Ready);
            (0..cluster.shards()).all(is_in_place)
        };
        let now_us = self.agenda.now_us;
        let mut clusters = std::mem::take(&mut self.clusters);
        for (id, together) in clusters.each() {
            let of_it = |at: &usize| self.counts_in(*at, Some(id));
            if !self
                .stores()
                .all(|(at, store)| !of_it(&at) || is_settled(store.cluster()))
            {
                together.moves(now_us);
            }
        }
        self.clusters = clusters;
        if let Some(spread_us) = spread_us {
            let main = self.clusters.main();
            if main.is_none_or(|main| !self.clusters.runs(main)) {
                return;
            }
            let together = self.clusters.together(main);
            let shadow = &mut self.workload.shadow;
            shadow.has_spread(main, spread_us, now_us, |since_us| together.is_still_since(since_us));
        }
    }
}
