//! Upstream proxy nodes that misbehave on purpose.
//!
//! A [`Nodes`] is a set with one script: the first dial anywhere in the set meets the first manner, the second the
//! second, whichever node it is that was picked. So tests are certain although picks are random.

use std::{net::SocketAddr, sync::Arc};

use ::resin::proto::DeleteNodesRequest;
use base64::{Engine, prelude::BASE64_STANDARD};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

use super::{
    origins::Resettable,
    resin::{Resin, soon},
    wire::Wire,
};

/// What a node does when it is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Opens the tunnel. Names under `.test` are this machine.
    Good,
    /// Takes the call and never says anything.
    Swallow,
    /// Takes the call and hangs up.
    Close,
    /// Takes the call and resets it, when the first bytes have come.
    Reset,
    /// Refuses the tunnel: an HTTP status, or a SOCKS5 reply code.
    Refuse(u16),
    /// Says yes to the tunnel and hangs up.
    YesThenClose,
    /// Answers with what is no protocol at all.
    Garbage,
    /// Answers with header lines without end.
    EndlessHead,
    /// Says yes with these bytes right behind it, then hangs up when the client does.
    Early(&'static str),
    /// Opens the tunnel for `user:password` only.
    Locked(&'static str),
}

/// A call that a node took.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Which of the set.
    pub node: usize,
    /// `host:port` that a tunnel was asked to, as far as it came to that.
    pub target: String,
    /// Credentials as an HTTP node was given them.
    pub authorization: Option<String>,
}

type Book = Arc<watch::Sender<Vec<Dial>>>;

pub struct Nodes {
    pub uris: Vec<String>,
    pub addresses: Vec<SocketAddr>,
    book: Book,
}

#[derive(Clone)]
enum Kind {
    Http,
    Https(TlsAcceptor),
    Socks5,
}

impl Nodes {
    /// As many HTTP proxy nodes as there are manners; dials beyond those meet the last.
    pub async fn http(manners: &[Manner]) -> Self {
        Self::start("http", manners, Kind::Http).await
    }

    /// The same behind TLS, where this certificate is shown.
    pub async fn https(manners: &[Manner], acceptor: TlsAcceptor) -> Self {
        Self::start("https", manners, Kind::Https(acceptor)).await
    }

    pub async fn socks5(manners: &[Manner]) -> Self {
        Self::start("socks5", manners, Kind::Socks5).await
    }

    async fn start(scheme: &str, manners: &[Manner], kind: Kind) -> Self {
        let (book, manners): (Book, Arc<[Manner]>) = (Arc::default(), manners.into());
        let (mut uris, mut addresses) = (Vec::new(), Vec::new());
        for node in 0..manners.len() {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            uris.push(format!("{scheme}://{address}"));
            addresses.push(address);
            let (book, manners, kind) = (Arc::clone(&book), Arc::clone(&manners), kind.clone());
            tokio::spawn(async move {
                while let Ok((connection, _)) = listener.accept().await {
                    let mut dial = 0;
                    book.send_modify(|book| {
                        dial = book.len();
                        book.push(Dial { node, target: String::new(), authorization: None });
                    });
                    let manner = manners[dial.min(manners.len() - 1)];
                    let call = Call { dial, manner, book: Arc::clone(&book) };
                    tokio::spawn(take(connection, kind.clone(), call));
                }
            });
        }
        Self { uris, addresses, book }
    }

    /// Calls so far, in order.
    pub fn dials(&self) -> Vec<Dial> {
        self.book.borrow().clone()
    }

    pub fn dial_count(&self) -> usize {
        self.book.borrow().len()
    }

    /// Waits for so many calls.
    pub async fn dialled(&self, count: usize) {
        let mut book = self.book.subscribe();
        soon("a dial at a node", book.wait_for(|book| book.len() >= count)).await.unwrap();
    }

