//! Programs whose output is known.
//!
//! `tests/scripts/NAME.out` is what PUC Lua 5.1 prints for `NAME.lua` (`lua5.1 - <NAME.lua >NAME.out`), and for
//! `redis.lua` what Redis 7 returns (`redis-cli --raw eval "$(cat redis.lua)" 0`).

#![allow(clippy::unwrap_used, reason = "tests")]

use lua::{Call, Chunk, Error, Host, Library, Limits, Machine, Raised, Value};

#[derive(Default)]
struct Printer(Vec<u8>);

impl Host for Printer {
    fn call(&mut self, _function: u32, call: &mut Call<'_>) -> Result<(), Raised> {
        for index in 0..call.count() {
            if index > 0 {
                self.0.push(b'\t');
            }
            let value = call.arg(index);
            if !call.write_text(value, &mut self.0) {
                let text = match value {
                    Value::Nil => "nil",
                    Value::Boolean(true) => "true",
                    Value::Boolean(false) => "false",
                    other => other.type_name(),
                };
                self.0.extend_from_slice(text.as_bytes());
            }
        }
        self.0.push(b'\n');
        Ok(())
    }
}

/// Runs a program, and compares what it prints, or returns, line by line.
#[track_caller]
fn check(name: &str, chunk_name: &str, source: &str, expected: &[u8]) {
    let mut machine = Machine::new(Limits::default());
    let print = machine.host_function(0).unwrap();
    let globals = machine.globals();
    machine.set_field(globals, b"print", print).unwrap();
    for library in [Library::Bit, Library::Cjson, Library::Cmsgpack, Library::Struct] {
        machine.open(library).unwrap();
    }
    let chunk = Chunk::compile(source.as_bytes(), chunk_name.as_bytes()).unwrap();
    let function = machine.load(&chunk).unwrap();
    let mut printer = Printer::default();
    match machine.run(&mut printer, machine.loaded(function), &[]) {
        Ok(results) => {
            if let [Value::String(text)] = results[..] {
                printer.0.extend_from_slice(machine.bytes(text));
                printer.0.push(b'\n');
            }
        }
        Err(Error::Script {
            value: Value::String(text),
            ..
        }) => panic!("{name}: {}", String::from_utf8_lossy(machine.bytes(text))),
        Err(error) => panic!("{name}: {error}"),
    }
    let lines = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (output, expected) = (lines(&printer.0), lines(expected));
    for (number, (got, wanted)) in output.iter().zip(&expected).enumerate() {
        assert_eq!(got, wanted, "{name}.out, line {}", number + 1);
    }
    assert_eq!(output.len(), expected.len(), "{name}.out");
}

macro_rules! scripts {
    ($($test:ident $name:literal $chunk:literal,)*) => {
        $(#[test]
        fn $test() {
            let source = include_str!(concat!("scripts/", $name, ".lua"));
            check($name, $chunk, source, include_bytes!(concat!("scripts/", $name, ".out")));
        })*
    };
}

scripts! {
    the_basic_functions_are_those_of_puc_lua "basic" "=stdin",
    closures_and_operators_are_those_of_puc_lua "closures" "=stdin",
    coroutines_are_those_of_puc_lua "coroutines" "=stdin",
    error_texts_are_those_of_puc_lua "errors" "=stdin",
    numbers_are_those_of_puc_lua "numbers" "=stdin",
    strings_are_those_of_puc_lua "strings" "=stdin",
    tables_have_the_order_of_puc_lua "tables" "=stdin",
    cjson_cmsgpack_struct_and_bit_are_those_of_redis "redis" "@user_script",
}
