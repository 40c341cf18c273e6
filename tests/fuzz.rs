//! The entry points of `fuzz/` on stable: over the regression corpus, over what becomes of it, and over anything.
//!
//! `RESIN_FUZZ_CASES` is how many inputs each gets beside the corpus.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

#[allow(clippy::unwrap_used, dead_code, unreachable_pub)] // another test binary uses a part of it too
mod raw {
    pub mod strict;
}

use std::{
    env, fs, panic,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use raw::strict::{Read, request};
use resin::fuzzing::{ENTRY_POINTS, EntryPoint, requests};

/// What readers stumble over.
const TOKENS: [&str; 40] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "/",
    "//",
    "@",
    "#",
    "?",
    "%",
    "%00",
    "%0d%0a",
    "%2f",
    "%40",
    "[",
    "]",
    "[::1]",
    "+80",
    ":0",
    ":65536",
    "..",
    "\\",
    "0x",
    "ffffffffffffffff",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: b\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "Basic ",
    "\u{ff}",
    "=",
    "-1",
    "0\r\n\r\n",
];

fn cases() -> u32 {
    env::var("RESIN_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1500)
}

fn runner() -> TestRunner {
    TestRunner::new(Config { cases: cases(), failure_persistence: None, ..Config::default() })
}

/// The inputs that are kept, with their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let read = |path: &Path| (path.display().to_string(), fs::read(path).unwrap());
    files.map(|file| read(&file.unwrap().path())).collect()
}

/// A change to an input: a place, how much goes, and what comes instead.
fn edits() -> impl Strategy<Value = Vec<(Index, usize, Vec<u8>)>> {
    let new = prop_oneof![
        4 => select(&TOKENS[..]).prop_map(|token| token.chars().map(|letter| letter as u8).collect()),
        2 => vec(any::<u8>(), 0..4),
        1 => vec(any::<u8>(), 0..40),
    ];
    vec((any::<Index>(), 0..6_usize, new), 0..5)
}

fn edited(mut input: Vec<u8>, edits: Vec<(Index, usize, Vec<u8>)>) -> Vec<u8> {
    for (place, gone, new) in edits {
        let from = place.index(input.len() + 1);
        let to = (from + gone).min(input.len());
        input.splice(from..to, new);
    }
    input
}

fn everywhere(check: impl Fn(EntryPoint)) {
    for entry_point in ENTRY_POINTS {
        check(entry_point);
    }
}

#[test]
fn the_corpus_holds() {
    let mut count = 0;
    everywhere(|(name, entry_point)| {
        for (file, input) in corpus(name) {
            if panic::catch_unwind(|| entry_point(&input)).is_err() {
                panic!("{file} does not hold");
            }
        }
    });
    everywhere(|(name, _)| assert!(!corpus(name).is_empty(), "{name} has no corpus"));
    for (name, _) in ENTRY_POINTS {
        count += corpus(name).len();
    }
    println!("{count} inputs of {} entry points", ENTRY_POINTS.len());
}

#[test]
fn what_becomes_of_the_corpus_holds() {
    everywhere(|(name, entry_point)| {
        let seeds: Vec<Vec<u8>> = corpus(name).into_iter().map(|(_, input)| input).collect();
        let inputs = (select(seeds), edits()).prop_map(|(seed, edits)| edited(seed, edits));
        let held = runner().run(&inputs, |input| {
            entry_point(&input);
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{name}: {error}"));
    });
}

#[test]
fn anything_holds() {
    everywhere(|(name, entry_point)| {
        let bytes = vec(any::<u8>(), 0..200);
        let words = vec(select(&TOKENS[..]), 0..12).prop_map(|words| words.concat().into_bytes());
        let letters = "[ -~]{0,60}".prop_map(String::into_bytes);
        let text = "\\PC{0,40}".prop_map(String::into_bytes);
        let held = runner().run(&prop_oneof![bytes, words, letters, text], |input| {
            entry_point(&input);
            Ok(())
        });
        held.unwrap_or_else(|error| panic!("{name}: {error}"));
    });
}

/// Mostly of the good ones.
fn mostly(
    good: &'static [&'static str],
    bad: &'static [&'static str],
) -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![15 => select(good), 1 => select(bad)]
}

/// A request that is good or nearly so.
fn nearly_a_request() -> impl Strategy<Value = String> {
    let method = mostly(&["GET", "POST", "HEAD", "OPTIONS"], &["G T", "", "CONNECT"]);
    let target = mostly(&["/", "/a?b", "http://a/"], &["*", "/a b", "/#", "a:80"]);
    let version = mostly(&["HTTP/1.1"], &["HTTP/1.2", "HTTP/1.1 ", "http/1.1"]);
    let end = mostly(&["\r\n"], &["\n", "\r", "\r\r\n", "\n\r"]);
    let field = mostly(
        &["X: y", "X:y", "X: \t y", "X:", "Connection: close", "X-Content-Length: 5"],
        &["X : y", " X: y", "X", "X: \u{7f}", "Host: b", "Content-Length: 5", "Transfer-Encoding: chunked"],
    );
    let framed = mostly(
        &[
            "\r\n",
            "Content-Length: 5\r\n\r\nhello",
            "Content-Length: 05\r\n\r\nhello",
            "Content-Length: 0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "transfer-encoding:Chunked\r\n\r\n05\r\nhello\r\n00\r\nX: y\r\n\r\n",
        ],
        &[
            "Content-Length: 5\r\n\r\nhell",
            "Content-Length: 4\r\n\r\nhello",
            "Content-Length: 5, 5\r\n\r\nhello",
            "Content-Length: +5\r\n\r\nhello",
            "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        ],
    );
    let fields = vec((field, end.clone()), 0..4);
    (method, target, version, end, fields, framed).prop_map(
        |(method, target, version, end, fields, framed)| {
            let fields: String = fields.into_iter().map(|(field, end)| format!("{field}{end}")).collect();
            format!("{method} {target} {version}{end}Host: a\r\n{fields}{framed}")
        },
    )
}

#[test]
fn what_is_taken_as_a_request_a_strict_reader_reads_alike() {
    let inputs = vec(nearly_a_request(), 1..4).prop_map(|requests| requests.concat().into_bytes());
    let mut several =
        TestRunner::new(Config { cases: cases() * 3, failure_persistence: None, ..Config::default() });
    let read = AtomicU32::new(0);
    let held = several.run(&inputs, |input| {
        let mut from = 0;
        for end in requests(&input) {
            read.fetch_add(1, Ordering::Relaxed);
            let passed = &input[from..end];
            let lines = passed.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
            match request(&passed[lines..]) {
                Read::Whole(_, length) => prop_assert_eq!(length, passed.len() - lines),
                other => prop_assert!(false, "{:?} is {other:?}", String::from_utf8_lossy(passed)),
            }
            from = end;
        }
        Ok(())
    });
    held.unwrap_or_else(|error| panic!("{error}"));
    let read = read.into_inner();
    println!("{read} requests of {} inputs were taken and read alike", cases() * 3);
    assert!(read > cases() / 2, "hardly any request was taken: {read}");
}
