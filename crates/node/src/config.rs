//! The settings of a node.

use alloc::vec::Vec;
use bytes::Bytes;
use wire::{dist::Cookie, etf::Atom};

/// Name, secret and place in the cluster of one node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Full name, `name@host`.
    pub name: Atom,
    /// Its creation: new at every start, never used again, at least 4.
    pub creation: u32,
    /// The cookie of every connection.
    pub cookie: Cookie,
    /// Whether the node is hidden: it is not in the `nodes()` of peers, nor in their `global` and `pg`. A hidden node
    /// runs no `global`.
    pub hidden: bool,
    /// A peer that was silent for this long, in milliseconds, is dropped. At least 8.
    pub tick_ms: u64,
    /// An opaque record that must be the same, byte for byte, for every member of the cluster.
    pub birth: Bytes,
    /// The first nodes to dial, until they answer.
    pub join: Vec<Atom>,
    /// The port this node listens on. It is sent to members, so that they can dial without EPMD.
    pub dist_port: Option<u16>,
    /// Bounds of queues, buffers and tables.
    pub limits: Limits,
}

/// Limits of queues, buffers and tables. Each line says what happens beyond the limit.
// Wide: a table: one line for each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that wait for local processes. A further one is dropped, with an event.
    pub queue_max: usize,
    /// Messages handled within one `Node::handle`. The rest wait for the next input, so that processes that keep each
    /// other busy do not delay peers.
    pub steps_max: usize,
    /// Bytes sent to one peer and not yet written. The next message beyond the limit closes the connection. This is
    /// much larger than `message_bytes_max`, so that one large message does not cost a peer.
    pub output_bytes_max: usize,
    /// If this many bytes are on their way to one peer, there is no room for more (`Context::has_room`). A process that
    /// does not ask may still send.
    pub output_bytes_busy: usize,
    /// This many gathered bytes are sent at once, without waiting for the flush.
    pub output_bytes_flush: usize,
    /// Bytes of one message from a peer. A longer one closes the connection.
    pub message_bytes_max: usize,
    /// Monitors one peer may have here; beyond it the connection is closed.
    pub monitors_per_peer_max: usize,
    /// Links one peer may have here; beyond it the connection is closed.
    pub links_per_peer_max: usize,
    /// How often the processes of one peer may have joined groups of one scope; beyond it the connection is closed.
    pub joins_per_peer_max: usize,
    /// Bytes of the names of all groups of one scope in which one peer has members; beyond it the connection is closed.
    pub group_bytes_per_peer_max: usize,
    /// Calls and spawned processes of one peer here. A further one is refused with `system_limit`.
    pub spawns_per_peer_max: usize,
    /// Accepted connections whose handshake is not over. A further one is closed.
    pub accepting_max: usize,
    /// Signals that wait for the connection to one peer. A further one is dropped; a link or monitor is answered with
    /// `noconnection`.
    pub waiting_max: usize,
    /// How long a starting node looks for the nodes it is to join, in milliseconds. After that it grants locks and
    /// global names without those it has not met.
    pub join_wait_ms: u64,
    /// How many dials of the membership are under way at the same time. Further ones wait.
    pub dials_max: usize,
    /// How many names the membership remembers. If it is full and a further node says hello, the entry of a node that
    /// said goodbye or was never met is removed. If there is none, the new node is refused, with an event.
    pub members_max: usize,
    /// Global names one peer may have registered here, and locks it may hold; beyond it the connection is closed.
    pub global_per_peer_max: usize,
    /// Bytes of the global names one peer may have registered here, and of the locks it may hold; beyond it the
    /// connection is closed.
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
