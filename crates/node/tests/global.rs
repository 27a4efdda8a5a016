//! `global` with a real `erl`, over loopback and without EPMD: known nodes, names, locks, conflicts, partitions. The
//! tests are skipped if there is no `erl` on the path.
#![allow(clippy::unwrap_used, reason = "tests")]

mod shell;

use node::{Context, Message, Method, NodeKind, Pid, Process, Ref, Term, gen_server};
use shell::{Nothing, Shell};
use std::{
    collections::BTreeMap,
    process::Child,
    time::{Duration, Instant},
};

/// Echoes calls until it gets `stop`.
struct Holder;

impl Process<Nothing> for Holder {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        let Message::Term { term, .. } = message else {
            return;
        };
        match gen_server::parse(term) {
            gen_server::Request::Call { from, request } => ctx.reply(&from, request),
            gen_server::Request::Info(info) if info.is_atom("stop") => ctx.exit(Term::atom("normal")),
            gen_server::Request::Info(_) | gen_server::Request::Cast(_) => {}
        }
    }
}

/// The process registered as `pilot`: carries out the calls of a BEAM.
#[derive(Default)]
struct Pilot {
    open: BTreeMap<Ref, gen_server::From>,
    /// The name to register later; then its holder and the answer.
    later: Option<Term>,
    held: Option<(Pid, Ref)>,
    answer: Option<Term>,
}

impl Pilot {
    fn call(&mut self, ctx: &mut Context<'_, Nothing>, from: gen_server::From, request: &Term) {
        let answer = match request.as_tuple().unwrap() {
            [verb, name] if verb.is_atom("register") => {
                let holder = ctx.spawn(None, Box::new(Holder));
                let asked = ctx.register_global(name.clone(), &holder, Method::RandomExit);
                self.open.insert(asked, from);
                return;
            }
            [verb, name] if verb.is_atom("unregister") => {
                let asked = ctx.unregister_global(name.clone());
                self.open.insert(asked, from);
                return;
            }
            [verb, resource] if verb.is_atom("lock") => {
                let asked = ctx.global_lock(resource.clone(), None, Some(0));
                self.open.insert(asked, from);
                return;
            }
            [verb, resource] if verb.is_atom("await") => {
                let asked = ctx.global_lock(resource.clone(), None, None);
                self.open.insert(asked, from);
                return;
            }
            [verb, resource] if verb.is_atom("unlock") => {
                let asked = ctx.global_unlock(resource.clone(), None);
                self.open.insert(asked, from);
                return;
            }
            [verb, name] if verb.is_atom("whereis") => {
                ctx.whereis_global(name).map_or(Term::atom("undefined"), Term::Pid)
            }
            [verb, name] if verb.is_atom("later") => {
                self.later = Some(name.clone());
                ctx.timer(500_000, 0);
                Term::atom("ok")
            }
            [verb, _] if verb.is_atom("later_answer") => self.answer.clone().unwrap_or(Term::atom("none")),
            [verb, _] if verb.is_atom("later_lives") => {
                Term::from(self.held.as_ref().is_some_and(|(holder, _)| ctx.is_alive(holder)))
            }
            [verb, Term::Atom(node)] if verb.is_atom("dial") => {
                let name = node::Atom::new("nobody");
                ctx.send(
                    &node::Address::Remote {
                        node: node.clone(),
                        name,
                    },
                    Term::NIL,
                );
                Term::atom("ok")
            }
            [verb, Term::Atom(node)] if verb.is_atom("disconnect") => {
                ctx.disconnect(node);
                Term::atom("ok")
            }
            [verb, _] if verb.is_atom("tables") => {
                let tables = ctx.tables();
                Term::from((tables.calls, tables.global_locks))
            }
            [verb, _] if verb.is_atom("names") => Term::list(ctx.global_names()),
            [verb, _] if verb.is_atom("nodes") => Term::list(ctx.nodes(NodeKind::Visible)),
            _ => return,
        };
        ctx.reply(&from, answer);
    }
}

