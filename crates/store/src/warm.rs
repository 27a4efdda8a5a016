//! Loads the records for a batch or a frame into the CPU cache, many at a time.
//!
//! A lookup follows three pointers, to index, page and record, and waits for memory at each one. For one key at a time,
//! this wait is most of the cost of a `GET`. Here each step is done for all keys before the next step. The loads for
//! different keys do not depend on each other, so the processor waits for many at once (*group prefetching*: Chen,
//! Ailamaki, Gibbons and Mowry, ICDE 2004). Plain loads are enough, since loaded memory is in the cache afterwards.
//!
//! Comes before the stops *execute* and *apply* of a request. Nothing is decided here: a wrong guess only costs time.

use core::hint;

use wire::request::Batch;

use crate::{
    codec::Reader,
    delta::Delta,
    message::{Frame, Message},
    objects::Objects,
    store::Store,
    table,
};

/// How many requests or deltas are loaded together. With more, the first would be evicted from the nearest cache again.
pub(crate) const GROUP: usize = 32;
/// Below this number it is not worth the effort.
const GROUP_MIN: usize = 4;

/// The places of keys: shards, and hashes in them.
#[derive(Default)]
struct Places {
    of: [(usize, u64); GROUP],
    len: usize,
}

impl Places {
    fn push(&mut self, shard: usize, key: &[u8]) {
        self.of[self.len] = (shard, table::hash(key));
        self.len += 1;
    }
}

impl Store {
    /// Loads the records for the next requests of a batch, from `first` on, one group of them. The first argument of
    /// each is taken for a key of this keyspace.
    #[inline(never)]
    pub(crate) fn warm_requests(&self, batch: &Batch, first: usize, keyspace: u16) {
        let span = self.layout.span(keyspace);
        let mut places = Places::default();
        for index in first..batch.len().min(first + GROUP) {
            if let Some(key) = batch.request(index).get(1) {
                places.push(span.shard_of(key), key);
            }
        }
        self.warm(&places);
    }

    /// Loads the records for the next deltas of a frame, one group of messages. Takes those messages from `ahead`.
    #[inline(never)]
    pub(crate) fn warm_deltas(&self, ahead: &mut Frame<'_>) {
        let mut places = Places::default();
        for _ in 0..GROUP {
            let Some(message) = ahead.next() else { break };
            let Ok(Message::Delta { shard, delta }) = message else {
                continue;
            };
            if let Some(key) = Delta::take(&mut Reader::new(delta)).ok().and_then(|delta| delta.key())
                && (shard as usize) < self.replicas.len()
            {
                places.push(shard as usize, key);
            }
        }
        self.warm(&places);
    }

    fn warm(&self, places: &Places) {
        if places.len < GROUP_MIN {
            return;
        }
        // The loops are short, so that the processor runs many rounds at the same time.
        let mut entries = [(0, Objects::NO_ENTRY); GROUP];
        for (entry, &(shard, hash)) in entries.iter_mut().zip(&places.of[..places.len]) {
            *entry = (shard, self.objects(shard).entry(hash));
        }
        let entries = &entries[..places.len];
        let mut loaded = 0;
        // A node with peers also writes the clock and the recent writes.
        if !self.cluster.is_alone() {
            for &(shard, _) in entries {
                loaded ^= self.replicas[shard].shard.load_clock();
            }
        }
        for &(shard, entry) in entries {
            loaded ^= self.objects(shard).load_page(entry);
        }
        for &(shard, entry) in entries {
            loaded ^= self.objects(shard).load_record(entry);
        }
        hint::black_box(loaded);
    }

    fn objects(&self, shard: usize) -> &Objects {
        self.replicas[shard].shard.objects()
    }
}
