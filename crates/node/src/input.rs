//! The inputs of a node.

use crate::{
    certificate::Certificate,
    message::{Address, Message},
};
use alloc::vec::Vec;
use bytes::Bytes;
use wire::etf::Atom;

/// The number of a connection. Even numbers are made by the node for a dial, odd ones by the shell for an accepted
/// connection. A number is never used again in the life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Something that happened outside. Inputs about a connection that the node no longer has are ignored, so the shell
/// need not track which side closed first.
#[derive(Clone, Debug)]
pub enum Input<P> {
    /// The first input: processes start, dialling begins.
    Start,
    /// A dial succeeded.
    Opened {
        /// The connection of the `Effect::Dial`.
        connection: ConnectionId,
        /// The peer's certificate, if the connection is secured.
        certificate: Option<Certificate>,
    },
    /// A peer has dialled this node.
    Accepted {
        /// An odd number, not used before.
        connection: ConnectionId,
        /// The peer's certificate, if the connection is secured.
        certificate: Option<Certificate>,
    },
    /// Bytes came.
    Received {
        /// On which connection.
        connection: ConnectionId,
        /// The bytes. They may end anywhere in a frame.
        bytes: Bytes,
    },
    /// Bytes were written. Used for flow control.
    Written {
        /// On which connection.
        connection: ConnectionId,
        /// How many of the bytes in `Effect::Send`.
        bytes: usize,
    },
    /// The connection has ended, or a dial has failed.
    Closed {
        /// Which connection.
        connection: ConnectionId,
    },
    /// A message from the shell, mostly from one of its async processes.
    Message {
        /// The receiver. Only terms can be sent to other nodes.
        to: Address,
        /// The message.
        message: Message<P>,
    },
    /// Discovery found these nodes. The membership decides what to do with them.
    Proposed {
        /// Full node names.
        nodes: Vec<Atom>,
    },
    /// The deadline has come.
    Alarm,
    /// The shell has no further input at hand: the gathered bytes are sent.
    Flush,
}
