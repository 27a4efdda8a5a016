//! How many bytes replies may gather here, and whether there is memory for what a write stores.

use wire::{
    reply::{Checkpoint, Replies},
    request::Args,
};

use crate::{
    command::{self, Access},
    run::{Run, RunId},
    store::Store,
};

/// Replies of more bytes than these are gathered only if there is room for them among those of all runs.
pub(super) const GATHER_SMALL_BYTES: usize = 64 << 10;
/// A run may take this part of the room that is left for the replies it has itself while it waits for others.
const RUN_PART: usize = 8;

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
        let all = self.front.runs.reply_bytes();
        if all == own {
            of_run
        } else {
            self.gather_share().saturating_sub(all)
        }
    }

    /// Bytes of replies that all runs may gather, unless there is only one.
    fn gather_share(&self) -> usize {
        self.config.buffer_bytes_max / 16 * 3
    }

    /// Bytes of replies from which on a run that begins now executes no further request, so that the replies of all
    /// runs stay within their share.
    pub(super) fn piece_room(&self, piece_bytes: usize) -> usize {
        let left = self.gather_share().saturating_sub(self.front.runs.reply_bytes());
        (left / RUN_PART).clamp(GATHER_SMALL_BYTES, piece_bytes)
    }

    /// Takes back the replies since `then` if they are those of a read, and too large to be held until other requests
    /// of the run are answered. Replies that do not come in pieces may always have to wait.
    pub(super) fn takes_back(
        &self,
        run: &Run,
        args: Args<'_>,
        replies: &mut Replies,
        (then, before): (Checkpoint, usize),
    ) -> bool {
        if replies.data_len() - before <= GATHER_SMALL_BYTES {
            return false;
        }
        let waits = !run.is_piecemeal() || !run.parcels.is_empty() || !run.parked.is_empty() || !run.is_settled();
        let others = self.front.runs.reply_bytes();
        waits
            && others > 0
            && others + replies.data_len() > self.gather_share()
            && command::find(&args[0]).is_some_and(|row| row.access() == Some(Access::Read))
            && replies.rewind(then)
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
