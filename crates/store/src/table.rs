//! Stand-in.
use crate::dot::Dot;
use crate::stamp::Stamp;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub dot: Dot,
    pub stamp: Stamp,
    pub expiry_ms: Option<u64>,
    pub content: Content<'a>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Plain { format: u8, bytes: &'a [u8] },
    Counter { since: u64, amount: i64 },
}
pub fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}
#[derive(Debug, Clone)]
enum Owned {
    Plain(u8, Box<[u8]>),
    Counter(u64, i64),
}
#[derive(Debug, Default)]
pub struct Table(BTreeMap<(u64, Box<[u8]>), (Dot, Stamp, Option<u64>, Owned)>);
fn view(v: &(Dot, Stamp, Option<u64>, Owned)) -> Record<'_> {
    Record {
        dot: v.0,
        stamp: v.1,
        expiry_ms: v.2,
        content: match &v.3 {
            Owned::Plain(format, bytes) => Content::Plain {
                format: *format,
                bytes,
            },
            Owned::Counter(since, amount) => Content::Counter {
                since: *since,
                amount: *amount,
            },
        },
    }
}
impl Table {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Record<'_>> {
        self.0.get(&(hash, key.into())).map(view)
    }
    pub fn put(&mut self, hash: u64, key: &[u8], r: &Record<'_>) -> bool {
        let owned = match r.content {
            Content::Plain { format, bytes } => Owned::Plain(format, bytes.into()),
            Content::Counter { since, amount } => Owned::Counter(since, amount),
        };
        self.0
            .insert((hash, key.into()), (r.dot, r.stamp, r.expiry_ms, owned))
            .is_some()
    }
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> bool {
        self.0.remove(&(hash, key.into())).is_some()
    }
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Record<'_>)> {
        self.0.iter().map(|(k, v)| (&k.1[..], view(v)))
    }
    pub fn memory_bytes(&self) -> usize {
        self.0.iter().map(|(k, _)| k.1.len() + 64).sum()
    }
    pub fn clear(&mut self) {
        self.0.clear();
    }
    /// All records from hash `from`, at least `limit` unless the end comes first; the hash to go on from.
    pub fn scan(&self, from: u64, limit: usize) -> (Vec<(&[u8], Record<'_>)>, Option<u64>) {
        let mut out = Vec::new();
        let mut last = None;
        for (k, v) in self.0.range((from, Box::default())..) {
            if out.len() >= limit && last != Some(k.0) {
                return (out, Some(k.0));
            }
            last = Some(k.0);
            out.push((&k.1[..], view(v)));
        }
        (out, None)
    }

    pub fn expired(&self, now_ms: u64, limit: usize, cursor: u64) -> (Vec<&[u8]>, u64) {
        let n = self.0.len() as u64;
        let keys = self
            .0
            .iter()
            .skip(cursor as usize)
            .take(limit)
            .filter(|(_, v)| v.2.is_some_and(|e| e <= now_ms))
            .map(|(k, _)| &k.1[..])
            .collect();
        let next = cursor + limit as u64;
        (keys, if next < n { next } else { 0 })
    }
    pub fn random(&self, random: u64) -> Option<(&[u8], Record<'_>)> {
        self.iter()
            .nth((random % self.0.len().max(1) as u64) as usize)
    }
}
pub const FORMAT_MAX: u8 = 31;
