//! The setting `facade`: `NAME[:style=server|messages][:missing=ATOM]`.

use node::Atom;
use store::facade::{Face, Style};

use super::value::Parsed;

/// Most facades of one node.
const FACADES_MAX: usize = 16;

/// Most characters of an Erlang atom.
const ATOM_CHARS_MAX: usize = 255;

/// Names that a node registers for itself, or that OTP expects on every node.
const TAKEN: &[&str] = &[
    "auth",
    "erl_epmd",
    "error_logger",
    "global_group",
    "global_name_server",
    "init",
    "inet_db",
    "kernel_sup",
    "logger",
    "logger_proxy",
    "net_kernel",
    "net_sup",
    "pg",
    "rex",
    "salp",
    "salp_members",
    "undefined",
    "user",
];

/// Parses one facade. By default a missing key reads as `nil` in style `server`, and as `none` in style `messages`.
pub(super) fn parse(text: &str) -> Parsed<Face> {
    let mut parts = text.split(':');
    let name = self::name(parts.next().unwrap_or_default())?;
    let (mut style, mut missing) = (Style::Server, None);
    for part in parts {
        match part.split_once('=') {
            Some(("style", "server")) => style = Style::Server,
            Some(("style", "messages")) => style = Style::Messages,
            Some(("style", other)) => return wrong(format!("{other:?} is not a style"), "write server or messages"),
            Some(("missing", word)) if is_atom(word) => missing = Some(Atom::new(word)),
            _ => {
                return wrong(
                    format!("{part:?} is not an option of a facade"),
                    "write NAME:style=server or NAME:missing=nil",
                );
            }
        }
    }
    let missing = missing.unwrap_or_else(|| {
        Atom::new(match style {
            Style::Server => "nil",
            Style::Messages => "none",
        })
    });
    Ok(Face { name, style, missing })
}

/// Checks the rules between facades.
pub(super) fn check(facades: &[Face]) -> Parsed<()> {
    if facades.len() > FACADES_MAX {
        return wrong(
            format!("there are {} facades", facades.len()),
            format!("have at most {FACADES_MAX}"),
        );
    }
    for (index, face) in facades.iter().enumerate() {
        if facades[..index].iter().any(|other| other.name == face.name) {
            return wrong(
                format!("the name {} is given twice", face.name.as_str()),
                "give each its own name",
            );
        }
    }
    Ok(())
}

fn name(text: &str) -> Parsed<Atom> {
    if text.is_empty() {
        return wrong("has no name", "write one, such as Elixir.MyApp.Cache");
    }
    if !is_atom(text) {
        return wrong(
            format!("{text:?} is not a name"),
            "use up to 255 characters, and no blanks, commas or colons",
        );
    }
    // Aliases of Elixir are atoms with this prefix. The short form is always a mistake.
    if text.starts_with(|first: char| first.is_ascii_uppercase()) && !text.starts_with("Elixir.") {
        return wrong(
            format!("{text:?} is the short form of a module's name"),
            format!("write Elixir.{text}"),
        );
    }
    if TAKEN.contains(&text) {
        return wrong(format!("the name {text} is taken"), "choose another name");
    }
    Ok(Atom::new(text))
}

/// Whether it is an atom that needs no quotes in a flag, a file or an environment variable.
fn is_atom(text: &str) -> bool {
    let plain = |char: char| !char.is_control() && !char.is_whitespace() && !":,=".contains(char);
    !text.is_empty() && text.chars().count() <= ATOM_CHARS_MAX && text.chars().all(plain)
}

fn wrong<T>(problem: impl Into<String>, mend: impl Into<String>) -> Parsed<T> {
    Err((problem.into(), mend.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_have_their_own_word_for_nothing() {
        for (text, name, style, missing) in [
            ("Elixir.Apothik.Cache", "Elixir.Apothik.Cache", Style::Server, "nil"),
            ("cache:missing=undefined", "cache", Style::Server, "undefined"),
            ("server:style=messages", "server", Style::Messages, "none"),
            ("s:style=messages:missing=empty", "s", Style::Messages, "empty"),
        ] {
            let face = parse(text).unwrap();
            assert_eq!(
                (face.name.as_str(), face.style, face.missing.as_str()),
                (name, style, missing),
                "{text}"
            );
        }
    }

    #[test]
    fn each_has_its_own_name_and_there_are_not_many() {
        let faces =
            |count: usize| -> Vec<Face> { (0..count).map(|number| parse(&format!("f{number}")).unwrap()).collect() };
        assert!(check(&faces(16)).is_ok());
        assert!(check(&faces(17)).is_err());
        assert!(check(&[parse("f").unwrap(), parse("f:missing=x").unwrap()]).is_err());
    }
}
