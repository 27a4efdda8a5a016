//! What a store counts and measures, and who waits for it.

use alloc::vec::Vec;
use wire::etf::Pid;

use crate::{ask::Measured, counters::Counters, peers::PeerSet, records::Records, vitals::Vitals};

/// How long the status of the cluster waits for the figures of all peers.
const INQUIRY_MS: u64 = 250;

/// A process waits for the status of the cluster.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub to: Pid,
    /// Peers that have not reported their figures since.
    open: PeerSet,
    until_ms: u64,
}

impl Inquiry {
    /// All peers have reported, or have had their time.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.open.is_empty() || now_ms >= self.until_ms
    }
}

/// Figures of this node.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub counters: Counters,
    /// What the server measured last.
    pub measured: Measured,
    /// Bytes of requests that may have made the store grow since then.
    pub grown_bytes: u64,
    /// What this node last reported to its peers.
    pub vitals: Vitals,
    /// What Redis clients see of the past: commands, errors, slow requests.
    pub records: Records,
    /// Answered within [`INQUIRY_MS`]. There are as many as the front ends have requests open.
    pub inquiries: Vec<Inquiry>,
}

impl Gauges {
    /// Counts from zero again.
    pub(crate) fn reset(&mut self) {
        self.counters = Counters::default();
        self.records.reset();
    }

    /// `to` is sent the status once these peers have reported.
    pub(crate) fn inquire(&mut self, to: Pid, open: PeerSet, now_ms: u64) {
        let until_ms = now_ms + INQUIRY_MS;
        self.inquiries.push(Inquiry { to, open, until_ms });
    }

    /// A peer has reported.
    pub(crate) fn reported(&mut self, slot: usize) {
        for inquiry in &mut self.inquiries {
            inquiry.open.remove(slot);
        }
    }
}
