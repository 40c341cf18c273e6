//! Where a chunked body ends (RFC 9112, section 7.1): strictly, so that nobody can end it elsewhere.

/// The most digits that a chunk's size may have.
const MAX_DIGITS: u8 = 16;
/// The most bytes that all chunk extensions of a body may have, and so its trailers.
const MAX_ASIDE: u32 = 16 * 1024;

/// Where in a chunked body the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunks {
    at: At,
    /// Spaces may stand behind a size.
    spaces: bool,
    /// Bytes of extensions and trailers so far.
    aside: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind a chunk's size.
    Spaces(u64),
    Extension(u64),
    /// The LF behind a chunk's size.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the line that ends the body.
    LineStart,
    Trailer,
    TrailerLf,
    LastLf,
}

/// What a byte of a chunked body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Framing,
    Data,
    /// Lines of trailers, each with its end.
    Trailer,
    /// Framing whose last byte is the body's.
    End,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { at: At::Size { digits: 0, size: 0 }, spaces: false, aside: 0 }
    }
}

impl Chunks {
    /// The same for whoever writes the body anew: old servers put spaces behind a chunk's size.
    pub(crate) fn lenient() -> Self {
        Self { spaces: true, ..Self::default() }
    }

    /// What the next bytes are, and how many of them; none is ever both data and something else. What is wrong is told
    /// when nothing right lies before it.
    pub(crate) fn step(&mut self, bytes: &[u8]) -> Result<(usize, Part), &'static str> {
        if let At::Data(left) = &mut self.at {
            let step = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left -= step as u64;
            if *left == 0 {
                self.at = At::DataCr;
            }
            return Ok((step, Part::Data));
        }
        let mut part = None;
        for (before, byte) in bytes.iter().enumerate() {
            let next = match self.next(*byte) {
                Ok(next) => next,
                Err(flaw) => return part.map(|part| (before, part)).ok_or(flaw),
            };
            let of_trailer = matches!(next, Some(At::Trailer | At::TrailerLf)) || self.at == At::TrailerLf;
            let this = if of_trailer { Part::Trailer } else { Part::Framing };
            match part {
                Some(part) if part != this => return Ok((before, part)),
                _ => part = Some(this),
            }
            match next {
                None => return Ok((before + 1, Part::End)),
                Some(at) => self.at = at,
            }
            if matches!(self.at, At::Data(_)) {
                return Ok((before + 1, Part::Framing));
            }
        }
        Ok((bytes.len(), part.unwrap_or(Part::Framing)))
    }

    /// The state behind this byte; none where it was the last.
    fn next(&mut self, byte: u8) -> Result<Option<At>, &'static str> {
        let at = match (self.at, byte) {
            (At::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == MAX_DIGITS {
                    return Err("a chunk's size has more than 16 digits");
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                At::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (At::Size { digits: 0, .. }, _) => return Err("a chunk without its size"),
            (At::Size { size, .. } | At::Spaces(size), b';') => At::Extension(size),
            (At::Size { size, .. } | At::Spaces(size) | At::Extension(size), b'\r') => At::SizeEnd(size),
            (At::Size { size, .. } | At::Spaces(size), b' ' | b'\t') if self.spaces => At::Spaces(size),
            (At::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_aside()?;
                At::Extension(size)
            }
            (At::SizeEnd(0), b'\n') => At::LineStart,
            (At::SizeEnd(size), b'\n') => At::Data(size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::LineStart, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => return Ok(None),
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::LineStart,
            // A line that begins with white space would go on with the one before it.
            (At::LineStart, b'!'..=b'~') | (At::Trailer, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_aside()?;
                At::Trailer
            }
            _ => return Err("the chunked body is not framed as it should be"),
        };
        Ok(Some(at))
    }

    fn count_aside(&mut self) -> Result<(), &'static str> {
        self.aside += 1;
        if self.aside > MAX_ASIDE {
            return Err("chunk extensions and trailers of more than 16384 bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes the body has, if it is one; shown so many of them at a time.
    fn length_by(bytes: &[u8], piece: usize) -> Result<Option<usize>, ()> {
        let mut chunks = Chunks::default();
        for (number, shown) in bytes.chunks(piece).enumerate() {
            let mut taken = 0;
            while taken < shown.len() {
                let (step, part) = chunks.step(&shown[taken..]).map_err(drop)?;
                taken += step;
                if part == Part::End {
                    return Ok(Some(number * piece + taken));
                }
            }
        }
        Ok(None)
    }

    fn length(bytes: &[u8]) -> Result<Option<usize>, ()> {
        let at_once = length_by(bytes, bytes.len());
        assert_eq!(at_once, length_by(bytes, 1), "{:?}", String::from_utf8_lossy(bytes));
        at_once
    }

    #[test]
    fn a_chunked_body_ends_where_its_last_line_ends() {
        let whole: [&[u8]; 6] = [
            b"0\r\n\r\n",
            b"3\r\nabc\r\n0\r\n\r\n",
            b"A;x=\"y\"\r\n0123456789\r\n000\r\n\r\n",
            b"1\r\n\r\r\n1\r\n\n\r\n0\r\n\r\n",
            b"0\r\nx-sum: 1\r\ny:\r\n\r\n",
            b"00000000000000001\r\n",
        ];
        for body in &whole[..5] {
            let followed = [*body, b"GET /"].concat();
            assert_eq!(length(&followed), Ok(Some(body.len())), "{:?}", String::from_utf8_lossy(body));
            assert_eq!(length(&body[..body.len() - 1]), Ok(None));
        }
        assert_eq!(length(whole[5]), Err(()));
    }

    #[test]
    fn what_others_might_read_otherwise_is_refused() {
        let wrong: [&[u8]; 17] = [
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"1\rx",
            b"1;a\nb",
            b"1;\0\r\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\r0",
            b"0\r\n x: y\r\n\r\n",
            b"0\r\nx: y\n\r\n",
            b"0\r\n\n",
        ];
        for body in wrong {
            assert_eq!(length(body), Err(()), "{:?}", String::from_utf8_lossy(body));
        }
    }
}
