//! One replica of one shard: its objects, its clock, and the events, merges and reads on them.
//!
//! Each write at a primary is a dot. It removes the siblings that the replica has seen, and adds its own or none. It is
//! sent as a delta. Deltas may come late, twice, in any order or never. Missing deltas are found by comparing clocks
//! (`entropy.rs`), and are sent as single keys or as the whole shard (`stream.rs`). After *DottedDB: Anti-Entropy
//! without Merkle Trees, Deletes without Tombstones* (Gonçalves, Almeida, Baquero, Fonte, SRDS 2017), with one clock
//! for each shard.
//! Invariants:
//!
//! - The main law: a dot enters the clock only together with the effect of its event on its key. So two replicas with
//!   equal clocks have equal siblings.
//! - Every sibling's dot is in the clock.
//! - A key has seen its context, the clock, and `wiped`. Contexts keep only dots that the other two lack. So a deleted
//!   key disappears as soon as the clock covers its past.
//! - The writer's own dots are never used twice, not even after the replica was dropped and created again: pass
//!   [`Shard::last`] of the former replica to [`Shard::new`].
//!
//! *Counting* does not overwrite what others wrote. The increments of a writer on a key form a run, which a put or a
//! delete ends. The run is one sibling with the running sum. Each new dot of the run overwrites all its earlier dots,
//! so a lost delta in between does no harm. A put or delete on one side of a partition ends the runs that it has seen.
//! If a run goes on at the other side, the whole run survives.
//!
//! *Expiry* hides a key at every replica at once. Some time later the primary deletes it, with an event. If each
//! replica freed the key by itself, and another writer had extended it meanwhile, the replica would lack a part of a
//! counter's sum (`docs/decisions/0019`).

mod entropy;
mod stream;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use self::entropy::{Missing, Part, Parted, Parts};
use self::stream::Feed;
pub use self::stream::{Chunk, Intake, Intaken};
use crate::clock::{Clock, ClockBytes, Span, encode_span};
use crate::codec::{AMOUNT_MAX, Malformed, Reader};
use crate::delta::{Delta, Event, put_delete, put_wipe, put_write};
use crate::dot::{Dot, Writer};
use crate::object::{Object, Sibling, Stored, Value, saturate};
pub use crate::objects::Overdue;
use crate::objects::{Found, Objects};
use crate::recent::Recent;
use crate::stamp::Stamp;
use crate::table::{self, Content, Record};

/// One replica of one shard.
pub struct Shard {
    writer: Writer,
    /// A former replica of the same writer may have used dots up to this counter.
    floor: u64,
    clock: Clock,
    /// Dots that every key of the shard has seen beyond the clock, because of a wipe.
    wiped: Clock,
    objects: Objects,
    /// None while there is no other replica to send recent writes to.
    recent: Option<Recent>,
    feeds: Vec<Feed>,
    /// How many dots the clock has gained since contexts were last shed.
    unshed: usize,
}

/// A key as a read shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// When it was last written.
    pub stamp: Stamp,
    /// When it expires, in milliseconds of the calendar.
    pub expiry_ms: Option<u64>,
    /// Its value.
    pub value: Value<'a>,
}

/// A delta that was received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its content. The caller must observe its stamp and acknowledge its dot.
    pub delta: Delta<'a>,
    /// Whether it was new here.
    pub fresh: bool,
}

/// Why a value cannot be incremented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountError {
    /// The value is not an integer of 64 bits.
    NotAnInteger,
    /// The sum would not fit into 64 bits.
    Overflow,
}

/// The size of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys with a value, including expired keys that are not deleted yet.
    pub keys: usize,
    /// Objects kept aside because they are not simple.
    pub aside: usize,
    /// Objects with a context, which wait for the clock to cover it.
    pub contexts: usize,
    /// Heap bytes, including recent writes.
    pub memory_bytes: usize,
    /// Streams of the whole shard under way to peers.
    pub streams: usize,
}

impl core::fmt::Debug for Shard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shard")
            .field("clock", &self.clock)
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}

impl Shard {
    /// An empty replica that writes as `writer` and uses no dot up to `floor`. `floor` is 0, or [`Shard::last`] of the
    /// replica that the same writer dropped earlier.
    pub fn new(writer: Writer, floor: u64) -> Self {
        Self {
            writer,
            floor,
            clock: Clock::new(),
            wiped: Clock::new(),
            objects: Objects::default(),
            recent: None,
            feeds: Vec::new(),
            unshed: 0,
        }
    }

