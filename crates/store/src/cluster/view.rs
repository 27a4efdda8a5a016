//! The component of nodes that this node belongs to, and the channels to its members.
//!
//! - A peer is listed in this node's sight once it has told what it holds.
//! - A member that is not connected to this node gets a relay: frames for it travel in frames of the next node on the
//!   way ([`Message::Relay`](crate::message::Message::Relay)). A relay waits [`RELAY_AFTER_MS`], since a connection
//!   that broke is often made anew at once.
//! - A member that is connected again keeps its relay until frames are known to get through in both directions: each
//!   end sends probes over the connection.
//! - A relay has a number at each end, new whenever that end begins anew. So frames of a relay that has ended are
//!   recognised, however late they come.

use alloc::vec::Vec;
use xxhash_rust::xxh3::xxh3_64;

use super::{Change, Cluster, MemberState, PEERS_MAX, Peer};
use crate::{
    message::Copy,
    peers::PeerSet,
    sight::{self, Identity, Neighbour, Reached, Sight},
};

/// How long a member stays without a connection before a relay is made to it.
const RELAY_AFTER_MS: u64 = 50;
/// A peer that has told nothing for so long since it was connected has no working connection, if others reach it.
const MUTE_MS: u64 = 1_000;
/// How long a lost peer may come back before this node goes on without it: a connection that broke while both ends live
/// is made anew within this time, and neither end has decided alone what the other one decided too.
const LOST_MS: u64 = 300;
/// Frames of a relay come for so long after it gave way to a connection, at most.
const SWITCH_MS: u64 = 500;

/// How frames get to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Over a connection.
    Direct,
    /// In frames of other nodes.
    Relayed(Relay),
    /// Over a connection, since a moment ago: frames of the relay before it may still come until then, in monotonic
    /// milliseconds.
    Switched(Relay, u64),
}

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Number of this end, rising.
    pub mine: u64,
    /// Number of the other end, as last heard; 0: none yet.
    pub theirs: u64,
    /// Frames of the other end with that number are taken.
    pub open: bool,
    /// What is known of a connection beside it.
    pub beside: Beside,
}

/// How well a connection beside a relay is known to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beside {
    /// Nothing came over it, or there is none.
    Unknown,
    /// The other end is heard.
    Heard,
    /// Each end hears the other.
    Works,
    /// The other end sends its frames over it and has begun to number them anew: it has no relay.
    Anew,
}

/// What to do with a frame that came by relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// It is of a relay that has ended.
    Stale,
    /// It is the next one.
    Taken,
    /// The other end has begun anew: this end does the same.
    Anew,
}

impl Relay {
    /// The other end sent a frame under its number `theirs`, and knows this end as `mine`; 0: it does not know it.
    pub fn hear(&mut self, theirs: u64, mine: u64) -> Relayed {
        // Of a relay that this end follows, frames may come that were sent before the other end knew this one's number.
        let is_followed = theirs == self.theirs;
        if theirs < self.theirs || !is_followed && mine != 0 && mine != self.mine {
            return Relayed::Stale;
        }
        match (is_followed, self.open) {
            (true, true) => Relayed::Taken,
            (true, false) => Relayed::Stale,
            (false, true) => Relayed::Anew,
            (false, false) => {
                (self.theirs, self.open) = (theirs, true);
                Relayed::Taken
            }
        }
    }
}

/// What a peer said of its view.
#[derive(Debug, Default)]
pub struct Said {
    /// Whom it is connected to; `None` until it has told.
    pub sight: Option<Sight>,
    /// Digest of its view.
    pub view: u64,
    /// The latest announcement of this node's holdings that it has taken in.
    pub knows: u64,
    /// Number of its own latest announcement that was taken in here.
    pub epoch: u64,
    /// How many peers it has lost; `None` until it has told.
    pub losses: Option<u64>,
}

/// What a look around has changed.
#[derive(Debug, Default)]
pub struct Look {
    /// Relays that began or ended.
    pub change: Change,
    /// This node's sight is another: all peers should hear of it.
    pub sight: bool,
    /// The view is another: all peers should hear of it.
    pub view: bool,
    /// Silent peers that another member has dropped: their connections should be closed.
    pub given_up: PeerSet,
}

