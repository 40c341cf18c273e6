//! A network and a hosts file of a test's own: the test runs again as a process of its own in new namespaces of Linux,
//! where names mean what it wants and public addresses are on its loopback device.

use std::{io::Write, process::Command};

/// An address that is public in this network alone.
pub const PUBLIC: &str = "93.184.216.34";

const INSIDE: &str = "RESIN_TEST_OWN_NETWORK";
/// `$0`: the hosts file; the rest is what runs.
const SETUP: &str = "ip link set lo up && ip address add 93.184.216.34/32 dev lo && \
                     mount --make-rprivate / && mount --bind \"$0\" /etc/hosts && exec \"$@\"";

/// Whether this process is in a network of its own by now. Where it is not, the test (its full name) is run again in
/// one, and has passed when this returns; or it is skipped, and that is said.
pub fn is_own(test: &str, hosts: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let able = Command::new("unshare").args(["--net", "--mount", "ip", "link"]).output();
    if !able.is_ok_and(|output| output.status.success()) {
        let line = format!("skipped: {test}: needs root, unshare and ip\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap(); // past the harness, which keeps what is printed
        return false;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("127.0.0.1 localhost\n{hosts}")).unwrap();
    let inside = Command::new("unshare")
        .args(["--net", "--mount", "sh", "-c", SETUP])
        .arg(file.path())
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    assert!(inside.status.success(), "in a network of its own: {said}");
    assert!(said.contains("1 passed"), "{test} is no name of a test: {said}");
    false
}
