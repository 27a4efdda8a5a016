//! The door for Redis clients. *Decode* and *encode*: bytes become a batch, replies become bytes.
//!
//! A connection is one task. It reads, parses all requests that are complete, has the node execute them as one batch,
//! and writes all replies with one write; if the node answers at once, all of that happens without waking another task.
//!
//! - One batch of a connection is under way at a time.
//! - A client may write all of a pipeline before it reads. While replies wait for it, its requests are read on into a
//!   buffer of [`AHEAD_BYTES_MAX`]. What comes beyond is read and dropped, so that the client gets to reading; it then
//!   finds the replies to all that was executed, an error, and the end of the connection.
//! - An idle connection holds no buffer. Batches and the output buffer are shared by all.
//! - What is read in one go is bounded, so no connection holds up the others.
//! - When the node ends, each connection is closed between two requests, and no reply is lost with it: see
//!   [`clients`](crate::clients).

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

use bytes::{BufMut, BytesMut};
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
    resp::{self, Limits, Parser},
};

use crate::{
    clients::{Client, Clients, OVER_AFTER, QUIET, Then},
    core::Shell,
    departure::{Departure, FrontEnd, Stage},
    guesses::PASSWORDS,
    log::limit,
    mailbox::Mailbox,
};

/// Bytes read in one go.
const READ_BYTES_MAX: usize = 32 << 10;
/// Bytes read in one go of a request that is known to be large.
const LARGE_READ_BYTES_MAX: usize = 256 << 10;
/// Encoded replies that may wait for slow readers and what these have written ahead, all connections together; the
/// connection past it is closed.
const UNREAD_BYTES_MAX: usize = 1 << 30;
/// Requests that a client may have written ahead while replies wait for it.
const AHEAD_BYTES_MAX: usize = 128 << 20;
/// A connection that is closed because of what its client sent is read for so long, so that the reason reaches a client
/// that is still writing.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
/// The same for a client that is let go because the node ends.
const LET_GO_TIME_MAX: Duration = Duration::from_millis(200);
/// A client that reads nothing for so long is closed.
const UNREAD_TIME_MAX: Duration = Duration::from_secs(60);
/// A client that must show a password and does not is closed after so long.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(60);
/// Wait before the next accept when the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What holds for all connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) clients_max: usize,
    pub(crate) limits: Limits,
    /// Clients must show a password.
    pub(crate) password: bool,
}

/// Accepts clients until the node ends, and lets them go then. `front_end` lives as long as there may be one.
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
    // Who has connected already may have sent a request.
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

/// Accepts clients for ever.
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
        // It fits into the empty buffer of a new socket, or the client has to guess.
        let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
        shell.core().tally.rejected += 1;
        return;
    }
    tokio::task::spawn_local(serve(shell.clone(), stream, options, clients.add()));
}

