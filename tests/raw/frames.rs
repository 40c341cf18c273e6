//! HTTP/2 by the frame (RFC 9113, section 4) and as much of HPACK as it takes to say anything and to read a status.

use std::collections::BTreeMap;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The client's preface with no settings.
pub fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat()
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing, neither name nor value compressed: anything can be said like this.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let text = super::row::latin(text);
            length(text.len(), &mut block);
            block.extend(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(mut length: usize, into: &mut Vec<u8>) {
    if length < 127 {
        return into.push(u8::try_from(length).unwrap());
    }
    into.push(127);
    length -= 127;
    while length >= 128 {
        into.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    into.push(u8::try_from(length).unwrap());
}

/// What came of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stream {
    /// The first that is not interim.
    pub status: u16,
    pub data: Vec<u8>,
    /// It was ended with a frame's flag.
    pub ended: bool,
    /// The code of the reset.
    pub reset: Option<u32>,
}

/// What came of a connection.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub streams: BTreeMap<u32, Stream>,
    pub goaway: Option<u32>,
    /// Answers to PING.
    pub pongs: usize,
}

impl Seen {
    pub fn stream(&self, stream: u32) -> Stream {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Takes the whole frames off the front; SETTINGS and PING that want an answer are answered into `out`.
    pub fn read(&mut self, bytes: &mut Vec<u8>, out: &mut Vec<u8>) {
        while bytes.len() >= 9 {
            let length = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
            if bytes.len() < 9 + length {
                return;
            }
            let frame_bytes: Vec<u8> = bytes.drain(..9 + length).collect();
            let (kind, flags) = (frame_bytes[3], frame_bytes[4]);
            let stream = u32::from_be_bytes(frame_bytes[5..9].try_into().unwrap()) & 0x7fff_ffff;
            let payload = &frame_bytes[9..];
            let number = |at: usize| {
                payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()))
            };
            match kind {
                HEADERS => {
                    let seen = self.streams.entry(stream).or_default();
                    if seen.status < 200 {
                        seen.status = status(payload);
                    }
                    seen.ended |= flags & END_STREAM != 0;
                }
                DATA => {
                    let seen = self.streams.entry(stream).or_default();
                    seen.data.extend(payload);
                    seen.ended |= flags & END_STREAM != 0;
                }
                RST_STREAM => self.streams.entry(stream).or_default().reset = Some(number(0)),
                GOAWAY => self.goaway = Some(number(4)),
                SETTINGS if flags & 1 == 0 => out.extend(frame(SETTINGS, 1, 0, &[])),
                PING if flags & 1 == 0 => out.extend(frame(PING, 1, 0, payload)),
                PING => self.pongs += 1,
                _ => {}
            }
        }
    }
}

/// `:status` stands first in a block: indexed (8 to 14 of the static table) or as a literal of digits.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // Changes of the table's size may stand before it.
    let sizes = block.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
    match block[sizes..] {
        [first @ 0x88..=0x8e, ..] => KNOWN[usize::from(first - 0x88)],
        [0x48 | 0x08 | 0x18, length, ref rest @ ..] => {
            let text = &rest[..usize::from(length & 0x7f)];
            let digits = if length & 0x80 == 0 { text.to_vec() } else { huffman_digits(text) };
            String::from_utf8_lossy(&digits).parse().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Digits by their code (RFC 7541, appendix B): 0 to 2 have five bits, 3 to 9 have six.
fn huffman_digits(text: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut digits) = (0, Vec::new());
    while at + 5 <= bits.len() {
        let five = bits[at..at + 5].iter().fold(0, |code, bit| code << 1 | bit);
        if five <= 2 {
            digits.push(b'0' + five);
            at += 5;
            continue;
        }
        let Some(six) = bits.get(at..at + 6).map(|six| six.iter().fold(0, |code, bit| code << 1 | bit))
        else {
            break;
        };
        if !(0x19..=0x1f).contains(&six) {
            break;
        }
        digits.push(b'3' + six - 0x19);
        at += 6;
    }
    digits
}

#[test]
fn a_status_is_read_however_it_was_packed() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x3f, 0x20, 0x8d]), 404);
    assert_eq!(status(&[0x48, 3, b'5', b'0', b'2']), 502);
    // 302 as in RFC 7541, appendix C.6.1.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
}