impl Process<Nothing> for Pilot {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        match message {
            Message::Term { term, .. } => {
                if let gen_server::Request::Call { from, request } = gen_server::parse(term) {
                    self.call(ctx, from, &request);
                }
            }
            Message::Reply { call, result } => {
                if let Some(from) = self.open.remove(&call) {
                    ctx.reply(&from, result.unwrap());
                } else if self.held.as_ref().is_some_and(|(_, asked)| *asked == call) {
                    self.answer = Some(result.unwrap());
                }
            }
            Message::Timer { .. } => {
                let holder = ctx.spawn(None, Box::new(Holder));
                let asked = ctx.register_global(self.later.take().unwrap(), &holder, Method::RandomExit);
                self.held = Some((holder, asked));
            }
            _ => {}
        }
    }
}

/// Helpers for the programs, in addition to OTP. `Agree` sends each node a message every time, since a dropped node
/// only comes back when it is contacted.
const PRELUDE: &str = "
    Me = node(),
    Until = fun(F) -> (fun Loop(0) -> exit({timeout, F}); Loop(I) ->
        case catch F() of true -> ok; _ -> timer:sleep(20), Loop(I - 1) end end)(2000) end,
    Known = fun(X) -> lists:sort([X | gen_server:call({global_name_server, X}, get_known)]) end,
    Agree = fun(Nodes) -> Until(fun() -> [lists:sort(Nodes)] =:= lists:usort([Known(X) || X <- Nodes]) end) end,
    Pilot = fun(X, Request) -> gen_server:call({pilot, X}, Request, 10000) end,
    ";

/// Ends a BEAM at the end of the test.
struct Beam(Option<Child>);

impl Beam {
    /// Everything it has printed so far.
    fn end(mut self) -> String {
        let mut erl = self.0.take().unwrap();
        erl.kill().unwrap();
        erl.wait().unwrap();
        shell::printed(erl)
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        if let Some(erl) = &mut self.0 {
            let _ = erl.kill();
            let _ = erl.wait();
        }
    }
}

/// Runs the lines as one program of the first BEAM, which can reach all nodes. Every line must evaluate to `ok`. In the
/// program, our nodes are `N0`, `N1`, and the other BEAMs are `B1` and so on. The other BEAMs use the `erl` on the
/// path. Returns what each BEAM has printed.
fn check(beams: &[&str], nodes: &[&str], lines: &[&str]) -> Vec<String> {
    let mut shells: Vec<Shell> = Vec::new();
    for node in nodes {
        let port = shells.first().map_or(0, Shell::port);
        shells.push(Shell::new(node, port, false, |node| {
            node.spawn(Some("pilot"), Box::new(Pilot::default()));
        }));
    }
    let named = |letter: char, names: &[&str]| -> String {
        let name = |(at, name): (usize, &&str)| format!("{letter}{at} = '{name}', ");
        names.iter().enumerate().map(name).collect()
    };
    let names = named('N', nodes) + &named('B', beams);
    let program = shell::program(&format!("{PRELUDE} {names} ok"), lines);
    let mut others = Vec::new();
    for beam in &beams[1..] {
        let Some(erl) = shells[0].other_erl("-name", beam, "timer:sleep(90000), halt().") else {
            return vec![];
        };
        others.push(Beam(Some(erl)));
    }
    let Some(mut erl) = shells[0].erl("-name", beams[0], &program) else {
        return vec![];
    };
    let deadline = Instant::now() + Duration::from_secs(90);
    while erl.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            erl.kill().unwrap();
            panic!("erl does not end; events: {:?}", shells[0].events);
        }
        for shell in &mut shells {
            shell.poll();
        }
    }
    let mut printed = vec![shell::printed(erl)];
    shells[0].check_ok(lines, &printed[0]);
    printed.extend(others.into_iter().map(Beam::end));
    printed
}

#[test]
fn a_beam_accepts_a_node_into_its_partition() {
    check(
        &["beam@127.0.1.2"],
        &["salp@127.0.1.3"],
        &[
            "pong = net_adm:ping(N0), [N0] = nodes(), ok",
            "Agree([Me, N0])",
            "ok = global:sync(), ok",
            "[Me] = Pilot(N0, {nodes, all}), ok",
            "8 = gen_server:call({global_name_server, N0}, get_protocol_version), ok",
        ],
    );
}

