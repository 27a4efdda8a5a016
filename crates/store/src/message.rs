//! The messages between store processes: one frame per peer and flush, with any number of messages.
//!
//! ```text
//! frame   = version:u8 number:u64 applied:u64 beat:u64 echo:u64 stamp:u64 message*
//! message = tag:u8 body              integers are varints, byte strings are length and bytes
//! ```
//!
//! The frames of a connection are numbered from 1 without a gap. `applied` is the highest number whose deltas the
//! sender has merged, so one number acknowledges all frames up to it. A working connection loses nothing, so a gap
//! means that something was lost: the connection is closed, and anti-entropy repairs the loss.
//!
//! `beat` is the sender's monotonic clock in milliseconds. `echo` is the last beat that the sender received from the
//! receiver. An echo proves that everything the peer sent before that beat has arrived. A replica with an echo younger
//! than [`LEASE_MS`] has every acknowledged write: before a primary acknowledges a write without a replica, it waits
//! for the write timeout, which is longer.
//!
//! A frame with number 0 and no messages is a *probe*. It shows that a connection works. Its `applied` is 1 if the
//! sender has received a probe over this connection.
//!
//! `stamp` is the sender's hybrid logical time. The receiver's later writes get higher stamps than everything that the
//! sender had seen.
//!
//! The format is written by hand, because deltas, forwarded requests and chunks are bytes already and are read in
//! place.

use alloc::vec::Vec;

use crate::{
    codec::{Malformed, Reader, put_bytes, put_signed, put_varint},
    quorum::Level,
    sight::{Identity, Sight},
    stamp::Stamp,
    vitals::Vitals,
};

/// Version of the frame and of its messages. The birth record refuses peers of another version.
pub const VERSION: u8 = 4;
/// Longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// Bytes before the messages of a frame.
pub const HEADER: usize = 1 + 5 * 8;

/// How long after an echo a replica may answer reads without asking the primary.
pub const LEASE_MS: u64 = 500;
/// A peer receives a beat at least this often.
pub const BEAT_MS: u64 = 150;

/// The state of a node's copy of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Copy {
    /// No copy.
    #[default]
    Absent,
    /// An incomplete copy: it receives writes and is being filled, but answers no reads.
    Filling,
    /// A complete copy.
    Ready,
}

/// A node's [`Copy`] of one shard, and what the node knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Holding {
    /// The state of the copy.
    pub copy: Copy,
    /// Whether the node knows of a ready copy at a node that is neither connected nor dead. While that holds, no node
    /// may form this shard.
    pub missed: bool,
    /// Whether the node has had a ready copy. Even if its copy is not ready any more, it may have acknowledged writes
    /// that no other copy has.
    pub was_ready: bool,
}

impl Holding {
    fn to_byte(self) -> u8 {
        self.copy as u8 | u8::from(self.missed) << 2 | u8::from(self.was_ready) << 3
    }

    fn from_byte(byte: u8) -> Result<Self, Malformed> {
        let copy = match byte & 3 {
            0 => Copy::Absent,
            1 => Copy::Filling,
            2 => Copy::Ready,
            _ => return Err(Malformed("unknown copy")),
        };
        Ok(Self {
            copy,
            missed: byte & 4 != 0,
            was_ready: byte & 8 != 0,
        })
    }
}

/// The clocks of a node. Sent each second, and as the first message on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Times {
    /// The last beat that the sender received from the receiver, in the receiver's monotonic clock. The message is not
    /// older than that.
    pub beat_ms: u64,
    /// Cluster time, in Unix milliseconds.
    pub cluster_ms: u64,
    /// How long the sender's calendar has been in use; 0 if the sender does not serve yet.
    pub age_ms: u64,
    /// The sender's wall clock, in Unix milliseconds.
    pub wall_ms: u64,
}

