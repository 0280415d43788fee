//! Real servers of games and services on one machine, and programs on another one that find them over farlan.
//!
//! Each machine has a card on its real LAN, by which its default route leads, and farlan's. Programs that search are bound to neither, as
//! those of games are, so what they send leaves by the real LAN.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use farlan_tests::ns::avahi::Avahi;
use farlan_tests::ns::command::wait_for;
use farlan_tests::ns::games::{Announcer, Game, MINECRAFT, Neighbour, hear, of_java};
use farlan_tests::ns::party::{Party, serve};
use farlan_tests::ns::program::Process;
use farlan_tests::ns::services;
use farlan_tests::ns::trio::Member;
use farlan_tests::ns::{Lab, Node, limit};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(180);

/// How long what is there may take to be found, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// How long `farlan games` may take to list what is there, and to forget what has gone: 10 and 30 s are promised, and a busy
/// machine may take a little longer.
const LISTED: Duration = Duration::from_secs(20);
const FORGOTTEN: Duration = Duration::from_secs(45);

/// How long is searched for what is not to be found.
const SILENCE: Duration = Duration::from_secs(3);

/// The port of a Minecraft world.
const WORLD: u16 = 25565;

/// A static service of avahi.
const MUSIC: &str = r#"<?xml version="1.0" standalone='no'?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>Bob music</name><service><type>_daap._tcp</type><port>3689</port></service></service-group>
"#;

/// Runs a test with a party.
fn at_a_party(network: Option<&str>, body: impl FnOnce(&Lab, &Party) -> Result<()>) {
    limit::test(LIMIT, |lab| {
        let party = Party::start(lab, network)?;
        body(lab, &party)
    });
}

#[test]
fn unbound_programs_find_servers_by_broadcast_and_in_groups() {
    at_a_party(None, |lab, party| {
        let neighbour = Neighbour::listen(&party.neighbour.host)?;
        let _servers = serve(party.server.host(), lab.directory(), &Game::ALL)?;
        for game in Game::ALL {
            let found = game.search(party.player.host(), SOON)?;
            println!("{}: found at {} after {:?}", game.name(), found.source, found.took);
            ensure!(
                found.source.ip() == party.server_address()?,
                "{} was found at {}, not on farlan",
                game.name(),
                found.source
            );
        }
        for game in Game::BROADCAST {
            let heard = neighbour.heard(game)?;
            let own = IpAddr::from(party.player.home.inside);
            ensure!(
                !heard.is_empty() && heard.iter().all(|source| source.ip() == own),
                "the real LAN is to hear searches for {} from {own}: {heard:?}",
                game.name()
            );
        }
        let _world = Announcer::minecraft(party.server.host(), "Bob's world", WORLD)?;
        let listener = party.player.host().inside(|| of_java(MINECRAFT))??;
        let found = hear(&listener, "[MOTD]Bob's world[/MOTD][AD]25565[/AD]", SOON)?;
        println!("minecraft: heard from {} after {:?}", found.source, found.took);
        ensure!(
            found.source.ip() == party.server_address()?,
            "players would connect to {}",
            found.source
        );
        Ok(())
    });
}

/// The three daemons, on the server's card.
struct Services<'lab> {
    avahi: Avahi<'lab>,
    _minidlna: Process,
    _nmbd: Process,
}

impl<'lab> Services<'lab> {
    fn start(lab: &Lab, server: &'lab Member) -> Result<Self> {
        let (host, card) = (server.host(), server.network.interface.as_str());
        Ok(Self {
            avahi: Avahi::start_with(host, card, "bob", MUSIC, lab.directory())?,
            _minidlna: services::minidlna(host, card, lab.directory())?,
            _nmbd: services::nmbd(host, card, "FARLANBOB", lab.directory())?,
        })
    }
}

/// Whether the daemon knows of the server's music now.
fn sees_music(avahi: &Avahi<'_>, address: Ipv4Addr) -> Result<bool> {
    let listed = avahi.browse("_daap._tcp")?.stdout;
    // "=;interface;protocol;name;type;domain;host;address;port;text", a space as \032.
    Ok(listed.lines().any(|line| {
        let fields: Vec<_> = line.split(';').collect();
        let is = |at: usize, text: &str| fields.get(at) == Some(&text);
        is(0, "=") && is(3, "Bob\\032music") && is(7, &address.to_string()) && is(8, "3689")
    }))
}

