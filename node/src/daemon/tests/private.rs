//! Private networks: what their owner asks, and what is kept.

use super::*;

async fn fails(client: &Client, path: &str, body: Value, words: &str) {
    let failure = post(client, path, body).await.unwrap_err();
    assert!(failure.message.contains(words), "{failure}");
}

async fn created(client: &Client) -> Value {
    add_world(client).await;
    let body = json!({ "name": "Our Home", "my_name": "ann", "subnet": "10.131.0.0/20" });
    post(client, "/v1/create", body).await.unwrap()["network"].clone()
}

#[tokio::test]
async fn a_private_network_is_made_and_is_the_same_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    fails(
        &client,
        "/v1/members",
        json!({ "network": "home" }),
        "in no network called",
    )
    .await;
    let made = created(&client).await;
    assert_eq!(made["name"], "Our Home");
    let membership = &made["private"];
    assert_eq!(
        (
            &membership["state"],
            &membership["controller"],
            &membership["domain"],
            &membership["name"]
        ),
        (&json!("certified"), &json!(true), &json!("our-home"), &json!("ann"))
    );
    fails(&client, "/v1/create", json!({ "name": "our-home" }), "already").await;
    fails(
        &client,
        "/v1/create",
        json!({ "name": "x", "subnet": "10.131.0.0/24" }),
        "choose another with --subnet",
    )
    .await;
    let members = post(&client, "/v1/members", json!({ "network": "our-home" }))
        .await
        .unwrap();
    assert_eq!(members["complete"], true);
    let own = members["members"][0].clone();
    assert_eq!(
        (&own["name"], &own["own"], &own["holder"]),
        (&json!("ann"), &json!(true), &json!(true))
    );
    running.stop().await;

    let text = std::fs::read_to_string(directory.path().join("state/networks.toml")).unwrap();
    assert!(
        text.contains("[network.private]") && text.contains("credential"),
        "{text}"
    );
    let (running, client) = start(directory.path(), &cards).await;
    let again = get(&client, "/v1/networks").await[0].clone();
    for field in ["network_id", "interface", "ipv6", "subnet", "private"] {
        assert_eq!(again[field], made[field], "{field}");
    }
    // By its id, too.
    let id = made["network_id"].as_str().unwrap();
    let members = post(&client, "/v1/members", json!({ "network": id[..10] }))
        .await
        .unwrap();
    assert_eq!(members["members"][0]["ipv4"], own["ipv4"]);
    running.stop().await;
}

