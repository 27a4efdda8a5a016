//! [`Keyspace`]: the store as the program uses that the node is part of.
//!
//! Every method is one request on the way that all requests take; the node answers for any key, wherever it is kept.

use std::{fmt, time::Duration};

use store::quorum::Level;
use wire::{
    reply::{ErrorKind, Reply, Retry},
    request::Batch,
};

use crate::{
    config::millis,
    handle::{Gone, Handle},
};

/// A keyspace of a running node's store, from any thread; `Node::store` gives it. Cheap to clone.
///
/// ```
/// # async fn example(node: salp::Node) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// node.ready().await;
/// let store = node.store("default")?;
/// store.set("greeting", "hello").await?;
/// assert_eq!(store.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
/// assert_eq!(store.incr("visits", 2).await?, 2);
/// store.set_for("session", "of an hour", Duration::from_secs(3600)).await?;
/// assert!(store.delete("greeting").await?);
/// assert_eq!(store.get_many(["greeting", "visits"]).await?, [None, Some(b"2".to_vec())]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Keyspace {
    handle: Handle,
    number: u16,
    level: Option<Level>,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The node has stopped.
    Gone,
    /// The store refused, or does not know what became of it; see [`StoreError::retry`].
    Refused {
        /// What kind of refusal.
        kind: ErrorKind,
        /// For people, without the kind's word.
        text: String,
    },
}

impl StoreError {
    /// Whether asking again is safe and of use.
    pub fn retry(&self) -> Retry {
        match self {
            // A write may have been on its way.
            Self::Gone => Retry::Unsafe,
            Self::Refused { kind, .. } => kind.retry(),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => Gone.fmt(f),
            Self::Refused { kind, text } => write!(f, "{}: {text}", kind.name()),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<Gone> for StoreError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl Keyspace {
    pub(crate) fn new(handle: Handle, number: u16) -> Self {
        Self {
            handle,
            number,
            level: None,
        }
    }

    /// The same keyspace with writes that wait for `level` instead of what its settings say.
    #[must_use]
    pub fn at(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// The value of a key; none if there is no such key.
    ///
    /// # Errors
    /// The node has stopped, or refuses.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(&[b"GET", key.as_ref()], value).await
    }

    /// The values of some keys, in their order.
    ///
    /// # Errors
    /// The node has stopped, or refuses one of them.
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut batch = Batch::new();
        for key in keys {
            batch.push(&[b"GET", key.as_ref()]);
        }
        let batch = self.run(batch).await?;
        batch.replies.tokens().map(|reply| understood(&reply, value)).collect()
    }

    /// Gives a key a value, until it is set anew.
    ///
    /// # Errors
    /// The node has stopped, or refuses; a write that timed out may have been done.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.one(&[b"SET", key.as_ref(), value.as_ref()], done).await
    }

    /// Gives a key a value for some time, of whole milliseconds.
    ///
    /// # Errors
    /// As [`Keyspace::set`]; a `lifetime` below a millisecond is refused.
    pub async fn set_for(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Duration,
    ) -> Result<(), StoreError> {
        let ms = millis(lifetime).to_string();
        self.one(&[b"SET", key.as_ref(), value.as_ref(), b"PX", ms.as_bytes()], done)
            .await
    }

    /// Takes a key out; whether it was there.
    ///
    /// # Errors
    /// As [`Keyspace::set`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.one(&[b"DEL", key.as_ref()], integer).await.map(|count| count > 0)
    }

    /// Adds to a number and gives the sum; a missing key counts from 0. Sums of both sides of a cut are added up.
    ///
    /// # Errors
    /// As [`Keyspace::set`]; the value is no integer of 64 bits, or the sum would be none.
    pub async fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, StoreError> {
        let by = by.to_string();
        self.one(&[b"INCRBY", key.as_ref(), by.as_bytes()], integer).await
    }

    /// How long a key still lives; none if there is no such key, `Duration::MAX` if it does not expire.
    ///
    /// # Errors
    /// The node has stopped, or refuses.
    pub async fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Option<Duration>, StoreError> {
        let ms = self.one(&[b"PTTL", key.as_ref()], integer).await?;
        Ok(match u64::try_from(ms) {
            Ok(ms) => Some(Duration::from_millis(ms)),
            Err(_) => (ms == -1).then_some(Duration::MAX),
        })
    }

    /// Runs any commands, those of the Redis door, as one batch; their replies are in `batch.replies`, refusals too.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn run(&self, batch: Batch) -> Result<Batch, Gone> {
        self.handle.ask(self.number, self.level, batch).await
    }

    async fn one<T>(
        &self,
        request: &[&[u8]],
        understand: impl FnOnce(&Reply<'_>) -> Option<T>,
    ) -> Result<T, StoreError> {
        let mut batch = Batch::new();
        batch.push(request);
        let batch = self.run(batch).await?;
        let reply = batch.replies.tokens().next().unwrap_or(Reply::Later);
        understood(&reply, understand)
    }
}

/// Reads a reply, which is an error or what the command answers.
fn understood<T>(reply: &Reply<'_>, understand: impl FnOnce(&Reply<'_>) -> Option<T>) -> Result<T, StoreError> {
    let refused = |kind, text: &str| StoreError::Refused {
        kind,
        text: text.to_owned(),
    };
    match reply {
        Reply::Error(kind, text) => Err(refused(*kind, text)),
        reply => understand(reply).ok_or_else(|| refused(ErrorKind::Err, "a reply of another command")),
    }
}

#[expect(clippy::option_option, reason = "no reply to GET, or no value")]
fn value(reply: &Reply<'_>) -> Option<Option<Vec<u8>>> {
    match reply {
        Reply::Bulk(value) => Some(Some(value.to_vec())),
        Reply::Null => Some(None),
        _ => None,
    }
}

fn done(reply: &Reply<'_>) -> Option<()> {
    matches!(reply, Reply::Ok).then_some(())
}

fn integer(reply: &Reply<'_>) -> Option<i64> {
    match reply {
        Reply::Int(number) => Some(*number),
        _ => None,
    }
}