#[test]
fn names_are_the_same_on_both_sides() {
    check(
        &["beam@127.0.2.2"],
        &["salp@127.0.2.3"],
        &[
            "pong = net_adm:ping(N0), Agree([Me, N0])",
            "yes = Pilot(N0, {register, r}), N0 = node(global:whereis_name(r)), ok",
            "hello = gen_server:call({global, r}, hello), ok",
            "yes = global:register_name({b, 1}, self()), true = (self() =:= Pilot(N0, {whereis, {b, 1}})), ok",
            "no = Pilot(N0, {register, {b, 1}}), no = global:register_name(r, self()), ok",
            "[r, {b, 1}] = Pilot(N0, {names, all}), ok",
            "yes = Pilot(N0, {unregister, r}), undefined = global:whereis_name(r), no = Pilot(N0, {unregister, r}), ok",
            "global:unregister_name({b, 1}), undefined = Pilot(N0, {whereis, {b, 1}}), ok",
            "yes = Pilot(N0, {register, e}), global:send(e, stop), \
               Until(fun() -> {undefined, undefined} =:= {global:whereis_name(e), Pilot(N0, {whereis, e})} end)",
            "P = spawn(fun() -> yes = global:register_name(f, self()), receive stop -> ok end end), \
               Until(fun() -> P =:= Pilot(N0, {whereis, f}) end), exit(P, kill), \
               Until(fun() -> undefined =:= Pilot(N0, {whereis, f}) end)",
            "yes = global:register_name(g, self(), fun global:notify_all_name/3), \
               yes = global:re_register_name(g, self(), fun(_, _, _) -> none end), \
               true = (self() =:= Pilot(N0, {whereis, g})), ok",
        ],
    );
}

#[test]
fn locks_are_the_same_on_both_sides() {
    check(
        &["beam@127.0.3.2"],
        &["salp@127.0.3.3"],
        &[
            "pong = net_adm:ping(N0), Agree([Me, N0])",
            "true = global:set_lock({r, a}), false = global:set_lock({r, b}, [Me, N0], 0), ok",
            "false = Pilot(N0, {lock, r}), true = global:del_lock({r, a}), true = Pilot(N0, {lock, r}), ok",
            "false = global:set_lock({r, a}, [N0], 0), false = global:set_lock({r, a}, [Me], 0), ok",
            "true = Pilot(N0, {unlock, r}), true = global:set_lock({r, a}, [Me, N0], 0), global:del_lock({r, a}), ok",
            "done = global:trans({t, self()}, fun() -> false = Pilot(N0, {lock, t}), done end), ok",
            "P = spawn(fun() -> true = global:set_lock({k, self()}), receive x -> ok end end), \
               Until(fun() -> false =:= Pilot(N0, {lock, k}) end), exit(P, kill), \
               Until(fun() -> true =:= Pilot(N0, {lock, k}) end)",
        ],
    );
}

/// Registers a name on both sides while they are separated, and connects them again.
fn check_clash(beam: &str, node: &str) {
    check(
        &[beam],
        &[node],
        &[
            "pong = net_adm:ping(N0), Agree([Me, N0])",
            "ok = Pilot(N0, {later, x}), true = erlang:disconnect_node(N0), Until(fun() -> [] =:= nodes() end)",
            "register(holder, spawn(fun() -> receive stop -> ok end end)), \
               yes = global:register_name(x, whereis(holder)), timer:sleep(1000), ok",
            "pong = net_adm:ping(N0), Agree([Me, N0]), yes = Pilot(N0, {later_answer, x}), ok",
            "Until(fun() -> X = global:whereis_name(x), X =:= Pilot(N0, {whereis, x}) andalso \
               node(X) =:= min(Me, N0) end)",
            "Until(fun() -> is_pid(whereis(holder)) =:= (Me < N0) end)",
            "Until(fun() -> Pilot(N0, {later_lives, x}) =:= (N0 < Me) end)",
            "Until(fun() -> {true, true} =:= {global:set_lock({global, a}, [Me, N0], 0), \
               global:del_lock({global, a}, [Me, N0])} end)",
        ],
    );
}

#[test]
fn of_two_holders_the_one_on_the_smaller_node_stays() {
    check_clash("a_beam@127.0.4.2", "salp@127.0.4.3");
}

#[test]
fn of_two_holders_ours_stays_if_our_name_is_smaller() {
    check_clash("the_beam@127.0.5.2", "salp@127.0.5.3");
}

