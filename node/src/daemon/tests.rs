//! The daemon behind its API, with a real data plane and without network cards.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use farlan_crypto::{Identity, Seed, Work, random::SystemRandom};
use farlan_engine::{Config, Event, Limits, NetworkHandle, Role};
use farlan_netconf::{Endpoint, Link, PrivateLink, Subnet, Supernode, World};
use farlan_tap::{Address, LanListener, Route, UnderlayCard};
use serde_json::{Value, json};

mod circle;
mod fake_cards;
mod games;
mod hand_set;
mod lan;
mod names;
mod opened;
mod private;
mod programs;

use self::fake_cards::FakeCards;
use super::{Book, Cards, Configuration, Daemon, NameSettings, Running, Settings, Tuning, bind};
use crate::{
    api::Sockets,
    cli::client::Client,
    config::Offloads,
    failure::{Failure, FailureKind},
    games::{Games, LanGames, List},
    local_programs::{LocalPrograms, Table},
    logs::LogFilter,
    notify::Notifier,
    privileges::Holdings,
    shell::{DataPlane, Request, Snapshot},
    signals::Signals,
    state::StateDir,
};

/// Keys that carry the required work take a while to make, so all tests share three: a node's, a supernode's, and
/// another node's.
fn identities() -> &'static [Identity; 3] {
    static IDENTITIES: OnceLock<[Identity; 3]> = OnceLock::new();
    IDENTITIES.get_or_init(|| {
        let mut random = SystemRandom::from_os().unwrap();
        [(); 3].map(|()| Identity::generate(&mut random, Work::REQUIRED))
    })
}

/// A world whose one supernode never answers: it is at the port of the discard service.
fn silent_world() -> World {
    world_at(9)
}

/// A world with one supernode on this machine.
fn world_at(port: u16) -> World {
    let endpoints = vec![Endpoint::new("127.0.0.1", port).unwrap()];
    let supernode = Supernode {
        key: identities()[1].public(),
        endpoints,
    };
    World::sign(&identities()[1], 1, vec![supernode]).unwrap()
}

fn copy(identity: &Identity) -> Identity {
    Identity::from_seed(Seed::from_bytes(*identity.seed().as_bytes()), Work::REQUIRED).unwrap()
}

/// A daemon in `directory`, and a client of it.
/// The network that a daemon is in.
async fn first_network(running: &Running) -> NetworkHandle {
    let book = running.daemon.book.lock().await;
    book.networks.joined().next().unwrap().handle()
}

async fn start(directory: &Path, cards: &FakeCards) -> (Running, Client) {
    start_as(&identities()[0], directory, cards).await
}

async fn start_as(identity: &Identity, directory: &Path, cards: &FakeCards) -> (Running, Client) {
    start_with(identity, directory, cards, Vec::new()).await
}

async fn start_with(
    identity: &Identity,
    directory: &Path,
    cards: &FakeCards,
    supernodes: Vec<World>,
) -> (Running, Client) {
    start_listening(identity, directory, cards, supernodes, Err("this is a test".to_owned())).await
}

async fn start_listening(
    identity: &Identity,
    directory: &Path,
    cards: &FakeCards,
    supernodes: Vec<World>,
    listener: Result<LanListener, String>,
) -> (Running, Client) {
    let settings = Settings {
        state_dir: directory.join("state"),
        socket: directory.join("farlan.sock"),
        api_tcp: None,
        port: 0,
        user: None,
        supernodes,
        port_mapping: false,
        hide_address: false,
        beacon: false,
        games: Games::default(),
        list: Arc::new(List::shipped()),
        lan_games: LanGames::Lift,
        offloads: Offloads::default(),
        names: NameSettings::default(),
        controller: None,
        tuning: Tuning::default(),
    };
    let state = StateDir::open(&settings.state_dir).unwrap();
    let identity = copy(identity);
    let key = identity.public();
    let config = Config {
        identity,
        work: Work::REQUIRED,
        role: Role::Node,
        limits: Limits::default(),
    };
    let (data_plane, events) = DataPlane::start(config, bind(0).unwrap()).unwrap();
    let book = Book::load(&state, Work::REQUIRED).unwrap();
    let daemon = Daemon::new(
        key,
        0,
        state,
        book,
        data_plane,
        Box::new(cards.clone()),
        Offloads::default(),
    );
    let client = Client::new(&settings.socket);
    let sockets = Sockets::open(&settings.socket, settings.api_tcp).unwrap();
    (
        Running::take_up(Arc::new(daemon), events, sockets, settings, listener)
            .await
            .unwrap(),
        client,
    )
}

