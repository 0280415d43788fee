//! Figures of many measurements in one line.

use std::fmt;

/// Least, median, 95th and 99th percentile and greatest of some measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many measurements.
    pub count: usize,
    /// The least.
    pub least: f64,
    /// The one in the middle.
    pub median: f64,
    /// The least one that at least 95 % do not exceed (nearest rank).
    pub p95: f64,
    /// The least one that at least 99 % do not exceed (nearest rank).
    pub p99: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Summary {
    /// Summarises; `None` where there are no measurements.
    pub fn of(measurements: &[f64]) -> Option<Self> {
        let mut sorted = measurements.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let count = sorted.len();
        let rank = |percent: usize| sorted.get((count * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self {
            count,
            least: *sorted.first()?,
            median: rank(50)?,
            p95: rank(95)?,
            p99: rank(99)?,
            greatest: *sorted.last()?,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            least,
            median,
            p95,
            p99,
            greatest,
        } = self;
        write!(
            f,
            "{count} runs: min {least:.1}  median {median:.1}  p95 {p95:.1}  p99 {p99:.1}  max {greatest:.1}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_is_the_last_but_one() {
        let numbers: Vec<_> = (1..=100).rev().map(f64::from).collect();
        let summary = Summary {
            count: 100,
            least: 1.0,
            median: 50.0,
            p95: 95.0,
            p99: 99.0,
            greatest: 100.0,
        };
        assert_eq!(Summary::of(&numbers), Some(summary));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_measurement_is_everything() {
        let summary = Summary {
            count: 1,
            least: 7.0,
            median: 7.0,
            p95: 7.0,
            p99: 7.0,
            greatest: 7.0,
        };
        assert_eq!(Summary::of(&[7.0]), Some(summary));
    }
}
