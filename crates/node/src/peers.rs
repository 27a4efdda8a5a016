//! Connections to peers: dial, handshake, ticks and loss.
//!
//! - Per node name there is at most one connection that is up. A newer one that proved the cookie
//!   replaces it: the old one's NodeDown comes first.
//! - NodeUp comes before any message of its connection, NodeDown after the last one.
//! - When a connection is lost, every link and monitor over it fires once, with `noconnection`.
//! - Output is gathered per connection and leaves at the flush, or at once past a bound.
//!
//! Source: *Distribution Protocol*, ERTS reference manual; net_kernel(3) for the ticks.

use crate::{
    certificate::{self, Certificate},
    connection::{Connection, Output, Phase, Up},
    context::NodeKind,
    effect::{Effect, Event},
    global,
    input::ConnectionId,
    members::unreachable_term,
    membership::{BACKOFF_MAX_US, backoff_us},
    message::{Message, Payload},
    scheduler::{Core, Due},
    table::Local,
};
use alloc::{boxed::Box, collections::BTreeSet, format, string::String, vec, vec::Vec};
use bytes::Bytes;
use wire::{
    dist::{
        Flags,
        control::{Monitored, Signal},
        frame::write_tick,
        handshake::{self, Acceptor, Contact, Established, HandshakeError, Initiator, Refusal, Step, Verdict},
    },
    etf::{Atom, Term},
};

/// A connection must be up within this time after the dial or the accept, in microseconds (`net_setuptime`).
const SETUP_US: u64 = 7_000_000;
/// A tick is answered with a tick if this node sent nothing for this time: the peer's tick time may be shorter. The
/// bound keeps two nodes from answering each other's answers.
const TICK_ANSWER_US: u64 = 1_000_000;
/// A name that no process of a BEAM can have. The emulator itself answers a monitor of it, at once.
pub(crate) const NOBODY: &str = "undefined";
/// The number of a reference that no monitor has. The answer to it has no effect.
const NO_MONITOR: u64 = 0;
/// Why a peer is refused that has this node's name, or whose host leaves no room for a name.
const UNWELCOME: &str = "not welcome";
/// Why a peer is refused whose certificate does not cover its name.
const UNCOVERED: &str = "its certificate is not for the host of its name";
/// The first two bytes of TLS, read as the length of a handshake message.
const TLS_HELLO: u32 = 0x1603;
const TLS_ALERT: u32 = 0x1503;

