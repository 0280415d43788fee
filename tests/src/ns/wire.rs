//! What a link of the lab does to packets.

use std::time::Duration;

/// What a link to the core does to packets, the same in both directions. All that is random is by a seeded generator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wire {
    /// Time a packet takes one way. A wire that does nothing is a plain veth without a relay.
    pub delay: Duration,
    /// How much longer a packet may take, at random, each by itself: so packets overtake each other.
    pub jitter: Duration,
    /// Share of packets lost, 0 to 1, each by itself.
    pub loss: f64,
    /// Losses that come in bursts, besides.
    pub bursts: Option<Bursts>,
    /// Most bits a second, by thousands; 0 for no limit. What comes faster waits in a queue of 50 ms.
    pub rate_kbit: u32,
}

/// Losses in bursts: the wire is good or bad and changes at each packet with these probabilities (the model of Gilbert);
/// while it is bad all is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Probability that a good wire becomes bad.
    pub begin: f64,
    /// Probability that a bad wire becomes good: 1 / the mean length of a burst in packets.
    pub end: f64,
}

impl Wire {
    /// A plain veth.
    pub const PLAIN: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        bursts: None,
        rate_kbit: 0,
    };

    /// A wire on which two attached machines that both have it see the given round trip between them: a packet
    /// passes four such wires on its way there and back.
    pub fn for_round_trip(round_trip: Duration) -> Self {
        Self {
            delay: round_trip / 4,
            ..Self::PLAIN
        }
    }

    /// The arguments of `farlan-delay` for it.
    pub(super) fn arguments(self) -> Vec<String> {
        let milliseconds = |time: Duration| (time.as_secs_f64() * 1000.0).to_string();
        let mut arguments = vec![
            ("--delay-ms", milliseconds(self.delay)),
            ("--jitter-ms", milliseconds(self.jitter)),
            ("--loss", self.loss.to_string()),
            ("--rate-kbit", self.rate_kbit.to_string()),
        ];
        if let Some(bursts) = self.bursts {
            arguments.push(("--burst-begin", bursts.begin.to_string()));
            arguments.push(("--burst-end", bursts.end.to_string()));
        }
        let words = arguments.into_iter().map(|(name, value)| [name.to_owned(), value]);
        words.flatten().collect()
    }
}
