//! Private networks: who has a credential is a member for everybody, and who has none finds nothing there.

use std::time::Duration;

use farlan_netconf::{
    Mac, Seconds,
    private::{Refusal, Revoked, Rights},
};

use super::{
    club::{Club, DAY, MORNING, YEAR, set_clock, stranger},
    lab::{frame, link, world_id},
    town::{Town, answer},
};
use crate::{Event, Membership, NetworkHandle, Target, wire::datagram::DATA_HEADER};

#[test]
fn two_who_came_by_one_link_meet_with_only_a_supernode() {
    let mut town = Town::new(2);
    let (invite, away) = (town.club.invite(7, 0), stranger(99));
    for node in 0..2 {
        let link = town.club.link(&invite, &[away]);
        town.join(node, link);
    }
    town.lab.run_seconds(4);
    assert!(town.shares(0, 1) && town.shares(1, 0), "greeted without being asked to");
    assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
    for (node, other) in [(0, 1), (1, 0)] {
        let now = town.lab.now;
        let (id, network) = (town.key(other).node_id(), town.networks[node]);
        let peers = town.engine(node).peers(now);
        let peer = peers.iter().find(|peer| peer.node == id).unwrap();
        let told = peer.networks[0].membership.clone().unwrap();
        assert_eq!(told.name, Some("guest".parse().unwrap()));
        assert!(told.provisional && told.ipv4.is_none());
        assert_eq!(told.invite, Some(invite.key.public()));
        let issued = |event: &&Event| matches!(event, Event::CredentialIssued { network: at, .. } if *at == network);
        assert_eq!(town.events(node).iter().filter(issued).count(), 1);
        assert!(town.lab.status(town.nodes[node], network).ipv4.is_some());
    }
}

/// As a daemon does when another address is possible there: the session with the other member stands all the while.
#[test]
fn who_leaves_and_joins_again_with_the_same_certificate_is_shown_the_network_again() {
    for away in [0, 1, 30, 5000] {
        let mut town = Town::new(2);
        let key = town.key(1);
        let membership = town.club.member(key);
        town.join_as_member(0);
        town.join(1, membership.clone());
        town.lab.run_seconds(4);
        assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
        town.lab.leave(town.nodes[1], town.networks[1]);
        town.lab.run(Duration::from_millis(away));
        town.join(1, membership);
        town.lab.run_seconds(2);
        assert!(town.shares(0, 1) && town.shares(1, 0), "after {away} ms");
        assert!(town.reaches(0, 1, 3) && town.reaches(1, 0, 4), "after {away} ms");
    }
}

#[test]
fn the_first_frame_waits_for_the_credentials_and_is_not_lost() {
    for delay in [1, 20, 200] {
        let mut town = Town::new(2);
        town.lab.delay = Duration::from_millis(delay);
        for node in 0..2 {
            town.join_as_member(node);
        }
        // As soon as the directory knows them, and long before they greet each other.
        let mut first = None;
        for turn in 0..200 {
            town.lab.run(Duration::from_millis(10));
            let listed = town.lab.status(town.nodes[0], town.networks[0]).members == 2;
            if first.is_none() && listed {
                first = Some(turn);
                for mark in 0..8 {
                    town.send(0, 1, mark);
                }
            }
        }
        assert!(first.is_some());
        town.lab.run_seconds(2);
        let frames: Vec<u8> = town.lab.hosts[town.nodes[1]]
            .frames
            .iter()
            .map(|(_, frame)| frame[14])
            .collect();
        assert_eq!(frames, (0..8).collect::<Vec<u8>>(), "{delay} ms");
    }
}

#[test]
fn members_on_one_switch_meet_without_any_supernode() {
    let mut town = Town::new(2);
    town.lab.open = true;
    town.lab.wire = Box::new(|from, to, _| from != 0 && to != 0);
    let invite = town.club.invite(7, 0);
    for node in 0..2 {
        let link = town.club.link(&invite, &[]);
        town.join(node, link);
        town.lab.plug(town.nodes[node], 1);
    }
    town.lab.run_seconds(4);
    assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
    let address = |node: usize| town.lab.status(town.nodes[node], town.networks[node]).ipv4;
    assert!(address(0).is_some() && address(1).is_some() && address(0) != address(1));
}