/// The component, as last computed.
#[derive(Debug)]
pub struct View {
    me: Identity,
    mine: Sight,
    /// What the peers said they see, as of the last look; the members follow from it.
    sights: Vec<(Identity, Sight)>,
    members: Vec<Reached>,
    digest: u64,
    /// Members without a channel, and since when.
    unseated: Vec<(Identity, u64)>,
    /// Peers lost a moment ago, and until when they are waited for; `None`: since the last look.
    lost: Vec<(Identity, Option<u64>)>,
    /// Number of the last relay that was begun here.
    relays: u64,
    /// How many peers this node has lost.
    losses: u64,
    /// A member that has a ready copy has not told this node what it holds.
    is_incomplete: bool,
}

impl View {
    /// A node alone.
    pub(super) fn new(me: Identity) -> Self {
        let mut view = Self {
            me,
            mine: Sight::default(),
            sights: Vec::new(),
            members: Vec::new(),
            digest: 0,
            unseated: Vec::new(),
            lost: Vec::new(),
            relays: 0,
            losses: 0,
            is_incomplete: false,
        };
        view.digest = view.digest_now();
        view
    }

    /// The node itself.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// Whom the node is connected to, as it last said.
    pub fn mine(&self) -> &Sight {
        &self.mine
    }

    /// The other members of the component, by identity.
    pub fn members(&self) -> &[Reached] {
        &self.members
    }

    /// Equal at all nodes that see the same members.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How many peers this node has lost.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// Peers have changed: nothing is decided before the next look.
    pub(super) fn doubt(&mut self) {
        self.is_incomplete = true;
    }

    /// A peer that may come back in a moment is lost.
    pub(super) fn lose(&mut self, node: Identity) {
        self.losses += 1;
        self.lost.push((node, None));
    }

    fn digest_now(&self) -> u64 {
        let mut all: Vec<(&Identity, bool)> = self
            .members
            .iter()
            .map(|member| (&member.node, member.leaving))
            .collect();
        all.push((&self.me, self.mine.leaving));
        all.sort_unstable();
        let mut bytes = Vec::new();
        for (node, leaving) in all {
            node.encode(&mut bytes);
            bytes.push(u8::from(leaving));
        }
        xxh3_64(&bytes)
    }
}

impl Cluster {
    /// The component that this node belongs to.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The slot of this life of a node.
    pub fn seat_of(&self, node: &Identity) -> Option<usize> {
        self.peers().find(|(_, peer)| peer.is(node)).map(|(slot, _)| slot)
    }

    /// The slot of the neighbour to which a frame for `node` goes next.
    pub fn next_hop(&self, node: &Identity) -> Option<usize> {
        let direct = |slot: &usize| self.peer(*slot).is_some_and(Peer::is_direct);
        let through = |member: &Reached| self.seat_of(&member.through).filter(direct);
        let at = self
            .view
            .members
            .binary_search_by(|member| member.node.cmp(node))
            .ok()?;
        self.seat_of(node)
            .filter(direct)
            .or_else(|| through(&self.view.members[at]))
    }

    /// Frames to the peer in `slot` go by relay.
    pub fn is_relayed(&self, slot: usize) -> bool {
        self.peer(slot).is_some_and(|peer| !peer.is_direct())
    }

    /// Frames to the peer in `slot` go over a connection, and some of its own may still come by relay.
    pub fn is_switching(&self, slot: usize) -> bool {
        self.peer(slot)
            .is_some_and(|peer| matches!(peer.channel, Channel::Switched(..)))
    }

    /// The peer sees the same cluster.
    pub fn agrees(&self, slot: usize) -> bool {
        self.peer(slot).is_some_and(|peer| peer.said.view == self.view.digest)
    }

    /// This node may decide on `shard`: whoever else has a ready copy of it sees the same cluster, knows that the copy
    /// of this node is ready, and had nothing when it was met that is missing here.
    pub(super) fn is_settled(&self, shard: usize) -> bool {
        let is_at_one = |(slot, peer): (usize, &Peer)| {
            peer.copy(shard) != Copy::Ready || self.agrees(slot) && self.fences.is_known(shard, peer.said.knows)
        };
        self.copies[shard] == Copy::Ready
            && !self.view.is_incomplete
            && self.fences.unmerged(shard).is_empty()
            && !self.lost_a_holder(shard)
            && self.peers().all(is_at_one)
    }

    /// A peer with a ready copy of `shard` was lost a moment ago, and may come back.
    fn lost_a_holder(&self, shard: usize) -> bool {
        let had = |node: &Identity| {
            let gone = self
                .absent
                .iter()
                .find(|gone| gone.name == node.name && gone.creation == node.creation);
            gone.and_then(|gone| gone.holdings.get(shard))
                .is_some_and(|holding| holding.copy == Copy::Ready)
        };
        self.view.lost.iter().any(|(node, _)| had(node))
    }

