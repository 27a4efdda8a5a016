//! [`Pause`]: requests of this node's Redis clients wait (`CLIENT PAUSE`).
//!
//! A pause holds what the clients of one node send; other nodes go on. It ends by itself, with `CLIENT UNPAUSE`, and
//! when the node is told to stop.

use alloc::{boxed::Box, vec::Vec};
use core::mem;

use wire::request::Args;

use crate::{
    ask::Ask,
    command::{self, Row},
    store::Store,
};

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Pause {
    /// Monotonic milliseconds when it ends; 0: there is none.
    until_ms: u64,
    /// Reads wait, too.
    all: bool,
    /// What waits. A client has one batch under way, so there are no more than clients.
    #[allow(clippy::vec_box)] // the boxes travel on
    held: Vec<Box<Ask>>,
}

impl Pause {
    /// Begins one, or makes the present one longer or stricter.
    pub(crate) fn begin(&mut self, until_ms: u64, all: bool) {
        self.until_ms = self.until_ms.max(until_ms);
        self.all |= all;
    }

    pub(crate) fn end(&mut self) {
        (self.until_ms, self.all) = (0, false);
    }

    /// Whether there is one. It is over only once [`Store::end_pause`] has looked.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.until_ms > 0
    }

    /// Whether a request waits.
    pub(crate) fn holds(&self, args: Args<'_>) -> bool {
        self.is_on() && (self.all || command::find(&args[0]).is_some_and(Row::writes))
    }

    /// Keeps a batch until the pause ends.
    pub(crate) fn hold(&mut self, ask: Box<Ask>) {
        self.held.push(ask);
    }

    /// A client is gone: nothing of it is executed any more.
    pub(crate) fn forget(&mut self, client: u64) {
        self.held.retain(|ask| ask.session.id != client);
    }

    /// How many clients wait.
    pub(crate) fn waiting(&self) -> usize {
        self.held.len()
    }
}

impl Store {
    /// Begins what waited, if the pause is over.
    pub(crate) fn end_pause(&mut self) {
        if self.front.pause.until_ms <= self.time.monotonic_ms || self.cluster.leaving() {
            self.front.pause.end();
        }
        if !self.front.pause.is_on() && !self.front.pause.held.is_empty() {
            for ask in mem::take(&mut self.front.pause.held) {
                self.begin(ask);
            }
        }
    }
}
