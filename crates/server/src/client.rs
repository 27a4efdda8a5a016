//! A small HTTP client, with which the command line talks to a node.
//!
//! Connections are kept and shared. Every request has a deadline. It supports `http` only.

use std::{fmt, time::Duration};

use axum::http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use tokio::time;

/// Time limit for making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit for an answer. A node answers within 5 s by default.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClientError {
    /// This client cannot call the address.
    Url(String),
    /// Nothing answers at the address.
    Unreachable(String),
    /// The answer is malformed.
    Broken(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(text) | Self::Unreachable(text) | Self::Broken(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ClientError {}

/// What a node answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// The answer has the version of a value. Every value of a node has one.
    pub(crate) has_version: bool,
    /// The URL of the request.
    pub(crate) url: String,
}

/// The members of a problem that are used.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    retry: String,
}

impl Answer {
    /// One line that says why the request was refused or failed.
    pub(crate) fn problem(&self) -> String {
        match self.read_problem() {
            Some(Problem { title, detail, .. }) if title == detail => title,
            Some(Problem { title, detail, .. }) => format!("{title}: {detail}"),
            None => format!(
                "{} is not a salp node: it answered {}; name a node's HTTP address with --url or SALP_URL",
                self.url, self.status
            ),
        }
    }

    /// Whether a node refused the request. Other web servers have other errors.
    pub(crate) fn is_problem(&self) -> bool {
        self.read_problem().is_some()
    }

    /// Whether a node says that it does not have the key.
    pub(crate) fn is_missing_key(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.read_problem().is_some_and(|problem| problem.kind == "no_key")
    }

    fn read_problem(&self) -> Option<Problem> {
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        ["safe", "unsafe", "useless"]
            .contains(&problem.retry.as_str())
            .then_some(problem)
    }
}

/// Talks to one node. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    /// Without a trailing slash.
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the node at `url`. It sends `token` if there is one.
    ///
    /// # Errors
    /// `url` is not an `http` address.
    pub(crate) fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let bad = |why: &str| ClientError::Url(format!("--url {url}: {why}"));
        let uri: Uri = url
            .parse()
            .map_err(|_| bad("is not an address; write one such as http://127.0.0.1:4000"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("https is not supported; put a TLS proxy in between")),
            _ => return Err(bad("must start with http://")),
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad("must end after host and port"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let inner = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self {
            inner,
            base: url.trim_end_matches('/').into(),
            token,
        })
    }

    /// The address of the node.
    pub(crate) fn url(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads its whole answer. `path` begins with a slash and is percent-encoded already.
    ///
    /// # Errors
    /// There is no answer, or none in time.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| ClientError::Url(error.to_string()))?;
        let exchange = async {
            let response = self
                .inner
                .request(request)
                .await
                .map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let has_version = response.headers().contains_key(header::ETAG);
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body =
                body.map_err(|error| ClientError::Broken(format!("the answer of {} broke off: {error}", self.base)))?;
            Ok(Answer {
                status,
                body: body.to_bytes(),
                has_version,
                url: self.base.clone(),
            })
        };
        let late = || ClientError::Unreachable(format!("{} did not answer within {REQUEST_TIMEOUT:?}", self.base));
        time::timeout(REQUEST_TIMEOUT, exchange).await.map_err(|_| late())?
    }

    /// The innermost cause is the most precise: "connection refused" rather than "client error".
    fn unreachable(&self, error: &dyn std::error::Error) -> ClientError {
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        ClientError::Unreachable(format!(
            "{} cannot be reached: {cause}; start a node (salp dev), or name another with --url or SALP_URL",
            self.base
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_called() {
        for (url, good) in [
            ("http://127.0.0.1:4000", true),
            ("http://[::1]:4000/", true),
            ("https://a:1", false),
            ("127.0.0.1:4000", false),
            ("http://a/b", false),
            ("http://a/?b", false),
            ("", false),
        ] {
            assert_eq!(Client::new(url, None).is_ok(), good, "{url}");
        }
    }

    #[test]
    fn a_problem_is_one_line() {
        let answer = |body: &'static str| Answer {
            status: StatusCode::NOT_FOUND,
            body: Bytes::from_static(body.as_bytes()),
            has_version: false,
            url: "http://h".into(),
        };
        let problem = r#"{"type":"x","title":"T","status":404,"detail":"d","retry":"useless"}"#;
        assert_eq!(answer(problem).problem(), "T: d");
        let wanted = "http://h is not a salp node: it answered 404 Not Found; ";
        assert!(answer("<html>").problem().starts_with(wanted));
        for (body, is_problem, is_missing) in [
            (problem, true, false),
            (
                r#"{"type":"no_key","title":"T","status":404,"detail":"d","retry":"useless"}"#,
                true,
                true,
            ),
            ("<html>404</html>", false, false),
            ("", false, false),
            ("{}", false, false),
            (
                r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"d"}"#,
                false,
                false,
            ),
            (r#"{"error":"no_key"}"#, false, false),
        ] {
            let answer = answer(body);
            assert_eq!(
                (answer.is_problem(), answer.is_missing_key()),
                (is_problem, is_missing),
                "{body}"
            );
        }
    }
}
