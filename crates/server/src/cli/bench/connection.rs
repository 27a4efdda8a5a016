//! One connection of a load: requests gathered, written at once, and their replies counted.

use http_body_util::{BodyExt, Full};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time,
};
use wire::resp::client::{skip, write_request};

use super::{
    super::remote::{Failure, Target},
    Ask,
};
use crate::http::encode;

/// Time in which a connection has to be made, and the next reply has to come.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// Bytes that one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// Which door to knock at.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Resp { address: String, password: Option<String> },
    Http(Target),
}

/// How one request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) error: bool,
    /// The key was not there.
    pub(super) miss: bool,
}

/// An open connection.
#[derive(Debug)]
pub(super) enum Connection {
    Resp(Resp),
    Http(Box<Http>),
}

impl Connection {
    pub(super) async fn open(address: &Address) -> Result<Self, Failure> {
        Ok(match address {
            Address::Resp { address, password } => Self::Resp(Resp::open(address, password.as_deref()).await?),
            Address::Http(target) => Self::Http(Box::new(Http::open(target).await?)),
        })
    }

    /// Gathers a request.
    pub(super) fn push(&mut self, ask: Ask<'_>) {
        match self {
            Self::Resp(resp) => resp.push(ask),
            Self::Http(http) => http.push(ask),
        }
    }

