//! The machine that is measured on, as the tables name it.

use std::fs;
use std::thread;

use anyhow::{Context, Result};

use super::plan::Options;
use crate::ns::command::run;

/// What a reader must know of the machine and the moment.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many of its threads there are.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Date and time of the beginning, UTC.
    pub date: String,
    /// What was built.
    pub commit: String,
    /// What it is compared with.
    pub previous_commit: Option<String>,
    /// What the cards of the wire do.
    pub cards: &'static str,
    /// TCP's congestion control.
    pub congestion: String,
    /// The load average over a minute at the beginning and at the end.
    pub load: [f64; 2],
    /// iperf3's version.
    pub iperf3: String,
}

impl Machine {
    /// Reads it.
    ///
    /// # Errors
    /// `/proc` or a program does not tell.
    pub fn read(options: &Options) -> Result<Self> {
        let information = fs::read_to_string("/proc/cpuinfo")?;
        let name = information.lines().find_map(|line| line.strip_prefix("model name"));
        let default = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
        let iperf3 = run(&["iperf3", "--version"])?;
        Ok(Self {
            processor: name
                .and_then(|line| line.split_once(':'))
                .map_or("unknown processor", |(_, name)| name.trim())
                .to_owned(),
            cores: thread::available_parallelism()?.get(),
            kernel: run(&["uname", "-r"])?.trim().to_owned(),
            date: run(&["date", "-u", "+%Y-%m-%d %H:%M UTC"])?.trim().to_owned(),
            commit: options.commit.clone(),
            previous_commit: options.gate.then(|| options.previous_commit.clone()),
            cards: if options.plain_cards {
                "cards that do not cut UDP, with GRO"
            } else {
                "veth with its default offloads"
            },
            congestion: match options.extent().congestion {
                Some(congestion) => congestion.name().to_owned(),
                None => format!("{} (the machine's default)", default.trim()),
            },
            load: [load_average()?; 2],
            iperf3: iperf3.lines().next().unwrap_or_default().trim().to_owned(),
        })
    }

    /// Takes the load average at the end.
    pub fn finish(&mut self) {
        if let Ok(load) = load_average() {
            self.load[1] = load;
        }
    }
}

fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("an empty loadavg")?.parse()?)
}
