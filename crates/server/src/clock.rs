//! The two clocks of the machine, in the units of the node.

use std::time::{Duration, Instant, SystemTime};

use node::Time;

/// Reads time. The wall clock is read once per millisecond: it is only data, and that is its precision.
#[derive(Debug)]
pub(crate) struct Clock {
    origin: Instant,
    wall_ms: u64,
    /// When the wall clock was read, by the monotonic clock.
    read_us: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            wall_ms: wall_ms(),
            read_us: 0,
        }
    }

    pub(crate) fn now(&mut self) -> Time {
        let monotonic_us = self.origin.elapsed().as_micros() as u64;
        if monotonic_us >= self.read_us + 1000 {
            self.read_us = monotonic_us;
            self.wall_ms = wall_ms();
        }
        Time {
            monotonic_us,
            wall_ms: self.wall_ms,
        }
    }

    /// The moment of a deadline.
    pub(crate) fn instant(&self, monotonic_us: u64) -> Instant {
        // A deadline further away than this counts as none.
        const FAR_US: u64 = 86_400_000_000;
        let left_us = monotonic_us.saturating_sub(self.read_us).min(FAR_US);
        self.origin + Duration::from_micros(self.read_us + left_us)
    }
}

/// Milliseconds since 1970. 0 on a machine whose clock is before that.
fn wall_ms() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_millis() as u64)
}
