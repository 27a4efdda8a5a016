//! Functions that other nodes may call: the store as module `salp`, and functions of the shell.
//!
//! | function | does |
//! |---|---|
//! | `salp:get/1, put/2, put/3, delete/1, incr/2, stats/0` | the call that the registered process `salp` answers, with its answer |
//! | `salp:keys/0` | all keys of the cluster; more than [`KEYS_MAX`] are `{error, too_many}` |
//! | `salp:cluster/0` | a list of maps, one for each node |
//! | `init:stop/0,1`, `'Elixir.System':stop/0,1` | the node leaves as on SIGTERM |
//! | `net_adm:names/0` | what the port mapper of this machine says |
//!
//! Every node with the cookie may call them, as on a BEAM.

use std::{rc::Rc, time::Duration};

use node::{Address, Context, Function, Input, Message, Node, Outcome, Permission, Process, Term};
use store::{
    ask::{Ask, NodeStatus, Payload, Session, Status},
    facade,
    store::NAME,
    term,
};
use tokio::{task::spawn_local, time::sleep};
use wire::{
    reply::{Replies, Reply},
    request::Batch,
};

use crate::{core::WeakShell, epmd, handle::Wish, running};

/// Most keys in one answer.
const KEYS_MAX: usize = 1_000_000;

type Ctx<'a, 'b> = &'a mut Context<'b, Payload>;

/// What the functions need from the shell.
#[derive(Clone)]
pub(crate) struct Needs {
    pub(crate) shell: WeakShell,
    /// The port of EPMD. `None`: EPMD is not asked.
    pub(crate) epmd: Option<u16>,
    /// How long the store may take to answer, in milliseconds.
    pub(crate) request_timeout_ms: u64,
    /// How long a stopping node may take to hand over its data.
    pub(crate) leave_timeout: Duration,
}

/// Exports all functions, before the node starts.
pub(crate) fn export(node: &mut Node<Payload>, needs: &Needs) {
    export_store(node, needs.request_timeout_ms);
    let stop = {
        let needs = needs.clone();
        shared(move |_, _| {
            spawn_local(stop(needs.clone()));
            Outcome::Return(Term::atom("ok"))
        })
    };
    for (module, arity) in [("init", 0), ("init", 1), ("Elixir.System", 0), ("Elixir.System", 1)] {
        node.export(module, "stop", arity, Permission::Anyone, stop.clone());
    }
    let needs = needs.clone();
    let names = shared(move |_, _| Outcome::Later(Box::new(Names(needs.clone()))));
    node.export("net_adm", "names", 0, Permission::Anyone, names);
}

fn export_store(node: &mut Node<Payload>, request_timeout_ms: u64) {
    facade::export(node, request_timeout_ms);
    let mut add = |name, arity, function: Rc<dyn Function<Payload>>| {
        node.export(NAME, name, arity, Permission::Anyone, function);
    };
    add("keys", 0, shared(|_, _| Outcome::Later(Box::new(Keys))));
    add("cluster", 0, shared(|_, _| Outcome::Later(Box::new(Cluster))));
}

fn shared(function: impl Fn(Ctx<'_, '_>, Vec<Term>) -> Outcome<Payload> + 'static) -> Rc<dyn Function<Payload>> {
    Rc::new(function)
}

fn error(reason: Term) -> Term {
    Term::from((Term::atom("error"), reason))
}

/// Sends the store a message. Without a store the call ends with an error.
fn tell_store(ctx: Ctx<'_, '_>, payload: Payload) {
    match ctx.whereis(NAME).cloned() {
        Some(store) => ctx.tell(&store, payload),
        None => ctx.finish(Outcome::Return(error(Term::atom("noproc")))),
    }
}

/// Asks for all keys, as a client does.
struct Keys;

impl Process<Payload> for Keys {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        let mut batch = Batch::new();
        batch.push(&[b"KEYS", b"*"]);
        let ask = Ask::new(ctx.me().clone(), Session::new(0, true), batch);
        tell_store(ctx, Payload::Ask(Box::new(ask)));
    }

    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        if let Message::Payload(Payload::Ask(ask)) = message {
            ctx.finish(Outcome::Return(keys_term(&ask.batch.replies)));
        }
    }
}

