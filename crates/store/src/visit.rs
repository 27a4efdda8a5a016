//! What a command sees that runs at the node its client is connected to: the connection and the whole store.

use wire::{reply::Replies, request::Args};

use crate::{ask::Session, store::Store};

/// One request that touches no shard. A command writes exactly one reply.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Its arguments, the command's name first.
    pub args: Args<'a>,
    /// Where its reply goes.
    pub replies: &'a mut Replies,
    /// The client's session; what a command changes in it holds from the next request on.
    pub session: &'a mut Session,
    /// The node's store.
    pub store: &'a mut Store,
}

impl<'a> Visit<'a> {
    /// Argument `index`, the name being 0; empty if there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// To be called when the session was changed, so that `CLIENT LIST` shows it as it is.
    pub fn session_changed(&mut self) {
        if let Some(known) = self.store.front.clients.get_mut(&self.session.id) {
            known.clone_from(self.session);
        }
    }
}
