//! The node: inputs, the run queue, the end of processes, and flush rounds.
//!
//! - Messages that a process sends, and the effects of its end on others, are handled in the order in which they were
//!   caused. So signals between two processes keep their order.
//! - There are two queues. Messages for the node's own processes are handled first. All messages for one process go
//!   through one queue, so the order between two processes is kept. A flood of messages for other processes delays the
//!   membership and `global` by one `handle` at most. The node's own processes send a limited number of messages for
//!   each message, so the other processes get their turn.
//! - A process is out of its slot while it runs. Nothing else runs meanwhile, except the start of a child that it waits
//!   for (`start`).
//! - An exit signal or a DOWN takes effect when it is taken from the queue, and only if the link or monitor still
//!   exists. So after `unlink` or `demonitor` none comes any more.

use crate::{
    builtins,
    calls::Calls,
    config::Config,
    connection::Connections,
    context::Context,
    effect::{Effect, Event},
    function::{Export, Function, Functions, Permission},
    given_names::GivenNames,
    global::{self, Agreement, Locks, Names},
    groups::Scopes,
    hello::Told,
    identity::{Affiliation, Memory},
    input::{ConnectionId, Input},
    links::Links,
    members::{self, Members},
    membership::Membership,
    message::{Address, Member, MemberState, Message, Payload, Process},
    monitors::Monitors,
    net_kernel::{self, NetKernel},
    output::{self, GroupLeader, LogSink},
    random::Random,
    registered::Registered,
    registry::Registries,
    rex::{self, Rex},
    rivals::Rivals,
    room::Room,
    signals::Place,
    start::{Catch, Guard},
    table::{Body, Local, Table},
    time::Time,
    timers::{TimerId, Timers},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    vec::Vec,
};
use core::mem;
use wire::{
    dist::control::Signal,
    etf::{Atom, Pid, Term},
};

/// Gets every message just before its process does. All logs and traces come from here.
pub trait Observer<P> {
    /// `message` is about to be handled by `to`, which is registered as `name`.
    fn message(&mut self, now: Time, to: &Pid, name: Option<&Atom>, message: &Message<P>);
}

/// An Erlang-style node: a state machine over [`Input`] and [`Effect`].
pub struct Node<P: Payload> {
    pub(crate) core: Core<P>,
}

impl<P: Payload> Node<P> {
    /// A node that has not started. All its random numbers come from `seed`, including the handshake challenges.
    /// Outside of a simulation, the seed must be a secret from the system's entropy.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            core: Core::new(config, seed),
        }
    }

    /// Gives the node what its earlier life wrote down ([`Effect::Remember`]), before the first input.
    pub fn recall(&mut self, memory: Memory) {
        self.core.recalled = memory;
    }

    /// Adds a process, before the first input or between two inputs. It is a bug if the name is taken.
    pub fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        self.core.spawn(name, process)
    }

    /// Adds a process that lives as long as the node: no exit signal ends it, not even over a link. It is a bug if the
    /// name is taken.
    pub fn add_service(&mut self, name: &str, process: Box<dyn Process<P>>) -> Pid {
        self.core.spawn_service(name, process)
    }

    /// Exports a function to peers, before `Input::Start`; [`Permission`] says to which. It replaces a function of the
    /// same name and arity.
    pub fn export(
        &mut self,
        module: &str,
        function: &str,
        arity: u8,
        permission: Permission,
        called: Rc<dyn Function<P>>,
    ) {
        let export = Export {
            permission,
            function: called,
        };
        self.core.functions.export(module, function, arity, export);
    }

    /// A pid for an async process of the shell. Messages to it are passed out as `Effect::Deliver`. It traps exits. It
    /// acts through [`Node::act`], and ends with `Context::exit` there.
    pub fn adopt(&mut self) -> Pid {
        let process = self.core.table.add(Body::Adopted);
        self.core.pid(process)
    }

    /// Like [`Node::adopt`], for a process that lives as long as the node: no exit signal ends it.
    pub fn adopt_service(&mut self) -> Pid {
        let process = self.core.table.add_service(Body::Adopted);
        self.core.pid(process)
    }

    /// Runs `action` as an adopted process: this is how the shell links, monitors, registers, calls and exits. None if
    /// there is no such process.
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

    /// Handles one input, and appends its effects in order. The shell must carry out all effects before it gives the
    /// next input.
    pub fn handle(&mut self, now: Time, input: Input<P>, effects: &mut Vec<Effect<P>>) {
        mem::swap(&mut self.core.effects, effects);
        self.core.advance(now);
        self.core.accept(input);
        self.core.run();
        mem::swap(&mut self.core.effects, effects);
    }

    /// When `Input::Alarm` must be given at the latest, as `Time::monotonic_us`. It may be in the past.
    pub fn deadline(&self) -> Option<u64> {
        if self.core.is_idle() {
            self.core.timers.next_us()
        } else {
            Some(self.core.now.monotonic_us)
        }
    }

    /// Whether a process waits for `Input::Flush`. The shell gives it after other inputs had their turn.
    pub fn wants_flush(&self) -> bool {
        !self.core.deferred.is_empty()
    }

    /// Passes every further message to `observer`.
    pub fn observe(&mut self, observer: Box<dyn Observer<P>>) {
        self.core.observer = Some(observer);
    }
}

