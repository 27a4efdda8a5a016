//! Compiled functions.

use alloc::{boxed::Box, rc::Rc, vec::Vec};

use crate::{fault::Error, instruction::Instruction, lexer, parser};

/// Text of a program: a name or a string.
pub(crate) type Text = Rc<[u8]>;

/// A compiled program. It never changes, and each machine can load it.
#[derive(Clone, Debug)]
pub struct Chunk(pub(crate) Rc<Prototype>);

impl Chunk {
    /// Compiles a program. `name` stands in error texts: `@name` as it is, `=name` too; anything else is taken for the
    /// program's text and shown as `[string "…"]`.
    pub fn compile(source: &[u8], name: &[u8]) -> Result<Self, Error> {
        Self::compile_at_level(source, name, 0)
    }

    /// Compiles within so many levels of nested work.
    pub(crate) fn compile_at_level(source: &[u8], name: &[u8], levels: usize) -> Result<Self, Error> {
        let shown = lexer::shown_name(name);
        match parser::parse(source, name, levels) {
            Ok(prototype) => Ok(Self(Rc::new(prototype))),
            Err(error) => Err(Error::Syntax(error.text(&shown))),
        }
    }

    /// How many bytes the chunk takes, about.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// A constant of a function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    Nil,
    Boolean(bool),
    Number(f64),
    String(Text),
}

/// A local variable, and the instructions during which it is alive.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) name: Text,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// How a function takes extra arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Varargs {
    /// It takes some.
    pub(crate) takes: bool,
    /// It has a local variable `arg`.
    pub(crate) has_arg: bool,
    /// That variable gets a table at each call.
    pub(crate) needs_arg: bool,
}

/// A compiled function.
#[derive(Debug)]
pub(crate) struct Prototype {
    pub(crate) code: Box<[Instruction]>,
    /// The line of each instruction.
    pub(crate) lines: Box<[u32]>,
    pub(crate) constants: Box<[Constant]>,
    pub(crate) children: Box<[Rc<Prototype>]>,
    pub(crate) locals: Box<[Local]>,
    pub(crate) upvalues: Box<[Text]>,
    /// The name of the chunk, as it was given.
    pub(crate) source: Text,
    pub(crate) parameters: u8,
    pub(crate) varargs: Varargs,
    /// How many registers the function uses.
    pub(crate) registers: u8,
}

impl Prototype {
    /// The name of the local variable in a register at an instruction.
    pub(crate) fn local_name(&self, register: usize, pc: usize) -> Option<&Text> {
        let started = self.locals.iter().take_while(|local| local.start as usize <= pc);
        let mut alive = started.filter(|local| pc < local.end as usize);
        alive.nth(register).map(|local| &local.name)
    }

    pub(crate) fn bytes(&self) -> usize {
        let strings: usize = self
            .constants
            .iter()
            .map(|constant| match constant {
                Constant::String(text) => text.len() + 16,
                _ => 0,
            })
            .sum();
        let locals: usize = self.locals.iter().map(|local| local.name.len() + 32).sum();
        let children: usize = self.children.iter().map(|child| child.bytes()).sum();
        size_of::<Self>() + self.code.len() * 12 + self.constants.len() * 24 + strings + locals + children
    }
}

/// A list that becomes a boxed slice.
pub(crate) fn boxed<T>(list: Vec<T>) -> Box<[T]> {
    list.into_boxed_slice()
}

impl Prototype {
    /// A function that does nothing.
    pub(crate) fn nothing() -> Self {
        Self {
            code: Box::default(),
            lines: Box::default(),
            constants: Box::default(),
            children: Box::default(),
            locals: Box::default(),
            upvalues: Box::default(),
            source: Rc::new([]),
            parameters: 0,
            varargs: Varargs::default(),
            registers: 2,
        }
    }
}
