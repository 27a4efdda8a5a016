//! The core: one node on one thread. It gives the node inputs, and carries out the effects in order.
//!
//! ```text
//!   RESP connection ─ execute ─▶ ┌──────┐ ── Send ──▶ peers
//!   handles ────────── orders ─▶ │ Core │ ── Deliver ─▶ the batch's owner
//!   peers, alarm ───── input ──▶ └──────┘ ── Event ──▶ subscribers
//! ```
//!
//! - Everything here runs on one thread, in tasks that borrow the core for one input and never across an `await`.
//! - A batch that the node answers at once never leaves its task. One that takes longer finds its owner among the
//!   [`Waiter`]s, by the number of its session.
//! - The flush task sends what was gathered for peers. The first input rings it. It runs after the tasks that are ready
//!   at that moment, so one round of the event loop gives one frame per peer. Without peers nothing is gathered, and a
//!   flush with each alarm is enough.
//! - A panic leaves the node in an unknown state, so the next input ends it ([`Core::input`]).

mod told;

use std::{
    cell::{RefCell, RefMut},
    collections::{HashMap, VecDeque},
    mem,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use node::{Address, Atom, ConnectionId, Context, Effect, Event, Input, Memory, Message, Node, Pid, Term};
use store::{
    ask::{Ask, Buffers, Measured, Payload, Session, Status},
    facade::{self, Face},
    store::Store,
    tally::Tally,
};
use tokio::{
    sync::{Notify, broadcast, mpsc, oneshot},
    time::{Instant, interval, sleep_until, timeout},
};
use wire::request::Batch;

use crate::{
    bell::Bell,
    budget::Budget,
    busy_wait::BusyWait,
    clock::Clock,
    departure::{Departure, Stage},
    dist::{Connections, Router},
    functions::{self, Needs},
    handle::{Answer, Order, Wish},
    inboxes::{Awaited, LastWord, Tasks, Then},
    locks::{Locks, Step},
    mailbox::Mailbox,
    measure::Meter,
    misfit, process,
    state::StateFile,
};

/// Empty batches kept for reuse. Further ones are freed.
const BATCHES_MAX: usize = 64;
/// Capacity of the shared output buffer that is kept, in bytes.
const OUTPUT_KEPT_BYTES_MAX: usize = 1 << 20;
/// Orders carried out in one go, before other tasks run.
const ORDERS_AT_ONCE: usize = 256;
/// The first number for sessions of handles, so that the numbers of clients have no gaps.
const HANDLE_SESSIONS: u64 = 1 << 62;
/// How long the last messages to peers may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// A reference to the core, within its thread.
#[derive(Clone)]
pub(crate) struct Shell(Rc<RefCell<Core>>);

impl Shell {
    /// Borrows the core. It must not be held across an `await`.
    pub(crate) fn core(&self) -> RefMut<'_, Core> {
        self.0.borrow_mut()
    }
}

/// A reference that does not keep the core alive.
#[derive(Clone)]
pub(crate) struct WeakShell(Weak<RefCell<Core>>);

impl WeakShell {
    pub(crate) fn upgrade(&self) -> Option<Shell> {
        self.0.upgrade().map(Shell)
    }
}

/// The owner of a batch that waits for an answer.
enum Waiter {
    /// A connection of this thread.
    Connection(Rc<Mailbox>),
    /// A [`crate::Handle`].
    Handle(oneshot::Sender<Batch>),
}

