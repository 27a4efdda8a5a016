//! Processes of a program that runs a node: some run in the node, some are async and wait.
//!
//! ```text
//!   any thread ── Handle ──▶ core's thread: servers, supervisors (spawn, start_server)
//!                                 │ Deliver            ▲ act
//!                                 ▼                    │
//!                            Inbox of an async task on the program's runtime (spawn_async)
//! ```
//!
//! - A process in the node runs to its end on the node's thread: what takes long there holds up the store. One that has
//!   to wait is async.
//! - A panic of either is the exit reason `{panic, Text}`, told to its links and monitors. The node goes on. The exceptions
//!   are the store and the node's own processes: their panic ends the node.
//! - A task that is ended by a signal is dropped where it awaits; one that never awaits cannot be ended.
//! - An inbox holds [`INBOX_MAX`] messages of [`INBOX_BYTES_MAX`]; past it its process ends with the reason `overflow`.
//! - When the node stops, [`Inbox::receive`] gives `None`.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use node::{
    Address, Atom, Pid, Process, Ref, Term,
    gen_server::{self, From},
    server::{GenServer, Server},
    supervisor::Child,
};
use store::ask::Payload;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinError},
};

use crate::{
    core::Core,
    handle::{Act, Answer, Gone, Handle, Order},
    running::Node,
};

/// Messages that wait for one async process, those read and put aside included.
pub const INBOX_MAX: usize = 16_384;
/// Bytes of the terms among them. The last of them may go past it, so that one message may be of any size.
pub const INBOX_BYTES_MAX: usize = 64 << 20;

/// Messages that one async process may send before it waits until they are on their way.
const SENDS_MAX: u32 = 128;

/// What a process is given.
pub type Message = node::Message<Payload>;
/// All that a process can touch.
pub type Context<'a> = node::Context<'a, Payload>;

/// Why a process did not start, or a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The node has stopped, or the process that asks has been ended.
    Gone,
    /// As Erlang has it: `noproc`, `noconnection`, `timeout`, or the exit reason of the other.
    Reason(Term),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => Gone.fmt(f),
            Self::Reason(reason) => write!(f, "{reason}"),
        }
    }
}

impl std::error::Error for Failure {}

impl std::convert::From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl std::convert::From<Failure> for Term {
    /// The exit reason of a process that ends with it.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::atom("gone"),
            Failure::Reason(reason) => reason,
        }
    }
}

/// A process registered on this node.
pub fn named(name: &str) -> Address {
    Address::Name(Atom::new(name))
}

/// A process registered as `name` on `node`, any node: as `{name, node}` in Erlang.
pub fn remote(name: &str, node: &str) -> Address {
    let (node, name) = (Atom::new(node), Atom::new(name));
    Address::Remote { node, name }
}

// From any thread

impl Handle {
    /// Starts a process in the node, made on its thread; done when its `start` is. Nobody is linked to it.
    ///
    /// # Errors
    /// It ended in its start, the name is taken (`{already_started, Pid}`), or the node has stopped.
    pub async fn spawn(
        &self,
        name: Option<&str>,
        make: impl FnOnce() -> Box<dyn Process<Payload>> + Send + 'static,
    ) -> Result<Pid, Failure> {
        let name = name.map(String::from);
        let start = move |ctx: &mut Context<'_>| ctx.start(name.as_deref(), make());
        let started = self.on_core(|core| core.act_as_door(start)).await?;
        started.ok_or(Failure::Gone)?.map_err(Failure::Reason)
    }

    /// Starts a [`GenServer`] in the node; done when its `init` is.
    ///
    /// # Errors
    /// As [`Handle::spawn`].
    pub async fn start_server(
        &self,
        name: Option<&str>,
        server: impl GenServer<Payload> + Send,
    ) -> Result<Pid, Failure> {
        self.spawn(name, move || Server::new(server)).await
    }

