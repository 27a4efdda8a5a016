//! The third load: transactions, besides the requests of the second load.
//!
//! - *Wrapped* requests: one to three requests of the second load on one key, between `MULTI` and `EXEC`. Each reply
//!   within the reply to `EXEC` is judged as if the request stood alone. An error as the reply to `EXEC` is the outcome
//!   of all of them. Some transactions end with `DISCARD`: then none of the requests was executed.
//! - A *pair* is two keys of one slot. Only transactions write them, and each writes both with the same number, or
//!   deletes both. So whatever fails, both keys show the same number or nothing: in every reply that has both, and in
//!   every copy at every look of the checker. A pair belongs to one client, or all clients write it.
//! - A *guarded* key is written by all clients, and only in this way: `WATCH`, `GET`, then a `SET` in a transaction.
//!   The transaction is sent in the same batch or in the next one, through the same session. If it succeeds, its write
//!   is *based* on the value that `GET` showed.

use std::mem;

use store::ask::Session;
use wire::{
    reply::{ErrorKind, Reply, Retry, Tokens},
    request::Batch,
};

use super::{Asked, Client, Op, Workload};
use crate::{
    fault::Table,
    rules::Sight,
    shadow::{Kind, Read, Shadow, State},
};

/// This many of a thousand requests are transactions.
const TRANSACTIONS: u64 = 200;
/// This many of a thousand batches of a piecemeal client begin with `WATCH`.
const WATCHES: u64 = 250;
/// This many of a thousand transactions end with `DISCARD`.
const DISCARDED: u64 = 40;
/// This many of a thousand transactions are on a pair; the others are wrapped requests.
const ON_PAIR: u64 = 600;
/// Pairs of each client, and pairs that all clients write.
const OWN_PAIRS: usize = 2;
const COMMON_PAIRS: usize = 3;
/// Guarded keys.
const GUARDED: usize = 3;

/// Two keys that are written together.
pub type Pair = [usize; 2];

/// The keys of this load.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The pairs of each client.
    own: Vec<Vec<Pair>>,
    /// The pairs that all clients write.
    common: Vec<Pair>,
    guarded: Vec<usize>,
}

/// The keys that a client watches, and what it has read since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    key: usize,
    /// The number of the write that `GET` showed; 0 if it showed nothing. None before the reply to `GET`.
    base: Option<usize>,
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Exec {
    ops: Vec<Op>,
    kind: Of,
    /// It ends with `DISCARD`.
    is_discarded: bool,
}

/// What a transaction does.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// Requests of other loads.
    Wrapped,
    /// Reads or writes both keys of a pair.
    Pair,
    /// This write of a guarded key. The read has what the request knows of the key.
    Guarded { read: Read, number: usize },
}

impl Keys {
    /// The keys for these clients.
    pub(super) fn new(clients: &[Client], shadow: &mut Shadow) -> Self {
        let mut pair = |name: String| ["a", "b"].map(|half| shadow.new_key(format!("{{{name}}}{half}")));
        let own = (0..clients.len()).map(|client| (0..OWN_PAIRS).map(|n| pair(format!("q{client}.{n}"))).collect());
        let own = own.collect();
        let common = (0..COMMON_PAIRS).map(|number| pair(format!("p.{number}"))).collect();
        let guarded = (0..GUARDED).map(|key| shadow.new_key(format!("o:{key}"))).collect();
        Self { own, common, guarded }
    }

    /// Whether several clients write a key.
    fn is_common(&self, key: usize) -> bool {
        self.guarded.contains(&key) || self.common.iter().any(|pair| pair.contains(&key))
    }
}

impl Exec {
    /// How many requests it has, with `MULTI` and `EXEC`.
    pub(super) fn requests(&self) -> usize {
        self.ops.len() + 2
    }
}

impl Workload {
    /// Whether a client takes replies in pieces. Only such a client can watch keys.
    fn is_piecemeal(&self, client: usize) -> bool {
        self.table == Table::Third && client.is_multiple_of(2)
    }

