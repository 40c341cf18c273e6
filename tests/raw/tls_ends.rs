//! An answer over TLS ends where its length or TLS says so; TCP's end alone is a cut (RFC 8446, section 6.1).

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    client::{EXCHANGES, Way},
    resin::{Resin, soon},
    wire::{Length, Wire},
};

/// How the origin ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// With TLS's own word for it.
    Told,
    /// TCP ends, TLS does not.
    Fin,
    Rst,
}

/// What it says, how it ends, and what the client must get: the body, and whether that is all of it.
const ROWS: [(&str, End, &str, bool); 14] = [
    ("HTTP/1.1 200 OK\r\n\r\nhello", End::Told, "hello", true),
    ("HTTP/1.1 200 OK\r\n\r\nhello", End::Fin, "hello", false),
    ("HTTP/1.1 200 OK\r\n\r\nhello", End::Rst, "hello", false),
    ("HTTP/1.1 200 OK\r\n\r\n", End::Fin, "", false),
    ("HTTP/1.0 200 OK\r\n\r\nhello", End::Told, "hello", true),
    ("HTTP/1.0 200 OK\r\n\r\nhello", End::Fin, "hello", false),
    ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", End::Fin, "hello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", End::Told, "hello", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", End::Fin, "hello", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", End::Told, "hello", false),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", End::Fin, "hello", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", End::Fin, "hello", true),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", End::Told, "hello", false),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", End::Fin, "hello", false),
];

async fn origin(acceptor: TlsAcceptor, say: &'static str, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut tls = acceptor.accept(connection).await.ok()?;
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    tls.read_buf(&mut asked).await.ok()?;
                }
                tls.write_all(say.as_bytes()).await.ok()?;
                tls.flush().await.ok()?;
                match end {
                    End::Told => tls.shutdown().await.ok()?,
                    End::Fin => tls.get_mut().0.shutdown().await.ok()?,
                    End::Rst => {
                        // Mostly what was said is read before the reset overtakes it.
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        tls.get_ref().0.set_zero_linger().ok()?;
                        return None;
                    }
                }
                while tls.get_mut().0.read_buf(&mut asked).await.ok()? > 0 {}
                Some(())
            });
        }
    });
    address
}

pub async fn run(resin: &Resin, acceptor: &TlsAcceptor) {
    for (say, end, body, whole) in ROWS {
        let address = origin(acceptor.clone(), say, end).await;
        for way in EXCHANGES {
            for version in ["1.1", "1.0"] {
                let target = match way {
                    Way::Reverse => format!("/any/Default/https/{address}/it"),
                    Way::Forward | Way::Connect => format!("https://{address}/it"),
                };
                let connection = TcpStream::connect(resin.data).await.unwrap();
                let mut wire = Wire::new(connection);
                let ask =
                    format!("GET {target} HTTP/{version}\r\nHost: {address}\r\nConnection: close\r\n\r\n");
                wire.say(ask).await.unwrap();
                let case = format!("{say:?}, {end:?}, {way:?}, HTTP/{version}");
                let head = soon(&case, wire.head()).await.unwrap().unwrap();
                let got = soon(&case, wire.body(Length::of_answer(&head, "GET"))).await;
                let seen = (head.status(), &*got.bytes, got.whole);
                let part = got.bytes.len() <= body.len() && body.as_bytes().starts_with(&got.bytes);
                let overtaken = end == End::Rst && head.status() == 502;
                let cut = overtaken || (part && !got.whole);
                let right = if whole { seen == (200, body.as_bytes(), true) } else { cut };
                assert!(right, "{case}: {seen:?}");
            }
        }
    }
}
