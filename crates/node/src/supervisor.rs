//! [`Supervisor`]: starts children in order, restarts them when they end, and stops them in reverse order.
//!
//! ```text
//!          start        ┌────────────┐  a child ended         ┌───────────┐
//!   ─────────────────▶  │ supervises │ ─────────────────────▶ │  stops    │ ─▶ starts again, answers,
//!                       └────────────┘  its parent ended,     │ one child │    or ends
//!                              ▲        terminate_child       │ at a time │
//!                              └───────────────────────────── └───────────┘
//! ```
//!
//! - [`Restarts`] decides what to do when a child ends; this file does it.
//! - A start is done when the call returns ([`Context::start_link`]), also for a supervisor under a supervisor.
//! - While the supervisor stops a child, it does nothing else. Other messages wait, up to [`DEFERRED_MAX`]; further
//!   calls are dropped. The ends of children always wait; their number is limited by the number of children.
//! - If a child does not start when the supervisor starts, the children before it get `shutdown` and then `kill`, in
//!   reverse order. The supervisor ends at once with `{shutdown, {failed_to_start_child, Id, Reason}}`.
//! - A child that does not start in a restart is tried again. Each try counts as one more restart.
//! - A panic in a function that makes or starts a child counts as a failed start, here and in [`DynamicSupervisor`]
//!   ([`Node::catch`](crate::Node::catch)).
//!
//! It supports these calls of `supervisor` in the STDLIB reference manual: `which_children`, `count_children`,
//! `{start_child, Spec}`, `{terminate_child, Id}`, `{restart_child, Id}`, `{delete_child, Id}`. A spec is any term that
//! [`Supervisor::on_start_child`] understands, since code cannot be sent.

mod child;
mod dynamic;
mod restarts;

pub use child::{Child, Kind, Shutdown, Start};
pub use dynamic::DynamicSupervisor;
pub use restarts::{Intensity, Restart, Restarts, Strategy, Verdict, is_orderly};

use crate::{
    context::Context,
    gen_server::{From, Request, parse},
    message::{Message, Payload, Process},
    server::{stop_reason, system, unknown},
};
use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use child::{Stopping, counted};
use core::ops::Range;
use wire::etf::{Pid, Term};

/// Most messages that wait while a supervisor stops a child. A further call or cast is dropped.
pub const DEFERRED_MAX: usize = 4096;
/// Most children of one supervisor. Beyond that, `start_child` is refused.
pub const CHILDREN_MAX: usize = 1 << 16;

/// Makes a child from the spec in `start_child`; `None` if it does not understand the spec.
pub type MakeChild<P> = Box<dyn FnMut(&Term) -> Option<Child<P>>>;

/// A process that supervises others.
pub struct Supervisor<P: Payload> {
    restarts: Restarts,
    make_child: Option<MakeChild<P>>,
    /// The children, in the order of their start.
    children: Vec<Held<P>>,
    /// The last number that was used for a child, or as the token of a stop.
    last: u64,
    /// The stop under way, if there is one.
    stops: Option<Stops>,
    deferred: VecDeque<Message<P>>,
}

/// A child and its state.
struct Held<P: Payload> {
    /// Unique in the life of this supervisor. A retry finds its child by this number.
    number: u64,
    child: Child<P>,
    state: State,
}

#[derive(Clone, PartialEq)]
enum State {
    Running(Pid),
    Ended,
    /// The child did not start. The supervisor will try again.
    Restarting,
}

/// The children at these places are being stopped, from the last to the first.
struct Stops {
    now: Stopping,
    left: Vec<usize>,
    then: Then,
}

/// What to do after children are stopped.
enum Then {
    Start(Range<usize>),
    Answer(From),
    Exit(Term),
}

impl<P: Payload> Supervisor<P> {
    /// A supervisor of these children. Two children with the same id are a bug.
    pub fn new(strategy: Strategy, intensity: Intensity, children: impl IntoIterator<Item = Child<P>>) -> Self {
        let mut supervisor = Self {
            restarts: Restarts::new(strategy, intensity),
            make_child: None,
            children: Vec::new(),
            last: 0,
            stops: None,
            deferred: VecDeque::new(),
        };
        for child in children {
            let is_new = supervisor.index_of(&child.id).is_none();
            assert!(is_new, "two children have the id {}", child.id);
            supervisor.add(child, State::Ended);
        }
        supervisor
    }