async fn get(client: &Client, path: &str) -> Value {
    client.get(path).await.unwrap()
}

async fn post(client: &Client, path: &str, body: Value) -> Result<Value, Failure> {
    client.post(path, &body, Duration::ZERO).await
}

async fn add_world(client: &Client) -> Value {
    add(client, silent_world()).await
}

async fn add(client: &Client, world: World) -> Value {
    let link = Link::Supernode(world).to_string();
    post(client, "/v1/supernodes/add", json!({ "link": link }))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_fresh_daemon_answers_and_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    let status = get(&client, "/v1/status").await;
    assert_eq!(status["schema"], 1);
    assert_eq!(status["node_id"], identities()[0].node_id().to_string());
    assert_eq!(status["supernodes"], json!([]));
    assert_eq!(get(&client, "/v1/networks").await, json!([]));
    assert_eq!(get(&client, "/v1/peers").await, json!([]));
    for (path, body) in [
        ("/v1/join", json!({ "target": "earth" })),
        ("/v1/host", json!({ "no_serve": true })),
    ] {
        let failure = post(&client, path, body).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Negative);
        assert!(failure.message.contains("farlan supernode add LINK"), "{failure}");
    }
    for target in ["", "no/name", "farlan:nonsense", "earth@nowhere"] {
        let failure = post(&client, "/v1/join", json!({ "target": target }))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{target:?}: {failure}");
    }
    let failure = post(&client, "/v1/join", json!({ "goal": "earth" })).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    running.stop().await;
    let failure = client.get::<Value>("/v1/status").await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::DaemonDown);
}

#[tokio::test]
async fn networks_are_joined_listed_left_and_joined_again() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    let world = add_world(&client).await;
    let status = get(&client, "/v1/status").await;
    let supernode = &status["supernodes"][0];
    assert_eq!(supernode["address"], "127.0.0.1:9");
    assert_eq!(supernode["registered"], false);

    let earth = post(&client, "/v1/join", json!({ "target": "Earth" })).await.unwrap();
    assert_eq!(earth["already"], false);
    assert_eq!(earth["network"]["name"], "earth");
    assert_eq!(earth["network"]["interface"], "fl-earth");
    assert_eq!(earth["network"]["policy"], "strangers");
    assert!(
        earth["network"]["notes"][0].as_str().unwrap().contains("filter lets"),
        "{earth}"
    );
    let card = cards.lock().made[0].clone();
    assert!(
        !card.accept_router_advertisements,
        "strangers must not set this machine's routes"
    );
    let addresses: Vec<_> = card
        .addresses
        .iter()
        .map(|(ip, prefix)| format!("{ip}/{prefix}"))
        .collect();
    assert_eq!(
        addresses[0],
        format!("{}/48", earth["network"]["ipv6"].as_str().unwrap())
    );
    assert!(
        addresses[1].starts_with("fe80::") && addresses[1].ends_with("/64"),
        "{addresses:?}"
    );

    let again = post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    assert_eq!(again["already"], true);
    let world_id = world["world"].as_str().unwrap();
    let london = post(&client, "/v1/join", json!({ "target": format!("london@{world_id}") }))
        .await
        .unwrap();
    let notes = london["network"]["notes"].to_string();
    assert!(
        notes.contains("IPv6 only") && notes.contains("earth"),
        "a second name network has no IPv4: {notes}"
    );

    let refused = post(&client, "/v1/supernodes/remove", json!({ "id": world_id }))
        .await
        .unwrap_err();
    assert!(refused.message.contains("farlan leave"), "{refused}");
    post(&client, "/v1/leave", json!({ "network": "fl-london" }))
        .await
        .unwrap();
    let nobody = post(&client, "/v1/leave", json!({ "network": "london" }))
        .await
        .unwrap_err();
    assert_eq!(nobody.kind, FailureKind::Negative);
    running.stop().await;

    let (running, client) = start(directory.path(), &cards).await;
    let networks = get(&client, "/v1/networks").await;
    assert_eq!(networks.as_array().unwrap().len(), 1);
    for key in ["name", "network_id", "interface", "ipv6", "mac"] {
        assert_eq!(networks[0][key], earth["network"][key], "{key} stays over a restart");
    }
    let id = networks[0]["network_id"].as_str().unwrap()[..10].to_owned();
    post(&client, "/v1/leave", json!({ "network": id })).await.unwrap();
    post(&client, "/v1/supernodes/remove", json!({ "id": world_id[..10] }))
        .await
        .unwrap();
    assert_eq!(get(&client, "/v1/supernodes").await, json!([]));
    running.stop().await;
}

