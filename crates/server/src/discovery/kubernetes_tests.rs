//! Kubernetes against a server that behaves like the API: TLS, tokens, pages, refusals, no answer.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use node::Atom;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_rustls::TlsAcceptor;

use super::{
    Found, Strategy, dns,
    kubernetes::{Address, Host, Kubernetes, Mode, Port, Settings},
};
use crate::test_dir::TestDir;

/// What the server contains, and how it behaves.
#[derive(Default)]
struct World {
    token: String,
    /// Lists of pages, by the part of the path after the namespace.
    pages: HashMap<&'static str, Vec<serde_json::Value>>,
    status: Option<u16>,
    is_mute: bool,
    /// The queries it received.
    asked: Vec<String>,
}

impl World {
    fn answer(&mut self, request: &Request<Incoming>) -> (u16, String) {
        if let Some(status) = self.status {
            return (status, r#"{"kind":"Status"}"#.into());
        }
        let proof = request.headers().get(header::AUTHORIZATION);
        if !self.token.is_empty() && proof.is_none_or(|proof| proof != &format!("Bearer {}", self.token)) {
            return (401, r#"{"kind":"Status"}"#.into());
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let path = request
            .uri()
            .path()
            .trim_start_matches("/apis/discovery.k8s.io/v1")
            .trim_start_matches("/api/v1");
        let Some(pages) = path
            .strip_prefix("/namespaces/db/")
            .and_then(|kind| self.pages.get(kind))
        else {
            return (404, "{}".into());
        };
        let page = query.split('&').find_map(|pair| pair.strip_prefix("continue=page%2F"));
        let page: usize = page.map_or(0, |page| page.parse().unwrap());
        let next = (page + 1 < pages.len()).then(|| format!("page/{}", page + 1));
        self.asked.push(query);
        (
            200,
            json!({ "kind": "List", "metadata": { "continue": next }, "items": pages[page] }).to_string(),
        )
    }
}

/// An API server on 127.0.0.1.
struct Server {
    port: u16,
    world: Arc<Mutex<World>>,
    dir: TestDir,
    _task: JoinSet<()>,
}

impl Server {
    async fn start(tls: bool) -> Self {
        let dir = TestDir::new();
        let names = vec!["127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        fs::write(dir.join("ca.crt"), cert.pem()).unwrap();
        fs::write(dir.join("token"), "first\n").unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let world = Arc::new(Mutex::new(World {
            token: if tls { "first".into() } else { String::new() },
            ..World::default()
        }));
        let seen = world.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, world) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(world.clone(), request));
                    // Some tests want a client that hangs up or refuses the certificate.
                    if !tls {
                        drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    } else if let Ok(stream) = acceptor.accept(stream).await {
                        drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    }
                });
            }
        });
        Self {
            port,
            world,
            dir,
            _task: task,
        }
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.lock().unwrap());
    }

    fn address(&self, tls: bool) -> Address {
        Address {
            tls,
            host: "127.0.0.1".into(),
            port: self.port,
            token: self.dir.join("token"),
            authority: self.dir.join("ca.crt"),
        }
    }

    fn settings(&self, mode: Mode) -> Settings {
        Settings {
            mode,
            namespace: "db".into(),
            service: Some("salp".into()),
            selector: None,
            host: Host::Ip,
            domain: "cluster.local".into(),
            basename: "salp".into(),
            port: None,
            api: self.address(true),
        }
    }
}

async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    while world.lock().unwrap().is_mute {
        sleep(Duration::from_millis(50)).await;
    }
    let (status, body) = world.lock().unwrap().answer(&request);
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status.try_into().unwrap();
    Ok(response)
}

