//! The store as the program uses that a node is part of.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::time::Duration;

use salp::{Batch, Level, Node, Retry, StoreError};
use tokio::time::timeout;

async fn start(name: &str) -> Node {
    let node = Node::builder().name(name).cookie("testing").epmd(false);
    let node = node.start().await.unwrap();
    assert!(node.ready().await);
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_program_uses_the_store() {
    let node = start("uses@127.0.0.1").await;
    let store = node.store("default").unwrap();
    assert_eq!(store.get("k").await, Ok(None));
    assert_eq!(store.ttl("k").await, Ok(None));
    store.set("k", b"\x00\xff").await.unwrap();
    assert_eq!(store.get("k").await, Ok(Some(b"\x00\xff".to_vec())));
    assert_eq!(store.ttl("k").await, Ok(Some(Duration::MAX)));
    assert_eq!(store.incr("n", 40).await, Ok(40));
    assert_eq!(store.at(Level::One).incr("n", 2).await, Ok(42));
    let store = node.store("default").unwrap();
    let all = store.get_many(["k", "none", "n"]).await.unwrap();
    assert_eq!(all, [Some(b"\x00\xff".to_vec()), None, Some(b"42".to_vec())]);
    assert_eq!(store.delete("k").await, Ok(true));
    assert_eq!(store.delete("k").await, Ok(false));

    let hour = Duration::from_secs(3600);
    store.set_for("k", "v", hour).await.unwrap();
    let left = store.ttl("k").await.unwrap().unwrap();
    assert!(left <= hour && left > hour - Duration::from_secs(60), "{left:?}");
    store.set("k", "for ever").await.unwrap();
    assert_eq!(store.ttl("k").await, Ok(Some(Duration::MAX)));
    node.stop().await;
}

#[tokio::test]
async fn what_has_stopped_leaves_its_addresses() {
    let mut http = "127.0.0.1:0".to_owned();
    for _ in 0..3 {
        let builder = Node::builder().name("again@127.0.0.1").cookie("testing").epmd(false);
        let node = builder.http(&http).start().await.unwrap();
        http = node.http().unwrap().to_string();
        for number in 0..200 {
            node.handle().add(&format!("nobody_{number}@127.0.0.1"));
        }
        timeout(Duration::from_secs(20), node.stop())
            .await
            .expect("it ends, whatever else is wished");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn refusals_say_why() {
    let node = start("refuses@127.0.0.1").await;
    let wrong = node.store("moon").unwrap_err().to_string();
    let start = "keyspace: there is no moon; the settings have default, 1, 2, ";
    assert!(wrong.starts_with(start), "{wrong}");
    let store = node.store("default").unwrap();
    store.set("word", "moo").await.unwrap();
    let refused = store.incr("word", 1).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "bad_request: value is not an integer or out of range"
    );
    let refused = store.set_for("word", "moo", Duration::ZERO).await.unwrap_err();
    assert_eq!(refused.to_string(), "bad_request: invalid expire time in 'set' command");
    let refused = store.set("k".repeat(70_000), "too long a key").await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");

    let mut batch = Batch::new();
    batch.push(&[b"NONSENSE"]);
    batch.push(&[b"GET", b"word"]);
    assert_eq!(store.run(batch).await.unwrap().replies.count(), 2);
    node.stop().await;
    let gone = store.get("word").await.unwrap_err();
    assert_eq!(gone, StoreError::Gone);
    assert_eq!(
        gone.retry(),
        Retry::Unsafe,
        "nobody knows what a node that stops had done"
    );
}
