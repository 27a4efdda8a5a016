//! The BEAM front end: terms as keys and values, seen from all front ends, and facades.
#![allow(clippy::unwrap_used, reason = "tests")]

mod net;

use net::Net;
use node::Atom;
use store::{
    facade::{Face, Style},
    store::NAME,
};
use wire::etf::Term;

const SERVER: &str = "Elixir.Apothik.Cache";
const MESSAGES: &str = "server";

fn tuple<const N: usize>(parts: [Term; N]) -> Term {
    Term::tuple(parts)
}

fn get(key: Term) -> Term {
    tuple([Term::atom("get"), key])
}

fn put(key: Term, value: Term) -> Term {
    tuple([Term::atom("put"), key, value])
}

fn ok(value: Term) -> Term {
    tuple([Term::atom("ok"), value])
}

/// Three nodes, each with a facade of both styles.
fn cluster() -> Net {
    let mut net = Net::new();
    net.faces = vec![
        Face {
            name: Atom::new(SERVER),
            style: Style::Server,
            missing: Atom::new("nil"),
        },
        Face {
            name: Atom::new(MESSAGES),
            style: Style::Messages,
            missing: Atom::new("none"),
        },
    ];
    for name in ["a", "b", "c"] {
        net.start(name, if name == "a" { &[] } else { &["a"] });
    }
    net.heal();
    net
}

#[test]
fn the_empty_binary_is_the_empty_key() {
    let mut net = cluster();
    let empty = Term::binary("");
    assert_eq!(
        net.call("a", NAME, put(empty.clone(), Term::binary("v"))),
        Term::atom("ok")
    );
    assert_eq!(net.call("b", NAME, get(empty.clone())), ok(Term::binary("v")));
    assert_eq!(net.ask("c", "GET "), "v");
    assert_eq!(
        net.call("c", NAME, tuple([Term::atom("delete"), empty])),
        Term::atom("ok")
    );
    assert_eq!(net.ask("a", "EXISTS "), "0");
}

#[test]
fn a_compare_and_set_is_done_at_the_version_only() {
    let mut net = cluster();
    let version = |key: &str| tuple([Term::atom("version"), Term::binary(key)]);
    let cas = |key: &str, version: Term, value: i64| {
        Term::tuple([Term::atom("cas"), Term::binary(key), version, Term::Int(value)])
    };
    let changed = tuple([Term::atom("error"), Term::atom("changed")]);
    assert_eq!(net.call("a", NAME, version("k")), Term::atom("error"));
    let first = net.call("a", NAME, cas("k", Term::atom("none"), 1));
    assert_eq!(net.call("b", NAME, version("k")), first);
    assert_eq!(net.call("b", NAME, cas("k", Term::atom("none"), 2)), changed);
    let first = first.as_tuple().unwrap()[1].clone();
    let second = net.call("c", NAME, cas("k", first.clone(), 2));
    assert!(second.as_tuple().unwrap()[0].is_atom("ok"), "{second}");
    for name in ["a", "b", "c"] {
        assert_eq!(net.call(name, NAME, cas("k", first.clone(), 3)), changed, "{name}");
        assert_eq!(net.call(name, NAME, get(Term::binary("k"))), ok(Term::Int(2)), "{name}");
    }
    let badarg = tuple([Term::atom("error"), Term::atom("badarg")]);
    assert_eq!(net.call("a", NAME, cas("k", Term::Int(1), 3)), badarg);
    let options = Term::list(vec![tuple([Term::atom("ttl"), Term::Int(60_000)])]);
    let request = |version: Term| {
        Term::tuple([
            Term::atom("cas"),
            Term::binary("t"),
            version,
            Term::Int(1),
            options.clone(),
        ])
    };
    assert!(net.call("a", NAME, request(Term::atom("none"))).as_tuple().is_some());
    assert_ne!(net.ask("b", "PTTL t"), "-1");
}

