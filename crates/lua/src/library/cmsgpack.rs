//! `cmsgpack`: MessagePack, as lua-cmsgpack 0.4 does it.

use alloc::{format, vec::Vec};

use crate::{
    fault::{Outcome, Throw},
    machine::Machine,
    value::{TableId, Value, as_index},
    vm::{Args, Vm},
};

/// Tables nested deeper are packed as nil.
const PACKED_DEPTH_MAX: usize = 16;
/// How deep arrays and maps may nest when they are unpacked.
const UNPACKED_DEPTH_MAX: usize = 1000;
/// How many values can be unpacked at once.
const VALUES_MAX: usize = 7900;

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    let table = super::add_library(
        machine,
        "cmsgpack",
        &[
            ("pack", pack),
            ("unpack", |vm, args| unpack(vm, args, 0, 0)),
            ("unpack_limit", unpack_limit),
            ("unpack_one", unpack_one),
        ],
    )?;
    for (name, value) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        let value = machine.heap.string(value.as_bytes())?;
        machine.heap.set_field(table, name.as_bytes(), value)?;
    }
    Ok(())
}

fn pack(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    if args.count == 0 {
        return Err(vm.argument_error(usize::MAX, b"MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for index in 0..args.count {
        pack_value(vm, vm.arg(args, index), 0, &mut out)?;
    }
    vm.pay(0)?;
    let value = vm.machine.heap.string_vec(out)?;
    vm.result(value)
}

fn pack_value(vm: &mut Vm<'_>, value: Value, depth: usize, out: &mut Vec<u8>) -> Outcome<()> {
    vm.machine.heap.meter.owe(1);
    vm.machine.heap.meter.has_room(out.len())?;
    match value {
        Value::String(string) => {
            let bytes = vm.bytes(string);
            header(bytes.len(), (0xA0, 32), Some(0xD9), 0xDA, out);
            out.extend_from_slice(bytes);
        }
        Value::Number(number) => pack_number(number, out),
        Value::Boolean(boolean) => out.push(0xC2 + u8::from(boolean)),
        Value::Table(table) if depth < PACKED_DEPTH_MAX => pack_table(vm, table, depth, out)?,
        _ => out.push(0xC0),
    }
    Ok(())
}

/// The byte or bytes that say a length.
fn header(length: usize, (short, below): (u8, usize), one_byte: Option<u8>, two_bytes: u8, out: &mut Vec<u8>) {
    if length < below {
        out.push(short | length as u8);
        return;
    }
    if let (Some(code), Ok(length)) = (one_byte, u8::try_from(length)) {
        out.extend_from_slice(&[code, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(two_bytes);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(two_bytes + 1);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

fn pack_number(number: f64, out: &mut Vec<u8>) {
    let integer = super::to_integer(number);
    if integer as f64 != number {
        let short = number as f32;
        if f64::from(short) == number {
            out.push(0xCA);
            out.extend_from_slice(&short.to_be_bytes());
        } else {
            out.push(0xCB);
            out.extend_from_slice(&number.to_be_bytes());
        }
        return;
    }
    let bytes = integer.to_be_bytes();
    let (code, length) = match integer {
        -32..=127 => {
            out.push(integer as u8);
            return;
        }
        128..=0xFF => (0xCC, 1),
        0x100..=0xFFFF => (0xCD, 2),
        0x1_0000..=0xFFFF_FFFF => (0xCE, 4),
        0x1_0000_0000.. => (0xCF, 8),
        -0x80..-32 => (0xD0, 1),
        -0x8000..-0x80 => (0xD1, 2),
        -0x8000_0000..-0x8000 => (0xD2, 4),
        _ => (0xD3, 8),
    };
    out.push(code);
    out.extend_from_slice(&bytes[8 - length..]);
}

fn pack_table(vm: &mut Vm<'_>, table: TableId, depth: usize, out: &mut Vec<u8>) -> Outcome<()> {
    let (is_array, count) = shape(vm, table);
    if is_array {
        let length = vm.machine.length(table);
        header(length, (0x90, 16), None, 0xDC, out);
        for index in 1..=length {
            let value = vm.machine.heap.get(table, Value::Number(index as f64));
            pack_value(vm, value, depth + 1, out)?;
        }
        return Ok(());
    }
    header(count, (0x80, 16), None, 0xDE, out);
    let mut place = 0;
    while let Some((found, key, value)) = vm.machine.heap.table(table).first_from(place, &vm.machine.heap.meter) {
        pack_value(vm, key, depth + 1, out)?;
        pack_value(vm, value, depth + 1, out)?;
        place = found + 1;
    }
    Ok(())
}

/// Whether the keys are 1 to n, and how many there are.
fn shape(vm: &Vm<'_>, table: TableId) -> (bool, usize) {
    let heap = &vm.machine.heap;
    let (mut count, mut max, mut is_array) = (0, 0, true);
    let mut place = 0;
    while let Some((found, key, _)) = heap.table(table).first_from(place, &heap.meter) {
        match key {
            Value::Number(number)
                if let Some(index) = as_index(number)
                    && index > 0 =>
            {
                max = max.max(index as usize);
            }
            _ => is_array = false,
        }
        count += 1;
        place = found + 1;
    }
    heap.meter.owe(count as u64);
    (is_array && max == count, count)
}

fn unpack_one(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let offset = vm.optional_integer(args, 1, 0)? as i32;
    unpack(vm, args, 1, offset)
}

fn unpack_limit(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let limit = vm.check_integer(args, 1)? as i32;
    let offset = vm.optional_integer(args, 2, 0)? as i32;
    unpack(vm, args, limit, offset)
}

/// Unpacks up to `limit` values from `offset` on, and returns the offset behind them first. Without a limit and an
/// offset all values are unpacked.
fn unpack(vm: &mut Vm<'_>, args: Args, limit: i32, offset: i32) -> Outcome<usize> {
    let string = vm.check_string(args, 0)?;
    let length = vm.bytes(string).len();
    if offset < 0 || limit < 0 {
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {length}.");
        return Err(vm.library_error(text.as_bytes()));
    }
    let (limit, offset) = (limit as usize, offset as usize);
    if offset > length {
        let text = format!("Start offset {offset} greater than input length {length}.");
        return Err(vm.library_error(text.as_bytes()));
    }
    let is_all = limit == 0 && offset == 0;
    let bytes = vm.bytes(string).to_vec();
    vm.pay(bytes.len() / 4)?;
    let mut reader = Reader {
        bytes: &bytes,
        at: offset,
    };
    let mut count = 0;
    if !is_all {
        vm.push(Value::Nil)?;
    }
    let first = vm.thread().top;
    while reader.at < length && (is_all || count < limit) {
        if count >= VALUES_MAX {
            let text = b"stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
            return Err(vm.library_error(text));
        }
        let value = reader.value(vm, 0)?;
        vm.push(value)?;
        count += 1;
    }
    if is_all {
        return Ok(count);
    }
    let next = if reader.at == length { -1.0 } else { reader.at as f64 };
    vm.thread().stack[first - 1] = Value::Number(next);
    Ok(count + 1)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self, vm: &mut Vm<'_>) -> Outcome<[u8; N]> {
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(missing(vm)),
        }
    }

    fn byte(&mut self, vm: &mut Vm<'_>) -> Outcome<u8> {
        self.take::<1>(vm).map(|[byte]| byte)
    }

    fn short(&mut self, vm: &mut Vm<'_>) -> Outcome<u16> {
        self.take(vm).map(u16::from_be_bytes)
    }

    fn long(&mut self, vm: &mut Vm<'_>) -> Outcome<u32> {
        self.take(vm).map(u32::from_be_bytes)
    }

    fn value(&mut self, vm: &mut Vm<'_>, depth: usize) -> Outcome<Value> {
        let code = self.byte(vm)?;
        let number = match code {
            0x00..=0x7F => f64::from(code),
            0xE0..=0xFF => f64::from(code as i8),
            0xC0 => return Ok(Value::Nil),
            0xC2 => return Ok(Value::Boolean(false)),
            0xC3 => return Ok(Value::Boolean(true)),
            0xCA => f64::from(f32::from_be_bytes(self.take(vm)?)),
            0xCB => f64::from_be_bytes(self.take(vm)?),
            0xCC => f64::from(self.byte(vm)?),
            0xCD => f64::from(self.short(vm)?),
            0xCE => f64::from(self.long(vm)?),
            // Redis reads unsigned integers of 64 bits as signed ones.
            0xCF => i64::from_be_bytes(self.take(vm)?) as f64,
            0xD0 => f64::from(self.byte(vm)? as i8),
            0xD1 => f64::from(self.short(vm)? as i16),
            0xD2 => f64::from(self.long(vm)? as i32),
            0xD3 => i64::from_be_bytes(self.take(vm)?) as f64,
            0xA0..=0xBF => return self.string(vm, usize::from(code & 31)),
            0xD9 => {
                let length = self.byte(vm)?;
                return self.string(vm, usize::from(length));
            }
            0xDA => {
                let length = self.short(vm)?;
                return self.string(vm, usize::from(length));
            }
            0xDB => {
                let length = self.long(vm)?;
                return self.string(vm, length as usize);
            }
            0x90..=0x9F => return self.array(vm, usize::from(code & 15), depth),
            0xDC => {
                let length = self.short(vm)?;
                return self.array(vm, usize::from(length), depth);
            }
            0xDD => {
                let length = self.long(vm)?;
                return self.array(vm, length as usize, depth);
            }
            0x80..=0x8F => return self.map(vm, usize::from(code & 15), depth),
            0xDE => {
                let length = self.short(vm)?;
                return self.map(vm, usize::from(length), depth);
            }
            0xDF => {
                let length = self.long(vm)?;
                return self.map(vm, length as usize, depth);
            }
            _ => return Err(vm.library_error(b"Bad data format in input.")),
        };
        Ok(Value::Number(number))
    }

    fn string(&mut self, vm: &mut Vm<'_>, length: usize) -> Outcome<Value> {
        let Some(bytes) = self.bytes[self.at..].get(..length) else {
            return Err(missing(vm));
        };
        self.at += length;
        vm.machine.heap.string(bytes)
    }

    fn array(&mut self, vm: &mut Vm<'_>, length: usize, depth: usize) -> Outcome<Value> {
        if depth >= UNPACKED_DEPTH_MAX {
            return Err(vm.library_error(b"stack overflow (in function mp_decode_to_lua_array)"));
        }
        let table = vm.machine.heap.new_table(0, 0)?;
        for index in 1..=length {
            let value = self.value(vm, depth + 1)?;
            vm.machine.heap.set_index(table, index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, vm: &mut Vm<'_>, length: usize, depth: usize) -> Outcome<Value> {
        if depth >= UNPACKED_DEPTH_MAX {
            return Err(vm.library_error(b"stack overflow (in function mp_decode_to_lua_hash)"));
        }
        let table = vm.machine.heap.new_table(0, 0)?;
        for _ in 0..length {
            let key = self.value(vm, depth + 1)?;
            let value = self.value(vm, depth + 1)?;
            vm.raw_set(table, key, value)?;
        }
        Ok(Value::Table(table))
    }
}

fn missing(vm: &mut Vm<'_>) -> Throw {
    vm.library_error(b"Missing bytes in input.")
}
