//! Keyspaces whose keys all have one slot, in clusters that change.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::{Net, SHARDS};
use store::{
    ask::{ShardStatus, Status},
    config::{Config, Keyspace},
};

const DATABASES: u16 = 16;

/// A node with numbered databases, and two copies of each shard.
fn node(name: &str) -> Config {
    Config {
        keyspaces: Keyspace::databases(usize::from(DATABASES)),
        replicas: 2,
        ..net::config(name, &["a"])
    }
}

fn cluster(names: &[&str]) -> Net {
    let mut net = Net::new();
    for name in names {
        net.start_with(node(name));
    }
    net.heal();
    net
}

fn ask_in(net: &mut Net, name: &str, database: u16, requests: &[&str]) -> String {
    let id = net.begin_in(name, database, requests);
    net.wait(name, id, 5_100)
}

/// The shard of a database other than 0.
fn shard_of(status: &Status, database: u16) -> &ShardStatus {
    let shards: Vec<&ShardStatus> = status
        .shards
        .iter()
        .filter(|shard| shard.keyspace == database)
        .collect();
    assert_eq!(shards.len(), 1, "a database has one shard");
    shards[0]
}

/// The first part of the name of a database's primary.
fn primary(status: &Status, database: u16) -> &str {
    let primary = shard_of(status, database).primary.as_deref().unwrap();
    primary.split('@').next().unwrap()
}

#[test]
fn databases_have_one_shard_each_and_their_primaries_are_on_all_nodes() {
    let mut net = cluster(&["a", "b", "c"]);
    let status = net.status("a");
    assert_eq!(status.shards.len(), usize::from(SHARDS + DATABASES - 1));
    for name in ["a", "b", "c"] {
        let primaries = (1..DATABASES).filter(|database| primary(&status, *database) == name);
        assert!(primaries.count() > 0, "{name} is the primary of no database");
    }
}

#[test]
fn a_database_keeps_its_keys_when_its_primary_dies() {
    let mut net = cluster(&["a", "b", "c"]);
    let lost = primary(&net.status("a"), 3).to_owned();
    let others: Vec<&str> = ["a", "b", "c"].into_iter().filter(|name| *name != lost).collect();
    let all = [
        "MULTI",
        "SET x 1",
        "INCR y",
        "RENAME x z",
        "EXEC",
        "MSETNX p 1 q 2",
        "COPY p r",
    ];
    let replies = ask_in(&mut net, others[0], 3, &all);
    assert_eq!(replies, "OK | QUEUED | QUEUED | QUEUED | [OK 1 OK] | 1 | 1");
    assert_eq!(
        ask_in(&mut net, others[0], 4, &["DBSIZE"]),
        "0",
        "it has keys of its own"
    );
    net.kill(&lost);
    for name in &others {
        assert_eq!(
            ask_in(&mut net, name, 3, &["MGET x y z p q r", "DBSIZE"]),
            "[- 1 1 1 2 1] | 5"
        );
    }
    let replies = ask_in(&mut net, others[1], 3, &["MULTI", "INCR y", "RENAME y n", "EXEC"]);
    assert_eq!(replies, "OK | QUEUED | QUEUED | [2 OK]");
    net.heal();
    assert_ne!(primary(&net.status(others[0]), 3), lost);
    assert_eq!(ask_in(&mut net, others[0], 3, &["GET n", "DBSIZE"]), "2 | 5");
}

#[test]
fn a_joining_node_takes_databases_only_for_itself() {
    let mut net = cluster(&["a", "b", "c"]);
    for database in 0..DATABASES {
        let set = format!("MSET x {database} y {database} z {database}");
        assert_eq!(ask_in(&mut net, "b", database, &[&set]), "OK");
    }
    let before = net.status("a");
    net.start_with(node("d"));
    net.heal();
    let after = net.status("a");
    let mut taken = 0;
    for database in 1..DATABASES {
        let (old, new) = (shard_of(&before, database), shard_of(&after, database));
        let mut gained = new.replicas.iter().filter(|name| !old.replicas.contains(name));
        assert!(
            gained.all(|name| name == "d@net"),
            "{database}: {:?} {:?}",
            old.replicas,
            new.replicas
        );
        let is_taken = new.replicas.iter().any(|name| name == "d@net");
        taken += usize::from(is_taken);
        assert!(
            is_taken || old.primary == new.primary,
            "{database}: another primary without need"
        );
        assert_eq!(new.keys, 3);
    }
    assert!((3..=12).contains(&taken), "{taken} of 15 databases are on d");
    for name in ["a", "d"] {
        for database in 0..DATABASES {
            let replies = ask_in(&mut net, name, database, &["MGET x y z", "DBSIZE"]);
            assert_eq!(replies, format!("[{database} {database} {database}] | 3"));
        }
    }
}

#[test]
fn a_shard_without_a_copy_is_named_with_its_keyspace() {
    let mut net = Net::new();
    for name in ["a", "b"] {
        net.start_with(Config {
            replicas: 1,
            ..node(name)
        });
    }
    net.heal();
    let status = net.status("a");
    let database = (1..DATABASES)
        .find(|database| primary(&status, *database) == "b")
        .unwrap();
    net.kill("b");
    net.run_ms(1_000);
    let mut session = store::ask::Session::new(0, true);
    session.keyspace = database;
    let id = net.begin_as("a", session, &["SET x 1"]);
    assert_eq!(net.wait("a", id, 5_100), "!no_nodes");
    let text = net.error_text("a", id);
    assert!(text.contains(&format!("shard 0 of keyspace {database}")), "{text}");
}
