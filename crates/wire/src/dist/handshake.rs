//! The handshake, version 6: two nodes exchange their names and prove to each other that they know the cookie.
//!
//! ```text
//!   initiator                                       acceptor
//!   N flags creation name                      ─▶   asks its owner: Step::Name
//!   asks its owner on `alive`: Step::Alive     ◀─   s ok | ok_simultaneous | alive | …
//!   s true | false            (after `alive`)  ─▶   asks its owner on `true`: Step::Insists
//!                                              ◀─   N flags challenge creation name
//!                                                   or s not_allowed: the connection there is lives
//!   r challenge digest                         ─▶   Established
//!   Established                                ◀─   a digest
//! ```
//!
//! Invariants:
//! - the peers take turns; bytes that come before it is a peer's turn end the handshake, so at most one message is
//!   held;
//! - a handshake is `Established` only after the peer's digest was right;
//! - a peer that sends a challenge that we sent ourselves, in any open handshake, gets no answer: it may be passing our
//!   own question on to us (reflection attack);
//! - after an error, `out` is still to be sent; then the connection is closed.
//!
//! Deliberately absent: the name message of nodes before OTP 25 (`n`, with its complement), which is refused. A salp
//! node always has a name, so it never asks a peer for one.

use super::{Cookie, Flags, node_name};
use crate::etf::Atom;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, TryGetError};
use core::{error, fmt, hint::black_box, mem};

/// Longest body of a handshake message, in bytes. The protocol allows more; no peer needs more.
pub const BODY_BYTES_MAX: usize = 1024;

/// How the length before each handshake message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Two bytes, over TCP.
    Plain,
    /// Four bytes, over TLS.
    Tls,
}

/// How we introduce ourselves to every peer.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our full name.
    pub name: Atom,
    /// Our creation: it differs for each start of this node.
    pub creation: u32,
    /// Our flags: [`Flags::VISIBLE`] or [`Flags::HIDDEN`].
    pub flags: Flags,
}

/// How a peer introduced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its full name, or only its host if its flags have [`Flags::NAME_ME`].
    pub name: Atom,
    /// Its creation: it differs for each start of the peer.
    pub creation: u32,
    /// All its flags.
    pub flags: Flags,
}

/// A peer that proved the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Its full name.
    pub name: Atom,
    /// Its creation: it differs for each start of the peer.
    pub creation: u32,
    /// What the connection may use: the flags of both sides.
    pub flags: Flags,
    /// Bytes received behind the handshake: the beginning of the first frame.
    pub leftover: Bytes,
}

/// The state of a handshake after some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// Acceptor only: the peer gave its name; now call [`Acceptor::answer`].
    Name(Peer),
    /// Initiator only: the peer believes it is connected to us; now call [`Initiator::answer_alive`].
    Alive,
    /// Acceptor only, after [`Verdict::Alive`]: the peer has no connection to us; now call
    /// [`Acceptor::answer_insists`].
    Insists,
    /// The handshake is over.
    Established(Established),
}

/// The acceptor's answer to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Welcome.
    Ok,
    /// Welcome; the owner gives up its own attempt to reach this peer.
    OkSimultaneous,
    /// Not now: our own attempt to reach this peer goes on.
    Nok,
    /// Never.
    NotAllowed,
    /// A connection with this name is open. If the peer says that it has none, the owner decides whether the handshake
    /// goes on ([`Step::Insists`]). Once the new connection is established, the owner drops the old one.
    Alive,
    /// The name for a peer that has none, and its creation.
    Named {
        /// Full name, hard to guess for others.
        name: Atom,
        /// Rises each time the same name is given again.
        creation: u32,
    },
}

