//! What a run waits for: acknowledgements of peers, and times.
//!
//! Most runs have the same patience, so what they wait for is due in the order in which it was asked for: a queue does.
//! The few with large requests have more, and are looked through one by one.

use alloc::{collections::VecDeque, vec::Vec};

use crate::run::{RunId, Runs};

/// Runs by the time at which something is done about them.
#[derive(Debug, Default)]
pub(crate) struct Due {
    usual: VecDeque<(u64, RunId)>,
    /// Those that are given more time than others.
    patient: Vec<(u64, RunId)>,
}

impl Due {
    /// Something is done about a run at `at_ms`. `extra_ms` of that is given to it alone.
    pub(crate) fn push(&mut self, at_ms: u64, extra_ms: u64, run: RunId) {
        if extra_ms == 0 {
            self.usual.push_back((at_ms, run));
        } else {
            self.patient.push((at_ms, run));
        }
    }

    /// Takes a run that is due and under way.
    pub(crate) fn pop(&mut self, now_ms: u64, runs: &mut Runs) -> Option<RunId> {
        while let Some(&(at_ms, run)) = self.usual.front() {
            let alive = runs.get(run).is_some();
            if alive && at_ms > now_ms {
                break;
            }
            self.usual.pop_front();
            if alive {
                return Some(run);
            }
        }
        self.patient.retain(|(_, run)| runs.get(*run).is_some());
        let at = self.patient.iter().position(|(at_ms, _)| *at_ms <= now_ms)?;
        Some(self.patient.remove(at).1)
    }
}

/// A run that waits until a peer has merged the frame of this number.
#[derive(Debug)]
struct Usual {
    number: u64,
    run: RunId,
    lags_ms: u64,
}

/// A run that waits until a peer has merged a large message, or is more patient than others.
#[derive(Debug)]
struct Patient {
    /// The frame in which the last of its large messages ends; none while that is not sent.
    number: Option<u64>,
    /// That message, by its place among all.
    message: u64,
    run: RunId,
    lags_ms: u64,
}

/// What runs wait for from one peer.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    usual: VecDeque<Usual>,
    patient: Vec<Patient>,
}

impl Awaited {
    /// A run waits until the frame of this number is merged. From `lags_ms` on the peer is late.
    pub(crate) fn push(&mut self, number: u64, run: RunId, lags_ms: u64, extra_ms: u64) {
        if extra_ms == 0 {
            self.usual.push_back(Usual { number, run, lags_ms });
        } else {
            self.patient.push(Patient {
                number: Some(number),
                message: 0,
                run,
                lags_ms,
            });
        }
    }

    /// A run waits until this large message is merged.
    pub(crate) fn push_large(&mut self, message: u64, run: RunId, lags_ms: u64) {
        self.patient.push(Patient {
            number: None,
            message,
            run,
            lags_ms,
        });
    }

    /// The large messages up to this one have left, the last of them in the frame of this number.
    pub(crate) fn sent(&mut self, message: u64, number: u64) {
        for patient in &mut self.patient {
            if patient.number.is_none() && patient.message <= message {
                patient.number = Some(number);
            }
        }
    }

    /// Takes a run that waits for no later frame than that of this number.
    pub(crate) fn pop(&mut self, number: u64) -> Option<RunId> {
        if let Some(usual) = self.usual.pop_front_if(|usual| usual.number <= number) {
            return Some(usual.run);
        }
        let is_merged = |patient: &Patient| patient.number.is_some_and(|ends| ends <= number);
        let at = self.patient.iter().position(is_merged)?;
        Some(self.patient.remove(at).run)
    }

    /// The peer is so late that it will soon not be waited for.
    pub(crate) fn lags(&self, now_ms: u64) -> bool {
        let oldest = self.usual.front();
        oldest.is_some_and(|usual| now_ms >= usual.lags_ms)
            || self.patient.iter().any(|patient| now_ms >= patient.lags_ms)
    }

    /// How many runs wait.
    pub(crate) fn len(&self) -> usize {
        self.usual.len() + self.patient.len()
    }

    /// The peer is lost.
    pub(crate) fn clear(&mut self) {
        self.usual.clear();
        self.patient.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(runs: &mut Runs) -> [RunId; 3] {
        [(); 3].map(|()| runs.reserve())
    }

    #[test]
    fn a_large_message_is_awaited_until_the_frame_of_its_end_is_merged() {
        let [small, large, later] = ids(&mut Runs::default());
        let mut awaited = Awaited::default();
        awaited.push_large(1, large, 900);
        awaited.push(5, small, 500, 0);
        assert_eq!(
            awaited.pop(5),
            Some(small),
            "a small write does not wait for a large one before it"
        );
        assert_eq!(awaited.pop(100), None, "the large one is not sent");
        awaited.push_large(2, later, 950);
        awaited.sent(1, 7);
        assert_eq!(
            (awaited.pop(6), awaited.pop(7), awaited.pop(7)),
            (None, Some(large), None)
        );
        assert!(!awaited.lags(949) && awaited.lags(950));
    }

    #[test]
    fn a_run_with_more_time_delays_no_other() {
        let [small, patient, _] = ids(&mut Runs::default());
        let mut awaited = Awaited::default();
        awaited.push(1, patient, 7_000, 6_400);
        awaited.push(2, small, 600, 0);
        assert!(!awaited.lags(599) && awaited.lags(600));
        assert_eq!((awaited.pop(1), awaited.pop(2)), (Some(patient), Some(small)));
    }
}
