//! `cjson`: JSON, as lua-cjson 2.1 does it. Settings that a script changes hold until its end.

mod decode;
mod encode;

use alloc::format;

use crate::{
    fault::Outcome,
    machine::Machine,
    value::{TableId, Value},
    vm::{Args, NativeFunction, Vm},
};

/// What scripts can set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Sparse arrays become objects rather than errors.
    sparse_convert: bool,
    /// An array is sparse if it has more than so many times as many indices as items; 0 is never.
    sparse_ratio: i32,
    /// Up to so many indices no array is sparse.
    sparse_safe: i32,
    encode_depth_max: i32,
    decode_depth_max: i32,
    /// What infinities and NaN become: an error, their name, `null`.
    encode_invalid: usize,
    decode_invalid: usize,
    precision: i32,
    keeps_buffer: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            encode_invalid: 0,
            decode_invalid: 1,
            precision: 14,
            keeps_buffer: true,
        }
    }
}

const INVALID: &[&str] = &["off", "on", "null"];

const FUNCTIONS: &[(&str, NativeFunction)] = &[
    ("decode", decode::decode),
    ("decode_invalid_numbers", decode_invalid_numbers),
    ("decode_max_depth", |vm, args| {
        integer(vm, args, (1, i32::MAX), |settings| &mut settings.decode_depth_max)
    }),
    ("encode", encode::encode),
    ("encode_invalid_numbers", encode_invalid_numbers),
    ("encode_keep_buffer", encode_keep_buffer),
    ("encode_max_depth", |vm, args| {
        integer(vm, args, (1, i32::MAX), |settings| &mut settings.encode_depth_max)
    }),
    ("encode_number_precision", |vm, args| {
        integer(vm, args, (1, 14), |settings| &mut settings.precision)
    }),
    ("encode_sparse_array", encode_sparse_array),
    ("new", new),
];

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    let table = new_module(machine)?;
    machine.heap.set_field(machine.globals, b"cjson", Value::Table(table))
}

fn new_module(machine: &mut Machine) -> Outcome<TableId> {
    let table = machine.heap.new_table(0, FUNCTIONS.len() + 3)?;
    super::add(machine, table, FUNCTIONS)?;
    machine.heap.set_field(table, b"null", Value::Light(0))?;
    for (name, value) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        let value = machine.heap.string(value.as_bytes())?;
        machine.heap.set_field(table, name.as_bytes(), value)?;
    }
    Ok(table)
}

fn new(vm: &mut Vm<'_>, _args: Args) -> Outcome<usize> {
    let table = new_module(vm.machine)?;
    vm.result(Value::Table(table))
}

fn at_most(vm: &mut Vm<'_>, args: Args, count: usize) -> Outcome<()> {
    if args.count > count {
        return Err(vm.argument_error(count, b"found too many arguments"));
    }
    Ok(())
}

/// Sets a number if there is an argument, and pushes what it is then.
fn integer_option(
    vm: &mut Vm<'_>,
    args: Args,
    index: usize,
    (min, max): (i32, i32),
    setting: impl Fn(&mut Settings) -> &mut i32,
) -> Outcome<()> {
    if !vm.arg(args, index).is_nil() {
        let value = vm.check_integer(args, index)? as i32;
        if !(min..=max).contains(&value) {
            let text = format!("expected integer between {min} and {max}");
            return Err(vm.argument_error(index, text.as_bytes()));
        }
        *setting(&mut vm.machine.cjson) = value;
    }
    let value = f64::from(*setting(&mut vm.machine.cjson));
    vm.push(Value::Number(value))
}

fn integer(
    vm: &mut Vm<'_>,
    args: Args,
    range: (i32, i32),
    setting: impl Fn(&mut Settings) -> &mut i32,
) -> Outcome<usize> {
    at_most(vm, args, 1)?;
    integer_option(vm, args, 0, range, setting)?;
    Ok(1)
}

/// One of a few words, or a boolean for the first two.
fn word(vm: &mut Vm<'_>, args: Args, now: usize, words: &[&str]) -> Outcome<usize> {
    match vm.arg(args, 0) {
        Value::Nil => Ok(now),
        Value::Boolean(boolean) => Ok(usize::from(boolean)),
        _ => {
            let word = vm.check_string(args, 0)?;
            let word = vm.bytes(word).to_vec();
            match words.iter().position(|other| other.as_bytes() == word) {
                Some(index) => Ok(index),
                None => Err(vm.argument_error(0, &[b"invalid option '", &word[..], b"'"].concat())),
            }
        }
    }
}

fn push_word(vm: &mut Vm<'_>, now: usize) -> Outcome<usize> {
    if now < 2 {
        vm.result(Value::Boolean(now == 1))
    } else {
        vm.string_result(INVALID[now].as_bytes())
    }
}

fn encode_invalid_numbers(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    at_most(vm, args, 1)?;
    vm.machine.cjson.encode_invalid = word(vm, args, vm.machine.cjson.encode_invalid, INVALID)?;
    push_word(vm, vm.machine.cjson.encode_invalid)
}

fn decode_invalid_numbers(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    at_most(vm, args, 1)?;
    vm.machine.cjson.decode_invalid = word(vm, args, vm.machine.cjson.decode_invalid, &INVALID[..2])?;
    push_word(vm, vm.machine.cjson.decode_invalid)
}

fn encode_keep_buffer(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    at_most(vm, args, 1)?;
    let now = usize::from(vm.machine.cjson.keeps_buffer);
    vm.machine.cjson.keeps_buffer = word(vm, args, now, &INVALID[..2])? == 1;
    push_word(vm, usize::from(vm.machine.cjson.keeps_buffer))
}

fn encode_sparse_array(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    at_most(vm, args, 3)?;
    match vm.arg(args, 0) {
        Value::Nil => {}
        Value::Boolean(convert) => vm.machine.cjson.sparse_convert = convert,
        _ => {
            let now = usize::from(vm.machine.cjson.sparse_convert);
            vm.machine.cjson.sparse_convert = word(vm, args, now, &INVALID[..2])? == 1;
        }
    }
    let convert = vm.machine.cjson.sparse_convert;
    vm.push(Value::Boolean(convert))?;
    integer_option(vm, args, 1, (0, i32::MAX), |settings| &mut settings.sparse_ratio)?;
    integer_option(vm, args, 2, (0, i32::MAX), |settings| &mut settings.sparse_safe)?;
    Ok(3)
}
