//! The second load: requests that read before they write, on keys of one client and on shared keys, through the RESP,
//! HTTP and BEAM front ends.
//!
//! - An *exact* key is written by one client only. What this client may be told about the key follows from what it was
//!   told before. A *shared* key is written by all clients.
//! - Every value contains its key and the number of its write, for every client; `APPEND` adds such a piece.
//! - The HTTP front end turns its requests into `SALP.GET` and `SALP.PUT`, one in a batch. A BEAM process calls `salp`
//!   with a term, and gets a term as the answer.

use bytes::Bytes;
use node::Term;
use store::quorum::Level;
use wire::{
    reply::{ErrorKind, Replies, Reply, Tokens},
    request::Batch,
};

use super::{Asked, Client, Op, Workload};
use crate::{
    rules::{Sight, Spot},
    shadow::{Counter, Kind, Read, Shadow, State},
};

/// This many of a thousand requests are those of this file.
pub(super) const DEEDS: u64 = 550;
/// This many of a thousand batches are calls of BEAM processes.
pub(super) const CALLS: u64 = 120;
/// Exact keys of each client.
const EXACT: usize = 5;
/// Shared keys.
const SHARED: usize = 4;
/// This many of a thousand requests of this file use a shared key.
const ON_SHARED: u64 = 300;

/// What the dice show for these requests.
const GETSET: u64 = 36;
const DEL: u64 = 66;

/// Allowed reasons for the refusal of a call; any other reason is a bug.
const KINDS: [ErrorKind; 9] = [
    ErrorKind::NoNodes,
    ErrorKind::Timeout,
    ErrorKind::NoQuorum,
    ErrorKind::NoReplicas,
    ErrorKind::ClusterDown,
    ErrorKind::Loading,
    ErrorKind::Stopping,
    ErrorKind::TryAgain,
    ErrorKind::Busy,
];

/// What a request does to its key, which decides how its reply is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// `SET`.
    Put,
    /// `SALP.PUT`: the reply says whether the key is new.
    PutTyped,
    /// `SETNX`, or `SET … NX`: writes only if there is no value.
    PutNew,
    /// `GETSET`, or `SET … GET`: the reply has the old value.
    Swap,
    /// `GETDEL`.
    Take,
    /// `APPEND` of this many bytes.
    Append(usize),
    /// `DEL`: the reply counts the deleted keys.
    Delete,
    /// `{delete, K}`: the reply has no count.
    Clear,
    /// `EXISTS`.
    Exists,
    /// `STRLEN`.
    Length,
    /// `GET`.
    Show,
    /// `GETRANGE`: the reply is empty if there is no value.
    ShowRange,
    /// `SALP.GET`: with type, version and deadline.
    ShowTyped,
}

/// One request of this load.
#[derive(Debug)]
pub(super) struct Deed {
    act: Act,
    read: Read,
    /// Number of its write, if it writes.
    number: Option<usize>,
}

impl Deed {
    /// Whether the reply says that the request changed nothing.
    pub(super) fn is_denied(&self, reply: Reply<'_>) -> bool {
        self.act == Act::PutNew && matches!(reply, Reply::Int(0) | Reply::Null)
    }

    /// Whether the request writes.
    pub(super) fn writes(&self) -> bool {
        self.number.is_some()
    }

    /// The write that a copy must hold once it is acknowledged, whatever the old value was.
    pub(super) fn sets(&self) -> Option<(usize, usize)> {
        let number = self.number?;
        matches!(self.act, Act::Put | Act::PutTyped | Act::Swap).then_some((self.read.key, number))
    }
}

/// Gives each client its keys and its counter. Returns the shared keys.
pub(super) fn new_keys(clients: &mut [Client], shadow: &mut Shadow) -> Vec<usize> {
    for (number, client) in clients.iter_mut().enumerate() {
        client.exact = (0..EXACT)
            .map(|key| shadow.new_key(format!("e{number}:{key}")))
            .collect();
        client.counter = shadow.counters.len();
        shadow.counters.push(Counter::new(format!("m:{number}"), false));
    }
    (0..SHARED).map(|key| shadow.new_key(format!("s:{key}"))).collect()
}

