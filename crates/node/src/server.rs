//! [`GenServer`]: a process that answers calls, like OTP's `gen_server`.
//!
//! ```text
//!   start_link ─▶ init ─▶ handle_call | handle_cast | handle_info | handle_continue ─▶ terminate
//! ```
//!
//! - The start is done when `init` is done. A [`Next::Continue`] of `init` is called after that, and before any
//!   message. If it stops, the server ends; that is not a failed start.
//! - [`GenServer::terminate`] is called exactly once, however the server ends: by [`Next::Stop`], by [`Context::exit`],
//!   by a `stop` from any process, or by the end of its parent if it traps exits. As in OTP, it is not called if `init`
//!   refuses, if a signal ends a server that does not trap exits, or after `kill`. It is not called after a panic
//!   either, since the state cannot be trusted then.
//! - Timer tokens from [`TOKEN_MAX`] on belong to this module.
//! - Two `sys` messages are supported: `get_state` and `terminate` (`GenServer.stop/3`). Others are answered with
//!   `{error, {unknown_system_msg, Request}}`, as in OTP. A [`Next::WaitFor`] starts again after a `sys` message.
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

/// Tokens that a server gives to [`Context::timer`] must be below this.
pub const TOKEN_MAX: u64 = 1 << 63;
/// The token that wakes a server which must go on before any message. Tokens of idle timers are greater.
const WAKE: u64 = TOKEN_MAX;

/// What a server does after a handler.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Wait for the next message.
    Wait,
    /// Wait this many microseconds for the next message. If none comes, `handle_info` gets the term `timeout`.
    WaitFor(u64),
    /// Call `handle_continue` with this before any message.
    Continue(Term),
    /// End with this reason.
    Stop(Term),
}

/// The result of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The answer, and what to do next.
    Reply(Term, Next),
    /// The answer comes later, by [`Context::reply`].
    NoReply(Next),
}

impl Reply {
    /// An answer, after which the server waits for the next message.
    pub fn now(answer: impl Into<Term>) -> Self {
        Self::Reply(answer.into(), Next::Wait)
    }
}

/// A server: its state is `self`.
pub trait GenServer<P: Payload>: 'static {
    /// Called once, before anything else. `Next::Stop(reason)` refuses to start; the reason `normal` asks to be
    /// ignored. `terminate` is not called then.
    fn init(&mut self, ctx: &mut Context<'_, P>) -> Next {
        let _ = ctx;
        Next::Wait
    }

    /// Handles a call. It must be answered once.
    fn handle_call(&mut self, ctx: &mut Context<'_, P>, request: Term, from: &From) -> Reply;

    /// Handles a cast. By default it is dropped.
    fn handle_cast(&mut self, ctx: &mut Context<'_, P>, request: Term) -> Next {
        let _ = (ctx, request);
        Next::Wait
    }

    /// Handles any other message. By default it is dropped.
    fn handle_info(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) -> Next {
        let _ = (ctx, message);
        Next::Wait
    }

    /// Handles the term of a [`Next::Continue`].
    fn handle_continue(&mut self, ctx: &mut Context<'_, P>, with: Term) -> Next {
        let _ = (ctx, with);
        Next::Wait
    }

    /// Called last, with the exit reason.
    fn terminate(&mut self, ctx: &mut Context<'_, P>, reason: &Term) {
        let _ = (ctx, reason);
    }

    /// The state as `sys:get_state/1` shows it, if it may be seen. The answer has the form of OTP 26.1 and later; older
    /// releases show it as `{ok, State}`.
    fn state(&self) -> Option<Term> {
        None
    }
}

/// The process that runs a [`GenServer`].
#[derive(Debug)]
pub struct Server<G> {
    state: G,
    /// The term of a [`Next::Continue`] of `init` that was not handled yet.
    pending: Option<Term>,
    idle: Option<Idle>,
    /// How many tokens idle timers have used. If a timer fired just as it was cancelled, its token shows that.
    idles: u64,
}

/// A [`Next::WaitFor`] under way.
#[derive(Debug)]
struct Idle {
    timer: TimerId,
    token: u64,
    /// The requested time.
    wait_us: u64,
}

impl<G> Server<G> {
    /// The process of a server with this first state.
    pub fn new(state: G) -> Box<Self> {
        Box::new(Self {
            state,
            pending: None,
            idle: None,
            idles: 0,
        })
    }

    /// Does what a handler asked for.
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

    /// Ends with this reason, unless it is ending with another.
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

    /// Handles the [`Next::Continue`] of `init`, if there is one.
    fn go_on_from_init<P: Payload>(&mut self, ctx: &mut Context<'_, P>)
    where
        G: GenServer<P>,
    {
        if let Some(with) = self.pending.take() {
            self.go_on(ctx, Next::Continue(with));
        }
    }

    /// Handles a `sys` message. A wait under way starts again.
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
            // A server that was never ready has nothing to clean up.
            Next::Stop(reason) => ctx.exit(reason),
            _ if ctx.exiting().is_some() => {}
            Next::Continue(with) => {
                self.pending = Some(with);
                // A timer would only fire at the next input.
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
    /// As for [`Context::start_link`].
    pub fn start_server(&mut self, name: Option<&str>, server: impl GenServer<P>) -> Result<Pid, Term> {
        self.start_link(name, Server::new(server))
    }
}

/// Answers a `sys` message to a process that is not a [`GenServer`], as OTP answers an unknown one. Other terms are
/// ignored.
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

/// The answer of `sys` to an unknown request.
pub(crate) fn unknown(request: Term) -> Term {
    let unknown = (Term::atom("unknown_system_msg"), request);
    (Term::atom("error"), Term::from(unknown)).into()
}
