//! Certificates live on: by renewers, by a controller that comes back, and by what holders hand members without being asked.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    time::Duration,
};

use farlan_crypto::PublicKey;
use farlan_netconf::{
    Seconds,
    private::{Admission, Credential, Delegation, Refusal, Revoked},
};

use super::{
    club::{DAY, MORNING, YEAR, set_clock},
    lab::{Place, world_id},
    town::{Town, answer},
};
use crate::{Event, Handed, Membership};

/// Daemons of a town: what each keeps on its disk, and what time it is.
struct Homes {
    town: Town,
    kept: Vec<Membership>,
    /// The time of day at the laboratory's beginning.
    day: u64,
    away: Rc<RefCell<BTreeSet<Place>>>,
    /// Applications that came to renewers, and those that they granted.
    asked: u32,
    granted: u32,
}

impl Homes {
    /// All are members, the first of them a controller as long as a test lets it be one.
    fn new(nodes: usize, holders: &[usize]) -> Self {
        let mut town = Town::new(nodes);
        town.club.holders = holders.iter().map(|node| town.key(*node)).collect();
        let away = Rc::new(RefCell::new(BTreeSet::new()));
        let (closed, mut homes) = (
            Rc::clone(&away),
            Self {
                town,
                kept: Vec::new(),
                day: 0,
                away,
                asked: 0,
                granted: 0,
            },
        );
        homes.town.lab.wire = Box::new(move |from, to, _| {
            let away = closed.borrow();
            !away.contains(&from) && !away.contains(&to)
        });
        for node in 0..nodes {
            let key = homes.town.key(node);
            let membership = homes.town.club.member(key);
            homes.kept.push(membership.clone());
            homes.town.join(node, membership);
        }
        homes
    }

    fn leave(&self, node: usize) {
        self.away.borrow_mut().insert(self.town.nodes[node]);
    }

    fn come_back(&self, node: usize) {
        self.away.borrow_mut().remove(&self.town.nodes[node]);
    }

    fn is_away(&self, node: usize) -> bool {
        self.away.borrow().contains(&self.town.nodes[node])
    }

    /// A machine starts anew with what is on its disk.
    fn restart(&mut self, node: usize) {
        let (place, now) = (self.town.nodes[node], self.now());
        self.town.lab.restart(place);
        self.town.lab.set_world(place, 1, &[0]);
        set_clock(&mut self.town.lab, place, now);
        let membership = self.kept[node].clone();
        self.town.join(node, membership);
    }

    fn now(&self) -> u64 {
        MORNING + self.day * DAY
    }

    /// Days pass of which the laboratory sees some seconds each.
    fn pass(&mut self, days: u64, seconds: u64) {
        for _ in 0..days {
            self.day += 1;
            for node in 0..self.kept.len() {
                set_clock(&mut self.town.lab, self.town.nodes[node], MORNING + self.day * DAY);
            }
            self.run(seconds);
        }
    }

