//! Searches of games on the real LAN.

use farlan_tap::{Watch, pair};
use rustix::fs::OFlags;

use super::*;

/// What a daemon tells its listener, or nothing within a while.
async fn told(listener: &OwnedFd) -> Option<Watch> {
    for _ in 0..500 {
        let mut room = [0; 4096];
        match rustix::io::read(listener, &mut room) {
            Ok(0) => panic!("the daemon is gone"),
            Ok(length) => return Some(Watch::parse(&room[..length]).unwrap()),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    None
}

/// A daemon in a network of friends and one of strangers, beside a card with the index 70, and the far end of its listener.
async fn in_two_networks(directory: &Path, cards: &FakeCards) -> (Running, Client, OwnedFd) {
    let (near, far) = pair().unwrap();
    rustix::fs::fcntl_setfl(&far, OFlags::NONBLOCK).unwrap();
    cards.lock().underlay = vec![UnderlayCard {
        index: 70,
        reaches_groups: true,
        mac: Some([2, 0, 0, 0, 0, 9]),
        addresses: vec![Address {
            ip: [192, 0, 2, 9].into(),
            prefix: 24,
        }],
    }];
    let listener = Ok(LanListener::at(near));
    let (running, client) = start_listening(&identities()[0], directory, cards, Vec::new(), listener).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    post(&client, "/v1/host", json!({ "no_serve": true })).await.unwrap();
    (running, client, far)
}

/// Gives the networks addresses, as a supernode would, and has the daemon look.
fn give_addresses(running: &Running, cards: &FakeCards) {
    for (index, last) in [(1, 1), (2, 2)] {
        cards.add_address(index, Ipv4Addr::new(10, 99, 0, last), 24).unwrap();
    }
    running.daemon.lift.look_again();
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

async fn set(client: &Client, network: &str, way: &str) -> Value {
    let request = json!({ "network": network, "lan_games": way });
    post(client, "/v1/lan_games", request).await.unwrap()
}

#[tokio::test]
async fn other_cards_are_watched_while_a_network_lifts() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client, far) = in_two_networks(directory.path(), &cards).await;
    give_addresses(&running, &cards);
    let mut watch = told(&far).await.unwrap();
    if watch.cards().is_empty() {
        // Before there were addresses.
        watch = told(&far).await.unwrap();
    }
    assert_eq!(watch.cards(), [70]);
    assert!(
        watch
            .ports()
            .iter()
            .any(|range| (range.first..=range.last).contains(&6112))
    );
    let shown = get(&client, "/v1/status").await["lan_games"].clone();
    assert_eq!(shown["cards"], 1);
    assert_eq!(shown["networks"].as_array().unwrap().len(), 2, "{shown}");

    // On a bridge, and where that is said, nothing is lifted; and then nothing is watched.
    cards.lock().ports.insert(1);
    set(&client, "lan", "off").await;
    assert_eq!(told(&far).await.unwrap().cards(), [0u32; 0]);
    let shown = get(&client, "/v1/status").await["lan_games"].clone();
    assert_eq!(
        (shown["cards"].clone(), shown["networks"].clone()),
        (json!(0), json!([]))
    );

    // The listener ends, the daemon does not, and says so where something should be lifted.
    set(&client, "lan", "lift").await;
    assert_eq!(told(&far).await.unwrap().cards(), [70]);
    drop(far);
    for _ in 0..500 {
        let notes = get(&client, "/v1/status").await["notes"].to_string();
        if notes.contains("has ended; start farlan again") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = get(&client, "/v1/status").await;
    assert!(
        status["notes"].to_string().contains("real LAN are not copied"),
        "{status}"
    );
    running.stop().await;
}

#[tokio::test]
async fn groups_lead_to_friends_first_and_broadcasts_where_that_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client, _far) = in_two_networks(directory.path(), &cards).await;
    give_addresses(&running, &cards);
    let groups: Vec<Ipv4Addr> = vec![[224, 0, 2, 60].into(), [225, 1, 1, 1].into()];
    let lead = |index: u32, broadcast: bool| {
        let expected = BTreeMap::from([(index, (groups.clone(), broadcast))]);
        let cards = cards.clone();
        move || cards.lock().group_routes == expected
    };
    until("no routes to the friends' card", lead(2, false)).await;
    until("no memberships at both cards", || cards.lock().memberships.len() == 4).await;
    let reply = set(&client, "earth", "route").await;
    assert_eq!(reply["lan_games"], "route");
    until("no routes to the chosen card", lead(1, true)).await;
    assert_eq!(get(&client, "/v1/status").await["lan_games"]["groups"], "earth");
    set(&client, "earth", "off").await;
    until("no routes to the friends' card again", lead(2, false)).await;
    set(&client, "lan", "off").await;
    until("routes are left", || cards.lock().group_routes.is_empty()).await;
    assert!(cards.lock().memberships.is_empty());

    // It is remembered, and told.
    set(&client, "earth", "route").await;
    running.stop().await;
    let (running, client) = start(directory.path(), &cards).await;
    let networks = get(&client, "/v1/networks").await;
    assert_eq!(
        (networks[0]["lan_games"].clone(), networks[1]["lan_games"].clone()),
        (json!("route"), json!("off"))
    );
    let asked = post(&client, "/v1/lan_games", json!({ "network": "lan" }))
        .await
        .unwrap();
    assert_eq!(asked["lan_games"], "off");
    let failure = post(&client, "/v1/lan_games", json!({ "network": "x" }))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Negative);
    running.stop().await;
}