/// A forwarded batch. The receiver is the primary of its keys, or a ready replica for reads.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Identifies the batch in the [`Message::Outcome`].
    pub token: u64,
    /// How often it was forwarded before; see `coordinator::HOPS_MAX`.
    pub hops: u8,
    /// The level of its writes.
    pub level: Level,
    /// Until when its client waits, in cluster time. A connection may deliver it much later.
    pub until_ms: u64,
    /// Until when it may wait for its shard, in cluster time; 0 if it has not waited yet.
    pub parked_until_ms: u64,
    /// How many milliseconds the wall clock of the client's node is ahead of cluster time.
    pub wall_ahead_ms: i64,
    /// Its keyspace.
    pub keyspace: u16,
    /// Whether the sender will send nothing else to the receiver that must come behind this batch. Then the receiver
    /// may put off requests whose replies would be too large. Otherwise it executes the whole batch at once, since
    /// later requests would overtake those put off.
    pub is_last: bool,
    /// Its requests; read them with [`requests`].
    pub requests: &'a [u8],
}

/// The kind of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The requester's clock lacks nothing. No bytes.
    Nothing,
    /// Some keys. Merge them and pull again.
    Part,
    /// The last keys. After merging them and the deltas that follow, nothing is missing.
    Rest,
    /// A chunk of a stream with the whole shard.
    Stream,
}

