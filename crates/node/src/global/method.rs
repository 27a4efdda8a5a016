//! What happens if two processes have the same name: the three methods of OTP.
//!
//! They need no code at the node of the holder, only messages and an exit signal. So any node can carry out a decision.
//!
//! Source: global(3), `register_name/3`.

use alloc::{vec, vec::Vec};
use bytes::Bytes;
use wire::etf::{Atom, Pid, Term, decode_bare};

/// How to decide between two holders of one name when their partitions meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// One keeps the name, and the other is killed. This is OTP's default.
    #[default]
    RandomExit,
    /// One keeps the name, and the other gets the message `{global_name_conflict, Name}`.
    RandomNotify,
    /// Neither keeps it. Each gets the message `{global_name_conflict, Name, OtherPid}`.
    NotifyAll,
}

const MODULE: &str = "global";
const ARITY: u8 = 3;

impl Method {
    fn function(self) -> &'static str {
        match self {
            Method::RandomExit => "random_exit_name",
            Method::RandomNotify => "random_notify_name",
            Method::NotifyAll => "notify_all_name",
        }
    }

    /// `fun global:Function/3`: an external fun, which has the same meaning at every node.
    pub(crate) fn to_term(self) -> Term {
        Term::Export {
            module: Atom::new(MODULE),
            function: Atom::new(self.function()),
            arity: ARITY,
        }
    }

    /// None if it is another fun, or `{Module, Function}` for another function.
    pub(crate) fn from_term(term: &Term) -> Option<Self> {
        let (module, function) = match term {
            Term::Fun(fun) => return is_of_global(fun).then_some(Method::RandomExit),
            Term::Export {
                module,
                function,
                arity: ARITY,
            } => (module, function),
            Term::Tuple(items) => match items.as_slice() {
                [Term::Atom(module), Term::Atom(function)] => (module, function),
                _ => return None,
            },
            _ => return None,
        };
        let all = [Method::RandomExit, Method::RandomNotify, Method::NotifyAll];
        all.into_iter()
            .find(|method| module == MODULE && function == method.function())
    }
}

/// Whether a local fun is `fun random_exit_name/3`, with which `global:register_name/2` registers. A local fun has no
/// name, but no other local fun of that module is used as a method.
fn is_of_global(fun: &Bytes) -> bool {
    // Size, arity, the digest of the module, index, number of free variables.
    const ARITY_AT: usize = 4;
    const FREE: core::ops::Range<usize> = 25..29;
    let is_plain = fun.get(ARITY_AT) == Some(&ARITY) && fun.get(FREE) == Some(&[0; 4]);
    let mut at = FREE.end;
    is_plain && decode_bare(fun, &mut at).is_ok_and(|module| module.is_atom(MODULE))
}

/// The decision about a conflict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resolution {
    /// The process that keeps the name.
    pub(crate) keeps: Option<Pid>,
    pub(crate) acts: Vec<Act>,
}

/// What one of the two processes gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    Kill(Pid),
    Tell(Pid, Term),
}

impl Act {
    /// The process that gets it.
    pub(crate) fn pid(&self) -> &Pid {
        match self {
            Act::Kill(pid) | Act::Tell(pid, _) => pid,
        }
    }

    pub(crate) fn held_bytes(&self) -> usize {
        match self {
            Act::Kill(_) => 0,
            Act::Tell(_, term) => term.held_bytes(),
        }
    }
}

/// `global:resolve_it/4`. With an unknown method, neither process keeps the name. The order of the two pids makes no
/// difference.
pub(crate) fn resolve_it(method: &Term, name: &Term, theirs: &Pid, ours: &Pid) -> Resolution {
    let (low, high) = if theirs.node < ours.node {
        (theirs, ours)
    } else {
        (ours, theirs)
    };
    let conflict = || Term::atom("global_name_conflict");
    let (keeps, acts) = match Method::from_term(method) {
        Some(Method::RandomExit) => (Some(low.clone()), vec![Act::Kill(high.clone())]),
        Some(Method::RandomNotify) => {
            let term = Term::from((conflict(), name.clone()));
            (Some(low.clone()), vec![Act::Tell(high.clone(), term)])
        }
        Some(Method::NotifyAll) => {
            let term = |other: &Pid| Term::from((conflict(), name.clone(), other.clone()));
            let acts = vec![
                Act::Tell(theirs.clone(), term(ours)),
                Act::Tell(ours.clone(), term(theirs)),
            ];
            (None, acts)
        }
        None => (None, vec![]),
    };
    Resolution { keeps, acts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::global::tests::{atom, pid};

    #[test]
    fn both_sides_decide_the_same() {
        let (a, b) = (pid("a@h", 1), pid("b@h", 1));
        for method in [Method::RandomExit, Method::RandomNotify] {
            let method = method.to_term();
            let one = resolve_it(&method, &atom("x"), &a, &b);
            assert_eq!(one, resolve_it(&method, &atom("x"), &b, &a));
            assert_eq!(one.keeps, Some(a.clone()));
        }
        let exit = resolve_it(&Method::RandomExit.to_term(), &atom("x"), &a, &b);
        assert_eq!(exit.acts, [Act::Kill(b.clone())]);
    }

    #[test]
    fn notify_all_notifies_both_and_an_unknown_method_keeps_neither() {
        let (a, b) = (pid("a@h", 1), pid("b@h", 1));
        let told = resolve_it(&Method::NotifyAll.to_term(), &atom("x"), &a, &b);
        assert_eq!((told.keeps, told.acts.len()), (None, 2));
        let odd = resolve_it(&atom("odd"), &atom("x"), &a, &b);
        assert_eq!((odd.keeps, odd.acts.len()), (None, 0));
    }

    #[test]
    fn a_method_reads_back() {
        for method in [Method::RandomExit, Method::RandomNotify, Method::NotifyAll] {
            assert_eq!(Method::from_term(&method.to_term()), Some(method));
        }
        let pair = Term::from((Term::atom("global"), Term::atom("notify_all_name")));
        assert_eq!(Method::from_term(&pair), Some(Method::NotifyAll));
    }

    /// A local fun as OTP writes it, up to the part behind the module.
    fn fun(module: &str, arity: u8, free: u8) -> Term {
        let mut fun = vec![0, 0, 0, 73, arity];
        fun.extend([0xab; 16]);
        fun.extend([0, 0, 0, 0, 0, 0, 0, free, 119, u8::try_from(module.len()).unwrap()]);
        fun.extend(module.as_bytes());
        fun.extend([97, 0]);
        Term::Fun(fun.into())
    }

    #[test]
    fn the_default_method_of_a_beam_is_a_local_fun() {
        assert_eq!(Method::from_term(&fun("global", 3, 0)), Some(Method::RandomExit));
        for other in [fun("mine", 3, 0), fun("global", 2, 0), fun("global", 3, 1)] {
            assert_eq!(Method::from_term(&other), None);
        }
        let Term::Fun(whole) = fun("global", 3, 0) else {
            panic!()
        };
        for length in 0..37 {
            assert_eq!(Method::from_term(&Term::Fun(whole.slice(..length))), None);
        }
    }
}
