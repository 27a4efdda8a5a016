//! A peer that knows the cookie but breaks the rules: nothing it sends stops the node. A broken rule ends its
//! connection, with an event that names the rule.
#![allow(clippy::unwrap_used, reason = "tests")]

mod stage;

use bytes::Bytes;
use node::{Atom, ConnectionId, Event, Input, Limits, Message, Pid, Term, groups::DEFAULT_SCOPE as PG};
use stage::{Nothing, PEER, Service, Stage, peer, reference};
use wire::{
    dist::{
        Flags,
        control::{Monitored, Signal, Target},
        frame,
    },
    etf::encode_bare,
};

#[test]
fn every_monitor_is_answered() {
    let mut stage = Stage::new(Limits::default());
    let named = Monitored::Name(Atom::new("nobody"));
    let stale = Monitored::Pid(Pid {
        creation: 3,
        ..stage.service.clone()
    });
    let never = Monitored::Pid(Pid {
        id: 4_000_000_000,
        ..stage.service.clone()
    });
    for to in [named, stale, never] {
        let reference = stage.monitor(to.clone());
        let reason = Term::atom("noproc");
        let down = Signal::Down {
            from: to,
            to: peer(1),
            reference,
            reason,
        };
        assert_eq!(stage.heard.pop(), Some(down));
    }
    assert_eq!(stage.cut(), None);
    stage.check_alive();
}

#[test]
fn a_demonitored_watcher_gets_no_down() {
    let mut stage = Stage::new(Limits::default());
    let to = Monitored::Name(Atom::new("service"));
    let reference = stage.monitor(to.clone());
    stage.signal(&Signal::Demonitor {
        from: peer(1),
        to,
        reference,
    });
    stage.check_alive();
}

#[test]
fn a_peer_that_sends_for_others_is_closed() {
    let service = Stage::new(Limits::default()).service;
    let strangers = [
        Pid {
            node: Atom::new("c@net"),
            ..peer(1)
        },
        Pid { creation: 8, ..peer(1) },
        service.clone(),
    ];
    for from in strangers {
        let to = Target::Name(Atom::new("service"));
        let reason = Term::atom("forged");
        let reference = reference(1);
        let signals = [
            Signal::Send {
                from: Some(from.clone()),
                to: to.clone(),
                priority: false,
                message: reason.clone(),
            },
            Signal::Link {
                from: from.clone(),
                to: service.clone(),
            },
            Signal::Exit {
                from: from.clone(),
                to: service.clone(),
                reason: reason.clone(),
            },
            Signal::Exit2 {
                from: from.clone(),
                to: Target::Pid(service.clone()),
                priority: false,
                reason: reason.clone(),
            },
            Signal::Monitor {
                from: from.clone(),
                to: Monitored::Pid(service.clone()),
                reference: reference.clone(),
            },
            Signal::UnlinkId {
                id: 1,
                from: from.clone(),
                to: service.clone(),
            },
        ];
        for signal in signals {
            let mut stage = Stage::new(Limits::default());
            stage.signal(&signal);
            let reason = stage.cut().unwrap_or_else(|| panic!("{signal:?}"));
            assert!(reason.contains("not its own"), "{reason}");
            stage.check_alive();
        }
    }
}

#[test]
fn signals_behind_the_end_of_a_connection_are_ignored() {
    let limits = Limits {
        output_bytes_max: 100,
        ..Limits::default()
    };
    let mut stage = Stage::new(limits);
    let mut bytes = Vec::new();
    for number in 0..20 {
        // Each is answered.
        let signal = Signal::Monitor {
            from: peer(1),
            to: Monitored::Name(Atom::new("nobody")),
            reference: reference(number),
        };
        assert!(frame::write_signal(&mut bytes, Flags::HIDDEN, 1, &signal).is_none());
    }
    for from in [None, Some(stage.service.clone()), Some(peer(1))] {
        let signal = Signal::Send {
            from,
            to: Target::Pid(stage.service.clone()),
            priority: false,
            message: Term::atom("die"),
        };
        assert!(frame::write_signal(&mut bytes, Flags::HIDDEN, 1, &signal).is_none());
    }
    stage.raw(&bytes);
    assert_eq!(stage.cut(), Some("it does not read what it is sent"));
    assert!(stage.node.is_alive(&stage.service));
}