/// A message between stores.
#[derive(Debug)]
pub enum Message<'a> {
    /// One write, or several of one shard, which the receiver merges and acknowledges by frame number.
    Delta {
        /// The shard.
        shard: u32,
        /// The deltas as the shard encoded them.
        delta: &'a [u8],
    },
    /// Requests for the receiver to execute.
    Forward(Forward<'a>),
    /// The replies to forwarded requests, in order, in one or more pieces. If requests have no reply when the last
    /// piece has come, they were put off: they must be forwarded again.
    Outcome {
        /// The token of the forward.
        token: u64,
        /// Whether another piece follows.
        follows: bool,
        /// The replies, encoded by `outcome`.
        replies: &'a [u8],
    },
    /// The copies of the sender.
    Holdings {
        /// Number of the announcement; later ones are higher.
        epoch: u64,
        /// The sender's host and port for RESP clients.
        resp: Option<(&'a str, u16)>,
        /// One byte for every shard, in shard order; read them with [`holdings`].
        holdings: &'a [u8],
    },
    /// The nodes that the sender is connected to.
    Sight(Sight),
    /// How far the sender agrees with the receiver.
    Stand {
        /// Hash of the sender's view.
        view: u64,
        /// The receiver's latest announcement of its copies that the sender has processed.
        knows: u64,
        /// How many peers the sender has lost in total.
        losses: u64,
    },
    /// A frame between two nodes that are not connected. The receiver keeps it or passes it on.
    Relay {
        /// The node that the frame is for.
        to: Identity,
        /// The node that made the frame.
        from: Identity,
        /// Number of the relay at the node that made the frame; and its number at the other end, as last received (0 if
        /// none).
        numbers: (u64, u64),
        /// How many more nodes may pass the frame on.
        hops: u8,
        /// The frame.
        frame: &'a [u8],
    },
    /// A digest over all shards that both nodes have. The receiver answers with [`Message::Compare`] if it differs.
    Digest(u64),
    /// The digests of shared shards differ, or were never compared: send [`Message::Clock`]s.
    Compare,
    /// The sender's clock of one shard, as it was a while ago, so that dots still under way do not count as missing.
    Clock {
        /// The shard.
        shard: u32,
        /// The encoded clock.
        clock: &'a [u8],
    },
    /// The sender's clocks of all shared shards came before this.
    ClocksEnd,
    /// A request for everything that this clock lacks, and for all deltas of the shard from now on.
    Pull {
        /// The shard.
        shard: u32,
        /// Whether a copy that is not ready may answer.
        any: bool,
        /// The requester's clock.
        clock: &'a [u8],
    },
    /// The requester accepts one more chunk of a stream.
    More {
        /// The shard.
        shard: u32,
        /// The stream's number, as in its chunks.
        stream: u64,
    },
    /// An answer to [`Message::Pull`] or [`Message::More`].
    Chunk {
        /// The shard.
        shard: u32,
        /// The kind of chunk.
        kind: Kind,
        /// The bytes that the shard wrote.
        chunk: &'a [u8],
    },
    /// The sender has no ready copy (any more): the requester must ask another node.
    Refusal {
        /// The shard.
        shard: u32,
    },
    /// Asks for permission to drop this shard. A node gives it only if its copy is ready and covers this clock.
    Release {
        /// The shard.
        shard: u32,
        /// The sender's clock of the shard.
        clock: &'a [u8],
    },
    /// The permission, valid while the requester's clock has this digest.
    Released {
        /// The shard.
        shard: u32,
        /// Digest of the clock in the request.
        digest: u64,
    },
    /// The sender's vitals.
    Vitals(Vitals),
    /// The sender's clocks.
    Times(Times),
    /// Live keys of the shards that the sender is the primary of, for `/shards` of any node; read with [`key_counts`].
    Keys(&'a [u8]),
    /// A script that the sender has got from a client.
    Script(&'a [u8]),
    /// The sender's client has asked all nodes to forget their scripts.
    ScriptsGone,
    /// A request for [`Message::Keys`] and [`Message::Vitals`] as they are now.
    Ask,
    /// A request to hand over all copies and leave: somebody asked the sender to pass it on.
    Leave,
    /// The members that the sender knows, and whether it waits for any node: a [`Roll`](crate::forming::Roll).
    Roll(&'a [u8]),
    /// An operator says that the nodes which are not connected are lost: do not wait for them.
    AcceptLoss,
    /// A large message follows in slices, behind those that were announced before.
    Large {
        /// Of a delta: its shard.
        shard: Option<u32>,
        /// How long it is.
        bytes: u64,
    },
    /// The next bytes of the first large message of which some are missing.
    Slice(&'a [u8]),
}

const DELTA: u8 = 1;
const FORWARD: u8 = 2;
const OUTCOME: u8 = 3;
const HOLDINGS: u8 = 4;
const DIGEST: u8 = 5;
const COMPARE: u8 = 6;
const CLOCK: u8 = 7;
const PULL: u8 = 8;
const CHUNK_NOTHING: u8 = 9;
const REFUSAL: u8 = 10;
const RELEASE: u8 = 11;
const RELEASED: u8 = 12;
const VITALS: u8 = 13;
const PULL_ANY: u8 = 14;
const MORE: u8 = 15;
const CHUNK_PART: u8 = 16;
const CHUNK_STREAM: u8 = 17;
const LEAVE: u8 = 18;
const CHUNK_REST: u8 = 19;
const KEYS: u8 = 20;
const ASK: u8 = 21;
const CLOCKS_END: u8 = 22;
const SIGHT: u8 = 23;
const STAND: u8 = 24;
const RELAY: u8 = 25;
const TIMES: u8 = 30;
const ROLL: u8 = 40;
const ACCEPT_LOSS: u8 = 41;
const LARGE: u8 = 42;
const SLICE: u8 = 43;
const SCRIPT: u8 = 44;
const SCRIPTS_GONE: u8 = 45;

impl Message<'_> {
    /// Whether it may be sent before large messages that were there first. What may not says where the sender stands,
    /// or what it has: the receiver takes it to have all that was sent before.
    pub(crate) fn overtakes(&self) -> bool {
        match self {
            Self::Delta { .. }
            | Self::Forward(_)
            | Self::Outcome { .. }
            | Self::Vitals(_)
            | Self::Times(_)
            | Self::Keys(_)
            | Self::Ask
            | Self::Script(_)
            | Self::ScriptsGone
            | Self::Relay { .. }
            | Self::Large { .. }
            | Self::Slice(_) => true,
            Self::Holdings { .. }
            | Self::Sight(_)
            | Self::Stand { .. }
            | Self::Digest(_)
            | Self::Compare
            | Self::Clock { .. }
            | Self::ClocksEnd
            | Self::Pull { .. }
            | Self::More { .. }
            | Self::Chunk { .. }
            | Self::Refusal { .. }
            | Self::Release { .. }
            | Self::Released { .. }
            | Self::Leave
            | Self::Roll(_)
            | Self::AcceptLoss => false,
        }
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self.encode_head(out) {
            Some(body) => out.extend_from_slice(body),
            None => self.encode_small(out),
        }
    }

    /// The bytes that it carries, which may be many.
    pub(crate) fn body(&self) -> Option<&[u8]> {
        match self {
            Self::Delta { delta, .. } => Some(delta),
            Self::Forward(forward) => Some(forward.requests),
            Self::Outcome { replies, .. } => Some(replies),
            Self::Chunk { chunk, .. } => Some(chunk),
            Self::Script(source) => Some(source),
            _ => None,
        }
    }

    /// Appends what stands before the body, and hands that out. Nothing is appended if it has none.
    pub(crate) fn encode_head(&self, out: &mut Vec<u8>) -> Option<&[u8]> {
        let body = self.body()?;
        match self {
            Self::Script(_) => out.push(SCRIPT),
            Self::Delta { shard, .. } => {
                out.push(DELTA);
                put_varint(out, u64::from(*shard));
            }
            Self::Forward(f) => {
                out.push(FORWARD);
                put_varint(out, f.token);
                out.extend([f.hops, f.level.to_byte()]);
                put_varint(out, f.until_ms);
                put_varint(out, f.parked_until_ms);
                put_signed(out, f.wall_ahead_ms);
                put_varint(out, u64::from(f.keyspace));
                out.push(u8::from(f.is_last));
            }
            Self::Outcome { token, follows, .. } => {
                out.push(OUTCOME);
                put_varint(out, *token);
                out.push(u8::from(*follows));
            }
            Self::Chunk { shard, kind, .. } => {
                out.push(match kind {
                    Kind::Nothing => CHUNK_NOTHING,
                    Kind::Part => CHUNK_PART,
                    Kind::Rest => CHUNK_REST,
                    Kind::Stream => CHUNK_STREAM,
                });
                put_varint(out, u64::from(*shard));
            }
            _ => return None,
        }
        put_varint(out, body.len() as u64);
        Some(body)
    }

    fn encode_small(&self, out: &mut Vec<u8>) {
        match self {
            Self::Delta { .. } | Self::Forward(_) | Self::Outcome { .. } | Self::Chunk { .. } | Self::Script(_) => {}
            Self::Large { shard, bytes } => {
                out.push(LARGE);
                put_varint(out, shard.map_or(0, |shard| u64::from(shard) + 1));
                put_varint(out, *bytes);
            }
            Self::Slice(bytes) => {
                out.push(SLICE);
                put_bytes(out, bytes);
            }
            Self::Holdings { epoch, resp, holdings } => {
                out.push(HOLDINGS);
                put_varint(out, *epoch);
                let (host, port) = resp.unwrap_or_default();
                put_bytes(out, host.as_bytes());
                put_varint(out, u64::from(port));
                put_bytes(out, holdings);
            }
            Self::Sight(sight) => {
                out.push(SIGHT);
                sight.encode(out);
            }
            Self::Stand { view, knows, losses } => {
                out.push(STAND);
                put_varint(out, *view);
                put_varint(out, *knows);
                put_varint(out, *losses);
            }
            Self::Relay {
                to,
                from,
                numbers,
                hops,
                frame,
            } => {
                out.push(RELAY);
                to.encode(out);
                from.encode(out);
                put_varint(out, numbers.0);
                put_varint(out, numbers.1);
                out.push(*hops);
                put_bytes(out, frame);
            }
            Self::Digest(digest) => {
                out.push(DIGEST);
                put_varint(out, *digest);
            }
            Self::Compare => out.push(COMPARE),
            Self::ClocksEnd => out.push(CLOCKS_END),
            Self::Leave => out.push(LEAVE),
            Self::Roll(roll) => {
                out.push(ROLL);
                put_bytes(out, roll);
            }
            Self::AcceptLoss => out.push(ACCEPT_LOSS),
            Self::Ask => out.push(ASK),
            Self::ScriptsGone => out.push(SCRIPTS_GONE),
            Self::Keys(counts) => {
                out.push(KEYS);
                put_bytes(out, counts);
            }
            Self::Clock { shard, clock } => tagged(out, CLOCK, *shard, clock),
            Self::Pull { shard, any, clock } => {
                out.push(if *any { PULL_ANY } else { PULL });
                put_varint(out, u64::from(*shard));
                put_bytes(out, clock);
            }
            Self::More { shard, stream } => {
                out.push(MORE);
                put_varint(out, u64::from(*shard));
                put_varint(out, *stream);
            }
            Self::Refusal { shard } => {
                out.push(REFUSAL);
                put_varint(out, u64::from(*shard));
            }
            Self::Release { shard, clock } => tagged(out, RELEASE, *shard, clock),
            Self::Released { shard, digest } => {
                out.push(RELEASED);
                put_varint(out, u64::from(*shard));
                put_varint(out, *digest);
            }
            Self::Vitals(vitals) => {
                out.push(VITALS);
                for (_, _, field) in vitals.named() {
                    put_varint(out, field);
                }
            }
            Self::Times(times) => {
                out.push(TIMES);
                for field in [times.beat_ms, times.cluster_ms, times.age_ms, times.wall_ms] {
                    put_varint(out, field);
                }
            }
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, shard: u32, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, u64::from(shard));
    put_bytes(out, bytes);
}

fn shard(input: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(input.varint()?).map_err(|_| Malformed("shard out of range"))
}

/// A peer's host and port for RESP clients; none if it gives none. Clients see the host in lines that are split at
/// spaces. So a host with a space is ignored: it is an error in the peer's settings, but no reason to close the
/// connection.
fn resp_address<'a>(input: &mut Reader<'a>) -> Result<Option<(&'a str, u16)>, Malformed> {
    let (host, port) = (input.bytes()?, input.varint()?);
    let port = u16::try_from(port).map_err(|_| Malformed("port out of range"))?;
    let is_word = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.iter().all(u8::is_ascii_graphic);
    Ok(core::str::from_utf8(host)
        .ok()
        .filter(|_| is_word)
        .map(|host| (host, port)))
}

fn decode<'a>(input: &mut Reader<'a>) -> Result<Message<'a>, Malformed> {
    Ok(match input.u8()? {
        DELTA => Message::Delta {
            shard: shard(input)?,
            delta: input.bytes()?,
        },
        FORWARD => Message::Forward(Forward {
            token: input.varint()?,
            hops: input.u8()?,
            level: Level::from_byte(input.u8()?).ok_or(Malformed("unknown level"))?,
            until_ms: input.varint()?,
            parked_until_ms: input.varint()?,
            wall_ahead_ms: input.signed()?,
            keyspace: u16::try_from(input.varint()?).map_err(|_| Malformed("keyspace out of range"))?,
            is_last: input.u8()? != 0,
            requests: input.bytes()?,
        }),
        OUTCOME => Message::Outcome {
            token: input.varint()?,
            follows: input.u8()? != 0,
            replies: input.bytes()?,
        },
        HOLDINGS => Message::Holdings {
            epoch: input.varint()?,
            resp: resp_address(input)?,
            holdings: input.bytes()?,
        },
        SIGHT => Message::Sight(Sight::decode(input)?),
        STAND => Message::Stand {
            view: input.varint()?,
            knows: input.varint()?,
            losses: input.varint()?,
        },
        RELAY => Message::Relay {
            to: Identity::decode(input)?,
            from: Identity::decode(input)?,
            numbers: (input.varint()?, input.varint()?),
            hops: input.u8()?,
            frame: input.bytes()?,
        },
        DIGEST => Message::Digest(input.varint()?),
        COMPARE => Message::Compare,
        CLOCKS_END => Message::ClocksEnd,
        LEAVE => Message::Leave,
        SCRIPT => Message::Script(input.bytes()?),
        SCRIPTS_GONE => Message::ScriptsGone,
        ROLL => Message::Roll(input.bytes()?),
        ACCEPT_LOSS => Message::AcceptLoss,
        LARGE => Message::Large {
            shard: match input.varint()? {
                0 => None,
                number => Some(u32::try_from(number - 1).map_err(|_| Malformed("shard out of range"))?),
            },
            bytes: input.varint()?,
        },
        SLICE => Message::Slice(input.bytes()?),
        ASK => Message::Ask,
        KEYS => Message::Keys(input.bytes()?),
        CLOCK => Message::Clock {
            shard: shard(input)?,
            clock: input.bytes()?,
        },
        PULL => Message::Pull {
            shard: shard(input)?,
            any: false,
            clock: input.bytes()?,
        },
        PULL_ANY => Message::Pull {
            shard: shard(input)?,
            any: true,
            clock: input.bytes()?,
        },
        MORE => Message::More {
            shard: shard(input)?,
            stream: input.varint()?,
        },
        CHUNK_NOTHING => Message::Chunk {
            shard: shard(input)?,
            kind: Kind::Nothing,
            chunk: input.bytes()?,
        },
        CHUNK_PART => Message::Chunk {
            shard: shard(input)?,
            kind: Kind::Part,
            chunk: input.bytes()?,
        },
        CHUNK_REST => Message::Chunk {
            shard: shard(input)?,
            kind: Kind::Rest,
            chunk: input.bytes()?,
        },
        CHUNK_STREAM => Message::Chunk {
            shard: shard(input)?,
            kind: Kind::Stream,
            chunk: input.bytes()?,
        },
        REFUSAL => Message::Refusal { shard: shard(input)? },
        RELEASE => Message::Release {
            shard: shard(input)?,
            clock: input.bytes()?,
        },
        RELEASED => Message::Released {
            shard: shard(input)?,
            digest: input.varint()?,
        },
        VITALS => {
            let mut vitals = Vitals::default();
            for field in vitals.fields() {
                *field = input.varint()?;
            }
            Message::Vitals(vitals)
        }
        TIMES => Message::Times(Times {
            beat_ms: input.varint()?,
            cluster_ms: input.varint()?,
            age_ms: input.varint()?,
            wall_ms: input.varint()?,
        }),
        _ => return Err(Malformed("unknown message")),
    })
}

/// Reads a message that came in slices: one that has a body, and nothing behind it.
pub(crate) fn decode_large(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut input = Reader::new(bytes);
    let message = decode(&mut input)?;
    if !input.is_empty() || message.body().is_none() {
        return Err(Malformed("not a large message"));
    }
    Ok(message)
}

/// A frame as it was received.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Its number on this connection.
    pub number: u64,
    /// The highest number of this node's frames whose deltas the peer has merged.
    pub applied: u64,
    /// The peer's monotonic clock when it sent the frame.
    pub beat: u64,
    /// This node's monotonic clock, as the peer last received it.
    pub echo: u64,
    /// The peer's hybrid logical time when it sent the frame.
    pub stamp: Stamp,
    messages: Reader<'a>,
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Err(Malformed("another version"));
        }
        Ok(Self {
            number: input.u64()?,
            applied: input.u64()?,
            beat: input.u64()?,
            echo: input.u64()?,
            stamp: Stamp(input.u64()?),
            messages: input,
        })
    }

    /// The next message; `None` at the end.
    #[allow(clippy::should_implement_trait)] // no caller needs an iterator
    pub fn next(&mut self) -> Option<Result<Message<'a>, Malformed>> {
        (!self.messages.is_empty()).then(|| decode(&mut self.messages))
    }
}

