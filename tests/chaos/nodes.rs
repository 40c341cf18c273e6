//! A lane's nodes: HTTP proxies, plain and behind TLS, and SOCKS5, each call after the manner that the script has next.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::{
    super::support::wire::Wire,
    fuse::{Bottom, Fuse, hang_up},
    origin::{preface, spin, swallow},
    plan::Manner,
    stage::{Door, Stage},
    tally::id_in,
};

/// What a node speaks.
#[derive(Clone)]
pub enum Speech {
    Http,
    Https(TlsAcceptor),
    Socks5,
}

/// Where the tunnels of a lane lead: the port that is asked for, and the back door to it.
#[derive(Debug, Clone, Copy)]
pub struct Ways {
    pub plain: (u16, SocketAddr),
    pub secure: (u16, SocketAddr),
}

/// One call at a node.
struct Call<'a> {
    stage: &'a Stage,
    /// The request that it is made for.
    id: usize,
    manner: Manner,
    ways: Ways,
}

pub async fn open(stage: &Arc<Stage>, node: usize, speech: Speech, ways: Ways) -> Door {
    let kept = Arc::clone(stage);
    Door::open(stage.tasks.clone(), move |tcp| {
        let (stage, speech) = (Arc::clone(&kept), speech.clone());
        async move {
            let manner = stage.dial(node);
            take(tcp, speech, Call { stage: &stage, id: stage.id(), manner, ways }).await;
        }
    })
    .await
}

async fn take(tcp: TcpStream, speech: Speech, call: Call<'_>) {
    match (call.manner, &speech) {
        (Manner::Close(rude), _) => {
            hang_up(Fuse::new(tcp), rude).await;
        }
        (Manner::CloseLater(rude), _) => close_later(tcp, rude).await,
        (Manner::TlsCut(cut), Speech::Http | Speech::Socks5) => close_later(tcp, cut.rude).await,
        (Manner::Swallow, _) => swallow(tcp, |_| {}).await,
        (_, Speech::Http) => http(Fuse::new(tcp), &call).await,
        (manner, Speech::Https(acceptor)) => {
            let fuse = Fuse::new(tcp);
            let fuse = if let Manner::TlsCut(cut) = manner { fuse.lit(cut) } else { fuse };
            if let Ok(stream) = acceptor.accept(fuse).await {
                http(stream, &call).await;
            }
        }
        (_, Speech::Socks5) => {
            let _ = socks5(Fuse::new(tcp), &call).await;
        }
    }
}

async fn close_later(tcp: TcpStream, rude: bool) {
    let _ = tcp.readable().await;
    hang_up(Fuse::new(tcp), rude).await;
}

async fn http<S: Bottom>(stream: S, call: &Call<'_>) {
    let mut wire = Wire::new(stream);
    let Ok(Some(head)) = wire.head().await else { return };
    let port = head.target().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    let said = match call.manner {
        Manner::Refuse => wire.say("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n").await,
        Manner::Garbage => wire.say("what is this?\r\n\r\n").await,
        _ => {
            if wire.say("HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                tunnel(wire, port, call).await;
            }
            return;
        }
    };
    if said.is_ok() {
        hang_up(wire.stream, false).await;
    }
}

async fn socks5(mut stream: Fuse, call: &Call<'_>) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    stream.read_exact(&mut vec![0; greeting[1].into()]).await?;
    if call.manner == Manner::Garbage {
        return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    }
    stream.write_all(&[5, 0]).await?;
    let mut request = [0; 10]; // the lanes' origins are IPv4 addresses
    stream.read_exact(&mut request).await?;
    let port = u16::from_be_bytes([request[8], request[9]]);
    let code = if call.manner == Manner::Refuse { 2 } else { 0 };
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if code == 0 {
        tunnel(Wire::new(stream), port, call).await;
    }
    Ok(())
}

/// The tunnel stands.
async fn tunnel<S: Bottom>(mut wire: Wire<S>, port: u16, call: &Call<'_>) {
    let plain = port == call.ways.plain.0;
    let rude = match call.manner {
        Manner::YesThenClose(delay, rude) => {
            spin(delay).await;
            rude
        }
        Manner::TakesThenClose(cut) => {
            let ends = |ahead: &[u8]| ahead.windows(4).any(|four| four == b"\r\n\r\n");
            let over = |ahead: &[u8]| ends(ahead) || (!plain && !ahead.is_empty());
            while wire.ahead.len() < cut.at && !over(&wire.ahead) {
                if wire.more().await.unwrap_or(0) == 0 {
                    break;
                }
            }
            cut.rude
        }
        Manner::RelayCut(cut) => {
            wire.stream.fuse().light(cut);
            return relay(wire, plain, call).await;
        }
        _ => return relay(wire, plain, call).await,
    };
    let mut heard = wire.ahead;
    heard.extend(hang_up(wire.stream, rude).await);
    // To a TLS origin it is its handshake that came.
    if plain {
        call.stage.tally.held(&heard, call.id);
    }
}

async fn relay<S: Bottom>(wire: Wire<S>, plain: bool, call: &Call<'_>) {
    let tally = &call.stage.tally;
    let back = if plain { call.ways.plain.1 } else { call.ways.secure.1 };
    let mut origin = TcpStream::connect(back).await.unwrap();
    let _ = origin.set_nodelay(true);
    let Wire { stream, ahead } = wire;
    let (mut from, mut to) = split(stream);
    let (mut back_from, mut back_to) = origin.split();
    let up = async {
        back_to.write_all(&preface(call.manner)).await?;
        let mut block = ahead;
        block.reserve(16 * 1024);
        loop {
            if !block.is_empty() {
                if plain {
                    tally.passing(&block);
                }
                back_to.write_all(&block).await?;
                block.clear();
            }
            if from.read_buf(&mut block).await? == 0 {
                return back_to.shutdown().await;
            }
        }
    };
    let down = async {
        copy(&mut back_from, &mut to).await?;
        to.shutdown().await
    };
    // A cut passes through as a cut.
    let broken = tokio::try_join!(up, down).is_err();
    if broken {
        let _ = origin.set_zero_linger();
    }
    let unread = hang_up(from.unsplit(to), broken).await;
    // The rest of a body is no second request.
    if plain && id_in(&unread).is_some() {
        call.stage.tally.held(&unread, call.id);
    }
}
