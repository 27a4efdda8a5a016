//! Frames between nodes that have no connection: the nodes between them pass the frames on.
//!
//! A member that other members reach, but to which this node has no connection, is a peer like any other. Only its
//! frames travel in [`Message::Relay`]. A node on the way drops a frame if the next connection has no room for it. The
//! gap in the frame numbers then makes the relay begin again.

use alloc::vec::Vec;
use bytes::Bytes;
use node::Context;
use wire::etf::Pid;

use crate::{
    ask::Payload,
    cluster::{Beside, Channel, Relayed},
    message::{Frame, LEASE_MS, Message},
    outbox,
    sight::Identity,
    store::Store,
};

/// How many nodes may pass a frame on. A frame can go in circles only while sights are changing.
const HOPS_MAX: u8 = 8;
/// If more bytes than this wait for a peer, nothing is passed on to it.
const PASSED_BYTES_MAX: usize = 64 << 20;
/// Bytes that wait for the neighbour on the way from which on no more is brought for a peer by relay.
const HOP_BYTES_MAX: usize = 1 << 20;
/// A connection over which nothing came for so long has ended at the other side, if that side makes a relay.
const DEAD_AFTER_MS: u64 = LEASE_MS;

impl Store {
    /// Computes the reachable members again, and notifies the peers of changes.
    pub(crate) fn look_around(&mut self) {
        let mut is_new = false;
        // Routes depend on which peers are relayed. So if relays began or ended, another look is needed.
        loop {
            let look = self.cluster.look(self.time.monotonic_ms);
            self.peers.given_up = self.peers.given_up.union(look.given_up);
            is_new |= look.sight || look.view;
            if look.change.lost.is_empty() && look.change.joined.is_empty() {
                break;
            }
            self.changed(&look.change);
        }
        if is_new {
            self.keeper.look = true;
            for slot in self.cluster.connected().iter() {
                self.introduce(slot);
            }
        }
    }

    /// Sends a peer this node's sight, and how far this node agrees with it.
    pub(crate) fn introduce(&mut self, slot: usize) {
        let sight = self.cluster.view().mine().clone();
        self.peers[slot].outbox.push(&Message::Sight(sight));
        self.tell_stand(slot);
    }

    /// Sends a peer how far this node agrees with it.
    pub(crate) fn tell_stand(&mut self, slot: usize) {
        let Some(peer) = self.cluster.peer(slot) else { return };
        let knows = peer.said.epoch;
        let view = self.cluster.view().digest();
        let losses = self.cluster.view().losses();
        self.peers[slot].outbox.push(&Message::Stand { view, knows, losses });
    }

    /// Puts frames for relayed peers into the outboxes of the neighbours on the way.
    pub(crate) fn send_by_relay(&mut self, ctx: &mut Context<'_, Payload>) {
        for slot in self.cluster.connected().without(self.peers.cut).iter() {
            let Some(peer) = self.cluster.peer(slot) else { continue };
            let Channel::Relayed(relay) = peer.channel else {
                continue;
            };
            let to = peer.identity();
            let Some(hop) = self.cluster.next_hop(&to) else {
                continue;
            };
            while ctx.has_room(&self.peers[hop].node)
                && self.peers[hop].outbox.bytes() < HOP_BYTES_MAX
                && self.bring(slot)
            {
                self.seal_for_relay(slot, hop, &to, (relay.mine, relay.theirs));
            }
            self.seal_for_relay(slot, hop, &to, (relay.mine, relay.theirs));
            if !self.peers[slot].backlog.is_empty() || !self.peers[slot].outbox.departures().is_empty() {
                ctx.await_room(&self.peers[hop].node);
            }
        }
    }

    fn seal_for_relay(&mut self, slot: usize, hop: usize, to: &Identity, (mine, theirs): (u64, u64)) {
        let head = self.head(slot);
        let mut frames: Vec<Vec<u8>> = Vec::new();
        self.peers[slot].outbox.seal(head, |frame| {
            frames.push(frame.to_vec());
            true
        });
        let from = self.cluster.view().me().clone();
        for frame in &frames {
            self.peers[hop].outbox.push(&Message::Relay {
                to: to.clone(),
                from: from.clone(),
                numbers: (mine, theirs),
                hops: HOPS_MAX,
                frame,
            });
        }
    }

    /// Handles a frame that came by relay: it is for this node, or must be passed on.
    pub(crate) fn relayed(&mut self, to: &Identity, from: &Identity, numbers: (u64, u64), hops: u8, frame: &[u8]) {
        if to == self.cluster.view().me() {
            return self.take_relayed(from, numbers, frame);
        }
        let next = self.cluster.next_hop(to);
        let has_room =
            |slot: &usize| self.peers[*slot].outbox.bytes() < PASSED_BYTES_MAX && !self.peers.cut.contains(*slot);
        if let Some(next) = next.filter(has_room).filter(|_| hops > 0) {
            self.peers[next].outbox.push(&Message::Relay {
                to: to.clone(),
                from: from.clone(),
                numbers,
                hops: hops - 1,
                frame,
            });
        }
    }

