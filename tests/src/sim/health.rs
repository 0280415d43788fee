//! Who could reach whom, and since when: what the model needs to say which frames must arrive.
//!
//! The rule: two nodes that speak to each other are owed everything from [`CONVERGENCE`] after the last fault on. The
//! exceptions, each of them the time after which a fault *counts as noticed*:
//! * Two nodes that say nothing to each other notice nothing: neither that the direct path is dead nor that the session
//!   is. Their 10 s begin with the first frame after the fault, at the latest when the session would have ended by itself
//!   ([`SESSION`]).
//! * Nodes that reach each other directly say nothing to their supernodes but a sign of life every 25 s, sent three times a
//!   second apart. That is how long the loss or the restart of a supernode may go unnoticed ([`SILENT`]), and so may
//!   whoever is reached by it only. Likewise a node whose NAT forgot its flows, if it is only spoken to.
//!
//! Both are limits of detection, not of repair.

use std::{collections::BTreeMap, time::Duration};

/// How long after a fault everything must work again.
pub const CONVERGENCE: Duration = Duration::from_secs(10);

/// How long nodes may take to notice what became of a supernode, less [`CONVERGENCE`]: together they make 31 s.
pub const SILENT: Duration = Duration::from_secs(21);

/// How long a session lives.
const SESSION: Duration = Duration::from_secs(180);

/// Frames of a pair that are closer together than this are noted once.
const NOTED: Duration = Duration::from_millis(200);

/// The state of the simulated world, as far as it decides what must arrive. Hosts are numbers.
#[derive(Debug, Default)]
pub struct Health {
    nodes: BTreeMap<usize, State>,
    supernodes: BTreeMap<usize, State>,
    /// Pairs that were ever cut, smaller number first.
    cuts: BTreeMap<(usize, usize), State>,
    links: State,
    /// When pairs of nodes spoke, smaller number first, the times in order.
    spoke: BTreeMap<(usize, usize), Vec<Duration>>,
}

/// Whether something is in order, and when that changed or something else happened to it last.
#[derive(Clone, Copy, Debug)]
struct State {
    good: bool,
    changed: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            good: true,
            changed: Duration::ZERO,
        }
    }
}

impl State {
    fn set(&mut self, now: Duration, good: bool) {
        if self.good != good {
            *self = Self { good, changed: now };
        }
    }
}

impl Health {
    /// A host exists from now on.
    pub fn add(&mut self, now: Duration, host: usize, supernode: bool) {
        let hosts = if supernode {
            &mut self.supernodes
        } else {
            &mut self.nodes
        };
        let state = State {
            good: true,
            changed: now,
        };
        hosts.insert(host, state);
    }

    /// A host goes down or comes up.
    pub fn set_up(&mut self, now: Duration, host: usize, up: bool) {
        for hosts in [&mut self.nodes, &mut self.supernodes] {
            if let Some(state) = hosts.get_mut(&host) {
                state.set(now, up);
            }
        }
    }

    /// Something happened to a node or its connection: it moved, its clock jumped, its NAT forgot its flows.
    pub fn disturb(&mut self, now: Duration, host: usize) {
        if let Some(node) = self.nodes.get_mut(&host) {
            node.changed = now;
        }
    }

    /// A node's NAT forgot its flows, which it notices by its next sign of life at the latest.
    pub fn rebound(&mut self, now: Duration, host: usize) {
        self.disturb(now + SILENT, host);
    }

    /// A node sends something to another one.
    pub fn spoke(&mut self, now: Duration, a: usize, b: usize) {
        let times = self.spoke.entry(pair(a, b)).or_default();
        if times.last().is_none_or(|last| now >= *last + NOTED) {
            times.push(now);
        }
    }

    /// The underlay between two hosts is cut or mended.
    pub fn set_cut(&mut self, now: Duration, a: usize, b: usize, cut: bool) {
        self.cuts.entry(pair(a, b)).or_default().set(now, !cut);
    }

    /// Links lose or bend datagrams from now on, or do so no longer.
    pub fn set_links(&mut self, now: Duration, good: bool) {
        self.links.set(now, good);
    }

