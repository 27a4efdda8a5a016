//! Calls, casts and spawns at other nodes, requested by a process of this node.
//!
//! - [`Context::erpc`] is `erpc:call/5`: a monitored spawn at the other node, whose exit reason is the outcome. It
//!   works with BEAMs, with salp nodes, and with this node itself.
//! - A spawn is a watch like a monitor. Its target is known once the other side has replied.
//! - A process spawned at a BEAM has a group leader at this node, so that its output becomes an event.
//!
//! | result there | error of the reply |
//! |---|---|
//! | `throw(T)` | `{throw, T}` |
//! | `exit(E)` | `{'EXIT', E}` |
//! | `error(R)` | `{'EXIT', {R, Stack}}` |
//! | the process is killed | its exit reason |
//! | the call is refused | `notsup`, `badarg`, `system_limit`, … |
//! | the node is lost or cannot be reached | `noconnection` |
//! | no answer in time | `timeout` |

use crate::{
    calls::Form,
    context::Context,
    gen_server::cast_term,
    message::{Address, Message, Payload},
    monitors::{At, Purpose, Watch},
    scheduler::{Core, Due},
    spawn::Applied,
    table::Local,
};
use alloc::{vec, vec::Vec};
use wire::{
    dist::control::{Monitored, Signal},
    etf::{Atom, Pid, Ref, Term},
};

/// Whether a process spawned at another node is linked to or monitored by the process that spawns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpawnOptions {
    /// Link the two processes.
    pub link: bool,
    /// Monitor the new process: `Message::Down` has the reference of the spawn.
    pub monitor: bool,
}

impl<P: Payload> Context<'_, P> {
    /// Calls a function at a node, like `erpc:call/5`. Exactly one `Message::Reply` follows, after `timeout_us`
    /// microseconds at the latest: the value, or an error from the table of this module. `demonitor` gives up the call.
    /// Do not use text from users as the name of a module or function: a BEAM keeps every atom forever.
    pub fn erpc(&mut self, node: &Atom, module: &str, function: &str, args: Vec<Term>, timeout_us: u64) -> Ref {
        self.core
            .erpc(self.me, node, applied(module, function, args), timeout_us)
    }

    /// Makes the same call at several nodes, like `erpc:multicall/5`. Each node gives one reply.
    pub fn multicall(
        &mut self,
        nodes: &[Atom],
        module: &str,
        function: &str,
        args: &[Term],
        timeout_us: u64,
    ) -> Vec<Ref> {
        let call = |node| self.erpc(node, module, function, args.to_vec(), timeout_us);
        nodes.iter().map(call).collect()
    }

    /// Starts a process at a node, like `spawn_request/5`. Exactly one `Message::Reply` follows: the pid, or why there
    /// is none. With `monitor`, `Message::Down` comes with the same reference.
    pub fn spawn_at(
        &mut self,
        node: &Atom,
        module: &str,
        function: &str,
        args: Vec<Term>,
        options: SpawnOptions,
    ) -> Ref {
        self.core
            .spawn_at(self.me, node, applied(module, function, args), options)
    }

    /// Sends a cast, like `gen_server:cast/2`.
    pub fn cast(&mut self, to: &Address, request: Term) {
        self.send(to, cast_term(request));
    }

    /// Sends the same cast to a name at several nodes, like `gen_server:abcast/3`.
    pub fn abcast(&mut self, nodes: &[Atom], name: &Atom, request: &Term) {
        for node in nodes {
            self.cast(&at(node, name), request.clone());
        }
    }

    /// Makes the same call to a name at several nodes, like `gen_server:multi_call/4`. Each node gives one reply.
    pub fn multi_call(&mut self, nodes: &[Atom], name: &Atom, request: &Term, timeout_us: u64) -> Vec<Ref> {
        let call = |node| self.call(&at(node, name), request.clone(), timeout_us);
        nodes.iter().map(call).collect()
    }
}

fn at(node: &Atom, name: &Atom) -> Address {
    Address::Remote {
        node: node.clone(),
        name: name.clone(),
    }
}

fn applied(module: &str, function: &str, args: Vec<Term>) -> Applied {
    Applied {
        module: Atom::new(module),
        function: Atom::new(function),
        args,
    }
}

