//! Direct paths: there where the NATs allow one, within seconds, and without a ping lost on the way from the relay to it.

use std::time::Duration;

use farlan_engine::PathKind;
use farlan_tests::sim::{
    Expected, Family, Filtering, HostId, Lab, LinkQuality, Mapping, NatKind, NetId, PingId, Ports, expected,
    for_each_seed,
};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// From the first frame to the direct path.
const SOON: Duration = Duration::from_secs(3);

/// The same where a router may have been poisoned, so that a second round of tries is needed.
const LATER: Duration = Duration::from_secs(5);

/// Where a host is.
#[derive(Clone, Copy, Debug)]
enum Home {
    Open,
    Nat(NatKind),
    Carrier(NatKind, NatKind),
}

/// The kinds of NATs that there are, without IPv6.
fn homes() -> Vec<Home> {
    use Filtering::{AddressDependent, EndpointIndependent};
    let home = NatKind::HOME;
    let hard = NatKind::SYMMETRIC;
    vec![
        Home::Open,
        Home::Nat(home.filtering(EndpointIndependent)),
        Home::Nat(home.filtering(AddressDependent)),
        Home::Nat(home),
        Home::Nat(home.ports(Ports::Random)),
        Home::Nat(home.poisoned()),
        Home::Nat(hard),
        Home::Nat(hard.ports(Ports::Sequential)),
        Home::Nat(hard.filtering(AddressDependent)),
        Home::Nat(Mapping::AddressDependent.into()),
        Home::Carrier(home, home),
        Home::Carrier(home, hard),
        Home::Carrier(home.filtering(EndpointIndependent), home.filtering(EndpointIndependent)),
    ]
}

struct Pair {
    lab: Lab,
    network: NetId,
    hosts: [HostId; 2],
}

impl Pair {
    /// Two hosts that are registered and have their addresses.
    fn new(seed: u64, homes: [Home; 2]) -> Self {
        Self::in_lab(Lab::new(seed), homes)
    }

    fn in_lab(mut lab: Lab, homes: [Home; 2]) -> Self {
        lab.set_links(LinkQuality::of_delay(20 * MILLISECOND).with_jitter(2 * MILLISECOND));
        lab.add_supernode();
        let network = lab.add_link_network();
        let hosts = homes.map(|home| {
            let nat = match home {
                Home::Open => None,
                Home::Nat(kind) => Some(lab.add_nat(kind)),
                Home::Carrier(inner, outer) => {
                    let carrier = lab.add_nat(outer);
                    Some(lab.add_nat_behind(carrier, inner))
                }
            };
            lab.add_node(nat)
        });
        hosts.iter().for_each(|&host| lab.join(host, network));
        lab.settle(network, &hosts);
        Self { lab, network, hosts }
    }

    /// Whether each end sends to the other one directly.
    fn direct(&self) -> [bool; 2] {
        let [a, b] = self.hosts;
        [(a, b), (b, a)].map(|(from, to)| {
            let to = self.lab.node_id(to);
            let peers = self.lab.peers(from);
            peers
                .iter()
                .any(|peer| peer.node == to && peer.path == Some(PathKind::Direct))
        })
    }

    /// Both ping each other ten times a second. Returns the pings, and when both ends had a direct path.
    fn speak(&mut self, duration: Duration) -> (Vec<PingId>, Option<Duration>) {
        let start = self.lab.now();
        let (mut pings, mut direct) = (Vec::new(), None);
        while self.lab.now() < start + duration {
            for [from, to] in [[0, 1], [1, 0]] {
                let (from, to) = (self.hosts[from], self.hosts[to]);
                pings.push(self.lab.ping(from, to, self.network, Family::V4));
            }
            self.lab.run(100 * MILLISECOND);
            if direct.is_none() && self.direct() == [true; 2] {
                direct = Some(self.lab.now() - start);
            }
        }
        (pings, direct)
    }

    /// Pings without an answer, and answers that came twice.
    fn faults(&mut self, pings: &[PingId]) -> (usize, usize) {
        self.lab.run(SECOND);
        let lost = pings.iter().filter(|&&ping| self.lab.answer(ping).is_none()).count();
        let doubled = pings.iter().filter(|&&ping| self.lab.answerers(ping).len() > 1);
        (lost, doubled.count())
    }
}

