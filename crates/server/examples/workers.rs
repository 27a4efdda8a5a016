//! A supervised pool that survives planted crashes: each third job panics the first time it is tried.
//!
//! ```text
//! $ cargo run -p salp --example workers
//! worker_1: 1 squared is 1
//! worker_2: 2 squared is 4
//! worker_0: 3 fails with {panic,<<"planted">>}, again
//! worker_0: 3 squared is 9
//! …
//! 20 jobs done, 6 crashes survived
//! ```

use std::{
    collections::HashSet,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use salp::{
    Context, From, GenServer, Handle, Payload, Reply, Term, named,
    process::Failure,
    supervisor::{Child, Intensity, Strategy, Supervisor},
};

/// How many workers there are.
const WORKERS: u64 = 3;
const NAMES: [&str; WORKERS as usize] = ["worker_0", "worker_1", "worker_2"];

/// The jobs that have failed once.
type Failed = Arc<Mutex<HashSet<i64>>>;

struct Worker {
    failed: Failed,
}

impl GenServer<Payload> for Worker {
    fn handle_call(&mut self, _: &mut Context<'_>, job: Term, _: &From) -> Reply {
        let job = job.as_int().expect("jobs are numbers");
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fine = job % 3 != 0 || !failed.insert(job);
        drop(failed);
        assert!(is_fine, "planted");
        Reply::now(job * job)
    }
}

/// Starts the pool and gives it `jobs` jobs; how many crashes that took.
///
/// # Errors
/// The pool gave up, or the node has stopped.
pub async fn run(handle: &Handle, jobs: i64) -> Result<usize, Failure> {
    let failed = Failed::default();
    let made = failed.clone();
    let pool = move || -> Box<dyn salp::Process<Payload>> {
        let child = |name| {
            let failed = made.clone();
            Child::server(name, move || Worker { failed: failed.clone() })
        };
        let intensity = Intensity {
            restarts_max: 10,
            period_us: 1_000_000,
        };
        Box::new(Supervisor::new(Strategy::OneForOne, intensity, NAMES.map(child)))
    };
    handle.spawn(Some("pool"), pool).await?;

    let mut crashes = 0;
    for job in 1..=jobs {
        let name = NAMES[job as usize % NAMES.len()];
        loop {
            match handle.call(named(name), job.into(), Duration::from_secs(5)).await {
                Ok(square) => break println!("{name}: {job} squared is {square}"),
                Err(Failure::Reason(reason)) if crashes < 10 => {
                    println!("{name}: {job} fails with {reason}, again");
                    crashes += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    println!("{jobs} jobs done, {crashes} crashes survived");
    Ok(crashes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = salp::Node::builder()
        .name("pool@127.0.0.1")
        .cookie("example")
        .start()
        .await?;
    run(node.handle(), 20).await?;
    node.stop().await;
    Ok(())
}
