//! The table of the membership: every node that this node remembers, with a limited size.
//!
//! - A node that was met, or that the operator named, stays until it says goodbye or an operator forgets it.
//! - A full table drops the node that left longest ago. For a node that sends a hello itself, or that the operator
//!   names, it may also drop a node that was only reported or discovered. No other entry is dropped.
//! - One member may add at most a quarter of the table. Nodes that were met since then do not count.

use crate::message::MemberState;
use alloc::collections::{BTreeMap, btree_map};
use core::cmp::Reverse;
use wire::etf::Atom;

/// One peer may report unmet nodes up to this part of the table. Further reports are ignored.
const TELLER_SHARE: usize = 4;
/// Unknown nodes that are reported as gone are added only while at most this part of the table is in use.
const STRANGER_SHARE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Candidate,
    Member(MemberState),
}

pub(super) const GONE: Standing = Standing::Member(MemberState::Gone);

/// How this node knows of another; the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Discovery found it.
    Proposed,
    /// A member reported it.
    Told,
    /// The configuration or the operator named it.
    Named,
    /// It sent a hello.
    Met,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) source: Source,
    /// The member that reported it, on whose account it counts.
    pub(super) teller: Option<Atom>,
    /// When it was last reported.
    pub(super) told_us: u64,
    /// Rises from entry to entry; renewed when the node says goodbye.
    pub(super) age: u64,
    pub(super) creation: u32,
    pub(super) connected: bool,
    pub(super) dist_port: Option<u16>,
    pub(super) dialling: bool,
    pub(super) failures: u32,
    pub(super) retry_at_us: u64,
    /// Until when names and locks wait for this node, if it was never connected.
    pub(super) awaited_until_us: u64,
}

impl Entry {
    fn new(source: Source, age: u64) -> Self {
        Self {
            standing: Standing::Candidate,
            source,
            teller: None,
            told_us: 0,
            age,
            creation: 0,
            connected: false,
            dist_port: None,
            dialling: false,
            failures: 0,
            retry_at_us: 0,
            awaited_until_us: 0,
        }
    }

    pub(super) fn wants_dial(&self) -> bool {
        !self.connected && !self.dialling && self.standing != GONE
    }

    /// Whether it was neither met nor named: it may not exist.
    pub(super) fn is_hearsay(&self) -> bool {
        self.source <= Source::Told
    }

    /// Whether it is connected and a member.
    pub(super) fn is_present(&self) -> bool {
        let is_here = |state| matches!(state, MemberState::Up | MemberState::Suspect | MemberState::Leaving);
        self.connected && matches!(self.standing, Standing::Member(state) if is_here(state))
    }

    fn is_gone(&self) -> bool {
        !self.connected && self.standing == GONE
    }
}

/// All nodes except this one, by name.
#[derive(Debug)]
pub(super) struct Entries {
    by_name: BTreeMap<Atom, Entry>,
    entries_max: usize,
    ages: u64,
}

impl Entries {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            by_name: BTreeMap::new(),
            entries_max,
            ages: 0,
        }
    }

    pub(super) fn get(&self, node: &Atom) -> Option<&Entry> {
        self.by_name.get(node)
    }

    pub(super) fn get_mut(&mut self, node: &Atom) -> Option<&mut Entry> {
        self.by_name.get_mut(node)
    }

    pub(super) fn values_mut(&mut self) -> btree_map::ValuesMut<'_, Atom, Entry> {
        self.by_name.values_mut()
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, Atom, Entry> {
        self.by_name.iter()
    }

    pub(super) fn remove(&mut self, node: &Atom) {
        self.by_name.remove(node);
    }

    /// The age for the next entry.
    pub(super) fn next_age(&mut self) -> u64 {
        self.ages += 1;
        self.ages
    }

    /// The entry of a node. If there is none, it is added, if there is room for a node known in this way.
    pub(super) fn enter(&mut self, node: &Atom, source: Source) -> Option<&mut Entry> {
        if !self.by_name.contains_key(node) {
            if self.by_name.len() >= self.entries_max {
                let given_up = self.who_gives_way(source)?;
                self.by_name.remove(&given_up);
            }
            let entry = Entry::new(source, self.next_age());
            self.by_name.insert(node.clone(), entry);
        }
        self.by_name.get_mut(node)
    }

    fn who_gives_way(&self, newcomer: Source) -> Option<Atom> {
        let gone = self.iter().filter(|(_, entry)| entry.is_gone());
        if let Some((name, _)) = gone.min_by_key(|(_, entry)| entry.age) {
            return Some(name.clone());
        }
        if newcomer <= Source::Told {
            return None;
        }
        let hearsay = self
            .iter()
            .filter(|(_, entry)| entry.is_hearsay() && !entry.connected && !entry.dialling);
        let (name, _) = hearsay.max_by_key(|(_, entry)| (entry.failures, Reverse(entry.age)))?;
        Some(name.clone())
    }

    /// How many more unmet nodes this peer may report.
    pub(super) fn room_of_teller(&self, teller: &Atom) -> usize {
        let is_its = |entry: &&Entry| entry.source == Source::Told && entry.teller.as_ref() == Some(teller);
        let taken = self.by_name.values().filter(is_its).count();
        (self.entries_max / TELLER_SHARE).saturating_sub(taken)
    }

    pub(super) fn has_room_for_strangers(&self) -> bool {
        self.by_name.len() < self.entries_max / STRANGER_SHARE
    }
}
