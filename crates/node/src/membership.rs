//! Which nodes belong to the cluster. This module only decides; it sends no messages.
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
//! - A node is a *candidate* until its hello comes: it is dialled, and is in no node's view.
//! - What a node reports about itself over its own connection overrides what others report.
//! - If two creations of a name are reported, the greater one is the newer, unless a member sees the other one alive.
//!   For one creation, `gone` overrides other states, unless this node is connected to it.
//! - A hello lists only nodes that its sender has been connected to, and nodes that an operator declared gone. So
//!   made-up names stay with the nodes that received them. A node that was removed does not come back through another
//!   node that never met it.
//! - Met or named nodes are dialled until they say goodbye. Discovered nodes are dialled a few times, since discovery
//!   will report them again. Reported nodes are dialled while a member lists them in its hellos, and for a day longer:
//!   a partition may have separated this node from them, and from the member that reported them.
//! - Only a node with the same birth record and the same cluster ([`Identity`]) is a member. Other connected nodes stay
//!   *down* in the view.
//! - The size of the table is limited ([`Entries`]), and so are the dials of nodes that this node never met.

mod awaited;
mod entries;
#[cfg(test)]
mod tests;

use crate::{
    effect::Mismatch,
    hello::{Hello, Told},
    identity::{Claim, ClusterId, Identity, Kinship, Known, Life, Memory},
    message::{Member, MemberState},
};
use alloc::vec::Vec;
pub(crate) use awaited::AWAITED_US_MAX;
use bytes::Bytes;
use entries::{Entries, Entry, GONE, Source, Standing};
use wire::etf::Atom;

const BACKOFF_MIN_US: u64 = 100_000;
pub(crate) const BACKOFF_MAX_US: u64 = 5_000_000;
/// For nodes that were only reported by others: there may be many, and they may not exist.
const TOLD_BACKOFF_MAX_US: u64 = 30_000_000;
/// A node that was never met is dropped only after this many failures in a row.
const FAILURES_MIN: u32 = 5;
/// How often a member sends its full hello to all of its peers.
pub(crate) const HELLO_EVERY_US: u64 = 600_000_000;
/// A node that was only reported is dropped when no member has reported it for this long.
const TOLD_KEPT_US: u64 = 24 * 3_600_000_000;

/// The result of a hello.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// These entries are new here, so the other members must be notified.
    News(Vec<Told>),
    /// The table is full of members, so nothing was added.
    Full,
    /// The node is not a member yet. It will send another hello.
    Pending,
    /// The node belongs to another cluster. `is_fatal`: see [`Event::PeerRefused`](crate::Event).
    Refused { mismatch: Mismatch, is_fatal: bool },
}

/// The effect of a hello on this node's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Whether the identity has changed. Then all connected nodes must be notified.
    pub(crate) changed: bool,
    /// Whether this node throws away its data. Then all connections must be closed first.
    pub(crate) resets: bool,
}

#[derive(Debug)]
pub(crate) struct Membership {
    me: Told,
    birth: Bytes,
    identity: Identity,
    /// How often this node has thrown away its data.
    resets: u32,
    /// Whether it has not served anything yet.
    is_starting: bool,
    entries: Entries,
    changes: u64,
}

impl Membership {
    pub(crate) fn new(me: Told, birth: Bytes, entries_max: usize) -> Self {
        Self {
            me,
            birth,
            identity: Identity::drawn(ClusterId(0)),
            resets: 0,
            is_starting: true,
            entries: Entries::new(entries_max),
            changes: 1,
        }
    }

    /// Adopts what an earlier life of this node wrote down.
    pub(crate) fn recall(&mut self, memory: &Memory) {
        if let Some(id) = memory.cluster {
            self.identity = Identity::remembered(id);
        }
        for known in memory.members.iter().filter(|known| known.name != self.me.name) {
            if memory.cluster.is_none() {
                // The node said goodbye to them, so they are only tried a few times.
                if let Some(entry) = self.entries.enter(&known.name, Source::Proposed) {
                    entry.dist_port = known.dist_port;
                }
            } else if let Some(entry) = self.entries.enter(&known.name, Source::Met) {
                entry.standing = Standing::Member(MemberState::Down);
                entry.source = Source::Met;
                entry.creation = known.creation;
                entry.dist_port = known.dist_port;
            }
        }
        self.changes += 1;
    }

    /// Whether no member is connected.
    pub(crate) fn is_alone(&self) -> bool {
        !self.entries.iter().any(|(_, entry)| entry.is_present())
    }

    /// Sets the drawn id, unless the node remembers one.
    pub(crate) fn draw(&mut self, id: ClusterId) {
        if !self.identity.is_formed {
            self.identity.id = id;
        }
    }

