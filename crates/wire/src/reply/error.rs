//! Why a request failed, and the error texts of Redis.
//!
//! Clients match on the leading word, and many on the whole text. So texts that Redis 7 has are the same here to the
//! letter. They stand only here; other code calls these functions.

use super::Replies;
use alloc::{borrow::Cow, string::String, vec::Vec};

/// Whether a retry is safe and useful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing was done, and a retry may succeed.
    Safe,
    /// It may have been done, or may still be done. Retry only requests that may be done twice.
    Unsafe,
    /// Nothing was done, and a retry will be refused again.
    Useless,
}

/// What kind of error a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A malformed request: arity, syntax, ranges.
    Err,
    /// The key holds a value of another type.
    WrongType,
    /// Authentication is required.
    NoAuth,
    /// Wrong user or password.
    WrongPass,
    /// The user may not do this.
    NoPerm,
    /// `HELLO` asked for an unsupported version.
    NoProto,
    /// A transaction that had errors when it was queued.
    ExecAbort,
    /// The keys of one request belong to different slots.
    CrossSlot,
    /// Another node owns the slot.
    Moved,
    /// The keys are being moved right now.
    TryAgain,
    /// The cluster as a whole does not serve.
    ClusterDown,
    /// No live node has a replica of the key's shard.
    NoNodes,
    /// Too few replicas to start a write.
    NoReplicas,
    /// A write was started, but too few replicas acknowledged it.
    NoQuorum,
    /// The deadline passed before the outcome was known.
    Timeout,
    /// The node is still synchronising.
    Loading,
    /// The node is stopping and accepts no more requests.
    Stopping,
    /// A queue is full.
    Busy,
    /// The memory limit is reached, or a reply is too large to hold.
    Oom,
    /// A write where only reads are allowed.
    ReadOnly,
    /// A script that is not known by its SHA-1: its source must be sent.
    NoScript,
    /// No script is running.
    NotBusy,
    /// An error that a script has made. Its text begins with a word of its own.
    Custom,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 23] = [
        Self::Err,
        Self::WrongType,
        Self::NoAuth,
        Self::WrongPass,
        Self::NoPerm,
        Self::NoProto,
        Self::ExecAbort,
        Self::CrossSlot,
        Self::Moved,
        Self::TryAgain,
        Self::ClusterDown,
        Self::NoNodes,
        Self::NoReplicas,
        Self::NoQuorum,
        Self::Timeout,
        Self::Loading,
        Self::Stopping,
        Self::Busy,
        Self::Oom,
        Self::ReadOnly,
        Self::NoScript,
        Self::NotBusy,
        Self::Custom,
    ];

    /// The beginning of the text in RESP: Redis's word; empty for [`ErrorKind::Custom`]. If two kinds share that word,
    /// a word of our own follows it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Err => "ERR",
            Self::WrongType => "WRONGTYPE",
            Self::NoAuth => "NOAUTH",
            Self::WrongPass => "WRONGPASS",
            Self::NoPerm => "NOPERM",
            Self::NoProto => "NOPROTO",
            Self::ExecAbort => "EXECABORT",
            Self::CrossSlot => "CROSSSLOT",
            Self::Moved => "MOVED",
            Self::TryAgain => "TRYAGAIN",
            Self::ClusterDown => "CLUSTERDOWN",
            Self::NoNodes => "CLUSTERDOWN no_nodes",
            Self::NoReplicas => "NOREPLICAS",
            Self::NoQuorum => "NOREPLICAS no_quorum",
            Self::Timeout => "TIMEOUT",
            Self::Loading => "LOADING",
            Self::Stopping => "LOADING stopping",
            Self::Busy => "BUSY",
            Self::Oom => "OOM",
            Self::ReadOnly => "READONLY",
            Self::NoScript => "NOSCRIPT",
            Self::NotBusy => "NOTBUSY",
            Self::Custom => "",
        }
    }

    /// Its name, as an Erlang atom and in problem details.
    pub fn name(self) -> &'static str {
        match self {
            Self::Err => "bad_request",
            Self::WrongType => "wrong_type",
            Self::NoAuth => "no_auth",
            Self::WrongPass => "wrong_pass",
            Self::NoPerm => "no_perm",
            Self::NoProto => "no_proto",
            Self::ExecAbort => "exec_abort",
            Self::CrossSlot => "cross_slot",
            Self::Moved => "moved",
            Self::TryAgain => "try_again",
            Self::ClusterDown => "cluster_down",
            Self::NoNodes => "no_nodes",
            Self::NoReplicas => "no_replicas",
            Self::NoQuorum => "no_quorum",
            Self::Timeout => "timeout",
            Self::Loading => "loading",
            Self::Stopping => "stopping",
            Self::Busy => "busy",
            Self::Oom => "oom",
            Self::ReadOnly => "read_only",
            Self::NoScript => "no_script",
            Self::NotBusy => "not_busy",
            Self::Custom => "custom",
        }
    }

    /// Whether a retry is safe and useful.
    pub fn retry(self) -> Retry {
        match self {
            Self::Moved
            | Self::TryAgain
            | Self::ClusterDown
            | Self::NoNodes
            | Self::NoReplicas
            | Self::Loading
            | Self::Stopping
            | Self::Busy
            | Self::Oom => Retry::Safe,
            Self::NoQuorum | Self::Timeout => Retry::Unsafe,
            Self::Err
            | Self::WrongType
            | Self::NoAuth
            | Self::WrongPass
            | Self::NoPerm
            | Self::NoProto
            | Self::ExecAbort
            | Self::CrossSlot
            | Self::ReadOnly
            | Self::NoScript
            | Self::NotBusy
            | Self::Custom => Retry::Useless,
        }
    }

    /// The kind of an error text as RESP shows it, and the text behind its word. The longest matching word counts. A
    /// text that begins with no known word is an [`ErrorKind::Err`], unchanged.
    pub fn split(text: &str) -> (Self, &str) {
        let behind = |kind: Self| {
            if kind == Self::Custom {
                return None;
            }
            let rest = text.strip_prefix(kind.word())?;
            if rest.is_empty() {
                Some((kind, rest))
            } else {
                Some((kind, rest.strip_prefix(' ')?))
            }
        };
        let found = Self::ALL
            .into_iter()
            .filter_map(behind)
            .min_by_key(|(_, rest)| rest.len());
        found.unwrap_or((Self::Err, text))
    }
}

