//! Newcomers who look for a lobby of their game: a supernode names them 16 who listen to its port, and introduces them to those.

use farlan_crypto::NodeId;

use super::{
    draw::Draw,
    figures::share,
    keys::Keys,
    run::{Manner, Run},
    trials::{CEILING, on_all_processors},
    world::World,
};

/// Subscribers that a supernode names.
const SAMPLE: usize = 16;

/// Probes, one a second, until a lobby is seen.
const PROBES: u64 = 5;

/// What newcomers of one game found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Players of the game.
    pub players: u32,
    /// Its lobbies.
    pub lobbies: usize,
    /// Newcomers.
    pub trials: u64,
    /// Share that saw a lobby within a second of joining.
    pub within_second: f64,
    /// Seconds until the first lobby was seen, for 50, 90 and 99 % of them.
    pub times: [f64; 3],
    /// Lobbies that the first probe found.
    pub lobbies_first: f64,
    /// Copies of the first probe.
    pub copies: f64,
}

/// The game whose number of players is closest to this.
pub fn game_of(world: &World, players: u32) -> Option<u32> {
    (0..world.lobbies.games())
        .filter(|game| !world.lobbies.of_game(*game).is_empty())
        .min_by_key(|game| players_of(world, *game).abs_diff(players))
}

/// Newcomers of this game.
pub fn look(world: &World, keys: &Keys, game: u32, trials: u64) -> Found {
    let found = on_all_processors(trials, |number| one(world, keys, game, number));
    let mut times: Vec<f64> = found.iter().map(|(seconds, _, _)| *seconds).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((trials as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Found {
        players: players_of(world, game),
        lobbies: world.lobbies.of_game(game).len(),
        trials,
        within_second: share(times.iter().map(|seconds| (u64::from(*seconds <= 1.0), 1))),
        times: [at(0.50), at(0.90), at(0.99)],
        lobbies_first: share(found.iter().map(|(_, lobbies, _)| (*lobbies as u64, 1))),
        copies: share(found.iter().map(|(_, _, copies)| (u64::from(*copies), 1))),
    }
}

/// One newcomer: seconds until it saw a lobby, how many its first probe found, and the copies of that.
fn one(world: &World, keys: &Keys, game: u32, number: u64) -> (f64, usize, u32) {
    let draw = Draw::new(world.seed, "looking").of(number).of(game.into());
    let range = world.newcomers();
    let newcomer = (0..100)
        .map(|attempt| range.start + draw.of(attempt).below((range.end - range.start).into()) as u32)
        .find(|node| !world.is_gone(*node))
        .unwrap_or(range.start);
    let sample = sample(world, game, draw.of(1000));
    let manner = Manner {
        handshakes: true,
        ..Manner::default()
    };
    let mut run = Run::new(world, keys, number ^ u64::from(game) << 40, manner);
    // The question to the supernode and its answer, before anything can be sent.
    let asked = 2.0 * world.places.to_supernode(newcomer) / 1e3;
    let ids: Vec<NodeId> = sample.iter().map(|node| keys.id(*node)).collect();
    let lobbies = world.lobbies.of_game(game);
    let mut first = f64::INFINITY;
    let (mut lobbies_first, mut copies) = (0, 0);
    for probe in 0..PROBES {
        let Some(cast) = run.call(newcomer, CEILING, &ids) else {
            break;
        };
        run.run_for(1_000_000_000);
        let cast = &run.casts[cast];
        let mut hosts = 0;
        for (node, after) in &cast.delivered {
            let is_host = world
                .lobbies
                .of(*node)
                .is_some_and(|lobby| lobby.host == *node && lobbies.binary_search(&lobby.number).is_ok());
            if is_host {
                hosts += 1;
                // The host answers by unicast; unless there is a session, it shakes hands first.
                let relay = world.places.relay(*node, newcomer).delay;
                let met = run.node(newcomer).is_some_and(|state| state.knows(*node));
                let back = if met {
                    world.places.way(*node, newcomer).delay
                } else {
                    3.0 * relay
                };
                first = first.min(probe as f64 + asked + (f64::from(*after) + back) / 1e3);
            }
        }
        if probe == 0 {
            (lobbies_first, copies) = (hosts, cast.copies);
        }
        if first.is_finite() {
            break;
        }
    }
    (first, lobbies_first, copies)
}

fn players_of(world: &World, game: u32) -> u32 {
    let lobbies = world.lobbies.of_game(game).iter();
    lobbies.map(|number| world.lobbies.lobby(*number).size).sum()
}

/// Players of a game, each as likely as any other.
fn sample(world: &World, game: u32, draw: Draw) -> Vec<u32> {
    let lobbies = world.lobbies.of_game(game);
    let mut players: Vec<u32> = Vec::new();
    for attempt in 0..20 * SAMPLE as u64 {
        if players.len() == SAMPLE || lobbies.is_empty() {
            break;
        }
        let draw = draw.of(attempt);
        let lobby = world
            .lobbies
            .lobby(lobbies[draw.of(0).below(lobbies.len() as u64) as usize]);
        // Large lobbies have as many players as they are large.
        let seat = draw.of(1).below(world.proportions.lobby.1 + 4) as u32;
        let player = lobby.host + seat;
        if seat < lobby.size && !players.contains(&player) && !world.is_gone(player) {
            players.push(player);
        }
    }
    players
}
