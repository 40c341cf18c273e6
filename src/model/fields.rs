//! A head's fields: the text that came, and a note of where each of them lies and what it means to a proxy.
//!
//! Why not a map of headers: it makes a name, a value and a hash of each field, and most are only passed on. What is
//! passed on keeps its order and its case.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// What a field's name means here. Those that are only passed on are all one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    /// Tells a server who its client's clients are: `Forwarded`, `Via`, `X-Forwarded-*`, `X-Real-IP`, …
    Forwarding,
    Host,
    KeepAlive,
    MaxForwards,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    ProxyAuthorization,
    ProxyConnection,
    /// `X-Resin-*`.
    Resin,
    ResinAccount,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    Other,
}

impl Name {
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        // Length and first letter leave one name at most, and mostly none.
        let (text, known) = match (name.len(), first | 0x20) {
            (2, b't') => ("te", Self::Te),
            (3, b'v') => ("via", Self::Forwarding),
            (4, b'h') => ("host", Self::Host),
            (4, b'd') => ("date", Self::Date),
            (6, b'c') => ("cookie", Self::Cookie),
            (6, b'e') => ("expect", Self::Expect),
            (7, b't') => ("trailer", Self::Trailer),
            (7, b'u') => ("upgrade", Self::Upgrade),
            (9, b'f') => ("forwarded", Self::Forwarding),
            (9, b'x') => ("x-real-ip", Self::Forwarding),
            (10, b'c') => ("connection", Self::Connection),
            (10, b'k') => ("keep-alive", Self::KeepAlive),
            (10, b't') => ("tracestate", Self::Tracestate),
            (11, b't') => ("traceparent", Self::Traceparent),
            (11, b'x') => ("x-client-ip", Self::Forwarding),
            (12, b'm') => ("max-forwards", Self::MaxForwards),
            (14, b'c') => ("content-length", Self::ContentLength),
            (14, b't') => ("true-client-ip", Self::Forwarding),
            (15, b'x') => ("x-resin-account", Self::ResinAccount),
            (16, b'p') => ("proxy-connection", Self::ProxyConnection),
            (16, b'c') => ("cf-connecting-ip", Self::Forwarding),
            (17, b't') => ("transfer-encoding", Self::TransferEncoding),
            (18, b'p') => ("proxy-authenticate", Self::ProxyAuthenticate),
            (19, b'p') => ("proxy-authorization", Self::ProxyAuthorization),
            (25, b'p') => ("proxy-authentication-info", Self::ProxyAuthenticationInfo),
            _ => ("", Self::Other),
        };
        if name.eq_ignore_ascii_case(text.as_bytes()) {
            return known;
        }
        let begins = |with: &str| {
            name.get(..with.len()).is_some_and(|front| front.eq_ignore_ascii_case(with.as_bytes()))
        };
        match first {
            b'x' | b'X' if begins("x-resin-") => Self::Resin,
            b'x' | b'X' if begins("x-forwarded-") => Self::Forwarding,
            _ => Self::Other,
        }
    }
}

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'f> {
    pub name: Name,
    /// The name as it was written.
    pub written: &'f [u8],
    pub value: &'f [u8],
}

/// The fields of one head, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    text: Bytes,
    /// Lines of our own. They lie as if they stood behind the text.
    added: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a field lies.
#[derive(Debug, Clone)]
struct Line {
    name: Name,
    /// The line is written as we would write it, so it can be passed on as it is.
    tidy: bool,
    written: (u32, u32),
    value: (u32, u32),
}

/// Where a part lies. What is empty may lie anywhere.
fn part_of(text: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let from = part.as_ptr() as usize - text.as_ptr() as usize;
    from..from + part.len()
}

/// No head comes near the limit of this.
fn place(range: Range<usize>) -> (u32, u32) {
    let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    (at(range.start), at(range.end))
}

impl Fields {
    /// With room for so many.
    pub fn with_room(fields: usize) -> Self {
        Self { lines: Vec::with_capacity(fields), ..Self::default() }
    }

    /// Notes a field whose name and value are parts of `text`, which is yet to be given (see [`Self::lie_in`]): what it is.
    pub fn note(&mut self, text: &[u8], written: &[u8], value: &[u8]) -> Name {
        let name = Name::of(written);
        let (written, value) = (part_of(text, written), part_of(text, value));
        let tidy = value.start == written.end + 2
            && &text[written.end..value.start] == b": "
            && text[value.end..].starts_with(b"\r\n");
        self.lines.push(Line { name, tidy, written: place(written), value: place(value) });
        name
    }

    /// The text that the noted fields lie in.
    pub fn lie_in(&mut self, text: Bytes) {
        self.text = text;
    }

    fn part(&self, (from, to): (u32, u32)) -> &[u8] {
        let (from, to, own) = (from as usize, to as usize, self.text.len());
        if from < own { &self.text[from..to] } else { &self.added[from - own..to - own] }
    }

