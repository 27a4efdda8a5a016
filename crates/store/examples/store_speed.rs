//! The cost of a request in a store without peers: from `Input::Message` into its node to the reply in an effect.
//! Sockets and parsing are not included.
//!
//! `cargo run --release -p store --example store_speed [REQUESTS] [BATCH]`
//!
//! Keys have 16 bytes and values 64. There are 10,000 keys, so most data is in cache; each request hits another shard
//! than the one before. Batches are built beforehand and reused, as the shell does for a connection. Each line is the
//! best of many rounds over all keys, so that other programs on the machine do not count.

use std::time::Instant;

use node::{Address, Atom, Cookie, Effect, Input, Limits, Message, Node, Time};
use store::{
    ask::{Ask, Payload, Session},
    config::Config,
    store::{NAME, Store},
};
use wire::request::Batch;

const KEYS: usize = 10_000;
const VALUE: [u8; 64] = [b'v'; 64];

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse().expect("a number"));
    let requests: usize = arguments.next().unwrap_or(1 << 20);
    let sizes = arguments.next().map_or_else(|| vec![1, 16, 64], |size| vec![size]);
    let mut lone = Lone::new();
    for size in sizes {
        for verb in ["set", "get"] {
            let ns = lone.measure(verb, size, requests);
            println!("{verb} in batches of {size:>2}   {ns:>6.1} ns per request");
        }
    }
}

/// A node that runs only a store.
struct Lone {
    node: Node<Payload>,
    store: Address,
    client: node::Pid,
    effects: Vec<Effect<Payload>>,
    started: Instant,
}

impl Lone {
    fn new() -> Self {
        let config = Config {
            name: "lone@127.0.0.1".into(),
            ..Config::default()
        };
        let mut node = Node::new(
            node::Config {
                name: Atom::new(&config.name),
                creation: config.creation,
                cookie: Cookie::new(b"secret"),
                hidden: true,
                tick_ms: 8_000,
                birth: config.birth(),
                join: Vec::new(),
                dist_port: None,
                limits: Limits::default(),
            },
            1,
        );
        node.spawn(Some(NAME), Box::new(Store::new(config, 1)));
        let client = node.adopt();
        let store = Address::Name(Atom::new(NAME));
        let mut lone = Self {
            node,
            store,
            client,
            effects: Vec::new(),
            started: Instant::now(),
        };
        lone.input(Input::Start);
        lone.input(Input::Flush);
        lone
    }

    fn input(&mut self, input: Input<Payload>) {
        let now = Time {
            monotonic_us: self.started.elapsed().as_micros() as u64 + 1,
            wall_ms: 1_700_000_000_000,
        };
        self.node.handle(now, input, &mut self.effects);
    }

    /// Executes a batch and returns it with its replies.
    fn ask(&mut self, ask: Box<Ask>) -> Box<Ask> {
        self.input(Input::Message {
            to: self.store.clone(),
            message: Message::Payload(Payload::Ask(ask)),
        });
        self.input(Input::Flush);
        let mut answered = None;
        for effect in self.effects.drain(..) {
            if let Effect::Deliver {
                message: Message::Payload(Payload::Ask(ask)),
                ..
            } = effect
            {
                answered = Some(ask);
            }
        }
        answered.expect("a store without peers answers at once")
    }

    /// Nanoseconds per request.
    fn measure(&mut self, verb: &str, size: usize, requests: usize) -> f64 {
        let mut asks: Vec<Box<Ask>> = (0..KEYS / size)
            .map(|number| self.batch(verb, number * size, size))
            .collect();
        let rounds = (requests / KEYS).max(1);
        let mut best_ns = u128::MAX;
        for _ in 0..rounds {
            let start = Instant::now();
            asks = asks
                .into_iter()
                .map(|mut ask| {
                    ask.batch.replies.clear();
                    let ask = self.ask(ask);
                    assert!(ask.batch.replies.is_complete(), "each request has its reply");
                    ask
                })
                .collect();
            best_ns = best_ns.min(start.elapsed().as_nanos());
        }
        best_ns as f64 / (asks.len() * size) as f64
    }

    fn batch(&self, verb: &str, first: usize, size: usize) -> Box<Ask> {
        let mut batch = Batch::new();
        for number in first..first + size {
            let key = format!("key:{number:012}");
            match verb {
                "set" => batch.push(&[b"SET", key.as_bytes(), &VALUE]),
                _ => batch.push(&[b"GET", key.as_bytes()]),
            }
        }
        Box::new(Ask::new(self.client.clone(), Session::new(1, true), batch))
    }
}
