//! Latencies of many requests, and their percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::table::Column;

/// Longest latency that is recorded exactly. Longer ones count as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);

/// A histogram of latencies, exact to a thousandth.
#[derive(Clone, Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3);
        Self(histogram.expect("the bounds are in order and three digits are among the allowed"))
    }

    /// Records `count` requests that each took this long.
    pub(super) fn record(&mut self, took: Duration, count: u64) {
        self.0.saturating_record_n(took.as_nanos().max(1) as u64, count);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms here have the same bounds");
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max() as f64 / 1e3,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Percentiles {
    p50_us: f64,
    p90_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

impl Percentiles {
    /// Columns of a table of percentiles.
    pub(super) const COLUMNS: [Column; 5] = [
        Column::Right("p50 ms"),
        Column::Right("p90 ms"),
        Column::Right("p99 ms"),
        Column::Right("p99.9 ms"),
        Column::Right("max ms"),
    ];

    pub(super) fn cells(&self) -> [String; 5] {
        [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us].map(|us| format!("{:.3}", us / 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_counts() {
        let mut latency = Latency::new();
        latency.record(Duration::from_millis(1), 990);
        let mut slow = Latency::new();
        slow.record(Duration::from_millis(50), 10);
        latency.add(&slow);
        let [p50, p90, p99, p999, max] = latency.percentiles().cells().map(|cell| cell.parse::<f64>().unwrap());
        assert_eq!(latency.count(), 1000);
        assert!((p50 - 1.0).abs() < 0.01 && (p90 - 1.0).abs() < 0.01 && (p99 - 1.0).abs() < 0.01);
        assert!((p999 - 50.0).abs() < 0.1 && (max - 50.0).abs() < 0.1);
    }
}
