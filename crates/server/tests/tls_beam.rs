//! A real BEAM with `-proto_dist inet_tls` as the peer. Without `erl` or its `ssl` nothing is shown, and a line says
//! so.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod authority;

use std::{
    fs,
    io::Read,
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use authority::{Authority, Files};
use node::Event;
use salp::Node;
use tokio::sync::broadcast::Receiver;

const PATIENCE: Duration = Duration::from_secs(60);
/// EPMD-less, the nodes tell each other apart by address: all listen on the same port.
const OURS: &str = "127.0.0.3";
const THEIRS: &str = "127.0.0.2";

/// Whether there is a BEAM that knows TLS.
fn has_beam() -> bool {
    static HAS_BEAM: OnceLock<bool> = OnceLock::new();
    *HAS_BEAM.get_or_init(|| {
        let program = "case code:lib_dir(ssl) of {error, _} -> halt(1); _ -> halt(0) end.";
        let found = Command::new("erl").args(["-noshell", "-eval", program]).status();
        let has_beam = found.is_ok_and(|status| status.success());
        if !has_beam {
            println!("skipped: there is no erl with ssl");
        }
        has_beam
    })
}

fn free_port() -> u16 {
    TcpListener::bind((OURS, 0)).unwrap().local_addr().unwrap().port()
}

/// A salp node, and the BEAM beside it.
struct Pair {
    node: Node,
    port: u16,
    events: Receiver<Event>,
}

impl Pair {
    async fn new(files: &Files, dials: bool) -> Self {
        let port = free_port();
        let node = Node::builder()
            .name(&format!("n@{OURS}"))
            .cookie("oyster")
            .epmd(false)
            .dist_bind(OURS)
            .dist_port(&port.to_string())
            .dist_tls(&files.cert, &files.key, &files.ca)
            .join(dials.then(|| format!("t@{THEIRS}:{port}")))
            .start()
            .await
            .unwrap();
        let events = node.handle().events();
        Self { node, port, events }
    }

    /// What a BEAM prints that runs `program` with `client` and `server` as its files.
    fn erl(&self, version: &str, server: &Files, client: Option<&Files>, program: &str) -> Child {
        let section = |files: Option<&Files>, ca: &str| {
            let own = files.map(|files| format!("{{certfile,{:?}}},{{keyfile,{:?}}},", files.cert, files.key));
            let own = own.unwrap_or_default();
            format!("{own}{{cacertfile,{ca:?}}},{{versions,['{version}']}},{{verify,verify_peer}}")
        };
        let conf = format!(
            "[{{server,[{},{{fail_if_no_peer_cert,true}}]}},{{client,[{}]}}].",
            section(Some(server), &server.ca),
            section(client, &server.ca)
        );
        let path = format!("{}.{}.conf", server.cert, self.port);
        fs::write(&path, conf).unwrap();
        let child = Command::new("erl")
            .args(["-noshell", "-name", &format!("t@{THEIRS}"), "-setcookie", "oyster"])
            .args(["-start_epmd", "false", "-erl_epmd_port", &self.port.to_string()])
            .args(["-proto_dist", "inet_tls", "-ssl_dist_optfile", &path])
            .args(["-kernel", "inet_dist_use_interface", "{127,0,0,2}", "net_ticktime", "4"])
            .args(["-kernel", "logger_level", "emergency", "-eval"])
            .arg(format!(
                "N = 'n@{OURS}', P = fun(T) -> io:format(\"~p~n\", [T]) end, \
                 try {program} catch C:R -> P({{C, R}}) end, halt()."
            ))
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        child.unwrap()
    }

    /// The names that came up, and why handshakes failed.
    fn seen(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut ups, mut failures) = (vec![], vec![]);
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::NodeUp { node, .. } => ups.push(node.as_str().to_owned()),
                Event::HandshakeFailed { reason, .. } => failures.push(reason),
                _ => {}
            }
        }
        (ups, failures)
    }
}

/// What it printed, once it has ended.
fn printed(mut erl: Child) -> String {
    let deadline = Instant::now() + PATIENCE;
    while erl.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            erl.kill().unwrap();
            erl.wait().unwrap();
            panic!("erl does not end");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut printed = String::new();
    erl.stdout.unwrap().read_to_string(&mut printed).unwrap();
    printed
}

