//! Gossip over loopback: which nodes hear each other, and what junk, strangers and old datagrams cause.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use node::{Atom, Cookie};
use tokio::time::{Instant, sleep};

use super::{
    Context, Found, Strategy,
    datagram::{Datagram, Kind, Seal},
    gossip::{Gossip, Settings},
};

const INTERVAL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

/// A group that no other test uses.
fn multicast() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(233, 252, 1, 77), free_port())
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn gossip(group: SocketAddrV4, name: &str, port: u16, cookie: &str) -> Gossip {
    let settings = Settings {
        group,
        interface: Ipv4Addr::LOCALHOST,
        ttl: 1,
    };
    let context = Context {
        me: Atom::new(name),
        dist_port: port,
        cookie: Cookie::new(cookie.as_bytes()),
    };
    Gossip::new(settings, INTERVAL, context)
}

fn found(name: &str, port: u16) -> Found {
    Found {
        node: Atom::new(name),
        port: Some(port),
    }
}

async fn await_found(gossip: &mut Gossip, expected: &[Found]) {
    let start = Instant::now();
    loop {
        let found = gossip.look().await;
        if matches!(&found, Ok(found) if found == expected) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{found:?} instead of {expected:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// A sender that does not know the cookie.
struct Stranger(UdpSocket, SocketAddr);

impl Stranger {
    fn new(group: SocketAddrV4) -> Self {
        let socket = socket2::Socket::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).unwrap();
        Self(socket.into(), group.into())
    }

    fn send(&self, bytes: &[u8]) {
        self.0.send_to(bytes, self.1).unwrap();
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as u64
}

fn sealed(cookie: &str, name: &str, sent_ms: u64, kind: Kind) -> Vec<u8> {
    Seal::new(&Cookie::new(cookie.as_bytes())).seal(&Datagram {
        kind,
        sent_ms,
        sender: found(name, 1),
    })
}

#[tokio::test]
async fn nodes_of_one_cookie_hear_each_other_and_notice_silence() {
    let group = multicast();
    let mut one = gossip(group, "a@127.0.0.1", 9101, "cookie");
    let mut two = gossip(group, "b@127.0.0.1", 9102, "cookie");
    let mut other = gossip(group, "c@127.0.0.1", 9103, "another");
    assert_eq!(one.look().await.unwrap(), []);
    assert_eq!(
        two.look().await.unwrap(),
        [found("a@127.0.0.1", 9101)],
        "its first question is answered at once"
    );
    await_found(&mut one, &[found("b@127.0.0.1", 9102)]).await;
    assert_eq!(other.look().await.unwrap(), [], "another cookie is another group");
    drop(two);
    await_found(&mut one, &[]).await;
    let mut two = gossip(group, "b@127.0.0.1", 9202, "cookie");
    two.look().await.unwrap();
    await_found(&mut one, &[found("b@127.0.0.1", 9202)]).await;
}

#[tokio::test]
async fn broadcast_serves_as_well() {
    let group = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), free_port());
    let mut one = gossip(group, "a@127.0.0.1", 9101, "cookie");
    let mut two = gossip(group, "b@127.0.0.1", 9102, "cookie");
    one.look().await.unwrap();
    two.look().await.unwrap();
    await_found(&mut one, &[found("b@127.0.0.1", 9102)]).await;
    await_found(&mut two, &[found("a@127.0.0.1", 9101)]).await;
}

#[tokio::test]
async fn junk_strangers_and_other_times_are_passed_over() {
    let group = multicast();
    let mut one = gossip(group, "a@127.0.0.1", 9101, "cookie");
    one.look().await.unwrap();
    let stranger = Stranger::new(group);
    // No more than fits a socket's buffer.
    for length in (0..600).step_by(12) {
        stranger.send(&vec![b's'; length]);
    }
    stranger.send(&sealed("guess", "x@127.0.0.1", now_ms(), Kind::Beat));
    stranger.send(&sealed("cookie", "past@127.0.0.1", now_ms() - 70_000, Kind::Beat));
    stranger.send(&sealed("cookie", "future@127.0.0.1", now_ms() + 70_000, Kind::Beat));
    stranger.send(&sealed("cookie", "b@127.0.0.1", now_ms(), Kind::Beat));
    await_found(&mut one, &[found("b@127.0.0.1", 1)]).await;
}

#[tokio::test]
async fn a_datagram_counts_once() {
    let group = multicast();
    let mut one = gossip(group, "a@127.0.0.1", 9101, "cookie");
    one.look().await.unwrap();
    let stranger = Stranger::new(group);
    let bytes = sealed("cookie", "b@127.0.0.1", now_ms(), Kind::Beat);
    stranger.send(&bytes);
    await_found(&mut one, &[found("b@127.0.0.1", 1)]).await;
    let start = Instant::now();
    while !one.look().await.unwrap().is_empty() {
        assert!(start.elapsed() < PATIENCE, "what is played again keeps it alive");
        stranger.send(&bytes);
        sleep(Duration::from_millis(100)).await;
    }
    stranger.send(&sealed("cookie", "b@127.0.0.1", now_ms(), Kind::Beat));
    await_found(&mut one, &[found("b@127.0.0.1", 1)]).await;
}

#[tokio::test]
async fn what_comes_does_not_make_a_node_say_more() {
    let group = multicast();
    let mut one = gossip(group, "a@127.0.0.1", 9101, "cookie");
    one.look().await.unwrap();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&SocketAddr::from(group).into()).unwrap();
    listener.join_multicast_v4(group.ip(), &Ipv4Addr::LOCALHOST).unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::UdpSocket::from_std(listener.into()).unwrap();
    let stranger = Stranger::new(group);
    let seal = Seal::new(&Cookie::new(b"cookie"));
    let (mut beats, mut buffer) = (0, [0; 600]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let name = format!("b{beats}@127.0.0.1");
        stranger.send(&sealed("cookie", &name, now_ms(), Kind::Ask));
        sleep(Duration::from_millis(10)).await;
        while let Ok((count, _)) = listener.try_recv_from(&mut buffer) {
            let datagram = seal.open(&buffer[..count]).unwrap();
            beats += usize::from(datagram.sender.node.as_str() == "a@127.0.0.1");
        }
    }
    assert!((2..=6).contains(&beats), "{beats} datagrams in two seconds");
}
