//! `global`: names and locks of all connected visible nodes, including BEAM nodes.
//!
//! ```text
//!           names: one table at every node, changed under the lock `global` only
//! nodeup ─▶ joining ─▶ locker: both partitions locked ─▶ exchange ─▶ resolve ─▶ one partition
//! register ─▶ registrar: the partition locked ─▶ the name sent to every node
//! connection lost ─▶ mesh: all nodes forget the lost node ─▶ it joins again
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `names`, `locks`, `tally`, `method`, `exchange`, `claim`, `partition`, `dials`, `syncs` | tables and decisions; they send nothing |
//! | `joining` | two partitions become one |
//! | `agreement`, `parked` | the nodes that this node must still agree with, and the requests that wait for it |
//! | `mesh` | which nodes are lost, and which must be reached |
//! | `locker`, `registrar` | lock nodes for a join, for a name, for a process |
//! | `api` | the requests of processes of this node |
//!
//! There are three processes, as peers expect: the server, registered as `global_name_server`, and the locker and the
//! registrar. The pids of the latter two only identify the requester of locks. The server has all the state, and makes
//! requests in their names.
//!
//! - A node is *known* if it is in our partition, and *pending* while it joins.
//! - All known nodes have the same names, except while a change is on its way.
//! - A lock or a name ends with its process, or with the connection to its node.
//! - A message of a peer can only concern that peer. A caller must live on the node that its call came from.
//! - The entries and bytes that a peer may add are limited, and so are the dials caused by them.
//! - Hidden nodes take no part.
//! - Calls have no timeout: a node that does not answer is dropped by its missing ticks.
//!
//! Source: protocol version 8 of `global`, as spoken by OTP 25 to 28; global(3).

mod agreement;
mod api;
mod claim;
mod dials;
mod exchange;
mod joining;
mod locker;
mod locks;
mod mesh;
mod method;
mod names;
mod parked;
mod partition;
mod registrar;
mod syncs;
mod tally;

pub(crate) use {agreement::Agreement, locks::Locks, names::Names};
pub use {
    agreement::{Awaited, Exchange},
    method::Method,
};

use crate::{
    context::Context,
    effect::Event,
    gen_server::{From, Request, cast_term, parse},
    members::unreachable_term,
    message::{Address, Message, Payload, Process},
    monitors::Purpose,
    scheduler::Core,
    table::{Body, Local},
};
use agreement::{SILENT_US_MAX, Stage};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};
use dials::{Dials, Kind};
use joining::{Early, Session};
use locker::Locker;
use locks::LockId;
use method::Act;
use names::{Entry, Holder};
use parked::Parked;
use partition::Reports;
use registrar::{Holding, Registrar};
use syncs::Syncs;
use wire::{
    dist::node_name,
    etf::{Atom, Pid, Ref, Term},
};

/// The registered name of the `global` server at every visible node.
pub const NAME: &str = "global_name_server";
/// A message from this node to the server: the connections will end, and this must not be reported to others.
pub(crate) const PREPARE_SHUTDOWN: &str = "prepare_shutdown";
/// A message from this node to the server: the set of nodes it must wait for has changed.
pub(crate) const LOOK: &str = "look";

/// The version of the protocol of this node.
const VERSION: i64 = 8;
/// From this version on, nodes are sent with their versions, and lost connections are reported.
const VERSION_PARTITIONS: i64 = 7;
/// From this version on, a join is acknowledged and can be cancelled.
const VERSION_VERIFIED: i64 = 8;
/// Nodes with older versions are ignored.
const VERSION_MIN: i64 = 5;

/// A call has no timeout.
const FOREVER_US: u64 = u64::MAX;
/// Most nodes of a partition. A further one is not accepted.
const KNOWN_MAX: usize = 4096;
/// Most lookups and waits that are open at the same time; a further one is answered at once. Also most conflicts whose
/// processes are notified later; for a further one they are not notified.
const WAITING_MAX: usize = 1024;
/// Most bytes of the name and tag of a lookup that may wait; a larger one is answered at once. Also most bytes of a
/// conflict whose process is notified later; for a larger one it is not notified.
const WAITING_BYTES_MAX: usize = 16 << 10;
/// Longest wait of a lookup while names change, in microseconds.
const LOOKUP_US: u64 = 4_000_000;

