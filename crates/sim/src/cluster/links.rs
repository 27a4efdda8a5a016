//! The faults of the second table: broken links, network shapes, restarts with incomplete names to join, slow nodes,
//! and interrupted hand-overs.

use std::collections::BTreeSet;

use node::Atom;

use super::{Event, Fault, Table, World};

/// Longest delay of a slow node.
pub(super) const LATE_US_MAX: u64 = 2_500_000;
/// A hand-over is interrupted after one of the first chunks, at most this one.
const FUSE_MAX: u64 = 12;

impl World {
    /// Carries out a fault of the second table. Returns whether it struck.
    pub(super) fn strike_second(&mut self, fault: Fault, machine: usize, running: &[usize]) -> bool {
        let other = self.random.pick(running);
        match fault {
            Fault::LinkDown => other != machine && self.block_for(&[(machine, other), (other, machine)], 20_000),
            Fault::LinkFlap => {
                let pairs = [(machine, other), (other, machine)];
                let period_us = self.random.between(200_000, 6_000_000);
                let rounds = self.random.between(2, 6);
                other != machine && self.flap_pairs(&pairs, period_us, rounds)
            }
            Fault::Ring => {
                let shape = self.shape(running, |a, b, len| {
                    let distance = a.abs_diff(b);
                    distance == 1 || distance == len - 1
                });
                self.block_for(&shape, 20_000)
            }
            Fault::Bridge => {
                let left = 1 + self.random.index(running.len().saturating_sub(2).max(1));
                let shape = self.shape(running, |a, b, _| a == 0 || b == 0 || (a <= left) == (b <= left));
                self.block_for(&shape, 20_000)
            }
            Fault::RestartCutOff => running.len() > 1 && self.restart_cut_off(machine),
            Fault::RestartPair => {
                let delay_us = self.random.between(200_000, 12_000_000);
                other != machine && running.len() > 2 && self.restart_pair(machine, other, delay_us)
            }
            Fault::Sluggish => {
                let tick_us = self.plan.tick_ms * 1000;
                let late_us = self.random.between(100_000, LATE_US_MAX.min(tick_us / 2));
                let time_us = self.random.between(1_000_000, 8_000_000);
                self.machines[machine].late_us = late_us;
                self.agenda.after(time_us, Event::Brisk(machine));
                true
            }
            Fault::ChunkCut => {
                let chunks = self.random.between(1, FUSE_MAX);
                self.machines[machine].fuse.light(chunks as u32);
                true
            }
            Fault::Blind => running.len() > 1 && self.restart_blind(machine),
            Fault::Twin | Fault::Stranger => self.bring(fault),
            _ => false,
        }
    }

    /// The directions between nodes that a network shape leaves out. The nodes take their places in the shape in random
    /// order.
    fn shape(&mut self, running: &[usize], linked: impl Fn(usize, usize, usize) -> bool) -> Vec<(usize, usize)> {
        let mut order = running.to_vec();
        for place in (1..order.len()).rev() {
            order.swap(place, self.random.index(place + 1));
        }
        let places = 0..order.len();
        let pairs = places.clone().flat_map(|a| places.clone().map(move |b| (a, b)));
        pairs
            .filter(|&(a, b)| a != b && !linked(a, b, order.len()))
            .map(|(a, b)| (order[a], order[b]))
            .collect()
    }

    // Restarts

    fn restart_cut_off(&mut self, at: usize) -> bool {
        self.wild_death(at);
        let others: Vec<usize> = (0..self.machines.len()).filter(|other| *other != at).collect();
        let pairs: Vec<(usize, usize)> = others.iter().flat_map(|&other| [(at, other), (other, at)]).collect();
        let start_us = self.random.between(100_000, 6_000_000);
        self.block_for(&pairs, 25_000);
        self.agenda.after(start_us, Event::Start(at));
        true
    }

    /// Both nodes die. When they start again, `second` gets `first` as its only name to join.
    fn restart_pair(&mut self, first: usize, second: usize, delay_us: u64) -> bool {
        self.wild_death(first);
        self.wild_death(second);
        let told = vec![self.machines[first].name.clone()];
        let gap_us = self.random.pick(&[0, 1_000, 50_000, 400_000]);
        self.agenda.after(delay_us, Event::Start(first));
        let machine = second;
        self.agenda.after(delay_us + gap_us, Event::StartTold { machine, told });
        true
    }

    fn restart_blind(&mut self, at: usize) -> bool {
        self.wild_death(at);
        let delay_us = self.random.between(100_000, 8_000_000);
        let (machine, told) = (at, Vec::new());
        self.agenda.after(delay_us, Event::StartTold { machine, told });
        true
    }

    /// The names that a node is given to join when it starts.
    ///
    /// In the first table, the first node of a cluster that grows from one node gets none. Every other node gets all
    /// nodes that run or will come back. In the second table, a restart may get only some of these names. The node also
    /// knows the names in its state file.
    pub(super) fn names_to_join(&mut self, at: usize) -> Vec<Atom> {
        let others = (0..self.machines.len()).filter(|&other| {
            let known = self.plan.all_at_once && other < self.plan.nodes || self.machines[other].last_life > 0;
            let machine = &self.machines[other];
            other != at && known && !machine.outsider && machine.wanted
        });
        let mut names: Vec<Atom> = others.map(|other| self.machines[other].name.clone()).collect();
        let is_first = self.machines[at].last_life == 0;
        if self.plan.table == Table::First || is_first || names.is_empty() {
            return names;
        }
        let told = match self.random.below(20) {
            0..12 => names.len(),
            12..17 => 1 + self.random.index(names.len()),
            _ => 1,
        };
        while names.len() > told {
            names.swap_remove(self.random.index(names.len()));
        }
        names
    }

    // Hand-overs

    /// The fuse of a node has burnt down: the node has just received the chunk after which the hand-over is to be
    /// interrupted.
    pub(super) fn interrupt(&mut self, at: usize) {
        if self.ending || self.machines[at].life.is_none() {
            return;
        }
        self.say(|| format!("a hand-over to machine {at} is interrupted"));
        match self.random.below(3) {
            0 => {
                let peers: BTreeSet<usize> = self.running().into_iter().filter(|other| *other != at).collect();
                let wires: Vec<usize> = peers
                    .into_iter()
                    .flat_map(|other| self.network.wires_between(at, other))
                    .collect();
                for wire in wires {
                    self.network.cut(&mut self.agenda, wire, [true, true], true);
                }
                self.troubled();
            }
            1 => {
                self.wild_crash(at);
            }
            _ => {
                let others: Vec<usize> = self.running().into_iter().filter(|other| *other != at).collect();
                if !others.is_empty() {
                    let other = self.random.pick(&others);
                    self.wild_crash(other);
                }
            }
        }
    }
}
