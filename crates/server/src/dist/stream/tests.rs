//! Two secured streams over loopback: what goes in comes out, however little the socket takes, in full records.

#[path = "../../../tests/authority/mod.rs"]
mod authority;

use std::{net::Ipv4Addr, sync::Arc};

use tokio::net::TcpListener;

use super::*;
use crate::tls::{Files, Keeper};
use authority::Authority;

const HOST: &str = "127.0.0.1";

async fn pair() -> (Stream, Stream) {
    let authority = Authority::new();
    let files = authority.issue("a", HOST);
    let (cert, key, ca) = (files.cert.into(), files.key.into(), files.ca.into());
    let keeper = Arc::new(Keeper::new(Files { cert, key, ca }, HOST).unwrap());
    let identity = keeper.current().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let (dialling, accepting) = tokio::join!(
        secure(dialled, identity.dialling(HOST).unwrap()),
        secure(accepted, identity.accepting().unwrap())
    );
    (dialling.unwrap(), accepting.unwrap())
}

#[tokio::test]
async fn small_pieces_fill_records() {
    let (near, far) = pair().await;
    let Stream::Tls(socket, _) = far else {
        panic!("it is secured")
    };
    let (_reading, writing) = near.split(&Rc::default());
    let piece = [7; 1024];
    let written = writing.try_write_vectored(&[IoSlice::new(&piece); 64]).unwrap();
    assert_eq!(written, 64 * 1024);

    // Each record: a type, a version, its length, and what is sealed: the bytes, a type and a tag.
    let mut sealed = Vec::new();
    let record = 5 + (16 << 10) + 1 + 16;
    while sealed.len() < 4 * record {
        socket.readable().await.unwrap();
        match socket.try_read_buf(&mut sealed) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => assert!(read.unwrap() > 0),
        }
        while !writing.is_flushed() && writing.try_write_vectored(&[]).is_ok() {}
    }
    assert_eq!(sealed.len(), 4 * record);
    for record in sealed.chunks(record) {
        let len = u16::from_be_bytes([record[3], record[4]]);
        assert_eq!((record[0], usize::from(len)), (23, record.len() - 5));
    }
}

#[tokio::test]
async fn nothing_is_lost_when_the_socket_is_full() {
    let (near, far) = pair().await;
    let (_reading, writing) = near.split(&Rc::default());
    let (mut reading, _writing) = far.split(&Rc::default());
    let bytes: Vec<u8> = (0..8_u32 << 20).map(|number| (number % 251) as u8).collect();

    let mut rest = &bytes[..];
    while let Ok(written) = writing.try_write(rest) {
        rest = &rest[written..];
    }
    assert!(!rest.is_empty() && !writing.is_flushed(), "nobody reads yet");
    let write = async {
        while !rest.is_empty() || !writing.is_flushed() {
            writing.writable().await.unwrap();
            match writing.try_write_vectored(&[IoSlice::new(&rest[..rest.len().min(10_000)])]) {
                Ok(written) => rest = &rest[written..],
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        writing.finish();
    };
    let read = async {
        let mut buffer = BytesMut::new();
        while reading.read(&mut buffer).await.unwrap() > 0 {}
        buffer
    };
    let ((), received) = tokio::join!(write, read);
    assert!(received == bytes, "{} of {} bytes", received.len(), bytes.len());
}
