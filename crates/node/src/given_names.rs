//! Names for peers that have none. A BEAM started with `-sname undefined` sends only its host, and gets a name from the
//! first node it connects to.
//!
//! - A name has 64 random bits before the `@`, so that it cannot be guessed, and two nodes do not make the same one.
//! - Every BEAM that sees a name keeps it forever. So a name is used again when its node is gone, with the next
//!   creation, so that pids of the old node do not belong to the new one.
//!
//! Source: *Distribution Protocol*, section "Distribution Handshake", ERTS reference manual.

use alloc::{
    collections::{BTreeMap, VecDeque},
    format,
};
use wire::{dist::node_name, etf::Atom};

/// The first creation of a name. Lower ones have special meanings.
const CREATION_MIN: u32 = 4;
/// How many free names are kept. Beyond it, the name that was free for longest is dropped.
const FREE_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct GivenNames {
    /// Names in use, or about to be used, with their creation.
    borne: BTreeMap<Atom, u32>,
    free: VecDeque<(Atom, u32)>,
}

impl GivenNames {
    /// A name on this host, and its creation. None if the host is too long for a name. `is_taken` says whether a node
    /// uses this name although it was freed.
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

    /// Frees the name of a node that is gone. Does nothing if the name was not given here.
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
    fn free_names_are_limited_and_a_host_may_be_too_long() {
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
