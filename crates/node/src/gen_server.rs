//! The `gen_server` protocol: calls, casts and answers as messages.
//!
//! A call is `{'$gen_call', {Pid, Tag}, Request}`. Its answer is `{Tag, Answer}`, with the tag unchanged. The tag has
//! had four forms over the releases. Two of them contain an alias, and then the answer goes to that alias:
//!
//! | tag | of |
//! |---|---|
//! | `[alias\|Ref]` | `call`, since OTP 24 |
//! | `Ref` | older, or with an infinite timeout to a local process |
//! | `{Ref, Node}` | `multi_call` up to OTP 25 |
//! | `[[alias\|Ref]\|MonitorRef]` | `multi_call` since OTP 26 |

use alloc::{boxed::Box, vec};
use wire::etf::{Pid, Ref, Term};

/// The receiver of an answer, and the tag for it.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    /// The caller.
    pub pid: Pid,
    /// The tag. It is sent back unchanged.
    pub tag: Term,
}

impl From {
    /// The alias that the answer must go to, if the caller gave one.
    pub fn alias(&self) -> Option<&Ref> {
        alias_of(&self.tag).or_else(|| match &self.tag {
            Term::Improper(items, _) => alias_of(items.first()?),
            _ => None,
        })
    }
}

/// The alias of `[alias|Ref]`.
fn alias_of(tag: &Term) -> Option<&Ref> {
    match tag {
        Term::Improper(items, tail) => match (items.as_slice(), &**tail) {
            ([Term::Atom(word)], Term::Ref(alias)) if word.as_str() == "alias" => Some(alias),
            _ => None,
        },
        _ => None,
    }
}

/// A message as a `gen_server` reads it.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `gen_server:call`: it must be answered once, with `Context::reply`.
    Call {
        /// The receiver of the answer.
        from: From,
        /// The request.
        request: Term,
    },
    /// `gen_server:cast`.
    Cast(Term),
    /// Anything else.
    Info(Term),
}

/// The caller of `{'$gen_call', From}`: the head of a call that is too large to be taken.
pub(crate) fn caller_of(head: &Term) -> Option<From> {
    match head.as_tuple()? {
        [verb, from] if verb.is_atom("$gen_call") => match from.as_tuple()? {
            [Term::Pid(pid), tag] => Some(From {
                pid: pid.clone(),
                tag: tag.clone(),
            }),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a message. A malformed call or cast is an `Info`.
pub fn parse(term: Term) -> Request {
    let Term::Tuple(mut items) = term else {
        return Request::Info(term);
    };
    match items.as_slice() {
        [Term::Atom(word), Term::Tuple(from), _] if word.as_str() == "$gen_call" => {
            let [Term::Pid(pid), tag] = from.as_slice() else {
                return Request::Info(Term::Tuple(items));
            };
            let from = From {
                pid: pid.clone(),
                tag: tag.clone(),
            };
            let request = items.swap_remove(2);
            Request::Call { from, request }
        }
        [Term::Atom(word), _] if word.as_str() == "$gen_cast" => Request::Cast(items.swap_remove(1)),
        _ => Request::Info(Term::Tuple(items)),
    }
}

/// The message of a cast.
pub fn cast_term(request: Term) -> Term {
    Term::Tuple(vec![Term::atom("$gen_cast"), request])
}

/// The message of a call whose monitor is also the alias for the answer.
pub(crate) fn call_term(pid: Pid, monitor: &Ref, request: Term) -> Term {
    let alias = vec![Term::atom("alias")];
    let tag = Term::Improper(alias, Box::new(Term::Ref(monitor.clone())));
    let from = Term::Tuple(vec![Term::Pid(pid), tag]);
    Term::Tuple(vec![Term::atom("$gen_call"), from, request])
}

/// The reference in an answer to a call of this node: the one in `{[alias|Ref], _}`.
pub(crate) fn answered(term: &Term) -> Option<&Ref> {
    match term {
        Term::Tuple(items) if items.len() == 2 => alias_of(&items[0]),
        _ => None,
    }
}

/// The answer in `{Tag, Answer}`.
pub(crate) fn into_answer(term: Term) -> Option<Term> {
    let Term::Tuple(mut items) = term else {
        return None;
    };
    (items.len() == 2).then(|| items.swap_remove(1))
}

/// The message of an answer.
pub(crate) fn answer_term(from: &From, answer: Term) -> Term {
    Term::Tuple(vec![from.tag.clone(), answer])
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::etf::Atom;

    fn reference(word: u32) -> Ref {
        Ref {
            node: Atom::new("b@h"),
            creation: 4,
            len: 3,
            words: [word, 2, 3, 0, 0],
        }
    }

    fn alias(word: u32) -> Term {
        let items = vec![Term::atom("alias")];
        Term::Improper(items, Box::new(Term::Ref(reference(word))))
    }

    fn from(tag: Term) -> From {
        let pid = Pid {
            node: Atom::new("b@h"),
            id: 1,
            serial: 2,
            creation: 4,
        };
        From { pid, tag }
    }

    #[test]
    fn every_shape_of_tag() {
        assert_eq!(from(alias(1)).alias(), Some(&reference(1)));
        assert_eq!(from(Term::Ref(reference(1))).alias(), None);
        let multi_25 = Term::Tuple(vec![Term::Ref(reference(1)), Term::Atom(Atom::new("a@h"))]);
        assert_eq!(from(multi_25).alias(), None);
        let multi_28 = Term::Improper(vec![alias(1)], Box::new(Term::Ref(reference(2))));
        assert_eq!(from(multi_28).alias(), Some(&reference(1)));
        let forged = Term::Improper(vec![Term::Int(1)], Box::new(Term::Ref(reference(2))));
        assert_eq!(from(forged).alias(), None);
    }

    #[test]
    fn a_call_reads_back_and_its_answer_names_it() {
        let call = call_term(from(Term::Int(0)).pid, &reference(7), Term::Int(5));
        let Request::Call { from, request } = parse(call) else {
            panic!("a call")
        };
        assert_eq!(request, Term::Int(5));
        let answer = answer_term(&from, Term::Int(6));
        assert_eq!(answered(&answer), Some(&reference(7)));
        assert_eq!(into_answer(answer), Some(Term::Int(6)));
    }

    #[test]
    fn a_malformed_call_is_info() {
        let word = || Term::atom("$gen_call");
        let no_pid = Term::Tuple(vec![word(), Term::Tuple(vec![Term::Int(1), Term::Int(2)]), word()]);
        assert_eq!(parse(no_pid.clone()), Request::Info(no_pid));
        assert_eq!(parse(Term::Int(1)), Request::Info(Term::Int(1)));
        assert_eq!(parse(cast_term(Term::Int(1))), Request::Cast(Term::Int(1)));
    }
}
