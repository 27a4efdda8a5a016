//! EPMD, the port mapper of a machine: which node name listens on which port.
//!
//! ```text
//!   client: Request::encode ─▶ … ─▶ Registered | Found | Listing ::decode
//!   server: registry::Registry, bytes in and bytes out, over Request::decode and the encoders
//! ```
//!
//! Names here are the part before `@`. A request is `length:u16, body`. An answer has no length: it ends with its last
//! field, or with the connection. The connection of a registration stays open for the node's life; closing it frees the
//! name. The answer of a port mapper does not prove which node listens on a port; the handshake does.
//!
//! `kill` is refused: anyone on the machine could end the port mapper. `dump` and `stop` are absent: they serve
//! debugging.
//!
//! Source: *Distribution Protocol*, ERTS reference manual; `epmd_srv.c` for what the manual leaves open.

pub mod registry;

pub use registry::Registry;

use alloc::{string::String, vec::Vec};
use bytes::{Buf, BufMut, TryGetError};
use core::{error, fmt};

/// The default port of a port mapper.
pub const PORT: u16 = 4369;
/// Longest body of a request, in bytes. A request that announces more is refused at once.
pub const REQUEST_BYTES_MAX: usize = 1024;
/// Longest answer that a client reads, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

const ALIVE2: u8 = 120;
const PORT_PLEASE2: u8 = 122;
const NAMES: u8 = 110;
const KILL: u8 = 107;
/// The answer to [`Request::Kill`], which Erlang's port mapper gives while nodes are registered.
const REFUSED: &[u8] = b"NO";
const ALIVE2_X: u8 = 118;
const ALIVE2_OLD: u8 = 121;
const PORT2: u8 = 119;

/// A node as it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, without the host.
    pub name: String,
    /// The port where it listens for distribution connections.
    pub port: u16,
    /// Whether it is a hidden node.
    pub hidden: bool,
    /// Protocol below the distribution; 0 is TCP over IPv4.
    pub protocol: u8,
    /// Highest distribution version that the node speaks; 6 is the version of [`crate::dist::handshake`].
    pub highest: u16,
    /// Lowest distribution version that the node speaks.
    pub lowest: u16,
    /// Extra bytes, without meaning here.
    pub extra: Vec<u8>,
}

impl Node {
    /// A node that speaks our version of the distribution.
    pub fn new(name: &str, port: u16, hidden: bool) -> Self {
        let (highest, lowest) = (6, 6);
        Self {
            name: name.into(),
            port,
            hidden,
            protocol: 0,
            highest,
            lowest,
            extra: Vec::new(),
        }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// ALIVE2: register this node for as long as the connection lives. Answered by [`Registered`].
    Register(Node),
    /// PORT_PLEASE2: which port has the node of this name? Answered by [`Found`].
    Find(String),
    /// NAMES: which nodes are registered? Answered by [`Listing`].
    List,
    /// KILL: end the port mapper. Always refused.
    Kill,
}

/// Why the bytes of a peer were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpmdError {
    /// More bytes than allowed.
    TooLong,
    /// Not a request or an answer of this kind.
    Malformed,
    /// The connection ended within the answer.
    Ended,
    /// Not the name of a node.
    BadName,
}

impl fmt::Display for EpmdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "more bytes than a port mapper exchanges",
            Self::Malformed => "not what a port mapper exchanges",
            Self::Ended => "the port mapper closed the connection within its answer",
            Self::BadName => "not the name of a node",
        })
    }
}

impl error::Error for EpmdError {}

impl From<TryGetError> for EpmdError {
    fn from(_: TryGetError) -> Self {
        Self::Malformed
    }
}

impl Request {
    /// Writes the request.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u16(0);
        match self {
            Request::Register(node) => {
                out.put_u8(ALIVE2);
                put_node(out, node);
            }
            Request::Find(name) => {
                out.put_u8(PORT_PLEASE2);
                out.put_slice(name.as_bytes());
            }
            Request::List => out.put_u8(NAMES),
            Request::Kill => out.put_u8(KILL),
        }
        let len = out.len() - start - 2;
        assert!(len <= REQUEST_BYTES_MAX, "our own requests are short");
        out[start..start + 2].copy_from_slice(&(len as u16).to_be_bytes());
    }

    /// The request at the start of `input` and how many bytes it took; `None` if more are needed.
    pub fn decode(input: &[u8]) -> Result<Option<(Request, usize)>, EpmdError> {
        let Some((len, rest)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes(*len));
        if len > REQUEST_BYTES_MAX {
            return Err(EpmdError::TooLong);
        }
        match rest.get(..len) {
            Some(body) => Ok(Some((Self::decode_body(body)?, 2 + len))),
            None => Ok(None),
        }
    }

    fn decode_body(mut body: &[u8]) -> Result<Request, EpmdError> {
        match body.try_get_u8()? {
            ALIVE2 => {
                let node = get_node(&mut body)?;
                if body.is_empty() {
                    Ok(Self::Register(node))
                } else {
                    Err(EpmdError::Malformed)
                }
            }
            PORT_PLEASE2 => Ok(Self::Find(get_name(body)?)),
            NAMES if body.is_empty() => Ok(Self::List),
            KILL if body.is_empty() => Ok(Self::Kill),
            _ => Err(EpmdError::Malformed),
        }
    }
}

/// The answer to [`Request::Register`]. The connection stays open if it has a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The creation of the node, which differs for each start; `None` if the name is taken.
    pub creation: Option<u32>,
}

