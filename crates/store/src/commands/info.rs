//! `INFO`: how this node fares, under Redis's names as far as they mean something here, and under our own in the
//! section `Salp`. What Redis reports and nobody here knows is left out rather than made up.
//!
//! - `redis_mode` and `cluster_enabled` say "cluster": `CLUSTER SLOTS` tells the truth, and tools that ask go on to it.
//! - `dbN:keys` counts what `DBSIZE` does: all keys, or those that are listed under this node if the connection has
//!   asked for the map. Where this node has no copy, it is as the primary told a moment ago; `expires` counts the
//!   copies here.
//! - `used_cpu_user` is the CPU time of the process as a whole: the shell does not tell user from system time.

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::fmt::Write as _;

use node::Tables;

use super::{cluster::is_listed_here, connection::REDIS_VERSION};
use crate::{ask::Session, store::Store, visit::Visit};

type Section = (&'static str, fn(&Store, &Session, &mut String));

const SECTIONS: [Section; 10] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
    ("Salp", salp),
];

/// `INFO [section …]`
pub(super) fn info(visit: &mut Visit<'_>) {
    let wanted: BTreeSet<Vec<u8>> = visit.args.skip(1).iter().map(<[u8]>::to_ascii_lowercase).collect();
    let all = wanted.is_empty()
        || ["all", "default", "everything"]
            .iter()
            .any(|name| wanted.contains(name.as_bytes()));
    let mut out = String::new();
    for (name, write) in SECTIONS {
        if all || wanted.contains(name.to_ascii_lowercase().as_bytes()) {
            if !out.is_empty() {
                out.push_str("\r\n");
            }
            line(&mut out, format_args!("# {name}"));
            write(visit.store, visit.session, &mut out);
        }
    }
    visit.replies.verbatim(b"txt", out.as_bytes());
}

fn line(out: &mut String, text: core::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = write!(out, "{text}\r\n");
}

fn number(out: &mut String, name: &str, value: u64) {
    line(out, format_args!("{name}:{value}"));
}

fn server(store: &Store, _: &Session, out: &mut String) {
    let up_s = (store.time.monotonic_ms - store.time.started_ms) / 1000;
    let port = store.config.resp.as_ref().map_or(0, |(_, port)| u64::from(*port));
    line(out, format_args!("redis_version:{REDIS_VERSION}"));
    line(out, format_args!("redis_mode:cluster"));
    line(out, format_args!("salp_version:{}", env!("CARGO_PKG_VERSION")));
    line(out, format_args!("arch_bits:{}", usize::BITS));
    line(
        out,
        format_args!(
            "run_id:{}{:08x}",
            super::cluster::id(&store.config.name).get(..32).unwrap_or_default(),
            store.config.creation
        ),
    );
    number(out, "tcp_port", port);
    number(out, "server_time_usec", store.time.wall.now_ms.saturating_mul(1000));
    number(out, "uptime_in_seconds", up_s);
    number(out, "uptime_in_days", up_s / 86_400);
}

fn clients(store: &Store, _: &Session, out: &mut String) {
    number(out, "connected_clients", store.front.clients.len() as u64);
    number(out, "blocked_clients", 0);
}

fn memory(store: &Store, _: &Session, out: &mut String) {
    let sizes = [
        ("used_memory", store.gauges.measured.memory_bytes),
        ("used_memory_rss", store.gauges.measured.resident_bytes),
        ("maxmemory", store.config.memory_bytes_max),
    ];
    for (name, bytes) in sizes {
        number(out, name, bytes);
        line(out, format_args!("{name}_human:{}", human(bytes)));
    }
    line(out, format_args!("maxmemory_policy:noeviction"));
}

/// Bytes as Redis writes them for people: two decimals, cut off, and a unit.
fn human(bytes: u64) -> String {
    let units = [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')];
    match units.into_iter().find(|(bits, _)| bytes >> bits > 0) {
        None => format!("{bytes}B"),
        Some((bits, unit)) => {
            let hundredths = (u128::from(bytes) * 100) >> bits;
            format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100)
        }
    }
}

