//! Nodes that connect by TLS: a cluster of them, who is kept out, certificates that change, settings that are refused.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod authority;

use std::{
    fs,
    io::Write,
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use authority::{Authority, Files};
use node::Event;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use salp::{Batch, Builder, Node};
use wire::reply::Reply;

const PATIENCE: Duration = Duration::from_secs(30);
const HOST: &str = "127.0.0.1";

fn builder(name: &str, join: Option<&Node>) -> Builder {
    let joined = join.map(|other| format!("{}:{}", other.name(), other.dist().port()));
    Node::builder()
        .name(&format!("{name}@{HOST}"))
        .cookie("a_cookie_of_this_test")
        .epmd(false)
        .join(joined)
        .form_after(Duration::from_millis(500))
}

fn secured(name: &str, files: &Files, join: Option<&Node>) -> Builder {
    builder(name, join).dist_tls(&files.cert, &files.key, &files.ca)
}

async fn ready(node: &Node) {
    wait(|| async { node.handle().status().await.unwrap().ready }).await;
}

/// Waits for a fact.
async fn wait<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "it does not come about");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ask(node: &Node, request: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    batch.push(request);
    node.handle().ask(0, None, batch).await.unwrap()
}

/// The reason of the next handshake that fails at a node.
async fn failure(node: &Node) -> String {
    let mut events = node.handle().events();
    let next = async {
        loop {
            if let Event::HandshakeFailed { reason, .. } = events.recv().await.unwrap() {
                return reason;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("it fails")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_nodes_serve_as_one() {
    let authority = Authority::new();
    let files = ["a", "b", "c"].map(|name| authority.issue(name, HOST));
    let a = secured("a", &files[0], None).start().await.unwrap();
    let b = secured("b", &files[1], Some(&a)).start().await.unwrap();
    let c = secured("c", &files[2], Some(&a)).start().await.unwrap();
    let nodes = [&a, &b, &c];
    for node in nodes {
        wait(|| async {
            let status = node.handle().status().await.unwrap();
            status.ready && status.nodes.len() == 3
        })
        .await;
    }
    // More than the buffers between take, so that the halves meet full ones.
    let large = vec![b'x'; 3 << 20];
    for (number, node) in nodes.into_iter().enumerate() {
        let key = format!("large{number}");
        let batch = ask(node, &[b"SET", key.as_bytes(), &large]).await;
        assert_eq!(batch.replies.tokens().next(), Some(Reply::Ok));
        for other in nodes {
            let batch = ask(other, &[b"GET", key.as_bytes()]).await;
            assert_eq!(batch.replies.tokens().next(), Some(Reply::Bulk(&large)));
        }
    }
    for number in 0..200 {
        let key = format!("k{number}");
        ask(nodes[number % 3], &[b"SET", key.as_bytes(), b"v"]).await;
        let batch = ask(nodes[(number + 1) % 3], &[b"GET", key.as_bytes()]).await;
        assert_eq!(batch.replies.tokens().next(), Some(Reply::Bulk(b"v")));
    }
    assert!(c.leave().await);
    b.stop().await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_node_without_tls_and_one_with_it_say_so() {
    let authority = Authority::new();
    let secure = secured("secure", &authority.issue("secure", HOST), None);
    let secure = secure.start().await.unwrap();
    let plain = builder("plain", Some(&secure)).start().await.unwrap();
    assert_eq!(failure(&plain).await, "it speaks TLS, and this node does not");
    plain.stop().await;
    secure.stop().await;

    let plain = builder("plain", None).start().await.unwrap();
    let secure = secured("secure", &authority.issue("secure", HOST), Some(&plain));
    let secure = secure.start().await.unwrap();
    assert_eq!(failure(&plain).await, "it speaks TLS, and this node does not");
    plain.stop().await;
    secure.stop().await;
}

/// Someone who knows TLS and no more.
struct Caller {
    config: ClientConfig,
}

impl Caller {
    fn new(files: &Files, shows: bool) -> Self {
        Self::with(files, shows, rustls::ALL_VERSIONS)
    }

    fn with(files: &Files, shows: bool, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = if shows {
            let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
            let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        } else {
            config.with_no_client_auth()
        };
        Self { config }
    }

    /// Connects, and sends something that is no handshake, so that the node must answer or end it.
    fn call(&self, node: &Node) -> std::io::Result<ClientConnection> {
        let name = ServerName::try_from(HOST).unwrap();
        let session = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        let socket = TcpStream::connect(node.dist())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(&[0, 0, 0, 1, b'?'])?;
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(stream.conn)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_certificate_of_the_ca_opens_the_door() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = authority.issue("a", HOST);
    let a = secured("a", &files, None).start().await.unwrap();
    assert!(Caller::new(&files, true).call(&a).is_ok());
    let error = Caller::new(&files, false).call(&a).unwrap_err().to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    let mut foreign = other.issue("b", HOST);
    foreign.ca = files.ca.clone();
    let error = Caller::new(&foreign, true).call(&a).unwrap_err().to_string();
    assert!(error.contains("alert"), "{error}");
    a.stop().await;
}

/// A cipher that may seal only so many records would end a connection of TLS 1.2 one day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_tls_1_2_may_last() {
    let authority = Authority::new();
    let files = authority.issue("a", HOST);
    let a = secured("a", &files, None).start().await.unwrap();
    let caller = Caller::with(&files, true, &[&rustls::version::TLS12]);
    let suite = caller.call(&a).unwrap().negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_a_running_node() {
    let authority = Authority::new();
    let files = authority.issue("a", HOST);
    let a = secured("a", &files, None).start().await.unwrap();
    let b = secured("b", &authority.issue("b", HOST), Some(&a));
    let b = b.start().await.unwrap();
    ready(&a).await;
    ready(&b).await;
    let mut events = a.handle().events();

    let caller = Caller::new(&authority.issue("caller", HOST), true);
    let shown = || caller.call(&a).unwrap().peer_certificates().unwrap()[0].clone();
    let on_disk = || CertificateDer::from_pem_file(&files.cert).unwrap();
    let first = shown();
    assert_eq!(first, on_disk());
    authority.issue("a", HOST);
    let second = shown();
    assert_eq!(second, on_disk());
    assert_ne!(first, second);

    // Neither a file that is none nor a key of another certificate does harm.
    fs::write(&files.key, "gone").unwrap();
    assert_eq!(shown(), second);
    fs::copy(authority.issue("c", HOST).key, &files.key).unwrap();
    assert_eq!(shown(), second);
    authority.issue("a", HOST);
    assert_eq!(shown(), on_disk());

    ask(&b, &[b"SET", b"k", b"v"]).await;
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::NodeDown { .. }), "the connection lives on");
    }
    b.stop().await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_secured_door_may_be_open_to_all() {
    let open = |builder: Builder| builder.dist_bind("0.0.0.0").start();
    let error = open(builder("a", None)).await.unwrap_err().to_string();
    assert!(error.contains("without TLS"), "{error}");
    let authority = Authority::new();
    let files = authority.issue("a", HOST);
    open(secured("a", &files, None)).await.unwrap().stop().await;
}

#[tokio::test]
async fn what_other_nodes_would_refuse_is_refused_at_the_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue("good", HOST);
    let mut stranger = other.issue("stranger", HOST);
    stranger.ca = good.ca.clone();
    let client_only = authority.issue_with("client", HOST, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    });
    let expired = authority.issue_with("expired", HOST, |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let missing = Files {
        cert: authority.path("missing.pem"),
        ..good.clone()
    };
    let no_key = Files {
        key: good.cert.clone(),
        ..good.clone()
    };
    let other_key = Files {
        key: stranger.key.clone(),
        ..good.clone()
    };
    for (files, parts) in [
        (missing, ["dist_tls_cert: ", "missing.pem"]),
        (no_key, ["dist_tls_key: ", "has no private key"]),
        (other_key, ["dist_tls_key: ", "is not the key of the certificate"]),
        (stranger, ["dist_tls_cert: ", "is not signed by a CA of --dist-tls-ca"]),
        (client_only, ["dist_tls_cert: ", "is not for both servers and clients"]),
        (expired, ["dist_tls_cert: ", "has expired"]),
        (
            authority.issue("elsewhere", "127.0.0.9"),
            ["dist_tls_cert: ", "is not for 127.0.0.1"],
        ),
    ] {
        let error = secured("a", &files, None).start().await.unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    let error = builder("a", None).dist_tls(&good.cert, "", &good.ca).start().await;
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("dist_tls_key: is empty"), "{error}");
}
