//! The layers, kept honest: a module may name what lies below it, never what lies above.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// From the top down. `config` and `drain` stand beside them all.
const LAYERS: [&str; 11] = [
    "app",
    "control",
    "store",
    "proxy",
    "retry",
    "upstream",
    "record",
    "telemetry",
    "routing",
    "model",
    "proto",
];
/// The generated code is known to the edge alone.
const MAY_KNOW_PROTO: [&str; 4] = ["control", "demo", "fuzzing", "lib"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module at the top that a file belongs to.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(source_root()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Every top module that the text names as `crate::name`, also within `use crate::{a::…, b::…}`.
fn named(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut names = BTreeSet::new();
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(heads(group)),
            None => names.extend(word(rest)),
        }
    }
    names
}

/// First words of a brace group's members.
fn heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut found) = (1, 0, Vec::new());
    for (place, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            found.extend(word(group[start..place].trim()));
            start = place + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn word(text: &str) -> Option<String> {
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

#[test]
fn no_module_names_one_above_it() {
    let height = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    for path in sources(&source_root()) {
        let from = module(&path);
        let Some(here) = height(&from) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for name in named(&text) {
            if let Some(there) = height(&name) {
                assert!(there >= here, "{} names crate::{name}, which lies above {from}", path.display());
            }
            assert!(name != "demo" && name != "main", "{} names crate::{name}", path.display());
        }
    }
}

#[test]
fn the_generated_code_is_known_to_the_edge_alone() {
    for path in sources(&source_root()) {
        let from = module(&path);
        if !MAY_KNOW_PROTO.contains(&from.as_str()) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(!named(&text).contains("proto"), "{} names crate::proto", path.display());
        }
    }
}

#[test]
fn every_file_opens_with_its_story_and_is_of_a_size_to_be_read() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for path in sources(&source_root()).into_iter().chain(sources(&tests)) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} opens without its story", path.display());
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
        let is_support = path.parent().is_some_and(|parent| parent.ends_with("support"));
        assert!(is_support || !path.ends_with("mod.rs"), "{}: name.rs beside name/", path.display());
    }
}

#[test]
fn only_main_reads_the_environment() {
    for path in sources(&source_root()) {
        if ["main", "demo"].contains(&module(&path).as_str()) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Where programs are looked for is no setting.
        let text = text.replace("env::var_os(\"PATH\")", "");
        for reading in ["env::var(", "env::var_os(", "env::vars("] {
            assert!(!text.contains(reading), "{} reads the environment ({reading}…)", path.display());
        }
    }
}

#[test]
fn the_reader_of_names_sees_groups_and_paths() {
    let text = "use crate::{\n    model::{Node, Tag},\n    routing::Directory,\n};\nfn f() { crate::store::open() }\n// crate::app";
    let names: Vec<String> = named(text).into_iter().collect();
    assert_eq!(names, ["model", "routing", "store"]);
}
