//! Pages and places: sizes, page tokens that are bound to their filter, stream cursors. All opaque to callers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use tonic::Status;
use uuid::Uuid;

use super::status::Violations;
use crate::store::Cursor;

const DEFAULT_SIZE: usize = 100;
const LARGEST_SIZE: usize = 1000;
const CURSOR_VERSION: u8 = 1;

/// 0 is the default, too many is the most.
pub(super) fn size(page_size: i32, violations: &mut Violations) -> usize {
    match usize::try_from(page_size) {
        Ok(0) => DEFAULT_SIZE,
        Ok(size) => size.min(LARGEST_SIZE),
        Err(_) => {
            violations.add(
                "page_size",
                format!("{page_size} is negative; 0 (the default) to {LARGEST_SIZE} are allowed"),
            );
            DEFAULT_SIZE
        }
    }
}

/// A token for the page behind `place`, good only with the same `filter`.
pub(super) fn token(filter: &[u8], place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&check(filter, place), place].concat())
}

/// The place that a token stands for; none for the first page.
pub(super) fn place(page_token: &str, filter: &[u8]) -> Result<Option<Vec<u8>>, Status> {
    if page_token.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        let what = "not a next_page_token of a call with the same filter";
        Violations::one("page_token", what)
    };
    let bytes = URL_SAFE_NO_PAD.decode(page_token).map_err(|_| wrong())?;
    let (given, place) = bytes.split_at_checked(8).ok_or_else(wrong)?;
    if given == check(filter, place) { Ok(Some(place.to_vec())) } else { Err(wrong()) }
}

fn check(filter: &[u8], place: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update((filter.len() as u64).to_be_bytes());
    hash.update(filter);
    hash.update(place);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    first
}

/// The place of a record in the order of newest first.
pub(super) fn record_place(started_at: SystemTime, id: Uuid) -> Vec<u8> {
    let micros = started_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
    [&micros.to_be_bytes()[..], id.as_bytes()].concat()
}

pub(super) fn read_record_place(place: &[u8]) -> Option<(SystemTime, Uuid)> {
    let (micros, id) = place.split_at_checked(8)?;
    let micros = u64::from_be_bytes(micros.try_into().ok()?);
    Some((UNIX_EPOCH + Duration::from_micros(micros), Uuid::from_slice(id).ok()?))
}

/// A stream's cursor as callers see it.
pub(super) fn show_cursor(cursor: Cursor) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend(cursor.xid.to_be_bytes());
    bytes.extend(cursor.seq.to_be_bytes());
    let check = check(b"cursor", &bytes);
    bytes.extend(&check[..4]);
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn read_cursor(text: &str) -> Result<Cursor, Status> {
    let wrong = || Violations::one("cursor", "not a cursor of an earlier answer");
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    if bytes.len() != 21 || bytes[0] != CURSOR_VERSION || bytes[17..] != check(b"cursor", &bytes[..17])[..4] {
        return Err(wrong());
    }
    let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_be_bytes).map_err(|_| wrong());
    Ok(Cursor { xid: number(1)?, seq: i64::from_be_bytes(number(9)?.to_be_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_only_with_its_own_filter() {
        let token = token(b"filter", b"place");
        assert_eq!(place(&token, b"filter").unwrap().as_deref(), Some(&b"place"[..]));
        assert!(place(&token, b"other").is_err());
        for wrong in ["x", "AAAA", "%%%", &token[1..], &format!("{token}A")] {
            assert!(place(wrong, b"filter").is_err(), "{wrong}");
        }
        assert_eq!(place("", b"filter").unwrap(), None);
    }

    #[test]
    fn a_cursor_is_read_back_and_anything_else_is_refused() {
        for cursor in [Cursor::START, Cursor { xid: u64::MAX, seq: i64::MAX }, Cursor { xid: 7, seq: -1 }] {
            assert_eq!(read_cursor(&show_cursor(cursor)).unwrap(), cursor);
        }
        let shown = show_cursor(Cursor { xid: 1, seq: 2 });
        for wrong in ["", "x", &shown[1..], &shown.replace('A', "B"), &format!("{shown}AA")] {
            assert!(read_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
