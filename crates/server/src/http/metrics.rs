//! `GET /metrics`: counters of this node, gauges of all nodes as seen from here, and how long HTTP requests took, in
//! Prometheus's text format 0.0.4.
//!
//! Written without a metrics library: nearly all figures come from one [`Status`] at the moment of the scrape, so a
//! registry would be empty. The histograms have fixed buckets and a fixed number of rows: routes × methods × classes of
//! status. Without a scraper this costs nothing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use node::{PeerTables, Tables};
use store::{
    ask::{NodeStatus, Status},
    ledger::Calls,
    vitals::Vitals,
};

use super::{Answer, Shared};
use crate::budget::Budget;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
];

/// How long requests took.
#[derive(Clone, Debug, Default)]
struct Histogram {
    /// Requests within each bound and above the one before. The last: above all bounds.
    buckets: [u64; BOUNDS_US.len() + 1],
    sum_us: u64,
}

impl Histogram {
    fn record(&mut self, took: Duration) {
        let took_us = took.as_micros() as u64;
        let bucket = BOUNDS_US.partition_point(|&bound_us| bound_us < took_us);
        self.buckets[bucket] += 1;
        self.sum_us += took_us;
    }
}

/// Method and class of status (2 for 2xx).
type Kind = (&'static str, u16);

type ByRoute = BTreeMap<String, BTreeMap<Kind, Histogram>>;

/// The histograms, by route.
#[derive(Debug, Default)]
pub(super) struct Timings {
    by_route: Mutex<ByRoute>,
}

impl Timings {
    fn record(&self, route: &str, kind: Kind, took: Duration) {
        let mut by_route = self.by_route.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kinds) = by_route.get_mut(route) {
            kinds.entry(kind).or_default().record(took);
        } else {
            by_route
                .entry(route.to_owned())
                .or_default()
                .entry(kind)
                .or_default()
                .record(took);
        }
    }
}

/// The middleware: times each request up to the head of its response.
pub(super) async fn observe(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    door.timings
        .record(route, (method, response.status().as_u16() / 100), started.elapsed());
    response
}

/// A method's name. All unknown methods share one name.
fn method(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
    ];
    let names = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"];
    known
        .iter()
        .zip(names)
        .find(|(known, _)| *known == method)
        .map_or("other", |(_, name)| name)
}

/// `GET /metrics`
pub(super) async fn show(State(door): State<Shared>) -> Answer {
    let status = door.status().await?;
    let mut text = Text::default();
    of_this_node(&mut text, &status);
    let failures = door.settings.state_failures.load(Ordering::Relaxed);
    let name = "salp_state_write_failures_total";
    text.family(name, "counter", "Writes of the state file that failed.");
    text.sample(name, &[], failures);
    of_the_commands(&mut text, &status);
    of_the_buffers(&mut text, &door.settings.budget);
    of_the_tables(&mut text, &status.tables);
    of_the_cluster(&mut text, &status);
    of_http(
        &mut text,
        &door.timings.by_route.lock().unwrap_or_else(PoisonError::into_inner),
    );
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text.0,
    )
        .into_response())
}

fn of_this_node(text: &mut Text, status: &Status) {
    text.family("salp_build_info", "gauge", "Always 1; the version is a label.");
    text.sample(
        "salp_build_info",
        &[("version", env!("CARGO_PKG_VERSION")), ("node", &status.name)],
        1,
    );
    for (name, help, value) in &status.counters {
        let name = format!("salp_{name}_total");
        text.family(&name, "counter", help);
        text.sample(&name, &[], *value);
    }
    let measured = &status.measured;
    text.gauge(
        "salp_memory_allocated_bytes",
        "Allocated bytes of this process.",
        measured.memory_bytes,
    );
    text.gauge(
        "salp_memory_resident_bytes",
        "Resident bytes of this process.",
        measured.resident_bytes,
    );
    text.family("salp_cpu_seconds_total", "counter", "CPU time of this process.");
    text.sample("salp_cpu_seconds_total", &[], seconds(measured.cpu_us));
    text.family(
        "salp_log_lines_dropped_total",
        "counter",
        "Log lines dropped because they could not be written, or not fast enough.",
    );
    text.sample("salp_log_lines_dropped_total", &[], measured.log_lines_dropped);
    text.gauge(
        "salp_ready",
        "1 if this node serves every shard placed on it.",
        u64::from(status.ready),
    );
    text.gauge(
        "salp_leaving",
        "1 if this node is handing over its data to leave.",
        u64::from(status.leaving),
    );
    text.family(
        "salp_clock_skew_seconds",
        "gauge",
        "The largest difference between the wall clock of this node and that of a connected one.",
    );
    text.sample(
        "salp_clock_skew_seconds",
        &[],
        seconds(status.clock_skew_ms.saturating_mul(1000)),
    );
}

