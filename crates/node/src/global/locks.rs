//! The locks at this node.
//!
//! - A resource is locked by one *requester*, which is any term, through one or more *callers*, which are processes. It
//!   is free once the last caller has released it or has ended.
//! - The size of a lock counts for the node of each caller, as long as that caller has the lock.
//! - The server has one monitor for each caller of a lock.

use super::tally::Tally;
use alloc::{collections::BTreeMap, vec, vec::Vec};
use wire::etf::{Atom, Pid, Ref, Term};

/// A resource and its requester.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LockId {
    pub(crate) resource: Term,
    pub(crate) requester: Term,
}

impl LockId {
    /// The lock on the table of names.
    pub(crate) fn global(requester: Term) -> Self {
        let resource = Term::atom(GLOBAL);
        Self { resource, requester }
    }

    /// The bytes that it counts for the node of each caller.
    pub(crate) fn held_bytes(&self) -> usize {
        self.resource.held_bytes() + self.requester.held_bytes()
    }

    /// `{Resource, Requester}`.
    pub(crate) fn to_term(&self) -> Term {
        Term::from((self.resource.clone(), self.requester.clone()))
    }

    pub(crate) fn from_term(term: &Term) -> Option<Self> {
        let [resource, requester] = term.as_tuple()? else {
            return None;
        };
        Some(Self {
            resource: resource.clone(),
            requester: requester.clone(),
        })
    }
}

/// The resource to lock for a change of names or for a join of partitions.
pub(crate) const GLOBAL: &str = "global";

#[derive(Debug)]
struct Lock {
    requester: Term,
    callers: Vec<(Pid, Ref)>,
    /// The bytes that it counts for the node of each caller.
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Locks {
    locks: BTreeMap<Term, Lock>,
    by_monitor: BTreeMap<Ref, Term>,
    held: Tally,
    /// Whether the lock `global` was freed because its last caller ended: changes made under it are void.
    global_lost: bool,
}

impl Locks {
    /// Whether the resource is free, or locked by this requester.
    pub(crate) fn allows(&self, id: &LockId) -> bool {
        self.locks
            .get(&id.resource)
            .is_none_or(|lock| lock.requester == id.requester)
    }

    /// Whether this caller has the lock already.
    pub(crate) fn is_held_by(&self, id: &LockId, caller: &Pid) -> bool {
        let lock = self.locks.get(&id.resource);
        lock.is_some_and(|lock| lock.requester == id.requester && lock.callers.iter().any(|(pid, _)| pid == caller))
    }

    /// Adds a caller. It must be allowed, and must not have the lock yet.
    pub(crate) fn insert(&mut self, id: &LockId, caller: Pid, monitor: Ref) {
        self.by_monitor.insert(monitor.clone(), id.resource.clone());
        let lock = self.locks.entry(id.resource.clone()).or_insert_with(|| Lock {
            requester: id.requester.clone(),
            callers: vec![],
            bytes: id.held_bytes(),
        });
        self.held.add(&caller.node, lock.bytes);
        lock.callers.push((caller, monitor));
    }

    /// A caller releases the lock. Returns the monitor that is no longer needed.
    pub(crate) fn remove(&mut self, id: &LockId, caller: &Pid) -> Option<Ref> {
        let lock = self.locks.get(&id.resource)?;
        if lock.requester != id.requester {
            return None;
        }
        let (_, monitor) = lock.callers.iter().find(|(pid, _)| pid == caller)?;
        let monitor = monitor.clone();
        self.take(&monitor, false);
        Some(monitor)
    }

    /// A caller ended. Returns false if the monitor belongs to no lock.
    pub(crate) fn ended(&mut self, monitor: &Ref) -> bool {
        self.take(monitor, true)
    }

