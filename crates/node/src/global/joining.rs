//! Merges two partitions into one.
//!
//! ```text
//! us                                    peer
//!  ├─ init_connect{8, our tag} ─────────▶│   at nodeup, both ways
//!  │◀──────── init_connect{8, its tag} ──┤
//!  ├─ init_connect_ack{its tag, ours} ──▶│   both mean the same attempt, or both start over
//!  │        (the lockers lock both partitions: `locker`)
//!  ├─ exchange{names} ──────────────────▶│   both ways; each compares
//!  ├─ resolved{changes, known} ─────────▶│   both ways; each applies all changes, and reports
//!  │                                     │   them to its
//!  ├─ new_nodes ─▶ our partition         │   partition under the lock
//!  ├─ in_sync ───▶ its partition         │
//! ```
//!
//! - An attempt has one tag of each side. Every message has the tag of the side it goes to. A message with another tag
//!   belongs to an earlier attempt and is dropped.
//! - The attempt ends if the connection ends, if the peer cancels, or if the peer starts again. Locks taken for it by
//!   the locker are released then.

use super::{
    Global, KNOWN_MAX, VERSION, VERSION_MIN, VERSION_PARTITIONS, VERSION_VERIFIED, cast,
    exchange::{Op, compare},
    info,
    locks::LockId,
    names::Entry,
    note,
    parked::silent_until_us,
    remove_name,
};
use crate::{context::Context, message::Payload};
use alloc::{string::String, vec::Vec};
use wire::etf::{Atom, Pid, Term};

/// If a known peer wants to join and does not correct itself within this time, its connection is dropped.
const EARLY_US: u64 = 10_000_000;
/// Longest tag of an attempt in bytes. A tag is an integer or a little more; with a longer one the attempt is ignored.
const TAG_BYTES_MAX: usize = 1024;

/// One attempt to join with a peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) tag: i64,
    /// None until the peer has sent `init_connect`; then the peer is pending.
    pub(super) peer: Option<Peer>,
    /// The lock, once both partitions are locked.
    pub(super) lock: Option<LockId>,
    names: Option<Vec<Entry>>,
    /// Our changes, once the names of both sides are compared.
    ops: Option<Vec<Op>>,
    resolved: Option<Resolved>,
}

/// The other side of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(super) tag: Term,
    pub(super) version: i64,
    pub(super) locker: Pid,
}

#[derive(Debug)]
struct Resolved {
    ops: Vec<Op>,
    known: Vec<(Atom, i64)>,
    foreign: Term,
}

/// An `init_connect` of a peer that is known already. Either this node learned of the join first, and the peer will
/// report it soon; or the peer is another life of that node.
#[derive(Debug)]
pub(crate) struct Early {
    peer: Peer,
    pub(super) until_us: u64,
}

/// Connections come and go.
impl Global {
    pub(super) fn node_up<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        self.came_up(ctx, peer);
        if self.known.contains_key(peer) || self.sessions.contains_key(peer) {
            return;
        }
        let until_us = silent_until_us(ctx);
        ctx.core.agreement.connected(peer, until_us);
        self.look_again(ctx);
        self.last_tag += 1;
        let tag = self.last_tag;
        let session = Session {
            tag,
            peer: None,
            lock: None,
            names: None,
            ops: None,
            resolved: None,
        };
        self.sessions.insert(peer.clone(), session);
        let locker = Term::from((
            Term::atom("locker"),
            Term::atom("no_longer_a_pid"),
            Term::Map(Vec::new()),
            self.locker_pid.clone(),
        ));
        let version = Term::from((VERSION, tag));
        let us = ctx.node().clone();
        cast(ctx, peer, Term::from((Term::atom("init_connect"), version, us, locker)));
        if let Some(Early { peer: other, .. }) = self.early.remove(peer) {
            self.connect(ctx, peer, other);
        }
    }

    pub(super) fn node_down<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        self.dropping.remove(peer);
        if self.forget(ctx, peer) {
            self.report_lost(ctx, peer);
        }
    }

    /// Removes a peer from our partition and from those that are joining. Returns false if it was in neither.
    pub(super) fn forget<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) -> bool {
        let was_ours = self.is_known_or_pending(peer);
        self.end_session(ctx, peer, true);
        self.early.remove(peer);
        self.synced.remove(peer);
        self.dials.forget(peer);
        self.acts.remove(peer);
        // The connection may last a moment longer. Names of other nodes must not be sent to nodes that join meanwhile.
        for name in ctx.core.global_names.held_on(peer) {
            remove_name(ctx, &name);
        }
        for monitor in ctx.core.global_locks.remove_all_of(peer) {
            ctx.demonitor(&monitor);
        }
        self.known.remove(peer);
        ctx.core.agreement.lost(peer);
        was_ours
    }

    pub(super) fn is_known_or_pending(&self, peer: &Atom) -> bool {
        self.known.contains_key(peer) || self.is_pending(peer)
    }

    fn is_pending(&self, peer: &Atom) -> bool {
        self.sessions.get(peer).is_some_and(|session| session.peer.is_some())
    }

    /// Ends an attempt. If `tell`, the peer is notified.
    fn end_session<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, tell: bool) {
        let Some(session) = self.sessions.remove(peer) else {
            return;
        };
        if let Some(Peer { tag, version, .. }) = session.peer
            && tell
            && version >= VERSION_VERIFIED
        {
            say_cancelled(ctx, peer, tag);
        }
        self.end_attempt(ctx, peer, session.tag);
    }

    fn restart<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        self.end_session(ctx, peer, false);
        self.node_up(ctx, peer);
    }

    /// Whether this tag belongs to the current attempt.
    fn is_current(&self, peer: &Atom, tag: &Term) -> bool {
        let session = self.sessions.get(peer);
        session.is_some_and(|session| *tag == Term::Int(session.tag))
    }
}

