//! What peers may run here: functions by module, name and arity, each with the permission it asks for.
//!
//! Nothing else runs. There is no code to load, no fun to apply, no way from a name to what was not exported: an
//! unknown function is `undef`, as at a BEAM that has no such module.

use crate::{
    context::Context,
    message::{Payload, Process},
};
use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use core::fmt;
use wire::etf::{Atom, Term};

/// What a call from afar runs. Closures of this shape are functions too.
pub trait Function<P: Payload> {
    /// Begins in a process of its own, which is `ctx`. It gets as many arguments as its arity says.
    fn call(&self, ctx: &mut Context<'_, P>, args: Vec<Term>) -> Outcome<P>;
}

impl<P: Payload, F: Fn(&mut Context<'_, P>, Vec<Term>) -> Outcome<P>> Function<P> for F {
    fn call(&self, ctx: &mut Context<'_, P>, args: Vec<Term>) -> Outcome<P> {
        self(ctx, args)
    }
}

/// What a call came to.
pub enum Outcome<P> {
    /// It returns a value.
    Return(Term),
    /// As `throw/1`.
    Throw(Term),
    /// As `exit/1`.
    Exit(Term),
    /// As `error/1`.
    Error(Term),
    /// It takes time: the process goes on under the call's pid and ends with `Context::finish`.
    Later(Box<dyn Process<P>>),
}

impl<P> fmt::Debug for Outcome<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return(value) => f.debug_tuple("Return").field(value).finish(),
            Self::Throw(value) => f.debug_tuple("Throw").field(value).finish(),
            Self::Exit(reason) => f.debug_tuple("Exit").field(reason).finish(),
            Self::Error(reason) => f.debug_tuple("Error").field(reason).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Who may call a function. Who may not is refused with `notsup`. A process of the node itself may call all.
///
/// A peer is its node: the cookie vouches for the node and for nothing finer, and every process there has its powers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Every connected node, and so everybody who knows the cookie.
    Anyone,
    /// Nodes that are members of this cluster; no BEAM is one.
    Member,
    /// No other node.
    Nobody,
}

/// A function, and who may call it.
pub(crate) struct Export<P: Payload> {
    pub(crate) permission: Permission,
    pub(crate) function: Rc<dyn Function<P>>,
}

/// All exports of a node. They are few and stay, so the table needs no bound.
pub(crate) struct Functions<P: Payload> {
    modules: BTreeMap<Atom, BTreeMap<(Atom, usize), Export<P>>>,
}

impl<P: Payload> Functions<P> {
    pub(crate) fn new() -> Self {
        Self {
            modules: BTreeMap::new(),
        }
    }

    /// A function that is there already is replaced.
    pub(crate) fn export(&mut self, module: &str, function: &str, arity: u8, export: Export<P>) {
        let functions = self.modules.entry(Atom::new(module)).or_default();
        functions.insert((Atom::new(function), arity.into()), export);
    }

    pub(crate) fn find(&self, module: &Atom, function: &Atom, arity: usize) -> Option<&Export<P>> {
        self.modules.get(module)?.get(&(function.clone(), arity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Nothing;
    impl Payload for Nothing {}

    #[test]
    fn a_function_is_its_module_name_and_arity() {
        let mut functions = Functions::<Nothing>::new();
        let function = Rc::new(|_: &mut Context<'_, Nothing>, _| Outcome::Return(Term::NIL));
        let permission = Permission::Member;
        functions.export("m", "f", 1, Export { permission, function });
        let find = |module, function, arity| {
            let found = functions.find(&Atom::new(module), &Atom::new(function), arity);
            found.map(|export| export.permission)
        };
        assert_eq!(find("m", "f", 1), Some(Permission::Member));
        assert_eq!(find("m", "f", 257), None, "an arity is not cut to a byte");
        assert_eq!(find("m", "f", 0), None);
        assert_eq!(find("m", "g", 1), None);
        assert_eq!(find("n", "f", 1), None);
    }
}
