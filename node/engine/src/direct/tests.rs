use std::net::SocketAddr;

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn outside(last: u8) -> Leg {
    SocketAddr::from(([203, 0, 113, last], 9600)).into()
}

fn inside(last: u8) -> Leg {
    SocketAddr::from(([192, 168, 1, last], 9600)).into()
}

fn start() -> Time {
    Time::ZERO + Duration::from_secs(100)
}

/// A busy peer whose challenges are answered after `rtt`, if at all.
struct Peer {
    direct: Direct,
    now: Time,
    tokens: u64,
    under_way: Vec<(Time, Leg, u64)>,
    used: Use,
}

impl Peer {
    fn new(candidates: &[Leg]) -> Self {
        let mut direct = Direct::default();
        direct.try_candidates(start(), candidates, OPENING);
        Self {
            direct,
            now: start(),
            tokens: 0,
            under_way: Vec::new(),
            used: Use::Busy,
        }
    }

    /// Lets time pass; `rtt` says how long an endpoint takes to answer. Returns the challenges with their moments.
    fn run(&mut self, time: Duration, rtt: impl Fn(Leg) -> Option<Duration>) -> Vec<(Duration, Leg)> {
        let (begun, mut challenges) = (self.now, Vec::new());
        while self.now.since(begun) < time {
            self.direct.judge(self.now);
            self.direct.choose();
            for address in self.direct.due(self.now, self.used) {
                self.tokens += 1;
                self.direct.challenged(self.now, address, self.tokens);
                challenges.push((self.now.since(begun), address));
                if let Some(rtt) = rtt(address) {
                    self.under_way.push((self.now + rtt, address, self.tokens));
                }
            }
            let now = self.now;
            for (_, address, token) in self.under_way.extract_if(.., |(at, ..)| *at <= now) {
                self.direct.heard(now, address, true, 1400);
                assert!(matches!(self.direct.answered(now, address, token), Answered::Works(_)));
            }
            self.direct.choose();
            self.now += MILLISECOND;
        }
        challenges
    }
}

#[test]
fn a_candidate_that_does_not_answer_is_challenged_by_the_schedule() {
    let mut peer = Peer::new(&[outside(1)]);
    let challenges = peer.run(Duration::from_secs(10), |_| None);
    let times: Vec<u128> = challenges.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [0, 50, 100, 200, 400, 800, 1600]);
    assert_eq!(peer.direct.active(), None);
    // Another round begins anew.
    peer.direct.try_candidates(peer.now, &[outside(1)], OPENING);
    assert_eq!(peer.run(Duration::from_secs(3), |_| None).len(), 7);
}

#[test]
fn the_own_lan_goes_before_a_shorter_way_round_and_then_the_shorter_way() {
    let mut peer = Peer::new(&[outside(1), outside(2), inside(3)]);
    let rtt = |address| {
        Some(if address == inside(3) {
            40 * MILLISECOND
        } else if address == outside(2) {
            10 * MILLISECOND
        } else {
            20 * MILLISECOND
        })
    };
    peer.run(Duration::from_secs(1), rtt);
    assert_eq!(peer.direct.active(), Some(inside(3)));
    peer.run(Duration::from_secs(5), |address| {
        rtt(address).filter(|_| address != inside(3))
    });
    assert_eq!(peer.direct.active(), Some(outside(2)));
}

#[test]
fn a_round_trip_that_is_hardly_shorter_moves_nothing() {
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(1), |_| Some(20 * MILLISECOND));
    peer.direct.try_candidates(peer.now, &[outside(2)], OPENING);
    peer.direct.proved(peer.now, outside(2));
    peer.run(Duration::from_secs(30), |address| {
        Some(if address == outside(1) { 20 } else { 19 } * MILLISECOND)
    });
    assert_eq!(peer.direct.active(), Some(outside(1)));
}

