//! What is asked for over the API, where there is nothing to be found.

use super::*;

#[tokio::test]
async fn games_are_asked_for_network_by_network() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    assert_eq!(get(&client, "/v1/games").await, json!({ "schema": 1, "networks": [] }));
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let reply = get(&client, "/v1/games").await;
    let network = &reply["networks"][0];
    assert_eq!(
        [
            &network["name"],
            &network["interface"],
            &network["searching_s"],
            &network["found"]
        ],
        [&json!("earth"), &json!("fl-earth"), &Value::Null, &json!([])]
    );
    // Its supernode never answers, so it has no address.
    assert!(network["notes"].to_string().contains("no IPv4 address"), "{network}");
    // Where one was set by hand it is searched; there is no such card here.
    cards.add_address(1, Ipv4Addr::new(10, 99, 0, 1), 24).unwrap();
    let notes = get(&client, "/v1/games").await["networks"][0]["notes"].to_string();
    assert!(notes.contains("cannot be searched"), "{notes}");
    running.stop().await;
}

#[tokio::test]
async fn games_of_one_network_are_asked_for_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    for name in ["earth", "london"] {
        post(&client, "/v1/join", json!({ "target": name })).await.unwrap();
    }
    let all = get(&client, "/v1/games").await;
    assert_eq!(all["networks"].as_array().unwrap().len(), 2);
    for name in [
        "london",
        "fl-london",
        all["networks"][1]["network_id"].as_str().unwrap(),
    ] {
        let reply = post(&client, "/v1/games", json!({ "network": name })).await.unwrap();
        assert_eq!(reply["networks"], json!([all["networks"][1]]));
    }
    let failure = post(&client, "/v1/games", json!({ "network": "paris" }))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Negative);
    assert!(failure.message.contains("no network called \"paris\""), "{failure}");
    running.stop().await;
}
