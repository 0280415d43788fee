//! What a controller does, on both stores alike.

mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use farlan_controller::{Change, ControllerError, Holder, Reservation, Settings, Wish};
use farlan_crypto::Work;
use farlan_netconf::Label;
use farlan_netconf::private::{
    Application, Credential, ExportedKey, Invalid, Refusal, Revocations, Rights, SealedDocument, Seconds,
};
use support::{
    DAY, Home, NOW, Place, application, controller, granted, issue_of, label, name_of, new_network, person, refused,
};

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
    an_exported_key_goes_on_elsewhere,
    stores_apart_learn_from_each_other,
    a_wrong_clock_of_twenty_years_does_no_harm,
    a_controller_that_was_away_believes_renewers,
    renewers_are_named_and_dismissed,
    certificates_of_large_networks_live_shorter,
    settings_make_a_new_config,
    changes_are_told,
    everything_is_there_after_reopening,
    supernodes_get_the_revocations_under_every_secret,
    a_forgotten_network_is_gone,
}

async fn a_new_network_has_its_maker_as_first_member(place: Place) {
    let home = Home::new(&place).await;
    let documents = home.controller.documents(&home.id()).await.unwrap();
    let fields = documents.config.fields();
    assert_eq!((fields.counter, fields.holders.as_slice()), (1, &[home.owner.public()][..]));
    let credential = documents.credential.unwrap();
    let standing = credential.check(&home.network, &home.owner.public(), NOW, &documents.revocations).unwrap();
    assert_eq!((standing.rights, standing.provisional), (Rights::ALL, false));
    assert!(home.network.subnet().is_host(standing.ipv4.unwrap()));
    assert_eq!((name_of(&credential).as_str(), issue_of(&credential)), ("server", 1));
    let members = home.controller.members(&home.id()).await.unwrap();
    assert_eq!(members.len(), 1);
    assert!(members[0].is_holder && members[0].address == standing.ipv4);
    assert_eq!(home.controller.networks().await.unwrap(), [home.id()]);

    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(1).public()).await;
    let unknown = other.documents(&home.id()).await.unwrap_err();
    assert!(matches!(unknown, ControllerError::NoSuchNetwork(id) if id == home.id()), "{unknown}");
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
    assert_eq!(granted(home.apply_with(&person(1), &member, Some(&first), NOW).await), first);
    // Whoever has none is refused.
    assert_eq!(refused(home.apply_with(&person(2), &member, None, NOW).await), Refusal::Revoked);
}

async fn a_counted_invite_lets_in_as_many_as_it_says(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(2, NOW).await;
    let first = home.join(&person(1), &link, "a", NOW).await;
    assert_eq!(home.join(&person(1), &link, "a", NOW).await, first);
    home.join(&person(2), &link, "b", NOW).await;
    assert_eq!(refused(home.apply(&person(3), &link, "c", NOW).await), Refusal::UsedUp);
    assert_eq!(home.join(&person(1), &link, "a", NOW).await, first, "a member stays one");
    let invites = home.controller.invites(&home.id()).await.unwrap();
    assert_eq!((invites[0].uses, invites[0].taken), (2, 2));
}

async fn expired_and_withdrawn_invites_let_nobody_in(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let late = link.delegation().fields().expiry;
    assert_eq!(refused(home.apply(&person(1), &link, "a", late).await), Refusal::Expired);
    home.join(&person(1), &link, "a", NOW).await;

    let key = home.controller.invites(&home.id()).await.unwrap()[0].key;
    let withdrawn = home.controller.uninvite(&home.id(), &key, NOW).await.unwrap();
    assert!(withdrawn.revoked);
    assert_eq!(withdrawn.members.len(), 1);
    assert_eq!(refused(home.apply(&person(2), &link, "b", NOW).await), Refusal::Revoked);
    let invites = home.controller.invites(&home.id()).await.unwrap();
    assert!(invites[0].withdrawn.is_some() && !invites[0].has_link);
    let no_link = home.controller.link(&home.id(), &key, &[], support::world()).await.unwrap_err();
    assert!(matches!(no_link, ControllerError::NoLink), "{no_link}");

    // What it signs itself counts no longer, for anybody.
    let documents = home.controller.documents(&home.id()).await.unwrap();
    let provisional = provisional(&home, 3, &link, NOW);
    let verdict = provisional.check(&home.network, &person(3).public(), NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::DelegationRevoked));
    let member = Application::new(None, None);
    assert_eq!(refused(home.apply_with(&person(3), &member, Some(&provisional), NOW).await), Refusal::Revoked);

    let unknown = home.controller.uninvite(&home.id(), home.network.key(), NOW).await.unwrap_err();
    assert!(matches!(unknown, ControllerError::NoSuchInvite), "{unknown}");
}

