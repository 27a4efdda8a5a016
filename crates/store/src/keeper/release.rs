//! Letting go: a copy that is not placed here ends once every replica is ready and covers it.

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
        // It is on its way out and needs no more deltas.
        let replica = &mut self.replicas[shard];
        replica.followers.remove(slot);
        if !replica.shard.clock().covers(&theirs) {
            self.want(shard, slot);
        } else if self.cluster.copy(shard) == Copy::Ready && self.cluster.placed_here(shard) {
            // Who lets another go stays until it has asked anew.
            replica.released = PeerSet::EMPTY;
            self.links[slot].outbox.push(&Message::Released {
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
                // Written to meanwhile. A copy that is not ready is sent no writes, so the next time there are none.
                replica.release_asked_ms = 0;
                self.set_copy(shard, Copy::Filling);
            }
        }
        true
    }

    pub(super) fn drop_copy(&mut self, shard: usize) {
        let replica = &mut self.replicas[shard];
        // Its counters are not used again, should the shard come back in this life.
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
                self.links[slot].outbox.push(&Message::Release {
                    shard: shard as u32,
                    clock: &clock,
                });
            }
        }
    }
}
