//! The process table: one slot per process, found by number in one step.
//!
//! - A pid's `id` is its slot plus one. Its `serial` counts the processes that have used that slot. So the pid of a
//!   dead process finds nothing, whichever process is in its slot now.
//! - A slot is freed only after its process is dropped.

use crate::message::{Payload, Process};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use wire::etf::{Atom, Pid};

/// A local process: its slot, and its number in that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Local {
    pub(crate) id: u32,
    pub(crate) serial: u32,
}

/// The content of a slot.
pub(crate) enum Body<P: Payload> {
    Free,
    /// Taken out while it handles a message.
    Running,
    Idle(Box<dyn Process<P>>),
    /// An async process of the shell.
    Adopted,
}

pub(crate) struct Slot<P: Payload> {
    pub(crate) pid: Pid,
    pub(crate) body: Body<P>,
    pub(crate) name: Option<Atom>,
    pub(crate) trap_exit: bool,
    /// The process that started it and is linked to it, if there is one.
    pub(crate) parent: Option<Pid>,
    /// Whether it is on the list for the next flush.
    pub(crate) deferred: bool,
    /// Whether it lives as long as the node: no exit signal ends it.
    pub(crate) service: bool,
    /// How many signals are queued for it, if it is a process of the shell.
    pub(crate) queued: usize,
}

pub(crate) struct Table<P: Payload> {
    node: Atom,
    creation: u32,
    slots: Vec<Slot<P>>,
    /// The oldest is first, so that a slot stays unused as long as possible.
    free: VecDeque<u32>,
}

impl<P: Payload> Table<P> {
    /// Ids have at most 28 bits, as older peers require.
    const SLOTS_MAX: usize = 1 << 28;

    pub(crate) fn new(node: Atom, creation: u32) -> Self {
        Self {
            node,
            creation,
            slots: Vec::new(),
            free: VecDeque::new(),
        }
    }

    pub(crate) fn add(&mut self, body: Body<P>) -> Local {
        let index = match self.free.pop_front() {
            Some(index) => index,
            None => {
                assert!(self.slots.len() < Self::SLOTS_MAX, "the process table is full");
                let index = u32::try_from(self.slots.len()).expect("checked above");
                let pid = Pid {
                    node: self.node.clone(),
                    id: index + 1,
                    serial: 0,
                    creation: self.creation,
                };
                self.slots.push(Slot {
                    pid,
                    body: Body::Free,
                    name: None,
                    trap_exit: false,
                    parent: None,
                    deferred: false,
                    service: false,
                    queued: 0,
                });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.trap_exit = matches!(body, Body::Adopted);
        slot.body = body;
        Local {
            id: slot.pid.id,
            serial: slot.pid.serial,
        }
    }

    /// Adds one of the node's services.
    pub(crate) fn add_service(&mut self, body: Body<P>) -> Local {
        let process = self.add(body);
        self.slots[process.id as usize - 1].service = true;
        process
    }

    /// Frees the slot. Returns the pid and name of its process.
    pub(crate) fn remove(&mut self, process: Local) -> Option<(Pid, Option<Atom>)> {
        let slot = self.get_mut(process)?;
        let pid = slot.pid.clone();
        let name = slot.name.take();
        slot.body = Body::Free;
        slot.parent = None;
        slot.deferred = false;
        slot.service = false;
        slot.queued = 0;
        slot.pid.serial = slot.pid.serial.wrapping_add(1);
        self.free.push_back(process.id - 1);
        Some((pid, name))
    }

    pub(crate) fn get(&self, process: Local) -> Option<&Slot<P>> {
        let slot = self.slots.get((process.id as usize).checked_sub(1)?)?;
        (slot.pid.serial == process.serial && !matches!(slot.body, Body::Free)).then_some(slot)
    }

    pub(crate) fn get_mut(&mut self, process: Local) -> Option<&mut Slot<P>> {
        let slot = self.slots.get_mut((process.id as usize).checked_sub(1)?)?;
        (slot.pid.serial == process.serial && !matches!(slot.body, Body::Free)).then_some(slot)
    }

    /// How many processes exist.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The registered names, in the order of their processes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Atom> {
        self.slots.iter().filter_map(|slot| slot.name.as_ref())
    }

    /// Whether the pid belongs to this node, in this life or an earlier one.
    pub(crate) fn is_ours(&self, pid: &Pid) -> bool {
        pid.node == self.node
    }

    /// The live local process with this pid.
    pub(crate) fn find(&self, pid: &Pid) -> Option<Local> {
        let process = Local {
            id: pid.id,
            serial: pid.serial,
        };
        (pid.creation == self.creation && self.is_ours(pid) && self.get(process).is_some()).then_some(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nothing;
    impl Payload for Nothing {}

    #[test]
    fn a_reused_slot_has_another_pid() {
        let mut table = Table::<Nothing>::new(Atom::new("a@h"), 7);
        let first = table.add(Body::Adopted);
        let pid = table.get(first).unwrap().pid.clone();
        assert_eq!(table.find(&pid), Some(first));
        table.remove(first);
        assert_eq!(table.find(&pid), None);
        let second = table.add(Body::Adopted);
        assert_eq!((second.id, second.serial), (first.id, first.serial + 1));
        assert_eq!(table.find(&pid), None);
        assert_eq!(
            table.find(&Pid {
                serial: 1,
                ..pid.clone()
            }),
            Some(second)
        );
        assert_eq!(
            table.find(&Pid {
                serial: 1,
                creation: 6,
                ..pid
            }),
            None
        );
    }
}