    /// All dots that the replica has seen.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The highest counter that its writer may have used in this shard.
    pub fn last(&self) -> u64 {
        self.clock
            .last(self.writer)
            .max(self.wiped.last(self.writer))
            .max(self.floor)
    }

    /// How many keys it has, including expired keys that are not deleted yet.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// How many of them have a deadline. Keys with several values since a partition are not included.
    pub fn expiring(&self) -> usize {
        self.objects.table.expiring()
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its size, in constant time.
    pub fn stats(&self) -> Stats {
        let recent = self.recent.as_ref().map_or(0, Recent::memory_bytes);
        Stats {
            keys: self.objects.len(),
            aside: self.objects.aside(),
            contexts: self.objects.waiting(),
            memory_bytes: self.objects.memory_bytes() + recent,
            streams: self.feeds.len(),
        }
    }

    /// The keys and their contents.
    #[inline]
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Sets whether recent writes are remembered, for peers that miss a few. Without peers they are not worth the
    /// memory.
    pub fn remember(&mut self, on: bool) {
        if on {
            self.recent.get_or_insert_default();
        } else {
            self.recent = None;
        }
    }

    // Reads

    /// The value of `key` at `now_ms` of the calendar.
    pub fn view(&self, key: &[u8], now_ms: u64) -> Option<View<'_>> {
        self.view_hashed(table::hash(key), key, now_ms)
    }

    /// A number that is equal on replicas where `key` has the same writes, and changes with each write.
    pub fn version(&self, key: &[u8]) -> Option<u64> {
        let of = |dot: Dot| crate::clock::mix(dot.writer.0 ^ crate::clock::mix(dot.counter));
        match self.objects.get(table::hash(key), key)? {
            Found::Simple(record) => Some(of(record.dot)),
            Found::Aside(object) => object
                .siblings
                .iter()
                .map(|sibling| of(sibling.dot))
                .reduce(u64::wrapping_add),
        }
    }

    /// About `limit` keys whose hash is at least `from_hash`, in the order of their hashes, with their values at
    /// `now_ms`; and the hash to go on from, if there are more. A key that exists from the first call to the last is
    /// returned exactly once.
    pub fn scan(&self, from_hash: u64, limit: usize, now_ms: u64) -> (Vec<(&[u8], View<'_>)>, Option<u64>) {
        let (found, next) = self.objects.scan(from_hash, limit);
        let living = found.into_iter().filter_map(|(_, key, found)| {
            let view = view(found).filter(|view| view.lives(now_ms))?;
            Some((key, view))
        });
        (living.collect(), next)
    }

    /// A key picked by `random`, which must be uniform over all of `u64`. Only simple objects are picked, unless there
    /// are none.
    pub fn random(&self, random: u64) -> Option<&[u8]> {
        let simple = self.objects.table.random(random).map(|(key, _)| key);
        simple.or_else(|| {
            let mut aside = self.objects.iter_aside(0);
            aside
                .find(|(.., object)| !object.siblings.is_empty())
                .map(|(_, key, _)| key)
        })
    }

    fn view_hashed(&self, hash: u64, key: &[u8], now_ms: u64) -> Option<View<'_>> {
        view(self.objects.get(hash, key)?).filter(|view| view.lives(now_ms))
    }

    // Events at a primary

    /// Sets `key` to `bytes` of `format` (at most [`FORMAT_MAX`](crate::table::FORMAT_MAX)), and replaces any old
    /// value. Like all events, it appends to `delta` what the other replicas must receive. `delta` is none if there are
    /// no other replicas.
    pub fn put(
        &mut self,
        key: &[u8],
        format: u8,
        bytes: &[u8],
        expiry_ms: Option<u64>,
        stamp: Stamp,
        delta: Option<&mut Vec<u8>>,
    ) -> Dot {
        let content = Content::Plain { format, bytes };
        let record = Record {
            dot: self.next(),
            stamp,
            expiry_ms,
            content,
        };
        self.overwrite(table::hash(key), key, &record, delta);
        record.dot
    }

    /// Removes `key`. Returns none, without an event, if the key has no value at `now_ms`.
    pub fn delete(&mut self, key: &[u8], stamp: Stamp, now_ms: u64, delta: Option<&mut Vec<u8>>) -> Option<Dot> {
        let hash = table::hash(key);
        self.view_hashed(hash, key, now_ms)?;
        Some(self.remove(hash, key, stamp, delta))
    }

