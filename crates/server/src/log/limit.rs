//! [`Limit`]: bounds log lines of one kind that others can cause, such as failed handshakes. In each second the first
//! few are logged. One line then says how many more there were.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most log lines of one kind within [`WINDOW`]. Further ones are only counted.
const LINES_MAX: u64 = 10;
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// Bounds the log lines of one kind.
pub(crate) struct Limit {
    /// The text of these lines, which the line about the others repeats.
    what: &'static str,
    counted: Mutex<Counted>,
}

struct Counted {
    /// When the window began.
    since: Option<Instant>,
    /// Lines within it, including those that were not logged.
    lines: u64,
    /// Lines that were not logged and not reported yet.
    more: u64,
}

impl Limit {
    const fn new(what: &'static str) -> Self {
        let counted = Mutex::new(Counted {
            since: None,
            lines: 0,
            more: 0,
        });
        Self { what, counted }
    }

    /// Whether one more line may be logged. If not, it is counted.
    pub(crate) fn allows(&self) -> bool {
        self.allows_at(Instant::now())
    }

    fn allows_at(&self, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted
            .since
            .is_none_or(|since| now.saturating_duration_since(since) >= WINDOW)
        {
            (counted.since, counted.lines) = (Some(now), 0);
        }
        counted.lines += 1;
        let allows = counted.lines <= LINES_MAX;
        counted.more += u64::from(!allows);
        allows
    }

    /// How many lines were not logged since the last time.
    fn take_more(&self) -> u64 {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut counted.more)
    }
}

/// A handshake of another node failed.
pub(crate) static HANDSHAKE: Limit = Limit::new("handshake failed");
/// TLS with another node failed.
pub(crate) static SECURE: Limit = Limit::new("no secure connection");
/// A node of another cluster was refused.
pub(crate) static REFUSED: Limit = Limit::new("node of another cluster refused");
/// A node broke the protocol.
pub(crate) static CUT: Limit = Limit::new("node cut off");
/// The system has no socket for a new connection.
pub(crate) static ACCEPT: Limit = Limit::new("a connection could not be accepted");

/// A client sent a wrong password or token.
pub(crate) static SECRET: Limit = Limit::new("a client sent a wrong secret");

/// A client does not read its replies.
pub(crate) static UNREAD: Limit = Limit::new("client cut off");
/// The buffers are full.
pub(crate) static NO_ROOM: Limit = Limit::new("request refused because there is no room");

/// Logs how many lines were not logged. Called once in each [`WINDOW`].
pub(super) fn report() {
    for limit in [&HANDSHAKE, &SECURE, &REFUSED, &CUT, &ACCEPT, &SECRET, &UNREAD, &NO_ROOM] {
        let lines = limit.take_more();
        if lines > 0 {
            tracing::warn!(lines, "more of the same within a second, not logged: {}", limit.what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_second_are_logged_and_the_others_counted() {
        let limit = Limit::new("test");
        let start = Instant::now();
        let allowed = |at_ms| limit.allows_at(start + Duration::from_millis(at_ms));
        assert_eq!((0..1000).filter(|at_ms| allowed(*at_ms)).count(), 10);
        assert_eq!((limit.take_more(), limit.take_more()), (990, 0));
        assert_eq!((1000..1015).filter(|at_ms| allowed(*at_ms)).count(), 10);
        assert!(!allowed(1999) && allowed(2000));
        assert_eq!(limit.take_more(), 6);
    }
}