/// Messages of peers while they join.
impl Global {
    pub(super) fn init_connect<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        peer: &Atom,
        version: &Term,
        init: &Term,
    ) {
        let (Some([Term::Int(number), tag, ..]), Some([_, _, _, Term::Pid(locker)])) =
            (version.as_tuple(), init.as_tuple())
        else {
            return;
        };
        if *number < VERSION_MIN || locker.node != *peer || tag.held_bytes() > TAG_BYTES_MAX {
            return;
        }
        let other = Peer {
            tag: tag.clone(),
            version: (*number).min(VERSION),
            locker: locker.clone(),
        };
        self.connect(ctx, peer, other);
    }

    fn connect<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, other: Peer) {
        let verified = other.version >= VERSION_VERIFIED;
        match self.sessions.get_mut(peer) {
            None => {
                let early = Early {
                    peer: other,
                    until_us: ctx.now().monotonic_us + EARLY_US,
                };
                self.early.insert(peer.clone(), early);
                self.look_again(ctx);
            }
            // The peer started again, and may not know our last attempt. So both start again.
            Some(session) if session.peer.is_some() => {
                if verified {
                    say_cancelled(ctx, peer, other.tag);
                }
                self.restart(ctx, peer);
            }
            Some(session) => {
                let (us, theirs, ours) = (ctx.node().clone(), other.tag.clone(), session.tag);
                session.peer = Some(other);
                let now_us = ctx.now().monotonic_us;
                ctx.core.agreement.answered(peer, now_us);
                if verified {
                    let message = Term::from((Term::atom("init_connect_ack"), us, theirs, ours));
                    info(ctx, peer, message);
                }
            }
        }
    }

    pub(super) fn acknowledged<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        peer: &Atom,
        ours: &Term,
        theirs: &Term,
    ) {
        let their_tag = |session: &Session| session.peer.as_ref().is_some_and(|peer| peer.tag == *theirs);
        if self.is_current(peer, ours) && self.sessions.get(peer).is_some_and(their_tag) {
            return;
        }
        say_cancelled(ctx, peer, theirs.clone());
        if self.sessions.contains_key(peer) {
            self.restart(ctx, peer);
        }
    }

    pub(super) fn cancelled<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, tag: &Term) {
        if self.is_current(peer, tag) {
            self.restart(ctx, peer);
        }
    }

    pub(super) fn lock_set_arrived<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        peer: &Atom,
        set: bool,
        tag: Option<&Term>,
    ) {
        if tag.is_none_or(|tag| self.is_current(peer, tag)) && self.is_pending(peer) {
            self.lock_offered(ctx, peer, set);
        }
    }

    /// Both lockers have locked their partitions, so the names can be compared safely.
    pub(super) fn both_locked<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, lock: LockId) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        session.lock = Some(lock);
        let Some(Peer { tag, .. }) = session.peer.clone() else {
            return;
        };
        let names = Term::list(ctx.core.global_names.entries().iter().map(Entry::to_term));
        let us = ctx.node().clone();
        cast(
            ctx,
            peer,
            Term::from((Term::atom("exchange"), us, names, Term::NIL, tag)),
        );
        self.compare_names(ctx, peer);
    }

    pub(super) fn names_arrived<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        peer: &Atom,
        names: &Term,
        tag: &Term,
    ) {
        let entries = names
            .as_list()
            .and_then(|names| names.iter().map(Entry::from_term).collect::<Option<Vec<_>>>());
        if !self.is_current(peer, tag) {
            return;
        }
        let Some(entries) = entries else {
            return;
        };
        if cut_for(ctx, peer, entries.iter().map(Entry::held_bytes).sum()) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(peer) {
            session.names = Some(entries);
            self.compare_names(ctx, peer);
        }
    }

    /// Compares the names, once the lock and the peer's names are there.
    fn compare_names<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        let Some(session) = self.sessions.get_mut(peer) else {
            return;
        };
        let (Some(other), Some(_), Some(names), None) = (&session.peer, &session.lock, &session.names, &session.ops)
        else {
            return;
        };
        let (tag, version) = (other.tag.clone(), other.version);
        let us = ctx.node().clone();
        let comparison = compare(&ctx.core.global_names, names, &us, peer);
        session.ops = Some(comparison.ops);
        self.settle_conflicts(ctx, comparison.acts);
        let resolved = Term::list(comparison.resolved.iter().map(Op::to_term));
        let known = nodes_term(self.known.iter().map(|(node, version)| (node, *version)), version);
        let unused = Term::atom("unused");
        let message = [
            Term::atom("resolved"),
            Term::Atom(us),
            resolved,
            known,
            unused,
            Term::NIL,
            tag,
        ];
        cast(ctx, peer, Term::tuple(message));
        self.join(ctx, peer);
    }

    pub(super) fn resolved_arrived<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        peer: &Atom,
        ops: &Term,
        known: &Term,
        foreign: &Term,
        tag: &Term,
    ) {
        let (Some(ops), Some(known)) = (Op::list_from_term(ops), nodes_from_term(known)) else {
            return;
        };
        let bytes = ops.iter().map(Op::held_bytes).sum::<usize>() + foreign.held_bytes();
        if !self.is_current(peer, tag) || cut_for(ctx, peer, bytes) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(peer) {
            let foreign = foreign.clone();
            session.resolved = Some(Resolved { ops, known, foreign });
            self.join(ctx, peer);
        }
    }

    /// Applies the changes, once those of both sides are there.
    fn join<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        let complete = |session: &Session| session.ops.is_some() && session.resolved.is_some();
        if !self.sessions.get(peer).is_some_and(complete) {
            return;
        }
        let Some(Session {
            tag,
            peer: Some(Peer { version, .. }),
            lock: Some(lock),
            ops: Some(mut ops),
            resolved: Some(resolved),
            ..
        }) = self.sessions.remove(peer)
        else {
            return;
        };
        ops.extend(resolved.ops);
        let mut joined = resolved.known;
        for (node, _) in &joined {
            self.end_session(ctx, node, false);
        }
        joined.insert(0, (peer.clone(), version));
        let partition = self.known.clone();
        self.add_known(ctx, joined.clone());
        self.synced_now(ctx, peer);
        for (node, _) in &joined[1..] {
            self.reach(ctx, node);
        }

        // The others are changed before the lock is released, so that the next owner of the lock finds the changes
        // made.
        self.apply(ctx, &ops, Some(&lock.requester), peer);
        for (node, known_version) in partition {
            let message = [
                Term::atom("new_nodes"),
                Term::Atom(ctx.node().clone()),
                Term::list(ops.iter().map(Op::to_term)),
                resolved.foreign.clone(),
                nodes_term(joined.iter().map(|(node, version)| (node, *version)), known_version),
                extra_term(version, &lock),
            ];
            cast(ctx, &node, Term::tuple(message));
        }
        self.end_attempt(ctx, peer, tag);
    }

    /// A node of our partition has joined with another partition, so our whole partition has.
    pub(super) fn new_nodes<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        teller: &Atom,
        ops: &Term,
        nodes: &Term,
        extra: &Term,
    ) {
        let (Some(ops), Some(nodes)) = (Op::list_from_term(ops), nodes_from_term(nodes)) else {
            return;
        };
        let lock = extra.as_list().unwrap_or_default().iter().find_map(|item| {
            let [key, id] = item.as_tuple()? else { return None };
            if key.is_atom("lock") {
                LockId::from_term(id)
            } else {
                None
            }
        });
        let added = self.add_known(ctx, nodes);
        self.apply(ctx, &ops, lock.as_ref().map(|lock| &lock.requester), teller);
        for node in added {
            self.reach(ctx, &node);
        }
    }

    /// The peer has us in its partition.
    pub(super) fn in_sync<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom) {
        self.synced_now(ctx, peer);
        self.early.remove(peer);
        self.end_session(ctx, peer, false);
    }

    /// Applies changes that were agreed on under a lock. They are void if the lock has ended meanwhile.
    fn apply<P: Payload>(&mut self, ctx: &mut Context<'_, P>, ops: &[Op], requester: Option<&Term>, teller: &Atom) {
        let covered = ctx.core.global_locks.covers_requester(requester);
        for op in ops {
            match op {
                Op::Insert(entry) => self.insert_name(ctx, entry.clone(), teller, covered),
                Op::Delete(name) => remove_name(ctx, name),
            }
        }
    }

    /// Returns the nodes that were not known before.
    fn add_known<P: Payload>(&mut self, ctx: &mut Context<'_, P>, nodes: Vec<(Atom, i64)>) -> Vec<Atom> {
        let mut added = Vec::new();
        for (node, version) in nodes {
            if node == *ctx.node() || self.known.contains_key(&node) {
                continue;
            }
            if self.known.len() >= KNOWN_MAX {
                note(ctx, "global_full", &node, "is left out, as are others: too many nodes");
                break;
            }
            self.known.insert(node.clone(), version);
            let (synced, now_us) = (self.synced.contains(&node), ctx.now().monotonic_us);
            ctx.core.agreement.known(&node, synced, now_us);
            self.look_again(ctx);
            added.push(node);
        }
        added
    }
}