/// Clients wait for `loading:0` before they begin. A node that is still filled has others answer for it.
fn persistence(_: &Store, _: &Session, out: &mut String) {
    number(out, "loading", 0);
    number(out, "aof_enabled", 0);
}

fn stats(store: &Store, _: &Session, out: &mut String) {
    number(out, "total_connections_received", store.gauges.counters.connections);
    number(out, "total_commands_processed", store.gauges.counters.requests);
    number(out, "instantaneous_ops_per_sec", store.gauges.vitals.ops_per_second);
    number(out, "expired_keys", store.gauges.counters.expired);
    number(out, "keyspace_hits", store.gauges.counters.hits);
    number(out, "keyspace_misses", store.gauges.counters.misses);
    number(out, "evicted_keys", 0);
    number(out, "log_lines_dropped", store.gauges.measured.log_lines_dropped);
}

fn replication(_: &Store, _: &Session, out: &mut String) {
    line(out, format_args!("role:master"));
    number(out, "connected_slaves", 0);
}

fn cpu(store: &Store, _: &Session, out: &mut String) {
    let us = store.gauges.measured.cpu_us;
    line(
        out,
        format_args!("used_cpu_user:{}.{:06}", us / 1_000_000, us % 1_000_000),
    );
}

fn cluster(_: &Store, _: &Session, out: &mut String) {
    number(out, "cluster_enabled", 1);
}

fn keyspace(store: &Store, session: &Session, out: &mut String) {
    let shards = usize::from(store.config.shards);
    for index in 0..store.config.keyspaces.len() {
        let all = index * shards..(index + 1) * shards;
        let meant = all.filter(|&shard| !session.has_asked_for_map || is_listed_here(store, shard));
        let (keys, expires) = meant.fold((0, 0), |(keys, expires), shard| {
            let expiring = store.replicas[shard].shard.expiring() as u64;
            (keys + store.keys_in(shard), expires + expiring)
        });
        // As in Redis, one that is empty is not named. How long keys live on average is not known.
        if keys > 0 {
            line(out, format_args!("db{index}:keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

fn salp(store: &Store, _: &Session, out: &mut String) {
    // What is the node's: `/metrics` shows its tables, `/readyz` whom it waits for. `ready` is that of the copies here.
    let status = store.status(Tables::default(), Vec::new());
    let vitals = store.take_vitals(store.gauges.vitals.ops_per_second);
    line(out, format_args!("node:{}", status.name));
    number(out, "members", status.nodes.len() as u64);
    number(
        out,
        "members_connected",
        status.nodes.iter().filter(|node| node.member.connected).count() as u64,
    );
    number(out, "shards", u64::from(status.ring_shards));
    number(out, "replicas", u64::from(status.replicas));
    number(out, "keyspaces", status.keyspaces.len() as u64);
    number(out, "ready", u64::from(status.ready));
    number(out, "leaving", u64::from(status.leaving));
    number(out, "healed", u64::from(status.healed));
    number(out, "moves", status.moves);
    number(out, "unavailable", status.unavailable);
    number(out, "shards_primary", vitals.shards_primary);
    number(out, "shards_held", vitals.shards_held);
    number(out, "keys_primary", vitals.keys_primary);
    number(out, "keys_held", vitals.keys_held);
    let writers = store.replicas.iter().map(|replica| replica.shard.clock().writers());
    number(out, "clock_rows_max", writers.max().unwrap_or(0) as u64);
    for (name, _, count) in store.gauges.counters.named() {
        number(out, &format!("counted_{name}"), count);
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes_read_as_in_redis() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1536, "1.50K"),
            (100 << 20, "100.00M"),
            (5 << 40, "5.00T"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