async fn one_name_is_given_once(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    for (number, expected) in [(1, "laptop"), (2, "laptop-2"), (3, "laptop-3")] {
        assert_eq!(name_of(&home.join(&person(number), &link, "laptop", NOW).await), expected);
    }
    assert_eq!(name_of(&home.join(&person(4), &link, "server", NOW).await), "server-2");
    // Names that a language sorts elsewhere.
    assert_eq!(name_of(&home.join(&person(5), &link, "laptop-20", NOW).await), "laptop-20");
    assert_eq!(name_of(&home.join(&person(6), &link, "laptop2", NOW).await), "laptop2");
    assert_eq!(name_of(&home.join(&person(7), &link, "laptop", NOW).await), "laptop-4");
    assert_eq!(name_of(&home.join(&person(8), &link, "", NOW).await), "");
    assert_eq!(name_of(&home.join(&person(9), &link, "", NOW).await), "");

    // The second is kicked; its name goes to the next one, and it gets another when it is back.
    kick(&mut home, 2, true).await;
    let link = home.invite(0, NOW).await;
    assert_eq!(name_of(&home.join(&person(10), &link, "laptop", NOW).await), "laptop-2");
    assert_eq!(name_of(&home.join(&person(2), &link, "laptop", NOW).await), "laptop-5");
    // The third is kicked and comes back to the name that it had.
    kick(&mut home, 3, true).await;
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
    assert!(home.network.subnet().is_host(credential.certificate().fields().ipv4.unwrap()));
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
    assert_eq!(home.controller.invites(&home.id()).await.unwrap()[0].taken, 5, "nobody came in");
    kick(&mut home, 3, true).await;
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
    let kicked = home.controller.kick(&id, &person(1).public(), None, false, NOW, &mut home.rng).await.unwrap();
    assert_eq!(kicked.withdrawn, Some(link.delegation().key()));
    assert_eq!(kicked.companions.len(), 1);
    assert_eq!(kicked.companions[0].node, person(2).public());
    let seeds = &kicked.config.fields().seeds;
    assert_eq!((seeds.len(), &seeds[1]), (2, &before.fields().seeds[0]), "a new seed stands before the old one");
    assert!(kicked.config.order() > before.order());

    let documents = home.controller.documents(&id).await.unwrap();
    assert_eq!(documents.config, kicked.config);
    let verdict = victim.check(&home.network, &person(1).public(), NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::MemberRevoked));
    assert_eq!(refused(home.apply(&person(1), &link, "eve", NOW).await), Refusal::Revoked);
    let member = Application::new(None, None);
    assert_eq!(refused(home.apply_with(&person(1), &member, Some(&victim), NOW).await), Refusal::Revoked);
    assert_eq!(refused(home.apply(&person(5), &link, "eve2", NOW).await), Refusal::Revoked, "nor by another identity");
    home.join(&person(2), &link, "ben", NOW).await;

    let listed = home.controller.members(&id).await.unwrap();
    let victim = listed.iter().find(|member| member.node == person(1).public()).unwrap();
    assert_eq!(victim.kicked, Some(NOW));
    let again = home.controller.kick(&id, &person(1).public(), None, false, NOW, &mut home.rng).await.unwrap_err();
    assert!(matches!(again, ControllerError::KickedAlready), "{again}");
    let own = home.controller.kick(&id, &home.owner.public(), None, false, NOW, &mut home.rng).await.unwrap_err();
    assert!(matches!(own, ControllerError::Oneself), "{own}");
    let nobody = home.controller.kick(&id, &person(9).public(), None, false, NOW, &mut home.rng).await.unwrap_err();
    assert!(matches!(nobody, ControllerError::NoSuchMember), "{nobody}");

    // Eight seeds are kept at the most.
    let link = home.invite(0, NOW).await;
    for number in 10..20 {
        home.join(&person(number), &link, "", NOW).await;
        kick(&mut home, number, true).await;
    }
    assert_eq!(home.config().await.fields().seeds.len(), 8);
}