    /// Starts an async process on the runtime of the caller. What `run` comes to is its exit reason ([`Ending`]).
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn spawn_async<F>(&self, run: impl FnOnce(Inbox) -> F + Send + 'static) -> Result<Pid, Gone>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let inbox = self.adopt().await?;
        let pid = inbox.pid.clone();
        self.run(&runtime::Handle::current(), inbox, run);
        Ok(pid)
    }

    /// How a supervisor starts an async process: each time with a new inbox, on the runtime of the caller.
    pub fn async_child<F>(
        &self,
        id: impl Into<Term>,
        run: impl Fn(Inbox) -> F + Send + Sync + 'static,
    ) -> Child<Payload>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (handle, runtime, run) = (self.clone(), runtime::Handle::current(), Arc::new(run));
        Child::with_start(id, move |ctx: &mut Context<'_>| {
            let pid = ctx.adopt_link();
            let (inbox, run) = (handle.open(&pid), run.clone());
            handle.run(&runtime, inbox, move |inbox| run(inbox));
            Ok(pid)
        })
    }

    /// Calls a `gen_server` anywhere.
    ///
    /// # Errors
    /// There is no answer, or the node has stopped.
    pub async fn call(&self, to: Address, request: Term, timeout: Duration) -> Result<Term, Failure> {
        self.call_as(None, to, request, timeout).await
    }

    async fn call_as(
        &self,
        process: Option<Pid>,
        to: Address,
        request: Term,
        timeout: Duration,
    ) -> Result<Term, Failure> {
        let (answer, answered) = oneshot::channel();
        let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        let call = Order::Call {
            process,
            to,
            request,
            timeout_us,
            answer,
        };
        self.order(call).await?;
        let outcome = answered.await.map_err(|_| Failure::Gone)?;
        outcome.map_err(Failure::Reason)
    }

    /// Sends a term to any process. To nobody it is lost without a word.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn send(&self, to: Address, term: Term) -> Result<(), Gone> {
        self.send_and_wait(None, to, term).await
    }

    /// Sends, and waits until there is room for more on the way.
    async fn send_and_wait(&self, from: Option<Pid>, to: Address, term: Term) -> Result<(), Gone> {
        let (room, is_there) = oneshot::channel();
        let room = Some(room);
        self.order(Order::Send { from, to, term, room }).await?;
        is_there.await.map_err(|_| Gone)
    }

    async fn order(&self, order: Order) -> Result<(), Gone> {
        self.orders.send(order).await.map_err(|_| Gone)
    }

    /// Casts to a `gen_server` anywhere.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn cast(&self, to: Address, request: Term) -> Result<(), Gone> {
        self.send(to, gen_server::cast_term(request)).await
    }

    pub(crate) async fn on_core<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, answered) = oneshot::channel();
        let act = Act(Box::new(move |core| drop(answer.send(act(core)))));
        self.order(Order::Act(act)).await?;
        answered.await.map_err(|_| Gone)
    }

    async fn reply(&self, process: &Pid, from: From, answer: Term) -> Result<(), Gone> {
        let process = process.clone();
        self.order(Order::Reply { process, from, answer }).await
    }

    async fn adopt(&self) -> Result<Inbox, Gone> {
        let (answer, answered) = oneshot::channel();
        let adopt = Act(Box::new(move |core: &mut Core| {
            if let Err(pid) = answer.send(core.adopt()) {
                // Who asked for it was dropped meanwhile.
                core.end(&pid, Term::atom("normal"));
            }
        }));
        self.order(Order::Act(adopt)).await?;
        Ok(self.open(&answered.await.map_err(|_| Gone)?))
    }

    fn open(&self, pid: &Pid) -> Inbox {
        Inbox {
            pid: pid.clone(),
            waiting: self.tasks.open(pid),
            aside: VecDeque::new(),
            sent: AtomicU32::new(0),
            handle: self.clone(),
        }
    }

    /// Runs an async process; its end is told to the node.
    fn run<F>(&self, runtime: &runtime::Handle, inbox: Inbox, run: impl FnOnce(Inbox) -> F + Send + 'static)
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (handle, pid) = (self.clone(), inbox.pid.clone());
        let task = runtime.spawn(async move { run(inbox).await.reason() });
        self.tasks.hold(&pid, task.abort_handle());
        runtime.spawn(async move {
            let reason = task.await.unwrap_or_else(end_of_task);
            handle.end(pid, reason).await;
        });
    }

    /// Nothing if it has ended already.
    async fn end(&self, pid: Pid, reason: Term) {
        // A node that has stopped has ended it.
        let _ = self.on_core(move |core| core.end(&pid, reason)).await;
    }
}