    /// Looks at up to `limit` simple objects and as many others, starting where the last call ended. Overdue objects
    /// are deleted; each is passed to `gone` with the dot of its event. Returns how many objects were looked at.
    pub fn expire(
        &mut self,
        overdue: Overdue,
        limit: usize,
        stamp: Stamp,
        mut delta: Option<&mut Vec<u8>>,
        mut gone: impl FnMut(&[u8], Dot),
    ) -> usize {
        let (keys, looked) = self.objects.overdue(overdue, limit);
        for key in keys {
            let dot = self.remove(table::hash(&key), &key, stamp, delta.as_deref_mut());
            gone(&key, dot);
        }
        looked
    }

    /// Adds `by` to `key` and returns the sum. A key without a value at `now_ms` starts from 0. A key that has an
    /// expiry keeps it.
    pub fn count(
        &mut self,
        key: &[u8],
        by: i64,
        stamp: Stamp,
        now_ms: u64,
        delta: Option<&mut Vec<u8>>,
    ) -> Result<(Dot, i64), CountError> {
        let hash = table::hash(key);
        let Some(view) = self.view_hashed(hash, key, now_ms) else {
            let dot = self.next();
            let content = Content::Counter {
                since: dot.counter,
                amount: by.into(),
            };
            let record = Record {
                dot,
                stamp,
                expiry_ms: None,
                content,
            };
            self.overwrite(hash, key, &record, delta);
            return Ok((dot, by));
        };
        let now = match view.value {
            Value::Integer(now) => now,
            Value::Plain { bytes, .. } => crate::object::integer(bytes).ok_or(CountError::NotAnInteger)?,
        };
        let sum = now.checked_add(by).ok_or(CountError::Overflow)?;
        let (expiry_ms, stamp) = (view.expiry_ms, stamp.max(view.stamp.next()));
        Ok((self.run(hash, key, by, expiry_ms, stamp, delta), sum))
    }

    /// Changes the expiry of `key`. Returns none, without an event, if the key has no value at `now_ms`.
    pub fn touch(
        &mut self,
        key: &[u8],
        expiry_ms: Option<u64>,
        stamp: Stamp,
        now_ms: u64,
        delta: Option<&mut Vec<u8>>,
    ) -> Option<Dot> {
        let hash = table::hash(key);
        let view = self.view_hashed(hash, key, now_ms)?;
        let stamp = stamp.max(view.stamp.next());
        match view.value {
            Value::Integer(_) => Some(self.run(hash, key, 0, expiry_ms, stamp, delta)),
            Value::Plain { format, bytes } => {
                let bytes = bytes.to_vec();
                Some(self.put(key, format, &bytes, expiry_ms, stamp, delta))
            }
        }
    }

    /// Removes everything in the shard, with one dot.
    pub fn wipe(&mut self, stamp: Stamp, delta: Option<&mut Vec<u8>>) -> Dot {
        let dot = self.next();
        if let Some(out) = delta {
            put_wipe(out, dot, stamp);
            self.encode_seen(out, &Clock::new());
        }
        self.objects.table.clear();
        self.objects.change_aside(|_, object| object.siblings.clear());
        self.clock.insert(dot);
        self.changed_all();
        dot
    }

    fn next(&self) -> Dot {
        Dot {
            writer: self.writer,
            counter: self.last() + 1,
        }
    }

    /// An event that removes everything seen of the key.
    fn remove(&mut self, hash: u64, key: &[u8], stamp: Stamp, delta: Option<&mut Vec<u8>>) -> Dot {
        let dot = self.next();
        let context = self.take_context(hash, key);
        if let Some(out) = delta {
            put_delete(out, key, dot, stamp);
            self.encode_seen(out, &context);
        }
        self.saw(hash, key, dot);
        self.objects.table.remove(hash, key);
        self.put_back(
            hash,
            key,
            Object {
                context,
                ..Object::default()
            },
        );
        dot
    }

