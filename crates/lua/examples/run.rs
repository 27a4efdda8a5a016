//! Runs Lua programs: `cargo run -p lua --example run -- FILE…`. They have `print` beside the libraries.

use std::{env, fs, io::Write as _, process::ExitCode};

use lua::{Call, Chunk, Error, Host, Library, Limits, Machine, Raised, Value};

struct Printer;

impl Host for Printer {
    fn call(&mut self, _function: u32, call: &mut Call<'_>) -> Result<(), Raised> {
        let mut line = Vec::new();
        for index in 0..call.count() {
            if index > 0 {
                line.push(b'\t');
            }
            let value = call.arg(index);
            if !call.write_text(value, &mut line) {
                let text = match value {
                    Value::Nil => "nil",
                    Value::Boolean(true) => "true",
                    Value::Boolean(false) => "false",
                    other => other.type_name(),
                };
                line.extend_from_slice(text.as_bytes());
            }
        }
        line.push(b'\n');
        let _ = std::io::stdout().write_all(&line);
        Ok(())
    }
}

fn main() -> ExitCode {
    for path in env::args().skip(1) {
        let Ok(source) = fs::read(&path) else {
            eprintln!("{path}: cannot be read");
            return ExitCode::from(2);
        };
        let mut machine = Machine::new(Limits {
            instructions_max: u64::MAX / 2,
            pattern_steps_max: u64::MAX / 2,
            bytes_max: 1 << 30,
            ..Limits::default()
        });
        if let Err(error) = run(&mut machine, &source, &path) {
            let text = match error {
                Error::Script {
                    value: Value::String(text),
                    ..
                } => String::from_utf8_lossy(machine.bytes(text)).into_owned(),
                other => other.to_string(),
            };
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(machine: &mut Machine, source: &[u8], path: &str) -> Result<(), Error> {
    let print = machine.host_function(0)?;
    let globals = machine.globals();
    machine.set_field(globals, b"print", print)?;
    for library in [Library::Bit, Library::Cjson, Library::Cmsgpack, Library::Struct] {
        machine.open(library)?;
    }
    let chunk = Chunk::compile(source, format!("@{path}").as_bytes())?;
    let function = machine.load(&chunk)?;
    machine.run(&mut Printer, machine.loaded(function), &[])?;
    Ok(())
}
