//! [`Transaction`]: the requests that a connection has queued since `MULTI`, and the keys that it watches.
//!
//! Nothing is executed before `EXEC`. Then the queue travels as one request to the primary of its keys
//! (`commands/transactions.rs`).

use alloc::{boxed::Box, vec::Vec};
use core::mem;

use wire::request::{Args, Batch};

use crate::command::Access;

/// Bytes that each argument counts for beside its own, in a queue.
const ARG_BYTES: usize = 32;

/// Most requests of one transaction.
pub(crate) const REQUESTS_MAX: usize = 1 << 16;
/// Most keys that one connection may watch.
pub(crate) const WATCHED_MAX: usize = 4096;

/// A key, and its version when it was watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// The number of its keyspace.
    pub keyspace: u16,
    pub key: Box<[u8]>,
    /// 0: there was no such key.
    pub version: i64,
}

/// The requests between `MULTI` and `EXEC`.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub requests: Batch,
    /// Their bytes.
    bytes: usize,
    /// The slot of all their keys; `None` before the first key.
    pub slot: Option<u16>,
    /// The keys are in more than one slot.
    pub crosses_slots: bool,
    /// The most that one of them does to the shard.
    pub access: Access,
    /// A request was refused: `EXEC` executes nothing.
    pub failed: bool,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    queue: Option<Box<Queue>>,
    watched: Vec<Watched>,
    /// A `WATCH` failed: the next `EXEC` executes nothing.
    watch_failed: bool,
}

impl Transaction {
    /// Whether `MULTI` was sent, and neither `EXEC` nor `DISCARD` since.
    pub fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// How many requests are queued; `None` outside of a transaction.
    pub fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.requests.len())
    }

    /// Bytes that are queued.
    pub fn bytes(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.bytes)
    }

    /// `MULTI`
    pub(crate) fn open(&mut self) {
        self.queue = Some(Box::new(Queue {
            requests: Batch::new(),
            bytes: 0,
            slot: None,
            crosses_slots: false,
            access: Access::Read,
            failed: self.watch_failed,
        }));
    }

    /// Ends the transaction and forgets the watched keys. Returns both; `None` if there is no transaction.
    pub(crate) fn close(&mut self) -> Option<(Box<Queue>, Vec<Watched>)> {
        let queue = self.queue.take()?;
        self.watch_failed = false;
        Some((queue, mem::take(&mut self.watched)))
    }

    /// A request was refused, or may not have been executed: nothing of the transaction will be.
    pub(crate) fn fail(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.failed = true;
        }
    }

    /// Queues a request. Returns false, and does nothing, if the queue would have more than `bytes_max` bytes or
    /// [`REQUESTS_MAX`] requests.
    pub(crate) fn add(&mut self, args: Args<'_>, access: Option<Access>, slots: &[u16], bytes_max: usize) -> bool {
        let Some(queue) = &mut self.queue else { return false };
        let bytes: usize = args.iter().map(|arg| arg.len() + ARG_BYTES).sum();
        if queue.bytes + bytes > bytes_max || queue.requests.len() == REQUESTS_MAX {
            return false;
        }
        queue.bytes += bytes;
        queue.requests.push(&args.iter().collect::<Vec<_>>());
        queue.access = match (queue.access, access) {
            (Access::Grow, _) | (_, Some(Access::Grow)) => Access::Grow,
            (Access::Write, _) | (_, Some(Access::Write)) => Access::Write,
            (before, _) => before,
        };
        for &slot in slots {
            queue.crosses_slots |= *queue.slot.get_or_insert(slot) != slot;
        }
        true
    }

    /// Watches a key from now on. A key that is watched already keeps its older version.
    pub(crate) fn watch(&mut self, watched: Watched) {
        let is_known = |known: &Watched| known.keyspace == watched.keyspace && known.key == watched.key;
        if !self.watched.iter().any(is_known) {
            self.watched.push(watched);
        }
    }

    /// A `WATCH` failed, so its keys are not watched.
    pub(crate) fn fail_watch(&mut self) {
        self.watch_failed = true;
    }

    /// How many keys are watched.
    pub(crate) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// `UNWATCH`
    pub(crate) fn unwatch(&mut self) {
        self.watched = Vec::new();
        self.watch_failed = false;
    }
}
