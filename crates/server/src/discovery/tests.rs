//! The loop around strategies: what it proposes, how long it waits, and which changes it notices.

use super::*;
use std::collections::VecDeque;
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};

use crate::handle::Wish;

const INTERVAL: Duration = Duration::from_millis(50);

/// A strategy with given results. After them it finds no nodes.
struct Script(VecDeque<Result<Vec<Found>, Trouble>>);

impl Strategy for Script {
    fn look(&mut self) -> Look<'_> {
        let next = self.0.pop_front().unwrap_or_else(|| Ok(Vec::new()));
        Box::pin(std::future::ready(next))
    }
}

fn found(name: &str, port: u16) -> Found {
    Found {
        node: Atom::new(name),
        port: Some(port),
    }
}

fn trouble() -> Trouble {
    Trouble::refused("a place", "a problem")
}

fn finder(looks: impl IntoIterator<Item = Result<Vec<Found>, Trouble>>) -> Finder {
    Finder {
        strategy: Box::new(Script(looks.into_iter().collect())),
        interval: INTERVAL,
        me: Atom::new("me@h"),
        state: State::New,
    }
}

#[tokio::test]
async fn a_look_leaves_out_the_node_itself_and_names_said_twice() {
    let mut finder = finder([
        Ok(vec![
            found("b@h", 2),
            found("me@h", 1),
            found("a@h", 3),
            found("b@h", 2),
        ]),
        Err(trouble()),
        Err(trouble()),
        Ok(Vec::new()),
    ]);
    assert_eq!(finder.look().await, Some(vec![found("a@h", 3), found("b@h", 2)]));
    assert_eq!(finder.state, State::Found);
    assert_eq!(finder.look().await, None);
    let failing = State::Failing("a place: a problem".into());
    assert_eq!(finder.state, failing);
    assert_eq!(finder.look().await, None);
    assert_eq!(
        finder.state, failing,
        "the same trouble is the same state, and no second line"
    );
    assert_eq!(finder.look().await, Some(Vec::new()));
    assert_eq!(finder.state, State::Nobody);
}

/// What a finder proposes to a node. The node stops when the receiver is dropped.
fn proposals(finder: Finder) -> (mpsc::Receiver<Wish>, tokio::task::JoinHandle<()>) {
    let (orders, _) = mpsc::channel(1);
    let (wishes, wished) = mpsc::channel(1);
    let (events, _) = broadcast::channel(1);
    let handle = Handle {
        orders,
        wishes,
        events: events.downgrade(),
        stop: std::sync::Arc::default(),
        tasks: crate::inboxes::Tasks::default(),
        runtime: tokio::runtime::Handle::current(),
    };
    (wished, tokio::spawn(finder.run(handle)))
}

#[tokio::test]
async fn a_starting_node_asks_again_and_again_for_the_first_answer() {
    let start = Instant::now();
    let finder = finder([Err(trouble()), Err(trouble()), Ok(Vec::new())]);
    let (mut wished, _running) = proposals(finder);
    let nobody = Some(Wish::Propose(Vec::new()));
    assert_eq!(wished.recv().await, nobody, "that nobody is there is an answer");
    assert!(start.elapsed() >= 2 * FIRST_WAIT);
}

#[tokio::test]
async fn what_is_found_is_proposed_until_the_node_stops() {
    let looks = [Ok(vec![found("a@h", 1)]), Err(trouble()), Ok(vec![found("b@h", 1)])];
    let (mut wished, running) = proposals(finder(looks));
    assert_eq!(wished.recv().await, Some(Wish::Propose(vec![found("a@h", 1)])));
    let start = Instant::now();
    assert_eq!(wished.recv().await, Some(Wish::Propose(vec![found("b@h", 1)])));
    assert!(start.elapsed() >= 2 * INTERVAL, "a failure doubles the next wait");
    drop(wished);
    running.await.unwrap();
}

#[test]
fn failures_stretch_the_wait_up_to_a_bound() {
    let interval = Duration::from_secs(5);
    assert_eq!(wait(interval, 0, 0), interval);
    assert_eq!(wait(interval, 0, u32::MAX), Duration::from_secs(4));
    assert_eq!(wait(interval, 2, 0), Duration::from_secs(20));
    for failures in [4, 16, u32::MAX] {
        assert_eq!(wait(interval, failures, 0), WAIT_MAX);
    }
    assert_eq!(wait(Duration::from_secs(300), 3, 0), Duration::from_secs(300));
}
