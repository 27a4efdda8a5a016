//! The messages between processes, and their addresses.

use crate::{context::Context, identity::Affiliation};
use alloc::sync::Arc;
use core::fmt;
use wire::etf::{Atom, Pid, Ref, Term};

/// The typed messages of processes outside of this crate. They never leave the node.
pub trait Payload: fmt::Debug + 'static {}

/// A plain struct with one `handle`, which never waits.
pub trait Process<P: Payload> {
    /// Called once, before the first message: at `Input::Start`, or soon after a later spawn.
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        let _ = ctx;
    }

    /// Handles one message. After `Context::exit` it is the last one.
    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>);
}

/// The messages that a process gets.
#[derive(Clone, Debug)]
pub enum Message<P> {
    /// A typed message from a process of this node.
    Payload(P),
    /// A term, from a peer or from this node.
    Term {
        /// The sender. A message from a peer is known to come from a process of that peer.
        from: Option<Pid>,
        /// The term.
        term: Term,
    },
    /// A linked process ended, and this process traps exits.
    Exit {
        /// The process that ended.
        from: Pid,
        /// The exit reason.
        reason: Term,
    },
    /// A monitored process ended or does not exist, or its node is lost. Once for each monitor.
    Down {
        /// The reference that `Context::monitor` returned.
        monitor: Ref,
        /// The target as it was given.
        target: Address,
        /// The exit reason, `noproc` or `noconnection`.
        reason: Term,
    },
    /// The answer to `Context::call`. Exactly one per call.
    Reply {
        /// The reference that `Context::call` returned.
        call: Ref,
        /// The answer, or the reason why there is none: `noproc`, `noconnection`, `timeout`, or the exit reason of the
        /// called process.
        result: Result<Term, Term>,
    },
    /// A timer came due.
    Timer {
        /// As given to `Context::timer`.
        token: u64,
    },
    /// After `Context::monitor_nodes`: a peer is connected. Comes before any message from it.
    NodeUp {
        /// Its name.
        node: Atom,
        /// Its creation.
        creation: u32,
        /// One of the two sides is hidden.
        hidden: bool,
    },
    /// After `Context::monitor_nodes`: a peer is lost. Comes after the last message from it.
    NodeDown {
        /// Its name.
        node: Atom,
        /// Its creation.
        creation: u32,
        /// An atom: `connection_closed`, `net_tick_timeout`, `disconnect`, `paused`, `replaced`,
        /// `overflow`, `quota` or `protocol`.
        reason: Term,
    },
    /// After `Context::monitor_members`: the whole view by name, at once and at each change. It includes this node.
    Members(Arc<[Member]>),
    /// After `Context::monitor_members`: the cluster of this node, at once and at each change. Comes before the view
    /// that follows from it.
    Cluster(Affiliation),
    /// After `Context::defer`: the current round of inputs is over.
    Flush,
}

/// The receiver of a message, or the target of a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A process on any node.
    Pid(Pid),
    /// A registered process of this node.
    Name(Atom),
    /// A registered process of another node.
    Remote {
        /// The node.
        node: Atom,
        /// The name.
        name: Atom,
    },
    /// The holder of an alias. Cannot be monitored.
    Alias(Ref),
}

impl Address {
    /// The node in the address, if there is one.
    pub fn node(&self) -> Option<&Atom> {
        match self {
            Self::Pid(pid) => Some(&pid.node),
            Self::Remote { node, .. } => Some(node),
            Self::Alias(alias) => Some(&alias.node),
            Self::Name(_) => None,
        }
    }
}

/// One member of the cluster as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Full node name.
    pub name: Atom,
    /// Its latest known creation; 0 until it is known.
    pub creation: u32,
    /// Its state.
    pub state: MemberState,
    /// Whether it is connected (always true for this node itself).
    pub connected: bool,
    /// The port it listens on, as it reported.
    pub dist_port: Option<u16>,
}

impl Member {
    /// Whether it is connected and a member of our cluster.
    pub fn is_present(&self) -> bool {
        let here = [MemberState::Up, MemberState::Suspect, MemberState::Leaving];
        self.connected && here.contains(&self.state)
    }
}

/// The state of a member, as one node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Connected, and its hello has come.
    Up,
    /// Connected, but nothing was received for half the tick time.
    Suspect,
    /// Not connected. It is dialled until it answers or is forgotten.
    Down,
    /// Connected. It has reported that it is leaving.
    Leaving,
    /// It said goodbye or was forgotten. It is not dialled, unless it sends another hello.
    Gone,
}

impl MemberState {
    /// The state in one word, the same in all outputs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
        }
    }
}

/// Commands for the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersCommand {
    /// This node starts to leave.
    Leave,
    /// This node does not leave after all.
    Stay,
    /// This node says goodbye.
    Gone,
    /// Dial a node until it answers.
    Add {
        /// Its name.
        node: Atom,
    },
    /// A node that is not connected will not come back. The others are notified.
    Forget {
        /// Its name.
        node: Atom,
    },
    /// The shards of the cluster are formed.
    Form {
        /// Whether they are thrown away when another cluster is met.
        provisional: bool,
    },
    /// This node has shards that count, so it is not starting any more.
    Serve,
}
