//! The settings of a store.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use bytes::Bytes;

use crate::{
    codec::{Reader, put_bytes, put_varint},
    forming,
    keyspaces::Slots,
    message::VERSION,
    quorum::Level,
};

/// One keyspace; its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// Its name in `SELECT` and `/ks/…`.
    pub name: String,
    /// The level of a write that names none.
    pub level: Level,
    /// Copies that must be reachable before a write begins, the primary's included.
    pub min_acks: u32,
    /// How its keys come to their slots.
    pub slots: Slots,
}

impl Keyspace {
    /// A keyspace of this name with the usual settings.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            level: Level::All,
            min_acks: 1,
            slots: Slots::Hash,
        }
    }

    /// The numbered databases of a program that knows Redis: `default`, then `1`, `2` and so on, each of one shard.
    pub fn databases(count: usize) -> Vec<Self> {
        let numbered = |number: usize| Self {
            slots: Slots::One,
            ..Self::named(&number.to_string())
        };
        let mut all = alloc::vec![Self::named("default")];
        all.extend((1..count).map(numbered));
        all
    }
}

/// Settings of one node's store.
// Wide: a table, one line for each setting.
#[derive(Clone, Debug)]
pub struct Config {
    /// Full node name.
    pub name: String,
    /// The creation of the node. Name and creation identify the writer of a write.
    pub creation: u32,
    /// Shards of a keyspace, unless all its keys have one slot: a power of two up to 16384, fixed when the cluster is
    /// formed.
    pub shards: u16,
    /// Copies of each shard.
    pub replicas: u8,
    /// The keyspaces, at least one.
    pub keyspaces: Vec<Keyspace>,
    /// Full names of nodes to join: this node forms no shard before it has met them.
    pub join: Vec<String>,
    /// When a cluster may be formed.
    pub forming: forming::Settings,
    /// How long the lost copies of a crashed node are not made again, in case it is only restarting.
    pub refill_after_ms: u64,
    /// After this time, a write at level `all` needs only a majority.
    pub write_timeout_ms: u64,
    /// Every request is answered within this time.
    pub request_timeout_ms: u64,
    /// Largest value.
    pub value_bytes_max: usize,
    /// Largest key.
    pub key_bytes_max: usize,
    /// Host and port for RESP clients, as shown to clients that know about clusters; `None`: not shown.
    pub resp: Option<(String, u16)>,
    /// Password of RESP clients; none: no authentication.
    pub password: Option<Password>,
    /// If more bytes than this are allocated, writes that need more memory are refused; 0: no limit.
    pub memory_bytes_max: u64,
    /// What `INFO` shows of the process and its machine.
    pub host: Host,
    /// Bytes that clients may make this node hold besides stored data. The front ends count them. Replies of other
    /// nodes take a part of it while they are gathered here.
    pub buffer_bytes_max: usize,
    /// A message to another node that carries more bytes travels in slices of so many.
    pub slice_bytes: usize,
}

/// The share that one client may have of buffers of `bytes_max`, and that all clients with much may have together.
pub const fn share_max(bytes_max: usize) -> usize {
    bytes_max / 8 * 3
}

/// What the shell knows of the process and its machine. What is empty or 0 is not known and not shown.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Number of the process.
    pub process_id: u32,
    /// Name, release and architecture of the system.
    pub os: String,
    /// Path of the program.
    pub executable: String,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Redis clients that may be connected at once.
    pub clients_max: usize,
}

/// A secret that is not printed, and is compared in constant time.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// The password of this text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether `given` is the password. The time it takes depends only on the length of `given`.
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
            keyspaces: Keyspace::databases(1),
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
            host: Host::default(),
            buffer_bytes_max: 256 << 20,
            slice_bytes: 128 << 10,
        }
    }
}

impl Config {
    /// The birth record: settings that every member of a cluster must share, byte for byte, since they decide where a
    /// key is placed.
    pub fn birth(&self) -> Bytes {
        let mut record = alloc::vec![VERSION];
        put_varint(&mut record, u64::from(self.shards));
        put_varint(&mut record, u64::from(self.replicas));
        put_bytes(&mut record, b"xxh3 bounded-hrw crc16");
        for keyspace in &self.keyspaces {
            put_bytes(&mut record, keyspace.name.as_bytes());
            put_varint(&mut record, keyspace.slots.code());
        }
        Bytes::from(record)
    }
}

/// A setting that differs between two birth records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `version`, `shards`, `replicas`, `placement`, `keyspaces`, or `databases` if both nodes have numbered ones.
    pub setting: &'static str,
    /// Its value in the first record, for people.
    pub ours: String,
    /// Its value in the second one.
    pub theirs: String,
}

/// The first setting that differs between two birth records. None if they are equal, or if one cannot be read.
pub fn birth_difference(ours: &[u8], theirs: &[u8]) -> Option<Difference> {
    let (ours, theirs) = (birth_settings(ours)?, birth_settings(theirs)?);
    let mut pairs = ours.into_iter().zip(theirs);
    let ((setting, ours), (other, theirs)) = pairs.find(|(ours, theirs)| ours != theirs)?;
    if setting == other {
        return Some(Difference { setting, ours, theirs });
    }
    // Only one of the two has numbered databases.
    let named = |setting: &str, text: String| match (setting, text.as_str()) {
        ("databases", "1") => "default".into(),
        ("databases", count) => format!("{count} databases"),
        _ => text,
    };
    Some(Difference {
        setting: "keyspaces",
        ours: named(setting, ours),
        theirs: named(other, theirs),
    })
}

/// The settings in a record. For a record of another version, only the version.
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
    let mut keyspaces = Vec::new();
    while !input.is_empty() {
        let name = String::from_utf8_lossy(input.bytes().ok()?).into_owned();
        keyspaces.push((name, Slots::of_code(input.varint().ok()?)?));
    }
    settings.push(describe(&keyspaces));
    Some(settings)
}

/// The keyspaces in a record, for people: how many numbered databases, or the names and how keys come to their slots.
fn describe(keyspaces: &[(String, Slots)]) -> (&'static str, String) {
    let databases = Keyspace::databases(keyspaces.len());
    let databases = databases.into_iter().map(|database| (database.name, database.slots));
    if databases.eq(keyspaces.iter().cloned()) {
        return ("databases", keyspaces.len().to_string());
    }
    let shown = |(name, slots): &(String, Slots)| match slots {
        Slots::Hash => name.clone(),
        slots => format!("{name} ({slots})"),
    };
    let shown: Vec<String> = keyspaces.iter().map(shown).collect();
    ("keyspaces", shown.join(", "))
}
