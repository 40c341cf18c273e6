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
    peers::{Peer, World, resin},
    results::Figures,
    works::{Bench, Task},
};

/// Before anything is counted.
const FIRST: u64 = 200;
/// The allocator tells at the end what it has done, as JSON.
const TELL: (&str, &str) = ("_RJEM_MALLOC_CONF", "stats_print:true,stats_print_opts:Ja");

/// System calls per unit, by name, of all threads of a peer.
pub async fn calls(bench: &Bench<'_>, task: Task, peer: &Peer, units: u64) -> Outcome<Figures> {
    bench.do_some(task, peer, FIRST).await?;
    let report = tempfile::NamedTempFile::new()?;
    let family = peer.process.family();
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(report.path());
    for pid in &family.0 {
        command.args(["-p", &pid.to_string()]);
    }
    let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let strace = strace.as_mut().map_err(|error| format!("strace: {error}"))?;
    let mut said = BufReader::new(strace.stderr.take().ok_or("no standard error")?);
    for _ in &family.0 {
        let mut line = String::new();
        said.read_line(&mut line)?;
        if !line.contains("attached") {
            strace.wait()?;
            return Err(format!("strace: {}", line.trim()).into());
        }
    }
    let done = bench.do_some(task, peer, units).await;
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

/// Allocations per unit of a resin that was built to count them: the difference of two lives, one of which had twice
/// the work.
pub async fn allocations(bench: &Bench<'_>, task: Task, program: &Path, units: u64) -> Outcome<f64> {
    let (one, first) = life(bench, task, program, units).await?;
    let (two, second) = life(bench, task, program, 2 * units).await?;
    Ok((two as f64 - one as f64) / (second - first) as f64)
}

/// How often was allocated from start to end, and how many units were done.
async fn life(bench: &Bench<'_>, task: Task, program: &Path, units: u64) -> Outcome<(u64, u64)> {
    let world: &World = bench.world;
    let mut peer = resin::start(world, program, &[TELL]).await?;
    let first = bench.do_some(task, &peer, FIRST).await?;
    let done = bench.do_some(task, &peer, units).await?;
    peer.process.stop();
    let log = peer.process.log();
    let told = log.find("{\"jemalloc\"").or_else(|| log.find("{\n\t\"jemalloc\""));
    let told =
        told.ok_or("its allocator does not count: it must be built with --features count-allocations")?;
    let mut values = serde_json::Deserializer::from_str(&log[told..]).into_iter::<serde_json::Value>();
    let value = values.next().ok_or("the allocator told nothing")??;
    let merged = &value["jemalloc"]["stats.arenas"]["merged"];
    let of = |size: &str| merged[size]["nrequests"].as_u64();
    let (small, large) = of("small").zip(of("large")).ok_or("the allocator told no number of requests")?;
    Ok((small + large, first + done))
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
}
