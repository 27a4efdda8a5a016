//! The node's notion of the time of day, for expiry and stamps.
//!
//! It runs at the pace of the monotonic clock and leans towards the wall clock: 1 ms in every 100
//! ms at most. So it never goes back, and a wall clock that jumps is followed slowly: until the
//! jump is taken back or caught up with, the node errs by less than the jump, and no value is lost
//! or lives on for longer than that. A node that starts beside peers takes over their calendar
//! first ([`Calendar::adopt`]), whatever its own wall clock says.

/// Monotonic time between two corrections, in microseconds.
const LEAN_EVERY_US: u64 = 100_000;
/// The largest single correction, in microseconds.
const LEAN_US_MAX: i64 = 1_000;

/// A calendar in milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// The calendar, in microseconds, at `read_us` of the monotonic clock.
    now_us: u64,
    /// The latest answer, which a correction backwards must not undercut.
    shown_ms: u64,
    read_us: u64,
    leant_us: u64,
    gap_us: i64,
}

impl Calendar {
    /// A calendar that begins at what the wall clock shows.
    pub fn new(monotonic_us: u64, wall_ms: u64) -> Self {
        let now_us = wall_ms.saturating_mul(1000);
        Self {
            now_us,
            shown_ms: 0,
            read_us: monotonic_us,
            leant_us: monotonic_us,
            gap_us: 0,
        }
    }

    /// The time of day, in milliseconds since 1970, given both clocks as they read now.
    pub fn read(&mut self, monotonic_us: u64, wall_ms: u64) -> u64 {
        let elapsed_us = monotonic_us.saturating_sub(self.read_us);
        self.read_us = self.read_us.max(monotonic_us);
        self.now_us = self.now_us.saturating_add(elapsed_us);
        self.gap_us = difference(wall_ms.saturating_mul(1000), self.now_us);
        let steps = (self.read_us - self.leant_us) / LEAN_EVERY_US;
        if steps > 0 {
            self.leant_us += steps * LEAN_EVERY_US;
            self.lean(steps);
        }
        self.shown_ms = self.shown_ms.max(self.now_us / 1000);
        self.shown_ms
    }

    /// Sets the calendar to a peer's. Only for a node that has just started and holds no data yet:
    /// the calendar may go back.
    pub fn adopt(&mut self, peer_ms: u64) {
        self.now_us = peer_ms.saturating_mul(1000);
        self.shown_ms = 0;
    }

    fn lean(&mut self, steps: u64) {
        let most = i64::try_from(steps).unwrap_or(i64::MAX).saturating_mul(LEAN_US_MAX);
        let wanted = self.gap_us.clamp(-most, most);
        // A reading rounds the wall clock down to a millisecond: what lies within one is no gap.
        if self.gap_us.abs() >= 1000 {
            self.now_us = self.now_us.saturating_add_signed(wanted);
        }
    }
}

fn difference(a: u64, b: u64) -> i64 {
    let apart = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { apart } else { -apart }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: u64 = 1_700_000_000_000;

    /// Reads every `step_us` for `seconds`, with the wall clock `ahead_ms` of the truth.
    fn run(calendar: &mut Calendar, from_s: u64, seconds: u64, step_us: u64, ahead_ms: i64) -> i64 {
        let mut last = 0;
        let mut now_us = from_s * 1_000_000;
        while now_us <= (from_s + seconds) * 1_000_000 {
            let truth = START_MS + now_us / 1000;
            let read = calendar.read(now_us, truth.saturating_add_signed(ahead_ms));
            assert!(read >= last, "the calendar went back");
            last = read;
            now_us += step_us;
        }
        last.cast_signed() - (START_MS + (from_s + seconds) * 1000).cast_signed()
    }

    #[test]
    fn it_keeps_the_time_of_a_good_clock() {
        let mut calendar = Calendar::new(0, START_MS);
        assert_eq!(run(&mut calendar, 0, 60, 50_000, 0), 0);
    }

    #[test]
    fn a_jump_is_followed_at_one_in_a_hundred_however_often_it_is_read() {
        for step_us in [50, 5_000, 250_000] {
            for ahead_ms in [3_600_000, -3_600_000] {
                let mut calendar = Calendar::new(0, START_MS);
                let error = run(&mut calendar, 0, 10, step_us, ahead_ms);
                assert_eq!(error, 100 * ahead_ms.signum(), "read every {step_us} us");
                assert!(calendar.gap_us.abs() > 3_599_000_000);
            }
        }
    }

    #[test]
    fn a_jump_that_is_taken_back_is_forgotten() {
        let mut calendar = Calendar::new(0, START_MS);
        run(&mut calendar, 0, 10, 10_000, 500_000);
        assert!(run(&mut calendar, 10, 20, 10_000, 0).abs() <= 1);
    }

    #[test]
    fn a_starting_node_takes_over_the_time_of_its_peers() {
        let mut calendar = Calendar::new(0, 5);
        calendar.adopt(START_MS);
        assert_eq!(calendar.read(0, 5), START_MS);
        calendar.read(u64::MAX, u64::MAX);
        calendar.read(3, 0);
    }
}
