//! A BEAM without a name (`erl -name undefined@HOST`) connects and gets one.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shell;

use node::{
    Context, Event, Message, NodeKind, Process, Term,
    gen_server::{self, Request},
};
use shell::{Nothing, Shell};

const OURS: &str = "salp@127.0.0.5";

/// Answers each call with the hidden peers it sees.
struct Server;
impl Process<Nothing> for Server {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Term { term, .. } = message
            && let Request::Call { from, .. } = gen_server::parse(term)
        {
            let nodes = Term::list(ctx.nodes(NodeKind::Hidden));
            ctx.reply(&from, nodes);
        }
    }
}

/// The same with short names, as for `erl -sname undefined`. The host is then the address of its socket.
#[test]
fn a_beam_without_a_name_may_use_short_names() {
    let mut shell = Shell::new("salp@localhost", 0, false, |node| {
        node.spawn(Some("srv"), Box::new(Server));
    });
    let lines = [
        "'nonode@nohost' = node(), true = net_kernel:connect_node(N), Me = node(), [Me] = gen_server:call({srv, N}, who), ok",
        "pong = net_adm:ping(N), [N] = nodes(hidden), P = rpc:call(N, erlang, whereis, [srv]), N = node(P), ok",
    ];
    shell.check("-sname", "undefined", "N = 'salp@localhost'", &lines);
}

/// Pitfall 6: NAME_ME must be echoed, or the BEAM crashes its handshake.
#[test]
fn pitfall_6_a_beam_without_a_name_is_given_one() {
    let mut shell = Shell::new(OURS, 0, false, |node| {
        node.spawn(Some("srv"), Box::new(Server));
    });
    let lines = [
        "'nonode@nohost' = node(), true = net_kernel:connect_node(N), ok",
        "[_, _] = string:lexemes(atom_to_list(node()), \"@\"), Me = node(), [Me] = gen_server:call({srv, N}, who), ok",
        "[] = nodes(), [N] = nodes(hidden), pong = net_adm:ping(N), ok",
        // After a disconnection it has no name, and gets the same name with another creation.
        "put(was, {node(), self()}), put(pid, term_to_binary(self())), true = erlang:disconnect_node(N), \
           timer:sleep(300), true = net_kernel:connect_node(N), Me = node(), [Me] = gen_server:call({srv, N}, who), \
           {Me, _} = get(was), true = term_to_binary(self()) =/= get(pid), ok",
    ];
    let prelude = format!("N = '{OURS}'");
    for _ in 0..2 {
        shell.check("-name", "undefined@127.0.0.6", &prelude, &lines);
    }
    let names: Vec<_> = shell
        .events
        .iter()
        .filter_map(|event| match event {
            Event::NodeUp { node, creation, hidden } => Some((node.clone(), *creation, *hidden)),
            _ => None,
        })
        .collect();
    let Some((first, ..)) = names.first() else {
        return;
    };
    let expected: Vec<_> = (4..8).map(|creation| (first.clone(), creation, true)).collect();
    assert_eq!(names, expected);
    assert_eq!(first.as_str().split_once('@').unwrap().0.len(), 16);
}
