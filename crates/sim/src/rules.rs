//! The rules that explain every reply. A reply that no rule explains is a violation.
//!
//! `together.rs` defines *together*, *linked*, *lost* and *whole*. A reply is judged by the writes that its node had to
//! know. A request *must know* a write if the write was acknowledged before the request was made (or stands before it
//! in the same batch), and one of these holds:
//!
//! | | the write must be known because |
//! |---|---|
//! | R1 | it was *everywhere*. Either it was acknowledged at level `all` within the write timeout, in a world that had been steady for [`VIEW_US`]; or it was found later at every ready copy of a quiet world (`check.rs`). It must be known for ever after, also by nodes that start later: such a node serves what others gave it, or nothing |
//! | R2 | the world is whole from the request to its reply, whatever happened before. So R2 applies from the first request after a partition |
//! | R3 | some node of the request's group was together with the write's node when the write was asked for, and has lost no node since. And the request's own node loses no node until the reply |
//!
//! A level below `all` promises less:
//!
//! | level | a write is known |
//! |---|---|
//! | `all` | by R1 to R3, at once |
//! | `quorum` | by R1 to R3, [`SPREAD_US`] after its acknowledgement; to its own node at once, as long as nothing moves |
//! | `one` | by R3 to its own node only, as long as nothing moves; by R1 |
//!
//! Why "as long as nothing moves": while a shard moves, it has two primaries for a moment, and the old one does not
//! wait for the new one.
//!
//! There is no other excuse for a reply: neither that copies differ, nor that a fault struck a moment ago. A node may
//! always wait, or refuse. If it does neither, its reply may show:
//!
//! | operation | may show |
//! |---|---|
//! | `GET`, `MGET`, `GETRANGE`, `SALP.GET`, `{get, K}`; the old value of `GETSET`, `GETDEL`, `SET … GET` | a write that was asked for and not refused, with exactly its length. A write is excluded if it was *overwritten*: the request must know a later write that had to know it |
//! | the same, with no value; `SETNX` and `SET … NX` that succeed; `DEL` and `EXISTS` of 0; `STRLEN` of 0; `SALP.PUT` of a new key | "no value" is excluded if the request must know a write that no delete, expiry or write of unknown outcome can have removed |
//! | `SETNX` and `SET … NX` that are denied; `DEL` and `EXISTS` of 1; `SALP.PUT` of an old key | allowed if some write may be shown |
//! | `APPEND`, `STRLEN` | the length of a value that may be shown |
//! | `INCRBY`, `DECRBY`, and `GET` of a counter | a sum of all increments that the request must know, plus any of the others |
//! | a write | an acknowledgement is excluded if fewer nodes than `min_acks` were in reach for the whole detection time before |
//!
//! Transactions (the third table):
//!
//! | reply | allowed if |
//! |---|---|
//! | a reply within the reply to `EXEC` | it is allowed for the same request alone. Requests of one transaction are judged like requests of one batch |
//! | `EXEC` with an error; `EXECABORT` after an error in place of `QUEUED`; `DISCARD` | always. Then all requests have this outcome |
//! | both keys of a *pair*: two keys that only transactions write, and always both | the values are of the same transaction, or there is none. This has no exception: neither a partition nor a crash may tear a pair. So the checker compares the keys in every copy of every node too |
//! | `EXEC` with a null array | a key was watched. Nothing was executed |
//! | an `EXEC` that succeeds after `WATCH` and a `GET` of the only key that it writes | `GET` might show the same value when `EXEC` was sent, and no other `EXEC` has succeeded from that value. The latter holds for writes that were decided one after the other: from the earlier request on, both requests' nodes and a node of both groups have lost no node, or the world was whole. Below level `all`, nothing may have moved either |
//!
//! # Several clusters
//!
//! Every request and every write belongs to a cluster: the cluster of its node when it was answered. R1 to R3 apply
//! within one cluster, and each cluster is judged on its own as whole or steady. There is one rule between two
//! clusters: a node of one never shows, and need not know, what the other has acknowledged. So the founding of clusters
//! has laws of its own (`clusters.rs`, `cluster/identity.rs`). Breaking one is a violation, whatever the clients see:
//!
//! | | law |
//! |---|---|
//! | C1 | a node founds a cluster only together with all nodes that the operator gave it to join: each of them belonged to that cluster |
//! | C2 | a node whose state file names a cluster belongs to no other one |
//! | C3 | a node whose state file has names but no cluster (it left in order) first looks for those nodes for two seconds |
//! | C4 | a node never throws away data that it has acknowledged: a cluster of one node joins another cluster only while it is empty |
//! | C5 | a node that serves and has acknowledged something does not end by itself because it does not fit |
//! | C6 | a node that was connected with a peer for long does not accept a second node of that name in its place while the peer lives; checked only in a world without faults |
//!
//! So, at different nodes, a client may see:
//!
//! | | with its state file | without it (a container), or with a file from before its cluster was formed |
//! |---|---|---|
//! | a node that starts with some names to join | the same as at any other node: what the others gave it, or a refusal | the same, unless all nodes that it was given belong to another cluster, or know no other node either |
//! | a node that starts without names (*blind*) | the same: the members that it remembers count like names to join (C2) | an empty store of its own, and the values written there. Once the cluster finds it: the same as at any other node, if nothing was written; its own cluster for good, if something was written (C4) |
//! | a *stranger* whose cluster has values | refusals: it ends when it meets this cluster (C2) | only the stranger's values. None of them here: the checker does not know them |
//! | a *stranger* without values | | it becomes a member; data that it alone holds is lost when it leaves |
//! | the *twin* of a node that is connected | refusals: it ends (C6) | the same |
//! | the *twin* of a node that is dead or cut off | the same as after a restart of that node. Data that only the cut-off node holds counts as lost, as if that node had died | the same |
//!
//! A state file has the content of its last completed write (`cluster/identity.rs`). At the end an operator keeps the
//! cluster in which most nodes serve, and starts the nodes of the others without their state files. Data that those
//! clusters acknowledged is lost, and only that. A node that ends because it does not fit (C5) may have held parts of
//! copies whose other holders are dead: they are lost as in a crash.
//!
//! A write of unknown outcome may take effect late, and no request must know it. It cannot take effect any more once
//! another write follows at least [`LATE_US`](crate::shadow::LATE_US) later in a whole world. If a crash takes the last
//! copy of a write (`strikes.rs`), no request must know the earlier writes of that key any more. If only the crashed
//! node had a write before its reply, no request must know that write.
//!
//! A node that is no replica of a shard drops its copy once all replicas have allowed that. If all of these replicas
//! die before it does so, and it has not noticed, it drops the last copy. Then the crash took that copy too, from the
//! drop on. If one of the replicas in its view lives, nothing is excused.