#[tokio::test]
async fn a_hosted_network_is_in_its_link() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    let first = post(&client, "/v1/host", json!({})).await.unwrap();
    let second = post(&client, "/v1/host", json!({ "mtu": 1400, "subnet": "192.168.77.0/24" }))
        .await
        .unwrap();
    let parse = |reply: &Value| match Link::parse(reply["link"].as_str().unwrap(), Work::REQUIRED) {
        Ok(Link::Private(link)) => *link,
        other => panic!("no private network's link: {other:?}"),
    };
    let links: [PrivateLink; 2] = [parse(&first), parse(&second)];
    assert_eq!(links.each_ref().map(|link| link.label.as_str()), ["lan", "lan2"]);
    assert_eq!(links[0].world, silent_world());
    assert_eq!(links[0].peers, [identities()[0].public()]);
    assert!(Subnet::LINK_RANGE.contains(links[0].parameters().subnet.address()));
    assert_eq!(links[1].parameters().subnet.to_string(), "192.168.77.0/24");
    assert_eq!(links[1].parameters().mtu.bytes(), 1400);
    assert_eq!(first["network"]["network_id"], links[0].parameters().id().to_string());
    assert_eq!(first["network"]["policy"], "friends");
    assert_eq!(first["network"]["private"]["controller"], true);
    let invites = post(&client, "/v1/invites", json!({ "network": "lan" })).await.unwrap();
    assert_eq!(invites["invites"], json!([first["invite"]]));
    assert_eq!(first["network"]["notes"], json!([]));
    let clash = post(&client, "/v1/host", json!({ "subnet": "192.168.0.0/16" }))
        .await
        .unwrap_err();
    assert!(clash.message.contains("lan2"), "{clash}");
    for bad in [
        json!({ "mtu": 100 }),
        json!({ "subnet": "10.0.0.1/8" }),
        json!({ "name": "x\u{7}" }),
    ] {
        assert_eq!(
            post(&client, "/v1/host", bad).await.unwrap_err().kind,
            FailureKind::Usage
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn addresses_come_to_the_card_and_go_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let handle = first_network(&running).await;
    let address = Ipv4Addr::new(10, 64, 1, 2);
    running
        .daemon
        .act_on(Event::Ipv4Assigned {
            network: handle,
            address,
        })
        .await;
    assert_eq!(cards.lock().addresses[&1], [(address, 10)]);
    assert_eq!(get(&client, "/v1/networks").await[0]["ipv4"], "10.64.1.2");
    let other = Ipv4Addr::new(10, 64, 1, 3);
    running
        .daemon
        .act_on(Event::Ipv4Assigned {
            network: handle,
            address: other,
        })
        .await;
    assert_eq!(cards.lock().addresses[&1], [(other, 10)]);
    running
        .daemon
        .act_on(Event::Ipv4Withdrawn {
            network: handle,
            address: Some(other),
        })
        .await;
    assert!(cards.lock().addresses[&1].is_empty());
    assert_eq!(get(&client, "/v1/networks").await[0]["ipv4"], Value::Null);
    let kept = std::fs::read_to_string(directory.path().join("state/networks.toml")).unwrap();
    assert!(
        kept.contains("ipv4 = \"10.64.1.3\""),
        "the last address is tried first next time: {kept}"
    );
    running.stop().await;
}

/// What the daemon does every few seconds, but for the engine's view of IPv4.
async fn look_at_cards(running: &Running) {
    let snapshot = running.daemon.data_plane.snapshot().await.unwrap();
    running.daemon.restore_cards(&snapshot.networks).await;
}

#[tokio::test]
async fn upkeep_comes_to_its_end_and_the_daemon_answers_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, running.daemon.upkeep()).await.unwrap();
    let networks = tokio::time::timeout(limit, get(&client, "/v1/networks")).await.unwrap();
    assert_eq!(networks.as_array().map(Vec::len), Some(1));
    running.stop().await;
}