    /// How the spec in `{start_child, Spec}` is read. Without this, the call is refused.
    #[must_use]
    pub fn on_start_child(mut self, make: impl FnMut(&Term) -> Option<Child<P>> + 'static) -> Self {
        self.make_child = Some(Box::new(make));
        self
    }

    // The children

    fn add(&mut self, child: Child<P>, state: State) {
        self.last += 1;
        let number = self.last;
        self.children.push(Held { number, child, state });
    }

    fn index_of(&self, id: &Term) -> Option<usize> {
        self.children.iter().position(|held| held.child.id == *id)
    }

    /// Starts the child at this place. A child that wants to be ignored is listed without a process.
    fn start_child(&mut self, ctx: &mut Context<'_, P>, index: usize) -> Result<(), Term> {
        let held = &mut self.children[index];
        let started = held.child.bring_up(ctx);
        held.state = match &started {
            Ok(pid) => State::Running(pid.clone()),
            Err(_) => State::Ended,
        };
        match started {
            Ok(_) => Ok(()),
            Err(reason) if reason.is_atom("normal") => Ok(()),
            Err(reason) => Err(reason),
        }
    }

    /// Starts the children at these places, in order. The first one that does not start is tried again later, together
    /// with the children that are restarted with it.
    fn start_again(&mut self, ctx: &mut Context<'_, P>, places: Range<usize>) {
        for index in places {
            if self.start_child(ctx, index).is_err() {
                self.children[index].state = State::Restarting;
                ctx.timer(0, self.children[index].number);
                return;
            }
        }
    }

    fn ended(&mut self, ctx: &mut Context<'_, P>, pid: &Pid, reason: &Term) {
        let state = State::Running(pid.clone());
        let Some(index) = self.children.iter().position(|held| held.state == state) else {
            return;
        };
        let held = &mut self.children[index];
        held.state = State::Ended;
        let restart = held.child.restart;
        let (now_us, count) = (ctx.now().monotonic_us, self.children.len());
        let verdict = self.restarts.ended(now_us, index, count, restart, reason);
        self.carry_out(ctx, index, verdict);
    }

    fn retry(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        let place = self.children.iter().position(|held| held.number == number);
        let Some(index) = place.filter(|index| self.children[*index].state == State::Restarting) else {
            return;
        };
        let verdict = self.restarts.again(ctx.now().monotonic_us, index, self.children.len());
        self.carry_out(ctx, index, verdict);
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, P>, index: usize, verdict: Verdict) {
        match verdict {
            Verdict::Keep => {}
            Verdict::Forget => drop(self.children.remove(index)),
            Verdict::Restart(places) => self.stop(ctx, places.clone(), Then::Start(places)),
            Verdict::GiveUp => self.stop_all(ctx, Term::atom("shutdown")),
        }
    }

    // Stopping

    fn stop_all(&mut self, ctx: &mut Context<'_, P>, reason: Term) {
        self.stop(ctx, 0..self.children.len(), Then::Exit(reason));
    }

    fn stop(&mut self, ctx: &mut Context<'_, P>, places: Range<usize>, then: Then) {
        self.stop_next(ctx, places.collect(), then);
    }

    /// Stops the last child that runs. If none runs, goes on.
    fn stop_next(&mut self, ctx: &mut Context<'_, P>, mut left: Vec<usize>, then: Then) {
        while let Some(index) = left.pop() {
            let held = &mut self.children[index];
            if let State::Running(pid) = &held.state {
                self.last += 1;
                let now = Stopping::begin(ctx, pid.clone(), held.child.shutdown, self.last);
                self.stops = Some(Stops { now, left, then });
                return;
            }
            held.state = State::Ended;
        }
        match then {
            Then::Start(places) => {
                let rest = self.children.len() - places.end;
                let is_temporary = |held: &Held<P>| held.child.restart == Restart::Temporary;
                let gone: Vec<usize> = places.clone().filter(|at| is_temporary(&self.children[*at])).collect();
                for index in gone.into_iter().rev() {
                    self.children.remove(index);
                }
                self.start_again(ctx, places.start..self.children.len() - rest);
            }
            Then::Answer(from) => ctx.reply(&from, Term::atom("ok")),
            Then::Exit(reason) => ctx.exit(reason),
        }
    }

