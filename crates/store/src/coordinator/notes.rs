//! What is noted of a client's batch beside its replies: the errors among them, and what `CLIENT LIST` shows.

use wire::{
    reply::{ErrorKind, Reply},
    request::Args,
};

use crate::{
    ask::Ask,
    command::{self, Row},
    store::Store,
};

impl Store {
    /// Notes what `CLIENT LIST` shows of a client that was active.
    pub(super) fn note_client(&mut self, ask: &mut Ask) {
        let shown = &mut ask.session.shown;
        if let Some(row) = ask.mix.last() {
            shown.command = row.shown();
        }
        if let Some(known) = self.front.clients.get_mut(&ask.session.id) {
            known.shown.active_ms = shown.active_ms;
            known.shown.command = shown.command;
        }
    }

    /// Counts the errors among the replies to a client.
    #[cold]
    pub(super) fn count_errors(&mut self, ask: &mut Ask) {
        let mut tokens = ask.batch.replies.tokens();
        for args in ask.batch.requests() {
            let Some(Reply::Error(kind, _)) = tokens.skip_value() else {
                continue;
            };
            let row = command_of(args);
            // Such a request is refused before it is counted as a call.
            let is_refused = row.is_none_or(|row| !row.arity.admits(args.len())) || kind == ErrorKind::NoAuth;
            let is_rejected = self.gauges.records.ledger.erred(row, kind, is_refused);
            if let Some(row) = row.filter(|_| is_rejected && !is_refused) {
                ask.mix.take_back(row);
            }
        }
    }
}

/// The command of a request, or of its subcommand; `None` if there is none of that name.
fn command_of(args: Args<'_>) -> Option<&'static Row> {
    let row = command::find(&args[0]).filter(|row| !row.is_internal())?;
    Some(row.member(args.get(1)).unwrap_or(row))
}
