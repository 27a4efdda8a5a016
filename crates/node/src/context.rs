//! Everything that a process can use while it handles a message.

use crate::{
    effect::{Effect, Event},
    gen_server,
    identity::{Affiliation, Memory},
    members,
    message::{Address, Member, MembersCommand, Message, Payload, Process},
    monitors::Purpose,
    scheduler::Core,
    table::Local,
    time::Time,
    timers::TimerId,
};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use wire::etf::{Atom, Pid, Ref, Term};

/// Which peers to list, as in `nodes/1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Nodes that see each other as visible.
    Visible,
    /// Nodes with which one of the two sides is hidden.
    Hidden,
    /// Visible and hidden nodes.
    Connected,
    /// This node alone.
    This,
    /// This node, the connected nodes, the nodes being dialled, and the members.
    Known,
}

/// The environment of a process while it handles one message.
pub struct Context<'a, P: Payload> {
    pub(crate) core: &'a mut Core<P>,
    pub(crate) me: Local,
    pub(crate) exit: Option<Term>,
    /// The process that takes over a call.
    pub(crate) next: Option<Box<dyn Process<P>>>,
}

impl<'a, P: Payload> Context<'a, P> {
    pub(crate) fn new(core: &'a mut Core<P>, me: Local) -> Self {
        Self {
            core,
            me,
            exit: None,
            next: None,
        }
    }

    pub(crate) fn into_exit(self) -> Option<Term> {
        self.exit
    }

    /// This process.
    pub fn me(&self) -> &Pid {
        &self
            .core
            .table
            .get(self.me)
            .expect("the running process has a slot")
            .pid
    }

    /// This node's full name.
    pub fn node(&self) -> &Atom {
        &self.core.config.name
    }

    /// The creation of this node.
    pub fn creation(&self) -> u32 {
        self.core.config.creation
    }

    /// The time of the current input. It does not change before the next input.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// 64 random bits, from the seed of the node. Not for secrets.
    pub fn random(&mut self) -> u64 {
        self.core.random.next()
    }

    /// Sends a term to any address. If no process is there, or its node cannot be reached, the term is dropped
    /// silently, as in Erlang. Monitor processes that must be there.
    pub fn send(&mut self, to: &Address, term: Term) {
        self.core.send(self.me, to, term, true);
    }

    /// Sends a typed message to a process of this node. To any other pid it is dropped.
    pub fn tell(&mut self, to: &Pid, payload: P) {
        if let Some(process) = self.core.table.find(to) {
            self.core.post(process, Message::Payload(payload));
        }
    }

