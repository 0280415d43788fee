//! Lobbies of games: who plays with whom, and who talks to whom there.

use super::{draw::Draw, proportions::Proportions, zipf::Zipf};

/// One lobby. Its players are nodes of consecutive numbers; the first one hosts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lobby {
    /// Its number among all lobbies.
    pub number: u32,
    /// The node that hosts it.
    pub host: u32,
    /// How many play, the host included.
    pub size: u32,
    /// Whether everybody talks to the host alone.
    pub star: bool,
}

impl Lobby {
    /// Everybody in it.
    pub fn players(&self) -> std::ops::Range<u32> {
        self.host..self.host + self.size
    }
}

/// All lobbies of a world: nothing but where each of them begins, and which game is played.
#[derive(Debug)]
pub struct Lobbies {
    starts: Vec<u32>,
    shape: Draw,
    stars: f64,
    neighbours: Option<u64>,
    /// The game of each lobby, and the lobbies of each game, most wanted game first.
    games: Vec<u32>,
    of_game: Vec<Vec<u32>>,
}

impl Lobbies {
    /// The lobbies of `nodes` nodes.
    pub fn new(seed: u64, nodes: u32, proportions: &Proportions) -> Self {
        let players = (f64::from(nodes) * proportions.players) as u32;
        let sizes = Draw::new(seed, "lobby size");
        let smallest = proportions.lobby.0 as u32;
        let mut starts = vec![0];
        let mut next = 0;
        while players - next >= smallest {
            let left = players - next;
            let size = size(sizes.of(next.into()), proportions).min(left);
            // What is too few for a lobby of its own joins the last one, unless that were too many.
            next += if left - size < smallest { left } else { size };
            starts.push(next);
        }
        let lobbies = starts.len() - 1;
        let count = (u64::from(nodes) * proportions.games_per_thousand)
            .div_ceil(1000)
            .max(1);
        let zipf = Zipf::new(count as usize, proportions.game_exponent);
        let wanted = Draw::new(seed, "game");
        let games: Vec<u32> = (0..lobbies)
            .map(|lobby| zipf.drawn(wanted.of(lobby as u64)) as u32)
            .collect();
        let mut of_game = vec![Vec::new(); count as usize];
        for (lobby, game) in games.iter().enumerate() {
            of_game[*game as usize].push(lobby as u32);
        }
        Self {
            starts,
            shape: Draw::new(seed, "lobby shape"),
            stars: proportions.stars,
            neighbours: proportions.mesh_neighbours,
            games,
            of_game,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.games.len() as u32
    }

    /// How many nodes play.
    pub fn players(&self) -> u32 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The lobby of this number.
    pub fn lobby(&self, number: u32) -> Lobby {
        let host = self.starts[number as usize];
        Lobby {
            number,
            host,
            size: self.starts[number as usize + 1] - host,
            star: self.shape.of(number.into()).of(0).chance(self.stars),
        }
    }

    /// The lobby that a node is in.
    pub fn of(&self, node: u32) -> Option<Lobby> {
        (node < self.players()).then(|| self.lobby(self.starts.partition_point(|start| *start <= node) as u32 - 1))
    }

    /// The game of a lobby: small numbers are popular games.
    pub fn game(&self, lobby: &Lobby) -> u32 {
        self.games[lobby.number as usize]
    }

    /// How many games there are.
    pub fn games(&self) -> u32 {
        self.of_game.len() as u32
    }

    /// The numbers of the lobbies in which a game is played.
    pub fn of_game(&self, game: u32) -> &[u32] {
        &self.of_game[game as usize]
    }

    /// With whom a player of this lobby talks all the time.
    pub fn peers(&self, lobby: &Lobby, node: u32) -> Vec<u32> {
        let players = lobby.players();
        if lobby.star {
            return if node == lobby.host {
                players.skip(1).collect()
            } else {
                vec![lobby.host]
            };
        }
        match self.neighbours {
            // A ring, and a second one of wider steps: as regular as it is sparse.
            Some(neighbours) if u64::from(lobby.size) > neighbours + 1 => {
                let (size, seat) = (lobby.size, node - lobby.host);
                let widest = (size - 1) / 2;
                let rings = (neighbours / 2).max(1);
                let mut peers = Vec::new();
                for ring in 0..rings {
                    let drawn = self.shape.of(lobby.number.into()).of(1 + ring).below(widest.into()) as u32 + 1;
                    let step = if ring == 0 { 1 } else { drawn };
                    peers.push(lobby.host + (seat + step) % size);
                    peers.push(lobby.host + (seat + size - step) % size);
                }
                peers.sort_unstable();
                peers.dedup();
                peers
            }
            _ => players.filter(|player| *player != node).collect(),
        }
    }

    /// With how many a player of this lobby talks.
    pub fn degree(&self, lobby: &Lobby, node: u32) -> usize {
        match (lobby.star, self.neighbours) {
            (true, _) if node != lobby.host => 1,
            (false, Some(_)) => self.peers(lobby, node).len(),
            (true | false, _) => lobby.size as usize - 1,
        }
    }
}

/// Sizes are as many as their square is small, which makes about 12 on average of 4 to 64.
fn size(draw: Draw, proportions: &Proportions) -> u32 {
    let (smallest, largest) = proportions.lobby;
    let (high, low) = (1.0 / smallest as f64, 1.0 / (largest + 1) as f64);
    ((1.0 / (high - draw.unit() * (high - low))) as u64).clamp(smallest, largest) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_plays_is_in_one_lobby_and_talk_is_mutual() {
        for proportions in [Proportions::social(), Proportions::adverse()] {
            let lobbies = Lobbies::new(1, 10_000, &proportions);
            let (mut players, mut stars) = (0, 0);
            for number in 0..lobbies.count() {
                let lobby = lobbies.lobby(number);
                assert!((4..=67).contains(&lobby.size));
                players += lobby.size;
                stars += u32::from(lobby.star);
                assert!(lobbies.of_game(lobbies.game(&lobby)).contains(&number));
                for node in lobby.players() {
                    assert_eq!(lobbies.of(node), Some(lobby));
                    let peers = lobbies.peers(&lobby, node);
                    assert_eq!(peers.len(), lobbies.degree(&lobby, node));
                    for peer in peers {
                        assert_ne!(peer, node);
                        assert!(lobbies.peers(&lobby, peer).contains(&node));
                    }
                }
            }
            assert_eq!(f64::from(players), 10_000.0 * proportions.players);
            let share = f64::from(stars) / f64::from(lobbies.count());
            assert!((share - proportions.stars).abs() < 0.08, "{share}");
            assert_eq!(lobbies.of(players), None);
        }
    }
}
