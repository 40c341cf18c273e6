//! Looking for what must not be seen, in every form that it may have been put in.

use std::sync::{Arc, Mutex};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// Shorter ones would be found in what has nothing to do with them.
const SHORTEST: usize = 8;

/// A secret as it may stand in a text: as it is, escaped, percent-encoded, in hex, or inside of something in base64.
#[derive(Debug, Clone)]
pub struct Forms(Vec<String>);

impl Forms {
    pub fn of(secret: &str) -> Self {
        assert!(secret.len() >= SHORTEST, "{secret:?} is too short to be looked for");
        let encoded = percent_encode(secret.as_bytes(), NON_ALPHANUMERIC).to_string();
        let escaped = format!("{secret:?}");
        let json = serde_json::to_string(secret).unwrap();
        let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
        let mut forms = vec![
            secret.to_owned(),
            escaped.trim_matches('"').to_owned(),
            json.trim_matches('"').to_owned(),
            encoded.to_ascii_lowercase(),
            encoded,
            secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
            // A list of bytes as `Debug` shows it.
            bytes.join(", "),
        ];
        for ahead in 0..3 {
            for engine in [BASE64_STANDARD, BASE64_URL_SAFE] {
                forms.push(inside_base64(&engine, secret, ahead));
            }
        }
        forms.sort();
        forms.dedup();
        Self(forms)
    }

    /// The line of `text` that it stands in.
    pub fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.lines().find(|line| self.0.iter().any(|form| line.contains(form.as_str())))
    }
}

/// What of the base64 of anything with the secret in it depends on the secret alone, `ahead` bytes (of three) before it.
fn inside_base64(engine: &impl Engine, secret: &str, ahead: usize) -> String {
    let bytes = [&b"\0\0\0"[..ahead], secret.as_bytes()].concat();
    let whole = bytes.len() / 3 * 3;
    let text = engine.encode(&bytes[..whole]);
    // Letters that hold bits of a byte before it.
    let foreign = [0, 2, 3][ahead];
    text[foreign..].to_owned()
}

/// None of the secrets stands in any of the texts.
pub fn assert_hidden(texts: &[(&str, String)], secrets: &[&str]) {
    let forms: Vec<(&str, Forms)> = secrets.iter().map(|secret| (*secret, Forms::of(secret))).collect();
    let mut found = Vec::new();
    for (place, text) in texts {
        for (secret, forms) in &forms {
            if let Some(line) = forms.find(text) {
                found.push(format!("{secret} stands in {place}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Looks at each line that a program says for the secrets in its settings; what was seen fails the test at its end.
#[derive(Clone, Default)]
pub struct Watch {
    secrets: Arc<[Forms]>,
    seen: Arc<Mutex<Option<String>>>,
}

impl Watch {
    /// Tokens, and passwords in URLs.
    pub fn of_settings<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut secrets: Vec<String> = Vec::new();
        for (name, value) in settings {
            if name.ends_with("_TOKEN") {
                secrets.push(value.to_owned());
            }
            for url in value.split_whitespace() {
                let userinfo = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
                if let Some((_, password)) = userinfo.and_then(|(userinfo, _)| userinfo.split_once(':')) {
                    secrets.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
                }
            }
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        Self { secrets: secrets.iter().map(|secret| Forms::of(secret)).collect(), seen: Arc::default() }
    }

    pub fn look(&self, line: &str) {
        if self.secrets.iter().any(|secret| secret.find(line).is_some()) {
            self.seen.lock().unwrap().get_or_insert_with(|| line.to_owned());
        }
    }
}

/// Fails the test when what it watched is over.
pub struct Verdict(pub Watch);

impl Drop for Verdict {
    fn drop(&mut self) {
        let seen = self.0.seen.lock().unwrap().take();
        if let Some(line) = seen.filter(|_| !std::thread::panicking()) {
            panic!("a secret of the settings was said: {line}");
        }
    }
}
