//! Calls under way here: the caller of each, and the form of its outcome.
//!
//! | called by | the outcome is |
//! |---|---|
//! | `erpc:execute_call/4` | the exit reason `{Tag, return, Value}`, `{Tag, throw, Value}`, … |
//! | `erpc:execute_cast/3`, `spawn` | the exit reason of a process that runs this function |
//! | the server `rex` | a message: the value, or `{badrpc, {'EXIT', Reason}}` |
//!
//! Nothing here sends: outcomes are made here, and `spawn` sends them.
//!
//! Source: `erpc.erl` and `rpc.erl` of OTP 25.

use crate::{
    function::Outcome,
    gen_server,
    message::{Payload, Process},
    table::Local,
};
use alloc::{boxed::Box, collections::BTreeMap, vec, vec::Vec};
use wire::etf::{Atom, Pid, Ref, Term};

/// How a call was requested, which decides the form of its outcome.
#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// `erpc:execute_call/4`, with the tag of the answer.
    Call { tag: Term },
    /// A function in a process of its own. Interested processes monitor it.
    Spawn,
    /// The server `rex`.
    Rex { to: RexCaller },
}

/// The process that waits for an answer of `rex`.
#[derive(Clone, Debug)]
pub(crate) enum RexCaller {
    /// A `gen_server` call.
    Server(gen_server::From),
    /// A C node, which gets `{rex, Value}`.
    Plain(Pid),
}

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The peer that asked.
    pub(crate) peer: Option<Atom>,
    /// The monitor by which the caller waits for the end.
    pub(crate) request: Option<Ref>,
    pub(crate) form: Form,
    /// The function as in a stack trace.
    pub(crate) frame: Term,
}

/// What to do about an outcome.
pub(crate) enum Verdict<P> {
    /// End for this reason.
    Exit(Term),
    /// Answer, and end normally.
    Answer(Answer),
    /// Go on as this process.
    Later(Box<dyn Process<P>>),
}

/// An answer of `rex`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Call { from: gen_server::From, value: Term },
    Plain { to: Pid, message: Term },
}

/// An outcome that ends the call.
enum Ended {
    Return(Term),
    Throw(Term),
    Exit(Term),
    Error(Term),
}

impl Ended {
    /// The exit reason of a process whose function ended like this.
    fn exit_reason(self, stack: Vec<Term>) -> Term {
        let with_stack = |reason| Term::tuple([reason, Term::List(stack)]);
        match self {
            Self::Return(_) => Term::atom("normal"),
            Self::Throw(value) => with_stack(Term::tuple([Term::atom("nocatch"), value])),
            Self::Exit(reason) => reason,
            Self::Error(reason) => with_stack(reason),
        }
    }
}

/// What an outcome means for the process of `call`; or for a process without a call.
pub(crate) fn verdict<P: Payload>(call: Option<&Call>, outcome: Outcome<P>) -> Verdict<P> {
    let ended = match outcome {
        Outcome::Later(process) => return Verdict::Later(process),
        Outcome::Return(value) => Ended::Return(value),
        Outcome::Throw(value) => Ended::Throw(value),
        Outcome::Exit(reason) => Ended::Exit(reason),
        Outcome::Error(reason) => Ended::Error(reason),
    };
    let Some(call) = call else {
        return Verdict::Exit(ended.exit_reason(Vec::new()));
    };
    let stack = vec![call.frame.clone()];
    match &call.form {
        Form::Call { tag } => Verdict::Exit(tagged(tag.clone(), ended, stack)),
        Form::Spawn => Verdict::Exit(ended.exit_reason(stack)),
        Form::Rex { to } => Verdict::Answer(to.answer(match ended {
            Ended::Return(value) | Ended::Throw(value) => value,
            ended => badrpc_exit(ended.exit_reason(stack)),
        })),
    }
}

/// The exit reason that tells the caller of `erpc:execute_call/4` the outcome.
fn tagged(tag: Term, ended: Ended, stack: Vec<Term>) -> Term {
    let (class, value) = match ended {
        Ended::Return(value) => ("return", value),
        Ended::Throw(value) => ("throw", value),
        Ended::Exit(reason) => ("exit", reason),
        Ended::Error(reason) => return Term::tuple([tag, Term::atom("error"), reason, Term::List(stack)]),
    };
    Term::tuple([tag, Term::atom(class), value])
}

impl RexCaller {
    pub(crate) fn answer(&self, value: Term) -> Answer {
        match self {
            Self::Server(from) => Answer::Call {
                from: from.clone(),
                value,
            },
            Self::Plain(to) => Answer::Plain {
                to: to.clone(),
                message: Term::tuple([Term::atom("rex"), value]),
            },
        }
    }
}

impl Call {
    /// Whether the call is useless without its caller.
    fn is_awaited(&self) -> bool {
        match self.form {
            Form::Call { .. } | Form::Rex { .. } => true,
            Form::Spawn => false,
        }
    }

    /// The answer that must be sent if the process ends without an outcome.
    pub(crate) fn ended(&self, reason: &Term) -> Option<Answer> {
        match &self.form {
            Form::Rex { to } => Some(to.answer(badrpc_exit(reason.clone()))),
            Form::Call { .. } | Form::Spawn => None,
        }
    }
}

