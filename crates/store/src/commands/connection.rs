//! The connection itself: protocol, authentication, keyspace.

use crate::visit::Visit;

pub(super) fn ping(visit: &mut Visit<'_>) {
    match visit.args.get(1) {
        None => visit.replies.simple("PONG"),
        Some(text) => visit.replies.bulk(text),
    }
}
pub(super) fn auth(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
pub(super) fn client(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
pub(super) fn echo(visit: &mut Visit<'_>) {
    visit.replies.bulk(visit.arg(1));
}
pub(super) fn hello(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
pub(super) fn quit(visit: &mut Visit<'_>) {
    visit.session.quit = true;
    visit.replies.ok();
}
pub(super) fn reset(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
pub(super) fn select(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
