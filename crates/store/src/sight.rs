//! Which nodes a node can reach, directly and through others: the matrix of connections, and the component computed
//! from it.
//!
//! Each node sends its peers a [`Sight`]: the list of peers that it is connected to. From the sights of all nodes,
//! every node computes the same *component*, even if single connections are down:
//!
//! - A connection counts if both of its ends list it. It also counts if one end lists it and the sight of the other is
//!   not known yet.
//! - A connection is *doubted* while one of its ends has received nothing for half the tick time. Doubted connections
//!   are not used to reach other nodes. A node that only doubted connections reach stays in the component as long as
//!   every other member still lists it. So all members drop a silent node when the first of them does.
//!
//! Nothing is sent from here, and no clock is read.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

use crate::codec::{Malformed, Reader, put_bytes, put_varint};

/// Longest name of a node, in bytes: 255 characters of UTF-8.
const NAME_BYTES_MAX: usize = 4 * 255;

/// A node with its creation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its full name.
    pub name: String,
    /// Its creation: new at each start of the node.
    pub creation: u32,
}

impl Identity {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.name.as_bytes());
        put_varint(out, u64::from(self.creation));
    }

    /// Reads an identity.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let name = input.bytes()?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Malformed("a node name is empty or too long"));
        }
        let name = core::str::from_utf8(name).map_err(|_| Malformed("a node name is not UTF-8"))?;
        Ok(Self {
            name: name.into(),
            creation: u32::try_from(input.varint()?).map_err(|_| Malformed("creation out of range"))?,
        })
    }
}

/// A peer that a node is connected to, and that has reported its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The peer's name and creation.
    pub node: Identity,
    /// Whether it has a copy of some shard that is ready, or was.
    pub holds: bool,
    /// Whether nothing was received from it for half the tick time.
    pub doubted: bool,
}

/// What a node reports about itself and its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether it is leaving.
    pub leaving: bool,
    /// Its peers, by identity.
    pub neighbours: Vec<Neighbour>,
}

impl Sight {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.leaving));
        put_varint(out, self.neighbours.len() as u64);
        for neighbour in &self.neighbours {
            neighbour.node.encode(out);
            out.push(u8::from(neighbour.holds) | u8::from(neighbour.doubted) << 1);
        }
    }

    /// Reads a sight.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let leaving = input.u8()? != 0;
        let count = input.varint()?;
        let mut neighbours = Vec::new();
        // Each neighbour takes at least three bytes, so a false count ends with the bytes.
        for _ in 0..count {
            let node = Identity::decode(input)?;
            let flags = input.u8()?;
            neighbours.push(Neighbour {
                node,
                holds: flags & 1 != 0,
                doubted: flags & 2 != 0,
            });
        }
        Ok(Self { leaving, neighbours })
    }
}

/// A member of the component, other than the node itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The member's name and creation.
    pub node: Identity,
    /// Whether it is leaving.
    pub leaving: bool,
    /// Whether it has a copy of some shard that is ready, or was.
    pub holds: bool,
    /// The neighbour of this node that is first on the shortest way; the member itself if it is a neighbour.
    pub through: Identity,
}

/// One node in the graph.
struct Vertex<'a> {
    node: &'a Identity,
    /// Its sight; `None` if it has not reported one.
    sight: Option<&'a Sight>,
    holds: bool,
    /// The vertices of connections that count, and whether each connection is doubted.
    edges: Vec<(usize, bool)>,
}

