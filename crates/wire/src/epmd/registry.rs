//! The state of a port mapper: which connection holds which name.
//!
//! The shell owns the sockets. It reports connections opened and closed and bytes received, and writes the answers. It
//! also closes a connection that has asked nothing for a few seconds.
//!
//! Invariants:
//! - a name belongs to one connection, and is free again when that connection closes;
//! - only connections from this machine register;
//! - two registrations get the same creation only after the counter has gone round; a creation is never one of 0 to 3,
//!   which older releases reserve;
//! - less than one request is held for each connection.

use super::{EpmdError, Found, Listing, Node, REFUSED, Registered, Request};
use alloc::{collections::BTreeMap, string::String, vec::Vec};

/// Most connections at a time; a further one is closed at once.
pub const CONNECTIONS_MAX: usize = 4096;

const CREATION_MIN: u32 = 4;

/// A port mapper without its sockets.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    next_creation: u32,
    nodes: BTreeMap<String, Node>,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
enum Connection {
    Asking { local: bool, partial: Vec<u8> },
    Holding(String),
}

/// What the shell does with a connection once it has written the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum After {
    /// Keep reading.
    Keep,
    /// Close it. [`Registry::closed`] need not be called.
    Close,
}

impl Registry {
    /// An empty port mapper that listens on `port`. The first node gets the creation `creation`, and later nodes get
    /// higher ones. `creation` should be random or the time: then, after a restart of the port mapper, a new life of a
    /// node is not taken for an earlier one.
    pub fn new(port: u16, creation: u32) -> Self {
        Self {
            port,
            next_creation: creation.max(CREATION_MIN),
            nodes: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    /// A connection was accepted; `local` if its peer is on this machine.
    pub fn opened(&mut self, connection: u64, local: bool) -> After {
        if self.connections.len() >= CONNECTIONS_MAX {
            return After::Close;
        }
        let asking = Connection::Asking {
            local,
            partial: Vec::new(),
        };
        let previous = self.connections.insert(connection, asking);
        assert!(previous.is_none(), "a connection opens once");
        After::Keep
    }

    /// Bytes came; the answer is appended to `out`.
    pub fn receive(&mut self, connection: u64, bytes: &[u8], out: &mut Vec<u8>) -> After {
        let after = match self.take_request(connection, bytes) {
            Ok(None) => After::Keep,
            Ok(Some((request, local))) => self.serve(connection, request, local, out),
            Err(_) => After::Close,
        };
        if after == After::Close {
            self.closed(connection);
        }
        after
    }

    /// A connection was lost, or closed by its peer: its name is free again.
    pub fn closed(&mut self, connection: u64) {
        if let Some(Connection::Holding(name)) = self.connections.remove(&connection) {
            self.nodes.remove(&name);
        }
    }

    /// The nodes registered, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The request of a connection once it is complete, and whether it comes from this machine. Each connection may ask
    /// one request; bytes behind it are an error.
    fn take_request(&mut self, connection: u64, bytes: &[u8]) -> Result<Option<(Request, bool)>, EpmdError> {
        let Some(Connection::Asking { local, partial }) = self.connections.get_mut(&connection) else {
            return Err(EpmdError::Malformed);
        };
        partial.extend_from_slice(bytes);
        match Request::decode(partial)? {
            None => Ok(None),
            Some((request, len)) if len == partial.len() => Ok(Some((request, *local))),
            Some(_) => Err(EpmdError::TooLong),
        }
    }

    fn serve(&mut self, connection: u64, request: Request, local: bool, out: &mut Vec<u8>) -> After {
        match request {
            Request::Register(_) if !local => After::Close,
            Request::Register(node) => {
                let highest = node.highest;
                let creation = self.register(connection, node);
                Registered { creation }.encode(highest, out);
                if creation.is_some() { After::Keep } else { After::Close }
            }
            Request::Find(name) => {
                Found {
                    node: self.nodes.get(&name).cloned(),
                }
                .encode(out);
                After::Close
            }
            Request::List => {
                let nodes = self.nodes.values().map(|node| (node.name.clone(), node.port));
                Listing {
                    port: self.port,
                    nodes: nodes.collect(),
                }
                .encode(out);
                After::Close
            }
            Request::Kill => {
                out.extend_from_slice(REFUSED);
                After::Close
            }
        }
    }

    /// The creation of the node, unless its name is taken.
    fn register(&mut self, connection: u64, node: Node) -> Option<u32> {
        if self.nodes.contains_key(&node.name) {
            return None;
        }
        let creation = self.next_creation;
        self.next_creation = creation.checked_add(1).unwrap_or(CREATION_MIN);
        self.connections
            .insert(connection, Connection::Holding(node.name.clone()));
        self.nodes.insert(node.name.clone(), node);
        Some(creation)
    }
}