    fn take_relayed(&mut self, from: &Identity, (theirs, mine): (u64, u64), frame: &[u8]) {
        let Some(slot) = self.cluster.seat_of(from) else { return };
        let Some(peer) = self.cluster.peer_mut(slot) else {
            return;
        };
        let heard = match &mut peer.channel {
            Channel::Relayed(relay) | Channel::Switched(relay, _) => relay.hear(theirs, mine),
            Channel::Direct => {
                // The other end has lost the connection, but this end does not know it yet.
                let alive_ms = self.peers[slot].echo.max(peer.since_ms);
                if self.time.monotonic_ms > alive_ms + DEAD_AFTER_MS {
                    self.peers.given_up.insert(slot);
                }
                return;
            }
        };
        match heard {
            Relayed::Stale => {}
            Relayed::Taken if self.peers.cut.contains(slot) => {}
            Relayed::Taken => {
                self.frame_of(slot, frame);
                if self.cluster.is_switching(slot) {
                    self.go_on_with_early(slot);
                }
            }
            // The other end has lost the connection.
            Relayed::Anew if self.cluster.is_switching(slot) => {
                self.peers.given_up.insert(slot);
            }
            Relayed::Anew => {
                if let Some(slot) = self.relay_again(slot, Some(theirs)) {
                    self.frame_of(slot, frame);
                }
            }
        }
    }

    /// Handles a frame over the connection beside a relay. Returns whether the frame must be kept until the relay ends.
    pub(crate) fn came_beside(&mut self, slot: usize, frame: &[u8]) -> bool {
        let Ok(frame) = Frame::decode(frame) else { return false };
        // The other end sends frames once it has received a probe from here, or if it has no relay.
        let beside = match (frame.number, frame.applied) {
            (0, 0) => Beside::Heard,
            (1, _) => Beside::Anew,
            _ => Beside::Works,
        };
        self.cluster.note_beside(slot, beside);
        frame.number > 0
    }

    /// Sends probes over connections beside relays. Ends a relay when the connection beside it works.
    pub(crate) fn probe(&mut self, ctx: &mut Context<'_, Payload>) {
        for (slot, beside) in self.cluster.connected_beside() {
            // Ending another relay may have ended this one too.
            if !self.cluster.is_relayed(slot) {
                continue;
            }
            ctx.send_bytes(
                &self.peers[slot].node,
                &self.peers.store,
                &outbox::probe(beside > Beside::Unknown),
            );
            if self.cluster.relay_ends_now(slot) {
                let change = self.cluster.end_relay(slot, self.time.monotonic_ms);
                self.changed(&change);
                if self.cluster.is_switching(slot) {
                    self.go_on_with_early(slot);
                }
                self.look_around();
            }
        }
        for slot in self.cluster.switched(self.time.monotonic_ms).iter() {
            // Frames that are missing now are lost.
            self.hear_early(slot);
        }
    }

    /// Handles a frame that came over the connection of a peer.
    pub(crate) fn came_by_connection(&mut self, slot: usize, from: Option<&Pid>, frame: &Bytes) {
        let is_ahead = |bytes: &[u8]| {
            let decoded = Frame::decode(bytes);
            decoded.is_ok_and(|frame| frame.number > self.peers[slot].received + 1)
        };
        if self.cluster.is_switching(slot) && is_ahead(frame) {
            // Frames with lower numbers are still on their way by relay.
            self.peers.early.keep(from, frame);
            return;
        }
        self.frame_of(slot, frame);
        if self.cluster.is_switching(slot) {
            self.go_on_with_early(slot);
        }
    }

    /// Handles frames that came over a connection before the relay beside it had ended, up to the first gap.
    fn go_on_with_early(&mut self, slot: usize) {
        let Some(peer) = self.cluster.peer(slot) else { return };
        let (name, creation, life) = (peer.name.clone(), peer.creation, peer.life);
        let mut frames = self.peers.early.take(&name, creation).into_iter();
        while let Some(bytes) = frames.next() {
            let is_same = self.cluster.peer(slot).is_some_and(|peer| peer.life == life);
            let number = Frame::decode(&bytes).map_or(0, |frame| frame.number);
            if !is_same || self.peers.cut.contains(slot) {
                return;
            }
            if number > self.peers[slot].received + 1 {
                let rest = core::iter::once(bytes).chain(frames).collect();
                return self.peers.early.put_back(&name, creation, rest);
            }
            self.frame_of(slot, &bytes);
        }
    }

    /// Begins a relay again. Returns its new slot.
    pub(crate) fn relay_again(&mut self, slot: usize, anew: Option<u64>) -> Option<usize> {
        let change = self.cluster.relay_again(slot, anew);
        self.changed(&change);
        self.look_around();
        change.joined.iter().next()
    }
}
