//! All nodes of a partition are connected to each other; a node that is not belongs to another partition.
//!
//! - Known nodes that were only reported by others are dialled until they are reached or count as lost. Nodes of name
//!   holders are dialled once; if that fails, their names are removed. All these dials share one limit: `dials`.
//! - A lost connection to a node of our partition is reported to all of its nodes. Each node passes the report on once,
//!   and all of them remove the lost node. So the result is groups of nodes that are all connected to each other.
//! - BEAM nodes close the connection to a node that they remove, and join again when one of them connects again.
//!   Members of our cluster need the connection for more than `global`: they keep it, and join again after a while.
//!
//! Source: global(3), `prevent_overlapping_partitions`.

use super::{
    Global, Kind, TIMER_REACH, VERSION_PARTITIONS, WAITING_BYTES_MAX, WAITING_MAX, carry_out, info, is_connected,
    is_peer, joining::say_in_sync, method::Act, note, parked::silent_until_us, remove_name, watch,
};
use crate::{context::Context, message::Payload};
use alloc::{collections::BTreeSet, vec, vec::Vec};
use wire::{
    dist::node_name,
    etf::{Atom, Term},
};

/// How often to look for nodes that wait or take too long.
const LOOK_US: u64 = 1_000_000;
/// After removing a peer on another node's report: close its connection after this time; a member joins again instead.
const DROP_US: u64 = 3_000_000;

/// Known nodes that were only reported by others must be connected; otherwise they do not belong to us.
impl Global {
    pub(super) fn reach<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        if is_peer(ctx, node) {
            return self.reached(ctx, node);
        }
        if self.known.contains_key(node) {
            let now_us = ctx.now().monotonic_us;
            self.dials.want(node, Kind::Known, now_us);
            self.dial_next(ctx);
        }
    }

    /// The holder of a name lives at a node that is not connected. Returns false if there are too many such nodes.
    pub(super) fn reach_holder<P: Payload>(&mut self, ctx: &Context<'_, P>, node: &Atom) -> bool {
        let is_known = self.known.contains_key(node);
        let kind = if is_known { Kind::Known } else { Kind::Holder };
        self.dials.want(node, kind, ctx.now().monotonic_us)
    }

    /// Dials the nodes whose turn it is.
    pub(super) fn dial_next<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        while let Some((node, kind)) = self.dials.next(ctx.now().monotonic_us) {
            if is_connected(ctx, &node) {
                self.meet(ctx, &node);
            } else if kind == Kind::Holder
                && ctx.core.global_names.unwatched_on(&node).is_empty()
                && !self.acts.contains_key(&node)
            {
                // The names of this holder were removed meanwhile.
                self.dials.up(&node);
            } else {
                ctx.dial(&node, None);
            }
        }
        if !self.dials.is_empty() {
            self.look_again(ctx);
        }
    }

    /// A node was connected. It may be one that we wanted.
    pub(super) fn came_up<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        self.meet(ctx, node);
        self.dial_next(ctx);
    }

    fn meet<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        if let Some(acts) = self.acts.remove(node) {
            carry_out(ctx, acts);
        }
        match self.dials.up(node) {
            Some(Kind::Known) if is_peer(ctx, node) => self.reached(ctx, node),
            // A hidden node belongs to no partition.
            Some(Kind::Known) => self.give_up(ctx, node, Kind::Known),
            Some(Kind::Holder) => watch_holders(ctx, node),
            None => {}
        }
    }

    /// A dial has failed.
    pub(super) fn unreachable<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        if is_connected(ctx, node) {
            return;
        }
        if let Some(kind) = self.dials.failed(node, ctx.now().monotonic_us) {
            self.give_up(ctx, node, kind);
        }
        self.dial_next(ctx);
    }

    fn give_up<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom, kind: Kind) {
        match kind {
            Kind::Known => {
                note(
                    ctx,
                    "global_unreachable",
                    node,
                    "cannot be reached, but others of the cluster can",
                );
                self.node_down(ctx, node);
            }
            Kind::Holder => {
                self.acts.remove(node);
                for (name, _) in ctx.core.global_names.unwatched_on(node) {
                    remove_name(ctx, &name);
                }
            }
        }
    }

    /// Notifies processes whose names were in conflict. Processes on nodes that are not connected are notified later.
    pub(super) fn settle_conflicts<P: Payload>(&mut self, ctx: &mut Context<'_, P>, acts: Vec<Act>) {
        let mut waiting: usize = self.acts.values().map(Vec::len).sum();
        for act in acts {
            let node = act.pid().node.clone();
            if node == *ctx.node() || is_connected(ctx, &node) {
                carry_out(ctx, vec![act]);
            } else if waiting < WAITING_MAX
                && act.held_bytes() <= WAITING_BYTES_MAX
                && node_name(node.as_bytes()).is_some()
                && self.reach_holder(ctx, &node)
            {
                waiting += 1;
                self.acts.entry(node).or_default().push(act);
            }
        }
        self.dial_next(ctx);
    }

    fn reached<P: Payload>(&self, ctx: &mut Context<'_, P>, node: &Atom) {
        say_in_sync(ctx, node);
        watch_holders(ctx, node);
    }

    /// Whether some nodes of our partition are not connected yet: then names must not be changed.
    pub(super) fn is_gathering(&self) -> bool {
        self.dials.wants_known()
    }

    pub(super) fn look_again<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if !self.reach_timer {
            self.reach_timer = true;
            ctx.timer(LOOK_US, TIMER_REACH);
        }
    }

    pub(super) fn reach_again<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        self.reach_timer = false;
        let now_us = ctx.now().monotonic_us;
        for (node, kind) in self.dials.look(now_us) {
            self.give_up(ctx, &node, kind);
        }
        self.dial_next(ctx);
        self.give_up_late(ctx);
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
        let is_open = !self.dials.is_empty() || !self.dropping.is_empty() || !self.early.is_empty();
        if is_open || ctx.core.agreement.waits() {
            self.look_again(ctx);
        }
    }
}

/// Monitors the name holders at a node that was just connected.
fn watch_holders<P: Payload>(ctx: &mut Context<'_, P>, node: &Atom) {
    for (name, pid) in ctx.core.global_names.unwatched_on(node) {
        let monitor = watch(ctx, &pid);
        ctx.core.global_names.watched(&name, monitor);
    }
}

/// Prevents overlapping partitions.
impl Global {
    pub(super) fn report_lost<P: Payload>(&mut self, ctx: &mut Context<'_, P>, lost: &Atom) {
        if self.shutting_down {
            return;
        }
        self.operation += 1;
        let us = ctx.node().clone();
        self.pass_on(ctx, &us, self.life, self.operation, lost, lost);
    }

    fn pass_on<P: Payload>(
        &self,
        ctx: &mut Context<'_, P>,
        reporter: &Atom,
        life: i64,
        operation: i64,
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
            let message = (verb, reporter.clone(), life, operation, lost.clone());
            info(ctx, node, Term::from(message));
        }
    }

    pub(super) fn lost_connection<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        reporter: &Atom,
        life: i64,
        operation: i64,
        lost: &Atom,
    ) {
        let now_us = ctx.now().monotonic_us;
        let pair = (reporter.clone(), lost.clone());
        if self.shutting_down || !self.reports.is_news(pair, life, operation, now_us) {
            return;
        }
        self.pass_on(ctx, reporter, life, operation, lost, reporter);
        // If this node was the lost one, all others drop it. So it must drop the reporter.
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
        // The node is connected, but its names do not belong to our partition any more.
        let silent_us = silent_until_us(ctx) + DROP_US;
        ctx.core.agreement.connected(peer, silent_us);
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