#[test]
fn two_beams_and_two_nodes_join_and_join_again_after_a_partition() {
    check(
        &["beam@127.0.6.2", "beam@127.0.6.5"],
        &["salp@127.0.6.3", "salp@127.0.6.4"],
        &[
            "All = [Me, N0, N1, B1], [Until(fun() -> pong =:= net_adm:ping(X) end) || X <- All], Agree(All)",
            "ok = global:sync(), ok = rpc:call(B1, global, sync, []), ok",
            "yes = Pilot(N0, {register, n0}), yes = Pilot(N1, {register, n1}), yes = global:register_name(b, self()), \
               yes = rpc:call(B1, global, register_name, [b1, rpc:call(B1, erlang, whereis, [init])]), ok",
            "Find = fun(X, Name) when X =:= N0; X =:= N1 -> Pilot(X, {whereis, Name}); \
                (X, Name) -> rpc:call(X, global, whereis_name, [Name]) end, \
               put(held, fun({Name, At}) -> \
                [Pid] = lists:usort([Find(X, Name) || X <- [Me, N0, N1, B1]]), At =:= node(Pid) end), \
               Until(fun() -> lists:all(get(held), [{n0, N0}, {n1, N1}, {b, Me}, {b1, B1}]) end)",
            "net_kernel:monitor_nodes(true), catch gen_server:call({pilot, N0}, {disconnect, N1}, 1000), \
               receive {nodedown, _} -> ok after 5000 -> no_cut end",
            "timer:sleep(1000), Agree([Me, N0, N1, B1])",
            "Until(fun() -> [[b, b1, n0, n1]] =:= lists:usort([Pilot(X, {names, all}) || X <- [N0, N1]] ++ \
               [lists:sort(rpc:call(X, global, registered_names, [])) || X <- [Me, B1]]) end)",
            "Until(fun() -> lists:all(get(held), [{n0, N0}, {n1, N1}, {b, Me}, {b1, B1}]) end)",
            "Until(fun() -> {true, true} =:= {global:set_lock({global, a}, [Me, N0, N1, B1], 0), \
               global:del_lock({global, a}, [Me, N0, N1, B1])} end)",
        ],
    );
}

/// One connection is closed. The BEAM reports that overlapping partitions are prevented, and soon everything is as
/// before.
#[test]
fn a_closed_connection_is_reported_and_soon_made_again() {
    let printed = check(
        &["beam@127.0.7.32", "beam@127.0.7.34"],
        &["salp@127.0.7.33"],
        &[
            "[Until(fun() -> pong =:= net_adm:ping(X) end) || X <- [N0, B1]], Agree([Me, N0, B1])",
            "yes = Pilot(N0, {register, n0}), yes = global:register_name(b, self()), ok",
            "true = erlang:disconnect_node(N0), timer:sleep(300), {T, ok} = timer:tc(fun() -> \
                Agree([Me, N0, B1]), \
                Until(fun() -> [[b, n0]] =:= lists:usort([Pilot(N0, {names, all}) | \
                 [lists:sort(rpc:call(X, global, registered_names, [])) || X <- [Me, B1]]]) end) end), \
               true = T < 10000000, ok",
        ],
    );
    // Which node warns depends on which one is notified first.
    let is_told = |printed: &String| printed.contains("overlapping partitions");
    assert!(printed.is_empty() || printed.iter().any(is_told), "{printed:?}");
}

/// The method of a name may be a fun of a BEAM. No other node can call it, and it is passed on unchanged.
#[test]
fn pitfall_12_local_funs_are_passed_on_unchanged() {
    check(
        &["beam@127.0.7.12", "late@127.0.7.14"],
        &["salp@127.0.7.13"],
        &[
            "pong = net_adm:ping(N0), Agree([Me, N0])",
            "X = 7, F = fun(_, P, _) -> {P, X} end, yes = global:register_name(x, self(), F), put(method, F), \
               Until(fun() -> self() =:= Pilot(N0, {whereis, x}) end)",
            // The other BEAM joins through our node, which sends it the name. The first BEAM connects to it only after
            // that.
            "[N0] = nodes(), Until(fun() -> ok = Pilot(N0, {dial, B1}), lists:member(B1, nodes()) end)",
            "F = get(method), Until(fun() -> [x] =:= rpc:call(B1, global, registered_names, []) end), \
               [Entry] = rpc:call(B1, ets, lookup, [global_names, x]), {x, P, F} = list_to_tuple(lists:sublist(tuple_to_list(Entry), 3)), \
               P = self(), ok",
        ],
    );
}

