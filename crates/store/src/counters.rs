//! The counters that `/metrics` and `INFO` show.

/// Counters since the start of the node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Requests of clients of this node.
    pub requests: u64,
    /// Requests that another node executed.
    pub forwarded: u64,
    /// Client connections accepted.
    pub connections: u64,
    /// Requests refused because no reachable node serves their shard.
    pub no_nodes: u64,
    /// Requests that had to wait, because replicas of their shard were not compared yet.
    pub parked: u64,
    /// Requests that were not settled by their deadline.
    pub timeouts: u64,
    /// Writes that were acknowledged by a majority after the write timeout.
    pub writes_relaxed: u64,
    /// Casts of BEAM processes that were dropped because too many of their requests were under way.
    pub casts_dropped: u64,
    /// Deltas merged.
    pub deltas: u64,
    /// Deltas from a node whose time is too far ahead of this node's time to follow.
    pub deltas_ahead: u64,
    /// Chunks sent to replicas that lacked dots.
    pub chunks_sent: u64,
    /// Chunks merged.
    pub chunks_merged: u64,
    /// Bytes of chunks merged.
    pub chunk_bytes: u64,
    /// Fills and repairs that succeeded.
    pub fills: u64,
    /// Shards that were formed without a ready holder.
    pub formed: u64,
    /// Shards handed over and dropped.
    pub dropped: u64,
    /// Reads of a key that existed, executed here.
    pub hits: u64,
    /// Reads of a key that did not exist, executed here.
    pub misses: u64,
    /// Keys that expired and were deleted here, by their primary.
    pub expired: u64,
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

    /// Name in `/metrics`, description and value of each counter.
    pub fn named(&self) -> [(&'static str, &'static str, u64); 19] {
        [
            ("requests", "Requests of clients of this node.", self.requests),
            ("forwarded", "Requests that another node executed.", self.forwarded),
            ("connections", "Client connections accepted.", self.connections),
            (
                "no_nodes",
                "Requests refused because nobody within reach serves their shard.",
                self.no_nodes,
            ),
            (
                "parked",
                "Requests that waited because replicas of their shard had yet to be compared.",
                self.parked,
            ),
            (
                "timeouts",
                "Requests that were not settled by their deadline.",
                self.timeouts,
            ),
            (
                "writes_relaxed",
                "Writes that were content with a majority after the write timeout.",
                self.writes_relaxed,
            ),
            (
                "casts_dropped",
                "Casts of BEAM processes dropped because too many of their requests were under way.",
                self.casts_dropped,
            ),
            ("deltas", "Deltas merged.", self.deltas),
            (
                "deltas_ahead",
                "Deltas merged that came from a node whose time is far ahead.",
                self.deltas_ahead,
            ),
            (
                "chunks_sent",
                "Chunks sent to replicas that lacked something.",
                self.chunks_sent,
            ),
            ("chunks_merged", "Chunks merged.", self.chunks_merged),
            ("chunk_bytes", "Bytes of chunks merged.", self.chunk_bytes),
            ("fills", "Fills and repairs that ended well.", self.fills),
            ("formed", "Shards that were formed without a ready holder.", self.formed),
            ("dropped", "Shards handed over and dropped.", self.dropped),
            ("hits", "Reads of a key that was there, executed here.", self.hits),
            (
                "misses",
                "Reads of a key that was not there, executed here.",
                self.misses,
            ),
            (
                "expired",
                "Keys that expired and were deleted here, by their primary.",
                self.expired,
            ),
        ]
    }
}
