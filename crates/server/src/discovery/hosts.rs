//! Discovery by a file: names of nodes and of hosts. The file is read at each look, so a change needs no notification.
//!
//! A line is one of
//!
//! ```text
//!   salp@db1.example.com:9100      a node, and where it listens
//!   salp@db2.example.com           a node, whose port EPMD knows
//!   db3.example.com                a host, whose EPMD is asked for nodes
//!   'db4.example.com'.             the same, as `.hosts.erlang` has it
//!   # or % begins a comment
//! ```
//!
//! A file with any other line is refused as a whole: an interrupted editor may leave half a file.
//!
//! Source: net_adm(3), "Files", for `.hosts.erlang`.

use std::{fs::File as StdFile, io::Read, path::PathBuf};

use super::{FOUND_MAX, Found, Look, Strategy, Trouble, epmd::Hosts};

/// Largest file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Which file, and how the hosts in it are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostsFile {
    pub(crate) path: PathBuf,
    /// The prefix of node names on the hosts.
    pub(crate) prefix: String,
    /// The port of EPMD on every host. `None`: only lines that name nodes are allowed.
    pub(crate) epmd: Option<u16>,
}

/// The contents of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) nodes: Vec<Found>,
    pub(crate) hosts: Vec<String>,
}

impl HostsFile {
    /// Checks that the file can be read and parsed now.
    ///
    /// # Errors
    /// Why it cannot.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Listed, String> {
        let file = StdFile::open(&self.path).map_err(|error| error.to_string())?;
        let mut text = String::new();
        let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        if text.len() as u64 > BYTES_MAX {
            return Err("is larger than a megabyte".into());
        }
        let listed = understand(&text)?;
        match listed.hosts.first() {
            Some(host) if self.epmd.is_none() => Err(format!("names the host {host}, whose EPMD may not be asked")),
            Some(_) | None => Ok(listed),
        }
    }
}

impl Strategy for HostsFile {
    fn look(&mut self) -> Look<'_> {
        Box::pin(async move {
            // The file is small, and this thread may wait.
            let listed = self.read();
            let listed = listed.map_err(|problem| Trouble::refused(self.path.display(), problem))?;
            let mut found = listed.nodes;
            if let Some(port) = self.epmd {
                let hosts = Hosts {
                    hosts: listed.hosts,
                    prefix: self.prefix.clone(),
                    port,
                };
                match hosts.ask().await {
                    Ok(nodes) => found.extend(nodes),
                    Err(trouble) if found.is_empty() => return Err(trouble),
                    Err(_) => {}
                }
            }
            Ok(found)
        })
    }
}

/// Parses the text of the file.
pub(crate) fn understand(text: &str) -> Result<Listed, String> {
    let mut listed = Listed::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split(['#', '%']).next().unwrap_or_default().trim();
        let line = line.strip_suffix('.').unwrap_or(line);
        let line = line
            .strip_prefix('\'')
            .and_then(|line| line.strip_suffix('\''))
            .unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if listed.nodes.len() + listed.hosts.len() >= FOUND_MAX {
            return Err(format!("has more than {FOUND_MAX} names"));
        }
        if line.contains('@') {
            listed
                .nodes
                .push(node(line).ok_or_else(|| format!("line {}: {line:?} is not a node", index + 1))?);
        } else if wire::dist::node_name(format!("x@{line}").as_bytes()).is_some() {
            listed.hosts.push(line.into());
        } else {
            return Err(format!("line {}: {line:?} is neither a node nor a host", index + 1));
        }
    }
    Ok(listed)
}

fn node(line: &str) -> Option<Found> {
    let (name, port) = match line.split_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port > 0)?)),
        None => (line, None),
    };
    let node = wire::dist::node_name(name.as_bytes())?;
    Some(Found { node, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use node::Atom;

    fn found(name: &str, port: Option<u16>) -> Found {
        Found {
            node: Atom::new(name),
            port,
        }
    }

    #[test]
    fn nodes_and_hosts_are_told_apart_in_both_forms() {
        let text = "% hosts\n'db4.example.com'.\ndb3.example.com # old\n\n salp@h:9100 \r\nsalp@g\nlocalhost.\n";
        let listed = understand(text).unwrap();
        assert_eq!(listed.nodes, [found("salp@h", Some(9100)), found("salp@g", None)]);
        assert_eq!(listed.hosts, ["db4.example.com", "db3.example.com", "localhost"]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, part) in [
            ("a@h\na@h:0", "line 2: \"a@h:0\" is not a node"),
            ("a@h:99999", "is not a node"),
            ("@h", "is not a node"),
            ("two words", "neither a node nor a host"),
            ("'h", "neither a node nor a host"),
        ] {
            let problem = understand(text).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
        assert!(understand(&"h\n".repeat(FOUND_MAX + 1)).is_err());
    }

    #[tokio::test]
    async fn a_change_of_the_file_is_seen_and_its_loss_is_trouble() {
        let dir = TestDir::new();
        let mut file = HostsFile {
            path: dir.join("hosts"),
            prefix: "salp".into(),
            epmd: None,
        };
        assert!(file.look().await.is_err());
        std::fs::write(&file.path, "salp@a:1").unwrap();
        assert_eq!(file.look().await.unwrap(), [found("salp@a", Some(1))]);
        std::fs::write(&file.path, "salp@b:2").unwrap();
        assert_eq!(file.look().await.unwrap(), [found("salp@b", Some(2))]);
        std::fs::write(&file.path, "h").unwrap();
        let trouble = file.look().await.unwrap_err().to_string();
        assert!(trouble.contains("may not be asked"), "{trouble}");
        std::fs::remove_file(&file.path).unwrap();
        assert!(file.look().await.is_err());
    }
}
