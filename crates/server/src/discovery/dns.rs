//! Discovery by DNS: asks for the records of one name, again and again.
//!
//! | record | a node is | it listens |
//! |---|---|---|
//! | `A` | `BASENAME@ADDRESS` | on the port of the settings, or where EPMD says |
//! | `SRV` | `BASENAME@TARGET` | on the port of the record |
//!
//! - Answers are not cached. The interval bounds their age, besides the cache of the name server.
//! - After a failure the settings of the system are read again: `resolv.conf` may have changed.
//! - `AAAA` records are not asked for, since the host of a node name cannot contain colons. The target of an `SRV`
//!   record may have IPv6 addresses alone.
//!
//! Source: RFC 1035; RFC 2782 for `SRV`.

use std::net::SocketAddr;

/// What to ask for, and how to turn the answers into nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// The name to ask for. A final dot switches off the search list of the system.
    pub(crate) name: String,
    pub(crate) record: Record,
    /// The part of every node name before the `@`.
    pub(crate) basename: String,
    /// The port on which nodes listen, if the records do not say.
    pub(crate) port: Option<u16>,
    /// The name servers to ask. Empty: those of the system.
    pub(crate) servers: Vec<SocketAddr>,
}

/// Which records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    A,
    Srv,
}

#[cfg(feature = "dns")]
pub(crate) use resolver::Dns;
#[cfg(all(feature = "dns", feature = "fuzzing"))]
pub(crate) use resolver::found_in;

#[cfg(feature = "dns")]
mod resolver {
    use std::{fmt, time::Duration};

    use hickory_resolver::{
        TokioResolver,
        config::{ConnectionConfig, NameServerConfig, ResolverConfig},
        net::{NetError, runtime::TokioRuntimeProvider},
        proto::rr::RData,
    };
    use tokio::time::timeout;

    use super::{Query, Record};
    use crate::discovery::{FOUND_MAX, Found, Look, Strategy, Trouble};

    /// How long one server may take, and how often it is asked.
    const SERVER_TIME_MAX: Duration = Duration::from_secs(2);
    const ATTEMPTS: usize = 2;
    /// How long a look may take, with all its servers and attempts.
    const QUERY_TIME_MAX: Duration = Duration::from_secs(10);

    pub(crate) struct Dns {
        query: Query,
        /// `None` before the first look and after trouble.
        resolver: Option<TokioResolver>,
    }

    impl Dns {
        pub(crate) fn new(query: Query) -> Self {
            Self { query, resolver: None }
        }

        async fn ask(&mut self) -> Result<Vec<Found>, Trouble> {
            let resolver = match &self.resolver {
                Some(resolver) => resolver,
                None => self
                    .resolver
                    .insert(resolver(&self.query).map_err(|error| self.query.trouble(&error))?),
            };
            let name = self.query.name.as_str();
            let asked = async {
                match self.query.record {
                    Record::A => resolver.ipv4_lookup(name).await,
                    Record::Srv => resolver.srv_lookup(name).await,
                }
            };
            let answer = timeout(QUERY_TIME_MAX, asked)
                .await
                .map_err(|_| Trouble::silent(&self.query))?;
            match answer {
                Ok(answer) => {
                    let records = answer.answers().iter().take(FOUND_MAX);
                    Ok(records.filter_map(|record| self.query.node(&record.data)).collect())
                }
                // No node is up yet.
                Err(error) if error.is_no_records_found() => Ok(Vec::new()),
                Err(error) => Err(self.query.trouble(&error)),
            }
        }
    }

    impl Strategy for Dns {
        fn look(&mut self) -> Look<'_> {
            Box::pin(async move {
                let looked = self.ask().await;
                if looked.is_err() {
                    self.resolver = None;
                }
                looked
            })
        }
    }

    impl Query {
        /// The node that a record stands for. Other records, such as a `CNAME`, stand for none.
        fn node(&self, data: &RData) -> Option<Found> {
            let (host, port) = match data {
                RData::A(address) => (address.to_string(), self.port),
                RData::SRV(service) => (service.target.to_ascii(), Some(service.port).filter(|port| *port > 0)),
                _ => return None,
            };
            let host = host.trim_end_matches('.');
            let node = wire::dist::node_name(format!("{}@{host}", self.basename).as_bytes())?;
            Some(Found { node, port })
        }

        fn trouble(&self, error: &NetError) -> Trouble {
            match error {
                NetError::Timeout => Trouble::silent(self),
                // Its text contains numbers that differ from request to request.
                NetError::Io(error) => Trouble::io(self, std::io::Error::from(error.kind())),
                _ => Trouble::refused(self, error.to_string()),
            }
        }
    }

    /// The nodes in an answer of a name server.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn found_in(bytes: &[u8]) -> Vec<Found> {
        let query = Query {
            name: "salp".into(),
            record: Record::Srv,
            basename: "salp".into(),
            port: Some(9100),
            servers: Vec::new(),
        };
        let Ok(message) = hickory_resolver::proto::op::Message::from_vec(bytes) else {
            return Vec::new();
        };
        let records = message.answers.iter().take(FOUND_MAX);
        records.filter_map(|record| query.node(&record.data)).collect()
    }

    impl fmt::Display for Query {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let record = match self.record {
                Record::A => "A",
                Record::Srv => "SRV",
            };
            write!(f, "DNS, {record} {}", self.name)
        }
    }

    fn resolver(query: &Query) -> Result<TokioResolver, NetError> {
        let mut builder = if query.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = query.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = SERVER_TIME_MAX;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        builder.build()
    }
}

/// Replaces the strategy in a build without a resolver. The settings refuse it.
#[cfg(not(feature = "dns"))]
pub(crate) struct Dns(Query);

#[cfg(not(feature = "dns"))]
impl Dns {
    pub(crate) fn new(query: Query) -> Self {
        Self(query)
    }
}

#[cfg(not(feature = "dns"))]
impl super::Strategy for Dns {
    fn look(&mut self) -> super::Look<'_> {
        let trouble = super::Trouble::refused(&self.0.name, "this salp was built without DNS");
        Box::pin(std::future::ready(Err(trouble)))
    }
}
