//! `CLUSTER`: which node serves which slots. Some clients use this to send each request to the right node. Other
//! clients do not need it: any node answers for any key.
//!
//! - A slot is listed under the primary of its shard; the other ready replicas follow. A slot that no reachable node
//!   serves is not listed. A node without a Redis port is not listed; other nodes are listed in its place.
//! - If a node listens at any address, its host is the address that the client's own connection came in at. If it is
//!   another node, its host is the one in its node name, where its peers reach it.
//! - Once a connection has asked for the map, this node answers it like a node of a Redis Cluster: `SCAN`, `KEYS`,
//!   `DBSIZE` and `RANDOMKEY` cover only the slots that are listed under this node. So tools that ask every master
//!   count each key once.
//! - Every node is a primary of some shards and a replica of others, so `CLUSTER NODES` shows all nodes as masters.
//! - The map is for the keyspace that the connection has selected.

use alloc::{format, string::String, vec::Vec};
use node::{Member, MemberState};
use wire::reply::{ErrorKind, Replies};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use super::number::integer;
use crate::{
    ask::Session, call::Call, cluster::Seat, keyspaces::Span, message::Copy, shard::Shard, slot::SLOTS, store::Store,
    visit::Visit,
};

/// Neighbouring slots with the same primary and the same other ready replicas. The primary is first in the list.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    seats: Vec<Seat>,
}

/// The id of a node: 40 hexadecimal digits. It depends only on the node's name, so it is known before the node has been
/// connected.
pub(super) fn id(name: &str) -> String {
    let name = name.as_bytes();
    format!("{:032x}{:08x}", xxh3_128(name), xxh3_64_with_seed(name, 1) >> 32)
}

/// `ASKING`, `READONLY`, `READWRITE`
pub(super) fn accepted(visit: &mut Visit<'_>) {
    visit.replies.ok();
}

/// `CLUSTER MYID`
pub(super) fn myid(visit: &mut Visit<'_>) {
    visit.replies.bulk(id(&visit.store.config.name).as_bytes());
}

/// `CLUSTER KEYSLOT key`
pub(super) fn keyslot(visit: &mut Visit<'_>) {
    let span = visit.store.layout.span(visit.session.keyspace);
    visit.replies.int(i64::from(span.slot(visit.arg(2))));
}

/// `CLUSTER SLOTS`
pub(super) fn slots(visit: &mut Visit<'_>) {
    let ranges = map(visit);
    let addresses = Addresses::of(visit.store, visit.session);
    visit.replies.array(ranges.len());
    for range in ranges {
        visit.replies.array(2 + range.seats.len());
        visit.replies.int(i64::from(range.first));
        visit.replies.int(i64::from(range.last));
        for seat in range.seats {
            let (name, host, port) = addresses.at(seat);
            visit.replies.array(4);
            visit.replies.bulk(host.as_bytes());
            visit.replies.int(i64::from(port));
            visit.replies.bulk(id(name).as_bytes());
            visit.replies.array(0);
        }
    }
}

/// `CLUSTER SHARDS`: the same as `CLUSTER SLOTS`, grouped by sets of nodes.
pub(super) fn shards(visit: &mut Visit<'_>) {
    let mut sets: Vec<Vec<Range>> = Vec::new();
    for range in map(visit) {
        match sets.iter_mut().find(|set| set[0].seats == range.seats) {
            Some(set) => set.push(range),
            None => sets.push(alloc::vec![range]),
        }
    }
    let addresses = Addresses::of(visit.store, visit.session);
    visit.replies.array(sets.len());
    for set in sets {
        visit.replies.map(2);
        visit.replies.bulk(b"slots");
        visit.replies.array(2 * set.len());
        for range in &set {
            visit.replies.int(i64::from(range.first));
            visit.replies.int(i64::from(range.last));
        }
        let seats = &set[0].seats;
        visit.replies.bulk(b"nodes");
        visit.replies.array(seats.len());
        for (index, &seat) in seats.iter().enumerate() {
            let role = if index == 0 { "master" } else { "replica" };
            node_of_shard(visit.replies, addresses.at(seat), role);
        }
    }
}

fn node_of_shard(replies: &mut Replies, (name, host, port): (&str, &str, u16), role: &str) {
    replies.map(7);
    replies.bulk(b"id");
    replies.bulk(id(name).as_bytes());
    replies.bulk(b"port");
    replies.int(i64::from(port));
    for (name, text) in [("ip", host), ("endpoint", host), ("role", role)] {
        replies.bulk(name.as_bytes());
        replies.bulk(text.as_bytes());
    }
    replies.bulk(b"replication-offset");
    replies.int(0);
    replies.bulk(b"health");
    replies.bulk(b"online");
}

/// `CLUSTER NODES`
pub(super) fn nodes(visit: &mut Visit<'_>) {
    let ranges = map(visit);
    let addresses = Addresses::of(visit.store, visit.session);
    let mut out = String::new();
    for member in visit.store.cluster.members().iter() {
        if member.state != MemberState::Gone {
            out.extend(node_line(&addresses, member, &ranges));
        }
    }
    visit.replies.verbatim(b"txt", out.as_bytes());
}

