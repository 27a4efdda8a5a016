//! [`Engine`]: the interpreter of a node, with the functions of `redis` and the libraries of Redis.

use alloc::boxed::Box;

use lua::{Error, Host, Library, Limits, Machine, Raised, TableId, Value};

use super::Program;

/// Bounds of one script; `docs/scripts.md` names them.
const LIMITS: Limits = Limits {
    instructions_max: 5_000_000,
    bytes_max: 64 << 20,
    pattern_steps_max: 5_000_000,
    calls_max: 20_000,
    levels_max: 200,
};
/// If the engine holds more bytes than this after a script, and collecting garbage does not help, a new one is made.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// The functions of the table `redis`, in the order of their numbers.
const FUNCTIONS: [(&[u8], Function); 12] = [
    (b"call", Function::Call),
    (b"pcall", Function::ProtectedCall),
    (b"error_reply", Function::ErrorReply),
    (b"status_reply", Function::StatusReply),
    (b"sha1hex", Function::Sha1),
    (b"log", Function::Log),
    (b"setresp", Function::SetProtocol),
    (b"replicate_commands", Function::True),
    (b"set_repl", Function::Nothing),
    (b"breakpoint", Function::False),
    (b"debug", Function::Nothing),
    (b"acl_check_cmd", Function::True),
];

/// The numbers in the table `redis`.
const NUMBERS: [(&[u8], f64); 10] = [
    (b"LOG_DEBUG", 0.0),
    (b"LOG_VERBOSE", 1.0),
    (b"LOG_NOTICE", 2.0),
    (b"LOG_WARNING", 3.0),
    (b"REPL_NONE", 0.0),
    (b"REPL_AOF", 1.0),
    (b"REPL_SLAVE", 2.0),
    (b"REPL_REPLICA", 2.0),
    (b"REPL_ALL", 3.0),
    (b"REDIS_VERSION_NUM", 458_752.0),
];

/// What a function of `redis` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Call,
    ProtectedCall,
    ErrorReply,
    StatusReply,
    Sha1,
    Log,
    SetProtocol,
    True,
    False,
    Nothing,
}

impl Function {
    /// The function with this number.
    pub(super) fn of(number: u32) -> Self {
        FUNCTIONS
            .get(number as usize)
            .map_or(Self::Nothing, |(_, function)| *function)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) machine: Machine,
}

impl Engine {
    pub(super) fn new() -> Box<Self> {
        let mut machine = Machine::new(LIMITS);
        let prepared = prepare(&mut machine);
        assert!(prepared.is_ok(), "the libraries have room within the bounds");
        Box::new(Self { machine })
    }

    /// Runs a program with its `KEYS` and `ARGV`.
    pub(super) fn run<'a>(
        &mut self,
        host: &mut dyn Host,
        program: &Program,
        keys: impl ExactSizeIterator<Item = &'a [u8]>,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Value, Error> {
        let globals = self.machine.globals();
        let keys = self.list(keys)?;
        self.machine.set_field(globals, b"KEYS", Value::Table(keys))?;
        let args = self.list(args)?;
        self.machine.set_field(globals, b"ARGV", Value::Table(args))?;
        let loaded = self.machine.load(&program.chunk)?;
        let function = self.machine.loaded(loaded);
        let results = self.machine.run(host, function, &[]);
        self.machine.unload(loaded);
        Ok(results?.first().copied().unwrap_or_default())
    }

    fn list<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<TableId, Raised> {
        let table = self.machine.new_table(texts.len(), 0)?;
        for (index, text) in texts.enumerate() {
            let text = self.machine.string(text)?;
            self.machine.set_index(table, index + 1, text)?;
        }
        Ok(table)
    }

    /// Frees what the last script left behind. Returns false if too much stays: then a new engine is needed.
    pub(super) fn tidy(&mut self) -> bool {
        if self.machine.bytes_used() > KEPT_BYTES_MAX {
            self.machine.collect_garbage();
        }
        self.machine.bytes_used() <= KEPT_BYTES_MAX
    }
}

fn prepare(machine: &mut Machine) -> Result<(), Raised> {
    for library in [Library::Bit, Library::Cjson, Library::Cmsgpack, Library::Struct] {
        machine.open(library)?;
    }
    let redis = machine.new_table(0, FUNCTIONS.len() + NUMBERS.len() + 1)?;
    for (number, (name, _)) in FUNCTIONS.iter().enumerate() {
        let function = machine.host_function(number as u32)?;
        machine.set_field(redis, name, function)?;
    }
    for (name, number) in NUMBERS {
        machine.set_field(redis, name, Value::Number(number))?;
    }
    let version = machine.string(super::run::REDIS_VERSION.as_bytes())?;
    machine.set_field(redis, b"REDIS_VERSION", version)?;
    let globals = machine.globals();
    machine.set_field(globals, b"redis", Value::Table(redis))?;
    let empty = machine.new_table(0, 0)?;
    machine.set_field(globals, b"KEYS", Value::Table(empty))?;
    machine.set_field(globals, b"ARGV", Value::Table(empty))?;
    machine.protect_globals()
}