    /// Sends what was gathered and tells of each reply when it is there.
    pub(super) async fn exchange(&mut self, replied: impl FnMut(Outcome)) -> Result<(), Failure> {
        match self {
            Self::Resp(resp) => resp.exchange(replied).await,
            Self::Http(http) => http.exchange(replied).await,
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let cannot = |why: &dyn std::fmt::Display| Failure::unreachable(format!("{address} cannot be reached: {why}"));
    let stream = time::timeout(TIMEOUT, TcpStream::connect(address)).await;
    let stream = stream
        .map_err(|_| cannot(&"no answer"))?
        .map_err(|error| cannot(&error))?;
    stream.set_nodelay(true).map_err(|error| cannot(&error))?;
    Ok(stream)
}

fn broke(why: impl std::fmt::Display) -> Failure {
    Failure::unreachable(format!("a connection broke off: {why}"))
}

async fn in_time<T, E: std::fmt::Display>(reply: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    match time::timeout(TIMEOUT, reply).await {
        Ok(reply) => reply.map_err(broke),
        Err(_) => Err(broke(format!("no reply within {TIMEOUT:?}"))),
    }
}

#[derive(Debug)]
pub(super) struct Resp {
    stream: TcpStream,
    out: Vec<u8>,
    /// Requests in `out`.
    waiting: usize,
    input: Vec<u8>,
}

impl Resp {
    async fn open(address: &str, password: Option<&str>) -> Result<Self, Failure> {
        let stream = connect(address).await?;
        let mut resp = Self {
            stream,
            out: Vec::new(),
            waiting: 0,
            input: Vec::with_capacity(READ_BYTES),
        };
        if let Some(password) = password
            && resp.refuses(&[b"AUTH", password.as_bytes()]).await?
        {
            return Err(Failure::usage(format!("{address} does not take this password")));
        }
        if resp.refuses(&[b"PING"]).await? {
            let mend = "give --password or set SALP_RESP_PASSWORD";
            return Err(Failure::usage(format!("{address} asks for a password: {mend}")));
        }
        Ok(resp)
    }

    /// Whether one request is answered by an error.
    async fn refuses(&mut self, request: &[&[u8]]) -> Result<bool, Failure> {
        write_request(&mut self.out, request);
        self.waiting = 1;
        let mut refused = false;
        self.exchange(|outcome| refused = outcome.error).await?;
        Ok(refused)
    }

    fn push(&mut self, ask: Ask<'_>) {
        match ask {
            Ask::Get(key) => write_request(&mut self.out, &[b"GET", key.as_bytes()]),
            Ask::Set(key, value) => write_request(&mut self.out, &[b"SET", key.as_bytes(), value]),
        }
        self.waiting += 1;
    }

    async fn exchange(&mut self, mut replied: impl FnMut(Outcome)) -> Result<(), Failure> {
        let Self {
            stream,
            out,
            waiting,
            input,
        } = self;
        // Written while replies are read: with many large values neither side has room for all of the other's bytes.
        let (mut reader, mut writer) = stream.split();
        let write = async { writer.write_all(out).await.map_err(broke) };
        let read = async {
            while *waiting > 0 {
                input.reserve(READ_BYTES);
                if in_time(reader.read_buf(input)).await? == 0 {
                    return Err(broke("the server closed it"));
                }
                let mut at = 0;
                while let Some(length) = skip(&input[at..]).map_err(broke)? {
                    replied(outcome(&input[at..at + length]));
                    at += length;
                    *waiting = waiting
                        .checked_sub(1)
                        .ok_or_else(|| broke("a reply that nothing was asked for"))?;
                }
                input.drain(..at);
            }
            Ok(())
        };
        tokio::try_join!(write, read)?;
        out.clear();
        Ok(())
    }
}

/// How a reply of RESP looks.
fn outcome(reply: &[u8]) -> Outcome {
    Outcome {
        error: matches!(reply[0], b'-' | b'!'),
        miss: reply.starts_with(b"$-1") || reply[0] == b'_',
    }
}

pub(super) struct Http {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    authorization: Option<String>,
    next: Option<Request<Full<Bytes>>>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Http {
    async fn open(target: &Target) -> Result<Self, Failure> {
        let host = target.host()?;
        let stream = connect(&host).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            host,
            authorization: target.authorization(),
            next: None,
        })
    }

    fn push(&mut self, ask: Ask<'_>) {
        let (method, key, body) = match ask {
            Ask::Get(key) => ("GET", key, Bytes::new()),
            Ask::Set(key, value) => ("PUT", key, Bytes::copy_from_slice(value)),
        };
        let path = format!("/kv/{}", encode(key.as_bytes()));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.next = request.body(Full::new(body)).ok();
    }

    async fn exchange(&mut self, mut replied: impl FnMut(Outcome)) -> Result<(), Failure> {
        let request = self
            .next
            .take()
            .ok_or_else(|| Failure::usage("the token cannot be a header"))?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            Ok::<_, hyper::Error>(status.as_u16())
        };
        let status = in_time(exchange).await?;
        replied(Outcome {
            error: status >= 400 && status != 404,
            miss: status == 404,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart() {
        let hit = Outcome::default();
        for (reply, wanted) in [
            (&b"+OK\r\n"[..], hit),
            (b"$2\r\nhi\r\n", hit),
            (b"$-1\r\n", Outcome { miss: true, ..hit }),
            (b"_\r\n", Outcome { miss: true, ..hit }),
            (b"-ERR x\r\n", Outcome { error: true, ..hit }),
        ] {
            assert_eq!(outcome(reply), wanted, "{}", reply.escape_ascii());
        }
    }

    /// The server's part of opening a connection.
    async fn greet(stream: &mut TcpStream, answer: &[u8]) {
        let mut ping = [0; 14];
        stream.read_exact(&mut ping).await.unwrap();
        assert_eq!(&ping, b"*1\r\n$4\r\nPING\r\n");
        stream.write_all(answer).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_password_is_told_before_anything_is_measured() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            greet(&mut stream, b"-NOAUTH Authentication required.\r\n").await;
        });
        let failure = Resp::open(&address, None).await.unwrap_err();
        assert!(failure.code == 2 && failure.text.contains("--password"), "{failure:?}");
    }

    #[tokio::test]
    async fn a_pipeline_is_answered_in_pieces() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            greet(&mut stream, b"+PONG\r\n").await;
            let mut asked = [0; 60];
            stream.read_exact(&mut asked).await.unwrap();
            for piece in [&b"$2\r\nhi"[..], b"\r\n$-", b"1\r\n-ERR no\r\n"] {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let mut resp = Resp::open(&address, None).await.unwrap();
        for key in ["a", "b", "c"] {
            resp.push(Ask::Get(key));
        }
        let mut outcomes = Vec::new();
        resp.exchange(|outcome| outcomes.push((outcome.miss, outcome.error)))
            .await
            .unwrap();
        assert_eq!(outcomes, [(false, false), (true, false), (false, true)]);
        resp.push(Ask::Get("d"));
        assert_eq!(resp.exchange(|_| ()).await.unwrap_err().code, 3);
    }
}
