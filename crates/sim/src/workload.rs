//! The clients: which requests they make, and how they judge the replies.
//!
//! A client uses one node and has one batch under way at a time. If that node dies, the client does not know the
//! outcome of its batch, and goes to another node.
//!
//! This file has the requests of the first fault table. The second table has these and the requests in [`load`]. The
//! third has these and the [`transactions`].

mod load;
pub mod transactions;

use node::{Pid, Term};
use store::{
    ask::{Ask, Session},
    quorum::Level,
};
use wire::{
    reply::{ErrorKind, Replies, Reply, Retry, Tokens},
    request::Batch,
};

use self::{
    load::Deed,
    transactions::{Exec, Watched},
};
use crate::{
    fault::{Plan, Table},
    random::Random,
    rules::{Sight, Spot, detection_us},
    shadow::{Counter, Kind, Read, Shadow, Shown, State},
};

/// One request, and the data needed to judge its reply.
#[derive(Debug)]
enum Op {
    Write {
        key: usize,
        number: usize,
    },
    WriteMany(Vec<(usize, usize)>),
    /// Appends `bytes` bytes: the number of the write, and padding.
    Append {
        key: usize,
        number: usize,
        bytes: usize,
    },
    /// A touch changes an existing value only; the reply says whether there was one.
    Touch {
        key: usize,
        number: usize,
    },
    TouchCounter,
    Read(Read),
    ReadMany(Vec<Read>),
    Count {
        counter: usize,
        by: i64,
        add: usize,
    },
    Sum {
        counter: usize,
        low: i64,
        /// Increments that had been asked for.
        upto: usize,
    },
    Deed(Deed),
    Contend {
        key: usize,
        value: Option<String>,
    },
    Look {
        key: usize,
    },
    Exec(Box<Exec>),
    Watch {
        key: usize,
    },
    /// A read of the watched key.
    Glance(Read),
}

impl Op {
    /// How many requests it is.
    fn requests(&self) -> usize {
        match self {
            Self::Exec(exec) => exec.requests(),
            _ => 1,
        }
    }
}

/// A batch under way.
#[derive(Debug)]
pub struct Asked {
    client: usize,
    ops: Vec<Op>,
    level: Level,
    /// Where and when the batch was sent.
    pub spot: Spot,
    /// How long the node had been paused by then, in microseconds.
    pub stood_us: u64,
    /// When the last piece of the batch was sent.
    pub sent_us: u64,
    /// The replies to the pieces before.
    pub replies: Replies,
}

impl Asked {
    fn new(client: usize, ops: Vec<Op>, level: Level, spot: Spot, stood_us: u64) -> Self {
        Self {
            client,
            ops,
            level,
            spot,
            stood_us,
            sent_us: spot.asked_us,
            replies: Replies::new(),
        }
    }
}

/// The node that a client uses.
#[derive(Clone, Debug)]
pub struct Place {
    /// Index of the machine.
    pub machine: usize,
    /// Number of its life.
    pub life: u64,
    /// Its pid there.
    pub pid: Pid,
}

/// One client.
#[derive(Debug, Default)]
pub struct Client {
    /// None before the client has found a node.
    pub place: Option<Place>,
    /// None while the client waits before its next batch.
    pub asked: Option<Asked>,
    keys: Vec<usize>,
    fading: Vec<usize>,
    flushed: Vec<usize>,
    values: u64,
    /// The keys for requests that read and write at once, and the number of the client's own counter.
    exact: Vec<usize>,
    counter: usize,
    /// The key that it watches.
    watched: Option<Watched>,
    /// A `WATCH` of this batch failed: the `EXEC` behind it must be refused.
    watch_failed: bool,
    /// The session of its last batch.
    pub session: Option<Session>,
}

/// What a client sends to a node.
#[derive(Debug)]
pub enum Question {
    /// A batch, as the RESP and HTTP front ends make it.
    Batch(Box<Ask>),
    /// A call of a BEAM process.
    Call(Term),
}

