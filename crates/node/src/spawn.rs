//! Spawns for peers: a SPAWN_REQUEST comes in, a process of its own runs it, and a SPAWN_REPLY goes out.
//!
//! - The reply is sent before the function begins, so that it comes before everything that the function causes. It is
//!   also sent to callers that wanted none, because their monitor exists only by it.
//! - The process is like any other: it can be monitored, linked to and ended by `exit/2`.
//! - A call ends when it is not needed any more: when its caller removes the monitor, or is lost. Spawned and cast
//!   processes live on.
//! - A peer has at most `spawns_per_peer_max` of them. A further one is refused with `system_limit`. So no peer can
//!   fill the process table.
//!
//! Source: *Distribution Protocol*, ERTS reference manual; `erpc.erl` of OTP 25.

use crate::{
    calls::{Answer, Call, Form, RexCaller, Verdict, verdict},
    context::Context,
    function::{Function, Outcome, Permission},
    message::{Address, MemberState, Message, Payload, Process},
    monitors::Guest,
    scheduler::Core,
    table::{Body, Local},
};
use alloc::{boxed::Box, rc::Rc, vec::Vec};
use core::mem;
use wire::{
    dist::control::Signal,
    etf::{Atom, Pid, Ref, Term},
};

/// A SPAWN_REQUEST. Its group leader is ignored, since functions of this node print nothing.
pub(crate) struct SpawnRequest {
    pub(crate) request: Ref,
    pub(crate) from: Pid,
    pub(crate) what: Applied,
    pub(crate) options: Vec<Term>,
}

/// A function applied to arguments.
pub(crate) struct Applied {
    pub(crate) module: Atom,
    pub(crate) function: Atom,
    pub(crate) args: Vec<Term>,
}

impl Applied {
    /// The function to run and its caller: `erpc` wraps the function that it requests.
    fn unwrapped(self) -> Result<(Form, Self), &'static str> {
        match (self.module.as_str(), self.function.as_str(), self.args.as_slice()) {
            ("erpc", "execute_call", [tag, rest @ ..]) if rest.len() == 3 => {
                let form = Form::Call { tag: tag.clone() };
                Ok((form, Self::of(rest).ok_or("badarg")?))
            }
            ("erpc", "execute_cast", rest) if rest.len() == 3 => Ok((Form::Spawn, Self::of(rest).ok_or("badarg")?)),
            _ => Ok((Form::Spawn, self)),
        }
    }

    /// Reads `[M, F, Args]`.
    pub(crate) fn of(terms: &[Term]) -> Option<Self> {
        match terms {
            [Term::Atom(module), Term::Atom(function), Term::List(args)] => Some(Self {
                module: module.clone(),
                function: function.clone(),
                args: args.clone(),
            }),
            _ => None,
        }
    }

    /// The entry in a stack trace: with the arguments if there is no such function, otherwise with their number.
    fn frame(&self, is_known: bool) -> Term {
        let arity = i64::try_from(self.args.len()).unwrap_or(i64::MAX);
        let args = if is_known {
            Term::Int(arity)
        } else {
            Term::List(self.args.clone())
        };
        Term::tuple([
            Term::Atom(self.module.clone()),
            Term::Atom(self.function.clone()),
            args,
            Term::NIL,
        ])
    }
}

/// Whether a link and a monitor are requested; `None` if an option is not one of `spawn_opt/5`. The other options have
/// no meaning here.
fn link_and_monitor(options: &[Term]) -> Option<(bool, bool)> {
    const TUNING: [&str; 8] = [
        "priority",
        "fullsweep_after",
        "min_heap_size",
        "min_bin_vheap_size",
        "max_heap_size",
        "message_queue_data",
        "async_dist",
        "scheduler",
    ];
    let (mut link, mut monitor) = (false, false);
    for option in options {
        match option {
            Term::Atom(word) if word.as_str() == "link" => link = true,
            Term::Atom(word) if word.as_str() == "monitor" => monitor = true,
            Term::Tuple(pair) => match pair.as_slice() {
                [name, _] if name.is_atom("monitor") => monitor = true,
                [Term::Atom(name), _] if TUNING.contains(&name.as_str()) => {}
                _ => return None,
            },
            _ => return None,
        }
    }
    Some((link, monitor))
}