impl<P: Payload> Core<P> {
    fn handshake_local(&self) -> handshake::Local {
        handshake::Local {
            name: self.config.name.clone(),
            creation: self.config.creation,
            flags: if self.config.hidden {
                Flags::HIDDEN
            } else {
                Flags::VISIBLE
            },
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a challenge has 32 bits")]
    fn challenge(&mut self) -> u32 {
        self.random.next() as u32
    }

    // Dialling

    /// Begins to connect to a node, unless it is connected or a connection is under way. False if it is this node.
    /// Without a `port`, the port that members reported is used.
    pub(crate) fn dial(&mut self, node: &Atom, port: Option<u16>) -> bool {
        if *node == self.config.name {
            return false;
        }
        let standing = self.connections.by_name.entry(node.clone()).or_default();
        if standing.up.is_some() || standing.pending.is_some() {
            return true;
        }
        let port = port.or_else(|| self.told_port(node));
        let connection = self.connections.next_id();
        self.connections.by_name.entry(node.clone()).or_default().pending = Some(connection);
        self.add_connection(connection, Phase::Dialling { node: node.clone() });
        self.effects.push(Effect::Dial {
            connection,
            node: node.clone(),
            port,
        });
        true
    }

    fn add_connection(&mut self, id: ConnectionId, phase: Phase) {
        let at_us = self.now.monotonic_us.saturating_add(SETUP_US);
        self.timers.set(at_us, Due::Setup { connection: id });
        let output = Output::new(self.now.monotonic_us);
        self.connections.by_id.insert(id, Connection { phase, output });
    }

    pub(crate) fn opened(&mut self, id: ConnectionId, certificate: Option<&Certificate>) {
        let (local, challenge) = (self.handshake_local(), self.challenge());
        let cookie = self.config.cookie.clone();
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        let Phase::Dialling { node } = &connection.phase else {
            return;
        };
        let node = node.clone();
        if !certificate::may_claim(certificate, &node) {
            return self.setup_failed(id, UNCOVERED);
        }
        let out = &mut connection.output.gathered;
        let lengths = certificate::lengths(certificate);
        let handshake = Initiator::new(local, node.clone(), cookie, lengths, challenge, out);
        connection.phase = Phase::Initiating {
            node,
            handshake: Box::new(handshake),
        };
        self.connections.mark_dirty(id);
    }

    pub(crate) fn accepted(&mut self, id: ConnectionId, certificate: Option<Certificate>) {
        let known = self.connections.by_id.contains_key(&id);
        if known || self.connections.accepting() >= self.config.limits.accepting_max {
            self.effects.push(Effect::Close { connection: id });
            return;
        }
        let challenge = self.challenge();
        let lengths = certificate::lengths(certificate.as_ref());
        let handshake = Acceptor::new(self.handshake_local(), lengths, challenge);
        self.add_connection(
            id,
            Phase::Accepting {
                node: None,
                certificate,
                handshake: Box::new(handshake),
            },
        );
    }

    // Bytes

    pub(crate) fn received(&mut self, id: ConnectionId, bytes: Bytes) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        match &mut connection.phase {
            Phase::Up(up) => {
                up.heard_us = self.now.monotonic_us;
                self.frames(id, bytes);
            }
            Phase::Initiating { .. } | Phase::Accepting { .. } => self.shake_hands(id, &bytes),
            Phase::Dialling { .. } | Phase::Yielded { .. } => {}
        }
    }

    pub(crate) fn written(&mut self, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        connection.output.written(bytes);
        let Phase::Up(up) = &mut connection.phase else {
            return;
        };
        if connection.output.bytes() > 0 {
            // The peer reads what waited for it. A peer that has stopped takes no more than the buffers of its system.
            up.heard_us = self.now.monotonic_us;
        }
        if !self.room.is_empty() {
            let node = up.node.clone();
            self.make_room(&node);
        }
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get(&id) else {
            return;
        };
        match &connection.phase {
            Phase::Up(_) => self.lose(id, "connection_closed", false),
            Phase::Initiating { .. } | Phase::Accepting { .. } if self.meets_elsewhere(id) => self.drop_attempt(id),
            Phase::Initiating { .. } => {
                self.setup_failed(id, "closed by the peer; its cookie may differ, or its use of TLS");
            }
            // The peer reached this node on another connection before it sent its name on this one, or only checked
            // whether the port is open. Nothing has failed.
            Phase::Accepting { node: None, .. } => self.drop_attempt(id),
            Phase::Accepting { .. } => self.setup_failed(id, "closed by the peer"),
            Phase::Dialling { .. } => self.drop_attempt(id),
            // This node closed it a moment ago.
            Phase::Yielded { .. } => {}
        }
    }

    /// Whether this node and the peer of attempt `id` have another connection, or are making one. When two nodes dial
    /// each other at once, one of the two connections is closed, and nothing has failed.
    fn meets_elsewhere(&self, id: ConnectionId) -> bool {
        let attempt = self.connections.by_id.get(&id);
        let node = attempt.and_then(|connection| connection.phase.node());
        let standing = node.and_then(|node| self.connections.by_name.get(node));
        standing.is_some_and(|standing| standing.up.or(standing.pending).is_some_and(|other| other != id))
    }

    // The handshake

    fn shake_hands(&mut self, id: ConnectionId, bytes: &[u8]) {
        let outstanding = self.connections.challenges_but(id);
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        let out = &mut connection.output.gathered;
        let step = match &mut connection.phase {
            Phase::Initiating { handshake, .. } => handshake.receive(bytes, &outstanding, out),
            Phase::Accepting { handshake, .. } => handshake.receive(bytes, &outstanding, out),
            Phase::Dialling { .. } | Phase::Yielded { .. } | Phase::Up(_) => return,
        };
        self.connections.mark_dirty(id);
        match step {
            Ok(Step::More) => {}
            Ok(Step::Name(peer)) => self.answer_name(id, &peer),
            Ok(Step::Alive) => self.answer_alive(id),
            Ok(Step::Insists) => self.answer_insists(id),
            Ok(Step::Established(established)) => self.establish(id, established),
            Err(HandshakeError::Refused(Refusal::Nok)) => self.yield_to_peer(id),
            Err(HandshakeError::TooLong(TLS_HELLO | TLS_ALERT)) => {
                self.setup_failed(id, "it speaks TLS, and this node does not");
            }
            Err(error) => {
                let peer = self.connections.by_id.get(&id).and_then(|c| c.phase.node().cloned());
                self.setup_failed(id, &format!("{error}"));
                if let (HandshakeError::Refused(Refusal::Taken), Some(peer)) = (error, peer) {
                    self.name_is_taken(&peer);
                }
            }
        }
    }

    /// The peer that dialled sent its name. It may be refused, or meet this node's own dial.
    fn answer_name(&mut self, id: ConnectionId, peer: &handshake::Peer) {
        if !self.is_covered(id, &peer.name) {
            return self.turn_away(id, &peer.name, UNCOVERED);
        }
        if peer.flags.contains(Flags::NAME_ME) {
            return self.name_peer(id, &peer.name);
        }
        let standing = self.connections.by_name.get(&peer.name);
        let pending = standing.and_then(|standing| standing.pending);
        let dialling = pending
            .and_then(|pending| self.connections.by_id.get(&pending))
            .is_some_and(|c| matches!(c.phase, Phase::Dialling { .. } | Phase::Initiating { .. }));
        let contact = match standing {
            Some(standing) if standing.up.is_some() => Contact::Up,
            Some(_) if dialling => Contact::Dialling,
            Some(_) | None => Contact::Idle,
        };
        let verdict = handshake::verdict(&self.config.name, peer, contact);
        self.answer(id, &peer.name, &verdict);
    }

    /// Whether the peer that dialled may claim this name, or be given a name on this host.
    fn is_covered(&self, id: ConnectionId, name: &Atom) -> bool {
        let phase = self.connections.by_id.get(&id).map(|connection| &connection.phase);
        matches!(phase, Some(Phase::Accepting { certificate, .. }) if certificate::may_claim(certificate.as_ref(), name))
    }

    /// The peer that dialled has no name. It is given one, on the host it sent.
    fn name_peer(&mut self, id: ConnectionId, host: &Atom) {
        let random = self.random.next();
        let by_name = &self.connections.by_name;
        let is_taken = |name: &Atom| by_name.get(name).is_some_and(|s| s.up.or(s.pending).is_some());
        match self.given_names.give(host, random, is_taken) {
            Some((name, creation)) => {
                let given = name.clone();
                self.answer(id, &given, &Verdict::Named { name, creation });
            }
            None => self.turn_away(id, host, UNWELCOME),
        }
    }

    fn turn_away(&mut self, id: ConnectionId, name: &Atom, reason: &str) {
        self.tell_verdict(id, name, Verdict::NotAllowed);
        self.setup_failed(id, reason);
    }

    fn answer(&mut self, id: ConnectionId, name: &Atom, verdict: &Verdict) {
        self.tell_verdict(id, name, verdict.clone());
        match verdict {
            Verdict::Ok | Verdict::Alive | Verdict::Named { .. } => {}
            Verdict::OkSimultaneous => {
                // What waited for this node's dial now waits for this connection.
                let standing = self.connections.by_name.entry(name.clone()).or_default();
                if let Some(ours) = standing.pending.replace(id) {
                    self.close(ours);
                }
            }
            Verdict::Nok => self.close(id),
            Verdict::NotAllowed => self.setup_failed(id, UNWELCOME),
        }
    }

    fn tell_verdict(&mut self, id: ConnectionId, name: &Atom, verdict: Verdict) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        if let Phase::Accepting { node, handshake, .. } = &mut connection.phase {
            *node = Some(name.clone());
            handshake.answer(verdict, &self.config.cookie, &mut connection.output.gathered);
        }
    }

