//! Which nodes are together. The simulator derives this from the links of the simulated network and from the member
//! lists of the nodes.
//!
//! - Two nodes are *linked* while all of this holds: both run, neither is paused, both directions between them work, a
//!   connection is up, and each has the other in its member list.
//! - A *group* is a connected component of links, so a single broken link splits no group. A group is split at the
//!   moment of the fault. Groups merge once all their nodes are linked pairwise. If only some of their nodes are
//!   linked, groups merge [`VIEW_US`] after that: the nodes have to report their links to the others.
//! - A node has *lost* another one when that one still runs, was connected with it (directly or through others) and is
//!   not any more. A death is not a loss.
//! - Two nodes are *in reach* of each other while some path between them is not blocked, whether they know it or not.
//! - Nothing *moves* while no node comes or goes, no group changes, and every copy is on the nodes where it is placed.
//! - The world is *whole* while all running nodes are linked pairwise. It is *steady* if, in addition, nothing is slow.

/// Time in which all nodes of a group that is not a full mesh learn of all others. Nodes exchange lists once a second;
/// this is two rounds.
pub const VIEW_US: u64 = 2_000_000;

/// Machines as bits.
pub type Group = u32;

/// One running node.
#[derive(Clone, Copy, Debug)]
pub struct Presence {
    /// Number of its life.
    life: u64,
    /// When it started.
    started_us: u64,
    /// The nodes it is together with, including itself.
    group: Group,
    /// The nodes it is connected with, directly or through others: its group, and the groups that are merging with it.
    component: Group,
    /// When it last lost a node; 0 if never.
    lost_us: u64,
    /// The nodes in its reach, including itself.
    reach: Group,
    /// When `reach` last changed.
    reach_changed_us: u64,
}

/// How two running nodes are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tie {
    /// A direction is blocked, or a node is paused.
    Blocked,
    /// No direction is blocked.
    Open,
    /// They are connected, and both have each other as peers.
    Linked,
}

/// Which nodes are together now, and since when.
#[derive(Debug, Default)]
pub struct Together {
    present: Vec<Option<Presence>>,
    whole_since_us: Option<u64>,
    steady_since_us: Option<u64>,
    /// When a node last came or went, a group changed, or a copy was not where it is placed.
    moved_us: u64,
    /// Connected components that are not groups yet, and since when they are connected.
    merging: Vec<(Group, u64)>,
}

/// The machines of a group.
fn members(group: Group) -> impl Iterator<Item = usize> {
    (0..Group::BITS as usize).filter(move |machine| group & (1 << machine) != 0)
}

impl Together {
    /// Updates everything at `now_us`. `lives` has the life of each machine whose node runs and belongs to the cluster.
    /// `slow` says whether a node or a link is slow. `tie` gives the tie between each two machines.
    pub fn update(&mut self, now_us: u64, lives: &[Option<u64>], slow: bool, tie: impl Fn(usize, usize) -> Tie) {
        self.present.resize(lives.len(), None);
        let running = lives.iter().enumerate().filter(|(_, life)| life.is_some());
        let running = running.fold(0, |mask: Group, (machine, _)| mask | 1 << machine);
        let [mut links, mut open]: [Vec<Group>; 2] = [vec![0; lives.len()], vec![0; lives.len()]];
        for a in members(running) {
            for b in members(running).filter(|b| *b >= a) {
                let tie = if a == b { Tie::Linked } else { tie(a, b) };
                for (edges, least) in [(&mut links, Tie::Linked), (&mut open, Tie::Open)] {
                    if tie >= least {
                        edges[a] |= 1 << b;
                        edges[b] |= 1 << a;
                    }
                }
            }
        }
        let before = std::mem::take(&mut self.present);
        let lived_on = |machine: usize| match (&before[machine], lives[machine]) {
            (Some(presence), Some(life)) => presence.life == life,
            _ => false,
        };
        let (mut groups, mut merging): (Vec<Group>, Vec<(Group, u64)>) = (vec![0; lives.len()], Vec::new());
        let mut rest = running;
        while let Some(first) = members(rest).next() {
            let component = reach(&links, first);
            rest &= !component;
            let old_group = |machine: usize| match &before[machine] {
                Some(presence) if lived_on(machine) => presence.group & component & survivors(&before, &lived_on),
                _ => 1 << machine,
            };
            let is_mesh = members(component).all(|machine| links[machine] & component == component);
            let was_one = members(component).all(|machine| old_group(machine) == component);
            let mut merged = is_mesh || was_one;
            if !merged {
                let known = self.merging.iter().find(|(other, _)| *other == component);
                let since_us = known.map_or(now_us, |(_, since_us)| *since_us);
                merging.push((component, since_us));
                merged = now_us >= since_us + VIEW_US;
            }
            for machine in members(component) {
                groups[machine] = if merged { component } else { old_group(machine) };
            }
        }
        self.merging = merging;
        let whole = members(running).all(|machine| links[machine] == running);
        self.whole_since_us = whole.then(|| self.whole_since_us.unwrap_or(now_us));
        self.steady_since_us = (whole && !slow).then(|| self.steady_since_us.unwrap_or(now_us));
        let mut has_moved = (0..lives.len()).any(|machine| before[machine].is_some() && !lived_on(machine));
        self.present = (0..lives.len())
            .map(|machine| {
                let (life, group) = (lives[machine]?, groups[machine]);
                let (component, reach) = (reach(&links, machine), reach(&open, machine));
                let mut presence = before[machine].filter(|_| lived_on(machine)).unwrap_or(Presence {
                    life,
                    started_us: now_us,
                    group,
                    component,
                    lost_us: 0,
                    reach,
                    reach_changed_us: now_us,
                });
                if presence.component & survivors(&before, &lived_on) & !component != 0 {
                    presence.lost_us = now_us;
                }
                if presence.reach != reach {
                    presence.reach_changed_us = now_us;
                }
                has_moved |= presence.group != group || presence.started_us == now_us;
                (presence.group, presence.component, presence.reach) = (group, component, reach);
                Some(presence)
            })
            .collect();
        if has_moved {
            self.moved_us = now_us;
        }
    }

