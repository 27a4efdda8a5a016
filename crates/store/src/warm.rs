//! Has the records that a batch is about fetched from memory side by side instead of one after the other.
//!
//! A lookup follows three pointers, and each waits for the memory behind it: index, page, record. Followed one key at a time
//! that is most of what a `GET` costs. Here each step is taken for all keys before the next one, and since those of
//! different keys do not depend on each other, the processor waits for many at once (*group prefetching*: Chen, Ailamaki,
//! Gibbons and Mowry, ICDE 2004). Plain loads do, for what was loaded is in the cache afterwards.
//!
//! Stop *execute* of a request, in front of it. Nothing is decided here: a guess that is wrong costs time.

use core::hint;

use wire::request::Batch;

use crate::{objects::Objects, slot, store::Store, table};

/// Requests that are warmed up together: more would push the first out of the nearest cache again.
pub(crate) const GROUP: usize = 32;
/// Fewer requests than this are not worth the trouble.
const GROUP_MIN: usize = 4;

impl Store {
    /// Warms up the requests of a batch from `first` on, one group of them, as far as their first argument is a key of
    /// this keyspace.
    #[inline(never)]
    pub(crate) fn warm(&self, batch: &Batch, first: usize, keyspace: u16) {
        let group = first..batch.len().min(first + GROUP);
        if group.len() < GROUP_MIN {
            return;
        }
        let base = usize::from(keyspace) * usize::from(self.config.shards);
        let mut places = [(0, 0); GROUP];
        let mut len = 0;
        for index in group {
            if let Some(key) = batch.request(index).get(1) {
                let shard = base + usize::from(slot::shard(slot::slot(key), self.config.shards));
                places[len] = (shard, table::hash(key));
                len += 1;
            }
        }
        // Short loops, so that many rounds of them are under way in the processor at once.
        let mut entries = [(0, Objects::NO_ENTRY); GROUP];
        for (entry, &(shard, hash)) in entries.iter_mut().zip(&places[..len]) {
            *entry = (shard, self.objects(shard).entry(hash));
        }
        let entries = &entries[..len];
        let mut loaded = 0;
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