#[test]
fn signals_to_a_process_of_the_shell_keep_their_order() {
    let mut stage = Stage::new(Limits::default());
    let to = Target::Pid(stage.node.adopt());
    let (from, priority) = (peer(1), false);
    let exit = Signal::Exit2 {
        from: from.clone(),
        to: to.clone(),
        priority,
        reason: Term::atom("first"),
    };
    let second = Signal::Send {
        from: Some(from),
        to,
        priority,
        message: Term::atom("second"),
    };
    let mut bytes = Vec::new();
    for signal in [&exit, &second, &exit] {
        assert!(frame::write_signal(&mut bytes, Flags::HIDDEN, 1, signal).is_none());
    }
    stage.raw(&bytes);
    let is_exit = |message: &Message<Nothing>| matches!(message, Message::Exit { .. });
    let order: Vec<bool> = stage.delivered.iter().map(is_exit).collect();
    assert_eq!(order, [true, false, true]);
}

#[test]
fn exceeded_limits_end_the_connection_and_free_its_entries() {
    let limits = Limits {
        monitors_per_peer_max: 100,
        links_per_peer_max: 100,
        ..Limits::default()
    };
    let mut stage = Stage::new(limits.clone());
    for _ in 0..100 {
        stage.monitor(Monitored::Name(Atom::new("service")));
    }
    assert_eq!(stage.cut(), None);
    stage.monitor(Monitored::Name(Atom::new("service")));
    assert!(stage.cut().unwrap().contains("too many monitors"));
    stage.check_alive();

    let mut stage = Stage::new(limits);
    let link = |stage: &mut Stage, id| {
        stage.signal(&Signal::Link {
            from: peer(id),
            to: stage.service.clone(),
        });
    };
    for id in 0..100 {
        link(&mut stage, id);
    }
    assert_eq!(stage.cut(), None);
    link(&mut stage, 100);
    assert!(stage.cut().unwrap().contains("too many links"));
    let pilot = stage.node.adopt();
    let held = stage.act(&pilot, |ctx| ctx.tables().peers);
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn a_link_is_answered_and_removed_in_order() {
    let mut stage = Stage::new(Limits::default());
    let service = stage.service.clone();
    let dead = Pid {
        serial: 7,
        ..service.clone()
    };
    stage.signal(&Signal::Link {
        from: peer(1),
        to: dead.clone(),
    });
    let noproc = Signal::Exit {
        from: dead,
        to: peer(1),
        reason: Term::atom("noproc"),
    };
    assert_eq!(stage.heard, [noproc]);
    stage.heard.clear();

    stage.signal(&Signal::Link {
        from: peer(1),
        to: service.clone(),
    });
    stage.signal(&Signal::UnlinkId {
        id: 5,
        from: peer(1),
        to: service.clone(),
    });
    let ack = Signal::UnlinkIdAck {
        id: 5,
        from: service.clone(),
        to: peer(1),
    };
    assert_eq!(stage.heard, [ack]);
    let reason = Term::atom("boom");
    stage.signal(&Signal::Exit {
        from: peer(1),
        to: service,
        reason,
    });
    stage.check_alive();
}

#[test]
fn exit_signals_of_peers_do_not_end_services() {
    let mut keepers = None;
    let mut stage = Stage::visible(Limits::default(), |node| {
        keepers = Some((node.add_service("keeper", Box::new(Service)), node.adopt_service()));
    });
    let (keeper, door) = keepers.unwrap();
    for service in [&keeper, &door] {
        stage.monitor(Monitored::Pid(service.clone()));
        for reason in ["kill", "shutdown"] {
            stage.signal(&exit(service, reason));
        }
    }
    stage.signal(&Signal::Link {
        from: peer(1),
        to: keeper.clone(),
    });
    let reason = Term::atom("boom");
    stage.signal(&Signal::Exit {
        from: peer(1),
        to: keeper,
        reason,
    });
    assert_eq!(stage.heard, []);
    stage.check_alive();
}

#[test]
fn exit_signals_of_peers_end_servers_of_a_program() {
    for (reason, told) in [("kill", "killed"), ("shutdown", "shutdown")] {
        let mut stage = Stage::new(Limits::default());
        let server = stage.service.clone();
        let reference = stage.monitor(Monitored::Pid(server.clone()));
        stage.signal(&exit(&server, reason));
        let down = Signal::Down {
            from: Monitored::Pid(server),
            to: peer(1),
            reference,
            reason: Term::atom(told),
        };
        assert_eq!(stage.heard, [down]);
    }
}

fn exit(to: &Pid, reason: &'static str) -> Signal {
    Signal::Exit2 {
        from: peer(1),
        to: Target::Pid(to.clone()),
        priority: false,
        reason: Term::atom(reason),
    }
}

/// A request of `peer(1)` to run `os:cmd/1`.
fn spawn_request(options: Vec<Term>, arguments: Term) -> Signal {
    Signal::SpawnRequest {
        request: reference(3),
        from: peer(1),
        group_leader: peer(2),
        module: Atom::new("os"),
        function: Atom::new("cmd"),
        arity: 1,
        options,
        arguments,
    }
}

#[test]
fn a_function_that_was_not_exported_does_not_run() {
    let mut stage = Stage::new(Limits::default());
    let args = || Term::List(vec![Term::chars("id")]);
    stage.signal(&spawn_request(vec![Term::atom("monitor")], args()));
    let [
        Signal::SpawnReply {
            monitor: true,
            link: false,
            outcome: Ok(pid),
            ..
        },
        Signal::Down { from, reason, .. },
    ] = stage.heard.as_slice()
    else {
        panic!("first the reply, then the end: {:?}", stage.heard);
    };
    assert_eq!(*from, Monitored::Pid(pid.clone()));
    assert_eq!(reason.to_string(), "{undef,[{os,cmd,[\"id\"],[]}]}");

    stage.heard.clear();
    stage.signal(&spawn_request(vec![Term::atom("root")], args()));
    let refused = Signal::SpawnReply {
        request: reference(3),
        to: peer(1),
        link: false,
        monitor: false,
        outcome: Err(Atom::new("badopt")),
    };
    assert_eq!(stage.heard, [refused]);
    stage.check_alive();
}

#[test]
fn a_spawn_without_an_argument_list_closes_the_connection() {
    for arguments in [Term::atom("id"), Term::NIL, Term::list([1_u8, 2])] {
        let mut stage = Stage::new(Limits::default());
        stage.signal(&spawn_request(vec![], arguments));
        assert_eq!(stage.closed, [PEER]);
        assert!(stage.events.iter().any(|event| matches!(event, Event::PeerCut { .. })));
    }
}

#[test]
fn a_peer_cannot_command_the_membership() {
    let mut stage = Stage::new(Limits::default());
    stage.events.clear();
    for message in [
        Term::atom("gone"),
        Term::from((Term::atom("add"), Atom::new("evil@net"))),
    ] {
        // The commands are ignored, whether they come directly or through `rex`.
        let relayed = Term::from((Term::atom("sbcast"), Atom::new("salp_members"), message.clone()));
        let relayed = Term::from((Term::Pid(peer(1)), relayed));
        for (name, message) in [("salp_members", message), ("rex", relayed)] {
            let (from, to) = (Some(peer(1)), Target::Name(Atom::new(name)));
            stage.signal(&Signal::Send {
                from,
                to,
                priority: false,
                message,
            });
        }
    }
    let (from, to) = (
        None,
        Target::Pid(Pid {
            id: 2,
            ..stage.service.clone()
        }),
    );
    stage.signal(&Signal::Send {
        from,
        to,
        priority: false,
        message: Term::atom("gone"),
    });
    let (from, to) = (Some(peer(1)), Target::Name(Atom::new("salp_members")));
    let message = Term::binary([1, 0xff, 0xff, 0xff, 0xff]);
    stage.signal(&Signal::Send {
        from,
        to,
        priority: false,
        message,
    });
    assert!(matches!(
        stage.events.as_slice(),
        [Event::Note {
            kind: "malformed_hello",
            ..
        }]
    ));
    stage.check_alive();
}

#[test]
fn malformed_frames_end_the_connection() {
    let frames: [&[u8]; 8] = [
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 1, 0],
        &[0, 0, 0, 3, 131, 68, 9],
        &[0, 0, 0, 5, 131, 68, 0, 104, 4],
        &[0, 0, 0, 6, 131, 68, 0, 104, 1, 97],
        &[0, 0, 0, 7, 131, 68, 0, 104, 1, 97, 4],
        &[0, 0, 0, 4, 112, 131, 97, 1],
        &[0, 0, 0, 8, 131, 68, 0, 108, 0xff, 0xff, 0xff, 0xff],
    ];
    for frame in frames {
        let mut stage = Stage::new(Limits::default());
        stage.raw(frame);
        assert!(stage.cut().is_some(), "{frame:?}");
        stage.check_alive();
    }
}

