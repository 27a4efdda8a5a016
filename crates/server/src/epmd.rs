//! The port mapper (EPMD) of the machine: the registration of this node, look-ups at other machines, and the port
//! mapper that runs inside a node if none listens.
//!
//! ```text
//!   register ─ connect ─▶ someone listens ─▶ ALIVE2 ─▶ hold the connection ─▶ it ends ─▶ again
//!                 └ refused ─▶ listen ourselves (if we may) ─▶ again
//! ```
//!
//! - A registration lasts as long as its connection. So the keeper holds the connection, and registers again whenever
//!   it ends. This also replaces a port mapper that ended with its node: all registered nodes notice, the first to
//!   listen becomes the port mapper, and all register there.
//! - The creation of a life comes from its first registration. Later registrations do not change it.
//! - A port mapper inside a node accepts registrations from this machine only.

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use wire::epmd::{
    ANSWER_BYTES_MAX, EpmdError, Found, Listing, Node, PORT, Registered, Registry, Request, registry::After,
};

use crate::variable;

/// How long one request may take, connecting included.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// A connection without a request by then is closed.
const SILENT_TIME_MAX: Duration = Duration::from_secs(5);
/// First wait between two tries to register. It is doubled up to the second constant.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Tries of the first registration.
const TRIES_MAX: u32 = 5;

/// The port of EPMD on this machine.
pub(crate) fn port() -> u16 {
    variable::read("ERL_EPMD_PORT")
        .and_then(|port| port.parse().ok())
        .filter(|port| *port > 0)
        .unwrap_or(PORT)
}

/// Where a port mapper listens.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) port: u16,
    /// Addresses to listen on; the first must be reachable over loopback.
    pub(crate) bind: Vec<IpAddr>,
}

impl Place {
    /// The addresses for a node at `node`: all addresses if the node listens on all, else its own and loopback, where
    /// other nodes of this machine register.
    pub(crate) fn beside(node: IpAddr, port: u16) -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = match node {
            _ if node.is_unspecified() => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            IpAddr::V6(_) if node.is_loopback() => vec![loopback],
            _ if node == loopback => vec![loopback],
            _ => vec![loopback, node],
        };
        Self { port, bind }
    }

    fn local(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

// Questions

/// The port of node `name` on `host`, whose EPMD listens on `port`. `None`: EPMD does not know the node.
pub(crate) async fn find(host: &str, port: u16, name: &str) -> io::Result<Option<u16>> {
    let request = Request::Find(name.into());
    let found = timeout(QUESTION_TIME_MAX, async {
        let mut stream = TcpStream::connect((host, port)).await?;
        ask(&mut stream, &request, Found::decode).await
    });
    Ok(found.await??.node.map(|node| node.port))
}

/// Names and ports of all nodes on `host`.
pub(crate) async fn names(host: &str, port: u16) -> io::Result<Vec<(String, u16)>> {
    let listing = timeout(QUESTION_TIME_MAX, async {
        let mut stream = TcpStream::connect((host, port)).await?;
        ask(&mut stream, &Request::List, Listing::decode).await
    });
    Ok(listing.await??.nodes)
}

/// Sends one request and reads until the answer is complete.
async fn ask<T>(
    stream: &mut TcpStream,
    request: &Request,
    decode: impl Fn(&[u8], bool) -> Result<Option<T>, EpmdError>,
) -> io::Result<T> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    stream.write_all(&bytes).await?;
    let mut answer = Vec::new();
    loop {
        let ended = stream.read_buf(&mut answer).await? == 0;
        let decoded = decode(&answer, ended);
        if let Some(answer) = decoded.map_err(|error| io::Error::new(ErrorKind::InvalidData, Unlike(error)))? {
            return Ok(answer);
        }
        debug_assert!(
            answer.len() <= ANSWER_BYTES_MAX + (64 << 10),
            "the decoders refuse what is longer"
        );
    }
}

/// The answer did not come from a port mapper.
#[derive(Debug)]
struct Unlike(EpmdError);

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what listens there is not a port mapper: {}", self.0)
    }
}

impl std::error::Error for Unlike {}

// Registration

/// Why a node could not be registered.
#[derive(Debug)]
pub(crate) enum RegisterError {
    /// Another node has the name.
    Taken,
    /// There is no port mapper, and none could be started.
    Unreachable(io::Error),
}

/// A registration that is kept until this is dropped. The port mapper inside, if there is one, ends with it.
#[derive(Debug)]
pub(crate) struct Registration {
    /// The creation of this life of the node.
    pub(crate) creation: u32,
    _keeper: JoinSet<()>,
}

/// Registers a node, and starts a port mapper if none listens.
pub(crate) async fn register(place: Place, node: Node) -> Result<Registration, RegisterError> {
    let mut registrar = Registrar {
        place,
        node,
        inside: JoinSet::new(),
    };
    let mut wait = RETRY_MIN;
    let mut tries = 1;
    let (creation, stream) = loop {
        match registrar.attempt().await {
            Ok(registered) => break registered,
            Err(RegisterError::Unreachable(_)) if tries < TRIES_MAX => {}
            Err(error) => return Err(error),
        }
        tries += 1;
        sleep(wait).await;
        wait *= 2;
    };
    let mut keeper = JoinSet::new();
    keeper.spawn(registrar.keep(stream));
    Ok(Registration {
        creation,
        _keeper: keeper,
    })
}

