//! The node: inputs, the run queue, deaths and flush rounds.
//!
//! - One queue: what a process sends, and what its death means for others, is handled in the order it
//!   was caused. So signals between two processes keep their order.
//! - A process is out of its slot while it runs, and nothing else runs meanwhile.
//! - An exit signal or a DOWN acts when it is taken from the queue, and only if the link or monitor
//!   is still there. So after `unlink` or `demonitor` nothing comes any more.

use crate::{
    config::Config,
    connection::Connections,
    context::Context,
    effect::{Effect, Event},
    gen_server::{From, answer_term, answered, call_term, into_answer},
    hello::Told,
    input::{ConnectionId, Input},
    links::Links,
    members::{self, Members},
    membership::Membership,
    message::{Address, Member, MemberState, Message, Payload, Process},
    monitors::{At, Monitors, Purpose, Watch},
    net_kernel::{self, NetKernel},
    random::Random,
    registry::Registry,
    table::{Body, Local, Table},
    time::Time,
    timers::{TimerId, Timers},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::mem;
use wire::{
    dist::control::Signal,
    etf::{Atom, Pid, Ref, Term},
};

/// Sees every message just before its process does: the one place logs and traces come from.
pub trait Observer<P> {
    /// `message` is about to be handled by `to`, registered as `name`.
    fn message(&mut self, now: Time, to: &Pid, name: Option<&Atom>, message: &Message<P>);
}

/// An Erlang-style node: a state machine over [`Input`] and [`Effect`].
pub struct Node<P: Payload> {
    core: Core<P>,
}

impl<P: Payload> Node<P> {
    /// A node that has not started. All its randomness comes from `seed`, the handshake challenges
    /// too: outside of a simulation the seed must be a secret drawn from the system's entropy.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            core: Core::new(config, seed),
        }
    }

    /// Adds a process, before the first input or between two. A taken name is a bug.
    pub fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        self.core.spawn(name, process)
    }

    /// A pid for an async process of the shell: messages to it leave as `Effect::Deliver`. It traps
    /// exits. It acts through [`Node::act`], and ends with `Context::exit` there.
    pub fn adopt(&mut self) -> Pid {
        let process = self.core.table.add(Body::Adopted);
        self.core.pid(process)
    }

    /// Runs `action` in the name of an adopted process: how the shell links, monitors, registers,
    /// calls and exits. None if there is no such process.
    pub fn act<R>(
        &mut self,
        now: Time,
        process: &Pid,
        effects: &mut Vec<Effect<P>>,
        action: impl FnOnce(&mut Context<'_, P>) -> R,
    ) -> Option<R> {
        mem::swap(&mut self.core.effects, effects);
        self.core.advance(now);
        let result = self.core.act(process, action);
        self.core.run();
        mem::swap(&mut self.core.effects, effects);
        result
    }

    /// Takes one input; appends what must be done for it, in order. The shell gives the next input
    /// only after it has carried out all effects of this one.
    pub fn handle(&mut self, now: Time, input: Input<P>, effects: &mut Vec<Effect<P>>) {
        mem::swap(&mut self.core.effects, effects);
        self.core.advance(now);
        self.core.accept(input);
        self.core.run();
        mem::swap(&mut self.core.effects, effects);
    }

    /// When to give `Input::Alarm` at the latest, as `Time::monotonic_us`. It may be past already.
    pub fn deadline(&self) -> Option<u64> {
        if self.core.queue.is_empty() {
            self.core.timers.next_us()
        } else {
            Some(self.core.now.monotonic_us)
        }
    }

    /// Shows every further message to `observer`.
    pub fn observe(&mut self, observer: Box<dyn Observer<P>>) {
        self.core.observer = Some(observer);
    }
}

/// Something on its way to a local process.
enum Queued<P> {
    Start {
        to: Local,
    },
    Message {
        to: Local,
        message: Message<P>,
    },
    Exit {
        to: Local,
        from: Pid,
        reason: Term,
        link: bool,
    },
    Down {
        number: u64,
        reason: Term,
    },
}

/// What a timer of the node means.
#[derive(Debug)]
pub(crate) enum Due {
    Process {
        to: Local,
        token: u64,
    },
    Call {
        number: u64,
    },
    /// A connection must be up by now.
    Setup {
        connection: ConnectionId,
    },
    Tick,
}

