//! What outlives a node: its state file. And what follows from which cluster a node is of: a node that does not fit
//! ends and is started again, and in the end an operator makes one cluster of what are several.

use node::{Atom, Event as Told, Memory};

use super::{Event, Table, World};
use crate::clusters::Standing;

/// A disk writes the state file in up to so many microseconds,
const WRITE_US: u64 = 20_000;
/// and one in so many times in up to
const SLOW_ONE_IN: u64 = 20;
const SLOW_US: u64 = 4_000_000;
/// A disk is lost with a node in so many of a thousand.
const DISK_LOST: u64 = 50;
/// Longest time after which a supervisor starts a node again that has ended by itself.
const SUPERVISOR_US: u64 = 5_000_000;

/// The state file of a machine. It is as old as the last write that was done.
#[derive(Clone, Debug, Default)]
pub struct StateFile {
    /// A container without a volume: the file ends with its node.
    pub is_fleeting: bool,
    written: Memory,
    /// What is being written, and what is to be written behind it.
    writing: Option<Memory>,
    next: Option<Memory>,
}

impl StateFile {
    /// That of a machine on which no node has run yet.
    pub fn new(is_fleeting: bool) -> Self {
        Self {
            is_fleeting,
            ..Self::default()
        }
    }

    /// What a node finds that starts.
    pub fn read(&self) -> &Memory {
        &self.written
    }

    /// What it must not find again.
    pub fn remove(&mut self) {
        self.written = Memory::default();
        (self.writing, self.next) = (None, None);
    }

    /// Holds this now.
    pub fn put(&mut self, memory: Memory) {
        self.written = memory;
    }

    /// A node asks for a write. True if it begins now.
    fn ask(&mut self, memory: Memory) -> bool {
        if self.writing.is_some() {
            self.next = Some(memory);
            return false;
        }
        self.writing = Some(memory);
        true
    }

    /// The write is done. True if another one begins.
    fn done(&mut self) -> bool {
        if let Some(memory) = self.writing.take() {
            self.written = memory;
        }
        self.writing = self.next.take();
        self.writing.is_some()
    }

    /// The node ends in order: what it asked for is written.
    fn flush(&mut self) {
        while self.done() {}
    }

    /// The process or the machine died: what was not written is lost.
    fn drop_writes(&mut self) {
        (self.writing, self.next) = (None, None);
    }
}

impl World {
    // The state file

    /// Carries out `Effect::Remember`.
    pub(super) fn remember(&mut self, at: usize, life: u64, memory: Memory) {
        if self.plan.table == Table::First {
            return self.machines[at].file.put(memory);
        }
        if self.machines[at].file.ask(memory) {
            self.write_file(at, life);
        }
    }

    fn write_file(&mut self, machine: usize, life: u64) {
        let is_slow = self.random.below(SLOW_ONE_IN) == 0;
        let delay_us = self.random.below(if is_slow { SLOW_US } else { WRITE_US });
        self.agenda.after(delay_us, Event::Written { machine, life });
    }

    /// A write of a state file is done.
    pub(super) fn written(&mut self, machine: usize, life: u64) {
        if self.life(machine, life).is_some() && self.machines[machine].file.done() {
            self.write_file(machine, life);
        }
    }

    /// A node has just died: what becomes of its state file.
    pub(super) fn leave_file(&mut self, at: usize) {
        if self.plan.table == Table::First {
            return;
        }
        let file = &mut self.machines[at].file;
        file.drop_writes();
        if file.is_fleeting || self.random.chance(DISK_LOST) {
            self.machines[at].file.remove();
        }
    }

    /// A node has ended by itself and in order. One that left has handed over what it had, unless it said what goes
    /// with it. One that did not fit may have had parts of copies that it was given by nodes that are dead now.
    pub(super) fn end(&mut self, machine: usize, life: u64) {
        self.has_answered_all(machine, life);
        let Some(state) = self.life(machine, life) else { return };
        let has_handed_over = state.leaving && !state.loses;
        let cluster = self.cluster_of(machine);
        self.machines[machine].file.flush();
        self.die(machine, false);
        if !has_handed_over {
            self.excuse(cluster);
        }
    }

    /// The creation of the next life of a node: above the last one, if the machine keeps its state file or has a port
    /// mapper that goes on; any other one in a container.
    pub(super) fn next_creation(&mut self, at: usize) -> u32 {
        let last = self.machines[at].creation;
        if self.plan.table == Table::First || !self.machines[at].file.is_fleeting {
            return last + 1;
        }
        let drawn = self.random.between(5, 2_000_000) as u32;
        if drawn == last { last + 1 } else { drawn }
    }

    // Nodes that do not fit

    /// A node tells that it must end: its supervisor starts it again, with the same settings.
    pub(super) fn misfit(&mut self, at: usize, life: u64, event: &Told) {
        if !matches!(
            event,
            Told::PeerRefused { is_fatal: true, .. } | Told::NameTaken { is_fatal: true, .. }
        ) {
            return;
        }
        let written = self.workload.shadow.has_written(self.cluster_of(at), life);
        if self.standing(at).serves && (written || self.machines[at].birth.holds) {
            let name = self.machines[at].name.clone();
            return self.fail(format!(
                "{} ends by itself and has acknowledged writes: {event:?}",
                name.as_str()
            ));
        }
        self.tally.identity[2] += 1;
        self.say(|| format!("machine {at} does not fit and ends: {event:?}"));
        self.agenda.after(0, Event::End { machine: at, life });
        let delay_us = self.random.between(200_000, SUPERVISOR_US);
        self.agenda.after(delay_us, Event::Supervise { machine: at, life });
    }

