//! Who is there, who holds what, and therefore who serves a shard: the view of one node, and every decision that
//! follows from it alone. Nothing is sent from here.
//!
//! - The [`Ring`] is a function of the members that are up and not leaving. Those out of reach have no seat in it.
//! - The *primary* of a shard is the first ready replica in ring order; if none of the replicas is ready, a ready
//!   holder that is on its way out stands in as *fallback*.
//! - A ready holder that is lost and not known to be dead is *missed*: while nobody else is ready for a shard, a missed
//!   one may still come back with writes that were acknowledged, so the shard is not formed anew without it.
//! - The *view* is the component of nodes that reach each other, directly or through others ([`sight`](crate::sight)):
//!   all of its members compute the same one. Members without a connection to this node are peers by *relay*.
//! - A shard is *settled* when this node may decide on it: all ready holders have the same view, know of each other's
//!   readiness, and nothing that one of them had is missing here ([`fence`](crate::fence)).

mod view;

use alloc::{string::String, sync::Arc, vec, vec::Vec};
use node::{Atom, Member, MemberState};

use self::view::View;
pub use self::view::{Beside, Channel, Look, Relayed, Said};
use crate::{
    config::Config,
    dot::Writer,
    fence::Fences,
    message::{Copy, Holding, Vitals},
    peers::{PEERS_MAX, PeerSet},
    ring::Ring,
    sight::Identity,
    wall::PeerWall,
};

/// A seat in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Seat {
    /// This node.
    #[default]
    Me,
    /// The peer in this slot.
    Peer(usize),
    /// A member that other members reach and this node does not yet.
    Away,
}

/// A member that this node exchanges frames with.
#[derive(Debug)]
pub struct Peer {
    /// Its node name.
    pub name: String,
    /// Which life of it.
    pub creation: u32,
    /// How frames get there.
    pub channel: Channel,
    /// What it said of its view of the cluster.
    pub said: Said,
    /// Counts the peers this node has met: no other, before or after, in this slot or another, has the same.
    pub life: u64,
    /// When its channel began, in monotonic milliseconds.
    pub since_ms: u64,
    /// Under which it writes.
    pub writer: Writer,
    /// It is going: it holds what it has until others do, and gets nothing new.
    pub leaving: bool,
    /// What it has, by shard; empty until it has told.
    pub holdings: Vec<Holding>,
    /// Host and port at which clients reach it by RESP; `None` until it has told.
    pub resp: Option<(String, u16)>,
    /// How it fares.
    pub vitals: Vitals,
    /// Its wall clock.
    pub wall: PeerWall,
    /// Live keys by shard, of those it is the primary of; empty until it has told.
    pub keys: Vec<u64>,
}

impl Peer {
    /// A peer that has not said anything yet.
    fn new(node: Identity, channel: Channel, life: u64) -> Self {
        Self {
            writer: Writer::of(&node.name, node.creation),
            name: node.name,
            creation: node.creation,
            channel,
            said: Said::default(),
            life,
            since_ms: 0,
            leaving: false,
            holdings: Vec::new(),
            resp: None,
            vitals: Vitals::default(),
            wall: PeerWall::default(),
            keys: Vec::new(),
        }
    }

    fn is(&self, node: &Identity) -> bool {
        self.name == node.name && self.creation == node.creation
    }

    /// Which life of which node it is.
    pub fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            creation: self.creation,
        }
    }

    /// Frames go there over a connection.
    fn is_direct(&self) -> bool {
        !matches!(self.channel, Channel::Relayed(_))
    }

    /// It has a ready copy of some shard.
    fn serves(&self) -> bool {
        self.holdings.iter().any(|holding| holding.copy == Copy::Ready)
    }

    fn copy(&self, shard: usize) -> Copy {
        self.holdings.get(shard).map_or(Copy::Absent, |holding| holding.copy)
    }
}

/// A member that is out of reach, with what it had when it was last heard of.
#[derive(Debug)]
struct Absent {
    name: String,
    creation: u32,
    holdings: Vec<Holding>,
}

/// Who serves a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Route {
    /// First ready replica, or a fallback; `None`: nobody that can be reached.
    pub primary: Option<Seat>,
    /// Peers that a write made here has to reach.
    pub targets: PeerSet,
    /// This node has a ready copy.
    pub readable: bool,
    /// This node may decide: read for a client, or execute a command that reads before it writes.
    pub settled: bool,
}

/// Whether a shard that nobody is ready for may begin its life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formation {
    /// Not now: somebody may still be found who has it.
    Wait,
    /// Another replica comes first.
    Other,
    /// Here, once what these peers have of it is merged.
    Mine(PeerSet),
}

