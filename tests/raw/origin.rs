//! An origin that reads strictly, keeps what it heard and answers each request with the target that it heard.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::strict::{Heard, Read, request, show};

/// What came in, over all connections.
#[derive(Debug, Clone, Default)]
pub struct Book {
    pub connections: usize,
    /// Connections that have not ended yet.
    pub open: usize,
    pub heard: Vec<Heard>,
    /// What could not be read as a request, and beginnings of one that never came whole.
    pub junk: Vec<String>,
    pub parts: Vec<String>,
}

/// Ends with this value.
pub struct Strict {
    pub address: SocketAddr,
    book: Arc<Mutex<Book>>,
    accepting: AbortHandle,
}

impl Strict {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book: Arc<Mutex<Book>> = Arc::default();
        let kept = Arc::clone(&book);
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let book = Arc::clone(&kept);
                {
                    let mut book = book.lock().unwrap();
                    book.connections += 1;
                    book.open += 1;
                }
                tokio::spawn(async move {
                    let left = converse(connection, &book).await;
                    let mut book = book.lock().unwrap();
                    book.open -= 1;
                    if !left.is_empty() {
                        book.parts.push(show(&left));
                    }
                });
            }
        });
        Self { address, book, accepting: accepting.abort_handle() }
    }

    pub fn book(&self) -> Book {
        self.book.lock().unwrap().clone()
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The bytes of a request that never came whole.
async fn converse(mut connection: TcpStream, book: &Mutex<Book>) -> Vec<u8> {
    let _ = connection.set_nodelay(true);
    let mut ahead = Vec::new();
    loop {
        let heard = match request(&ahead) {
            Read::Part => match connection.read_buf(&mut ahead).await {
                Ok(read) if read > 0 => continue,
                _ => return ahead,
            },
            Read::Junk(what) => {
                book.lock().unwrap().junk.push(what);
                return Vec::new();
            }
            Read::Whole(heard, length) => {
                ahead.drain(..length);
                heard
            }
        };
        let last = heard.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        let text = answer(&heard);
        book.lock().unwrap().heard.push(heard);
        if connection.write_all(text.as_bytes()).await.is_err() || last {
            return Vec::new();
        }
    }
}

fn answer(heard: &Heard) -> String {
    let text = format!("heard {}", heard.target);
    let body = if heard.method == "HEAD" { "" } else { &text };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len())
}
