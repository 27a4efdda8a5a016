//! Busy waiting: before the core's thread sleeps, it looks for the next input of peers and programs for a short time,
//! as Erlang's schedulers do (`erl +sbwt`).
//!
//! A sleeping thread takes longer to wake than a node takes to answer. So the wakes, not the work, bound a chain of
//! calls. Busy waiting costs CPU time if nothing comes. So it stops after more misses than hits, except for a try now
//! and then. Other threads and programs that want the core get it between two looks.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use tokio::task;

use crate::bell::Bell;

/// A wait ends if nothing comes for this time. Waking a thread of a virtual machine costs about as much.
const WAIT: Duration = Duration::from_micros(50);
/// If a yield takes longer than this, another program used the core.
const LENT: Duration = Duration::from_micros(4);
/// If a yield takes longer than this, a busy program has the core: the wait counts as a miss.
const KEPT: Duration = Duration::from_millis(1);
/// The most credit: after so many misses in a row, waiting does not pay.
const CREDIT_MAX: u8 = 8;
/// While waiting does not pay, one in this many inputs is a try.
const TRY_EVERY: u8 = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct BusyWait {
    input: Bell,
    record: Cell<Record>,
}

impl BusyWait {
    /// An input came, after which more may come soon.
    pub(crate) fn note(&self) {
        self.input.ring();
    }

    /// Keeps the event loop awake while that pays. Never returns.
    pub(crate) async fn keep(&self) {
        loop {
            self.input.heard().await;
            let mut record = self.record.get();
            if record.is_promising()
                && let Some(has_paid) = self.wait().await
            {
                record.add(has_paid);
            }
            self.record.set(record);
        }
    }

    /// Whether an input came. `None` if another program used the core for a while: the wait cost nothing, and what that
    /// program sent is read in one go.
    async fn wait(&self) -> Option<bool> {
        let mut now = Instant::now();
        let until = now + WAIT;
        while now < until {
            thread::yield_now();
            let lent = Instant::now() - now;
            if lent > LENT {
                return (lent > KEPT).then_some(false);
            }
            // The event loop looks at the sockets and runs the tasks that are ready.
            task::yield_now().await;
            if self.input.is_rung() {
                return Some(true);
            }
            now = Instant::now();
        }
        Some(false)
    }
}

/// How well waiting has paid lately.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    credit: u8,
    inputs: u8,
}

impl Record {
    fn is_promising(&mut self) -> bool {
        self.inputs = (self.inputs + 1) % TRY_EVERY;
        self.credit > 0 || self.inputs == 0
    }

    fn add(&mut self, has_paid: bool) {
        self.credit = if has_paid {
            CREDIT_MAX.min(self.credit + 1)
        } else {
            self.credit.saturating_sub(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `inputs` are followed by a wait, if every `pays_every`th wait pays.
    fn waits(inputs: u32, pays_every: u32) -> u32 {
        let mut record = Record::default();
        let mut waits = 0;
        for _ in 0..inputs {
            if record.is_promising() {
                waits += 1;
                record.add(waits % pays_every == 0);
            }
        }
        waits
    }

    #[test]
    fn what_pays_is_done_and_what_does_not_is_only_tried() {
        assert!(waits(6400, 1) > 6300);
        assert!(waits(6400, 3) < 6400 / 16, "more misses than hits");
        assert_eq!(waits(6400, u32::MAX), 6400 / u32::from(TRY_EVERY));
    }
}
