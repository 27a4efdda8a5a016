//! [`Records`]: what the store keeps of the past for operators: requests by command, slow batches, rates and peaks.

use crate::{
    ask::Measured,
    counters::Counters,
    ledger::Ledger,
    slowlog::{Slowlog, Spikes},
    tally::Tally,
};

/// What was counted in the second before the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Requests of clients.
    pub(crate) requests: u64,
    /// Bytes read from Redis clients.
    pub(crate) received_bytes: u64,
    /// Bytes written to Redis clients.
    pub(crate) sent_bytes: u64,
}

impl Rates {
    fn totals(counters: &Counters) -> Self {
        Self {
            requests: counters.requests,
            received_bytes: counters.received_bytes,
            sent_bytes: counters.sent_bytes,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            received_bytes: self.received_bytes.saturating_sub(before.received_bytes),
            sent_bytes: self.sent_bytes.saturating_sub(before.sent_bytes),
        }
    }
}

/// Memory at two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryMarks {
    /// Allocated bytes when they were first measured.
    pub(crate) startup_bytes: u64,
    /// The most allocated bytes that were measured.
    pub(crate) peak_bytes: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) ledger: Ledger,
    pub(crate) slowlog: Slowlog,
    pub(crate) spikes: Spikes,
    pub(crate) rates: Rates,
    pub(crate) memory: MemoryMarks,
    /// The totals at the last look.
    before: Rates,
}

impl Records {
    /// What the shell has told; nothing of it is left.
    pub(crate) fn take(&mut self, tally: &mut Tally, counters: &mut Counters) {
        counters.received_bytes += core::mem::take(&mut tally.received_bytes);
        counters.sent_bytes += core::mem::take(&mut tally.sent_bytes);
        counters.connections_rejected += core::mem::take(&mut tally.rejected);
        for mut timed in tally.take_timed() {
            self.ledger.answered(&timed.mix, timed.took_us);
            self.spikes.note(&timed);
            if let Some(slow) = timed.slow.take() {
                self.slowlog.add(timed.ended_ms / 1000, timed.took_us, *slow);
            }
        }
    }

    /// A second has passed.
    pub(crate) fn second(&mut self, counters: &Counters) {
        let totals = Rates::totals(counters);
        self.rates = totals.since(self.before);
        self.before = totals;
    }

    pub(crate) fn measured(&mut self, measured: &Measured) {
        let memory = &mut self.memory;
        memory.peak_bytes = memory.peak_bytes.max(measured.memory_bytes);
        if memory.startup_bytes == 0 {
            memory.startup_bytes = measured.memory_bytes;
        }
    }

    /// Counts from zero again.
    pub(crate) fn reset(&mut self) {
        self.ledger = Ledger::default();
        self.before = Rates::default();
    }
}
