//! Read-only globals.

use alloc::vec;

use crate::{
    fault::Outcome,
    machine::Machine,
    number::write_number,
    value::Value,
    vm::{Args, Vm},
};

/// Makes the globals and all tables that they refer to read-only. A global that does not exist is an error.
pub(crate) fn protect_globals(machine: &mut Machine) -> Outcome<()> {
    let meta = machine.heap.new_table(0, 1)?;
    let missing = machine.heap.new_native(missing, &[], 0)?;
    machine.heap.set_field(meta, b"__index", Value::Native(missing))?;
    machine.heap.table_mut(machine.globals).meta = Some(meta);
    let mut found = vec![machine.globals];
    found.extend(machine.string_meta);
    while let Some(id) = found.pop() {
        let table = machine.heap.table_mut(id);
        if table.is_readonly {
            continue;
        }
        table.is_readonly = true;
        found.extend(table.meta);
        let mut key = Value::Nil;
        while let Some((next, value)) = machine.next(id, key) {
            if let Value::Table(inner) = value {
                found.push(inner);
            }
            key = next;
        }
    }
    Ok(())
}

fn missing(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let mut text = b"Script attempted to access nonexistent global variable '".to_vec();
    match vm.arg(args, 1) {
        Value::String(name) => text.extend_from_slice(vm.bytes(name)),
        Value::Number(number) => write_number(number, &mut text),
        _ => {}
    }
    text.push(b'\'');
    Err(vm.library_error(&text))
}
