//! Discovery by EPMD: asks the port mappers of some hosts which names they know.
//!
//! Names that begin with the prefix are proposed. Hosts that do not answer are ignored as long as one host answers.
//!
//! Source: *EPMD Protocol*, Erlang/OTP, `erl_dist_protocol`.

use tokio::task::JoinSet;

use super::{Found, Look, Strategy, Trouble};
use crate::epmd;

/// Which hosts to ask, and for which names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    pub(crate) hosts: Vec<String>,
    /// The prefix of node names.
    pub(crate) prefix: String,
    /// The port of EPMD on every host.
    pub(crate) port: u16,
}

impl Hosts {
    /// All nodes that are up now.
    ///
    /// # Errors
    /// There are hosts, and none of them answers. The error is that of the first host by name.
    pub(crate) async fn ask(&self) -> Result<Vec<Found>, Trouble> {
        // All are asked at once: one that is cut off must not use up the time of the others.
        let mut asked = JoinSet::new();
        for host in self.hosts.iter().cloned() {
            let port = self.port;
            asked.spawn(async move { (epmd::names(&host, port).await, host) });
        }
        let mut nodes = Vec::new();
        let mut failed = Vec::new();
        let mut has_answer = self.hosts.is_empty();
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((Ok(listed), host)) => {
                    nodes.extend(self.pick(&host, &listed));
                    has_answer = true;
                }
                Ok((Err(error), host)) => {
                    tracing::debug!(host, %error, "EPMD does not answer");
                    failed.push((host, error));
                }
                // The runtime ends, and this look with it.
                Err(_) => {}
            }
        }
        // Sorted, so the same error is reported each time.
        failed.sort_by(|one, other| one.0.cmp(&other.0));
        match failed.into_iter().next() {
            Some((host, error)) if !has_answer => Err(Trouble::io(format_args!("EPMD on {host}:{}", self.port), error)),
            Some(_) | None => Ok(nodes),
        }
    }

    /// The ports are not returned: each dial asks EPMD again, which knows the newest.
    fn pick(&self, host: &str, listed: &[(String, u16)]) -> impl Iterator<Item = Found> {
        let names = listed.iter().filter(|(name, _)| name.starts_with(&self.prefix));
        let nodes = names.filter_map(move |(name, _)| wire::dist::node_name(format!("{name}@{host}").as_bytes()));
        nodes.map(|node| Found { node, port: None })
    }
}

impl Strategy for Hosts {
    fn look(&mut self) -> Look<'_> {
        Box::pin(self.ask())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::Atom;

    #[test]
    fn only_names_with_the_prefix_are_picked() {
        let search = Hosts {
            hosts: Vec::new(),
            prefix: "salp".into(),
            port: 4369,
        };
        let listed = ["salp_1", "salp_2", "rabbit", "salp 3"].map(|name| (name.into(), 1));
        let picked: Vec<Atom> = search.pick("db", &listed).map(|found| found.node).collect();
        assert_eq!(picked, [Atom::new("salp_1@db"), Atom::new("salp_2@db")]);
    }

    #[tokio::test]
    async fn one_host_that_answers_is_enough_and_none_is_trouble() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let place = epmd::Place {
            port,
            bind: vec!["127.0.0.1".parse().unwrap()],
        };
        let mut hosts = Hosts {
            hosts: vec!["127.0.0.2".into(), "127.0.0.1".into()],
            prefix: "salp".into(),
            port,
        };
        let trouble = hosts.look().await.unwrap_err().to_string();
        assert!(trouble.starts_with(&format!("EPMD on 127.0.0.1:{port}")), "{trouble}");
        let _registered = epmd::register(place, wire::epmd::Node::new("salp_1", 7, false))
            .await
            .unwrap();
        let found = hosts.look().await.unwrap();
        assert_eq!(
            found,
            [Found {
                node: Atom::new("salp_1@127.0.0.1"),
                port: None
            }]
        );
    }
}
