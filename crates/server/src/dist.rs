//! Connections to peers: dials, accepts, reads, and one write for what was gathered.
//!
//! The node decides what the bytes mean, which peers are welcome and how long anything may take. This module moves
//! bytes.
//!
//! - The task that gathered bytes for a peer writes as many as the socket takes. The rest waits in the connection's
//!   queue for its writer. The node bounds that queue (`output_bytes_max`) and cuts the peer past it.
//! - For the node, a closed connection is gone at once. Bytes sent before the close have [`CLOSE_TIME_MAX`] to leave.
//! - With certificates every connection uses TLS, without them none does. There is no second try without TLS. The node
//!   learns of a connection once its TLS handshake is done, with the hosts that the peer's certificate is for.
//! - An accepted connection counts from then on, before TLS too. So one machine cannot take all the room.
//! - A dial uses the given port, or the one that discovery found last. Otherwise it asks EPMD. It uses the port that
//!   members reported only if EPMD has no answer: EPMD knows the new port of a restarted node, while reported ports may
//!   be old.

mod stream;

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use node::{Atom, Certificate, ConnectionId, Input};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn_local},
    time::{Instant, sleep, timeout},
};

use crate::{
    bell::Bell,
    config,
    core::Shell,
    discovery::Found,
    epmd,
    guesses::HANDSHAKES,
    log::limit,
    tls::{self, Keeper, Shown},
};
use stream::{Reading, Stream, Writing, secure};

/// Bytes read in one go.
const READ_BYTES: usize = 64 << 10;
/// Bytes read from one peer before others get a turn. It bounds how long a peer that sends much delays the others.
const TURN_BYTES: usize = 64 << 10;
/// Most pieces in one write.
const PIECES_MAX: usize = 64;
/// Most connections, dialled and accepted. Past it none is accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Most open connections from one other machine that were accepted within [`YOUNG`]: about as many handshakes as it may
/// have under way. It is half of what the node accepts at a time. A further connection is closed, and its node will try
/// again.
const YOUNG_PER_ADDRESS_MAX: usize = 32;
/// By then a handshake has succeeded or failed.
const YOUNG: Duration = Duration::from_secs(7);
/// How long bytes sent before a close may take to leave.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Time limit for making a connection. The node's own limit is a little longer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Time limit for the TLS handshake.
const TLS_TIME_MAX: Duration = Duration::from_secs(5);
/// Most accepted connections whose TLS handshake is not done. A further one is closed.
const SECURING_MAX: usize = 64;
/// Failures in a row before one is logged: nodes that start at the same time miss each other at first.
const FAILURES: u32 = 4;
/// Most nodes whose failures are counted. Past it the counts start again.
const FAILING_MAX: usize = 1024;
/// How long EPMD may take before a reported port is tried.
const EPMD_TIME_MAX: Duration = Duration::from_secs(1);
/// Idle time after which the system probes the peer. The node's ticks come sooner, except within a handshake.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Wait before the next accept when the process has no file descriptors left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The ports of nodes, by name.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// Ports that were given with the names.
    fixed: HashMap<Atom, u16>,
    /// Ports that discovery found at its last look.
    found: RefCell<HashMap<Atom, u16>>,
    /// How many tries in a row failed, by node.
    failing: RefCell<HashMap<Atom, u32>>,
    /// The port of EPMD on every host. `None`: EPMD is not asked.
    pub(crate) epmd: Option<u16>,
    /// The port of a node about which nothing else is known.
    common: Option<u16>,
    /// This node's certificate, if connections use TLS.
    tls: Option<Arc<Keeper>>,
}

impl Router {
    pub(crate) fn new(
        fixed: HashMap<Atom, u16>,
        epmd: Option<u16>,
        common: Option<u16>,
        tls: Option<Arc<Keeper>>,
    ) -> Self {
        Self {
            fixed,
            found: RefCell::default(),
            failing: RefCell::default(),
            epmd,
            common,
            tls,
        }
    }

    async fn connect(&self, node: &Atom, told: Option<u16>) -> io::Result<TcpStream> {
        let host = config::host(node);
        let known = self
            .fixed
            .get(node)
            .copied()
            .or_else(|| self.found.borrow().get(node).copied());
        let port = match known {
            Some(port) => port,
            None => match self.ask_epmd(node, host).await {
                Ok(port) => port,
                Err(error) => told.or(self.common).ok_or(error)?,
            },
        };
        timeout(CONNECT_TIME_MAX, TcpStream::connect((host, port))).await?
    }

