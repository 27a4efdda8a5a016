//! The rules by which every reply is explained. A reply that no rule explains is a violation.
//!
//! *Together*, *linked*, *lost* and *whole* are those of `together.rs`. A reply is explained by what its node had to
//! know. A request *must know* a write that was acknowledged before the request was made (or stands before it in its
//! batch), if one of these holds:
//!
//! | | the write must be known because |
//! |---|---|
//! | R1 | it was *everywhere*: acknowledged at level `all` within the write timeout in a world that had been steady for [`VIEW_US`]; or found at every ready copy of a quiet world later (`check.rs`). It is known for ever, to nodes that start later too: they serve what others gave them, or nothing |
//! | R2 | the world is whole from the request to its reply, whatever was before: from the first request after a partition on |
//! | R3 | a node of the request's group was together with the write's node when the write was asked for and has lost nobody since, and the request's own node loses nobody until the reply |
//!
//! A level below `all` promises less:
//!
//! | level | a write is known |
//! |---|---|
//! | `all` | by R1 to R3, at once |
//! | `quorum` | by R1 to R3, [`SPREAD_US`] after its acknowledgement; at once to its own node, as long as nothing moves |
//! | `one` | by R3 to its own node alone, as long as nothing moves; by R1 |
//!
//! For while a shard moves it has two primaries for a moment, and the old one does not wait for the new one then.
//!
//! Nothing else excuses a reply: not that copies differ, not that a fault was a moment ago. A node may always wait or
//! refuse. What a reply may then show:
//!
//! | operation | may show |
//! |---|---|
//! | `GET`, `MGET`, `GETRANGE`, `SALP.GET`, `{get, K}`; the old value of `GETSET`, `GETDEL`, `SET … GET` | a write that was asked for and not refused, unless the request must know a write that had to know it in turn (*overwritten*); with exactly its length |
//! | the same with nothing there; `SETNX` and `SET … NX` that is granted; `DEL` and `EXISTS` of 0; `STRLEN` of 0; `SALP.PUT` of a new key | nothing, unless the request must know a write that no delete, expiry or unknown outcome can have removed |
//! | `SETNX` and `SET … NX` that is denied; `DEL` and `EXISTS` of 1; `SALP.PUT` of an old key | that some write may be shown |
//! | `APPEND`, `STRLEN` | a length that follows from a value that may be shown |
//! | `INCRBY`, `DECRBY`, and `GET` of a counter | a sum of all increments that the request must know, and of any of the others |
//! | a write where fewer nodes than `min_acks` have been in reach for the whole detection time before | a refusal |
//!
//! # Several clusters
//!
//! Every request and every write is of a cluster: that of its node when it was answered. R1 to R3 hold within a
//! cluster, each of which is whole and steady by itself. Between two clusters there is one rule: what one has
//! acknowledged, the other never shows, and need not know. So a cluster may be founded under these laws alone
//! (`clusters.rs`, `cluster/identity.rs`); to break one is a violation, whatever the clients see:
//!
//! | | law |
//! |---|---|
//! | C1 | a node founds a cluster only together with all nodes that the operator told it of: each of them was of that cluster |
//! | C2 | a node whose state file names a cluster is of no other one |
//! | C3 | a node whose state file has names and no cluster (it left in order) looks for them for two seconds first |
//! | C4 | a node never throws away what it has acknowledged: a cluster of one node joins another one only while it is empty |
//! | C5 | a node that has acknowledged something and serves does not end by itself because it does not fit |
//! | C6 | a node that was connected with another one for long does not take a second one of that name for it, while the first one lives; asked in a world without trouble |
//!
//! So a client may see, at a node
//!
//! | | with its state file | without it (a container), or with one from before its cluster was formed |
//! |---|---|---|
//! | that starts and is told of some others | the same as at any other node: what the others gave it, or a refusal | the same, unless all that it is told of are of another cluster, or know nobody else either |
//! | that starts and is told of nobody (*blind*) | the same; the members that it remembers are as good as told (C2) | an empty store of its own, and what is written there; once the cluster finds it, the same as at any other node if nothing was written, and the cluster of its own for good if something was (C4) |
//! | of a *stranger* cluster with values | refusals: it ends when it meets this cluster (C2) | the stranger's values alone; nothing of them here (the checker knows no such value) |
//! | of a *stranger* without values | | it becomes a member, and what it alone holds is lost when it goes |
//! | that is the *twin* of one that is connected | refusals: it ends (C6) | the same |
//! | that is the *twin* of one that is dead or cut off | the same as at a restart of that one; what the node that is cut off alone holds counts as lost, as if it had died | the same |
//!
//! A state file is as old as the last write of it that was done (`cluster/identity.rs`). In the end an operator keeps
//! the cluster of which most nodes serve, and starts the nodes of the others without their state files; what those
//! clusters acknowledged is lost, and only that. A node that ends because it does not fit (C5) may have had parts of
//! copies whose other holders are dead: they are lost as in a crash.
//!
//! A write whose outcome is unknown may take effect late, and is known to nobody. It is over once a write follows
//! [`LATE_US`](crate::shadow::LATE_US) later in a whole world. A crash that takes the last copy of a write with it
//! (`strikes.rs`) takes back what was to be known of its key. A write that the crashed node alone had before it was
//! answered is known to nobody.

