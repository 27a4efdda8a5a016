//! Membership: states, the bounded table, and nodes that meet and part.

use super::*;
use alloc::{format, vec};
use core::slice;

fn told(name: &str, creation: u32, state: MemberState) -> Told {
    Told {
        name: Atom::new(name),
        creation,
        state,
        dist_port: None,
    }
}

fn membership() -> Membership {
    let me = told("a@h", 1, MemberState::Up);
    Membership::new(me, Bytes::from_static(b"birth"), 16)
}

fn hello(sender: Told, others: Vec<Told>) -> Hello {
    Hello {
        birth: Bytes::from_static(b"birth"),
        identity: Identity::drawn(ClusterId(0)),
        sender,
        others,
    }
}

fn hear(membership: &mut Membership, hello: Hello) -> Heard {
    membership.heard(hello, 0).0
}

fn state(membership: &Membership, name: &str) -> Option<MemberState> {
    let view = membership.view();
    view.iter()
        .find(|member| member.name.as_str() == name)
        .map(|member| member.state)
}

#[test]
fn a_candidate_is_dialled_but_in_no_view() {
    let mut a = membership();
    a.add(&Atom::new("b@h"), false);
    a.add(&Atom::new("a@h"), false);
    assert_eq!(a.dial(0, 8), [(Atom::new("b@h"), None)]);
    assert_eq!(a.dial(0, 8), [], "it is being dialled");
    assert_eq!(a.view().len(), 1);
    a.unreachable(&Atom::new("b@h"), 0, 0);
    assert_eq!(a.next_dial_us(0), Some(50_000));
}

#[test]
fn a_reported_node_is_dialled_and_reported_on_once_it_is_met() {
    let mut a = membership();
    let c = told("c@h", 3, MemberState::Suspect);
    let b = told("b@h", 2, MemberState::Up);
    let first = hear(&mut a, hello(b.clone(), vec![c.clone()]));
    assert_eq!(first, Heard::News(vec![b.clone()]));
    assert_eq!(hear(&mut a, hello(b.clone(), vec![c.clone()])), Heard::News(vec![]));
    assert_eq!(state(&a, "c@h"), Some(MemberState::Down));
    assert_eq!(a.hello().others, slice::from_ref(&b));
    assert_eq!(a.dial(0, 8), [(Atom::new("c@h"), None)]);

    assert_eq!(hear(&mut a, hello(c.clone(), vec![])), Heard::News(vec![c]));
    a.disconnected(&Atom::new("c@h"), 0, 0);
    assert_eq!(a.hello().others, [b.clone(), told("c@h", 3, MemberState::Down)]);
    let newer = told("c@h", 4, MemberState::Up);
    assert_eq!(hear(&mut a, hello(b, vec![newer.clone()])), Heard::News(vec![newer]));
}

#[test]
fn a_goodbye_outlives_the_connection_and_old_reports() {
    let mut a = membership();
    hear(&mut a, hello(told("b@h", 2, MemberState::Up), vec![]));
    hear(&mut a, hello(told("b@h", 2, MemberState::Leaving), vec![]));
    assert_eq!(state(&a, "b@h"), Some(MemberState::Leaving));
    hear(&mut a, hello(told("b@h", 2, MemberState::Gone), vec![]));
    a.disconnected(&Atom::new("b@h"), 0, 0);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Gone));
    hear(
        &mut a,
        hello(told("c@h", 1, MemberState::Up), vec![told("b@h", 2, MemberState::Up)]),
    );
    assert_eq!(state(&a, "b@h"), Some(MemberState::Gone));
    assert_eq!(a.dial(u64::MAX, 8), []);
    assert_eq!(a.next_dial_us(0), None);
    hear(
        &mut a,
        hello(told("c@h", 1, MemberState::Up), vec![told("b@h", 3, MemberState::Up)]),
    );
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down), "a newer creation");
    assert_eq!(a.dial(0, 8), [(Atom::new("b@h"), None)]);
}

#[test]
fn a_creation_that_a_member_sees_is_believed_even_if_it_is_lower() {
    let mut a = membership();
    let c = told("c@h", 1, MemberState::Up);
    hear(&mut a, hello(c.clone(), vec![told("b@h", 9, MemberState::Gone)]));
    hear(&mut a, hello(c.clone(), vec![told("b@h", 5, MemberState::Down)]));
    assert_eq!(state(&a, "b@h"), Some(MemberState::Gone), "an old report");
    hear(&mut a, hello(c, vec![told("b@h", 5, MemberState::Up)]));
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
    assert_eq!(a.dial(0, 8), [(Atom::new("b@h"), None)]);
}