#[tokio::test]
async fn what_others_do_to_a_card_is_mended() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    let earth = post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let handle = first_network(&running).await;
    let address = Ipv4Addr::new(10, 64, 1, 2);
    running.daemon.ipv4_assigned(handle, address).await;
    let ipv6 = cards.lock().made[0].addresses.clone();

    // Down and up: the kernel forgets the IPv6 addresses. And somebody takes the IPv4 one.
    cards.lock().ipv6.clear();
    cards.lock().addresses.clear();
    look_at_cards(&running).await;
    assert_eq!(cards.lock().ipv6[&1], ipv6);
    assert_eq!(cards.lock().addresses[&1], [(address, 10)]);

    cards.lock().present.insert(1, "lan0".into());
    look_at_cards(&running).await;
    assert_eq!(get(&client, "/v1/networks").await[0]["interface"], "lan0");
    let kept = std::fs::read_to_string(directory.path().join("state/networks.toml")).unwrap();
    assert!(kept.contains("interface = \"lan0\""), "{kept}");
    assert_eq!(cards.lock().made.len(), 1);

    // Deleted, and found at the next look.
    cards.lock().present.clear();
    look_at_cards(&running).await;
    assert_eq!(cards.lock().present[&2], "lan0");
    assert_eq!(cards.lock().addresses[&2], [(address, 10)]);
    let macs: Vec<_> = cards.lock().made.iter().map(|card| card.mac).collect();
    assert_eq!(macs[0], macs[1]);

    // Deleted, and found by somebody who joins again.
    cards.lock().present.clear();
    cards.lock().forbidden = true;
    look_at_cards(&running).await;
    let notes = get(&client, "/v1/networks").await[0]["notes"].to_string();
    assert!(notes.contains("lan0 is gone and cannot be made anew"), "{notes}");
    let refused = post(&client, "/v1/join", json!({ "target": "earth" }))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, FailureKind::Permission);
    cards.lock().forbidden = false;
    let again = post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    assert_eq!(again["already"], true);
    assert_eq!(
        again["network"]["notes"], earth["network"]["notes"],
        "the trouble is over"
    );
    assert_eq!(cards.lock().present[&3], "lan0");

    // The new card is the one that frames go through.
    let far = cards.lock().far_ends[2].try_clone().unwrap();
    far.send(&vec![0x5a; 9000]).unwrap();
    let counted = async {
        while get(&client, "/v1/status").await["counters"]["card_overlong"] != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted)
        .await
        .expect("a frame that is too long is counted");
    let counters = get(&client, "/v1/status").await["counters"].clone();
    let indices = cards.lock().present.keys().copied().map(u64::from).sum::<u64>();
    assert_eq!(
        counters["card_dropped"], indices,
        "each card dropped as many as its index: {counters}"
    );
    assert_eq!(counters["underlay_overrun"], 0);
    running.stop().await;
}

#[tokio::test]
async fn ipv4_is_claimed_once_the_rival_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    for name in ["earth", "london", "paris"] {
        post(&client, "/v1/join", json!({ "target": name })).await.unwrap();
    }
    post(&client, "/v1/leave", json!({ "network": "earth" })).await.unwrap();
    let networks = get(&client, "/v1/networks").await;
    let notes = |name: &str| {
        let networks = networks.as_array().unwrap();
        let network = networks.iter().find(|network| network["name"] == name).unwrap();
        network["notes"].to_string()
    };
    assert!(!notes("london").contains("IPv6 only"), "{networks}");
    assert!(
        notes("paris").contains("used by the network london"),
        "the note names who has it now: {networks}"
    );
    let london = networks
        .as_array()
        .unwrap()
        .iter()
        .find(|network| network["name"] == "london");
    assert_eq!(london.unwrap()["interface"], "fl-london");
    running.stop().await;
}