#[test]
fn no_bytes_stop_the_node() {
    let mut junk = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        junk ^= junk << 13;
        junk ^= junk >> 7;
        junk ^= junk << 17;
        junk
    };
    let mut good = Vec::new();
    let (from, to) = (Some(peer(1)), Target::Name(Atom::new("service")));
    let message = Term::from((Term::atom("x"), Term::list([1_u8, 2, 3])));
    frame::write_signal(
        &mut good,
        Flags::HIDDEN,
        1,
        &Signal::Send {
            from,
            to,
            priority: false,
            message,
        },
    );
    let (from, to) = (peer(1), Monitored::Name(Atom::new("nobody")));
    frame::write_signal(
        &mut good,
        Flags::HIDDEN,
        1,
        &Signal::Monitor {
            from,
            to,
            reference: reference(1),
        },
    );
    for _ in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..1 + next() % 4 {
            let at = next() as usize % bytes.len();
            bytes[at] = next() as u8;
        }
        let mut stage = Stage::new(Limits::default());
        let cut_at = next() as usize % bytes.len();
        let (head, tail) = bytes.split_at(cut_at);
        let _ = (stage.sent(head), stage.sent(tail));

        let mut unknown = Stage::bare(Limits::default());
        unknown.input(Input::Accepted {
            connection: PEER,
            certificate: None,
        });
        let _ = unknown.sent(&bytes);
    }
}

