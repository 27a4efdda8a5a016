//! Signals over connections: out of our processes, and in from those of peers.
//!
//! - A signal goes only to the life of the peer that is connected: a BEAM takes one to a pid of an
//!   older life for a malformed message. Links and monitors of such pids end with `noconnection`.
//! - What comes must be from a process of the peer; anything else cuts the connection.
//! - Every MONITOR_P is answered sooner or later, and a LINK to nobody at once.
//! - A signal to a node without a connection makes us dial it and waits, bounded. Answers do not:
//!   whom we dial is decided here, not by who asks.
//! - An exit signal of a peer reaches no service of the node, unless by a link, and then does not end it.
//!
//! Source: *Distribution Protocol*, ERTS reference manual.

use crate::{
    config::Limits,
    connection::Up,
    effect::Event,
    gen_server::{answered, caller_of},
    input::ConnectionId,
    message::{Address, Message, Payload},
    monitors::{Guest, Watch},
    remote::SpawnOptions,
    scheduler::Core,
    spawn::{Applied, SpawnRequest},
    table::Local,
    time::Time,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use bytes::Bytes;
use wire::{
    dist::{
        Flags,
        control::{Monitored, Signal, Target},
        frame::{self, Reader, Received, RegSendHeader, write_binary_to_name, write_frame},
    },
    etf::{Atom, Pid, Ref, Term},
};

/// Headers of `send_bytes` kept per connection; past it the oldest is made anew.
const HEADERS_MAX: usize = 64;

/// Why what a peer sent cuts its connection.
enum Breach {
    /// The sender does not live there, or the receiver not here.
    Forged,
    /// A spawn with another number of arguments than its arity.
    Malformed,
    Quota(&'static str),
}

impl Up {
    pub(crate) fn new(node: Atom, creation: u32, flags: Flags, limits: &Limits, now: Time) -> Self {
        let limits = frame::Limits {
            message_bytes_max: limits.message_bytes_max,
            ..frame::Limits::default()
        };
        let reader = Some(Reader::new(flags, limits));
        let heard_us = now.monotonic_us;
        Self {
            node,
            creation,
            flags,
            heard_us,
            reader,
            headers: Vec::new(),
        }
    }

    /// Whether a signal is for the life of the peer that is connected.
    fn reaches(&self, signal: &Signal) -> bool {
        let alias = |alias: &Ref| alias.creation == self.creation && alias.node == self.node;
        match signal {
            Signal::Send { to, .. } | Signal::Exit2 { to, .. } => match to {
                Target::Pid(pid) => self.owns(pid),
                Target::Name(_) => true,
                Target::Alias(reference) => alias(reference),
            },
            Signal::Monitor { to, .. } | Signal::Demonitor { to, .. } => match to {
                Monitored::Pid(pid) => self.owns(pid),
                Monitored::Name(_) => true,
            },
            Signal::Link { to, .. }
            | Signal::Exit { to, .. }
            | Signal::GroupLeader { to, .. }
            | Signal::Down { to, .. }
            | Signal::SpawnReply { to, .. }
            | Signal::UnlinkId { to, .. }
            | Signal::UnlinkIdAck { to, .. } => self.owns(to),
            Signal::SpawnRequest { .. } => true,
        }
    }

    fn header(&mut self, sender: Local, from: &Pid, name: &Atom) -> &RegSendHeader {
        let known = self.headers.iter().position(|(s, n, _)| *s == sender && n == name);
        let at = known.unwrap_or_else(|| {
            if self.headers.len() >= HEADERS_MAX {
                self.headers.remove(0);
            }
            let header = RegSendHeader::new(self.flags, from, name);
            self.headers.push((sender, name.clone(), header));
            self.headers.len() - 1
        });
        &self.headers[at].2
    }
}

/// Out.
impl<P: Payload> Core<P> {
    pub(crate) fn send_there(&mut self, from: Local, node: &Atom, to: &Address, term: Term, dial: bool) {
        let to = match to {
            Address::Pid(pid) => Target::Pid(pid.clone()),
            Address::Name(name) | Address::Remote { name, .. } => Target::Name(name.clone()),
            Address::Alias(alias) => Target::Alias(alias.clone()),
        };
        let from = Some(self.pid(from));
        let signal = Signal::Send {
            from,
            to,
            priority: false,
            message: term,
        };
        self.transmit(node, signal, dial);
    }

    pub(crate) fn link_there(&mut self, me: Local, other: &Pid) {
        let signal = Signal::Link {
            from: self.pid(me),
            to: other.clone(),
        };
        self.transmit(&other.node, signal, true);
    }

    pub(crate) fn unlink_there(&mut self, me: Local, other: &Pid, id: u64) {
        let signal = Signal::UnlinkId {
            id,
            from: self.pid(me),
            to: other.clone(),
        };
        self.transmit(&other.node, signal, false);
    }

    /// Over a link nobody is dialled: without a connection the link is broken already.
    pub(crate) fn exit_there(&mut self, to: &Pid, from: Pid, reason: Term, link: bool) {
        let signal = if link {
            Signal::Exit {
                from,
                to: to.clone(),
                reason,
            }
        } else {
            Signal::Exit2 {
                from,
                to: Target::Pid(to.clone()),
                priority: false,
                reason,
            }
        };
        self.transmit(&to.node, signal, !link);
    }

    pub(crate) fn monitor_there(&mut self, watcher: Local, node: &Atom, target: &Address, number: u64) {
        match monitored(target) {
            Some(to) => {
                let (from, reference) = (self.pid(watcher), self.reference(number));
                self.transmit(node, Signal::Monitor { from, to, reference }, true);
            }
            None => self.post_down(number, Term::atom("noproc")),
        }
    }

    /// The watcher may be gone already: its pid is not asked of the table.
    pub(crate) fn demonitor_there(&mut self, watcher: Pid, watch: &Watch, node: &Atom, number: u64) {
        if let Some(to) = monitored(&watch.target) {
            let reference = self.reference(number);
            self.transmit(
                node,
                Signal::Demonitor {
                    from: watcher,
                    to,
                    reference,
                },
                false,
            );
        }
    }

    pub(crate) fn down_there(&mut self, pid: &Pid, guest: Guest, reason: &Term) {
        let from = match guest.name {
            Some(name) => Monitored::Name(name),
            None => Monitored::Pid(pid.clone()),
        };
        self.down_to(guest.watcher, from, guest.reference, reason.clone());
    }

    fn down_to(&mut self, to: Pid, from: Monitored, reference: Ref, reason: Term) {
        let node = to.node.clone();
        self.transmit(
            &node,
            Signal::Down {
                from,
                to,
                reference,
                reason,
            },
            false,
        );
    }

    /// Sends a signal, queues it for the dial it begins, or refuses it. An unlink, demonitor or exit queues behind the
    /// queued signal it undoes.
    pub(crate) fn transmit(&mut self, node: &Atom, mut signal: Signal, dial: bool) {
        if let Some((id, up, output)) = self.connections.up_mut(node) {
            if up.reaches(&signal) {
                let (before, start) = (output.bytes(), output.gathered.len());
                write_frame(&mut output.gathered, up.flags, &signal);
                let is_long = output.gathered.len() - start > self.config.limits.message_bytes_max;
                if is_long && self.is_member(node) {
                    self.take_back(id, start);
                    if curtail(&mut signal) {
                        self.transmit(node, signal, false);
                    } else {
                        self.refuse(&signal);
                    }
                } else {
                    self.gathered(id, before);
                }
            } else {
                self.refuse(&signal);
            }
        } else if let Some(waiting) = self.waiting.get_mut(node).filter(|_| is_end(&signal)) {
            waiting.push(signal);
        } else if dial && self.may_wait(node) {
            self.waiting.entry(node.clone()).or_default().push(signal);
            self.dial(node, None);
        } else {
            self.refuse(&signal);
        }
    }

    /// A signal that is too long for a member: it would cut the connection, and end all that is tied to it.
    fn take_back(&mut self, id: ConnectionId, start: usize) {
        if let Some(connection) = self.connections.by_id.get_mut(&id) {
            connection.output.gathered.truncate(start);
        }
        let to = self.pid(self.net_kernel);
        self.event(Event::MessageDropped {
            to,
            reason: "it is too long for a node",
        });
    }

    /// Whether a signal may wait for a connection, by the bound and by what failed lately.
    fn may_wait(&self, node: &Atom) -> bool {
        let waiting = self.waiting.get(node).map_or(0, Vec::len);
        let backing_off = self
            .connections
            .by_name
            .get(node)
            .is_some_and(|standing| standing.pending.is_none() && self.now.monotonic_us < standing.retry_us);
        waiting < self.config.limits.waiting_max && !backing_off
    }

    pub(crate) fn send_waiting(&mut self, node: &Atom) {
        for signal in self.waiting.remove(node).unwrap_or_default() {
            self.transmit(node, signal, false);
        }
    }

    /// What a signal that cannot be sent means for its sender.
    fn refuse(&mut self, signal: &Signal) {
        match signal {
            Signal::Link { from, to } => {
                if let Some(local) = self.table.find(from) {
                    self.post_exit(local, to.clone(), Term::atom("noconnection"), true);
                }
            }
            Signal::Monitor { reference, .. } => {
                if let Some(number) = self.number(reference) {
                    self.post_down(number, Term::atom("noconnection"));
                }
            }
            Signal::SpawnRequest { request, .. } => {
                if let Some(number) = self.number(request) {
                    self.post_down(number, Term::atom("noconnection"));
                }
            }
            Signal::UnlinkId { id, from, to } => {
                if let Some(local) = self.table.find(from) {
                    self.links.acknowledged(local, to, *id);
                }
            }
            Signal::Send { .. }
            | Signal::Exit { .. }
            | Signal::Exit2 { .. }
            | Signal::GroupLeader { .. }
            | Signal::Demonitor { .. }
            | Signal::Down { .. }
            | Signal::SpawnReply { .. }
            | Signal::UnlinkIdAck { .. } => {}
        }
    }

    pub(crate) fn send_bytes(&mut self, me: Local, node: &Atom, name: &Atom, bytes: &[u8]) -> bool {
        if let Some((id, up, output)) = self.connections.up_mut(node) {
            let slot = self.table.get(me).expect("the running process has a slot");
            let before = output.bytes();
            write_binary_to_name(&mut output.gathered, up.header(me, &slot.pid, name), bytes);
            self.gathered(id, before);
            return true;
        }
        if *node != self.config.name {
            return false;
        }
        if let Some(to) = self.registered.find(name) {
            let (from, term) = (Some(self.pid(me)), Term::Binary(Bytes::copy_from_slice(bytes)));
            self.post(to, Message::Term { from, term });
        }
        true
    }

    pub(crate) fn queued(&self, node: &Atom) -> usize {
        let up = self.connections.by_name.get(node).and_then(|standing| standing.up);
        let connection = up.and_then(|id| self.connections.by_id.get(&id));
        connection.map_or(0, |connection| connection.output.bytes())
    }
}

/// Puts a short reason into an end that is too long to send, if it is one: who is linked or watches must hear of it.
/// False if that reason was too long already.
fn curtail(signal: &mut Signal) -> bool {
    const SHORT: &str = "system_limit";
    match signal {
        Signal::Exit { reason, .. } | Signal::Exit2 { reason, .. } | Signal::Down { reason, .. }
            if !reason.is_atom(SHORT) =>
        {
            *reason = Term::atom(SHORT);
            true
        }
        _ => false,
    }
}

/// Whether a signal is the end of a link or a monitor: there are no more of them than of those.
fn is_end(signal: &Signal) -> bool {
    matches!(
        signal,
        Signal::UnlinkId { .. } | Signal::Demonitor { .. } | Signal::Exit { .. }
    )
}

/// What a monitor of this address names on the wire. An alias cannot be monitored.
fn monitored(target: &Address) -> Option<Monitored> {
    match target {
        Address::Pid(pid) => Some(Monitored::Pid(pid.clone())),
        Address::Name(name) | Address::Remote { name, .. } => Some(Monitored::Name(name.clone())),
        Address::Alias(_) => None,
    }
}

/// In.
impl<P: Payload> Core<P> {
    /// Bytes of a connection that is up.
    pub(crate) fn frames(&mut self, id: ConnectionId, mut bytes: Bytes) {
        let Some(mut reader) = self.connections.up_by_id(id).and_then(|up| up.reader.take()) else {
            return;
        };
        let losses = self.connections.losses;
        loop {
            let arrived = match reader.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Received::Tick)) => {
                    self.answer_tick(id);
                    Ok(())
                }
                Ok(Some(Received::Signal(signal))) => self.signal_arrived(id, signal),
                Ok(Some(Received::TooMuch(signal))) => self.too_much_arrived(id, signal),
                Err(error) => return self.cut(id, "protocol", error.to_string()),
            };
            match arrived {
                Ok(()) => {}
                Err(Breach::Forged) => {
                    let detail = String::from("it speaks for processes that are not its own");
                    return self.cut(id, "protocol", detail);
                }
                Err(Breach::Malformed) => {
                    let detail = String::from("it spawns a function with arguments that are none");
                    return self.cut(id, "protocol", detail);
                }
                Err(Breach::Quota(what)) => {
                    return self.cut(id, "quota", format!("it holds too many {what}"));
                }
            }
            if self.connections.losses != losses && self.connections.up_by_id(id).is_none() {
                // The answer to a signal was too much for the connection. What is behind it comes from nobody.
                return;
            }
        }
        if let Some(up) = self.connections.up_by_id(id) {
            up.reader = Some(reader);
        }
    }

    /// Handles a signal whose message is larger or deeper than a term may be. A caller that waits for an answer gets an
    /// error. An exit reason is replaced. Any other message is dropped, with an event.
    fn too_much_arrived(&mut self, id: ConnectionId, mut signal: Signal) -> Result<(), Breach> {
        match &signal {
            Signal::Send { from, message, .. } => {
                if let Some(from) = from {
                    self.check_from(id, from)?;
                }
                match caller_of(message) {
                    Some(caller) => {
                        let error = Term::tuple([Term::atom("error"), Term::atom("too_large")]);
                        self.reply(self.net_kernel, &caller, error);
                    }
                    None => {
                        let to = self.pid(self.net_kernel);
                        let reason = "it is larger or deeper than a term may be";
                        self.event(Event::MessageDropped { to, reason });
                    }
                }
                Ok(())
            }
            Signal::SpawnRequest { request, from, .. } => {
                self.check_from(id, from)?;
                let answer = Signal::SpawnReply {
                    request: request.clone(),
                    to: from.clone(),
                    link: false,
                    monitor: false,
                    outcome: Err(Atom::new("system_limit")),
                };
                self.transmit(&from.node.clone(), answer, false);
                Ok(())
            }
            Signal::Exit { .. }
            | Signal::Exit2 { .. }
            | Signal::Down { .. }
            | Signal::Link { .. }
            | Signal::GroupLeader { .. }
            | Signal::Monitor { .. }
            | Signal::Demonitor { .. }
            | Signal::SpawnReply { .. }
            | Signal::UnlinkId { .. }
            | Signal::UnlinkIdAck { .. } => {
                curtail(&mut signal);
                self.signal_arrived(id, signal)
            }
        }
    }

    fn signal_arrived(&mut self, id: ConnectionId, signal: Signal) -> Result<(), Breach> {
        match signal {
            Signal::Send {
                from,
                to,
                priority: _,
                message,
            } => {
                if let Some(from) = &from {
                    self.check_from(id, from)?;
                }
                self.message_arrived(from, &to, message);
            }
            Signal::Link { from, to } => {
                self.check_both(id, &from, &to)?;
                self.link_arrived(from, to)?;
            }
            Signal::Exit { from, to, reason } => {
                self.check_both(id, &from, &to)?;
                if let Some(local) = self.table.find(&to) {
                    self.post_exit(local, from, reason, true);
                }
            }
            Signal::Exit2 {
                from,
                to,
                priority: _,
                reason,
            } => {
                self.check_from(id, &from)?;
                if let Target::Pid(to) = to
                    && let Some(local) = self.table.find(&to)
                    && !self.is_service(local)
                {
                    self.post_exit(local, from, reason, false);
                }
            }
            Signal::Monitor { from, to, reference } => {
                self.check_from(id, &from)?;
                self.monitor_arrived(from, to, reference)?;
            }
            Signal::Demonitor { from, to: _, reference } => {
                self.check_from(id, &from)?;
                if let Some(process) = self.monitors.dismiss(&from.node, &reference) {
                    self.forget_request(process, &reference);
                }
            }
            Signal::Down {
                from: _,
                to,
                reference,
                reason,
            } => {
                self.down_arrived_from(id, &to, &reference, reason);
            }
            Signal::UnlinkId { id: unlink, from, to } => {
                self.check_both(id, &from, &to)?;
                if let Some(local) = self.table.find(&to) {
                    self.links.remove(local, &from);
                }
                let node = from.node.clone();
                let answer = Signal::UnlinkIdAck {
                    id: unlink,
                    from: to,
                    to: from,
                };
                self.transmit(&node, answer, false);
            }
            Signal::UnlinkIdAck { id: unlink, from, to } => {
                self.check_both(id, &from, &to)?;
                if let Some(local) = self.table.find(&to) {
                    self.links.acknowledged(local, &from, unlink);
                }
            }
            Signal::SpawnRequest {
                request,
                from,
                group_leader: _,
                module,
                function,
                arity,
                options,
                arguments,
            } => {
                self.check_from(id, &from)?;
                let Term::List(args) = arguments else {
                    return Err(Breach::Malformed);
                };
                if args.len() != usize::from(arity) {
                    return Err(Breach::Malformed);
                }
                let what = Applied { module, function, args };
                self.spawn_requested(SpawnRequest {
                    request,
                    from,
                    what,
                    options,
                });
            }
            Signal::SpawnReply {
                request,
                to,
                link,
                monitor,
                outcome,
            } => {
                if let Ok(pid) = &outcome {
                    self.check_from(id, pid)?;
                }
                if let Some(peer) = self.connections.up_by_id(id).map(|up| up.node.clone()) {
                    let ties = SpawnOptions { link, monitor };
                    self.spawn_replied(&peer, &request, &to, ties, outcome);
                }
            }
            // Functions of this node print nothing.
            Signal::GroupLeader { .. } => {}
        }
        Ok(())
    }

    fn check_from(&mut self, id: ConnectionId, from: &Pid) -> Result<(), Breach> {
        match self.connections.up_by_id(id) {
            Some(up) if up.owns(from) => Ok(()),
            Some(_) | None => Err(Breach::Forged),
        }
    }

    /// A pid of an older life of ours is nobody, but it is ours.
    fn check_both(&mut self, id: ConnectionId, from: &Pid, to: &Pid) -> Result<(), Breach> {
        self.check_from(id, from)?;
        if self.table.is_ours(to) {
            Ok(())
        } else {
            Err(Breach::Forged)
        }
    }

    fn message_arrived(&mut self, from: Option<Pid>, to: &Target, message: Term) {
        let to = match to {
            // The answer of a server that knows no aliases comes to the pid of the caller.
            Target::Pid(to) => match answered(&message).and_then(|named| self.number(named)) {
                Some(number) => return self.alias_message(number, message),
                None => self.table.find(to),
            },
            Target::Name(name) => self.registered.find(name),
            Target::Alias(alias) => match self.number(alias) {
                Some(number) => return self.alias_message(number, message),
                None => None,
            },
        };
        if let Some(to) = to {
            self.hand_in(to, Message::Term { from, term: message });
        }
    }

    fn link_arrived(&mut self, from: Pid, to: Pid) -> Result<(), Breach> {
        let node = from.node.clone();
        match self.table.find(&to) {
            Some(_) if self.links.count(&node) >= self.config.limits.links_per_peer_max => {
                return Err(Breach::Quota("links"));
            }
            Some(local) => self.links.linked(local, &from),
            None => {
                let answer = Signal::Exit {
                    from: to,
                    to: from,
                    reason: Term::atom("noproc"),
                };
                self.transmit(&node, answer, false);
            }
        }
        Ok(())
    }

    fn monitor_arrived(&mut self, watcher: Pid, to: Monitored, reference: Ref) -> Result<(), Breach> {
        if self.monitors.guests(&watcher.node) >= self.config.limits.monitors_per_peer_max {
            return Err(Breach::Quota("monitors"));
        }
        let (target, name) = match &to {
            Monitored::Pid(pid) if !self.table.is_ours(pid) => return Err(Breach::Forged),
            Monitored::Pid(pid) => (self.table.find(pid), None),
            Monitored::Name(name) => (self.registered.find(name), Some(name.clone())),
        };
        match target {
            Some(target) => self.monitors.invite(Guest {
                watcher,
                reference,
                name,
                target,
            }),
            None => self.down_to(watcher, to, reference, Term::atom("noproc")),
        }
        Ok(())
    }

    /// Only the node that is watched may say that what is watched has ended.
    fn down_arrived_from(&mut self, id: ConnectionId, to: &Pid, reference: &Ref, reason: Term) {
        let Some(number) = self.number(reference) else {
            return;
        };
        let Some(watch) = self.monitors.get(number) else {
            return self.rival_answered(id, number);
        };
        let (watcher, at) = (watch.watcher, watch.at.clone());
        let is_there = self.connections.up_by_id(id).is_some_and(|up| at.is_at(&up.node));
        if is_there && self.table.find(to) == Some(watcher) {
            self.post_down(number, reason);
        }
    }
}
