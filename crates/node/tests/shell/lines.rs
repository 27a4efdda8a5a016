//! Lines of Erlang that must each evaluate to `ok`.
//!
//! The tests of the node and of the server share this file.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part of it")]

/// The program that runs these lines after the bindings in `prelude`, and prints the result of each.
pub fn program(prelude: &str, lines: &[&str]) -> String {
    let steps: Vec<String> = lines
        .iter()
        .enumerate()
        .map(|(number, line)| format!("io:format(\"~p ~p~n\", [{number}, catch (fun() -> {line} end)()])"))
        .collect();
    format!("{prelude}, {}, halt().", steps.join(", "))
}

/// The first of these lines that did not evaluate to `ok`, in the output of the program.
pub fn failed<'a>(lines: &[&'a str], printed: &str) -> Option<&'a str> {
    let came_to_ok = |number: usize| printed.lines().any(|line| line == format!("{number} ok"));
    (0..lines.len())
        .find(|&number| !came_to_ok(number))
        .map(|number| lines[number])
}
