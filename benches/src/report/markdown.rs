//! The tables of `docs/performance.md`: they stand between two marks there, and the words around them are left alone.

use std::{fmt::Write as _, fs, path::Path};

use super::{figure, joined, svg};
use crate::{
    Outcome,
    results::{MEASURE, Results, WorkResult},
    statistics::Spread,
};

const BEGIN: &str = "<!-- written by make bench: begin -->";
const END: &str = "<!-- written by make bench: end -->";

/// Writes the tables into a page, which is made where there is none, and the plots beside it.
pub fn write(results: &Results, page: &Path) -> Outcome<()> {
    let old = fs::read_to_string(page).unwrap_or_else(|_| format!("# Performance\n\n{BEGIN}\n{END}\n"));
    let places = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        places.ok_or_else(|| format!("{} has no lines {BEGIN} and {END}", page.display()))?;
    let folder = page.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut text = tables(results)?;
    for (name, plot) in svg::all(results) {
        fs::write(folder.join(name), plot)?;
        write!(text, "\n![{name}]({name})\n")?;
    }
    Ok(fs::write(page, format!("{before}{BEGIN}\n{text}{END}{after}"))?)
}

fn tables(results: &Results) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let machine = &results.machine;
    writeln!(
        text,
        "{}, {} cores, {} MiB, Linux {}; the tree at {}. Versions: {}.\n",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.tree,
        results
            .versions
            .iter()
            .map(|(peer, version)| format!("{peer} {version}"))
            .collect::<Vec<_>>()
            .join(", "),
    )?;
    let of = |main: bool| move |work: &&WorkResult| (work.main == "cpu_us") == main && !work.slots.is_empty();
    time(&mut text, results, &results.works.iter().filter(of(true)).collect::<Vec<_>>())?;
    others(&mut text, &results.works.iter().filter(of(false)).collect::<Vec<_>>())?;
    latency(&mut text, &results.works)?;
    counts(&mut text, &results.works)?;
    missing(&mut text, &results.works)?;
    Ok(text)
}

fn head(text: &mut String, columns: &[&str]) -> std::fmt::Result {
    writeln!(text, "| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))
}

/// CPU time; beside the measure and resin all others as ratios.
fn time(text: &mut String, results: &Results, works: &[&WorkResult]) -> std::fmt::Result {
    let mut others: Vec<&str> = Vec::new();
    for peer in works.iter().flat_map(|work| work.peers()) {
        if peer != MEASURE && !results.ours.iter().any(|ours| ours == peer) && !others.contains(&peer) {
            others.push(peer);
        }
    }
    for ours in &results.ours {
        writeln!(text, "\nCPU time, {ours} beside the others\n")?;
        let columns = ["work", MEASURE, ours, "user + system", "ratio", "quartiles"];
        head(text, &[&columns[..], &others[..]].concat())?;
        for work in works {
            let (per, scale) =
                if work.unit == "request" || work.unit == "tunnel" { ("µs", 1.0) } else { ("s", 1e6) };
            let median = |peer: &str, name: &str| {
                work.spread(peer, name).map_or_else(String::new, |spread| figure(spread.median / scale))
            };
            let ratio = |peer: &str| Spread::of(work.ratios(peer));
            let own = ratio(ours).map_or_else(Default::default, |ratio| {
                (format!("**{:.2}**", ratio.median), format!("{:.2}–{:.2}", ratio.low, ratio.high))
            });
            write!(
                text,
                "| {} | {} {per} | {} | {} + {} | {} | {} |",
                work.title,
                median(MEASURE, "cpu_us"),
                median(ours, "cpu_us"),
                median(ours, "user_us"),
                median(ours, "system_us"),
                own.0,
                own.1
            )?;
            for other in &others {
                let ratio = ratio(other).map_or_else(String::new, |ratio| format!("{:.2}", ratio.median));
                write!(text, " {ratio} |")?;
            }
            writeln!(text)?;
        }
    }
    Ok(())
}

/// Memory, start: each peer with its own figures.
fn others(text: &mut String, works: &[&WorkResult]) -> std::fmt::Result {
    if works.is_empty() {
        return Ok(());
    }
    let mut peers: Vec<&str> = Vec::new();
    for peer in works.iter().flat_map(|work| work.peers()) {
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    writeln!(text, "\nMemory and the rest\n")?;
    head(text, &[&["work", "figure"][..], &peers[..]].concat())?;
    for work in works {
        let wanted =
            |name: &&str| !matches!(*name, "idle" | "busy" | "dials" | "rate" | "user_us" | "system_us");
        for name in work.figures().into_iter().filter(wanted) {
            write!(text, "| {} | {name} |", work.title)?;
            for peer in &peers {
                let value = work.spread(peer, name).map_or_else(String::new, |spread| figure(spread.median));
                write!(text, " {value} |")?;
            }
            writeln!(text)?;
        }
    }
    Ok(())
}

fn latency(text: &mut String, works: &[WorkResult]) -> std::fmt::Result {
    let mut titled = false;
    for work in works {
        for peer in work.peers() {
            let median = |name: &str| work.spread(peer, name).map(|spread| figure(spread.median));
            let Some((p50, p99)) = median("added_p50_us").zip(median("added_p99_us")) else { continue };
            if !titled {
                writeln!(text, "\nAdded latency at half load, µs\n")?;
                head(text, &["work", "peer", "p50", "p99"])?;
                titled = true;
            }
            writeln!(text, "| {} | {peer} | {p50} | {p99} |", work.title)?;
        }
    }
    Ok(())
}

fn counts(text: &mut String, works: &[WorkResult]) -> std::fmt::Result {
    if works.iter().all(|work| work.calls.is_empty()) {
        return Ok(());
    }
    writeln!(text, "\nSystem calls and allocations\n")?;
    head(text, &["work", "peer", "system calls", "of these", "allocations"])?;
    for work in works {
        for (peer, calls) in &work.calls {
            let total: f64 = calls.values().sum();
            let allocations = work.allocations.get(peer).map_or_else(String::new, |count| figure(*count));
            writeln!(text, "| {} | {peer} | {total:.2} | {} | {allocations} |", work.title, joined(calls))?;
        }
    }
    Ok(())
}

fn missing(text: &mut String, works: &[WorkResult]) -> std::fmt::Result {
    for work in works {
        for (peer, reason) in &work.missing {
            writeln!(text, "\nMissing: {peer} in “{}”: {reason}", work.title)?;
        }
    }
    Ok(())
}