/// `{badrpc, {'EXIT', Reason}}`.
fn badrpc_exit(reason: Term) -> Term {
    Term::tuple([Term::atom("badrpc"), Term::tuple([Term::atom("EXIT"), reason])])
}

/// All calls under way, by process, and how many each peer has.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    by_process: BTreeMap<Local, Call>,
    per_peer: BTreeMap<Atom, usize>,
}

impl Calls {
    pub(crate) fn insert(&mut self, process: Local, call: Call) {
        if let Some(peer) = &call.peer {
            *self.per_peer.entry(peer.clone()).or_default() += 1;
        }
        self.by_process.insert(process, call);
    }

    pub(crate) fn get(&self, process: Local) -> Option<&Call> {
        self.by_process.get(&process)
    }

    pub(crate) fn remove(&mut self, process: Local) -> Option<Call> {
        let call = self.by_process.remove(&process)?;
        if let Some(peer) = &call.peer {
            let count = self.per_peer.get_mut(peer).expect("counted when it was inserted");
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(peer);
            }
        }
        Some(call)
    }

    /// The peers with calls, and how many each has.
    pub(crate) fn per_peer(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.per_peer.iter().map(|(peer, count)| (peer, *count))
    }

    /// How many calls of a peer are under way.
    pub(crate) fn count(&self, peer: &Atom) -> usize {
        self.per_peer.get(peer).copied().unwrap_or(0)
    }

    /// Whether the process runs the call of this request, and that call is useless without its caller.
    pub(crate) fn is_for(&self, process: Local, request: &Ref) -> bool {
        self.get(process)
            .is_some_and(|call| call.is_awaited() && call.request.as_ref() == Some(request))
    }

    /// The calls that a peer waits for.
    pub(crate) fn awaited_by(&self, peer: &Atom) -> Vec<Local> {
        if self.count(peer) == 0 {
            return Vec::new();
        }
        let theirs = self
            .by_process
            .iter()
            .filter(|(_, call)| call.is_awaited() && call.peer.as_ref() == Some(peer));
        theirs.map(|(process, _)| *process).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    #[derive(Debug)]
    struct Nothing;
    impl Payload for Nothing {}

    fn call(form: Form) -> Call {
        let frame = Term::tuple([Term::atom("m"), Term::atom("f"), Term::from(0), Term::NIL]);
        Call {
            peer: Some(Atom::new("b@h")),
            request: None,
            form,
            frame,
        }
    }

    fn shown(form: Form, outcome: Outcome<Nothing>) -> String {
        match verdict(Some(&call(form)), outcome) {
            Verdict::Exit(reason) => reason.to_string(),
            Verdict::Answer(Answer::Call { value, .. }) => value.to_string(),
            Verdict::Answer(Answer::Plain { message, .. }) => message.to_string(),
            Verdict::Later(_) => "later".into(),
        }
    }

    fn pid() -> Pid {
        Pid {
            node: Atom::new("b@h"),
            id: 1,
            serial: 0,
            creation: 4,
        }
    }

    #[test]
    fn outcomes_look_as_each_caller_expects() {
        let word = || Term::atom("x");
        let tag = || Form::Call { tag: Term::from(7) };
        assert_eq!(shown(tag(), Outcome::Return(word())), "{7,return,x}");
        assert_eq!(shown(tag(), Outcome::Throw(word())), "{7,throw,x}");
        assert_eq!(shown(tag(), Outcome::Exit(word())), "{7,exit,x}");
        assert_eq!(shown(tag(), Outcome::Error(word())), "{7,error,x,[{m,f,0,[]}]}");

        assert_eq!(shown(Form::Spawn, Outcome::Return(word())), "normal");
        assert_eq!(shown(Form::Spawn, Outcome::Throw(word())), "{{nocatch,x},[{m,f,0,[]}]}");
        assert_eq!(shown(Form::Spawn, Outcome::Exit(word())), "x");
        assert_eq!(shown(Form::Spawn, Outcome::Error(word())), "{x,[{m,f,0,[]}]}");

        let rex = || Form::Rex {
            to: RexCaller::Plain(pid()),
        };
        assert_eq!(shown(rex(), Outcome::Return(word())), "{rex,x}");
        assert_eq!(shown(rex(), Outcome::Throw(word())), "{rex,x}");
        assert_eq!(shown(rex(), Outcome::Exit(word())), "{rex,{badrpc,{'EXIT',x}}}");
        assert_eq!(
            shown(rex(), Outcome::Error(word())),
            "{rex,{badrpc,{'EXIT',{x,[{m,f,0,[]}]}}}}"
        );
    }

    #[test]
    fn calls_are_counted_and_found_by_their_peer() {
        let mut calls = Calls::default();
        let process = |id| Local { id, serial: 0 };
        let peer = Atom::new("b@h");
        calls.insert(process(1), call(Form::Spawn));
        calls.insert(process(2), call(Form::Call { tag: Term::from(1) }));
        assert_eq!(calls.count(&peer), 2);
        assert_eq!(calls.awaited_by(&peer), [process(2)], "a spawned process lives on");
        assert!(calls.remove(process(1)).is_some() && calls.remove(process(1)).is_none());
        assert!(calls.remove(process(2)).is_some());
        assert_eq!(calls.count(&peer), 0);
    }
}
