//! The port mapper against itself and, if it is installed, against that of Erlang.

use super::*;
use std::process::{Child, Command, Stdio};
use tokio::time::Instant;

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn place(port: u16) -> Place {
    Place {
        port,
        bind: vec![Ipv4Addr::LOCALHOST.into()],
    }
}

fn node(name: &str, port: u16) -> Node {
    Node::new(name, port, false)
}

/// Waits until EPMD returns this port for a node.
async fn await_found(epmd: u16, name: &str, port: Option<u16>) {
    let start = Instant::now();
    while find("127.0.0.1", epmd, name).await.ok() != Some(port) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{name} is not where it should be"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// The port mapper of Erlang.
struct Erlang(Child);

impl Erlang {
    /// `None` if it is not installed.
    async fn start(port: u16) -> Option<Self> {
        let mut command = Command::new("epmd");
        command.args([
            "-port",
            &port.to_string(),
            "-address",
            "127.0.0.1",
            "-relaxed_command_check",
        ]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let erlang = Self(child);
        let start = Instant::now();
        while names("127.0.0.1", port).await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "it does not answer");
            sleep(Duration::from_millis(5)).await;
        }
        Some(erlang)
    }
}

impl Drop for Erlang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_node_registers_is_found_and_is_forgotten_with_its_end() {
    let port = free_port();
    let first = register(place(port), node("a", 1001)).await.unwrap();
    let second = register(place(port), node("b", 1002)).await.unwrap();
    assert_ne!(first.creation, second.creation);
    await_found(port, "b", Some(1002)).await;
    assert_eq!(
        names("127.0.0.1", port).await.unwrap(),
        [("a".into(), 1001), ("b".into(), 1002)]
    );
    let taken = register(place(port), node("a", 1003)).await;
    assert!(matches!(taken, Err(RegisterError::Taken)), "{taken:?}");
    drop(second);
    await_found(port, "b", None).await;
}

#[tokio::test]
async fn another_takes_over_when_the_port_mapper_goes() {
    let port = free_port();
    let first = register(place(port), node("a", 1001)).await.unwrap();
    let _second = register(place(port), node("b", 1002)).await.unwrap();
    let _third = register(place(port), node("c", 1003)).await.unwrap();
    drop(first);
    await_found(port, "b", Some(1002)).await;
    await_found(port, "c", Some(1003)).await;
    await_found(port, "a", None).await;
}

#[tokio::test]
async fn what_is_no_port_mapper_is_an_error_and_not_a_hang() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    assert!(find("127.0.0.1", port, "a").await.is_err());
    let refused = register(place(port), node("a", 1)).await;
    assert!(matches!(refused, Err(RegisterError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_silent_stranger_holds_nothing_up() {
    let port = free_port();
    let _serving = serve(&place(port)).await.unwrap();
    let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let mut rude = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    rude.write_all(&[0xff; 32]).await.unwrap();
    assert!(matches!(rude.read(&mut [0; 8]).await, Ok(0) | Err(_)), "it is cut off");
    assert_eq!(find("127.0.0.1", port, "a").await.unwrap(), None);
}

#[tokio::test]
async fn we_register_with_that_of_erlang_and_replace_it() {
    let port = free_port();
    let Some(erlang) = Erlang::start(port).await else {
        return;
    };
    let registered = register(place(port), node("a", 1001)).await.unwrap();
    assert!(registered.creation >= 4);
    let taken = register(place(port), node("a", 1002)).await;
    assert!(matches!(taken, Err(RegisterError::Taken)), "{taken:?}");
    await_found(port, "a", Some(1001)).await;
    drop(erlang);
    await_found(port, "a", Some(1001)).await;
}

#[tokio::test]
async fn erlang_reads_our_names() {
    let port = free_port();
    let _registered = register(place(port), node("a", 1001)).await.unwrap();
    let mut command = tokio::process::Command::new("epmd");
    let Ok(output) = command.args(["-port", &port.to_string(), "-names"]).output().await else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("name a at port 1001"), "{text}");
}

#[tokio::test]
async fn a_beam_lists_our_names() {
    let port = free_port();
    let _registered = register(place(port), node("a", 1001)).await.unwrap();
    let mut command = tokio::process::Command::new("erl");
    let program = "io:format(\"~p\", [net_adm:names({127,0,0,1})]), halt().";
    command
        .args(["-noshell", "-eval", program])
        .env("ERL_EPMD_PORT", port.to_string());
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = timeout(Duration::from_secs(30), run).await.expect("it ends in time") else {
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{ok,[{\"a\",1001}]}");
}

#[test]
fn the_port_mapper_listens_where_the_node_does() {
    for (node, bind) in [
        ("127.0.0.1", &["127.0.0.1"][..]),
        ("127.0.0.2", &["127.0.0.1", "127.0.0.2"]),
        ("10.0.0.1", &["127.0.0.1", "10.0.0.1"]),
        ("0.0.0.0", &["0.0.0.0"]),
        ("::1", &["127.0.0.1"]),
        ("2001:db8::1", &["127.0.0.1", "2001:db8::1"]),
        ("::", &["0.0.0.0"]),
    ] {
        let place = Place::beside(node.parse().unwrap(), 4369);
        let wanted: Vec<IpAddr> = bind.iter().map(|address| address.parse().unwrap()).collect();
        assert_eq!(place.bind, wanted, "{node}");
    }
}
