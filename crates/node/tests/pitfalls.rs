//! Known mistakes in other implementations of the distribution protocol, one test each. Two are in other files: 6 in
//! `unnamed.rs`, 22 in `nodes.rs`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod stage;

use node::{
    Address, Atom, Context, Limits, Message, Pid, Process, Ref, SpawnOptions, Term, gen_server,
    groups::DEFAULT_SCOPE as PG,
};
use stage::{Nothing, Stage, peer, reference};
use std::collections::BTreeMap;
use wire::{
    dist::{
        Flags,
        control::{Monitored, Signal, Target},
        frame,
    },
    etf::{decode_bare, encode_bare},
};

/// Answers calls with their request. Other messages end it.
struct Echo;
impl Process<Nothing> for Echo {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        let Message::Term { term, .. } = message else {
            return;
        };
        match gen_server::parse(term) {
            gen_server::Request::Call { from, request } => ctx.reply(&from, request),
            gen_server::Request::Cast(reason) | gen_server::Request::Info(reason) => ctx.exit(reason),
        }
    }
}

fn with_echo() -> (Stage, Pid) {
    let mut echo = None;
    let stage = Stage::visible(Limits::default(), |node| {
        echo = Some(node.spawn(Some("echo"), Box::new(Echo)));
    });
    (stage, echo.unwrap())
}

fn send(to: &Pid, message: Term) -> Signal {
    Signal::Send {
        from: Some(peer(1)),
        to: Target::Pid(to.clone()),
        priority: false,
        message,
    }
}

fn call(tag: Term) -> Term {
    let from = Term::from((peer(1), tag));
    Term::from((Term::atom("$gen_call"), from, Term::atom("hello")))
}

/// References that are also aliases have 5 words since OTP 28, others have 3. None must be truncated.
#[test]
fn pitfall_11_references_of_five_words() {
    let (mut stage, echo) = with_echo();
    let long = Ref {
        len: 5,
        words: [1, 2, 3, 4, 5],
        ..reference(1)
    };
    let mut encoded = Vec::new();
    encode_bare(&Term::Ref(long.clone()), &mut encoded);
    assert_eq!(encoded[..3], [90, 0, 5]);

    let tag = Term::improper(vec![Term::atom("alias")], Term::Ref(long.clone()));
    stage.signal(&send(&echo, call(tag.clone())));
    let answer = Signal::Send {
        from: Some(echo.clone()),
        to: Target::Alias(long.clone()),
        priority: false,
        message: Term::from((tag, Term::atom("hello"))),
    };
    assert_eq!(stage.heard, [answer]);
    stage.heard.clear();

    // A reference that differs only in its last word is a different one.
    let other = Ref {
        words: [1, 2, 3, 4, 6],
        ..long.clone()
    };
    for reference in [&long, &other] {
        let (from, to) = (peer(1), Monitored::Pid(echo.clone()));
        let reference = reference.clone();
        stage.signal(&Signal::Monitor { from, to, reference });
    }
    stage.signal(&Signal::Demonitor {
        from: peer(1),
        to: Monitored::Pid(echo.clone()),
        reference: other,
    });
    stage.signal(&send(&echo, Term::atom("done")));
    let down = Signal::Down {
        from: Monitored::Pid(echo),
        to: peer(1),
        reference: long,
        reason: Term::atom("done"),
    };
    assert_eq!(stage.heard, [down]);
}

/// A scope like that of a BEAM, which ends at any unexpected message.
#[derive(Default)]
struct Strict {
    /// Set once it knows the other scope.
    members: Option<BTreeMap<Term, Vec<Pid>>>,
}

impl Strict {
    fn hear(&mut self, message: &Term, scope: &Pid) {
        let items = message.as_tuple().expect("a tuple");
        let speaks = |peer: &Term| assert_eq!(peer.as_pid(), Some(scope));
        match items {
            [verb, peer] if verb.is_atom("discover") => speaks(peer),
            [verb, Term::Tuple(sync)] if verb.is_atom("$gen_cast") => {
                let [verb, peer, Term::List(groups)] = sync.as_slice() else {
                    panic!("unknown cast {message}");
                };
                assert!(verb.is_atom("sync"));
                speaks(peer);
                let mut members = BTreeMap::new();
                for group in groups {
                    let [group, Term::List(pids)] = group.as_tuple().unwrap() else {
                        panic!("not a group: {group}");
                    };
                    assert!(!pids.is_empty(), "a group without members");
                    let pids = pids.iter().map(|pid| pid.as_pid().unwrap().clone()).collect();
                    assert!(members.insert(group.clone(), pids).is_none(), "a group listed twice");
                }
                self.members = Some(members);
            }
            [verb, peer, group, Term::Pid(pid)] if verb.is_atom("join") => {
                speaks(peer);
                let members = self.members.as_mut().expect("a change before the sync");
                members.entry(group.clone()).or_default().push(pid.clone());
            }
            [verb, peer, Term::Pid(pid), Term::List(groups)] if verb.is_atom("leave") => {
                speaks(peer);
                let members = self.members.as_mut().expect("a change before the sync");
                for group in groups {
                    let pids = members.get_mut(group).expect("an unknown group");
                    let at = pids.iter().position(|member| member == pid).expect("not a member");
                    pids.remove(at);
                    if pids.is_empty() {
                        members.remove(group);
                    }
                }
            }
            _ => panic!("unknown message {message}"),
        }
    }
}