impl Registered {
    /// Writes the answer. A node whose distribution version is 5 or less gets a creation of 1 to 3.
    pub fn encode(self, highest: u16, out: &mut Vec<u8>) {
        let result = u8::from(self.creation.is_none());
        // What Erlang's port mapper sends as the creation when it refuses a node.
        let creation = self.creation.unwrap_or(99);
        if highest >= 6 {
            out.put_slice(&[ALIVE2_X, result]);
            out.put_u32(creation);
        } else {
            out.put_slice(&[ALIVE2_OLD, result]);
            out.put_u16((creation % 3) as u16 + 1);
        }
    }

    /// The answer in the bytes received so far; `None` if more are needed.
    pub fn decode(input: &[u8], ended: bool) -> Result<Option<Self>, EpmdError> {
        let answer = |result: u8, creation| {
            let creation = (result == 0).then_some(creation);
            Ok(Some(Self { creation }))
        };
        match *input {
            [ALIVE2_X, result, a, b, c, d] => answer(result, u32::from_be_bytes([a, b, c, d])),
            [ALIVE2_OLD, result, a, b] => answer(result, u32::from(u16::from_be_bytes([a, b]))),
            [] | [ALIVE2_OLD, ..] if input.len() < 4 => more(ended),
            [ALIVE2_X, ..] if input.len() < 6 => more(ended),
            _ => Err(EpmdError::Malformed),
        }
    }
}

/// The answer to [`Request::Find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The node, if one is registered under that name.
    pub node: Option<Node>,
}

impl Found {
    /// Writes the answer; the connection is closed behind it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_slice(&[PORT2, u8::from(self.node.is_none())]);
        if let Some(node) = &self.node {
            put_node(out, node);
        }
    }

    /// The answer in the bytes received so far; `None` if more are needed.
    pub fn decode(input: &[u8], ended: bool) -> Result<Option<Self>, EpmdError> {
        if input.len() > ANSWER_BYTES_MAX {
            return Err(EpmdError::TooLong);
        }
        match input {
            [] | [PORT2] => more(ended),
            [PORT2, 0, node @ ..] => match get_node(&mut &*node) {
                Ok(node) => Ok(Some(Self { node: Some(node) })),
                Err(EpmdError::Malformed) => more(ended),
                Err(error) => Err(error),
            },
            [PORT2, ..] => Ok(Some(Self { node: None })),
            _ => Err(EpmdError::Malformed),
        }
    }
}

/// The answer to [`Request::List`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The port of the port mapper itself.
    pub port: u16,
    /// Name and port of each node.
    pub nodes: Vec<(String, u16)>,
}

impl Listing {
    /// Writes the answer; the connection is closed behind it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(u32::from(self.port));
        for (name, port) in &self.nodes {
            out.put_slice(alloc::format!("name {name} at port {port}\n").as_bytes());
        }
    }

    /// The answer in the bytes received so far. `None` until the connection has ended, because only that shows the end
    /// of the answer. Other lines are skipped: the text is meant for people.
    pub fn decode(mut input: &[u8], ended: bool) -> Result<Option<Self>, EpmdError> {
        if input.len() > ANSWER_BYTES_MAX {
            return Err(EpmdError::TooLong);
        }
        if !ended {
            return Ok(None);
        }
        let port = input.try_get_u32().map_err(|_| EpmdError::Ended)?;
        let port = u16::try_from(port).map_err(|_| EpmdError::Malformed)?;
        let text = core::str::from_utf8(input).map_err(|_| EpmdError::Malformed)?;
        let node = |line: &str| {
            let (name, port) = line.strip_prefix("name ")?.split_once(" at port ")?;
            Some((get_name(name.as_bytes()).ok()?, port.parse().ok()?))
        };
        Ok(Some(Self {
            port,
            nodes: text.lines().filter_map(node).collect(),
        }))
    }
}

fn more<T>(ended: bool) -> Result<Option<T>, EpmdError> {
    if ended { Err(EpmdError::Ended) } else { Ok(None) }
}

const VISIBLE: u8 = 77;
const HIDDEN: u8 = 72;

fn put_node(out: &mut Vec<u8>, node: &Node) {
    out.put_u16(node.port);
    out.put_u8(if node.hidden { HIDDEN } else { VISIBLE });
    out.put_u8(node.protocol);
    out.put_u16(node.highest);
    out.put_u16(node.lowest);
    put_bytes(out, node.name.as_bytes());
    put_bytes(out, &node.extra);
}

/// Reads a node as [`put_node`] writes it; [`EpmdError::Malformed`] if the input ends too early.
fn get_node(input: &mut &[u8]) -> Result<Node, EpmdError> {
    let port = input.try_get_u16()?;
    let hidden = input.try_get_u8()? == HIDDEN;
    let protocol = input.try_get_u8()?;
    let (highest, lowest) = (input.try_get_u16()?, input.try_get_u16()?);
    let name = get_name(get_bytes(input)?)?;
    let extra = get_bytes(input)?.to_vec();
    Ok(Node {
        name,
        port,
        hidden,
        protocol,
        highest,
        lowest,
        extra,
    })
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u16(u16::try_from(bytes.len()).expect("names and extras are short"));
    out.put_slice(bytes);
}

fn get_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], EpmdError> {
    let len = usize::from(input.try_get_u16()?);
    input.split_off(..len).ok_or(EpmdError::Malformed)
}

/// A name that can stand in a listing. It need not be one that salp accepts: any BEAM on the machine may register.
fn get_name(bytes: &[u8]) -> Result<String, EpmdError> {
    let name = core::str::from_utf8(bytes).map_err(|_| EpmdError::BadName)?;
    let stray = |c: char| c == '@' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(stray) {
        return Err(EpmdError::BadName);
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests;