#[tokio::test]
async fn a_link_is_worth_a_newer_world_and_a_good_card_name() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    let hosted = post(&client, "/v1/host", json!({})).await.unwrap();
    let Ok(Link::Private(mut link)) = Link::parse(hosted["link"].as_str().unwrap(), Work::REQUIRED) else {
        panic!("no private network's link: {hosted}");
    };
    link.world = World::sign(&identities()[1], 2, silent_world().supernodes().to_vec()).unwrap();
    let target = Link::Private(link.clone()).to_string();
    let again = post(&client, "/v1/join", json!({ "target": target })).await.unwrap();
    assert_eq!(again["already"], true);
    assert_eq!(get(&client, "/v1/supernodes").await[0]["version"], 2);

    post(&client, "/v1/leave", json!({ "network": "lan" })).await.unwrap();
    link.label = farlan_netconf::Label::default();
    let target = Link::Private(link.clone()).to_string();
    let unlabelled = post(&client, "/v1/join", json!({ "target": target })).await.unwrap();
    let id = link.parameters().id().to_string();
    assert_eq!(unlabelled["network"]["interface"], format!("fl-{}", &id[..12]));
    // Its key has stayed here.
    assert_eq!(unlabelled["network"]["private"]["controller"], true);
    assert_eq!(unlabelled["network"]["private"]["state"], "certified");
    running.stop().await;
}

#[tokio::test]
async fn the_settings_supernode_is_that_of_bare_names() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    running.stop().await;
    let supernode = Supernode {
        key: identities()[2].public(),
        endpoints: vec![Endpoint::new("127.0.0.1", 9).unwrap()],
    };
    let other = World::sign(&identities()[2], 1, vec![supernode]).unwrap();
    let id = other.id().to_string();
    let cards = FakeCards::default();
    let (running, client) = start_with(&identities()[0], directory.path(), &cards, vec![other]).await;
    let earth = post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    assert_eq!(earth["network"]["world"], id);
    assert_eq!(get(&client, "/v1/supernodes").await[0]["world"], id);
    running.stop().await;
}

#[tokio::test]
async fn obstacles_of_the_machine_are_said() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    cards.lock().forbidden = true;
    let refused = post(&client, "/v1/join", json!({ "target": "earth" }))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, FailureKind::Permission);
    assert_eq!(get(&client, "/v1/networks").await, json!([]));

    {
        let mut fake = cards.lock();
        fake.forbidden = false;
        fake.taken = vec!["fl-earth".into()];
        fake.routes = vec![Route {
            destination: Ipv4Addr::new(10, 70, 0, 0),
            prefix: 16,
            interface: "eth0".into(),
        }];
    }
    let earth = post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    assert_eq!(earth["network"]["interface"], "fl-earth2");
    let notes = earth["network"]["notes"].to_string();
    assert!(notes.contains("10.70.0.0/16 (eth0)"), "{notes}");
    assert_eq!(earth["network"]["ipv4_pending"], false);
    let status = get(&client, "/v1/status").await;
    assert!(status["notes"].to_string().contains("earth: IPv6 only"), "{status}");
    running.stop().await;
}

#[tokio::test]
async fn pings_of_nobody_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    post(&client, "/v1/join", json!({ "target": "earth" })).await.unwrap();
    let own = identities()[0].node_id().to_string();
    let own_ipv6 = get(&client, "/v1/networks").await[0]["ipv6"]
        .as_str()
        .unwrap()
        .to_owned();
    let cases = [
        ("short", FailureKind::Usage, "is no peer"),
        (&own[..12], FailureKind::Negative, "this node itself"),
        (&own_ipv6, FailureKind::Negative, "this node itself"),
        ("abcdefghij", FailureKind::Negative, "no peer is known"),
        ("192.0.2.1", FailureKind::Negative, "in none of the networks"),
    ];
    for (peer, kind, reason) in cases {
        let failure = post(&client, "/v1/ping", json!({ "peer": peer })).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{peer}: {failure}");
        assert!(failure.message.contains(reason), "{peer}: {failure}");
    }
    running.stop().await;
}

/// Two daemons in one hosted network, with a session between them through a supernode. The second's view of the first
/// is the peer that its API lists.
struct Met {
    running: [Running; 2],
    clients: [Client; 2],
    cards: [FakeCards; 2],
    _supernode: DataPlane,
    _directories: [tempfile::TempDir; 2],
    port: u16,
}

