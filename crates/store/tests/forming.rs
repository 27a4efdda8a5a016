//! When a cluster is formed, by which nodes, and what happens to shards that were formed without the others.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Net, config};
use store::{ask::Payload, config::Config, forming::Settings};
use wire::etf::Atom;

const KEYS: usize = 40;

fn fill(net: &mut Net, name: &str) {
    for number in 0..KEYS {
        assert_eq!(net.ask(name, &format!("SET key:{number} value:{number}")), "OK");
    }
}

/// A node's answers for all keys: `right`, `nil` or an error, each listed once.
fn answers(net: &mut Net, name: &str) -> Vec<String> {
    let mut kinds: Vec<String> = (0..KEYS)
        .map(|number| match net.ask(name, &format!("GET key:{number}")) {
            answer if answer == format!("value:{number}") => "right".into(),
            answer if answer == "-" => "nil".into(),
            answer => answer,
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[track_caller]
fn check_right(net: &mut Net, names: &[&str]) {
    for name in names {
        assert_eq!(answers(net, name), ["right"], "at {name}");
    }
}

fn with(name: &str, join: &[&str], settings: Settings) -> Config {
    Config {
        forming: settings,
        ..config(name, join)
    }
}

fn full(name: &str) -> Atom {
    Atom::new(&format!("{name}@net"))
}

fn cluster_of(net: &mut Net, name: &str) -> Option<String> {
    net.status(name).forming.cluster.clone()
}

/// Nodes a, b and c with data, after all of them were killed.
fn all_killed() -> Net {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    for name in ["a", "b", "c"] {
        net.kill(name);
    }
    net
}

// Nodes that come back

#[test]
fn the_first_node_finds_its_cluster_again_without_names_to_join() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    net.kill("a");
    net.run_ms(15_000);
    net.restart("a", &[]);
    // Before it has synchronised, it answers nothing.
    for _ in 0..30 {
        let answers = answers(&mut net, "a");
        assert!(
            answers
                .iter()
                .all(|answer| *answer == "right" || *answer == "!no_nodes"),
            "{answers:?}"
        );
        net.run_ms(50);
    }
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
    assert_eq!(net.counter("a", "formed"), 0);
}

#[test]
fn a_starting_peer_does_not_prove_that_no_cluster_exists() {
    for delay_ms in [0, 5, 50, 500] {
        let mut net = Net::cluster(&["a", "b", "c", "d", "e"]);
        fill(&mut net, "b");
        net.kill("a");
        net.run_ms(200);
        net.kill("e");
        net.run_ms(10_000);
        // Neither node remembers anything. e joins a, which joins b.
        net.start("e", &["a"]);
        net.run_ms(delay_ms);
        net.start("a", &["b"]);
        for _ in 0..20 {
            for name in ["a", "e"] {
                let answers = answers(&mut net, name);
                assert!(
                    !answers.contains(&"nil".into()),
                    "{name} after {delay_ms} ms: {answers:?}"
                );
            }
            net.run_ms(20);
        }
        net.heal();
        check_right(&mut net, &["a", "e"]);
    }
}

#[test]
fn a_node_restarted_while_cut_off_serves_nothing_and_overwrites_nothing() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    net.kill("a");
    net.part("a", "b");
    net.part("a", "c");
    net.restart("a", &["b", "c"]);
    net.run_ms(70_000);
    assert_eq!(answers(&mut net, "a"), ["!no_nodes"]);
    assert_eq!(net.ask("a", "SET key:0 overwritten"), "!no_nodes");
    assert_eq!(net.texts("a", "waiting").len(), 2, "after 3 s and then each minute");
    let text = net.texts("a", "waiting").remove(0);
    for part in ["b@net, c@net", "salp leave NODE", "salp form --accept-loss"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(net.status("a").forming.waiting.as_ref(), Some(&text));
    net.mend();
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
    assert_eq!(net.status("a").forming.waiting, None);
}

#[test]
fn a_node_is_filled_even_if_some_members_are_dead() {
    let mut net = Net::cluster(&["a", "b", "c", "d"]);
    fill(&mut net, "a");
    net.kill("d");
    net.run_ms(10_000);
    net.kill("a");
    net.restart("a", &[]);
    net.run_ms(2_500);
    assert_eq!(answers(&mut net, "a"), ["right"]);
    assert!(net.status("a").ready);
}

// Forming together

#[test]
fn nodes_that_name_each_other_form_one_cluster() {
    let mut net = Net::new();
    net.start("a", &["b", "c"]);
    net.start("b", &["a", "c"]);
    net.run_ms(30_000);
    for name in ["a", "b"] {
        assert_eq!(net.ask(name, "GET k"), "!no_nodes");
        assert_eq!(cluster_of(&mut net, name), None);
    }
    net.start("c", &["a"]);
    net.heal();
    let id = cluster_of(&mut net, "a");
    assert!(id.is_some());
    assert_eq!((cluster_of(&mut net, "b"), cluster_of(&mut net, "c")), (id.clone(), id));
    let formed: Vec<u64> = ["a", "b", "c"].map(|name| net.counter(name, "formed")).into();
    assert_eq!(formed.iter().sum::<u64>(), 128, "each shard once: {formed:?}");
}

#[test]
fn a_peer_that_waits_for_another_is_waited_for() {
    let mut net = Net::new();
    net.start("b", &["x"]);
    net.start("a", &["b"]);
    net.run_ms(10_000);
    assert_eq!(net.ask("a", "GET k"), "!no_nodes");
    let text = net.texts("a", "waiting").remove(0);
    assert!(text.contains("b@net, which waits for others itself"), "{text}");
    net.tell("b", Payload::Forget { node: full("x") });
    net.run_ms(1_000);
    assert_eq!(net.ask("a", "GET k"), "-");
}

#[test]
fn a_cluster_that_lost_its_power_starts_again_under_its_id_and_reports_that_it_is_empty() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    let id = cluster_of(&mut net, "a");
    for name in ["a", "b", "c"] {
        net.kill(name);
    }
    net.restart("a", &[]);
    net.restart("b", &["a"]);
    net.run_ms(20_000);
    assert_eq!(answers(&mut net, "a"), ["!no_nodes"]);
    net.restart("c", &["a"]);
    net.heal();
    assert_eq!(answers(&mut net, "a"), ["nil"]);
    for name in ["a", "b", "c"] {
        assert_eq!(cluster_of(&mut net, name), id);
    }
    net.run_ms(1_500);
    let said: Vec<String> = ["a", "b", "c"]
        .iter()
        .flat_map(|name| net.texts(name, "formed_again"))
        .collect();
    assert!(
        said.iter()
            .any(|text| text.contains(id.as_ref().unwrap()) && text.contains("is empty")),
        "{said:?}"
    );
}

#[test]
fn a_cluster_stopped_in_order_starts_with_any_one_node() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    for name in ["c", "b", "a"] {
        net.tell(name, Payload::Leave);
        net.run_ms(10_000);
        assert!(net.notes(name).contains(&"left"), "{name}: {:?}", net.notes(name));
        net.kill(name);
    }
    net.restart("b", &[]);
    net.run_ms(2_500);
    assert_eq!(net.ask("b", "GET key:0"), "-");
    assert_eq!(net.texts("b", "formed_again"), [""; 0]);
}

