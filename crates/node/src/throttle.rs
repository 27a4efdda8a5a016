//! How much peers may have this node write down: so many lines at once, and so many per second in the long run.
//!
//! A token bucket in whole microseconds: a line costs the time between two lines, and time saved up is bounded.

/// Lines per second that may be written down for long.
const LINES_PER_SECOND: u64 = 100;
/// Lines that may come at once.
const BURST: u64 = 200;
const LINE_US: u64 = 1_000_000 / LINES_PER_SECOND;

/// What may still be written down.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The moment up to which time is spent, in monotonic microseconds: at most a burst ahead.
    spent_us: u64,
    /// Lines dropped since the last one that passed.
    dropped: u64,
}

impl Throttle {
    /// Whether a line passes now; if so, with the number of those dropped before it.
    pub(crate) fn pass(&mut self, now_us: u64) -> Option<u64> {
        let spent_us = self.spent_us.max(now_us);
        if spent_us + LINE_US > now_us + BURST * LINE_US {
            self.dropped += 1;
            return None;
        }
        self.spent_us = spent_us + LINE_US;
        Some(core::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_and_the_dropped_are_counted() {
        let mut throttle = Throttle::default();
        let now_us = 7;
        let passed = (0..1000).filter(|_| throttle.pass(now_us).is_some()).count();
        assert_eq!(passed, 200);
        assert_eq!(throttle.pass(now_us + LINE_US), Some(800));
        assert_eq!(throttle.pass(now_us + LINE_US), None);
        let passed = (0..1000)
            .filter(|_| throttle.pass(now_us + 10 * LINE_US).is_some())
            .count();
        assert_eq!(passed, 9);
    }
}
