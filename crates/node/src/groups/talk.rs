//! The messages between scopes of the same name.
//!
//! ```text
//! {discover, Peer}                    are you there?              (later: {discover, Peer, Version})
//! {'$gen_cast', {sync, Peer, [{Group, [Pid]}]}}                   these are all my members
//! {join, Peer, Group, Pid | [Pid]}
//! {leave, Peer, Pid | [Pid], [Group]}
//! ```
//!
//! `Peer` is the pid of the sending scope. A scope of a BEAM ends when it gets an unknown message, a `sync` that lists
//! a group twice, or a `leave` for a group of which it knows no member.

use crate::gen_server::cast_term;
use alloc::{vec, vec::Vec};
use wire::etf::{Pid, Term};

/// A message from another scope.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Talk {
    Discover {
        peer: Pid,
    },
    Sync {
        peer: Pid,
        groups: Vec<(Term, Vec<Pid>)>,
    },
    Join {
        peer: Pid,
        group: Term,
        pids: Vec<Pid>,
    },
    Leave {
        peer: Pid,
        pids: Vec<Pid>,
        groups: Vec<Term>,
    },
}

impl Talk {
    /// None if it is a different message.
    pub(crate) fn read(term: Term) -> Option<Self> {
        let Term::Tuple(items) = term else {
            return None;
        };
        let (verb, mut rest) = split_first(items)?;
        if verb.is_atom("$gen_cast") {
            let Some(Term::Tuple(items)) = rest.pop() else {
                return None;
            };
            let (verb, cast) = split_first(items)?;
            let [Term::Pid(peer), Term::List(groups)] = <[Term; 2]>::try_from(cast).ok()? else {
                return None;
            };
            let groups = groups.into_iter().map(read_members).collect::<Option<_>>()?;
            return (rest.is_empty() && verb.is_atom("sync")).then_some(Self::Sync { peer, groups });
        }
        let mut rest = rest.into_iter();
        let Some(Term::Pid(peer)) = rest.next() else {
            return None;
        };
        match (verb.as_atom()?.as_str(), rest.next(), rest.next(), rest.next()) {
            ("discover", _, None, None) => Some(Self::Discover { peer }),
            ("join", Some(group), Some(pids), None) => {
                let pids = read_pids(pids)?;
                Some(Self::Join { peer, group, pids })
            }
            ("leave", Some(pids), Some(Term::List(groups)), None) => {
                let pids = read_pids(pids)?;
                Some(Self::Leave { peer, pids, groups })
            }
            _ => None,
        }
    }

    /// The sending scope.
    pub(crate) fn peer(&self) -> &Pid {
        match self {
            Self::Discover { peer } | Self::Sync { peer, .. } | Self::Join { peer, .. } | Self::Leave { peer, .. } => {
                peer
            }
        }
    }

    /// The processes in the message.
    pub(crate) fn pids(&self) -> impl Iterator<Item = &Pid> {
        let (groups, pids): (&[_], &[_]) = match self {
            Self::Discover { .. } => (&[], &[]),
            Self::Sync { groups, .. } => (groups, &[]),
            Self::Join { pids, .. } | Self::Leave { pids, .. } => (&[], pids),
        };
        groups.iter().flat_map(|(_, pids)| pids).chain(pids)
    }

    /// The message as a term.
    pub(crate) fn term(self) -> Term {
        match self {
            Self::Discover { peer } => Term::from((Term::atom("discover"), peer)),
            Self::Sync { peer, groups } => {
                let groups = groups.into_iter().map(|(group, pids)| (group, Term::list(pids)));
                let groups = Term::list(groups.map(Term::from));
                cast_term(Term::tuple(vec![Term::atom("sync"), Term::Pid(peer), groups]))
            }
            Self::Join { peer, group, pids } => {
                Term::tuple(vec![Term::atom("join"), Term::Pid(peer), group, write_pids(pids)])
            }
            Self::Leave { peer, pids, groups } => {
                let groups = Term::List(groups);
                Term::tuple(vec![Term::atom("leave"), Term::Pid(peer), write_pids(pids), groups])
            }
        }
    }
}