struct Registrar {
    place: Place,
    node: Node,
    /// The port mapper inside this process.
    inside: JoinSet<()>,
}

impl Registrar {
    /// Registers once. Returns the creation, and the connection to hold.
    async fn attempt(&mut self) -> Result<(u32, TcpStream), RegisterError> {
        let connected = timeout(QUESTION_TIME_MAX, TcpStream::connect(self.place.local())).await;
        let mut stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => self.start_inside().await?,
            Ok(Err(error)) => return Err(RegisterError::Unreachable(error)),
            Err(late) => return Err(RegisterError::Unreachable(late.into())),
        };
        let request = Request::Register(self.node.clone());
        let answer = timeout(QUESTION_TIME_MAX, ask(&mut stream, &request, Registered::decode)).await;
        let answer = answer
            .map_err(io::Error::from)
            .and_then(|answer| answer)
            .map_err(RegisterError::Unreachable)?;
        answer
            .creation
            .map(|creation| (creation, stream))
            .ok_or(RegisterError::Taken)
    }

    /// Starts a port mapper and connects to it. If another process was faster, its port mapper is used.
    async fn start_inside(&mut self) -> Result<TcpStream, RegisterError> {
        match serve(&self.place).await {
            Ok(serving) => {
                tracing::info!(port = self.place.port, "this node runs the port mapper");
                self.inside = serving;
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(RegisterError::Unreachable(error)),
        }
        TcpStream::connect(self.place.local())
            .await
            .map_err(RegisterError::Unreachable)
    }

    async fn keep(mut self, mut stream: TcpStream) {
        loop {
            until_closed(&mut stream).await;
            tracing::debug!("the registration with EPMD was lost");
            let mut wait = RETRY_MIN;
            let mut was_taken = false;
            stream = loop {
                match self.attempt().await {
                    Ok((_, stream)) => break stream,
                    Err(RegisterError::Taken) if !was_taken => {
                        was_taken = true;
                        tracing::warn!(name = self.node.name, "another node took this node's name at EPMD");
                    }
                    Err(RegisterError::Taken | RegisterError::Unreachable(_)) => {}
                }
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            };
        }
    }
}

/// A port mapper sends nothing more to a registered node. If it does, the bytes are ignored.
async fn until_closed(stream: &mut TcpStream) {
    let mut bytes = [0; 64];
    while matches!(stream.read(&mut bytes).await, Ok(1..)) {}
}

// The port mapper

/// Runs a port mapper until the returned tasks are dropped.
///
/// # Errors
/// It cannot listen on an address.
pub(crate) async fn serve(place: &Place) -> io::Result<JoinSet<()>> {
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    // Random, so that creations differ from those of an earlier port mapper.
    let registry = Arc::new(Mutex::new(Server {
        registry: Registry::new(place.port, u32::from_ne_bytes(seed)),
        connections: 0,
    }));
    let mut tasks = JoinSet::new();
    for (index, address) in place.bind.iter().enumerate() {
        match TcpListener::bind((*address, place.port)).await {
            Ok(listener) => drop(tasks.spawn(listen(listener, registry.clone()))),
            Err(error) if index == 0 => return Err(error),
            Err(error) => tracing::warn!(%address, %error, "the port mapper cannot listen there"),
        }
    }
    Ok(tasks)
}

struct Server {
    registry: Registry,
    connections: u64,
}

async fn listen(listener: TcpListener, server: Arc<Mutex<Server>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            sleep(RETRY_MIN).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let is_local = peer.ip().is_loopback() || stream.local_addr().is_ok_and(|local| local.ip() == peer.ip());
        let mut locked = lock(&server);
        locked.connections += 1;
        let number = locked.connections;
        if locked.registry.opened(number, is_local) == After::Keep {
            connections.spawn(answer(stream, number, server.clone()));
        }
    }
}

/// The registry is complete between calls, so a panic while it is locked does no harm.
fn lock(server: &Mutex<Server>) -> std::sync::MutexGuard<'_, Server> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(mut stream: TcpStream, number: u64, server: Arc<Mutex<Server>>) {
    let open = Open { number, server };
    let mut bytes = [0; 1024];
    let mut holds = false;
    loop {
        let read = stream.read(&mut bytes);
        let read = if holds {
            read.await
        } else {
            timeout(SILENT_TIME_MAX, read).await.unwrap_or(Ok(0))
        };
        let Ok(count @ 1..) = read else { return };
        let mut out = Vec::new();
        let after = lock(&open.server).registry.receive(number, &bytes[..count], &mut out);
        holds |= !out.is_empty();
        let written = timeout(SILENT_TIME_MAX, stream.write_all(&out)).await;
        if after == After::Close || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// A connection to the port mapper. When it ends, its name is free again.
struct Open {
    number: u64,
    server: Arc<Mutex<Server>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.server).registry.closed(self.number);
    }
}

#[cfg(test)]
mod tests;
