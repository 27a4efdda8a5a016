//! One node's view of the cluster: the members, their copies, and so the primary of each shard. All decisions that
//! follow from this view alone are made here. Nothing is sent from here.
//!
//! - The [`Ring`] depends only on the members that are up and not leaving. Members out of reach have no seat in it.
//! - The *primary* of a shard is its first ready replica in ring order. If no replica is ready, a node with a ready
//!   copy that is no replica any more stands in as *fallback*.
//! - A node with a ready copy that is lost and not known to be dead is *missed*. It may still come back with
//!   acknowledged writes. So while no other copy of the shard is ready, the shard is not formed again without it.
//! - The *view* is the component of nodes that reach each other, directly or through others ([`sight`](crate::sight)).
//!   All of its members compute the same view. Members without a connection to this node are peers by *relay*.
//! - A shard is *settled* when this node may decide on it: all nodes with a ready copy have the same view and know
//!   which copies are ready, and everything that one of them had is merged here ([`fence`](crate::fence)).

mod view;

use alloc::{string::String, sync::Arc, vec, vec::Vec};
use node::{Atom, Member, MemberState};

use self::view::View;
pub use self::view::{Beside, Channel, Look, Relayed, Said};
use crate::{
    config::Config,
    dot::Writer,
    fence::Fences,
    keyspaces::Layout,
    message::{Copy, Holding},
    peers::{PEERS_MAX, PeerSet},
    ring::Ring,
    sight::Identity,
    vitals::Vitals,
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
    /// A member that other members reach, but this node does not yet.
    Away,
}

/// A member that this node exchanges frames with.
#[derive(Debug)]
pub struct Peer {
    /// Its node name.
    pub name: String,
    /// Its creation: it differs for each start of the node.
    pub creation: u32,
    /// How frames are sent to it.
    pub channel: Channel,
    /// What it reported about its view of the cluster.
    pub said: Said,
    /// A number that no other peer of this node ever has, in any slot.
    pub life: u64,
    /// The monotonic time, in milliseconds, when its channel began.
    pub since_ms: u64,
    /// The writer id of its dots.
    pub writer: Writer,
    /// Whether it is leaving. It keeps its copies until other nodes have them, and gets no new ones.
    pub leaving: bool,
    /// Its copies, by shard; empty until it has reported them.
    pub holdings: Vec<Holding>,
    /// Host and port for RESP clients; `None` until it has reported them.
    pub resp: Option<(String, u16)>,
    /// Its load and state.
    pub vitals: Vitals,
    /// Its wall clock.
    pub wall: PeerWall,
    /// Live keys by shard, for shards that it is the primary of; empty until it has reported them.
    pub keys: Vec<u64>,
}

impl Peer {
    /// A peer that has reported nothing yet.
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

    /// Its name and creation.
    pub fn identity(&self) -> Identity {
        Identity {
            name: self.name.clone(),
            creation: self.creation,
        }
    }

    /// Whether frames are sent to it over a connection.
    fn is_direct(&self) -> bool {
        !matches!(self.channel, Channel::Relayed(_))
    }

    /// Whether it has a copy of some shard that is ready, or was.
    fn holds(&self) -> bool {
        let holds = |holding: &Holding| holding.copy == Copy::Ready || holding.was_ready;
        self.holdings.iter().any(holds)
    }

    fn copy(&self, shard: usize) -> Copy {
        self.holdings.get(shard).map_or(Copy::Absent, |holding| holding.copy)
    }
}

/// A member that is out of reach, with the copies it last reported.
#[derive(Debug)]
struct Absent {
    name: String,
    creation: u32,
    holdings: Vec<Holding>,
}

/// The nodes that serve a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Route {
    /// First ready replica, or a fallback; `None` if no reachable node is ready.
    pub primary: Option<Seat>,
    /// The peers that a write made here must reach.
    pub targets: PeerSet,
    /// Whether this node has a ready copy.
    pub readable: bool,
    /// Whether this node may decide: read for a client, or execute a command that reads before it writes.
    pub settled: bool,
}

