//! [`Clients`]: the Redis clients of one node. They are counted, and let go when the node ends.
//!
//! A request that is under way to a node while that closes the connection is not executed, but its client cannot know.
//! So a connection is closed at a moment when its client is not about to send:
//!
//! - when nothing has come for [`QUIET`];
//! - behind the refusal of a request: its client knows now that it has to look elsewhere;
//! - at last, [`OVER_AFTER`] into [`Stage::Closing`], behind any reply.
//!
//! A connection is never closed in the middle of a request before that.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use crate::{bell::Bell, departure::Stage};

/// A client that asks seldom enough to be silent for so long is not about to ask in the next moment either.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// How long connections may stay open whose clients are refused. The store waits longer: all are closed by then.
pub(crate) const OVER_AFTER: Duration = Duration::from_millis(250);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    stage: Cell<Stage>,
    count: Cell<usize>,
    next: Cell<u64>,
    /// By number: the tasks of the connections.
    tasks: RefCell<HashMap<u64, Waker>>,
    /// Rung by the last one that goes.
    gone: Bell,
}

impl Clients {
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// A new one. It counts for as long as it lives.
    pub(crate) fn add(self: &Rc<Self>) -> Client {
        let number = self.next.get();
        self.next.set(number + 1);
        self.count.set(self.count.get() + 1);
        Client {
            all: self.clone(),
            number,
            was_refused: false,
        }
    }

    /// The node is so far with its end: every connection looks at it.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        for task in self.tasks.borrow().values() {
            task.wake_by_ref();
        }
    }

    /// Waits until there is none.
    pub(crate) async fn gone(&self) {
        while self.count.get() > 0 {
            self.gone.heard().await;
        }
    }
}

/// What to do with a connection from which nothing is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Wait for more.
    Wait,
    /// Close it if nothing comes for [`QUIET`].
    WaitAMoment,
    Close,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Client {
    all: Rc<Clients>,
    number: u64,
    /// The node refused what it asked, since it ends.
    was_refused: bool,
}

impl Client {
    /// The present task serves it.
    pub(crate) async fn begin(&self) {
        poll_fn(|cx| {
            self.all.tasks.borrow_mut().insert(self.number, cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    /// All it asked has its replies.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.was_refused = self.all.stage.get() >= Stage::Closing;
    }

    /// `between`: it has sent no part of a request.
    #[inline]
    pub(crate) fn then(&self, between: bool) -> Then {
        match self.all.stage.get() {
            Stage::Serving => Then::Wait,
            Stage::Over => Then::Close,
            Stage::ServingOut | Stage::Closing if !between => Then::Wait,
            Stage::Closing if self.was_refused => Then::Close,
            Stage::ServingOut | Stage::Closing => Then::WaitAMoment,
        }
    }

    /// Nothing more of it is read.
    pub(crate) fn is_over(&self) -> bool {
        self.all.stage.get() == Stage::Over
    }

    /// The node ends.
    pub(crate) fn is_let_go(&self) -> bool {
        self.all.stage.get() > Stage::Serving
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.all.tasks.borrow_mut().remove(&self.number);
        self.all.count.set(self.all.count.get() - 1);
        if self.all.count.get() == 0 {
            self.all.gone.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_closed_when_it_is_quiet_or_behind_a_refusal() {
        let clients = Rc::<Clients>::default();
        let (mut busy, idle) = (clients.add(), clients.add());
        busy.answered();
        assert_eq!(busy.then(true), Then::Wait);
        clients.enter(Stage::ServingOut);
        busy.answered();
        assert_eq!((busy.then(true), busy.then(false)), (Then::WaitAMoment, Then::Wait));
        clients.enter(Stage::Closing);
        assert_eq!(busy.then(true), Then::WaitAMoment, "it may be sending its next request");
        busy.answered();
        assert_eq!((busy.then(true), idle.then(true)), (Then::Close, Then::WaitAMoment));
        assert!(!busy.is_over() && busy.then(false) == Then::Wait);
        clients.enter(Stage::Over);
        assert!(busy.is_over() && idle.then(false) == Then::Close);
        drop((busy, idle));
        assert!(clients.count() == 0 && clients.gone.is_rung());
    }
}