/// Purposes of the server's timers. Timers of locks have numbers instead.
const TIMER_LOCKER: u64 = 1;
const TIMER_REACH: u64 = 2;
const TIMER_REGISTRAR: u64 = 3;
const TIMER_LOOKUP: u64 = 4;
const TIMER_LOCK: u64 = 1 << 32;

/// Why a call was made.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Locker,
    Registrar,
    Holding(u64),
}

pub(crate) struct Global {
    locker_pid: Pid,
    registrar_pid: Pid,
    /// The other nodes of our partition, with their protocol versions.
    known: BTreeMap<Atom, i64>,
    /// Known nodes that said that we are in their partition too.
    synced: BTreeSet<Atom>,
    sessions: BTreeMap<Atom, Session>,
    early: BTreeMap<Atom, Early>,
    /// Nodes to connect to: known nodes that were only reported by others, and nodes of name holders.
    dials: Dials,
    /// Messages about conflicts for processes whose nodes are not connected yet.
    acts: BTreeMap<Atom, Vec<Act>>,
    /// Nodes that were asked to drop the connection to us, and until when we wait for it.
    dropping: BTreeMap<Atom, u64>,
    locker: Locker,
    registrar: Registrar,
    holdings: BTreeMap<u64, Holding>,
    calls: BTreeMap<Ref, (Asker, Atom)>,
    reports: Reports,
    /// For our own reports: the creation, and the last number.
    life: i64,
    operation: i64,
    last_tag: i64,
    last_holding: u64,
    syncs: Syncs,
    parked: Parked,
    lookups: Vec<(From, Term)>,
    reach_timer: bool,
    shutting_down: bool,
}

/// Adds the three processes. The server is the first.
pub(crate) fn spawn<P: Payload>(core: &mut Core<P>) -> Vec<Local> {
    let locker = core.table.add_service(Body::Idle(Box::new(Seat)));
    let registrar = core.table.add_service(Body::Idle(Box::new(Seat)));
    let creation = i64::from(core.config.creation);
    let random = core.random.next();
    let server = Global {
        locker_pid: core.pid(locker),
        registrar_pid: core.pid(registrar),
        known: BTreeMap::new(),
        synced: BTreeSet::new(),
        sessions: BTreeMap::new(),
        early: BTreeMap::new(),
        dials: Dials::default(),
        acts: BTreeMap::new(),
        dropping: BTreeMap::new(),
        locker: Locker::default(),
        registrar: Registrar::default(),
        holdings: BTreeMap::new(),
        calls: BTreeMap::new(),
        reports: Reports::default(),
        life: bits(random, 26) << 32 | creation,
        operation: 0,
        // Tags start at a random number, so that messages for an earlier life of this name are recognised.
        last_tag: bits(random >> 26, 30) << 28,
        last_holding: 0,
        syncs: Syncs::default(),
        parked: Parked::default(),
        lookups: Vec::new(),
        reach_timer: false,
        shutting_down: false,
    };
    let server = core.table.add_service(Body::Idle(Box::new(server)));
    core.register(Atom::new(NAME), server);
    vec![server, locker, registrar]
}

/// Reports to the server that a dial has failed.
pub(crate) fn tell_unreachable<P: Payload>(core: &mut Core<P>, node: &Atom) {
    if let Some(server) = core.registered.find(&Atom::new(NAME)) {
        let (from, term) = (Some(core.pid(server)), unreachable_term(node));
        core.post(server, Message::Term { from, term });
    }
}

/// The low bits of a number.
#[expect(clippy::cast_possible_wrap, reason = "fewer than 63 bits")]
fn bits(number: u64, count: u32) -> i64 {
    (number & ((1 << count) - 1)) as i64
}

/// A process that exists only to be named, linked to and monitored.
struct Seat;

impl<P: Payload> Process<P> for Seat {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
    }

    fn handle(&mut self, _: &mut Context<'_, P>, _: Message<P>) {}
}

