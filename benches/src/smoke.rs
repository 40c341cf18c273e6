//! The short form: counts that do not depend on the machine, held against what was recorded.
//!
//! One client at a time, so that a thread that waits is found waiting: a data thread that wakes it makes a call then.
//! Only the data threads' calls are counted, as what is done by the clock depends on how long the rest takes.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    Outcome,
    counts::{self, Allocations, Whose},
    peers::{
        Way,
        resin::{self, Life},
    },
    report::joined,
    results::Figures,
    works::{Bench, Task},
};

const UNITS: u64 = 1_500;
/// So many more per unit are a gross regression.
const CALLS: f64 = 1.0;
const ALLOCATIONS: f64 = 3.0;
/// Another thread is woken by one of these; half of one more means that it is woken every other time.
const WAKING: [&str; 2] = ["futex", "write"];
const WAKES: f64 = 0.5;

/// What a unit took when it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    pub calls: f64,
    pub wakes: f64,
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
    let peer = resin::start(bench.world, program, Life::Counted).await?;
    let mut found = Record::new();
    let counting = Allocations::new(bench, program, works().map(|(_, task)| task).to_vec()).await?;
    for (name, task) in works() {
        let calls = match counts::calls(bench, task, &peer, Whose::DataThreads, (UNITS, 1)).await {
            Err(reason) if !write && reason.to_string().starts_with("strace") => {
                println!("{name}: skipped: system calls are not counted, {reason}");
                Figures::from([("none".to_owned(), f64::NAN)])
            }
            calls => calls?,
        };
        let allocations = counting.per_unit(task).await?;
        let total = calls.values().sum();
        let wakes = WAKING.iter().filter_map(|name| calls.get(*name)).sum();
        println!("{name}: {total:.2} system calls ({}), {allocations:.2} allocations", joined(&calls));
        found.insert(name.to_owned(), Counted { calls: total, wakes, allocations });
    }
    if write {
        return Ok(fs::write(record, serde_json::to_string_pretty(&found)? + "\n")?);
    }
    let text = fs::read_to_string(record).map_err(|error| format!("{}: {error}", record.display()))?;
    let recorded: Record = serde_json::from_str(&text)?;
    let worse = worse(&recorded, &found);
    if worse.is_empty() { Ok(()) } else { Err(worse.join("\n").into()) }
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
            ("calls that wake a thread", now.wakes, then.wakes, WAKES),
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

    fn record(calls: f64, wakes: f64, allocations: f64) -> Record {
        Record::from([("forward".to_owned(), Counted { calls, wakes, allocations })])
    }

    #[test]
    fn a_call_or_three_allocations_more_are_let_pass_and_not_a_bit_more() {
        let recorded = record(5.0, 0.0, 10.0);
        assert_eq!(worse(&recorded, &record(6.0, 0.5, 13.0)), Vec::<String>::new());
        assert_eq!(worse(&recorded, &record(6.1, 0.0, 10.0)).len(), 1);
        assert_eq!(worse(&recorded, &record(6.1, 0.6, 13.1)).len(), 3);
        assert_eq!(worse(&Record::new(), &recorded), ["forward: nothing is recorded"]);
    }

    #[test]
    fn a_wake_per_request_is_too_much_even_where_other_calls_were_saved() {
        assert_eq!(worse(&record(5.0, 0.0, 10.0), &record(4.0, 1.0, 10.0)).len(), 1);
    }
}
