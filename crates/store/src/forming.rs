//! Whether shards without a ready copy in reach may be formed, that is, start empty: the facts for this decision, and
//! what each node reports to its peers. Nothing is sent from here. `docs/decisions/0022` has the reasons.
//!
//! - Every node reports in its [`Roll`] which members it knows and whether it waits for any node. A node forms shards
//!   only while every member it knows is connected and reports the same roll, and no node waits. Then every member that
//!   any of them knows has agreed.
//! - Before a cluster is formed, its nodes agree on its id (`node::Identity`). The roll contains it.
//! - Shards formed in another way are *provisional*: they are thrown away when the cluster is met. The same holds for
//!   shards that a node formed alone, as long as nothing was written: an empty cluster of one node is no loss.

use alloc::{format, string::String, vec, vec::Vec};
use node::{Claim, Identity, Member, MemberState};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{codec::Malformed, peers::PEERS_MAX, stamp::Stamp};

/// When a node that waits for others first reports that, and how often it repeats the report.
const NOTE_FIRST_MS: u64 = 3_000;
const NOTE_EVERY_MS: u64 = 60_000;
/// Shards formed more than this time after the cluster were lost by all nodes that held them.
const FORMED_LATER_MS: u64 = 5_000;

/// A node's settings for forming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// If a starting node still waits for others after this time, it forms provisionally; 0: never.
    pub form_after_ms: u64,
    /// A cluster is formed for the first time only when this many nodes have met; 0 and 1: any number.
    pub expect: u32,
    /// Whether discovery finds the names. Then the first cluster is not formed before discovery has answered.
    pub discovers: bool,
}

/// What a node reports about the members it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll {
    /// The id of the sender's cluster.
    pub cluster: u128,
    /// A hash of the names of all members that are not gone, the sender included.
    pub members: u64,
    /// Whether the sender waits for a node that may have data.
    pub waits: bool,
}

impl Roll {
    /// Encodes a roll. A reader ignores further bytes.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = self.cluster.to_le_bytes().to_vec();
        out.extend(self.members.to_le_bytes());
        out.push(u8::from(self.waits));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        const SHORT: Malformed = Malformed("a roll is too short");
        let (cluster, rest) = bytes.split_first_chunk().ok_or(SHORT)?;
        let (members, rest) = rest.split_first_chunk().ok_or(SHORT)?;
        let waits = *rest.first().ok_or(SHORT)? != 0;
        Ok(Self {
            cluster: u128::from_le_bytes(*cluster),
            members: u64::from_le_bytes(*members),
            waits,
        })
    }
}

/// A hash of the names of members that are not gone. The members are sorted by name.
fn digest(members: &[Member]) -> u64 {
    let present = members.iter().filter(|member| member.state != MemberState::Gone);
    present.fold(0, |sum, member| xxh3_64_with_seed(member.name.as_str().as_bytes(), sum))
}

/// What was reported to the membership about forming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Provisional,
    Settled,
}

/// What forming the first shard meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formed {
    /// A new cluster began.
    New,
    /// All nodes of a cluster were down at the same time. The cluster starts again, empty.
    Again,
    /// Shards were formed although not all members were met.
    Provisional,
    /// In a running cluster, all nodes that held some shards have lost their memory.
    Lost,
}

/// Everything a node knows about forming.
#[derive(Debug)]
pub(crate) struct Forming {
    settings: Settings,
    identity: Option<Identity>,
    /// How often this node has thrown away its data.
    resets: u32,
    /// Whether the node, when it started, remembered a formed cluster.
    remembers: bool,
    /// When this node first knew that its cluster is formed.
    settled_ms: Option<u64>,
    /// Whether this node looks for the nodes from which it left in order.
    pub(crate) seeks: bool,
    /// Whether discovery has answered.
    discovered: bool,
    /// Whether an operator said that no node is to be waited for.
    accepts_loss: bool,
    /// The current roll of this node, and the roll it last sent to its peers.
    mine: Option<Roll>,
    pub(crate) told: Option<Roll>,
    /// The rolls of the peers, by slot.
    rolls: Vec<Option<Roll>>,
    /// Whether the membership knows that this node serves.
    pub(crate) said_serving: bool,
    /// What the membership knows about the shards: formed provisionally, or for good.
    said: Option<Said>,
    /// The highest stamp before the first write here.
    pub(crate) untouched: Stamp,
    /// What was formed since the last note, and how many shards.
    formed: Option<(Formed, u64)>,
    /// When the next note is due that this node waits for others; none while it does not wait.
    note_at_ms: Option<u64>,
}

/// What this node waits for, besides members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Whether it waits for an answer of discovery.
    pub discovery: bool,
    /// How many more nodes it waits for.
    pub nodes: u32,
}

