//! `salp bench`: a load generator.
//!
//! - *Closed loop*: each connection sends as many requests as the pipeline is deep, waits for their replies, and
//!   repeats. This shows the highest rate, and the latency at that rate.
//! - *Open loop* (`--rate`): requests are due at fixed times, whatever the server does, and latency is counted from
//!   when a request was due. A server that stalls is charged for all requests that should have been sent meanwhile, so
//!   there is no coordinated omission (G. Tene, *How NOT to Measure Latency*). Requests that were never sent are
//!   counted too.
//!
//! All connections run on one thread; a server with more than two cores may be faster than this can measure.

mod connection;
mod pace;

use std::{
    fmt,
    time::{Duration, Instant},
};

use axum::http::Method;
use clap::{Args, ValueEnum};
use hyper::body::Bytes;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    latency::{Latency, Percentiles},
    remote::{Failure, Target, print, succeed},
    table::{Column, Table},
};
use crate::{duration, variable};
use connection::{Address, Connection};
use pace::Pace;

/// The requests to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Workload {
    /// Reads
    Get,
    /// Writes
    Set,
    /// Four reads for each write
    Mixed,
}

/// The protocol of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    /// The protocol of Redis
    Resp,
    /// HTTP
    Http,
}

/// Put a node under load.
#[derive(Clone, Debug, Args)]
pub(crate) struct Bench {
    /// Requests to send; several workloads run one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Workload::Set, Workload::Get])]
    workload: Vec<Workload>,
    /// Protocols to use; several run one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Protocol::Resp])]
    protocol: Vec<Protocol>,
    /// Requests under way on each connection (RESP only)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pipeline: u64,
    /// Number of connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Duration of each run: a number of seconds, or a time such as 500ms or 2m
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = run_time)]
    seconds: Duration,
    /// Size of a value in bytes
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(..=64 << 20))]
    size: u64,
    /// Number of different keys; each is equally likely
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Requests per second over all connections (open loop) [default: closed loop]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Address of a node's RESP listener
    #[arg(long, default_value = "127.0.0.1:6379")]
    resp: String,
    /// Password of the node's RESP listener [env: SALP_RESP_PASSWORD]
    #[arg(long)]
    password: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// How one run went.
#[derive(Debug, Serialize)]
struct Report {
    workload: Workload,
    protocol: Protocol,
    pipeline: u64,
    connections: u64,
    seconds: f64,
    /// The rate that was asked for.
    rate: Option<u64>,
    requests: u64,
    requests_per_second: f64,
    errors: u64,
    /// Reads of missing keys.
    misses: u64,
    /// Requests that were due and could not be sent in time.
    unsent: u64,
    #[serde(flatten)]
    latency: Percentiles,
}

/// What the connections counted.
#[derive(Debug)]
struct Counted {
    latency: Latency,
    errors: u64,
    misses: u64,
    unsent: u64,
}

impl Counted {
    fn new() -> Self {
        Self {
            latency: Latency::new(),
            errors: 0,
            misses: 0,
            unsent: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.errors += other.errors;
        self.misses += other.misses;
        self.unsent += other.unsent;
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Mixed => "mixed",
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp => "resp",
            Self::Http => "http",
        })
    }
}

impl Bench {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.pipeline > 1 && self.protocol.contains(&Protocol::Http) {
            return Err(Failure::usage(
                "--pipeline is for resp; HTTP has one request under way on a connection",
            ));
        }
        let mut reports = Vec::new();
        for &protocol in &self.protocol {
            for &workload in &self.workload {
                reports.push(self.measure(protocol, workload).await?);
            }
        }
        if self.json {
            let text = serde_json::to_string(&reports).expect("numbers and names are JSON");
            return print(text + "\n");
        }
        print(render(&reports))
    }

    async fn measure(&self, protocol: Protocol, workload: Workload) -> Result<Report, Failure> {
        let address = match protocol {
            Protocol::Resp => Address::Resp {
                address: self.resp.clone(),
                password: self.password.clone().or_else(|| variable::read("SALP_RESP_PASSWORD")),
            },
            Protocol::Http => {
                // If access is refused, this reports it, instead of a rate.
                succeed(&self.target.client()?, Method::GET, "/kv?limit=1", Bytes::new()).await?;
                Address::Http(self.target.clone())
            }
        };
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(Connection::open(&address).await?);
        }
        let duration = self.seconds;
        let started = Instant::now();
        let paces = Pace::all(self.connections, self.pipeline, self.rate, started, duration);
        let mut tasks = JoinSet::new();
        for (number, (connection, pace)) in connections.into_iter().zip(paces).enumerate() {
            let requests = Requests::new(self, workload, number as u64);
            tasks.spawn(drive(connection, pace, requests));
        }
        let mut counted = Counted::new();
        while let Some(one) = tasks.join_next().await {
            counted.add(&one.map_err(|error| Failure::negative(format!("a connection's task ended: {error}")))??);
        }
        let seconds = started.elapsed().as_secs_f64();
        let requests = counted.latency.count() - counted.unsent;
        if requests > 0 && counted.errors == requests {
            let text = format!("all {requests} requests over {protocol} were answered by an error");
            return Err(Failure::negative(text));
        }
        Ok(Report {
            workload,
            protocol,
            pipeline: self.pipeline,
            connections: self.connections,
            seconds,
            rate: self.rate,
            requests,
            requests_per_second: requests as f64 / seconds,
            errors: counted.errors,
            misses: counted.misses,
            unsent: counted.unsent,
            latency: counted.latency.percentiles(),
        })
    }
}

