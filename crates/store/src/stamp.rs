//! Hybrid logical time: stamps that follow the calendar and never contradict causality.
//!
//! After *Logical Physical Clocks* (Kulkarni, Demirbas, Madappa, Avva, Leone, OPODIS 2014). A stamp only decides which
//! of two writes that had not seen each other is shown. Clocks decide which write had seen which.

/// How far ahead of this node's calendar a peer may move this node's stamps, in milliseconds. Machines with NTP differ
/// by far less. A machine with a wrong clock must not win every conflict for the rest of the day.
pub const DRIFT_MS_MAX: u64 = 500;

const MS_MAX: u64 = (1 << 48) - 1;

/// A hybrid logical stamp: 48 bits of Unix milliseconds, 16 bits of count within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The `count`-th stamp of the millisecond `ms` since 1970. Times after the year 10889 are all the same.
    pub fn new(ms: u64, count: u16) -> Self {
        Self(ms.min(MS_MAX) << 16 | u64::from(count))
    }

    /// Milliseconds since 1970.
    pub fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// Its number within its millisecond.
    pub fn count(self) -> u16 {
        self.0 as u16
    }

    /// The stamp after this one; a full millisecond overflows into the next.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A source of stamps. Each is higher than all stamps it has given or observed before, within a limit.
#[derive(Clone, Copy, Debug)]
pub struct Hlc {
    last: Stamp,
    drift_ms_max: u64,
}

impl Hlc {
    /// A source that peers can move at most `drift_ms_max` milliseconds ahead of the calendar.
    pub fn new(drift_ms_max: u64) -> Self {
        Self {
            last: Stamp(0),
            drift_ms_max,
        }
    }

    /// The highest stamp given or observed so far.
    pub fn last(&self) -> Stamp {
        self.last
    }

    /// The stamp of an event at `now_ms` of the calendar.
    pub fn tick(&mut self, now_ms: u64) -> Stamp {
        self.last = self.last.next().max(Stamp::new(now_ms, 0));
        self.last
    }

    /// Notes a peer's stamp. Returns whether it is within the limit. A stamp further ahead of `now_ms` is valid as
    /// data, but moves this source only up to the limit.
    pub fn observe(&mut self, stamp: Stamp, now_ms: u64) -> bool {
        let bound = Stamp::new(now_ms.saturating_add(self.drift_ms_max), u16::MAX);
        self.last = self.last.max(stamp.min(bound));
        stamp <= bound
    }
}

impl Default for Hlc {
    fn default() -> Self {
        Self::new(DRIFT_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_through_standstill_and_backward_steps() {
        let mut hlc = Hlc::default();
        let stamps = [1000, 1000, 990, 1001].map(|now_ms| hlc.tick(now_ms));
        assert!(stamps.is_sorted_by(|a, b| a < b));
        assert_eq!((stamps[1].ms(), stamps[1].count()), (1000, 1));
        assert_eq!(stamps[3], Stamp::new(1001, 0));
    }

    #[test]
    fn a_stamp_that_was_observed_is_exceeded() {
        let mut hlc = Hlc::default();
        assert!(hlc.observe(Stamp::new(1400, 7), 1000));
        assert_eq!(hlc.tick(1000), Stamp::new(1400, 8));
    }

    #[test]
    fn a_peer_far_ahead_drags_no_further_than_the_bound() {
        let mut hlc = Hlc::new(500);
        assert!(!hlc.observe(Stamp::new(9_000_000, 0), 1000));
        assert_eq!(hlc.tick(1000).ms(), 1501);
        hlc.observe(Stamp(u64::MAX), u64::MAX);
        assert_eq!(hlc.tick(u64::MAX), Stamp(u64::MAX), "the end of time saturates");
    }
}
