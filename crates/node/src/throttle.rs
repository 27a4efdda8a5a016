//! How many lines peers may have this node write down: a number at once, and a number per second on average.
//!
//! A token bucket in microseconds: each line costs the time between two lines, and the saved time is limited.

/// Lines per second on average.
const LINES_PER_SECOND: u64 = 100;
/// Lines at once.
const BURST: u64 = 200;
const LINE_US: u64 = 1_000_000 / LINES_PER_SECOND;

/// How much may still be written.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The moment up to which time is spent, in monotonic microseconds. At most a burst ahead of now.
    spent_us: u64,
    /// Lines dropped since the last written line.
    dropped: u64,
}

impl Throttle {
    /// Whether a line may be written now. If so, returns how many were dropped before it.
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
    fn lines_are_limited_to_a_burst_and_a_rate_and_dropped_ones_are_counted() {
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
