//! Registered names of local processes. A process has at most one.

use crate::table::Local;
use core::hash::{Hash, Hasher};
use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use wire::etf::Atom;

#[derive(Debug)]
pub(crate) struct Registered {
    /// Never iterated: the order of a hash map differs between machines.
    names: HashMap<Atom, Local, FixedState>,
}

impl Registered {
    pub(crate) fn new() -> Self {
        Self {
            names: HashMap::with_hasher(FixedState::with_seed(0)),
        }
    }

    /// Returns false if the name is taken.
    pub(crate) fn add(&mut self, name: Atom, process: Local) -> bool {
        match self.names.entry(name) {
            hashbrown::hash_map::Entry::Occupied(_) => false,
            hashbrown::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(process);
                true
            }
        }
    }

    pub(crate) fn remove(&mut self, name: &Atom) -> Option<Local> {
        self.names.remove(name)
    }

    pub(crate) fn find(&self, name: &Atom) -> Option<Local> {
        self.names.get(name).copied()
    }

    pub(crate) fn find_text(&self, name: &str) -> Option<(&Atom, Local)> {
        self.names
            .get_key_value(&Text(name))
            .map(|(name, process)| (name, *process))
    }
}

/// Looks up an atom by its text, without making an atom.
struct Text<'a>(&'a str);

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_bytes().hash(state);
    }
}

impl Equivalent<Atom> for Text<'_> {
    fn equivalent(&self, atom: &Atom) -> bool {
        self.0 == atom.as_str()
    }
}
