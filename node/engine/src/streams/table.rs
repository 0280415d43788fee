//! What the caller is told of streams, and those that a supernode accepted.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use crate::{Leg, Outbox, Socket, Time};

/// What a supernode accepted and nobody proved to be at the end of within this time, or for so long, is closed.
const PROVED_WITHIN: Duration = Duration::from_secs(15);
const UNUSED_KEPT: Duration = Duration::from_secs(75);

/// How often that is looked at.
const SWEEP: Duration = Duration::from_secs(5);

/// All streams of an engine.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(super) last: u32,
    /// What the caller has yet to be told.
    pub(super) opens: Vec<(u32, SocketAddr)>,
    pub(super) closes: Vec<u32>,
    proves: Vec<u32>,
    /// Those that a supernode accepted: since when, and when something authentic last came by each.
    accepted: BTreeMap<u32, Accepted>,
    sweep: Option<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Accepted {
    since: Time,
    heard: Option<Time>,
}

impl Streams {
    /// Streams asked for so far.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> u32 {
        self.last
    }

    /// When accepted streams are to be looked at.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let told = !(self.opens.is_empty() && self.closes.is_empty() && self.proves.is_empty());
        told.then_some(Time::ZERO).or(self.sweep)
    }

    /// This supernode accepted one.
    pub(super) fn accept(&mut self, now: Time, number: u32) {
        let accepted = Accepted {
            since: now,
            heard: None,
        };
        self.accepted.insert(number, accepted);
        self.sweep.get_or_insert(now + SWEEP);
    }

    /// One has ended.
    pub(super) fn forget(&mut self, number: u32) {
        self.accepted.remove(&number);
    }

    /// Something authentic came by a leg.
    pub(crate) fn heard(&mut self, now: Time, leg: Leg) {
        if let Socket::Stream(number) = leg.socket
            && let Some(accepted) = self.accepted.get_mut(&number)
            && accepted.heard.replace(now).is_none()
        {
            self.proves.push(number);
        }
    }

    /// Closes accepted streams that nobody uses.
    pub(crate) fn tend(&mut self, now: Time) {
        if self.sweep.is_none_or(|at| now < at) {
            return;
        }
        let closes = &mut self.closes;
        self.accepted.retain(|number, accepted| {
            let used = match accepted.heard {
                Some(heard) => now.since(heard) < UNUSED_KEPT,
                None => now.since(accepted.since) < PROVED_WITHIN,
            };
            if !used {
                closes.push(*number);
            }
            used
        });
        self.sweep = (!self.accepted.is_empty()).then_some(now + SWEEP);
    }

    /// Tells the caller what is to be opened and closed, and what is proved to have a node at its other end.
    pub(crate) fn flush(&mut self, out: &mut Outbox) {
        out.opens.append(&mut self.opens);
        out.proved.append(&mut self.proves);
        out.closed.extend(self.closes.drain(..).map(Socket::Stream));
    }
}
