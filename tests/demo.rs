//! `resin demo`, as somebody sees it who has just cloned the project.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resin"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

/// The printed lines that call `program`, which may be named with its folder.
fn commands<'a>(lines: &'a [String], program: &str) -> Vec<&'a str> {
    let calls = |line: &&str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        line.starts_with("  ") && Path::new(first).file_name().is_some_and(|name| name == program)
    };
    lines.iter().map(String::as_str).filter(calls).collect()
}

/// The demo's folder, as the psql line tells it.
fn home(lines: &[String]) -> &Path {
    let socket = commands(lines, "psql")[0].split_once(" -h ").unwrap().1.split(' ').next().unwrap();
    Path::new(socket).parent().unwrap()
}

#[test]
fn the_demo_shows_a_retry_on_each_path_and_leaves_nothing_behind() {
    let output = demo(&["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for path in ["forward", "connect", "reverse"] {
        let retried = lines.windows(2).any(|two| {
            let failed = two[1].trim_start().starts_with("├─ attempt 1") && two[1].contains(" ms");
            two[0].trim_start().starts_with(path) && failed
        });
        assert!(retried, "no retry of {path} was shown:\n{text}");
    }
    assert!(!text.contains('\x1b'), "colour, and nobody at a terminal:\n{text}");
    assert!(!home(&lines).exists(), "{} is still there", home(&lines).display());
}

#[test]
fn every_command_that_the_demo_prints_is_one_line_that_a_shell_runs() {
    let mut running = demo(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = Vec::new();
    let mut output = BufReader::new(running.stdout.take().unwrap()).lines();
    while let Some(line) = output.next().transpose().unwrap() {
        if line.starts_with("It stays up") {
            break;
        }
        lines.push(line);
    }

    let curl = commands(&lines, "curl");
    assert_eq!((curl.len(), commands(&lines, "grpcurl").len()), (4, 4), "{lines:#?}");
    for command in curl.into_iter().chain(commands(&lines, "psql")) {
        for shell in ["sh", "bash"] {
            let run = Command::new(shell).args(["-c", command]).stdin(Stdio::null()).output().unwrap();
            let told = String::from_utf8_lossy(&run.stdout);
            let told_all =
                told.contains("hello, request") || told.contains("retry_attempts") || told.contains("resin_");
            assert!(run.status.success() && told_all, "{shell}: {command}\n{run:?}");
        }
    }

    kill_process(Pid::from_child(&running), Signal::INT).unwrap();
    assert!(running.wait().unwrap().success());
    assert!(!home(&lines).exists(), "{} is still there", home(&lines).display());
}