    /// A supervisor starts a node that ended by itself in its life `life`.
    pub(super) fn supervise(&mut self, at: usize, life: u64) {
        let machine = &self.machines[at];
        let is_over = self.ending && machine.outsider;
        if machine.wanted && !is_over && machine.last_life == life && machine.life.is_none() {
            let told = machine
                .birth
                .told
                .iter()
                .map(|&other| self.machines[other].name.clone());
            let told: Vec<Atom> = told.collect();
            self.start_knowing(at, told);
        }
    }

    // Which cluster a node is of

    /// What the node on a machine says of itself.
    pub fn standing(&self, at: usize) -> Standing {
        let life = self.machines[at].life.as_ref();
        life.map_or_else(Standing::default, |life| life.standing)
    }

    /// Reads that off its store.
    pub(super) fn standing_now(life: &super::Life) -> Standing {
        let store = life.store.borrow();
        let identity = store.identity();
        Standing {
            cluster: identity.map(|identity| identity.id),
            is_formed: identity.is_some_and(|identity| identity.is_formed),
            serves: store.cluster().is_serving(),
        }
    }

    /// A node says another thing of itself than before.
    pub(super) fn stands(&mut self, at: usize) {
        self.regroups = true;
        let (now_us, standing) = (self.now_us(), self.standing(at));
        if self.plan.table == Table::First {
            return;
        }
        // Nodes are told of names: what a twin says counts for the name that it shares.
        let name = &self.machines[at].name;
        let named = self.machines.iter().position(|machine| machine.name == *name);
        let named = named.unwrap_or(at);
        let verdict = self.clusters.stands(named, standing, &self.machines[at].birth, now_us);
        if let Err(why) = verdict {
            let name = self.machines[at].name.clone();
            return self.fail(format!("{}: {why}", name.as_str()));
        }
        self.tally.identity[0] = self.clusters.founded().saturating_sub(1);
        self.say(|| format!("machine {at} is {standing:?}"));
        let standings = (0..self.machines.len()).map(|at| self.standing(at));
        let standings: Vec<Standing> = standings.collect();
        if self.clusters.stand(standings.into_iter(), self.agenda.now_us) {
            self.disturbed();
        }
    }

    /// A node throws away what it held. The law: nothing that it has acknowledged.
    pub(super) fn thrown_away(&mut self, at: usize, before: Standing) {
        self.tally.identity[1] += 1;
        let life = self.machines[at].last_life;
        let has_written = self.machines[at].birth.holds || self.workload.shadow.has_written(before.cluster, life);
        if self.plan.table == Table::Second && has_written {
            let name = self.machines[at].name.clone();
            self.fail(format!(
                "{} throws away what it has acknowledged as cluster {:?}",
                name.as_str(),
                before.cluster
            ));
        }
    }

    /// A node tells of its connections.
    pub(super) fn connections(&mut self, at: usize, life: u64, event: &Told) {
        let now_us = self.now_us();
        match event {
            Told::NodeDown { node, .. } => {
                self.disturbed();
                self.clusters.parted(life, node, now_us);
            }
            Told::NodeUp { node, creation, .. } => {
                if !self.is_calm() {
                    self.clusters.troubled(now_us);
                }
                let machines = &self.machines;
                let lives = |creation: u32| {
                    machines.iter().any(|machine| {
                        let acts = |life: &super::Life| !life.leaving;
                        let is_it = machine.name == *node && machine.creation == creation;
                        is_it && machine.life.as_ref().is_some_and(acts)
                    })
                };
                if let Err(why) = self.clusters.met(life, node, *creation, now_us, lives) {
                    let name = self.machines[at].name.clone();
                    self.fail(format!("{}: {why}", name.as_str()));
                }
                // For its peers a node that is cut off and whose name another one has taken is dead.
                let is_former = |machine: &super::Machine| machine.name == *node && machine.creation != *creation;
                let runs = |machine: &super::Machine| machine.life.is_some() && is_former(machine);
                if let Some(former) = self.machines.iter().position(runs) {
                    self.excuse_without(Some(former), self.cluster_of(former));
                }
            }
            _ => {}
        }
    }

    // The operator

    /// An operator has seen in the log that there are several clusters. The one of which most nodes serve is kept. The
    /// nodes of the others are stopped, their state files are removed, and they start again and are told of all others,
    /// as the log says.
    pub fn reunite(&mut self) {
        if self.plan.table == Table::First {
            return;
        }
        // A node that was still connected when it was first declared gone was not believed to be.
        self.declare();
        let standings: Vec<Standing> = (0..self.machines.len()).map(|at| self.standing(at)).collect();
        let Some(kept) = self.clusters.keep(&standings) else {
            return;
        };
        let members = (0..self.machines.len()).filter(|&at| !self.machines[at].outsider);
        let apart: Vec<usize> = members.filter(|&at| standings[at].is_apart_from(Some(kept))).collect();
        for at in apart {
            self.tally.identity[3] += 1;
            self.say(|| format!("an operator starts machine {at} anew"));
            self.die(at, false);
            self.machines[at].file.remove();
            let is_other = |machine: &&super::Machine| machine.wanted && !machine.outsider && machine.last_life > 0;
            let others = self.machines.iter().filter(is_other);
            let name = self.machines[at].name.clone();
            let others = others.map(|other| other.name.clone()).filter(|other| *other != name);
            let others: Vec<Atom> = others.collect();
            self.start_knowing(at, others);
        }
    }
}
