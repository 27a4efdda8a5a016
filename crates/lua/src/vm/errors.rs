//! Errors and their texts: where they happened, and what the value in question is called there.

use alloc::vec::Vec;

use super::{Args, Vm};
use crate::{
    fault::{Position, Throw},
    instruction::{CONSTANT, Instruction, Op},
    lexer::shown_name,
    machine::Machine,
    number::write_integer,
    prototype::{Constant, Prototype},
    thread::Frame,
    value::Value,
};

/// What a register holds, in the words of the program.
struct Named {
    kind: &'static str,
    name: Vec<u8>,
}

impl Machine {
    /// The compiled function of a frame, if it is one of Lua.
    fn prototype(&self, frame: &Frame) -> Option<&Prototype> {
        match self.thread.stack.get(frame.function as usize)? {
            Value::Closure(closure) if frame.is_lua => Some(&self.heap.closure(*closure).function.prototype),
            _ => None,
        }
    }

    /// The line that a frame is at.
    fn line(&self, frame: &Frame) -> Option<u32> {
        let prototype = self.prototype(frame)?;
        prototype.lines.get((frame.pc as usize).saturating_sub(1)).copied()
    }

    /// The line that the innermost Lua function is at.
    pub(crate) fn position(&self) -> Option<Position> {
        let frame = self.thread.frames.iter().rfind(|frame| frame.is_lua)?;
        Some(Position {
            chunk: self.prototype(frame)?.source.to_vec(),
            line: self.line(frame)?,
        })
    }

    /// `chunk:line: ` of a frame; empty for functions in Rust.
    fn prefix(&self, frame: &Frame) -> Vec<u8> {
        let (Some(prototype), Some(line)) = (self.prototype(frame), self.line(frame)) else {
            return Vec::new();
        };
        let mut text = shown_name(&prototype.source);
        text.push(b':');
        write_integer(i64::from(line), &mut text);
        text.extend_from_slice(b": ");
        text
    }

    /// `chunk:line: ` of the function `level` calls up. Calls that tail calls replaced count, and have no line.
    pub(crate) fn prefix_at(&self, mut level: i64) -> Vec<u8> {
        for frame in self.thread.frames.iter().rev() {
            if level == 0 {
                return self.prefix(frame);
            }
            level -= 1;
            if frame.is_lua {
                level -= i64::from(frame.tail_calls);
            }
            if level < 0 {
                break;
            }
        }
        Vec::new()
    }

    /// What the value in a register of a Lua function is called.
    fn name_of(&self, frame: &Frame, register: usize) -> Option<Named> {
        let prototype = self.prototype(frame)?;
        name_in(prototype, register, (frame.pc as usize).checked_sub(1)?)
    }

    /// What the function in Rust that is running was called as.
    fn called_as(&self) -> Option<Named> {
        let [.., caller, _] = &self.thread.frames[..] else {
            return None;
        };
        let prototype = self.prototype(caller)?;
        let instruction = prototype.code.get((caller.pc as usize).checked_sub(1)?)?;
        match instruction.op {
            Op::Call | Op::TailCall | Op::ForIn => self.name_of(caller, usize::from(instruction.a)),
            _ => None,
        }
    }
}

