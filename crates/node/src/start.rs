//! Starting a process at once, as `start_link` does, and what guards the processes of a program.
//!
//! - Who starts a process this way has its start behind it: the child runs its `start` within the call, and nobody
//!   else runs meanwhile. So children start in order, each whole, however deep they nest.
//! - A child that ends in its start sends its parent no exit signal: the result says it.

use crate::{
    context::Context,
    message::{Payload, Process},
    peers::NOBODY,
    scheduler::{Core, Node},
    table::{Body, Local},
};
use alloc::boxed::Box;
use wire::etf::{Atom, Pid, Term};

/// Puts a process into another that stands around it, for instance to catch its panics.
pub type Guard<P> = fn(Box<dyn Process<P>>) -> Box<dyn Process<P>>;

/// Calls a function once. If that panics, gives the exit reason that the panic is.
pub type Catch = fn(&mut dyn FnMut()) -> Result<(), Term>;

impl<P: Payload> Node<P> {
    /// Every process that is added from now on is given to `guard` first.
    pub fn guard(&mut self, guard: Guard<P>) {
        self.core.guard = Some(guard);
    }

    /// What makes and starts the children of supervisors is called by `catch` from now on: a panic there is a start
    /// that failed, and not the end of the supervisor.
    pub fn catch(&mut self, catch: Catch) {
        self.core.catch = Some(catch);
    }

    /// Whether this is a process of this node that has not ended.
    pub fn is_alive(&self, process: &Pid) -> bool {
        self.core.table.find(process).is_some()
    }
}

impl<P: Payload> Core<P> {
    pub(crate) fn guarded(&self, process: Box<dyn Process<P>>) -> Box<dyn Process<P>> {
        match self.guard {
            Some(guard) => guard(process),
            None => process,
        }
    }

    fn start_process(
        &mut self,
        parent: Option<Local>,
        name: Option<&str>,
        process: Box<dyn Process<P>>,
    ) -> Result<Pid, Term> {
        if let Some(holder) = name.and_then(|name| self.registered.find_text(name)) {
            let holder = self.pid(holder.1);
            return Err((Term::atom("already_started"), holder).into());
        }
        if name == Some(NOBODY) {
            return Err(Term::atom("badarg"));
        }
        // Before the child has a slot: a text that is no atom ends who gave it, and nobody would free the slot.
        let name = name.map(Atom::new);
        let body = Body::Idle(self.guarded(process));
        let child = self.table.add(body);
        if let Some(name) = name {
            self.register(name, child);
        }
        self.set_parent(child, parent);
        let pid = self.pid(child);
        match self.run_process(child, |process, ctx| process.start(ctx)) {
            Some(reason) => Err(reason),
            None => {
                if let Some(parent) = parent {
                    self.link(parent, &pid);
                }
                Ok(pid)
            }
        }
    }

    fn set_parent(&mut self, child: Local, parent: Option<Local>) {
        let parent = parent.map(|parent| self.pid(parent));
        if let Some(slot) = self.table.get_mut(child) {
            slot.parent = parent;
        }
    }
}

impl<P: Payload> Context<'_, P> {
    /// Adds a process here, runs its `start` and links to it. This process is its [`Context::parent`].
    ///
    /// # Errors
    /// Why it ended in its start, `normal` if it wants to be ignored; or `{already_started, Pid}` if the name is taken.
    pub fn start_link(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Result<Pid, Term> {
        self.core.start_process(Some(self.me), name, process)
    }

    /// Adds a process here and runs its `start`. Nobody is linked to it.
    ///
    /// # Errors
    /// As [`Context::start_link`].
    pub fn start(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Result<Pid, Term> {
        self.core.start_process(None, name, process)
    }

    /// A pid for an async process of the shell ([`Node::adopt`]), linked to this process. It does not trap exits; when
    /// a signal ends it, that is the last message it is given.
    pub fn adopt_link(&mut self) -> Pid {
        let child = self.core.table.add(Body::Adopted);
        if let Some(slot) = self.core.table.get_mut(child) {
            slot.trap_exit = false;
        }
        self.core.set_parent(child, Some(self.me));
        let pid = self.core.pid(child);
        self.core.link(self.me, &pid);
        pid
    }

    /// Runs what is the program's in the name of this process; gives the reason if it panics.
    pub(crate) fn caught<R>(&mut self, run: impl FnOnce(&mut Self) -> R) -> Result<R, Term> {
        let Some(catch) = self.core.catch else {
            return Ok(run(self));
        };
        let (mut run, mut result) = (Some(run), None);
        catch(&mut || result = run.take().map(|run| run(self)))?;
        Ok(result.expect("what is called without a panic has a result"))
    }

    /// Whether this is a process of this node that has not ended.
    pub fn is_alive(&self, process: &Pid) -> bool {
        self.core.table.find(process).is_some()
    }

    /// Who started this process with [`Context::start_link`].
    pub fn parent(&self) -> Option<&Pid> {
        self.core.table.get(self.me)?.parent.as_ref()
    }

    /// Why this process ends with the current message, if it does.
    pub fn exiting(&self) -> Option<&Term> {
        self.exit.as_ref()
    }
}
