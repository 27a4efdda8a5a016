//! Pipelines that a client writes before it reads anything, as most libraries do, whatever their size and that of their
//! replies.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use salp::Node;
use wire::resp::client::{Decoder, Value, write_request};

const PATIENCE: Duration = Duration::from_secs(30);
const VALUE_BYTES: usize = 100 << 10;

async fn start(name: &str) -> Node {
    let builder = Node::builder().name(name).cookie("testing").epmd(false);
    let node = builder.resp("127.0.0.1:0").start().await.unwrap();
    assert!(node.ready().await);
    node
}

/// A client that waits in the calls of its socket, in a thread of its own.
struct Client {
    stream: TcpStream,
    replies: Decoder,
}

impl Client {
    fn connect(node: &Node) -> Self {
        let stream = TcpStream::connect(node.resp().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            replies: Decoder::new(),
        }
    }

    /// The next reply; `None` behind the last.
    fn reply(&mut self) -> Option<Value> {
        loop {
            if let Some(value) = self.replies.next_value().unwrap() {
                return Some(value);
            }
            let mut bytes = vec![0; 64 << 10];
            let read = self
                .stream
                .read(&mut bytes)
                .expect("an answer in time, and no broken connection");
            if read == 0 {
                return None;
            }
            self.replies.buffer().extend_from_slice(&bytes[..read]);
        }
    }
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(&mut bytes, args);
    bytes
}

