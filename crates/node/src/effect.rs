//! What comes out of a node.

use crate::{
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
    /// Something worth a log line or a counter. It asks for nothing.
    Event(Event),
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
    /// A peer is of another cluster: its birth record differs. It stays connected and never becomes
    /// a member.
    PeerRefused {
        /// Its name.
        node: Atom,
        /// Our birth record.
        ours: Bytes,
        /// Its birth record.
        theirs: Bytes,
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
