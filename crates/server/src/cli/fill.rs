//! `salp fill`: loads the store over HTTP. The keys are numbered.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::Method;
use clap::Args;
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinSet;

use super::{
    latency::{Latency, Percentiles},
    remote::{Failure, Target, print},
    table::{Column, Table},
};
use crate::{client::Client, http::encode};

/// Largest value, as the default of a node has it.
const SIZE_MAX: u64 = 64 << 20;

/// Load the store with keys.
#[derive(Debug, Args)]
pub(crate) struct Fill {
    /// Number of keys
    #[arg(long, default_value_t = 5000)]
    count: u64,
    /// Prefix of the keys; a number from 1 follows
    #[arg(long, default_value = "k_")]
    prefix: String,
    /// Size of a value in bytes
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(..=SIZE_MAX))]
    size: u64,
    /// Number of requests under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    concurrency: u64,
    #[command(flatten)]
    target: Target,
}

/// What all workers share.
struct Work {
    client: Client,
    prefix: String,
    size: usize,
    count: u64,
    /// The last number that a worker took.
    taken: AtomicU64,
    bar: ProgressBar,
}

/// The result of one worker, or of all workers.
struct Outcome {
    latency: Latency,
    failed: u64,
    first_failure: Option<Failure>,
}

impl Fill {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let work = Arc::new(Work {
            client: self.target.client()?,
            prefix: self.prefix,
            size: self.size as usize,
            count: self.count,
            taken: AtomicU64::new(0),
            bar: bar(self.count),
        });
        let started = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..self.concurrency.min(self.count) {
            workers.spawn(work.clone().run());
        }
        let mut outcome = Outcome {
            latency: Latency::new(),
            failed: 0,
            first_failure: None,
        };
        for one in workers.join_all().await {
            outcome.latency.add(&one.latency);
            outcome.failed += one.failed;
            outcome.first_failure = outcome.first_failure.or(one.first_failure);
        }
        work.bar.finish_and_clear();
        report(&outcome, started.elapsed())
    }
}

impl Work {
    async fn run(self: Arc<Self>) -> Outcome {
        let mut outcome = Outcome {
            latency: Latency::new(),
            failed: 0,
            first_failure: None,
        };
        loop {
            let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
            if number > self.count {
                return outcome;
            }
            let path = format!("/kv/{}", encode(format!("{}{number}", self.prefix).as_bytes()));
            let started = Instant::now();
            let failure = match self.client.send(Method::PUT, &path, value(number, self.size)).await {
                Ok(answer) if answer.status.is_success() => {
                    outcome.latency.record(started.elapsed(), 1);
                    None
                }
                Ok(answer) => Some(Failure::of(&answer)),
                Err(error) => Some(error.into()),
            };
            self.bar.inc(1);
            if let Some(failure) = failure {
                outcome.failed += 1;
                let hopeless = failure.code != 1 && outcome.latency.count() == 0;
                outcome.first_failure.get_or_insert(failure);
                // The node cannot be reached, or the token is wrong: further requests would fail too.
                if hopeless {
                    return outcome;
                }
            }
        }
    }
}

/// The value of key `number`: `v_` and the number, cut or padded with dots to `size` bytes.
fn value(number: u64, size: usize) -> Bytes {
    let mut value = format!("v_{number}").into_bytes();
    value.resize(size, b'.');
    value.into()
}

/// A bar on a terminal, nothing elsewhere.
fn bar(count: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{wide_bar:.cyan} {pos}/{len}  {per_sec}  {eta}");
    ProgressBar::new(count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn report(outcome: &Outcome, took: Duration) -> Result<(), Failure> {
    let stored = outcome.latency.count();
    let mut columns = vec![
        Column::Right("stored"),
        Column::Right("failed"),
        Column::Right("seconds"),
        Column::Right("keys/s"),
    ];
    columns.extend(Percentiles::COLUMNS);
    let mut table = Table::new(columns);
    let seconds = took.as_secs_f64();
    let mut cells = vec![
        stored.to_string(),
        outcome.failed.to_string(),
        format!("{seconds:.2}"),
        format!("{:.0}", stored as f64 / seconds.max(1e-9)),
    ];
    cells.extend(outcome.latency.percentiles().cells());
    table.row(cells);
    if stored > 0 || outcome.failed == 0 {
        print(table.render())?;
    }
    match &outcome.first_failure {
        None => Ok(()),
        Some(failure) if stored == 0 => Err(failure.clone()),
        Some(failure) => Err(Failure::negative(format!(
            "{} keys were not stored; the first: {}",
            outcome.failed, failure.text
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_size_asked_for() {
        assert_eq!(value(7, 6), "v_7...");
        assert_eq!(value(123_456, 4), "v_12");
        assert_eq!(value(1, 0), "");
    }

    #[test]
    fn a_fill_that_stored_little_is_no_success() {
        let mut outcome = Outcome {
            latency: Latency::new(),
            failed: 1,
            first_failure: Some(Failure::unreachable("gone")),
        };
        assert_eq!(report(&outcome, Duration::from_secs(1)).unwrap_err().code, 3);
        outcome.latency.record(Duration::from_millis(1), 9);
        let failure = report(&outcome, Duration::from_secs(1)).unwrap_err();
        assert_eq!(
            (failure.code, failure.text.as_str()),
            (1, "1 keys were not stored; the first: gone")
        );
    }
}