/// All clients.
#[derive(Debug)]
pub struct Workload {
    /// The clients, by number.
    pub clients: Vec<Client>,
    /// The replies that the clients got.
    pub shadow: Shadow,
    random: Random,
    batch_max: u64,
    value_bytes_max: u64,
    table: Table,
    /// The shared keys, which all clients write.
    shared: Vec<usize>,
    keys: transactions::Keys,
    batches: u64,
    /// The level of the keyspaces, and how many copies a write needs.
    level: Level,
    min_acks: u32,
    detection_us: u64,
    /// Requests answered.
    pub requests: u64,
    /// Requests by outcome: done, refused, unknown.
    pub outcomes: [u64; 3],
    /// A planted bug: writes ask for level `one`, but are judged as if at level `all`.
    pub hasty: bool,
}

/// How many keys a client writes again and again, and how many of its keys expire.
const KEYS: usize = 12;
const FADING: usize = 3;
/// Keys of the second keyspace. All belong to the first client; only this client runs `FLUSHALL`.
const FLUSHED: usize = 6;
/// Number of counters; the last one is timed.
const COUNTERS: usize = 3;
/// Number of contended keys; the first one lasts.
const CONTENDED: usize = 3;
/// Longest value of a client's first key, in a run with large values. One value in this many is large.
const HUGE_BYTES_MAX: u64 = 1 << 20;
const HUGE_ONE_IN: u64 = 40;

impl Workload {
    /// The clients of a plan.
    pub fn new(plan: &Plan, random: Random) -> Self {
        let mut shadow = Shadow::default();
        let mut clients: Vec<Client> = (0..plan.load.clients).map(|_| Client::default()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.keys = (0..KEYS)
                .map(|key| shadow.new_key(format!("c{number}:{key}")))
                .collect();
            client.fading = (0..FADING)
                .map(|key| shadow.new_key(format!("f{number}:{key}")))
                .collect();
        }
        for counter in 0..COUNTERS {
            let timed = counter == COUNTERS - 1;
            shadow.counters.push(Counter::new(format!("n:{counter}"), timed));
        }
        for key in 0..CONTENDED {
            shadow.new_contended(format!("x:{key}"), key == 0);
        }
        if plan.keyspaces > 1 {
            clients[0].flushed = (0..FLUSHED).map(|key| shadow.new_key(format!("w:{key}"))).collect();
        }
        let shared = if plan.table != Table::First {
            load::new_keys(&mut clients, &mut shadow)
        } else {
            Vec::new()
        };
        let keys = if plan.table == Table::Third {
            transactions::Keys::new(&clients, &mut shadow)
        } else {
            transactions::Keys::default()
        };
        Self {
            clients,
            keys,
            shadow,
            random,
            batch_max: plan.load.batch_max,
            value_bytes_max: plan.load.value_bytes_max,
            table: plan.table,
            shared,
            batches: 0,
            level: plan.load.level,
            min_acks: plan.load.min_acks,
            detection_us: detection_us(plan.tick_ms),
            requests: 0,
            outcomes: [0; 3],
            hasty: false,
        }
    }

    // Asking

    /// The next request of a client that uses the node at `spot`.
    pub fn ask(&mut self, client: usize, mut spot: Spot, stood_us: u64) -> Option<Question> {
        self.batches += 1;
        spot.batch = self.batches;
        self.shadow.spot = spot;
        if self.table != Table::First && !self.is_watching(client) && self.random.chance(load::CALLS) {
            return self.call(client, spot, stood_us).map(Question::Call);
        }
        let level = self.random.pick(&[
            Level::All,
            Level::All,
            Level::All,
            Level::All,
            Level::Quorum,
            Level::One,
        ]);
        let mut batch = Batch::new();
        let guarded = self.guarded(client, spot.asked_us, &mut batch);
        let mut session = self.session(client);
        let ops = guarded.unwrap_or_else(|| {
            let count = self.random.between(1, self.batch_max);
            let flushes = !self.clients[client].flushed.is_empty() && self.random.chance(200);
            session.keyspace = u16::from(flushes);
            let op = if flushes { Self::op_in_second } else { Self::op };
            let op = |_| op(self, client, spot.asked_us, &mut batch);
            (0..count).map(op).collect()
        });
        let place = self.clients[client].place.clone()?;
        session.level = Some(if self.hasty { Level::One } else { level });
        self.clients[client].asked = Some(Asked::new(client, ops, level, spot, stood_us));
        Some(Question::Batch(Box::new(Ask::new(place.pid, session, batch))))
    }

