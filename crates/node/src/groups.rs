//! Process groups, as `pg` has them: named sets of processes all over the cluster.
//!
//! A *scope* is an overlay of its own: a process registered under the scope's name, which talks with
//! those of the same name at visible peers (`talk`), and a table of who is in which group
//! (`roster`), which every process here reads without a message. Only its own node adds a process to
//! a group or takes it out; the others hear of it.
//!
//! ```text
//!      ours                              theirs
//!   node up   discover ─▶             ◀─ discover   node up
//!             ◀─ sync (all their members)   sync (all ours) ─▶     for each discover
//!             join, leave, as they happen ─▶
//! ```
//!
//! - What a peer holds about us is, message by message, what the roster had when it was sent: it is
//!   sent in the same step in which the roster changes. A join or leave goes only to who was told all.
//!   So a scope of a BEAM never hears of a group that it does not know, which would end it.
//! - Per peer node there is one scope of a name: a newer one replaces it.
//! - A peer speaks for its own processes only, and within bounds; else its connection is cut.
//! - The scope is monitored, not the members: when it or its node is lost, they are gone.
//! - Nobody is dialled for a scope's sake, and a hidden connection carries nothing of it.
//! - A local process that ends has left all its groups before anybody hears of its end.
//!
//! What a BEAM offers as calls (`pg:join/2` and the others) is for its own processes: calls from other
//! nodes get no answer.
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

/// The scope that `pg` runs if it is given no other.
pub const DEFAULT_SCOPE: &str = "pg";

/// Groups, each with its members.
pub type Groups = Vec<(Term, Vec<Pid>)>;

/// Processes joined a group or left it: what comes to a watcher, as `{Ref, join|leave, Group, Pids}`
/// from the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupChange {
    /// What [`Context::monitor_group`] or [`Context::monitor_scope`] gave.
    pub monitor: Ref,
    /// They joined; else they left.
    pub joined: bool,
    /// Which group.
    pub group: Term,
    /// Who. A process that joined twice at once is there twice.
    pub pids: Vec<Pid>,
}

impl GroupChange {
    /// Reads such a message. None if it is another.
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

/// The scopes of a node. They are few and started by its own program: a list.
#[derive(Debug, Default)]
pub(crate) struct Scopes(Vec<Scope>);

#[derive(Debug)]
struct Scope {
    name: Atom,
    process: Local,
    roster: Roster,
    /// The scopes of this name at peers, one per node.
    peers: BTreeMap<Atom, Peer>,
    watchers: Watchers,
    /// Peers that were asked for their members and have not answered.
    asked: BTreeMap<Atom, Asked>,
    /// The groups of each local process, for its end.
    joined: BTreeMap<Pid, Vec<Term>>,
}

#[derive(Debug)]
struct Asked {
    /// Says that the peer has no such scope.
    monitor: Ref,
    until_us: u64,
}

#[derive(Debug)]
struct Peer {
    pid: Pid,
    monitor: Ref,
    /// It was sent our members, and hears of each change since.
    told: bool,
}

impl Scopes {
    fn find(&mut self, name: &str) -> Option<&mut Scope> {
        self.0.iter_mut().find(|scope| scope.name == *name)
    }

    fn get(&self, name: &str) -> Option<&Scope> {
        self.0.iter().find(|scope| scope.name == *name)
    }

    /// The peers whose members are not known yet; once for each scope.
    pub(crate) fn asked(&self) -> impl Iterator<Item = &Atom> {
        self.0.iter().flat_map(|scope| scope.asked.keys())
    }

    /// The nodes that have members in any scope, with how often those joined; once for each scope.
    pub(crate) fn joins_per_node(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.0.iter().flat_map(|scope| scope.roster.joins_per_node())
    }
}

/// Scopes from outside of processes.
impl<P: Payload> Node<P> {
    /// Starts a scope, before the first input or between two. None if the name is taken.
    pub fn start_scope(&mut self, name: &str) -> Option<Pid> {
        self.core.start_scope(name)
    }
}

/// Process groups. A scope that does not run here is an empty one.
impl<P: Payload> Context<'_, P> {
    /// Starts a scope: the process registered under that name. None if the name is taken. Every node
    /// that hears of a scope keeps its name forever, so the names are constants of the program.
    pub fn start_scope(&mut self, name: &str) -> Option<Pid> {
        self.core.start_scope(name)
    }

    /// Ends a scope: its processes leave their groups. False if it does not run.
    pub fn stop_scope(&mut self, name: &str) -> bool {
        self.core.stop_scope(name)
    }

    /// A process of this node joins a group, once more. False if it is none, or is dead, or the scope
    /// does not run.
    pub fn join(&mut self, scope: &str, group: Term, pid: &Pid) -> bool {
        self.core.join_group(scope, group, pid)
    }

    /// A process of this node leaves a group, once. False if it was no member.
    pub fn leave(&mut self, scope: &str, group: &Term, pid: &Pid) -> bool {
        self.core.leave_group(scope, group, pid)
    }

    /// All members of a group, in no order that means anything; who joined twice is there twice.
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

    /// The members of a group as they are, and a [`GroupChange`] message for each change from now on.
    /// None if the scope does not run.
    pub fn monitor_group(&mut self, scope: &str, group: Term) -> Option<(Ref, Vec<Pid>)> {
        let members = self.members_of(scope, &group);
        let monitor = self.core.watch_groups(scope, self.me, Some(group))?;
        Some((monitor, members))
    }

    /// All groups as they are, and a [`GroupChange`] message for each change from now on. None if the
    /// scope does not run.
    pub fn monitor_scope(&mut self, scope: &str) -> Option<(Ref, Groups)> {
        let monitor = self.core.watch_groups(scope, self.me, None)?;
        let roster = &self.core.scopes.get(scope)?.roster;
        let members = |group: &Term| (group.clone(), roster.members(group));
        Some((monitor, roster.groups().map(members).collect()))
    }

    /// Ends a monitor of a group or a scope: nothing comes under this reference any more. False if
    /// there was none.
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

    // What our own processes do

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

    /// A local process ended: it leaves its groups, and watches none. If it was a scope, that is gone.
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

    /// One of ours left these groups, each once: takes it out and tells all.
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

    /// To the scopes of this name at the peers that know our members.
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
