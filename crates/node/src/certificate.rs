//! What a secured connection proves about its peer: hosts that the peer may speak for.
//!
//! The shell has verified the certificate itself: its chain, its dates, and that the peer holds its key. What the shell
//! cannot know is which name the peer will claim inside the connection. The node does, and compares: a peer whose
//! certificate does not cover the host of its name is refused before anything else is looked at, so it can neither
//! take a name nor displace a connection.

use alloc::sync::Arc;
use core::fmt;
use wire::{dist::handshake::Lengths, etf::Atom};

/// Which hosts a verified certificate is for.
pub trait Covers: fmt::Debug + Send + Sync {
    /// Whether it names this host: a DNS name, without regard to case, or an IP address.
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

/// Whether a peer may claim this name. A connection without a certificate proves nothing and refuses nothing: whether
/// such connections are made at all is the shell's to say.
pub(crate) fn may_claim(certificate: Option<&Certificate>, name: &Atom) -> bool {
    certificate.is_none_or(|Certificate(names)| names.covers(host(name)))
}

/// How lengths in the handshake are written on such a connection.
pub(crate) fn lengths(certificate: Option<&Certificate>) -> Lengths {
    match certificate {
        Some(_) => Lengths::Tls,
        None => Lengths::Plain,
    }
}

/// A peer without a name of its own tells its host alone.
fn host(node: &Atom) -> &str {
    let name = node.as_str();
    name.split_once('@').map_or(name, |(_, host)| host)
}
