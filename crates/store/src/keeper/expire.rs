//! Deletes expired keys: the primary of a shard deletes a key some time after it was hidden everywhere.
//!
//! - A shard is scanned completely in [`PASS_TICKS`], whatever its size. The scan does not pause where it finds many
//!   expired keys. So the number of expired keys not yet deleted is limited by the writes of a few seconds.
//! - All scans of a tick together cost at most about [`COST_MAX`]. The next tick starts with the shard behind the one
//!   where the cost was reached.

use super::Seat;
use crate::{peers::PeerSet, shard::Overdue, store::Store};

/// How long an expired object is hidden before it is deleted. A delta under way may still extend it, and the calendars
/// of nodes differ a little.
const GRACE_MS: u64 = 1_000;
/// The same for counters while not every member is connected. If a key is extended on the other side of a partition,
/// that write does not contain what other nodes counted. So a delete here would lose it.
const APART_GRACE_MS: u64 = 60_000;

/// In how many ticks a shard is scanned once.
const PASS_TICKS: usize = 40;
/// How many objects are looked at before deciding whether to go on.
const LOOKS: usize = 64;
/// The scan goes on while at least one in this many of them has expired.
const WORTH_ONE_IN: usize = 4;
/// Most cost of all scans in one tick. A look at one object costs 1, some ten nanoseconds.
const COST_MAX: usize = 65_536;
/// The cost of deleting one object and notifying the other replicas.
const DELETE_COST: usize = 8;

impl Store {
    /// Deletes expired keys in the shards that this node is the primary of.
    pub(crate) fn expire(&mut self) {
        // A node that was stopped may not be the primary any more, and other nodes may have extended its keys.
        if !self.peers.recovering.is_empty() {
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
            // A shard under repair lacks some writes, perhaps a later deadline.
            let route = self.cluster.route(shard);
            if route.primary == Some(Seat::Me) && route.settled && self.replicas[shard].fill.is_none() {
                cost += self.expire_in(shard, overdue, COST_MAX - cost);
                if cost >= COST_MAX {
                    return;
                }
            }
        }
    }

    /// Continues the scan of one shard. Returns the cost.
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

    /// Looks at up to `limit` objects. Returns how many were looked at, and how many were deleted.
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