#[test]
fn only_a_member_that_is_down_is_forgotten() {
    let mut a = membership();
    let b = Atom::new("b@h");
    hear(&mut a, hello(told("b@h", 2, MemberState::Up), vec![]));
    assert_eq!(a.forget(&b), None);
    let gone = told("b@h", 2, MemberState::Gone);
    let sender = told("c@h", 1, MemberState::Up);
    assert_eq!(
        hear(&mut a, hello(sender.clone(), vec![gone.clone()])),
        Heard::News(vec![sender]),
        "the node is connected"
    );
    a.disconnected(&b, 0, 0);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
    assert_eq!(a.forget(&b), Some(gone));
    hear(&mut a, hello(told("b@h", 2, MemberState::Up), vec![]));
    assert_eq!(state(&a, "b@h"), Some(MemberState::Up), "it said hello again");
}

#[test]
fn silence_makes_only_up_members_suspect() {
    let mut a = membership();
    let b = Atom::new("b@h");
    hear(&mut a, hello(told("b@h", 2, MemberState::Up), vec![]));
    a.silent(&b, true);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Suspect));
    a.silent(&b, false);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Up));
    a.disconnected(&b, 0, 0);
    a.silent(&b, true);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
}

#[test]
fn a_hello_with_another_birth_record_is_refused_completely() {
    let mut a = membership();
    let mut other = hello(told("b@h", 2, MemberState::Up), vec![told("c@h", 2, MemberState::Up)]);
    other.birth = Bytes::from_static(b"other");
    let mismatch = Mismatch::Birth {
        ours: Bytes::from_static(b"birth"),
        theirs: Bytes::from_static(b"other"),
    };
    let is_fatal = false;
    assert_eq!(hear(&mut a, other), Heard::Refused { mismatch, is_fatal });
    assert_eq!(a.view().len(), 1);
}

#[test]
fn discovered_nodes_are_limited_in_number_and_tries() {
    let mut a = membership();
    for i in 0..100 {
        a.add(&Atom::new(&format!("n{i}@h")), true);
    }
    assert_eq!(a.entries.iter().count(), 16);
    let mut now_us = 0;
    for _ in 0..1000 {
        for (node, _) in a.dial(now_us, 3) {
            a.unreachable(&node, now_us, 0);
        }
        now_us += BACKOFF_MAX_US;
    }
    assert_eq!(a.entries.iter().count(), 0);
}

#[test]
fn backoff_is_bounded_and_jittered() {
    for failures in 0..100 {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let delay_us = backoff_us(failures, random);
            assert!((BACKOFF_MIN_US / 2..=BACKOFF_MAX_US).contains(&delay_us));
        }
    }
    assert!(backoff_us(9, 0) == BACKOFF_MAX_US / 2);
    assert_ne!(backoff_us(3, 1), backoff_us(3, 2));
}

// The table

fn junk(i: usize, state: MemberState) -> Told {
    told(&format!("junk{i}@h"), 1, state)
}

fn names(membership: &Membership) -> usize {
    membership.entries.iter().count()
}

/// Sends a hello and leaves.
fn visit(a: &mut Membership, node: &str, last: MemberState) -> Heard {
    let heard = hear(a, hello(told(node, 2, MemberState::Up), vec![]));
    if last == MemberState::Gone {
        hear(a, hello(told(node, 2, MemberState::Gone), vec![]));
    }
    a.disconnected(&Atom::new(node), 0, 0);
    heard
}

#[test]
fn nodes_that_said_goodbye_are_dropped_oldest_first() {
    let mut a = membership();
    for i in 0..1000 {
        assert_ne!(visit(&mut a, &format!("n{i}@h"), MemberState::Gone), Heard::Full);
    }
    assert_eq!(names(&a), 16);
    assert_eq!(state(&a, "n983@h"), None);
    assert_eq!(state(&a, "n984@h"), Some(MemberState::Gone));
    // A reported node may be alive, so it also takes the place of a node that left.
    let b = told("n999@h", 3, MemberState::Up);
    hear(
        &mut a,
        hello(b, vec![junk(0, MemberState::Up), junk(1, MemberState::Gone)]),
    );
    assert_eq!(state(&a, "junk0@h"), Some(MemberState::Down));
    assert_eq!(state(&a, "junk1@h"), None);
    assert_eq!(state(&a, "n984@h"), None);
}