/// A refusal, as the initiator receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer is connecting to us at this moment; its attempt goes on.
    Nok,
    /// The peer does not allow connections from us.
    NotAllowed,
    /// The peer is connected to another live node with our name. Only salp nodes send this.
    Taken,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// A body of this many bytes was announced, more than [`BODY_BYTES_MAX`].
    TooLong(u32),
    /// Not a handshake message, or not the one expected now.
    Malformed,
    /// Bytes before it was the peer's turn, or after the end.
    OutOfTurn,
    /// Not the name of a node.
    BadName,
    /// A node of a release before OTP 25.
    OldPeer,
    /// Mandatory flags that the peer lacks.
    MissingFlags(Flags),
    /// The peer at the address we dialled has this other name.
    OtherPeer(Atom),
    /// The acceptor refused us.
    Refused(Refusal),
    /// The initiator does not want a second connection.
    StillConnected,
    /// The peer sent us a challenge of our own.
    Reflected,
    /// The peer does not know the cookie.
    BadDigest,
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "a handshake message of {len} bytes is too long"),
            Self::Malformed => f.write_str("not the handshake message that was due"),
            Self::OutOfTurn => f.write_str("the peer spoke out of turn"),
            Self::BadName => f.write_str("the name of the peer is not of the form name@host"),
            Self::OldPeer => f.write_str("the peer is older than OTP 25"),
            Self::MissingFlags(flags) => write!(f, "the peer lacks mandatory flags: {flags:?}"),
            Self::OtherPeer(name) => write!(f, "the peer we dialled has another name: {}", name.as_str()),
            Self::Refused(Refusal::Nok) => f.write_str("the peer is connecting to us itself"),
            Self::Refused(Refusal::NotAllowed) => f.write_str("the peer does not allow connections from us"),
            Self::Refused(Refusal::Taken) => f.write_str("the peer is connected to another live node of our name"),
            Self::StillConnected => f.write_str("the peer keeps the connection it has"),
            Self::Reflected => f.write_str("the peer sent us our own challenge"),
            Self::BadDigest => f.write_str("bad cookie"),
        }
    }
}

impl error::Error for HandshakeError {}

impl From<TryGetError> for HandshakeError {
    fn from(_: TryGetError) -> Self {
        Self::Malformed
    }
}

/// Our connection state with a node that connects to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Nothing is under way.
    Idle,
    /// We are connecting to it.
    Dialling,
    /// We are connected with it.
    Up,
}

/// The answer to a peer that is welcome. If two nodes dial each other at the same time, both reach the same result: the
/// attempt of the greater name goes on, the other attempt is dropped. A peer without a name is refused here. An owner
/// that has a name for it answers [`Verdict::Named`] instead.
pub fn verdict(ours: &Atom, peer: &Peer, contact: Contact) -> Verdict {
    match contact {
        _ if *ours == peer.name || peer.flags.contains(Flags::NAME_ME) => Verdict::NotAllowed,
        Contact::Idle => Verdict::Ok,
        Contact::Dialling if *ours > peer.name => Verdict::Nok,
        Contact::Dialling => Verdict::OkSimultaneous,
        Contact::Up => Verdict::Alive,
    }
}

/// The side that dialled.
#[derive(Debug)]
pub struct Initiator {
    local: Local,
    peer: Atom,
    cookie: Cookie,
    challenge: u32,
    messages: Messages,
    state: InitiatorState,
}

#[derive(Debug)]
enum InitiatorState {
    Status,
    Asking,
    /// `insisted`: we said that we have no connection.
    Challenge {
        insisted: bool,
    },
    Digest(Peer),
    Over,
}

impl Initiator {
    /// Begins a handshake with the node dialled, and writes our name. `challenge` must be random.
    pub fn new(local: Local, peer: Atom, cookie: Cookie, lengths: Lengths, challenge: u32, out: &mut Vec<u8>) -> Self {
        let messages = Messages::new(lengths);
        messages.write(out, |body| {
            body.put_u8(b'N');
            body.put_u64(local.flags.bits());
            body.put_u32(local.creation);
            put_name(body, &local.name);
        });
        Self {
            local,
            peer,
            cookie,
            challenge,
            messages,
            state: InitiatorState::Status,
        }
    }

