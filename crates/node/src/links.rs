//! Links: when a process ends, the processes linked to it get an exit signal.
//!
//! State per (local process, other process), after the *Distribution Protocol*, section "Link
//! Protocol" (ERTS user's guide):
//!
//! ```text
//! absent ──link, LINK──▶ active ──unlink: UNLINK_ID──▶ unlinking(id)
//!    ▲                     │  ▲                            │   │
//!    └──UNLINK_ID, EXIT────┘  └───────────link─────────────┘   │
//!    └──────────────────────UNLINK_ID_ACK(id), EXIT────────────┘
//! ```
//!
//! - A link between two local processes is two entries, one for each, always `Active`.
//! - An exit signal acts only on an `Active` entry, and removes it. So after `unlink` no signal comes through.

use crate::table::Local;
use alloc::{collections::BTreeMap, vec::Vec};
use wire::etf::{Atom, Pid};

/// A pid as a key. The node comes first, so that the pids of a node are a range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    node: Atom,
    creation: u32,
    serial: u32,
    id: u32,
}

impl Key {
    fn of(pid: &Pid) -> Self {
        Self {
            node: pid.node.clone(),
            creation: pid.creation,
            serial: pid.serial,
            id: pid.id,
        }
    }

    fn first_of(node: &Atom) -> Self {
        Self {
            node: node.clone(),
            creation: 0,
            serial: 0,
            id: 0,
        }
    }