    /// Nobody was called twice.
    pub fn assert_each_at_most_once(&self) {
        let mut nodes: Vec<usize> = self.dials().iter().map(|dial| dial.node).collect();
        nodes.sort_unstable();
        assert!(nodes.windows(2).all(|pair| pair[0] != pair[1]), "a node was dialled twice: {nodes:?}");
    }

    /// Value of `RESIN_NODES`, tagged `n0`, `n1` and so on.
    pub fn setting(&self) -> String {
        let tagged = self.uris.iter().enumerate().map(|(number, uri)| format!("{uri}#n{number}"));
        tagged.collect::<Vec<_>>().join(" ")
    }
}

/// An instance whose nodes are these and whose default is so many retries.
pub async fn resin_over(nodes: &Nodes, max_retries: i32, settings: &[(&str, &str)]) -> Resin {
    let (uris, retries) = (nodes.setting(), max_retries.to_string());
    let own = [("RESIN_NODES", uris.as_str()), ("RESIN_DEFAULT_PLATFORM_MAX_RETRIES", retries.as_str())];
    Resin::start(&[&own, settings].concat()).await
}

/// From here on the instance's nodes are these and no others, and `Default` has so many retries.
pub async fn lead_through(resin: &Resin, nodes: &Nodes, max_retries: i32) {
    let mut grpc = resin.grpc();
    let hashes: Vec<String> = grpc.all_nodes().await.into_iter().map(|node| node.hash).collect();
    if !hashes.is_empty() {
        soon("DeleteNodes", grpc.nodes.delete_nodes(DeleteNodesRequest { hashes })).await.unwrap();
    }
    let tags: Vec<String> = (0..nodes.uris.len()).map(|number| format!("n{number}")).collect();
    let tagged: Vec<(&str, &str)> =
        nodes.uris.iter().zip(&tags).map(|(uri, tag)| (uri.as_str(), tag.as_str())).collect();
    resin.upsert_nodes(&tagged).await;
    resin.set_retries("Default", max_retries).await;
}

/// An instance that goes straight to the origin.
pub async fn resin_direct(settings: &[(&str, &str)]) -> Resin {
    Resin::start(&[&[("RESIN_NODES", "direct://#direct")], settings].concat()).await
}

struct Call {
    dial: usize,
    manner: Manner,
    book: Book,
}

impl Call {
    fn asked(&self, target: &str, authorization: Option<&str>) {
        self.book.send_modify(|book| {
            target.clone_into(&mut book[self.dial].target);
            book[self.dial].authorization = authorization.map(str::to_owned);
        });
    }
}

async fn take(connection: TcpStream, kind: Kind, call: Call) {
    connection.set_nodelay(true).unwrap();
    match call.manner {
        Manner::Swallow => {
            let _held = connection;
            std::future::pending().await
        }
        Manner::Close => {}
        Manner::Reset => {
            let _ = connection.peek(&mut [0]).await;
            connection.reset();
        }
        _ => match kind {
            Kind::Http => http(connection, &call).await,
            Kind::Https(acceptor) => {
                if let Ok(connection) = acceptor.accept(connection).await {
                    http(connection, &call).await;
                }
            }
            Kind::Socks5 => {
                let _ = socks5(connection, &call).await;
            }
        },
    }
}

