//! The door for Redis clients. *Decode* and *encode*: bytes become a batch, replies become bytes.
//!
//! A connection is one task. It reads, parses all requests that are complete, has the node execute them as one batch,
//! and writes all replies with one write; if the node answers at once, all of that happens without waking another task.
//!
//! - One batch of a connection is under way at a time. Until its replies are written, nothing more is read: who does
//!   not read what was asked for cannot ask for more.
//! - An idle connection holds no buffer. Batches and the output buffer are shared by all.
//! - What is read in one go is bounded, so no connection holds up the others.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io, mem,
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
    reply::{ErrorKind, Protocol, Replies},
    request::Batch,
    resp::{self, Limits, Parser, ProtocolError},
};

use crate::{core::Shell, log::limit, mailbox::Mailbox};

/// Bytes read in one go.
const READ_BYTES_MAX: usize = 32 << 10;
/// Bytes read in one go of a request that is known to be large.
const LARGE_READ_BYTES_MAX: usize = 256 << 10;
/// Encoded replies that may wait for slow readers, all connections together; the connection past it is closed.
const UNREAD_BYTES_MAX: usize = 1 << 30;
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

/// Accepts clients for ever.
pub(crate) async fn listen(shell: Shell, listener: TcpListener, options: Options) {
    let clients = Rc::new(Cell::new(0));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if limit::ACCEPT.allows() {
                    tracing::warn!(%error, "a client could not be accepted");
                }
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        if clients.get() >= options.clients_max {
            // It fits into the empty buffer of a new socket, or the client has to guess.
            let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
            continue;
        }
        let counted = Counted::new(&clients);
        let shell = shell.clone();
        tokio::task::spawn_local(async move {
            let _counted = counted;
            serve(shell, stream, options).await;
        });
    }
}

/// Counts a client for as long as it lives.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(clients: &Rc<Cell<usize>>) -> Self {
        clients.set(clients.get() + 1);
        Self(clients.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn serve(shell: Shell, stream: TcpStream, options: Options) {
    let address = |address: io::Result<std::net::SocketAddr>| address.map_or_else(|_| "?".into(), |a| a.to_string());
    let (peer, local) = (address(stream.peer_addr()), address(stream.local_addr()));
    // Without these the connection is slower, or found dead later; it works all the same.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_keepalive(true);
    let ask = shell.core().connected(!options.password, peer, local);
    let id = ask.session.id;
    let mut connection = Connection {
        shell: shell.clone(),
        stream,
        limits: options.limits,
        since: Instant::now(),
        ask: Some(ask),
        parser: Parser::new(),
        reading: Batch::new(),
        missing: 0,
        protocol: Protocol::default(),
        mailbox: Rc::default(),
    };
    if let Err(error) = connection.run().await {
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
    parser: Parser,
    /// What is read into: the request that is not complete yet. Without capacity while there is none.
    reading: Batch,
    /// Bytes it still needs at least.
    missing: usize,
    protocol: Protocol,
    mailbox: Rc<Mailbox>,
}

/// What to do after a batch.
#[derive(PartialEq, Eq)]
enum After {
    Read,
    Parse,
    Close,
}

impl Connection {
    /// Serves the client until it or we end the connection.
    async fn run(&mut self) -> io::Result<()> {
        while let Some(more_at_hand) = self.read().await? {
            loop {
                match self.take().await? {
                    After::Close => return self.stream.shutdown().await,
                    After::Read => break,
                    After::Parse => {}
                }
            }
            if more_at_hand {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
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
                return Ok(After::Close);
            }
        };
        self.missing = progress.missing;
        if self.reading.is_empty() {
            self.shell.core().give_unused(&mut self.reading);
            return Ok(After::Read);
        }
        let quit = self.execute().await?;
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

    /// Reads, and tells whether more is at hand. `None`: the client has gone.
    async fn read(&mut self) -> io::Result<Option<bool>> {
        let (is_known, until) = (self.is_known(), self.since + STRANGER_TIME_MAX);
        let read = poll_fn(|cx| self.poll_read(cx));
        if is_known {
            read.await
        } else {
            timeout_at(until, read).await.unwrap_or(Ok(None))
        }
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<bool>>> {
        let Self {
            shell,
            stream,
            missing,
            reading,
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
        let polled = {
            let mut space = (&mut reading.buffer).limit(room);
            pin!(stream.read_buf(&mut space)).poll(cx)
        };
        match polled {
            Poll::Pending => {
                shell.core().give_unused(reading);
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(read)) => Poll::Ready(Ok(Some(read == room))),
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
        if written == core.output.len() {
            core.clear_output();
            return Ok(Vec::new());
        }
        let mut unsent = mem::take(&mut core.output);
        unsent.drain(..written);
        Ok(unsent)
    }

    /// Writes the rest to a client that is slower than we are.
    async fn drain(&mut self, mut unsent: &[u8]) -> io::Result<()> {
        let _unread = Unread::new(&self.shell, unsent.len())?;
        while !unsent.is_empty() {
            let written = timeout(UNREAD_TIME_MAX, self.stream.write(unsent)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            unsent = &unsent[written..];
        }
        Ok(())
    }

    /// Tells the client what was wrong with its bytes.
    async fn refuse(&mut self, error: ProtocolError) -> io::Result<()> {
        let mut replies = Replies::new();
        replies.error(ErrorKind::Err, error);
        let mut text = Vec::new();
        resp::encode(&replies, self.protocol, &mut text);
        self.drain(&text).await
    }
}

/// Counts replies that wait for a slow reader.
struct Unread {
    shell: Shell,
    bytes: usize,
}

impl Unread {
    fn new(shell: &Shell, bytes: usize) -> io::Result<Self> {
        let mut core = shell.core();
        if core.unread_bytes + bytes > UNREAD_BYTES_MAX {
            return Err(io::Error::other(
                "too many replies wait for clients that do not read them",
            ));
        }
        core.unread_bytes += bytes;
        Ok(Self {
            shell: shell.clone(),
            bytes,
        })
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.shell.core().unread_bytes -= self.bytes;
    }
}
