//! The members of each group: a table that sends nothing.
//!
//! ```text
//! groups:  group ─▶ node ─▶ pid ─▶ how often it joined
//! nodes:   node  ─▶ its groups, and their size
//! ```
//!
//! - A process may join several times, and leaves once for each time: a group is a multiset.
//! - A group without members is not in the table. Nor is a node without members.
//! - `nodes` is an index of `groups`, so that everything of a node can be dropped without a search.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::{Atom, Pid, Term, encode_bare};

/// Processes, and how often each joined.
type Members = BTreeMap<Pid, usize>;

/// A join or a leave of some processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) joined: bool,
    pub(crate) group: Term,
    /// A process that joined twice is listed twice.
    pub(crate) pids: Vec<Pid>,
}

/// What the processes of one node use.
#[derive(Debug, Default)]
struct Holding {
    /// The groups, with the size of each name in bytes.
    groups: BTreeMap<Term, usize>,
    joins: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    groups: BTreeMap<Term, BTreeMap<Atom, Members>>,
    nodes: BTreeMap<Atom, Holding>,
}

impl Roster {
    /// Adds a process of a node to a group once more.
    pub(crate) fn join(&mut self, node: &Atom, group: &Term, pid: &Pid) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.clone(), BTreeMap::new());
        }
        let nodes = self.groups.get_mut(group).expect("just looked at");
        let members = nodes.entry(node.clone()).or_default();
        *members.entry(pid.clone()).or_default() += 1;

        let holding = self.nodes.entry(node.clone()).or_default();
        holding.joins += 1;
        if !holding.groups.contains_key(group) {
            let mut name = Vec::new();
            encode_bare(group, &mut name);
            holding.bytes += name.len();
            holding.groups.insert(group.clone(), name.len());
        }
    }

    /// Removes a process of a node from a group once. Returns false if it was not a member.
    pub(crate) fn leave(&mut self, node: &Atom, group: &Term, pid: &Pid) -> bool {
        let Some(members) = self.groups.get_mut(group).and_then(|nodes| nodes.get_mut(node)) else {
            return false;
        };
        let Some(count) = members.get_mut(pid) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            members.remove(pid);
        }
        let was_last = members.is_empty();
        let holding = self.nodes.get_mut(node).expect("a node with members holds them");
        holding.joins -= 1;
        if was_last {
            holding.bytes -= holding.groups.remove(group).expect("indexed when joined");
            if holding.groups.is_empty() {
                self.nodes.remove(node);
            }
            self.drop_members(node, group);
        }
        true
    }

    /// Replaces all members of a node by `told`. Returns the changes.
    pub(crate) fn replace(&mut self, node: &Atom, told: Vec<(Term, Vec<Pid>)>) -> Vec<Change> {
        let mut next: BTreeMap<Term, Members> = BTreeMap::new();
        for (group, pids) in told {
            let members = next.entry(group).or_default();
            for pid in pids {
                *members.entry(pid).or_default() += 1;
            }
        }
        let held = self.nodes.get(node).map(|holding| holding.groups.keys().cloned());
        let groups: BTreeSet<Term> = held.into_iter().flatten().chain(next.keys().cloned()).collect();
        let mut changes = Vec::new();
        for group in groups {
            let empty = Members::new();
            let old = self.members_at(node, &group).unwrap_or(&empty);
            let new = next.get(&group).unwrap_or(&empty);
            let (joining, leaving) = (surplus(new, old), surplus(old, new));
            for pid in &joining {
                self.join(node, &group, pid);
            }
            for pid in &leaving {
                self.leave(node, &group, pid);
            }
            for (joined, pids) in [(true, joining), (false, leaving)] {
                if !pids.is_empty() {
                    let group = group.clone();
                    changes.push(Change { joined, group, pids });
                }
            }
        }
        changes
    }

    /// Removes all members of a node. Returns which processes left.
    pub(crate) fn forget(&mut self, node: &Atom) -> Vec<Change> {
        let Some(holding) = self.nodes.remove(node) else {
            return Vec::new();
        };
        let left = |group: Term| {
            let members = self.drop_members(node, &group);
            Change {
                joined: false,
                group,
                pids: surplus(&members, &Members::new()),
            }
        };
        holding.groups.into_keys().map(left).collect()
    }

    fn drop_members(&mut self, node: &Atom, group: &Term) -> Members {
        let nodes = self.groups.get_mut(group).expect("a group that is held is there");
        let members = nodes.remove(node).expect("its members are there");
        if nodes.is_empty() {
            self.groups.remove(group);
        }
        members
    }

    // Reading

    /// All groups, ascending.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Term> {
        self.groups.keys()
    }

    /// The members of a group, by node.
    pub(crate) fn members(&self, group: &Term) -> Vec<Pid> {
        let nodes = self.groups.get(group).map(BTreeMap::values);
        nodes.into_iter().flatten().flat_map(each).collect()
    }

    /// The members of a group that live on this node.
    pub(crate) fn members_of(&self, node: &Atom, group: &Term) -> Vec<Pid> {
        self.members_at(node, group).into_iter().flat_map(each).collect()
    }

    /// All members that live on this node, by group.
    pub(crate) fn all_of(&self, node: &Atom) -> impl Iterator<Item = (&Term, Vec<Pid>)> {
        let groups = self.nodes.get(node).map(|holding| holding.groups.keys());
        groups
            .into_iter()
            .flatten()
            .map(|group| (group, self.members_of(node, group)))
    }

    /// The nodes with members, and how often those joined.
    pub(crate) fn joins_per_node(&self) -> impl Iterator<Item = (&Atom, usize)> {
        self.nodes.iter().map(|(node, holding)| (node, holding.joins))
    }

    /// How often the processes of a node have joined, and the size of the names of their groups in bytes.
    pub(crate) fn held(&self, node: &Atom) -> (usize, usize) {
        self.nodes
            .get(node)
            .map_or((0, 0), |holding| (holding.joins, holding.bytes))
    }

    fn members_at(&self, node: &Atom, group: &Term) -> Option<&Members> {
        self.groups.get(group)?.get(node)
    }
}

