//! Tables in Markdown, and the cells in them.

use super::Outcome;
use crate::ns::summary::Summary;

/// What stands where a system has no such figure.
pub(super) const NOTHING: &str = "–";

/// A table in the making.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: &str, columns: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn text(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("### {}\n\n{}", self.title, line(&self.columns));
        text.push_str(&format!("|{}\n", "---|".repeat(self.columns.len())));
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}

/// What the runs of a system have of a figure.
pub(super) fn summary(outcome: &Outcome, key: &str) -> Option<Summary> {
    let figures: Vec<_> = outcome
        .samples
        .iter()
        .filter_map(|sample| sample.get(key).copied())
        .collect();
    Summary::of(&figures)
}

/// The median, with so many digits.
pub(super) fn median(outcome: &Outcome, key: &str, digits: usize) -> String {
    summary(outcome, key).map_or_else(|| NOTHING.to_owned(), |all| format!("{:.digits$}", all.median))
}

/// The median with the least and the greatest, if there are several.
pub(super) fn spread(outcome: &Outcome, key: &str, digits: usize) -> String {
    let Some(all) = summary(outcome, key) else {
        return NOTHING.to_owned();
    };
    let Summary {
        median,
        least,
        greatest,
        ..
    } = all;
    if all.count == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} ({least:.digits$}–{greatest:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measures::Sample;

    #[test]
    fn a_figure_shows_median_and_spread() {
        let sample = |figure: f64| Sample::from([("x".to_owned(), figure)]);
        let outcome = Outcome {
            name: "system",
            settings: String::new(),
            version: Ok(String::new()),
            samples: [3.0, 1.0, 2.0].map(sample).into(),
            failures: Vec::new(),
        };
        assert_eq!(spread(&outcome, "x", 1), "2.0 (1.0–3.0)");
        assert_eq!(median(&outcome, "y", 1), NOTHING);
    }
}
