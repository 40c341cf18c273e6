//! What was found, told.

pub mod markdown;
pub mod svg;
pub mod table;

use crate::results::Figures;

/// A number with three digits that matter.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => String::new(),
        size if size >= 100.0 => thousands(value),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left % 3 == 0 && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The largest first; what happens to less than one in twenty is left out.
pub fn joined(figures: &Figures) -> String {
    let mut figures: Vec<(&String, &f64)> = figures.iter().filter(|(_, value)| **value >= 0.05).collect();
    figures.sort_by(|a, b| b.1.total_cmp(a.1));
    let figures: Vec<String> = figures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
    figures.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_matter() {
        let figures = [0.0, 0.0042, 0.25, 1.234, 16.04, 160.4, 672_250.9, -1234.0].map(figure);
        assert_eq!(figures, ["0.00", "0.0042", "0.25", "1.23", "16.0", "160", "672,251", "-1,234"]);
    }

    #[test]
    fn the_largest_comes_first_and_what_is_next_to_nothing_not_at_all() {
        let figures = [("futex", 0.001), ("recvfrom", 2.0), ("epoll_wait", 0.5)];
        let figures = figures.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(joined(&figures), "recvfrom 2.00, epoll_wait 0.50");
    }
}