    /// Ends the wait for lost peers that came back, said good-bye, or stay away.
    fn wait_for_lost(&mut self, now_ms: u64) {
        let mut lost = core::mem::take(&mut self.view.lost);
        lost.retain_mut(|(node, until_ms)| {
            let is_gone = |member: &super::Member| {
                member.name.as_str() == node.name
                    && (member.creation != node.creation || member.state == MemberState::Gone)
            };
            let waits = now_ms < *until_ms.get_or_insert(now_ms + LOST_MS);
            waits && self.slot(&node.name).is_none() && !self.members.iter().any(is_gone)
        });
        self.view.lost = lost;
    }

    /// What this node has is announced anew.
    pub fn announce(&mut self) {
        self.fences.announce();
    }

    /// Number of the latest announcement.
    pub fn announced(&self) -> u64 {
        self.fences.announced()
    }

    /// A peer says which view it has, and which announcement of this node's holdings it knows. True if it has forgotten
    /// what it knew.
    pub fn stands(&mut self, slot: usize, view: u64, knows: u64) -> bool {
        let knows = knows.min(self.fences.announced());
        let Some(peer) = self.peer_mut(slot) else { return false };
        let has_forgotten = knows < peer.said.knows;
        (peer.said.view, peer.said.knows) = (view, knows);
        self.reroute();
        has_forgotten
    }

    /// A peer says how many peers it has lost. What those sent may have reached it and not this node: its copies are
    /// merged before this node decides again. Its clocks follow.
    pub fn has_lost(&mut self, slot: usize, losses: u64) {
        let Some(peer) = self.peer_mut(slot) else { return };
        let before = peer.said.losses.replace(losses);
        if before.is_some_and(|before| before < losses) {
            self.raise_fences(slot);
        }
    }

    /// A peer says whom it sees.
    pub fn sees(&mut self, slot: usize, sight: Sight) {
        if let Some(peer) = self.peer_mut(slot) {
            peer.said.sight = Some(sight);
        }
    }

    /// All that a peer had of `shard` is merged.
    pub fn merged(&mut self, shard: usize, slot: usize) {
        if self.fences.lower(shard, slot) {
            self.reroute_one(shard);
        }
    }

    /// Peers whose copy of `shard` was met and has yet to be merged.
    pub fn unmerged(&self, shard: usize) -> PeerSet {
        self.fences.unmerged(shard)
    }

    /// Computes the component anew, and begins and ends relays.
    pub fn look(&mut self, now_ms: u64) -> Look {
        let mut look = Look::default();
        let mine = self.sight_now();
        look.sight = mine != self.view.mine;
        self.view.mine = mine;
        if look.sight || !self.sees_the_same() {
            let sights = self
                .peers()
                .filter_map(|(_, peer)| Some((peer.identity(), peer.said.sight.clone()?)));
            self.view.sights = sights.collect();
            let told = self.view.sights.iter().map(|(node, sight)| (node, sight));
            self.view.members = sight::component(&self.view.me, &self.view.mine, told);
            let digest = self.view.digest_now();
            look.view = digest != core::mem::replace(&mut self.view.digest, digest);
        }
        self.relays(now_ms, &mut look.change);
        self.wait_for_lost(now_ms);
        look.given_up = self.given_up(now_ms);
        self.view.is_incomplete = self.is_incomplete(now_ms);
        self.place();
        look
    }

    /// Every peer sees what it saw at the last look.
    fn sees_the_same(&self) -> bool {
        let mut said = self
            .peers()
            .filter_map(|(_, peer)| Some((peer, peer.said.sight.as_ref()?)));
        let mut before = self.view.sights.iter();
        let is_as_before = |(peer, sight): (&Peer, &Sight)| {
            let same = |(node, seen): &(Identity, Sight)| peer.is(node) && seen == sight;
            before.next().is_some_and(same)
        };
        said.all(is_as_before) && before.next().is_none()
    }

    fn sight_now(&self) -> Sight {
        let doubts = |peer: &Peer| {
            let is_it = |member: &&super::Member| member.name.as_str() == peer.name;
            let member = self.members().iter().find(is_it);
            member.is_some_and(|member| member.state == MemberState::Suspect)
        };
        let listed = self
            .peers()
            .filter(|(_, peer)| peer.is_direct() && !peer.holdings.is_empty());
        let mut neighbours: Vec<Neighbour> = listed
            .map(|(_, peer)| Neighbour {
                node: peer.identity(),
                serves: peer.serves(),
                doubted: doubts(peer),
            })
            .collect();
        neighbours.sort_unstable_by(|a, b| a.node.cmp(&b.node));
        Sight {
            leaving: self.leaving,
            neighbours,
        }
    }

