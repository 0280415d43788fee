//! Real games over farlan: their own programs search for servers on the LAN and play on what they find. And broadcasts of many
//! members.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::player::{self, Player, Screen};
use crate::ns::broadcasts::{Account, Listeners, newcomer_hears};
use crate::ns::capture::Capture;
use crate::ns::command::wait_for;
use crate::ns::crowd::Crowd;
use crate::ns::echo::EchoStream;
use crate::ns::games::{Announcer, Game, MINECRAFT, hear, launch_arena, of_java};
use crate::ns::party::{Party, serve};
use crate::ns::{Lab, limit, requirements};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(900);

/// How long a search, and joining a game, may take.
const SOON: Duration = Duration::from_secs(45);

/// How long is played.
const PLAYED: Duration = Duration::from_secs(5);

/// What a server gets of somebody who plays so long, at the least.
const LEAST_PACKETS: usize = 30;

/// The port of a Minecraft world.
const WORLD: u16 = 25565;

/// What is seen, and where.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The directory for pictures of what was seen.
    #[arg(long, default_value = "target/games")]
    pictures: PathBuf,
}

/// How many members, and how many broadcasts.
#[derive(Args, Clone, Debug)]
pub struct Broadcasts {
    /// Members of the network.
    #[arg(long, default_value_t = 64)]
    members: usize,
    /// Broadcasts of all members together.
    #[arg(long, default_value_t = 1_000)]
    broadcasts: usize,
    /// Broadcasts a second in a flood.
    #[arg(long, default_value_t = 1_000)]
    flood: u32,
}

/// A row of the table: what, what is wanted, what came out, and whether that is it.
struct Row {
    what: String,
    goal: &'static str,
    figure: String,
    kept: bool,
}

fn show(rows: &[Row]) -> bool {
    println!("\n{:58} {:28} figure", "what", "goal");
    for Row {
        what,
        goal,
        figure,
        kept,
    } in rows
    {
        let verdict = if *kept { "" } else { "   MISSED" };
        println!("{what:58} {goal:28} {figure}{verdict}");
    }
    rows.iter().all(|row| row.kept)
}

fn row(what: impl Into<String>, goal: &'static str, outcome: Result<String>) -> Row {
    let kept = outcome.is_ok();
    let figure = outcome.unwrap_or_else(|error| format!("{error:#}").lines().next().unwrap_or_default().to_owned());
    let what = what.into();
    println!("{what}: {figure}");
    Row {
        what,
        goal,
        figure,
        kept,
    }
}

/// Has real games find real servers and play.
///
/// # Errors
/// The lab cannot be built or a program is missing.
pub fn games(options: &Options) -> Result<bool> {
    requirements::check_all()?;
    player::check()?;
    std::fs::create_dir_all(&options.pictures)?;
    limit::with_lab(LIMIT, |lab| {
        let party = Party::start(lab, None)?;
        let mut rows = Vec::new();
        let others = [Game::Teeworlds, Game::OpenTtd, Game::Freeciv];
        let servers = serve(party.server.host(), lab.directory(), &others)?;
        let arena = launch_arena(party.server.host(), lab.directory())?;
        for game in Game::ALL {
            let found = || -> Result<String> {
                let found = game.search(party.player.host(), SOON)?;
                let right = found.source.ip() == party.server_address()?;
                ensure!(right, "at {}, not on farlan", found.source);
                Ok(format!("{:.2} s", found.took.as_secs_f64()))
            };
            rows.push(row(
                format!("{}: an unbound search finds it", game.name()),
                "on farlan",
                found(),
            ));
        }
        rows.push(row(
            "minecraft: a world is heard as by Java",
            "on farlan",
            minecraft(&party),
        ));
        let screen = Screen::start(lab.directory())?;
        for game in Game::BROADCAST {
            let what = format!("{}: its own program finds it on the LAN and plays", game.name());
            let outcome = play(lab, &party, &screen, game, &options.pictures);
            rows.push(row(what, "packets both ways on farlan", outcome));
        }
        drop((servers, arena));
        println!("pictures are in {}", options.pictures.display());
        Ok(show(&rows))
    })
}

fn minecraft(party: &Party) -> Result<String> {
    let _world = Announcer::minecraft(party.server.host(), "Bob's world", WORLD)?;
    let listener = party.player.host().inside(|| of_java(MINECRAFT))??;
    let found = hear(&listener, "[MOTD]Bob's world[/MOTD][AD]25565[/AD]", SOON)?;
    let right = found.source.ip() == party.server_address()?;
    ensure!(right, "from {}, not from farlan", found.source);
    Ok(format!("{:.2} s", found.took.as_secs_f64()))
}