use node::ClusterId;
use store::quorum::Level;

use crate::{
    shadow::State,
    together::{Group, Together, VIEW_US},
};

/// After this time every replica has what a majority acknowledged.
pub const SPREAD_US: u64 = 2_000_000;

/// Time after which a node knows that another one is out of reach: it is silent for a tick time and up to a quarter
/// more, and then membership acts.
pub fn detection_us(tick_ms: u64) -> u64 {
    tick_ms * 1_250 + 1_000_000
}

/// Where and when a request was made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spot {
    /// The machine of its node.
    pub machine: usize,
    /// The life of its node.
    pub life: u64,
    /// Number of its batch; no other has it.
    pub batch: u64,
    /// When.
    pub asked_us: u64,
    /// Of which cluster its node was.
    pub cluster: Option<ClusterId>,
    /// Who was together with its node.
    pub group: Group,
}

/// What became of one write.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Where and when it was asked for.
    pub spot: Spot,
    /// Of which cluster its node was when that was told.
    pub cluster: Option<ClusterId>,
    /// What became of it.
    pub state: State,
    /// When that was told.
    pub ended_us: u64,
    /// What it waited for.
    pub level: Level,
    /// Since when rule R1 holds.
    pub everywhere_us: Option<u64>,
    /// The world was whole, or quiet, while it was under way.
    pub sure: bool,
    /// Before it was answered, a node died that may have been the only one to have it.
    pub orphan: bool,
}

impl Mark {
    /// A write that is asked for.
    pub fn new(spot: Spot) -> Self {
        Self {
            spot,
            cluster: spot.cluster,
            state: State::Pending,
            ended_us: 0,
            level: Level::All,
            everywhere_us: None,
            sure: false,
            orphan: false,
        }
    }

    /// A cluster has acknowledged it.
    pub fn is_acked_by(&self, cluster: Option<ClusterId>) -> bool {
        self.state == State::Acked && self.cluster == cluster
    }

    /// It is over before a request at `spot` begins.
    pub fn is_before(&self, spot: &Spot) -> bool {
        self.spot.batch == spot.batch || self.state != State::Pending && self.ended_us <= spot.asked_us
    }
}

/// By which rules a reply is judged.
#[derive(Debug)]
pub enum Sight<'a> {
    /// Those of the first fault table: only in a quiet world.
    Quiet(bool),
    /// Those of this file.
    Known(Reader<'a>),
}

