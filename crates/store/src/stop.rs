//! Whether a node may be stopped now, and if not, why.
//!
//! The answer is about losing the node at once, as by `kill -9`. An orderly stop hands the data over first, so it is
//! safe more often. These must hold for each shard that the node has or is a replica of:
//!
//! - All live replicas are in sync.
//! - Without the node, two replicas in sync are left; one is enough if another node can take a new copy.
//! - Without the node, at least as many nodes as `min_acks` of its keyspace can have the shard.
//!
//! A silent, leaving or unconnected node does not count as one of the others. Nothing is sent from here.

use alloc::{format, string::String};
use core::fmt;

use node::{Member, MemberState};

use crate::{ask::ShardStatus, config::Keyspace};

/// Why a node must not be stopped now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopRisk {
    /// The node does not serve: it is down, leaving, gone, or not connected.
    Away(&'static str),
    /// No reachable node is in sync for some shards. Any node may have data of them.
    Unavailable {
        /// How many shards.
        shards: u64,
    },
    /// Some shards that the node has, or is a replica of, are being copied.
    Copying {
        /// How many shards.
        shards: u64,
    },
    /// Replicas were separated and have not exchanged everything yet.
    Comparing,
    /// Too few replicas in sync would be left for some shards.
    FewReplicas {
        /// How many shards.
        shards: u64,
        /// The smallest number of replicas that one of them would have left.
        left: usize,
    },
    /// Too few nodes would be left for the writes of a keyspace.
    FewNodes {
        /// The name of the keyspace.
        keyspace: String,
        /// How many copies of a shard would be possible.
        left: usize,
        /// The `min_acks` of the keyspace.
        min_acks: u32,
    },
}

impl StopRisk {
    /// One word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Away(_) => "away",
            Self::Unavailable { .. } => "unavailable",
            Self::Copying { .. } => "copying",
            Self::Comparing => "comparing",
            Self::FewReplicas { .. } => "few_replicas",
            Self::FewNodes { .. } => "few_nodes",
        }
    }
}

/// `1 shard`, `2 shards`.
fn shards_of(count: u64) -> String {
    format!("{count} shard{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for StopRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(state) => write!(f, "the node is {state}"),
            Self::Unavailable { shards } => write!(
                f,
                "no node within reach serves {}, and this node may hold their data",
                shards_of(*shards)
            ),
            Self::Copying { shards } => write!(f, "{} on it are still being copied", shards_of(*shards)),
            Self::Comparing => f.write_str("replicas that were apart are still being compared"),
            Self::FewReplicas { shards, left: 0 } => write!(
                f,
                "it has the only replica in sync of {}; add nodes or replicas, or have it hand them over (salp leave)",
                shards_of(*shards)
            ),
            Self::FewReplicas { shards, left } => write!(
                f,
                "{} would have {left} replica left and no node to make another; add a node",
                shards_of(*shards)
            ),
            Self::FewNodes {
                keyspace,
                left,
                min_acks,
            } => write!(
                f,
                "{left} nodes would be left for keyspace {keyspace}, whose min_acks is {min_acks}: it would refuse writes"
            ),
        }
    }
}

/// The data that the answers are computed from.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) members: &'a [&'a Member],
    pub(crate) shards: &'a [ShardStatus],
    /// The keyspaces, by number.
    pub(crate) keyspaces: &'a [Keyspace],
    /// How many copies each shard should have.
    pub(crate) replicas: usize,
    /// How many copies each shard can have now.
    pub(crate) wanted: usize,
    /// Whether clocks of replicas are known to differ, or were not compared yet.
    pub(crate) behind: bool,
}

