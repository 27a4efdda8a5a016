//! The component of nodes that this node belongs to, and the channels to its members.
//!
//! - A peer is listed in this node's sight once it has reported its copies.
//! - A member that is not connected to this node gets a relay: frames for it travel inside frames of the next node on
//!   the way ([`Message::Relay`](crate::message::Message::Relay)). A relay begins after [`RELAY_AFTER_MS`], since a
//!   connection that broke is often made again at once.
//! - A member that is connected again keeps its relay until frames are known to get through in both directions. Each
//!   end sends probes over the connection to find out.
//! - A relay has a number at each end. An end that begins again takes a new number. So frames of a relay that has ended
//!   are recognised, however late they arrive.

use alloc::vec::Vec;
use xxhash_rust::xxh3::xxh3_64;

use super::{Change, Cluster, MemberState, PEERS_MAX, Peer};
use crate::{
    message::Copy,
    peers::PeerSet,
    sight::{self, Identity, Neighbour, Reached, Sight},
};

/// How long a member stays without a connection before a relay to it begins.
const RELAY_AFTER_MS: u64 = 50;
/// If other members reach a peer, and it has reported nothing for this long after it was connected, its connection does
/// not work.
const MUTE_MS: u64 = 1_000;
/// How long a lost peer is waited for. A connection that broke while both ends live is made again within this time.
/// Until then neither end makes a decision that the other end may make too.
const LOST_MS: u64 = 300;
/// How long frames of a relay may still arrive after a connection has replaced it.
const SWITCH_MS: u64 = 500;

/// How often an end of a relay that could end waits for frames of the other end, one time each tick.
const WAITS_MAX: u8 = 10;

/// How frames reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Over a connection.
    Direct,
    /// Inside frames of other nodes.
    Relayed(Relay),
    /// Over a connection that has just replaced this relay. Until this monotonic time, in milliseconds, frames of the
    /// relay may still arrive.
    Switched(Relay, u64),
}

/// One end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Number of this end. Later numbers are higher.
    pub mine: u64,
    /// Number of the other end, as last received; 0 if none yet.
    pub theirs: u64,
    /// Whether frames from the other end with that number are accepted.
    pub open: bool,
    /// The state of a connection that exists beside the relay.
    pub beside: Beside,
    /// How often this end found that it could end the relay, but for frames of the other end that are on their way.
    pub waits: u8,
}

/// What is known about a connection beside a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beside {
    /// No connection, or nothing has arrived over it.
    Unknown,
    /// This end receives frames from the other end.
    Heard,
    /// Each end receives frames from the other.
    Works,
    /// The other end sends its frames over it, with new numbers: it has no relay.
    Anew,
}

/// What to do with a frame that arrived by relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Drop it: it belongs to a relay that has ended.
    Stale,
    /// Accept it.
    Taken,
    /// The other end has begun again: this end does the same.
    Anew,
}

impl Relay {
    /// A frame from the other end has arrived. The other end has the number `theirs`, and believes that this end has
    /// the number `mine` (0 if it does not know).
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

    /// Once each tick: whether the relay ends now, as the connection beside it works. If no frame of the other end has
    /// come by the relay, but its frames over the connection go on with the numbers of the relay, then earlier ones are
    /// still on their way: this end waits for them.
    pub fn ends_now(&mut self) -> bool {
        if self.beside == Beside::Works && !self.open {
            self.waits += 1;
        }
        match self.beside {
            Beside::Unknown | Beside::Heard => false,
            Beside::Works => self.open || self.waits > WAITS_MAX,
            Beside::Anew => true,
        }
    }
}

/// What a peer reported about its view.
#[derive(Debug, Default)]
pub struct Said {
    /// The nodes it is connected to; `None` until it has reported them.
    pub sight: Option<Sight>,
    /// Digest of its view.
    pub view: u64,
    /// The latest announcement of this node's copies that the peer has processed.
    pub knows: u64,
    /// The number of the peer's latest announcement that was processed here.
    pub epoch: u64,
    /// How many peers it has lost; `None` until it has reported it.
    pub losses: Option<u64>,
}

/// What [`Cluster::look`] has changed.
#[derive(Debug, Default)]
pub struct Look {
    /// Relays that began or ended.
    pub change: Change,
    /// Whether this node's sight has changed: all peers must be notified.
    pub sight: bool,
    /// Whether the view has changed: all peers must be notified.
    pub view: bool,
    /// Silent peers that another member has dropped. Their connections should be closed.
    pub given_up: PeerSet,
}

