//! What a controller does with its networks, on both stores alike.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use std::time::Duration;

use farlan_controller::{Change, ControllerError, Documents, Outstanding, Settings, Wish};
use farlan_crypto::Work;
use farlan_netconf::private::{Application, ExportedKey, Invalid, Refusal, Revocations, SealedDocument};
use farlan_netconf::{Label, Seconds};
use support::{DAY, Home, NOW, Place, controller, granted, issue_of, label, name_of, new_network, person, refused};

on_both_stores! {
    an_exported_key_goes_on_elsewhere,
    stores_apart_learn_from_each_other,
    a_kick_counts_against_what_another_store_issued,
    a_wrong_clock_of_twenty_years_does_no_harm,
    a_span_counts_from_the_time_that_is_judged,
    a_new_controller_with_a_wrong_clock_does_no_harm,
    an_import_after_years_goes_on_from_what_members_have,
    a_controller_that_was_away_believes_renewers,
    renewers_are_named_and_dismissed,
    renewers_are_dismissed_after_an_import,
    who_was_dismissed_is_named_again_at_once,
    certificates_of_large_networks_live_shorter,
    settings_make_a_new_config,
    changes_are_told,
    everything_is_there_after_reopening,
    supernodes_get_the_revocations_under_every_secret,
    a_forgotten_network_is_gone,
}

async fn an_exported_key_goes_on_elsewhere(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let ben = home.join(&person(1), &link, "ben", NOW).await;
    let text = home.controller.export(&id).await.unwrap();
    // What happens after the export is not in it.
    let eve = home.join(&person(2), &link, "eve", NOW).await;
    home.kick(2, true).await;
    let revocations = home.controller.documents(&id).await.unwrap().revocations;
    let config = home.config().await;

    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(50).public()).await;
    let text = ExportedKey::parse(&text.to_text(), Work::NONE).unwrap();
    let taken = other.import(&text, &Wish::default(), NOW).await.unwrap();
    assert!(taken.config.fields().holders.contains(&person(50).public()));
    let exists = other.import(&text, &Wish::default(), NOW).await.unwrap_err();
    assert!(
        matches!(exists, ControllerError::NetworkExists(known) if known == id),
        "{exists}"
    );
    let learned = other.learn(&id, Some(&config), Some(&revocations), NOW).await.unwrap();
    assert_eq!(learned.revocations, 1);

    let moved = Home {
        controller: other,
        ..home
    };
    let member = Application::new(None, None);
    let again = granted(moved.apply_with(&person(1), &member, Some(&ben), NOW).await);
    assert_eq!(
        (name_of(&again), again.certificate().fields().ipv4),
        ("ben".to_owned(), ben.certificate().fields().ipv4)
    );
    assert!(issue_of(&again) > issue_of(&ben));
    assert_eq!(
        refused(moved.apply_with(&person(2), &member, Some(&eve), NOW).await),
        Refusal::Revoked
    );
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
    other
        .kick(&id, &person(1).public(), Some(&eve), true, NOW, &mut rng)
        .await
        .unwrap();
    let told = other.documents(&id).await.unwrap();
    let learned = home
        .controller
        .learn(&id, Some(&told.config), Some(&told.revocations), NOW)
        .await
        .unwrap();
    assert!(learned.config && !learned.fork);
    assert_eq!(learned.revocations, 1);
    let again = home
        .controller
        .learn(&id, Some(&told.config), Some(&told.revocations), NOW)
        .await
        .unwrap();
    assert_eq!((again.config, again.revocations), (false, 0));
    assert_eq!(home.config().await, told.config);
    assert_eq!(
        refused(home.apply(&person(1), &link, "eve", NOW).await),
        Refusal::Revoked
    );
    let members = home.controller.members(&id).await.unwrap();
    assert!(
        members
            .iter()
            .any(|member| member.kicked.is_some() && member.node == person(1).public())
    );

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
    let strange = strange
        .create(new_network("10.129.0.0/20"), &Wish::default(), NOW, &mut rng)
        .await
        .unwrap();
    assert!(
        home.controller
            .learn(&id, Some(&strange.config), None, NOW)
            .await
            .is_err(),
        "another network's"
    );
}

