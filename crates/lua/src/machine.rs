//! A machine: the values of one interpreter, and how a program embeds it.

use alloc::{rc::Rc, vec::Vec};

use crate::{
    fault::{Bound, Error, Limits, Outcome, Position, Throw},
    heap::Heap,
    library,
    meter::Meter,
    prototype::{Chunk, Prototype},
    thread::Thread,
    value::{NativeId, Str, TableId, ThreadId, Value},
    vm::{Args, Names, Vm},
};

/// A buffer that grew larger than this is not kept.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// What a program provides for scripts: functions in Rust, known by number.
pub trait Host {
    /// Executes the function that was made with [`Machine::host_function`] and this number. An error is raised in the
    /// script.
    fn call(&mut self, function: u32, call: &mut Call<'_>) -> Result<(), Raised>;
}

/// A host without functions.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHost;

impl Host for NoHost {
    fn call(&mut self, _function: u32, call: &mut Call<'_>) -> Result<(), Raised> {
        Err(call.error(b"this function does not exist"))
    }
}

/// An error that a function of the host raises: any Lua value, or an exceeded bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Raised(pub(crate) Throw);

impl Raised {
    /// Raises a value. `error` in a script does the same.
    pub fn value(value: Value) -> Self {
        Self(Throw::Error(value))
    }
}

impl From<Throw> for Raised {
    fn from(throw: Throw) -> Self {
        Self(throw)
    }
}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Self {
        Self::at(raised.0, None)
    }
}

impl Error {
    fn at(throw: Throw, position: Option<Position>) -> Self {
        match throw {
            Throw::Error(value) => Self::Script { value, position },
            Throw::Bound(bound) => Self::Bound(bound, position),
            Throw::Yield(_) => Self::Script {
                value: Value::Nil,
                position,
            },
        }
    }
}

/// A value that a machine keeps until [`Machine::unload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded(usize);

/// An interpreter with its values.
#[derive(Debug)]
pub struct Machine {
    pub(crate) heap: Heap,
    pub(crate) globals: TableId,
    pub(crate) string_meta: Option<TableId>,
    pub(crate) names: Names,
    /// The coroutine that is running, and its number. Its own place in the heap is empty meanwhile.
    pub(crate) thread: Thread,
    pub(crate) running: ThreadId,
    pub(crate) limits: Limits,
    /// How many calls from Rust are nested.
    pub(crate) levels: usize,
    pub(crate) pinned: Vec<Option<Value>>,
    /// A buffer for text that becomes a string.
    pub(crate) scratch: Vec<u8>,
    pub(crate) random: library::Random,
    pub(crate) cjson: library::cjson::Settings,
    /// `next`, and what `ipairs` iterates with: the interpreter steps by itself.
    pub(crate) steppers: [NativeId; 2],
}

impl Machine {
    /// A machine with the libraries of Lua that have no side effects: the basic functions without `print`, `dofile`
    /// and `loadfile`; `coroutine`, `math`, `string`, `table`; `os.clock`.
    ///
    /// # Panics
    ///
    /// If the libraries alone exceed `limits.bytes_max`; they take some 60 KiB.
    pub fn new(limits: Limits) -> Self {
        match Self::with_libraries(limits) {
            Ok(machine) => machine,
            Err(_) => panic!("bytes_max has room for the libraries"),
        }
    }

    fn with_libraries(limits: Limits) -> Outcome<Self> {
        let mut heap = Heap::new(Meter::new(&limits), Rc::new(Prototype::nothing()));
        let main = Thread::new(&mut heap.meter)?;
        let running = ThreadId(heap.threads.insert(Thread::default()));
        let globals = heap.new_table(0, 0)?;
        let names = Names::new(&mut heap)?;
        let mut machine = Self {
            heap,
            globals,
            string_meta: None,
            names,
            thread: main,
            running,
            limits,
            levels: 0,
            pinned: Vec::new(),
            scratch: Vec::new(),
            random: library::Random::new(),
            cjson: library::cjson::Settings::default(),
            steppers: [NativeId(u32::MAX); 2],
        };
        library::open_standard(&mut machine)?;
        Ok(machine)
    }

    /// Loads a chunk as a function without arguments. It can be run any number of times.
    pub fn load(&mut self, chunk: &Chunk) -> Result<Loaded, Error> {
        let function = self.function(chunk).map_err(Raised)?;
        Ok(self.pin(function))
    }

