//! An origin that follows a script for the first request it gets, and answers canaries as one should.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::AbortHandle,
};

use super::{
    row::latin,
    strict::{Heard, Read, request},
};

/// What follows the scripted bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The connection stays, and further requests are answered.
    Stays,
    Fin,
    Rst,
    /// These bytes again and again, as long as they are taken.
    Again(String),
    /// What comes is sent back.
    Echo,
    /// These bytes, once the client has its answer.
    Late(String),
}

#[derive(Debug, Clone)]
pub struct Script {
    pub say: String,
    pub end: End,
}

/// What came in, with the number of the connection that it came over.
type Book = Arc<Mutex<Vec<(usize, Heard)>>>;

pub struct Scripted {
    pub address: SocketAddr,
    heard: Book,
    /// The client has its answer.
    pub answered: Arc<Notify>,
    /// What was to come late is out.
    pub late: Arc<Notify>,
    accepting: AbortHandle,
}

impl Scripted {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Book::default();
        let (answered, late) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (kept, told, done) = (Arc::clone(&heard), Arc::clone(&answered), Arc::clone(&late));
        let accepting = tokio::spawn(async move {
            let mut count = 0;
            while let Ok((connection, _)) = listener.accept().await {
                count += 1;
                let (heard, script) = (Arc::clone(&kept), script.clone());
                let (told, done) = (Arc::clone(&told), Arc::clone(&done));
                tokio::spawn(async move { converse(connection, count, &script, &heard, &told, &done).await });
            }
        });
        Self { address, heard, answered, late, accepting: accepting.abort_handle() }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().map(|(_, heard)| heard.clone()).collect()
    }

    /// The connections that requests came over, in the order of the requests.
    pub fn connections(&self) -> Vec<usize> {
        self.heard.lock().unwrap().iter().map(|(connection, _)| *connection).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(
    mut connection: TcpStream,
    number: usize,
    script: &Script,
    heard: &Mutex<Vec<(usize, Heard)>>,
    answered: &Notify,
    late: &Notify,
) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut ahead = Vec::new();
    loop {
        let asked = next(&mut connection, &mut ahead).await?;
        let canary = asked.target.contains("/canary");
        heard.lock().unwrap().push((number, asked));
        if canary {
            connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary").await.ok()?;
            continue;
        }
        connection.write_all(&latin(&script.say)).await.ok()?;
        match &script.end {
            End::Stays => {}
            End::Fin => {
                connection.shutdown().await.ok()?;
                while connection.read_buf(&mut ahead).await.ok()? > 0 {}
                return None;
            }
            End::Rst => {
                // Mostly what was said is read before the reset overtakes it.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                connection.set_zero_linger().ok()?;
                return None;
            }
            End::Again(bytes) => {
                let many = latin(bytes).repeat(100);
                loop {
                    connection.write_all(&many).await.ok()?;
                }
            }
            End::Echo => {
                connection.write_all(&ahead).await.ok()?;
                let (mut from, mut to) = connection.split();
                tokio::io::copy(&mut from, &mut to).await.ok()?;
                to.shutdown().await.ok()?;
                return None;
            }
            End::Late(bytes) => {
                answered.notified().await;
                let _gone = connection.write_all(&latin(bytes)).await;
                late.notify_one();
            }
        }
    }
}

/// The next request; none where the connection ends or it is none.
async fn next(connection: &mut TcpStream, ahead: &mut Vec<u8>) -> Option<Heard> {
    loop {
        match request(ahead) {
            Read::Whole(heard, length) => {
                ahead.drain(..length);
                return Some(heard);
            }
            Read::Junk(_) => return None,
            Read::Part => {
                if connection.read_buf(ahead).await.ok()? == 0 {
                    return None;
                }
            }
        }
    }
}