impl<P: Payload> Process<P> for Global {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
        ctx.monitor_nodes();
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        match message {
            Message::Term {
                from: Some(from), term, ..
            } => match parse(term) {
                Request::Call { from: caller, request } if caller.pid.node == from.node => {
                    self.call_arrived(ctx, caller, &request);
                }
                Request::Cast(cast) if is_peer(ctx, &from.node) => self.cast_arrived(ctx, &from.node, &cast),
                Request::Info(info) => self.info_arrived(ctx, &from.node, &info),
                Request::Call { .. } | Request::Cast(_) => {}
            },
            Message::NodeUp { node, hidden: true, .. } => self.came_up(ctx, &node),
            Message::NodeUp { node, .. } => self.node_up(ctx, &node),
            Message::NodeDown { node, .. } => self.node_down(ctx, &node),
            Message::Down { monitor, .. } => {
                let ended = ctx.core.global_locks.ended(&monitor) || ctx.core.global_names.ended(&monitor);
                if !ended {
                    self.syncs.ended(&monitor);
                }
            }
            Message::Reply { call, result } => self.answer_arrived(ctx, &call, &result),
            Message::Timer { token } => self.timer_fired(ctx, token),
            Message::Payload(_)
            | Message::Term { from: None, .. }
            | Message::Exit { .. }
            | Message::Members(_)
            | Message::Cluster(_)
            | Message::Flush => return,
        }
        self.settle_locker(ctx);
        self.go_on(ctx);
    }
}

