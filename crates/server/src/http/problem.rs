//! Problem details (RFC 9457): the form of every refusal and failure over HTTP.
//!
//! `type` is the name of the kind, the same word as the atom that a BEAM client gets ([`ErrorKind::name`]). The member
//! `retry` says whether a retry is `safe`, `unsafe` (the request may have been executed already) or `useless`.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use wire::reply::{ErrorKind, Retry};

/// Seconds after which a client may retry a request that could not be served: a fail-over takes about as long.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why a request failed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) title: &'static str,
    #[serde(serialize_with = "number")]
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
    #[serde(rename = "retry", serialize_with = "word")]
    pub(crate) retry: Retry,
    /// A header that is sent with it.
    #[serde(skip)]
    pub(crate) header: Option<Box<(HeaderName, HeaderValue)>>,
}

/// Set on a response if nothing was done, so that a repeated request is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NothingDone;

impl Problem {
    /// A refusal that a retry does not change.
    pub(crate) fn refused(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            retry: Retry::Useless,
            header: None,
        }
    }

    /// The same with a header, which replaces the one that every problem has.
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.header = Some(Box::new((name, value.into())));
        self
    }

    /// A malformed request.
    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::refused(StatusCode::BAD_REQUEST, "bad_request", "Malformed request", detail)
    }

    pub(crate) fn no_key() -> Self {
        Self::refused(
            StatusCode::NOT_FOUND,
            "no_key",
            "No such key",
            "the keyspace does not have this key",
        )
    }

    /// The body is larger than `bytes_max`.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let detail = format!("the body may have {bytes_max} bytes at most");
        Self::refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Body too large", detail)
    }

    /// The node is stopping and does not answer.
    pub(crate) fn gone() -> Self {
        Self {
            kind: "stopped",
            title: "The node is stopping",
            status: StatusCode::SERVICE_UNAVAILABLE,
            detail: "this node is stopping and did not answer; the request may or may not have been executed".into(),
            retry: Retry::Unsafe,
            header: None,
        }
    }

    /// The store's reply has a form that this version does not know.
    pub(crate) fn unexpected() -> Self {
        Self {
            kind: "internal",
            title: "Internal error",
            status: StatusCode::INTERNAL_SERVER_ERROR,
            detail: "the store's answer has an unexpected form".into(),
            retry: Retry::Unsafe,
            header: None,
        }
    }

    /// An error of the store.
    pub(crate) fn of(kind: ErrorKind, text: &str) -> Self {
        let (status, title) = describe(kind);
        let detail = if text.is_empty() { title } else { text };
        Self {
            kind: kind.name(),
            title,
            status,
            detail: detail.into(),
            retry: kind.retry(),
            header: None,
        }
    }
}

/// Status and title of an error of the store.
fn describe(kind: ErrorKind) -> (StatusCode, &'static str) {
    use StatusCode as S;
    match kind {
        ErrorKind::Err => (S::BAD_REQUEST, "Malformed request"),
        ErrorKind::WrongType => (S::CONFLICT, "The key holds a value of another type"),
        ErrorKind::NoAuth => (S::UNAUTHORIZED, "Authentication required"),
        ErrorKind::WrongPass => (S::UNAUTHORIZED, "Wrong credentials"),
        ErrorKind::NoPerm => (S::FORBIDDEN, "Not permitted"),
        ErrorKind::NoProto => (S::BAD_REQUEST, "Unknown protocol version"),
        ErrorKind::ExecAbort => (S::CONFLICT, "Transaction discarded"),
        ErrorKind::CrossSlot => (S::BAD_REQUEST, "Keys of different slots"),
        ErrorKind::Moved => (S::SERVICE_UNAVAILABLE, "Another node owns the key"),
        ErrorKind::TryAgain => (S::SERVICE_UNAVAILABLE, "The key is being moved"),
        ErrorKind::ClusterDown => (S::SERVICE_UNAVAILABLE, "The cluster does not serve requests"),
        ErrorKind::NoNodes => (S::SERVICE_UNAVAILABLE, "No live replica for this key"),
        ErrorKind::NoReplicas => (S::SERVICE_UNAVAILABLE, "Too few replicas to begin"),
        ErrorKind::NoQuorum => (S::GATEWAY_TIMEOUT, "Too few replicas confirmed"),
        ErrorKind::Timeout => (S::GATEWAY_TIMEOUT, "No outcome within the deadline"),
        ErrorKind::Loading => (S::SERVICE_UNAVAILABLE, "The node is still synchronising"),
        ErrorKind::Stopping => (S::SERVICE_UNAVAILABLE, "The node is stopping"),
        ErrorKind::Busy => (S::SERVICE_UNAVAILABLE, "Too many requests under way"),
        ErrorKind::Oom => (S::INSUFFICIENT_STORAGE, "The memory limit is reached"),
        ErrorKind::ReadOnly => (S::FORBIDDEN, "Reads only"),
        ErrorKind::NoScript => (S::NOT_FOUND, "Unknown script"),
        ErrorKind::NotBusy => (S::CONFLICT, "No script is running"),
        ErrorKind::Custom => (S::BAD_REQUEST, "Error of a script"),
    }
}

fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

fn word<S: serde::Serializer>(retry: &Retry, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match retry {
        Retry::Safe => "safe",
        Retry::Unsafe => "unsafe",
        Retry::Useless => "useless",
    })
}

/// A problem with members of its kind.
#[derive(Serialize)]
struct Extended<'a, M> {
    #[serde(flatten)]
    problem: &'a Problem,
    #[serde(flatten)]
    members: M,
}

impl Problem {
    /// The response, with further members in its body. `members` is a struct.
    pub(crate) fn respond_with(self, members: impl Serialize) -> Response {
        let problem = &self;
        let body = serde_json::to_vec(&Extended { problem, members });
        self.respond(body.expect("a struct is JSON"))
    }

    fn respond(&self, body: Vec<u8>) -> Response {
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"salp\""),
            );
        }
        if self.retry == Retry::Safe {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
            response.extensions_mut().insert(NothingDone);
        }
        if let Some((name, value)) = self.header.as_deref() {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("strings and a number are JSON");
        self.respond(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nodes_asks_to_come_back() {
        let response = Problem::of(ErrorKind::NoNodes, "shard 7").into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert!(response.extensions().get::<NothingDone>().is_some());
    }

    #[test]
    fn an_unknown_outcome_is_no_invitation_to_repeat() {
        let response = Problem::of(ErrorKind::Timeout, "").into_response();
        assert_eq!(response.status(), 504);
        assert!(response.headers().get(header::RETRY_AFTER).is_none());
        assert!(response.extensions().get::<NothingDone>().is_none());
    }

    #[test]
    fn the_members_are_those_of_the_rfc() {
        let json = serde_json::to_value(Problem::of(ErrorKind::NoNodes, "shard 7")).unwrap();
        let wanted = serde_json::json!({
            "type": "no_nodes", "title": "No live replica for this key", "status": 503,
            "detail": "shard 7", "retry": "safe",
        });
        assert_eq!(json, wanted);
    }

    #[test]
    fn every_kind_is_an_error() {
        for kind in ErrorKind::ALL {
            let status = Problem::of(kind, "").status;
            assert!(status.is_client_error() || status.is_server_error(), "{kind:?}");
        }
    }
}
