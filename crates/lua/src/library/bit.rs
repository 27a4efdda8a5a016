//! `bit`: operations on 32 bits, as LuaBitOp has them.

use alloc::format;

use crate::{
    fault::Outcome,
    machine::Machine,
    value::Value,
    vm::{Args, Vm},
};

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    super::add_library(
        machine,
        "bit",
        &[
            ("arshift", |vm, args| shift(vm, args, |x, by| ((x as i32) >> by) as u32)),
            ("band", |vm, args| fold(vm, args, |x, y| x & y)),
            ("bnot", |vm, args| one(vm, args, |x| !x)),
            ("bor", |vm, args| fold(vm, args, |x, y| x | y)),
            ("bswap", |vm, args| one(vm, args, u32::swap_bytes)),
            ("bxor", |vm, args| fold(vm, args, |x, y| x ^ y)),
            ("lshift", |vm, args| shift(vm, args, |x, by| x << by)),
            ("rol", |vm, args| shift(vm, args, u32::rotate_left)),
            ("ror", |vm, args| shift(vm, args, u32::rotate_right)),
            ("rshift", |vm, args| shift(vm, args, |x, by| x >> by)),
            ("tobit", |vm, args| one(vm, args, |x| x)),
            ("tohex", tohex),
        ],
    )
    .map(drop)
}

/// An argument as 32 bits: the low bits of the nearest integer.
fn bits(vm: &mut Vm<'_>, args: Args, index: usize) -> Outcome<u32> {
    // The sum has the integer in its low bits.
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    let number = vm.check_number(args, index)?;
    Ok((number + ROUNDING).to_bits() as u32)
}

fn result(vm: &mut Vm<'_>, bits: u32) -> Outcome<usize> {
    vm.result(Value::Number(f64::from(bits as i32)))
}

fn one(vm: &mut Vm<'_>, args: Args, operation: impl Fn(u32) -> u32) -> Outcome<usize> {
    let x = bits(vm, args, 0)?;
    result(vm, operation(x))
}

fn fold(vm: &mut Vm<'_>, args: Args, operation: impl Fn(u32, u32) -> u32) -> Outcome<usize> {
    let mut x = bits(vm, args, 0)?;
    for index in 1..args.count {
        x = operation(x, bits(vm, args, index)?);
    }
    result(vm, x)
}

fn shift(vm: &mut Vm<'_>, args: Args, operation: impl Fn(u32, u32) -> u32) -> Outcome<usize> {
    let x = bits(vm, args, 0)?;
    let by = bits(vm, args, 1)? & 31;
    result(vm, operation(x, by))
}

fn tohex(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let x = bits(vm, args, 0)?;
    let digits = if vm.arg_or_none(args, 1).is_none() {
        8
    } else {
        bits(vm, args, 1)? as i32
    };
    let count = (digits.unsigned_abs() as usize).min(8);
    let text = format!("{x:08x}");
    let text = &text[8 - count..];
    if digits < 0 {
        return vm.string_result(text.to_ascii_uppercase().as_bytes());
    }
    vm.string_result(text.as_bytes())
}
