//! Nodes whose wall clocks are days apart. Absolute times are those of the client's node. A time to live is the same on
//! all nodes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;

const DAY_MS: i64 = 86_400_000;

/// Five nodes with three replicas of each key, so that many requests are executed on other nodes.
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Enough keys that each node has some and lacks some.
const KEYS: usize = 40;

fn five_apart() -> Net {
    let mut net = Net::new();
    for (name, days) in NAMES.into_iter().zip([0, 1, -1, 300, -300]) {
        net.set_wall(name, days * DAY_MS);
        net.start(name, if name == "a" { &[] } else { &NAMES[..1] });
    }
    net.heal();
    net
}

/// All these requests for each key, with the key in place of `{}`, in one batch.
fn of_each_key(requests: &[&str]) -> Vec<String> {
    let keys = (0..KEYS).map(|number| format!("key:{number}"));
    keys.flat_map(|key| requests.iter().map(move |request| request.replace("{}", &key)))
        .collect()
}

/// Sends a node these requests for each key. The replies must be the same for each key.
#[track_caller]
fn check_each(net: &mut Net, name: &str, requests: &[&str], wanted: &str) {
    let asked = of_each_key(requests);
    let answer = net.ask_all(name, &asked.iter().map(String::as_str).collect::<Vec<_>>());
    let all = vec![wanted; KEYS].join(" | ");
    assert_eq!(answer, all, "{requests:?} at {name}");
}

/// The Unix second that a node's clock shows in this many seconds.
fn in_s(net: &Net, name: &str, seconds: u64) -> u64 {
    net.wall_ms(name) / 1000 + seconds
}

#[test]
fn the_first_and_the_last_moment_of_64_bits_are_times_at_any_wall_clock() {
    let mut net = five_apart();
    for name in NAMES {
        for (at_ms, wanted) in [(i64::MIN, "OK | 1 | 0"), (i64::MAX, "OK | 1 | 1")] {
            let expire = format!("PEXPIREAT {{}} {at_ms}");
            check_each(&mut net, name, &["SET {} v", &expire, "EXISTS {}"], wanted);
        }
    }
}

#[test]
fn a_wrong_clock_of_the_first_node_is_not_that_of_the_cluster() {
    for days in [1, -365] {
        let mut net = Net::new();
        net.set_wall("a", days * DAY_MS);
        for name in ["a", "b", "c"] {
            net.start(name, if name == "a" { &[] } else { &["a"] });
        }
        net.heal();
        net.kill("a");
        net.heal();
        for name in ["b", "c"] {
            let now_s = net.wall_ms(name) / 1000;
            assert!(net.ask(name, "TIME").starts_with(&format!("[{now_s} ")));
            assert_eq!(net.ask(name, "LASTSAVE"), "1700000001");
            assert_eq!(net.ask(name, &format!("SET k v EXAT {}", now_s + 100)), "OK");
            let ttl_s: u64 = net.ask(name, "TTL k").parse().unwrap();
            assert!((99..=100).contains(&ttl_s), "{ttl_s} s at {name}");
            assert_eq!(net.ask(name, "EXPIRETIME k"), (now_s + 100).to_string());
        }
    }
}

