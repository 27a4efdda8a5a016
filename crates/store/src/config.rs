//! What a store is told at its birth.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use bytes::Bytes;

use crate::{
    codec::{Reader, put_bytes, put_varint},
    forming,
    message::VERSION,
    quorum::Level,
};

/// One keyspace; its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// Under which `SELECT` and `/ks/…` find it.
    pub name: String,
    /// What a write waits for unless it says otherwise.
    pub level: Level,
    /// Copies that must be within reach before a write begins, the primary's included.
    pub min_acks: u32,
}

/// Settings of one node's store.
#[derive(Clone, Debug)]
pub struct Config {
    /// Full node name.
    pub name: String,
    /// Which life of it; with the name it is what writes carry.
    pub creation: u32,
    /// Shards of a keyspace; a power of two up to 16384, fixed at the birth of the cluster.
    pub shards: u16,
    /// Copies of each shard.
    pub replicas: u8,
    /// At least one.
    pub keyspaces: Vec<Keyspace>,
    /// Full names of nodes to join: this one forms nothing before it has met them.
    pub join: Vec<String>,
    /// When a cluster may be formed.
    pub forming: forming::Settings,
    /// How long the lost copies of a crashed node are left alone, in case it is only restarting.
    pub refill_after_ms: u64,
    /// A write at level `all` that has waited this long is content with a majority.
    pub write_timeout_ms: u64,
    /// Every request is answered within this time.
    pub request_timeout_ms: u64,
    /// Largest value.
    pub value_bytes_max: usize,
    /// Largest key.
    pub key_bytes_max: usize,
    /// Host and port at which clients reach this node by RESP, as cluster-aware clients are told; `None`: not told.
    pub resp: Option<(String, u16)>,
    /// Password of RESP clients; none: no authentication.
    pub password: Option<Password>,
    /// Allocated bytes past which writes that grow the store are refused; 0: no limit.
    pub memory_bytes_max: u64,
    /// Bytes that clients may make this node hold besides stored data. The front ends count them; replies of other
    /// nodes take a part of it while they are gathered here.
    pub buffer_bytes_max: usize,
}

/// The share that one client may have of buffers of `bytes_max`, and that all clients with much may have together.
pub const fn share_max(bytes_max: usize) -> usize {
    bytes_max / 8 * 3
}

/// A secret that is neither printed nor compared in a time that tells of it.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// The password of this text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether `given` is it. Takes a time that depends on the length of `given` alone.
    pub fn is(&self, given: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = u8::from(secret.len() != given.len());
        for (index, byte) in given.iter().enumerate() {
            difference |= byte ^ secret.get(index).copied().unwrap_or(!byte);
        }
        difference == 0
    }
}

impl core::fmt::Debug for Password {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "salp@127.0.0.1".into(),
            creation: 4,
            shards: 1024,
            replicas: 3,
            keyspaces: alloc::vec![Keyspace {
                name: "default".into(),
                level: Level::All,
                min_acks: 1
            }],
            join: Vec::new(),
            forming: forming::Settings::default(),
            refill_after_ms: 3_000,
            write_timeout_ms: 1_000,
            request_timeout_ms: 5_000,
            value_bytes_max: 64 << 20,
            key_bytes_max: 65_536,
            resp: None,
            password: None,
            memory_bytes_max: 0,
            buffer_bytes_max: 256 << 20,
        }
    }
}

impl Config {
    /// What every member of a cluster must share, byte for byte: it decides where a key lies.
    pub fn birth(&self) -> Bytes {
        let mut record = alloc::vec![VERSION];
        put_varint(&mut record, u64::from(self.shards));
        put_varint(&mut record, u64::from(self.replicas));
        put_bytes(&mut record, b"xxh3 bounded-hrw crc16");
        for keyspace in &self.keyspaces {
            put_bytes(&mut record, keyspace.name.as_bytes());
        }
        Bytes::from(record)
    }

    /// Shards of all keyspaces.
    pub fn shards_total(&self) -> usize {
        usize::from(self.shards) * self.keyspaces.len()
    }
}

/// A setting in which two birth records differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `version`, `shards`, `replicas`, `placement` or `keyspaces`.
    pub setting: &'static str,
    /// Its value in the first record, for people.
    pub ours: String,
    /// Its value in the second one.
    pub theirs: String,
}

/// The first setting in which two birth records differ. None if they are the same, or one of them cannot be read.
pub fn birth_difference(ours: &[u8], theirs: &[u8]) -> Option<Difference> {
    let (ours, theirs) = (birth_settings(ours)?, birth_settings(theirs)?);
    let mut pairs = ours.into_iter().zip(theirs);
    pairs.find_map(|((setting, ours), (_, theirs))| (ours != theirs).then_some(Difference { setting, ours, theirs }))
}

/// What a record says. Of one of another version nothing but that is read.
fn birth_settings(record: &[u8]) -> Option<Vec<(&'static str, String)>> {
    let mut input = Reader::new(record);
    let version = input.u8().ok()?;
    let mut settings = alloc::vec![("version", version.to_string())];
    if version != VERSION {
        return Some(settings);
    }
    settings.push(("shards", input.varint().ok()?.to_string()));
    settings.push(("replicas", input.varint().ok()?.to_string()));
    settings.push(("placement", String::from_utf8_lossy(input.bytes().ok()?).into_owned()));
    let mut names = Vec::new();
    while !input.is_empty() {
        names.push(String::from_utf8_lossy(input.bytes().ok()?).into_owned());
    }
    settings.push(("keyspaces", names.join(", ")));
    Some(settings)
}