impl Vm<'_> {
    /// An error whose value is a string.
    pub(crate) fn error(&mut self, text: &[u8]) -> Throw {
        match self.machine.heap.string(text) {
            Ok(text) => Throw::Error(text),
            Err(throw) => throw,
        }
    }

    /// An error in the function that is running. It has a line if that is a Lua function.
    #[cold]
    pub(crate) fn runtime_error(&mut self, text: &[u8]) -> Throw {
        let text = [&self.machine.prefix_at(0)[..], text].concat();
        self.error(&text)
    }

    /// An error that a function in Rust raises. It has the line of the caller, if that is a Lua function.
    #[cold]
    pub(crate) fn library_error(&mut self, text: &[u8]) -> Throw {
        let text = [&self.machine.prefix_at(1)[..], text].concat();
        self.error(&text)
    }

    /// A value has the wrong type for `action`; `register` is where it is.
    #[cold]
    pub(crate) fn type_error(&mut self, value: Value, action: &str, register: Option<usize>) -> Throw {
        let frame = self.machine.thread.frames.last().copied();
        let named = frame
            .zip(register)
            .and_then(|(frame, register)| self.machine.name_of(&frame, register));
        let mut text = [b"attempt to ", action.as_bytes(), b" "].concat();
        match named {
            Some(Named { kind, name }) => {
                let parts = [
                    kind.as_bytes(),
                    b" '",
                    &name,
                    b"' (a ",
                    value.type_name().as_bytes(),
                    b" value)",
                ];
                text.extend_from_slice(&parts.concat());
            }
            None => text.extend_from_slice(&[b"a ", value.type_name().as_bytes(), b" value"].concat()),
        }
        self.runtime_error(&text)
    }

    #[cold]
    pub(crate) fn compare_error(&mut self, left: Value, right: Value) -> Throw {
        let (first, second) = (left.type_name().as_bytes(), right.type_name().as_bytes());
        // PUC Lua compares the third letters of the names only.
        let text = if first[2] == second[2] {
            [b"attempt to compare two ", first, b" values"].concat()
        } else {
            [b"attempt to compare ", first, b" with ", second].concat()
        };
        self.runtime_error(&text)
    }

    /// The register of the running Lua function that is at a place of the stack.
    pub(crate) fn register_of(&self, place: usize) -> Option<usize> {
        let frame = self.machine.thread.frames.last()?;
        let is_register = frame.is_lua && (frame.base as usize..frame.limit as usize).contains(&place);
        is_register.then(|| place - frame.base as usize)
    }

    /// `bad argument #n to 'f' (what)`; arguments count from 0 here.
    #[cold]
    pub(crate) fn argument_error(&mut self, index: usize, what: &[u8]) -> Throw {
        let mut number = Vec::new();
        let named = self.machine.called_as();
        let name = match &named {
            Some(Named { kind: "method", name }) => {
                if index == 0 {
                    let text = [b"calling '", &name[..], b"' on bad self (", what, b")"].concat();
                    return self.library_error(&text);
                }
                write_integer(index as i64, &mut number);
                &name[..]
            }
            Some(Named { name, .. }) => &name[..],
            None => b"?",
        };
        if number.is_empty() {
            write_integer(index as i64 + 1, &mut number);
        }
        let text = [b"bad argument #", &number[..], b" to '", name, b"' (", what, b")"].concat();
        self.library_error(&text)
    }

    /// An argument has another type than is expected.
    #[cold]
    pub(crate) fn argument_type_error(&mut self, args: Args, index: usize, expected: &str) -> Throw {
        let got = match self.arg_or_none(args, index) {
            Some(value) => value.type_name(),
            None => "no value",
        };
        let what = [expected.as_bytes(), b" expected, got ", got.as_bytes()].concat();
        self.argument_error(index, &what)
    }
}

/// What a register is called at an instruction.
fn name_in(prototype: &Prototype, register: usize, pc: usize) -> Option<Named> {
    if let Some(name) = prototype.local_name(register, pc) {
        return Some(Named {
            kind: "local",
            name: name.to_vec(),
        });
    }
    let instruction = prototype.code[last_setter(prototype, register, pc)?];
    let constant = |operand: i32| {
        let constant = usize::try_from(operand - CONSTANT)
            .ok()
            .and_then(|at| prototype.constants.get(at));
        match constant {
            Some(Constant::String(text)) => c_text(text),
            _ => b"?".to_vec(),
        }
    };
    match instruction.op {
        Op::GetGlobal => Some(Named {
            kind: "global",
            name: constant(instruction.c + CONSTANT),
        }),
        Op::Move if instruction.b < u16::from(instruction.a) => name_in(prototype, usize::from(instruction.b), pc),
        Op::GetTable | Op::GetField => Some(Named {
            kind: "field",
            name: constant(instruction.c),
        }),
        Op::GetUpvalue => Some(Named {
            kind: "upvalue",
            name: prototype
                .upvalues
                .get(usize::from(instruction.b))
                .map_or(b"?".to_vec(), |name| name.to_vec()),
        }),
        Op::Method => Some(Named {
            kind: "method",
            name: constant(instruction.c),
        }),
        _ => None,
    }
}

/// A text as C would print it.
fn c_text(text: &[u8]) -> Vec<u8> {
    text[..memchr::memchr(0, text).unwrap_or(text.len())].to_vec()
}

/// The instruction before `end` that set a register last, if jumps do not hide it.
fn last_setter(prototype: &Prototype, register: usize, end: usize) -> Option<usize> {
    let mut last = None;
    let mut pc = 0;
    while pc < end {
        let instruction = prototype.code[pc];
        let Instruction { op, a, b, c } = instruction;
        let a = usize::from(a);
        if instruction.sets_a() && a == register {
            last = Some(pc);
        }
        match op {
            Op::LoadNil if (a..=usize::from(b)).contains(&register) => last = Some(pc),
            Op::Method if register == a + 1 => last = Some(pc),
            Op::Call | Op::TailCall if register >= a => last = Some(pc),
            Op::ForIn if register >= a + 2 => last = Some(pc),
            Op::Varargs if register >= a && (b == 0 || register < a + usize::from(b) - 1) => last = Some(pc),
            Op::Closure => {
                let upvalues = prototype
                    .children
                    .get(c as usize)
                    .map_or(0, |child| child.upvalues.len());
                pc += upvalues;
            }
            Op::Jump | Op::ForLoop | Op::ForPrepare => {
                let target = pc as i64 + 1 + i64::from(c);
                if (pc as i64 + 1..=end as i64).contains(&target) {
                    pc = target as usize - 1;
                }
            }
            _ => {}
        }
        pc += 1;
    }
    last
}
