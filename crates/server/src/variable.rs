//! Environment variables, and variables that are not meant for salp.
//!
//! - An empty variable counts as unset: tools such as Docker Compose set a variable to nothing if they have no value
//!   (`SALP_X: ${X}`).
//! - Kubernetes gives each container the addresses of all services in its namespace. For a service `salp-dist` it sets
//!   `SALP_DIST_PORT=tcp://10.3.2.1:9100`. No setting of salp has such a value, so it is ignored.

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Text(String),
    /// It is set, to nothing.
    Empty,
    /// Kubernetes set it for a service.
    OfService(String),
}

impl Variable {
    pub(crate) fn of(text: String) -> Self {
        let is_address = |scheme: &&str| text.starts_with(*scheme);
        if text.is_empty() {
            Self::Empty
        } else if ["tcp://", "udp://", "sctp://"].iter().any(is_address) {
            Self::OfService(text)
        } else {
            Self::Text(text)
        }
    }
}

/// The value of variable `name`, if it has one that is meant for salp.
pub(crate) fn read(name: &str) -> Option<String> {
    match std::env::var(name).map(Variable::of) {
        Ok(Variable::Text(text)) => Some(text),
        Ok(Variable::Empty | Variable::OfService(_)) | Err(_) => None,
    }
}
