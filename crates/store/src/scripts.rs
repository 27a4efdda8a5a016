//! [`Scripts`]: the Lua scripts that this node knows, by the SHA-1 of their source.
//!
//! A script that a client sends is told to all peers, and to every peer that is met later. So `EVALSHA` works at every
//! node. The connection to a peer keeps the order: a request that is forwarded there finds the script.
//!
//! The scripts have at most [`BYTES_MAX`] bytes. Past that, the script is dropped that was not used for longest. A
//! dropped script costs its clients one `NOSCRIPT`, after which they send the source.

mod engine;
mod program;
pub(crate) mod run;
mod values;

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use bytes::Bytes;
use hashbrown::HashMap;
use sha1::{Digest as _, Sha1};

use self::engine::Engine;
pub(crate) use self::program::Program;
use crate::{message::Message, store::Store};

/// Most bytes of all scripts together, compiled ones included, with [`BESIDE_BYTES`] for each.
const BYTES_MAX: usize = 16 << 20;
/// Bytes that a script takes beside its source.
const BESIDE_BYTES: usize = 256;

/// The SHA-1 of a script.
pub(crate) type Sha = [u8; 20];

/// The SHA-1 of `bytes`.
pub(crate) fn sha_of(bytes: &[u8]) -> Sha {
    Sha1::digest(bytes).into()
}

/// The 40 digits of a SHA-1.
pub(crate) fn digits(sha: &Sha) -> [u8; 40] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 40];
    for (index, byte) in sha.iter().enumerate() {
        text[2 * index] = DIGITS[usize::from(byte >> 4)];
        text[2 * index + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The SHA-1 that 40 digits in any case stand for.
pub(crate) fn parse(text: &[u8]) -> Option<Sha> {
    let mut sha = Sha::default();
    if text.len() != 2 * sha.len() {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(sha)
}

#[derive(Debug)]
struct Script {
    source: Bytes,
    /// Made when the script is first executed here.
    program: Option<Program>,
    /// Its place in the order of use.
    used: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    by_sha: HashMap<Sha, Script, foldhash::fast::FixedState>,
    by_use: BTreeMap<u64, Sha>,
    uses: u64,
    bytes: usize,
    /// Made when the first script is executed here. It is taken out while it runs one.
    engine: Option<Box<Engine>>,
}

impl Scripts {
    /// Whether a script is known.
    pub(crate) fn knows(&self, sha: &Sha) -> bool {
        self.by_sha.contains_key(sha)
    }

    /// Remembers a script. Returns whether it is new.
    pub(crate) fn learn(&mut self, source: &[u8]) -> bool {
        let sha = sha_of(source);
        if self.knows(&sha) {
            self.touch(&sha);
            return false;
        }
        self.uses += 1;
        let script = Script {
            source: Bytes::copy_from_slice(source),
            program: None,
            used: self.uses,
        };
        self.bytes += source.len() + BESIDE_BYTES;
        self.by_sha.insert(sha, script);
        self.by_use.insert(self.uses, sha);
        while self.bytes > BYTES_MAX
            && let Some((_, sha)) = self.by_use.pop_first()
        {
            if let Some(script) = self.by_sha.remove(&sha) {
                self.bytes -= script.bytes();
            }
        }
        true
    }

    fn touch(&mut self, sha: &Sha) {
        if let Some(script) = self.by_sha.get_mut(sha) {
            self.uses += 1;
            self.by_use.remove(&script.used);
            script.used = self.uses;
            self.by_use.insert(self.uses, *sha);
        }
    }

    /// The compiled script; `None` if it is not known. The error says why it cannot be compiled.
    pub(crate) fn program(&mut self, sha: &Sha) -> Option<Result<Program, String>> {
        self.touch(sha);
        let script = self.by_sha.get_mut(sha)?;
        if script.program.is_none() {
            match Program::compile(&script.source) {
                Err(why) => return Some(Err(why)),
                Ok(program) => {
                    self.bytes += program.bytes();
                    script.program = Some(program);
                }
            }
        }
        script.program.clone().map(Ok)
    }

    /// The source of a script.
    pub(crate) fn source(&self, sha: &Sha) -> Option<Bytes> {
        self.by_sha.get(sha).map(|script| script.source.clone())
    }

    /// The interpreter, for one script.
    fn take_engine(&mut self) -> Box<Engine> {
        self.engine.take().unwrap_or_else(Engine::new)
    }

    /// Keeps the interpreter for the next script.
    fn keep_engine(&mut self, engine: Box<Engine>) {
        self.engine = Some(engine);
    }

    /// `SCRIPT FLUSH`
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_sha.len()
    }

    /// The bytes of all scripts.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// All sources, those used last at the end.
    fn sources(&self) -> Vec<Bytes> {
        let source = |sha: &Sha| self.by_sha.get(sha).map(|script| script.source.clone());
        self.by_use.values().filter_map(source).collect()
    }
}

impl Script {
    fn bytes(&self) -> usize {
        self.source.len() + BESIDE_BYTES + self.program.as_ref().map_or(0, Program::bytes)
    }
}

impl Store {
    /// Remembers a script that a client sent. A new one is told to all peers.
    pub(crate) fn learn_script(&mut self, source: &[u8]) {
        if self.scripts.learn(source) {
            for slot in self.cluster.connected().iter() {
                self.peers[slot].outbox.push(&Message::Script(source));
            }
        }
    }

    /// Forgets all scripts, at all nodes.
    pub(crate) fn forget_scripts(&mut self) {
        self.scripts.clear();
        for slot in self.cluster.connected().iter() {
            self.peers[slot].outbox.push(&Message::ScriptsGone);
        }
    }

    /// Sends a new peer all scripts.
    pub(crate) fn tell_scripts(&mut self, slot: usize) {
        for source in self.scripts.sources() {
            self.peers[slot].outbox.push(&Message::Script(&source));
        }
    }
}