    /// The challenge we sent: outstanding until the handshake is over.
    pub fn challenge(&self) -> u32 {
        self.challenge
    }

    /// Takes bytes of the peer and writes the answer. `outstanding` are the challenges of all other
    /// handshakes under way on this node.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        outstanding: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        while !bytes.is_empty() {
            if matches!(self.state, InitiatorState::Asking | InitiatorState::Over) {
                return Err(HandshakeError::OutOfTurn);
            }
            let Some(body) = self.messages.next(&mut bytes)? else {
                break;
            };
            match self.message(&body, bytes, outstanding, out)? {
                Step::Alive if !bytes.is_empty() => return Err(HandshakeError::OutOfTurn),
                Step::More => {}
                step => return Ok(step),
            }
        }
        Ok(Step::More)
    }

    /// Answers [`Step::Alive`]: `go_on` if we have no connection and want a new one. If not, the handshake is over.
    pub fn answer_alive(&mut self, go_on: bool, out: &mut Vec<u8>) {
        assert!(
            matches!(self.state, InitiatorState::Asking),
            "the peer asked whether to go on"
        );
        let answer: &[u8] = if go_on { b"strue" } else { b"sfalse" };
        self.messages.write(out, |body| body.put_slice(answer));
        self.state = if go_on {
            InitiatorState::Challenge { insisted: true }
        } else {
            InitiatorState::Over
        };
    }

    /// Handles one message. `state` is set again only if the handshake goes on.
    fn message(
        &mut self,
        body: &[u8],
        rest: &[u8],
        outstanding: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        match mem::replace(&mut self.state, InitiatorState::Over) {
            InitiatorState::Status => {
                self.state = read_status(body)?;
                match self.state {
                    InitiatorState::Asking => Ok(Step::Alive),
                    _ => Ok(Step::More),
                }
            }
            InitiatorState::Challenge { insisted: true } if body == b"snot_allowed" => {
                Err(HandshakeError::Refused(Refusal::Taken))
            }
            InitiatorState::Challenge { .. } => {
                let (challenge, peer) = read_challenge(body)?;
                if peer.name != self.peer {
                    return Err(HandshakeError::OtherPeer(peer.name));
                }
                check_flags(peer.flags)?;
                check_reflection(challenge, self.challenge, outstanding)?;
                self.messages.write(out, |body| {
                    body.put_u8(b'r');
                    body.put_u32(self.challenge);
                    body.put_slice(&self.cookie.digest(challenge));
                });
                self.state = InitiatorState::Digest(peer);
                Ok(Step::More)
            }
            InitiatorState::Digest(peer) => {
                let digest = tagged(body, b'a')?;
                check_digest(digest, &self.cookie, self.challenge)?;
                Ok(Step::Established(established(&self.local, peer, rest)))
            }
            InitiatorState::Asking | InitiatorState::Over => Err(HandshakeError::OutOfTurn),
        }
    }
}

/// The side that was dialled.
#[derive(Debug)]
pub struct Acceptor {
    local: Local,
    challenge: u32,
    messages: Messages,
    state: AcceptorState,
}

#[derive(Debug)]
enum AcceptorState {
    Name,
    Asking(Peer),
    Alive(Peer, Cookie),
    Insisting(Peer, Cookie),
    Reply(Peer, Cookie),
    Over,
}

impl Acceptor {
    /// Waits for a peer's name. `challenge` must be random.
    pub fn new(local: Local, lengths: Lengths, challenge: u32) -> Self {
        Self {
            local,
            challenge,
            messages: Messages::new(lengths),
            state: AcceptorState::Name,
        }
    }

    /// The challenge we sent: outstanding until the handshake is over.
    pub fn challenge(&self) -> u32 {
        self.challenge
    }