#[test]
fn renewed_keys_lose_no_frame_and_cost_no_signature() {
    // On a long way more frames come between the list of a new session and the credentials in it than may wait.
    for (delay, quiet, turns, pause) in [(1, 100, 3000_u32, 20), (120, 105, 6000, 4)] {
        let mut town = Town::of_members(2);
        town.lab.delay = Duration::from_millis(delay);
        town.lab.run_seconds(6);
        assert!(town.reaches(0, 1, 0));
        let work = |town: &Town| {
            let engines = town.nodes.iter().map(|node| &town.lab.hosts[*node].engine);
            engines.map(|engine| engine.counters().public_key_work).sum::<u64>()
        };
        town.lab.run_seconds(quiet);
        let before = (work(&town), town.frames(1), town.lab.handshakes_begun());
        let mut sent = 0;
        for turn in 0..turns {
            let mark = (turn % 251).try_into().unwrap();
            town.send(0, 1, mark);
            town.send(1, 0, mark);
            sent += 1;
            town.lab.run(Duration::from_millis(pause));
        }
        town.lab.run_seconds(1);
        assert_eq!(town.frames(1) - before.1, sent, "{delay} ms");
        assert!(town.lab.handshakes_begun() > before.2, "the keys were renewed");
        // Begin, answer and finish; on a long way both may begin.
        let most = if delay == 1 { 3 } else { 6 };
        assert!(work(&town) - before.0 <= most * (town.lab.handshakes_begun() - before.2));
    }
}

#[test]
fn a_certified_address_is_nobody_elses() {
    let mut town = Town::new(3);
    // The guest's first candidate is the one that the member's certificate gives.
    let invite = town.club.invite(7, 0);
    let link = town.club.link(&invite, &[]);
    town.join(1, link);
    town.lab.run_seconds(3);
    let taken = town.lab.status(town.nodes[1], town.networks[1]).ipv4.unwrap();
    let key = town.key(0);
    let mut fields = town.club.fields(key);
    fields.ipv4 = Some(taken);
    let credential = Some(town.club.sign(fields));
    let membership = Membership {
        credential,
        ..town.club.papers()
    };
    town.join(0, membership);
    assert_eq!(
        town.lab.status(town.nodes[0], town.networks[0]).ipv4,
        Some(taken),
        "at once"
    );
    town.lab.run_seconds(5);
    assert_eq!(town.lab.status(town.nodes[0], town.networks[0]).ipv4, Some(taken));
    let other = town.lab.status(town.nodes[1], town.networks[1]).ipv4;
    assert!(other.is_some() && other != Some(taken), "{other:?}");
    // A third asks who has it.
    town.join_as_member(2);
    town.lab.run_seconds(5);
    let network = town.lab.hosts[town.nodes[2]]
        .engine
        .networks
        .get(town.networks[2])
        .unwrap();
    assert_eq!(network.member_by_ipv4(taken).map(|member| member.key), Some(key));
}

/// What a member of the network on one side, and a node without it on the other, answer to the same caller.
fn looks_the_same(prepare: impl Fn(&mut Town), case: &str) {
    let mut said = Vec::new();
    for member in [true, false] {
        let mut town = Town::new(2);
        town.lab.log = Some(Vec::new());
        if member {
            town.join_as_member(0);
        } else {
            let network = town.lab.join(town.nodes[0], &link(1));
            town.networks = vec![network];
        }
        town.lab.run_seconds(3);
        prepare(&mut town);
        // He knows the member, and is named to it by nobody.
        let key = town.key(0);
        let (now, network) = (town.lab.now, town.networks[1]);
        let caller = town.nodes[1];
        if let Some(network) = town.lab.hosts[caller].engine.networks.get_mut(network) {
            network.met.note_for_test(now, key);
        }
        town.lab.log = Some(Vec::new());
        let (world, id) = (world_id(1), key.node_id());
        town.engine(1).greet(now, world, &[key]);
        for turn in 0..20 {
            let plan = &town.lab.hosts[caller].engine.networks.get(network).unwrap().plan;
            let (to, from) = (plan.mac(&id), plan.mac(&town.key(1).node_id()));
            for to in [to, Mac::BROADCAST] {
                town.lab.send(caller, network, &frame(to, from, turn));
            }
            town.engine(1).ping(now, Target::Node(id), turn.into());
            town.lab.run(Duration::from_millis(500));
        }
        assert_eq!(town.frames(0), 0, "{case}");
        assert!(!town.shares(1, 0) && !town.shares(0, 1), "{case}");
        let log = town.lab.log.take().unwrap();
        let answers: Vec<(u8, usize)> = log
            .iter()
            .filter(|sent| sent.from == town.nodes[0])
            .map(|sent| (sent.bytes[0], sent.bytes.len()))
            .collect();
        assert!(
            answers.iter().any(|(kind, length)| *kind == 5 || *length > DATA_HEADER),
            "{case}"
        );
        said.push(answers);
    }
    assert_eq!(
        said[0], said[1],
        "{case}: the kinds and lengths of all that was answered"
    );
}

