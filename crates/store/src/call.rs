//! The view of a command on the shard it runs on, and how clients see values.

use alloc::{borrow::Cow, string::ToString, vec::Vec};
use bytes::Bytes;
use wire::{
    etf,
    reply::{ErrorKind, Replies},
    request::Args,
};

use crate::{
    config::Config,
    counters::Counters,
    keyspaces::Span,
    object::{Value, integer},
    scripts::Scripts,
    shard::Shard,
    stamp::{Hlc, Stamp},
};

/// Format of a value: bytes as they are.
pub const RAW: u8 = 0;
/// Format of a value: an Erlang term in external format, its version byte included.
pub const TERM: u8 = 1;
/// Format of a value: a length byte, a content type of that length, and the bytes.
pub const TYPED: u8 = 2;
/// Format of a value: an integer that a BEAM wrote, in decimal. A BEAM reads an integer; counting commands work as on
/// any number.
pub const INTEGER: u8 = 3;

/// The content type of [`TERM`] values in HTTP.
pub const TERM_TYPE: &str = "application/x-erlang-term";

/// One request on one shard. A command writes exactly one reply.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its arguments, the command's name first.
    pub args: Args<'a>,
    /// Gets the reply.
    pub replies: &'a mut Replies,
    /// Cluster time, in Unix milliseconds.
    pub now_ms: u64,
    /// How many milliseconds the wall clock of the client's node is ahead of cluster time.
    pub wall_ahead_ms: i64,
    /// The number of the keyspace.
    pub keyspace: u16,
    /// The slots and shards of the keyspace.
    pub span: &'a Span,
    /// The limits.
    pub config: &'a Config,
    /// A random number, for commands that choose at random.
    pub random: u64,
    /// The shard. Writes go through the methods here, which stamp them and record the delta.
    pub shard: &'a mut Shard,
    pub(crate) counters: &'a mut Counters,
    pub(crate) hlc: &'a mut Hlc,
    pub(crate) scripts: &'a mut Scripts,
    /// Whether there is memory for what makes the shard larger.
    pub(crate) may_grow: bool,
    /// The stamp of all writes of a transaction. So of two transactions that had not seen each other, the same one is
    /// shown for each key that both wrote.
    pub(crate) stamp: Option<Stamp>,
    /// Collects what other replicas must receive; none if there is no other replica.
    pub(crate) delta: Option<&'a mut Vec<u8>>,
}