/// `id host:port@bus-port flags - ping pong epoch link slots`; the bus port is the distribution port. None for a node
/// that is up but accepts no Redis clients.
fn node_line(addresses: &Addresses<'_>, member: &Member, ranges: &[Range]) -> Option<String> {
    let (store, name) = (addresses.store, member.name.as_str());
    let seat = if name == store.config.name {
        Some(Seat::Me)
    } else {
        store.cluster.slot(name).map(Seat::Peer)
    };
    let (host, port) = seat.map_or(("", 0), |seat| {
        let (_, host, port) = addresses.at(seat);
        (host, port)
    });
    if seat.is_some() && port == 0 {
        return None;
    }
    let mut flags = String::from(if seat == Some(Seat::Me) {
        "myself,master"
    } else {
        "master"
    });
    match member.state {
        MemberState::Suspect => flags.push_str(",fail?"),
        MemberState::Down | MemberState::Gone => flags.push_str(",fail"),
        MemberState::Up | MemberState::Leaving => {}
    }
    if port == 0 {
        flags.push_str(",noaddr");
    }
    let link = if member.connected { "connected" } else { "disconnected" };
    let (id, bus) = (id(name), member.dist_port.unwrap_or(0));
    let mut line = format!("{id} {host}:{port}@{bus} {flags} - 0 0 0 {link}");
    for range in ranges.iter().filter(|range| range.seats.first().copied() == seat) {
        let (first, last) = (range.first, range.last);
        line.push_str(&if first == last {
            format!(" {first}")
        } else {
            format!(" {first}-{last}")
        });
    }
    line.push('\n');
    Some(line)
}

/// `CLUSTER INFO`
pub(super) fn info(visit: &mut Visit<'_>) {
    let ranges = ranges(visit.store, visit.session.keyspace);
    let served: u64 = ranges.iter().map(|range| u64::from(range.last - range.first) + 1).sum();
    let lost = u64::from(SLOTS) - served;
    let members = visit
        .store
        .cluster
        .members()
        .iter()
        .filter(|member| member.state != MemberState::Gone)
        .count();
    let serves = |seat: Seat| ranges.iter().any(|range| range.seats.first() == Some(&seat));
    let peers = visit
        .store
        .cluster
        .peers()
        .filter(|(slot, _)| serves(Seat::Peer(*slot)))
        .count();
    let size = peers + usize::from(serves(Seat::Me));
    let state = if lost == 0 { "ok" } else { "fail" };
    let text = format!(
        "cluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{served}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:{lost}\r\ncluster_known_nodes:{members}\r\ncluster_size:{size}\r\n\
         cluster_current_epoch:0\r\ncluster_my_epoch:0\r\n"
    );
    visit.replies.verbatim(b"txt", text.as_bytes());
}

fn keys_in_slot(shard: &Shard, now_ms: u64, span: Span, wanted: u16) -> impl Iterator<Item = &[u8]> {
    let (keys, _) = shard.scan(0, usize::MAX, now_ms);
    keys.into_iter()
        .map(|(key, _)| key)
        .filter(move |key| span.slot(key) == wanted)
}

fn wanted_slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|&slot| slot < SLOTS)
}

/// `CLUSTER COUNTKEYSINSLOT slot`
pub(super) fn countkeysinslot(call: &mut Call<'_>) {
    let Some(number) = integer(call.arg(2)) else {
        return call.replies.not_an_integer();
    };
    match wanted_slot(number) {
        None => call.replies.error(ErrorKind::Err, "Invalid slot"),
        Some(slot) => {
            let count = keys_in_slot(call.shard, call.now_ms, *call.span, slot).count();
            call.replies.int(count as i64);
        }
    }
}

/// `CLUSTER GETKEYSINSLOT slot count`
pub(super) fn getkeysinslot(call: &mut Call<'_>) {
    let (Some(number), Some(count)) = (integer(call.arg(2)), integer(call.arg(3))) else {
        return call.replies.not_an_integer();
    };
    let (Some(slot), Ok(count)) = (wanted_slot(number), usize::try_from(count)) else {
        return call.replies.error(ErrorKind::Err, "Invalid slot or number of keys");
    };
    let keys: Vec<&[u8]> = keys_in_slot(call.shard, call.now_ms, *call.span, slot)
        .take(count)
        .collect();
    call.replies.array(keys.len());
    for key in keys {
        call.replies.bulk(key);
    }
}

/// The slot ranges of the keyspace that a connection has selected. Notes that the connection has asked for the map.
fn map(visit: &mut Visit<'_>) -> Vec<Range> {
    visit.session.has_asked_for_map = true;
    ranges(visit.store, visit.session.keyspace)
}

/// The addresses of the nodes, as one client should use them.
struct Addresses<'a> {
    store: &'a Store,
    /// The address at this node that the client's connection came in at; empty if it has none.
    local: &'a str,
}

impl<'a> Addresses<'a> {
    fn of(store: &'a Store, session: &'a Session) -> Self {
        Self {
            store,
            local: host_of(&session.shown.local_address),
        }
    }

