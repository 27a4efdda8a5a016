//! The end of a run: faults stop, an operator tells the nodes what they cannot know, and the results are summed up.

use node::Atom;
use store::ask::Payload;

use super::{Tally, World, outsiders::ELSEWHERE};
use crate::plant::Plant;

impl World {
    /// Ends requests and faults, and starts every node that is to run.
    pub fn mend(&mut self) {
        self.ending = true;
        self.disturbed();
        self.trouble();
        self.say(|| "no more faults".into());
        self.network.mend(&mut self.agenda);
        for at in 0..self.machines.len() {
            self.machines[at].late_us = 0;
            if self.machines[at].outsider {
                self.expel(at);
            } else if let Some(life) = &self.machines[at].life {
                let number = life.number;
                self.resume(at, number);
            } else if self.machines[at].wanted {
                self.start(at);
            }
        }
        self.declare();
    }

    /// An operator tells the nodes which nodes have left: a node that was cut off at that time has not received the
    /// goodbye. The operator also names nodes that were given up but run ([`Event::AcceptLoss`]): if two nodes have
    /// given up each other, neither dials.
    pub(super) fn declare(&mut self) {
        let known = self.machines.iter().filter(|machine| machine.last_life > 0);
        let is_wanted = |name: &Atom| {
            self.machines
                .iter()
                .any(|machine| machine.wanted && machine.name == *name)
        };
        // The stranger's cluster may be the one that is kept. Its other node is lost for good.
        let words: Vec<(Atom, bool)> = known
            .map(|machine| (machine.name.clone(), is_wanted(&machine.name)))
            .chain([(Atom::new(ELSEWHERE), false)])
            .collect();
        let accepts = self.plant == Some(Plant::ReusedDot);
        for at in self.running() {
            let Some(number) = self.machines[at].life.as_ref().map(|life| life.number) else {
                continue;
            };
            for (node, is_wanted) in words.clone() {
                if !is_wanted {
                    // A node may go on without nodes that an operator gave up.
                    let of_it = self.machines.iter().position(|machine| machine.name == node);
                    self.machines[at].birth.told.retain(|told| Some(*told) != of_it);
                }
                let payload = match is_wanted {
                    false => Payload::Forget { node },
                    true if accepts => Payload::Add { node },
                    true => continue,
                };
                self.tell_store(at, number, payload);
            }
        }
    }

    /// Sums up the results.
    pub fn sum_up(&mut self) -> Tally {
        self.tally.requests = self.workload.requests;
        self.tally.outcomes = self.workload.outcomes;
        self.tally.acknowledged = self.workload.shadow.acknowledged;
        self.tally.hostile_sends = self.network.hostile_sends;
        self.tally.simulated_us = self.now_us();
        self.tally.trace = self.trace.hash();
        self.tally
    }
}
