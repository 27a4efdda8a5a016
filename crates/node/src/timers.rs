//! What is due when.
//!
//! Ordered by time, then by the order in which they were set, so that equal times fire in that order
//! on every machine.

use alloc::collections::BTreeMap;

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
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            last: 0,
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
