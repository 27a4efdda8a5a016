//! [`GenServer`]: a process that answers calls, in the manner of OTP's `gen_server`.
//!
//! ```text
//!   start_link ─▶ init ─▶ handle_call | handle_cast | handle_info | handle_continue ─▶ terminate
//! ```
//!
//! - The start is done when `init` is. A [`Next::Continue`] of `init` comes behind it and before any message: what it
//!   comes to is the server's end, and no failed start.
//! - [`GenServer::terminate`] is called exactly once, whichever way the server ends: a [`Next::Stop`], a
//!   [`Context::exit`], a `stop` from anywhere, the end of its parent if it traps exits. It is not called where OTP
//!   does not call it either: if `init` refuses, if a signal ends a server that does not trap exits, after `kill`. Nor
//!   after a panic, for then its state is of no use.
//! - Timers with tokens from [`TOKEN_MAX`] on belong to this module.
//! - Of the `sys` messages `get_state` and `terminate` (`GenServer.stop/3`) are understood; to others the answer is
//!   `{error, {unknown_system_msg, Request}}`, as in OTP. A [`Next::WaitFor`] begins anew after them.
//!
//! Source: `gen_server` and `sys` in the STDLIB reference manual.

use crate::{
    context::Context,
    gen_server::{From, Request, parse},
    message::{Message, Payload, Process},
    timers::TimerId,
};
use alloc::boxed::Box;
use wire::etf::{Pid, Term};

/// Tokens that a server may give to [`Context::timer`] are below this.
pub const TOKEN_MAX: u64 = 1 << 63;
/// Wakes a server that has to go on before any message comes. Tokens of idle timers are greater.
const WAKE: u64 = TOKEN_MAX;

/// What a handler comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Wait for the next message.
    Wait,
    /// Wait so many microseconds for the next message; if none comes, `handle_info` is given the term `timeout`.
    WaitFor(u64),
    /// Call `handle_continue` with this before any message.
    Continue(Term),
    /// End for this reason.
    Stop(Term),
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// This is the answer.
    Reply(Term, Next),
    /// The answer comes later, with [`Context::reply`].
    NoReply(Next),
}

impl Reply {
    /// This is the answer; then wait for the next message.
    pub fn now(answer: impl Into<Term>) -> Self {
        Self::Reply(answer.into(), Next::Wait)
    }
}

/// A server: its state is `self`.
pub trait GenServer<P: Payload>: 'static {
    /// Called once, before anything else. `Next::Stop(reason)` refuses to start, and with the reason `normal` asks to
    /// be ignored; `terminate` is not called then.
    fn init(&mut self, ctx: &mut Context<'_, P>) -> Next {
        let _ = ctx;
        Next::Wait
    }

    /// A call. To be answered once.
    fn handle_call(&mut self, ctx: &mut Context<'_, P>, request: Term, from: &From) -> Reply;

    /// A cast. Unless told otherwise it is dropped.
    fn handle_cast(&mut self, ctx: &mut Context<'_, P>, request: Term) -> Next {
        let _ = (ctx, request);
        Next::Wait
    }

    /// Any other message. Unless told otherwise it is dropped.
    fn handle_info(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) -> Next {
        let _ = (ctx, message);
        Next::Wait
    }

    /// What a [`Next::Continue`] asked for.
    fn handle_continue(&mut self, ctx: &mut Context<'_, P>, with: Term) -> Next {
        let _ = (ctx, with);
        Next::Wait
    }

    /// The last call, with the reason of the end.
    fn terminate(&mut self, ctx: &mut Context<'_, P>, reason: &Term) {
        let _ = (ctx, reason);
    }

    /// The state as `sys:get_state/1` shows it, if it may be seen. Before OTP 26.1 that shows `{ok, State}`: the answer
    /// is that of later releases.
    fn state(&self) -> Option<Term> {
        None
    }
}

/// The process that runs a [`GenServer`].
#[derive(Debug)]
pub struct Server<G> {
    state: G,
    /// What `init` goes on with, until it does.
    pending: Option<Term>,
    idle: Option<Idle>,
    /// Tokens given to idle timers so far: one that fired as it was cancelled is known by its token.
    idles: u64,
}

/// A [`Next::WaitFor`] under way.
#[derive(Debug)]
struct Idle {
    timer: TimerId,
    token: u64,
    /// As long as it was told.
    wait_us: u64,
}

impl<G> Server<G> {
    /// The process of a server that begins in this state.
    pub fn new(state: G) -> Box<Self> {
        Box::new(Self {
            state,
            pending: None,
            idle: None,
            idles: 0,
        })
    }