#[tokio::test]
async fn a_slow_store_keeps_nobody_else_waiting() {
    use sqlx::{Connection, SqliteConnection, query};

    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    created(&client).await;
    let exported = post(&client, "/v1/export", json!({ "network": "our-home" }))
        .await
        .unwrap();
    running.stop().await;
    let other = tempfile::tempdir().unwrap();
    let (running, client) = start_as(&identities()[2], other.path(), &FakeCards::default()).await;
    add_world(&client).await;
    post(&client, "/v1/create", json!({ "name": "first" })).await.unwrap();

    // Somebody else writes into the store, and takes his time.
    let store = format!("sqlite://{}/state/controller.sqlite", other.path().display());
    let mut writer = SqliteConnection::connect(&store).await.unwrap();
    query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    let mut asked: Vec<_> = [
        ("/v1/create", json!({ "name": "second" })),
        ("/v1/host", json!({ "name": "third", "no_serve": true })),
        ("/v1/import", json!({ "key": exported["key"] })),
    ]
    .into_iter()
    .map(|(path, body)| {
        let client = Client::new(&other.path().join("farlan.sock"));
        tokio::spawn(async move { post(&client, path, body).await })
    })
    .collect();
    for _ in 0..20 {
        let status = tokio::time::timeout(Duration::from_secs(5), get(&client, "/v1/status"));
        assert_eq!(status.await.expect("an answer")["networks"], 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(asked.iter().all(|task| !task.is_finished()), "nothing was written");
    query("ROLLBACK").execute(&mut writer).await.unwrap();
    for task in asked.drain(..) {
        task.await.unwrap().unwrap();
    }
    assert_eq!(get(&client, "/v1/status").await["networks"], 4);
    running.stop().await;
}

/// The config of the only network of a daemon.
async fn config_of(running: &Running) -> farlan_netconf::private::Config {
    let book = running.daemon.book.lock().await;
    let joined = book.networks.joined().next().unwrap();
    joined.membership().private.as_ref().unwrap().config.clone().unwrap()
}

#[tokio::test]
async fn what_others_hand_over_keeps_no_event_waiting_for_a_slow_store() {
    use sqlx::{Connection, SqliteConnection, query};

    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    created(&client).await;
    let exported = post(&client, "/v1/export", json!({ "network": "our-home" }))
        .await
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let (keeper, keepers) = start_as(&identities()[2], other.path(), &FakeCards::default()).await;
    add_world(&keepers).await;
    post(&keepers, "/v1/import", json!({ "key": exported["key"] }))
        .await
        .unwrap();
    let newer = config_of(&keeper).await;
    keeper.stop().await;
    assert!(newer.fields().counter > config_of(&running).await.fields().counter);

    let store = format!("sqlite://{}/state/controller.sqlite", directory.path().display());
    let mut writer = SqliteConnection::connect(&store).await.unwrap();
    query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    let (network, id) = {
        let book = running.daemon.book.lock().await;
        let joined = book.networks.joined().next().unwrap();
        (joined.handle(), joined.id())
    };
    let (events, reported) = tokio::sync::mpsc::channel(8);
    let changed = Event::DocumentsChanged {
        network,
        config: Some(Box::new(newer.clone())),
        revocations: Box::new(farlan_netconf::private::Revocations::new(*newer.network())),
    };
    events.send(changed).await.unwrap();
    let stale = Event::DocumentStale { network, version: 7 };
    events.send(stale).await.unwrap();
    drop(events);
    let followed = Arc::clone(&running.daemon).follow(reported);
    tokio::time::timeout(Duration::from_secs(3), followed)
        .await
        .expect("no event waits");
    assert_eq!(config_of(&running).await, newer, "written down at once");
    query("ROLLBACK").execute(&mut writer).await.unwrap();
    let controller = running.daemon.controller_of(&id).unwrap();
    let learned = async {
        while controller.documents(&id).await.unwrap().config.fields().counter < newer.fields().counter {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), learned)
        .await
        .expect("the controller learns of it");
    running.stop().await;
}

#[tokio::test]
async fn what_was_changed_before_something_failed_is_handed_on() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    created(&client).await;
    let body = json!({
        "network": "our-home",
        "reserve": [{ "address": "10.131.0.78", "member": "ann" }, { "address": "10.9.9.9", "member": "printer" }],
    });
    fails(&client, "/v1/set", body, "no address for a host").await;
    let book = running.daemon.book.lock().await;
    let joined = book.networks.joined().next().unwrap();
    let credential = joined
        .membership()
        .private
        .as_ref()
        .unwrap()
        .credential
        .clone()
        .unwrap();
    assert_eq!(
        credential.certificate().fields().ipv4,
        Some(Ipv4Addr::new(10, 131, 0, 78)),
        "her certificate of the first reservation"
    );
    drop(book);
    running.stop().await;
}

#[tokio::test]
async fn a_controller_beside_a_supernode_is_not_ended_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    let neighbour = crate::daemon::Neighbour {
        key: identities()[1].public(),
        port: 9600,
    };
    running.daemon.neighbour.set(neighbour).unwrap();
    fails(&client, "/v1/down", json!({}), "systemctl stop farlan-supernode").await;
    running.stop().await;
}

#[tokio::test]
async fn invites_are_made_listed_and_withdrawn() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    created(&client).await;
    let body = json!({ "network": "Our Home", "uses": 2, "expires_in_s": 3600, "name": "for ben" });
    let counted = post(&client, "/v1/invite", body).await.unwrap();
    assert!(counted["link"].as_str().unwrap().starts_with("farlan:"));
    let open = post(&client, "/v1/invite", json!({ "network": "our-home" }))
        .await
        .unwrap();
    let listed = post(&client, "/v1/invites", json!({ "network": "our-home" }))
        .await
        .unwrap();
    let invites = listed["invites"].as_array().unwrap();
    assert_eq!(
        (invites.len(), &invites[0]["uses"], &invites[1]["uses"]),
        (2, &json!(2), &json!(null))
    );
    assert_eq!(invites[1], open["invite"]);

    fails(
        &client,
        "/v1/uninvite",
        json!({ "invite": "nobody" }),
        "no invite is called",
    )
    .await;
    post(&client, "/v1/uninvite", json!({ "invite": "for ben" }))
        .await
        .unwrap();
    let id = open["invite"]["id"].as_str().unwrap();
    post(
        &client,
        "/v1/uninvite",
        json!({ "invite": id[..12], "network": "our-home" }),
    )
    .await
    .unwrap();
    let listed = post(&client, "/v1/invites", json!({ "network": "our-home" }))
        .await
        .unwrap();
    assert!(
        listed["invites"]
            .as_array()
            .unwrap()
            .iter()
            .all(|invite| invite["withdrawn"].is_u64())
    );
    running.stop().await;
}