impl<P: Payload> Core<P> {
    /// A peer requests a process.
    pub(crate) fn spawn_requested(&mut self, asked: SpawnRequest) {
        let SpawnRequest {
            request,
            from,
            what,
            options,
        } = asked;
        let begun = self.begin_for(&request, &from, what, &options);
        let (link, monitor, outcome) = match begun {
            Ok((process, link, monitor)) => (link, monitor, Ok(self.pid(process))),
            Err(reason) => (false, false, Err(Atom::new(reason))),
        };
        let node = from.node.clone();
        let answer = Signal::SpawnReply {
            request,
            to: from,
            link,
            monitor,
            outcome,
        };
        self.transmit(&node, answer, false);
        if let Ok((process, ..)) = begun {
            self.post_start(process);
        }
    }

    /// The new process, with its link and monitor; or why there is none.
    fn begin_for(
        &mut self,
        request: &Ref,
        from: &Pid,
        what: Applied,
        options: &[Term],
    ) -> Result<(Local, bool, bool), &'static str> {
        let (link, monitor) = link_and_monitor(options).ok_or("badopt")?;
        let limits = &self.config.limits;
        let links_full = link && self.links.count(&from.node) >= limits.links_per_peer_max;
        let monitors_full = monitor && self.monitors.guests(&from.node) >= limits.monitors_per_peer_max;
        if links_full || monitors_full {
            return Err("system_limit");
        }
        let (form, what) = what.unwrapped()?;
        let process = self.begin_call(Some(&from.node), Some(request), form, what)?;
        if link {
            self.links.linked(process, from);
        }
        if monitor {
            self.monitors.invite(Guest {
                watcher: from.clone(),
                reference: request.clone(),
                name: None,
                target: process,
            });
        }
        Ok((process, link, monitor))
    }

    /// A process for a call, which must still be started; or why there is none. Without a `peer`, this node made the
    /// request.
    pub(crate) fn begin_call(
        &mut self,
        peer: Option<&Atom>,
        request: Option<&Ref>,
        form: Form,
        what: Applied,
    ) -> Result<Local, &'static str> {
        let export = self.functions.find(&what.module, &what.function, what.args.len());
        let function = export.map(|export| (export.permission, export.function.clone()));
        if let (Some(peer), Some((permission, _))) = (peer, &function)
            && !self.may_call(peer, *permission)
        {
            return Err("notsup");
        }
        if peer.is_some_and(|peer| self.calls.count(peer) >= self.config.limits.spawns_per_peer_max) {
            return Err("system_limit");
        }
        let call = Call {
            peer: peer.cloned(),
            request: request.cloned(),
            form,
            frame: what.frame(function.is_some()),
        };
        let calling = Box::new(Calling {
            function: function.map(|(_, function)| function),
            args: what.args,
            later: None,
        });
        let process = self.table.add(Body::Idle(self.guarded(calling)));
        self.calls.insert(process, call);
        Ok(process)
    }

    fn may_call(&self, peer: &Atom, permission: Permission) -> bool {
        match permission {
            Permission::Anyone => true,
            Permission::Member => self
                .members()
                .iter()
                .any(|member| member.name == *peer && member.connected && member.state != MemberState::Gone),
            Permission::Nobody => false,
        }
    }

    /// A call by the server `rex`, answered with a message. Without a `peer`, this node made the request.
    pub(crate) fn rex_call(&mut self, peer: Option<&Atom>, to: &RexCaller, what: Applied) {
        let form = Form::Rex { to: to.clone() };
        match self.begin_call(peer, None, form, what) {
            Ok(process) => self.post_start(process),
            Err(reason) => {
                let refusal = Term::tuple([Term::atom("badrpc"), Term::atom(reason)]);
                self.answer_call(to.answer(refusal));
            }
        }
    }

    /// Like `rex_call`, but no process waits for an answer.
    pub(crate) fn rex_cast(&mut self, peer: Option<&Atom>, what: Applied) {
        if let Ok(process) = self.begin_call(peer, None, Form::Spawn, what) {
            self.post_start(process);
        }
    }

    fn answer_call(&mut self, answer: Answer) {
        match answer {
            Answer::Call { from, value } => self.reply(self.net_kernel, &from, value),
            Answer::Plain { to, message } => self.send(self.net_kernel, &Address::Pid(to), message, false),
        }
    }

    /// The process has ended. Returns true if it ran a call: then its end concerns only its caller.
    pub(crate) fn call_ended(&mut self, process: Local, reason: &Term) -> bool {
        let Some(call) = self.calls.remove(process) else {
            return false;
        };
        if let Some(answer) = call.ended(reason) {
            self.answer_call(answer);
        }
        true
    }

    /// The caller does not wait for this request any more.
    pub(crate) fn forget_request(&mut self, process: Local, request: &Ref) {
        if self.calls.is_for(process, request) {
            self.cancel_call(process);
        }
    }

    /// A peer is lost, so its calls are not needed any more.
    pub(crate) fn cancel_calls(&mut self, peer: &Atom) {
        for process in self.calls.awaited_by(peer) {
            self.cancel_call(process);
        }
    }

    /// The exit is queued, since the process may be the one that is running now.
    fn cancel_call(&mut self, process: Local) {
        let from = self.pid(self.net_kernel);
        self.post_exit(process, from, Term::atom("kill"), false);
    }
}

