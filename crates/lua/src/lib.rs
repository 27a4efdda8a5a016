#![no_std]
//! A Lua 5.1 interpreter with bounds.
//!
//! It does what PUC Lua 5.1 does, to the byte where a program can see it: numbers as text, the order of `pairs`, `#`,
//! error texts. It knows no clock, no address and no seed, so a run depends on its inputs alone.
//!
//! ```
//! use lua::{Chunk, Limits, Machine, NoHost, Value};
//!
//! let mut machine = Machine::new(Limits::default());
//! let chunk = Chunk::compile(b"local a, b = ... return a + b", b"@sum")?;
//! let sum = machine.load(&chunk)?;
//! let args = [Value::Number(1.0), Value::Number(2.0)];
//! let function = machine.loaded(sum);
//! assert_eq!(machine.run(&mut NoHost, function, &args)?, [Value::Number(3.0)]);
//! # Ok::<(), lua::Error>(())
//! ```
//!
//! A [`Chunk`] is a compiled program, which any number of machines can load. A [`Machine`] has values and runs
//! functions. A [`Host`] provides functions in Rust. [`Limits`] bound every run: instructions, memory, steps of pattern
//! matching, depth.

extern crate alloc;

mod arithmetic;
mod collect;
mod emitter;
mod fault;
mod heap;
mod instruction;
mod lexer;
mod library;
mod machine;
mod meter;
mod number;
mod parser;
mod prototype;
mod strings;
mod table;
mod thread;
mod value;
mod vm;

pub use fault::{Bound, Error, Limits, Position};
pub use library::Library;
pub use machine::{Call, Host, Loaded, Machine, NoHost, Raised};
pub use number::write_general;
pub use prototype::Chunk;
pub use value::{ClosureId, NativeId, Str, TableId, ThreadId, Value};
