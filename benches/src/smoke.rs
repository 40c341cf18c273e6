//! The short form: counts that do not depend on the machine, held against what was recorded.
//!
//! One client at a time: so a data thread that wakes another one is seen to, each time.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Outcome, counts,
    peers::{Peer, Way, resin},
    report::joined,
    works::{Bench, Task},
};

const UNITS: u64 = 1_500;
/// So many more per unit are a gross regression.
const CALLS: f64 = 1.0;
const ALLOCATIONS: f64 = 3.0;

/// What a unit took when it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    pub calls: f64,
    pub allocations: f64,
}

type Record = BTreeMap<String, Counted>;

fn works() -> [(&'static str, Task); 3] {
    let requests = |way| Task::Requests { way, connections: 1, path: "/", body: 0 };
    [
        ("forward through a node", requests(Way::ForwardNode)),
        ("reverse direct", requests(Way::ReverseDirect)),
        ("CONNECT through a node", Task::Tunnels { way: Way::ConnectNode, clients: 1, each: 1 }),
    ]
}

/// Counts, and compares with the record or writes it.
pub async fn run(bench: &Bench<'_>, program: &Path, record: &Path, write: bool) -> Outcome<()> {
    let peer = resin::start(bench.world, program, &[]).await?;
    let mut found = Record::new();
    for (name, task) in works() {
        let counted = count(bench, &peer, program, name, task).await?;
        found.insert(name.to_owned(), counted);
    }
    if write {
        return Ok(fs::write(record, serde_json::to_string_pretty(&found)? + "\n")?);
    }
    let text = fs::read_to_string(record).map_err(|error| format!("{}: {error}", record.display()))?;
    let recorded: Record = serde_json::from_str(&text)?;
    let worse = worse(&recorded, &found);
    if worse.is_empty() { Ok(()) } else { Err(worse.join("\n").into()) }
}

async fn count(bench: &Bench<'_>, peer: &Peer, program: &Path, name: &str, task: Task) -> Outcome<Counted> {
    let calls = counts::calls(bench, task, peer, UNITS).await.map_err(|error| {
        format!("system calls are not counted, strace is missing or may not attach (apt-get install strace; ptrace): {error}")
    })?;
    let allocations = counts::allocations(bench, task, program, UNITS).await?;
    let total = calls.values().sum();
    println!("{name}: {total:.2} system calls ({}); {allocations:.2} allocations", joined(&calls));
    Ok(Counted { calls: total, allocations })
}

/// A sentence for each figure that is too high.
fn worse(recorded: &Record, found: &Record) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, now) in found {
        let Some(then) = recorded.get(name) else {
            worse.push(format!("{name}: nothing is recorded"));
            continue;
        };
        for (what, now, then, allowed) in [
            ("system calls", now.calls, then.calls, CALLS),
            ("allocations", now.allocations, then.allocations, ALLOCATIONS),
        ] {
            if now > then + allowed {
                worse.push(format!("{name}: {now:.2} {what}, recorded {then:.2}, at most {allowed} more"));
            }
        }
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(calls: f64, allocations: f64) -> Record {
        Record::from([("forward".to_owned(), Counted { calls, allocations })])
    }

    #[test]
    fn a_call_or_three_allocations_more_are_let_pass_and_not_a_bit_more() {
        let recorded = record(5.0, 10.0);
        assert_eq!(worse(&recorded, &record(6.0, 13.0)), Vec::<String>::new());
        assert_eq!(worse(&recorded, &record(6.1, 10.0)).len(), 1);
        assert_eq!(worse(&recorded, &record(6.1, 13.1)).len(), 2);
        assert_eq!(worse(&Record::new(), &recorded), ["forward: nothing is recorded"]);
    }
}