async fn who_was_kicked_comes_back_by_a_newer_invite_only(place: Place) {
    let mut home = Home::new(&place).await;
    let kept = home.invite(0, NOW).await;
    let unused = home.invite(1, NOW).await;
    let first = home.join(&person(1), &kept, "eve", NOW).await;
    let kicked = kick(&mut home, 1, true).await;
    assert_eq!(kicked.withdrawn, None);
    assert_eq!(refused(home.apply(&person(1), &kept, "eve", NOW).await), Refusal::Revoked);
    assert_eq!(refused(home.apply(&person(1), &unused, "eve", NOW).await), Refusal::Revoked);
    home.join(&person(2), &kept, "ben", NOW).await;

    let newer = home.invite(1, NOW).await;
    let back = home.join(&person(1), &newer, "eve", NOW).await;
    let documents = home.controller.documents(&home.id()).await.unwrap();
    back.check(&home.network, &person(1).public(), NOW, &documents.revocations).unwrap();
    let (first, back) = (first.certificate().fields(), back.certificate().fields());
    assert_eq!((&first.name, first.ipv4), (&back.name, back.ipv4));
    assert!(back.issue > first.issue);
}

async fn a_node_that_came_in_without_the_controller_can_be_kicked(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let shown = provisional(&home, 1, &link, NOW);
    let id = home.id();
    let victim = person(1).public();
    let kicked = home.controller.kick(&id, &victim, Some(&shown), false, NOW, &mut home.rng).await.unwrap();
    assert_eq!(kicked.withdrawn, Some(link.delegation().key()));
    let documents = home.controller.documents(&id).await.unwrap();
    let verdict = shown.check(&home.network, &victim, NOW, &documents.revocations);
    assert_eq!(verdict, Err(Invalid::MemberRevoked));
    let member = Application::new(None, None);
    assert_eq!(refused(home.apply_with(&person(1), &member, Some(&shown), NOW).await), Refusal::Revoked);
}

async fn certificates_are_renewed_past_half_of_their_life(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let first = home.join(&person(1), &link, "ben", NOW).await;
    let member = Application::new(Some(label("other")), None);
    let early = NOW.plus(182 * DAY);
    assert_eq!(granted(home.apply_with(&person(1), &member, Some(&first), early).await), first);
    let late = NOW.plus(183 * DAY);
    let second = granted(home.apply_with(&person(1), &member, Some(&first), late).await);
    let (old, new) = (first.certificate().fields(), second.certificate().fields());
    assert_eq!((&old.name, old.ipv4, old.rights), (&new.name, new.ipv4, new.rights));
    assert_eq!((new.time, new.expiry), (late, late.plus(365 * DAY)));
    assert!(new.issue > old.issue);
    // The same answer again; and one who was away for years is still a member.
    assert_eq!(granted(home.apply_with(&person(1), &member, Some(&first), late).await), second);
    home.controller.take_up(&home.id(), &Wish::default(), late).await.unwrap();
    home.controller.take_up(&home.id(), &Wish::default(), late.plus(200 * DAY)).await.unwrap();
    home.controller.take_up(&home.id(), &Wish::default(), late.plus(400 * DAY)).await.unwrap();
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
    let shown = provisional(&home, 1, &link, NOW);
    let member = Application::new(Some(label("ben")), None);
    let credential = granted(home.apply_with(&person(1), &member, Some(&shown), NOW).await);
    assert!(!credential.is_provisional());
    assert!(credential.certificate().fields().ipv4.is_some());
    assert_eq!(home.controller.invites(&home.id()).await.unwrap()[0].taken, 1);
    // Somebody else's credential lets nobody in.
    assert_eq!(refused(home.apply_with(&person(2), &member, Some(&shown), NOW).await), Refusal::Revoked);
    assert_eq!(refused(home.apply_with(&person(2), &member, Some(&credential), NOW).await), Refusal::Revoked);
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
    assert_eq!(home.controller.reservations(&id).await.unwrap(), [printer.clone(), five.clone()]);
    // Nobody else gets them, though all others are taken.
    for number in 20..31 {
        home.join(&person(number), &link, "", NOW).await;
    }
    let mut wishing = application(&person(40), &link, "");
    wishing.ipv4 = Some(at(free[0]));
    assert_eq!(refused(home.apply_with(&person(40), &wishing, None, NOW).await), Refusal::Full);
    let address = |credential: &Credential| credential.certificate().fields().ipv4.unwrap();
    assert_eq!(address(&home.join(&person(5), &link, "five", NOW).await), at(free[1]));
    assert_eq!(address(&home.join(&person(6), &link, "printer", NOW).await), at(free[0]));

    let outside = reserve("10.128.17.1".parse().unwrap(), Holder::Name(label("tv")));
    let error = home.controller.reserve(&id, &outside, NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NoHost { .. }), "{error}");
    let error = home.controller.reserve(&id, &reserve(at(free[1]), Holder::Name(label("tv"))), NOW).await.unwrap_err();
    assert!(error.to_string().contains("five"), "{error}");

    // A member whose address is reserved gets it at once.
    kick(&mut home, 20, true).await;
    let link = home.invite(0, NOW).await;
    let members = home.controller.members(&id).await.unwrap();
    let left = members.iter().find(|member| member.kicked.is_some()).unwrap().address.unwrap();
    let (node, credential) =
        home.controller.reserve(&id, &reserve(left, Holder::Name(label("five"))), NOW).await.unwrap().unwrap();
    assert_eq!((node, address(&credential)), (person(5).public(), at(free[1])), "its key counts before its name");
    home.controller.unreserve(&id, at(free[1]), NOW).await.unwrap();
    let error = home.controller.unreserve(&id, at(free[1]), NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NotReserved(_)), "{error}");
    let (_, credential) =
        home.controller.reserve(&id, &reserve(left, Holder::Name(label("five"))), NOW).await.unwrap().unwrap();
    assert_eq!(address(&credential), left);
    home.join(&person(41), &link, "", NOW).await;
}

