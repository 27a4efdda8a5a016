//! A node to measure: how many calls and messages a second go from one node to another.
//!
//! `python3 -m proof.bench_beam` runs two of them beside two Erlang nodes (`proof/beam/speed.escript`) that do the
//! same. Each registers `echo`, a server that answers a call with its request, and `sink`, which counts what it is
//! sent. It prints `ready`, and then obeys lines, each with the answer `done MICROSECONDS`:
//!
//! ```text
//! calls NODE CALLERS COUNT         so many processes call `echo` there, COUNT times together
//! sends NODE SENDERS COUNT         so many processes send `sink` there COUNT messages, until it has them
//! async-calls …, async-sends …     the same by async processes
//! ```

use std::{
    env,
    error::Error,
    io::{self, Write},
    time::{Duration, Instant},
};

use salp::{Address, Context, From, GenServer, Inbox, Message, Next, Node, Payload, Pid, Process, Reply, Term, remote};
use tokio::sync::mpsc;

/// Bytes of each message.
const PAYLOAD_BYTES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_US: u64 = 60_000_000;

/// Answers with what it was asked.
#[derive(Default)]
struct Echo {
    calls: u64,
}

impl GenServer<Payload> for Echo {
    fn handle_call(&mut self, _: &mut Context<'_>, request: Term, _: &From) -> Reply {
        self.calls += 1;
        Reply::now(request)
    }
}

/// Counts.
#[derive(Default)]
struct Sink {
    count: i64,
}

impl GenServer<Payload> for Sink {
    fn handle_call(&mut self, ctx: &mut Context<'_>, request: Term, _: &From) -> Reply {
        if request.is_atom("who") {
            Reply::now(ctx.me().clone())
        } else {
            Reply::now(self.count)
        }
    }

    fn handle_info(&mut self, _: &mut Context<'_>, _: Message) -> Next {
        self.count += 1;
        Next::Wait
    }
}

/// Calls, and calls again when it is answered.
struct Caller {
    to: Address,
    request: Term,
    left: u64,
    done: mpsc::Sender<()>,
}

impl Process<Payload> for Caller {
    fn start(&mut self, ctx: &mut Context<'_>) {
        ctx.call(&self.to, self.request.clone(), PATIENCE_US);
    }

    fn handle(&mut self, ctx: &mut Context<'_>, message: Message) {
        let Message::Reply { result, .. } = message else { return };
        assert_eq!(result, Ok(self.request.clone()), "an echo");
        self.left -= 1;
        if self.left > 0 {
            ctx.call(&self.to, self.request.clone(), PATIENCE_US);
        } else {
            let _ = self.done.try_send(());
            ctx.exit(Term::atom("normal"));
        }
    }
}

/// Sends as long as there is room on the way, and goes on when there is again.
struct Sender {
    to: Pid,
    message: Term,
    left: u64,
    done: mpsc::Sender<()>,
}

impl Sender {
    fn go_on(&mut self, ctx: &mut Context<'_>) {
        let to = Address::Pid(self.to.clone());
        while self.left > 0 {
            if !ctx.has_room(&self.to.node) {
                return ctx.await_room(&self.to.node);
            }
            ctx.send(&to, self.message.clone());
            self.left -= 1;
        }
        // Behind all that this process sent.
        ctx.call(&to, Term::atom("count"), PATIENCE_US);
    }
}

impl Process<Payload> for Sender {
    fn start(&mut self, ctx: &mut Context<'_>) {
        self.go_on(ctx);
    }

    fn handle(&mut self, ctx: &mut Context<'_>, message: Message) {
        match message {
            Message::Flush => self.go_on(ctx),
            Message::Reply { result, .. } => {
                assert!(result.is_ok(), "the sink has counted");
                let _ = self.done.try_send(());
                ctx.exit(Term::atom("normal"));
            }
            _ => {}
        }
    }
}

async fn run(node: &Node, word: &str, peer: &str, many: u64, count: u64) -> Result<(), Box<dyn Error>> {
    let payload = || Term::binary(vec![b'x'; PAYLOAD_BYTES]);
    let (done, mut all_done) = mpsc::channel(many as usize);
    let (echo, sink) = (remote("echo", peer), remote("sink", peer));
    let before = node.call(sink.clone(), Term::atom("count"), PATIENCE).await?;
    let Term::Pid(sink) = node.call(sink, Term::atom("who"), PATIENCE).await? else {
        return Err("the sink does not say who it is".into());
    };
    let left = count / many;
    for _ in 0..many {
        let (echo, sink, done) = (echo.clone(), sink.clone(), done.clone());
        match word {
            "calls" => {
                let make = move || -> Box<dyn Process<Payload>> {
                    let (to, request) = (echo, payload());
                    Box::new(Caller {
                        to,
                        request,
                        left,
                        done,
                    })
                };
                node.spawn(None, make).await?;
            }
            "sends" => {
                let make = move || -> Box<dyn Process<Payload>> {
                    let (to, message) = (sink, payload());
                    Box::new(Sender {
                        to,
                        message,
                        left,
                        done,
                    })
                };
                node.spawn(None, make).await?;
            }
            "async-calls" => {
                let calls = move |mut inbox: Inbox| async move {
                    let request = payload();
                    for _ in 0..left {
                        let answer = inbox.call(echo.clone(), request.clone(), PATIENCE).await;
                        assert_eq!(answer.as_ref(), Ok(&request), "an echo");
                    }
                    let _ = done.send(()).await;
                };
                node.spawn_async(calls).await?;
            }
            "async-sends" => {
                let sends = move |mut inbox: Inbox| async move {
                    let (to, message) = (Address::Pid(sink), payload());
                    for _ in 0..left {
                        if inbox.send(to.clone(), message.clone()).await.is_err() {
                            return;
                        }
                    }
                    let counted = inbox.call(to, Term::atom("count"), PATIENCE).await;
                    assert!(counted.is_ok(), "the sink has counted");
                    let _ = done.send(()).await;
                };
                node.spawn_async(sends).await?;
            }
            _ => return Err(format!("what is {word}?").into()),
        }
    }
    for _ in 0..many {
        all_done.recv().await;
    }
    if word.ends_with("sends") {
        let after = node.call(Address::Pid(sink), Term::atom("count"), PATIENCE).await?;
        let sent = after
            .as_int()
            .zip(before.as_int())
            .map(|(after, before)| after - before);
        assert_eq!(sent, i64::try_from(left * many).ok(), "nothing is lost");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, name, cookie, epmd] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("give a name, a cookie and the port of EPMD".into());
    };
    let builder = Node::builder().name(name).cookie(cookie).epmd_port(epmd.parse()?);
    let node = builder.start().await?;
    node.start_server(Some("echo"), Echo::default()).await?;
    node.start_server(Some("sink"), Sink::default()).await?;
    println!("ready");
    for line in io::stdin().lines() {
        let line = line?;
        let [word, peer, many, count] = line.split(' ').collect::<Vec<_>>()[..] else {
            return Err(format!("what is {line}?").into());
        };
        let start = Instant::now();
        run(&node, word, peer, many.parse()?, count.parse()?).await?;
        println!("done {}", start.elapsed().as_micros());
        io::stdout().flush()?;
    }
    node.stop().await;
    Ok(())
}
