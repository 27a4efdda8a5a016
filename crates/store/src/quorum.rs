//! Counts the acknowledgements of one write. It uses no clock, no addresses and no messages.
//!
//! A write waits for the replicas it was sent to. Its [`Level`] says how many of them must acknowledge it. A replica
//! whose connection is lost is not waited for any more ([`Quorum::lose`]). An acknowledgement counts forever.

use crate::peers::PeerSet;

/// How many replicas must hold a write before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// The primary alone.
    One,
    /// A majority of the live replicas.
    Quorum,
    /// Every live replica; after the write timeout, a majority of them.
    #[default]
    All,
}

impl Level {
    /// The level of this name: `one`, `quorum`, `all`.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "one" => Self::One,
            "quorum" => Self::Quorum,
            "all" => Self::All,
            _ => return None,
        })
    }

    /// Its byte on the wire.
    pub fn to_byte(self) -> u8 {
        self as u8
    }

    /// The level of this byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::One, Self::Quorum, Self::All].get(usize::from(byte)).copied()
    }
}

/// The state of a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledgements are missing and may still come.
    Open,
    /// Enough replicas hold the write.
    Met,
}

/// The acknowledgements of one write, in addition to the primary's own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    level: Level,
    sent: PeerSet,
    /// Peers that were silent before. They count as copies, but are not waited for.
    excused: PeerSet,
    acked: PeerSet,
    /// How many copies the write should have, as of when it was made, including the primary's. A majority is counted
    /// from this.
    copies: u32,
}

impl Quorum {
    /// A write that the primary holds and that was sent to `sent`. Peers in `excused` are not waited for, as long as a
    /// majority without them holds the write.
    pub fn new(level: Level, sent: PeerSet, excused: PeerSet) -> Self {
        Self {
            level,
            sent,
            excused,
            acked: PeerSet::EMPTY,
            copies: sent.len() + 1,
        }
    }

    /// `peer` holds the write.
    pub fn ack(&mut self, peer: usize) {
        if self.sent.contains(peer) {
            self.acked.insert(peer);
        }
    }

    /// `peer` is lost. It is not a live replica any more, so it is neither waited for nor counted.
    pub fn lose(&mut self, peer: usize) {
        if self.sent.contains(peer) && !self.acked.contains(peer) {
            self.sent.remove(peer);
            self.copies -= 1;
        }
    }

    /// The write timeout has passed: a majority is enough from now on.
    pub fn relax(&mut self) {
        if self.level == Level::All {
            self.level = Level::Quorum;
        }
    }

    /// Peers that have not answered.
    pub fn silent(&self) -> PeerSet {
        self.sent.without(self.acked)
    }

    /// Copies that hold the write, the primary's included.
    pub fn held(&self) -> u32 {
        self.acked.len() + 1
    }

    /// Whether enough replicas hold the write.
    pub fn verdict(&self) -> Verdict {
        let majority = self.held() > self.copies / 2;
        let met = match self.level {
            Level::One => true,
            Level::Quorum => majority,
            Level::All => majority && self.silent().without(self.excused).is_empty(),
        };
        if met { Verdict::Met } else { Verdict::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(numbers: &[usize]) -> PeerSet {
        let mut set = PeerSet::EMPTY;
        for &n in numbers {
            set.insert(n);
        }
        set
    }

    #[test]
    fn level_all_waits_for_each_replica_but_not_for_a_lost_one() {
        let mut write = Quorum::new(Level::All, peers(&[3, 7]), PeerSet::EMPTY);
        write.ack(3);
        assert_eq!(write.verdict(), Verdict::Open);
        write.lose(7);
        assert_eq!(write.verdict(), Verdict::Met);
        assert_eq!(write.held(), 2);
    }

    #[test]
    fn after_the_timeout_a_majority_is_enough() {
        let mut write = Quorum::new(Level::All, peers(&[1, 2]), PeerSet::EMPTY);
        write.relax();
        assert_eq!(write.verdict(), Verdict::Open, "one of three is not a majority");
        write.ack(2);
        assert_eq!(write.verdict(), Verdict::Met);
        assert_eq!(write.silent(), peers(&[1]));
    }

    #[test]
    fn two_copies_have_no_majority_of_one() {
        let mut write = Quorum::new(Level::Quorum, peers(&[1]), PeerSet::EMPTY);
        assert_eq!(write.verdict(), Verdict::Open);
        write.ack(1);
        assert_eq!(write.verdict(), Verdict::Met);
    }

    #[test]
    fn acknowledgements_of_strangers_and_repeats_do_not_count() {
        let mut write = Quorum::new(Level::Quorum, peers(&[1, 2, 3, 4]), PeerSet::EMPTY);
        for peer in [9, 1, 1] {
            write.ack(peer);
        }
        assert_eq!((write.held(), write.verdict()), (2, Verdict::Open));
    }

    #[test]
    fn one_is_met_at_once() {
        assert_eq!(
            Quorum::new(Level::One, peers(&[1, 2]), PeerSet::EMPTY).verdict(),
            Verdict::Met
        );
    }

    #[test]
    fn excused_peers_are_counted_but_not_waited_for() {
        let mut write = Quorum::new(Level::All, peers(&[1, 2]), peers(&[2]));
        assert_eq!(write.verdict(), Verdict::Open);
        write.ack(1);
        assert_eq!(write.verdict(), Verdict::Met);
        let alone = Quorum::new(Level::All, peers(&[1, 2]), peers(&[1, 2]));
        assert_eq!(
            alone.verdict(),
            Verdict::Open,
            "a primary without acknowledgements has no majority"
        );
    }
}