async fn members_are_renamed_and_given_rights(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let first = home.join(&person(1), &link, "ben", NOW).await;
    let (id, ben) = (home.id(), person(1).public());
    let error = home.controller.rename(&id, &ben, &label("server"), NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NameTaken(_)), "{error}");
    let renamed = home.controller.rename(&id, &ben, &label("benjamin"), NOW).await.unwrap();
    assert_eq!(name_of(&renamed), "benjamin");
    assert_eq!(renamed.certificate().fields().ipv4, first.certificate().fields().ipv4);
    let bridge = home.controller.grant(&id, &ben, Rights::BRIDGE, NOW).await.unwrap();
    assert_eq!((name_of(&bridge).as_str(), bridge.certificate().fields().rights), ("benjamin", Rights::BRIDGE));
    assert_eq!(home.join(&person(1), &link, "ben", NOW).await, bridge, "that is what it gets from now on");
    let error = home.controller.rename(&id, &person(2).public(), &label("x"), NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NoSuchMember), "{error}");
}

async fn an_exported_key_goes_on_elsewhere(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let ben = home.join(&person(1), &link, "ben", NOW).await;
    let text = home.controller.export(&id).await.unwrap();
    // What happens after the export is not in it.
    let eve = home.join(&person(2), &link, "eve", NOW).await;
    kick(&mut home, 2, true).await;
    let revocations = home.controller.documents(&id).await.unwrap().revocations;
    let config = home.config().await;

    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(50).public()).await;
    let text = ExportedKey::parse(&text.to_text(), Work::NONE).unwrap();
    let taken = other.import(&text, &Wish::default(), NOW).await.unwrap();
    assert!(taken.config.fields().holders.contains(&person(50).public()));
    let exists = other.import(&text, &Wish::default(), NOW).await.unwrap_err();
    assert!(matches!(exists, ControllerError::NetworkExists(known) if known == id), "{exists}");
    let learned = other.learn(&id, Some(&config), Some(&revocations), NOW).await.unwrap();
    assert_eq!(learned.revocations, 1);

    let moved = Home {
        controller: other,
        ..home
    };
    let member = Application::new(None, None);
    let again = granted(moved.apply_with(&person(1), &member, Some(&ben), NOW).await);
    assert_eq!((name_of(&again), again.certificate().fields().ipv4), ("ben".to_owned(), ben.certificate().fields().ipv4));
    assert!(issue_of(&again) > issue_of(&ben));
    assert_eq!(refused(moved.apply_with(&person(2), &member, Some(&eve), NOW).await), Refusal::Revoked);
    // The open invite still works, since its delegation says all.
    moved.join(&person(3), &link, "carl", NOW).await;
}

