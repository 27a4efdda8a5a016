//! The requests to `global` of processes of this node.
//!
//! A lookup reads the table of this node. The other requests are calls of the local server. Each is answered with
//! exactly one `Message::Reply`; at a hidden node, which runs no `global`, with `Err(noproc)`.

use super::{FOREVER_US, Method, NAME, locks::LockId};
use crate::{
    context::Context,
    message::{Address, Payload},
};
use alloc::vec::Vec;
use wire::etf::{Atom, Pid, Ref, Term};

impl<P: Payload> Context<'_, P> {
    /// The process that has a global name.
    pub fn whereis_global(&self, name: &Term) -> Option<Pid> {
        let pid = &self.core.global_names.find(name)?.pid;
        // A process of this node may have ended a moment ago.
        let lives = !self.core.table.is_ours(pid) || self.core.table.find(pid).is_some();
        lives.then(|| pid.clone())
    }

    /// Sends to a global name. Returns false if no process has it.
    pub fn send_global(&mut self, name: &Term, term: Term) -> bool {
        match self.whereis_global(name) {
            Some(pid) => {
                self.send(&Address::Pid(pid), term);
                true
            }
            None => false,
        }
    }

    /// All global names, in order.
    pub fn global_names(&self) -> Vec<Term> {
        self.core.global_names.names().cloned().collect()
    }

    /// Gives a process a name at all nodes. If two partitions meet that both have the name, `method` decides. The
    /// answer is the atom `yes`, or `no` if the name is taken. The request waits for [`Context::sync_global`] first.
    pub fn register_global(&mut self, name: Term, process: &Pid, method: Method) -> Ref {
        let verb = Term::atom("register_name");
        self.ask_global(Term::from((verb, name, process.clone(), method.to_term())))
    }

    /// Frees a name at all nodes. The answer is the atom `yes`, or `no` if no process has it.
    pub fn unregister_global(&mut self, name: Term) -> Ref {
        self.ask_global(Term::from((Term::atom("unregister_name"), name)))
    }

    /// Locks a resource, which is any term, for this process at these nodes, or at all known ones. If it is taken, the
    /// request tries again `retries` times, with longer and longer sleeps; with None forever. The answer is `true` or
    /// `false`. The locks of a process are released when it ends. Without `nodes`, each try waits for
    /// [`Context::sync_global`] first.
    pub fn global_lock(&mut self, resource: Term, nodes: Option<Vec<Atom>>, retries: Option<u32>) -> Ref {
        let retries = retries.map_or(Term::atom("infinity"), Term::from);
        self.ask_global(Term::from((Term::atom("lock"), resource, nodes_term(nodes), retries)))
    }

    /// Releases a lock of this process at these nodes, or at all known ones. The answer is `true`.
    pub fn global_unlock(&mut self, resource: Term, nodes: Option<Vec<Atom>>) -> Ref {
        self.ask_global(Term::from((Term::atom("unlock"), resource, nodes_term(nodes))))
    }

    /// Whether this process has the lock of a resource at this node.
    pub fn holds_global(&self, resource: &Term) -> bool {
        let me = self.me();
        let id = LockId {
            resource: resource.clone(),
            requester: Term::Pid(me.clone()),
        };
        self.core.global_locks.is_held_by(&id, me)
    }

    /// Waits until this node agrees on names and locks with all visible nodes that it is connected to or is to meet, or
    /// has given them up. The answer is `ok`.
    pub fn sync_global(&mut self) -> Ref {
        self.ask_global(Term::atom("sync"))
    }

    fn ask_global(&mut self, request: Term) -> Ref {
        self.call(&Address::Name(Atom::new(NAME)), request, FOREVER_US)
    }
}

fn nodes_term(nodes: Option<Vec<Atom>>) -> Term {
    nodes.map_or(Term::atom("all"), Term::list)
}
