//! Many seeded runs of the simulator.
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().expect("number")).collect();
    for seed in args[0]..args[0] + args[1] {
        let start = std::time::Instant::now();
        let result = std::panic::catch_unwind(|| farlan_tests::sim::run(seed));
        match result {
            Ok(o) => println!(
                "{seed} ok nodes {} demanded {} pings {} {:?}",
                o.nodes,
                o.demanded,
                o.pings,
                start.elapsed()
            ),
            Err(_) => println!("{seed} FAILED {:?}", start.elapsed()),
        }
    }
}