async fn stores_apart_learn_from_each_other(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let eve = home.join(&person(1), &link, "eve", NOW).await;
    let text = home.controller.export(&id).await.unwrap();
    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(50).public()).await;
    other.import(&text, &Wish::default(), NOW).await.unwrap();

    // The other one kicks whom it knows by what she shows.
    let mut rng = home.rng.clone();
    other.kick(&id, &person(1).public(), Some(&eve), true, NOW, &mut rng).await.unwrap();
    let told = other.documents(&id).await.unwrap();
    let learned = home.controller.learn(&id, Some(&told.config), Some(&told.revocations), NOW).await.unwrap();
    assert!(learned.config && !learned.fork);
    assert_eq!(learned.revocations, 1);
    let again = home.controller.learn(&id, Some(&told.config), Some(&told.revocations), NOW).await.unwrap();
    assert_eq!((again.config, again.revocations), (false, 0));
    assert_eq!(home.config().await, told.config);
    assert_eq!(refused(home.apply(&person(1), &link, "eve", NOW).await), Refusal::Revoked);
    let members = home.controller.members(&id).await.unwrap();
    assert!(members.iter().any(|member| member.kicked.is_some() && member.node == person(1).public()));

    // Both alter the config at the same time, and one of them notices.
    let settings = |text: &str| Settings {
        label: Some(Label::parse(text).unwrap()),
        ..Settings::default()
    };
    let one = home.controller.set(&id, settings("one"), NOW).await.unwrap();
    other.set(&id, settings("two"), NOW).await.unwrap();
    let learned = other.learn(&id, Some(&one), None, NOW).await.unwrap();
    assert!(learned.fork);

    let third = place.another().await;
    let strange = controller(&third, person(61).public()).await;
    let strange = strange.create(new_network("10.129.0.0/20"), &Wish::default(), NOW, &mut rng).await.unwrap();
    assert!(home.controller.learn(&id, Some(&strange.config), None, NOW).await.is_err(), "another network's");
}

async fn a_wrong_clock_of_twenty_years_does_no_harm(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let ahead = NOW.plus(20 * 365 * DAY);
    let ben = home.join(&person(1), &link, "ben", ahead).await;
    assert_eq!(ben.certificate().fields().time, NOW, "nothing is signed in twenty years");
    let behind = NOW.minus(20 * 365 * DAY);
    let carl = home.join(&person(2), &link, "carl", behind).await;
    assert_eq!(carl.certificate().fields().time, NOW);
    home.controller.kick(&id, &person(2).public(), None, true, ahead, &mut home.rng).await.unwrap();
    let documents = home.controller.take_up(&id, &Wish::default(), ahead).await.unwrap();
    assert_eq!(documents.config.fields().time, NOW);
    assert_eq!(documents.revocations.newest_signed(), NOW);
    // A person knows better.
    let settings = Settings {
        clock_is_right: true,
        ..Settings::default()
    };
    home.controller.set(&id, settings, ahead).await.unwrap();
    let documents = home.controller.take_up(&id, &Wish::default(), ahead).await.unwrap();
    assert_eq!(documents.credential.unwrap().certificate().fields().time, ahead);
}

async fn a_controller_that_was_away_believes_renewers(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let renewer = person(1);
    home.join(&renewer, &link, "renewer", NOW).await;
    let ben = home.join(&person(2), &link, "ben", NOW).await;
    let delegated = home
        .controller
        .delegate(&id, &renewer.public(), NOW.plus(3650 * DAY), 365 * DAY as u32, NOW)
        .await
        .unwrap();
    let extended_at = NOW.plus(1000 * DAY);
    let extended = ben.extend(&renewer, delegated.delegation, extended_at, 365 * DAY as u32).unwrap();
    let member = Application::new(None, None);
    // Back after three years, with a clock that is right.
    let back = NOW.plus(1050 * DAY);
    let renewed = granted(home.apply_with(&person(2), &member, Some(&extended), back).await);
    let fields = renewed.certificate().fields();
    assert_eq!((fields.time, fields.expiry), (extended_at, extended_at.plus(365 * DAY)));
    // From then on it knows, and its own certificate is a good one again.
    let own = home.controller.take_up(&id, &Wish::default(), back).await.unwrap().credential.unwrap();
    assert!(own.expiry() > back);
}

