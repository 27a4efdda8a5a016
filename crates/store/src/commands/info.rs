//! `INFO`: the state of this node. It uses Redis's names where they apply, and salp's own in the section `Salp`. Fields
//! of Redis that salp does not have are left out.
//!
//! - `redis_mode` and `cluster_enabled` say "cluster": `CLUSTER SLOTS` tells the truth, and tools that ask go on to it.
//! - `dbN:keys` counts what `DBSIZE` does: all keys, or those that are listed under this node if the connection has
//!   asked for the map. Where this node has no copy, it is as the primary told a moment ago; `expires` counts the
//!   copies here.
//! - `used_cpu_user` is the CPU time of the process as a whole if the shell does not tell user from system time.
//! - The times of commands are shares of the times of batches: see [`ledger`](crate::ledger).

use alloc::{collections::BTreeSet, format, string::String, vec::Vec};
use core::fmt::Write as _;

use node::Tables;

use super::{cluster::is_listed_here, connection::REDIS_VERSION, memory::percent};
use crate::{ask::Session, store::Store, visit::Visit};

/// When a section is written that was not asked for by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always.
    Default,
    /// If `all` or `everything` is asked for.
    All,
}

type Section = (&'static str, When, fn(&Store, &Session, &mut String));

const SECTIONS: [Section; 14] = [
    ("Server", When::Default, server),
    ("Clients", When::Default, clients),
    ("Memory", When::Default, memory),
    ("Persistence", When::Default, persistence),
    ("Stats", When::Default, stats),
    ("Replication", When::Default, replication),
    ("CPU", When::Default, cpu),
    ("Modules", When::Default, modules),
    ("Commandstats", When::All, commandstats),
    ("Errorstats", When::Default, errorstats),
    ("Latencystats", When::All, latencystats),
    ("Cluster", When::Default, cluster),
    ("Keyspace", When::Default, keyspace),
    ("Salp", When::Default, salp),
];

/// `INFO [section …]`
pub(super) fn info(visit: &mut Visit<'_>) {
    let wanted: BTreeSet<Vec<u8>> = visit.args.skip(1).iter().map(<[u8]>::to_ascii_lowercase).collect();
    let is_wanted = |name: &str| wanted.contains(name.to_ascii_lowercase().as_bytes());
    let all = is_wanted("all") || is_wanted("everything");
    let default = all || wanted.is_empty() || is_wanted("default");
    let mut out = String::new();
    for (name, when, write) in SECTIONS {
        if is_wanted(name) || if when == When::All { all } else { default } {
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

/// `of` hundredths, as Redis writes them.
fn hundredths(of: u64) -> String {
    format!("{}.{:02}", of / 100, of % 100)
}

fn server(store: &Store, _: &Session, out: &mut String) {
    let up_s = (store.time.monotonic_ms - store.time.started_ms) / 1000;
    let port = store.config.resp.as_ref().map_or(0, |(_, port)| u64::from(*port));
    line(out, format_args!("redis_version:{REDIS_VERSION}"));
    // As a Redis says that was not built from its repository.
    line(out, format_args!("redis_git_sha1:00000000"));
    number(out, "redis_git_dirty", 0);
    number(out, "redis_build_id", 0);
    line(out, format_args!("redis_mode:cluster"));
    line(out, format_args!("salp_version:{}", env!("CARGO_PKG_VERSION")));
    let host = &store.config.host;
    known(out, "os", &host.os);
    line(out, format_args!("arch_bits:{}", usize::BITS));
    if host.process_id > 0 {
        number(out, "process_id", u64::from(host.process_id));
    }
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
    known(out, "executable", &host.executable);
}

/// A text, unless it is empty.
fn known(out: &mut String, name: &str, text: &str) {
    if !text.is_empty() {
        line(out, format_args!("{name}:{text}"));
    }
}

fn clients(store: &Store, _: &Session, out: &mut String) {
    number(out, "connected_clients", store.front.clients.len() as u64);
    number(out, "cluster_connections", store.cluster.connected().len() as u64);
    if store.config.host.clients_max > 0 {
        number(out, "maxclients", store.config.host.clients_max as u64);
    }
    number(out, "blocked_clients", store.front.pause.waiting() as u64);
    number(out, "tracking_clients", 0);
}

fn memory(store: &Store, _: &Session, out: &mut String) {
    let (measured, marks) = (&store.gauges.measured, &store.gauges.records.memory);
    size(out, "used_memory", measured.memory_bytes);
    size(out, "used_memory_rss", measured.resident_bytes);
    size(out, "used_memory_peak", marks.peak_bytes);
    let share = hundredths(percent(measured.memory_bytes.saturating_mul(100), marks.peak_bytes));
    line(out, format_args!("used_memory_peak_perc:{share}%"));
    number(out, "used_memory_startup", marks.startup_bytes);
    if store.config.host.memory_bytes > 0 {
        size(out, "total_system_memory", store.config.host.memory_bytes);
    }
    size(out, "maxmemory", store.config.memory_bytes_max);
    line(out, format_args!("maxmemory_policy:noeviction"));
    let fragmentation = hundredths(percent(measured.resident_bytes, measured.memory_bytes));
    line(out, format_args!("mem_fragmentation_ratio:{fragmentation}"));
    let spare = measured.resident_bytes.cast_signed() - measured.memory_bytes.cast_signed();
    line(out, format_args!("mem_fragmentation_bytes:{spare}"));
    number(out, "number_of_cached_scripts", store.scripts.len() as u64);
    number(out, "used_memory_scripts", store.scripts.bytes() as u64);
    number(out, "active_defrag_running", 0);
    number(out, "lazyfree_pending_objects", 0);
    let buffers = store.gauges.measured.buffers;
    number(out, "buffers", buffers.bytes);
    number(out, "max_buffers", store.config.buffer_bytes_max as u64);
    number(out, "client_output_buffer_limit_disconnections", buffers.clients_cut);
    number(out, "buffers_refused_requests", buffers.refused);
}

/// Bytes, as a number and for people.
fn size(out: &mut String, name: &str, bytes: u64) {
    number(out, name, bytes);
    line(out, format_args!("{name}_human:{}", human(bytes)));
}

/// A number of bytes as Redis writes it for people: a unit, and two decimals that are not rounded.
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

/// Clients wait for `loading:0` before they begin. It is always 0: other nodes answer for a node that is still being
/// filled.
fn persistence(_: &Store, _: &Session, out: &mut String) {
    for name in [
        "loading",
        "async_loading",
        "rdb_bgsave_in_progress",
        "aof_enabled",
        "aof_rewrite_in_progress",
    ] {
        number(out, name, 0);
    }
}

fn stats(store: &Store, _: &Session, out: &mut String) {
    let (counters, rates) = (&store.gauges.counters, &store.gauges.records.rates);
    let connections = counters.connections + counters.connections_rejected;
    number(out, "total_connections_received", connections);
    number(out, "total_commands_processed", counters.requests);
    number(out, "instantaneous_ops_per_sec", store.gauges.vitals.ops_per_second);
    number(out, "total_net_input_bytes", counters.received_bytes);
    number(out, "total_net_output_bytes", counters.sent_bytes);
    for (name, bytes) in [("input", rates.received_bytes), ("output", rates.sent_bytes)] {
        let kib = hundredths(percent(bytes, 1024));
        line(out, format_args!("instantaneous_{name}_kbps:{kib}"));
    }
    number(out, "rejected_connections", counters.connections_rejected);
    number(out, "expired_keys", counters.expired);
    number(out, "keyspace_hits", counters.hits);
    number(out, "keyspace_misses", counters.misses);
    // There is no eviction, no publishing and no fork.
    for name in [
        "evicted_keys",
        "evicted_clients",
        "pubsub_channels",
        "pubsub_patterns",
        "latest_fork_usec",
        "total_forks",
    ] {
        number(out, name, 0);
    }
    number(out, "total_error_replies", store.gauges.records.ledger.errors_total());
    number(out, "log_lines_dropped", store.gauges.measured.log_lines_dropped);
}

/// Copies are a matter of shards: a node has no replicas, and the replication of shards has no offset.
fn replication(_: &Store, _: &Session, out: &mut String) {
    line(out, format_args!("role:master"));
    number(out, "connected_slaves", 0);
    line(out, format_args!("master_failover_state:no-failover"));
}

fn cpu(store: &Store, _: &Session, out: &mut String) {
    let (all_us, system_us) = (store.gauges.measured.cpu_us, store.gauges.measured.cpu_system_us);
    let mut seconds = |name: &str, us: u64| {
        line(out, format_args!("{name}:{}.{:06}", us / 1_000_000, us % 1_000_000));
    };
    if let Some(us) = system_us {
        seconds("used_cpu_sys", us);
    }
    seconds("used_cpu_user", all_us.saturating_sub(system_us.unwrap_or(0)));
}

/// There are none.
fn modules(_: &Store, _: &Session, _: &mut String) {}

fn commandstats(store: &Store, _: &Session, out: &mut String) {
    for (row, calls) in store.gauges.records.ledger.commands() {
        line(
            out,
            format_args!(
                "cmdstat_{}:calls={},usec={},usec_per_call={},rejected_calls={},failed_calls={}",
                row.shown(),
                calls.calls,
                calls.took_us,
                hundredths(percent(calls.took_us, calls.calls)),
                calls.rejected,
                calls.failed
            ),
        );
    }
}

fn errorstats(store: &Store, _: &Session, out: &mut String) {
    for (word, count) in store.gauges.records.ledger.errors() {
        line(out, format_args!("errorstat_{word}:count={count}"));
    }
}

fn latencystats(store: &Store, _: &Session, out: &mut String) {
    for (row, calls) in store.gauges.records.ledger.commands() {
        if let [Some(p50), Some(p99), Some(p999)] = [500, 990, 999].map(|per_mille| calls.percentile_us(per_mille)) {
            let name = row.shown();
            line(
                out,
                format_args!("latency_percentiles_usec_{name}:p50={p50},p99={p99},p99.9={p999}"),
            );
        }
    }
}

fn cluster(_: &Store, _: &Session, out: &mut String) {
    number(out, "cluster_enabled", 1);
}

fn keyspace(store: &Store, session: &Session, out: &mut String) {
    for (index, _) in (0..).zip(&store.config.keyspaces) {
        let all = store.layout.span(index).shards();
        let meant = all.filter(|&shard| !session.has_asked_for_map || is_listed_here(store, shard));
        let (keys, expires) = meant.fold((0, 0), |(keys, expires), shard| {
            let expiring = store.replicas[shard].shard.expiring() as u64;
            (keys + store.keys_in(shard), expires + expiring)
        });
        // As in Redis, an empty keyspace is not listed. The average time to live is not known.
        if keys > 0 {
            line(out, format_args!("db{index}:keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

fn salp(store: &Store, _: &Session, out: &mut String) {
    // The status has no tables and no awaited nodes here: `/metrics` and `/readyz` show them. So `ready` only means
    // that the copies of this node are complete.
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
    // `moves` are those of the cluster.
    for (name, _, value) in vitals.named().filter(|(name, _, _)| *name != "moves") {
        number(out, name, value);
    }
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