#[test]
fn a_node_that_was_met_is_not_dropped() {
    let mut a = membership();
    for i in 0..16 {
        assert_ne!(visit(&mut a, &format!("n{i}@h"), MemberState::Down), Heard::Full);
    }
    assert_eq!(visit(&mut a, "late@h", MemberState::Down), Heard::Full);
    assert!(!a.add(&Atom::new("late@h"), false) && !a.add(&Atom::new("late@h"), true));
    let view = a.view();
    assert_eq!(visit(&mut a, "late@h", MemberState::Gone), Heard::Full);
    assert_eq!(a.view(), view);
    assert_eq!(a.forget(&Atom::new("n3@h")).map(|gone| gone.creation), Some(2));
    assert_ne!(visit(&mut a, "late@h", MemberState::Down), Heard::Full);
    assert_eq!(
        (state(&a, "n3@h"), state(&a, "late@h")),
        (None, Some(MemberState::Down))
    );
}

#[test]
fn a_reporter_fills_a_quarter_which_yields_to_nodes_that_say_hello() {
    for state_told in [MemberState::Up, MemberState::Down, MemberState::Gone] {
        let mut a = membership();
        a.add(&Atom::new("junk0@h"), false);
        let all: Vec<Told> = (0..4000).map(|i| junk(i, state_told)).collect();
        for (creation, liar) in [(1, "liar@h"), (2, "liar@h"), (1, "liar2@h")] {
            hear(&mut a, hello(told(liar, creation, MemberState::Up), all.clone()));
            // An unknown node that is gone counts for no reporter, and only gets spare room.
            assert!(names(&a) <= 1 + 2 * (1 + 4));
        }
        for i in 0..13 {
            assert_ne!(visit(&mut a, &format!("n{i}@h"), MemberState::Down), Heard::Full);
        }
        let named_is_gone = state_told == MemberState::Gone;
        assert_eq!(
            visit(&mut a, "late@h", MemberState::Down) == Heard::Full,
            !named_is_gone
        );
        assert_eq!(
            state(&a, "junk0@h").is_some(),
            !named_is_gone,
            "only a node that the operator named stays"
        );
    }
}

#[test]
fn a_creation_after_a_goodbye_counts_for_its_reporter() {
    let mut a = membership();
    let tell = |a: &mut Membership, creation: u32, state: MemberState| {
        let others = (0..8).map(|i| told(&format!("junk{i}@h"), creation, state)).collect();
        hear(a, hello(told("liar@h", 1, MemberState::Up), others));
        let is_down = |member: &&Member| member.state == MemberState::Down;
        a.view().iter().filter(is_down).count()
    };
    for creation in (1..20).step_by(2) {
        assert_eq!(tell(&mut a, creation, MemberState::Gone), 0);
        assert!(tell(&mut a, creation + 1, MemberState::Up) <= 4);
    }
}

#[test]
fn live_nodes_are_reported_first() {
    let mut a = membership();
    let mut all: Vec<Told> = (0..100).map(|i| junk(i, MemberState::Gone)).collect();
    all.extend((100..104).map(|i| junk(i, MemberState::Down)));
    all.push(told("z@h", 1, MemberState::Up));
    hear(&mut a, hello(told("b@h", 1, MemberState::Up), all));
    assert_eq!(state(&a, "z@h"), Some(MemberState::Down));
}

#[test]
fn unmet_nodes_get_half_of_the_dials_at_most() {
    let mut a = membership();
    let all = (0..4).map(|i| junk(i, MemberState::Up)).collect();
    hear(&mut a, hello(told("b@h", 1, MemberState::Up), all));
    assert_eq!(a.dial(0, 4).len(), 2);
    assert_eq!(a.dial(0, 4).len(), 0);
    a.add(&Atom::new("c@h"), false);
    visit(&mut a, "d@h", MemberState::Down);
    let rest = a.dial(100_000, 4);
    let rest: Vec<&str> = rest.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(rest, ["c@h", "d@h"]);
    a.unreachable(&Atom::new("junk0@h"), 0, 0);
    assert_eq!(a.dial(0, 4), [(Atom::new("junk2@h"), None)]);
}

