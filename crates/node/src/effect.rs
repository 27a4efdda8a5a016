//! The outputs of a node.

use crate::{
    identity::{ClusterId, Memory},
    input::ConnectionId,
    message::{Member, Message},
};
use alloc::string::String;
use bytes::Bytes;
use wire::etf::{Atom, Pid, Term};

/// Something the shell must do. Effects are carried out in order.
#[derive(Debug)]
pub enum Effect<P> {
    /// Connect to a node; answered by `Input::Opened` or `Input::Closed`.
    Dial {
        /// The number the connection will have.
        connection: ConnectionId,
        /// The node to dial.
        node: Atom,
        /// Its port, as reported by the members. If it is not known, ask EPMD.
        port: Option<u16>,
    },
    /// Write bytes. `Input::Written` reports when they are written.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// The gathered bytes.
        bytes: Bytes,
    },
    /// Close a connection after everything sent before is written, or at once if writing stalls. No `Input::Closed` is
    /// needed.
    Close {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A message for an async process of the shell (`Node::adopt`).
    Deliver {
        /// Its pid.
        to: Pid,
        /// The message.
        message: Message<P>,
    },
    /// What this node must remember for its next start has changed. The shell writes it down when it can. It may skip
    /// all but the last.
    Remember(Memory),
    /// Something for the log or for counters. The shell need not act on it.
    Event(Event),
}

/// Why a peer cannot become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Its birth record differs.
    Birth {
        /// This node's record.
        ours: Bytes,
        /// The peer's record.
        theirs: Bytes,
    },
    /// It belongs to another cluster.
    Cluster {
        /// This node's cluster.
        ours: ClusterId,
        /// The peer's cluster.
        theirs: ClusterId,
    },
}

/// What a node reports to its observers.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer is connected.
    NodeUp {
        /// Its name.
        node: Atom,
        /// Its creation.
        creation: u32,
        /// One of the two sides is hidden.
        hidden: bool,
    },
    /// A peer is no longer connected.
    NodeDown {
        /// Its name.
        node: Atom,
        /// Its creation.
        creation: u32,
        /// Why, as in `Message::NodeDown`.
        reason: Term,
    },
    /// A member is new, or has changed.
    MemberChanged {
        /// Its current state.
        member: Member,
    },
    /// The handshake of a connection failed.
    HandshakeFailed {
        /// Which connection.
        connection: ConnectionId,
        /// The peer, as far as it is known. If the peer dialled, the name is not proven.
        node: Option<Atom>,
        /// Why.
        reason: String,
    },
    /// A peer belongs to another cluster. It stays connected but does not become a member. Reported once for each
    /// connection.
    PeerRefused {
        /// Its name.
        node: Atom,
        /// What differs.
        mismatch: Mismatch,
        /// Whether this node must end. The peer's cluster has data. This node has none, and has met no member of its
        /// own cluster. So it was started with the wrong settings or the wrong memory.
        is_fatal: bool,
    },
    /// A peer refused this node, because it is connected to another live node of the same name.
    NameTaken {
        /// Which peer.
        by: Atom,
        /// Whether this node was starting and must end.
        is_fatal: bool,
    },
    /// A peer broke the protocol or a limit. Its connection was closed.
    PeerCut {
        /// Its name.
        node: Atom,
        /// Which rule or limit.
        reason: String,
    },
    /// This node did not run for longer than the tick time, and so dropped its connections.
    Paused {
        /// For how long, in microseconds.
        silent_us: u64,
    },
    /// A process ended with another reason than `normal`, `shutdown` or `{shutdown, _}`.
    ProcessExited {
        /// The process.
        pid: Pid,
        /// The name under which it was registered.
        name: Option<Atom>,
        /// Why.
        reason: Term,
    },
    /// A message was dropped: the run queue was full, or the message cannot be sent to another node.
    MessageDropped {
        /// The receiver.
        to: Pid,
        /// Why.
        reason: &'static str,
    },
    /// An event from a process outside of this crate.
    Note {
        /// Its kind, a word for counters.
        kind: &'static str,
        /// Its text, for people.
        text: String,
    },
}
