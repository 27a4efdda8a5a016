//! The state file: what a node remembers about its cluster from one life to the next. It contains no data.
//!
//! ```toml
//! version = 1
//! name = "a@10.0.0.1"
//! creation = 7                                  # of this life, or of the last one
//! cluster = "0c1f…"                             # 32 hexadecimal digits; left out: no cluster
//! [[member]]                                    # the other members that are not gone; without a cluster: names to try
//! name = "b@10.0.0.2"
//! creation = 3
//! port = 40123                                  # left out: not known
//! ```
//!
//! - One file per node name. A lock file beside it is locked while the node runs.
//! - It is written as a whole, on another thread than the node's, and renamed to its final name. A failed write is
//!   logged, counted and retried. The node goes on.
//! - A node whose file cannot be read or parsed does not start: without the file it might form a second cluster.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use node::{Atom, ClusterId, Known, Memory};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::{sync::watch, time::sleep};

use crate::config::ConfigError;

const VERSION: i64 = 1;
/// Largest state file that is read, in bytes. 4,000 members take about a tenth of it.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Time between two tries to write the file.
const RETRY: Duration = Duration::from_secs(10);

/// The state of one node, from its start to its end.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    name: Atom,
    /// Locked until this is dropped. `None` if there was nothing to lock.
    _lock: Option<File>,
}

impl State {
    /// Locks and reads the state of the node `name` in `directory`.
    ///
    /// # Errors
    /// The node runs already, or its file is malformed.
    pub(crate) fn open(directory: &Path, name: &Atom) -> Result<(Self, Memory), ConfigError> {
        let file = |end: &str| directory.join(format!("{}.{end}", name.as_str()));
        let path = file("toml");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let lock = match made.and_then(|()| lock(&file("lock"))) {
            Ok(Lock::Held(file)) => Some(file),
            Ok(Lock::Taken(pid)) => {
                let holder = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
                let problem = format!(
                    "{holder} runs as {}: it holds {}",
                    name.as_str(),
                    file("lock").display()
                );
                let mend = "stop that process, or choose another --name or --state-dir";
                return Err(ConfigError::new("--name", problem, mend));
            }
            Err(error) => {
                let directory = directory.display();
                tracing::warn!(%error, %directory, "cannot use --state-dir: this node will not remember its cluster");
                None
            }
        };
        let memory = read(&path, name)?;
        let name = name.clone();
        Ok((
            Self {
                path,
                name,
                _lock: lock,
            },
            memory,
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file.
    fn write(&self, memory: &Memory) -> io::Result<()> {
        let temporary = self.path.with_extension("toml.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(text(&self.name, memory).as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

enum Lock {
    Held(File),
    /// By a process with this number, if it has written it down.
    Taken(Option<u32>),
}

fn lock(path: &Path) -> io::Result<Lock> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // A file without a number names no process.
            let _ = file.take(16).read_to_string(&mut pid);
            return Ok(Lock::Taken(pid.trim().parse().ok()));
        }
        Err(error) => return Err(error.into()),
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(Lock::Held(file))
}

fn read(path: &Path, name: &Atom) -> Result<Memory, ConfigError> {
    let fault = |problem: &dyn std::fmt::Display| {
        let mend = "restore a good copy, or remove it: then this node knows only the nodes that --join and \
                    --discovery name";
        ConfigError::new(path.display(), problem, mend)
    };
    let mut text = String::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        // There is no such directory.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Memory::default()),
        Err(error) => return Err(fault(&format_args!("cannot be read: {error}"))),
    };
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| fault(&format_args!("cannot be read: {error}")))?;
    parse(&text, name).map_err(|problem| fault(&problem))
}

/// Parses a state file. An error says what is wrong with it.
fn parse(text: &str, name: &Atom) -> Result<Memory, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        format!(
            "line {line} is damaged: {}",
            error.message().lines().next().unwrap_or_default()
        )
    })?;
    match table.get("version").and_then(toml::Value::as_integer) {
        Some(VERSION) => {}
        Some(other) => return Err(format!("has version {other}, and this salp reads version {VERSION}")),
        None => return Err("has no version".into()),
    }
    let owner = node_name(&table)?;
    if owner != *name {
        return Err(format!("is of {}", owner.as_str()));
    }
    let cluster = match table.get("cluster") {
        None => None,
        Some(id) => {
            let id = id.as_str().and_then(ClusterId::parse);
            Some(id.ok_or("the cluster is not 32 hexadecimal digits")?)
        }
    };
    let members = match table.get("member") {
        None => Vec::new(),
        Some(members) => {
            let members = members.as_array().ok_or("the members are not tables")?;
            members.iter().map(known).collect::<Result<_, _>>()?
        }
    };
    Ok(Memory {
        cluster,
        members,
        creation: number(&table, "creation")?.ok_or("has no creation")?,
    })
}

