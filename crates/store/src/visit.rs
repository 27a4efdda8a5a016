//! What a command sees that runs at its client's own node: the connection and the whole store.

use core::mem;

use wire::{etf::Pid, reply::Replies, request::Args};

use crate::{ask::Session, store::Store, tally::Mix};

/// One request that uses no shard. A command writes exactly one reply.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Its arguments, the command's name first.
    pub args: Args<'a>,
    /// Gets the reply.
    pub replies: &'a mut Replies,
    /// The client's session. Changes take effect from the next request on.
    pub session: &'a mut Session,
    /// Where the replies go.
    pub(crate) client: &'a Pid,
    /// Which commands were executed.
    pub(crate) mix: &'a mut Mix,
    /// The node's store.
    pub store: &'a mut Store,
}

impl<'a> Visit<'a> {
    /// The same connection and store with another request. Its reply goes behind those written so far.
    pub(crate) fn part<'b>(&'b mut self, args: Args<'b>) -> Visit<'b> {
        Visit {
            args,
            replies: self.replies,
            session: self.session,
            client: self.client,
            mix: self.mix,
            store: self.store,
        }
    }

    /// Argument `index`, where 0 is the name; empty if it does not exist.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// To be called after a change of the session, so that `CLIENT LIST` shows the change.
    pub fn session_changed(&mut self) {
        if let Some(known) = self.store.front.clients.get_mut(&self.session.id) {
            // What is queued and watched is kept once.
            let transaction = mem::take(&mut self.session.transaction);
            known.clone_from(self.session);
            self.session.transaction = transaction;
        }
    }
}