/// A scope of a BEAM crashes at unexpected messages. So it only gets messages it knows, and its members always match
/// ours.
#[test]
fn pitfall_15_a_scope_gets_no_unexpected_message() {
    let mut stage = Stage::visible(Limits::default(), |_| {});
    let adopted: Vec<Pid> = (0..4).map(|_| stage.node.adopt()).collect();
    let mut alive = adopted.clone();
    let scope = stage.act(&adopted[0], |ctx| ctx.start_scope(PG)).unwrap();
    let (mut them, mut strict) = (peer(5), Strict::default());
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..600 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let group = Term::from((dice >> 12) % 3);
        let pid = alive[((dice >> 20) % alive.len() as u64) as usize].clone();
        match dice % 16 {
            0 => {
                // The scope starts, or asks once more; or it answers before it asks.
                let message = if dice & 0x100 == 0 {
                    Term::from((Term::atom("discover"), them.clone()))
                } else {
                    let sync = Term::from((Term::atom("sync"), them.clone(), Term::NIL));
                    gen_server::cast_term(sync)
                };
                stage.signal(&Signal::Send {
                    from: Some(them.clone()),
                    to: Target::Name(Atom::new(PG)),
                    priority: false,
                    message,
                });
            }
            1 if round % 7 == 0 => {
                // The scope ends, and another one takes its place that is not known yet.
                them = peer(them.id + 1);
                strict = Strict::default();
            }
            1 | 2 => {
                stage.act(&pid, |ctx| ctx.exit(Term::atom("normal")));
                alive.retain(|other| *other != pid);
                alive.push(stage.node.adopt());
            }
            3..9 => assert!(stage.act(&pid, |ctx| ctx.join(PG, group, &pid))),
            _ => {
                stage.act(&pid, |ctx| ctx.leave(PG, &group, &pid));
            }
        }
        for signal in std::mem::take(&mut stage.heard) {
            match signal {
                // Messages for an earlier scope reach no process.
                Signal::Send { message, to, .. } if to == Target::Pid(them.clone()) => {
                    strict.hear(&message, &scope);
                }
                Signal::Send { .. } => {}
                Signal::Monitor { .. } | Signal::Demonitor { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        if let Some(members) = &strict.members {
            let groups = stage.act(&alive[0], |ctx| ctx.groups(PG));
            assert_eq!(members.keys().cloned().collect::<Vec<_>>(), groups);
            for (group, pids) in members {
                let mut pids = pids.clone();
                pids.sort();
                assert_eq!(stage.act(&alive[0], |ctx| ctx.members_of(PG, group)), pids);
            }
        }
    }
    assert!(strict.members.is_some());
    assert_eq!(stage.cut(), None);
}

#[test]
#[should_panic = "an unknown group"]
fn pitfall_15_the_strict_scope_is_strict() {
    let members = Some(BTreeMap::new());
    let groups = Term::list([1_u8]);
    let leave = Term::from((Term::atom("leave"), peer(1), peer(2), groups));
    Strict { members }.hear(&leave, &peer(1));
}

/// A BEAM closes the connection if it gets a signal for a pid of its earlier life. So none is sent.
#[test]
fn pitfall_16_nothing_goes_to_a_stale_pid() {
    let mut stage = Stage::new(Limits::default());
    let me = stage.node.adopt();
    let stale = Pid { creation: 8, ..peer(1) };
    let alias = Ref {
        creation: 8,
        ..reference(1)
    };
    stage.act(&me, |ctx| {
        ctx.send(&Address::Pid(stale.clone()), Term::atom("hello"));
        ctx.send(&Address::Alias(alias), Term::atom("hello"));
        ctx.link(&stale);
        ctx.unlink(&stale);
        ctx.link(&stale);
        ctx.exit_other(&stale, Term::atom("kill"));
        let monitor = ctx.monitor(&Address::Pid(stale.clone()));
        ctx.demonitor(&monitor);
        ctx.monitor(&Address::Pid(stale.clone()));
        ctx.call(&Address::Pid(stale.clone()), Term::Int(1), 1_000_000);
    });
    assert_eq!(stage.heard, []);
    // Every process that waits for it is notified.
    let told: Vec<String> = stage
        .delivered
        .iter()
        .map(|message| match message {
            Message::Exit { reason, .. } => format!("exit {reason}"),
            Message::Down { reason, .. } => format!("down {reason}"),
            Message::Reply {
                result: Err(reason), ..
            } => format!("no reply {reason}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        ["exit noconnection", "down noconnection", "no reply noconnection"]
    );

    // The old pid gets no exit signal of a linked process either. Signals to current pids arrive.
    stage.act(&me, |ctx| {
        ctx.link(&peer(1));
        ctx.exit(Term::atom("bye"));
    });
    let link = Signal::Link {
        from: me.clone(),
        to: peer(1),
    };
    let exit = Signal::Exit {
        from: me,
        to: peer(1),
        reason: Term::atom("bye"),
    };
    assert_eq!(stage.heard, [link, exit]);
    assert_eq!(stage.cut(), None);
}

/// The acknowledgement of an unlink comes before everything that the process sends or causes afterwards.
#[test]
fn pitfall_17_the_unlink_is_acknowledged_first() {
    let (mut stage, echo) = with_echo();
    stage.signal(&Signal::Link {
        from: peer(1),
        to: echo.clone(),
    });
    // All in one read: a call, the unlink, another call, and the end of the process.
    let unlink = Signal::UnlinkId {
        id: 7,
        from: peer(1),
        to: echo.clone(),
    };
    let mut bytes = Vec::new();
    for signal in [
        &send(&echo, call(Term::Int(1))),
        &unlink,
        &send(&echo, call(Term::Int(2))),
        &send(&echo, Term::atom("done")),
    ] {
        frame::write_signal(&mut bytes, Flags::VISIBLE, 1, signal);
    }
    stage.raw(&bytes);
    let ack = Signal::UnlinkIdAck {
        id: 7,
        from: echo.clone(),
        to: peer(1),
    };
    let answer = |tag| Signal::Send {
        from: Some(echo.clone()),
        to: Target::Pid(peer(1)),
        priority: false,
        message: Term::from((Term::Int(tag), Term::atom("hello"))),
    };
    assert_eq!(stage.heard, [answer(1), ack, answer(2)], "and no exit signal");
}

/// Tags may be negative integers of 60 bits, which do not fit SMALL_INTEGER. They are sent back unchanged.
#[test]
fn pitfall_19_tags_of_sixty_bits() {
    let (mut stage, echo) = with_echo();
    for tag in [
        -(1_i64 << 59),
        -(1 << 59) + 1,
        -576_460_752_303_418_111,
        -(1 << 31) - 1,
        i64::MIN,
    ] {
        let mut encoded = Vec::new();
        encode_bare(&Term::Int(tag), &mut encoded);
        assert_eq!((encoded[0], encoded[2]), (110, 1), "SMALL_BIG, negative");
        assert_eq!(decode_bare(&encoded.into(), &mut 0).unwrap(), Term::Int(tag));
        stage.signal(&send(&echo, call(Term::Int(tag))));
        let message = Term::from((Term::Int(tag), Term::atom("hello")));
        let answer = Signal::Send {
            from: Some(echo.clone()),
            to: Target::Pid(peer(1)),
            priority: false,
            message,
        };
        assert_eq!(stage.heard, [answer]);
        stage.heard.clear();
    }
}

/// A caller can invent the pid for the answer. So a peer cannot make a process of the node send to another one.
#[test]
fn an_answer_to_a_process_of_the_node_has_no_sender() {
    let (mut stage, echo) = with_echo();
    let pilot = stage.node.adopt();
    let from = Term::from((pilot, Term::atom("forget")));
    stage.signal(&send(
        &echo,
        Term::from((Term::atom("$gen_call"), from, Term::atom("b@net"))),
    ));
    let [Message::Term { from, term }] = &stage.delivered[..] else {
        panic!("{:?}", stage.delivered);
    };
    assert_eq!((from, term.to_string()), (&None, "{forget,b@net}".to_string()));
}

/// No function has this many arguments. A peer would take the spawn for a malformed one.
#[test]
fn a_spawn_with_too_many_arguments_is_not_sent() {
    let (mut stage, _) = with_echo();
    let pilot = stage.node.adopt();
    let args = vec![Term::Int(1); 256];
    stage.act(&pilot, |ctx| {
        ctx.spawn_at(&peer(1).node, "erlang", "hd", args, SpawnOptions::default());
    });
    assert!(stage.heard.is_empty(), "{:?}", stage.heard);
    let [Message::Reply { result, .. }] = &stage.delivered[..] else {
        panic!("{:?}", stage.delivered);
    };
    assert_eq!(*result, Err(Term::atom("badarg")));
}
