//! Nodes that leave in order, and the rule for them: while there is no other fault, no request ends with an unknown
//! outcome and no key is lost.
//!
//! *Order* begins [`ORDER_US`] after the last fault that was neither a leave nor a join: by then all effects of that
//! fault are over.

use node::{Address, Atom, Input, Message};
use store::{ask::Payload, store::NAME};
use wire::reply::{Replies, Reply, Retry};

use super::{Event, World};
use crate::plant::Plant;

/// Longer than any fault and its effects.
const ORDER_US: u64 = 60_000_000;
/// Longest time until all clients have moved to other nodes, as seen by a shell.
const CLIENTS_US_MAX: u64 = 2_000_000;

impl World {
    /// A fault strikes that is not an orderly stop or start.
    pub(super) fn trouble(&mut self) {
        self.quiet.troubled_us = Some(self.now_us());
    }

    /// Whether only orderly stops and starts can have affected a request made at this time.
    fn is_in_order(&self, asked_us: u64) -> bool {
        self.quiet.troubled_us.is_none_or(|us| asked_us > us + ORDER_US)
    }

    /// Checks that no reply has an unknown outcome.
    pub(super) fn may_be_answered(&mut self, client: usize, asked_us: u64, replies: &Replies) {
        let unknown = replies.tokens().find_map(|reply| match reply {
            Reply::Error(kind, text) if kind.retry() == Retry::Unsafe => Some(text.to_owned()),
            _ => None,
        });
        if let Some(text) = unknown.filter(|_| self.is_in_order(asked_us)) {
            self.fail(format!("client {client}, while nodes go in order: {text}"));
        }
    }

    /// Handles the reports of a node that leaves.
    pub(super) fn goes(&mut self, at: usize, life: u64, kind: &str, text: &str) {
        let ends_in_haste = self.plant == Some(Plant::HastyEnd);
        match kind {
            "left" => self.end_soon(at, life),
            "serving_out" if ends_in_haste => self.end_soon(at, life),
            "serving_out" => {
                let message = Message::Payload(Payload::ClientsAreGone);
                let to = Address::Name(Atom::new(NAME));
                let input = Input::Message { to, message };
                let delay_us = self.random.below(CLIENTS_US_MAX);
                let machine = at;
                self.agenda.after(delay_us, Event::Give { machine, life, input });
            }
            "lost" => {
                if self.is_in_order(self.now_us()) {
                    let name = self.machines[at].name.clone();
                    self.fail(format!("{} goes without need: {text}", name.as_str()));
                }
                if let Some(life) = self.life(at, life) {
                    life.loses = true;
                }
            }
            _ => {}
        }
    }

    fn end_soon(&mut self, at: usize, life: u64) {
        self.machines[at].wanted = false;
        self.agenda
            .after(self.plan.latency_us * 4, Event::End { machine: at, life });
    }

    /// A node ends by itself: checks that no client waits for an answer from it.
    pub(super) fn has_answered_all(&mut self, at: usize, number: u64) {
        let Some(life) = self.life(at, number) else { return };
        let clients = life.clients.clone();
        let asks = |client: usize| {
            let entry = &self.workload.clients[client];
            let is_here = entry.place.as_ref().is_some_and(|place| place.life == number);
            entry
                .asked
                .as_ref()
                .filter(|_| is_here)
                .map(|asked| asked.spot.asked_us)
        };
        let asked = clients
            .iter()
            .find_map(|(_, client)| asks(*client).filter(|us| self.is_in_order(*us)).map(|_| *client));
        if let Some(client) = asked {
            let name = self.machines[at].name.clone();
            self.fail(format!("{} leaves, and client {client} has no answer", name.as_str()));
        }
    }
}