#[test]
fn connections_without_a_handshake_are_limited_in_number_and_time() {
    let mut stage = Stage::bare(Limits::default());
    for number in 0..65 {
        stage.input(Input::Accepted {
            connection: ConnectionId(2 * number + 1),
            certificate: None,
        });
    }
    assert_eq!(stage.closed, [ConnectionId(129)]);
    stage.now_us += 7_100_000;
    stage.input(Input::Alarm);
    assert_eq!(stage.closed.len(), 65);
    stage.closed.clear();
    stage.connect();
    stage.check_alive();
}

#[test]
fn a_tick_is_answered_but_not_an_answer() {
    let mut stage = Stage::new(Limits::default());
    assert!(stage.sent(&[0; 4]).is_empty(), "the node wrote a moment ago");
    stage.now_us += 999_000;
    assert!(stage.sent(&[0; 4]).is_empty());
    stage.now_us += 100_000;
    assert_eq!(stage.sent(&[0; 4]), [Bytes::from_static(&[0; 4])]);
    assert!(stage.sent(&[0; 4]).is_empty(), "that may have been the answer to ours");
}

// Requests that are cheap for a peer but cost memory here are limited for each peer.

/// A node with a scope that knows the scope of its peer, which is process 5 there.
fn scope(limits: Limits) -> Stage {
    let mut stage = Stage::visible(limits, |node| {
        node.start_scope(PG);
    });
    say(&mut stage, Term::from((Term::atom("discover"), peer(5))));
    stage.heard.clear();
    stage
}

/// The peer's scope sends a message to the node's scope.
fn say(stage: &mut Stage, message: Term) {
    let to = Target::Name(Atom::new(PG));
    let (from, priority) = (Some(peer(5)), false);
    stage.signal(&Signal::Send {
        from,
        to,
        priority,
        message,
    });
}

fn join(group: Term, pids: Vec<Pid>) -> Term {
    Term::from((Term::atom("join"), peer(5), group, Term::list(pids)))
}

fn sync(groups: Vec<(Term, Vec<Pid>)>) -> Term {
    let groups = groups
        .into_iter()
        .map(|(group, pids)| Term::from((group, Term::list(pids))));
    let sync = Term::from((Term::atom("sync"), peer(5), Term::List(groups.collect())));
    Term::from((Term::atom("$gen_cast"), sync))
}

/// All groups that the node sees.
fn groups(stage: &mut Stage) -> Vec<Term> {
    let eye = stage.node.adopt();
    stage.act(&eye, |ctx| ctx.groups(PG))
}