fn slice(addresses: &[&str]) -> serde_json::Value {
    let endpoints: Vec<serde_json::Value> = addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            json!({
                "addresses": [address],
                "conditions": { "ready": false, "serving": false, "terminating": false },
                "hostname": format!("salp-{index}"),
                "targetRef": { "kind": "Pod", "name": format!("salp-{index}") },
            })
        })
        .collect();
    json!({
        "metadata": { "name": "salp-x7k2p" },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "name": "redis", "port": 6379, "protocol": "TCP" }, { "name": "dist", "port": 9100 }],
    })
}

fn pod(ip: Option<&str>, phase: &str, deleted: bool) -> serde_json::Value {
    json!({
        "metadata": { "name": "salp-0", "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z") },
        "spec": {
            "hostname": "salp-0",
            "subdomain": "salp-nodes",
            "containers": [{ "name": "sidecar" }, { "name": "salp", "ports": [{ "name": "dist", "containerPort": 9100 }] }],
        },
        "status": { "phase": phase, "podIP": ip },
    })
}

fn found(name: &str, port: Option<u16>) -> Found {
    Found {
        node: Atom::new(name),
        port,
    }
}

async fn check_trouble(kubernetes: &mut Kubernetes, part: &str) {
    let trouble = kubernetes.look().await.unwrap_err().to_string();
    assert!(trouble.contains(part), "{trouble:?} lacks {part:?}");
}

#[tokio::test]
async fn endpoints_of_a_service_are_nodes_ready_or_not() {
    let server = Server::start(true).await;
    let mut first = slice(&["10.1.0.1", "10.1.0.2"]);
    first["endpoints"][1]["conditions"]["terminating"] = true.into();
    let empty = json!({ "endpoints": null, "ports": null });
    let pages = vec![json!([first, empty]), json!([slice(&["10.1.0.3"])])];
    server.change(|world| drop(world.pages.insert("endpointslices", pages)));

    let mut settings = server.settings(Mode::Endpoints);
    settings.port = Some(Port::Named("dist".into()));
    settings.selector = Some("tier=db".into());
    let mut kubernetes = Kubernetes::new(settings.clone());
    let expected = [found("salp@10.1.0.1", Some(9100)), found("salp@10.1.0.3", Some(9100))];
    assert_eq!(kubernetes.look().await.unwrap(), expected);
    let asked = server.world.lock().unwrap().asked.clone();
    let selector = "labelSelector=kubernetes.io%2Fservice-name%3Dsalp%2Ctier%3Ddb";
    assert_eq!(
        asked,
        [
            format!("limit=500&{selector}"),
            format!("limit=500&{selector}&continue=page%2F1")
        ]
    );

    settings.host = Host::Hostname;
    settings.port = Some(Port::Number(7));
    let found = Kubernetes::new(settings).look().await.unwrap();
    assert_eq!(found[0], self::found("salp@salp-0.salp.db.svc.cluster.local", Some(7)));
}

#[tokio::test]
async fn pods_with_labels_are_nodes_while_they_live() {
    let server = Server::start(true).await;
    let pods = json!([
        pod(Some("10.1.0.1"), "Running", false),
        pod(Some("10.1.0.2"), "Running", true),
        pod(Some("10.1.0.3"), "Succeeded", false),
        pod(Some("10.1.0.4"), "Pending", false),
        pod(None, "Pending", false),
    ]);
    server.change(|world| drop(world.pages.insert("pods", vec![pods])));
    let mut settings = server.settings(Mode::Pods);
    settings.service = None;
    settings.selector = Some("app=salp".into());
    settings.port = Some(Port::Named("dist".into()));
    let expected = [found("salp@10.1.0.1", Some(9100)), found("salp@10.1.0.4", Some(9100))];
    assert_eq!(Kubernetes::new(settings.clone()).look().await.unwrap(), expected);
    settings.host = Host::Hostname;
    let found = Kubernetes::new(settings).look().await.unwrap();
    assert_eq!(found[0].node.as_str(), "salp@salp-0.salp-nodes.db.svc.cluster.local");
}

