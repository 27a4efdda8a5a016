//! Discovery: asks a strategy again and again which nodes are up.
//!
//! ```text
//!   strategy ─ look ─▶ names, ports ─▶ wish ─▶ Input::Proposed ─▶ the membership dials what it does not know
//!                                        └──▶ Router: the ports that were found
//! ```
//!
//! - A strategy returns names and decides nothing. The membership decides which nodes are dialled, remembered and
//!   forgotten.
//! - The intervals, the handling of failures and the logging are here, for all strategies. A change of state is logged
//!   in one line; an unchanged state is not logged.
//! - A look that fails changes nothing: the nodes found before stay found.

mod api;
pub(crate) mod datagram;
pub(crate) mod dns;
pub(crate) mod epmd;
pub(crate) mod gossip;
pub(crate) mod hosts;
pub(crate) mod kubernetes;

use std::{fmt, io, pin::Pin, time::Duration};

use node::Atom;
use tokio::time::{sleep, timeout};

use crate::{
    config::discovery::{Discovery, Kind},
    handle::Handle,
};

/// Most names from one look. Further names are ignored.
pub(crate) const FOUND_MAX: usize = 4096;
/// How long one look may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(15);
/// The longest wait after failures, unless the interval itself is longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Wait between looks until the first one succeeds: before that the node forms no cluster.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Most looks in a row with this short wait. After them, failures make the waits longer.
const FIRST_LOOKS: u32 = 40;

/// A node that seems to be up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) node: Atom,
    /// The port it listens on, if the strategy knows.
    pub(crate) port: Option<u16>,
}

/// A look under way.
pub(crate) type Look<'a> = Pin<Box<dyn Future<Output = Result<Vec<Found>, Trouble>> + Send + 'a>>;

/// A way to find nodes.
pub(crate) trait Strategy: Send {
    /// All nodes that are up now. This node may be among them.
    ///
    /// # Errors
    /// No source could be asked.
    fn look(&mut self) -> Look<'_>;
}

/// Why a look failed: one line each, without details that differ from look to look.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A socket or a file failed.
    Io { place: String, error: io::Error },
    /// There was no answer in time.
    Silent { place: String },
    /// The answer is a refusal, or malformed.
    Refused { place: String, problem: String },
}

impl Trouble {
    pub(crate) fn io(place: impl fmt::Display, error: io::Error) -> Self {
        let place = place.to_string();
        Self::Io { place, error }
    }

    pub(crate) fn silent(place: impl fmt::Display) -> Self {
        let place = place.to_string();
        Self::Silent { place }
    }

    pub(crate) fn refused(place: impl fmt::Display, problem: impl Into<String>) -> Self {
        let (place, problem) = (place.to_string(), problem.into());
        Self::Refused { place, problem }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { place, error } => write!(f, "{place}: {error}"),
            Self::Silent { place } => write!(f, "{place}: no answer in time"),
            Self::Refused { place, problem } => write!(f, "{place}: {problem}"),
        }
    }
}

/// The loop around a strategy.
pub(crate) struct Finder {
    strategy: Box<dyn Strategy>,
    interval: Duration,
    /// The name of this node.
    me: Atom,
    state: State,
}

/// The result of the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    New,
    Found,
    Nobody,
    Failing(String),
}

impl Finder {
    /// `None` if nodes are found by their given names alone.
    pub(crate) fn new(discovery: &Discovery, context: Context) -> Option<Self> {
        let me = context.me.clone();
        let strategy: Box<dyn Strategy> = match discovery.kind.clone() {
            Kind::Static => return None,
            Kind::Epmd(hosts) => Box::new(hosts),
            Kind::Hosts(file) => Box::new(file),
            Kind::Dns(query) => Box::new(dns::Dns::new(query)),
            Kind::Gossip(settings) => Box::new(gossip::Gossip::new(settings, discovery.interval, context)),
            Kind::Kubernetes(settings) => Box::new(kubernetes::Kubernetes::new(settings)),
        };
        Some(Self {
            strategy,
            interval: discovery.interval,
            me,
            state: State::New,
        })
    }

    /// Proposes the nodes that are up until this node has stopped. The first answer is proposed even if it is empty.
    pub(crate) async fn run(mut self, handle: Handle) {
        let mut failures = 0;
        let mut has_answered = false;
        loop {
            let found = self.look().await;
            failures = if found.is_some() { 0 } else { failures + 1 };
            has_answered |= found.is_some();
            if let Some(found) = found
                && !handle.propose(found).await
            {
                return;
            }
            if has_answered || failures > FIRST_LOOKS {
                sleep(wait(self.interval, failures, jitter())).await;
            } else {
                sleep(FIRST_WAIT).await;
            }
        }
    }

    /// All nodes that are up except this one, in order. `None` if no source could be asked.
    async fn look(&mut self) -> Option<Vec<Found>> {
        let looked = timeout(LOOK_TIME_MAX, self.strategy.look()).await;
        let looked = looked.unwrap_or_else(|_| Err(Trouble::silent("discovery")));
        let looked = looked.map(|mut found| {
            found.retain(|found| found.node != self.me);
            found.sort();
            found.dedup_by(|one, other| one.node == other.node);
            found.truncate(FOUND_MAX);
            found
        });
        self.note(match &looked {
            Ok(found) if found.is_empty() => State::Nobody,
            Ok(_) => State::Found,
            Err(trouble) => State::Failing(trouble.to_string()),
        });
        looked.ok()
    }

    /// Logs the state if it has changed.
    fn note(&mut self, state: State) {
        if state == self.state {
            return;
        }
        match &state {
            State::New => {}
            State::Found => tracing::info!("discovery finds nodes"),
            State::Nobody => tracing::info!("discovery works and finds no other node"),
            State::Failing(trouble) => tracing::warn!(trouble, "discovery fails; nodes found before stay known"),
        }
        self.state = state;
    }
}

/// What strategies know about this node.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) me: Atom,
    /// The port it listens on.
    pub(crate) dist_port: u16,
    pub(crate) cookie: node::Cookie,
}

/// Time to the next look: the interval, doubled with each failure up to [`WAIT_MAX`]. A fifth of it is random, so that
/// the looks of many nodes spread out.
fn wait(interval: Duration, failures: u32, random: u32) -> Duration {
    let full = interval
        .saturating_mul(1 << failures.min(16))
        .min(WAIT_MAX.max(interval));
    full - full.mul_f64(f64::from(random) / f64::from(u32::MAX) / 5.0)
}

fn jitter() -> u32 {
    // Without random numbers the waits are less spread.
    getrandom::u32().unwrap_or(0)
}

#[cfg(test)]
#[cfg(feature = "dns")]
mod dns_tests;
#[cfg(test)]
mod gossip_tests;
#[cfg(test)]
mod kubernetes_tests;
#[cfg(test)]
mod tests;
