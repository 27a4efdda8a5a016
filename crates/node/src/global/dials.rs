//! The nodes that `global` wants to be connected to, and when each is dialled.
//!
//! ```text
//! want ──▶ waiting ──its turn──▶ dialled ──NodeUp──▶ (not here any more)
//!             ▲                     │ failed
//!             └──after a second── resting ──for too long──▶ lost
//! ```
//!
//! - Only a few are dialled at a time, whatever peers report. Known nodes come first, since changes of names wait for
//!   them; then nodes of name holders. Within each kind, the order of arrival counts.
//! - Every wanted node is reached, or counts as lost, within [`WAIT_US`] plus the time of one dial, however many are
//!   wanted.
//! - If a node is not wanted any more, its dial counts until it ends.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::Atom;

/// Most dials under way at the same time. Further ones wait.
const DIALS_MAX: usize = 8;
/// Most nodes of name holders that wait or are dialled. The name of a further one is refused.
const HOLDERS_MAX: usize = 1024;
/// How long a known node is dialled before it counts as lost, and the time between two dials, in microseconds.
const REACH_US: u64 = 7_000_000;
const REDIAL_US: u64 = 1_000_000;
/// A node that is not reached after this time counts as lost, even if it was never dialled.
const WAIT_US: u64 = 60_000_000;
/// A dial whose end was never reported counts as ended after this time: the connection gave up before.
const DIAL_US_MAX: u64 = 10_000_000;

/// Why a node is wanted. Smaller values are more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It is in our partition, as others reported.
    Known,
    /// The holder of a name lives there.
    Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Dialled { since_us: u64 },
    Resting { until_us: u64 },
}

#[derive(Debug)]
struct Wanted {
    /// None if the node is not wanted any more, but its dial is still under way.
    kind: Option<Kind>,
    place: u64,
    stage: Stage,
    /// When it became wanted, and when it was first dialled for that.
    since_us: u64,
    first_dial_us: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Dials {
    nodes: BTreeMap<Atom, Wanted>,
    /// The nodes that wait, in the order in which they will be dialled.
    waiting: BTreeSet<(Kind, u64, Atom)>,
    under_way: usize,
    /// How many nodes are wanted for each kind.
    known: usize,
    holders: usize,
    last_place: u64,
}

impl Dials {
    /// Wants a node from now on, unless it is wanted already. Returns false if there are too many.
    pub(crate) fn want(&mut self, node: &Atom, kind: Kind, now_us: u64) -> bool {
        let earlier = self.nodes.get(node);
        if earlier.and_then(|wanted| wanted.kind).is_some_and(|had| had <= kind) {
            return true;
        }
        if kind == Kind::Holder && self.holders >= HOLDERS_MAX {
            return false;
        }
        let stage = earlier.map_or(Stage::Waiting, |wanted| wanted.stage);
        let first_dial_us = match stage {
            Stage::Dialled { since_us } => Some(since_us),
            Stage::Waiting | Stage::Resting { .. } => None,
        };
        self.remove(node);
        self.last_place += 1;
        let wanted = Wanted {
            kind: Some(kind),
            place: self.last_place,
            stage,
            since_us: now_us,
            first_dial_us,
        };
        self.insert(node.clone(), wanted);
        true
    }

    /// The next node to dial. It counts as dialled until `up` or `failed` is called.
    pub(crate) fn next(&mut self, now_us: u64) -> Option<(Atom, Kind)> {
        if self.under_way >= DIALS_MAX {
            return None;
        }
        let (kind, _, node) = self.waiting.first()?.clone();
        let mut wanted = self.remove(&node)?;
        wanted.stage = Stage::Dialled { since_us: now_us };
        wanted.first_dial_us.get_or_insert(now_us);
        self.insert(node.clone(), wanted);
        Some((node, kind))
    }

    /// The node is connected, or need not be dialled. Returns why it was wanted.
    pub(crate) fn up(&mut self, node: &Atom) -> Option<Kind> {
        self.remove(node)?.kind
    }

