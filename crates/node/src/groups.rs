//! Process groups, like those of `pg`: named sets of processes on all nodes of the cluster.
//!
//! Each *scope* has its own groups. It is a process registered under the scope's name, which exchanges messages with
//! the processes of the same name at visible peers (`talk`). It has a table of the members of each group (`roster`),
//! which every process of this node can read without a message. Only a process's own node adds it to a group or removes
//! it; the other nodes are notified.
//!
//! ```text
//!      ours                              theirs
//!   node up   discover ─▶             ◀─ discover   node up
//!             ◀─ sync (all their members)   sync (all ours) ─▶     for each discover
//!             join, leave, as they happen ─▶
//! ```
//!
//! - A peer's picture of our members is always, after each message, what the roster was when the message was sent: a
//!   message is sent in the same step in which the roster changes. A join or leave is sent only to peers that got all
//!   members before. So a scope of a BEAM is never told about a group that it does not know, which would end it.
//! - Each peer node has one scope of a name: a newer one replaces it.
//! - A peer may only report its own processes, within limits. Otherwise its connection is closed.
//! - The scope is monitored, not its members. When the scope or its node is lost, the members are removed.
//! - No node is dialled because of a scope. Nothing about scopes is sent over hidden connections.
//! - A local process that ends has left all its groups before any process is notified of its end.
//!
//! The calls that a BEAM offers (`pg:join/2` and the others) are for its own processes. Such calls from other nodes get
//! no answer here.
//!
//! Source: pg(3), OTP kernel reference manual.

mod exchange;
mod roster;
mod talk;
mod watchers;

use crate::{
    context::Context,
    message::{Address, Message, Payload},
    scheduler::{Core, Node},
    table::Local,
};
use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};
use exchange::Talker;
use roster::{Change, Roster};
use talk::Talk;
use watchers::Watchers;
use wire::etf::{Atom, Pid, Ref, Term};

/// The default scope of `pg`.
pub const DEFAULT_SCOPE: &str = "pg";

/// Groups, each with its members.
pub type Groups = Vec<(Term, Vec<Pid>)>;

/// A join or a leave of processes. A watcher gets it as the message `{Ref, join|leave, Group, Pids}` from the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// The reference that [`Context::monitor_group`] or [`Context::monitor_scope`] returned.
    pub monitor: Ref,
    /// Whether they joined; if not, they left.
    pub joined: bool,
    /// Which group.
    pub group: Term,
    /// The processes. A process that joined twice at once is listed twice.
    pub pids: Vec<Pid>,
}

impl GroupChange {
    /// Reads such a message. None if it is a different message.
    pub fn read(term: &Term) -> Option<Self> {
        let [Term::Ref(monitor), verb, group, Term::List(pids)] = term.as_tuple()? else {
            return None;
        };
        let joined = verb.is_atom("join");
        let pids = pids.iter().map(|pid| pid.as_pid().cloned()).collect::<Option<_>>()?;
        (joined || verb.is_atom("leave")).then(|| Self {
            monitor: monitor.clone(),
            joined,
            group: group.clone(),
            pids,
        })
    }

    fn term(monitor: Ref, change: &Change) -> Term {
        let verb = Term::atom(if change.joined { "join" } else { "leave" });
        Term::from((
            monitor,
            verb,
            change.group.clone(),
            Term::list(change.pids.iter().cloned()),
        ))
    }
}

/// The scopes of a node. There are few, all started by its own program, so a list is enough.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Vec<Scope>);

#[derive(Debug)]
struct Scope {
    name: Atom,
    process: Local,
    roster: Roster,
    /// The scopes of this name at peers, one for each node.
    peers: BTreeMap<Atom, Peer>,
    watchers: Watchers,
    /// Peers that were asked for their members and have not answered yet.
    asked: BTreeMap<Atom, Asked>,
    /// The groups of each local process, to remove it from them when it ends.
    joined: BTreeMap<Pid, Vec<Term>>,
}

#[derive(Debug)]
struct Asked {
    /// Fires if the peer has no such scope.
    monitor: Ref,
    until_us: u64,
}

#[derive(Debug)]
struct Peer {
    pid: Pid,
    monitor: Ref,
    /// Whether it got all our members. Since then it gets each change.
    told: bool,
}

impl Scopes {
    fn find(&mut self, name: &str) -> Option<&mut Scope> {
        self.0.iter_mut().find(|scope| scope.name == *name)
    }

    fn get(&self, name: &str) -> Option<&Scope> {
        self.0.iter().find(|scope| scope.name == *name)
    }

