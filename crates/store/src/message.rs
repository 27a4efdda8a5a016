//! What store processes say to each other: one frame per peer and flush, holding any number of messages.
//!
//! ```text
//! frame   = version:u8 number:u64 applied:u64 beat:u64 echo:u64 stamp:u64 message*
//! message = tag:u8 body              integers are varints, byte strings are length and bytes
//! ```
//!
//! Frames of a connection are numbered from 1 without a gap; `applied` is the highest number whose deltas the sender
//! has merged, so one number acknowledges everything before it. A gap means that something was lost on the way, which a
//! connection never does while it lives: it is cut, and anti-entropy makes up for it.
//!
//! `beat` is the sender's monotonic clock in milliseconds, `echo` the last beat it has had from the receiver. An echo
//! proves that what the peer sent before it is here: whoever holds an echo younger than [`LEASE_MS`] has not missed a
//! write that was acknowledged without it, since a primary is not content with fewer replicas before the write timeout,
//! which is longer.
//!
//! A frame without messages and with number 0 is a *probe*: it shows that a connection works, and `applied` is 1 if the
//! sender has had a probe over it.
//!
//! A message that carries many bytes is announced and follows in slices ([`slices`](crate::slices)); others go between.
//!
//! `stamp` is the sender's hybrid logical time: what the receiver writes from then on is later than all that the sender
//! had seen, whichever way the news took.
//!
//! The format is written by hand because deltas, forwarded requests and chunks are bytes already and are read in place.

use alloc::vec::Vec;

use crate::{
    codec::{Malformed, Reader, put_bytes, put_signed, put_varint},
    quorum::Level,
    sight::{Identity, Sight},
    stamp::Stamp,
};

/// Version of the frame and of all messages in it. A peer of another version is refused by the birth record.
pub const VERSION: u8 = 3;
/// Longest host name (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;
/// Bytes before the messages of a frame.
pub const HEADER: usize = 1 + 5 * 8;

/// How long an echo allows to answer reads without asking the primary.
pub const LEASE_MS: u64 = 500;
/// A peer hears a beat at least this often.
pub const BEAT_MS: u64 = 150;

/// What a node has of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Copy {
    /// Nothing.
    #[default]
    Absent,
    /// Some of it: it takes writes and is being filled, and answers no reads.
    Filling,
    /// All of it.
    Ready,
}

/// [`Copy`] of one shard at a peer, and whether it knows a ready holder that is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Holding {
    /// What it has.
    pub copy: Copy,
    /// It knows of a ready holder that is neither connected nor dead: nobody may form this shard anew meanwhile.
    pub missed: bool,
}

impl Holding {
    fn to_byte(self) -> u8 {
        self.copy as u8 | u8::from(self.missed) << 2
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
        })
    }
}

/// What a node tells of itself each second, for `cluster`, `stats` and the dashboard of any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vitals {
    /// Live keys of shards it is the primary of.
    pub keys_primary: u64,
    /// Live keys it holds.
    pub keys_held: u64,
    /// Shards it is the primary of.
    pub shards_primary: u64,
    /// Shards placed on it.
    pub shards_replica: u64,
    /// Shards it holds, those on their way out included.
    pub shards_held: u64,
    /// Bytes of memory allocated by the process.
    pub memory_bytes: u64,
    /// Requests of clients per second.
    pub ops_per_second: u64,
    /// Copies it still has to make or to hand over.
    pub moves: u64,
    /// Shards in which its clock is known to differ from a peer's.
    pub behind: u64,
}

impl Vitals {
    fn fields(&mut self) -> [&mut u64; 9] {
        [
            &mut self.keys_primary,
            &mut self.keys_held,
            &mut self.shards_primary,
            &mut self.shards_replica,
            &mut self.shards_held,
            &mut self.memory_bytes,
            &mut self.ops_per_second,
            &mut self.moves,
            &mut self.behind,
        ]
    }
}

/// What the clocks of a node show, told each second and before all else on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Times {
    /// The receiver's monotonic clock as the sender last had it: what the message says is no older.
    pub beat_ms: u64,
    /// Cluster time, in Unix milliseconds.
    pub cluster_ms: u64,
    /// For how long the sender's calendar has been in use; 0 if it does not serve yet.
    pub age_ms: u64,
    /// The sender's wall clock, in Unix milliseconds.
    pub wall_ms: u64,
}

