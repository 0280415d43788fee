//! The supernode: the pieces of `farlan-supernode`, without a work stamp.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use anyhow::{Context, Result};
use clap::Args;
use farlan::shell::{DataPlane, Underlay};
use farlan_crypto::{Identity, Seed, Work};
use farlan_engine::{Config, Limits, Role};
use serde::{Deserialize, Serialize};

/// How it is started; it serves until its standard input ends, and writes a line about itself for each line that it gets.
#[derive(Args, Clone, Copy, Debug)]
pub struct Serve {
    /// The UDP port.
    #[arg(long)]
    pub port: u16,
    /// As many nodes may register.
    #[arg(long)]
    pub registrations: usize,
}

/// What the supernode says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Registered nodes.
    pub registrations: usize,
    /// Lists.
    pub lists: usize,
    /// The longest turn of the data plane since the last status, in microseconds.
    pub longest_turn: u64,
    /// Counters that are not zero.
    pub counters: Vec<(String, u64)>,
}

/// The supernode's key is always the same, so that the nodes know it after a restart.
///
/// # Errors
/// None of a seed without stamp.
pub fn identity() -> Result<Identity> {
    Ok(Identity::from_seed(Seed::from_bytes([0x73; 32]), Work::NONE)?)
}

impl Serve {
    /// Serves.
    ///
    /// # Errors
    /// The port is taken, or the data plane ends.
    pub fn run(self) -> Result<()> {
        let config = Config {
            identity: identity()?,
            work: Work::NONE,
            role: Role::Supernode,
            limits: Limits {
                registrations: self.registrations,
                ..Limits::default()
            },
        };
        let underlay = Underlay::bind(self.port).context("the UDP port")?;
        let (data_plane, _events) = DataPlane::start(config, underlay)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        for line in stdin().lock().lines() {
            line?;
            let snapshot = runtime.block_on(data_plane.snapshot())?;
            let shell = snapshot.shell.iter().map(|(name, count)| (name.to_owned(), count));
            let counters = snapshot.counters.iter().map(|(name, count)| (name.to_owned(), count));
            let status = Status {
                registrations: snapshot.anchor.registrations,
                lists: snapshot.anchor.subscriptions,
                longest_turn: snapshot.longest_turn.as_micros().try_into().unwrap_or(u64::MAX),
                counters: counters.chain(shell).filter(|(_, count)| *count > 0).collect(),
            };
            println!("{}", serde_json::to_string(&status)?);
            stdout().flush()?;
        }
        // What a crash would do: the nodes are told nothing.
        std::process::exit(0)
    }
}
