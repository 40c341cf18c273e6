//! Plots: CPU time per unit over what grows.

use std::fmt::Write as _;

use crate::results::Results;

/// A plot's file, its title, and the works that are its points, each with what stands below it.
type Plot = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const PLOTS: [Plot; 2] = [
    (
        "cpu-by-connections.svg",
        "forward through a node: CPU per request, µs, by connections",
        &[
            ("forward-node-1", "1"),
            ("forward-node-32", "32"),
            ("forward-node-256", "256"),
            ("forward-node-2000", "2,000"),
        ],
    ),
    (
        "cpu-by-nodes.svg",
        "CONNECT: CPU per tunnel, µs, by nodes in the pool",
        &[("nodes-1", "1"), ("nodes-1000", "1,000"), ("nodes-100000", "100,000")],
    ),
];
const COLOURS: [&str; 6] = ["#1f77b4", "#d62728", "#7f7f7f", "#2ca02c", "#9467bd", "#ff7f0e"];
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;

/// A line: a peer and its points, by place.
struct Line<'a> {
    peer: &'a str,
    points: Vec<(usize, f64)>,
}

/// Each plot that has something to show, with its file name.
pub fn all(results: &Results) -> Vec<(&'static str, String)> {
    let plot = |(file, title, works): Plot| {
        let lines = lines(results, works);
        (!lines.is_empty()).then(|| (file, draw(title, works, &lines)))
    };
    PLOTS.into_iter().filter_map(plot).collect()
}

fn lines<'a>(results: &'a Results, works: &[(&str, &str)]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line<'a>> = Vec::new();
    for (place, (name, _)) in works.iter().enumerate() {
        let Some(work) = results.works.iter().find(|work| work.name == *name) else { continue };
        for peer in work.peers() {
            let Some(spread) = work.spread(peer, "cpu_us") else { continue };
            match lines.iter_mut().find(|line| line.peer == peer) {
                Some(line) => line.points.push((place, spread.median)),
                None => lines.push(Line { peer, points: vec![(place, spread.median)] }),
            }
        }
    }
    lines.retain(|line| line.points.len() > 1);
    lines
}

fn draw(title: &str, works: &[(&str, &str)], lines: &[Line<'_>]) -> String {
    let values = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let top = values.fold(1.0, f64::max) * 1.05;
    let step = (WIDTH - LEFT - RIGHT) / (works.len() - 1) as f64;
    let x = |place: usize| LEFT + step * place as f64;
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"20\" \
         font-size=\"14\">{title}</text>\n"
    );
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let (height, end) = (y(value), WIDTH - RIGHT);
        let _never = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{height:.1}\" y2=\"{height:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" \
             y=\"{:.1}\" text-anchor=\"end\">{value:.0}</text>",
            LEFT - 6.0,
            height + 4.0
        );
    }
    for (place, (_, label)) in works.iter().enumerate() {
        let _never = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            x(place),
            HEIGHT - 20.0
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> =
            line.points.iter().map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value))).collect();
        let row = TOP + 16.0 * number as f64;
        let _never = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{row}\" \
             fill=\"{colour}\">{}</text>",
            points.join(" "),
            WIDTH - RIGHT + 12.0,
            line.peer
        );
    }
    text + "</svg>\n"
}
