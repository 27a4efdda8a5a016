//! Monitors: who is told of whose end. Each fires at most once, and at the latest when the node of
//! the other side is lost.
//!
//! - *Watches* are ours: a local process watches anything. Keyed by the number in our reference.
//! - *Guests* are theirs: a process of a peer watches a local one. Keyed by (peer, reference).
//!
//! A call (`gen_server`) is a watch whose reference is also the alias of the answer.

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

/// What the end of the target is for its watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A DOWN message.
    Monitor,
    /// The answer to a call that would else time out.
    Call { timer: TimerId },
    /// The outcome of an `erpc` call, which the exit reason is.
    Erpc { timer: TimerId },
    /// There is no such process: the spawn that was asked for failed.
    Spawn { link: bool, monitor: bool },
}

/// Where what is watched lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Here(Local),
    There(Atom),
    /// Nowhere: the DOWN is on its way.
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
    /// As it was addressed: the DOWN must name the same.
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

    /// What is watched has become known, or is watched for another purpose from now on.
    pub(crate) fn aim(&mut self, number: u64, target: Address, purpose: Purpose) {
        if let Some(watch) = self.watches.get_mut(&number) {
            (watch.target, watch.purpose) = (target, purpose);
        }
    }

    /// The watch is over: it fired, or nobody wants it any more.
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

    /// A second monitor under the reference of a first is ignored.
    pub(crate) fn invite(&mut self, guest: Guest) {
        let key = GuestKey::new(&guest.watcher.node, &guest.reference);
        if self.guests.contains_key(&key) {
            return;
        }
        *self.guests_per_peer.entry(key.peer.clone()).or_default() += 1;
        self.guests_of.insert((guest.target, key.clone()));
        self.guests.insert(key, guest);
    }

    /// The peer's process does not want to know any more. What it watched.
    pub(crate) fn dismiss(&mut self, peer: &Atom, reference: &Ref) -> Option<Local> {
        let guest = self.remove_guest(&GuestKey::new(peer, reference))?;
        Some(guest.target)
    }

    /// The local process is gone: those of the peers to tell.
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

    /// The peer is lost, and its watchers with it.
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

    /// The peers that hold monitors here, with how many.
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
