//! `string`

mod format;
mod search;

use alloc::vec::Vec;

use crate::{
    fault::Outcome,
    machine::Machine,
    value::Value,
    vm::{Args, Vm},
};

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    let table = super::add_library(
        machine,
        "string",
        &[
            ("byte", byte),
            ("char", char_),
            ("dump", dump),
            ("find", search::find),
            ("format", format::format),
            ("gfind", search::gmatch),
            ("gmatch", search::gmatch),
            ("gsub", search::gsub),
            ("len", len),
            ("lower", |vm, args| changed(vm, args, <[u8]>::make_ascii_lowercase)),
            ("match", search::match_),
            ("rep", rep),
            ("reverse", |vm, args| changed(vm, args, <[u8]>::reverse)),
            ("sub", sub),
            ("upper", |vm, args| changed(vm, args, <[u8]>::make_ascii_uppercase)),
        ],
    )?;
    let meta = machine.heap.new_table(0, 1)?;
    machine.heap.set_field(meta, b"__index", Value::Table(table))?;
    machine.string_meta = Some(meta);
    Ok(())
}

/// A position that counts from the end if it is negative.
fn position(position: i64, length: usize) -> i64 {
    if position < 0 {
        (position + length as i64 + 1).max(0)
    } else {
        position
    }
}

fn byte(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let length = vm.bytes(string).len();
    let start = position(vm.optional_integer(args, 1, 1)?, length);
    let end = position(vm.optional_integer(args, 2, start)?, length).min(length as i64);
    let start = start.max(1);
    if start > end {
        return Ok(0);
    }
    let count = (end - start + 1) as usize;
    if count + args.count > 8000 {
        return Err(vm.library_error(b"stack overflow (string slice too long)"));
    }
    for index in start as usize - 1..end as usize {
        let byte = vm.bytes(string)[index];
        vm.push(Value::Number(f64::from(byte)))?;
    }
    Ok(count)
}

fn char_(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let mut text = Vec::with_capacity(args.count);
    for index in 0..args.count {
        let code = vm.check_integer(args, index)? as i32;
        match u8::try_from(code) {
            Ok(byte) => text.push(byte),
            Err(_) => return Err(vm.argument_error(index, b"invalid value")),
        }
    }
    vm.string_result(&text)
}

fn dump(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    vm.check_function(args, 0)?;
    Err(vm.library_error(b"unable to dump given function"))
}

fn len(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let length = vm.bytes(string).len();
    vm.result(Value::Number(length as f64))
}

/// A string after a change of its bytes.
fn changed(vm: &mut Vm<'_>, args: Args, change: impl Fn(&mut [u8])) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let mut text = vm.bytes(string).to_vec();
    change(&mut text);
    vm.string_result(&text)
}

fn rep(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let count = (vm.check_integer(args, 1)? as i32).max(0) as usize;
    let length = vm.bytes(string).len().saturating_mul(count);
    vm.machine.heap.meter.has_room(length)?;
    vm.pay(length / 32)?;
    let text = vm.bytes(string).repeat(count);
    let value = vm.machine.heap.string_vec(text)?;
    vm.result(value)
}

fn sub(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let length = vm.bytes(string).len();
    let start = position(vm.check_integer(args, 1)?, length).max(1);
    let end = position(vm.optional_integer(args, 2, -1)?, length).min(length as i64);
    if start > end {
        return vm.string_result(b"");
    }
    let text = vm.bytes(string)[start as usize - 1..end as usize].to_vec();
    vm.string_result(&text)
}
