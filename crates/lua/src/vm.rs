//! Calls: how functions in Lua and in Rust begin and end.
//!
//! A call of a Lua function by a Lua function is a [`Frame`] more on the stack of the thread, and no call in Rust.
//! Where Rust calls Lua (metamethods, `pcall`, `sort`, coroutines, iterators), the interpreter runs once more inside
//! itself; [`Limits::levels_max`](crate::Limits) bounds how often.

mod coroutine;
mod errors;
mod execute;
mod metamethods;
mod names;

use crate::{
    fault::{Outcome, Throw},
    heap::{Upvalue, UpvalueId},
    machine::{Host, Machine},
    thread::{Frame, Thread},
    value::{ClosureId, NativeId, TableId, Value},
};

/// A function in Rust: gets its arguments' place, and leaves results on top of the stack. Returns how many.
pub(crate) type NativeFunction = fn(&mut Vm<'_>, Args) -> Outcome<usize>;

/// Where the arguments of a function in Rust are on the stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) base: usize,
    pub(crate) count: usize,
}

/// A machine during a run.
pub(crate) struct Vm<'a> {
    pub(crate) machine: &'a mut Machine,
    /// What the functions of the host work on. It is taken out while one of them runs.
    pub(crate) host: Option<&'a mut dyn Host>,
}

impl Machine {
    /// Closes all captured variables from a place of the stack on.
    pub(crate) fn close_upvalues(&mut self, from: usize) {
        while let Some((slot, upvalue)) = self.thread.open.last().copied()
            && slot as usize >= from
        {
            self.thread.open.pop();
            self.heap.upvalues.slots[upvalue.0 as usize] = Upvalue::Closed(self.thread.stack[slot as usize]);
        }
    }

    /// The captured variable at a place of the stack. There is one for each place.
    pub(crate) fn capture(&mut self, slot: usize) -> Outcome<UpvalueId> {
        let open = &self.thread.open;
        let behind = open
            .iter()
            .rposition(|(other, _)| *other as usize <= slot)
            .map_or(0, |at| at + 1);
        if let Some((other, upvalue)) = behind.checked_sub(1).map(|at| open[at])
            && other as usize == slot
        {
            return Ok(upvalue);
        }
        let upvalue = self.heap.new_upvalue(Upvalue::Open {
            thread: self.running,
            slot: slot as u32,
        })?;
        self.thread.open.insert(behind, (slot as u32, upvalue));
        Ok(upvalue)
    }

    pub(crate) fn upvalue(&self, upvalue: UpvalueId) -> Value {
        match self.heap.upvalues.slots[upvalue.0 as usize] {
            Upvalue::Closed(value) => value,
            Upvalue::Open { thread, slot } if thread == self.running => self.thread.stack[slot as usize],
            Upvalue::Open { thread, slot } => self.heap.threads.slots[thread.0 as usize].stack[slot as usize],
        }
    }

    pub(crate) fn set_upvalue(&mut self, upvalue: UpvalueId, value: Value) {
        match &mut self.heap.upvalues.slots[upvalue.0 as usize] {
            Upvalue::Closed(place) => *place = value,
            Upvalue::Open { thread, slot } if *thread == self.running => self.thread.stack[*slot as usize] = value,
            Upvalue::Open { thread, slot } => {
                self.heap.threads.slots[thread.0 as usize].stack[*slot as usize] = value;
            }
        }
    }
}

