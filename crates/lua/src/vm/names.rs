//! The names of metamethods.

use crate::{
    fault::Outcome,
    heap::Heap,
    machine::Machine,
    value::{Str, TableId, Value},
};

/// What a metamethod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    // The absence of these is remembered in the metatable.
    Index,
    NewIndex,
    Equal,
    Mode,
    // These are looked up each time.
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Minus,
    Less,
    LessEqual,
    Concat,
    Call,
    ToString,
    Metatable,
}

const REMEMBERED: u8 = Event::Mode as u8;

const NAMES: [&str; 17] = [
    "__index",
    "__newindex",
    "__eq",
    "__mode",
    "__add",
    "__sub",
    "__mul",
    "__div",
    "__mod",
    "__pow",
    "__unm",
    "__lt",
    "__le",
    "__concat",
    "__call",
    "__tostring",
    "__metatable",
];

/// The names as strings of a machine.
#[derive(Debug)]
pub(crate) struct Names([Str; NAMES.len()]);

impl Names {
    pub(crate) fn new(heap: &mut Heap) -> Outcome<Self> {
        let mut names = [Str { id: 0, hash: 0 }; NAMES.len()];
        for (place, name) in names.iter_mut().zip(NAMES) {
            *place = heap.strings.intern(name.as_bytes(), &mut heap.meter)?;
        }
        Ok(Self(names))
    }

    pub(crate) fn get(&self, event: Event) -> Str {
        self.0[event as usize]
    }

    pub(crate) fn all(&self) -> &[Str] {
        &self.0
    }
}

impl Machine {
    /// The metamethod for an event in a metatable, or `nil`.
    #[inline]
    pub(crate) fn event(&mut self, meta: TableId, event: Event) -> Value {
        let name = self.names.get(event);
        let is_remembered = event as u8 <= REMEMBERED;
        let bit = 1 << (event as u8 & 7);
        let table = &mut self.heap.tables.slots[meta.0 as usize];
        if is_remembered && table.absent & bit != 0 {
            return Value::Nil;
        }
        let found = table.get_str(name, &self.heap.meter);
        if is_remembered && found.is_nil() {
            table.absent |= bit;
        }
        found
    }
}
