//! What a controller does with those who apply, and with members, on both stores alike.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use farlan_controller::{ControllerError, Holder, Reservation, Wish};
use farlan_netconf::private::{Application, Credential, Invalid, Refusal, Revocations, Rights};
use support::{DAY, Home, NOW, Place, application, controller, granted, issue_of, label, name_of, person, refused};

on_both_stores! {
    a_new_network_has_its_maker_as_first_member,
    an_invite_lets_in_and_the_same_answer_comes_again,
    a_counted_invite_lets_in_as_many_as_it_says,
    expired_and_withdrawn_invites_let_nobody_in,
    one_name_is_given_once,
    one_address_is_given_once,
    a_full_subnet_refuses,
    a_kick_ends_membership_and_the_invite,
    who_was_kicked_comes_back_by_a_newer_invite_only,
    a_node_that_came_in_without_the_controller_can_be_kicked,
    certificates_are_renewed_past_half_of_their_life,
    a_provisional_certificate_is_exchanged,
    reserved_addresses_are_kept,
    members_are_renamed_and_given_rights,
}

async fn a_new_network_has_its_maker_as_first_member(place: Place) {
    let home = Home::new(&place).await;
    let documents = home.controller.documents(&home.id()).await.unwrap();
    let fields = documents.config.fields();
    assert_eq!(
        (fields.counter, fields.holders.as_slice()),
        (1, &[home.owner.public()][..])
    );
    let credential = documents.credential.unwrap();
    let standing = credential
        .check(&home.network, &home.owner.public(), NOW, &documents.revocations)
        .unwrap();
    assert_eq!((standing.rights, standing.provisional), (Rights::ALL, false));
    assert!(home.network.subnet().is_host(standing.ipv4.unwrap()));
    assert_eq!(
        (name_of(&credential).as_str(), issue_of(&credential)),
        ("server", NOW.get() + 1)
    );
    let members = home.controller.members(&home.id()).await.unwrap();
    assert_eq!(members.len(), 1);
    assert!(members[0].is_holder && members[0].address == standing.ipv4);
    assert_eq!(home.controller.networks().await.unwrap(), [home.id()]);

    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(1).public()).await;
    let unknown = other.documents(&home.id()).await.unwrap_err();
    assert!(
        matches!(unknown, ControllerError::NoSuchNetwork(id) if id == home.id()),
        "{unknown}"
    );
}

async fn an_invite_lets_in_and_the_same_answer_comes_again(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    assert_eq!(link.peers, [home.owner.public()]);
    let first = home.join(&person(1), &link, "laptop", NOW).await;
    let none = Revocations::new(home.network);
    first.check(&home.network, &person(1).public(), NOW, &none).unwrap();
    let again = home.join(&person(1), &link, "laptop", NOW.plus(60)).await;
    assert_eq!(first, again);
    let invites = home.controller.invites(&home.id()).await.unwrap();
    assert_eq!((invites.len(), invites[0].taken, invites[0].members.len()), (1, 1, 1));
    assert_eq!(invites[0].members[0].node, person(1).public());
    assert_eq!(invites[0].label.as_str(), "for friends");
    // Once a member, it needs no invite.
    let member = Application::new(None, None);
    assert_eq!(
        granted(home.apply_with(&person(1), &member, Some(&first), NOW).await),
        first
    );
    // Whoever has none is refused.
    assert_eq!(
        refused(home.apply_with(&person(2), &member, None, NOW).await),
        Refusal::Revoked
    );
}

async fn a_counted_invite_lets_in_as_many_as_it_says(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(2, NOW).await;
    let first = home.join(&person(1), &link, "a", NOW).await;
    assert_eq!(home.join(&person(1), &link, "a", NOW).await, first);
    home.join(&person(2), &link, "b", NOW).await;
    assert_eq!(refused(home.apply(&person(3), &link, "c", NOW).await), Refusal::UsedUp);
    assert_eq!(
        home.join(&person(1), &link, "a", NOW).await,
        first,
        "a member stays one"
    );
    let invites = home.controller.invites(&home.id()).await.unwrap();
    assert_eq!((invites[0].uses, invites[0].taken), (2, 2));
}

