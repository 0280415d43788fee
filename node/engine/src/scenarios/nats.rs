//! Nodes behind NATs: what they learn of them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    lab::{FIRST_EXTRA, Lab, Place, link},
    nat::{Dependence, Nat, PortRule},
};
use crate::{Behaviour, Filtering, Mapping, Ports, Role, behaviour::MAX_PACKETS, peers::Path, wire::control::Control};

/// Two supernodes and nodes behind NATs, none of them in a network yet.
pub(super) struct Homes {
    pub(super) lab: Lab,
    pub(super) supernodes: [Place; 2],
    pub(super) nodes: Vec<Place>,
}

impl Homes {
    pub(super) fn new(nats: &[Option<Nat>]) -> Self {
        let mut lab = Lab::new();
        let supernodes = [(); 2].map(|()| lab.add(Role::Supernode));
        let nodes: Vec<Place> = nats.iter().map(|_| lab.add(Role::Node)).collect();
        for place in 0..lab.hosts.len() {
            let last = u8::try_from(place + 1).unwrap();
            lab.hosts[place].address = SocketAddr::from(([203, 0, 113, last], 9600));
        }
        for (node, nat) in nodes.iter().zip(nats) {
            lab.hosts[*node].nat.clone_from(nat);
            let last = u8::try_from(node + 1).unwrap();
            let own = match nat {
                Some(_) => SocketAddr::from(([192, 168, last, 2], 9600)),
                None => lab.hosts[*node].address,
            };
            let now = lab.now;
            lab.hosts[*node].engine.set_local_endpoints(now, vec![own]);
        }
        for place in 0..lab.hosts.len() {
            lab.set_world(place, 1, &supernodes);
        }
        lab.open = true;
        Self { lab, supernodes, nodes }
    }

    /// Gives the supernodes second ports.
    pub(super) fn with_second_ports(mut self) -> Self {
        for supernode in self.supernodes {
            self.lab.hosts[supernode].engine.set_second_port(Some(FIRST_EXTRA));
            self.lab.hosts[supernode].extras.insert(0);
        }
        self
    }

    pub(super) fn behaviour(&self, node: usize) -> Behaviour {
        self.lab.hosts[self.nodes[node]].engine.behaviour()
    }
}

/// What a node finds out that is alone behind a NAT.
fn found(nat: Option<Nat>, second_ports: bool) -> Behaviour {
    let mut homes = Homes::new(&[nat]);
    if second_ports {
        homes = homes.with_second_ports();
    }
    homes.lab.join(homes.nodes[0], &link(1));
    homes.lab.run_seconds(8);
    assert!(
        homes.lab.hosts[homes.nodes[0]].extras.is_empty(),
        "sockets are given back"
    );
    homes.behaviour(0)
}