impl Sight<'_> {
    /// When the request was made; at the latest now.
    pub fn asked_us(&self, now_us: u64) -> u64 {
        match self {
            Self::Quiet(_) => now_us,
            Self::Known(reader) => reader.spot.asked_us,
        }
    }

    /// The request, where the rules of this file judge it.
    pub fn reader(&self) -> Option<&Reader<'_>> {
        match self {
            Self::Quiet(_) => None,
            Self::Known(reader) => Some(reader),
        }
    }

    /// The world was quiet, or whole, all the while.
    pub fn is_calm(&self) -> bool {
        match self {
            Self::Quiet(quiet) => *quiet,
            Self::Known(reader) => reader.whole,
        }
    }
}

/// A request that is answered now, and what its node has to know.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Where and when it was made.
    pub spot: Spot,
    /// Of which cluster its node is now.
    pub cluster: Option<ClusterId>,
    /// That cluster has been whole since.
    pub whole: bool,
    /// Who is together now.
    pub together: &'a Together,
}

impl Reader<'_> {
    /// Whether the request must know a write.
    pub fn must_know(&self, mark: &Mark) -> bool {
        if !mark.is_acked_by(self.cluster) || mark.orphan || !mark.is_before(&self.spot) {
            return false;
        }
        let is_own = mark.spot.machine == self.spot.machine && mark.spot.life == self.spot.life;
        match mark.level {
            _ if mark
                .everywhere_us
                .is_some_and(|since_us| since_us <= self.spot.asked_us) =>
            {
                true
            }
            Level::All => self.whole || self.is_joint(mark),
            Level::Quorum => {
                let has_spread = mark.ended_us + SPREAD_US <= self.spot.asked_us;
                (has_spread || is_own && self.is_still(mark)) && (self.whole || self.is_joint(mark))
            }
            Level::One => is_own && self.is_still(mark) && self.is_joint(mark),
        }
    }

    /// Whether the request may show a write, as far as clusters go: what one has acknowledged, no other ever shows.
    pub fn may_know(&self, mark: &Mark) -> bool {
        mark.state != State::Acked || mark.cluster == self.cluster
    }

    /// Nothing has moved since a write was asked for.
    fn is_still(&self, mark: &Mark) -> bool {
        self.together.is_still_since(mark.spot.asked_us)
    }

    /// Rule R3.
    fn is_joint(&self, mark: &Mark) -> bool {
        let common = self.spot.group & mark.spot.group;
        self.together.any_kept_all_since(common, mark.spot.asked_us) && self.keeps_all()
    }

    /// Its node has lost nobody since it was made.
    fn keeps_all(&self) -> bool {
        self.together.kept_all_since(self.spot.machine, self.spot.asked_us)
    }

    /// How many nodes were in reach of its own all the time, and for so long before; none if that changed.
    pub fn nodes_throughout(&self, before_us: u64) -> Option<u32> {
        let from_us = self.spot.asked_us.checked_sub(before_us)?;
        self.together.reach_since(self.spot.machine, from_us)
    }

    /// Whether what it wrote is everywhere, now that it is acknowledged at this level.
    pub fn reached_all(&self, level: Level, took_us: u64, write_timeout_us: u64) -> bool {
        let in_time = level == Level::All && took_us < write_timeout_us;
        in_time
            && self
                .together
                .is_steady_since(self.spot.asked_us.saturating_sub(VIEW_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::together::Tie;

    const LIVES: [Option<u64>; 3] = [Some(1), Some(2), Some(3)];

    struct Story {
        together: Together,
    }

    impl Story {
        fn new() -> Self {
            let mut story = Self {
                together: Together::default(),
            };
            story.at(1, &[]);
            story
        }

        fn at(&mut self, now_us: u64, broken: &[(usize, usize)]) {
            self.together.update(now_us, &LIVES, false, |a, b| {
                if broken.contains(&(a, b)) {
                    Tie::Blocked
                } else {
                    Tie::Linked
                }
            });
        }

        fn spot(&self, machine: usize, asked_us: u64) -> Spot {
            Spot {
                machine,
                life: machine as u64 + 1,
                batch: asked_us,
                asked_us,
                cluster: None,
                group: self.together.group(machine),
            }
        }

        fn reader(&self, spot: Spot) -> Reader<'_> {
            Reader {
                spot,
                cluster: None,
                whole: self.together.is_whole_since(spot.asked_us),
                together: &self.together,
            }
        }

        fn write(&self, spot: Spot, level: Level, ended_us: u64) -> Mark {
            let mut mark = Mark::new(spot);
            (mark.state, mark.ended_us, mark.level) = (State::Acked, ended_us, level);
            let reached = self
                .reader(spot)
                .reached_all(level, ended_us - spot.asked_us, 1_000_000);
            mark.everywhere_us = reached.then_some(ended_us);
            mark
        }
    }

    const ALONE: [(usize, usize); 2] = [(0, 1), (0, 2)];

    #[test]
    fn what_was_acknowledged_by_all_is_known_on_both_sides_of_a_partition() {
        let mut story = Story::new();
        let early = story.write(story.spot(1, 10), Level::All, 20);
        let mark = story.write(story.spot(1, 10 + VIEW_US), Level::All, 20 + VIEW_US);
        assert!(
            mark.everywhere_us.is_some() && early.everywhere_us.is_none(),
            "it had not been steady for long"
        );
        story.at(30 + VIEW_US, &ALONE);
        for machine in 0..3 {
            assert!(story.reader(story.spot(machine, 40 + VIEW_US)).must_know(&mark));
        }
    }

    #[test]
    fn a_side_need_not_know_the_other_ones_writes_and_must_once_they_meet() {
        let mut story = Story::new();
        story.at(5, &ALONE);
        let mark = story.write(story.spot(1, 10), Level::All, 20);
        assert!(mark.everywhere_us.is_none());
        assert!(story.reader(story.spot(2, 30)).must_know(&mark));
        assert!(!story.reader(story.spot(0, 30)).must_know(&mark));
        let across = story.spot(0, 38);
        story.at(40, &[]);
        assert!(!story.reader(across).must_know(&mark), "asked before they met");
        assert!(story.reader(story.spot(0, 41)).must_know(&mark));
        story.at(50, &ALONE);
        assert!(
            !story.reader(story.spot(0, 60)).must_know(&mark),
            "it had no time to take it over"
        );
    }

    #[test]
    fn one_broken_link_excuses_nothing() {
        let mut story = Story::new();
        story.at(5, &[(0, 1)]);
        let mark = story.write(story.spot(1, 10), Level::All, 20);
        assert!(story.reader(story.spot(0, 30)).must_know(&mark));
    }

    #[test]
    fn a_level_below_all_promises_less() {
        let mut story = Story::new();
        let quorum = story.write(story.spot(1, 10), Level::Quorum, 20);
        let one = story.write(story.spot(1, 10), Level::One, 20);
        let soon = story.spot(0, 30);
        assert!(!story.reader(soon).must_know(&quorum) && !story.reader(soon).must_know(&one));
        let own = story.spot(1, 30);
        assert!(story.reader(own).must_know(&quorum) && story.reader(own).must_know(&one));
        let late = story.spot(0, 30 + SPREAD_US);
        assert!(story.reader(late).must_know(&quorum) && !story.reader(late).must_know(&one));
        let without_one = [Some(1), Some(2), None];
        story
            .together
            .update(40 + SPREAD_US, &without_one, false, |_, _| Tie::Linked);
        let own = story.spot(1, 50 + SPREAD_US);
        assert!(story.reader(own).must_know(&quorum) && !story.reader(own).must_know(&one));
    }

    #[test]
    fn what_is_not_over_is_known_to_nobody() {
        let story = Story::new();
        let mark = story.write(story.spot(1, 10), Level::All, 20);
        assert!(!story.reader(story.spot(1, 15)).must_know(&mark));
        let unknown = Mark {
            state: State::Unknown,
            ..mark
        };
        assert!(!story.reader(story.spot(1, 30)).must_know(&unknown));
    }
}