/// Writes a request so many times and reads the replies after that. The value is there before, under `k`.
async fn check_pipeline(node: &Node, value: &[u8], request: Vec<u8>, count: usize, wanted: impl Fn(usize) -> Value) {
    let mut client = Client::connect(node);
    let set = self::request(&[b"SET", b"k", value]);
    let replies = thread::spawn(move || {
        client.stream.write_all(&set).unwrap();
        client.reply().expect("an answer");
        for number in 0..count {
            let written = client.stream.write_all(&request);
            written.unwrap_or_else(|error| panic!("request {number} cannot be written: {error}"));
        }
        let replies: Vec<Option<Value>> = (0..count).map(|_| client.reply()).collect();
        replies
    });
    let replies = tokio::task::spawn_blocking(move || replies.join().unwrap())
        .await
        .unwrap();
    for (number, reply) in replies.into_iter().enumerate() {
        assert!(reply == Some(wanted(number)), "reply {number} of {count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_pipeline_may_be_written_before_anything_is_read() {
    let node = start("pipelines@127.0.0.1").await;
    let value = vec![b'w'; VALUE_BYTES];
    let same = |_| Value::Bulk(value.clone());
    let set_get = request(&[b"SET", b"k", &value, b"GET"]);
    check_pipeline(&node, &value, set_get, 200, same).await;
    check_pipeline(&node, &value, request(&[b"ECHO", &value]), 200, same).await;
    check_pipeline(&node, &value, request(&[b"GETSET", b"k", &value]), 200, same).await;
    check_pipeline(&node, &value, request(&[b"GET", b"k"]), 500, same).await;
    let both = |_| Value::Array(vec![Value::Bulk(value.clone()), Value::Bulk(value.clone())]);
    let two = [
        &request(&[b"SET", b"other", &value])[..],
        &request(&[b"MGET", b"k", b"k"]),
    ]
    .concat();
    check_pipeline(&node, &value, request(&[b"MGET", b"k", b"k"]), 200, both).await;
    // Two replies to each of these.
    let pair = |number| {
        if number % 2 == 0 {
            Value::Status("OK".into())
        } else {
            both(number)
        }
    };
    let mut client = Client::connect(&node);
    let replies = tokio::task::spawn_blocking(move || {
        client.stream.write_all(&two.repeat(100)).unwrap();
        // The end of the client's side does not end the replies.
        client.stream.shutdown(Shutdown::Write).unwrap();
        (0..201).map(|_| client.reply()).collect::<Vec<_>>()
    });
    let replies = replies.await.unwrap();
    for (number, reply) in replies[..200].iter().enumerate() {
        assert!(*reply == Some(pair(number)), "reply {number}");
    }
    assert!(replies[200].is_none());
    node.stop().await;
}

/// Far more than is read ahead. All of it can be written, and then the client learns what was not executed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_written_ahead_is_told() {
    let node = start("ahead@127.0.0.1").await;
    let mut client = Client::connect(&node);
    let (count, value) = (4_000, vec![b'w'; VALUE_BYTES]);
    let (replies, last) = tokio::task::spawn_blocking(move || {
        let once = [&request(&[b"INCR", b"n"])[..], &request(&[b"ECHO", &value])].concat();
        for number in 0..count {
            let written = client.stream.write_all(&once);
            written.unwrap_or_else(|error| panic!("request {number} cannot be written: {error}"));
        }
        let mut replies = Vec::new();
        while let Some(reply) = client.reply() {
            replies.push(reply);
        }
        let last = replies.pop().unwrap();
        (replies, last)
    })
    .await
    .unwrap();
    let Value::Error(text) = last else {
        panic!("the last reply is no error");
    };
    assert!(
        text.starts_with("ERR more requests were sent while replies waited"),
        "{text}"
    );
    assert!(replies.len() < 2 * count, "{} replies", replies.len());
    let increments = replies.iter().filter(|reply| matches!(reply, Value::Int(_))).count();
    assert!(increments > 10);
    for (index, reply) in replies
        .iter()
        .filter(|reply| matches!(reply, Value::Int(_)))
        .enumerate()
    {
        assert_eq!(*reply, Value::Int(index as i64 + 1));
    }
    // What has a reply was executed, and nothing else.
    let left = node.store("default").unwrap().incr("n", 0).await.unwrap();
    assert_eq!(left, increments as i64);
    node.stop().await;
}

/// The client is still writing when the node has seen enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_too_large_is_refused_with_its_limit() {
    let node = start("large@127.0.0.1").await;
    let mut client = Client::connect(&node);
    let skipped = tokio::task::spawn_blocking(move || {
        let large = vec![b'v'; 65 << 20];
        for args in [[&b"SET"[..], b"k", &large], [b"APPEND", &large, b"v"]] {
            client.stream.write_all(&request(&args)).unwrap();
            client.stream.write_all(&request(&[b"PING"])).unwrap();
            let wanted = "ERR an argument exceeds the maximum of 67108864 bytes (max_value)";
            assert_eq!(client.reply(), Some(Value::Error(wanted.into())));
            assert_eq!(client.reply(), Some(Value::Status("PONG".into())), "the client goes on");
        }
        let once = vec![b'v'; 60 << 20];
        client
            .stream
            .write_all(&request(&[b"MSET", b"k", &once, b"l", &once]))
            .unwrap();
        client.stream.write_all(&request(&[b"EXISTS", b"k", b"l"])).unwrap();
        let wanted = "ERR the request exceeds the maximum of 100139008 bytes (max_buffers)";
        assert_eq!(client.reply(), Some(Value::Error(wanted.into())));
        assert_eq!(client.reply(), Some(Value::Int(0)));
    });
    skipped.await.unwrap();
    for (args, wanted) in [
        (
            b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n".to_vec(),
            "ERR Protocol error: invalid bulk length",
        ),
        (
            request(&vec![&b"x"[..]; (1 << 22) + 1]),
            "ERR Protocol error: invalid multibulk length: a request has 4194304 arguments at most",
        ),
    ] {
        let mut client = Client::connect(&node);
        let reply = tokio::task::spawn_blocking(move || {
            let written = client.stream.write_all(&args);
            let broken = written.err().map(|error| error.kind());
            assert!(
                !matches!(broken, Some(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)),
                "{broken:?}"
            );
            let reply = client.reply();
            assert!(client.reply().is_none());
            reply
        });
        assert_eq!(reply.await.unwrap(), Some(Value::Error(wanted.into())));
    }
    let mut client = Client::connect(&node);
    let many = tokio::task::spawn_blocking(move || {
        let keys: Vec<String> = (0..1_100_000).map(|number| number.to_string()).collect();
        let args: Vec<&[u8]> = [&b"DEL"[..]]
            .into_iter()
            .chain(keys.iter().map(String::as_bytes))
            .collect();
        client.stream.write_all(&request(&args)).unwrap();
        client.reply()
    });
    assert_eq!(many.await.unwrap(), Some(Value::Int(0)));
    node.stop().await;
}