    /// The peer believes it is connected to this node. This node insists only if it knows of no connection.
    fn answer_alive(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        let Phase::Initiating { node, handshake } = &mut connection.phase else {
            return;
        };
        let standing = self.connections.by_name.get(node);
        let go_on = standing.is_none_or(|standing| standing.up.is_none());
        handshake.answer_alive(go_on, &mut connection.output.gathered);
        if !go_on {
            self.drop_attempt(id);
        }
    }

    /// The peer dials this node at the same time. The peer's attempt goes on.
    fn yield_to_peer(&mut self, id: ConnectionId) {
        self.send_gathered(id);
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        let Phase::Initiating { node, .. } = &connection.phase else {
            return;
        };
        connection.phase = Phase::Yielded { node: node.clone() };
        self.effects.push(Effect::Close { connection: id });
    }

    fn establish(&mut self, id: ConnectionId, established: Established) {
        let Established {
            name: node,
            creation,
            flags,
            leftover,
        } = established;
        let standing = self.connections.by_name.entry(node.clone()).or_default();
        let (old, pending) = (standing.up, standing.pending);
        if let Some(old) = old {
            self.lose(old, "replaced", true);
        }
        if let Some(pending) = pending.filter(|pending| *pending != id) {
            self.close(pending);
        }
        let standing = self.connections.by_name.entry(node.clone()).or_default();
        standing.up = Some(id);
        standing.pending = None;
        standing.failures = 0;
        standing.retry_us = 0;

        let up = Up::new(node.clone(), creation, flags, &self.config.limits, self.now);
        let hidden = up.hidden();
        let connection = self.connections.by_id.get_mut(&id).expect("it just shook hands");
        connection.phase = Phase::Up(Box::new(up));
        self.event(Event::NodeUp {
            node: node.clone(),
            creation,
            hidden,
        });
        for watcher in self.node_watchers.clone() {
            let node = node.clone();
            self.post(watcher, Message::NodeUp { node, creation, hidden });
        }
        self.send_waiting(&node);
        self.make_room(&node);
        if !leftover.is_empty() {
            self.frames(id, leftover);
        }
    }

