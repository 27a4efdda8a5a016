//! Two programs that ask for one lock, or one global name, the moment they are ready. `SALP_TRIES` is how often.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../examples/at_once.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main")]
mod at_once;

use std::env;

/// The programs are this test, too: they find their role in the environment.
#[test]
fn two_programs_that_ask_as_soon_as_they_are_ready_take_turns() {
    if let Ok(role) = env::var(at_once::ROLE) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(at_once::child(&role)).unwrap();
    }
    let count = env::var("SALP_TRIES").map_or(10, |count| count.parse().unwrap());
    let name = "two_programs_that_ask_as_soon_as_they_are_ready_take_turns";
    assert_eq!(at_once::tries(count, &["--exact", name, "--nocapture"]).unwrap(), 0);
}
