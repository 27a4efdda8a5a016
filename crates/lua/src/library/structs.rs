//! `struct`: values to bytes and back by a format, as the struct library of Redis does it.

use alloc::{format, vec::Vec};

use crate::{
    fault::Outcome,
    library::to_integer,
    machine::Machine,
    value::Value,
    vm::{Args, Vm},
};

/// The largest integer, in bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// What `!` alone aligns to.
const ALIGN_DEFAULT: usize = 8;

/// A format under way.
struct Format {
    text: Vec<u8>,
    at: usize,
    is_big_endian: bool,
    align: usize,
}

pub(super) fn open(machine: &mut Machine) -> Outcome<()> {
    super::add_library(machine, "struct", &[("pack", pack), ("size", size), ("unpack", unpack)]).map(drop)
}

impl Format {
    fn new(vm: &mut Vm<'_>, args: Args) -> Outcome<Self> {
        let format = vm.check_string(args, 0)?;
        Ok(Self {
            text: vm.c_text(format).to_vec(),
            at: 0,
            is_big_endian: false,
            align: 1,
        })
    }

    /// The next option and the size that it has by itself.
    fn next(&mut self, vm: &mut Vm<'_>) -> Outcome<Option<(u8, usize)>> {
        let Some(option) = self.text.get(self.at).copied() else {
            return Ok(None);
        };
        self.at += 1;
        vm.machine.heap.meter.owe(2);
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'f' => 4,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'c' => self.number(vm, 1)?,
            b'i' | b'I' => {
                let size = self.number(vm, 4)?;
                if size > INTEGER_BYTES_MAX {
                    let text = format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}");
                    return Err(vm.library_error(text.as_bytes()));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    fn number(&mut self, vm: &mut Vm<'_>, default: usize) -> Outcome<usize> {
        let mut number = None;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.at) {
            let next = number.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if next > i32::MAX as usize {
                return Err(vm.library_error(b"integral size overflow"));
            }
            number = Some(next);
            self.at += 1;
        }
        Ok(number.unwrap_or(default))
    }

    /// How many bytes stand before a value, so that it is aligned.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(at & size.wrapping_sub(1)) & size.wrapping_sub(1)
    }

    /// An option that is not a value.
    fn control(&mut self, vm: &mut Vm<'_>, option: u8) -> Outcome<()> {
        match option {
            b' ' => {}
            b'>' => self.is_big_endian = true,
            b'<' => self.is_big_endian = false,
            b'!' => {
                let align = self.number(vm, ALIGN_DEFAULT)?;
                if !align.is_power_of_two() {
                    let text = format!("alignment {align} is not a power of 2");
                    return Err(vm.library_error(text.as_bytes()));
                }
                self.align = align;
            }
            _ => {
                let text = [b"invalid format option '", &[option][..], b"'"].concat();
                return Err(vm.argument_error(0, &text));
            }
        }
        Ok(())
    }

    /// Bytes in the order that the format asks for, from those with the lowest first.
    fn ordered(&self, bytes: &mut [u8]) {
        if self.is_big_endian {
            bytes.reverse();
        }
    }
}

fn pack(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let mut format = Format::new(vm, args)?;
    // Behind the last argument the library sees one that is nil.
    vm.push(Value::Nil)?;
    let args = Args {
        count: args.count + 1,
        ..args
    };
    let mut out = Vec::new();
    let mut index = 1;
    while let Some((option, size)) = format.next(vm)? {
        let padding = format.padding(out.len(), option, size);
        out.resize(out.len() + padding, 0);
        vm.machine.heap.meter.has_room(out.len())?;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let number = vm.check_number(args, index)?;
                let integer = if number < 0.0 {
                    to_integer(number) as u64
                } else {
                    number as u64
                };
                let mut bytes = [0; INTEGER_BYTES_MAX];
                bytes[..8].copy_from_slice(&integer.to_le_bytes());
                format.ordered(&mut bytes[..size]);
                out.extend_from_slice(&bytes[..size]);
                index += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let mut bytes = (vm.check_number(args, index)? as f32).to_le_bytes();
                format.ordered(&mut bytes);
                out.extend_from_slice(&bytes);
                index += 1;
            }
            b'd' => {
                let mut bytes = vm.check_number(args, index)?.to_le_bytes();
                format.ordered(&mut bytes);
                out.extend_from_slice(&bytes);
                index += 1;
            }
            b'c' | b's' => {
                let string = vm.check_string(args, index)?;
                index += 1;
                let length = vm.bytes(string).len();
                let size = if size == 0 { length } else { size };
                if length < size {
                    return Err(vm.argument_error(index, b"string too short"));
                }
                out.extend_from_slice(&vm.bytes(string)[..size]);
                out.extend((option == b's').then_some(0));
            }
            _ => format.control(vm, option)?,
        }
    }
    vm.pay(0)?;
    vm.string_result(&out)
}

