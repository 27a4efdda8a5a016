//! `string.find`, `match`, `gmatch` and `gsub`.

use alloc::vec::Vec;

use super::position;
use crate::{
    fault::{Outcome, Throw},
    library::pattern::{Capture, Failure, Length, Matcher},
    value::{Str, Value},
    vm::{Args, Vm},
};

/// A pattern without any of these is a plain text.
const SPECIALS: &[u8] = b"^$*+?.([%-";

/// What a match found.
struct Found {
    start: usize,
    end: usize,
    captures: Vec<Capture>,
}

impl Vm<'_> {
    /// Looks for a pattern from `start` on. `is_fixed`: only there; `skip`: the pattern begins behind `^`.
    fn search(&mut self, text: Str, pattern: Str, start: usize, skip: usize, is_fixed: bool) -> Outcome<Option<Found>> {
        let heap = &mut self.machine.heap;
        let mut steps = heap.meter.pattern_steps;
        let mut matcher = Matcher::new(heap.strings.get(text), heap.strings.get(pattern), &mut steps);
        let length = matcher.text.len();
        let mut start = start;
        let end = loop {
            match matcher.match_at(start, skip) {
                Ok(None) if start < length && !is_fixed => start += 1,
                end => break end,
            }
        };
        let captures = matcher.captures[..matcher.level].to_vec();
        heap.meter.pattern_steps = steps;
        match end {
            Ok(end) => Ok(end.map(|end| Found { start, end, captures })),
            Err(Failure::Text(text)) => Err(self.library_error(text.as_bytes())),
            Err(Failure::Bound(bound)) => Err(Throw::Bound(bound)),
        }
    }

    /// The value of a capture; number 0 of a match without captures is the whole match.
    fn capture_value(&mut self, text: Str, found: &Found, index: usize) -> Outcome<Value> {
        let (start, end) = match found.captures.get(index) {
            None if index == 0 => (found.start, found.end),
            None => return Err(self.library_error(b"invalid capture index")),
            Some(capture) => match capture.length {
                Length::Unfinished => return Err(self.library_error(b"unfinished capture")),
                Length::Position => return Ok(Value::Number((capture.start + 1) as f64)),
                Length::Bytes(length) => (capture.start, capture.start + length),
            },
        };
        let heap = &mut self.machine.heap;
        let bytes = heap.strings.get(text)[start..end].to_vec();
        heap.string(&bytes)
    }

    /// Pushes all captures, or the whole match if there are none and it is wanted.
    fn push_captures(&mut self, text: Str, found: &Found, or_whole: bool) -> Outcome<usize> {
        let count = if found.captures.is_empty() {
            usize::from(or_whole)
        } else {
            found.captures.len()
        };
        for index in 0..count {
            let value = self.capture_value(text, found, index)?;
            self.push(value)?;
        }
        Ok(count)
    }
}

pub(super) fn find(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    find_or_match(vm, args, true)
}

pub(super) fn match_(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    find_or_match(vm, args, false)
}

fn find_or_match(vm: &mut Vm<'_>, args: Args, is_find: bool) -> Outcome<usize> {
    let text = vm.check_string(args, 0)?;
    let pattern = vm.check_string(args, 1)?;
    let length = vm.bytes(text).len();
    let start = position(vm.optional_integer(args, 2, 1)?, length) - 1;
    let start = start.clamp(0, length as i64) as usize;
    let is_plain = |vm: &Vm<'_>| !vm.c_text(pattern).iter().any(|byte| SPECIALS.contains(byte));
    if is_find && (vm.arg(args, 3).is_true() || is_plain(vm)) {
        let (text, pattern) = (vm.bytes(text), vm.bytes(pattern));
        let found = memchr::memmem::find(&text[start..], pattern).map(|at| (start + at, pattern.len()));
        vm.machine.heap.meter.owe_bytes(length - start);
        let Some((at, length)) = found else {
            return vm.result(Value::Nil);
        };
        vm.push(Value::Number((at + 1) as f64))?;
        vm.push(Value::Number((at + length) as f64))?;
        return Ok(2);
    }
    let is_anchored = vm.bytes(pattern).first() == Some(&b'^');
    let Some(found) = vm.search(text, pattern, start, usize::from(is_anchored), is_anchored)? else {
        return vm.result(Value::Nil);
    };
    if !is_find {
        return vm.push_captures(text, &found, true);
    }
    vm.push(Value::Number((found.start + 1) as f64))?;
    vm.push(Value::Number(found.end as f64))?;
    Ok(vm.push_captures(text, &found, false)? + 2)
}

