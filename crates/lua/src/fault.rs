//! What ends a run: an error of the script, or a bound.

use alloc::{string::String, vec::Vec};
use core::fmt;

use crate::value::Value;

/// The bounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many instructions a run may execute. Work inside library functions counts too, in proportion to its time.
    pub instructions_max: u64,
    /// How many bytes a machine may hold, garbage that is not yet collected included.
    pub bytes_max: usize,
    /// How many steps all pattern matching of a run may take.
    pub pattern_steps_max: u64,
    /// How many Lua functions may be under way at once. Above, the script gets the error `stack overflow`.
    pub calls_max: usize,
    /// How many library functions that call back, metamethods, coroutines and syntax levels may nest. Above, the
    /// script gets the error `C stack overflow`. Each level takes native stack.
    pub levels_max: usize,
}

impl Default for Limits {
    /// The depths of PUC Lua 5.1, 64 MiB, and about one second of work.
    fn default() -> Self {
        Self {
            instructions_max: 200_000_000,
            bytes_max: 64 << 20,
            pattern_steps_max: 200_000_000,
            calls_max: 20_000,
            levels_max: 200,
        }
    }
}

/// A bound that a run exceeded. A script cannot catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// [`Limits::instructions_max`]
    Instructions,
    /// [`Limits::bytes_max`]
    Memory,
    /// [`Limits::pattern_steps_max`]
    PatternSteps,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instructions => "too many instructions",
            Self::Memory => "not enough memory",
            Self::PatternSteps => "too many pattern matching steps",
        })
    }
}

/// Where a run ended: the name of the chunk as it was given, and the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The name that was given to `Chunk::compile`.
    pub chunk: Vec<u8>,
    /// The line, from 1.
    pub line: u32,
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The chunk is not a Lua program. The text names the chunk and the line.
    Syntax(Vec<u8>),
    /// The script raised an error and did not catch it.
    Script {
        /// What it raised: mostly a string.
        value: Value,
        /// The line of Lua that was executed.
        position: Option<Position>,
    },
    /// A bound was exceeded.
    Bound(Bound, Option<Position>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Script { value, .. } => write!(f, "a {} was raised", value.type_name()),
            Self::Bound(bound, _) => bound.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

/// An error on its way through the interpreter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Throw {
    /// `pcall` catches it.
    Error(Value),
    /// Nothing catches it.
    Bound(Bound),
    /// The coroutine yields so many values, which are on top of its stack. Only `resume` sees this.
    Yield(usize),
}

/// What may be thrown out of an operation.
pub(crate) type Outcome<T> = Result<T, Throw>;