/// A signal for a local process, in a queue.
enum Queued<P> {
    Start {
        to: Local,
    },
    Message {
        to: Local,
        message: Message<P>,
    },
    /// The outcome of a call.
    Reply {
        to: Local,
        number: u64,
        result: Result<Term, Term>,
    },
    Exit {
        to: Local,
        from: Pid,
        reason: Term,
        link: bool,
    },
    Down {
        to: Local,
        number: u64,
        reason: Term,
    },
}

/// The purpose of a timer of the node.
#[derive(Debug)]
pub(crate) enum Due {
    Process {
        to: Local,
        token: u64,
    },
    Call {
        number: u64,
    },
    /// The time for setting up a connection is over.
    Setup {
        connection: ConnectionId,
    },
    /// The time is over in which the connected node could show that it lives.
    Rival {
        number: u64,
    },
    Tick,
}

/// The whole node except its running process.
pub(crate) struct Core<P: Payload> {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) random: Random,
    pub(crate) table: Table<P>,
    pub(crate) registered: Registered,
    pub(crate) links: Links,
    pub(crate) monitors: Monitors,
    pub(crate) timers: Timers<Due>,
    pub(crate) scopes: Scopes,
    pub(crate) effects: Vec<Effect<P>>,
    pub(crate) connections: Connections,
    pub(crate) given_names: GivenNames,
    pub(crate) rivals: Rivals,
    /// Signals for nodes that are being dialled.
    pub(crate) waiting: BTreeMap<Atom, Vec<Signal>>,
    pub(crate) node_watchers: Vec<Local>,
    pub(crate) member_watchers: Vec<Local>,
    view: Arc<[Member]>,
    /// The cluster of this node; none before the first report of the membership.
    affiliation: Option<Affiliation>,
    /// From an earlier life, for the membership.
    pub(crate) recalled: Memory,
    /// The process of the membership, and the process that sends the node's own signals.
    membership: Local,
    pub(crate) net_kernel: Local,
    /// The processes of `global`; none if the node is hidden.
    global: Vec<Local>,
    pub(crate) global_names: Names,
    pub(crate) global_locks: Locks,
    pub(crate) agreement: Agreement,
    /// Signals for the node's own processes.
    urgent: VecDeque<Queued<P>>,
    /// Prints the output of processes that this node spawned at peers.
    pub(crate) group_leader: Local,
    /// The functions that peers may run here, and their calls under way.
    pub(crate) functions: Functions<P>,
    pub(crate) calls: Calls,
    queue: VecDeque<Queued<P>>,
    deferred: Vec<Local>,
    pub(crate) room: Room,
    pub(crate) last_reference: u64,
    started: bool,
    observer: Option<Box<dyn Observer<P>>>,
    pub(crate) guard: Option<Guard<P>>,
    pub(crate) catch: Option<Catch>,
    pub(crate) registries: Registries,
}