fn run_time(text: &str) -> Result<Duration, String> {
    const MILLIS_MAX: u64 = 86_400_000;
    match duration::parse_ms(text) {
        Some(millis @ 100..=MILLIS_MAX) => Ok(Duration::from_millis(millis)),
        _ => Err(format!("must be from 100ms to 1d: {}", duration::GRAMMAR)),
    }
}

/// Runs one connection.
async fn drive(mut connection: Connection, mut pace: Pace, mut requests: Requests) -> Result<Counted, Failure> {
    let mut counted = Counted::new();
    let mut due = Vec::new();
    while pace.next(&mut due).await {
        for _ in &due {
            connection.push(requests.next());
        }
        let mut waiting = due.iter();
        connection
            .exchange(|outcome| {
                let now = Instant::now();
                let since = waiting.next().copied().unwrap_or(now);
                counted.latency.record(now.saturating_duration_since(since), 1);
                counted.errors += u64::from(outcome.error);
                counted.misses += u64::from(outcome.miss);
            })
            .await?;
    }
    for waited in pace.unsent() {
        counted.unsent += 1;
        counted.latency.record(waited, 1);
    }
    Ok(counted)
}

/// One request to make.
#[derive(Clone, Copy, Debug)]
enum Ask<'a> {
    Get(&'a str),
    Set(&'a str, &'a [u8]),
}

/// The requests of a connection, drawn from the number of the connection: each run sends the same requests.
#[derive(Debug)]
struct Requests {
    workload: Workload,
    keys: u64,
    value: Vec<u8>,
    key: String,
    random: u64,
}

impl Requests {
    fn new(bench: &Bench, workload: Workload, connection: u64) -> Self {
        let value = vec![b'x'; bench.size as usize];
        Self {
            workload,
            keys: bench.keys,
            value,
            key: String::new(),
            random: connection << 32,
        }
    }

    fn next(&mut self) -> Ask<'_> {
        use fmt::Write as _;
        let random = self.draw();
        self.key.clear();
        let _ = write!(self.key, "key:{:012}", random % self.keys);
        let reads = match self.workload {
            Workload::Get => true,
            Workload::Set => false,
            // The upper bits: the lower ones chose the key.
            Workload::Mixed => random >> 32 & 0xff < 205,
        };
        if reads {
            Ask::Get(&self.key)
        } else {
            Ask::Set(&self.key, &self.value)
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

fn render(reports: &[Report]) -> String {
    let mut columns = vec![
        Column::Left("workload"),
        Column::Left("protocol"),
        Column::Right("requests/s"),
    ];
    columns.extend(Percentiles::COLUMNS);
    columns.extend([
        Column::Right("errors"),
        Column::Right("misses"),
        Column::Right("unsent"),
    ]);
    let mut table = Table::new(columns);
    for report in reports {
        let mut cells = vec![
            report.workload.to_string(),
            report.protocol.to_string(),
            format!("{:.0}", report.requests_per_second),
        ];
        cells.extend(report.latency.cells());
        cells.extend([report.errors, report.misses, report.unsent].map(|count| count.to_string()));
        table.row(cells);
    }
    let mut text = table.render();
    if reports.iter().any(|report| report.unsent > 0) {
        text.push_str(
            "\nunsent: the server did not keep up with the rate; these requests count with the time they waited\n",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn bench(line: &str) -> Bench {
        Line::parse_from(["bench"].into_iter().chain(line.split_whitespace())).bench
    }

    #[test]
    fn options_are_those_of_the_contract() {
        let bench = bench("--workload get,set,mixed --protocol resp,http --pipeline 16 --seconds 2 --rate 1000");
        assert_eq!(bench.workload, [Workload::Get, Workload::Set, Workload::Mixed]);
        assert_eq!(bench.protocol, [Protocol::Resp, Protocol::Http]);
        assert_eq!(
            (bench.connections, bench.size, bench.keys, bench.rate),
            (50, 64, 100_000, Some(1000))
        );
    }

    #[test]
    fn a_mix_has_four_reads_to_a_write_and_all_keys() {
        let mut requests = Requests::new(&bench("--keys 10"), Workload::Mixed, 3);
        let (mut reads, mut keys) = (0, std::collections::BTreeSet::new());
        for _ in 0..10_000 {
            match requests.next() {
                Ask::Get(key) => {
                    reads += 1;
                    keys.insert(key.to_owned());
                }
                Ask::Set(_, value) => assert_eq!(value.len(), 64),
            }
        }
        assert!((7_800..8_200).contains(&reads), "{reads}");
        assert_eq!(keys.len(), 10);
    }

    #[test]
    fn pipelining_is_refused_for_http() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let failure = runtime
            .block_on(bench("--protocol http --pipeline 2").run())
            .unwrap_err();
        assert_eq!(failure.code, 2);
    }
}
