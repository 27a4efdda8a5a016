//! `string.format`: the conversions of C's `printf` that Lua has.

use alloc::{format, string::String, vec::Vec};

use crate::{
    fault::Outcome,
    library::to_integer,
    number::{fixed, general, scientific},
    value::Str,
    vm::{Args, Vm},
};

/// How many flags a conversion may have.
const FLAGS_MAX: usize = 5;
/// A string at least as long is not padded or cut if no precision is given.
const LONG: usize = 100;

/// What stands between `%` and the letter.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    blank: bool,
    alternate: bool,
    zeros: bool,
    width: usize,
    precision: Option<usize>,
}

pub(super) fn format(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let template = vm.check_string(args, 0)?;
    let template = vm.bytes(template).to_vec();
    let mut out = Vec::new();
    let mut rest = &template[..];
    let mut index = 0;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        if let Some((b'%', behind)) = rest.split_first() {
            rest = behind;
            out.push(b'%');
            continue;
        }
        index += 1;
        if index >= args.count {
            return Err(vm.argument_error(index, b"no value"));
        }
        let (spec, behind) = match scan(rest) {
            Ok(scanned) => scanned,
            Err(text) => return Err(vm.library_error(text.as_bytes())),
        };
        let letter = behind.first().copied().unwrap_or(0);
        rest = behind.get(1..).unwrap_or_default();
        convert(vm, args, index, letter, spec, &mut out)?;
        vm.machine.heap.meter.has_room(out.len())?;
    }
    vm.string_result(&out)
}

fn scan(text: &[u8]) -> Result<(Spec, &[u8]), &'static str> {
    let mut spec = Spec::default();
    let flags = text.iter().take_while(|byte| b"-+ #0".contains(byte)).count();
    if flags > FLAGS_MAX {
        return Err("invalid format (repeated flags)");
    }
    for flag in &text[..flags] {
        match flag {
            b'-' => spec.left = true,
            b'+' => spec.plus = true,
            b' ' => spec.blank = true,
            b'#' => spec.alternate = true,
            _ => spec.zeros = true,
        }
    }
    let two_digits = |text: &[u8]| {
        let digits = text.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
        let value = text[..digits]
            .iter()
            .fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
        (value, digits)
    };
    let mut rest = &text[flags..];
    let (width, digits) = two_digits(rest);
    spec.width = width;
    rest = &rest[digits..];
    if rest.first() == Some(&b'.') {
        let (precision, digits) = two_digits(&rest[1..]);
        spec.precision = Some(precision);
        rest = &rest[1 + digits..];
    }
    if rest.first().is_some_and(u8::is_ascii_digit) {
        return Err("invalid format (width or precision too long)");
    }
    Ok((spec, rest))
}

