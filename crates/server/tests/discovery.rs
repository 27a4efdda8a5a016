//! Nodes that find each other, over loopback: by gossip, by a file, and without EPMD on one port; and a BEAM that finds
//! them. Without an `erl` on the path its tests have nothing to do.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    process::Stdio,
    time::{Duration, Instant},
};

use salp::{Builder, Node};
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(30);

fn builder(name: &str) -> Builder {
    Node::builder().name(name).cookie("oyster").epmd(false)
}

/// Waits until a node counts so many members as up, itself among them.
async fn await_members(node: &Node, count: usize) {
    let start = Instant::now();
    loop {
        let status = node.handle().status().await.unwrap();
        if status.nodes.len() == count && status.ready {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{} has {} members instead of {count}",
            node.name(),
            status.nodes.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn nodes_meet_by_gossip() {
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let group = format!("233.252.1.78:{port}");
    let settings = [("group", group.as_str()), ("interval", "500ms")];
    let mut nodes = Vec::new();
    for name in ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"] {
        nodes.push(builder(name).discovery("gossip", &settings).start().await.unwrap());
    }
    for node in &nodes {
        await_members(node, 3).await;
    }
}

#[tokio::test]
async fn a_node_that_is_written_into_the_file_is_found() {
    let path = std::env::temp_dir().join(format!("salp-hosts-{}", std::process::id()));
    fs::write(&path, "# nobody yet\n").unwrap();
    let settings = [("file", path.to_str().unwrap()), ("interval", "100ms")];
    let one = builder("a@127.0.0.1")
        .discovery("hosts", &settings)
        .start()
        .await
        .unwrap();
    let two = builder("b@127.0.0.1").start().await.unwrap();
    await_members(&one, 1).await;
    fs::write(&path, format!("{}:{}\n", two.name(), two.dist().port())).unwrap();
    await_members(&one, 2).await;
    await_members(&two, 2).await;
    fs::remove_file(&path).unwrap();
    await_members(&one, 2).await;
}

#[tokio::test]
async fn without_epmd_all_nodes_are_looked_for_on_the_common_port() {
    let port = free_port().to_string();
    let at = |host: &str| builder(&format!("salp@{host}")).dist_bind(host).dist_port(&port);
    let one = at("127.0.0.2").start().await.unwrap();
    let two = at("127.0.0.3").join(["salp@127.0.0.2"]).start().await.unwrap();
    await_members(&one, 2).await;
    await_members(&two, 2).await;
}

#[tokio::test]
async fn a_range_gives_the_first_port_that_is_free() {
    // Two neighbours that are free now; another test may take them, and then there is another pair.
    for _ in 0..20 {
        let first = free_port();
        let Some(second) = first.checked_add(1) else { continue };
        let Ok(taken) = TcpListener::bind(("127.0.0.1", first)) else {
            continue;
        };
        let Ok(node) = builder("a@127.0.0.1")
            .dist_port(&format!("{first}-{second}"))
            .start()
            .await
        else {
            continue;
        };
        assert_eq!(node.dist().port(), second);
        drop(taken);
        return;
    }
    panic!("no two neighbouring ports are free");
}

#[tokio::test]
async fn a_wrong_setting_of_discovery_is_refused_at_the_start() {
    for (kind, key, text, part) in [
        ("gossip", "group", "everybody", "not a group address"),
        ("gossip", "volume", "11", "discovery.volume: is not a setting"),
        ("telepathy", "interval", "1s", "not a kind of discovery"),
    ] {
        let error = builder("a@127.0.0.1")
            .discovery(kind, &[(key, text)])
            .start()
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Runs a BEAM without EPMD that expects every node on `port`; what it printed. `None` if there is no `erl`.
async fn erl(name: &str, host: &str, port: &str, program: &str) -> Option<String> {
    let address = host.replace('.', ",");
    let mut command = Command::new("erl");
    command
        .args([
            "-noshell",
            "-name",
            &format!("{name}@{host}"),
            "-setcookie",
            "oyster",
            "-hidden",
        ])
        .args(["-start_epmd", "false", "-erl_epmd_port", port])
        .args([
            "-kernel",
            "inet_dist_use_interface",
            &format!("{{{address}}}"),
            "-eval",
            program,
        ])
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output())
        .await
        .expect("erl ends in time")
    {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_beam_without_epmd_and_a_node_find_each_other() {
    let port = free_port().to_string();
    let node = builder("salp@127.0.0.3")
        .dist_bind("127.0.0.3")
        .dist_port(&port)
        .start()
        .await
        .unwrap();
    let program = "io:format(\"~p\", [net_adm:ping('salp@127.0.0.3')]), halt().";
    let Some(printed) = erl("beam1", "127.0.0.2", &port, program).await else {
        return;
    };
    assert_eq!(printed, "pong");
    drop(node);

    // And the node finds the BEAM, of which nobody told it the port.
    let node = builder("salp@127.0.0.5")
        .dist_bind("127.0.0.5")
        .dist_port(&port)
        .join(["beam2@127.0.0.4"]);
    let _node = node.start().await.unwrap();
    let program =
        "F = fun F(0) -> none; F(N) -> case nodes(connected) of [] -> timer:sleep(50), F(N - 1); L -> L end end,
        io:format(\"~p\", [F(300)]), halt().";
    let printed = erl("beam2", "127.0.0.4", &port, program).await.unwrap();
    assert_eq!(printed, "['salp@127.0.0.5']");
}
