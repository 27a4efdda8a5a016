//! The table of the membership: every node that this one remembers, in bounded room.
//!
//! - Who is met in person, or named by the operator, stays until it said good-bye or is forgotten.
//! - Full, the table gives up who said good-bye, the longest ago first. For a node that says hello itself, or that the
//!   operator names, it gives up one of those that were only told of or proposed, too. Nobody else gives way.
//! - One teller brings in a quarter of the table at most, those met since not counted.

use crate::message::MemberState;
use alloc::collections::{BTreeMap, btree_map};
use core::cmp::Reverse;
use wire::etf::Atom;

/// One peer may tell of this part of the table, of nodes that were not met yet; of further ones nothing is believed.
const TELLER_SHARE: usize = 4;
/// Of strangers that said good-bye we want to know while no more than this part of the table is in use.
const STRANGER_SHARE: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Candidate,
    Member(MemberState),
}

pub(super) const GONE: Standing = Standing::Member(MemberState::Gone);

/// How we know of a node, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// By discovery.
    Proposed,
    /// By what members tell.
    Told,
    /// By configuration, or by the operator's word.
    Named,
    /// By its own hello.
    Met,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) source: Source,
    /// On whose account it is here, if it was told of.
    pub(super) teller: Option<Atom>,
    /// When it was last told of.
    pub(super) told_us: u64,
    /// Grows from entry to entry, and when one says good-bye.
    pub(super) age: u64,
    pub(super) creation: u32,
    pub(super) connected: bool,
    pub(super) dist_port: Option<u16>,
    pub(super) dialling: bool,
    pub(super) failures: u32,
    pub(super) retry_at_us: u64,
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
        }
    }

    pub(super) fn wants_dial(&self) -> bool {
        !self.connected && !self.dialling && self.standing != GONE
    }

    /// Neither met nor asked for: it may be anything.
    pub(super) fn is_hearsay(&self) -> bool {
        self.source <= Source::Told
    }

    /// It is connected and a member.
    pub(super) fn is_present(&self) -> bool {
        let is_here = |state| matches!(state, MemberState::Up | MemberState::Suspect | MemberState::Leaving);
        self.connected && matches!(self.standing, Standing::Member(state) if is_here(state))
    }

    fn is_gone(&self) -> bool {
        !self.connected && self.standing == GONE
    }
}

/// All but this node, by name.
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

    pub(super) fn iter(&self) -> btree_map::Iter<'_, Atom, Entry> {
        self.by_name.iter()
    }

    pub(super) fn remove(&mut self, node: &Atom) {
        self.by_name.remove(node);
    }

    /// The age of what comes now.
    pub(super) fn next_age(&mut self) -> u64 {
        self.ages += 1;
        self.ages
    }

    /// The entry of a node, made if there is room for one who is known like this.
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

    /// Of how many more nodes this peer may tell.
    pub(super) fn room_of_teller(&self, teller: &Atom) -> usize {
        let is_its = |entry: &&Entry| entry.source == Source::Told && entry.teller.as_ref() == Some(teller);
        let taken = self.by_name.values().filter(is_its).count();
        (self.entries_max / TELLER_SHARE).saturating_sub(taken)
    }

    pub(super) fn has_room_for_strangers(&self) -> bool {
        self.by_name.len() < self.entries_max / STRANGER_SHARE
    }
}
