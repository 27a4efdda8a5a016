//! Whether a request is for this node, and whether the node understands its framing and coding.
//!
//! A web page can make a browser connect to a node on the same machine or network under a host name of the page's own
//! site (DNS rebinding). The browser then treats the node as that site, and the page may read and write. So the name in
//! `Host` must be one of this node's names:
//!
//! - `localhost` and names below it, and any IP address: in a browser these cannot belong to a site,
//! - the host in the node's name,
//! - those that `--http-host` lists; `*` there switches the check off.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Shared, problem::Problem};

/// The names of this node, in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// `own` is the host in the node's name. `further` comes from the setting.
    pub(crate) fn new(own: &str, further: &[String]) -> Self {
        let names = std::iter::once(own).chain(further.iter().map(String::as_str));
        Self {
            names: names.map(str::to_ascii_lowercase).collect(),
        }
    }

    fn admits(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal.parse::<std::net::IpAddr>().is_ok()
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.names.iter().any(|name| *name == host || name == "*")
    }
}

/// The middleware: refuses requests for another host, and those with unknown framing or coding.
pub(super) async fn addressed(State(door): State<Shared>, request: Request, next: Next) -> Response {
    let version = request.version();
    let checked = host(request.uri(), version, request.headers())
        .and_then(|host| match host {
            Some(host) if !door.settings.hosts.admits(&host) => Err(misdirected(&host)),
            _ => Ok(()),
        })
        .and_then(|()| framed(request.headers()));
    match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The host that a request is for (RFC 9112, 3.2 and 3.3). An address in absolute form takes precedence over the
/// header. Only HTTP/1.0 may omit the host.
fn host(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let bad = |detail: &str| Err(Problem::bad(detail));
    let header = match (given.next(), given.next()) {
        (None, _) if version < Version::HTTP_11 => None,
        (None, _) => return bad("a request of HTTP/1.1 must have the header Host"),
        (Some(_), Some(_)) => return bad("the header Host is given twice"),
        (Some(host), None) => Some(host),
    };
    let parsed = header.map(|host| Authority::try_from(host.as_bytes()));
    let authority = match (uri.authority(), parsed) {
        (_, Some(Err(_))) => return bad("the header Host must be a name or an address, with an optional port"),
        (Some(authority), _) => authority.clone(),
        (None, Some(Ok(authority))) => authority,
        (None, None) => return Ok(None),
    };
    if authority.as_str().contains('@') {
        return bad("the header Host must be a name or an address, with an optional port");
    }
    Ok(Some(authority.host().to_owned()))
}

fn misdirected(host: &str) -> Problem {
    let host: String = host.chars().take(255).collect();
    let detail = format!(
        "{host} is not a name of this node; to allow it, start the node with --http-host {host} (SALP_HTTP_HOST)"
    );
    Problem::refused(
        StatusCode::MISDIRECTED_REQUEST,
        "misdirected",
        "Request for another host",
        detail,
    )
}

/// Refuses all framings and codings of a body except chunks and plain bytes. A value is the same bytes for Redis
/// clients, BEAM nodes and HTTP, so no coding is stored with it.
fn framed(headers: &HeaderMap) -> Result<(), Problem> {
    let is_other = |plain: &'static str| {
        move |value: &HeaderValue| {
            let mut codings = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(plain.as_bytes()))
        }
    };
    let has_other = |name, plain| headers.get_all(name).iter().any(is_other(plain));
    if has_other(header::TRANSFER_ENCODING, "chunked") {
        let detail = "the only supported transfer coding is chunked";
        let title = "Unknown transfer coding";
        return Err(Problem::refused(
            StatusCode::NOT_IMPLEMENTED,
            "transfer_coding",
            title,
            detail,
        ));
    }
    if has_other(header::CONTENT_ENCODING, "identity") {
        let detail = "a value has no content coding: send it decoded, or coded without the header Content-Encoding";
        let title = "Unsupported content coding";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let problem = Problem::refused(status, "content_coding", title, detail);
        return Err(problem.with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_answers_to_its_own_names() {
        let hosts = Hosts::new("Node1.example", &["kv.example".into()]);
        for (host, admitted) in [
            ("localhost", true),
            ("LOCALHOST.", true),
            ("dev.localhost", true),
            ("127.0.0.1", true),
            ("127.8.9.10", true),
            ("10.1.2.3", true),
            ("[::1]", true),
            ("[2001:db8::1]", true),
            ("node1.EXAMPLE", true),
            ("kv.example.", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("xlocalhost", false),
            ("1.2.3", false),
            ("example", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(hosts.admits(host), admitted, "{host}");
        }
        assert!(Hosts::new("h", &["*".into()]).admits("any.example"));
    }

    #[test]
    fn the_host_is_read_as_the_rfc_says() {
        let check = |uri: &'static str, version, hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            let host = host(&Uri::from_static(uri), version, &headers);
            host.map_err(|refusal| refusal.status.as_u16())
        };
        let some = |text: &str| Ok(Some(text.to_owned()));
        for (uri, version, hosts, wanted) in [
            ("/kv/a", Version::HTTP_11, &["h:80"][..], some("h")),
            ("/kv/a", Version::HTTP_11, &["[::1]:80"], some("[::1]")),
            ("http://b/kv/a", Version::HTTP_11, &["h"], some("b")),
            ("/kv/a", Version::HTTP_10, &[], Ok(None)),
            ("/kv/a", Version::HTTP_10, &["h"], some("h")),
            ("/kv/a", Version::HTTP_11, &[], Err(400)),
            ("http://b/kv/a", Version::HTTP_11, &[], Err(400)),
            ("/kv/a", Version::HTTP_11, &["h", "h"], Err(400)),
            ("/kv/a", Version::HTTP_10, &["a", "b"], Err(400)),
            ("/kv/a", Version::HTTP_11, &[""], Err(400)),
            ("/kv/a", Version::HTTP_11, &["u@h"], Err(400)),
            ("/kv/a", Version::HTTP_11, &["a b"], Err(400)),
            ("/kv/a", Version::HTTP_11, &["a/b"], Err(400)),
        ] {
            assert_eq!(check(uri, version, hosts), wanted, "{uri} {version:?} {hosts:?}");
        }
    }

    #[test]
    fn only_chunks_and_plain_bytes_are_understood() {
        for (name, value, status) in [
            ("transfer-encoding", "chunked", None),
            ("transfer-encoding", "Chunked", None),
            ("transfer-encoding", "gzip, chunked", Some(501)),
            ("transfer-encoding", "deflate,chunked", Some(501)),
            ("transfer-encoding", "x-own, chunked", Some(501)),
            ("content-encoding", "identity", None),
            ("content-encoding", "", None),
            ("content-encoding", "gzip", Some(415)),
            ("content-encoding", "br", Some(415)),
            ("content-encoding", "identity, zstd", Some(415)),
            ("content-encoding", "aes128gcm", Some(415)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            let refusal = framed(&headers).err().map(|refusal| refusal.status.as_u16());
            assert_eq!(refusal, status, "{name}: {value}");
        }
    }
}
