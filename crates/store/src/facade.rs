//! A facade: the store under another process name, in the manners of another key-value server, so that programs written
//! against that one find it.
//!
//! It holds no data and makes no request of its own. What it is asked it passes to the process `salp` of its node, as
//! any BEAM process would, and tells the answer in its style:
//!
//! | style | is asked | answers |
//! |---|---|---|
//! | [`Style::Server`] | `gen_server` calls and casts, as `salp` itself | bare: `V` for `{ok, V}`, `missing` for `error` |
//! | [`Style::Messages`] | `{set, K, V}`, `{get, K, Pid}`, `{delete, K}`, `{add_node, Node}`, `stop` | `{get, V}` to `Pid` |
//!
//! In style `server` its name is a module, too, whose functions come to the same: `rpc:call(Node, Name, get, [K])`.
//!
//! - What it passes on arrives in the order it came, so whoever writes and then reads reads what was written.
//! - Each call is answered once. `salp` answers within the request timeout; should it not, the facade does a little
//!   later.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use node::{Address, Context, Message, Node, Outcome, Permission, Process, gen_server, server::refuse_system};
use wire::{
    dist,
    etf::{Atom, Pid, Ref, Term},
    reply::ErrorKind,
};

use crate::{ask::Payload, slices::extra_ms, store::NAME};

/// Calls that wait for the store. Further ones are refused as busy.
const CALLS_MAX: usize = 65_536;

/// How much longer than the store itself a facade waits for it.
const GRACE_US: u64 = 1_000_000;

/// In whose manners a facade speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As a `GenServer` that answers with bare values.
    Server,
    /// As an Erlang process that takes plain messages.
    Messages,
}

/// What a facade is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// The name of its process.
    pub name: Atom,
    /// How it speaks.
    pub style: Style,
    /// What a missing key reads as.
    pub missing: Atom,
}

/// The functions of `salp` and of a facade's module, and how many arguments they take. With these they are the requests
/// of `salp`.
const FUNCTIONS: [(&str, u8); 6] = [
    ("get", 1),
    ("put", 2),
    ("put", 3),
    ("delete", 1),
    ("incr", 2),
    ("stats", 0),
];

/// Gives a node, before it starts, a facade of its store, which answers within `request_timeout_ms`.
///
/// # Panics
/// If the name of its process is taken.
pub fn install(node: &mut Node<Payload>, face: &Face, request_timeout_ms: u64) {
    let facade = Facade::new(face, request_timeout_ms);
    let (missing, timeout_us) = (facade.missing.clone(), facade.timeout_us);
    node.add_service(face.name.as_str(), Box::new(facade));
    match face.style {
        Style::Messages => {}
        Style::Server => export_as(node, face.name.as_str(), Some(&missing), timeout_us),
    }
}

/// Gives a node, before it starts, the functions of the module `salp`: the requests of its process, and the answers.
pub fn export(node: &mut Node<Payload>, request_timeout_ms: u64) {
    export_as(node, NAME, None, timeout_us(request_timeout_ms));
}

fn export_as(node: &mut Node<Payload>, module: &str, missing: Option<&Atom>, timeout_us: u64) {
    let errand = Errand {
        missing: missing.cloned(),
    };
    for (function, arity) in FUNCTIONS {
        let errand = errand.clone();
        let called = move |ctx: &mut Context<'_, Payload>, args: Vec<Term>| {
            let request = request(function, args);
            let timeout_us = patience_us(&request, timeout_us);
            ctx.call(&Address::Name(Atom::new(NAME)), request, timeout_us);
            Outcome::Later(Box::new(errand.clone()))
        };
        // As whom the process of the same name answers: everybody who knows the cookie.
        node.export(module, function, arity, Permission::Anyone, Rc::new(called));
    }
}

/// The store answers by its own deadline; this is a little later.
fn timeout_us(request_timeout_ms: u64) -> u64 {
    request_timeout_ms.saturating_mul(1000).saturating_add(GRACE_US)
}

/// As long as the store has for a request of this size, which is no more than it takes in memory.
fn patience_us(request: &Term, timeout_us: u64) -> u64 {
    timeout_us + 1000 * extra_ms(request.held_bytes())
}

/// The request that a function with these arguments is.
fn request(function: &'static str, args: Vec<Term>) -> Term {
    let verb = Term::atom(function);
    if args.is_empty() {
        return verb;
    }
    Term::Tuple([verb].into_iter().chain(args).collect())
}

/// A function under way: it waits for the answer of `salp`.
#[derive(Clone, Debug)]
struct Errand {
    /// What a missing key reads as, if the answer is to be bare.
    missing: Option<Atom>,
}

impl Process<Payload> for Errand {
    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        if let Message::Reply { result, .. } = message {
            let answer = result.unwrap_or_else(refusal);
            ctx.finish(Outcome::Return(match &self.missing {
                Some(missing) => bare(answer, missing),
                None => answer,
            }));
        }
    }
}

/// Who waits for an answer of the store.
#[derive(Debug)]
enum Waiter {
    /// A `gen_server` call.
    Caller(gen_server::From),
    /// The process of a `{get, K, Pid}`.
    Reader(Pid),
}