/// Services that all nodes need cannot be ended by a peer.
#[test]
fn a_beam_cannot_end_services() {
    check(
        &["beam@127.0.7.22"],
        &["salp@127.0.7.23"],
        &[
            "pong = net_adm:ping(N0), Agree([Me, N0])",
            "Services = [global_name_server, net_kernel, rex, auth, user, logger_proxy], \
               Pids = [rpc:call(N0, erlang, whereis, [S]) || S <- Services], true = lists:all(fun erlang:is_pid/1, Pids), \
               [exit(P, R) || P <- Pids, R <- [kill, shutdown, normal, boom]], \
               [begin link(P), Q = spawn(fun() -> link(P), exit(boom) end), M = monitor(process, Q), \
                  receive {'DOWN', M, _, _, _} -> ok end, unlink(P) end || P <- Pids], \
               [catch proc_lib:stop(P, kill, 200) || P <- Pids], \
               Pids = [rpc:call(N0, erlang, whereis, [S]) || S <- Services], ok",
            "yes = Pilot(N0, {register, r}), N0 = node(global:whereis_name(r)), pong = net_adm:ping(N0), ok",
            "true = global:set_lock({r, a}), true = global:del_lock({r, a}), ok = global:sync(), ok",
            "receive X -> {surplus, X} after 0 -> ok end",
        ],
    );
}

/// In each round, both nodes change names and wait for locks, and a connection of one of them ends. After the last
/// round a BEAM may still end a connection, to prevent overlapping partitions; so the last change is made until it
/// succeeds.
#[test]
fn requests_end_whichever_connection_is_closed() {
    check(
        &["beam@127.0.7.2"],
        &["salp@127.0.7.3", "salp@127.0.7.4"],
        &[
            "[Until(fun() -> pong =:= net_adm:ping(X) end) || X <- [N0, N1]], Agree([Me, N0, N1])",
            "One = fun(List) -> lists:nth(rand:uniform(length(List)), List) end, \
               Requests = fun() -> [{register, {n, One([1, 2, 3])}}, {unregister, {n, One([1, 2, 3])}}, \
                 {await, {r, One([1, 2])}}, {unlock, {r, One([1, 2])}}] end, \
               [begin \
                 [spawn(fun() -> catch Pilot(X, Request) end) || X <- [N0, N1], Request <- Requests()], \
                 spawn(fun() -> catch global:register_name({n, One([1, 2, 3])}, spawn(fun() -> timer:sleep(500) end)) end), \
                 timer:sleep(rand:uniform(100)), \
                 case One([beam, salp, nobody]) of \
                   beam -> erlang:disconnect_node(One([N0, N1])); \
                   salp -> catch gen_server:call({pilot, N0}, {disconnect, N1}, 1000); \
                   nobody -> ok \
                 end, \
                 timer:sleep(rand:uniform(300)), [net_adm:ping(X) || X <- [N0, N1]] \
               end || _ <- lists:seq(1, 30)], ok",
            "Agree([Me, N0, N1])",
            "Left = fun() -> {ets:tab2list(global_locks), [Pilot(X, {tables, all}) || X <- [N0, N1]]} end, \
               try Until(fun() -> [Pilot(X, {unlock, {r, I}}) || X <- [N0, N1], I <- [1, 2]], \
                 {[], [{0, 0}, {0, 0}]} =:= Left() end) \
               catch exit:{timeout, _} -> exit({left, Left()}) end",
            "Until(fun() -> 1 =:= length(lists:usort([lists:sort(global:registered_names()) | \
               [Pilot(X, {names, all}) || X <- [N0, N1]]])) end)",
            "[[_] = lists:usort([global:whereis_name(Name) | [Pilot(X, {whereis, Name}) || X <- [N0, N1]]]) || \
               Name <- global:registered_names()], ok",
            "Until(fun() -> Pilot(N1, {unregister, last}), \
               {yes, yes} =:= {Pilot(N0, {register, last}), Pilot(N1, {unregister, last})} end)",
        ],
    );
}
