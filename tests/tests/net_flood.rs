//! Floods of bogus initiations at a supernode, over real kernels. `scripts/measure-flood` has the figures of longer ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use farlan_tests::ns::flood::{Kind, PATIENCE, Scene};
use farlan_tests::ns::limit;
use farlan_tests::ns::usage::resident_bytes;

const LIMIT: Duration = Duration::from_secs(180);

/// How long each flood is watched: the gate, or its want, shows at once.
const WATCHED: Duration = Duration::from_millis(1500);

/// Datagrams a second: two hundred times what is answered unproved, and some 25 % of a processor. The promise is for 100,000, which
/// takes 70 to 90 % by itself, so that on a machine with other work the kernel drops what comes, whatever the supernode does:
/// `scripts/measure-flood` is for those. A busy machine may bring about fewer; what it did is printed.
const RATE: u32 = 40_000;

/// What counts as a flood: without a gate it would be answered with public-key work, many times [`WORK_LIMIT`].
const LEAST_RATE: f64 = 5_000.0;

/// New nodes that call meanwhile.
const CALLS: u64 = 3;

/// The promise is 1 s, the share of the flow 1 % and the growth 1 MiB; where others use the processors, half of the calls may take
/// this long, and this share may be lost. Without a gate no call is answered at all.
const CALL_LIMIT: Duration = Duration::from_secs(5);
const LOST_LIMIT: f64 = 0.05;
const GROWTH_LIMIT: i64 = 1 << 20;

/// Public-key work in a second: what is not asked for a cookie, the callers, and what one proved source may ask for.
const WORK_LIMIT: f64 = 400.0;

#[test]
fn floods_leave_a_relayed_flow_alone_and_let_new_nodes_in() {
    limit::test(LIMIT, |lab| -> Result<()> {
        let mut scene = Scene::new(lab)?;
        let quiet = scene.run(None, WATCHED, CALLS, PATIENCE)?;
        println!("{quiet}");
        let asked: u32 = quiet.calls.iter().map(|call| call.cookies).sum();
        ensure!(asked == 0, "cookies are asked for without need: {quiet}");
        // What a flood of any kind makes the program touch for the first time, it keeps.
        scene.run(Some((Kind::ForgedSources, RATE)), WATCHED, 1, PATIENCE)?;
        let pid = scene.supernode().process().pid();
        let before = i64::try_from(resident_bytes(pid)?)?;
        for kind in [Kind::Keyless, Kind::ForgedSources, Kind::OneProvedSource] {
            let outcome = scene.run(Some((kind, RATE)), WATCHED, CALLS, PATIENCE)?;
            println!("{outcome}");
            let rate = outcome.sent.map_or(0.0, |sent| sent.rate());
            ensure!(rate >= LEAST_RATE, "this machine makes no flood: {rate:.0}/s");
            ensure!(outcome.lost() <= LOST_LIMIT, "{outcome}");
            ensure!(outcome.median_call() <= CALL_LIMIT, "{outcome}");
            ensure!(outcome.work <= WORK_LIMIT, "{outcome}");
            // Whoever does not know the key does not bring the supernode under load; whoever does, does.
            let asked: u32 = outcome.calls.iter().map(|call| call.cookies).sum();
            match kind {
                Kind::Keyless => ensure!(asked == 0, "{outcome}"),
                Kind::ForgedSources => ensure!(asked > 0, "{outcome}"),
                _ => {}
            }
        }
        let grown = i64::try_from(resident_bytes(pid)?)? - before;
        println!("three floods: memory {:+} KiB", grown / 1024);
        ensure!(grown < GROWTH_LIMIT, "the supernode grew by {grown} bytes");
        Ok(())
    });
}
