//! `coroutine`

use alloc::vec::Vec;

use crate::{
    fault::{Outcome, Throw},
    machine::Machine,
    value::{ThreadId, Value},
    vm::{Args, Vm},
};

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    super::add_library(
        machine,
        "coroutine",
        &[
            ("create", create),
            ("resume", resume),
            ("running", running),
            ("status", status),
            ("wrap", wrap),
            ("yield", yield_),
        ],
    )
    .map(drop)
}

fn new_thread(vm: &mut Vm<'_>, args: Args) -> Outcome<ThreadId> {
    let function = vm.arg(args, 0);
    if !matches!(function, Value::Closure(_)) {
        return Err(vm.argument_error(0, b"Lua function expected"));
    }
    vm.new_thread(function)
}

fn create(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let thread = new_thread(vm, args)?;
    vm.result(Value::Thread(thread))
}

fn check_thread(vm: &mut Vm<'_>, args: Args) -> Outcome<ThreadId> {
    match vm.arg(args, 0) {
        Value::Thread(thread) => Ok(thread),
        _ => Err(vm.argument_error(0, b"coroutine expected")),
    }
}

fn resume(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let thread = check_thread(vm, args)?;
    let rest = Args {
        base: args.base + 1,
        count: args.count - 1,
    };
    vm.push(Value::Boolean(true))?;
    let place = vm.thread().top - 1;
    match vm.resume(thread, rest)? {
        Ok(count) => Ok(count + 1),
        Err(value) => {
            vm.thread().stack[place] = Value::Boolean(false);
            vm.push(value)?;
            Ok(2)
        }
    }
}

fn wrap(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let thread = new_thread(vm, args)?;
    let native = vm.machine.heap.new_native(call_wrapped, &[Value::Thread(thread)], 0)?;
    vm.result(Value::Native(native))
}

fn call_wrapped(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let Value::Thread(thread) = vm.state(args, 0) else {
        return Ok(0);
    };
    match vm.resume(thread, args)? {
        Ok(count) => Ok(count),
        Err(value) if Vm::is_text(value) => {
            let mut text: Vec<u8> = vm.machine.prefix_at(1);
            vm.write_text(value, &mut text);
            Err(vm.error(&text))
        }
        Err(value) => Err(Throw::Error(value)),
    }
}

fn running(vm: &mut Vm<'_>, _args: Args) -> Outcome<usize> {
    let running = vm.machine.running;
    let is_main = vm.machine.thread.resumer.is_none();
    vm.result(if is_main { Value::Nil } else { Value::Thread(running) })
}

fn status(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let thread = check_thread(vm, args)?;
    let name = vm.machine.thread_status(thread).name();
    vm.string_result(name.as_bytes())
}

fn yield_(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    vm.yield_values(args)
}