/// What a new member list changed.
#[derive(Debug, Default)]
pub struct Change {
    /// Peers that are lost; their slots are free once this is handled.
    pub lost: PeerSet,
    /// Peers that are new.
    pub joined: PeerSet,
    /// Members that found every slot taken, and had not before: they have no part in the store until one is free.
    pub turned_away: Vec<String>,
    /// A member went without leave, and may be back in a moment.
    pub crashed: bool,
}

/// The view of one node.
#[derive(Debug)]
pub struct Cluster {
    view: View,
    fences: Fences,
    replicas: u8,
    /// Shards of one keyspace; the placement is the same in all keyspaces.
    ring_shards: u16,
    leaving: bool,
    /// Names it was told to join.
    join: Vec<String>,
    /// Names that discovery found at its last look.
    found: Vec<String>,
    /// Connected nodes that are BEAMs: they are not waited for.
    guests: Arc<[Atom]>,
    members: Arc<[Member]>,
    peers: Vec<Option<Peer>>,
    met: u64,
    absent: Vec<Absent>,
    /// Members there was no slot for at the last list.
    turned_away: Vec<String>,
    copies: Vec<Copy>,
    ring: Ring,
    seats: Vec<Seat>,
    routes: Vec<Route>,
    /// Routes have changed since this was last asked.
    rerouted: bool,
}

impl Cluster {
    /// A node alone, holding nothing.
    pub fn new(config: &Config) -> Self {
        let (name, ring_shards, replicas) = (config.name.as_str(), config.shards, config.replicas);
        let shards = config.shards_total();
        let mut cluster = Self {
            view: View::new(Identity {
                name: name.into(),
                creation: config.creation,
            }),
            fences: Fences::new(shards),
            join: config.join.iter().filter(|other| *other != name).cloned().collect(),
            found: Vec::new(),
            guests: Arc::from([]),
            replicas,
            ring_shards,
            leaving: false,
            members: Arc::from([]),
            peers: Vec::new(),
            met: 0,
            absent: Vec::new(),
            turned_away: Vec::new(),
            copies: vec![Copy::Absent; shards],
            ring: Ring::new(&[name], ring_shards, replicas),
            seats: vec![Seat::Me],
            routes: vec![Route::default(); shards],
            rerouted: false,
        };
        cluster.reroute();
        cluster
    }

    /// Shards of all keyspaces.
    pub fn shards(&self) -> usize {
        self.copies.len()
    }

    /// Copies a shard should have.
    pub fn replicas(&self) -> u8 {
        self.replicas
    }

    /// The members as membership sees them, this node among them.
    pub fn members(&self) -> &Arc<[Member]> {
        &self.members
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.view.me().name
    }

    /// This node is going.
    pub fn leaving(&self) -> bool {
        self.leaving
    }

