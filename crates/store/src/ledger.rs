//! [`Ledger`]: what clients asked, by command and by error. `INFO`, `LATENCY HISTOGRAM`, `/metrics` and the status read
//! it.
//!
//! - A request counts once, at the node that its client is connected to, when its batch is answered.
//! - The time of a batch counts in equal parts for its requests.
//! - A call is *rejected* if it was not begun, and *failed* if it was begun and came to an error.
//! - Requests of BEAM processes are not in it: no shell says how long they took.

use alloc::{boxed::Box, vec::Vec};

use wire::reply::ErrorKind;

use crate::{
    command::{self, Row},
    tally::Mix,
};

/// Buckets of a [`Histogram`]: eight for each power of two, up to 2^32 microseconds.
const BUCKETS: usize = 8 * 30;

/// How long requests took, in microseconds. A bucket's bounds differ by an eighth at most.
#[derive(Clone, Debug)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    fn add(&mut self, us: u64, count: u64) {
        self.0[Self::bucket(us)] += count;
    }

    fn bucket(us: u64) -> usize {
        if us < 8 {
            return us as usize;
        }
        let exponent = us.ilog2() as usize;
        let bucket = (exponent - 2) * 8 + (us >> (exponent - 3) & 7) as usize;
        bucket.min(BUCKETS - 1)
    }

    /// The largest time that belongs into a bucket.
    fn bound_us(bucket: usize) -> u64 {
        match bucket {
            0..8 => bucket as u64,
            _ => ((8 + bucket as u64 % 8 + 1) << (bucket / 8 - 1)) - 1,
        }
    }

    /// For each power of two that has requests in its half: it, and how many requests took no longer.
    pub(crate) fn by_powers(&self) -> Vec<(u64, u64)> {
        let (mut powers, mut sum): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
        for (bucket, &count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            sum += count;
            let power = Self::bound_us(bucket).max(1).next_power_of_two();
            match powers.last_mut() {
                Some(last) if last.0 == power => last.1 = sum,
                _ => powers.push((power, sum)),
            }
        }
        powers
    }

    /// The time that `per_mille` of a thousand requests do not exceed, in microseconds.
    pub(crate) fn percentile(&self, per_mille: u64) -> u64 {
        let total: u64 = self.0.iter().sum();
        let wanted = (total * per_mille).div_ceil(1000).max(1);
        let mut sum = 0;
        let within = self.0.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        within.map_or(0, Self::bound_us)
    }
}

/// What was counted of one command.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Requests that were executed.
    pub calls: u64,
    /// Microseconds they took.
    pub took_us: u64,
    /// Requests that were refused before they began.
    pub rejected: u64,
    /// Requests that came to an error.
    pub failed: u64,
    pub(crate) times: Option<Box<Histogram>>,
}

impl Calls {
    /// The time that `per_mille` of a thousand calls do not exceed, in microseconds; `None` without calls.
    pub fn percentile_us(&self, per_mille: u64) -> Option<u64> {
        self.times.as_ref().map(|times| times.percentile(per_mille))
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Ledger {
    /// By number of the command's row.
    commands: Vec<Calls>,
    /// By kind.
    errors: [u64; ErrorKind::ALL.len()],
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            commands: alloc::vec![Calls::default(); command::count()],
            errors: [0; ErrorKind::ALL.len()],
        }
    }
}

impl Ledger {
    /// A batch was answered.
    pub(crate) fn answered(&mut self, mix: &Mix, took_us: u64) {
        let requests: u64 = mix.counts().map(|(_, count)| u64::from(count)).sum();
        if requests == 0 {
            return;
        }
        for (number, count) in mix.counts().filter(|(_, count)| *count > 0) {
            let (calls, count) = (&mut self.commands[number], u64::from(count));
            calls.calls += count;
            calls.took_us += took_us * count / requests;
            calls.times.get_or_insert_default().add(took_us / requests, count);
        }
    }