    /// Replaces the ports of the last look of discovery.
    pub(crate) fn note(&self, found: Vec<Found>) {
        let ports = found.into_iter().filter_map(|found| Some((found.node, found.port?)));
        self.found.replace(ports.collect());
    }

    /// Counts a failed try. True if it must be logged.
    fn keeps_failing(&self, node: &Atom) -> bool {
        let mut failing = self.failing.borrow_mut();
        if failing.len() >= FAILING_MAX {
            failing.clear();
        }
        let count = failing.entry(node.clone()).or_default();
        *count = count.saturating_add(1);
        *count == FAILURES
    }

    /// Adds TLS to a connection to `node`, if it is used.
    async fn secure(&self, node: &Atom, stream: TcpStream) -> io::Result<(Stream, Option<Certificate>)> {
        prepare(&stream);
        let Some(keeper) = &self.tls else {
            return Ok((Stream::Plain(stream), None));
        };
        let session = keeper.current().await.dialling(config::host(node));
        let session = session.map_err(|error| tls::explain(&error))?;
        certified(timeout(TLS_TIME_MAX, secure(stream, session)).await??)
    }

    /// The port that EPMD on `host` has for `node`. An error says why there is none.
    async fn ask_epmd(&self, node: &Atom, host: &str) -> io::Result<u16> {
        let unknown = |text: String| io::Error::new(io::ErrorKind::NotFound, text);
        let Some(port) = self.epmd else {
            let text = "its port is unknown and EPMD is off; write --join NAME@HOST:PORT";
            return Err(unknown(text.into()));
        };
        let name = node.as_str().split('@').next().unwrap_or_default();
        let failed = |error: &dyn std::fmt::Display| unknown(format!("EPMD on {host}, port {port}: {error}"));
        match timeout(EPMD_TIME_MAX, epmd::find(host, port, name)).await {
            Ok(Ok(Some(port))) => Ok(port),
            Ok(Ok(None)) => Err(unknown(format!("EPMD on {host} has no node {name}"))),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"no answer in time")),
        }
    }
}

/// All connections of a node.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_id: HashMap<ConnectionId, Connection>,
    accepted: u64,
    /// Most connections. `None`: as many as this program can serve.
    max: Option<usize>,
}

/// One connection, from the dial or accept to its end.
#[derive(Debug, Default)]
struct Connection {
    /// Its writing half, once it is connected.
    half: Option<Rc<Writing>>,
    queue: VecDeque<Bytes>,
    /// Wakes its writer.
    bell: Rc<Bell>,
    closing: bool,
    tasks: Vec<AbortHandle>,
    /// The address it was accepted from, and when.
    accepted: Option<(IpAddr, Instant)>,
}

impl Connection {
    fn accepted(address: IpAddr, now: Instant) -> Self {
        let mut connection = Self::default();
        connection.accepted = Some((address, now));
        connection
    }

    /// Whether all bytes sent have left.
    fn is_written(&self) -> bool {
        self.queue.is_empty() && self.half.as_ref().is_none_or(|half| half.is_flushed())
    }

    /// Whether it was accepted and its TLS handshake is not done.
    fn is_securing(&self) -> bool {
        self.accepted.is_some() && self.half.is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(half) = &self.half {
            half.finish();
        }
    }
}

impl Connections {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Sets the most connections.
    pub(crate) fn limit(&mut self, max: usize) {
        self.max = Some(max.min(CONNECTIONS_MAX));
    }

    /// The handshake of a connection failed. Further connections from the same machine may have to wait.
    pub(crate) fn failed(&self, id: ConnectionId) {
        let accepted = self.by_id.get(&id).and_then(|connection| connection.accepted);
        if let Some((address, _)) = accepted {
            HANDSHAKES.add(address, 1);
        }
    }

    /// Whether all bytes sent have left.
    pub(crate) fn is_written(&self) -> bool {
        self.by_id.values().all(Connection::is_written)
    }

    /// A number for a connection from this address, unless there are too many.
    fn admit(&mut self, address: IpAddr, now: Instant) -> Option<ConnectionId> {
        let securing = self
            .by_id
            .values()
            .filter(|connection| connection.is_securing())
            .count();
        let is_full = self.by_id.len() >= self.max.unwrap_or(CONNECTIONS_MAX) || securing >= SECURING_MAX;
        if is_full || self.is_crowded(address, now) || HANDSHAKES.room(address) == 0 {
            return None;
        }
        self.accepted += 1;
        // The shell numbers its connections with odd numbers.
        let id = ConnectionId(self.accepted * 2 - 1);
        self.by_id.insert(id, Connection::accepted(address, now));
        Some(id)
    }