/// The same as of its [`Handle`].
impl Node {
    /// [`Handle::spawn`].
    ///
    /// # Errors
    /// As there.
    pub async fn spawn(
        &self,
        name: Option<&str>,
        make: impl FnOnce() -> Box<dyn Process<Payload>> + Send + 'static,
    ) -> Result<Pid, Failure> {
        self.handle().spawn(name, make).await
    }

    /// [`Handle::start_server`].
    ///
    /// # Errors
    /// As there.
    pub async fn start_server(
        &self,
        name: Option<&str>,
        server: impl GenServer<Payload> + Send,
    ) -> Result<Pid, Failure> {
        self.handle().start_server(name, server).await
    }

    /// [`Handle::spawn_async`].
    ///
    /// # Errors
    /// As there.
    pub async fn spawn_async<F>(&self, run: impl FnOnce(Inbox) -> F + Send + 'static) -> Result<Pid, Gone>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        self.handle().spawn_async(run).await
    }

    /// [`Handle::call`].
    ///
    /// # Errors
    /// As there.
    pub async fn call(&self, to: Address, request: Term, timeout: Duration) -> Result<Term, Failure> {
        self.handle().call(to, request, timeout).await
    }

    /// [`Handle::cast`].
    ///
    /// # Errors
    /// As there.
    pub async fn cast(&self, to: Address, request: Term) -> Result<(), Gone> {
        self.handle().cast(to, request).await
    }
}

fn end_of_task(error: JoinError) -> Term {
    match error.try_into_panic() {
        Ok(panic) => panic_reason(&*panic),
        // Aborted: the node knows why.
        Err(_) => Term::atom("killed"),
    }
}

/// What the end of an async process means: its exit reason.
pub trait Ending: Send + 'static {
    /// The exit reason.
    fn reason(self) -> Term;
}

impl Ending for () {
    fn reason(self) -> Term {
        Term::atom("normal")
    }
}

impl Ending for Term {
    fn reason(self) -> Term {
        self
    }
}

impl<E: Into<Term> + Send + 'static> Ending for Result<(), E> {
    fn reason(self) -> Term {
        self.map_or_else(Into::into, Ending::reason)
    }
}

// Async processes

/// An async process: what it is sent, and what it does.
#[derive(Debug)]
pub struct Inbox {
    pid: Pid,
    waiting: Waiting,
    /// What came while it waited for an answer, or for the end of another.
    aside: VecDeque<Weighed>,
    /// Messages sent so far, modulo 2³².
    sent: AtomicU32,
    handle: Handle,
}

impl Inbox {
    /// This process.
    pub fn me(&self) -> &Pid {
        &self.pid
    }

    /// The next message; `None` once the node has stopped. Nothing is lost if this is dropped while it waits.
    pub async fn receive(&mut self) -> Option<Message> {
        match self.aside.pop_front() {
            Some(weighed) => Some(self.waiting.take(weighed)),
            None => {
                let weighed = self.waiting.messages.recv().await?;
                Some(self.waiting.take(weighed))
            }
        }
    }

