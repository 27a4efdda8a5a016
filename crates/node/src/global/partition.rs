//! Reports of lost connections: which ones are new. Each is passed on once, so that they end.

use alloc::collections::BTreeMap;
use wire::etf::Atom;

/// A report is remembered for an hour, in microseconds.
const REMEMBERED_US: u64 = 3_600_000_000;
/// Most reports remembered. Beyond it, the one that would expire first is dropped.
const REPORTS_MAX: usize = 4096;

#[derive(Debug)]
struct Seen {
    /// The creation of the reporter.
    life: i64,
    operation: i64,
    expires_us: u64,
}

/// The latest report for each pair: the reporter, and the node it lost.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    seen: BTreeMap<(Atom, Atom), Seen>,
}

impl Reports {
    /// Whether the report that `reporter` lost `lost` is new.
    pub(crate) fn is_news(&mut self, pair: (Atom, Atom), life: i64, operation: i64, now_us: u64) -> bool {
        self.seen.retain(|_, seen| now_us < seen.expires_us);
        if let Some(seen) = self.seen.get(&pair)
            && seen.life == life
            && operation <= seen.operation
        {
            return false;
        }
        if self.seen.len() >= REPORTS_MAX && !self.seen.contains_key(&pair) {
            let first = self.seen.iter().min_by_key(|(_, seen)| seen.expires_us);
            if let Some(first) = first.map(|(pair, _)| pair.clone()) {
                self.seen.remove(&first);
            }
        }
        self.seen.insert(
            pair,
            Seen {
                life,
                operation,
                expires_us: now_us.saturating_add(REMEMBERED_US),
            },
        );
        true
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_report_is_news_once_per_life_and_number() {
        let mut reports = Reports::default();
        let pair = || (Atom::new("a@h"), Atom::new("b@h"));
        let mut is_news = |life, operation, now_us| reports.is_news(pair(), life, operation, now_us);
        assert!(is_news(1, -5, 0));
        assert!(!is_news(1, -5, 1) && !is_news(1, -6, 1));
        assert!(is_news(1, -4, 2));
        assert!(is_news(2, -9, 3), "another creation counts again");
        assert!(is_news(2, -9, 3 + REMEMBERED_US), "forgotten after an hour");
    }

    #[test]
    fn reports_are_bounded() {
        let mut reports = Reports::default();
        for at in 0..REPORTS_MAX + 10 {
            let pair = (Atom::new(&format!("n{at}@h")), Atom::new("b@h"));
            assert!(reports.is_news(pair, 1, 1, at as u64));
        }
        assert_eq!(reports.len(), REPORTS_MAX);
    }
}
