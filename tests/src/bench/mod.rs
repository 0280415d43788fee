//! The benchmark: farlan beside the bare wire, the kernel's VXLAN and other programs, in network namespaces.
//!
//! [`plan`] has the options, [`lab`] the wiring, [`systems`] what is compared, [`measures`] what is measured, [`report`]
//! the tables and [`gate`] the comparison of two commits. The subcommands of [`load`] run inside the namespaces.
//!
//! The systems take turns, so that a busy time of the machine meets all of them, and begin with another one in each run.

pub mod gate;
pub mod lab;
pub mod load;
pub mod machine;
pub mod measures;
pub mod plan;
pub mod report;
pub mod systems;
mod tables;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::lab::Rig;
use self::machine::Machine;
use self::measures::{Extent, Sample};
use self::plan::Options;
use self::systems::System;
use crate::ns::{limit, requirements};

/// How often in a row a system may fail before it is left out of the later runs.
const PATIENCE: usize = 2;

/// What was found about one system.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: &'static str,
    /// Its settings.
    pub settings: String,
    /// Its version, or why it was not measured.
    pub version: Result<String, String>,
    /// The figures of its runs.
    pub samples: Vec<Sample>,
    /// What went wrong in the runs that have none.
    pub failures: Vec<String>,
}

/// Measures and prints.
///
/// # Errors
/// The machine lacks something, farlan itself fails, or the gate is shut; what was measured is printed by then.
pub fn run(options: &Options) -> Result<()> {
    requirements::check_bench(options.plain_cards)?;
    let (runs, extent) = (options.runs()?, options.extent());
    let systems = options.systems()?;
    let mut machine = Machine::read(options)?;
    let mut outcomes: Vec<_> = systems.iter().map(|system| Outcome::before(system.as_ref())).collect();
    for run in 0..runs as usize {
        for turn in 0..systems.len() {
            let index = (run + turn) % systems.len();
            let (system, outcome) = (systems[index].as_ref(), &mut outcomes[index]);
            if outcome.version.is_ok() && outcome.is_worth_it() {
                eprintln!("run {} of {runs}: {}", run + 1, outcome.name);
                outcome.take(measure_once(system, extent, options.plain_cards));
            }
        }
    }
    machine.finish();
    print!("{}", report::markdown(&machine, extent, runs, &outcomes, options.gate));
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report::json(&machine, extent, &outcomes))?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_own_failure()).collect();
    for outcome in &failed {
        let reasons = outcome.version.as_ref().err().into_iter().chain(&outcome.failures);
        for reason in reasons {
            eprintln!("{}: {reason}", outcome.name);
        }
    }
    ensure!(failed.is_empty(), "farlan itself failed");
    if options.gate {
        gate::judge(&outcomes)?;
    }
    Ok(())
}

impl Outcome {
    fn before(system: &dyn System) -> Self {
        let version = system.version().map_err(|error| format!("{error:#}"));
        if let Err(reason) = &version {
            eprintln!("{}: {reason}", system.name());
        }
        Self {
            name: system.name(),
            settings: system.settings(),
            version,
            samples: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn take(&mut self, outcome: Result<Sample>) {
        match outcome {
            Ok(sample) => self.samples.push(sample),
            Err(error) => {
                eprintln!("{}: {error:#}", self.name);
                self.failures.push(format!("{error:#}"));
            }
        }
    }

    fn is_worth_it(&self) -> bool {
        self.failures.len() < PATIENCE || !self.samples.is_empty()
    }

    fn is_own_failure(&self) -> bool {
        let is_missing = self.name == "farlan" && self.version.is_err();
        is_missing || self.name.starts_with("farlan") && !self.failures.is_empty()
    }
}

/// Wires the machines, starts a system, measures it, and takes all away again.
fn measure_once(system: &dyn System, extent: Extent, plain_cards: bool) -> Result<Sample> {
    // Seven transfers at most. Each wait has a limit of its own, after which the next system has its turn; this one,
    // which ends everything, is above what all of them can come to.
    let time = Duration::from_secs(900 + 10 * u64::from(extent.seconds));
    limit::with_lab(time, |lab| {
        let rig = Rig::build(lab, system.shape(), plain_cards)?;
        let tunnel = system.start(&rig).context("cannot start")?;
        tunnel.wait_connected().context("not connected")?;
        measures::measure(&tunnel, extent)
    })
}