    // Ends

    pub(crate) fn setup_timed_out(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get(&id) else {
            return;
        };
        if !matches!(connection.phase, Phase::Up(_)) {
            self.setup_failed(id, "timed out");
        }
    }

    pub(crate) fn setup_failed(&mut self, id: ConnectionId, reason: &str) {
        let node = self.connections.by_id.get(&id).and_then(|c| c.phase.node().cloned());
        let reason = String::from(reason);
        self.event(Event::HandshakeFailed {
            connection: id,
            node,
            reason,
        });
        self.drop_attempt(id);
    }

    /// An attempt failed. Whatever waited for it is notified.
    fn drop_attempt(&mut self, id: ConnectionId) {
        let node = self.connections.by_id.get(&id).and_then(|c| c.phase.node().cloned());
        self.close(id);
        let Some(node) = node else { return };
        let random = self.random.next();
        let Some(standing) = self.connections.by_name.get_mut(&node) else {
            return;
        };
        if standing.pending != Some(id) {
            return;
        }
        standing.pending = None;
        standing.retry_us = self.now.monotonic_us + backoff_us(standing.failures, random);
        standing.failures = standing.failures.saturating_add(1);
        if standing.up.is_none() {
            self.waiting.remove(&node);
            self.disconnect_processes(&node);
            self.make_room(&node);
        }
        self.tell_membership(unreachable_term(&node));
        global::tell_unreachable(self, &node);
    }

    /// Sends what is gathered, closes, and forgets the connection.
    fn close(&mut self, id: ConnectionId) {
        self.send_gathered(id);
        let Some(connection) = self.connections.by_id.remove(&id) else {
            return;
        };
        self.rival_ended(id);
        if let Some(node) = connection.phase.node()
            && self.connections.up(node).is_none()
        {
            self.given_names.free(node);
        }
        if !matches!(connection.phase, Phase::Yielded { .. }) {
            self.effects.push(Effect::Close { connection: id });
        }
    }

