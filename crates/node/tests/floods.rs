//! Floods from a real `erl`: the node survives, and its memory stays limited. The tests are skipped if there is no
//! `erl` on the path.
#![allow(clippy::unwrap_used, reason = "tests")]

mod erl;

use erl::{Nothing, OURS};
use node::{Context, Event, Message, Process, gen_server};
use std::{
    fs,
    io::{ErrorKind, Read},
    net::TcpStream,
};

/// How much memory may grow, whatever a peer does: buffers for one message, and everything the peer may hold here.
const GROWTH_BYTES_MAX: usize = 100 << 20;

/// Echoes calls.
struct Echo;

impl Process<Nothing> for Echo {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Term { term, .. } = message
            && let gen_server::Request::Call { from, request } = gen_server::parse(term)
        {
            ctx.reply(&from, request);
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn check(lines: &[&str]) {
    let mut shell = erl::ours(false, |node| {
        node.spawn(Some("srv"), Box::new(Echo));
    });
    let before = resident();
    erl::check(&mut shell, lines, "connection_closed");
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more than before");
}

/// Each request has long atoms that were never seen before. A node that kept them would exceed the limit.
#[test]
fn spawns_of_functions_that_do_not_exist() {
    check(&[
        "put(new, fun(C, I) -> list_to_atom(lists:duplicate(200, C) ++ integer_to_list(I)) end), ok",
        "New = get(new), [spawn_request(N, New($m, I), New($f, I), [], [{reply, no}]) || I <- lists:seq(1, 200000)], \
           pong = net_adm:ping(N), ok",
        "New = get(new), [gen_server:call({srv, N}, New($a, I), 20000) || I <- lists:seq(1, 5000)], ok",
        "New = get(new), [{New($p, I), N} ! x || I <- lists:seq(1, 200000)], pong = net_adm:ping(N), ok",
    ]);
}

#[test]
fn monitors_of_an_unregistered_name() {
    check(&[
        "Ms = [erlang:monitor(process, {nope, N}) || _ <- lists:seq(1, 100000)], \
           [receive {'DOWN', M, process, {nope, N}, noproc} -> ok after 20000 -> exit(timeout) end || M <- Ms], ok",
        "receive X -> {surplus, X} after 300 -> pong = net_adm:ping(N), ok end",
    ]);
}

/// A peer beyond its limit is disconnected. Everything it held is free for its next connection.
#[test]
fn more_monitors_than_a_peer_may_hold() {
    if !erl::is_there() {
        return;
    }
    let mut shell = erl::ours(true, |node| {
        node.spawn(Some("srv"), Box::new(Echo));
    });
    let lines = [
        "Ms = [erlang:monitor(process, {srv, N}) || _ <- lists:seq(1, 100001)], \
           [receive {'DOWN', M, process, {srv, N}, noconnection} -> ok after 20000 -> exit(timeout) end || M <- Ms], ok",
        // Together with the monitor of the call, this is the most that is allowed.
        "F = fun F() -> pong =:= net_adm:ping(N) orelse begin timer:sleep(100), F() end end, F(), \
           [erlang:monitor(process, {srv, N}) || _ <- lists:seq(1, 99999)], \
           1 = gen_server:call({srv, N}, 1, 20000), receive X -> {surplus, X} after 300 -> ok end",
    ];
    shell.check("-name", erl::THEIRS, &format!("N = '{OURS}'"), &lines);
    let is_cut =
        |event: &&Event| matches!(event, Event::PeerCut { reason, .. } if reason.contains("too many monitors"));
    assert_eq!(shell.events.iter().filter(is_cut).count(), 1, "{:?}", shell.events);
}

/// Connections that never send anything. The node accepts a limited number, and soon has room again for a real peer.
#[test]
fn a_thousand_idle_connections() {
    let mut shell = erl::ours(true, |node| {
        node.spawn(Some("srv"), Box::new(Echo));
    });
    let mut idle = Vec::new();
    for _ in 0..1000 {
        let socket = TcpStream::connect(("127.0.0.3", shell.port())).unwrap();
        socket.set_nonblocking(true).unwrap();
        idle.push(socket);
        shell.poll();
    }
    let is_open = |mut socket: &TcpStream| {
        let read = socket.read(&mut [0; 8]);
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    shell.wait("most are closed at once", |_| {
        idle.iter().filter(|socket| is_open(socket)).count() == 64
    });
    let line = "F = fun F(0) -> never; F(I) -> case net_adm:ping(N) of pong -> ok; pang -> timer:sleep(100), F(I - 1) end end, \
        F(100)";
    erl::check(&mut shell, &[line], "connection_closed");
    shell.wait("the rest are closed for their silence", |_| !idle.iter().any(is_open));
}