#[test]
fn four_missed_probes_end_a_path_and_three_answers_bring_it_back() {
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(1), |_| Some(20 * MILLISECOND));
    assert_eq!(peer.direct.active(), Some(outside(1)));
    let challenges = peer.run(Duration::from_secs(3), |_| None);
    assert_eq!(peer.direct.active(), None);
    let pauses: Vec<u128> = challenges
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0).as_millis())
        .collect();
    assert!(
        pauses.iter().all(|pause| *pause == PROBE_MISSED.as_millis()),
        "{pauses:?}"
    );
    // A single answer now and then is not enough.
    peer.under_way.clear();
    let (now, token) = (peer.now, 1_000_000);
    for round in 0..10 {
        let at = now + Duration::from_secs(round);
        peer.direct.challenged(at, outside(1), token + round);
        peer.direct.answered(at + MILLISECOND, outside(1), token + round);
        peer.direct
            .challenged(at + 2 * MILLISECOND, outside(1), u64::MAX - round);
        peer.direct.judge(at + Duration::from_millis(900));
        peer.direct.choose();
        assert_eq!(peer.direct.active(), None);
    }
    peer.now += Duration::from_secs(10);
    peer.run(Duration::from_secs(4), |_| Some(20 * MILLISECOND));
    assert_eq!(peer.direct.active(), Some(outside(1)));
}

#[test]
fn what_comes_over_a_path_makes_up_for_a_missed_probe() {
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(1), |_| Some(20 * MILLISECOND));
    for round in 0..100 {
        // A probe now and then is answered.
        let answer = round % 30 == 0;
        peer.run(100 * MILLISECOND, |_| answer.then_some(20 * MILLISECOND));
        peer.direct.heard(peer.now, outside(1), true, 1400);
    }
    assert_eq!(peer.direct.active(), Some(outside(1)));
}

#[test]
fn a_long_way_round_is_a_path_too() {
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(3), |_| Some(900 * MILLISECOND));
    assert_eq!(peer.direct.active(), Some(outside(1)));
    peer.run(Duration::from_secs(60), |_| Some(900 * MILLISECOND));
    assert_eq!(peer.direct.active(), Some(outside(1)));
    // One that was short and becomes long.
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(10), |_| Some(20 * MILLISECOND));
    peer.run(Duration::from_secs(60), |_| Some(700 * MILLISECOND));
    assert_eq!(peer.direct.active(), Some(outside(1)));
}

#[test]
fn an_answer_from_elsewhere_proves_nothing() {
    let mut direct = Direct::default();
    direct.try_candidates(start(), &[outside(1)], OPENING);
    direct.challenged(start(), outside(1), 7);
    assert_eq!(direct.answered(start(), outside(2), 7), Answered::Elsewhere);
    assert_eq!(direct.answered(start(), outside(1), 8), Answered::Unasked);
    assert_eq!(direct.choose(), None);
    assert!(matches!(direct.answered(start(), outside(1), 7), Answered::Works(_)));
    assert_eq!(direct.answered(start(), outside(1), 7), Answered::Unasked);
    assert_eq!(direct.choose(), Some(Some(outside(1))));
}

#[test]
fn the_tables_are_bounded() {
    let mut direct = Direct::default();
    for port in 1..1000 {
        let address = SocketAddr::from(([203, 0, 113, 1], port)).into();
        direct.heard(start(), address, true, 1400);
    }
    assert_eq!(direct.paths.len(), MAX_NOTICED);
    let many: Vec<_> = (1..100).map(outside).collect();
    direct.try_candidates(start(), &many, OPENING);
    assert_eq!(direct.paths.len(), MAX_PATHS);
    for token in 0..1000 {
        direct.challenged(start(), outside(1), token);
    }
    assert!(direct.paths.iter().all(|path| path.probes.len() <= MAX_PROBES));
}

#[test]
fn addresses_that_showed_up_and_did_not_answer_make_room_for_the_next() {
    let mut peer = Peer::new(&[]);
    for last in 1..20 {
        peer.direct.heard(peer.now, outside(last), true, 1400);
        let challenges = peer.run(Duration::from_secs(3), |_| None);
        assert!(challenges.iter().any(|(_, to)| *to == outside(last)), "{last}");
        assert!(peer.direct.paths.len() <= MAX_NOTICED);
    }
}

#[test]
fn addresses_that_showed_up_once_and_are_owed_nothing_make_room_too() {
    let mut direct = Direct::default();
    let mut now = start();
    let most = u8::try_from(MAX_NOTICED).unwrap();
    for batch in 0..5 {
        for host in 0..=most {
            let leg = outside(batch * (most + 1) + host);
            direct.heard(now, leg, false, CHALLENGE);
            // The answer is all that what came from there allows, and it gets lost.
            assert_eq!(direct.spend(leg), host < most, "{batch}, {host}");
        }
        now += NOTICED_FOR;
    }
}