    /// The connected members.
    pub fn peers(&self) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers
            .iter()
            .enumerate()
            .filter_map(|(slot, peer)| Some((slot, peer.as_ref()?)))
    }

    /// One of them.
    pub fn peer(&self, slot: usize) -> Option<&Peer> {
        self.peers.get(slot)?.as_ref()
    }

    /// One of them, to note its vitals.
    pub fn peer_mut(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers.get_mut(slot)?.as_mut()
    }

    /// The slot of a connected member.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.peers().find(|(_, peer)| peer.name == name).map(|(slot, _)| slot)
    }

    /// A member within reach is not leaving: it can take over what this node has.
    pub fn has_successor(&self) -> bool {
        let leaves = |peer: &Peer| peer.leaving || peer.said.sight.as_ref().is_some_and(|sight| sight.leaving);
        self.peers().any(|(_, peer)| !leaves(peer))
    }

    /// No other member is connected.
    pub fn is_alone(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    /// All connected members.
    pub fn connected(&self) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (slot, _) in self.peers() {
            set.insert(slot);
        }
        set
    }

    /// What this node has of `shard`.
    pub fn copy(&self, shard: usize) -> Copy {
        self.copies[shard]
    }

    /// Notes what this node has of `shard`.
    pub fn set_copy(&mut self, shard: usize, copy: Copy) {
        if copy == Copy::Ready && self.copies[shard] != Copy::Ready {
            self.fences.became_ready(shard);
        }
        self.copies[shard] = copy;
        self.reroute_one(shard);
    }

    /// What this node tells of itself, by shard.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        (0..self.shards()).map(|shard| Holding {
            copy: self.copies[shard],
            missed: self.misses(shard),
        })
    }

    /// Who serves `shard`.
    pub fn route(&self, shard: usize) -> &Route {
        &self.routes[shard]
    }

    /// The ring in force.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The replicas of `shard` in ring order.
    pub fn order(&self, shard: usize) -> impl Iterator<Item = Seat> {
        let ring_shard = (shard % usize::from(self.ring_shards)) as u16;
        self.ring
            .replicas(ring_shard)
            .iter()
            .map(|index| self.seats[usize::from(index.0)])
    }

    /// `shard` is placed on this node.
    pub fn placed_here(&self, shard: usize) -> bool {
        self.order(shard).any(|seat| seat == Seat::Me)
    }

    /// What the holder of a seat has of `shard`.
    pub fn copy_at(&self, seat: Seat, shard: usize) -> Copy {
        match seat {
            Seat::Me => self.copies[shard],
            Seat::Away => Copy::Absent,
            Seat::Peer(slot) => self.peer(slot).map_or(Copy::Absent, |peer| peer.copy(shard)),
        }
    }

    /// Connected peers whose copy of `shard` is as asked.
    pub fn holders(&self, shard: usize, is_meant: impl Fn(Copy) -> bool) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (slot, peer) in self.peers() {
            if is_meant(peer.copy(shard)) {
                set.insert(slot);
            }
        }
        set
    }

    /// A connected member has not told yet what it holds: it may be the primary of anything.
    pub fn awaits_word(&self) -> bool {
        self.peers().any(|(_, peer)| peer.holdings.is_empty())
    }

    /// A ready holder of `shard` is out of reach and not known to be dead.
    pub fn misses(&self, shard: usize) -> bool {
        self.absent.iter().any(|gone| {
            gone.holdings
                .get(shard)
                .is_some_and(|holding| holding.copy == Copy::Ready)
        })
    }

    /// Whether `shard`, which nobody within reach is ready for, may be formed. `awaits`: not all members agree to it.
    pub fn formation(&self, shard: usize, awaits: bool) -> Formation {
        let missed = self.misses(shard)
            || self
                .peers()
                .any(|(_, peer)| peer.holdings.get(shard).is_some_and(|held| held.missed));
        if self.awaits_word() || missed || awaits {
            return Formation::Wait;
        }
        match self.order(shard).next() {
            Some(Seat::Me) => Formation::Mine(self.holders(shard, |copy| copy != Copy::Absent)),
            _ => Formation::Other,
        }
    }

    /// A node is known, or was named or found, that is not connected and has not said good-bye.
    pub fn awaits_members(&self) -> bool {
        self.awaited().next().is_some()
    }

    /// Who that is.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        let is_guest = |name: &str| self.guests.iter().any(|guest| guest.as_str() == name);
        let is_member = |name: &str| self.members.iter().any(|member| member.name.as_str() == name);
        let met = move |name: &&str| is_member(name) || is_guest(name);
        let joined = self.join.iter().map(String::as_str).filter(move |name| !met(name));
        let is_further = move |name: &&str| !met(name) && !self.join.iter().any(|other| other == name);
        let found = self.found.iter().map(String::as_str).filter(is_further);
        self.away().chain(joined).chain(found)
    }

    /// Notes which connected nodes are BEAMs.
    pub fn host(&mut self, guests: Arc<[Atom]>) {
        self.guests = guests;
    }

    /// Notes the names that discovery found at its last look.
    pub fn found(&mut self, mut names: Vec<String>) {
        names.retain(|name| name != self.name());
        self.found = names;
    }

    /// What peers were known to hold counts no more, nor what those held that are gone.
    pub fn forget_holdings(&mut self) {
        self.absent.clear();
        for peer in self.peers.iter_mut().flatten() {
            peer.holdings.clear();
            peer.said.epoch = 0;
        }
        self.reroute();
    }

    /// A member is not connected, and has not said good-bye.
    pub fn members_away(&self) -> bool {
        self.away().next().is_some()
    }

    fn away(&self) -> impl Iterator<Item = &str> {
        let away = |member: &&Member| member.state != MemberState::Gone && !is_serving(member);
        let names = self.members.iter().filter(away).map(|member| member.name.as_str());
        names.filter(|name| *name != self.name() && self.slot(name).is_none())
    }

    /// A copy of this node is ready: it may be asked for something.
    pub fn is_serving(&self) -> bool {
        self.copies.contains(&Copy::Ready)
    }

    /// Takes in what a peer tells of its copies, in its announcement number `epoch`. False if the list is not one of
    /// all shards.
    pub fn told(&mut self, slot: usize, epoch: u64, holdings: Vec<Holding>) -> bool {
        let shards = self.shards();
        let Some(peer) = self.peer_mut(slot) else { return false };
        if holdings.len() != shards {
            return false;
        }
        let is_met = peer.holdings.is_empty();
        peer.said.epoch = epoch;
        peer.holdings = holdings;
        if is_met {
            self.raise_fences(slot);
        }
        self.reroute();
        true
    }

    /// Nothing is decided on the shards that this node shares with a peer until what the peer has of them is merged.
    fn raise_fences(&mut self, slot: usize) {
        let both = |shard: &usize| {
            self.copies[*shard] == Copy::Ready && self.copy_at(Seat::Peer(slot), *shard) != Copy::Absent
        };
        let both: Vec<usize> = (0..self.shards()).filter(both).collect();
        for shard in both {
            self.fences.raise(shard, slot);
        }
    }

    /// This node begins to go: it has no seat any more.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.place();
    }

    /// Takes in a member list.
    pub fn update(&mut self, members: Arc<[Member]>) -> Change {
        let (mut change, mut turned_away) = (Change::default(), Vec::new());
        self.members = members;
        let members = self.members.clone();
        for slot in 0..self.peers.len() {
            let Some(peer) = &self.peers[slot] else { continue };
            let connected = |member: &&Member| member.name.as_str() == peer.name && member.connected;
            let stays = match (members.iter().find(connected), peer.channel) {
                (Some(member), Channel::Direct | Channel::Switched(..)) => member.creation == peer.creation,
                (None, Channel::Direct | Channel::Switched(..)) => false,
                (Some(member), Channel::Relayed(_)) => member.creation == peer.creation || !is_serving(member),
                (None, Channel::Relayed(_)) => true,
            };
            if !stays {
                change.crashed |= !peer.leaving;
                self.unseat(slot);
                change.lost.insert(slot);
            }
        }
        for member in members.iter() {
            let name = member.name.as_str();
            if name == self.name() {
                continue;
            }
            // An identity is dead once its name lives under another creation, or has said good-bye. One that is
            // connected is absent until it has said hello.
            let serving = is_serving(member);
            self.absent.retain(|gone| {
                gone.name != name || gone.creation == member.creation && member.state != MemberState::Gone && !serving
            });
            if !serving {
                continue;
            }
            let leaving = member.state == MemberState::Leaving;
            if let Some(slot) = self.slot(name) {
                if let Some(peer) = self.peer_mut(slot) {
                    peer.leaving = leaving;
                }
                continue;
            }
            let node = Identity {
                name: name.into(),
                creation: member.creation,
            };
            let mut peer = self.peer_of(node, Channel::Direct);
            peer.leaving = leaving;
            match self.seat_peer(peer, change.lost) {
                Some(slot) => change.joined.insert(slot),
                None => turned_away.push(name.into()),
            }
        }
        let was_before = |name: &&String| self.turned_away.contains(name);
        change.turned_away = turned_away.iter().filter(|name| !was_before(name)).cloned().collect();
        self.turned_away = turned_away;
        self.place();
        change
    }

    fn peer_of(&mut self, node: Identity, channel: Channel) -> Peer {
        self.met += 1;
        self.view.doubt();
        Peer::new(node, channel, self.met)
    }

    /// Notes that a peer is out of reach, with what it had.
    fn unseat(&mut self, slot: usize) {
        self.fences.forget(slot);
        self.view.doubt();
        if let Some(peer) = self.peers[slot].take() {
            if !peer.leaving && peer.said.sight.as_ref().is_none_or(|sight| !sight.leaving) {
                self.view.lose(peer.identity());
            }
            self.absent.push(Absent {
                name: peer.name,
                creation: peer.creation,
                holdings: peer.holdings,
            });
        }
    }

    /// A member waits for a slot.
    pub fn turns_away(&self) -> bool {
        !self.turned_away.is_empty()
    }

    /// A slot for a peer, none of those `lost` just now: somebody has to let go of them first.
    fn seat_peer(&mut self, peer: Peer, lost: PeerSet) -> Option<usize> {
        let free = |(slot, seated): (usize, &Option<Peer>)| seated.is_none() && !lost.contains(slot);
        if let Some(slot) = self.peers.iter().enumerate().position(free) {
            self.peers[slot] = Some(peer);
            return Some(slot);
        }
        (self.peers.len() < PEERS_MAX).then(|| {
            self.peers.push(Some(peer));
            self.peers.len() - 1
        })
    }

    /// Computes the ring and the routes.
    fn place(&mut self) {
        let mut seated: Vec<(&str, Seat)> = Vec::new();
        for member in self.view.members().iter().filter(|member| !member.leaving) {
            let seat = self.seat_of(&member.node).map_or(Seat::Away, Seat::Peer);
            let name = member.node.name.as_str();
            // Two lives of one name: the later of them, unless it is the earlier one that is at hand.
            match seated.last_mut().filter(|(other, _)| *other == name) {
                Some(other) if seat != Seat::Away || other.1 == Seat::Away => other.1 = seat,
                Some(_) => {}
                None if name == self.name() => {}
                None => seated.push((name, seat)),
            }
        }
        // One that leaves alone has nobody to hand over to and keeps its seat, so that it serves to the end.
        if !self.leaving || seated.is_empty() {
            seated.push((self.name(), Seat::Me));
        }
        seated.sort_unstable_by_key(|(name, _)| *name);
        let seats = seated.iter().map(|(_, seat)| *seat).collect();
        let names: Vec<&str> = seated.iter().map(|(name, _)| *name).collect();
        if !self.ring.nodes().eq(names.iter().copied()) {
            self.ring = Ring::new(&names, self.ring_shards, self.replicas);
        }
        self.seats = seats;
        self.reroute();
    }

    fn reroute(&mut self) {
        self.rerouted = true;
        for shard in 0..self.shards() {
            self.routes[shard] = self.routed(shard);
        }
    }

    fn reroute_one(&mut self, shard: usize) {
        self.rerouted = true;
        self.routes[shard] = self.routed(shard);
    }

    /// Whether routes have changed since this was last asked.
    pub fn take_rerouted(&mut self) -> bool {
        core::mem::take(&mut self.rerouted)
    }

    fn routed(&self, shard: usize) -> Route {
        let mut targets = PeerSet::EMPTY;
        let mut primary = None;
        for seat in self.order(shard) {
            if let Seat::Peer(slot) = seat {
                targets.insert(slot);
            }
            if primary.is_none() && self.copy_at(seat, shard) == Copy::Ready {
                primary = Some(seat);
            }
        }
        // By name, so that every node that sees the same picks the same fallback.
        let mut fallback: Option<(&str, Seat)> = None;
        if self.copies[shard] == Copy::Ready {
            fallback = Some((self.name(), Seat::Me));
        }
        for (slot, peer) in self.peers() {
            if peer.copy(shard) == Copy::Ready {
                targets.insert(slot);
                if fallback.is_none_or(|(name, _)| peer.name.as_str() < name) {
                    fallback = Some((&peer.name, Seat::Peer(slot)));
                }
            }
        }
        Route {
            primary: primary.or(fallback.map(|(_, seat)| seat)),
            targets,
            readable: self.copies[shard] == Copy::Ready,
            settled: self.is_settled(shard),
        }
    }
}