use node::ClusterId;
use store::quorum::Level;

use crate::{
    shadow::State,
    together::{Group, Together, VIEW_US},
};

/// After this time every replica has the writes that a majority acknowledged.
pub const SPREAD_US: u64 = 2_000_000;

/// Time after which a node knows that another node is out of reach. The other node has to be silent for up to 1.25 tick
/// times; then membership needs up to a second.
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
    /// Number of its batch; no other batch has it.
    pub batch: u64,
    /// The time.
    pub asked_us: u64,
    /// The cluster of its node at that time.
    pub cluster: Option<ClusterId>,
    /// The nodes that were together with its node.
    pub group: Group,
}

/// The outcome of one write.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Where and when it was asked for.
    pub spot: Spot,
    /// The cluster of its node when the outcome was known.
    pub cluster: Option<ClusterId>,
    /// The outcome.
    pub state: State,
    /// When the outcome was known.
    pub ended_us: u64,
    /// The last batch that was asked for before its end: it tells what came first within one microsecond.
    pub ended_batch: u64,
    /// The level of the write.
    pub level: Level,
    /// The time from which rule R1 applies to the write. None if it does not apply.
    pub everywhere_us: Option<u64>,
    /// Whether the world was whole, or quiet, from the request to the outcome.
    pub sure: bool,
    /// Whether a node that may have had the only copy of the write died before it was answered.
    pub orphan: bool,
}

impl Mark {
    /// The mark of a write that is asked for now.
    pub fn new(spot: Spot) -> Self {
        Self {
            spot,
            cluster: spot.cluster,
            state: State::Pending,
            ended_us: 0,
            ended_batch: 0,
            level: Level::All,
            everywhere_us: None,
            sure: false,
            orphan: false,
        }
    }

    /// Notes its outcome. `batch`: the last batch that was asked for.
    pub fn end(&mut self, state: State, now_us: u64, batch: u64) {
        (self.state, self.ended_us, self.ended_batch) = (state, now_us, batch);
    }

    /// Whether this cluster has acknowledged the write.
    pub fn is_acked_by(&self, cluster: Option<ClusterId>) -> bool {
        self.state == State::Acked && self.cluster == cluster
    }

    /// Whether the write is over before a request at `spot` begins.
    pub fn is_before(&self, spot: &Spot) -> bool {
        let is_over = (self.ended_us, self.ended_batch) < (spot.asked_us, spot.batch);
        self.spot.batch == spot.batch || self.state != State::Pending && is_over
    }
}

/// The rules by which a reply is judged.
#[derive(Debug)]
pub enum Sight<'a> {
    /// The rules of the first fault table: strict only if the world was quiet.
    Quiet(bool),
    /// The rules of this file.
    Known(Reader<'a>),
}

