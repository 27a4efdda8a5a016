//! Between `MULTI` and `EXEC`, requests are checked and queued.

use alloc::{format, vec::Vec};

use wire::{
    reply::{ErrorKind, Mark, Replies},
    request::Args,
};

use super::place::Misplaced;
use crate::{ask::Session, command::Row, store::Store, transaction::REQUESTS_MAX};

impl Store {
    /// Bytes of requests that a transaction may have. What they write then fits into one message to a replica: no
    /// command writes more than its own bytes, or one value.
    pub(crate) fn transaction_bytes_max(&self) -> usize {
        const BESIDE_BYTES: usize = 4 << 20;
        self.config.value_bytes_max + BESIDE_BYTES
    }
}

/// Handles a request that is refused, with the error at `mark`: `EXEC` will execute nothing. An `EXEC` ends the
/// transaction in any case.
pub(super) fn spoil(session: &mut Session, args: Args<'_>, mark: Mark, replies: &mut Replies) {
    session.transaction.fail();
    if args[0].eq_ignore_ascii_case(b"exec") {
        session.transaction.close();
        let text = "Transaction discarded because of: wrong number of arguments for 'exec' command";
        replies.replace(mark, ErrorKind::ExecAbort, text);
    }
}

/// Queues a request, or refuses it; then `EXEC` will execute nothing.
pub(super) fn queue(store: &Store, session: &mut Session, row: &Row, args: Args<'_>, replies: &mut Replies) {
    if !row.may_be_queued() {
        session.transaction.fail();
        let text = format!(
            "{} is not supported inside MULTI: a transaction runs on the keys of one slot, in one keyspace",
            row.shown().to_uppercase()
        );
        return replies.error(ErrorKind::Err, text);
    }
    let slot_of = |key| store.slot_of(session.keyspace, key);
    let slots: Result<Vec<u16>, Misplaced> = row.keys.of(args).map(slot_of).collect();
    match slots {
        Err(why) => {
            session.transaction.fail();
            store.misplaced(why, replies);
        }
        Ok(slots) => {
            let bytes_max = store.transaction_bytes_max();
            if session.transaction.add(args, row.access(), &slots, bytes_max) {
                replies.simple("QUEUED");
            } else {
                session.transaction.fail();
                let text = format!("transaction is longer than {bytes_max} bytes or {REQUESTS_MAX} requests: split it");
                replies.error(ErrorKind::Err, text);
            }
        }
    }
}