fn convert(vm: &mut Vm<'_>, args: Args, index: usize, letter: u8, spec: Spec, out: &mut Vec<u8>) -> Outcome<()> {
    match letter {
        b'c' => {
            let number = vm.check_number(args, index)?;
            // What is no 32-bit integer becomes the lowest one, whose last byte is 0.
            let code = if number.abs() < 2_147_483_648.0 {
                number as i32 as u8
            } else {
                0
            };
            // C ends the text at a byte 0, and so with it.
            let padding = spec.width.saturating_sub(1);
            if spec.left {
                out.extend((code != 0).then_some(code));
                out.extend(core::iter::repeat_n(b' ', if code == 0 { 0 } else { padding }));
            } else {
                out.extend(core::iter::repeat_n(b' ', padding));
                out.extend((code != 0).then_some(code));
            }
        }
        b'd' | b'i' => {
            let number = to_integer(vm.check_number(args, index)?);
            let digits = with_precision(format!("{}", number.unsigned_abs()), number == 0, spec);
            put_number(number < 0, "", &digits, spec, spec.precision.is_none(), out);
        }
        b'o' | b'u' | b'x' | b'X' => {
            let number = to_unsigned(vm.check_number(args, index)?);
            let (digits, prefix) = match letter {
                b'o' => (format!("{number:o}"), ""),
                b'x' => (format!("{number:x}"), "0x"),
                b'X' => (format!("{number:X}"), "0X"),
                _ => (format!("{number}"), ""),
            };
            let mut digits = with_precision(digits, number == 0, spec);
            if letter == b'o' && spec.alternate && !digits.starts_with('0') {
                digits.insert(0, '0');
            }
            let prefix = if spec.alternate && number != 0 { prefix } else { "" };
            let unsigned = Spec {
                plus: false,
                blank: false,
                ..spec
            };
            put_number(false, prefix, &digits, unsigned, spec.precision.is_none(), out);
        }
        b'e' | b'E' | b'f' | b'g' | b'G' => {
            let number = vm.check_number(args, index)?;
            let precision = spec.precision.unwrap_or(6);
            let size = number.abs();
            let mut digits = match letter {
                b'f' => fixed(size, precision, spec.alternate),
                b'e' | b'E' => scientific(size, precision, spec.alternate),
                _ => general(size, precision, spec.alternate),
            };
            if letter.is_ascii_uppercase() {
                digits.make_ascii_uppercase();
            }
            put_number(number.is_sign_negative(), "", &digits, spec, number.is_finite(), out);
        }
        b'q' => {
            let string = vm.check_string(args, index)?;
            quote(vm, string, out);
        }
        b's' => {
            let string = vm.check_string(args, index)?;
            if spec.precision.is_none() && vm.bytes(string).len() >= LONG {
                out.extend_from_slice(vm.bytes(string));
                return Ok(());
            }
            let text = vm.c_text(string);
            let text = &text[..spec.precision.unwrap_or(text.len()).min(text.len())];
            pad(text, spec, out);
        }
        _ => {
            let mut text = b"invalid option '%".to_vec();
            text.extend((letter != 0).then_some(letter));
            text.extend_from_slice(b"' to 'format'");
            return Err(vm.library_error(&text));
        }
    }
    Ok(())
}

/// A number as an unsigned integer, as the processor converts it.
fn to_unsigned(number: f64) -> u64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if number >= LIMIT {
        (to_integer(number - LIMIT) as u64) ^ (1 << 63)
    } else {
        to_integer(number) as u64
    }
}

/// Digits with as many zeros before them as the precision wants.
fn with_precision(digits: String, is_zero: bool, spec: Spec) -> String {
    match spec.precision {
        Some(0) if is_zero => String::new(),
        Some(precision) if digits.len() < precision => format!("{digits:0>precision$}"),
        _ => digits,
    }
}

fn put_number(is_negative: bool, prefix: &str, digits: &str, spec: Spec, takes_zeros: bool, out: &mut Vec<u8>) {
    let sign = match (is_negative, spec.plus, spec.blank) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let length = sign.len() + prefix.len() + digits.len();
    let padding = spec.width.saturating_sub(length);
    let (blanks, zeros) = if spec.left {
        (0, 0)
    } else if spec.zeros && takes_zeros {
        (0, padding)
    } else {
        (padding, 0)
    };
    out.extend(core::iter::repeat_n(b' ', blanks));
    out.extend_from_slice(sign.as_bytes());
    out.extend_from_slice(prefix.as_bytes());
    out.extend(core::iter::repeat_n(b'0', zeros));
    out.extend_from_slice(digits.as_bytes());
    out.extend(core::iter::repeat_n(b' ', if spec.left { padding } else { 0 }));
}

fn pad(text: &[u8], spec: Spec, out: &mut Vec<u8>) {
    let padding = spec.width.saturating_sub(text.len());
    let (before, after) = if spec.left { (0, padding) } else { (padding, 0) };
    out.extend(core::iter::repeat_n(b' ', before));
    out.extend_from_slice(text);
    out.extend(core::iter::repeat_n(b' ', after));
}

/// Appends a string as Lua can read it.
fn quote(vm: &Vm<'_>, string: Str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in vm.bytes(string) {
        match byte {
            b'"' | b'\\' | b'\n' => out.extend_from_slice(&[b'\\', *byte]),
            b'\r' => out.extend_from_slice(b"\\r"),
            0 => out.extend_from_slice(b"\\000"),
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
}
