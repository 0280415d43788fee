//! What strangers may reach.

use super::*;

async fn shown(client: &Client) -> Value {
    get(client, "/v1/opened").await
}

#[tokio::test]
async fn ports_are_opened_remembered_and_closed() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let before = shown(&client).await;
    assert_eq!(before[0]["name"], "earth");
    assert_eq!(before[0]["opened"], json!([]));
    assert!(before[0]["games"].to_string().contains("25565/tcp"), "{before}");
    let notes = get(&client, "/v1/networks").await[0]["notes"].to_string();
    assert!(
        notes.contains("filter") && notes.contains("nothing is opened by hand"),
        "{notes}"
    );
    for (ports, opened) in [
        ("80/tcp", json!(["80/tcp"])),
        ("8000-8010/udp", json!(["80/tcp", "8000-8010/udp"])),
        ("80/tcp", json!(["80/tcp", "8000-8010/udp"])),
        (
            "directplay",
            json!(["80/tcp", "2300-2400/tcp", "47624/tcp", "2300-2400/udp", "8000-8010/udp"]),
        ),
    ] {
        let reply = post(&client, "/v1/open", json!({ "ports": ports })).await.unwrap();
        assert_eq!(reply["opened"], opened);
    }
    running.stop().await;

    let (running, client) = start(directory.path(), &cards).await;
    let network = &get(&client, "/v1/networks").await[0];
    assert!(network["notes"].to_string().contains("47624/tcp"), "{network}");
    assert_eq!(network["opened"][0], "80/tcp");
    post(&client, "/v1/close", json!({ "ports": "directplay" }))
        .await
        .unwrap();
    let reply = post(&client, "/v1/close", json!({ "ports": "8005", "network": "fl-earth" })).await;
    assert_eq!(
        reply.unwrap()["opened"],
        json!(["80/tcp", "8000-8004/udp", "8006-8010/udp"])
    );
    for (ports, words) in [
        ("22/tcp", "22/tcp is not opened in earth"),
        ("minecraft", "strangers.games"),
    ] {
        let failure = post(&client, "/v1/close", json!({ "ports": ports })).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Negative);
        assert!(failure.message.contains(words), "{failure}");
    }
    let failure = post(&client, "/v1/open", json!({ "ports": "http" })).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    running.stop().await;
}

#[tokio::test]
async fn networks_of_friends_need_no_opening() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    let open = async |network: Option<&str>| {
        let request = json!({ "ports": "80/tcp", "network": network });
        post(&client, "/v1/open", request).await
    };
    post(&client, "/v1/host", json!({})).await.unwrap();
    for network in [None, Some("lan")] {
        let failure = open(network).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Negative);
        assert!(failure.message.contains("nothing needs opening"), "{failure}");
    }
    assert_eq!(shown(&client).await, json!([]));
    for name in ["earth", "london"] {
        post(&client, "/v1/join", json!({ "target": name })).await.unwrap();
    }
    let failure = open(None).await.unwrap_err();
    assert!(failure.message.contains("--network: earth, london"), "{failure}");
    let failure = open(Some("paris")).await.unwrap_err();
    assert!(failure.message.contains("no network called \"paris\""), "{failure}");
    assert_eq!(open(Some("london")).await.unwrap()["name"], "london");
    let opened = shown(&client).await;
    assert_eq!(
        [&opened[0]["opened"], &opened[1]["opened"]],
        [&json!([]), &json!(["80/tcp"])]
    );
    running.stop().await;
}

#[tokio::test]
async fn the_configuration_says_which_games_are_let_in() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    post(&client, "/v1/open", json!({ "ports": "80/tcp" })).await.unwrap();
    for (games, ports) in [
        (Games::Usual(false), json!([])),
        (
            Games::Named(vec![toml::Spanned::new(0..0, "minecraft".into())]),
            json!(["25565/tcp", "4445/udp"]),
        ),
    ] {
        running
            .daemon
            .take_games(&games, &Arc::new(List::shipped()))
            .await
            .unwrap();
        let opened = shown(&client).await;
        assert_eq!(
            [&opened[0]["games"], &opened[0]["opened"]],
            [&ports, &json!(["80/tcp"])]
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_listed_game_is_open_while_it_runs() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let open_now = async |udp: &str| {
        let mut programs = LocalPrograms::default();
        programs.parse(Table::Udp, udp);
        cards.lock().programs = programs;
        running.daemon.look_at_programs().await.unwrap();
        let book = running.daemon.book.lock().await;
        let joined = book.networks.joined().next().unwrap();
        joined.listening.games.to_string()
    };
    assert_eq!(open_now("").await, "");
    let everywhere = "1: 00000000:6D38 00000000:0000 07\n2: 00000000:14E9 00000000:0000 07\n";
    assert_eq!(
        open_now(everywhere).await,
        "27960/udp",
        "and nothing that is not listed"
    );
    let shown_now = shown(&client).await;
    assert_eq!(shown_now[0]["games_open"], json!(["27960/udp"]), "{shown_now}");
    let notes = get(&client, "/v1/networks").await[0]["notes"].to_string();
    assert!(
        notes.contains("open for listed games that run here: 27960/udp"),
        "{notes}"
    );
    let elsewhere = "1: 0101A8C0:6D38 00000000:0000 07\n2: 0100007F:6D38 00000000:0000 07\n";
    assert_eq!(open_now(elsewhere).await, "", "no stranger gets there");
    assert_eq!(open_now(everywhere).await, "27960/udp");
    running
        .daemon
        .take_games(&Games::Usual(false), &Arc::new(List::shipped()))
        .await
        .unwrap();
    assert_eq!(
        shown(&client).await[0]["games_open"],
        json!([]),
        "they are not let in any more"
    );
    running.stop().await;
}

#[tokio::test]
async fn metrics_are_text() {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };
    let directory = tempfile::tempdir().unwrap();
    let (running, _) = start(directory.path(), &FakeCards::default()).await;
    let socket = directory.path().join("farlan.sock");
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nhost: farlan\r\nconnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answer = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("# TYPE farlan_filtered_dhcp_total counter"), "{answer}");
    running.stop().await;
}