/// Whether a shard without a ready copy may be formed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formation {
    /// Not now: a node with a copy may still be found.
    Wait,
    /// Another replica comes first.
    Other,
    /// Yes, once the copies of these peers are merged.
    Mine(PeerSet),
}

/// What a new member list changed.
#[derive(Debug, Default)]
pub struct Change {
    /// Peers that are lost. Their slots are free once the loss is handled.
    pub lost: PeerSet,
    /// Peers that are new.
    pub joined: PeerSet,
    /// Members for which no slot was free, for the first time. They take no part in the store until a slot is free.
    pub turned_away: Vec<String>,
    /// Whether a member went without leaving. It may come back soon.
    pub crashed: bool,
}

/// Nodes that are known by name, members or not.
#[derive(Debug)]
struct Named {
    /// The names of the nodes to join.
    join: Vec<String>,
    /// Names that discovery found at its last look.
    found: Vec<String>,
    /// Connected nodes that are BEAMs. They are not waited for.
    guests: Arc<[Atom]>,
    /// Members that were out of reach at some time when every shard was served, and that no node in reach has met
    /// since. What they hold is needed for no shard: nodes that stop serving after that begin again without them.
    dispensable: Vec<String>,
}

/// The view of one node.
#[derive(Debug)]
pub struct Cluster {
    view: View,
    fences: Fences,
    replicas: u8,
    /// The places of the shards in the ring.
    layout: Arc<Layout>,
    leaving: bool,
    named: Named,
    members: Arc<[Member]>,
    peers: Vec<Option<Peer>>,
    met: u64,
    absent: Vec<Absent>,
    /// Members for which the last list found no slot.
    turned_away: Vec<String>,
    copies: Vec<Copy>,
    ring: Ring,
    seats: Vec<Seat>,
    routes: Vec<Route>,
    /// Whether routes have changed since the last call of `take_rerouted`.
    rerouted: bool,
}

impl Cluster {
    /// A node without peers and without copies.
    pub fn new(config: &Config, layout: Arc<Layout>) -> Self {
        let (name, replicas) = (config.name.as_str(), config.replicas);
        let shards = layout.shards();
        let mut cluster = Self {
            view: View::new(Identity {
                name: name.into(),
                creation: config.creation,
            }),
            fences: Fences::new(shards),
            named: Named {
                join: config.join.iter().filter(|other| *other != name).cloned().collect(),
                found: Vec::new(),
                guests: Arc::from([]),
                dispensable: Vec::new(),
            },
            replicas,
            ring: Ring::new(&[name], config.shards, replicas),
            layout,
            leaving: false,
            members: Arc::from([]),
            peers: Vec::new(),
            met: 0,
            absent: Vec::new(),
            turned_away: Vec::new(),
            copies: vec![Copy::Absent; shards],
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

    /// How many copies a shard should have.
    pub fn replicas(&self) -> u8 {
        self.replicas
    }

    /// The members as membership reports them, including this node.
    pub fn members(&self) -> &Arc<[Member]> {
        &self.members
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.view.me().name
    }

    /// Whether this node is leaving.
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

    /// The connected member in a slot.
    pub fn peer(&self, slot: usize) -> Option<&Peer> {
        self.peers.get(slot)?.as_ref()
    }

    /// The connected member in a slot, to note its vitals.
    pub fn peer_mut(&mut self, slot: usize) -> Option<&mut Peer> {
        self.peers.get_mut(slot)?.as_mut()
    }

    /// The slot of a connected member.
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.peers().find(|(_, peer)| peer.name == name).map(|(slot, _)| slot)
    }

    /// Whether a reachable member is not leaving, and so can take over this node's copies.
    pub fn has_successor(&self) -> bool {
        let leaves = |peer: &Peer| peer.leaving || peer.said.sight.as_ref().is_some_and(|sight| sight.leaving);
        self.peers().any(|(_, peer)| !leaves(peer))
    }

    /// Whether no other member is connected.
    pub fn is_alone(&self) -> bool {
        self.peers.iter().all(Option::is_none)
    }

    /// The slots of all connected members.
    pub fn connected(&self) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (slot, _) in self.peers() {
            set.insert(slot);
        }
        set
    }

