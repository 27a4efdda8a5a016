//! A peer that knows the cookie and nothing else of good manners: what it sends never stops the
//! node, and what breaks a rule ends its connection with an event that names the rule.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use node::{
    Address, Atom, Config, ConnectionId, Context, Cookie, Effect, Event, Input, Limits, Message, Node, Payload, Pid,
    Process, Ref, Term, Time,
};
use wire::dist::{
    Flags,
    control::{Monitored, Signal, Target},
    frame::{self, Reader, Received},
    handshake::{Initiator, Lengths, Local, Step},
};

#[derive(Debug)]
struct Nothing;
impl Payload for Nothing {}

/// Dies of any term; its name is `service`.
struct Service;
impl Process<Nothing> for Service {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        if let Message::Term { term, .. } = message {
            ctx.exit(term);
        }
    }
}

/// The node under test and the peer at the other end of its only connection.
struct Stage {
    node: Node<Nothing>,
    now_us: u64,
    reader: Reader,
    /// Signals the node sent to the peer.
    heard: Vec<Signal>,
    events: Vec<Event>,
    closed: Vec<ConnectionId>,
    service: Pid,
    monitors: u32,
}

const PEER: ConnectionId = ConnectionId(1);

impl Stage {
    fn bare(limits: Limits) -> Self {
        let config = Config {
            name: Atom::new("a@net"),
            creation: 4,
            cookie: Cookie::new(b"oyster"),
            hidden: true,
            tick_ms: 80_000,
            birth: Bytes::new(),
            join: vec![],
            dist_port: None,
            limits,
        };
        let mut node = Node::new(config, 1);
        let service = node.spawn(Some("service"), Box::new(Service));
        let mut stage = Self {
            node,
            now_us: 1_000_000,
            reader: Reader::new(Flags::HIDDEN, frame::Limits::default()),
            heard: vec![],
            events: vec![],
            closed: vec![],
            service,
            monitors: 0,
        };
        stage.input(Input::Start);
        stage
    }

    /// With a peer `b@net` of creation 9 connected.
    fn new(limits: Limits) -> Self {
        let mut stage = Self::bare(limits);
        stage.connect();
        stage.heard.clear();
        stage
    }

    fn connect(&mut self) {
        let local = Local {
            name: Atom::new("b@net"),
            creation: 9,
            flags: Flags::HIDDEN,
        };
        let mut out = Vec::new();
        let (name, cookie) = (Atom::new("a@net"), Cookie::new(b"oyster"));
        let mut handshake = Initiator::new(local, name, cookie, Lengths::Plain, 77, &mut out);
        self.input(Input::Accepted {
            connection: PEER,
            certificate: None,
        });
        loop {
            let mut answer = Vec::new();
            for bytes in self.sent(&std::mem::take(&mut out)) {
                if let Step::Established(established) = handshake.receive(&bytes, &[], &mut answer).unwrap() {
                    self.read(established.leftover);
                    return;
                }
            }
            out = answer;
        }
    }