    /// Whether a machine has enough handshakes under way. Connections from this machine are not counted: all its nodes
    /// have the same address.
    fn is_crowded(&self, address: IpAddr, now: Instant) -> bool {
        let is_young = |connection: &Connection| matches!(connection.accepted, Some((other, at)) if other == address && now < at + YOUNG);
        !address.is_loopback()
            && self.by_id.values().filter(|connection| is_young(connection)).count() >= YOUNG_PER_ADDRESS_MAX
    }

    /// Begins to connect. The node is given the result.
    pub(crate) fn dial(&mut self, shell: Shell, id: ConnectionId, node: Atom, port: Option<u16>, router: Rc<Router>) {
        let task = spawn_local(async move {
            let input = match dial(&router, &node, port).await {
                Some((stream, certificate)) => {
                    let is_wanted = shell.core().connections.connected(&shell, id, stream);
                    is_wanted.then_some(Input::Opened {
                        connection: id,
                        certificate,
                    })
                }
                None => None,
            };
            // From here on the end of this task does not end the connection.
            if input.is_none() {
                shell.core().connections.by_id.remove(&id);
            }
            shell.core().input(input.unwrap_or(Input::Closed { connection: id }));
        });
        self.by_id.entry(id).or_default().tasks.push(task.abort_handle());
    }

    /// Writes what the socket takes at once. Returns the number of bytes that were taken.
    pub(crate) fn send(&mut self, id: ConnectionId, bytes: Bytes) -> Option<usize> {
        let connection = self.by_id.get_mut(&id).filter(|connection| !connection.closing)?;
        let mut rest = bytes;
        let mut written = 0;
        if connection.queue.is_empty()
            && let Some(half) = &connection.half
        {
            // The reader sees the error too, and ends the connection.
            written = half.try_write(&rest).unwrap_or(0);
            rest = rest.split_off(written);
        }
        if !rest.is_empty() {
            connection.queue.push_back(rest);
        }
        if !connection.is_written() {
            connection.bell.ring();
        }
        (written > 0).then_some(written)
    }

    /// Ends a connection once the bytes sent before are written, or the time for that is over.
    pub(crate) fn close(&mut self, shell: Shell, id: ConnectionId) {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return;
        };
        if connection.is_written() || connection.half.is_none() {
            self.by_id.remove(&id);
            return;
        }
        connection.closing = true;
        connection.bell.ring();
        let reaper = spawn_local(async move {
            sleep(CLOSE_TIME_MAX).await;
            lost(&shell, id);
        });
        connection.tasks.push(reaper.abort_handle());
    }

    /// Adds the stream to a connection. False if the connection has been closed.
    fn connected(&mut self, shell: &Shell, id: ConnectionId, stream: Stream) -> bool {
        let Some(connection) = self.by_id.get_mut(&id) else {
            return false;
        };
        if let Some((_, at)) = &mut connection.accepted {
            // The node's handshake begins after the TLS handshake.
            *at = Instant::now();
        }
        let (reading, writing) = stream.split(&connection.bell);
        let half = Rc::new(writing);
        connection.half = Some(half.clone());
        connection.tasks = vec![
            spawn_local(read(shell.clone(), id, reading)).abort_handle(),
            spawn_local(write(shell.clone(), id, half, connection.bell.clone())).abort_handle(),
        ];
        true
    }
}

/// If these options fail, the connection is slower or a dead peer is noticed later. It still works.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

/// A stream whose TLS handshake is done, with the certificate of its peer.
fn certified(stream: Stream) -> io::Result<(Stream, Option<Certificate>)> {
    let Stream::Tls(_, session) = &stream else {
        return Ok((stream, None));
    };
    let shown = Shown::of(session).ok_or_else(|| io::Error::other("it presents no certificate"))?;
    Ok((stream, Some(Certificate::new(shown))))
}