    /// Seconds pass in which daemons do what they are for: keep what they are told, and answer as renewers.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.town.lab.run_seconds(1);
            for node in 0..self.kept.len() {
                self.attend(node);
            }
        }
    }

    fn attend(&mut self, node: usize) {
        let now = self.town.lab.now;
        let events = std::mem::take(&mut self.town.lab.hosts[self.town.nodes[node]].events);
        for event in events {
            match event {
                Event::CredentialIssued { credential, .. } => self.kept[node].credential = Some(*credential),
                Event::DelegationIssued { delegation, .. } => self.kept[node].delegation = Some(*delegation),
                Event::DocumentsChanged {
                    config, revocations, ..
                } => {
                    self.kept[node].revocations = *revocations;
                    self.kept[node].config = config.map(|config| *config);
                }
                Event::Application {
                    network,
                    node: asks,
                    request,
                    ..
                } => {
                    self.asked += 1;
                    let engine = self.town.engine(node);
                    self.granted += u32::from(engine.answer_as_renewer(now, network, &asks.node_id(), request));
                }
                _ => {}
            }
        }
    }

    /// When a member's own certificate ends, as it was written down.
    fn expiry(&self, node: usize) -> u64 {
        self.kept[node].credential.as_ref().unwrap().expiry().get()
    }

    /// The seconds for which it lasts.
    fn left(&self, node: usize) -> u64 {
        self.expiry(node).saturating_sub(self.now())
    }

    fn hand_over(&mut self, from: usize, to: usize, paper: &Handed) {
        let (now, network, key) = (self.town.lab.now, self.town.networks[from], self.town.key(to));
        self.town.engine(from).hand_over(now, network, &key, paper);
    }

    fn delegate(&mut self, from: usize, to: usize, years: u64) -> Delegation {
        let delegation = self
            .town
            .club
            .delegate(self.town.key(to), self.now(), self.now() + years * YEAR);
        self.hand_over(from, to, &Handed::Delegation(Box::new(delegation.clone())));
        delegation
    }

    /// A certificate that begins now.
    fn certificate(&mut self, node: PublicKey, life: u64) -> Credential {
        let mut fields = self.town.club.fields(node);
        (fields.time, fields.expiry) = (Seconds::new(self.now()), Seconds::new(self.now() + life));
        self.town.club.sign(fields)
    }
}

#[test]
fn a_delegation_reaches_its_renewer_through_the_network_and_is_of_use_at_once() {
    for lossy in [false, true] {
        let mut homes = Homes::new(3, &[0, 1]);
        homes.run(6);
        assert!(homes.town.shares(0, 1) && homes.town.shares(1, 2));
        if lossy {
            let mut passed = 0_u32;
            homes.town.lab.wire = Box::new(move |_, _, _| {
                passed += 1;
                !passed.is_multiple_of(3)
            });
        }
        let delegation = homes.delegate(0, 1, 10);
        homes.run(if lossy { 30 } else { 2 });
        assert_eq!(
            homes.kept[1].delegation,
            Some(delegation),
            "handed over while both are there"
        );
        assert_eq!(homes.kept[2].delegation, None);
        if lossy {
            continue;
        }
        // Without a restart: the controller goes, and half a year passes.
        homes.leave(0);
        homes.pass(200, 1);
        homes.run(120);
        assert!(homes.left(2) > 300 * DAY, "{}", homes.left(2) / DAY);
        assert!(homes.granted > 0);
    }
}

#[test]
fn who_was_away_gets_what_waits_for_it_when_it_is_met() {
    let mut homes = Homes::new(3, &[0, 1]);
    homes.run(6);
    homes.leave(1);
    homes.run(300);
    assert!(!homes.town.shares(0, 1));
    let delegation = homes.delegate(0, 1, 10);
    let key = homes.town.key(1);
    let renamed = homes.certificate(key, 2 * YEAR);
    homes.hand_over(0, 1, &Handed::Credential(Box::new(renamed.clone())));
    homes.run(60);
    assert_eq!(homes.kept[1].delegation, None);
    homes.come_back(1);
    homes.run(150);
    assert_eq!(homes.kept[1].delegation, Some(delegation));
    assert_eq!(homes.kept[1].credential, Some(renamed.clone()));
    homes.run(1);
    assert!(homes.town.reaches(1, 2, 1));
    let name = renamed.certificate().fields().name.clone();
    let seen = homes.town.lab.hosts[homes.town.nodes[2]]
        .engine
        .credential_of(homes.town.networks[2], &key.node_id());
    assert_eq!(
        seen.unwrap().certificate().fields().name,
        name,
        "the others are shown it"
    );
}

#[test]
fn a_holder_is_told_of_every_member_that_it_meets() {
    let mut town = Town::new(3);
    town.club.holders = vec![town.key(0)];
    for node in 0..3 {
        town.join_as_member(node);
    }
    town.lab.run_seconds(6);
    let met = |town: &Town, node: usize| {
        let events = town.events(node).iter();
        let met = events.filter_map(|event| match event {
            Event::MemberMet { node, issue, .. } => Some((*node, *issue)),
            _ => None,
        });
        met.collect::<Vec<_>>()
    };
    let mut told = met(&town, 0);
    told.sort_by_key(|(_, issue)| *issue);
    assert_eq!(told, [(town.key(1), 2), (town.key(2), 3)]);
    assert_eq!(met(&town, 1), [], "which is no holder");
    // New keys are no reason to tell it again.
    for mark in 0..200 {
        town.send(1, 0, mark);
        town.lab.run_seconds(1);
    }
    assert_eq!(met(&town, 0).len(), 2);
}

