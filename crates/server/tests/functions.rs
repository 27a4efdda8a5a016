//! What a real `erl` can call at a node: the module `salp`, the names of the machine, and its end; and what it cannot
//! end. Without an `erl` on the path there is nothing to test.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../../node/tests/shell/lines.rs"]
mod lines;

use std::{
    io::{ErrorKind, Read},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use salp::{Inbox, Node};

const PATIENCE: Duration = Duration::from_secs(60);

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts an `erl` that uses this port mapper; none if there is no `erl`.
fn erl(epmd: u16, name: &str, program: &str) -> Option<Child> {
    let child = Command::new("erl")
        .args(["-noshell", "-name", name, "-setcookie", "testing"])
        .args(["-start_epmd", "false", "-hidden", "-eval", program])
        .env("ERL_EPMD_PORT", epmd.to_string())
        .env("ERL_CRASH_DUMP_SECONDS", "0")
        .stdout(Stdio::piped())
        .spawn();
    match child {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        child => Some(child.unwrap()),
    }
}

/// What it printed, once it has ended.
async fn printed(mut erl: Child) -> String {
    let begun = Instant::now();
    while erl.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            erl.kill().unwrap();
            panic!("erl does not end");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut printed = String::new();
    erl.stdout.unwrap().read_to_string(&mut printed).unwrap();
    printed
}

/// A node that is ready, and the port of its port mapper.
async fn start(facade: Option<&str>) -> (Node, u16) {
    let epmd = free_port();
    let mut builder = Node::builder()
        .name("functions@127.0.0.1")
        .cookie("testing")
        .epmd_port(epmd);
    if let Some(facade) = facade {
        builder = builder.facades([facade]);
    }
    let node = builder.start().await.unwrap();
    assert!(node.ready().await);
    (node, epmd)
}

/// Lets an `erl` run these lines, each an expression that must come to `ok`. False if there is no `erl`.
async fn check(epmd: u16, lines: &[&str]) -> bool {
    check_as("caller@127.0.0.1", epmd, lines).await
}

/// The same of an `erl` of another name.
async fn check_as(name: &str, epmd: u16, lines: &[&str]) -> bool {
    let program = lines::program("N = 'functions@127.0.0.1'", lines);
    let Some(erl) = erl(epmd, name, &program) else {
        return false;
    };
    let printed = printed(erl).await;
    assert_eq!(lines::failed(lines, &printed), None, "{printed}");
    true
}

/// Whoever is linked to a process of the node, and ends, ends alone; and nobody ends one from afar.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_ends_no_process_of_the_node() {
    let (node, epmd) = start(Some("Elixir.Apothik.Cache:missing=nil")).await;
    let lines = [
        "put(names, lists:sort(rpc:call(N, erlang, registered, []))), \
           [] = [salp, pg, rex, global_name_server, 'Elixir.Apothik.Cache'] -- get(names), \
           put(pids, [rpc:call(N, erlang, whereis, [S]) || S <- get(names)]), ok",
        "[begin {Q, M} = spawn_monitor(fun() -> link(P), exit(R) end), receive {'DOWN', M, _, Q, R} -> ok end end \
           || P <- get(pids), R <- [boom, shutdown, kill]], ok",
        "[exit(P, R) || P <- get(pids), R <- [boom, shutdown, kill, normal]], ok",
        // And by the end of a connection.
        "Pids = get(pids), S = self(), spawn(fun() -> [link(P) || P <- Pids], S ! linked, receive never -> ok end end), \
           receive linked -> ok end, pong = net_adm:ping(N), erlang:disconnect_node(N), timer:sleep(200), ok",
        "Pids = get(pids), Pids = [rpc:call(N, erlang, whereis, [S]) || S <- get(names)], ok",
        "ok = rpc:call(N, salp, put, [k, v]), v = gen_server:call({'Elixir.Apothik.Cache', N}, {get, k}), ok",
    ];
    check(epmd, &lines).await;
    node.stop().await;
}