fn unpack(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let mut format = Format::new(vm, args)?;
    let data = vm.check_string(args, 1)?;
    let data = vm.bytes(data).to_vec();
    vm.pay(data.len() / 32)?;
    let position = vm.optional_integer(args, 2, 1)?;
    if position == 0 {
        return Err(vm.argument_error(2, b"offset must be 1 or greater"));
    }
    let mut at = (position - 1) as usize;
    let mut count = 0;
    while let Some((option, size)) = format.next(vm)? {
        at = at.wrapping_add(format.padding(at, option, size));
        let mut size = size;
        check_room(vm, &data, at, size)?;
        if count > 7900 {
            return Err(vm.library_error(b"stack overflow (too many results)"));
        }
        let value = match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let mut bytes = data[at..at + size].to_vec();
                format.ordered(&mut bytes);
                Some(Value::Number(integer(&bytes, option.is_ascii_lowercase())))
            }
            b'f' => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(&data[at..at + 4]);
                format.ordered(&mut bytes);
                Some(Value::Number(f64::from(f32::from_le_bytes(bytes))))
            }
            b'd' => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&data[at..at + 8]);
                format.ordered(&mut bytes);
                Some(Value::Number(f64::from_le_bytes(bytes)))
            }
            b'c' => {
                if size == 0 {
                    let last = if count == 0 {
                        Value::Nil
                    } else {
                        vm.machine.thread.stack[vm.machine.thread.top - 1]
                    };
                    let Some(length) = vm.to_number(last) else {
                        return Err(vm.library_error(b"format 'c0' needs a previous size"));
                    };
                    vm.thread().top -= 1;
                    count -= 1;
                    size = length as usize;
                    check_room(vm, &data, at, size)?;
                }
                Some(vm.machine.heap.string(&data[at..at + size])?)
            }
            b's' => {
                let Some(length) = memchr::memchr(0, &data[at..]) else {
                    return Err(vm.library_error(b"unfinished string in data"));
                };
                size = length + 1;
                Some(vm.machine.heap.string(&data[at..at + length])?)
            }
            b'x' => None,
            _ => {
                format.control(vm, option)?;
                None
            }
        };
        if let Some(value) = value {
            vm.push(value)?;
            count += 1;
        }
        at += size;
    }
    vm.pay(0)?;
    vm.push(Value::Number(at.wrapping_add(1) as f64))?;
    Ok(count + 1)
}

fn check_room(vm: &mut Vm<'_>, data: &[u8], at: usize, size: usize) -> Outcome<()> {
    if size <= data.len() && at <= data.len() - size {
        return Ok(());
    }
    Err(vm.argument_error(1, b"data string too short"))
}

/// The integer in bytes with the lowest first. Only the lowest 64 bits count.
fn integer(bytes: &[u8], is_signed: bool) -> f64 {
    let mut low = [0; 8];
    let length = bytes.len().min(8);
    low[..length].copy_from_slice(&bytes[..length]);
    let integer = u64::from_le_bytes(low);
    if !is_signed {
        return integer as f64;
    }
    let mask = u64::MAX.wrapping_shl((bytes.len() as u32 * 8).wrapping_sub(1));
    (if integer & mask == 0 { integer } else { integer | mask }) as i64 as f64
}

fn size(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let mut format = Format::new(vm, args)?;
    let mut at: usize = 0;
    while let Some((option, size)) = format.next(vm)? {
        at += format.padding(at, option, size);
        if option == b's' {
            return Err(vm.argument_error(0, b"option 's' has no fixed size"));
        }
        if option == b'c' && size == 0 {
            return Err(vm.argument_error(0, b"option 'c0' has no fixed size"));
        }
        if !option.is_ascii_alphanumeric() {
            format.control(vm, option)?;
        }
        at += size;
    }
    vm.result(Value::Number(at as f64))
}