#[test]
fn a_term_reads_back_as_it_was_written() {
    let mut net = cluster();
    for (value, shown) in [
        (Term::Int(12), "12"),
        (Term::Int(i64::MIN), "-9223372036854775808"),
        (Term::integer(false, &[255; 9]), "4722366482869645213695"),
        (Term::Float(-2.5), "-2.5"),
        (Term::atom("a"), "a"),
        (Term::binary("text"), "text"),
        (Term::binary("12"), "12"),
        (Term::chars("text"), "\"text\""),
        (tuple([Term::atom("a"), Term::Int(1)]), "{a,1}"),
        (Term::NIL, "[]"),
    ] {
        assert_eq!(
            net.call("a", NAME, put(Term::binary("k"), value.clone())),
            Term::atom("ok")
        );
        assert_eq!(net.call("b", NAME, get(Term::binary("k"))), ok(value.clone()));
        assert_eq!(net.call("c", SERVER, get(Term::binary("k"))), value);
        assert_eq!(net.ask("c", "GET k"), shown);
    }
}

#[test]
fn a_value_from_redis_is_a_binary_until_it_is_counted() {
    let mut net = cluster();
    assert_eq!(net.ask("a", "SET n 12"), "OK");
    assert_eq!(net.call("b", NAME, get(Term::binary("n"))), ok(Term::binary("12")));
    assert_eq!(net.ask("a", "INCR n"), "13");
    assert_eq!(net.call("b", NAME, get(Term::binary("n"))), ok(Term::Int(13)));
}

#[test]
fn every_front_end_can_count_an_integer_of_a_beam() {
    let mut net = cluster();
    let key = || Term::binary("n");
    let incr = |by| tuple([Term::atom("incr"), key(), Term::Int(by)]);
    assert_eq!(net.call("a", NAME, put(key(), Term::Int(12))), Term::atom("ok"));
    assert_eq!(net.ask("b", "INCRBY n 30"), "42");
    assert_eq!(net.call("c", NAME, incr(-2)), ok(Term::Int(40)));
    assert_eq!(net.call("c", SERVER, incr(1)), Term::Int(41));
    assert_eq!(net.call("a", NAME, get(key())), ok(Term::Int(41)));
    assert_eq!(net.ask("a", "RENAME n {n}2"), "OK");
    assert_eq!(net.call("b", NAME, get(Term::binary("{n}2"))), ok(Term::Int(41)));
    // A term that is not an integer cannot be counted, and stays unchanged.
    assert_eq!(net.call("a", NAME, put(key(), Term::Float(1.0))), Term::atom("ok"));
    assert_eq!(net.ask("b", "INCR n"), "!bad_request");
    assert_eq!(net.call("a", NAME, get(key())), ok(Term::Float(1.0)));
}

#[test]
fn different_terms_are_different_keys() {
    let mut net = cluster();
    let keys = [
        Term::Int(1),
        Term::Float(1.0),
        Term::atom("1"),
        Term::binary("1"),
        Term::chars("1"),
        Term::map([(Term::Int(1), Term::Int(2)), (Term::Float(1.0), Term::NIL)]),
    ];
    for (number, key) in keys.iter().enumerate() {
        let value = Term::from(number as u64);
        assert_eq!(net.call("a", NAME, put(key.clone(), value)), Term::atom("ok"));
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(net.call("b", NAME, get(key.clone())), ok(Term::from(number as u64)));
    }
    assert_eq!(net.ask("c", "GET 1"), "3");
    assert_eq!(net.ask("c", "DBSIZE"), "6");
    // The other front ends see its external format as the key.
    let bytes = store::term::key_of(&keys[0]);
    assert_eq!(store::term::of_key(&bytes), Some(Term::Int(1)));
    assert_eq!(bytes, b"\x83a\x01");
}

#[test]
fn a_process_reads_what_it_wrote_without_waiting() {
    let mut net = cluster();
    for process in [NAME, SERVER] {
        for number in 0..100_u64 {
            let key = || tuple([Term::binary(process), Term::from(number)]);
            let cast = tuple([Term::atom("$gen_cast"), put(key(), Term::from(number))]);
            net.send("b", process, cast);
            let read = net.call("b", process, get(key()));
            let value = Term::from(number);
            assert_eq!(read, if process == NAME { ok(value) } else { value });
        }
    }
}

