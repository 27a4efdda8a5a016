//! [`Departure`]: how far a node is with its end, and how it ends. The threads of the node share it.
//!
//! The store reports its progress in notes ([`Payload::Leave`](store::ask::Payload::Leave)). From [`Stage::ServingOut`]
//! on the front ends accept no connection, and close those they have. When no connection is left, the store is
//! notified.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use crate::config::ConfigError;

/// What a node does about its clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves all clients.
    #[default]
    Serving,
    /// It serves connected clients, and closes connections that are quiet.
    ServingOut,
    /// It refuses requests, and closes each connection after the refusal.
    Closing,
    /// It reads nothing more from clients.
    Over,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stage: watch::Sender<Stage>,
    /// Front ends that have clients, or may get some.
    front_ends: watch::Sender<usize>,
    lost: OnceLock<String>,
    fault: OnceLock<ConfigError>,
}

impl Departure {
    /// Handles a note of the store. True if the node has left.
    pub(crate) fn note(&self, kind: &str, text: &str) -> bool {
        match kind {
            "serving_out" => drop(self.0.stage.send_replace(Stage::ServingOut)),
            "closing" => drop(self.0.stage.send_replace(Stage::Closing)),
            "lost" => drop(self.0.lost.set(text.to_owned())),
            _ => {}
        }
        kind == "left"
    }

    /// The node ends without being told to. The first reason counts.
    pub(crate) fn fail(&self, fault: ConfigError) {
        let _ = self.0.fault.set(fault);
    }

    /// Why the node ended without being told to, if it did.
    pub(crate) fn fault(&self) -> Option<ConfigError> {
        self.0.fault.get().cloned()
    }

    /// What was lost with the node because no other node took it over.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.0.lost.get().map(String::as_str)
    }

    /// Waits until the node reaches this stage.
    pub(crate) async fn reach(&self, stage: Stage) {
        // `self` has the sender, so there is no error.
        let _ = self.0.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Counts a front end until the guard is dropped.
    pub(crate) fn front_end(&self) -> FrontEnd {
        self.0.front_ends.send_modify(|count| *count += 1);
        FrontEnd(self.clone())
    }

    /// Waits until no front end has clients.
    pub(crate) async fn clients_gone(&self) {
        let _ = self.0.front_ends.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A front end that has clients, or may get some.
#[derive(Debug)]
pub(crate) struct FrontEnd(Departure);

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.0.0.front_ends.send_modify(|count| *count -= 1);
    }
}
