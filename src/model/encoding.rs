//! Percent-encoding (RFC 3986, section 2.1), read strictly.

use percent_encoding::percent_decode_str;

/// Decoded once, as UTF-8; nothing where a `%` is not followed by two hex digits.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let broken = bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'%' && !bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if broken { None } else { percent_decode_str(text).decode_utf8().ok().map(Into::into) }
}