/// A node, and what its shell keeps for it.
pub(crate) struct Core {
    me: Weak<RefCell<Core>>,
    node: Node<Payload>,
    clock: Clock,
    /// The store's process.
    store: Address,
    /// The process in whose name this shell sends requests.
    door: Pid,
    /// Async processes.
    tasks: Tasks,
    /// Async processes that must end once the current effects are carried out.
    ending: Vec<(Pid, &'static str)>,
    /// Requests about their locks that must then be sent to `global`.
    locking: Vec<(Pid, Step)>,
    inputs: VecDeque<Input<Payload>>,
    effects: Vec<Effect<Payload>>,
    /// An input is being handled. If it is still set at the next input, there was a panic.
    busy: bool,

    waiters: HashMap<u64, Waiter>,
    status_waiters: Vec<oneshot::Sender<Arc<Status>>>,
    /// Senders that wait for room on the way to a node. In the node, the door process waits for all of them.
    room_waiters: Vec<(Atom, oneshot::Sender<()>)>,
    /// There is room again on the way to one of these nodes.
    has_room: bool,
    next_client: u64,
    next_handle: u64,
    /// The batch that was answered while it was handed in.
    answered: Option<Box<Ask>>,
    /// The session that is handing in a batch.
    asking: u64,

    pub(crate) connections: Connections,
    router: Rc<Router>,
    events: broadcast::Sender<Event>,
    state: StateFile,
    departure: Departure,
    name: Atom,
    flush: Rc<Bell>,
    alarm: Rc<Bell>,
    /// The time that the alarm is set for, in monotonic microseconds.
    alarm_us: u64,
    end: Rc<Bell>,
    busy_wait: Rc<BusyWait>,

    batches: Vec<Batch>,
    /// The buffer in which replies are encoded.
    pub(crate) output: Vec<u8>,
    /// The limit of the bytes that this node holds for clients.
    pub(crate) budget: Arc<Budget>,
    /// Counts that the store is given with the next batch.
    pub(crate) tally: Tally,
    /// By number of a Redis client: the bell that closes its connection.
    kills: HashMap<u64, Rc<Bell>>,
}

/// The parts of a core.
pub(crate) struct Parts {
    pub(crate) node: node::Config,
    /// What an earlier life of the node remembered.
    pub(crate) memory: Memory,
    pub(crate) store: store::config::Config,
    pub(crate) facades: Vec<Face>,
    pub(crate) seeds: [u64; 2],
    pub(crate) router: Router,
    /// How long a stopping node may take to hand over its data.
    pub(crate) leave_timeout: Duration,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) wishes: mpsc::Receiver<Wish>,
    pub(crate) stop: Arc<Notify>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) tasks: Tasks,
    pub(crate) meter: Meter,
    pub(crate) state: StateFile,
    pub(crate) departure: Departure,
    pub(crate) budget: Arc<Budget>,
}

impl Core {
    fn start(parts: &mut Parts) -> Shell {
        let [node_seed, store_seed] = parts.seeds;
        let mut node = Node::new(parts.node.clone(), node_seed);
        node.recall(mem::take(&mut parts.memory));
        let store = Store::new(parts.store.clone(), store_seed);
        let store = Address::Pid(node.add_service(store::store::NAME, Box::new(store)));
        node.start_scope(node::groups::DEFAULT_SCOPE);
        for face in &parts.facades {
            facade::install(&mut node, face, parts.store.request_timeout_ms);
        }
        let door = node.adopt_service();
        // The store and the facades are not guarded: their panic ends the node.
        node.guard(process::guard);
        node.catch(process::catch);
        let router = Rc::new(mem::take(&mut parts.router));
        Shell(Rc::new_cyclic(|me| {
            let needs = Needs {
                shell: WeakShell(me.clone()),
                epmd: router.epmd,
                request_timeout_ms: parts.store.request_timeout_ms,
                leave_timeout: parts.leave_timeout,
            };
            functions::export(&mut node, &needs);
            RefCell::new(Self {
                me: me.clone(),
                node,
                clock: Clock::new(),
                store,
                door,
                tasks: parts.tasks.clone(),
                ending: Vec::new(),
                locking: Vec::new(),
                inputs: VecDeque::new(),
                effects: Vec::new(),
                busy: false,
                waiters: HashMap::new(),
                status_waiters: Vec::new(),
                room_waiters: Vec::new(),
                has_room: false,
                next_client: 1,
                next_handle: HANDLE_SESSIONS,
                answered: None,
                asking: 0,
                connections: Connections::default(),
                router,
                events: parts.events.clone(),
                state: parts.state.clone(),
                departure: parts.departure.clone(),
                name: parts.node.name.clone(),
                flush: Rc::default(),
                alarm: Rc::default(),
                alarm_us: u64::MAX,
                end: Rc::default(),
                busy_wait: Rc::default(),
                batches: Vec::new(),
                output: Vec::new(),
                budget: parts.budget.clone(),
                tally: Tally::default(),
                kills: HashMap::new(),
            })
        }))
    }

