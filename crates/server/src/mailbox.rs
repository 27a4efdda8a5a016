//! [`Mailbox`]: where a connection gets the answer to a batch that takes longer.

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