/// Messages that arrive.
impl Global {
    fn call_arrived<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: From, request: &Term) {
        let here = from.pid.node == *ctx.node();
        let answer = match request {
            Term::Atom(word) => match word.as_str() {
                "get_known" => Term::list(self.known.keys().cloned()),
                "get_synced" => Term::list(self.synced.iter().cloned()),
                "get_names_ext" => Term::NIL,
                "get_protocol_version" => Term::Int(VERSION),
                // From a process of this node: waits until this node agrees with the others on names and locks. For
                // tests and tools.
                "sync" if here => match self.sync_all(ctx, &from) {
                    Some(answer) => answer,
                    None => return,
                },
                "get_locks" if here => Term::list(ctx.core.global_locks.resources().cloned()),
                _ => return,
            },
            Term::Tuple(items) => match items.as_slice() {
                [verb, id] if verb.is_atom("set_lock") => match LockId::from_term(id) {
                    Some(id) => match self.set_lock(ctx, &id, &from.pid) {
                        Some(set) => Term::from(set),
                        None => return,
                    },
                    None => return,
                },
                [verb, id] if verb.is_atom("del_lock") => {
                    if let Some(id) = LockId::from_term(id)
                        && let Some(monitor) = ctx.core.global_locks.remove(&id, &from.pid)
                    {
                        ctx.demonitor(&monitor);
                    }
                    Term::from(true)
                }
                // The node where a foreign process was registered monitors it, and reports its end.
                [verb, name, Term::Pid(pid), method] | [verb, name, Term::Pid(pid), method, _]
                    if verb.is_atom("register") || verb.is_atom("register_ext") =>
                {
                    let entry = Entry {
                        name: name.clone(),
                        pid: pid.clone(),
                        method: method.clone(),
                    };
                    let covered = ctx.core.global_locks.covers_caller(&from.pid);
                    self.insert_name(ctx, entry, &from.pid.node, covered);
                    Term::atom("yes")
                }
                [verb, name] if verb.is_atom("unregister") => {
                    remove_name(ctx, name);
                    Term::atom("ok")
                }
                [verb, Term::List(nodes)] if here && verb.is_atom("sync") => match self.sync(ctx, &from, nodes) {
                    Some(answer) => answer,
                    None => return,
                },
                items if here => return self.asked_here(ctx, from, items),
                _ => return,
            },
            _ => return,
        };
        ctx.reply(&from, answer);
    }

    fn cast_arrived<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, cast: &Term) {
        let Some([verb, rest @ ..]) = cast.as_tuple() else {
            return;
        };
        let Some(verb) = verb.as_atom() else { return };
        let speaks = |node: &Term| node.as_atom() == Some(peer);
        match (verb.as_str(), rest) {
            ("init_connect", [version, node, init]) if speaks(node) => self.init_connect(ctx, peer, version, init),
            ("lock_set", [Term::Pid(locker), set, _]) if locker.node == *peer => {
                self.lock_set_arrived(ctx, peer, set.is_atom("true"), None);
            }
            ("lock_set", [Term::Pid(locker), set, _, tag]) if locker.node == *peer => {
                self.lock_set_arrived(ctx, peer, set.is_atom("true"), Some(tag));
            }
            ("exchange", [node, names, _, tag]) if speaks(node) => self.names_arrived(ctx, peer, names, tag),
            ("resolved", [node, ops, known, _, foreign, tag]) if speaks(node) => {
                self.resolved_arrived(ctx, peer, ops, known, foreign, tag);
            }
            ("new_nodes", [node, ops, _, nodes, extra]) if speaks(node) => {
                self.new_nodes(ctx, peer, ops, nodes, extra);
            }
            ("in_sync", [node, _]) if speaks(node) => self.in_sync(ctx, peer),
            _ => {}
        }
    }

    fn info_arrived<P: Payload>(&mut self, ctx: &mut Context<'_, P>, sender: &Atom, info: &Term) {
        let here = *sender == *ctx.node();
        if here && info.is_atom(PREPARE_SHUTDOWN) {
            self.shutting_down = true;
        }
        let Some([verb, rest @ ..]) = info.as_tuple() else {
            return;
        };
        let Some(verb) = verb.as_atom() else { return };
        if here && verb == "unreachable" {
            if let [Term::Atom(node)] = rest {
                self.unreachable(ctx, node);
            }
            return;
        }
        if verb == "whereis" {
            if let [name, Term::Tuple(from)] = rest
                && let [Term::Pid(pid), tag] = from.as_slice()
            {
                let (pid, tag) = (pid.clone(), tag.clone());
                self.look_up(ctx, From { pid, tag }, name.clone());
            }
            return;
        }
        if !is_peer(ctx, sender) {
            return;
        }
        match (verb.as_str(), rest) {
            ("init_connect_ack", [Term::Atom(node), ours, theirs]) if node == sender => {
                self.acknowledged(ctx, sender, ours, theirs);
            }
            ("cancel_connect", [Term::Atom(node), tag]) if node == sender => self.cancelled(ctx, sender, tag),
            (
                "lost_connection",
                [
                    Term::Atom(reporter),
                    Term::Int(life),
                    Term::Int(operation),
                    Term::Atom(lost),
                ],
            ) => {
                self.lost_connection(ctx, reporter, *life, *operation, lost);
            }
            ("remove_connection", [Term::Atom(node)]) if node == sender => self.remove_connection(ctx, sender),
            _ => {}
        }
    }

    fn answer_arrived<P: Payload>(&mut self, ctx: &mut Context<'_, P>, call: &Ref, result: &Result<Term, Term>) {
        // The answer to an unlock is not waited for.
        let Some((asker, node)) = self.calls.remove(call) else {
            return;
        };
        match asker {
            Asker::Locker => self.locker_answered(ctx, node, result),
            Asker::Registrar => self.registrar_answered(ctx, node, result),
            Asker::Holding(number) => self.holding_answered(ctx, number, node, result),
        }
    }

    fn timer_fired<P: Payload>(&mut self, ctx: &mut Context<'_, P>, token: u64) {
        match token {
            TIMER_LOCKER => self.locker.wake(),
            TIMER_REACH => self.reach_again(ctx),
            TIMER_REGISTRAR => self.registrar_woken(ctx),
            TIMER_LOOKUP => {
                for (from, name) in core::mem::take(&mut self.lookups) {
                    self.look_up(ctx, from, name);
                }
            }
            number => self.claim_holding(ctx, number - TIMER_LOCK),
        }
    }
}

/// Names and locks at this node.
impl Global {
    /// Returns none if the caller already has too many locks: then its connection is closed.
    fn set_lock<P: Payload>(&mut self, ctx: &mut Context<'_, P>, id: &LockId, caller: &Pid) -> Option<bool> {
        if !ctx.core.global_locks.allows(id) || ctx.core.global_locks.is_held_by(id, caller) {
            return Some(ctx.core.global_locks.allows(id));
        }
        let (held, limits) = (ctx.core.global_locks.held(), &ctx.core.config.limits);
        if !held.has_room(&caller.node, id.held_bytes(), limits) {
            ctx.core.cut_peer(&caller.node, String::from("it holds too many locks"));
            return (caller.node == *ctx.node()).then_some(false);
        }
        let monitor = watch(ctx, caller);
        ctx.core.global_locks.insert(id, caller.clone(), monitor);
        Some(true)
    }

