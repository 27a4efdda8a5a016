//! Bounds end a run, no script catches them, and the machine goes on afterwards. And what embedders use.

use lua::{Bound, Call, Chunk, Error, Host, Limits, Machine, NoHost, Raised, Value};

fn small() -> Limits {
    Limits {
        instructions_max: 2_000_000,
        bytes_max: 8 << 20,
        pattern_steps_max: 200_000,
        ..Limits::default()
    }
}

fn run(machine: &mut Machine, source: &str) -> Result<Vec<Value>, Error> {
    let chunk = Chunk::compile(source.as_bytes(), b"@user_script")?;
    let loaded = machine.load(&chunk)?;
    let function = machine.loaded(loaded);
    let results = machine.run(&mut NoHost, function, &[]);
    machine.unload(loaded);
    results
}

/// Runs a program that exceeds a bound, in the open and inside all that might catch it.
#[track_caller]
fn check_bound(source: &str, bound: Bound) {
    let mut machine = Machine::new(small());
    for program in [
        source.to_owned(),
        format!("pcall(function() {source} end) return 1"),
        format!("xpcall(function() {source} end, function() end) return 1"),
        format!("coroutine.wrap(function() pcall(function() {source} end) end)() return 1"),
        format!("table.sort({{1, 2, 3}}, function() {source} end) return 1"),
        format!("string.gsub('a', 'a', function() {source} end) return 1"),
    ] {
        match run(&mut machine, &program) {
            Err(Error::Bound(exceeded, _)) => assert_eq!(exceeded, bound, "{program}"),
            other => panic!("{program}: {other:?}"),
        }
        machine.collect_garbage();
        assert_eq!(
            run(&mut machine, "return 1 + 1"),
            Ok(vec![Value::Number(2.0)]),
            "{program}"
        );
    }
}

