//! What is to be measured: the options, and the systems they choose.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::measures::{Congestion, Extent};
use super::systems::{self, Builds, System};

/// Runs of an ordinary benchmark and of a gate, at least.
pub const RUNS: u32 = 5;

/// Runs of a quick benchmark, and their seconds.
const QUICK: (u32, u32) = (3, 2);

/// How long each transfer takes where the options do not say, in seconds.
const SECONDS: u32 = 3;

/// The systems of a quick benchmark.
const QUICK_SYSTEMS: [&str; 3] = ["underlay", "farlan", "farlan-plain"];

/// The systems that a gate compares: this commit and the earlier one, as released and without encryption, which is so
/// much of the time that the rest could grow by half within the tenth that is allowed.
pub const GATE_PAIRS: [[&str; 2]; 2] = [["farlan", "farlan-previous"], ["farlan-plain", "farlan-plain-previous"]];

/// The builds of the earlier commit, in the order of the pairs.
const EARLIER: [&str; 2] = ["previous", "previous-plaintext"];

/// What to measure, and how often.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How often each system is measured; the systems take turns.
    #[arg(long)]
    runs: Option<u32>,
    /// How long each transfer takes.
    #[arg(long)]
    seconds: Option<u32>,
    /// Only these systems, of underlay, vxlan, bare (a forwarder and nothing else), bare-whole (the same with super-frames), farlan, farlan-avx2 (without
    /// AVX-512), farlan-plain (built without encryption), farlan-relay, farlan-no-card-offload, farlan-no-segment, farlan-no-gro, n2n, tinc, openvpn, openvpn-9000, vpncloud and fastd.
    #[arg(long, value_delimiter = ',', value_name = "A,B,...")]
    systems: Vec<String>,
    /// Only underlay, farlan and farlan-plain, three runs of two seconds.
    #[arg(long)]
    quick: bool,
    /// TCP's congestion control; the machine's default if not given.
    #[arg(long, value_enum)]
    congestion: Option<Congestion>,
    /// Let the cards of the wire not cut UDP themselves, and join what they receive, as most physical cards; needs
    /// ethtool.
    #[arg(long)]
    pub plain_cards: bool,
    /// How many UDP packets a second are offered.
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// Write all figures of all runs to this file too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Compare the processor time of TCP with that of an earlier commit, with encryption and without, and fail if
    /// either has grown by more than 10 %.
    #[arg(long)]
    pub gate: bool,
    /// The earlier commit; HEAD~1 if not given.
    #[arg(long, requires = "gate")]
    against: Option<String>,
    /// Print which builds are needed and end; scripts/bench builds them.
    #[arg(long, hide = true)]
    pub list_builds: bool,
    /// Where the build without encryption is.
    #[arg(long, hide = true)]
    plaintext: Option<PathBuf>,
    /// Where the build of the earlier commit is.
    #[arg(long, hide = true)]
    previous: Option<PathBuf>,
    /// Where that of the earlier commit without encryption is.
    #[arg(long, hide = true)]
    previous_plaintext: Option<PathBuf>,
    /// What was built.
    #[arg(long, hide = true, default_value = "unknown")]
    pub commit: String,
    /// What the earlier build is of.
    #[arg(long, hide = true, default_value = "unknown")]
    pub previous_commit: String,
}

impl Options {
    /// How often each system is measured.
    ///
    /// # Errors
    /// Too seldom for a gate.
    pub fn runs(&self) -> Result<u32> {
        let runs = self.runs.unwrap_or(if self.quick { QUICK.0 } else { RUNS });
        if self.gate && runs < RUNS {
            bail!("a gate needs at least {RUNS} runs");
        }
        Ok(runs.max(1))
    }

    /// How much each run measures.
    pub fn extent(&self) -> Extent {
        Extent {
            seconds: self
                .seconds
                .unwrap_or(if self.quick { QUICK.1 } else { SECONDS })
                .max(1),
            rate: self.rate.max(1),
            congestion: self.congestion,
            is_gate: self.gate,
        }
    }

    /// The systems to measure.
    ///
    /// # Errors
    /// There is no system of a given name.
    pub fn systems(&self) -> Result<Vec<Box<dyn System>>> {
        let builds = Builds {
            plaintext: self.plaintext.clone(),
            previous: self.previous.clone(),
            previous_plaintext: self.previous_plaintext.clone(),
        };
        let all = systems::all(&builds);
        if let Some(unknown) = self
            .systems
            .iter()
            .find(|name| !all.iter().any(|one| one.name() == **name))
        {
            bail!("there is no system {unknown}; --help names them");
        }
        Ok(all.into_iter().filter(|system| self.chooses(system.name())).collect())
    }

    /// The builds that are needed besides the release, for scripts/bench: a word each, with the commit of the earlier
    /// one.
    pub fn builds(&self) -> Vec<String> {
        let mut builds = Vec::new();
        if self.chooses("farlan-plain") {
            builds.push("plaintext".to_owned());
        }
        for ([_, system], build) in GATE_PAIRS.into_iter().zip(EARLIER) {
            if self.chooses(system) {
                builds.push(format!("{build} {}", self.against.as_deref().unwrap_or("HEAD~1")));
            }
        }
        builds
    }

    fn chooses(&self, name: &str) -> bool {
        if self.gate {
            GATE_PAIRS.as_flattened().contains(&name)
        } else if !self.systems.is_empty() {
            self.systems.iter().any(|chosen| chosen == name)
        } else if self.quick {
            QUICK_SYSTEMS.contains(&name)
        } else {
            GATE_PAIRS.iter().all(|[_, earlier]| name != *earlier)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    fn options(line: &str) -> Options {
        Command::parse_from(line.split_whitespace()).options
    }

    fn names(line: &str) -> Vec<&'static str> {
        options(line)
            .systems()
            .unwrap()
            .iter()
            .map(|system| system.name())
            .collect()
    }

    #[test]
    fn options_choose_systems() {
        assert_eq!(names("bench --quick"), QUICK_SYSTEMS);
        let mut compared = names("bench --gate");
        compared.sort_unstable();
        assert_eq!(
            compared,
            ["farlan", "farlan-plain", "farlan-plain-previous", "farlan-previous"]
        );
        assert_eq!(names("bench --systems fastd,underlay"), ["underlay", "fastd"]);
        assert!(names("bench").iter().all(|name| !name.ends_with("previous")));
        assert!(options("bench --systems nonsense").systems().is_err());
    }

    #[test]
    fn a_gate_wants_five_runs_and_an_earlier_build() {
        assert!(options("bench --gate --runs 4").runs().is_err());
        assert_eq!(options("bench --gate").runs().unwrap(), 5);
        let builds = |commit: &str| {
            let earlier = EARLIER.map(|build| format!("{build} {commit}"));
            [&["plaintext".to_owned()][..], &earlier].concat()
        };
        assert_eq!(options("bench --gate").builds(), builds("HEAD~1"));
        assert_eq!(options("bench --gate --against abc").builds(), builds("abc"));
        assert_eq!(options("bench --quick").builds(), ["plaintext"]);
        assert!(options("bench --systems underlay").builds().is_empty());
    }
}