#[test]
fn ttl_reports_the_time_that_a_key_has_left() {
    let mut net = cluster();
    let ttl = || tuple([Term::atom("ttl"), Term::binary("k")]);
    assert_eq!(net.call("a", NAME, ttl()), Term::atom("error"));
    assert_eq!(net.call("a", NAME, put(Term::binary("k"), Term::NIL)), Term::atom("ok"));
    assert_eq!(net.call("b", NAME, ttl()), ok(Term::atom("infinity")));
    assert_eq!(net.ask("a", "PEXPIRE k 60000"), "1");
    let left = net.call("b", NAME, ttl());
    let left = left.as_tuple().and_then(|parts| parts[1].as_int());
    assert!(left.is_some_and(|ms| (59_900..=60_000).contains(&ms)), "{left:?}");
}

#[test]
fn a_put_for_an_infinite_time_never_expires() {
    let mut net = cluster();
    let put_for = |time: Term| {
        let options = Term::list([tuple([Term::atom("ttl"), time])]);
        tuple([Term::atom("put"), Term::binary("k"), Term::NIL, options])
    };
    let ttl = || tuple([Term::atom("ttl"), Term::binary("k")]);
    assert_eq!(net.call("a", NAME, put_for(Term::Int(60_000))), Term::atom("ok"));
    assert_eq!(net.call("a", NAME, put_for(Term::atom("infinity"))), Term::atom("ok"));
    assert_eq!(net.call("b", NAME, ttl()), ok(Term::atom("infinity")));
    let refused = net.call("a", NAME, put_for(Term::atom("later")));
    assert_eq!(refused, tuple([Term::atom("error"), Term::atom("badarg")]));
}

#[test]
fn a_server_answers_bare() {
    let mut net = cluster();
    let key = || Term::binary("k");
    assert_eq!(net.call("a", SERVER, get(key())), Term::atom("nil"));
    assert_eq!(net.call("a", SERVER, put(key(), Term::Int(12))), Term::atom("ok"));
    for name in ["a", "b", "c"] {
        assert_eq!(net.call(name, SERVER, get(key())), Term::Int(12));
        assert_eq!(net.call(name, SERVER, Term::atom("stats")), Term::Int(1));
    }
    // A value that looks like an error is returned as a value.
    let error = tuple([Term::atom("error"), Term::atom("no_nodes")]);
    assert_eq!(net.call("a", SERVER, put(key(), error.clone())), Term::atom("ok"));
    assert_eq!(net.call("b", SERVER, get(key())), error);
    let delete = tuple([Term::atom("delete"), key()]);
    assert_eq!(net.call("b", SERVER, delete), Term::atom("ok"));
    assert_eq!(net.call("c", SERVER, get(key())), Term::atom("nil"));
    let unknown = net.call("c", SERVER, Term::atom("unknown"));
    assert_eq!(unknown, tuple([Term::atom("error"), Term::atom("badarg")]));
}

#[test]
fn the_functions_of_a_server_facade_make_the_same_requests() {
    let mut net = cluster();
    let mut call = |name: &str, function: &'static str, args: Vec<Term>| {
        let group_leader = Term::Pid(net.client(name));
        let call = [
            Term::atom("call"),
            Term::Atom(Atom::new(SERVER)),
            Term::atom(function),
            Term::List(args),
            group_leader,
        ];
        net.call(name, "rex", Term::tuple(call))
    };
    let key = || Term::binary("k");
    assert_eq!(call("a", "put", vec![key(), Term::Int(12)]), Term::atom("ok"));
    assert_eq!(call("b", "get", vec![key()]), Term::Int(12));
    assert_eq!(call("c", "incr", vec![key(), Term::Int(3)]), Term::Int(15));
    assert_eq!(call("c", "stats", vec![]), Term::Int(1));
    assert_eq!(call("b", "delete", vec![key()]), Term::atom("ok"));
    assert_eq!(call("a", "get", vec![key()]), Term::atom("nil"));
    let options = Term::list([tuple([Term::atom("ttl"), Term::Int(50)])]);
    assert_eq!(call("a", "put", vec![key(), Term::Int(1), options]), Term::atom("ok"));
    assert_eq!(call("a", "get", vec![key()]), Term::Int(1));
    let unknown = call("a", "flush", vec![]);
    assert_eq!(unknown.as_tuple().map(|parts| parts[0].is_atom("badrpc")), Some(true));
}