#[test]
fn the_nats_decide_what_path_there_is() {
    let homes = homes();
    let (mut direct, mut relayed) = (0, 0);
    for (first, &one) in homes.iter().enumerate() {
        for &other in &homes[first..] {
            let seed = first as u64 + 1;
            let mut pair = Pair::new(seed, [one, other]);
            let [a, b] = pair.hosts;
            let expected = expected(&pair.lab, a, b);
            let poisoned = [one, other]
                .iter()
                .any(|home| matches!(home, Home::Nat(kind) if kind.poisoned));
            let limit = if poisoned { LATER } else { SOON };
            let (pings, came) = pair.speak(8 * SECOND);
            let faults = pair.faults(&pings);
            assert_eq!(faults, (0, 0), "lost and doubled pings between {one:?} and {other:?}");
            match expected {
                Expected::Direct => {
                    assert!(
                        came.is_some_and(|came| came <= limit),
                        "direct after {came:?} between {one:?} and {other:?}"
                    );
                    direct += 1;
                }
                Expected::Relay | Expected::Unlikely => {
                    assert_eq!(came, None, "{one:?} and {other:?}: how?");
                    relayed += 1;
                }
                Expected::Either => {}
            }
        }
    }
    println!("{direct} pairs had to be direct, {relayed} had to stay relayed");
    assert!(direct > 40 && relayed > 5);
}

#[test]
fn who_is_registered_by_ipv6_has_the_paths_that_its_nat_for_ipv4_allows() {
    let dual = |home: Home| {
        let with = |kind: NatKind| kind.with_ipv6(Filtering::AddressAndPortDependent);
        match home {
            Home::Open => Home::Open,
            Home::Nat(kind) => Home::Nat(with(kind)),
            Home::Carrier(inner, outer) => Home::Carrier(with(inner), outer),
        }
    };
    let mut direct = 0;
    for (first, &one) in homes().iter().enumerate() {
        for &other in homes().iter().filter(|home| !matches!(home, Home::Open)) {
            let mut lab = Lab::new(first as u64 + 100);
            lab.list_ipv6_first();
            let mut pair = Pair::in_lab(lab, [dual(one), other]);
            let [a, b] = pair.hosts;
            let expected = expected(&pair.lab, a, b);
            let (pings, came) = pair.speak(8 * SECOND);
            let faults = pair.faults(&pings);
            assert_eq!(faults, (0, 0), "lost and doubled pings between {one:?} and {other:?}");
            let is_direct = came.is_some_and(|came| came <= LATER);
            match expected {
                Expected::Direct => {
                    assert!(is_direct, "direct after {came:?} between {one:?} and {other:?}");
                    direct += 1;
                }
                Expected::Relay | Expected::Unlikely => assert_eq!(came, None, "{one:?} and {other:?}: how?"),
                Expected::Either => {}
            }
        }
    }
    assert!(direct > 80, "{direct}");
}

#[test]
fn firewalls_and_one_lan_are_no_obstacle() {
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for_each_seed(3, |seed| {
        for one in [EndpointIndependent, AddressDependent, AddressAndPortDependent] {
            for other in [EndpointIndependent, AddressDependent, AddressAndPortDependent] {
                let [one, other] = [one, other].map(|filtering| Home::Nat(NatKind::SYMMETRIC.with_ipv6(filtering)));
                let mut pair = Pair::new(seed, [one, other]);
                assert_eq!(expected(&pair.lab, pair.hosts[0], pair.hosts[1]), Expected::Direct);
                let (pings, came) = pair.speak(5 * SECOND);
                assert_eq!(pair.faults(&pings), (0, 0));
                assert!(came.is_some_and(|came| came <= SOON), "{one:?} {other:?}: {came:?}");
            }
        }
        let mut lab = Lab::new(seed);
        lab.add_supernode();
        let network = lab.add_link_network();
        let nat = lab.add_nat(NatKind::SYMMETRIC);
        let hosts = [(); 2].map(|()| lab.add_node(Some(nat)));
        hosts.iter().for_each(|&host| lab.join(host, network));
        lab.settle(network, &hosts);
        let mut pair = Pair { lab, network, hosts };
        assert_eq!(expected(&pair.lab, hosts[0], hosts[1]), Expected::Direct);
        let (pings, came) = pair.speak(5 * SECOND);
        assert_eq!(pair.faults(&pings), (0, 0));
        assert!(came.is_some_and(|came| came <= SOON), "on one LAN: {came:?}");
    });
}