    /// Gives a name to a process. If the change is not covered by the lock, or if the holder's node cannot be reached,
    /// no process has the name afterwards.
    fn insert_name<P: Payload>(&mut self, ctx: &mut Context<'_, P>, entry: Entry, teller: &Atom, covered: bool) {
        let node = &entry.pid.node;
        if !covered || node_name(node.as_bytes()).is_none() {
            return remove_name(ctx, &entry.name);
        }
        let (told, limits) = (ctx.core.global_names.told(), &ctx.core.config.limits);
        if !told.has_room(teller, entry.held_bytes(), limits) {
            return ctx
                .core
                .cut_peer(teller, String::from("it brought too many global names"));
        }
        // The node is not connected yet: a monitor would fail at once.
        let is_reached = node == ctx.node() || is_connected(ctx, node);
        if !is_reached && !self.reach_holder(ctx, node) {
            return remove_name(ctx, &entry.name);
        }
        let holder = Holder {
            monitor: is_reached.then(|| watch(ctx, &entry.pid)),
            pid: entry.pid,
            method: entry.method,
            teller: teller.clone(),
        };
        if let Some(replaced) = ctx.core.global_names.insert(entry.name, holder) {
            ctx.demonitor(&replaced);
        }
        self.dial_next(ctx);
    }

    fn look_up<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: From, name: Term) {
        let may_wait =
            self.lookups.len() < WAITING_MAX && name.held_bytes() + from.tag.held_bytes() <= WAITING_BYTES_MAX;
        if ctx.core.global_locks.is_global_set() && may_wait {
            if self.lookups.is_empty() {
                let delay_us = 1 + ctx.random() % LOOKUP_US;
                ctx.timer(delay_us, TIMER_LOOKUP);
            }
            return self.lookups.push((from, name));
        }
        let answer = match ctx.whereis_global(&name) {
            Some(pid) => Term::Pid(pid),
            None => Term::atom("undefined"),
        };
        ctx.reply(&from, answer);
    }

    /// Makes a process of this node wait until these nodes have us in their partition. Returns an answer if it need not
    /// wait.
    fn sync<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: &From, nodes: &[Term]) -> Option<Term> {
        let us = ctx.node();
        let missing = nodes.iter().filter_map(Term::as_atom);
        let missing = missing.filter(|node| *node != us && !self.synced.contains(*node));
        // One node more than may be known is enough to see that there are too many.
        let missing: BTreeSet<Atom> = missing.take(KNOWN_MAX + 1).cloned().collect();
        if missing.len() > KNOWN_MAX {
            return Some(Term::from((Term::atom("error"), Term::atom("system_limit"))));
        }
        if missing.is_empty() || self.syncs.len() >= WAITING_MAX {
            return Some(Term::atom("ok"));
        }
        let monitor = watch(ctx, &from.pid);
        self.syncs.insert(monitor, from.clone(), missing);
        None
    }

    /// Notes that a node has us in its partition.
    fn synced_now<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        if !self.synced.insert(node.clone()) {
            return;
        }
        ctx.core.agreement.synced(node);
        for (monitor, from) in self.syncs.synced(node) {
            ctx.demonitor(&monitor);
            ctx.reply(&from, Term::atom("ok"));
        }
    }

    /// The greatest node of our partition. A node that locks the whole partition locks this one first. So if two nodes
    /// try, one of them fails at once.
    fn boss<P: Payload>(&self, ctx: &Context<'_, P>) -> Atom {
        let greatest = self.known.keys().next_back();
        greatest.map_or(ctx.node(), |node| node.max(ctx.node())).clone()
    }

    /// This node and the known ones.
    fn partition<P: Payload>(&self, ctx: &Context<'_, P>) -> Vec<Atom> {
        self.known.keys().chain([ctx.node()]).cloned().collect()
    }

    // Sending

    /// Calls the server at a node, in the name of one of our processes.
    fn ask<P: Payload>(&mut self, ctx: &mut Context<'_, P>, asker: Asker, caller: &Pid, node: &Atom, request: Term) {
        let call = call_as(ctx, caller, node, request);
        self.calls.insert(call, (asker, node.clone()));
    }

    /// Releases a lock, at the boss last.
    fn release<P: Payload>(ctx: &mut Context<'_, P>, id: &LockId, caller: &Pid, nodes: &[Atom]) {
        let mut nodes = nodes.to_vec();
        nodes.sort();
        for node in &nodes {
            call_as(ctx, caller, node, Term::from((Term::atom("del_lock"), id.to_term())));
        }
    }
}