#[test]
fn a_plain_message_is_answered_to_the_pid_that_it_names() {
    let mut net = cluster();
    let read = |net: &mut Net, name: &str, key: &'static str| {
        let reader = Term::Pid(net.client(name));
        net.send(name, MESSAGES, tuple([Term::atom("get"), Term::atom(key), reader]));
        net.receive(name)
    };
    let told = |value| tuple([Term::atom("get"), value]);
    assert_eq!(read(&mut net, "a", "moo"), told(Term::atom("none")));
    let set = tuple([Term::atom("set"), Term::atom("moo"), Term::Float(-2.5)]);
    net.send("a", MESSAGES, set);
    assert_eq!(read(&mut net, "a", "moo"), told(Term::Float(-2.5)));
    net.run_ms(20);
    for name in ["b", "c"] {
        assert_eq!(read(&mut net, name, "moo"), told(Term::Float(-2.5)));
    }
    net.send("c", MESSAGES, tuple([Term::atom("delete"), Term::atom("moo")]));
    assert_eq!(read(&mut net, "c", "moo"), told(Term::atom("none")));
    // Unknown messages are dropped and store nothing.
    for junk in [
        Term::atom("junk"),
        tuple([]),
        tuple([Term::atom("get"), Term::Int(1), Term::Int(2)]),
        tuple([Term::atom("add_node"), Term::atom("no name")]),
    ] {
        net.send("a", MESSAGES, junk);
    }
    assert_eq!(net.ask("a", "DBSIZE"), "0");
}

#[test]
fn a_node_is_added_and_stopped_by_message() {
    let mut net = cluster();
    net.start("d", &[]);
    net.send("d", MESSAGES, tuple([Term::atom("add_node"), Term::atom("a@net")]));
    net.heal();
    assert_eq!(net.status("d").nodes.len(), 4);
    assert_eq!(net.call("a", SERVER, put(Term::Int(1), Term::Int(2))), Term::atom("ok"));
    net.send("a", MESSAGES, Term::atom("stop"));
    net.run_ms(3_000);
    assert!(net.notes("a").contains(&"left"));
    net.kill("a");
    net.heal();
    assert_eq!(net.call("d", SERVER, get(Term::Int(1))), Term::Int(2));
}

#[test]
fn without_a_ready_replica_the_answer_is_no_nodes() {
    let mut net = Net::new();
    net.faces = vec![
        Face {
            name: Atom::new(SERVER),
            style: Style::Server,
            missing: Atom::new("nil"),
        },
        Face {
            name: Atom::new(MESSAGES),
            style: Style::Messages,
            missing: Atom::new("none"),
        },
    ];
    // The node waits for the nodes it must join, and serves nothing before that.
    net.start("b", &["a"]);
    let no_nodes = || Term::atom("no_nodes");
    assert_eq!(
        net.call("b", SERVER, get(Term::Int(1))),
        tuple([Term::atom("error"), no_nodes()])
    );
    let reader = Term::Pid(net.client("b"));
    net.send("b", MESSAGES, tuple([Term::atom("get"), Term::Int(1), reader]));
    assert_eq!(net.receive("b"), tuple([Term::atom("get"), no_nodes()]));
}

/// More casts than may be under way while no answer comes: time does not advance meanwhile.
#[test]
fn a_flood_of_casts_is_bounded() {
    let mut net = cluster();
    let cast = |key: u64| tuple([Term::atom("$gen_cast"), put(Term::from(key), Term::Int(1))]);
    for key in 0..65_536 {
        net.send("a", NAME, cast(key));
    }
    let tag = net.begin_call("a", NAME, get(Term::Int(1)));
    let busy = tuple([Term::atom("error"), Term::atom("busy")]);
    assert_eq!(net.receive("a"), tuple([tag, busy]));
    for key in 65_536..65_546 {
        net.send("a", NAME, cast(key));
    }
    net.run_ms(100);
    assert_eq!(net.counter("a", "casts_dropped"), 10);
    assert_eq!(net.call("a", NAME, get(Term::Int(65_535))), ok(Term::Int(1)));
    assert_eq!(net.call("a", NAME, get(Term::Int(65_536))), Term::atom("error"));
}
