//! The front end for Redis clients. *Decode* and *encode*: bytes become a batch, replies become bytes.
//!
//! A connection is one task. It reads, parses all complete requests, has the node execute them as one batch, and writes
//! all replies with one write. If the node answers at once, no other task is woken.
//!
//! - One batch of a connection is under way at a time.
//! - All bytes that a connection holds while it waits are in its [`Claim`] on the node's [`Budget`].
//! - A large request is read only once there is room for all of it. A client that waits too long for room is refused.
//! - A request beyond the limits on its size is answered with an error. Its bytes are read and dropped, and the client
//!   goes on.
//! - A client may write a whole pipeline before it reads. While replies wait for it, its requests are read ahead as far
//!   as there is room. Further bytes are read and dropped, so that the client gets to reading. It then finds the
//!   replies to all executed requests, an error, and the end of the connection.
//! - Of a pipeline, as many requests are executed in one go as have replies of about [`pipeline::GO_BYTES`], estimated
//!   from earlier replies. Without room for that, they are executed one by one.
//! - An idle connection holds no buffer. All connections share the batches and the output buffer.
//! - The bytes read in one go are bounded, so no connection delays the others.
//! - When the node ends, it closes each connection between two requests, and no reply is lost: see
//!   [`clients`](crate::clients).

mod pipeline;

use std::{
    fmt,
    future::{Future, poll_fn},
    io, mem,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::BufMut;
use socket2::SockRef;
use store::ask::Ask;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};
use wire::{
    reply::{ErrorKind, Protocol, Replies, Reply},
    request::{Args, Batch},
    resp::{self, Limits, Parser, TooLarge},
};

use self::pipeline::{Ahead, Goes, READ_BYTES_MAX};
use crate::{
    budget::{Budget, COPIES, Claim, LARGE_BYTES, NO_ROOM, SMALL_BYTES, STILL_TIME_MAX, UNREAD_TIME_MAX},
    clients::{Client, Clients, OVER_AFTER, QUIET, Then},
    core::Shell,
    departure::{Departure, FrontEnd, Stage},
    guesses::PASSWORDS,
    log::limit,
    mailbox::Mailbox,
};

/// Bytes read in one go of a large request.
const LARGE_READ_BYTES_MAX: usize = 256 << 10;
/// How long the node reads from a client before it closes the connection because of what the client sent. A client that
/// is still writing then gets the reason.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
/// The same when the node ends.
const LET_GO_TIME_MAX: Duration = Duration::from_millis(200);
/// A client that must send a password is closed after this time without it.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(60);
/// Wait before the next accept when the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Options of all connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) clients_max: usize,
    pub(crate) limits: Limits,
    /// Clients must send a password.
    pub(crate) password: bool,
}

/// Bytes of the largest request, besides those read in one go.
pub(crate) fn request_bytes_max(budget: &Budget) -> usize {
    let share = budget.share_max() - 2 * LARGE_READ_BYTES_MAX;
    share.min(Limits::default().request_bytes_max)
}

/// Accepts clients until the node ends, and then closes their connections. `front_end` is dropped when there can be no
/// more clients.
pub(crate) async fn listen(
    shell: Shell,
    listener: TcpListener,
    options: Options,
    (departure, front_end): (Departure, FrontEnd),
) {
    let clients = Rc::<Clients>::default();
    tokio::select! {
        biased;
        () = departure.reach(Stage::ServingOut) => {}
        () = accept(&shell, &listener, options, &clients) => {}
    }
    clients.enter(Stage::ServingOut);
    // Clients that are connected already may have sent a request.
    while let Some(Ok((stream, _))) = poll_fn(|cx| Poll::Ready(at_once(listener.poll_accept(cx)))).await {
        welcome(&shell, stream, options, &clients);
    }
    drop(listener);
    tokio::select! {
        biased;
        () = clients.gone() => {}
        () = departure.reach(Stage::Closing) => {
            clients.enter(Stage::Closing);
            if timeout(OVER_AFTER, clients.gone()).await.is_err() {
                clients.enter(Stage::Over);
                clients.gone().await;
            }
        }
    }
    drop(front_end);
}

