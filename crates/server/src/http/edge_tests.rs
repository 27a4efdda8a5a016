//! The layers around the routes: hosts, origins, methods, framing, ranges, compression. Over real sockets.

use std::io::Read as _;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    tests::{Fixture, SPECIFICATION},
    *,
};

/// Everything that the node sends in answer to `data` until the connection ends: heads and bodies as they are on the
/// wire.
async fn raw(door: &Fixture, data: impl AsRef<[u8]>) -> String {
    let address = door.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(data.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Status and type of the problem in the last answer of `text`.
#[track_caller]
fn problem(text: &str) -> (u64, String) {
    let (head, body) = text.rsplit_once("\r\n\r\n").unwrap();
    let head = &head[head.rfind("HTTP/1.1 ").unwrap()..];
    assert!(head.contains("\r\ncontent-type: application/problem+json"), "{head}");
    assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {}", body["status"])), "{head}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.len() > 10));
    (
        body["status"].as_u64().unwrap(),
        body["type"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn what_the_library_refuses_is_a_problem_too() {
    const HEAD: &str = "GET /kv/a HTTP/1.1\r\nHost: localhost\r\n";
    const PUT: &str = "PUT /kv/a HTTP/1.1\r\nHost: localhost\r\n";
    let door = Fixture::open(|_| ()).await;
    let many: String = (0..120).map(|number| format!("X-{number}: y\r\n")).collect();
    let cases = [
        (
            "GET /kv/a b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            format!("GET /kv/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(66_000)),
            414,
            "long_address",
        ),
        (format!("{HEAD}{many}\r\n"), 431, "large_head"),
        (format!("{HEAD}X: {}\r\n\r\n", "a".repeat(2_000_000)), 431, "large_head"),
        (
            format!("{PUT}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
            400,
            "bad_request",
        ),
        (format!("{PUT}Content-Length: -1\r\n\r\n"), 400, "bad_request"),
        (format!("{PUT}Transfer-Encoding: gzip\r\n\r\n"), 400, "bad_request"),
        (format!("{HEAD}no colon\r\n\r\n"), 400, "bad_request"),
        (format!("{HEAD}bad name: x\r\n\r\n"), 400, "bad_request"),
        (format!("{HEAD}X: \0\r\n\r\n"), 400, "bad_request"),
        (
            "G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        ("*1\r\n$4\r\nPING\r\n\r\n".to_owned(), 400, "bad_request"),
        // This crate refuses it, not the HTTP library.
        (
            "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        (
            format!("{HEAD}Host: b\r\nConnection: close\r\n\r\n"),
            400,
            "bad_request",
        ),
        (
            format!("{PUT}Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"),
            501,
            "transfer_coding",
        ),
    ];
    for (data, status, kind) in cases {
        let shown: String = data.chars().take(80).collect();
        assert_eq!(problem(&raw(&door, &data).await), (status, kind.to_owned()), "{shown}");
    }
    let behind = format!("{HEAD}\r\nGET\r\n\r\n");
    let text = raw(&door, behind).await;
    assert!(text.starts_with("HTTP/1.1 404"), "the first is answered: {text}");
    assert_eq!(problem(&text), (400, "bad_request".into()));
    assert!(
        raw(&door, "GET /healthz HTTP/1.0\r\n\r\n")
            .await
            .starts_with("HTTP/1.0 200")
    );
}

#[tokio::test]
async fn a_value_that_looks_like_a_refusal_comes_back() {
    let door = Fixture::open(|_| ()).await;
    let value = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(door.send("PUT", "/kv/a", &[], value).await.status, 201);
    for _ in 0..3 {
        assert_eq!(door.get("/kv/a").await.text(), value);
    }
    let closing = "GET /kv/a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(raw(&door, closing).await.ends_with(value));
    let text = raw(&door, "GET /kv/a HTTP/1.1\r\nHost: localhost\r\n\r\nGET\r\n\r\n").await;
    assert!(text.contains(&format!("\r\n\r\n{value}HTTP/1.1 400")), "{text}");
    assert_eq!(problem(&text), (400, "bad_request".into()));
}

#[tokio::test]
async fn only_requests_for_this_node_are_served() {
    let door = Fixture::open(|settings| settings.hosts = Hosts::new("t.example", &["kv.example".into()])).await;
    for (host, status) in [
        ("localhost:4000", 200),
        ("T.example", 200),
        ("kv.example:80", 200),
        ("192.0.2.1", 200),
        ("[::1]:4000", 200),
        ("evil.example", 421),
        ("evil.example:4000", 421),
        ("localhost.evil.example", 421),
        ("x.kv.example", 421),
        ("127.0.0.1.nip.io", 421),
    ] {
        for path in ["/healthz", "/kv", "/"] {
            assert_eq!(
                door.send("GET", path, &[("host", host)], "").await.status,
                status,
                "{host}"
            );
        }
        let written = door.send("PUT", "/kv/a", &[("host", host)], "v").await;
        assert_eq!(written.status == 421, status == 421, "{host}");
    }
    let refused = door
        .send("DELETE", "/nodes/t@127.0.0.1", &[("host", "evil.example")], "")
        .await;
    assert_eq!(
        (refused.status, refused.json()["type"].as_str()),
        (421, Some("misdirected"))
    );
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("--http-host evil.example")
    );
}

#[tokio::test]
async fn each_resource_says_its_methods_in_one_way() {
    let door = Fixture::open(|settings| settings.token = Some(Password::new("secret".into()))).await;
    let token = ("authorization", "Bearer secret");
    let specification: Value = serde_json::from_str(SPECIFICATION).unwrap();
    for (path, item) in specification["paths"].as_object().unwrap() {
        let address = path
            .replace("{key}", "a")
            .replace("{keyspace}", "default")
            .replace("{name}", "a@h");
        let options = door.send("OPTIONS", &address, &[], "").await;
        assert_eq!((options.status, options.body.len()), (204, 0), "{path}");
        let allow = options.header("allow");
        let has = |method: &str| allow.split(", ").any(|other| other == method);
        assert!(has("OPTIONS"), "{path}: {allow}");
        assert_eq!(has("HEAD"), has("GET"), "{path}: {allow}");
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "TRACE", "BREW"] {
            // The path of a count matches the route of a key too, since a key may end with `/incr`.
            let known = item.get(method.to_lowercase()).is_some() || path.ends_with("/incr") && has(method);
            assert_eq!(has(method), known, "{method} {path}: {allow}");
            if !known {
                let refused = door
                    .send(method, &address, &[token, ("idempotency-key", "used")], "")
                    .await;
                assert_eq!(
                    (refused.status, refused.header("allow")),
                    (405, allow),
                    "{method} {path}"
                );
                assert_eq!(refused.headers.get_all("allow").iter().count(), 1);
                assert_eq!(refused.json()["type"], "no_method");
            }
        }
    }
    assert_eq!(door.send("OPTIONS", "/nothing", &[], "").await.status, 404);
    let all = raw(
        &door,
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(
        all.starts_with("HTTP/1.1 204") && all.contains("\r\nallow: GET, HEAD, PUT"),
        "{all}"
    );
}

#[tokio::test]
async fn pages_of_listed_sites_may_use_the_node() {
    let site = "https://app.example";
    let preflight = |origin| [("origin", origin), ("access-control-request-method", "PUT")];
    let off = Fixture::open(|_| ()).await;
    let reply = off.send("OPTIONS", "/kv/a", &preflight(site), "").await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, ""));
    assert_eq!(off.send("PUT", "/kv/a", &[("origin", site)], "v").await.status, 403);

    let list = vec![site.to_owned(), "http://10.0.0.1:8080".to_owned()];
    let door = Fixture::open(move |settings| settings.origins = Origins::new(&list)).await;
    for (origin, admitted) in [
        (site, true),
        ("http://10.0.0.1:8080", true),
        ("http://app.example", false),
        ("https://app.example:444", false),
        ("https://app.example.evil.example", false),
        ("https://sub.app.example", false),
        ("null", false),
    ] {
        let shown = if admitted { origin } else { "" };
        let reply = door.send("OPTIONS", "/kv/a", &preflight(origin), "").await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (204, shown)
        );
        let methods = reply.header("access-control-allow-methods");
        assert_eq!(methods == "GET, HEAD, PUT, DELETE, OPTIONS", admitted, "{methods}");
        let headers = [("origin", origin), ("sec-fetch-site", "cross-site")];
        let put = door.send("PUT", "/kv/a", &headers, "v").await;
        assert_eq!(put.status == 403, !admitted, "{origin}");
        let got = door.send("GET", "/kv/a", &headers, "").await;
        assert_eq!(got.header("access-control-allow-origin"), shown);
        assert_eq!(got.header("cross-origin-resource-policy") == "cross-origin", admitted);
        assert_eq!(got.header("access-control-expose-headers").contains("etag"), admitted);
        assert!(got.headers.get_all("vary").iter().any(|vary| vary == "origin"));
        let missing = door.send("GET", "/kv/missing", &headers, "").await;
        assert_eq!(
            (missing.status, missing.header("access-control-allow-origin")),
            (404, shown)
        );
    }
    let every = Fixture::open(|settings| settings.origins = Origins::new(&["*".into()])).await;
    let got = every
        .send("GET", "/cluster", &[("origin", "https://any.example")], "")
        .await;
    assert_eq!(got.header("access-control-allow-origin"), "https://any.example");
}

