//! Names of members, as the daemon shows them and tells others.

use super::*;

/// Waits until `is_so`, and returns whether it came so within 10 s.
async fn comes(is_so: impl Fn() -> bool) -> bool {
    for _ in 0..200 {
        if is_so() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Makes a network in which this machine is called so.
async fn host(client: &Client, label: &str, name: &str) -> Value {
    add_world(client).await;
    let asked = json!({"name": label, "my_name": name, "no_serve": true});
    post(client, "/v1/host", asked).await.unwrap()
}

async fn resolve(client: &Client, name: &Value) -> Result<Value, Failure> {
    post(client, "/v1/resolve", json!({ "name": name })).await
}

#[tokio::test]
async fn this_machine_has_a_name_in_its_networks_which_goes_with_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    let hosted = host(&client, "Ann's LAN", "ann").await;
    let found = resolve(&client, &json!("Ann")).await.unwrap();
    assert_eq!(found["name"], "ann.ann-s-lan.farlan.internal");
    assert_eq!(found["own"], true);
    assert_eq!(found["ipv6"], hosted["network"]["ipv6"]);
    let back = resolve(&client, &found["ipv6"]).await.unwrap();
    assert_eq!(back["name"], found["name"]);
    let failure = resolve(&client, &json!("ben")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Negative);
    // It is no peer.
    let failure = post(&client, "/v1/ping", json!({"peer": "ann"})).await.unwrap_err();
    assert!(failure.message.contains("this node itself"), "{failure}");

    let in_file = || {
        cards
            .lock()
            .hosts
            .iter()
            .map(|host| host.name.clone())
            .collect::<Vec<_>>()
    };
    assert!(
        comes(|| in_file() == ["ann.ann-s-lan.farlan.internal"]).await,
        "{:?}",
        in_file()
    );
    let status: Value = client.get("/v1/status").await.unwrap();
    assert_eq!(status["names"]["way"], "hosts");
    running.stop().await;
    assert_eq!(in_file(), Vec::<String>::new());
    // It is written down.
    let text = std::fs::read_to_string(directory.path().join("state/names.toml")).unwrap();
    assert!(text.contains("ann-s-lan"), "{text}");
}

#[tokio::test]
async fn where_there_is_a_resolver_the_hosts_file_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    cards.lock().directed = Some(BTreeMap::new());
    let (running, client) = start(directory.path(), &cards).await;
    host(&client, "lan", "ann").await;
    let directed = || cards.lock().directed.clone().unwrap();
    assert!(comes(|| !directed().is_empty()).await);
    let port = directed().values().next().copied().unwrap();
    let mut status: Value = client.get("/v1/status").await.unwrap();
    for _ in 0..100 {
        if status["names"]["way"] == "resolved" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = client.get("/v1/status").await.unwrap();
    }
    assert_eq!(status["names"]["way"], "resolved");
    assert_eq!(status["names"]["port"], port);
    assert!(cards.lock().hosts.is_empty());
    running.stop().await;
    assert!(directed().is_empty());
}

#[tokio::test]
async fn a_bad_name_is_a_mistake_and_an_own_one_is_remembered() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    for name in ["Ann!", "-", ""] {
        let failure = post(&client, "/v1/host", json!({ "my_name": name })).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{failure}");
    }
    host(&client, "lan", "ann").await;
    let asked = json!({"member": "ann", "name": "anna"});
    post(&client, "/v1/rename", asked).await.unwrap();
    running.stop().await;
    let (running, client) = start(directory.path(), &cards).await;
    let found = resolve(&client, &json!("anna.lan")).await.unwrap();
    assert_eq!(found["own"], true);
    running.stop().await;
}
