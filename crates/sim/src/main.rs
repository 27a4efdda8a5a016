//! The simulator: many nodes, one thread, one seed. Runs of different seeds are independent, so there is one thread for
//! each job.
//!
//! It runs exactly the production core (`node::Node` with the `store` process) over a simulated network and simulated
//! clocks. It injects faults and checks every reply to the clients. Then it stops the faults, and checks that the
//! cluster heals.
//!
//! ```text
//! sim [--seeds N] [--from SEED] [--seconds S] [--nodes N] [--jobs N]    many seeds
//! sim SEED [--seconds S] [--nodes N] [-v]                    one seed; -v prints what happens
//! sim --fresh [--minutes M]                                  new random seeds, until stopped
//! sim --regressions                                          all seeds that failed once: they must pass
//! sim --plants                                               whether each planted bug is caught
//!
//! --faults v1              the first fault table, with its requests and rules
//! --faults v2              the second fault table: everything except for transactions
//! --with twin,ring         these faults, and the faults that are drawn
//! --only linkdown,ring     these faults instead of those that are drawn; none: no faults at all
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `fault` | the plan of a run, drawn from the seed |
//! | `cluster` | machines, time, events; carries out the faults |
//! | `clusters` | which clusters exist, and the laws of founding one |
//! | `network` | connections and their faults |
//! | `together` | which nodes are connected |
//! | `workload` | the clients |
//! | `shadow` | the replies that the clients got, and what they may get next |
//! | `rules` | which replies are allowed, and why |
//! | `check` | what must hold while the world runs and after it has healed |
//! | `plant` | planted bugs |
//! | `seeds` | seeds that failed once, and the search for more |
//! | `trace` | the events of a run, as a hash and as lines |

#![allow(unreachable_pub, reason = "a program has no public interface")]

mod agenda;
mod check;
mod cluster;
mod clusters;
mod fault;
mod network;
mod plant;
mod random;
mod rules;
mod seeds;
mod shadow;
#[cfg(test)]
mod tests;
mod together;
mod trace;
mod workload;