    /// This node's copy of `shard`.
    pub fn copy(&self, shard: usize) -> Copy {
        self.copies[shard]
    }

    /// Sets this node's copy of `shard`.
    pub fn set_copy(&mut self, shard: usize, copy: Copy) {
        if copy == Copy::Ready && self.copies[shard] != Copy::Ready {
            self.fences.became_ready(shard);
        }
        self.copies[shard] = copy;
        self.reroute_one(shard);
    }

    /// What this node reports about its copies, by shard.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        (0..self.shards()).map(|shard| Holding {
            copy: self.copies[shard],
            missed: self.misses(shard),
            was_ready: self.copies[shard] != Copy::Absent && self.fences.was_ready(shard),
        })
    }

    /// The nodes that serve `shard`.
    pub fn route(&self, shard: usize) -> &Route {
        &self.routes[shard]
    }

    /// The ring in force.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The replicas of `shard` in ring order.
    pub fn order(&self, shard: usize) -> impl Iterator<Item = Seat> {
        self.ring
            .replicas(self.layout.ring_shard(shard))
            .iter()
            .map(|index| self.seats[usize::from(index.0)])
    }

    /// Whether `shard` is placed on this node.
    pub fn placed_here(&self, shard: usize) -> bool {
        self.order(shard).any(|seat| seat == Seat::Me)
    }

    /// The copy of `shard` at a seat.
    pub fn copy_at(&self, seat: Seat, shard: usize) -> Copy {
        match seat {
            Seat::Me => self.copies[shard],
            Seat::Away => Copy::Absent,
            Seat::Peer(slot) => self.peer(slot).map_or(Copy::Absent, |peer| peer.copy(shard)),
        }
    }

    /// Connected peers whose copy of `shard` satisfies `is_meant`.
    pub fn holders(&self, shard: usize, is_meant: impl Fn(Copy) -> bool) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for (slot, peer) in self.peers() {
            if is_meant(peer.copy(shard)) {
                set.insert(slot);
            }
        }
        set
    }

    /// Whether a connected member has not reported its copies yet: it may be the primary of any shard.
    pub fn awaits_word(&self) -> bool {
        self.peers().any(|(_, peer)| peer.holdings.is_empty())
    }

    /// Whether a node with a ready copy of `shard` is out of reach, is not known to be dead, and may have the only
    /// copy.
    pub fn misses(&self, shard: usize) -> bool {
        self.absent.iter().any(|gone| {
            let holding = gone.holdings.get(shard);
            holding.is_some_and(|holding| holding.copy == Copy::Ready) && !self.is_dispensable(&gone.name)
        })
    }

    fn is_dispensable(&self, name: &str) -> bool {
        self.named.dispensable.iter().any(|other| other == name)
    }

    /// Notes the members that no node in reach is connected to, if every shard is served without them.
    pub fn note_dispensable(&mut self) {
        let is_reached = |name: &&str| self.view.members().iter().any(|member| member.node.name == *name);
        let unreached = || self.away().filter(|name| !is_reached(name));
        let is_noted = unreached().eq(self.named.dispensable.iter().map(String::as_str));
        if !is_noted && self.routes.iter().all(|route| route.primary.is_some()) {
            self.named.dispensable = unreached().map(String::from).collect();
        }
    }

    /// Whether `shard`, which has no ready copy in reach, may be formed. `awaits`: whether some members do not agree
    /// yet.
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

    /// Whether some node is known, named or found that is not connected and has not said goodbye.
    /// Members that were away while every shard was served do not count.
    pub fn awaits_members(&self) -> bool {
        self.awaited().any(|name| !self.is_dispensable(name))
    }

    /// The names of all nodes that are known, named or found, are not connected, and have not said goodbye.
    pub fn awaited(&self) -> impl Iterator<Item = &str> {
        let is_guest = |name: &str| self.named.guests.iter().any(|guest| guest.as_str() == name);
        let is_member = |name: &str| self.members.iter().any(|member| member.name.as_str() == name);
        let met = move |name: &&str| is_member(name) || is_guest(name);
        let joined = self
            .named
            .join
            .iter()
            .map(String::as_str)
            .filter(move |name| !met(name));
        let is_further = move |name: &&str| !met(name) && !self.named.join.iter().any(|other| other == name);
        let found = self.named.found.iter().map(String::as_str).filter(is_further);
        self.away().chain(joined).chain(found)
    }

    /// Notes which connected nodes are BEAMs.
    pub fn host(&mut self, guests: Arc<[Atom]>) {
        self.named.guests = guests;
    }

    /// Notes the names that discovery found at its last look.
    pub fn found(&mut self, mut names: Vec<String>) {
        names.retain(|name| name != self.name());
        self.named.found = names;
    }

    /// Drops everything known about the copies of peers and of lost nodes.
    pub fn forget_holdings(&mut self) {
        self.absent.clear();
        for peer in self.peers.iter_mut().flatten() {
            peer.holdings.clear();
            peer.said.epoch = 0;
        }
        self.reroute();
    }

    /// Whether some member is not connected and has not said goodbye.
    pub fn members_away(&self) -> bool {
        self.away().next().is_some()
    }

    fn away(&self) -> impl Iterator<Item = &str> {
        let away = |member: &&Member| member.state != MemberState::Gone && !is_serving(member);
        let names = self.members.iter().filter(away).map(|member| member.name.as_str());
        names.filter(|name| *name != self.name() && self.slot(name).is_none())
    }

    /// Whether any copy of this node is ready, so that it may get requests.
    pub fn is_serving(&self) -> bool {
        self.copies.contains(&Copy::Ready)
    }

    /// Processes a peer's list of its copies, which is its announcement number `epoch`. Returns false if the list does
    /// not cover all shards.
    pub fn told(&mut self, slot: usize, epoch: u64, holdings: Vec<Holding>) -> bool {
        let shards = self.shards();
        let Some(peer) = self.peer_mut(slot) else { return false };
        if holdings.len() != shards {
            return false;
        }
        peer.said.epoch = epoch;
        let before = core::mem::replace(&mut peer.holdings, holdings);
        if before.is_empty() {
            self.raise_fences(slot);
        }
        if self.peer(slot).is_some_and(|peer| peer.holdings != before) {
            self.reroute();
        }
        true
    }

    /// Stops decisions on the shards that this node shares with a peer, until the peer's copies of them are merged.
    fn raise_fences(&mut self, slot: usize) {
        let both = |shard: &usize| {
            self.copies[*shard] == Copy::Ready && self.copy_at(Seat::Peer(slot), *shard) != Copy::Absent
        };
        let both: Vec<usize> = (0..self.shards()).filter(both).collect();
        for shard in both {
            self.fences.raise(shard, slot);
        }
    }

    /// This node begins to leave: it gives up its seat.
    pub fn leave(&mut self) {
        self.leaving = true;
        self.place();
    }

    /// Processes a member list.
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
            // An identity is dead once its name has another creation, or has said goodbye. A connected member counts as
            // absent until its hello has come.
            let serving = is_serving(member);
            self.absent.retain(|gone| {
                gone.name != name || gone.creation == member.creation && member.state != MemberState::Gone && !serving
            });
            if !serving {
                continue;
            }
            self.named.dispensable.retain(|other| other != name);
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

    /// Notes that a peer is out of reach, and which copies it had.
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

    /// Whether a member waits for a slot.
    pub fn turns_away(&self) -> bool {
        !self.turned_away.is_empty()
    }

    /// Finds a slot for a peer. Slots of peers in `lost` are not used: the loss must be handled first.
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
            // If a name occurs with two creations, the later one counts, unless only the earlier one is a peer here.
            match seated.last_mut().filter(|(other, _)| *other == name) {
                Some(other) if seat != Seat::Away || other.1 == Seat::Away => other.1 = seat,
                Some(_) => {}
                None if name == self.name() => {}
                None => seated.push((name, seat)),
            }
        }
        // If it is the last node, it has no node to hand over to. It keeps its seat, so that it serves to the end.
        if !self.leaving || seated.is_empty() {
            seated.push((self.name(), Seat::Me));
        }
        seated.sort_unstable_by_key(|(name, _)| *name);
        let seats = seated.iter().map(|(_, seat)| *seat).collect();
        let names: Vec<&str> = seated.iter().map(|(name, _)| *name).collect();
        if !self.ring.nodes().eq(names.iter().copied()) {
            self.ring = Ring::new(&names, self.ring.shards(), self.replicas);
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

    /// Whether routes have changed since the last call.
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
        for (slot, peer) in self.peers() {
            if peer.copy(shard) == Copy::Ready {
                targets.insert(slot);
            }
        }
        Route {
            primary: primary.or_else(|| self.fallback(shard)),
            targets,
            readable: self.copies[shard] == Copy::Ready,
            settled: self.is_settled(shard),
        }
    }

    /// Who serves a shard that has no ready replica. The first name is taken, so that every node with the same view
    /// picks the same one.
    fn fallback(&self, shard: usize) -> Option<Seat> {
        let me = (self.copies[shard] == Copy::Ready).then(|| (self.name(), Seat::Me));
        let ready = self.peers().filter(|(_, peer)| peer.copy(shard) == Copy::Ready);
        let others = ready.map(|(slot, peer)| (peer.name.as_str(), Seat::Peer(slot)));
        let first = me.into_iter().chain(others).min_by_key(|(name, _)| *name);
        first.map(|(_, seat)| seat)
    }
}

