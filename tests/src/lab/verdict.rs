//! What many runs say together: whether pairs kept what is expected of them, and how soon they were direct.

use std::collections::BTreeMap;
use std::fmt;

use super::expectation::{Class, DIRECT_MAX, DIRECT_P95, Expected, Kinds};
use super::pair::Distance;
use super::row::{Outcome, Row};
use crate::ns::summary::Summary;

/// Whether a run is what it must be.
pub fn is_as_expected(row: &Row) -> bool {
    match (row.kinds.expected(), row.outcome, row.times) {
        (Expected::Direct, Outcome::Direct, Some(times)) => times.first_frame <= DIRECT_MAX.as_secs_f64(),
        // On a wire that loses packets frames are lost, whatever the nodes do. A direct path is never worse.
        (Expected::Relay, Outcome::Relay | Outcome::Direct, _) => {
            row.lost == 0 && row.doubled == 0 || row.distance.loss > 0.0
        }
        _ => false,
    }
}

/// The rows that count: of the runs that were made again, the last.
pub fn latest(rows: &[Row]) -> Vec<&Row> {
    let mut latest: BTreeMap<String, (usize, &Row)> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let place = latest.get(&row.key()).map_or(place, |(first, _)| *first);
        latest.insert(row.key(), (place, row));
    }
    let mut rows: Vec<_> = latest.into_values().collect();
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The table that is printed at the end.
#[derive(Debug)]
pub struct Verdict<'a> {
    rows: Vec<&'a Row>,
    again: usize,
}

impl<'a> Verdict<'a> {
    /// About all rows of a file.
    pub fn of(rows: &'a [Row]) -> Self {
        let counting = latest(rows);
        Self {
            again: rows.len() - counting.len(),
            rows: counting,
        }
    }

    /// Whether every run is what it must be, and the 95th percentile of each class within the goal.
    pub fn is_good(&self) -> bool {
        let slow = |class| {
            self.seconds(class)
                .is_some_and(|summary| summary.p95 > DIRECT_P95.as_secs_f64())
        };
        // Over a distance, what counts for pairs without a hard side is the time from the start of the programs.
        let far = self.rows.iter().any(|row| row.distance != Distance::NONE);
        let slow_start = far
            && self
                .cold(Class::Easy)
                .is_some_and(|cold| cold.p95 > DIRECT_P95.as_secs_f64());
        self.broken().is_empty() && !Class::ALL.into_iter().any(slow) && !slow_start
    }

    /// The pairs of which a run is not what it must be, with how many of how many.
    fn broken(&self) -> Vec<(Kinds, usize, usize, &Row)> {
        let mut broken: Vec<(Kinds, usize, usize, &Row)> = Vec::new();
        for row in self.rows.iter().filter(|row| !is_as_expected(row)) {
            match broken.iter_mut().find(|(kinds, ..)| *kinds == row.kinds) {
                Some((_, count, ..)) => *count += 1,
                None => {
                    let runs = self.rows.iter().filter(|other| other.kinds == row.kinds).count();
                    broken.push((row.kinds, 1, runs, row));
                }
            }
        }
        broken
    }

    /// Seconds from the first frame, of the runs of a class that were direct.
    fn seconds(&self, class: Class) -> Option<Summary> {
        let of_class = self.rows.iter().filter(|row| row.kinds.class() == class);
        let seconds: Vec<_> = of_class.filter_map(|row| Some(row.times?.first_frame)).collect();
        Summary::of(&seconds)
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let again = self.again;
        writeln!(f, "{} runs; {again} of them made again alone", self.rows.len())?;
        for class in Class::ALL {
            let of_class: Vec<_> = self.rows.iter().filter(|row| row.kinds.class() == class).collect();
            let of_outcome = |outcome| of_class.iter().filter(|row| row.outcome == outcome).count();
            let [direct, relayed, failed] = [Outcome::Direct, Outcome::Relay, Outcome::Failed].map(of_outcome);
            let lost: usize = of_class.iter().map(|row| row.lost).sum();
            let doubled: usize = of_class.iter().map(|row| row.doubled).sum();
            let sent: usize = of_class.iter().map(|row| row.sent).sum();
            writeln!(
                f,
                "{class}: {direct} direct, {relayed} relayed, {failed} failed; {lost} of {sent} frames lost, {doubled} doubled"
            )?;
            let figures = [("first frame", self.seconds(class)), ("cold start", self.cold(class))];
            for (from, summary) in figures {
                if let Some(summary) = summary {
                    let Summary {
                        median, p95, greatest, ..
                    } = summary;
                    writeln!(
                        f,
                        "  seconds from the {from} to direct: p50 {median:.2}  p95 {p95:.2}  max {greatest:.2}"
                    )?;
                }
            }
        }
        let broken = self.broken();
        if broken.is_empty() {
            return f.write_str("every pair is what it must be");
        }
        write!(f, "{} pairs are not what they must be:", broken.len())?;
        for (kinds, count, runs, example) in broken {
            let expected = kinds.expected().word();
            write!(
                f,
                "\n  {kinds} (must be {expected}): {count} of {runs} runs, for instance {example}"
            )?;
        }
        Ok(())
    }
}