    /// A dial has failed. Returns why the node was wanted, if it counts as lost now.
    pub(crate) fn failed(&mut self, node: &Atom, now_us: u64) -> Option<Kind> {
        let is_dialled = |wanted: &Wanted| matches!(wanted.stage, Stage::Dialled { .. });
        if !self.nodes.get(node).is_some_and(is_dialled) {
            return None;
        }
        let mut wanted = self.remove(node)?;
        let begun_us = wanted.first_dial_us.unwrap_or(now_us);
        match wanted.kind? {
            Kind::Known if now_us.saturating_sub(begun_us) < REACH_US => {
                let until_us = now_us + REDIAL_US;
                wanted.stage = Stage::Resting { until_us };
                self.insert(node.clone(), wanted);
                None
            }
            kind => Some(kind),
        }
    }

    /// The node is not wanted any more.
    pub(crate) fn forget(&mut self, node: &Atom) {
        if let Some(mut wanted) = self.remove(node)
            && let Stage::Dialled { .. } = wanted.stage
        {
            wanted.kind = None;
            self.insert(node.clone(), wanted);
        }
    }

    /// Nodes that have rested wait again. Returns the nodes that count as lost now.
    pub(crate) fn look(&mut self, now_us: u64) -> Vec<(Atom, Kind)> {
        let mut lost = Vec::new();
        let nodes: Vec<Atom> = self.nodes.keys().cloned().collect();
        for node in nodes {
            let Some(wanted) = self.nodes.get(&node) else {
                continue;
            };
            let is_late = now_us.saturating_sub(wanted.since_us) >= WAIT_US;
            match (wanted.stage, wanted.kind) {
                (Stage::Dialled { since_us }, _) if now_us.saturating_sub(since_us) >= DIAL_US_MAX => {
                    lost.extend(self.failed(&node, now_us).map(|kind| (node, kind)));
                }
                (Stage::Waiting | Stage::Resting { .. }, Some(kind)) if is_late => {
                    self.remove(&node);
                    lost.push((node, kind));
                }
                (Stage::Resting { until_us }, _) if now_us >= until_us => {
                    if let Some(mut wanted) = self.remove(&node) {
                        wanted.stage = Stage::Waiting;
                        self.insert(node, wanted);
                    }
                }
                _ => {}
            }
        }
        lost
    }

    /// Whether this node is wanted.
    pub(crate) fn wants(&self, node: &Atom) -> bool {
        self.nodes.get(node).is_some_and(|wanted| wanted.kind.is_some())
    }