    fn relays(&mut self, now_ms: u64, change: &mut Change) {
        for slot in 0..self.peers.len() {
            if let Some(peer) = &self.peers[slot]
                && !peer.is_direct()
                && !self.view.members.iter().any(|member| peer.is(&member.node))
            {
                change.crashed |= !peer.leaving;
                self.unseat(slot);
                change.lost.insert(slot);
            }
        }
        let members = self.view.members.iter().map(|member| &member.node);
        let unseated: Vec<Identity> = members
            .filter(|node| self.seat_of(node).is_none() && node.name != self.view.me.name)
            .cloned()
            .collect();
        let before = core::mem::take(&mut self.view.unseated);
        for node in unseated {
            let since = before.iter().find(|(other, _)| *other == node);
            let since_ms = since.map_or(now_ms, |(_, since_ms)| *since_ms);
            let is_due = now_ms >= since_ms + RELAY_AFTER_MS && self.slot(&node.name).is_none();
            match is_due.then(|| self.begin_relay(node.clone(), 0, change.lost)).flatten() {
                Some(slot) => change.joined.insert(slot),
                None => self.view.unseated.push((node, since_ms)),
            }
        }
    }

    /// A relay to `node`, whose own end has the number `theirs` if it began. `None` if no slot is free.
    fn begin_relay(&mut self, node: Identity, theirs: u64, lost: PeerSet) -> Option<usize> {
        self.view.relays += 1;
        let relay = Relay {
            mine: self.view.relays,
            theirs,
            open: theirs > 0,
            beside: Beside::Unknown,
        };
        self.absent.retain(|gone| gone.name != node.name);
        let peer = self.peer_of(node, Channel::Relayed(relay));
        self.seat_peer(peer, lost)
    }

    /// Begins a relay anew, since its frames have a gap, or since the other end began anew as number `anew`.
    pub fn relay_again(&mut self, slot: usize, anew: Option<u64>) -> Change {
        let mut change = Change::default();
        let Some(peer) = self.peer(slot) else { return change };
        let Channel::Relayed(relay) = peer.channel else {
            return change;
        };
        let node = peer.identity();
        self.unseat(slot);
        change.lost.insert(slot);
        if let Some(slot) = self.begin_relay(node, anew.unwrap_or(0), change.lost) {
            if anew.is_none()
                && let Some(Peer {
                    channel: Channel::Relayed(again),
                    ..
                }) = self.peer_mut(slot)
            {
                // Of the number that was broken nothing more is taken.
                again.theirs = relay.theirs;
            }
            change.joined.insert(slot);
        }
        self.place();
        change
    }

    /// The peer in `slot` is connected again, and frames get through: from now on they go over the connection. The
    /// numbers of the frames go on if both ends have the relay; otherwise the peer is a new one.
    pub fn end_relay(&mut self, slot: usize, now_ms: u64) -> Change {
        let mut change = Change::default();
        let Some(peer) = self.peer_mut(slot) else { return change };
        let Channel::Relayed(relay) = peer.channel else {
            return change;
        };
        if relay.open && relay.beside == Beside::Works {
            peer.channel = Channel::Switched(relay, now_ms + SWITCH_MS);
            return change;
        }
        let node = peer.identity();
        self.unseat(slot);
        change.lost.insert(slot);
        self.absent.retain(|gone| gone.name != node.name);
        let peer = self.peer_of(node, Channel::Direct);
        if let Some(slot) = self.seat_peer(peer, change.lost) {
            change.joined.insert(slot);
        }
        self.place();
        change
    }

    /// Peers whose relay ended long ago: nothing of it comes any more.
    pub fn switched(&mut self, now_ms: u64) -> PeerSet {
        let mut over = PeerSet::EMPTY;
        for (slot, peer) in self.peers.iter_mut().enumerate() {
            if let Some(peer) = peer
                && matches!(peer.channel, Channel::Switched(_, until_ms) if until_ms <= now_ms)
            {
                peer.channel = Channel::Direct;
                over.insert(slot);
            }
        }
        over
    }

    /// Notes what is known of the connection beside a relay.
    pub fn note_beside(&mut self, slot: usize, beside: Beside) {
        if let Some(Peer {
            channel: Channel::Relayed(relay),
            ..
        }) = self.peer_mut(slot)
        {
            relay.beside = match beside {
                Beside::Unknown => beside,
                known => known.max(relay.beside),
            };
        }
    }