use std::{
    any::Any,
    io::{IsTerminal, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{
    cluster::{Tally, World},
    fault::{Fault, Plan, Table},
    plant::Plant,
    trace::Trace,
};

/// A planted bug must be caught within this many seeds.
const PLANT_SEEDS_MAX: u64 = 300;
const PLANT_SECONDS: u64 = 30;

const USAGE: &str = "usage: sim [SEED] [--seeds N] [--from SEED] [--seconds S] [--nodes N] [--jobs N] [-v]
           [--faults v1|v2|v3] [--with FAULT,…] [--only FAULT,…|none] [--plants]
       sim --fresh [--minutes M]
       sim --regressions";

/// Runs one plan from beginning to end.
fn simulate(plan: &Plan, plant: Option<Plant>, verbose: bool) -> Result<Tally, String> {
    let run = || {
        let mut world = World::new(plan.clone(), plant, Trace::new(verbose));
        world.run_until(plan.seconds * 1_000_000)?;
        world.mend();
        check::settled(&mut world)?;
        Ok(world.sum_up())
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(format!("panic: {}", text_of(&*panic))))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A range of seeds.
    Range,
    /// New random seeds.
    Fresh,
    /// All seeds that failed once.
    Regressions,
    /// All planted bugs.
    Plants,
}

#[derive(Clone, Debug)]
struct Options {
    mode: Mode,
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    seconds: u64,
    minutes: Option<f64>,
    nodes: Option<usize>,
    jobs: u64,
    verbose: bool,
    table: Table,
    with: Vec<Fault>,
    only: Option<Vec<Fault>>,
}

/// Reads names of faults, separated by commas.
fn faults(names: &str) -> Option<Vec<Fault>> {
    let named = |name: &str| {
        Fault::ALL
            .into_iter()
            .find(|fault| fault.name().eq_ignore_ascii_case(name))
    };
    names.split(',').filter(|name| *name != "none").map(named).collect()
}

/// An option with a list of faults.
fn list(option: &str, faults: &[Fault]) -> String {
    let names: Vec<String> = faults.iter().map(|fault| fault.name()).collect();
    let names = if names.is_empty() {
        "none".into()
    } else {
        names.join(",")
    };
    format!(" {option} {names}")
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            mode: Mode::Range,
            seed: None,
            seeds: 100,
            from: 1,
            seconds: 60,
            minutes: None,
            nodes: None,
            jobs: thread::available_parallelism().map_or(1, |count| count.get() as u64),
            verbose: false,
            table: Table::Third,
            with: Vec::new(),
            only: None,
        };
        while let Some(arg) = args.next() {
            let mut number = || args.next()?.parse::<u64>().ok();
            match arg.as_str() {
                "--seeds" => options.seeds = number()?,
                "--from" => options.from = number()?,
                "--seconds" => options.seconds = number()?,
                "--minutes" => {
                    let minutes = args.next()?.parse().ok();
                    options.minutes = Some(minutes.filter(|minutes| (0.0..1e6).contains(minutes))?);
                }
                "--nodes" => options.nodes = Some(usize::try_from(number()?).ok().filter(|n| (1..=16).contains(n))?),
                "--jobs" => options.jobs = number()?,
                "-v" => options.verbose = true,
                "--plants" => options.mode = Mode::Plants,
                "--fresh" => options.mode = Mode::Fresh,
                "--regressions" => options.mode = Mode::Regressions,
                "--faults" => {
                    options.table = match args.next()?.as_str() {
                        "v1" => Table::First,
                        "v2" => Table::Second,
                        "v3" => Table::Third,
                        _ => return None,
                    }
                }
                "--with" => options.with = faults(&args.next()?)?,
                "--only" => options.only = Some(faults(&args.next()?)?),
                seed => options.seed = Some(seed.parse().ok()?),
            }
        }
        Some(options)
    }

    /// The plan of one seed.
    fn plan(&self, seed: u64) -> Plan {
        let mut plan = Plan::draw(self.table, seed, self.seconds, self.nodes);
        if let Some(only) = &self.only {
            plan.faults.clone_from(only);
        }
        plan.faults.extend(&self.with);
        plan
    }

    /// The options that a seed needs to be repeated.
    fn fixed(&self) -> String {
        let nodes = self.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"));
        let table = match self.table {
            Table::First => " --faults v1",
            Table::Second => " --faults v2",
            Table::Third => "",
        };
        let with = if self.with.is_empty() {
            String::new()
        } else {
            list("--with", &self.with)
        };
        let only = self.only.as_ref().map_or_else(String::new, |only| list("--only", only));
        format!("--seconds {}{nodes}{table}{only}{with}", self.seconds)
    }

    /// The command that repeats one seed.
    fn again(&self, seed: u64) -> String {
        format!("cargo run --profile sim -p sim -- {seed} {}", self.fixed())
    }
}

/// The results of all runs together.
#[derive(Default)]
struct Sum {
    passed: u64,
    failed: u64,
    tally: Tally,
}

impl Sum {
    /// The result when nothing could be run.
    fn failure() -> Self {
        Self {
            failed: 1,
            ..Self::default()
        }
    }

    fn add(&mut self, tally: &Tally) {
        let sum = &mut self.tally;
        sum.requests += tally.requests;
        sum.acknowledged += tally.acknowledged;
        sum.simulated_us += tally.simulated_us;
        sum.healing_us = sum.healing_us.max(tally.healing_us);
        for (sum, count) in sum.outcomes.iter_mut().zip(tally.outcomes) {
            *sum += count;
        }
        for (sum, count) in sum.strict.iter_mut().zip(tally.strict) {
            *sum += count;
        }
        for (sum, count) in sum.hostile_sends.iter_mut().zip(tally.hostile_sends) {
            *sum += count;
        }
        for (sum, count) in sum.identity.iter_mut().zip(tally.identity) {
            *sum += count;
        }
        for (sum, count) in sum.faults.iter_mut().zip(tally.faults) {
            *sum += count;
        }
    }

