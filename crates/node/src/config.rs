//! What a node is told at birth.

use alloc::vec::Vec;
use bytes::Bytes;
use wire::{dist::Cookie, etf::Atom};

/// Name, secret and place in the cluster of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Full name, `name@host`.
    pub name: Atom,
    /// Which life of that name this is: new at every start, never reused, at least 4.
    pub creation: u32,
    /// The cookie of every connection.
    pub cookie: Cookie,
    /// Keep out of `nodes()` of peers, and so out of their `global` and `pg`; this node runs no `global` then.
    pub hidden: bool,
    /// A peer that was silent for this long, in milliseconds, is lost. At least 8.
    pub tick_ms: u64,
    /// An opaque record that every member of the cluster must share byte for byte.
    pub birth: Bytes,
    /// First nodes to dial, for as long as they do not answer.
    pub join: Vec<Atom>,
    /// The port this node listens on, told to members so that they can dial it without EPMD.
    pub dist_port: Option<u16>,
    /// Bounds of queues, buffers and tables.
    pub limits: Limits,
}

/// Bounds of queues, buffers and tables. Each line says what happens past it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages waiting for local processes; a further one is dropped, with an event.
    pub queue_max: usize,
    /// Messages handled within one `Node::handle`; the rest wait for the next input, so that processes that keep each
    /// other busy do not keep peers waiting.
    pub steps_max: usize,
    /// Bytes sent to one peer and not yet written; the next message past it cuts the
    /// connection. Well above `message_bytes_max`: one large message must not cost a peer.
    pub output_bytes_max: usize,
    /// Bytes on their way to one peer from which on there is no room for more (`Context::has_room`); who does not ask
    /// may still send.
    pub output_bytes_busy: usize,
    /// Gathered bytes that leave at once, not at the flush.
    pub output_bytes_flush: usize,
    /// Bytes of one message from a peer. In fragments, as a BEAM sends it, a longer one is dropped, and its caller gets
    /// an error; in one frame it cuts the connection.
    pub message_bytes_max: usize,
    /// Monitors one peer may hold here; past it the connection is cut.
    pub monitors_per_peer_max: usize,
    /// Links one peer may hold here; past it the connection is cut.
    pub links_per_peer_max: usize,
    /// How often the processes of one peer may have joined groups of one scope; past it the
    /// connection is cut.
    pub joins_per_peer_max: usize,
    /// Bytes of the names of the groups of one scope in which one peer has members; past it the
    /// connection is cut.
    pub group_bytes_per_peer_max: usize,
    /// Calls and spawned processes one peer may have here; a further one is refused with
    /// `system_limit`.
    pub spawns_per_peer_max: usize,
    /// Accepted connections that have not yet shaken hands; a further one is closed.
    pub accepting_max: usize,
    /// Signals that wait for one peer's connection to come up; a further one is dropped or, for
    /// links and monitors, answered `noconnection`.
    pub waiting_max: usize,
    /// Milliseconds for which a node that starts looks for those it is to join; past it the node grants locks and
    /// global names without those it has not met.
    pub join_wait_ms: u64,
    /// Dials the membership has under way at the same time; further ones wait.
    pub dials_max: usize,
    /// Names the membership remembers. For a further one that says hello, one that said good-bye or was never met gives
    /// way; if there is none, it is refused, with an event.
    pub members_max: usize,
    /// Global names one peer may have brought here, and locks it may hold; past it the connection is
    /// cut.
    pub global_per_peer_max: usize,
    /// Bytes of the global names one peer may have brought here, and of the locks it may hold; past it the connection
    /// is cut.
    pub global_bytes_per_peer_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_max: 1 << 20,
            steps_max: 1 << 13,
            output_bytes_max: 128 << 20,
            output_bytes_busy: 1 << 20,
            output_bytes_flush: 256 << 10,
            message_bytes_max: 72 << 20,
            monitors_per_peer_max: 100_000,
            links_per_peer_max: 100_000,
            joins_per_peer_max: 100_000,
            group_bytes_per_peer_max: 16 << 20,
            spawns_per_peer_max: 10_000,
            accepting_max: 64,
            waiting_max: 1024,
            join_wait_ms: 10_000,
            dials_max: 8,
            members_max: 4096,
            global_per_peer_max: 10_000,
            global_bytes_per_peer_max: 16 << 20,
        }
    }
}
