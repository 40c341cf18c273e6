//! Where a request wants to go: a host and a port, checked once.

use std::{fmt, net::IpAddr};

/// A host, lower case: a registered name or an IP address (IPv6 without brackets inside).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    Ip(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the host is empty")]
    Empty,
    #[error("the host has {0} bytes; at most 253 are allowed")]
    TooLong(usize),
    #[error("the host has a label that is empty or longer than 63 bytes")]
    Label,
    #[error("the host contains {0:?}")]
    Forbidden(char),
    #[error("the host is not an IPv6 address in brackets")]
    Ipv6,
    #[error("the host looks like an IPv4 address but is none")]
    Ipv4,
    #[error("user information is not allowed in an authority")]
    UserInfo,
    #[error("the port is not a number from 1 to 65535")]
    Port,
    #[error("the port is missing")]
    NoPort,
}

impl Host {
    /// A host as it stands in an authority: `[::1]`, `127.0.0.1` or a name.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        Ok(match judge(text)? {
            Some(ip) => Self::Ip(ip),
            None => Self::Name(text.to_ascii_lowercase()),
        })
    }
}

/// The address that `text` is, or none where it is a name that may be one.
fn judge(text: &str) -> Result<Option<IpAddr>, HostError> {
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let inner = rest.strip_suffix(']').ok_or(HostError::Ipv6)?;
        return inner.parse().map(|ip| Some(IpAddr::V6(ip))).map_err(|_| HostError::Ipv6);
    }
    if let Ok(ip) = text.parse() {
        return Ok(Some(IpAddr::V4(ip)));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if let Some(found) = text.chars().find(|c| !allowed(*c)) {
        return Err(HostError::Forbidden(found));
    }
    if text.len() > 253 {
        return Err(HostError::TooLong(text.len()));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return Err(HostError::Label);
    }
    // A name whose last label is a number would be read as an address by some resolvers.
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(HostError::Ipv4);
    }
    Ok(None)
}

/// Decimal (or octal) digits, or hexadecimal ones behind `0x`.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hexadecimal.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        || label.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Host {
    /// As it stands alone: an IPv6 address without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    pub host: Host,
    pub port: u16,
}

impl Authority {
    /// `host:port`, or `host` where there is a default port. Nothing is guessed from a port that is not one.
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, HostError> {
        let (host, port) = split(text)?;
        let port = port.or(default_port).ok_or(HostError::NoPort)?;
        Ok(Self { host: Host::parse(host)?, port })
    }

    /// Whether `text` is a host, with or without a port.
    pub fn check(text: &str) -> Result<(), HostError> {
        let (host, _) = split(text)?;
        judge(host).map(|_| ())
    }
}

fn split(text: &str) -> Result<(&str, Option<u16>), HostError> {
    if text.contains('@') {
        return Err(HostError::UserInfo);
    }
    match text.rfind(':') {
        // The colon is inside the brackets of an IPv6 address.
        Some(colon) if text[colon..].contains(']') => Ok((text, None)),
        Some(colon) => Ok((&text[..colon], Some(parse_port(&text[colon + 1..])?))),
        None => Ok((text, None)),
    }
}

/// 1 to 65535 in ASCII digits, nothing else (`+80` is none).
fn parse_port(digits: &str) -> Result<u16, HostError> {
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(HostError::Port);
    }
    match digits.parse::<u16>() {
        Ok(0) | Err(_) => Err(HostError::Port),
        Ok(port) => Ok(port),
    }
}

impl fmt::Display for Authority {
    /// `host:port`, an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_taken_exactly_or_refused() {
        let good = [
            ("example.com:80", "example.com:80"),
            ("EXAMPLE.com", "example.com:443"),
            ("[::1]:8080", "[::1]:8080"),
            ("[2001:DB8::1]", "[2001:db8::1]:443"),
            ("127.0.0.1:65535", "127.0.0.1:65535"),
            ("a_b.example.:1", "a_b.example.:1"),
            ("0x7f.example", "0x7f.example:443"),
            ("0xyz", "0xyz:443"),
        ];
        for (text, shown) in good {
            assert_eq!(
                Authority::parse(text, Some(443)).map(|a| a.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        let bad = [
            "",
            ":80",
            "host:",
            "host:0",
            "host:65536",
            "host:+80",
            "host: 80",
            "host:80a",
            "::1",
            "[::1",
            "[::1]x:80",
            "user@host:80",
            "a b:80",
            "a..b",
            ".a",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "127.0.0.1.",
            "2130706433",
            "0x7f000001",
            "127.0.0.0X1",
            "127.0x",
            "ho%73t",
            "[1.2.3.4]:80",
            "a/b:80",
            "host:99999999999",
            "hôte:80",
            "[]:80",
            "[::1]:",
            "host\0:80",
        ];
        for text in bad {
            assert!(Authority::parse(text, Some(443)).is_err(), "{text:?} was taken");
        }
        assert_eq!(Authority::parse("example.com", None), Err(HostError::NoPort));
    }
}
