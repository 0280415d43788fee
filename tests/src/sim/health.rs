//! Who could reach whom, and since when: what the model needs to say which frames must arrive.
//!
//! The rule is that everything works again 10 s after the last fault ([`CONVERGENCE`]). The exceptions, each of them the
//! time after which a fault *counts as noticed*:
//! * A NAT that forgot its flows, a supernode that restarted, and a cut from a supernode show nothing to a node that says
//!   nothing. Such a node notices by the sign of life that it sends its supernodes every 25 s, sent three times a second
//!   apart: [`SILENT`] after the fault. One that speaks notices as soon as it does.
//! * A supernode that is gone while another is there is noticed in the same way, whoever speaks.
//!
//! Both are limits of detection by keep-alive, not of repair.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long after a fault everything must work again.
pub const CONVERGENCE: Duration = Duration::from_secs(10);

/// How long a node that is silent may take to notice that its way to a supernode broke, less [`CONVERGENCE`]: together
/// they make 31 s.
pub const SILENT: Duration = Duration::from_secs(21);

/// The state of the simulated world, as far as it decides what must arrive. Hosts are numbers.
#[derive(Debug, Default)]
pub struct Health {
    nodes: BTreeMap<usize, Node>,
    supernodes: BTreeMap<usize, State>,
    /// Pairs that were ever cut, smaller number first.
    cuts: BTreeMap<(usize, usize), State>,
    links: State,
}

/// Whether something is in order, and since when it is or is not.
#[derive(Clone, Copy, Debug)]
struct State {
    good: bool,
    changed: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    state: State,
    /// The last fault that a silent node does not notice, and when it spoke first after it.
    unnoticed: Option<(Duration, Option<Duration>)>,
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

impl Node {
    /// Since when it can be expected to have noticed all faults.
    fn ready(&self) -> Duration {
        let noticed = self.unnoticed.map_or(Duration::ZERO, |(fault, spoke)| {
            let latest = fault + SILENT;
            spoke.map_or(latest, |spoke| spoke.min(latest))
        });
        noticed.max(self.state.changed)
    }
}

impl Health {
    /// A host exists from now on.
    pub fn add(&mut self, now: Duration, host: usize, supernode: bool) {
        let state = State {
            good: true,
            changed: now,
        };
        if supernode {
            self.supernodes.insert(host, state);
        } else {
            self.nodes.insert(host, Node { state, unnoticed: None });
        }
    }

    /// A host goes down or comes up.
    pub fn set_up(&mut self, now: Duration, host: usize, up: bool) {
        if let Some(node) = self.nodes.get_mut(&host) {
            node.state.set(now, up);
        }
        if let Some(supernode) = self.supernodes.get_mut(&host) {
            supernode.set(now, up);
            if up {
                self.nodes
                    .values_mut()
                    .for_each(|node| node.unnoticed = Some((now, None)));
            }
        }
    }

    /// Something happened to a node that it knows of: it moved, or its clock jumped.
    pub fn disturb(&mut self, now: Duration, host: usize) {
        if let Some(node) = self.nodes.get_mut(&host) {
            node.state.changed = now;
        }
    }

    /// Something happened to a node's connection that it cannot know of.
    pub fn disturb_unnoticed(&mut self, now: Duration, host: usize) {
        if let Some(node) = self.nodes.get_mut(&host) {
            node.unnoticed = Some((now, None));
        }
    }

    /// A node sends something to another one.
    pub fn spoke(&mut self, now: Duration, host: usize) {
        if let Some((_, spoke)) = self.nodes.get_mut(&host).and_then(|node| node.unnoticed.as_mut()) {
            spoke.get_or_insert(now);
        }
    }

    /// The underlay between two hosts is cut or mended.
    pub fn set_cut(&mut self, now: Duration, a: usize, b: usize, cut: bool) {
        let fresh = State {
            good: true,
            changed: Duration::ZERO,
        };
        self.cuts.entry((a.min(b), a.max(b))).or_insert(fresh).set(now, !cut);
        if self.supernodes.contains_key(&a) {
            self.disturb_unnoticed(now, b);
        } else if self.supernodes.contains_key(&b) {
            self.disturb_unnoticed(now, a);
        }
    }

    /// Links lose or bend datagrams from now on, or do so no longer.
    pub fn set_links(&mut self, now: Duration, good: bool) {
        self.links.set(now, good);
    }

    /// Whether a frame from `a` to `b` sent at `sent` must arrive, as far as is known now: whether a way between them was
    /// in order for [`CONVERGENCE`] before, and since.
    pub fn owes(&self, sent: Duration, a: usize, b: usize) -> bool {
        let Some(limit) = sent.checked_sub(CONVERGENCE) else {
            return false;
        };
        let well = |state: State| state.good && state.changed <= limit;
        let ready = |host| {
            let node = self.nodes.get(&host);
            node.is_some_and(|node| well(node.state) && node.ready() <= limit)
        };
        let cut = |x: usize, y: usize| self.cuts.get(&(x.min(y), x.max(y))).copied().unwrap_or_default();
        // A cut between the two matters only until they know of it: there is the way over a supernode.
        if !(ready(a) && ready(b) && well(self.links) && cut(a, b).changed <= limit) {
            return false;
        }
        let mut ways = 0;
        for (&supernode, &state) in &self.supernodes {
            for state in [state, cut(a, supernode), cut(b, supernode)] {
                let noticed = if state.good { Duration::ZERO } else { SILENT };
                if state.changed > Duration::ZERO && state.changed + noticed > limit {
                    return false;
                }
            }
            let good = state.good && cut(a, supernode).good && cut(b, supernode).good;
            ways += usize::from(good);
        }
        ways > 0
    }

    /// Nodes that are up.
    pub fn nodes_up(&self) -> BTreeSet<usize> {
        let up = |(&host, node): (&usize, &Node)| node.state.good.then_some(host);
        self.nodes.iter().filter_map(up).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Supernodes 0 and 1, nodes 2, 3 and 4, all from the start.
    fn health() -> Health {
        let mut health = Health::default();
        for host in 0..5 {
            health.add(Duration::ZERO, host, host < 2);
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
    fn silent_nodes_notice_late() {
        let mut health = health();
        health.disturb_unnoticed(at(20), 2);
        assert!(!health.owes(at(50), 2, 3) && health.owes(at(51), 2, 3));
        health.spoke(at(25), 2);
        health.spoke(at(30), 2);
        assert!(!health.owes(at(34), 2, 3) && health.owes(at(35), 2, 3));
        health.set_links(at(60), false);
        assert!(!health.owes(at(80), 2, 3));
        health.set_links(at(90), true);
        assert!(health.owes(at(100), 2, 3));
    }
}
