//! What reads bytes of strangers, each with what must hold whatever they are. For `fuzz/` and `tests/fuzz.rs` alone.
//!
//! An entry point takes any bytes and panics where a property does not hold.

use std::{str, time::UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message;

use crate::{
    control::{filter, page, status::Violations},
    model::{Authority, Fields, Host, NodeFilter, NodeHash, NodeUri, Secret, percent_decode},
    proto::{self, RequestLogFilter},
    proxy::{
        http1::{HeadLimits, Reader},
        identity::Identity,
        target::{self, LastAim, ReversePath, Target},
    },
    upstream::{Next, handshake},
};

/// An entry point by the name of its target and of its corpus.
pub type EntryPoint = (&'static str, fn(&[u8]));

/// All of them.
pub const ENTRY_POINTS: [EntryPoint; 10] = [
    ("authority", authority),
    ("client_bytes", client_bytes),
    ("connect_answer", connect_answer),
    ("cursor", cursor),
    ("filter", filter),
    ("forward_target", forward_target),
    ("identity", identity),
    ("node_uri", node_uri),
    ("page_token", page_token),
    ("reverse_path", reverse_path),
];

/// A host and a port: what is taken is shown so that it is taken again as the same, and holds nothing that could end it.
pub fn authority(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    for default in [None, Some(80)] {
        if let Ok(taken) = Authority::parse(text, default) {
            check_host(&taken.host);
            assert_ne!(taken.port, 0);
            assert_eq!(Authority::parse(&taken.to_string(), None).as_ref(), Ok(&taken));
        }
    }
}

fn check_host(host: &Host) {
    let shown = host.to_string();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:".contains(&byte);
    assert!(!shown.is_empty() && shown.len() <= 253, "{shown:?}");
    assert!(shown.bytes().all(allowed), "{shown:?}");
    assert!(matches!(host, Host::Ip(_)) || !shown.contains(':'), "{shown:?}");
}

/// The reverse path: a target that comes out names a clean host, ends as the path ended, and is the same again when its
/// parts are encoded anew.
pub fn reverse_path(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let path = ReversePath::split(&uri);
    let asked = uri.path_and_query().map_or("", |path| path.as_str());
    let identity = path.identity(&Secret::new(""));
    assert!(path.identity(&Secret::new("\n")).is_err() || asked.to_ascii_lowercase().starts_with("/%0a"));
    let Ok(target) = path.target(&LastAim::default()) else { return };
    check_target(&target);
    let onward = target.path.as_str();
    assert!(asked.ends_with(onward) || asked.ends_with(&onward[1..]), "{onward:?} of {asked:?}");

    let Ok(Identity { platform, account }) = identity else { return };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let scheme = if target.aim.destination.tls { "https" } else { "http" };
    let who = encode(&format!("{platform}.{account}"));
    let again = format!("/t/{who}/{scheme}/{}{onward}", encode(target.aim.host()));
    let Ok(again) = Uri::try_from(again) else { panic!("{target:?} cannot be written anew") };
    let path = ReversePath::split(&again);
    assert_eq!(path.identity(&Secret::new("t")), Ok(Identity { platform, account }));
    let same = path
        .target(&LastAim::default())
        .is_ok_and(|found| found.url() == target.url() && found.aim.host == target.aim.host);
    assert!(same, "{target:?} is another when it is written anew");
}

/// The forward target and that of CONNECT.
pub fn forward_target(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let forward = |uri: &Uri| target::forward(uri, false, &LastAim::default());
    if let Ok(target) = forward(&uri) {
        check_target(&target);
        let Ok(again) = Uri::try_from(target.url()) else { panic!("{target:?} is no URL") };
        let same = forward(&again).is_ok_and(|found| found.url() == target.url());
        assert!(same, "{target:?} is another when it is asked for again");
    }
    if let Ok(authority) = target::connect(&uri) {
        check_host(&authority.host);
        assert!(uri.scheme().is_none() && uri.path_and_query().is_none_or(|path| path.as_str().is_empty()));
    }
}

fn check_target(target: &Target) {
    check_host(&target.aim.destination.authority.host);
    let path = target.path.as_str();
    assert!(path.starts_with('/'), "{path:?}");
    let clean = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    assert!(clean(path) && clean(target.aim.host()) && !path.contains('#'), "{target:?}");
    assert!(!target.aim.host().contains(['/', '@', '?', '#', '\\', ',']), "{target:?}");
    let default = if target.aim.destination.tls { 443 } else { 80 };
    assert_eq!(
        Authority::parse(target.aim.host(), Some(default)).as_ref(),
        Ok(&target.aim.destination.authority)
    );
}

/// Credentials: with a token only those that carry it count, and the identity is cut as it is without one.
pub fn identity(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let Identity { platform, account } = Identity::parse(text);
        assert!(!platform.is_empty() && !platform.contains(['.', ':']));
        assert!(text.ends_with(&account));
        let value = format!("bAsIc {}", STANDARD.encode(format!("{text}:tok")));
        let found = of_proxy(value.as_bytes(), "tok");
        assert_eq!(found, Some(Identity { platform, account }));
    }
    let open = of_proxy(data, "");
    assert_eq!(of_proxy(data, "a token that nobody guesses"), None);
    if let Some(found) = of_proxy(data, "tok") {
        assert_eq!(open, Some(found));
    }
}

fn of_proxy(value: &[u8], token: &str) -> Option<Identity> {
    let mut fields = Fields::default();
    fields.push("proxy-authorization", value);
    Identity::of_proxy(&fields, &Secret::new(token)).ok()
}

/// A node's URI: what is taken is the same node when it is written down and read, and shows its password nowhere else.
pub fn node_uri(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let taken: NodeUri = match text.parse() {
        Ok(taken) => taken,
        Err(_) => return,
    };
    let written = taken.config.uri_with_secrets();
    let again: Result<NodeUri, _> = written.parse();
    assert_eq!(again.map(|again| again.config).as_ref(), Ok(&taken.config), "{written:?}");
    assert!(written.bytes().all(|byte| byte.is_ascii_graphic()), "{written:?}");
    let shown: Result<NodeUri, _> = taken.config.uri().parse();
    assert!(shown.is_ok_and(|shown| !shown.config.uri_with_secrets().contains('@')));
    assert!(!taken.config.uri().contains('@'));
    let hash = taken.config.hash();
    assert_eq!(NodeHash::parse(&hash.to_string()), Some(hash));
    assert!(taken.tag.is_none_or(|tag| (1..=256).contains(&tag.len()) && !tag.chars().any(char::is_control)));
}

/// A node's answer to CONNECT: a head ends where it ends, whatever stands behind it and however it came.
pub fn connect_answer(data: &[u8]) {
    let Ok(Some((status, length))) = handshake::status(data) else { return };
    assert!(length <= data.len() && length <= 1024 * 1024);
    assert!((100..=999).contains(&status), "{status}");
    let head = &data[..length];
    assert!(head.ends_with(b"\n") && !head.contains(&0));
    let same = |bytes: &[u8]| handshake::status(bytes).is_ok_and(|found| found == Some((status, length)));
    assert!(same(head) && same(&[data, b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"].concat()));
    for part in [length - 1, length / 2] {
        assert!(handshake::status(&head[..part]).is_ok_and(|found| found.is_none()), "{part} of {length}");
    }
}

/// A page token: good with the filter that it was made for and with no other, and nothing else is.
pub fn page_token(data: &[u8]) {
    let (filter, place) = data.split_at(data.len() / 2);
    let read = |token: &str, filter: &[u8]| {
        let mut violations = Violations::default();
        let place = page::place(token, filter, &mut violations);
        violations.check().is_ok().then_some(place).flatten()
    };
    let token = page::token(filter, place);
    assert_eq!(read(&token, filter).as_deref(), Some(place));
    assert_eq!(read(&token, &[filter, b"x"].concat()), None);
    if let Ok(text) = str::from_utf8(data)
        && let Some(place) = read(text, b"")
    {
        assert_eq!(page::token(b"", &place), text);
    }
    if let Some((time, id)) = page::read_record_place(data) {
        assert!(time >= UNIX_EPOCH);
        assert_eq!(page::record_place(time, id), data);
    }
}

/// A stream's cursor: one that is read is shown as it was written.
pub fn cursor(data: &[u8]) {
    let read = |text: &str| {
        let mut violations = Violations::default();
        let cursor = page::read_cursor(text, &mut violations);
        assert_eq!(cursor.is_some(), violations.check().is_ok());
        cursor
    };
    if let Some(cursor) = str::from_utf8(data).ok().and_then(read) {
        assert_eq!(page::show_cursor(cursor).as_bytes(), data);
    }
    if let Some((xid, rest)) = data.split_first_chunk()
        && let Some((seq, _)) = rest.split_first_chunk()
    {
        let cursor = crate::store::Cursor { xid: u64::from_be_bytes(*xid), seq: i64::from_be_bytes(*seq) };
        let shown = page::show_cursor(cursor);
        assert_eq!(read(&shown), Some(cursor));
        assert_eq!(read(&shown[1..]), None);
    }
}

/// Filters: over records as a caller's message, over nodes as a regular expression, and what is percent-encoded.
pub fn filter(data: &[u8]) {
    if let Ok(message) = RequestLogFilter::decode(data) {
        let mut violations = Violations::default();
        let filter = filter::parse(Some(&message), &mut violations);
        if violations.check().is_ok() {
            let hash = filter.node_hash.map(|hash| hash.to_string());
            assert_eq!(hash, message.node_hash.as_ref().map(|hash| hash.to_ascii_lowercase()));
            assert_eq!(filter.proxy_type.is_some(), message.proxy_type.is_some());
            assert_ne!(message.proxy_type, Some(proto::ProxyType::Unspecified as i32));
            assert_eq!(filter.started_after.is_some(), message.started_after.is_some());
            assert_eq!(filter.egress_ip.is_some(), message.egress_ip.is_some());
            assert!(filter.http_status.is_none_or(|status| (0..=999).contains(&status)));
            assert!(filter.min_retry_attempts.is_none_or(|least| least >= 0));
        }
        let printed = filter::fingerprint(Some(&message));
        assert_eq!(RequestLogFilter::decode(&printed[..]).as_ref(), Ok(&message));
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(filter) = NodeFilter::parse(text) {
        assert_eq!(filter.as_str(), text);
    }
    let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    assert_eq!(percent_decode(&encoded).as_deref(), Some(text));
}

/// A client's bytes: the same requests come out of them however they come, with the same ends.
pub fn client_bytes(data: &[u8]) {
    let at_once = taken(data, data.len().max(1));
    assert_eq!(taken(data, 1), at_once);
    assert_eq!(taken(data, 7), at_once);
}

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 32, line: 1024 };

/// What becomes of bytes that come in such pieces.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    /// Where each request ends that is whole, with the empty lines before it.
    ends: Vec<usize>,
    bytes: usize,
    refused: bool,
}

fn taken(data: &[u8], piece: usize) -> Taken {
    let (mut reader, mut read, mut taken) = (Reader::new(LIMITS), BytesMut::new(), Taken::default());
    let mut come = 0;
    for bytes in data.chunks(piece) {
        read.extend_from_slice(bytes);
        come += bytes.len();
        while let Some(good) = step(&mut reader, &mut read) {
            taken.bytes = come - read.len();
            match good {
                Ok(true) => taken.ends.push(taken.bytes),
                Ok(false) => {}
                Err(()) => return Taken { refused: true, ..taken },
            }
        }
        taken.bytes = come - read.len();
    }
    taken
}

/// Takes what comes next, where there is enough of it: whether it ends a request.
fn step(reader: &mut Reader, read: &mut BytesMut) -> Option<Result<bool, ()>> {
    let taken = if reader.body().is_over() {
        reader.take_head(read).map_err(drop).transpose()?.map(drop)
    } else {
        match reader.take_body(read) {
            Ok(Next::More) => return None,
            Ok(_) => Ok(()),
            Err(_) => Err(()),
        }
    };
    Some(taken.map(|()| reader.body().is_over()))
}

/// Where each request ends that is taken whole, with the empty lines before it.
#[must_use]
pub fn requests(data: &[u8]) -> Vec<usize> {
    taken(data, 1).ends
}
