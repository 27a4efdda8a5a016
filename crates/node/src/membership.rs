//! Who belongs to the cluster: the decisions, without a message sent.
//!
//! ```text
//!  candidate ──hello──▶ up ⇄ suspect            (silence for half the tick time)
//!   told ─────────▶ down ◀──connection lost── up, suspect, leaving
//!                     │ ▲└──hello──▶ up
//!               forget│ │newer life told
//!                     ▼ │
//!                    gone ◀──good-bye── leaving ◀──as it said── up
//! ```
//!
//! - A node is a *candidate* until it says hello: it is dialled, and in nobody's view.
//! - What a node says of itself over its connection beats what others tell.
//! - Of two lives of a name the greater creation is the newer, unless a member sees the other alive; of one life, `gone`
//!   beats the rest, unless we are connected to it.
//! - Candidates given by configuration and members that are down are dialled for ever; those that
//!   discovery proposed, a few times, for it will propose them again.

use crate::{
    hello::{Hello, Told},
    message::{Member, MemberState},
};
use alloc::{collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use wire::etf::Atom;

const BACKOFF_MIN_US: u64 = 100_000;
pub(crate) const BACKOFF_MAX_US: u64 = 5_000_000;
/// A proposed candidate is dropped after so many failures in a row.
const PROPOSED_FAILURES_MAX: u32 = 5;

/// What a hello came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These entries are new to us: the other members should hear of them.
    News(Vec<Told>),
    /// It is of another cluster.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Candidate { proposed: bool },
    Member(MemberState),
}

#[derive(Clone, Debug)]
struct Entry {
    standing: Standing,
    creation: u32,
    connected: bool,
    dist_port: Option<u16>,
    dialling: bool,
    failures: u32,
    retry_at_us: u64,
}

impl Entry {
    fn new(standing: Standing) -> Self {
        Self {
            standing,
            creation: 0,
            connected: false,
            dist_port: None,
            dialling: false,
            failures: 0,
            retry_at_us: 0,
        }
    }

    fn wants_dial(&self) -> bool {
        !self.connected && !self.dialling && self.standing != Standing::Member(MemberState::Gone)
    }
}

#[derive(Debug)]
pub(crate) struct Membership {
    me: Told,
    birth: Bytes,
    /// All but this node.
    entries: BTreeMap<Atom, Entry>,
    entries_max: usize,
}

impl Membership {
    pub(crate) fn new(me: Told, birth: Bytes, entries_max: usize) -> Self {
        Self {
            me,
            birth,
            entries: BTreeMap::new(),
            entries_max,
        }
    }

    // What this node says

    /// All we know, for a peer that just connected.
    pub(crate) fn hello(&self) -> Hello {
        let told = |(name, entry): (&Atom, &Entry)| match entry.standing {
            Standing::Member(state) => Some(Told {
                name: name.clone(),
                creation: entry.creation,
                state,
                dist_port: entry.dist_port,
            }),
            Standing::Candidate { .. } => None,
        };
        self.hello_about(self.entries.iter().filter_map(told).collect())
    }

    /// Ourselves and some news.
    pub(crate) fn hello_about(&self, others: Vec<Told>) -> Hello {
        Hello {
            birth: self.birth.clone(),
            sender: self.me.clone(),
            others,
        }
    }

    /// This node's own state. False if it was that before.
    pub(crate) fn set_own(&mut self, state: MemberState) -> bool {
        core::mem::replace(&mut self.me.state, state) != state
    }

    // Wishes

    /// A node to dial until it answers. A member that was gone is wanted back.
    pub(crate) fn add(&mut self, node: &Atom, proposed: bool) {
        let standing = Standing::Candidate { proposed };
        let Some(entry) = self.entry(node, standing) else {
            return;
        };
        match entry.standing {
            Standing::Candidate { proposed: true } => entry.standing = standing,
            Standing::Member(MemberState::Gone) if !proposed => {
                entry.standing = standing;
                entry.retry_at_us = 0;
            }
            Standing::Candidate { proposed: false } | Standing::Member(_) => {}
        }
    }

    /// Marks a member that is down as gone: what to tell the others.
    pub(crate) fn forget(&mut self, node: &Atom) -> Option<Told> {
        let entry = self.entries.get_mut(node)?;
        if entry.standing != Standing::Member(MemberState::Down) {
            return None;
        }
        entry.standing = Standing::Member(MemberState::Gone);
        Some(Told {
            name: node.clone(),
            creation: entry.creation,
            state: MemberState::Gone,
            dist_port: entry.dist_port,
        })
    }