fn call_as<P: Payload>(ctx: &mut Context<'_, P>, caller: &Pid, node: &Atom, request: Term) -> Ref {
    let me = ctx.me;
    ctx.core.call_as(caller.clone(), me, &server(node), request, FOREVER_US)
}

fn server(node: &Atom) -> Address {
    Address::Remote {
        node: node.clone(),
        name: Atom::new(NAME),
    }
}

/// Sends a cast to the server at a connected node.
fn cast<P: Payload>(ctx: &mut Context<'_, P>, node: &Atom, term: Term) {
    info(ctx, node, cast_term(term));
}

/// Sends a message to the server at a connected node. Does not dial.
fn info<P: Payload>(ctx: &mut Context<'_, P>, node: &Atom, term: Term) {
    let me = ctx.me;
    ctx.core.send(me, &server(node), term, false);
}

fn is_connected<P: Payload>(ctx: &Context<'_, P>, node: &Atom) -> bool {
    ctx.core.connections.up(node).is_some()
}

/// Whether a node is connected and visible.
fn is_peer<P: Payload>(ctx: &Context<'_, P>, node: &Atom) -> bool {
    ctx.core.connections.up(node).is_some_and(|up| !up.hidden())
}

fn watch<P: Payload>(ctx: &mut Context<'_, P>, pid: &Pid) -> Ref {
    let me = ctx.me;
    ctx.core.monitor(me, &Address::Pid(pid.clone()), Purpose::Monitor)
}

fn remove_name<P: Payload>(ctx: &mut Context<'_, P>, name: &Term) {
    if let Some(monitor) = ctx.core.global_names.remove(name) {
        ctx.demonitor(&monitor);
    }
}

/// Decides which of two holders keeps a name, and carries that out. None if neither keeps it.
pub(crate) fn resolve<P: Payload>(
    ctx: &mut Context<'_, P>,
    method: &Term,
    name: &Term,
    theirs: &Pid,
    ours: &Pid,
) -> Option<Pid> {
    let resolution = method::resolve_it(method, name, theirs, ours);
    carry_out(ctx, resolution.acts);
    resolution.keeps
}

fn carry_out<P: Payload>(ctx: &mut Context<'_, P>, acts: Vec<Act>) {
    for act in acts {
        match act {
            Act::Kill(pid) => ctx.exit_other(&pid, Term::atom("kill")),
            Act::Tell(pid, term) => ctx.send(&Address::Pid(pid), term),
        }
    }
}

fn note<P: Payload>(ctx: &mut Context<'_, P>, kind: &'static str, node: &Atom, what: &str) {
    let text = format!("{} {what}", node.as_str());
    ctx.event(Event::Note { kind, text });
}

#[cfg(test)]
mod tests {
    use super::{
        method::Method,
        names::{Entry, Holder},
    };
    use wire::etf::{Atom, Pid, Ref, Term};

    pub(super) fn atom(text: &'static str) -> Term {
        Term::atom(text)
    }

    pub(super) fn pid(node: &str, id: u32) -> Pid {
        Pid {
            node: Atom::new(node),
            id,
            serial: 0,
            creation: 4,
        }
    }

    pub(super) fn reference(word: u32) -> Ref {
        Ref {
            node: Atom::new("a@h"),
            creation: 4,
            len: 3,
            words: [word, 0, 0, 0, 0],
        }
    }

    pub(super) fn holder(node: &str, word: u32) -> Holder {
        Holder {
            pid: pid(node, 1),
            method: Method::RandomExit.to_term(),
            monitor: Some(reference(word)),
            teller: Atom::new(node),
        }
    }

    pub(super) fn entry(name: &'static str, node: &str) -> Entry {
        Entry {
            name: atom(name),
            pid: pid(node, 1),
            method: Method::RandomExit.to_term(),
        }
    }
}