impl Met {
    async fn start() -> Self {
        let config = Config {
            identity: copy(&identities()[1]),
            work: Work::REQUIRED,
            role: Role::Supernode,
            limits: Limits::default(),
        };
        let underlay = bind(0).unwrap();
        let port = underlay.port().unwrap();
        let (supernode, _events) = DataPlane::start(config, underlay).unwrap();

        let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let cards = [FakeCards::default(), FakeCards::default()];
        let (first, first_client) = start_as(&identities()[0], directories[0].path(), &cards[0]).await;
        let (second, second_client) = start_as(&identities()[2], directories[1].path(), &cards[1]).await;
        add(&first_client, world_at(port)).await;
        let hosted = post(&first_client, "/v1/host", json!({ "no_serve": true }))
            .await
            .unwrap();
        post(&second_client, "/v1/join", json!({ "target": hosted["link"] }))
            .await
            .unwrap();
        let met = async {
            while get(&second_client, "/v1/peers").await[0]["path"] != "relay" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), met)
            .await
            .expect("the two nodes meet");
        Self {
            running: [first, second],
            clients: [first_client, second_client],
            cards,
            _supernode: supernode,
            _directories: directories,
            port,
        }
    }

    async fn stop(self) {
        for running in self.running {
            running.stop().await;
        }
    }
}

#[tokio::test]
async fn frames_cross_from_card_to_card_through_a_supernode() {
    let met = Met::start().await;
    let (cards, second_client, port) = (&met.cards, &met.clients[1], met.port);
    let peer = get(second_client, "/v1/peers").await[0].clone();
    assert_eq!(peer["node_id"], identities()[0].node_id().to_string());
    assert_eq!(
        peer["address"],
        format!("127.0.0.1:{port}"),
        "on a relay it is the supernode's"
    );
    let pong = post(second_client, "/v1/ping", json!({ "peer": peer["ipv6"] }))
        .await
        .unwrap();
    assert_eq!(pong["node_id"], peer["node_id"]);

    // Destination, source, an EtherType for experiments (IEEE 802), 46 bytes.
    let (near_mac, far_mac) = (cards[0].lock().made[0].mac, cards[1].lock().made[0].mac);
    let frame = [&far_mac[..], &near_mac[..], &[0x88, 0xb5], &[0x5a; 46]].concat();
    let near = cards[0].lock().far_ends[0].try_clone().unwrap();
    let far = cards[1].lock().far_ends[0].try_clone().unwrap();
    near.send(&frame).unwrap();
    far.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut room = [0; 2048];
    let length = tokio::task::spawn_blocking(move || far.recv(&mut room).map(|length| room[..length].to_vec()));
    assert_eq!(length.await.unwrap().unwrap(), frame);

    met.stop().await;
}

#[tokio::test]
async fn a_second_daemon_finds_the_directory_locked() {
    let directory = tempfile::tempdir().unwrap();
    let (running, _) = start(directory.path(), &FakeCards::default()).await;
    let settings = Settings {
        state_dir: directory.path().join("state"),
        socket: directory.path().join("other.sock"),
        api_tcp: None,
        port: 0,
        user: None,
        supernodes: Vec::new(),
        port_mapping: false,
        hide_address: false,
        beacon: false,
        games: Games::default(),
        list: Arc::new(List::shipped()),
        lan_games: LanGames::Lift,
        offloads: Offloads::default(),
        names: NameSettings::default(),
        controller: None,
        tuning: Tuning::default(),
    };
    let failure = Holdings::take(&settings).unwrap_err();
    assert!(failure.message.contains("in use by another"), "{failure}");
    running.stop().await;
}

#[tokio::test]
async fn twins_and_other_versions_are_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    assert_eq!(get(&client, "/v1/status").await.get("twin"), None);
    let supernode = identities()[1].node_id();
    let other = Some("192.0.2.9:4242".parse().unwrap());
    running.daemon.act_on(Event::Twin { supernode, other }).await;
    let spoken = Event::OtherVersion {
        node: Some(supernode),
        address: None,
        version: 0,
    };
    running.daemon.act_on(spoken).await;
    let status = get(&client, "/v1/status").await;
    assert_eq!(status["twin"]["address"], "192.0.2.9:4242");
    assert_eq!(status["supernodes"][0]["other_version"], 0);
    let notes = status["notes"].to_string();
    for words in ["192.0.2.9:4242", "identity.secret", "update the other end"] {
        assert!(notes.contains(words), "{notes}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_end_can_be_asked_for_over_the_api() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    let settings = Settings {
        state_dir: directory.path().join("state"),
        socket: directory.path().join("farlan.sock"),
        api_tcp: None,
        port: 0,
        user: None,
        supernodes: Vec::new(),
        port_mapping: false,
        hide_address: false,
        beacon: false,
        games: Games::default(),
        list: Arc::new(List::shipped()),
        lan_games: LanGames::Lift,
        offloads: Offloads::default(),
        names: NameSettings::default(),
        controller: None,
        tuning: Tuning::default(),
    };
    let state_dir = settings.state_dir.clone();
    let configuration = Configuration::new(move || Ok((settings.clone(), LogFilter::default()))).unwrap();
    let signals = Signals::new().unwrap();
    let notifier = Notifier::from_environment();
    let (ended, asked) = tokio::join!(
        running.until_stopped(signals, configuration, &notifier),
        post(&client, "/v1/down", json!({})),
    );
    ended.unwrap();
    assert_eq!(asked.unwrap(), json!({ "schema": 1 }));
    StateDir::open(&state_dir).unwrap();
}