async fn renewers_are_named_and_dismissed(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let (renewer, ben) = (person(1), person(2));
    home.join(&renewer, &link, "renewer", NOW).await;
    let credential = home.join(&ben, &link, "ben", NOW).await;
    let life = 30 * DAY as u32;
    let until = NOW.plus(400 * DAY);
    let delegated = home.controller.delegate(&id, &renewer.public(), until, life, NOW).await.unwrap();
    assert!(delegated.config.fields().holders.contains(&renewer.public()));
    assert_eq!(home.controller.delegation_of(&id, &renewer.public()).await.unwrap().unwrap(), delegated.delegation);
    assert_eq!(home.controller.delegates(&id).await.unwrap().len(), 1);
    let extended = credential.extend(&renewer, delegated.delegation.clone(), NOW, life).unwrap();
    let check = |documents: farlan_controller::Documents| {
        extended.check(&home.network, &ben.public(), NOW, &documents.revocations).map(drop)
    };
    assert_eq!(check(home.controller.documents(&id).await.unwrap()), Ok(()));

    let config = home.controller.undelegate(&id, &renewer.public(), NOW).await.unwrap();
    assert!(!config.fields().holders.contains(&renewer.public()));
    assert_eq!(check(home.controller.documents(&id).await.unwrap()), Err(Invalid::DelegationRevoked));
    let error = home.controller.undelegate(&id, &renewer.public(), NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::NoDelegate), "{error}");
    let error = home.controller.delegate(&id, &renewer.public(), NOW, life, NOW).await.unwrap_err();
    assert!(matches!(error, ControllerError::Past), "{error}");

    // A renewer who is kicked is dismissed.
    home.controller.delegate(&id, &ben.public(), until, life, NOW).await.unwrap();
    let kicked = kick(&mut home, 2, true).await;
    assert_eq!(kicked.config.fields().holders, [home.owner.public()]);
    assert_eq!(home.controller.delegation_of(&id, &ben.public()).await.unwrap(), None);
    assert_eq!(home.controller.documents(&id).await.unwrap().revocations.len(), 3);
}

async fn certificates_of_large_networks_live_shorter(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let year = 365 * DAY as u32;
    for number in 1..128 {
        home.join(&person(number), &link, "node", NOW).await;
    }
    assert_eq!((home.config().await.fields().life, home.config().await.fields().counter), (year, 1));
    home.join(&person(128), &link, "node", NOW).await;
    assert_eq!(home.config().await.fields().life, 30 * DAY as u32);
    let next = home.join(&person(129), &link, "node", NOW).await;
    assert_eq!(next.expiry(), NOW.plus(30 * DAY));
    assert_eq!(home.config().await.fields().counter, 2, "once is enough");
}

async fn settings_make_a_new_config(place: Place) {
    let home = Home::new(&place).await;
    let settings = Settings {
        label: Some(Label::parse("Ben & Jo").unwrap()),
        domain: Some(label("benjo")),
        world: None,
        life: Some(1000),
        clock_is_right: false,
    };
    let config = home.controller.set(&home.id(), settings, NOW.plus(5)).await.unwrap();
    let fields = config.fields();
    assert_eq!((fields.label.as_str(), fields.domain.as_str()), ("Ben & Jo", "benjo"));
    assert_eq!((fields.life, fields.counter, fields.time), (1000, 2, NOW.plus(5)));
    assert_eq!(home.config().await, config);
    let settings = Settings {
        life: Some(0),
        ..Settings::default()
    };
    assert_eq!(home.controller.set(&home.id(), settings, NOW).await.unwrap().fields().life, 365 * DAY as u32);
}

