//! The locker: takes the lock `global` on both partitions for a join, and keeps it until the names
//! are the same.
//!
//! ```text
//! idle ──chosen by a timer──▶ claiming (active) ──▶ waiting ──the peer has its lock──▶ holding ──joined──▶ idle
//!   └──the peer has its lock─▶ claiming (passive) ─────────────────────────────────────▲
//! ```
//!
//! - One attempt at a time. Offers of others wait until it is over.
//! - The requester of the lock is the sorted pair of the two lockers, the same on both sides: nodes
//!   that both claim give it to both.
//! - The active side claims the peer's node too: so the peer's partition cannot be locked for anyone
//!   else, and of three lockers that wait for each other in a circle at least one fails.

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

/// How long to wait before a peer is chosen: with nobody known, else per known node and at most, in
/// microseconds. Half of it is random, so that two seldom choose each other at once.
const ALONE_US: u64 = 200_000;
const KNOWN_US: u64 = 1_000_000;
const PER_NODE_US: u64 = 100_000;
const WAIT_US_MAX: u64 = 3_000_000;

#[derive(Debug, Default)]
pub(crate) struct Locker {
    phase: Phase,
    /// Peers that have their lock and wait for ours. One entry per session at most.
    offers: VecDeque<Atom>,
    timer: bool,
    /// Choose now: the timer fired, or a join has just succeeded.
    ready: bool,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// Nodes are asked: step 1 the boss, 2 ourselves and the peer, 3 the rest.
    Claiming {
        attempt: Attempt,
        active: bool,
        boss: Atom,
        step: u8,
    },
    /// Our side is locked and the peer knows.
    Waiting(Attempt),
    /// Both are.
    Holding(Attempt),
}

/// For which attempt of `joining` the lock is.
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
    /// What the locker does next, after whatever just happened.
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

    /// Peers that wait to be joined with; those of our own host before others.
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

    /// Goes on with the next step while the last one succeeded.
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

    /// All our nodes are claimed, or one refused.
    fn claimed<P: Payload>(&mut self, ctx: &mut Context<'_, P>, met: bool) {
        let Phase::Claiming { attempt, active, .. } = mem::take(&mut self.locker.phase) else {
            return;
        };
        let session = self.sessions.get(&attempt.peer);
        let session = session.filter(|session| session.tag == attempt.tag);
        let Some(peer) = session.and_then(|session| session.peer.clone()) else {
            return self.give_back(ctx, &attempt);
        };
        // The passive side answers in any case: the other one waits.
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

    /// The peer's locker has its partition, or could not get it.
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

    /// The attempt is over, well or not: its lock is given back.
    pub(super) fn end_attempt<P: Payload>(&mut self, ctx: &mut Context<'_, P>, peer: &Atom, tag: i64) {
        self.locker.offers.retain(|offer| offer != peer);
        match mem::take(&mut self.locker.phase) {
            Phase::Waiting(attempt) if attempt.peer == *peer && attempt.tag == tag => self.give_back(ctx, &attempt),
            Phase::Holding(attempt) if attempt.peer == *peer && attempt.tag == tag => {
                self.locker.ready = true;
                self.give_back(ctx, &attempt);
            }
            // A claim goes on to its end, and then finds that nobody wants it.
            phase => self.locker.phase = phase,
        }
    }

    fn give_back<P: Payload>(&self, ctx: &mut Context<'_, P>, attempt: &Attempt) {
        Self::release(ctx, &attempt.claim.id, &attempt.claim.caller, attempt.claim.held());
    }
}
