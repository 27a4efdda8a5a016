//! One connection: its phase, what is gathered for it, and how much of that is on its way.
//!
//! ```text
//! dial:   Dialling ──opened──▶ Initiating ──▶ Up
//!                                  └──nok──▶ Yielded ──▶ (the peer's connection comes, or time-out)
//! accept: Accepting ──────────────────────▶ Up
//! ```

use crate::{certificate::Certificate, input::ConnectionId, table::Local};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use bytes::Bytes;
use core::mem;
use wire::{
    dist::{
        Flags,
        frame::{Reader, RegSendHeader},
        handshake::{Acceptor, Initiator},
    },
    etf::{Atom, Pid},
};

/// Largest capacity of an empty output buffer, in bytes.
const ROOM_MAX: usize = 32 << 10;

#[derive(Debug)]
pub(crate) enum Phase {
    /// The shell is dialling.
    Dialling {
        node: Atom,
    },
    /// This node dialled. The handshake is under way.
    Initiating {
        node: Atom,
        handshake: Box<Initiator>,
    },
    /// The peer dialled. `node` is its name once it has sent it.
    Accepting {
        node: Option<Atom>,
        certificate: Option<Certificate>,
        handshake: Box<Acceptor>,
    },
    /// This node gave way to the peer's own dial. The socket is closed already.
    Yielded {
        node: Atom,
    },
    Up(Box<Up>),
}

impl Phase {
    /// The peer's name, as far as it is known.
    pub(crate) fn node(&self) -> Option<&Atom> {
        match self {
            Phase::Dialling { node } | Phase::Initiating { node, .. } | Phase::Yielded { node } => Some(node),
            Phase::Accepting { node, .. } => node.as_ref(),
            Phase::Up(up) => Some(&up.node),
        }
    }
}

/// What holds once a peer is connected.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) node: Atom,
    pub(crate) creation: u32,
    pub(crate) flags: Flags,
    /// When the peer last sent bytes, or took some of the bytes that waited for it.
    pub(crate) heard_us: u64,
    /// First bytes of frames for `send_bytes`, by sender and name.
    pub(crate) headers: Vec<(Local, Atom, RegSendHeader)>,
    /// `None` while it is reading.
    pub(crate) reader: Option<Reader>,
}

impl Up {
    /// Whether one side is hidden from the other's node list.
    pub(crate) fn hidden(&self) -> bool {
        !self.flags.contains(Flags::PUBLISHED)
    }

    /// Whether a pid belongs to the peer in its present life.
    pub(crate) fn owns(&self, pid: &Pid) -> bool {
        pid.creation == self.creation && pid.node == self.node
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) phase: Phase,
    pub(crate) output: Output,
}

/// Gathered bytes, and bytes that the shell has but has not written yet.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) gathered: Vec<u8>,
    unwritten: usize,
    /// When bytes were last handed to the shell.
    pub(crate) wrote_us: u64,
    /// It is on the list for the next flush.
    pub(crate) dirty: bool,
}

impl Output {
    pub(crate) fn new(now_us: u64) -> Self {
        Self {
            gathered: Vec::new(),
            unwritten: 0,
            wrote_us: now_us,
            dirty: false,
        }
    }

    /// All bytes on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.gathered.len() + self.unwritten
    }

    /// Hands out the gathered bytes.
    pub(crate) fn take(&mut self, now_us: u64) -> Option<Bytes> {
        self.dirty = false;
        if self.gathered.is_empty() {
            return None;
        }
        // The next output is probably about as long.
        let next = Vec::with_capacity(self.gathered.len().min(ROOM_MAX));
        let bytes = Bytes::from(mem::replace(&mut self.gathered, next));
        self.unwritten += bytes.len();
        self.wrote_us = now_us;
        Some(bytes)
    }

    pub(crate) fn written(&mut self, bytes: usize) {
        self.unwritten = self.unwritten.saturating_sub(bytes);
    }
}

/// What is known about one node name.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The attempt under way: this node's dial, or the peer's dial that this node gave way to.
    pub(crate) pending: Option<ConnectionId>,
    pub(crate) up: Option<ConnectionId>,
    pub(crate) failures: u32,
    /// Signals cause no dial before this time.
    pub(crate) retry_us: u64,
}

/// All connections, by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) by_id: BTreeMap<ConnectionId, Connection>,
    pub(crate) by_name: BTreeMap<Atom, Standing>,
    /// Connections lost so far.
    pub(crate) losses: u64,
    /// Connections with gathered bytes, in the order in which they began to gather.
    pub(crate) dirty: Vec<ConnectionId>,
    dials: u64,
}

impl Connections {
    pub(crate) fn next_id(&mut self) -> ConnectionId {
        self.dials += 1;
        ConnectionId(self.dials * 2)
    }

    pub(crate) fn up(&self, node: &Atom) -> Option<&Up> {
        match &self.by_id.get(&self.by_name.get(node)?.up?)?.phase {
            Phase::Up(up) => Some(up),
            _ => None,
        }
    }

    /// The connection that is up with a node, with its number.
    pub(crate) fn up_mut(&mut self, node: &Atom) -> Option<(ConnectionId, &mut Up, &mut Output)> {
        let id = self.by_name.get(node)?.up?;
        let connection = self.by_id.get_mut(&id)?;
        match &mut connection.phase {
            Phase::Up(up) => Some((id, up, &mut connection.output)),
            _ => None,
        }
    }

    pub(crate) fn up_by_id(&mut self, id: ConnectionId) -> Option<&mut Up> {
        match &mut self.by_id.get_mut(&id)?.phase {
            Phase::Up(up) => Some(up),
            _ => None,
        }
    }

    /// All connections that are up, by name.
    pub(crate) fn all_up(&self) -> impl Iterator<Item = &Up> {
        self.by_name.keys().filter_map(|node| self.up(node))
    }

    /// Accepted connections whose handshake is not over.
    pub(crate) fn accepting(&self) -> usize {
        let is_accepting = |c: &&Connection| matches!(c.phase, Phase::Accepting { .. });
        self.by_id.values().filter(is_accepting).count()
    }

    /// The challenges that wait for an answer, except that of one connection.
    pub(crate) fn challenges_but(&self, but: ConnectionId) -> Vec<u32> {
        let others = self.by_id.iter().filter(|(id, _)| **id != but);
        let challenge = |phase: &Phase| match phase {
            Phase::Initiating { handshake, .. } => Some(handshake.challenge()),
            Phase::Accepting { handshake, .. } => Some(handshake.challenge()),
            Phase::Dialling { .. } | Phase::Yielded { .. } | Phase::Up(_) => None,
        };
        others
            .filter_map(|(_, connection)| challenge(&connection.phase))
            .collect()
    }

    pub(crate) fn mark_dirty(&mut self, id: ConnectionId) {
        if let Some(connection) = self.by_id.get_mut(&id)
            && !mem::replace(&mut connection.output.dirty, true)
        {
            self.dirty.push(id);
        }
    }
}
