//! A reader of HTTP/1.1 requests that repairs nothing: what a grammar does not allow is told, not understood.

/// A request as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub method: String,
    pub target: String,
    /// Names in lower case, in order.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Heard {
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a str> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect()
    }
}

/// What the front of some bytes is.
#[derive(Debug)]
pub enum Read {
    /// A beginning.
    Part,
    /// A request of so many bytes.
    Whole(Heard, usize),
    /// Nothing that could become one, and why.
    Junk(String),
}

/// Reads one request from the front.
pub fn request(bytes: &[u8]) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return match bytes.iter().position(|byte| *byte == 0) {
            Some(_) => Read::Junk("a NUL in a head".to_owned()),
            None => Read::Part,
        };
    };
    let mut heard = match head(&bytes[..end + 2]) {
        Ok(heard) => heard,
        Err(what) => return Read::Junk(format!("{what} in {:?}", show(&bytes[..end]))),
    };
    let rest = &bytes[end + 4..];
    match body(&mut heard, rest) {
        Ok(Some(length)) => Read::Whole(heard, end + 4 + length),
        Ok(None) => Read::Part,
        Err(what) => Read::Junk(format!("{what} behind {:?}", show(&bytes[..end]))),
    }
}

fn head(bytes: &[u8]) -> Result<Heard, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.split_terminator("\r\n");
    let line = lines.next().unwrap_or_default();
    let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("request line {line:?}"));
    };
    let visible = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_token(method) || !visible(target) {
        return Err(format!("request line {line:?}"));
    }
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let heard = Heard { method: method.into(), target: target.into(), fields, ..Heard::default() };
    if heard.all("host").len() != 1 {
        return Err(format!("{} Host fields", heard.all("host").len()));
    }
    Ok(heard)
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("field {line:?}"))?;
    let controls = value.chars().any(|letter| letter != '\t' && letter.is_ascii_control());
    if !is_token(name) || controls {
        return Err(format!("field {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_token(text: &str) -> bool {
    let mark = |letter: char| "!#$%&'*+-.^_`|~".contains(letter);
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || mark(letter))
}

/// Reads the body into `heard`: how many bytes it takes, once they are all there.
fn body(heard: &mut Heard, rest: &[u8]) -> Result<Option<usize>, String> {
    let (lengths, codings) = (heard.all("content-length"), heard.all("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Some(0)),
        ([length], []) => {
            let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length: usize = length.parse().ok().filter(|_| digits).ok_or("a length of no digits")?;
            let body = rest.get(..length).map(<[u8]>::to_vec);
            Ok(body.map(|body| {
                heard.body = body;
                length
            }))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(heard, rest),
        _ => Err(format!("lengths {lengths:?} and codings {codings:?}")),
    }
}

fn chunks(heard: &mut Heard, rest: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = find(&rest[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&rest[at..at + end]).into_owned();
        let hex = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let length = usize::from_str_radix(&size, 16).ok().filter(|_| hex);
        let length = length.ok_or_else(|| format!("chunk size {size:?}"))?;
        at += end + 2;
        if length == 0 {
            return trailers(heard, rest, at);
        }
        let Some(data) = rest.get(at..at + length + 2) else { return Ok(None) };
        let Some(data) = data.strip_suffix(b"\r\n") else {
            return Err("a chunk longer than its size".to_owned());
        };
        heard.body.extend(data);
        at += length + 2;
    }
}

fn trailers(heard: &mut Heard, rest: &[u8], mut at: usize) -> Result<Option<usize>, String> {
    loop {
        let Some(end) = find(&rest[at..], b"\r\n") else { return Ok(None) };
        let line = &rest[at..at + end];
        at += end + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let line: String = line.iter().map(|byte| char::from(*byte)).collect();
        heard.trailers.push(field(&line)?);
    }
}

pub fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

/// Bytes for a message, not too many.
pub fn show(bytes: &[u8]) -> String {
    let text: String = bytes.iter().take(400).map(|byte| char::from(*byte)).collect();
    if bytes.len() > 400 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
