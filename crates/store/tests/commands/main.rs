//! Scripts of requests with their replies. There is one `NAME.txt` beside this file for each family of commands.
//!
//! ```text
//! % nodes 3               a setting of the cluster; these come first
//! % walls 0 5000 -70      three nodes, and by how many milliseconds their wall clocks are ahead
//! % batch_us 250          microseconds that the shell says each batch took
//! @ 1500                  milliseconds pass
//! > SET a 1               a request, written as in an inline command
//! +OK                     its reply, in RESP
//! 2> CLIENT SETNAME bob   a second connection, also to the first node
//! & CLIENT GETNAME        another request in the same batch; all replies follow the last request
//! ```
//!
//! `UPDATE=1 cargo test -p store --test commands` writes the results into the files. Read them before you commit.
//! Unless a comment says otherwise, the replies are those of redis-server 7.0.

mod nodes;
mod script;

use std::{env, fs, path::Path};

/// Runs the script `name`, and compares its output or writes it.
fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/commands")
        .join(name)
        .with_extension("txt");
    let wanted = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let printed = script::run(&wanted);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, printed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    if let Some(difference) = difference(&wanted, &printed) {
        panic!("{name}.txt:{difference}");
    }
}

/// The first line that differs, and how.
fn difference(wanted: &str, printed: &str) -> Option<String> {
    if wanted == printed {
        return None;
    }
    let differs = wanted
        .lines()
        .zip(printed.lines())
        .position(|(wanted, printed)| wanted != printed);
    let line = differs.unwrap_or_else(|| wanted.lines().count().min(printed.lines().count()));
    let show = |text: &str| text.lines().nth(line).unwrap_or("the end").to_owned();
    Some(format!(
        "{}\n  wanted: {}\n printed: {}",
        line + 1,
        show(wanted),
        show(printed)
    ))
}

macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*
        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts! {
    string number keys expiry scan connection client password errors command config server info keyspaces databases
    prefixes limits cluster cluster_of_three salp transactions scripting wall_clocks kill slow
}

/// These commands use the time of the client's node, whichever node executes them and whatever the wall clocks of other
/// nodes show.
#[test]
fn absolute_times_are_those_of_the_node_that_is_asked() {
    for name in ["expiry", "string"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/commands")
            .join(name)
            .with_extension("txt");
        let plain = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for walls in ["0 864000000 -864000000", "0 -7 -1500000000", "-864000000 0 0", "0 0 0"] {
            let wanted = format!("% walls {walls}\n{plain}");
            if let Some(difference) = difference(&wanted, &script::run(&wanted)) {
                panic!("{name}.txt with walls {walls}:{difference}");
            }
        }
    }
}

/// The replies to transactions and Lua scripts do not depend on which node has the keys, nor on whether others have
/// copies. The same holds for commands of several keys in keyspaces with other rules for their slots.
#[test]
fn what_is_done_at_one_stroke_is_the_same_in_a_cluster() {
    for name in ["transactions", "scripting", "databases", "prefixes"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/commands")
            .join(name)
            .with_extension("txt");
        let plain = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // On five nodes, what INFO shows of keys elsewhere may be a second old.
        let shows_keys = name == "databases";
        let settings = ["% nodes 3", "% nodes 3\n% min_acks 2", "% nodes 5"];
        for settings in &settings[..if shows_keys { 2 } else { 3 }] {
            let wanted = format!("{settings}\n{plain}");
            if let Some(difference) = difference(&wanted, &script::run(&wanted)) {
                panic!("{name}.txt with {settings}:{difference}");
            }
        }
    }
}

/// A script that no test runs proves nothing.
#[test]
fn every_script_is_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands");
    for entry in fs::read_dir(folder).expect("the folder of this file") {
        let path = entry.expect("an entry of it").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let stem = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .expect("a name in UTF-8");
            assert!(NAMES.contains(&stem), "{stem}.txt is in no test");
        }
    }
}

/// Every command that a client may use is in some script.
#[test]
fn every_command_has_a_script() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands");
    let text: String = NAMES
        .iter()
        .map(|name| {
            fs::read_to_string(folder.join(name).with_extension("txt"))
                .expect("a script")
                .to_lowercase()
        })
        .collect();
    let asked = |words: &str| {
        text.lines().any(|line| {
            let request = line.split_once("> ").map(|(_, request)| request);
            request.is_some_and(|request| request == words || request.starts_with(&format!("{words} ")))
        })
    };
    for row in store::command::public() {
        assert!(asked(row.name), "{} is in no script", row.name);
        for subcommand in row.subcommands() {
            assert!(
                asked(&subcommand.name.replace('|', " ")),
                "{} is in no script",
                subcommand.name
            );
        }
    }
}

#[test]
fn a_wrong_a_missing_and_an_extra_reply_are_found() {
    for (script, line) in [
        ("> PING\n+NO\n", "2"),
        ("> PING\n> PING\n+PONG\n", "2"),
        ("> PING\n+PONG\n+PONG\n", "3"),
    ] {
        let found = difference(script, &script::run(script)).expect("a difference");
        assert!(found.starts_with(line), "{script}: {found}");
    }
    let right = "> PING\n+PONG\n";
    assert_eq!(difference(right, &script::run(right)), None);
}
