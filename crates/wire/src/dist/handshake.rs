//! The handshake, version 6: two nodes learn each other's name and prove the cookie to each other.
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
//! - the peers take turns; bytes that come before it is a peer's turn end the handshake, so no more
//!   than one message is ever held;
//! - nothing is `Established` before the peer's digest was right;
//! - a challenge that we ourselves wait to see answered is never answered: the peer may only be
//!   passing on our own question;
//! - after an error what was written to `out` is still to be sent, then the connection closed.
//!
//! Deliberately absent: the names of nodes before OTP 25 (`n`, with its complement), which are
//! refused, and being named by a peer: a node of ours has a name.

use super::{Cookie, Flags, node_name};
use crate::etf::Atom;
use alloc::vec::Vec;
use bytes::{Buf, BufMut, Bytes, TryGetError};
use core::{error, fmt, hint::black_box, mem};

/// Longest body of a handshake message, in bytes. The wire would allow more; no peer needs it.
pub const BODY_BYTES_MAX: usize = 1024;

/// How the length before each handshake message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lengths {
    /// Two bytes, over TCP.
    Plain,
    /// Four bytes, over TLS.
    Tls,
}

/// Who we are, as every peer is told.
#[derive(Clone, Debug)]
pub struct Local {
    /// Our full name.
    pub name: Atom,
    /// Which life of our node this is.
    pub creation: u32,
    /// What we can do: [`Flags::VISIBLE`] or [`Flags::HIDDEN`].
    pub flags: Flags,
}

/// Who a peer says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its full name; only its host if its flags have [`Flags::NAME_ME`].
    pub name: Atom,
    /// Which life of the peer this is.
    pub creation: u32,
    /// All the flags it showed.
    pub flags: Flags,
}

/// A peer that proved the cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// Its full name.
    pub name: Atom,
    /// Which life of the peer this is.
    pub creation: u32,
    /// What the connection may use: our flags that the peer has too.
    pub flags: Flags,
    /// Bytes received behind the handshake: the beginning of the first frames.
    pub leftover: Bytes,
}

/// Where a handshake is after some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// Acceptor only: the peer gave its name; [`Acceptor::answer`] is due.
    Name(Peer),
    /// Initiator only: the peer believes it is connected to us; [`Initiator::answer_alive`] is due.
    Alive,
    /// Acceptor only, after [`Verdict::Alive`]: the peer knows of no connection to us; [`Acceptor::answer_insists`] is
    /// due.
    Insists,
    /// The handshake is over.
    Established(Established),
}

/// What an acceptor says to a name.
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
    /// There is a connection with this name. If the peer says it knows of none, the owner decides whether the
    /// handshake goes on ([`Step::Insists`]); once established it drops the old connection.
    Alive,
    /// The name for a peer that has none, and its creation.
    Named {
        /// Full name, not to be guessed by others.
        name: Atom,
        /// Rises when a name is given again.
        creation: u32,
    },
}

/// A refusal, as the initiator hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer is connecting to us at this moment; its attempt goes on.
    Nok,
    /// The peer does not want us.
    NotAllowed,
    /// The peer is connected to another live node of our name. Only salp nodes say so.
    Taken,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// A body of this many bytes was announced, more than [`BODY_BYTES_MAX`].
    TooLong(u32),
    /// A message that is none, or not the one that was due.
    Malformed,
    /// Bytes when it was not the peer's turn, or after the end.
    OutOfTurn,
    /// Not a name of a node.
    BadName,
    /// A node of a release before OTP 25.
    OldPeer,
    /// Mandatory flags that the peer lacks.
    MissingFlags(Flags),
    /// The peer at the address we dialled has another name, this one.
    OtherPeer(Atom),
    /// The acceptor refused us.
    Refused(Refusal),
    /// The initiator does not insist on a second connection.
    StillConnected,
    /// The peer asks a question to which we wait for the answer.
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
            Self::OtherPeer(name) => write!(f, "the peer dialled calls itself {}", name.as_str()),
            Self::Refused(Refusal::Nok) => f.write_str("the peer is connecting to us itself"),
            Self::Refused(Refusal::NotAllowed) => f.write_str("the peer does not allow us"),
            Self::Refused(Refusal::Taken) => f.write_str("the peer is connected to another live node of our name"),
            Self::StillConnected => f.write_str("the peer keeps the connection it has"),
            Self::Reflected => f.write_str("the peer asks our own challenge of us"),
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

/// How we stand with a node when it connects to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Nothing is under way.
    Idle,
    /// We are connecting to it.
    Dialling,
    /// We are connected with it.
    Up,
}

/// What to answer a peer that is welcome. When two nodes dial each other at once, both come to the
/// same end: the attempt of the greater name goes on, the other is dropped. A peer without a name
/// is refused here; an owner that knows one for it answers [`Verdict::Named`] instead.
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
    /// `insisted`: we said that we know of no connection.
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

    /// The question we ask: outstanding until the handshake is over.
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

    /// Answers [`Step::Alive`]: do we want a new connection, having none? If not, that was all.
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

    /// One message. The state is put back only where the handshake goes on.
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

    /// The question we ask: outstanding until the handshake is over.
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

    /// Answers [`Step::Name`]. After [`Verdict::Nok`] and [`Verdict::NotAllowed`] that was all.
    /// `cookie` is the one that holds for this peer. Any welcome to a peer without a name that does
    /// not name it is a refusal.
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

    /// One message. The state is put back only where the handshake goes on.
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

    /// Answers [`Step::Insists`]: the handshake goes on, or the connection there is lives. Then that was all.
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

    /// Asks the peer for its proof.
    fn ask(&mut self, peer: Peer, cookie: Cookie, out: &mut Vec<u8>) {
        // A BEAM that was given a name fails its handshake unless this flag comes back.
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

/// What the initiator opens with. Bytes behind the name are room for later versions.
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

/// What the acceptor asks, and who it is.
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

/// What is behind the tag of a message, if it has this tag.
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

/// Compares in a time that does not tell how many bytes were right.
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

/// Cuts a stream of bytes into handshake messages. Holds no more than a part of one.
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

    /// The body of the next message, if all of it is there. What is used is taken off `input`.
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

    /// Moves bytes until `len` are held, or none are left.
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
