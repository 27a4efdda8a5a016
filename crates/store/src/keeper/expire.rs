//! Freeing what has expired: the primary of a shard deletes it, some time after it was hidden everywhere.
//!
//! - A shard is walked through in [`PASS_TICKS`], whatever its size, and the walk does not pause where much of what it
//!   meets has expired. So what is dead and not yet freed is bounded by the writes of a few seconds.
//! - All walks of a tick together cost about [`COST_MAX`] at most; the next tick begins with the shard behind the one
//!   at which that was spent.

use super::Seat;
use crate::{peers::PeerSet, shard::Overdue, store::Store};

/// How long an expired object is hidden before it is deleted: a delta under way may still extend it, and the
/// calendars of nodes differ a little.
const GRACE_MS: u64 = 1_000;
/// The same for what is counted on, while not everybody is here: who extends it on the other side of a cut does not say
/// again what others counted, and that would be deleted here.
const APART_GRACE_MS: u64 = 60_000;

/// Ticks in which a shard is walked through once.
const PASS_TICKS: usize = 40;
/// Objects looked at between two decisions to go on.
const LOOKS: usize = 64;
/// The walk goes on while one in so many of those has expired.
const WORTH_ONE_IN: usize = 4;
/// What all walks of one tick may cost: a look costs one, some ten nanoseconds. What is left waits for the next tick.
const COST_MAX: usize = 65_536;
/// What it costs to delete one object and tell the other replicas.
const DELETE_COST: usize = 8;

impl Store {
    /// Deletes what has expired in shards that this node is the primary of.
    pub(crate) fn expire(&mut self) {
        // A node that stood still may have been deposed, and what it holds extended by others.
        if !self.links.recovering.is_empty() {
            return;
        }
        let everybody_is_here = !self.cluster.members_away() && self.unheard().is_empty();
        let counted_grace_ms = if everybody_is_here { GRACE_MS } else { APART_GRACE_MS };
        let overdue = Overdue {
            plain_ms: self.time.now_ms.saturating_sub(GRACE_MS),
            counted_ms: self.time.now_ms.saturating_sub(counted_grace_ms),
        };
        let (shards, mut cost) = (self.replicas.len(), 0);
        for _ in 0..shards {
            let shard = self.keeper.expire_at % shards;
            self.keeper.expire_at = shard + 1;
            // One that is being repaired lacks something, maybe a later deadline.
            let route = self.cluster.route(shard);
            if route.primary == Some(Seat::Me) && route.settled && self.replicas[shard].fill.is_none() {
                cost += self.expire_in(shard, overdue, COST_MAX - cost);
                if cost >= COST_MAX {
                    return;
                }
            }
        }
    }

    /// Goes on with the walk through one shard; what that cost.
    fn expire_in(&mut self, shard: usize, overdue: Overdue, cost_max: usize) -> usize {
        let targets = self.cluster.route(shard).targets.union(self.replicas[shard].followers);
        let (mut due, mut cost) = (self.replicas[shard].shard.len().div_ceil(PASS_TICKS), 0);
        while due > 0 && cost < cost_max {
            let limit = due.min(LOOKS);
            let (looked, deleted) = self.expire_some(shard, overdue, limit, targets);
            cost += looked + deleted * DELETE_COST;
            let pays = deleted > 0 && deleted * WORTH_ONE_IN >= looked;
            due = match due - limit {
                _ if looked == 0 => 0,
                0 if pays => LOOKS,
                left => left,
            };
        }
        cost.min(cost_max)
    }

    /// How many objects were looked at, and deleted.
    fn expire_some(&mut self, shard: usize, overdue: Overdue, limit: usize, targets: PeerSet) -> (usize, usize) {
        let (stamp, mut deleted) = (self.time.hlc.tick(self.time.now_ms), 0);
        self.delta.clear();
        let delta = (!targets.is_empty()).then_some(&mut self.delta);
        let held = &mut self.replicas[shard].shard;
        let looked = held.expire(overdue, limit, stamp, delta, |_, _| deleted += 1);
        self.gauges.counters.expired += deleted as u64;
        if !self.delta.is_empty() {
            self.send_delta(shard, targets);
        }
        (looked, deleted)
    }
}