/// The component, as last computed.
#[derive(Debug)]
pub struct View {
    me: Identity,
    mine: Sight,
    /// The sights of the peers at the last look; the members follow from them.
    sights: Vec<(Identity, Sight)>,
    members: Vec<Reached>,
    digest: u64,
    /// Members without a channel, and since when they have none.
    unseated: Vec<(Identity, u64)>,
    /// Peers that were lost a moment ago, and until when they are waited for (`None` before the first look after the
    /// loss).
    lost: Vec<(Identity, Option<u64>)>,
    /// Number of the last relay that this node began.
    relays: u64,
    /// How many peers this node has lost.
    losses: u64,
    /// Whether a member that may have acknowledged writes has not reported its copies to this node.
    is_incomplete: bool,
}

impl View {
    /// The view of a node without peers.
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

    /// The sight that this node last reported: the nodes it is connected to.
    pub fn mine(&self) -> &Sight {
        &self.mine
    }

    /// The other members of the component, by identity.
    pub fn members(&self) -> &[Reached] {
        &self.members
    }

    /// A hash that is equal at all nodes with the same view.
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

    /// A peer was lost that may come back in a moment.
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

    /// The slot of a node with this name and creation.
    pub fn seat_of(&self, node: &Identity) -> Option<usize> {
        self.peers().find(|(_, peer)| peer.is(node)).map(|(slot, _)| slot)
    }

    /// The slot of the neighbour that is next on the way to `node`.
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

    /// Whether frames to the peer in `slot` go by relay.
    pub fn is_relayed(&self, slot: usize) -> bool {
        self.peer(slot).is_some_and(|peer| !peer.is_direct())
    }

    /// Whether frames to the peer in `slot` go over a connection, while frames from it may still arrive by relay.
    pub fn is_switching(&self, slot: usize) -> bool {
        self.peer(slot)
            .is_some_and(|peer| matches!(peer.channel, Channel::Switched(..)))
    }

    /// Whether the peer has the same view.
    pub fn agrees(&self, slot: usize) -> bool {
        self.peer(slot).is_some_and(|peer| peer.said.view == self.view.digest)
    }

    /// Whether this node may decide on `shard`: every other node with a ready copy has the same view and knows that
    /// this node's copy is ready, and what it had when it was met is merged here.
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

    /// Whether every peer that may answer reads has the same view, and no peer was lost a moment ago.
    pub fn is_at_one(&self) -> bool {
        let agrees = |(slot, peer): (usize, &Peer)| !peer.holds() || self.agrees(slot);
        !self.view.is_incomplete && self.view.lost.is_empty() && self.peers().all(agrees)
    }

    /// Whether a peer with a ready copy of `shard` was lost a moment ago and may come back.
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

    /// Ends the wait for lost peers that have come back, have said goodbye, or have stayed away too long.
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

    /// This node's copies will be announced again.
    pub fn announce(&mut self) {
        self.fences.announce();
    }

    /// Number of the latest announcement.
    pub fn announced(&self) -> u64 {
        self.fences.announced()
    }

    /// A peer reports its view, and which announcement of this node's copies it knows. Returns true if it has forgotten
    /// announcements that it knew.
    pub fn stands(&mut self, slot: usize, view: u64, knows: u64) -> bool {
        let knows = knows.min(self.fences.announced());
        let Some(peer) = self.peer_mut(slot) else { return false };
        let before = (peer.said.view, peer.said.knows);
        (peer.said.view, peer.said.knows) = (view, knows);
        if before != (view, knows) {
            self.reroute();
        }
        knows < before.1
    }

    /// A peer reports how many peers it has lost. Writes of a lost peer may have reached that peer but not this node.
    /// So its copies must be merged before this node decides again. Its clocks will follow.
    pub fn has_lost(&mut self, slot: usize, losses: u64) {
        let Some(peer) = self.peer_mut(slot) else { return };
        let before = peer.said.losses.replace(losses);
        if before.is_some_and(|before| before < losses) {
            self.raise_fences(slot);
            self.reroute();
        }
    }

