//! Cluster time: deadlines and stamps use it.
//!
//! - It starts with the wall clock of the node that founds the cluster. From then on it advances with the monotonic
//!   clocks, and ignores wall clocks. So a jump of a wall clock neither revives a value nor expires it early.
//! - A node that does not serve yet adopts the calendar of a serving peer. Among nodes that do not serve yet, the
//!   latest calendar counts. So nodes that found a cluster together start with one calendar.
//! - If two calendars were founded together (their ages differ by at most a second), both nodes take the later one. A
//!   peer's calendar is older on arrival than when it was sent. So it is never ahead of the peer's, and the network
//!   delay need not be known.
//! - If two calendars were founded separately, the younger one is changed to the older one. It may go back then. That
//!   happens only if a node formed shards before it reached the others.
//!
//! Clients see wall clocks: see [`wall`](crate::wall).

/// Two ages that differ by at most this belong to one calendar. A slow message makes its sender's calendar look
/// younger; the next message corrects that.
const NEAR_MS: u64 = 1_000;

/// A calendar in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// The calendar, in microseconds, at `read_us` of the monotonic clock.
    now_us: u64,
    read_us: u64,
    /// How long the calendar has been in use, here or at the nodes that it was adopted from; none if it is not in use
    /// yet.
    age_us: Option<u64>,
}

impl Calendar {
    /// A calendar that starts at the wall clock and is not in use yet.
    pub fn new(monotonic_us: u64, wall_ms: u64) -> Self {
        Self {
            now_us: wall_ms.saturating_mul(1000),
            read_us: monotonic_us,
            age_us: None,
        }
    }

    /// Cluster time in milliseconds since 1970, for this reading of the monotonic clock.
    pub fn read(&mut self, monotonic_us: u64) -> u64 {
        let elapsed_us = monotonic_us.saturating_sub(self.read_us);
        self.read_us = self.read_us.max(monotonic_us);
        self.now_us = self.now_us.saturating_add(elapsed_us);
        self.age_us = self.age_us.map(|age_us| age_us.saturating_add(elapsed_us));
        self.now_ms()
    }

    /// Cluster time when it was last read or set.
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// This node serves from now on, so its peers follow this calendar.
    pub fn found(&mut self) {
        self.age_us.get_or_insert(0);
    }

    /// How many milliseconds it has been in use; 0 if it is not.
    pub fn age_ms(&self) -> u64 {
        self.age_us.map_or(0, |age_us| (age_us / 1000).max(1))
    }

    /// Processes a peer's calendar and its age (0 if it is not in use). Returns the number of milliseconds by which
    /// this calendar was changed, if it was in use and gave way to one that was founded separately.
    pub fn meet(&mut self, peer_ms: u64, peer_age_ms: u64) -> Option<i64> {
        let (before_ms, age_ms) = (self.now_ms(), self.age_ms());
        let is_older = peer_age_ms > age_ms.saturating_add(NEAR_MS);
        let adopts = age_ms == 0 && peer_age_ms > 0;
        let is_near = peer_age_ms.saturating_add(NEAR_MS) >= age_ms && (age_ms == 0 || peer_age_ms > 0);
        let goes_back = peer_ms.saturating_add(NEAR_MS) < before_ms;
        if adopts || is_older && goes_back {
            self.now_us = peer_ms.saturating_mul(1000);
        } else if is_older || is_near {
            self.now_us = self.now_us.max(peer_ms.saturating_mul(1000));
        }
        if peer_age_ms > age_ms {
            self.age_us = Some(peer_age_ms.saturating_mul(1000));
        }
        let set_ms = difference(self.now_ms(), before_ms);
        (is_older && !adopts && set_ms.unsigned_abs() > NEAR_MS).then_some(set_ms)
    }
}

