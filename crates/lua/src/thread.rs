//! The stack of one line of execution: the main program, or a coroutine.

use alloc::{vec, vec::Vec};

use crate::{
    fault::Outcome,
    heap::UpvalueId,
    meter::Meter,
    value::{ThreadId, Value},
};

/// How many registers an instruction can name. So many are always there above the base of a frame.
pub(crate) const WINDOW: usize = 256;
const OVERHEAD_BYTES: usize = 160;
const VALUE_BYTES: usize = size_of::<Value>();

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    /// The place of the function on the stack; its arguments follow.
    pub(crate) function: u32,
    /// The place of register 0, or of the first argument.
    pub(crate) base: u32,
    /// All registers are below.
    pub(crate) limit: u32,
    /// The next instruction.
    pub(crate) pc: u32,
    /// How many results the caller wants; all of them if negative.
    pub(crate) wanted: i32,
    /// How many calls were replaced by tail calls.
    pub(crate) tail_calls: u32,
    pub(crate) is_lua: bool,
    /// The interpreter returns to Rust after this call.
    pub(crate) is_entry: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Suspended,
    Running,
    /// It has resumed another coroutine.
    Normal,
    Dead,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Suspended => "suspended",
            Self::Running => "running",
            Self::Normal => "normal",
            Self::Dead => "dead",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Thread {
    pub(crate) stack: Vec<Value>,
    pub(crate) frames: Vec<Frame>,
    /// The captured variables that are still on the stack, by their place.
    pub(crate) open: Vec<(u32, UpvalueId)>,
    /// Behind the last value, where a count of values is open, and in functions in Rust.
    pub(crate) top: usize,
    pub(crate) status: Status,
    pub(crate) resumer: Option<ThreadId>,
    /// How many levels were nested when the coroutine was resumed.
    pub(crate) levels: usize,
}

impl Thread {
    pub(crate) fn new(meter: &mut Meter) -> Outcome<Self> {
        let size = WINDOW + 64;
        meter.allocate(OVERHEAD_BYTES + size * VALUE_BYTES)?;
        Ok(Self {
            stack: vec![Value::Nil; size],
            ..Self::default()
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.stack.len() * VALUE_BYTES
    }

    /// Makes sure that there is a window above `base`.
    #[inline]
    pub(crate) fn reserve(&mut self, base: usize, meter: &mut Meter) -> Outcome<()> {
        if base + WINDOW > self.stack.len() {
            self.grow(base + WINDOW, meter)?;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, size: usize, meter: &mut Meter) -> Outcome<()> {
        let size = size.max(self.stack.len() * 2);
        let more = size - self.stack.len();
        meter.allocate(more * VALUE_BYTES)?;
        self.stack.reserve_exact(more);
        self.stack.resize(size, Value::Nil);
        Ok(())
    }

    /// The end of what is in use.
    pub(crate) fn extent(&self) -> usize {
        let limits = self.frames.iter().map(|frame| frame.limit as usize);
        limits.max().unwrap_or(0).max(self.top)
    }
}