#[test]
fn a_node_that_left_in_order_finds_the_others_again_without_names_to_join() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    net.tell("a", Payload::Leave);
    net.run_ms(10_000);
    net.kill("a");
    net.restart("a", &[]);
    for _ in 0..30 {
        let answers = answers(&mut net, "a");
        assert!(!answers.contains(&"nil".into()), "{answers:?}");
        net.run_ms(50);
    }
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
}

#[test]
fn a_waiting_node_stops_at_once_and_still_remembers_its_cluster() {
    let mut net = all_killed();
    for _ in 0..2 {
        net.restart("a", &[]);
        net.run_ms(3_000);
        net.tell("a", Payload::Leave);
        net.run_ms(2_000);
        assert!(net.notes("a").contains(&"left"));
        net.kill("a");
    }
    net.restart("a", &[]);
    net.run_ms(30_000);
    assert_eq!(answers(&mut net, "a"), ["!no_nodes"]);
}

#[test]
fn a_node_that_left_in_order_is_not_waited_for() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    net.tell("c", Payload::Leave);
    net.run_ms(10_000);
    for name in ["a", "b", "c"] {
        net.kill(name);
    }
    net.restart("a", &[]);
    net.restart("b", &[]);
    net.heal();
    assert_eq!(net.ask("a", "GET k"), "-");
}

