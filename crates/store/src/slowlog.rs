//! [`Slowlog`]: the slowest batches of late, as `SLOWLOG` shows them, and the spikes that `LATENCY` shows.

use alloc::{collections::VecDeque, string::String, vec::Vec};

use crate::tally::{Slow, Timed};

/// Samples that are kept of an event, at most one for each second. The oldest goes first.
const SAMPLES_MAX: usize = 160;

/// A batch that took long.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// Unix seconds when it was answered.
    pub(crate) at_s: u64,
    pub(crate) took_us: u64,
    pub(crate) slow: Slow,
}

/// The log. It holds `entries_max` entries; a new one takes the place of the oldest.
#[derive(Debug)]
pub(crate) struct Slowlog {
    /// Batches that took so many microseconds are logged; negative: none are.
    pub(crate) slower_than_us: i64,
    pub(crate) entries_max: u64,
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Default for Slowlog {
    /// With Redis's bounds.
    fn default() -> Self {
        Self {
            slower_than_us: 10_000,
            entries_max: 128,
            entries: VecDeque::new(),
            next_id: 0,
        }
    }
}

impl Slowlog {
    /// From how many microseconds on a batch is logged.
    pub(crate) fn threshold_us(&self) -> u64 {
        u64::try_from(self.slower_than_us).unwrap_or(u64::MAX)
    }

    pub(crate) fn add(&mut self, at_s: u64, took_us: u64, slow: Slow) {
        self.entries.push_back(Entry {
            id: self.next_id,
            at_s,
            took_us,
            slow,
        });
        self.next_id += 1;
        self.trim();
    }

    /// Drops what is beyond the bound.
    pub(crate) fn trim(&mut self) {
        while self.entries.len() as u64 > self.entries_max {
            self.entries.pop_front();
        }
    }

    /// The entries, the youngest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The one event whose spikes are kept.
pub(crate) const COMMAND: &str = "command";

/// Batches that took longer than a bound, second by second.
#[derive(Debug, Default)]
pub(crate) struct Spikes {
    /// Batches that took so many milliseconds are noted; 0: none are.
    pub(crate) from_ms: u64,
    /// Unix second, and the milliseconds that the slowest batch took that was answered in it.
    samples: VecDeque<(u64, u64)>,
    longest_ms: u64,
}

impl Spikes {
    pub(crate) fn note(&mut self, timed: &Timed) {
        let (at_s, took_ms) = (timed.ended_ms / 1000, timed.took_us / 1000);
        if self.from_ms == 0 || took_ms < self.from_ms {
            return;
        }
        self.longest_ms = self.longest_ms.max(took_ms);
        match self.samples.back_mut() {
            Some(last) if last.0 == at_s => last.1 = last.1.max(took_ms),
            _ => self.samples.push_back((at_s, took_ms)),
        }
        if self.samples.len() > SAMPLES_MAX {
            self.samples.pop_front();
        }
    }

    /// The samples, the oldest first.
    pub(crate) fn samples(&self) -> impl ExactSizeIterator<Item = (u64, u64)> {
        self.samples.iter().copied()
    }

    /// The youngest sample, and the most milliseconds a batch took since the last reset.
    pub(crate) fn latest(&self) -> Option<((u64, u64), u64)> {
        Some((*self.samples.back()?, self.longest_ms))
    }

    /// Forgets all; false if there was nothing.
    pub(crate) fn clear(&mut self) -> bool {
        let had = !self.samples.is_empty();
        *self = Self {
            from_ms: self.from_ms,
            ..Self::default()
        };
        had
    }

    /// What the samples say, for people.
    pub(crate) fn report(&self) -> String {
        if self.from_ms == 0 {
            return "Spikes are not recorded. CONFIG SET latency-monitor-threshold MILLISECONDS records them.\n".into();
        }
        let times: Vec<u64> = self.samples().map(|(_, ms)| ms).collect();
        let Some(sum) = times.iter().copied().reduce(u64::saturating_add) else {
            return alloc::format!("No batch of requests took {} ms or longer.\n", self.from_ms);
        };
        alloc::format!(
            "{COMMAND}: seconds in which a batch of requests took {} ms or longer: {}. The slowest batch of such a second \
             took {} ms on average and {} ms at most. SLOWLOG GET shows requests; the time includes that of other nodes.\n",
            self.from_ms,
            times.len(),
            sum / times.len() as u64,
            self.longest_ms,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(at_s: u64, took_ms: u64) -> Timed {
        Timed {
            mix: crate::tally::Mix::default(),
            took_us: took_ms * 1000,
            ended_ms: at_s * 1000 + 5,
            slow: None,
        }
    }

    #[test]
    fn a_second_has_one_sample_and_the_oldest_goes_first() {
        let mut spikes = Spikes::default();
        spikes.note(&timed(1, 50));
        assert_eq!(spikes.latest(), None, "no bound is set");
        spikes.from_ms = 10;
        for (at_s, took_ms) in [(1, 20), (1, 30), (1, 25), (2, 9), (3, 10)] {
            spikes.note(&timed(at_s, took_ms));
        }
        assert_eq!(spikes.samples().collect::<Vec<_>>(), [(1, 30), (3, 10)]);
        assert_eq!(spikes.latest(), Some(((3, 10), 30)));
        for at_s in 4..500 {
            spikes.note(&timed(at_s, 11));
        }
        assert_eq!(spikes.samples().len(), SAMPLES_MAX);
        assert!(spikes.clear() && !spikes.clear() && spikes.from_ms == 10);
    }

    #[test]
    fn the_log_keeps_the_youngest_entries() {
        let slow = Slow {
            args: Vec::new(),
            address: String::new(),
            name: String::new(),
        };
        let mut log = Slowlog {
            entries_max: 2,
            ..Slowlog::default()
        };
        for at_s in 1..=3 {
            log.add(at_s, 7, slow.clone());
        }
        let ids = |log: &Slowlog| log.entries().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&log), [2, 1]);
        log.clear();
        log.add(4, 7, slow);
        assert_eq!(ids(&log), [3], "numbers are not used again");
    }
}
