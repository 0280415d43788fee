//! The machine that is measured on, as the tables name it.

use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use farlan_crypto::{Aead, Key, SalsaPoly, TAG};

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
    /// What sealing 1,400 bytes takes, in ns, at the beginning and at the end: how fast the processor is at the moment.
    pub seal: [f64; 2],
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
            seal: [seal_time(); 2],
        })
    }

    /// Takes the load average and the processor's speed at the end.
    pub fn finish(&mut self) {
        self.seal[1] = seal_time();
        if let Ok(load) = load_average() {
            self.load[1] = load;
        }
    }
}

/// The least of many tries, since others run meanwhile. Nanoseconds.
fn seal_time() -> f64 {
    const TRIES: usize = 200;
    const EACH: u32 = 50;
    let key = Key::from_bytes([7; 32]);
    let mut message = vec![1; 1400 + TAG];
    let tries = (0..TRIES).map(|_| {
        let begin = Instant::now();
        for counter in 0..u64::from(EACH) {
            SalsaPoly::seal(&key, counter, &[0; 16], &mut message);
        }
        begin.elapsed() / EACH
    });
    tries.min().unwrap_or_default().as_secs_f64() * 1e9
}

fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().context("an empty loadavg")?.parse()?)
}