    /// This node's identity, and how often it has thrown away its data.
    pub(crate) fn identity(&self) -> (Identity, u32) {
        (self.identity.clone(), self.resets)
    }

    /// What this node must remember for its next life.
    pub(crate) fn memory(&self) -> Memory {
        let is_of_it = self.identity.is_formed && self.me.state != MemberState::Gone;
        let known = |(name, entry): (&Atom, &Entry)| match entry.standing {
            Standing::Candidate | GONE => None,
            Standing::Member(_) => Some(Known {
                name: name.clone(),
                creation: entry.creation,
                dist_port: entry.dist_port,
            }),
        };
        Memory {
            cluster: is_of_it.then_some(self.identity.id),
            members: self.entries.iter().filter_map(known).collect(),
            creation: self.me.creation,
        }
    }

    /// Notes that this node has a ready copy that counts.
    pub(crate) fn serve(&mut self) {
        self.is_starting = false;
    }

    /// Whether it has not served anything yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.is_starting
    }

    /// Notes that the shards are formed. Returns false if that changes nothing.
    pub(crate) fn form(&mut self, provisional: bool) -> bool {
        let before = self.identity.clone();
        let me = Life {
            name: self.me.name.clone(),
            creation: self.me.creation,
        };
        self.identity.form(provisional.then_some(me));
        self.is_starting &= provisional;
        self.changes += 1;
        self.identity != before
    }

    // What this node reports

    /// The full hello for a peer that has just connected.
    pub(crate) fn hello(&self) -> Hello {
        let told = |(name, entry): (&Atom, &Entry)| match entry.standing {
            Standing::Member(state) if entry.source == Source::Met => Some(Told {
                name: name.clone(),
                creation: entry.creation,
                state,
                dist_port: entry.dist_port,
            }),
            Standing::Member(_) | Standing::Candidate => None,
        };
        self.hello_about(self.entries.iter().filter_map(told).collect())
    }

    /// A hello about this node and some news.
    pub(crate) fn hello_about(&self, others: Vec<Told>) -> Hello {
        Hello {
            birth: self.birth.clone(),
            identity: self.identity.clone(),
            sender: self.me.clone(),
            others,
        }
    }

    /// Sets this node's own state. Returns false if it was the same before.
    pub(crate) fn set_own(&mut self, state: MemberState) -> bool {
        self.changes += 1;
        core::mem::replace(&mut self.me.state, state) != state
    }

    // Requests

    /// Adds a node that is dialled until it answers. A member that was gone is wanted again. Returns false if there is
    /// no room for it.
    pub(crate) fn add(&mut self, node: &Atom, proposed: bool) -> bool {
        if *node == self.me.name {
            return true;
        }
        let source = if proposed { Source::Proposed } else { Source::Named };
        self.changes += 1;
        let Some(entry) = self.entries.enter(node, source) else {
            return false;
        };
        entry.source = entry.source.max(source);
        if entry.standing == GONE && !proposed {
            entry.standing = Standing::Candidate;
            entry.retry_at_us = 0;
        }
        true
    }

    /// Marks a node that is not connected as gone. Returns the entry for the other members. As the operator named the
    /// node, it counts like a met node, so later hellos list it too.
    pub(crate) fn forget(&mut self, node: &Atom) -> Option<Told> {
        if *node == self.me.name {
            return None;
        }
        let age = self.entries.next_age();
        let entry = self.entries.enter(node, Source::Named)?;
        if !matches!(
            entry.standing,
            Standing::Candidate | Standing::Member(MemberState::Down)
        ) {
            return None;
        }
        entry.standing = GONE;
        entry.source = Source::Met;
        entry.teller = None;
        entry.age = age;
        self.changes += 1;
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
            entry.awaited_until_us = 0;
            self.changes += 1;
        }
    }

    pub(crate) fn disconnected(&mut self, node: &Atom, now_us: u64, random: u64) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        entry.connected = false;
        entry.dialling = false;
        entry.retry_at_us = now_us + backoff_us(0, random);
        if let Standing::Member(state) = &mut entry.standing
            && *state != MemberState::Gone
        {
            *state = MemberState::Down;
        }
        self.changes += 1;
    }

    /// Nothing was received from a connected member for half the tick time (`silent`), or something was received again.
    pub(crate) fn silent(&mut self, node: &Atom, silent: bool) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        let state = match (entry.standing, silent) {
            (Standing::Member(MemberState::Up), true) if entry.connected => MemberState::Suspect,
            (Standing::Member(MemberState::Suspect), false) => MemberState::Up,
            _ => return,
        };
        entry.standing = Standing::Member(state);
        self.changes += 1;
    }

    // Reports of other nodes

    /// Processes a hello of a connected peer, about itself and others.
    pub(crate) fn heard(&mut self, hello: Hello, now_us: u64) -> (Heard, Turn) {
        let mut turn = Turn::default();
        let theirs = &hello.identity;
        if hello.birth != self.birth {
            let mismatch = Mismatch::Birth {
                ours: self.birth.clone(),
                theirs: hello.birth.clone(),
            };
            return (self.refuse(&hello, mismatch), turn);
        }
        let ours = self.identity.id;
        let meeting = self.identity.meet(theirs);
        turn.changed = meeting.changed;
        turn.resets = meeting.resets;
        self.resets += u32::from(meeting.resets);
        self.changes += u64::from(meeting.changed);
        let heard = match meeting.peer {
            Kinship::Member => self.heard_member(hello, now_us),
            Kinship::Pending => {
                if matches!(theirs.claim, Claim::Provisional(_)) {
                    self.demote(&hello.sender.name);
                }
                Heard::Pending
            }
            Kinship::Foreign => {
                let theirs = theirs.id;
                self.refuse(&hello, Mismatch::Cluster { ours, theirs })
            }
        };
        (heard, turn)
    }

    fn refuse(&mut self, hello: &Hello, mismatch: Mismatch) -> Heard {
        self.demote(&hello.sender.name);
        let has_data = matches!(hello.identity.claim, Claim::Settled { .. });
        Heard::Refused {
            mismatch,
            is_fatal: self.is_starting && has_data && self.is_alone(),
        }
    }

    /// Notes that a connected node does not belong to this cluster any more.
    fn demote(&mut self, node: &Atom) {
        if let Some(entry) = self.entries.get_mut(node)
            && entry.is_present()
        {
            entry.standing = Standing::Member(MemberState::Down);
            self.changes += 1;
        }
    }

    fn heard_member(&mut self, hello: Hello, now_us: u64) -> Heard {
        let Hello { sender, mut others, .. } = hello;
        let Some(is_news) = self.heard_of_itself(&sender) else {
            return Heard::Full;
        };
        // Live nodes come first, since there may not be room for all.
        others.sort_by_key(|told| match told.state {
            MemberState::Up | MemberState::Suspect | MemberState::Leaving => 0,
            MemberState::Down => 1,
            MemberState::Gone => 2,
        });
        let mut room = self.entries.room_of_teller(&sender.name);
        others.retain(|told| told.name != self.me.name && self.was_told(told, &sender.name, &mut room, now_us));
        if is_news {
            others.insert(0, sender);
        }
        Heard::News(others)
    }

    /// Processes a node's report about itself. Returns whether it was news; None if there is no room for it.
    fn heard_of_itself(&mut self, told: &Told) -> Option<bool> {
        if told.name == self.me.name {
            return Some(false);
        }
        let state = match told.state {
            // Its own state is used. Whether it can be reached, this node decides itself.
            MemberState::Up | MemberState::Suspect | MemberState::Down => MemberState::Up,
            MemberState::Leaving => MemberState::Leaving,
            MemberState::Gone => MemberState::Gone,
        };
        let gone = state == MemberState::Gone;
        let age = self.entries.next_age();
        // No entry is removed to make room for a node that says goodbye.
        let source = if gone { Source::Told } else { Source::Met };
        let Some(entry) = self.entries.enter(&told.name, source) else {
            return gone.then_some(false);
        };
        let known = matches!(entry.standing, Standing::Member(state) if state != MemberState::Gone)
            && entry.creation == told.creation
            && entry.source == Source::Met;
        let standing = Standing::Member(state);
        let unchanged = entry.standing == standing && entry.connected && entry.dist_port == told.dist_port && known;
        if gone && entry.standing != GONE {
            entry.age = age;
        }
        entry.standing = standing;
        entry.source = Source::Met;
        entry.teller = None;
        entry.creation = told.creation;
        entry.dist_port = told.dist_port;
        entry.connected = true;
        entry.dialling = false;
        entry.failures = 0;
        if !unchanged {
            self.changes += 1;
        }
        Some(!known || gone)
    }

    /// Processes a member's report about another node. Returns whether it was news about a node that was met. `room` is
    /// how many more unmet nodes this member may report.
    fn was_told(&mut self, told: &Told, teller: &Atom, room: &mut usize, now_us: u64) -> bool {
        let gone = told.state == MemberState::Gone;
        let known = self.entries.get(&told.name);
        let on_account = !gone && known.is_none_or(|entry| entry.is_hearsay() && entry.teller.is_none());
        if on_account && *room == 0 || gone && known.is_none() && !self.entries.has_room_for_strangers() {
            return false;
        }
        let is_new = known.is_none();
        let age = self.entries.next_age();
        let Some(entry) = self.entries.enter(&told.name, Source::Told) else {
            // There will be no room for its next reports either.
            *room = 0;
            return false;
        };
        entry.told_us = now_us;
        // A restarted port mapper may give lower creations than before. So a creation that a member sees alive counts
        // as newer.
        let alive = matches!(told.state, MemberState::Up | MemberState::Suspect);
        entry.told_to_be(alive, is_new, now_us);
        let newer = told.creation > entry.creation || alive && told.creation != entry.creation;
        let believe = !entry.connected
            && match entry.standing {
                Standing::Candidate => true,
                Standing::Member(state) if gone && state != MemberState::Gone => told.creation >= entry.creation,
                Standing::Member(_) => newer,
            };
        if !believe {
            return false;
        }
        if entry.standing == GONE {
            entry.retry_at_us = 0;
        }
        if on_account {
            entry.teller = Some(teller.clone());
            *room -= 1;
        }
        entry.source = entry.source.max(Source::Told);
        if gone {
            entry.age = age;
        }
        entry.standing = if gone {
            GONE
        } else {
            Standing::Member(MemberState::Down)
        };
        entry.creation = told.creation;
        entry.dist_port = told.dist_port.or(entry.dist_port);
        self.changes += 1;
        entry.source == Source::Met
    }

    // Dialling

    /// The nodes to dial now, with their port if it is known. They count as being dialled from now on. Nodes that were
    /// never met get at most half of the dials. A node that said goodbye dials none.
    pub(crate) fn dial(&mut self, now_us: u64, dials_max: usize) -> Vec<(Atom, Option<u16>)> {
        if self.me.state == MemberState::Gone {
            return Vec::new();
        }
        let mut room = dials_max;
        let mut hearsay_room = dials_max.div_ceil(2);
        let mut due: Vec<(u64, Atom)> = Vec::new();
        for (name, entry) in self.entries.iter() {
            if entry.dialling {
                room = room.saturating_sub(1);
                hearsay_room = hearsay_room.saturating_sub(usize::from(entry.is_hearsay()));
            } else if entry.wants_dial() && entry.retry_at_us <= now_us {
                due.push((entry.retry_at_us, name.clone()));
            }
        }
        due.sort();
        let mut dialled = Vec::new();
        for (_, name) in due {
            let entry = self.entries.get_mut(&name).expect("just listed");
            let hearsay = usize::from(entry.is_hearsay());
            if room == 0 || hearsay > hearsay_room {
                continue;
            }
            room -= 1;
            hearsay_room -= hearsay;
            entry.dialling = true;
            dialled.push((name, entry.dist_port));
        }
        dialled
    }

    /// A dial has failed.
    pub(crate) fn unreachable(&mut self, node: &Atom, now_us: u64, random: u64) {
        let Some(entry) = self.entries.get_mut(node) else {
            return;
        };
        entry.dialling = false;
        if entry.connected {
            return;
        }
        let (kept_us, delay_max_us) = match entry.source {
            Source::Proposed => (0, BACKOFF_MAX_US),
            Source::Told => (TOLD_KEPT_US, TOLD_BACKOFF_MAX_US),
            Source::Named | Source::Met => (u64::MAX, BACKOFF_MAX_US),
        };
        entry.not_reached();
        entry.retry_at_us = now_us + backoff_up_to_us(delay_max_us, entry.failures, random);
        entry.failures = entry.failures.saturating_add(1);
        if entry.failures >= FAILURES_MIN && now_us.saturating_sub(entry.told_us) >= kept_us {
            self.entries.remove(node);
            self.changes += 1;
        }
    }

    /// When the next dial is due. A dial that is due but has not begun waits until another one ends.
    pub(crate) fn next_dial_us(&self, now_us: u64) -> Option<u64> {
        if self.me.state == MemberState::Gone {
            return None;
        }
        let later = |(_, entry): (&Atom, &Entry)| (entry.wants_dial()).then_some(entry.retry_at_us);
        self.entries
            .iter()
            .filter_map(later)
            .filter(|at_us| *at_us > now_us)
            .min()
    }

    // The view

    /// The connected members.
    pub(crate) fn peers(&self) -> Vec<Atom> {
        let is_peer = |entry: &Entry| entry.connected && matches!(entry.standing, Standing::Member(_));
        let peers = self.entries.iter().filter(|(_, entry)| is_peer(entry));
        peers.map(|(name, _)| name.clone()).collect()
    }

    /// Rises whenever the view may have changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
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
            Standing::Candidate => None,
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

/// 0.1 s, doubled with each failure up to 5 s. Half of it is random, so that two nodes do not disturb each other
/// forever.
pub(crate) fn backoff_us(failures: u32, random: u64) -> u64 {
    backoff_up_to_us(BACKOFF_MAX_US, failures, random)
}

fn backoff_up_to_us(max_us: u64, failures: u32, random: u64) -> u64 {
    let full_us = (BACKOFF_MIN_US << failures.min(16)).min(max_us);
    full_us / 2 + random % (full_us / 2 + 1)
}
