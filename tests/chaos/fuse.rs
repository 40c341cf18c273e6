//! The bottom of every connection that a server of the chaos run takes: TCP that can be cut after any byte and be
//! hung up politely or rudely, and that tells what lay unread in it by then.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// A TCP stream that breaks when so many more bytes were written.
pub struct Fuse {
    tcp: TcpStream,
    left: Option<Cut>,
}

/// Where a connection is cut, and whether with a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub at: usize,
    pub rude: bool,
}

impl Fuse {
    pub fn new(tcp: TcpStream) -> Self {
        Self { tcp, left: None }
    }

    /// Breaks after so many more bytes.
    pub fn lit(mut self, cut: Cut) -> Self {
        self.left = Some(cut);
        self
    }

    pub fn light(&mut self, cut: Cut) {
        self.left = Some(cut);
    }

    fn be_rude(&self) {
        let _ = self.tcp.set_zero_linger();
    }

    /// Takes out what has arrived and was not read.
    pub fn unread(&self) -> Vec<u8> {
        let (mut unread, mut block) = (Vec::new(), [0; 4096]);
        let socket = SockRef::from(&self.tcp);
        while let Ok(read) = (&*socket).read(&mut block) {
            if read == 0 {
                break;
            }
            unread.extend_from_slice(&block[..read]);
        }
        unread
    }
}

impl AsyncRead for Fuse {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fuse {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let room = match self.left {
            None => buf.len(),
            Some(Cut { at: 0, rude }) => {
                if rude {
                    self.be_rude();
                }
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            Some(Cut { at, .. }) => at.min(buf.len()),
        };
        let written = std::task::ready!(Pin::new(&mut self.tcp).poll_write(cx, &buf[..room]))?;
        if let Some(cut) = &mut self.left {
            cut.at -= written;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Whatever a server speaks over: in the end it stands on a [`Fuse`].
pub trait Bottom: AsyncRead + AsyncWrite + Unpin + Send {
    fn fuse(&mut self) -> &mut Fuse;
}

impl Bottom for Fuse {
    fn fuse(&mut self) -> &mut Fuse {
        self
    }
}

impl Bottom for TlsStream<Fuse> {
    fn fuse(&mut self) -> &mut Fuse {
        self.get_mut().0
    }
}

/// Ends the connection, and gives what had arrived by then and was never read (ciphertext where there is TLS).
pub async fn hang_up<S: Bottom>(mut stream: S, rude: bool) -> Vec<u8> {
    let mut unread = stream.fuse().unread();
    if rude {
        stream.fuse().be_rude();
    } else {
        let _ = stream.shutdown().await;
    }
    unread.extend(stream.fuse().unread());
    unread
}
