//! [`Child`]: how a supervisor starts a child, and how it stops one.
//!
//! To stop a child, the supervisor unlinks it, so that no exit signal comes from it any more. A monitor reports its
//! end: exactly one message, whatever the child does with its own links.

use super::restarts::Restart;
use crate::{
    context::Context,
    message::{Address, Payload, Process},
    server::{GenServer, Server},
    timers::TimerId,
};
use alloc::{boxed::Box, string::String};
use wire::etf::{Atom, Pid, Ref, Term};

/// Default time for a worker to shut down.
const SHUTDOWN_US: u64 = 5_000_000;

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// With `kill`, at once.
    BrutalKill,
    /// With `shutdown`, and after this many microseconds with `kill`.
    Within(u64),
    /// With `shutdown`, without a time limit. Meant for supervisors.
    Infinity,
}

/// The kind of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not a supervisor.
    Worker,
    /// A supervisor.
    Supervisor,
}

/// Starts a process and links it to the supervisor that calls this.
pub type Start<P> = Box<dyn FnMut(&mut Context<'_, P>) -> Result<Pid, Term>>;

/// How to start, restart and stop a child.
pub struct Child<P: Payload> {
    pub(super) id: Term,
    start: Start<P>,
    pub(super) restart: Restart,
    pub(super) shutdown: Shutdown,
    pub(super) kind: Kind,
}

impl<P: Payload> Child<P> {
    /// A permanent worker. `make` makes a new process for each start.
    pub fn new(id: impl Into<Term>, mut make: impl FnMut() -> Box<dyn Process<P>> + 'static) -> Self {
        Self::with_start(id, move |ctx| ctx.start_link(None, make()))
    }

    /// A permanent worker, registered under `name`. `make` makes a new server for each start.
    pub fn server<G: GenServer<P>>(name: &str, mut make: impl FnMut() -> G + 'static) -> Self {
        let registered = String::from(name);
        Self::with_start(Atom::new(name), move |ctx| {
            ctx.start_link(Some(&registered), Server::new(make()))
        })
    }

    /// A permanent worker. `start` starts it and links it to the supervisor, in whose name it runs.
    pub fn with_start(
        id: impl Into<Term>,
        start: impl FnMut(&mut Context<'_, P>) -> Result<Pid, Term> + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            start: Box::new(start),
            restart: Restart::Permanent,
            shutdown: Shutdown::Within(SHUTDOWN_US),
            kind: Kind::Worker,
        }
    }

    /// Starts the child. A panic counts as a failed start.
    pub(super) fn bring_up(&mut self, ctx: &mut Context<'_, P>) -> Result<Pid, Term> {
        ctx.caught(|ctx| (self.start)(ctx)).unwrap_or_else(Err)
    }

    /// Sets when it is restarted.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how it is stopped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Marks it as a supervisor, which has unlimited time to shut down.
    #[must_use]
    pub fn supervisor(mut self) -> Self {
        self.kind = Kind::Supervisor;
        self.shutdown(Shutdown::Infinity)
    }

    /// The child as `which_children` lists it: `{Id, Child, Kind, Modules}`.
    pub(super) fn listed(&self, id: Term, child: Term) -> Term {
        let kind = match self.kind {
            Kind::Worker => Term::atom("worker"),
            Kind::Supervisor => Term::atom("supervisor"),
        };
        (id, child, kind, Term::NIL).into()
    }
}

/// The answer to `count_children`, from the kind of each child and whether it runs.
pub(super) fn counted(children: impl Iterator<Item = (Kind, bool)>) -> Term {
    let [mut specs, mut active, mut supervisors] = [0_usize; 3];
    for (kind, is_active) in children {
        specs += 1;
        active += usize::from(is_active);
        supervisors += usize::from(kind == Kind::Supervisor);
    }
    let counts = [
        ("specs", specs),
        ("active", active),
        ("supervisors", supervisors),
        ("workers", specs - supervisors),
    ];
    Term::list(counts.map(|(what, count)| Term::from((Term::atom(what), count))))
}

/// A child that is being stopped.
#[derive(Debug)]
pub(super) struct Stopping {
    pid: Pid,
    monitor: Ref,
    timer: Option<TimerId>,
    token: u64,
}

impl Stopping {
    /// Asks a child to end. If it takes too long, a timer comes with `token`: then call `overdue`.
    pub(super) fn begin<P: Payload>(ctx: &mut Context<'_, P>, pid: Pid, shutdown: Shutdown, token: u64) -> Self {
        ctx.unlink(&pid);
        let monitor = ctx.monitor(&Address::Pid(pid.clone()));
        let (signal, timer) = match shutdown {
            Shutdown::BrutalKill => ("kill", None),
            Shutdown::Within(us) => ("shutdown", Some(ctx.timer(us, token))),
            Shutdown::Infinity => ("shutdown", None),
        };
        ctx.exit_other(&pid, Term::atom(signal));
        Self {
            pid,
            monitor,
            timer,
            token,
        }
    }

    /// A timer fired. If it is the timer of this child, the child is killed.
    pub(super) fn overdue<P: Payload>(&mut self, ctx: &mut Context<'_, P>, token: u64) {
        if self.token == token && self.timer.take().is_some() {
            ctx.exit_other(&self.pid, Term::atom("kill"));
        }
    }

    pub(super) fn pid(&self) -> &Pid {
        &self.pid
    }

    /// Whether this DOWN reports its end.
    pub(super) fn has_ended<P: Payload>(&self, ctx: &mut Context<'_, P>, monitor: &Ref) -> bool {
        let has_ended = self.monitor == *monitor;
        if let (true, Some(timer)) = (has_ended, self.timer) {
            ctx.cancel(timer);
        }
        has_ended
    }
}
