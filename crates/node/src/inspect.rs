//! The sizes of a node's tables, for operators and to find leaks. Nothing here changes the node.
//!
//! Every entry exists on behalf of a process or a node. It is removed once that has ended or is lost. So an idle node
//! has the same figures each time.

use crate::{
    context::Context,
    message::Payload,
    monitors::{Purpose, Watch},
    scheduler::Core,
};
use alloc::collections::BTreeMap;
use wire::etf::Atom;

/// The sizes of the tables of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Processes.
    pub processes: u64,
    /// Monitors that processes of this node hold, on processes of any node.
    pub monitors: u64,
    /// Calls and spawns whose answer processes of this node wait for. Each has an alias for the answer.
    pub calls: u64,
    /// Names of `global`.
    pub global_names: u64,
    /// Locks of `global` at this node.
    pub global_locks: u64,
    /// What each peer has here. A peer without entries is not listed.
    pub peers: BTreeMap<Atom, PeerTables>,
}

/// What a peer has at a node. Each number has its limit in `Limits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerTables {
    /// Monitors on processes of this node.
    pub monitors: u64,
    /// Links with processes of this node, from either side.
    pub links: u64,
    /// Calls and processes that run here for it.
    pub spawns: u64,
    /// How often its processes are members of groups.
    pub joins: u64,
    /// Names of `global` that it reported. Their processes may live on other nodes.
    pub global_names: u64,
    /// Locks of `global` that its processes hold.
    pub global_locks: u64,
}

impl<P: Payload> Context<'_, P> {
    /// The sizes of the tables of this node. The time it takes grows with them.
    pub fn tables(&self) -> Tables {
        self.core.tables()
    }
}

impl<P: Payload> Core<P> {
    fn tables(&self) -> Tables {
        let is_monitor = |watch: &&Watch| watch.purpose == Purpose::Monitor;
        let monitors = self.monitors.watches().filter(is_monitor).count();
        let mut peers: BTreeMap<Atom, PeerTables> = BTreeMap::new();
        let mut add = |(node, count): (&Atom, usize), table: fn(&mut PeerTables) -> &mut u64| {
            if *node != self.config.name {
                *table(peers.entry(node.clone()).or_default()) += count as u64;
            }
        };
        self.monitors
            .guests_per_peer()
            .for_each(|held| add(held, |peer| &mut peer.monitors));
        self.links.per_node().for_each(|held| add(held, |peer| &mut peer.links));
        self.calls
            .per_peer()
            .for_each(|held| add(held, |peer| &mut peer.spawns));
        self.scopes
            .joins_per_node()
            .for_each(|held| add(held, |peer| &mut peer.joins));
        self.global_names
            .told()
            .per_node()
            .for_each(|held| add(held, |peer| &mut peer.global_names));
        self.global_locks
            .held()
            .per_node()
            .for_each(|held| add(held, |peer| &mut peer.global_locks));
        Tables {
            processes: self.table.len() as u64,
            monitors: monitors as u64,
            calls: (self.monitors.watches().count() - monitors) as u64,
            global_names: self.global_names.len() as u64,
            global_locks: self.global_locks.len() as u64,
            peers,
        }
    }
}
