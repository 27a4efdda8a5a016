//! Discovery by EPMD: the port mappers of some hosts are asked, again and again, who is there.
//!
//! It proposes names and decides nothing: the membership dials what it does not know, and remembers.

use std::time::Duration;

use node::{Atom, Input};
use tokio::time::sleep;

use crate::{core::Shell, epmd};

/// Time between two looks at all hosts.
const ROUND: Duration = Duration::from_secs(5);

/// Where to look, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) hosts: Vec<String>,
    /// What the names of nodes begin with.
    pub(crate) prefix: String,
    /// The port of EPMD on every host.
    pub(crate) port: u16,
    /// Who looks.
    pub(crate) me: Atom,
}

impl Search {
    /// All who are there now.
    pub(crate) async fn look(&self) -> Vec<Atom> {
        let mut nodes = Vec::new();
        for host in &self.hosts {
            match epmd::names(host, self.port).await {
                Ok(listed) => nodes.extend(self.pick(host, &listed)),
                Err(error) => tracing::debug!(host, %error, "EPMD does not answer"),
            }
        }
        nodes
    }

    /// Looks for ever.
    pub(crate) async fn propose(self, shell: Shell) {
        loop {
            sleep(ROUND).await;
            let nodes = self.look().await;
            shell.core().input(Input::Proposed { nodes });
        }
    }

    fn pick(&self, host: &str, listed: &[(String, u16)]) -> impl Iterator<Item = Atom> {
        let names = listed.iter().filter(|(name, _)| name.starts_with(&self.prefix));
        let nodes = names.filter_map(move |(name, _)| wire::dist::node_name(format!("{name}@{host}").as_bytes()));
        nodes.filter(|node| *node != self.me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_salp_nodes_but_this_one_are_picked() {
        let search = Search {
            hosts: Vec::new(),
            prefix: "salp".into(),
            port: 4369,
            me: Atom::new("salp_1@db"),
        };
        let listed = ["salp_1", "salp_2", "rabbit", "salp 3"].map(|name| (name.into(), 1));
        let picked: Vec<Atom> = search.pick("db", &listed).collect();
        assert_eq!(picked, [Atom::new("salp_2@db")]);
        assert_eq!(
            search.pick("other", &listed[..1]).count(),
            1,
            "the same name on another host is another node"
        );
    }
}
