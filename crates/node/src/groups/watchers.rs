//! The processes of this node that are notified of joins and leaves, in one group or in a whole scope.

use crate::table::Local;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::Term;

/// A watcher and the number of its reference. One process may watch the same group twice.
pub(crate) type Watcher = (Local, u64);

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    /// The group that each watcher watches; none means all groups.
    watched: BTreeMap<Watcher, Option<Term>>,
    of_group: BTreeMap<Term, BTreeSet<Watcher>>,
    of_all: BTreeSet<Watcher>,
}

impl Watchers {
    pub(crate) fn add(&mut self, watcher: Watcher, group: Option<Term>) {
        match &group {
            Some(group) => self.of_group.entry(group.clone()).or_default().insert(watcher),
            None => self.of_all.insert(watcher),
        };
        self.watched.insert(watcher, group);
    }

    /// Returns false if it did not watch.
    pub(crate) fn remove(&mut self, watcher: Watcher) -> bool {
        let Some(group) = self.watched.remove(&watcher) else {
            return false;
        };
        match group {
            Some(group) => {
                let watchers = self.of_group.get_mut(&group).expect("entered when added");
                watchers.remove(&watcher);
                if watchers.is_empty() {
                    self.of_group.remove(&group);
                }
            }
            None => {
                self.of_all.remove(&watcher);
            }
        }
        true
    }

    /// Removes all entries of a process that has ended.
    pub(crate) fn forget(&mut self, process: Local) {
        let range = (process, 0)..=(process, u64::MAX);
        let gone: Vec<Watcher> = self.watched.range(range).map(|(watcher, _)| *watcher).collect();
        for watcher in gone {
            self.remove(watcher);
        }
    }

    /// The watchers that must be notified of a change in a group.
    pub(crate) fn of(&self, group: &Term) -> Vec<Watcher> {
        let of_group = self.of_group.get(group);
        self.of_all
            .iter()
            .chain(of_group.into_iter().flatten())
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_has_ended_is_removed_completely() {
        let (a, b) = (Local { id: 1, serial: 0 }, Local { id: 2, serial: 0 });
        let group = || Some(Term::Int(1));
        let mut watchers = Watchers::default();
        for (watcher, group) in [((a, 1), group()), ((a, 2), None), ((a, 3), group()), ((b, 4), group())] {
            watchers.add(watcher, group);
        }
        assert_eq!(watchers.of(&Term::Int(1)), [(a, 2), (a, 1), (a, 3), (b, 4)]);
        assert_eq!(watchers.of(&Term::Int(2)), [(a, 2)]);
        assert!(watchers.remove((a, 3)));
        assert!(!watchers.remove((a, 3)));
        assert!(!watchers.remove((b, 1)));
        watchers.forget(a);
        assert_eq!(watchers.of(&Term::Int(1)), [(b, 4)]);
        watchers.forget(b);
        assert!(watchers.watched.is_empty() && watchers.of_group.is_empty() && watchers.of_all.is_empty());
    }
}