/// The members that `me`, whose sight is `mine`, can reach, by identity. `sights` has the sights of the peers.
pub fn component<'a>(
    me: &'a Identity,
    mine: &'a Sight,
    sights: impl Iterator<Item = (&'a Identity, &'a Sight)>,
) -> Vec<Reached> {
    let graph = graph(me, mine, sights);
    let mut through = search(&graph, false);
    // Nodes that only doubted connections reach.
    let every = search(&graph, true);
    let firm: Vec<usize> = (0..graph.len()).filter(|&index| through[index].is_some()).collect();
    for (index, way) in every.into_iter().enumerate() {
        let is_listed = |&member: &usize| graph[member].edges.iter().any(|(to, _)| *to == index);
        if through[index].is_none() && way.is_some() && firm.iter().all(is_listed) {
            through[index] = way;
        }
    }
    let reached = |(vertex, way): (&Vertex<'_>, Option<usize>)| {
        Some(Reached {
            node: vertex.node.clone(),
            leaving: vertex.sight.is_some_and(|sight| sight.leaving),
            holds: vertex.holds,
            through: graph[way?].node.clone(),
        })
    };
    let mut members: Vec<Reached> = graph.iter().zip(through).skip(1).filter_map(reached).collect();
    members.sort_unstable_by(|a, b| a.node.cmp(&b.node));
    members
}

/// Builds the graph. This node is vertex 0.
fn graph<'a>(
    me: &'a Identity,
    mine: &'a Sight,
    sights: impl Iterator<Item = (&'a Identity, &'a Sight)>,
) -> Vec<Vertex<'a>> {
    let mut numbers: BTreeMap<&Identity, usize> = BTreeMap::new();
    let mut graph: Vec<Vertex<'_>> = Vec::new();
    let mut known: Vec<(&Identity, &Sight)> = alloc::vec![(me, mine)];
    known.extend(sights.filter(|(node, _)| *node != me));
    let listed = known
        .iter()
        .flat_map(|(_, sight)| &sight.neighbours)
        .map(|neighbour| &neighbour.node);
    for node in known.iter().map(|(node, _)| *node).chain(listed) {
        if !numbers.contains_key(node) {
            numbers.insert(node, graph.len());
            graph.push(Vertex {
                node,
                sight: None,
                holds: false,
                edges: Vec::new(),
            });
        }
    }
    // For each known node: the nodes it lists, and whether it doubts them.
    let mut lists: BTreeMap<(usize, usize), bool> = BTreeMap::new();
    for (node, sight) in known {
        let from = numbers[node];
        graph[from].sight = Some(sight);
        for neighbour in &sight.neighbours {
            let to = numbers[&neighbour.node];
            graph[to].holds |= neighbour.holds;
            lists.insert((from, to), neighbour.doubted);
        }
    }
    let pairs: BTreeSet<(usize, usize)> = lists.keys().map(|&(a, b)| (a.min(b), a.max(b))).collect();
    for (a, b) in pairs {
        let (there, back) = (lists.get(&(a, b)), lists.get(&(b, a)));
        let missing = there.is_none() && graph[a].sight.is_some() || back.is_none() && graph[b].sight.is_some();
        if !missing {
            let doubted = there.copied().unwrap_or(false) || back.copied().unwrap_or(false);
            graph[a].edges.push((b, doubted));
            graph[b].edges.push((a, doubted));
        }
    }
    graph
}

