//! Starting a process at once, as `start_link` does, and guards around the processes of a program.
//!
//! - When the call returns, the start is over: the child runs its `start` within the call, and no other process runs
//!   meanwhile. So children start in order, each one completely, however deep they are nested.
//! - A child that ends in its start sends its parent no exit signal. The result of the call reports it.

use crate::{
    context::Context,
    message::{Payload, Process},
    peers::NOBODY,
    scheduler::{Core, Node},
    table::{Body, Local},
};
use alloc::boxed::Box;
use wire::etf::{Atom, Pid, Term};

/// Wraps a process in another one, for instance to catch its panics.
pub type Guard<P> = fn(Box<dyn Process<P>>) -> Box<dyn Process<P>>;

/// Calls a function once. If it panics, returns the exit reason for that panic.
pub type Catch = fn(&mut dyn FnMut()) -> Result<(), Term>;

impl<P: Payload> Node<P> {
    /// Passes every process that is added from now on to `guard` first.
    pub fn guard(&mut self, guard: Guard<P>) {
        self.core.guard = Some(guard);
    }

    /// Calls the functions that make and start children of supervisors through `catch` from now on. So a panic there is
    /// a failed start, and does not end the supervisor.
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
        // Before the child has a slot: if the text is not an atom, the caller ends, and the slot would not be freed.
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
    /// Adds a process, runs its `start` and links to it. This process becomes its [`Context::parent`].
    ///
    /// # Errors
    /// Why the process ended in its start; `normal` if it wants to be ignored; or `{already_started, Pid}` if the name
    /// is taken.
    pub fn start_link(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Result<Pid, Term> {
        self.core.start_process(Some(self.me), name, process)
    }

    /// Adds a process and runs its `start`. No process is linked to it.
    ///
    /// # Errors
    /// As for [`Context::start_link`].
    pub fn start(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Result<Pid, Term> {
        self.core.start_process(None, name, process)
    }

    /// A pid for an async process of the shell ([`Node::adopt`]), linked to this process. It does not trap exits. If a
    /// signal ends it, that signal is its last message.
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

    /// Runs code of the program in the name of this process. Returns the reason if it panics.
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

    /// The process that started this one with [`Context::start_link`].
    pub fn parent(&self) -> Option<&Pid> {
        self.core.table.get(self.me)?.parent.as_ref()
    }

    /// The reason with which this process ends after the current message, if it does.
    pub fn exiting(&self) -> Option<&Term> {
        self.exit.as_ref()
    }
}