    /// A peer reports the nodes it is connected to.
    pub fn sees(&mut self, slot: usize, sight: Sight) {
        if let Some(peer) = self.peer_mut(slot) {
            peer.said.sight = Some(sight);
        }
    }

    /// Everything that a peer had of `shard` is merged.
    pub fn merged(&mut self, shard: usize, slot: usize) {
        if self.fences.lower(shard, slot) {
            self.reroute_one(shard);
        }
    }

    /// Peers whose copy of `shard` was met but is not merged yet.
    pub fn unmerged(&self, shard: usize) -> PeerSet {
        self.fences.unmerged(shard)
    }

    /// Computes the component again. Begins and ends relays.
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
            let members = &self.view.members;
            let is_member = |name: &str| members.iter().any(|member| member.node.name == name);
            self.named.dispensable.retain(|name| !is_member(name));
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

    /// Whether every peer has the same sight as at the last look.
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
                holds: peer.holds(),
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
                self.drop_relay(slot, change);
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

    /// Begins a relay to `node`. `theirs` is the number of the other end, 0 if it has not begun. `None` if no slot is
    /// free.
    fn begin_relay(&mut self, node: Identity, theirs: u64, lost: PeerSet) -> Option<usize> {
        self.view.relays += 1;
        let relay = Relay {
            mine: self.view.relays,
            theirs,
            open: theirs > 0,
            beside: Beside::Unknown,
            waits: 0,
        };
        self.absent.retain(|gone| gone.name != node.name);
        let peer = self.peer_of(node, Channel::Relayed(relay));
        self.seat_peer(peer, lost)
    }

