//! Has the records that a batch or a frame is about fetched from memory side by side instead of one after the other.
//!
//! A lookup follows three pointers, and each waits for the memory behind it: index, page, record. Followed one key at a
//! time that is most of what a `GET` costs. Here each step is taken for all keys before the next one, and since those
//! of different keys do not depend on each other, the processor waits for many at once (*group prefetching*: Chen,
//! Ailamaki, Gibbons and Mowry, ICDE 2004). Plain loads do, for what was loaded is in the cache afterwards.
//!
//! Stops *execute* and *apply* of a request, in front of them. Nothing is decided here: a guess that is wrong costs
//! time.

use core::hint;

use wire::request::Batch;

use crate::{
    codec::Reader,
    delta::Delta,
    message::{Frame, Message},
    objects::Objects,
    slot,
    store::Store,
    table,
};

/// Requests or deltas that are warmed up together: more would push the first out of the nearest cache again.
pub(crate) const GROUP: usize = 32;
/// Fewer than this are not worth the trouble.
const GROUP_MIN: usize = 4;

/// Where keys lie: shards, and hashes in them.
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
    /// Warms up the requests of a batch from `first` on, one group of them, as far as their first argument is a key of
    /// this keyspace.
    #[inline(never)]
    pub(crate) fn warm_requests(&self, batch: &Batch, first: usize, keyspace: u16) {
        let base = usize::from(keyspace) * usize::from(self.config.shards);
        let mut places = Places::default();
        for index in first..batch.len().min(first + GROUP) {
            if let Some(key) = batch.request(index).get(1) {
                places.push(
                    base + usize::from(slot::shard(slot::slot(key), self.config.shards)),
                    key,
                );
            }
        }
        self.warm(&places);
    }

    /// Warms up the deltas among the next messages of a frame, one group of them, and takes those messages off it.
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
        // Short loops, so that many rounds of them are under way in the processor at once.
        let mut entries = [(0, Objects::NO_ENTRY); GROUP];
        for (entry, &(shard, hash)) in entries.iter_mut().zip(&places.of[..places.len]) {
            *entry = (shard, self.objects(shard).entry(hash));
        }
        let entries = &entries[..places.len];
        let mut loaded = 0;
        // What replicas write beside the record. Alone, there is none of it.
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