impl<P: Payload> Core<P> {
    fn new(config: Config, seed: u64) -> Self {
        assert!(config.tick_ms >= 8, "a tick time below 8 ms leaves no room for ticks");
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
        let members = Members::new(membership, &config.join, limits, tick_us);
        let net_kernel = table.add_service(Body::Idle(Box::new(NetKernel)));
        let membership = table.add_service(Body::Idle(Box::new(members)));
        let group_leader = table.add_service(Body::Idle(Box::new(GroupLeader::default())));
        let services = [
            (net_kernel::NAME, net_kernel),
            (members::NAME, membership),
            (output::USER, group_leader),
            (rex::NAME, table.add_service(Body::Idle(Box::new(Rex)))),
            (
                output::LOGGER_PROXY,
                table.add_service(Body::Idle(Box::new(LogSink::default()))),
            ),
            (
                output::AUTH,
                table.add_service(Body::Idle(Box::new(LogSink::default()))),
            ),
        ];
        let mut functions = Functions::new();
        builtins::export(&mut functions);
        let mut core = Self {
            config,
            now: Time::default(),
            random: Random::new(seed),
            table,
            registered: Registered::new(),
            links: Links::default(),
            monitors: Monitors::default(),
            timers: Timers::new(),
            scopes: Scopes::default(),
            effects: Vec::new(),
            connections: Connections::default(),
            given_names: GivenNames::default(),
            rivals: Rivals::default(),
            waiting: BTreeMap::new(),
            node_watchers: Vec::new(),
            member_watchers: Vec::new(),
            view: Arc::from([]),
            affiliation: None,
            recalled: Memory::default(),
            membership,
            net_kernel,
            group_leader,
            functions,
            calls: Calls::default(),
            global: Vec::new(),
            global_names: Names::default(),
            global_locks: Locks::default(),
            agreement: Agreement::default(),
            urgent: VecDeque::new(),
            queue: VecDeque::new(),
            deferred: Vec::new(),
            room: Room::default(),
            last_reference: 0,
            started: false,
            observer: None,
            guard: None,
            catch: None,
            registries: Registries::default(),
        };
        for (name, process) in services {
            core.register(Atom::new(name), process);
            core.post_start(process);
        }
        if !core.config.hidden {
            core.global = global::spawn(&mut core);
            for process in core.global.clone() {
                core.post_start(process);
            }
        }
        core
    }

    // Inputs