    pub(crate) fn function(&mut self, chunk: &Chunk) -> Outcome<Value> {
        let function = self.heap.link(&chunk.0)?;
        let closure = self.heap.new_closure(function, [].into())?;
        Ok(Value::Closure(closure))
    }

    /// Keeps a value until it is unloaded.
    pub fn pin(&mut self, value: Value) -> Loaded {
        let free = self.pinned.iter().position(Option::is_none);
        let place = free.unwrap_or(self.pinned.len());
        if place == self.pinned.len() {
            self.pinned.push(None);
        }
        self.pinned[place] = Some(value);
        Loaded(place)
    }

    /// The value that was loaded.
    pub fn loaded(&self, loaded: Loaded) -> Value {
        self.pinned.get(loaded.0).copied().flatten().unwrap_or_default()
    }

    /// Lets a loaded value go.
    pub fn unload(&mut self, loaded: Loaded) {
        if let Some(place) = self.pinned.get_mut(loaded.0) {
            *place = None;
        }
    }

    /// Calls a function with fresh bounds, and returns its results.
    ///
    /// Handles in the results, and in an error, are valid until the next run. Tables that the script changed stay
    /// changed. The sequence of `math.random` begins anew.
    pub fn run(&mut self, host: &mut dyn Host, function: Value, args: &[Value]) -> Result<Vec<Value>, Error> {
        self.heap.meter.refill(&self.limits);
        self.random = library::Random::new();
        self.cjson = library::cjson::Settings::default();
        self.levels = 0;
        let mut vm = Vm {
            machine: self,
            host: Some(host),
        };
        match vm.call_with(function, args, -1) {
            Ok(place) => {
                let results = self.thread.stack[place..self.thread.top].to_vec();
                self.settle();
                Ok(results)
            }
            Err(throw) => {
                let position = self.position();
                self.settle();
                Err(Error::at(throw, position))
            }
        }
    }

    /// Ends a run: no call is under way.
    fn settle(&mut self) {
        while let Some(resumer) = self.thread.resumer {
            // A bound was exceeded inside a coroutine.
            self.abandon(resumer);
        }
        self.close_upvalues(0);
        self.thread.frames.clear();
        self.thread.top = 0;
        self.levels = 0;
    }

    /// How many instructions the last run left.
    pub fn instructions_left(&self) -> u64 {
        self.heap.meter.fuel()
    }

    /// How many bytes the machine holds, garbage included.
    pub fn bytes_used(&self) -> usize {
        self.heap.meter.bytes()
    }

    /// The bounds of the next run.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Frees all that nothing refers to. All handles that are neither loaded nor in a global become invalid.
    pub fn collect_garbage(&mut self) {
        self.collect();
    }

    // Values

    /// The table of global variables.
    pub fn globals(&self) -> TableId {
        self.globals
    }

    /// A string as a value.
    pub fn string(&mut self, bytes: &[u8]) -> Result<Value, Raised> {
        Ok(self.heap.string(bytes)?)
    }

    /// The bytes of a string.
    pub fn bytes(&self, string: Str) -> &[u8] {
        self.heap.bytes(string)
    }

    /// A new table with room for so many indices and other keys.
    pub fn new_table(&mut self, indices: usize, keys: usize) -> Result<TableId, Raised> {
        Ok(self.heap.new_table(indices, keys)?)
    }

    /// The value of a key, without metamethods.
    pub fn get(&self, table: TableId, key: Value) -> Value {
        self.heap.get(table, key)
    }

    /// The value of a field, without metamethods.
    pub fn get_field(&mut self, table: TableId, name: &[u8]) -> Result<Value, Raised> {
        let key = self.heap.string(name)?;
        Ok(self.heap.get(table, key))
    }

    /// Sets a key, without metamethods, even if the table is read-only. The key must not be `nil` or NaN.
    pub fn set(&mut self, table: TableId, key: Value, value: Value) -> Result<(), Raised> {
        Ok(self.heap.set(table, key, value)?)
    }

    /// Sets a field, without metamethods, even if the table is read-only.
    pub fn set_field(&mut self, table: TableId, name: &[u8], value: Value) -> Result<(), Raised> {
        Ok(self.heap.set_field(table, name, value)?)
    }

    /// Sets an index from 1, without metamethods.
    pub fn set_index(&mut self, table: TableId, index: usize, value: Value) -> Result<(), Raised> {
        Ok(self.heap.set_index(table, index, value)?)
    }

