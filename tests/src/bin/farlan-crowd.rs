//! A supernode that carries a crowd: `scripts/bench supernode`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand};
use farlan_tests::crowd::{
    goals::judge,
    load::{Rates, Shape},
    measure::{Plan, measure},
    serve::Serve,
};

#[derive(Parser)]
#[command(about = "Measure what very many nodes cost a supernode")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Let a crowd come, do what nodes do, and come back after a restart
    Supernode(Options),
    /// Be the supernode
    #[command(hide = true)]
    Serve(Serve),
}

#[derive(Args)]
struct Options {
    /// How many nodes come
    #[arg(long, default_value_t = 1_000_000)]
    nodes: u32,
    /// Among how many networks they are divided
    #[arg(long, default_value_t = 4)]
    networks: u32,
    /// To how many channels each subscribes
    #[arg(long, default_value_t = 2)]
    channels: usize,
    /// Of how many in each network
    #[arg(long, default_value_t = 8)]
    of_channels: u32,
    /// Milliseconds after which each keeps alive again
    #[arg(long, default_value_t = 25_000)]
    keepalive: u64,
    /// Look-ups a second, in the part with everything
    #[arg(long, default_value_t = 2000.0)]
    lookups: f64,
    /// Relayed datagrams a second, in that part
    #[arg(long, default_value_t = 2000.0)]
    relayed: f64,
    /// Seconds that each part takes
    #[arg(long, default_value_t = 30)]
    part: u64,
    /// Print JSON, too
    #[arg(long)]
    json: bool,
}

fn run(options: &Options) -> Result<()> {
    let plan = Plan {
        shape: Shape {
            nodes: options.nodes,
            networks: options.networks,
            channels: options.channels,
            of_channels: options.of_channels,
            keepalive: Duration::from_millis(options.keepalive),
        },
        rates: Rates {
            lookups: options.lookups,
            relayed: options.relayed,
        },
        part: Duration::from_secs(options.part),
    };
    let parts = measure(&std::env::current_exe()?, &plan, |part| println!("{}", part.line()))?;
    let judged = judge(&parts);
    judged.iter().for_each(|judged| println!("{judged}"));
    if options.json {
        println!("{}", serde_json::to_string_pretty(&parts)?);
    }
    let missed = judged.iter().filter(|judged| !judged.kept()).count();
    ensure!(missed == 0, "{missed} of {} goals missed", judged.len());
    Ok(())
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Supernode(options) => run(&options),
        Command::Serve(serve) => serve.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