    fn input(&mut self, input: Input<Nothing>) -> Vec<Bytes> {
        let now = Time {
            monotonic_us: self.now_us,
            wall_ms: 0,
        };
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        self.node.handle(now, Input::Flush, &mut effects);
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { connection, bytes } => {
                    let written = Input::Written {
                        connection,
                        bytes: bytes.len(),
                    };
                    self.node.handle(now, written, &mut Vec::new());
                    sent.push(bytes);
                }
                Effect::Close { connection } => self.closed.push(connection),
                Effect::Event(event) => self.events.push(event),
                _ => {}
            }
        }
        sent
    }

    fn sent(&mut self, bytes: &[u8]) -> Vec<Bytes> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.input(Input::Received {
            connection: PEER,
            bytes,
        })
    }

    fn read(&mut self, mut bytes: Bytes) {
        while let Some(received) = self.reader.next(&mut bytes).unwrap() {
            if let Received::Signal(signal) = received {
                self.heard.push(signal);
            }
        }
    }

    /// The peer sends these bytes behind the handshake.
    fn raw(&mut self, bytes: &[u8]) {
        for answer in self.sent(bytes) {
            self.read(answer);
        }
    }

    fn signal(&mut self, signal: &Signal) {
        let mut out = Vec::new();
        assert!(frame::write_signal(&mut out, Flags::HIDDEN, 1, signal).is_none());
        self.raw(&out);
    }

    fn monitor(&mut self, to: Monitored) -> Ref {
        self.monitors += 1;
        let reference = reference(self.monitors);
        self.signal(&Signal::Monitor {
            from: peer(1),
            to,
            reference: reference.clone(),
        });
        reference
    }

    /// Whether the peer was cut, and for which rule.
    fn cut(&self) -> Option<&str> {
        let reason = self.events.iter().find_map(|event| match event {
            Event::PeerCut { reason, .. } => Some(reason.as_str()),
            _ => None,
        });
        assert_eq!(reason.is_some(), self.closed.contains(&PEER));
        reason
    }

    /// The node still does its work: a monitor of the service is answered when that ends.
    #[track_caller]
    fn check_alive(&mut self) {
        if self.closed.contains(&PEER) {
            self.closed.clear();
            self.reader = Reader::new(Flags::HIDDEN, frame::Limits::default());
            self.connect();
        }
        self.heard.clear();
        let reference = self.monitor(Monitored::Pid(self.service.clone()));
        let message = Message::Term {
            from: None,
            term: Term::atom("done"),
        };
        let to = Address::Name(Atom::new("service"));
        for bytes in self.input(Input::Message { to, message }) {
            self.read(bytes);
        }
        let down = Signal::Down {
            from: Monitored::Pid(self.service.clone()),
            to: peer(1),
            reference,
            reason: Term::atom("done"),
        };
        assert_eq!(self.heard, [down]);
    }
}

fn peer(id: u32) -> Pid {
    Pid {
        node: Atom::new("b@net"),
        id,
        serial: 0,
        creation: 9,
    }
}

fn reference(word: u32) -> Ref {
    Ref {
        node: Atom::new("b@net"),
        creation: 9,
        len: 3,
        words: [word, 0, 0, 0, 0],
    }
}

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
fn a_demonitored_watcher_hears_nothing() {
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
fn who_speaks_for_others_is_cut() {
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
fn quotas_end_the_connection_and_free_what_was_held() {
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
}

#[test]
fn a_link_is_answered_and_untied_in_order() {
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
fn services_do_not_obey() {
    let mut stage = Stage::new(Limits::default());
    for reason in ["kill", "shutdown"] {
        let to = Target::Pid(stage.service.clone());
        let reason = Term::atom(reason);
        stage.signal(&Signal::Exit2 {
            from: peer(1),
            to,
            priority: false,
            reason,
        });
    }
    stage.signal(&Signal::SpawnRequest {
        request: reference(3),
        from: peer(1),
        group_leader: peer(2),
        module: Atom::new("os"),
        function: Atom::new("cmd"),
        arity: 1,
        options: vec![],
        arguments: Term::List(vec![Term::chars("id")]),
    });
    let refused = Signal::SpawnReply {
        request: reference(3),
        to: peer(1),
        link: false,
        monitor: false,
        outcome: Err(Atom::new("notsup")),
    };
    assert_eq!(stage.heard, [refused]);
    stage.check_alive();
}

#[test]
fn commands_to_the_membership_are_for_this_node_alone() {
    let mut stage = Stage::new(Limits::default());
    stage.events.clear();
    for message in [
        Term::atom("gone"),
        Term::from((Term::atom("add"), Atom::new("evil@net"))),
    ] {
        let (from, to) = (Some(peer(1)), Target::Name(Atom::new("salp_members")));
        stage.signal(&Signal::Send {
            from,
            to,
            priority: false,
            message,
        });
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
fn half_open_connections_are_bounded_in_number_and_time() {
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
    assert!(stage.sent(&[0; 4]).is_empty(), "we wrote a moment ago");
    stage.now_us += 999_000;
    assert!(stage.sent(&[0; 4]).is_empty());
    stage.now_us += 100_000;
    assert_eq!(stage.sent(&[0; 4]), [Bytes::from_static(&[0; 4])]);
    assert!(stage.sent(&[0; 4]).is_empty(), "that may have been the answer to ours");
}