    // Connections

    pub(crate) fn connected(&mut self, node: &Atom) {
        if let Some(entry) = self.entries.get_mut(node) {
            entry.connected = true;
            entry.dialling = false;
            entry.failures = 0;
        }
    }

    pub(crate) fn disconnected(&mut self, node: &Atom, now_us: u64, random: u64) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        entry.connected = false;
        entry.retry_at_us = now_us + backoff_us(0, random);
        if let Standing::Member(state) = &mut entry.standing
            && *state != MemberState::Gone
        {
            *state = MemberState::Down;
        }
    }

    /// Nothing was read from a connected member for half the tick time; or it was again.
    pub(crate) fn silent(&mut self, node: &Atom, silent: bool) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        match (entry.standing, silent) {
            (Standing::Member(MemberState::Up), true) if entry.connected => {
                entry.standing = Standing::Member(MemberState::Suspect);
            }
            (Standing::Member(MemberState::Suspect), false) => {
                entry.standing = Standing::Member(MemberState::Up);
            }
            _ => {}
        }
    }

    // What others say

    /// A hello of a connected peer, about itself and others.
    pub(crate) fn heard(&mut self, hello: Hello) -> Heard {
        if hello.birth != self.birth {
            return Heard::Refused;
        }
        let mut news = Vec::new();
        if self.heard_of_itself(&hello.sender) {
            news.push(hello.sender);
        }
        for told in hello.others {
            if told.name != self.me.name && self.was_told(&told) {
                news.push(told);
            }
        }
        Heard::News(news)
    }

    fn heard_of_itself(&mut self, told: &Told) -> bool {
        let state = match told.state {
            // What it thinks of itself; how it is reached is ours to judge.
            MemberState::Up | MemberState::Suspect | MemberState::Down => MemberState::Up,
            MemberState::Leaving => MemberState::Leaving,
            MemberState::Gone => MemberState::Gone,
        };
        let Some(entry) = self.entry(&told.name, Standing::Candidate { proposed: false }) else {
            return false;
        };
        let known = matches!(entry.standing, Standing::Member(state) if state != MemberState::Gone)
            && entry.creation == told.creation;
        entry.standing = Standing::Member(state);
        entry.creation = told.creation;
        entry.dist_port = told.dist_port;
        entry.connected = true;
        entry.dialling = false;
        entry.failures = 0;
        !known || state == MemberState::Gone
    }

    /// Whether it was news.
    fn was_told(&mut self, told: &Told) -> bool {
        let gone = told.state == MemberState::Gone;
        let Some(entry) = self.entry(&told.name, Standing::Candidate { proposed: false }) else {
            return false;
        };
        let state = if gone { MemberState::Gone } else { MemberState::Down };
        // A port mapper that was restarted may give creations below earlier ones: what is seen alive is a newer life.
        let alive = matches!(told.state, MemberState::Up | MemberState::Suspect);
        let newer = told.creation > entry.creation || alive && told.creation != entry.creation;
        let believe = !entry.connected
            && match entry.standing {
                Standing::Candidate { .. } => true,
                Standing::Member(state) if gone && state != MemberState::Gone => told.creation >= entry.creation,
                Standing::Member(_) => newer,
            };
        if believe {
            if matches!(entry.standing, Standing::Member(MemberState::Gone)) {
                entry.retry_at_us = 0;
            }
            entry.standing = Standing::Member(state);
            entry.creation = told.creation;
            entry.dist_port = told.dist_port.or(entry.dist_port);
        }
        believe
    }

    fn entry(&mut self, node: &Atom, standing: Standing) -> Option<&mut Entry> {
        if *node == self.me.name || (self.entries.len() >= self.entries_max && !self.entries.contains_key(node)) {
            return None;
        }
        Some(self.entries.entry(node.clone()).or_insert_with(|| Entry::new(standing)))
    }

    // Dialling

    /// Whom to dial now, with the port if known; they count as being dialled. A node that said
    /// good-bye dials nobody.
    pub(crate) fn dial(&mut self, now_us: u64, dials_max: usize) -> Vec<(Atom, Option<u16>)> {
        if self.me.state == MemberState::Gone {
            return Vec::new();
        }
        let under_way = self.entries.values().filter(|entry| entry.dialling).count();
        let mut due: Vec<(u64, Atom)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.wants_dial() && entry.retry_at_us <= now_us)
            .map(|(name, entry)| (entry.retry_at_us, name.clone()))
            .collect();
        due.sort();
        due.truncate(dials_max.saturating_sub(under_way));
        let dialled = due.into_iter().map(|(_, name)| {
            let entry = self.entries.get_mut(&name).expect("just listed");
            entry.dialling = true;
            (name, entry.dist_port)
        });
        dialled.collect()
    }

    /// A dial came to nothing.
    pub(crate) fn unreachable(&mut self, node: &Atom, now_us: u64, random: u64) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        entry.dialling = false;
        if entry.connected {
            return;
        }
        entry.retry_at_us = now_us + backoff_us(entry.failures, random);
        entry.failures = entry.failures.saturating_add(1);
        let proposed = entry.standing == Standing::Candidate { proposed: true };
        if proposed && entry.failures >= PROPOSED_FAILURES_MAX {
            self.entries.remove(node);
        }
    }

    /// When the next dial is due.
    pub(crate) fn next_dial_us(&self) -> Option<u64> {
        if self.me.state == MemberState::Gone {
            return None;
        }
        let due = self.entries.values().filter(|entry| entry.wants_dial());
        due.map(|entry| entry.retry_at_us).min()
    }

    // The view

    /// The connected members.
    pub(crate) fn peers(&self) -> Vec<Atom> {
        let is_peer = |entry: &Entry| entry.connected && matches!(entry.standing, Standing::Member(_));
        let peers = self.entries.iter().filter(|(_, entry)| is_peer(entry));
        peers.map(|(name, _)| name.clone()).collect()
    }

    /// All members and this node, by name.
    pub(crate) fn view(&self) -> Vec<Member> {
        let member = |(name, entry): (&Atom, &Entry)| match entry.standing {
            Standing::Member(state) => Some(Member {
                name: name.clone(),
                creation: entry.creation,
                state,
                connected: entry.connected,
                dist_port: entry.dist_port,
            }),
            Standing::Candidate { .. } => None,
        };
        let mut view: Vec<Member> = self.entries.iter().filter_map(member).collect();
        let at = view.partition_point(|member| member.name < self.me.name);
        let me = Member {
            name: self.me.name.clone(),
            creation: self.me.creation,
            state: self.me.state,
            connected: true,
            dist_port: self.me.dist_port,
        };
        view.insert(at, me);
        view
    }
}