// Settings

#[test]
fn the_first_cluster_may_wait_for_a_number_of_nodes() {
    let expect = Settings {
        expect: 3,
        ..Settings::default()
    };
    let mut net = Net::new();
    net.start_with(with("a", &[], expect));
    net.start_with(with("b", &["a"], expect));
    net.run_ms(30_000);
    assert_eq!(net.ask("a", "GET k"), "!no_nodes");
    assert!(net.texts("a", "waiting")[0].contains("1 more nodes, as --expect says"));
    net.start_with(with("c", &["a"], expect));
    net.heal();
    assert_eq!(net.ask("a", "SET k v"), "OK");
    // From then on it is a formed cluster. The expected number does not matter any more.
    net.kill("c");
    net.kill("b");
    net.restart_with(with("b", &[], expect));
    net.run_ms(10_000);
    assert_eq!(net.ask("b", "GET k"), "v");
}

#[test]
fn with_discovery_a_node_waits_for_the_answer_and_for_the_nodes_in_it() {
    let discovers = Settings {
        discovers: true,
        ..Settings::default()
    };
    let found = |names: &[&str]| Payload::Discovered {
        names: names.iter().map(|name| full(name).as_str().into()).collect(),
    };
    let mut net = Net::new();
    net.start_with(with("a", &[], discovers));
    net.run_ms(30_000);
    assert_eq!(net.ask("a", "GET k"), "!no_nodes");
    assert!(net.texts("a", "waiting")[0].contains("an answer of discovery"));
    net.tell("a", found(&["a", "x"]));
    net.run_ms(30_000);
    assert_eq!(net.ask("a", "GET k"), "!no_nodes");
    assert_eq!(net.status("a").forming.awaited, ["x@net"]);
    net.tell("a", found(&["a"]));
    net.run_ms(100);
    assert_eq!(net.ask("a", "GET k"), "-");
    // A node that remembers its cluster does not need discovery.
    assert_eq!(net.ask("a", "SET k v"), "OK");
    net.kill("a");
    net.restart_with(with("a", &[], discovers));
    assert_eq!(net.ask("a", "GET k"), "-");
}

// An operator's word

#[test]
fn an_operator_may_accept_the_loss_of_all_that_are_missing() {
    let mut net = all_killed();
    net.restart("a", &[]);
    net.restart("b", &[]);
    net.run_ms(5_000);
    assert_eq!(answers(&mut net, "b"), ["!no_nodes"]);
    assert_eq!(net.status("b").forming.awaited, ["c@net"]);
    net.tell("a", Payload::AcceptLoss);
    net.heal();
    assert_eq!(answers(&mut net, "b"), ["nil"]);
    assert!(net.knows_to_be_gone("a", "c") && net.knows_to_be_gone("b", "c"));
    // It comes back empty, as a member of the same cluster.
    fill(&mut net, "a");
    net.restart("c", &[]);
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
}

#[test]
fn a_node_that_was_given_up_and_comes_back_with_data_is_merged() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    assert_eq!(net.ask("c", "SET before 1"), "OK");
    net.kill("a");
    net.kill("b");
    for name in ["a", "b"] {
        net.part(name, "c");
    }
    net.restart("a", &[]);
    net.restart("b", &[]);
    net.run_ms(5_000);
    assert_eq!(net.ask("a", "GET before"), "!no_nodes");
    net.tell("b", Payload::AcceptLoss);
    net.run_ms(2_000);
    assert_eq!(net.ask("a", "SET after 2"), "OK");
    net.mend();
    // c dials the nodes it misses.
    net.heal();
    for name in ["a", "b", "c"] {
        assert_eq!(net.ask_all(name, &["GET before", "GET after"]), "1 | 2", "at {name}");
    }
}

