//! Nodes: the ways out, as they are configured.
//!
//! A node is written as a URI. Two URIs that mean the same are one node: its hash is taken over the canonical
//! form, credentials in, tag out.

use std::{fmt, net::IpAddr, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Authority, Host, HostError, Secret, encoding::percent_decode};

/// Kept as they are in user names, passwords and server names.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A node of the pool.
#[derive(Debug, Clone)]
pub struct Node {
    pub hash: NodeHash,
    pub config: NodeConfig,
    /// At least one; the first is the one that is shown.
    pub tags: Vec<String>,
    /// Declared by a controller.
    pub egress_ip: Option<IpAddr>,
    /// Declared by a controller.
    pub region: Option<Region>,
}

impl Node {
    /// The tag that stands for the node in records and spans.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.tags.first().map_or("", String::as_str)
    }
}

/// How a node is reached, and how it is told where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeConfig {
    /// No node in between: the origin is dialled from here.
    Direct,
    /// An HTTP proxy that is asked to CONNECT; with `tls`, the proxy itself is spoken to over TLS.
    Http { endpoint: Endpoint, tls: Option<NodeTls> },
    /// A SOCKS5 proxy; names are resolved by the node.
    Socks5 { endpoint: Endpoint },
}

/// Where a proxy listens and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub authority: Authority,
    /// User name and password.
    pub credentials: Option<(String, Secret)>,
}

/// TLS to the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTls {
    /// The name that the certificate must have, where it is not the endpoint's host.
    pub sni: Option<Host>,
    /// The certificate is not verified.
    pub insecure: bool,
}

impl NodeConfig {
    #[must_use]
    pub fn hash(&self) -> NodeHash {
        let digest = Sha256::digest(self.canonical(true).as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        NodeHash(first)
    }

    /// The canonical URI with its secrets: what is stored and hashed.
    #[must_use]
    pub fn uri_with_secrets(&self) -> String {
        self.canonical(true)
    }

    /// The canonical URI without credentials: what is shown.
    #[must_use]
    pub fn uri(&self) -> String {
        self.canonical(false)
    }

    /// `host:port`, or `direct`: the tag of a node that was given none.
    #[must_use]
    pub fn default_tag(&self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Http { endpoint, .. } | Self::Socks5 { endpoint } => endpoint.authority.to_string(),
        }
    }

    fn canonical(&self, secrets: bool) -> String {
        let (scheme, endpoint, tls) = match self {
            Self::Direct => return "direct://".to_owned(),
            Self::Http { endpoint, tls: None } => ("http", endpoint, None),
            Self::Http { endpoint, tls: Some(tls) } => ("https", endpoint, Some(tls)),
            Self::Socks5 { endpoint } => ("socks5", endpoint, None),
        };
        let mut uri = format!("{scheme}://");
        if let (true, Some((user, password))) = (secrets, &endpoint.credentials) {
            let encode = |text| utf8_percent_encode(text, UNRESERVED).to_string();
            uri += &format!("{}:{}@", encode(user), encode(password.expose()));
        }
        uri += &endpoint.authority.to_string();
        if let Some(tls) = tls {
            let mut separator = '?';
            if let Some(sni) = &tls.sni {
                // In brackets, or it would not be read back.
                let name = match sni {
                    Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
                    name => name.to_string(),
                };
                uri += &format!("{separator}sni={}", utf8_percent_encode(&name, UNRESERVED));
                separator = '&';
            }
            if tls.insecure {
                uri += &format!("{separator}insecure=true");
            }
        }
        uri
    }
}

/// A node's URI as a controller writes it: the configuration, and the tag in its fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUri {
    pub config: NodeConfig,
    pub tag: Option<String>,
}

