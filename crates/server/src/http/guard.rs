//! Which requests are admitted, and security headers for browsers.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use store::config::Password;
use wire::reply::{ErrorKind, Retry};

use super::{Shared, listener::Peer, problem::Problem};
use crate::{
    guesses::{self, TOKENS},
    log::limit,
};

/// Paths that reveal no data: the page without its figures, the API's description, and the probes of a supervisor
/// without a token.
const OPEN: [&str; 4] = ["/", "/openapi.json", "/healthz", "/readyz"];

/// Admits a request if it has the token, if there is one, and does not come from another site's web page.
pub(super) async fn admit(State(door): State<Shared>, request: Request, next: Next) -> Response {
    if crosses_sites(&request) && door.settings.origins.admitted(request.headers()).is_none() {
        let detail = "a page of another site may not write here";
        return Problem::refused(StatusCode::FORBIDDEN, "cross_site", "Request of another site", detail)
            .into_response();
    }
    let admitted = match &door.settings.token {
        None => true,
        // The methods of a resource are not secret, and a browser asks for them without a token.
        Some(_) if request.method() == Method::OPTIONS => true,
        Some(_) if OPEN.contains(&request.uri().path()) => true,
        Some(token) => match shows(token, &request) {
            Ok(shows) => shows,
            Err(refused) => return refused.into_response(),
        },
    };
    if admitted {
        next.run(request).await
    } else {
        Problem::of(ErrorKind::NoAuth, "send the token as 'Authorization: Bearer …'").into_response()
    }
}

/// Whether `request` has the token. If too many wrong tokens came from the same machine lately, the request is refused
/// unread.
fn shows(token: &Password, request: &Request) -> Result<bool, Problem> {
    let Some(given) = bearer(request) else { return Ok(false) };
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    if peer.is_some_and(|peer| TOKENS.room(peer) == 0) {
        let problem = Problem {
            retry: Retry::Safe,
            ..Problem::refused(
                StatusCode::TOO_MANY_REQUESTS,
                "guesses",
                "Too many wrong tokens",
                "too many wrong tokens came from this address; no token from there is checked for some seconds",
            )
        };
        return Err(problem.with_header(header::RETRY_AFTER, guesses::WINDOW.as_secs()));
    }
    let shows = token.is(given);
    if let Some(peer) = peer.filter(|_| !shows) {
        TOKENS.add(peer, 1);
        if limit::SECRET.allows() {
            tracing::warn!(address = %peer, "an HTTP client sent a wrong token");
        }
    }
    Ok(shows)
}

fn bearer(request: &Request) -> Option<&[u8]> {
    let value = request.headers().get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// Whether a browser says that another site started this write. Without this check, any page that a developer visits
/// could write to a node without a token on the same machine. Clients other than browsers do not send these headers. A
/// browser sends only the second one to an address that is neither encrypted nor on its own machine.
fn crosses_sites(request: &Request) -> bool {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        return false;
    }
    let header = |name| request.headers().get(name).map(HeaderValue::as_bytes);
    match (header("sec-fetch-site"), header("origin")) {
        (Some(site), _) => !matches!(site, b"same-origin" | b"none"),
        (None, Some(origin)) => origin.strip_prefix(b"http://") != header("host"),
        (None, None) => false,
    }
}

/// A stopping node closes a connection with its response, so the client asks another node.
pub(super) async fn part(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if *door.closing.borrow() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Values come from anyone, with any content type. No browser may guess another type, or run a value as a page of this
/// origin. A handler of this node's own page has set its own policy.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(HeaderName::from_static("cross-origin-resource-policy"))
        .or_insert(HeaderValue::from_static("same-origin"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; sandbox; frame-ancestors 'none'",
        ));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(method: Method, name: &'static str, value: &'static str) -> Request {
        Request::builder()
            .method(method)
            .header(name, value)
            .body(Body::empty())
            .unwrap()
    }

    #[test]
    fn the_scheme_is_bearer_in_any_case() {
        for (value, token) in [
            ("Bearer abc", Some(&b"abc"[..])),
            ("bEARER abc", Some(b"abc")),
            ("Basic abc", None),
            ("B", None),
        ] {
            assert_eq!(bearer(&request(Method::GET, "authorization", value)), token, "{value}");
        }
    }

    #[test]
    fn only_writes_of_other_sites_are_refused() {
        for (method, site, crosses) in [
            (Method::GET, "cross-site", false),
            (Method::PUT, "cross-site", true),
            (Method::POST, "same-site", true),
            (Method::POST, "same-origin", false),
            (Method::DELETE, "none", false),
        ] {
            assert_eq!(
                crosses_sites(&request(method, "sec-fetch-site", site)),
                crosses,
                "{site}"
            );
        }
        assert!(!crosses_sites(&request(Method::PUT, "accept", "*/*")));
        for (method, origin, crosses) in [
            (Method::POST, "http://10.0.0.1:4000", false),
            (Method::POST, "http://10.0.0.1", true),
            (Method::PUT, "http://evil.example", true),
            (Method::DELETE, "null", true),
            (Method::GET, "http://evil.example", false),
        ] {
            let mut request = request(method, "origin", origin);
            request
                .headers_mut()
                .insert("host", HeaderValue::from_static("10.0.0.1:4000"));
            assert_eq!(crosses_sites(&request), crosses, "{origin}");
        }
    }
}