async fn serve(shell: Shell, stream: TcpStream, options: Options, client: Client) {
    let address = |address: io::Result<SocketAddr>| match address {
        // A listener at `::` has IPv4 clients, too, at addresses that only it knows.
        Ok(address) => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
        Err(_) => "?".into(),
    };
    let guesses_from = stream
        .peer_addr()
        .ok()
        .map(|peer| peer.ip())
        .filter(|_| options.password);
    let (peer, local) = (address(stream.peer_addr()), address(stream.local_addr()));
    // Without these the connection is slower, or found dead later; it works all the same.
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
        ahead: Ahead::default(),
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

/// One client.
struct Connection {
    shell: Shell,
    stream: TcpStream,
    limits: Limits,
    since: Instant,
    /// The envelope of its batches; `None` while one is under way.
    ask: Option<Box<Ask>>,
    /// From where it comes, if it has to show a password.
    guesses_from: Option<IpAddr>,
    parser: Parser,
    /// What is read into: the request that is not complete yet. Without capacity while there is none.
    reading: Batch,
    /// Bytes it still needs at least.
    missing: usize,
    ahead: Ahead,
    protocol: Protocol,
    mailbox: Rc<Mailbox>,
    client: Client,
}

/// What came of a read.
enum Read {
    Some {
        more_at_hand: bool,
    },
    /// Nothing is at hand, and a client that is quiet is to be let go.
    Nothing,
    /// The client has gone, or is let go.
    End,
}

/// What was read while replies waited for the client.
#[derive(Default)]
struct Ahead {
    bytes: BytesMut,
    /// The client has ended its side.
    ended: bool,
    /// There was no room for all of it. What came since is dropped.
    overflowed: bool,
}

impl Ahead {
    fn room(&self) -> usize {
        AHEAD_BYTES_MAX - self.bytes.len()
    }

    /// Drops all of it, and what comes from now on.
    fn overflow(&mut self) {
        self.overflowed = true;
        self.bytes = BytesMut::new();
    }
}

/// What a slow client came to.
enum Step {
    /// It took so many bytes.
    Wrote(usize),
    /// It sent some.
    Read(usize),
}

/// What to do after a batch.
#[derive(PartialEq, Eq)]
enum After {
    Read,
    Parse,
    Close,
    /// Close, but let the client read why.
    Refuse,
}

impl Connection {
    /// Serves the client until it or we end the connection.
    async fn run(&mut self) -> io::Result<()> {
        while let Some(more_at_hand) = self.read().await? {
            loop {
                match self.take().await? {
                    After::Close => return self.stream.shutdown().await,
                    After::Refuse => return self.linger(LINGER_TIME_MAX).await,
                    After::Read => break,
                    After::Parse => {}
                }
            }
            if self.client.is_over() && self.ahead.bytes.is_empty() {
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

    /// Parses and executes what was read.
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
        if self.reading.is_empty() {
            self.shell.core().give_unused(&mut self.reading);
            return Ok(After::Read);
        }
        let quit = self.execute().await?;
        if self.ahead.overflowed && !quit {
            self.refuse(format_args!(
                "more than {} MiB of requests were sent while replies waited to be read: those from here on were not executed",
                AHEAD_BYTES_MAX >> 20
            ))
            .await?;
            return Ok(After::Refuse);
        }
        Ok(match (quit, progress.blocked) {
            (true, _) => After::Close,
            (false, true) => After::Parse,
            (false, false) => After::Read,
        })
    }

    fn is_known(&self) -> bool {
        self.ask.as_ref().is_none_or(|ask| ask.session.authenticated)
    }

    // Reading

    /// Reads, and tells whether more is at hand. `None`: the client has gone, or is let go.
    async fn read(&mut self) -> io::Result<Option<bool>> {
        let (is_known, until) = (self.is_known(), self.since + STRANGER_TIME_MAX);
        let read = poll_fn(|cx| self.poll_read(cx, true));
        let read = if is_known {
            read.await
        } else {
            timeout_at(until, read).await.unwrap_or(Ok(Read::End))
        };
        let read = match read? {
            Read::Nothing => {
                let read = poll_fn(|cx| self.poll_read(cx, false));
                timeout(QUIET, read).await.unwrap_or(Ok(Read::End))?
            }
            read => read,
        };
        Ok(match read {
            Read::Some { more_at_hand } => Some(more_at_hand),
            Read::End | Read::Nothing => None,
        })
    }

    /// `looks`: what to do if nothing is at hand.
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
        // What a length promises is believed as far as bytes have come.
        let room = (*missing)
            .min(reading.buffer.len())
            .clamp(READ_BYTES_MAX, LARGE_READ_BYTES_MAX);
        reading.buffer.reserve(room);
        if !ahead.bytes.is_empty() {
            let taken = ahead.bytes.split_to(room.min(ahead.bytes.len()));
            reading.buffer.extend_from_slice(&taken);
            if ahead.bytes.is_empty() {
                ahead.bytes = BytesMut::new();
            }
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

    /// Executes what was parsed and writes the replies, in pieces if they are large. True if the client asked to be let
    /// go.
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
        loop {
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
                None => self.mailbox.take().await,
            };
            if let Some(address) = guesses_from {
                count_wrong(address, &ask.batch.replies);
            }
            let unsent = self.answer(&ask.batch.replies)?;
            if !unsent.is_empty() {
                self.drain(&unsent).await?;
            }
            if !ask.batch.resume() {
                break;
            }
        }
        self.shell.core().give_batch(&mut ask.batch);
        let quit = ask.session.quit;
        if was_known && !ask.session.authenticated {
            // RESET: it has as long as a new client to show the password.
            self.since = Instant::now();
        }
        self.ask = Some(ask);
        self.client.answered();
        Ok(quit)
    }

    /// Encodes and writes replies; gives back what the socket does not take at once.
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
        let mut unsent = mem::take(&mut core.output);
        unsent.drain(..written);
        Ok(unsent)
    }

    /// Writes the rest to a client that is slower than we are, and reads what it sends meanwhile.
    async fn drain(&mut self, mut unsent: &[u8]) -> io::Result<()> {
        let mut unread = Unread::default();
        if !unread.add(&self.shell, unsent.len() + self.ahead.bytes.len()) {
            return Err(io::Error::other(
                "too many replies wait for clients that do not read them",
            ));
        }
        let mut until = Instant::now() + UNREAD_TIME_MAX;
        while !unsent.is_empty() {
            let step = poll_fn(|cx| self.poll_write_or_read(cx, unsent));
            match timeout_at(until, step).await?? {
                Step::Wrote(0) => return Err(io::ErrorKind::WriteZero.into()),
                Step::Wrote(written) => {
                    self.shell.core().tally.sent_bytes += written as u64;
                    unsent = &unsent[written..];
                    until = Instant::now() + UNREAD_TIME_MAX;
                }
                Step::Read(0) => self.ahead.ended = true,
                Step::Read(read) => {
                    self.shell.core().tally.received_bytes += read as u64;
                    if !self.ahead.overflowed && (self.ahead.room() == 0 || !unread.add(&self.shell, read)) {
                        self.ahead.overflow();
                    }
                }
            }
        }
        Ok(())
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
            let room = ahead.room().min(READ_BYTES_MAX);
            ahead.bytes.reserve(room);
            pin!(stream.read_buf(&mut (&mut ahead.bytes).limit(room))).poll(cx)
        };
        polled.map_ok(Step::Read)
    }

    /// Lets the client go without looking at what it asks for: too many wrong passwords came from where it is.
    async fn refuse_guesses(&mut self, mut ask: Box<Ask>) -> io::Result<bool> {
        self.shell.core().give_batch(&mut ask.batch);
        self.ask = Some(ask);
        self.refuse("too many wrong passwords came from this address, try again in some seconds")
            .await?;
        Ok(true)
    }

    /// Tells the client what was wrong with what it sent.
    async fn refuse(&mut self, error: impl fmt::Display) -> io::Result<()> {
        let mut replies = Replies::new();
        replies.error(ErrorKind::Err, error);
        let mut text = Vec::new();
        resp::encode(&replies, self.protocol, &mut text);
        self.drain(&text).await
    }

    /// Ends our side, and drops what the client still sends until it ends its own: were the socket closed with bytes in
    /// it, the client would see a broken connection instead of the last replies.
    async fn linger(&mut self, time_max: Duration) -> io::Result<()> {
        self.stream.shutdown().await?;
        let mut dropped = vec![0; READ_BYTES_MAX];
        let all = async { while self.stream.read(&mut dropped).await.is_ok_and(|read| read > 0) {} };
        // However it ends, the connection is closed.
        let _ = timeout(time_max, all).await;
        Ok(())
    }
}

