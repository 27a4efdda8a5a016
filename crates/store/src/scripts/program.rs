//! A script as it is executed: compiled, and with the flags of its first line.

use alloc::{format, string::String, vec::Vec};

/// The name of every script in error texts. The same as in Redis.
const NAME: &[u8] = b"@user_script";

/// See the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub chunk: lua::Chunk,
    /// It said that it does not write.
    pub only_reads: bool,
}

impl Program {
    /// Compiles a script. The error is the text of Redis.
    pub(crate) fn compile(source: &[u8]) -> Result<Self, String> {
        let (only_reads, body) = match source.strip_prefix(b"#!") {
            None => (false, source.to_vec()),
            Some(rest) => {
                let end = rest
                    .iter()
                    .position(|&byte| byte == b'\n')
                    .ok_or("Invalid script shebang")?;
                let (line, body) = rest.split_at(end);
                // The line break stays, so that lines keep their numbers.
                (flags(line)?, body.to_vec())
            }
        };
        match lua::Chunk::compile(&body, NAME) {
            Ok(chunk) => Ok(Self { chunk, only_reads }),
            Err(error) => Err(format!("Error compiling script (new function): {error}")),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunk.bytes()
    }
}

/// Reads the line behind `#!`: `lua` and `flags=flag,…`. Whether the script says that it does not write. The other
/// flags have no effect.
fn flags(line: &[u8]) -> Result<bool, String> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    match words.next() {
        Some("lua") => {}
        engine => {
            let engine = engine.unwrap_or_default();
            return Err(format!("Unexpected engine in script shebang: {engine}"));
        }
    }
    let mut given: Vec<&str> = Vec::new();
    for word in words {
        match word.strip_prefix("flags=") {
            Some(flags) => given.extend(flags.split(',').filter(|flag| !flag.is_empty())),
            None => return Err(format!("Unknown lua shebang option: {word}")),
        }
    }
    let known = [
        "no-writes",
        "allow-oom",
        "allow-stale",
        "no-cluster",
        "allow-cross-slot-keys",
    ];
    if let Some(unknown) = given.iter().find(|flag| !known.contains(flag)) {
        return Err(format!("Unexpected flag in script shebang: {unknown}"));
    }
    Ok(given.contains(&"no-writes"))
}
