//! Monitors: which processes are notified of the end of another. A monitor fires at most once. It fires at the latest
//! when the node of the other side is lost.
//!
//! - *Watches* belong to this node: a local process watches any process. The key is the number in our reference.
//! - *Guests* belong to peers: a process of a peer watches a local process. The key is (peer, reference).
//!
//! A call (`gen_server`) is a watch whose reference is also the alias for the answer.

use crate::{message::Address, table::Local, timers::TimerId};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::{Atom, Pid, Ref};

/// A local process watches.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) watcher: Local,
    pub(crate) target: Address,
    pub(crate) at: At,
    pub(crate) purpose: Purpose,
}

/// What the end of the target means for its watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A DOWN message.
    Monitor,
    /// The end of a call that would otherwise time out.
    Call { timer: TimerId },
    /// The outcome of an `erpc` call, which is in the exit reason.
    Erpc { timer: TimerId },
    /// No such process exists: the requested spawn has failed.
    Spawn { link: bool, monitor: bool },
}

/// Where the watched process lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Here(Local),
    There(Atom),
    /// There is no such process: the DOWN is on its way.
    Nowhere,
}

impl At {
    pub(crate) fn is_at(&self, other: &Atom) -> bool {
        matches!(self, At::There(node) if node == other)
    }
}

/// A process of a peer watches a local one.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) watcher: Pid,
    pub(crate) reference: Ref,
    /// The name by which it was monitored. The DOWN must contain the same name.
    pub(crate) name: Option<Atom>,
    pub(crate) target: Local,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GuestKey {
    peer: Atom,
    node: Atom,
    creation: u32,
    words: [u32; 5],
}

