//! Direct paths where physics allows them, and nowhere else: pairs of all kinds of homes against the oracle, which knows the
//! properties of their NATs alone. `scripts/simulate --traversal` does many more of them.

use std::{env, thread};

use farlan_tests::sim::{Home, Pair, PairReport};

/// How often each pair of the eleven kinds is run, and how many pairs are drawn at random.
const TIMES: u64 = 3;
const DRAWN: u64 = 300;

fn check(seeds: std::ops::Range<u64>, pair: impl Fn(u64) -> Pair + Sync) -> PairReport {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let report = PairReport::run(seeds, threads, None, pair, |_, _| {});
    println!("{report}");
    assert!(report.is_good(), "{:#?}, late: {:?}", report.failed, report.late);
    report
}

/// Pairs that were relayed too long once: an end knew its own NAT only when all candidates had come, or took the other for an
/// easy one that did not know its own NAT yet, or both counted and a prediction had missed.
const TOO_LATE_ONCE: [u64; 16] = [
    3010, 3244, 4923, 5678, 5980, 6901, 7305, 8175, 9051, 10_377, 10_526, 12_015, 12_235, 12_426, 12_706, 12_726,
];

#[test]
fn what_an_end_finds_out_late_of_its_own_nat_counts_at_once() {
    for seed in TOO_LATE_ONCE {
        let report = check(seed..seed + 1, Pair::draw);
        assert!(report.late.is_empty(), "{:?}", report.late);
    }
}

/// The port that the easy end of a search tried was one of which its own router had refused a datagram, and from then on it left
/// by another one than the hard end had opened its ports towards.
const GRUDGE: u64 = 16_352;

#[test]
fn a_search_that_a_router_with_a_grudge_spoilt_is_repeated_by_a_fresh_socket() {
    check(GRUDGE..GRUDGE + 1, Pair::draw);
}

/// Two ends that may be easy or hard, as far as one supernode tells, and are hard: each tries ports of the other, and may be
/// lucky.
const LUCK: u64 = 50;

#[test]
fn trying_ones_luck_harms_nobody() {
    let report = check(LUCK..LUCK + 1, Pair::draw);
    assert_eq!(
        report.count("unlikely", "direct") + report.count("unlikely", "relayed"),
        1
    );
}

/// Two ends behind one carrier, and a port of a path that the carrier gave away for another destination, too.
const SHARED_PORT: u64 = 3_029;

#[test]
fn a_path_by_hairpin_outlives_what_else_its_port_is_given_to() {
    check(SHARED_PORT..SHARED_PORT + 1, Pair::draw);
}

#[test]
fn fifty_seven_of_sixty_six_pairs_come_to_a_direct_path_and_nine_stay_relayed() {
    let kinds = Home::matrix();
    let pairs: Vec<[Home; 2]> = (0..kinds.len())
        .flat_map(|first| kinds[first..].iter().map(move |&second| [kinds[first], second]))
        .collect();
    assert_eq!(pairs.len(), 66);
    let report = check(0..66 * TIMES, |number| {
        let [a, b] = pairs[(number % 66) as usize];
        // Either end may be the one that speaks first.
        let homes = if number / 66 % 2 == 0 { [a, b] } else { [b, a] };
        Pair::new(number, homes)
    });
    assert_eq!(report.count("direct", "direct"), 57 * TIMES);
    assert_eq!(report.count("unlikely", "relayed"), 9 * TIMES);
    for hard_sides in 0..3 {
        let p95 = report.quantile(hard_sides, 0.95).expect("pairs of each class");
        assert!(p95 <= 3_000, "{p95} ms with {hard_sides} hard sides");
    }
}

#[test]
fn whatever_lies_between_two_nodes_the_oracle_is_right() {
    let first = match env::var("FARLAN_SIM_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("a number");
            check(seed..seed + 1, Pair::draw);
            return;
        }
        Err(_) => 1_000,
    };
    let report = check(first..first + DRAWN, Pair::draw);
    assert!(report.count("direct", "direct") > 100);
    assert!(report.count("relayed", "relayed") > 20 && report.count("unlikely", "relayed") > 10);
}
