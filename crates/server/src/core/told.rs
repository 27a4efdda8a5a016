//! Reports from the core to the store: how long batches took, and how many bytes went over sockets. Reports from the
//! store to the core: which connections to close.

use std::{mem, rc::Rc};

use store::ask::{Ask, Payload};

use super::Core;
use crate::bell::Bell;

impl Core {
    /// Records how long a batch took.
    #[inline]
    pub(super) fn note_answer(&mut self, ask: &mut Ask) {
        let now = self.clock.now();
        self.tally.answered(ask, now.monotonic_us, now.wall_ms);
    }

    /// Sends the store the counts that the next batch would bring.
    pub(super) fn tell_tally(&mut self) {
        let tally = mem::take(&mut self.tally);
        self.tell_store(Payload::Tally(tally));
    }

    /// The bell that closes the connection of client `id`.
    pub(crate) fn kill_bell(&mut self, id: u64) -> Rc<Bell> {
        self.kills.entry(id).or_default().clone()
    }

    /// Closes the connections of these clients.
    pub(super) fn kill(&self, ids: &[u64]) {
        for bell in ids.iter().filter_map(|id| self.kills.get(id)) {
            bell.ring();
        }
    }
}
