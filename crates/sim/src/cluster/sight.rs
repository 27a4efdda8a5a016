//! What the simulator knows of who is together, taken from the world when something has changed, and what follows for
//! the requests.

use store::{cluster::Cluster, message::Copy};

use super::{Fault, Table, World};
use crate::{
    check::Quiet,
    rules::{Reader, Sight, Spot},
    together::{Tie, Together},
};

/// By which rules a request that was made at `spot` is judged now.
pub fn of<'a>(together: &'a Together, quiet: &Quiet, table: Table, spot: Spot) -> Sight<'a> {
    match table {
        Table::First => Sight::Quiet(quiet.since(spot.asked_us)),
        Table::Second => Sight::Known(Reader {
            spot,
            whole: together.is_whole_since(spot.asked_us),
            together,
        }),
    }
}

impl World {
    /// Where a request is made now.
    pub(super) fn spot(&self, machine: usize, life: u64) -> Spot {
        Spot {
            machine,
            life,
            batch: 0,
            asked_us: self.now_us(),
            group: self.together.group(machine),
        }
    }

    /// Finds out who is together now.
    pub(super) fn regroup(&mut self) {
        self.regroups = false;
        if self.plan.table == Table::First {
            return;
        }
        let mut together = std::mem::take(&mut self.together);
        let lives: Vec<Option<u64>> = (0..self.machines.len()).map(|at| self.counted_life(at)).collect();
        let late = self
            .machines
            .iter()
            .any(|machine| machine.late_us > 0 || machine.late_until_us > self.now_us());
        let slow = late || self.network.is_slow() || !self.network.is_honest();
        together.update(self.now_us(), &lives, slow, |a, b| self.tie(a, b));
        self.together = together;
    }

    /// The life of a machine, unless it counts no more: a node that has handed over all it had and has said good-bye,
    /// and what is none of the cluster.
    fn counted_life(&self, at: usize) -> Option<u64> {
        let machine = &self.machines[at];
        let life = machine.life.as_ref().filter(|_| !machine.outsider)?;
        let store = life.store.borrow();
        let is_gone = life.leaving && store.cluster().is_alone() && !store.cluster().is_serving();
        (!is_gone).then_some(life.number)
    }

    /// What is between two nodes: they are linked if a connection carries both ways, and each has the other among its
    /// peers.
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

    /// A look at the whole. Every ready copy has what was acknowledged before `spread_us`: rule R1.
    pub(super) fn look_at_copies(&mut self, spread_us: Option<u64>) {
        if self.plan.table == Table::First {
            return;
        }
        let is_settled = |cluster: &Cluster| {
            let is_in_place = |shard| cluster.placed_here(shard) == (cluster.copy(shard) == Copy::Ready);
            (0..cluster.shards()).all(is_in_place)
        };
        let settled = self.stores().all(|(_, store)| is_settled(store.cluster()));
        if !settled {
            self.together.moves(self.agenda.now_us);
        }
        if let Some(spread_us) = spread_us {
            let (together, now_us) = (&self.together, self.agenda.now_us);
            let shadow = &mut self.workload.shadow;
            shadow.has_spread(spread_us, now_us, |since_us| together.is_still_since(since_us));
        }
    }

    /// Whether the faults that were drawn can make two nodes of one name.
    pub(super) fn has_twins(&self) -> bool {
        self.plan.has(Fault::Twin)
    }
}