#[test]
fn accepting_the_loss_waives_expectations_and_names_never_met() {
    let settings = Settings {
        expect: 5,
        discovers: true,
        ..Settings::default()
    };
    let mut net = Net::new();
    net.start_with(with("a", &["x"], settings));
    net.start_with(with("b", &["a", "y"], settings));
    net.run_ms(5_000);
    assert_eq!(net.ask("b", "GET k"), "!no_nodes");
    net.tell("a", Payload::AcceptLoss);
    net.run_ms(2_000);
    assert_eq!(net.ask("b", "GET k"), "-");
    assert_eq!(net.ask("a", "GET k"), "-");
}

// Caches

fn cache(name: &str, join: &[&str]) -> Config {
    let settings = Settings {
        form_after_ms: 2_000,
        ..Settings::default()
    };
    with(name, join, settings)
}

#[test]
fn a_cache_serves_empty_without_its_cluster_and_yields_to_it_later() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    fill(&mut net, "a");
    net.kill("a");
    net.part("a", "b");
    net.part("a", "c");
    net.restart_with(cache("a", &[]));
    net.run_ms(1_500);
    assert_eq!(answers(&mut net, "a"), ["!no_nodes"]);
    net.run_ms(1_000);
    assert_eq!(answers(&mut net, "a"), ["nil"]);
    for number in 0..KEYS {
        assert_eq!(net.ask("a", &format!("SET key:{number} younger")), "OK");
    }
    assert_eq!(net.ask("a", "SET own x"), "OK");
    assert!(net.texts("a", "formed_provisionally")[0].contains("serves without b@net, c@net"));
    net.mend();
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
    assert_eq!(net.ask("b", "GET own"), "-", "its own writes are thrown away");
    assert!(net.notes("a").contains(&"thrown_away"));
    // It goes on writing under the same creation, and uses no dot twice.
    assert_eq!(net.ask("a", "SET own y"), "OK");
    for name in ["a", "b", "c"] {
        assert_eq!(net.ask(name, "GET own"), "y");
    }
}

#[test]
fn of_two_caches_that_meet_the_one_with_the_smaller_name_keeps_its_data() {
    let mut net = Net::new();
    net.part("a", "b");
    net.start_with(cache("a", &["b"]));
    net.start_with(cache("b", &["a"]));
    net.run_ms(3_000);
    assert_eq!(net.ask("a", "SET k a"), "OK");
    assert_eq!(net.ask("b", "SET k b"), "OK");
    net.mend();
    net.heal();
    for name in ["a", "b"] {
        assert_eq!(net.ask(name, "GET k"), "a");
    }
    assert!(net.notes("b").contains(&"thrown_away") && !net.notes("a").contains(&"thrown_away"));
    // All nodes are connected: it is a formed cluster now, and is remembered.
    assert!(cluster_of(&mut net, "a").is_some());
}

// Two clusters

#[test]
fn an_empty_cluster_of_one_node_yields() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a");
    net.start("c", &[]);
    assert_eq!(net.ask("c", "GET key:0"), "-");
    net.tell("a", Payload::Add { node: full("c") });
    net.heal();
    check_right(&mut net, &["a", "b", "c"]);
}

#[test]
fn two_clusters_with_data_refuse_each_other_and_go_on() {
    let mut net = Net::cluster(&["a", "b"]);
    fill(&mut net, "a");
    net.start("c", &[]);
    assert_eq!(net.ask("c", "SET key:0 mine"), "OK");
    net.tell("a", Payload::Add { node: full("c") });
    net.run_ms(20_000);
    check_right(&mut net, &["a", "b"]);
    assert_eq!(net.ask("c", "GET key:0"), "mine");
    assert_ne!(cluster_of(&mut net, "a"), cluster_of(&mut net, "c"));
}

#[test]
fn writes_count_even_if_a_member_waits_for_others() {
    let mut net = Net::cluster(&["c", "d"]);
    fill(&mut net, "c");
    net.kill("c");
    net.kill("d");
    net.start("a", &[]);
    net.start("b", &["a", "c"]);
    net.run_ms(3_000);
    assert_eq!(net.ask("b", "SET other value"), "OK");
    let id = cluster_of(&mut net, "a");
    assert!(id.is_some());
    // A cluster with data yields to none, not even to one that had data before.
    net.restart("c", &["b"]);
    net.run_ms(5_000);
    for name in ["a", "b"] {
        assert_eq!(net.ask(name, "GET other"), "value");
        assert_eq!(cluster_of(&mut net, name), id);
    }
}