/// Where an address leads.
pub(crate) enum Place {
    Here(Local),
    There(Atom),
    Nowhere,
}

/// All of a node but its running process.
pub(crate) struct Core<P: Payload> {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) random: Random,
    pub(crate) table: Table<P>,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    pub(crate) monitors: Monitors,
    pub(crate) timers: Timers<Due>,
    pub(crate) effects: Vec<Effect<P>>,
    pub(crate) connections: Connections,
    /// Signals for nodes that are being dialled.
    pub(crate) waiting: BTreeMap<Atom, Vec<Signal>>,
    pub(crate) node_watchers: Vec<Local>,
    member_watchers: Vec<Local>,
    view: Arc<[Member]>,
    /// The process of the membership, and that in whose name the node itself sends.
    membership: Local,
    net_kernel: Local,
    queue: VecDeque<Queued<P>>,
    deferred: Vec<Local>,
    last_reference: u64,
    started: bool,
    observer: Option<Box<dyn Observer<P>>>,
}

impl<P: Payload> Core<P> {
    fn new(config: Config, seed: u64) -> Self {
        assert!(
            config.tick_ms >= 8,
            "a tick time below 8 ms leaves no room for ticks"
        );
        let mut table = Table::new(config.name.clone(), config.creation);
        let me = Told {
            name: config.name.clone(),
            creation: config.creation,
            state: MemberState::Up,
            dist_port: config.dist_port,
        };
        let limits = &config.limits;
        let membership = Membership::new(me, config.birth.clone(), limits.members_max);
        let tick_us = config.tick_ms * 1000;
        let members = Members::new(membership, &config.join, limits.dials_max, tick_us);
        let net_kernel = table.add(Body::Idle(Box::new(NetKernel)));
        let membership = table.add(Body::Idle(Box::new(members)));
        let mut core = Self {
            config,
            now: Time::default(),
            random: Random::new(seed),
            table,
            registry: Registry::new(),
            links: Links::default(),
            monitors: Monitors::default(),
            timers: Timers::new(),
            effects: Vec::new(),
            connections: Connections::default(),
            waiting: BTreeMap::new(),
            node_watchers: Vec::new(),
            member_watchers: Vec::new(),
            view: Arc::from([]),
            membership,
            net_kernel,
            queue: VecDeque::new(),
            deferred: Vec::new(),
            last_reference: 0,
            started: false,
            observer: None,
        };
        for (name, process) in [(net_kernel::NAME, net_kernel), (members::NAME, membership)] {
            core.register(Atom::new(name), process);
            core.queue.push_back(Queued::Start { to: process });
        }
        core
    }

    // Inputs

    /// Time first, then the input: what was due is handled before what comes.
    fn advance(&mut self, now: Time) {
        let silent_us = now.monotonic_us.saturating_sub(self.now.monotonic_us);
        let monotonic_us = now.monotonic_us.max(self.now.monotonic_us);
        self.now = Time {
            monotonic_us,
            wall_ms: now.wall_ms,
        };
        if !self.started {
            return;
        }
        if silent_us > self.config.tick_ms * 1000 {
            self.paused(silent_us);
        }
        while let Some(due) = self.timers.pop_due(monotonic_us) {
            match due {
                Due::Process { to, token } => self.post(to, Message::Timer { token }),
                Due::Call { number } => self.call_timed_out(number),
                Due::Setup { connection } => self.setup_timed_out(connection),
                Due::Tick => self.tick(),
            }
        }
        self.run();
    }

    fn accept(&mut self, input: Input<P>) {
        match input {
            Input::Start => self.start(),
            Input::Opened { connection } => self.opened(connection),
            Input::Accepted { connection } => self.accepted(connection),
            Input::Received { connection, bytes } => self.received(connection, bytes),
            Input::Written { connection, bytes } => self.written(connection, bytes),
            Input::Closed { connection } => self.closed(connection),
            Input::Message { to, message } => self.deliver(&to, message),
            Input::Proposed { nodes } => self.tell_membership(members::propose_term(nodes)),
            Input::Alarm => {}
            Input::Flush => self.flush(),
        }
    }

