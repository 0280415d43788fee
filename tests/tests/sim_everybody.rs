//! Broadcasts that everybody gets: networks of up to 128 members, and channels of up to 128 subscribers in larger ones, by whole
//! engines on lossy links.
//!
//! FARLAN_SIM_ROUNDS=20 makes the figures finer: so often everybody broadcasts.

use std::time::Duration;

use farlan_engine::Channel;
use farlan_tests::sim::{HostId, Lab, LinkQuality, NetId, broadcast_to_port};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

const PORT: u16 = 27_015;

/// One way on every link, with its jitter.
const DELAY: Duration = Duration::from_millis(50);
const JITTER: Duration = Duration::from_millis(10);

/// How finely it is looked when a broadcast has arrived.
const STEP: Duration = Duration::from_millis(10);

/// Those who are to get a broadcast of one of them.
struct Group {
    lab: Lab,
    network: NetId,
    nodes: Vec<HostId>,
    /// Who of them is heard by whom: the first so many.
    listeners: usize,
    sent: u64,
}

impl Group {
    /// `members` in a network; some of them listen to a port where not all are to hear each other.
    fn new(seed: u64, members: usize, listeners: usize) -> Self {
        let mut lab = Lab::new(seed);
        let links = LinkQuality::of_delay(DELAY).with_jitter(JITTER);
        lab.set_links(links);
        lab.add_supernode();
        let network = lab.add_link_network();
        let nodes: Vec<HostId> = (0..members).map(|_| lab.add_node(None)).collect();
        nodes.iter().for_each(|&node| lab.join(node, network));
        lab.run(5 * SECOND);
        if listeners < members {
            for &node in &nodes[..listeners] {
                lab.set_channels(node, network, &[Channel::broadcasts(PORT)]);
            }
        }
        lab.run(5 * SECOND);
        // Everybody is heard once before it counts: sessions stand then.
        let mut group = Self {
            lab,
            network,
            nodes,
            listeners,
            sent: 0,
        };
        group.round(0);
        group.lab.set_links(links.with_loss(0.01));
        group
    }

    /// Everybody broadcasts, one after the other: how many pairs missed it, and after how long the others had it.
    fn round(&mut self, seed: usize) -> (usize, Vec<Duration>) {
        let (mut missed, mut times) = (0, Vec::new());
        for number in 0..self.listeners {
            let from = self.nodes[(number + seed) % self.listeners];
            self.sent += 1;
            let mac = self.lab.card(from, self.network).mac();
            let call = self
                .lab
                .send(from, self.network, broadcast_to_port(mac, PORT, self.sent, 100));
            let (begun, mut known) = (self.lab.now(), 0);
            while known < self.listeners - 1 && self.lab.now() - begun < 6 * SECOND {
                self.lab.run(STEP);
                let now = self.reached(from, call);
                times.extend((known..now).map(|_| self.lab.now() - begun));
                known = now;
            }
            missed += self.listeners - 1 - known;
        }
        (missed, times)
    }

    fn reached(&self, from: HostId, call: farlan_tests::sim::SendId) -> usize {
        let reached = self.lab.model().reached(call);
        let listeners = self.nodes[..self.listeners].iter();
        listeners
            .filter(|node| **node != from && reached.contains(&node.index()))
            .count()
    }
}

/// At 1 % loss on each link 99.99 % of all pairs, and 99 % within 2.5 times the way and 250 ms.
fn everybody_gets_it(seed: u64, members: usize, listeners: usize) {
    let rounds = std::env::var("FARLAN_SIM_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok());
    let mut group = Group::new(seed, members, listeners);
    let (mut missed, mut times) = (0, Vec::new());
    for round in 0..rounds.unwrap_or(1) {
        let (more, after) = group.round(round);
        missed += more;
        times.extend(after);
    }
    times.sort_unstable();
    let pairs = times.len() + missed;
    let after = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{listeners} of {members}: {missed} of {pairs} missed, 97, 98, 99 % after {:?}, {:?}, {:?}, last after {:?}",
        after(97),
        after(98),
        after(99),
        times[times.len() - 1]
    );
    assert!(missed * 10_000 <= pairs, "{missed} of {pairs}");
    // A way has two links, each with its delay and its jitter; of fifty copies one is lost on it, and comes after a pause.
    let worst = 2 * (DELAY + JITTER);
    assert!(after(99) <= worst * 5 / 2 + 250 * MILLISECOND, "{:?}", after(99));
}

#[test]
fn sixteen_members_get_each_others_broadcasts() {
    everybody_gets_it(1, 16, 16);
}

#[test]
fn sixty_four_members_get_each_others_broadcasts() {
    everybody_gets_it(2, 64, 64);
}

#[test]
fn a_hundred_and_twenty_eight_members_get_each_others_broadcasts() {
    everybody_gets_it(3, 128, 128);
}

#[test]
fn a_hundred_and_twenty_subscribers_among_more_members_get_each_others_broadcasts() {
    everybody_gets_it(4, 160, 120);
}
