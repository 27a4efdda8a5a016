//! The basic functions.

use alloc::{format, vec::Vec};

use crate::{
    fault::{Error, Outcome, Throw},
    machine::Machine,
    number::{parse_in_base, write_number},
    prototype::Chunk,
    value::Value,
    vm::{Args, Event, Vm},
};

/// How many values a call can take from a table at once.
const UNPACKED_MAX: i64 = 8000;

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    let globals = machine.globals;
    super::add(
        machine,
        globals,
        &[
            ("assert", assert),
            ("collectgarbage", collectgarbage),
            ("error", error),
            ("gcinfo", gcinfo),
            ("getmetatable", getmetatable),
            ("ipairs", ipairs),
            ("load", load),
            ("loadstring", loadstring),
            ("next", next),
            ("pairs", pairs),
            ("pcall", pcall),
            ("rawequal", rawequal),
            ("rawget", rawget),
            ("rawset", rawset),
            ("select", select),
            ("setmetatable", setmetatable),
            ("tonumber", tonumber),
            ("tostring", tostring),
            ("type", type_),
            ("unpack", unpack),
            ("xpcall", xpcall),
        ],
    )?;
    let step = machine.heap.new_native(ipairs_step, &[], 0)?;
    let step_value = Value::Native(step);
    machine.pin(step_value);
    if let Value::Native(next) = machine.get_field(globals, b"next").map_err(|raised| raised.0)? {
        machine.steppers = [next, step];
    }
    machine.heap.set_field(globals, b"_G", Value::Table(globals))?;
    let version = machine.heap.string(b"Lua 5.1")?;
    machine.heap.set_field(globals, b"_VERSION", version)
}

fn assert(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    if vm.check_any(args, 0)?.is_true() {
        return Ok(args.count);
    }
    let text = if vm.arg(args, 1).is_nil() {
        b"assertion failed!".to_vec()
    } else {
        let message = vm.check_string(args, 1)?;
        vm.c_text(message).to_vec()
    };
    Err(vm.library_error(&text))
}

fn collectgarbage(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let option = if vm.arg(args, 0).is_nil() {
        b"collect".to_vec()
    } else {
        let option = vm.check_string(args, 0)?;
        vm.bytes(option).to_vec()
    };
    vm.optional_integer(args, 1, 0)?;
    let answer = match &option[..] {
        b"collect" => {
            vm.machine.collect();
            Value::Number(0.0)
        }
        b"step" => {
            vm.machine.collect();
            Value::Boolean(true)
        }
        b"count" => Value::Number(vm.machine.heap.meter.bytes() as f64 / 1024.0),
        b"setpause" | b"setstepmul" => Value::Number(200.0),
        b"stop" | b"restart" => Value::Number(0.0),
        other => {
            let text = [b"invalid option '", other, b"'"].concat();
            return Err(vm.argument_error(0, &text));
        }
    };
    vm.result(answer)
}

fn gcinfo(vm: &mut Vm<'_>, _args: Args) -> Outcome<usize> {
    let kilobytes = vm.machine.heap.meter.bytes() / 1024;
    vm.result(Value::Number(kilobytes as f64))
}

fn error(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let level = vm.optional_integer(args, 1, 1)? as i32;
    let value = vm.arg(args, 0);
    if !Vm::is_text(value) || level <= 0 {
        return Err(Throw::Error(value));
    }
    let mut text = vm.machine.prefix_at(i64::from(level));
    vm.write_text(value, &mut text);
    Err(vm.error(&text))
}

fn getmetatable(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let value = vm.check_any(args, 0)?;
    let Some(meta) = vm.metatable(value) else {
        return vm.result(Value::Nil);
    };
    let shown = vm.machine.event(meta, Event::Metatable);
    vm.result(if shown.is_nil() { Value::Table(meta) } else { shown })
}

fn setmetatable(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let meta = match vm.arg_or_none(args, 1) {
        Some(Value::Nil) => None,
        Some(Value::Table(meta)) => Some(meta),
        _ => return Err(vm.argument_error(1, b"nil or table expected")),
    };
    if !vm.metamethod(Value::Table(table), Event::Metatable).is_nil() {
        return Err(vm.library_error(b"cannot change a protected metatable"));
    }
    vm.check_writable(table)?;
    vm.machine.heap.table_mut(table).meta = meta;
    vm.result(Value::Table(table))
}

