//! Planted bugs in the replies of a node, and in its reading of a call.

use node::Term;
use wire::reply::{Replies, Reply};

use super::Plant;

/// A bug spoils about one in this many of the replies that it applies to.
const SPOILT_ONE_IN: u64 = 8;

impl Plant {
    /// The replies of a node with this bug to requests that do `acts`. `turn` grows with every request.
    pub fn falsify(self, replies: Replies, acts: &[&str], turn: u64) -> Replies {
        let meant: &[&str] = match self {
            Self::ShortAppend => &["append"],
            Self::GrantedTwice => &["new"],
            Self::ForgottenOld => &["swap"],
            Self::FalseDelete => &["delete"],
            Self::FalseExists => &["exists"],
            Self::WrongLength => &["length"],
            Self::TornRange => &["range"],
            Self::LostCount => &["count"],
            Self::LateWatch if acts.first() == Some(&"watch") => return first_two_swapped(&replies),
            _ => return replies,
        };
        let (mut out, mut tokens) = (Replies::new(), replies.tokens());
        for (act, turn) in acts.iter().zip(turn..) {
            let reply = tokens.clone().next();
            let spoils = meant.contains(act) && turn % SPOILT_ONE_IN == 0;
            match reply.filter(|_| spoils).and_then(|reply| self.lie(reply)) {
                Some(lie) => {
                    tokens.next();
                    out.append(&lie);
                }
                None => out.append_value(&mut tokens),
            }
        }
        out
    }

    /// The false reply; none if the bug does not apply to this reply.
    fn lie(self, reply: Reply<'_>) -> Option<Replies> {
        let mut out = Replies::new();
        match (self, reply) {
            (Self::ShortAppend | Self::LostCount, Reply::Int(number)) => out.int(number - 1),
            (Self::WrongLength, Reply::Int(length)) => out.int(length + 1),
            (Self::GrantedTwice, Reply::Int(0)) => out.int(1),
            (Self::GrantedTwice, Reply::Null) => out.ok(),
            (Self::ForgottenOld, Reply::Bulk(_)) => out.null(),
            (Self::FalseDelete | Self::FalseExists, Reply::Int(1)) => out.int(0),
            (Self::TornRange, Reply::Bulk(value)) if !value.is_empty() => out.bulk(&value[..value.len() - 1]),
            _ => return None,
        }
        Some(out)
    }
}

/// The replies with the first two in the other order.
fn first_two_swapped(replies: &Replies) -> Replies {
    let (mut out, mut second, mut tokens) = (Replies::new(), Replies::new(), replies.tokens());
    second.append_value(&mut tokens);
    out.append_value(&mut tokens);
    out.append(&second);
    while tokens.clone().next().is_some() {
        out.append_value(&mut tokens);
    }
    out
}

/// Changes a call so that all values go to the same key.
pub(super) fn mislead(term: Term) -> Term {
    let Some([word, from, request]) = term.as_tuple() else {
        return term;
    };
    match request.as_tuple() {
        Some([verb, _, value]) if verb.is_atom("put") => {
            let elsewhere = Term::Binary(bytes::Bytes::from_static(b"elsewhere"));
            let request = Term::tuple([verb.clone(), elsewhere, value.clone()]);
            Term::tuple([word.clone(), from.clone(), request])
        }
        _ => term,
    }
}