#[test]
fn what_is_handed_over_counts_only_if_the_network_key_signed_it_for_this_node() {
    let mut homes = Homes::new(3, &[0, 1]);
    homes.run(6);
    let (own, other) = (homes.town.key(1), homes.town.key(2));
    let before = homes.kept[1].credential.clone();
    // For somebody else, by another network's key, and what is older than what is there.
    let others = homes.town.club.delegate(other, homes.now(), homes.now() + YEAR);
    homes.hand_over(2, 1, &Handed::Delegation(Box::new(others)));
    homes.run(3);
    let mut foreign = super::club::Club::new(102);
    let stranger = foreign.delegate(own, homes.now(), homes.now() + YEAR);
    homes.hand_over(2, 1, &Handed::Delegation(Box::new(stranger)));
    homes.run(3);
    let fields = foreign.fields(own);
    let stranger = foreign.sign(fields);
    homes.hand_over(2, 1, &Handed::Credential(Box::new(stranger)));
    homes.run(3);
    let newer = homes.certificate(other, 9 * YEAR);
    homes.hand_over(2, 1, &Handed::Credential(Box::new(newer)));
    homes.run(3);
    let short = homes.town.club.fields_of(1, own);
    let short = homes.town.club.sign(short);
    homes.hand_over(2, 1, &Handed::Credential(Box::new(short)));
    homes.run(3);
    assert_eq!((&homes.kept[1].delegation, &homes.kept[1].credential), (&None, &before));
    assert_eq!(homes.town.engine(1).counters().credentials_refused, 5);
    // A delegation that was withdrawn does not come back.
    let good = homes.delegate(2, 1, 3);
    homes.run(3);
    assert_eq!(
        homes.kept[1].delegation.as_ref(),
        Some(&good),
        "any member may bring it"
    );
    homes.town.club.revoke(Revoked::Delegation { key: *own.as_bytes() });
    homes.kept[1].revocations = homes.town.club.revocations.clone();
    homes.restart(1);
    homes.run(10);
    homes.pass(200, 1);
    homes.run(60);
    assert_eq!(homes.granted, 0);
}

