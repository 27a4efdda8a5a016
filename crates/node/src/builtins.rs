//! Functions of a BEAM that this node has too: its name, the nodes it knows, the processes it runs. They only read.
//!
//! `erlang:node/0, nodes/0, nodes/1, whereis/1, registered/0, is_process_alive/1, is_alive/0, system_info/1` and
//! `'Elixir.Node':self/0, list/0, list/1`, with the errors of a BEAM; and functions on what the cluster shares
//! ([`shared`]).

mod shared;

use crate::{
    context::{Context, NodeKind},
    function::{Export, Function, Functions, Outcome, Permission},
    message::Payload,
};
use alloc::{rc::Rc, vec::Vec};
use wire::etf::{Atom, Term};

/// The release whose protocols this node speaks. Tools ask for it to know what they may send.
const OTP_RELEASE: &str = "25";

/// A function that only reads.
type Read<P> = fn(&mut Context<'_, P>, &[Term]) -> Outcome<P>;

/// Exports all of these functions.
pub(crate) fn export<P: Payload>(functions: &mut Functions<P>) {
    const ERLANG: &str = "erlang";
    const NODE: &str = "Elixir.Node";
    let mut add = |module, name, arity, read: Read<P>| {
        let function: Rc<dyn Function<P>> = Rc::new(move |ctx: &mut Context<'_, P>, args: Vec<Term>| read(ctx, &args));
        let permission = Permission::Anyone;
        functions.export(module, name, arity, Export { permission, function });
    };
    add(ERLANG, "node", 0, node);
    add(ERLANG, "nodes", 0, visible);
    add(ERLANG, "nodes", 1, nodes);
    add(ERLANG, "whereis", 1, whereis);
    add(ERLANG, "registered", 0, registered);
    add(ERLANG, "is_process_alive", 1, is_process_alive);
    add(ERLANG, "is_alive", 0, is_alive);
    add(ERLANG, "system_info", 1, system_info);
    add(NODE, "self", 0, node);
    add(NODE, "list", 0, visible);
    add(NODE, "list", 1, nodes);
    for (module, name, arity, read) in shared::all() {
        add(module, name, arity, read);
    }
}

fn badarg<P>() -> Outcome<P> {
    Outcome::Error(Term::atom("badarg"))
}

fn atoms<P>(atoms: impl IntoIterator<Item = Atom>) -> Outcome<P> {
    Outcome::Return(Term::List(atoms.into_iter().map(Term::Atom).collect()))
}

fn node<P: Payload>(ctx: &mut Context<'_, P>, _: &[Term]) -> Outcome<P> {
    Outcome::Return(Term::Atom(ctx.node().clone()))
}

fn visible<P: Payload>(ctx: &mut Context<'_, P>, _: &[Term]) -> Outcome<P> {
    atoms(ctx.nodes(NodeKind::Visible))
}

/// `nodes(Kind)` or `nodes([Kind])`: the nodes of any of the kinds, each once.
fn nodes<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let kinds: Option<Vec<NodeKind>> = match args {
        [Term::List(kinds)] => kinds.iter().map(kind).collect(),
        [one] => kind(one).map(|kind| [kind].into()),
        _ => None,
    };
    let Some(kinds) = kinds else {
        return badarg();
    };
    let mut nodes: Vec<Atom> = kinds.into_iter().flat_map(|kind| ctx.nodes(kind)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    atoms(nodes)
}

fn kind(term: &Term) -> Option<NodeKind> {
    match term.as_atom()?.as_str() {
        "visible" => Some(NodeKind::Visible),
        "hidden" => Some(NodeKind::Hidden),
        "connected" => Some(NodeKind::Connected),
        "this" => Some(NodeKind::This),
        "known" => Some(NodeKind::Known),
        _ => None,
    }
}

fn whereis<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let [Term::Atom(name)] = args else {
        return badarg();
    };
    let pid = ctx.whereis(name.as_str()).cloned();
    Outcome::Return(pid.map_or(Term::atom("undefined"), Term::Pid))
}

fn registered<P: Payload>(ctx: &mut Context<'_, P>, _: &[Term]) -> Outcome<P> {
    atoms(ctx.core.table.names().cloned())
}

fn is_process_alive<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    match args {
        [Term::Pid(pid)] if pid.node == *ctx.node() => {
            let is_alive = ctx.core.table.find(pid).is_some();
            Outcome::Return(bool_term(is_alive))
        }
        _ => badarg(),
    }
}

fn is_alive<P: Payload>(_: &mut Context<'_, P>, _: &[Term]) -> Outcome<P> {
    Outcome::Return(bool_term(true))
}

fn system_info<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let [Term::Atom(item)] = args else {
        return badarg();
    };
    Outcome::Return(match item.as_str() {
        "otp_release" => Term::chars(OTP_RELEASE),
        "version" => Term::chars(env!("CARGO_PKG_VERSION")),
        "machine" => Term::chars("salp"),
        "process_count" => Term::from(ctx.core.table.len() as u64),
        "schedulers" | "schedulers_online" => Term::from(1),
        "creation" => Term::from(ctx.creation()),
        _ => return badarg(),
    })
}

fn bool_term(value: bool) -> Term {
    Term::atom(if value { "true" } else { "false" })
}
