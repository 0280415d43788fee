//! One measured run, as a line of a CSV file.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};

use super::expectation::Kinds;
use super::pair::Distance;

/// The first line of the file.
pub const HEADER: &str =
    "pair,delay_ms,loss,run,at_once,outcome,first_frame_s,registered_s,launched_s,sent,lost,doubled,load";

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both nodes send straight to each other, and the core sees it.
    Direct,
    /// Frames go over a supernode still.
    Relay,
    /// The run could not be made or judged.
    Failed,
}

/// Seconds until the frames of a run went straight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// From the first frame.
    pub first_frame: f64,
    /// From the moment at which both nodes were registered at a supernode.
    pub registered: f64,
    /// From the start of both programs, which have an identity and nothing else: a cold start.
    pub launched: f64,
}

/// One run of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The kinds.
    pub kinds: Kinds,
    /// What packets meet.
    pub distance: Distance,
    /// Number of the run.
    pub run: u16,
    /// How many pairs were measured at the same time.
    pub at_once: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was direct, if it was.
    pub times: Option<Times>,
    /// Pings sent.
    pub sent: usize,
    /// Pings without an answer.
    pub lost: usize,
    /// Answers besides the first to each ping.
    pub doubled: usize,
    /// The machine's load average over the last minute, when the run began.
    pub load: f64,
}

impl Row {
    /// What must be the same for two rows to be of the same run.
    pub fn key(&self) -> String {
        let Distance { delay_ms, loss } = self.distance;
        format!("{} {delay_ms} {loss} {}", self.kinds, self.run)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kinds,
            distance: Distance { delay_ms, loss },
            run,
            at_once,
            outcome,
            times,
            sent,
            lost,
            doubled,
            load,
        } = self;
        let outcome = match outcome {
            Outcome::Direct => "direct",
            Outcome::Relay => "relay",
            Outcome::Failed => "failed",
        };
        write!(f, "{kinds},{delay_ms},{loss},{run},{at_once},{outcome},")?;
        match times {
            Some(times) => {
                let Times {
                    first_frame,
                    registered,
                    launched,
                } = times;
                write!(f, "{first_frame:.3},{registered:.3},{launched:.3},")?;
            }
            None => f.write_str(",,,")?,
        }
        write!(f, "{sent},{lost},{doubled},{load:.2}")
    }
}

impl FromStr for Row {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let columns: Vec<_> = line.split(',').collect();
        ensure!(
            columns.len() == HEADER.split(',').count(),
            "a line with {} columns: {line}",
            columns.len()
        );
        let number = |column: usize| columns[column].parse::<f64>().with_context(|| line.to_owned());
        let count = |column: usize| columns[column].parse::<usize>().with_context(|| line.to_owned());
        let outcome = match columns[5] {
            "direct" => Outcome::Direct,
            "relay" => Outcome::Relay,
            "failed" => Outcome::Failed,
            other => anyhow::bail!("an unknown outcome {other}"),
        };
        let times = if columns[6].is_empty() {
            None
        } else {
            Some(Times {
                first_frame: number(6)?,
                registered: number(7)?,
                launched: number(8)?,
            })
        };
        Ok(Self {
            kinds: columns[0].parse()?,
            distance: Distance {
                delay_ms: number(1)?,
                loss: number(2)?,
            },
            run: columns[3].parse()?,
            at_once: count(4)?,
            outcome,
            times,
            sent: count(9)?,
            lost: count(10)?,
            doubled: count(11)?,
            load: number(12)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() {
        let row = |outcome, times| Row {
            kinds: "port x port/sym".parse().unwrap(),
            distance: Distance {
                delay_ms: 75.0,
                loss: 0.05,
            },
            run: 3,
            at_once: 4,
            outcome,
            times,
            sent: 100,
            lost: 1,
            doubled: 0,
            load: 5.25,
        };
        let times = Times {
            first_frame: 0.25,
            registered: 0.5,
            launched: 1.5,
        };
        for row in [row(Outcome::Direct, Some(times)), row(Outcome::Relay, None)] {
            let line = row.to_string();
            assert_eq!(line.split(',').count(), HEADER.split(',').count());
            assert_eq!(line.parse::<Row>().unwrap(), row);
        }
        for bad in ["", HEADER, "port x port,0,0,1,4,direct,0,0,0,1,0,0"] {
            assert!(bad.parse::<Row>().is_err(), "{bad}");
        }
    }
}