#[test]
fn a_path_that_was_not_proven_asks_for_no_sizes() {
    let mut direct = Direct::default();
    direct.try_candidates(start(), &[outside(1)], OPENING);
    direct.mtu(outside(1)).unwrap().note(start(), 1400);
    let later = start() + Duration::from_secs(10);
    direct.due(later, Use::Idle);
    assert!(direct.sizes_due(later).is_empty());
    assert_eq!(direct.deadline(Use::Idle), None);
}

#[test]
fn a_candidate_is_not_tried_more_often_for_being_named_more_often() {
    let mut peer = Peer::new(&[outside(1)]);
    let mut challenges = 0;
    for _ in 0..80 {
        peer.direct.try_candidates(peer.now, &[outside(1)], OPENING);
        challenges += peer.run(100 * MILLISECOND, |_| None).len();
    }
    assert_eq!(challenges, 2 * SCHEDULE.len());
}

#[test]
fn an_idle_peer_is_left_alone() {
    let mut peer = Peer::new(&[outside(1)]);
    peer.run(Duration::from_secs(5), |_| Some(20 * MILLISECOND));
    peer.used = Use::Lately;
    let kept = peer.run(Duration::from_secs(300), |_| Some(20 * MILLISECOND));
    assert!((11..=15).contains(&kept.len()), "{}", kept.len());
    peer.used = Use::Idle;
    assert!(
        peer.run(Duration::from_secs(300), |_| Some(20 * MILLISECOND))
            .is_empty()
    );
}

#[test]
fn an_ended_session_leaves_its_endpoint() {
    let mut peer = Peer::new(&[outside(1), outside(2)]);
    peer.run(Duration::from_secs(5), |address| {
        Some(20 * MILLISECOND).filter(|_| address == outside(2))
    });
    peer.direct.session_ended();
    assert_eq!((peer.direct.active(), peer.direct.known()), (None, vec![outside(2)]));
    assert_eq!(peer.direct.deadline(Use::Busy), None);
}

/// A peer that sends without a pause for `time`, to a node that sends nothing, and then falls silent. Returns when the path was
/// probed after that and when it failed, in milliseconds; `answers` is whether it answers probes.
fn after_a_flow(time: Duration, pause: Duration, answers: bool) -> (Vec<u128>, Option<u128>) {
    let mut peer = Peer::new(&[outside(1)]);
    let rtt = |_| Some(20 * MILLISECOND);
    peer.run(Duration::from_secs(1), rtt);
    let end = peer.now + time;
    while peer.now < end {
        peer.direct.heard(peer.now, outside(1), true, 1400);
        peer.run(pause, rtt);
    }
    peer.direct.heard(peer.now, outside(1), true, 1400);
    let (begun, mut probes, mut failed) = (peer.now, Vec::new(), None);
    while peer.now.since(begun) < Duration::from_secs(3) {
        let at = peer.now.since(begun).as_millis();
        probes.extend(
            peer.run(MILLISECOND, |leg| rtt(leg).filter(|_| answers))
                .iter()
                .map(|_| at),
        );
        if peer.direct.active().is_none() {
            failed = failed.or(Some(at));
        }
    }
    (probes, failed)
}

#[test]
fn where_a_steady_flow_ends_one_probe_asks_why() {
    let (second, pause) = (Duration::from_secs(1), 10 * MILLISECOND);
    // It is not there any more: as soon as where this end had asked something.
    let (probes, failed) = after_a_flow(3 * second, pause, false);
    assert_eq!(probes[..4], [500, 600, 700, 800]);
    assert!((1000..=1300).contains(&failed.unwrap()), "{failed:?} {probes:?}");
    // However short before its end the path was measured.
    let (probes, _) = after_a_flow(9 * second + 300 * MILLISECOND, pause, false);
    assert_eq!(probes[..4], [500, 600, 700, 800]);
    // It has nothing more to say.
    let (probes, failed) = after_a_flow(3 * second, pause, true);
    assert_eq!((probes[..2].to_vec(), failed), (vec![500, 1520], None));
    // What comes now and then, or came for a moment only, is no steady flow.
    for (time, pause) in [(10 * second, Duration::from_millis(400)), (second / 2, pause)] {
        let (probes, failed) = after_a_flow(time, pause, false);
        assert!(probes[0] >= 900 && failed > Some(1500), "{failed:?} {probes:?}");
    }
}
