//! When requests are due.
//!
//! In an open loop, request `n` of all connections is due `n / rate` seconds after the start, and goes to connection
//! `n mod connections`. When it is due follows from its number alone, so nothing is queued for a connection that lags
//! behind. The runtime's timers are only good to a millisecond, so a thread of its own wakes the connections.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Shortest sleep of the waking thread; what falls due meanwhile is woken together.
const SLEEP_MIN: Duration = Duration::from_micros(50);

/// Times at which one connection is to send.
#[derive(Debug)]
pub(super) struct Pace {
    until: Instant,
    /// Most requests at a time.
    pipeline: u64,
    schedule: Option<Schedule>,
}

/// One connection's part of the times at which requests are due.
#[derive(Debug)]
struct Schedule {
    start: Instant,
    rate: u64,
    /// Number of the next request of this connection among all.
    next: u64,
    /// Connections: the step to the one after.
    step: u64,
    wake: Arc<Notify>,
}

/// When request `number` is due after the start.
fn due(number: u64, rate: u64) -> Duration {
    // Whole seconds and the rest apart, so that nothing overflows or is rounded twice.
    Duration::from_secs(number / rate) + Duration::from_nanos((number % rate) * 1_000_000_000 / rate)
}

impl Pace {
    /// The paces of all connections. With a rate, begins to wake them.
    pub(super) fn all(
        connections: u64,
        pipeline: u64,
        rate: Option<u64>,
        start: Instant,
        duration: Duration,
    ) -> Vec<Self> {
        let until = start + duration;
        let pace = |schedule| Self {
            until,
            pipeline,
            schedule,
        };
        let Some(rate) = rate else {
            return (0..connections).map(|_| pace(None)).collect();
        };
        let wakes: Vec<Arc<Notify>> = (0..connections).map(|_| Arc::default()).collect();
        let schedules = wakes.iter().zip(0..).map(|(wake, number)| {
            pace(Some(Schedule {
                start,
                rate,
                next: number,
                step: connections,
                wake: wake.clone(),
            }))
        });
        let paces = schedules.collect();
        thread::spawn(move || wake_all(&wakes, rate, start, until));
        paces
    }

    /// Waits until something is to be sent and fills `times` with when it was due; false at the end.
    pub(super) async fn next(&mut self, times: &mut Vec<Instant>) -> bool {
        times.clear();
        loop {
            let now = Instant::now();
            if now >= self.until {
                return false;
            }
            match &mut self.schedule {
                None => times.extend((0..self.pipeline).map(|_| now)),
                Some(schedule) => {
                    let next = std::iter::from_fn(|| schedule.take(now, self.until));
                    times.extend(next.take(self.pipeline as usize));
                }
            }
            match &self.schedule {
                Some(schedule) if times.is_empty() => schedule.wake.notified().await,
                _ => return true,
            }
        }
    }

    /// How long each request had waited at the end that was due before it and never sent.
    pub(super) fn unsent(mut self) -> impl Iterator<Item = Duration> {
        let until = self.until;
        std::iter::from_fn(move || self.schedule.as_mut()?.take(until, until).map(|due| until - due)).fuse()
    }
}

impl Schedule {
    /// The time of the next request, if it has come and lies before the end.
    fn take(&mut self, now: Instant, until: Instant) -> Option<Instant> {
        let due = self.start + due(self.next, self.rate);
        if due > now || due >= until {
            return None;
        }
        self.next += self.step;
        Some(due)
    }
}

/// Wakes each connection when a request of its falls due, and all at the end.
fn wake_all(wakes: &[Arc<Notify>], rate: u64, start: Instant, until: Instant) {
    let connections = wakes.len() as u64;
    let mut next = 0;
    loop {
        let now = Instant::now();
        if now >= until {
            break;
        }
        let first = next;
        while start + due(next, rate) <= now {
            next += 1;
        }
        // Beyond one round, the same connections would only be woken twice.
        for number in first..next.min(first + connections) {
            wakes[(number % connections) as usize].notify_one();
        }
        let pause = (start + due(next, rate))
            .min(until)
            .saturating_duration_since(Instant::now());
        thread::sleep(pause.max(SLEEP_MIN));
    }
    for wake in wakes {
        wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_and_exactly() {
        assert_eq!(due(0, 3), Duration::ZERO);
        assert_eq!(due(1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(due(3, 3), Duration::from_secs(1));
        assert_eq!(due(86_400 * 10_000_000, 10_000_000), Duration::from_secs(86_400));
    }

    #[test]
    fn what_fell_due_while_a_connection_was_busy_keeps_its_time() {
        let start = Instant::now();
        let mut schedule = Schedule {
            start,
            rate: 1000,
            next: 1,
            step: 2,
            wake: Arc::default(),
        };
        let now = start + Duration::from_millis(6);
        let times: Vec<_> = std::iter::from_fn(|| schedule.take(now, now))
            .map(|due| (due - start).as_millis())
            .collect();
        assert_eq!(times, [1, 3, 5]);
    }

    #[test]
    fn what_was_never_sent_is_told() {
        let start = Instant::now();
        let until = start + Duration::from_millis(10);
        let schedule = Schedule {
            start,
            rate: 1000,
            next: 0,
            step: 5,
            wake: Arc::default(),
        };
        let pace = Pace {
            until,
            pipeline: 1,
            schedule: Some(schedule),
        };
        let waited: Vec<_> = pace.unsent().map(|waited| waited.as_millis()).collect();
        assert_eq!(waited, [10, 5]);
    }

    #[test]
    fn all_connections_are_woken_for_all_that_is_due() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let start = Instant::now();
        let mut sent = 0;
        for mut pace in Pace::all(3, 4, Some(2_000), start, Duration::from_millis(50)) {
            let mut times = Vec::new();
            while runtime.block_on(pace.next(&mut times)) {
                assert!((1..=4).contains(&times.len()));
                sent += times.len();
            }
            sent += pace.unsent().count();
        }
        assert_eq!(sent, 100);
    }
}
