//! Platforms: named pools, their filters and policies.

use std::time::SystemTime;

use uuid::Uuid;

use super::Node;

/// The platform that always exists.
pub const DEFAULT_PLATFORM: &str = "Default";
/// The largest `max_retries`.
pub const MAX_RETRIES: i32 = 16;
/// The longest account, in bytes.
pub const MAX_ACCOUNT_BYTES: usize = 256;

const MAX_NAME_BYTES: usize = 128;
const MAX_FILTER_BYTES: usize = 512;
const NAME_FORBIDS: &str = ".:|/\\@?#%~";

/// A named, isolated pool: filters over nodes, and policies.
#[derive(Debug, Clone)]
pub struct Platform {
    pub id: Uuid,
    pub name: PlatformName,
    pub filters: Vec<NodeFilter>,
    /// Further attempts after the first; 0 or less switches retry off.
    pub max_retries: i32,
    /// Counts the changes to this platform; the source of its etag.
    pub revision: i64,
    pub create_time: SystemTime,
    pub update_time: SystemTime,
}

impl Platform {
    /// Whether the filters let this node through.
    #[must_use]
    pub fn admits(&self, node: &Node) -> bool {
        self.filters.iter().all(|filter| filter.admits(&node.tags))
    }

    /// Changes with every change to the platform, and never comes back.
    #[must_use]
    pub fn etag(&self) -> String {
        // The last bits of the id: its first are a clock, and one name can be used again in the same second.
        format!("{:08x}-{}", self.id.as_u128() & 0xffff_ffff, self.revision)
    }

    #[must_use]
    pub fn is_default(&self) -> bool {
        self.name.as_str() == DEFAULT_PLATFORM
    }
}

/// A platform's name, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlatformName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformNameError {
    #[error("a platform needs a name of 1 to {MAX_NAME_BYTES} bytes")]
    Empty,
    #[error("the name has {0} bytes; at most {MAX_NAME_BYTES} are allowed")]
    TooLong(usize),
    #[error("the name contains {0:?}; white space, control characters and {NAME_FORBIDS} are not allowed")]
    Forbidden(char),
    #[error("the name `api` is reserved, in upper and lower case")]
    Reserved,
}

impl PlatformName {
    /// Trims, then checks.
    pub fn parse(text: &str) -> Result<Self, PlatformNameError> {
        let name = text.trim();
        if name.is_empty() {
            return Err(PlatformNameError::Empty);
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(PlatformNameError::TooLong(name.len()));
        }
        let forbidden = |c: &char| c.is_whitespace() || c.is_control() || NAME_FORBIDS.contains(*c);
        if let Some(found) = name.chars().find(forbidden) {
            return Err(PlatformNameError::Forbidden(found));
        }
        if name.eq_ignore_ascii_case("api") {
            return Err(PlatformNameError::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One regular expression over a node's tags, as a platform holds it.
#[derive(Debug, Clone)]
pub struct NodeFilter {
    text: String,
    excludes: bool,
    regex: regex::Regex,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("a filter must not be empty")]
    Empty,
    #[error("the filter has {0} bytes; at most {MAX_FILTER_BYTES} are allowed")]
    TooLong(usize),
    #[error("not a regular expression: {0}")]
    Syntax(String),
}

impl NodeFilter {
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_FILTER_BYTES {
            return Err(FilterError::TooLong(text.len()));
        }
        let (excludes, pattern) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if pattern.is_empty() {
            return Err(FilterError::Empty);
        }
        let regex = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build().map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            FilterError::Syntax(last.trim().trim_start_matches("error: ").to_owned())
        })?;
        Ok(Self { text: text.to_owned(), excludes, regex })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn admits(&self, tags: &[String]) -> bool {
        tags.iter().any(|tag| self.regex.is_match(tag)) != self.excludes
    }
}

/// An account beyond [`MAX_ACCOUNT_BYTES`], or one that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("the account has {0} bytes; at most {MAX_ACCOUNT_BYTES} are allowed")]
    TooLong(usize),
    #[error("the account is not UTF-8 text without control characters")]
    NotText,
}