    /// An event that overwrites everything seen of the key.
    fn overwrite(&mut self, hash: u64, key: &[u8], record: &Record<'_>, delta: Option<&mut Vec<u8>>) {
        let context = self.take_context(hash, key);
        if let Some(out) = delta {
            put_write(out, key, record);
            self.encode_seen(out, &context);
        }
        self.saw(hash, key, record.dot);
        if context.is_empty() {
            self.objects.table.put(hash, key, record);
        } else {
            self.objects.table.remove(hash, key);
            self.put_back(
                hash,
                key,
                Object {
                    context,
                    ..Sibling::from(record).into()
                },
            );
        }
    }

    /// The context of a key that is about to be overwritten. The key is removed from the objects aside.
    fn take_context(&mut self, hash: u64, key: &[u8]) -> Clock {
        let aside = self.objects.take_aside(hash, key);
        aside.map(|object| object.context).unwrap_or_default()
    }

    /// An event that continues the writer's own run, or begins one, beside the other content of the key.
    fn run(
        &mut self,
        hash: u64,
        key: &[u8],
        by: i64,
        expiry_ms: Option<u64>,
        stamp: Stamp,
        delta: Option<&mut Vec<u8>>,
    ) -> Dot {
        let dot = self.next();
        let (before, alone) = match self.objects.get(hash, key) {
            Some(Found::Simple(record)) if record.dot.writer == self.writer => match record.content {
                Content::Counter { since, amount } => (Some((since, amount)), true),
                Content::Plain { .. } => (None, false),
            },
            Some(Found::Aside(object)) => (object.run_of(self.writer), false),
            Some(Found::Simple(_)) | None => (None, false),
        };
        let (since, amount) = before.unwrap_or((dot.counter, 0));
        let content = Content::Counter {
            since,
            amount: amount.saturating_add(by.into()).clamp(-AMOUNT_MAX, AMOUNT_MAX),
        };
        let record = Record {
            dot,
            stamp,
            expiry_ms,
            content,
        };
        if let Some(out) = delta {
            put_write(out, key, &record);
            let earlier = before.map(|_| Span {
                first: since,
                last: dot.counter - 1,
            });
            encode_span(out, self.writer, earlier);
        }
        self.saw(hash, key, dot);
        if alone {
            self.objects.table.put(hash, key, &record);
        } else {
            let mut object = self.objects.take(hash, key);
            object
                .siblings
                .retain(|sibling| sibling.dot.writer != self.writer || matches!(sibling.content, Stored::Plain { .. }));
            object.siblings.push(Sibling::from(&record));
            object.siblings.sort_unstable_by_key(|sibling| sibling.dot);
            self.put_back(hash, key, object);
        }
        dot
    }

    // Deltas from other replicas