impl<'a> Call<'a> {
    /// Argument `index`, where 0 is the name. Empty if it does not exist; the arity of the row rules that out where it
    /// matters.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index).unwrap_or_default()
    }

    /// The same shard with another request. Its reply goes behind those written so far.
    pub(crate) fn part<'b>(&'b mut self, args: Args<'b>) -> Call<'b> {
        Call {
            args,
            replies: self.replies,
            now_ms: self.now_ms,
            wall_ahead_ms: self.wall_ahead_ms,
            keyspace: self.keyspace,
            span: self.span,
            config: self.config,
            random: self.random,
            shard: self.shard,
            counters: self.counters,
            hlc: self.hlc,
            scripts: self.scripts,
            may_grow: self.may_grow,
            stamp: self.stamp,
            delta: self.delta.as_deref_mut(),
        }
    }

    /// The version of a key, which changes with every write; 0 if there is no such key.
    pub(crate) fn version(&self, key: &[u8]) -> i64 {
        match self.shard.view(key, self.now_ms) {
            None => 0,
            Some(_) => self.shard.version(key).unwrap_or(0).cast_signed(),
        }
    }

    /// A time on the client's wall clock, in cluster time. The first and the last moments of 64 bits stay what they
    /// are.
    pub fn cluster_ms(&self, wall_ms: i64) -> i64 {
        wall_ms.saturating_sub(self.wall_ahead_ms)
    }

    /// Converts cluster time to a time on the client's wall clock.
    pub fn wall_ms(&self, cluster_ms: u64) -> i64 {
        let cluster_ms = i64::try_from(cluster_ms).unwrap_or(i64::MAX);
        cluster_ms.saturating_add(self.wall_ahead_ms).max(0)
    }

    /// Whether a value of `bytes` may be stored. If not, writes the error.
    pub fn admits(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.config.value_bytes_max;
        if !fits {
            self.replies.value_too_large(self.config.value_bytes_max);
        }
        fits
    }

    /// The same for a command that makes a value longer, with Redis's error text.
    pub fn admits_grown(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.config.value_bytes_max;
        if !fits {
            let text = "string exceeds maximum allowed size (proto-max-bulk-len)";
            self.replies.error(ErrorKind::Err, text);
        }
        fits
    }

    /// The stamp of the next write.
    fn stamp(&mut self) -> Stamp {
        self.stamp.unwrap_or_else(|| self.hlc.tick(self.now_ms))
    }

    /// Begins a transaction: the writes from here on have one stamp.
    pub(crate) fn begin_transaction(&mut self) {
        self.stamp = Some(self.hlc.tick(self.now_ms));
    }

    /// Overwrites a key.
    pub fn put(&mut self, key: &[u8], format: u8, bytes: &[u8], expiry_ms: Option<u64>) {
        let stamp = self.stamp();
        self.shard
            .put(key, format, bytes, expiry_ms, stamp, self.delta.as_deref_mut());
    }

    /// Removes a key. Returns false if there was none.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let stamp = self.stamp();
        self.shard
            .delete(key, stamp, self.now_ms, self.delta.as_deref_mut())
            .is_some()
    }

    /// Adds to a number and returns the sum; `Err` if the value is not a number, or the sum does not fit.
    pub fn count(&mut self, key: &[u8], by: i64) -> Result<i64, crate::shard::CountError> {
        self.drop_type(key);
        let stamp = self.stamp();
        self.shard
            .count(key, by, stamp, self.now_ms, self.delta.as_deref_mut())
            .map(|(_, sum)| sum)
    }

    /// Drops the content type of a number (`curl -d 7` sends one): the value can be counted, and is a plain number from
    /// then on.
    fn drop_type(&mut self, key: &[u8]) {
        let Some(view) = self.shard.view(key, self.now_ms) else {
            return;
        };
        let Value::Plain { format: TYPED, bytes } = view.value else {
            return;
        };
        let (number, expiry_ms) = (split_typed(bytes).1, view.expiry_ms);
        if integer(number).is_some() {
            let number = number.to_vec();
            self.put(key, RAW, &number, expiry_ms);
        }
    }

    /// Sets or removes the deadline of a key.
    pub fn touch(&mut self, key: &[u8], expiry_ms: Option<u64>) {
        let stamp = self.stamp();
        self.shard
            .touch(key, expiry_ms, stamp, self.now_ms, self.delta.as_deref_mut());
    }

    /// Removes all keys of the shard.
    pub fn wipe(&mut self) {
        let stamp = self.stamp();
        self.shard.wipe(stamp, self.delta.as_deref_mut());
    }
}

/// A value as Redis clients see it: numbers in decimal, terms in Erlang syntax, all else as its bytes.
pub fn text<'a>(value: &Value<'a>) -> Cow<'a, [u8]> {
    match *value {
        Value::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
        Value::Plain { format: TERM, bytes } => match etf::decode(&Bytes::copy_from_slice(bytes)) {
            Ok(term) => Cow::Owned(term.to_string().into_bytes()),
            Err(_) => Cow::Borrowed(bytes),
        },
        Value::Plain { format: TYPED, bytes } => Cow::Borrowed(split_typed(bytes).1),
        Value::Plain { bytes, .. } => Cow::Borrowed(bytes),
    }
}

/// Content type and bytes of a [`TYPED`] value.
pub fn split_typed(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((&length, rest)) = bytes.split_first() else {
        return (b"", b"");
    };
    rest.split_at_checked(usize::from(length)).unwrap_or((b"", rest))
}

/// The format and bytes that would store this value again.
pub fn stored<'a>(value: &Value<'a>) -> (u8, Cow<'a, [u8]>) {
    match *value {
        Value::Integer(number) => (INTEGER, Cow::Owned(number.to_string().into_bytes())),
        Value::Plain { format, bytes } => (format, Cow::Borrowed(bytes)),
    }
}