#[test]
fn every_kind_of_nat_is_recognised() {
    let dependences = [Dependence::Endpoint, Dependence::Address, Dependence::Port];
    for mapping in dependences {
        for filtering in dependences {
            for ports in [PortRule::Kept, PortRule::Next, PortRule::Random] {
                let what = format!("{mapping:?}, {filtering:?}, {ports:?}");
                let found = found(Some(Nat::new(mapping, filtering, ports)), true);
                let dependent = mapping != Dependence::Endpoint;
                let expected = Behaviour {
                    translated: Some(true),
                    mapping: match mapping {
                        Dependence::Endpoint => Mapping::Independent,
                        Dependence::Address => Mapping::AddressDependent,
                        Dependence::Port => Mapping::PortDependent,
                    },
                    filtering: match filtering {
                        // An answer from the second port goes where the first saw the node.
                        Dependence::Endpoint | Dependence::Address => Filtering::NotByPort,
                        Dependence::Port => Filtering::ByPort,
                    },
                    ports: match ports {
                        PortRule::Next if dependent => Ports::Sequential { stride: 1 },
                        PortRule::Kept if !dependent => Ports::Kept,
                        _ if !dependent => Ports::Changed,
                        // Inside ports follow one another here, and are kept where they are free.
                        PortRule::Kept => Ports::Sequential { stride: 1 },
                        _ => Ports::Random,
                    },
                    hairpin: if dependent { None } else { Some(false) },
                };
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}

#[test]
fn without_a_nat_nothing_is_translated() {
    let found = found(None, true);
    assert_eq!(found.translated, Some(false));
    assert_eq!(
        (found.mapping, found.filtering),
        (Mapping::Independent, Filtering::NotByPort)
    );
    assert_eq!((found.ports, found.hairpin), (Ports::Kept, None));
}

#[test]
fn without_second_ports_less_is_known_and_nothing_is_guessed() {
    let of = |mapping| found(Some(Nat::new(mapping, Dependence::Port, PortRule::Random)), false);
    assert_eq!(of(Dependence::Endpoint).mapping, Mapping::Independent);
    assert_eq!(of(Dependence::Address).mapping, Mapping::Dependent);
    assert_eq!(of(Dependence::Port).mapping, Mapping::Dependent);
    assert_eq!(of(Dependence::Port).ports, Ports::Random);
    assert_eq!(of(Dependence::Endpoint).filtering, Filtering::Unknown);
}

#[test]
fn a_hairpin_is_noticed() {
    let mut nat = Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Kept);
    nat.hairpin = true;
    assert_eq!(found(Some(nat), true).hairpin, Some(true));
}

#[test]
fn a_run_is_few_packets_and_moves_no_registration() {
    let nat = Nat::new(Dependence::Port, Dependence::Port, PortRule::Random);
    let mut homes = Homes::new(&[Some(nat)]).with_second_ports();
    let node = homes.nodes[0];
    homes.lab.join(node, &link(1));
    homes.lab.run_seconds(8);
    let key = homes.lab.key(node);
    let ways = |homes: &Homes| homes.supernodes.map(|supernode| homes.lab.peer(supernode, &key).path);
    let before = ways(&homes);
    assert!(before.iter().all(|way| matches!(way, Some(Path::Direct(_)))));
    // Nothing is answered from now on, so that all is asked as often as it can be.
    let supernodes = homes.supernodes;
    homes.lab.wire = Box::new(move |from, _, bytes| !supernodes.contains(&from) || bytes.len() != 96);
    let own = vec![SocketAddr::from(([192, 168, 77, 2], 9600))];
    homes.lab.log = Some(Vec::new());
    let now = homes.lab.now;
    homes.lab.hosts[node].engine.set_local_endpoints(now, own);
    homes.lab.run(Duration::from_secs(9));
    let sent = homes.lab.log.take().unwrap();
    let asked = sent
        .iter()
        .filter(|sent| sent.from == node && sent.bytes.len() == 96)
        .count();
    // With those that show the supernodes the new address.
    assert!((3..=MAX_PACKETS + 10).contains(&asked), "{asked}");
    homes.lab.wire = super::lab::intact();
    homes.lab.run_seconds(20);
    assert_eq!(homes.behaviour(0).mapping, Mapping::PortDependent);
    assert_eq!(ways(&homes), before);
}

#[test]
fn another_nat_is_noticed() {
    let mut homes = Homes::new(&[Some(Nat::new(Dependence::Port, Dependence::Port, PortRule::Random))]);
    let node = homes.nodes[0];
    homes.lab.join(node, &link(1));
    homes.lab.run_seconds(8);
    assert_eq!(homes.behaviour(0).mapping, Mapping::Dependent);
    homes.lab.hosts[node].nat = Some(Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Next));
    let now = homes.lab.now;
    homes.lab.hosts[node]
        .engine
        .set_local_endpoints(now, vec![SocketAddr::from(([10, 9, 8, 7], 9600))]);
    homes.lab.run_seconds(15);
    assert_eq!(homes.behaviour(0).mapping, Mapping::Independent);
    assert_eq!(homes.lab.hosts[node].extras.len(), 0);
}

#[test]
fn a_supernode_that_says_where_it_sees_a_node_sends_nothing_to_anybody_else() {
    let own = |homes: &Homes| {
        homes
            .supernodes
            .map(|supernode| homes.lab.peer(supernode, &homes.lab.key(homes.nodes[0])).path)
    };
    for lies in [false, true] {
        let mut homes = Homes::new(&[Some(Nat::new(Dependence::Endpoint, Dependence::Port, PortRule::Kept))]);
        let node = homes.nodes[0];
        homes.lab.join(node, &link(1));
        homes.lab.run_seconds(60);
        let Some(Path::Direct(seen)) = own(&homes)[0] else {
            panic!("{:?}", own(&homes));
        };
        let address = if lies {
            IpAddr::from([198, 51, 100, 9])
        } else {
            seen.ip()
        };
        // What it asks is lost, so that nothing is answered but this.
        homes.lab.wire = Box::new(move |from, _, bytes| from != node || bytes.len() != 96);
        homes.lab.log = Some(Vec::new());
        let now = homes.lab.now;
        homes.lab.hosts[node].engine.detection.want(now, false);
        let key = homes.lab.key(node);
        for _ in 0..400 {
            for token in homes.lab.hosts[node].engine.detection.unanswered() {
                for supernode in homes.supernodes {
                    let observed = SocketAddr::new(address, 5353);
                    let second = 0;
                    homes.lab.tell(
                        supernode,
                        &key,
                        Control::Seen {
                            token,
                            observed,
                            second,
                        },
                    );
                }
            }
            homes.lab.run(Duration::from_millis(10));
        }
        let log = homes.lab.log.take().unwrap();
        let there = log
            .iter()
            .filter(|sent| sent.from == node && sent.to == SocketAddr::new(address, 5353));
        assert_eq!(there.count() > 0, !lies, "{lies}");
        let hairpin = homes.behaviour(0).hairpin;
        assert_eq!(hairpin, Some(false), "what was not tried tells nothing new");
    }
}