async fn a_kick_counts_against_what_another_store_issued(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let (eve, ben) = (person(1), person(2));
    let first = home.join(&eve, &link, "eve", NOW).await;
    let bens = home.join(&ben, &link, "ben", NOW).await;
    let text = home.controller.export(&id).await.unwrap();
    let elsewhere = place.another().await;
    let keeper = home.kept_by(controller(&elsewhere, person(50).public()).await);
    // The keeper, whose clock is some hours ahead, renews both, one after the other in one second.
    let ahead = NOW.plus(200 * DAY + 9 * 3600);
    keeper.controller.import(&text, &Wish::default(), ahead).await.unwrap();
    let member = Application::new(None, None);
    let renewed = granted(keeper.apply_with(&eve, &member, Some(&first), ahead).await);
    let bens = granted(keeper.apply_with(&ben, &member, Some(&bens), ahead).await);
    assert!(issue_of(&renewed) > issue_of(&first));

    // The maker kicks her, and knows of nothing, since her machine is off.
    let now = NOW.plus(200 * DAY);
    let kicked = home
        .controller
        .kick(&id, &eve.public(), None, true, now, &mut home.rng)
        .await
        .unwrap();
    let documents = home.controller.documents(&id).await.unwrap();
    let checked = renewed.check(&home.network, &eve.public(), now, &documents.revocations);
    assert_eq!(checked.map(drop), Err(Invalid::MemberRevoked));
    keeper
        .controller
        .learn(&id, Some(&kicked.config), Some(&documents.revocations), ahead)
        .await
        .unwrap();
    let members = keeper.controller.members(&id).await.unwrap();
    let known = members.iter().find(|known| known.node == eve.public()).unwrap();
    assert!(known.kicked.is_some(), "the keeper throws her out, too");
    assert_eq!(
        refused(keeper.apply_with(&eve, &member, Some(&renewed), ahead).await),
        Refusal::Revoked
    );

    // A name that is given afterwards is the newer one, too.
    let later = NOW.plus(202 * DAY);
    let renamed = home
        .controller
        .rename(&id, &ben.public(), &label("benjamin"), later)
        .await
        .unwrap();
    assert!(issue_of(&renamed) > issue_of(&bens));
}

