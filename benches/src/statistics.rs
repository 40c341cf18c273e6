//! Medians, quartiles, and how sure a change is.

/// So often are values drawn anew.
const DRAWS: usize = 4_000;

/// The middle half of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub count: usize,
}

impl Spread {
    /// None of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        if values.is_empty() {
            return None;
        }
        Some(Self {
            median: quantile(&values, 0.5),
            low: quantile(&values, 0.25),
            high: quantile(&values, 0.75),
            count: values.len(),
        })
    }
}

/// Of sorted values, between two neighbours where it falls between them.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// From one median to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub before: f64,
    pub after: f64,
    pub ratio: f64,
    /// The ratio lies between these in 95 of 100 cases, as far as the values tell.
    pub low: f64,
    pub high: f64,
}

/// By bootstrap: as if the rounds had been others of their kind. None where one side has no values.
pub fn change(before: &[f64], after: &[f64]) -> Option<Change> {
    let (first, second) = (Spread::of(before.to_vec())?.median, Spread::of(after.to_vec())?.median);
    // Two comparisons of the same files say the same.
    let mut random = fastrand::Rng::with_seed(7);
    let mut drawn = |values: &[f64]| {
        let values = (0..values.len()).map(|_| values[random.usize(..values.len())]).collect();
        Spread::of(values).map_or(f64::NAN, |spread| spread.median)
    };
    let mut ratios: Vec<f64> = (0..DRAWS).map(|_| 1.0 / drawn(before) * drawn(after)).collect();
    ratios.sort_by(f64::total_cmp);
    let (low, high) = (quantile(&ratios, 0.025), quantile(&ratios, 0.975));
    Some(Change { before: first, after: second, ratio: second / first, low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_fall_between_neighbours() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high, spread.count), (1.75, 2.5, 3.25, 4));
    }

    #[test]
    fn of_nothing_there_is_no_spread() {
        assert_eq!(Spread::of(vec![f64::NAN]), None);
    }

    #[test]
    fn a_change_comes_with_its_noise() {
        let change = change(&[1.0, 1.1, 0.9, 1.0, 1.05], &[2.0, 2.2, 1.8, 2.0, 2.1]).unwrap();
        assert_eq!(change.ratio, 2.0);
        assert!(change.low < 2.0 && change.high > 2.0 && change.low > 1.6 && change.high < 2.5, "{change:?}");
        assert_eq!(super::change(&[], &[1.0]), None);
    }
}
