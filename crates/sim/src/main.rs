//! The simulator.
mod check; mod cluster; mod fault; mod network; mod plant; mod random; mod shadow; mod trace; mod workload;
use std::panic::{AssertUnwindSafe, catch_unwind};
use cluster::{Tally, World};
use fault::{Fault, Plan};
use plant::Plant;
use trace::Trace;

fn simulate(plan: &Plan, plant: Option<Plant>, verbose: bool) -> Result<Tally, String> {
    let plan = plan.clone();
    let run = || {
        let seconds = plan.seconds;
        let mut world = World::new(plan, plant, Trace::new(verbose));
        world.run_until(seconds * 1_000_000)?;
        world.mend();
        check::settled(&mut world)?;
        Ok(world.sum_up())
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut seeds, mut from, mut seconds, mut nodes, mut verbose, mut one) = (100u64, 1u64, 60u64, None, false, None);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
        match arg.as_str() {
            "--seeds" => seeds = number(),
            "--from" => from = number(),
            "--seconds" => seconds = number(),
            "--nodes" => nodes = Some(number() as usize),
            "-v" => verbose = true,
            seed => one = Some(seed.parse().expect("a seed")),
        }
    }
    if let Some(seed) = one { from = seed; seeds = 1; }
    let began = std::time::Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let mut requests = 0;
    for seed in from..from + seeds {
        let plan = Plan::draw(seed, seconds, nodes);
        if seeds == 1 { println!("{plan:?}"); }
        match simulate(&plan, None, verbose) {
            Ok(tally) => { passed += 1; requests += tally.requests; if seeds == 1 { println!("{tally:?}"); } }
            Err(why) => { failed += 1; println!("seed {seed} failed: {why}\n  {:?}", plan.faults); }
        }
    }
    println!("{requests} requests, {:.2} s per seed; {}", began.elapsed().as_secs_f64() / seeds as f64, Fault::ALL.len());
    println!("{passed} passed, {failed} failed");
}