impl GuestKey {
    fn new(peer: &Atom, reference: &Ref) -> Self {
        Self {
            peer: peer.clone(),
            node: reference.node.clone(),
            creation: reference.creation,
            words: reference.words,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Monitors {
    watches: BTreeMap<u64, Watch>,
    by_watcher: BTreeSet<(Local, u64)>,
    by_target: BTreeSet<(Local, u64)>,
    by_node: BTreeSet<(Atom, u64)>,
    guests: BTreeMap<GuestKey, Guest>,
    guests_of: BTreeSet<(Local, GuestKey)>,
    guests_per_peer: BTreeMap<Atom, usize>,
}

impl Monitors {
    pub(crate) fn watch(&mut self, number: u64, watch: Watch) {
        self.by_watcher.insert((watch.watcher, number));
        match &watch.at {
            At::Here(target) => {
                self.by_target.insert((*target, number));
            }
            At::There(node) => {
                self.by_node.insert((node.clone(), number));
            }
            At::Nowhere => {}
        }
        self.watches.insert(number, watch);
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Watch> {
        self.watches.get(&number)
    }

    /// The target of a watch is known now, or the watch has another purpose from now on.
    pub(crate) fn aim(&mut self, number: u64, target: Address, purpose: Purpose) {
        if let Some(watch) = self.watches.get_mut(&number) {
            (watch.target, watch.purpose) = (target, purpose);
        }
    }

    /// Ends a watch: it fired, or is not needed any more.
    pub(crate) fn unwatch(&mut self, number: u64) -> Option<Watch> {
        let watch = self.watches.remove(&number)?;
        self.by_watcher.remove(&(watch.watcher, number));
        match &watch.at {
            At::Here(target) => {
                self.by_target.remove(&(*target, number));
            }
            At::There(node) => {
                self.by_node.remove(&(node.clone(), number));
            }
            At::Nowhere => {}
        }
        Some(watch)
    }

    /// The watches of a process.
    pub(crate) fn of_watcher(&self, watcher: Local) -> Vec<u64> {
        let range = (watcher, 0)..=(watcher, u64::MAX);
        self.by_watcher.range(range).map(|(_, number)| *number).collect()
    }

    /// The watches on a local process.
    pub(crate) fn of_target(&self, target: Local) -> Vec<u64> {
        let range = (target, 0)..=(target, u64::MAX);
        self.by_target.range(range).map(|(_, number)| *number).collect()
    }

    /// The watches on processes of a node.
    pub(crate) fn of_node(&self, node: &Atom) -> Vec<u64> {
        let range = (node.clone(), 0)..=(node.clone(), u64::MAX);
        self.by_node.range(range).map(|(_, number)| *number).collect()
    }

    /// Adds a guest. A second monitor with the same reference is ignored.
    pub(crate) fn invite(&mut self, guest: Guest) {
        let key = GuestKey::new(&guest.watcher.node, &guest.reference);
        if self.guests.contains_key(&key) {
            return;
        }
        *self.guests_per_peer.entry(key.peer.clone()).or_default() += 1;
        self.guests_of.insert((guest.target, key.clone()));
        self.guests.insert(key, guest);
    }

    /// Removes the monitor of a peer's process. Returns the process that it watched.
    pub(crate) fn dismiss(&mut self, peer: &Atom, reference: &Ref) -> Option<Local> {
        let guest = self.remove_guest(&GuestKey::new(peer, reference))?;
        Some(guest.target)
    }

    /// A local process has ended. Returns the guests to notify.
    pub(crate) fn take_guests(&mut self, target: Local) -> Vec<Guest> {
        let first = GuestKey {
            peer: Atom::new(""),
            node: Atom::new(""),
            creation: 0,
            words: [0; 5],
        };
        let keys: Vec<GuestKey> = self
            .guests_of
            .range((target, first)..)
            .take_while(|(of, _)| *of == target)
            .map(|(_, key)| key.clone())
            .collect();
        keys.iter().filter_map(|key| self.remove_guest(key)).collect()
    }

    /// A peer is lost. Removes all its guests.
    pub(crate) fn dismiss_all(&mut self, peer: &Atom) {
        let first = GuestKey {
            peer: peer.clone(),
            node: Atom::new(""),
            creation: 0,
            words: [0; 5],
        };
        let keys: Vec<GuestKey> = self
            .guests
            .range(first..)
            .take_while(|(key, _)| key.peer == *peer)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.remove_guest(&key);
        }
    }

    /// The watches, in the order they were made.
    pub(crate) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.values()
    }

    /// The peers with monitors here, and how many each has.
    pub(crate) fn guests_per_peer(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.guests_per_peer.iter().map(|(peer, count)| (peer, *count))
    }

    /// How many monitors a peer holds here.
    pub(crate) fn guests(&self, peer: &Atom) -> usize {
        self.guests_per_peer.get(peer).copied().unwrap_or(0)
    }

    fn remove_guest(&mut self, key: &GuestKey) -> Option<Guest> {
        let guest = self.guests.remove(key)?;
        self.guests_of.remove(&(guest.target, key.clone()));
        let count = self.guests_per_peer.get_mut(&key.peer).expect("counted when invited");
        *count -= 1;
        if *count == 0 {
            self.guests_per_peer.remove(&key.peer);
        }
        Some(guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const ME: Local = Local { id: 1, serial: 0 };
    const YOU: Local = Local { id: 2, serial: 0 };

    fn guest(word: u32) -> Guest {
        let node = Atom::new("b@h");
        Guest {
            watcher: Pid {
                node: node.clone(),
                id: 5,
                serial: 0,
                creation: 9,
            },
            reference: Ref {
                node,
                creation: 9,
                len: 3,
                words: [word, 0, 0, 0, 0],
            },
            name: None,
            target: ME,
        }
    }

    #[test]
    fn a_watch_is_found_from_all_sides_and_gone_from_all() {
        let mut monitors = Monitors::default();
        let target = Address::Name(Atom::new("x"));
        let watch = Watch {
            watcher: ME,
            target,
            at: At::Here(YOU),
            purpose: Purpose::Monitor,
        };
        monitors.watch(3, watch);
        assert_eq!(monitors.of_watcher(ME), vec![3]);
        assert_eq!(monitors.of_target(YOU), vec![3]);
        assert!(monitors.unwatch(3).is_some());
        assert!(monitors.unwatch(3).is_none());
        assert!(monitors.of_watcher(ME).is_empty() && monitors.of_target(YOU).is_empty());
    }

    #[test]
    fn guests_are_counted_and_leave_once() {
        let mut monitors = Monitors::default();
        monitors.invite(guest(1));
        monitors.invite(guest(1));
        monitors.invite(guest(2));
        let peer = Atom::new("b@h");
        assert_eq!(monitors.guests(&peer), 2);
        monitors.dismiss(&peer, &guest(1).reference);
        assert_eq!(monitors.take_guests(ME).len(), 1);
        assert_eq!(monitors.take_guests(ME).len(), 0);
        monitors.invite(guest(3));
        monitors.dismiss_all(&peer);
        assert_eq!(monitors.guests(&peer), 0);
    }
}