/// What is wrong with a node's URI. Never shows the URI: it may carry a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeUriError {
    #[error("the node URI is empty")]
    Empty,
    #[error("the node URI has {0} bytes; at most 2048 are allowed")]
    TooLong(usize),
    #[error("the node URI contains white space or a control character")]
    Space,
    #[error("the node URI has no `scheme://`; direct, http, https, socks5 and socks5h are known")]
    NoScheme,
    #[error("unknown node scheme; direct, http, https, socks5 and socks5h are known")]
    Scheme,
    #[error("direct:// takes nothing behind it but a #tag")]
    Direct,
    #[error("the node URI has a path; only `/` is allowed there")]
    Path,
    #[error("the node's address: {0}")]
    Authority(#[from] HostError),
    #[error("the node's credentials are not user:password in percent-encoded UTF-8")]
    Credentials,
    #[error("SOCKS5 allows user name and password of 1 to 255 bytes each")]
    SocksCredentials,
    /// Not even its name: it may be the end of a password with a `?` in it.
    #[error("unknown parameter; {0}")]
    Parameter(&'static str),
    #[error("insecure takes true or false")]
    Insecure,
    #[error("sni: {0}")]
    Sni(HostError),
    #[error("the tag is not percent-encoded UTF-8 of 1 to 256 bytes without control characters")]
    Tag,
}

impl FromStr for NodeUri {
    type Err = NodeUriError;

    fn from_str(text: &str) -> Result<Self, NodeUriError> {
        if text.is_empty() {
            return Err(NodeUriError::Empty);
        }
        if text.len() > 2048 {
            return Err(NodeUriError::TooLong(text.len()));
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(NodeUriError::Space);
        }
        let (uri, fragment) = match text.split_once('#') {
            Some((uri, fragment)) => (uri, Some(fragment)),
            None => (text, None),
        };
        let tag = match fragment {
            None | Some("") => None,
            Some(encoded) => {
                Some(percent_decode(encoded).filter(|tag| is_tag(tag)).ok_or(NodeUriError::Tag)?)
            }
        };
        let (scheme, rest) = uri.split_once("://").ok_or(NodeUriError::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme == "direct" {
            return if rest.is_empty() {
                Ok(Self { config: NodeConfig::Direct, tag })
            } else {
                Err(NodeUriError::Direct)
            };
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, query),
            None => (rest, ""),
        };
        let authority = match rest.split_once('/') {
            Some((authority, "")) => authority,
            Some(_) => return Err(NodeUriError::Path),
            None => rest,
        };
        let config = match scheme.as_str() {
            "http" => {
                no_parameters(query, "an http node takes none")?;
                NodeConfig::Http { endpoint: endpoint(authority)?, tls: None }
            }
            "https" => NodeConfig::Http { endpoint: endpoint(authority)?, tls: Some(node_tls(query)?) },
            "socks5" | "socks5h" => {
                no_parameters(query, "a socks5 node takes none")?;
                let endpoint = endpoint(authority)?;
                let fits = |text: &str| (1..=255).contains(&text.len());
                if endpoint
                    .credentials
                    .as_ref()
                    .is_some_and(|(user, pass)| !fits(user) || !fits(pass.expose()))
                {
                    return Err(NodeUriError::SocksCredentials);
                }
                NodeConfig::Socks5 { endpoint }
            }
            _ => return Err(NodeUriError::Scheme),
        };
        Ok(Self { config, tag })
    }
}

/// Whether this may be a node's tag: 1 to 256 bytes, no control characters.
pub(crate) fn is_tag(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn endpoint(text: &str) -> Result<Endpoint, NodeUriError> {
    let (credentials, authority) = match text.rsplit_once('@') {
        None => (None, text),
        Some((userinfo, authority)) => {
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            let user = percent_decode(user).ok_or(NodeUriError::Credentials)?;
            let password = percent_decode(password).ok_or(NodeUriError::Credentials)?;
            // RFC 7617: a user name has no colon, and neither has control characters.
            let control = |text: &str| text.chars().any(char::is_control);
            if user.contains(':') || control(&user) || control(&password) {
                return Err(NodeUriError::Credentials);
            }
            let none = user.is_empty() && password.is_empty();
            ((!none).then(|| (user, Secret::new(password))), authority)
        }
    };
    Ok(Endpoint { authority: Authority::parse(authority, None)?, credentials })
}

fn node_tls(query: &str) -> Result<NodeTls, NodeUriError> {
    let mut tls = NodeTls { sni: None, insecure: false };
    for (key, value) in parameters(query) {
        match key {
            "sni" => {
                let name = percent_decode(value).ok_or(NodeUriError::Sni(HostError::Empty))?;
                tls.sni = Some(Host::parse(&name).map_err(NodeUriError::Sni)?);
            }
            "insecure" => {
                tls.insecure = match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(NodeUriError::Insecure),
                }
            }
            _ => return Err(NodeUriError::Parameter("an https node takes sni and insecure")),
        }
    }
    Ok(tls)
}

fn no_parameters(query: &str, allowed: &'static str) -> Result<(), NodeUriError> {
    match parameters(query).next() {
        None => Ok(()),
        Some(_) => Err(NodeUriError::Parameter(allowed)),
    }
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The first 128 bits of SHA-256 over a node's canonical configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeHash([u8; 16]);

impl NodeHash {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 hex digits, in either case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A lower-case ISO 3166-1 alpha-2 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region([u8; 2]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a region is a lower-case ISO 3166-1 alpha-2 code such as `de`")]
pub struct RegionError;

impl Region {
    pub fn parse(text: &str) -> Result<Self, RegionError> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => Ok(Self([*a, *b])),
            _ => Err(RegionError),
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeUri, NodeUriError> {
        text.parse()
    }

    #[test]
    fn one_configuration_has_one_hash_however_it_is_written() {
        let same = [
            ["socks5://h:1", "socks5h://H:1"],
            ["http://u:p@h:80#a", "http://u:%70@h:80/#b"],
            ["https://h:443?insecure=true", "https://h:443/?insecure=1"],
            ["https://h:443", "https://h:443?insecure=false"],
            ["direct://", "DIRECT://#x"],
        ];
        for [one, other] in same {
            assert_eq!(
                parse(one).unwrap().config.hash(),
                parse(other).unwrap().config.hash(),
                "{one} {other}"
            );
        }
        let different =
            ["http://h:1", "https://h:1", "socks5://h:1", "http://h:2", "http://u@h:1", "http://u:p@h:1"];
        let hashes: std::collections::HashSet<_> =
            different.iter().map(|uri| parse(uri).unwrap().config.hash()).collect();
        assert_eq!(hashes.len(), different.len());
    }

    #[test]
    fn a_canonical_uri_is_read_back_as_the_same_node() {
        for uri in [
            "direct://",
            "http://a%40b:c%3Ad@h:1",
            "https://[::1]:8443?sni=x.example&insecure=true",
            "https://h:1?sni=%5B::1%5D",
            "socks5://u:p@h:1",
        ] {
            let config = parse(uri).unwrap().config;
            assert_eq!(parse(&config.uri_with_secrets()).unwrap().config, config);
        }
    }

    #[test]
    fn credentials_are_neither_shown_nor_debugged() {
        let config = parse("http://user:hunter2@h:1").unwrap().config;
        assert!(!config.uri().contains("user") && !config.uri().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn a_wrong_node_uri_is_refused_and_not_repeated() {
        let wrong = [
            "",
            "h:1",
            "ftp://h:1",
            "http://h",
            "http://h:0",
            "http://h:1/path",
            "http://h:1?x=1",
            "https://h:1?insecure=maybe",
            "https://h:1?sni=",
            "direct://h:1",
            "http://u%zz@h:1",
            "http://h:1#%ff",
            "http:// h:1",
            "socks5://u@h:1",
            "http://:1",
        ];
        for uri in wrong {
            assert!(parse(uri).is_err(), "{uri:?} was taken");
        }
        let error = parse("http://user:hunter2@h:x").unwrap_err().to_string();
        assert!(!error.contains("hunter2"));
    }
}