fn keys_term(replies: &Replies) -> Term {
    let mut tokens = replies.tokens();
    match tokens.next() {
        Some(Reply::Array(count)) if count > KEYS_MAX => error(Term::atom("too_many")),
        Some(Reply::Array(_)) => Term::List(
            tokens
                .filter_map(|token| match token {
                    Reply::Bulk(key) => Some(term::of_key(key).unwrap_or_else(|| Term::binary(key))),
                    _ => None,
                })
                .collect(),
        ),
        Some(Reply::Error(kind, _)) => error(Term::atom(kind.name())),
        _ => error(Term::atom("internal")),
    }
}

/// Asks for the cluster as this node sees it.
struct Cluster;

impl Process<Payload> for Cluster {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        let to = ctx.me().clone();
        tell_store(ctx, Payload::StatusOf { to });
    }

    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        if let Message::Payload(Payload::Status(status)) = message {
            ctx.finish(Outcome::Return(cluster_term(&status)));
        }
    }
}

fn cluster_term(status: &Status) -> Term {
    Term::list(status.nodes.iter().map(node_term))
}

fn node_term(node: &NodeStatus) -> Term {
    let NodeStatus {
        member,
        vitals,
        stop_risk,
    } = node;
    Term::map([
        (Term::atom("name"), Term::Atom(member.name.clone())),
        (Term::atom("state"), Term::atom(member.state.word())),
        (Term::atom("keys_primary"), Term::from(vitals.keys_primary)),
        (Term::atom("keys_held"), Term::from(vitals.keys_held)),
        (Term::atom("memory_bytes"), Term::from(vitals.memory_bytes)),
        (Term::atom("ops_per_second"), Term::from(vitals.ops_per_second)),
        (
            Term::atom("safe_to_stop"),
            Term::atom(if stop_risk.is_none() { "true" } else { "false" }),
        ),
        (
            Term::atom("stop_risk"),
            match stop_risk {
                None => Term::atom("none"),
                Some(risk) => Term::binary(risk.to_string().into_bytes()),
            },
        ),
    ])
}

/// Hands over all data and ends, at the latest when the time for it is over.
async fn stop(needs: Needs) {
    if let Some(shell) = needs.shell.upgrade() {
        shell.core().wish(Wish::Leave);
    }
    sleep(needs.leave_timeout).await;
    if let Some(shell) = needs.shell.upgrade() {
        shell.core().wish(Wish::CutShort);
    }
    sleep(running::LAST_REPLIES).await;
    if let Some(shell) = needs.shell.upgrade() {
        shell.core().stop();
    }
}

/// Asks the port mapper.
struct Names(Needs);

impl Process<Payload> for Names {
    fn start(&mut self, ctx: &mut Context<'_, Payload>) {
        let (needs, me) = (self.0.clone(), ctx.me().clone());
        spawn_local(async move {
            let term = names_term(needs.epmd).await;
            if let Some(shell) = needs.shell.upgrade() {
                // Sent in its own name: no other process can send this answer.
                let (to, from) = (Address::Pid(me.clone()), Some(me));
                let message = Message::Term { from, term };
                shell.core().input(Input::Message { to, message });
            }
        });
    }

    fn handle(&mut self, ctx: &mut Context<'_, Payload>, message: Message<Payload>) {
        if let Message::Term { from, term } = message
            && from.as_ref() == Some(ctx.me())
        {
            ctx.finish(Outcome::Return(term));
        }
    }
}

/// `{ok, [{Name, Port}]}`, or `{error, address}` if no port mapper answers.
async fn names_term(epmd: Option<u16>) -> Term {
    let Some(port) = epmd else {
        return error(Term::atom("address"));
    };
    match epmd::names("127.0.0.1", port).await {
        Ok(names) => {
            let names = names
                .iter()
                .map(|(name, port)| Term::from((Term::chars(name), Term::from(*port))));
            Term::from((Term::atom("ok"), Term::list(names)))
        }
        Err(_) => error(Term::atom("address")),
    }
}
