//! Names for peers that have none: a BEAM started with `-sname undefined` tells only its host, and is
//! named by the first node it connects to.
//!
//! - A name has 64 random bits before the `@`: nobody guesses it, and no two nodes invent the same.
//! - Every BEAM that sees a name keeps it forever, so a name is given again when its bearer is gone,
//!   under the next creation: what was of the old bearer is not of the new one.
//!
//! Source: *Distribution Protocol*, section "Distribution Handshake", ERTS reference manual.

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
};
use wire::{dist::node_name, etf::Atom};

/// The first creation of a name; those below have a meaning of their own.
const CREATION_MIN: u32 = 4;
/// Names kept to be given again; past it the one that was free for longest is forgotten.
const FREE_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct GivenNames {
    /// Names that are borne, or about to be, with their creation.
    borne: BTreeMap<Atom, u32>,
    free: VecDeque<(Atom, u32)>,
}

impl GivenNames {
    /// A name on this host and its creation. None if the host leaves no room for one. `is_taken` says
    /// that a node goes by this name although it was freed.
    pub(crate) fn give(&mut self, host: &Atom, random: u64, is_taken: impl Fn(&Atom) -> bool) -> Option<(Atom, u32)> {
        let is_on_host = |name: &Atom| name.as_str().split_once('@').is_some_and(|(_, at)| *host == at);
        let free = self
            .free
            .iter()
            .position(|(name, _)| is_on_host(name) && !is_taken(name));
        let again = free.and_then(|at| self.free.remove(at));
        let (name, creation) = match again {
            Some((name, creation)) => (name, creation.checked_add(1).unwrap_or(CREATION_MIN)),
            None => {
                let name = format!("{random:016x}@{}", host.as_str());
                (node_name(name.as_bytes())?, CREATION_MIN)
            }
        };
        self.borne.insert(name.clone(), creation);
        Some((name, creation))
    }

    /// A node is gone. Nothing happens if its name was not given here.
    pub(crate) fn free(&mut self, name: &Atom) {
        if let Some(creation) = self.borne.remove(name) {
            if self.free.len() == FREE_MAX {
                self.free.pop_front();
            }
            self.free.push_back((name.clone(), creation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_again_under_the_next_creation() {
        let mut names = GivenNames::default();
        let (host, other) = (Atom::new("h"), Atom::new("other.h"));
        let nobody = |_: &Atom| false;
        let (first, creation) = names.give(&host, 0xabc, nobody).unwrap();
        assert_eq!((first.as_str(), creation), ("0000000000000abc@h", 4));
        let (second, _) = names.give(&host, 0xdef, nobody).unwrap();
        assert_eq!(second.as_str(), "0000000000000def@h");
        names.free(&Atom::new("stranger@h"));
        names.free(&first);
        names.free(&first);
        assert_eq!(names.give(&other, 1, nobody).unwrap().1, 4);
        assert_eq!(names.give(&host, 2, nobody).unwrap(), (first.clone(), 5));
        names.free(&first);
        let (fresh, _) = names.give(&host, 3, |name| *name == first).unwrap();
        assert_eq!(fresh.as_str(), "0000000000000003@h");
    }

    #[test]
    fn free_names_are_bounded_and_hosts_may_be_too_long() {
        let mut names = GivenNames::default();
        let host = Atom::new("h");
        for random in 0..2000 {
            assert!(names.give(&host, random, |_| false).is_some());
        }
        for name in names.borne.keys().cloned().collect::<alloc::vec::Vec<_>>() {
            names.free(&name);
        }
        assert_eq!((names.free.len(), names.borne.len()), (FREE_MAX, 0));
        let long = Atom::new(&"a".repeat(250));
        assert_eq!(names.give(&long, 1, |_| false), None);
    }
}
