//! `math`, with the generator of random numbers that Redis gives to scripts.

use crate::{
    arithmetic::{floor, power},
    fault::Outcome,
    machine::Machine,
    value::Value,
    vm::{Args, Vm},
};

/// The largest number of the generator is below.
const RANDOM_RANGE: i32 = i32::MAX;

/// The generator `lrand48` of POSIX. It begins with seed 0 in each run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Self::seeded(0)
    }

    fn seeded(seed: u32) -> Self {
        Self(u64::from(seed) << 16 | 0x330E)
    }

    /// From 0 to below 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & 0xFFFF_FFFF_FFFF;
        let number = (self.0 >> 17) as i32;
        f64::from(number % RANDOM_RANGE) / f64::from(RANDOM_RANGE)
    }
}

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    let table = super::add_library(
        machine,
        "math",
        &[
            ("abs", |vm, args| one(vm, args, f64::abs)),
            ("acos", |vm, args| one(vm, args, with_nan(libm::acos, f64::NAN))),
            ("asin", |vm, args| one(vm, args, with_nan(libm::asin, f64::NAN))),
            ("atan", |vm, args| one(vm, args, libm::atan)),
            ("atan2", |vm, args| two(vm, args, libm::atan2)),
            ("ceil", |vm, args| one(vm, args, libm::ceil)),
            ("cos", |vm, args| one(vm, args, libm::cos)),
            ("cosh", |vm, args| one(vm, args, with_nan(libm::cosh, -f64::NAN))),
            ("deg", |vm, args| one(vm, args, |x| x / (core::f64::consts::PI / 180.0))),
            ("exp", |vm, args| one(vm, args, libm::exp)),
            ("floor", |vm, args| one(vm, args, floor)),
            ("fmod", |vm, args| two(vm, args, libm::fmod)),
            ("frexp", frexp),
            ("ldexp", ldexp),
            ("log", |vm, args| one(vm, args, libm::log)),
            ("log10", |vm, args| one(vm, args, with_nan(libm::log10, f64::NAN))),
            ("max", |vm, args| extreme(vm, args, |x, best| x > best)),
            ("min", |vm, args| extreme(vm, args, |x, best| x < best)),
            ("mod", |vm, args| two(vm, args, libm::fmod)),
            ("modf", modf),
            ("pow", |vm, args| two(vm, args, power)),
            ("rad", |vm, args| one(vm, args, |x| x * (core::f64::consts::PI / 180.0))),
            ("random", random),
            ("randomseed", randomseed),
            ("sin", |vm, args| one(vm, args, libm::sin)),
            ("sinh", |vm, args| one(vm, args, with_nan(libm::sinh, -f64::NAN))),
            ("sqrt", |vm, args| one(vm, args, with_nan(libm::sqrt, -f64::NAN))),
            ("tan", |vm, args| one(vm, args, libm::tan)),
            ("tanh", |vm, args| one(vm, args, libm::tanh)),
        ],
    )?;
    let heap = &mut machine.heap;
    heap.set_field(table, b"pi", Value::Number(core::f64::consts::PI))?;
    heap.set_field(table, b"huge", Value::Number(f64::INFINITY))
}

/// A function with the NaN that the C library gives outside the domain: its sign shows as text.
fn with_nan(function: impl Fn(f64) -> f64, outside: f64) -> impl Fn(f64) -> f64 {
    move |x| {
        let y = function(x);
        match (x.is_nan(), y.is_nan()) {
            (true, _) => x,
            (false, true) => outside,
            (false, false) => y,
        }
    }
}

#[inline]
fn one(vm: &mut Vm<'_>, args: Args, function: impl Fn(f64) -> f64) -> Outcome<usize> {
    let x = vm.check_number(args, 0)?;
    vm.result(Value::Number(function(x)))
}

fn two(vm: &mut Vm<'_>, args: Args, function: impl Fn(f64, f64) -> f64) -> Outcome<usize> {
    // C compilers evaluate the last argument first, and so the error names it.
    let y = vm.check_number(args, 1)?;
    let x = vm.check_number(args, 0)?;
    vm.result(Value::Number(function(x, y)))
}

fn extreme(vm: &mut Vm<'_>, args: Args, is_better: impl Fn(f64, f64) -> bool) -> Outcome<usize> {
    let mut best = vm.check_number(args, 0)?;
    for index in 1..args.count {
        let x = vm.check_number(args, index)?;
        if is_better(x, best) {
            best = x;
        }
    }
    vm.result(Value::Number(best))
}

fn frexp(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let x = vm.check_number(args, 0)?;
    let (mantissa, exponent) = if x == 0.0 || !x.is_finite() {
        (x, 0)
    } else {
        libm::frexp(x)
    };
    vm.push(Value::Number(mantissa))?;
    vm.push(Value::Number(f64::from(exponent)))?;
    Ok(2)
}

fn ldexp(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let exponent = vm.check_integer(args, 1)? as i32;
    let x = vm.check_number(args, 0)?;
    vm.result(Value::Number(libm::scalbn(x, exponent)))
}

fn modf(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let x = vm.check_number(args, 0)?;
    let whole = libm::trunc(x);
    let fraction = if x.is_infinite() { 0.0 } else { x - whole };
    vm.push(Value::Number(whole))?;
    vm.push(Value::Number(fraction.copysign(x)))?;
    Ok(2)
}

fn random(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let number = vm.machine.random.next();
    let answer = match args.count {
        0 => number,
        1 => {
            let high = vm.check_integer(args, 0)? as i32;
            if high < 1 {
                return Err(vm.argument_error(0, b"interval is empty"));
            }
            floor(number * f64::from(high)) + 1.0
        }
        2 => {
            let (low, high) = (vm.check_integer(args, 0)? as i32, vm.check_integer(args, 1)? as i32);
            if low > high {
                return Err(vm.argument_error(1, b"interval is empty"));
            }
            floor(number * f64::from(high.wrapping_sub(low).wrapping_add(1))) + f64::from(low)
        }
        _ => return Err(vm.library_error(b"wrong number of arguments")),
    };
    vm.result(Value::Number(answer))
}

fn randomseed(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let seed = vm.check_integer(args, 0)? as i32;
    vm.machine.random = Random::seeded(seed as u32);
    Ok(0)
}