fn ipairs(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let step = Value::Native(vm.machine.steppers[1]);
    vm.push(step)?;
    vm.push(Value::Table(table))?;
    vm.push(Value::Number(0.0))?;
    Ok(3)
}

fn ipairs_step(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let index = vm.check_integer(args, 1)? as i32;
    let table = vm.check_table(args, 0)?;
    let index = Value::Number(f64::from(index.wrapping_add(1)));
    let value = vm.machine.heap.get(table, index);
    if value.is_nil() {
        return Ok(0);
    }
    vm.push(index)?;
    vm.push(value)?;
    Ok(2)
}

fn pairs(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let next = Value::Native(vm.machine.steppers[0]);
    vm.push(next)?;
    vm.push(Value::Table(table))?;
    vm.push(Value::Nil)?;
    Ok(3)
}

fn next(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let heap = &vm.machine.heap;
    let Some((key, value)) = heap.table(table).next(vm.arg(args, 1), &heap.meter) else {
        return Err(vm.runtime_error(b"invalid key to 'next'"));
    };
    vm.pay(0)?;
    vm.push(key)?;
    if key.is_nil() {
        return Ok(1);
    }
    vm.push(value)?;
    Ok(2)
}

fn pcall(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    vm.check_any(args, 0)?;
    match vm.call_protected(args.base, -1)? {
        Ok(()) => {
            let thread = vm.thread();
            thread.stack[args.base - 1] = Value::Boolean(true);
            Ok(thread.top - args.base + 1)
        }
        Err(value) => {
            vm.push(Value::Boolean(false))?;
            vm.push(value)?;
            Ok(2)
        }
    }
}

fn xpcall(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    vm.check_any(args, 1)?;
    // The handler moves below the function, and stays on the stack.
    let thread = vm.thread();
    let function = args.base + 1;
    thread.stack.swap(args.base, function);
    thread.top = function + 1;
    match vm.call_protected(function, -1)? {
        Ok(()) => {
            let thread = vm.thread();
            thread.stack[args.base] = Value::Boolean(true);
            Ok(thread.top - args.base)
        }
        Err(value) => {
            let handled = handle(vm, args.base, value)?;
            vm.thread().top = function;
            vm.push(Value::Boolean(false))?;
            vm.push(handled)?;
            Ok(2)
        }
    }
}

/// What the handler at a place makes of an error. Errors in the handler are handled by itself, until levels run out.
fn handle(vm: &mut Vm<'_>, handler: usize, value: Value) -> Outcome<Value> {
    let mut value = value;
    for _ in vm.machine.levels..vm.machine.limits.levels_max {
        let function = vm.thread().top;
        let callee = vm.thread().stack[handler];
        vm.push(callee)?;
        vm.push(value)?;
        match vm.call_protected(function, 1)? {
            Ok(()) => return Ok(vm.thread().stack[function]),
            Err(next) => value = next,
        }
    }
    vm.machine.heap.string(b"error in error handling")
}

fn rawequal(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let (left, right) = (vm.check_any(args, 0)?, vm.check_any(args, 1)?);
    vm.result(Value::Boolean(left == right))
}

fn rawget(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let key = vm.check_any(args, 1)?;
    let value = vm.machine.heap.get(table, key);
    vm.pay(0)?;
    vm.result(value)
}

fn rawset(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let (key, value) = (vm.check_any(args, 1)?, vm.check_any(args, 2)?);
    vm.raw_set(table, key, value)?;
    vm.pay(0)?;
    vm.result(Value::Table(table))
}

fn select(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let count = args.count as i64;
    if let Value::String(option) = vm.arg(args, 0)
        && vm.bytes(option).first() == Some(&b'#')
    {
        return vm.result(Value::Number((count - 1) as f64));
    }
    let index = i64::from(vm.check_integer(args, 0)? as i32);
    let index = if index < 0 { count + index } else { index.min(count) };
    if index < 1 {
        return Err(vm.argument_error(0, b"index out of range"));
    }
    Ok((count - index) as usize)
}

fn tonumber(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let base = vm.optional_integer(args, 1, 10)? as i32;
    if base == 10 {
        let value = vm.check_any(args, 0)?;
        let number = vm.to_number(value).map_or(Value::Nil, Value::Number);
        return vm.result(number);
    }
    let text = vm.check_string(args, 0)?;
    if !(2..=36).contains(&base) {
        return Err(vm.argument_error(1, b"base out of range"));
    }
    let number = parse_in_base(vm.bytes(text), base as u32);
    vm.result(number.map_or(Value::Nil, Value::Number))
}

