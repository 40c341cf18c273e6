//! Scripts beyond the table: any number of writes and words in any order, dropped at any poll.

use std::io::ErrorKind;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, FileFailurePersistence},
};

use super::{
    Tally, judge, table,
    way::Way,
    world::{Kind, Row, run},
};
use crate::upstream::script::{Plan, Read, Write};

const EVERYWHERE: [Read; 6] = [Read::Silence, Read::Fin, Read::Rst, Read::Junk, Read::Answer, Read::Part];
const OVER_TLS: [Read; 3] = [Read::Garbage, Read::CloseNotify, Read::NewKeys];

fn a_write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => Just(Write::Accept),
        2 => Just(Write::Later),
        1 => Just(Write::Pending),
        1 => Just(Write::Jam),
        4 => prop_oneof![1..64_usize, 16_300..16_500_usize].prop_map(Write::Short),
        3 => select(vec![ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::TimedOut, ErrorKind::Other])
            .prop_map(Write::Fail),
    ]
}

fn a_row(ways: &[Way]) -> impl Strategy<Value = Row> {
    let words = if ways[0].is_tls() { [&EVERYWHERE[..], &OVER_TLS].concat() } else { EVERYWHERE.to_vec() };
    let plan = (
        prop::collection::vec(a_write(), 0..8),
        prop::collection::vec(select(words), 0..6),
        select(table::WHENS.to_vec()),
    );
    let kind = select(vec![Kind::Bare, Kind::Body, Kind::Large]);
    (plan, any::<bool>(), kind, select(ways.to_vec())).prop_map(
        |((writes, reads, when), reused, kind, way)| Row {
            way,
            reused,
            kind,
            plan: Plan { writes, reads, when },
        },
    )
}

/// What failed once is tried first from then on.
fn config(cases: u32) -> Config {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions/attempt.txt");
    let persistence = FileFailurePersistence::Direct(kept);
    Config { cases, failure_persistence: Some(Box::new(persistence)), ..Config::default() }
}

fn holds(row: &Row, drop_after: Option<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        judge(row, &run(row, drop_after.unwrap_or(usize::MAX)).await, &mut Tally::default()).await;
    });
}

proptest! {
    #![proptest_config(config(2_000))]
    #[test]
    fn whatever_the_script_unwritten_means_that_nothing_was_written(
        row in a_row(&[Way::Plain, Way::Node]), drop_after in prop::option::of(0..12_usize),
    ) {
        holds(&row, drop_after);
    }
}

proptest! {
    #![proptest_config(config(500))]
    #[test]
    fn whatever_the_script_over_tls_unwritten_means_that_nothing_was_written(
        row in a_row(&[Way::Tls, Way::TlsNode, Way::NodeThenTls]), drop_after in prop::option::of(0..12_usize),
    ) {
        holds(&row, drop_after);
    }
}
