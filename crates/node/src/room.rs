//! Room on the way to a peer: who sends much waits for it, as `dist_buf_busy_limit` makes senders wait in a BEAM.
//!
//! - There is none from `output_bytes_busy` on, and who waits goes on once half of that has left, or the peer is lost.
//! - There is none either while something waits for the peer to be dialled.
//! - Those that wait are woken in the order they came, all at once: who then finds no room waits behind the others.
//! - A process that never asks is never held up; what bounds it is `output_bytes_max`, which cuts the peer.

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

/// Those that wait, each once per peer.
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
    /// Whether nobody waits.
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
    /// [`Context::has_room`], for the shell's async processes.
    pub fn has_room(&self, node: &Atom) -> bool {
        self.core.has_room(node)
    }
}

impl<P: Payload> Context<'_, P> {
    /// Whether a sender that has more should go on: to a peer that does not read as fast as it is sent there is no
    /// room, nor to one that is being dialled while something waits for that.
    pub fn has_room(&self, node: &Atom) -> bool {
        self.core.has_room(node)
    }

    /// Asks for `Message::Flush` at the end of a round in which there is room on the way to a node: of this one, if
    /// there is now.
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

    /// Bytes have left for a peer, or it is there, or lost.
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
