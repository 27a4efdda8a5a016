//! Registries: processes by key, like Elixir's `Registry`.
//!
//! - A registry belongs to the process that opened it, and ends with it. Any process of the node can read it and add
//!   itself to it, without a message.
//! - An entry is removed when its process ends, before any process is notified of that end.
//! - The entries of a key are in the order in which they were added. Keys are in the order of terms.
//!
//! These are keys within one node, and a process may have many. The one name of a process that other nodes can use is
//! in `registered`.
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

/// Why no entry was added.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryError {
    /// No registry of this name is open.
    NoRegistry,
    /// This process has the key, and keys are unique here.
    Taken(Pid),
    /// The registry has as many entries as it may have.
    Full,
}

struct Entry {
    process: Local,
    pid: Pid,
    value: Term,
}

struct Registry {
    owner: Local,
    keys: Keys,
    entries_max: usize,
    count: usize,
    /// Every key has at least one entry.
    entries: BTreeMap<Term, Vec<Entry>>,
    /// The keys of each process.
    held: BTreeMap<Local, BTreeSet<Term>>,
}

impl Registry {
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

/// The open registries of a node.
#[derive(Default)]
pub(crate) struct Registries(BTreeMap<Atom, Registry>);

impl Registries {
    /// A process has ended. Removes its entries, and the registries it owned.
    pub(crate) fn ended(&mut self, process: Local) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|_, registry| registry.owner != process);
        for registry in self.0.values_mut() {
            registry.ended(process);
        }
    }
}

impl<P: Payload> Context<'_, P> {
    /// Opens a registry that belongs to this process. It may have up to `entries_max` entries; a further one is
    /// refused. Returns false if a registry of this name is open.
    pub fn open_registry(&mut self, name: &str, keys: Keys, entries_max: usize) -> bool {
        let name = Atom::new(name);
        if self.core.registries.0.contains_key(&name) {
            return false;
        }
        let registry = Registry {
            owner: self.me,
            keys,
            entries_max,
            count: 0,
            entries: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        self.core.registries.0.insert(name, registry);
        true
    }

    /// Adds this process under a key, with a value for those who look it up.
    ///
    /// # Errors
    /// There is no such registry, another process has the key, or the registry is full.
    pub fn enter(&mut self, registry: &str, key: Term, value: Term) -> Result<(), EntryError> {
        let pid = self.me().clone();
        let registry = self.core.registries.0.get_mut(&Atom::new(registry));
        registry.ok_or(EntryError::NoRegistry)?.enter(self.me, pid, key, value)
    }

    /// Removes the entries of this process under a key.
    pub fn withdraw(&mut self, registry: &str, key: &Term) {
        if let Some(registry) = self.core.registries.0.get_mut(&Atom::new(registry)) {
            registry.withdraw(self.me, key);
        }
    }

    /// The processes under a key, with their values.
    pub fn lookup(&self, registry: &str, key: &Term) -> Vec<(Pid, Term)> {
        let entries = self.registry(registry).and_then(|held| held.entries.get(key));
        let each = entries.into_iter().flatten();
        each.map(|entry| (entry.pid.clone(), entry.value.clone())).collect()
    }

    /// The keys under which a process was added.
    pub fn keys_of(&self, registry: &str, process: &Pid) -> Vec<Term> {
        let keys = self
            .core
            .table
            .find(process)
            .and_then(|process| self.registry(registry)?.held.get(&process));
        keys.into_iter().flatten().cloned().collect()
    }

    /// Sends a term to all processes under a key. Returns how many they are.
    pub fn dispatch(&mut self, registry: &str, key: &Term, term: &Term) -> usize {
        let entered = self.lookup(registry, key);
        for (pid, _) in &entered {
            self.send(&Address::Pid(pid.clone()), term.clone());
        }
        entered.len()
    }

    /// How many entries a registry has.
    pub fn entries(&self, registry: &str) -> usize {
        self.registry(registry).map_or(0, |held| held.count)
    }

    fn registry(&self, name: &str) -> Option<&Registry> {
        self.core.registries.0.get(&Atom::new(name))
    }
}
