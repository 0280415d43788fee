//! Who hears this machine's broadcasts; whom the user mutes and pins.

use super::*;

fn node(number: u16) -> String {
    let mut bytes = [7; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    farlan_crypto::NodeId::from_bytes(bytes).to_string()
}

async fn mark(client: &Client, verb: &str, node: &str, network: Option<&str>) -> Result<Value, Failure> {
    let request = json!({ "node": node, "network": network });
    post(client, &format!("/v1/{verb}"), request).await
}

/// The ids of those who are muted in the first network.
async fn muted(client: &Client) -> Vec<String> {
    let reply = get(client, "/v1/circle").await;
    let muted = reply["networks"][0]["muted"].as_array().unwrap().iter();
    muted
        .map(|member| member["node_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn whoever_is_muted_or_pinned_stays_so_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    assert_eq!(get(&client, "/v1/circle").await, json!({ "schema": 1, "networks": [] }));
    let failure = mark(&client, "mute", &node(1), None).await.unwrap_err();
    assert!(failure.message.contains("in no network"), "{failure}");
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let reply = mark(&client, "mute", &node(1), None).await.unwrap();
    assert_eq!(
        [&reply["name"], &reply["node_id"], &reply["muted"], &reply["pinned"]],
        [&json!("earth"), &json!(node(1)), &json!(true), &json!(false)]
    );
    // Twice is once, and both at a time are possible.
    mark(&client, "mute", &node(1), Some("fl-earth")).await.unwrap();
    let reply = mark(&client, "pin", &node(1)[..10], None).await.unwrap();
    assert!(
        reply["notes"][0].as_str().unwrap().contains("muted and pinned"),
        "{reply}"
    );
    mark(&client, "mute", &node(2), None).await.unwrap();
    assert_eq!(muted(&client).await, [node(1), node(2)]);
    running.stop().await;

    let (running, client) = start(directory.path(), &cards).await;
    assert_eq!(muted(&client).await, [node(1), node(2)]);
    let of_first = get(&client, "/v1/circle").await["networks"][0]["muted"][0].clone();
    assert_eq!([&of_first["muted"], &of_first["pinned"]], [&json!(true), &json!(true)]);
    mark(&client, "unmute", &node(1), None).await.unwrap();
    assert_eq!(muted(&client).await, [node(2)]);
    for verb in ["unmute", "unpin"] {
        let whom = if verb == "unmute" { node(1) } else { node(2) };
        let failure = mark(&client, verb, &whom, None).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Negative);
        assert!(
            failure.message.contains("is not ") && failure.message.contains(" in earth"),
            "{failure}"
        );
    }
    let reply = mark(&client, "unpin", &node(1), None).await.unwrap();
    assert_eq!(reply["pinned"], false);
    running.stop().await;
}

#[tokio::test]
async fn whom_nobody_knows_and_oneself_are_refused_and_several_networks_are_asked_about() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    for name in ["earth", "london"] {
        post(&client, "/v1/join", json!({ "target": name })).await.unwrap();
    }
    let own = identities()[0].node_id().to_string();
    for (whom, network, words) in [
        (own.as_str(), None, "this node itself"),
        (&node(1)[..12], None, "no member is known"),
        (&node(1), None, "earth, london"),
        (&node(1), Some("paris"), "no network called \"paris\""),
        ("10.64.0.1", None, "no member is known that has"),
    ] {
        let failure = mark(&client, "mute", whom, network).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Negative, "{failure}");
        assert!(failure.message.contains(words), "{whom}: {failure}");
    }
    let failure = mark(&client, "pin", "no", Some("earth")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage, "{failure}");
    // Where it is muted already it is meant.
    mark(&client, "mute", &node(1), Some("london")).await.unwrap();
    let reply = mark(&client, "unmute", &node(1)[..10], None).await.unwrap();
    assert_eq!(reply["name"], "london");
    running.stop().await;
}

#[tokio::test]
async fn no_more_than_256_are_muted_in_a_network() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    running.stop().await;
    let path = directory.path().join("state/networks.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let ids: Vec<_> = (0..256).map(node).collect();
    std::fs::write(&path, format!("{text}\nmuted = {ids:?}\n")).unwrap();

    let (running, client) = start(directory.path(), &cards).await;
    assert_eq!(muted(&client).await.len(), 256);
    mark(&client, "mute", &node(255), None).await.unwrap();
    let failure = mark(&client, "mute", &node(256), None).await.unwrap_err();
    assert!(failure.message.contains("farlan circle unmute"), "{failure}");
    mark(&client, "pin", &node(256), None).await.unwrap();
    mark(&client, "unmute", &node(3), None).await.unwrap();
    mark(&client, "mute", &node(256), None).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn the_circle_of_a_channel_is_asked_for_by_game_or_port() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let ask = async |request: Value| post(&client, "/v1/circle", request).await;
    for request in [
        json!({}),
        json!({ "network": "earth", "port": 27015 }),
        json!({ "game": "minecraft" }),
    ] {
        let reply = ask(request).await.unwrap();
        let network = &reply["networks"][0];
        // The supernode never answers, so nobody says how many there are.
        assert_eq!(
            [
                &network["spreads"],
                &network["members"],
                &network["full_max"],
                &network["copies"]
            ],
            [&json!(false), &json!(0), &json!(128), &json!([])]
        );
    }
    for (request, kind, words) in [
        (json!({ "game": "chess" }), FailureKind::Usage, "no listed game"),
        (json!({ "port": 0 }), FailureKind::Usage, "1 to 65535"),
        (json!({ "game": "minecraft", "port": 1 }), FailureKind::Usage, "either"),
        (json!({ "network": "paris" }), FailureKind::Negative, "paris"),
        (json!({ "net": "earth" }), FailureKind::Usage, "net"),
    ] {
        let failure = ask(request).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(words), "{failure}");
    }
    running.stop().await;
}
