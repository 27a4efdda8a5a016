//! The table of global names: the holder of each name.
//!
//! - There is one entry for each name. The server has exactly one monitor for it, and removes the entry when the
//!   monitor fires. If the holder's node is known but not reached yet, the monitor is made when it is reached.
//! - The entries and bytes that a node has reported are counted as long as they are in the table.
//! - Any local process may read it (`Context::whereis_global`). Only the server writes it.

use super::tally::Tally;
use alloc::{collections::BTreeMap, vec::Vec};
use wire::etf::{Atom, Pid, Ref, Term};

/// The holder of a name.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) pid: Pid,
    /// A fun that decides between two holders.
    pub(crate) method: Term,
    /// The server's monitor of the holder; None while its node is not reached.
    pub(crate) monitor: Option<Ref>,
    /// The node that reported it.
    pub(crate) teller: Atom,
}

/// A name and its holder, as nodes send it to each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: Term,
    pub(crate) pid: Pid,
    pub(crate) method: Term,
}

impl Entry {
    /// The bytes that it counts for the node that reported it.
    pub(crate) fn held_bytes(&self) -> usize {
        held_bytes(&self.name, &self.method)
    }

    /// `{Name, Pid, Method}`.
    pub(crate) fn to_term(&self) -> Term {
        Term::from((self.name.clone(), self.pid.clone(), self.method.clone()))
    }

    pub(crate) fn from_term(term: &Term) -> Option<Self> {
        let [name, Term::Pid(pid), method] = term.as_tuple()? else {
            return None;
        };
        Some(Self {
            name: name.clone(),
            pid: pid.clone(),
            method: method.clone(),
        })
    }
}

/// The size of a name together with its method.
pub(crate) fn held_bytes(name: &Term, method: &Term) -> usize {
    name.held_bytes() + method.held_bytes()
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    holders: BTreeMap<Term, Holder>,
    by_monitor: BTreeMap<Ref, Term>,
    told: Tally,
}

impl Names {
    pub(crate) fn find(&self, name: &Term) -> Option<&Holder> {
        self.holders.get(name)
    }

    /// Replaces the holder of a name. Returns the monitor that is no longer needed.
    pub(crate) fn insert(&mut self, name: Term, holder: Holder) -> Option<Ref> {
        let replaced = self.remove(&name);
        self.told.add(&holder.teller, held_bytes(&name, &holder.method));
        if let Some(monitor) = &holder.monitor {
            self.by_monitor.insert(monitor.clone(), name.clone());
        }
        self.holders.insert(name, holder);
        replaced
    }

    /// Frees a name. Returns the monitor that is no longer needed.
    pub(crate) fn remove(&mut self, name: &Term) -> Option<Ref> {
        let (name, holder) = self.holders.remove_entry(name)?;
        if let Some(monitor) = &holder.monitor {
            self.by_monitor.remove(monitor);
        }
        self.told.remove(&holder.teller, held_bytes(&name, &holder.method));
        holder.monitor
    }

    /// A holder ended. Returns false if the monitor belongs to no name.
    pub(crate) fn ended(&mut self, monitor: &Ref) -> bool {
        let name = self.by_monitor.get(monitor).cloned();
        name.is_some_and(|name| self.remove(&name).is_some())
    }

    /// The names whose holders live on a node.
    pub(crate) fn held_on(&self, node: &Atom) -> Vec<Term> {
        let held = self.holders.iter().filter(|(_, holder)| holder.pid.node == *node);
        held.map(|(name, _)| name.clone()).collect()
    }

    /// The names whose holders live on a node and are not monitored, with their holders.
    pub(crate) fn unwatched_on(&self, node: &Atom) -> Vec<(Term, Pid)> {
        let unwatched = self
            .holders
            .iter()
            .filter(|(_, h)| h.monitor.is_none() && h.pid.node == *node);
        unwatched
            .map(|(name, holder)| (name.clone(), holder.pid.clone()))
            .collect()
    }

    /// Sets the monitor of a holder that had none.
    pub(crate) fn watched(&mut self, name: &Term, monitor: Ref) {
        if let Some(holder) = self.holders.get_mut(name) {
            holder.monitor = Some(monitor.clone());
            self.by_monitor.insert(monitor, name.clone());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.holders.len()
    }

    /// How much each node has reported of the present entries.
    pub(crate) fn told(&self) -> &Tally {
        &self.told
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Term> {
        self.holders.keys()
    }

    /// All names with their holders, in order.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |(name, holder): (&Term, &Holder)| Entry {
            name: name.clone(),
            pid: holder.pid.clone(),
            method: holder.method.clone(),
        };
        self.holders.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, holder, reference};

    #[test]
    fn a_name_has_one_holder_and_ends_with_its_monitor() {
        let mut names = Names::default();
        assert_eq!(names.insert(atom("x"), holder("a@h", 1)), None);
        let first = names.find(&atom("x")).unwrap().monitor.clone().unwrap();
        assert_eq!(names.insert(atom("x"), holder("b@h", 2)), Some(first.clone()));
        let told: Vec<_> = names.told().per_node().collect();
        assert_eq!(told, [(&Atom::new("b@h"), 1)]);
        assert!(!names.ended(&first), "the monitor of a former holder is ignored");
        let second = names.find(&atom("x")).unwrap().monitor.clone().unwrap();
        assert!(names.ended(&second) && names.find(&atom("x")).is_none());
        assert_eq!(names.told().per_node().count(), 0);
    }

    #[test]
    fn a_holder_can_be_monitored_later() {
        let mut names = Names::default();
        let unwatched = Holder {
            monitor: None,
            ..holder("a@h", 1)
        };
        names.insert(atom("x"), unwatched);
        names.insert(atom("y"), holder("a@h", 2));
        let node = Atom::new("a@h");
        assert_eq!(names.unwatched_on(&node).len(), 1);
        assert_eq!(names.held_on(&node), [atom("x"), atom("y")]);
        names.watched(&atom("x"), reference(3));
        assert!(names.unwatched_on(&node).is_empty());
        assert!(names.ended(&reference(3)) && names.find(&atom("x")).is_none());
    }
}