    /// Begins a relay again, because its frames have a gap, or because the other end began again with the number
    /// `anew`.
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
                // Further frames with the number of the broken relay are refused.
                again.theirs = relay.theirs;
            }
            change.joined.insert(slot);
        }
        self.place();
        change
    }

    /// The peer in `slot` is connected again and frames get through: from now on frames go over the connection. If both
    /// ends have the relay, frame numbers continue; otherwise the peer counts as a new one.
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
        self.drop_relay(slot, &mut change);
        self.place();
        change
    }

    /// Ends the relay to the peer in `slot`: the peer is lost. If it is connected beside the relay, it gets a slot as a
    /// new peer at once: the member list may stay as it is for long, and no other event gives a connected member a
    /// slot.
    fn drop_relay(&mut self, slot: usize, change: &mut Change) {
        let Some(peer) = self.peer(slot) else { return };
        let node = peer.identity();
        self.unseat(slot);
        change.lost.insert(slot);
        let is_connected = |member: &&super::Member| {
            member.name.as_str() == node.name && member.creation == node.creation && super::is_serving(member)
        };
        let Some(member) = self.members.iter().find(is_connected) else {
            return;
        };
        let leaving = member.state == MemberState::Leaving;
        self.absent.retain(|gone| gone.name != node.name);
        let name = node.name.clone();
        let mut peer = self.peer_of(node, Channel::Direct);
        peer.leaving = leaving;
        match self.seat_peer(peer, change.lost) {
            Some(slot) => change.joined.insert(slot),
            None => self.turned_away.push(name),
        }
    }

    /// Once each tick: whether the relay to the peer in `slot` ends now ([`Relay::ends_now`]).
    pub fn relay_ends_now(&mut self, slot: usize) -> bool {
        match self.peer_mut(slot).map(|peer| &mut peer.channel) {
            Some(Channel::Relayed(relay)) => relay.ends_now(),
            _ => false,
        }
    }

    /// Peers whose relay ended so long ago that none of its frames can arrive any more.
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

    /// Notes the state of the connection beside a relay.
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

    /// Peers by relay that also have a connection, and the state of that connection.
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

    /// Peers whose connections should be closed. Either other members reach the peer and this node receives nothing
    /// from it; or this node suspects the peer and another member has dropped it.
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

    /// Whether a member that may have acknowledged writes has not reported its copies. It may have them if a copy of it
    /// is ready, or was: a node that stood still calls no copy ready until it has caught up. A connected peer that
    /// reports nothing for [`MUTE_MS`] is not waited for any more, unless other members reach it.
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
        !is_full && others.into_iter().any(|member| member.holds && !has_told(&member.node))
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
            waits: 0,
        }
    }

    fn relay(mine: u64) -> Relay {
        heard(mine, 0, false)
    }

    #[test]
    fn an_end_waits_for_frames_that_are_on_their_way() {
        let mut ahead = relay(1);
        assert!(!ahead.ends_now());
        ahead.beside = Beside::Works;
        assert!(
            !ahead.ends_now(),
            "nothing has come by the relay, and the connection has frame 5"
        );
        assert_eq!(ahead.hear(7, 1), Relayed::Taken);
        assert!(ahead.ends_now());
        // The frames were lost on their way.
        let mut in_vain = relay(1);
        in_vain.beside = Beside::Works;
        assert_eq!((0..20).filter(|_| !in_vain.ends_now()).count(), usize::from(WAITS_MAX));
        // The other end has no relay.
        let mut anew = relay(1);
        anew.beside = Beside::Anew;
        assert!(anew.ends_now());
    }

    #[test]
    fn two_ends_that_begin_at_once_accept_each_other() {
        let (mut a, mut b) = (relay(1), relay(7));
        assert_eq!(a.hear(7, 0), Relayed::Taken);
        assert_eq!(b.hear(1, 0), Relayed::Taken);
        assert_eq!(b.hear(1, 7), Relayed::Taken);
    }

    #[test]
    fn an_end_that_begins_again_is_followed_and_its_old_frames_are_stale() {
        let mut a = heard(1, 7, true);
        assert_eq!(a.hear(8, 0), Relayed::Anew);
        // The relay that `a` begins after that knows the new number already.
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

    fn member(name: &str, state: MemberState, connected: bool) -> super::super::Member {
        super::super::Member {
            name: node::Atom::new(name),
            creation: 4,
            state,
            connected,
            dist_port: None,
        }
    }

    #[test]
    fn a_peer_that_is_connected_again_keeps_a_slot_when_its_relay_loses_its_way() {
        let config = crate::config::Config {
            name: "a@h".into(),
            shards: 1,
            ..crate::config::Config::default()
        };
        let layout = crate::keyspaces::Layout::new(&config);
        let mut cluster = Cluster::new(&config, alloc::sync::Arc::new(layout));
        let members = |b, d| [member("b@h", b, b == MemberState::Up), member("d@h", d, true)].into();
        let holding = crate::message::Holding {
            copy: Copy::Ready,
            missed: false,
            was_ready: true,
        };
        cluster.update(members(MemberState::Up, MemberState::Up));
        let [b, d] = ["b@h", "d@h"].map(|name| cluster.slot(name).unwrap());
        let node = |name: &str| Identity {
            name: name.into(),
            creation: 4,
        };
        let lists = |names: [&str; 2]| Sight {
            leaving: false,
            neighbours: names
                .map(|name| Neighbour {
                    node: node(name),
                    holds: true,
                    doubted: false,
                })
                .into(),
        };
        for (slot, names) in [(b, ["a@h", "d@h"]), (d, ["a@h", "b@h"])] {
            assert!(cluster.told(slot, 1, alloc::vec![holding]));
            cluster.sees(slot, lists(names));
        }
        cluster.look(0);
        cluster.update(members(MemberState::Down, MemberState::Up));
        cluster.look(10);
        let look = cluster.look(10 + RELAY_AFTER_MS);
        let relayed = cluster.slot("b@h").unwrap();
        assert!(look.change.joined.contains(relayed) && cluster.is_relayed(relayed));
        // `d` is silent. `b` is connected again, but nothing has come over its connection yet.
        cluster.update(members(MemberState::Up, MemberState::Up));
        cluster.update(members(MemberState::Up, MemberState::Suspect));
        assert!(cluster.is_relayed(cluster.slot("b@h").unwrap()));
        let look = cluster.look(20 + RELAY_AFTER_MS);
        let direct = cluster.slot("b@h").unwrap();
        assert!(look.change.lost.contains(relayed) && look.change.joined.contains(direct));
        assert!(!cluster.is_relayed(direct));
        assert!(
            cluster.awaits_word(),
            "no shard is formed before `b` has reported its copies"
        );
    }

    #[test]
    fn after_a_gap_frames_of_the_broken_relay_are_refused() {
        let mut a = heard(3, 7, false);
        assert_eq!(a.hear(7, 0), Relayed::Stale);
        assert_eq!(a.hear(8, 0), Relayed::Taken);
        assert_eq!(a.theirs, 8);
    }
}
