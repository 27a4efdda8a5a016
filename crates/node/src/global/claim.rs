//! Counts the answers to a lock that is requested from many nodes at once.
//!
//! A node that is gone counts neither as yes nor as no: its locks are gone with it.

use super::locks::LockId;
use alloc::vec::Vec;
use wire::etf::{Atom, Pid, Term};

/// The state of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Some nodes have not answered.
    Open,
    /// No node refused.
    Met,
    /// Some node refused: the locks of the others must be released.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: LockId,
    /// The process that the nodes see as the requester.
    pub(crate) caller: Pid,
    held: Vec<Atom>,
    open: usize,
    refused: bool,
}

impl Claim {
    pub(crate) fn new(id: LockId, caller: Pid) -> Self {
        Self {
            id,
            caller,
            held: Vec::new(),
            open: 0,
            refused: false,
        }
    }

    /// Counts one more node that was asked.
    pub(crate) fn asked(&mut self) {
        self.open += 1;
    }

    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    pub(crate) fn answered(&mut self, node: Atom, result: &Result<Term, Term>) {
        self.open -= 1;
        match result {
            Ok(answer) if answer.is_atom("true") => self.held.push(node),
            Ok(_) => self.refused = true,
            Err(_) => {}
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match (self.open, self.refused) {
            (1.., _) => Verdict::Open,
            (0, true) => Verdict::Refused,
            (0, false) => Verdict::Met,
        }
    }

    /// The nodes that granted the lock.
    pub(crate) fn held(&self) -> &[Atom] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, pid};

    fn claim(answers: &[Result<&'static str, &'static str>]) -> (Verdict, usize) {
        let mut claim = Claim::new(LockId::global(atom("r")), pid("a@h", 1));
        for _ in answers {
            claim.asked();
        }
        for answer in answers {
            assert_eq!(claim.verdict(), Verdict::Open);
            let result = answer.map(atom).map_err(atom);
            claim.answered(Atom::new("b@h"), &result);
        }
        (claim.verdict(), claim.held().len())
    }

    #[test]
    fn one_refusal_is_enough_and_lost_nodes_do_not_count() {
        assert_eq!(claim(&[]), (Verdict::Met, 0));
        assert_eq!(claim(&[Ok("true"), Err("noconnection"), Ok("true")]), (Verdict::Met, 2));
        assert_eq!(claim(&[Ok("true"), Ok("false"), Err("noproc")]), (Verdict::Refused, 1));
    }
}
