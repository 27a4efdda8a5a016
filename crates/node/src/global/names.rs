//! The table of global names: which process has which name, and what to do when two have one.
//!
//! - One entry per name; each is under exactly one monitor of the server, and gone when that fires.
//! - It is read by any local process (`Context::whereis_global`) and written by the server alone.

use alloc::{collections::BTreeMap, vec::Vec};
use wire::etf::{Atom, Pid, Ref, Term};

/// Who has a name.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) pid: Pid,
    /// A fun that decides between two holders.
    pub(crate) method: Term,
    /// The server's monitor of the holder.
    pub(crate) monitor: Ref,
    /// The node that told us.
    pub(crate) teller: Atom,
}

/// A name and its holder, as nodes tell each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: Term,
    pub(crate) pid: Pid,
    pub(crate) method: Term,
}

impl Entry {
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

#[derive(Debug, Default)]
pub(crate) struct Names {
    holders: BTreeMap<Term, Holder>,
    by_monitor: BTreeMap<Ref, Term>,
    told: BTreeMap<Atom, usize>,
}

impl Names {
    pub(crate) fn find(&self, name: &Term) -> Option<&Holder> {
        self.holders.get(name)
    }

    /// Replaces whoever had the name; gives back the monitor that is no longer needed.
    pub(crate) fn insert(&mut self, name: Term, holder: Holder) -> Option<Ref> {
        let replaced = self.remove(&name);
        *self.told.entry(holder.teller.clone()).or_default() += 1;
        self.by_monitor.insert(holder.monitor.clone(), name.clone());
        self.holders.insert(name, holder);
        replaced
    }

    /// Frees a name; gives the monitor that is no longer needed.
    pub(crate) fn remove(&mut self, name: &Term) -> Option<Ref> {
        let holder = self.holders.remove(name)?;
        self.by_monitor.remove(&holder.monitor);
        if let Some(count) = self.told.get_mut(&holder.teller) {
            *count -= 1;
            if *count == 0 {
                self.told.remove(&holder.teller);
            }
        }
        Some(holder.monitor)
    }

    /// The holder ended. False if the monitor is none of a name.
    pub(crate) fn ended(&mut self, monitor: &Ref) -> bool {
        let name = self.by_monitor.get(monitor).cloned();
        name.is_some_and(|name| self.remove(&name).is_some())
    }

    /// How many names a node has told us.
    pub(crate) fn told_by(&self, node: &Atom) -> usize {
        self.told.get(node).copied().unwrap_or(0)
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
    use crate::global::tests::{atom, holder};

    #[test]
    fn a_name_has_one_holder_and_ends_with_its_monitor() {
        let mut names = Names::default();
        assert_eq!(names.insert(atom("x"), holder("a@h", 1)), None);
        let first = names.find(&atom("x")).unwrap().monitor.clone();
        assert_eq!(names.insert(atom("x"), holder("b@h", 2)), Some(first.clone()));
        assert_eq!((names.told_by(&Atom::new("a@h")), names.told_by(&Atom::new("b@h"))), (0, 1));
        assert!(!names.ended(&first), "the monitor of a former holder says nothing");
        let second = names.find(&atom("x")).unwrap().monitor.clone();
        assert!(names.ended(&second) && names.find(&atom("x")).is_none());
        assert_eq!(names.told_by(&Atom::new("b@h")), 0);
    }
}
