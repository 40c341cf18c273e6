//! Tables for the terminal.

use crate::{
    results::{MEASURE, WorkResult},
    statistics::Spread,
};

/// One work: a line a peer.
pub fn work(result: &WorkResult) -> String {
    let mut text = format!("\n{} ({}; per {})\n", result.title, result.name, result.unit);
    text += &format!(
        "  {:<14} {:>9} {:>17}  {:>8} {:>8}  {:>6} {:>13}  {:>9} {:>7} {:>5}\n",
        result.main, "median", "quartiles", "user", "system", "ratio", "quartiles", "rate", "dials", "busy"
    );
    for peer in result.peers() {
        let Some(main) = result.spread(peer, &result.main) else { continue };
        let median = |figure: &str| result.spread(peer, figure).map_or(f64::NAN, |spread| spread.median);
        let ratio = if peer == MEASURE { None } else { Spread::of(result.ratios(peer)) };
        let (ratio, quartiles) = ratio.map_or_else(Default::default, |ratio| {
            (format!("{:.2}", ratio.median), format!("{:.2} … {:.2}", ratio.low, ratio.high))
        });
        text += &format!(
            "  {:<14} {:>9.2} {:>17}  {:>8.2} {:>8.2}  {:>6} {:>13}  {:>9.0} {:>7.4} {:>5.2}\n",
            peer,
            main.median,
            format!("{:.2} … {:.2}", main.low, main.high),
            median("user_us"),
            median("system_us"),
            ratio,
            quartiles,
            median("rate"),
            median("dials"),
            median("busy"),
        );
    }
    for (peer, reason) in &result.missing {
        text += &format!("  {peer:<14} missing: {reason}\n");
    }
    text
}
