//! An origin for real clients: something small, something big, somewhere to upload to, and git repositories.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
};
use tokio_rustls::TlsAcceptor;

/// `GET /small`, `GET /big`, `POST /upload` (of what is big), `/git/…` (smart HTTP).
pub struct Site {
    pub big: Bytes,
    /// Where the repositories are.
    repositories: PathBuf,
}

impl Site {
    /// With something big of so many bytes that do not compress.
    pub fn new(size: usize, repositories: &Path) -> Arc<Self> {
        let mut random = fastrand::Rng::with_seed(10);
        let big: Vec<u8> =
            std::iter::repeat_with(|| random.u64(..).to_ne_bytes()).take(size / 8).flatten().collect();
        Arc::new(Self { big: big.into(), repositories: repositories.to_owned() })
    }

    /// Serves it, over TLS where there is an acceptor.
    pub async fn serve(self: &Arc<Self>, acceptor: Option<TlsAcceptor>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let site = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (site, acceptor) = (Arc::clone(&site), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => site.converse(connection).await,
                        Some(acceptor) => {
                            if let Ok(connection) = acceptor.accept(connection).await {
                                site.converse(connection).await;
                            }
                        }
                    }
                });
            }
        });
        address
    }

    async fn converse(self: Arc<Self>, connection: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            let site = Arc::clone(&self);
            async move { Ok::<_, Infallible>(site.answer(request).await) }
        });
        let _ended = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/small") => Response::new(Full::from("hello")),
            (&Method::GET, "/big") => Response::new(Full::from(self.big.clone())),
            (&Method::POST, "/upload") => Response::new(Full::from(self.compared(request.into_body()).await)),
            (_, path) if path.starts_with("/git/") => self.git(request).await,
            _ => {
                let mut response = Response::new(Full::from("not here"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        }
    }

    /// How an upload compares with what is big.
    async fn compared(&self, mut body: Incoming) -> String {
        let (mut at, mut same) = (0, true);
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                same &= self.big.get(at..at + data.len()).is_some_and(|expected| expected == data);
                at += data.len();
            }
        }
        uploaded(at, same && at == self.big.len())
    }

    /// `git http-backend` as a CGI program (RFC 3875).
    async fn git(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let mut program = Command::new("git")
            .arg("http-backend")
            .env("GIT_PROJECT_ROOT", &self.repositories)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", "somebody")
            .env("REQUEST_METHOD", head.method.as_str())
            .env("PATH_INFO", head.uri.path().trim_start_matches("/git"))
            .env("QUERY_STRING", head.uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", field("content-type"))
            .env("HTTP_CONTENT_ENCODING", field("content-encoding"))
            .env("HTTP_GIT_PROTOCOL", field("git-protocol"))
            .env("CONTENT_LENGTH", body.len().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = program.stdin.take().unwrap();
        let feeding = tokio::spawn(async move { input.write_all(&body).await });
        let output = program.wait_with_output().await.unwrap().stdout;
        let _it_left_some_unread = feeding.await.unwrap();
        let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
        let mut response = Response::builder();
        for line in String::from_utf8_lossy(&output[..end]).lines() {
            match line.split_once(": ") {
                Some(("Status", status)) => response = response.status(status.get(..3).unwrap_or("500")),
                Some((name, value)) => response = response.header(name, value),
                None => {}
            }
        }
        response.body(Full::from(output[(end + 4).min(output.len())..].to_vec())).unwrap()
    }
}

/// What is said to an upload.
pub fn uploaded(length: usize, same: bool) -> String {
    format!("{length} bytes, {}", if same { "the same" } else { "something else" })
}

/// Stands before a port and counts who comes with one of certain words in what is said first.
pub struct Door {
    pub address: SocketAddr,
    comers: Arc<AtomicUsize>,
}

impl Door {
    pub async fn before(port: SocketAddr, words: &[&str]) -> Self {
        let words: Arc<[String]> = words.iter().map(|word| (*word).to_owned()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let comers = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&comers);
        tokio::spawn(async move {
            while let Ok((mut outside, _)) = listener.accept().await {
                let (words, count) = (Arc::clone(&words), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut first = [0; 1024];
                    let read = outside.peek(&mut first).await.unwrap_or(0);
                    let first = String::from_utf8_lossy(&first[..read]).into_owned();
                    if words.iter().any(|word| first.contains(word.as_str())) {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    if let Ok(mut inside) = TcpStream::connect(port).await {
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    }
                });
            }
        });
        Self { address, comers }
    }

    pub fn comers(&self) -> usize {
        self.comers.load(Ordering::SeqCst)
    }
}
