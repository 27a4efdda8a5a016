//! How many bytes replies may gather here, and whether there is memory for what a write stores.

use wire::{reply::Replies, request::Args};

use crate::{run::RunId, store::Store};

/// Replies of a peer of more bytes than these are gathered only if there is room for them among those of all runs.
const GATHER_SMALL_BYTES: usize = 64 << 10;

impl Store {
    /// Bytes of replies that one request of many keys, or the requests of a pipeline that others answer, may gather. A
    /// value of any size fits, and its client's share has room for that.
    pub(crate) fn gather_bytes_max(&self) -> usize {
        self.config.buffer_bytes_max / 16 * 5
    }

    /// Bytes of replies that run `id` may gather now, which `replies` are for.
    pub(crate) fn gather_room(&mut self, id: RunId, replies: &Replies) -> usize {
        let bytes_max = self.gather_bytes_max();
        let own = self
            .front
            .runs
            .get(id)
            .map_or(0, |run| run.ask.batch.replies.data_len());
        let of_run = bytes_max.saturating_sub(own);
        if replies.data_len() <= GATHER_SMALL_BYTES {
            return of_run;
        }
        let all: usize = self.front.runs.iter().map(|run| run.ask.batch.replies.data_len()).sum();
        if all == own {
            of_run
        } else {
            (self.config.buffer_bytes_max / 16 * 3).saturating_sub(all)
        }
    }

    /// Memory is measured once a second. Until the next measurement, all bytes that clients send count as stored.
    pub(super) fn memory_is_short(&mut self, args: Args<'_>) -> bool {
        if self.config.memory_bytes_max == 0 {
            return false;
        }
        let bytes = args.iter().map(|arg| arg.len() as u64).sum();
        let is_short = self.memory_would_be_short(bytes);
        if !is_short {
            self.gauges.grown_bytes += bytes;
        }
        is_short
    }

    /// Whether storing `bytes` more would exceed the limit.
    pub(crate) fn memory_would_be_short(&self, bytes: u64) -> bool {
        let bytes_max = self.config.memory_bytes_max;
        let kept = self
            .gauges
            .measured
            .memory_bytes
            .saturating_add(self.gauges.grown_bytes);
        bytes_max > 0 && kept.saturating_add(bytes) > bytes_max
    }
}
