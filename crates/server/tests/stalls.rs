//! What stalls holds up nobody else: processes that do not read, that sleep or burn, peers that flood, a peer that
//! stands still. The peers are real BEAMs; without an `erl` on the path there is nothing to test.
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    future::pending,
    hint,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use salp::{Context, From, GenServer, Inbox, Node, Payload, Reply, Term, named, remote};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
/// The tick time of the BEAMs, and for how long things stall: a link on which nothing comes does not live so long.
const TICK_S: u32 = 4;
const STALL_MS: u32 = 7000;

struct Echo;

impl GenServer<Payload> for Echo {
    fn handle_call(&mut self, _: &mut Context<'_>, request: Term, _: &From) -> Reply {
        Reply::now(request)
    }
}

async fn start(name: &str) -> Node {
    let builder = Node::builder().name(name).cookie("testing").epmd(false);
    let node = builder.start().await.unwrap();
    node.start_server(Some("echo"), Echo).await.unwrap();
    node
}

/// A BEAM that was told to do something; ended with the test.
struct Beam {
    process: Child,
    /// Its input ends with the test, too.
    _input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for Beam {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Beam {
    /// None without an `erl`. Without a port mapper a BEAM finds every peer under its own port, at the address in the
    /// peer's name.
    fn start(node: &Node, name: &str, options: &[&str], program: &str) -> Option<Self> {
        let host = name.split_once('@').unwrap().1.replace('.', ",");
        let (port, tick) = (node.dist().port().to_string(), TICK_S.to_string());
        let program = format!("N = '{}', {program}, halt().", node.name());
        let process = Command::new("erl")
            .args(["-noinput", "-name", name, "-setcookie", "testing"])
            .args(["-start_epmd", "false", "-erl_epmd_port", &port])
            .args(["-kernel", "inet_dist_use_interface", &format!("{{{host}}}")])
            .args(["-kernel", "net_ticktime", &tick])
            .args(options)
            .args(["-eval", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = process.ok()?;
        let output = BufReader::new(process.stdout.take().unwrap());
        Some(Self {
            _input: process.stdin.take(),
            process,
            output,
        })
    }

    /// All that it prints until it ends.
    fn finish(&mut self) -> String {
        let mut printed = String::new();
        for line in self.output.by_ref().lines() {
            printed += &line.unwrap();
            printed += "\n";
        }
        printed
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

/// Ends what stalls, whichever way the test ends: a thread that burns would keep it from ending.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An async process under a name.
async fn named_process<F>(node: &Node, name: &'static str, run: impl FnOnce(Inbox) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let begin = move |inbox: Inbox| async move {
        let registered = inbox.act(move |ctx| ctx.register(name, &ctx.me().clone())).await;
        assert_eq!(registered, Ok(true));
        run(inbox).await;
    };
    node.spawn_async(begin).await.unwrap();
}

/// `deaf` reads nothing and is sent more than it can hold, `burner` and `sleeper` keep a thread of the program each,
/// and one BEAM sends without end: meanwhile its link lives, and another BEAM is served, by `global` too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stalled_program_holds_up_nobody() {
    let node = start("stalled@127.0.0.1").await;
    let is_over = Over::default();
    named_process(&node, "deaf", |inbox| async move {
        let _inbox = inbox;
        pending::<()>().await;
    })
    .await;
    let ends = is_over.0.clone();
    named_process(&node, "burner", |mut inbox| async move {
        inbox.receive().await;
        while !ends.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
    })
    .await;
    let ends = is_over.0.clone();
    named_process(&node, "sleeper", |mut inbox| async move {
        inbox.receive().await;
        while !ends.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
    })
    .await;

    let floods = format!(
        "pong = net_adm:ping(N), net_kernel:monitor_nodes(true), {{burner, N}} ! burn, {{sleeper, N}} ! sleep, \
         B = binary:copy(<<1>>, 5000), \
         spawn(fun Flood() -> {{deaf, N}} ! B, Flood() end), \
         yes = global:register_name(floods, self()), \
         receive {{nodedown, N}} -> io:format(\"lost~n\") \
         after {STALL_MS} -> io:format(\"{{kept,~p}}~n\", [nodes()]) end"
    );
    let asks = format!(
        "pong = net_adm:ping(N), net_kernel:monitor_nodes(true), \
         Wait = fun Wait() -> case global:whereis_name(floods) of undefined -> timer:sleep(20), Wait(); _ -> ok end end, \
         Wait(), \
         [pong = net_adm:ping(N) || _ <- lists:seq(1, 20)], \
         [I = gen_server:call({{echo, N}}, I) || I <- lists:seq(1, 100)], \
         yes = global:register_name(asks, self()), \
         io:format(\"served~n\"), \
         receive {{nodedown, N}} -> io:format(\"lost~n\") after {STALL_MS} - 2000 -> ok end, \
         [I = gen_server:call({{echo, N}}, I) || I <- lists:seq(1, 100)], \
         io:format(\"still served~n\")"
    );
    let Some(mut flooder) = Beam::start(&node, "floods@127.0.0.7", &[], &floods) else {
        return;
    };
    let mut asker = Beam::start(&node, "asks@127.0.0.8", &[], &asks).unwrap();
    let printed = tokio::task::spawn_blocking(move || (flooder.finish(), asker.finish()));
    let (flooder, asker) = timeout(PATIENCE, printed).await.unwrap().unwrap();
    assert!(
        flooder.contains("stalled@127.0.0.1") && flooder.contains("kept"),
        "{flooder}"
    );
    assert_eq!(asker, "served\nstill served\n");
    drop(is_over);
    node.stop().await;
}

/// A peer that stands still is sent no more than fits on the way: who sends waits, others are served, and it goes on
/// when the peer does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_sends_to_a_peer_that_stands_still_waits_alone() {
    let node = start("waits@127.0.0.1").await;
    let program = "register(slow, self()), pong = net_adm:ping(N), io:format(\"ready~n\"), timer:sleep(60000)";
    let Some(mut still) = Beam::start(&node, "still@127.0.0.9", &["-hidden"], program) else {
        return;
    };
    let still = tokio::task::spawn_blocking(move || {
        assert_eq!(still.line(), "ready");
        still
    })
    .await
    .unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let counts = sent.clone();
    named_process(&node, "sender", |inbox| async move {
        let slow = remote("slow", "still@127.0.0.9");
        let message = Term::binary(vec![1; 10_000]);
        while counts.fetch_add(1, Ordering::Relaxed) < 20_000 && inbox.send(slow.clone(), message.clone()).await.is_ok()
        {
        }
    })
    .await;
    let grows = async |from: u64| {
        while sent.load(Ordering::Relaxed) <= from {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, grows(100)).await.unwrap();
    still.signal("-STOP");
    let stopped = Instant::now();
    let mut before = 0;
    while sent.load(Ordering::Relaxed) != before {
        before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
    }
    assert!(before < 20_000, "the sender waits");

    for number in 0..100 {
        assert_eq!(
            node.call(named("echo"), number.into(), PATIENCE).await,
            Ok(number.into())
        );
    }
    let asks = "[pong = net_adm:ping(N) || _ <- lists:seq(1, 20)], yes = global:register_name(asks, self()), \
                [I = gen_server:call({echo, N}, I) || I <- lists:seq(1, 100)], io:format(\"served~n\")";
    let mut asker = Beam::start(&node, "asks@127.0.0.10", &[], asks).unwrap();
    let served = tokio::task::spawn_blocking(move || asker.finish());
    assert_eq!(timeout(PATIENCE, served).await.unwrap().unwrap(), "served\n");
    assert_eq!(sent.load(Ordering::Relaxed), before, "and waits still");

    still.signal("-CONT");
    if stopped.elapsed() < Duration::from_secs(4) {
        timeout(PATIENCE, grows(before)).await.unwrap();
    }
    node.stop().await;
}