#[test]
fn who_has_no_valid_credential_finds_nothing_and_cannot_tell_that_anything_is_there() {
    // Who knows the id alone holds another secret.
    looks_the_same(
        |town| {
            let key = town.key(1);
            let mut other = Club::with_secret(100, 1);
            let membership = other.member(key);
            town.join(1, membership);
        },
        "another secret",
    );
    looks_the_same(
        |town| {
            let key = town.key(1);
            let mut fields = town.club.fields(key);
            (fields.time, fields.expiry) = (Seconds::new(MORNING - 2 * DAY), Seconds::new(MORNING - DAY));
            let credential = Some(town.club.sign(fields));
            hidden(
                town,
                Membership {
                    credential,
                    ..town.club.papers()
                },
            );
        },
        "expired",
    );
    looks_the_same(
        |town| {
            let membership = town.club.member(stranger(98));
            hidden(town, membership.clone());
            force(town, membership);
        },
        "another's certificate",
    );
    looks_the_same(
        |town| {
            // Signed by the key of another network.
            let key = town.key(1);
            let mut other = Club::new(102);
            let mut fields = other.fields(key);
            fields.rights = Rights::BRIDGE;
            let credential = Some(other.sign(fields));
            let membership = Membership {
                credential,
                ..town.club.papers()
            };
            hidden(town, membership.clone());
            force(town, membership);
        },
        "another key's certificate",
    );
    looks_the_same(
        |town| {
            let key = town.key(1);
            let membership = town.club.member(key);
            town.club.kick(key);
            hidden(town, membership);
            revocations_reach_the_member(town);
        },
        "revoked",
    );
    looks_the_same(
        |town| {
            let invite = town.club.invite(7, 0);
            let revoked = Revoked::Delegation {
                key: *invite.key.public().as_bytes(),
            };
            let link = town.club.link(&invite, &[]);
            town.club.revoke(revoked);
            let none = farlan_netconf::private::Revocations::new(town.club.network);
            hidden(
                town,
                Membership {
                    revocations: none,
                    ..link
                },
            );
            revocations_reach_the_member(town);
        },
        "by a revoked invite",
    );
    looks_the_same(
        |town| {
            let invite = town.club.invite(7, 3);
            let link = town.club.link(&invite, &[]);
            hidden(town, link);
        },
        "nothing but a counted invite",
    );
}

/// Joins without being listed under the network's key: the supernode does not tell the member of the caller.
fn hidden(town: &mut Town, membership: Membership) {
    town.join(1, membership);
    let (network, node) = (town.networks[1], town.nodes[1]);
    let network = town.lab.hosts[node].engine.networks.get_mut(network).unwrap();
    network.world = world_id(2);
}

/// Lets a node show what its own engine would not take.
fn force(town: &mut Town, membership: Membership) {
    let (network, node) = (town.networks[1], town.nodes[1]);
    let network = town.lab.hosts[node].engine.networks.get_mut(network).unwrap();
    network
        .private
        .as_mut()
        .unwrap()
        .force_for_test(membership.credential.unwrap());
}

/// Whoever is in the network of the test has the revocations.
fn revocations_reach_the_member(town: &mut Town) {
    let (now, revocations, network) = (town.lab.now, town.club.revocations.clone(), town.networks[0]);
    let engine = town.engine(0);
    let here = engine
        .revocations(network)
        .is_some_and(|known| known.network() == revocations.network());
    if here {
        assert!(engine.revocations_known(now, network, &revocations));
    }
}