    fn start(&mut self) {
        assert!(!self.started, "a node starts once");
        self.started = true;
        self.tick();
    }

    /// A message from the shell. Local delivery moves it, at once if nothing is queued before it.
    fn deliver(&mut self, to: &Address, message: Message<P>) {
        match (self.locate(to), message) {
            (Place::Here(process), message) if self.queue.is_empty() => {
                self.dispatch(process, message);
            }
            (Place::Here(process), message) => self.post(process, message),
            (Place::There(_), Message::Term { from, term }) => {
                let from = from
                    .and_then(|pid| self.table.find(&pid))
                    .unwrap_or(self.net_kernel);
                self.send(from, to, term, true);
            }
            (Place::There(_), _) => {
                let to = self.pid(self.net_kernel);
                self.event(Event::MessageDropped {
                    to,
                    reason: "only terms leave the node",
                });
            }
            (Place::Nowhere, Message::Term { from: _, term }) => {
                if let Address::Alias(alias) = to
                    && let Some(number) = self.number(alias)
                {
                    self.alias_message(number, term);
                }
            }
            (Place::Nowhere, _) => {}
        }
    }

    // The membership

    pub(crate) fn tell_membership(&mut self, term: Term) {
        let from = Some(self.pid(self.membership));
        self.post(self.membership, Message::Term { from, term });
    }

    pub(crate) fn publish_members(&mut self, view: &Arc<[Member]>) {
        self.view = view.clone();
        for watcher in self.member_watchers.clone() {
            self.post(watcher, Message::Members(view.clone()));
        }
    }

    pub(crate) fn watch_members(&mut self, watcher: Local) {
        if !self.member_watchers.contains(&watcher) {
            self.member_watchers.push(watcher);
        }
        self.post(watcher, Message::Members(self.view.clone()));
    }

    // Flush rounds

    /// Gives `Message::Flush` to those who asked for it, again while that makes others ask: what one
    /// gathers for the other in its flush leaves in the same round.
    fn flush(&mut self) {
        const ROUNDS_MAX: usize = 16;
        for _ in 0..ROUNDS_MAX {
            if self.deferred.is_empty() {
                break;
            }
            for process in mem::take(&mut self.deferred) {
                if let Some(slot) = self.table.get_mut(process) {
                    slot.deferred = false;
                    self.dispatch(process, Message::Flush);
                }
            }
            self.run();
        }
        self.send_all_gathered();
    }

    pub(crate) fn defer(&mut self, process: Local) {
        let slot = self
            .table
            .get_mut(process)
            .expect("a running process has a slot");
        if !mem::replace(&mut slot.deferred, true) {
            self.deferred.push(process);
        }
    }

    // The run queue

    /// Handles what is queued, up to the bound; the rest makes the next deadline now.
    fn run(&mut self) {
        if !self.started {
            return;
        }
        for _ in 0..self.config.limits.steps_max {
            let Some(queued) = self.queue.pop_front() else {
                return;
            };
            match queued {
                Queued::Start { to } => self.run_process(to, |process, ctx| process.start(ctx)),
                Queued::Message { to, message } => self.dispatch(to, message),
                Queued::Exit {
                    to,
                    from,
                    reason,
                    link,
                } => self.exit_arrived(to, from, reason, link),
                Queued::Down { number, reason } => self.down_arrived(number, reason),
            }
        }
    }

    /// Queues a message for a local process; hands it out if it is one of the shell's.
    pub(crate) fn post(&mut self, to: Local, message: Message<P>) {
        let Some(slot) = self.table.get(to) else {
            return;
        };
        if matches!(slot.body, Body::Adopted) {
            self.dispatch(to, message);
        } else if self.queue.len() < self.config.limits.queue_max {
            self.queue.push_back(Queued::Message { to, message });
        } else {
            let to = slot.pid.clone();
            self.event(Event::MessageDropped {
                to,
                reason: "the run queue is full",
            });
        }
    }

    pub(crate) fn post_exit(&mut self, to: Local, from: Pid, reason: Term, link: bool) {
        self.queue.push_back(Queued::Exit {
            to,
            from,
            reason,
            link,
        });
    }