async fn http<S: Resettable>(connection: S, call: &Call) {
    let mut wire = Wire::new(connection);
    let Ok(Some(head)) = wire.head().await else { return };
    call.asked(head.target(), head.get("proxy-authorization"));
    let yes = "HTTP/1.1 200 Connection established\r\n\r\n";
    let said = match call.manner {
        Manner::Garbage => wire.say("\x16\x03\x00 what?\r\n\r\n").await,
        Manner::Refuse(status) => {
            let challenge = if status == 407 { "Proxy-Authenticate: Basic realm=\"node\"\r\n" } else { "" };
            wire.say(format!("HTTP/1.1 {status} No\r\n{challenge}Content-Length: 9\r\nX-Of-The-Node: yes\r\n\r\nnode says"))
                .await
        }
        Manner::EndlessHead => {
            let _ = wire.say("HTTP/1.1 200 OK\r\n").await;
            while wire.say(format!("X-More: {}\r\n", "y".repeat(1000))).await.is_ok() {}
            return;
        }
        Manner::YesThenClose => wire.say(yes).await,
        Manner::Early(bytes) => {
            let _ = wire.say(format!("{yes}{bytes}")).await;
            while wire.more().await.is_ok_and(|read| read > 0) {}
            return;
        }
        Manner::Locked(credentials)
            if head.get("proxy-authorization")
                != Some(&format!("Basic {}", BASE64_STANDARD.encode(credentials))) =>
        {
            wire.say("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"node\"\r\nContent-Length: 0\r\n\r\n").await
        }
        _ => {
            let Some(origin) = reach(head.target()).await else {
                let _ = wire.say("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").await;
                return;
            };
            if wire.say(yes).await.is_ok() {
                relay(wire, origin).await;
            }
            return;
        }
    };
    if said.is_ok() {
        let _ = wire.stream.shutdown().await;
    }
}

async fn socks5(mut connection: TcpStream, call: &Call) -> std::io::Result<()> {
    if call.manner == Manner::Garbage {
        return connection.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    }
    let mut greeting = [0; 2];
    connection.read_exact(&mut greeting).await?;
    let mut methods = vec![0; greeting[1].into()];
    connection.read_exact(&mut methods).await?;
    if let Manner::Locked(credentials) = call.manner {
        if !methods.contains(&2) {
            return connection.write_all(&[5, 0xff]).await;
        }
        connection.write_all(&[5, 2]).await?;
        let _version = connection.read_u8().await?;
        let mut given = Vec::new();
        for part in 0..2 {
            let mut text = vec![0; connection.read_u8().await?.into()];
            connection.read_exact(&mut text).await?;
            given.extend(text);
            if part == 0 {
                given.push(b':');
            }
        }
        let right = given == credentials.as_bytes();
        connection.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return Ok(());
        }
    } else {
        connection.write_all(&[5, 0]).await?;
    }
    let mut request = [0; 4];
    connection.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(connection.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; connection.read_u8().await?.into()];
            connection.read_exact(&mut name).await?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => format!("[{}]", std::net::Ipv6Addr::from(connection.read_u128().await?)),
    };
    let target = format!("{host}:{}", connection.read_u16().await?);
    call.asked(&target, None);
    let code = match call.manner {
        Manner::Refuse(code) => u8::try_from(code).unwrap(),
        _ => 0,
    };
    let mut answer = vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    if let Manner::Early(bytes) = call.manner {
        answer.extend(bytes.as_bytes());
    }
    if code != 0 || matches!(call.manner, Manner::YesThenClose) {
        return connection.write_all(&answer).await;
    }
    let Some(origin) = reach(&target).await else {
        return connection.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]).await;
    };
    connection.write_all(&answer).await?;
    relay(Wire::new(connection), origin).await;
    Ok(())
}

async fn reach(target: &str) -> Option<TcpStream> {
    let (host, port) = target.rsplit_once(':')?;
    let host = if host.ends_with(".test") { "127.0.0.1" } else { host };
    let connection = TcpStream::connect(format!("{host}:{port}")).await.ok()?;
    connection.set_nodelay(true).ok()?;
    Some(connection)
}

async fn relay<S: Resettable>(mut client: Wire<S>, mut origin: TcpStream) {
    if origin.write_all(&client.ahead).await.is_ok() {
        let broken = copy_bidirectional(&mut client.stream, &mut origin).await.is_err();
        if broken {
            client.stream.reset(); // a cut passes through as a cut
        }
    }
}

/// A port whose queue is full: a dial there gets no answer at all.
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl Blackhole {
    pub fn open() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let queued = (0..4).map(|_| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        });
        Self { address: address.as_socket().unwrap(), _queued: queued.collect(), _listener: listener }
    }
}
