//! What changes of network cost two nodes that are direct: seldom more than they may, and nobody stays relayed that could be
//! direct. `scripts/simulate --changes` does many more of them.

use std::{thread, time::Duration};

use farlan_tests::sim::{Change, ChangeReport, Pair, PingId, Talk};

/// How often each change happens.
const TIMES: u64 = 20;

fn check(changes: &[Change]) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    for change in changes {
        let report = ChangeReport::run(*change, 1..1 + TIMES, threads);
        println!("{report}");
        assert!(report.is_good(), "{report}");
    }
}

#[test]
fn routers_that_start_anew_or_get_another_address_cost_no_more_than_they_may() {
    check(&[Change::Reboot, Change::Rebind, Change::WanAddress]);
}

#[test]
fn who_moves_or_sleeps_is_back_in_time() {
    check(&[Change::Roam, Change::Sleep]);
}

#[test]
fn after_a_silence_nothing_is_lost() {
    check(&[Change::Idle, Change::ShortTimer]);
}

#[test]
fn where_udp_gets_out_no_more_frames_go_on_over_tcp() {
    check(&[Change::Mute]);
}

#[test]
fn where_udp_gets_in_no_more_or_neither_way_frames_go_on_over_tcp() {
    check(&[Change::Deaf, Change::Blocked]);
}

#[test]
fn a_line_that_is_only_long_and_lossy_is_not_left() {
    check(&[Change::Lossy]);
}

/// The seeds whose other end has a router that remembers what it refused, and which a round by the same socket does not
/// bring together again.
#[test]
fn a_router_that_holds_a_grudge_is_got_round() {
    for seed in [56, 72, 73, 120] {
        let cost = Change::Rebind.run(seed);
        assert!(cost.direct.is_some(), "seed {seed}: {cost:?}");
    }
}

/// One end starts where no UDP gets out, the other one behind an ordinary router, and both speak from the beginning: each has its first
/// answer 3 s after that at the latest.
#[test]
fn who_starts_behind_a_block_is_answered_within_three_seconds() {
    for seed in 1..=TIMES {
        let homes = ["udp-blocked", "port"].map(|name| name.parse().expect("the name of a kind"));
        let pair = Pair {
            supernodes: 1 + (seed % 2) as usize,
            ..Pair::new(seed, homes)
        };
        let (lab, network, nodes, _) = pair.build();
        let mut talk = Talk::new(lab, network, nodes);
        talk.interval = Duration::from_millis(20);
        talk.speak(Duration::from_secs(10));
        talk.faults();
        for (end, node) in nodes.iter().enumerate() {
            let of = |ping: &&PingId| ping.from() == *node;
            let first = talk.pings.iter().filter(of).map(|ping| ping.sent()).next();
            let answered = |ping: &&PingId| talk.lab.answer(**ping).is_some();
            let answers: Vec<_> = talk.pings.iter().filter(of).filter(answered).collect();
            let lost = talk.pings.iter().filter(of).count() - answers.len();
            let begun = answers.first().map(|ping| ping.sent());
            let came = answers
                .iter()
                .filter_map(|ping| Some(ping.sent() + talk.lab.answer(**ping)?))
                .min();
            println!(
                "{pair}: end {end}: first ping at {first:?}, first answered of {begun:?}, answer at {came:?}, {lost} lost"
            );
            assert!(
                came.is_some_and(|came| came <= Duration::from_secs(3)),
                "seed {seed}: {came:?}"
            );
        }
    }
}