    /// Carries out what a handler asked for.
    fn go_on<P: Payload>(&mut self, ctx: &mut Context<'_, P>, mut next: Next)
    where
        G: GenServer<P>,
    {
        loop {
            if ctx.exiting().is_some() {
                return self.end(ctx, None);
            }
            next = match next {
                Next::Wait => return,
                Next::WaitFor(wait_us) => {
                    self.idles += 1;
                    let token = TOKEN_MAX | self.idles;
                    let timer = ctx.timer(wait_us, token);
                    self.idle = Some(Idle { timer, token, wait_us });
                    return;
                }
                Next::Continue(with) => self.state.handle_continue(ctx, with),
                Next::Stop(reason) => return self.end(ctx, Some(reason)),
            };
        }
    }

    /// Ends, for this reason unless it is ending for another.
    fn end<P: Payload>(&mut self, ctx: &mut Context<'_, P>, reason: Option<Term>)
    where
        G: GenServer<P>,
    {
        if let Some(reason) = reason {
            ctx.exit(reason);
        }
        if let Some(reason) = ctx.exiting().cloned() {
            self.state.terminate(ctx, &reason);
        }
    }

    fn answer<P: Payload>(&mut self, ctx: &mut Context<'_, P>, request: Request) -> Next
    where
        G: GenServer<P>,
    {
        match request {
            Request::Call { from, request } => match self.state.handle_call(ctx, request, &from) {
                Reply::Reply(answer, next) => {
                    ctx.reply(&from, answer);
                    next
                }
                Reply::NoReply(next) => next,
            },
            Request::Cast(request) => self.state.handle_cast(ctx, request),
            Request::Info(term) => {
                let message = Message::Term { from: None, term };
                self.state.handle_info(ctx, message)
            }
        }
    }

    /// Goes on with what `init` left, if anything.
    fn go_on_from_init<P: Payload>(&mut self, ctx: &mut Context<'_, P>)
    where
        G: GenServer<P>,
    {
        if let Some(with) = self.pending.take() {
            self.go_on(ctx, Next::Continue(with));
        }
    }

    /// A `sys` message. It interrupts no wait: that begins anew.
    fn system<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        from: &From,
        request: Term,
        waited_us: Option<u64>,
    ) -> Next
    where
        G: GenServer<P>,
    {
        if let Some(reason) = stop_reason(&request) {
            ctx.reply(from, Term::atom("ok"));
            return Next::Stop(reason.clone());
        }
        let answer = match self.state.state() {
            Some(state) if request.is_atom("get_state") => (Term::atom("ok"), state).into(),
            Some(_) | None => unknown(request),
        };
        ctx.reply(from, answer);
        waited_us.map_or(Next::Wait, Next::WaitFor)
    }
}

impl<P: Payload, G: GenServer<P>> Process<P> for Server<G> {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        match self.state.init(ctx) {
            // Who never was ready has nothing to clean up.
            Next::Stop(reason) => ctx.exit(reason),
            _ if ctx.exiting().is_some() => {}
            Next::Continue(with) => {
                self.pending = Some(with);
                // A timer would wait for the next input.
                ctx.core.post(ctx.me, Message::Timer { token: WAKE });
            }
            next @ (Next::Wait | Next::WaitFor(_)) => self.go_on(ctx, next),
        }
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        self.go_on_from_init(ctx);
        if ctx.exiting().is_some() {
            return;
        }
        if let Message::Timer { token } = message
            && token >= TOKEN_MAX
        {
            if self.idle.take_if(|idle| idle.token == token).is_some() {
                let (from, term) = (Some(ctx.me().clone()), Term::atom("timeout"));
                let next = self.state.handle_info(ctx, Message::Term { from, term });
                self.go_on(ctx, next);
            }
            return;
        }
        let waited_us = self.idle.take().map(|idle| {
            ctx.cancel(idle.timer);
            idle.wait_us
        });
        let next = match message {
            Message::Exit { from, reason } if ctx.parent() == Some(&from) => Next::Stop(reason),
            Message::Term { from, term } => match system(&term) {
                Some((caller, request)) => self.system(ctx, &caller, request, waited_us),
                None => match parse(term) {
                    Request::Info(term) => self.state.handle_info(ctx, Message::Term { from, term }),
                    request => self.answer(ctx, request),
                },
            },
            message => self.state.handle_info(ctx, message),
        };
        self.go_on(ctx, next);
    }
}

impl<P: Payload> Context<'_, P> {
    /// Starts a server, runs its `init` and links to it.
    ///
    /// # Errors
    /// As [`Context::start_link`].
    pub fn start_server(&mut self, name: Option<&str>, server: impl GenServer<P>) -> Result<Pid, Term> {
        self.start_link(name, Server::new(server))
    }
}

/// Answers a `sys` message to a process that is no [`GenServer`] as OTP answers one it does not know. Any other term is
/// left alone.
pub fn refuse_system<P: Payload>(ctx: &mut Context<'_, P>, term: &Term) {
    if let Some((from, request)) = system(term) {
        ctx.reply(&from, unknown(request));
    }
}

/// Takes `{system, {Pid, Tag}, Request}` apart.
pub(crate) fn system(term: &Term) -> Option<(From, Term)> {
    let [word, from, request] = term.as_tuple()? else {
        return None;
    };
    match from.as_tuple()? {
        [Term::Pid(pid), tag] if word.is_atom("system") => {
            let (pid, tag) = (pid.clone(), tag.clone());
            Some((From { pid, tag }, request.clone()))
        }
        _ => None,
    }
}

/// The reason of `{terminate, Reason}`, which `proc_lib:stop/3` sends.
pub(crate) fn stop_reason(request: &Term) -> Option<&Term> {
    match request.as_tuple()? {
        [word, reason] if word.is_atom("terminate") => Some(reason),
        _ => None,
    }
}

/// What `sys` answers to what it does not know.
pub(crate) fn unknown(request: Term) -> Term {
    let unknown = (Term::atom("unknown_system_msg"), request);
    (Term::atom("error"), Term::from(unknown)).into()
}
