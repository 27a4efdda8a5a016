//! The cluster as one node sees it, put together on request.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use node::{Awaited, Member, Tables};

use crate::{
    ask::{FormingStatus, NodeStatus, ShardStatus, Status},
    cluster::Seat,
    message::Copy,
    stop::Survey,
    store::Store,
    vitals::Vitals,
};

impl Store {
    /// The vitals of this node; `ops` requests came in the last second.
    pub(crate) fn take_vitals(&self, ops: u64) -> Vitals {
        let mut vitals = Vitals {
            memory_bytes: self.gauges.measured.memory_bytes,
            ops_per_second: ops,
            is_full: u64::from(self.memory_would_be_short(0)),
            ..Vitals::default()
        };
        for (shard, replica) in self.replicas.iter().enumerate() {
            let keys = replica.shard.len() as u64;
            vitals.keys_held += keys;
            vitals.shards_held += u64::from(self.cluster.copy(shard) != Copy::Absent);
            vitals.shards_replica += u64::from(self.cluster.placed_here(shard));
            if self.cluster.route(shard).primary == Some(Seat::Me) {
                vitals.keys_primary += keys;
                vitals.shards_primary += 1;
            }
        }
        (vitals.moves, vitals.behind) = self.moves();
        vitals
    }

    /// For each shard that this node is the primary of: its number of live keys, if it has any.
    pub(crate) fn primary_keys(&self) -> impl Iterator<Item = (usize, u64)> {
        let keys = |shard: usize| self.replicas[shard].shard.len() as u64;
        let primary = |shard: &usize| self.cluster.route(*shard).primary == Some(Seat::Me);
        (0..self.replicas.len())
            .filter(primary)
            .map(move |shard| (shard, keys(shard)))
            .filter(|(_, keys)| *keys > 0)
    }

    /// Keys of all shards, as the nodes last reported.
    pub(crate) fn keys_in_cluster(&self) -> u64 {
        let theirs = self.cluster.peers().map(|(_, peer)| peer.vitals.keys_primary);
        theirs.fold(self.gauges.vitals.keys_primary, u64::saturating_add)
    }

    /// The cluster as this node sees it. `tables` and `awaited` come from the node: only a process with its context can
    /// read them.
    pub(crate) fn status(&self, tables: Tables, awaited: Vec<Awaited>) -> Arc<Status> {
        let own = self.take_vitals(self.gauges.vitals.ops_per_second);
        let shards: Vec<ShardStatus> = (0..self.replicas.len()).map(|shard| self.shard_status(shard)).collect();
        let seats =
            self.cluster.peers().filter(|(_, peer)| !peer.leaving).count() + usize::from(!self.cluster.leaving());
        let wanted = usize::from(self.cluster.replicas()).min(seats);
        let unavailable = shards.iter().filter(|shard| shard.primary.is_none()).count() as u64;
        let known: Vec<(Member, Vitals)> = self.with_vitals(own);
        let connected = || known.iter().filter(|(member, _)| member.connected);
        let moves = connected().map(|(_, vitals)| vitals.moves).fold(0, u64::saturating_add);
        let behind = connected()
            .map(|(_, vitals)| vitals.behind)
            .fold(0, u64::saturating_add);
        let all_told = self.cluster.peers().all(|(_, peer)| !peer.holdings.is_empty());
        let members: Vec<&Member> = known.iter().map(|(member, _)| member).collect();
        let survey = Survey {
            members: &members,
            shards: &shards,
            keyspaces: &self.config.keyspaces,
            replicas: usize::from(self.cluster.replicas()),
            wanted,
            behind: behind > 0 || !all_told,
        };
        let healed = moves == 0 && !survey.behind && shards.iter().all(|shard| survey.is_whole(shard));
        let node = |(member, vitals): &(Member, Vitals)| NodeStatus {
            member: member.clone(),
            vitals: *vitals,
            stop_risk: survey.risk(member),
        };
        let nodes = known.iter().map(node).collect();
        Arc::new(Status {
            name: self.config.name.clone(),
            ready: awaited.is_empty()
                && (0..self.replicas.len())
                    .all(|shard| !self.cluster.placed_here(shard) || self.cluster.copy(shard) == Copy::Ready),
            awaited,
            leaving: self.cluster.leaving(),
            nodes,
            shards,
            ring_shards: self.config.shards,
            replicas: self.config.replicas,
            keyspaces: self.config.keyspaces.clone(),
            healed,
            moves,
            unavailable,
            clock_skew_ms: self.clock_skew_ms(),
            counters: self.gauges.counters.named().collect(),
            commands: self
                .gauges
                .records
                .ledger
                .commands()
                .map(|(row, calls)| (row.shown(), calls.clone()))
                .collect(),
            errors: self.gauges.records.ledger.errors(),
            measured: self.gauges.measured,
            tables,
            forming: FormingStatus {
                cluster: self.forming.cluster(),
                awaited: self.cluster.awaited().map(String::from).collect(),
                waiting: self.waiting(),
            },
        })
    }

    fn with_vitals(&self, own: Vitals) -> Vec<(Member, Vitals)> {
        let of = |member: &Member| {
            if member.name.as_str() == self.config.name {
                return own;
            }
            let slot = self.cluster.slot(member.name.as_str());
            slot.and_then(|slot| self.cluster.peer(slot))
                .map_or_else(Vitals::default, |peer| peer.vitals)
        };
        self.cluster
            .members()
            .iter()
            .map(|member| (member.clone(), of(member)))
            .collect()
    }

    /// Live keys of a shard: as counted here, or as its primary last reported.
    pub(crate) fn keys_in(&self, shard: usize) -> u64 {
        match self.cluster.route(shard).primary {
            Some(Seat::Peer(slot)) if self.cluster.copy(shard) == Copy::Absent => {
                let peer = self.cluster.peer(slot);
                peer.and_then(|peer| peer.keys.get(shard).copied()).unwrap_or(0)
            }
            _ => self.replicas[shard].shard.len() as u64,
        }
    }

    /// A shard for people: its number in its keyspace, which is named if it is not the default one.
    pub(crate) fn name_of(&self, shard: usize) -> String {
        match self.layout.place(shard) {
            (0, number) => format!("shard {number}"),
            (keyspace, number) => {
                let keyspace = &self.config.keyspaces[usize::from(keyspace)].name;
                format!("shard {number} of keyspace {keyspace}")
            }
        }
    }

    fn shard_status(&self, shard: usize) -> ShardStatus {
        let name = |seat: Seat| match seat {
            Seat::Me => self.config.name.clone(),
            Seat::Away => String::new(),
            Seat::Peer(slot) => self
                .cluster
                .peer(slot)
                .map_or_else(String::new, |peer| peer.name.clone()),
        };
        let mut ready: Vec<String> = self
            .cluster
            .peers()
            .filter(|(slot, _)| self.cluster.copy_at(Seat::Peer(*slot), shard) == Copy::Ready)
            .map(|(_, peer)| peer.name.clone())
            .collect();
        if self.cluster.copy(shard) == Copy::Ready {
            ready.push(self.config.name.clone());
        }
        ready.sort_unstable();
        let (keyspace, number) = self.layout.place(shard);
        ShardStatus {
            keyspace,
            number,
            replicas: self.cluster.order(shard).map(name).collect(),
            ready,
            primary: self.cluster.route(shard).primary.map(name),
            keys: self.keys_in(shard),
        }
    }
}
