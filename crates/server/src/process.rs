//! Processes of the program that runs a node. Some run inside the node; others are async and may wait.
//!
//! ```text
//!   any thread ── Handle ──▶ core's thread: servers, supervisors (spawn, start_server)
//!                                 │ Deliver            ▲ act
//!                                 ▼                    │
//!                            Inbox of an async task on the program's runtime (spawn_async)
//! ```
//!
//! - A process inside the node runs on the node's thread: long work there delays the store. A process that has to wait
//!   must be async.
//! - A panic in either kind ends the process with the reason `{panic, Text}`. Its links and monitors are notified. The
//!   node goes on, also after a panic while a supervisor's child is made or a process is dropped. The exceptions are
//!   the store and the node's own processes: their panic ends the node.
//! - A task that a signal ends is dropped at its next await. A task that never awaits cannot be ended.
//! - A task ends when its future does, even if its inbox still exists.
//! - An inbox holds [`INBOX_MAX`] messages of [`INBOX_BYTES_MAX`]. Past it its process ends with the reason `overflow`.
//! - When the node stops, [`Inbox::receive`] returns `None`.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
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
use tokio::{runtime, sync::oneshot, task::JoinError};

use crate::{
    core::Core,
    handle::{Act, Answer, Gone, Handle, Order},
    inboxes::{Waiting, Weighed},
    running::Node,
};

pub use crate::inboxes::{INBOX_BYTES_MAX, INBOX_MAX};

/// Messages that an async process may send before it waits until they have left.
const SENDS_MAX: u32 = 128;
/// Bytes of the terms in these messages.
const SENT_BYTES_MAX: usize = 64 << 10;

/// A message to a process.
pub type Message = node::Message<Payload>;
/// The means of a process: sending, spawning, links, monitors, timers.
pub type Context<'a> = node::Context<'a, Payload>;

/// Why a process did not start, or why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The node has stopped, or the calling process has ended.
    Gone,
    /// The reason, as in Erlang: `noproc`, `noconnection`, `timeout`, or the exit reason of the other process.
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
    /// The exit reason of a process that ends because of this failure.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone => Self::atom("gone"),
            Failure::Reason(reason) => reason,
        }
    }
}

/// The address of a process registered on this node.
pub fn named(name: &str) -> Address {
    Address::Name(Atom::new(name))
}

/// The address of a process registered as `name` on any node: `{name, node}` in Erlang.
pub fn remote(name: &str, node: &str) -> Address {
    let (node, name) = (Atom::new(node), Atom::new(name));
    Address::Remote { node, name }
}

// From any thread

impl Handle {
    /// Starts a process inside the node. It is made on the node's thread and not linked to another process. Returns
    /// when its `start` has.
    ///
    /// # Errors
    /// It ended in its `start`, the name is taken (`{already_started, Pid}`), or the node has stopped.
    pub async fn spawn(
        &self,
        name: Option<&str>,
        make: impl FnOnce() -> Box<dyn Process<Payload>> + Send + 'static,
    ) -> Result<Pid, Failure> {
        let name = name.map(String::from);
        let start = move |ctx: &mut Context<'_>| {
            let start = || ctx.start(name.as_deref(), make());
            unpanicked(start).unwrap_or_else(Err)
        };
        let started = self.on_core(|core| core.act_as_door(start)).await?;
        started.ok_or(Failure::Gone)?.map_err(Failure::Reason)
    }

    /// Starts a [`GenServer`] inside the node. Returns when its `init` has.
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

    /// Starts an async process on the runtime of the caller. The output of `run` becomes its exit reason ([`Ending`]).
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

    /// A start function for a supervisor's async child. Each start has a new inbox. It runs on the runtime that the
    /// node was started on.
    pub fn async_child<F>(
        &self,
        id: impl Into<Term>,
        run: impl Fn(Inbox) -> F + Send + Sync + 'static,
    ) -> Child<Payload>
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let (handle, run) = (self.clone(), Arc::new(run));
        Child::with_start(id, move |ctx: &mut Context<'_>| {
            let pid = ctx.adopt_link();
            let (inbox, run) = (handle.open(&pid), run.clone());
            handle.run(&handle.runtime, inbox, move |inbox| run(inbox));
            Ok(pid)
        })
    }

    /// Calls a `gen_server` on any node.
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

    /// Sends a term to any process. If there is no such process, the term is lost without an error.
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

    /// Sends a cast to a `gen_server` on any node.
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
                // The caller was dropped meanwhile.
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
            sent_bytes: AtomicUsize::new(0),
            handle: self.clone(),
        }
    }

    /// Runs an async process, and reports its end to the node.
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

    /// No effect if the process has ended already.
    async fn end(&self, pid: Pid, reason: Term) {
        // If the node has stopped, the process has ended.
        let _ = self.on_core(move |core| core.end(&pid, reason)).await;
    }
}

