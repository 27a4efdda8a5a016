//! The events of a run: a hash over all effects, which must be equal for two runs of one seed, and on request one
//! printed line for each message.

use node::{Atom, Effect, Message, Observer, Pid, Time};
use store::{ask::Payload, message::Frame, store::NAME};

/// The record of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    /// Whether lines are printed too.
    pub verbose: bool,
}

impl Trace {
    /// A record that is also printed if `verbose`.
    pub fn new(verbose: bool) -> Self {
        Self { hash: 0, verbose }
    }

    /// A hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Prints one line, if lines are printed.
    pub fn line(&self, now_us: u64, line: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>10.3} {}", now_us as f64 / 1000.0, line());
        }
    }

    /// Records one effect of the node on a machine.
    pub fn effect(&mut self, now_us: u64, machine: usize, effect: &Effect<Payload>) {
        self.mix(&now_us.to_le_bytes());
        self.mix(&[machine as u8]);
        match effect {
            Effect::Send { connection, bytes } => {
                self.mix(&connection.0.to_le_bytes());
                self.mix(bytes);
            }
            Effect::Deliver {
                message: Message::Payload(Payload::Ask(ask)),
                ..
            } => {
                let mut bytes = Vec::new();
                store::outcome::encode(&mut bytes, &ask.batch.replies);
                self.mix(&bytes);
            }
            Effect::Deliver { .. } => {}
            other => {
                let text = format!("{other:?}");
                self.mix(text.as_bytes());
                self.line(now_us, || format!("n{machine} {text}"));
            }
        }
    }

    /// FNV-1a, eight bytes at a time.
    fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word))
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(29);
        }
    }

    /// The observer that prints the messages of a node; none if lines are not printed.
    pub fn observer(&self, name: &Atom, base_us: u64) -> Option<Box<dyn Observer<Payload>>> {
        self.verbose.then(|| {
            Box::new(Printer {
                name: name.clone(),
                base_us,
            }) as Box<dyn Observer<Payload>>
        })
    }
}

struct Printer {
    name: Atom,
    base_us: u64,
}

impl Observer<Payload> for Printer {
    fn message(&mut self, now: Time, _: &Pid, name: Option<&Atom>, message: &Message<Payload>) {
        let at_ms = (now.monotonic_us - self.base_us) as f64 / 1000.0;
        let to = self.name.as_str();
        let process = name.map_or("-", Atom::as_str);
        match message {
            Message::Flush | Message::Timer { .. } | Message::Payload(_) => {}
            Message::Term {
                from: Some(from),
                term: node::Term::Binary(bytes),
            } if process == NAME => {
                let Ok(mut frame) = Frame::decode(bytes) else { return };
                let head = format!(
                    "{at_ms:>10.3} {} → {to} #{} applied {}",
                    from.node.as_str(),
                    frame.number,
                    frame.applied
                );
                let mut quiet = true;
                while let Some(Ok(message)) = frame.next() {
                    if !matches!(
                        message,
                        store::message::Message::Vitals(_)
                            | store::message::Message::Times(_)
                            | store::message::Message::Digest(_)
                    ) {
                        println!("{head} {}", store_line(&message));
                        quiet = false;
                    }
                }
                if quiet && std::env::var_os("SIM_BEATS").is_some() {
                    println!("{head}");
                }
            }
            Message::Members(members) => {
                let members: Vec<String> = members
                    .iter()
                    .map(|m| {
                        format!(
                            "{}/{} {:?}{}",
                            m.name.as_str(),
                            m.creation,
                            m.state,
                            if m.connected { "" } else { " away" }
                        )
                    })
                    .collect();
                println!("{at_ms:>10.3} {to}.{process} members {}", members.join(", "));
            }
            other => println!("{at_ms:>10.3} {to}.{process} {other:?}"),
        }
    }
}

fn store_line(message: &store::message::Message<'_>) -> String {
    use store::{clock::Clock, codec::Reader, delta::Delta, message::Message, outcome};
    let clock = |bytes: &[u8]| match Clock::decode(&mut Reader::new(bytes)) {
        Ok(clock) => clock
            .spans()
            .map(|(writer, span)| format!("{:04x}:{}-{}", writer.0 & 0xffff, span.first, span.last))
            .collect::<Vec<_>>()
            .join(" "),
        Err(error) => format!("{error:?}"),
    };
    match message {
        Message::Delta { shard, delta } => match Delta::take(&mut Reader::new(delta)) {
            Ok(d) => {
                let key = match d.event {
                    store::delta::Event::Write { key, .. } => format!("write {}", String::from_utf8_lossy(key)),
                    store::delta::Event::Delete { key } => format!("delete {}", String::from_utf8_lossy(key)),
                    store::delta::Event::Wipe => "wipe".into(),
                };
                format!(
                    "Delta shard={shard} dot={:04x}:{} {key}",
                    d.dot.writer.0 & 0xffff,
                    d.dot.counter
                )
            }
            Err(error) => format!("Delta shard={shard} {error:?}"),
        },
        Message::Forward(forward) => {
            let mut requests = Vec::new();
            let _ = store::message::requests(forward.requests, |args| {
                requests.push(
                    args.iter()
                        .take(2)
                        .map(|arg| String::from_utf8_lossy(arg).into_owned())
                        .collect::<Vec<_>>()
                        .join(" "),
                );
            });
            let last = if forward.is_last { " last" } else { "" };
            format!(
                "Forward {} hops={} {:?} {requests:?}{last}",
                forward.token, forward.hops, forward.level
            )
        }
        Message::Outcome {
            token,
            follows,
            replies,
        } => {
            let more = if *follows { " …" } else { "" };
            format!("Outcome {token} {:?}{more}", outcome::decode(replies))
        }
        Message::Holdings { holdings, .. } => {
            let text: String = store::message::holdings(holdings).map_or_else(
                |error| format!("{error:?}"),
                |list| {
                    list.iter()
                        .map(|h| match (h.copy, h.missed) {
                            (store::message::Copy::Absent, false) => '.',
                            (store::message::Copy::Absent, true) => ',',
                            (store::message::Copy::Filling, false) => 'f',
                            (store::message::Copy::Filling, true) => 'F',
                            (store::message::Copy::Ready, _) => 'R',
                        })
                        .collect()
                },
            );
            format!("Holdings {text}")
        }
        Message::Clock { shard, clock: bytes } => format!("Clock shard={shard} {}", clock(bytes)),
        Message::Pull {
            shard,
            any,
            clock: bytes,
        } => format!("Pull shard={shard} any={any} {}", clock(bytes)),
        Message::Release { shard, clock: bytes } => format!("Release shard={shard} {}", clock(bytes)),
        Message::Chunk { shard, kind, chunk } => format!("Chunk shard={shard} {kind:?} {} bytes", chunk.len()),
        other => format!("{other:?}"),
    }
}
