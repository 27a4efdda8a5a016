//! The global locks of one async process: its requests to `global`, the locks it holds, and those it gives back. This
//! module decides, and sends nothing.
//!
//! ```text
//!            lock                  granted
//!    free ─────────▶ locking ─────────────────▶ held
//!      ▲                │ granted, unheard        │ unlock
//!      │                ▼                         │
//!      └─────────── unlocking ◀───────────────────┘
//!         freed
//! ```
//!
//! - At most one request for a resource is under way. A further request replaces it, or waits until it is done. To
//!   `global`, two locks of one process are the same lock, and freeing one would free the other.
//! - A lock is given back only if the process asks for that, or if it was granted when no caller waited for it.

use std::collections::BTreeMap;

use node::{Ref, Term};

use crate::handle::Answer;

/// The locks of one process.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    stages: BTreeMap<Term, Stage>,
    /// Requests under way, and their resources.
    asked: BTreeMap<Ref, Term>,
}

#[derive(Debug)]
enum Stage {
    /// The caller that waits for the lock, or waited.
    Locking(Answer),
    Held,
    Unlocking {
        /// The caller that waits until it is free, if there is one.
        freed: Option<Answer>,
        /// The caller that wants it after that.
        next: Option<Answer>,
    },
}

/// A request to `global`.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Lock(Term),
    Unlock(Term),
}

impl Locks {
    /// The process asks for a lock. `is_held` says whether the node has the process as its holder: a program may free a
    /// lock without this module.
    pub(crate) fn lock(&mut self, resource: Term, answer: Answer, is_held: bool) -> Option<Step> {
        match self.stages.get_mut(&resource) {
            Some(Stage::Locking(waits)) => *waits = answer,
            Some(Stage::Unlocking { next, .. }) => *next = Some(answer),
            // If the caller has given up, the process still holds the lock.
            Some(Stage::Held) if is_held => drop(answer.send(Ok(Term::from(true)))),
            Some(Stage::Held) | None => return Some(self.ask_lock(resource, answer)),
        }
        None
    }

    /// The process gives a lock back.
    pub(crate) fn unlock(&mut self, resource: Term, answer: Answer) -> Option<Step> {
        match self.stages.get_mut(&resource) {
            // It does not hold the lock, and will not keep it: no caller waits for it.
            Some(Stage::Locking(_)) => drop(answer.send(Ok(Term::from(true)))),
            Some(Stage::Unlocking { freed, next }) => (*freed, *next) = (Some(answer), None),
            Some(Stage::Held) | None => return Some(self.ask_unlock(resource, Some(answer))),
        }
        None
    }

    /// A request was sent to `global`, with this call.
    pub(crate) fn asked(&mut self, call: Ref, resource: Term) {
        self.asked.insert(call, resource);
    }

    /// Whether a call is one of these requests.
    pub(crate) fn has_asked(&self, call: &Ref) -> bool {
        self.asked.contains_key(call)
    }

    /// The result of a call.
    pub(crate) fn answered(&mut self, call: &Ref, result: Result<Term, Term>) -> Option<Step> {
        let resource = self.asked.remove(call)?;
        let is_done = matches!(&result, Ok(done) if done.is_atom("true"));
        let is_refused = result.is_ok() && !is_done;
        match self.stages.remove(&resource)? {
            Stage::Locking(answer) => {
                let is_heard = answer.send(result).is_ok();
                if is_done && !is_heard {
                    return Some(self.ask_unlock(resource, None));
                }
                if is_done {
                    self.stages.insert(resource, Stage::Held);
                }
            }
            Stage::Unlocking { freed, next } => {
                if let Some(freed) = freed {
                    // The caller may have given up.
                    let _ = freed.send(result);
                }
                let next = next.filter(|next| !next.is_closed());
                match next {
                    Some(next) if !is_refused => return Some(self.ask_lock(resource, next)),
                    Some(next) => drop(next.send(Ok(Term::from(true)))),
                    None => {}
                }
                if is_refused {
                    self.stages.insert(resource, Stage::Held);
                }
            }
            Stage::Held => {}
        }
        None
    }

    fn ask_lock(&mut self, resource: Term, answer: Answer) -> Step {
        self.stages.insert(resource.clone(), Stage::Locking(answer));
        Step::Lock(resource)
    }

