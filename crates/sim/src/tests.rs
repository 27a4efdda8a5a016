//! The simulator on itself: a seed is a seed, a short run passes, planted bugs are caught.

use crate::{
    PLANT_SEEDS_MAX, catch,
    fault::{Plan, Table},
    plant::Plant,
    simulate,
};

#[test]
fn a_seed_is_a_seed() {
    for seed in [3, 6, 17, 24] {
        let plan = Plan::draw(Table::Second, seed, 10, None);
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
fn what_once_failed_passes() {
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
