//! The counters that `/metrics` and `INFO` show.

/// The counters: their names as `/metrics` has them, and what they count.
macro_rules! counters {
    ($($name:ident $help:literal;)*) => {
        /// Counters since the start of the node, or since `CONFIG RESETSTAT`.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl Counters {
            /// Names as `/metrics` has them, what they count, and their values.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help, self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    requests "Requests of clients of this node.";
    forwarded "Requests that another node executed.";
    connections "Client connections accepted.";
    no_nodes "Requests refused because no node within reach serves their shard.";
    parked "Requests that waited because replicas of their shard had yet to be compared.";
    timeouts "Requests that were not settled by their deadline.";
    writes_relaxed "Writes answered with a majority of replicas after the write timeout.";
    casts_dropped "Casts of BEAM processes dropped because too many of their requests were under way.";
    deltas "Deltas merged.";
    deltas_ahead "Deltas merged that came from a node whose time is far ahead.";
    chunks_sent "Chunks sent to replicas that lacked data.";
    chunks_merged "Chunks merged.";
    chunk_bytes "Bytes of chunks merged.";
    fills "Fills and repairs that ended well.";
    formed "Shards that were formed without a ready holder.";
    dropped "Shards handed over and dropped.";
    hits "Reads of a key that was there, executed here.";
    misses "Reads of a key that was not there, executed here.";
    expired "Keys that expired and were deleted here, by their primary.";
    connections_rejected "Connections of Redis clients refused because there were too many.";
    received_bytes "Bytes read from Redis clients.";
    sent_bytes "Bytes written to Redis clients.";
}

impl Counters {
    /// Counts a read of a key that existed, or did not.
    pub(crate) fn looked(&mut self, was_there: bool) {
        if was_there {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
    }
}