    /// Takes bytes of the peer and writes the answer. `outstanding` are the challenges of all other
    /// handshakes under way on this node.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        outstanding: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        while !bytes.is_empty() {
            let awaits_owner = matches!(self.state, AcceptorState::Asking(_) | AcceptorState::Insisting(..));
            if awaits_owner || matches!(self.state, AcceptorState::Over) {
                return Err(HandshakeError::OutOfTurn);
            }
            let Some(body) = self.messages.next(&mut bytes)? else {
                break;
            };
            match self.message(&body, bytes, outstanding, out)? {
                Step::Name(_) | Step::Insists if !bytes.is_empty() => return Err(HandshakeError::OutOfTurn),
                Step::More => {}
                step => return Ok(step),
            }
        }
        Ok(Step::More)
    }

    /// Answers [`Step::Name`]. [`Verdict::Nok`] and [`Verdict::NotAllowed`] end the handshake. `cookie` is the one for
    /// this peer. A peer without a name is refused unless the verdict gives it one.
    pub fn answer(&mut self, verdict: Verdict, cookie: &Cookie, out: &mut Vec<u8>) {
        let AcceptorState::Asking(mut peer) = mem::replace(&mut self.state, AcceptorState::Over) else {
            panic!("a verdict follows a name, once")
        };
        let verdict = match (peer.flags.contains(Flags::NAME_ME), verdict) {
            (true, Verdict::Ok | Verdict::OkSimultaneous | Verdict::Alive) => Verdict::NotAllowed,
            (false, Verdict::Named { .. }) => panic!("a name is for the peer that asked for one"),
            (_, verdict) => verdict,
        };

        self.write_status(&verdict, out);
        match verdict {
            Verdict::Nok | Verdict::NotAllowed => {}
            Verdict::Alive => self.state = AcceptorState::Alive(peer, cookie.clone()),
            Verdict::Ok | Verdict::OkSimultaneous => self.ask(peer, cookie.clone(), out),
            Verdict::Named { name, creation } => {
                (peer.name, peer.creation) = (name, creation);
                self.ask(peer, cookie.clone(), out);
            }
        }
    }

    /// Handles one message. `state` is set again only if the handshake goes on.
    fn message(
        &mut self,
        body: &[u8],
        rest: &[u8],
        outstanding: &[u32],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        match mem::replace(&mut self.state, AcceptorState::Over) {
            AcceptorState::Name => {
                let peer = read_name(body).and_then(|peer| {
                    check_flags(peer.flags)?;
                    Ok(peer)
                });
                let unwelcome = matches!(peer, Err(HandshakeError::OldPeer | HandshakeError::MissingFlags(_)));
                if unwelcome {
                    self.write_status(&Verdict::NotAllowed, out);
                }
                let peer = peer?;
                self.state = AcceptorState::Asking(peer.clone());
                Ok(Step::Name(peer))
            }
            AcceptorState::Alive(peer, cookie) => match body {
                b"strue" => {
                    self.state = AcceptorState::Insisting(peer, cookie);
                    Ok(Step::Insists)
                }
                b"sfalse" => Err(HandshakeError::StillConnected),
                _ => Err(HandshakeError::Malformed),
            },
            AcceptorState::Reply(peer, cookie) => {
                let mut body = tagged(body, b'r')?;
                let challenge = body.try_get_u32()?;
                check_digest(body, &cookie, self.challenge)?;
                check_reflection(challenge, self.challenge, outstanding)?;
                self.messages.write(out, |body| {
                    body.put_u8(b'a');
                    body.put_slice(&cookie.digest(challenge));
                });
                Ok(Step::Established(established(&self.local, peer, rest)))
            }
            AcceptorState::Asking(_) | AcceptorState::Insisting(..) | AcceptorState::Over => {
                Err(HandshakeError::OutOfTurn)
            }
        }
    }

    /// The creation of a peer that insists on a connection.
    pub fn insisting(&self) -> Option<u32> {
        match &self.state {
            AcceptorState::Insisting(peer, _) => Some(peer.creation),
            _ => None,
        }
    }

    /// Answers [`Step::Insists`]: the handshake goes on, or it ends because the open connection is alive.
    pub fn answer_insists(&mut self, go_on: bool, out: &mut Vec<u8>) {
        let AcceptorState::Insisting(peer, cookie) = mem::replace(&mut self.state, AcceptorState::Over) else {
            panic!("the peer insists")
        };
        if go_on {
            self.ask(peer, cookie, out);
        } else {
            self.write_status(&Verdict::NotAllowed, out);
        }
    }

    fn write_status(&self, verdict: &Verdict, out: &mut Vec<u8>) {
        self.messages.write(out, |body| match verdict {
            Verdict::Ok => body.put_slice(b"sok"),
            Verdict::OkSimultaneous => body.put_slice(b"sok_simultaneous"),
            Verdict::Nok => body.put_slice(b"snok"),
            Verdict::NotAllowed => body.put_slice(b"snot_allowed"),
            Verdict::Alive => body.put_slice(b"salive"),
            Verdict::Named { name, creation } => {
                body.put_slice(b"snamed:");
                put_name(body, name);
                body.put_u32(*creation);
            }
        });
    }

    /// Sends our challenge to the peer.
    fn ask(&mut self, peer: Peer, cookie: Cookie, out: &mut Vec<u8>) {
        // A BEAM that was given a name ends the handshake with an error unless this flag comes back.
        let flags = self.local.flags | (peer.flags & Flags::NAME_ME);
        self.messages.write(out, |body| {
            body.put_u8(b'N');
            body.put_u64(flags.bits());
            body.put_u32(self.challenge);
            body.put_u32(self.local.creation);
            put_name(body, &self.local.name);
        });
        self.state = AcceptorState::Reply(peer, cookie);
    }
}

