//! The libraries: functions in Rust that scripts call.

mod base;
mod bit;
pub(crate) mod cjson;
mod cmsgpack;
mod coroutine;
mod math;
mod os;
mod pattern;
mod protect;
mod string;
mod structs;
mod table;

use alloc::vec::Vec;

pub(crate) use math::Random;
pub(crate) use protect::protect_globals;

use crate::{
    fault::Outcome,
    machine::Machine,
    number::write_number,
    table::BadKey,
    value::{Str, TableId, Value},
    vm::{Args, NativeFunction, Vm},
};

/// A library that scripts of Redis have, beside those of Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// Operations on 32 bits: `bit`.
    Bit,
    /// JSON: `cjson`.
    Cjson,
    /// MessagePack: `cmsgpack`.
    Cmsgpack,
    /// Values to bytes: `struct`.
    Struct,
}

/// Puts the libraries of Lua into the globals.
pub(crate) fn open_standard(machine: &mut Machine) -> Outcome<()> {
    base::open(machine)?;
    coroutine::open(machine)?;
    math::open(machine)?;
    os::open(machine)?;
    string::open(machine)?;
    table::open(machine)
}

/// Puts one more library into the globals.
pub(crate) fn open(machine: &mut Machine, library: Library) -> Outcome<()> {
    match library {
        Library::Bit => bit::open(machine),
        Library::Cjson => cjson::open(machine),
        Library::Cmsgpack => cmsgpack::open(machine),
        Library::Struct => structs::open(machine),
    }
}

/// Puts functions into a table.
fn add(machine: &mut Machine, table: TableId, functions: &[(&str, NativeFunction)]) -> Outcome<()> {
    for (name, function) in functions {
        let native = machine.heap.new_native(*function, &[], 0)?;
        machine.heap.set_field(table, name.as_bytes(), Value::Native(native))?;
    }
    Ok(())
}

/// Puts a table with functions into the globals.
fn add_library(machine: &mut Machine, name: &str, functions: &[(&str, NativeFunction)]) -> Outcome<TableId> {
    let table = machine.heap.new_table(0, functions.len())?;
    add(machine, table, functions)?;
    machine
        .heap
        .set_field(machine.globals, name.as_bytes(), Value::Table(table))?;
    Ok(table)
}

/// A number as a 64-bit integer, as the processor converts it.
pub(crate) fn to_integer(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// Arguments of functions in Rust, checked as `luaL_check…` does.
impl Vm<'_> {
    /// An argument, from 0; `nil` if there are fewer.
    #[inline]
    pub(crate) fn arg(&self, args: Args, index: usize) -> Value {
        if index < args.count {
            self.machine.thread.stack[args.base + index]
        } else {
            Value::Nil
        }
    }

    /// An argument, or nothing if there are fewer.
    pub(crate) fn arg_or_none(&self, args: Args, index: usize) -> Option<Value> {
        (index < args.count).then(|| self.machine.thread.stack[args.base + index])
    }

    /// An argument that must be there, if only as `nil`.
    pub(crate) fn check_any(&mut self, args: Args, index: usize) -> Outcome<Value> {
        match self.arg_or_none(args, index) {
            Some(value) => Ok(value),
            None => Err(self.argument_error(index, b"value expected")),
        }
    }

    pub(crate) fn check_table(&mut self, args: Args, index: usize) -> Outcome<TableId> {
        match self.arg(args, index) {
            Value::Table(table) => Ok(table),
            _ => Err(self.argument_type_error(args, index, "table")),
        }
    }

    pub(crate) fn check_function(&mut self, args: Args, index: usize) -> Outcome<Value> {
        let value = self.arg(args, index);
        if value.is_function() {
            Ok(value)
        } else {
            Err(self.argument_type_error(args, index, "function"))
        }
    }

    #[inline]
    pub(crate) fn check_number(&mut self, args: Args, index: usize) -> Outcome<f64> {
        match self.arg(args, index) {
            Value::Number(number) => Ok(number),
            value => match self.to_number(value) {
                Some(number) => Ok(number),
                None => Err(self.argument_type_error(args, index, "number")),
            },
        }
    }

    #[inline]
    pub(crate) fn check_integer(&mut self, args: Args, index: usize) -> Outcome<i64> {
        self.check_number(args, index).map(to_integer)
    }

    pub(crate) fn optional_integer(&mut self, args: Args, index: usize, default: i64) -> Outcome<i64> {
        if self.arg(args, index).is_nil() {
            Ok(default)
        } else {
            self.check_integer(args, index)
        }
    }

    /// An argument that is a string or a number. A number becomes a string, in its place on the stack too.
    #[inline]
    pub(crate) fn check_string(&mut self, args: Args, index: usize) -> Outcome<Str> {
        match self.arg(args, index) {
            Value::String(string) => Ok(string),
            Value::Number(number) => {
                let mut text = Vec::new();
                write_number(number, &mut text);
                let string = self.machine.heap.string(&text)?;
                self.machine.thread.stack[args.base + index] = string;
                self.check_string(args, index)
            }
            _ => Err(self.argument_type_error(args, index, "string")),
        }
    }

    /// The bytes of a string.
    #[inline]
    pub(crate) fn bytes(&self, string: Str) -> &[u8] {
        self.machine.heap.bytes(string)
    }

    /// The bytes of a string up to the first byte 0, which is where it ends for C.
    pub(crate) fn c_text(&self, string: Str) -> &[u8] {
        let bytes = self.bytes(string);
        &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
    }

    /// What the function in Rust that is running keeps from call to call.
    pub(crate) fn state(&self, args: Args, index: usize) -> Value {
        match self.machine.thread.stack[args.base - 1] {
            Value::Native(native) => self
                .machine
                .heap
                .native(native)
                .state
                .get(index)
                .copied()
                .unwrap_or_default(),
            _ => Value::Nil,
        }
    }

    /// Changes what the function in Rust that is running keeps.
    pub(crate) fn set_state(&mut self, args: Args, index: usize, value: Value) {
        if let Value::Native(native) = self.machine.thread.stack[args.base - 1]
            && let Some(place) = self.machine.heap.natives.slots[native.0 as usize].state.get_mut(index)
        {
            *place = value;
        }
    }

    /// An error if a table is read-only.
    pub(crate) fn check_writable(&mut self, table: TableId) -> Outcome<()> {
        if self.machine.heap.table(table).is_readonly {
            return Err(self.runtime_error(b"Attempt to modify a readonly table"));
        }
        Ok(())
    }

    /// Sets a key without metamethods.
    pub(crate) fn raw_set(&mut self, table: TableId, key: Value, value: Value) -> Outcome<()> {
        self.check_writable(table)?;
        let heap = &mut self.machine.heap;
        match heap.tables.slots[table.0 as usize].entry(key, &mut heap.meter)? {
            Ok(place) => {
                *place = value;
                Ok(())
            }
            Err(BadKey::Nil) => Err(self.runtime_error(b"table index is nil")),
            Err(BadKey::Nan) => Err(self.runtime_error(b"table index is NaN")),
        }
    }

    /// Returns a string from a function in Rust.
    pub(crate) fn string_result(&mut self, bytes: &[u8]) -> Outcome<usize> {
        let string = self.machine.heap.string(bytes)?;
        self.result(string)
    }

    /// Pays for work inside a function in Rust.
    #[inline]
    pub(crate) fn pay(&mut self, steps: usize) -> Outcome<()> {
        self.machine.heap.meter.pay(steps as u64)
    }
}