    /// All pairs.
    pub fn pairs(&self) -> impl Iterator<Item = Pair> {
        let keys = &self.keys;
        keys.own.iter().flatten().chain(&keys.common).copied()
    }

    /// The session for the next batch of a client: the one of its last batch, if the client watches a key.
    pub(super) fn session(&mut self, client: usize) -> Session {
        let is_piecemeal = self.is_piecemeal(client);
        let entry = &mut self.clients[client];
        let kept = entry.session.take().filter(|_| entry.watched.is_some());
        let mut session = kept.unwrap_or_else(|| Session::new(client as u64 + 1, true));
        session.piecemeal = is_piecemeal;
        entry.watch_failed = false;
        session
    }

    /// The client uses another connection: its session is lost.
    pub fn reconnects(&mut self, client: usize) {
        let client = &mut self.clients[client];
        (client.watched, client.session) = (None, None);
    }

    // Asking

    /// Whether the client has read a watched key, and writes it in its next batch.
    pub(super) fn is_watching(&self, client: usize) -> bool {
        self.clients[client]
            .watched
            .is_some_and(|watched| watched.base.is_some())
    }

    /// The batch of a client that watches a key, or begins to.
    pub(super) fn guarded(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Option<Vec<Op>> {
        if !self.is_piecemeal(client) {
            return None;
        }
        if self.is_watching(client)
            && let Some(watched) = self.clients[client].watched
        {
            return Some(vec![self.write_guarded(watched.key, now_us, batch)]);
        }
        self.clients[client].watched = None;
        if !self.random.chance(WATCHES) {
            return None;
        }
        let key = self.random.pick(&self.keys.guarded);
        batch.push(&[b"WATCH", self.name(key)]);
        batch.push(&[b"GET", self.name(key)]);
        let mut ops = vec![Op::Watch { key }, Op::Glance(self.shadow.read(key, now_us))];
        if self.random.chance(400) {
            ops.push(self.write_guarded(key, now_us, batch));
        }
        Some(ops)
    }

    fn write_guarded(&mut self, key: usize, now_us: u64, batch: &mut Batch) -> Op {
        let read = self.shadow.read(key, now_us);
        let (number, value) = self.begin(key, Kind::Set);
        batch.push(&[b"MULTI"]);
        batch.push(&[b"SET", self.name(key), &value]);
        batch.push(&[b"EXEC"]);
        Op::Exec(Box::new(Exec {
            ops: vec![Op::Write { key, number }],
            kind: Of::Guarded { read, number },
            is_discarded: false,
        }))
    }

    /// A transaction, now and then.
    pub(super) fn transaction(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Option<Op> {
        if self.table != Table::Third || !self.random.chance(TRANSACTIONS) {
            return None;
        }
        batch.push(&[b"MULTI"]);
        let (ops, kind) = if self.random.chance(ON_PAIR) {
            (self.on_pair(client, now_us, batch), Of::Pair)
        } else {
            (self.wrapped(client, now_us, batch), Of::Wrapped)
        };
        let is_discarded = self.random.chance(DISCARDED);
        batch.push(&[if is_discarded { b"DISCARD" } else { b"EXEC" }]);
        Some(Op::Exec(Box::new(Exec {
            ops,
            kind,
            is_discarded,
        })))
    }

    fn wrapped(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Vec<Op> {
        let count = self.random.between(1, 3);
        let key = match self.random.below(4) {
            0 => None,
            1 => Some(self.random.pick(&self.shared)),
            _ => Some(self.random.pick(&self.clients[client].exact)),
        };
        let op = |_| {
            let dice = self.random.below(100);
            match key {
                None => self.count(client, dice % 10, batch),
                Some(key) => self.deed_on(key, dice, now_us, batch),
            }
        };
        (0..count).map(op).collect()
    }

    /// Requests that read or write both keys of a pair, in any order of the two.
    fn on_pair(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Vec<Op> {
        let pair = if self.random.chance(600) {
            self.random.pick(&self.keys.common)
        } else {
            self.random.pick(&self.keys.own[client])
        };
        // Nobody must rely on the order in which a transaction writes its keys.
        let keys = if self.random.chance(500) {
            pair
        } else {
            [pair[1], pair[0]]
        };
        let dice = self.random.below(100);
        match dice {
            0..45 => self.put_pair(keys, dice, now_us, batch),
            45..53 => keys.map(|key| self.delete(key, now_us, batch)).into(),
            53..60 => {
                batch.push(&[b"DEL", self.name(keys[0]), self.name(keys[1])]);
                let gone = keys.map(|key| (key, self.shadow.begin(key, Kind::Del)));
                vec![Op::WriteMany(gone.into())]
            }
            60..80 => {
                let show = |key| {
                    batch.push(&[b"GET", self.name(key)]);
                    Op::Read(self.shadow.read(key, now_us))
                };
                keys.map(show).into()
            }
            _ => {
                batch.push(&[b"MGET", self.name(keys[0]), self.name(keys[1])]);
                vec![Op::ReadMany(keys.map(|key| self.shadow.read(key, now_us)).into())]
            }
        }
    }

    fn put_pair(&mut self, keys: Pair, dice: u64, now_us: u64, batch: &mut Batch) -> Vec<Op> {
        if dice < 15 {
            let [a, b] = keys.map(|key| self.begin(key, Kind::Set));
            batch.push(&[b"MSET", self.name(keys[0]), &a.1, self.name(keys[1]), &b.1]);
            return vec![Op::WriteMany(vec![(keys[0], a.0), (keys[1], b.0)])];
        }
        let put = |key| {
            if dice < 25 {
                return self.swap(key, now_us, batch);
            }
            let (number, value) = self.begin(key, Kind::Set);
            batch.push(&[b"SET", self.name(key), &value]);
            Op::Write { key, number }
        };
        keys.map(put).into()
    }

    // Being answered

    /// The owned keys that a transaction writes, with the numbers of the writes. Keys that several clients write are
    /// not included.
    pub(super) fn written_in(&self, exec: &Exec) -> Vec<(usize, usize)> {
        let written = exec.ops.iter().flat_map(|op| self.written_by(op));
        written.filter(|(key, _)| !self.keys.is_common(*key)).collect()
    }

    /// `WATCH` is answered.
    pub(super) fn watches(&mut self, client: usize, key: usize, is_done: bool) {
        self.clients[client].watched = is_done.then_some(Watched { key, base: None });
        self.clients[client].watch_failed |= !is_done;
    }

    /// A `GET` behind `WATCH` is answered.
    pub(super) fn glanced(&mut self, client: usize, reply: Reply<'_>) {
        let base = match reply {
            Reply::Null => Some(0),
            Reply::Bulk(value) => number_of(value),
            _ => None,
        };
        if let Some(watched) = &mut self.clients[client].watched {
            watched.base = base;
        }
    }

    pub(super) fn settle_exec(&mut self, exec: &Exec, state: State, asked: &Asked, sight: &Sight<'_>, now_us: u64) {
        for op in &exec.ops {
            self.settle(op, state, asked, sight, now_us);
        }
    }

    /// Whether the rules explain the replies to a transaction. `opened`: the reply to `MULTI`.
    pub(super) fn judge_exec(
        &mut self,
        exec: &Exec,
        opened: Reply<'_>,
        tokens: &mut Tokens<'_>,
        asked: &Asked,
        sight: &Sight<'_>,
        now_us: u64,
    ) -> Result<(), String> {
        let unexpected = |reply: Option<Reply<'_>>| Err(format!("{exec:?} is answered {reply:?}"));
        if opened != Reply::Ok {
            return unexpected(Some(opened));
        }
        let mut is_queued = true;
        for _ in &exec.ops {
            match tokens.next() {
                Some(Reply::Status("QUEUED")) => {}
                Some(Reply::Error(kind, _)) if kind.retry() == Retry::Safe => is_queued = false,
                other => return unexpected(other),
            }
        }
        // `EXEC` ends the watch in any case.
        let watched = self.clients[asked.client].watched.take();
        // After a `WATCH` that failed, the next transaction is refused.
        let is_spoiled = mem::take(&mut self.clients[asked.client].watch_failed);
        let state = match tokens.next() {
            Some(Reply::Ok) if exec.is_discarded => State::Refused,
            other if exec.is_discarded => return unexpected(other),
            Some(Reply::Error(ErrorKind::ExecAbort, _)) if !is_queued || is_spoiled => State::Refused,
            Some(Reply::Error(kind, _)) if kind.retry() == Retry::Safe => State::Refused,
            Some(Reply::Error(kind, _)) if kind.retry() == Retry::Unsafe => State::Unknown,
            // So no write is based on a value that is not watched.
            other @ Some(Reply::Array(_)) if is_spoiled => return unexpected(other),
            Some(Reply::NullArray) if is_queued && watched.is_some() => State::Refused,
            Some(Reply::Array(count)) if is_queued && count == exec.ops.len() => State::Acked,
            other => return unexpected(other),
        };
        if state != State::Acked {
            self.noted(state);
            self.settle_exec(exec, state, asked, sight, now_us);
            return Ok(());
        }
        let shown = tokens.clone();
        for op in &exec.ops {
            self.judge(op, tokens, asked, sight, now_us)?;
        }
        match exec.kind {
            Of::Wrapped => Ok(()),
            Of::Pair => agree(&exec.ops, shown),
            Of::Guarded { read, number } => match watched.and_then(|watched| watched.base) {
                Some(base) => self.shadow.is_based_on(read, number, base, sight, now_us),
                None => Ok(()),
            },
        }
    }
}

/// The number of the write that a value comes from.
pub fn number_of(value: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(value);
    text.rsplit('#').nth(1).and_then(|number| number.parse().ok())
}

/// Whether the replies to the requests on a pair agree: all values shown have the same number, and both keys were
/// deleted or none.
fn agree(ops: &[Op], mut tokens: Tokens<'_>) -> Result<(), String> {
    let (mut shown, mut counts) = (Vec::new(), Vec::new());
    for op in ops {
        let mut values = 1;
        while values > 0
            && let Some(token) = tokens.next()
        {
            values += token.children();
            values -= 1;
            match token {
                Reply::Bulk(value) => shown.push(number_of(value)),
                Reply::Null => shown.push(None),
                Reply::Int(count) if matches!(op, Op::WriteMany(_)) => counts.extend([count / 2, count - count / 2]),
                Reply::Int(count) => counts.push(count),
                _ => {}
            }
        }
    }
    let is_same = shown.windows(2).all(|two| two[0] == two[1]) && counts.windows(2).all(|two| two[0] == two[1]);
    if is_same {
        return Ok(());
    }
    Err(format!(
        "{ops:?} shows a part of a transaction: {shown:?}, counts {counts:?}"
    ))
}

#[cfg(test)]
mod tests {
    use wire::reply::Replies;

    use super::*;

    fn agrees(ops: &[Op], write: impl Fn(&mut Replies)) -> bool {
        let mut replies = Replies::new();
        write(&mut replies);
        agree(ops, replies.tokens()).is_ok()
    }

    #[test]
    fn replies_that_show_a_part_of_a_transaction_do_not_agree() {
        let single = [Op::TouchCounter, Op::TouchCounter];
        let shows = |a: &'static [u8], b: &'static [u8]| {
            agrees(&single, |replies| {
                replies.bulk(a);
                replies.bulk(b);
            })
        };
        assert!(shows(b"{p}a#7#..", b"{p}b#7#") && !shows(b"{p}a#7#", b"{p}b#8#"));
        let one_is_absent = |replies: &mut Replies| {
            replies.bulk(b"{p}a#7#");
            replies.null();
        };
        assert!(!agrees(&single, one_is_absent));
        let deletes = |count| agrees(&[Op::WriteMany(Vec::new())], |replies| replies.int(count));
        assert!(deletes(0) && deletes(2) && !deletes(1));
    }
}
