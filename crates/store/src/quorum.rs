//! Counts the acknowledgements of one write. Knows no clock, no address and no message.
//!
//! A write waits for the replicas it was sent to. Which of them have to answer depends on its [`Level`]; a replica
//! whose connection is lost is no longer waited for ([`Quorum::lose`]), one that answered counts for ever.

use crate::peers::PeerSet;

/// How many replicas have to hold a write before it is acknowledged, or agree before a read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Level {
    /// The primary alone.
    One,
    /// A majority of the live replicas.
    Quorum,
    /// Every live replica; past the write timeout a majority of them.
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

/// What a quorum has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Acknowledgements are missing and may still come.
    Open,
    /// Enough replicas hold the write.
    Met,
}

/// The acknowledgements of one write beyond the primary's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    level: Level,
    sent: PeerSet,
    /// Peers that were silent before: they count as copies, and nobody waits for them.
    excused: PeerSet,
    acked: PeerSet,
    /// Copies the write was meant for when it was made, the primary's included: what a majority is counted from.
    copies: u32,
}

impl Quorum {
    /// A write that the primary holds and that was sent to `sent`. Those of them in `excused` are not waited for as
    /// long as a majority holds the write without them.
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

    /// `peer` is lost: it is no live replica any more, so it is neither waited for nor counted.
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
    fn all_waits_for_each_and_a_lost_one_is_not_waited_for() {
        let mut write = Quorum::new(Level::All, peers(&[3, 7]), PeerSet::EMPTY);
        write.ack(3);
        assert_eq!(write.verdict(), Verdict::Open);
        write.lose(7);
        assert_eq!(write.verdict(), Verdict::Met);
        assert_eq!(write.held(), 2);
    }

    #[test]
    fn past_the_timeout_a_majority_is_enough() {
        let mut write = Quorum::new(Level::All, peers(&[1, 2]), PeerSet::EMPTY);
        write.relax();
        assert_eq!(write.verdict(), Verdict::Open, "one of three is no majority");
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
    fn a_stranger_and_a_repeat_count_for_nothing() {
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
    fn the_excused_are_not_waited_for_but_counted() {
        let mut write = Quorum::new(Level::All, peers(&[1, 2]), peers(&[2]));
        assert_eq!(write.verdict(), Verdict::Open);
        write.ack(1);
        assert_eq!(write.verdict(), Verdict::Met);
        let alone = Quorum::new(Level::All, peers(&[1, 2]), peers(&[1, 2]));
        assert_eq!(
            alone.verdict(),
            Verdict::Open,
            "a primary that hears nobody has no majority"
        );
    }
}
