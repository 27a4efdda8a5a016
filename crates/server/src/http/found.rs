//! A value as `SALP.GET` returns it, and its form over HTTP.
//!
//! Bytes are sent unchanged. An Erlang term has two representations, chosen by `Accept` (RFC 9110, 12.5.1). Clients
//! that name `application/x-erlang-term` get its external format. All other clients could not read that, and get Erlang
//! syntax (`{a,1}`).

use std::borrow::Cow;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use wire::{
    etf::{self, Term},
    reply::Reply,
};

use super::problem::Problem;

/// The content type of a value that was written without one.
const BYTES_TYPE: &[u8] = b"application/octet-stream";

/// The content type of an Erlang term in external format.
pub(super) const TERM_TYPE: &str = "application/x-erlang-term";

/// The content type of an Erlang term in Erlang syntax.
const TEXT_TYPE: &[u8] = b"text/plain; charset=utf-8";

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held<'a> {
    /// Bytes and the content type they were written with. It is empty if there was none.
    Bytes(&'a [u8], &'a [u8]),
    /// A term in external format.
    Term(&'a [u8]),
    /// A counter, or an integer that a BEAM wrote.
    Integer(i64),
}

/// A key's value and its metadata.
#[derive(Debug, PartialEq)]
pub(super) struct Found<'a> {
    pub(super) held: Held<'a>,
    pub(super) version: &'a str,
    /// Unix milliseconds.
    pub(super) deadline_ms: Option<i64>,
}

impl<'a> Found<'a> {
    /// Reads the tokens of one value. `None` is a missing key.
    pub(super) fn of(tokens: &mut impl Iterator<Item = Reply<'a>>) -> Result<Option<Self>, Problem> {
        match tokens.next() {
            Some(Reply::Null) => return Ok(None),
            Some(Reply::Array(4)) => {}
            Some(Reply::Error(kind, text)) => return Err(Problem::of(kind, text)),
            _ => return Err(Problem::unexpected()),
        }
        let (value, content_type) = (tokens.next(), tokens.next());
        let held = match (value, content_type) {
            (Some(Reply::Int(number)), Some(_)) => Held::Integer(number),
            (Some(Reply::Bulk(value)), Some(Reply::Bulk(kind))) if kind == TERM_TYPE.as_bytes() => Held::Term(value),
            (Some(Reply::Bulk(value)), Some(Reply::Bulk(kind))) => Held::Bytes(value, kind),
            _ => return Err(Problem::unexpected()),
        };
        match [tokens.next(), tokens.next()] {
            [Some(Reply::Bulk(version)), Some(Reply::Int(deadline))] => Ok(Some(Self {
                held,
                version: str::from_utf8(version).map_err(|_| Problem::unexpected())?,
                deadline_ms: (deadline >= 0).then_some(deadline),
            })),
            _ => Err(Problem::unexpected()),
        }
    }
}

impl<'a> Held<'a> {
    /// The form for clients that do not know terms.
    pub(super) fn shown(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes(bytes, _) => Cow::Borrowed(bytes),
            Self::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Term(external) => match etf::decode(&Bytes::copy_from_slice(external)) {
                Ok(term) => Cow::Owned(term.to_string().into_bytes()),
                Err(_) => Cow::Borrowed(external),
            },
        }
    }

    /// Its content type and bytes, for a client that takes terms or does not.
    pub(super) fn representation(self, takes_terms: bool) -> (&'a [u8], Cow<'a, [u8]>) {
        match self {
            Self::Bytes(bytes, b"") => (BYTES_TYPE, Cow::Borrowed(bytes)),
            Self::Bytes(bytes, kind) => (kind, Cow::Borrowed(bytes)),
            Self::Term(external) if takes_terms => (TERM_TYPE.as_bytes(), Cow::Borrowed(external)),
            Self::Integer(number) if takes_terms => {
                let external = store::term::external(&Term::Int(number));
                (TERM_TYPE.as_bytes(), Cow::Owned(external))
            }
            Self::Term(_) | Self::Integer(_) => (TEXT_TYPE, self.shown()),
        }
    }

    /// Whether it has more than one representation.
    pub(super) fn is_term(self) -> bool {
        !matches!(self, Self::Bytes(..))
    }
}

/// Whether a request asks for terms in external format. Only the name counts: clients that cannot read it send
/// wildcards.
pub(super) fn takes_terms(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .flat_map(|accept| accept.split(','))
        .any(|range| {
            let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
            let refused = parameters.split(';').any(|parameter| {
                let weight = parameter.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
                weight.is_some_and(|weight| weight <= 0.0)
            });
            kind.trim().eq_ignore_ascii_case(TERM_TYPE) && !refused
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use wire::reply::Replies;

    #[test]
    fn an_answer_of_another_form_is_not_trusted() {
        let mut replies = Replies::new();
        replies.array(4);
        replies.bulk(b"v");
        replies.bulk(b"");
        replies.bulk(b"0000000000000001");
        replies.int(-1);
        let found = Found::of(&mut replies.tokens()).unwrap().unwrap();
        assert_eq!((found.held, found.deadline_ms), (Held::Bytes(b"v", b""), None));
        for length in 0..5 {
            assert_eq!(Found::of(&mut replies.tokens().take(length)).unwrap_err().status, 500);
        }
    }

    #[test]
    fn terms_are_shown_or_sent_as_they_are() {
        let external = b"\x83h\x02w\x01aa\x01";
        for (held, shown, kind, sent) in [
            (Held::Term(external), &b"{a,1}"[..], TERM_TYPE, &external[..]),
            (Held::Integer(-7), b"-7", TERM_TYPE, b"\x83b\xff\xff\xff\xf9"),
            (Held::Bytes(b"v", b"text/css"), b"v", "text/css", b"v"),
            (Held::Bytes(b"v", b""), b"v", "application/octet-stream", b"v"),
        ] {
            assert_eq!(&*held.shown(), shown);
            assert_eq!(&*held.representation(false).1, shown);
            let (sent_kind, bytes) = held.representation(true);
            assert_eq!((sent_kind, &*bytes), (kind.as_bytes(), sent));
        }
    }

    #[test]
    fn external_format_is_for_those_who_name_it() {
        for (accept, takes) in [
            ("application/x-erlang-term", true),
            ("text/plain, Application/X-Erlang-Term;q=0.5", true),
            ("application/x-erlang-term;q=0", false),
            ("*/*", false),
            ("application/*", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(takes_terms(&headers), takes, "{accept}");
        }
        assert!(!takes_terms(&HeaderMap::new()));
    }
}
