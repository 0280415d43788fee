//! Counting under callgrind, and the comparison with the baseline.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The baseline: a line for each function.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Baseline(BTreeMap<String, Line>);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Line {
    /// Instructions for one operation.
    instructions: u64,
    /// How much more is allowed, in per cent.
    tolerance: f64,
}

/// What the comparison of one function says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As many as before, about.
    Same,
    /// More than the tolerance allows.
    More,
    /// So many fewer that the baseline no longer protects what was gained.
    Fewer,
    /// Not in the baseline.
    Unknown,
}

/// The counts of this build beside the baseline.
#[derive(Debug)]
pub struct Gate {
    file: PathBuf,
    baseline: Baseline,
    counts: Vec<(String, u64)>,
}

impl Gate {
    /// Runs `program` with `arguments`, which is to call [`super::measure_all`] and print what begins, under callgrind.
    ///
    /// # Errors
    /// There is no valgrind, the program failed, or counts and names do not fit together.
    pub fn measure(file: &Path, program: &Path, arguments: &[&str]) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let baseline = toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        Ok(Self {
            file: file.to_owned(),
            baseline,
            counts: count(program, arguments)?,
        })
    }

    /// Writes the counts down as the new baseline; tolerances stay.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn update(&self) -> Result<()> {
        let mut text = String::from(HEADING);
        for (name, count) in &self.counts {
            let tolerance = self.baseline.0.get(name).map_or(TOLERANCE, |line| line.tolerance);
            text += &format!("{name} = {{ instructions = {count}, tolerance = {tolerance} }}\n");
        }
        fs::write(&self.file, text).with_context(|| format!("writing {}", self.file.display()))
    }

    /// The verdict on every function, in the order of measurement.
    pub fn verdicts(&self) -> impl Iterator<Item = (&str, u64, Verdict)> {
        self.counts
            .iter()
            .map(|(name, count)| (name.as_str(), *count, self.baseline.verdict(name, *count)))
    }

    /// Names of the baseline that are no longer measured.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let measured = |name: &&String| self.counts.iter().any(|(known, _)| known == *name);
        self.baseline
            .0
            .keys()
            .filter(move |name| !measured(name))
            .map(String::as_str)
    }

    /// Whether nothing became dearer, and baseline and measurement name the same functions.
    pub fn passes(&self) -> bool {
        self.missing().next().is_none()
            && self
                .verdicts()
                .all(|(_, _, verdict)| matches!(verdict, Verdict::Same | Verdict::Fewer))
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>14}{:>12}{:>9}",
            "function", "instructions", "baseline", "change"
        )?;
        for (name, count, verdict) in self.verdicts() {
            let (known, change) = match self.baseline.0.get(name) {
                Some(line) => {
                    let before = line.instructions as f64;
                    let change = (count as f64 - before) / before * 100.0;
                    (line.instructions.to_string(), format!("{change:+.1} %"))
                }
                None => ("-".into(), "-".into()),
            };
            let word = match verdict {
                Verdict::Same => "",
                Verdict::More => "  MORE THAN ALLOWED",
                Verdict::Fewer => "  fewer: please update the baseline",
                Verdict::Unknown => "  NOT IN THE BASELINE",
            };
            writeln!(f, "{name:<22}{count:>14}{known:>12}{change:>9}{word}")?;
        }
        for name in self.missing() {
            writeln!(f, "{name:<22} is in the baseline and NOT MEASURED")?;
        }
        Ok(())
    }
}

impl Baseline {
    fn verdict(&self, name: &str, count: u64) -> Verdict {
        let Some(line) = self.0.get(name) else {
            return Verdict::Unknown;
        };
        let most = line.instructions as f64 * (1.0 + line.tolerance / 100.0);
        // As if it were counted in whole instructions.
        if count as f64 > most.round() {
            Verdict::More
        } else if count * 100 < line.instructions * (100 - GAIN) {
            Verdict::Fewer
        } else {
            Verdict::Same
        }
    }
}

/// Names of the parts and their instructions for one operation.
fn count(program: &Path, arguments: &[&str]) -> Result<Vec<(String, u64)>> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--compress-strings=no"])
        .args([format!("--zero-before={MEASURED}"), format!("--dump-after={MEASURED}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(arguments)
        .env("GLIBC_TUNABLES", GENERIC_LIBC)
        .stderr(Stdio::inherit())
        .output()
        .context("running valgrind (Debian package valgrind)")?;
    ensure!(
        output.status.success(),
        "{} in valgrind: {}",
        program.display(),
        output.status
    );
    let parts = String::from_utf8(output.stdout)?;
    let mut counts = Vec::new();
    for (index, part) in parts.lines().enumerate() {
        let Some((name, operations)) = part.split_once(' ') else {
            bail!("no name and number: {part:?}");
        };
        let dump = directory.path().join(format!("counts.{}", index + 1));
        let text = fs::read_to_string(&dump).with_context(|| format!("no dump {} for {name}", index + 1))?;
        ensure!(text.contains(MEASURED), "the dump for {name} is of something else");
        let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
        let total: u64 = total.context("a dump without summary")?.trim().parse()?;
        counts.push((name.to_owned(), total / operations.parse::<u64>()?));
    }
    ensure!(!counts.is_empty(), "nothing was measured");
    Ok(counts)
}

/// The function that callgrind watches.
const MEASURED: &str = "farlan_tests::instructions::measured";

/// Keeps libc from choosing its `memcpy` by the processor.
const GENERIC_LIBC: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-ERMS,-FSRM";

/// Per cent that are noise: another version of a library or of the compiler, a buffer that grows once more.
const TOLERANCE: f64 = 5.0;

/// Per cent fewer from which on the baseline is out of date.
const GAIN: u64 = 10;

const HEADING: &str = "\
# Instructions for one operation of the data path's hot functions, and how many per cent more are allowed.
# One packet each; lengths are those of messages and frames. Written by: scripts/instructions --update
# The cipher, which has lines of its own, is nearly all of what the engine does: of a full frame the engine has about 500 instructions
# of 9,700, and of one of 64 bytes 500 as well, or 2,300 alone. The lower tolerances are a small part of those.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_fails_fewer_asks_and_names_must_agree() {
        let text = "seal = { instructions = 1000, tolerance = 5 }\nfull = { instructions = 42000, tolerance = 0.1 }";
        let baseline: Baseline = toml::from_str(text).unwrap();
        let verdict = |count| baseline.verdict("seal", count);
        assert_eq!([verdict(1050), verdict(900)], [Verdict::Same; 2]);
        assert_eq!(verdict(1051), Verdict::More);
        assert_eq!(verdict(899), Verdict::Fewer);
        assert_eq!(
            [42042, 42043].map(|count| baseline.verdict("full", count)),
            [Verdict::Same, Verdict::More]
        );
        let gate = |counts: &[(&str, u64)]| Gate {
            file: PathBuf::new(),
            baseline: toml::from_str("seal = { instructions = 1000, tolerance = 5 }").unwrap(),
            counts: counts.iter().map(|(name, count)| ((*name).into(), *count)).collect(),
        };
        assert!(gate(&[("seal", 1000)]).passes());
        assert!(gate(&[("seal", 10)]).passes());
        assert!(!gate(&[("seal", 1051)]).passes());
        assert!(!gate(&[]).passes());
        assert!(!gate(&[("seal", 1000), ("new", 1)]).passes());
    }
}
