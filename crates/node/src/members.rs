//! The process registered as `salp_members`: it sends hellos to peers, receives theirs, and dials. [`Membership`] makes
//! the decisions; this module sends the messages.
//!
//! It receives hellos from the processes of the same name at peers, each as one binary. From this node it receives the
//! terms of [`command_term`], `{propose, [Node]}` and `{unreachable, Node}`. A peer cannot send those, since the sender
//! of each message is known to live on the peer.

use crate::{
    config::Limits,
    context::Context,
    effect::Event,
    global,
    hello::{Hello, Told},
    identity::{Affiliation, ClusterId, Memory},
    membership::{AWAITED_US_MAX, HELLO_EVERY_US, Heard, Membership, Turn},
    message::{Address, Member, MemberState, MembersCommand, Message, Payload, Process},
    timers::TimerId,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::ToString,
    sync::Arc,
    vec,
    vec::Vec,
};
use wire::etf::{Atom, Pid, Term};

pub(crate) const NAME: &str = "salp_members";

/// How long a starting node looks for the nodes that it left in order in its last life.
const SEEK_US: u64 = 2_000_000;
/// A salp node sends its hello within this time after it was connected.
const HELLO_WAIT_US: u64 = 2_000_000;

/// A connected node that is not a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stranger {
    /// It has sent nothing yet.
    Silent { since_us: u64 },
    /// It will send another hello.
    Pending,
    /// It belongs to another cluster, and an event has reported that.
    Refused,
}

pub(crate) struct Members {
    membership: Membership,
    dials_max: usize,
    tick_us: u64,
    /// How long the node looks for the nodes it is to join, and, once started, until when.
    join_wait_us: u64,
    join_until_us: u64,
    view: Arc<[Member]>,
    /// The number of changes of the membership that the view contains.
    viewed: u64,
    /// Connected nodes that are not members.
    strangers: BTreeMap<Atom, Stranger>,
    /// Connected nodes that count as BEAMs.
    guests: Arc<[Atom]>,
    /// When this node stops looking for the nodes it left in order; 0 if it is not looking.
    seeks_until_us: u64,
    /// The memory that was last passed to the shell.
    memory: Memory,
    /// When the next full hello is sent to all peers.
    hello_at_us: u64,
    timer: Option<TimerId>,
}

impl Members {
    pub(crate) fn new(mut membership: Membership, join: &[Atom], limits: &Limits, tick_us: u64) -> Self {
        for node in join {
            membership.add(node, false);
        }
        Self {
            membership,
            dials_max: limits.dials_max,
            tick_us,
            join_wait_us: limits.join_wait_ms * 1000,
            join_until_us: 0,
            view: Arc::from([]),
            viewed: 0,
            strangers: BTreeMap::new(),
            guests: Arc::from([]),
            seeks_until_us: 0,
            memory: Memory::default(),
            hello_at_us: 0,
            timer: None,
        }
    }

