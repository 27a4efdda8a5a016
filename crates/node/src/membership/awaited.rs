//! The nodes that names and locks wait for: nodes that this node knows but was never connected to.
//!
//! - A node that the operator named is awaited until the time to join is over, or until a member reports it as down. If
//!   it is named later, it is awaited for [`AWAITED_US_MAX`].
//! - A node that discovery found during the time to join is awaited until that is over, or until a dial fails.
//! - A node that a member reports as up is awaited for [`AWAITED_US_MAX`], or until a dial fails.
//! - A node that was connected once is not awaited any more: if it is lost, there is a partition.

use super::{
    Membership,
    entries::{Entry, GONE, Source},
};
use alloc::collections::BTreeSet;
use wire::etf::Atom;

/// How long a node is awaited that becomes known later, in microseconds. Longer than one dial takes.
pub(crate) const AWAITED_US_MAX: u64 = 10_000_000;

impl Membership {
    /// All nodes in the table are awaited until this time.
    pub(crate) fn await_all(&mut self, until_us: u64) {
        for entry in self.entries.values_mut() {
            entry.awaited_until_us = until_us;
        }
    }

    /// Like [`Membership::add`]. A new node is awaited until this time.
    pub(crate) fn add_awaited(&mut self, node: &Atom, proposed: bool, until_us: u64) -> bool {
        let is_new = self.entries.get(node).is_none();
        let has_room = self.add(node, proposed);
        if is_new && let Some(entry) = self.entries.get_mut(node) {
            entry.awaited_until_us = until_us;
        }
        has_room
    }

    /// The nodes that are awaited.
    pub(crate) fn awaited(&self, now_us: u64) -> BTreeSet<Atom> {
        let awaited = self.entries.iter().filter(|(_, entry)| entry.is_awaited(now_us));
        awaited.map(|(node, _)| node.clone()).collect()
    }

    /// When the next of them stops being awaited.
    pub(crate) fn next_awaited_us(&self, now_us: u64) -> Option<u64> {
        let awaited = self.entries.iter().filter(|(_, entry)| entry.is_awaited(now_us));
        awaited.map(|(_, entry)| entry.awaited_until_us).min()
    }
}

impl Entry {
    fn is_awaited(&self, now_us: u64) -> bool {
        now_us < self.awaited_until_us && !self.connected && self.standing != GONE
    }

    /// A member reports that the node is alive, or that it is not.
    pub(super) fn told_to_be(&mut self, alive: bool, is_new: bool, now_us: u64) {
        if !alive {
            self.awaited_until_us = 0;
        } else if is_new {
            self.awaited_until_us = now_us + AWAITED_US_MAX;
        }
    }

    /// A dial has failed. A node that the operator named is still awaited, since it may be about to start.
    pub(super) fn not_reached(&mut self) {
        if self.source != Source::Named {
            self.awaited_until_us = 0;
        }
    }
}
