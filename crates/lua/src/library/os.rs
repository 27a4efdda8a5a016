//! `os.clock`. It returns 0: a script has no clock.

use crate::{
    fault::Outcome,
    machine::Machine,
    value::Value,
    vm::{Args, Vm},
};

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    super::add_library(machine, "os", &[("clock", clock)]).map(drop)
}

fn clock(vm: &mut Vm<'_>, _args: Args) -> Outcome<usize> {
    vm.result(Value::Number(0.0))
}
