//! Processes of this node that wait until others have us in their partition: `global:sync/0`.
//!
//! - Each is under one monitor of the server, and gone when that fires or all it waits for have said so.
//! - Only what a node says is looked at, not all that happens.

use crate::gen_server::From;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::{Atom, Ref};

#[derive(Debug)]
struct Wait {
    from: From,
    /// Who has not said so. Never empty.
    missing: BTreeSet<Atom>,
}

/// Those that wait, by the monitors of them.
#[derive(Debug, Default)]
pub(crate) struct Syncs(BTreeMap<Ref, Wait>);

impl Syncs {
    pub(crate) fn insert(&mut self, monitor: Ref, from: From, missing: BTreeSet<Atom>) {
        self.0.insert(monitor, Wait { from, missing });
    }

    /// A node has us: who waits for nobody else, with the monitors that are no longer needed.
    pub(crate) fn synced(&mut self, node: &Atom) -> Vec<(Ref, From)> {
        let waits_for_none = |_: &Ref, wait: &mut Wait| {
            wait.missing.remove(node);
            wait.missing.is_empty()
        };
        let done = self.0.extract_if(.., waits_for_none);
        done.map(|(monitor, wait)| (monitor, wait.from)).collect()
    }

    /// Who waited ended. False if the monitor is none of theirs.
    pub(crate) fn ended(&mut self, monitor: &Ref) -> bool {
        self.0.remove(monitor).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, pid, reference};

    #[test]
    fn who_waits_is_answered_once_after_the_last_or_gone_with_its_end() {
        let from = |id| From {
            pid: pid("a@h", id),
            tag: atom("tag"),
        };
        let (b, c) = (Atom::new("b@h"), Atom::new("c@h"));
        let both = || BTreeSet::from([b.clone(), c.clone()]);
        let mut syncs = Syncs::default();
        syncs.insert(reference(1), from(1), both());
        syncs.insert(reference(2), from(2), BTreeSet::from([b.clone()]));
        syncs.insert(reference(3), from(3), both());
        assert!(syncs.ended(&reference(3)) && !syncs.ended(&reference(3)));
        assert_eq!(syncs.synced(&b), [(reference(2), from(2))]);
        assert_eq!(syncs.synced(&b), []);
        assert_eq!(syncs.synced(&c), [(reference(1), from(1))]);
        assert_eq!(syncs.len(), 0);
    }
}