#[test]
fn a_connection_that_was_there_before_its_entry_ends_its_dial() {
    let mut a = membership();
    let b = Atom::new("b@h");
    a.add(&b, false);
    assert_eq!(a.dial(0, 1).len(), 1);
    a.disconnected(&b, 0, 0);
    assert_eq!(a.dial(1_000_000, 1).len(), 1, "the first dial is over");
}

/// Memberships that meet. `links` are up; dials of other nodes never succeed.
struct World {
    nodes: Vec<Membership>,
    links: Vec<(usize, usize)>,
    now_us: u64,
}

impl World {
    fn node(&self, name: &Atom) -> Option<usize> {
        self.nodes.iter().position(|node| node.me.name == *name)
    }

    fn linked(&self, i: usize, j: usize) -> bool {
        self.links.contains(&(i.min(j), i.max(j)))
    }

    /// Runs all dials for some time. At the end, every node sends a hello to every node it is linked to.
    fn run(&mut self, for_us: u64) {
        for _ in 0..for_us / 1_000_000 / 600 {
            for _ in 0..60 {
                self.now_us += 10_000_000;
                for i in 0..self.nodes.len() {
                    for (name, _) in self.nodes[i].dial(self.now_us, 64) {
                        match self.node(&name).filter(|j| self.linked(i, *j)) {
                            Some(j) => self.exchange(i, j),
                            None => self.nodes[i].unreachable(&name, self.now_us, 0),
                        }
                    }
                }
            }
            for (i, j) in self.links.clone() {
                self.exchange(i, j);
            }
        }
    }

    fn exchange(&mut self, i: usize, j: usize) {
        for (from, to) in [(i, j), (j, i), (i, j)] {
            let hello = self.nodes[from].hello();
            let now_us = self.now_us;
            assert!(matches!(self.nodes[to].heard(hello, now_us).0, Heard::News(_)));
        }
    }

    fn cut(&mut self, i: usize, j: usize) {
        self.links.retain(|link| *link != (i.min(j), i.max(j)));
        let (a, b) = (self.nodes[i].me.name.clone(), self.nodes[j].me.name.clone());
        self.nodes[i].disconnected(&b, self.now_us, 0);
        self.nodes[j].disconnected(&a, self.now_us, 0);
    }

    fn states(&self, i: usize) -> Vec<(alloc::string::String, MemberState)> {
        let view = self.nodes[i].view();
        let state = |member: &Member| (member.name.as_str().into(), member.state);
        view.iter().map(state).collect()
    }
}

const HOUR_US: u64 = 3_600_000_000;