#[test]
fn group_members_are_limited_for_each_peer() {
    let limits = Limits {
        joins_per_peer_max: 100,
        group_bytes_per_peer_max: 1000,
        ..Limits::default()
    };
    let some = |count: u32| (0..count).map(peer).collect::<Vec<_>>();
    let leave = |pids: u32, groups: u32| {
        let groups = Term::list((0..groups).map(Term::from));
        Term::from((Term::atom("leave"), peer(5), Term::list(some(pids)), groups))
    };
    let long = Term::binary(vec![b'x'; 600]);
    let longer = Term::binary(vec![b'y'; 600]);
    // Messages within the limits, the next message that exceeds them, and the name of the limit.
    let bombs = [
        (join(Term::Int(1), some(100)), join(Term::Int(1), some(1)), "members"),
        (join(Term::Int(1), some(1)), join(Term::Int(1), some(101)), "members"),
        (
            sync((0..100).map(|group| (Term::Int(group), some(1))).collect()),
            join(Term::Int(7), some(1)),
            "members",
        ),
        (sync(vec![]), sync(vec![(Term::Int(1), some(101))]), "members"),
        (join(Term::Int(1), some(10)), leave(11, 10), "members"),
        (join(long.clone(), some(90)), join(longer.clone(), some(1)), "names"),
        (
            join(long, some(1)),
            sync(vec![(longer, some(1)), (Term::Int(1), some(1))]),
            "",
        ),
    ];
    for (within, past, what) in bombs {
        let mut stage = scope(limits.clone());
        say(&mut stage, within);
        assert_eq!(stage.cut(), None);
        assert!(!what.is_empty() || groups(&mut stage).len() == 1);
        say(&mut stage, past);
        if what.is_empty() {
            assert_eq!(stage.cut(), None, "what was replaced does not count");
        } else {
            assert!(stage.cut().unwrap().contains(what), "{:?}", stage.cut());
            assert_eq!(groups(&mut stage), [], "what it held is gone");
        }
        stage.check_alive();
    }
}

#[test]
fn a_scope_may_only_report_its_own_processes() {
    let service = scope(Limits::default()).service;
    let stranger = Pid {
        node: Atom::new("c@net"),
        ..peer(1)
    };
    for pid in [service, stranger, Pid { creation: 8, ..peer(1) }] {
        for talk in [
            join(Term::Int(1), vec![peer(1), pid.clone()]),
            sync(vec![(Term::Int(1), vec![pid.clone()])]),
            Term::from((Term::atom("leave"), peer(5), pid.clone(), Term::list([1_u8]))),
        ] {
            let mut stage = scope(Limits::default());
            say(&mut stage, talk);
            assert!(stage.cut().unwrap().contains("not its own"));
            assert_eq!(groups(&mut stage), []);
        }
    }
    // Another process must not send in the name of the scope.
    let mut stage = scope(Limits::default());
    let to = Target::Name(Atom::new(PG));
    let (from, priority, message) = (Some(peer(6)), false, join(Term::Int(1), vec![peer(1)]));
    stage.signal(&Signal::Send {
        from,
        to,
        priority,
        message,
    });
    assert_eq!(stage.cut(), None);
    assert_eq!(groups(&mut stage), []);
}

#[test]
fn open_fragments_are_limited() {
    let mut stage = Stage::new(Limits::default());
    let to = Term::from((Term::Int(6), peer(1), Atom::new(""), Atom::new("service")));
    let fragment = |sequence: u64| {
        let mut data = vec![131, 69];
        data.extend(sequence.to_be_bytes());
        data.extend(2_u64.to_be_bytes());
        data.push(0);
        encode_bare(&to, &mut data);
        let mut frame = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(data);
        frame
    };
    for sequence in 0..256 {
        stage.raw(&fragment(sequence));
    }
    assert_eq!(stage.cut(), None);
    stage.raw(&fragment(256));
    assert!(stage.cut().is_some());
    stage.check_alive();
}

#[test]
fn new_atoms_are_not_kept() {
    let mut stage = Stage::new(Limits::default());
    for number in 0..5000 {
        stage.signal(&Signal::SpawnRequest {
            request: reference(number),
            from: peer(1),
            group_leader: peer(2),
            module: Atom::new("m"),
            function: Atom::new(&format!("f{number}")),
            arity: 0,
            options: vec![],
            arguments: Term::NIL,
        });
        let named = Monitored::Name(Atom::new(&format!("n{number}")));
        stage.monitor(named);
    }
    assert_eq!(stage.cut(), None);
    stage.check_alive();
}