impl<P: Payload> Core<P> {
    fn erpc(&mut self, me: Local, node: &Atom, what: Applied, timeout_us: u64) -> Ref {
        let (number, reference) = self.next_reference();
        let at_us = self.now.monotonic_us.saturating_add(timeout_us);
        let timer = self.timers.set(at_us, Due::Call { number });
        let tag = Term::Ref(reference.clone());
        let purpose = Purpose::Erpc { timer };
        if *node == self.config.name {
            let begun = self.begin_call(None, Some(&reference), Form::Call { tag }, what);
            self.watch_own(me, number, purpose, begun);
            return reference;
        }
        self.watch_there(me, node, number, purpose);
        let args = vec![
            tag,
            Term::Atom(what.module),
            Term::Atom(what.function),
            Term::List(what.args),
        ];
        let what = applied("erpc", "execute_call", args);
        self.request_spawn(me, node, &reference, what, vec![Term::atom("monitor")]);
        reference
    }

    fn spawn_at(&mut self, me: Local, node: &Atom, what: Applied, options: SpawnOptions) -> Ref {
        let (number, reference) = self.next_reference();
        let SpawnOptions { link, monitor } = options;
        let purpose = Purpose::Spawn { link, monitor };
        if *node == self.config.name {
            let begun = self.begin_call(None, None, Form::Spawn, what);
            self.watch_own(me, number, purpose, begun);
            return reference;
        }
        self.watch_there(me, node, number, purpose);
        let mut wire_options = Vec::new();
        if monitor {
            wire_options.push(Term::atom("monitor"));
        }
        if link {
            wire_options.push(Term::atom("link"));
        }
        self.request_spawn(me, node, &reference, what, wire_options);
        reference
    }

    fn next_reference(&mut self) -> (u64, Ref) {
        self.last_reference += 1;
        (self.last_reference, self.reference(self.last_reference))
    }

    /// Watches a process that a node was asked to spawn. Until its pid is known, the target is the request itself.
    fn watch_there(&mut self, watcher: Local, node: &Atom, number: u64, purpose: Purpose) {
        let watch = Watch {
            watcher,
            target: Address::Alias(self.reference(number)),
            at: At::There(node.clone()),
            purpose,
        };
        self.monitors.watch(number, watch);
    }

    /// Watches a process that was spawned at this node, and starts it.
    fn watch_own(&mut self, watcher: Local, number: u64, purpose: Purpose, begun: Result<Local, &'static str>) {
        let (target, at) = match begun {
            Ok(process) => (Address::Pid(self.pid(process)), At::Here(process)),
            Err(_) => (Address::Alias(self.reference(number)), At::Nowhere),
        };
        self.monitors.watch(
            number,
            Watch {
                watcher,
                target,
                at,
                purpose,
            },
        );
        match begun {
            Ok(process) => {
                if let Purpose::Spawn { .. } = purpose {
                    let pid = self.pid(process);
                    self.spawned(number, watcher, purpose, pid, true);
                }
                self.post_start(process);
            }
            Err(reason) => self.post_down(number, Term::atom(reason)),
        }
    }

    fn request_spawn(&mut self, me: Local, node: &Atom, request: &Ref, what: Applied, options: Vec<Term>) {
        let Ok(arity) = u8::try_from(what.args.len()) else {
            // No function has this many arguments.
            if let Some(number) = self.number(request) {
                self.post_down(number, Term::atom("badarg"));
            }
            return;
        };
        let signal = Signal::SpawnRequest {
            request: request.clone(),
            from: self.pid(me),
            group_leader: self.pid(self.group_leader),
            module: what.module,
            function: what.function,
            arity,
            options,
            arguments: Term::List(what.args),
        };
        self.transmit(node, signal, true);
    }

    /// A peer replies to a spawn that this node requested.
    pub(crate) fn spawn_replied(
        &mut self,
        peer: &Atom,
        request: &Ref,
        to: &Pid,
        ties: SpawnOptions,
        pid: Result<Pid, Atom>,
    ) {
        let number = self.number(request);
        let watch = number.and_then(|number| Some((number, self.monitors.get(number)?)));
        let Some((number, watch)) = watch.filter(|(_, watch)| watch.at.is_at(peer)) else {
            if let Ok(pid) = pid {
                self.spawned_in_vain(request, to, ties, &pid);
            }
            return;
        };
        let (watcher, purpose) = (watch.watcher, watch.purpose);
        match (purpose, pid) {
            (Purpose::Erpc { .. }, Ok(pid)) => self.monitors.aim(number, Address::Pid(pid), purpose),
            (Purpose::Spawn { .. }, Ok(pid)) => self.spawned(number, watcher, purpose, pid, ties.monitor),
            (Purpose::Erpc { .. } | Purpose::Spawn { .. }, Err(reason)) => self.post_down(number, Term::Atom(reason)),
            (Purpose::Monitor | Purpose::Call { .. }, _) => {}
        }
    }

