//! The BEAM front end: `gen_server` calls and casts to the registered process `salp`.
//!
//! A call becomes a batch of one request, is executed like the batches of other front ends, and its reply becomes a
//! term. Every failure is `{error, Reason}`, with the name of the [`ErrorKind`] as the reason. Every call is answered.
//!
//! A process sees its own writes, and its casts too, as with any `gen_server`. While a write of this front end is on
//! its way to another node, reads of the same shard are sent to that node too, behind the write.

use alloc::{boxed::Box, collections::BTreeMap, format, vec::Vec};
use bytes::Bytes;
use node::{
    Context,
    gen_server::{self, Request},
    server::refuse_system,
};
use wire::{
    etf::{self, Term},
    reply::{ErrorKind, Replies, Reply},
    request::Batch,
};

use crate::{
    ask::{Payload, Session},
    call::TERM_TYPE,
    peers::PeerSet,
    run::{Origin, Run},
    store::Store,
    term,
};

/// Most requests of BEAM processes under way. This is many times the usual number: a process may cast as fast as it can
/// while a replica is silent. A further call is refused as busy. A further cast is dropped and counted, since no
/// process waits for it.
const RUNS_MAX: usize = 65_536;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `{ok, V}` or `error`.
    Get,
    /// `ok`.
    Done,
    /// `{ok, I}`.
    Number,
    /// `{ok, Ms}`, `{ok, infinity}` or `error`.
    Ttl,
    /// The version of a `SALP.GET`: `{ok, Version}` or `error`.
    Version,
    /// The version of a `SALP.PUT`: `{ok, Version}` or `{error, changed}`.
    Swap,
}

/// The caller, and the form of its answer.
#[derive(Debug)]
pub struct Caller {
    /// The caller; none for a cast.
    from: Option<gen_server::From>,
    shape: Shape,
    /// The shard that the request writes to, if it writes.
    writes: Option<usize>,
}

/// Writes of this front end under way, counted by shard. There is at most one entry for each shard.
#[derive(Debug, Default)]
pub(crate) struct Writes(BTreeMap<usize, u32>);

impl Writes {
    fn begin(&mut self, shard: usize) {
        *self.0.entry(shard).or_default() += 1;
    }

    /// A write of this caller has been answered.
    pub(crate) fn end(&mut self, caller: &Caller) {
        if let Some(shard) = caller.writes
            && let Some(count) = self.0.get_mut(&shard)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&shard);
            }
        }
    }
}

/// Requests of BEAM processes.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub answers: Vec<(Box<Caller>, Replies)>,
    pub writes: Writes,
    /// Runs under way.
    pub runs: usize,
}

impl Store {
    /// Handles a term that a process of some node sent to the store. A `sys` message is refused. Terms that are neither
    /// a call nor a cast are dropped.
    pub(crate) fn beam(&mut self, ctx: &mut Context<'_, Payload>, term: Term) {
        let (from, request) = match gen_server::parse(term) {
            Request::Call { from, request } => (Some(from), request),
            Request::Cast(request) => (None, request),
            Request::Info(term) => return refuse_system(ctx, &term),
        };
        self.gauges.counters.requests += 1;
        if request.is_atom("stats") {
            if let Some(from) = from {
                ctx.reply(&from, Term::from(self.take_vitals(0).keys_held));
            }
            return;
        }
        match request_of(&request) {
            Some(_) if self.front.beam.runs >= RUNS_MAX => match from {
                Some(from) => ctx.reply(&from, error(reason(ErrorKind::Busy))),
                None => self.gauges.counters.casts_dropped += 1,
            },
            Some((args, shape)) => {
                let mut batch = Batch::new();
                batch.push(&args.iter().map(Vec::as_slice).collect::<Vec<_>>());
                let deadline_ms = self.deadline_ms(batch.buffer.len());
                let session = Session::new(0, true);
                let shard = self.layout.span(session.keyspace).shard_of(&args[1]);
                let writes = matches!(shape, Shape::Done | Shape::Number | Shape::Swap).then_some(shard);
                let origin = Origin::Beam(Box::new(Caller { from, shape, writes }));
                let ask = self.own_ask(session, batch);
                let mut run = Run::new(origin, ask, deadline_ms, self.time.wall.ahead_ms());
                if self.front.beam.writes.0.contains_key(&shard) {
                    run.written_elsewhere.insert(shard);
                    // Nor does it overtake what may be under way there in slices.
                    run.large.sent_to = PeerSet::ALL;
                }
                if writes.is_some() {
                    self.front.beam.writes.begin(shard);
                }
                self.front.beam.runs += 1;
                self.admit(run);
            }
            None => {
                if let Some(from) = from {
                    ctx.reply(&from, error(Term::atom("badarg")));
                }
            }
        }
    }
}

