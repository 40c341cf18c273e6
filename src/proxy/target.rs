//! Where a request wants to go, on each of the paths.

use std::sync::Arc;

use http::{HeaderValue, Uri, uri::PathAndQuery};
use parking_lot::Mutex;

use super::identity::Identity;
use crate::{
    model::{Authority, ResinError, Secret, percent_decode},
    upstream::Destination,
};

/// Where to, and what is asked for there.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) aim: Arc<Aim>,
    /// Path and query, byte for byte.
    pub(crate) path: PathAndQuery,
}

/// Where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Aim {
    pub(crate) destination: Arc<Destination>,
    /// The `Host` that the upstream is told.
    pub(crate) host: HeaderValue,
}

/// Where a connection's last request went: the next one mostly goes there too, and then nothing is worked out anew.
#[derive(Debug, Default)]
pub(crate) struct LastAim(Mutex<Option<Arc<Aim>>>);

impl Target {
    /// The absolute URL that stands for it in the record.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.aim.destination.tls { "https" } else { "http" };
        [scheme, "://", self.aim.host(), self.path.as_str()].concat()
    }
}

impl LastAim {
    fn at(&self, tls: bool, authority: &str) -> Result<Arc<Aim>, ResinError> {
        let mut last = self.0.lock();
        match &*last {
            Some(aim) if aim.host == authority && aim.destination.tls == tls => Ok(Arc::clone(aim)),
            _ => {
                let aim = Arc::new(Aim::new(tls, authority)?);
                *last = Some(Arc::clone(&aim));
                Ok(aim)
            }
        }
    }
}

impl Aim {
    /// The host as text: it is one of an authority.
    pub(crate) fn host(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    fn new(tls: bool, authority: &str) -> Result<Self, ResinError> {
        let default_port = if tls { 443 } else { 80 };
        let parsed = Authority::parse(authority, Some(default_port)).map_err(|_| ResinError::InvalidHost)?;
        let host = if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            HeaderValue::try_from(authority.to_ascii_lowercase())
        } else {
            HeaderValue::from_str(authority)
        };
        let host = host.map_err(|_| ResinError::InvalidHost)?;
        Ok(Self { destination: Arc::new(Destination { authority: parsed, tls }), host })
    }
}

/// The target of a forward request: an absolute URI of http or https. `pathless`: only OPTIONS can be that.
pub(crate) fn forward(uri: &Uri, pathless: bool, last: &LastAim) -> Result<Target, ResinError> {
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(ResinError::InvalidHost),
    };
    let authority = uri.authority().ok_or(ResinError::InvalidHost)?;
    let path = if pathless {
        // It asks the server itself, and this proxy is the last one (RFC 9112, section 3.2.4).
        PathAndQuery::from_static("*")
    } else {
        path_of(uri)
    };
    Ok(Target { aim: last.at(tls, authority.as_str())?, path })
}

/// The target of CONNECT: a host and a port, both there.
pub(crate) fn connect(uri: &Uri) -> Result<Authority, ResinError> {
    let authority = uri.authority().filter(|_| uri.scheme().is_none());
    let authority = authority.ok_or(ResinError::InvalidHost)?;
    Authority::parse(authority.as_str(), None).map_err(|_| ResinError::InvalidHost)
}

/// `*` and an empty path are what an origin expects in their place.
fn path_of(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        Some(path) if path.as_str().starts_with('?') => {
            format!("/{}", path.as_str()).parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
        }
        Some(path) if !path.as_str().is_empty() => path.clone(),
        _ => PathAndQuery::from_static("/"),
    }
}

/// `/<token>/<identity>/<http|https>/<host[:port]>[/path][?query]`, taken apart but not yet judged.
#[derive(Debug)]
pub(crate) struct ReversePath<'a> {
    token: &'a str,
    identity: Option<&'a str>,
    scheme: Option<&'a str>,
    host: Option<&'a str>,
    /// From the slash behind the host on, query included.
    rest: &'a str,
}

impl<'a> ReversePath<'a> {
    pub(crate) fn split(uri: &'a Uri) -> Self {
        let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let path_end = whole.find('?').unwrap_or(whole.len());
        let (path, query) = whole.split_at(path_end);
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut segments = path.splitn(5, '/');
        let token = segments.next().unwrap_or_default();
        let identity = segments.next();
        let scheme = segments.next();
        let host = segments.next();
        let rest = match segments.next() {
            // One byte before the fifth segment is its slash.
            Some(fifth) => &whole[path_end - fifth.len() - 1..],
            None => query,
        };
        Self { token, identity, scheme, host, rest }
    }