    fn print(&self, seconds: f64) {
        let tally = &self.tally;
        let [done, refused, unknown] = tally.outcomes;
        println!(
            "{:.2} seeds/s, {:.1} simulated hours, longest healing {:.1} s",
            (self.passed + self.failed) as f64 / seconds,
            tally.simulated_us as f64 / 3.6e9,
            tally.healing_us as f64 / 1e6,
        );
        println!(
            "{} requests: {done} done, {refused} refused, {unknown} unknown",
            tally.requests
        );
        println!(
            "{} writes acknowledged; {} of {} batches answered in a quiet world",
            tally.acknowledged, tally.strict[0], tally.strict[1]
        );
        let faults = Fault::ALL
            .iter()
            .map(|fault| format!("{fault:?} {}", tally.faults[fault.index()]));
        let [lost, doubled, swapped] = tally.hostile_sends;
        println!("faults: {}", faults.collect::<Vec<_>>().join(", "));
        let [founded, thrown, misfits, anew] = tally.identity;
        println!(
            "clusters: {founded} founded beside the first, {thrown} thrown away; {misfits} nodes ended as misfits, \
             {anew} started anew by the operator"
        );
        println!("sends: {lost} lost, {doubled} doubled, {swapped} swapped");
    }
}

fn run(options: &Options) -> Sum {
    let (from, seeds) = options.seed.map_or((options.from, options.seeds), |seed| (seed, 1));
    println!(
        "seeds {from} to {}, {} s under faults each",
        from + seeds.max(1) - 1,
        options.seconds
    );
    let (began, sum, next) = (Instant::now(), Mutex::new(Sum::default()), AtomicU64::new(from));
    let shows_progress = std::io::stdout().is_terminal() && seeds > 1;
    let job = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= from + seeds {
            break;
        }
        let plan = options.plan(seed);
        if options.seed.is_some() {
            println!("{plan:#?}");
        }
        let outcome = simulate(&plan, None, options.verbose);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(tally) => {
                sum.passed += 1;
                sum.add(&tally);
            }
            Err(failure) => {
                sum.failed += 1;
                let begin = if shows_progress { "\r" } else { "" };
                println!(
                    "{begin}seed {seed} failed {failure}\n  faults {:?}\n  {}",
                    plan.faults,
                    options.again(seed)
                );
            }
        }
        if shows_progress {
            print!("\r{} of {seeds} seeds, {} failed", sum.passed + sum.failed, sum.failed);
            // If the terminal is closed, progress is not shown.
            let _ = std::io::stdout().flush();
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, seeds.max(1)) {
            scope.spawn(job);
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!();
    sum.print(began.elapsed().as_secs_f64());
    sum
}

/// The first seed that catches a planted bug, and the failure. A seed that also fails without the bug does not count.
fn catch(plant: Plant, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let mut plan = Plan::draw(plant.table(), seed, PLANT_SECONDS, None);
        plant.suit(&mut plan);
        let failure = simulate(&plan, Some(plant), false).err()?;
        simulate(&plan, None, false).ok().map(|_| (seed, failure))
    })
}

fn run_plants() -> Sum {
    let mut sum = Sum::default();
    println!("{:<18} {:>5}  caught by", "planted", "seeds");
    for plant in Plant::ALL {
        match catch(plant, PLANT_SEEDS_MAX) {
            Some((seed, failure)) => {
                sum.passed += 1;
                let failure: String = failure.chars().take(150).collect();
                println!("{:<18} {seed:>5}  {failure}", format!("{plant:?}"));
            }
            None => {
                sum.failed += 1;
                println!("{:<18} {PLANT_SEEDS_MAX:>5}  nothing", format!("{plant:?}"));
            }
        }
    }
    sum
}

fn main() -> ExitCode {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let sum = match options.mode {
        Mode::Range => run(&options),
        Mode::Fresh => seeds::fresh(&options),
        Mode::Regressions => seeds::regressions(),
        Mode::Plants => run_plants(),
    };
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