impl Vm<'_> {
    #[inline]
    pub(crate) fn thread(&mut self) -> &mut Thread {
        &mut self.machine.thread
    }

    /// Puts a value on top of the stack.
    #[inline]
    pub(crate) fn push(&mut self, value: Value) -> Outcome<()> {
        let thread = &mut self.machine.thread;
        let top = thread.top;
        thread.reserve(top, &mut self.machine.heap.meter)?;
        thread.stack[top] = value;
        thread.top = top + 1;
        Ok(())
    }

    /// Returns one value from a function in Rust.
    #[inline]
    pub(crate) fn result(&mut self, value: Value) -> Outcome<usize> {
        self.push(value)?;
        Ok(1)
    }

    /// Begins a call of a Lua function whose arguments are on the stack behind it.
    #[inline]
    pub(crate) fn enter(
        &mut self,
        closure: ClosureId,
        function: usize,
        count: usize,
        wanted: i32,
        is_entry: bool,
    ) -> Outcome<()> {
        let machine = &mut *self.machine;
        if machine.thread.frames.len() >= machine.limits.calls_max {
            return Err(self.stack_overflow());
        }
        let prototype = &machine.heap.closures.slots[closure.0 as usize].function.prototype;
        let parameters = usize::from(prototype.parameters);
        let registers = usize::from(prototype.registers);
        let thread = &mut machine.thread;
        let base = if prototype.varargs.takes {
            let needs_arg = prototype.varargs.needs_arg;
            self.enter_varargs(function, count, parameters, registers, needs_arg)?
        } else {
            let base = function + 1;
            thread.reserve(base, &mut machine.heap.meter)?;
            if count < registers {
                thread.stack[base + count.min(parameters)..base + registers].fill(Value::Nil);
            } else {
                thread.stack[base + parameters..base + registers].fill(Value::Nil);
            }
            base
        };
        self.machine.thread.frames.push(Frame {
            function: function as u32,
            base: base as u32,
            limit: (base + registers) as u32,
            pc: 0,
            wanted,
            tail_calls: 0,
            is_lua: true,
            is_entry,
        });
        Ok(())
    }

    /// Moves the named parameters behind the arguments, so that the extra ones stay below the frame. Returns its base.
    #[inline(never)]
    fn enter_varargs(
        &mut self,
        function: usize,
        count: usize,
        parameters: usize,
        registers: usize,
        needs_arg: bool,
    ) -> Outcome<usize> {
        let machine = &mut *self.machine;
        let first = function + 1;
        let actual = count.max(parameters);
        let base = first + actual;
        machine.thread.reserve(base, &mut machine.heap.meter)?;
        let stack = &mut machine.thread.stack;
        stack[first + count..first + actual].fill(Value::Nil);
        stack[base..base + registers].fill(Value::Nil);
        for index in 0..parameters {
            stack[base + index] = core::mem::take(&mut stack[first + index]);
        }
        if needs_arg {
            let extra = actual - parameters;
            let table = machine.heap.new_table(extra, 1)?;
            for index in 0..extra {
                let value = machine.thread.stack[first + parameters + index];
                machine.heap.set_index(table, index + 1, value)?;
            }
            machine.heap.set_field(table, b"n", Value::Number(extra as f64))?;
            machine.thread.stack[base + parameters] = Value::Table(table);
        }
        Ok(base)
    }

    /// Calls a function in Rust whose arguments are on the stack behind it.
    #[inline]
    pub(crate) fn call_native(&mut self, native: NativeId, function: usize, count: usize, wanted: i32) -> Outcome<()> {
        let machine = &mut *self.machine;
        if machine.thread.frames.len() >= machine.limits.calls_max {
            return Err(self.stack_overflow());
        }
        let base = function + 1;
        let top = base + count;
        machine.thread.reserve(top, &mut machine.heap.meter)?;
        machine.thread.top = top;
        machine.thread.frames.push(Frame {
            function: function as u32,
            base: base as u32,
            limit: top as u32,
            pc: 0,
            wanted,
            tail_calls: 0,
            is_lua: false,
            is_entry: false,
        });
        if machine.heap.meter.wants_collection() {
            machine.collect();
        }
        let call = machine.heap.native(native).call;
        let results = call(self, Args { base, count })?;
        self.finish_native(results);
        Ok(())
    }

    /// Ends a function in Rust: its results, on top of the stack, go where its caller expects them.
    #[inline]
    pub(crate) fn finish_native(&mut self, results: usize) {
        let thread = &mut self.machine.thread;
        let Some(frame) = thread.frames.pop() else { return };
        let from = thread.top - results;
        let to = frame.function as usize;
        if frame.wanted < 0 {
            thread.stack.copy_within(from..from + results, to);
            thread.top = to + results;
            return;
        }
        let wanted = frame.wanted as usize;
        for index in 0..wanted {
            thread.stack[to + index] = if index < results {
                thread.stack[from + index]
            } else {
                Value::Nil
            };
        }
        thread.top = to + wanted;
    }

    /// Begins a call of anything. Whether it is a Lua function, which the interpreter is then to execute.
    pub(crate) fn begin(&mut self, function: usize, mut count: usize, wanted: i32, is_entry: bool) -> Outcome<bool> {
        let mut callee = self.machine.thread.stack[function];
        if !callee.is_function() {
            callee = self.call_metamethod(function, count)?;
            count += 1;
        }
        match callee {
            Value::Closure(closure) => {
                self.enter(closure, function, count, wanted, is_entry)?;
                Ok(true)
            }
            Value::Native(native) => {
                self.call_native(native, function, count, wanted)?;
                Ok(false)
            }
            _ => Err(self.type_error(callee, "call", None)),
        }
    }

    /// Replaces a value that is called by its metamethod, with the value as first argument.
    fn call_metamethod(&mut self, function: usize, count: usize) -> Outcome<Value> {
        let callee = self.machine.thread.stack[function];
        let metamethod = self.metamethod(callee, names::Event::Call);
        if !metamethod.is_function() {
            let register = self.register_of(function);
            return Err(self.type_error(callee, "call", register));
        }
        let machine = &mut *self.machine;
        let end = function + 1 + count;
        machine.thread.reserve(end + 1, &mut machine.heap.meter)?;
        machine.thread.stack.copy_within(function..end, function + 1);
        machine.thread.stack[function] = metamethod;
        machine.thread.top = end + 1;
        Ok(metamethod)
    }

    /// Calls a value from Rust, and waits for the end. Arguments are on top of the stack; results replace the function.
    pub(crate) fn call(&mut self, function: usize, wanted: i32) -> Outcome<()> {
        self.enter_level()?;
        let count = self.machine.thread.top - function - 1;
        if self.begin(function, count, wanted, true)? {
            self.execute()?;
        }
        self.machine.levels -= 1;
        let thread = &mut self.machine.thread;
        if wanted >= 0 {
            thread.top = function + wanted as usize;
        }
        Ok(())
    }

    /// Calls a value with arguments. Results are on top of the stack, from the place that is returned on.
    pub(crate) fn call_with(&mut self, callee: Value, args: &[Value], wanted: i32) -> Outcome<usize> {
        let function = self.machine.thread.top;
        self.push(callee)?;
        for arg in args {
            self.push(*arg)?;
        }
        self.call(function, wanted)?;
        Ok(function)
    }

    /// Calls a value with arguments for one result.
    pub(crate) fn call_for_one(&mut self, callee: Value, args: &[Value]) -> Outcome<Value> {
        let place = self.call_with(callee, args, 1)?;
        let thread = &mut self.machine.thread;
        thread.top = place;
        Ok(thread.stack[place])
    }

    /// Counts one more level of Rust calling Lua.
    pub(crate) fn enter_level(&mut self) -> Outcome<()> {
        let max = self.machine.limits.levels_max;
        if self.machine.levels >= max {
            return Err(self.runtime_error(b"C stack overflow"));
        }
        self.machine.levels += 1;
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn stack_overflow(&mut self) -> Throw {
        self.runtime_error(b"stack overflow")
    }

    /// Calls a value so that errors end there: the error's value, if there was one. The stack is as before.
    pub(crate) fn call_protected(&mut self, function: usize, wanted: i32) -> Outcome<Result<(), Value>> {
        let (levels, frames) = (self.machine.levels, self.machine.thread.frames.len());
        match self.call(function, wanted) {
            Ok(()) => Ok(Ok(())),
            Err(Throw::Error(value)) => {
                self.machine.levels = levels;
                self.machine.close_upvalues(function);
                let thread = self.thread();
                thread.frames.truncate(frames);
                thread.top = function;
                Ok(Err(value))
            }
            Err(other) => Err(other),
        }
    }

    /// The metatable of a value.
    pub(crate) fn metatable(&self, value: Value) -> Option<TableId> {
        match value {
            Value::Table(table) => self.machine.heap.table(table).meta,
            Value::String(_) => self.machine.string_meta,
            _ => None,
        }
    }

    /// The metamethod of a value, or `nil`.
    pub(crate) fn metamethod(&mut self, value: Value, event: names::Event) -> Value {
        match self.metatable(value) {
            Some(meta) => self.machine.event(meta, event),
            None => Value::Nil,
        }
    }
}

pub(crate) use names::{Event, Names};