/// How many bytes of a client's input an error quotes at most.
const QUOTED_BYTES_MAX: usize = 128;

/// Errors with Redis's own texts.
impl Replies {
    /// `name` is the command in small letters; for a subcommand, `command|subcommand`.
    #[cold]
    pub fn wrong_arity(&mut self, name: &str) {
        self.error(
            ErrorKind::Err,
            format_args!("wrong number of arguments for '{name}' command"),
        );
    }

    /// Options that do not exist or exclude each other.
    #[cold]
    pub fn syntax(&mut self) {
        self.error(ErrorKind::Err, "syntax error");
    }

    /// An argument or a value that should be an integer of 64 bits.
    #[cold]
    pub fn not_an_integer(&mut self) {
        self.error(ErrorKind::Err, "value is not an integer or out of range");
    }

    /// An argument or a value that should be a float.
    #[cold]
    pub fn not_a_float(&mut self) {
        self.error(ErrorKind::Err, "value is not a valid float");
    }

    /// An increment that would leave 64 bits.
    #[cold]
    pub fn overflow(&mut self) {
        self.error(ErrorKind::Err, "increment or decrement would overflow");
    }

    /// An expiry that is negative, zero or larger than a clock can hold; `name` as in [`Replies::wrong_arity`].
    #[cold]
    pub fn invalid_expire(&mut self, name: &str) {
        self.error(ErrorKind::Err, format_args!("invalid expire time in '{name}' command"));
    }

    /// An operation against a value of another type.
    #[cold]
    pub fn wrong_type(&mut self) {
        self.error(
            ErrorKind::WrongType,
            "Operation against a key holding the wrong kind of value",
        );
    }

    /// A request before `AUTH`.
    #[cold]
    pub fn no_auth(&mut self) {
        self.error(ErrorKind::NoAuth, "Authentication required.");
    }

    /// A failed `AUTH`.
    #[cold]
    pub fn wrong_pass(&mut self) {
        self.error(
            ErrorKind::WrongPass,
            "invalid username-password pair or user is disabled.",
        );
    }

    /// A `HELLO` for a version other than 2 and 3.
    #[cold]
    pub fn no_proto(&mut self) {
        self.error(ErrorKind::NoProto, "unsupported protocol version");
    }

    /// Keys of different slots, where all must be in one.
    #[cold]
    pub fn cross_slot(&mut self) {
        self.error(ErrorKind::CrossSlot, "Keys in request don't hash to the same slot");
    }

    /// A script that is not known by its SHA-1.
    #[cold]
    pub fn no_script(&mut self) {
        self.error(ErrorKind::NoScript, "No matching script. Please use EVAL.");
    }

    /// A write past the memory limit.
    #[cold]
    pub fn out_of_memory(&mut self) {
        self.error(ErrorKind::Oom, "command not allowed when used memory > 'maxmemory'.");
    }

    /// A write that would reach fewer replicas than its keyspace demands.
    #[cold]
    pub fn no_replicas(&mut self) {
        self.error(ErrorKind::NoReplicas, "Not enough good replicas to write.");
    }

    /// A value larger than the setting `max_value`.
    #[cold]
    pub fn value_too_large(&mut self, bytes_max: usize) {
        self.error(
            ErrorKind::Err,
            format_args!("value exceeds the maximum of {bytes_max} bytes (max_value)"),
        );
    }

    /// There is no command `name`; `args` are its arguments.
    #[cold]
    pub fn unknown_command<'a>(&mut self, name: &[u8], args: impl IntoIterator<Item = &'a [u8]>) {
        let mut rest = Vec::new();
        for arg in args {
            if rest.len() >= QUOTED_BYTES_MAX {
                break;
            }
            let room = QUOTED_BYTES_MAX - rest.len();
            rest.push(b'\'');
            rest.extend_from_slice(&arg[..arg.len().min(room)]);
            rest.extend_from_slice(b"' ");
        }
        let (name, rest) = (quoted(name), String::from_utf8_lossy(&rest));
        self.error(
            ErrorKind::Err,
            format_args!("unknown command '{name}', with args beginning with: {rest}"),
        );
    }

    /// There is no subcommand `name` of `command`. `command` is in small letters.
    #[cold]
    pub fn unknown_subcommand(&mut self, command: &str, name: &[u8]) {
        let (name, command) = (quoted(name), command.to_uppercase());
        self.error(
            ErrorKind::Err,
            format_args!("unknown subcommand '{name}'. Try {command} HELP."),
        );
    }
}

/// The beginning of a client's input, as text.
fn quoted(word: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(&word[..word.len().min(QUOTED_BYTES_MAX)])
}
