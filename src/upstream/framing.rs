//! Whether an answer ends in one place only, whoever reads it.

use http::{
    HeaderValue, Response, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};

/// Why nobody can be sure where this answer ends (RFC 9112, section 6.3): others would take one of the readings.
pub(super) fn ambiguous<B>(response: &Response<B>) -> Option<&'static str> {
    let mut lengths = response.headers().get_all(CONTENT_LENGTH).iter();
    let mut codings = response.headers().get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => None,
        (Some(_), Some(_)) => Some("the answer has a Content-Length beside its Transfer-Encoding"),
        (Some(length), None) if lengths.next().is_some() || !is_number(length) => {
            Some("the answer's Content-Length is not one number")
        }
        (None, Some(coding)) if codings.next().is_some() || !is_chunked(coding) => {
            Some("the answer's Transfer-Encoding is not chunked alone")
        }
        (None, Some(_)) if response.version() != Version::HTTP_11 => {
            Some("an answer of HTTP/1.0 has no Transfer-Encoding")
        }
        (Some(_), None) | (None, Some(_)) => None,
    }
}

fn is_number(value: &HeaderValue) -> bool {
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit)
}

fn is_chunked(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_can_be_ended_in_two_places_is_told() {
        let (length, coding) = ("content-length", "transfer-encoding");
        type Row<'t> = (Version, &'t [(&'t str, &'t str)], bool);
        let table: [Row<'_>; 14] = [
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &[(length, "5")], false),
            (Version::HTTP_10, &[(length, "0")], false),
            (Version::HTTP_11, &[(coding, "chunked")], false),
            (Version::HTTP_11, &[(coding, "Chunked")], false),
            (Version::HTTP_11, &[(length, "5"), (coding, "chunked")], true),
            (Version::HTTP_11, &[(length, "5"), (length, "5")], true),
            (Version::HTTP_11, &[(length, "5, 5")], true),
            (Version::HTTP_11, &[(length, "+5")], true),
            (Version::HTTP_11, &[(length, "")], true),
            (Version::HTTP_11, &[(coding, "gzip, chunked")], true),
            (Version::HTTP_11, &[(coding, "gzip"), (coding, "chunked")], true),
            (Version::HTTP_11, &[(coding, "identity")], true),
            (Version::HTTP_10, &[(coding, "chunked")], true),
        ];
        for (version, fields, told) in table {
            let mut response = Response::builder().version(version);
            for (name, value) in fields {
                response = response.header(*name, *value);
            }
            assert_eq!(ambiguous(&response.body(()).unwrap()).is_some(), told, "{version:?} {fields:?}");
        }
    }
}