    fn field(&self, line: &Line) -> Field<'_> {
        Field { name: line.name, written: self.part(line.written), value: self.part(line.value) }
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|line| self.field(line))
    }

    /// The values of the fields of this name.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.name == name).map(|line| self.part(line.value))
    }

    /// The first of them.
    pub fn get(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    pub fn has(&self, name: Name) -> bool {
        self.lines.iter().any(|line| line.name == name)
    }

    /// The first value of a field that is written so, in any case.
    pub fn written(&self, name: &str) -> Option<&[u8]> {
        let mut same = self.iter().filter(|field| field.written.eq_ignore_ascii_case(name.as_bytes()));
        same.next().map(|field| field.value)
    }

    /// Adds a field at the end. The value is one that a field can have.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let from = self.text.len() + self.added.len();
        let written = from..from + name.len();
        let value_at = written.end + 2..written.end + 2 + value.len();
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.added.extend_from_slice(part);
        }
        let name = Name::of(name.as_bytes());
        self.lines.push(Line { name, tidy: true, written: place(written), value: place(value_at) });
    }

    /// The same, and none of this name beside it.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.retain(|field| !field.written.eq_ignore_ascii_case(name.as_bytes()));
        self.push(name, value);
    }

    pub fn remove(&mut self, name: Name) {
        self.lines.retain(|line| line.name != name);
    }

    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|line| keep(self.field(line)));
        self.lines = lines;
    }

    /// Writes those that pass, each as a line.
    pub fn write(&self, out: &mut BytesMut, passes: impl Fn(Name) -> bool) {
        // Lines that follow each other are copied together.
        let mut run = (0, 0);
        for line in self.lines.iter().filter(|line| passes(line.name)) {
            if line.tidy && line.written.0 == run.1 && run.1 as usize != self.text.len() {
                run.1 = line.value.1 + 2;
                continue;
            }
            out.put_slice(self.part(run));
            if line.tidy {
                run = (line.written.0, line.value.1 + 2);
                continue;
            }
            run = (0, 0);
            for part in [self.part(line.written), b": ", self.part(line.value), b"\r\n"] {
                out.put_slice(part);
            }
        }
        out.put_slice(self.part(run));
    }

    /// How much these take as lines, roughly.
    pub fn size(&self) -> usize {
        self.text.len() + self.added.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a text of lines, however they are written.
    fn fields(text: &str) -> Fields {
        let mut fields = Fields::default();
        for line in text.split_inclusive('\n') {
            let colon = line.find(':').unwrap();
            fields.note(text.as_bytes(), &line.as_bytes()[..colon], line[colon + 1..].trim().as_bytes());
        }
        fields.lie_in(Bytes::copy_from_slice(text.as_bytes()));
        fields
    }

    fn written(fields: &Fields, passes: impl Fn(Name) -> bool) -> String {
        let mut out = BytesMut::new();
        fields.write(&mut out, passes);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn what_passes_is_written_as_it_came_but_one_line_each() {
        let mut fields = fields("Host: h\r\nA: 1\r\na:2\r\nB:  3 \r\nC: 4\nD: 5\r\nTE: x\r\nE: \r\n");
        let all = "Host: h\r\nA: 1\r\na: 2\r\nB: 3\r\nC: 4\r\nD: 5\r\nTE: x\r\nE: \r\n";
        assert_eq!(written(&fields, |_| true), all);
        let other = all.replace("TE: x\r\n", "").replace("Host: h\r\n", "");
        assert_eq!(written(&fields, |name| name == Name::Other), other);
        assert_eq!(written(&fields, |_| false), "");
        fields.push("x-y", b"6");
        fields.push("x-z", b"");
        assert_eq!(written(&fields, |_| true), format!("{all}x-y: 6\r\nx-z: \r\n"));
        fields.set("a", b"7");
        assert_eq!(fields.written("A"), Some(&b"7"[..]));
        fields.retain(|field| field.written != b"C" && field.value != b"5");
        fields.remove(Name::Te);
        assert_eq!(written(&fields, |_| true), "Host: h\r\nB: 3\r\nE: \r\nx-y: 6\r\nx-z: \r\na: 7\r\n");
        assert_eq!((fields.get(Name::Host), fields.get(Name::Te)), (Some(&b"h"[..]), None));
    }

    #[test]
    fn a_name_is_known_in_any_case_and_by_no_other() {
        for (name, known) in [
            ("Content-Length", Name::ContentLength),
            ("TE", Name::Te),
            ("X-Resin-Account", Name::ResinAccount),
            ("x-RESIN-y", Name::Resin),
            ("X-Forwarded-For", Name::Forwarding),
            ("VIA", Name::Forwarding),
            ("X-Resin", Name::Other),
            ("x-forwarde", Name::Other),
            ("Content_Length", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(name.as_bytes()), known, "{name}");
        }
    }
}