impl Forming {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            identity: None,
            resets: 0,
            remembers: false,
            settled_ms: None,
            seeks: false,
            discovered: false,
            accepts_loss: false,
            mine: None,
            told: None,
            rolls: vec![None; PEERS_MAX],
            said_serving: false,
            said: None,
            untouched: Stamp(0),
            formed: None,
            note_at_ms: None,
        }
    }

    /// Notes which cluster this node belongs to. Returns true if the node must throw away its data.
    pub(crate) fn identified(&mut self, identity: Identity, resets: u32, now_ms: u64) -> bool {
        if self.identity.is_none() {
            self.remembers = identity.is_formed;
        }
        if !matches!(identity.claim, Claim::Nothing) {
            self.settled_ms.get_or_insert(now_ms);
        }
        self.said = None;
        self.identity = Some(identity);
        core::mem::replace(&mut self.resets, resets) != resets
    }

    /// The cluster of this node; none before the membership has reported it.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The id of this node's cluster, if the cluster is formed.
    pub(crate) fn cluster(&self) -> Option<String> {
        let identity = self.identity.as_ref().filter(|identity| identity.is_formed)?;
        Some(format!("{}", identity.id))
    }

    pub(crate) fn discovered(&mut self) {
        self.discovered = true;
    }

    pub(crate) fn accept_loss(&mut self) {
        self.accepts_loss = true;
    }

    /// Notes the roll of a peer; none for a new peer.
    pub(crate) fn heard(&mut self, slot: usize, roll: Option<Roll>) {
        self.rolls[slot] = roll;
    }

    /// What this node waits for, besides members. `met` is the number of nodes it has met, itself included.
    pub(crate) fn wants(&self, met: u32) -> Wants {
        let is_formed = self.identity.as_ref().is_some_and(|identity| identity.is_formed);
        if is_formed || self.accepts_loss {
            return Wants::default();
        }
        Wants {
            discovery: self.settings.discovers && !self.discovered,
            nodes: self.settings.expect.saturating_sub(met),
        }
    }

    /// Computes this node's roll. `members` is empty before the first report of the membership.
    pub(crate) fn say(&mut self, members: &[Member], waits: bool) {
        self.mine = self
            .identity
            .as_ref()
            .filter(|_| !members.is_empty())
            .map(|identity| Roll {
                cluster: identity.id.0,
                members: digest(members),
                waits,
            });
    }

    /// This node's roll, once its cluster and members are known.
    pub(crate) fn roll(&self) -> Option<Roll> {
        self.mine
    }

    /// Whether every one of the `connected` reports the same roll as this node, and no node waits.
    pub(crate) fn all_agree(&self, mut connected: impl Iterator<Item = usize>) -> bool {
        let mine = self.mine.filter(|roll| !roll.waits);
        mine.is_some() && connected.all(|slot| self.rolls[slot] == mine)
    }

    /// The first of the `connected` that waits for others itself.
    pub(crate) fn who_waits(&self, mut connected: impl Iterator<Item = usize>) -> Option<usize> {
        connected.find(|&slot| self.rolls[slot].is_some_and(|roll| roll.waits))
    }

    /// Whether a node of this age goes on without the nodes it waits for.
    pub(crate) fn is_overdue(&self, age_ms: u64) -> bool {
        let knows_of_data = match &self.identity {
            Some(identity) => matches!(identity.claim, Claim::Settled { .. }),
            None => true,
        };
        self.settings.form_after_ms > 0 && age_ms >= self.settings.form_after_ms && !knows_of_data
    }

    /// Whether a node goes on without the nodes it waits for after some time (`--form-after`).
    pub(crate) fn forms_in_time(&self) -> bool {
        self.settings.form_after_ms > 0
    }

    /// Whether this node's data is provisional.
    pub(crate) fn is_provisional(&self) -> bool {
        let claim = self.identity.as_ref().map(|identity| &identity.claim);
        matches!(claim, Some(Claim::Provisional(_)))
    }

    /// Whether this node's data counts.
    pub(crate) fn is_settled(&self) -> bool {
        let claim = self.identity.as_ref().map(|identity| &identity.claim);
        matches!(claim, Some(Claim::Settled { .. }))
    }

    /// Notes that this node's data counts from now on, or is provisional. Returns true if the membership must be told.
    pub(crate) fn settles(&mut self, provisional: bool) -> bool {
        let saying = if provisional { Said::Provisional } else { Said::Settled };
        let known = match self.identity.as_ref().map(|identity| &identity.claim) {
            Some(Claim::Settled { .. }) => Some(Said::Settled),
            Some(Claim::Provisional(_)) => Some(Said::Provisional),
            Some(Claim::Nothing) | None => None,
        };
        if known.max(self.said) >= Some(saying) {
            return false;
        }
        self.said = Some(saying);
        true
    }

    /// Notes that a shard was formed. `overdue`: not all members agreed.
    pub(crate) fn formed(&mut self, overdue: bool, now_ms: u64) {
        let is_late = self.settled_ms.is_some_and(|at_ms| now_ms > at_ms + FORMED_LATER_MS);
        let what = match (overdue, is_late, self.remembers) {
            (true, ..) => Formed::Provisional,
            (false, true, _) => Formed::Lost,
            (false, false, true) => Formed::Again,
            (false, false, false) => Formed::New,
        };
        let (_, count) = self.formed.get_or_insert((what, 0));
        *count += 1;
    }

    /// What was formed since the last call.
    pub(crate) fn take_formed(&mut self) -> Option<(Formed, u64)> {
        self.formed.take()
    }

    /// Whether a note is due that this node waits for others.
    pub(crate) fn is_note_due(&mut self, waits: bool, now_ms: u64) -> bool {
        if !waits {
            self.note_at_ms = None;
            return false;
        }
        let at_ms = *self.note_at_ms.get_or_insert(now_ms + NOTE_FIRST_MS);
        let due = now_ms >= at_ms;
        if due {
            self.note_at_ms = Some(now_ms + NOTE_EVERY_MS);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::{Atom, ClusterId};

    fn identity(claim: Claim) -> Identity {
        Identity {
            id: ClusterId(7),
            is_formed: false,
            claim,
        }
    }

    fn member(name: &str, state: MemberState) -> Member {
        Member {
            name: Atom::new(name),
            creation: 4,
            state,
            connected: true,
            dist_port: None,
        }
    }

    #[test]
    fn a_roll_reads_back_and_may_grow() {
        let roll = Roll {
            cluster: 7 << 100,
            members: u64::MAX - 1,
            waits: true,
        };
        let mut bytes = roll.encode();
        for len in 0..bytes.len() {
            assert!(Roll::decode(&bytes[..len]).is_err());
        }
        bytes.push(1);
        assert_eq!(Roll::decode(&bytes), Ok(roll));
    }

    #[test]
    fn a_roll_changes_with_every_name() {
        let (up, down) = (MemberState::Up, MemberState::Down);
        let two = [member("a@h", up), member("b@h", up)];
        let three = [member("a@h", up), member("b@h", up), member("c@h", down)];
        let gone = [member("a@h", up), member("b@h", up), member("c@h", MemberState::Gone)];
        assert_ne!(digest(&two), digest(&three));
        assert_eq!(digest(&two), digest(&gone));
        assert_ne!(digest(&two[..1]), digest(&two[1..]));
    }

    #[test]
    fn no_node_agrees_with_one_that_waits_or_does_not_know_itself() {
        let mut forming = Forming::new(Settings::default());
        let members = [member("a@h", MemberState::Up), member("b@h", MemberState::Up)];
        forming.say(&members, false);
        assert!(!forming.all_agree([].into_iter()), "its cluster is not known yet");
        forming.identified(identity(Claim::Nothing), 0, 0);
        forming.say(&[], false);
        assert!(!forming.all_agree([].into_iter()), "its members are not known yet");
        forming.say(&members, true);
        assert!(!forming.all_agree([].into_iter()), "this node waits");
        forming.say(&members, false);
        assert!(!forming.all_agree([3].into_iter()), "the peer has not reported");
        forming.heard(3, forming.roll().map(|roll| Roll { waits: true, ..roll }));
        assert!(!forming.all_agree([3].into_iter()), "the peer waits");
        assert_eq!(forming.who_waits([1, 3].into_iter()), Some(3));
        forming.heard(3, forming.roll());
        assert!(forming.all_agree([3].into_iter()));
    }

    #[test]
    fn a_node_expects_others_until_the_first_cluster_or_an_operators_word() {
        let settings = Settings {
            expect: 3,
            discovers: true,
            ..Settings::default()
        };
        let mut forming = Forming::new(settings);
        forming.identified(identity(Claim::Nothing), 0, 0);
        let wants = |discovery, nodes| Wants { discovery, nodes };
        assert_eq!(forming.wants(1), wants(true, 2));
        forming.discovered();
        assert_eq!(forming.wants(3), wants(false, 0));
        assert_eq!(forming.wants(2), wants(false, 1));
        let mut formed = identity(Claim::Nothing);
        formed.is_formed = true;
        forming.identified(formed, 0, 0);
        assert_eq!(forming.wants(1), wants(false, 0));
        let mut forming = Forming::new(settings);
        forming.accept_loss();
        assert_eq!(forming.wants(1), wants(false, 0));
    }

    #[test]
    fn a_note_comes_after_some_seconds_and_then_each_minute() {
        let mut forming = Forming::new(Settings::default());
        let due: Vec<u64> = (0..=130_000)
            .step_by(1_000)
            .filter(|now_ms| forming.is_note_due(true, *now_ms))
            .collect();
        assert_eq!(due, [3_000, 63_000, 123_000]);
        assert!(!forming.is_note_due(false, 131_000));
        assert!(!forming.is_note_due(true, 200_000), "it begins to wait again");
    }
}