/// Each member, as often as it joined.
fn each(members: &Members) -> impl Iterator<Item = Pid> {
    let times = |(pid, count): (&Pid, &usize)| core::iter::repeat_n(pid.clone(), *count);
    members.iter().flat_map(times)
}

/// The members of `some` that `others` lacks, each as often as it is missing.
fn surplus(some: &Members, others: &Members) -> Vec<Pid> {
    let more = |(pid, count): (&Pid, &usize)| {
        let count = count.saturating_sub(others.get(pid).copied().unwrap_or(0));
        core::iter::repeat_n(pid.clone(), count)
    };
    some.iter().flat_map(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec;

    fn node(number: u64) -> Atom {
        Atom::new(&alloc::format!("n{number}@h"))
    }

    fn pid(at: u64, id: u32) -> Pid {
        Pid {
            node: node(at),
            id,
            serial: 0,
            creation: 4,
        }
    }

    fn all(roster: &Roster) -> Vec<(Term, Vec<Pid>)> {
        roster
            .groups()
            .map(|group| (group.clone(), roster.members(group)))
            .collect()
    }

    #[test]
    fn one_leave_undoes_one_join() {
        let mut roster = Roster::default();
        let (a, group) = (node(1), Term::Int(5));
        roster.join(&a, &group, &pid(1, 1));
        roster.join(&a, &group, &pid(1, 1));
        roster.join(&node(2), &group, &pid(2, 1));
        assert_eq!(roster.members(&group), [pid(1, 1), pid(1, 1), pid(2, 1)]);
        assert_eq!(roster.members_of(&a, &group).len(), 2);
        assert!(roster.leave(&a, &group, &pid(1, 1)));
        assert!(roster.leave(&a, &group, &pid(1, 1)));
        assert!(!roster.leave(&a, &group, &pid(1, 1)));
        assert_eq!(roster.members(&group), [pid(2, 1)]);
        assert!(roster.leave(&node(2), &group, &pid(2, 1)));
        assert!(roster.groups.is_empty() && roster.nodes.is_empty());
    }

    #[test]
    fn groups_are_compared_as_terms() {
        let mut roster = Roster::default();
        let names = [
            Term::Int(1),
            Term::float(1.0).unwrap(),
            Term::binary("a"),
            Term::atom("a"),
            Term::chars("a"),
            Term::NIL,
            Term::from((Term::atom("room"), Term::Int(1))),
        ];
        for (id, name) in (1..).zip(&names) {
            roster.join(&node(1), name, &pid(1, id));
        }
        for (id, name) in (1..).zip(&names) {
            assert_eq!(roster.members(name), [pid(1, id)]);
        }
        let mut encoded = Vec::new();
        for name in &names {
            encode_bare(name, &mut encoded);
        }
        assert_eq!(roster.held(&node(1)), (names.len(), encoded.len()));
    }

    #[test]
    fn replacing_members_returns_the_changes() {
        let mut roster = Roster::default();
        let (a, one, two) = (node(1), Term::Int(1), Term::Int(2));
        for id in [1, 1, 2] {
            roster.join(&a, &one, &pid(1, id));
        }
        let told = vec![
            (one.clone(), vec![pid(1, 1), pid(1, 3)]),
            (two.clone(), vec![pid(1, 1)]),
        ];
        let change = |joined, group: &Term, pids: &[Pid]| Change {
            joined,
            group: group.clone(),
            pids: pids.to_vec(),
        };
        assert_eq!(
            roster.replace(&a, told.clone()),
            [
                change(true, &one, &[pid(1, 3)]),
                change(false, &one, &[pid(1, 1), pid(1, 2)]),
                change(true, &two, &[pid(1, 1)]),
            ]
        );
        assert_eq!(roster.replace(&a, told.clone()), []);
        assert_eq!(all(&roster), told);
        assert_eq!(roster.forget(&a).len(), 2);
        assert_eq!(roster.held(&a), (0, 0));
        assert_eq!(roster.replace(&a, vec![(one, vec![])]), []);
        assert!(roster.groups.is_empty() && roster.nodes.is_empty());
    }

    /// Compared with a plain list of joins. A copy that applies all changes must have the same members at the end.
    #[test]
    fn agrees_with_a_list_of_joins() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let mut roster = Roster::default();
            let mut mirror = Roster::default();
            let mut list: Vec<(Term, Pid)> = Vec::new();
            for _ in 0..300 {
                let at = random.next() % 3;
                let pid = pid(at, (random.next() % 3) as u32);
                let group = Term::Int((random.next() % 4) as i64);
                let position = list.iter().position(|(g, p)| *g == group && *p == pid);
                let mut apply = |change: &Change| {
                    for pid in &change.pids {
                        if change.joined {
                            mirror.join(&pid.node, &change.group, pid);
                        } else {
                            assert!(mirror.leave(&pid.node, &change.group, pid));
                        }
                    }
                };
                match random.next() % 8 {
                    0 => {
                        list.retain(|(_, p)| p.node != pid.node);
                        roster.forget(&pid.node).iter().for_each(apply);
                    }
                    1 => {
                        list.retain(|(_, p)| p.node != pid.node);
                        list.push((group.clone(), pid.clone()));
                        let told = vec![(group, vec![pid.clone()])];
                        roster.replace(&pid.node, told).iter().for_each(apply);
                    }
                    2..5 => {
                        assert_eq!(roster.leave(&pid.node, &group, &pid), position.is_some());
                        if let Some(position) = position {
                            list.remove(position);
                            let pids = vec![pid];
                            let joined = false;
                            apply(&Change { joined, group, pids });
                        }
                    }
                    _ => {
                        list.push((group.clone(), pid.clone()));
                        roster.join(&pid.node, &group, &pid);
                        let pids = vec![pid];
                        let joined = true;
                        apply(&Change { joined, group, pids });
                    }
                }
                let mut flat: Vec<(Term, Pid)> = Vec::new();
                for (group, pids) in all(&roster) {
                    flat.extend(pids.into_iter().map(|pid| (group.clone(), pid)));
                }
                flat.sort();
                list.sort();
                assert_eq!(flat, list, "seed {seed}");
                assert_eq!(all(&mirror), all(&roster), "seed {seed}");
                let joins: usize = (0..3).map(|at| roster.held(&node(at)).0).sum();
                assert_eq!(joins, list.len());
            }
        }
    }
}