    /// The identity, once the token was found right.
    pub(crate) fn identity(&self, token: &Secret) -> Result<Identity, ResinError> {
        let given = decode(self.token)?;
        if !token.is_empty() && !token.matches(given.as_bytes()) {
            return Err(ResinError::AuthFailed);
        }
        let identity = decode(self.identity.ok_or(ResinError::UrlParseError)?)?;
        Ok(Identity::parse(&identity))
    }

    pub(crate) fn target(&self, last: &LastAim) -> Result<Target, ResinError> {
        let (Some(scheme), Some(host)) = (self.scheme, self.host) else {
            return Err(ResinError::UrlParseError);
        };
        let scheme = decode(scheme)?;
        let host = decode(host)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(ResinError::InvalidProtocol),
        };
        let path = if self.rest.starts_with('/') { self.rest.to_owned() } else { format!("/{}", self.rest) };
        let path = path.parse().map_err(|_| ResinError::UrlParseError)?;
        Ok(Target { aim: last.at(tls, &host)?, path })
    }
}

fn decode(segment: &str) -> Result<String, ResinError> {
    percent_decode(segment).ok_or(ResinError::UrlParseError)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reverse(path: &str, token: &str) -> Result<(Identity, Target), ResinError> {
        let uri: Uri = path.parse().unwrap();
        let split = ReversePath::split(&uri);
        let identity = split.identity(&Secret::new(token))?;
        split.target(&LastAim::default()).map(|target| (identity, target))
    }

    #[test]
    fn the_rest_of_a_reverse_path_passes_byte_for_byte() {
        let table = [
            ("/t/A.b/http/h", "/", "h"),
            ("/t/A.b/http/h/", "/", "h"),
            ("/t/A.b/http/h?x=/y", "/?x=/y", "h"),
            ("/t/A.b/http/h:8080/a/../b//c%2f%zz?q=%41&r", "/a/../b//c%2f%zz?q=%41&r", "h:8080"),
            ("/t/A.b/https/%5B::1%5D:9/x", "/x", "[::1]:9"),
            ("/t/A.b/http/H.Example//", "//", "h.example"),
        ];
        for (path, rest, host) in table {
            let (identity, target) = reverse(path, "t").unwrap();
            assert_eq!((target.path.as_str(), target.aim.host()), (rest, host), "{path}");
            assert_eq!((&*identity.platform, identity.account.as_str()), ("A", "b"));
        }
    }

    #[test]
    fn the_last_aim_serves_the_next_request_for_the_same_and_no_other() {
        let last = LastAim::default();
        let aim = |uri: &str| forward(&uri.parse().unwrap(), false, &last).map(|target| target.aim);
        let first = aim("http://h:80/a").unwrap();
        assert!(Arc::ptr_eq(&first, &aim("http://h:80/b?c").unwrap()));
        assert!(aim("http://u@h:80/").is_err());
        assert!(Arc::ptr_eq(&first, &aim("http://h:80").unwrap()));
        for other in ["https://h:80/", "http://h/", "http://h:81/", "http://H:80/"] {
            let other = aim(other).unwrap();
            assert!(!Arc::ptr_eq(&first, &other));
            let port = other.destination.authority.port;
            assert_eq!((other.host() == "h:80", port == 80), (first.host == other.host, port != 81));
        }
    }

    #[test]
    fn each_segment_is_decoded_once_on_its_own() {
        let (identity, _) = reverse("/a%2Fb/MyHub.ops%2Fprod%3Feu%231/http/h/x", "a/b").unwrap();
        assert_eq!(identity, Identity { platform: "MyHub".into(), account: "ops/prod?eu#1".into() });
        let (identity, _) = reverse("/t/A.%2541/http/h/x", "t").unwrap();
        assert_eq!(identity.account, "%41");
    }

    #[test]
    fn an_unusable_reverse_path_is_told_by_its_own_code() {
        let table = [
            ("/", ResinError::AuthFailed),
            ("/wrong/A/ftp/h", ResinError::AuthFailed),
            ("/t", ResinError::UrlParseError),
            ("/t/A", ResinError::UrlParseError),
            ("/t/A/http", ResinError::UrlParseError),
            ("/t/A%g/http/h", ResinError::UrlParseError),
            ("/t/A%ff/http/h", ResinError::UrlParseError),
            ("/t/A/http/h%", ResinError::UrlParseError),
            ("/t/A/ftp/h", ResinError::InvalidProtocol),
            ("/t/A//h", ResinError::InvalidProtocol),
            ("/t/A/http/", ResinError::InvalidHost),
            ("/t/A/http/h:0/", ResinError::InvalidHost),
            ("/t/A/http/h:99999/", ResinError::InvalidHost),
            ("/t/A/http/u@h/", ResinError::InvalidHost),
            ("/t/A/http/a%20b/", ResinError::InvalidHost),
        ];
        for (path, error) in table {
            assert_eq!(reverse(path, "t").map(|_| ()), Err(error), "{path}");
        }
    }
}