    /// What `#table` is.
    pub fn length(&self, table: TableId) -> usize {
        self.heap.table(table).border(&self.heap.meter)
    }

    /// The key and value behind `key` in the order of the table, from `nil` on; nothing at the end.
    pub fn next(&self, table: TableId, key: Value) -> Option<(Value, Value)> {
        let found = self.heap.table(table).next(key, &self.heap.meter);
        found.filter(|(key, _)| !key.is_nil())
    }

    /// The metatable of a table.
    pub fn metatable(&self, table: TableId) -> Option<TableId> {
        self.heap.table(table).meta
    }

    /// Sets the metatable of a table.
    pub fn set_metatable(&mut self, table: TableId, meta: Option<TableId>) {
        self.heap.table_mut(table).meta = meta;
    }

    /// Makes a table read-only for scripts, or not. A change is then an error.
    pub fn set_readonly(&mut self, table: TableId, is_readonly: bool) {
        self.heap.table_mut(table).is_readonly = is_readonly;
    }

    /// Makes the globals, and all tables in sight of them, read-only for scripts; reading a global that does not exist
    /// is an error from now on.
    pub fn protect_globals(&mut self) -> Result<(), Raised> {
        Ok(library::protect_globals(self)?)
    }

    /// A function that calls the host with this number.
    pub fn host_function(&mut self, number: u32) -> Result<Value, Raised> {
        Ok(Value::Native(self.heap.new_native(call_host, &[], number)?))
    }

    /// Loads one of the libraries that scripts of Redis have.
    pub fn open(&mut self, library: library::Library) -> Result<(), Raised> {
        Ok(library::open(self, library)?)
    }

    pub(crate) fn keep_scratch(&mut self, scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_BYTES_MAX {
            self.scratch = scratch;
        }
    }
}

/// The function in Rust behind every function of the host.
fn call_host(vm: &mut Vm<'_>, args: Args) -> Outcome<usize> {
    let Value::Native(native) = vm.machine.thread.stack[args.base - 1] else {
        return Ok(0);
    };
    let number = vm.machine.heap.native(native).number;
    let Some(host) = vm.host.take() else {
        return Err(vm.library_error(b"a function of the host is running already"));
    };
    let mut call = Call {
        vm: Vm {
            machine: vm.machine,
            host: None,
        },
        args,
        results: 0,
    };
    let end = host.call(number, &mut call);
    let results = call.results;
    vm.host = Some(host);
    match end {
        Ok(()) => Ok(results),
        Err(raised) => Err(raised.0),
    }
}

/// A call of a function of the host.
///
/// No garbage is collected during the call, so values may be kept in variables.
pub struct Call<'a> {
    vm: Vm<'a>,
    args: Args,
    results: usize,
}

impl Call<'_> {
    /// How many arguments there are.
    pub fn count(&self) -> usize {
        self.args.count
    }

    /// An argument, from 0; `nil` if there are fewer.
    pub fn arg(&self, index: usize) -> Value {
        self.vm.arg(self.args, index)
    }

    /// Appends a string or a number as text. False for anything else.
    pub fn write_text(&self, value: Value, out: &mut Vec<u8>) -> bool {
        self.vm.write_text(value, out);
        Vm::is_text(value)
    }

    /// Adds a result.
    pub fn push(&mut self, value: Value) -> Result<(), Raised> {
        self.vm.push(value)?;
        self.results += 1;
        Ok(())
    }

    /// An error with the chunk and line of the caller before the text.
    pub fn error(&mut self, text: &[u8]) -> Raised {
        Raised(self.vm.library_error(text))
    }

    /// `bad argument #n to 'f' (what)`, with arguments from 0.
    pub fn argument_error(&mut self, index: usize, what: &[u8]) -> Raised {
        Raised(self.vm.argument_error(index, what))
    }

    /// Counts work that the host does for the script as so many instructions.
    pub fn charge(&mut self, instructions: u64) -> Result<(), Raised> {
        Ok(self.vm.machine.heap.meter.pay(instructions)?)
    }

    /// Ends the run with a bound.
    pub fn exceed(&self, bound: Bound) -> Raised {
        Raised(Throw::Bound(bound))
    }

    /// The line of the script that is being executed.
    pub fn position(&self) -> Option<Position> {
        self.vm.machine.position()
    }

    /// The machine, for its values.
    pub fn machine(&mut self) -> &mut Machine {
        self.vm.machine
    }
}
