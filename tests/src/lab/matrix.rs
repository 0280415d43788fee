//! All pairs of kinds, several at once, each in a process of its own.
//!
//! What is not as it must be is made again alone at the end, so that a machine too busy for four labs is not taken for a node
//! that fails; both rows stay in the file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};

use super::expectation::Kinds;
use super::pair::Distance;
use super::row::{HEADER, Row};
use super::verdict::{Verdict, is_as_expected, latest};
use crate::ns::Access;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kinds, of which all pairs are measured.
    pub kinds: Vec<Access>,
    /// How often each pair.
    pub runs: u16,
    /// Every which pair of how many: 0 of 1 is all of them.
    pub shard: (usize, usize),
    /// How many pairs at once.
    pub at_once: usize,
    /// What packets meet.
    pub distance: Distance,
    /// Where the rows go.
    pub out: PathBuf,
    /// Whether to go on with the file that is there.
    pub resume: bool,
}

/// Some runs of one pair.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    kinds: Kinds,
    runs: Vec<u16>,
}

/// The file of rows, and what is in it.
struct Rows {
    file: File,
    rows: Vec<Row>,
}

impl Plan {
    /// Measures what the file does not have yet, and prints what all of it says. Returns whether it is as it must be.
    ///
    /// # Errors
    /// The file is of something else, or cannot be written. Runs that fail are rows.
    pub fn measure(&self) -> Result<bool> {
        let rows = Mutex::new(Rows::open(&self.out, self.resume)?);
        let jobs = self.missing(&lock(&rows).rows);
        let count: usize = jobs.iter().map(|job| job.runs.len()).sum();
        println!("{count} runs of {} pairs, {} pairs at once", jobs.len(), self.at_once);
        self.work(jobs, self.at_once, &rows);
        let again = self.again(&lock(&rows).rows);
        if !again.is_empty() {
            let count: usize = again.iter().map(|job| job.runs.len()).sum();
            println!("{count} runs of {} pairs once more, alone", again.len());
            self.work(again, 1, &rows);
        }
        let rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner).rows;
        let of_plan: Vec<_> = rows.into_iter().filter(|row| self.is_planned(row)).collect();
        let missing: usize = self.missing(&of_plan).iter().map(|job| job.runs.len()).sum();
        let verdict = Verdict::of(&of_plan);
        println!("{verdict}");
        if missing > 0 {
            println!("{missing} runs are missing: their processes have failed; --resume makes them again");
        }
        Ok(verdict.is_good() && missing == 0)
    }

    fn pairs(&self) -> Vec<Kinds> {
        let (shard, shards) = self.shard;
        let all = Kinds::all(&self.kinds).into_iter().enumerate();
        all.filter(|(number, _)| number % shards == shard)
            .map(|(_, kinds)| kinds)
            .collect()
    }

    fn is_planned(&self, row: &Row) -> bool {
        row.run < self.runs && row.distance == self.distance && self.pairs().contains(&row.kinds)
    }

    /// The runs of which there is no row.
    fn missing(&self, rows: &[Row]) -> Vec<Job> {
        let planned: Vec<_> = rows.iter().filter(|row| self.is_planned(row)).collect();
        self.jobs(|kinds, run| !planned.iter().any(|row| row.kinds == kinds && row.run == run))
    }

    /// The runs to make again: those that are not what they must be, and were measured beside others.
    fn again(&self, rows: &[Row]) -> Vec<Job> {
        let latest = latest(rows);
        let wrong: Vec<_> = latest
            .into_iter()
            .filter(|row| self.is_planned(row) && row.at_once > 1 && !is_as_expected(row))
            .collect();
        self.jobs(|kinds, run| wrong.iter().any(|row| row.kinds == kinds && row.run == run))
    }

    fn jobs(&self, wanted: impl Fn(Kinds, u16) -> bool) -> Vec<Job> {
        let job = |kinds: Kinds| Job {
            kinds,
            runs: (0..self.runs).filter(|run| wanted(kinds, *run)).collect(),
        };
        let jobs = self.pairs().into_iter().map(job);
        jobs.filter(|job| !job.runs.is_empty()).collect()
    }

    /// Does all jobs, so many at once. Of a process that fails the rows are missing.
    fn work(&self, jobs: Vec<Job>, at_once: usize, rows: &Mutex<Rows>) {
        let jobs = Mutex::new(VecDeque::from(jobs));
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        let Some(job) = lock(&jobs).pop_front() else { break };
                        if let Err(error) = self.run(&job, at_once, rows) {
                            println!("{}: {error:#}", job.kinds);
                        }
                    }
                });
            }
        });
    }

    /// Does a job in a process of its own, whose namespaces the next one removes whatever becomes of it.
    fn run(&self, job: &Job, at_once: usize, rows: &Mutex<Rows>) -> Result<()> {
        let [one, other] = job.kinds.0.map(|access| access.to_string());
        let numbers: Vec<_> = job.runs.iter().map(ToString::to_string).collect();
        // It ends with the thread that waits for it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe()?);
        command.args(["rows", &one, &other, "--runs", &numbers.join(",")]);
        command.args(["--at-once", &at_once.to_string()]);
        let Distance { delay_ms, loss } = self.distance;
        command.args(["--delay-ms", &delay_ms.to_string(), "--loss", &loss.to_string()]);
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().context("cannot start a process for the pair")?;
        let output = child.stdout.take().context("no output")?;
        let mut written = 0;
        for line in BufReader::new(output).lines() {
            let row: Row = line?.parse()?;
            ensure!(row.kinds == job.kinds, "a row of another pair: {row}");
            let shown = row.to_string();
            lock(rows).add(row)?;
            println!("{shown}");
            written += 1;
        }
        let status = child.wait()?;
        ensure!(
            status.success() && written == job.runs.len(),
            "{written} of {} runs, then {status}; see {}",
            job.runs.len(),
            self.log().display()
        );
        Ok(())
    }

    /// Where the processes write what fails.
    fn log(&self) -> PathBuf {
        self.out.with_extension("log")
    }
}