/// Four nodes. The first two have not met; all other links are up.
fn world() -> World {
    let node = |i| {
        let me = told(&format!("n{i}@h"), 1, MemberState::Up);
        Membership::new(me, Bytes::from_static(b"birth"), 64)
    };
    let mut world = World {
        nodes: (0..4).map(node).collect(),
        links: vec![(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
        now_us: 0,
    };
    world.run(HOUR_US);
    world
}

#[test]
fn nodes_meet_again_after_a_partition_of_any_length() {
    let mut world = world();
    assert_eq!(world.states(0)[1].1, MemberState::Down);
    world.run(100 * HOUR_US);
    // The nodes that reported the two to each other are away for hours.
    for (i, j) in world.links.clone() {
        world.cut(i, j);
    }
    world.run(20 * HOUR_US);
    world.links = vec![(0, 1)];
    world.run(HOUR_US);
    assert_eq!(world.states(0)[1].1, MemberState::Up);
    world.links = vec![(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
    world.run(HOUR_US);
    for i in 0..4 {
        assert!(world.states(i).len() == 4 && world.states(i).iter().all(|(_, state)| *state == MemberState::Up));
    }
}

#[test]
fn an_unmet_node_is_dropped_with_its_reporter_and_stays_away() {
    let mut world = world();
    let liar = told("liar@h", 1, MemberState::Up);
    for i in 0..4 {
        let others = (0..60).map(|n| junk(10 * i + n, MemberState::Up)).collect();
        world.nodes[i].heard(hello(liar.clone(), others), world.now_us);
        assert_eq!(world.states(i).len(), 4 + 1 + 16);
        world.nodes[i].disconnected(&liar.name, world.now_us, 0);
    }
    world.run(20 * HOUR_US);
    assert_eq!(world.states(0).len(), 4 + 1 + 16, "the reported nodes may be cut off");
    world.run(5 * HOUR_US);
    for _ in 0..10 {
        for i in 0..4 {
            let names: Vec<_> = world.states(i).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, ["liar@h", "n0@h", "n1@h", "n2@h", "n3@h"], "all agree");
            assert_eq!(
                world.states(i)[0].1,
                MemberState::Down,
                "the reporter was met and is remembered"
            );
        }
        world.run(HOUR_US);
    }
}

#[test]
fn every_change_of_the_view_is_counted() {
    const STATES: [MemberState; 5] = [
        MemberState::Up,
        MemberState::Suspect,
        MemberState::Down,
        MemberState::Leaving,
        MemberState::Gone,
    ];
    let mut random = 88_172_645_463_325_252_u64;
    let mut draw = move |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % 1_000_003).expect("small") % bound
    };
    for _ in 0..200 {
        let mut a = membership();
        let mut now_us = 0;
        for _ in 0..300 {
            let (view, changes) = (a.view(), a.changes());
            now_us += 1_000_000 * draw(2000) as u64;
            let node = Atom::new(&format!("n{}@h", draw(40)));
            match draw(9) {
                0 | 1 => {
                    let mut tell = || told(&format!("n{}@h", draw(40)), draw(4) as u32, STATES[draw(5)]);
                    let hello = hello(tell(), (0..8).map(|_| tell()).collect());
                    a.heard(hello, now_us);
                }
                2 => drop(a.add(&node, draw(2) == 0)),
                3 => drop(a.forget(&node)),
                4 => a.connected(&node),
                5 => a.disconnected(&node, now_us, 0),
                6 => a.silent(&node, draw(2) == 0),
                7 => drop(a.set_own(STATES[draw(2)])),
                _ => {
                    for (node, _) in a.dial(now_us, 8) {
                        a.unreachable(&node, now_us, 0);
                    }
                }
            }
            assert!(a.changes() > changes || a.view() == view);
            assert!(names(&a) <= 16);
            let told_by_one = a.entries.room_of_teller(&node);
            assert!(told_by_one <= 4);
        }
    }
}

#[test]
fn a_member_that_becomes_provisional_is_no_member_until_it_yields() {
    let mut a = membership();
    hear(&mut a, hello(told("b@h", 2, MemberState::Up), vec![]));
    assert!(a.form(false));
    let with = |claim| Hello {
        identity: Identity {
            claim,
            ..Identity::drawn(ClusterId(0))
        },
        ..hello(told("b@h", 2, MemberState::Up), vec![])
    };
    let provisional = Claim::Provisional(Life {
        name: Atom::new("b@h"),
        creation: 2,
    });
    assert_eq!(hear(&mut a, with(provisional)), Heard::Pending);
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
    assert!(matches!(
        hear(&mut a, with(Claim::Settled { was: None })),
        Heard::News(_)
    ));
    assert_eq!(state(&a, "b@h"), Some(MemberState::Up));
}

#[test]
fn nodes_remembered_with_a_cluster_are_waited_for_others_only_tried() {
    let known = |name: &str| Known {
        name: Atom::new(name),
        creation: 7,
        dist_port: Some(9100),
    };
    let of = |cluster| Memory {
        cluster,
        members: vec![known("a@h"), known("b@h")],
        creation: 1,
    };
    let mut a = membership();
    a.recall(&of(Some(ClusterId(5))));
    a.draw(ClusterId(9));
    assert_eq!(
        a.identity().0,
        Identity::remembered(ClusterId(5)),
        "it keeps the remembered id"
    );
    assert_eq!(state(&a, "b@h"), Some(MemberState::Down));
    assert_eq!(
        a.dial(0, 8),
        [(Atom::new("b@h"), Some(9100))],
        "the node does not dial itself"
    );
    assert_eq!(a.memory().members, [known("b@h")]);
    assert_eq!(
        a.forget(&Atom::new("b@h")),
        Some(told_at("b@h", 7, MemberState::Gone, 9100))
    );
    assert_eq!(a.memory().members, []);

    let mut a = membership();
    a.recall(&of(None));
    assert_eq!(state(&a, "b@h"), None);
    for _ in 0..5 {
        assert_eq!(a.dial(u64::MAX / 2, 8), [(Atom::new("b@h"), Some(9100))]);
        a.unreachable(&Atom::new("b@h"), 0, 0);
    }
    assert_eq!(a.dial(u64::MAX / 2, 8), [], "it was tried often enough");
}

fn told_at(name: &str, creation: u32, state: MemberState, port: u16) -> Told {
    Told {
        dist_port: Some(port),
        ..told(name, creation, state)
    }
}
