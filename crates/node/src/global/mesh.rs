//! Everyone of a partition is connected to everyone, or is not of it.
//!
//! - Nodes that we know by hearsay are dialled until they are reached, or count as lost.
//! - A lost connection to a node of our partition is told to all of it, each passes it on once, and all
//!   forget the lost one. So what is left are groups of nodes that all see each other.
//! - BEAM nodes close the connection to a node that they forget, and join anew when somebody connects
//!   again. Members of our own need it for more than `global`: they keep it, and join anew after a
//!   while.
//!
//! Source: global(3), `prevent_overlapping_partitions`.

use super::{Global, TIMER_REACH, VERSION_PARTITIONS, info, is_peer, joining::say_in_sync, note, watch};
use crate::{context::Context, message::Payload};
use alloc::collections::BTreeSet;
use wire::etf::{Atom, Term};

/// A node we must reach is dialled so often, and so far apart, before it counts as lost.
const DIALS_MAX: u32 = 8;
const REDIAL_US: u64 = 1_000_000;
/// A peer that we forgot for others' sake is dropped after so long, or if it is a member joined again.
const DROP_US: u64 = 3_000_000;
/// Nodes we know by hearsay must be connected, or they do not belong to us.
impl Global {
    pub(super) fn reach<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        if is_peer(ctx, node) {
            return self.reached(ctx, node);
        }
        if self.known.contains_key(node) && ctx.dial(node, None) {
            self.reaching.insert(node.clone(), 1);
            self.look_again(ctx);
        }
    }

    pub(super) fn reached<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        self.reaching.remove(node);
        say_in_sync(ctx, node);
        for (name, pid) in ctx.core.global_names.unwatched_on(node) {
            let monitor = watch(ctx, &pid);
            ctx.core.global_names.watched(&name, monitor);
        }
    }

    /// Whether some of our partition cannot be told anything yet: it is no time to change names.
    pub(super) fn is_gathering(&self) -> bool {
        !self.reaching.is_empty()
    }

    pub(super) fn look_again<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if !self.reach_timer {
            self.reach_timer = true;
            ctx.timer(REDIAL_US, TIMER_REACH);
        }
    }

    pub(super) fn reach_again<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        self.reach_timer = false;
        for (node, dials) in self.reaching.clone() {
            if is_peer(ctx, &node) {
                self.reached(ctx, &node);
            } else if dials < DIALS_MAX {
                self.reaching.insert(node.clone(), dials + 1);
                ctx.dial(&node, None);
            } else {
                note(
                    ctx,
                    "global_unreachable",
                    &node,
                    "cannot be reached, but others of the cluster can",
                );
                self.node_down(ctx, &node);
            }
        }
        let now_us = ctx.now().monotonic_us;
        let early = self.early.iter().map(|(node, early)| (node, early.until_us));
        let limits = self.dropping.iter().map(|(node, until_us)| (node, *until_us));
        let late: BTreeSet<Atom> = early
            .chain(limits)
            .filter(|(_, until_us)| now_us >= *until_us)
            .map(|(node, _)| node.clone())
            .collect();
        for node in late {
            if self.dropping.remove(&node).is_some() && ctx.core.is_member(&node) {
                self.node_up(ctx, &node);
            } else {
                ctx.disconnect(&node);
            }
        }
        if !self.reaching.is_empty() || !self.dropping.is_empty() || !self.early.is_empty() {
            self.look_again(ctx);
        }
    }
}

/// No overlapping partitions.
impl Global {
    pub(super) fn report_lost<P: Payload>(&mut self, ctx: &mut Context<'_, P>, lost: &Atom) {
        if self.shutting_down {
            return;
        }
        self.operation += 1;
        let us = ctx.node().clone();
        let (life, operation) = (Term::Int(self.life), Term::Int(self.operation));
        self.pass_on(ctx, &us, &life, &operation, lost, lost);
    }

    fn pass_on<P: Payload>(
        &self,
        ctx: &mut Context<'_, P>,
        reporter: &Atom,
        life: &Term,
        operation: &Term,
        lost: &Atom,
        but: &Atom,
    ) {
        let pending = self
            .sessions
            .iter()
            .filter_map(|(node, session)| Some((node, session.peer.as_ref()?.version)));
        let known = self.known.iter().map(|(node, version)| (node, *version));
        let hearers = known
            .chain(pending)
            .filter(|(node, version)| *version >= VERSION_PARTITIONS && *node != but);
        for (node, _) in hearers {
            let verb = Term::atom("lost_connection");
            let message = (verb, reporter.clone(), life.clone(), operation.clone(), lost.clone());
            info(ctx, node, Term::from(message));
        }
    }

    pub(super) fn lost_connection<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        reporter: &Atom,
        life: &Term,
        operation: &Term,
        lost: &Atom,
    ) {
        let now_us = ctx.now().monotonic_us;
        let pair = (reporter.clone(), lost.clone());
        if self.shutting_down || !self.reports.is_news(pair, life, operation, now_us) {
            return;
        }
        self.pass_on(ctx, reporter, life, operation, lost, reporter);
        // If it is us who were lost, everyone else drops us, and the reporter is to.
        let victim = if lost == ctx.node() { reporter } else { lost };
        if !self.is_known_or_pending(victim) {
            return;
        }
        self.forget(ctx, victim);
        if is_peer(ctx, victim) {
            let us = ctx.node().clone();
            note(
                ctx,
                "global_partition",
                victim,
                "is dropped: not all of us are connected to it",
            );
            info(ctx, victim, Term::from((Term::atom("remove_connection"), us)));
            self.drop_later(ctx, victim);
        }
    }

    fn drop_later<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        let until_us = ctx.now().monotonic_us + DROP_US;
        self.dropping.insert(peer.clone(), until_us);
        self.look_again(ctx);
    }

    pub(super) fn remove_connection<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        if self.is_known_or_pending(peer) {
            self.forget(ctx, peer);
            note(
                ctx,
                "global_partition",
                peer,
                "drops us: not all of its partition are connected to us",
            );
            if ctx.core.is_member(peer) {
                self.drop_later(ctx, peer);
            } else {
                ctx.disconnect(peer);
            }
        }
    }
}
