//! A facade: the store under another process name, with the protocol of another key-value server, so that programs
//! written for that server work with it.
//!
//! It has no data and makes no requests of its own. It passes requests to the process `salp` of its node, like any BEAM
//! process, and returns the answers in its style:
//!
//! | style | requests | answers |
//! |---|---|---|
//! | [`Style::Server`] | `gen_server` calls and casts, as `salp` itself | bare: `V` for `{ok, V}`, `missing` for `error` |
//! | [`Style::Messages`] | `{set, K, V}`, `{get, K, Pid}`, `{delete, K}`, `{add_node, Node}`, `stop` | `{get, V}` to `Pid` |
//!
//! In style `server`, its name is also a module with functions for the same requests: `rpc:call(Node, Name, get, [K])`.
//!
//! - It passes requests on in order of arrival, so a process that writes and then reads sees its own write.
//! - Each call is answered once. `salp` answers within the request timeout. If it does not, the facade answers a little
//!   later.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use node::{Address, Context, Message, Node, Outcome, Permission, Process, gen_server, server::refuse_system};
use wire::{
    dist,
    etf::{Atom, Pid, Ref, Term},
    reply::ErrorKind,
};

use crate::{ask::Payload, slices::extra_ms, store::NAME};

/// Most calls that wait for the store. Further ones are refused as busy.
const CALLS_MAX: usize = 65_536;

/// How much longer than the store's deadline a facade waits.
const GRACE_US: u64 = 1_000_000;

/// The protocol of a facade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A `GenServer` that answers with bare values.
    Server,
    /// An Erlang process that takes plain messages.
    Messages,
}

/// The settings of a facade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Face {
    /// The name of its process.
    pub name: Atom,
    /// Its protocol.
    pub style: Style,
    /// The answer for a missing key.
    pub missing: Atom,
}

/// The functions of the module `salp` and of a facade's module, with their numbers of arguments. A function with its
/// arguments is a request of `salp`.
const FUNCTIONS: [(&str, u8); 6] = [
    ("get", 1),
    ("put", 2),
    ("put", 3),
    ("delete", 1),
    ("incr", 2),
    ("stats", 0),
];

/// Adds a facade of the store to a node that has not started. It answers within `request_timeout_ms`.
///
/// # Panics
/// If a process with its name exists.
pub fn install(node: &mut Node<Payload>, face: &Face, request_timeout_ms: u64) {
    let facade = Facade::new(face, request_timeout_ms);
    let (missing, timeout_us) = (facade.missing.clone(), facade.timeout_us);
    node.add_service(face.name.as_str(), Box::new(facade));
    match face.style {
        Style::Messages => {}
        Style::Server => export_as(node, face.name.as_str(), Some(&missing), timeout_us),
    }
}

/// Adds the functions of the module `salp` to a node that has not started: they make the requests of its process and
/// return the answers.
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
        // The same permission as for the process of this name: every peer that knows the cookie.
        node.export(module, function, arity, Permission::Anyone, Rc::new(called));
    }
}

/// A little later than the deadline by which the store answers.
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

/// A function call that waits for the answer of `salp`.
#[derive(Clone, Debug)]
struct Errand {
    /// The answer for a missing key, if the function returns bare values.
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

/// The process that waits for an answer of the store.
#[derive(Debug)]
enum Waiter {
    /// A `gen_server` call.
    Caller(gen_server::From),
    /// The `Pid` of a `{get, K, Pid}`.
    Reader(Pid),
}

/// The process of a facade.
#[derive(Debug)]
struct Facade {
    style: Style,
    missing: Atom,
    timeout_us: u64,
    store: Address,
    /// The waiting processes by call: at most [`CALLS_MAX`].
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

    /// Handles a message as a `GenServer`. A `sys` message is refused. Terms that are neither a call nor a cast are
    /// dropped.
    fn server(&mut self, ctx: &mut Context<'_, Payload>, term: Term) {
        match gen_server::parse(term) {
            gen_server::Request::Call { from, request } => self.ask(ctx, Waiter::Caller(from), request),
            gen_server::Request::Cast(request) => self.tell(ctx, request),
            gen_server::Request::Info(term) => refuse_system(ctx, &term),
        }
    }

    /// Handles a plain message. Unknown messages are dropped.
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

    /// Passes on an answer of `salp`.
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
            // A facade has no monitors, links or timers.
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

/// Unwraps an answer of `salp`: the value alone, or `missing` for a missing key.
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

/// The reason, if `salp` refused.
fn reason(answer: &Term) -> Option<&Term> {
    match answer.as_tuple()? {
        [word, reason] if word.is_atom("error") => Some(reason),
        _ => None,
    }
}

/// Sends the store a request that does not concern a key.
fn wish(ctx: &mut Context<'_, Payload>, payload: Payload) {
    if let Some(store) = ctx.whereis(NAME).cloned() {
        ctx.tell(&store, payload);
    }
}