    /// The peers whose members are not known yet. A peer is listed once for each scope.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &Atom> {
        self.0.iter().flat_map(|scope| scope.asked.keys())
    }

    /// The nodes with members in any scope, and how often those joined. A node is listed once for each scope.
    pub(crate) fn joins_per_node(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.0.iter().flat_map(|scope| scope.roster.joins_per_node())
    }
}

/// Scopes, as used from outside of processes.
impl<P: Payload> Node<P> {
    /// Starts a scope, before the first input or between two inputs. None if the name is taken.
    pub fn start_scope(&mut self, name: &str) -> Option<Pid> {
        self.core.start_scope(name)
    }
}

/// Process groups. A scope that does not run here counts as empty.
impl<P: Payload> Context<'_, P> {
    /// Starts a scope, which is the process registered under that name. None if the name is taken. Every node that
    /// learns of a scope keeps its name forever, so names should be constants of the program.
    pub fn start_scope(&mut self, name: &str) -> Option<Pid> {
        self.core.start_scope(name)
    }

    /// Ends a scope: its processes leave their groups. Returns false if it does not run.
    pub fn stop_scope(&mut self, name: &str) -> bool {
        self.core.stop_scope(name)
    }

    /// Adds a process of this node to a group once more. Returns false if it is not a live process of this node, or if
    /// the scope does not run.
    pub fn join(&mut self, scope: &str, group: Term, pid: &Pid) -> bool {
        self.core.join_group(scope, group, pid)
    }

    /// Removes a process of this node from a group once. Returns false if it is not a member.
    pub fn leave(&mut self, scope: &str, group: &Term, pid: &Pid) -> bool {
        self.core.leave_group(scope, group, pid)
    }

    /// All members of a group, in no particular order. A process that joined twice is listed twice.
    pub fn members_of(&self, scope: &str, group: &Term) -> Vec<Pid> {
        let scope = self.core.scopes.get(scope);
        scope.map_or_else(Vec::new, |scope| scope.roster.members(group))
    }

    /// The members that live on this node.
    pub fn local_members_of(&self, scope: &str, group: &Term) -> Vec<Pid> {
        let (scope, node) = (self.core.scopes.get(scope), self.node());
        scope.map_or_else(Vec::new, |scope| scope.roster.members_of(node, group))
    }

    /// The groups that have members.
    pub fn groups(&self, scope: &str) -> Vec<Term> {
        let scope = self.core.scopes.get(scope);
        scope.map_or_else(Vec::new, |scope| scope.roster.groups().cloned().collect())
    }

    /// The current members of a group. From now on, each change is reported by a [`GroupChange`] message. None if the
    /// scope does not run.
    pub fn monitor_group(&mut self, scope: &str, group: Term) -> Option<(Ref, Vec<Pid>)> {
        let members = self.members_of(scope, &group);
        let monitor = self.core.watch_groups(scope, self.me, Some(group))?;
        Some((monitor, members))
    }

    /// All current groups. From now on, each change is reported by a [`GroupChange`] message. None if the scope does
    /// not run.
    pub fn monitor_scope(&mut self, scope: &str) -> Option<(Ref, Groups)> {
        let monitor = self.core.watch_groups(scope, self.me, None)?;
        let roster = &self.core.scopes.get(scope)?.roster;
        let members = |group: &Term| (group.clone(), roster.members(group));
        Some((monitor, roster.groups().map(members).collect()))
    }

    /// Ends a monitor of a group or a scope: no message comes with this reference any more. Returns false if there was
    /// none.
    pub fn demonitor_group(&mut self, scope: &str, monitor: &Ref) -> bool {
        self.core.unwatch_groups(scope, self.me, monitor)
    }
}

impl<P: Payload> Core<P> {
    fn stop_scope(&mut self, name: &str) -> bool {
        let scope = self.scopes.find(name).map(|scope| scope.process);
        if let Some(process) = scope {
            self.terminate(process, &Term::atom("shutdown"));
        }
        scope.is_some()
    }

    fn start_scope(&mut self, name: &str) -> Option<Pid> {
        let name = Atom::new(name);
        if self.registered.find(&name).is_some() {
            return None;
        }
        let pid = self.spawn_service(name.as_str(), Box::new(Talker { scope: name.clone() }));
        let process = self.table.find(&pid).expect("it was spawned just now");
        self.scopes.0.push(Scope {
            name,
            process,
            roster: Roster::default(),
            peers: BTreeMap::new(),
            asked: BTreeMap::new(),
            watchers: Watchers::default(),
            joined: BTreeMap::new(),
        });
        Some(pid)
    }