/// The first item of a tuple, and the others.
fn split_first(mut items: Vec<Term>) -> Option<(Term, Vec<Term>)> {
    let rest = (!items.is_empty()).then(|| items.split_off(1))?;
    Some((items.pop()?, rest))
}

fn read_members(term: Term) -> Option<(Term, Vec<Pid>)> {
    let Term::Tuple(items) = term else {
        return None;
    };
    let [group, pids] = <[Term; 2]>::try_from(items).ok()?;
    Some((group, read_pids(pids)?))
}

/// One pid, or a list of them.
fn read_pids(term: Term) -> Option<Vec<Pid>> {
    let pid = |term| if let Term::Pid(pid) = term { Some(pid) } else { None };
    match term {
        Term::List(items) => items.into_iter().map(pid).collect(),
        other => Some(vec![pid(other)?]),
    }
}

fn write_pids(mut pids: Vec<Pid>) -> Term {
    match pids.len() {
        1 => pids.pop().map_or(Term::NIL, Term::Pid),
        _ => Term::list(pids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::etf::Atom;

    fn pid(id: u32) -> Pid {
        Pid {
            node: Atom::new("b@h"),
            id,
            serial: 0,
            creation: 9,
        }
    }

    #[test]
    fn messages_read_back() {
        let (peer, group) = (pid(1), Term::atom("g"));
        for talk in [
            Talk::Discover { peer: peer.clone() },
            Talk::Sync {
                peer: peer.clone(),
                groups: vec![(group.clone(), vec![pid(2), pid(2)]), (Term::NIL, vec![pid(3)])],
            },
            Talk::Join {
                peer: peer.clone(),
                group: group.clone(),
                pids: vec![pid(2)],
            },
            Talk::Join {
                peer: peer.clone(),
                group: group.clone(),
                pids: vec![pid(2), pid(3)],
            },
            Talk::Leave {
                peer: peer.clone(),
                pids: vec![pid(2)],
                groups: vec![group.clone(), group],
            },
        ] {
            assert_eq!(talk.peer(), &peer);
            assert_eq!(Talk::read(talk.clone().term()), Some(talk));
        }
    }

    #[test]
    fn a_version_behind_a_discover_is_ignored() {
        let items = vec![Term::atom("discover"), Term::Pid(pid(1)), Term::Int(2)];
        assert_eq!(Talk::read(Term::Tuple(items)), Some(Talk::Discover { peer: pid(1) }));
    }

    #[test]
    fn other_terms_are_not_messages() {
        let peer = || Term::Pid(pid(1));
        let cast = |items: Vec<Term>| cast_term(Term::Tuple(items));
        for term in [
            Term::atom("discover"),
            Term::Tuple(vec![]),
            Term::from((Term::atom("discover"), Term::Int(1))),
            Term::Tuple(vec![Term::atom("join"), peer(), Term::Int(1)]),
            Term::Tuple(vec![Term::atom("join"), peer(), Term::Int(1), Term::Int(1)]),
            Term::Tuple(vec![Term::atom("join"), peer(), Term::Int(1), peer(), peer()]),
            Term::Tuple(vec![Term::atom("leave"), peer(), peer(), Term::Int(1)]),
            Term::Tuple(vec![Term::atom("leave"), peer(), Term::list([Term::Int(1)]), Term::NIL]),
            cast(vec![]),
            cast(vec![Term::atom("sync"), peer()]),
            cast(vec![Term::atom("sync"), peer(), Term::list([Term::Int(1)])]),
            cast(vec![Term::atom("sync"), Term::Int(1), Term::NIL]),
            cast(vec![Term::atom("other"), peer(), Term::NIL]),
            Term::Tuple(vec![Term::atom("$gen_cast")]),
        ] {
            assert_eq!(Talk::read(term.clone()), None, "{term}");
        }
    }
}
