//! `table`

mod sort;

use alloc::{format, vec::Vec};

use crate::{
    fault::Outcome,
    machine::Machine,
    value::{TableId, Value},
    vm::{Args, Vm},
};

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    super::add_library(
        machine,
        "table",
        &[
            ("concat", concat),
            ("foreach", foreach),
            ("foreachi", foreachi),
            ("getn", getn),
            ("insert", insert),
            ("maxn", maxn),
            ("remove", remove),
            ("setn", setn),
            ("sort", sort::sort),
        ],
    )
    .map(drop)
}

fn at(vm: &Vm<'_>, table: TableId, index: i64) -> Value {
    vm.machine.heap.get(table, Value::Number(index as f64))
}

fn put(vm: &mut Vm<'_>, table: TableId, index: i64, value: Value) -> Outcome<()> {
    vm.check_writable(table)?;
    if let Ok(index) = usize::try_from(index) {
        return vm.machine.heap.set_index(table, index, value);
    }
    vm.machine.heap.set(table, Value::Number(index as f64), value)
}

fn concat(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let separator = if vm.arg(args, 1).is_nil() {
        Vec::new()
    } else {
        let separator = vm.check_string(args, 1)?;
        vm.bytes(separator).to_vec()
    };
    let table = vm.check_table(args, 0)?;
    let first = i64::from(vm.optional_integer(args, 2, 1)? as i32);
    let last = if vm.arg(args, 3).is_nil() {
        vm.machine.length(table) as i64
    } else {
        i64::from(vm.check_integer(args, 3)? as i32)
    };
    let mut out = Vec::new();
    for index in first..=last {
        let value = at(vm, table, index);
        if !Vm::is_text(value) {
            let name = value.type_name();
            let text = format!("invalid value ({name}) at index {index} in table for 'concat'");
            return Err(vm.library_error(text.as_bytes()));
        }
        vm.write_text(value, &mut out);
        if index < last {
            out.extend_from_slice(&separator);
        }
        vm.machine.heap.meter.owe(1);
        vm.machine.heap.meter.has_room(out.len())?;
    }
    vm.pay(0)?;
    let value = vm.machine.heap.string_vec(out)?;
    vm.result(value)
}

fn foreach(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let function = vm.check_function(args, 1)?;
    let mut key = Value::Nil;
    // The key stays on the stack, where a collection sees it.
    vm.push(key)?;
    let place = vm.thread().top - 1;
    loop {
        let heap = &vm.machine.heap;
        let Some((next, value)) = heap.table(table).next(key, &heap.meter) else {
            return Err(vm.runtime_error(b"invalid key to 'next'"));
        };
        if next.is_nil() {
            return Ok(0);
        }
        key = next;
        vm.thread().stack[place] = key;
        let result = vm.call_for_one(function, &[key, value])?;
        if !result.is_nil() {
            return vm.result(result);
        }
    }
}

fn foreachi(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let length = vm.machine.length(table) as i64;
    let function = vm.check_function(args, 1)?;
    for index in 1..=length {
        let value = at(vm, table, index);
        let result = vm.call_for_one(function, &[Value::Number(index as f64), value])?;
        if !result.is_nil() {
            return vm.result(result);
        }
    }
    Ok(0)
}

fn getn(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let length = vm.machine.length(table);
    vm.result(Value::Number(length as f64))
}

fn insert(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let mut end = vm.machine.length(table) as i64 + 1;
    let position = match args.count {
        2 => end,
        3 => {
            let position = i64::from(vm.check_integer(args, 1)? as i32);
            end = end.max(position);
            vm.pay((end - position) as usize / 4)?;
            for index in (position + 1..=end).rev() {
                let value = at(vm, table, index - 1);
                put(vm, table, index, value)?;
            }
            position
        }
        _ => return Err(vm.library_error(b"wrong number of arguments to 'insert'")),
    };
    let value = vm.arg(args, args.count - 1);
    put(vm, table, position, value)?;
    Ok(0)
}

fn maxn(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let (array, nodes) = {
        let table = vm.machine.heap.table(table);
        (table.array.len(), table.nodes.len())
    };
    vm.pay((array + nodes) / 4)?;
    let mut largest = 0.0;
    let mut place = 0;
    let heap = &vm.machine.heap;
    while let Some((found, key, _)) = heap.table(table).first_from(place, &heap.meter) {
        if let Value::Number(key) = key
            && key > largest
        {
            largest = key;
        }
        place = found + 1;
    }
    vm.result(Value::Number(largest))
}

fn remove(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let table = vm.check_table(args, 0)?;
    let end = vm.machine.length(table) as i64;
    let position = i64::from(vm.optional_integer(args, 1, end)? as i32);
    if !(1..=end).contains(&position) {
        return Ok(0);
    }
    let removed = at(vm, table, position);
    vm.push(removed)?;
    vm.pay((end - position) as usize / 4)?;
    for index in position..end {
        let value = at(vm, table, index + 1);
        put(vm, table, index, value)?;
    }
    put(vm, table, end, Value::Nil)?;
    Ok(1)
}

fn setn(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    vm.check_table(args, 0)?;
    Err(vm.library_error(b"'setn' is obsolete"))
}