/// Data that a peer sends while it joins is kept until the join is over. If it is too much, its connection is closed.
fn cut_for<P: Payload>(ctx: &mut Context<'_, P>, peer: &Atom, bytes: usize) -> bool {
    let too_much = bytes > ctx.core.config.limits.global_bytes_per_peer_max;
    if too_much {
        ctx.core
            .cut_peer(peer, String::from("it brought too many global names"));
    }
    too_much
}

/// `[{vsn, Version}, {lock, LockId}]`.
fn extra_term(version: i64, lock: &LockId) -> Term {
    Term::list([
        Term::from((Term::atom("vsn"), version)),
        Term::from((Term::atom("lock"), lock.to_term())),
    ])
}

pub(super) fn say_in_sync<P: Payload>(ctx: &mut Context<'_, P>, peer: &Atom) {
    let us = ctx.node().clone();
    cast(ctx, peer, Term::from((Term::atom("in_sync"), us, Term::atom("true"))));
}

fn say_cancelled<P: Payload>(ctx: &mut Context<'_, P>, peer: &Atom, tag: Term) {
    let us = ctx.node().clone();
    info(ctx, peer, Term::from((Term::atom("cancel_connect"), us, tag)));
}

/// Nodes in the form for the receiver's version: with their protocol versions, or without.
fn nodes_term<'a>(nodes: impl Iterator<Item = (&'a Atom, i64)>, hearer: i64) -> Term {
    let versioned = hearer >= VERSION_PARTITIONS;
    let term = |(node, version): (&Atom, i64)| {
        if versioned {
            Term::from((node.clone(), version))
        } else {
            Term::Atom(node.clone())
        }
    };
    Term::list(nodes.map(term))
}

