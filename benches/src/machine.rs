//! Where a run took place.

use std::{fs, process::Command};

use crate::results::Machine;

pub fn here() -> Machine {
    let names = rustix::system::uname();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    Machine {
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        kernel: names.release().to_string_lossy().into_owned(),
        memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        tree: describe().unwrap_or_else(|| "unknown".to_owned()),
    }
}

/// What the tree is called by git, where there is one.
fn describe() -> Option<String> {
    let output = Command::new("git").args(["describe", "--always", "--dirty", "--tags"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
