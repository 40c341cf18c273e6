//! The table: what becomes of each write × what the peer says × when × what is sent × on which connection.

use std::io::ErrorKind;

use super::{
    way::Way,
    world::{Kind, Row},
};
use crate::upstream::script::{Plan, Read, When, Write};

/// A whole TLS record as it is sent.
const RECORD: usize = 5 + 16_384 + 1 + 16;

pub(super) const PLAIN_WRITES: [Write; 8] = [
    Write::Jam,
    Write::Pending,
    Write::Later,
    Write::Fail(ErrorKind::BrokenPipe),
    Write::Fail(ErrorKind::ConnectionReset),
    Write::Fail(ErrorKind::Other),
    Write::Short(1),
    Write::Accept,
];
pub(super) const TLS_WRITES: [Write; 6] = [
    Write::Jam,
    Write::Pending,
    Write::Fail(ErrorKind::BrokenPipe),
    Write::Fail(ErrorKind::Other),
    Write::Short(1),
    Write::Accept,
];
/// Of a head of more than one record the first gets through whole.
const LARGE_WRITES: [Write; 5] =
    [Write::Jam, Write::Pending, Write::Fail(ErrorKind::Other), Write::Short(RECORD), Write::Accept];

/// What the peer does at its first word, and at its second.
const READS: [&[Read]; 10] = [
    &[Read::Silence],
    &[Read::Fin],
    &[Read::Rst],
    &[Read::Junk],
    &[Read::Answer],
    &[Read::Part],
    &[Read::Part, Read::Fin],
    &[Read::Part, Read::Rst],
    &[Read::Part, Read::Junk],
    &[Read::Part, Read::Answer],
];
/// The same where TLS adds ways of its own.
const TLS_READS: [&[Read]; 11] = [
    &[Read::Silence],
    &[Read::Fin],
    &[Read::Rst],
    &[Read::Junk],
    &[Read::Answer],
    &[Read::Part, Read::Fin],
    &[Read::Garbage],
    &[Read::CloseNotify],
    &[Read::NewKeys],
    &[Read::NewKeys, Read::Answer],
    &[Read::NewKeys, Read::Fin],
];
pub(super) const WHENS: [When; 3] = [When::AtOnce, When::Unnoticed, When::AfterAWrite];

/// All that the peer may do with these writes.
fn plans(writes: &[Write], reads: &[&[Read]]) -> Vec<Plan> {
    let mut plans = Vec::new();
    for &first in writes {
        // Nothing comes behind a jam.
        for &second in if first == Write::Jam { &[Write::Jam] } else { writes } {
            for &reads in reads {
                // Silence is the same whenever it begins.
                let whens = if reads == [Read::Silence] { &WHENS[2..] } else { &WHENS[..] };
                for &when in whens {
                    plans.push(Plan { writes: vec![first, second], reads: reads.to_vec(), when });
                }
            }
        }
    }
    plans
}

fn rows(way: Way, reused: bool, kind: Kind, plans: Vec<Plan>) -> impl Iterator<Item = Row> {
    plans.into_iter().map(move |plan| Row { way, reused, kind, plan })
}

pub(super) fn plain(reused: bool) -> Vec<Row> {
    let of = |kind, writes: &[Write]| rows(Way::Plain, reused, kind, plans(writes, &READS));
    of(Kind::Bare, &PLAIN_WRITES)
        .chain(of(Kind::Body, &PLAIN_WRITES))
        .chain(of(Kind::Large, &LARGE_WRITES))
        .collect()
}

pub(super) fn tls(reused: bool) -> Vec<Row> {
    let of = |kind, writes: &[Write]| rows(Way::Tls, reused, kind, plans(writes, &TLS_READS));
    of(Kind::Bare, &TLS_WRITES)
        .chain(of(Kind::Body, &TLS_WRITES))
        .chain(of(Kind::Large, &LARGE_WRITES))
        .collect()
}

/// A small table for the ways through a node.
pub(super) fn through_nodes() -> Vec<Row> {
    let writes = [Write::Jam, Write::Short(1), Write::Accept];
    let reads: [&[Read]; 4] = [&[Read::Silence], &[Read::Fin], &[Read::Rst], &[Read::Answer]];
    let ways = [Way::Node, Way::TlsNode, Way::NodeThenTls];
    let all = ways.into_iter().flat_map(|way| [false, true].map(|reused| (way, reused)));
    all.flat_map(|(way, reused)| rows(way, reused, Kind::Body, plans(&writes, &reads))).collect()
}