    pub(crate) fn post_down(&mut self, number: u64, reason: Term) {
        self.queue.push_back(Queued::Down { number, reason });
    }

    fn dispatch(&mut self, to: Local, message: Message<P>) {
        let Some(slot) = self.table.get(to) else {
            return;
        };
        if let Some(observer) = &mut self.observer {
            observer.message(self.now, &slot.pid, slot.name.as_ref(), &message);
        }
        if matches!(slot.body, Body::Adopted) {
            self.effects.push(Effect::Deliver {
                to: slot.pid.clone(),
                message,
            });
        } else {
            self.run_process(to, |process, ctx| process.handle(ctx, message));
        }
    }

    fn run_process(
        &mut self,
        to: Local,
        body: impl FnOnce(&mut dyn Process<P>, &mut Context<'_, P>),
    ) {
        let Some(slot) = self.table.get_mut(to) else {
            return;
        };
        let mut process = match mem::replace(&mut slot.body, Body::Running) {
            Body::Idle(process) => process,
            other @ (Body::Free | Body::Running | Body::Adopted) => {
                slot.body = other;
                return;
            }
        };
        let mut ctx = Context::new(self, to);
        body(&mut *process, &mut ctx);
        match ctx.into_exit() {
            None => {
                let slot = self
                    .table
                    .get_mut(to)
                    .expect("nothing frees the slot of the running");
                slot.body = Body::Idle(process);
            }
            Some(reason) => {
                drop(process);
                self.terminate(to, &reason);
            }
        }
    }

    fn act<R>(&mut self, pid: &Pid, action: impl FnOnce(&mut Context<'_, P>) -> R) -> Option<R> {
        let process = self.table.find(pid)?;
        if !matches!(self.table.get(process)?.body, Body::Adopted) {
            return None;
        }
        let mut ctx = Context::new(self, process);
        let result = action(&mut ctx);
        if let Some(reason) = ctx.into_exit() {
            self.terminate(process, &reason);
        }
        Some(result)
    }

    // Life and death

    pub(crate) fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        let local = self.table.add(Body::Idle(process));
        if let Some(name) = name {
            assert!(
                self.register(Atom::new(name), local),
                "the name {name} is taken"
            );
        }
        self.queue.push_back(Queued::Start { to: local });
        self.pid(local)
    }

    /// False if the name is taken or the process has one.
    pub(crate) fn register(&mut self, name: Atom, process: Local) -> bool {
        let Some(slot) = self.table.get_mut(process) else {
            return false;
        };
        if slot.name.is_some() || !self.registry.add(name.clone(), process) {
            return false;
        }
        slot.name = Some(name);
        true
    }

    pub(crate) fn unregister(&mut self, name: &Atom) -> bool {
        let Some(process) = self.registry.remove(name) else {
            return false;
        };
        if let Some(slot) = self.table.get_mut(process) {
            slot.name = None;
        }
        true
    }

    /// The end of a process: its name is free, and all who must know are told, each once.
    fn terminate(&mut self, process: Local, reason: &Term) {
        let Some((pid, name)) = self.table.remove(process) else {
            return;
        };
        if let Some(name) = &name {
            self.registry.remove(name);
        }
        if !reason.is_atom("normal") && !reason.is_atom("shutdown") {
            let (pid, reason) = (pid.clone(), reason.clone());
            self.event(Event::ProcessExited { pid, name, reason });
        }
        for other in self.links.take(process) {
            self.send_exit(&other, &pid, reason, true);
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
    }

    fn exit_arrived(&mut self, to: Local, from: Pid, reason: Term, link: bool) {
        if link && !self.links.exited(to, &from) {
            return;
        }
        let Some(slot) = self.table.get(to) else {
            return;
        };
        let adopted = matches!(slot.body, Body::Adopted);
        if !link && reason.is_atom("kill") {
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
        } else if !reason.is_atom("normal") {
            self.terminate(to, &reason);
        }
    }

    /// An exit signal to any process.
    pub(crate) fn send_exit(&mut self, to: &Pid, from: &Pid, reason: &Term, link: bool) {
        match self.locate_pid(to) {
            Place::Here(process) => self.post_exit(process, from.clone(), reason.clone(), link),
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

    /// A call: monitor, and then the request under an alias.
    pub(crate) fn call(
        &mut self,
        caller: Local,
        target: &Address,
        request: Term,
        timeout_us: u64,
    ) -> Ref {
        let number = self.last_reference + 1;
        let at_us = self.now.monotonic_us.saturating_add(timeout_us);
        let timer = self.timers.set(at_us, Due::Call { number });
        let reference = self.monitor(caller, target, Purpose::Call { timer });
        let from = self.pid(caller);
        let request = call_term(from, &reference, request);
        self.send(caller, target, request, true);
        reference
    }

    /// Ends a watch of this watcher.
    pub(crate) fn demonitor(&mut self, watcher: Local, number: u64) {
        if self
            .monitors
            .get(number)
            .is_some_and(|watch| watch.watcher == watcher)
        {
            let pid = self.pid(watcher);
            self.end_watch(pid, number);
        }
    }

    /// Ends a watch that did not fire; tells the other side, if it is remote.
    fn end_watch(&mut self, watcher: Pid, number: u64) -> Option<Watch> {
        let watch = self.monitors.unwatch(number)?;
        if let Purpose::Call { timer } = watch.purpose {
            self.timers.cancel(timer);
        }
        if let At::There(node) = &watch.at {
            self.demonitor_there(watcher, &watch, node, number);
        }
        Some(watch)
    }

    fn down_arrived(&mut self, number: u64, reason: Term) {
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
        };
        self.dispatch(watch.watcher, message);
    }

    fn call_timed_out(&mut self, number: u64) {
        self.finish_call(number, Err(Term::atom("timeout")));
    }

    /// The one outcome of a call. Nothing happens if it had one.
    pub(crate) fn finish_call(&mut self, number: u64, result: Result<Term, Term>) {
        let watcher = match self.monitors.get(number) {
            Some(Watch {
                watcher,
                purpose: Purpose::Call { .. },
                ..
            }) => self.pid(*watcher),
            Some(_) | None => return,
        };
        if let Some(watch) = self.end_watch(watcher, number) {
            let call = self.reference(number);
            self.post(watch.watcher, Message::Reply { call, result });
        }
    }

    // Messages

    /// Sends a term to any address, and dials its node if it must and may. Nobody there: it is
    /// dropped.
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

    /// A message to one of our aliases: the answer to a call, `{[alias|Ref], Answer}`.
    pub(crate) fn alias_message(&mut self, number: u64, term: Term) {
        let names_it = answered(&term).and_then(|named| self.number(named)) == Some(number);
        if names_it && let Some(answer) = into_answer(term) {
            self.finish_call(number, Ok(answer));
        }
    }

    /// Answers a call: to the alias if there is one, so that a late answer finds nobody.
    pub(crate) fn reply(&mut self, me: Local, from: &From, answer: Term) {
        let to = match from.alias() {
            Some(alias) => Address::Alias(alias.clone()),
            None => Address::Pid(from.pid.clone()),
        };
        self.send(me, &to, answer_term(from, answer), false);
    }

    // Names and numbers

    pub(crate) fn pid(&self, process: Local) -> Pid {
        self.table.get(process).expect("a live process").pid.clone()
    }

    pub(crate) fn locate(&self, address: &Address) -> Place {
        match address {
            Address::Pid(pid) => self.locate_pid(pid),
            Address::Name(name) => self.registry.find(name).map_or(Place::Nowhere, Place::Here),
            Address::Remote { node, name } if *node == self.config.name => {
                self.registry.find(name).map_or(Place::Nowhere, Place::Here)
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

    /// Our reference of this number: three words, the first of at most 18 bits for older peers.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the words are slices of the number"
    )]
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

    /// The number of a reference of ours.
    pub(crate) fn number(&self, reference: &Ref) -> Option<u64> {
        let [low, middle, high, ..] = reference.words.map(u64::from);
        let number = low | middle << 18 | high << 50;
        (*reference == self.reference(number)).then_some(number)
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn set_timer(&mut self, to: Local, delay_us: u64, token: u64) -> TimerId {
        let at_us = self.now.monotonic_us.saturating_add(delay_us);
        self.timers.set(at_us, Due::Process { to, token })
    }
}
