//! What happens to each request: drawn from the seed and the request's number alone, so that a run can be had again.

use fastrand::Rng;

use super::{super::support::client::Way, fuse::Cut};

/// The whole script of one request.
#[derive(Debug, Clone)]
pub struct Plan {
    pub way: Way,
    /// The origin is an https one.
    pub secure: bool,
    pub load: Load,
    pub client: Wish,
    /// The client sends a few bytes at a time.
    pub trickles: bool,
    /// The first dials meet these; those beyond are served.
    pub dials: Vec<Manner>,
    pub deed: Deed,
    /// The client leaves this many microseconds after its request was first seen by anybody.
    pub leaves: Option<u64>,
}

/// What the client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    Get,
    Post(usize),
    /// Chunked, with trailers.
    Chunks(usize),
}

/// Over which connection the client sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Kept,
    Fresh,
    Http2,
}

/// What becomes of a call, at a node; or at the origin, where it is called directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// Hung up as soon as it is taken.
    Close(bool),
    /// Hung up when the first bytes have come.
    CloseLater(bool),
    /// Never a word.
    Swallow,
    /// The node refuses the tunnel.
    Refuse,
    /// The node says what is no protocol at all.
    Garbage,
    /// The node's TLS, or the origin's where the node has none, breaks off within its handshake.
    TlsCut(Cut),
    /// TLS with the origin breaks off behind a node that does well.
    OriginTlsCut(Cut),
    /// The node opens the tunnel and hangs up after so many microseconds.
    YesThenClose(u64, bool),
    /// The node opens the tunnel, takes so many bytes in and hangs up.
    TakesThenClose(Cut),
    /// The node breaks off after so many bytes of what comes back.
    RelayCut(Cut),
}

/// What the origin does about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    Answer(Shape, After),
    /// Answers so many milliseconds later.
    Late(u64),
    /// One byte at a time.
    Drip,
    /// Hangs up when so many bytes of the request were read.
    CutRequest(Cut),
    /// Hangs up when the head and so many bytes of the body were read.
    CutBody(Cut),
    /// Reads it all, and hangs up.
    CutBefore(bool),
    /// Hangs up after so many bytes of the answer, within whatever they are: head, body, TLS record.
    CutAnswer(Shape, Cut),
    /// Answers when the head is there, and resets.
    Early,
    Silence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Small,
    Large,
    Chunks,
    Empty,
    /// Small, and says that the connection ends.
    Last,
}

/// What becomes of the connection behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    /// Hung up so many microseconds later.
    Close(u64, bool),
}

impl Plan {
    pub fn draw(seed: u64, id: usize) -> Self {
        let mut dice = Rng::with_seed(seed.wrapping_add((id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let dice = &mut dice;
        let load = match dice.u8(0..10) {
            0..5 => Load::Get,
            5..8 => Load::Post(length(dice)),
            _ => Load::Chunks(length(dice)),
        };
        let client = match dice.u8(0..10) {
            0..5 => Wish::Kept,
            5..7 => Wish::Fresh,
            _ => Wish::Http2,
        };
        Self {
            way: if dice.bool() { Way::Forward } else { Way::Reverse },
            secure: dice.u8(0..10) < 4,
            load,
            client,
            trickles: dice.u8(0..20) == 0,
            dials: (0..dice.usize(0..4)).map(|_| manner(dice)).collect(),
            deed: deed(dice),
            leaves: (dice.u8(0..40) == 0).then(|| dice.u64(0..1500)),
        }
    }
}

/// A body of a few bytes, or of several reads.
fn length(dice: &mut Rng) -> usize {
    if dice.u8(0..4) == 0 { dice.usize(1..60_000) } else { dice.usize(1..200) }
}

fn cut(dice: &mut Rng, below: usize) -> Cut {
    Cut { at: dice.usize(..below), rude: dice.bool() }
}

fn manner(dice: &mut Rng) -> Manner {
    match dice.u16(0..200) {
        0..90 => Manner::Good,
        90..102 => Manner::Close(dice.bool()),
        102..114 => Manner::CloseLater(dice.bool()),
        114..128 => Manner::Refuse,
        128..136 => Manner::Garbage,
        136..150 => Manner::TlsCut(cut(dice, 1400)),
        150..162 => Manner::OriginTlsCut(cut(dice, 1400)),
        162..176 => Manner::YesThenClose(dice.u64(0..300), dice.bool()),
        176..188 => Manner::TakesThenClose(cut(dice, 250)),
        188..199 => Manner::RelayCut(cut(dice, 1600)),
        _ => Manner::Swallow,
    }
}

fn deed(dice: &mut Rng) -> Deed {
    let shape = match dice.u8(0..8) {
        0..4 => Shape::Small,
        4 => Shape::Large,
        5..7 => Shape::Chunks,
        _ => Shape::Empty,
    };
    match dice.u16(0..400) {
        0..220 => Deed::Answer(shape, After::Keep),
        220..290 => Deed::Answer(shape, After::Close(dice.u64(0..400), dice.bool())),
        290..310 => Deed::Answer(Shape::Last, After::Close(0, false)),
        310..314 => Deed::Drip,
        314..318 => Deed::Late(dice.u64(1..50)),
        318..338 => Deed::CutRequest(cut(dice, 300)),
        338..350 => Deed::CutBody(cut(dice, 400)),
        350..368 => Deed::CutBefore(dice.bool()),
        368..390 => Deed::CutAnswer(shape, cut(dice, 140)),
        390..399 => Deed::Early,
        _ => Deed::Silence,
    }
}