#[test]
fn a_network_lives_three_years_with_one_renewer_and_without_its_controller() {
    // The controller, the renewer, three members and one who is thrown out.
    const RENEWER: usize = 1;
    const VICTIM: usize = 5;
    let mut homes = Homes::new(6, &[0, RENEWER]);
    homes.run(10);
    homes.delegate(0, RENEWER, 10);
    let victim = homes.town.key(VICTIM);
    homes.town.club.kick(victim);
    homes.town.club.renew_secret();
    let (now, network) = (homes.town.lab.now, homes.town.networks[0]);
    let (config, revocations) = (homes.town.club.config(), homes.town.club.revocations.clone());
    homes
        .town
        .engine(0)
        .set_documents(now, network, Some(config), &revocations);
    homes.run(10);
    assert!(homes.kept[RENEWER].delegation.is_some());
    homes.leave(0);
    let (mut checked, mut late) = (0, 0);
    for week in 0..3 * 53 {
        // One is away five weeks out of eight, and comes back with its machine started anew; another for half a year.
        let away = [(3, (3..8).contains(&(week % 8))), (4, (40..66).contains(&week))];
        for (member, away) in away {
            match (homes.is_away(member), away) {
                (false, true) => homes.leave(member),
                (true, false) => {
                    homes.come_back(member);
                    homes.restart(member);
                }
                _ => {}
            }
        }
        homes.pass(7, 12);
        homes.run(30);
        for member in [RENEWER, 2, 3, 4] {
            if homes.is_away(member) {
                continue;
            }
            assert!(homes.left(member) > 0, "{member} in week {week}");
            // Half a life is over one day at the most before it is renewed, or it was away; a renewer waits for another.
            late += u32::from(homes.left(member) < YEAR / 2 - 8 * DAY && member != RENEWER);
        }
        if week % 10 == 0 {
            for (from, to) in [(RENEWER, 2), (2, RENEWER), (2, 3), (3, 4), (4, RENEWER)] {
                if !homes.is_away(from) && !homes.is_away(to) {
                    assert!(homes.town.reaches(from, to, 1), "{from} to {to} in week {week}");
                    checked += 1;
                }
            }
            assert!(homes.left(RENEWER) > YEAR / 4, "its own certificate as well");
            for member in [RENEWER, 2] {
                assert!(!homes.town.reaches(VICTIM, member, 2) && !homes.town.reaches(member, VICTIM, 3));
                assert!(!homes.town.shares(member, VICTIM));
            }
        }
    }
    assert_eq!(late, 0);
    assert!(checked > 50, "{checked}");
    assert!(homes.day > 3 * 365);
    let kept = homes.kept[2].credential.as_ref().unwrap();
    assert!(kept.extension().is_some(), "by the renewer");
    assert!(homes.granted >= 3 * 5, "{}", homes.granted);
    // The victim's certificate, extended by nobody, has run out by itself meanwhile.
    assert_eq!(homes.left(VICTIM), 0);
}

#[test]
fn two_hundred_certificates_are_renewed_within_a_minute_of_the_controllers_return() {
    const MEMBERS: usize = 200;
    let mut town = Town::new(MEMBERS + 1);
    town.club.holders = vec![town.key(0)];
    let (off, controller) = (Rc::new(Cell::new(true)), town.nodes[0]);
    let closed = Rc::clone(&off);
    town.lab.wire = Box::new(move |from, to, _| !closed.get() || ![from, to].contains(&controller));
    for member in 1..=MEMBERS {
        let key = town.key(member);
        let mut fields = town.club.fields(key);
        (fields.time, fields.expiry) = (Seconds::new(MORNING - 200 * DAY), Seconds::new(MORNING + 165 * DAY));
        let credential = Some(town.club.sign(fields));
        let membership = Membership {
            credential,
            ..town.club.papers()
        };
        town.join(member, membership);
    }
    // All have asked for the first time long ago when it comes.
    town.lab.run_seconds(20);
    off.set(false);
    town.lab.restart(controller);
    town.lab.set_world(controller, 1, &[0]);
    set_clock(&mut town.lab, controller, MORNING);
    town.join_as_member(0);
    let mut answered = 0;
    for _ in 0..60 {
        town.lab.run_seconds(1);
        answered += answer(&mut town, 0, None);
        if answered == MEMBERS {
            break;
        }
    }
    town.lab.run_seconds(1);
    let renewed = |member: &usize| {
        let issued = town.events(*member).iter().rev().find_map(|event| match event {
            Event::CredentialIssued { credential, .. } => Some(credential.expiry().get()),
            _ => None,
        });
        issued.is_some_and(|expiry| expiry >= MORNING + YEAR)
    };
    assert_eq!(
        ((1..=MEMBERS).filter(renewed).count(), answered),
        (MEMBERS, MEMBERS),
        "each once"
    );
}

