//! What comes out of a node.

use crate::{
    identity::{ClusterId, Memory},
    input::ConnectionId,
    message::{Member, Message},
};
use alloc::string::String;
use bytes::Bytes;
use wire::etf::{Atom, Pid, Term};

/// One thing the shell must do. Effects are carried out in order.
#[derive(Debug)]
pub enum Effect<P> {
    /// Connect to a node; answered by `Input::Opened` or `Input::Closed`.
    Dial {
        /// The number the connection will have.
        connection: ConnectionId,
        /// Whom.
        node: Atom,
        /// Its port as told by the members; if unknown, ask EPMD.
        port: Option<u16>,
    },
    /// Write bytes; `Input::Written` tells when they are out.
    Send {
        /// On which connection.
        connection: ConnectionId,
        /// All that was gathered.
        bytes: Bytes,
    },
    /// Close a connection once what was sent before is written, or at once if that stalls. No
    /// `Input::Closed` is needed.
    Close {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A message for an async process of the shell (`Node::adopt`).
    Deliver {
        /// Its pid.
        to: Pid,
        /// What.
        message: Message<P>,
    },
    /// What this node is to remember in its next life has changed. The shell writes it down when it can; it may leave
    /// out all but the last.
    Remember(Memory),
    /// Something worth a log line or a counter. It asks for nothing.
    Event(Event),
}

/// Why a peer cannot be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Its birth record is another.
    Birth {
        /// Ours.
        ours: Bytes,
        /// Its own.
        theirs: Bytes,
    },
    /// It is of another cluster.
    Cluster {
        /// Ours.
        ours: ClusterId,
        /// Its own.
        theirs: ClusterId,
    },
}

/// What a node has to tell to those who watch it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A peer is connected.
    NodeUp {
        /// Its name.
        node: Atom,
        /// Its life.
        creation: u32,
        /// One of the two sides is hidden.
        hidden: bool,
    },
    /// A peer is no longer connected.
    NodeDown {
        /// Its name.
        node: Atom,
        /// Its life.
        creation: u32,
        /// Why, as in `Message::NodeDown`.
        reason: Term,
    },
    /// A member is new or changed.
    MemberChanged {
        /// As it is now.
        member: Member,
    },
    /// A connection did not get through the handshake.
    HandshakeFailed {
        /// Which connection.
        connection: ConnectionId,
        /// The peer, as far as known. Unproven if it called us.
        node: Option<Atom>,
        /// Why.
        reason: String,
    },
    /// A peer is of another cluster. It stays connected and does not become a member. Told once per connection.
    PeerRefused {
        /// Its name.
        node: Atom,
        /// What differs.
        mismatch: Mismatch,
        /// The peer is of a cluster with data, and this node has none and has met no member of its own cluster: it was
        /// started with the wrong settings or the wrong memory, and must end.
        is_fatal: bool,
    },
    /// A peer refused this node: it is connected to another live node of the same name.
    NameTaken {
        /// Which peer.
        by: Atom,
        /// This node was starting and must end.
        is_fatal: bool,
    },
    /// A peer broke the protocol or a bound; its connection was cut.
    PeerCut {
        /// Its name.
        node: Atom,
        /// Which rule.
        reason: String,
    },
    /// This node did not run for longer than the tick time, and so dropped its connections.
    Paused {
        /// For how long, in microseconds.
        silent_us: u64,
    },
    /// A process ended for another reason than `normal`, `shutdown` or `{shutdown, _}`.
    ProcessExited {
        /// Which.
        pid: Pid,
        /// The name it was registered under.
        name: Option<Atom>,
        /// Why.
        reason: Term,
    },
    /// A message was dropped: the run queue was full, or it cannot travel to another node.
    MessageDropped {
        /// For whom it was.
        to: Pid,
        /// Why.
        reason: &'static str,
    },
    /// An event of a process above this crate.
    Note {
        /// Its kind, a word for counters.
        kind: &'static str,
        /// Its text, for people.
        text: String,
    },
}