async fn expired_and_withdrawn_invites_let_nobody_in(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let late = link.delegation().fields().expiry;
    assert_eq!(
        refused(home.apply(&person(1), &link, "a", late).await),
        Refusal::Expired
    );
    home.join(&person(1), &link, "a", NOW).await;

    let key = home.controller.invites(&home.id()).await.unwrap()[0].key;
    let withdrawn = home.controller.uninvite(&home.id(), &key, NOW).await.unwrap();
    assert!(withdrawn.revoked);
    assert_eq!(withdrawn.members.len(), 1);
    assert_eq!(refused(home.apply(&person(2), &link, "b", NOW).await), Refusal::Revoked);
    let invites = home.controller.invites(&home.id()).await.unwrap();
    assert!(invites[0].withdrawn.is_some() && !invites[0].has_link);
    let no_link = home
        .controller
        .link(&home.id(), &key, &[], support::world())
        .await
        .unwrap_err();
    assert!(matches!(no_link, ControllerError::NoLink), "{no_link}");

    // What it signs itself counts no longer, for anybody.
    let documents = home.controller.documents(&home.id()).await.unwrap();
    let provisional = home.provisional(3, &link, NOW);
    let verdict = provisional.check(&home.network, &person(3).public(), NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::DelegationRevoked));
    let member = Application::new(None, None);
    assert_eq!(
        refused(home.apply_with(&person(3), &member, Some(&provisional), NOW).await),
        Refusal::Revoked
    );

    let unknown = home
        .controller
        .uninvite(&home.id(), home.network.key(), NOW)
        .await
        .unwrap_err();
    assert!(matches!(unknown, ControllerError::NoSuchInvite), "{unknown}");
}

async fn one_name_is_given_once(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    for (number, expected) in [(1, "laptop"), (2, "laptop-2"), (3, "laptop-3")] {
        assert_eq!(
            name_of(&home.join(&person(number), &link, "laptop", NOW).await),
            expected
        );
    }
    assert_eq!(name_of(&home.join(&person(4), &link, "server", NOW).await), "server-2");
    // Names that a language sorts elsewhere.
    assert_eq!(
        name_of(&home.join(&person(5), &link, "laptop-20", NOW).await),
        "laptop-20"
    );
    assert_eq!(name_of(&home.join(&person(6), &link, "laptop2", NOW).await), "laptop2");
    assert_eq!(name_of(&home.join(&person(7), &link, "laptop", NOW).await), "laptop-4");
    assert_eq!(name_of(&home.join(&person(8), &link, "", NOW).await), "");
    assert_eq!(name_of(&home.join(&person(9), &link, "", NOW).await), "");

    // The second is kicked; its name goes to the next one, and it gets another when it is back.
    home.kick(2, true).await;
    let link = home.invite(0, NOW).await;
    assert_eq!(name_of(&home.join(&person(10), &link, "laptop", NOW).await), "laptop-2");
    assert_eq!(name_of(&home.join(&person(2), &link, "laptop", NOW).await), "laptop-5");
    // The third is kicked and comes back to the name that it had.
    home.kick(3, true).await;
    let link = home.invite(0, NOW).await;
    assert_eq!(name_of(&home.join(&person(3), &link, "laptop", NOW).await), "laptop-3");
}

async fn one_address_is_given_once(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let wanted: Ipv4Addr = "10.128.17.5".parse().unwrap();
    let mut given = BTreeSet::new();
    for number in 1..20 {
        let mut application = application(&person(number), &link, "");
        application.ipv4 = Some(wanted);
        let credential = granted(home.apply_with(&person(number), &application, None, NOW).await);
        let address = credential.certificate().fields().ipv4.unwrap();
        assert_eq!(address == wanted, number == 1, "the first gets what it wants");
        assert!(given.insert(address));
    }
    // Outside the subnet a wish counts for nothing.
    let mut application = application(&person(30), &link, "");
    application.ipv4 = Some("10.1.2.3".parse().unwrap());
    let credential = granted(home.apply_with(&person(30), &application, None, NOW).await);
    assert!(
        home.network
            .subnet()
            .is_host(credential.certificate().fields().ipv4.unwrap())
    );
}

