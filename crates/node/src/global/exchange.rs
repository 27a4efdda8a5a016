//! Compares the names of two partitions: what each must change so that both have the same names.
//!
//! Each side computes its own changes. If both sides have a name, only the node with the smaller name decides, so that
//! no conflict is decided twice. It sends the changes for the other side as *resolved*.

use super::{
    method::{Act, Method, resolve_it},
    names::{Entry, Names},
};
use alloc::vec::Vec;
use wire::etf::{Atom, Term};

/// A change of the table of names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Insert(Entry),
    Delete(Term),
}

impl Op {
    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Op::Insert(entry) => entry.held_bytes(),
            Op::Delete(name) => name.held_bytes(),
        }
    }

    pub(crate) fn to_term(&self) -> Term {
        match self {
            Op::Insert(entry) => Term::from((Term::atom("insert"), entry.to_term())),
            Op::Delete(name) => Term::from((Term::atom("delete"), name.clone())),
        }
    }

    pub(crate) fn from_term(term: &Term) -> Option<Self> {
        match term.as_tuple()? {
            [verb, entry] if verb.is_atom("insert") => Entry::from_term(entry).map(Op::Insert),
            [verb, name] if verb.is_atom("delete") => Some(Op::Delete(name.clone())),
            _ => None,
        }
    }

    /// None if an item is not a change.
    pub(crate) fn list_from_term(term: &Term) -> Option<Vec<Self>> {
        term.as_list()?.iter().map(Self::from_term).collect()
    }
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    /// The changes of our side.
    pub(crate) ops: Vec<Op>,
    /// The changes of their side because of conflicts.
    pub(crate) resolved: Vec<Op>,
    pub(crate) acts: Vec<Act>,
}

/// Compares our names with those of the partition of `peer`.
///
/// At a BEAM node of our partition, a name may be registered with a local fun, which runs only there. Such a conflict
/// is decided for the other side, as OTP does if it cannot reach the fun.
pub(crate) fn compare(names: &Names, theirs: &[Entry], us: &Atom, peer: &Atom) -> Comparison {
    let mut comparison = Comparison::default();
    for entry in theirs {
        let insert = Op::Insert(entry.clone());
        match names.find(&entry.name) {
            None => comparison.ops.push(insert),
            Some(holder) if holder.pid == entry.pid || us > peer => {}
            Some(holder) if holder.pid.node != *us && Method::from_term(&holder.method).is_none() => {
                comparison.ops.push(insert);
            }
            Some(holder) => {
                let resolution = resolve_it(&holder.method, &entry.name, &entry.pid, &holder.pid);
                comparison.acts.extend(resolution.acts);
                if resolution.keeps.as_ref() == Some(&entry.pid) {
                    comparison.ops.push(insert);
                } else if resolution.keeps.is_some() {
                    comparison.resolved.push(Op::Insert(Entry {
                        name: entry.name.clone(),
                        pid: holder.pid.clone(),
                        method: holder.method.clone(),
                    }));
                } else {
                    comparison.ops.push(Op::Delete(entry.name.clone()));
                    comparison.resolved.push(Op::Delete(entry.name.clone()));
                }
            }
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, entry, holder};
    use alloc::vec;

    fn names(held: &[(&'static str, &str)]) -> Names {
        let mut names = Names::default();
        for (at, (name, node)) in held.iter().enumerate() {
            names.insert(atom(name), holder(node, u32::try_from(at).unwrap()));
        }
        names
    }

    #[test]
    fn missing_names_are_added_and_shared_ones_stay() {
        let (a, b) = (Atom::new("a@h"), Atom::new("b@h"));
        let ours = names(&[("shared", "a@h")]);
        let shared = ours.entries().remove(0);
        let comparison = compare(&ours, &[shared, entry("new", "b@h")], &a, &b);
        assert_eq!(comparison.ops, [Op::Insert(entry("new", "b@h"))]);
        assert!(comparison.resolved.is_empty() && comparison.acts.is_empty());
    }

    #[test]
    fn only_the_smaller_name_decides_a_conflict() {
        let (a, b) = (Atom::new("a@h"), Atom::new("b@h"));
        let (at_a, at_b) = (names(&[("x", "a@h")]), names(&[("x", "b@h")]));
        let decided = compare(&at_a, &at_b.entries(), &a, &b);
        assert_eq!(decided.ops, []);
        assert_eq!(decided.resolved, vec![Op::Insert(at_a.entries().remove(0))]);
        assert_eq!(decided.acts.len(), 1);
        assert_eq!(compare(&at_b, &at_a.entries(), &b, &a), Comparison::default());
    }

    #[test]
    fn changes_read_back() {
        let ops = [Op::Insert(entry("x", "a@h")), Op::Delete(atom("y"))];
        let term = Term::list(ops.iter().map(Op::to_term));
        assert_eq!(Op::list_from_term(&term), Some(ops.to_vec()));
        assert_eq!(Op::list_from_term(&Term::list([Term::Int(1)])), None);
    }
}