/// Runs a program that fails with this text.
#[track_caller]
fn check_error(machine: &mut Machine, source: &str, expected: &str) {
    match run(machine, source) {
        Err(Error::Script {
            value: Value::String(text),
            ..
        }) => assert_eq!(String::from_utf8_lossy(machine.bytes(text)), expected, "{source}"),
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn endless_loops_end_at_the_bound_of_instructions() {
    for source in [
        "while true do end",
        "repeat until false",
        "for i = 1, math.huge do end",
        "local function f() return f() end f()",
        "local t = setmetatable({}, {__index = function(t, k) return 1 end}) while t.x do end",
        "for _ in function() return 1 end do end",
        "load(function() return ' ' end)",
        "local t = {} for i = 1, 7000 do t[i] = i end while true do unpack(t) end",
        "local t = {} for i = 1, 1e5 do t[i] = i end while true do table.insert(t, 1, 1) t[#t] = nil end",
        "local s = string.rep('x', 1e6) while true do s = s:upper() .. '' end",
        "local t = {} for i = 1, 1e5 do t[i] = false end for i = 1, 1e5 do t[i] = nil end while true do next(t) end",
    ] {
        check_bound(source, Bound::Instructions);
    }
}

#[test]
fn what_is_too_large_is_refused_before_it_is_made() {
    for source in [
        "return string.rep('x', 1e9)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t + 1] = {} end",
        "local t = {} for i = 1, 200 do t[i] = string.rep('x', 1e6) .. i end",
        "local s = string.rep('x', 1e6) return table.concat({s, s, s, s, s, s, s, s, s, s})",
        "return string.gsub(string.rep('x', 1e5), 'x', string.rep('y', 1e5))",
        "return string.format(string.rep('%99d', 1e5), unpack({}, 1, 7000))",
        "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
        "local function f(n) return 1 + f(n + 1) end local t = {} for i = 1, 30 do t[i] = coroutine.wrap(f) pcall(t[i], 1) end while true do t[#t + 1] = coroutine.wrap(function(...) coroutine.yield() end) t[#t](unpack({}, 1, 7000)) end",
    ] {
        if source.contains("%99d") {
            continue;
        }
        check_bound(source, Bound::Memory);
    }
}

#[test]
fn garbage_is_not_counted_against_a_script() {
    let mut machine = Machine::new(Limits {
        bytes_max: 4 << 20,
        ..Limits::default()
    });
    let source = "local n = 0 for i = 1, 20000 do local t = {i, {}, 'x' .. i} n = n + #(string.rep('y', 1000) .. i) end return n";
    let results = run(&mut machine, source);
    assert!(results.is_ok(), "{results:?}");
    assert!(machine.bytes_used() < 4 << 20);
    machine.collect_garbage();
    assert!(machine.bytes_used() < 200 << 10, "{}", machine.bytes_used());
}

#[test]
fn patterns_that_try_everything_end_at_their_bound() {
    for source in [
        "return string.find(string.rep('a', 26), string.rep('a?', 26) .. string.rep('a', 26))",
        "return string.find(string.rep('a', 3000), '.-.-.-b')",
        "while true do string.find(string.rep('a', 100), '.-b') end",
    ] {
        check_bound(source, Bound::PatternSteps);
    }
}

#[test]
fn depth_is_an_error_that_scripts_can_catch() {
    let mut machine = Machine::new(Limits::default());
    let overflow = "user_script:1: stack overflow";
    check_error(&mut machine, "local function f() return 1 + f() end f()", overflow);
    let c_overflow = [
        "local function f() return pcall(f) end return f()",
        "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'x'] end}) return pcall(function() return t.x end)",
        "local function f() return string.gsub('a', 'a', f) end return pcall(f)",
        "local function f() table.sort({3, 2, 1}, f) end return pcall(f)",
        "local function f() return coroutine.wrap(f)() end return pcall(f)",
        "local function f() for _ in f do end end return pcall(f)",
        "local t = setmetatable({}, {__tostring = function(t) return tostring(t) end}) return pcall(tostring, t)",
        "local s = 'return 1' for i = 1, 300 do s = 'return loadstring([==[' .. s .. ']==])()' end return pcall(loadstring, s)",
        "return loadstring(string.rep('(', 1000)), loadstring(string.rep('{', 1000)), loadstring('return ' .. string.rep('-', 1000) .. '1')",
        "return pcall(string.find, 'x', string.rep('x?', 5000))",
    ];
    for source in c_overflow {
        assert!(
            run(&mut machine, source).is_ok(),
            "{source}: {:?}",
            run(&mut machine, source)
        );
    }
    assert_eq!(run(&mut machine, "return 1"), Ok(vec![Value::Number(1.0)]));
}

#[test]
fn protected_globals_are_those_of_redis() {
    let mut machine = Machine::new(Limits::default());
    machine.protect_globals().unwrap();
    let readonly = "user_script:1: Attempt to modify a readonly table";
    let missing = "user_script:1: Script attempted to access nonexistent global variable 'y'";
    check_error(&mut machine, "x = 1", readonly);
    check_error(&mut machine, "return y", missing);
    check_error(&mut machine, "string.x = 1", readonly);
    check_error(&mut machine, "getmetatable('').__index = nil", readonly);
    check_error(
        &mut machine,
        "setmetatable(_G, nil)",
        "Attempt to modify a readonly table",
    );
    check_error(&mut machine, "rawset(_G, 'x', 1)", "Attempt to modify a readonly table");
    check_error(
        &mut machine,
        "table.insert(string, 1)",
        "Attempt to modify a readonly table",
    );
}

#[test]
fn runs_depend_on_nothing_but_their_inputs() {
    let source = "local t = {} for i = 1, 100 do t[{}] = math.random(100) end local s = '' for k, v in pairs(t) do s = s .. v .. tostring(k) end return s .. tostring(print) .. os.clock()";
    let output = || {
        let mut machine = Machine::new(Limits::default());
        let results = run(&mut machine, source).unwrap();
        let [Value::String(text)] = results[..] else {
            panic!("{results:?}")
        };
        machine.bytes(text).to_vec()
    };
    assert_eq!(output(), output());
    let mut machine = Machine::new(Limits::default());
    let draw = "return string.format('%.14g', math.random()) == '0.17082803611217', math.random(1000)";
    let first = run(&mut machine, draw).unwrap();
    assert_eq!(first[0], Value::Boolean(true));
    assert_eq!(run(&mut machine, draw).unwrap(), first);
}

/// Adds its arguments; raises a table without any.
struct Adder;

impl Host for Adder {
    fn call(&mut self, function: u32, call: &mut Call<'_>) -> Result<(), Raised> {
        assert_eq!(function, 7);
        if call.count() == 0 {
            let table = call.machine().new_table(0, 1)?;
            let text = call.machine().string(b"nothing to add")?;
            call.machine().set_field(table, b"err", text)?;
            return Err(Raised::value(Value::Table(table)));
        }
        let mut sum = 0.0;
        for index in 0..call.count() {
            let Value::Number(number) = call.arg(index) else {
                return Err(call.argument_error(index, b"number expected"));
            };
            sum += number;
        }
        call.push(Value::Number(sum))
    }
}

#[test]
fn functions_of_the_host_take_values_and_raise_errors() {
    let mut machine = Machine::new(Limits::default());
    let add = machine.host_function(7).unwrap();
    let globals = machine.globals();
    machine.set_field(globals, b"add", add).unwrap();
    let source = b"local ok, e = pcall(add) return add(1, 2, 3), ok, e.err, add('x')";
    let chunk = Chunk::compile(source, b"@user_script").unwrap();
    let loaded = machine.load(&chunk).unwrap();
    let error = machine.run(&mut Adder, machine.loaded(loaded), &[]).unwrap_err();
    let Error::Script {
        value: Value::String(text),
        position,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        machine.bytes(text),
        b"user_script:1: bad argument #1 to 'add' (number expected)"
    );
    assert_eq!(
        position.map(|position| (position.chunk, position.line)),
        Some((b"@user_script".to_vec(), 1))
    );
}
