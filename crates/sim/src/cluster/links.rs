//! The faults of the second table: single links, shapes of the network, restarts that know little, nodes that are late,
//! interrupted hand-overs, and nodes that do not belong here.

use std::collections::BTreeSet;

use node::{Address, Atom, Input, Message};
use store::{
    ask::{Ask, Payload, Session},
    store::NAME,
};
use wire::request::Batch;

use super::{Event, Fault, Table, World};
use crate::plant::Plant;

/// Longest time by which a node is late.
pub(super) const LATE_US_MAX: u64 = 2_500_000;
/// A memory survives a crash in so many of a thousand.
const MEMORY_LASTS: u64 = 800;
/// Chunks after one of which a hand-over is interrupted.
const FUSE_MAX: u64 = 12;
/// For how long an outsider stays.
const OUTSIDER_US: u64 = 12_000_000;

impl World {
    /// Carries out a fault of the second table; whether it struck.
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

    /// The directions between those nodes, in a drawn order, that are not linked in a shape.
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

    /// Both die; `second` is told of `first` alone when they start again.
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

    /// The names that a node is told of when it starts.
    ///
    /// In the first table that is nobody for the first node of a cluster that grows from one, and all that are or were
    /// there and come back for all others. In the second table a restart may name some of them, or one; the state file
    /// of the node comes on top.
    pub(super) fn names_to_join(&mut self, at: usize) -> Vec<Atom> {
        let others = (0..self.machines.len()).filter(|&other| {
            let known = self.plan.all_at_once && other < self.plan.nodes || self.machines[other].creation > 4;
            let machine = &self.machines[other];
            other != at && known && !machine.outsider && machine.wanted
        });
        let mut names: Vec<Atom> = others.map(|other| self.machines[other].name.clone()).collect();
        let is_first = self.machines[at].creation == 4;
        if self.plan.table == Table::First || is_first || names.is_empty() {
            return names;
        }
        if self.plant == Some(Plant::KnowsNobody) {
            return Vec::new();
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

    /// A node has just died: its state file survives that, or is lost.
    pub(super) fn lose_memory(&mut self, at: usize) {
        if self.plan.table == Table::Second && !self.random.chance(MEMORY_LASTS) {
            self.machines[at].memory = node::Memory::default();
        }
    }

    // Hand-overs

    /// The fuse of a node has burnt down: it has just taken in a chunk that was meant to be the last.
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
                self.disturbed();
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

    // Outsiders

    /// Starts the twin or the stranger. A stranger is a cluster of its own that holds the clients' keys, with values
    /// that no client has written; it is then told of a node of this cluster.
    fn bring(&mut self, fault: Fault) -> bool {
        let is_twin = |name: &Atom| name.as_str() == "n0@sim";
        let at = (0..self.machines.len()).find(|&at| {
            let machine = &self.machines[at];
            machine.outsider && is_twin(&machine.name) == (fault == Fault::Twin)
        });
        let Some(at) = at.filter(|&at| self.machines[at].life.is_none()) else {
            return false;
        };
        self.agenda.after(OUTSIDER_US, Event::Expel(at));
        if fault == Fault::Twin {
            let mut others = self.names_to_join(at);
            others.retain(|name| !is_twin(name));
            self.start_knowing(at, others);
            return true;
        }
        self.start_knowing(at, Vec::new());
        let Some(life) = &mut self.machines[at].life else {
            return false;
        };
        let (number, client) = (life.number, life.node.adopt());
        let mut batch = Batch::new();
        for key in 0..self.workload.shadow.len() {
            batch.push(&[b"SET", self.workload.shadow.name(key).as_bytes(), b"of another cluster"]);
        }
        let session = Session::new(u64::MAX, true);
        let ask = Box::new(Ask { client, session, batch });
        let to = || Address::Name(Atom::new(NAME));
        let message = Message::Payload(Payload::Ask(ask));
        self.give(at, number, Input::Message { to: to(), message });
        let node = self.machines[0].name.clone();
        let message = Message::Payload(Payload::Add { node });
        let meet_us = self.random.between(100_000, 3_000_000);
        let input = Input::Message { to: to(), message };
        self.agenda.after(
            meet_us,
            Event::Give {
                machine: at,
                life: number,
                input,
            },
        );
        true
    }

    /// An outsider is no more.
    pub(super) fn expel(&mut self, at: usize) {
        self.die(at, false);
    }

    /// The machine of this name that a dial from another one reaches; of two, any.
    pub(super) fn machine_of(&mut self, from: usize, name: &Atom) -> Option<usize> {
        let named = |at: &usize| *at != from && self.machines[*at].name == *name;
        let mut found: Vec<usize> = (0..self.machines.len()).filter(named).collect();
        if self.has_twins() && found.len() > 1 {
            let living: Vec<usize> = found
                .iter()
                .copied()
                .filter(|at| self.machines[*at].life.is_some())
                .collect();
            if !living.is_empty() {
                return Some(self.random.pick(&living));
            }
        }
        found.truncate(1);
        found.pop()
    }
}
