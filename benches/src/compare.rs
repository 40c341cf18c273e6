//! Two results beside each other: what has changed, and what is noise.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    Outcome,
    results::{Results, SCHEMA, WorkResult},
    statistics::{Change, change},
};

/// What a comparison has to tell from noise.
const WORTH_KNOWING: f64 = 0.05;

/// Reads what a run has written.
pub fn read(file: &Path) -> Outcome<Results> {
    let name = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("{name} is no JSON: {error}"))?;
    match value["schema"].as_u64() {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(schema) => return Err(format!("{name} has schema {schema}; this harness reads {SCHEMA}").into()),
        None => return Err(format!("{name} is no result of this harness: it names no schema").into()),
    }
    serde_json::from_value(value).map_err(|error| format!("{name}: {error}").into())
}

/// A line a work that both have, for one peer.
pub fn told(a: &Results, b: &Results, peer: &str) -> Outcome<String> {
    let mut text = format!("{} → {}: {peer}\n", a.machine.tree, b.machine.tree);
    if (&a.machine.processor, &a.machine.kernel) != (&b.machine.processor, &b.machine.kernel) {
        text.push_str("Two machines: only ratios are worth a look.\n");
    }
    writeln!(text, "{:<20} {:>9} {:>9} {:>8} {:>17}", "work", "before", "after", "change", "95 % within")?;
    let mut compared = 0;
    for before in &a.works {
        let Some(after) = b.works.iter().find(|work| work.name == before.name) else { continue };
        match values(before, peer).zip(values(after, peer)) {
            None => writeln!(text, "{:<20} has no rounds of {peer} in both", before.name)?,
            Some((before_values, after_values)) => {
                let change = change(&before_values, &after_values).ok_or("no values")?;
                writeln!(text, "{:<20} {}", before.name, line(&change))?;
                compared += 1;
            }
        }
    }
    if compared == 0 {
        return Err(format!("the two have no work with rounds of {peer} in common").into());
    }
    Ok(text)
}

/// Ratios to the measure for CPU time, where it ran; the figures themselves otherwise.
fn values(work: &WorkResult, peer: &str) -> Option<Vec<f64>> {
    let ratios = if work.main == "cpu_us" { work.ratios(peer) } else { Vec::new() };
    let slots = work.slots.iter().filter(|slot| slot.peer == peer);
    let figures: Vec<f64> = slots.filter_map(|slot| slot.figures.get(&work.main).copied()).collect();
    [ratios, figures].into_iter().find(|values| !values.is_empty())
}

fn line(change: &Change) -> String {
    let Change { before, after, ratio, low, high } = *change;
    let verdict = match (low, high) {
        _ if low == high => "one round: its noise is not known",
        (low, _) if low > 1.0 => "more",
        (_, high) if high < 1.0 => "less",
        (low, high) if low > 1.0 - WORTH_KNOWING && high < 1.0 + WORTH_KNOWING => "the same within 5 %",
        _ => "noise: 5 % cannot be told",
    };
    format!("{before:>9.3} {after:>9.3} {ratio:>8.3} {:>17}  {verdict}", format!("{low:.3} … {high:.3}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn of(text: &str) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        read(file.path()).unwrap_err().to_string()
    }

    #[test]
    fn bad_files_are_told_apart() {
        assert!(
            read(Path::new("/nowhere/a.json")).unwrap_err().to_string().contains("/nowhere/a.json: No such")
        );
        assert!(of("not at all").contains("is no JSON"));
        assert!(of("{}").contains("names no schema"));
        assert!(of("{\"schema\": 99}").contains("has schema 99"));
    }

    #[test]
    fn a_change_is_called_by_its_name() {
        let told = |before: &[f64], after: &[f64]| line(&change(before, after).unwrap());
        let quiet = [1.00, 1.01, 0.99, 1.00, 1.01];
        assert!(told(&quiet, &quiet.map(|value| value * 1.05)).ends_with("more"));
        assert!(told(&quiet, &quiet.map(|value| value * 0.90)).ends_with("less"));
        assert!(told(&quiet, &quiet).ends_with("the same within 5 %"));
        assert!(told(&[0.8, 1.2, 1.0, 1.3, 0.7], &[1.0, 0.8, 1.3, 0.7, 1.2]).ends_with("cannot be told"));
        assert!(told(&[1.0], &[1.1]).ends_with("not known"));
    }
}