    /// A request came to an error. `row` is its command, if there is one; tells whether the request was refused before
    /// it began.
    pub(crate) fn erred(&mut self, row: Option<&Row>, kind: ErrorKind, is_malformed: bool) -> bool {
        self.errors[kind as usize] += 1;
        let is_rejected = is_malformed || is_rejection(kind);
        if let Some(row) = row {
            let calls = &mut self.commands[usize::from(row.number)];
            *(if is_rejected {
                &mut calls.rejected
            } else {
                &mut calls.failed
            }) += 1;
        }
        is_rejected
    }

    /// What was counted of each command that was asked for, by name.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static Row, &Calls)> {
        command::all()
            .map(|row| (row, &self.commands[usize::from(row.number)]))
            .filter(|(_, calls)| calls.calls + calls.rejected > 0)
    }

    /// What was counted of one command.
    pub(crate) fn calls(&self, row: &Row) -> &Calls {
        &self.commands[usize::from(row.number)]
    }

    /// How many errors began with which word. A word that two kinds share comes once.
    pub(crate) fn errors(&self) -> Vec<(&'static str, u64)> {
        let mut words: Vec<(&'static str, u64)> = Vec::new();
        for kind in ErrorKind::ALL {
            let word = match kind {
                ErrorKind::Custom => "SCRIPT",
                _ => kind.word().split(' ').next().unwrap_or_default(),
            };
            let count = self.errors[kind as usize];
            match words.iter_mut().find(|(known, _)| *known == word) {
                Some((_, sum)) => *sum += count,
                None => words.push((word, count)),
            }
        }
        words.retain(|(_, count)| *count > 0);
        words.sort_unstable();
        words
    }

    /// How many errors there were.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.iter().sum()
    }
}

/// Whether an error of this kind says that the request was not begun.
fn is_rejection(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::NoAuth
        | ErrorKind::NoPerm
        | ErrorKind::CrossSlot
        | ErrorKind::Moved
        | ErrorKind::TryAgain
        | ErrorKind::ClusterDown
        | ErrorKind::NoNodes
        | ErrorKind::NoReplicas
        | ErrorKind::Loading
        | ErrorKind::Stopping
        | ErrorKind::Busy
        | ErrorKind::Oom
        | ErrorKind::ReadOnly => true,
        ErrorKind::Err
        | ErrorKind::WrongType
        | ErrorKind::WrongPass
        | ErrorKind::NoProto
        | ErrorKind::ExecAbort
        | ErrorKind::NoQuorum
        | ErrorKind::Timeout
        | ErrorKind::NoScript
        | ErrorKind::NotBusy
        | ErrorKind::Custom => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_within_an_eighth_below_the_bound_of_its_bucket() {
        for us in (0..5_000).chain([65_535, 65_536, 1_000_000, (1 << 32) - 1]) {
            let bound_us = Histogram::bound_us(Histogram::bucket(us));
            assert!(us <= bound_us && bound_us - us <= us / 8, "{us} in {bound_us}");
        }
        assert_eq!(Histogram::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_and_powers_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(500), histogram.by_powers()), (0, Vec::new()));
        for us in 1..=100 {
            histogram.add(us, 1);
        }
        assert_eq!((histogram.percentile(500), histogram.percentile(1000)), (51, 103));
        let wanted = [(1, 1), (2, 2), (4, 4), (8, 8), (16, 15), (32, 31), (64, 63), (128, 100)];
        assert_eq!(histogram.by_powers(), wanted);
    }

    #[test]
    fn errors_of_one_word_count_together() {
        let mut ledger = Ledger::default();
        let get = command::find(b"get").expect("a command");
        assert!(ledger.erred(Some(get), ErrorKind::NoNodes, false));
        assert!(ledger.erred(Some(get), ErrorKind::ClusterDown, false));
        assert!(!ledger.erred(Some(get), ErrorKind::WrongType, false));
        assert!(ledger.erred(Some(get), ErrorKind::Err, true));
        assert!(!ledger.erred(None, ErrorKind::Err, false));
        assert_eq!(ledger.errors(), [("CLUSTERDOWN", 2), ("ERR", 2), ("WRONGTYPE", 1)]);
        assert_eq!((ledger.calls(get).rejected, ledger.calls(get).failed), (3, 1));
    }
}
