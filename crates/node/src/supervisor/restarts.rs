//! [`Restarts`]: what to do when a child ends. It only decides; it sends nothing.
//!
//! Source: *Supervisor Behaviour* in the OTP design principles.

use alloc::collections::VecDeque;
use core::ops::Range;
use wire::etf::Term;

/// Which other children are restarted with one that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// No other child.
    OneForOne,
    /// All other children.
    OneForAll,
    /// The children that were started after it.
    RestForOne,
}

/// Whether a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Unless it ended with `normal`, `shutdown` or `{shutdown, _}`.
    Transient,
    /// Never. It is removed.
    Temporary,
}

/// The limit of restarts: at most `restarts_max` within `period_us` microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// Most restarts within the period.
    pub restarts_max: u32,
    /// The period in microseconds.
    pub period_us: u64,
}

impl Default for Intensity {
    /// Three in five seconds, as in Elixir.
    fn default() -> Self {
        Self {
            restarts_max: 3,
            period_us: 5_000_000,
        }
    }
}

/// What to do when a child ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing. The child stays listed, without a process.
    Keep,
    /// The child is removed.
    Forget,
    /// The children at these places are stopped, if they run, and started again.
    Restart(Range<usize>),
    /// The supervisor stops all its children and ends.
    GiveUp,
}

/// The recent restarts of one supervisor.
#[derive(Clone, Debug)]
pub struct Restarts {
    strategy: Strategy,
    intensity: Intensity,
    /// The times of the last restarts, in microseconds: at most `restarts_max` and one more.
    times_us: VecDeque<u64>,
}

impl Restarts {
    /// A supervisor without restarts so far.
    pub fn new(strategy: Strategy, intensity: Intensity) -> Self {
        Self {
            strategy,
            intensity,
            times_us: VecDeque::new(),
        }
    }

    /// The child at `index` of `count` has ended. Times must not go back.
    pub fn ended(&mut self, now_us: u64, index: usize, count: usize, restart: Restart, reason: &Term) -> Verdict {
        match restart {
            Restart::Permanent => self.again(now_us, index, count),
            Restart::Transient if is_orderly(reason) => Verdict::Keep,
            Restart::Transient => self.again(now_us, index, count),
            Restart::Temporary => Verdict::Forget,
        }
    }

    /// The child at `index` of `count` must be restarted, or was and did not start. Counts one more restart.
    pub fn again(&mut self, now_us: u64, index: usize, count: usize) -> Verdict {
        if !self.bear(now_us) {
            return Verdict::GiveUp;
        }
        Verdict::Restart(match self.strategy {
            Strategy::OneForOne => index..index + 1,
            Strategy::OneForAll => 0..count,
            Strategy::RestForOne => index..count,
        })
    }

    /// Counts a restart. Returns false if it is one too many.
    fn bear(&mut self, now_us: u64) -> bool {
        let Intensity {
            restarts_max,
            period_us,
        } = self.intensity;
        let since_us = now_us.saturating_sub(period_us);
        while self.times_us.front().is_some_and(|time_us| *time_us < since_us) {
            self.times_us.pop_front();
        }
        self.times_us.push_back(now_us);
        let is_borne = self.times_us.len() <= restarts_max as usize;
        if !is_borne {
            self.times_us.pop_front();
        }
        is_borne
    }
}

/// Whether this is the exit reason of an orderly end.
pub fn is_orderly(reason: &Term) -> bool {
    let is_tagged = matches!(reason.as_tuple(), Some([word, _]) if word.is_atom("shutdown"));
    reason.is_atom("normal") || reason.is_atom("shutdown") || is_tagged
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn restarts(strategy: Strategy, restarts_max: u32, period_us: u64) -> Restarts {
        let intensity = Intensity {
            restarts_max,
            period_us,
        };
        Restarts::new(strategy, intensity)
    }

    #[test]
    fn the_strategy_says_which_children_are_restarted() {
        let table = [
            (Strategy::OneForOne, 2..3),
            (Strategy::OneForAll, 0..5),
            (Strategy::RestForOne, 2..5),
        ];
        for (strategy, range) in table {
            assert_eq!(restarts(strategy, 1, 1).again(0, 2, 5), Verdict::Restart(range));
        }
    }

    #[test]
    fn the_restart_type_says_which_ends_lead_to_a_restart() {
        let shutdown = || Term::atom("shutdown");
        let tagged: Term = (shutdown(), 1).into();
        let lookalike: Term = (shutdown(), 1, 2).into();
        let orderly = [Term::atom("normal"), shutdown(), tagged];
        let others = [Term::atom("killed"), Term::atom("boom"), lookalike, Term::NIL];
        let end = |restart, reason: &Term| restarts(Strategy::OneForOne, 9, 1).ended(0, 0, 1, restart, reason);
        for reason in orderly.iter().chain(&others) {
            assert_eq!(end(Restart::Permanent, reason), Verdict::Restart(0..1));
            assert_eq!(end(Restart::Temporary, reason), Verdict::Forget);
        }
        for reason in &orderly {
            assert_eq!(end(Restart::Transient, reason), Verdict::Keep);
        }
        for reason in &others {
            assert_eq!(end(Restart::Transient, reason), Verdict::Restart(0..1));
        }
    }

    #[test]
    fn ends_that_lead_to_no_restart_do_not_count() {
        let mut restarts = restarts(Strategy::OneForOne, 1, 100);
        for _ in 0..9 {
            let verdict = restarts.ended(0, 0, 1, Restart::Transient, &Term::atom("normal"));
            assert_eq!(verdict, Verdict::Keep);
        }
        assert_eq!(restarts.again(0, 0, 1), Verdict::Restart(0..1));
        assert_eq!(restarts.again(0, 0, 1), Verdict::GiveUp);
    }

    /// Compared with the definition: it is one too many if, with this one, more than the limit are within the period.
    #[test]
    fn gives_up_exactly_when_the_definition_says() {
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut given_up = 0;
        for _ in 0..300 {
            let (restarts_max, period_us) = (draw(5), draw(50));
            let mut restarts = restarts(Strategy::OneForOne, restarts_max as u32, period_us);
            let mut times: Vec<u64> = vec![];
            let mut now_us = 0;
            for _ in 0..40 {
                now_us += draw(30);
                times.push(now_us);
                let within = times.iter().filter(|time| **time + period_us >= now_us).count() as u64;
                let expected = if within > restarts_max {
                    Verdict::GiveUp
                } else {
                    Verdict::Restart(0..1)
                };
                assert_eq!(restarts.again(now_us, 0, 1), expected);
                if expected == Verdict::GiveUp {
                    given_up += 1;
                    break;
                }
            }
        }
        assert!((50..300).contains(&given_up), "both results occur: {given_up}");
    }
}