/// `a` minus `b`.
pub(crate) fn difference(a: u64, b: u64) -> i64 {
    let apart = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { apart } else { -apart }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_700_000_000_000;
    const DAY_MS: u64 = 86_400_000;

    /// A calendar that has been in use for `age_ms`, and shows `now_ms` when the monotonic clock is 0.
    fn aged(now_ms: u64, age_ms: u64) -> Calendar {
        let mut calendar = Calendar::new(0, now_ms);
        calendar.age_us = Some(age_ms * 1000);
        calendar
    }

    fn tell(from: &mut Calendar, to: &mut Calendar, at_us: u64) -> Option<i64> {
        let told = (from.read(at_us), from.age_ms());
        to.read(at_us);
        to.meet(told.0, told.1)
    }

    #[test]
    fn a_calendar_advances_with_the_monotonic_clock() {
        for step_us in [50, 333, 250_000] {
            let mut calendar = Calendar::new(7, START_MS);
            let mut now_us = 7;
            for _ in 0..1000 {
                now_us += step_us;
                assert_eq!(calendar.read(now_us), START_MS + (now_us - 7) / 1000);
            }
            assert_eq!(
                calendar.read(now_us - 5_000),
                calendar.read(now_us),
                "it does not go back"
            );
        }
    }

    #[test]
    fn a_node_that_does_not_serve_yet_adopts_the_calendar_of_one_that_does() {
        for wall_ms in [START_MS - DAY_MS, START_MS + 100, START_MS + DAY_MS] {
            let (mut serves, mut joins) = (aged(START_MS, 500), Calendar::new(0, wall_ms));
            assert_eq!(tell(&mut joins, &mut serves, 0), None);
            assert_eq!(serves.read(0), START_MS, "no node follows a node that does not serve");
            assert_eq!(tell(&mut serves, &mut joins, 0), None);
            assert_eq!((joins.read(2000), joins.age_ms()), (START_MS + 2, 502));
        }
    }

    #[test]
    fn nodes_that_found_a_cluster_together_start_with_one_calendar() {
        let (mut a, mut b) = (Calendar::new(0, START_MS), Calendar::new(0, START_MS + DAY_MS));
        tell(&mut b, &mut a, 0);
        a.found();
        tell(&mut a, &mut b, 3000);
        b.found();
        assert_eq!(
            (a.read(5000), b.read(5000)),
            (START_MS + DAY_MS + 5, START_MS + DAY_MS + 5)
        );
    }

    #[test]
    fn the_later_of_two_readings_of_one_calendar_is_right() {
        // One node was stopped for an hour, with its monotonic clock. Its calendar and its age are both behind.
        let (mut ran, mut stood) = (aged(START_MS, DAY_MS), aged(START_MS - 3_600_000, DAY_MS - 3_600_000));
        assert_eq!(tell(&mut stood, &mut ran, 0), None);
        assert_eq!(ran.read(0), START_MS);
        assert_eq!(tell(&mut ran, &mut stood, 0), Some(3_600_000));
        assert_eq!((stood.read(0), stood.age_ms()), (START_MS, DAY_MS));
        // A small drift is corrected without a report, and never by going back.
        let (mut fast, mut slow) = (aged(START_MS + 9, DAY_MS + 9), aged(START_MS, DAY_MS));
        assert_eq!((tell(&mut slow, &mut fast, 0), fast.read(0)), (None, START_MS + 9));
        assert_eq!((tell(&mut fast, &mut slow, 0), slow.read(0)), (None, START_MS + 9));
        let (mut old, mut young) = (aged(START_MS, DAY_MS), aged(START_MS + 9, 1));
        assert_eq!((tell(&mut old, &mut young, 0), young.read(0)), (None, START_MS + 9));
    }

    #[test]
    fn the_younger_of_two_separately_founded_calendars_gives_way() {
        for (young_ms, set_ms) in [(START_MS + DAY_MS, -86_400_000), (START_MS - DAY_MS, 86_400_000)] {
            let (mut old, mut young) = (aged(START_MS, DAY_MS), aged(young_ms, 20_000));
            assert_eq!(tell(&mut young, &mut old, 0), None);
            assert_eq!((old.read(0), old.age_ms()), (START_MS, DAY_MS));
            assert_eq!(tell(&mut old, &mut young, 0), Some(set_ms));
            assert_eq!((young.read(0), young.age_ms()), (START_MS, DAY_MS));
        }
    }

    #[test]
    fn the_end_of_time_saturates() {
        let mut calendar = aged(u64::MAX, 1);
        calendar.meet(u64::MAX, u64::MAX);
        calendar.meet(0, 0);
        calendar.read(u64::MAX);
        assert_eq!(calendar.read(3), u64::MAX / 1000);
    }
}