    /// Peers by relay that are connected, with what is known of their connections.
    pub fn connected_beside(&self) -> Vec<(usize, Beside)> {
        let beside = |(slot, peer): (usize, &Peer)| {
            let Channel::Relayed(relay) = peer.channel else {
                return None;
            };
            let is_it = |member: &super::Member| member.name.as_str() == peer.name && member.creation == peer.creation;
            let serves = |member| is_it(member) && super::is_serving(member);
            self.members.iter().any(serves).then_some((slot, relay.beside))
        };
        self.peers().filter_map(beside).collect()
    }

    /// Peers whose connections should be closed: other members reach them while this node hears nothing, or another
    /// member has dropped a peer that this node doubts.
    fn given_up(&self, now_ms: u64) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (slot, peer) in self.peers().filter(|(_, peer)| peer.is_direct()) {
            let member = self.view.members.iter().find(|member| peer.is(&member.node));
            let neighbour = self.view.mine.neighbours.iter().find(|other| peer.is(&other.node));
            let is_over = match (member, neighbour) {
                (Some(_), None) => peer.holdings.is_empty() && now_ms > peer.since_ms + MUTE_MS,
                (Some(member), Some(neighbour)) => neighbour.doubted && member.through != member.node,
                (None, Some(neighbour)) => neighbour.doubted && peer.said.sight.is_some(),
                (None, None) => false,
            };
            if is_over {
                set.insert(slot);
            }
        }
        set
    }

    /// A member that may have a ready copy has not told what it holds. A peer that is connected and tells nothing for
    /// [`MUTE_MS`] is not waited for any longer, unless other members reach it.
    fn is_incomplete(&self, now_ms: u64) -> bool {
        let has_told = |node: &Identity| {
            let slot = self.seat_of(node);
            slot.is_some_and(|slot| self.peer(slot).is_some_and(|peer| !peer.holdings.is_empty()))
        };
        let is_new = |peer: &Peer| peer.holdings.is_empty() && now_ms <= peer.since_ms + MUTE_MS;
        if self.peers().any(|(_, peer)| is_new(peer)) {
            return true;
        }
        let others = self
            .view
            .members
            .iter()
            .filter(|member| member.node.name != self.view.me.name);
        let is_full = self.peers.len() == PEERS_MAX && self.peers.iter().all(Option::is_some);
        !is_full
            && others
                .into_iter()
                .any(|member| member.serves && !has_told(&member.node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(mine: u64, theirs: u64, open: bool) -> Relay {
        Relay {
            mine,
            theirs,
            open,
            beside: Beside::Unknown,
        }
    }

    fn relay(mine: u64) -> Relay {
        heard(mine, 0, false)
    }

    #[test]
    fn two_ends_that_begin_at_once_hear_each_other() {
        let (mut a, mut b) = (relay(1), relay(7));
        assert_eq!(a.hear(7, 0), Relayed::Taken);
        assert_eq!(b.hear(1, 0), Relayed::Taken);
        assert_eq!(b.hear(1, 7), Relayed::Taken);
    }

    #[test]
    fn an_end_that_begins_anew_is_followed_and_what_was_under_way_is_stale() {
        let mut a = heard(1, 7, true);
        assert_eq!(a.hear(8, 0), Relayed::Anew);
        // What `a` begins then knows the new number already.
        let mut a = heard(2, 8, true);
        assert_eq!(a.hear(7, 1), Relayed::Stale);
        assert_eq!(a.hear(8, 0), Relayed::Taken);
        assert_eq!(a.hear(8, 2), Relayed::Taken);
    }

    #[test]
    fn all_frames_of_an_end_that_begins_anew_are_taken() {
        let mut a = heard(1, 7, true);
        assert_eq!(a.hear(8, 1), Relayed::Anew);
        let mut a = heard(2, 8, true);
        // The second frame that was sent at once, when the other end knew this one as 1.
        assert_eq!(a.hear(8, 1), Relayed::Taken);
        assert_eq!(a.hear(9, 1), Relayed::Stale);
    }

    #[test]
    fn after_a_gap_nothing_more_of_the_broken_relay_is_taken() {
        let mut a = heard(3, 7, false);
        assert_eq!(a.hear(7, 0), Relayed::Stale);
        assert_eq!(a.hear(8, 0), Relayed::Taken);
        assert_eq!(a.theirs, 8);
    }
}
