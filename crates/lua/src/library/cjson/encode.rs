//! Values to JSON. Nested tables are kept in a list, so that depth takes no native stack.

use alloc::{format, vec::Vec};

use super::Settings;
use crate::{
    arithmetic::floor,
    fault::{Outcome, Throw},
    number::general,
    value::{Str, TableId, Value},
    vm::{Args, Vm},
};

/// A table that is half written.
enum Open {
    /// The index written last, and the last one that there is.
    Array(TableId, usize, usize),
    /// The key written last.
    Object(TableId, Value),
}

pub(super) fn encode(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    if args.count != 1 {
        return Err(vm.argument_error(0, b"expected 1 argument"));
    }
    let settings = vm.machine.cjson;
    let mut out = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut next = Some(vm.arg(args, 0));
    loop {
        vm.machine.heap.meter.owe(1);
        vm.machine
            .heap
            .meter
            .has_room(out.len() + open.len() * size_of::<Open>())?;
        if let Some(value) = next.take() {
            open.extend(write(vm, value, &settings, open.len(), &mut out)?);
        }
        next = match open.last_mut() {
            None => break,
            Some(Open::Array(table, index, last)) => {
                if *index == *last {
                    out.push(b']');
                    None
                } else {
                    if *index > 0 {
                        out.push(b',');
                    }
                    *index += 1;
                    Some(vm.machine.heap.get(*table, Value::Number(*index as f64)))
                }
            }
            Some(Open::Object(table, key)) => {
                let heap = &vm.machine.heap;
                let found = heap
                    .table(*table)
                    .next(*key, &heap.meter)
                    .filter(|(key, _)| !key.is_nil());
                match found {
                    None => {
                        out.push(b'}');
                        None
                    }
                    Some((found, value)) => {
                        if !key.is_nil() {
                            out.push(b',');
                        }
                        *key = found;
                        write_key(vm, found, &settings, &mut out)?;
                        Some(value)
                    }
                }
            }
        };
        if next.is_none() {
            open.pop();
        }
    }
    vm.pay(0)?;
    let value = vm.machine.heap.string_vec(out)?;
    vm.result(value)
}

fn failure(vm: &mut Vm<'_>, value: Value, why: &str) -> Throw {
    let text = format!("Cannot serialise {}: {why}", value.type_name());
    vm.library_error(text.as_bytes())
}

/// Writes a value, or the beginning of a table at this depth, which is then open.
fn write(vm: &mut Vm<'_>, value: Value, settings: &Settings, depth: usize, out: &mut Vec<u8>) -> Outcome<Option<Open>> {
    match value {
        Value::String(string) => write_string(vm, string, out),
        Value::Number(number) => write_number(vm, number, settings, out)?,
        Value::Boolean(boolean) => out.extend_from_slice(if boolean { b"true" } else { b"false" }),
        Value::Nil | Value::Light(0) => out.extend_from_slice(b"null"),
        Value::Table(table) => {
            let depth = depth + 1;
            if depth > settings.encode_depth_max as usize {
                let text = format!("Cannot serialise, excessive nesting ({depth})");
                return Err(vm.library_error(text.as_bytes()));
            }
            return Ok(Some(match array_length(vm, table, settings)? {
                Some(length) if length > 0 => {
                    out.push(b'[');
                    Open::Array(table, 0, length)
                }
                _ => {
                    out.push(b'{');
                    Open::Object(table, Value::Nil)
                }
            }));
        }
        other => return Err(failure(vm, other, "type not supported")),
    }
    Ok(None)
}

/// The largest index of a table that has only indices, unless it is too sparse for an array.
fn array_length(vm: &mut Vm<'_>, table: TableId, settings: &Settings) -> Outcome<Option<usize>> {
    let (mut max, mut items) = (0.0_f64, 0.0_f64);
    let mut place = 0;
    let heap = &vm.machine.heap;
    while let Some((found, key, _)) = heap.table(table).first_from(place, &heap.meter) {
        let Value::Number(index) = key else { return Ok(None) };
        if index < 1.0 || floor(index) != index {
            return Ok(None);
        }
        max = max.max(index);
        items += 1.0;
        place = found + 1;
    }
    heap.meter.owe(items as u64);
    let ratio = f64::from(settings.sparse_ratio);
    if ratio > 0.0 && max > items * ratio && max > f64::from(settings.sparse_safe) {
        if !settings.sparse_convert {
            return Err(failure(vm, Value::Table(table), "excessively sparse array"));
        }
        return Ok(None);
    }
    Ok(Some(max as usize))
}

fn write_key(vm: &mut Vm<'_>, key: Value, settings: &Settings, out: &mut Vec<u8>) -> Outcome<()> {
    match key {
        Value::Number(number) => {
            out.push(b'"');
            write_number(vm, number, settings, out)?;
            out.push(b'"');
        }
        Value::String(string) => write_string(vm, string, out),
        other => return Err(failure(vm, other, "table key must be a number or string")),
    }
    out.push(b':');
    Ok(())
}

fn write_number(vm: &mut Vm<'_>, number: f64, settings: &Settings, out: &mut Vec<u8>) -> Outcome<()> {
    match settings.encode_invalid {
        _ if number.is_finite() => {}
        0 => return Err(failure(vm, Value::Number(number), "must not be NaN or Inf")),
        1 if number.is_nan() => {
            out.extend_from_slice(b"nan");
            return Ok(());
        }
        1 => {}
        _ => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
    }
    if settings.precision == 14 {
        crate::number::write_number(number, out);
    } else {
        out.extend_from_slice(general(number, settings.precision as usize, false).as_bytes());
    }
    Ok(())
}

fn write_string(vm: &Vm<'_>, string: Str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = vm.bytes(string);
    vm.machine.heap.meter.owe_bytes(bytes.len() * 4);
    for byte in bytes {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'/' => b"\\/",
            0x08 => b"\\b",
            0x0C => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 | 0x7F => {
                out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(short);
    }
    out.push(b'"');
}