    /// Does something in the name of this process, on the node's thread: link, monitor, register, trap exits, all that a
    /// [`Context`] can.
    ///
    /// # Errors
    /// The node has stopped, or this process has been ended.
    pub async fn act<R: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let pid = self.pid.clone();
        let done = self.handle.on_core(move |core| core.act(&pid, action)).await?;
        done.ok_or(Gone)
    }

    /// Sends a term to any process. Waits at times, for as long as a peer does not read what it was sent before.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn send(&self, to: Address, term: Term) -> Result<(), Gone> {
        let from = Some(self.pid.clone());
        if self.sent.fetch_add(1, Ordering::Relaxed) % SENDS_MAX == SENDS_MAX - 1 {
            return self.handle.send_and_wait(from, to, term).await;
        }
        let room = None;
        self.handle.order(Order::Send { from, to, term, room }).await
    }

    /// Answers a call that [`gen_server::parse`] found in a message.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn reply(&self, from: From, answer: Term) -> Result<(), Gone> {
        self.handle.reply(&self.pid, from, answer).await
    }

    /// Answers in the name of this process while it does something else.
    pub fn replier(&self) -> Replier {
        Replier {
            pid: self.pid.clone(),
            handle: self.handle.clone(),
        }
    }

    /// Calls a `gen_server` anywhere. Other messages wait meanwhile, for [`Inbox::receive`]. A call that is dropped is
    /// forgotten with the next.
    ///
    /// # Errors
    /// There is no answer, or as [`Inbox::act`].
    pub async fn call(&mut self, to: Address, request: Term, timeout: Duration) -> Result<Term, Failure> {
        let process = Some(self.pid.clone());
        self.handle.call_as(process, to, request, timeout).await
    }

    /// Waits for the one answer to what was asked in [`Inbox::act`]: a call, a function at another node, a global name
    /// or lock. Other messages are put aside meanwhile, for [`Inbox::receive`].
    ///
    /// # Errors
    /// There is none, or as [`Inbox::act`].
    pub async fn answer(&mut self, asked: &Ref) -> Result<Term, Failure> {
        let is_it = |message: &Message| matches!(message, Message::Reply { call, .. } if call == asked);
        match self.wait(is_it).await? {
            Message::Reply { result, .. } => result.map_err(Failure::Reason),
            _ => Err(Failure::Gone),
        }
    }

    /// Waits until this process holds the global lock of a resource, any term, as `global:set_lock/1`. It is freed by
    /// [`Inbox::unlock`] or the end of this process.
    ///
    /// # Errors
    /// The node takes no part in `global` (`noproc`), or as [`Inbox::act`].
    pub async fn lock(&mut self, resource: Term) -> Result<(), Failure> {
        let asked = self.act(move |ctx| ctx.global_lock(resource, None, None)).await?;
        self.answer(&asked).await.map(drop)
    }

    /// Gives a global lock back.
    ///
    /// # Errors
    /// As [`Inbox::lock`].
    pub async fn unlock(&mut self, resource: Term) -> Result<(), Failure> {
        let asked = self.act(move |ctx| ctx.global_unlock(resource, None)).await?;
        self.answer(&asked).await.map(drop)
    }

    /// Asks a process that OTP could ask too to end, as `GenServer.stop/3` does, and waits for its end.
    ///
    /// # Errors
    /// It ended for another reason, or was not there, or as [`Inbox::act`].
    pub async fn stop(&mut self, to: Address, reason: Term) -> Result<(), Failure> {
        let sent = reason.clone();
        let monitor = self.act(move |ctx| stop(ctx, &to, sent)).await?;
        let is_it = |message: &Message| matches!(message, Message::Down { monitor: ended, .. } if *ended == monitor);
        match self.wait(is_it).await? {
            Message::Down { reason: told, .. } if told == reason => Ok(()),
            Message::Down { reason: told, .. } => Err(Failure::Reason(told)),
            _ => Err(Failure::Gone),
        }
    }

    /// The first message that is the one; the others are put aside.
    async fn wait(&mut self, is_it: impl Fn(&Message) -> bool) -> Result<Message, Failure> {
        let at = self.aside.iter().position(|weighed| is_it(&weighed.message));
        if let Some(weighed) = at.and_then(|at| self.aside.remove(at)) {
            return Ok(self.waiting.take(weighed));
        }
        loop {
            let weighed = self.waiting.messages.recv().await.ok_or(Failure::Gone)?;
            if is_it(&weighed.message) {
                return Ok(self.waiting.take(weighed));
            }
            if self.aside.len() >= INBOX_MAX {
                self.handle.end(self.pid.clone(), Term::atom("overflow")).await;
                return Err(Failure::Gone);
            }
            self.aside.push_back(weighed);
        }
    }
}

