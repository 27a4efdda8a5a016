//! Requests that the HTTP library refuses before a route sees them: without a method, with a malformed header or with
//! too many headers.
//!
//! The library answers them with an empty body, while every error of this node is a problem (RFC 9457). So [`Stream`]
//! stands between the library and the socket. It holds back bytes that look like such an answer until the library
//! returns. [`run`] then knows from the result whether it is one. If so, a problem is written instead; if not, the
//! bytes are written unchanged.

use std::{
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time,
};

use super::{listener::Seat, problem::Problem};

/// The library's answers are short.
const REFUSAL_BYTES_MAX: usize = 256;

/// How long a client's bytes are still read after a refusal. Closing a socket with unread bytes resets it, and the
/// client may lose the answer.
const LINGER: Duration = Duration::from_secs(2);

/// A socket shared by the library (through [`Stream`]) and [`run`].
#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    /// Bytes that may be a refusal of the library.
    held: Mutex<Vec<u8>>,
    /// Notified of all reads and writes.
    seat: Arc<Seat>,
}

/// The socket as the library sees it. [`run`] shuts it down.
#[derive(Debug)]
pub(super) struct Stream(Arc<Shared>);

/// Serves one connection. `serve` makes the library's future, which runs to its end.
pub(super) async fn run<F>(socket: TcpStream, seat: Arc<Seat>, serve: impl FnOnce(Stream) -> F)
where
    F: Future<Output = Result<(), hyper::Error>>,
{
    let shared = Arc::new(Shared {
        socket,
        held: Mutex::default(),
        seat,
    });
    let ended = {
        let mut connection = pin!(serve(Stream(shared.clone())));
        std::future::poll_fn(|context| match connection.as_mut().poll(context) {
            // The library waits for its client or a handler, so it has refused nothing.
            Poll::Pending => match shared.poll_release(context) {
                Poll::Ready(Err(_)) => Poll::Ready(Ok(())),
                _ => Poll::Pending,
            },
            ended => ended,
        })
        .await
    };
    let held = std::mem::take(&mut *shared.held.lock().unwrap_or_else(PoisonError::into_inner));
    let refused = ended.err().filter(hyper::Error::is_parse);
    let last = match &refused {
        Some(error) => refusal(&held, error),
        None => held,
    };
    // The client may have gone.
    let _ = shared.send(&last).await;
    let _ = SockRef::from(&shared.socket).shutdown(std::net::Shutdown::Write);
    if refused.is_some() {
        let _ = time::timeout(LINGER, shared.read_to_end()).await;
    }
}

/// The library's answer `head` with a problem as its body.
fn refusal(head: &[u8], error: &hyper::Error) -> Vec<u8> {
    let Some(head) = str::from_utf8(head).ok().filter(|head| !head.is_empty()) else {
        return head.to_vec();
    };
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (kind, title, detail) = match status {
        Some(StatusCode::URI_TOO_LONG) => (
            "long_address",
            "Address too long",
            "an address has at most 65,534 characters; longer keys go through /batch".to_owned(),
        ),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => (
            "large_head",
            "Too many headers",
            "a request has at most 100 headers and 400 KiB of them".to_owned(),
        ),
        _ => (
            "bad_request",
            "Malformed request",
            format!("this is not HTTP/1.1: {error}"),
        ),
    };
    let problem = Problem::refused(status.unwrap_or(StatusCode::BAD_REQUEST), kind, title, detail);
    let body = serde_json::to_string(&problem).expect("strings and a number are JSON");
    let lines = head.lines().filter(|line| !line.is_empty() && *line != EMPTY);
    let mut text: String = lines.map(|line| [line, "\r\n"].concat()).collect();
    text += &format!(
        "content-type: application/problem+json\r\nx-content-type-options: nosniff\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    text.into_bytes()
}

/// The line of the library's answer that says that it has no body.
const EMPTY: &str = "content-length: 0";

/// Whether `bytes` may be a refusal of the library.
fn may_be_refusal(bytes: &[u8]) -> bool {
    bytes.len() <= REFUSAL_BYTES_MAX
        && bytes.starts_with(b"HTTP/1.1 4")
        && bytes.ends_with(b"\r\n\r\n")
        && bytes.windows(EMPTY.len()).any(|window| window == EMPTY.as_bytes())
}

impl Shared {
    /// Writes the bytes held back: they were not a refusal.
    fn poll_release(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while !held.is_empty() {
            let written = ready!(self.poll_try(context, |socket| socket.try_write(&held)))?;
            held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    /// Calls `write` once the socket is writable.
    fn poll_try(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    self.seat.touch();
                    return Poll::Ready(done);
                }
            }
        }
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = std::future::poll_fn(|context| self.poll_try(context, |socket| socket.try_write(bytes)));
            bytes = &bytes[written.await?..];
        }
        Ok(())
    }

    async fn read_to_end(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            self.socket.readable().await?;
            match self.socket.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.socket.poll_read_ready(context))?;
            match self.0.socket.try_read(buffer.initialize_unfilled()) {
                Ok(read) => {
                    self.0.seat.touch();
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let shared = &self.0;
        ready!(shared.poll_release(context))?;
        let filled = slices
            .iter()
            .rposition(|slice| !slice.is_empty())
            .map_or(0, |last| last + 1);
        match slices[..filled].split_last() {
            None => Poll::Ready(Ok(0)),
            Some((last, [])) if may_be_refusal(last) => {
                shared
                    .held
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(last);
                Poll::Ready(Ok(last.len()))
            }
            Some((last, before)) if may_be_refusal(last) => {
                shared.poll_try(context, |socket| socket.try_write_vectored(before))
            }
            Some(_) => shared.poll_try(context, |socket| socket.try_write_vectored(slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