/// The same methods as [`Handle`] has.
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

    /// Waits until this node agrees on the names and locks of `global` with all visible nodes that it is connected to
    /// or must join, as `global:sync/0`. [`Node::ready`] waits for that too, and so does each request for a lock or a
    /// name. A node that does not answer is dropped after 5 s.
    ///
    /// # Errors
    /// The node takes no part in `global` (`noproc`), too many processes wait (`system_limit`), or the node has
    /// stopped.
    pub async fn sync_global(&self) -> Result<(), Failure> {
        let asked = self
            .call(named(node::GLOBAL), Term::atom("sync"), Duration::MAX)
            .await?;
        match asked.is_atom("ok") {
            true => Ok(()),
            false => Err(Failure::Reason(Term::atom("system_limit"))),
        }
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
        // It was aborted, and the node knows why.
        Err(_) => Term::atom("killed"),
    }
}

/// The output of an async process, as its exit reason.
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

/// An async process: its messages and its actions.
#[derive(Debug)]
pub struct Inbox {
    pid: Pid,
    waiting: Waiting,
    /// Messages that came while it waited for an answer, or for the end of another process.
    aside: VecDeque<Weighed>,
    /// Messages sent since it last waited for room, and the bytes of their terms.
    sent: AtomicU32,
    sent_bytes: AtomicUsize,
    handle: Handle,
}

impl Inbox {
    /// The pid of this process.
    pub fn me(&self) -> &Pid {
        &self.pid
    }

    /// The next message. `None` once the node has stopped. If this is dropped while it waits, no message is lost.
    pub async fn receive(&mut self) -> Option<Message> {
        match self.aside.pop_front() {
            Some(weighed) => Some(self.waiting.take(weighed)),
            None => {
                let weighed = self.waiting.messages.recv().await?;
                Some(self.waiting.take(weighed))
            }
        }
    }

    /// Runs `action` in the name of this process, on the node's thread: link, monitor, register, trap exits and
    /// everything else that a [`Context`] can do. A panic ends this process.
    ///
    /// # Errors
    /// The node has stopped, or this process has ended.
    pub async fn act<R: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Context<'_>) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let pid = self.pid.clone();
        let act = |ctx: &mut Context<'_>| unpanicked(|| action(ctx)).map_err(|panic| ctx.exit(panic)).ok();
        let done = self.handle.on_core(move |core| core.act(&pid, act)).await?;
        done.flatten().ok_or(Gone)
    }

    /// Sends a term to any process. It may wait while a peer does not read what it was sent before.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn send(&self, to: Address, term: Term) -> Result<(), Gone> {
        let from = Some(self.pid.clone());
        let bytes = term.held_bytes();
        let bytes_before = self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.sent.fetch_add(1, Ordering::Relaxed) >= SENDS_MAX - 1 || bytes_before + bytes >= SENT_BYTES_MAX {
            self.sent.store(0, Ordering::Relaxed);
            self.sent_bytes.store(0, Ordering::Relaxed);
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

    /// A [`Replier`], which answers in the name of this process while this process does something else.
    pub fn replier(&self) -> Replier {
        Replier {
            pid: self.pid.clone(),
            handle: self.handle.clone(),
        }
    }

    /// Calls a `gen_server` on any node. Other messages wait meanwhile, for [`Inbox::receive`]. If this is dropped, the
    /// next call cancels it.
    ///
    /// # Errors
    /// There is no answer, or as [`Inbox::act`].
    pub async fn call(&mut self, to: Address, request: Term, timeout: Duration) -> Result<Term, Failure> {
        let process = Some(self.pid.clone());
        self.handle.call_as(process, to, request, timeout).await
    }

    /// Waits for the one answer to a request made in [`Inbox::act`]: a call, a function on another node, a global name
    /// or lock. Other messages are put aside meanwhile, for [`Inbox::receive`].
    ///
    /// # Errors
    /// There is no answer, or as [`Inbox::act`].
    pub async fn answer(&mut self, asked: &Ref) -> Result<Term, Failure> {
        let is_it = |message: &Message| matches!(message, Message::Reply { call, .. } if call == asked);
        match self.wait(is_it).await? {
            Message::Reply { result, .. } => result.map_err(Failure::Reason),
            _ => Err(Failure::Gone),
        }
    }

    /// Waits until this process holds the global lock of a resource, any term, as `global:set_lock/1`.
    /// [`Inbox::unlock`] or the end of this process frees it. If this process holds it already, this returns at once.
    /// Other messages wait meanwhile. If this is dropped, for instance by a timeout, a lock that is granted later is
    /// given back at once, unless it is asked for again before.
    ///
    /// # Errors
    /// The node takes no part in `global` (`noproc`), more locks are under way than it may have (`system_limit`), or as
    /// [`Inbox::act`].
    pub async fn lock(&mut self, resource: Term) -> Result<(), Failure> {
        self.ask_global(resource, Core::lock_for).await
    }

    /// Gives a global lock back.
    ///
    /// # Errors
    /// As [`Inbox::lock`].
    pub async fn unlock(&mut self, resource: Term) -> Result<(), Failure> {
        self.ask_global(resource, Core::unlock_for).await
    }

    async fn ask_global(&self, resource: Term, ask: fn(&mut Core, &Pid, Term, Answer)) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        let pid = self.pid.clone();
        self.handle
            .on_core(move |core| ask(core, &pid, resource, answer))
            .await?;
        let outcome = answered.await.map_err(|_| Failure::Gone)?;
        granted(&outcome.map_err(Failure::Reason)?)
    }

    /// Asks a process that OTP could also ask to end, as `GenServer.stop/3` does, and waits for its end.
    ///
    /// # Errors
    /// It ended for another reason, it did not exist, or as [`Inbox::act`].
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

    /// The first message for which `is_it` is true. Other messages are put aside.
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
            self.aside.push_back(weighed);
        }
    }
}