#[test]
fn each_command_uses_the_times_of_the_node_that_is_asked() {
    let mut net = five_apart();
    for name in NAMES {
        let at_s = in_s(&net, name, 100);
        let at_ms = at_s * 1000;
        for set in [format!("SET {{}} v EXAT {at_s}"), format!("SET {{}} v PXAT {at_ms}")] {
            check_each(&mut net, name, &[&set, "EXPIRETIME {}"], &format!("OK | {at_s}"));
            check_each(&mut net, name, &["PEXPIRETIME {}"], &at_ms.to_string());
        }
        for touch in [format!("EXPIREAT {{}} {at_s}"), format!("PEXPIREAT {{}} {at_ms}")] {
            check_each(
                &mut net,
                name,
                &["SET {} v", &touch, "EXPIRETIME {}"],
                &format!("OK | 1 | {at_s}"),
            );
        }
        for touch in [format!("GETEX {{}} EXAT {at_s}"), format!("GETEX {{}} PXAT {at_ms}")] {
            check_each(
                &mut net,
                name,
                &["SET {} v", &touch, "PEXPIRETIME {}"],
                &format!("OK | v | {at_ms}"),
            );
        }
        // Other nodes show the same time on their own clocks.
        for other in NAMES {
            let there_ms = at_ms + net.wall_ms(other) - net.wall_ms(name);
            check_each(
                &mut net,
                other,
                &["PEXPIRETIME {}", "GET {}"],
                &format!("{there_ms} | v"),
            );
        }
        // A time in the past of this node expires the key at once.
        let over_s = in_s(&net, name, 0);
        check_each(&mut net, name, &[&format!("EXPIREAT {{}} {over_s}"), "GET {}"], "1 | -");
        check_each(
            &mut net,
            name,
            &[&format!("SET {{}} v EXAT {over_s}"), "GET {}"],
            "OK | -",
        );
    }
}

#[test]
fn a_time_to_live_is_the_same_whatever_the_wall_clocks_show() {
    let mut net = five_apart();
    for name in NAMES {
        check_each(&mut net, name, &["SET {} v PX 1000"], "OK");
        net.run_ms(900);
        for other in NAMES {
            check_each(&mut net, other, &["GET {}"], "v");
        }
        net.run_ms(100);
        for other in NAMES {
            check_each(&mut net, other, &["GET {}"], "-");
        }
    }
}

#[test]
fn a_jump_of_a_wall_clock_moves_no_deadline() {
    let mut net = five_apart();
    for jump_ms in [DAY_MS, -40 * DAY_MS] {
        let at_s = in_s(&net, "b", 100);
        check_each(&mut net, "b", &[&format!("SET {{}} v EXAT {at_s}")], "OK");
        let shown = |net: &mut Net, name| net.ask(name, "EXPIRETIME key:1").parse::<i64>().unwrap();
        let before_s = shown(&mut net, "c");
        net.set_wall("b", DAY_MS + jump_ms);
        assert_eq!(
            shown(&mut net, "b"),
            at_s.cast_signed() + jump_ms / 1000,
            "the time is shown on the new clock"
        );
        assert_eq!(shown(&mut net, "c"), before_s);
        net.run_ms(98_000);
        check_each(&mut net, "b", &["GET {}"], "v");
        net.run_ms(2_000);
        for name in NAMES {
            check_each(&mut net, name, &["GET {}"], "-");
        }
        net.set_wall("b", DAY_MS);
    }
}

#[test]
fn a_read_sent_again_to_another_node_shows_the_same_clock() {
    let mut net = five_apart();
    let at_s = in_s(&net, "b", 100);
    check_each(&mut net, "b", &[&format!("SET {{}} v EXAT {at_s}")], "OK");
    let asked = of_each_key(&["EXPIRETIME {}"]);
    let id = net.begin("b", &asked.iter().map(String::as_str).collect::<Vec<_>>());
    // The parcels to these two nodes are lost with them.
    net.kill("d");
    net.kill("e");
    assert_eq!(net.wait("b", id, 5_100), vec![at_s.to_string(); KEYS].join(" | "));
}

#[test]
fn nodes_that_found_a_cluster_together_have_the_same_time() {
    for days in [[0, 1, -1], [2, 1, 0], [-5, 3, -4]] {
        let (mut net, names) = (Net::new(), ["a", "b", "c"]);
        for (name, days) in names.into_iter().zip(days) {
            net.set_wall(name, days * DAY_MS);
            net.start(name, &names);
        }
        net.heal();
        for name in names {
            check_each(&mut net, name, &["SET {} v PX 1000"], "OK");
            for other in names {
                check_each(&mut net, other, &["GET {}"], "v");
            }
            assert_eq!(net.texts(name, "cluster_time"), [""; 0]);
        }
        net.run_ms(1_000);
        for name in names {
            check_each(&mut net, name, &["GET {}"], "-");
        }
    }
}