#[tokio::test]
async fn a_part_of_a_value_is_given() {
    let door = Fixture::open(|_| ()).await;
    let put = door
        .send("PUT", "/kv/a", &[("content-type", "text/plain")], "0123456789")
        .await;
    let tag = put.header("etag").to_owned();
    for (range, status, body, place) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=0-1,3-4", 200, "0123456789", ""),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let got = door.send("GET", "/kv/a", &[("range", range)], "").await;
        assert_eq!(
            (got.status, got.text(), got.header("content-range")),
            (status, body, place),
            "{range}"
        );
        assert_eq!(
            (got.header("etag"), got.header("accept-ranges")),
            (tag.as_str(), "bytes")
        );
        assert_eq!(got.header("content-type"), "text/plain");
    }
    let behind = door.send("GET", "/kv/a", &[("range", "bytes=10-")], "").await;
    assert_eq!((behind.status, behind.header("content-range")), (416, "bytes */10"));
    assert_eq!(behind.json()["type"], "no_range");
    let of = |condition| [("range", "bytes=0-0"), ("if-range", condition)];
    assert_eq!(door.send("GET", "/kv/a", &of(&tag), "").await.status, 206);
    assert_eq!(door.send("GET", "/kv/a", &of("\"other\""), "").await.status, 200);
    let head = door.send("HEAD", "/kv/a", &[("range", "bytes=0-0")], "").await;
    assert_eq!((head.status, head.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn text_is_compressed_for_those_who_ask() {
    let door = Fixture::open(|settings| settings.value_bytes_max = 200_000).await;
    let gzip = ("accept-encoding", "gzip");
    let values = [("text", "text/plain", 2_000), ("large", "application/json", 100_000)];
    for (key, kind, length) in values {
        let path = format!("/kv/{key}");
        let value = "a bc".repeat(length / 4);
        door.send("PUT", &path, &[("content-type", kind)], value.clone()).await;
        let plain = door.get(&path).await;
        assert_eq!((plain.text(), plain.header("content-encoding")), (value.as_str(), ""));
        let small = door.send("GET", &path, &[gzip], "").await;
        assert_eq!(
            (small.header("content-encoding"), small.header("content-type")),
            ("gzip", kind)
        );
        assert_ne!(small.header("etag"), plain.header("etag"), "another representation");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&small.body[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text == value && small.body.len() < length / 10);
        for reply in [&plain, &small] {
            assert!(
                reply
                    .headers
                    .get_all("vary")
                    .iter()
                    .any(|vary| vary == "accept-encoding")
            );
            let known = [gzip, ("if-none-match", reply.header("etag"))];
            assert_eq!(door.send("GET", &path, &known, "").await.status, 304);
        }
        let part = door.send("GET", &path, &[gzip, ("range", "bytes=0-1499")], "").await;
        assert_eq!(
            (part.status, part.header("content-encoding"), part.body.len()),
            (206, "", 1500)
        );
    }
    door.send("PUT", "/kv/bytes", &[], vec![0; 5000]).await;
    door.send("PUT", "/kv/short", &[("content-type", "text/plain")], "short")
        .await;
    for path in ["/kv/bytes", "/kv/short", "/healthz", "/kv/missing"] {
        assert_eq!(
            door.send("GET", path, &[gzip], "").await.header("content-encoding"),
            "",
            "{path}"
        );
    }
    for path in ["/shards", "/metrics", "/openapi.json", "/"] {
        assert_eq!(
            door.send("GET", path, &[gzip], "").await.header("content-encoding"),
            "gzip",
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_write_for_new_keys_alone_does_not_replace() {
    let door = Fixture::open(|_| ()).await;
    let new = ("if-none-match", "*");
    let first = door
        .send("PUT", "/kv/a?ttl=1h", &[new, ("content-type", "text/html")], "1")
        .await;
    assert_eq!(first.status, 201);
    let second = door.send("PUT", "/kv/a", &[new], "2").await;
    assert_eq!(
        (second.status, second.json()["type"].as_str()),
        (412, Some("key_exists"))
    );
    let got = door.get("/kv/a").await;
    assert_eq!((got.text(), got.header("content-type")), ("1", "text/html"));
    assert!(got.headers.contains_key("salp-expires-ms"));
    door.send("POST", "/kv/n/incr", &[], "").await;
    assert_eq!(
        door.send("PUT", "/kv/n", &[new], "2").await.status,
        412,
        "a number is a value"
    );
    door.send("DELETE", "/kv/a", &[], "").await;
    assert_eq!(door.send("PUT", "/ks/default/kv/a", &[new], "3").await.status, 201);
    for (conditions, status) in [
        (&[("if-none-match", "\"1\"")][..], 400),
        (&[new, ("if-match", "*")], 412),
        (&[new, new], 400),
    ] {
        assert_eq!(
            door.send("PUT", "/kv/a", conditions, "4").await.status,
            status,
            "{conditions:?}"
        );
    }
    let condition = [new];
    let race = super::tests::futures(8, || door.send("PUT", "/kv/race", &condition, "v")).await;
    assert_eq!(race.iter().filter(|reply| reply.status == 201).count(), 1);
}

#[tokio::test]
async fn a_write_with_a_version_is_done_at_that_version_only() {
    let door = Fixture::open(|_| ()).await;
    let put = door.send("PUT", "/kv/a", &[], "1").await;
    let first = put.header("etag").to_owned();
    for method in ["PUT", "DELETE"] {
        for condition in ["\"0123456789abcdef\"", &format!("W/{first}"), "\"other\""] {
            let refused = door.send(method, "/kv/a", &[("if-match", condition)], "2").await;
            assert_eq!(refused.status, 412, "{method} {condition}");
        }
        let missing = door.send(method, "/kv/missing", &[("if-match", "*")], "2").await;
        assert_eq!(missing.status, 412, "{method}");
    }
    assert_eq!(door.get("/kv/a").await.text(), "1");
    let second = door.send("PUT", "/kv/a", &[("if-match", &first)], "2").await;
    assert_eq!(second.status, 204);
    let second = second.header("etag").to_owned();
    assert_ne!(first, second);
    assert_eq!(
        door.send("PUT", "/kv/a", &[("if-match", &first)], "3").await.status,
        412
    );
    assert_eq!(
        door.send("DELETE", "/kv/a", &[("if-match", &first)], "").await.status,
        412
    );
    assert_eq!(door.send("PUT", "/kv/a", &[("if-match", "*")], "3").await.status, 204);
    let third = door.get("/kv/a").await.header("etag").to_owned();
    let compressed = third.replace('"', "");
    let compressed = format!("\"{compressed}-gzip\"");
    let condition = [("if-match", compressed.as_str())];
    assert_eq!(door.send("DELETE", "/kv/a", &condition, "").await.status, 204);
    assert_eq!(door.send("DELETE", "/kv/a", &condition, "").await.status, 412);
    door.send("PUT", "/kv/race", &[], "0").await;
    let tag = door.get("/kv/race").await.header("etag").to_owned();
    let condition = [("if-match", tag.as_str())];
    let race = super::tests::futures(8, || door.send("PUT", "/kv/race", &condition, "v")).await;
    assert_eq!(race.iter().filter(|reply| reply.status == 204).count(), 1);
    assert_eq!(race.iter().filter(|reply| reply.status == 412).count(), 7);
}

#[tokio::test]
async fn counting_on_what_is_no_number_is_a_conflict() {
    let door = Fixture::open(|_| ()).await;
    for (value, by, kind) in [
        ("abc", 1, "not_a_number"),
        ("", 1, "not_a_number"),
        ("1.5", 1, "not_a_number"),
        (" 7", 1, "not_a_number"),
        ("99999999999999999999", 1, "not_a_number"),
        ("9223372036854775807", 1, "overflow"),
        ("-9223372036854775808", -1, "overflow"),
    ] {
        door.send("PUT", "/kv/a", &[], value).await;
        let refused = door.send("POST", &format!("/kv/a/incr?by={by}"), &[], "").await;
        assert_eq!(
            (refused.status, refused.json()["type"].as_str()),
            (409, Some(kind)),
            "{value}"
        );
        assert_eq!(door.get("/kv/a").await.text(), value);
        let operation = serde_json::json!([{ "op": "incr", "key": "a", "by": by }]);
        let result = door.batch(operation).await.json()[0].clone();
        assert_eq!(
            (&result["status"], &result["problem"]["type"]),
            (&409.into(), &kind.into())
        );
    }
    let term = [("content-type", "application/x-erlang-term")];
    door.send("PUT", "/kv/a", &term, &b"\x83h\x02w\x01aa\x01"[..]).await;
    assert_eq!(door.send("POST", "/kv/a/incr", &[], "").await.status, 409);
    assert_eq!(door.send("POST", "/kv/a/incr?by=x", &[], "").await.status, 400);
}

#[tokio::test]
async fn a_coded_body_is_refused() {
    let door = Fixture::open(|_| ()).await;
    for (method, path) in [
        ("PUT", "/kv/a"),
        ("POST", "/batch"),
        ("POST", "/nodes"),
        ("POST", "/kv/a/incr"),
    ] {
        let refused = door.send(method, path, &[("content-encoding", "gzip")], "x").await;
        assert_eq!(
            (refused.status, refused.json()["type"].as_str()),
            (415, Some("content_coding")),
            "{path}"
        );
        assert_eq!(refused.header("accept-encoding"), "identity");
    }
    assert_eq!(door.get("/kv/a").await.status, 404);
    assert_eq!(
        door.send("PUT", "/kv/a", &[("content-encoding", "identity")], "x")
            .await
            .status,
        201
    );
}
