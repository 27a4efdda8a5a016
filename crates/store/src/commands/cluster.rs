//! `CLUSTER` and what cluster-aware clients send.

use crate::visit::Visit;

pub(super) fn accepted(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
pub(super) fn cluster(visit: &mut Visit<'_>) {
    visit.replies.ok();
}