    /// Takes one delta from `reader` and merges it. A delta that was seen before changes nothing, and neither does a
    /// malformed one.
    pub fn receive<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Received<'a>, Malformed> {
        let delta = Delta::take(reader)?;
        let fresh = !self.clock.contains(delta.dot);
        if fresh {
            match delta.event {
                Event::Write { key, record } => self.receive_event(&delta, key, Some(&record)),
                Event::Delete { key } => self.receive_event(&delta, key, None),
                Event::Wipe => self.receive_wipe(delta.dot, delta.context),
            }
        }
        Ok(Received { delta, fresh })
    }

    /// Reads what every event changes, so that it is in the CPU cache: the clock, and the end of the recent writes. The
    /// result has no other use.
    #[inline]
    pub(crate) fn load_clock(&self) -> usize {
        self.clock.load() ^ self.recent.as_ref().map_or(0, Recent::load)
    }

    /// Applies an event of a peer that leaves `record` of `key`, or nothing.
    fn receive_event(&mut self, delta: &Delta<'_>, key: &[u8], record: Option<&Record<'_>>) {
        let hash = table::hash(key);
        let &Delta { dot, context, .. } = delta;
        let overwritten = |held: Record<'_>| context.contains(held.dot);
        // The usual case: no dots are missing, and the key has one write, which is overwritten.
        let simple = self.wiped.is_empty()
            && context.is_covered_by(&self.clock)
            && self.objects.get_aside(hash, key).is_none()
            && self.objects.table.get(hash, key).is_none_or(overwritten);
        if simple {
            match record {
                Some(record) => self.objects.table.put(hash, key, record),
                None => self.objects.table.remove(hash, key),
            };
            return self.saw(hash, key, dot);
        }
        let mut theirs = record.map(Sibling::from).map(Object::from).unwrap_or_default();
        theirs.context = context.to_clock();
        theirs.context.insert(dot);
        let mut object = self.objects.take(hash, key);
        object.merge(theirs, |dot| self.has_seen(dot), |_| false);
        self.saw(hash, key, dot);
        self.put_back(hash, key, object);
    }

    fn receive_wipe(&mut self, dot: Dot, context: ClockBytes<'_>) {
        let context = context.to_clock();
        if self.objects.aside() == 0 && context.covers(&self.clock) {
            self.objects.table.clear();
        } else {
            self.objects.remove(|_, dot| context.contains(dot));
        }
        self.wiped.join(&context);
        self.clock.insert(dot);
        self.changed_all();
    }

    // Upkeep

    /// Closes dots that were lost with their writers: adds `dead` to the clock, so that contexts do not wait for them
    /// any more. This is allowed only if no replica that may come back has any of these dots: their writer is gone for
    /// good, and the current replicas are in sync. All current replicas must close the same dots. Normally these are
    /// all dots of a writer up to the highest counter in any clock or in [`Shard::waiting`].
    pub fn close(&mut self, dead: &Clock) {
        self.clock.join(dead);
        self.shed();
    }

    /// Dots that this replica knows were used, but has not seen.
    pub fn waiting(&self) -> Clock {
        let mut waiting = self.wiped.clone();
        for (_, _, object) in self.objects.iter_aside(0) {
            waiting.join(&object.context);
        }
        waiting.subtract(&self.clock);
        waiting
    }

    /// Removes dots from contexts that the clock covers now. This also happens by itself sooner or later. Reads do not
    /// need it.
    pub fn shed(&mut self) {
        self.unshed = 0;
        self.wiped.subtract(&self.clock);
        if self.objects.waiting() > 0 {
            let (clock, wiped) = (&self.clock, &self.wiped);
            self.objects.change_aside(|_, object| {
                object.context.subtract(clock);
                object.context.subtract(wiped);
            });
        }
    }

    fn has_seen(&self, dot: Dot) -> bool {
        self.clock.contains(dot) || self.wiped.contains(dot)
    }

    /// Appends everything that a key with `context` has seen.
    fn encode_seen(&self, out: &mut Vec<u8>, context: &Clock) {
        if context.is_empty() && self.wiped.is_empty() {
            return self.clock.encode(out);
        }
        let mut seen = self.seen();
        seen.join(context);
        seen.encode(out);
    }

    /// Everything that every key of the shard has seen.
    fn seen(&self) -> Clock {
        let mut seen = self.clock.clone();
        seen.join(&self.wiped);
        seen
    }

    /// Adds a dot about `key` to the clock and to the recent writes.
    fn saw(&mut self, hash: u64, key: &[u8], dot: Dot) {
        self.clock.insert(dot);
        if let Some(recent) = &mut self.recent {
            recent.push(dot, key, self.objects.memory_bytes());
        }
        for feed in &mut self.feeds {
            feed.changed(hash, key);
        }
        if self.objects.waiting() > 0 || !self.wiped.is_empty() {
            self.unshed += 1;
            if self.unshed > self.objects.aside() {
                self.shed();
            }
        }
    }

    /// To be called after a change of the clock that does not concern one key.
    fn changed_all(&mut self) {
        let keys = self.objects.len();
        self.feeds.iter_mut().for_each(|feed| feed.restart(keys));
        self.shed();
    }

    /// Puts back the content that was taken of a key, without dots that need not be kept.
    fn put_back(&mut self, hash: u64, key: &[u8], mut object: Object) {
        object.context.subtract(&self.clock);
        object.context.subtract(&self.wiped);
        self.objects.store(hash, key, object);
    }
}

impl View<'_> {
    fn lives(&self, now_ms: u64) -> bool {
        self.expiry_ms.is_none_or(|expiry_ms| now_ms < expiry_ms)
    }
}

fn view(found: Found<'_>) -> Option<View<'_>> {
    match found {
        Found::Simple(Record {
            stamp,
            expiry_ms,
            content,
            ..
        }) => {
            let value = match content {
                Content::Plain { format, bytes } => Value::Plain { format, bytes },
                Content::Counter { amount, .. } => Value::Integer(saturate(amount)),
            };
            Some(View {
                stamp,
                expiry_ms,
                value,
            })
        }
        Found::Aside(object) => {
            let top = object.top()?;
            Some(View {
                stamp: top.stamp,
                expiry_ms: top.expiry_ms,
                value: object.value()?,
            })
        }
    }
}