/// How many passwords the requests of `batch` show.
fn secrets(batch: &Batch) -> u32 {
    let shows = |args: &Args<'_>| {
        let is = |index, word: &[u8]| args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word));
        is(0, b"auth") || is(0, b"hello") && (2..args.len()).any(|index| is(index, b"auth"))
    };
    batch.requests().filter(shows).count() as u32
}

/// Counts the wrong passwords that `replies` answer.
fn count_wrong(address: IpAddr, replies: &Replies) {
    let is_wrong = |reply: &Reply<'_>| matches!(reply, Reply::Error(ErrorKind::WrongPass, _));
    let wrong = replies.tokens().filter(is_wrong).count() as u32;
    if wrong > 0 {
        PASSWORDS.add(address, wrong);
        if limit::SECRET.allows() {
            tracing::warn!(%address, "a Redis client showed a wrong password");
        }
    }
}

/// Counts what waits for a slow reader.
#[derive(Default)]
struct Unread {
    shell: Option<Shell>,
    bytes: usize,
}

impl Unread {
    /// Counts so many bytes more; false, and nothing counted, if that would be too many.
    fn add(&mut self, shell: &Shell, bytes: usize) -> bool {
        let mut core = shell.core();
        let fits = core.unread_bytes + bytes <= UNREAD_BYTES_MAX;
        if fits {
            core.unread_bytes += bytes;
            self.bytes += bytes;
            self.shell.get_or_insert_with(|| shell.clone());
        }
        fits
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(shell) = &self.shell {
            shell.core().unread_bytes -= self.bytes;
        }
    }
}
