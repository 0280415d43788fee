//! Figures of many broadcasts together.

use super::{counts::Counts, trials::Outcome};

/// What many single broadcasts came to.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Broadcasts.
    pub broadcasts: u64,
    /// What was counted in all of them.
    pub counts: Counts,
    /// Deliveries, on average, at the 99th percentile and at most.
    pub reach: f64,
    /// See [`Figures::reach`].
    pub reach_p99: u32,
    /// See [`Figures::reach`].
    pub reach_most: u32,
    /// Copies sent of one broadcast, all tries.
    pub copies: f64,
    /// The most that one node sent for one broadcast; at the 99th percentile of broadcasts, and ever.
    pub most_sent_p99: u32,
    /// See [`Figures::most_sent_p99`].
    pub most_sent: u32,
    /// Deliveries of a newcomer's broadcast.
    pub newcomers_reach: f64,
    /// Broadcasts of players.
    pub lobbies: u64,
    /// Share of (broadcast, other in the lobby) that got it.
    pub recall: f64,
    /// Of that the part of stars, of meshes, and of lobbies of at least 32.
    pub recall_stars: f64,
    /// See [`Figures::recall_stars`].
    pub recall_meshes: f64,
    /// See [`Figures::recall_stars`].
    pub recall_large: f64,
    /// Share of broadcasts that everybody in the lobby got.
    pub complete: f64,
    /// After how many milliseconds 50, 95 and 99 % of those in lobbies had it; infinite if they never had.
    pub times: [f64; 3],
    /// Share of the contacts of contacts that got it.
    pub two_hops: f64,
}

impl Figures {
    /// The figures of these.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let broadcasts = outcomes.len() as u64;
        let mean = |sum: u64| sum as f64 / broadcasts.max(1) as f64;
        let mut figures = Self {
            broadcasts,
            ..Self::default()
        };
        let mut reach: Vec<u32> = outcomes.iter().map(|outcome| outcome.reach).collect();
        let mut most: Vec<u32> = outcomes.iter().map(|outcome| outcome.most_sent).collect();
        reach.sort_unstable();
        most.sort_unstable();
        figures.reach = mean(reach.iter().map(|reach| u64::from(*reach)).sum());
        (figures.reach_p99, figures.reach_most) = (percentile(&reach, 0.99), percentile(&reach, 1.0));
        (figures.most_sent_p99, figures.most_sent) = (percentile(&most, 0.99), percentile(&most, 1.0));
        for outcome in outcomes {
            figures.counts.add(&outcome.counts);
        }
        figures.copies = mean(figures.counts.copies);
        let newcomers = outcomes.iter().filter(|outcome| outcome.newcomer);
        figures.newcomers_reach = share(newcomers.map(|outcome| (u64::from(outcome.reach), 1)));
        let two_hops = outcomes.iter().filter_map(|outcome| outcome.two_hops);
        figures.two_hops = share(two_hops.map(|(got, wanted)| (got.into(), wanted.into())));
        figures.in_lobbies(outcomes);
        figures
    }

    fn in_lobbies(&mut self, outcomes: &[Outcome]) {
        let lobbies = || outcomes.iter().filter_map(|outcome| outcome.lobby.as_ref());
        let got = |lobby: &super::trials::InLobby| (lobby.times.len() as u64, u64::from(lobby.wanted));
        self.lobbies = lobbies().count() as u64;
        self.recall = share(lobbies().map(got));
        self.recall_stars = share(lobbies().filter(|lobby| lobby.star).map(got));
        self.recall_meshes = share(lobbies().filter(|lobby| !lobby.star).map(got));
        self.recall_large = share(lobbies().filter(|lobby| lobby.size >= 32).map(got));
        self.complete = share(lobbies().map(|lobby| (u64::from(lobby.times.len() as u32 == lobby.wanted), 1)));
        let mut times: Vec<f64> = Vec::new();
        for lobby in lobbies() {
            times.extend(lobby.times.iter().map(|after| f64::from(*after)));
            let never = lobby.wanted as usize - lobby.times.len().min(lobby.wanted as usize);
            times.extend(std::iter::repeat_n(f64::INFINITY, never));
        }
        times.sort_by(f64::total_cmp);
        self.times = [0.50, 0.95, 0.99].map(|share| {
            let place = (times.len() as f64 * share) as usize;
            times.get(place).copied().unwrap_or(f64::NAN)
        });
    }

    /// Share of the copies received that were there already.
    pub fn duplicates(&self) -> f64 {
        self.counts.duplicates as f64 / self.counts.received.max(1) as f64
    }

    /// Share of the copies that went over a supernode.
    pub fn relayed(&self) -> f64 {
        self.counts.relayed as f64 / self.counts.copies.max(1) as f64
    }
}

/// The sum of the first over the sum of the second ones; NaN without any.
pub fn share(pairs: impl Iterator<Item = (u64, u64)>) -> f64 {
    let (got, wanted) = pairs.fold((0, 0), |(got, wanted), pair| (got + pair.0, wanted + pair.1));
    if wanted == 0 {
        f64::NAN
    } else {
        got as f64 / wanted as f64
    }
}

/// That percentile of numbers in order.
pub fn percentile(sorted: &[u32], share: f64) -> u32 {
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}