impl Workload {
    /// A request of this load.
    pub(super) fn deed(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Op {
        let dice = self.random.below(100);
        if dice < 12 {
            return self.count(client, dice, batch);
        }
        let key = if self.random.chance(ON_SHARED) {
            self.random.pick(&self.shared)
        } else if self.random.chance(850) {
            self.random.pick(&self.clients[client].exact)
        } else {
            return self.look_at_another(now_us, batch);
        };
        self.deed_on(key, dice, now_us, batch)
    }

    /// A request to a shared key.
    pub(super) fn deed_on_shared(&mut self, dice: u64, now_us: u64, batch: &mut Batch) -> Op {
        let key = self.random.pick(&self.shared);
        self.deed_on(key, dice, now_us, batch)
    }

    /// Reads an exact key of any client.
    fn look_at_another(&mut self, now_us: u64, batch: &mut Batch) -> Op {
        let other = self.random.index(self.clients.len());
        let key = self.random.pick(&self.clients[other].exact);
        batch.push(&[b"GET", self.name(key)]);
        self.show(key, now_us, Act::Show)
    }

    fn show(&self, key: usize, now_us: u64, act: Act) -> Op {
        Op::Deed(Deed {
            act,
            read: self.shadow.read(key, now_us),
            number: None,
        })
    }

    /// Increments or reads the client's own counter.
    pub(super) fn count(&mut self, client: usize, dice: u64, batch: &mut Batch) -> Op {
        let counter = self.clients[client].counter;
        let name = self.shadow.counters[counter].name.clone();
        let size = self.random.between(1, 9) as i64;
        let (command, by): (&[u8], i64) = match dice {
            0..5 => (b"INCRBY", size),
            5..8 => (b"DECRBY", -size),
            _ => {
                batch.push(&[b"GET", name.as_bytes()]);
                let upto = self.shadow.counters[counter].len();
                return Op::Sum { counter, low: 0, upto };
            }
        };
        batch.push(&[command, name.as_bytes(), size.to_string().as_bytes()]);
        let add = self.shadow.add(counter, by);
        Op::Count { counter, by, add }
    }

    pub(super) fn deed_on(&mut self, key: usize, dice: u64, now_us: u64, batch: &mut Batch) -> Op {
        let read = self.shadow.read(key, now_us);
        let kind = match dice {
            ..60 => Some(Kind::Set),
            60..72 => Some(Kind::Del),
            _ => None,
        };
        let (number, value) = match kind {
            Some(Kind::Del) => (Some(self.shadow.begin(key, Kind::Del)), Vec::new()),
            Some(kind) => {
                let (number, value) = self.begin(key, kind);
                (Some(number), value)
            }
            None => (None, Vec::new()),
        };
        let (name, value) = (self.name(key), value.as_slice());
        let act = match dice {
            ..22 => {
                batch.push(&[b"SET", name, value]);
                Act::Put
            }
            22..27 => {
                batch.push(&[b"SALP.PUT", name, b"", value]);
                Act::PutTyped
            }
            27..32 => {
                batch.push(&[b"SETNX", name, value]);
                Act::PutNew
            }
            32..36 => {
                batch.push(&[b"SET", name, value, b"NX"]);
                Act::PutNew
            }
            36..40 => {
                batch.push(&[b"GETSET", name, value]);
                Act::Swap
            }
            40..44 => {
                batch.push(&[b"SET", name, value, b"GET"]);
                Act::Swap
            }
            44..60 => {
                batch.push(&[b"APPEND", name, value]);
                Act::Append(value.len())
            }
            60..66 => {
                batch.push(&[b"GETDEL", name]);
                Act::Take
            }
            66..72 => {
                batch.push(&[b"DEL", name]);
                Act::Delete
            }
            72..76 => {
                batch.push(&[b"EXISTS", name]);
                Act::Exists
            }
            76..80 => {
                batch.push(&[b"STRLEN", name]);
                Act::Length
            }
            80..84 => {
                batch.push(&[b"GETRANGE", name, b"0", b"-1"]);
                Act::ShowRange
            }
            84..89 => {
                batch.push(&[b"SALP.GET", name]);
                Act::ShowTyped
            }
            _ => {
                batch.push(&[b"GET", name]);
                Act::Show
            }
        };
        if let (Act::Append(_), Some(number)) = (act, number) {
            self.shadow.measured(key, number, None);
        }
        Op::Deed(Deed { act, read, number })
    }

    /// `GETSET` of a key.
    pub(super) fn swap(&mut self, key: usize, now_us: u64, batch: &mut Batch) -> Op {
        self.deed_on(key, GETSET, now_us, batch)
    }

    /// `DEL` of a key, whose reply counts it.
    pub(super) fn delete(&mut self, key: usize, now_us: u64, batch: &mut Batch) -> Op {
        self.deed_on(key, DEL, now_us, batch)
    }

    // Calls of BEAM processes

    /// The call that a client makes as a BEAM process.
    pub(super) fn call(&mut self, client: usize, spot: Spot, stood_us: u64) -> Option<Term> {
        let pid = self.clients[client].place.clone()?.pid;
        let key = if self.random.chance(ON_SHARED) {
            self.random.pick(&self.shared)
        } else {
            self.random.pick(&self.clients[client].exact)
        };
        let read = self.shadow.read(key, spot.asked_us);
        let binary = |bytes: &[u8]| Term::Binary(Bytes::copy_from_slice(bytes));
        let (verb, rest, op) = match self.random.below(10) {
            0..4 => {
                let (number, value) = self.begin(key, Kind::Set);
                let deed = Deed {
                    act: Act::Put,
                    read,
                    number: Some(number),
                };
                ("put", vec![binary(self.name(key)), binary(&value)], Op::Deed(deed))
            }
            4 => {
                let deed = Deed {
                    act: Act::Clear,
                    read,
                    number: Some(self.shadow.begin(key, Kind::Del)),
                };
                ("delete", vec![binary(self.name(key))], Op::Deed(deed))
            }
            5..7 => {
                let (counter, by) = (self.clients[client].counter, self.random.between(1, 9) as i64);
                let add = self.shadow.add(counter, by);
                let name = self.shadow.counters[counter].name.as_bytes();
                (
                    "incr",
                    vec![binary(name), Term::Int(by)],
                    Op::Count { counter, by, add },
                )
            }
            _ => {
                let name = binary(self.name(key));
                ("get", vec![name], self.show(key, spot.asked_us, Act::Show))
            }
        };
        self.clients[client].asked = Some(Asked::new(client, vec![op], self.level, spot, stood_us));
        let mut request = vec![Term::atom(verb)];
        request.extend(rest);
        let from = Term::tuple([Term::Pid(pid), Term::Int(spot.batch.cast_signed())]);
        Some(Term::tuple([Term::atom("$gen_call"), from, Term::Tuple(request)]))
    }

    /// Turns the answer to a client's call into the reply to a request; none if it answers no call that is under way.
    pub fn reply_of(&self, client: usize, answer: &Term) -> Option<Replies> {
        let asked = self.clients[client].asked.as_ref()?;
        let [tag, answer] = answer.as_tuple()? else { return None };
        if tag.as_int() != Some(asked.spot.batch.cast_signed()) {
            return None;
        }
        let mut replies = Replies::new();
        match answer.as_tuple() {
            None if answer.is_atom("ok") => replies.ok(),
            Some([word, value]) if word.is_atom("ok") => match (value.as_binary(), value.as_int()) {
                (Some(bytes), _) => replies.bulk(bytes),
                (None, Some(number)) => replies.int(number),
                (None, None) => replies.error(ErrorKind::Err, "neither bytes nor a number"),
            },
            Some([word, reason]) if word.is_atom("error") => {
                let kind = KINDS.into_iter().find(|kind| reason.is_atom(kind.name()));
                replies.error(kind.unwrap_or(ErrorKind::Err), "");
            }
            _ if answer.is_atom("error") => replies.null(),
            _ => replies.error(ErrorKind::Err, "no such answer"),
        }
        Some(replies)
    }

    // Being answered

    /// What each request under way does, as one word. Planted bugs in replies need it.
    pub fn acts(&self, client: usize) -> Vec<&'static str> {
        let ops = self.clients[client].asked.iter().flat_map(|asked| &asked.ops);
        let word = |op: &Op| match op {
            Op::Count { .. } => "count",
            Op::Watch { .. } => "watch",
            Op::Deed(deed) => match deed.act {
                Act::PutNew => "new",
                Act::Swap => "swap",
                Act::Append(_) => "append",
                Act::Delete => "delete",
                Act::Exists => "exists",
                Act::Length => "length",
                Act::ShowRange => "range",
                Act::Put | Act::PutTyped | Act::Take | Act::Clear | Act::Show | Act::ShowTyped => "",
            },
            _ => "",
        };
        ops.map(word).collect()
    }

