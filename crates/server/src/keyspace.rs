//! [`Keyspace`]: the store, for the program that the node runs in.
//!
//! Each method is one request. It takes the same way as all requests: the node answers for any key, wherever it is
//! stored.

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

/// A keyspace of a running node's store, usable from any thread. `Node::store` returns it. Cloning it is cheap.
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

/// Why a request to the store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The node has stopped.
    Gone,
    /// The store refused the request, or does not know its outcome; see [`StoreError::retry`].
    Refused {
        /// The kind of error.
        kind: ErrorKind,
        /// The error text for people, without the word of the kind.
        text: String,
    },
}

impl StoreError {
    /// Whether a retry is safe, and whether it may help.
    pub fn retry(&self) -> Retry {
        match self {
            // A write may have been under way.
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

    /// The same keyspace with another consistency level for writes than that of its settings.
    #[must_use]
    pub fn at(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// The value of a key. `None` if there is no such key.
    ///
    /// # Errors
    /// The node has stopped, or refuses.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        self.one(&[b"GET", key.as_ref()], value).await
    }

    /// The values of several keys, in their order.
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

    /// Sets the value of a key. It does not expire.
    ///
    /// # Errors
    /// The node has stopped, or refuses. A write that timed out may have been done.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.one(&[b"SET", key.as_ref(), value.as_ref()], done).await
    }

    /// Sets the value of a key that expires after `lifetime`, in whole milliseconds.
    ///
    /// # Errors
    /// As [`Keyspace::set`]. A `lifetime` below a millisecond is refused.
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

    /// Deletes a key. Returns whether it existed.
    ///
    /// # Errors
    /// As [`Keyspace::set`].
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        self.one(&[b"DEL", key.as_ref()], integer).await.map(|count| count > 0)
    }

    /// Adds to an integer and returns the sum. A missing key counts as 0. After a network partition, the increments of
    /// both sides are added.
    ///
    /// # Errors
    /// As [`Keyspace::set`]. It also fails if the value is not a 64-bit integer, or the sum would overflow.
    pub async fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64, StoreError> {
        let by = by.to_string();
        self.one(&[b"INCRBY", key.as_ref(), by.as_bytes()], integer).await
    }

    /// The remaining lifetime of a key. `None` if there is no such key, `Duration::MAX` if it does not expire.
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

    /// Executes any Redis commands as one batch. Their replies, including errors, are in `batch.replies`.
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

/// Parses a reply: an error, or the answer of the command.
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