async fn changes_are_told(place: Place) {
    let controller = controller(&place, person(0).public()).await;
    let mut changes = controller.changes();
    let mut home = Home::of(controller, "10.128.16.0/20").await;
    let link = home.invite(0, NOW).await;
    home.join(&person(1), &link, "ben", NOW).await;
    kick(&mut home, 1, false).await;
    // The network, the invite and the kick, each once. That somebody came in changes no document.
    for _ in 0..3 {
        let change = tokio::time::timeout(std::time::Duration::from_secs(60), changes.next()).await;
        assert_eq!(change.unwrap(), Some(Change::Network(home.id())));
    }
    let more = tokio::time::timeout(std::time::Duration::from_millis(300), changes.next()).await;
    assert!(more.is_err(), "{more:?}");
}

async fn everything_is_there_after_reopening(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(3, NOW).await;
    let ben = home.join(&person(1), &link, "ben", NOW).await;
    home.controller.seen(&id, &[(person(1).public(), NOW.plus(99))]).await.unwrap();
    home.controller.seen(&id, &[(person(1).public(), NOW.plus(50))]).await.unwrap();
    let before = home.controller.documents(&id).await.unwrap();
    home.controller.close().await;
    assert!(home.controller.networks().await.is_err(), "closed is closed");

    let home = Home {
        controller: controller(&place, home.owner.public()).await,
        ..home
    };
    let after = home.controller.documents(&id).await.unwrap();
    assert_eq!((&before.config, &before.credential), (&after.config, &after.credential));
    let again = home.controller.take_up(&id, &Wish::default(), NOW).await.unwrap();
    assert_eq!(again.config, before.config, "nothing was to be done");
    assert_eq!(home.join(&person(1), &link, "ben", NOW).await, ben);
    let members = home.controller.members(&id).await.unwrap();
    let ben = members.iter().find(|member| member.node == person(1).public()).unwrap();
    assert_eq!((ben.admitted, ben.seen), (NOW, Some(NOW.plus(99))));
    let invites = home.controller.invites(&id).await.unwrap();
    assert_eq!((invites[0].taken, invites[0].has_link), (1, true));
    let printed = home.controller.link(&id, &invites[0].key, &[], support::world()).await.unwrap();
    assert_eq!(printed, link, "the link can be printed again");
}

async fn supernodes_get_the_revocations_under_every_secret(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let first = home.controller.sealed_documents(&id, &mut home.rng).await.unwrap();
    assert_eq!(first.len(), 1);
    home.join(&person(1), &link, "eve", NOW).await;
    kick(&mut home, 1, true).await;
    let sealed = home.controller.sealed_documents(&id, &mut home.rng).await.unwrap();
    let config = home.config().await;
    let secrets = config.secrets();
    assert_eq!((sealed.len(), secrets.len()), (2, 2));
    for (document, secret) in sealed.iter().zip(&secrets) {
        assert!(document.version() > first[0].version());
        let kept = SealedDocument::decode(&document.encode()).unwrap();
        let content = kept.open(home.network.key(), secret).unwrap();
        let revocations = Revocations::decode(&content, &home.network).unwrap();
        assert!(revocations.voids_member(person(1).public().as_bytes(), 1));
    }
    assert_eq!(sealed[1].document_key(), first[0].document_key());
}

async fn a_forgotten_network_is_gone(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    home.join(&person(1), &link, "ben", NOW).await;
    kick(&mut home, 1, false).await;
    home.controller.forget(&id).await.unwrap();
    assert!(home.controller.networks().await.unwrap().is_empty());
    assert!(matches!(home.controller.forget(&id).await, Err(ControllerError::NoSuchNetwork(_))));
    assert!(matches!(home.controller.members(&id).await, Err(ControllerError::NoSuchNetwork(_))));
}

/// A certificate that the invite of a link signs itself.
fn provisional(home: &Home, number: u32, link: &farlan_netconf::PrivateLink, time: Seconds) -> Credential {
    let node = person(number).public();
    Credential::by_invite(&home.network, link.invite(), link.delegation().clone(), node, None, time).unwrap()
}

async fn kick(home: &mut Home, number: u32, keep_invite: bool) -> farlan_controller::Kicked {
    let (id, node) = (home.id(), person(number).public());
    home.controller.kick(&id, &node, None, keep_invite, NOW, &mut home.rng).await.unwrap()
}