/// Answers calls of an async process from elsewhere in the program.
#[derive(Clone, Debug)]
pub struct Replier {
    pid: Pid,
    handle: Handle,
}

impl Replier {
    /// Answers a call. Nobody hears the answer of a process that has ended.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn reply(&self, from: From, answer: Term) -> Result<(), Gone> {
        self.handle.reply(&self.pid, from, answer).await
    }
}

/// Asks a process to end; what monitors it.
fn stop(ctx: &mut Context<'_>, to: &Address, reason: Term) -> Ref {
    let monitor = ctx.monitor(to);
    let from = Term::from((ctx.me().clone(), monitor.clone()));
    let request = Term::from((Term::atom("terminate"), reason));
    ctx.send(to, (Term::atom("system"), from, request).into());
    monitor
}

/// The inboxes of async processes, and what runs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<Inboxes>>);

#[derive(Debug, Default)]
struct Inboxes {
    held: HashMap<Pid, Held>,
    /// The node has ended: an inbox that is opened now is closed at once.
    is_closed: bool,
}

#[derive(Debug)]
struct Held {
    /// None for a process that is there for one call only.
    inbox: Option<Feeding>,
    task: Option<AbortHandle>,
    /// The call it waits for, and who is told the outcome.
    call: Option<(Ref, Answer)>,
}

/// Where the messages of an async process are put.
#[derive(Debug)]
struct Feeding {
    messages: mpsc::Sender<Weighed>,
    /// Bytes of what waits.
    bytes: Arc<AtomicUsize>,
}

impl Feeding {
    /// Gives a reason if the process must end.
    fn give(&self, message: Message) -> Option<&'static str> {
        let weighed = Weighed::new(message);
        if self.bytes.fetch_add(weighed.bytes, Ordering::Relaxed) > INBOX_BYTES_MAX {
            return Some("overflow");
        }
        match self.messages.try_send(weighed) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(_)) => Some("overflow"),
            // Whoever received has gone without a word.
            Err(mpsc::error::TrySendError::Closed(_)) => Some("normal"),
        }
    }
}

/// The other end: what an async process takes its messages from.
#[derive(Debug)]
struct Waiting {
    messages: mpsc::Receiver<Weighed>,
    bytes: Arc<AtomicUsize>,
}

impl Waiting {
    fn take(&self, weighed: Weighed) -> Message {
        self.bytes.fetch_sub(weighed.bytes, Ordering::Relaxed);
        weighed.message
    }
}

/// A message and the bytes it counts.
#[derive(Debug)]
struct Weighed {
    message: Message,
    bytes: usize,
}