#[test]
fn not_one_frame_passes_after_the_revocation_arrived() {
    let mut town = Town::of_members(3);
    town.lab.run_seconds(4);
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 1)] {
        assert!(town.reaches(from, to, 1));
    }
    let victim = town.key(1);
    // Frames in both directions, and some to all, without a pause.
    let storm = |town: &mut Town| {
        for mark in 0..5 {
            town.send(1, 0, 50 + mark);
            town.send(0, 1, 60 + mark);
            let all = frame(Mac::BROADCAST, town.lab.mac(town.nodes[1], town.networks[1]), 70 + mark);
            town.lab.send(town.nodes[1], town.networks[1], &all);
            let all = frame(Mac::BROADCAST, town.lab.mac(town.nodes[0], town.networks[0]), 80 + mark);
            town.lab.send(town.nodes[0], town.networks[0], &all);
        }
    };
    storm(&mut town);
    town.lab.run(Duration::from_millis(30));
    town.club.kick(victim);
    town.revocations_reach(0);
    let (got, theirs) = (town.frames(0), town.frames(1));
    // What was under way to the victim before is the wire's.
    town.lab.run(Duration::from_millis(100));
    let after = town.frames(1);
    for _ in 0..40 {
        storm(&mut town);
        town.lab.run(Duration::from_millis(200));
    }
    town.lab.run_seconds(10);
    let from_victim =
        |(_, frame): &&(NetworkHandle, Vec<u8>)| (50..60).contains(&frame[14]) || (70..80).contains(&frame[14]);
    let late = town.lab.hosts[town.nodes[0]].frames[got..]
        .iter()
        .filter(from_victim)
        .count();
    assert_eq!(late, 0, "not one from the victim");
    assert!(after >= theirs);
    let from_member =
        |(_, frame): &&(NetworkHandle, Vec<u8>)| (60..70).contains(&frame[14]) || (80..90).contains(&frame[14]);
    let late = town.lab.hosts[town.nodes[1]].frames[after..]
        .iter()
        .filter(from_member)
        .count();
    assert_eq!(late, 0, "not one to the victim");
    let out = |event: &&Event| matches!(event, Event::MemberOut { node, .. } if *node == victim.node_id());
    assert_eq!(town.events(0).iter().filter(out).count(), 1);
    let status = town.lab.status(town.nodes[0], town.networks[0]);
    assert_eq!(status.members, 2, "nor is it listed");
    let now = town.lab.now;
    let peers = town.engine(0).peers(now);
    assert!(
        peers
            .iter()
            .all(|peer| peer.node != victim.node_id() || peer.networks.is_empty())
    );
    assert!(town.reaches(0, 2, 2) && town.reaches(2, 0, 3), "the others go on");
    // Admitted again, it is a member like any other.
    let membership = town.club.member(victim);
    let (now, network) = (town.lab.now, town.networks[1]);
    assert!(
        town.engine(1)
            .credential_issued(now, network, membership.credential.unwrap())
    );
    town.lab.run_seconds(6);
    assert!(town.reaches(1, 0, 4) && town.reaches(0, 1, 5));
}

#[test]
fn a_credential_that_expires_ends_everything_at_that_moment() {
    let mut town = Town::new(2);
    town.join_as_member(0);
    let key = town.key(1);
    let mut fields = town.club.fields(key);
    fields.expiry = Seconds::new(MORNING + 20);
    let credential = Some(town.club.sign(fields));
    let membership = Membership {
        credential,
        ..town.club.papers()
    };
    town.join(1, membership);
    town.lab.run_seconds(4);
    assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
    town.lab.run_seconds(20);
    assert!(!town.shares(0, 1));
    assert!(!town.reaches(1, 0, 3) && !town.reaches(0, 1, 4));
}

#[test]
fn members_whose_clocks_are_wrong_by_twenty_years_connect() {
    for (own, other) in [(20, 0), (-20, 0), (20, -20), (-20, -20), (20, 20)] {
        let mut town = Town::new(2);
        for (node, years) in [(0, own), (1, other)] {
            let clock = (MORNING as i64 + years * YEAR as i64) as u64;
            set_clock(&mut town.lab, town.nodes[node], clock);
            town.join_as_member(node);
        }
        town.lab.run_seconds(4);
        assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2), "{own} {other}");
    }
}