    /// A peer broke the protocol or went past a bound.
    pub(crate) fn cut(&mut self, id: ConnectionId, reason: &'static str, detail: String) {
        if let Some(Connection {
            phase: Phase::Up(up), ..
        }) = self.connections.by_id.get(&id)
        {
            let node = up.node.clone();
            self.event(Event::PeerCut { node, reason: detail });
            self.lose(id, reason, true);
        }
    }

    /// The end of a connection that was up.
    pub(crate) fn lose(&mut self, id: ConnectionId, reason: &'static str, close: bool) {
        let Some(connection) = self.connections.by_id.remove(&id) else {
            return;
        };
        let Phase::Up(up) = connection.phase else {
            return;
        };
        self.connections.losses += 1;
        if close {
            self.effects.push(Effect::Close { connection: id });
        }
        let Up { node, creation, .. } = *up;
        if let Some(standing) = self.connections.by_name.get_mut(&node) {
            standing.up = None;
        }
        self.rival_ended(id);
        self.given_names.free(&node);
        self.disconnect_processes(&node);
        self.make_room(&node);
        let reason = Term::atom(reason);
        self.event(Event::NodeDown {
            node: node.clone(),
            creation,
            reason: reason.clone(),
        });
        for watcher in self.node_watchers.clone() {
            let (node, reason) = (node.clone(), reason.clone());
            self.post(watcher, Message::NodeDown { node, creation, reason });
        }
    }

    /// Ends the links and monitors to and from a lost node.
    fn disconnect_processes(&mut self, node: &Atom) {
        let noconnection = Term::atom("noconnection");
        for (local, pid) in self.links.active_with(node) {
            self.post_exit(local, pid, noconnection.clone(), true);
        }
        self.links.forget_unlinking_with(node);
        for number in self.monitors.of_node(node) {
            self.post_down(number, noconnection.clone());
        }
        self.monitors.dismiss_all(node);
        self.cancel_calls(node);
    }

    /// The node did not run for a while. Its peers may have dropped it without its knowledge. So it drops all peers,
    /// and what it believes about them, before it does anything else.
    pub(crate) fn paused(&mut self, silent_us: u64) {
        let ids: Vec<ConnectionId> = self.connections.by_id.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        self.event(Event::Paused { silent_us });
        for id in ids {
            match self.connections.by_id.get(&id) {
                Some(Connection {
                    phase: Phase::Up(_), ..
                }) => self.lose(id, "paused", true),
                Some(_) => self.drop_attempt(id),
                None => {}
            }
        }
    }

    // Ticks

    /// Runs 8 times per tick time. A peer that was silent for all of it is dropped. A peer that was silent for half of
    /// it is probed: its tick time may be longer, or it has much to read (taking bytes counts as life). A peer to which
    /// nothing was sent for an eighth gets a tick, so with equal tick times a healthy peer is never silent for more
    /// than a quarter.
    pub(crate) fn tick(&mut self) {
        let now_us = self.now.monotonic_us;
        let tick_us = self.config.tick_ms * 1000;
        self.timers.set(now_us + tick_us / 8, Due::Tick);
        let up: Vec<ConnectionId> = self
            .connections
            .by_name
            .values()
            .filter_map(|standing| standing.up)
            .collect();
        for id in up {
            let Some(connection) = self.connections.by_id.get(&id) else {
                continue;
            };
            let Phase::Up(up) = &connection.phase else {
                continue;
            };
            let silent_us = now_us.saturating_sub(up.heard_us);
            if silent_us >= tick_us {
                self.lose(id, "net_tick_timeout", true);
            } else if silent_us >= tick_us / 2 {
                let node = up.node.clone();
                self.probe(&node, NO_MONITOR);
            } else if now_us.saturating_sub(connection.output.wrote_us) >= tick_us / 8 {
                self.send_tick(id);
            }
        }
        // The count of failures outlives the wait that it caused. Otherwise the waits would never grow.
        self.connections.by_name.retain(|_, standing| {
            let retry_us = standing.retry_us + BACKOFF_MAX_US;
            standing.up.is_some() || standing.pending.is_some() || now_us < retry_us
        });
    }