async fn a_wrong_clock_of_twenty_years_does_no_harm(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let ahead = NOW.plus(20 * 365 * DAY);
    let ben = home.join(&person(1), &link, "ben", ahead).await;
    assert_eq!(
        ben.certificate().fields().time,
        NOW,
        "nothing is signed in twenty years"
    );
    let behind = NOW.minus(20 * 365 * DAY);
    let carl = home.join(&person(2), &link, "carl", behind).await;
    assert_eq!(carl.certificate().fields().time, NOW);
    home.controller
        .kick(&id, &person(2).public(), None, true, ahead, &mut home.rng)
        .await
        .unwrap();
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

async fn a_span_counts_from_the_time_that_is_judged(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let renewer = person(1);
    home.join(&renewer, &link, "renewer", NOW).await;
    // One clock stands in 1970, and one is twenty years ahead.
    for clock in [Seconds::new(1), NOW.plus(20 * 365 * DAY)] {
        let invite = home.invite(0, clock).await;
        let fields = invite.delegation().fields();
        assert_eq!(
            (fields.time, fields.expiry),
            (NOW, NOW.plus(10 * DAY)),
            "an invite by the clock {clock:?}"
        );
        let life = 30 * DAY as u32;
        let delegated = home
            .controller
            .delegate(&id, &renewer.public(), 40 * DAY, life, clock)
            .await
            .unwrap();
        let fields = delegated.delegation.fields();
        assert_eq!((fields.time, fields.expiry), (NOW, NOW.plus(40 * DAY)));
    }
}

async fn a_new_controller_with_a_wrong_clock_does_no_harm(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    home.join(&person(1), &link, "ben", NOW).await;
    let text = home.controller.export(&id).await.unwrap();
    let ahead = NOW.plus(20 * 365 * DAY);
    let latest = |documents: &Documents| {
        let own = documents.credential.as_ref().unwrap().certificate().fields().time;
        own.max(documents.config.fields().time)
            .max(documents.revocations.newest_signed())
    };
    let elsewhere = place.another().await;
    for place in [&elsewhere, &place] {
        // One imports, the other shares the store.
        let other = controller(place, person(50).public()).await;
        let documents = match other.import(&text, &Wish::default(), ahead).await {
            Ok(documents) => documents,
            Err(ControllerError::NetworkExists(_)) => other.take_up(&id, &Wish::default(), ahead).await.unwrap(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(latest(&documents), NOW);
    }
}

async fn an_import_after_years_goes_on_from_what_members_have(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let year = 365 * DAY;
    let old = home.controller.export(&id).await.unwrap();
    let link = home.invite(0, NOW).await;
    let mut bens = home.join(&person(1), &link, "ben", NOW).await;
    let member = Application::new(None, None);
    // His certificate is renewed, and the config stays that of the beginning.
    for half_years in 1..6 {
        let clock = NOW.plus(half_years * (year / 2 + DAY));
        home.controller.take_up(&id, &Wish::default(), clock).await.unwrap();
        bens = granted(home.apply_with(&person(1), &member, Some(&bens), clock).await);
        assert_eq!(bens.certificate().fields().time, clock);
    }
    let signed = bens.certificate().fields().time;
    let clock = signed.plus(DAY);

    // A key that was exported just now tells how late it is.
    let new = home.controller.export(&id).await.unwrap();
    let elsewhere = place.another().await;
    let other = controller(&elsewhere, person(50).public()).await;
    let documents = other.import(&new, &Wish::default(), clock).await.unwrap();
    assert_eq!(documents.credential.unwrap().certificate().fields().time, clock);

    // An old one does not, but what the first member shows.
    let elsewhere = place.another().await;
    let third = home.kept_by(controller(&elsewhere, person(51).public()).await);
    let documents = third.controller.import(&old, &Wish::default(), clock).await.unwrap();
    assert_eq!(documents.credential.unwrap().certificate().fields().time, NOW);
    third.apply_with(&person(1), &member, Some(&bens), clock).await;
    let documents = third.controller.take_up(&id, &Wish::default(), clock).await.unwrap();
    assert_eq!(documents.credential.unwrap().certificate().fields().time, signed);
    let documents = third
        .controller
        .take_up(&id, &Wish::default(), clock.plus(year / 2))
        .await
        .unwrap();
    assert!(documents.credential.unwrap().expiry() > clock, "its clock counts again");
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
        .delegate(&id, &renewer.public(), 3650 * DAY, 365 * DAY as u32, NOW)
        .await
        .unwrap();
    let extended_at = NOW.plus(1000 * DAY);
    let extended = ben
        .extend(&renewer, delegated.delegation, extended_at, 365 * DAY as u32)
        .unwrap();
    let member = Application::new(None, None);
    // Back after three years, with a clock that is right.
    let back = NOW.plus(1050 * DAY);
    let renewed = granted(home.apply_with(&person(2), &member, Some(&extended), back).await);
    let fields = renewed.certificate().fields();
    assert_eq!((fields.time, fields.expiry), (extended_at, extended_at.plus(365 * DAY)));
    // From then on it knows, and its own certificate is a good one again.
    let own = home
        .controller
        .take_up(&id, &Wish::default(), back)
        .await
        .unwrap()
        .credential
        .unwrap();
    assert!(own.expiry() > back);
}

async fn renewers_are_named_and_dismissed(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let (renewer, ben) = (person(1), person(2));
    let has = issue_of(&home.join(&renewer, &link, "renewer", NOW).await);
    let credential = home.join(&ben, &link, "ben", NOW).await;
    let life = 30 * DAY as u32;
    let until = 400 * DAY;
    let delegated = home
        .controller
        .delegate(&id, &renewer.public(), 400 * DAY, life, NOW)
        .await
        .unwrap();
    assert!(delegated.config.fields().holders.contains(&renewer.public()));
    let due = home.controller.outstanding(&id, &renewer.public(), has).await.unwrap();
    assert_eq!(
        (due.credential, due.delegation),
        (None, Some(delegated.delegation.clone()))
    );
    // One that was given another name while it was away gets the certificate with it, whatever the one it has.
    let renamed = home
        .controller
        .rename(&id, &ben.public(), &label("benjamin"), NOW)
        .await
        .unwrap();
    for shown in [0, issue_of(&credential)] {
        let due = home.controller.outstanding(&id, &ben.public(), shown).await.unwrap();
        assert_eq!((due.credential, due.delegation), (Some(renamed.clone()), None));
    }
    for (node, shown) in [(ben.public(), issue_of(&renamed)), (person(77).public(), 0)] {
        let due = home.controller.outstanding(&id, &node, shown).await.unwrap();
        assert_eq!(due, Outstanding::default());
    }
    assert_eq!(home.controller.delegates(&id).await.unwrap().len(), 1);
    let extended = credential
        .extend(&renewer, delegated.delegation.clone(), NOW, life)
        .unwrap();
    let check = |documents: Documents| {
        extended
            .check(&home.network, &ben.public(), NOW, &documents.revocations)
            .map(drop)
    };
    assert_eq!(check(home.controller.documents(&id).await.unwrap()), Ok(()));

    let config = home.controller.undelegate(&id, &renewer.public(), NOW).await.unwrap();
    assert!(!config.fields().holders.contains(&renewer.public()));
    assert_eq!(
        check(home.controller.documents(&id).await.unwrap()),
        Err(Invalid::DelegationRevoked)
    );
    let error = home
        .controller
        .undelegate(&id, &renewer.public(), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ControllerError::NoDelegate), "{error}");
    let error = home
        .controller
        .delegate(&id, &renewer.public(), 0, life, NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ControllerError::Past), "{error}");

    // A renewer who is kicked is dismissed.
    home.controller
        .delegate(&id, &ben.public(), until, life, NOW)
        .await
        .unwrap();
    let kicked = home.kick(2, true).await;
    assert_eq!(kicked.config.fields().holders, [home.owner.public()]);
    let due = home.controller.outstanding(&id, &ben.public(), 0).await.unwrap();
    assert_eq!(due, Outstanding::default(), "nothing for who was kicked");
    assert_eq!(home.controller.documents(&id).await.unwrap().revocations.len(), 3);
}

async fn renewers_are_dismissed_after_an_import(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let ben = home.join(&person(3), &link, "ben", NOW).await;
    let mut delegations = Vec::new();
    for number in [1, 2] {
        let renewer = person(number);
        home.join(&renewer, &link, "renewer", NOW).await;
        let life = 30 * DAY as u32;
        let delegated = home
            .controller
            .delegate(&id, &renewer.public(), 400 * DAY, life, NOW)
            .await
            .unwrap();
        delegations.push(ben.extend(&renewer, delegated.delegation, NOW, life).unwrap());
    }
    let text = home.controller.export(&id).await.unwrap();
    let elsewhere = place.another().await;
    let mut moved = home.kept_by(controller(&elsewhere, person(50).public()).await);
    moved.controller.import(&text, &Wish::default(), NOW).await.unwrap();

    // One is dismissed, the other, of whom the new store knows by the config alone, is kicked.
    moved
        .controller
        .undelegate(&id, &person(1).public(), NOW)
        .await
        .unwrap();
    let kicked = moved.kick(2, false).await;
    assert!(!kicked.invite_known && kicked.withdrawn.is_none());
    let documents = moved.controller.documents(&id).await.unwrap();
    for extended in delegations {
        let checked = extended.check(&home.network, &person(3).public(), NOW, &documents.revocations);
        assert_eq!(checked.map(drop), Err(Invalid::DelegationRevoked));
    }
    let holders = [home.owner.public(), person(50).public()];
    assert_eq!(documents.config.fields().holders, holders);
    for number in [50, 3] {
        let node = person(number).public();
        let error = moved.controller.undelegate(&id, &node, NOW).await.unwrap_err();
        assert!(matches!(error, ControllerError::NoDelegate), "{error}");
    }
    let known = home.kick(1, true).await;
    assert!(known.invite_known && known.withdrawn.is_none());
}

async fn who_was_dismissed_is_named_again_at_once(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let node = person(1).public();
    home.join(&person(1), &link, "renewer", NOW).await;
    let life = 30 * DAY as u32;
    for _ in 0..3 {
        let delegated = home
            .controller
            .delegate(&id, &node, 400 * DAY, life, NOW)
            .await
            .unwrap();
        let documents = home.controller.documents(&id).await.unwrap();
        assert!(!documents.revocations.voids_delegation(&delegated.delegation));
        home.controller.undelegate(&id, &node, NOW).await.unwrap();
        let documents = home.controller.documents(&id).await.unwrap();
        assert!(documents.revocations.voids_delegation(&delegated.delegation));
    }
}

async fn certificates_of_large_networks_live_shorter(place: Place) {
    let mut home = Home::new(&place).await;
    let link = home.invite(0, NOW).await;
    let year = 365 * DAY as u32;
    for number in 1..128 {
        home.join(&person(number), &link, "node", NOW).await;
    }
    assert_eq!(
        (home.config().await.fields().life, home.config().await.fields().counter),
        (year, 1)
    );
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
    assert_eq!(
        home.controller
            .set(&home.id(), settings, NOW)
            .await
            .unwrap()
            .fields()
            .life,
        365 * DAY as u32
    );
}

async fn changes_are_told(place: Place) {
    let controller = controller(&place, person(0).public()).await;
    let mut changes = controller.changes();
    let mut home = Home::of(controller, "10.128.16.0/20").await;
    let link = home.invite(0, NOW).await;
    home.join(&person(1), &link, "ben", NOW).await;
    home.kick(1, false).await;
    // The network, the invite and the kick, each once. That somebody came in changes no document.
    for _ in 0..3 {
        let change = tokio::time::timeout(Duration::from_secs(60), changes.next()).await;
        assert_eq!(change.unwrap(), Some(Change::Network(home.id())));
    }
    let more = tokio::time::timeout(Duration::from_millis(300), changes.next()).await;
    assert!(more.is_err(), "{more:?}");
}

async fn everything_is_there_after_reopening(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(3, NOW).await;
    let ben = home.join(&person(1), &link, "ben", NOW).await;
    home.controller
        .seen(&id, &[(person(1).public(), NOW.plus(99))])
        .await
        .unwrap();
    home.controller
        .seen(&id, &[(person(1).public(), NOW.plus(50))])
        .await
        .unwrap();
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
    let printed = home
        .controller
        .link(&id, &invites[0].key, &[], support::world())
        .await
        .unwrap();
    assert_eq!(printed, link, "the link can be printed again");
}

async fn supernodes_get_the_revocations_under_every_secret(place: Place) {
    let mut home = Home::new(&place).await;
    let id = home.id();
    let link = home.invite(0, NOW).await;
    let sealed = home.controller.sealed_documents(&id, 0, NOW, &mut home.rng);
    let first = sealed.await.unwrap();
    assert_eq!(first.len(), 1);
    home.join(&person(1), &link, "eve", NOW).await;
    home.kick(1, true).await;
    let held = first[0].version();
    let sealed = home.controller.sealed_documents(&id, held, NOW, &mut home.rng);
    let sealed = sealed.await.unwrap();
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
    home.kick(1, false).await;
    home.controller.forget(&id).await.unwrap();
    assert!(home.controller.networks().await.unwrap().is_empty());
    assert!(matches!(
        home.controller.forget(&id).await,
        Err(ControllerError::NoSuchNetwork(_))
    ));
    assert!(matches!(
        home.controller.members(&id).await,
        Err(ControllerError::NoSuchNetwork(_))
    ));
}