fn established(local: &Local, peer: Peer, rest: &[u8]) -> Established {
    Established {
        name: peer.name,
        creation: peer.creation,
        flags: local.flags & peer.flags,
        leftover: Bytes::copy_from_slice(rest),
    }
}

fn read_status(body: &[u8]) -> Result<InitiatorState, HandshakeError> {
    match tagged(body, b's')? {
        b"ok" | b"ok_simultaneous" => Ok(InitiatorState::Challenge { insisted: false }),
        b"alive" => Ok(InitiatorState::Asking),
        b"nok" => Err(HandshakeError::Refused(Refusal::Nok)),
        b"not_allowed" => Err(HandshakeError::Refused(Refusal::NotAllowed)),
        _ => Err(HandshakeError::Malformed),
    }
}

/// Reads the initiator's first message. Bytes behind the name are ignored: later versions may use them.
fn read_name(body: &[u8]) -> Result<Peer, HandshakeError> {
    if body.first() == Some(&b'n') {
        return Err(HandshakeError::OldPeer);
    }
    let mut body = tagged(body, b'N')?;
    let flags = Flags::from_bits(body.try_get_u64()?);
    let creation = body.try_get_u32()?;
    let text = get_name(&mut body)?;
    let name = if flags.contains(Flags::NAME_ME) {
        host_name(text)
    } else {
        node_name(text)
    };
    Ok(Peer {
        name: name.ok_or(HandshakeError::BadName)?,
        creation,
        flags,
    })
}

/// Reads the acceptor's challenge, its name, creation and flags.
fn read_challenge(body: &[u8]) -> Result<(u32, Peer), HandshakeError> {
    let mut body = tagged(body, b'N')?;
    let flags = Flags::from_bits(body.try_get_u64()?);
    let challenge = body.try_get_u32()?;
    let creation = body.try_get_u32()?;
    let name = node_name(get_name(&mut body)?).ok_or(HandshakeError::BadName)?;
    Ok((challenge, Peer { name, creation, flags }))
}