#[test]
fn of_two_clusters_that_meet_the_younger_takes_the_time_of_the_older() {
    for days in [1, -1] {
        let mut net = Net::new();
        net.set_wall("b", days * DAY_MS);
        net.deafen("a", "b");
        net.deafen("b", "a");
        let start = |net: &mut Net, name: &str, other: &str| {
            let mut config = net::config(name, &[other]);
            config.forming.form_after_ms = 10_000;
            net.start_with(config);
        };
        start(&mut net, "a", "b");
        net.run_ms(3_000);
        start(&mut net, "b", "a");
        net.run_ms(15_000);
        for name in ["a", "b"] {
            check_each(&mut net, name, &["SET {} v"], "OK");
        }
        net.hear();
        net.heal();
        net.run_ms(2_000);
        assert_eq!(net.texts("a", "cluster_time"), [""; 0]);
        assert_eq!(net.texts("b", "cluster_time").len(), 1);
        for name in ["a", "b"] {
            check_each(&mut net, name, &["SET {} v PX 1000"], "OK");
            for other in ["a", "b"] {
                check_each(&mut net, other, &["GET {}"], "v");
            }
        }
        net.run_ms(1_000);
        for name in ["a", "b"] {
            check_each(&mut net, name, &["GET {}"], "-");
        }
    }
}

#[test]
fn a_wall_clock_that_differs_from_a_peers_is_reported() {
    let (mut net, names) = (Net::cluster(&["a", "b", "c"]), ["a", "b", "c"]);
    net.set_wall("a", 900);
    net.run_ms(3_000);
    for name in names {
        assert_eq!(net.notes(name), [""; 0]);
        assert!((net.status(name).clock_skew_ms <= 900) && (name != "b" || net.status(name).clock_skew_ms > 500));
    }
    net.set_wall("a", DAY_MS);
    net.run_ms(5_000);
    let at_b = "the wall clock of a@net is 86400.000 s ahead of this node's: absolute times (EXAT, EXPIRETIME, TIME) \
                differ as much between the two nodes; set both clocks, for example by NTP";
    for name in ["b", "c"] {
        assert_eq!(net.texts(name, "clock_skew"), [at_b]);
        assert_eq!(net.status(name).clock_skew_ms, DAY_MS.unsigned_abs());
    }
    let at_a = net.texts("a", "clock_skew").join("\n");
    assert_eq!(at_a.matches(" s behind this node's").count(), 2, "{at_a}");
    // A second report needs a second jump.
    net.set_wall("a", 0);
    net.run_ms(3_000);
    assert_eq!(net.status("b").clock_skew_ms, 0);
    net.set_wall("a", -DAY_MS);
    net.run_ms(3_000);
    let reports = net.texts("b", "clock_skew");
    assert_eq!(reports.len(), 2);
    assert!(reports[1].contains(" s behind this node's"), "{reports:?}");
    net.kill("a");
    net.run_ms(2_000);
    assert_eq!(net.status("b").clock_skew_ms, 0, "a node that is gone has no report");
}

#[test]
fn a_delayed_message_is_not_reported_as_a_wrong_clock() {
    let mut net = Net::cluster(&["a", "b"]);
    net.deafen("a", "b");
    net.run_ms(4_000);
    net.hear();
    net.run_ms(2_000);
    for name in ["a", "b"] {
        assert_eq!(net.texts(name, "clock_skew"), [""; 0]);
        assert_eq!(net.status(name).clock_skew_ms, 0);
    }
    // A delayed message does not show that a wrong clock is correct again.
    net.set_wall("a", -3_000);
    net.run_ms(3_000);
    assert_eq!(net.texts("b", "clock_skew").len(), 1);
    net.deafen("a", "b");
    net.run_ms(4_000);
    net.hear();
    net.run_ms(2_000);
    assert_eq!(net.texts("b", "clock_skew").len(), 1);
}