async fn a_full_subnet_refuses(place: Place) {
    // Six hosts, one of them the controller.
    let mut home = Home::with_subnet(&place, "10.128.16.8/29").await;
    let link = home.invite(0, NOW).await;
    let mut given = BTreeSet::new();
    for number in 1..=5 {
        let credential = home.join(&person(number), &link, "", NOW).await;
        given.insert(credential.certificate().fields().ipv4.unwrap());
    }
    assert_eq!(given.len(), 5);
    assert_eq!(refused(home.apply(&person(6), &link, "", NOW).await), Refusal::Full);
    assert_eq!(
        home.controller.invites(&home.id()).await.unwrap()[0].taken,
        5,
        "nobody came in"
    );
    home.kick(3, true).await;
    let link = home.invite(0, NOW).await;
    home.join(&person(6), &link, "", NOW).await;
}

async fn a_kick_ends_membership_and_the_invite(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let victim = home.join(&person(1), &link, "eve", NOW).await;
    home.join(&person(2), &link, "ben", NOW).await;
    let before = home.config().await;

    let id = home.id();
    let kicked = home
        .controller
        .kick(&id, &person(1).public(), None, false, NOW, &mut home.rng)
        .await
        .unwrap();
    assert_eq!(kicked.withdrawn, Some(link.delegation().key()));
    assert_eq!(kicked.companions.len(), 1);
    assert_eq!(kicked.companions[0].node, person(2).public());
    let seeds = &kicked.config.fields().seeds;
    assert_eq!(
        (seeds.len(), &seeds[1]),
        (2, &before.fields().seeds[0]),
        "a new seed stands before the old one"
    );
    assert!(kicked.config.order() > before.order());

    let documents = home.controller.documents(&id).await.unwrap();
    assert_eq!(documents.config, kicked.config);
    let verdict = victim.check(&home.network, &person(1).public(), NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::MemberRevoked));
    assert_eq!(
        refused(home.apply(&person(1), &link, "eve", NOW).await),
        Refusal::Revoked
    );
    let member = Application::new(None, None);
    assert_eq!(
        refused(home.apply_with(&person(1), &member, Some(&victim), NOW).await),
        Refusal::Revoked
    );
    assert_eq!(
        refused(home.apply(&person(5), &link, "eve2", NOW).await),
        Refusal::Revoked,
        "nor by another identity"
    );
    home.join(&person(2), &link, "ben", NOW).await;

    let listed = home.controller.members(&id).await.unwrap();
    let victim = listed.iter().find(|member| member.node == person(1).public()).unwrap();
    assert_eq!(victim.kicked, Some(NOW));
    let again = home
        .controller
        .kick(&id, &person(1).public(), None, false, NOW, &mut home.rng)
        .await
        .unwrap_err();
    assert!(matches!(again, ControllerError::KickedAlready), "{again}");
    let own = home
        .controller
        .kick(&id, &home.owner.public(), None, false, NOW, &mut home.rng)
        .await
        .unwrap_err();
    assert!(matches!(own, ControllerError::Oneself), "{own}");
    let nobody = home
        .controller
        .kick(&id, &person(9).public(), None, false, NOW, &mut home.rng)
        .await
        .unwrap_err();
    assert!(matches!(nobody, ControllerError::NoSuchMember), "{nobody}");

    // Eight seeds are kept at the most.
    let link = home.invite(0, NOW).await;
    for number in 10..20 {
        home.join(&person(number), &link, "", NOW).await;
        home.kick(number, true).await;
    }
    assert_eq!(home.config().await.fields().seeds.len(), 8);
}

