//! Directories: processes by key, in the manner of Elixir's `Registry`.
//!
//! - A directory belongs to the process that opened it and goes with it. Any process of the node reads it and enters
//!   itself in it, without a message.
//! - An entry goes when its process ends: before anybody hears of that end.
//! - Entries of a key are in the order in which they came, keys in the order of terms.
//!
//! These are keys within one node and many for one process; the one name of a process that others know is in `registry`.
//!
//! Source: `Registry` in the Elixir manual.

use crate::{
    context::Context,
    message::{Address, Payload},
    table::Local,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use wire::etf::{Atom, Pid, Term};

/// How many processes may have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One.
    Unique,
    /// Any number, and one process any number of times.
    Duplicate,
}

/// Why there is no new entry.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryError {
    /// No directory of this name is open.
    NoDirectory,
    /// This process has the key, which is unique here.
    Taken(Pid),
    /// As many entries as the directory may hold.
    Full,
}

struct Entry {
    process: Local,
    pid: Pid,
    value: Term,
}

struct Directory {
    owner: Local,
    keys: Keys,
    entries_max: usize,
    count: usize,
    /// No key is without an entry.
    entries: BTreeMap<Term, Vec<Entry>>,
    /// The keys of each process.
    held: BTreeMap<Local, BTreeSet<Term>>,
}

impl Directory {
    fn enter(&mut self, process: Local, pid: Pid, key: Term, value: Term) -> Result<(), EntryError> {
        let entries = self.entries.get(&key).map_or(&[][..], Vec::as_slice);
        if let (Keys::Unique, [entry, ..]) = (self.keys, entries) {
            return Err(EntryError::Taken(entry.pid.clone()));
        }
        if self.count >= self.entries_max {
            return Err(EntryError::Full);
        }
        self.count += 1;
        self.held.entry(process).or_default().insert(key.clone());
        let entry = Entry { process, pid, value };
        self.entries.entry(key).or_default().push(entry);
        Ok(())
    }

    fn withdraw(&mut self, process: Local, key: &Term) {
        if let Some(keys) = self.held.get_mut(&process) {
            keys.remove(key);
            if keys.is_empty() {
                self.held.remove(&process);
            }
            self.drop_entries(process, key);
        }
    }

    fn ended(&mut self, process: Local) {
        for key in self.held.remove(&process).unwrap_or_default() {
            self.drop_entries(process, &key);
        }
    }

    fn drop_entries(&mut self, process: Local, key: &Term) {
        let Some(entries) = self.entries.get_mut(key) else {
            return;
        };
        let before = entries.len();
        entries.retain(|entry| entry.process != process);
        self.count -= before - entries.len();
        if entries.is_empty() {
            self.entries.remove(key);
        }
    }
}

/// The open directories of a node.
#[derive(Default)]
pub(crate) struct Directories(BTreeMap<Atom, Directory>);

impl Directories {
    /// A process has ended: its entries go, and the directories it owned.
    pub(crate) fn ended(&mut self, process: Local) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|_, directory| directory.owner != process);
        for directory in self.0.values_mut() {
            directory.ended(process);
        }
    }
}

impl<P: Payload> Context<'_, P> {
    /// Opens a directory that belongs to this process and holds up to `entries_max` entries; a further one is refused.
    /// False if one of this name is open.
    pub fn open_directory(&mut self, name: &str, keys: Keys, entries_max: usize) -> bool {
        let name = Atom::new(name);
        if self.core.directories.0.contains_key(&name) {
            return false;
        }
        let directory = Directory {
            owner: self.me,
            keys,
            entries_max,
            count: 0,
            entries: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        self.core.directories.0.insert(name, directory);
        true
    }

    /// Enters this process under a key, with a value that those who look it up are given.
    ///
    /// # Errors
    /// There is no such directory, another has the key, or the directory is full.
    pub fn enter(&mut self, directory: &str, key: Term, value: Term) -> Result<(), EntryError> {
        let pid = self.me().clone();
        let directory = self.core.directories.0.get_mut(&Atom::new(directory));
        directory
            .ok_or(EntryError::NoDirectory)?
            .enter(self.me, pid, key, value)
    }

    /// Drops what this process entered under a key.
    pub fn withdraw(&mut self, directory: &str, key: &Term) {
        if let Some(directory) = self.core.directories.0.get_mut(&Atom::new(directory)) {
            directory.withdraw(self.me, key);
        }
    }

    /// Who is entered under a key, with which values.
    pub fn lookup(&self, directory: &str, key: &Term) -> Vec<(Pid, Term)> {
        let entries = self.directory(directory).and_then(|held| held.entries.get(key));
        let each = entries.into_iter().flatten();
        each.map(|entry| (entry.pid.clone(), entry.value.clone())).collect()
    }

    /// The keys under which a process is entered.
    pub fn keys_of(&self, directory: &str, process: &Pid) -> Vec<Term> {
        let keys = self
            .core
            .table
            .find(process)
            .and_then(|process| self.directory(directory)?.held.get(&process));
        keys.into_iter().flatten().cloned().collect()
    }

    /// Sends a term to all who are entered under a key; how many they are.
    pub fn dispatch(&mut self, directory: &str, key: &Term, term: &Term) -> usize {
        let entered = self.lookup(directory, key);
        for (pid, _) in &entered {
            self.send(&Address::Pid(pid.clone()), term.clone());
        }
        entered.len()
    }

    /// How many entries a directory holds.
    pub fn entries(&self, directory: &str) -> usize {
        self.directory(directory).map_or(0, |held| held.count)
    }

    fn directory(&self, name: &str) -> Option<&Directory> {
        self.core.directories.0.get(&Atom::new(name))
    }
}
