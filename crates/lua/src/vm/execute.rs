//! The interpreter: executes the instructions of Lua functions.

use alloc::{boxed::Box, rc::Rc, vec::Vec};

use super::{Event, Vm};
use crate::{
    arithmetic::{modulo, power},
    fault::Outcome,
    heap::Function,
    instruction::{CONSTANT, Instruction, Op, byte_to_size},
    number::write_number,
    parser::LIST_BATCH,
    thread::WINDOW,
    value::{ClosureId, Value, as_index},
};

/// How many instructions are taken out of the account at once.
const SLICE: u32 = 256;

/// The registers of a frame.
#[inline(always)]
fn window(stack: &mut [Value], base: usize) -> &mut [Value; WINDOW] {
    match stack[base..].first_chunk_mut() {
        Some(window) => window,
        None => unreachable!("a window is reserved at each call"),
    }
}

/// A register.
#[inline(always)]
fn reg(index: u8) -> usize {
    usize::from(index)
}

/// A register plus an offset. The compiler uses none above the window.
#[inline(always)]
fn reg_at(index: u8, offset: u8) -> usize {
    usize::from(index.wrapping_add(offset))
}

/// A register or a constant.
#[inline(always)]
fn operand(registers: &[Value; WINDOW], constants: &[Value], operand: usize) -> Value {
    if operand >= CONSTANT as usize {
        constants[operand - CONSTANT as usize]
    } else {
        registers[usize::from(operand as u8)]
    }
}

/// The register that an operand means, if it means one.
fn register(operand: usize) -> Option<usize> {
    (operand < CONSTANT as usize).then_some(operand)
}