async fn who_was_kicked_comes_back_by_a_newer_invite_only(place: Place) {
    let mut home = Home::new(&place).await;
    let kept = home.invite(0, NOW).await;
    let unused = home.invite(1, NOW).await;
    let first = home.join(&person(1), &kept, "eve", NOW).await;
    let kicked = home.kick(1, true).await;
    assert_eq!(kicked.withdrawn, None);
    assert_eq!(
        refused(home.apply(&person(1), &kept, "eve", NOW).await),
        Refusal::Revoked
    );
    assert_eq!(
        refused(home.apply(&person(1), &unused, "eve", NOW).await),
        Refusal::Revoked
    );
    home.join(&person(2), &kept, "ben", NOW).await;

    let newer = home.invite(1, NOW).await;
    let back = home.join(&person(1), &newer, "eve", NOW).await;
    let documents = home.controller.documents(&home.id()).await.unwrap();
    back.check(&home.network, &person(1).public(), NOW, &documents.revocations)
        .unwrap();
    let (first, back) = (first.certificate().fields(), back.certificate().fields());
    assert_eq!((&first.name, first.ipv4), (&back.name, back.ipv4));
    assert!(back.issue > first.issue);
}

async fn a_node_that_came_in_without_the_controller_can_be_kicked(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let shown = home.provisional(1, &link, NOW);
    let id = home.id();
    let victim = person(1).public();
    let kicked = home
        .controller
        .kick(&id, &victim, Some(&shown), false, NOW, &mut home.rng)
        .await
        .unwrap();
    assert_eq!(kicked.withdrawn, Some(link.delegation().key()));
    let documents = home.controller.documents(&id).await.unwrap();
    let verdict = shown.check(&home.network, &victim, NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::MemberRevoked));
    let member = Application::new(None, None);
    assert_eq!(
        refused(home.apply_with(&person(1), &member, Some(&shown), NOW).await),
        Refusal::Revoked
    );
}

async fn certificates_are_renewed_past_half_of_their_life(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let first = home.join(&person(1), &link, "ben", NOW).await;
    let member = Application::new(Some(label("other")), None);
    let early = NOW.plus(182 * DAY);
    assert_eq!(
        granted(home.apply_with(&person(1), &member, Some(&first), early).await),
        first
    );
    let late = NOW.plus(183 * DAY);
    let second = granted(home.apply_with(&person(1), &member, Some(&first), late).await);
    let (old, new) = (first.certificate().fields(), second.certificate().fields());
    assert_eq!((&old.name, old.ipv4, old.rights), (&new.name, new.ipv4, new.rights));
    assert_eq!((new.time, new.expiry), (late, late.plus(365 * DAY)));
    assert!(new.issue > old.issue);
    // The same answer again; and one who was away for years is still a member.
    assert_eq!(
        granted(home.apply_with(&person(1), &member, Some(&first), late).await),
        second
    );
    home.controller
        .take_up(&home.id(), &Wish::default(), late)
        .await
        .unwrap();
    home.controller
        .take_up(&home.id(), &Wish::default(), late.plus(200 * DAY))
        .await
        .unwrap();
    home.controller
        .take_up(&home.id(), &Wish::default(), late.plus(400 * DAY))
        .await
        .unwrap();
    let years = late.plus(500 * DAY);
    let third = granted(home.apply_with(&person(1), &member, Some(&second), years).await);
    assert_eq!(third.certificate().fields().time, years);
    // The controller's own was renewed as well, and only when it was due.
    let own = home.controller.documents(&home.id()).await.unwrap().credential.unwrap();
    assert_eq!(own.certificate().fields().time, late.plus(400 * DAY));
}

async fn a_provisional_certificate_is_exchanged(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let shown = home.provisional(1, &link, NOW);
    let member = Application::new(Some(label("ben")), None);
    let credential = granted(home.apply_with(&person(1), &member, Some(&shown), NOW).await);
    assert!(!credential.is_provisional());
    assert!(credential.certificate().fields().ipv4.is_some());
    assert_eq!(home.controller.invites(&home.id()).await.unwrap()[0].taken, 1);
    // Somebody else's credential lets nobody in.
    assert_eq!(
        refused(home.apply_with(&person(2), &member, Some(&shown), NOW).await),
        Refusal::Revoked
    );
    assert_eq!(
        refused(home.apply_with(&person(2), &member, Some(&credential), NOW).await),
        Refusal::Revoked
    );
}

