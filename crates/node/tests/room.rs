//! Who sends much waits for room on the way, and a peer that is silent for long is asked for a sign of life.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod stage;

use node::{Address, Context, Effect, Input, Limits, Message, Process, Term, Time};
use stage::{Nothing, PEER, Stage, peer};
use wire::dist::control::{Signal, Target};

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
                // Twice is once.
                ctx.await_room(&to.node);
                return ctx.await_room(&to.node);
            }
            ctx.send(&Address::Pid(to.clone()), Term::binary(vec![0; 50]));
            self.left -= 1;
        }
    }
}

/// Gives an input and a flush; how many bytes that makes for the peer, who reads none of them.
fn bytes_of(stage: &mut Stage, input: Input<Nothing>) -> usize {
    let now = Time {
        monotonic_us: stage.now_us,
        wall_ms: 0,
    };
    let mut effects = Vec::new();
    stage.node.handle(now, input, &mut effects);
    stage.node.handle(now, Input::Flush, &mut effects);
    let length = |effect: &Effect<Nothing>| match effect {
        Effect::Send { bytes, .. } => bytes.len(),
        _ => 0,
    };
    effects.iter().map(length).sum()
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
fn who_asks_for_room_waits_until_half_has_left() {
    let (mut all, total) = begun(1 << 20);
    assert_eq!(bytes_of(&mut all, Input::Alarm), 0, "there was room for all");
    let (mut stage, first) = begun(1000);
    let message = total / 100;
    assert!((1000..1000 + message).contains(&first), "{first} of {total}");
    assert_eq!(bytes_of(&mut stage, Input::Alarm), 0, "nobody reads");
    assert_eq!(
        bytes_of(&mut stage, written(first - 501)),
        0,
        "more than half is on its way"
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
fn who_waits_for_a_peer_that_is_lost_goes_on() {
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
fn who_is_silent_for_a_quarter_of_the_tick_time_is_asked() {
    let mut stage = Stage::visible(Limits::default(), |_| {});
    stage.heard.clear();
    let asked = |stage: &mut Stage, at_us: u64| {
        stage.now_us = at_us;
        for bytes in stage.input(Input::Alarm) {
            stage.read(bytes);
        }
        let is_question = |signal: &Signal| {
            let Signal::Send { to, message, .. } = signal else {
                return false;
            };
            let question = message.as_tuple().and_then(|items| items.last()?.as_tuple());
            let is_auth = question.is_some_and(|items| items[0].is_atom("is_auth"));
            *to == Target::Name(node::Atom::new("net_kernel")) && is_auth
        };
        let count = stage.heard.iter().filter(|signal| is_question(signal)).count();
        stage.heard.clear();
        count
    };
    // The tick time is 80 s.
    let begin_us = stage.now_us;
    assert_eq!(asked(&mut stage, begin_us + 15_000_000), 0);
    assert_eq!(asked(&mut stage, begin_us + 25_000_000), 1);
    assert!(stage.cut().is_none());
}