    /// Sends a peer a monitor that it must answer, with a reference of this number.
    pub(crate) fn probe(&mut self, node: &Atom, number: u64) {
        let probe = Signal::Monitor {
            from: self.pid(self.net_kernel),
            to: Monitored::Name(Atom::new(NOBODY)),
            reference: self.reference(number),
        };
        self.transmit(node, probe, false);
    }

    pub(crate) fn answer_tick(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get(&id) else {
            return;
        };
        let silent_us = self.now.monotonic_us.saturating_sub(connection.output.wrote_us);
        if silent_us >= TICK_ANSWER_US {
            self.send_tick(id);
        }
    }

    fn send_tick(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        if connection.output.bytes() == 0 {
            write_tick(&mut connection.output.gathered);
            self.connections.mark_dirty(id);
        }
    }

    // Output

    /// Called after something was gathered behind `bytes_before`, which are on their way. Sends it at once if it is
    /// large. Cuts the connection if the peer does not read. So one message may be of any size.
    pub(crate) fn gathered(&mut self, id: ConnectionId, bytes_before: usize) {
        let Some(connection) = self.connections.by_id.get(&id) else {
            return;
        };
        let output = &connection.output;
        if bytes_before > self.config.limits.output_bytes_max {
            self.cut(id, "overflow", String::from("it does not read what it is sent"));
        } else if output.gathered.len() >= self.config.limits.output_bytes_flush {
            self.send_gathered(id);
        } else {
            self.connections.mark_dirty(id);
        }
    }

    pub(crate) fn send_gathered(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.by_id.get_mut(&id) else {
            return;
        };
        if let Some(bytes) = connection.output.take(self.now.monotonic_us) {
            self.effects.push(Effect::Send { connection: id, bytes });
        }
    }

    /// Makes one `Effect::Send` per connection with gathered bytes.
    pub(crate) fn send_all_gathered(&mut self) {
        for id in core::mem::take(&mut self.connections.dirty) {
            self.send_gathered(id);
        }
    }

    // Who is connected

    pub(crate) fn nodes(&self, kind: NodeKind) -> Vec<Atom> {
        let connected = |wanted: fn(&Up) -> bool| {
            let listed = self.connections.all_up().filter(|up| wanted(up));
            listed.map(|up| up.node.clone()).collect()
        };
        match kind {
            NodeKind::Visible => connected(|up| !up.hidden()),
            NodeKind::Hidden => connected(Up::hidden),
            NodeKind::Connected => connected(|_| true),
            NodeKind::This => vec![self.config.name.clone()],
            NodeKind::Known => {
                let met = self.connections.by_name.keys();
                let told = self.members().iter().map(|member| &member.name);
                let known: BTreeSet<&Atom> = met.chain(told).chain([&self.config.name]).collect();
                known.into_iter().cloned().collect()
            }
        }
    }

    pub(crate) fn watch_nodes(&mut self, watcher: Local) {
        if !self.node_watchers.contains(&watcher) {
            self.node_watchers.push(watcher);
        }
    }

    /// Cuts the connection to a node, if there is one.
    pub(crate) fn disconnect(&mut self, node: &Atom) {
        if let Some(id) = self.connections.by_name.get(node).and_then(|standing| standing.up) {
            self.send_gathered(id);
            self.lose(id, "disconnect", true);
        }
    }

    /// Cuts the connection of a peer that went past a bound.
    pub(crate) fn cut_peer(&mut self, node: &Atom, detail: String) {
        if let Some(id) = self.connections.by_name.get(node).and_then(|standing| standing.up) {
            self.cut(id, "quota", detail);
        }
    }

    /// For how long a connected node has sent nothing and taken none of the bytes that wait for it, in microseconds.
    pub(crate) fn silent_us(&self, node: &Atom) -> Option<u64> {
        let up = self.connections.up(node)?;
        Some(self.now.monotonic_us.saturating_sub(up.heard_us))
    }
}
