//! Nodes with which this one must still agree. Until it has, its names, locks and groups may differ from theirs.
//!
//! ```text
//! unmet ──connected──▶ silent ──init_connect──▶ joining ──names are merged──▶ known ──in_sync──▶ (agreed)
//!                        └── no answer for 5 s ──┴── not merged within 60 s ──┴──▶ given up
//! ```
//!
//! - A request for a lock or a name at this node waits while a node is unmet, silent or joining.
//! - A node that was given up delays nothing, until it answers or is connected again.
//! - `membership` reports the nodes that were never met; the server of `global` reports the others.

use crate::{context::Context, message::Payload, scheduler::Core};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::Atom;

/// How long a connected node is waited for that sends nothing about `global`, in microseconds.
pub(crate) const SILENT_US_MAX: u64 = 5_000_000;
/// How long a node that takes part in `global` is waited for, in microseconds.
pub(crate) const JOINING_US_MAX: u64 = 60_000_000;

/// A node with which this node does not agree yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Its full name.
    pub node: Atom,
    /// The next step of the exchange with it.
    pub exchange: Exchange,
}

/// The steps after which two nodes agree, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// They connect to each other.
    Connection,
    /// They merge the tables of `global`: names and locks.
    Global,
    /// They send each other the members of their process groups.
    Groups,
}

impl Exchange {
    /// The step in one word, the same in all outputs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Global => "global",
            Self::Groups => "groups",
        }
    }
}

/// How far the exchange with a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The node is connected, but has not sent `init_connect`.
    Silent,
    /// The node has sent it. The names are not merged yet.
    Joining,
    /// The names are merged. The node has not confirmed that it knows this node.
    Known,
}

#[derive(Debug)]
struct Wait {
    stage: Stage,
    until_us: u64,
    given_up: bool,
}

/// All nodes with which this node does not agree yet.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    unmet: BTreeSet<Atom>,
    waits: BTreeMap<Atom, Wait>,
}

impl Agreement {
    /// Sets the nodes that must be connected first. Returns true if they have changed.
    pub(crate) fn set_unmet(&mut self, unmet: BTreeSet<Atom>) -> bool {
        let changed = self.unmet != unmet;
        self.unmet = unmet;
        changed
    }

    /// A visible node that is not in our partition is connected. A node that is listed already keeps its time limit.
    pub(crate) fn connected(&mut self, node: &Atom, until_us: u64) {
        let here = self.waits.get(node).is_some_and(|wait| wait.stage != Stage::Known);
        if !here {
            self.enter(node, Stage::Silent, until_us);
        }
    }

    /// The node takes part in `global`.
    pub(crate) fn answered(&mut self, node: &Atom, now_us: u64) {
        if self.waits.get(node).is_some_and(|wait| wait.stage == Stage::Silent) {
            self.enter(node, Stage::Joining, now_us + JOINING_US_MAX);
        }
    }

    /// Its names and ours are merged. `synced`: it has us in its partition too.
    pub(crate) fn known(&mut self, node: &Atom, synced: bool, now_us: u64) {
        if synced {
            self.waits.remove(node);
        } else {
            self.enter(node, Stage::Known, now_us + JOINING_US_MAX);
        }
    }

    /// The node has us in its partition.
    pub(crate) fn synced(&mut self, node: &Atom) {
        if self.waits.get(node).is_some_and(|wait| wait.stage == Stage::Known) {
            self.waits.remove(node);
        }
    }

    /// The node is no longer connected, or no longer in our partition.
    pub(crate) fn lost(&mut self, node: &Atom) {
        self.waits.remove(node);
    }

    /// Gives up the nodes that took too long. Returns their names, and how far each had come.
    pub(crate) fn give_up(&mut self, now_us: u64) -> Vec<(Atom, Stage)> {
        let late = |wait: &Wait| !wait.given_up && now_us >= wait.until_us;
        let late = self.waits.iter_mut().filter(|(_, wait)| late(wait));
        late.map(|(node, wait)| {
            wait.given_up = true;
            (node.clone(), wait.stage)
        })
        .collect()
    }