fn play(lab: &Lab, party: &Party, screen: &Screen, game: Game, pictures: &Path) -> Result<String> {
    let own = party.player.ipv4()?;
    let player = Player::start(game, party.player.host(), screen, lab.directory(), pictures)?;
    let capture = Capture::start(party.server.host(), &party.server.network.interface)?;
    let played = |from: Duration| {
        let all = capture.datagrams();
        let of_game = all.iter().filter(|datagram| {
            datagram.source.ip() == own && datagram.destination.port() == game.port() && datagram.at >= from
        });
        of_game.count()
    };
    player.join_first_of_lan()?;
    let joined = Instant::now();
    if game == Game::OpenTtd {
        // It plays over TCP, and its server says who came.
        let log = lab.directory().join("openttd-server.log");
        let what = format!("({own}) joined as farlan");
        wait_for("the server to say who joined", SOON, || {
            let log = std::fs::read(&log)?;
            Ok(String::from_utf8_lossy(&log).contains(&what).then_some(()))
        })
        .inspect_err(|_| {
            let _ = player.picture("failed");
        })?;
        thread::sleep(PLAYED);
        player.picture("plays")?;
        return Ok(format!(
            "the server names {own}, {:.1} s",
            joined.elapsed().as_secs_f64()
        ));
    }
    wait_for("the server to get what a player sends", SOON, || {
        let count = played(Duration::ZERO);
        ensure!(count >= LEAST_PACKETS, "{count} packets came");
        Ok(Some(()))
    })
    .inspect_err(|_| {
        let _ = player.picture("failed");
    })?;
    let before = played(Duration::ZERO);
    thread::sleep(PLAYED);
    let count = played(Duration::ZERO) - before;
    player.picture("plays")?;
    ensure!(count >= LEAST_PACKETS, "only {count} packets in {PLAYED:?}");
    Ok(format!("{count} packets in {} s", PLAYED.as_secs()))
}

/// Has many members broadcast: without loss, with 1 %, to a newcomer, and one a flood.
///
/// # Errors
/// The lab cannot be built.
pub fn broadcasts(options: &Broadcasts) -> Result<bool> {
    const NEWCOMER: Duration = Duration::from_secs(3);
    const FLOOD_TIME: Duration = Duration::from_secs(10);
    limit::with_lab(LIMIT, |lab| {
        let mut rows = Vec::new();
        let begun = Instant::now();
        let mut crowd = Crowd::start(lab, options.members)?;
        let mut listeners = Listeners::start(&crowd.members)?;
        println!(
            "{} members hear each other after {:.1} s",
            options.members,
            begun.elapsed().as_secs_f64()
        );
        let judged = |account: Account, least: f64| {
            let kept = account.share() >= least && account.doubled == 0;
            ensure!(kept, "{account}");
            Ok(account.to_string())
        };
        let account = listeners.exchange(options.broadcasts)?;
        rows.push(row("broadcasts, no loss", "each once, all pairs", judged(account, 1.0)));
        crowd.lose_one_in(100)?;
        let account = listeners.exchange(options.broadcasts)?;
        rows.push(row(
            "broadcasts, 1 % loss",
            "each once, 99.99 % of pairs",
            judged(account, 0.9999),
        ));
        crowd.lose_one_in(0)?;
        let heard = newcomer_hears(lab, &mut crowd, NEWCOMER * 3).and_then(|took| {
            let text = format!("{:.2} s", took.as_secs_f64());
            ensure!(took <= NEWCOMER, text);
            Ok(text)
        });
        rows.push(row("a newcomer hears an announcer", "3 s", heard));
        let [_, a, b, ..] = &crowd.members[..] else {
            anyhow::bail!("too few members");
        };
        let pings = EchoStream::start(a.host(), b.ipv4()?.into(), Duration::from_millis(20))?;
        let flood = listeners.flood(0, options.flood, FLOOD_TIME)?;
        let record = pings.stop()?;
        let worst = *flood.got.iter().max().context("nobody")?;
        let (most, rate) = (
            50.0 * flood.took.as_secs_f64() * 1.1 + 100.0,
            worst as f64 / flood.took.as_secs_f64(),
        );
        let text = format!("{rate:.0}/s ({worst} of {})", flood.sent);
        let outcome = if worst as f64 <= most {
            Ok(text)
        } else {
            Err(anyhow::Error::msg(text))
        };
        rows.push(row(
            "a flood, at whom most of it reaches",
            "50/s and 100 at once",
            outcome,
        ));
        let lost = record.lost().len() as f64 / record.sent.len().max(1) as f64;
        let text = format!("{:.2} %", lost * 100.0);
        let outcome = if lost < 0.01 {
            Ok(text)
        } else {
            Err(anyhow::Error::msg(text))
        };
        rows.push(row("pings of two others lost meanwhile", "under 1 %", outcome));
        Ok(show(&rows))
    })
}