impl Rows {
    fn open(path: &Path, resume: bool) -> Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.try_lock()
            .with_context(|| format!("another measurement writes to {}", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        ensure!(
            text.is_empty() || resume,
            "{} is there already; go on with it by --resume",
            path.display()
        );
        let (rows, whole) = parse(&text).with_context(|| format!("{} is no file of rows", path.display()))?;
        // An interrupted run may have left half a line.
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        if whole == 0 {
            writeln!(file, "{HEADER}")?;
        }
        Ok(Self { file, rows })
    }

    fn add(&mut self, row: Row) -> Result<()> {
        // In one piece, so that an interruption leaves whole lines mostly.
        self.file.write_all(format!("{row}\n").as_bytes())?;
        self.rows.push(row);
        Ok(())
    }
}

/// The rows of a file, and the length of its whole lines.
fn parse(text: &str) -> Result<(Vec<Row>, usize)> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut lines = text[..whole].lines();
    let header = lines.next();
    ensure!(header.is_none_or(|line| line == HEADER), "another first line");
    Ok((lines.map(str::parse).collect::<Result<_>>()?, whole))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::row::{Outcome, Times};
    use super::*;

    fn plan(runs: u16, shard: (usize, usize)) -> Plan {
        Plan {
            kinds: Access::MATRIX.to_vec(),
            runs,
            shard,
            at_once: 4,
            distance: Distance::NONE,
            out: PathBuf::new(),
            resume: false,
        }
    }

    fn row(kinds: Kinds, run: u16, at_once: usize, outcome: Outcome) -> Row {
        Row {
            kinds,
            distance: Distance::NONE,
            run,
            at_once,
            outcome,
            times: (outcome == Outcome::Direct).then_some(Times {
                first_frame: 0.5,
                registered: 1.0,
                launched: 2.0,
            }),
            sent: 10,
            lost: 0,
            doubled: 0,
            load: 0.0,
        }
    }

    #[test]
    fn shards_are_all_pairs_together() {
        let mut pairs: Vec<_> = (0..5).flat_map(|shard| plan(1, (shard, 5)).pairs()).collect();
        assert_eq!(pairs.len(), 66);
        pairs.sort_by_key(ToString::to_string);
        pairs.dedup();
        assert_eq!(pairs.len(), 66);
    }

    #[test]
    fn only_what_is_missing_is_measured() {
        let plan = plan(2, (0, 1));
        let first = plan.pairs()[0];
        let rows = [row(first, 0, 4, Outcome::Direct)];
        let missing = plan.missing(&rows);
        assert_eq!(missing.len(), 66);
        assert_eq!(missing[0].runs, [1]);
        assert_eq!(missing[1].runs, [0, 1]);
        let other = Row {
            distance: Distance {
                delay_ms: 75.0,
                loss: 0.0,
            },
            ..rows[0].clone()
        };
        assert_eq!(plan.missing(&[other])[0].runs, [0, 1], "over another distance");
    }

    #[test]
    fn what_fails_beside_others_is_made_again_once() {
        let plan = plan(2, (0, 1));
        let first = plan.pairs()[0];
        let failed = row(first, 1, 4, Outcome::Failed);
        let rows = [row(first, 0, 4, Outcome::Direct), failed.clone()];
        let again = plan.again(&rows);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].kinds, &again[0].runs[..]), (first, &[1][..]));
        let alone = row(first, 1, 1, Outcome::Failed);
        assert!(plan.again(&[failed, alone]).is_empty());
    }

    #[test]
    fn half_a_line_is_cut_off() {
        let whole = format!("{HEADER}\n{}\n", row(plan(1, (0, 1)).pairs()[0], 0, 4, Outcome::Direct));
        let (rows, length) = parse(&format!("{whole}none x no")).unwrap();
        assert_eq!((rows.len(), length), (1, whole.len()));
        assert!(parse("something else\n").is_err());
        assert_eq!(parse("").unwrap().1, 0);
    }
}
