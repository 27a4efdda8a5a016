//! What goes into a node.

use crate::{
    certificate::Certificate,
    message::{Address, Message},
};
use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::Atom;

/// One connection of the shell. Even: made by the node for a dial; odd: made by the shell for an
/// accept. Never reused within a life of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One thing that happened outside. Inputs about a connection that the node no longer has are
/// ignored, so the shell need not care who closed first.
#[derive(Clone, Debug)]
pub enum Input<P> {
    /// The first input: processes start, dialling begins.
    Start,
    /// A dial succeeded.
    Opened {
        /// The connection of the `Effect::Dial`.
        connection: ConnectionId,
        /// The peer's, if the connection is secured.
        certificate: Option<Certificate>,
    },
    /// Somebody connected.
    Accepted {
        /// An odd number, not used before.
        connection: ConnectionId,
        /// The peer's, if the connection is secured.
        certificate: Option<Certificate>,
    },
    /// Bytes came.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// What was read, cut anywhere.
        bytes: Bytes,
    },
    /// Bytes left: flow control.
    Written {
        /// On which connection.
        connection: ConnectionId,
        /// How many of those given by `Effect::Send`.
        bytes: usize,
    },
    /// The connection is gone. Also the answer to a dial that failed.
    Closed {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A message from the shell, mostly from one of its async processes.
    Message {
        /// For whom. Only terms travel to other nodes.
        to: Address,
        /// What.
        message: Message<P>,
    },
    /// Discovery yields names; membership disposes.
    Proposed {
        /// Full node names.
        nodes: Vec<Atom>,
    },
    /// The deadline has come.
    Alarm,
    /// The shell has no further input at hand: what was gathered is sent.
    Flush,
}
