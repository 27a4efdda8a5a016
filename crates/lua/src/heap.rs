//! The arenas of a machine: everything that a value has a handle of.

use alloc::{boxed::Box, rc::Rc, vec::Vec};
use core::cell::Cell;

use crate::{
    fault::Outcome,
    meter::Meter,
    prototype::{Constant, Prototype},
    strings::Strings,
    table::{self, Table},
    thread::Thread,
    value::{ClosureId, NativeId, Str, TableId, ThreadId, Value},
    vm::NativeFunction,
};

const CLOSURE_BYTES: usize = 48;
const UPVALUE_BYTES: usize = 32;
const NATIVE_BYTES: usize = 48;

/// A compiled function with its constants as values of a machine.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) prototype: Rc<Prototype>,
    pub(crate) constants: Box<[Value]>,
    pub(crate) children: Box<[Rc<Function>]>,
    /// The collection that marked the constants last.
    pub(crate) marked_in: Cell<u32>,
    bytes: usize,
}

/// A variable that a closure captured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Upvalue {
    /// It is still on the stack of a thread.
    Open { thread: ThreadId, slot: u32 },
    /// Its function has ended.
    Closed(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpvalueId(pub(crate) u32);

#[derive(Debug)]
pub(crate) struct Closure {
    pub(crate) function: Rc<Function>,
    pub(crate) upvalues: Box<[UpvalueId]>,
}

/// A function in Rust.
#[derive(Debug)]
pub(crate) struct Native {
    pub(crate) call: NativeFunction,
    /// What it keeps from call to call.
    pub(crate) state: Box<[Value]>,
    /// The number by which the host knows it.
    pub(crate) number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Free,
    White,
    Black,
}

/// Places for values of one type. A place that is free is used again.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    pub(crate) slots: Vec<T>,
    pub(crate) marks: Vec<Mark>,
    free: Vec<u32>,
}

