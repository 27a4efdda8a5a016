//! The locker: takes the lock `global` on both partitions for a join, and keeps it until both have the same names.
//!
//! ```text
//! idle ──chosen by a timer──▶ claiming (active) ──▶ waiting ──the peer has its lock──▶ holding ──joined──▶ idle
//!   └──the peer has its lock─▶ claiming (passive) ─────────────────────────────────────▲
//! ```
//!
//! - There is one attempt at a time. Offers of other peers wait until it is over.
//! - The requester of the lock is the sorted pair of the two lockers. It is the same on both sides, so nodes that both
//!   sides ask grant it to both.
//! - The active side also asks the peer's node. So the peer's partition cannot be locked by a third node. If three
//!   lockers wait for each other in a circle, at least one fails.

use super::{
    Asker, Global, TIMER_LOCKER, VERSION_VERIFIED, cast,
    claim::{Claim, Verdict},
    joining::Peer,
    locks::LockId,
};
use crate::{context::Context, message::Payload};
use alloc::{collections::VecDeque, vec, vec::Vec};
use core::mem;
use wire::etf::{Atom, Term};

/// How long to wait before a peer is chosen, in microseconds: without known nodes; for each known node; at most. Half
/// of it is random, so that two nodes seldom choose each other at the same time.
const ALONE_US: u64 = 200_000;
const KNOWN_US: u64 = 1_000_000;
const PER_NODE_US: u64 = 100_000;
const WAIT_US_MAX: u64 = 3_000_000;

#[derive(Debug, Default)]
pub(crate) struct Locker {
    phase: Phase,
    /// Peers that have their lock and wait for ours. At most one entry for each session.
    offers: VecDeque<Atom>,
    timer: bool,
    /// Choose now: the timer fired, or a join has just succeeded.
    ready: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// Nodes are asked. Step 1: the boss. Step 2: this node and the peer. Step 3: the others.
    Claiming {
        attempt: Attempt,
        active: bool,
        boss: Atom,
        step: u8,
    },
    /// Our side is locked, and the peer knows it.
    Waiting(Attempt),
    /// Both sides are locked.
    Holding(Attempt),
}

/// The attempt of `joining` for which the lock is taken.
#[derive(Debug)]
struct Attempt {
    peer: Atom,
    tag: i64,
    claim: Claim,
}

impl Locker {
    pub(super) fn wake(&mut self) {
        self.timer = false;
        self.ready = true;
    }
}