/// The process.
#[derive(Debug)]
struct Facade {
    style: Style,
    missing: Atom,
    timeout_us: u64,
    store: Address,
    /// By call: at most [`CALLS_MAX`].
    calls: BTreeMap<Ref, Waiter>,
}

impl Facade {
    fn new(face: &Face, request_timeout_ms: u64) -> Self {
        Self {
            style: face.style,
            missing: face.missing.clone(),
            timeout_us: timeout_us(request_timeout_ms),
            store: Address::Name(Atom::new(NAME)),
            calls: BTreeMap::new(),
        }
    }

    /// As a `GenServer`. A `sys` message is refused; what else is neither a call nor a cast is dropped.
    fn server(&mut self, ctx: &mut Context<'_, Payload>, term: Term) {
        match gen_server::parse(term) {
            gen_server::Request::Call { from, request } => self.ask(ctx, Waiter::Caller(from), request),
            gen_server::Request::Cast(request) => self.tell(ctx, request),
            gen_server::Request::Info(term) => refuse_system(ctx, &term),
        }
    }

    /// As a process that takes plain messages. Those it does not know are dropped.
    fn plain(&mut self, ctx: &mut Context<'_, Payload>, term: &Term) {
        if term.is_atom("stop") {
            return wish(ctx, Payload::Leave);
        }
        let Some([Term::Atom(verb), arguments @ ..]) = term.as_tuple() else {
            return;
        };
        match (verb.as_str(), arguments) {
            ("set", [key, value]) => self.tell(ctx, Term::tuple([Term::atom("put"), key.clone(), value.clone()])),
            ("delete", [key]) => self.tell(ctx, Term::tuple([Term::atom("delete"), key.clone()])),
            ("get", [key, Term::Pid(reader)]) => {
                let request = Term::tuple([Term::atom("get"), key.clone()]);
                self.ask(ctx, Waiter::Reader(reader.clone()), request);
            }
            ("add_node", [Term::Atom(name)]) => {
                if let Some(node) = dist::node_name(name.as_bytes()) {
                    wish(ctx, Payload::Add { node });
                }
            }
            _ => {}
        }
    }

    fn tell(&self, ctx: &mut Context<'_, Payload>, request: Term) {
        ctx.send(&self.store, gen_server::cast_term(request));
    }

    fn ask(&mut self, ctx: &mut Context<'_, Payload>, waiter: Waiter, request: Term) {
        if self.calls.len() >= CALLS_MAX {
            let busy = refusal(Term::atom(ErrorKind::Busy.name()));
            return self.answer(ctx, &waiter, busy);
        }
        let timeout_us = patience_us(&request, self.timeout_us);
        let call = ctx.call(&self.store, request, timeout_us);
        self.calls.insert(call, waiter);
    }

    /// Tells what `salp` answered.
    fn answer(&self, ctx: &mut Context<'_, Payload>, waiter: &Waiter, answer: Term) {
        match waiter {
            Waiter::Caller(from) => ctx.reply(from, bare(answer, &self.missing)),
            Waiter::Reader(reader) => {
                let value = reason(&answer).cloned().unwrap_or_else(|| bare(answer, &self.missing));
                ctx.send(&Address::Pid(reader.clone()), Term::tuple([Term::atom("get"), value]));
            }
        }
    }
}

impl Process<Payload> for Facade {
    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        match message {
            Message::Term { term, .. } => match self.style {
                Style::Server => self.server(ctx, term),
                Style::Messages => self.plain(ctx, &term),
            },
            Message::Reply { call, result } => {
                if let Some(waiter) = self.calls.remove(&call) {
                    self.answer(ctx, &waiter, result.unwrap_or_else(refusal));
                }
            }
            // It monitors nobody, links to nobody and sets no timer.
            Message::Payload(_)
            | Message::Exit { .. }
            | Message::Down { .. }
            | Message::Timer { .. }
            | Message::NodeUp { .. }
            | Message::NodeDown { .. }
            | Message::Members(_)
            | Message::Cluster(_)
            | Message::Flush => {}
        }
    }
}

/// An answer of `salp` without its wrapping: a value as it is, `missing` for a key that is not there.
fn bare(answer: Term, missing: &Atom) -> Term {
    match answer {
        Term::Tuple(mut parts) if parts.len() == 2 && parts[0].is_atom("ok") => parts.swap_remove(1),
        Term::Atom(word) if word.as_str() == "error" => Term::Atom(missing.clone()),
        other => other,
    }
}

fn refusal(reason: Term) -> Term {
    Term::tuple([Term::atom("error"), reason])
}

/// Why `salp` refused, if it did.
fn reason(answer: &Term) -> Option<&Term> {
    match answer.as_tuple()? {
        [word, reason] if word.is_atom("error") => Some(reason),
        _ => None,
    }
}

/// Asks something of the store that is no request on a key.
fn wish(ctx: &mut Context<'_, Payload>, payload: Payload) {
    if let Some(store) = ctx.whereis(NAME).cloned() {
        ctx.tell(&store, payload);
    }
}