    /// All callers of a node are gone. Returns the monitors that are no longer needed.
    pub(crate) fn remove_all_of(&mut self, node: &Atom) -> Vec<Ref> {
        let callers = self.locks.values().flat_map(|lock| &lock.callers);
        let monitors: Vec<Ref> = callers
            .filter(|(pid, _)| pid.node == *node)
            .map(|(_, monitor)| monitor.clone())
            .collect();
        for monitor in &monitors {
            self.take(monitor, true);
        }
        monitors
    }

    fn take(&mut self, monitor: &Ref, lost: bool) -> bool {
        let Some(resource) = self.by_monitor.remove(monitor) else {
            return false;
        };
        let Some(lock) = self.locks.get_mut(&resource) else {
            return false;
        };
        if let Some(at) = lock.callers.iter().position(|(_, held)| held == monitor) {
            let (caller, _) = lock.callers.remove(at);
            self.held.remove(&caller.node, lock.bytes);
        }
        if lock.callers.is_empty() {
            self.locks.remove(&resource);
            if resource.is_atom(GLOBAL) {
                self.global_lost = lost;
            }
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.locks.len()
    }

    /// The size of the locks of each node's processes.
    pub(crate) fn held(&self) -> &Tally {
        &self.held
    }

    pub(crate) fn is_global_set(&self) -> bool {
        self.locks.contains_key(&Term::atom(GLOBAL))
    }

    /// Whether this caller may register a name: it has the lock, or had it until it released it.
    pub(crate) fn covers_caller(&self, caller: &Pid) -> bool {
        match self.locks.get(&Term::atom(GLOBAL)) {
            Some(lock) => lock.callers.iter().any(|(pid, _)| pid == caller),
            None => !self.global_lost,
        }
    }

    /// Whether changes that two partitions agreed on under this lock may be applied.
    pub(crate) fn covers_requester(&self, requester: Option<&Term>) -> bool {
        match self.locks.get(&Term::atom(GLOBAL)) {
            Some(lock) => Some(&lock.requester) == requester,
            None => !self.global_lost,
        }
    }

    /// The locked resources, in order.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Term> {
        self.locks.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, pid, reference};

    fn id(requester: &'static str) -> LockId {
        LockId::global(atom(requester))
    }

    #[test]
    fn a_lock_is_shared_by_the_callers_of_one_requester() {
        let mut locks = Locks::default();
        locks.insert(&id("r"), pid("a@h", 1), reference(1));
        assert!(locks.allows(&id("r")) && !locks.allows(&id("other")));
        locks.insert(&id("r"), pid("b@h", 1), reference(2));
        assert_eq!(locks.remove(&id("other"), &pid("a@h", 1)), None);
        assert_eq!(locks.remove(&id("r"), &pid("a@h", 1)), Some(reference(1)));
        assert!(!locks.allows(&id("other")), "the other caller still has the lock");
        assert!(locks.ended(&reference(2)) && locks.allows(&id("other")));
        assert_eq!(locks.held().per_node().count(), 0);
        locks.insert(&id("r"), pid("b@h", 1), reference(3));
        assert_eq!(locks.remove_all_of(&Atom::new("b@h")), [reference(3)]);
        assert!(!locks.is_global_set());
    }

    #[test]
    fn changes_under_a_lock_that_ended_with_its_caller_are_void() {
        let mut locks = Locks::default();
        assert!(locks.covers_caller(&pid("a@h", 1)), "there was never a lock");
        locks.insert(&id("r"), pid("a@h", 1), reference(1));
        assert!(locks.covers_caller(&pid("a@h", 1)) && !locks.covers_caller(&pid("b@h", 1)));
        assert!(locks.covers_requester(Some(&atom("r"))) && !locks.covers_requester(None));
        locks.ended(&reference(1));
        assert!(!locks.covers_caller(&pid("a@h", 1)) && !locks.covers_requester(Some(&atom("r"))));
        locks.insert(&id("r"), pid("a@h", 1), reference(2));
        locks.remove(&id("r"), &pid("a@h", 1));
        assert!(locks.covers_caller(&pid("a@h", 1)));
    }
}