    pub(super) fn settle_deed(&mut self, deed: &Deed, state: State, level: Level, sight: &Sight<'_>, now_us: u64) {
        if let Some(number) = deed.number {
            self.shadow.end(deed.read.key, number, state, level, sight, now_us);
        }
    }

    /// Whether the rules explain the reply to a deed.
    pub(super) fn judge_deed(
        &mut self,
        deed: &Deed,
        reply: Reply<'_>,
        tokens: &mut Tokens<'_>,
        sight: &Sight<'_>,
        now_us: u64,
    ) -> Result<(), String> {
        let read = deed.read;
        let there = |there: bool| self.shadow.is_there(read, there, sight, now_us);
        let shows = |value: Option<&[u8]>| {
            let shown = value.map(|value| self.shown(read.key, value)).transpose()?;
            self.shadow.shown(read, shown, sight, sight.asked_us(now_us), now_us)
        };
        let verdict = match (deed.act, reply) {
            (Act::Put | Act::Clear, Reply::Ok) => Ok(()),
            (Act::PutTyped, Reply::Array(2)) => {
                let is_new = matches!(tokens.next(), Some(Reply::Int(1)));
                tokens.next();
                there(!is_new)
            }
            (Act::PutNew, Reply::Ok | Reply::Int(1)) => there(false),
            (Act::PutNew, Reply::Null | Reply::Int(0)) => there(true),
            (Act::Delete | Act::Exists, Reply::Int(count @ (0 | 1))) => there(count == 1),
            (Act::Swap | Act::Take | Act::Show, Reply::Null) => shows(None),
            (Act::Swap | Act::Take | Act::Show, Reply::Bulk(value)) => shows(Some(value)),
            (Act::ShowRange, Reply::Bulk(value)) => shows(Some(value).filter(|value| !value.is_empty())),
            (Act::ShowTyped, Reply::Null) => shows(None),
            (Act::ShowTyped, Reply::Array(4)) => {
                let value = tokens.next();
                for _ in 0..3 {
                    tokens.next();
                }
                match value {
                    Some(Reply::Bulk(value)) => shows(Some(value)),
                    other => Err(format!("shows {other:?}")),
                }
            }
            (Act::Length, Reply::Int(length)) => self.shadow.has_length(read, length as usize, sight, now_us),
            (Act::Append(bytes), Reply::Int(length)) => {
                let before = usize::try_from(length)
                    .ok()
                    .and_then(|length| length.checked_sub(bytes));
                let verdict = match before {
                    Some(before) => self.shadow.has_length(read, before, sight, now_us),
                    None => Err(format!("it has {length} bytes, and {bytes} were appended")),
                };
                if let Some(number) = deed.number {
                    self.shadow.measured(read.key, number, Some(length as usize));
                }
                verdict
            }
            (_, _) => Err("that is no reply to it".into()),
        };
        verdict.map_err(|why| match reply {
            Reply::Bulk(_) => format!("{:?}: {why}", deed.act),
            _ => format!("{:?} is answered {reply:?}: {why}", deed.act),
        })?;
        self.has_enough_copies_for(deed, reply, sight)
    }

    fn has_enough_copies_for(&self, deed: &Deed, reply: Reply<'_>, sight: &Sight<'_>) -> Result<(), String> {
        if deed.is_denied(reply) || !deed.writes() {
            return Ok(());
        }
        self.enough_nodes(sight).map_err(|why| format!("{:?} {why}", deed.act))
    }
}