    /// Sets the time first, so that due timers are handled before the input.
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
                Due::Rival { number } => self.rival_is_silent(number),
                Due::Tick => self.tick(),
            }
        }
        self.run();
    }

    fn accept(&mut self, input: Input<P>) {
        match input {
            Input::Start => self.start(),
            Input::Opened {
                connection,
                certificate,
            } => self.opened(connection, certificate.as_ref()),
            Input::Accepted {
                connection,
                certificate,
            } => self.accepted(connection, certificate),
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

    /// A message from the shell.
    fn deliver(&mut self, to: &Address, message: Message<P>) {
        match (self.locate(to), message) {
            (Place::Here(process), message) => self.hand_in(process, message),
            (Place::There(_), Message::Term { from, term }) => {
                let from = from.and_then(|pid| self.table.find(&pid)).unwrap_or(self.net_kernel);
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

    pub(crate) fn publish_affiliation(&mut self, affiliation: &Affiliation) {
        if self.affiliation.as_ref() == Some(affiliation) {
            return;
        }
        self.affiliation = Some(affiliation.clone());
        for watcher in self.member_watchers.clone() {
            self.post(watcher, Message::Cluster(affiliation.clone()));
        }
    }

    /// The members, by name.
    pub(crate) fn members(&self) -> &[Member] {
        &self.view
    }

    /// The port on which a member listens, as it reported.
    pub(crate) fn told_port(&self, node: &Atom) -> Option<u16> {
        let at = self.view.binary_search_by(|member| member.name.cmp(node)).ok()?;
        self.view[at].dist_port
    }

    /// Whether a node is a connected member.
    pub(crate) fn is_member(&self, node: &Atom) -> bool {
        let at = self.view.binary_search_by(|member| member.name.cmp(node));
        at.is_ok_and(|at| self.view[at].is_present())
    }

    pub(crate) fn watch_members(&mut self, watcher: Local) {
        if !self.member_watchers.contains(&watcher) {
            self.member_watchers.push(watcher);
        }
        if let Some(affiliation) = self.affiliation.clone() {
            self.post(watcher, Message::Cluster(affiliation));
        }
        self.post(watcher, Message::Members(self.view.clone()));
    }

    // Flush rounds

    /// Gives `Message::Flush` to the processes that asked for it. Repeats that while it makes others ask. So messages
    /// that one process gathers for another during its flush leave in the same round.
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
        let slot = self.table.get_mut(process).expect("a running process has a slot");
        if !mem::replace(&mut slot.deferred, true) {
            self.deferred.push(process);
        }
    }

    // The run queue

    /// Handles queued signals, up to the limit. If some are left, the next deadline is now.
    fn run(&mut self) {
        if !self.started {
            return;
        }
        for _ in 0..self.config.limits.steps_max {
            let Some(queued) = self.urgent.pop_front().or_else(|| self.queue.pop_front()) else {
                return;
            };
            match queued {
                Queued::Start { to } => drop(self.run_process(to, |process, ctx| process.start(ctx))),
                Queued::Message { to, message } => {
                    self.count_queued(to, false);
                    self.dispatch(to, message);
                }
                Queued::Reply { to, number, result } => {
                    self.count_queued(to, false);
                    self.reply_arrived(number, result);
                }
                Queued::Exit { to, from, reason, link } => {
                    self.count_queued(to, false);
                    self.exit_arrived(to, from, reason, link);
                }
                Queued::Down { to, number, reason } => {
                    self.count_queued(to, false);
                    self.down_arrived(number, reason);
                }
            }
        }
    }

    /// Queues a message for a local process. If it is a process of the shell and nothing is queued before, passes it
    /// out at once.
    pub(crate) fn post(&mut self, to: Local, message: Message<P>) {
        if self.hands_out(to) {
            self.dispatch(to, message);
        } else if self.has_seat(to, &message) {
            self.queue_of(to).push_back(Queued::Message { to, message });
            self.count_queued(to, true);
        }
    }

    /// A message from outside, while no process runs. It is given at once if nothing is queued before it.
    pub(crate) fn hand_in(&mut self, to: Local, message: Message<P>) {
        if self.is_idle() {
            self.dispatch(to, message);
        } else {
            self.post(to, message);
        }
    }

    /// Like [`Core::post`], for the outcome of a call. It is dropped if the caller has demonitored the call meanwhile.
    pub(crate) fn post_reply(&mut self, to: Local, number: u64, result: Result<Term, Term>) {
        if self.hands_out(to) {
            self.reply_arrived(number, result);
        } else if self.table.get(to).is_some() {
            self.queue_of(to).push_back(Queued::Reply { to, number, result });
            self.count_queued(to, true);
        }
    }

    fn hands_out(&self, to: Local) -> bool {
        let slot = self.table.get(to);
        slot.is_some_and(|slot| slot.queued == 0 && matches!(slot.body, Body::Adopted))
    }

    /// Whether one more message to a process may be queued. Messages that a process sent may be refused. Messages that
    /// the node owes may not; their number is limited by the timers, calls, monitors and peers.
    fn has_seat(&mut self, to: Local, message: &Message<P>) -> bool {
        if self.table.get(to).is_none() {
            return false;
        }
        let was_sent = matches!(message, Message::Term { .. } | Message::Payload(_));
        if !was_sent || self.queue_of(to).len() < self.config.limits.queue_max {
            return true;
        }
        let to = self.pid(to);
        self.event(Event::MessageDropped {
            to,
            reason: "the run queue is full",
        });
        false
    }

    /// Counts queued signals for a process of the shell, so that signals passed out at once keep their order.
    fn count_queued(&mut self, to: Local, is_more: bool) {
        if let Some(slot) = self.table.get_mut(to)
            && matches!(slot.body, Body::Adopted)
        {
            slot.queued = if is_more {
                slot.queued + 1
            } else {
                slot.queued.saturating_sub(1)
            };
        }
    }

    /// Removes queued messages to a process for which `unwanted` returns true.
    pub(crate) fn drop_queued(&mut self, process: Local, unwanted: impl Fn(&Message<P>) -> bool) {
        let mut dropped = 0;
        self.queue_of(process).retain(|queued| {
            let is_unwanted = matches!(queued, Queued::Message { to, message } if *to == process && unwanted(message));
            dropped += usize::from(is_unwanted);
            !is_unwanted
        });
        for _ in 0..dropped {
            self.count_queued(process, false);
        }
    }

    pub(crate) fn post_start(&mut self, to: Local) {
        self.queue_of(to).push_back(Queued::Start { to });
    }

    pub(crate) fn post_exit(&mut self, to: Local, from: Pid, reason: Term, link: bool) {
        self.queue_of(to).push_back(Queued::Exit { to, from, reason, link });
        self.count_queued(to, true);
    }

    pub(crate) fn post_down(&mut self, number: u64, reason: Term) {
        let watcher = self.monitors.get(number).map(|watch| watch.watcher);
        if let Some(to) = watcher {
            self.queue_of(to).push_back(Queued::Down { to, number, reason });
            self.count_queued(to, true);
        }
    }

    fn is_idle(&self) -> bool {
        self.urgent.is_empty() && self.queue.is_empty()
    }

    fn queue_of(&mut self, process: Local) -> &mut VecDeque<Queued<P>> {
        if self.is_urgent(process) {
            &mut self.urgent
        } else {
            &mut self.queue
        }
    }

    /// Whether the process lives as long as the node: not even `kill` ends it.
    pub(crate) fn is_service(&self, process: Local) -> bool {
        self.table.get(process).is_some_and(|slot| slot.service)
    }

    /// Whether a process is handled first: the whole cluster waits for it.
    fn is_urgent(&self, process: Local) -> bool {
        process == self.net_kernel || process == self.membership || self.global.contains(&process)
    }

    pub(crate) fn dispatch(&mut self, to: Local, message: Message<P>) {
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
            let _ = self.run_process(to, |process, ctx| process.handle(ctx, message));
        }
    }

    /// Runs a process. Returns the exit reason if it ended.
    pub(crate) fn run_process(
        &mut self,
        to: Local,
        body: impl FnOnce(&mut dyn Process<P>, &mut Context<'_, P>),
    ) -> Option<Term> {
        let slot = self.table.get_mut(to)?;
        let mut process = match mem::replace(&mut slot.body, Body::Running) {
            Body::Idle(process) => process,
            other @ (Body::Free | Body::Running | Body::Adopted) => {
                slot.body = other;
                return None;
            }
        };
        let mut ctx = Context::new(self, to);
        body(&mut *process, &mut ctx);
        match ctx.into_exit() {
            None => {
                let slot = self.table.get_mut(to).expect("nothing frees the slot of the running");
                slot.body = Body::Idle(process);
                None
            }
            Some(reason) => {
                drop(process);
                self.terminate(to, &reason);
                Some(reason)
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

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push(Effect::Event(event));
    }

    pub(crate) fn set_timer(&mut self, to: Local, delay_us: u64, token: u64) -> TimerId {
        let table = &self.table;
        self.timers.sweep(|due| match due {
            Due::Process { to, .. } => table.get(*to).is_some(),
            Due::Call { .. } | Due::Setup { .. } | Due::Rival { .. } | Due::Tick => true,
        });
        let at_us = self.now.monotonic_us.saturating_add(delay_us);
        self.timers.set(at_us, Due::Process { to, token })
    }
}
