//! Signals between processes of this node, and the local half of signals to and from peers: spawn, exit, link, monitor,
//! call, send. `route` is the other half.
//!
//! - The effects of a process's end are queued, so that they come after everything the process had sent.
//! - A monitor fires at most once. A call has exactly one outcome.

use crate::{
    effect::Event,
    gen_server::{From, answer_term, answered, call_term, into_answer},
    message::{Address, Message, Payload, Process},
    monitors::{At, Purpose, Watch},
    peers::NOBODY,
    remote,
    scheduler::{Core, Due},
    supervisor::is_orderly,
    table::{Body, Local},
};
use alloc::boxed::Box;
use wire::etf::{Atom, Pid, Ref, Term};

/// Where an address leads.
pub(crate) enum Place {
    Here(Local),
    There(Atom),
    Nowhere,
}

impl<P: Payload> Core<P> {
    // Life and death

    pub(crate) fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        let name = self.free_name(name);
        let process = self.guarded(process);
        let local = self.table.add(Body::Idle(process));
        self.begin(name, local)
    }

    pub(crate) fn spawn_service(&mut self, name: &str, process: Box<dyn Process<P>>) -> Pid {
        let name = self.free_name(Some(name));
        let local = self.table.add_service(Body::Idle(process));
        self.begin(name, local)
    }

    /// Checks that the name is free, before a slot is taken: a refusal could not release it.
    fn free_name(&self, name: Option<&str>) -> Option<Atom> {
        name.map(|name| {
            let is_free = name != NOBODY && self.registered.find_text(name).is_none();
            assert!(is_free, "the name {name} is taken");
            Atom::new(name)
        })
    }

    fn begin(&mut self, name: Option<Atom>, process: Local) -> Pid {
        if let Some(name) = name {
            self.register(name, process);
        }
        self.post_start(process);
        self.pid(process)
    }

    /// Returns false if the name is taken, if the process has a name, or if it is the reserved name [`NOBODY`].
    pub(crate) fn register(&mut self, name: Atom, process: Local) -> bool {
        if name == NOBODY {
            return false;
        }
        let Some(slot) = self.table.get_mut(process) else {
            return false;
        };
        if slot.name.is_some() || !self.registered.add(name.clone(), process) {
            return false;
        }
        slot.name = Some(name);
        true
    }

    pub(crate) fn unregister(&mut self, name: &Atom) -> bool {
        let Some(process) = self.registered.remove(name) else {
            return false;
        };
        if let Some(slot) = self.table.get_mut(process) {
            slot.name = None;
        }
        true
    }

    /// Ends a process: frees its name, and notifies every process that must know, each once.
    pub(crate) fn terminate(&mut self, process: Local, reason: &Term) {
        let Some((pid, name)) = self.table.remove(process) else {
            return;
        };
        if let Some(name) = &name {
            self.registered.remove(name);
        }
        let is_call = self.call_ended(process, reason);
        if !is_call && !is_orderly(reason) {
            let (pid, reason) = (pid.clone(), reason.clone());
            self.event(Event::ProcessExited { pid, name, reason });
        }
        self.leave_all_groups(process, &pid);
        for other in self.links.take(process) {
            self.send_exit(&other, pid.clone(), reason.clone(), true);
        }
        for number in self.monitors.of_target(process) {
            self.post_down(number, reason.clone());
        }
        for guest in self.monitors.take_guests(process) {
            self.down_there(&pid, guest, reason);
        }
        for number in self.monitors.of_watcher(process) {
            self.end_watch(pid.clone(), number);
        }
        self.node_watchers.retain(|watcher| *watcher != process);
        self.member_watchers.retain(|watcher| *watcher != process);
        self.registries.ended(process);
    }

    pub(crate) fn exit_arrived(&mut self, to: Local, from: Pid, reason: Term, link: bool) {
        if link && !self.links.exited(to, &from) {
            return;
        }
        let Some(slot) = self.table.get(to) else {
            return;
        };
        let adopted = matches!(slot.body, Body::Adopted);
        // `exit(self(), normal)` is the one `normal` that ends a process.
        let is_own = !link && from == slot.pid;
        if !link && reason.is_atom("kill") && !slot.service {
            let reason = Term::atom("killed");
            if adopted {
                self.dispatch(
                    to,
                    Message::Exit {
                        from,
                        reason: reason.clone(),
                    },
                );
            }
            self.terminate(to, &reason);
        } else if slot.trap_exit {
            self.dispatch(to, Message::Exit { from, reason });
        } else if (!reason.is_atom("normal") || is_own) && !slot.service {
            if adopted {
                let reason = reason.clone();
                self.dispatch(to, Message::Exit { from, reason });
            }
            self.terminate(to, &reason);
        }
    }

    /// An exit signal to any process.
    pub(crate) fn send_exit(&mut self, to: &Pid, from: Pid, reason: Term, link: bool) {
        match self.locate_pid(to) {
            Place::Here(process) => self.post_exit(process, from, reason, link),
            Place::There(_) => self.exit_there(to, from, reason, link),
            Place::Nowhere => {}
        }
    }

    // Links

    pub(crate) fn link(&mut self, me: Local, other: &Pid) {
        match self.locate_pid(other) {
            Place::Here(process) if process == me => {}
            Place::Here(process) => {
                let pid = self.pid(me);
                self.links.link(me, other);
                self.links.link(process, &pid);
            }
            Place::There(_) => {
                if self.links.link(me, other) {
                    self.link_there(me, other);
                }
            }
            Place::Nowhere => {
                self.links.link(me, other);
                self.post_exit(me, other.clone(), Term::atom("noproc"), true);
            }
        }
    }

    pub(crate) fn unlink(&mut self, me: Local, other: &Pid) {
        match self.locate_pid(other) {
            Place::Here(process) => {
                let pid = self.pid(me);
                self.links.remove(me, other);
                self.links.remove(process, &pid);
            }
            Place::There(_) => {
                if let Some(id) = self.links.unlink(me, other) {
                    self.unlink_there(me, other, id);
                }
            }
            Place::Nowhere => self.links.remove(me, other),
        }
    }

    // Monitors and calls

    pub(crate) fn monitor(&mut self, watcher: Local, target: &Address, purpose: Purpose) -> Ref {
        self.last_reference += 1;
        let number = self.last_reference;
        let place = self.locate(target);
        let at = match &place {
            Place::Here(process) => At::Here(*process),
            Place::There(node) => At::There(node.clone()),
            Place::Nowhere => At::Nowhere,
        };
        self.monitors.watch(
            number,
            Watch {
                watcher,
                target: target.clone(),
                at,
                purpose,
            },
        );
        match place {
            Place::Here(_) => {}
            Place::There(node) => self.monitor_there(watcher, &node, target, number),
            Place::Nowhere => self.post_down(number, Term::atom("noproc")),
        }
        self.reference(number)
    }

    /// A call: a monitor, and then the request with the monitor as its alias.
    pub(crate) fn call(&mut self, caller: Local, target: &Address, request: Term, timeout_us: u64) -> Ref {
        let from = self.pid(caller);
        self.call_as(from, caller, target, request, timeout_us)
    }

    /// A call whose request comes from `from`, while the answer goes to `caller`.
    pub(crate) fn call_as(
        &mut self,
        from: Pid,
        caller: Local,
        target: &Address,
        request: Term,
        timeout_us: u64,
    ) -> Ref {
        let number = self.last_reference + 1;
        let at_us = self.now.monotonic_us.saturating_add(timeout_us);
        let timer = self.timers.set(at_us, Due::Call { number });
        let reference = self.monitor(caller, target, Purpose::Call { timer });
        let request = call_term(from, &reference, request);
        self.send(caller, target, request, true);
        reference
    }

    /// Ends a watch, if it belongs to this watcher.
    pub(crate) fn demonitor(&mut self, watcher: Local, number: u64) {
        if self.monitors.get(number).is_some_and(|watch| watch.watcher == watcher) {
            let pid = self.pid(watcher);
            self.end_watch(pid, number);
        }
    }

    /// Ends a watch that did not fire. If the target is remote, its node is notified.
    fn end_watch(&mut self, watcher: Pid, number: u64) -> Option<Watch> {
        let watch = self.monitors.unwatch(number)?;
        if let Purpose::Call { timer } | Purpose::Erpc { timer } = watch.purpose {
            self.timers.cancel(timer);
        }
        match &watch.at {
            At::There(node) => self.demonitor_there(watcher, &watch, node, number),
            At::Here(process) => self.forget_request(*process, &self.reference(number)),
            At::Nowhere => {}
        }
        Some(watch)
    }

    pub(crate) fn down_arrived(&mut self, number: u64, reason: Term) {
        let Some(watch) = self.monitors.unwatch(number) else {
            return;
        };
        let reference = self.reference(number);
        let message = match watch.purpose {
            Purpose::Monitor => Message::Down {
                monitor: reference,
                target: watch.target,
                reason,
            },
            Purpose::Call { timer } => {
                self.timers.cancel(timer);
                Message::Reply {
                    call: reference,
                    result: Err(reason),
                }
            }
            Purpose::Erpc { timer } => {
                self.timers.cancel(timer);
                let result = remote::outcome(&reference, reason);
                Message::Reply {
                    call: reference,
                    result,
                }
            }
            Purpose::Spawn { .. } => Message::Reply {
                call: reference,
                result: Err(reason),
            },
        };
        self.dispatch(watch.watcher, message);
    }

    pub(crate) fn call_timed_out(&mut self, number: u64) {
        self.finish_call(number, Err(Term::atom("timeout")));
    }

    /// Delivers the outcome of a call. Does nothing if the call had its outcome already.
    pub(crate) fn finish_call(&mut self, number: u64, result: Result<Term, Term>) {
        if let Some(Watch {
            watcher,
            purpose: Purpose::Call { .. } | Purpose::Erpc { .. },
            ..
        }) = self.monitors.get(number)
        {
            self.post_reply(*watcher, number, result);
        }
    }

    pub(crate) fn reply_arrived(&mut self, number: u64, result: Result<Term, Term>) {
        let Some(watcher) = self.monitors.get(number).map(|watch| watch.watcher) else {
            return;
        };
        if self.end_watch(self.pid(watcher), number).is_some() {
            let call = self.reference(number);
            self.dispatch(watcher, Message::Reply { call, result });
        }
    }

    // Messages

    /// Sends a term to any address. Dials its node if needed and allowed. If no process is there, the term is dropped.
    pub(crate) fn send(&mut self, from: Local, to: &Address, term: Term, dial: bool) {
        if let Address::Alias(alias) = to
            && let Some(number) = self.number(alias)
        {
            return self.alias_message(number, term);
        }
        match self.locate(to) {
            Place::Here(process) => {
                let from = Some(self.pid(from));
                self.post(process, Message::Term { from, term });
            }
            Place::There(node) => self.send_there(from, &node, to, term, dial),
            Place::Nowhere => {}
        }
    }

    /// A message to an alias of this node: the answer to a call, `{[alias|Ref], Answer}`.
    pub(crate) fn alias_message(&mut self, number: u64, term: Term) {
        let names_it = answered(&term).and_then(|named| self.number(named)) == Some(number);
        let is_call = |watch: &Watch| matches!(watch.purpose, Purpose::Call { .. });
        if names_it
            && self.monitors.get(number).is_some_and(is_call)
            && let Some(answer) = into_answer(term)
        {
            self.finish_call(number, Ok(answer));
        }
    }

    /// Answers a call. If there is an alias, the answer goes to it, so that a late answer is dropped.
    ///
    /// The caller may invent any pid and tag. So an answer to a pid of this node has no sender: otherwise a peer could
    /// make one of our processes send messages that only this node may send.
    pub(crate) fn reply(&mut self, me: Local, from: &From, answer: Term) {
        let term = answer_term(from, answer);
        match (from.alias(), self.table.find(&from.pid)) {
            (Some(alias), _) => self.send(me, &Address::Alias(alias.clone()), term, false),
            (None, Some(local)) => self.post(local, Message::Term { from: None, term }),
            (None, None) => self.send(me, &Address::Pid(from.pid.clone()), term, false),
        }
    }

    // Names and numbers

    pub(crate) fn pid(&self, process: Local) -> Pid {
        self.table.get(process).expect("a live process").pid.clone()
    }

    pub(crate) fn locate(&self, address: &Address) -> Place {
        match address {
            Address::Pid(pid) => self.locate_pid(pid),
            Address::Name(name) => self.registered.find(name).map_or(Place::Nowhere, Place::Here),
            Address::Remote { node, name } if *node == self.config.name => {
                self.registered.find(name).map_or(Place::Nowhere, Place::Here)
            }
            Address::Remote { node, .. } => Place::There(node.clone()),
            Address::Alias(alias) if alias.node == self.config.name => Place::Nowhere,
            Address::Alias(alias) => Place::There(alias.node.clone()),
        }
    }

    pub(crate) fn locate_pid(&self, pid: &Pid) -> Place {
        if self.table.is_ours(pid) {
            self.table.find(pid).map_or(Place::Nowhere, Place::Here)
        } else {
            Place::There(pid.node.clone())
        }
    }

    /// Our reference with this number: three words. The first has at most 18 bits, as older peers require.
    #[expect(clippy::cast_possible_truncation, reason = "the words are slices of the number")]
    pub(crate) fn reference(&self, number: u64) -> Ref {
        Ref {
            node: self.config.name.clone(),
            creation: self.config.creation,
            len: 3,
            words: [
                (number & 0x3_ffff) as u32,
                (number >> 18) as u32,
                (number >> 50) as u32,
                0,
                0,
            ],
        }
    }

    /// The number of one of our references.
    pub(crate) fn number(&self, reference: &Ref) -> Option<u64> {
        let [low, middle, high, ..] = reference.words.map(u64::from);
        let number = low | middle << 18 | high << 50;
        (*reference == self.reference(number)).then_some(number)
    }
}
