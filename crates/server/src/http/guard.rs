//! Who may come in, and what a browser is told about what it gets.

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

/// What tells nothing about data: the page without its figures, the API's description, and the probes of a supervisor
/// that has no token.
const OPEN: [&str; 4] = ["/", "/openapi.json", "/healthz", "/readyz"];

/// Lets a request pass that shows the token, if there is one, and was not made by somebody else's web page.
pub(super) async fn admit(State(door): State<Shared>, request: Request, next: Next) -> Response {
    if crosses_sites(&request) && door.settings.origins.admitted(request.headers()).is_none() {
        let detail = "a page of another site may not write here";
        return Problem::refused(StatusCode::FORBIDDEN, "cross_site", "Request of another site", detail)
            .into_response();
    }
    let admitted = match &door.settings.token {
        None => true,
        // What a resource can do is no secret, and a browser that asks has no token with it.
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
        Problem::of(ErrorKind::NoAuth, "show the token as 'Authorization: Bearer …'").into_response()
    }
}

/// Whether `request` shows the token. Refused unread if too many wrong ones came from the same machine of late.
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
                "too many wrong tokens came from this address; no token from there is looked at for some seconds",
            )
        };
        return Err(problem.with_header(header::RETRY_AFTER, guesses::WINDOW.as_secs()));
    }
    let shows = token.is(given);
    if let Some(peer) = peer.filter(|_| !shows) {
        TOKENS.add(peer, 1);
        if limit::SECRET.allows() {
            tracing::warn!(address = %peer, "an HTTP client showed a wrong token");
        }
    }
    Ok(shows)
}

fn bearer(request: &Request) -> Option<&[u8]> {
    let value = request.headers().get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// A write that a browser says was begun by another site. Without this, any page that a developer visits could write to
/// the node on the same machine, which has no token. Clients that are no browsers do not send these headers, and a
/// browser sends only the second one to an address that is neither encrypted nor its own machine's.
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

/// A node that stops closes a connection with its response: the client knows then, and asks another node.
pub(super) async fn part(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if *door.closing.borrow() {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Values come from anybody, with any content type: no browser is to guess another one, or to run one as a page of this
/// origin. A handler that serves a page of ours has set its own policy.
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
