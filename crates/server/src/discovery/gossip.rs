//! Discovery by gossip: every node tells the network now and then that it is up.
//!
//! ```text
//!   start ─ Ask ─▶ group ─▶ all others ─ Beat, soon, spread by chance ─▶ group
//!   every interval ─ Beat ─▶ group
//! ```
//!
//! - The group is an IPv4 multicast address or a broadcast address. Nodes of one machine share its port.
//! - A datagram that was not sealed with the cookie is dropped without an answer ([`super::datagram`]). A sealed one
//!   only proposes a name to dial: the handshake checks the cookie again.
//! - Of one sender, a datagram counts only if it is newer than the last one and at most [`SKEW_MS_MAX`] off this node's
//!   clock. An entry outlives that span, so no datagram can be replayed.
//! - This node sends at most one datagram per [`BEAT_GAP_MIN`], and reads at most [`RECEIVED_PER_SECOND_MAX`]. The
//!   system drops the rest.
//! - A node receives its own beats. If it does not (its interface may be down), it opens its sockets again.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use node::Atom;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::datagram::{DATAGRAM_BYTES_MAX, Datagram, Kind, Seal};
use super::{Context, FOUND_MAX, Found, Look, Strategy, Trouble, jitter};

/// Least time between two datagrams of this node.
const BEAT_GAP_MIN: Duration = Duration::from_millis(500);
/// Longest wait before an `Ask` is answered. Random waits spread the answers of all nodes over this time.
const ANSWER_SPREAD: Duration = Duration::from_millis(200);
/// How long a node that starts listens for answers. Longer than a gap and a spread.
const LISTEN: Duration = Duration::from_millis(900);
/// Datagrams read in a second.
const RECEIVED_PER_SECOND_MAX: u32 = 2000;
/// Largest difference between the clocks of two nodes, in milliseconds.
const SKEW_MS_MAX: u64 = 60_000;
/// How long a sender is kept after its last beat. Longer than its datagrams could be replayed.
const KEPT: Duration = Duration::from_millis(2 * SKEW_MS_MAX + 10_000);
/// A node counts as down after this many missed beats.
const BEATS_MISSED_MAX: u32 = 4;
/// Time between two log lines about clock differences.
const SKEW_LOG_GAP: Duration = Duration::from_secs(60);

/// Where to send and to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// A multicast or broadcast address, and the port.
    pub(crate) group: SocketAddrV4,
    /// The address of the interface to use; unspecified: the system's choice.
    pub(crate) interface: Ipv4Addr,
    /// Routers that a multicast datagram may pass, plus one.
    pub(crate) ttl: u32,
}

pub(crate) struct Gossip {
    settings: Settings,
    interval: Duration,
    context: Context,
    shared: Arc<Mutex<Shared>>,
    /// Sends and listens. Empty before the first look.
    task: JoinSet<()>,
}

/// What the task reports to the strategy.
#[derive(Debug, Default)]
struct Shared {
    heard: Heard,
    trouble: Option<String>,
}

impl Gossip {
    pub(crate) fn new(settings: Settings, interval: Duration, context: Context) -> Self {
        Self {
            settings,
            interval,
            context,
            shared: Arc::default(),
            task: JoinSet::new(),
        }
    }

    /// Starts to send and listen, if that is not under way, and returns the nodes that were heard.
    async fn report(&mut self) -> Result<Vec<Found>, Trouble> {
        if self.task.is_empty() {
            let speaker = Speaker {
                settings: self.settings.clone(),
                interval: self.interval,
                seal: Seal::new(&self.context.cookie),
                me: Found {
                    node: self.context.me.clone(),
                    port: Some(self.context.dist_port),
                },
                shared: self.shared.clone(),
                sent_ms: 0,
            };
            self.task.spawn(speaker.run());
            sleep(LISTEN).await;
        }
        let shared = lock(&self.shared);
        match &shared.trouble {
            Some(trouble) => Err(Trouble::refused(
                format_args!("gossip on {}", self.settings.group),
                trouble,
            )),
            None => Ok(shared.heard.alive(Instant::now(), self.interval * BEATS_MISSED_MAX)),
        }
    }
}

impl Strategy for Gossip {
    fn look(&mut self) -> Look<'_> {
        Box::pin(self.report())
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends and listens.
struct Speaker {
    settings: Settings,
    interval: Duration,
    seal: Seal,
    me: Found,
    shared: Arc<Mutex<Shared>>,
    /// The time in this node's last datagram.
    sent_ms: u64,
}

impl Speaker {
    async fn run(mut self) {
        loop {
            let ended = match Sockets::open(&self.settings) {
                Ok(sockets) => self.speak(&sockets).await,
                Err(error) => error,
            };
            lock(&self.shared).trouble = Some(ended.to_string());
            sleep(self.interval.max(BEAT_GAP_MIN)).await;
        }
    }