/// Pitfall 1: a message that leaves in several small writes waits for an acknowledgement, 40 ms each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_in_a_row_do_not_stall() {
    let (node, epmd) = start(None).await;
    let line = "B = <<0:80000>>, ok = gen_server:call({salp, N}, {put, k, B}), \
        {Us, ok} = timer:tc(fun() -> [{ok, B} = gen_server:call({salp, N}, {get, k}) || _ <- lists:seq(1, 200)], ok end), \
        true = Us < 200 * 20000, ok";
    check(epmd, &[line]).await;
    node.stop().await;
}

/// Bytes of memory this process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A process that does not read is ended for the 500 MB that a BEAM sends it; another BEAM does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_to_who_does_not_read_holds_up_nobody() {
    let (node, epmd) = start(None).await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let slow = move |inbox: Inbox| async move {
        let named = inbox.act(|ctx| ctx.register("slow", &ctx.me().clone())).await;
        tell.send(named).unwrap();
        std::future::pending::<()>().await;
    };
    node.spawn_async(slow).await.unwrap();
    assert_eq!(told.await.unwrap(), Ok(true));
    let before = resident();
    let flood = [
        "M = monitor(process, {slow, N}), B = binary:copy(<<1>>, 100000), [{slow, N} ! B || _ <- lists:seq(1, 5000)], \
           pong = net_adm:ping(N), receive {'DOWN', M, process, {slow, N}, overflow} -> ok after 0 -> alive end",
    ];
    let pings = ["pong = net_adm:ping(N), true = monitor_node(N, true), \
           Ping = fun(_) -> {Us, pong} = timer:tc(fun() -> net_adm:ping(N) end), timer:sleep(5), Us end, \
           Times = lists:map(Ping, lists:seq(1, 300)), true = length([Us || Us <- Times, Us > 50000]) < 15, \
           receive X -> X after 0 -> ok end"];
    tokio::join!(check(epmd, &flood), check_as("other@127.0.0.1", epmd, &pings));
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{grown} bytes more than before");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_beam_calls_the_store_and_ends_the_node() {
    let (node, epmd) = start(None).await;
    let lines = [
        "ok = rpc:call(N, salp, put, [k, {a, 1}]), {ok, {a, 1}} = rpc:call(N, salp, get, [k]), ok",
        "error = rpc:call(N, salp, get, [nope]), ok",
        "ok = rpc:call(N, salp, put, [<<\"text\">>, <<\"v\">>]), {ok, <<\"v\">>} = rpc:call(N, salp, get, [<<\"text\">>]), ok",
        "{ok, 5} = rpc:call(N, salp, incr, [n, 5]), {ok, 7} = rpc:call(N, salp, incr, [n, 2]), ok",
        "3 = rpc:call(N, salp, stats, []), ok",
        "true = lists:sort([k, <<\"text\">>, n]) =:= lists:sort(rpc:call(N, salp, keys, [])), ok",
        "ok = rpc:call(N, salp, delete, [k]), error = rpc:call(N, salp, get, [k]), ok",
        "[#{name := N, state := up, keys_held := 2, safe_to_stop := _}] = rpc:call(N, salp, cluster, []), ok",
        "ok = rpc:call(N, salp, put, [soon, 1, [{ttl, 1}]]), timer:sleep(20), error = rpc:call(N, salp, get, [soon]), ok",
        "{error, badarg} = rpc:call(N, salp, put, [k, v, [{colour, red}]]), ok",
        "{badrpc, {'EXIT', {undef, [{salp, nope, [], []}]}}} = rpc:call(N, salp, nope, []), ok",
        "[{ok, {ok, 7}}, {ok, {ok, 7}}] = erpc:multicall([N, N], salp, get, [n]), ok",
        "{ok, L} = rpc:call(N, net_adm, names, []), {ok, M} = net_adm:names(), true = lists:sort(L) =:= lists:sort(M), \
           [\"caller\", \"functions\"] = lists:sort([A || {A, _} <- L]), ok",
        "ok = rpc:call(N, 'Elixir.System', stop, [0]), ok",
    ];
    if !check(epmd, &lines).await {
        return;
    }
    tokio::time::timeout(PATIENCE, node.ended())
        .await
        .expect("a node that was stopped ends");
}
