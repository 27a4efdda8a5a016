//! `MULTI` and its kin. There are no transactions yet: `MULTI` is refused, and so is everything behind it until `EXEC`
//! or `DISCARD`. A client sends the whole of a transaction before it reads; were only `MULTI` refused, the rest would
//! be executed, and the client would see an error.

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

/// Ends what a refused `MULTI` began; false, and the error is written, if there was none.
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

/// `UNWATCH`: no key is watched.
pub(super) fn unwatch(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
