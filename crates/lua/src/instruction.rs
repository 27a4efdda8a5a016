//! The instructions of compiled functions.
//!
//! They are those of PUC Lua 5.1, because names in error texts ("local 'x'", "field 'y'") are found by reading the
//! instructions backwards. Some kinds of operands have instructions of their own, which the interpreter executes
//! faster. R is a register, K a constant, RK either: a number from [`CONSTANT`] on is a constant.

/// From here on an operand means a constant rather than a register.
pub(crate) const CONSTANT: i32 = 256;
/// The largest constant that an operand can name.
pub(crate) const OPERAND_CONSTANT_MAX: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Op {
    /// R(a) = R(b)
    Move,
    /// R(a) = K(c)
    LoadK,
    /// R(a) = b as a boolean; skips the next instruction if c
    LoadBool,
    /// R(a) … R(b) = nil
    LoadNil,
    /// R(a) = upvalue b
    GetUpvalue,
    /// R(a) = global K(c)
    GetGlobal,
    /// R(a) = R(b)[RK(c)]
    GetTable,
    /// R(a) = R(b)[K(c)], a string
    GetField,
    /// global K(c) = R(a)
    SetGlobal,
    /// upvalue b = R(a)
    SetUpvalue,
    /// R(a)[RK(b)] = RK(c)
    SetTable,
    /// R(a)[K(b)] = RK(c), b is a string
    SetField,
    /// R(a) = {}, with sizes b and c
    NewTable,
    /// R(a+1) = R(b); R(a) = R(b)[RK(c)]
    Method,
    /// R(a) = RK(b) + RK(c), and so on
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    /// R(a) = -R(b)
    Minus,
    /// R(a) = not R(b)
    Not,
    /// R(a) = #R(b)
    Length,
    /// R(a) = R(b) .. … .. R(c)
    Concat,
    /// Jumps by c
    Jump,
    /// Skips the next instruction if (RK(b) == RK(c)) is not a
    Equal,
    /// The same with <
    Less,
    /// The same with <=
    LessEqual,
    /// Skips the next instruction if R(a) as a boolean is not c
    Test,
    /// The same with R(b), else R(a) = R(b)
    TestSet,
    /// R(a) … = R(a)(R(a+1) …): b-1 arguments, c-1 results; 0 means as many as there are
    Call,
    /// return R(a)(R(a+1) …)
    TailCall,
    /// return R(a) …: b-1 values
    Return,
    /// R(a) += R(a+2); jumps by c if R(a) is within R(a+1); R(a+3) = R(a)
    ForLoop,
    /// R(a) -= R(a+2); jumps by c
    ForPrepare,
    /// R(a+3) … = R(a)(R(a+1), R(a+2)): c results; skips the next instruction at the end
    ForIn,
    /// R(a)[(c-1) * 50 + i] = R(a+i) for i up to b
    SetList,
    /// Closes the captured variables from R(a) on
    Close,
    /// R(a) = closure of function c; an instruction for each upvalue follows
    Closure,
    /// R(a) … = the extra arguments: b-1 of them
    Varargs,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) op: Op,
    pub(crate) a: u8,
    pub(crate) b: u16,
    pub(crate) c: i32,
}

impl Instruction {
    pub(crate) fn new(op: Op, a: u8, b: u16, c: i32) -> Self {
        Self { op, a, b, c }
    }

    /// Whether the instruction decides over the jump that follows it.
    pub(crate) fn is_test(self) -> bool {
        use Op::{Equal, ForIn, Less, LessEqual, Test, TestSet};
        matches!(self.op, Equal | Less | LessEqual | Test | TestSet | ForIn)
    }

    /// Whether the instruction sets R(a) alone. PUC Lua counts `Test` among them, so names are lost behind it.
    pub(crate) fn sets_a(self) -> bool {
        use Op::{
            Add, Closure, Concat, Div, ForLoop, ForPrepare, GetField, GetGlobal, GetTable, GetUpvalue, Length,
            LoadBool, LoadK, LoadNil, Method, Minus, Mod, Move, Mul, NewTable, Not, Pow, Sub, TestSet, Varargs,
        };
        matches!(
            self.op,
            Move | LoadK
                | LoadBool
                | LoadNil
                | GetUpvalue
                | GetGlobal
                | GetTable
                | GetField
                | NewTable
                | Method
                | Add
                | Sub
                | Mul
                | Div
                | Mod
                | Pow
                | Minus
                | Not
                | Length
                | Concat
                | Op::Test
                | TestSet
                | Op::Call
                | Op::TailCall
                | ForLoop
                | ForPrepare
                | Closure
                | Varargs
        )
    }
}

/// A size as one byte: three bits of mantissa, five of exponent. It is rounded up.
pub(crate) fn size_to_byte(mut size: usize) -> u16 {
    let mut exponent = 0;
    while size >= 16 {
        size = size.div_ceil(2);
        exponent += 1;
    }
    if size < 8 {
        size as u16
    } else {
        ((exponent + 1) << 3) | (size as u16 - 8)
    }
}

/// The size that a byte says.
pub(crate) fn byte_to_size(byte: usize) -> usize {
    match byte >> 3 {
        0 => byte,
        exponent => ((byte & 7) + 8) << (exponent - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_8_bytes() {
        assert_eq!(size_of::<Instruction>(), 8);
    }

    #[test]
    fn sizes_are_rounded_up() {
        for (size, read) in [(0, 0), (7, 7), (15, 15), (16, 16), (17, 18), (50, 52), (1000, 1024)] {
            assert_eq!(byte_to_size(usize::from(size_to_byte(size))), read);
        }
    }
}