    // The node

    /// Gives the node one input and carries out its effects.
    pub(crate) fn input(&mut self, input: Input<Payload>) {
        if mem::replace(&mut self.busy, true) {
            // A panic went through the node: its state cannot be trusted.
            self.end.ring();
            return;
        }
        let is_round = !matches!(input, Input::Flush);
        let mut next = Some(input);
        while let Some(input) = next {
            let now = self.clock.now();
            self.node.handle(now, input, &mut self.effects);
            self.carry_out();
            next = self.next_input();
        }
        self.look_ahead(is_round);
        self.busy = false;
    }

    /// Gives the node bytes from a peer.
    pub(crate) fn received(&mut self, connection: ConnectionId, bytes: Bytes) {
        self.input(Input::Received { connection, bytes });
        self.busy_wait.note();
    }

    /// An input that must be handled before the next one from outside.
    fn next_input(&mut self) -> Option<Input<Payload>> {
        while let Some((process, reason)) = self.ending.pop() {
            self.act_now(&process, |ctx| ctx.exit(Term::atom(reason)));
            self.tasks.drop(&process);
        }
        while let Some((process, step)) = self.locking.pop() {
            let tasks = self.tasks.clone();
            self.act_now(&process, |ctx| ask_global(ctx, &tasks, step));
        }
        if mem::take(&mut self.has_room) {
            self.tell_of_room();
        }
        self.inputs.pop_front()
    }

    /// Sets the alarm and asks for a flush.
    fn look_ahead(&mut self, is_round: bool) {
        if let Some(deadline_us) = self.node.deadline()
            && deadline_us < self.alarm_us
        {
            self.alarm_us = deadline_us;
            self.alarm.ring();
        }
        if (is_round || self.node.wants_flush()) && !self.connections.is_empty() {
            self.flush.ring();
        }
    }