    /// Handles a message while children are being stopped.
    fn while_stopping(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        let Some(Stops { now, .. }) = &mut self.stops else {
            return;
        };
        match message {
            Message::Down { monitor, .. } if now.has_ended(ctx, &monitor) => {
                if let Some(Stops { now, left, then }) = self.stops.take() {
                    self.stopped(now.pid(), matches!(then, Then::Answer(_)));
                    self.stop_next(ctx, left, then);
                }
            }
            Message::Term { .. } if self.deferred.len() >= DEFERRED_MAX => {}
            message => {
                if let Message::Timer { token } = message {
                    now.overdue(ctx, token);
                }
                self.deferred.push_back(message);
            }
        }
    }

    fn stopped(&mut self, pid: &Pid, on_demand: bool) {
        let state = State::Running(pid.clone());
        let Some(index) = self.children.iter().position(|held| held.state == state) else {
            return;
        };
        self.children[index].state = State::Ended;
        // Children stopped for a restart are removed once all are stopped: until then their places count.
        if on_demand && self.children[index].child.restart == Restart::Temporary {
            self.children.remove(index);
        }
    }

    // Calls

    fn call(&mut self, ctx: &mut Context<'_, P>, from: From, request: &Term) {
        let answer = match request.as_tuple() {
            None if request.is_atom("which_children") => self.which_children(),
            None if request.is_atom("count_children") => {
                let each = self.children.iter();
                let is_active = |state: &State| matches!(state, State::Running(pid) if ctx.is_alive(pid));
                counted(each.map(|held| (held.child.kind, is_active(&held.state))))
            }
            Some([word, spec]) if word.is_atom("start_child") => self.add_child(ctx, spec),
            Some([word, id]) if word.is_atom("restart_child") => self.restart_child(ctx, id),
            Some([word, id]) if word.is_atom("delete_child") => self.delete_child(id),
            Some([word, id]) if word.is_atom("terminate_child") => match self.index_of(id) {
                Some(index) => return self.stop(ctx, index..index + 1, Then::Answer(from)),
                None => error(Term::atom("not_found")),
            },
            Some(_) | None => error((Term::atom("unknown_call"), request.clone()).into()),
        };
        ctx.reply(&from, answer);
    }

    /// Lists the last child first, as OTP does.
    fn which_children(&self) -> Term {
        let each = self.children.iter().rev().map(|held| {
            let child = match &held.state {
                State::Running(pid) => Term::Pid(pid.clone()),
                State::Ended => Term::atom("undefined"),
                State::Restarting => Term::atom("restarting"),
            };
            held.child.listed(held.child.id.clone(), child)
        });
        Term::List(each.collect())
    }

    fn add_child(&mut self, ctx: &mut Context<'_, P>, spec: &Term) -> Term {
        let child = match made(ctx, self.make_child.as_mut(), spec) {
            Ok(child) => child,
            Err(reason) => return error(reason),
        };
        if let Some(index) = self.index_of(&child.id) {
            return error(match &self.children[index].state {
                State::Running(pid) => (Term::atom("already_started"), pid.clone()).into(),
                State::Ended | State::Restarting => Term::atom("already_present"),
            });
        }
        if self.children.len() >= CHILDREN_MAX {
            return error(Term::atom("max_children"));
        }
        self.add(child, State::Ended);
        let index = self.children.len() - 1;
        let answer = self.start_on_demand(ctx, index);
        let is_up = matches!(self.children[index].state, State::Running(_));
        // A child that refused is not listed. Nor is a temporary child that wanted to be ignored.
        let is_listed = is_up || !is_error(&answer) && self.children[index].child.restart != Restart::Temporary;
        if !is_listed {
            self.children.remove(index);
        }
        answer
    }

    fn restart_child(&mut self, ctx: &mut Context<'_, P>, id: &Term) -> Term {
        match self.stopped_child(id) {
            Ok(index) => self.start_on_demand(ctx, index),
            Err(why) => error(Term::atom(why)),
        }
    }

