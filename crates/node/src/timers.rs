//! What is due when.
//!
//! Ordered by time, then by the order in which they were set, so that equal times fire in that order
//! on every machine.

use alloc::collections::BTreeMap;

/// With fewer timers none are swept.
const SWEEP_MIN: usize = 1024;

/// One set timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    at_us: u64,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Timers<T> {
    queue: BTreeMap<TimerId, T>,
    last: u64,
    /// With how many timers they are swept next.
    sweep_at: usize,
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            last: 0,
            sweep_at: SWEEP_MIN,
        }
    }

    /// Lets go of those that nobody waits for any more, once there are twice as many as the last time left: what has
    /// ended does not pile up, and a timer pays for one look.
    pub(crate) fn sweep(&mut self, is_wanted: impl Fn(&T) -> bool) {
        if self.queue.len() >= self.sweep_at {
            self.queue.retain(|_, item| is_wanted(item));
            self.sweep_at = (2 * self.queue.len()).max(SWEEP_MIN);
        }
    }

    pub(crate) fn set(&mut self, at_us: u64, item: T) -> TimerId {
        self.last += 1;
        let id = TimerId {
            at_us,
            number: self.last,
        };
        self.queue.insert(id, item);
        id
    }

    /// Whether it was still to fire.
    pub(crate) fn cancel(&mut self, id: TimerId) -> bool {
        self.queue.remove(&id).is_some()
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(id, _)| id.at_us)
    }

    pub(crate) fn pop_due(&mut self, now_us: u64) -> Option<T> {
        let first = self.queue.first_entry()?;
        (first.key().at_us <= now_us).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_is_swept() {
        let mut timers = Timers::new();
        for number in 0..100_000 {
            timers.sweep(|kept| kept % 100 == 0);
            timers.set(number, number);
            let wanted = usize::try_from(number / 100).unwrap() + 1;
            assert!(timers.queue.len() <= SWEEP_MIN.max(2 * wanted + 2), "{number}");
        }
        let mut kept = 0;
        while let Some(number) = timers.pop_due(u64::MAX) {
            kept += u64::from(number % 100 == 0);
        }
        assert_eq!(kept, 1000, "the others are all there");
    }
}