/// Counters of the commands that clients of this node sent. The number of labels is bounded by the commands and the
/// kinds of errors.
fn of_the_commands(text: &mut Text, status: &Status) {
    const TIME: &str = "salp_command_duration_seconds";
    text.family(
        TIME,
        "summary",
        "Time of requests of clients of this node, an equal part of the time of their pipeline, by command.",
    );
    for (command, calls) in &status.commands {
        for (quantile, per_mille) in [("0.5", 500), ("0.99", 990), ("0.999", 999)] {
            if let Some(us) = calls.percentile_us(per_mille) {
                text.sample(TIME, &[("command", command), ("quantile", quantile)], seconds(us));
            }
        }
        let labels = [("command", *command)];
        text.sample(&format!("{TIME}_sum"), &labels, seconds(calls.took_us));
        text.sample(&format!("{TIME}_count"), &labels, calls.calls);
    }
    type Count = (&'static str, &'static str, fn(&Calls) -> u64);
    let counts: [Count; 2] = [
        (
            "salp_commands_rejected_total",
            "Requests refused before they began, by command.",
            |calls| calls.rejected,
        ),
        (
            "salp_commands_failed_total",
            "Requests that came to an error, by command.",
            |calls| calls.failed,
        ),
    ];
    for (name, help, read) in counts {
        text.family(name, "counter", help);
        for (command, calls) in &status.commands {
            text.sample(name, &[("command", command)], read(calls));
        }
    }
    let name = "salp_error_replies_total";
    text.family(
        name,
        "counter",
        "Errors that clients of this node were given, by first word.",
    );
    for (word, count) in &status.errors {
        text.sample(name, &[("error", word)], count);
    }
}

fn of_the_buffers(text: &mut Text, budget: &Budget) {
    text.gauge(
        "salp_buffer_bytes",
        "Bytes of requests and replies that are under way.",
        budget.used() as u64,
    );
    text.gauge(
        "salp_buffer_bytes_max",
        "Limit of these bytes.",
        budget.bytes_max() as u64,
    );
    let counted = [
        (
            "salp_clients_cut_total",
            "Clients that were cut because they did not read their replies.",
            budget.clients_cut(),
        ),
        (
            "salp_buffer_refusals_total",
            "Requests that were refused because the buffers were full.",
            budget.refused(),
        ),
    ];
    for (name, help, value) in counted {
        text.family(name, "counter", help);
        text.sample(name, &[], value);
    }
}

fn of_the_tables(text: &mut Text, tables: &Tables) {
    let own = [
        ("salp_processes", "Processes of this node.", tables.processes),
        ("salp_monitors", "Monitors its processes hold.", tables.monitors),
        ("salp_calls", "Answers its processes wait for.", tables.calls),
        ("salp_global_names", "Names of global.", tables.global_names),
        ("salp_global_locks", "Locks of global set here.", tables.global_locks),
    ];
    for (name, help, value) in own {
        text.gauge(name, help, value);
    }
    /// Name, help, and where to read it.
    type Gauge = (&'static str, &'static str, fn(&PeerTables) -> u64);
    let of_peers: [Gauge; 6] = [
        ("salp_peer_monitors", "Monitors the peer holds here.", |peer| {
            peer.monitors
        }),
        ("salp_peer_links", "Links with processes of the peer.", |peer| {
            peer.links
        }),
        ("salp_peer_spawns", "Calls and processes run for the peer.", |peer| {
            peer.spawns
        }),
        (
            "salp_peer_joins",
            "How often processes of the peer joined groups.",
            |peer| peer.joins,
        ),
        (
            "salp_peer_global_names",
            "Names of global the peer registered.",
            |peer| peer.global_names,
        ),
        (
            "salp_peer_global_locks",
            "Locks of global the peer holds here.",
            |peer| peer.global_locks,
        ),
    ];
    for (name, help, read) in of_peers {
        text.family(name, "gauge", help);
        for (peer, held) in &tables.peers {
            text.sample(name, &[("peer", peer.as_str())], read(held));
        }
    }
}