fn known(value: &toml::Value) -> Result<Known, String> {
    let table = value.as_table().ok_or("a member is not a table")?;
    Ok(Known {
        name: node_name(table)?,
        creation: number(table, "creation")?.unwrap_or(0),
        dist_port: number(table, "port")?,
    })
}

fn node_name(table: &toml::Table) -> Result<Atom, String> {
    let name = table
        .get("name")
        .and_then(toml::Value::as_str)
        .ok_or("a name is missing")?;
    wire::dist::node_name(name.as_bytes()).ok_or_else(|| format!("{name:?} is not a node name"))
}

fn number<N: TryFrom<i64>>(table: &toml::Table, key: &str) -> Result<Option<N>, String> {
    let Some(value) = table.get(key) else { return Ok(None) };
    let number = value.as_integer().and_then(|number| N::try_from(number).ok());
    number.map(Some).ok_or_else(|| format!("{key} is out of range"))
}

/// The text of a state file.
fn text(name: &Atom, memory: &Memory) -> String {
    let mut text =
        String::from("# What this node was a member of; no data. While the node runs, changes here are lost.\n");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "version = {VERSION}\nname = \"{}\"\ncreation = {}",
        name.as_str(),
        memory.creation
    );
    if let Some(id) = memory.cluster {
        let _ = writeln!(text, "cluster = \"{id}\"");
    }
    for member in &memory.members {
        let _ = writeln!(
            text,
            "\n[[member]]\nname = \"{}\"\ncreation = {}",
            member.name.as_str(),
            member.creation
        );
        if let Some(port) = member.dist_port {
            let _ = writeln!(text, "port = {port}");
        }
    }
    text
}

/// The channel to the state file, and its path.
#[derive(Clone)]
pub(crate) struct StateFile {
    /// Takes what must be remembered.
    pub(crate) remember: watch::Sender<Memory>,
    /// `None` if the node has no state file.
    pub(crate) path: Option<PathBuf>,
}

/// Writes the state file until the node has ended.
#[derive(Debug)]
pub(crate) struct Keeper {
    state: Arc<State>,
    failures: Arc<AtomicU64>,
    is_failing: bool,
}

impl Keeper {
    /// `failures` counts the writes that failed.
    pub(crate) fn new(state: Arc<State>, failures: Arc<AtomicU64>) -> Self {
        Self {
            state,
            failures,
            is_failing: false,
        }
    }

    /// Writes each change, and once more at the end.
    pub(crate) async fn keep(mut self, mut memory: watch::Receiver<Memory>) {
        loop {
            let has_ended = if self.is_failing {
                tokio::select! {
                    changed = memory.changed() => changed.is_err(),
                    () = sleep(RETRY) => false,
                }
            } else {
                memory.changed().await.is_err()
            };
            // The last change and the end may come together.
            if has_ended && !self.is_failing {
                return;
            }
            let latest = memory.borrow_and_update().clone();
            self.write(latest).await;
            if has_ended {
                return;
            }
        }
    }

    /// Writes now.
    pub(crate) async fn write(&mut self, memory: Memory) {
        let state = self.state.clone();
        let written = tokio::task::spawn_blocking(move || state.write(&memory)).await;
        match written {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!(path = %self.state.path.display(), "the state file is written again");
                }
            }
            Ok(Err(error)) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let path = self.state.path.display();
                    tracing::warn!(%error, %path, "cannot write the state file: after a restart this node may not know its cluster");
                }
            }
            // The runtime is being shut down.
            Err(_) => {}
        }
    }
}

