//! Counts that do not depend on the machine: system calls and allocations per unit.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Outcome,
    peers::{
        Peer,
        resin::{self, Life},
    },
    results::Figures,
    works::{Bench, Task},
};

/// Before anything is counted.
const FIRST: u64 = 320;
/// Units in which allocations are counted: what is done by the clock is little beside them.
const ALLOCATING: u64 = 9_600;
const CLIENTS: usize = 32;
/// Whose system calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of all threads of all its processes.
    All,
    /// Of those that do requests: what the others do by the clock depends on how fast the machine is.
    DataThreads,
}

/// System calls per unit, by name, of a peer that does so many for so many clients.
pub async fn calls(
    bench: &Bench<'_>,
    task: Task,
    peer: &Peer,
    whose: Whose,
    (units, clients): (u64, usize),
) -> Outcome<Figures> {
    bench.do_some(task, peer, FIRST, clients).await?;
    let report = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("strace");
    command.args(["-c", "-o"]).arg(report.path());
    let traced = match whose {
        Whose::All => {
            command.arg("-f");
            peer.process.family().0
        }
        Whose::DataThreads => peer.process.family().threads("data-"),
    };
    for id in &traced {
        command.args(["-p", &id.to_string()]);
    }
    let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let strace = strace.as_mut().map_err(|error| format!("strace: {error}"))?;
    let mut said = BufReader::new(strace.stderr.take().ok_or("no standard error")?);
    for _ in &traced {
        let mut line = String::new();
        said.read_line(&mut line)?;
        if !line.contains("attached") {
            strace.wait()?;
            return Err(format!("strace: {}", line.trim()).into());
        }
    }
    let done = bench.do_some(task, peer, units, clients).await;
    if let Some(pid) = Pid::from_raw(i32::try_from(strace.id())?) {
        kill_process(pid, Signal::INT)?;
    }
    // It says what it detaches from, and counts until it is heard.
    said.read_to_string(&mut String::new())?;
    strace.wait()?;
    let done = done? as f64;
    let counted = parse(&fs::read_to_string(report.path())?);
    Ok(counted.into_iter().map(|(name, count)| (name, count as f64 / done)).collect())
}

/// The table of `strace -c`: share, seconds, microseconds a call, calls, perhaps errors, name.
fn parse(report: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let count = columns.get(3)?.parse().ok()?;
        columns.last().filter(|name| **name != "total").map(|name| ((*name).to_owned(), count))
    };
    report.lines().filter_map(line).collect()
}

/// Counts the allocations of a resin that was built for that: those of a life with some units of a work, less those of
/// one without.
pub struct Allocations<'a> {
    bench: &'a Bench<'a>,
    program: &'a Path,
    tasks: Vec<Task>,
    without: u64,
}

impl<'a> Allocations<'a> {
    /// Of these tasks any may be asked for later.
    pub async fn new(bench: &'a Bench<'a>, program: &'a Path, tasks: Vec<Task>) -> Outcome<Self> {
        let mut new = Self { bench, program, tasks, without: 0 };
        new.without = new.life(None).await?.0;
        Ok(new)
    }

    /// Allocations per unit, of the whole process: what is recorded and exported is among it.
    pub async fn per_unit(&self, task: Task) -> Outcome<f64> {
        let (with, units) = self.life(Some(task)).await?;
        Ok((with as f64 - self.without as f64) / units as f64)
    }

    /// A whole life: how often was allocated in it, and how many units of this task were done beside the first ones.
    async fn life(&self, task: Option<Task>) -> Outcome<(u64, u64)> {
        let bench = self.bench;
        let mut peer = resin::start(bench.world, self.program, Life::Counted).await?;
        for first in &self.tasks {
            bench.do_some(*first, &peer, FIRST, CLIENTS).await?;
        }
        let units = match task {
            Some(task) => bench.do_some(task, &peer, ALLOCATING, CLIENTS).await?,
            None => 0,
        };
        peer.process.stop();
        Ok((told(&peer.process.log())?, units))
    }
}

/// What the allocator told at the end, as JSON among the lines of the log.
fn told(log: &str) -> Outcome<u64> {
    let told = log.find("{\"jemalloc\"").or_else(|| log.find("{\n\t\"jemalloc\""));
    let told =
        told.ok_or("its allocator does not count: it must be built with --features count-allocations")?;
    let mut values = serde_json::Deserializer::from_str(&log[told..]).into_iter::<serde_json::Value>();
    let value = values.next().ok_or("the allocator told nothing")??;
    let merged = &value["jemalloc"]["stats.arenas"]["merged"];
    let of = |size: &str| merged[size]["nrequests"].as_u64();
    let (small, large) = of("small").zip(of("large")).ok_or("the allocator told no number of requests")?;
    Ok(small + large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_and_without_errors() {
        let report = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 53.33    0.000120           1       100        12 recvfrom
 46.67    0.000105           2        50           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.000225           1       150        12 total
";
        let expected = [("recvfrom".to_owned(), 100), ("sendto".to_owned(), 50)];
        assert_eq!(parse(report), BTreeMap::from(expected));
    }

    #[test]
    fn what_the_allocator_tells_is_found_among_lines() {
        let merged = r#"{"small": {"nrequests": 40}, "large": {"nrequests": 2}}"#;
        let log =
            format!("INFO ready\n{{\"jemalloc\":{{\"stats.arenas\":{{\"merged\":{merged}}}}}}}\nmore\n");
        assert_eq!(told(&log).unwrap(), 42);
        assert!(told("INFO ready\n").unwrap_err().to_string().contains("count-allocations"));
    }
}