fn host_name(text: &[u8]) -> Option<Atom> {
    let full = [b"x@", text].concat();
    node_name(&full)?;
    core::str::from_utf8(text).ok().map(Atom::new)
}

fn put_name(body: &mut Vec<u8>, name: &Atom) {
    let name = name.as_str();
    body.put_u16(u16::try_from(name.len()).expect("an atom has at most 255 characters"));
    body.put_slice(name.as_bytes());
}

fn get_name<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], HandshakeError> {
    let len = usize::from(body.try_get_u16()?);
    body.split_off(..len).ok_or(HandshakeError::Malformed)
}

/// The bytes behind the tag of a message, if it has this tag.
fn tagged(body: &[u8], tag: u8) -> Result<&[u8], HandshakeError> {
    match body.split_first() {
        Some((first, rest)) if *first == tag => Ok(rest),
        _ => Err(HandshakeError::Malformed),
    }
}

fn check_flags(theirs: Flags) -> Result<(), HandshakeError> {
    match theirs.missing() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(HandshakeError::MissingFlags(missing)),
    }
}

fn check_reflection(theirs: u32, ours: u32, outstanding: &[u32]) -> Result<(), HandshakeError> {
    if theirs == ours || outstanding.contains(&theirs) {
        return Err(HandshakeError::Reflected);
    }
    Ok(())
}

/// Compares in constant time: the time does not reveal how many bytes were right.
fn check_digest(theirs: &[u8], cookie: &Cookie, challenge: u32) -> Result<(), HandshakeError> {
    let ours = cookie.digest(challenge);
    if theirs.len() != ours.len() {
        return Err(HandshakeError::Malformed);
    }
    let difference = theirs.iter().zip(ours).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    if difference == 0 {
        Ok(())
    } else {
        Err(HandshakeError::BadDigest)
    }
}

/// Splits a stream of bytes into handshake messages. Holds at most one incomplete message.
#[derive(Debug)]
struct Messages {
    lengths: Lengths,
    partial: Vec<u8>,
}

impl Messages {
    fn new(lengths: Lengths) -> Self {
        Self {
            lengths,
            partial: Vec::new(),
        }
    }

    fn prefix_bytes(&self) -> usize {
        match self.lengths {
            Lengths::Plain => 2,
            Lengths::Tls => 4,
        }
    }

    /// The body of the next message, if it is complete. The bytes used are taken off `input`.
    fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
        let prefix_bytes = self.prefix_bytes();
        self.fill(prefix_bytes, input);
        if self.partial.len() < prefix_bytes {
            return Ok(None);
        }
        let announced = self.partial[..prefix_bytes]
            .iter()
            .fold(0, |len, byte| len << 8 | u32::from(*byte));
        let body_bytes = announced as usize;
        if body_bytes > BODY_BYTES_MAX {
            return Err(HandshakeError::TooLong(announced));
        }
        self.fill(prefix_bytes + body_bytes, input);
        if self.partial.len() < prefix_bytes + body_bytes {
            return Ok(None);
        }
        let body = self.partial.split_off(prefix_bytes);
        self.partial.clear();
        Ok(Some(body))
    }

    /// Moves bytes from `input` until `len` bytes are held, or `input` is empty.
    fn fill(&mut self, len: usize, input: &mut &[u8]) {
        let count = len.saturating_sub(self.partial.len()).min(input.len());
        self.partial.extend_from_slice(&input[..count]);
        input.advance(count);
    }

    fn write(&self, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
        let start = out.len();
        let prefix_bytes = self.prefix_bytes();
        out.resize(start + prefix_bytes, 0);
        body(out);
        let len = out.len() - start - prefix_bytes;
        assert!(len <= BODY_BYTES_MAX, "our own messages are short");
        let len = (len as u32).to_be_bytes();
        out[start..start + prefix_bytes].copy_from_slice(&len[4 - prefix_bytes..]);
    }
}

#[cfg(test)]
mod tests;
