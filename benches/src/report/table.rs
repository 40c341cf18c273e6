//! Tables for the terminal.

use std::fmt::Write as _;

use super::{figure, joined};
use crate::{
    results::{MEASURE, WorkResult},
    statistics::Spread,
};

/// Of time; the other works show whatever they have.
const COLUMNS: [&str; 5] = ["user_us", "system_us", "rate", "dials", "busy"];

/// One work: a line a peer, and what was counted.
pub fn work(result: &WorkResult) -> String {
    let mut text = format!("\n{} ({}; per {})\n", result.title, result.name, result.unit);
    let names: Vec<&str> = result.figures().into_iter().filter(|name| *name != result.main).collect();
    let known: Vec<&str> = COLUMNS.into_iter().filter(|column| names.contains(column)).collect();
    let further = names.into_iter().filter(|name| !known.contains(name));
    let columns: Vec<&str> = known.iter().copied().chain(further).collect();
    text += &line(
        "",
        &result.main,
        "quartiles",
        "ratio",
        "quartiles",
        columns.iter().map(|name| (*name).to_owned()),
    );
    for peer in result.peers() {
        let Some(main) = result.spread(peer, &result.main) else { continue };
        let ratio = if peer == MEASURE { None } else { Spread::of(result.ratios(peer)) };
        let (ratio, ratios) =
            ratio.map_or_else(Default::default, |ratio| (format!("{:.2}", ratio.median), quartiles(ratio)));
        let values = columns
            .iter()
            .map(|name| result.spread(peer, name).map_or_else(String::new, |s| figure(s.median)));
        text += &line(peer, &figure(main.median), &quartiles(main), &ratio, &ratios, values);
    }
    for (peer, calls) in &result.calls {
        let total: f64 = calls.values().sum();
        let _never = writeln!(text, "  {peer:<14} {total:.2} system calls: {}", joined(calls));
    }
    for (peer, allocations) in &result.allocations {
        let _never = writeln!(text, "  {peer:<14} {allocations:.2} allocations");
    }
    for (peer, reason) in &result.missing {
        let _never = writeln!(text, "  {peer:<14} missing: {reason}");
    }
    text
}

fn quartiles(spread: Spread) -> String {
    format!("{} … {}", figure(spread.low), figure(spread.high))
}

fn line(
    peer: &str,
    main: &str,
    quartiles: &str,
    ratio: &str,
    ratios: &str,
    values: impl Iterator<Item = String>,
) -> String {
    let values: String = values.map(|value| format!(" {value:>12}")).collect();
    format!("  {peer:<14} {main:>12} {quartiles:>19} {ratio:>7} {ratios:>13}{values}\n")
}