impl Vm<'_> {
    /// What the innermost frame executes: closure, function, next instruction, base, and the frame's own place.
    fn current(&self) -> (ClosureId, Rc<Function>, usize, usize, usize) {
        let thread = &self.machine.thread;
        let place = thread.frames.len() - 1;
        let frame = &thread.frames[place];
        let Value::Closure(closure) = thread.stack[frame.function as usize] else {
            unreachable!("a Lua frame belongs to a closure");
        };
        let function = self.machine.heap.closures.slots[closure.0 as usize].function.clone();
        (closure, function, frame.pc as usize, frame.base as usize, place)
    }

    /// Executes the innermost frame, and all that it calls, until an entry frame returns.
    pub(crate) fn execute(&mut self) -> Outcome<()> {
        let mut slice = 0_u32;
        'frame: loop {
            let (closure, function, mut pc, base, place) = self.current();
            let code = &function.prototype.code[..];
            let constants = &function.constants[..];
            let mut m = &mut *self.machine;
            let mut r = window(&mut m.thread.stack, base);

            macro_rules! refresh {
                () => {
                    m = &mut *self.machine;
                    r = window(&mut m.thread.stack, base);
                };
            }
            // Notes where the frame is, does something that may fail, raise or call, and gets the registers again.
            macro_rules! slow {
                ($what:expr) => {{
                    self.machine.thread.frames[place].pc = pc as u32;
                    let value = $what?;
                    refresh!();
                    value
                }};
            }
            macro_rules! collect {
                () => {
                    if m.heap.meter.wants_collection() {
                        self.above_registers();
                        self.machine.collect();
                        refresh!();
                    }
                };
            }
            macro_rules! arithmetic {
                ($a:expr, $b:expr, $c:expr, $event:expr, $compute:expr) => {{
                    let (b, c) = (usize::from($b), $c as usize);
                    let (left, right) = (operand(r, constants, b), operand(r, constants, c));
                    if let (Value::Number(x), Value::Number(y)) = (left, right) {
                        r[reg($a)] = Value::Number($compute(x, y));
                    } else {
                        let registers = (register(b), register(c));
                        let value = slow!(self.arithmetic($event, left, right, registers));
                        r[reg($a)] = value;
                    }
                }};
            }
            // A comparison decides whether the jump that follows is taken.
            macro_rules! decide {
                ($holds:expr, $a:expr) => {
                    if $holds == ($a != 0) {
                        pc = (pc as i64 + i64::from(code[pc].c) + 1) as usize;
                    } else {
                        pc += 1;
                    }
                };
            }
            macro_rules! compare {
                ($a:expr, $b:expr, $c:expr, $quick:expr, $full:ident) => {{
                    let left = operand(r, constants, usize::from($b));
                    let right = operand(r, constants, $c as usize);
                    let holds = if let (Value::Number(x), Value::Number(y)) = (left, right) {
                        $quick(&x, &y)
                    } else {
                        slow!(self.$full(left, right))
                    };
                    decide!(holds, $a);
                }};
            }

            loop {
                if slice == 0 {
                    m.thread.frames[place].pc = pc as u32;
                    slice = m.heap.meter.take_slice(SLICE)?;
                }
                slice -= 1;
                let Instruction { op, a, b, c } = code[pc];
                pc += 1;
                match op {
                    Op::Move => r[reg(a)] = r[reg(b as u8)],
                    Op::LoadK => r[reg(a)] = constants[c as usize],
                    Op::LoadBool => {
                        r[reg(a)] = Value::Boolean(b != 0);
                        pc += usize::from(c != 0);
                    }
                    Op::LoadNil => r[reg(a)..=reg(b as u8)].fill(Value::Nil),
                    Op::GetUpvalue => {
                        let upvalue = m.heap.closures.slots[closure.0 as usize].upvalues[usize::from(b)];
                        let value = m.upvalue(upvalue);
                        refresh!();
                        r[reg(a)] = value;
                    }
                    Op::SetUpvalue => {
                        let value = r[reg(a)];
                        let upvalue = m.heap.closures.slots[closure.0 as usize].upvalues[usize::from(b)];
                        m.set_upvalue(upvalue, value);
                        refresh!();
                    }
                    Op::GetGlobal => {
                        let key = constants[c as usize];
                        let table = &m.heap.tables.slots[m.globals.0 as usize];
                        let value = match key {
                            Value::String(key) => table.get_str(key, &m.heap.meter),
                            _ => Value::Nil,
                        };
                        if value.is_nil() && table.meta.is_some() {
                            let globals = Value::Table(m.globals);
                            let value = slow!(self.index(globals, key, None));
                            r[reg(a)] = value;
                        } else {
                            r[reg(a)] = value;
                        }
                    }
                    Op::SetGlobal => {
                        let (globals, value) = (Value::Table(m.globals), r[reg(a)]);
                        slow!(self.set_index(globals, constants[c as usize], value, None));
                    }
                    Op::GetField => {
                        let key = constants[(c - CONSTANT) as usize];
                        let object = r[reg(b as u8)];
                        if let (Value::Table(table), Value::String(name)) = (object, key) {
                            let table = &m.heap.tables.slots[table.0 as usize];
                            let value = table.get_str(name, &m.heap.meter);
                            if !value.is_nil() || table.meta.is_none() {
                                r[reg(a)] = value;
                                continue;
                            }
                        }
                        let value = slow!(self.index(object, key, Some(usize::from(b))));
                        r[reg(a)] = value;
                    }
                    Op::GetTable => {
                        let key = operand(r, constants, c as usize);
                        let object = r[reg(b as u8)];
                        if let Value::Table(table) = object {
                            let table = &m.heap.tables.slots[table.0 as usize];
                            let value = match key {
                                Value::Number(number)
                                    if let Some(index) = as_index(number)
                                        && let Some(value) = table.array.get((index as usize).wrapping_sub(1)) =>
                                {
                                    *value
                                }
                                key => table.get(key, &m.heap.meter),
                            };
                            if !value.is_nil() || table.meta.is_none() {
                                r[reg(a)] = value;
                                continue;
                            }
                        }
                        let value = slow!(self.index(object, key, Some(usize::from(b))));
                        r[reg(a)] = value;
                    }
                    Op::SetField => {
                        let key = constants[usize::from(b) - CONSTANT as usize];
                        let object = r[reg(a)];
                        let value = operand(r, constants, c as usize);
                        if let (Value::Table(table), Value::String(name)) = (object, key) {
                            let table = &mut m.heap.tables.slots[table.0 as usize];
                            let has_meta = table.meta.is_some();
                            if !table.is_readonly
                                && let Some(place) = table.get_str_mut(name, &m.heap.meter)
                                && !(has_meta && place.is_nil())
                            {
                                *place = value;
                                table.absent = 0;
                                continue;
                            }
                        }
                        slow!(self.set_index(object, key, value, Some(usize::from(a))));
                    }
                    Op::SetTable => {
                        let key = operand(r, constants, usize::from(b));
                        let object = r[reg(a)];
                        let value = operand(r, constants, c as usize);
                        if let (Value::Table(table), Value::Number(number)) = (object, key) {
                            let table = &mut m.heap.tables.slots[table.0 as usize];
                            let has_meta = table.meta.is_some();
                            if !table.is_readonly
                                && let Some(index) = as_index(number)
                                && let Some(place) = table.array.get_mut((index as usize).wrapping_sub(1))
                                && !(has_meta && place.is_nil())
                            {
                                *place = value;
                                continue;
                            }
                        }
                        slow!(self.set_index(object, key, value, Some(usize::from(a))));
                    }
                    Op::NewTable => {
                        let (array, keys) = (byte_to_size(usize::from(b)), byte_to_size(c as usize));
                        m.thread.frames[place].pc = pc as u32;
                        let table = m.heap.new_table(array, keys)?;
                        r[reg(a)] = Value::Table(table);
                        collect!();
                    }
                    Op::Method => {
                        let object = r[reg(b as u8)];
                        let key = operand(r, constants, c as usize);
                        r[reg_at(a, 1)] = object;
                        if let (Value::Table(table), Value::String(name)) = (object, key) {
                            let table = &m.heap.tables.slots[table.0 as usize];
                            let value = table.get_str(name, &m.heap.meter);
                            if !value.is_nil() || table.meta.is_none() {
                                r[reg(a)] = value;
                                continue;
                            }
                        }
                        let value = slow!(self.index(object, key, Some(usize::from(b))));
                        r[reg(a)] = value;
                    }
                    Op::Add => arithmetic!(a, b, c, Event::Add, |x: f64, y: f64| x + y),
                    Op::Sub => arithmetic!(a, b, c, Event::Sub, |x: f64, y: f64| x - y),
                    Op::Mul => arithmetic!(a, b, c, Event::Mul, |x: f64, y: f64| x * y),
                    Op::Div => arithmetic!(a, b, c, Event::Div, |x: f64, y: f64| x / y),
                    Op::Mod => arithmetic!(a, b, c, Event::Mod, modulo),
                    Op::Pow => arithmetic!(a, b, c, Event::Pow, power),
                    Op::Minus => {
                        let value = r[reg(b as u8)];
                        if let Value::Number(number) = value {
                            r[reg(a)] = Value::Number(-number);
                        } else {
                            let registers = (register(usize::from(b)), register(usize::from(b)));
                            let value = slow!(self.arithmetic(Event::Minus, value, value, registers));
                            r[reg(a)] = value;
                        }
                    }
                    Op::Not => r[reg(a)] = Value::Boolean(!r[reg(b as u8)].is_true()),
                    Op::Length => {
                        let value = r[reg(b as u8)];
                        if let Value::Table(table) = value {
                            let border = m.heap.tables.slots[table.0 as usize].border(&m.heap.meter);
                            r[reg(a)] = Value::Number(border as f64);
                        } else {
                            let value = slow!(self.length(value, Some(usize::from(b))));
                            r[reg(a)] = value;
                        }
                    }
                    Op::Concat => {
                        let (first, last) = (reg(b as u8), reg(c as u8));
                        // Short strings and numbers are put together here.
                        let texts = &r[first..=last];
                        let value = if texts.iter().all(|text| Self::is_text(*text)) {
                            let mut text = core::mem::take(&mut m.scratch);
                            text.clear();
                            let fits = join(texts, &mut text, &m.heap);
                            m.thread.frames[place].pc = pc as u32;
                            let string = fits.and_then(|()| m.heap.string(&text));
                            m.keep_scratch(text);
                            let string = string?;
                            refresh!();
                            string
                        } else {
                            slow!(self.concat(base, first, last))
                        };
                        r[reg(a)] = value;
                        collect!();
                    }
                    Op::Jump => pc = (pc as i64 + i64::from(c)) as usize,
                    Op::Equal => {
                        let left = operand(r, constants, usize::from(b));
                        let right = operand(r, constants, c as usize);
                        let holds = match (left, right) {
                            (Value::Table(x), Value::Table(y)) if x != y => slow!(self.equal(left, right)),
                            _ => left == right,
                        };
                        decide!(holds, a);
                    }
                    Op::Less => compare!(a, b, c, f64::lt, less),
                    Op::LessEqual => compare!(a, b, c, f64::le, less_equal),
                    Op::Test => {
                        if r[reg(a)].is_true() == (c != 0) {
                            pc = (pc as i64 + i64::from(code[pc].c) + 1) as usize;
                        } else {
                            pc += 1;
                        }
                    }
                    Op::TestSet => {
                        let value = r[reg(b as u8)];
                        if value.is_true() == (c != 0) {
                            r[reg(a)] = value;
                            pc = (pc as i64 + i64::from(code[pc].c) + 1) as usize;
                        } else {
                            pc += 1;
                        }
                    }
                    Op::Call => {
                        let at = base + reg(a);
                        let callee = r[reg(a)];
                        let count = if b == 0 {
                            m.thread.top - at - 1
                        } else {
                            usize::from(b) - 1
                        };
                        m.thread.frames[place].pc = pc as u32;
                        match callee {
                            Value::Closure(closure) => {
                                self.enter(closure, at, count, c - 1, false)?;
                                continue 'frame;
                            }
                            Value::Native(native) => self.call_native(native, at, count, c - 1)?,
                            _ => {
                                if self.begin(at, count, c - 1, false)? {
                                    continue 'frame;
                                }
                            }
                        }
                        refresh!();
                    }
                    Op::TailCall => {
                        let at = base + reg(a);
                        let count = if b == 0 {
                            m.thread.top - at - 1
                        } else {
                            usize::from(b) - 1
                        };
                        m.thread.frames[place].pc = pc as u32;
                        if self.begin(at, count, -1, false)? {
                            self.replace_caller(base);
                            continue 'frame;
                        }
                        refresh!();
                    }
                    Op::Return => {
                        let first = base + reg(a);
                        let count = if b == 0 {
                            m.thread.top - first
                        } else {
                            usize::from(b) - 1
                        };
                        if !m.thread.open.is_empty() {
                            m.close_upvalues(base);
                        }
                        let thread = &mut m.thread;
                        let Some(frame) = thread.frames.pop() else {
                            return Ok(());
                        };
                        let to = frame.function as usize;
                        if frame.wanted == 1 {
                            thread.stack[to] = if count > 0 { thread.stack[first] } else { Value::Nil };
                        } else if frame.wanted < 0 {
                            thread.stack.copy_within(first..first + count, to);
                            thread.top = to + count;
                        } else {
                            for index in 0..frame.wanted as usize {
                                thread.stack[to + index] = if index < count {
                                    thread.stack[first + index]
                                } else {
                                    Value::Nil
                                };
                            }
                        }
                        if frame.is_entry {
                            m.heap.meter.return_slice(slice);
                            return Ok(());
                        }
                        continue 'frame;
                    }
                    Op::ForLoop => {
                        if let (Value::Number(index), Value::Number(limit), Value::Number(step)) =
                            (r[reg(a)], r[reg_at(a, 1)], r[reg_at(a, 2)])
                        {
                            let next = index + step;
                            if if step > 0.0 { next <= limit } else { limit <= next } {
                                pc = (pc as i64 + i64::from(c)) as usize;
                                r[reg(a)] = Value::Number(next);
                                r[reg_at(a, 3)] = Value::Number(next);
                            }
                        }
                    }
                    Op::ForPrepare => {
                        let (start, limit, step) = (r[reg(a)], r[reg_at(a, 1)], r[reg_at(a, 2)]);
                        let [start, limit, step] = slow!(self.for_numbers(start, limit, step));
                        r[reg(a)] = Value::Number(start - step);
                        r[reg_at(a, 1)] = Value::Number(limit);
                        r[reg_at(a, 2)] = Value::Number(step);
                        pc = (pc as i64 + i64::from(c)) as usize;
                    }
                    Op::ForIn => {
                        if let (Value::Native(iterator), Value::Table(table)) = (r[reg(a)], r[reg_at(a, 1)])
                            && c <= 2
                            && let control = r[reg_at(a, 2)]
                            && let Some((key, value)) = m.heap.step(m.steppers, iterator, table, control)
                        {
                            let jump = code[pc].c;
                            r[reg_at(a, 3)] = key;
                            r[reg_at(a, 4)] = if c == 2 { value } else { r[reg_at(a, 4)] };
                            if !key.is_nil() {
                                r[reg_at(a, 2)] = key;
                                pc = (pc as i64 + i64::from(jump)) as usize;
                            }
                            pc += 1;
                            continue;
                        }
                        for offset in 0..3 {
                            r[reg_at(a, 3 + offset)] = r[reg_at(a, offset)];
                        }
                        let at = base + reg(a) + 3;
                        m.thread.top = at + 3;
                        slow!(self.call(at, c));
                        let key = r[reg_at(a, 3)];
                        if !key.is_nil() {
                            r[reg_at(a, 2)] = key;
                            pc = (pc as i64 + i64::from(code[pc].c)) as usize;
                        }
                        pc += 1;
                    }
                    Op::SetList => {
                        let at = base + reg(a);
                        let count = if b == 0 { m.thread.top - at - 1 } else { usize::from(b) };
                        let last = (c as usize - 1) * LIST_BATCH + count;
                        m.thread.frames[place].pc = pc as u32;
                        if let Value::Table(table) = r[reg(a)] {
                            let heap = &mut m.heap;
                            heap.tables.slots[table.0 as usize].grow_array(last, &mut heap.meter)?;
                            for index in (1..=count).rev() {
                                let value = m.thread.stack[at + index];
                                heap.set_index(table, last - count + index, value)?;
                            }
                        }
                        refresh!();
                    }
                    Op::Close => {
                        m.close_upvalues(base + reg(a));
                        refresh!();
                    }
                    Op::Closure => {
                        let child = function.children[c as usize].clone();
                        let count = child.prototype.upvalues.len();
                        m.thread.frames[place].pc = pc as u32;
                        let mut upvalues = Vec::with_capacity(count);
                        for captured in &code[pc..pc + count] {
                            upvalues.push(if captured.op == Op::Move {
                                m.capture(base + usize::from(captured.b))?
                            } else {
                                m.heap.closures.slots[closure.0 as usize].upvalues[usize::from(captured.b)]
                            });
                        }
                        let upvalues: Box<[_]> = upvalues.into_boxed_slice();
                        let value = Value::Closure(m.heap.new_closure(child, upvalues)?);
                        pc += count;
                        refresh!();
                        r[reg(a)] = value;
                        collect!();
                    }
                    Op::Varargs => {
                        slow!(self.varargs(base, reg(a), i32::from(b) - 1));
                    }
                }
            }
        }
    }

    /// The frame that just began takes the place of its caller, whose base this is.
    fn replace_caller(&mut self, base: usize) {
        let machine = &mut *self.machine;
        machine.close_upvalues(base);
        let thread = &mut machine.thread;
        let Some(callee) = thread.frames.pop() else { return };
        let Some(caller) = thread.frames.last_mut() else { return };
        let distance = callee.function - caller.function;
        let end = callee.limit as usize;
        thread
            .stack
            .copy_within(callee.function as usize..end, caller.function as usize);
        *caller = crate::thread::Frame {
            function: caller.function,
            base: callee.base - distance,
            limit: callee.limit - distance,
            pc: 0,
            wanted: caller.wanted,
            tail_calls: caller.tail_calls + 1,
            is_lua: true,
            is_entry: caller.is_entry,
        };
    }

    /// The numbers of a `for` loop.
    fn for_numbers(&mut self, start: Value, limit: Value, step: Value) -> Outcome<[f64; 3]> {
        let mut numbers = [0.0; 3];
        let parts = [(start, "initial value"), (limit, "limit"), (step, "step")];
        for (number, (value, name)) in numbers.iter_mut().zip(parts) {
            let Some(found) = self.to_number(value) else {
                let text = [b"'for' ", name.as_bytes(), b" must be a number"].concat();
                return Err(self.runtime_error(&text));
            };
            *number = found;
        }
        Ok(numbers)
    }

    /// Copies extra arguments into registers: all of them if `wanted` is negative.
    fn varargs(&mut self, base: usize, register: usize, wanted: i32) -> Outcome<()> {
        let machine = &mut *self.machine;
        let Some(frame) = machine.thread.frames.last().copied() else {
            return Ok(());
        };
        let Value::Closure(closure) = machine.thread.stack[frame.function as usize] else {
            return Ok(());
        };
        let parameters = usize::from(machine.heap.closure(closure).function.prototype.parameters);
        let first = frame.function as usize + 1 + parameters;
        let there = base - first;
        let count = if wanted < 0 { there } else { wanted as usize };
        let to = base + register;
        machine.heap.meter.owe(count as u64 / 4);
        machine.thread.reserve(to + count, &mut machine.heap.meter)?;
        let stack = &mut machine.thread.stack;
        for index in 0..count {
            stack[to + index] = if index < there {
                stack[first + index]
            } else {
                Value::Nil
            };
        }
        if wanted < 0 {
            machine.thread.top = to + count;
        }
        Ok(())
    }
}

/// Appends strings and numbers as text, if there is room for the result.
#[inline]
fn join(texts: &[Value], out: &mut Vec<u8>, heap: &crate::heap::Heap) -> Outcome<()> {
    for text in texts {
        match text {
            Value::String(string) => {
                let bytes = heap.bytes(*string);
                if bytes.len() > 1024 {
                    heap.meter.has_room(out.len() + bytes.len())?;
                }
                out.extend_from_slice(bytes);
            }
            Value::Number(number) => write_number(*number, out),
            _ => {}
        }
    }
    Ok(())
}