async fn dial(router: &Router, node: &Atom, port: Option<u16>) -> Option<(Stream, Option<Certificate>)> {
    let name = node.as_str();
    let stream = match router.connect(node, port).await {
        Ok(stream) => stream,
        Err(error) => {
            if router.keeps_failing(node) {
                tracing::warn!(node = name, %error, "a node cannot be reached; retrying");
            }
            return None;
        }
    };
    router.failing.borrow_mut().remove(node);
    let secured = router.secure(node, stream).await;
    secured
        .inspect_err(|error| {
            if limit::SECURE.allows() {
                tracing::warn!(node = name, %error, "no secure connection to a node");
            }
        })
        .ok()
}

/// Accepts connections of nodes. Never returns.
pub(crate) async fn listen(shell: Shell, listener: TcpListener, tls: Option<Arc<Keeper>>) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip().to_canonical()),
            Err(error) => {
                if limit::ACCEPT.allows() {
                    tracing::warn!(%error, "a node could not be accepted");
                }
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Some(id) = shell.core().connections.admit(address, Instant::now()) else {
            continue;
        };
        prepare(&stream);
        match &tls {
            Some(keeper) => accept(&shell, id, address, stream, keeper.clone()),
            None => accepted(&shell, id, Stream::Plain(stream), None),
        }
    }
}

/// Begins TLS with the peer that dialled. The node learns of the connection only if TLS succeeds.
fn accept(shell: &Shell, id: ConnectionId, address: IpAddr, stream: TcpStream, keeper: Arc<Keeper>) {
    let task = spawn_local({
        let shell = shell.clone();
        async move {
            match secure_accepted(&keeper, stream).await {
                Ok((stream, certificate)) => accepted(&shell, id, stream, certificate),
                Err(error) => {
                    if limit::SECURE.allows() {
                        tracing::warn!(%address, %error, "no secure connection from a node");
                    }
                    shell.core().connections.by_id.remove(&id);
                }
            }
        }
    });
    if let Some(connection) = shell.core().connections.by_id.get_mut(&id) {
        connection.tasks.push(task.abort_handle());
    }
}

async fn secure_accepted(keeper: &Arc<Keeper>, stream: TcpStream) -> io::Result<(Stream, Option<Certificate>)> {
    let session = keeper.current().await.accepting();
    let session = session.map_err(|error| tls::explain(&error))?;
    certified(timeout(TLS_TIME_MAX, secure(stream, session)).await??)
}

fn accepted(shell: &Shell, id: ConnectionId, stream: Stream, certificate: Option<Certificate>) {
    let mut core = shell.core();
    if core.connections.connected(shell, id, stream) {
        core.input(Input::Accepted {
            connection: id,
            certificate,
        });
    }
}

