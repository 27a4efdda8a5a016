//! The two halves of a connection: of a socket, or of TLS on a socket.
//!
//! ```text
//!   Connections ── try_write ─▶ Writing ─▶ records ─▶ socket     both halves of a TLS connection
//!   read        ◀── read ────── Reading ◀─ records ◀─ socket     share its session, on one thread
//! ```
//!
//! - The halves of a plain connection are those of the socket.
//! - Bytes written in one go are encrypted in one go, into records that are full except the last. Encrypted bytes count
//!   as written. There are at most [`SEALED_BYTES_MAX`] of them, since none are added before the last have left.
//! - The TLS session itself sometimes has bytes to send (new keys). Then the reading half wakes the writer.

use std::{
    cell::RefCell,
    io::{self, BufRead, IoSlice, Write},
    rc::Rc,
};

use bytes::{Buf, BytesMut};
use rustls::Connection;
use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::READ_BYTES;
use crate::{bell::Bell, tls};

/// Most encrypted bytes that wait for the socket. One flush of the node fits.
const SEALED_BYTES_MAX: usize = 256 << 10;

/// A byte stream to a peer, before it has a connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(TcpStream, Box<Connection>),
}

impl Stream {
    /// Splits it into its halves. `bell` wakes the connection's writer.
    pub(super) fn split(self, bell: &Rc<Bell>) -> (Reading, Writing) {
        match self {
            Self::Plain(stream) => {
                let (reading, writing) = stream.into_split();
                (Reading::Plain(reading), Writing::Plain(writing))
            }
            Self::Tls(stream, mut session) => {
                session.set_buffer_limit(Some(SEALED_BYTES_MAX));
                let session = Rc::new(RefCell::new(*session));
                let (reading, writing) = stream.into_split();
                let reading = TlsReading {
                    half: reading,
                    session: session.clone(),
                    bell: bell.clone(),
                    sealed: BytesMut::new(),
                    has_ended: false,
                };
                (
                    Reading::Tls(Box::new(reading)),
                    Writing::Tls(TlsWriting { half: writing, session }),
                )
            }
        }
    }
}

/// Does the TLS handshake.
pub(super) async fn secure(stream: TcpStream, mut session: Connection) -> io::Result<Stream> {
    loop {
        while session.wants_write() {
            match session.write_tls(&mut Socket(&stream)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                written => drop(written?),
            }
        }
        if !session.is_handshaking() {
            return Ok(Stream::Tls(stream, Box::new(session)));
        }
        match session.read_tls(&mut Socket(&stream)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
            Ok(0) => {
                let reason = "it closed the connection; it may not use TLS, or not accept this node's certificate";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
            }
            read => drop(read?),
        }
        if let Err(error) = session.process_new_packets() {
            // The peer is sent the reason, if the socket takes it.
            let _ = session.write_tls(&mut Socket(&stream));
            return Err(tls::explain(&error));
        }
    }
}

/// Where bytes from a peer come from.
pub(super) enum Reading {
    Plain(OwnedReadHalf),
    Tls(Box<TlsReading>),
}

impl Reading {
    /// Appends the bytes that have come, at least one. 0 is the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.read_buf(buffer).await,
            Self::Tls(reading) => reading.read(buffer).await,
        }
    }
}

pub(super) struct TlsReading {
    half: OwnedReadHalf,
    session: Rc<RefCell<Connection>>,
    /// Wakes the writer.
    bell: Rc<Bell>,
    /// Bytes from the socket, still encrypted.
    sealed: BytesMut,
    /// The peer announced that no more bytes will come.
    has_ended: bool,
}

impl TlsReading {
    async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        loop {
            let opened = self.open(buffer)?;
            if opened > 0 || self.has_ended {
                return Ok(opened);
            }
            self.sealed.reserve(READ_BYTES);
            if self.half.read_buf(&mut self.sealed).await? == 0 {
                return Ok(0);
            }
        }
    }

    /// Decrypts all complete records.
    fn open(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let before = buffer.len();
        let mut session = self.session.borrow_mut();
        loop {
            drain(&mut session, buffer)?;
            if self.sealed.is_empty() || self.has_ended {
                break;
            }
            // The session takes some of it at a time.
            let taken = session.read_tls(&mut &self.sealed[..])?;
            self.sealed.advance(taken);
            let state = session.process_new_packets().map_err(|error| tls::explain(&error))?;
            self.has_ended = state.peer_has_closed();
        }
        if session.wants_write() {
            self.bell.ring();
        }
        Ok(buffer.len() - before)
    }
}

/// Moves the decrypted bytes.
fn drain(session: &mut Connection, buffer: &mut BytesMut) -> io::Result<()> {
    let mut reader = session.reader();
    loop {
        let len = match reader.fill_buf() {
            Ok(opened) => {
                buffer.extend_from_slice(opened);
                opened.len()
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if len == 0 {
            return Ok(());
        }
        reader.consume(len);
    }
}

/// Where bytes for a peer go.
#[derive(Debug)]
pub(super) enum Writing {
    Plain(OwnedWriteHalf),
    Tls(TlsWriting),
}

impl Writing {
    /// Takes as many bytes as it can at once. Returns their number.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_write(bytes),
            Self::Tls(writing) => writing.try_write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    /// The same for several pieces. Without pieces, it writes bytes that were taken before.
    pub(super) fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_write_vectored(pieces),
            Self::Tls(writing) => writing.try_write_vectored(pieces),
        }
    }

    /// Waits until a write may succeed.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.writable().await,
            Self::Tls(writing) => writing.half.writable().await,
        }
    }

    /// Whether all bytes taken have left.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(writing) => !writing.session.borrow().wants_write(),
        }
    }

    /// Announces to the peer that no more bytes will come, if that can be sent at once.
    pub(super) fn finish(&self) {
        if let Self::Tls(writing) = self {
            let mut session = writing.session.borrow_mut();
            session.send_close_notify();
            let _ = writing.flush(&mut session);
        }
    }
}

#[derive(Debug)]
pub(super) struct TlsWriting {
    half: OwnedWriteHalf,
    session: Rc<RefCell<Connection>>,
}

impl TlsWriting {
    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        self.flush(&mut session)?;
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes == 0 {
            return Ok(0);
        }
        let written = session.writer().write_vectored(pieces)?;
        if written == 0 {
            // There was room, so the session takes nothing more.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.flush(&mut session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(written),
        }
    }

    /// Writes encrypted bytes, as many as the socket takes.
    fn flush(&self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut Socket(self.half.as_ref()))?;
        }
        Ok(())
    }
}

/// A socket for the TLS session. It never waits.
struct Socket<'a>(&'a TcpStream);

impl io::Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
