//! Compares the speed of this interpreter with that of PUC Lua 5.1: `cargo run --release -p lua --example speed`.
//!
//! Each program is run by both, in turn, and the fastest run counts. A ratio above 1 means that this interpreter is
//! faster. `--lua PROGRAM` names another PUC Lua.

use std::{
    env,
    io::Write as _,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use lua::{Chunk, Limits, Machine, NoHost};

const ROUNDS: usize = 5;

const PROGRAMS: &[(&str, &str)] = &[
    ("fib", include_str!("fib.lua")),
    ("strings", include_str!("strings.lua")),
    ("tables", include_str!("tables.lua")),
    ("sort", include_str!("sort.lua")),
    ("patterns", include_str!("patterns.lua")),
    ("closures", include_str!("closures.lua")),
    ("jobs", include_str!("jobs.lua")),
];

fn main() -> ExitCode {
    let lua = match &env::args().skip(1).collect::<Vec<_>>()[..] {
        [] => "lua5.1".to_owned(),
        [flag, lua] if flag == "--lua" => lua.clone(),
        _ => {
            eprintln!("usage: speed [--lua PROGRAM]");
            return ExitCode::from(2);
        }
    };
    println!("{:<10} {:>9} {:>9} {:>6}", "program", "PUC Lua", "ours", "ratio");
    let mut product = 1.0;
    for (name, source) in PROGRAMS {
        let (mut theirs, mut ours) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let Some(time) = run_theirs(&lua, source) else {
                eprintln!("{lua}: cannot run {name}");
                return ExitCode::from(2);
            };
            theirs = theirs.min(time);
            let Some(time) = run_ours(source) else {
                eprintln!("{name} failed");
                return ExitCode::FAILURE;
            };
            ours = ours.min(time);
        }
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        product *= ratio;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{name:<10} {:>6.0} ms {:>6.0} ms {ratio:>6.2}",
            milliseconds(theirs),
            milliseconds(ours)
        );
    }
    let mean = f64::powf(product, 1.0 / PROGRAMS.len() as f64);
    println!("{:<10} {:>9} {:>9} {mean:>6.2}", "mean", "", "");
    ExitCode::SUCCESS
}

/// Runs a program with PUC Lua: the time from start to end of the process, which takes a millisecond by itself.
fn run_theirs(lua: &str, source: &str) -> Option<Duration> {
    let start = Instant::now();
    let mut child = Command::new(lua).arg("-").stdin(Stdio::piped()).spawn().ok()?;
    child.stdin.take()?.write_all(source.as_bytes()).ok()?;
    let status = child.wait().ok()?;
    status.success().then(|| start.elapsed())
}

fn run_ours(source: &str) -> Option<Duration> {
    let start = Instant::now();
    let mut machine = Machine::new(Limits {
        instructions_max: u64::MAX / 2,
        pattern_steps_max: u64::MAX / 2,
        bytes_max: 1 << 30,
        ..Limits::default()
    });
    let chunk = Chunk::compile(source.as_bytes(), b"=stdin").ok()?;
    let loaded = machine.load(&chunk).ok()?;
    machine.run(&mut NoHost, machine.loaded(loaded), &[]).ok()?;
    Some(start.elapsed())
}