/// The request for `{get, K}`, `{put, K, V}`, `{put, K, V, Options}`, `{delete, K}`, `{incr, K, N}`, `{ttl, K}`,
/// `{version, K}`, `{cas, K, Version, V}` or `{cas, K, Version, V, Options}`.
fn request_of(term: &Term) -> Option<(Vec<Vec<u8>>, Shape)> {
    let parts = term.as_tuple()?;
    let verb = parts.first()?.as_atom()?.as_str();
    Some(match (verb, &parts[1..]) {
        ("get", [key]) => (alloc::vec![b"SALP.GET".to_vec(), term::key_of(key)], Shape::Get),
        ("put", [key, value]) => (put(key, value), Shape::Done),
        ("put", [key, value, options]) => {
            let mut args = put(key, value);
            args.extend(options_of(options)?);
            (args, Shape::Done)
        }
        ("version", [key]) => (alloc::vec![b"SALP.GET".to_vec(), term::key_of(key)], Shape::Version),
        ("cas", [key, version, value, options @ ..]) if options.len() <= 1 => {
            let mut args = put(key, value);
            for options in options {
                args.extend(options_of(options)?);
            }
            args.extend(condition_of(version)?);
            (args, Shape::Swap)
        }
        ("ttl", [key]) => (alloc::vec![b"PTTL".to_vec(), term::key_of(key)], Shape::Ttl),
        ("delete", [key]) => (alloc::vec![b"DEL".to_vec(), term::key_of(key)], Shape::Done),
        ("incr", [key, by]) => {
            let by = format!("{}", by.as_int()?).into_bytes();
            (alloc::vec![b"INCRBY".to_vec(), term::key_of(key), by], Shape::Number)
        }
        _ => return None,
    })
}

/// The arguments for the options of a `put`.
fn options_of(options: &Term) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    for option in options.as_list()? {
        match option.as_tuple()? {
            [name, time] if name.is_atom("ttl") && time.is_atom("infinity") => {}
            [name, time] if name.is_atom("ttl") => {
                args.extend([b"PX".to_vec(), format!("{}", time.as_int()?).into_bytes()]);
            }
            _ => return None,
        }
    }
    Some(args)
}

/// The arguments for the version that a key must have: a binary, as `{version, K}` returns it, or `none` for a key that
/// must not exist.
fn condition_of(version: &Term) -> Option<Vec<Vec<u8>>> {
    if version.is_atom("none") {
        return Some(alloc::vec![b"NX".to_vec()]);
    }
    Some(alloc::vec![b"IFEQ".to_vec(), version.as_binary()?.to_vec()])
}

fn put(key: &Term, value: &Term) -> Vec<Vec<u8>> {
    let (kind, bytes) = match value.as_binary() {
        Some(bytes) => ("", bytes.to_vec()),
        None => (TERM_TYPE, term::external(value)),
    };
    alloc::vec![b"SALP.PUT".to_vec(), term::key_of(key), kind.into(), bytes]
}

fn error(reason: Term) -> Term {
    Term::tuple([Term::atom("error"), reason])
}

/// Sends a caller the answer to its request.
pub(crate) fn answer(ctx: &mut Context<'_, Payload>, caller: &Caller, replies: &Replies) {
    let Some(from) = &caller.from else { return };
    let mut tokens = replies.tokens();
    let term = match (caller.shape, tokens.next()) {
        (_, Some(Reply::Error(kind, _))) => error(reason(kind)),
        (Shape::Get, Some(Reply::Array(_))) => match (tokens.next(), tokens.next()) {
            (Some(Reply::Int(number)), _) => Term::tuple([Term::atom("ok"), Term::Int(number)]),
            (Some(Reply::Bulk(value)), Some(Reply::Bulk(kind))) => {
                Term::tuple([Term::atom("ok"), value_of(value, kind)])
            }
            _ => error(Term::atom("internal")),
        },
        (Shape::Get | Shape::Version, Some(Reply::Null)) => Term::atom("error"),
        (Shape::Version, Some(Reply::Array(4))) => version(tokens.nth(2)),
        (Shape::Swap, Some(Reply::Array(2))) => version(tokens.nth(1)),
        (Shape::Swap, Some(Reply::Null)) => error(Term::atom("changed")),
        (Shape::Get | Shape::Version | Shape::Swap, _) => error(Term::atom("internal")),
        // Redis's numbers: -2 means no key, -1 a key that does not expire.
        (Shape::Ttl, Some(Reply::Int(-2))) => Term::atom("error"),
        (Shape::Ttl, Some(Reply::Int(-1))) => Term::tuple([Term::atom("ok"), Term::atom("infinity")]),
        (Shape::Number | Shape::Ttl, Some(Reply::Int(number))) => Term::tuple([Term::atom("ok"), Term::from(number)]),
        (Shape::Number | Shape::Ttl, _) => error(Term::atom("internal")),
        (Shape::Done, _) => Term::atom("ok"),
    };
    ctx.reply(from, term);
}

/// `{ok, Version}`
fn version(token: Option<Reply<'_>>) -> Term {
    match token {
        Some(Reply::Bulk(version)) => Term::tuple([Term::atom("ok"), Term::Binary(Bytes::copy_from_slice(version))]),
        _ => error(Term::atom("internal")),
    }
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