impl Weighed {
    fn new(message: Message) -> Self {
        let bytes = match &message {
            Message::Term { term, .. }
            | Message::Reply { result: Ok(term), .. }
            | Message::Reply { result: Err(term), .. }
            | Message::Exit { reason: term, .. }
            | Message::Down { reason: term, .. } => term.held_bytes(),
            // These are small, or shared.
            Message::Payload(_)
            | Message::Timer { .. }
            | Message::NodeUp { .. }
            | Message::NodeDown { .. }
            | Message::Members(_)
            | Message::Flush => 0,
        };
        Self { message, bytes }
    }
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Inboxes> {
        // Nothing panics while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, pid: &Pid) -> Waiting {
        let (messages, received) = mpsc::channel(INBOX_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let waiting = Waiting {
            messages: received,
            bytes: bytes.clone(),
        };
        let held = Held {
            inbox: Some(Feeding { messages, bytes }),
            task: None,
            call: None,
        };
        let mut inboxes = self.lock();
        if !inboxes.is_closed {
            inboxes.held.insert(pid.clone(), held);
        }
        waiting
    }

    fn hold(&self, pid: &Pid, task: AbortHandle) {
        match self.lock().held.get_mut(pid) {
            Some(held) => held.task = Some(task),
            // It was ended in between.
            None => task.abort(),
        }
    }

    /// Hands out a message; gives a reason if the process must end.
    pub(crate) fn give(&self, pid: &Pid, message: Message) -> Option<&'static str> {
        let mut inboxes = self.lock();
        let held = inboxes.held.get_mut(pid)?;
        match message {
            Message::Reply { call, result } if held.waits_for(&call) => {
                if let Some((_, answer)) = held.call.take() {
                    // Who does not wait any more needs no answer.
                    let _ = answer.send(result);
                }
                held.inbox.is_none().then_some("normal")
            }
            message => held.inbox.as_ref()?.give(message),
        }
    }

    /// The process waits for the outcome of a call. Gives the one it waited for before, which was dropped.
    pub(crate) fn await_call(&self, pid: &Pid, call: Ref, answer: Answer) -> Option<Ref> {
        let mut inboxes = self.lock();
        let held = inboxes.held.get_mut(pid)?;
        held.call.replace((call, answer)).map(|(call, _)| call)
    }

    /// A process without an inbox, for one call.
    pub(crate) fn open_for_call(&self, pid: &Pid) {
        let held = Held {
            inbox: None,
            task: None,
            call: None,
        };
        self.lock().held.insert(pid.clone(), held);
    }

    /// The process has ended: its task ends where it awaits.
    pub(crate) fn drop(&self, pid: &Pid) {
        let held = self.lock().held.remove(pid);
        if let Some(task) = held.and_then(|held| held.task) {
            task.abort();
        }
    }
}

impl Held {
    fn waits_for(&self, call: &Ref) -> bool {
        self.call.as_ref().is_some_and(|(awaited, _)| awaited == call)
    }
}

/// When this is dropped the node has ended, whichever way: nobody receives any more.
pub(crate) struct LastWord(pub(crate) Tasks);

impl Drop for LastWord {
    fn drop(&mut self) {
        let mut inboxes = self.0.lock();
        inboxes.is_closed = true;
        inboxes.held.clear();
    }
}

// Panics

/// Stands around a process of the program: its panic is its end, not that of the node.
struct Guarded(Box<dyn Process<Payload>>);

/// Puts a guard around a process.
pub(crate) fn guard(process: Box<dyn Process<Payload>>) -> Box<dyn Process<Payload>> {
    Box::new(Guarded(process))
}

impl Guarded {
    fn run(&mut self, ctx: &mut Context<'_>, run: impl FnOnce(&mut dyn Process<Payload>, &mut Context<'_>)) {
        // What the panic leaves half done is the process's own, and goes with it.
        let result = catch_unwind(AssertUnwindSafe(|| run(&mut *self.0, ctx)));
        if let Err(panic) = result {
            ctx.exit(panic_reason(&*panic));
        }
    }
}

impl Process<Payload> for Guarded {
    fn start(&mut self, ctx: &mut Context<'_>) {
        self.run(ctx, |process, ctx| process.start(ctx));
    }

    fn handle(&mut self, ctx: &mut Context<'_>, message: Message) {
        self.run(ctx, |process, ctx| process.handle(ctx, message));
    }
}

/// `{panic, Text}`.
fn panic_reason(panic: &(dyn Any + Send)) -> Term {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    (Term::atom("panic"), text.unwrap_or_default()).into()
}