    /// Runs until a socket fails. Returns the error.
    async fn speak(&mut self, sockets: &Sockets) -> io::Error {
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        let mut second = (Instant::now(), 0);
        let mut skew_logged = None;
        let mut kind = Kind::Ask;
        let mut heard_self = Instant::now();
        let mut sent = None;
        let mut beat_at = Instant::now();
        loop {
            let received = tokio::select! {
                received = sockets.receiver.recv_from(&mut buffer) => received,
                () = sleep_until(beat_at) => {
                    if heard_self.elapsed() > self.interval * BEATS_MISSED_MAX + BEAT_GAP_MIN {
                        return io::Error::other("this node's own beats do not come back");
                    }
                    if let Err(error) = self.send(sockets, kind).await {
                        return error;
                    }
                    kind = Kind::Beat;
                    sent = Some(Instant::now());
                    beat_at = Instant::now() + self.interval.max(BEAT_GAP_MIN);
                    lock(&self.shared).heard.forget(Instant::now());
                    continue;
                }
            };
            let bytes = match received {
                Ok((count, _)) => &buffer[..count],
                Err(error) => return error,
            };
            match self.hear(bytes) {
                Hearing::Itself => {
                    heard_self = Instant::now();
                    lock(&self.shared).trouble = None;
                }
                Hearing::Asked => {
                    let gap = sent.map_or(Instant::now(), |sent| sent + BEAT_GAP_MIN);
                    let soon = Instant::now() + ANSWER_SPREAD.mul_f64(f64::from(jitter()) / f64::from(u32::MAX));
                    beat_at = beat_at.min(gap.max(soon));
                }
                Hearing::Skewed(node) => {
                    if skew_logged.is_none_or(|logged: Instant| logged.elapsed() >= SKEW_LOG_GAP) {
                        skew_logged = Some(Instant::now());
                        let node = node.as_str();
                        tracing::warn!(
                            node,
                            "its clock differs by more than a minute from this node's: its gossip is refused"
                        );
                    }
                }
                Hearing::Noted | Hearing::Dropped => {}
            }
            if second.0.elapsed() >= Duration::from_secs(1) {
                second = (Instant::now(), 0);
            }
            second.1 += 1;
            if second.1 >= RECEIVED_PER_SECOND_MAX {
                sleep_until(second.0 + Duration::from_secs(1)).await;
            }
        }
    }

    async fn send(&mut self, sockets: &Sockets, kind: Kind) -> io::Result<()> {
        self.sent_ms = unix_ms().max(self.sent_ms + 1);
        let datagram = Datagram {
            kind,
            sent_ms: self.sent_ms,
            sender: self.me.clone(),
        };
        let bytes = self.seal.seal(&datagram);
        sockets.sender.send_to(&bytes, self.settings.group).await.map(drop)
    }

    fn hear(&self, bytes: &[u8]) -> Hearing {
        match self.seal.open(bytes) {
            Ok(datagram) if datagram.sender.node == self.me.node => Hearing::Itself,
            Ok(datagram) => lock(&self.shared).heard.hear(datagram, unix_ms(), Instant::now()),
            Err(error) => {
                tracing::trace!(?error, "a datagram that is not of this cluster");
                Hearing::Dropped
            }
        }
    }
}

/// The result of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hearing {
    /// Its sender is up.
    Noted,
    /// Its sender is up, and waits for answers.
    Asked,
    /// This node sent it.
    Itself,
    /// The clock of its sender differs too much.
    Skewed(Atom),
    /// It is from another cluster, not new, or one name too many.
    Dropped,
}

/// Which nodes were heard, and when. At most [`FOUND_MAX`]; further ones are ignored.
#[derive(Debug, Default)]
struct Heard(BTreeMap<Atom, Entry>);

#[derive(Debug)]
struct Entry {
    port: Option<u16>,
    sent_ms: u64,
    heard: Instant,
}

impl Heard {
    fn hear(&mut self, datagram: Datagram, now_ms: u64, now: Instant) -> Hearing {
        let Datagram { kind, sent_ms, sender } = datagram;
        if now_ms.abs_diff(sent_ms) > SKEW_MS_MAX {
            return Hearing::Skewed(sender.node);
        }
        let known = self.0.get(&sender.node);
        let is_old = known.is_some_and(|known| sent_ms <= known.sent_ms);
        if is_old || (known.is_none() && self.0.len() >= FOUND_MAX) {
            return Hearing::Dropped;
        }
        let entry = Entry {
            port: sender.port,
            sent_ms,
            heard: now,
        };
        self.0.insert(sender.node, entry);
        match kind {
            Kind::Beat => Hearing::Noted,
            Kind::Ask => Hearing::Asked,
        }
    }

    fn alive(&self, now: Instant, silence_max: Duration) -> Vec<Found> {
        let alive = self.0.iter().filter(|(_, entry)| now - entry.heard <= silence_max);
        let found = alive.map(|(node, entry)| Found {
            node: node.clone(),
            port: entry.port,
        });
        found.collect()
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, entry| now - entry.heard <= KEPT);
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A socket to listen, shared with other nodes of the machine, and a socket to send.
struct Sockets {
    receiver: UdpSocket,
    sender: UdpSocket,
}

impl Sockets {
    fn open(settings: &Settings) -> io::Result<Self> {
        let group = *settings.group.ip();
        let receiver = udp()?;
        receiver.set_reuse_address(true)?;
        #[cfg(not(target_os = "linux"))]
        receiver.set_reuse_port(true)?;
        // Bound to the group: datagrams for this machine alone are not gossip.
        receiver.bind(&SocketAddr::from(settings.group).into())?;
        let sender = udp()?;
        sender.bind(&SocketAddr::from((settings.interface, 0)).into())?;
        if group.is_multicast() {
            receiver.join_multicast_v4(&group, &settings.interface)?;
            if !settings.interface.is_unspecified() {
                sender.set_multicast_if_v4(&settings.interface)?;
            }
            sender.set_multicast_ttl_v4(settings.ttl)?;
            // Other nodes of this machine must receive it, and this node too.
            sender.set_multicast_loop_v4(true)?;
        } else {
            sender.set_broadcast(true)?;
        }
        Ok(Self {
            receiver: UdpSocket::from_std(receiver.into())?,
            sender: UdpSocket::from_std(sender.into())?,
        })
    }
}

fn udp() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