#[test]
fn who_was_away_while_the_secret_changed_gets_in_and_who_was_thrown_out_does_not() {
    let mut town = Town::new(3);
    // The member who was away and the victim have the config of before.
    let (away, victim) = (town.key(1), town.key(2));
    let memberships = [away, victim].map(|key| town.club.member(key));
    town.club.kick(victim);
    town.club.renew_secret();
    town.join_as_member(0);
    town.lab.run_seconds(2);
    for (node, membership) in [1, 2].into_iter().zip(memberships) {
        town.join(node, membership);
    }
    town.lab.run_seconds(6);
    assert!(town.shares(0, 1) && town.shares(1, 0));
    assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
    for mark in 0..5 {
        assert!(!town.reaches(2, 0, 10 + mark) && !town.reaches(0, 2, 20 + mark));
    }
    assert!(!town.shares(0, 2));
    // Once it has the config, nothing is lost either, nor when keys are renewed after that.
    town.config_reaches(1);
    town.revocations_reach(1);
    assert!(town.reaches(0, 1, 3) && town.reaches(1, 0, 4));
    for mark in 0..130 {
        assert!(town.reaches(0, 1, mark) && town.reaches(1, 0, mark), "{mark}");
    }
    assert!(!town.shares(1, 2));
    // Under the secret in force they find each other anew.
    let place = town.nodes[1];
    town.lab.restart(place);
    town.lab.set_world(place, 1, &[0]);
    set_clock(&mut town.lab, place, MORNING);
    let membership = town.club.member(away);
    town.join(1, membership);
    town.lab.run_seconds(5);
    assert!(town.reaches(0, 1, 5) && town.reaches(1, 0, 6));
}

#[test]
fn on_a_switch_who_was_away_is_found_by_the_former_secret() {
    let mut town = Town::new(2);
    town.lab.open = true;
    town.lab.wire = Box::new(|from, to, _| from != 0 && to != 0);
    let away = town.key(1);
    let before = town.club.member(away);
    town.club.renew_secret();
    town.join_as_member(0);
    town.join(1, before);
    for node in 0..2 {
        town.lab.plug(town.nodes[node], 1);
    }
    town.lab.run_seconds(5);
    assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
}

#[test]
fn guests_get_certificates_as_soon_as_a_controller_is_back() {
    let mut town = Town::new(3);
    let controller = town.key(0);
    town.club.holders = vec![controller];
    let invite = town.club.invite(7, 0);
    for node in [1, 2] {
        let link = town.club.link(&invite, &[controller]);
        town.join(node, link);
    }
    town.lab.run_seconds(300);
    assert!(town.reaches(1, 2, 1));
    town.join_as_member(0);
    let mut answered = 0;
    for _ in 0..60 {
        town.lab.run_seconds(1);
        answered += answer(&mut town, 0, None);
    }
    assert_eq!(answered, 2, "each once");
    for node in [1, 2] {
        let status = town.lab.status(town.nodes[node], town.networks[node]);
        let own = status.membership.unwrap();
        assert!(!own.provisional && own.issue > 0);
        assert_eq!(status.ipv4, own.ipv4, "the address of the certificate");
        assert!(own.ipv4.is_some_and(|address| address.octets()[..3] == [10, 129, 1]));
    }
    assert!(town.reaches(1, 2, 2) && town.reaches(2, 0, 3) && town.reaches(0, 1, 4));
    let now = town.lab.now;
    let peers = town.engine(1).peers(now);
    let names: Vec<_> = peers
        .iter()
        .filter_map(|peer| peer.networks.first()?.membership.clone()?.name)
        .collect();
    assert_eq!(names.len(), 2);
    assert!(
        names.iter().all(|name| name.to_string().starts_with("member-")),
        "{names:?}"
    );
}

