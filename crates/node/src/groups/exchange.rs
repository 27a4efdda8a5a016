//! The exchange between scopes of the same name at different nodes.
//!
//! ```text
//! unknown ──discover: sync to it, discover to it──▶ told
//!    │                                              ▲  │ each discover: sync to it
//!    └──sync: its members──▶ known ──discover───────┘  │ each join and leave of ours: to it
//! unknown ◀──its end, or the loss of its node──────────┘
//! ```

use super::{Asked, Change, Peer, Talk};
use crate::{
    context::{Context, NodeKind},
    effect::Event,
    message::{Address, Message, Payload, Process},
    monitors::Purpose,
    scheduler::Core,
    table::Local,
};
use alloc::{format, string::String, vec, vec::Vec};
use wire::etf::{Atom, Pid, Ref};

/// How long a peer that does not send its members is waited for, in microseconds.
const ASKED_US_MAX: u64 = 5_000_000;

/// Why a peer's message about groups closes its connection.
enum Breach {
    Forged,
    Quota(&'static str),
}

impl<P: Payload> Core<P> {
    /// Asks the scope of this name at a peer, if there is one, for its members.
    fn discover(&mut self, process: Local, name: &Atom, node: &Atom) {
        let peer = self.pid(process);
        let (node, name) = (node.clone(), name.clone());
        let to = Address::Remote {
            node: node.clone(),
            name,
        };
        self.send(process, &to, Talk::Discover { peer }.term(), false);
        self.stop_waiting_for(process, &node);
        let monitor = self.monitor(process, &to, Purpose::Monitor);
        let until_us = self.now.monotonic_us + ASKED_US_MAX;
        if let Some(scope) = self.scope_of(process) {
            scope.asked.insert(node, Asked { monitor, until_us });
        }
        self.set_timer(process, ASKED_US_MAX, 0);
    }

    /// A peer has sent its members, or will not send them.
    fn stop_waiting_for(&mut self, process: Local, node: &Atom) {
        let asked = self.scope_of(process).and_then(|scope| scope.asked.remove(node));
        if let Some(number) = asked.and_then(|asked| self.number(&asked.monitor)) {
            self.demonitor(process, number);
        }
    }

    /// Gives up peers that took too long.
    fn give_up_silent_scopes(&mut self, process: Local) {
        let now_us = self.now.monotonic_us;
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        let late = scope.asked.iter().filter(|(_, asked)| now_us >= asked.until_us);
        let late: Vec<Atom> = late.map(|(node, _)| node.clone()).collect();
        let name = scope.name.clone();
        for node in late {
            self.stop_waiting_for(process, &node);
            self.event(Event::Note {
                kind: "groups_silent",
                text: format!(
                    "{} has not told the members of its groups of {} for 5 s: it is not waited for",
                    node.as_str(),
                    name.as_str()
                ),
            });
        }
    }

    fn scope_said(&mut self, process: Local, from: &Pid, talk: Talk) {
        let up = self.connections.up(&from.node);
        let visible = up.is_some_and(|up| !up.hidden() && up.owns(from));
        if !visible || talk.peer() != from {
            return;
        }
        let result = self.check_bounds(&talk).and_then(|()| {
            if let Talk::Discover { .. } = talk {
                self.discovered(process, from);
                return Ok(());
            }
            let changes = self.apply(process, from, talk);
            self.notify(process, &changes);
            self.check_held(process, from)
        });
        let (reason, detail) = match result {
            Ok(()) => return,
            Err(Breach::Forged) => (
                "protocol",
                String::from("it puts processes into groups that are not its own"),
            ),
            Err(Breach::Quota(what)) => ("quota", format!("it holds too many {what}")),
        };
        if let Some((id, ..)) = self.connections.up_mut(&from.node) {
            self.cut(id, reason, detail);
        }
    }

    /// Checks a message before any work is done for it: it may only concern the peer's own processes, within the
    /// limits.
    fn check_bounds(&self, talk: &Talk) -> Result<(), Breach> {
        let peer = talk.peer();
        let joins_max = self.config.limits.joins_per_peer_max;
        let is_theirs = |pid: &Pid| pid.node == peer.node && pid.creation == peer.creation;
        let mut pids = 0;
        for pid in talk.pids() {
            if !is_theirs(pid) {
                return Err(Breach::Forged);
            }
            pids += 1;
        }
        // Either one process leaves many groups, or many leave one.
        let steps = match talk {
            Talk::Leave { groups, .. } => groups.len().saturating_mul(pids),
            Talk::Discover { .. } | Talk::Sync { .. } | Talk::Join { .. } => pids,
        };
        if steps > joins_max {
            return Err(Breach::Quota("group members"));
        }
        Ok(())
    }

