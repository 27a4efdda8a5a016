//! [`Clients`]: the Redis clients of one node. It counts them, and closes their connections when the node ends.
//!
//! A node that closes a connection does not execute a request that is still on its way, and the client cannot know
//! that. So a connection is closed when its client is not about to send:
//!
//! - when nothing has come for [`QUIET`];
//! - behind the refusal of a request: its client then knows that it must ask another node;
//! - at last, [`OVER_AFTER`] into [`Stage::Closing`], behind any reply.
//!
//! Before that, a connection is never closed in the middle of a request.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use crate::{bell::Bell, departure::Stage};

/// A client that was silent for this time rarely asks, so it will probably not ask in the next moment.
pub(crate) const QUIET: Duration = Duration::from_millis(200);
/// How long connections may stay open whose clients are refused. All are closed by then, since the store waits longer.
pub(crate) const OVER_AFTER: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(crate) struct Clients {
    stage: Cell<Stage>,
    count: Cell<usize>,
    next: Cell<u64>,
    /// The tasks of the connections, by number.
    tasks: RefCell<HashMap<u64, Waker>>,
    /// Rung when the last client goes.
    gone: Bell,
}

impl Clients {
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Adds a client. It counts until it is dropped.
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

    /// The node has reached this stage of its end: every connection checks it.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        for task in self.tasks.borrow().values() {
            task.wake_by_ref();
        }
    }

    /// Waits until no client is left.
    pub(crate) async fn gone(&self) {
        while self.count.get() > 0 {
            self.gone.heard().await;
        }
    }
}

/// What to do with a connection from which nothing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Wait for more.
    Wait,
    /// Close it if nothing comes for [`QUIET`].
    WaitAMoment,
    Close,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    all: Rc<Clients>,
    number: u64,
    /// The node refused its request because the node ends.
    was_refused: bool,
}

impl Client {
    /// The current task serves this client.
    pub(crate) async fn begin(&self) {
        poll_fn(|cx| {
            self.all.tasks.borrow_mut().insert(self.number, cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    /// All its requests have replies.
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

    /// Whether the node reads nothing more from it.
    pub(crate) fn is_over(&self) -> bool {
        self.all.stage.get() == Stage::Over
    }

    /// Whether the node closes its connection because the node ends.
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
