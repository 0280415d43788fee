//! A NAT of the laboratory, by the words of RFC 4787.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::Time;

/// What a mapping or a filter goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependence {
    /// Any far endpoint is like any other.
    Endpoint,
    /// The far address.
    Address,
    /// The far address and port.
    Port,
}

/// How a mapping gets its outside port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortRule {
    /// The inside port, if nobody has it.
    Kept,
    /// One more than the last.
    Next,
    /// Any.
    Random,
}

/// One NAT with one machine behind it.
#[derive(Clone, Debug)]
pub(super) struct Nat {
    mapping: Dependence,
    filtering: Dependence,
    ports: PortRule,
    /// Whether what goes to an outside port of its own comes back in.
    pub(super) hairpin: bool,
    /// After how long without anything from inside it forgets everything; none for never.
    pub(super) forgets: Option<Duration>,
    /// What time it is, and when something last went out.
    pub(super) now: Time,
    used: Time,
    /// Outside ports by inside port and what the mapping goes by.
    mapped: BTreeMap<(u16, Option<IpAddr>, u16), u16>,
    inside: BTreeMap<u16, u16>,
    /// Far endpoints to which something went by an outside port.
    spoken: BTreeMap<u16, Vec<SocketAddr>>,
    /// Inside ports from which what goes to an endpoint that is new leaves by this other one.
    pub(super) moved: BTreeMap<u16, u16>,
    last: u32,
}

impl Nat {
    pub(super) fn new(mapping: Dependence, filtering: Dependence, ports: PortRule) -> Self {
        Self {
            mapping,
            filtering,
            ports,
            hairpin: false,
            forgets: None,
            now: Time::ZERO,
            used: Time::ZERO,
            mapped: BTreeMap::new(),
            inside: BTreeMap::new(),
            spoken: BTreeMap::new(),
            moved: BTreeMap::new(),
            last: 20_000,
        }
    }

    /// With other random ports.
    pub(super) fn seeded(self, seed: u32) -> Self {
        Self {
            last: self.last.wrapping_add(seed.wrapping_mul(2_654_435_761)) >> 12,
            ..self
        }
    }

    /// It forgets everything, as one that was rebooted.
    pub(super) fn reboot(&mut self) {
        self.mapped.clear();
        self.inside.clear();
        self.spoken.clear();
    }

    fn has_forgotten(&self) -> bool {
        self.forgets.is_some_and(|after| self.now.since(self.used) >= after)
    }

    /// A datagram leaves from an inside port; from which outside port.
    pub(super) fn leaves(&mut self, port: u16, to: SocketAddr) -> u16 {
        if self.has_forgotten() {
            self.reboot();
        }
        self.used = self.now;
        let key = match self.mapping {
            Dependence::Endpoint => (port, None, 0),
            Dependence::Address => (port, Some(to.ip()), 0),
            Dependence::Port => (port, Some(to.ip()), to.port()),
        };
        let outside = match self.mapped.get(&key) {
            Some(outside) => self.moved_from(port, *outside, to),
            None => {
                let outside = self.free_port(port);
                self.mapped.insert(key, outside);
                self.inside.insert(outside, port);
                outside
            }
        };
        let spoken = self.spoken.entry(outside).or_default();
        if !spoken.contains(&to) {
            spoken.push(to);
        }
        outside
    }

    /// A datagram comes to an outside port; to which inside port it goes on.
    pub(super) fn comes(&mut self, from: SocketAddr, port: u16) -> Option<u16> {
        if self.has_forgotten() {
            return None;
        }
        let inside = *self.inside.get(&port)?;
        let mut spoken = self.spoken.get(&port)?.iter();
        let passes = match self.filtering {
            Dependence::Endpoint => true,
            Dependence::Address => spoken.any(|to| to.ip() == from.ip()),
            Dependence::Port => spoken.any(|to| *to == from),
        };
        passes.then_some(inside)
    }

    /// As a router that remembered whom it refused, and met him.
    fn moved_from(&mut self, inside: u16, usual: u16, to: SocketAddr) -> u16 {
        let is_known = self.spoken.get(&usual).is_some_and(|spoken| spoken.contains(&to));
        let Some(&other) = self.moved.get(&inside).filter(|_| !is_known) else {
            return usual;
        };
        self.inside.insert(other, inside);
        other
    }

    fn free_port(&mut self, inside: u16) -> u16 {
        loop {
            let port = match self.ports {
                PortRule::Kept if !self.inside.contains_key(&inside) => return inside,
                PortRule::Next => {
                    self.last = self.last % 60_000 + 1;
                    u16::try_from(self.last.max(1024)).unwrap_or(1024)
                }
                PortRule::Kept | PortRule::Random => {
                    // The constants of Numerical Recipes; only the high bits are of use.
                    self.last = self.last.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    1024 + u16::try_from((self.last >> 8) % 64_000).unwrap_or(0)
                }
            };
            if !self.inside.contains_key(&port) {
                return port;
            }
        }
    }
}
