//! What links do to datagrams.

use std::time::Duration;

/// How datagrams between two hosts fare, one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkQuality {
    /// The least time under way.
    pub delay: Duration,
    /// Up to this much is added at random to each datagram; more than their spacing reorders them.
    pub jitter: Duration,
    /// The share that is lost, 0 to 1.
    pub loss: f64,
    /// The share that arrives twice, 0 to 1.
    pub duplication: f64,
    /// The share of which somebody on the way makes a copy with one bit flipped, 0 to 1.
    pub corruption: f64,
    /// The share of which somebody on the way sends a copy up to 30 s later, half of them from his own address, 0 to 1.
    pub replay: f64,
}

impl LinkQuality {
    /// A faultless link with this delay.
    pub const fn of_delay(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            corruption: 0.0,
            replay: 0.0,
        }
    }

    /// The same with a share of datagrams lost.
    pub const fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with jitter.
    pub const fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same with a share of datagrams doubled.
    pub const fn with_duplication(self, duplication: f64) -> Self {
        Self { duplication, ..self }
    }

    /// The same with a share of datagrams bent and a share replayed.
    pub const fn with_attacker(self, corruption: f64, replay: f64) -> Self {
        Self {
            corruption,
            replay,
            ..self
        }
    }
}