fn of_the_cluster(text: &mut Text, status: &Status) {
    text.gauge(
        "salp_cluster_healed",
        "1 if every shard has all its copies, or one on each node if those are fewer, and they agree.",
        u64::from(status.healed),
    );
    text.gauge(
        "salp_cluster_moves",
        "Copies still to be made or handed over.",
        status.moves,
    );
    text.gauge(
        "salp_cluster_unavailable_shards",
        "Shards no node within reach serves.",
        status.unavailable,
    );
    type Flag = (&'static str, &'static str, fn(&NodeStatus) -> bool);
    let flags: [Flag; 2] = [
        ("salp_node_connected", "1 if this node is connected to it.", |node| {
            node.member.connected
        }),
        (
            "salp_node_safe_to_stop",
            "1 if it may be stopped now; salp_node_stop_risk says why not.",
            |node| node.stop_risk.is_none(),
        ),
    ];
    for (name, help, read) in flags {
        text.family(name, "gauge", help);
        for node in &status.nodes {
            text.sample(name, &[("node", node.member.name.as_str())], u64::from(read(node)));
        }
    }
    for (place, (name, help, _)) in Vitals::default().named().enumerate() {
        let name = format!("salp_node_{name}");
        text.family(&name, "gauge", help);
        for node in &status.nodes {
            let value = node.vitals.named().nth(place).map_or(0, |(_, _, value)| value);
            text.sample(&name, &[("node", node.member.name.as_str())], value);
        }
    }
    text.family("salp_node_state", "gauge", "1 for the state that the node is in.");
    for node in &status.nodes {
        let labels = [("node", node.member.name.as_str()), ("state", node.member.state.word())];
        text.sample("salp_node_state", &labels, 1);
    }
    text.family(
        "salp_node_stop_risk",
        "gauge",
        "1 for the reason why a node may not be stopped now.",
    );
    for node in &status.nodes {
        if let Some(risk) = &node.stop_risk {
            let labels = [("node", node.member.name.as_str()), ("risk", risk.word())];
            text.sample("salp_node_stop_risk", &labels, 1);
        }
    }
}

fn of_http(text: &mut Text, by_route: &ByRoute) {
    const NAME: &str = "salp_http_request_duration_seconds";
    text.family(NAME, "histogram", "Time from a request's head to its response's head.");
    for (route, kinds) in by_route {
        for ((method, class), histogram) in kinds {
            let class = format!("{class}xx");
            let labels = [
                ("route", route.as_str()),
                ("method", *method),
                ("status", class.as_str()),
            ];
            let mut count = 0;
            let bounds = BOUNDS_US
                .iter()
                .map(|&bound_us| seconds(bound_us))
                .chain(["+Inf".into()]);
            for (bound, requests) in bounds.zip(histogram.buckets) {
                count += requests;
                let labels = [labels[0], labels[1], labels[2], ("le", bound.as_str())];
                text.sample(&format!("{NAME}_bucket"), &labels, count);
            }
            text.sample(&format!("{NAME}_sum"), &labels, seconds(histogram.sum_us));
            text.sample(&format!("{NAME}_count"), &labels, count);
        }
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let text = format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The text format.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.gauge("salp_x", "What it is.", 7);
        text.sample("salp_y", &[("node", "a\"b\\c\nd"), ("le", "+Inf")], 0.5);
        let wanted = "# HELP salp_x What it is.\n# TYPE salp_x gauge\nsalp_x 7\n\
                      salp_y{node=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 0.5\n";
        assert_eq!(text.0, wanted);
    }

    #[test]
    fn buckets_hold_what_is_at_most_their_bound() {
        let timings = Timings::default();
        for took_us in [1, 100, 101, 9_000_000] {
            timings.record("/kv/{*key}", ("GET", 2), Duration::from_micros(took_us));
        }
        let mut text = Text::default();
        of_http(&mut text, &timings.by_route.lock().unwrap());
        for line in [
            "_bucket{route=\"/kv/{*key}\",method=\"GET\",status=\"2xx\",le=\"0.0001\"} 2",
            "le=\"0.00025\"} 3",
            "le=\"5\"} 3",
            "le=\"+Inf\"} 4",
            "_sum{route=\"/kv/{*key}\",method=\"GET\",status=\"2xx\"} 9.000202",
            "_count{route=\"/kv/{*key}\",method=\"GET\",status=\"2xx\"} 4",
        ] {
            assert!(text.0.contains(line), "{line} in\n{}", text.0);
        }
    }

    #[test]
    fn seconds_are_exact() {
        for (us, text) in [
            (0, "0"),
            (100, "0.0001"),
            (1_000_000, "1"),
            (10_000_000, "10"),
            (1_500_001, "1.500001"),
        ] {
            assert_eq!(seconds(us), text);
        }
    }
}
