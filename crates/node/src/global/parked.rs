//! Requests of processes of this node that have not begun. They wait until the tables of `global` are merged with those
//! of each node that this node is connected to or is to meet.
//!
//! - If two nodes decided alone, both could grant the same lock, and no merge would correct that. So a change of names
//!   or a lock begins only while no merge is under way. It is completed only if no merge has begun meanwhile.
//! - A lock on nodes that the process named does not wait, since only those nodes decide.

use super::{Global, SILENT_US_MAX, Stage, note};
use crate::{context::Context, gen_server::From, message::Payload};
use alloc::{collections::BTreeSet, vec::Vec};
use core::mem;
use wire::etf::Term;

/// Most processes that wait until this node agrees with all others. A further one is refused.
const SYNCS_MAX: usize = 1024;

/// The waiting requests.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// Numbers of holdings.
    pub(super) locks: BTreeSet<u64>,
    syncs: Vec<From>,
}

impl Global {
    /// Whether names and locks must wait for other nodes.
    pub(super) fn must_wait<P: Payload>(&self, ctx: &Context<'_, P>) -> bool {
        ctx.core.agreement.blocks_changes() || self.is_gathering()
    }

    /// Makes a process wait until this node agrees with all others. Returns an answer if it need not wait.
    pub(super) fn sync_all<P: Payload>(&mut self, ctx: &Context<'_, P>, from: &From) -> Option<Term> {
        if self.has_agreed(ctx) {
            return Some(Term::atom("ok"));
        }
        if self.parked.syncs.len() >= SYNCS_MAX {
            return Some(Term::from((Term::atom("error"), Term::atom("system_limit"))));
        }
        self.parked.syncs.push(from.clone());
        None
    }

    fn has_agreed<P: Payload>(&self, ctx: &Context<'_, P>) -> bool {
        ctx.core.agreement.is_complete() && !self.is_gathering()
    }

    /// Waiting requests go on, if nothing delays them any more.
    pub(super) fn go_on<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if self.must_wait(ctx) {
            return;
        }
        self.names_go_on(ctx);
        for number in mem::take(&mut self.parked.locks) {
            self.claim_holding(ctx, number);
        }
        if !self.parked.syncs.is_empty() && self.has_agreed(ctx) {
            for from in mem::take(&mut self.parked.syncs) {
                ctx.reply(&from, Term::atom("ok"));
            }
        }
    }

    /// Gives up nodes that took too long.
    pub(super) fn give_up_late<P: Payload>(&self, ctx: &mut Context<'_, P>) {
        let now_us = ctx.now().monotonic_us;
        for (node, stage) in ctx.core.agreement.give_up(now_us) {
            let what = match stage {
                Stage::Silent => "has not answered `global` for 5 s: names and locks are decided without it",
                Stage::Joining => "has not merged its names for 60 s: names and locks are decided without it",
                Stage::Known => "has not confirmed for 60 s that it knows this node: it is not waited for",
            };
            note(ctx, "global_silent", &node, what);
        }
    }
}

/// Until when a node that is connected now is waited for if it sends nothing.
pub(super) fn silent_until_us<P: Payload>(ctx: &Context<'_, P>) -> u64 {
    ctx.now().monotonic_us + SILENT_US_MAX
}