async fn reserved_addresses_are_kept(place: Place) {
    let mut home = Home::with_subnet(&place, "10.128.16.0/28").await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let at = |last: u8| Ipv4Addr::new(10, 128, 16, last);
    let reserve = |address, holder| Reservation { address, holder };
    let free: Vec<u8> = {
        let own = home.controller.members(&id).await.unwrap()[0].address.unwrap().octets()[3];
        (1..=14).filter(|last| *last != own).collect()
    };
    let printer = reserve(at(free[0]), Holder::Name(label("printer")));
    let five = reserve(at(free[1]), Holder::Node(person(5).public()));
    for reservation in [&printer, &five] {
        assert!(home.controller.reserve(&id, reservation, NOW).await.unwrap().is_none());
    }
    assert_eq!(
        home.controller.reservations(&id).await.unwrap(),
        [printer.clone(), five.clone()]
    );
    // Nobody else gets them, though all others are taken.
    for number in 20..31 {
        home.join(&person(number), &link, "", NOW).await;
    }
    let mut wishing = application(&person(40), &link, "");
    wishing.ipv4 = Some(at(free[0]));
    assert_eq!(
        refused(home.apply_with(&person(40), &wishing, None, NOW).await),
        Refusal::Full
    );
    let address = |credential: &Credential| credential.certificate().fields().ipv4.unwrap();
    assert_eq!(address(&home.join(&person(5), &link, "five", NOW).await), at(free[1]));
    assert_eq!(
        address(&home.join(&person(6), &link, "printer", NOW).await),
        at(free[0])
    );

    let outside = reserve("10.128.17.1".parse().unwrap(), Holder::Name(label("tv")));
    let error = home.controller.reserve(&id, &outside, NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NoHost { .. }), "{error}");
    let error = home
        .controller
        .reserve(&id, &reserve(at(free[1]), Holder::Name(label("tv"))), NOW)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("five"), "{error}");

    // A member whose address is reserved gets it at once.
    home.kick(20, true).await;
    let link = home.invite(0, NOW).await;
    let members = home.controller.members(&id).await.unwrap();
    let left = members
        .iter()
        .find(|member| member.kicked.is_some())
        .unwrap()
        .address
        .unwrap();
    let (node, credential) = home
        .controller
        .reserve(&id, &reserve(left, Holder::Name(label("five"))), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (node, address(&credential)),
        (person(5).public(), at(free[1])),
        "its key counts before its name"
    );
    home.controller.unreserve(&id, at(free[1]), NOW).await.unwrap();
    let error = home.controller.unreserve(&id, at(free[1]), NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NotReserved(_)), "{error}");
    let (_, credential) = home
        .controller
        .reserve(&id, &reserve(left, Holder::Name(label("five"))), NOW)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(address(&credential), left);
    home.join(&person(41), &link, "", NOW).await;
}

async fn members_are_renamed_and_given_rights(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let first = home.join(&person(1), &link, "ben", NOW).await;
    let (id, ben) = (home.id(), person(1).public());
    let error = home
        .controller
        .rename(&id, &ben, &label("server"), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ControllerError::NameTaken(_)), "{error}");
    let renamed = home
        .controller
        .rename(&id, &ben, &label("benjamin"), NOW)
        .await
        .unwrap();
    assert_eq!(name_of(&renamed), "benjamin");
    assert_eq!(renamed.certificate().fields().ipv4, first.certificate().fields().ipv4);
    let bridge = home.controller.grant(&id, &ben, Rights::BRIDGE, NOW).await.unwrap();
    assert_eq!(
        (name_of(&bridge).as_str(), bridge.certificate().fields().rights),
        ("benjamin", Rights::BRIDGE)
    );
    assert_eq!(
        home.join(&person(1), &link, "ben", NOW).await,
        bridge,
        "that is what it gets from now on"
    );
    let error = home
        .controller
        .rename(&id, &person(2).public(), &label("x"), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ControllerError::NoSuchMember), "{error}");
}
