use farlan_tests::sim::*;
use std::time::Duration;
fn main() {
    let a: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let (supernodes, nodes, kind) = (a[0], a[1], a[2]);
    let mut lab = Lab::new(7);
    lab.set_links(LinkQuality::of_delay(Duration::from_millis(30)));
    let sn: Vec<_> = (0..supernodes).map(|_| lab.add_supernode()).collect();
    let net = if kind == 0 {
        lab.add_link_network()
    } else {
        lab.add_name_network("earth")
    };
    let hosts: Vec<_> = (0..nodes)
        .map(|_| {
            let n = lab.add_nat(NatKind::HOME);
            lab.add_node(Some(n))
        })
        .collect();
    let s = std::time::Instant::now();
    for h in &hosts {
        lab.join(*h, net);
    }
    for t in 0..10 {
        lab.run(Duration::from_secs(1));
        let members: Vec<u32> = hosts
            .iter()
            .map(|h| lab.network(*h, net).unwrap().members as u32)
            .collect();
        let v4 = hosts
            .iter()
            .filter(|h| lab.network(**h, net).unwrap().ipv4.is_some())
            .count();
        let reg = hosts.iter().filter(|h| lab.is_registered(**h)).count();
        println!(
            "{t}: registered {reg} v4 {v4} members min {} max {} traffic sn {:?} wall {:?}",
            members.iter().min().unwrap(),
            members.iter().max().unwrap(),
            lab.traffic(sn[0]),
            s.elapsed()
        );
    }
    for h in sn.iter().chain(&hosts[..2]) {
        println!("{:?}", lab.counters(*h).iter().filter(|c| c.1 > 0).collect::<Vec<_>>());
    }
}