#[test]
fn a_member_that_asks_again_gets_its_new_certificate_though_the_old_one_is_good() {
    let mut town = Town::new(3);
    town.club.holders = vec![town.key(0)];
    for node in 0..3 {
        town.join_as_member(node);
    }
    town.lab.run_seconds(6);
    assert_eq!(answer(&mut town, 0, None), 0, "there is no need");
    let issue = |town: &Town, node: usize| {
        let status = town.lab.status(town.nodes[node], town.networks[node]);
        status.membership.unwrap().issue
    };
    let before = issue(&town, 1);
    let (now, network) = (town.lab.now, town.networks[1]);
    town.engine(1).ask_again(now, network);
    let mut answered = 0;
    for _ in 0..4 {
        town.lab.run_seconds(1);
        answered += answer(&mut town, 0, None);
    }
    assert_eq!(answered, 1, "at once, and not again");
    town.lab.run_seconds(1);
    assert!(issue(&town, 1) > before);
    town.lab.run_seconds(120);
    assert_eq!(answer(&mut town, 0, None), 0, "it has what it wanted");
    // Once more in the same session: another question, which has another answer.
    let (now, before) = (town.lab.now, issue(&town, 1));
    town.engine(1).ask_again(now, network);
    for _ in 0..4 {
        town.lab.run_seconds(1);
        answered += answer(&mut town, 0, None);
    }
    town.lab.run_seconds(1);
    assert_eq!(answered, 2);
    assert!(issue(&town, 1) > before);
}

/// A member of a town whose certificate began and ends so many days from the morning on.
fn join_with_days(town: &mut Town, node: usize, begins: i64, ends: i64) {
    let key = town.key(node);
    let mut fields = town.club.fields(key);
    let at = |days: i64| Seconds::new(MORNING.saturating_add_signed(days * i64::try_from(DAY).unwrap()));
    (fields.time, fields.expiry) = (at(begins), at(ends));
    let membership = Membership {
        credential: Some(town.club.sign(fields)),
        ..town.club.papers()
    };
    town.join(node, membership);
}

/// How often a node was refused a certificate for this reason.
fn refusals(town: &Town, node: usize, reason: Refusal) -> usize {
    let refused = |event: &&Event| matches!(event, Event::ApplicationRefused { refusal, .. } if *refusal == reason);
    town.events(node).iter().filter(refused).count()
}

/// Who asked a holder, and whether with a certificate.
fn applicants(town: &Town, holder: usize) -> BTreeSet<(PublicKey, bool)> {
    let events = town.events(holder).iter();
    let asked = events.filter_map(|event| match event {
        Event::Application { node, credential, .. } => Some((*node, credential.is_some())),
        _ => None,
    });
    asked.collect()
}

#[test]
fn who_was_away_for_longer_than_its_certificate_lived_is_let_in_when_it_has_another() {
    let mut town = Town::new(4);
    town.club.holders = vec![town.key(0)];
    let [back, kicked] = [town.key(2), town.key(3)];
    join_with_days(&mut town, 2, -400, -35);
    join_with_days(&mut town, 3, -400, -35);
    town.club.kick(kicked);
    town.join_as_member(0);
    town.join_as_member(1);
    let mut frames = 0;
    for mark in 0..10 {
        for to in [0, 1] {
            frames += usize::from(town.reaches(2, to, mark)) + usize::from(town.reaches(to, 2, mark));
        }
    }
    assert_eq!(frames, 0, "nothing passes for an expired certificate");
    assert!(!town.shares(0, 2) && !town.shares(1, 2));
    assert_eq!(
        applicants(&town, 0),
        BTreeSet::from([(back, true)]),
        "who was thrown out and shows no invite is not heard"
    );
    assert_eq!(answer(&mut town, 0, None), 1);
    town.lab.run_seconds(3);
    for (from, to) in [(2, 0), (0, 2), (2, 1), (1, 2)] {
        assert!(town.reaches(from, to, 77), "{from} to {to}");
    }
    assert!(!town.shares(0, 3) && !town.shares(1, 3));
    assert_eq!(refusals(&town, 3, Refusal::Revoked), 0);
}

