//! Thousands of connections have two ends here, and the usual limit is for programs that have few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As far as it may be raised; the proxies inherit it.
pub fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("the limit of open files cannot be raised: {error}");
    }
}