/// The process of a call. It runs the function and ends, or becomes the process that the function returned.
struct Calling<P: Payload> {
    /// None if there is no such function.
    function: Option<Rc<dyn Function<P>>>,
    args: Vec<Term>,
    later: Option<Box<dyn Process<P>>>,
}

impl<P: Payload> Calling<P> {
    fn go_on(&mut self, ctx: &mut Context<'_, P>) {
        while let Some(next) = ctx.next.take() {
            self.later.insert(next).start(ctx);
        }
    }
}

impl<P: Payload> Process<P> for Calling<P> {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        let args = mem::take(&mut self.args);
        let outcome = match &self.function {
            Some(function) => function.call(ctx, args),
            None => Outcome::Error(Term::atom("undef")),
        };
        ctx.finish(outcome);
        self.go_on(ctx);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        if let Some(process) = &mut self.later {
            process.handle(ctx, message);
            self.go_on(ctx);
        }
    }
}

impl<P: Payload> Context<'_, P> {
    /// Ends this process with the outcome of its call, which the caller gets. After [`Outcome::Later`], the process
    /// goes on as that process instead.
    ///
    /// A process without a call ends with the exit reason of a spawned function, and cannot go on as another process.
    pub fn finish(&mut self, outcome: Outcome<P>) {
        match verdict(self.core.calls.get(self.me), outcome) {
            Verdict::Exit(reason) => self.exit(reason),
            Verdict::Answer(answer) => {
                self.core.calls.remove(self.me);
                self.core.answer_call(answer);
                self.exit(Term::atom("normal"));
            }
            Verdict::Later(process) => self.next = Some(process),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &'static str) -> Term {
        Term::tuple([Term::atom(name), Term::from(1)])
    }

    #[test]
    fn options_of_a_spawn() {
        let word = Term::atom;
        assert_eq!(link_and_monitor(&[]), Some((false, false)));
        assert_eq!(link_and_monitor(&[word("monitor"), word("link")]), Some((true, true)));
        assert_eq!(
            link_and_monitor(&[pair("monitor"), pair("priority")]),
            Some((false, true))
        );
        assert_eq!(link_and_monitor(&[word("linked")]), None);
        assert_eq!(link_and_monitor(&[pair("colour")]), None);
        assert_eq!(link_and_monitor(&[Term::from(1)]), None);
    }

    #[test]
    fn erpc_is_unwrapped_and_nothing_else() {
        let applied = |function, args| Applied {
            module: Atom::new("erpc"),
            function: Atom::new(function),
            args,
        };
        let inner = || [Term::atom("m"), Term::atom("f"), Term::list([1_u8, 2])];
        let call: Vec<Term> = [Term::from(9)].into_iter().chain(inner()).collect();

        let (form, what) = applied("execute_call", call).unwrapped().unwrap();
        assert!(matches!(form, Form::Call { tag } if tag == Term::from(9)));
        assert_eq!((what.module.as_str(), what.args.len()), ("m", 2));

        let (form, what) = applied("execute_cast", inner().to_vec()).unwrapped().unwrap();
        assert!(matches!(form, Form::Spawn) && what.function.as_str() == "f");

        let (_, what) = applied("execute_cast", vec_of(2)).unwrapped().unwrap();
        assert_eq!(
            what.function.as_str(),
            "execute_cast",
            "another arity is another function"
        );
        assert!(applied("execute_cast", vec_of(3)).unwrapped().is_err());
    }

    fn vec_of(count: u8) -> Vec<Term> {
        (0..count).map(Term::from).collect()
    }
}