    fn check_held(&mut self, process: Local, from: &Pid) -> Result<(), Breach> {
        let limits = &self.config.limits;
        let (joins_max, bytes_max) = (limits.joins_per_peer_max, limits.group_bytes_per_peer_max);
        let held = self.scope_of(process).map(|scope| scope.roster.held(&from.node));
        match held {
            Some((joins, _)) if joins > joins_max => Err(Breach::Quota("group members")),
            Some((_, bytes)) if bytes > bytes_max => Err(Breach::Quota("bytes of group names")),
            Some(_) | None => Ok(()),
        }
    }

    /// Sends all our members to a scope that asks. If the scope is new, asks for its members too.
    fn discovered(&mut self, process: Local, from: &Pid) {
        let us = self.config.name.clone();
        let is_new = self.meet(process, from);
        let peer = self.pid(process);
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        let groups = scope.roster.all_of(&us);
        let groups = groups.map(|(group, pids)| (group.clone(), pids)).collect();
        if let Some(known) = scope.peers.get_mut(&from.node) {
            known.told = true;
        }
        let to = Address::Pid(from.clone());
        let sync = Talk::Sync {
            peer: peer.clone(),
            groups,
        };
        self.send(process, &to, sync.term(), false);
        if is_new {
            self.send(process, &to, Talk::Discover { peer }.term(), false);
        }
    }

    /// Adds and monitors a scope of a connected peer. Returns false if it was known.
    fn meet(&mut self, process: Local, from: &Pid) -> bool {
        let Some(scope) = self.scope_of(process) else {
            return false;
        };
        if scope.peers.get(&from.node).is_some_and(|known| known.pid == *from) {
            return false;
        }
        self.forget_scope_at(process, &from.node);
        let monitor = self.monitor(process, &Address::Pid(from.clone()), Purpose::Monitor);
        let peer = Peer {
            pid: from.clone(),
            monitor,
            told: false,
        };
        if let Some(scope) = self.scope_of(process) {
            scope.peers.insert(from.node.clone(), peer);
        }
        true
    }

    fn apply(&mut self, process: Local, from: &Pid, talk: Talk) -> Vec<Change> {
        if let Talk::Sync { .. } = talk {
            self.stop_waiting_for(process, &from.node);
            self.meet(process, from);
        }
        let Some(scope) = self.scope_of(process) else {
            return Vec::new();
        };
        let node = &from.node;
        let known = scope.peers.get(node).is_some_and(|peer| peer.pid == *from);
        let roster = &mut scope.roster;
        match talk {
            // A late message from before the peer was lost. Its next sync will have this change.
            _ if !known => Vec::new(),
            Talk::Discover { .. } => Vec::new(),
            Talk::Sync { groups, .. } => roster.replace(node, groups),
            Talk::Join { group, pids, .. } => {
                for pid in &pids {
                    roster.join(node, &group, pid);
                }
                let joined = true;
                let change = Change { joined, group, pids };
                if change.pids.is_empty() { vec![] } else { vec![change] }
            }
            Talk::Leave { pids, groups, .. } => {
                let mut changes = Vec::new();
                for group in groups {
                    let members = pids.iter().filter(|pid| roster.leave(node, &group, pid));
                    let pids: Vec<Pid> = members.cloned().collect();
                    if !pids.is_empty() {
                        let joined = false;
                        changes.push(Change { joined, group, pids });
                    }
                }
                changes
            }
        }
    }

    /// The scope of a peer is lost, and its members are removed.
    fn scope_lost(&mut self, process: Local, monitor: &Ref) {
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        scope.asked.retain(|_, asked| asked.monitor != *monitor);
        let lost = scope.peers.iter().find(|(_, peer)| peer.monitor == *monitor);
        if let Some(node) = lost.map(|(node, _)| node.clone()) {
            self.forget_scope_at(process, &node);
        }
    }

    fn forget_scope_at(&mut self, process: Local, node: &Atom) {
        let Some(scope) = self.scope_of(process) else {
            return;
        };
        let Some(peer) = scope.peers.remove(node) else {
            return;
        };
        let changes = scope.roster.forget(node);
        if let Some(number) = self.number(&peer.monitor) {
            self.demonitor(process, number);
        }
        self.notify(process, &changes);
    }
}

/// The process of a scope: gets notified of new peers, and receives the messages of their scopes.
#[derive(Debug)]
pub(super) struct Talker {
    pub(super) scope: Atom,
}

impl<P: Payload> Process<P> for Talker {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        // Any process may link to it, but no other process's end may end it.
        ctx.trap_exit(true);
        ctx.monitor_nodes();
        for node in ctx.nodes(NodeKind::Visible) {
            ctx.core.discover(ctx.me, &self.scope, &node);
        }
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        match message {
            Message::NodeUp {
                node, hidden: false, ..
            } => ctx.core.discover(ctx.me, &self.scope, &node),
            Message::Down { monitor, .. } => ctx.core.scope_lost(ctx.me, &monitor),
            Message::Timer { .. } => ctx.core.give_up_silent_scopes(ctx.me),
            Message::Term { from: Some(from), term } => {
                if let Some(talk) = Talk::read(term) {
                    ctx.core.scope_said(ctx.me, &from, talk);
                }
            }
            _ => {}
        }
    }
}
