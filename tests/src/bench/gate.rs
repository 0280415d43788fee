//! The comparison of this commit with an earlier one: processor time per gigabyte of TCP, one stream, both directions.

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::measures::Sample;
use super::plan::{GATE_SYSTEMS, RUNS};
use crate::ns::summary::Summary;

/// By how much the median may grow. Medians of interleaved runs on a busy machine differ by less.
const ALLOWED: f64 = 1.10;

/// The figure that is compared: seconds of processor time per gigabyte of all programs that take part.
const FIGURE: &str = "tcp1.both.cpu.all";

/// Prints both figures and compares them.
///
/// # Errors
/// There are too few runs, or the present figure is more than 10 % above the earlier one.
pub fn judge(outcomes: &[Outcome]) -> Result<()> {
    let [present, earlier] = GATE_SYSTEMS.map(|name| -> Result<Summary> {
        let outcome = outcomes.iter().find(|outcome| outcome.name == name);
        let outcome = outcome.with_context(|| format!("{name} was not measured"))?;
        if let Err(reason) = &outcome.version {
            anyhow::bail!("{name}: {reason}");
        }
        let summary = summary(&outcome.samples)?;
        println!(
            "{name}: {:.3} CPU s/GB ({:.3} to {:.3}, {} runs)",
            summary.median, summary.least, summary.greatest, summary.count
        );
        Ok(summary)
    });
    let (present, earlier) = (present?.median, earlier?.median);
    let growth = (present / earlier - 1.0) * 100.0;
    println!("gate: {growth:+.1} %, allowed {:+.0} %", (ALLOWED - 1.0) * 100.0);
    ensure!(
        present <= earlier * ALLOWED,
        "TCP costs {growth:+.1} % processor time against the earlier commit"
    );
    Ok(())
}

fn summary(samples: &[Sample]) -> Result<Summary> {
    let figures: Vec<_> = samples
        .iter()
        .filter_map(|sample| sample.get(FIGURE).copied())
        .collect();
    ensure!(
        figures.len() >= RUNS as usize,
        "only {} runs have a figure; {RUNS} are needed",
        figures.len()
    );
    Summary::of(&figures).context("no runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &'static str, figures: &[f64]) -> Outcome {
        let sample = |figure: &f64| Sample::from([(FIGURE.to_owned(), *figure)]);
        Outcome {
            name,
            settings: String::new(),
            version: Ok(String::new()),
            samples: figures.iter().map(sample).collect(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn ten_percent_pass_and_more_do_not() {
        let earlier = [1.0, 1.0, 1.0, 1.0, 5.0];
        let judged = |present: &[f64]| judge(&[outcome("farlan", present), outcome("farlan-previous", &earlier)]);
        assert!(judged(&[1.09, 1.09, 1.09, 9.0, 9.0]).is_ok());
        assert!(judged(&[1.11, 1.11, 1.11, 0.1, 0.1]).is_err());
        assert!(judged(&[1.0; 4]).is_err());
    }
}