async fn read(shell: Shell, id: ConnectionId, mut half: Reading) {
    let mut buffer = BytesMut::new();
    let mut in_turn = 0;
    loop {
        buffer.reserve(READ_BYTES);
        match half.read(&mut buffer).await {
            Ok(count @ 1..) => {
                let bytes = buffer.split().freeze();
                shell.core().received(id, bytes);
                in_turn += count;
            }
            Ok(0) => return lost(&shell, id),
            Err(error) => {
                if error.kind() == io::ErrorKind::InvalidData && limit::SECURE.allows() {
                    // Only the TLS error says why. The node sees only that the connection ended.
                    tracing::warn!(connection = id.0, %error, "a secure connection ended");
                }
                return lost(&shell, id);
            }
        }
        if in_turn >= TURN_BYTES {
            in_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Writes the bytes that the socket did not take at once.
async fn write(shell: Shell, id: ConnectionId, half: Rc<Writing>, bell: Rc<Bell>) {
    loop {
        bell.heard().await;
        let drained = drain(&shell, id, &half).await;
        let is_closing = shell
            .core()
            .connections
            .by_id
            .get(&id)
            .is_none_or(|connection| connection.closing);
        if is_closing || drained.is_err() {
            return lost(&shell, id);
        }
    }
}

/// Writes until all bytes have left.
async fn drain(shell: &Shell, id: ConnectionId, half: &Writing) -> io::Result<()> {
    loop {
        if shell
            .core()
            .connections
            .by_id
            .get(&id)
            .is_none_or(Connection::is_written)
        {
            return Ok(());
        }
        half.writable().await?;
        let mut core = shell.core();
        let Some(connection) = core.connections.by_id.get_mut(&id) else {
            return Ok(());
        };
        let pieces: Vec<IoSlice<'_>> = connection
            .queue
            .iter()
            .take(PIECES_MAX)
            .map(|piece| IoSlice::new(piece))
            .collect();
        match half.try_write_vectored(&pieces) {
            Ok(written) => {
                consume(&mut connection.queue, written);
                core.input(Input::Written {
                    connection: id,
                    bytes: written,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Drops the first bytes of a queue.
fn consume(queue: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(first) = queue.front_mut() {
        if first.len() > bytes {
            let _ = first.split_to(bytes);
            return;
        }
        bytes -= first.len();
        queue.pop_front();
    }
}

/// Reports to the node that the connection is gone.
fn lost(shell: &Shell, id: ConnectionId) {
    let mut core = shell.core();
    core.connections.by_id.remove(&id);
    core.input(Input::Closed { connection: id });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_does_not_take_the_room_of_all() {
        let (near, far) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([10, 0, 0, 1]));
        let now = Instant::now();
        let mut connections = Connections::default();
        for id in 0..YOUNG_PER_ADDRESS_MAX as u64 {
            assert!(!connections.is_crowded(far, now));
            for (address, id) in [(far, id), (near, 1000 + id)] {
                connections
                    .by_id
                    .insert(ConnectionId(id), Connection::accepted(address, now));
            }
        }
        assert!(connections.is_crowded(far, now));
        assert!(!connections.is_crowded(IpAddr::from([10, 0, 0, 2]), now));
        assert!(!connections.is_crowded(near, now));
        assert!(
            !connections.is_crowded(far, now + YOUNG),
            "by then its handshakes are over"
        );
        connections.by_id.remove(&ConnectionId(0));
        assert!(!connections.is_crowded(far, now));
    }

    #[test]
    fn who_is_accepted_counts_before_tls_stands() {
        let machine = |number| IpAddr::from([10, 0, 0, number]);
        let now = Instant::now();
        let mut connections = Connections::default();
        for number in [1, 2] {
            for _ in 0..SECURING_MAX / 2 {
                assert!(connections.admit(machine(number), now).is_some());
            }
            assert_eq!(connections.admit(machine(number), now), None);
        }
        assert_eq!(connections.admit(machine(3), now), None, "too many of all machines");
        connections.by_id.remove(&ConnectionId(1));
        assert_eq!(connections.admit(machine(2), now), None);
        assert_eq!(
            connections.admit(machine(3), now),
            Some(ConnectionId(2 * SECURING_MAX as u64 + 1))
        );
    }

    #[tokio::test]
    async fn an_unknown_port_has_a_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap().port();
        drop(listener);
        let place = epmd::Place {
            port: silent,
            bind: vec![IpAddr::from([127, 0, 0, 1])],
        };
        let reason = async |node: &str, epmd| {
            let router = Router::new(HashMap::new(), epmd, None, None);
            router.connect(&Atom::new(node), None).await.unwrap_err().to_string()
        };
        let refused = reason("a@127.0.0.1", Some(silent)).await;
        assert!(
            refused.contains("EPMD on 127.0.0.1") && refused.contains("refused"),
            "{refused}"
        );
        let _serving = epmd::serve(&place).await.unwrap();
        assert_eq!(
            reason("a@127.0.0.1", Some(silent)).await,
            "EPMD on 127.0.0.1 has no node a"
        );
        let lookup = reason("a@no-such-host.invalid", Some(silent)).await;
        assert!(
            lookup.contains("EPMD on no-such-host.invalid") && !lookup.contains("no node"),
            "{lookup}"
        );
        assert!(reason("a@127.0.0.1", None).await.contains("EPMD is off"));
    }

    #[test]
    fn discovery_tells_ports_until_the_next_look() {
        let (a, b) = (Atom::new("a@h"), Atom::new("b@h"));
        let router = Router::new(HashMap::new(), None, None, None);
        let found = |node: &Atom, port| Found {
            node: node.clone(),
            port,
        };
        router.note(vec![found(&a, Some(1)), found(&b, None)]);
        assert_eq!(router.found.borrow().get(&a), Some(&1));
        router.note(vec![found(&b, Some(2))]);
        assert_eq!(*router.found.borrow(), HashMap::from([(b, 2)]));
    }

    #[test]
    fn what_was_written_is_dropped_wherever_it_ends() {
        let pieces = [&b"abc"[..], b"", b"de"];
        for written in 0..=5 {
            let mut queue: VecDeque<Bytes> = pieces.into_iter().map(Bytes::from_static).collect();
            consume(&mut queue, written);
            assert_eq!(queue.into_iter().flatten().collect::<Vec<u8>>(), b"abcde"[written..]);
        }
    }
}
