//! Discovery by EPMD: the port mappers of some hosts are asked, again and again, who is there.
//!
//! It proposes names and decides nothing: the membership dials what it does not know, and remembers.

use std::time::Duration;

use node::{Atom, Input};
use tokio::time::sleep;

use crate::{core::Shell, epmd};

/// Time between two looks at all hosts.
const ROUND: Duration = Duration::from_secs(5);

/// Looks for ever at the nodes of `hosts` whose names begin with `prefix`.
pub(crate) async fn by_epmd(shell: Shell, hosts: Vec<String>, prefix: String, port: u16, me: Atom) {
    loop {
        for host in &hosts {
            let listed = match epmd::names(host, port).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::debug!(host, %error, "EPMD does not answer");
                    continue;
                }
            };
            let names = listed.iter().filter(|(name, _)| name.starts_with(&prefix));
            let nodes = names.filter_map(|(name, _)| wire::dist::node_name(format!("{name}@{host}").as_bytes()));
            let nodes: Vec<Atom> = nodes.filter(|node| *node != me).collect();
            if !nodes.is_empty() {
                shell.core().input(Input::Proposed { nodes });
            }
        }
        sleep(ROUND).await;
    }
}