/// None if an item is not a node name. Nodes beyond the most that may be known are left out.
fn nodes_from_term(term: &Term) -> Option<Vec<(Atom, i64)>> {
    term.as_list()?.iter().take(KNOWN_MAX).map(node_from_term).collect()
}

fn node_from_term(term: &Term) -> Option<(Atom, i64)> {
    let (node, version) = match term {
        Term::Atom(node) => (node, 0),
        Term::Tuple(items) => match items.as_slice() {
            [Term::Atom(node), Term::Int(version)] => (node, *version),
            _ => return None,
        },
        _ => return None,
    };
    Some((wire::dist::node_name(node.as_bytes())?, version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// A peer lists its known nodes in the form of its version.
    #[test]
    fn known_nodes_come_with_and_without_a_version() {
        let (a, b) = (Atom::new("a@h"), Atom::new("b@h"));
        let mixed = Term::list([Term::Atom(a.clone()), Term::from((b.clone(), 8_u8))]);
        assert_eq!(nodes_from_term(&mixed), Some(vec![(a.clone(), 0), (b.clone(), 8)]));
        let known = [(&a, 8), (&b, 8)];
        let told = |hearer| nodes_from_term(&nodes_term(known.into_iter(), hearer));
        assert_eq!(told(VERSION), Some(vec![(a.clone(), 8), (b.clone(), 8)]));
        assert_eq!(told(VERSION_PARTITIONS - 1), Some(vec![(a, 0), (b, 0)]));
        for junk in [Term::Int(1), Term::list([1_u8]), Term::list([Atom::new("nameless")])] {
            assert_eq!(nodes_from_term(&junk), None);
        }
    }
}
