//! What outlives a node: its state file. And what follows from the cluster that a node belongs to: a node that does not
//! fit ends and is started again, and at the end an operator merges several clusters into one.

use node::{Atom, Event as Told, Memory};

use super::{Event, Table, World};
use crate::clusters::Standing;

/// Longest time to write the state file, in microseconds.
const WRITE_US: u64 = 20_000;
/// One write in this many may take up to `SLOW_US`.
const SLOW_ONE_IN: u64 = 20;
const SLOW_US: u64 = 4_000_000;
/// In this many of 1,000 deaths of a node, its disk is lost too.
const DISK_LOST: u64 = 50;
/// Longest time until a supervisor restarts a node that has ended by itself.
const SUPERVISOR_US: u64 = 5_000_000;

/// The state file of a machine. It has the content of the last completed write.
#[derive(Clone, Debug, Default)]
pub struct StateFile {
    /// Whether the node is in a container without a volume: the file is deleted with its node.
    pub is_fleeting: bool,
    written: Memory,
    /// The content that is being written, and the content to be written next.
    writing: Option<Memory>,
    next: Option<Memory>,
}

impl StateFile {
    /// The file of a machine on which no node has run yet.
    pub fn new(is_fleeting: bool) -> Self {
        Self {
            is_fleeting,
            ..Self::default()
        }
    }

    /// The content that a starting node finds.
    pub fn read(&self) -> &Memory {
        &self.written
    }

    /// Deletes the file.
    pub fn remove(&mut self) {
        self.written = Memory::default();
        (self.writing, self.next) = (None, None);
    }

    /// Writes the content at once.
    pub fn put(&mut self, memory: Memory) {
        self.written = memory;
    }

    /// A node asks for a write. Returns true if the write begins now.
    fn ask(&mut self, memory: Memory) -> bool {
        if self.writing.is_some() {
            self.next = Some(memory);
            return false;
        }
        self.writing = Some(memory);
        true
    }

    /// The write is complete. Returns true if the next one begins.
    fn done(&mut self) -> bool {
        if let Some(memory) = self.writing.take() {
            self.written = memory;
        }
        self.writing = self.next.take();
        self.writing.is_some()
    }

    /// The node ends in order: all writes it asked for are completed.
    fn flush(&mut self) {
        while self.done() {}
    }

    /// The process or the machine died: incomplete writes are lost.
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

    /// A write of a state file is complete.
    pub(super) fn written(&mut self, machine: usize, life: u64) {
        if self.life(machine, life).is_some() && self.machines[machine].file.done() {
            self.write_file(machine, life);
        }
    }

    /// A node has just died: its state file keeps the last completed write, or is lost.
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

    /// A node has ended by itself and in order. A node that left has handed over its copies, unless it reported keys
    /// that are lost with it. A node that did not fit may have held parts of copies whose other holders are dead now.
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

    /// The creation of the node's next life. It is higher than the last one if the machine keeps its state file or its
    /// port mapper goes on. In a container it may be any other one.
    pub(super) fn next_creation(&mut self, at: usize) -> u32 {
        let last = self.machines[at].creation;
        if self.plan.table == Table::First || !self.machines[at].file.is_fleeting {
            return last + 1;
        }
        let drawn = self.random.between(5, 2_000_000) as u32;
        if drawn == last { last + 1 } else { drawn }
    }

    // Nodes that do not fit

    /// A node reports that it must end. Its supervisor starts it again, with the same settings.
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

    /// A supervisor restarts a node that ended by itself in its life `life`.
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

    // Which cluster a node belongs to

    /// What the node on a machine reports about itself.
    pub fn standing(&self, at: usize) -> Standing {
        let life = self.machines[at].life.as_ref();
        life.map_or_else(Standing::default, |life| life.standing)
    }

    /// Reads the standing from the node's store.
    pub(super) fn standing_now(life: &super::Life) -> Standing {
        let store = life.store.borrow();
        let identity = store.identity();
        Standing {
            cluster: identity.map(|identity| identity.id),
            is_formed: identity.is_some_and(|identity| identity.is_formed),
            serves: store.cluster().is_serving(),
        }
    }

    /// A node's standing has changed. It was `before`.
    pub(super) fn stands(&mut self, at: usize, before: Standing) {
        self.regroups = true;
        let (now_us, standing) = (self.now_us(), self.standing(at));
        if self.plan.table == Table::First {
            return;
        }
        // Nodes are told of names: what a twin says counts for the name that it shares.
        let name = &self.machines[at].name;
        let named = self.machines.iter().position(|machine| machine.name == *name);
        let named = named.unwrap_or(at);
        let verdict = self
            .clusters
            .stands(named, (before, standing), &self.machines[at].birth, now_us);
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

    /// A node throws away its data. The law: it has acknowledged none of that data.
    pub(super) fn thrown_away(&mut self, at: usize, before: Standing) {
        self.tally.identity[1] += 1;
        let life = self.machines[at].last_life;
        let has_written = self.machines[at].birth.holds || self.workload.shadow.has_written(before.cluster, life);
        if self.plan.table != Table::First && has_written {
            let name = self.machines[at].name.clone();
            self.fail(format!(
                "{} throws away what it has acknowledged as cluster {:?}",
                name.as_str(),
                before.cluster
            ));
        }
    }

    /// A node reports a change of its connections.
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
                // A node that is cut off, and whose name another node has taken, counts as dead for its peers.
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

    /// An operator has seen in the log that there are several clusters. The operator keeps the cluster in which most
    /// nodes serve. The nodes of the other clusters are stopped, and their state files are removed. Then they start
    /// again with the names of all other nodes, as the log advises.
    pub fn reunite(&mut self) {
        if self.plan.table == Table::First {
            return;
        }
        // A peer that was still connected ignored the first declaration that a node is gone. So it is repeated.
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
