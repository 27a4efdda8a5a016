//! The clocks of a store. They are read once per message, so that all that one message does has one time.

use node::Time;

use crate::{calendar::Calendar, stamp::Hlc, wall::Wall};

/// A node that did nothing for so long, though it ticks, stood still.
const STILL_MS: u64 = 1_000;

/// The clocks, as they were last read.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    /// Monotonic microseconds.
    pub monotonic_us: u64,
    /// Monotonic milliseconds.
    pub monotonic_ms: u64,
    /// Cluster time, in Unix milliseconds.
    pub now_ms: u64,
    pub wall: Wall,
    /// Gives writes their stamps.
    pub hlc: Hlc,
    /// Gives cluster time.
    pub calendar: Calendar,
    /// When the store started, in monotonic milliseconds.
    pub started_ms: u64,
    /// When this node last went on after it stood still, in monotonic milliseconds.
    pub resumed_ms: u64,
}

impl Default for Timekeeper {
    fn default() -> Self {
        Self {
            monotonic_us: 0,
            monotonic_ms: 0,
            now_ms: 0,
            wall: Wall::default(),
            hlc: Hlc::default(),
            calendar: Calendar::new(0, 0),
            started_ms: 0,
            resumed_ms: 0,
        }
    }
}

impl Timekeeper {
    /// The store starts now.
    pub(crate) fn start(&mut self, now: Time) {
        self.calendar = Calendar::new(now.monotonic_us, now.wall_ms);
        self.read(now);
        self.started_ms = self.monotonic_ms;
    }

    /// Reads the clocks. True if the node stood still since they were last read.
    pub(crate) fn read(&mut self, now: Time) -> bool {
        let before_ms = self.monotonic_ms;
        self.monotonic_us = now.monotonic_us;
        self.monotonic_ms = now.monotonic_us / 1000;
        self.now_ms = self.calendar.read(now.monotonic_us);
        self.wall.read(now.wall_ms, self.now_ms);
        let stood_still = self.monotonic_ms > before_ms + STILL_MS && before_ms > 0;
        if stood_still {
            self.resumed_ms = self.monotonic_ms;
        }
        stood_still
    }

    /// A monotonic time of this node as cluster time. 0 stays 0: it stands for no time.
    pub(crate) fn to_cluster_ms(&self, monotonic_ms: u64) -> u64 {
        match monotonic_ms {
            0 => 0,
            at_ms => (self.now_ms + at_ms).saturating_sub(self.monotonic_ms).max(1),
        }
    }

    /// The reverse. What lies before the start of the monotonic clock is its first millisecond.
    pub(crate) fn to_monotonic_ms(&self, cluster_ms: u64) -> u64 {
        match cluster_ms {
            0 => 0,
            at_ms => self
                .monotonic_ms
                .saturating_add(at_ms)
                .saturating_sub(self.now_ms)
                .max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_changed_to_cluster_time_and_back() {
        let mut time = Timekeeper::default();
        time.start(Time {
            monotonic_us: 5_000_000,
            wall_ms: 1_700_000_000_000,
        });
        assert_eq!(time.to_cluster_ms(5_250), time.now_ms + 250);
        assert_eq!(time.to_monotonic_ms(time.now_ms + 250), 5_250);
        assert_eq!(time.to_monotonic_ms(time.now_ms - 250), 4_750);
        assert_eq!((time.to_cluster_ms(0), time.to_monotonic_ms(0)), (0, 0), "no time");
        assert_eq!(time.to_monotonic_ms(1), 1, "long before the clock's start");
        assert_eq!(time.to_monotonic_ms(u64::MAX), u64::MAX - time.now_ms);
    }
}
