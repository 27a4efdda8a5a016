//! All a process can touch while it handles a message.

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
    /// Visible to each other.
    Visible,
    /// One of the two sides is hidden.
    Hidden,
    /// Both.
    Connected,
    /// This node alone.
    This,
    /// This node, the connected ones, those that are being dialled, and the members.
    Known,
}

/// The world as one process sees it, for as long as it handles one message.
pub struct Context<'a, P: Payload> {
    pub(crate) core: &'a mut Core<P>,
    pub(crate) me: Local,
    pub(crate) exit: Option<Term>,
    /// What the process of a call goes on as.
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

    /// Which life of this node's name this is.
    pub fn creation(&self) -> u32 {
        self.core.config.creation
    }

    /// The time of the current input; it stands still until the next.
    pub fn now(&self) -> Time {
        self.core.now
    }

    /// 64 random bits, from the seed of the node. Not for secrets.
    pub fn random(&mut self) -> u64 {
        self.core.random.next()
    }

    /// Sends a term to any address. To nobody, or to a node that cannot be reached, it is lost
    /// without a word, as in Erlang: monitor what must be there.
    pub fn send(&mut self, to: &Address, term: Term) {
        self.core.send(self.me, to, term, true);
    }

    /// Gives a typed message to a process of this node. To any other pid it is lost.
    pub fn tell(&mut self, to: &Pid, payload: P) {
        if let Some(process) = self.core.table.find(to) {
            self.core.post(process, Message::Payload(payload));
        }
    }

    /// Adds a process here. A taken name is a bug.
    pub fn spawn(&mut self, name: Option<&str>, process: Box<dyn Process<P>>) -> Pid {
        self.core.spawn(name, process)
    }

    /// Links: the end of one is an exit signal to the other. To nobody: an exit signal `noproc`; to
    /// a node that cannot be reached: `noconnection`.
    pub fn link(&mut self, other: &Pid) {
        self.core.link(self.me, other);
    }

    /// Ends a link: no exit signal comes over it any more.
    pub fn unlink(&mut self, other: &Pid) {
        self.core.unlink(self.me, other);
    }

    /// From now on, exit signals are messages (`Message::Exit`); or no longer.
    pub fn trap_exit(&mut self, trap: bool) {
        self.core
            .table
            .get_mut(self.me)
            .expect("the running process has a slot")
            .trap_exit = trap;
    }

    /// Asks for exactly one `Message::Down` when the target ends, is not there, or is lost.
    pub fn monitor(&mut self, target: &Address) -> Ref {
        self.core.monitor(self.me, target, Purpose::Monitor)
    }

    /// Ends a monitor, or forgets a call: nothing comes under this reference any more.
    pub fn demonitor(&mut self, monitor: &Ref) {
        if let Some(number) = self.core.number(monitor) {
            self.core.demonitor(self.me, number);
        }
    }

    /// Registers a process of this node under a name. False if the name is taken, or the process
    /// has one or is none of ours.
    pub fn register(&mut self, name: &str, process: &Pid) -> bool {
        match self.core.table.find(process) {
            Some(process) => self.core.register(Atom::new(name), process),
            None => false,
        }
    }

    /// Frees a name. False if nobody has it.
    pub fn unregister(&mut self, name: &str) -> bool {
        self.core.unregister(&Atom::new(name))
    }

    /// The process registered here under a name.
    pub fn whereis(&self, name: &str) -> Option<&Pid> {
        let (_, process) = self.core.registered.find_text(name)?;
        Some(&self.core.table.get(process)?.pid)
    }

    /// Asks for `Message::Timer` with this token after `delay_us` microseconds.
    pub fn timer(&mut self, delay_us: u64, token: u64) -> TimerId {
        self.core.set_timer(self.me, delay_us, token)
    }

    /// Whether the timer was still to fire; now it will not.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.timers.cancel(timer)
    }

    /// This process ends with the current message. Of several reasons the first counts.
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

    /// Calls a `gen_server` anywhere. Exactly one `Message::Reply` follows, after `timeout_us`
    /// microseconds at the latest; `demonitor` forgets the call.
    pub fn call(&mut self, target: &Address, request: Term, timeout_us: u64) -> Ref {
        self.core.call(self.me, target, request, timeout_us)
    }

    /// Asks for `Message::Flush` at the end of the current round of inputs.
    pub fn defer(&mut self) {
        self.core.defer(self.me);
    }

    /// Asks for `Message::NodeUp` and `Message::NodeDown` of every peer from now on.
    pub fn monitor_nodes(&mut self) {
        self.core.watch_nodes(self.me);
    }

    /// Asks for `Message::Members`: the view as it is, and again at each change.
    pub fn monitor_members(&mut self) {
        self.core.watch_members(self.me);
    }

    /// The nodes of a kind, each once, by name. Only `This` and `Known` have this node itself.
    pub fn nodes(&self, kind: NodeKind) -> Vec<Atom> {
        self.core.nodes(kind)
    }

    /// Cuts the connection to a peer, if there is one; its NodeDown follows. If it is a member, it
    /// will be dialled again.
    pub fn disconnect(&mut self, node: &Atom) {
        self.core.disconnect(node);
    }

    /// Asks something of the membership.
    pub fn members(&mut self, command: MembersCommand) {
        self.core.tell_membership(members::command_term(command));
    }

    /// Sends one binary term to a registered name at a connected peer: copied once, into what is
    /// gathered for the connection. False if the peer is not connected; this never dials. The hot
    /// path between members. To a name of this node it is an ordinary message.
    pub fn send_bytes(&mut self, node: &Atom, name: &Atom, bytes: &[u8]) -> bool {
        self.core.send_bytes(self.me, node, name, bytes)
    }

    /// Bytes on their way to a peer and not yet written; 0 if it is not connected.
    pub fn queued(&self, node: &Atom) -> usize {
        self.core.queued(node)
    }

    /// Begins to connect to a node; false if it is this one.
    pub(crate) fn dial(&mut self, node: &Atom, port: Option<u16>) -> bool {
        self.core.dial(node, port)
    }

    /// For how long nothing came from a connected peer, in microseconds.
    pub(crate) fn silent_us(&self, node: &Atom) -> Option<u64> {
        self.core.silent_us(node)
    }

    pub(crate) fn publish_affiliation(&mut self, affiliation: &Affiliation) {
        self.core.publish_affiliation(affiliation);
    }

    /// What an earlier life of this node was to remember; given once.
    pub(crate) fn recalled(&mut self) -> Memory {
        core::mem::take(&mut self.core.recalled)
    }

    /// Has the shell write down what this node is to remember.
    pub(crate) fn remember(&mut self, memory: Memory) {
        self.core.effects.push(Effect::Remember(memory));
    }

    pub(crate) fn publish_members(&mut self, view: &Arc<[Member]>) {
        self.core.publish_members(view);
    }

    /// Tells those who watch the node.
    pub fn event(&mut self, event: Event) {
        self.core.event(event);
    }
}
