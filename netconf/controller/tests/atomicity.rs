//! Many at once.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use farlan_controller::{Applicant, Change, Controller, Wish};
use farlan_crypto::Identity;
use farlan_netconf::private::{Admission, Application, Refusal};
use farlan_netconf::{NetworkId, PrivateLink};
use support::{Home, NOW, Place, application, controller, person, run};

/// How many try.
const CROWD: u32 = 100;

#[test]
fn a_single_use_lets_one_of_a_hundred_in_on_sqlite() {
    run(async {
        let place = Place::file();
        let mut home = Home::new(&place).await;
        for round in 0..3 {
            let link = home.invite(1, NOW).await;
            let controllers = [Arc::new(home.controller)];
            assert_one_wins(&controllers, home.network.id(), &link, round).await;
            let [controller] = controllers;
            home.controller = Arc::into_inner(controller).unwrap();
        }
    });
}

#[test]
fn a_single_use_lets_one_of_a_hundred_in_with_two_controllers_on_postgres() {
    run(async {
        let place = Place::database().await;
        let mut home = Home::new(&place).await;
        let mut second = controller(&place, person(800).public()).await;
        second.take_up(&home.id(), &Wish::default(), NOW).await.unwrap();
        for round in 0..3 {
            let link = home.invite(1, NOW).await;
            let controllers = [Arc::new(home.controller), Arc::new(second)];
            assert_one_wins(&controllers, home.network.id(), &link, round).await;
            let [one, two] = controllers;
            (home.controller, second) = (Arc::into_inner(one).unwrap(), Arc::into_inner(two).unwrap());
        }
        // The counter is the database's: whichever controller is asked says the same.
        let invites = second.invites(&home.id()).await.unwrap();
        assert!(
            invites
                .iter()
                .all(|invite| invite.taken == 1 && invite.members.len() == 1)
        );
    });
}

#[test]
fn a_hundred_of_one_name_get_a_hundred_names_and_addresses_on_sqlite() {
    run(async {
        let place = Place::file();
        let mut home = Home::with_subnet(&place, "10.128.16.0/25").await;
        let link = home.invite(0, NOW).await;
        assert_all_differ(&[Arc::new(home.controller)], home.network.id(), &link).await;
    });
}

#[test]
fn a_hundred_of_one_name_get_a_hundred_names_and_addresses_with_two_controllers_on_postgres() {
    run(async {
        let place = Place::database().await;
        let mut home = Home::with_subnet(&place, "10.128.16.0/25").await;
        let second = controller(&place, person(800).public()).await;
        let link = home.invite(0, NOW).await;
        assert_all_differ(&[Arc::new(home.controller), Arc::new(second)], home.network.id(), &link).await;
    });
}

#[test]
fn controllers_on_one_database_hear_of_each_other() {
    run(async {
        let place = Place::database().await;
        let mut home = Home::new(&place).await;
        let second = controller(&place, person(800).public()).await;
        let mut changes = second.changes();
        home.invite(0, NOW).await;
        // Changes of the time before may still be on their way.
        until(&mut changes, Change::Network(home.id())).await;
        assert_eq!(second.invites(&home.id()).await.unwrap().len(), 1);

        // Whoever was deaf for a while is told that anything may have changed, and hears again.
        let Place::Database { server, .. } = &place else {
            unreachable!()
        };
        let listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
        server.run("postgres", listeners).await;
        until(&mut changes, Change::Everything).await;
        home.invite(0, NOW).await;
        until(&mut changes, Change::Network(home.id())).await;
    });
}

/// Waits for a change, whatever else comes before.
async fn until(changes: &mut farlan_controller::Changes, wanted: Change) {
    let wait = async { while changes.next().await.unwrap() != wanted {} };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

async fn assert_one_wins(controllers: &[Arc<Controller>], id: NetworkId, link: &PrivateLink, round: u32) {
    let first = 1 + round * CROWD;
    let answers = crowd(controllers, id, first, |node| application(node, link, "laptop")).await;
    let granted = answers
        .iter()
        .filter(|answer| matches!(answer, Admission::Granted(_)))
        .count();
    let used_up = answers
        .iter()
        .filter(|answer| **answer == Admission::Refused(Refusal::UsedUp))
        .count();
    assert_eq!((granted, used_up), (1, CROWD as usize - 1));
    // Who won asks again, as if the answer had been lost, and wins again; the others lose again.
    assert_eq!(
        crowd(controllers, id, first, |node| application(node, link, "laptop")).await,
        answers
    );
}

async fn assert_all_differ(controllers: &[Arc<Controller>], id: NetworkId, link: &PrivateLink) {
    let answers = crowd(controllers, id, 1, |node| application(node, link, "laptop")).await;
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    let mut issues = BTreeSet::new();
    for answer in answers {
        let Admission::Granted(credential) = answer else {
            panic!("{answer:?}")
        };
        let fields = credential.certificate().fields();
        assert!(names.insert(fields.name.clone().unwrap()));
        assert!(addresses.insert(fields.ipv4.unwrap()));
        assert!(issues.insert(fields.issue));
    }
    // No name is left out between them.
    assert!(names.contains(&support::label("laptop")) && names.contains(&support::label("laptop-100")));
}

/// All apply at once, each to one of the controllers.
async fn crowd(
    controllers: &[Arc<Controller>],
    id: NetworkId,
    first: u32,
    application: impl Fn(&Identity) -> Application,
) -> Vec<Admission> {
    let start = Arc::new(tokio::sync::Barrier::new(CROWD as usize));
    let mut running = Vec::new();
    for number in 0..CROWD {
        let node = person(first + number);
        let application = application(&node);
        let controller = Arc::clone(&controllers[number as usize % controllers.len()]);
        let start = Arc::clone(&start);
        running.push(tokio::spawn(async move {
            start.wait().await;
            let applicant = Applicant {
                node: &node.public(),
                application: &application,
                credential: None,
            };
            controller.admit(&id, &applicant, NOW).await.unwrap()
        }));
    }
    let mut answers = Vec::new();
    for task in running {
        answers.push(task.await.unwrap());
    }
    answers
}
