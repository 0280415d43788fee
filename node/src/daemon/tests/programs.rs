//! When it is looked what local programs listen to.

use super::*;

/// Looks, and tells whether it matters and whether anything was read for it.
async fn looks(running: &Running, cards: &FakeCards) -> (bool, bool) {
    let before = cards.lock().reads;
    let matters = running.daemon.look_at_programs().await.unwrap();
    (matters, cards.lock().reads > before)
}

/// Tells the daemon that its network has so many members.
async fn grow(running: &Running, members: u32) {
    let mut snapshot = running.daemon.data_plane.snapshot().await.unwrap();
    snapshot.networks[0].members = members;
    running.daemon.note_sizes(&snapshot).await;
}

#[tokio::test]
async fn a_network_of_few_friends_wakes_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    assert_eq!(looks(&running, &cards).await, (false, false), "there is no network");
    post(&client, "/v1/host", json!({ "no_serve": true })).await.unwrap();
    assert_eq!(looks(&running, &cards).await, (false, false));
    grow(&running, 128).await;
    assert_eq!(looks(&running, &cards).await, (false, false), "all get copies");
    grow(&running, 129).await;
    assert_eq!(looks(&running, &cards).await, (true, true), "some get none");
    grow(&running, 128).await;
    assert_eq!(looks(&running, &cards).await, (false, false), "some have left");
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    assert_eq!(looks(&running, &cards).await, (true, true), "there are strangers");
    post(&client, "/v1/leave", json!({ "network": "earth" })).await.unwrap();
    assert_eq!(looks(&running, &cards).await, (false, false), "they are gone");
    running.stop().await;
}

#[tokio::test]
async fn it_is_looked_at_once_when_a_network_has_grown() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/host", json!({ "no_serve": true })).await.unwrap();
    assert_eq!(cards.lock().reads, 0);
    grow(&running, 129).await;
    for _ in 0..500 {
        if cards.lock().reads > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cards.lock().reads > 0, "nobody looked");
    running.stop().await;
}

#[tokio::test]
async fn others_have_the_book_while_the_tables_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    cards.lock().daemon = Arc::downgrade(&running.daemon);
    // Another task may have it by chance.
    for _ in 0..100 {
        assert_eq!(looks(&running, &cards).await, (true, true));
        if cards.lock().reads_without_book > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cards.lock().reads_without_book > 0);
    running.stop().await;
}

#[tokio::test]
async fn a_game_at_an_address_set_by_hand_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let words = u32::from_ne_bytes([10, 64, 0, 9]);
    let udp = format!("1: {words:08X}:6D38 00000000:0000 07\n");
    cards.lock().programs.parse(Table::Udp, &udp);
    let open_now = async || {
        running.daemon.look_at_programs().await.unwrap();
        get(&client, "/v1/opened").await[0]["games_open"].clone()
    };
    assert_eq!(open_now().await, json!([]));
    cards.add_address(1, Ipv4Addr::new(10, 64, 0, 9), 10).unwrap();
    assert_eq!(open_now().await, json!(["27960/udp"]));
    running.stop().await;
}