    /// Whether some node is waited for.
    pub(crate) fn waits(&self) -> bool {
        self.waits.values().any(|wait| !wait.given_up)
    }

    /// Whether names and locks must wait.
    pub(crate) fn blocks_changes(&self) -> bool {
        let blocks = |wait: &Wait| !wait.given_up && wait.stage != Stage::Known;
        !self.unmet.is_empty() || self.waits.values().any(blocks)
    }

    /// Whether this node agrees with every node that it knows.
    pub(crate) fn is_complete(&self) -> bool {
        self.unmet.is_empty() && !self.waits()
    }

    fn enter(&mut self, node: &Atom, stage: Stage, until_us: u64) {
        let wait = Wait {
            stage,
            until_us,
            given_up: false,
        };
        self.waits.insert(node.clone(), wait);
    }
}

impl<P: Payload> Context<'_, P> {
    /// The nodes with which this node does not agree yet on names, locks and groups. While there is one, its names and
    /// locks may be unknown here. A hidden node shares no names, locks or groups, so it waits for no node.
    pub fn awaited(&self) -> Vec<Awaited> {
        self.core.awaited()
    }
}

impl<P: Payload> Core<P> {
    fn awaited(&self) -> Vec<Awaited> {
        let unmet = self.agreement.unmet.iter().map(|node| (node, Exchange::Connection));
        let waits = self.agreement.waits.iter().filter(|(_, wait)| !wait.given_up);
        let waits = waits.map(|(node, _)| match self.connections.up(node) {
            Some(_) => (node, Exchange::Global),
            None => (node, Exchange::Connection),
        });
        let groups = self.scopes.asked().map(|node| (node, Exchange::Groups));
        let all = unmet.chain(waits).chain(groups);
        all.map(|(node, exchange)| Awaited {
            node: node.clone(),
            exchange,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn node(name: &str) -> Atom {
        Atom::new(name)
    }

    #[test]
    fn a_node_blocks_changes_until_it_is_known_and_the_agreement_until_it_is_synced() {
        let mut agreement = Agreement::default();
        assert!(agreement.set_unmet(BTreeSet::from([node("b@h")])));
        assert!(agreement.blocks_changes());
        agreement.connected(&node("b@h"), SILENT_US_MAX);
        assert!(agreement.set_unmet(BTreeSet::new()) && !agreement.set_unmet(BTreeSet::new()));
        assert!(agreement.blocks_changes());
        agreement.answered(&node("b@h"), 1);
        assert!(agreement.blocks_changes());
        agreement.synced(&node("b@h"));
        assert!(agreement.blocks_changes(), "the node is not known yet");
        agreement.known(&node("b@h"), false, 2);
        assert!(!agreement.blocks_changes() && !agreement.is_complete());
        agreement.synced(&node("b@h"));
        assert!(agreement.is_complete());
    }

    #[test]
    fn a_node_is_given_up_once_and_awaited_again_when_it_answers() {
        let mut agreement = Agreement::default();
        let b = node("b@h");
        agreement.connected(&b, 5);
        // A second attempt on the same connection does not extend the time.
        agreement.connected(&b, 9);
        assert_eq!(agreement.give_up(4), vec![]);
        assert_eq!(agreement.give_up(5), vec![(b.clone(), Stage::Silent)]);
        assert_eq!(agreement.give_up(6), vec![]);
        assert!(agreement.is_complete() && !agreement.waits());
        agreement.connected(&b, 20);
        assert!(agreement.is_complete(), "the node is still given up");
        agreement.answered(&b, 7);
        assert!(agreement.blocks_changes());
        agreement.answered(&b, 8);
        assert_eq!(agreement.give_up(7 + JOINING_US_MAX), vec![(b.clone(), Stage::Joining)]);
        agreement.lost(&b);
        agreement.connected(&b, JOINING_US_MAX * 2);
        assert!(agreement.blocks_changes(), "a new connection is waited for again");
    }
}