impl Survey<'_> {
    /// Whether the shard has all the copies it can have now, and all are in sync.
    pub(crate) fn is_whole(&self, shard: &ShardStatus) -> bool {
        shard.replicas.len() == self.wanted && shard.replicas.iter().all(|name| shard.ready.contains(name))
    }

    /// Why `member` must not be stopped now; `None` if it may be.
    pub(crate) fn risk(&self, member: &Member) -> Option<StopRisk> {
        if let Some(state) = away(member) {
            return Some(StopRisk::Away(state));
        }
        let name = member.name.as_str();
        let unavailable = self.shards.iter().filter(|shard| shard.ready.is_empty()).count() as u64;
        if unavailable > 0 {
            return Some(StopRisk::Unavailable { shards: unavailable });
        }
        let has_part = |shard: &&ShardStatus| shard.replicas.iter().chain(&shard.ready).any(|holder| holder == name);
        let mine = || self.shards.iter().filter(has_part);
        let copying = mine().filter(|shard| !self.is_whole(shard)).count() as u64;
        if copying > 0 {
            return Some(StopRisk::Copying { shards: copying });
        }
        if self.behind {
            return Some(StopRisk::Comparing);
        }
        let stays = |other: &str| other != name && self.stays(other);
        let nodes_left = self.members.iter().filter(|member| stays(member.name.as_str())).count();
        let places_left = self.replicas.min(nodes_left);
        let (mut few, mut fewest) = (0, usize::MAX);
        for shard in mine() {
            let left = shard.ready.iter().filter(|holder| stays(holder)).count();
            if left == 0 || left == 1 && places_left <= left {
                few += 1;
                fewest = fewest.min(left);
            }
        }
        if few > 0 {
            return Some(StopRisk::FewReplicas {
                shards: few,
                left: fewest,
            });
        }
        let is_short = |(number, keyspace): &(usize, &Keyspace)| {
            let has_part = |shard: &ShardStatus| usize::from(shard.keyspace) == *number && has_part(&shard);
            places_left < keyspace.min_acks as usize && self.shards.iter().any(has_part)
        };
        let (_, keyspace) = self.keyspaces.iter().enumerate().find(is_short)?;
        Some(StopRisk::FewNodes {
            keyspace: keyspace.name.clone(),
            left: places_left,
            min_acks: keyspace.min_acks,
        })
    }

    fn stays(&self, name: &str) -> bool {
        let is_it = |member: &&&Member| member.name.as_str() == name;
        let member = self.members.iter().find(is_it);
        member.is_some_and(|member| member.state == MemberState::Up && member.connected)
    }
}