impl Sight<'_> {
    /// When the request was made, if that is known; otherwise now.
    pub fn asked_us(&self, now_us: u64) -> u64 {
        match self {
            Self::Quiet(_) => now_us,
            Self::Known(reader) => reader.spot.asked_us,
        }
    }

    /// The request, if the rules of this file apply.
    pub fn reader(&self) -> Option<&Reader<'_>> {
        match self {
            Self::Quiet(_) => None,
            Self::Known(reader) => Some(reader),
        }
    }

    /// Whether the world was quiet, or whole, from the request until now.
    pub fn is_calm(&self) -> bool {
        match self {
            Self::Quiet(quiet) => *quiet,
            Self::Known(reader) => reader.whole,
        }
    }
}

/// A request that is answered now, and what its node must know.
#[derive(Debug)]
pub struct Reader<'a> {
    /// Where and when the request was made.
    pub spot: Spot,
    /// The cluster of its node now.
    pub cluster: Option<ClusterId>,
    /// Whether that cluster has been whole since the request.
    pub whole: bool,
    /// Which nodes are together now.
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

    /// Whether the request may show a write, judged by clusters alone: one cluster never shows what another one
    /// acknowledged.
    pub fn may_know(&self, mark: &Mark) -> bool {
        mark.state != State::Acked || mark.cluster == self.cluster
    }

    /// Whether the write of this request, at this level, and another acknowledged write on the same key were decided
    /// one after the other: neither is lost, and the node that decided the later one knew the earlier one.
    pub fn is_decided_with(&self, mark: &Mark, level: Level) -> bool {
        if !mark.is_acked_by(self.cluster) || mark.orphan {
            return false;
        }
        let from_us = mark.spot.asked_us.min(self.spot.asked_us);
        let kept_all = |machine| self.together.kept_all_since(machine, from_us);
        let common = self.spot.group & mark.spot.group;
        let joint = self.together.any_kept_all_since(common, from_us)
            && kept_all(self.spot.machine)
            && kept_all(mark.spot.machine);
        let is_kept = mark.level == Level::All && level == Level::All || self.together.is_still_since(from_us);
        is_kept && (joint || self.together.is_whole_since(from_us))
    }

    /// Whether nothing has moved since a write was asked for.
    fn is_still(&self, mark: &Mark) -> bool {
        self.together.is_still_since(mark.spot.asked_us)
    }

    /// Whether rule R3 applies.
    fn is_joint(&self, mark: &Mark) -> bool {
        let common = self.spot.group & mark.spot.group;
        self.together.any_kept_all_since(common, mark.spot.asked_us) && self.keeps_all()
    }

    /// Whether its node has lost no other node since the request.
    fn keeps_all(&self) -> bool {
        self.together.kept_all_since(self.spot.machine, self.spot.asked_us)
    }

    /// How many nodes were in reach of its node from `before_us` before the request until now; none if that set
    /// changed.
    pub fn nodes_throughout(&self, before_us: u64) -> Option<u32> {
        let from_us = self.spot.asked_us.checked_sub(before_us)?;
        self.together.reach_since(self.spot.machine, from_us)
    }

    /// Whether the write of this request is everywhere, if it was acknowledged at this level after `took_us`.
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
    fn a_write_that_all_acknowledged_is_known_on_both_sides_of_a_partition() {
        let mut story = Story::new();
        let early = story.write(story.spot(1, 10), Level::All, 20);
        let mark = story.write(story.spot(1, 10 + VIEW_US), Level::All, 20 + VIEW_US);
        assert!(
            mark.everywhere_us.is_some() && early.everywhere_us.is_none(),
            "the world was not steady for long enough"
        );
        story.at(30 + VIEW_US, &ALONE);
        for machine in 0..3 {
            assert!(story.reader(story.spot(machine, 40 + VIEW_US)).must_know(&mark));
        }
    }

    #[test]
    fn a_side_must_know_the_writes_of_the_other_only_once_they_meet() {
        let mut story = Story::new();
        story.at(5, &ALONE);
        let mark = story.write(story.spot(1, 10), Level::All, 20);
        assert!(mark.everywhere_us.is_none());
        assert!(story.reader(story.spot(2, 30)).must_know(&mark));
        assert!(!story.reader(story.spot(0, 30)).must_know(&mark));
        let across = story.spot(0, 38);
        story.at(40, &[]);
        assert!(
            !story.reader(across).must_know(&mark),
            "the request was made before they met"
        );
        assert!(story.reader(story.spot(0, 41)).must_know(&mark));
        story.at(50, &ALONE);
        assert!(
            !story.reader(story.spot(0, 60)).must_know(&mark),
            "there was no time to copy the write"
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
    fn no_request_must_know_an_unfinished_write() {
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