    /// Notes that some copies are not where they are placed.
    pub fn moves(&mut self, now_us: u64) {
        self.moved_us = now_us;
    }

    /// Whether some nodes are connected but not together yet.
    pub fn is_merging(&self) -> bool {
        !self.merging.is_empty()
    }

    /// Whether the world has been whole since before `from_us`.
    pub fn is_whole_since(&self, from_us: u64) -> bool {
        self.whole_since_us.is_some_and(|since_us| since_us < from_us)
    }

    /// Whether the world has been steady since before `from_us`.
    pub fn is_steady_since(&self, from_us: u64) -> bool {
        self.steady_since_us.is_some_and(|since_us| since_us < from_us)
    }

    /// The nodes that the node on `machine` is together with.
    pub fn group(&self, machine: usize) -> Group {
        self.present
            .get(machine)
            .copied()
            .flatten()
            .map_or(0, |presence| presence.group)
    }

    /// Whether the node that runs on `machine` has run since before `from_us` without losing another node.
    pub fn kept_all_since(&self, machine: usize, from_us: u64) -> bool {
        let presence = self.present.get(machine).copied().flatten();
        presence.is_some_and(|presence| presence.started_us < from_us && presence.lost_us < from_us)
    }

    /// Whether one of these nodes has run since before `from_us` without losing another node.
    pub fn any_kept_all_since(&self, group: Group, from_us: u64) -> bool {
        members(group).any(|machine| self.kept_all_since(machine, from_us))
    }

    /// How many nodes have been in reach of the one on `machine` since before `from_us`, including itself; none if that
    /// set changed.
    pub fn reach_since(&self, machine: usize, from_us: u64) -> Option<u32> {
        let presence = self.present.get(machine).copied().flatten()?;
        (presence.reach_changed_us < from_us).then(|| presence.reach.count_ones())
    }

    /// Whether nothing has moved since `from_us`: no node came or went, no group changed, and every copy was where it
    /// is placed.
    pub fn is_still_since(&self, from_us: u64) -> bool {
        self.moved_us < from_us
    }
}

/// The machines on which the same life of the node still runs.
fn survivors(before: &[Option<Presence>], lived_on: &impl Fn(usize) -> bool) -> Group {
    (0..before.len())
        .filter(|machine| lived_on(*machine))
        .fold(0, |mask, machine| mask | 1 << machine)
}

/// The nodes that can be reached from `first` along links.
fn reach(links: &[Group], first: usize) -> Group {
    let mut found: Group = 1 << first;
    loop {
        let wider = members(found).fold(found, |mask, machine| mask | links[machine]);
        if wider == found {
            return found;
        }
        found = wider;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: [Option<u64>; 4] = [Some(1), Some(2), Some(3), Some(4)];

    fn at(together: &mut Together, now_us: u64, lives: [Option<u64>; 4], broken: &[(usize, usize)]) {
        together.update(now_us, &lives, false, |a, b| {
            if broken.contains(&(a, b)) {
                Tie::Blocked
            } else {
                Tie::Linked
            }
        });
    }

    #[test]
    fn one_broken_link_splits_no_group() {
        let mut together = Together::default();
        at(&mut together, 1, LIVES, &[]);
        assert!(together.is_whole_since(2));
        at(&mut together, 5, LIVES, &[(0, 1)]);
        assert!(!together.is_whole_since(9));
        assert_eq!(together.group(0), 0b1111);
        assert!(together.kept_all_since(0, 2));
    }

    #[test]
    fn a_partition_is_a_loss_for_both_sides_and_a_death_is_not() {
        let mut together = Together::default();
        at(&mut together, 1, LIVES, &[]);
        at(&mut together, 5, LIVES, &[(0, 1), (0, 2), (0, 3)]);
        assert_eq!((together.group(0), together.group(1)), (0b0001, 0b1110));
        assert!(!together.kept_all_since(0, 5) && !together.kept_all_since(3, 5) && together.kept_all_since(3, 6));
        at(&mut together, 8, [Some(1), Some(2), Some(3), None], &[(0, 1), (0, 2)]);
        assert!(together.kept_all_since(1, 6) && !together.is_still_since(7) && together.is_still_since(9));
    }

    #[test]
    fn sides_that_meet_are_together_as_a_mesh_or_after_a_while() {
        let mut together = Together::default();
        let apart = [(0, 1), (0, 2), (0, 3)];
        at(&mut together, 1, LIVES, &apart);
        at(&mut together, 5, LIVES, &apart[1..]);
        assert_eq!(together.group(0), 0b0001, "node 1 still has to report nodes 2 and 3");
        at(&mut together, 5 + VIEW_US, LIVES, &apart[1..]);
        assert_eq!(together.group(0), 0b1111);
        let mut together = Together::default();
        at(&mut together, 1, LIVES, &apart);
        at(&mut together, 5, LIVES, &[]);
        assert_eq!(together.group(0), 0b1111);
    }

    #[test]
    fn a_new_life_is_together_with_no_node_at_first() {
        let mut together = Together::default();
        at(&mut together, 1, LIVES, &[]);
        let apart = [(0, 1), (0, 2), (0, 3)];
        at(&mut together, 5, [Some(9), Some(2), Some(3), Some(4)], &apart);
        assert_eq!(together.group(0), 0b0001);
        assert!(together.kept_all_since(1, 5) && !together.kept_all_since(0, 5));
    }
}