/// The creation of a new life: the proposed one, if it is above the last one. So none is used twice.
pub(crate) fn next_creation(proposed: u32, last: u32, lowest: u32) -> u32 {
    if proposed > last {
        proposed
    } else {
        last.checked_add(1).unwrap_or(lowest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    fn name() -> Atom {
        Atom::new("a@127.0.0.1")
    }

    fn memory() -> Memory {
        Memory {
            cluster: Some(ClusterId(0xfeed)),
            members: vec![
                Known {
                    name: Atom::new("b@127.0.0.1"),
                    creation: u32::MAX,
                    dist_port: Some(9100),
                },
                Known {
                    name: Atom::new("c@127.0.0.1"),
                    creation: 0,
                    dist_port: None,
                },
            ],
            creation: 77,
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = TestDir::new();
        let inner = directory.join("some").join("where");
        let (state, first) = State::open(&inner, &name()).unwrap();
        assert_eq!(first, Memory::default());
        for memory in [
            memory(),
            Memory {
                creation: 4,
                ..Memory::default()
            },
        ] {
            state.write(&memory).unwrap();
            assert_eq!(read(state.path(), &name()).unwrap(), memory);
        }
    }

    #[test]
    fn a_name_that_runs_is_refused_by_its_pid() {
        let directory = TestDir::new();
        let (state, _) = State::open(&directory, &name()).unwrap();
        let line = State::open(&directory, &name()).unwrap_err().to_string();
        let pid = std::process::id();
        assert!(
            line.starts_with(&format!("--name: process {pid} runs as a@127.0.0.1")),
            "{line}"
        );
        State::open(&directory, &Atom::new("b@127.0.0.1")).expect("another name");
        drop(state);
        State::open(&directory, &name()).expect("the node has ended");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named_with_the_line_and_the_fix() {
        let directory = TestDir::new();
        let good = text(&name(), &memory());
        for (bad, part) in [
            (good.replace("cluster = ", "cluster "), "line 5"),
            (good.replace("feed", "feet"), "32 hexadecimal"),
            (good.replace("version = 1", "version = 2"), "version 2"),
            (good.replace("version = 1", ""), "no version"),
            (good.replace("\"a@127.0.0.1\"", "\"d@127.0.0.1\""), "is of d@127.0.0.1"),
            (good.replace("\"b@127.0.0.1\"", "\"b\""), "\"b\" is not a node name"),
            (
                good.replace("creation = 77", "creation = -1"),
                "creation is out of range",
            ),
            (good.replace("port = 9100", "port = 70000"), "port is out of range"),
        ] {
            fs::write(directory.join("a@127.0.0.1.toml"), bad).unwrap();
            let line = State::open(&directory, &name()).unwrap_err().to_string();
            assert!(line.contains(part) && line.contains("remove it"), "{line}");
            assert!(line.starts_with(&*directory.to_string_lossy()), "{line}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_no_reason_not_to_start() {
        let directory = TestDir::new();
        fs::write(directory.join("file"), "").unwrap();
        let (state, memory) = State::open(&directory.join("file").join("below"), &name()).unwrap();
        assert_eq!(memory, Memory::default());
        assert!(state.write(&memory).is_err());
    }

    #[tokio::test]
    async fn the_last_change_is_on_disk_when_the_node_has_ended() {
        let directory = TestDir::new();
        let (state, first) = State::open(&directory, &name()).unwrap();
        let state = Arc::new(state);
        let failures = Arc::new(AtomicU64::new(0));
        let (tell, told) = watch::channel(first);
        let keeper = tokio::spawn(Keeper::new(state.clone(), failures.clone()).keep(told));
        tell.send(memory()).unwrap();
        drop(tell);
        keeper.await.unwrap();
        assert_eq!(read(state.path(), &name()).unwrap(), memory());
        assert_eq!(failures.load(Ordering::Relaxed), 0);
        // A write that fails is counted, and does not delay the end.
        let (tell, told) = watch::channel(Memory::default());
        let lost = State {
            path: directory.join("nowhere").join("file.toml"),
            name: name(),
            _lock: None,
        };
        let keeper = tokio::spawn(Keeper::new(Arc::new(lost), failures.clone()).keep(told));
        tell.send(memory()).unwrap();
        drop(tell);
        keeper.await.unwrap();
        assert!(failures.load(Ordering::Relaxed) > 0);
    }

    #[test]
    fn a_creation_is_not_used_twice() {
        for (proposed, last, next) in [(5, 0, 5), (5, 5, 6), (5, 9, 10), (7, u32::MAX, 4)] {
            assert_eq!(next_creation(proposed, last, 4), next);
        }
    }
}
