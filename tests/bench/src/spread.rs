//! A figure that was measured several times.

use std::fmt;

/// The median of several measurements, and from where to where they go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Of these; not a number if there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        let middle =
            if values.len().is_multiple_of(2) { f64::midpoint(at(last / 2), at(last / 2 + 1)) } else { at(last / 2) };
        Self { median: middle, least: at(0), greatest: at(last) }
    }
}

impl fmt::Display for Spread {
    /// With as many digits as asked for, two if none are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.least, self.greatest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).to_string(), "2.00 (1.00–3.00)");
        assert_eq!(format!("{:.1}", Spread::of(vec![4.0, 1.0])), "2.5 (1.0–4.0)");
        assert_eq!(Spread::of(vec![5.0]).to_string(), "5.00 (5.00–5.00)");
        assert!(Spread::of(Vec::new()).median.is_nan());
    }
}
