//! [`Budget`]: the bytes that this node holds for clients besides stored data, and their limit (`--max-buffers`).
//!
//! ```text
//! Redis connection ─┐            requests that are read in part or read ahead, batches under way, unread replies
//!                   ├─ Claim ──▶ Budget
//! HTTP request ─────┘            bodies, batches under way, responses
//! ```
//!
//! - A connection or request has one [`Claim`] and sets it to the bytes it holds whenever it is about to wait. Work
//!   without a wait needs no claim.
//! - A claim of up to [`SMALL_BYTES`] is always granted. One of up to [`MEDIUM_BYTES`] is granted within half of the
//!   budget, a larger one within three eighths. So clients with large claims leave room for clients with small ones.
//!   The other half is for replies that the store gathers, and for copies.
//! - A claim is at most [`Budget::share_max`].
//! - Requests of more than [`LARGE_BYTES`]take turns, since peers and replicas get copies: [`Budget::turn`].
//! - A claim gives its bytes back when it is dropped, so the budget is at 0 once every connection is closed.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use store::config::share_max;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

/// A connection may always hold this much, in bytes.
pub(crate) const SMALL_BYTES: usize = 32 << 10;
/// Largest claim that may use half of the budget, in bytes. Larger claims may use less of it.
const MEDIUM_BYTES: usize = 1 << 20;
/// Requests of more bytes than these take turns.
pub(crate) const LARGE_BYTES: usize = 1 << 20;
/// How many times the bytes of such a request count while it is under way: once for itself, and once for each copy for
/// a peer.
pub(crate) const COPIES: usize = 3;
/// How long a client waits for room or for its turn. Then it is refused.
const WAIT_TIME_MAX: Duration = Duration::from_secs(10);
/// While room is scarce, a client that holds some is closed if it neither sends nor reads for this time.
pub(crate) const STILL_TIME_MAX: Duration = Duration::from_secs(5);
/// A client that reads nothing for this time is closed in any case.
pub(crate) const UNREAD_TIME_MAX: Duration = Duration::from_secs(60);

/// Why a client is refused.
pub(crate) const NO_ROOM: &str =
    "the buffers of this node are full (max-buffers): nothing of this request was done, try again in some seconds";