#[tokio::test]
async fn an_owner_whose_certificate_has_expired_is_told_what_to_say_of_her_clock() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    created(&client).await;
    let body = json!({ "network": "our-home", "life_s": 1 });
    post(&client, "/v1/set", body).await.unwrap();
    // Her next certificate lives as short.
    post(&client, "/v1/rename", json!({ "member": "ann", "name": "anna" }))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let words = "has expired by this machine's clock";
    let notes = get(&client, "/v1/status").await["notes"].to_string();
    assert!(
        notes.contains(words) && notes.contains("farlan network set Our Home --clock-is-right"),
        "{notes}"
    );
    let body = json!({ "network": "our-home", "life_s": 86400, "clock_is_right": true });
    post(&client, "/v1/set", body).await.unwrap();
    post(&client, "/v1/rename", json!({ "member": "anna", "name": "ann" }))
        .await
        .unwrap();
    let notes = get(&client, "/v1/status").await["notes"].to_string();
    assert!(!notes.contains(words), "{notes}");
    running.stop().await;
}

#[tokio::test]
async fn who_joins_is_provisional_or_waits_and_has_no_say() {
    let (owner, guest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (running, client) = start(owner.path(), &FakeCards::default()).await;
    let made = created(&client).await;
    let open = post(&client, "/v1/invite", json!({ "network": "our-home" }))
        .await
        .unwrap();
    let body = json!({ "network": "our-home", "uses": 1 });
    let counted = post(&client, "/v1/invite", body).await.unwrap();
    running.stop().await;

    let cards = FakeCards::default();
    let (running, client) = start_as(&identities()[2], guest.path(), &cards).await;
    let joined = post(&client, "/v1/join", json!({ "target": counted["link"], "name": "ben" }))
        .await
        .unwrap();
    assert_eq!(joined["network"]["network_id"], made["network_id"]);
    let membership = &joined["network"]["private"];
    assert_eq!(
        (&membership["state"], &membership["counted"]),
        (&json!("none"), &json!(true))
    );
    let notes = get(&client, "/v1/status").await["notes"].to_string();
    assert!(notes.contains("nobody has let this node in yet"), "{notes}");

    // Another link lets it in.
    post(&client, "/v1/join", json!({ "target": open["link"], "name": "ben" }))
        .await
        .unwrap();
    let provisional = async |client: &Client| {
        for _ in 0..100 {
            let network = get(client, "/v1/networks").await[0].clone();
            if network["private"]["state"] == "provisional" {
                return network;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}", get(client, "/v1/networks").await);
    };
    let before = provisional(&client).await;
    for (path, body) in [
        ("/v1/invite", json!({ "network": "Our Home" })),
        ("/v1/invites", json!({ "network": "Our Home" })),
        ("/v1/export", json!({ "network": "Our Home" })),
        ("/v1/set", json!({ "network": "Our Home", "name": "x" })),
    ] {
        fails(&client, path, body, "is not here: ask on the node that made it").await;
    }
    fails(
        &client,
        "/v1/kick",
        json!({ "member": "ann" }),
        "no key of a private network is here",
    )
    .await;
    let members = post(&client, "/v1/members", json!({ "network": "Our Home" }))
        .await
        .unwrap();
    assert_eq!(
        (&members["complete"], &members["members"][0]["own"]),
        (&json!(false), &json!(true))
    );
    running.stop().await;
    let (running, client) = start_as(&identities()[2], guest.path(), &cards).await;
    let after = provisional(&client).await;
    for field in ["network_id", "interface", "ipv6", "private"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_key_goes_from_one_controller_to_another_and_settings_change() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (running, client) = start(first.path(), &FakeCards::default()).await;
    let made = created(&client).await;
    let body = json!({
        "network": "our-home", "name": "Cabin", "domain": "cabin", "life_s": 86400,
        "reserve": [{ "address": "10.131.0.77", "member": "printer" }],
    });
    let set = post(&client, "/v1/set", body).await.unwrap();
    assert_eq!(
        (&set["network"], &set["domain"], &set["life_s"]),
        (&json!("Cabin"), &json!("cabin"), &json!(86400))
    );
    assert_eq!(set["reservations"][0]["member"], "printer");
    assert_eq!(get(&client, "/v1/networks").await[0]["name"], "Cabin");
    let body = json!({ "network": "cabin", "reserve": [{ "address": "10.9.9.9", "member": "printer" }] });
    fails(&client, "/v1/set", body, "no address for a host").await;
    post(&client, "/v1/rename", json!({ "member": "ann", "name": "anna" }))
        .await
        .unwrap();
    let membership = get(&client, "/v1/networks").await[0]["private"].clone();
    assert_eq!(membership["name"], "anna");
    let exported = post(&client, "/v1/export", json!({ "network": "cabin" }))
        .await
        .unwrap();
    running.stop().await;

    let (running, client) = start_as(&identities()[2], second.path(), &FakeCards::default()).await;
    fails(
        &client,
        "/v1/import",
        json!({ "key": "nonsense" }),
        "not an exported network key",
    )
    .await;
    fails(
        &client,
        "/v1/import",
        json!({ "key": exported["key"] }),
        "farlan supernode add LINK",
    )
    .await;
    add_world(&client).await;
    let imported = post(&client, "/v1/import", json!({ "key": exported["key"] }))
        .await
        .unwrap();
    assert_eq!(imported["network"]["network_id"], made["network_id"]);
    assert_eq!(imported["network"]["private"]["controller"], true);
    post(&client, "/v1/invite", json!({ "network": "cabin" }))
        .await
        .unwrap();
    running.stop().await;
}

/// The config in an exported key.
fn config_in(exported: &Value) -> farlan_netconf::private::Config {
    let text = exported["key"].as_str().unwrap();
    let exported = farlan_netconf::private::ExportedKey::parse(text, Work::REQUIRED).unwrap();
    exported.config().clone()
}

#[tokio::test]
async fn an_older_export_does_not_undo_what_members_know() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (running, client) = start(first.path(), &FakeCards::default()).await;
    let made = created(&client).await;
    let network = json!({ "network": made["network_id"] });
    let old = post(&client, "/v1/export", network.clone()).await.unwrap();
    let mut newer = Vec::new();
    for life in [86_400, 96_400, 106_400, 116_400, 126_400] {
        post(&client, "/v1/set", json!({ "network": "our-home", "life_s": life }))
            .await
            .unwrap();
        newer.push(config_in(&post(&client, "/v1/export", network.clone()).await.unwrap()));
    }
    let invite = post(&client, "/v1/invite", json!({ "network": "our-home" }))
        .await
        .unwrap();
    running.stop().await;

    let node = &identities()[2];
    let (running, client) = start_as(node, second.path(), &FakeCards::default()).await;
    post(&client, "/v1/join", json!({ "target": invite["link"] }))
        .await
        .unwrap();
    let hand = async |config: &farlan_netconf::private::Config| {
        let handle = first_network(&running).await;
        let none = farlan_netconf::private::Revocations::new(*config.network());
        let is_controller = running.daemon.documents_changed(handle, Some(config), &none).await;
        if let Some(id) = is_controller {
            let config = Some(Box::new(config.clone()));
            Arc::clone(&running.daemon).learn_later(id, config, Box::new(none));
        }
    };
    let kept = async || {
        let book = running.daemon.book.lock().await;
        let kept = book.networks.memberships().next().unwrap().private.clone().unwrap();
        kept.config.unwrap()
    };
    // A member that imports an old export takes over what it knows.
    hand(&newer[2]).await;
    post(&client, "/v1/import", json!({ "key": old["key"] })).await.unwrap();
    let config = kept().await;
    assert!(config.fields().counter > newer[2].fields().counter);
    assert!(config.fields().holders.contains(&node.public()));
    // Another controller's config does not name it, until it has looked.
    hand(&newer[4]).await;
    let mut config = kept().await;
    for _ in 0..500 {
        if config.fields().counter > newer[4].fields().counter {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        config = kept().await;
    }
    assert!(config.fields().counter > newer[4].fields().counter);
    assert!(config.fields().holders.contains(&node.public()));

    // The key stays when the network is left, and brings it back.
    post(&client, "/v1/leave", network.clone()).await.unwrap();
    let exported = post(&client, "/v1/export", network.clone()).await.unwrap();
    add_world(&client).await;
    let back = post(&client, "/v1/import", json!({ "key": exported["key"] }))
        .await
        .unwrap();
    assert_eq!(back["network"]["private"]["controller"], true);
    fails(&client, "/v1/import", json!({ "key": exported["key"] }), "already").await;
    running.stop().await;
}