#[tokio::test]
async fn the_goodbye_waits_for_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let state = StateDir::open(&directory.path().join("state")).unwrap();
    let (data_plane, mut requests) = DataPlane::channel();
    let key = identities()[0].public();
    let book = Book::load(&state, Work::REQUIRED).unwrap();
    let daemon = Daemon::new(
        key,
        0,
        state,
        book,
        data_plane,
        Box::new(FakeCards::default()),
        Offloads::default(),
    );
    // Somebody changes networks, which takes long.
    let _book = daemon.book.lock().await;
    let told = async {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Snapshot { reply } => drop(reply.send(Snapshot::default())),
                Request::Shutdown { .. } => return,
                _ => {}
            }
        }
    };
    let told = async {
        tokio::select! {
            () = told => {}
            () = daemon.stop() => panic!("the book is not free"),
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
}

#[tokio::test]
async fn a_newer_list_that_cannot_be_written_is_shown_and_written_later() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    // No file can take the place of a directory.
    let file = directory.path().join("state/worlds.toml");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let newer = World::sign(&identities()[1], 2, silent_world().supernodes().to_vec()).unwrap();
    let world = Box::new(newer);
    running.daemon.act_on(Event::WorldChanged { world }).await;
    assert_eq!(get(&client, "/v1/supernodes").await[0]["version"], 2);
    let notes = || async { get(&client, "/v1/status").await["notes"].to_string() };
    assert!(notes().await.contains("what changed in the supernodes"));
    std::fs::remove_dir(&file).unwrap();
    running.daemon.upkeep().await;
    assert!(!notes().await.contains("what changed in the supernodes"));
    assert!(file.is_file());
    running.stop().await;
}

#[tokio::test]
async fn a_newer_list_whose_report_was_lost_is_taken_over_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (running, client) = start(directory.path(), &FakeCards::default()).await;
    add_world(&client).await;
    let newer = World::sign(&identities()[1], 2, silent_world().supernodes().to_vec()).unwrap();
    let world = Box::new(newer);
    // The engine has it and will not report it by itself.
    running
        .daemon
        .data_plane
        .send(Request::HoldWorld { world })
        .await
        .unwrap();
    let version = || async { get(&client, "/v1/supernodes").await[0]["version"].clone() };
    assert_eq!(version().await, 1);
    running.daemon.upkeep().await;
    let end = tokio::time::Instant::now() + Duration::from_secs(10);
    while version().await != 2 {
        assert!(tokio::time::Instant::now() < end, "the old list stays in use");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn networks_that_still_cannot_be_joined_stay_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let cards = FakeCards::default();
    let (running, client) = start(directory.path(), &cards).await;
    add_world(&client).await;
    for name in ["earth", "london"] {
        post(&client, "/v1/join", json!({ "target": name })).await.unwrap();
    }
    running.stop().await;
    let all = |name: &str| {
        let numbered = (2..=99).map(|number| format!("fl-{name}{number}"));
        numbered.chain([format!("fl-{name}")]).collect::<Vec<_>>()
    };
    cards.lock().taken = [all("earth"), all("london")].concat();
    let (running, client) = start(directory.path(), &cards).await;
    assert_eq!(get(&client, "/v1/networks").await, json!([]));
    cards.lock().taken = all("london");
    running.daemon.upkeep().await;
    assert_eq!(get(&client, "/v1/networks").await[0]["name"], "earth");
    let written = std::fs::read_to_string(directory.path().join("state/networks.toml")).unwrap();
    assert_eq!(written.matches("[[network]]").count(), 2, "{written}");
    running.stop().await;
}
