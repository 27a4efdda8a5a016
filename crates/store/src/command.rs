//! The table of commands. Each has one row; routing, arity checks, `COMMAND` and the help use the rows.
//!
//! A row says where a request runs ([`Run`]) and which of its arguments are keys ([`Keys`]). Other code does not refer
//! to commands by name.

use wire::{
    reply::Replies,
    request::{Args, Batch},
};

use crate::{call::Call, commands, visit::Visit};

/// How many arguments a command takes, its name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// Exactly this many.
    Exactly(u8),
    /// This many or more.
    AtLeast(u8),
}

impl Arity {
    /// Whether a request of `count` arguments is allowed.
    pub fn admits(self, count: usize) -> bool {
        match self {
            Self::Exactly(n) => count == usize::from(n),
            Self::AtLeast(n) => count >= usize::from(n),
        }
    }

    /// The arity as `COMMAND INFO` shows it: negative for "or more".
    pub fn to_int(self) -> i64 {
        match self {
            Self::Exactly(n) => i64::from(n),
            Self::AtLeast(n) => -i64::from(n),
        }
    }
}

/// Which arguments are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// No arguments.
    None,
    /// The first argument.
    First,
    /// The first two arguments, which must be in one slot.
    Two,
    /// All arguments.
    All,
    /// Every second argument; each is followed by its value.
    Pairs,
    /// The second argument; the first is a subcommand.
    Second,
    /// As many arguments as the second one says, behind it.
    Counted,
    /// No arguments, but the first one is the number of a shard.
    Shard,
    /// No arguments, but the second one, behind a subcommand, is the number of a slot.
    Slot,
}

impl Keys {
    /// First, last and step as in `COMMAND INFO`.
    pub fn spec(self) -> (i64, i64, i64) {
        match self {
            Self::None | Self::Counted | Self::Shard | Self::Slot => (0, 0, 0),
            Self::First => (1, 1, 1),
            Self::Two => (1, 2, 1),
            Self::All => (1, -1, 1),
            Self::Pairs => (1, -1, 2),
            Self::Second => (2, 2, 1),
        }
    }

    /// The distance from one key to the next.
    pub fn step(self) -> usize {
        if self == Self::Pairs { 2 } else { 1 }
    }

    /// The keys of a request.
    pub fn of<'a>(self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
        let (skip, take, step) = match self {
            Self::None | Self::Shard | Self::Slot => (0, 0, 1),
            Self::First => (1, 1, 1),
            Self::Two => (1, 2, 1),
            Self::All => (1, usize::MAX, 1),
            Self::Pairs => (1, usize::MAX, 2),
            Self::Second => (2, 1, 1),
            Self::Counted => (3, counted(args).unwrap_or(0), 1),
        };
        args.iter().skip(skip).step_by(step).take(take)
    }
}

/// How many keys a request says it has; `None` if that is not a number, or it has fewer arguments.
fn counted(args: Args<'_>) -> Option<usize> {
    let count = core::str::from_utf8(args.get(2)?).ok()?.parse::<usize>().ok()?;
    (count <= args.len().saturating_sub(3)).then_some(count)
}

/// What a command does to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only.
    Read,
    /// Changes the shard. The primary decides.
    Write,
    /// Changes the shard and may make it larger. Refused when memory is short.
    Grow,
    /// Reads at the primary. The reply counts once all replicas have what the primary has read.
    Watch,
}

/// How the replies to the parts of a request become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The sum of the replies, which are integers.
    Sum,
    /// An array of the replies. If one of them is an error, the error.
    Array,
    /// An array of the elements of all replies.
    Concat,
    /// `OK` if all replies are.
    Ok,
    /// The first reply.
    First,
    /// For `RANDOMKEY`: each part is null or `[number of keys, key]`. One part is chosen, with a chance in proportion
    /// to its number of keys.
    Random,
    /// For `SCAN` of this many keys: the parts are `[cursor, keys looked at, [key …]]` of consecutive shards.
    Scan(u64),
    /// For `WATCH`: the parts are the versions of the keys. The session remembers them, and the reply is `OK`.
    Watch,
}

