//! The node as a server.

use crate::visit::Visit;

pub(super) fn command(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}
pub(super) fn config(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}
pub(super) fn info(visit: &mut Visit<'_>) {
    visit.replies.bulk(b"");
}
pub(super) fn lastsave(visit: &mut Visit<'_>) {
    visit.replies.int(0);
}
pub(super) fn latency(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}
pub(super) fn slowlog(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}
pub(super) fn time(visit: &mut Visit<'_>) {
    visit.replies.array(0);
}
pub(super) fn wait(visit: &mut Visit<'_>) {
    visit.replies.int(0);
}
