//! What processes send each other, and to whom.

use crate::{context::Context, identity::Affiliation};
use alloc::sync::Arc;
use core::fmt;
use wire::etf::{Atom, Pid, Ref, Term};

/// The typed messages of the processes above this crate. They never leave the node.
pub trait Payload: fmt::Debug + 'static {}

/// A plain struct with one `handle`, which runs to its end and never waits.
pub trait Process<P: Payload> {
    /// Called once, before the first message: at `Input::Start`, or soon after a later spawn.
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        let _ = ctx;
    }

    /// One message. After `Context::exit` it is the last one.
    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>);
}

/// What a process is given.
#[derive(Clone, Debug)]
pub enum Message<P> {
    /// Local and typed.
    Payload(P),
    /// From a peer, or sent as a term locally.
    Term {
        /// The sender. Of a peer's message it is certain that it lives on that peer.
        from: Option<Pid>,
        /// What was sent.
        term: Term,
    },
    /// A linked process ended, and we trap exits.
    Exit {
        /// Which.
        from: Pid,
        /// Why.
        reason: Term,
    },
    /// A monitored process ended, or was not there, or its node is lost. Once per monitor.
    Down {
        /// What `Context::monitor` gave.
        monitor: Ref,
        /// As it was monitored.
        target: Address,
        /// Why: its exit reason, `noproc` or `noconnection`.
        reason: Term,
    },
    /// The answer to `Context::call`. Exactly one per call.
    Reply {
        /// What `Context::call` gave.
        call: Ref,
        /// The answer; or why there is none: `noproc`, `noconnection`, `timeout`, or the exit
        /// reason of the one called.
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
        /// Its life.
        creation: u32,
        /// One of the two sides is hidden.
        hidden: bool,
    },
    /// After `Context::monitor_nodes`: a peer is gone. Comes after the last message from it.
    NodeDown {
        /// Its name.
        node: Atom,
        /// The life that was connected.
        creation: u32,
        /// An atom: `connection_closed`, `net_tick_timeout`, `disconnect`, `paused`, `replaced`,
        /// `overflow`, `quota` or `protocol`.
        reason: Term,
    },
    /// After `Context::monitor_members`: the whole view by name, at once and at each change. This
    /// node is in it.
    Members(Arc<[Member]>),
    /// After `Context::monitor_members`: which cluster this node is of, at once and at each change. Comes before the
    /// view that follows from it.
    Cluster(Affiliation),
    /// After `Context::defer`: the current round of inputs is over.
    Flush,
}

/// For whom a message is, or whom a monitor watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A process anywhere.
    Pid(Pid),
    /// A registered process here.
    Name(Atom),
    /// A registered process there.
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
    /// The node that it leads to, if the address names it.
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
    /// Its latest known life; 0 until known.
    pub creation: u32,
    /// How it is.
    pub state: MemberState,
    /// There is a connection to it (always so for this node itself).
    pub connected: bool,
    /// The port it listens on, as it told.
    pub dist_port: Option<u16>,
}

impl Member {
    /// It is connected, and a member of our cluster.
    pub fn is_present(&self) -> bool {
        let here = [MemberState::Up, MemberState::Suspect, MemberState::Leaving];
        self.connected && here.contains(&self.state)
    }
}

/// How a member is, as seen from one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// Connected and heard of.
    Up,
    /// Connected, but nothing was read for half the tick time.
    Suspect,
    /// Not connected, and dialled until it answers or is forgotten.
    Down,
    /// Connected and about to go, as it said.
    Leaving,
    /// Said good-bye or was forgotten: not dialled, unless it says hello again.
    Gone,
}

impl MemberState {
    /// The state in one word, as everything that shows it has it.
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

/// What one may ask of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembersCommand {
    /// This node starts leaving.
    Leave,
    /// This node does not leave after all.
    Stay,
    /// This node says good-bye.
    Gone,
    /// Dial a node until it answers.
    Add {
        /// Its name.
        node: Atom,
    },
    /// A node that is not connected will not come back; told to the others.
    Forget {
        /// Its name.
        node: Atom,
    },
    /// The shards of the cluster are formed.
    Form {
        /// They are thrown away when another cluster is met.
        provisional: bool,
    },
    /// This node holds something that counts: it is not starting any more.
    Serve,
}
