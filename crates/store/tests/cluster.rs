//! Several stores together: forming, forwarding, replicas, loss, leaving.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use store::ask::Payload;

fn fill(net: &mut Net, name: &str, keys: usize) {
    for number in 0..keys {
        assert_eq!(net.ask(name, &format!("SET key:{number} value:{number}")), "OK");
    }
}

#[track_caller]
fn check_filled(net: &mut Net, names: &[&str], keys: usize) {
    for name in names {
        for number in 0..keys {
            assert_eq!(net.ask(name, &format!("GET key:{number}")), format!("value:{number}"), "key:{number} at {name}");
        }
    }
}

#[test]
fn a_node_alone_serves_at_once() {
    let mut net = Net::new();
    net.start("a", &[]);
    assert_eq!(net.ask_all("a", &["SET k v", "GET k", "GET other", "NOSUCH k"]), "OK | v | - | !bad_request");
    assert_eq!(net.counter("a", "formed"), 128);
}

#[test]
fn three_form_and_read_what_each_writes() {
    let mut net = Net::cluster(&["a", "b", "c"]);
    for writer in ["a", "b", "c"] {
        for number in 0..20 {
            let key = format!("{writer}:{number}");
            assert_eq!(net.ask(writer, &format!("SET {key} {number}")), "OK");
            for reader in ["a", "b", "c"] {
                assert_eq!(net.ask(reader, &format!("GET {key}")), number.to_string(), "{key} at {reader}");
            }
        }
    }
    for name in ["a", "b", "c"] {
        assert_eq!(net.notes(name), [""; 0]);
    }
}