fn tostring(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let value = vm.check_any(args, 0)?;
    let metamethod = vm.metamethod(value, Event::ToString);
    if !metamethod.is_nil() {
        let text = vm.call_for_one(metamethod, &[value])?;
        return vm.result(text);
    }
    let mut text = Vec::new();
    match value {
        Value::String(_) => return vm.result(value),
        Value::Number(number) => write_number(number, &mut text),
        Value::Nil => text.extend_from_slice(b"nil"),
        Value::Boolean(boolean) => text.extend_from_slice(if boolean { b"true" } else { b"false" }),
        Value::Light(0) => text.extend_from_slice(b"userdata: (nil)"),
        Value::Table(id) => text = address("table", id.0),
        Value::Closure(id) => text = address("function", id.0),
        Value::Native(id) => text = address("function", id.0 | 1 << 30),
        Value::Thread(id) => text = address("thread", id.0),
        Value::Light(id) => text = address("userdata", id),
    }
    vm.string_result(&text)
}

/// A handle as text. It takes the place of an address, and is the same in every run.
fn address(kind: &str, id: u32) -> Vec<u8> {
    format!("{kind}: 0x{:08x}", u64::from(id) + 1).into_bytes()
}

fn type_(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let name = vm.check_any(args, 0)?.type_name();
    vm.string_result(name.as_bytes())
}

fn unpack(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let start = i64::from(vm.optional_integer(args, 1, 1)? as i32);
    let end = if vm.arg(args, 2).is_nil() {
        vm.machine.length(table) as i64
    } else {
        i64::from(vm.check_integer(args, 2)? as i32)
    };
    if start > end {
        return Ok(0);
    }
    let count = end - start + 1;
    if count + args.count as i64 > UNPACKED_MAX || count >= i64::from(i32::MAX) {
        return Err(vm.library_error(b"too many results to unpack"));
    }
    vm.pay(count as usize / 4)?;
    for index in start..=end {
        let value = vm.machine.heap.get(table, Value::Number(index as f64));
        vm.push(value)?;
    }
    Ok(count as usize)
}

fn loadstring(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let source = vm.check_string(args, 0)?;
    let name = if vm.arg(args, 1).is_nil() {
        source
    } else {
        vm.check_string(args, 1)?
    };
    let (source, name) = (vm.bytes(source).to_vec(), vm.c_text(name).to_vec());
    compile(vm, &source, &name)
}

fn load(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let reader = vm.check_function(args, 0)?;
    let name = if vm.arg(args, 1).is_nil() {
        b"=(load)".to_vec()
    } else {
        let name = vm.check_string(args, 1)?;
        vm.c_text(name).to_vec()
    };
    let mut source = Vec::new();
    loop {
        let function = vm.thread().top;
        vm.push(reader)?;
        let end = vm.call_protected(function, 1)?;
        vm.thread().top = function;
        let piece = match end {
            Ok(()) => vm.thread().stack[function],
            Err(value) => {
                vm.push(Value::Nil)?;
                vm.push(value)?;
                return Ok(2);
            }
        };
        let length = source.len();
        match piece {
            Value::Nil => break,
            piece if Vm::is_text(piece) => vm.write_text(piece, &mut source),
            _ => {
                let Throw::Error(text) = vm.library_error(b"reader function must return a string") else {
                    return Ok(0);
                };
                vm.push(Value::Nil)?;
                vm.push(text)?;
                return Ok(2);
            }
        }
        if source.len() == length {
            break;
        }
        vm.machine.heap.meter.has_room(source.len())?;
    }
    compile(vm, &source, &name)
}

/// Compiles, and returns a function, or `nil` and an error text.
fn compile(vm: &mut Vm<'_>, source: &[u8], name: &[u8]) -> Outcome<usize> {
    // A compiled program takes some ten times the bytes of its text.
    vm.machine.heap.meter.has_room(source.len().saturating_mul(10))?;
    vm.pay(source.len())?;
    match Chunk::compile_at_level(source, name, vm.machine.levels) {
        Ok(chunk) => {
            let function = vm.machine.function(&chunk)?;
            vm.result(function)
        }
        Err(error) => {
            let text = match error {
                Error::Syntax(text) => text,
                _ => Vec::new(),
            };
            vm.push(Value::Nil)?;
            Ok(vm.string_result(&text)? + 1)
        }
    }
}
