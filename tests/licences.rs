//! What the program is built of: licences that are allowed, nothing that is banned, from the one registry, and nothing
//! that was withdrawn. Over what cargo has on this machine; `cargo deny` says its own where it is installed.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// TLS is rustls over ring.
const BANNED: [&str; 5] = ["openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];
/// What comes from here: the program, and the harness that measures it.
const OURS: [&str; 2] = [env!("CARGO_PKG_NAME"), "resin-bench"];
/// What proves a request unwritten was checked against one version of each.
const SINGLE: [&str; 5] = ["hyper", "h2", "rustls", "tokio", "ring"];

fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap(); // past the harness
}

fn cargo(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).args(args).output().unwrap();
    let text = if output.status.success() { output.stdout } else { [output.stdout, output.stderr].concat() };
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// The packages that a build on this machine is made of.
fn packages() -> Vec<Value> {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(rustc.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let args = ["metadata", "--locked", "--format-version", "1", "--filter-platform", host];
    let (well, text) = match cargo(&[&args[..], &["--offline"]].concat()) {
        (true, text) => (true, text),
        (false, _) => cargo(&args),
    };
    assert!(well, "{text}");
    let mut metadata: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(packages) = metadata["packages"].take() else { panic!("no packages: {metadata}") };
    packages
}

/// The list in `deny.toml`.
fn allowed() -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let (_, list) = text.split_once("allow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an SPDX expression can be met with what is allowed.
fn is_met(expression: &str, allowed: &[String]) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any_of(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression} cannot be read");
    met
}

fn any_of(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = all_of(words, allowed);
    while let ["OR", rest @ ..] = *words {
        *words = rest;
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while let ["AND", rest @ ..] = *words {
        *words = rest;
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut &[&str], allowed: &[String]) -> bool {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let met = any_of(words, allowed);
            let [")", rest @ ..] = *words else { panic!("no `)`: {words:?}") };
            *words = rest;
            met
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, rest @ ..] => {
            *words = rest;
            allowed.iter().any(|allowed| allowed == licence)
        }
        [] => panic!("an expression without an end"),
    }
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let (allowed, packages) = (allowed(), packages());
    assert!(packages.len() > 100 && allowed.len() > 5);
    for package in &packages {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} has no licence"));
        assert!(is_met(licence, &allowed), "{name}: {licence}");
    }
}

#[test]
fn nothing_is_banned_double_or_from_elsewhere() {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is banned");
        *versions.entry(name.to_owned()).or_default() += 1;
        match package["source"].as_str() {
            Some(source) => assert_eq!(source, REGISTRY, "{name}"),
            None => assert!(OURS.contains(&name), "{name} is from elsewhere"),
        }
    }
    for name in SINGLE {
        assert_eq!(versions.get(name), Some(&1), "versions of {name}");
    }
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    for package in lock.split("[[package]]").skip(1).filter(|package| package.contains("source = ")) {
        assert!(package.contains("checksum = "), "not held to its content: {package}");
    }
}

fn cargo_home() -> Option<PathBuf> {
    let given = env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

/// Where the registry keeps what it says of a crate (the sparse index's layout).
fn index_of(name: &str) -> Vec<PathBuf> {
    let below = match name.len() {
        1 | 2 => format!("{}/{name}", name.len()),
        3 => format!("3/{}/{name}", &name[..1]),
        _ => format!("{}/{}/{name}", &name[..2], &name[2..4]),
    };
    let Some(indexes) = cargo_home().and_then(|home| fs::read_dir(home.join("registry/index")).ok()) else {
        return Vec::new();
    };
    indexes.flatten().map(|index| index.path().join(".cache").join(&below)).collect()
}

#[test]
fn no_version_was_withdrawn_as_far_as_this_machine_knows() {
    let (mut known, mut unknown) = (0, 0);
    for package in packages() {
        let (name, version) = (package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        let cached = index_of(name).into_iter().find_map(|file| fs::read(file).ok());
        // One entry per version, in JSON, between zero bytes.
        let entry = cached.iter().flat_map(|text| text.split(|byte| *byte == 0)).find_map(|part| {
            let entry: Value = serde_json::from_slice(part).ok()?;
            (entry["vers"] == version).then_some(entry)
        });
        match entry {
            Some(entry) => {
                known += 1;
                assert_eq!(entry["yanked"], false, "{name} {version} was withdrawn");
            }
            None => unknown += 1,
        }
    }
    say(&format!("withdrawn: {known} versions looked up in the index, {unknown} not in it"));
}

#[test]
fn cargo_deny_agrees_where_it_is_installed() {
    if !cargo(&["deny", "--version"]).0 {
        return say("skipped: cargo deny (not installed)");
    }
    let (well, text) = cargo(&["deny", "--offline", "--locked", "check", "bans", "licenses", "sources"]);
    assert!(well, "{text}");
    // (A run without the internet leaves an empty directory there.)
    let databases = cargo_home().and_then(|home| fs::read_dir(home.join("advisory-dbs")).ok());
    let fetched = |database: fs::DirEntry| database.path().join(".git").exists();
    if !databases.is_some_and(|databases| databases.flatten().any(fetched)) {
        return say("skipped: advisories (no database on this machine)");
    }
    let (well, text) = cargo(&["deny", "--offline", "--locked", "check", "advisories"]);
    assert!(well, "{text}");
}

#[test]
fn an_expression_is_met_by_what_is_allowed() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned);
    for met in
        ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR MIT", "(MIT OR X) AND ISC", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(is_met(met, &allowed), "{met}");
    }
    for unmet in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "(MIT OR X) AND Y", "X OR (MIT AND Y)"] {
        assert!(!is_met(unmet, &allowed), "{unmet}");
    }
}
