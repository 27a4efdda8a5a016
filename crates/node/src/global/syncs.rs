//! Processes of this node that wait until other nodes have us in their partition: `global:sync/0`.
//!
//! - The server has one monitor for each. An entry ends when that fires, or when all nodes it waits for have confirmed.
//! - Only confirmations of nodes are compared with the waiting processes, not every event.

use crate::gen_server::From;
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::{Atom, Ref};

#[derive(Debug)]
struct Wait {
    from: From,
    /// The nodes that have not confirmed. Never empty.
    missing: BTreeSet<Atom>,
}

/// The waiting processes, by their monitors.
#[derive(Debug, Default)]
pub(crate) struct Syncs(BTreeMap<Ref, Wait>);

impl Syncs {
    pub(crate) fn insert(&mut self, monitor: Ref, from: From, missing: BTreeSet<Atom>) {
        self.0.insert(monitor, Wait { from, missing });
    }

    /// A node has confirmed. Returns the processes that wait for no other node, with the monitors that are no longer
    /// needed.
    pub(crate) fn synced(&mut self, node: &Atom) -> Vec<(Ref, From)> {
        let waits_for_none = |_: &Ref, wait: &mut Wait| {
            wait.missing.remove(node);
            wait.missing.is_empty()
        };
        let done = self.0.extract_if(.., waits_for_none);
        done.map(|(monitor, wait)| (monitor, wait.from)).collect()
    }

    /// A process with this monitor ended. Returns false if no waiting process has this monitor.
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
    fn a_waiting_process_is_answered_once_after_the_last_node_or_removed_at_its_end() {
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