/// Whether a member is connected and its hello has come.
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

    fn cluster(config: &Config) -> Cluster {
        Cluster::new(config, Arc::new(Layout::new(config)))
    }

    /// The members with these numbers, all up, without the node itself.
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
    fn a_member_without_a_slot_is_reported_once_and_gets_the_next_free_one() {
        let mut cluster = cluster(&Config {
            name: "n000@h".into(),
            ..Config::default()
        });
        let first = cluster.update(members(0..=PEERS_MAX));
        assert_eq!((first.joined.len() as usize, first.turned_away.len()), (PEERS_MAX, 0));
        let late = format!("n{:03}@h", PEERS_MAX + 1);
        assert_eq!(cluster.update(members(0..=PEERS_MAX + 1)).turned_away, [late.as_str()]);
        assert_eq!(cluster.update(members(0..=PEERS_MAX + 1)).turned_away, [""; 0]);
        // The slot of a lost peer is free only after the loss was handled, so the same list is given twice.
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

    #[test]
    fn a_member_that_only_others_reach_is_waited_for_even_if_its_copies_are_not_ready_any_more() {
        let stepped_down = Holding {
            copy: Copy::Filling,
            missed: false,
            was_ready: true,
        };
        // A node of a cluster of three. Both peers have reported that their copy is not ready any more.
        let connected = |number: usize| {
            let mut cluster = cluster(&Config {
                name: format!("n{number:03}@h"),
                creation: 4,
                shards: 1,
                ..Config::default()
            });
            cluster.update(members((0..3).filter(|other| *other != number)));
            for slot in [0, 1] {
                cluster.told(slot, 1, vec![stepped_down]);
            }
            cluster.look(0);
            cluster
        };
        let mut cluster = connected(0);
        cluster.set_copy(0, Copy::Ready);
        cluster.sees(0, connected(1).view().mine().clone());
        cluster.look(0);
        assert!(cluster.route(0).settled);
        // The connection to n002 breaks. What n002 wrote meanwhile is not merged here, and n001 still reaches n002.
        cluster.update(members([1]));
        cluster.look(0);
        assert!(!cluster.route(0).settled);
        let slot = cluster.look(1_000).change.joined.iter().next().expect("a relay");
        cluster.told(slot, 2, vec![stepped_down]);
        cluster.look(1_000);
        assert!(!cluster.route(0).settled, "the copy of n002 is not merged");
        cluster.merged(0, slot);
        assert!(cluster.route(0).settled);
    }
}