/// A BEAM dials, calls, sends and gets 3 MB, and is quiet for longer than its ticks allow.
async fn serves(version: &str) {
    if !has_beam() {
        return;
    }
    let authority = Authority::new();
    let mut pair = Pair::new(&authority.issue("n", OURS), false).await;
    let theirs = authority.issue("t", THEIRS);
    let program = "P(net_adm:ping(N)), P(nodes()), \
        B = binary:copy(<<7>>, 3000000), \
        W = fun W(I) -> case gen_server:call({salp, N}, {put, <<\"k\">>, B}, 20000) of \
            ok -> ok; _ when I > 0 -> timer:sleep(50), W(I - 1); Other -> Other end end, \
        P(W(200)), P(gen_server:call({salp, N}, {get, <<\"k\">>}, 20000) =:= {ok, B}), \
        net_kernel:monitor_nodes(true, [{node_type, all}]), \
        P(receive {nodedown, _, _} -> lost after 7000 -> kept end)";
    let erl = pair.erl(version, &theirs, Some(&theirs), program);
    let printed = printed(erl);
    let expected = format!("pong\n['n@{OURS}']\nok\ntrue\nkept\n");
    assert_eq!(printed, expected);
    assert_eq!(pair.seen(), (vec![format!("t@{THEIRS}")], vec![]));
    pair.node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_comes_by_tls_1_2() {
    serves("tlsv1.2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_comes_by_tls_1_3() {
    serves("tlsv1.3").await;
}

/// How a BEAM ends that waits to be dialled.
const WAITING: &str = "W = fun W(0) -> none; W(I) -> case nodes() of \
        [] -> timer:sleep(50), W(I - 1); Up -> Up end end, P(W(120)), \
    P([gen_server:call({salp, M}, {get, <<\"missing\">>}) || M <- nodes()])";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_is_dialled() {
    if !has_beam() {
        return;
    }
    for version in ["tlsv1.2", "tlsv1.3"] {
        let authority = Authority::new();
        let pair = Pair::new(&authority.issue("n", OURS), true).await;
        let theirs = authority.issue("t", THEIRS);
        let erl = pair.erl(version, &theirs, Some(&theirs), WAITING);
        let printed = printed(erl);
        assert!(printed.starts_with(&format!("['n@{OURS}']\n[")), "{version}: {printed}");
        pair.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_with_the_certificate_of_another_host_is_not_dialled() {
    if !has_beam() {
        return;
    }
    let authority = Authority::new();
    let mut pair = Pair::new(&authority.issue("n", OURS), true).await;
    let theirs = authority.issue("t", "127.0.0.9");
    let erl = pair.erl("tlsv1.3", &theirs, Some(&theirs), WAITING);
    assert_eq!(printed(erl), "none\n[]\n");
    assert_eq!(pair.seen().0, Vec::<String>::new());
    pair.node.stop().await;
}

/// A BEAM that dials with these files stays outside; the handshakes that failed.
async fn refuses(ours: &Files, theirs: &Files, client: Option<&Files>) -> Vec<String> {
    let mut pair = Pair::new(ours, false).await;
    let erl = pair.erl("tlsv1.3", theirs, client, "P(net_adm:ping(N))");
    assert_eq!(printed(erl), "pang\n");
    let (ups, failures) = pair.seen();
    assert!(ups.is_empty(), "{ups:?}");
    pair.node.stop().await;
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_shows_no_certificate_or_a_wrong_one_stays_outside() {
    if !has_beam() {
        return;
    }
    let (authority, other) = (Authority::new(), Authority::new());
    let ours = authority.issue("n", OURS);
    let theirs = authority.issue("t", THEIRS);
    let none: Vec<String> = vec![];
    assert_eq!(refuses(&ours, &theirs, None).await, none);
    assert_eq!(refuses(&ours, &theirs, Some(&other.issue("t", THEIRS))).await, none);
    let elsewhere = authority.issue("elsewhere", "127.0.0.9");
    let reason = "its certificate is not for the host of its name";
    assert_eq!(refuses(&ours, &theirs, Some(&elsewhere)).await, [reason]);
}