    fn carry_out(&mut self) {
        let mut effects = mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver { to, message } if to == self.door => self.deliver(message),
                Effect::Deliver { to, message } => self.hand_out(&to, message),
                Effect::Send { connection, bytes } => self.send(connection, bytes),
                Effect::Dial { connection, node, port } => self.dial(connection, node, port),
                Effect::Close { connection } => self.close(connection),
                // Without a state file this channel has no receiver.
                Effect::Remember(memory) => drop(self.state.remember.send_replace(memory)),
                Effect::Event(event) => self.event(event),
            }
        }
        self.effects = effects;
    }

    fn deliver(&mut self, message: Message<Payload>) {
        match message {
            Message::Payload(Payload::Ask(ask)) if ask.session.id == self.asking => self.answered = Some(ask),
            Message::Payload(Payload::Ask(mut ask)) => {
                self.note_answer(&mut ask);
                match self.waiters.remove(&ask.session.id) {
                    Some(Waiter::Connection(mailbox)) => mailbox.put(ask),
                    // The handle may have given up.
                    Some(Waiter::Handle(answer)) => drop(answer.send(ask.batch)),
                    None => {}
                }
            }
            Message::Payload(Payload::Kill { ids }) => self.kill(&ids),
            Message::Payload(Payload::Status(status)) => {
                for waiter in self.status_waiters.drain(..) {
                    let _ = waiter.send(status.clone());
                }
            }
            Message::Flush => self.has_room = true,
            // The door process sends nothing else.
            _ => {}
        }
    }

    // Async processes

    /// A new async process. As every process, it does not trap exits at first.
    pub(crate) fn adopt(&mut self) -> Pid {
        let process = self.node.adopt();
        self.act(&process, |ctx| ctx.trap_exit(false));
        process
    }

    /// Runs `action` in the name of an async process. `None` if the process has ended.
    pub(crate) fn act<R>(&mut self, process: &Pid, action: impl FnOnce(&mut Context<'_, Payload>) -> R) -> Option<R> {
        if mem::replace(&mut self.busy, true) {
            self.end.ring();
            return None;
        }
        let result = self.act_now(process, action);
        let next = self.next_input();
        self.look_ahead(true);
        self.busy = false;
        if let Some(next) = next {
            self.input(next);
        }
        result
    }

    /// Runs `action` in the name of this shell.
    pub(crate) fn act_as_door<R>(&mut self, action: impl FnOnce(&mut Context<'_, Payload>) -> R) -> Option<R> {
        let door = self.door.clone();
        self.act(&door, action)
    }

    fn act_now<R>(&mut self, process: &Pid, action: impl FnOnce(&mut Context<'_, Payload>) -> R) -> Option<R> {
        let now = self.clock.now();
        let result = self.node.act(now, process, &mut self.effects, action);
        self.carry_out();
        if !self.node.is_alive(process) {
            // The action ended the process. No effect reports that, so its task ends here.
            self.tasks.drop(process);
        }
        result
    }

    /// Ends an async process, unless it has ended.
    pub(crate) fn end(&mut self, process: &Pid, reason: Term) {
        self.tasks.drop(process);
        self.act(process, |ctx| ctx.exit(reason));
    }

    fn hand_out(&mut self, to: &Pid, message: Message<Payload>) {
        if !self.node.is_alive(to) {
            // A signal has ended it.
            self.tasks.drop(to);
        } else {
            match self.tasks.give(to, message) {
                Then::Nothing => {}
                Then::End(reason) => self.ending.push((to.clone(), reason)),
                Then::Ask(step) => self.locking.push((to.clone(), step)),
            }
        }
    }

    fn send(&mut self, connection: ConnectionId, bytes: Bytes) {
        if let Some(written) = self.connections.send(connection, bytes) {
            self.inputs.push_back(Input::Written {
                connection,
                bytes: written,
            });
        }
    }

    fn dial(&mut self, connection: ConnectionId, node: Atom, port: Option<u16>) {
        let Some(core) = self.me.upgrade() else { return };
        self.connections
            .dial(Shell(core), connection, node, port, self.router.clone());
    }

    fn close(&mut self, connection: ConnectionId) {
        let Some(core) = self.me.upgrade() else { return };
        self.connections.close(Shell(core), connection);
    }

    fn event(&mut self, event: Event) {
        if let Event::HandshakeFailed { connection, .. } = &event {
            self.connections.failed(*connection);
        }
        if let Event::Note { kind, text } = &event
            && self.departure.note(kind, text)
        {
            self.end.ring();
        }
        if let Some(fault) = misfit::fatal(&event, &self.name, self.state.path.as_deref()) {
            self.departure.fail(fault);
            self.end.ring();
        }
        // There may be no subscriber.
        let _ = self.events.send(event);
    }

    fn tell_store(&mut self, payload: Payload) {
        let to = self.store.clone();
        self.input(Input::Message {
            to,
            message: Message::Payload(payload),
        });
    }

    // Batches

    /// Hands in a batch. Returns it if it is already answered. Otherwise its answer goes to the mailbox of
    /// [`Core::expect`].
    pub(crate) fn execute(&mut self, mut ask: Box<Ask>) -> Option<Box<Ask>> {
        mem::swap(&mut ask.tally, &mut self.tally);
        self.asking = ask.session.id;
        self.tell_store(Payload::Ask(ask));
        self.asking = 0;
        let mut answered = self.answered.take();
        if let Some(ask) = &mut answered {
            self.note_answer(ask);
        }
        answered
    }

    /// The batch of client `id` that is under way goes to `mailbox`.
    pub(crate) fn expect(&mut self, id: u64, mailbox: Rc<Mailbox>) {
        self.waiters.insert(id, Waiter::Connection(mailbox));
    }

    /// Gives buffers to a batch that has none.
    #[inline]
    pub(crate) fn take_batch(&mut self, batch: &mut Batch) {
        if let Some(roomy) = self.batches.pop() {
            *batch = roomy;
        }
    }

    /// Takes the buffers of a batch that is done.
    #[inline]
    pub(crate) fn give_batch(&mut self, batch: &mut Batch) {
        let mut batch = mem::take(batch);
        if self.batches.len() < BATCHES_MAX {
            batch.clear();
            self.batches.push(batch);
        }
    }

    /// Takes the buffers of a batch without bytes, so an idle client costs no memory.
    #[inline]
    pub(crate) fn give_unused(&mut self, batch: &mut Batch) {
        if batch.buffer.is_empty() {
            self.give_batch(batch);
        }
    }

    #[inline]
    pub(crate) fn clear_output(&mut self) {
        self.output.clear();
        if self.output.capacity() > OUTPUT_KEPT_BYTES_MAX {
            self.output.shrink_to(OUTPUT_KEPT_BYTES_MAX);
        }
    }

    // Clients

    /// The envelope of a new client's batches. From now on the store lists the client.
    pub(crate) fn connected(&mut self, authenticated: bool, address: String, local_address: String) -> Box<Ask> {
        let mut session = Session::new(self.next_client, authenticated);
        self.next_client += 1;
        session.shown.address = address;
        session.shown.local_address = local_address;
        session.piecemeal = true;
        session.shown.since_ms = self.clock.now().monotonic_us / 1000;
        self.tell_store(Payload::Connected(Box::new(session.clone())));
        Box::new(Ask::new(self.door.clone(), session, Batch::new()))
    }

    pub(crate) fn disconnected(&mut self, id: u64) {
        self.waiters.remove(&id);
        self.kills.remove(&id);
        self.tell_store(Payload::Disconnected { id });
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Ask {
                keyspace,
                level,
                batch,
                answer,
            } => {
                let mut session = Session::new(self.next_handle, true);
                self.next_handle += 1;
                (session.keyspace, session.level) = (keyspace, level);
                let id = session.id;
                match self.execute(Box::new(Ask::new(self.door.clone(), session, batch))) {
                    Some(ask) => drop(answer.send(ask.batch)),
                    None => drop(self.waiters.insert(id, Waiter::Handle(answer))),
                }
            }
            Order::Status { answer } => {
                self.status_waiters.push(answer);
                self.tell_tally();
                let to = self.door.clone();
                self.tell_store(Payload::StatusOf { to });
            }
            Order::Send { from, to, term, room } => self.send_for(from, &to, term, room),
            Order::Reply { process, from, answer } => {
                // If the caller has ended, the answer is dropped.
                let _ = self.act(&process, |ctx| ctx.reply(&from, answer));
            }
            Order::Call {
                process,
                to,
                request,
                timeout_us,
                answer,
            } => self.call_for(process, &to, request, timeout_us, answer),
            Order::Act(act) => act.0(self),
        }
    }

    fn send_for(&mut self, from: Option<Pid>, to: &Address, term: Term, room: Option<oneshot::Sender<()>>) {
        let from = from.unwrap_or_else(|| self.door.clone());
        // If the sender has ended, the message is dropped.
        let _ = self.act(&from, |ctx| ctx.send(to, term));
        let Some(room) = room else { return };
        if let Some(node) = to.node()
            && !self.node.has_room(node)
        {
            self.room_waiters.push((node.clone(), room));
            let _ = self.act_as_door(|ctx| ctx.await_room(node));
        } else {
            // The sender may have given up.
            let _ = room.send(());
        }
    }

    fn call_for(&mut self, process: Option<Pid>, to: &Address, request: Term, timeout_us: u64, answer: Answer) {
        let process = process.unwrap_or_else(|| {
            let process = self.adopt();
            self.tasks.open_for_call(&process);
            process
        });
        let tasks = self.tasks.clone();
        // If the process has ended, the answer is dropped. Its receiver notices that.
        let _ = self.act(&process, |ctx| {
            let call = ctx.call(to, request, timeout_us);
            if let Some(forgotten) = tasks.await_call(ctx.me(), Awaited { call, answer }) {
                ctx.demonitor(&forgotten);
            }
        });
    }

    /// Locks a resource in the name of an async process. Gives it back if the process no longer waits.
    pub(crate) fn lock_for(&mut self, process: &Pid, resource: Term, answer: Answer) {
        self.with_locks(process, |ctx, locks| {
            let is_held = ctx.holds_global(&resource);
            locks.lock(resource, answer, is_held)
        });
    }

    /// Gives back a lock of an async process.
    pub(crate) fn unlock_for(&mut self, process: &Pid, resource: Term, answer: Answer) {
        self.with_locks(process, |_, locks| locks.unlock(resource, answer));
    }

    fn with_locks(&mut self, process: &Pid, act: impl FnOnce(&Context<'_, Payload>, &mut Locks) -> Option<Step>) {
        let tasks = self.tasks.clone();
        // If the process has ended, the answer is dropped. Its receiver notices that.
        let _ = self.act(process, |ctx| {
            let step = tasks.with_locks(ctx.me(), |locks| act(ctx, locks)).flatten();
            if let Some(step) = step {
                ask_global(ctx, &tasks, step);
            }
        });
    }

    /// Notifies senders that there is room. Other senders go on waiting.
    fn tell_of_room(&mut self) {
        let door = self.door.clone();
        for (node, waiter) in mem::take(&mut self.room_waiters) {
            if self.node.has_room(&node) {
                // The sender may have given up.
                let _ = waiter.send(());
            } else {
                self.act_now(&door, |ctx| ctx.await_room(&node));
                self.room_waiters.push((node, waiter));
            }
        }
    }

    /// Ends this node, without handing over.
    pub(crate) fn stop(&self) {
        self.end.ring();
    }

    pub(crate) fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Add(node) => self.tell_store(Payload::Add { node }),
            Wish::Forget(node) => self.tell_store(Payload::Forget { node }),
            Wish::Leave => self.tell_store(Payload::Leave),
            Wish::CutShort => self.tell_store(Payload::CutShort),
            Wish::LeaveOther(node) => self.tell_store(Payload::LeaveOther { node }),
            Wish::AcceptLoss => self.tell_store(Payload::AcceptLoss),
            Wish::Propose(found) => {
                let nodes: Vec<Atom> = found.iter().map(|found| found.node.clone()).collect();
                let names = nodes.iter().map(|node| node.as_str().to_owned()).collect();
                self.router.note(found);
                self.tell_store(Payload::Discovered { names });
                self.input(Input::Proposed { nodes });
            }
        }
    }
}

