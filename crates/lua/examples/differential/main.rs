//! Compares this interpreter with PUC Lua 5.1 on random programs.
//!
//! ```text
//! cargo run --release -p lua --example differential -- [--lua lua5.1] [--programs 1000] [--from SEED] [--show] [--plant]
//! ```
//!
//! Each program is run by both, and every byte that they print is compared. A difference is printed with its seed;
//! `--from SEED --programs 1 --show` prints that program. `--plant` gives this interpreter a wrong function, and the
//! command must fail then.

mod generator;
mod words;

use std::{
    env,
    io::Write as _,
    process::{Command, ExitCode, Stdio},
};

use lua::{Call, Chunk, Error, Host, Limits, Machine, Raised, Value};

/// How many differences are printed.
const SHOWN_MAX: u32 = 10;
/// How long PUC Lua may take for a program, and how `timeout` says that it took longer.
const SECONDS_MAX: &str = "5";
const TIMED_OUT: i32 = 124;
/// A wrong function, for `--plant`.
const PLANTED: &[u8] = b"string.find = string.match; ";

struct Options {
    lua: String,
    programs: u64,
    from: u64,
    shows: bool,
    plants: bool,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: differential [--lua PROGRAM] [--programs COUNT] [--from SEED] [--show] [--plant]");
        return ExitCode::from(2);
    };
    let (mut differences, mut skipped) = (0, 0);
    for seed in options.from..options.from + options.programs {
        let program = generator::program(seed);
        if options.shows {
            println!("{program}");
        }
        let expected = match oracle(&options.lua, &program) {
            Ok(Some(output)) => output,
            Ok(None) => {
                skipped += 1;
                continue;
            }
            Err(error) => {
                eprintln!("{}: {error}", options.lua);
                return ExitCode::from(2);
            }
        };
        let output = ours(&program, options.plants);
        if output != expected {
            differences += 1;
            if differences <= SHOWN_MAX {
                report(seed, &expected, &output);
            }
        }
    }
    let (programs, from) = (options.programs, options.from);
    println!("{programs} programs from seed {from}: {differences} differences, {skipped} skipped as endless");
    ExitCode::from(u8::from(differences > 0))
}

fn options() -> Option<Options> {
    let mut options = Options {
        lua: "lua5.1".into(),
        programs: 1000,
        from: 1,
        shows: false,
        plants: false,
    };
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--lua" => options.lua = args.next()?,
            "--programs" => options.programs = args.next()?.parse().ok()?,
            "--from" => options.from = args.next()?.parse().ok()?,
            "--show" => options.shows = true,
            "--plant" => options.plants = true,
            _ => return None,
        }
    }
    Some(options)
}

/// What PUC Lua prints; nothing if it does not end in time.
fn oracle(lua: &str, program: &str) -> std::io::Result<Option<Vec<u8>>> {
    let mut child = Command::new("timeout")
        .args([SECONDS_MAX, lua, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(program.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    Ok((output.status.code() != Some(TIMED_OUT)).then_some(output.stdout))
}

/// What this interpreter prints.
fn ours(program: &str, plants: bool) -> Vec<u8> {
    let mut source = if plants { PLANTED.to_vec() } else { Vec::new() };
    source.extend_from_slice(program.as_bytes());
    let mut printer = Printer(Vec::new());
    let mut machine = Machine::new(Limits::default());
    // PUC Lua prints uncaught errors elsewhere; a bound is reported as a difference.
    if let Err(Error::Bound(bound, _)) = run(&mut machine, &mut printer, &source) {
        printer.0.extend_from_slice(bound.to_string().as_bytes());
    }
    printer.0
}

fn run(machine: &mut Machine, printer: &mut Printer, source: &[u8]) -> Result<(), Error> {
    let print = machine.host_function(0)?;
    let globals = machine.globals();
    machine.set_field(globals, b"print", print)?;
    let chunk = Chunk::compile(source, b"=stdin")?;
    let function = machine.load(&chunk)?;
    machine.run(printer, machine.loaded(function), &[])?;
    Ok(())
}

struct Printer(Vec<u8>);

impl Host for Printer {
    fn call(&mut self, _function: u32, call: &mut Call<'_>) -> Result<(), Raised> {
        // The programs print one string at a time.
        let value: Value = call.arg(0);
        call.write_text(value, &mut self.0);
        self.0.push(b'\n');
        Ok(())
    }
}

/// The first line that differs.
fn report(seed: u64, expected: &[u8], output: &[u8]) {
    let lines = |bytes: &[u8]| {
        bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let (expected, output) = (lines(expected), lines(output));
    let line = expected.iter().zip(&output).take_while(|(a, b)| a == b).count();
    let shown = |lines: &[Vec<u8>]| lines.get(line).map(|line| line.escape_ascii().to_string());
    println!("seed {seed}, line {} of the output", line + 1);
    println!("  PUC Lua: {}", shown(&expected).unwrap_or_default());
    println!("  ours:    {}", shown(&output).unwrap_or_default());
}
