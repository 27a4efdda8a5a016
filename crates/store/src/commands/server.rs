//! The node as a server: its time and its part in replication.

use wire::reply::ErrorKind;

use super::number::integer;
use crate::{cluster::Seat, message::Copy, quorum::Level, store::Store, visit::Visit};

/// `TIME`: the wall clock of this node, in milliseconds resolution.
pub(super) fn time(visit: &mut Visit<'_>) {
    let now_ms = visit.store.time.wall.now_ms;
    visit.replies.array(2);
    for number in [now_ms / 1000, now_ms % 1000 * 1000] {
        visit
            .replies
            .bulk_with(|data| wire::decimal::write_int(data, number.cast_signed()));
    }
}

/// `LASTSAVE`: the Unix second of the start, as Redis replies if it has not saved since.
pub(super) fn lastsave(visit: &mut Visit<'_>) {
    let up_ms = visit.store.time.monotonic_ms - visit.store.time.started_ms;
    let started_ms = visit.store.time.wall.now_ms.saturating_sub(up_ms);
    visit.replies.int((started_ms / 1000).cast_signed());
}

/// `ROLE`: always `master`, since every node accepts writes, and shards have replicas, not nodes.
pub(super) fn role(visit: &mut Visit<'_>) {
    visit.replies.array(3);
    visit.replies.bulk(b"master");
    visit.replies.int(0);
    visit.replies.array(0);
}

/// `WAIT replicas timeout`: how many other replicas hold all acknowledged writes of this connection. That is known when
/// a write is acknowledged, so there is nothing to wait for. The answer is the number for the shard with the fewest
/// live replicas, at the level of this connection's writes.
pub(super) fn wait(visit: &mut Visit<'_>) {
    let (replicas, timeout) = (integer(visit.arg(1)), integer(visit.arg(2)));
    match (replicas, timeout) {
        (None, _) => visit.replies.not_an_integer(),
        (_, None) => visit
            .replies
            .error(ErrorKind::Err, "timeout is not an integer or out of range"),
        (_, Some(..=-1)) => visit.replies.error(ErrorKind::Err, "timeout is negative"),
        _ => {
            let keyspace = visit.session.keyspace;
            let usual = visit.store.config.keyspaces[usize::from(keyspace)].level;
            let level = visit.session.level.unwrap_or(usual);
            let shards = visit.store.layout.span(keyspace).shards();
            let held = shards.map(|shard| held_elsewhere(visit.store, shard, level));
            let held = held.min().unwrap_or(0);
            visit.replies.int(held as i64);
        }
    }
}

/// How many replicas beside the primary hold an acknowledged write on `shard` at `level`.
fn held_elsewhere(store: &Store, shard: usize, level: Level) -> usize {
    let cluster = &store.cluster;
    let Some(primary) = cluster.route(shard).primary else {
        return 0;
    };
    let answers = |seat: &Seat| match *seat {
        Seat::Me => true,
        Seat::Away => false,
        Seat::Peer(slot) => !store.peers.silent.contains(slot),
    };
    let ready = cluster
        .order(shard)
        .filter(|&seat| seat != primary && cluster.copy_at(seat, shard) == Copy::Ready);
    let others = ready.filter(answers).count();
    match level {
        Level::One => 0,
        // A majority of all copies, without the primary.
        Level::Quorum => others.div_ceil(2),
        Level::All => others,
    }
}

/// What is asked for is a list, and there is nothing in it.
pub(super) fn none(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}

/// Accepted, and no change.
pub(super) fn accepted(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