    /// Adds a process. It is a bug if the name is taken.
    pub fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        self.core.spawn(name, process)
    }

    /// Links to a process: when one of the two ends, the other gets an exit signal. If there is no such process, the
    /// signal is `noproc`; if its node cannot be reached, it is `noconnection`.
    pub fn link(&mut self, other: &Pid) {
        self.core.link(self.me, other);
    }

    /// Ends a link. No exit signal comes over it any more.
    pub fn unlink(&mut self, other: &Pid) {
        self.core.unlink(self.me, other);
    }

    /// Sets whether exit signals become messages (`Message::Exit`).
    pub fn trap_exit(&mut self, trap: bool) {
        self.core
            .table
            .get_mut(self.me)
            .expect("the running process has a slot")
            .trap_exit = trap;
    }

    /// Requests exactly one `Message::Down`, when the target ends, does not exist, or is lost.
    pub fn monitor(&mut self, target: &Address) -> Ref {
        self.core.monitor(self.me, target, Purpose::Monitor)
    }

    /// Ends a monitor, or gives up a call. No message comes with this reference any more.
    pub fn demonitor(&mut self, monitor: &Ref) {
        if let Some(number) = self.core.number(monitor) {
            self.core.demonitor(self.me, number);
        }
    }

    /// Registers a process of this node under a name. Returns false if the name is taken, if the process already has a
    /// name, or if it is not a process of this node.
    pub fn register(&mut self, name: &str, process: &Pid) -> bool {
        match self.core.table.find(process) {
            Some(process) => self.core.register(Atom::new(name), process),
            None => false,
        }
    }

    /// Frees a name. Returns false if no process has it.
    pub fn unregister(&mut self, name: &str) -> bool {
        self.core.unregister(&Atom::new(name))
    }

    /// The process registered here under a name.
    pub fn whereis(&self, name: &str) -> Option<&Pid> {
        let (_, process) = self.core.registered.find_text(name)?;
        Some(&self.core.table.get(process)?.pid)
    }

    /// Requests `Message::Timer` with this token after `delay_us` microseconds.
    pub fn timer(&mut self, delay_us: u64, token: u64) -> TimerId {
        self.core.set_timer(self.me, delay_us, token)
    }

    /// Cancels a timer. Returns whether it had not fired yet.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.timers.cancel(timer)
    }

    /// Ends this process after the current message. If it is called several times, the first reason counts.
    pub fn exit(&mut self, reason: Term) {
        self.exit.get_or_insert(reason);
    }

    /// Sends an exit signal. `kill` cannot be trapped.
    pub fn exit_other(&mut self, other: &Pid, reason: Term) {
        let me = self.me().clone();
        self.core.send_exit(other, me, reason, false);
    }

    /// Answers a `gen_server` call.
    pub fn reply(&mut self, from: &gen_server::From, term: Term) {
        self.core.reply(self.me, from, term);
    }

    /// Calls a `gen_server` on any node. Exactly one `Message::Reply` follows, after `timeout_us` microseconds at the
    /// latest. `demonitor` gives up the call.
    pub fn call(&mut self, target: &Address, request: Term, timeout_us: u64) -> Ref {
        self.core.call(self.me, target, request, timeout_us)
    }

    /// Requests `Message::Flush` at the end of the current round of inputs.
    pub fn defer(&mut self) {
        self.core.defer(self.me);
    }

    /// Requests `Message::NodeUp` and `Message::NodeDown` for every peer from now on.
    pub fn monitor_nodes(&mut self) {
        self.core.watch_nodes(self.me);
    }

    /// Requests `Message::Members`: the current view, and again at each change.
    pub fn monitor_members(&mut self) {
        self.core.watch_members(self.me);
    }

    /// The nodes of a kind, sorted by name. Only `This` and `Known` include this node.
    pub fn nodes(&self, kind: NodeKind) -> Vec<Atom> {
        self.core.nodes(kind)
    }

    /// Closes the connection to a peer, if there is one; its NodeDown follows. A member is dialled again.
    pub fn disconnect(&mut self, node: &Atom) {
        self.core.disconnect(node);
    }

    /// Sends a command to the membership.
    pub fn members(&mut self, command: MembersCommand) {
        self.core.tell_membership(members::command_term(command));
    }

    /// Sends one binary term to a registered name at a connected peer. The bytes are copied once, into the connection's
    /// output. Returns false if the peer is not connected; it never dials. This is the hot path between members. To a
    /// name of this node, it sends an ordinary message.
    pub fn send_bytes(&mut self, node: &Atom, name: &Atom, bytes: &[u8]) -> bool {
        self.core.send_bytes(self.me, node, name, bytes)
    }

    /// Bytes on their way to a peer that are not written yet; 0 if it is not connected.
    pub fn queued(&self, node: &Atom) -> usize {
        self.core.queued(node)
    }

    /// Starts to connect to a node. Returns false if it is this node.
    pub(crate) fn dial(&mut self, node: &Atom, port: Option<u16>) -> bool {
        self.core.dial(node, port)
    }

    /// How long ago something last came from a connected peer, in microseconds.
    pub(crate) fn silent_us(&self, node: &Atom) -> Option<u64> {
        self.core.silent_us(node)
    }

    pub(crate) fn publish_affiliation(&mut self, affiliation: &Affiliation) {
        self.core.publish_affiliation(affiliation);
    }

    /// What an earlier life of this node wrote down. It can be taken once.
    pub(crate) fn recalled(&mut self) -> Memory {
        core::mem::take(&mut self.core.recalled)
    }

    /// Makes the shell write down what this node must remember.
    pub(crate) fn remember(&mut self, memory: Memory) {
        self.core.effects.push(Effect::Remember(memory));
    }

    pub(crate) fn publish_members(&mut self, view: &Arc<[Member]>) {
        self.core.publish_members(view);
    }

    /// Reports an event to the observers of the node.
    pub fn event(&mut self, event: Event) {
        self.core.event(event);
    }
}