    fn pid(&self) -> Pid {
        Pid {
            node: self.node.clone(),
            id: self.id,
            serial: self.serial,
            creation: self.creation,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    /// This node sent UNLINK_ID with this id, and the acknowledgement has not come yet.
    Unlinking(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    of: BTreeMap<Local, BTreeMap<Key, State>>,
    /// How many entries there are for each node.
    per_node: BTreeMap<Atom, usize>,
    last_unlink: u64,
}

impl Links {
    /// This side links. Returns false if the link was active already, so that nothing must be sent.
    pub(crate) fn link(&mut self, local: Local, other: &Pid) -> bool {
        self.insert(local, other, true)
    }

    /// The other side has linked. An existing entry stays as it is.
    pub(crate) fn linked(&mut self, local: Local, other: &Pid) {
        self.insert(local, other, false);
    }

    fn insert(&mut self, local: Local, other: &Pid, reactivate: bool) -> bool {
        let links = self.of.entry(local).or_default();
        let key = Key::of(other);
        match links.get_mut(&key) {
            Some(State::Active) => false,
            Some(state) => {
                if reactivate {
                    *state = State::Active;
                }
                reactivate
            }
            None => {
                *self.per_node.entry(key.node.clone()).or_default() += 1;
                links.insert(key, State::Active);
                true
            }
        }
    }

    /// This side unlinks from a process of another node. Returns the id to send, if the link was active.
    pub(crate) fn unlink(&mut self, local: Local, other: &Pid) -> Option<u64> {
        let state = self.of.get_mut(&local)?.get_mut(&Key::of(other))?;
        if *state != State::Active {
            return None;
        }
        self.last_unlink += 1;
        *state = State::Unlinking(self.last_unlink);
        Some(self.last_unlink)
    }

    /// Removes an active link at once: after a local unlink, or the other side's UNLINK_ID.
    pub(crate) fn remove(&mut self, local: Local, other: &Pid) {
        self.remove_if(local, other, |state| state == State::Active);
    }

    /// The other side has received our UNLINK_ID.
    pub(crate) fn acknowledged(&mut self, local: Local, other: &Pid, id: u64) {
        self.remove_if(local, other, |state| state == State::Unlinking(id));
    }

    /// An exit signal came over the link. Returns whether it takes effect.
    pub(crate) fn exited(&mut self, local: Local, other: &Pid) -> bool {
        self.remove_if(local, other, |_| true) == Some(State::Active)
    }

    fn remove_if(&mut self, local: Local, other: &Pid, which: impl Fn(State) -> bool) -> Option<State> {
        let links = self.of.get_mut(&local)?;
        let key = Key::of(other);
        let state = *links.get(&key)?;
        if !which(state) {
            return None;
        }
        links.remove(&key);
        if links.is_empty() {
            self.of.remove(&local);
        }
        self.uncount(&key.node);
        Some(state)
    }

    /// A local process has ended. Removes its links, and returns the processes to notify.
    pub(crate) fn take(&mut self, local: Local) -> Vec<Pid> {
        let links = self.of.remove(&local).unwrap_or_default();
        let mut active = Vec::with_capacity(links.len());
        for (key, state) in links {
            self.uncount(&key.node);
            if state == State::Active {
                active.push(key.pid());
            }
        }
        active
    }

    /// The node is lost. Returns the exit signals for its links, as (to, from).
    pub(crate) fn active_with(&self, node: &Atom) -> Vec<(Local, Pid)> {
        let mut active = Vec::new();
        for (local, links) in &self.of {
            let range = links
                .range(Key::first_of(node)..)
                .take_while(|(key, _)| key.node == *node);
            active.extend(
                range
                    .filter(|(_, state)| **state == State::Active)
                    .map(|(key, _)| (*local, key.pid())),
            );
        }
        active
    }

    /// The node is lost. Removes the entries that only waited for its acknowledgement.
    pub(crate) fn forget_unlinking_with(&mut self, node: &Atom) {
        let mut gone = 0;
        self.of.retain(|_, links| {
            let before = links.len();
            links.retain(|key, state| key.node != *node || *state == State::Active);
            gone += before - links.len();
            !links.is_empty()
        });
        if gone > 0 {
            let count = self.per_node.entry(node.clone()).or_default();
            *count -= gone;
            if *count == 0 {
                self.per_node.remove(node);
            }
        }
    }

    /// The nodes with links, and how many each has.
    pub(crate) fn per_node(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.per_node.iter().map(|(node, count)| (node, *count))
    }

    /// How many links there are with a node.
    pub(crate) fn count(&self, node: &Atom) -> usize {
        self.per_node.get(node).copied().unwrap_or(0)
    }

    fn uncount(&mut self, node: &Atom) {
        let count = self.per_node.get_mut(node).expect("counted when it was inserted");
        *count -= 1;
        if *count == 0 {
            self.per_node.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Local = Local { id: 1, serial: 0 };

    fn other(id: u32) -> Pid {
        Pid {
            node: Atom::new("b@h"),
            id,
            serial: 0,
            creation: 9,
        }
    }

    #[test]
    fn unlink_then_exit_does_not_act() {
        let mut links = Links::default();
        assert!(links.link(ME, &other(1)));
        assert!(!links.link(ME, &other(1)), "already active: nothing to send");
        assert!(links.unlink(ME, &other(1)).is_some());
        assert_eq!(links.unlink(ME, &other(1)), None);
        assert!(!links.exited(ME, &other(1)));
        assert_eq!(links.count(&other(1).node), 0);
    }

    #[test]
    fn relink_while_unlinking_survives_the_late_acknowledgement() {
        let mut links = Links::default();
        links.link(ME, &other(1));
        let id = links.unlink(ME, &other(1)).unwrap();
        assert!(links.link(ME, &other(1)), "must be sent again");
        links.acknowledged(ME, &other(1), id);
        assert!(links.exited(ME, &other(1)));
    }

    #[test]
    fn the_others_link_does_not_revive_what_we_unlink() {
        let mut links = Links::default();
        links.link(ME, &other(1));
        let id = links.unlink(ME, &other(1)).unwrap();
        links.linked(ME, &other(1));
        assert_eq!(links.active_with(&other(1).node), []);
        links.acknowledged(ME, &other(1), id);
        assert_eq!(links.count(&other(1).node), 0);
    }

    #[test]
    fn a_lost_node_is_a_range() {
        let mut links = Links::default();
        links.link(ME, &other(1));
        links.link(ME, &other(2));
        links.unlink(ME, &other(2));
        let elsewhere = Pid {
            node: Atom::new("c@h"),
            ..other(1)
        };
        links.link(ME, &elsewhere);
        assert_eq!(links.active_with(&other(1).node), [(ME, other(1))]);
        links.forget_unlinking_with(&other(1).node);
        assert_eq!(links.count(&other(1).node), 1);
        assert_eq!(links.take(ME), [other(1), elsewhere.clone()]);
        assert_eq!(links.count(&elsewhere.node), 0);
    }
}
