//! One measurement many times, each in a lab of its own, several at once; and the distribution of each of its figures.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::ns::summary::Summary;
use crate::ns::{Lab, limit};

/// How long the building of a lab and the start of the programs in it may take, besides what is measured.
const BUILD_LIMIT: Duration = Duration::from_secs(240);

/// How often.
#[derive(Args, Clone, Debug)]
pub struct Repeat {
    /// How often.
    #[arg(long, default_value_t = 10)]
    pub runs: u16,
    /// How many labs at once. A busy machine adds to what is measured.
    #[arg(long, default_value_t = 2)]
    pub at_once: u16,
}

/// The figures of one run: their names, and what they are.
pub type Figures = Vec<(&'static str, f64)>;

/// A goal for a figure, as it stands in the description of what farlan promises.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The figure's name.
    pub figure: &'static str,
    /// Which share of the runs may not exceed it, as a percentile: 95, or 100 for all.
    pub percentile: u8,
    /// The most it may be.
    pub most: f64,
}

/// The figures of all runs.
#[derive(Debug, Default)]
pub struct Table {
    names: Vec<&'static str>,
    runs: Vec<Figures>,
    failed: usize,
}

impl Repeat {
    /// Calls `once` for each run with a lab, and prints each run's figures and those of all. A run that fails counts as one that
    /// misses all goals. `each` is how long a run may take. Returns whether the goals were kept.
    ///
    /// # Errors
    /// None so far; what fails is counted.
    pub fn measure(
        &self,
        what: &str,
        each: Duration,
        goals: &[Goal],
        once: impl Fn(&mut Lab, u16) -> Result<Figures> + Sync,
    ) -> Result<bool> {
        let (next, table) = (AtomicU16::new(0), Mutex::new(Table::default()));
        thread::scope(|scope| {
            for _ in 0..self.at_once.clamp(1, self.runs.max(1)) {
                scope.spawn(|| {
                    loop {
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        if run >= self.runs {
                            break;
                        }
                        let outcome = limit::beside_others(BUILD_LIMIT + each, |lab| once(lab, run));
                        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
                        match outcome {
                            Ok(figures) => {
                                println!("{what}, run {run}: {}", shown(&figures));
                                table.add(figures);
                            }
                            Err(error) => {
                                println!("{what}, run {run} failed: {error:#}");
                                table.failed += 1;
                            }
                        }
                    }
                });
            }
        });
        let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
        println!("{what}:\n{table}");
        let missed: Vec<_> = goals.iter().filter(|goal| !table.keeps(goal)).collect();
        for goal in &missed {
            println!(
                "  missed: {} of at most {} (p{})",
                goal.figure, goal.most, goal.percentile
            );
        }
        Ok(missed.is_empty() && table.failed == 0)
    }
}

impl Table {
    fn add(&mut self, figures: Figures) {
        for (name, _) in &figures {
            if !self.names.contains(name) {
                self.names.push(name);
            }
        }
        self.runs.push(figures);
    }

    fn values(&self, name: &str) -> Vec<f64> {
        let figures = self.runs.iter().flatten();
        figures
            .filter(|(other, _)| *other == name)
            .map(|(_, value)| *value)
            .collect()
    }

    fn keeps(&self, goal: &Goal) -> bool {
        let Some(summary) = Summary::of(&self.values(goal.figure)) else {
            return false;
        };
        let value = if goal.percentile >= 100 {
            summary.greatest
        } else {
            summary.p95
        };
        value <= goal.most
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            if let Some(summary) = Summary::of(&self.values(name)) {
                let Summary {
                    count,
                    median,
                    p95,
                    greatest,
                    ..
                } = summary;
                writeln!(
                    f,
                    "  {name}: p50 {median:.2}  p95 {p95:.2}  max {greatest:.2}  ({count} runs)"
                )?;
            }
        }
        write!(f, "  failed runs: {}", self.failed)
    }
}

fn shown(figures: &Figures) -> String {
    let figures = figures.iter().map(|(name, value)| format!("{name} {value:.2}"));
    figures.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_kept_or_missed() {
        let mut table = Table::default();
        for number in 1..=100 {
            table.add(vec![("seconds", f64::from(number)), ("lost", 0.0)]);
        }
        let goal = |figure, percentile, most| Goal {
            figure,
            percentile,
            most,
        };
        assert!(table.keeps(&goal("seconds", 95, 95.0)));
        assert!(!table.keeps(&goal("seconds", 95, 94.0)));
        assert!(!table.keeps(&goal("seconds", 100, 99.0)));
        assert!(table.keeps(&goal("lost", 100, 0.0)));
        assert!(
            !table.keeps(&goal("unmeasured", 100, 0.0)),
            "what was not measured is not kept"
        );
    }
}
