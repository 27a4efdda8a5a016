//! Functions that peers may run here: by module, name and arity, each with a permission.
//!
//! Peers can run nothing else. There is no code to load and no fun to apply, and a function that was not exported
//! cannot be reached. An unknown function is `undef`, as at a BEAM without such a module.

use crate::{
    context::Context,
    message::{Payload, Process},
};
use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use core::fmt;
use wire::etf::{Atom, Term};

/// A function that peers may call. Closures of this form are functions too.
pub trait Function<P: Payload> {
    /// Starts in a process of its own, which is `ctx`. It gets as many arguments as its arity.
    fn call(&self, ctx: &mut Context<'_, P>, args: Vec<Term>) -> Outcome<P>;
}

impl<P: Payload, F: Fn(&mut Context<'_, P>, Vec<Term>) -> Outcome<P>> Function<P> for F {
    fn call(&self, ctx: &mut Context<'_, P>, args: Vec<Term>) -> Outcome<P> {
        self(ctx, args)
    }
}

/// The outcome of a call.
pub enum Outcome<P> {
    /// It returns a value.
    Return(Term),
    /// As `throw/1`.
    Throw(Term),
    /// As `exit/1`.
    Exit(Term),
    /// As `error/1`.
    Error(Term),
    /// It takes longer: this process takes over under the call's pid, and ends with `Context::finish`.
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

/// Which nodes may call a function. Others are refused with `notsup`. Processes of the node itself may call every
/// function.
///
/// Permissions are for whole nodes: the cookie proves a node, and every process of that node has the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Every connected node, and so everybody with the cookie.
    Anyone,
    /// Members of this cluster. A BEAM is never a member.
    Member,
    /// No other node.
    Nobody,
}

/// A function and its permission.
pub(crate) struct Export<P: Payload> {
    pub(crate) permission: Permission,
    pub(crate) function: Rc<dyn Function<P>>,
}

/// All exports of a node. They are few and stay, so the table needs no limit.
pub(crate) struct Functions<P: Payload> {
    modules: BTreeMap<Atom, BTreeMap<(Atom, usize), Export<P>>>,
}

impl<P: Payload> Functions<P> {
    pub(crate) fn new() -> Self {
        Self {
            modules: BTreeMap::new(),
        }
    }

    /// Adds a function, or replaces the existing one.
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
        assert_eq!(find("m", "f", 257), None, "an arity is not truncated to a byte");
        assert_eq!(find("m", "f", 0), None);
        assert_eq!(find("m", "g", 1), None);
        assert_eq!(find("n", "f", 1), None);
    }
}
