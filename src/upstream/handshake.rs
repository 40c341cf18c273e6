//! Asking a node for a tunnel: HTTP CONNECT (RFC 9110, section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).
//!
//! A node's refusal ends here. It is a failed dial, never an answer of the origin's.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_socks::tcp::Socks5Stream;

use super::{
    connection::MAX_INTERIM,
    error::{DialError, Fault},
};
use crate::model::{Authority, ErrKind, Host, Phase, Secret};

/// The longest answer head that a node may send to our CONNECT.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 100;

/// Asks an HTTP proxy for a tunnel. Bytes right behind its answer are the tunnel's first.
pub(crate) async fn http_connect(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    to: &Authority,
    credentials: Option<&(String, Secret)>,
) -> Result<Bytes, DialError> {
    let mut head = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n");
    if let Some((user, password)) = credentials {
        let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
        head += &format!("Proxy-Authorization: Basic {pair}\r\n");
    }
    head += "\r\n";
    let write_failed = |error: io::Error| Fault::io(Phase::NodeHandshake, &error, ErrKind::WriteError);
    io.write_all(head.as_bytes()).await.map_err(write_failed)?;
    io.flush().await.map_err(write_failed)?;

    let mut answer = BytesMut::with_capacity(512);
    let mut interim = 0;
    loop {
        match status(&answer)? {
            // Nobody asked to switch protocols: 101 is a refusal like any other.
            Some((100 | 102..=199, length)) => {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(refused(
                        ErrKind::ProtocolError,
                        "the node sends interim answers to CONNECT without end",
                    ));
                }
                let _interim = answer.split_to(length);
                continue;
            }
            Some((200..=299, length)) => {
                let _head = answer.split_to(length);
                return Ok(answer.freeze());
            }
            Some((407, _)) => {
                return Err(refused(ErrKind::NodeAuthFailed, "the node answered 407 to CONNECT"));
            }
            Some((status, _)) => {
                return Err(refused(ErrKind::NodeRefused, &format!("the node answered {status} to CONNECT")));
            }
            None => {}
        }
        if answer.len() >= MAX_HEAD {
            return Err(refused(
                ErrKind::ProtocolError,
                "the head of the node's answer to CONNECT has no end",
            ));
        }
        let read = io.read_buf(&mut answer).await;
        let read = read.map_err(|error| Fault::io(Phase::NodeHandshake, &error, ErrKind::ReadError))?;
        if read == 0 {
            return Err(refused(ErrKind::Eof, "the node closed instead of answering CONNECT"));
        }
    }
}

/// The status and length of the head in `bytes`, once it is whole.
pub(crate) fn status(bytes: &[u8]) -> Result<Option<(u16, usize)>, DialError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) if response.code.is_none_or(|code| code < 100) => {
            Err(refused(ErrKind::ProtocolError, "the node's answer to CONNECT has a status that is none"))
        }
        Ok(httparse::Status::Complete(length)) => Ok(response.code.map(|code| (code, length))),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(refused(ErrKind::ProtocolError, &format!("the node's answer to CONNECT: {error}"))),
    }
}

fn refused(kind: ErrKind, message: &str) -> DialError {
    Fault::new(Phase::NodeHandshake, kind, message)
}

/// Asks a SOCKS5 proxy for a tunnel. Names go to the node as they are.
pub(crate) async fn socks5<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    to: &Authority,
    credentials: Option<&(String, Secret)>,
) -> Result<S, DialError> {
    use tokio_socks::TargetAddr;
    let target = match &to.host {
        Host::Ip(ip) => TargetAddr::Ip((*ip, to.port).into()),
        Host::Name(name) => TargetAddr::Domain(name.as_str().into(), to.port),
    };
    let stream = match credentials {
        None => Socks5Stream::connect_with_socket(io, target).await,
        Some((user, password)) => {
            Socks5Stream::connect_with_password_and_socket(io, target, user, password.expose()).await
        }
    };
    stream.map(Socks5Stream::into_inner).map_err(|error| socks_fault(&error))
}

fn socks_fault(error: &tokio_socks::Error) -> DialError {
    use tokio_socks::Error;
    let kind = match error {
        Error::Io(io) if io.kind() == io::ErrorKind::UnexpectedEof => {
            return refused(ErrKind::Eof, "the node closed during the SOCKS5 handshake");
        }
        Error::Io(io) => return Fault::io(Phase::NodeHandshake, io, ErrKind::NetworkError),
        Error::PasswordAuthFailure(_) | Error::NoAcceptableAuthMethods => ErrKind::NodeAuthFailed,
        Error::GeneralSocksServerFailure
        | Error::ConnectionNotAllowedByRuleset
        | Error::NetworkUnreachable
        | Error::HostUnreachable
        | Error::ConnectionRefused
        | Error::TtlExpired
        | Error::CommandNotSupported
        | Error::AddressTypeNotSupported
        | Error::UnknownError => ErrKind::NodeRefused,
        _ => ErrKind::ProtocolError,
    };
    refused(kind, &format!("SOCKS5: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connect(answer: &[u8]) -> Result<Bytes, DialError> {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        let to = Authority::parse("origin.example:443", None).unwrap();
        http_connect(&mut near, &to, None).await
    }

    #[tokio::test]
    async fn bytes_right_behind_the_nodes_answer_are_the_tunnels() {
        assert_eq!(connect(b"HTTP/1.1 200 OK\r\n\r\nearly").await.unwrap(), "early");
        assert_eq!(connect(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap(), "abc");
        assert_eq!(connect(b"HTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 204 x\r\n\r\n").await.unwrap(), "");
    }

    #[tokio::test]
    async fn whatever_is_not_a_2xx_is_a_refusal_in_its_own_words() {
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(90), vec![b'x'; 40_000]].concat();
        let interim = b"HTTP/1.1 100 x\r\n\r\n".repeat(65);
        let cases: [(&[u8], ErrKind); 9] = [
            (b"HTTP/1.1 099 no\r\n\r\n", ErrKind::ProtocolError),
            (b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ErrKind::NodeRefused),
            (&interim, ErrKind::ProtocolError),
            (b"HTTP/1.1 407 no\r\n\r\n", ErrKind::NodeAuthFailed),
            (b"HTTP/1.1 502 no\r\n\r\nbody", ErrKind::NodeRefused),
            (b"SSH-2.0-x\r\n\r\n", ErrKind::ProtocolError),
            (b"HTTP/1.1 20", ErrKind::Eof),
            (b"", ErrKind::Eof),
            (&endless, ErrKind::ProtocolError),
        ];
        for (answer, kind) in cases {
            assert_eq!(connect(answer).await.unwrap_err().kind, kind);
        }
    }
}