/// Every length and count in a frame, set to its largest value.
#[test]
fn no_length_is_believed() {
    let mut good = Vec::new();
    let (from, to) = (Some(peer(1)), Target::Name(Atom::new("nobody")));
    let pairs = vec![(Term::atom("key"), Term::binary("value"))];
    let items = vec![
        Term::list([1_u8, 2, 3]),
        Term::list([Term::float(1.5).unwrap(), Term::NIL]),
        Term::map(pairs),
        Term::Ref(reference(1)),
        Term::integer(true, &[0xff; 20]),
    ];
    let (priority, message) = (false, Term::tuple(items));
    let signal = Signal::Send {
        from,
        to,
        priority,
        message,
    };
    frame::write_signal(&mut good, Flags::HIDDEN, 1, &signal);
    for at in 0..good.len() {
        for width in [1, 2, 4, 8] {
            let mut bytes = good.clone();
            bytes.iter_mut().skip(at).take(width).for_each(|byte| *byte = 0xff);
            let mut stage = Stage::new(Limits::default());
            let _ = stage.sent(&bytes);
            if stage.cut().is_none() {
                // It waits for the rest of a longer frame, or what changed was no length.
                let _ = stage.sent(&[0; 64]);
            }
            stage.closed.push(PEER);
            stage.events.clear();
            stage.input(Input::Closed { connection: PEER });
            stage.check_alive();
        }
    }
}

/// A recorded handshake cannot be replayed: the node sends another challenge each time.
#[test]
fn a_replayed_handshake_proves_nothing() {
    let mut stage = Stage::bare(Limits::default());
    stage.connect();
    let recorded = std::mem::take(&mut stage.said);
    assert!(recorded.len() > 1);
    let again = ConnectionId(3);
    stage.input(Input::Closed { connection: PEER });
    stage.events.clear();
    stage.input(Input::Accepted {
        connection: again,
        certificate: None,
    });
    for bytes in recorded {
        stage.input(Input::Received {
            connection: again,
            bytes,
        });
    }
    assert!(
        matches!(stage.events.as_slice(), [Event::HandshakeFailed { .. }]),
        "{:?}",
        stage.events
    );
    assert_eq!(stage.closed, [again]);
}

/// The tick time is 80 s. A BEAM with a longer one may be silent. It answers the liveness probe.
#[test]
fn a_peer_silent_for_half_of_the_tick_time_is_probed() {
    let mut stage = Stage::new(Limits::default());
    let begin_us = stage.now_us;
    let mut asked = |at_s: u64| {
        stage.heard.clear();
        stage.now_us = begin_us + at_s * 1_000_000;
        for bytes in stage.input(Input::Alarm) {
            stage.read(bytes);
        }
        assert_eq!(stage.cut(), None);
        let nobody = Monitored::Name(Atom::new("undefined"));
        let is_probe = |signal: &&Signal| matches!(signal, Signal::Monitor { to, .. } if *to == nobody);
        stage.heard.iter().filter(is_probe).count()
    };
    assert_eq!(asked(35), 0);
    assert_eq!(asked(45), 1);
}

/// Everything that a peer logs becomes a line that fits a log.
#[test]
fn log_lines_of_a_peer_are_limited() {
    let mut stage = Stage::new(Limits::default());
    let huge = || Term::list((0..5000).map(|n| Term::from(n + 1000)));
    let empty = || Term::map([]);
    let text = || Term::binary(vec![0xff; 30_000]);
    for event in [
        Term::from((Term::atom("log"), huge(), Term::atom("x"), Term::NIL, empty())),
        Term::from((Term::atom("log"), Term::atom("error"), text(), huge(), empty())),
        Term::from((Term::atom("log"), huge())),
    ] {
        stage.events.clear();
        let (from, to) = (Some(peer(1)), Target::Name(Atom::new("logger_proxy")));
        stage.signal(&Signal::Send {
            from,
            to,
            priority: false,
            message: event,
        });
        let [Event::Note { kind: "log", text }] = stage.events.as_slice() else {
            panic!("{:?}", stage.events);
        };
        assert!(text.len() < 4200, "{} bytes", text.len());
    }
    stage.check_alive();
}
