//! Log lines: one per event, on standard error, as text or JSON. They contain no secrets and no keys.
//!
//! Logging never waits. The thread of an [`output`] writes the lines, and drops and counts those it cannot write. Log
//! lines that others can cause are bounded by a [`limit`].

pub(crate) mod limit;

use std::{
    cell::RefCell,
    io::{self, Write},
};

use node::Event;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{MissedTickBehavior, interval},
};
use tracing::{Level, debug, info, warn};

use crate::{config::LogFormat, misfit, output};

/// Sets up the level and the format of the log. Only the first call in a process has an effect.
///
/// # Errors
/// The system has no thread for the log.
pub(crate) fn init(level: Level, format: LogFormat) -> io::Result<()> {
    if !output::stderr().is_running() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let lines = tracing_subscriber::fmt()
        .with_writer(|| ToOutput)
        .log_internal_errors(false)
        .with_max_level(level)
        .with_target(false);
    // A program that embeds a node may have its own subscriber.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(lines.with_ansi(false).finish()),
        LogFormat::Json => tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish()),
    };
    Ok(())
}

thread_local! {
    /// Collects the lines of this thread, instead of the output.
    static TAKEN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The line that says how many lines were dropped, in the format of the others. Empty if the log level excludes it.
pub(crate) fn notice(lines: u64) -> Vec<u8> {
    if !tracing::dispatcher::has_been_set() {
        return output::plain_notice(lines);
    }
    TAKEN.set(Some(Vec::new()));
    warn!(
        lines,
        "log lines were dropped: they could not be written, or not fast enough"
    );
    TAKEN.take().unwrap_or_default()
}

/// Sends lines to standard error's [`output`]. Each write is one line.
struct ToOutput;

impl Write for ToOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        TAKEN.with_borrow_mut(|taken| match taken {
            Some(taken) => taken.extend_from_slice(line),
            None => output::stderr().push(line),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs events until the node ends.
pub(crate) async fn events(mut events: Receiver<Event>) {
    let mut windows = interval(limit::WINDOW);
    windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => log(&event),
                Err(RecvError::Lagged(missed)) => warn!(missed, "events came faster than they could be logged"),
                Err(RecvError::Closed) => break,
            },
            _ = windows.tick() => limit::report(),
        }
    }
    limit::report();
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
            if limit::HANDSHAKE.allows() {
                warn!(connection = connection.0, node, reason, "handshake failed");
            }
        }
        Event::PeerRefused { node, mismatch, .. } => {
            let reason = misfit::describe(node, mismatch);
            if limit::REFUSED.allows() {
                warn!(node = node.as_str(), reason, "node of another cluster refused");
            }
        }
        Event::PeerCut { node, reason } => {
            if limit::CUT.allows() {
                warn!(node = node.as_str(), reason, "node cut off");
            }
        }
        Event::NameTaken { by, .. } => {
            warn!(by = by.as_str(), "another live node has the name of this one");
        }
        Event::Paused { silent_us } => warn!(silent_ms = silent_us / 1000, "this node did not run for a while"),
        Event::ProcessExited { name, .. } => {
            warn!(
                name = name.as_ref().map(node::Atom::as_str),
                "process ended unexpectedly"
            );
        }
        Event::MessageDropped { reason, .. } => debug!(reason, "message dropped"),
        Event::Note {
            kind:
                kind @ ("clock_skew"
                | "cluster_time"
                | "global_silent"
                | "groups_silent"
                | "waiting"
                | "formed_again"
                | "formed_provisionally"
                | "formed_lost"
                | "thrown_away"
                | "alone"
                | "lost"),
            text,
        } => warn!(kind, "{text}"),
        Event::Note { kind, text } => info!(kind, "{text}"),
    }
}
