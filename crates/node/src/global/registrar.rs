//! Locks at many nodes at once: for changes of names (the registrar), and for processes of this node.
//!
//! - Changes of names wait in a queue, and are made one at a time. Each locks the boss, and then all known nodes. If no
//!   node became known meanwhile, it is sent to all of them; then they are unlocked.
//! - If a lock is taken, the locks obtained so far are released. The next try comes after a random sleep, which doubles
//!   up to eight seconds.

use super::{
    Asker, Global, TIMER_LOCK, TIMER_REGISTRAR,
    claim::{Claim, Verdict},
    locks::LockId,
    names::held_bytes,
};
use crate::{context::Context, gen_server::From, message::Payload};
use alloc::{collections::VecDeque, vec, vec::Vec};
use core::mem;
use wire::etf::{Atom, Pid, Term};

/// Most changes of names that wait. A further one is answered `no`.
const TASKS_MAX: usize = 10_000;
/// Most locks that processes of this node wait for. A further one is answered `false`.
const HOLDINGS_MAX: usize = 10_000;
/// Longest first sleep, and longest sleep of all, in milliseconds.
const SLEEP_MS: u64 = 250;
const SLEEP_MS_MAX: u64 = 8000;

#[derive(Debug, Default)]
pub(crate) struct Registrar {
    tasks: VecDeque<Task>,
    phase: Phase,
    failures: u32,
}

/// One change of names.
#[derive(Debug)]
struct Task {
    from: From,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Register { name: Term, pid: Pid, method: Term },
    Unregister { name: Term },
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Sleeping,
    /// It waits until this node agrees with the others.
    Parked,
    /// Step 1: the boss. Step 2: the other nodes known at the start.
    Claiming {
        claim: Claim,
        step: u8,
        nodes: Vec<Atom>,
    },
    /// The nodes get the change. `open` of them have not answered.
    Telling {
        claim: Claim,
        open: usize,
    },
}

/// A lock that a process of this node requests or releases.
#[derive(Debug)]
pub(crate) struct Holding {
    from: From,
    id: LockId,
    /// The nodes; if not given, all known nodes.
    nodes: Option<Vec<Atom>>,
    /// None: forever.
    retries: Option<u32>,
    failures: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// These nodes were asked.
    Claiming(Claim, Vec<Atom>),
    Sleeping,
    /// It waits until this node agrees with the others.
    Parked,
    Releasing {
        open: usize,
    },
}

/// Requests of processes of this node
impl Global {
    pub(super) fn asked_here<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: From, request: &[Term]) {
        match request {
            [verb, name, Term::Pid(pid), method] if verb.is_atom("register_name") => {
                let (name, pid, method) = (name.clone(), pid.clone(), method.clone());
                self.add_task(ctx, from, Change::Register { name, pid, method });
            }
            [verb, name] if verb.is_atom("unregister_name") => {
                let name = name.clone();
                self.add_task(ctx, from, Change::Unregister { name });
            }
            [verb, resource, nodes, retries] if verb.is_atom("lock") => {
                let retries = retries.as_u64().map(|times| u32::try_from(times).unwrap_or(u32::MAX));
                self.add_holding(ctx, from, resource, nodes, retries, Stage::Sleeping);
            }
            [verb, resource, nodes] if verb.is_atom("unlock") => {
                self.add_holding(ctx, from, resource, nodes, None, Stage::Releasing { open: 0 });
            }
            _ => {}
        }
    }
}

