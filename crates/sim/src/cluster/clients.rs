//! The clients at work: which node they use, what they send, and how answers are judged.

use node::{Address, Atom, Input, Message, Pid};
use store::{
    ask::{Ask, Payload},
    store::NAME,
};
use wire::reply::Replies;

use super::{Event, SLACK_US, World, links::LATE_US_MAX, sight};
use crate::{
    check::Verdict,
    fault::{Fault, Table},
    rules::Spot,
    together::VIEW_US,
    workload::{Place, Question},
};

/// Second table: a client goes to another node before this many of a thousand batches.
const MOVES: u64 = 30;
/// When it moves, this many of a thousand times it picks the node that started last, which has had the least time to
/// learn.
const TO_YOUNGEST: u64 = 500;

impl World {
    pub(super) fn client(&mut self, client: usize) {
        if self.ending {
            return;
        }
        let running = self.running();
        let think_us = 1 + self.random.below(self.plan.load.think_us);
        let running: Vec<usize> = running.into_iter().filter(|at| !self.machines[*at].outsider).collect();
        let place = self.workload.clients[client].place.clone();
        let second = self.plan.table != Table::First;
        let leaves = if second { MOVES } else { 10 };
        let stays =
            place.is_some_and(|place| self.life(place.machine, place.life).is_some()) && !self.random.chance(leaves);
        if !stays {
            if running.is_empty() {
                return self.agenda.after(think_us, Event::Client(client));
            }
            let mut at = self.random.pick(&running);
            if second && self.random.chance(TO_YOUNGEST) {
                let number = |at: &usize| self.machines[*at].life.as_ref().map(|life| life.number);
                at = running.iter().copied().max_by_key(number).unwrap_or(at);
            }
            if let Some(life) = &mut self.machines[at].life {
                let pid = life.node.adopt();
                life.clients.push((pid.clone(), client));
                self.workload.reconnects(client);
                self.workload.clients[client].place = Some(Place {
                    machine: at,
                    life: life.number,
                    pid,
                });
            }
        }
        let Some(Place { machine, life, pid }) = self.workload.clients[client].place.clone() else {
            return;
        };
        let (spot, stood_us) = (self.spot(machine, life), self.stood_us(machine));
        let Some(question) = self.workload.ask(client, spot, stood_us) else {
            return;
        };
        let message = match question {
            Question::Batch(ask) => {
                self.say(|| format!("client {client} asks {:?}", ask.batch));
                Message::Payload(Payload::Ask(ask))
            }
            Question::Call(term) => {
                self.say(|| format!("client {client} calls {term:?}"));
                Message::Term { from: Some(pid), term }
            }
        };
        self.give_to_store(machine, life, message);
    }

    fn give_to_store(&mut self, machine: usize, life: u64, message: Message<Payload>) {
        let to = Address::Name(Atom::new(NAME));
        self.give(machine, life, Input::Message { to, message });
    }

    /// A node has answered the batch of a client, or the first part of it. The client asks for the rest at once.
    pub(super) fn answered_piece(&mut self, client: usize, mut ask: Box<Ask>) {
        let now_us = self.now_us();
        let entry = &mut self.workload.clients[client];
        let (Some(asked), Some(place)) = (&mut entry.asked, &entry.place) else {
            return self.answered(client, ask.batch.replies);
        };
        asked.replies.append(&ask.batch.replies);
        if ask.batch.resume() {
            asked.sent_us = now_us;
            let (machine, life) = (place.machine, place.life);
            self.say(|| format!("client {client} goes on with {:?}", ask.batch));
            return self.give_to_store(machine, life, Message::Payload(Payload::Ask(ask)));
        }
        let replies = std::mem::take(&mut asked.replies);
        entry.session = Some(ask.session);
        self.answered(client, replies);
    }

    /// The client behind this pid of a node.
    pub(super) fn client_of(&mut self, at: usize, life: u64, pid: &Pid) -> Option<usize> {
        let clients = &self.life(at, life)?.clients;
        clients
            .iter()
            .find(|(other, _)| other == pid)
            .map(|(_, client)| *client)
    }

    pub(super) fn answered(&mut self, client: usize, replies: Replies) {
        let now_us = self.now_us();
        let asked = self.workload.clients[client].asked.as_ref();
        let spot = asked.map_or_else(Spot::default, |asked| asked.spot);
        let replies = match self.plant {
            Some(plant) => plant.falsify(replies, &self.workload.acts(client), self.workload.requests),
            None => replies,
        };
        let cluster = self.cluster_of(spot.machine);
        let sight = sight::of(&self.clusters, &self.quiet, self.plan.table, spot, cluster);
        let strict = sight.is_calm();
        self.tally.strict[0] += u64::from(strict);
        self.tally.strict[1] += 1;
        let written = self.workload.written(client);
        let judged = self.workload.answered(client, &replies, &sight, now_us);
        self.say(|| {
            let strict = if strict { " strict" } else { "" };
            format!("client {client} is answered {replies:?}{strict}")
        });
        if let Err(failure) = judged.and_then(|()| self.all_hold(&written, spot)) {
            self.fail(format!("client {client}: {failure}"));
        }
        self.may_be_answered(client, spot.asked_us, &replies);
        let think_us = 1 + self.random.below(self.plan.load.think_us);
        self.agenda.after(think_us, Event::Client(client));
    }

    /// Checks that a write that was acknowledged in time at level `all` is held by every ready copy, unless the network
    /// was disturbed.
    fn all_hold(&self, written: &[(usize, usize)], spot: Spot) -> Verdict {
        let asked_us = spot.asked_us;
        if !self.counts(spot.machine) {
            return Ok(());
        }
        let in_time = self.now_us() < asked_us + 1000 * store::config::Config::default().write_timeout_ms;
        // The primary does not wait for a copy that was late before.
        let waits = self.plan.table == Table::First
            || self
                .clusters
                .together(self.clusters.main())
                .is_steady_since(asked_us.saturating_sub(VIEW_US));
        if !in_time || !waits || !self.quiet.connected_since(asked_us.saturating_sub(500_000)) {
            return Ok(());
        }
        for &(key, number) in written {
            if let Some(deleted) = self.workload.shadow.must_hold(key, number) {
                crate::check::all_hold(self, self.workload.shadow.name(key), number, deleted)?;
            }
        }
        Ok(())
    }

    /// How long a machine has been paused in total so far.
    fn stood_us(&self, machine: usize) -> u64 {
        let machine = &self.machines[machine];
        let paused = machine.life.as_ref().is_some_and(|life| life.paused);
        machine.stood_us
            + if paused {
                self.now_us() - machine.paused_at_us
            } else {
                0
            }
    }

    pub(super) fn check_deadlines(&mut self) {
        let mut deadline_us = store::config::Config::default().request_timeout_ms * 1000 + SLACK_US;
        if self.plan.has(Fault::Sluggish) {
            // A slow node may handle the tick of its clock late, and the request late again.
            deadline_us += 2 * LATE_US_MAX;
        }
        let now_us = self.now_us();
        for client in 0..self.workload.clients.len() {
            let entry = &self.workload.clients[client];
            let (Some(asked), Some(place)) = (&entry.asked, &entry.place) else {
                continue;
            };
            let stood_us = self.stood_us(place.machine) - asked.stood_us;
            if now_us - asked.sent_us > deadline_us + stood_us {
                let name = self.machines[place.machine].name.as_str();
                let failure = format!(
                    "client {client} at {name} waits since {} ms: {asked:?}",
                    asked.spot.asked_us / 1000
                );
                return self.fail(failure);
            }
        }
    }
}