/// Answers calls in the name of an async process, from elsewhere in the program.
#[derive(Clone, Debug)]
pub struct Replier {
    pid: Pid,
    handle: Handle,
}

impl Replier {
    /// Answers a call. If the process has ended, the answer is dropped.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn reply(&self, from: From, answer: Term) -> Result<(), Gone> {
        self.handle.reply(&self.pid, from, answer).await
    }
}

/// The answer of `global` about a lock. `false` comes only to a process that may not wait.
fn granted(answer: &Term) -> Result<(), Failure> {
    if answer.is_atom("true") {
        Ok(())
    } else {
        Err(Failure::Reason(Term::atom("system_limit")))
    }
}

/// Asks a process to end. Returns the reference of its monitor.
fn stop(ctx: &mut Context<'_>, to: &Address, reason: Term) -> Ref {
    let monitor = ctx.monitor(to);
    let from = Term::from((ctx.me().clone(), monitor.clone()));
    let request = Term::from((Term::atom("terminate"), reason));
    ctx.send(to, (Term::atom("system"), from, request).into());
    monitor
}

// Panics

/// Wraps a process of the program: its panic ends the process, not the node. `None` only while it is dropped.
struct Guarded(Option<Box<dyn Process<Payload>>>);

/// Wraps a process in a guard.
pub(crate) fn guard(process: Box<dyn Process<Payload>>) -> Box<dyn Process<Payload>> {
    Box::new(Guarded(Some(process)))
}

/// Calls code of the program. Its panic becomes an exit reason.
pub(crate) fn catch(run: &mut dyn FnMut()) -> Result<(), Term> {
    unpanicked(run)
}

impl Guarded {
    fn run(&mut self, ctx: &mut Context<'_>, run: impl FnOnce(&mut dyn Process<Payload>, &mut Context<'_>)) {
        let Some(process) = &mut self.0 else { return };
        if let Err(panic) = unpanicked(|| run(&mut **process, ctx)) {
            ctx.exit(panic);
        }
    }
}

impl Drop for Guarded {
    /// The drop of a process may panic too. The process has ended, so there is nothing to report.
    fn drop(&mut self) {
        let process = self.0.take();
        let _ = unpanicked(|| drop(process));
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

/// Runs code of a process. A panic leaves only the state of that process incomplete, and that is dropped. The reason is
/// `{panic, Text}`.
fn unpanicked<R>(run: impl FnOnce() -> R) -> Result<R, Term> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| panic_reason(&*panic))
}

fn panic_reason(panic: &(dyn Any + Send)) -> Term {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    (Term::atom("panic"), text.unwrap_or_default()).into()
}
