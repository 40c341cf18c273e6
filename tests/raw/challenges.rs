//! Requests without the right token: 407, after which the connection goes on only where nothing is in doubt (RFC 9110,
//! section 11.7; RFC 9931, section 5).

use super::{
    judge::answers,
    origin::Strict,
    row::fill,
    run::{Pieces, exchange},
    strict::show,
};
use crate::support::{client::Way, resin::Resin, world::basic};

/// What is sent, the statuses that come back, and what the origin hears. `<B>` is the right header line.
const ROWS: [(&str, &str, &[u16], &[&str]); 12] = [
    (
        "nothing behind a challenged CONNECT but the right one",
        "<C>\r\n|<C><B>\r\nGET /in HTTP/1.1\r\nHost: <A>\r\nConnection: close\r\n\r\n",
        &[407, 200, 200],
        &["/in"],
    ),
    (
        "a request behind a challenged CONNECT",
        "<C>\r\nGET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n<B>\r\n",
        &[407],
        &[],
    ),
    (
        "a CONNECT behind a challenged CONNECT",
        "<C>\r\n<C><B>\r\nGET /hidden HTTP/1.1\r\nHost: <A>\r\n\r\n",
        &[407],
        &[],
    ),
    ("TLS behind a challenged CONNECT", "<C>\r\n\u{16}\u{3}\u{1}\0\u{5}hello", &[407], &[]),
    (
        "a request behind a CONNECT with a wrong token",
        "<C><W>\r\nGET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n<B>\r\n",
        &[407],
        &[],
    ),
    (
        "a request behind a CONNECT with two credentials",
        "<C><B><B>\r\nGET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n<B>\r\n",
        &[407],
        &[],
    ),
    (
        "a request behind a CONNECT with a body",
        "<C><B>Content-Length: 5\r\n\r\nhelloGET http://<A>/hidden HTTP/1.1\r\nHost: <A>\r\n<B>\r\n",
        &[400],
        &[],
    ),
    ("a request behind a challenged GET", "<G>\r\n<G><B><E>\r\n", &[407, 200], &["/it"]),
    (
        "a request behind a challenged POST",
        "POST http://<A>/it HTTP/1.1\r\nHost: <A>\r\nContent-Length: 5\r\n\r\nhello<G><B><E>\r\n",
        &[407, 200],
        &["/it"],
    ),
    ("a request behind a GET with a wrong token", "<G><W>\r\n<G><B><E>\r\n", &[407, 200], &["/it"]),
    (
        "a request behind a reverse GET with a wrong token",
        "GET /wrong/Default/http/<A>/hidden HTTP/1.1\r\nHost: <A>\r\n\r\n<G><B><E>\r\n",
        &[403, 200],
        &["/it"],
    ),
    (
        "a reverse token does not count on forward",
        "<G>\r\nGET /tok/Default/http/<A>/in HTTP/1.1\r\nHost: <A>\r\n<E>\r\n",
        &[407, 200],
        &["/in"],
    ),
];

/// `resin` has the token `tok`.
pub async fn run(resin: &Resin) {
    for (what, say, statuses, targets) in ROWS {
        let say = say
            .replace("<C>", "CONNECT <A> HTTP/1.1\r\nHost: <A>\r\n")
            .replace("<G>", "GET http://<A>/it HTTP/1.1\r\nHost: <A>\r\n")
            .replace("<B>", &format!("Proxy-Authorization: {}\r\n", basic("Default", "tok")))
            .replace("<W>", &format!("Proxy-Authorization: {}\r\n", basic("Default", "wrong")))
            .replace("<E>", "Connection: close\r\n");
        let origin = Strict::start().await;
        // A bar: what is behind it is sent once the challenge is there.
        let parts: Vec<Vec<u8>> =
            say.split('|').map(|part| fill(part, Way::Forward, origin.address)).collect();
        let transcript = match &parts[..] {
            [whole] => exchange(resin, whole.clone(), Pieces::One, false).await.unwrap(),
            [first, second] => in_two(resin, first, second).await,
            _ => unreachable!("one bar at most"),
        };
        let methods = if parts.len() == 2 { ["GET", "CONNECT", "GET"] } else { ["GET"; 3] };
        let got = answers(&transcript.bytes, &methods).unwrap_or_else(|error| panic!("{what}: {error}"));
        let seen: Vec<u16> = got.iter().map(|got| got.status).collect();
        assert_eq!(seen, statuses, "{what}: {:?}", show(&transcript.bytes));
        let heard: Vec<String> = origin.book().heard.iter().map(|heard| heard.target.clone()).collect();
        assert_eq!(heard, targets, "{what}");
    }
}

async fn in_two(resin: &Resin, first: &[u8], second: &[u8]) -> super::run::Transcript {
    use crate::support::{client::Client, wire::Length};
    let mut client = Client::of(resin).await;
    client.say(first).await;
    let head = client.head().await;
    let body = client.wire.body(Length::of_answer(&head, "CONNECT")).await.bytes;
    client.say(second).await;
    let rest = client.wire.body(Length::ToTheEnd).await.bytes;
    let head = format!("{}\r\nContent-Length: {}\r\n\r\n", head.line, body.len()).into_bytes();
    super::run::Transcript { bytes: [head, body, rest].concat(), reset: false }
}