#[tokio::test]
async fn a_new_token_is_read_from_its_file() {
    let server = Server::start(true).await;
    server.change(|world| {
        drop(
            world
                .pages
                .insert("endpointslices", vec![json!([slice(&["10.1.0.1"])])]),
        );
    });
    let mut kubernetes = Kubernetes::new(server.settings(Mode::Endpoints));
    assert_eq!(kubernetes.look().await.unwrap().len(), 1);
    server.change(|world| world.token = "second".into());
    check_trouble(&mut kubernetes, "answers 401; the token is not accepted").await;
    fs::write(server.dir.join("token"), "second").unwrap();
    assert_eq!(kubernetes.look().await.unwrap().len(), 1);
    fs::remove_file(server.dir.join("token")).unwrap();
    check_trouble(&mut kubernetes, "token: ").await;
}

#[tokio::test]
async fn refusals_say_what_to_do_and_pass() {
    let server = Server::start(true).await;
    server.change(|world| {
        drop(
            world
                .pages
                .insert("endpointslices", vec![json!([slice(&["10.1.0.1"])])]),
        );
    });
    let mut kubernetes = Kubernetes::new(server.settings(Mode::Endpoints));
    for (status, part) in [
        (403, "allow the service account"),
        (500, "answers 500"),
        (404, "discovery.namespace"),
    ] {
        server.change(|world| world.status = Some(status));
        check_trouble(&mut kubernetes, part).await;
    }
    server.change(|world| world.status = None);
    assert_eq!(kubernetes.look().await.unwrap().len(), 1);
    server.change(|world| drop(world.pages.insert("endpointslices", vec![json!("no list")])));
    check_trouble(&mut kubernetes, "not a Kubernetes API").await;
    let endless = vec![json!([]); 20];
    server.change(|world| drop(world.pages.insert("endpointslices", endless)));
    check_trouble(&mut kubernetes, "more than 8000 items").await;
}

#[tokio::test]
async fn a_mute_server_and_none_at_all_are_trouble() {
    let server = Server::start(true).await;
    server.change(|world| world.is_mute = true);
    let mut kubernetes = Kubernetes::new(server.settings(Mode::Endpoints));
    check_trouble(&mut kubernetes, "no answer in time").await;
    let mut settings = server.settings(Mode::Endpoints);
    settings.api.port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    check_trouble(&mut Kubernetes::new(settings), "refused").await;
}

#[tokio::test]
async fn only_the_authority_that_was_named_is_believed() {
    let server = Server::start(true).await;
    let other = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    fs::write(server.dir.join("ca.crt"), other.cert.pem()).unwrap();
    let mut kubernetes = Kubernetes::new(server.settings(Mode::Endpoints));
    check_trouble(&mut kubernetes, "certificate").await;
    assert!(server.world.lock().unwrap().asked.is_empty(), "the token stayed here");
    fs::write(server.dir.join("ca.crt"), "none").unwrap();
    check_trouble(&mut kubernetes, "is not a CA certificate").await;
}

#[tokio::test]
async fn a_proxy_on_this_machine_gets_no_token() {
    let server = Server::start(false).await;
    server.change(|world| {
        drop(
            world
                .pages
                .insert("endpointslices", vec![json!([slice(&["10.1.0.1"])])]),
        );
    });
    let mut settings = server.settings(Mode::Endpoints);
    settings.api = server.address(false);
    fs::remove_file(server.dir.join("token")).unwrap();
    assert_eq!(Kubernetes::new(settings).look().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_headless_service_is_asked_for_by_its_name() {
    let server = Server::start(false).await;
    let mut settings = server.settings(Mode::Dns);
    let query = settings.query();
    assert_eq!(
        (query.name.as_str(), query.record),
        ("salp.db.svc.cluster.local.", dns::Record::A)
    );
    settings.port = Some(Port::Named("dist".into()));
    let query = settings.query();
    assert_eq!(
        (query.name.as_str(), query.record),
        ("_dist._tcp.salp.db.svc.cluster.local.", dns::Record::Srv)
    );
}