#[test]
fn a_renewer_extends_no_certificate_that_has_expired_and_says_so() {
    let mut town = Town::new(4);
    town.club.holders = vec![town.key(1)];
    let delegation = town.club.delegate(town.key(1), MORNING - DAY, MORNING + YEAR);
    let key = town.key(1);
    let renewer = Membership {
        delegation: Some(delegation),
        ..town.club.member(key)
    };
    town.join(1, renewer);
    join_with_days(&mut town, 2, -400, -35);
    join_with_days(&mut town, 3, -200, 165);
    let mut granted = Vec::new();
    for _ in 0..20 {
        town.lab.run_seconds(1);
        let events = std::mem::take(&mut town.lab.hosts[town.nodes[1]].events);
        for event in events {
            if let Event::Application {
                network, node, request, ..
            } = event
            {
                let now = town.lab.now;
                if town.engine(1).answer_as_renewer(now, network, &node.node_id(), request) {
                    granted.push(node);
                }
            }
        }
    }
    assert_eq!(granted, [town.key(3)], "which is past half of its life");
    assert_eq!(refusals(&town, 3, Refusal::NoController), 0, "nor was it refused first");
    assert_eq!(refusals(&town, 2, Refusal::NoController), 1);
    assert!(!town.shares(1, 2) && !town.shares(3, 2));
    assert!(!town.reaches(2, 1, 1) && !town.reaches(1, 2, 2));
}

#[test]
fn who_asks_before_it_is_time_by_the_renewers_clock_asks_anew() {
    let mut town = Town::new(2);
    let delegation = town.club.delegate(town.key(0), MORNING - DAY, MORNING + YEAR);
    let key = town.key(0);
    let renewer = Membership {
        delegation: Some(delegation),
        ..town.club.member(key)
    };
    town.club.holders = vec![key];
    town.join(0, renewer);
    // By its clock half of the certificate's life is over, by the renewer's not for another four seconds.
    set_clock(&mut town.lab, town.nodes[1], MORNING + 4);
    let key = town.key(1);
    let mut fields = town.club.fields(key);
    (fields.time, fields.expiry) = (Seconds::new(MORNING - 100), Seconds::new(MORNING + 107));
    let membership = Membership {
        credential: Some(town.club.sign(fields)),
        ..town.club.papers()
    };
    town.join(1, membership);
    let (mut asked, mut extended) = (0, false);
    for _ in 0..12 {
        town.lab.run_seconds(1);
        for event in std::mem::take(&mut town.lab.hosts[town.nodes[0]].events) {
            if let Event::Application {
                network, node, request, ..
            } = event
            {
                let now = town.lab.now;
                town.engine(0).answer_as_renewer(now, network, &node.node_id(), request);
                asked += 1;
            }
        }
        let own = town.lab.status(town.nodes[1], town.networks[1]).membership;
        extended |= own.is_some_and(|own| own.expiry > Seconds::new(MORNING + 107));
    }
    assert!(asked >= 2, "asked {asked} times");
    assert!(extended);
}

#[test]
fn who_was_thrown_out_and_comes_by_an_older_link_is_told_why_it_gets_nothing() {
    let mut town = Town::new(3);
    town.club.holders = vec![town.key(0)];
    let (controller, kicked) = (town.key(0), town.key(2));
    let before = town.club.member(kicked);
    assert!(before.credential.is_some());
    let invite = town.club.invite(7, 0);
    let link = town.club.link(&invite, &[controller]);
    town.club.kick(kicked);
    town.club.renew_secret();
    town.join_as_member(0);
    town.join_as_member(1);
    town.join(2, link);
    let mut asked = BTreeSet::new();
    for _ in 0..20 {
        town.lab.run_seconds(1);
        asked.extend(applicants(&town, 0));
        answer(&mut town, 0, Some(Refusal::Revoked));
    }
    assert_eq!(asked, BTreeSet::from([(kicked, false)]), "by the invite alone");
    assert_eq!(refusals(&town, 2, Refusal::Revoked), 1);
    assert!(!town.shares(0, 2) && !town.shares(1, 2));
    assert!(!town.reaches(2, 1, 1) && !town.reaches(0, 2, 2));
}