    // Operations of local processes

    fn join_group(&mut self, scope: &str, group: Term, pid: &Pid) -> bool {
        let found = self.scopes.find(scope);
        let Some((scope, _)) = found.zip(self.table.find(pid)) else {
            return false;
        };
        scope.roster.join(&self.config.name, &group, pid);
        scope.joined.entry(pid.clone()).or_default().push(group.clone());
        let (process, pids) = (scope.process, vec![pid.clone()]);
        let peer = self.pid(process);
        let talk = Talk::Join {
            peer,
            group: group.clone(),
            pids: pids.clone(),
        };
        let joined = true;
        self.tell_scopes(process, talk);
        self.notify(process, &[Change { joined, group, pids }]);
        true
    }

    fn leave_group(&mut self, scope: &str, group: &Term, pid: &Pid) -> bool {
        let Some(scope) = self.scopes.find(scope) else {
            return false;
        };
        let Some(groups) = scope.joined.get_mut(pid) else {
            return false;
        };
        let Some(at) = groups.iter().position(|joined| joined == group) else {
            return false;
        };
        groups.swap_remove(at);
        if groups.is_empty() {
            scope.joined.remove(pid);
        }
        let process = scope.process;
        self.left(process, pid, vec![group.clone()]);
        true
    }

    /// A local process ended. Removes it from its groups and from the watchers. If it was a scope, removes the scope.
    pub(crate) fn leave_all_groups(&mut self, process: Local, pid: &Pid) {
        self.scopes.0.retain(|scope| scope.process != process);
        for at in 0..self.scopes.0.len() {
            let scope = &mut self.scopes.0[at];
            scope.watchers.forget(process);
            let of = scope.process;
            if let Some(groups) = scope.joined.remove(pid) {
                self.left(of, pid, groups);
            }
        }
    }

    /// A local process left these groups, each once. Removes it, and notifies watchers and peers.
    fn left(&mut self, process: Local, pid: &Pid, groups: Vec<Term>) {
        let node = self.config.name.clone();
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        let change = |group: &Term| {
            let was_there = scope.roster.leave(&node, group, pid);
            assert!(was_there, "the roster has what its own processes joined");
            Change {
                joined: false,
                group: group.clone(),
                pids: vec![pid.clone()],
            }
        };
        let changes: Vec<Change> = groups.iter().map(change).collect();
        let (peer, pids) = (self.pid(process), vec![pid.clone()]);
        self.tell_scopes(process, Talk::Leave { peer, pids, groups });
        self.notify(process, &changes);
    }

    fn scope_of(&mut self, process: Local) -> Option<&mut Scope> {
        self.scopes.0.iter_mut().find(|scope| scope.process == process)
    }

    /// Sends a message to the scopes of this name at the peers that know our members.
    fn tell_scopes(&mut self, process: Local, talk: Talk) {
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        let told = scope.peers.values().filter(|peer| peer.told);
        let peers: Vec<Pid> = told.map(|peer| peer.pid.clone()).collect();
        if peers.is_empty() {
            return;
        }
        let term = talk.term();
        for peer in peers {
            self.send(process, &Address::Pid(peer), term.clone(), false);
        }
    }

    // Watchers

    fn watch_groups(&mut self, scope: &str, watcher: Local, group: Option<Term>) -> Option<Ref> {
        let scope = self.scopes.find(scope)?;
        self.last_reference += 1;
        let number = self.last_reference;
        scope.watchers.add((watcher, number), group);
        Some(self.reference(number))
    }

    fn unwatch_groups(&mut self, scope: &str, watcher: Local, monitor: &Ref) -> bool {
        let number = self.number(monitor);
        let Some((number, scope)) = number.zip(self.scopes.find(scope)) else {
            return false;
        };
        let watched = scope.watchers.remove((watcher, number));
        if watched {
            let is_of = |term: &Term| GroupChange::read(term).is_some_and(|change| change.monitor == *monitor);
            self.drop_queued(
                watcher,
                |message| matches!(message, Message::Term { term, .. } if is_of(term)),
            );
        }
        watched
    }

    fn notify(&mut self, process: Local, changes: &[Change]) {
        let from = self.pid(process);
        for change in changes {
            let Some(scope) = self.scope_of(process) else {
                return;
            };
            for (watcher, number) in scope.watchers.of(&change.group) {
                let term = GroupChange::term(self.reference(number), change);
                let from = Some(from.clone());
                self.post(watcher, Message::Term { from, term });
            }
        }
    }
}
