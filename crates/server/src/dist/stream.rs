//! The two halves of a connection's bytes: those of a socket, or of TLS on one.
//!
//! ```text
//!   Connections ── try_write ─▶ Writing ─▶ records ─▶ socket     both halves of a TLS connection
//!   read        ◀── read ────── Reading ◀─ records ◀─ socket     share its session, on one thread
//! ```
//!
//! - A plain connection has nothing in between: its halves are those of the socket.
//! - What is written in one go is sealed in one go, into records that are full but for the last. Sealed bytes count as
//!   written; there are never more than [`SEALED_BYTES_MAX`] of them, since none are added before the last have left.
//! - The session itself has things to say at times (new keys); then the reading half rings for the writer.

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

/// Sealed bytes that wait for the socket. What the node hands out at a flush fits.
const SEALED_BYTES_MAX: usize = 256 << 10;

/// A stream of bytes to a peer, before its connection has it.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(TcpStream, Box<Connection>),
}

impl Stream {
    /// Its halves. `bell` wakes the connection's writer.
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

/// Shakes hands.
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
            // It is told why, if it listens.
            let _ = session.write_tls(&mut Socket(&stream));
            return Err(tls::explain(&error));
        }
    }
}

/// Where bytes of a peer come from.
pub(super) enum Reading {
    Plain(OwnedReadHalf),
    Tls(Box<TlsReading>),
}

impl Reading {
    /// Appends what has come, at least one byte; 0 is the end.
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
    /// As it came from the socket.
    sealed: BytesMut,
    /// The peer said that no more will come.
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

    /// Opens all records that are whole.
    fn open(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let before = buffer.len();
        let mut session = self.session.borrow_mut();
        loop {
            drain(&mut session, buffer)?;
            if self.sealed.is_empty() || self.has_ended {
                break;
            }
            // It takes some of it at a time.
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

/// Moves what was opened.
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
    /// Takes what can be taken at once, and tells how much that was.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_write(bytes),
            Self::Tls(writing) => writing.try_write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    /// The same for several pieces; with none, what was taken before moves on.
    pub(super) fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(half) => half.try_write_vectored(pieces),
            Self::Tls(writing) => writing.try_write_vectored(pieces),
        }
    }

    /// Waits until there is a point in trying.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(half) => half.writable().await,
            Self::Tls(writing) => writing.half.writable().await,
        }
    }

    /// Whether all that was taken has left.
    pub(super) fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(writing) => !writing.session.borrow().wants_write(),
        }
    }

    /// Tells the peer that no more will come, if that can be told at once.
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
            // There was room: it seals nothing more.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self.flush(&mut session) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(written),
        }
    }

    /// Writes what is sealed, as far as the socket takes it.
    fn flush(&self, session: &mut Connection) -> io::Result<()> {
        while session.wants_write() {
            session.write_tls(&mut Socket(self.half.as_ref()))?;
        }
        Ok(())
    }
}

/// A socket as the session sees it: it never waits.
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