/// Names
impl Global {
    fn add_task<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: From, change: Change) {
        if self.registrar.tasks.len() >= TASKS_MAX {
            return ctx.reply(&from, Term::atom("no"));
        }
        self.registrar.tasks.push_back(Task { from, change });
        if matches!(self.registrar.phase, Phase::Idle) {
            self.next_task(ctx);
        }
    }

    pub(super) fn registrar_woken<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        self.registrar.phase = Phase::Idle;
        self.next_task(ctx);
    }

    fn next_task<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if self.registrar.tasks.is_empty() {
            return;
        }
        let caller = self.registrar_pid.clone();
        let claim = Claim::new(LockId::global(Term::Pid(caller.clone())), caller);
        let nodes = self.partition(ctx);
        self.registrar.phase = Phase::Claiming { claim, step: 0, nodes };
        self.claim_names(ctx);
    }

    pub(super) fn registrar_answered<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        node: Atom,
        result: &Result<Term, Term>,
    ) {
        match &mut self.registrar.phase {
            Phase::Claiming { claim, .. } => {
                claim.answered(node, result);
                self.claim_names(ctx);
            }
            Phase::Telling { open, .. } => {
                *open -= 1;
                if *open == 0 {
                    self.finish_task(ctx, true);
                }
            }
            Phase::Idle | Phase::Sleeping | Phase::Parked => {}
        }
    }

    fn claim_names<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        loop {
            let (boss, must_wait) = (self.boss(ctx), self.must_wait(ctx));
            let Phase::Claiming { claim, step, nodes } = &mut self.registrar.phase else {
                return;
            };
            match claim.verdict() {
                Verdict::Open => return,
                Verdict::Met if must_wait => return self.pause(ctx, Phase::Parked),
                Verdict::Refused => return self.sleep(ctx),
                Verdict::Met if *step == 2 => return self.tell_change(ctx),
                Verdict::Met => {}
            }
            *step += 1;
            let asked: Vec<Atom> = if *step == 1 {
                vec![boss]
            } else {
                let held = claim.held().to_vec();
                nodes.iter().filter(|node| !held.contains(node)).cloned().collect()
            };
            let request = Term::from((Term::atom("set_lock"), claim.id.to_term()));
            for _ in &asked {
                claim.asked();
            }
            let caller = self.registrar_pid.clone();
            for node in asked {
                self.ask(ctx, Asker::Registrar, &caller, &node, request.clone());
            }
        }
    }

    /// Begins `phase`. Releases the locks of a change that was under way.
    fn pause<P: Payload>(&mut self, ctx: &mut Context<'_, P>, phase: Phase) {
        if let Phase::Claiming { claim, .. } = mem::replace(&mut self.registrar.phase, phase) {
            Self::release(ctx, &claim.id, &claim.caller, claim.held());
        }
    }

    /// This node agrees with the others now, so waiting changes go on.
    pub(super) fn names_go_on<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if matches!(self.registrar.phase, Phase::Parked) {
            self.registrar_woken(ctx);
        }
    }

    fn sleep<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        self.pause(ctx, Phase::Sleeping);
        let delay_us = sleep_us(self.registrar.failures, ctx.random());
        self.registrar.failures += 1;
        ctx.timer(delay_us, TIMER_REGISTRAR);
    }

    /// All nodes are locked: sends the change, unless there is nothing to change.
    fn tell_change<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        let Phase::Claiming { claim, nodes, .. } = mem::take(&mut self.registrar.phase) else {
            return;
        };
        if self.known.keys().any(|node| !nodes.contains(node)) {
            let step = 2;
            self.registrar.phase = Phase::Claiming { claim, step, nodes };
            return self.sleep(ctx);
        }
        let Some(task) = self.registrar.tasks.front() else {
            return;
        };
        let us = ctx.node().clone();
        let request = match &task.change {
            Change::Register { name, pid, method } => {
                let (told, limits) = (ctx.core.global_names.told(), &ctx.core.config.limits);
                let has_room = told.has_room(&us, held_bytes(name, method), limits);
                let free = ctx.whereis_global(name).is_none() && has_room;
                let verb = Term::atom("register");
                free.then(|| Term::from((verb, name.clone(), pid.clone(), method.clone())))
            }
            Change::Unregister { name } => {
                let taken = ctx.core.global_names.find(name).is_some();
                taken.then(|| Term::from((Term::atom("unregister"), name.clone())))
            }
        };
        let told = request.is_some();
        let open = if told { nodes.len() } else { 0 };
        self.registrar.phase = Phase::Telling { claim, open };
        let caller = self.registrar_pid.clone();
        match request {
            Some(request) => {
                for node in nodes {
                    self.ask(ctx, Asker::Registrar, &caller, &node, request.clone());
                }
            }
            None => self.finish_task(ctx, false),
        }
    }

    fn finish_task<P: Payload>(&mut self, ctx: &mut Context<'_, P>, done: bool) {
        if let Phase::Telling { claim, .. } = mem::take(&mut self.registrar.phase) {
            Self::release(ctx, &claim.id, &claim.caller, claim.held());
        }
        self.registrar.failures = 0;
        if let Some(task) = self.registrar.tasks.pop_front() {
            ctx.reply(&task.from, Term::atom(if done { "yes" } else { "no" }));
        }
        self.next_task(ctx);
    }
}

