//! Many seeded runs with random worlds and faults: what lands must pass them all. `scripts/simulate` does more of them.

use std::{env, thread};

use farlan_tests::sim::batch;

/// The seeds from 1 to this are run.
const RUNS: u64 = 220;

/// How often each kind of fault must have had an effect for the batch to say anything.
const FIRED: u64 = 100;

#[test]
fn everything_works_ten_seconds_after_the_last_fault() {
    let one: Option<u64> = env::var("FARLAN_SIM_SEED")
        .ok()
        .map(|seed| seed.parse().expect("a number"));
    let seeds = one.map_or(1..RUNS + 1, |seed| seed..seed + 1);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let report = batch(seeds, threads, None, |seed, good| {
        if !good {
            eprintln!(
                "failed with seed {seed}; replay: scripts/simulate --seed {seed} --runs 1, or \
                 FARLAN_SIM_SEED={seed} cargo test -p farlan-tests --test sim_batch"
            );
        }
    });
    println!("{report}");
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    if one.is_none() {
        assert_eq!(report.runs, RUNS);
        assert!(report.big * 20 >= RUNS, "{} big runs of {RUNS}", report.big);
        assert!(report.repeated > 0);
        let idle = report.faults.fewer_than(FIRED);
        assert!(idle.is_empty(), "had an effect less than {FIRED} times: {idle:?}");
    }
}