impl<T> Arena<T> {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            marks: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = value;
                self.marks[id as usize] = Mark::White;
                id
            }
            None => {
                self.slots.push(value);
                self.marks.push(Mark::White);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// Whether the place was not marked before.
    #[inline]
    pub(crate) fn mark(&mut self, id: u32) -> bool {
        let mark = &mut self.marks[id as usize];
        let is_new = *mark == Mark::White;
        if is_new {
            *mark = Mark::Black;
        }
        is_new
    }

    pub(crate) fn is_marked(&self, id: u32) -> bool {
        self.marks[id as usize] == Mark::Black
    }

    /// Frees what is not marked, after `dispose` has emptied it, and drops all marks.
    pub(crate) fn sweep(&mut self, mut dispose: impl FnMut(&mut T)) {
        for (id, mark) in self.marks.iter_mut().enumerate() {
            match mark {
                Mark::Free => {}
                Mark::Black => *mark = Mark::White,
                Mark::White => {
                    *mark = Mark::Free;
                    dispose(&mut self.slots[id]);
                    self.free.push(id as u32);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// All that values of a machine have handles of, and the account of it.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) strings: Strings,
    pub(crate) tables: Arena<Table>,
    pub(crate) closures: Arena<Closure>,
    pub(crate) upvalues: Arena<Upvalue>,
    pub(crate) natives: Arena<Native>,
    pub(crate) threads: Arena<Thread>,
    pub(crate) meter: Meter,
    /// A function that does nothing, for closures that are free.
    pub(crate) nothing: Rc<Function>,
    /// The collection under way.
    pub(crate) epoch: u32,
}

impl Heap {
    pub(crate) fn new(meter: Meter, nothing: Rc<Prototype>) -> Self {
        Self {
            strings: Strings::new(),
            tables: Arena::new(),
            closures: Arena::new(),
            upvalues: Arena::new(),
            natives: Arena::new(),
            threads: Arena::new(),
            meter,
            nothing: Rc::new(Function {
                prototype: nothing,
                constants: Box::default(),
                children: Box::default(),
                marked_in: Cell::new(0),
                bytes: 0,
            }),
            epoch: 0,
        }
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) -> Outcome<Value> {
        self.strings.intern(bytes, &mut self.meter).map(Value::String)
    }

    pub(crate) fn string_vec(&mut self, bytes: Vec<u8>) -> Outcome<Value> {
        self.strings.intern_vec(bytes, &mut self.meter).map(Value::String)
    }

    #[inline]
    pub(crate) fn bytes(&self, string: Str) -> &[u8] {
        self.strings.get(string)
    }

    #[inline]
    pub(crate) fn table(&self, id: TableId) -> &Table {
        &self.tables.slots[id.0 as usize]
    }

    #[inline]
    pub(crate) fn table_mut(&mut self, id: TableId) -> &mut Table {
        &mut self.tables.slots[id.0 as usize]
    }

    /// A new table with room for so many values in its array part, and so many other keys.
    pub(crate) fn new_table(&mut self, array: usize, keys: usize) -> Outcome<TableId> {
        self.meter.allocate(table::OVERHEAD_BYTES)?;
        let mut table = Table::default();
        if array > 0 || keys > 0 {
            table.resize(array, keys, &mut self.meter)?;
        }
        Ok(TableId(self.tables.insert(table)))
    }

    /// The value of a key, without metamethods.
    #[inline]
    pub(crate) fn get(&self, table: TableId, key: Value) -> Value {
        self.table(table).get(key, &self.meter)
    }

    /// The value of a key that is a string.
    pub(crate) fn get_str(&self, table: TableId, key: Str) -> Value {
        self.table(table).get_str(key, &self.meter)
    }

    /// Sets a key that is neither `nil` nor NaN, without metamethods.
    pub(crate) fn set(&mut self, table: TableId, key: Value, value: Value) -> Outcome<()> {
        self.tables.slots[table.0 as usize].set(key, value, &mut self.meter)
    }

    /// Sets an index, without metamethods.
    pub(crate) fn set_index(&mut self, table: TableId, index: usize, value: Value) -> Outcome<()> {
        let slot = &mut self.tables.slots[table.0 as usize];
        if let Some(place) = slot.array.get_mut(index.wrapping_sub(1)) {
            *place = value;
            return Ok(());
        }
        slot.set(Value::Number(index as f64), value, &mut self.meter)
    }

    /// Sets a field, without metamethods.
    pub(crate) fn set_field(&mut self, table: TableId, key: &[u8], value: Value) -> Outcome<()> {
        let key = self.string(key)?;
        self.set(table, key, value)
    }

    /// One step of `for … in pairs` or `ipairs`, if `iterator` is theirs: the key and value, `nil` at the end.
    #[inline]
    pub(crate) fn step(
        &self,
        steppers: [NativeId; 2],
        iterator: NativeId,
        table: TableId,
        control: Value,
    ) -> Option<(Value, Value)> {
        let table = self.table(table);
        if iterator == steppers[0] {
            return table.next(control, &self.meter);
        }
        if iterator == steppers[1]
            && let Value::Number(index) = control
        {
            let key = Value::Number(index + 1.0);
            let value = table.get(key, &self.meter);
            return Some(if value.is_nil() {
                (Value::Nil, Value::Nil)
            } else {
                (key, value)
            });
        }
        None
    }

    pub(crate) fn new_closure(&mut self, function: Rc<Function>, upvalues: Box<[UpvalueId]>) -> Outcome<ClosureId> {
        self.meter.allocate(CLOSURE_BYTES + upvalues.len() * 4)?;
        Ok(ClosureId(self.closures.insert(Closure { function, upvalues })))
    }

    pub(crate) fn new_upvalue(&mut self, upvalue: Upvalue) -> Outcome<UpvalueId> {
        self.meter.allocate(UPVALUE_BYTES)?;
        Ok(UpvalueId(self.upvalues.insert(upvalue)))
    }

    pub(crate) fn new_native(&mut self, call: NativeFunction, state: &[Value], number: u32) -> Outcome<NativeId> {
        self.meter.allocate(NATIVE_BYTES + size_of_val(state))?;
        Ok(NativeId(self.natives.insert(Native {
            call,
            state: state.into(),
            number,
        })))
    }

    #[inline]
    pub(crate) fn native(&self, id: NativeId) -> &Native {
        &self.natives.slots[id.0 as usize]
    }

    #[inline]
    pub(crate) fn closure(&self, id: ClosureId) -> &Closure {
        &self.closures.slots[id.0 as usize]
    }

    /// Makes the constants of a compiled function, and of all functions in it, values of this machine.
    pub(crate) fn link(&mut self, prototype: &Rc<Prototype>) -> Outcome<Rc<Function>> {
        let bytes = size_of::<Function>() + prototype.constants.len() * size_of::<Value>();
        self.meter.allocate(bytes)?;
        let mut constants = Vec::with_capacity(prototype.constants.len());
        for constant in &prototype.constants {
            constants.push(match constant {
                Constant::Nil => Value::Nil,
                Constant::Boolean(boolean) => Value::Boolean(*boolean),
                Constant::Number(number) => Value::Number(*number),
                Constant::String(text) => self.string(text)?,
            });
        }
        let children: Outcome<Box<[_]>> = prototype.children.iter().map(|child| self.link(child)).collect();
        Ok(Rc::new(Function {
            prototype: prototype.clone(),
            constants: constants.into_boxed_slice(),
            children: children?,
            marked_in: Cell::new(0),
            bytes,
        }))
    }

    /// Frees everything that is not marked.
    pub(crate) fn sweep(&mut self) {
        let Self {
            strings,
            tables,
            closures,
            upvalues,
            natives,
            threads,
            meter,
            nothing,
            ..
        } = self;
        strings.sweep(meter);
        tables.sweep(|table| {
            meter.free(table.bytes());
            *table = Table::default();
        });
        closures.sweep(|closure| {
            meter.free(CLOSURE_BYTES + closure.upvalues.len() * 4);
            closure.upvalues = Box::default();
            let function = core::mem::replace(&mut closure.function, nothing.clone());
            free_function(function, meter);
        });
        upvalues.sweep(|upvalue| {
            meter.free(UPVALUE_BYTES);
            *upvalue = Upvalue::Closed(Value::Nil);
        });
        natives.sweep(|native| {
            meter.free(NATIVE_BYTES + size_of_val(&*native.state));
            native.state = Box::default();
        });
        threads.sweep(|thread| {
            meter.free(thread.bytes());
            *thread = Thread::default();
        });
        let slots = self.strings.slots()
            + self.tables.len()
            + self.closures.len()
            + self.upvalues.len()
            + self.natives.len()
            + self.threads.len();
        self.meter.collected(slots);
    }
}

/// Gives back the bytes of a function that nothing uses any more.
fn free_function(function: Rc<Function>, meter: &mut Meter) {
    if let Some(function) = Rc::into_inner(function) {
        meter.free(function.bytes);
        for child in function.children {
            free_function(child, meter);
        }
    }
}