/// Sends a request to `global` in the name of an async process.
fn ask_global(ctx: &mut Context<'_, Payload>, tasks: &Tasks, step: Step) {
    let (call, resource) = match step {
        Step::Lock(resource) => (ctx.global_lock(resource.clone(), None, None), resource),
        Step::Unlock(resource) => (ctx.global_unlock(resource.clone(), None), resource),
    };
    tasks.with_locks(ctx.me(), |locks| locks.asked(call, resource));
}

/// Runs a node until it ends. `serve` is given the core once the node has started, to spawn the tasks of its listeners.
pub(crate) async fn run(mut parts: Parts, serve: impl FnOnce(&Shell)) {
    let _last = LastWord(parts.tasks.clone());
    let shell = Core::start(&mut parts);
    let Parts {
        orders,
        wishes,
        stop,
        meter,
        state,
        departure,
        ..
    } = parts;
    // The core has the only sender, so the state file's task ends with the core.
    drop(state);
    shell.core().input(Input::Start);
    tokio::task::spawn_local(flush(shell.clone()));
    tokio::task::spawn_local(alarm(shell.clone()));
    tokio::task::spawn_local(measure(shell.clone(), meter));
    let busy_wait = shell.core().busy_wait.clone();
    tokio::task::spawn_local(async move { busy_wait.keep().await });
    tokio::task::spawn_local(take_orders(shell.clone(), orders));
    tokio::task::spawn_local(take_wishes(shell.clone(), wishes));
    serve(&shell);
    tokio::task::spawn_local(tell_when_clients_are_gone(shell.clone(), departure));
    let end = shell.core().end.clone();
    tokio::select! {
        () = end.heard() => {}
        () = stop.notified() => {}
    }
    shell.core().input(Input::Flush);
    let written = async {
        while !shell.core().connections.is_written() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // A peer that does not read the last messages will notice the closed connection.
    let _ = timeout(FAREWELL, written).await;
}

async fn flush(shell: Shell) {
    let bell = shell.core().flush.clone();
    loop {
        bell.heard().await;
        shell.core().input(Input::Flush);
        if bell.is_rung() {
            // A process has more to send. The event loop looks at the sockets first.
            tokio::task::yield_now().await;
        }
    }
}

async fn alarm(shell: Shell) {
    let bell = shell.core().alarm.clone();
    loop {
        let (at, is_due) = {
            let mut core = shell.core();
            core.alarm_us = core.node.deadline().unwrap_or(u64::MAX);
            let now_us = core.clock.now().monotonic_us;
            (core.clock.instant(core.alarm_us), core.alarm_us <= now_us)
        };
        if is_due {
            // The node has more work than fits a turn. The sockets get a turn first. A timer would round the wait up to
            // a millisecond.
            tokio::task::yield_now().await;
        } else {
            tokio::select! {
                biased;
                () = bell.heard() => continue,
                () = sleep_until(Instant::from_std(at)) => {}
            }
        }
        let mut core = shell.core();
        core.input(Input::Alarm);
        if core.connections.is_empty() {
            core.input(Input::Flush);
        }
    }
}

async fn measure(shell: Shell, meter: Meter) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let mut measured: Measured = meter.measure();
        let mut core = shell.core();
        core.tell_tally();
        measured.buffers = Buffers {
            bytes: core.budget.used() as u64,
            clients_cut: core.budget.clients_cut(),
            refused: core.budget.refused(),
        };
        core.tell_store(Payload::Measured(measured));
    }
}

async fn take_orders(shell: Shell, mut orders: mpsc::Receiver<Order>) {
    let mut taken = Vec::with_capacity(ORDERS_AT_ONCE);
    while orders.recv_many(&mut taken, ORDERS_AT_ONCE).await > 0 {
        {
            let mut core = shell.core();
            for order in taken.drain(..) {
                core.order(order);
            }
            if !core.connections.is_empty() {
                core.busy_wait.note();
            }
        }
        if !orders.is_empty() {
            // Programs with many requests must not keep peers waiting.
            tokio::task::yield_now().await;
        }
    }
}

async fn tell_when_clients_are_gone(shell: Shell, departure: Departure) {
    departure.reach(Stage::ServingOut).await;
    departure.clients_gone().await;
    shell.core().tell_store(Payload::ClientsAreGone);
}

/// If all handles are gone, the node goes on: requests also come over sockets.
async fn take_wishes(shell: Shell, mut wishes: mpsc::Receiver<Wish>) {
    while let Some(wish) = wishes.recv().await {
        shell.core().wish(wish);
    }
}
