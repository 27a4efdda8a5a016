//! Log lines: one per event, on standard error, as text or JSON. None of them holds a secret or a key.

use node::Event;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tracing::{Level, debug, info, warn};

use crate::{config::LogFormat, misfit};

/// Sets up what is logged and how. Only the first call in a process has an effect.
pub(crate) fn init(level: Level, format: LogFormat) {
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false);
    // A program that embeds a node may have its own subscriber.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(lines.with_ansi(false).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
}

/// Logs events until the node ends. Apart from the node's thread, since standard error may block.
pub(crate) async fn events(mut events: Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) => log(&event),
            Err(RecvError::Lagged(missed)) => warn!(missed, "events came faster than they could be logged"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::NodeUp { node, creation, hidden } => info!(node = node.as_str(), creation, hidden, "node up"),
        Event::NodeDown { node, creation, reason } => {
            info!(
                node = node.as_str(),
                creation,
                reason = reason.as_atom().map(node::Atom::as_str),
                "node down"
            );
        }
        Event::MemberChanged { member } => {
            info!(
                node = member.name.as_str(),
                creation = member.creation,
                state = member.state.word(),
                "member"
            );
        }
        Event::HandshakeFailed {
            connection,
            node,
            reason,
        } => {
            let node = node.as_ref().map(node::Atom::as_str);
            warn!(connection = connection.0, node, reason, "handshake failed");
        }
        Event::PeerRefused { node, mismatch, .. } => {
            let reason = misfit::describe(node, mismatch);
            warn!(node = node.as_str(), reason, "node of another cluster refused");
        }
        Event::NameTaken { by, .. } => {
            warn!(by = by.as_str(), "another live node has the name of this one");
        }
        Event::PeerCut { node, reason } => warn!(node = node.as_str(), reason, "node cut off"),
        Event::Paused { silent_us } => warn!(silent_ms = silent_us / 1000, "this node did not run for a while"),
        Event::ProcessExited { name, .. } => {
            warn!(
                name = name.as_ref().map(node::Atom::as_str),
                "process ended unexpectedly"
            );
        }
        Event::MessageDropped { reason, .. } => debug!(reason, "message dropped"),
        Event::Note {
            kind: kind @ ("waiting" | "formed_again" | "formed_provisionally" | "formed_lost" | "thrown_away"),
            text,
        } => warn!(kind, "{text}"),
        Event::Note { kind, text } => info!(kind, "{text}"),
    }
}
