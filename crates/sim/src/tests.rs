//! Tests of the simulator itself: a seed always gives the same run, short runs pass, planted bugs are caught.

use crate::{
    Options, PLANT_SEEDS_MAX, catch,
    fault::{Fault, Plan, Table},
    plant::Plant,
    simulate,
};

#[test]
fn a_seed_gives_the_same_run_twice() {
    for (seed, table) in [
        (3, Table::Second),
        (6, Table::Third),
        (17, Table::Second),
        (24, Table::Third),
    ] {
        let plan = Plan::draw(table, seed, 10, None);
        let [first, second] = [(); 2].map(|()| simulate(&plan, None, false).map(|tally| tally.trace));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_short_run_passes() {
    for seed in 1..=20 {
        let plan = Plan::draw(Table::First, seed, 15, None);
        simulate(&plan, None, false).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn every_reply_of_a_calm_world_is_explained() {
    for seed in 1..=10 {
        let mut plan = Plan::draw(Table::Third, seed, 15, None);
        plan.faults = vec![Fault::Crash, Fault::Join, Fault::ClockJump];
        simulate(&plan, None, false).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn the_command_that_repeats_a_seed_reads_back() {
    for line in [
        "--seconds 60",
        "--seconds 30 --nodes 5 --faults v1",
        "--seconds 60 --faults v2",
        "--seconds 5 --only none --with twin",
        "--seconds 5 --only linkdown,ring --with blind,stranger",
    ] {
        let options = Options::parse(line.split(' ').map(str::to_owned)).expect("options that exist");
        assert_eq!(options.fixed(), line);
    }
    assert!(Options::parse(["--only".to_owned(), "flood".to_owned()].into_iter()).is_none());
}

#[test]
fn seeds_that_failed_once_pass() {
    for seed in [188, 240, 261, 325, 677, 828, 1045, 1148, 1755, 3080, 3355] {
        let plan = Plan::draw(Table::First, seed, 60, None);
        simulate(&plan, None, false).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
}

#[test]
fn planted_bugs_are_caught() {
    for plant in Plant::ALL {
        assert!(catch(plant, PLANT_SEEDS_MAX).is_some(), "{plant:?} was not caught");
    }
}
