//! Lua values. A value is small and `Copy`; what is large lives in the arenas of a machine, and a value holds its
//! handle.

/// A string of a machine: its place, and the hash that tables use.
///
/// Equal strings have equal handles, because a machine keeps each string once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Str {
    pub(crate) id: u32,
    pub(crate) hash: u32,
}

/// A table of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableId(pub(crate) u32);

/// A function that was written in Lua, with its captured variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClosureId(pub(crate) u32);

/// A function that was written in Rust: of a library, or of the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeId(pub(crate) u32);

/// A coroutine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ThreadId(pub(crate) u32);

/// Any Lua value. A handle is valid for the machine that made it, until that machine starts its next run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
// Every payload is at the same place, so that a value is copied as two words.
#[repr(C, u32)]
pub enum Value {
    /// `nil`
    #[default]
    Nil,
    /// `true` or `false`
    Boolean(bool),
    /// A number: Lua 5.1 has no integers.
    Number(f64),
    /// A string of bytes.
    String(Str),
    /// A table.
    Table(TableId),
    /// A function in Lua.
    Closure(ClosureId),
    /// A function in Rust.
    Native(NativeId),
    /// A coroutine.
    Thread(ThreadId),
    /// A light userdata. `cjson.null` is number 0.
    Light(u32),
}

impl Value {
    /// Whether an `if` takes the value as true: all but `nil` and `false`.
    #[inline]
    pub fn is_true(self) -> bool {
        !matches!(self, Self::Nil | Self::Boolean(false))
    }

    /// Whether the value is `nil`.
    #[inline]
    pub fn is_nil(self) -> bool {
        matches!(self, Self::Nil)
    }

    /// What `type` returns.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Boolean(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Table(_) => "table",
            Self::Closure(_) | Self::Native(_) => "function",
            Self::Thread(_) => "thread",
            Self::Light(_) => "userdata",
        }
    }

    /// Whether the value is a function.
    pub fn is_function(self) -> bool {
        matches!(self, Self::Closure(_) | Self::Native(_))
    }
}

/// The number as a table index, if it is an integer of 32 bits.
#[inline]
pub(crate) fn as_index(number: f64) -> Option<i32> {
    // Adding this number rounds to an integer, which then stands in the low bits of the sum.
    const ROUNDING: f64 = 6_755_399_441_055_744.0;
    let index = (number + ROUNDING).to_bits() as i32;
    (f64::from(index) == number).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_16_bytes() {
        assert_eq!(size_of::<Value>(), 16);
    }

    #[test]
    fn integers_of_32_bits_are_indices() {
        for (number, index) in [
            (1.0, Some(1)),
            (-0.0, Some(0)),
            (-7.0, Some(-7)),
            (2_147_483_647.0, Some(i32::MAX)),
            (2_147_483_648.0, None),
            (-2_147_483_648.0, Some(i32::MIN)),
            (0.5, None),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(as_index(number), index, "{number}");
        }
    }
}