    /// Whether some known nodes are not reached yet.
    pub(crate) fn wants_known(&self) -> bool {
        self.known > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn insert(&mut self, node: Atom, wanted: Wanted) {
        match (wanted.stage, wanted.kind) {
            (Stage::Waiting, Some(kind)) => {
                self.waiting.insert((kind, wanted.place, node.clone()));
            }
            (Stage::Dialled { .. }, _) => self.under_way += 1,
            (Stage::Waiting | Stage::Resting { .. }, _) => {}
        }
        if let Some(count) = self.count(wanted.kind) {
            *count += 1;
        }
        self.nodes.insert(node, wanted);
    }

    fn count(&mut self, kind: Option<Kind>) -> Option<&mut usize> {
        match kind? {
            Kind::Known => Some(&mut self.known),
            Kind::Holder => Some(&mut self.holders),
        }
    }

    fn remove(&mut self, node: &Atom) -> Option<Wanted> {
        let wanted = self.nodes.remove(node)?;
        match (wanted.stage, wanted.kind) {
            (Stage::Waiting, Some(kind)) => {
                self.waiting.remove(&(kind, wanted.place, node.clone()));
            }
            (Stage::Dialled { .. }, _) => self.under_way -= 1,
            (Stage::Waiting | Stage::Resting { .. }, _) => {}
        }
        if let Some(count) = self.count(wanted.kind) {
            *count -= 1;
        }
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};

    fn node(at: usize) -> Atom {
        Atom::new(&format!("n{at:04}@h"))
    }

    /// The nodes that are dialled now.
    fn turns(dials: &mut Dials, now_us: u64) -> Vec<(Atom, Kind)> {
        core::iter::from_fn(|| dials.next(now_us)).collect()
    }

    #[test]
    fn a_few_nodes_are_dialled_at_a_time_known_ones_first() {
        let mut dials = Dials::default();
        for at in 0..20 {
            assert!(dials.want(&node(at), Kind::Holder, 0));
        }
        let first = turns(&mut dials, 0);
        assert_eq!(first.len(), DIALS_MAX);
        assert!(dials.want(&node(90), Kind::Known, 0) && dials.want(&node(15), Kind::Known, 0));
        assert_eq!(turns(&mut dials, 0), []);
        // One node was reached, two were not. So the next three are dialled.
        assert_eq!(dials.up(&node(0)), Some(Kind::Holder));
        assert_eq!(dials.failed(&node(1), 0), Some(Kind::Holder));
        assert_eq!(dials.failed(&node(2), 0), Some(Kind::Holder));
        let next = [
            (node(90), Kind::Known),
            (node(15), Kind::Known),
            (node(8), Kind::Holder),
        ];
        assert_eq!(turns(&mut dials, 0), next);
        assert_eq!(dials.failed(&node(12), 0), None, "the node was not dialled");
    }

    #[test]
    fn a_known_node_is_dialled_for_a_while_and_then_lost() {
        let mut dials = Dials::default();
        dials.want(&node(1), Kind::Known, 0);
        let mut tries = 0;
        let lost_us = (0..100)
            .map(|second| second * 1_000_000)
            .find(|now_us| {
                assert_eq!(dials.look(*now_us), []);
                tries += turns(&mut dials, *now_us).len();
                dials.failed(&node(1), *now_us) == Some(Kind::Known)
            })
            .unwrap();
        assert_eq!((lost_us, tries), (REACH_US, 8));
        assert!(dials.is_empty());
    }

    /// No dial is ever reported as ended, and far more nodes are wanted than can be dialled.
    #[test]
    fn no_node_is_waited_for_forever() {
        let mut dials = Dials::default();
        for at in 0..4000 {
            dials.want(&node(at), Kind::Known, 0);
        }
        let (mut now_us, mut lost) = (0, 0);
        while dials.wants_known() {
            assert!(turns(&mut dials, now_us).len() <= DIALS_MAX && now_us <= WAIT_US + DIAL_US_MAX);
            now_us += REDIAL_US;
            lost += dials.look(now_us).len();
        }
        assert_eq!(lost, 4000);
    }

    #[test]
    fn the_dial_of_a_forgotten_node_counts_until_it_ends() {
        let mut dials = Dials::default();
        for at in 0..DIALS_MAX + 1 {
            dials.want(&node(at), Kind::Known, 0);
        }
        turns(&mut dials, 0);
        dials.forget(&node(0));
        assert!(!dials.wants(&node(0)) && dials.wants(&node(1)));
        assert_eq!(turns(&mut dials, 0), []);
        assert_eq!(dials.failed(&node(0), 0), None);
        assert_eq!(turns(&mut dials, 0), vec![(node(DIALS_MAX), Kind::Known)]);
        // Wanted again while its dial is under way: that dial counts for it.
        dials.forget(&node(1));
        assert!(dials.want(&node(1), Kind::Holder, 1));
        assert_eq!(dials.failed(&node(1), 1), Some(Kind::Holder));
    }

    #[test]
    fn nodes_of_name_holders_are_limited() {
        let mut dials = Dials::default();
        let accepted = (0..3000).filter(|at| dials.want(&node(*at), Kind::Holder, 0)).count();
        assert_eq!(accepted, HOLDERS_MAX);
        assert!(dials.want(&node(0), Kind::Holder, 0), "the node is wanted already");
        assert!(
            dials.want(&node(5000), Kind::Known, 0),
            "known nodes are limited separately"
        );
    }
}
