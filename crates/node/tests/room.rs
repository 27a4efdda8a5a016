//! A process that sends much waits for room on the way.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod stage;

use node::{Address, ConnectionId, Context, Effect, Input, Limits, Message, Process, Term, Time};
use stage::{Nothing, PEER, Stage, peer};
use wire::dist::control::Signal;

/// Sends a hundred messages to the peer, as long as there is room.
struct Source {
    left: usize,
}

impl Process<Nothing> for Source {
    fn handle(&mut self, ctx: &mut Context<'_, Nothing>, message: Message<Nothing>) {
        assert!(matches!(message, Message::Term { .. } | Message::Flush));
        let to = peer(1);
        while self.left > 0 {
            if !ctx.has_room(&to.node) {
                // Asking twice counts once.
                ctx.await_room(&to.node);
                return ctx.await_room(&to.node);
            }
            ctx.send(&Address::Pid(to.clone()), Term::binary(vec![0; 50]));
            self.left -= 1;
        }
    }
}

/// The effects of an input and a flush. The peer reads nothing.
fn effects_of(stage: &mut Stage, input: Input<Nothing>) -> Vec<Effect<Nothing>> {
    let now = Time {
        monotonic_us: stage.now_us,
        wall_ms: 0,
    };
    let mut effects = Vec::new();
    stage.node.handle(now, input, &mut effects);
    stage.node.handle(now, Input::Flush, &mut effects);
    effects
}

/// How many bytes these effects send to the peer.
fn bytes_of(stage: &mut Stage, input: Input<Nothing>) -> usize {
    let length = |effect: &Effect<Nothing>| match effect {
        Effect::Send { bytes, .. } => bytes.len(),
        _ => 0,
    };
    effects_of(stage, input).iter().map(length).sum()
}

fn begun(busy: usize) -> (Stage, usize) {
    let limits = Limits {
        output_bytes_busy: busy,
        ..Limits::default()
    };
    let mut stage = Stage::visible(limits, |node| {
        node.spawn(Some("source"), Box::new(Source { left: 100 }));
    });
    let to = Address::Name(node::Atom::new("source"));
    let message = Message::Term {
        from: None,
        term: Term::atom("go"),
    };
    let sent = bytes_of(&mut stage, Input::Message { to, message });
    (stage, sent)
}

fn written(bytes: usize) -> Input<Nothing> {
    let connection = PEER;
    Input::Written { connection, bytes }
}

#[test]
fn a_sender_that_waits_for_room_goes_on_when_half_was_written() {
    let (mut all, total) = begun(1 << 20);
    assert_eq!(bytes_of(&mut all, Input::Alarm), 0, "there was room for all messages");
    let (mut stage, first) = begun(1000);
    let message = total / 100;
    assert!((1000..1000 + message).contains(&first), "{first} of {total}");
    assert_eq!(bytes_of(&mut stage, Input::Alarm), 0, "the peer reads nothing");
    assert_eq!(
        bytes_of(&mut stage, written(first - 501)),
        0,
        "more than half is still unwritten"
    );
    let second = bytes_of(&mut stage, written(1));
    assert!((500..500 + message).contains(&second), "{second}");
    let mut sent = first + second;
    while sent < total {
        let more = bytes_of(&mut stage, written(1000));
        assert!(more > 0, "{sent} of {total}");
        sent += more;
    }
    assert_eq!(sent, total);
}

#[test]
fn a_node_that_is_being_dialled_has_no_room_while_messages_wait() {
    let mut stage = Stage::bare(Limits::default());
    let (pilot, to) = (stage.node.adopt(), peer(1));
    let has_room = stage.act(&pilot, |ctx| {
        let before = ctx.has_room(&to.node);
        ctx.send(&Address::Pid(to.clone()), Term::atom("hello"));
        ctx.await_room(&to.node);
        [before, ctx.has_room(&to.node)]
    });
    assert_eq!(has_room, [true, false]);
    assert!(stage.delivered.is_empty(), "{:?}", stage.delivered);
    stage.connect();
    assert!(matches!(stage.delivered[..], [Message::Flush]), "{:?}", stage.delivered);
    let (mut stage, pilot) = (Stage::bare(Limits::default()), pilot);
    assert_eq!(stage.node.adopt(), pilot);
    stage.act(&pilot, |ctx| {
        ctx.send(&Address::Pid(to.clone()), Term::atom("hello"));
        ctx.await_room(&to.node);
    });
    stage.input(Input::Closed {
        connection: ConnectionId(2),
    });
    assert!(matches!(stage.delivered[..], [Message::Flush]), "no node is there");
}

#[test]
fn a_sender_that_waits_for_a_lost_peer_goes_on() {
    let (mut stage, _) = begun(1000);
    assert!(!stage.node.wants_flush());
    let now = Time {
        monotonic_us: stage.now_us,
        wall_ms: 0,
    };
    stage
        .node
        .handle(now, Input::Closed { connection: PEER }, &mut Vec::new());
    assert!(stage.node.wants_flush());
}

#[test]
fn a_peer_that_reads_slowly_is_alive() {
    const TICK_US: u64 = 80_000_000;
    let (mut stage, _) = begun(1000);
    let is_close = |effect: &Effect<Nothing>| matches!(effect, Effect::Close { .. });
    for _ in 0..30 {
        stage.now_us += TICK_US / 8;
        let effects = effects_of(&mut stage, written(10));
        assert!(!effects.iter().any(is_close), "the peer reads from time to time");
    }
    stage.heard.clear();
    let mut eighths = 0;
    loop {
        stage.now_us += TICK_US / 8;
        eighths += 1;
        let effects = effects_of(&mut stage, Input::Alarm);
        if effects.iter().any(is_close) {
            break;
        }
        for effect in effects {
            if let Effect::Send { bytes, .. } = effect {
                stage.read(bytes);
            }
        }
    }
    assert!((8..10).contains(&eighths), "the peer reads nothing: {eighths}");
    let asked = |signal: &Signal| matches!(signal, Signal::Monitor { .. });
    assert!(stage.heard.iter().any(asked), "the peer was probed");
}