impl Verdict<'_> {
    /// Seconds from the start of the programs, of the runs of a class that were direct.
    fn cold(&self, class: Class) -> Option<Summary> {
        let of_class = self.rows.iter().filter(|row| row.kinds.class() == class);
        let seconds: Vec<_> = of_class.filter_map(|row| Some(row.times?.launched)).collect();
        Summary::of(&seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Times;
    use super::*;

    fn row(kinds: &str, run: u16, seconds: Option<f64>) -> Row {
        let times = seconds.map(|first_frame| Times {
            first_frame,
            registered: first_frame + 1.0,
            launched: first_frame + 2.0,
        });
        Row {
            kinds: kinds.parse().unwrap(),
            distance: Distance::NONE,
            run,
            at_once: 4,
            outcome: if times.is_some() {
                Outcome::Direct
            } else {
                Outcome::Relay
            },
            times,
            sent: 100,
            lost: 0,
            doubled: 0,
            load: 1.0,
        }
    }

    #[test]
    fn what_was_made_again_counts_once() {
        let rows = [
            row("port x port", 0, None),
            row("port x port", 1, Some(0.5)),
            row("port x port", 0, Some(0.4)),
        ];
        assert!(!is_as_expected(&rows[0]));
        let verdict = Verdict::of(&rows);
        assert_eq!((verdict.rows.len(), verdict.again), (2, 1));
        assert!(verdict.is_good());
        assert!(!Verdict::of(&rows[..2]).is_good());
        assert!(
            Verdict::of(&rows[..2])
                .to_string()
                .contains("port x port (must be direct): 1 of 2 runs")
        );
    }

    #[test]
    fn a_pair_is_too_slow_above_five_seconds_and_a_class_above_three_in_one_of_twenty() {
        assert!(!is_as_expected(&row("port x port", 0, Some(5.1))));
        let mut rows: Vec<_> = (0..19).map(|run| row("port x port", run, Some(0.3))).collect();
        rows.push(row("port x port", 19, Some(4.0)));
        assert!(Verdict::of(&rows).is_good());
        rows[0].times = rows[19].times;
        assert!(!Verdict::of(&rows).is_good());
    }

    #[test]
    fn over_a_distance_the_time_from_the_start_counts() {
        let far = Distance {
            loss: 0.05,
            ..Distance::NONE
        };
        let mut rows = [row("port x port", 0, Some(0.5))];
        for (distance, launched, good) in [(Distance::NONE, 9.0, true), (far, 2.9, true), (far, 9.0, false)] {
            rows[0].distance = distance;
            rows[0].times.as_mut().unwrap().launched = launched;
            assert_eq!(Verdict::of(&rows).is_good(), good);
        }
    }

    #[test]
    fn a_pair_that_stays_relayed_may_lose_nothing() {
        let mut row = row("sym x sym", 0, None);
        assert!(is_as_expected(&row));
        row.lost = 1;
        assert!(!is_as_expected(&row));
        row.distance.loss = 0.05;
        assert!(is_as_expected(&row));
        row.outcome = Outcome::Failed;
        assert!(!is_as_expected(&row));
    }
}
