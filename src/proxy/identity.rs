//! Who is asking: credentials to platform and account.

use std::{borrow::Cow, str};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::model::{DEFAULT_PLATFORM, Fields, MAX_ACCOUNT_BYTES, Name, ResinError, Secret};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A platform by its name, and an account in it; an empty one means no stickiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) platform: Cow<'static, str>,
    pub(crate) account: String,
}

impl Identity {
    /// Split at the first `.` or `:`.
    pub(crate) fn parse(text: &str) -> Self {
        let (platform, account) = match text.find(['.', ':']) {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let platform = if matches!(platform, "" | DEFAULT_PLATFORM) {
            DEFAULT_PLATFORM.into()
        } else {
            platform.to_owned().into()
        };
        Self { platform, account: account.to_owned() }
    }

    /// What `Proxy-Authorization` says, with its token checked.
    pub(crate) fn of_proxy(fields: &Fields, token: &Secret) -> Result<Self, ResinError> {
        let mut values = fields.all(Name::ProxyAuthorization);
        let Some(value) = values.next() else {
            return if token.is_empty() { Ok(Self::parse("")) } else { Err(ResinError::AuthRequired) };
        };
        if values.next().is_some() {
            return Err(ResinError::AuthRequired);
        }
        let credentials = basic(value).ok_or(ResinError::AuthRequired)?;
        let (identity, given) = credentials.rsplit_once(':').ok_or(ResinError::AuthRequired)?;
        if !token.is_empty() && !token.matches(given.as_bytes()) {
            return Err(ResinError::AuthFailed);
        }
        Ok(Self::parse(identity))
    }

    /// An account that can be kept.
    pub(crate) fn check(&self) -> Result<(), ResinError> {
        let fits = self.account.len() <= MAX_ACCOUNT_BYTES && !self.account.chars().any(char::is_control);
        if fits { Ok(()) } else { Err(ResinError::AccountRejected) }
    }
}

/// RFC 7617: the scheme in any case, then base64.
fn basic(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    String::from_utf8(BASE64.decode(encoded.trim()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn of(credentials: &str, token: &str) -> Result<(String, String), ResinError> {
        let mut fields = Fields::default();
        let value = format!("Basic {}", STANDARD.encode(credentials));
        fields.push("proxy-authorization", value.as_bytes());
        Identity::of_proxy(&fields, &Secret::new(token))
            .map(|identity| (identity.platform.into_owned(), identity.account))
    }

    #[test]
    fn credentials_are_split_as_the_contract_says() {
        let table = [
            ("Nimbus.Tom:tok", "Nimbus", "Tom"),
            (".Tom:tok", "Default", "Tom"),
            ("Nimbus:tok", "Nimbus", ""),
            ("Nimbus.:tok", "Nimbus", ""),
            ("MyHub.bEA:234:tok", "MyHub", "bEA:234"),
            (":tok", "Default", ""),
            ("A:b.c:tok", "A", "b.c"),
        ];
        for (credentials, platform, account) in table {
            assert_eq!(
                of(credentials, "tok"),
                Ok((platform.to_owned(), account.to_owned())),
                "{credentials}"
            );
            assert_eq!(of(credentials, ""), Ok((platform.to_owned(), account.to_owned())), "{credentials}");
        }
    }

    #[test]
    fn missing_or_malformed_credentials_are_asked_for_and_a_wrong_token_fails() {
        let token = Secret::new("tok");
        assert_eq!(Identity::of_proxy(&Fields::default(), &token), Err(ResinError::AuthRequired));
        for value in ["Basic", "Basic !!!", "Bearer dG9r", "Basic bm9jb2xvbg==", "Basic /w=="] {
            let mut fields = Fields::default();
            fields.push("proxy-authorization", value.as_bytes());
            assert_eq!(Identity::of_proxy(&fields, &token), Err(ResinError::AuthRequired), "{value}");
        }
        assert_eq!(of("Nimbus:wrong", "tok"), Err(ResinError::AuthFailed));
        assert_eq!(of("Nimbus:", "tok"), Err(ResinError::AuthFailed));
        assert_eq!(of("Nimbus:to", "tok"), Err(ResinError::AuthFailed));
    }
}