/// The right to execute a large request, until it is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    used: AtomicUsize,
    /// Claims that wait for room.
    waiting: AtomicUsize,
    /// Notifies the claims that wait: there may be room.
    room: Notify,
    /// KiB of large requests that may be under way. Requests are served in their order.
    turns: Arc<Semaphore>,
    turns_max: u32,
    /// How long a client waits for room.
    wait_time_max: Duration,
    /// Clients that were cut because they did not read their replies.
    clients_cut: AtomicU64,
    /// Requests that were refused because there was no room.
    refused: AtomicU64,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Self::with_patience(bytes_max, WAIT_TIME_MAX)
    }

    fn with_patience(bytes_max: usize, wait_time_max: Duration) -> Arc<Self> {
        // An eighth of the budget, within the bounds of the semaphore.
        let turns_max = u32::try_from(bytes_max >> 13).map_or(1 << 20, |kib| kib.clamp(1, 1 << 20));
        Arc::new(Self {
            bytes_max,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: Notify::new(),
            turns: Arc::new(Semaphore::new(turns_max as usize)),
            turns_max,
            wait_time_max,
            clients_cut: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The most that one connection may hold.
    pub(crate) fn share_max(&self) -> usize {
        share_max(self.bytes_max)
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn clients_cut(&self) -> u64 {
        self.clients_cut.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn count_cut(&self) {
        self.clients_cut.fetch_add(1, Relaxed);
    }

    /// Counts a refusal because there was no room.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Whether room is scarce: clients must give back what they do not need.
    pub(crate) fn is_scarce(&self) -> bool {
        self.waiting.load(Relaxed) > 0 || self.used() > self.share_max() - MEDIUM_BYTES
    }

    /// An empty claim.
    pub(crate) fn claim(self: &Arc<Self>) -> Claim {
        Claim {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Waits until a large request of `bytes` may be executed. `None` if that takes too long.
    pub(crate) async fn turn(&self, bytes: usize) -> Option<Turn> {
        let kib = u32::try_from(bytes >> 10).map_or(self.turns_max, |kib| kib.min(self.turns_max));
        timeout(self.wait_time_max, self.turns.clone().acquire_many_owned(kib))
            .await
            .ok()?
            .ok()
    }

    /// The budget may be filled up to this by claims of `bytes`.
    fn limit(&self, bytes: usize) -> usize {
        if bytes <= SMALL_BYTES {
            usize::MAX
        } else if bytes <= MEDIUM_BYTES {
            self.bytes_max / 2
        } else {
            self.share_max()
        }
    }
}

/// What one connection or request holds. Its bytes are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Claim {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Sets the claim to `bytes`. If there is no room, returns false and changes nothing. A smaller claim is always
    /// granted.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        if bytes <= self.bytes {
            self.shrink(bytes);
            return true;
        }
        let more = bytes - self.bytes;
        let before = self.budget.used.fetch_add(more, Relaxed);
        let fits = bytes <= self.budget.share_max().max(SMALL_BYTES)
            && before.saturating_add(more) <= self.budget.limit(bytes);
        if fits {
            self.bytes = bytes;
        } else {
            self.budget.used.fetch_sub(more, Relaxed);
        }
        fits
    }

    /// Sets the claim to `bytes` even if there is no room: for bytes that are held already and soon given back.
    pub(crate) fn force(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.used.fetch_add(bytes - self.bytes, Relaxed);
            self.bytes = bytes;
        } else {
            self.shrink(bytes);
        }
    }

    /// Sets the claim to `bytes` once there is room. Returns false and changes nothing if there is no room for too
    /// long, or never can be.
    pub(crate) async fn await_room(&mut self, bytes: usize) -> bool {
        if self.set(bytes) {
            return true;
        }
        if bytes > self.budget.share_max() {
            return false;
        }
        let budget = self.budget.clone();
        let _waiting = Waiting::begin(&budget);
        let until = Instant::now() + self.budget.wait_time_max;
        loop {
            let mut room = pin!(budget.room.notified());
            // From here on, bytes that are given back are noticed.
            room.as_mut().enable();
            if self.set(bytes) {
                return true;
            }
            if timeout_at(until, room).await.is_err() {
                return self.set(bytes);
            }
        }
    }

    fn shrink(&mut self, bytes: usize) {
        let less = self.bytes - bytes;
        if less == 0 {
            return;
        }
        self.bytes = bytes;
        let before = self.budget.used.fetch_sub(less, Relaxed);
        debug_assert!(before >= less, "a claim gives back what it was granted");
        if self.budget.waiting.load(Relaxed) > 0 {
            self.budget.room.notify_waiters();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Counts a claim as waiting while it lives, even if its task is dropped.
struct Waiting<'a>(&'a Budget);

impl<'a> Waiting<'a> {
    fn begin(budget: &'a Budget) -> Self {
        budget.waiting.fetch_add(1, Relaxed);
        Self(budget)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_claim_counts_once_and_gives_all_back() {
        let budget = Budget::new(64 * MIB);
        let (mut first, mut second) = (budget.claim(), budget.claim());
        assert!(first.set(3 * MIB) && first.set(5 * MIB) && second.set(2 * MIB));
        assert_eq!((budget.used(), first.bytes()), (7 * MIB, 5 * MIB));
        assert!(first.set(MIB));
        assert_eq!(budget.used(), 3 * MIB);
        second.force(100 * MIB);
        assert_eq!(budget.used(), 101 * MIB);
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_claim_that_is_refused_changes_nothing() {
        let budget = Budget::new(64 * MIB);
        let mut claim = budget.claim();
        assert!(claim.set(MIB));
        assert!(!claim.set(24 * MIB + 1), "it is more than a share");
        assert_eq!((budget.used(), claim.bytes()), (MIB, MIB));
    }

    #[test]
    fn large_claims_leave_room_for_small_ones() {
        let budget = Budget::new(64 * MIB);
        let mut large: Vec<Claim> = (0..4).map(|_| budget.claim()).collect();
        let granted: Vec<bool> = large.iter_mut().map(|claim| claim.set(10 * MIB)).collect();
        assert_eq!(granted, [true, true, false, false]);
        let mut medium: Vec<Claim> = (0..60).map(|_| budget.claim()).collect();
        let granted = medium.iter_mut().filter_map(|claim| claim.set(MIB).then_some(()));
        assert_eq!(granted.count(), 12, "they share what is left");
        assert_eq!(budget.used(), 32 * MIB);
        let mut small = budget.claim();
        assert!(small.set(SMALL_BYTES), "what is small is always granted");
        assert!(!small.set(SMALL_BYTES + 1));
    }

    #[tokio::test]
    async fn a_claim_waits_for_room_and_not_for_ever() {
        let budget = Budget::with_patience(64 * MIB, Duration::from_millis(5));
        let mut holder = budget.claim();
        assert!(holder.set(20 * MIB) && !budget.is_scarce());
        let mut refused = budget.claim();
        assert!(!refused.await_room(10 * MIB).await);
        let mut never = budget.claim();
        assert!(!never.await_room(25 * MIB).await, "more than a share never fits");
        assert_eq!(budget.used(), 20 * MIB);
    }

    #[tokio::test]
    async fn a_claim_that_waits_is_granted_what_is_given_back() {
        let budget = Budget::new(64 * MIB);
        let (mut holder, mut waits) = (budget.claim(), budget.claim());
        assert!(holder.set(20 * MIB));
        let task = tokio::spawn(async move { waits.await_room(10 * MIB).await.then_some(waits) });
        while !budget.is_scarce() {
            tokio::task::yield_now().await;
        }
        drop(holder);
        let granted = task.await.unwrap().expect("there is room now");
        assert_eq!((granted.bytes(), budget.used()), (10 * MIB, 10 * MIB));
        assert!(!budget.is_scarce());
    }

    #[tokio::test]
    async fn large_requests_take_turns() {
        let budget = Budget::with_patience(64 * MIB, Duration::from_millis(5));
        let first = budget.turn(6 * MIB).await.expect("nothing is under way");
        let second = budget.turn(2 * MIB).await.expect("both are within an eighth");
        assert!(budget.turn(2 * MIB).await.is_none());
        drop(second);
        assert!(budget.turn(2 * MIB).await.is_some());
        drop(first);
        assert!(budget.turn(60 * MIB).await.is_some(), "one alone may be of any size");
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_not_counted() {
        let budget = Budget::new(64 * MIB);
        let mut holder = budget.claim();
        assert!(holder.set(20 * MIB));
        let mut gives_up = budget.claim();
        assert!(
            timeout(Duration::from_millis(1), gives_up.await_room(10 * MIB))
                .await
                .is_err()
        );
        assert_eq!((budget.waiting.load(Relaxed), budget.used()), (0, 20 * MIB));
    }
}
