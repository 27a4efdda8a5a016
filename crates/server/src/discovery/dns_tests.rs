//! DNS against a name server with a few records, over real sockets.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record as Data, RecordType,
        rdata::{A, CNAME, SRV},
    },
};
use node::Atom;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::{
    Found, Strategy,
    dns::{Dns, Query, Record},
};

/// How a name server behaves.
#[derive(Default)]
struct Zone {
    records: Vec<(&'static str, RData)>,
    code: Option<ResponseCode>,
    /// Answers by UDP say that they are truncated.
    truncates: bool,
    is_mute: bool,
}

impl Zone {
    fn answer(&self, question: &[u8], by_udp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
        answer.add_query(query.clone());
        if let Some(code) = self.code {
            answer.metadata.response_code = code;
            return answer.to_vec().ok();
        }
        let named = |name: &str| Name::from_ascii(name).unwrap();
        let mut known = false;
        for (name, data) in &self.records {
            let is_alias = data.record_type() == RecordType::CNAME;
            known |= named(name) == *query.name();
            if named(name) == *query.name() && (data.record_type() == query.query_type() || is_alias)
                || name.starts_with("alias-target")
            {
                answer.add_answer(Data::from_rdata(named(name), 5, data.clone()));
            }
        }
        if !known {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        if self.truncates && by_udp {
            answer.metadata.truncation = true;
            answer.answers.clear();
        }
        answer.to_vec().ok()
    }
}

/// A name server on a port of its own, by UDP and TCP.
struct Server {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        let zone = Arc::new(Mutex::new(zone));
        let mut tasks = JoinSet::new();
        let by_udp = zone.clone();
        tasks.spawn(async move {
            let mut bytes = [0; 1500];
            while let Ok((count, from)) = udp.recv_from(&mut bytes).await {
                let answer = {
                    let zone = by_udp.lock().unwrap();
                    if zone.is_mute {
                        None
                    } else {
                        zone.answer(&bytes[..count], true)
                    }
                };
                if let Some(answer) = answer {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let by_tcp = zone.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; usize::from(length)];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let answer = by_tcp.lock().unwrap().answer(&bytes, false).unwrap();
                    stream.write_u16(answer.len() as u16).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        Self {
            address,
            zone,
            _tasks: tasks,
        }
    }

    fn dns(&self, name: &str, record: Record, port: Option<u16>) -> Dns {
        Dns::new(Query {
            name: name.into(),
            record,
            basename: "salp".into(),
            port,
            servers: vec![self.address],
        })
    }

    fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap());
    }
}

fn a(last: u8) -> RData {
    RData::A(A::new(10, 0, 0, last))
}

fn srv(target: &str, port: u16) -> RData {
    RData::SRV(SRV::new(0, 0, port, Name::from_ascii(target).unwrap()))
}

fn found(name: &str, port: Option<u16>) -> Found {
    Found {
        node: Atom::new(name),
        port,
    }
}

async fn look(dns: &mut Dns) -> Vec<Found> {
    let mut found = dns.look().await.unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn addresses_become_nodes_and_the_newest_answer_counts() {
    let records = vec![("salp.test.", a(1)), ("salp.test.", a(2)), ("other.test.", a(3))];
    let server = Server::start(Zone {
        records,
        ..Zone::default()
    })
    .await;
    let mut dns = server.dns("salp.test.", Record::A, Some(9100));
    let both = [found("salp@10.0.0.1", Some(9100)), found("salp@10.0.0.2", Some(9100))];
    assert_eq!(look(&mut dns).await, both);
    server.change(|zone| drop(zone.records.remove(0)));
    assert_eq!(look(&mut dns).await, both[1..]);
    let mut without_port = server.dns("salp.test", Record::A, None);
    assert_eq!(look(&mut without_port).await, [found("salp@10.0.0.2", None)]);
}

#[tokio::test]
async fn service_records_bring_their_ports() {
    let name = "_salp._tcp.test.";
    let records = vec![
        (name, srv("db1.test.", 9101)),
        (name, srv("db2.test.", 9102)),
        (name, srv(".", 0)),
    ];
    let server = Server::start(Zone {
        records,
        ..Zone::default()
    })
    .await;
    let mut dns = server.dns(name, Record::Srv, None);
    let expected = [found("salp@db1.test", Some(9101)), found("salp@db2.test", Some(9102))];
    assert_eq!(
        look(&mut dns).await,
        expected,
        "a target that is the root stands for nobody (RFC 2782)"
    );
}

#[tokio::test]
async fn aliases_are_followed_and_are_no_nodes() {
    let target = Name::from_ascii("alias-target.test.").unwrap();
    let records = vec![
        ("salp.test.", RData::CNAME(CNAME(target))),
        ("alias-target.test.", a(7)),
    ];
    let server = Server::start(Zone {
        records,
        ..Zone::default()
    })
    .await;
    let mut dns = server.dns("salp.test.", Record::A, None);
    assert_eq!(look(&mut dns).await, [found("salp@10.0.0.7", None)]);
}

#[tokio::test]
async fn a_cut_off_answer_is_fetched_by_tcp() {
    let records: Vec<(&str, RData)> = (1..=200).map(|last| ("salp.test.", a(last))).collect();
    let server = Server::start(Zone {
        records,
        truncates: true,
        ..Zone::default()
    })
    .await;
    let mut dns = server.dns("salp.test.", Record::A, None);
    assert_eq!(look(&mut dns).await.len(), 200);
}

#[tokio::test]
async fn nobody_is_an_answer_and_a_failure_is_trouble() {
    let server = Server::start(Zone::default()).await;
    let mut dns = server.dns("salp.test.", Record::A, None);
    assert_eq!(look(&mut dns).await, [], "no such name");
    server.change(|zone| zone.records.push(("salp.test.", srv("db1.test.", 1))));
    assert_eq!(look(&mut dns).await, [], "no such record");
    server.change(|zone| zone.code = Some(ResponseCode::ServFail));
    let first = dns.look().await.unwrap_err().to_string();
    assert!(first.starts_with("DNS, A salp.test.: "), "{first}");
    assert_eq!(
        dns.look().await.unwrap_err().to_string(),
        first,
        "the same line each time"
    );
    server.change(|zone| (zone.code, zone.records) = (None, vec![("salp.test.", a(1))]));
    assert_eq!(look(&mut dns).await, [found("salp@10.0.0.1", None)], "it recovers");
}

#[tokio::test]
async fn a_mute_server_is_trouble_within_bounds() {
    let server = Server::start(Zone {
        is_mute: true,
        ..Zone::default()
    })
    .await;
    let mut dns = server.dns("salp.test.", Record::A, None);
    let start = std::time::Instant::now();
    let trouble = dns.look().await.unwrap_err().to_string();
    assert!(trouble.contains("no answer in time"), "{trouble}");
    assert!(start.elapsed() < std::time::Duration::from_secs(12));
}
