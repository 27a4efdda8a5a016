//! Wall clocks: the time that clients see, and the differences between the clocks of peers.
//!
//! - A deadline is in cluster time (see [`calendar`](crate::calendar)). An absolute time in a request or a reply is on
//!   the wall clock of the client's node. The node that executes the request converts between the two. It uses the
//!   difference at the client's node at that moment, `Wall::ahead_ms`, which a forwarded parcel carries.
//! - No decision here depends on a wall clock. A clock that differs from a peer's by more than a second is reported.

use alloc::format;

use crate::{
    calendar::difference,
    message::{Message, Times},
    store::Store,
};

/// The stored difference between wall clock and cluster time stays the same while it changes by at most this. So a
/// deadline reads back as it was given, although both clocks are read in milliseconds.
const STEADY_MS: u64 = 10;
/// A peer's report of its wall clock is ignored if it is older than this.
const FRESH_MS: u64 = 1_000;
/// Wall clocks that differ by more than this are reported.
const APART_MS: u64 = 1_000;
/// A wall clock that was reported counts as correct again below this difference.
const CLOSE_MS: u64 = 500;

/// The wall clock of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wall {
    /// In Unix milliseconds.
    pub now_ms: u64,
    ahead_ms: i64,
}

impl Wall {
    pub(crate) fn read(&mut self, wall_ms: u64, cluster_ms: u64) {
        self.now_ms = wall_ms;
        let ahead_ms = difference(wall_ms, cluster_ms);
        if ahead_ms.abs_diff(self.ahead_ms) > STEADY_MS {
            self.ahead_ms = ahead_ms;
        }
    }

    /// How many milliseconds the wall clock is ahead of cluster time.
    pub(crate) fn ahead_ms(&self) -> i64 {
        self.ahead_ms
    }
}

/// The wall clock of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerWall {
    /// How many milliseconds it is ahead of this node's clock, at least: the part that may be network delay is not
    /// counted.
    pub ahead_ms: i64,
    /// Whether it was reported as wrong, and has not been correct since.
    reported: bool,
}

impl PeerWall {
    /// Notes what the peer's clock showed at most `age_ms` ago. Returns whether a difference must be reported.
    fn note(&mut self, peer_ms: u64, own_ms: u64, age_ms: u64) -> bool {
        let ahead_ms = difference(peer_ms, own_ms);
        self.ahead_ms = if ahead_ms < 0 {
            ahead_ms.saturating_add_unsigned(age_ms).min(0)
        } else {
            ahead_ms
        };
        let apart_ms = self.ahead_ms.unsigned_abs();
        let was_reported = self.reported;
        self.reported = apart_ms > if was_reported { CLOSE_MS } else { APART_MS };
        self.reported && !was_reported
    }
}

impl Store {
    /// Sends a peer the clocks of this node.
    pub(crate) fn tell_times(&mut self, slot: usize) {
        let traffic = &mut self.peers[slot];
        traffic.outbox.push(&Message::Times(Times {
            beat_ms: traffic.beat,
            cluster_ms: self.time.now_ms,
            age_ms: self.time.calendar.age_ms(),
            wall_ms: self.time.wall.now_ms,
        }));
    }

    /// Processes a peer's report of its clocks.
    pub(crate) fn times(&mut self, slot: usize, times: &Times) {
        self.take_time(slot, times);
        let age_ms = self.time.monotonic_ms.saturating_sub(times.beat_ms);
        let Some(peer) = self.cluster.peer_mut(slot).filter(|_| age_ms <= FRESH_MS) else {
            return;
        };
        if peer.wall.note(times.wall_ms, self.time.wall.now_ms, age_ms) {
            let (name, ms) = (&peer.name, peer.wall.ahead_ms.unsigned_abs());
            let side = if peer.wall.ahead_ms > 0 { "ahead of" } else { "behind" };
            let text = format!(
                "the wall clock of {name} is {}.{:03} s {side} this node's: absolute times (EXAT, EXPIRETIME, TIME) \
                 differ as much between the two nodes; set both clocks, for example by NTP",
                ms / 1000,
                ms % 1000
            );
            self.out.notes.push(("clock_skew", text));
        }
    }

    /// Adopts a peer's cluster time if the rules of [`calendar`](crate::calendar) say so.
    fn take_time(&mut self, slot: usize, times: &Times) {
        let set_ms = self.time.calendar.meet(times.cluster_ms, times.age_ms);
        // The rest of this message must use the new time too, since this node may begin to serve.
        self.time.now_ms = self.time.calendar.now_ms();
        if let (Some(set_ms), Some(peer)) = (set_ms, self.cluster.peer(slot)) {
            let text = format!(
                "cluster time is set by {set_ms} ms to that of {}, which is older: values that were written here with a \
                 time to live may end by as much too early or too late",
                peer.name
            );
            self.out.notes.push(("cluster_time", text));
        }
    }

    /// The largest difference between this node's wall clock and that of a connected peer, in milliseconds.
    pub(crate) fn clock_skew_ms(&self) -> u64 {
        let apart = self.cluster.peers().map(|(_, peer)| peer.wall.ahead_ms.unsigned_abs());
        apart.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_to_cluster_time_is_steady_until_a_clock_jumps() {
        let mut wall = Wall::default();
        for (wall_ms, ahead_ms) in [(1_000, 0), (1_010, 0), (990, 0), (1_011, 11), (1_001, 11), (500, -500)] {
            wall.read(wall_ms, 1_000);
            assert_eq!((wall.now_ms, wall.ahead_ms()), (wall_ms, ahead_ms));
        }
    }

    #[test]
    fn a_wrong_clock_is_reported_once_and_again_after_it_was_fine() {
        let mut peer = PeerWall::default();
        let mut note = |peer_ms: u64, age_ms| (peer.note(peer_ms, 100_000, age_ms), peer.ahead_ms);
        assert_eq!(note(101_000, 0), (false, 1_000));
        assert_eq!(note(101_001, 0), (true, 1_001));
        assert_eq!(note(101_001, 0), (false, 1_001));
        assert_eq!(note(100_900, 0), (false, 900));
        assert_eq!(note(101_001, 0), (false, 1_001), "in between it was not fine");
        assert_eq!(note(100_500, 0), (false, 500));
        assert_eq!(note(90_000, 0), (true, -10_000));
    }

    #[test]
    fn a_delay_is_no_difference() {
        let mut peer = PeerWall::default();
        assert!(!peer.note(98_000, 100_000, 1_000));
        assert_eq!(peer.ahead_ms, -1_000);
        assert!(!peer.note(99_500, 100_000, 1_000));
        assert_eq!(peer.ahead_ms, 0);
        assert!(peer.note(97_999, 100_000, 1_000));
        assert!(!peer.note(u64::MAX, 0, u64::MAX));
        assert_eq!(peer.ahead_ms, i64::MAX);
    }
}
