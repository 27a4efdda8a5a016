//! The HTTP front end with a real node, over real sockets.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request},
};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::*;
use crate::Node;

pub(super) const SPECIFICATION: &str = include_str!("openapi.json");

pub(super) struct Fixture {
    node: Node,
    pub(super) url: String,
    client: legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>,
    stop: Option<oneshot::Sender<()>>,
    door: JoinHandle<()>,
}

pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }
}

impl Fixture {
    /// Starts a node and an HTTP front end with these settings.
    pub(super) async fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let node = Node::builder()
            .name("t@127.0.0.1")
            .cookie("c")
            .epmd(false)
            .replicas(1)
            .databases(3)
            .start()
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = Settings {
            token: None,
            hosts: Hosts::new("t.example", &[]),
            origins: Origins::default(),
            keyspaces: ["default", "1", "2"].map(String::from).into(),
            value_bytes_max: 1000,
            key_bytes_max: 100,
            connections_max: 100,
            state_failures: Arc::default(),
            budget: Budget::new(16 << 20),
        };
        change(&mut settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let departure = Departure::default();
        let front_end = departure.front_end();
        let handle = node.handle().clone();
        let door = tokio::spawn(serve(listener, handle, settings, (departure, front_end), async {
            let _ = stopped.await;
        }));
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let fixture = Self {
            node,
            url,
            client,
            stop: Some(stop),
            door,
        };
        while fixture.get("/readyz").await.status != 200 {
            tokio::task::yield_now().await;
        }
        fixture
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .client
            .request(request.body(Full::new(body.into())).unwrap())
            .await
            .unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub(super) async fn batch(&self, operations: Value) -> Reply {
        self.send(
            "POST",
            "/batch",
            &[("content-type", "application/json")],
            operations.to_string(),
        )
        .await
    }
}

#[tokio::test]
async fn a_value_comes_back_with_its_type_and_version() {
    let door = Fixture::open(|_| ()).await;
    for path in ["/kv/a", "/kv/a/b%20c", "/kv/%ff%00", "/ks/default/kv/d", "/kv/e/incr"] {
        let put = door.send("PUT", path, &[("content-type", "text/html")], "<p>").await;
        assert_eq!((put.status, put.body.len()), (201, 0), "{path}");
        let got = door.get(path).await;
        assert_eq!(
            (got.status, got.text(), got.header("content-type")),
            (200, "<p>", "text/html"),
            "{path}"
        );
        assert_eq!(got.header("etag"), put.header("etag"));
        assert!(
            got.header("content-security-policy").contains("sandbox"),
            "no page of ours"
        );

        let head = door.send("HEAD", path, &[], "").await;
        assert_eq!(
            (head.status, head.body.len(), head.header("content-length")),
            (200, 0, "3")
        );
        let same = door
            .send("GET", path, &[("if-none-match", got.header("etag"))], "")
            .await;
        assert_eq!(
            (same.status, same.body.len(), same.header("etag")),
            (304, 0, got.header("etag"))
        );

        let put = door.send("PUT", path, &[], vec![0, 255]).await;
        assert_eq!(put.status, 204);
        let changed = door
            .send("GET", path, &[("if-none-match", got.header("etag"))], "")
            .await;
        assert_eq!((changed.status, &changed.body[..]), (200, &[0, 255][..]));
        assert_eq!(changed.header("content-type"), "application/octet-stream");

        assert_eq!(door.send("DELETE", path, &[], "").await.status, 204);
        assert_eq!(door.send("DELETE", path, &[], "").await.status, 404);
        assert_eq!(door.get(path).await.json()["type"], "no_key");
    }
}

#[tokio::test]
async fn an_encoded_slash_is_a_slash() {
    let door = Fixture::open(|_| ()).await;
    door.send("PUT", "/kv/a%2Fb", &[], "v").await;
    assert_eq!(door.get("/kv/a/b").await.text(), "v");
}

#[tokio::test]
async fn a_time_to_live_is_kept_and_ends() {
    let door = Fixture::open(|_| ()).await;
    door.send("PUT", "/kv/long?ttl=1h", &[], "v").await;
    let deadline: u64 = door.get("/kv/long").await.header("salp-expires-ms").parse().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    assert!((3_500_000..3_700_000).contains(&(deadline - now)), "{deadline} - {now}");
    door.send("PUT", "/kv/short?ttl=30ms", &[], "v").await;
    while door.get("/kv/short").await.status != 404 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn numbers_count() {
    let door = Fixture::open(|_| ()).await;
    for (path, sum) in [
        ("/kv/n/incr", "1"),
        ("/kv/n/incr?by=41", "42"),
        ("/kv/n/incr?by=-2", "40"),
    ] {
        assert_eq!(door.send("POST", path, &[], "").await.text(), sum);
    }
}

/// Method, path, headers and body of a request; status and code of its refusal.
type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn a_term_is_shown_in_erlang_syntax_or_sent_as_it_is() {
    const TERM: &str = "application/x-erlang-term";
    let door = Fixture::open(|_| ()).await;
    let tuple = &b"\x83h\x02w\x01aa\x01"[..];
    for (sent, shown, kept) in [
        (tuple, "{a,1}", tuple),
        (b"\x83a\x0c", "12", b"\x83a\x0c"),
        (
            b"\x83F\xc0\x09\x1e\xb8\x51\xeb\x85\x1f",
            "-3.14",
            b"\x83F\xc0\x09\x1e\xb8\x51\xeb\x85\x1f",
        ),
    ] {
        door.send("PUT", "/kv/t", &[("content-type", TERM)], sent).await;
        let text = door.get("/kv/t").await;
        assert_eq!(
            (text.text(), text.header("content-type"), text.header("vary")),
            (shown, "text/plain; charset=utf-8", "accept")
        );
        let accept = [("accept", TERM)];
        let term = door.send("GET", "/kv/t", &accept, "").await;
        assert_eq!((&term.body[..], term.header("content-type")), (kept, TERM));
        assert_ne!(term.header("etag"), text.header("etag"));
        let known = [("accept", TERM), ("if-none-match", term.header("etag"))];
        assert_eq!(door.send("GET", "/kv/t", &known, "").await.status, 304);
    }
    door.send("PUT", "/kv/n", &[("content-type", TERM)], &b"\x83a\x0c"[..])
        .await;
    assert_eq!(door.send("POST", "/kv/n/incr?by=30", &[], "").await.text(), "42");
    door.send("PUT", "/kv/t", &[("content-type", TERM)], tuple).await;
    let got = door.batch(serde_json::json!([{"op": "get", "key": "t"}])).await.json();
    assert_eq!(
        (&got[0]["value"], &got[0]["value_encoded"], &got[0]["content_type"]),
        (&"{a,1}".into(), &"%83h%02w%01aa%01".into(), &TERM.into())
    );

    door.send("PUT", "/kv/%83h%02w%01aa%01", &[], "v").await;
    let page = door.get("/kv").await.json();
    assert_eq!(page["keys_encoded"], serde_json::json!(["%83h%02w%01aa%01"]));
    assert_eq!(page["terms"], serde_json::json!({"%83h%02w%01aa%01": "{a,1}"}));
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let door = Fixture::open(|_| ()).await;
    let long_key = format!("/kv/{}", "k".repeat(101));
    let cases: &[Refused<'_>] = &[
        ("GET", "/nothing", &[], "", 404, "no_route"),
        ("GET", "/kv/", &[], "", 404, "no_route"),
        ("PATCH", "/kv/a", &[], "", 405, "no_method"),
        ("POST", "/kv/a", &[], "", 405, "no_method"),
        ("DELETE", "/cluster", &[], "", 405, "no_method"),
        ("GET", "/kv/missing", &[], "", 404, "no_key"),
        ("GET", "/kv/%zz", &[], "", 400, "bad_request"),
        ("PUT", &long_key, &[], "", 400, "bad_request"),
        ("PUT", "/kv/a?ttl=0s", &[], "", 400, "bad_request"),
        ("PUT", "/kv/a?tll=1s", &[], "", 400, "bad_request"),
        ("PUT", "/kv/a", &[("salp-consistency", "most")], "", 400, "bad_request"),
        ("PUT", "/kv/a", &[("if-match", "\"1\"")], "", 412, "other_version"),
        ("PUT", "/kv/a", &[("if-match", "1")], "", 400, "bad_request"),
        ("PUT", "/kv/a", &[("if-match", "\"1\", \"2\"")], "", 400, "bad_request"),
        ("PUT", "/kv/a", &[("if-none-match", "\"1\"")], "", 400, "bad_request"),
        ("DELETE", "/kv/a", &[("if-none-match", "*")], "", 400, "bad_request"),
        ("POST", "/kv/a/incr", &[("if-match", "*")], "", 400, "bad_request"),
        (
            "PUT",
            "/kv/a",
            &[("content-type", "application/x-erlang-term")],
            "junk",
            400,
            "bad_request",
        ),
        ("POST", "/kv/a/incr?by=x", &[], "", 400, "bad_request"),
        ("GET", "/ks/other/kv/a", &[], "", 404, "no_keyspace"),
        ("GET", "/kv?limit=0", &[], "", 400, "bad_request"),
        ("GET", "/kv?cursor=x", &[], "", 400, "bad_request"),
        (
            "POST",
            "/batch",
            &[("content-type", "text/plain")],
            "[]",
            415,
            "content_type",
        ),
        (
            "POST",
            "/batch",
            &[("content-type", "application/json")],
            "{",
            400,
            "bad_request",
        ),
        ("GET", "/watch", &[], "", 501, "not_yet"),
        ("POST", "/nodes", &[], "{\"name\":\"nameless\"}", 400, "bad_request"),
        ("DELETE", "/nodes/other@127.0.0.1", &[], "", 404, "no_node"),
        ("GET", "/nodes/other@127.0.0.1", &[], "", 404, "no_node"),
        ("POST", "/nodes", &[], r#"{"name": "t@127.0.0.1"}"#, 409, "this_node"),
        (
            "PUT",
            "/kv/a",
            &[("sec-fetch-site", "cross-site")],
            "",
            403,
            "cross_site",
        ),
        ("PUT", "/kv/a", &[("idempotency-key", "")], "", 400, "bad_request"),
    ];
    for (method, path, headers, body, status, kind) in cases {
        let reply = door.send(method, path, headers, (*body).to_owned()).await;
        assert_eq!(reply.status, *status, "{method} {path}");
        assert_eq!(
            reply.header("content-type"),
            "application/problem+json",
            "{method} {path}"
        );
        let problem = reply.json();
        assert_eq!(
            (&problem["type"], &problem["status"]),
            (&json!(kind), &json!(status)),
            "{method} {path}"
        );
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["retry"].is_string());
    }
    assert!(
        door.send("PATCH", "/kv/a", &[], "")
            .await
            .header("allow")
            .contains("PUT")
    );
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_whatever_its_length_says() {
    let door = Fixture::open(|_| ()).await;
    assert_eq!(door.send("PUT", "/kv/a", &[], vec![0; 1000]).await.status, 201);
    let declared = door.send("PUT", "/kv/a", &[], vec![0; 1001]).await;
    assert_eq!(
        (declared.status, declared.json()["type"].as_str()),
        (413, Some("too_large"))
    );

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(door.url.trim_start_matches("http://"))
        .await
        .unwrap();
    let chunk = "x".repeat(0x400);
    let request =
        format!("PUT /kv/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{chunk}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[tokio::test]
async fn pages_give_all_keys() {
    let door = Fixture::open(|_| ()).await;
    let mut wanted = BTreeSet::new();
    for number in 0..120 {
        door.send("PUT", &format!("/kv/p%2A{number}"), &[], "v").await;
        door.send("PUT", &format!("/kv/q{number}"), &[], "v").await;
        wanted.insert(format!("p*{number}"));
    }
    door.send("PUT", "/kv/p%2A%ff", &[], "v").await;
    // How many shards a step covers depends on the number of keys, which is counted once a second.
    while door.get("/kv?limit=1").await.json()["cursor"].is_null() {
        tokio::task::yield_now().await;
    }
    let (mut found, mut encoded, mut pages, mut cursor) = (BTreeSet::new(), Vec::new(), 0, String::new());
    loop {
        let page = door.get(&format!("/kv?prefix=p%2A&limit=50{cursor}")).await.json();
        pages += 1;
        found.extend(
            page["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key.as_str().unwrap().to_owned()),
        );
        encoded.extend(page["keys_encoded"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(pages < 1000, "pages come to an end");
    }
    assert_eq!(found, wanted);
    assert_eq!(encoded, ["p%2A%FF"]);
    assert!(pages > 1);
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let door = Fixture::open(|_| ()).await;
    let reply = door
        .batch(json!([
            { "op": "put", "key": "a", "value": "1", "ttl": "1h" },
            { "op": "incr", "key": "a", "by": 2 },
            { "op": "get", "key": "a" },
            { "op": "put", "key_encoded": "%ff", "value_encoded": "%fe" },
            { "op": "get", "key_encoded": "%ff" },
            { "op": "delete", "key": "a" },
            { "op": "delete", "key": "a" },
            { "op": "get", "key": "a" },
        ]))
        .await;
    assert_eq!(reply.status, 200);
    let results = reply.json();
    let statuses: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, [201, 200, 200, 201, 200, 204, 404, 404]);
    assert_eq!(
        (&results[1]["value"], &results[2]["value"], &results[4]["value_encoded"]),
        (&json!("3"), &json!("3"), &json!("%FE"))
    );
    assert_eq!(results[7]["problem"]["type"], "no_key");
    assert_eq!(door.batch(json!([])).await.json(), json!([]));

    let refused = door
        .batch(json!([{ "op": "put", "key": "b", "value": "1" }, { "op": "get", "key": "" }]))
        .await;
    assert_eq!(refused.status, 400);
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("operation 1:"));
    assert_eq!(door.get("/kv/b").await.status, 404, "a malformed batch does nothing");
}

#[tokio::test]
async fn a_repeated_write_is_answered_and_not_done_again() {
    let door = Fixture::open(|_| ()).await;
    let once = [("idempotency-key", "k1")];
    let repeated = futures(10, || door.send("POST", "/kv/n/incr", &once, "")).await;
    assert!(repeated.iter().all(|reply| (reply.status, reply.text()) == (200, "1")));
    assert_eq!(door.get("/kv/n").await.text(), "1");
    let other = door.send("POST", "/kv/m/incr", &once, "").await;
    assert_eq!((other.status, other.json()["type"].as_str()), (422, Some("key_reused")));
    // Without a key, or with another one, it is counted.
    assert_eq!(
        door.send("POST", "/kv/n/incr", &[("idempotency-key", "k2")], "")
            .await
            .text(),
        "2"
    );
    assert_eq!(door.send("POST", "/kv/n/incr", &[], "").await.text(), "3");

    let put = [("idempotency-key", "k3")];
    assert_eq!(door.send("PUT", "/kv/p", &put, "v").await.status, 201);
    let again = door.send("PUT", "/kv/p", &put, "v").await;
    assert_eq!(
        (again.status, again.header("etag").len()),
        (201, 18),
        "the first answer, head and all"
    );
}

pub(super) async fn futures<F: Future>(count: usize, make: impl Fn() -> F) -> Vec<F::Output> {
    let mut all: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test]
async fn a_token_opens_all_but_what_tells_nothing() {
    let door = Fixture::open(|settings| settings.token = Some(Password::new("secret".into()))).await;
    for path in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(door.get(path).await.status, 200, "{path}");
    }
    for path in ["/kv/a", "/cluster", "/metrics", "/events", "/nothing", "/kv"] {
        let refused = door.get(path).await;
        assert_eq!(
            (refused.status, refused.json()["type"].as_str()),
            (401, Some("no_auth")),
            "{path}"
        );
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        assert_eq!(
            door.send("GET", path, &[("authorization", "Bearer secres")], "")
                .await
                .status,
            401
        );
    }
    assert_eq!(
        door.send("GET", "/cluster", &[("authorization", "Bearer secret")], "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_cluster_is_shown() {
    let door = Fixture::open(|_| ()).await;
    door.send("PUT", "/kv/a", &[], "v").await;
    let cluster = door.get("/cluster").await.json();
    assert_eq!(
        (&cluster["name"], &cluster["shards"], &cluster["replicas"]),
        (&json!("t@127.0.0.1"), &json!(1024), &json!(1))
    );
    assert_eq!(
        (&cluster["keyspaces"], &cluster["leaving"]),
        (&json!(["default", "1", "2"]), &json!(false))
    );
    assert_eq!(cluster["slots"], json!(["hash", "one", "one"]));
    let node = &cluster["nodes"][0];
    assert_eq!(
        (&node["name"], &node["state"], &node["connected"]),
        (&json!("t@127.0.0.1"), &json!("up"), &json!(true))
    );
    assert_eq!(door.get("/nodes").await.json().as_array().unwrap().len(), 1);
    assert_eq!(node["safe_to_stop"], false);
    let risk = node["stop_risk"].as_str().unwrap();
    assert!(
        risk.starts_with("it has the only replica in sync of 1026 shards"),
        "{risk}"
    );
    let ready = door.get("/readyz").await;
    assert_eq!(ready.text(), format!("ready\nnot safe to stop: {risk}\n"));
    assert!(door.get("/stats").await.json()["sum"]["memory_bytes"].is_u64());
    let shards = door.get("/shards").await.json();
    assert_eq!(
        (shards.as_array().unwrap().len(), &shards[7]["shard"]),
        (1026, &json!(7))
    );
    let last = (&shards[1025]["keyspace"], &shards[1025]["shard"]);
    assert_eq!(last, (&json!("2"), &json!(0)));
    assert_eq!(
        (&shards[7]["keyspace"], &shards[7]["primary"]),
        (&json!("default"), &json!("t@127.0.0.1"))
    );

    let metrics = door.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "salp_ready 1",
        "salp_clock_skew_seconds 0",
        "salp_node_connected{node=\"t@127.0.0.1\"} 1",
        "salp_node_safe_to_stop{node=\"t@127.0.0.1\"} 0",
        "salp_node_stop_risk{node=\"t@127.0.0.1\",risk=\"few_replicas\"} 1",
        "salp_http_request_duration_seconds_count{route=\"/kv/{*key}\",method=\"PUT\",status=\"2xx\"} 1",
    ] {
        assert!(
            metrics.text().lines().any(|other| other == line),
            "{line} in\n{}",
            metrics.text()
        );
    }
    let added = door.send("POST", "/nodes", &[], "{\"name\":\"u@127.0.0.1\"}").await;
    assert_eq!((added.status, added.header("location")), (202, "/nodes/u%40127.0.0.1"));
    assert_eq!(door.get("/nodes/t%40127.0.0.1").await.json()["state"], "up");
    let page = door.get("/").await;
    assert!(page.header("content-type").starts_with("text/html") && page.body.len() < 60 << 10);
}

#[tokio::test]
async fn this_node_can_be_asked_to_leave() {
    let door = Fixture::open(|_| ()).await;
    assert_eq!(
        door.send("DELETE", "/nodes/t%40127.0.0.1", &[], "").await.json()["accepted"],
        "leave"
    );
    timeout(Duration::from_secs(10), door.node.ended()).await.unwrap();
    let gone = door.get("/kv/a").await;
    assert_eq!((gone.status, gone.json()["type"].as_str()), (503, Some("stopped")));
}

async fn events(door: &Fixture) -> hyper::Response<hyper::body::Incoming> {
    let request = Request::get(format!("{}/events", door.url))
        .body(Full::new(Bytes::new()))
        .unwrap();
    let mut response = door.client.request(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let first = response.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, ": connected\n\n");
    response
}

#[tokio::test]
async fn events_are_streamed_to_the_last() {
    let door = Fixture::open(|_| ()).await;
    let response = events(&door).await;
    door.node.handle().leave();
    let body = timeout(Duration::from_secs(10), response.into_body().collect())
        .await
        .unwrap()
        .unwrap()
        .to_bytes();
    let text = str::from_utf8(&body).unwrap();
    assert!(text.contains("event: note\ndata: {\"kind\":\"left\","), "{text}");
}

#[tokio::test]
async fn a_door_that_closes_waits_for_nobody_who_listens() {
    let mut door = Fixture::open(|_| ()).await;
    let mut response = events(&door).await;
    door.stop.take();
    while let Some(frame) = response.frame().await {
        frame.unwrap();
    }
    timeout(Duration::from_secs(3), &mut door.door)
        .await
        .expect("it closes at once")
        .unwrap();
}

#[tokio::test]
async fn the_specification_and_the_routes_agree() {
    let specification: Value = serde_json::from_str(SPECIFICATION).unwrap();
    let paths = specification["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes = routes();
    // Paths that are refused because they are not implemented yet are not described.
    let is_there = |path: &&str| !path.ends_with("/watch");
    assert_eq!(
        described,
        routes.iter().map(|(path, _)| path.as_str()).filter(is_there).collect()
    );

    let door = Fixture::open(|_| ()).await;
    let methods = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH];
    for (path, described) in paths.iter().filter(|(path, _)| *path != "/events") {
        let address = path
            .replace("{keyspace}", "default")
            .replace("{key}", "k")
            .replace("{name}", "u@h");
        for method in &methods {
            let described = described.get(method.as_str().to_lowercase()).is_some();
            // For all other methods this is a key that ends with `/incr`.
            if path.ends_with("/incr") && !described && *method != Method::PATCH {
                continue;
            }
            let reply = door.send(method.as_str(), &address, &[], "").await;
            assert_eq!(
                reply.status != 405,
                described,
                "{method} {path} was answered with {}",
                reply.status
            );
        }
    }
    let mut references = Vec::new();
    collect_references(&specification, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("all is in one file");
        assert!(specification.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect_references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_references(value, found)),
        _ => {}
    }
}