    /// Name, host and RESP port of a node. The port is 0 if the node accepts no clients, or has not reported a port
    /// yet.
    fn at(&self, seat: Seat) -> (&'a str, &'a str, u16) {
        let (name, told) = match seat {
            Seat::Me => (self.store.config.name.as_str(), &self.store.config.resp),
            Seat::Away => return ("", "", 0),
            Seat::Peer(peer) => match self.store.cluster.peer(peer) {
                Some(peer) => (peer.name.as_str(), &peer.resp),
                None => return ("", "", 0),
            },
        };
        let named = name.split_once('@').map_or("", |(_, host)| host);
        match told {
            Some((host, port)) if !is_any(host) => (name, host, *port),
            Some((_, port)) if seat == Seat::Me && !self.local.is_empty() => (name, self.local, *port),
            Some((_, port)) => (name, named, *port),
            None => (name, named, 0),
        }
    }
}

/// Whether a listener with this host listens at every address of its machine.
fn is_any(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::")
}

/// The host of an address with a port, without brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or("", |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Whether a node accepts Redis clients.
fn takes_clients(store: &Store, seat: Seat) -> bool {
    let told = match seat {
        Seat::Me => store.config.resp.as_ref(),
        Seat::Away => None,
        Seat::Peer(peer) => store.cluster.peer(peer).and_then(|peer| peer.resp.as_ref()),
    };
    told.is_some_and(|(_, port)| *port > 0)
}

/// Whether `shard` is listed under this node.
pub(crate) fn is_listed_here(store: &Store, shard: usize) -> bool {
    seats(store, shard).is_some_and(|seats| seats.first() == Some(&Seat::Me))
}

fn ranges(store: &Store, keyspace: u16) -> Vec<Range> {
    let span = store.layout.span(keyspace);
    let served = (0..).zip(span.shards());
    let served = served.filter_map(|(number, shard)| Some((number, seats(store, shard)?)));
    merge(served, span.slots_per_shard())
}

/// The nodes of a shard that accept Redis clients: the primary, then the other ready replicas, in an order that is the
/// same for the same nodes. If none of them accepts clients, another node that does, which forwards the requests.
fn seats(store: &Store, shard: usize) -> Option<Vec<Seat>> {
    let cluster = &store.cluster;
    let primary = cluster.route(shard).primary?;
    let mut seats: Vec<Seat> = cluster
        .order(shard)
        .filter(|&seat| seat != primary && cluster.copy_at(seat, shard) == Copy::Ready)
        .collect();
    seats.sort_unstable_by_key(|&seat| name(store, seat));
    seats.insert(0, primary);
    seats.retain(|&seat| takes_clients(store, seat));
    if seats.is_empty() {
        let all = cluster.peers().map(|(slot, _)| Seat::Peer(slot)).chain([Seat::Me]);
        let others = all.filter(|&seat| takes_clients(store, seat));
        seats.extend(others.min_by_key(|&seat| name(store, seat)));
    }
    (!seats.is_empty()).then_some(seats)
}

fn name(store: &Store, seat: Seat) -> &str {
    match seat {
        Seat::Me => &store.config.name,
        Seat::Away => "",
        Seat::Peer(slot) => store.cluster.peer(slot).map_or("", |peer| &peer.name),
    }
}

/// Turns shards of `width` slots into ranges of slots. Neighbours with the same nodes become one range.
fn merge(shards: impl Iterator<Item = (u16, Vec<Seat>)>, width: u16) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for (shard, seats) in shards {
        let (first, last) = (shard * width, shard * width + (width - 1));
        match ranges.last_mut() {
            Some(range) if range.seats == seats && range.last + 1 == first => range.last = last,
            _ => ranges.push(Range { first, last, seats }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_the_same_nodes_are_one_range() {
        let (a, b) = (
            alloc::vec![Seat::Me, Seat::Peer(1)],
            alloc::vec![Seat::Peer(1), Seat::Me],
        );
        let shards = [
            (0, a.clone()),
            (1, a.clone()),
            (2, b.clone()),
            (4, b.clone()),
            (5, a.clone()),
        ];
        let ranges = merge(shards.into_iter(), 4);
        let wanted = [(0, 7, &a), (8, 11, &b), (16, 19, &b), (20, 23, &a)];
        let wanted: Vec<Range> = wanted
            .map(|(first, last, seats)| Range {
                first,
                last,
                seats: seats.clone(),
            })
            .into_iter()
            .collect();
        assert_eq!(ranges, wanted);
    }

    #[test]
    fn the_last_slot_is_in_a_range() {
        let ranges = merge([(SLOTS - 1, alloc::vec![Seat::Me])].into_iter(), 1);
        assert_eq!((ranges[0].first, ranges[0].last), (SLOTS - 1, SLOTS - 1));
    }

    #[test]
    fn ids_are_of_forty_digits_and_differ() {
        let ids = ["salp_1@127.0.0.1", "salp_2@127.0.0.1"].map(id);
        assert!(
            ids.iter()
                .all(|id| id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        );
        assert_ne!(ids[0], ids[1]);
    }
}