    fn op(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Op {
        if let Some(op) = self.transaction(client, now_us, batch) {
            return op;
        }
        if self.table != Table::First && self.random.chance(load::DEEDS) {
            return self.deed(client, now_us, batch);
        }
        match self.random.below(100) {
            0..25 => {
                let key = self.own_key(client);
                let (number, value) = self.begin(key, Kind::Set);
                batch.push(&[b"SET", self.name(key), &value]);
                Op::Write { key, number }
            }
            25..30 => {
                // Each of these keys is written once, so that a later write cannot hide its loss.
                let number = self.shadow.len();
                let key = self.shadow.new_key(format!("once{client}:{number}"));
                let (number, value) = self.begin(key, Kind::Set);
                batch.push(&[b"SET", self.name(key), &value]);
                Op::Write { key, number }
            }
            30..40 => {
                let key = self.own_key(client);
                let (number, _) = self.begin(key, Kind::Del);
                batch.push(&[b"DEL", self.name(key)]);
                Op::Write { key, number }
            }
            40..42 => {
                let key = self.random.pick(&self.clients[client].fading);
                let (number, value) = self.begin(key, Kind::Set);
                batch.push(&[b"SET", self.name(key), &value]);
                Op::Write { key, number }
            }
            42..45 => {
                let key = self.random.pick(&self.clients[client].fading);
                let time_ms = self.random.between(100, 3_000);
                let (number, value) = self.begin(key, Kind::SetFor(time_ms * 1000));
                batch.push(&[b"SET", self.name(key), &value, b"PX", time_ms.to_string().as_bytes()]);
                Op::Write { key, number }
            }
            45..50 => {
                let mut keys = self.clients[client].keys.clone();
                keys.truncate(self.random.between(2, 6) as usize);
                let pairs = keys.iter().map(|&key| (key, self.begin(key, Kind::Set)));
                let pairs: Vec<(usize, (usize, Vec<u8>))> = pairs.collect();
                let mut args: Vec<&[u8]> = vec![b"MSET"];
                for (key, (_, value)) in &pairs {
                    args.extend([self.name(*key), value]);
                }
                batch.push(&args);
                Op::WriteMany(pairs.into_iter().map(|(key, (number, _))| (key, number)).collect())
            }
            50..53 => {
                let key = self.own_key(client);
                let (number, value) = self.begin(key, Kind::Set);
                self.shadow.measured(key, number, None);
                batch.push(&[b"APPEND", self.name(key), &value]);
                let bytes = value.len();
                Op::Append { key, number, bytes }
            }
            53..57 => self.touch(client, batch),
            57..58 => {
                let name = &self.shadow.counters[COUNTERS - 1].name;
                let time_ms = self.random.between(300, 3_000).to_string();
                if self.random.chance(500) {
                    batch.push(&[b"PERSIST", name.as_bytes()]);
                } else {
                    batch.push(&[b"PEXPIRE", name.as_bytes(), time_ms.as_bytes()]);
                }
                Op::TouchCounter
            }
            58..75 => {
                let key = self.any_key();
                batch.push(&[b"GET", self.name(key)]);
                Op::Read(self.shadow.read(key, now_us))
            }
            75..80 => {
                let count = self.random.between(2, 6);
                let keys: Vec<usize> = (0..count).map(|_| self.any_key()).collect();
                let mut args: Vec<&[u8]> = vec![b"MGET"];
                args.extend(keys.iter().map(|&key| self.name(key)));
                batch.push(&args);
                Op::ReadMany(keys.into_iter().map(|key| self.shadow.read(key, now_us)).collect())
            }
            80..86 => {
                let (counter, by) = (self.random.index(COUNTERS), self.random.between(1, 9) as i64);
                let name = self.shadow.counters[counter].name.clone();
                batch.push(&[b"INCRBY", name.as_bytes(), by.to_string().as_bytes()]);
                self.shadow.counters[counter].high += by;
                let add = self.shadow.add(counter, by);
                Op::Count { counter, by, add }
            }
            86..90 => {
                let counter = self.random.index(COUNTERS);
                let entry = &self.shadow.counters[counter];
                batch.push(&[b"GET", entry.name.as_bytes()]);
                Op::Sum {
                    counter,
                    low: entry.low,
                    upto: entry.len(),
                }
            }
            dice if self.table != Table::First => self.deed_on_shared(dice, now_us, batch),
            dice => self.contend(client, dice, batch),
        }
    }

    fn touch(&mut self, client: usize, batch: &mut Batch) -> Op {
        let key = self.random.pick(&self.clients[client].fading);
        let time_ms = self.random.between(100, 3_000);
        let persists = self.random.chance(500);
        let kind = if persists {
            Kind::Persist
        } else {
            Kind::Expire(time_ms * 1000)
        };
        let number = self.shadow.begin(key, kind);
        if persists {
            batch.push(&[b"PERSIST", self.name(key)]);
        } else {
            batch.push(&[b"PEXPIRE", self.name(key), time_ms.to_string().as_bytes()]);
        }
        Op::Touch { key, number }
    }

    /// A request of the first client in the second keyspace.
    fn op_in_second(&mut self, client: usize, now_us: u64, batch: &mut Batch) -> Op {
        let key = self.random.pick(&self.clients[client].flushed);
        match self.random.below(100) {
            0..40 => {
                let (number, value) = self.begin(key, Kind::Set);
                batch.push(&[b"SET", self.name(key), &value]);
                Op::Write { key, number }
            }
            40..50 => {
                let (number, _) = self.begin(key, Kind::Del);
                batch.push(&[b"DEL", self.name(key)]);
                Op::Write { key, number }
            }
            50..58 => {
                batch.push(&[b"FLUSHALL"]);
                let keys = self.clients[client].flushed.clone();
                let gone = |key| (key, self.shadow.begin(key, Kind::Del));
                Op::WriteMany(keys.into_iter().map(gone).collect())
            }
            _ => {
                batch.push(&[b"GET", self.name(key)]);
                Op::Read(self.shadow.read(key, now_us))
            }
        }
    }

    fn contend(&mut self, client: usize, dice: u64, batch: &mut Batch) -> Op {
        let deletes = (94..96).contains(&dice);
        let key = if deletes {
            1 + self.random.index(CONTENDED - 1)
        } else {
            self.random.index(CONTENDED)
        };
        let name = self.shadow.contended_name(key).to_owned();
        match dice {
            90..94 => {
                let entry = &mut self.clients[client];
                entry.values += 1;
                let value = format!("{client}.{}", entry.values);
                self.shadow.contended_write(key, &value, State::Pending);
                batch.push(&[b"SET", name.as_bytes(), value.as_bytes()]);
                Op::Contend {
                    key,
                    value: Some(value),
                }
            }
            94..96 => {
                batch.push(&[b"DEL", name.as_bytes()]);
                Op::Contend { key, value: None }
            }
            _ => {
                batch.push(&[b"GET", name.as_bytes()]);
                Op::Look { key }
            }
        }
    }

    fn begin(&mut self, key: usize, kind: Kind) -> (usize, Vec<u8>) {
        let number = self.shadow.begin(key, kind);
        let mut value = format!("{}#{number}#", self.shadow.name(key)).into_bytes();
        let mut padding = self.random.below(self.value_bytes_max + 1);
        let is_first = || self.clients.iter().any(|client| client.keys[0] == key);
        if self.value_bytes_max > 1_000 && is_first() && self.random.below(HUGE_ONE_IN) == 0 {
            padding = self.random.below(HUGE_BYTES_MAX + 1);
        }
        value.resize(value.len() + padding as usize, b'.');
        self.shadow.measured(key, number, Some(value.len()));
        (number, value)
    }

    fn name(&self, key: usize) -> &[u8] {
        self.shadow.name(key).as_bytes()
    }

    fn own_key(&mut self, client: usize) -> usize {
        self.random.pick(&self.clients[client].keys)
    }

    /// A key written once. Recent keys are picked more often, since most of these keys are old.
    fn any_key(&mut self) -> usize {
        let len = self.shadow.len();
        let recent = len - 1 - self.random.index(len.min(20));
        let old = self.random.index(len.min(self.clients.len() * (KEYS + FADING)));
        if self.random.chance(300) && crate::check::keyspace(self.shadow.name(recent)) == 0 {
            recent
        } else {
            old
        }
    }

    // Being answered

    /// A batch was answered.
    pub fn answered(&mut self, client: usize, replies: &Replies, sight: &Sight<'_>, now_us: u64) -> Result<(), String> {
        let Some(asked) = self.clients[client].asked.take() else {
            return Err(format!("client {client} is answered without having asked"));
        };
        if !replies.is_complete() || replies.count() != asked.ops.iter().map(Op::requests).sum::<usize>() {
            return Err(format!("client {client} got {replies:?} for {:?}", asked.ops));
        }
        let mut tokens = replies.tokens();
        for op in &asked.ops {
            self.requests += 1;
            self.judge(op, &mut tokens, &asked, sight, now_us)?;
        }
        Ok(())
    }

    /// The owned keys that a client asked to write at level `all`, with the numbers of the writes.
    pub fn written(&self, client: usize) -> Vec<(usize, usize)> {
        let Some(asked) = self.clients[client]
            .asked
            .as_ref()
            .filter(|asked| asked.level == Level::All)
        else {
            return Vec::new();
        };
        asked.ops.iter().flat_map(|op| self.written_by(op)).collect()
    }

    fn written_by(&self, op: &Op) -> Vec<(usize, usize)> {
        match op {
            Op::Write { key, number } | Op::Append { key, number, .. } => vec![(*key, *number)],
            Op::WriteMany(pairs) => pairs.clone(),
            Op::Exec(exec) => self.written_in(exec),
            // On a shared key, the write of another client may be the later one.
            Op::Deed(deed) => deed
                .sets()
                .into_iter()
                .filter(|(key, _)| !self.shared.contains(key))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// The node of a client died.
    pub fn abandoned(&mut self, client: usize, now_us: u64) {
        let Some(asked) = self.clients[client].asked.take() else {
            return;
        };
        for op in &asked.ops {
            self.settle(op, State::Unknown, &asked, &Sight::Quiet(false), now_us);
        }
        self.reconnects(client);
    }

    fn noted(&mut self, state: State) {
        self.outcomes[match state {
            State::Acked | State::Pending => 0,
            State::Refused => 1,
            State::Unknown => 2,
        }] += 1;
    }

    fn judge(
        &mut self,
        op: &Op,
        tokens: &mut Tokens<'_>,
        asked: &Asked,
        sight: &Sight<'_>,
        now_us: u64,
    ) -> Result<(), String> {
        let reply = tokens.next().ok_or("a reply is missing")?;
        if let Op::Exec(exec) = op {
            return self.judge_exec(exec, reply, tokens, asked, sight, now_us);
        }
        let state = match reply {
            Reply::Error(kind, text) => match kind.retry() {
                // A request that writes several keys may have written some of them, unless the whole batch was refused.
                Retry::Safe if matches!(op, Op::WriteMany(_)) && !is_refused_whole(kind, text) => State::Unknown,
                Retry::Safe => State::Refused,
                Retry::Unsafe => State::Unknown,
                Retry::Useless => return Err(format!("{op:?} is answered {kind:?} {text}")),
            },
            // There was no value to touch.
            Reply::Int(0) if matches!(op, Op::Touch { .. }) => State::Refused,
            _ if matches!(op, Op::Deed(deed) if deed.is_denied(reply)) => State::Refused,
            _ => State::Acked,
        };
        self.noted(state);
        self.settle(op, state, asked, sight, now_us);
        match op {
            Op::Watch { key } => self.watches(asked.client, *key, state == State::Acked),
            Op::Glance(_) => self.glanced(asked.client, reply),
            _ => {}
        }
        if let (Op::Deed(deed), false) = (op, matches!(reply, Reply::Error(..))) {
            return self.judge_deed(deed, reply, tokens, sight, now_us);
        }
        if state != State::Acked {
            return Ok(());
        }
        self.has_enough_copies(op, sight)?;
        let unexpected = || Err(format!("{op:?} is answered {reply:?}"));
        match (op, reply) {
            (Op::Read(read) | Op::Glance(read), _) => self.judge_read(*read, reply, asked, sight, now_us),
            (Op::ReadMany(reads), Reply::Array(count)) if count == reads.len() => {
                for read in reads {
                    let reply = tokens.next().ok_or("a reply is missing")?;
                    self.judge_read(*read, reply, asked, sight, now_us)?;
                }
                Ok(())
            }
            (Op::Sum { counter, low, upto }, Reply::Null | Reply::Bulk(_)) => {
                let sum = match reply {
                    Reply::Bulk(bytes) => text(bytes)
                        .parse()
                        .map_err(|_| format!("{op:?} is answered {reply:?}"))?,
                    _ => 0,
                };
                self.judge_sum(*counter, *upto, *low, sum, sight)
            }
            (Op::Look { key }, Reply::Null) => self.shadow.contended_shown(*key, None),
            (Op::Look { key }, Reply::Bulk(bytes)) => self.shadow.contended_shown(*key, Some(&text(bytes))),
            (Op::Write { .. } | Op::WriteMany(_) | Op::Contend { .. }, Reply::Ok | Reply::Int(0 | 1)) => Ok(()),
            (Op::WriteMany(_), Reply::Int(2)) | (Op::Watch { .. }, Reply::Ok) => Ok(()),
            (Op::Touch { .. } | Op::TouchCounter, Reply::Int(0 | 1)) => Ok(()),
            (Op::Append { bytes, .. }, Reply::Int(length)) if length >= *bytes as i64 => Ok(()),
            (Op::Count { counter, by, add }, Reply::Int(sum)) if matches!(sight, Sight::Known(_)) => {
                self.shadow.may_sum(*counter, *add, Some(*by), sum, sight)
            }
            (Op::Count { counter, by, .. }, Reply::Int(sum)) => {
                let high = self.shadow.counters[*counter].high;
                if (*by..=high).contains(&sum) {
                    return Ok(());
                }
                Err(format!(
                    "{op:?} is answered {sum}, which is not between {by} and {high}"
                ))
            }
            (_, _) => unexpected(),
        }
    }

    fn judge_read(
        &self,
        read: Read,
        reply: Reply<'_>,
        asked: &Asked,
        sight: &Sight<'_>,
        now_us: u64,
    ) -> Result<(), String> {
        let shown = match reply {
            Reply::Null => None,
            Reply::Bulk(value) => Some(self.shown(read.key, value)?),
            _ => {
                return Err(format!(
                    "a read of {} is answered {reply:?}",
                    self.shadow.name(read.key)
                ));
            }
        };
        self.shadow.shown(read, shown, sight, asked.spot.asked_us, now_us)
    }

    /// The write that a value comes from.
    pub fn shown(&self, key: usize, value: &[u8]) -> Result<Shown, String> {
        let (bytes, value) = (value.len(), text(value));
        let name = self.shadow.name(key);
        let number = value
            .strip_prefix(name)
            .and_then(|rest| rest.rsplit('#').nth(1))
            .and_then(|n| n.parse().ok());
        let shown = number.map(|number| Shown { number, bytes });
        shown.ok_or_else(|| format!("{name} shows {value:?}, which is another key's"))
    }

    /// Whether a counter may show `sum`. Only the first `upto` increments were asked for before the request.
    pub fn judge_sum(&self, counter: usize, upto: usize, low: i64, sum: i64, sight: &Sight<'_>) -> Result<(), String> {
        if matches!(sight, Sight::Known(_)) {
            return self.shadow.may_sum(counter, upto, None, sum, sight);
        }
        let low = if sight.is_calm() { low } else { 0 };
        let counter = &self.shadow.counters[counter];
        let low = if counter.excused || counter.timed { 0 } else { low };
        if (low..=counter.high).contains(&sum) {
            return Ok(());
        }
        Err(format!(
            "{} shows {sum}, which is not between {low} and {}",
            counter.name, counter.high
        ))
    }

    /// A write must be refused if fewer nodes than `min_acks` were together.
    fn has_enough_copies(&self, op: &Op, sight: &Sight<'_>) -> Result<(), String> {
        let writes = match op {
            Op::Read(_) | Op::ReadMany(_) | Op::Sum { .. } | Op::Look { .. } => false,
            Op::Watch { .. } | Op::Glance(_) | Op::Exec(_) => false,
            Op::Deed(deed) => deed.writes(),
            Op::Write { .. }
            | Op::WriteMany(_)
            | Op::Append { .. }
            | Op::Touch { .. }
            | Op::TouchCounter
            | Op::Count { .. }
            | Op::Contend { .. } => true,
        };
        if writes {
            self.enough_nodes(sight).map_err(|why| format!("{op:?} {why}"))?;
        }
        Ok(())
    }

    fn enough_nodes(&self, sight: &Sight<'_>) -> Result<(), String> {
        let Sight::Known(reader) = sight else { return Ok(()) };
        match reader.nodes_throughout(self.detection_us) {
            Some(nodes) if nodes < self.min_acks => Err(format!(
                "is acknowledged with {nodes} nodes in reach, and min_acks is {}",
                self.min_acks
            )),
            _ => Ok(()),
        }
    }

    fn settle(&mut self, op: &Op, state: State, asked: &Asked, sight: &Sight<'_>, now_us: u64) {
        // A write that only one node has may be lost with that node. The rules of the second table check the level
        // themselves.
        let forgets = matches!(sight, Sight::Quiet(_));
        let state = if forgets && state == State::Acked && asked.level == Level::One {
            State::Unknown
        } else {
            state
        };
        match op {
            Op::Write { key, number } | Op::Append { key, number, .. } | Op::Touch { key, number } => {
                self.shadow.end(*key, *number, state, asked.level, sight, now_us);
            }
            Op::WriteMany(pairs) => {
                for (key, number) in pairs {
                    self.shadow.end(*key, *number, state, asked.level, sight, now_us);
                }
            }
            Op::Deed(deed) => self.settle_deed(deed, state, asked.level, sight, now_us),
            Op::Count { counter, by, add } => {
                self.shadow.added((*counter, *add), state, asked.level, sight, now_us);
                let counter = &mut self.shadow.counters[*counter];
                match state {
                    State::Acked => {
                        counter.owed += by;
                        counter.low += if asked.level == Level::All { *by } else { 0 };
                    }
                    State::Refused => counter.high -= by,
                    State::Unknown | State::Pending => {}
                }
            }
            Op::Contend {
                key,
                value: Some(value),
            } => self.shadow.contended_write(*key, value, state),
            Op::Exec(exec) => self.settle_exec(exec, state, asked, sight, now_us),
            Op::Watch { .. }
            | Op::Glance(_)
            | Op::TouchCounter
            | Op::Contend { value: None, .. }
            | Op::Read(_)
            | Op::ReadMany(_)
            | Op::Sum { .. }
            | Op::Look { .. } => {}
        }
    }
}

/// Whether a node that leaves did nothing of the batch.
fn is_refused_whole(kind: ErrorKind, text: &str) -> bool {
    kind == ErrorKind::Stopping && text.contains("nothing was done; ask another node")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