    fn delete_child(&mut self, id: &Term) -> Term {
        match self.stopped_child(id) {
            Ok(index) => {
                self.children.remove(index);
                Term::atom("ok")
            }
            Err(why) => error(Term::atom(why)),
        }
    }

    /// The place of a child that does not run; or why there is none.
    fn stopped_child(&self, id: &Term) -> Result<usize, &'static str> {
        let index = self.index_of(id).ok_or("not_found")?;
        match self.children[index].state {
            State::Running(_) => Err("running"),
            State::Restarting => Err("restarting"),
            State::Ended => Ok(index),
        }
    }

    fn start_on_demand(&mut self, ctx: &mut Context<'_, P>, index: usize) -> Term {
        match self.start_child(ctx, index) {
            Ok(()) => started(match &self.children[index].state {
                State::Running(pid) => Some(pid.clone()),
                State::Ended | State::Restarting => None,
            }),
            Err(reason) => error(reason),
        }
    }

    fn supervise(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        match message {
            Message::Exit { from, reason } if ctx.parent() == Some(&from) => self.stop_all(ctx, reason),
            Message::Exit { from, reason } => self.ended(ctx, &from, &reason),
            Message::Timer { token } => self.retry(ctx, token),
            Message::Term { term, .. } => match asked(ctx, term) {
                Asked::Stop(reason) => self.stop_all(ctx, reason),
                Asked::Call(from, request) => self.call(ctx, from, &request),
                Asked::Nothing => {}
            },
            // Other messages do not concern a supervisor.
            _ => {}
        }
    }
}

impl<P: Payload> Process<P> for Supervisor<P> {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
        for index in 0..self.children.len() {
            let Err(reason) = self.start_child(ctx, index) else {
                continue;
            };
            for held in self.children[..index].iter().rev() {
                if let State::Running(pid) = &held.state {
                    ctx.exit_other(pid, Term::atom("shutdown"));
                    ctx.exit_other(pid, Term::atom("kill"));
                }
            }
            let id = self.children[index].child.id.clone();
            let failed = Term::from((Term::atom("failed_to_start_child"), id, reason));
            return ctx.exit((Term::atom("shutdown"), failed).into());
        }
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        if self.stops.is_some() {
            self.while_stopping(ctx, message);
        } else {
            self.supervise(ctx, message);
        }
        while self.stops.is_none()
            && ctx.exiting().is_none()
            && let Some(message) = self.deferred.pop_front()
        {
            self.supervise(ctx, message);
        }
    }
}

/// The child that `make` makes from a spec; or why there is none.
fn made<P: Payload>(ctx: &mut Context<'_, P>, make: Option<&mut MakeChild<P>>, spec: &Term) -> Result<Child<P>, Term> {
    let made = ctx.caught(|_| make.and_then(|make| make(spec)))?;
    made.ok_or_else(|| (Term::atom("invalid_child_spec"), spec.clone()).into())
}

/// The answer to a start: `{ok, Pid}`, or `{ok, undefined}` if the child wanted to be ignored.
fn started(pid: Option<Pid>) -> Term {
    let child = pid.map_or(Term::atom("undefined"), Term::Pid);
    (Term::atom("ok"), child).into()
}

fn error(why: Term) -> Term {
    (Term::atom("error"), why).into()
}

fn is_error(answer: &Term) -> bool {
    matches!(answer.as_tuple(), Some([word, _]) if word.is_atom("error"))
}

/// What a message requests from a supervisor.
enum Asked {
    /// The supervisor must end with this reason. The request is answered already.
    Stop(Term),
    Call(From, Term),
    Nothing,
}

/// Reads a message, and answers `sys` messages.
fn asked<P: Payload>(ctx: &mut Context<'_, P>, term: Term) -> Asked {
    let Some((from, request)) = system(&term) else {
        return match parse(term) {
            Request::Call { from, request } => Asked::Call(from, request),
            Request::Cast(_) | Request::Info(_) => Asked::Nothing,
        };
    };
    if let Some(reason) = stop_reason(&request) {
        let reason = reason.clone();
        ctx.reply(&from, Term::atom("ok"));
        return Asked::Stop(reason);
    }
    ctx.reply(&from, unknown(request));
    Asked::Nothing
}
