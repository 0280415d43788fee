//! What is asked for over the API, where there is nothing to be found.

use super::*;

#[tokio::test]
async fn games_are_asked_for_network_by_network() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
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
    running.stop().await;
}