/// It is connected and has said hello.
fn is_serving(member: &Member) -> bool {
    member.connected
        && matches!(
            member.state,
            MemberState::Up | MemberState::Suspect | MemberState::Leaving
        )
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    /// Members of these numbers, all of them up, beside the node itself.
    fn members(numbers: impl IntoIterator<Item = usize>) -> Arc<[Member]> {
        let up = |number: usize| Member {
            name: Atom::new(&format!("n{number:03}@h")),
            creation: 4,
            state: MemberState::Up,
            connected: true,
            dist_port: None,
        };
        numbers.into_iter().map(up).collect()
    }

    #[test]
    fn who_finds_no_slot_is_told_of_once_and_gets_the_next() {
        let mut cluster = Cluster::new(&Config {
            name: "n000@h".into(),
            ..Config::default()
        });
        let first = cluster.update(members(0..=PEERS_MAX));
        assert_eq!((first.joined.len() as usize, first.turned_away.len()), (PEERS_MAX, 0));
        let late = format!("n{:03}@h", PEERS_MAX + 1);
        assert_eq!(cluster.update(members(0..=PEERS_MAX + 1)).turned_away, [late.as_str()]);
        assert_eq!(cluster.update(members(0..=PEERS_MAX + 1)).turned_away, [""; 0]);
        // The slot of one that is lost is not given away before that was handled, so it takes the same list twice.
        let without_one = || members((0..=PEERS_MAX + 1).filter(|number| *number != 7));
        let change = cluster.update(without_one());
        assert_eq!(
            (change.lost.len(), change.joined.len(), cluster.turns_away()),
            (1, 0, true)
        );
        let change = cluster.update(without_one());
        assert_eq!((change.joined.len(), cluster.turns_away()), (1, false));
        assert!(cluster.slot(&late).is_some());
    }
}
