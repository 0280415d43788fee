//! Broadcasts in large networks: `scripts/social`.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use farlan_tests::social::{Effort, Judged, Proportions, Study, judge, study, tables, write_csv};

#[derive(Parser)]
#[command(about = "Let broadcasts spread among up to ten million nodes that run the shipped code")]
struct Arguments {
    /// Everything is drawn from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Nodes of each world; several may be named.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 10_000, 100_000])]
    nodes: Vec<u32>,
    /// All sizes to ten million nodes, with as many broadcasts as figures take: an hour on 2 cores, 20 GiB.
    #[arg(long)]
    full: bool,
    /// So many cold broadcasts in each world, and of everything else in proportion.
    #[arg(long)]
    casts: Option<u64>,
    /// For so many seconds everybody broadcasts, in worlds of up to a million nodes.
    #[arg(long)]
    load: Option<f64>,
    /// Only the world whose proportions are worse, which nothing is asked of.
    #[arg(long)]
    adverse: bool,
    /// Write the figures into this directory, as comma-separated values.
    #[arg(long)]
    csv: Option<PathBuf>,
}

/// The sizes of a full run.
const ALL: [u32; 5] = [1000, 10_000, 100_000, 1_000_000, 10_000_000];

/// Worlds in which everybody broadcasts, and in which there are storms.
const MOST_LOADED: u32 = 1_000_000;

/// The world in which losses and hostile nodes are tried.
const TRIED: u32 = 100_000;

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.full {
        arguments.nodes = ALL.to_vec();
    }
    arguments.nodes.retain(|nodes| *nodes >= 300);
    let begun = Instant::now();
    let progress = |nodes: u32, step: &str| {
        eprintln!("{:>6.0} s  {nodes} nodes: {step}", begun.elapsed().as_secs_f64());
    };
    let mut studies: Vec<Study> = Vec::new();
    if !arguments.adverse {
        print!("{}", Proportions::social());
        for nodes in arguments.nodes.iter().copied() {
            let effort = effort(nodes, &arguments);
            let one = study(arguments.seed, nodes, &Proportions::social(), &effort, &|step| {
                progress(nodes, step)
            });
            print!("{}", tables(&one));
            studies.push(one);
        }
    }
    let judged = judge(&studies);
    let mut shown = studies;
    if arguments.full || arguments.adverse {
        print!("\n{}", Proportions::adverse());
        for nodes in [1000, TRIED] {
            let effort = Effort {
                cold: arguments.casts.unwrap_or(2000),
                warm: arguments.casts.unwrap_or(2000) / 2,
                ..Effort::default()
            };
            let one = study(arguments.seed, nodes, &Proportions::adverse(), &effort, &|step| {
                progress(nodes, step)
            });
            print!("{}", tables(&one));
            shown.push(one);
        }
    }
    println!();
    for row in &judged {
        println!("{row}");
    }
    let failed = judged.iter().filter(|row| !row.passed).count();
    println!(
        "{} goals, {failed} missed, after {:.0} s",
        judged.len(),
        begun.elapsed().as_secs_f64()
    );
    if let Some(directory) = &arguments.csv
        && let Err(error) = write_csv(directory, &shown, &judged)
    {
        eprintln!("could not write to {}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    if judged.iter().all(|row: &Judged| row.passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn effort(nodes: u32, arguments: &Arguments) -> Effort {
    let full = arguments.full;
    let cold = arguments.casts.unwrap_or(if full { 4000 } else { 1000 });
    let tried = nodes == TRIED;
    let load = match (nodes, full) {
        (0..=TRIED, true) => 10.0,
        (0..=MOST_LOADED, true) => 4.0,
        (0..=TRIED, false) => 2.0,
        _ => 0.0,
    };
    Effort {
        cold,
        warm: cold / 2,
        load: arguments.load.filter(|_| nodes <= MOST_LOADED).unwrap_or(load),
        storms: (10_000..=MOST_LOADED).contains(&nodes),
        newcomers: if nodes >= 10_000 { cold / 4 } else { 0 },
        losses: if tried { cold / 2 } else { 0 },
        hostile: if tried { cold / 10 } else { 0 },
    }
}
