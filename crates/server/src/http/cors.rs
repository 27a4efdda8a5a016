//! Other web sites whose pages may use this node: those that `--http-cors` lists (Fetch standard, 3.2). Default: none.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, methods};

/// Headers that a page may send.
const SENT: &str =
    "authorization, content-type, idempotency-key, if-match, if-none-match, if-range, range, salp-consistency";

/// Headers that a page may read, besides those that every page may read.
const READ: &str =
    "accept-ranges, allow, content-encoding, content-range, etag, location, retry-after, salp-expires-ms";

/// How long a browser may cache the answer to a preflight, in seconds.
const MAX_AGE: &str = "600";

/// The origins whose pages may use this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(Vec<String>);

impl Origins {
    /// `list` contains origins such as `https://app.example`. `*` stands for every origin.
    pub(crate) fn new(list: &[String]) -> Self {
        Self(list.to_vec())
    }

    /// The origin of a request, if its pages may use this node.
    pub(super) fn admitted<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let is_it = |listed: &String| listed == "*" || listed.as_bytes() == origin.as_bytes();
        self.0.iter().any(is_it).then_some(origin)
    }
}

/// The middleware: answers the preflight of an admitted page, and lets the page read the answers.
pub(super) async fn share(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let origins = &door.settings.origins;
    if origins.0.is_empty() {
        return next.run(request).await;
    }
    let origin = origins.admitted(request.headers()).cloned();
    let asked = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &origin {
        Some(_) if asked && request.method() == Method::OPTIONS => preflight(&request),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
    }
    response
}

fn preflight(request: &Request) -> Response {
    let allowed = methods::allowed(request).unwrap_or(methods::ALL);
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, allowed),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
