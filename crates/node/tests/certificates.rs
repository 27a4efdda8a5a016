//! Peers on secured connections: the certificate must be for the host of the claimed name.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use bytes::Bytes;
use node::{
    Atom, Certificate, Config, ConnectionId, Cookie, Covers, Effect, Event, Input, Limits, Node, Payload, Time,
};
use wire::dist::{
    Flags,
    handshake::{Initiator, Lengths, Local, Step},
};

#[derive(Clone, Debug)]
struct Nothing;
impl Payload for Nothing {}

/// A certificate for one host.
#[derive(Debug)]
struct Only(&'static str);
impl Covers for Only {
    fn covers(&self, host: &str) -> bool {
        host == self.0
    }
}

fn certificate(host: &'static str) -> Option<Certificate> {
    Some(Certificate::new(Only(host)))
}

const NOW: Time = Time {
    monotonic_us: 1_000_000,
    wall_ms: 0,
};

/// The node `a@home`, and its outputs.
struct Stage {
    node: Node<Nothing>,
    sent: Vec<(ConnectionId, Bytes)>,
    closed: Vec<ConnectionId>,
    events: Vec<Event>,
    dialled: Option<ConnectionId>,
}

impl Stage {
    fn new(join: &[&str]) -> Self {
        let config = Config {
            name: Atom::new("a@home"),
            creation: 4,
            cookie: Cookie::new(b"oyster"),
            hidden: true,
            tick_ms: 8000,
            birth: Bytes::new(),
            join: join.iter().map(|name| Atom::new(name)).collect(),
            dist_port: None,
            limits: Limits::default(),
        };
        let mut stage = Self {
            node: Node::new(config, 1),
            sent: vec![],
            closed: vec![],
            events: vec![],
            dialled: None,
        };
        stage.input(Input::Start);
        stage
    }

    fn input(&mut self, input: Input<Nothing>) {
        let mut effects = Vec::new();
        self.node.handle(NOW, input, &mut effects);
        self.node.handle(NOW, Input::Flush, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { connection, bytes } => self.sent.push((connection, bytes)),
                Effect::Close { connection } => self.closed.push(connection),
                Effect::Event(event) => self.events.push(event),
                Effect::Dial { connection, .. } => self.dialled = Some(connection),
                _ => {}
            }
        }
    }

    /// Whether a peer that gives the name `name` and has `certificate` gets through on a new connection. If a
    /// connection of that name exists, the peer insists.
    fn is_called_by(&mut self, number: u64, name: &str, certificate: Option<Certificate>, lengths: Lengths) -> bool {
        let connection = ConnectionId(number);
        let local = Local {
            name: Atom::new(name),
            creation: 9,
            flags: Flags::HIDDEN,
        };
        let mut out = Vec::new();
        let cookie = Cookie::new(b"oyster");
        let mut peer = Initiator::new(local, Atom::new("a@home"), cookie, lengths, 77, &mut out);
        self.input(Input::Accepted {
            connection,
            certificate,
        });
        while !out.is_empty() {
            let bytes = Bytes::from(std::mem::take(&mut out));
            self.input(Input::Received { connection, bytes });
            for (_, bytes) in std::mem::take(&mut self.sent) {
                match peer.receive(&bytes, &[], &mut out) {
                    Ok(Step::Established(_)) => return true,
                    Ok(Step::Alive) => peer.answer_alive(true, &mut out),
                    Ok(Step::More | Step::Name(_) | Step::Insists) => {}
                    Err(_) => return false,
                }
            }
        }
        false
    }

    fn failure(&self) -> Option<&str> {
        self.events.iter().find_map(|event| match event {
            Event::HandshakeFailed { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    fn is_down(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::NodeDown { .. }))
    }
}

#[test]
fn a_peer_whose_certificate_covers_its_host_is_accepted() {
    let mut stage = Stage::new(&[]);
    assert!(stage.is_called_by(1, "b@there", certificate("there"), Lengths::Tls));
    assert_eq!(stage.failure(), None);
}

#[test]
fn a_peer_that_claims_the_name_of_another_host_is_refused() {
    let mut stage = Stage::new(&[]);
    assert!(!stage.is_called_by(1, "b@there", certificate("elsewhere"), Lengths::Tls));
    assert_eq!(stage.failure(), Some("its certificate is not for the host of its name"));
    assert_eq!(stage.closed, [ConnectionId(1)]);
}

#[test]
fn only_a_certified_peer_replaces_a_connection() {
    let mut stage = Stage::new(&[]);
    assert!(stage.is_called_by(1, "b@there", certificate("there"), Lengths::Tls));
    assert!(!stage.is_called_by(3, "b@there", certificate("elsewhere"), Lengths::Tls));
    assert!(!stage.is_down(), "the cookie alone replaces no connection");
    assert!(stage.is_called_by(5, "b@there", certificate("there"), Lengths::Tls));
    assert!(stage.is_down(), "the peer itself replaces its connection");
}

#[test]
fn a_dialled_peer_must_be_certified_before_anything_is_sent() {
    for (host, is_right) in [("there", true), ("elsewhere", false)] {
        let mut stage = Stage::new(&["b@there"]);
        let connection = stage.dialled.unwrap();
        stage.input(Input::Opened {
            connection,
            certificate: certificate(host),
        });
        assert_eq!(stage.sent.len(), usize::from(is_right));
        assert_eq!(stage.closed.is_empty(), is_right);
        assert_eq!(stage.failure().is_none(), is_right);
    }
}

/// A peer without a name sends only its host, and gets a name on that host.
#[test]
fn a_peer_without_a_name_gets_one_only_on_the_host_of_its_certificate() {
    for (host, is_right) in [("there", true), ("elsewhere", false)] {
        let mut stage = Stage::new(&[]);
        let connection = ConnectionId(1);
        stage.input(Input::Accepted {
            connection,
            certificate: certificate(host),
        });
        let mut name = vec![b'N'];
        name.extend((Flags::HIDDEN | Flags::NAME_ME).bits().to_be_bytes());
        name.extend(9_u32.to_be_bytes());
        name.extend([0, 5]);
        name.extend(b"there");
        let length = u32::try_from(name.len()).unwrap();
        let bytes = Bytes::from([&length.to_be_bytes()[..], &name].concat());
        stage.input(Input::Received { connection, bytes });
        let (_, status) = stage.sent.first().unwrap();
        let expected: &[u8] = if is_right { b"snamed:" } else { b"snot_allowed" };
        assert!(status[4..].starts_with(expected), "{status:?}");
        assert_eq!(stage.closed.is_empty(), is_right);
        assert_eq!(stage.failure().is_none(), is_right);
    }
}

#[test]
fn the_form_of_lengths_follows_the_connection() {
    for (certificate, lengths) in [(None, Lengths::Tls), (certificate("there"), Lengths::Plain)] {
        assert!(!Stage::new(&[]).is_called_by(1, "b@there", certificate, lengths));
    }
    assert!(Stage::new(&[]).is_called_by(1, "b@there", None, Lengths::Plain));
}

#[test]
fn a_tls_peer_at_a_node_without_tls_is_recognised() {
    for first in [b"\x16\x03\x01\x02", b"\x15\x03\x03\x00"] {
        let mut stage = Stage::new(&[]);
        let connection = ConnectionId(1);
        stage.input(Input::Accepted {
            connection,
            certificate: None,
        });
        let bytes = Bytes::from_static(first);
        stage.input(Input::Received { connection, bytes });
        assert_eq!(stage.failure(), Some("it speaks TLS, and this node does not"));
    }
}
