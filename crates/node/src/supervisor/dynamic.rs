//! [`DynamicSupervisor`]: many children made by one function, started on demand, and stopped all at the same time.
//!
//! - Children have no ids and no order. The end of one does not affect the others.
//! - It supports these calls of Elixir's `DynamicSupervisor`: `{start_child, Args}` → `{ok, Pid}`, `{error,
//!   max_children}` or `{error, Reason}`; `{terminate_child, Pid}`, `which_children`, `count_children`. `Args` is any
//!   term that the function which makes the children understands.
//! - A child that does not start in a restart is tried again. Each try counts as one more restart. It counts as a child
//!   meanwhile.

use super::{
    Asked, CHILDREN_MAX, Intensity, Restarts, Strategy, Verdict, asked,
    child::{Child, Stopping, counted},
    error, made, started,
};
use crate::{
    context::Context,
    gen_server::From,
    message::{Message, Payload, Process},
};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use wire::etf::{Pid, Ref, Term};

/// A process that supervises children started on demand.
pub struct DynamicSupervisor<P: Payload> {
    restarts: Restarts,
    children_max: usize,
    make_child: super::MakeChild<P>,
    /// The children by number, in the order of their start.
    children: BTreeMap<u64, Held<P>>,
    /// The numbers of children that run or are being stopped.
    numbers: BTreeMap<Pid, u64>,
    next: u64,
    /// The exit reason, for when all children are gone.
    ending: Option<Term>,
}

struct Held<P: Payload> {
    child: Child<P>,
    state: State,
}

enum State {
    Running(Pid),
    Restarting,
    /// The requester, if there is one, is answered when the child has ended.
    Stopping(Stopping, Option<From>),
}

impl State {
    fn is_active<P: Payload>(&self, ctx: &Context<'_, P>) -> bool {
        match self {
            Self::Running(pid) => ctx.is_alive(pid),
            Self::Stopping(stopping, _) => ctx.is_alive(stopping.pid()),
            Self::Restarting => false,
        }
    }
}

impl<P: Payload> DynamicSupervisor<P> {
    /// A supervisor of up to `children_max` children, and never more than [`CHILDREN_MAX`]. `make` makes a child from
    /// the arguments of `start_child`, or returns `None` if it does not understand them.
    pub fn new(
        intensity: Intensity,
        children_max: usize,
        make: impl FnMut(&Term) -> Option<Child<P>> + 'static,
    ) -> Self {
        Self {
            restarts: Restarts::new(Strategy::OneForOne, intensity),
            children_max: children_max.min(CHILDREN_MAX),
            make_child: Box::new(make),
            children: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next: 0,
            ending: None,
        }
    }

    fn start_child(&mut self, ctx: &mut Context<'_, P>, args: &Term) -> Term {
        if self.children.len() >= self.children_max {
            return error(Term::atom("max_children"));
        }
        let mut child = match made(ctx, Some(&mut self.make_child), args) {
            Ok(child) => child,
            Err(reason) => return error(reason),
        };
        match child.bring_up(ctx) {
            Ok(pid) => {
                self.next += 1;
                self.numbers.insert(pid.clone(), self.next);
                let state = State::Running(pid.clone());
                self.children.insert(self.next, Held { child, state });
                started(Some(pid))
            }
            Err(reason) if reason.is_atom("normal") => Term::atom("ignore"),
            Err(reason) => error(reason),
        }
    }

    fn ended(&mut self, ctx: &mut Context<'_, P>, pid: &Pid, reason: &Term) {
        let Some(number) = self.numbers.remove(pid) else {
            return;
        };
        let Some(held) = self.children.get(&number) else {
            return;
        };
        let now_us = ctx.now().monotonic_us;
        let verdict = self.restarts.ended(now_us, 0, 1, held.child.restart, reason);
        self.carry_out(ctx, number, &verdict);
    }

    fn retry(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        if let Some(Held {
            state: State::Restarting,
            ..
        }) = self.children.get(&number)
        {
            let verdict = self.restarts.again(ctx.now().monotonic_us, 0, 1);
            self.carry_out(ctx, number, &verdict);
        }
    }

    fn carry_out(&mut self, ctx: &mut Context<'_, P>, number: u64, verdict: &Verdict) {
        match verdict {
            // A child without an id could not be restarted by a call.
            Verdict::Keep | Verdict::Forget => drop(self.children.remove(&number)),
            Verdict::Restart(_) => self.restart(ctx, number),
            Verdict::GiveUp => {
                self.children.remove(&number);
                self.stop_all(ctx, Term::atom("shutdown"));
            }
        }
    }

