//! Two nodes with one name: a peer dials this node with the name of a connected node, but another creation.
//!
//! ```text
//!   newcomer ── N, s true ─▶ this node ── monitor ─▶ the node that is connected
//!      ◀── s not_allowed ──      ◀──── DOWN ────      it lives: the newcomer is refused
//!      ◀── N challenge ────      ◀── nothing in 1 s   it is dead or cut off: the newcomer replaces it
//! ```
//!
//! Only an answer to this question counts as a sign of life, since bytes sent before a process died may still arrive.

use crate::{
    connection::Phase,
    input::ConnectionId,
    members::name_taken_term,
    message::Payload,
    scheduler::{Core, Due},
};
use alloc::{collections::BTreeMap, vec::Vec};
use wire::etf::Atom;

/// How long a connected node has to answer before a newcomer replaces it.
const ANSWER_US: u64 = 1_000_000;
/// Why a peer is refused if another live node has its name.
const TAKEN: &str = "another live node has this name";

/// A waiting newcomer, and the connection that it would replace.
#[derive(Clone, Copy, Debug)]
struct Rival {
    newcomer: ConnectionId,
    old: ConnectionId,
}

/// Newcomers, by the number of the question to the connected node. There are at most as many as handshakes under way.
#[derive(Debug, Default)]
pub(crate) struct Rivals(BTreeMap<u64, Rival>);

impl<P: Payload> Core<P> {
    /// The peer knows of no connection to this node, but this node has one.
    pub(crate) fn answer_insists(&mut self, id: ConnectionId) {
        let Some(Phase::Accepting {
            node: Some(node),
            handshake,
            ..
        }) = self.connections.by_id.get(&id).map(|connection| &connection.phase)
        else {
            return;
        };
        let (node, creation) = (node.clone(), handshake.insisting());
        let up = self.connections.up(&node).map(|up| up.creation);
        let old = self.connections.by_name.get(&node).and_then(|standing| standing.up);
        match old {
            Some(old) if up != creation => {
                self.last_reference += 1;
                let number = self.last_reference;
                self.rivals.0.insert(number, Rival { newcomer: id, old });
                self.probe(&node, number);
                self.send_gathered(old);
                let at_us = self.now.monotonic_us.saturating_add(ANSWER_US);
                self.timers.set(at_us, Due::Rival { number });
            }
            // The connected node has the same creation, or was lost meanwhile.
            Some(_) | None => self.admit(id),
        }
    }

    /// The connected node has answered, so it lives. The newcomer is refused.
    pub(crate) fn rival_answered(&mut self, old: ConnectionId, number: u64) {
        let is_its = |rival: &Rival| rival.old == old;
        if self.rivals.0.get(&number).is_some_and(is_its)
            && let Some(rival) = self.rivals.0.remove(&number)
        {
            self.answer_newcomer(rival.newcomer, false);
            self.setup_failed(rival.newcomer, TAKEN);
        }
    }

    /// The connected node did not answer in time.
    pub(crate) fn rival_is_silent(&mut self, number: u64) {
        if let Some(rival) = self.rivals.0.remove(&number) {
            self.admit(rival.newcomer);
        }
    }

    /// A connection has ended. A newcomer that waited for it goes on. If it was a newcomer itself, it stops waiting.
    pub(crate) fn rival_ended(&mut self, id: ConnectionId) {
        let mut freed = Vec::new();
        self.rivals.0.retain(|_, rival| {
            if rival.old == id {
                freed.push(rival.newcomer);
            }
            rival.old != id && rival.newcomer != id
        });
        for newcomer in freed {
            self.admit(newcomer);
        }
    }

    fn admit(&mut self, newcomer: ConnectionId) {
        self.answer_newcomer(newcomer, true);
    }

    fn answer_newcomer(&mut self, newcomer: ConnectionId, go_on: bool) {
        if let Some(connection) = self.connections.by_id.get_mut(&newcomer)
            && let Phase::Accepting { handshake, .. } = &mut connection.phase
            && handshake.insisting().is_some()
        {
            handshake.answer_insists(go_on, &mut connection.output.gathered);
            self.connections.mark_dirty(newcomer);
        }
    }

    /// The peer that this node dialled is connected to another live node with our name.
    pub(crate) fn name_is_taken(&mut self, by: &Atom) {
        self.tell_membership(name_taken_term(by));
    }
}