#[test]
fn a_counted_invite_lets_in_by_a_controller_alone() {
    let mut town = Town::new(3);
    let controller = town.key(0);
    town.club.holders = vec![controller];
    town.join_as_member(0);
    town.join_as_member(2);
    let invite = town.club.invite(7, 1);
    let link = town.club.link(&invite, &[controller]);
    town.join(1, link);
    for _ in 0..10 {
        town.lab.run_seconds(1);
        answer(&mut town, 0, Some(Refusal::UsedUp));
    }
    assert!(!town.shares(2, 1) && !town.shares(0, 1) && town.frames(0) == 0);
    assert_eq!(
        times_refused(&town, 1, Refusal::UsedUp),
        1,
        "it waits before it asks again"
    );
    for _ in 0..70 {
        town.lab.run_seconds(1);
        answer(&mut town, 0, None);
    }
    assert!(town.reaches(1, 0, 1) && town.reaches(1, 2, 2) && town.reaches(2, 1, 3));
}

/// How often a holder refused this to a node of a town.
fn times_refused(town: &Town, node: usize, reason: Refusal) -> usize {
    let refused = |event: &&Event| matches!(event, Event::ApplicationRefused { refusal, .. } if *refusal == reason);
    town.events(node).iter().filter(refused).count()
}

#[test]
fn a_holder_that_has_no_time_is_asked_again_soon_however_often_it_says_so() {
    let mut town = Town::new(2);
    let controller = town.key(0);
    town.club.holders = vec![controller];
    town.join_as_member(0);
    let invite = town.club.invite(7, 1);
    let link = town.club.link(&invite, &[controller]);
    town.join(1, link);
    for _ in 0..100 {
        town.lab.run_seconds(1);
        answer(&mut town, 0, Some(Refusal::Later));
    }
    let times = times_refused(&town, 1, Refusal::Later);
    assert!((7..=13).contains(&times), "asked {times} times in 100 s");
    for _ in 0..13 {
        town.lab.run_seconds(1);
        answer(&mut town, 0, None);
    }
    assert!(town.reaches(1, 0, 1));
}

#[test]
fn who_has_neither_credential_nor_invite_is_not_heard_by_a_holder() {
    let mut town = Town::new(2);
    let controller = town.key(0);
    town.club.holders = vec![controller];
    town.join_as_member(0);
    let papers = town.club.papers();
    town.join(1, papers);
    town.lab.run_seconds(30);
    let asked = |event: &&Event| matches!(event, Event::Application { .. });
    assert_eq!(town.events(0).iter().filter(asked).count(), 0);
    assert!(town.lab.hosts[town.nodes[0]].engine.counters().credentials_refused > 0);
}

#[test]
fn a_certificate_past_half_of_its_life_is_renewed() {
    let mut town = Town::new(2);
    let controller = town.key(0);
    town.club.holders = vec![controller];
    town.join_as_member(0);
    let key = town.key(1);
    let mut fields = town.club.fields(key);
    (fields.time, fields.expiry) = (Seconds::new(MORNING - 60), Seconds::new(MORNING + 120));
    let credential = Some(town.club.sign(fields));
    let membership = Membership {
        credential,
        ..town.club.papers()
    };
    town.join(1, membership);
    town.lab.run_seconds(20);
    assert_eq!(answer(&mut town, 0, None), 0, "there is time");
    let mut answered = 0;
    for _ in 0..60 {
        town.lab.run_seconds(1);
        answered += answer(&mut town, 0, None);
    }
    assert_eq!(answered, 1);
    town.lab.run_seconds(100);
    assert!(
        town.reaches(0, 1, 1) && town.reaches(1, 0, 2),
        "long after the first would have expired"
    );
}

#[test]
fn a_provisional_credential_is_renewed_as_long_as_the_invite_lasts() {
    let mut town = Town::new(2);
    let invite = town.club.invite(7, 0);
    for node in 0..2 {
        let link = town.club.link(&invite, &[]);
        town.join(node, link);
    }
    let expiry = |town: &Town| {
        let status = town.lab.status(town.nodes[0], town.networks[0]);
        status.membership.unwrap().expiry.get()
    };
    let first = expiry(&town);
    assert_eq!(first, MORNING + 7 * DAY);
    for _ in 0..10 {
        town.lab.run_seconds(DAY);
        assert!(town.reaches(0, 1, 1) && town.reaches(1, 0, 2));
    }
    assert!(expiry(&town) > first + 2 * DAY);
}
