//! The node as a server: its time, its part in replication, and the logs that it does not keep.
//!
//! What is slow and how slow is in `/metrics`; `SLOWLOG` and `LATENCY` are there for clients that ask as a matter of
//! course, and are empty.

use wire::reply::ErrorKind;

use super::number::integer;
use crate::{cluster::Seat, message::Copy, quorum::Level, store::Store, visit::Visit};

/// `TIME`: the wall clock of this node, which is read in milliseconds.
pub(super) fn time(visit: &mut Visit<'_>) {
    let now_ms = visit.store.time.wall.now_ms;
    visit.replies.array(2);
    for number in [now_ms / 1000, now_ms % 1000 * 1000] {
        visit
            .replies
            .bulk_with(|data| wire::decimal::write_int(data, number.cast_signed()));
    }
}

/// `LASTSAVE`: the Unix second of the start, as Redis answers that has not saved since.
pub(super) fn lastsave(visit: &mut Visit<'_>) {
    let up_ms = visit.store.time.monotonic_ms - visit.store.time.started_ms;
    let started_ms = visit.store.time.wall.now_ms.saturating_sub(up_ms);
    visit.replies.int((started_ms / 1000).cast_signed());
}

/// `ROLE`: every node takes writes, and replicas are a matter of shards, not of nodes.
pub(super) fn role(visit: &mut Visit<'_>) {
    visit.replies.array(3);
    visit.replies.bulk(b"master");
    visit.replies.int(0);
    visit.replies.array(0);
}

/// `WAIT replicas timeout`: how many other replicas hold all writes of this connection that were acknowledged. They are
/// known to when the acknowledgement is sent, so there is nothing to wait for: the answer is that for the shard with
/// the fewest live replicas, at the level that this connection writes with.
pub(super) fn wait(visit: &mut Visit<'_>) {
    let (replicas, timeout) = (integer(visit.arg(1)), integer(visit.arg(2)));
    match (replicas, timeout) {
        (None, _) => visit.replies.not_an_integer(),
        (_, None) => visit
            .replies
            .error(ErrorKind::Err, "timeout is not an integer or out of range"),
        (_, Some(..=-1)) => visit.replies.error(ErrorKind::Err, "timeout is negative"),
        _ => {
            let keyspace = usize::from(visit.session.keyspace);
            let level = visit
                .session
                .level
                .unwrap_or(visit.store.config.keyspaces[keyspace].level);
            let shards = usize::from(visit.store.config.shards);
            let held =
                (keyspace * shards..(keyspace + 1) * shards).map(|shard| held_elsewhere(visit.store, shard, level));
            let held = held.min().unwrap_or(0);
            visit.replies.int(held as i64);
        }
    }
}

/// How many replicas beside the primary hold a write on `shard` that was acknowledged at `level`.
fn held_elsewhere(store: &Store, shard: usize, level: Level) -> usize {
    let cluster = &store.cluster;
    let Some(primary) = cluster.route(shard).primary else {
        return 0;
    };
    let answers = |seat: &Seat| match *seat {
        Seat::Me => true,
        Seat::Away => false,
        Seat::Peer(slot) => !store.links.silent.contains(slot),
    };
    let ready = cluster
        .order(shard)
        .filter(|&seat| seat != primary && cluster.copy_at(seat, shard) == Copy::Ready);
    let others = ready.filter(answers).count();
    match level {
        Level::One => 0,
        // A majority of all, less the primary.
        Level::Quorum => others.div_ceil(2),
        Level::All => others,
    }
}

/// `SLOWLOG GET [count]`
pub(super) fn slowlog_get(visit: &mut Visit<'_>) {
    match visit.args.len() {
        2 => visit.replies.array(0),
        3 if integer(visit.arg(2)).is_some_and(|count| count >= -1) => visit.replies.array(0),
        3 => visit
            .replies
            .error(ErrorKind::Err, "count should be greater than or equal to -1"),
        _ => visit.replies.wrong_arity("slowlog|get"),
    }
}

/// What is asked for is a list, and there is nothing in it.
pub(super) fn none(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}

/// What is asked for is a map, and there is nothing in it.
pub(super) fn nothing(visit: &mut Visit<'_>) {
    visit.replies.map(0);
}

/// What is asked for is a count, and there is nothing to count.
pub(super) fn zero(visit: &mut Visit<'_>) {
    visit.replies.int(0);
}

/// Accepted, and no change.
pub(super) fn accepted(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
