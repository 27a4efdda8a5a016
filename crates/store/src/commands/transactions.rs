//! `MULTI` and related commands. There are no transactions yet: `MULTI` is refused, and so is everything behind it
//! until `EXEC` or `DISCARD`. A client sends a whole transaction before it reads. If only `MULTI` were refused, the
//! rest would be executed although the client gets an error.

use wire::reply::ErrorKind;

use crate::visit::Visit;

/// `MULTI`
pub(super) fn multi(visit: &mut Visit<'_>) {
    if visit.session.in_refused_multi {
        return visit.replies.error(ErrorKind::Err, "MULTI calls can not be nested");
    }
    visit.session.in_refused_multi = true;
    visit.session_changed();
    visit.replies.error(
        ErrorKind::Err,
        "MULTI is not supported yet: nothing that follows on this connection is executed before EXEC, DISCARD or RESET",
    );
}

/// Ends the state after a refused `MULTI`. If there was none, writes the error and returns false.
fn end(visit: &mut Visit<'_>, name: &str) -> bool {
    if !visit.session.in_refused_multi {
        visit
            .replies
            .error(ErrorKind::Err, format_args!("{name} without MULTI"));
        return false;
    }
    visit.session.in_refused_multi = false;
    visit.session_changed();
    true
}

/// `EXEC`
pub(super) fn exec(visit: &mut Visit<'_>) {
    if end(visit, "EXEC") {
        let text = "Transaction discarded because MULTI is not supported yet. Nothing of it was executed.";
        visit.replies.error(ErrorKind::ExecAbort, text);
    }
}

/// `DISCARD`
pub(super) fn discard(visit: &mut Visit<'_>) {
    if end(visit, "DISCARD") {
        visit.replies.ok();
    }
}

/// `WATCH key …`
pub(super) fn watch(visit: &mut Visit<'_>) {
    let text = if visit.session.in_refused_multi {
        "WATCH inside MULTI is not allowed"
    } else {
        "WATCH is not supported yet, since MULTI is not"
    };
    visit.replies.error(ErrorKind::Err, text);
}

/// `UNWATCH`: always succeeds, since no key can be watched.
pub(super) fn unwatch(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