impl Global {
    /// Decides what the locker does next, after any event.
    pub(super) fn settle_locker<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        while matches!(self.locker.phase, Phase::Idle) {
            if let Some(peer) = self.locker.offers.pop_front() {
                self.begin(ctx, &peer, false);
                continue;
            }
            let candidates = self.candidates(ctx);
            if candidates.is_empty() {
                self.locker.ready = false;
                return;
            }
            if !mem::take(&mut self.locker.ready) || ctx.core.global_locks.is_global_set() {
                return self.wait(ctx);
            }
            let at = usize::try_from(ctx.random() % candidates.len() as u64).unwrap_or(0);
            self.begin(ctx, &candidates[at], true);
        }
    }

    /// Peers that wait to join, those on our own host first.
    fn candidates<P: Payload>(&self, ctx: &Context<'_, P>) -> Vec<Atom> {
        let waits = self.sessions.iter().filter(|(node, session)| {
            session.peer.is_some() && session.lock.is_none() && !self.known.contains_key(*node)
        });
        let waiting: Vec<Atom> = waits.map(|(node, _)| node.clone()).collect();
        let host = |node: &Atom| node.as_str().split_once('@').map(|(_, host)| Atom::new(host));
        let ours = host(ctx.node());
        let near: Vec<Atom> = waiting.iter().filter(|node| host(node) == ours).cloned().collect();
        if near.is_empty() { waiting } else { near }
    }

    fn wait<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if mem::replace(&mut self.locker.timer, true) {
            return;
        }
        let wait_us = match self.known.len() as u64 {
            0 => ALONE_US,
            known => (KNOWN_US + known * PER_NODE_US).min(WAIT_US_MAX),
        };
        let delay_us = wait_us / 2 + ctx.random() % (wait_us / 2);
        ctx.timer(delay_us, TIMER_LOCKER);
    }

    fn begin<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, active: bool) {
        let Some(session) = self.sessions.get(peer) else {
            return;
        };
        let Some(Peer { locker, .. }) = &session.peer else {
            return;
        };
        let mut pair = [self.locker_pid.clone(), locker.clone()];
        pair.sort();
        let id = LockId::global(Term::list(pair));
        let boss = self.boss(ctx);
        let allowed = boss == *ctx.node() || ctx.core.global_locks.allows(&id);
        let mut claim = Claim::new(id, self.locker_pid.clone());
        if !allowed {
            claim.refuse();
        }
        let (peer, tag) = (peer.clone(), session.tag);
        let attempt = Attempt { peer, tag, claim };
        self.locker.phase = Phase::Claiming {
            attempt,
            active,
            boss,
            step: 0,
        };
        self.claim_on(ctx);
    }

    pub(super) fn locker_answered<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        node: Atom,
        result: &Result<Term, Term>,
    ) {
        if let Phase::Claiming { attempt, .. } = &mut self.locker.phase {
            attempt.claim.answered(node, result);
            self.claim_on(ctx);
        }
    }

    /// Goes on with the next step as long as the last one succeeded.
    fn claim_on<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        loop {
            let gathering = self.is_gathering();
            let Phase::Claiming {
                attempt,
                active,
                boss,
                step,
            } = &mut self.locker.phase
            else {
                return;
            };
            match attempt.claim.verdict() {
                Verdict::Open => return,
                Verdict::Met if gathering => return self.claimed(ctx, false),
                Verdict::Refused => return self.claimed(ctx, false),
                Verdict::Met if *step == 3 => return self.claimed(ctx, true),
                Verdict::Met => {}
            }
            *step += 1;
            let mut nodes: Vec<Atom> = match step {
                1 => vec![boss.clone()],
                2 if *active => vec![ctx.node().clone(), attempt.peer.clone()],
                2 => vec![ctx.node().clone()],
                _ => self.known.keys().cloned().collect(),
            };
            if *step > 1 {
                nodes.retain(|node| node != boss);
            }
            let request = Term::from((Term::atom("set_lock"), attempt.claim.id.to_term()));
            for _ in &nodes {
                attempt.claim.asked();
            }
            let caller = self.locker_pid.clone();
            for node in nodes {
                self.ask(ctx, Asker::Locker, &caller, &node, request.clone());
            }
        }
    }

    /// All our nodes are locked, or one has refused.
    fn claimed<P: Payload>(&mut self, ctx: &mut Context<'_, P>, met: bool) {
        let Phase::Claiming { attempt, active, .. } = mem::take(&mut self.locker.phase) else {
            return;
        };
        let session = self.sessions.get(&attempt.peer);
        let session = session.filter(|session| session.tag == attempt.tag);
        let Some(peer) = session.and_then(|session| session.peer.clone()) else {
            return self.give_back(ctx, &attempt);
        };
        // The passive side always answers, since the other side waits.
        if met || !active {
            self.say_lock_set(ctx, &attempt.peer, &peer, met);
        }
        if !met {
            return self.give_back(ctx, &attempt);
        }
        let offered = self.locker.offers.iter().position(|peer| *peer == attempt.peer);
        if let Some(at) = offered {
            self.locker.offers.remove(at);
        }
        if active && offered.is_none() {
            self.locker.phase = Phase::Waiting(attempt);
        } else {
            self.hold(ctx, attempt);
        }
    }

    fn say_lock_set<P: Payload>(&self, ctx: &mut Context<'_, P>, node: &Atom, peer: &Peer, set: bool) {
        let known = Term::list(self.known.keys().cloned());
        let (verb, us) = (Term::atom("lock_set"), self.locker_pid.clone());
        let message = if peer.version >= VERSION_VERIFIED {
            Term::from((verb, us, set, known, peer.tag.clone()))
        } else {
            Term::from((verb, us, set, known))
        };
        cast(ctx, node, message);
    }

    fn hold<P: Payload>(&mut self, ctx: &mut Context<'_, P>, attempt: Attempt) {
        let (peer, lock) = (attempt.peer.clone(), attempt.claim.id.clone());
        self.locker.phase = Phase::Holding(attempt);
        self.both_locked(ctx, &peer, lock);
    }

    /// The peer's locker has locked its partition, or has failed.
    pub(super) fn lock_offered<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, set: bool) {
        match mem::take(&mut self.locker.phase) {
            Phase::Waiting(attempt) if attempt.peer == *peer => {
                if set {
                    self.hold(ctx, attempt);
                } else {
                    self.give_back(ctx, &attempt);
                }
            }
            phase => {
                self.locker.phase = phase;
                if set && !self.locker.offers.contains(peer) {
                    self.locker.offers.push_back(peer.clone());
                }
            }
        }
    }

    /// The attempt has ended, in success or not: its lock is released.
    pub(super) fn end_attempt<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, tag: i64) {
        self.locker.offers.retain(|offer| offer != peer);
        match mem::take(&mut self.locker.phase) {
            Phase::Waiting(attempt) if attempt.peer == *peer && attempt.tag == tag => self.give_back(ctx, &attempt),
            Phase::Holding(attempt) if attempt.peer == *peer && attempt.tag == tag => {
                self.locker.ready = true;
                self.give_back(ctx, &attempt);
            }
            // A claim goes on to its end. Then its attempt is over, and the locks are released.
            phase => self.locker.phase = phase,
        }
    }

    fn give_back<P: Payload>(&self, ctx: &mut Context<'_, P>, attempt: &Attempt) {
        Self::release(ctx, &attempt.claim.id, &attempt.claim.caller, attempt.claim.held());
    }
}