    /// Whether a frame from `a` to `b` sent at `sent` must arrive, as far as is known now: whether a way between them was
    /// in order for [`CONVERGENCE`] before, and since.
    pub fn owes(&self, sent: Duration, a: usize, b: usize) -> bool {
        let (Some(limit), Some(fault)) = (sent.checked_sub(CONVERGENCE), self.last_fault(a, b)) else {
            return false;
        };
        if fault == Duration::ZERO {
            return true;
        }
        let times = self.spoke.get(&pair(a, b)).map_or(&[][..], Vec::as_slice);
        let first = times.get(times.partition_point(|&time| time < fault));
        let latest = fault + SESSION;
        first.map_or(latest, |&first| first.min(latest)) <= limit
    }

    /// The last fault that the two could have noticed, if there is a way between them.
    fn last_fault(&self, a: usize, b: usize) -> Option<Duration> {
        let cut = |x: usize, y: usize| self.cuts.get(&pair(x, y)).copied().unwrap_or_default();
        let ends = [self.nodes.get(&a)?, self.nodes.get(&b)?];
        if !(ends[0].good && ends[1].good && self.links.good) {
            return None;
        }
        // A cut between the two matters only until they know of it: there is the way over a supernode.
        let mut fault = [ends[0].changed, ends[1].changed, self.links.changed, cut(a, b).changed]
            .into_iter()
            .max()?;
        let mut ways = 0;
        for (&supernode, &state) in &self.supernodes {
            let states = [state, cut(a, supernode), cut(b, supernode)];
            for state in states {
                if state.changed > Duration::ZERO {
                    fault = fault.max(state.changed + SILENT);
                }
            }
            ways += usize::from(states.iter().all(|state| state.good));
        }
        (ways > 0).then_some(fault)
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Supernodes 0 and 1, nodes 2, 3 and 4, all from the start; the nodes speak every second.
    fn health() -> Health {
        let mut health = Health::default();
        for host in 0..5 {
            health.add(Duration::ZERO, host, host < 2);
        }
        for second in 0..200 {
            for (a, b) in [(2, 3), (4, 3), (2, 4)] {
                health.spoke(at(second), a, b);
            }
        }
        health
    }

    #[test]
    fn faults_of_others_excuse_nothing() {
        let mut health = health();
        assert!(!health.owes(at(9), 2, 3), "too early");
        assert!(health.owes(at(10), 2, 3));
        health.set_up(at(20), 4, false);
        assert!(health.owes(at(20), 2, 3));
        assert!(!health.owes(at(40), 2, 4));
        health.set_up(at(50), 4, true);
        assert!(!health.owes(at(59), 2, 4));
        assert!(health.owes(at(60), 2, 4));
        assert!(health.owes(at(49), 2, 3) && !health.owes(at(49), 4, 3), "judged later");
        health.disturb(at(70), 2);
        assert!(!health.owes(at(79), 2, 3) && health.owes(at(80), 2, 3));
        health.set_links(at(90), false);
        assert!(!health.owes(at(110), 2, 3));
        health.set_links(at(120), true);
        assert!(!health.owes(at(129), 2, 3) && health.owes(at(130), 2, 3));
    }

    #[test]
    fn one_way_is_enough() {
        let mut health = health();
        health.set_cut(at(20), 2, 3, true);
        assert!(
            !health.owes(at(25), 2, 3) && health.owes(at(30), 2, 3),
            "over a supernode"
        );
        health.set_cut(at(40), 0, 2, true);
        assert!(
            !health.owes(at(60), 2, 3) && health.owes(at(71), 2, 3),
            "over the other one"
        );
        assert!(health.owes(at(60), 3, 4), "who is not cut off has nothing to notice");
        health.set_up(at(80), 1, false);
        assert!(!health.owes(at(150), 2, 3), "no way at all");
        assert!(health.owes(at(150), 3, 4));
    }

    #[test]
    fn silent_pairs_notice_late() {
        let mut health = Health::default();
        (0..4).for_each(|host| health.add(Duration::ZERO, host, host == 0));
        health.spoke(at(15), 1, 2);
        health.disturb(at(20), 1);
        assert!(!health.owes(at(209), 1, 2) && health.owes(at(210), 1, 2));
        health.spoke(at(25), 2, 1);
        health.spoke(at(30), 1, 2);
        assert!(!health.owes(at(34), 1, 2) && health.owes(at(35), 1, 2));
        assert!(!health.owes(at(35), 1, 3), "another pair");
    }
}