/// Locks of processes of this node
impl Global {
    fn add_holding<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        from: From,
        resource: &Term,
        nodes: &Term,
        retries: Option<u32>,
        stage: Stage,
    ) {
        let releases = matches!(stage, Stage::Releasing { .. });
        // A holder must be able to release its lock, however many requests wait for it.
        let most = if releases { 2 * HOLDINGS_MAX } else { HOLDINGS_MAX };
        if self.holdings.len() >= most {
            return ctx.reply(&from, Term::from(false));
        }
        let named = nodes
            .as_list()
            .map(|nodes| nodes.iter().filter_map(Term::as_atom).cloned().collect());
        let id = LockId {
            resource: resource.clone(),
            requester: Term::Pid(from.pid.clone()),
        };
        self.last_holding += 1;
        let number = self.last_holding;
        let holding = Holding {
            from,
            id,
            nodes: named,
            retries,
            failures: 0,
            stage,
        };
        self.holdings.insert(number, holding);
        if releases {
            self.release_holding(ctx, number);
        } else {
            self.claim_holding(ctx, number);
        }
    }

    /// Asks all the nodes at once, if the requesting process still lives.
    pub(super) fn claim_holding<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        let (all, must_wait) = (self.partition(ctx), self.must_wait(ctx));
        let Some(holding) = self.holdings.get_mut(&number) else {
            return;
        };
        if !ctx.is_alive(&holding.from.pid) {
            self.holdings.remove(&number);
            return;
        }
        if must_wait && holding.nodes.is_none() {
            holding.stage = Stage::Parked;
            self.parked.locks.insert(number);
            return;
        }
        let nodes = holding.nodes.clone().unwrap_or(all);
        let mut claim = Claim::new(holding.id.clone(), holding.from.pid.clone());
        // This node's own table is checked first. If the lock is taken here, no other node need be asked.
        if nodes.contains(ctx.node()) && !ctx.core.global_locks.allows(&holding.id) {
            claim.refuse();
            holding.stage = Stage::Claiming(claim, Vec::new());
        } else {
            holding.stage = Stage::Claiming(claim, Vec::new());
            self.claim_on_too(ctx, number, &nodes);
        }
        self.settle_holding(ctx, number);
    }

    /// Asks further nodes for a lock that is being claimed.
    fn claim_on_too<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64, nodes: &[Atom]) {
        let Some(holding) = self.holdings.get_mut(&number) else {
            return;
        };
        let Stage::Claiming(claim, asked) = &mut holding.stage else {
            return;
        };
        for _ in nodes {
            claim.asked();
        }
        asked.extend(nodes.iter().cloned());
        let caller = holding.from.pid.clone();
        let request = Term::from((Term::atom("set_lock"), holding.id.to_term()));
        for node in nodes {
            self.ask(ctx, Asker::Holding(number), &caller, node, request.clone());
        }
    }

    fn release_holding<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        // Nodes that are not reached have no locks of this node.
        let mut all = self.partition(ctx);
        all.retain(|node| !self.dials.wants(node));
        let Some(holding) = self.holdings.get_mut(&number) else {
            return;
        };
        let nodes = holding.nodes.clone().unwrap_or(all);
        holding.stage = Stage::Releasing { open: nodes.len() };
        let caller = holding.from.pid.clone();
        let request = Term::from((Term::atom("del_lock"), holding.id.to_term()));
        for node in &nodes {
            self.ask(ctx, Asker::Holding(number), &caller, node, request.clone());
        }
        self.settle_holding(ctx, number);
    }

    pub(super) fn holding_answered<P: Payload>(
        &mut self,
        ctx: &mut Context<'_, P>,
        number: u64,
        node: Atom,
        result: &Result<Term, Term>,
    ) {
        match self.holdings.get_mut(&number).map(|holding| &mut holding.stage) {
            Some(Stage::Claiming(claim, _)) => claim.answered(node, result),
            Some(Stage::Releasing { open }) => *open -= 1,
            Some(Stage::Sleeping | Stage::Parked) | None => {}
        }
        self.settle_holding(ctx, number);
    }

    fn settle_holding<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        let Some(holding) = self.holdings.get(&number) else {
            return;
        };
        match &holding.stage {
            Stage::Sleeping | Stage::Parked => {}
            Stage::Releasing { open: 0 } => self.answer_holding(ctx, number, true),
            Stage::Releasing { .. } => {}
            Stage::Claiming(claim, asked) => match claim.verdict() {
                Verdict::Open => {}
                Verdict::Refused => self.holding_refused(ctx, number),
                Verdict::Met if holding.nodes.is_some() => self.answer_holding(ctx, number, true),
                // A node came meanwhile that may know another holder of the lock.
                Verdict::Met if self.must_wait(ctx) => {
                    Self::release(ctx, &claim.id, &claim.caller, claim.held());
                    self.claim_holding(ctx, number);
                }
                Verdict::Met => {
                    let mut newer = self.partition(ctx);
                    newer.retain(|node| !asked.contains(node));
                    if newer.is_empty() {
                        self.answer_holding(ctx, number, true);
                    } else {
                        self.claim_on_too(ctx, number, &newer);
                    }
                }
            },
        }
    }

    /// A node refused. The lock is tried again later, or this was the last try.
    fn holding_refused<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64) {
        let Some(holding) = self.holdings.get_mut(&number) else {
            return;
        };
        if let Stage::Claiming(claim, _) = mem::replace(&mut holding.stage, Stage::Sleeping) {
            Self::release(ctx, &claim.id, &claim.caller, claim.held());
        }
        if holding.retries == Some(0) {
            return self.answer_holding(ctx, number, false);
        }
        holding.retries = holding.retries.map(|retries| retries - 1);
        let delay_us = sleep_us(holding.failures, ctx.random());
        holding.failures += 1;
        ctx.timer(delay_us, TIMER_LOCK + number);
    }

    fn answer_holding<P: Payload>(&mut self, ctx: &mut Context<'_, P>, number: u64, answer: bool) {
        if let Some(holding) = self.holdings.remove(&number) {
            ctx.reply(&holding.from, Term::from(answer));
        }
    }
}

/// A random time after this many failures in a row, in microseconds.
fn sleep_us(failures: u32, random: u64) -> u64 {
    let most_ms = (SLEEP_MS << failures.min(5)).min(SLEEP_MS_MAX);
    1000 + random % (most_ms * 1000)
}