/// Whether somebody says that the server's name of Windows is its own.
fn finds_name(lab: &Lab, from: &Member, address: Ipv4Addr) -> Result<bool> {
    let (card, broadcast) = (&from.network.interface, from.broadcast_address()?);
    let asked = services::nmblookup(from.host(), card, broadcast, "FARLANBOB", lab.directory())?;
    Ok(asked.stdout.contains(&format!("{address} FARLANBOB")))
}

#[test]
fn services_of_friends_are_found() {
    at_a_party(None, |lab, party| {
        let Party { player, server, .. } = party;
        let address = server.ipv4()?;
        let _services = Services::start(lab, server)?;
        let avahi = Avahi::start(player.host(), &player.network.interface, "alice", lab.directory())?;
        wait_for("avahi to find the music", SOON, || {
            Ok(sees_music(&avahi, address)?.then_some(()))
        })?;
        let devices = services::search_devices(player.host(), player.ipv4()?, SOON)?;
        ensure!(
            devices.first().map(|source| source.ip()) == Some(address.into()),
            "who answered by SSDP: {devices:?}"
        );
        wait_for("nmbd to answer", SOON, || {
            Ok(finds_name(lab, player, address)?.then_some(()))
        })
    });
}

#[test]
fn services_are_hidden_from_strangers() {
    at_a_party(Some("earth"), |lab, party| {
        let Party { player, server, .. } = party;
        let address = server.ipv4()?;
        let services = Services::start(lab, server)?;
        let avahi = Avahi::start(player.host(), &player.network.interface, "alice", lab.directory())?;
        // They are there: their own machine finds them at the same card.
        wait_for("avahi to know its own music", SOON, || {
            Ok(sees_music(&services.avahi, address)?.then_some(()))
        })?;
        let devices = services::search_devices(server.host(), address, SOON)?;
        ensure!(!devices.is_empty(), "minidlna does not answer its own machine");
        wait_for("nmbd to answer its own machine", SOON, || {
            Ok(finds_name(lab, server, address)?.then_some(()))
        })?;
        let begun = Instant::now();
        let devices = services::search_devices(player.host(), player.ipv4()?, SILENCE)?;
        ensure!(devices.is_empty(), "minidlna answered a stranger: {devices:?}");
        ensure!(!finds_name(lab, player, address)?, "nmbd answered a stranger");
        std::thread::sleep(SILENCE.saturating_sub(begun.elapsed()));
        ensure!(!sees_music(&avahi, address)?, "avahi told a stranger");
        // And the network is there.
        party.reaches()
    });
}

/// Games that `farlan games --json` lists at an address, each with its port. It ends with 1 where there is nothing.
fn listed(node: &Node, address: IpAddr) -> Result<Vec<(String, u64)>> {
    let finished = node.cli(&["games", "--json"])?;
    let reply: Value = serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())?;
    let found = reply["networks"][0]["found"].as_array();
    let found = found.with_context(|| format!("no list of games: {reply}"))?;
    let there = found.iter().filter(|row| row["address"] == address.to_string());
    let row = |row: &Value| Some((row["game"].as_str()?.to_owned(), row["port"].as_u64()?));
    Ok(there.filter_map(row).collect())
}

#[test]
fn farlan_games_lists_servers_and_forgets_them() {
    at_a_party(None, |lab, party| {
        let (node, address) = (&party.player.node, party.server_address()?);
        let servers = serve(party.server.host(), lab.directory(), &Game::ALL)?;
        let world = Announcer::minecraft(party.server.host(), "Bob's world", WORLD)?;
        let ports = Game::ALL.map(|game| (game.name().to_owned(), u64::from(game.port())));
        let begun = Instant::now();
        wait_for("farlan games to list all", LISTED, || {
            let listed = listed(node, address)?;
            let world = [("minecraft".to_owned(), u64::from(WORLD))];
            let missing: Vec<_> = ports.iter().chain(&world).filter(|one| !listed.contains(one)).collect();
            ensure!(missing.is_empty(), "missing {missing:?} in {listed:?}");
            Ok(Some(()))
        })?;
        println!("all are listed after {:?}", begun.elapsed());
        drop((servers, world));
        let begun = Instant::now();
        wait_for("farlan games to forget all", FORGOTTEN, || {
            let listed = listed(node, address)?;
            ensure!(listed.is_empty(), "{listed:?}");
            Ok(Some(()))
        })?;
        println!("all are forgotten after {:?}", begun.elapsed());
        Ok(())
    });
}
