//! Timers, and what each is for.
//!
//! They are ordered by time, and then by the order in which they were set. So timers with equal times fire in the same
//! order on every machine.

use alloc::collections::BTreeMap;

/// With fewer timers than this, nothing is swept.
const SWEEP_MIN: usize = 1024;

/// The id of a set timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    at_us: u64,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Timers<T> {
    queue: BTreeMap<TimerId, T>,
    last: u64,
    /// The number of timers at which the next sweep happens.
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

    /// Drops timers that are not wanted any more, each time the number of timers has doubled. So each timer costs one
    /// look on average.
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

    /// Cancels a timer. Returns whether it had not fired yet.
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
    fn timers_that_are_not_wanted_are_swept() {
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
        assert_eq!(kept, 1000, "every wanted timer is kept");
    }
}
