//! Connections that are dropped before their handshake is over.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod stage;

use bytes::Bytes;
use node::{ConnectionId, Event, Input, Limits};
use stage::{PEER, Stage};

/// Two nodes that dial each other at the same time close one of the connections, at any step. A probe only checks
/// whether the port is open. Neither deserves a warning.
#[test]
fn a_connection_that_is_given_up_is_not_a_failed_handshake() {
    let mut stage = Stage::bare(Limits::default());
    stage.connect();
    let name = std::mem::take(&mut stage.said).swap_remove(0);
    let call = |stage: &mut Stage, id: u64, said: &[Bytes]| {
        let connection = ConnectionId(id);
        stage.events.clear();
        stage.input(Input::Accepted {
            connection,
            certificate: None,
        });
        for bytes in said.iter().cloned() {
            stage.input(Input::Received { connection, bytes });
        }
        stage.input(Input::Closed { connection });
        let failed = |event: &&Event| matches!(event, Event::HandshakeFailed { .. });
        stage.events.iter().filter(failed).count()
    };
    let part = name.slice(..3);
    for (id, said) in [(11, &[][..]), (13, &[part][..]), (15, &[name.clone()][..])] {
        assert_eq!(call(&mut stage, id, said), 0, "{said:?}: the peer is connected");
    }
    stage.input(Input::Closed { connection: PEER });
    assert_eq!(call(&mut stage, 17, &[]), 0, "a probe");
    assert_eq!(call(&mut stage, 19, &[name]), 1, "it gave its name and then stopped");
}