/// A forwarded batch: requests whose keys the receiver is the primary of, or a ready replica for reads.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Names the batch in the [`Message::Outcome`].
    pub token: u64,
    /// Times it was forwarded before; see `coordinator::HOPS_MAX`.
    pub hops: u8,
    /// What its writes wait for.
    pub level: Level,
    /// Time its client still waits.
    pub patience_ms: u64,
    /// By how many milliseconds the wall clock of the node that was asked is ahead of cluster time.
    pub wall_ahead_ms: i64,
    /// The keyspace it runs in.
    pub keyspace: u16,
    /// Its sender has nothing more for the receiver that must come behind it: what would make its replies too large may
    /// be put off. Otherwise all of it is executed at one stroke, or what follows would overtake it.
    pub is_last: bool,
    /// Its requests, to be read with [`requests`].
    pub requests: &'a [u8],
}

/// What a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The clock that asked lacks nothing; no bytes.
    Nothing,
    /// Some keys: merge them and pull again.
    Part,
    /// The last keys: merge them, and with the deltas that follow nothing is lacking.
    Rest,
    /// A chunk of a stream of the whole shard.
    Stream,
}

/// One message.
#[derive(Debug)]
pub enum Message<'a> {
    /// One write (or several of one shard) that the receiver merges and acknowledges by frame number.
    Delta {
        /// Whose.
        shard: u32,
        /// As the shard wrote it.
        delta: &'a [u8],
    },
    /// Requests for the receiver to execute.
    Forward(Forward<'a>),
    /// Their replies, in their order, one piece after the other. Requests without one when the last piece is there were
    /// put off: they wait to be forwarded again.
    Outcome {
        /// Of the forward.
        token: u64,
        /// Another piece follows.
        follows: bool,
        /// As `outcome` wrote them.
        replies: &'a [u8],
    },
    /// What the sender has.
    Holdings {
        /// Number of the announcement, rising.
        epoch: u64,
        /// Host and port at which clients reach it by RESP.
        resp: Option<(&'a str, u16)>,
        /// Of every shard, in shard order; read with [`holdings`].
        holdings: &'a [u8],
    },
    /// Whom the sender is connected to.
    Sight(Sight),
    /// How far the sender agrees with the receiver.
    Stand {
        /// Digest of its view.
        view: u64,
        /// The receiver's latest announcement of holdings that it has taken in.
        knows: u64,
        /// How many peers it has lost, in all.
        losses: u64,
    },
    /// A frame between two nodes that are not connected, for the receiver to take or to pass on.
    Relay {
        /// For whom it is.
        to: Identity,
        /// Who made it.
        from: Identity,
        /// Number of the relay at its maker, and at its receiver as the maker last heard it; 0: not yet.
        numbers: (u64, u64),
        /// Nodes that may still pass it on.
        hops: u8,
        /// The frame.
        frame: &'a [u8],
    },
    /// A digest over all shards both hold; an unequal one is answered with [`Message::Compare`].
    Digest(u64),
    /// The clocks of shards both hold did not match, or were never compared: please send [`Message::Clock`]s.
    Compare,
    /// The sender's clock of one shard, as it was a while ago (so that what is still under way does not count as
    /// missing).
    Clock {
        /// Whose.
        shard: u32,
        /// Encoded clock.
        clock: &'a [u8],
    },
    /// The sender's clocks of all shards both hold came before this.
    ClocksEnd,
    /// Send me what this clock lacks, and all deltas of the shard from now on.
    Pull {
        /// Of which shard.
        shard: u32,
        /// A copy that is not ready will do.
        any: bool,
        /// What the receiver of the chunks has.
        clock: &'a [u8],
    },
    /// One more chunk of a stream.
    More {
        /// Of which shard.
        shard: u32,
        /// As its chunks name it.
        stream: u64,
    },
    /// An answer to [`Message::Pull`] or [`Message::More`].
    Chunk {
        /// Of which shard.
        shard: u32,
        /// What the bytes are.
        kind: Kind,
        /// As the shard wrote them.
        chunk: &'a [u8],
    },
    /// The receiver of a pull has no ready copy (any more): ask another.
    Refusal {
        /// Of which shard.
        shard: u32,
    },
    /// May I drop this shard? Only if you are ready and your clock covers this one.
    Release {
        /// Which.
        shard: u32,
        /// The sender's clock of it.
        clock: &'a [u8],
    },
    /// You may, as far as I am concerned, as long as your clock still has this digest.
    Released {
        /// Which.
        shard: u32,
        /// Digest of the clock that was asked about.
        digest: u64,
    },
    /// How the sender fares.
    Vitals(Vitals),
    /// What its clocks show.
    Times(Times),
    /// Live keys of the shards the sender is the primary of, for `/shards` of any node; read with [`key_counts`].
    Keys(&'a [u8]),
    /// How do you fare? Answered with [`Message::Keys`] and [`Message::Vitals`] as they are now.
    Ask,
    /// Please hand everything over and go: somebody asked the sender to see to it.
    Leave,
    /// The members that the sender knows, and whether it waits for any: a [`Roll`](crate::forming::Roll).
    Roll(&'a [u8]),
    /// An operator says that nodes which are not connected are lost: wait for none of them.
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
            _ => None,
        }
    }

    /// Appends what stands before the body, and hands that out. Nothing is appended if it has none.
    pub(crate) fn encode_head(&self, out: &mut Vec<u8>) -> Option<&[u8]> {
        let body = self.body()?;
        match self {
            Self::Delta { shard, .. } => {
                out.push(DELTA);
                put_varint(out, u64::from(*shard));
            }
            Self::Forward(f) => {
                out.push(FORWARD);
                put_varint(out, f.token);
                out.extend([f.hops, f.level.to_byte()]);
                put_varint(out, f.patience_ms);
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
            Self::Delta { .. } | Self::Forward(_) | Self::Outcome { .. } | Self::Chunk { .. } => {}
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
                for field in { *vitals }.fields() {
                    put_varint(out, *field);
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

/// Where a peer is reached by RESP; none if it does not tell. It is shown to clients in lines of words, so what is no
/// word is none: a slip in the peer's settings, and no reason to part with it.
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
            patience_ms: input.varint()?,
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
    /// The highest number of ours whose deltas the peer has merged.
    pub applied: u64,
    /// The peer's clock when it sent the frame.
    pub beat: u64,
    /// Our clock as the peer last had it.
    pub echo: u64,
    /// The peer's hybrid logical time when it sent the frame.
    pub stamp: Stamp,
    messages: Reader<'a>,
}

impl<'a> Frame<'a> {
    /// Reads the header.
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
    #[allow(clippy::should_implement_trait)] // nobody needs the iterator it could be
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

/// Reads the requests of a [`Forward`] one by one into `each`.
pub fn requests<'a>(bytes: &'a [u8], mut each: impl FnMut(&[&'a [u8]])) -> Result<(), Malformed> {
    let mut input = Reader::new(bytes);
    let mut args = Vec::new();
    while !input.is_empty() {
        let count = input.varint()?;
        // Each argument takes a byte at least, so a count beyond what is left is a lie.
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

/// Writes what [`Message::Keys`] carries: shard and count in turn.
pub fn put_key_counts(out: &mut Vec<u8>, counts: impl Iterator<Item = (usize, u64)>) {
    for (shard, count) in counts {
        put_varint(out, shard as u64);
        put_varint(out, count);
    }
}

/// Reads what [`Message::Keys`] carries, for a node of so many shards; 0 for those not named.
pub fn key_counts(bytes: &[u8], shards: usize) -> Result<Vec<u64>, Malformed> {
    let mut counts = alloc::vec![0; shards];
    let mut input = Reader::new(bytes);
    while !input.is_empty() {
        let shard = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        *counts.get_mut(shard).ok_or(Malformed("shard out of range"))? = input.varint()?;
    }
    Ok(counts)
}

/// Writes what [`Message::Holdings`] carries.
pub fn put_holdings(out: &mut Vec<u8>, holdings: impl Iterator<Item = Holding>) {
    out.extend(holdings.map(Holding::to_byte));
}

/// Reads what [`Message::Holdings`] carries.
pub fn holdings(bytes: &[u8]) -> Result<Vec<Holding>, Malformed> {
    bytes.iter().map(|&byte| Holding::from_byte(byte)).collect()
}