    /// The process exists. Makes the requested link and monitor, and notifies the requester.
    fn spawned(&mut self, number: u64, watcher: Local, purpose: Purpose, pid: Pid, monitored: bool) {
        let Purpose::Spawn { link, monitor } = purpose else {
            return;
        };
        if link {
            self.tie(watcher, &pid);
        }
        if monitor && monitored {
            self.monitors.aim(number, Address::Pid(pid.clone()), Purpose::Monitor);
        } else {
            self.monitors.unwatch(number);
        }
        let call = self.reference(number);
        let result = Ok(Term::Pid(pid));
        self.post(watcher, Message::Reply { call, result });
    }

    /// Makes a link that both sides know.
    fn tie(&mut self, watcher: Local, pid: &Pid) {
        self.links.link(watcher, pid);
        if let Some(process) = self.table.find(pid) {
            let watcher = self.pid(watcher);
            self.links.link(process, &watcher);
        }
    }

    /// The new process is not needed any more. Removes its monitor and breaks its link.
    fn spawned_in_vain(&mut self, request: &Ref, to: &Pid, ties: SpawnOptions, pid: &Pid) {
        let node = pid.node.clone();
        if ties.monitor {
            let signal = Signal::Demonitor {
                from: to.clone(),
                to: Monitored::Pid(pid.clone()),
                reference: request.clone(),
            };
            self.transmit(&node, signal, false);
        }
        if ties.link {
            self.exit_there(pid, to.clone(), Term::atom("noproc"), true);
        }
    }
}

/// The outcome of an `erpc` call, from the exit reason of its process.
pub(crate) fn outcome(call: &Ref, reason: Term) -> Result<Term, Term> {
    let Some([Term::Ref(tag), class, value, rest @ ..]) = reason.as_tuple() else {
        return Err(reason);
    };
    if tag != call {
        return Err(reason);
    }
    let value = value.clone();
    match (class.as_atom().map(Atom::as_str), rest) {
        (Some("return"), []) => Ok(value),
        (Some("throw"), []) => Err(Term::tuple([Term::atom("throw"), value])),
        (Some("exit"), []) => Err(exit_term(value)),
        (Some("error"), [stack]) => Err(exit_term(Term::tuple([value, stack.clone()]))),
        (Some("error"), []) => Err(value),
        _ => Err(reason),
    }
}

fn exit_term(reason: Term) -> Term {
    Term::tuple([Term::atom("EXIT"), reason])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn reference(word: u32) -> Ref {
        Ref {
            node: Atom::new("a@h"),
            creation: 4,
            len: 3,
            words: [word, 0, 0, 0, 0],
        }
    }

    fn shown(items: impl IntoIterator<Item = Term>) -> String {
        let tag = [Term::Ref(reference(1))];
        let reason = Term::tuple(tag.into_iter().chain(items).collect::<Vec<_>>());
        match outcome(&reference(1), reason) {
            Ok(value) => alloc::format!("ok {value}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_class_of_outcome() {
        let (word, x) = (Term::atom, || Term::atom("x"));
        assert_eq!(shown([word("return"), x()]), "ok x");
        assert_eq!(shown([word("throw"), x()]), "{throw,x}");
        assert_eq!(shown([word("exit"), x()]), "{'EXIT',x}");
        assert_eq!(shown([word("error"), x(), Term::NIL]), "{'EXIT',{x,[]}}");
        let erpc = Term::tuple([word("erpc"), word("badarg")]);
        assert_eq!(shown([word("error"), erpc]), "{erpc,badarg}");
    }

    #[test]
    fn a_malformed_outcome_is_an_exit_reason() {
        let killed = Term::atom("killed");
        assert_eq!(outcome(&reference(1), killed.clone()), Err(killed));
        let other = Term::tuple([Term::Ref(reference(2)), Term::atom("return"), Term::from(1)]);
        assert_eq!(outcome(&reference(1), other.clone()), Err(other));
    }
}
