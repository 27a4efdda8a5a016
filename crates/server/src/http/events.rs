//! `GET /events`: the events of the node as server-sent events (WHATWG HTML, 9.2).
//!
//! A slow reader loses events and is told how many. The node never waits for a reader.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use http_body_util::channel::{Channel, Sender};
use node::{Atom, Event};
use serde_json::{Value, json};
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    time,
};

use super::Shared;
use crate::misfit;

/// Events that wait for one slow connection. Past it, events are lost.
const QUEUE_MAX: usize = 64;

/// A comment is sent after this silence, so that no proxy closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /events`
pub(super) async fn stream(State(door): State<Shared>) -> Response {
    let (sender, body) = Channel::<Bytes, Infallible>::new(QUEUE_MAX);
    tokio::spawn(copy(door.handle.events(), door.closing.subscribe(), sender));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy must not buffer the stream.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::new(body)).into_response()
}

/// Copies events until the reader or the node is gone.
async fn copy(mut events: Receiver<Event>, mut closing: watch::Receiver<bool>, mut to: Sender<Bytes>) {
    // The head of the response is sent with the first bytes. They are sent at once, so that the reader learns that it
    // is connected.
    let mut frame = ": connected\n\n".to_owned();
    loop {
        if to.send_data(frame.into()).await.is_err() {
            return;
        }
        let next = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => return,
            next = time::timeout(KEEP_ALIVE, events.recv()) => next,
        };
        frame = match next {
            Ok(Ok(event)) => told(&event),
            Ok(Err(RecvError::Lagged(missed))) => lines("lagged", &json!({ "missed": missed })),
            Ok(Err(RecvError::Closed)) => return,
            Err(_) => ": still here\n\n".to_owned(),
        };
    }
}

fn told(event: &Event) -> String {
    let (kind, data) = describe(event);
    lines(kind, &data)
}

/// JSON text has no line breaks, since strings escape them. So it is one `data` line.
fn lines(kind: &str, data: &Value) -> String {
    format!("event: {kind}\ndata: {data}\n\n")
}

/// Name and data of an event.
fn describe(event: &Event) -> (&'static str, Value) {
    match event {
        Event::NodeUp { node, creation, hidden } => (
            "node_up",
            json!({ "node": node.as_str(), "creation": creation, "hidden": hidden }),
        ),
        Event::NodeDown { node, creation, reason } => (
            "node_down",
            json!({ "node": node.as_str(), "creation": creation, "reason": reason.to_string() }),
        ),
        Event::MemberChanged { member } => (
            "member",
            json!({
                "node": member.name.as_str(),
                "creation": member.creation,
                "state": member.state.word(),
                "connected": member.connected,
            }),
        ),
        Event::HandshakeFailed { node, reason, .. } => (
            "handshake_failed",
            json!({ "node": node.as_ref().map(Atom::as_str), "reason": reason }),
        ),
        Event::PeerRefused { node, mismatch, .. } => (
            "peer_refused",
            json!({ "node": node.as_str(), "reason": misfit::describe(node, mismatch) }),
        ),
        Event::NameTaken { by, .. } => ("name_taken", json!({ "by": by.as_str() })),
        Event::PeerCut { node, reason } => ("peer_cut", json!({ "node": node.as_str(), "reason": reason })),
        Event::Paused { silent_us } => ("paused", json!({ "silent_ms": silent_us / 1000 })),
        Event::ProcessExited { name, reason, .. } => (
            "process_exited",
            json!({ "name": name.as_ref().map(Atom::as_str), "reason": reason.to_string() }),
        ),
        Event::MessageDropped { reason, .. } => ("message_dropped", json!({ "reason": reason })),
        Event::Note { kind, text } => ("note", json!({ "kind": kind, "text": text })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_data_line() {
        let event = Event::Note {
            kind: "left",
            text: "two\nlines\r\nand \"quotes\"".into(),
        };
        assert_eq!(
            told(&event),
            "event: note\ndata: {\"kind\":\"left\",\"text\":\"two\\nlines\\r\\nand \\\"quotes\\\"\"}\n\n"
        );
    }
}