/// For each vertex: the neighbour of vertex 0 through which it is reached. If `doubted`, doubted connections are used
/// too. Vertex 0 is reached through itself.
fn search(graph: &[Vertex<'_>], doubted: bool) -> Vec<Option<usize>> {
    let mut through = alloc::vec![None; graph.len()];
    let mut queue = VecDeque::from([0]);
    through[0] = Some(0);
    while let Some(from) = queue.pop_front() {
        let mut next: Vec<usize> = graph[from]
            .edges
            .iter()
            .filter(|(_, is_doubted)| doubted || !is_doubted)
            .map(|(to, _)| *to)
            .collect();
        next.sort_unstable_by_key(|&to| graph[to].node);
        for to in next {
            if through[to].is_none() {
                through[to] = if from == 0 { Some(to) } else { through[from] };
                queue.push_back(to);
            }
        }
    }
    through
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, format, string::ToString};

    use super::*;

    fn node(name: &str) -> Identity {
        Identity {
            name: name.to_string(),
            creation: 4,
        }
    }

    /// Sights by node. `"b c? d!"` lists b, c in doubt, and d, which holds a copy.
    fn sights(lists: &[(&str, &str)]) -> BTreeMap<Identity, Sight> {
        let neighbour = |word: &str| Neighbour {
            node: node(word.trim_end_matches(['?', '!'])),
            holds: word.contains('!'),
            doubted: word.contains('?'),
        };
        let sight = |list: &str| Sight {
            leaving: false,
            neighbours: list.split_whitespace().map(neighbour).collect(),
        };
        lists.iter().map(|(name, list)| (node(name), sight(list))).collect()
    }

    /// The component of `me`: each member with the neighbour through which it is reached.
    fn reached(me: &str, lists: &[(&str, &str)]) -> String {
        let (me, sights) = (node(me), sights(lists));
        let mine = &sights[&me];
        let members = component(&me, mine, sights.iter().filter(|(other, _)| **other != me));
        let member = |reached: &Reached| {
            let holds = if reached.holds { "!" } else { "" };
            format!("{}{holds}:{}", reached.node.name, reached.through.name)
        };
        members.iter().map(member).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_broken_connection_is_bypassed() {
        let lists = [("a", "c d"), ("b", "c d"), ("c", "a b d"), ("d", "a b c")];
        assert_eq!(reached("a", &lists), "b:c c:c d:d");
        assert_eq!(reached("b", &lists), "a:c c:c d:d");
    }

    #[test]
    fn a_ring_and_a_bridge_are_one_component() {
        let ring = [("a", "b e"), ("b", "a c"), ("c", "b d"), ("d", "c e"), ("e", "a d")];
        assert_eq!(reached("a", &ring), "b:b c:b d:e e:e");
        let bridge = [("a", "b c"), ("b", "a c"), ("c", "a b d e"), ("d", "c e"), ("e", "c d")];
        assert_eq!(reached("a", &bridge), "b:b c:c d:c e:c");
    }

    #[test]
    fn a_member_without_a_sight_is_reached_through_the_node_that_lists_it() {
        assert_eq!(reached("a", &[("a", "b"), ("b", "a c!")]), "b:b c!:b");
    }

    #[test]
    fn a_connection_that_one_end_does_not_list_does_not_count() {
        assert_eq!(reached("a", &[("a", "b"), ("b", "")]), "");
        assert_eq!(reached("a", &[("a", "b c"), ("b", "a c"), ("c", "a")]), "b:b c:c");
    }

    #[test]
    fn a_silent_node_stays_until_the_first_member_drops_it() {
        let all_doubt = [("a", "b c d?"), ("b", "a c d?"), ("c", "a b d?"), ("d", "a b c")];
        assert_eq!(reached("a", &all_doubt), "b:b c:c d:d");
        let b_dropped = [("a", "b c d?"), ("b", "a c"), ("c", "a b d?"), ("d", "a b c")];
        assert_eq!(reached("a", &b_dropped), "b:b c:c");
        assert_eq!(reached("b", &b_dropped), "a:a c:c");
        let c_is_sure = [("a", "b c d?"), ("b", "a c"), ("c", "a b d"), ("d", "a b c")];
        assert_eq!(reached("b", &c_is_sure), "a:a c:c d:c");
    }

    #[test]
    fn a_node_that_was_stopped_keeps_the_view_it_had() {
        // `d` was stopped, so all its peers seemed silent to it.
        let lists = [("d", "a? b? c?"), ("a", "b c d"), ("b", "a c d"), ("c", "a b d")];
        assert_eq!(reached("d", &lists), "a:a b:b c:c");
    }

    #[test]
    fn a_sight_reads_back_and_a_shorter_one_is_refused() {
        let sight = sights(&[("a", "b c? d! e?!")]).remove(&node("a")).expect("listed");
        let mut bytes = Vec::new();
        sight.encode(&mut bytes);
        assert_eq!(Sight::decode(&mut Reader::new(&bytes)), Ok(sight));
        for len in 0..bytes.len() {
            assert!(Sight::decode(&mut Reader::new(&bytes[..len])).is_err());
        }
    }
}