fn at_once<T>(polled: Poll<T>) -> Option<T> {
    match polled {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Accepts clients. Never returns.
async fn accept(shell: &Shell, listener: &TcpListener, options: Options, clients: &Rc<Clients>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => welcome(shell, stream, options, clients),
            Err(error) => {
                if limit::ACCEPT.allows() {
                    tracing::warn!(%error, "a client could not be accepted");
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn welcome(shell: &Shell, stream: TcpStream, options: Options, clients: &Rc<Clients>) {
    if clients.count() >= options.clients_max {
        // It fits into the empty buffer of a new socket. If it fails, the client does not learn the reason.
        let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        shell.core().tally.rejected += 1;
        return;
    }
    tokio::task::spawn_local(serve(shell.clone(), stream, options, clients.add()));
}

async fn serve(shell: Shell, stream: TcpStream, options: Options, client: Client) {
    let address = |address: io::Result<SocketAddr>| match address {
        // A listener at `::` also has IPv4 clients, with mapped addresses.
        Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
        Err(_) => "?".into(),
    };
    let guesses_from = stream
        .peer_addr()
        .ok()
        .map(|peer| peer.ip())
        .filter(|_| options.password);
    let (peer, local) = (address(stream.peer_addr()), address(stream.local_addr()));
    // If these options fail, the connection is slower or a dead client is noticed later. It still works.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_keepalive(true);
    let ask = shell.core().connected(!options.password, peer, local);
    let id = ask.session.id;
    let kill = shell.core().kill_bell(id);
    let mut connection = Connection {
        shell: shell.clone(),
        stream,
        limits: options.limits,
        since: Instant::now(),
        ask: Some(ask),
        guesses_from,
        parser: Parser::new(),
        reading: Batch::new(),
        missing: 0,
        queued: 0,
        ahead: Ahead::default(),
        large_since: None,
        goes: Goes::default(),
        claim: shell.core().budget.claim(),
        protocol: Protocol::default(),
        mailbox: Rc::default(),
        client,
    };
    connection.client.begin().await;
    let served = tokio::select! {
        biased;
        served = connection.run() => served,
        () = kill.heard() => Ok(()),
    };
    if let Err(error) = served {
        tracing::debug!(client = id, %error, "a client's connection failed");
    }
    drop(connection);
    shell.core().disconnected(id);
}

struct Connection {
    shell: Shell,
    stream: TcpStream,
    limits: Limits,
    since: Instant,
    /// The envelope of its batches. `None` while one is under way.
    ask: Option<Box<Ask>>,
    /// The address it comes from, if it has to send a password.
    guesses_from: Option<IpAddr>,
    parser: Parser,
    /// The incomplete request that is being read. Without capacity if there is none.
    reading: Batch,
    /// Bytes that this request still needs at least.
    missing: usize,
    /// Bytes of requests that are queued for a transaction.
    queued: usize,
    ahead: Ahead,
    /// The time since which a large request is being read.
    large_since: Option<Instant>,
    goes: Goes,
    /// The bytes that it holds while it waits.
    claim: Claim,
    protocol: Protocol,
    mailbox: Rc<Mailbox>,
    client: Client,
}

/// The result of a read.
enum Read {
    Some {
        more_at_hand: bool,
    },
    /// No bytes are available, and quiet clients must be closed.
    Nothing,
    /// The client has gone, or must be closed.
    End,
    /// The client has stopped in the middle of a large request, and others wait for room.
    Still,
}

/// The progress of a slow client.
enum Step {
    /// It took so many bytes.
    Wrote(usize),
    /// It sent so many bytes.
    Read(usize),
}

/// What to do after a batch.
#[derive(PartialEq, Eq)]
enum After {
    Read,
    Parse,
    Close,
    /// Close, after the client was sent the reason.
    Refuse,
}

impl Connection {
    /// Serves the client until one side ends the connection.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            if !self.make_room().await {
                return self.refuse_room().await;
            }
            let more_at_hand = match self.read().await? {
                Read::Some { more_at_hand } => more_at_hand,
                Read::Still => return self.refuse_room().await,
                Read::End | Read::Nothing => break,
            };
            loop {
                match self.take().await? {
                    After::Close => return self.stream.shutdown().await,
                    After::Refuse => return self.linger(LINGER_TIME_MAX).await,
                    After::Read => break,
                    After::Parse => {}
                }
            }
            if self.client.is_over() && self.ahead.bytes == 0 {
                break;
            }
            if more_at_hand {
                tokio::task::yield_now().await;
            }
        }
        if self.client.is_let_go() {
            self.linger(LET_GO_TIME_MAX).await
        } else {
            Ok(())
        }
    }

    /// Parses and executes the bytes that were read.
    async fn take(&mut self) -> io::Result<After> {
        let is_known = self.is_known();
        let limits = if is_known { &self.limits } else { &Limits::BEFORE_AUTH };
        let parsed = self.parser.parse(&mut self.reading, limits);
        let progress = match parsed {
            Ok(progress) => progress,
            Err(error) => {
                if !self.reading.is_empty() {
                    self.execute().await?;
                }
                self.refuse(error).await?;
                return Ok(After::Refuse);
            }
        };
        self.missing = progress.missing;
        if self.reading.is_empty() && progress.refused.is_none() {
            self.shell.core().give_unused(&mut self.reading);
            return Ok(After::Read);
        }
        let quit = !self.reading.is_empty() && self.execute().await?;
        if self.ahead.overflowed && !quit {
            self.refuse(
                "more requests were sent while replies waited to be read than this node holds for a client (max-buffers): \
                 those from here on were not executed",
            )
            .await?;
            return Ok(After::Refuse);
        }
        if let Some(why) = progress.refused
            && !quit
        {
            self.refuse_one(why).await?;
        }
        Ok(match (quit, progress.blocked || progress.refused.is_some()) {
            (true, _) => After::Close,
            (false, true) => After::Parse,
            (false, false) => After::Read,
        })
    }

    /// Answers a request that is too large. The parser skips its bytes.
    async fn refuse_one(&mut self, why: TooLarge) -> io::Result<()> {
        let mut replies = Replies::new();
        if let Some(ask) = &mut self.ask {
            ask.session.refuse(why, &mut replies);
        }
        self.tell(&replies).await
    }

    fn is_known(&self) -> bool {
        self.ask.as_ref().is_none_or(|ask| ask.session.authenticated)
    }

    // Room

    /// The bytes that the connection will hold with replies of this size, at most one share.
    fn expected(&self, under_way: usize, reply_bytes: usize) -> usize {
        (under_way + self.held() + reply_bytes)
            .min(self.claim.budget().share_max())
            .max(self.claim.bytes())
    }

    /// Whether there is room for replies of so many bytes.
    fn expect(&mut self, under_way: usize, reply_bytes: usize) -> bool {
        let expected = self.expected(under_way, reply_bytes);
        self.claim.set(expected)
    }

    /// The bytes that it holds besides a batch under way.
    fn held(&self) -> usize {
        self.reading.buffer.len() + self.ahead.bytes + self.queued
    }

    /// Waits until there is room for the request that is being read, if that is large. False if it waits too long.
    #[inline]
    async fn make_room(&mut self) -> bool {
        let held = self.held();
        if held == 0 && self.claim.bytes() == 0 {
            return true;
        }
        let wanted = held + self.missing;
        if wanted <= SMALL_BYTES {
            self.large_since = None;
            return self.claim.set(held);
        }
        // Bytes that were read ahead have room already.
        if self.ahead.bytes > 0 && wanted <= self.claim.bytes() {
            return self.claim.set(wanted);
        }
        let since = *self.large_since.get_or_insert_with(Instant::now);
        if since.elapsed() > UNREAD_TIME_MAX && self.claim.budget().is_scarce() {
            return false;
        }
        let has_room = self.claim.await_room(wanted).await;
        if has_room && self.ahead.bytes == 0 {
            // Growing a buffer by doubling would hold the bytes twice for a moment.
            self.reading.buffer.reserve_exact(self.missing);
        }
        has_room
    }

    /// Closes the connection because there is no room for the client's request.
    async fn refuse_room(&mut self) -> io::Result<()> {
        (self.reading, self.ahead) = (Batch::new(), Ahead::default());
        self.claim.set(0);
        self.claim.budget().count_refused();
        if limit::NO_ROOM.allows() {
            tracing::warn!(
                client = self.id(),
                "a Redis client was refused: the buffers are full (max-buffers)"
            );
        }
        let mut replies = Replies::new();
        replies.error(ErrorKind::Oom, NO_ROOM);
        self.tell(&replies).await?;
        self.linger(LINGER_TIME_MAX).await
    }

    fn id(&self) -> u64 {
        self.ask.as_ref().map_or(0, |ask| ask.session.id)
    }

    // Reading

    /// Reads what the client sends next.
    async fn read(&mut self) -> io::Result<Read> {
        let until = if !self.is_known() {
            Some(self.since + STRANGER_TIME_MAX)
        } else if self.claim.bytes() > SMALL_BYTES {
            return self.read_large().await;
        } else {
            None
        };
        let read = poll_fn(|cx| self.poll_read(cx, true));
        let read = match until {
            None => read.await,
            Some(until) => timeout_at(until, read).await.unwrap_or(Ok(Read::End)),
        };
        match read? {
            Read::Nothing => {
                let read = poll_fn(|cx| self.poll_read(cx, false));
                timeout(QUIET, read).await.unwrap_or(Ok(Read::End))
            }
            read => Ok(read),
        }
    }

    /// Reads the rest of a large request. A client that sends nothing is closed only if others need its room.
    async fn read_large(&mut self) -> io::Result<Read> {
        loop {
            let read = poll_fn(|cx| self.poll_read(cx, false));
            match timeout(STILL_TIME_MAX, read).await {
                Ok(read) => return read,
                Err(_) if self.claim.budget().is_scarce() => return Ok(Read::Still),
                Err(_) => {}
            }
        }
    }

    /// `looks`: what to do if no bytes are available.
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, looks: bool) -> Poll<io::Result<Read>> {
        let Self {
            shell,
            stream,
            missing,
            reading,
            ahead,
            client,
            ..
        } = self;
        if reading.buffer.capacity() == 0 {
            shell.core().take_batch(reading);
        }
        // An announced length counts only as far as bytes have come.
        let room = (*missing)
            .min(reading.buffer.len())
            .clamp(READ_BYTES_MAX, LARGE_READ_BYTES_MAX);
        reading.buffer.reserve(room);
        if let Some(piece) = ahead.take() {
            reading.buffer.extend_from_slice(&piece);
            return Poll::Ready(Ok(Read::Some { more_at_hand: true }));
        }
        if ahead.ended {
            return Poll::Ready(Ok(Read::End));
        }
        let polled = {
            let mut space = (&mut reading.buffer).limit(room);
            pin!(stream.read_buf(&mut space)).poll(cx)
        };
        match polled {
            Poll::Pending => {
                let then = client.then(reading.buffer.is_empty());
                shell.core().give_unused(reading);
                match then {
                    Then::WaitAMoment if looks => Poll::Ready(Ok(Read::Nothing)),
                    Then::Wait | Then::WaitAMoment => Poll::Pending,
                    Then::Close => Poll::Ready(Ok(Read::End)),
                }
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(Read::End)),
            Poll::Ready(Ok(read)) => {
                shell.core().tally.received_bytes += read as u64;
                Poll::Ready(Ok(Read::Some {
                    more_at_hand: read == room,
                }))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    // Executing and writing

    /// Executes the parsed requests and writes the replies, in pieces if they are large. True if the client asked to
    /// close.
    async fn execute(&mut self) -> io::Result<bool> {
        let mut ask = self.ask.take().expect("one batch at a time is under way");
        let was_known = ask.session.authenticated;
        mem::swap(&mut ask.batch, &mut self.reading);
        self.parser.split_tail(&mut ask.batch, &mut self.reading);
        let guesses_from = self.guesses_from.filter(|_| !was_known);
        if let Some(address) = guesses_from
            && secrets(&ask.batch) > PASSWORDS.room(address)
        {
            return self.refuse_guesses(ask).await;
        }
        self.large_since = None;
        let budget = self.claim.budget().clone();
        let under_way = ask.batch.buffer.len();
        let _turn = if under_way > LARGE_BYTES {
            let turn = budget.turn(under_way).await;
            if turn.is_none() {
                return self.refuse_batch(ask).await;
            }
            self.claim.force(under_way * COPIES + self.held());
            turn
        } else {
            None
        };
        loop {
            let (mut go, reply_bytes) = self.goes.next(ask.batch.len());
            if reply_bytes > SMALL_BYTES && !self.expect(under_way, reply_bytes) {
                // There is no room for so many replies: one by one.
                go = 1;
                let usual = self.goes.usual.unwrap_or(0);
                if usual > SMALL_BYTES && !self.claim.await_room(self.expected(under_way, usual)).await {
                    return self.refuse_batch(ask).await;
                }
            }
            if ask.batch.len() > go {
                ask.batch.hold_back(go);
            }
            let id = ask.session.id;
            let at_once = {
                let mut core = self.shell.core();
                let at_once = core.execute(ask);
                if at_once.is_none() {
                    core.expect(id, self.mailbox.clone());
                }
                at_once
            };
            ask = match at_once {
                Some(ask) => ask,
                None => {
                    let held = under_way + self.held();
                    if held > self.claim.bytes() {
                        self.claim.force(held);
                    }
                    self.mailbox.take().await
                }
            };
            if let Some(address) = guesses_from {
                count_wrong(address, &ask.batch.replies);
            }
            if !lacks_room(&ask.batch.replies) {
                self.goes.note(ask.batch.len(), ask.batch.replies.data_len());
            }
            let unsent = self.answer(&ask.batch.replies)?;
            if !unsent.is_empty() {
                // The encoded replies replace them, so they are held only once.
                ask.batch.replies.clear();
                self.drain(&unsent, under_way).await?;
            }
            if !ask.batch.resume() {
                break;
            }
        }
        self.shell.core().give_batch(&mut ask.batch);
        let quit = ask.session.quit;
        self.queued = ask.session.transaction.bytes();
        if was_known && !ask.session.authenticated {
            // After RESET, it has as long as a new client to send the password.
            self.since = Instant::now();
        }
        self.ask = Some(ask);
        self.client.answered();
        Ok(quit)
    }

    /// Encodes and writes replies. Returns the bytes that the socket does not take at once.
    #[inline]
    fn answer(&mut self, replies: &Replies) -> io::Result<Vec<u8>> {
        let core = &mut *self.shell.core();
        self.protocol = resp::encode(replies, self.protocol, &mut core.output);
        if core.output.is_empty() {
            return Ok(Vec::new());
        }
        let written = match self.stream.try_write(&core.output) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                core.clear_output();
                return Err(error);
            }
        };
        core.tally.sent_bytes += written as u64;
        if written == core.output.len() {
            core.clear_output();
            return Ok(Vec::new());
        }
        // A copy of exactly this size: the shared buffer may be much larger.
        let unsent = core.output[written..].to_vec();
        core.clear_output();
        Ok(unsent)
    }

    /// Writes the rest to a slow client, and reads what it sends meanwhile. `under_way` bytes of its requests wait to
    /// be executed.
    async fn drain(&mut self, mut unsent: &[u8], under_way: usize) -> io::Result<()> {
        let reply_bytes = unsent.len();
        if !self.claim.set(under_way + reply_bytes + self.held()) {
            return Err(self.cut(reply_bytes));
        }
        let since = Instant::now();
        let (mut moved, mut look_at) = (since, since + STILL_TIME_MAX);
        while !unsent.is_empty() {
            let step = poll_fn(|cx| self.poll_write_or_read(cx, unsent));
            let Ok(step) = timeout_at(look_at, step).await else {
                let still = moved.elapsed();
                if still >= UNREAD_TIME_MAX || still >= STILL_TIME_MAX && self.claim.budget().is_scarce() {
                    return Err(self.cut(unsent.len()));
                }
                look_at = Instant::now() + STILL_TIME_MAX;
                continue;
            };
            match step? {
                Step::Wrote(0) => return Err(io::ErrorKind::WriteZero.into()),
                Step::Wrote(written) => {
                    self.shell.core().tally.sent_bytes += written as u64;
                    unsent = &unsent[written..];
                    moved = Instant::now();
                    if since.elapsed() > UNREAD_TIME_MAX && self.claim.budget().is_scarce() {
                        return Err(self.cut(unsent.len()));
                    }
                }
                Step::Read(0) => self.ahead.ended = true,
                Step::Read(read) if !self.ahead.overflowed => {
                    self.shell.core().tally.received_bytes += read as u64;
                    self.ahead.bytes += read;
                    if !self.claim.set(under_way + reply_bytes + self.held()) {
                        self.ahead.overflow();
                    }
                }
                Step::Read(_) => {}
            }
        }
        Ok(())
    }

    /// Counts and logs that the client is cut: `bytes` of replies wait for it, and it does not read them.
    fn cut(&self, bytes: usize) -> io::Error {
        self.claim.budget().count_cut();
        if limit::UNREAD.allows() {
            let address = self.stream.peer_addr().ok().map(tracing::field::display);
            tracing::warn!(
                address,
                bytes,
                "a Redis client was cut: it does not read its replies (max-buffers)"
            );
        }
        io::Error::other("the client does not read its replies")
    }

    fn poll_write_or_read(&mut self, cx: &mut Context<'_>, unsent: &[u8]) -> Poll<io::Result<Step>> {
        let is_known = self.is_known();
        let Self { stream, ahead, .. } = self;
        if let Poll::Ready(written) = pin!(stream.write(unsent)).poll(cx) {
            return Poll::Ready(written.map(Step::Wrote));
        }
        if ahead.ended || !is_known {
            return Poll::Pending;
        }
        let polled = if ahead.overflowed {
            pin!(stream.read(&mut [0; READ_BYTES_MAX])).poll(cx)
        } else {
            let piece = ahead.piece();
            let room = piece.capacity() - piece.len();
            pin!(stream.read_buf(&mut piece.limit(room))).poll(cx)
        };
        polled.map_ok(Step::Read)
    }

    /// Closes the connection without checking the password: too many wrong passwords came from the client's address.
    async fn refuse_guesses(&mut self, mut ask: Box<Ask>) -> io::Result<bool> {
        self.shell.core().give_batch(&mut ask.batch);
        self.ask = Some(ask);
        self.refuse("too many wrong passwords came from this address, try again in some seconds")
            .await?;
        Ok(true)
    }

    /// Refuses the rest of a batch and closes the connection, because there is no room.
    async fn refuse_batch(&mut self, mut ask: Box<Ask>) -> io::Result<bool> {
        ask.batch = Batch::new();
        self.ask = Some(ask);
        self.refuse_room().await?;
        Ok(true)
    }

    /// Sends the client an error about its request.
    async fn refuse(&mut self, error: impl fmt::Display) -> io::Result<()> {
        let mut replies = Replies::new();
        replies.error(ErrorKind::Err, error);
        self.tell(&replies).await
    }

    async fn tell(&mut self, replies: &Replies) -> io::Result<()> {
        let mut text = Vec::new();
        resp::encode(replies, self.protocol, &mut text);
        self.drain(&text, 0).await
    }

    /// Ends the node's side, and drops what the client still sends until the client ends its own side. If the socket
    /// were closed with unread bytes, the client would get a connection error instead of the last replies.
    async fn linger(&mut self, time_max: Duration) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut dropped = vec![0; READ_BYTES_MAX];
        let all = async { while self.stream.read(&mut dropped).await.is_ok_and(|read| read > 0) {} };
        // The connection is closed whatever the result.
        let _ = timeout(time_max, all).await;
        Ok(())
    }
}

/// How many passwords the requests of `batch` contain.
fn secrets(batch: &Batch) -> u32 {
    let shows = |args: &Args<'_>| {
        let is = |index, word: &[u8]| args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
        is(0, b"auth") || is(0, b"hello") && (2..args.len()).any(|index| is(index, b"auth"))
    };
    batch.requests().filter(shows).count() as u32
}

/// Whether the errors in `replies` stand for larger replies, so that their size says nothing about those to come.
fn lacks_room(replies: &Replies) -> bool {
    let is_oom = |reply: Reply<'_>| matches!(reply, Reply::Error(ErrorKind::Oom, _));
    replies.may_have_errors() && replies.tokens().any(is_oom)
}

/// Counts the wrong passwords in `replies`.
fn count_wrong(address: IpAddr, replies: &Replies) {
    let is_wrong = |reply: &Reply<'_>| matches!(reply, Reply::Error(ErrorKind::WrongPass, _));
    let wrong = replies.tokens().filter(is_wrong).count() as u32;
    if wrong > 0 {
        PASSWORDS.add(address, wrong);
        if limit::SECRET.allows() {
            tracing::warn!(%address, "a Redis client sent a wrong password");
        }
    }
}