    fn restart(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        let Some(held) = self.children.get_mut(&number) else {
            return;
        };
        match held.child.bring_up(ctx) {
            Ok(pid) => {
                self.numbers.insert(pid.clone(), number);
                held.state = State::Running(pid);
            }
            Err(reason) if reason.is_atom("normal") => drop(self.children.remove(&number)),
            Err(_) => {
                held.state = State::Restarting;
                ctx.timer(0, number);
            }
        }
    }

    // Stopping

    fn stop(&mut self, ctx: &mut Context<'_, P>, number: u64, asker: Option<From>) {
        if let Some(held) = self.children.get_mut(&number)
            && let State::Running(pid) = &held.state
        {
            let stopping = Stopping::begin(ctx, pid.clone(), held.child.shutdown, number);
            held.state = State::Stopping(stopping, asker);
        }
    }

    fn stop_all(&mut self, ctx: &mut Context<'_, P>, reason: Term) {
        self.ending.get_or_insert(reason);
        self.children.retain(|_, held| !matches!(held.state, State::Restarting));
        let numbers: Vec<u64> = self.children.keys().copied().collect();
        for number in numbers {
            self.stop(ctx, number, None);
        }
        self.end_when_empty(ctx);
    }

    fn end_when_empty(&mut self, ctx: &mut Context<'_, P>) {
        if self.children.is_empty()
            && let Some(reason) = self.ending.take()
        {
            ctx.exit(reason);
        }
    }

    fn stopped(&mut self, ctx: &mut Context<'_, P>, pid: &Pid, monitor: &Ref) {
        let Some(number) = self.numbers.get(pid) else {
            return;
        };
        if let Some(Held {
            state: State::Stopping(stopping, asker),
            ..
        }) = self.children.get_mut(number)
            && stopping.has_ended(ctx, monitor)
        {
            if let Some(asker) = asker.take() {
                ctx.reply(&asker, Term::atom("ok"));
            }
            self.children.remove(number);
            self.numbers.remove(pid);
            self.end_when_empty(ctx);
        }
    }

    // Calls

    fn call(&mut self, ctx: &mut Context<'_, P>, from: From, request: &Term) {
        let answer = match request.as_tuple() {
            None if request.is_atom("which_children") => self.which_children(),
            None if request.is_atom("count_children") => {
                let each = self.children.values();
                counted(each.map(|held| (held.child.kind, held.state.is_active(ctx))))
            }
            Some([word, _]) if word.is_atom("start_child") && self.ending.is_some() => error(Term::atom("shutdown")),
            Some([word, args]) if word.is_atom("start_child") => self.start_child(ctx, args),
            Some([word, Term::Pid(pid)]) if word.is_atom("terminate_child") => {
                let number = self.numbers.get(pid).copied();
                let is_running = |number: &u64| matches!(self.children[number].state, State::Running(_));
                match number.filter(is_running) {
                    Some(number) => return self.stop(ctx, number, Some(from)),
                    None => error(Term::atom("not_found")),
                }
            }
            Some(_) | None => error((Term::atom("unknown_call"), request.clone()).into()),
        };
        ctx.reply(&from, answer);
    }

    fn which_children(&self) -> Term {
        let each = self.children.values().map(|held| {
            let child = match &held.state {
                State::Running(pid) => Term::Pid(pid.clone()),
                State::Stopping(stopping, _) => Term::Pid(stopping.pid().clone()),
                State::Restarting => Term::atom("restarting"),
            };
            held.child.listed(Term::atom("undefined"), child)
        });
        Term::List(each.collect())
    }
}

impl<P: Payload> Process<P> for DynamicSupervisor<P> {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        match message {
            Message::Exit { from, reason } if ctx.parent() == Some(&from) => self.stop_all(ctx, reason),
            Message::Exit { from, reason } => {
                self.ended(ctx, &from, &reason);
                self.end_when_empty(ctx);
            }
            Message::Down {
                monitor,
                target: crate::message::Address::Pid(pid),
                ..
            } => self.stopped(ctx, &pid, &monitor),
            Message::Timer { token } => match self.children.get_mut(&token) {
                Some(Held {
                    state: State::Stopping(stopping, _),
                    ..
                }) => stopping.overdue(ctx, token),
                Some(_) | None => self.retry(ctx, token),
            },
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
