//! [`Mailbox`]: where a connection finds its batch when it comes back later.

use std::cell::RefCell;

use store::ask::Ask;

use crate::bell::Bell;

/// Room for the one batch that a connection has under way.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    ask: RefCell<Option<Box<Ask>>>,
    bell: Bell,
}

impl Mailbox {
    pub(crate) fn put(&self, ask: Box<Ask>) {
        *self.ask.borrow_mut() = Some(ask);
        self.bell.ring();
    }

    pub(crate) async fn take(&self) -> Box<Ask> {
        loop {
            self.bell.heard().await;
            if let Some(ask) = self.ask.take() {
                return ask;
            }
        }
    }
}