/// 0.1 s, doubled with each failure up to 5 s; of that, half is left to chance, so that two nodes do
/// not run into each other for ever.
pub(crate) fn backoff_us(failures: u32, random: u64) -> u64 {
    let full_us = (BACKOFF_MIN_US << failures.min(8)).min(BACKOFF_MAX_US);
    full_us / 2 + random % (full_us / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn told(name: &str, creation: u32, state: MemberState) -> Told {
        Told {
            name: Atom::new(name),
            creation,
            state,
            dist_port: None,
        }
    }

    fn membership() -> Membership {
        let me = told("a@h", 1, MemberState::Up);
        Membership::new(me, Bytes::from_static(b"birth"), 16)
    }

    fn hello(sender: Told, others: Vec<Told>) -> Hello {
        Hello {
            birth: Bytes::from_static(b"birth"),
            sender,
            others,
        }
    }

    fn state(membership: &Membership, name: &str) -> Option<MemberState> {
        let view = membership.view();
        view.iter()
            .find(|member| member.name.as_str() == name)
            .map(|member| member.state)
    }

    #[test]
    fn a_candidate_is_dialled_and_in_no_view() {
        let mut a = membership();
        a.add(&Atom::new("b@h"), false);
        a.add(&Atom::new("a@h"), false);
        assert_eq!(a.dial(0, 8), [(Atom::new("b@h"), None)]);
        assert_eq!(a.dial(0, 8), [], "it is being dialled");
        assert_eq!(a.view().len(), 1);
        a.unreachable(&Atom::new("b@h"), 0, 0);
        assert_eq!(a.next_dial_us(), Some(50_000));
    }

    #[test]
    fn what_a_member_tells_is_dialled_and_told_on_once() {
        let mut a = membership();
        let c = told("c@h", 3, MemberState::Suspect);
        let b = told("b@h", 2, MemberState::Up);
        let first = a.heard(hello(b.clone(), vec![c.clone()]));
        assert_eq!(first, Heard::News(vec![b.clone(), c.clone()]));
        assert_eq!(a.heard(hello(b, vec![c])), Heard::News(vec![]));
        assert_eq!(state(&a, "c@h"), Some(MemberState::Down));
        assert_eq!(a.dial(0, 8), [(Atom::new("c@h"), None)]);
    }

    #[test]
    fn good_bye_outlives_the_connection_and_stale_tales() {
        let mut a = membership();
        a.heard(hello(told("b@h", 2, MemberState::Up), vec![]));
        a.heard(hello(told("b@h", 2, MemberState::Leaving), vec![]));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Leaving));
        a.heard(hello(told("b@h", 2, MemberState::Gone), vec![]));
        a.disconnected(&Atom::new("b@h"), 0, 0);
        assert_eq!(state(&a, "b@h"), Some(MemberState::Gone));
        a.heard(hello(
            told("c@h", 1, MemberState::Up),
            vec![told("b@h", 2, MemberState::Up)],
        ));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Gone));
        assert_eq!(a.next_dial_us(), None);
        a.heard(hello(
            told("c@h", 1, MemberState::Up),
            vec![told("b@h", 3, MemberState::Up)],
        ));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Down), "a newer life");
        assert!(a.next_dial_us().is_some());
    }

    #[test]
    fn a_life_that_a_member_sees_is_believed_whatever_its_number() {
        let mut a = membership();
        let c = told("c@h", 1, MemberState::Up);
        a.heard(hello(c.clone(), vec![told("b@h", 9, MemberState::Gone)]));
        a.heard(hello(c.clone(), vec![told("b@h", 5, MemberState::Down)]));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Gone), "an old tale");
        a.heard(hello(c, vec![told("b@h", 5, MemberState::Up)]));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
        assert_eq!(a.dial(0, 8), [(Atom::new("b@h"), None)]);
    }

    #[test]
    fn only_a_member_that_is_down_is_forgotten() {
        let mut a = membership();
        let b = Atom::new("b@h");
        a.heard(hello(told("b@h", 2, MemberState::Up), vec![]));
        assert_eq!(a.forget(&b), None);
        let gone = told("b@h", 2, MemberState::Gone);
        let sender = told("c@h", 1, MemberState::Up);
        assert_eq!(
            a.heard(hello(sender.clone(), vec![gone.clone()])),
            Heard::News(vec![sender]),
            "we see it alive"
        );
        a.disconnected(&b, 0, 0);
        assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
        assert_eq!(a.forget(&b), Some(gone));
        a.heard(hello(told("b@h", 2, MemberState::Up), vec![]));
        assert_eq!(state(&a, "b@h"), Some(MemberState::Up), "it said hello again");
    }

    #[test]
    fn silence_makes_suspects_of_the_up_only() {
        let mut a = membership();
        let b = Atom::new("b@h");
        a.heard(hello(told("b@h", 2, MemberState::Up), vec![]));
        a.silent(&b, true);
        assert_eq!(state(&a, "b@h"), Some(MemberState::Suspect));
        a.silent(&b, false);
        assert_eq!(state(&a, "b@h"), Some(MemberState::Up));
        a.disconnected(&b, 0, 0);
        a.silent(&b, true);
        assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
    }

    #[test]
    fn another_birth_is_refused_whole() {
        let mut a = membership();
        let mut other = hello(told("b@h", 2, MemberState::Up), vec![told("c@h", 2, MemberState::Up)]);
        other.birth = Bytes::from_static(b"other");
        assert_eq!(a.heard(other), Heard::Refused);
        assert_eq!(a.view().len(), 1);
    }

    #[test]
    fn proposals_are_bounded_in_number_and_patience() {
        let mut a = membership();
        for i in 0..100 {
            a.add(&Atom::new(&alloc::format!("n{i}@h")), true);
        }
        assert_eq!(a.entries.len(), 16);
        let mut now_us = 0;
        for _ in 0..1000 {
            for (node, _) in a.dial(now_us, 3) {
                a.unreachable(&node, now_us, 0);
            }
            now_us += BACKOFF_MAX_US;
        }
        assert_eq!(a.entries.len(), 0);
    }

    #[test]
    fn backoff_is_bounded_and_jittered() {
        for failures in 0..100 {
            for random in [0, 1, u64::MAX / 2, u64::MAX] {
                let delay_us = backoff_us(failures, random);
                assert!((BACKOFF_MIN_US / 2..=BACKOFF_MAX_US).contains(&delay_us));
            }
        }
        assert!(backoff_us(9, 0) == BACKOFF_MAX_US / 2);
        assert_ne!(backoff_us(3, 1), backoff_us(3, 2));
    }
}
