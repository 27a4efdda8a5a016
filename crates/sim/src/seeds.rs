//! Seeds that failed once, and the search for more of them.
//!
//! A file in `crates/sim/seeds` has its seed as its name. The first line has the options that the seed needs. The rest
//! says what was found.

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Options, Sum, fault::Plan, simulate};

/// Time between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/seeds"))
}

/// Writes a file for a seed that failed.
fn keep(seed: u64, options: &Options, failure: &str) -> io::Result<PathBuf> {
    fs::create_dir_all(folder())?;
    let path = folder().join(format!("{seed}.txt"));
    fs::write(&path, format!("{}\n{failure}\n", options.fixed()))?;
    Ok(path)
}

/// A new seed from the system's entropy, small enough to be typed.
fn unseen() -> io::Result<u64> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes) % 1_000_000_000_000)
}

/// Runs new seeds until the time is over (without a time: until stopped), and keeps those that fail.
pub fn fresh(options: &Options) -> Sum {
    let from = match unseen() {
        Ok(from) => from,
        Err(error) => {
            println!("no entropy to draw seeds from: /dev/urandom: {error}");
            return Sum::failure();
        }
    };
    let bound = options.minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
    println!("fresh seeds from {from}, {}", options.fixed());
    let (began, next) = (Instant::now(), AtomicU64::new(from));
    let state = Mutex::new((Sum::default(), Instant::now()));
    let is_over = || bound.is_some_and(|bound| began.elapsed() >= bound);
    let job = || {
        while !is_over() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let outcome = simulate(&options.plan(seed), None, false);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (sum, told) = &mut *state;
            match outcome {
                Ok(tally) => {
                    sum.passed += 1;
                    sum.add(&tally);
                }
                Err(failure) => {
                    sum.failed += 1;
                    println!("seed {seed} failed {failure}\n  {}", options.again(seed));
                    match keep(seed, options, &failure) {
                        Ok(path) => println!("  kept in {}", path.display()),
                        Err(error) => println!("  not kept: {error}"),
                    }
                }
            }
            if told.elapsed() >= PROGRESS {
                *told = Instant::now();
                let minutes = began.elapsed().as_secs() / 60;
                println!(
                    "{minutes} min: {} passed, {} failed, seed {seed}",
                    sum.passed, sum.failed
                );
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(job);
        }
    });
    let (sum, _) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.print(began.elapsed().as_secs_f64());
    sum
}

/// A kept seed: its plan, and the lines of its file.
fn kept(path: &std::path::Path) -> Result<(u64, Options, String), String> {
    let told = |why: &str| format!("{}: {why}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
    let seed = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    let seed: u64 = seed.ok_or_else(|| told("is not named by a seed"))?;
    let (first, rest) = text
        .split_once('\n')
        .ok_or_else(|| told("has no options in its first line"))?;
    let options = Options::parse(first.split_whitespace().map(str::to_owned));
    let options = options.ok_or_else(|| told("has options that do not exist"))?;
    Ok((seed, options, rest.trim().to_owned()))
}

/// Runs again every kept seed, each of which once failed.
pub fn regressions() -> Sum {
    let mut sum = Sum::default();
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let outcome = kept(&path).and_then(|(seed, options, found)| {
            let plan: Plan = options.plan(seed);
            let outcome = simulate(&plan, None, false);
            outcome.map_err(|failure| format!("{failure}\n  first seen as: {found}\n  {}", options.again(seed)))
        });
        match outcome {
            Ok(tally) => {
                sum.passed += 1;
                sum.add(&tally);
            }
            Err(failure) => {
                sum.failed += 1;
                println!("{} failed {failure}", path.display());
            }
        }
    }
    sum
}
