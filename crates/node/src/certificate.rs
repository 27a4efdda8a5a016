//! What a TLS connection proves about its peer: the hosts in the peer's certificate.
//!
//! The shell has verified the certificate itself: its chain, its dates, and that the peer has its key. The shell does
//! not know which node name the peer will claim inside the connection. The node compares the two: if the certificate
//! does not cover the host of the claimed name, the peer is refused before any other check. So it can neither take a
//! name nor replace a connection.

use alloc::sync::Arc;
use core::fmt;
use wire::{dist::handshake::Lengths, etf::Atom};

/// Which hosts a verified certificate is for.
pub trait Covers: fmt::Debug + Send + Sync {
    /// Whether it is for this host: a DNS name in any case, or an IP address.
    fn covers(&self, host: &str) -> bool;
}

/// The verified certificate of a peer.
#[derive(Clone, Debug)]
pub struct Certificate(Arc<dyn Covers>);

impl Certificate {
    /// Wraps what the shell verified.
    pub fn new(names: impl Covers + 'static) -> Self {
        Self(Arc::new(names))
    }
}

/// Whether a peer may claim this name. A connection without a certificate may claim any name: the shell decides whether
/// it allows such connections.
pub(crate) fn may_claim(certificate: Option<&Certificate>, name: &Atom) -> bool {
    certificate.is_none_or(|Certificate(names)| names.covers(host(name)))
}

/// The form of lengths in the handshake on such a connection.
pub(crate) fn lengths(certificate: Option<&Certificate>) -> Lengths {
    match certificate {
        Some(_) => Lengths::Tls,
        None => Lengths::Plain,
    }
}

/// The host of a name. A peer without a name sends only its host.
fn host(node: &Atom) -> &str {
    let name = node.as_str();
    name.split_once('@').map_or(name, |(_, host)| host)
}
