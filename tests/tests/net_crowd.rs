//! A small crowd at a real supernode: what `scripts/bench supernode` measures with a million, by counts alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use farlan_tests::crowd::load::{Rates, Shape};
use farlan_tests::crowd::measure::{Plan, measure};
use farlan_tests::ns::{namespace::Namespace, program::released};

/// What a registered node in one network with two channels may take of the supernode's memory, in bytes: 512 for itself and its session,
/// 64 for each of three lists, 128 for its address, and as much again for what the allocator and a program of this size keep.
const OF_EACH: u64 = 2048;

/// What the program takes by itself.
const OF_ALL: u64 = 64 << 20;

/// More than a list names, and few enough for a program without optimisation.
const NODES: u32 = 400;

#[test]
fn a_crowd_registers_is_kept_alive_and_comes_back() -> Result<()> {
    let namespace = Namespace::create(std::process::id(), "crowd")?;
    let nodes = NODES;
    let plan = Plan {
        shape: Shape {
            nodes,
            networks: 2,
            channels: 2,
            of_channels: 8,
            keepalive: Duration::from_secs(25),
        },
        rates: Rates {
            lookups: 100.0,
            relayed: 100.0,
        },
        part: Duration::from_secs(26),
    };
    let program = released("farlan-crowd")?;
    let parts = namespace.inside(|| measure(&program, &plan, |part| println!("{}", part.line())))??;
    let [come, keepalives, everything, back] = &parts[..] else {
        anyhow::bail!("{} parts", parts.len());
    };
    for part in &parts {
        ensure!(
            part.registered == usize::try_from(NODES)?,
            "{}: {} are registered",
            part.name,
            part.registered
        );
        ensure!(
            part.resident < OF_ALL + OF_EACH * u64::from(NODES),
            "{}: {} bytes",
            part.name,
            part.resident
        );
    }
    ensure!(come.initiations.0 >= u64::from(NODES) && back.initiations.0 >= u64::from(NODES));
    let (sent, answered) = keepalives.keepalives;
    ensure!(
        sent >= u64::from(NODES) && answered * 100 >= sent * 99,
        "{answered} of {sent} keepalives were answered"
    );
    let (asked, found, ..) = everything.lookups;
    ensure!(asked > 1000 && found * 10 >= asked * 9, "{found} of {asked} were found");
    let (relayed, arrived) = everything.relayed;
    ensure!(
        relayed > 1000 && arrived * 10 >= relayed * 9,
        "{arrived} of {relayed} arrived"
    );
    Ok(())
}