    /// Does what follows from any event: dials, publishes the view, sets the next timer.
    fn settle<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        let now_us = ctx.now().monotonic_us;
        while self.dial(ctx, now_us) {}
        self.publish(ctx);
        self.publish_unmet(ctx, now_us);
        self.look_for_former(ctx);
        if let Some(timer) = self.timer.take() {
            ctx.cancel(timer);
        }
        let look_us = now_us + self.tick_us / 8;
        let due_us = [
            self.membership.next_dial_us(now_us),
            self.membership.next_awaited_us(now_us),
            (self.seeks_until_us > 0).then_some(self.seeks_until_us),
        ];
        let next_us = due_us.into_iter().flatten().fold(look_us, u64::min);
        let delay_us = next_us.saturating_sub(now_us).max(1000);
        self.timer = Some(ctx.timer(delay_us, 0));
    }

    /// Dials the nodes that are due. Returns true if one of the dials is over already.
    fn dial<P: Payload>(&mut self, ctx: &mut Context<'_, P>, now_us: u64) -> bool {
        let mut is_over = false;
        for (node, port) in self.membership.dial(now_us, self.dials_max) {
            if !ctx.dial(&node, port) {
                let random = ctx.random();
                self.membership.unreachable(&node, now_us, random);
                is_over = true;
            } else if ctx.silent_us(&node).is_some() {
                // The node was connected before it became known here, so no NodeUp will come.
                self.membership.connected(&node);
                is_over = true;
            }
        }
        is_over
    }

    fn publish<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        if self.viewed == self.membership.changes() {
            return;
        }
        self.viewed = self.membership.changes();
        self.publish_affiliation(ctx);
        let memory = self.membership.memory();
        if memory != self.memory {
            self.memory = memory.clone();
            ctx.remember(memory);
        }
        let view = self.membership.view();
        if view[..] == self.view[..] {
            return;
        }
        for member in changed(&self.view, &view) {
            ctx.event(Event::MemberChanged { member: member.clone() });
        }
        self.view = view.into();
        ctx.publish_members(&self.view);
    }

    /// Publishes the nodes that names and locks wait for. A hidden node takes no part in `global`, so it waits for
    /// none.
    fn publish_unmet<P: Payload>(&self, ctx: &mut Context<'_, P>, now_us: u64) {
        if ctx.core.config.hidden {
            return;
        }
        if ctx.core.agreement.set_unmet(self.membership.awaited(now_us)) {
            ctx.send(&Address::Name(Atom::new(global::NAME)), Term::atom(global::LOOK));
        }
    }

    fn publish_affiliation<P: Payload>(&self, ctx: &mut Context<'_, P>) {
        let (identity, resets) = self.membership.identity();
        let guests = self.guests.clone();
        ctx.publish_affiliation(&Affiliation {
            identity,
            resets,
            guests,
            seeks: self.seeks_until_us > 0,
        });
    }

    /// Ends the search for the nodes that this node left in order: after some time, or once one of them is met.
    fn look_for_former<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        let is_over = ctx.now().monotonic_us >= self.seeks_until_us || !self.membership.is_alone();
        if self.seeks_until_us > 0 && is_over {
            self.seeks_until_us = 0;
            self.publish_affiliation(ctx);
        }
    }

    /// A salp node sends a hello at once. A node that has not is a BEAM, and nothing from it is waited for.
    fn look_for_guests<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        let now_us = ctx.now().monotonic_us;
        let is_guest = |stranger: &Stranger| matches!(stranger, Stranger::Silent { since_us } if now_us >= since_us + HELLO_WAIT_US);
        let guests = self.strangers.iter().filter(|(_, stranger)| is_guest(stranger));
        let guests: Arc<[Atom]> = guests.map(|(node, _)| node.clone()).collect();
        if guests != self.guests {
            self.guests = guests;
            self.publish_affiliation(ctx);
        }
    }

    /// Sends the full hello from time to time, so that a node that missed some news gets all of it in the end.
    fn repeat_hello<P: Payload>(&mut self, ctx: &mut Context<'_, P>) {
        let now_us = ctx.now().monotonic_us;
        if now_us < self.hello_at_us {
            return;
        }
        self.hello_at_us = now_us + HELLO_EVERY_US;
        let hello = self.membership.hello().encode();
        for peer in self.membership.peers() {
            say(ctx, &peer, &hello);
        }
    }

    fn look_for_silence<P: Payload>(&mut self, ctx: &Context<'_, P>) {
        for node in self.membership.peers() {
            if let Some(silent_us) = ctx.silent_us(&node) {
                self.membership.silent(&node, silent_us >= self.tick_us / 2);
            }
        }
    }

    // Messages that arrive

    fn heard<P: Payload>(&mut self, ctx: &mut Context<'_, P>, from: &Pid, bytes: &[u8]) {
        let hello = Hello::decode(bytes).filter(|h| h.sender.name == from.node && h.sender.creation == from.creation);
        let Some(hello) = hello else {
            // Maybe a node of another version, but not a BEAM.
            self.strangers.insert(from.node.clone(), Stranger::Pending);
            let text = from.node.as_str().to_string();
            ctx.event(Event::Note {
                kind: "malformed_hello",
                text,
            });
            return;
        };
        let goes = hello.sender.state == MemberState::Gone;
        let (heard, turn) = self.membership.heard(hello, ctx.now().monotonic_us);
        if turn.resets {
            // Messages that old peers still send must not reach the new data of this node.
            self.publish(ctx);
            self.cut_members(ctx, &from.node);
        }
        match heard {
            Heard::News(news) => {
                self.strangers.remove(&from.node);
                if !news.is_empty() {
                    self.tell_others(ctx, Some(&from.node), news);
                }
                // Closing the connection tells the node that its goodbye was received.
                if goes {
                    ctx.disconnect(&from.node);
                }
            }
            Heard::Full => no_room(ctx, &from.node),
            Heard::Pending => {
                let stranger = self.strangers.entry(from.node.clone()).or_insert(Stranger::Pending);
                if matches!(stranger, Stranger::Silent { .. }) {
                    *stranger = Stranger::Pending;
                }
            }
            Heard::Refused { mismatch, is_fatal } => {
                let before = self.strangers.insert(from.node.clone(), Stranger::Refused);
                if before != Some(Stranger::Refused) || is_fatal {
                    ctx.event(Event::PeerRefused {
                        node: from.node.clone(),
                        mismatch,
                        is_fatal,
                    });
                }
            }
        }
        self.turned(ctx, turn);
    }

    /// Sends the new identity of this node to all connected nodes, if it has changed.
    fn turned<P: Payload>(&mut self, ctx: &mut Context<'_, P>, turn: Turn) {
        if turn.changed {
            let hello = self.membership.hello().encode();
            for node in self.connected() {
                say(ctx, &node, &hello);
            }
        }
    }

    fn connected(&self) -> BTreeSet<Atom> {
        let strangers = self.strangers.keys().cloned();
        strangers.chain(self.membership.peers()).collect()
    }

    /// Closes the connections to all members except the node that was `met` just now. Connections to BEAM nodes stay.
    fn cut_members<P: Payload>(&mut self, ctx: &mut Context<'_, P>, met: &Atom) {
        for node in self.membership.peers() {
            if node != *met {
                ctx.disconnect(&node);
            }
        }
    }

    fn tell_others<P: Payload>(&mut self, ctx: &mut Context<'_, P>, but: Option<&Atom>, news: Vec<Told>) {
        let hello = self.membership.hello_about(news).encode();
        for peer in self.membership.peers() {
            if but != Some(&peer) {
                say(ctx, &peer, &hello);
            }
        }
    }

    fn command<P: Payload>(&mut self, ctx: &mut Context<'_, P>, term: &Term) {
        match term {
            Term::Atom(word) => match word.as_str() {
                "leave" => self.set_own(ctx, MemberState::Leaving),
                "stay" => self.set_own(ctx, MemberState::Up),
                "serve" => self.membership.serve(),
                "form" | "form_provisionally" => {
                    let changed = self.membership.form(word.as_str() == "form_provisionally");
                    let resets = false;
                    self.turned(ctx, Turn { changed, resets });
                }
                "gone" => {
                    // Its peers will close their connections one by one. That need not be reported to the others.
                    ctx.send(
                        &Address::Name(Atom::new(global::NAME)),
                        Term::atom(global::PREPARE_SHUTDOWN),
                    );
                    self.set_own(ctx, MemberState::Gone);
                }
                _ => {}
            },
            Term::Tuple(items) => match items.as_slice() {
                [verb, Term::Atom(node)] if verb.is_atom("add") => self.add(ctx, node),
                [verb, Term::Atom(node)] if verb.is_atom("forget") => {
                    if let Some(gone) = self.membership.forget(node) {
                        self.tell_others(ctx, None, vec![gone]);
                    }
                }
                [verb, Term::Atom(by)] if verb.is_atom("name_taken") => ctx.event(Event::NameTaken {
                    by: by.clone(),
                    is_fatal: self.membership.is_starting(),
                }),
                [verb, Term::Atom(node)] if verb.is_atom("unreachable") => {
                    let (now_us, random) = (ctx.now().monotonic_us, ctx.random());
                    self.membership.unreachable(node, now_us, random);
                }
                [verb, Term::List(nodes)] if verb.is_atom("propose") => {
                    for node in nodes.iter().filter_map(Term::as_atom) {
                        self.membership.add_awaited(node, true, self.join_until_us);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn add<P: Payload>(&mut self, ctx: &mut Context<'_, P>, node: &Atom) {
        let until_us = self.join_until_us.max(ctx.now().monotonic_us + AWAITED_US_MAX);
        if !self.membership.add_awaited(node, false, until_us) {
            no_room(ctx, node);
        }
    }

    fn set_own<P: Payload>(&mut self, ctx: &mut Context<'_, P>, state: MemberState) {
        if self.membership.set_own(state) {
            self.tell_others(ctx, None, Vec::new());
        }
    }
}

impl<P: Payload> Process<P> for Members {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        ctx.trap_exit(true);
        ctx.monitor_nodes();
        let now_us = ctx.now().monotonic_us;
        self.hello_at_us = now_us + HELLO_EVERY_US;
        self.memory = ctx.recalled();
        self.membership.recall(&self.memory);
        if self.memory.cluster.is_none() && !self.memory.members.is_empty() {
            self.seeks_until_us = now_us + SEEK_US;
        }
        let (high, low) = (u128::from(ctx.random()), u128::from(ctx.random()));
        self.membership.draw(ClusterId(high << 64 | low));
        self.join_until_us = now_us.saturating_add(self.join_wait_us);
        self.membership.await_all(self.join_until_us);
        self.settle(ctx);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        match message {
            Message::NodeUp { node, .. } => {
                self.membership.connected(&node);
                let since_us = ctx.now().monotonic_us;
                self.strangers.insert(node.clone(), Stranger::Silent { since_us });
                // Sent to BEAMs too: they drop a message to a name they do not know.
                say(ctx, &node, &self.membership.hello().encode());
            }
            Message::NodeDown { node, .. } => {
                let (now_us, random) = (ctx.now().monotonic_us, ctx.random());
                self.membership.disconnected(&node, now_us, random);
                self.strangers.remove(&node);
            }
            Message::Term { from: Some(from), term } => match term {
                Term::Binary(bytes) if from.node != *ctx.node() => self.heard(ctx, &from, &bytes),
                term if from.node == *ctx.node() => self.command(ctx, &term),
                _ => {}
            },
            Message::Timer { .. } => {
                self.look_for_silence(ctx);
                self.look_for_guests(ctx);
                self.repeat_hello(ctx);
            }
            Message::Payload(_)
            | Message::Term { from: None, .. }
            | Message::Exit { .. }
            | Message::Down { .. }
            | Message::Reply { .. }
            | Message::Members(_)
            | Message::Cluster(_)
            | Message::Flush => return,
        }
        self.settle(ctx);
    }
}

/// The members in `new` that are not the same in `old`. Both are sorted by name.
fn changed<'a>(old: &[Member], new: &'a [Member]) -> impl Iterator<Item = &'a Member> {
    let mut old = old.iter().peekable();
    new.iter().filter(move |member| {
        while old.next_if(|known| known.name < member.name).is_some() {}
        old.next_if(|known| known.name == member.name) != Some(*member)
    })
}

fn no_room<P: Payload>(ctx: &mut Context<'_, P>, node: &Atom) {
    let node = node.as_str();
    ctx.event(Event::Note {
        kind: "members_full",
        text: format!("no room for {node} among the members remembered: forget some that are down"),
    });
}

fn say<P: Payload>(ctx: &mut Context<'_, P>, peer: &Atom, hello: &[u8]) {
    // If the peer is not connected any more, its NodeDown is on its way.
    let _ = ctx.send_bytes(peer, &Atom::new(NAME), hello);
}

/// A command as a message to this process.
pub(crate) fn command_term(command: MembersCommand) -> Term {
    match command {
        MembersCommand::Leave => Term::atom("leave"),
        MembersCommand::Stay => Term::atom("stay"),
        MembersCommand::Gone => Term::atom("gone"),
        MembersCommand::Serve => Term::atom("serve"),
        MembersCommand::Form { provisional: false } => Term::atom("form"),
        MembersCommand::Form { provisional: true } => Term::atom("form_provisionally"),
        MembersCommand::Add { node } => Term::from((Term::atom("add"), node)),
        MembersCommand::Forget { node } => Term::from((Term::atom("forget"), node)),
    }
}

/// Names that discovery found.
pub(crate) fn propose_term(nodes: Vec<Atom>) -> Term {
    Term::from((Term::atom("propose"), Term::list(nodes)))
}

/// A message that a peer is connected to another live node with our name.
pub(crate) fn name_taken_term(by: &Atom) -> Term {
    Term::from((Term::atom("name_taken"), by.clone()))
}

/// A message that a dial has failed.
pub(crate) fn unreachable_term(node: &Atom) -> Term {
    Term::from((Term::atom("unreachable"), node.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[(&str, u32)]) -> Vec<Member> {
        let member = |(name, creation): &(&str, u32)| Member {
            name: Atom::new(name),
            creation: *creation,
            state: MemberState::Up,
            connected: true,
            dist_port: None,
        };
        nodes.iter().map(member).collect()
    }

    #[test]
    fn changed_members_are_new_or_different() {
        let check = |old: &[(&str, u32)], new: &[(&str, u32)], wanted: &[(&str, u32)]| {
            let (old, new) = (view(old), view(new));
            let found: Vec<Member> = changed(&old, &new).cloned().collect();
            assert_eq!(found, view(wanted));
        };
        check(&[], &[], &[]);
        check(&[], &[("a", 1), ("b", 1)], &[("a", 1), ("b", 1)]);
        check(&[("a", 1), ("b", 1)], &[], &[]);
        check(
            &[("b", 1), ("d", 1)],
            &[("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 1)],
            &[("a", 1), ("c", 1), ("d", 2), ("e", 1)],
        );
        check(
            &[("a", 1), ("b", 1), ("c", 1), ("d", 1)],
            &[("b", 2), ("d", 1)],
            &[("b", 2)],
        );
    }
}
