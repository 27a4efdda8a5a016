//! The methods of each resource: one list for `Allow`, `OPTIONS` and every refusal.

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{address, problem::Problem};

/// Methods that some resource has.
pub(super) const ALL: &str = "GET, HEAD, PUT, POST, DELETE, OPTIONS";

/// The methods of the resource that `request` names. `None` if there is no resource at its address.
pub(super) fn allowed(request: &Request) -> Option<&'static str> {
    let route = request.extensions().get::<MatchedPath>()?;
    Some(of_route(route.as_str(), request.uri().path()))
}

fn of_route(route: &str, path: &str) -> &'static str {
    match address::split_keyspace(route).1 {
        "/kv/{*key}" if path.ends_with("/incr") => ALL,
        "/kv/{*key}" => "GET, HEAD, PUT, DELETE, OPTIONS",
        "/batch" | "/form" => "POST, OPTIONS",
        "/nodes" => "GET, HEAD, POST, OPTIONS",
        "/nodes/{name}" => "GET, HEAD, DELETE, OPTIONS",
        _ => "GET, HEAD, OPTIONS",
    }
}

/// The middleware: answers `OPTIONS`, and refuses methods that a resource does not have.
pub(super) async fn check(request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, ALL)]).into_response();
    }
    let Some(allowed) = allowed(&request) else {
        return next.run(request).await;
    };
    if request.method() == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allowed)]).into_response();
    }
    if allowed.split(", ").any(|method| method == request.method().as_str()) {
        return next.run(request).await;
    }
    let method: String = request.method().as_str().chars().take(32).collect();
    let detail = format!("this path does not support {method}; it supports {allowed}");
    Problem::refused(
        StatusCode::METHOD_NOT_ALLOWED,
        "no_method",
        "Method not allowed",
        detail,
    )
    .with_header(header::ALLOW, HeaderValue::from_static(allowed))
    .into_response()
}
