//! Compresses answers for clients that ask for it (RFC 9110, 12.5.3): text and JSON of a kilobyte or more.
//!
//! Only a whole answer in one piece is compressed. So a part of a value and a stream of events stay as they are.

use std::io::Write as _;

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;

/// Smaller answers gain nothing.
const BYTES_MIN: u64 = 1024;

/// Larger answers would take this process too long.
const BYTES_MAX: u64 = 8 << 20;

/// Larger answers are compressed on another thread.
const BYTES_AT_ONCE: usize = 32 << 10;

/// Added to the version of a compressed value, since it is another representation (RFC 9110, 8.8.3).
pub(super) const SUFFIX: &str = "-gzip";

/// The middleware.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let admitted = request.method() == Method::GET && admits(request.headers());
    let mut response = next.run(request).await;
    if !may_be(&response) {
        return response;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !admitted {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        unreachable!("a body of known length is in memory");
    };
    let Some(small) = deflate(body.clone()).await else {
        return Response::from_parts(parts, Body::from(body));
    };
    parts
        .headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::ACCEPT_RANGES);
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(tag) = parts.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        let tag = super::header_value(&format!("{}{SUFFIX}\"", tag.trim_end_matches('"')));
        parts.headers.insert(header::ETAG, tag);
    }
    Response::from_parts(parts, Body::from(small))
}

/// Whether an answer may be compressed: a whole one of known length, text or JSON.
fn may_be(response: &Response) -> bool {
    let headers = response.headers();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let length = response.body().size_hint().exact();
    response.status() == StatusCode::OK
        && length.is_some_and(|length| (BYTES_MIN..=BYTES_MAX).contains(&length))
        && kind.is_some_and(is_text)
        && !headers.contains_key(header::CONTENT_ENCODING)
}

fn is_text(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let ends_well = |suffix: &&str| kind.ends_with(*suffix);
    kind.starts_with("text/") || ["/json", "+json", "/xml", "+xml", "/javascript"].iter().any(ends_well)
}

/// Whether a request accepts gzip. The most specific entry counts. Without an entry only plain bytes are accepted.
fn admits(headers: &HeaderMap) -> bool {
    let entries = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut weights = [None, None];
    for entry in entries
        .filter_map(|text| text.to_str().ok())
        .flat_map(|text| text.split(','))
    {
        let (coding, parameters) = entry.split_once(';').unwrap_or((entry, ""));
        let weight = parameters
            .trim()
            .strip_prefix("q=")
            .map_or(Some(1.0), |q| q.parse::<f32>().ok());
        let is_wanted = weight.is_some_and(|weight| weight > 0.0);
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => weights[0] = Some(is_wanted),
            "*" => weights[1] = Some(is_wanted),
            _ => {}
        }
    }
    weights[0].or(weights[1]).unwrap_or(false)
}

/// `body` compressed. `None` if that is not smaller.
async fn deflate(body: Bytes) -> Option<Vec<u8>> {
    let length = body.len();
    let work = move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(&body).and_then(|()| encoder.finish()).ok()
    };
    let small = if length > BYTES_AT_ONCE {
        tokio::task::spawn_blocking(work).await.ok()?
    } else {
        work()
    };
    small.filter(|small| small.len() < length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_admit_it() {
        for (text, admitted) in [
            ("gzip", true),
            ("GZIP", true),
            ("br, gzip;q=0.5", true),
            ("*", true),
            ("*;q=0.1", true),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            assert_eq!(admits(&headers), admitted, "{text}");
        }
        assert!(!admits(&HeaderMap::new()));
    }

    #[test]
    fn text_and_json_are_worth_it() {
        for (kind, worth) in [
            ("text/plain; charset=utf-8", true),
            ("application/json", true),
            ("application/vnd.api+JSON", true),
            ("image/svg+xml", true),
            ("image/png", false),
            ("application/octet-stream", false),
            ("application/x-erlang-term", false),
        ] {
            assert_eq!(is_text(kind), worth, "{kind}");
        }
    }
}
