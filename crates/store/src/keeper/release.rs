//! Releasing: a copy that is not placed here is dropped once every replica is ready and covers it.

use alloc::vec::Vec;

use super::{RELEASE_EVERY_MS, Replica, decode};
use crate::{
    cluster::Seat,
    message::{Copy, Message},
    peers::PeerSet,
    shard::Shard,
    store::Store,
};

impl Store {
    pub(super) fn release(&mut self, slot: usize, shard: usize, clock: &[u8]) -> bool {
        let Some(theirs) = decode(clock) else { return false };
        if shard >= self.replicas.len() {
            return false;
        }
        if self.cluster.copy(shard) == Copy::Absent {
            return true;
        }
        // The peer is about to drop its copy and needs no more deltas.
        let replica = &mut self.replicas[shard];
        replica.followers.remove(slot);
        if !replica.shard.clock().covers(&theirs) {
            self.want(shard, slot);
        } else if self.cluster.copy(shard) == Copy::Ready && self.cluster.placed_here(shard) {
            // A node that allows another to drop a copy must not drop its own with permissions it got before.
            replica.released = PeerSet::EMPTY;
            self.peers[slot].outbox.push(&Message::Released {
                shard: shard as u32,
                digest: theirs.digest(),
            });
        }
        true
    }

    pub(super) fn released(&mut self, slot: usize, shard: usize, digest: u64) -> bool {
        let Some(replica) = self.replicas.get_mut(shard) else {
            return false;
        };
        if digest != replica.release_digest || self.cluster.placed_here(shard) {
            return true;
        }
        replica.released.insert(slot);
        let all = self.cluster.order(shard).all(|seat| match seat {
            Seat::Me | Seat::Away => false,
            Seat::Peer(slot) => replica.released.contains(slot) && self.cluster.copy_at(seat, shard) == Copy::Ready,
        });
        if all && replica.fill.is_none() {
            if digest == replica.shard.clock().digest() {
                self.drop_copy(shard);
            } else {
                // The copy was written to in the meantime. A copy that is not ready gets no writes, so the next attempt
                // succeeds.
                replica.release_asked_ms = 0;
                self.set_copy(shard, Copy::Filling);
            }
        }
        true
    }

    pub(super) fn drop_copy(&mut self, shard: usize) {
        let replica = &mut self.replicas[shard];
        // The counter of used dots is kept, so that no dot is used again if the shard comes back.
        let last = replica.shard.last();
        *replica = Replica::new(Shard::new(self.writer, last));
        self.keeper.streams.retain(|_, stream| stream.of != shard);
        self.gauges.counters.dropped += 1;
        self.set_copy(shard, Copy::Absent);
    }

    pub(super) fn ask_release(&mut self, shard: usize) {
        let replica = &mut self.replicas[shard];
        if replica.release_asked_ms > 0 && self.time.monotonic_ms < replica.release_asked_ms + RELEASE_EVERY_MS {
            return;
        }
        let ready = self
            .cluster
            .order(shard)
            .all(|seat| seat != Seat::Me && self.cluster.copy_at(seat, shard) == Copy::Ready);
        if !ready {
            return;
        }
        replica.release_asked_ms = self.time.monotonic_ms;
        replica.release_digest = replica.shard.clock().digest();
        replica.released = PeerSet::EMPTY;
        let mut clock = Vec::new();
        replica.shard.clock().encode(&mut clock);
        let seats: Vec<Seat> = self.cluster.order(shard).collect();
        for seat in seats {
            if let Seat::Peer(slot) = seat {
                self.peers[slot].outbox.push(&Message::Release {
                    shard: shard as u32,
                    clock: &clock,
                });
            }
        }
    }
}
