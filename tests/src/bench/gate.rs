//! The comparison of this commit with an earlier one: processor time per gigabyte of TCP, one stream, both directions.

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::measures::Sample;
use super::plan::{GATE_PAIRS, RUNS};
use crate::ns::summary::Summary;

/// By how much the median may grow. Medians of interleaved runs on a busy machine differ by less.
const ALLOWED: f64 = 1.10;

/// The figure that is compared: seconds of processor time per gigabyte of all programs that take part.
const FIGURE: &str = "tcp1.both.cpu.all";

/// Prints the figures of each pair and compares them.
///
/// # Errors
/// There are too few runs, or a present figure is more than 10 % above the earlier one.
pub fn judge(outcomes: &[Outcome]) -> Result<()> {
    let mut grown = Vec::new();
    for (index, pair) in GATE_PAIRS.into_iter().enumerate() {
        let [present, earlier] = pair.map(|name| {
            let outcome = outcomes.iter().find(|outcome| outcome.name == name);
            outcome.with_context(|| format!("{name} was not measured"))
        });
        let (present, earlier) = (present?, earlier?);
        // Commits before there was a build without encryption have none to compare with.
        if let (1.., Err(reason)) = (index, &earlier.version) {
            println!("gate: {} is not compared: {reason}", present.name);
            continue;
        }
        let [now, then] = [present, earlier].map(figure);
        let (now, then) = (now?, then?);
        let growth = (now / then - 1.0) * 100.0;
        println!(
            "gate: {} {growth:+.1} %, allowed {:+.0} %",
            present.name,
            (ALLOWED - 1.0) * 100.0
        );
        if now > then * ALLOWED {
            grown.push(format!("{} by {growth:.1} %", present.name));
        }
    }
    ensure!(
        grown.is_empty(),
        "TCP costs more processor time than with the earlier commit: {}",
        grown.join(", ")
    );
    Ok(())
}

/// Prints the figure of a system and returns its median.
fn figure(outcome: &Outcome) -> Result<f64> {
    let name = outcome.name;
    if let Err(reason) = &outcome.version {
        anyhow::bail!("{name}: {reason}");
    }
    let Summary {
        median,
        least,
        greatest,
        count,
        ..
    } = summary(&outcome.samples).with_context(|| name.to_owned())?;
    println!("{name}: {median:.3} CPU s/GB ({least:.3} to {greatest:.3}, {count} runs)");
    Ok(median)
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
        let pairs = |present: &[f64], plain: &[f64]| {
            let [[a, b], [c, d]] = GATE_PAIRS;
            [
                outcome(a, present),
                outcome(b, &earlier),
                outcome(c, plain),
                outcome(d, &earlier),
            ]
        };
        let judged = |present: &[f64], plain: &[f64]| judge(&pairs(present, plain));
        let (less, more) = ([1.09, 1.09, 1.09, 9.0, 9.0], [1.11, 1.11, 1.11, 0.1, 0.1]);
        assert!(judged(&less, &less).is_ok());
        assert!(judged(&more, &less).is_err());
        assert!(judged(&less, &more).is_err());
        assert!(judged(&[1.0; 4], &less).is_err());
        assert!(judged(&less, &[1.0; 4]).is_err());
    }

    #[test]
    fn only_an_earlier_build_without_encryption_may_be_missing() {
        let judged = |missing: usize| {
            let mut all = Vec::from(GATE_PAIRS.as_flattened())
                .into_iter()
                .map(|name| outcome(name, &[1.0; 5]))
                .collect::<Vec<_>>();
            all[missing].version = Err("not built".to_owned());
            judge(&all)
        };
        assert_eq!(
            [0, 1, 2, 3].map(|missing| judged(missing).is_ok()),
            [false, false, false, true]
        );
    }
}
