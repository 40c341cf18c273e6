//! A lane's origin, plain and over TLS: reads strictly, enters everything into the ledger, and does as it is told.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{
    super::support::wire::{Head, Length, Payload, Wire},
    fuse::{Bottom, Cut, Fuse, hang_up},
    plan::{After, Deed, Manner, Shape},
    stage::{Door, Stage},
    tally::id_in,
};

/// What a node says to the back door first: how the call that it passes on is to go.
pub type Preface = [u8; 4];

pub fn preface(manner: Manner) -> Preface {
    let Manner::OriginTlsCut(Cut { at, rude }) = manner else { return [0; 4] };
    let at = u16::try_from(at).unwrap().to_be_bytes();
    [1, at[0], at[1], u8::from(rude)]
}

/// Plain or TLS, each with a front door for whoever calls directly and a back door for nodes.
pub struct Origin {
    pub front: Door,
    pub back: Door,
}

impl Origin {
    /// `direct` is the number of the lane's node that calls at the front.
    pub async fn open(stage: &Arc<Stage>, direct: usize, acceptor: Option<TlsAcceptor>) -> Self {
        let (front, back) = (Arc::clone(stage), Arc::clone(stage));
        let (at_front, at_back) = (acceptor.clone(), acceptor);
        Self {
            front: Door::open(stage.tasks.clone(), move |tcp| {
                let (stage, acceptor) = (Arc::clone(&front), at_front.clone());
                async move { called(tcp, &stage, direct, acceptor).await }
            })
            .await,
            back: Door::open(stage.tasks.clone(), move |mut tcp| {
                let (stage, acceptor) = (Arc::clone(&back), at_back.clone());
                async move {
                    let mut said = Preface::default();
                    if tcp.read_exact(&mut said).await.is_err() {
                        return;
                    }
                    let at = u16::from_be_bytes([said[1], said[2]]).into();
                    let cut = (said[0] == 1).then_some(Cut { at, rude: said[3] == 1 });
                    welcome(Fuse::new(tcp), cut, &stage, acceptor).await;
                }
            })
            .await,
        }
    }
}

/// A call without a node between.
async fn called(tcp: TcpStream, stage: &Stage, direct: usize, acceptor: Option<TlsAcceptor>) {
    let manner = stage.dial(direct);
    let id = stage.id();
    // What lies in a plain connection belongs to a request; behind TLS it may be but a handshake.
    let count = |unread: Vec<u8>| {
        if acceptor.is_none() {
            stage.tally.touched(&unread, id);
        }
    };
    match manner {
        Manner::Close(rude) => count(hang_up(Fuse::new(tcp), rude).await),
        Manner::CloseLater(rude) => {
            let _ = tcp.readable().await;
            count(hang_up(Fuse::new(tcp), rude).await);
        }
        Manner::Swallow => swallow(tcp, count).await,
        Manner::TlsCut(cut) | Manner::OriginTlsCut(cut) => {
            welcome(Fuse::new(tcp), Some(cut), stage, acceptor).await;
        }
        _ => welcome(Fuse::new(tcp), None, stage, acceptor).await,
    }
}

/// Takes in whatever comes and never answers.
pub async fn swallow(mut tcp: TcpStream, count: impl Fn(Vec<u8>)) {
    let mut heard = Vec::new();
    let first = tcp.read_buf(&mut heard).await;
    count(heard);
    let (mut more, mut block) = (first, [0; 4096]);
    while more.is_ok_and(|read| read > 0) {
        more = tcp.read(&mut block).await;
    }
}

async fn welcome(fuse: Fuse, cut: Option<Cut>, stage: &Stage, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => converse(fuse, stage).await,
        Some(acceptor) => {
            let fuse = match cut {
                Some(cut) => fuse.lit(cut),
                None => fuse,
            };
            if let Ok(stream) = acceptor.accept(fuse).await {
                converse(stream, stage).await;
            }
        }
    }
}

/// One request after another, as the script of each will have it.
async fn converse<S: Bottom>(stream: S, stage: &Stage) {
    let mut wire = Wire::new(stream);
    loop {
        if wire.more().await.unwrap_or(0) == 0 {
            return;
        }
        let (id, deed) = (stage.id(), stage.deed());
        if let Deed::CutRequest(cut) = deed {
            let heard = cut_head(wire, cut).await;
            return stage.tally.touched(&heard, id);
        }
        let head = match wire.head().await {
            Ok(Some(head)) => head,
            _ => return stage.tally.touched(&wire.ahead, id),
        };
        stage.delivered(id_in(head.line.as_bytes()).expect("every request has its id"));
        let Some(after) = hear_and_answer(&mut wire, &head, deed, stage).await else { continue };
        let After::Close(delay, rude) = after else { return };
        spin(delay).await;
        // Of a request that was heard to its end nothing can be left.
        if matches!(deed, Deed::Answer(..)) {
            hang_up_between(wire.stream, rude, stage).await;
        } else {
            hang_up(wire.stream, rude).await;
        }
        return;
    }
}