    fn ask_unlock(&mut self, resource: Term, freed: Option<Answer>) -> Step {
        let next = None;
        self.stages.insert(resource.clone(), Stage::Unlocking { freed, next });
        Step::Unlock(resource)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::{self, Receiver};

    use super::*;

    type Told = Receiver<Result<Term, Term>>;

    fn printer() -> Term {
        Term::atom("printer")
    }

    fn call(number: u32) -> Ref {
        Ref {
            node: node::Atom::new("a@h"),
            creation: 1,
            len: 3,
            words: [number, 0, 0, 0, 0],
        }
    }

    fn yes() -> Result<Term, Term> {
        Ok(Term::from(true))
    }

    fn lock(locks: &mut Locks) -> (Option<Step>, Told) {
        let (answer, told) = oneshot::channel();
        (locks.lock(printer(), answer, true), told)
    }

    fn unlock(locks: &mut Locks) -> (Option<Step>, Told) {
        let (answer, told) = oneshot::channel();
        (locks.unlock(printer(), answer), told)
    }

    /// The printer's lock is held, from the first call.
    fn held() -> Locks {
        let mut locks = Locks::default();
        let (step, mut told) = lock(&mut locks);
        assert_eq!(step, Some(Step::Lock(printer())));
        locks.asked(call(1), printer());
        assert_eq!(locks.answered(&call(1), yes()), None);
        assert_eq!(told.try_recv(), Ok(yes()));
        locks
    }

    #[test]
    fn who_asks_again_takes_the_place_of_its_first_request() {
        let mut locks = Locks::default();
        let (step, told) = lock(&mut locks);
        assert_eq!(step, Some(Step::Lock(printer())));
        locks.asked(call(1), printer());
        drop(told);
        let (step, mut told) = lock(&mut locks);
        assert_eq!(step, None);
        assert_eq!(locks.answered(&call(1), yes()), None, "it is wanted");
        assert_eq!(told.try_recv(), Ok(yes()));
        assert!(!locks.has_asked(&call(1)));
    }

    #[test]
    fn who_holds_it_has_it_at_once_and_keeps_it() {
        let mut locks = held();
        let (step, told) = lock(&mut locks);
        assert_eq!(step, None, "also if nobody hears of it");
        drop(told);
        let (step, mut told) = lock(&mut locks);
        assert_eq!((step, told.try_recv()), (None, Ok(yes())));
        let (answer, _told) = oneshot::channel();
        let freed_elsewhere = locks.lock(printer(), answer, false);
        assert_eq!(freed_elsewhere, Some(Step::Lock(printer())));
    }

    #[test]
    fn what_nobody_waits_for_is_given_back() {
        let mut locks = Locks::default();
        drop(lock(&mut locks));
        locks.asked(call(1), printer());
        assert_eq!(locks.answered(&call(1), yes()), Some(Step::Unlock(printer())));
        locks.asked(call(2), printer());
        // A caller that asks for it meanwhile waits until it is free.
        let (step, mut told) = lock(&mut locks);
        assert_eq!(step, None);
        assert_eq!(locks.answered(&call(2), yes()), Some(Step::Lock(printer())));
        locks.asked(call(3), printer());
        assert_eq!(locks.answered(&call(3), yes()), None);
        assert_eq!(told.try_recv(), Ok(yes()));
        drop(lock(&mut locks));
        assert!(matches!(locks.stages[&printer()], Stage::Held));
    }

    #[test]
    fn who_gives_it_back_has_it_no_more() {
        let mut locks = held();
        let (step, dropped) = unlock(&mut locks);
        assert_eq!(step, Some(Step::Unlock(printer())));
        locks.asked(call(2), printer());
        drop((dropped, lock(&mut locks)));
        let (step, mut told) = unlock(&mut locks);
        assert_eq!(step, None);
        assert_eq!(locks.answered(&call(2), yes()), None, "nobody wants it any more");
        assert_eq!(told.try_recv(), Ok(yes()));
        assert!(locks.stages.is_empty() && locks.asked.is_empty());
        // A lock that is not held here is freed too: a program may have locked it by other means.
        assert_eq!(unlock(&mut locks).0, Some(Step::Unlock(printer())));
    }

    #[test]
    fn who_gives_back_what_it_waited_for_does_not_get_it() {
        let mut locks = Locks::default();
        drop(lock(&mut locks));
        locks.asked(call(1), printer());
        let (step, mut told) = unlock(&mut locks);
        assert_eq!((step, told.try_recv()), (None, Ok(yes())));
        assert_eq!(locks.answered(&call(1), yes()), Some(Step::Unlock(printer())));
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let mut locks = Locks::default();
        let (_, mut told) = lock(&mut locks);
        locks.asked(call(1), printer());
        assert_eq!(locks.answered(&call(1), Ok(Term::from(false))), None);
        assert_eq!(told.try_recv(), Ok(Ok(Term::from(false))));
        assert!(locks.stages.is_empty());
        let mut locks = held();
        let (_, mut told) = unlock(&mut locks);
        locks.asked(call(2), printer());
        assert_eq!(locks.answered(&call(2), Ok(Term::from(false))), None);
        assert_eq!(told.try_recv(), Ok(Ok(Term::from(false))));
        let (step, mut told) = lock(&mut locks);
        assert_eq!((step, told.try_recv()), (None, Ok(yes())), "it still has it");
    }
}
