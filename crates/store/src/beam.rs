//! The door for BEAM nodes: `gen_server` calls and casts to the registered process `salp`.
//!
//! A call becomes a batch of one request, takes the same way as those of the other doors, and its reply becomes a term.
//! Any failure is `{error, Reason}`, with the name of the [`ErrorKind`] as reason; nothing is left unanswered.

use alloc::{boxed::Box, format, vec::Vec};
use bytes::Bytes;
use node::{
    Context,
    gen_server::{self, Request},
};
use wire::{
    etf::{self, Term},
    reply::{ErrorKind, Replies, Reply},
    request::Batch,
};

use crate::{
    ask::{Payload, Session},
    call::TERM_TYPE,
    run::{Origin, Run},
    store::Store,
};

/// How a reply is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `{ok, V}` or `error`.
    Get,
    /// `ok`.
    Done,
    /// `{ok, I}`.
    Number,
}

/// Who asked, and how the answer looks.
#[derive(Debug)]
pub struct Caller {
    /// None for a cast.
    from: Option<gen_server::From>,
    shape: Shape,
}

impl Store {
    /// A term that a process of some node sent to the store. What is neither a call nor a cast is dropped.
    pub(crate) fn beam(&mut self, ctx: &mut Context<'_, Payload>, term: Term) {
        let (from, request) = match gen_server::parse(term) {
            Request::Call { from, request } => (Some(from), request),
            Request::Cast(request) => (None, request),
            _ => return,
        };
        self.counters.requests += 1;
        if request.is_atom("stats") {
            if let Some(from) = from {
                ctx.reply(&from, Term::from(self.take_vitals(0).keys_held));
            }
            return;
        }
        match request_of(&request) {
            Some((args, shape)) => {
                let mut batch = Batch::new();
                batch.push(&args.iter().map(Vec::as_slice).collect::<Vec<_>>());
                let deadline_ms = self.monotonic_ms + self.config.request_timeout_ms;
                let origin = Origin::Beam(Box::new(Caller { from, shape }));
                let ask = self.own_ask(Session::new(0, true), batch);
                self.admit(Run::new(origin, ask, deadline_ms));
            }
            None => {
                if let Some(from) = from {
                    ctx.reply(&from, error(Term::atom("badarg")));
                }
            }
        }
    }
}

/// The request that `{get, K}`, `{put, K, V}`, `{put, K, V, Options}`, `{delete, K}` or `{incr, K, N}` stands for.
fn request_of(term: &Term) -> Option<(Vec<Vec<u8>>, Shape)> {
    let parts = term.as_tuple()?;
    let verb = parts.first()?.as_atom()?.as_str();
    Some(match (verb, &parts[1..]) {
        ("get", [key]) => (alloc::vec![b"SALP.GET".to_vec(), bytes(key)], Shape::Get),
        ("put", [key, value]) => (put(key, value), Shape::Done),
        ("put", [key, value, options]) => {
            let mut args = put(key, value);
            for option in options.as_list()? {
                match option.as_tuple()? {
                    [name, time] if name.is_atom("ttl") => {
                        args.extend([b"PX".to_vec(), format!("{}", time.as_int()?).into_bytes()]);
                    }
                    _ => return None,
                }
            }
            (args, Shape::Done)
        }
        ("delete", [key]) => (alloc::vec![b"DEL".to_vec(), bytes(key)], Shape::Done),
        ("incr", [key, by]) => {
            let by = format!("{}", by.as_int()?).into_bytes();
            (alloc::vec![b"INCRBY".to_vec(), bytes(key), by], Shape::Number)
        }
        _ => return None,
    })
}

fn put(key: &Term, value: &Term) -> Vec<Vec<u8>> {
    let kind = if value.as_binary().is_some() { "" } else { TERM_TYPE };
    alloc::vec![b"SALP.PUT".to_vec(), bytes(key), kind.into(), bytes(value)]
}

/// A binary stands for its bytes; any other term for its external format.
fn bytes(term: &Term) -> Vec<u8> {
    match term.as_binary() {
        Some(bytes) => bytes.to_vec(),
        None => {
            let mut out = Vec::new();
            etf::encode(term, &mut out);
            out
        }
    }
}

fn error(reason: Term) -> Term {
    Term::tuple([Term::atom("error"), reason])
}

/// Tells a caller what its request came to.
pub(crate) fn answer(ctx: &mut Context<'_, Payload>, caller: &Caller, replies: &Replies) {
    let Some(from) = &caller.from else { return };
    let mut tokens = replies.tokens();
    let term = match (caller.shape, tokens.next()) {
        (_, Some(Reply::Error(kind, _))) => error(reason(kind)),
        (Shape::Get, Some(Reply::Array(_))) => match (tokens.next(), tokens.next()) {
            (Some(Reply::Bulk(value)), Some(Reply::Bulk(kind))) => {
                Term::tuple([Term::atom("ok"), value_of(value, kind)])
            }
            _ => error(Term::atom("internal")),
        },
        (Shape::Get, _) => Term::atom("error"),
        (Shape::Number, Some(Reply::Int(number))) => Term::tuple([Term::atom("ok"), Term::from(number)]),
        (Shape::Number, _) => error(Term::atom("internal")),
        (Shape::Done, _) => Term::atom("ok"),
    };
    ctx.reply(from, term);
}

fn value_of(value: &[u8], kind: &[u8]) -> Term {
    let bytes = Bytes::copy_from_slice(value);
    if kind == TERM_TYPE.as_bytes()
        && let Ok(term) = etf::decode(&bytes)
    {
        return term;
    }
    Term::Binary(bytes)
}

fn reason(kind: ErrorKind) -> Term {
    Term::atom(kind.name())
}