/// Hangs up where the next request may have come in already. As long as the connection stands, that one is under way.
async fn hang_up_between<S: Bottom>(mut stream: S, rude: bool, stage: &Stage) {
    let next = stream.fuse().unread();
    stage.tally.touched(&next, stage.id());
    let later = hang_up(stream, rude).await;
    if next.is_empty() && id_in(&later).is_some() {
        stage.tally.touched(&later, 0);
    }
}

/// Takes so many bytes of a head and hangs up.
async fn cut_head<S: Bottom>(mut wire: Wire<S>, cut: Cut) -> Vec<u8> {
    let over = |ahead: &[u8]| ahead.windows(4).any(|four| four == b"\r\n\r\n");
    while wire.ahead.len() < cut.at && !over(&wire.ahead) {
        if wire.more().await.unwrap_or(0) == 0 {
            break;
        }
    }
    let mut heard = wire.ahead;
    heard.extend(hang_up(wire.stream, cut.rude).await);
    heard
}

/// None where the connection goes on; `After::Keep` where the peer has left it.
async fn hear_and_answer<S: Bottom>(
    wire: &mut Wire<S>,
    head: &Head,
    deed: Deed,
    stage: &Stage,
) -> Option<After> {
    let length = Length::of_request(head);
    match deed {
        Deed::CutBody(cut) if length != Length::Nothing => {
            hear_some(wire, length, cut.at).await;
            return Some(After::Close(0, cut.rude));
        }
        Deed::Early if length != Length::Nothing => {
            let too_large =
                "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
            let _ = wire.say(too_large).await;
            return Some(After::Close(200, true));
        }
        _ => {}
    }
    let payload = wire.body(length).await;
    if !payload.whole {
        return Some(After::Keep);
    }
    if !is_as_sent(head, &payload) {
        stage.tally.mangled.fetch_add(1, Ordering::SeqCst);
    }
    answer(wire, deed).await
}

async fn answer<S: Bottom>(wire: &mut Wire<S>, deed: Deed) -> Option<After> {
    match deed {
        Deed::Answer(shape, after) => match (wire.say(text(shape)).await, after) {
            (Err(_), _) => Some(After::Keep),
            (Ok(()), After::Keep) => None,
            (Ok(()), close) => Some(close),
        },
        Deed::Late(delay) => {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            wire.say(text(Shape::Small)).await.err().map(|_| After::Keep)
        }
        Deed::Drip => {
            for byte in text(Shape::Chunks) {
                if wire.say([byte]).await.is_err() {
                    return Some(After::Keep);
                }
                tokio::task::yield_now().await;
            }
            None
        }
        Deed::CutAnswer(shape, cut) => {
            wire.stream.fuse().light(cut);
            let _ = wire.say(text(shape)).await;
            Some(After::Close(0, cut.rude))
        }
        Deed::Silence => {
            while wire.more().await.is_ok_and(|read| read > 0) {}
            Some(After::Keep)
        }
        Deed::CutBefore(rude) => Some(After::Close(0, rude)),
        Deed::CutRequest(_) | Deed::CutBody(_) | Deed::Early => {
            wire.say(text(Shape::Small)).await.err().map(|_| After::Keep)
        }
    }
}

/// A part of the body that is not the whole.
async fn hear_some<S: Bottom>(wire: &mut Wire<S>, length: Length, at: usize) {
    let at = match length {
        Length::Exactly(length) => at % length.max(1),
        _ => at % 11,
    };
    while wire.ahead.len() < at {
        if wire.more().await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// The client says in its head how much it sends, and again behind a chunked body.
fn is_as_sent(head: &Head, payload: &Payload) -> bool {
    let told = head.get("x-load").and_then(|load| load.parse().ok()).unwrap_or(0);
    let trailer = payload.trailers.iter().find(|(name, _)| name == "x-sum");
    let sum = trailer.is_some_and(|(_, sum)| *sum == told.to_string());
    payload.bytes.len() == told
        && payload.bytes.iter().all(|byte| *byte == b'x')
        && (sum || !head.is_chunked())
}

fn text(shape: Shape) -> Vec<u8> {
    let ok = "HTTP/1.1 200 OK\r\n";
    match shape {
        Shape::Small => format!("{ok}Content-Length: 2\r\n\r\nok"),
        Shape::Large => format!("{ok}Content-Length: 40000\r\n\r\n{}", "y".repeat(40_000)),
        Shape::Chunks => {
            format!(
                "{ok}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\nX-End: yes\r\n\r\n"
            )
        }
        Shape::Empty => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        Shape::Last => format!("{ok}Connection: close\r\nContent-Length: 2\r\n\r\nok"),
    }
    .into_bytes()
}

/// Waits this many microseconds; the runtime's timer is too coarse for that.
pub async fn spin(micros: u64) {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        tokio::task::yield_now().await;
    }
}
