//! What came of trying to reach a peer straight: what a diagnosis asks for.

use crate::{Time, rates::Meter};

/// The tries since the last change of path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct History {
    /// Rounds that began.
    pub(crate) rounds: u16,
    /// When the first of them began.
    pub(crate) round: Option<Time>,
    /// Challenges sent.
    pub(crate) sent: u32,
    /// Authentic datagrams that came straight.
    pub(crate) came: u32,
    /// Challenges that were answered.
    pub(crate) answered: u32,
    /// Whether challenges were not sent because there were too many.
    pub(crate) limited: bool,
    /// When a direct path was last lost.
    pub(crate) lost: Option<Time>,
    /// The peer's questions that were answered.
    pub(crate) questions: Meter,
}

impl History {
    /// Both ends begin to try each other's endpoints.
    pub(crate) fn round_began(&mut self, now: Time) {
        self.rounds = self.rounds.saturating_add(1);
        self.round.get_or_insert(now);
    }

    /// Data goes straight from now on, or does not any more: what was before explains nothing.
    pub(crate) fn path_changed(&mut self, now: Time, direct: bool) {
        *self = Self {
            lost: if direct { None } else { Some(now) },
            questions: self.questions,
            ..Self::default()
        };
    }

    /// Nothing is known of the next session's tries; a loss may be why this one ended.
    pub(crate) fn session_ended(&mut self) {
        *self = Self {
            lost: self.lost,
            questions: self.questions,
            ..Self::default()
        };
    }
}