#[test]
fn who_is_thrown_out_and_leaves_and_comes_back_in_that_moment_is_told_so_too() {
    for (left, back) in [0, 1, 10, 30, 100, 500, 2000]
        .into_iter()
        .flat_map(|left| [0, 10, 30, 600].map(|back| (left, back)))
    {
        let mut town = Town::new(2);
        town.club.holders = vec![town.key(0)];
        let (controller, kicked) = (town.key(0), town.key(1));
        let invite = town.club.invite(7, 0);
        let link = || town.club.link(&invite, &[controller]);
        let [first, again] = [link(), link()];
        town.join_as_member(0);
        town.join(1, first);
        let mut granted = 0;
        for _ in 0..50 {
            town.lab.run(Duration::from_millis(100));
            granted += answer(&mut town, 0, None);
            if town
                .lab
                .status(town.nodes[1], town.networks[1])
                .membership
                .is_some_and(|own| !own.provisional)
            {
                break;
            }
        }
        assert_eq!(granted, 1);
        town.lab.run(Duration::from_millis(20));
        town.club.kick(kicked);
        town.club.renew_secret();
        town.config_reaches(0);
        town.revocations_reach(0);
        town.lab.run(Duration::from_millis(left));
        let (now, network) = (town.lab.now, town.networks[1]);
        town.engine(1).leave(now, network);
        town.engine(1).remove_world(now, world_id(1));
        town.lab.run(Duration::from_millis(back));
        let place = town.nodes[1];
        town.lab.set_world(place, 1, &[0]);
        town.join(1, again);
        for _ in 0..10 {
            town.lab.run(Duration::from_millis(100));
            answer(&mut town, 0, Some(Refusal::Revoked));
        }
        let told = refusals(&town, 1, Refusal::Revoked);
        assert_eq!(
            told, 1,
            "left {left} ms after it was thrown out, back {back} ms later: told within a second"
        );
    }
}

#[test]
fn certificates_that_expired_are_renewed_within_a_minute_of_the_controllers_return() {
    const MEMBERS: usize = 12;
    // How long it was away, and whether its machine starts anew.
    for (away, anew) in [(20, false), (130, false), (130, true), (700, true), (700, false)] {
        let mut town = Town::new(MEMBERS + 1);
        town.club.holders = vec![town.key(0)];
        let (off, controller) = (Rc::new(Cell::new(false)), town.nodes[0]);
        let closed = Rc::clone(&off);
        town.lab.wire = Box::new(move |from, to, _| !closed.get() || ![from, to].contains(&controller));
        town.join_as_member(0);
        let member = town.club.member(town.key(0));
        for node in 1..=MEMBERS {
            join_with_days(&mut town, node, -1, [100, 200, 900][node % 3]);
        }
        town.lab.run_seconds(10);
        off.set(true);
        // A third has expired then, and another is past half of its life.
        let now = MORNING + 150 * DAY;
        for place in town.nodes.clone() {
            set_clock(&mut town.lab, place, now);
        }
        town.lab.run_seconds(away);
        off.set(false);
        if anew {
            town.lab.restart(controller);
            town.lab.set_world(controller, 1, &[0]);
            set_clock(&mut town.lab, controller, now);
            town.join(0, member);
        }
        let mut renewed = BTreeSet::new();
        for _ in 0..60 {
            town.lab.run_seconds(1);
            let asked = applicants(&town, 0);
            let events = std::mem::take(&mut town.lab.hosts[controller].events);
            for event in events {
                if let Event::Application {
                    network, node, request, ..
                } = event
                {
                    let mut fields = town.club.fields(node);
                    (fields.time, fields.expiry) = (Seconds::new(now), Seconds::new(now + YEAR));
                    let admission = Admission::Granted(Box::new(town.club.sign(fields)));
                    let controller = town.engine(0);
                    controller.answer_application(network, &node.node_id(), request, &admission);
                }
            }
            renewed.extend(asked);
        }
        let all: BTreeSet<_> = (1..=MEMBERS)
            .filter(|node| node % 3 != 2)
            .map(|node| (town.key(node), true))
            .collect();
        assert_eq!(renewed.len(), all.len(), "{away} s, anew: {anew}");
        assert_eq!(renewed, all);
        town.lab.run_seconds(10);
        for (from, to) in [(0, 3), (3, 0), (3, 4), (5, 3), (6, 3)] {
            assert!(town.reaches(from, to, 1), "{from} to {to}, {away} s, anew: {anew}");
        }
    }
}
