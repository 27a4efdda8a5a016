//! Operations whose operands may have metamethods. The interpreter comes here when its own short paths do not apply.

use alloc::vec::Vec;

use super::{Event, Vm};
use crate::{
    arithmetic::{modulo, power},
    fault::Outcome,
    number::{parse, write_number},
    table::BadKey,
    value::Value,
};

/// How long a chain of `__index` or `__newindex` may be.
const CHAIN_MAX: usize = 100;

impl Vm<'_> {
    /// Calls a metamethod for one result. The registers of the running function are left alone.
    fn call_event(&mut self, metamethod: Value, args: &[Value]) -> Outcome<Value> {
        self.above_registers();
        self.call_for_one(metamethod, args)
    }

    /// Puts the top of the stack above the registers of the running function, if it is a Lua function.
    pub(crate) fn above_registers(&mut self) {
        let thread = self.thread();
        if let Some(frame) = thread.frames.last()
            && frame.is_lua
        {
            thread.top = frame.limit as usize;
        }
    }

    /// `object[key]`; `register` is where the object is, for error texts.
    pub(crate) fn index(&mut self, object: Value, key: Value, register: Option<usize>) -> Outcome<Value> {
        let mut object = object;
        for step in 0..CHAIN_MAX {
            let handler = match object {
                Value::Table(table) => {
                    let found = self.machine.heap.get(table, key);
                    if !found.is_nil() {
                        return Ok(found);
                    }
                    let Some(meta) = self.machine.heap.table(table).meta else {
                        return Ok(Value::Nil);
                    };
                    let handler = self.machine.event(meta, Event::Index);
                    if handler.is_nil() {
                        return Ok(Value::Nil);
                    }
                    handler
                }
                _ => {
                    let handler = self.metamethod(object, Event::Index);
                    if handler.is_nil() {
                        let register = register.filter(|_| step == 0);
                        return Err(self.type_error(object, "index", register));
                    }
                    handler
                }
            };
            if handler.is_function() {
                return self.call_event(handler, &[object, key]);
            }
            object = handler;
        }
        Err(self.runtime_error(b"loop in gettable"))
    }

    /// `object[key] = value`
    pub(crate) fn set_index(
        &mut self,
        object: Value,
        key: Value,
        value: Value,
        register: Option<usize>,
    ) -> Outcome<()> {
        let mut object = object;
        for step in 0..CHAIN_MAX {
            let handler = match object {
                Value::Table(table) => {
                    let heap = &mut self.machine.heap;
                    let slot = &mut heap.tables.slots[table.0 as usize];
                    if slot.is_readonly {
                        return Err(self.runtime_error(b"Attempt to modify a readonly table"));
                    }
                    let meta = slot.meta;
                    let place = match slot.entry(key, &mut heap.meter)? {
                        Ok(place) => place,
                        Err(BadKey::Nil) => return Err(self.runtime_error(b"table index is nil")),
                        Err(BadKey::Nan) => return Err(self.runtime_error(b"table index is NaN")),
                    };
                    let Some(meta) = meta.filter(|_| place.is_nil()) else {
                        *place = value;
                        return Ok(());
                    };
                    let handler = self.machine.event(meta, Event::NewIndex);
                    if handler.is_nil() {
                        return self.machine.heap.set(table, key, value);
                    }
                    handler
                }
                _ => {
                    let handler = self.metamethod(object, Event::NewIndex);
                    if handler.is_nil() {
                        let register = register.filter(|_| step == 0);
                        return Err(self.type_error(object, "index", register));
                    }
                    handler
                }
            };
            if handler.is_function() {
                self.above_registers();
                let place = self.call_with(handler, &[object, key, value], 0)?;
                self.thread().top = place;
                return Ok(());
            }
            object = handler;
        }
        Err(self.runtime_error(b"loop in settable"))
    }

    /// The number that a value is or says.
    pub(crate) fn to_number(&self, value: Value) -> Option<f64> {
        match value {
            Value::Number(number) => Some(number),
            Value::String(string) => parse(self.machine.heap.bytes(string)),
            _ => None,
        }
    }

    /// Arithmetic on what may be strings or have metamethods; `registers` are where the operands are.
    #[cold]
    #[inline(never)]
    pub(crate) fn arithmetic(
        &mut self,
        event: Event,
        left: Value,
        right: Value,
        registers: (Option<usize>, Option<usize>),
    ) -> Outcome<Value> {
        if let (Some(a), Some(b)) = (self.to_number(left), self.to_number(right)) {
            return Ok(Value::Number(match event {
                Event::Add => a + b,
                Event::Sub => a - b,
                Event::Mul => a * b,
                Event::Div => a / b,
                Event::Mod => modulo(a, b),
                Event::Pow => power(a, b),
                _ => -a,
            }));
        }
        if let Some(metamethod) = self.binary_metamethod(event, left, right) {
            return self.call_event(metamethod, &[left, right]);
        }
        let (wrong, register) = if self.to_number(left).is_none() {
            (left, registers.0)
        } else {
            (right, registers.1)
        };
        Err(self.type_error(wrong, "perform arithmetic on", register))
    }

    /// The metamethod of the left operand, or else of the right one.
    fn binary_metamethod(&mut self, event: Event, left: Value, right: Value) -> Option<Value> {
        let mut found = self.metamethod(left, event);
        if found.is_nil() {
            found = self.metamethod(right, event);
        }
        // What is there but no function is called all the same, which is an error.
        (!found.is_nil()).then_some(found)
    }

    /// `#value`
    pub(crate) fn length(&mut self, value: Value, register: Option<usize>) -> Outcome<Value> {
        match value {
            Value::Table(table) => {
                let heap = &self.machine.heap;
                Ok(Value::Number(heap.table(table).border(&heap.meter) as f64))
            }
            Value::String(string) => Ok(Value::Number(self.machine.heap.bytes(string).len() as f64)),
            _ => Err(self.type_error(value, "get length of", register)),
        }
    }

    /// `left == right`
    pub(crate) fn equal(&mut self, left: Value, right: Value) -> Outcome<bool> {
        if left == right {
            return Ok(true);
        }
        let (Value::Table(a), Value::Table(b)) = (left, right) else {
            return Ok(false);
        };
        let heap = &self.machine.heap;
        let (Some(first), Some(second)) = (heap.table(a).meta, heap.table(b).meta) else {
            return Ok(false);
        };
        let metamethod = self.machine.event(first, Event::Equal);
        if metamethod.is_nil() || (first != second && self.machine.event(second, Event::Equal) != metamethod) {
            return Ok(false);
        }
        self.call_event(metamethod, &[left, right]).map(Value::is_true)
    }

    /// `left < right`
    pub(crate) fn less(&mut self, left: Value, right: Value) -> Outcome<bool> {
        match (left, right) {
            (Value::Number(a), Value::Number(b)) => Ok(a < b),
            (Value::String(a), Value::String(b)) => {
                let heap = &self.machine.heap;
                Ok(heap.bytes(a) < heap.bytes(b))
            }
            _ => match self.order_metamethod(Event::Less, left, right) {
                Some(metamethod) => self.call_event(metamethod, &[left, right]).map(Value::is_true),
                None => Err(self.compare_error(left, right)),
            },
        }
    }

    /// `left <= right`
    pub(crate) fn less_equal(&mut self, left: Value, right: Value) -> Outcome<bool> {
        match (left, right) {
            (Value::Number(a), Value::Number(b)) => Ok(a <= b),
            (Value::String(a), Value::String(b)) => {
                let heap = &self.machine.heap;
                Ok(heap.bytes(a) <= heap.bytes(b))
            }
            _ => {
                if let Some(metamethod) = self.order_metamethod(Event::LessEqual, left, right) {
                    return self.call_event(metamethod, &[left, right]).map(Value::is_true);
                }
                match self.order_metamethod(Event::Less, right, left) {
                    Some(metamethod) => Ok(!self.call_event(metamethod, &[right, left])?.is_true()),
                    None => Err(self.compare_error(left, right)),
                }
            }
        }
    }

    /// A metamethod that both operands, of one type, have in common.
    fn order_metamethod(&mut self, event: Event, left: Value, right: Value) -> Option<Value> {
        if left.type_name() != right.type_name() {
            return None;
        }
        let first = self.metamethod(left, event);
        (!first.is_nil() && first == self.metamethod(right, event)).then_some(first)
    }

    /// Whether a value takes part in `..` as it is.
    pub(crate) fn is_text(value: Value) -> bool {
        matches!(value, Value::String(_) | Value::Number(_))
    }

    /// Appends a string or a number as text.
    #[inline]
    pub(crate) fn write_text(&self, value: Value, out: &mut Vec<u8>) {
        match value {
            Value::String(string) => out.extend_from_slice(self.machine.heap.bytes(string)),
            Value::Number(number) => write_number(number, out),
            _ => {}
        }
    }

    /// `R(first) .. … .. R(last)`, from right to left.
    pub(crate) fn concat(&mut self, base: usize, first: usize, last: usize) -> Outcome<Value> {
        let mut last = last;
        let mut right = self.thread().stack[base + last];
        while last > first {
            let left = self.thread().stack[base + last - 1];
            if !Self::is_text(left) || !Self::is_text(right) {
                right = match self.binary_metamethod(Event::Concat, left, right) {
                    Some(metamethod) => self.call_event(metamethod, &[left, right])?,
                    None => {
                        let (wrong, register) = if Self::is_text(left) {
                            (right, last)
                        } else {
                            (left, last - 1)
                        };
                        return Err(self.type_error(wrong, "concatenate", Some(register)));
                    }
                };
                last -= 1;
            } else {
                // As many texts as there are in a row become one string.
                let mut from = last - 1;
                while from > first && Self::is_text(self.thread().stack[base + from - 1]) {
                    from -= 1;
                }
                let mut text = core::mem::take(&mut self.machine.scratch);
                text.clear();
                let mut fits = Ok(());
                for place in from..=last {
                    let value = if place == last {
                        right
                    } else {
                        self.thread().stack[base + place]
                    };
                    self.write_text(value, &mut text);
                    fits = fits.and_then(|()| self.machine.heap.meter.has_room(text.len()));
                    if fits.is_err() {
                        text.truncate(0);
                    }
                }
                let string = fits.and_then(|()| self.machine.heap.string(&text));
                self.machine.keep_scratch(text);
                right = string?;
                last = from;
            }
            // The result stays where a collection sees it.
            self.thread().stack[base + last] = right;
        }
        Ok(right)
    }
}
