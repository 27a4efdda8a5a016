//! How the file descriptors of a process are divided, so that one kind of client cannot take them all.

use rustix::process::{Resource, getrlimit};

/// Descriptors for other uses than connections, and for connections that are being refused.
const OWN: usize = 32;
/// HTTP connections for probes, used when all others are taken.
pub(crate) const PROBES: usize = 8;
/// Most connections of nodes: all peers, and handshakes under way.
const NODES_MAX: usize = 4096;

/// Most connections of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) redis: usize,
    pub(crate) http: usize,
    pub(crate) nodes: usize,
}

impl Shares {
    /// The shares of this process, which wants to serve `clients_max` clients of each kind. Logs if that is too many
    /// and the node listens for Redis clients.
    pub(crate) fn of_process(clients_max: usize, has_redis: bool) -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let shares = Self::of(limit, clients_max);
        if has_redis && shares.redis < clients_max {
            let Self { redis, http, nodes } = shares;
            tracing::warn!(
                limit,
                redis,
                http,
                nodes,
                "the process may open too few files for max-clients = {clients_max}; connections are limited to these \
                 numbers; raise the limit (ulimit -n, LimitNOFILE=) or lower --max-clients"
            );
        }
        shares
    }

    fn of(limit: usize, clients_max: usize) -> Self {
        let nodes = (limit / 8).clamp(8, NODES_MAX);
        let http = (limit / 8).max(8).min(clients_max);
        let rest = limit.saturating_sub(OWN + PROBES + nodes + http);
        Self {
            redis: rest.clamp(1, clients_max),
            http,
            nodes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_client_has_its_share() {
        for limit in [64, 100, 256, 1024, 4096, 20_000, 1 << 20, usize::MAX] {
            for clients_max in [1, 100, 10_000, 1_000_000] {
                let Shares { redis, http, nodes } = Shares::of(limit, clients_max);
                let sum = OWN + PROBES + redis + http + nodes;
                assert!(sum <= limit, "{limit} {clients_max}: {sum}");
                assert!(redis <= clients_max && http <= clients_max && redis >= 1 && http >= 1 && nodes >= 8);
            }
        }
        let small = Shares::of(256, 10_000);
        assert_eq!((small.redis, small.http, small.nodes), (152, 32, 32));
        assert_eq!(Shares::of(1 << 20, 10_000).redis, 10_000);
    }
}
