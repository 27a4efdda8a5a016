//! Busy waiting: before the core's thread sleeps, it looks for the next input of peers and programs a little longer, as
//! Erlang's schedulers do (`erl +sbwt`).
//!
//! A node that answers at once answers sooner than a sleeping thread is woken, so a chain of calls is bound by wakes
//! and not by work. Looking longer costs CPU time when nothing comes. So it is done only while it pays: after more
//! misses than hits it is left alone, but for a try now and then. Other threads and programs that want the core have it
//! between two looks.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use tokio::task;

use crate::bell::Bell;

/// How long nothing may come: about what waking a thread of a virtual machine costs.
const WAIT: Duration = Duration::from_micros(50);
/// A yield that takes longer has lent the core to somebody who wanted it.
const LENT: Duration = Duration::from_micros(4);
/// Who keeps it longer than this is no peer that sends and sleeps: it would have the core for good.
const KEPT: Duration = Duration::from_millis(1);
/// Misses in a row after which waiting does not pay, at most.
const CREDIT_MAX: u8 = 8;
/// While it does not pay, every so many inputs are a try.
const TRY_EVERY: u8 = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct BusyWait {
    input: Bell,
    record: Cell<Record>,
}

impl BusyWait {
    /// Something has come after which more may come soon.
    pub(crate) fn note(&self) {
        self.input.ring();
    }

    /// Keeps the event loop awake while that pays, for ever.
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

    /// Whether something comes. `None` if somebody else had the core for a while: that cost nothing, and what it has
    /// sent meanwhile is read together.
    async fn wait(&self) -> Option<bool> {
        let mut now = Instant::now();
        let until = now + WAIT;
        while now < until {
            thread::yield_now();
            let lent = Instant::now() - now;
            if lent > LENT {
                return (lent > KEPT).then_some(false);
            }
            // The sockets are looked at, and who has something to do does it.
            task::yield_now().await;
            if self.input.is_rung() {
                return Some(true);
            }
            now = Instant::now();
        }
        Some(false)
    }
}

/// How waiting has paid lately.
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

    /// How many of so many inputs are waited behind, when every `n`th wait pays.
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
