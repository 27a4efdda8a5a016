//! Room on the way to a peer. A process that sends much waits for room, like senders in a BEAM (`dist_buf_busy_limit`).
//!
//! - There is no room once `output_bytes_busy` is reached. Waiting processes go on when the output has fallen to half
//!   of that, or when the peer is lost.
//! - There is no room while messages wait for the peer to be dialled.
//! - Waiting processes are woken in order of arrival, all at once. A process that then finds no room waits behind the
//!   others.
//! - A process that never asks is never delayed. Its output is limited by `output_bytes_max`, beyond which the peer's
//!   connection is closed.

use crate::{
    context::Context,
    message::Payload,
    scheduler::{Core, Node},
    table::Local,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::Atom;

/// The waiting processes, each listed once per peer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    by_node: BTreeMap<Atom, Line>,
}

#[derive(Debug, Default)]
struct Line {
    order: Vec<Local>,
    known: BTreeSet<Local>,
}

impl Room {
    /// Whether no process waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    fn wait(&mut self, node: &Atom, process: Local) {
        let line = self.by_node.entry(node.clone()).or_default();
        if line.known.insert(process) {
            line.order.push(process);
        }
    }

    fn take(&mut self, node: &Atom) -> Vec<Local> {
        self.by_node.remove(node).map(|line| line.order).unwrap_or_default()
    }
}

impl<P: Payload> Node<P> {
    /// Like [`Context::has_room`], for the shell's async processes.
    pub fn has_room(&self, node: &Atom) -> bool {
        self.core.has_room(node)
    }
}

impl<P: Payload> Context<'_, P> {
    /// Whether a sender should go on. There is no room if the peer reads more slowly than it is sent to, or if it is
    /// being dialled while messages wait for that.
    pub fn has_room(&self, node: &Atom) -> bool {
        self.core.has_room(node)
    }

    /// Requests `Message::Flush` at the end of a round in which there is room on the way to a node. If there is room
    /// now, that is this round.
    pub fn await_room(&mut self, node: &Atom) {
        if self.core.has_room(node) {
            self.core.defer(self.me);
        } else {
            self.core.room.wait(node, self.me);
        }
    }
}

impl<P: Payload> Core<P> {
    fn has_room(&self, node: &Atom) -> bool {
        self.queued(node) < self.config.limits.output_bytes_busy && !self.waiting.contains_key(node)
    }

    /// Bytes were written to a peer, or the peer was connected or lost.
    pub(crate) fn make_room(&mut self, node: &Atom) {
        if self.room.by_node.contains_key(node)
            && self.queued(node) <= self.config.limits.output_bytes_busy / 2
            && !self.waiting.contains_key(node)
        {
            for process in self.room.take(node) {
                if self.table.get(process).is_some() {
                    self.defer(process);
                }
            }
        }
    }
}
