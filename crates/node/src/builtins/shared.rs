//! What the cluster shares, for callers over `rpc`: global names and process groups.
//!
//! `global:whereis_name/1, registered_names/0`, `pg:get_members/1,2, get_local_members/1,2, which_groups/0,1` read.
//! `global:resolve_it/4` resolves a conflict of names as the calling node would. It acts only on a process that has the
//! name in question at this node, so it cannot be used to kill another.

use crate::{context::Context, function::Outcome, global, groups::DEFAULT_SCOPE, message::Payload};
use alloc::vec::Vec;
use wire::etf::{Pid, Term};

use super::{Read, badarg};

/// Module, name, arity and implementation of each function.
pub(super) fn all<P: Payload>() -> [(&'static str, &'static str, u8, Read<P>); 9] {
    [
        ("global", "whereis_name", 1, whereis_name),
        ("global", "registered_names", 0, registered_names),
        ("global", "resolve_it", 4, resolve_it),
        ("pg", "get_members", 1, members),
        ("pg", "get_members", 2, members),
        ("pg", "get_local_members", 1, local_members),
        ("pg", "get_local_members", 2, local_members),
        ("pg", "which_groups", 0, groups),
        ("pg", "which_groups", 1, groups),
    ]
}

fn whereis_name<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let [name] = args else { return badarg() };
    let pid = ctx.whereis_global(name);
    Outcome::Return(pid.map_or(Term::atom("undefined"), Term::Pid))
}

fn registered_names<P: Payload>(ctx: &mut Context<'_, P>, _: &[Term]) -> Outcome<P> {
    Outcome::Return(Term::List(ctx.global_names()))
}

fn resolve_it<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let [method, name, Term::Pid(one), Term::Pid(other)] = args else {
        return badarg();
    };
    let holder = ctx
        .whereis_global(name)
        .filter(|holder| holder == one || holder == other);
    Outcome::Return(match holder {
        Some(holder) if holder.node == *ctx.node() => {
            let theirs = if holder == *one { other } else { one };
            let keeps = global::resolve(ctx, method, name, theirs, &holder);
            keeps.map_or(Term::atom("none"), Term::Pid)
        }
        Some(_) | None => Term::atom("none"),
    })
}

fn members<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    in_scope(args, |scope, group| ctx.members_of(scope, group))
}

fn local_members<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    in_scope(args, |scope, group| ctx.local_members_of(scope, group))
}

fn in_scope<P>(args: &[Term], look: impl FnOnce(&str, &Term) -> Vec<Pid>) -> Outcome<P> {
    let pids = match args {
        [group] => look(DEFAULT_SCOPE, group),
        [Term::Atom(scope), group] => look(scope.as_str(), group),
        _ => return badarg(),
    };
    Outcome::Return(Term::List(pids.into_iter().map(Term::Pid).collect()))
}

fn groups<P: Payload>(ctx: &mut Context<'_, P>, args: &[Term]) -> Outcome<P> {
    let scope = match args {
        [] => DEFAULT_SCOPE,
        [Term::Atom(scope)] => scope.as_str(),
        _ => return badarg(),
    };
    Outcome::Return(Term::List(ctx.groups(scope)))
}
