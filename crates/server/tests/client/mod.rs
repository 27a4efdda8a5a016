//! A Redis client for tests that look at each reply.

use std::time::Duration;

use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};
use wire::resp::client::{Decoder, Value};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    replies: Decoder,
}

impl Client {
    pub(crate) async fn to(address: impl ToSocketAddrs) -> std::io::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            replies: Decoder::new(),
        })
    }

    /// The next reply; `None` if the connection is closed.
    pub(crate) async fn reply(&mut self) -> Option<Value> {
        loop {
            if let Some(value) = self.replies.next_value().unwrap() {
                return Some(value);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(self.replies.buffer())).await;
            if !matches!(read.expect("an answer in time"), Ok(1..)) {
                return None;
            }
        }
    }
}