pub(super) fn gmatch(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let text = vm.check_string(args, 0)?;
    let pattern = vm.check_string(args, 1)?;
    let state = [Value::String(text), Value::String(pattern), Value::Number(0.0)];
    let native = vm.machine.heap.new_native(gmatch_step, &state, 0)?;
    vm.result(Value::Native(native))
}

fn gmatch_step(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let (Value::String(text), Value::String(pattern), Value::Number(start)) =
        (vm.state(args, 0), vm.state(args, 1), vm.state(args, 2))
    else {
        return Ok(0);
    };
    let start = start as usize;
    if start > vm.bytes(text).len() {
        return Ok(0);
    }
    let Some(found) = vm.search(text, pattern, start, 0, false)? else {
        return Ok(0);
    };
    let next = found.end + usize::from(found.end == found.start);
    vm.set_state(args, 2, Value::Number(next as f64));
    vm.push_captures(text, &found, true)
}

pub(super) fn gsub(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let text = vm.check_string(args, 0)?;
    let pattern = vm.check_string(args, 1)?;
    let length = vm.bytes(text).len();
    let count_max = i64::from(vm.optional_integer(args, 3, length as i64 + 1)? as i32);
    let replacement = vm.arg(args, 2);
    if !Vm::is_text(replacement) && !replacement.is_function() && !matches!(replacement, Value::Table(_)) {
        return Err(vm.argument_error(2, b"string/function/table expected"));
    }
    if Vm::is_text(replacement) {
        vm.check_string(args, 2)?;
    }
    let is_anchored = vm.bytes(pattern).first() == Some(&b'^');
    let mut out = Vec::new();
    let mut count = 0;
    let mut at = 0;
    while count < count_max {
        let Some(found) = vm.search(text, pattern, at, usize::from(is_anchored), is_anchored)? else {
            break;
        };
        count += 1;
        out.extend_from_slice(&vm.bytes(text)[at..found.start]);
        add_replacement(vm, args, text, &found, &mut out)?;
        vm.machine.heap.meter.has_room(out.len())?;
        at = found.end;
        if found.end == found.start {
            // Behind an empty match one byte stays, so that the next match is another one.
            if at == length {
                break;
            }
            out.push(vm.bytes(text)[at]);
            at += 1;
        }
        if is_anchored {
            break;
        }
    }
    vm.pay(length / 8)?;
    out.extend_from_slice(&vm.bytes(text)[at..]);
    vm.machine.heap.meter.has_room(out.len())?;
    let value = vm.machine.heap.string_vec(out)?;
    vm.push(value)?;
    vm.push(Value::Number(count as f64))?;
    Ok(2)
}

/// Appends what replaces a match.
fn add_replacement(vm: &mut Vm<'_>, args: Args, text: Str, found: &Found, out: &mut Vec<u8>) -> Outcome<()> {
    let replacement = vm.arg(args, 2);
    let value = match replacement {
        Value::String(template) => return expand(vm, template, text, found, out),
        Value::Table(_) => {
            let key = vm.capture_value(text, found, 0)?;
            vm.index(replacement, key, None)?
        }
        _ => {
            let function = vm.thread().top;
            vm.push(replacement)?;
            vm.push_captures(text, found, true)?;
            vm.call(function, 1)?;
            vm.thread().top = function;
            vm.thread().stack[function]
        }
    };
    if !value.is_true() {
        out.extend_from_slice(&vm.bytes(text)[found.start..found.end]);
    } else if Vm::is_text(value) {
        vm.write_text(value, out);
    } else {
        let text = [b"invalid replacement value (a ", value.type_name().as_bytes(), b")"].concat();
        return Err(vm.library_error(&text));
    }
    Ok(())
}

/// Appends a template with its `%0` to `%9`.
fn expand(vm: &mut Vm<'_>, template: Str, text: Str, found: &Found, out: &mut Vec<u8>) -> Outcome<()> {
    let length = vm.bytes(template).len();
    let mut at = 0;
    while at < length {
        let byte = vm.bytes(template)[at];
        at += 1;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        // Behind the end C reads a byte 0.
        let byte = vm.bytes(template).get(at).copied().unwrap_or(0);
        at += 1;
        match byte {
            b'0' => out.extend_from_slice(&vm.bytes(text)[found.start..found.end]),
            b'1'..=b'9' => {
                let value = vm.capture_value(text, found, usize::from(byte - b'1'))?;
                vm.write_text(value, out);
            }
            _ => out.push(byte),
        }
    }
    Ok(())
}
