//! The process registered as `rex`: the requests of `rpc` that are messages and not spawns.
//!
//! | message | answer |
//! |---|---|
//! | call `{call\|block_call, M, F, Args, Leader}` | the value, or `{badrpc, Reason}` |
//! | cast `{cast, M, F, Args, Leader}` | none |
//! | `{Pid, {call, M, F, Args, Leader}}`, of C nodes | `{rex, Value}` |
//! | `{Pid, features_request}` | `{features_reply, Node, [erpc]}` |
//! | `{Pid, {sbcast, Name, Message}}` | `{rex, Node, Node}` or `{rex, Node, {nonexisting_name, Name}}` |
//! | `{Pid, {send, Name, Message}}` | `{rex, Node, {nonexisting_name, Name}}` if there is no such name |
//!
//! A BEAM runs a `block_call` before its other requests. Here no request waits, so it is a call like any other.
//! Messages that are passed on keep their sender, so no peer can send as a process of this node.
//!
//! Source: `rpc.erl` of OTP 25.

use crate::{
    calls::RexCaller,
    context::Context,
    gen_server::{Request, parse},
    message::{Address, Message, Payload, Process},
    spawn::Applied,
};
use wire::etf::{Atom, Pid, Term};

pub(crate) const NAME: &str = "rex";

#[derive(Debug)]
pub(crate) struct Rex;

impl<P: Payload> Process<P> for Rex {
    fn start(&mut self, ctx: &mut Context<'_, P>) {
        // Any process may link to it, but no other process's end may end it.
        ctx.trap_exit(true);
    }

    fn handle(&mut self, ctx: &mut Context<'_, P>, message: Message<P>) {
        // A message without a sender has no permissions and no quota.
        let Message::Term {
            from: Some(sender),
            term,
        } = message
        else {
            return;
        };
        let peer = (sender.node != *ctx.node()).then_some(&sender.node);
        match parse(term) {
            Request::Call { from, request } => {
                if let Some(what) = called(&request, &["call", "block_call"]) {
                    ctx.core.rex_call(peer, &RexCaller::Server(from), what);
                } else {
                    ctx.reply(&from, Term::tuple([Term::atom("badrpc"), Term::atom("badarg")]));
                }
            }
            Request::Cast(request) => {
                if let Some(what) = called(&request, &["cast"]) {
                    ctx.core.rex_cast(peer, what);
                }
            }
            Request::Info(term) => {
                if let Some([Term::Pid(to), asked]) = term.as_tuple() {
                    asked_plainly(ctx, &sender, to, asked);
                }
            }
        }
    }
}

/// `{Verb, M, F, Args, Leader}`.
fn called(request: &Term, verbs: &[&str]) -> Option<Applied> {
    let [verb, what @ .., _leader] = request.as_tuple()? else {
        return None;
    };
    let is_one = verbs.iter().any(|wanted| verb.is_atom(wanted));
    if is_one { Applied::of(what) } else { None }
}

/// Handles a request of the form `{Pid, Asked}`.
fn asked_plainly<P: Payload>(ctx: &mut Context<'_, P>, sender: &Pid, to: &Pid, asked: &Term) {
    if asked.is_atom("features_request") {
        let features = Term::list([Term::atom("erpc")]);
        let answer = Term::tuple([Term::atom("features_reply"), Term::Atom(ctx.node().clone()), features]);
        return ctx.send_back(to, answer);
    }
    if let Some(what) = called(asked, &["call"]) {
        let peer = (sender.node != *ctx.node()).then_some(&sender.node);
        return ctx.core.rex_call(peer, &RexCaller::Plain(to.clone()), what);
    }
    let Some([verb, Term::Atom(name), message]) = asked.as_tuple() else {
        return;
    };
    let node = Term::Atom(ctx.node().clone());
    let (message, says_ok) = if verb.is_atom("sbcast") {
        (message.clone(), true)
    } else if verb.is_atom("send") {
        (Term::tuple([Term::Pid(to.clone()), message.clone()]), false)
    } else {
        return;
    };
    if ctx.pass_on(sender, name, message) {
        if says_ok {
            ctx.send_back(to, Term::tuple([Term::atom(NAME), node.clone(), node]));
        }
    } else {
        let reason = Term::tuple([Term::atom("nonexisting_name"), Term::Atom(name.clone())]);
        ctx.send_back(to, Term::tuple([Term::atom(NAME), node, reason]));
    }
}

impl<P: Payload> Context<'_, P> {
    /// Sends an answer to a pid. No node is dialled for it.
    fn send_back(&mut self, to: &Pid, term: Term) {
        self.core.send(self.me, &Address::Pid(to.clone()), term, false);
    }

    /// Passes a message to a registered process, with its original sender. Returns false if there is no such process.
    fn pass_on(&mut self, sender: &Pid, name: &Atom, term: Term) -> bool {
        let Some(process) = self.core.registered.find(name) else {
            return false;
        };
        let from = Some(sender.clone());
        self.core.post(process, Message::Term { from, term });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_verb_a_function_arguments_and_a_leader() {
        let word = Term::atom;
        let request = |verb, args: Term| Term::tuple([word(verb), word("m"), word("f"), args, word("user")]);
        let what = called(&request("block_call", Term::list([1_u8])), &["call", "block_call"]).unwrap();
        assert_eq!(
            (what.module.as_str(), what.function.as_str(), what.args.len()),
            ("m", "f", 1)
        );
        assert!(called(&request("cast", Term::NIL), &["call"]).is_none());
        assert!(called(&request("call", word("x")), &["call"]).is_none(), "not a list");
        assert!(called(&Term::tuple([word("call")]), &["call"]).is_none());
    }
}