/// The state of `member`, if it does not serve.
fn away(member: &Member) -> Option<&'static str> {
    match (member.state, member.connected) {
        (MemberState::Up | MemberState::Suspect, true) => None,
        (MemberState::Up | MemberState::Suspect, false) => Some("not connected"),
        (state @ (MemberState::Down | MemberState::Leaving | MemberState::Gone), _) => Some(state.word()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        string::{String, ToString},
        vec::Vec,
    };

    use node::Atom;

    use super::*;

    /// Nodes `a`, `b` …, in the state behind the colon (`b:suspect`), or `up`.
    fn members(text: &str) -> Vec<Member> {
        let member = |word: &str| {
            let (name, state) = word.split_once(':').unwrap_or((word, "up"));
            let (state, connected) = match state {
                "up" => (MemberState::Up, true),
                "torn" => (MemberState::Up, false),
                "suspect" => (MemberState::Suspect, true),
                "leaving" => (MemberState::Leaving, true),
                "down" => (MemberState::Down, false),
                other => panic!("{other}"),
            };
            Member {
                name: Atom::new(name),
                creation: 1,
                state,
                connected,
                dist_port: None,
            }
        };
        text.split_whitespace().map(member).collect()
    }

    /// `replicas/ready`, each a string of one-letter names.
    fn shard(text: &str) -> ShardStatus {
        let (replicas, ready) = text.split_once('/').unwrap_or((text, text));
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        ShardStatus {
            keyspace: 0,
            number: 0,
            replicas: names(replicas),
            ready: names(ready),
            primary: None,
            keys: 0,
        }
    }

    struct Case<'a> {
        nodes: &'a str,
        shards: &'a str,
        replicas: usize,
        min_acks: u32,
        behind: bool,
    }

    impl Default for Case<'_> {
        fn default() -> Self {
            Self {
                nodes: "a b c",
                shards: "abc bca cab",
                replicas: 3,
                min_acks: 1,
                behind: false,
            }
        }
    }

    /// The answer for `name`: `yes`, or the word of the risk.
    fn check(case: &Case<'_>, name: &str) -> &'static str {
        let members = members(case.nodes);
        let seats = members.iter().filter(|member| away(member).is_none()).count();
        let shards: Vec<ShardStatus> = case.shards.split_whitespace().map(shard).collect();
        let keyspaces = [Keyspace {
            min_acks: case.min_acks,
            ..Keyspace::named("default")
        }];
        let survey = Survey {
            members: &members.iter().collect::<Vec<_>>(),
            shards: &shards,
            keyspaces: &keyspaces,
            replicas: case.replicas,
            wanted: case.replicas.min(seats),
            behind: case.behind,
        };
        let member = members.iter().find(|member| member.name.as_str() == name).unwrap();
        let risk = survey.risk(member);
        if let Some(risk) = &risk {
            let text = risk.to_string();
            assert!(text.len() > 10 && !text.contains('\n'), "{text}");
        }
        risk.map_or("yes", |risk| risk.word())
    }

    #[test]
    fn any_one_of_three_nodes_with_three_replicas_may_be_stopped() {
        for name in ["a", "b", "c"] {
            assert_eq!(check(&Case::default(), name), "yes");
        }
    }

    #[test]
    fn the_answer_depends_on_what_is_left() {
        let case = Case::default;
        #[rustfmt::skip]
        let cases = [
            (Case { nodes: "a b", shards: "ab ba", ..case() }, "few_replicas"),
            (Case { nodes: "a", shards: "a", ..case() }, "few_replicas"),
            (Case { nodes: "a b c d", shards: "abc bcd", ..case() }, "yes"),
            (Case { nodes: "a b c", shards: "ab bc", replicas: 2, ..case() }, "yes"),
            (Case { nodes: "a b", shards: "ab ba", replicas: 2, ..case() }, "few_replicas"),
            (Case { nodes: "a b c", shards: "a b", replicas: 1, ..case() }, "few_replicas"),
            (Case { nodes: "a b c", shards: "b c", replicas: 1, ..case() }, "yes"),
            (Case { min_acks: 2, ..case() }, "yes"),
            (Case { min_acks: 3, ..case() }, "few_nodes"),
            (Case { nodes: "a b c d", shards: "abc bcd", min_acks: 3, ..case() }, "yes"),
            (Case { nodes: "a b c d:suspect", shards: "abc bcd", min_acks: 3, ..case() }, "few_nodes"),
            (Case { nodes: "a b:suspect c", ..case() }, "few_replicas"),
            (Case { nodes: "a b c:down", shards: "ab ba", ..case() }, "few_replicas"),
            (Case { nodes: "a b c d:leaving", ..case() }, "yes"),
            (Case { shards: "abc/ab bca", ..case() }, "copying"),
            (Case { shards: "abc abc/", ..case() }, "unavailable"),
            (Case { nodes: "a b c d", shards: "bcd/bcd bcd/bc", ..case() }, "yes"),
            (Case { nodes: "a b c d", shards: "bcd/abc", ..case() }, "copying"),
            (Case { behind: true, ..case() }, "comparing"),
            (Case { nodes: "a:leaving b c d", shards: "bcd", ..case() }, "away"),
            (Case { nodes: "a:torn b c d", shards: "bcd", ..case() }, "away"),
            (Case { nodes: "a:down b c", shards: "bc", ..case() }, "away"),
        ];
        for (case, answer) in cases {
            assert_eq!(check(&case, "a"), answer, "{} | {}", case.nodes, case.shards);
        }
    }
}
