//! Nodes that do not belong to this cluster: a second node with the name of an existing one, and a node of another
//! cluster.
//!
//! | outsider | it has | expected |
//! |---|---|---|
//! | twin | the name of the first node; in half of the runs also a copy of its state file | is refused and ends while the first node is connected; otherwise counts as a restart on another machine |
//! | stranger | a cluster of its own, with values that no client has written | is refused and goes on alone |
//! | | an empty cluster of its own | throws that away and joins |
//! | | the state file of another cluster | ends |

use node::{Address, Atom, ClusterId, Input, Known, Memory, Message};
use store::{
    ask::{Ask, Payload, Session},
    store::NAME,
};
use wire::request::Batch;

use super::{Event, Fault, World};

/// How long an outsider stays.
const OUTSIDER_US: u64 = 12_000_000;

/// The other node of the cluster in a stranger's state file. It never runs.
pub(super) const ELSEWHERE: &str = "elsewhere@sim";

/// What the stranger has when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luggage {
    Values,
    Nothing,
    StateFile,
}

impl World {
    /// Starts the twin or the stranger.
    pub(super) fn bring(&mut self, fault: Fault) -> bool {
        let first = self.machines[0].name.clone();
        let at = (0..self.machines.len()).find(|&at| {
            let machine = &self.machines[at];
            machine.outsider && (machine.name == first) == (fault == Fault::Twin)
        });
        let Some(at) = at.filter(|&at| !self.machines[at].wanted) else {
            return false;
        };
        self.agenda.after(OUTSIDER_US, Event::Expel(at));
        self.machines[at].file.remove();
        if fault == Fault::Twin {
            if self.random.chance(500) {
                let copy = self.machines[0].file.read().clone();
                self.machines[at].file.put(copy);
            }
            let mut others = self.names_to_join(at);
            others.retain(|name| *name != first);
            self.start_knowing(at, others);
            return true;
        }
        match self
            .random
            .pick(&[Luggage::Values, Luggage::Values, Luggage::Nothing, Luggage::StateFile])
        {
            Luggage::StateFile => {
                let id = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
                let creation = self.machines[at].creation;
                self.machines[at].file.put(Memory {
                    cluster: Some(ClusterId(id)),
                    members: vec![Known {
                        name: Atom::new(ELSEWHERE),
                        creation: 4,
                        dist_port: None,
                    }],
                    creation,
                });
                let others = self.names_to_join(at);
                self.start_knowing(at, others);
            }
            luggage => {
                self.start_knowing(at, Vec::new());
                if luggage == Luggage::Values {
                    self.fill_stranger(at);
                }
                self.introduce(at);
            }
        }
        true
    }

    /// Fills the stranger's cluster with the keys of the clients.
    fn fill_stranger(&mut self, at: usize) {
        let Some(life) = &mut self.machines[at].life else {
            return;
        };
        let (number, client) = (life.number, life.node.adopt());
        let mut batch = Batch::new();
        for key in 0..self.workload.shadow.len() {
            batch.push(&[b"SET", self.workload.shadow.name(key).as_bytes(), b"of another cluster"]);
        }
        let session = Session::new(u64::MAX, true);
        let ask = Box::new(Ask::new(client, session, batch));
        self.tell_store(at, number, Payload::Ask(ask));
    }

    /// An operator names a node of this cluster to the stranger, or the stranger to a node of this cluster.
    fn introduce(&mut self, at: usize) {
        let meet_us = self.random.between(100_000, 3_000_000);
        let running: Vec<usize> = self
            .running()
            .into_iter()
            .filter(|&other| !self.machines[other].outsider)
            .collect();
        if running.is_empty() {
            return;
        }
        let other = self.random.pick(&running);
        let (machine, named) = if self.random.chance(500) {
            (at, other)
        } else {
            (other, at)
        };
        let node = self.machines[named].name.clone();
        let Some(life) = self.machines[machine].life.as_ref().map(|life| life.number) else {
            return;
        };
        let message = Message::Payload(Payload::Add { node });
        let to = Address::Name(Atom::new(NAME));
        let input = Input::Message { to, message };
        self.agenda.after(meet_us, Event::Give { machine, life, input });
    }

    /// Removes an outsider. If it had become a member, data that it alone held is lost.
    pub(super) fn expel(&mut self, at: usize) {
        self.machines[at].wanted = false;
        if self.machines[at].life.is_some() {
            self.last_crash_us = self.now_us();
            let cluster = self.cluster_of(at);
            self.orphan(at);
            self.die(at, false);
            self.excuse(cluster);
        }
    }

    /// The machine with this name that a dial from another machine reaches. If two have the name, either one that runs.
    pub(super) fn machine_of(&mut self, from: usize, name: &Atom) -> Option<usize> {
        let named = |at: &usize| *at != from && self.machines[*at].name == *name;
        let mut found: Vec<usize> = (0..self.machines.len()).filter(named).collect();
        if self.plan.has(Fault::Twin) && found.len() > 1 {
            found.retain(|&at| self.machines[at].life.is_some() || at == 0);
            return Some(self.random.pick(&found));
        }
        found.pop()
    }
}