/// Where a request runs.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// At the primary of the one shard that all its keys are in.
    Shard(Access, fn(&mut Call<'_>)),
    /// Once for each key, by the row with this name, which takes the key (and for [`Keys::Pairs`] its value).
    Each(&'static str, Fold),
    /// Once for every shard, by the row with this name, which takes the shard's number before the other arguments.
    Every(&'static str, Fold),
    /// As parts that the command chooses at its client's own node. `None`: it has written the reply itself.
    Plan(Option<Access>, fn(&mut Visit<'_>) -> Option<Parts>),
    /// At the client's own node.
    Here(fn(&mut Visit<'_>)),
    /// By a subcommand, which is the first argument. Each subcommand has a row named `command|subcommand`. The row
    /// `command|` is for the command without a subcommand.
    Family(&'static [Row]),
}

/// Requests that together answer one request, and how their replies become one.
pub type Parts = (Batch, Fold);

/// One command.
#[derive(Debug)]
pub struct Row {
    /// Its name in small letters.
    pub name: &'static str,
    /// How many arguments it takes.
    pub arity: Arity,
    /// Which arguments are keys.
    pub keys: Keys,
    /// Where it runs.
    pub run: Run,
    /// Its group in Redis: `string`, `generic`, `connection`, `server`, `cluster`, `transactions`, or `salp`.
    pub group: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Its place among all rows, those of subcommands included.
    pub number: u16,
}

impl Row {
    /// What it does to the shards it runs on; `None` if it does not run on shards.
    pub fn access(&self) -> Option<Access> {
        match self.run {
            Run::Shard(access, _) => Some(access),
            Run::Each(part, _) | Run::Every(part, _) => find(part.as_bytes()).and_then(Row::access),
            Run::Plan(access, _) => access,
            Run::Here(_) | Run::Family(_) => None,
        }
    }

    /// Whether it changes data.
    pub fn writes(&self) -> bool {
        self.access().is_some_and(|access| access != Access::Read)
    }

    /// The rows of its subcommands, without the row for the command alone.
    pub fn subcommands(&self) -> impl Iterator<Item = &'static Self> {
        let rows = if let Run::Family(rows) = self.run { rows } else { &[] };
        rows.iter().filter(|row| !row.subcommand().is_empty())
    }

    /// The row of the subcommand `name` in any case, or the row for the command alone.
    pub fn member(&self, name: Option<&[u8]>) -> Option<&'static Self> {
        match (name, self.run) {
            (None, Run::Family(rows)) => rows.iter().find(|row| row.subcommand().is_empty()),
            (Some(name), _) => self
                .subcommands()
                .find(|row| row.subcommand().as_bytes().eq_ignore_ascii_case(name)),
            (None, _) => None,
        }
    }

    /// The part of its name behind `|`; empty if it is not a subcommand.
    pub fn subcommand(&self) -> &'static str {
        self.name.split_once('|').map_or("", |(_, subcommand)| subcommand)
    }

    /// Its name as `INFO` and `CLIENT LIST` show it.
    pub fn shown(&self) -> &'static str {
        self.name.strip_suffix('|').unwrap_or(self.name)
    }

    /// It may be asked before the password is shown.
    pub fn needs_no_password(&self) -> bool {
        matches!(self.name, "auth" | "hello" | "quit" | "reset")
    }

    /// Whether it is executed, and not queued, between `MULTI` and `EXEC`.
    pub fn runs_in_multi(&self) -> bool {
        matches!(self.name, "multi" | "exec" | "discard" | "watch" | "quit" | "reset")
    }

    /// Whether a transaction may contain it: it runs at the client's own node, or on keys.
    pub fn may_be_queued(&self) -> bool {
        match self.run {
            Run::Here(_) => !matches!(self.name, "select" | "hello"),
            Run::Shard(..) | Run::Each(..) => !matches!(self.keys, Keys::None | Keys::Shard | Keys::Slot),
            Run::Plan(..) => self.keys == Keys::Counted,
            Run::Every(..) | Run::Family(_) => false,
        }
    }

    /// The requests, one for each key of `args`, that the row `part` executes.
    pub(crate) fn split(&self, part: &str, args: Args<'_>) -> Batch {
        let step = self.keys.step();
        let mut batch = Batch::new();
        let mut rest = args.skip(1);
        let mut request: [&[u8]; 3] = [part.as_bytes(), b"", b""];
        while let Some(key) = rest.get(0) {
            request[1] = key;
            request[2] = rest.get(1).unwrap_or_default();
            batch.push(&request[..=step]);
            rest = rest.skip(step);
        }
        batch
    }

    /// Whether only the store uses this row, as a part of another command.
    pub fn is_internal(&self) -> bool {
        self.name.starts_with('%')
    }
}

/// Longest name of a command.
const NAME_BYTES_MAX: usize = 16;
/// Size of the hash table: a power of two, several times the number of rows.
const PLACES: usize = 512;

/// FNV-1a over small letters. The names are short and known in advance, so a good spread is enough.
const fn place(name: &[u8]) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name[i].to_ascii_lowercase() as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    (hash ^ hash >> 32) as usize % PLACES
}

/// Row numbers plus one by hash, with linear probing.
static INDEX: [u8; PLACES] = {
    let rows = commands::ROWS;
    let mut index = [0u8; PLACES];
    let mut row = 0;
    while row < rows.len() {
        assert!(
            rows[row].name.len() <= NAME_BYTES_MAX,
            "a name is longer than NAME_BYTES_MAX"
        );
        let mut at = place(rows[row].name.as_bytes());
        while index[at] != 0 {
            at = (at + 1) % PLACES;
        }
        index[at] = row as u8 + 1;
        row += 1;
    }
    index
};

/// The row of a command, in any case.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut at = place(name);
    loop {
        let row = &commands::ROWS[usize::from(INDEX[at].checked_sub(1)?)];
        if row.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(row);
        }
        at = (at + 1) % PLACES;
    }
}

/// The row of a command, or of a subcommand as `command|subcommand`, in any case.
pub fn find_full(name: &[u8]) -> Option<&'static Row> {
    match name.iter().position(|&byte| byte == b'|') {
        None => find(name),
        Some(at) => find(&name[..at])?.member(Some(&name[at + 1..])),
    }
}

/// All rows, those of subcommands included, by number.
pub fn all() -> impl Iterator<Item = &'static Row> {
    commands::families().chain([commands::ROWS]).flatten()
}

/// How many rows there are.
pub(crate) fn count() -> usize {
    commands::ROWS.last().map_or(0, |row| usize::from(row.number) + 1)
}

/// All commands that a client may use.
pub fn public() -> impl Iterator<Item = &'static Row> {
    commands::ROWS.iter().filter(|row| !row.is_internal())
}

/// Makes one reply from the replies of the `parts`, and writes it into `out`. If a part is an error, the error is the
/// reply. `random` is for [`Fold::Random`].
pub(crate) fn fold(fold: Fold, parts: &Replies, random: u64, out: &mut Replies) {
    commands::fold::fold(fold, parts, random, out);
}
