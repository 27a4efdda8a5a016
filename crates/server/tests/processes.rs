//! Processes of a program: servers, supervised and async ones, their panics, and a real Erlang that uses the examples.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../examples/counter.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main")]
mod counter;
#[path = "../examples/from_iex.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main")]
mod from_iex;
#[path = "../../node/tests/shell/lines.rs"]
mod lines;
#[path = "../examples/workers.rs"]
#[allow(dead_code, unreachable_pub, reason = "an example has a main")]
mod workers;

use std::{
    future::{pending, ready},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use salp::{
    Address, Batch, Context, From, GenServer, Gone, Inbox, Message, Next, Node, Payload, Pid, Process, Reply, Server,
    Term,
    gen_server::{Request, parse},
    named,
    process::{Failure, INBOX_BYTES_MAX},
    remote,
    supervisor::{Child, DynamicSupervisor, Intensity, Strategy, Supervisor},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(name: &str) -> Node {
    Node::builder()
        .name(name)
        .cookie("testing")
        .epmd(false)
        .start()
        .await
        .unwrap()
}

/// The end of a process, as one that monitors it hears.
async fn end_of(node: &Node, target: Address) -> oneshot::Receiver<Term> {
    let (tell, told) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    let watch = move |mut inbox: Inbox| async move {
        inbox.act(move |ctx| ctx.monitor(&target)).await.unwrap();
        ready.send(()).unwrap();
        while let Some(message) = inbox.receive().await {
            if let Message::Down { reason, .. } = message {
                return tell.send(reason).unwrap();
            }
        }
    };
    node.spawn_async(watch).await.unwrap();
    is_ready.await.unwrap();
    told
}

async fn heard(told: oneshot::Receiver<Term>) -> String {
    timeout(PATIENCE, told).await.expect("in time").unwrap().to_string()
}

/// Echoes calls, and panics on `panic`.
struct Echo;

impl GenServer<Payload> for Echo {
    fn handle_call(&mut self, _: &mut Context<'_>, request: Term, _: &From) -> Reply {
        assert!(!request.is_atom("panic"), "as told");
        Reply::now(request)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_is_called_and_its_panic_is_its_own() {
    let node = start("panics@127.0.0.1").await;
    node.start_server(Some("echo"), Echo).await.unwrap();
    let taken = node.start_server(Some("echo"), Echo).await.unwrap_err();
    assert!(taken.to_string().starts_with("{already_started,"), "{taken}");
    assert_eq!(node.call(named("echo"), 7.into(), PATIENCE).await, Ok(Term::Int(7)));
    let end = end_of(&node, named("echo")).await;
    let failed = node
        .call(named("echo"), Term::atom("panic"), PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(failed.to_string(), "{panic,<<\"as told\">>}");
    assert_eq!(heard(end).await, "{panic,<<\"as told\">>}");
    let nobody = node.call(named("echo"), 7.into(), PATIENCE).await;
    assert_eq!(nobody, Err(Failure::Reason(Term::atom("noproc"))));
    // The store has not noticed.
    let mut batch = Batch::new();
    batch.push(&[b"PING"]);
    assert!(node.handle().ask(0, None, batch).await.unwrap().replies.is_complete());
    node.stop().await;
}

/// Panics as it starts.
struct Stillborn;

impl Process<Payload> for Stillborn {
    fn start(&mut self, _: &mut Context<'_>) {
        panic!("not today");
    }
    fn handle(&mut self, _: &mut Context<'_>, _: Message) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_a_start_refuses_it() {
    let node = start("stillborn@127.0.0.1").await;
    let failure = node.spawn(Some("x"), || Box::new(Stillborn)).await.unwrap_err();
    assert_eq!(failure.to_string(), "{panic,<<\"not today\">>}");
    node.start_server(Some("x"), Echo).await.expect("its name is free");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_what_is_done_for_a_process_is_its_end_alone() {
    let node = start("clumsy@127.0.0.1").await;
    let failure = node.spawn(None, || panic!("no body")).await.unwrap_err();
    assert_eq!(failure.to_string(), "{panic,<<\"no body\">>}");
    // No atom is so long.
    let failure = node.start_server(Some(&"x".repeat(300)), Echo).await.unwrap_err();
    assert!(failure.to_string().starts_with("{panic,"), "{failure}");
    let (tell, told) = oneshot::channel();
    let clumsy = |mut inbox: Inbox| async move {
        assert!(inbox.receive().await.is_some());
        let done: Result<(), Gone> = inbox.act(|_| panic!("slipped")).await;
        tell.send(done).unwrap();
        pending::<()>().await;
    };
    let clumsy = Address::Pid(node.spawn_async(clumsy).await.unwrap());
    let end = end_of(&node, clumsy.clone()).await;
    node.handle().send(clumsy, Term::atom("go")).await.unwrap();
    assert_eq!(heard(end).await, "{panic,<<\"slipped\">>}");
    // It was told, or ended before it could be.
    assert!(matches!(told.await, Ok(Err(Gone)) | Err(_)));
    node.start_server(Some("echo"), Echo).await.expect("the node lives");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lock_that_nobody_waits_for_is_given_back() {
    let node = start("locks@127.0.0.1").await;
    node.start_server(Some("echo"), Echo).await.unwrap();
    let (hold, is_held) = oneshot::channel();
    let (free, may_free) = oneshot::channel();
    let first = |mut inbox: Inbox| async move {
        inbox.lock(Term::atom("printer")).await.unwrap();
        hold.send(()).unwrap();
        may_free.await.unwrap();
        inbox.unlock(Term::atom("printer")).await.unwrap();
    };
    node.spawn_async(first).await.unwrap();
    is_held.await.unwrap();
    let (tell, mut told) = mpsc::channel(2);
    for calls in [false, true] {
        let tell = tell.clone();
        let impatient = move |mut inbox: Inbox| async move {
            let lock = inbox.lock(Term::atom("printer"));
            assert!(timeout(Duration::from_millis(50), lock).await.is_err());
            if calls {
                // The call takes the place of the lock that it waited for.
                let echo = inbox.call(named("echo"), 7.into(), PATIENCE).await;
                assert_eq!(echo, Ok(Term::Int(7)));
            }
            tell.send(()).await.unwrap();
            // It lives on, and must not have the lock.
            pending::<()>().await;
        };
        node.spawn_async(impatient).await.unwrap();
    }
    for _ in 0..2 {
        timeout(PATIENCE, told.recv()).await.expect("in time").unwrap();
    }
    free.send(()).unwrap();
    let (tell, told) = oneshot::channel();
    let next = |mut inbox: Inbox| async move {
        // Behind both of them.
        tokio::time::sleep(Duration::from_secs(3)).await;
        inbox.lock(Term::atom("printer")).await.unwrap();
        tell.send(()).unwrap();
    };
    node.spawn_async(next).await.unwrap();
    timeout(PATIENCE, told).await.expect("nobody keeps the lock").unwrap();
    node.stop().await;
}

/// Whether the printer's lock is free for one who does not wait for it.
async fn is_free(inbox: &mut Inbox) -> bool {
    let lock = |ctx: &mut Context<'_>| ctx.global_lock(Term::atom("printer"), None, Some(0));
    let asked = inbox.act(lock).await.unwrap();
    inbox.answer(&asked).await.unwrap().is_atom("true")
}

/// Asks for the printer's lock and waits no moment for it.
async fn glance(inbox: &mut Inbox) {
    tokio::select! {
        biased;
        _ = inbox.lock(Term::atom("printer")) => {}
        () = ready(()) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lock_that_is_held_is_not_given_back_for_one_that_nobody_waits_for() {
    let node = start("keeps@127.0.0.1").await;
    node.start_server(Some("echo"), Echo).await.unwrap();
    let (hold, mut is_held) = mpsc::channel(1);
    let (free, mut may_free) = mpsc::channel::<()>(1);
    let holder = |mut inbox: Inbox| async move {
        // Asked for twice, and had before it was asked for.
        glance(&mut inbox).await;
        inbox.lock(Term::atom("printer")).await.unwrap();
        glance(&mut inbox).await;
        assert_eq!(inbox.call(named("echo"), 7.into(), PATIENCE).await, Ok(Term::Int(7)));
        hold.send(()).await.unwrap();
        may_free.recv().await.unwrap();
        inbox.unlock(Term::atom("printer")).await.unwrap();
        hold.send(()).await.unwrap();
        pending::<()>().await;
    };
    let (tell, told) = oneshot::channel();
    let patient = |mut inbox: Inbox| async move {
        is_held.recv().await.unwrap();
        assert!(!is_free(&mut inbox).await, "it was asked for once too often");
        let lock = inbox.lock(Term::atom("printer"));
        assert!(timeout(Duration::from_millis(50), lock).await.is_err());
        free.send(()).await.unwrap();
        inbox.lock(Term::atom("printer")).await.unwrap();
        tell.send(is_held).unwrap();
        pending::<()>().await;
    };
    node.spawn_async(holder).await.unwrap();
    node.spawn_async(patient).await.unwrap();
    let mut is_held = timeout(PATIENCE, told).await.expect("it comes").unwrap();
    is_held.recv().await.unwrap();
    let (tell, told) = oneshot::channel();
    let watches = |mut inbox: Inbox| async move {
        // By then what was asked for first would have come, too.
        for _ in 0..40 {
            assert!(!is_free(&mut inbox).await, "it is still held");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tell.send(()).unwrap();
    };
    node.spawn_async(watches).await.unwrap();
    timeout(PATIENCE, told).await.unwrap().expect("nobody else has it");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lock_is_had_again_after_it_was_freed_in_haste() {
    let node = start("hasty@127.0.0.1").await;
    let (tell, told) = oneshot::channel();
    let hasty = |mut inbox: Inbox| async move {
        for _ in 0..20 {
            inbox.lock(Term::atom("printer")).await.unwrap();
            tokio::select! {
                biased;
                _ = inbox.unlock(Term::atom("printer")) => {}
                () = ready(()) => {}
            }
            glance(&mut inbox).await;
        }
        inbox.unlock(Term::atom("printer")).await.unwrap();
        tell.send(()).unwrap();
        pending::<()>().await;
    };
    node.spawn_async(hasty).await.unwrap();
    timeout(PATIENCE, told).await.expect("in time").unwrap();
    let (tell, told) = oneshot::channel();
    let next = |mut inbox: Inbox| async move {
        inbox.lock(Term::atom("printer")).await.unwrap();
        tell.send(()).unwrap();
    };
    node.spawn_async(next).await.unwrap();
    timeout(PATIENCE, told).await.expect("nobody keeps the lock").unwrap();
    node.stop().await;
}

/// Says how many it has got.
#[derive(Default)]
struct Count(i64);

impl GenServer<Payload> for Count {
    fn handle_call(&mut self, _: &mut Context<'_>, _: Term, _: &From) -> Reply {
        Reply::now(self.0)
    }

    fn handle_info(&mut self, _: &mut Context<'_>, _: Message) -> Next {
        self.0 += 1;
        Next::Wait
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_sends_much_at_once_is_held_up_and_not_cut() {
    const MESSAGES: i64 = 150;
    let there = start("takes@127.0.0.1").await;
    there.start_server(Some("count"), Count::default()).await.unwrap();
    let builder = Node::builder().name("gives@127.0.0.1").cookie("testing").epmd(false);
    let here = builder
        .join([format!("takes@127.0.0.1:{}", there.dist().port())])
        .start()
        .await
        .unwrap();
    assert!(timeout(PATIENCE, here.ready()).await.unwrap());
    let to = remote("count", "takes@127.0.0.1");
    let (tell, told) = oneshot::channel();
    let sender = |mut inbox: Inbox| async move {
        let message = Term::binary(vec![0; 1 << 20]);
        for _ in 0..MESSAGES {
            inbox.send(to.clone(), message.clone()).await.unwrap();
        }
        tell.send(inbox.call(to, Term::atom("count"), PATIENCE).await).unwrap();
    };
    here.spawn_async(sender).await.unwrap();
    let counted = timeout(2 * PATIENCE, told).await.expect("in time").unwrap();
    assert_eq!(
        counted,
        Ok(Term::Int(MESSAGES)),
        "more than may be on its way at a time"
    );
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn async_processes_end_with_what_they_come_to() {
    let node = start("ends@127.0.0.1").await;
    let (go, gone) = oneshot::channel::<()>();
    let panics = node.spawn_async(|_| async {
        assert!(gone.await.is_ok(), "in a task");
    });
    let panics = panics.await;
    let (fails_go, fails_gone) = oneshot::channel::<()>();
    let fails = node
        .spawn_async(|_| async {
            drop(fails_gone.await);
            Err::<(), _>(Term::atom("failed"))
        })
        .await;
    let ends = [
        end_of(&node, Address::Pid(panics.unwrap())).await,
        end_of(&node, Address::Pid(fails.unwrap())).await,
    ];
    drop((go, fails_go));
    let [panicked, failed] = ends;
    assert_eq!(heard(panicked).await, "{panic,<<\"in a task\">>}");
    assert_eq!(heard(failed).await, "failed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_does_not_listen_ends_with_what_it_comes_to() {
    let node = start("deaf@127.0.0.1").await;
    let (go, gone) = oneshot::channel::<()>();
    let deaf = |_| async {
        drop(gone.await);
        Err::<(), _>(Term::atom("failed"))
    };
    let deaf = Address::Pid(node.spawn_async(deaf).await.unwrap());
    let end = end_of(&node, deaf.clone()).await;
    node.handle().send(deaf, Term::atom("hello")).await.unwrap();
    drop(go);
    assert_eq!(
        heard(end).await,
        "failed",
        "nobody takes the message, and that is no end"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_exits_in_what_is_done_for_it_is_dropped() {
    let node = start("leaves@127.0.0.1").await;
    let (alive, mut dead) = mpsc::channel::<()>(1);
    let (go, gone) = oneshot::channel::<()>();
    let witness = Witness(Arc::new(alive));
    let leaves = move |mut inbox: Inbox| async move {
        let _witness = witness;
        drop(gone.await);
        let _ = inbox.act(|ctx| ctx.exit(Term::atom("enough"))).await;
        inbox.receive().await;
    };
    let leaves = node.spawn_async(leaves).await.unwrap();
    let end = end_of(&node, Address::Pid(leaves)).await;
    drop(go);
    assert_eq!(heard(end).await, "enough");
    assert_eq!(timeout(PATIENCE, dead.recv()).await, Ok(None), "its task is dropped");
    node.stop().await;
}

/// Tells when it is dropped.
struct Witness(#[allow(dead_code, reason = "it is dropped, that is all")] Arc<mpsc::Sender<()>>);

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn signals_end_a_task_where_it_waits() {
    let node = start("signals@127.0.0.1").await;
    for signal in ["kill", "boom"] {
        let (alive, mut dead) = mpsc::channel::<()>(1);
        let witness = Witness(Arc::new(alive));
        let waits = move |_: Inbox| async move {
            let _witness = witness;
            pending::<()>().await;
        };
        let pid = node.spawn_async(waits).await.unwrap();
        let end = end_of(&node, Address::Pid(pid.clone())).await;
        node.spawn_async(move |inbox| async move {
            let _ = inbox.act(move |ctx| ctx.exit_other(&pid, Term::atom(signal))).await;
        })
        .await
        .unwrap();
        assert_eq!(heard(end).await, if signal == "kill" { "killed" } else { signal });
        assert_eq!(timeout(PATIENCE, dead.recv()).await, Ok(None), "its task is dropped");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn who_traps_exits_is_told_and_lives() {
    let node = start("traps@127.0.0.1").await;
    let (tell, told) = oneshot::channel();
    let traps = move |mut inbox: Inbox| async move {
        let child = inbox
            .act(|ctx| {
                ctx.trap_exit(true);
                ctx.start_link(None, Server::new(Echo)).unwrap()
            })
            .await
            .unwrap();
        let address = Address::Pid(child.clone());
        let asked = inbox.call(address.clone(), 1.into(), PATIENCE).await;
        let failed = inbox.call(address, Term::atom("panic"), PATIENCE).await.unwrap_err();
        let Some(Message::Exit { from, reason }) = inbox.receive().await else {
            panic!("an exit")
        };
        tell.send((asked, failed, from == child, reason.to_string())).unwrap();
    };
    node.spawn_async(traps).await.unwrap();
    let (asked, failed, is_child, reason) = timeout(PATIENCE, told).await.unwrap().unwrap();
    assert_eq!(asked, Ok(Term::Int(1)));
    let panic = "{panic,<<\"as told\">>}";
    assert_eq!(
        (failed.to_string().as_str(), is_child, reason.as_str()),
        (panic, true, panic)
    );
    node.stop().await;
}

/// Registers as `name` and echoes calls; panics on `panic`.
async fn echo(mut inbox: Inbox) {
    inbox
        .act(|ctx| ctx.register("async_echo", &ctx.me().clone()))
        .await
        .unwrap();
    while let Some(message) = inbox.receive().await {
        if let Message::Term { term, .. } = message
            && let Request::Call { from, request } = parse(term)
        {
            assert!(!request.is_atom("panic"));
            inbox.reply(from, request).await.unwrap();
        }
    }
}

/// Calls until there is an answer: a name is registered some time after a start.
async fn ask_until(node: &Node, name: &str, request: i64) {
    let asking = async {
        while node.call(named(name), request.into(), PATIENCE).await != Ok(request.into()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("an answer in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn async_processes_can_be_supervised() {
    let node = start("supervised@127.0.0.1").await;
    let handle = node.handle().clone();
    let make = move || -> Box<dyn Process<Payload>> {
        let children = [handle.async_child("echo", echo)];
        Box::new(Supervisor::new(Strategy::OneForOne, Intensity::default(), children))
    };
    let supervisor: Pid = node.spawn(None, make).await.unwrap();
    for round in 0..3 {
        ask_until(&node, "async_echo", round).await;
        node.call(named("async_echo"), Term::atom("panic"), PATIENCE)
            .await
            .unwrap_err();
    }
    ask_until(&node, "async_echo", 9).await;
    let (tell, told) = oneshot::channel();
    let stops = move |mut inbox: Inbox| async move {
        let stopped = inbox.stop(Address::Pid(supervisor), Term::atom("normal")).await;
        tell.send(stopped).unwrap();
    };
    node.spawn_async(stops).await.unwrap();
    assert_eq!(timeout(PATIENCE, told).await.unwrap().unwrap(), Ok(()));
    let nobody = node.call(named("async_echo"), 1.into(), PATIENCE).await;
    assert_eq!(nobody, Err(Failure::Reason(Term::atom("noproc"))));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_async_child_leaves_the_node_its_thread() {
    let node = start("elsewhere@127.0.0.1").await;
    let handle = node.handle().clone();
    let (tell, mut told) = mpsc::channel(1);
    // The child is made on the node's thread, as those of a supervisor under a supervisor are.
    let make = move || -> Box<dyn Process<Payload>> {
        let child = handle.async_child("child", move |inbox: Inbox| {
            let tell = tell.clone();
            async move {
                let here = thread::current().id();
                let nodes = inbox.act(|_| thread::current().id()).await;
                tell.send(nodes.map(|nodes| nodes == here)).await.unwrap();
                pending::<()>().await;
            }
        });
        Box::new(Supervisor::new(Strategy::OneForOne, Intensity::default(), [child]))
    };
    node.spawn(None, make).await.unwrap();
    assert_eq!(timeout(PATIENCE, told.recv()).await.unwrap(), Some(Ok(false)));
    node.stop().await;
}

/// Panics the second time it is made.
fn frail() -> impl FnMut() -> Echo {
    let mut makes = 0;
    move || {
        makes += 1;
        assert!(makes != 2, "not now");
        Echo
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_the_making_of_a_child_refuses_it_and_no_more() {
    let node = start("makers@127.0.0.1").await;
    let fixed = || -> Box<dyn Process<Payload>> {
        let children = [Child::server("steady", || Echo), Child::server("frail", frail())];
        let supervisor = Supervisor::new(Strategy::OneForOne, Intensity::default(), children);
        Box::new(supervisor.on_start_child(|_| panic!("no plan")))
    };
    node.spawn(Some("fixed"), fixed).await.unwrap();
    let open = || -> Box<dyn Process<Payload>> {
        let make = |args: &Term| {
            assert!(!args.is_atom("plan"), "no plan");
            Some(Child::with_start("stuck", |_| panic!("no start")))
        };
        Box::new(DynamicSupervisor::new(Intensity::default(), 9, make))
    };
    node.spawn(Some("open"), open).await.unwrap();
    let steady = end_of(&node, named("steady")).await;
    node.call(named("frail"), Term::atom("panic"), PATIENCE)
        .await
        .unwrap_err();
    // It is tried again.
    ask_until(&node, "frail", 7).await;
    for (supervisor, args, expected) in [
        ("fixed", "plan", "{error,{panic,<<\"no plan\">>}}"),
        ("open", "plan", "{error,{panic,<<\"no plan\">>}}"),
        ("open", "start", "{error,{panic,<<\"no start\">>}}"),
        ("open", "start", "{error,{panic,<<\"no start\">>}}"),
    ] {
        let request = (Term::atom("start_child"), Term::atom(args)).into();
        let answer = node.call(named(supervisor), request, PATIENCE).await.unwrap();
        assert_eq!(answer.to_string(), expected);
    }
    node.call(named("steady"), Term::atom("panic"), PATIENCE)
        .await
        .unwrap_err();
    assert_eq!(
        heard(steady).await,
        "{panic,<<\"as told\">>}",
        "it has not ended before"
    );
    node.stop().await;
}

/// Panics when it is dropped.
struct Thorny;

impl Drop for Thorny {
    fn drop(&mut self) {
        panic!("a last word");
    }
}

impl GenServer<Payload> for Thorny {
    fn handle_call(&mut self, _: &mut Context<'_>, request: Term, _: &From) -> Reply {
        Reply::Reply(Term::atom("ok"), Next::Stop(request))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_what_a_process_leaves_behind_is_nobodys_end() {
    let node = start("thorns@127.0.0.1").await;
    for signal in [false, true] {
        let thorny = Address::Pid(node.start_server(None, Thorny).await.unwrap());
        let end = end_of(&node, thorny.clone()).await;
        if signal {
            let Address::Pid(pid) = thorny else { unreachable!() };
            node.spawn_async(move |inbox| async move {
                let _ = inbox.act(move |ctx| ctx.exit_other(&pid, Term::atom("boom"))).await;
            })
            .await
            .unwrap();
        } else {
            assert_eq!(
                node.call(thorny, Term::atom("boom"), PATIENCE).await,
                Ok(Term::atom("ok"))
            );
        }
        assert_eq!(heard(end).await, "boom");
    }
    node.start_server(Some("echo"), Echo).await.expect("the node lives");
    node.stop().await;
}

/// Who does not read is ended for the bytes that wait for it, long before their number would be too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_inbox_is_bounded_in_bytes() {
    const MESSAGE_BYTES: usize = 1 << 20;
    const FITTING: usize = INBOX_BYTES_MAX / MESSAGE_BYTES - 1;
    let node = start("narrow@127.0.0.1").await;
    let (go, told) = oneshot::channel::<()>();
    let (tell, heard_all) = oneshot::channel();
    let reads_once = move |mut inbox: Inbox| async move {
        let named = inbox.act(|ctx| ctx.register("narrow", &ctx.me().clone())).await;
        assert_eq!(named, Ok(true));
        told.await.unwrap();
        for _ in 0..FITTING {
            inbox.receive().await.unwrap();
        }
        tell.send(()).unwrap();
        // From now on it does not read.
        pending::<()>().await;
    };
    node.spawn_async(reads_once).await.unwrap();
    let end = end_of(&node, named("narrow")).await;
    let send = || {
        node.handle()
            .send(named("narrow"), Term::binary(vec![0; MESSAGE_BYTES]))
    };
    for _ in 0..FITTING {
        send().await.unwrap();
    }
    go.send(()).unwrap();
    timeout(PATIENCE, heard_all).await.unwrap().unwrap();
    for _ in 0..FITTING + 3 {
        send().await.unwrap();
    }
    assert_eq!(heard(end).await, "overflow");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nobody_waits_for_a_node_that_has_stopped() {
    let node = start("stops@127.0.0.1").await;
    let (tell, told) = oneshot::channel();
    let waits = move |mut inbox: Inbox| async move {
        let message = inbox.receive().await;
        tell.send((message.is_none(), inbox.act(|_| ()).await)).unwrap();
    };
    node.spawn_async(waits).await.unwrap();
    let handle = node.handle().clone();
    node.stop().await;
    assert_eq!(timeout(PATIENCE, told).await.unwrap().unwrap(), (true, Err(Gone)));
    assert_eq!(handle.call(named("x"), 1.into(), PATIENCE).await, Err(Failure::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_pool_of_the_example_survives() {
    let node = start("pool@127.0.0.1").await;
    assert_eq!(workers::run(node.handle(), 20).await, Ok(6));
    node.stop().await;
}

/// What a BEAM makes of the examples, one expression per line; each must come to `ok`.
const BEAM: &[&str] = &[
    "{ok, 5} = gen_server:call(C, {add, 5}), ok",
    "ok = gen_server:cast(C, reset), {ok, 0} = gen_server:call(C, get), ok",
    "{error, <<\"add.0: expected \", _/binary>>} = gen_server:call(C, {add, five}), ok",
    "X = case list_to_integer(erlang:system_info(otp_release)) > 26 of true -> 0; false -> {ok, 0} end, \
       X = sys:get_state(C), ok",
    "{error, {unknown_system_msg, _}} = (catch sys:suspend(C)), ok",
    "[{worker_2, _, worker, []}, {worker_1, _, _, _}, {worker_0, P, _, _}] = \
       supervisor:which_children(S), put(p, P), ok",
    "[{specs, 3}, {active, 3}, {supervisors, 0}, {workers, 3}] = supervisor:count_children(S), ok",
    "M = monitor(process, get(p)), {'EXIT', {{panic, <<\"planted\">>}, _}} = (catch gen_server:call({worker_0, N}, 6)), \
       receive {'DOWN', M, _, _, {panic, <<\"planted\">>}} -> ok end",
    "36 = gen_server:call({worker_0, N}, 6), ok",
    "ok = supervisor:terminate_child(S, worker_2), {'EXIT', {noproc, _}} = (catch gen_server:call({worker_2, N}, 2)), ok",
    "{ok, _} = supervisor:restart_child(S, worker_2), 4 = gen_server:call({worker_2, N}, 2), ok",
    "{error, {invalid_child_spec, x}} = gen_server:call(S, {start_child, x}), ok",
    "M = monitor(process, {worker_1, N}), ok = gen_server:stop(S, shutdown, 5000), \
       receive {'DOWN', M, _, _, shutdown} -> ok end",
    "good = gen_server:call(A, {'after', 20, good}), ok",
    "A ! {self(), hello}, receive {hello, R} when node(R) =:= N -> ok end",
    "M = monitor(process, A), gen_server:cast(A, panic), \
       receive {'DOWN', M, _, _, {panic, <<\"as you like\">>}} -> ok end",
    "M = monitor(process, C), ok = gen_server:stop(C), receive {'DOWN', M, _, _, normal} -> ok end",
    "{'EXIT', {noproc, _}} = (catch gen_server:call(C, get)), ok",
];

/// Without an `erl` on the path there is nothing to test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beam_uses_the_examples() {
    // Without a port mapper a BEAM finds every peer under its own port, at the address in the peer's name.
    let node = start("otp@127.0.0.1").await;
    node.start_server(Some("counter"), counter::Counter::default())
        .await
        .unwrap();
    workers::run(node.handle(), 3).await.unwrap();
    node.spawn_async(from_iex::sleeper).await.unwrap();
    let program = lines::program(
        "N = 'otp@127.0.0.1', C = {counter, N}, S = {pool, N}, A = {sleeper, N}",
        BEAM,
    );
    let port = node.dist().port().to_string();
    let mut erl = Command::new("timeout");
    erl.args([
        "60",
        "erl",
        "-noinput",
        "-name",
        "otp_beam@127.0.0.6",
        "-setcookie",
        "testing",
        "-hidden",
    ])
    .args(["-start_epmd", "false", "-erl_epmd_port", &port])
    .args(["-kernel", "inet_dist_use_interface", "{127,0,0,6}", "-eval", &program])
    .stdin(Stdio::null());
    let Ok(Ok(output)) = tokio::task::spawn_blocking(move || erl.output()).await else {
        return;
    };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if printed.is_empty() && output.status.code() == Some(127) {
        return;
    }
    assert_eq!(lines::failed(BEAM, &printed), None, "{printed}");
    node.stop().await;
}