/// Appends one request to the bytes of a [`Forward`].
pub fn put_request<'a>(out: &mut Vec<u8>, count: usize, args: impl Iterator<Item = &'a [u8]>) {
    put_varint(out, count as u64);
    for arg in args {
        put_bytes(out, arg);
    }
}

/// Reads the requests of a [`Forward`], and passes them to `each` one by one.
pub fn requests<'a>(bytes: &'a [u8], mut each: impl FnMut(&[&'a [u8]])) -> Result<(), Malformed> {
    let mut input = Reader::new(bytes);
    let mut args = Vec::new();
    while !input.is_empty() {
        let count = input.varint()?;
        // Each argument takes at least one byte, so a count larger than the rest is false.
        if count == 0 || count > bytes.len() as u64 {
            return Err(Malformed("arguments beyond the end"));
        }
        args.clear();
        for _ in 0..count {
            args.push(input.bytes()?);
        }
        each(&args);
    }
    Ok(())
}

/// Writes the content of [`Message::Keys`]: shard and count in turn.
pub fn put_key_counts(out: &mut Vec<u8>, counts: impl Iterator<Item = (usize, u64)>) {
    for (shard, count) in counts {
        put_varint(out, shard as u64);
        put_varint(out, count);
    }
}

/// Reads the content of [`Message::Keys`] for this number of shards. A shard that is not listed has the count 0.
pub fn key_counts(bytes: &[u8], shards: usize) -> Result<Vec<u64>, Malformed> {
    let mut counts = alloc::vec![0; shards];
    let mut input = Reader::new(bytes);
    while !input.is_empty() {
        let shard = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        *counts.get_mut(shard).ok_or(Malformed("shard out of range"))? = input.varint()?;
    }
    Ok(counts)
}

/// Writes the content of [`Message::Holdings`].
pub fn put_holdings(out: &mut Vec<u8>, holdings: impl Iterator<Item = Holding>) {
    out.extend(holdings.map(Holding::to_byte));
}

/// Reads the content of [`Message::Holdings`].
pub fn holdings(bytes: &[u8]) -> Result<Vec<Holding>, Malformed> {
    bytes.iter().map(|&byte| Holding::from_byte(byte)).collect()
}
