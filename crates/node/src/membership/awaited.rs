//! For which nodes names and locks wait: those that this node knows of and was never connected to.
//!
//! - A node that the operator named is awaited until the time to join is over, or a member says that it is down. Named
//!   later, it is awaited for [`AWAITED_US_MAX`].
//! - One that discovery proposed during the time to join: until that is over, or a dial failed.
//! - One that a member says is up: for [`AWAITED_US_MAX`], or until a dial failed.
//! - A node that was connected once is not awaited any more: if it is lost, the cluster has parted.

use super::{
    Membership,
    entries::{Entry, GONE, Source},
};
use alloc::collections::BTreeSet;
use wire::etf::Atom;

/// A node that becomes known later is awaited for this long, in microseconds: longer than one dial takes.
pub(crate) const AWAITED_US_MAX: u64 = 10_000_000;

impl Membership {
    /// All nodes that are here already are awaited until then.
    pub(crate) fn await_all(&mut self, until_us: u64) {
        for entry in self.entries.values_mut() {
            entry.awaited_until_us = until_us;
        }
    }

    /// As [`Membership::add`], and a node that is new is awaited until then.
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

    /// When the first of them is awaited no more.
    pub(crate) fn next_awaited_us(&self, now_us: u64) -> Option<u64> {
        let awaited = self.entries.iter().filter(|(_, entry)| entry.is_awaited(now_us));
        awaited.map(|(_, entry)| entry.awaited_until_us).min()
    }
}

impl Entry {
    fn is_awaited(&self, now_us: u64) -> bool {
        now_us < self.awaited_until_us && !self.connected && self.standing != GONE
    }

    /// A member says that it is alive, or that it is not.
    pub(super) fn told_to_be(&mut self, alive: bool, is_new: bool, now_us: u64) {
        if !alive {
            self.awaited_until_us = 0;
        } else if is_new {
            self.awaited_until_us = now_us + AWAITED_US_MAX;
        }
    }

    /// A dial came to nothing. The operator may have named a node that is about to start.
    pub(super) fn not_reached(&mut self) {
        if self.source != Source::Named {
            self.awaited_until_us = 0;
        }
    }
}
